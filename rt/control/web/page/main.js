/** The page of a running engine: brings its parts together. */

import { adding } from "./add.js";
import { budget } from "./budget.js";
import { Chain } from "./chain.js";
import { histogram } from "./histogram.js";
import { keys } from "./keys.js";
import { library } from "./library.js";
import { log } from "./log.js";
import { master } from "./master.js";
import { meters } from "./meters.js";
import { midi } from "./midi.js";
import { pitch } from "./pitch.js";
import { Link } from "./socket.js";
import { spectrogram } from "./spectrogram.js";
import { Store } from "./state.js";
import { status } from "./status.js";

const SEEN_HZ = 30; // meters a second while the tab is seen
const HIDDEN_HZ = 0.5; // enough to keep the counts true

const store = new Store((path, value) => link.set(path, value));
const link = new Link({
  lost: () => store.takeState(false, false),
  column: (column) => store.tell("column", column),
  message(message) {
    if (message.type === "hello") {
      performance.mark("autovoice:hello");
      store.takeState(true, message.write);
      store.tell("hello");
      store.takeBoard(message.board, message.values);
      performance.mark("autovoice:ready");
    } else if (message.type === "board") store.takeBoard(message.board, message.values);
    else if (message.type === "values") store.take(message.values);
    else store.tell(message.type, message);
  },
});

master(store, link);
new Chain(store, link);
library(store, link);
adding(store, link);
meters(store);
pitch(store);
const spectrum = spectrogram(store);
budget(store);
histogram(store);
log(store);
keys(store);
midi(store, link);
status(store, link); // the last to hear of a board, when all the controls that it enables are there

/** Ask for what can be seen, and for no more. */
function demand() {
  link.rate(document.hidden ? HIDDEN_HZ : SEEN_HZ, !document.hidden && spectrum.inView());
}
document.addEventListener("visibilitychange", demand);
setInterval(demand, 500);
