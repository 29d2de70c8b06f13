/** The dialog that adds a stage: a list to search in, and the place where the stage goes. */

import { announce, find, make, words } from "./dom.js";
import { complain } from "./notice.js";

/**
 * Prepare the dialog.
 * @param {import("./state.js").Store} store
 * @param {import("./socket.js").Link} link
 */
export function adding(store, link) {
  const dialog = find("adding");
  const search = find("adding-search");
  const list = find("adding-list");
  const place = find("adding-place");

  const add = async (name) => {
    dialog.close();
    try {
      await link.command("chain/add", name, Number(place.value));
      announce(`${name} added`);
    } catch (error) {
      complain(error);
    }
  };
  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    const has = ([name, help]) => `${words(name)} ${name} ${help}`.toLowerCase().includes(wanted);
    const found = Object.entries(store.board.stages).filter(has);
    const first = ([name]) => (name.startsWith(wanted) ? 0 : 1); // a name that begins so comes before help that mentions it
    found.sort((a, b) => first(a) - first(b));
    const buttons = found.map(([name, help]) => {
      const button = make("button", { type: "button" }, make("b", {}, words(name)), make("span", {}, help));
      button.dataset.stage = name;
      button.addEventListener("click", () => add(name));
      return make("li", {}, button);
    });
    list.replaceChildren(...buttons);
    find("adding-none").hidden = found.length > 0;
  };

  find("add").addEventListener("click", () => {
    const { chain } = store.board;
    const places = chain.map(({ key }, k) => make("option", { value: String(k) }, `before ${words(key)}`));
    place.replaceChildren(...places, make("option", { value: String(chain.length) }, "at the end"));
    place.value = String(chain.at(-1)?.stage === "limiter" ? chain.length - 1 : chain.length);
    search.value = "";
    show();
    dialog.showModal();
    search.focus();
  });
  search.addEventListener("input", show);
  dialog.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (event.key === "Enter" && event.target === search) {
      event.preventDefault();
      buttons[0]?.click();
    } else if (event.key === "ArrowDown" && event.target !== place) {
      event.preventDefault();
      buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      event.preventDefault();
      (buttons[at - 1] ?? search).focus();
    }
  });
  find("adding-close").addEventListener("click", () => dialog.close());
}
