/** The time axis that pitch track and spectrogram share: the same seconds stand above each other. */

import { theme } from "./frames.js";

export const SPAN = 10; // s
export const GUTTER = 34; // px at the left, for what the other axis says
const HEIGHT = 16; // px under the drawing
const EVERY = 2; // s

/**
 * Draw the axis; returns where the drawing above it ends.
 * @param {import("./frames.js").Sheet} sheet
 * @returns {number} px from the top
 */
export function timeAxis({ ink, width, height }) {
  const { soft, rule } = theme();
  const bottom = height - HEIGHT;
  ink.textBaseline = "middle";
  for (let ago = 0; ago <= SPAN; ago += EVERY) {
    const x = Math.round(width - (ago * (width - GUTTER)) / SPAN);
    ink.fillStyle = rule;
    ink.fillRect(Math.min(x, width - 1), bottom, 1, 3);
    ink.fillStyle = soft;
    ink.textAlign = ago === 0 ? "right" : ago === SPAN ? "left" : "center";
    ink.fillText(ago ? `−${ago} s` : "now", x, bottom + 10);
  }
  return bottom;
}
