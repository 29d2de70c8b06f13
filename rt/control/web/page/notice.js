/** What went wrong, in one line that stays long enough to be read. */

import { find, write } from "./dom.js";

const STAY = 8000; // ms
let timer = 0;

/**
 * Show why something was refused; a screen reader says it at once.
 * @param {Error} error
 */
export function complain(error) {
  write(find("notice-text"), error.message);
  find("notice").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(dismiss, STAY);
}

function dismiss() {
  find("notice").hidden = true;
  write(find("notice-text"), "");
}

find("notice-close").addEventListener("click", dismiss);
