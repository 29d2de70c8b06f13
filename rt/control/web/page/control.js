/** Controls made from the tables: a fader with its typed value, a switch, a choice. */

import { make, words } from "./dom.js";
import { clamp, format, fromNorm, keyStep, parse, toNorm } from "./scale.js";

/**
 * @typedef {import("./state.js").Row} Row
 * @typedef {import("./state.js").Store} Store
 * @typedef {{element: HTMLElement, end: () => void}} Control `end` stops it from following the value
 */

const SIDEWAYS = 6; // px that a finger goes before it moves a fader

/** Keys that move a fader, in steps of it. */
const STEPS = {
  ArrowUp: 1,
  ArrowRight: 1,
  ArrowDown: -1,
  ArrowLeft: -1,
  PageUp: 10,
  PageDown: -10,
};

/**
 * Return the control of a parameter.
 * @param {Store} store
 * @param {Row} row
 * @param {string} owner the stage's name, for the accessible name
 * @param {string} [label] in place of the parameter's name
 * @returns {Control}
 */
export function control(store, row, owner, label = words(row.name)) {
  const kinds = { switch: switchControl, choice: choiceControl };
  const { element, follow } = (kinds[row.scale] ?? fader)(store, row, `${owner} ${words(row.name)}`, label);
  element.dataset.path = row.path;
  element.title = row.help;
  return { element, end: store.watch(row.path, follow) };
}

/** A fader: its name, the value as a field to type into, and the slider under them. */
function fader(store, row, name, label) {
  const slider = make("input", { type: "range", min: 0, max: 1, step: "any", "aria-label": name });
  const entry = make("input", {
    type: "text",
    class: "entry",
    autocomplete: "off",
    spellcheck: false,
    inputMode: row.unit === "MIDI" || row.minimum < 0 ? "text" : "decimal",
    "aria-label": `${name}, typed`,
  });
  const element = make(
    "div",
    { class: "control fader" },
    make("span", { class: "name" }, label),
    entry,
    make("span", { class: "track" }, slider),
  );
  const home = toNorm(row, row.default);
  const from = row.scale === "linear" && row.minimum < 0 && row.maximum > 0 ? toNorm(row, 0) : 0; // a fill from zero
  element.style.setProperty("--home", home);
  let held = false;
  let latest = row.default;

  const show = (value) => {
    const norm = toNorm(row, value);
    const text = format(row, value);
    slider.value = norm;
    slider.setAttribute("aria-valuetext", text);
    if (document.activeElement !== entry) entry.value = text;
    element.style.setProperty("--from", Math.min(from, norm));
    element.style.setProperty("--to", Math.max(from, norm));
  };
  const move = (value) => {
    store.set(row.path, value);
    show(value);
  };
  const step = (event) => {
    const steps = STEPS[event.key];
    if (!steps || event.ctrlKey || event.altKey || event.metaKey) return false;
    const fine = event.shiftKey && keyStep(row) === 0.01 ? 0.1 : 1;
    move(fromNorm(row, toNorm(row, store.value(row.path)) + steps * fine * keyStep(row)));
    event.preventDefault();
    return true;
  };

  const finger = touched(slider, (norm) => move(fromNorm(row, norm)));
  slider.addEventListener("input", () => (finger.down ? show(latest) : move(fromNorm(row, slider.valueAsNumber))));
  slider.addEventListener("dblclick", () => move(row.default));
  slider.addEventListener("keydown", (event) => {
    if (step(event)) return;
    if (event.key === "Delete" || event.key === "Backspace") move(row.default);
  });
  slider.addEventListener("pointerdown", () => {
    held = true;
    const release = () => {
      held = false;
      show(latest); // what others moved it to meanwhile
      for (const type of ["pointerup", "pointercancel"]) removeEventListener(type, release);
    };
    for (const type of ["pointerup", "pointercancel"]) addEventListener(type, release);
  });
  typed(entry, row, store, step, move);
  const follow = (value) => {
    latest = value;
    if (!held) show(value);
  };
  return { element, follow };
}

/**
 * Have a finger move a slider from where it stands, not to where it is touched, and only sideways: a hand that scrolls the page
 * over a fader must not move it.
 */
function touched(slider, move) {
  const finger = { down: false };
  slider.addEventListener("pointerdown", ({ pointerType, clientX }) => {
    if (pointerType === "touch") Object.assign(finger, { down: true, x: clientX, norm: slider.valueAsNumber, moved: false });
  });
  slider.addEventListener("pointermove", ({ clientX }) => {
    if (!finger.down) return;
    const way = clientX - finger.x;
    finger.moved ||= Math.abs(way) > SIDEWAYS;
    if (finger.moved) move(Math.min(1, Math.max(0, finger.norm + way / slider.clientWidth)));
  });
  for (const type of ["pointerup", "pointercancel"]) {
    slider.addEventListener(type, () => setTimeout(() => (finger.down = false))); // after the slider's own last word
  }
  return finger;
}

/** Let a field take a value: Enter takes it, Escape leaves it, what is no number is put back. */
function typed(entry, row, store, step, move) {
  const restore = () => {
    entry.value = format(row, store.value(row.path));
    entry.removeAttribute("aria-invalid");
  };
  const take = () => {
    if (entry.value === format(row, store.value(row.path))) return;
    const value = parse(row, entry.value);
    if (Number.isNaN(value)) {
      entry.setAttribute("aria-invalid", "true");
      return;
    }
    move(clamp(row, value));
    restore();
  };
  entry.addEventListener("focus", () => entry.select());
  entry.addEventListener("change", take);
  entry.addEventListener("blur", restore);
  entry.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      take();
      entry.select();
    } else if (event.key === "Escape") {
      restore();
      entry.select();
    } else if (event.key.startsWith("Arrow") && !event.key.match(/Left|Right/) && step(event)) {
      restore();
      entry.select();
    }
  });
}

/** A switch. */
function switchControl(store, row, name, label) {
  const button = make("button", { type: "button", class: "switch", role: "switch", "aria-label": name });
  const element = make("div", { class: "control" }, make("span", { class: "name" }, label), button);
  button.addEventListener("click", () => store.set(row.path, store.value(row.path) >= 0.5 ? 0 : 1));
  const follow = (value) => {
    button.setAttribute("aria-checked", String(value >= 0.5));
    button.textContent = format(row, value);
  };
  return { element, follow };
}

/** A choice. */
function choiceControl(store, row, name, label) {
  const select = choices(row, name);
  const element = make("div", { class: "control" }, make("span", { class: "name" }, label), select);
  select.addEventListener("change", () => store.set(row.path, Number(select.value)));
  select.addEventListener("dblclick", () => store.set(row.path, row.default));
  return { element, follow: (value) => (select.value = String(Math.round(value))) };
}

/**
 * Return a list to choose from; an entry's value is its index.
 * @param {import("./scale.js").Param} param
 * @param {string} name the accessible one
 * @returns {HTMLSelectElement}
 */
export function choices(param, name) {
  const options = param.choices.map((choice, k) => make("option", { value: String(k) }, words(choice)));
  return make("select", { "aria-label": name }, ...options);
}

/**
 * Return a button that stays pressed while a switch of the engine is on.
 * @param {Store} store
 * @param {string} path
 * @param {string} name the accessible one
 * @param {string} label
 * @returns {Control}
 */
export function pressed(store, path, name, label) {
  const button = make("button", { type: "button", class: "press", "aria-label": name }, label);
  button.dataset.path = path;
  button.addEventListener("click", () => store.set(path, store.value(path) >= 0.5 ? 0 : 1));
  const follow = (value) => button.setAttribute("aria-pressed", String(value >= 0.5));
  return { element: button, end: store.watch(path, follow) };
}
