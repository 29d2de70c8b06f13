/** Callback times: how often each lasted how long, both on logarithmic axes, with the period that none may exceed. */

import { find, write } from "./dom.js";
import { drawing, theme } from "./frames.js";
import { fixed } from "./scale.js";
import { GUTTER } from "./time.js";

const BOTTOM = 16; // px for the axis
const FOOT = 0.25; // decades under 1, so that a single callback is seen
const HEADROOM = 0.1; // decades above the highest bar
const MOST_ROWS = 4; // lines of counts
const COUNTS = ["1", "10", "100", "1k", "10k", "100k", "1M", "10M", "100M", "1G"];
const LABELS = ["p50", "p99", "p999", "max"];

/**
 * Show the histogram.
 * @param {import("./state.js").Store} store
 */
export function histogram(store) {
  let newest = { us: [1, 2], counts: [0] };
  const view = drawing(find("histogram"), (sheet) => draw(sheet, newest, period(store.board)));
  store.on("histogram", (message) => {
    newest = message;
    view.invalidate();
  });
  store.on("board", view.invalidate);
  store.on("meters", (message) => {
    for (const label of LABELS) write(find(`callback-${label}`), micros(message[`${label}_us`]));
  });
}

/** Return the length of a block in microseconds. */
function period(board) {
  return board ? (1e6 * board.block) / board.sample_rate : 1000;
}

/** Write a time: "9.9 µs", "1.33 ms". */
function micros(us) {
  return us < 1000 ? `${fixed(us, us < 100 ? 1 : 0)} µs` : `${fixed(us / 1000, 2)} ms`;
}

/** Draw bars, axis and period. */
function draw({ ink, width, height }, { us, counts }, limit) {
  const { soft, rule, signal, alarm } = theme();
  const low = Math.min(1, us[0] || 1);
  const high = Math.max(2.5 * limit, us.at(-1));
  const floor = height - BOTTOM;
  const x = (time) => GUTTER + ((width - GUTTER) * Math.log(Math.max(time, low) / low)) / Math.log(high / low);
  const top = Math.log10(Math.max(10, ...counts)) + FOOT + HEADROOM;
  const y = (count) => floor - (floor * (Math.log10(count) + FOOT)) / top;
  ink.textBaseline = "middle";
  ink.textAlign = "right";
  const apart = Math.ceil(top / MOST_ROWS); // decades between two lines
  for (let power = 0; power < top - FOOT; power += apart) {
    ink.fillStyle = rule;
    ink.fillRect(GUTTER, Math.round(y(10 ** power)), width - GUTTER, 1);
    ink.fillStyle = soft;
    ink.fillText(COUNTS[power] ?? "", GUTTER - 6, y(10 ** power));
  }
  ink.fillStyle = signal;
  counts.forEach((count, k) => {
    if (count) ink.fillRect(x(us[k]), y(count), Math.max(1, x(us[k + 1]) - x(us[k]) - 0.5), floor - y(count));
  });
  ink.fillStyle = rule;
  ink.fillRect(GUTTER, floor, width - GUTTER, 1);
  for (let decade = 1; decade <= high; decade *= 10) {
    ink.fillStyle = rule;
    ink.fillRect(Math.round(x(decade)), floor, 1, 3);
    ink.fillStyle = soft;
    ink.textAlign = decade === 1 ? "left" : "center";
    ink.fillText(decade < 1000 ? `${decade} µs` : `${decade / 1000} ms`, x(decade), floor + 10);
  }
  ink.fillStyle = alarm;
  ink.fillRect(Math.round(x(limit)) - 1, 0, 2, floor);
  ink.textAlign = "right";
  ink.fillText(`period ${micros(limit)}`, x(limit) - 6, 7);
}
