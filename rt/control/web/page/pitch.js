/** The pitch of the input over the last seconds, on an axis of notes, with what the tuner aims at. */

import { find, write } from "./dom.js";
import { drawing, theme } from "./frames.js";
import { fixed, noteName, noteOf } from "./scale.js";
import { GUTTER, SPAN, timeAxis } from "./time.js";

const LEAST = 24; // semitones in view
const MARGIN = 2; // semitones beyond what was sung
const SLACK = 12; // semitones of room before the axis closes in again
const EASE = 0.15; // share of the way that the axis goes per drawing
const GAP = 0.12; // s without a voice, after which the line is broken
const BLACK = new Set([1, 3, 6, 8, 10]); // keys of an octave
const WRITE_EVERY = 3; // messages between writings of the numbers
const LINGER = 0.6; // s that the numbers stay after the voice

/** @typedef {{at: number, note: number, voicing: number, target: number}} Point `target` is NaN for none */

/**
 * Show the pitch track.
 * @param {import("./state.js").Store} store
 */
export function pitch(store) {
  /** @type {Point[]} */
  const points = [];
  const axis = { low: 45, high: 69, goal: [45, 69] }; // A2..A4
  const view = drawing(find("pitch"), (sheet) => draw(sheet, points, axis));
  let count = 0;
  store.on("meters", ({ f0_hz: f0, voicing, target_hz: target }) => {
    const at = performance.now() / 1000;
    if (f0 > 0) points.push({ at, note: noteOf(f0), voicing, target: target > 0 ? noteOf(target) : NaN });
    while (points.length && points[0].at < at - SPAN - 1) points.shift();
    view.invalidate();
    if (count++ % WRITE_EVERY === 0) read(points, at);
  });
}

/** Write the newest note, its distance from the even scale, and the target. */
function read(points, now) {
  const newest = points.at(-1);
  const fresh = newest && now - newest.at < LINGER;
  write(find("pitch-note"), fresh ? noteName(newest.note) : "–");
  const cents = fresh ? Math.round(100 * (newest.note - Math.round(newest.note))) : 0;
  write(find("pitch-cents"), fresh ? `${cents < 0 ? "−" : "+"}${Math.abs(cents)} ct` : "");
  write(find("pitch-hz"), fresh ? `${fixed(440 * 2 ** ((newest.note - 69) / 12), 1)} Hz` : "");
  const aimed = fresh && !Number.isNaN(newest.target);
  write(find("pitch-target"), aimed ? `aim ${noteName(newest.target)}` : "");
}

/** Move the axis to what was sung; it widens at once and closes in only when much room is left. */
function fit(points, axis) {
  let low = Infinity;
  let high = -Infinity;
  for (const { note, target } of points) {
    low = Math.min(low, note, target || note);
    high = Math.max(high, note, target || note);
  }
  if (low <= high) {
    const [from, to] = axis.goal;
    const want = [Math.floor(low - MARGIN), Math.ceil(high + MARGIN)];
    const missing = LEAST - (want[1] - want[0]);
    if (missing > 0) {
      want[0] -= Math.ceil(missing / 2);
      want[1] += Math.floor(missing / 2);
    }
    const outside = low - MARGIN / 2 < from || high + MARGIN / 2 > to;
    const loose = to - from > want[1] - want[0] + SLACK;
    if (outside || loose) axis.goal = want;
  }
  axis.low += EASE * (axis.goal[0] - axis.low);
  axis.high += EASE * (axis.goal[1] - axis.high);
}

/** Draw keys, names, targets and the line. */
function draw(sheet, points, axis) {
  const { ink, width, height } = sheet;
  const { soft, shade, rule, signal, aim } = theme();
  fit(points, axis);
  const bottom = timeAxis(sheet);
  const now = performance.now() / 1000;
  const row = bottom / (axis.high - axis.low); // px per semitone
  const x = (at) => width - ((now - at) * (width - GUTTER)) / SPAN;
  const y = (note) => bottom - (note - axis.low) * row;
  ink.save();
  ink.beginPath();
  ink.rect(0, 0, width, bottom);
  ink.clip();
  ink.textAlign = "right";
  ink.textBaseline = "middle";
  for (let note = Math.floor(axis.low); note <= Math.ceil(axis.high); note++) {
    const key = ((note % 12) + 12) % 12;
    ink.fillStyle = shade;
    if (BLACK.has(key)) ink.fillRect(GUTTER, y(note + 0.5), width - GUTTER, row);
    ink.fillStyle = rule;
    if (key === 0) ink.fillRect(GUTTER, Math.round(y(note)), width - GUTTER, 1);
    ink.fillStyle = soft;
    const named = row >= 10 ? !BLACK.has(key) : row >= 4.5 ? [0, 4, 7].includes(key) : key === 0;
    if (named && y(note) > 5 && y(note) < bottom - 5) ink.fillText(noteName(note), GUTTER - 6, y(note));
  }
  ink.beginPath();
  ink.rect(GUTTER, 0, width - GUTTER, bottom);
  ink.clip();
  ink.lineJoin = ink.lineCap = "round";
  line(ink, points, (point) => point.target, 0.5, x, y, aim, 4);
  line(ink, points, (point) => point.note, Infinity, x, y, signal, 2);
  ink.restore();
}

/** Draw one value of the points as a line that breaks where there was no voice, and at a leap of more semitones. */
function line(ink, points, value, leap, x, y, colour, thickness) {
  ink.strokeStyle = colour;
  ink.lineWidth = thickness;
  ink.beginPath();
  let before = -Infinity;
  let last = NaN;
  for (const point of points) {
    const note = value(point);
    if (Number.isNaN(note)) continue;
    if (point.at - before > GAP || Math.abs(note - last) > leap) ink.moveTo(x(point.at) - 0.5, y(note));
    ink.lineTo(x(point.at), y(note));
    before = point.at;
    last = note;
  }
  ink.stroke();
}
