/** MIDI: in its mode, every parameter shows the controller that moves it, or offers to learn one. */

import { announce, find, make, words } from "./dom.js";
import { complain } from "./notice.js";

const NOTE = /\/note(_\d+)?$/; // parameters that play notes
const CHANNELS = 16;

/**
 * Prepare the mode; its button is there where the engine hears MIDI.
 * @param {import("./state.js").Store} store
 * @param {import("./socket.js").Link} link
 */
export function midi(store, link) {
  const mode = find("midi");
  const isOn = () => mode.getAttribute("aria-pressed") === "true";
  const show = () => {
    const known = store.board.state.midi;
    mode.hidden = !known;
    const places = isOn() && known ? document.querySelectorAll("[data-path]") : [];
    const kept = new Set();
    for (const place of places) kept.add(label(place, known, link));
    for (const button of document.querySelectorAll("button.midi")) if (!kept.has(button)) button.remove();
  };
  mode.addEventListener("click", () => {
    mode.setAttribute("aria-pressed", String(!isOn()));
    show();
  });
  store.on("board", show);
}

/**
 * Return what a parameter's button says and does.
 * @param {string} path
 * @param {{learning: ?string, controls: Object[], notes: Object[]}} known the board's state of MIDI
 * @returns {{text: string, long: string, command: string, bound: boolean}}
 */
function offer(path, { learning, controls, notes }) {
  const name = words(path.replace("/", " "));
  if (learning === path) return { text: "Move it…", long: `Stop learning ${name}`, command: "midi/forget", bound: false };
  const bound = controls.find((each) => each.path === path);
  if (bound) {
    const long = `Free ${name} from controller ${bound.controller}, channel ${bound.channel}`;
    return { text: `CC ${bound.controller}`, long, command: "midi/forget", bound: true };
  }
  const player = notes.find(({ stage }) => NOTE.test(path) && path.startsWith(`${stage}/`));
  if (player?.channels.length) {
    const which = player.channels.length < CHANNELS ? `Notes of ch. ${player.channels.join(", ")}` : "Notes";
    return { text: which, long: `Let ${player.stage} hear no notes (${name})`, command: "midi/forget", bound: true };
  }
  const long = `Learn ${player ? "the channel of notes" : "a controller"} for ${name}`;
  return { text: "Learn", long, command: "midi/learn", bound: false };
}

/** Bring the button of one parameter up to date, making it where it is missing; returns it. */
function label(place, known, link) {
  const { path } = place.dataset;
  const holder = place.matches("button") ? place.parentElement : place;
  let button = holder.querySelector(`button.midi[data-for="${CSS.escape(path)}"]`);
  if (!button) {
    button = make("button", { type: "button", class: "midi", "data-for": path });
    button.addEventListener("click", () => {
      const { command, done } = button.dataset;
      link.command(command, path).then(() => announce(done), complain);
    });
    if (holder === place) place.append(button);
    else place.after(button);
  }
  const { text, long, command, bound } = offer(path, known);
  button.textContent = text;
  button.title = long;
  button.setAttribute("aria-label", long);
  button.setAttribute("aria-pressed", String(known.learning === path));
  button.classList.toggle("bound", bound);
  Object.assign(button.dataset, { command, done: command === "midi/learn" ? "move the controller now" : "free" });
  return button;
}
