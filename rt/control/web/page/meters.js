/** Level meters: peak with a held mark, the input's RMS, and a clip mark that stays until it is cleared. */

import { find, write } from "./dom.js";
import { drawing, theme } from "./frames.js";
import { fixed } from "./scale.js";

const FLOOR = -60; // dBFS at the left end
const FALL = 24; // dB a second that a bar falls
const HOLD = 1.5; // s that the peak mark stays
const TICKS = [-60, -50, -40, -30, -20, -12, -6, 0]; // dBFS
const HOT = -6; // dBFS from which on a bar is amber
const WRITE_EVERY = 6; // messages between writings of the numbers, so that they can be read
const GUTTER = 12; // px at both ends, for the ends' numbers
const LEAST_APART = 24; // px between the middles of two numbers
const SCALE_HEIGHT = 16; // px between the bars

/** One channel's bar, its mark and its clip lamp. */
class Level {
  /** @param {"in"|"out"} side */
  constructor(side) {
    this.bar = this.mark = FLOOR;
    this.rms = null;
    this.at = this.marked = 0;
    this.meter = find(`meter-${side}`);
    this.lamp = find(`clip-${side}`);
    this.lamp.addEventListener("click", () => (this.lamp.hidden = true));
  }

  /**
   * Take a peak.
   * @param {number} dbfs
   * @param {number} now s
   */
  take(dbfs, now) {
    const fallen = FALL * Math.min(1, now - this.at);
    this.at = now;
    this.bar = Math.max(dbfs, this.bar - fallen, FLOOR);
    if (dbfs >= this.mark) this.marked = now;
    if (now - this.marked > HOLD) this.mark -= fallen;
    this.mark = Math.max(this.mark, this.bar);
    if (dbfs >= 0) this.lamp.hidden = false;
  }

  /** Write the held peak. */
  write() {
    const silent = this.mark <= FLOOR;
    write(this.meter, silent ? "−∞" : fixed(this.mark, 1));
    this.meter.setAttribute("aria-valuenow", this.mark.toFixed(1));
    this.meter.setAttribute("aria-valuetext", silent ? "silent" : `${fixed(this.mark, 1)} dBFS`);
  }
}

/**
 * Show the meters.
 * @param {import("./state.js").Store} store
 */
export function meters(store) {
  const levels = [new Level("in"), new Level("out")];
  const view = drawing(find("meters"), (sheet) => draw(sheet, levels));
  let count = 0;
  store.on("meters", (message) => {
    const now = performance.now() / 1000;
    levels[0].take(message.in_dbfs, now);
    levels[1].take(message.out_dbfs, now);
    levels[0].rms = message.level_dbfs;
    view.invalidate();
    if (count++ % WRITE_EVERY === 0) for (const level of levels) level.write();
  });
}

/** Draw both bars with the scale between them. */
function draw({ ink, width, height }, levels) {
  const { soft, rule, shade, good, warn, ink: text } = theme();
  const span = width - 2 * GUTTER;
  const x = (dbfs) => GUTTER + (span * (Math.max(FLOOR, Math.min(0, dbfs)) - FLOOR)) / -FLOOR;
  const bar = (height - SCALE_HEIGHT) / 2;
  levels.forEach((level, k) => {
    const y = k * (bar + SCALE_HEIGHT);
    ink.fillStyle = shade;
    ink.fillRect(GUTTER, y, span, bar);
    ink.fillStyle = good;
    ink.fillRect(GUTTER, y, Math.min(x(level.bar), x(HOT)) - GUTTER, bar);
    ink.fillStyle = warn;
    ink.fillRect(x(HOT), y, Math.max(0, x(level.bar) - x(HOT)), bar);
    ink.fillStyle = text;
    if (level.mark > FLOOR) ink.fillRect(x(level.mark) - 1, y, 2, bar);
    if (level.rms > FLOOR) {
      ink.globalAlpha = 0.55;
      ink.fillRect(x(level.rms) - 1, y, 1, bar);
      ink.globalAlpha = 1;
    }
  });
  ink.textAlign = "center";
  ink.textBaseline = "middle";
  let free = Infinity; // px left of which a number has room
  for (const tick of TICKS.toReversed()) {
    ink.fillStyle = rule;
    ink.fillRect(Math.round(x(tick)), bar, 1, 3);
    ink.fillRect(Math.round(x(tick)), bar + SCALE_HEIGHT - 3, 1, 3);
    if (x(tick) > free) continue;
    free = x(tick) - LEAST_APART;
    ink.fillStyle = soft;
    ink.fillText(fixed(tick, 0), x(tick), bar + SCALE_HEIGHT / 2 + 0.5);
  }
}
