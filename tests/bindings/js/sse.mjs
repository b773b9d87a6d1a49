// The event stream of the HTML standard, with a limit for a line and for the data of an event (V-SSE-1).

export class EventStream {
  constructor(limit = null) {
    this.limit = limit ?? Infinity;
    this.line = "";
    this.started = false;
    this.afterReturn = false;
    this.data = null;
    this.name = "";
    this.id = "";
    this.retry = null;
    this.tooLong = false;
    this.events = [];
  }

  feed(piece) {
    for (const character of piece) {
      if (this.tooLong) return;
      this.#character(character);
    }
  }

  #character(character) {
    if (!this.started) {
      this.started = true;
      if (character === "\ufeff") return;
    }
    const newline = character === "\n";
    if (newline && this.afterReturn) {
      this.afterReturn = false;
      return;
    }
    this.afterReturn = character === "\r";
    if (newline || this.afterReturn) {
      const { line } = this;
      this.line = "";
      this.#take(line);
    } else {
      this.line += character;
      this.#check(this.line);
    }
  }

  #check(text) {
    if (Buffer.byteLength(text) > this.limit) this.tooLong = true;
  }

  #take(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") {
      this.data = this.data === null ? value : `${this.data}\n${value}`;
      this.#check(this.data);
    } else if (field === "event") this.name = value;
    else if (field === "id" && !value.includes("\0")) this.id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
  }

  #dispatch() {
    if (this.data !== null) this.events.push({ event: this.name || "message", data: this.data, id: this.id });
    this.data = null;
    this.name = "";
  }
}

export function readStream({ pieces, limit }) {
  const stream = new EventStream(limit);
  pieces.forEach((piece) => stream.feed(piece));
  return { events: stream.events, retry: stream.retry, too_long: stream.tooLong };
}
