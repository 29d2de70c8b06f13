/** Making and finding elements. */

const SVG = "http://www.w3.org/2000/svg";

/** Drawings of the buttons, as paths in a 16 x 16 square. */
const ICONS = {
  grip: "M5.5 4h.01M10.5 4h.01M5.5 8h.01M10.5 8h.01M5.5 12h.01M10.5 12h.01",
  fold: "M4 6l4 4 4-4",
  remove: "M4 4l8 8M12 4l-8 8",
};

/**
 * Return an element with properties, `aria-*`, `data-*` and other hyphenated names as attributes, and children.
 * @param {string} tag
 * @param {Object<string, *>} [properties] `class` is the class name; functions under `on...` become listeners
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/**
 * Return the element of an id; the page's own markup has it.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function find(id) {
  return document.getElementById(id);
}

/**
 * Return a drawing of ICONS; what it means must be said in words by the button around it.
 * @param {keyof ICONS} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * Have a screen reader say a sentence when it is free to.
 * @param {string} text
 */
export function announce(text) {
  find("announcer").textContent = text;
}

/**
 * Write text into an element where it differs, so that nothing is laid out anew for nothing.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Return words for a name of the tables: `low_cut` is "low cut".
 * @param {string} name
 * @returns {string}
 */
export function words(name) {
  return name.replaceAll("_", " ");
}
