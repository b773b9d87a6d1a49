// WebSocket frames of RFC 6455 as turnwire uses them: text messages, and no extension (P-CONN-6).

const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const NO_CODE = 1005;
const CLOSE_REASON_BYTES = 123;

class Violation extends Error {
  constructor(code) {
    super(`violation ${code}`);
    this.code = code;
  }
}

function decode(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Violation(1007);
  }
}

const mayBeSent = (code) => (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);

function applyMask(bytes, mask) {
  return mask ? bytes.map((byte, index) => byte ^ mask[index % 4]) : bytes;
}

/** Cuts bytes into items: text, ping, pong, close, violation. After the last two nothing comes out. */
export class Reader {
  constructor(role, maxMessageSize = null) {
    this.masked = role === "server";
    this.limit = maxMessageSize ?? Infinity;
    this.buffer = Buffer.alloc(0);
    this.fragments = null;
    this.ended = false;
  }

  feed(bytes) {
    const items = [];
    this.buffer = Buffer.concat([this.buffer, bytes]);
    try {
      while (!this.ended) {
        const frame = this.#frame();
        if (!frame) break;
        const item = this.#item(frame);
        if (item) items.push(item);
      }
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.ended = true;
      items.push({ violation: error.code });
    }
    return items;
  }

  #frame() {
    const { buffer } = this;
    if (buffer.length < 2) return null;
    const head = { final: (buffer[0] & 0x80) !== 0, opcode: buffer[0] & 0x0f };
    if (buffer[0] & 0x70) throw new Violation(1002);
    if (((buffer[1] & 0x80) !== 0) !== this.masked) throw new Violation(1002);
    this.#checkOpcode(head, buffer[1] & 0x7f);
    const [length, start] = this.#length(buffer[1] & 0x7f);
    if (length === null) return null;
    if (head.opcode < CLOSE && length + this.#gathered() > this.limit) throw new Violation(1009);
    const payloadStart = start + (this.masked ? 4 : 0);
    if (buffer.length < payloadStart + length) return null;
    const mask = this.masked ? buffer.subarray(start, payloadStart) : null;
    const payload = applyMask(buffer.subarray(payloadStart, payloadStart + length), mask);
    this.buffer = buffer.subarray(payloadStart + length);
    return { ...head, payload };
  }

  #checkOpcode({ final, opcode }, length) {
    if (opcode === BINARY) throw new Violation(1003);
    if (![CONTINUATION, TEXT, CLOSE, PING, PONG].includes(opcode)) throw new Violation(1002);
    if (opcode >= CLOSE && (!final || length > 125)) throw new Violation(1002);
    if (opcode === CONTINUATION && this.fragments === null) throw new Violation(1002);
    if (opcode === TEXT && this.fragments !== null) throw new Violation(1002);
  }

  #length(short) {
    const { buffer } = this;
    if (short < 126) return [short, 2];
    const end = short === 126 ? 4 : 10;
    if (buffer.length < end) return [null, end];
    const length = short === 126 ? buffer.readUInt16BE(2) : buffer.readBigUInt64BE(2);
    if (short === 127 && length >> 63n) throw new Violation(1002);
    if (length < (short === 126 ? 126 : 65536)) throw new Violation(1002);
    return [Number(length), end];
  }

  #gathered() {
    return (this.fragments ?? []).reduce((sum, part) => sum + part.length, 0);
  }

  #item({ final, opcode, payload }) {
    if (opcode === PING) return { ping: payload.toString("hex") };
    if (opcode === PONG) return { pong: payload.toString("hex") };
    if (opcode === CLOSE) return this.#close(payload);
    this.fragments = [...(this.fragments ?? []), payload];
    if (!final) return null;
    const whole = Buffer.concat(this.fragments);
    this.fragments = null;
    return { text: decode(whole) };
  }

  #close(payload) {
    if (payload.length === 1) throw new Violation(1002);
    const code = payload.length ? payload.readUInt16BE(0) : NO_CODE;
    if (payload.length && !mayBeSent(code)) throw new Violation(1002);
    const reason = decode(payload.subarray(2));
    this.ended = true;
    return { close: code, reason };
  }
}

/** One frame; `mask` is four bytes for a client, null for a server. */
export function encodeFrame(opcode, payload, mask) {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65536 ? 2 : 8;
  const head = Buffer.alloc(2 + extended);
  head[0] = 0x80 | opcode;
  head[1] = (mask ? 0x80 : 0) | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) head.writeUInt16BE(length, 2);
  if (extended === 8) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, mask ?? Buffer.alloc(0), applyMask(payload, mask)]);
}

/** The payload of a close frame; a reason that is too long is cut between two characters. */
export function closePayload(code, reason = "") {
  if (code === NO_CODE) return Buffer.alloc(0);
  let words = "";
  for (const character of reason) {
    if (Buffer.byteLength(words + character) > CLOSE_REASON_BYTES) break;
    words += character;
  }
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(words)]);
}

export function readAll({ role, pieces, max_message_size }) {
  const reader = new Reader(role, max_message_size);
  return { items: pieces.flatMap((piece) => reader.feed(Buffer.from(piece, "hex"))) };
}

export function encode({ text, ping, pong, close, reason, mask }) {
  const key = mask ? Buffer.from(mask, "hex") : null;
  let frame;
  if (typeof text === "string") frame = encodeFrame(TEXT, Buffer.from(text), key);
  else if (typeof ping === "string") frame = encodeFrame(PING, Buffer.from(ping, "hex"), key);
  else if (typeof pong === "string") frame = encodeFrame(PONG, Buffer.from(pong, "hex"), key);
  else frame = encodeFrame(CLOSE, closePayload(close, reason), key);
  return { bytes: frame.toString("hex") };
}
