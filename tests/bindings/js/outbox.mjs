// What is to be handed to the transport, and how much of it was (R-EVIDENCE-5).

const isControl = ({ shown }) => "ping" in shown || "pong" in shown;

export class Outbox {
  #items = [];

  /** `shown` is what the server reads; `done` is called when the last byte is handed. */
  put(shown, size, { owner = null, done = () => {}, first = false } = {}) {
    const item = { shown, size, owner, done, handed: 0 };
    const messages = this.#items.findIndex((each) => each.handed === 0 && !isControl(each));
    if (first && messages >= 0) this.#items.splice(messages, 0, item);
    else this.#items.push(item);
  }

  of(owner) {
    return this.#items.find((item) => item.owner === owner);
  }

  begun(owner) {
    return (this.of(owner)?.handed ?? 0) > 0;
  }

  /** Takes off what has not begun; false if it has. */
  withdraw(owner) {
    if (this.begun(owner)) return false;
    this.#items = this.#items.filter((item) => item.owner !== owner);
    return true;
  }

  /** Nothing of what waits is sent; what has begun is cut off. */
  clear() {
    const cut = this.#items[0]?.handed > 0;
    this.#items = [];
    return cut;
  }

  /** Only control frames are sent any more; true if a message is cut off: then nothing is. */
  keepControl() {
    if (this.#items[0]?.handed > 0 && !isControl(this.#items[0])) return this.clear();
    this.#items = this.#items.filter(isControl);
    return false;
  }

  replacePong(shown, size) {
    const waiting = this.#items.find((item) => "pong" in item.shown && item.handed === 0);
    if (waiting) Object.assign(waiting, { shown, size });
    else this.#items.splice(this.#items[0]?.handed > 0 ? 1 : 0, 0, { shown, size, owner: null, done: () => {}, handed: 0 });
  }

  hand(bytes) {
    const sent = [];
    let left = bytes;
    while (left > 0 && this.#items.length) {
      const [item] = this.#items;
      const part = Math.min(left, item.size - item.handed);
      item.handed += part;
      left -= part;
      if (item.handed < item.size) break;
      this.#items.shift();
      sent.push(item.shown);
      item.done();
    }
    return sent;
  }
}
