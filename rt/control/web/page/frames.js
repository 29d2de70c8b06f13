/** Drawings: a canvas is drawn only when something changed, is in view, and the tab is seen. */

/**
 * What a drawing gets.
 * @typedef {Object} Sheet
 * @property {CanvasRenderingContext2D} ink scaled to CSS pixels
 * @property {number} width CSS pixels
 * @property {number} height CSS pixels
 * @property {number} ratio device pixels per CSS pixel
 */

const CALM = 250; // ms between drawings for those who asked for less motion
const views = new Set();
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let colours = null;
let asked = 0;
let drawn = 0;

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) view(entry.target).near = entry.isIntersecting;
  ask();
});
const sized = new ResizeObserver((entries) => {
  for (const entry of entries) view(entry.target).dirty = true;
  ask();
});

/** @param {HTMLCanvasElement} canvas */
function view(canvas) {
  return [...views].find((each) => each.canvas === canvas);
}

function ask() {
  asked ||= requestAnimationFrame(frame);
}

/** @param {number} now ms */
function frame(now) {
  asked = 0;
  const due = [...views].filter((each) => each.dirty && each.near);
  if (!due.length) return;
  if (calm.matches && now - drawn < CALM) {
    ask();
    return;
  }
  drawn = now;
  for (const each of due) {
    each.dirty = false;
    const { canvas } = each;
    const ratio = devicePixelRatio;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const ink = canvas.getContext("2d");
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, width, height);
    ink.font = `11px ${theme().font}`;
    each.draw({ ink, width, height, ratio });
  }
}

/**
 * Have a canvas drawn whenever it needs it.
 * @param {HTMLCanvasElement} canvas
 * @param {(sheet: Sheet) => void} draw
 * @returns {{invalidate: () => void, inView: () => boolean}}
 */
export function drawing(canvas, draw) {
  const each = { canvas, draw, dirty: true, near: false };
  views.add(each);
  seen.observe(canvas);
  sized.observe(canvas);
  return {
    invalidate() {
      each.dirty = true;
      ask();
    },
    inView: () => each.near,
  };
}

/**
 * Return the colours of the style sheet, by the names of its custom properties without the dashes.
 * @returns {Object<string, string>}
 */
export function theme() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    const names = ["ink", "soft", "rule", "signal", "aim", "warn", "alarm", "good", "shade", "font"];
    colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  colours = null;
  for (const each of views) each.dirty = true;
  ask();
});
