/** What happened: xruns, misses, late wakes, notices and errors, each with the time of day. */

import { find, make } from "./dom.js";
import { complain } from "./notice.js";

const MOST = 200; // lines

/**
 * Show the log.
 * @param {import("./state.js").Store} store
 */
export function log(store) {
  const list = find("log");
  let began = null; // ms since 1970 at which the engine's clock was 0
  let waiting = []; // lines that came before the first meters told it
  const show = ({ t, kind, text }) => {
    const when = t ? new Date(began + 1000 * t) : new Date();
    const time = make("time", { dateTime: when.toISOString() }, when.toLocaleTimeString([], { hourCycle: "h23" }));
    list.prepend(make("li", { class: `kind-${kind}` }, time, make("b", {}, kind), make("span", {}, text)));
    while (list.children.length > MOST) list.lastChild.remove();
    find("log-empty").hidden = true;
  };
  store.on("meters", ({ t }) => {
    began = Date.now() - 1000 * t;
    if (!waiting.length) return;
    waiting.forEach(show);
    waiting = [];
  });
  store.on("log", (line) => {
    if (began === null) {
      waiting.push(line);
      return;
    }
    show(line);
    if (line.kind === "error") complain(new Error(line.text));
  });
  store.on("hello", () => {
    began = null; // the server tells its last lines anew, and may be another one
    list.replaceChildren();
    find("log-empty").hidden = false;
  });
}
