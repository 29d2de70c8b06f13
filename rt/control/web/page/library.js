/** Presets, scenes, undo and redo. */

import { announce, find, make } from "./dom.js";
import { complain } from "./notice.js";

/**
 * Show them.
 * @param {import("./state.js").Store} store
 * @param {import("./socket.js").Link} link
 */
export function library(store, link) {
  const list = find("preset");
  const ask = (said, name, ...args) =>
    link.command(name, ...args).then(() => announce(said), complain);
  let current;
  store.on("board", ({ state }) => {
    const names = state.presets ?? [];
    if (names.join("\n") !== [...list.options].map((option) => option.value).join("\n")) {
      const chosen = list.value;
      list.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
      list.value = names.includes(chosen) ? chosen : (state.preset ?? "");
    }
    if (state.preset !== current) {
      current = state.preset;
      list.value = current ?? "";
    }
    history("undo", state.undo);
    history("redo", state.redo);
    scenes(state, ask);
  });
  find("preset-load").addEventListener("click", () => {
    const seconds = Math.max(0, Number(find("morph").value) || 0);
    if (list.value) ask(`${list.value} loaded`, "preset/load", list.value, ...(seconds ? [seconds] : []));
  });
  for (const name of ["undo", "redo"]) find(name).addEventListener("click", () => ask(name, name));
  saving(store, ask);
}

/** Show whether there is something to undo or redo. */
function history(name, count) {
  find(name).disabled = !count;
  find(name).title = `${name} (${count ?? 0} steps)`;
}

/** Show the scenes, where there are any. */
function scenes(state, ask) {
  const names = state.scenes ?? [];
  find("scenes").hidden = !names.length;
  const list = find("scene-list");
  const focused = [...list.children].indexOf(document.activeElement);
  const buttons = names.map((name) => {
    const button = make("button", { type: "button", "aria-pressed": String(name === state.scene) }, name);
    button.addEventListener("click", () => ask(`scene ${name}`, "scene/go", name));
    return button;
  });
  list.replaceChildren(...buttons);
  buttons[focused]?.focus();
}

/** The dialog that saves what plays under a name. */
function saving(store, ask) {
  const dialog = find("save");
  const name = find("save-name");
  find("preset-save").addEventListener("click", () => {
    name.value = store.board.state.preset ?? "";
    dialog.showModal();
    name.select();
  });
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
    if (event.submitter?.value === "save") ask(`${name.value} saved`, "preset/save", name.value.trim());
  });
}

/**
 * Undo or redo one step, where there is one.
 * @param {"undo"|"redo"} name
 */
export function step(name) {
  find(name).click();
}
