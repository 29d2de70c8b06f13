/** The keyboard: one key for each thing that must happen at once. */

import { find } from "./dom.js";
import { step } from "./library.js";
import { toggle } from "./master.js";

/**
 * Hear the keys.
 * @param {import("./state.js").Store} store
 */
export function keys(store) {
  const deeds = {
    " ": () => toggle(store, "mute"),
    b: () => toggle(store, "bypass"),
    r: () => find("record").click(),
    z: () => step("undo"),
    y: () => step("redo"),
    "?": () => find("help").showModal(),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || isTaken(event)) return;
    const deed = deeds[event.key] ?? deeds[event.key.toLowerCase()];
    if (!deed) return;
    event.preventDefault();
    deed();
  });
  // A button pressed by hand gives the keyboard back, or space would press it again in place of muting.
  addEventListener("click", (event) => {
    if (event.detail > 0) event.target.closest("button")?.blur();
  });
  find("help-open").addEventListener("click", () => find("help").showModal());
  find("help-close").addEventListener("click", () => find("help").close());
}

/** Say whether what is focused needs the key itself: text, a list, a button for space, a dialog. */
function isTaken({ target, key }) {
  if (document.querySelector("dialog[open]")) return true;
  if (target.matches("input:not([type=range]):not([type=radio]), select, textarea")) return true;
  return key === " " && target.matches("button, input[type=radio], summary, a");
}
