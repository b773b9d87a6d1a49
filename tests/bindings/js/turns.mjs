// One turn and its deadlines (P-DEFAULT-1, P-DEFAULT-3), and one steer or injection.

import { tables, inOrder } from "./tables.mjs";
import { judge } from "./verdicts.mjs";

const DEADLINES = { LANE_WAIT: "lane", CONNECT: "connect", HANDSHAKE: "connect", SEND: "send", AWAIT: "receive", STREAM: "receive" };

export class Turn {
  phase = "LANE_WAIT";
  state = "LIVE"; // LIVE, ABANDONED, DONE or FAILED: of the consumer
  running = false; // it was given its lane, and the server may not have ended it
  ids = new Set(); // of its responses
  items = new Set();
  responseId = null;
  sentName = null;
  unknownEvent = false;
  leftAt = null; // when its consumer left it in the middle of its message, which goes on
  left = false; // its consumer has left it, or its deadline has passed, and the server may run it
  overdue = false; // so, and its limits have passed without an end
  between = null; // the outcome of the last response, while another may follow (P-STEER-16)
  inputs = [];

  constructor({ turn, fields, lane, timeouts }, message, now) {
    Object.assign(this, { name: turn, fields, lane: lane ?? null, message, timeouts: timeouts ?? {} });
    this.created = now;
    this.since = now;
  }

  get inFlight() {
    return this.running && this.leftAt === null && inOrder(this.phase) >= inOrder("AWAIT");
  }

  enter(phase, now) {
    const sameClock = DEADLINES[phase] === DEADLINES[this.phase] && phase !== "STREAM";
    this.phase = phase;
    if (!sameClock) this.since = now;
  }

  /** When the next limit passes, or null. */
  deadline() {
    if (this.state !== "LIVE") return null;
    const limits = [
      [this.since, this.timeouts[DEADLINES[this.phase]]],
      [this.created, this.timeouts.total],
    ];
    const times = limits.filter(([, seconds]) => (seconds ?? null) !== null).map(([from, seconds]) => from + seconds);
    return times.length ? Math.min(...times) : null;
  }

  fail(cause, more = {}) {
    const evidence = { phase: this.phase, cause, unknown_event: this.unknownEvent, ...more };
    const { refusal, verdict } = judge(evidence);
    this.state = "FAILED";
    this.ending = { turn: this.name, failed: cause, phase: this.phase, refusal, verdict, response_id: this.responseId };
  }

  complete(outcome) {
    this.state = "DONE";
    this.ending = { turn: this.name, outcome, response_id: this.responseId };
  }
}

export class Input {
  state = "HELD";
  code = null;
  steerId = null;
  responseId = null;

  constructor(name, kind, turn, input) {
    Object.assign(this, { name, kind, turn, input });
  }

  get facts() {
    return tables.input_facts[this.state];
  }

  /** Moves by a signal of the table; a signal that has no move here changes nothing. */
  take(signal, code = null) {
    const move = tables.machines.input.moves.find(([from, by]) => from === this.state && by === signal);
    if (!move) return false;
    this.state = move[2];
    if (code) this.code = code;
    return true;
  }

  message() {
    if (this.kind === "steer") return { type: "response.steer", previous_response_id: this.responseId, input: this.input };
    return { type: "response.inject", response_id: this.responseId, input: this.input };
  }

  report() {
    return { input: this.name, state: this.state, verdict: this.facts.verdict, code: this.code };
  }
}
