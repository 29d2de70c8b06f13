/** Dragging a card to another place of its list, by mouse, pen or finger. */

const START = 4; // px before a press becomes a drag
const EDGE = 90; // px from the top and bottom of the window in which it scrolls
const SPEED = 9; // px per frame while it scrolls

export class Drag {
  /**
   * @param {HTMLElement} list
   * @param {import("./card.js").Card} card
   * @param {PointerEvent} event the press on the card's handle
   * @param {(place: number) => void} drop says where the card goes, from 0
   */
  constructor(list, card, event, drop) {
    if (event.button !== 0) return;
    Object.assign(this, { list, card, drop, pressed: event.clientY, y: event.clientY, on: false });
    const { handle } = card;
    handle.setPointerCapture(event.pointerId);
    const ears = new AbortController();
    const hear = (type, act) => handle.addEventListener(type, act, { signal: ears.signal });
    const end = (dropped) => {
      ears.abort();
      if (this.on) this.#end(dropped);
    };
    hear("pointermove", (moved) => this.#move(moved));
    hear("pointerup", () => end(true));
    hear("pointercancel", () => end(false));
    hear("keydown", (pressed) => pressed.key === "Escape" && end(false));
  }

  #move(event) {
    this.y = event.clientY;
    if (!this.on && Math.abs(this.y - this.pressed) >= START) this.#start();
    if (this.on) this.#place();
  }

  /** Fold all cards, so that a long chain can be overlooked, and keep the grabbed one under the pointer. */
  #start() {
    this.on = true;
    const top = this.card.element.getBoundingClientRect().top;
    this.list.classList.add("reordering");
    this.card.element.classList.add("grabbed");
    scrollBy({ top: this.card.element.getBoundingClientRect().top - top, behavior: "instant" });
    const missing = top - this.card.element.getBoundingClientRect().top; // what could not be scrolled at the page's top
    this.list.style.paddingTop = `${Math.max(0, missing)}px`;
    this.cards = [...this.list.children];
    this.from = this.to = this.cards.indexOf(this.card.element);
    this.tops = this.cards.map((each) => each.offsetTop - this.list.offsetTop);
    this.height = this.card.element.offsetHeight;
    this.step = this.cards.length > 1 ? this.tops[1] - this.tops[0] : this.height; // all heads are alike
    this.grip = this.pressed - top;
    this.#scroll();
  }

  /** Lay the card where the pointer is, and make room for it where it would go. */
  #place() {
    const top = this.y - this.grip - this.list.getBoundingClientRect().top;
    const place = Math.round((top - this.tops[0]) / this.step);
    this.to = Math.min(this.cards.length - 1, Math.max(0, place));
    this.cards.forEach((each, k) => {
      let shift = 0;
      if (k === this.from) shift = top - this.tops[k];
      else if (k > this.from && k <= this.to) shift = -this.step;
      else if (k < this.from && k >= this.to) shift = this.step;
      each.style.transform = shift ? `translateY(${shift}px)` : "";
    });
  }

  #scroll() {
    if (!this.on) return;
    if (this.y < EDGE) scrollBy(0, -SPEED);
    else if (this.y > innerHeight - EDGE) scrollBy(0, SPEED);
    this.#place();
    requestAnimationFrame(() => this.#scroll());
  }

  #end(dropped) {
    this.on = false;
    for (const each of this.cards) each.style.transform = "";
    this.card.element.classList.remove("grabbed");
    this.list.classList.remove("reordering");
    this.list.style.paddingTop = "";
    if (dropped) this.drop(this.to);
    const top = this.card.element.getBoundingClientRect().top;
    scrollBy({ top: top + this.grip - this.y, behavior: "instant" });
  }
}
