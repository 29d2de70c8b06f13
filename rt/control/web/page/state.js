/** What the page knows: the board, the values, and who wants to hear of their changes. */

/**
 * @typedef {import("./scale.js").Param} Param
 * @typedef {Param & {path: string}} Row one movable parameter and its address
 */

const ON_ITS_WAY = 300; // ms that a board may be older than a move

export class Store {
  /** The description of what plays, as the server sent it; null before the first. */
  board = null;
  /** Whether the server takes changes from here. */
  writable = false;
  /** Whether the line stands. */
  online = false;
  #values = new Map();
  #moved = new Map(); // when a path was last moved from here, ms
  #watchers = new Map();
  #listeners = new Map();

  /** @param {(path: string, value: number) => void} send moves a parameter of the engine */
  constructor(send) {
    this.send = send;
  }

  /**
   * Hear of a topic: "hello", "board", "state", "meters", "histogram", "log", "column".
   * @param {string} topic
   * @param {(content: *) => void} listener
   */
  on(topic, listener) {
    if (!this.#listeners.has(topic)) this.#listeners.set(topic, []);
    this.#listeners.get(topic).push(listener);
  }

  /**
   * Tell those who hear of a topic.
   * @param {string} topic
   * @param {*} [content]
   */
  tell(topic, content) {
    for (const listener of this.#listeners.get(topic) ?? []) listener(content);
  }

  /**
   * Hear of one value, now and whenever it changes.
   * @param {string} path
   * @param {(value: number) => void} watcher
   * @returns {() => void} ends it
   */
  watch(path, watcher) {
    if (!this.#watchers.has(path)) this.#watchers.set(path, new Set());
    this.#watchers.get(path).add(watcher);
    if (this.#values.has(path)) watcher(this.#values.get(path));
    return () => this.#watchers.get(path).delete(watcher);
  }

  /**
   * Return a value in real units; undefined where nothing is known of it.
   * @param {string} path
   * @returns {number|undefined}
   */
  value(path) {
    return this.#values.get(path);
  }

  /**
   * Move a parameter: here at once, and in the engine.
   * @param {string} path
   * @param {number} value in real units, in range
   */
  set(path, value) {
    if (!this.canWrite()) return;
    this.send(path, value);
    this.#moved.set(path, performance.now());
    this.#take(path, value);
  }

  /** Say whether a change from here would reach the engine. */
  canWrite() {
    return this.online && this.writable;
  }

  /**
   * Take values that the engine applied.
   * @param {Object<string, number>} values by path
   */
  take(values) {
    for (const [path, value] of Object.entries(values)) this.#take(path, value);
  }

  /**
   * Take a new board and all its values, but those that were moved from here while it was on its way.
   * @param {Object} board
   * @param {Object<string, number>} values by path
   */
  takeBoard(board, values) {
    this.board = board;
    for (const path of this.#values.keys()) if (!(path in values)) this.#values.delete(path);
    const since = performance.now() - ON_ITS_WAY;
    const settled = Object.entries(values).filter(([path]) => !(this.#values.has(path) && this.#moved.get(path) > since));
    this.take(Object.fromEntries(settled)); // what stays keeps its controls; what is new finds its value when it is built
    this.tell("board", board);
  }

  /**
   * Take the state of the line.
   * @param {boolean} online
   * @param {boolean} writable
   */
  takeState(online, writable) {
    this.online = online;
    this.writable = writable;
    this.tell("state");
  }

  #take(path, value) {
    if (this.#values.get(path) === value) return;
    this.#values.set(path, value);
    for (const watcher of this.#watchers.get(path) ?? []) watcher(value);
  }
}
