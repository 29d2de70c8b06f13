/** The chain: its cards in order, kept in step with the board. */

import { Card } from "./card.js";
import { announce, find, write } from "./dom.js";
import { complain } from "./notice.js";
import { Drag } from "./reorder.js";

const GATHER = 250; // ms after the last step by key in which a stage moves once for all of them
const ON_ITS_WAY = 600; // ms in which the board that shows a move comes after the answer to it

export class Chain {
  /**
   * @param {import("./state.js").Store} store
   * @param {import("./socket.js").Link} link
   */
  constructor(store, link) {
    this.store = store;
    this.link = link;
    this.list = find("chain");
    this.cards = [];
    this.moving = 0;
    this.deeds = {
      remove: (key, byKey) => this.#remove(key, byKey),
      option: (key, name, value) => link.command("chain/option", key, name, value).catch((error) => this.#refused(error)),
      grab: (card, event) => new Drag(this.list, card, event, (place) => this.#move(card, place, 0)),
      nudge: (card, event) => this.#nudge(card, event),
    };
    store.on("board", (board) => this.#render(board));
    store.on("meters", ({ gains }) => this.#gains(gains));
  }

  /** Bring the cards in line with a board; a card of the same make stays, with whatever is focused in it. */
  #render(board) {
    const old = new Map(this.cards.map((card) => [card.key, card]));
    const focused = document.activeElement;
    const order = this.moving ? this.cards.map((card) => card.key) : [];
    const chain = order.length === board.chain.length ? sorted(board.chain, order) : board.chain;
    this.cards = chain.map((stage) => {
      const card = old.get(stage.key);
      if (card?.signature === Card.signature(stage)) {
        old.delete(stage.key);
        return card;
      }
      return new Card(this.store, stage, this.deeds);
    });
    for (const card of old.values()) card.end();
    this.#arrange(focused);
    this.cards.forEach((card, place) => card.update(chain[place], place, chain.length, board.sample_rate));
    const count = chain.length === 1 ? "1 stage" : `${chain.length} stages`;
    write(find("chain-about"), [count, origin(board.state)].filter(Boolean).join(", "));
  }

  /** Put the elements into the order of the cards, moving only what must move. */
  #arrange(focused) {
    this.cards.forEach((card, place) => {
      const there = this.list.children[place];
      if (there !== card.element) this.list.insertBefore(card.element, there ?? null);
    });
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  /** Move a card here at once, and in the engine when no further step has come for a while. */
  #move(card, place, wait) {
    const from = this.cards.indexOf(card);
    const to = Math.min(this.cards.length - 1, Math.max(0, place));
    if (to === from) return;
    this.cards.splice(to, 0, ...this.cards.splice(from, 1));
    this.#arrange(document.activeElement);
    const stages = new Map(this.store.board.chain.map((stage) => [stage.key, stage]));
    this.cards.forEach((each, k) =>
      each.update(stages.get(each.key), k, this.cards.length, this.store.board.sample_rate),
    );
    announce(`${card.key} is ${to + 1} of ${this.cards.length}`);
    clearTimeout(this.moving);
    this.moving = setTimeout(() => this.#settle(card), wait);
  }

  /** Have the engine move a card; until its board shows that, the order here stands. */
  async #settle(card) {
    const mine = this.moving;
    try {
      await this.link.command("chain/move", card.key, this.cards.indexOf(card));
    } catch (error) {
      this.#refused(error);
      return;
    }
    if (mine === this.moving) this.moving = setTimeout(() => this.#settled(), ON_ITS_WAY);
  }

  #settled() {
    clearTimeout(this.moving);
    this.moving = 0;
    this.#render(this.store.board);
  }

  /** Show why the engine refused, and what it plays instead. */
  #refused(error) {
    complain(error);
    this.#settled();
  }

  #nudge(card, event) {
    const steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!steps) return;
    event.preventDefault();
    this.#move(card, this.cards.indexOf(card) + steps, GATHER);
    card.handle.scrollIntoView({ block: "nearest" });
  }

  async #remove(key, byKey) {
    const place = this.cards.findIndex((card) => card.key === key);
    try {
      await this.link.command("chain/remove", key);
      announce(`${key} removed`);
      if (byKey) (this.cards[Math.min(place, this.cards.length - 1)]?.handle ?? find("add")).focus();
    } catch (error) {
      this.#refused(error);
    }
  }

  /** Show what the dynamics stages do; the bus has one gain for each kind, so the first of a kind shows it. */
  #gains(gains) {
    const shown = new Set();
    for (const card of this.cards) {
      const db = gains[`${card.stage}_db`];
      if (db === undefined || shown.has(card.stage)) continue;
      shown.add(card.stage);
      card.showGain(db);
    }
  }
}

/** Say where the sound comes from. */
function origin({ preset, edited, morph }) {
  if (morph) return `gliding to ${morph}`;
  return preset ? `from ${preset}${edited ? ", edited" : ""}` : "";
}

/** Return the stages of a chain in another order of their keys. */
function sorted(chain, order) {
  return [...chain].sort((a, b) => order.indexOf(a.key) - order.indexOf(b.key));
}
