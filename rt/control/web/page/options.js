/** What is fixed while a stage runs, because it sets its delay or its layout: a change swaps the chain by a cross-fade. */

import { make, words } from "./dom.js";
import { choices } from "./control.js";
import { clamp, format, parse } from "./scale.js";

/**
 * Return the group of a stage's options.
 * @param {Object} stage an entry of the board's chain
 * @param {(name: string, value: number|string) => void} change asks the engine for another value
 * @returns {{element: HTMLElement, update: (stage: Object) => void}} `update` shows the values of a newer board
 */
export function options(stage, change) {
  const fields = stage.option_table.map((option) => field(stage, option, (value) => change(option.name, value)));
  const element = make(
    "div",
    { class: "options", role: "group", "aria-label": `${stage.key}, fixed while it runs` },
    make("p", { class: "remark" }, "Changed by a cross-fade"),
    ...fields.map((each) => each.element),
  );
  return {
    element,
    update(newer) {
      for (const each of fields) each.show(newer.options[each.name]);
    },
  };
}

/** One option. */
function field(stage, option, change) {
  const name = `${stage.key} ${words(option.name)}`;
  const input = option.choices.length
    ? choices(option, name)
    : make("input", { type: "text", class: "entry", autocomplete: "off", inputMode: "decimal", "aria-label": name });
  let current;
  const restore = () => {
    input.value = option.choices.length ? String(option.choices.indexOf(String(current))) : format(option, current);
  };
  input.addEventListener("change", () => {
    if (option.choices.length) {
      change(option.choices[Number(input.value)]);
      return;
    }
    const value = parse(option, input.value);
    restore();
    if (!Number.isNaN(value)) change(clamp(option, value));
  });
  input.addEventListener("blur", restore);
  const show = (value) => {
    current = value;
    if (document.activeElement !== input || option.choices.length) restore(); // nothing is taken from under a typing hand
  };
  const element = make("label", { class: "control option" }, make("span", { class: "name" }, words(option.name)), input);
  element.title = option.help;
  return { name: option.name, element, show };
}
