/** The master strip: mute, bypass, panic, recording, and the trims. */

import { control, pressed } from "./control.js";
import { announce, find, write } from "./dom.js";
import { complain } from "./notice.js";

/** The parameters that are buttons, and what a screen reader says when they change. */
const BUTTONS = {
  mute: ["Mute", "muted", "sounding"],
  bypass: ["Bypass", "bypassed: the dry voice is heard", "no longer bypassed"],
};

/**
 * Show the strip.
 * @param {import("./state.js").Store} store
 * @param {import("./socket.js").Link} link
 */
export function master(store, link) {
  let built = "";
  let controls = [];
  store.on("board", (board) => {
    const made = JSON.stringify(board.master);
    if (made === built) return;
    built = made;
    for (const each of controls) each.end();
    const faders = board.master.filter(({ name }) => !(name in BUTTONS));
    const buttons = Object.entries(BUTTONS).map(([name, [label]]) => pressed(store, `master/${name}`, label, label));
    const trims = faders.map((param) => control(store, { ...param, path: `master/${param.name}` }, "master"));
    controls = [...buttons, ...trims];
    find("master-buttons").replaceChildren(...buttons.map((each) => each.element));
    find("master-faders").replaceChildren(...trims.map((each) => each.element));
  });
  find("panic").addEventListener("click", () => panic(link));
  find("record").addEventListener("click", () => record(store, link));
  recordingTime(store);
}

/**
 * Switch one of BUTTONS over, and say so.
 * @param {import("./state.js").Store} store
 * @param {"mute"|"bypass"} name
 */
export function toggle(store, name) {
  if (!store.canWrite()) return;
  const on = !(store.value(`master/${name}`) >= 0.5);
  store.set(`master/${name}`, Number(on));
  announce(BUTTONS[name][on ? 1 : 2]);
}

/** Silence everything and forget every tail. */
function panic(link) {
  link.command("panic").catch(complain);
}

/**
 * Start or end the recording.
 * @param {import("./state.js").Store} store
 * @param {import("./socket.js").Link} link
 */
export function record(store, link) {
  link.command("record", !store.board.state.recording).catch(complain);
}

/** Show whether it records, into what, and for how long. */
function recordingTime(store) {
  const button = find("record");
  let since = 0;
  const show = () => {
    const seconds = since ? Math.floor((Date.now() - since) / 1000) : 0;
    write(find("record-time"), since ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : "");
  };
  store.on("board", ({ state: { recording } }) => {
    since = recording ? since || Date.now() : 0;
    button.setAttribute("aria-pressed", String(Boolean(recording)));
    button.title = recording ? `Recording to ${recording}` : "Record dry, wet and the events to disk";
    show();
  });
  setInterval(show, 500);
}
