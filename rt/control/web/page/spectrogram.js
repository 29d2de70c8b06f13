/** The spectrum of input or output over the last seconds. */

import { colourMap } from "./colours.js";
import { find } from "./dom.js";
import { drawing, theme } from "./frames.js";
import { GUTTER, SPAN, timeAxis } from "./time.js";

const BINS = 192; // of a column, lowest first
const LOWEST = 50; // Hz, middle of the first bin
const HIGHEST = 12_000; // Hz, middle of the last
const RATE = 30; // columns a second on the picture
const COLUMNS = RATE * SPAN;
const BRIDGE = 6; // missing columns that the next one fills; more stay dark
const TICKS = [100, 200, 500, 1000, 2000, 5000, 10_000]; // Hz
const MAP = colourMap();

/** The picture of one signal: a ring of columns, each at its time. */
class Picture {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.canvas.width = COLUMNS;
    this.canvas.height = BINS;
    this.ink = this.canvas.getContext("2d", { alpha: false });
    this.column = new ImageData(1, BINS);
    this.pixels = new Uint32Array(this.column.data.buffer).fill(MAP[0]);
    this.#put(0, COLUMNS);
    this.newest = -1; // number of the newest column, at RATE since the page began
  }

  /**
   * Put a column in at the present time.
   * @param {Uint8Array} levels shape (BINS,)
   */
  take(levels) {
    const number = Math.floor((performance.now() / 1000) * RATE);
    const missing = number - this.newest - 1;
    this.pixels.fill(MAP[0]);
    if (missing > BRIDGE) this.#put(Math.max(this.newest + 1, number - COLUMNS), number);
    for (let k = 0; k < BINS; k++) this.pixels[BINS - 1 - k] = MAP[levels[k]];
    this.#put(missing > BRIDGE ? number : Math.min(this.newest + 1, number), number + 1);
    this.newest = number;
  }

  /** Write the column to all places from one number up to another. */
  #put(from, to) {
    for (let number = from; number < to; number++) this.ink.putImageData(this.column, number % COLUMNS, 0);
  }

  /** Draw the ring, unrolled, its newest column at the present time. */
  draw({ ink, width }, bottom) {
    const scale = (width - GUTTER) / COLUMNS;
    const behind = Math.floor((performance.now() / 1000) * RATE) - this.newest;
    const split = (this.newest + 1) % COLUMNS; // the oldest column
    const left = GUTTER - behind * scale;
    ink.drawImage(this.canvas, split, 0, COLUMNS - split, BINS, left, 0, (COLUMNS - split) * scale, bottom);
    if (split) ink.drawImage(this.canvas, 0, 0, split, BINS, left + (COLUMNS - split) * scale, 0, split * scale, bottom);
  }
}

/**
 * Show the spectrogram.
 * @param {import("./state.js").Store} store
 * @returns {{inView: () => boolean}}
 */
export function spectrogram(store) {
  const pictures = [new Picture(), new Picture()];
  const output = find("spectrum-out");
  const view = drawing(find("spectrogram"), (sheet) => draw(sheet, pictures[Number(output.checked)]));
  for (const choice of [find("spectrum-in"), output]) choice.addEventListener("change", view.invalidate);
  store.on("column", (column) => {
    pictures[column[0]]?.take(column.subarray(1));
    view.invalidate();
  });
  return view;
}

/** Draw the picture of a signal and its axes. */
function draw(sheet, picture) {
  const { ink, width } = sheet;
  const { soft, ink: text } = theme();
  const bottom = timeAxis(sheet);
  const [r, g, b] = new Uint8Array(MAP.buffer);
  ink.fillStyle = `rgb(${r} ${g} ${b})`;
  ink.fillRect(GUTTER, 0, width - GUTTER, bottom);
  ink.save();
  ink.beginPath();
  ink.rect(GUTTER, 0, width - GUTTER, bottom);
  ink.clip();
  ink.imageSmoothingEnabled = false;
  picture.draw(sheet, bottom);
  ink.restore();
  ink.textAlign = "right";
  ink.textBaseline = "middle";
  for (const hz of TICKS) {
    const y = bottom * (1 - Math.log(hz / LOWEST) / Math.log(HIGHEST / LOWEST));
    ink.fillStyle = soft;
    ink.fillText(hz < 1000 ? String(hz) : `${hz / 1000}k`, GUTTER - 6, y);
    ink.fillStyle = text;
    ink.globalAlpha = 0.12;
    ink.fillRect(GUTTER, Math.round(y), width - GUTTER, 1);
    ink.globalAlpha = 1;
  }
}
