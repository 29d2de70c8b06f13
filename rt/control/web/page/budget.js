/** The latency budget: what every part of the way adds, as one bar and as a table. */

import { find, make, words, write } from "./dom.js";
import { fixed } from "./scale.js";

const HUES = 6; // colours of the style sheet, `hue-0` and on

/**
 * Return the parts of a board's delay.
 * @param {Object} board
 * @returns {{name: string, frames: number}[]} in the order of the signal; parts without delay are left out
 */
function parts(board) {
  const stages = board.chain.map(({ key, latency }) => ({ name: words(key), frames: latency }));
  const used = stages.reduce((sum, { frames }) => sum + frames, 0);
  return [
    ...stages,
    { name: "reserve", frames: board.latency - used },
    { name: "block", frames: board.block },
    { name: "device", frames: board.device_latency },
  ].filter(({ frames }) => frames > 0);
}

/**
 * Show the budget.
 * @param {import("./state.js").Store} store
 */
export function budget(store) {
  store.on("board", (board) => {
    const all = parts(board);
    const total = all.reduce((sum, { frames }) => sum + frames, 0);
    const ms = (frames) => fixed((1000 * frames) / board.sample_rate, 2);
    const bar = all.map(({ name, frames }, k) => {
      const piece = make("span", { class: `hue-${k % HUES}`, title: `${name} ${ms(frames)} ms` });
      piece.style.flexGrow = frames;
      return piece;
    });
    find("budget-bar").replaceChildren(...bar);
    const rows = all.map(({ name, frames }, k) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, make("i", { class: `hue-${k % HUES}` }), name),
        make("td", {}, String(frames)),
        make("td", {}, ms(frames)),
      ),
    );
    find("budget-rows").replaceChildren(...rows);
    write(find("budget-frames"), String(total));
    write(find("budget-ms"), ms(total));
    write(find("fact-latency"), `${ms(total)} ms`);
  });
}
