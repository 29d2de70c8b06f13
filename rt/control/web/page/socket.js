/** The line to the engine's web server: messages both ways, and a new try whenever it breaks. */

const FIRST_WAIT = 250; // ms before the first new try; doubles up to LONGEST_WAIT
const LONGEST_WAIT = 4000; // ms
const SILENCE = 6000; // ms without a word, in a tab that is seen, after which the line is taken for dead
const COLLECT = 16; // ms after a message of moves in which further ones are gathered into the next

export class Link {
  #socket = null;
  #wait = FIRST_WAIT;
  #timer = 0;
  #heard = 0;
  #moves = new Map();
  #gathering = 0;
  #numbers = 0;
  #replies = new Map();
  #rate = { type: "rate", hz: 30, spectrum: true };

  /**
   * @param {Object} ears
   * @param {(message: Object) => void} ears.message a message of the server that is no reply
   * @param {(column: Uint8Array) => void} ears.column a column of a spectrum, its kind in front
   * @param {() => void} ears.lost the line broke; a new try follows
   */
  constructor(ears) {
    this.ears = ears;
    setInterval(() => this.#watch(), 1000);
    document.addEventListener("visibilitychange", () => this.#visible());
    this.connect();
  }

  /** Open the line now, in place of one that may stand. */
  connect() {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify(this.#rate));
    socket.onmessage = ({ data }) => socket === this.#socket && this.#hear(data);
    socket.onclose = () => socket === this.#socket && this.#lost();
    this.#socket = socket;
    this.#heard = performance.now();
  }

  /**
   * Move a parameter: at once, or where a message has just left, with the next one, which has the last value of each.
   * @param {string} path
   * @param {number} value in real units
   */
  set(path, value) {
    this.#moves.set(path, value);
    if (!this.#gathering) this.#sendMoves();
  }

  /**
   * Ask for something; resolves with its result, rejects with an Error that holds one clear line.
   * @param {string} name of the table of commands
   * @param {...(string|number|boolean)} args
   * @returns {Promise<*>}
   */
  command(name, ...args) {
    this.#sendMoves();
    const id = ++this.#numbers;
    return new Promise((resolve, reject) => {
      if (this.#send({ type: "command", id, name, args })) this.#replies.set(id, { resolve, reject });
      else reject(new Error("there is no connection to the engine"));
    });
  }

  /**
   * Say what should come how often; said again whenever the line opens.
   * @param {number} hz
   * @param {boolean} spectrum
   */
  rate(hz, spectrum) {
    if (this.#rate.hz === hz && this.#rate.spectrum === spectrum) return;
    this.#rate = { type: "rate", hz, spectrum };
    this.#send(this.#rate);
  }

  #send(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #sendMoves() {
    clearTimeout(this.#gathering);
    this.#gathering = 0;
    if (!this.#moves.size) return;
    this.#send({ type: "set", values: Object.fromEntries(this.#moves) });
    this.#moves.clear();
    this.#gathering = setTimeout(() => this.#sendMoves(), COLLECT);
  }

  #hear(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") {
      this.ears.column(new Uint8Array(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "reply") {
      const reply = this.#replies.get(message.id);
      this.#replies.delete(message.id);
      if (message.ok) reply?.resolve(message.result);
      else reply?.reject(new Error(message.error));
      return;
    }
    if (message.type === "hello") this.#wait = FIRST_WAIT;
    this.ears.message(message);
  }

  #lost() {
    for (const { reject } of this.#replies.values()) reject(new Error("the connection to the engine was lost"));
    this.#replies.clear();
    this.#moves.clear();
    this.ears.lost();
    this.#timer = setTimeout(() => this.connect(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
  }

  #watch() {
    const open = this.#socket.readyState === WebSocket.OPEN;
    if (open && !document.hidden && performance.now() - this.#heard > SILENCE) this.#socket.close();
  }

  #visible() {
    this.#heard = performance.now(); // a tab that was frozen has heard nothing, through no fault of the line
    if (!document.hidden && this.#socket.readyState === WebSocket.CLOSED) {
      this.#wait = FIRST_WAIT;
      this.connect();
    }
  }
}
