/** Whether the line stands, what engine it leads to, how it fares, and whether changes are taken. */

import { announce, find, write } from "./dom.js";
import { fixed } from "./scale.js";

const WRITE_EVERY = 6; // messages between writings of the load, so that it can be read

/**
 * Show the state.
 * @param {import("./state.js").Store} store
 * @param {import("./socket.js").Link} link
 */
export function status(store, link) {
  store.on("board", (board) => {
    write(find("engine"), board.name);
    find("engine").title = `session ${board.session}`;
    const channels = `${board.in_channels} in, ${board.out_channels} out`;
    write(find("fact-driver"), `${board.backend}, ${board.sample_rate / 1000} kHz, ${board.block} frames, ${channels}`);
    document.title = `${board.name} – AutoVoice`;
  });
  let count = 0;
  store.on("meters", (message) => {
    countOf("xruns", message.xruns);
    countOf("misses", message.misses);
    if (count++ % WRITE_EVERY === 0) write(find("fact-load"), `${fixed(100 * message.load, 1)} %`);
  });
  connection(store);
  token(link);
}

/** Write a count that should be 0. */
function countOf(name, count) {
  const element = find(`fact-${name}`);
  write(element, String(count));
  element.classList.toggle("warn", count > 0);
}

/** Say when the line is lost and when it stands again; without it, or without the right, nothing can be moved. */
function connection(store) {
  let focused = null;
  let known = null;
  store.on("state", () => {
    if (known === null && !store.online) return; // the first try is still under way
    if (known && !store.online) focused = document.activeElement;
    document.body.dataset.link = store.online ? "live" : "lost";
    write(find("link"), store.online ? "Connected" : "Connection lost, trying again");
    find("token").hidden = !store.online || store.writable;
    enable(store);
    if (known !== null && known !== store.online) announce(store.online ? "connected again" : "connection lost, trying again");
    if (store.online && focused?.isConnected) {
      focused.focus({ preventScroll: true });
      focused = null;
    }
    known = store.online;
  });
  store.on("board", () => enable(store));
}

/** Let every control be used, or none. */
function enable(store) {
  for (const set of document.querySelectorAll("fieldset.writes")) set.disabled = !store.canWrite();
}

/** Let a person type the token that makes this browser one that may write. */
function token(link) {
  find("token").addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = find("token-field");
    const asked = fetch(`/?token=${encodeURIComponent(field.value)}`, { headers: { Accept: "text/html" } });
    const answer = await asked.catch(() => null);
    write(find("token-error"), answer?.ok ? "" : await reason(answer));
    field.value = "";
    if (answer?.ok) link.connect();
  });
}

/** Return why a token was refused. */
async function reason(answer) {
  const said = await answer?.json().catch(() => null);
  return said?.error ?? "the server does not answer";
}
