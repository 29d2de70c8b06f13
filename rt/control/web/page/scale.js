/** Values and their words: the way a fader moves, how a number is written and how it is read. */

/**
 * One parameter as the board describes it.
 * @typedef {Object} Param
 * @property {string} name
 * @property {string} unit
 * @property {number} minimum
 * @property {number} maximum
 * @property {number} default
 * @property {"linear"|"log"|"switch"|"choice"} scale
 * @property {string[]} choices
 * @property {string} help
 */

const NOTES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

/**
 * Return where on a fader a value lies, 0..1.
 * @param {Param} param
 * @param {number} value
 * @returns {number}
 */
export function toNorm(param, value) {
  const { minimum: low, maximum: high } = param;
  const norm = param.scale === "log" ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.min(1, Math.max(0, norm));
}

/**
 * Return the value at a place on a fader, 0..1.
 * @param {Param} param
 * @param {number} norm
 * @returns {number}
 */
export function fromNorm(param, norm) {
  const { minimum: low, maximum: high } = param;
  const value = param.scale === "log" ? low * (high / low) ** norm : low + norm * (high - low);
  return clamp(param, isWhole(param) ? Math.round(value) : value);
}

/**
 * Return the nearest value in range.
 * @param {Param} param
 * @param {number} value
 * @returns {number}
 */
export function clamp(param, value) {
  return Math.min(param.maximum, Math.max(param.minimum, value));
}

/**
 * Say whether a parameter counts things: degrees of a scale, bands.
 * @param {Param} param
 * @returns {boolean}
 */
function isWhole(param) {
  const { minimum: low, maximum: high, default: at } = param;
  return param.scale === "linear" && !param.unit && high - low >= 8 && [low, high, at].every(Number.isInteger);
}

/**
 * Return the digits after the point that a value is worth.
 * @param {Param} param
 * @param {number} value
 * @returns {number}
 */
function decimals(param, value) {
  if (isWhole(param)) return 0;
  if (param.scale === "log") return Math.max(0, Math.min(3, 2 - Math.floor(Math.log10(Math.abs(value) || 1))));
  const span = param.maximum - param.minimum;
  return span >= 1000 ? 0 : span > 5 ? 1 : 2;
}

/**
 * Return a number with a true minus sign and no minus before zero.
 * @param {number} value
 * @param {number} digits after the point
 * @returns {string}
 */
export function fixed(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/**
 * Write a value with its unit: "−12.0 dB", "1.50 kHz", "60.0 C4".
 * @param {Param} param
 * @param {number} value
 * @returns {string}
 */
export function format(param, value) {
  if (param.choices.length) return param.choices[Math.round(value)].replaceAll("_", " ");
  if (param.scale === "switch") return value >= 0.5 ? "on" : "off";
  if (param.unit === "MIDI") return value > 0 ? `${fixed(value, 1)} ${noteName(value)}` : "off";
  if (param.unit === "Hz" && value >= 1000) return `${fixed(value / 1000, value < 10_000 ? 2 : 1)} kHz`;
  if (param.unit === "ms" && value >= 1000) return `${fixed(value / 1000, 2)} s`;
  return `${fixed(value, decimals(param, value))} ${param.unit}`.trimEnd();
}

/**
 * Read what a person typed: "-12", "−12 dB", "1,5 kHz", "1.5k", "C4" for a MIDI note. NaN where it is no number.
 * @param {Param} param
 * @param {string} text
 * @returns {number}
 */
export function parse(param, text) {
  const plain = text.trim().replace(/[−–]/g, "-").replace(",", ".");
  if (param.unit === "MIDI" && !/^[-+.\d]/.test(plain)) return plain === "off" ? 0 : noteNumber(plain);
  const found = plain.match(/^([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([a-zA-Z]*)/);
  if (!found) return NaN;
  const number = Number(found[1]);
  const suffix = found[2].toLowerCase();
  if (param.unit === "Hz" && suffix.startsWith("k")) return number * 1000;
  if (param.unit === "ms" && suffix === "s") return number * 1000;
  return number;
}

/**
 * Return how far an arrow key moves a fader, as a share of it: a whole step of what counts, or a hundredth.
 * @param {Param} param
 * @returns {number}
 */
export function keyStep(param) {
  return isWhole(param) ? 1 / (param.maximum - param.minimum) : 0.01;
}

/**
 * Return the name of the nearest note: 60 is C4.
 * @param {number} note MIDI number, may lie between notes
 * @returns {string}
 */
export function noteName(note) {
  const nearest = Math.round(note);
  return `${NOTES[((nearest % 12) + 12) % 12]}${Math.floor(nearest / 12) - 1}`;
}

/**
 * Return the number of a named note: "C4" and "c4" are 60, "F#3" and "Gb3" are 54. NaN where it is none.
 * @param {string} name
 * @returns {number}
 */
export function noteNumber(name) {
  const found = name.match(/^([a-gA-G])([#♯b♭]?)(-?\d)$/);
  if (!found) return NaN;
  const letter = NOTES.indexOf(found[1].toUpperCase());
  const accidental = { "": 0, "#": 1, "♯": 1, b: -1, "♭": -1 }[found[2]];
  return letter + accidental + 12 * (Number(found[3]) + 1);
}

/**
 * Return the MIDI number of a frequency, between notes too.
 * @param {number} hz
 * @returns {number}
 */
export function noteOf(hz) {
  return 69 + 12 * Math.log2(hz / 440);
}
