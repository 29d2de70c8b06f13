/** One stage of the chain, as a card: its head to move, bypass and remove it, and its controls. */

import { control, pressed } from "./control.js";
import { icon, make, words, write } from "./dom.js";
import { options } from "./options.js";
import { fixed } from "./scale.js";

const FOLDED = "autovoice.folded"; // in the browser's storage: by key, whether a stage was folded by hand
const NARROW = matchMedia("(max-width: 44rem)"); // where cards begin folded
const DEEPEST = 24; // dB of gain reduction at the end of its bar
const GAIN_EVERY = 3; // meter messages between writings of the gain, so that it can be read

/**
 * What the chain does for its cards.
 * @typedef {Object} Deeds
 * @property {(key: string, byKey: boolean) => void} remove
 * @property {(key: string, name: string, value: number|string) => void} option
 * @property {(card: Card, event: PointerEvent) => void} grab
 * @property {(card: Card, event: KeyboardEvent) => void} nudge
 */

export class Card {
  /**
   * @param {import("./state.js").Store} store
   * @param {Object} stage an entry of the board's chain
   * @param {Deeds} deeds
   */
  constructor(store, stage, deeds) {
    this.key = stage.key;
    this.stage = stage.stage;
    this.signature = Card.signature(stage);
    this.controls = [];
    this.delay = make("span", { class: "delay" });
    this.number = make("span", { class: "number", "aria-hidden": "true" });
    this.gain = make("span", { class: "gain", hidden: true }, make("span", { class: "amount" }), make("i"));
    this.ticks = 0;
    this.handle = make("button", { type: "button", class: "icon handle", "aria-describedby": "handle-help" }, icon("grip"));
    this.handle.addEventListener("pointerdown", (event) => deeds.grab(this, event));
    this.handle.addEventListener("keydown", (event) => deeds.nudge(this, event));
    const about = stage.help.split("\n")[0];
    const body = this.#body(store, stage, deeds);
    const bypass = pressed(store, `${stage.key}/bypass`, `Bypass ${stage.key}`, "Bypass");
    this.controls.push(bypass);
    const remove = make("button", { type: "button", class: "icon", "aria-label": `Remove ${stage.key}` }, icon("remove"));
    remove.addEventListener("click", (event) => deeds.remove(stage.key, event.detail === 0));
    this.head = make(
      "div",
      { class: "head" },
      make("fieldset", { class: "writes", role: "presentation" }, this.handle),
      this.number,
      make("h3", {}, words(stage.key)),
      make("p", { class: "about", title: about }, about),
      this.gain,
      this.delay,
      make("fieldset", { class: "writes", role: "presentation" }, bypass.element),
      body ? this.#folder(body) : make("span", { class: "icon" }),
      make("fieldset", { class: "writes", role: "presentation" }, remove),
    );
    this.element = make("li", { class: "card" }, this.head, ...(body ? [body] : []));
    this.element.dataset.key = stage.key;
    const bypassed = (value) => this.element.classList.toggle("bypassed", value >= 0.5);
    this.controls.push({ end: store.watch(`${stage.key}/bypass`, bypassed) });
  }

  /**
   * Return what a card is made of; another needs a new card.
   * @param {Object} stage an entry of the board's chain
   * @returns {string}
   */
  static signature(stage) {
    return JSON.stringify([stage.stage, stage.parameters, stage.option_table]);
  }

  /**
   * Show a stage as a newer board has it.
   * @param {Object} stage an entry of the board's chain
   * @param {number} place in the chain, from 0
   * @param {number} count of stages
   * @param {number} sampleRate Hz
   */
  update(stage, place, count, sampleRate) {
    this.fixed?.update(stage);
    write(this.delay, stage.latency ? `${fixed((1000 * stage.latency) / sampleRate, 2)} ms` : "");
    this.delay.title = `${stage.latency} frames of delay`;
    write(this.number, String(place + 1));
    this.handle.setAttribute("aria-label", `Move ${stage.key}, ${place + 1} of ${count}`);
  }

  /**
   * Show the gain that a dynamics stage applies.
   * @param {number} db 0 or below
   */
  showGain(db) {
    this.gain.hidden = false;
    this.gain.style.setProperty("--share", Math.min(1, -db / DEEPEST));
    if (this.ticks++ % GAIN_EVERY === 0) write(this.gain.firstChild, `${fixed(db, 1)} dB`);
  }

  /** Stop following values; the card leaves the page. */
  end() {
    for (const each of this.controls) each.end();
    this.element.remove();
  }

  /** Return the controls under the head; nothing where a stage has none. */
  #body(store, stage, deeds) {
    if (!stage.parameters.length && !stage.option_table.length) return null;
    const groups = grouped(stage.parameters).map(({ title, members }) => {
      const made = members.map(({ param, label }) =>
        control(store, { ...param, path: `${stage.key}/${param.name}` }, stage.key, label),
      );
      this.controls.push(...made);
      const elements = made.map((each) => each.element);
      if (!title) return make("div", { class: "grid" }, ...elements);
      return make(
        "div",
        { class: "grid titled", role: "group", "aria-label": `${stage.key} ${title}` },
        make("h4", {}, title),
        ...elements,
      );
    });
    if (stage.option_table.length) {
      this.fixed = options(stage, (name, value) => deeds.option(stage.key, name, value));
      groups.push(this.fixed.element);
    }
    return make("fieldset", { class: "writes body", role: "presentation", id: `body-${stage.key}` }, ...groups);
  }

  /** Return the button that folds the controls away; the browser remembers it. */
  #folder(body) {
    const button = make("button", { type: "button", class: "icon fold", "aria-controls": body.id }, icon("fold"));
    const show = (folded) => {
      body.hidden = folded;
      button.setAttribute("aria-expanded", String(!folded));
      button.setAttribute("aria-label", `Controls of ${this.key}`);
    };
    button.addEventListener("click", () => {
      show(!body.hidden);
      localStorage.setItem(FOLDED, JSON.stringify({ ...remembered(), [this.key]: body.hidden }));
    });
    show(remembered()[this.key] ?? NARROW.matches);
    return button;
  }
}

/** Return which stages were folded by hand, and which unfolded. */
function remembered() {
  return JSON.parse(localStorage.getItem(FOLDED) ?? "{}");
}

/**
 * Put parameters with a number in their name together: `band1_gain` under "band 1", `level_2` and `pan_2` under "2".
 * @param {import("./scale.js").Param[]} parameters
 * @returns {{title: string, members: {param: import("./scale.js").Param, label: string}[]}[]}
 */
export function grouped(parameters) {
  const numbered = (name) => {
    const front = name.match(/^([a-z]+)(\d+)_(.+)$/);
    if (front) return { title: `${front[1]} ${front[2]}`, label: words(front[3]) };
    const back = name.match(/^(.+)_(\d+)$/);
    const several = back && parameters.filter((other) => other.name.endsWith(`_${back[2]}`)).length > 1;
    return several ? { title: back[2], label: words(back[1]) } : { title: "", label: words(name) };
  };
  const groups = [];
  for (const param of parameters) {
    const { title, label } = numbered(param.name);
    if (groups.at(-1)?.title !== title) groups.push({ title, members: [] });
    groups.at(-1).members.push({ param, label });
  }
  return groups;
}
