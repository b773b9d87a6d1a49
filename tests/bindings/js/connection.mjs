// One connection to a server that has accepted, or will accept, a WebSocket: no I/O and no clock.

import { inRanges, tables } from "./tables.mjs";
import { UserError, isObject, member, parseJson } from "./values.mjs";
import { Reader } from "./frames.mjs";
import { eventOf } from "./events.mjs";
import { errorOf } from "./errors.mjs";
import { messageOf, laneOf } from "./requests.mjs";
import { Lanes } from "./lanes.mjs";
import { Ended, isOfEnded, laneOfEnded, ownerOf, ownerOfError, ownerOfNeutral } from "./owners.mjs";
import { Outbox } from "./outbox.mjs";
import { Turn } from "./turns.mjs";
import { targetWithin } from "./urls.mjs";
import { answerInput, checkInput, openInputs, settleInputs } from "./steering.mjs";

const FRAME_HEAD = 14;
const ORIGIN = "https://example.org";
const MOST_REDIRECTS = 5;
const SHORT_MESSAGE = 16 * 1024;
const INVALID_CLIENT_EVENT = ["unsupported_event_type", "invalid_json"];
const OPTIONS = Object.fromEntries(Object.entries(tables.connection_options).map(([name, field]) => [name, field.default]));
const bytesOf = (message) => Buffer.byteLength(JSON.stringify(message));

function refuse(name) {
  const error = new UserError(name);
  error.name = name;
  throw error;
}

/** One by its name, or the members of another one (V-CONNECTION-1). */
function dialectOf(given) {
  return isObject(given) ? { ...tables.dialects.unknown, ...given } : tables.dialects[given ?? "unknown"];
}

export class Connection {
  constructor(options, target = "/v1/responses") {
    this.options = { ...OPTIONS, ...options };
    this.options.ping_interval = options.ping_interval ?? null;
    this.dialect = dialectOf(this.options.dialect);
    this.lanes = new Lanes(this.dialect, this.options);
    this.steering = this.dialect.steering;
    this.target = target;
    this.state = tables.machines.connection.first;
    this.now = 0;
    this.opening = 0; // since when
    this.heard = 0; // when anything was received last
    this.pinged = null; // when the ping was sent that was not answered
    this.closing = null; // when the close frame was sent
    this.anyEvent = false;
    this.reader = new Reader("client", this.options.max_message_size);
    this.outbox = new Outbox();
    this.ended = new Ended();
    this.turns = [];
    this.pending = []; // steers of turns that are over, and the response that is to be continued (P-STEER-19)
    this.redirects = 0;
    this.delivered = [];
  }

  // --- facts

  get facts() {
    return tables.connection_facts[this.state];
  }

  get inFlight() {
    return this.turns.filter((turn) => turn.inFlight);
  }

  get inputs() {
    return [...this.pending, ...this.turns].flatMap(({ inputs }) => inputs);
  }

  get view() {
    const { inFlight, ended, lanes } = this;
    const unanswered = this.inputs.some(({ state }) => state === "SENT");
    const sending = this.turns.filter((turn) => turn.running && !turn.inFlight);
    return { inFlight, sending, ended, unanswered, lanes: lanes.known, namesSeen: lanes.namesSeen, usedLanes: lanes.names };
  }

  #signal(name) {
    const move = tables.machines.connection.moves.find(([from, by]) => from === this.state && by === name);
    if (move) this.state = move[2];
  }

  /** [time, what to do then] of all deadlines. */
  #deadlines() {
    if (this.facts.is_closed) return [];
    const all = [];
    const add = (from, seconds, act) => from !== null && seconds !== null && all.push([from + seconds, act]);
    const { connect_timeout, ping_interval, ping_timeout, close_timeout } = this.options;
    if (!this.facts.is_open) add(this.opening, connect_timeout, () => this.#lost("TIMEOUT"));
    else if (this.closing !== null) add(this.closing, close_timeout, () => this.#lost("CLIENT_CLOSED"));
    else if (this.pinged !== null) add(this.pinged, ping_timeout, () => this.#lost("STALLED"));
    else add(this.heard, ping_interval, () => this.#ping());
    if (this.turns.some(({ running }) => running)) add(this.heard, this.options.stall_timeout, () => this.#lost("STALLED"));
    for (const turn of this.turns) {
      add(turn.deadline(), 0, () => this.#turnExpires(turn));
      if (this.outbox.of(turn)) add(turn.leftAt, close_timeout, () => this.#lost("TRANSPORT"));
      else if (turn.left && !turn.overdue) add(turn.since, turn.timeouts.receive ?? null, () => this.#overdue(turn));
    }
    return all;
  }

  get deadline() {
    const times = this.#deadlines().map(([at]) => at);
    return times.length ? Math.min(...times) : null;
  }

  // --- what the caller does

  create({ turn, fields, lane = null, timeouts }) {
    const chosen = laneOf(fields, lane);
    const message = messageOf(fields, lane);
    if (!this.facts.accepts_turns) refuse("SessionClosedError");
    if (typeof chosen === "string" && !this.lanes.takesName(chosen)) refuse("LaneLimitError");
    if (typeof chosen === "string") this.lanes.names.add(chosen);
    const added = new Turn({ turn, fields, lane: chosen, timeouts: timeouts ?? this.options.timeouts }, message, this.now);
    if (this.state === "CONNECTING") added.enter("CONNECT", this.now);
    if (this.state === "HANDSHAKING") added.enter("HANDSHAKE", this.now);
    this.turns.push(added);
    this.#startTurns();
    this.#drainIfBlocked();
  }

  cancel(turn) {
    if (turn.state !== "LIVE") return;
    this.#leave(turn, "CANCELLED");
  }

  give(kind, turn, name, input) {
    checkInput(kind, input, kind === "steer" ? this.steering : this.dialect.injecting);
    openInputs(this, turn, kind, name, input);
  }

  drain() {
    this.#signal("DRAIN");
  }

  close() {
    if (this.facts.is_closed || this.closing !== null) return;
    if (!this.facts.is_open || this.turns.some(({ running }) => running)) {
      this.#lost("CLIENT_CLOSED");
      return;
    }
    for (const turn of this.turns) this.#fail(turn, "CLIENT_CLOSED");
    for (const turn of [...this.turns]) this.#free(turn);
    this.#signal("CLOSE");
    this.closing = this.now;
    if (!this.outbox.keepControl()) this.outbox.put({ close: 1000 }, 8);
  }

  // --- what the transport does

  connected() {
    this.#signal("TRANSPORT_UP");
    this.turns.forEach((turn) => turn.enter("HANDSHAKE", this.now));
    this.outbox.put({ upgrade: this.target }, 256);
  }

  accepted(headers = {}) {
    const named = headers[Object.keys(headers).find((name) => name.toLowerCase() === "x-turnwire-dialect")];
    if ((this.options.dialect ?? null) === null && tables.dialects[named]) {
      this.dialect = tables.dialects[named]; // P-DIALECT-2
      this.lanes.use(this.dialect, this.options);
      this.steering = this.dialect.steering;
    }
    this.#signal("ACCEPTED");
    this.heard = this.now;
    this.turns.forEach((turn) => turn.enter("LANE_WAIT", this.now));
    this.#startTurns();
  }

  rejected({ status, headers = {}, body = "" }) {
    const location = headers[Object.keys(headers).find((name) => name.toLowerCase() === "location")];
    const target = inRanges(status, tables.redirects) ? targetWithin(ORIGIN, this.target, location) : null;
    if (target !== null && this.redirects < MOST_REDIRECTS) return this.#redirected(target);
    const payload = parseJson(body) ?? body;
    return this.#lost("REJECTED", { refusal: { ...errorOf({ payload, status, headers }), headers } });
  }

  /** P-CONN-3: the transport is opened anew. */
  #redirected(target) {
    this.redirects += 1;
    this.target = target;
    this.outbox.clear();
    this.#signal("REDIRECTED");
    this.turns.forEach((turn) => turn.enter("CONNECT", this.now));
  }

  hand(bytes) {
    return this.state === "WRITE_DISABLED" ? [] : this.outbox.hand(bytes);
  }

  receive(bytes) {
    for (const item of this.reader.feed(bytes)) {
      if (this.facts.is_closed) return;
      this.heard = this.now;
      this.pinged = null;
      if ("text" in item) this.#message(item.text);
      else if ("ping" in item && this.closing === null) this.outbox.replacePong({ pong: item.ping }, 6 + item.ping.length / 2);
      else if ("close" in item) this.#peerCloses(item.close);
      else if ("violation" in item) this.#violation(item.violation);
    }
  }

  endOfFile() {
    this.#lost("EOF");
  }

  transportFails() {
    this.#lost("TRANSPORT");
  }

  expire() {
    for (const [at, act] of this.#deadlines()) if (at <= this.now && !this.facts.is_closed) act();
  }

  // --- turns

  #startTurns() {
    if (this.state !== "OPEN") return;
    for (const turn of this.lanes.start(this.turns)) {
      turn.running = true;
      turn.enter("SEND", this.now);
      this.#send(turn);
    }
  }

  #send(turn) {
    const { stream_id, ...message } = turn.message;
    turn.sentName = this.lanes.known === "NO" ? null : turn.laneName;
    if (turn.sentName !== null) message.stream_id = turn.sentName;
    turn.size = bytesOf(message);
    const done = () => {
      turn.leftAt = null;
      turn.enter("AWAIT", this.now);
    };
    this.outbox.put({ message }, turn.size + FRAME_HEAD, { owner: turn, done });
  }

  #fail(turn, cause, more = {}) {
    if (turn.state === "LIVE") {
      const { previous_response_id, conversation } = turn.fields;
      turn.fail(cause, { stateful: Boolean(previous_response_id ?? conversation), ...more });
    } else if (turn.state === "ABANDONED") turn.state = "FAILED";
    if (!this.facts.is_closed) settleInputs(turn, "turn");
  }

  /** The server has ended it, or it never began: its lane is free. */
  #free(turn) {
    this.turns = this.turns.filter((each) => each !== turn);
    this.gone = [...(this.gone ?? []), turn];
    if (!turn.running) return;
    this.ended.add(turn.laneName, turn.ids, turn.items);
    this.lanes.ended(turn);
    this.#keepPending(turn);
    this.#startTurns();
    if (this.state === "WRITE_DISABLED" && !this.turns.some(({ state }) => state === "LIVE")) this.#lost("TRANSPORT"); // P-CONN-20
  }

  #keepPending(turn) {
    const inputs = turn.inputs.filter(({ state }) => state === "PENDING");
    if (inputs.length) this.pending.push({ lane: turn.laneName, responseId: turn.responseId, inputs });
  }

  /** The turn that continues a response commits the steers that are pending for it. */
  #commitPending(turn) {
    const fills = ({ lane, responseId }) => lane === turn.laneName && responseId === turn.fields.previous_response_id;
    for (const { inputs } of this.pending.filter(fills)) inputs.forEach((input) => input.take("COMMITTED"));
    this.pending = this.pending.filter((each) => !fills(each));
  }

  #leave(turn, cause) {
    if (this.outbox.of(turn) ? this.outbox.withdraw(turn) : !turn.running) {
      this.#fail(turn, cause);
      return this.#free(turn);
    }
    const alone = this.turns.every((each) => each === turn || each.state !== "LIVE");
    const abort = alone && !(cause === "CANCELLED" && this.options.leave === "abandon");
    if (!abort && turn.phase === "SEND") {
      turn.phase = "AWAIT"; // R-EVIDENCE-8: its remaining bytes will be handed
      turn.leftAt = this.now;
    }
    this.#fail(turn, cause);
    if (abort) return this.#lost("CLIENT_CLOSED");
    turn.left = true;
    if (cause === "TIMEOUT") this.#overdue(turn);
    return undefined;
  }

  #overdue(turn) {
    turn.overdue = true;
    this.#drainIfBlocked();
  }

  /** P-LANES-9: turns wait for a lane, or a slot, of which no end is in sight. */
  #drainIfBlocked() {
    const running = this.turns.filter((turn) => turn.running);
    const waiting = this.turns.filter((turn) => !turn.running);
    const lanes = new Set(running.filter(({ overdue }) => overdue).map(({ laneName }) => laneName));
    if (!waiting.length || !lanes.size) return;
    const all = running.every(({ overdue }) => overdue);
    if (all || waiting.some(({ lane }) => lanes.has(lane))) this.#signal("DRAIN");
  }

  #turnExpires(turn) {
    if ((turn.deadline() ?? Infinity) > this.now) return undefined;
    const cut = turn.phase === "SEND" && this.outbox.begun(turn) && this.turns.some((each) => each !== turn && each.state === "LIVE");
    if (!cut) return this.#leave(turn, "TIMEOUT");
    this.#fail(turn, "TIMEOUT");
    return this.#messageCut();
  }

  /** A message that has begun does not go on: nothing can be sent any more. */
  #messageCut() {
    this.outbox.clear();
    this.#signal("MESSAGE_CUT");
    if (!this.turns.some(({ state }) => state === "LIVE")) this.#lost("TRANSPORT");
  }

  // --- the end of the connection

  #lost(cause, more = {}) {
    if (this.facts.is_closed) return;
    const silent = this.state === "WRITE_DISABLED";
    const candidates = more.close_code === tables.refusals.too_big ? this.#tooBig() : new Map();
    this.#signal("LOST");
    for (const turn of this.turns) {
      this.#fail(turn, cause, { ...more, too_big: candidates.get(turn) ?? null });
      if (turn.leftAt !== null && this.outbox.of(turn)) turn.ending = { ...turn.ending, phase: "SEND", verdict: "SAFE" };
    }
    for (const each of [...this.turns, ...this.pending]) settleInputs(each, "connection", candidates);
    this.gone = [...(this.gone ?? []), ...this.turns];
    this.turns = [];
    this.cut = this.outbox.clear() || silent;
  }

  /** The candidates for a close code 1009, and whether each was the one (R-1009). */
  #tooBig() {
    const isOne = (each, handed) => (handed ? each.size > this.dialect.message_limit : each.size >= SHORT_MESSAGE);
    const awaiting = this.turns.filter((turn) => turn.phase === "AWAIT" && turn.running);
    const unanswered = this.inputs.filter(({ state }) => state === "SENT");
    const begun = [...this.turns, ...this.inputs].filter((each) => this.outbox.begun(each) && !awaiting.includes(each));
    const all = [...awaiting.map((each) => [each, isOne(each, true)]), ...unanswered.map((each) => [each, isOne(each, true)]), ...begun.map((each) => [each, isOne(each, false)])];
    return new Map(all.map(([each, one]) => [each, all.length === 1 && one]));
  }

  #peerCloses(code) {
    this.#lost(this.closing === null ? "PEER_CLOSED" : "CLIENT_CLOSED", { close_code: code });
    if (this.closing === null && !this.cut) this.outbox.put({ close: code }, 8);
  }

  #violation(code) {
    this.#lost("PROTOCOL");
    if (!this.cut) this.outbox.put({ close: code }, 8);
  }

  #ping() {
    this.pinged = this.now;
    this.outbox.put({ ping: true }, 6, { first: true });
  }

  // --- messages

  #message(source) {
    const object = parseJson(source);
    if (!isObject(object)) {
      if (/^\s*\{/.test(source)) this.#mayHaveBegun();
      return;
    }
    const event = eventOf(object);
    if (event.role === "ERROR") this.#error(event, object);
    else if (event.role === "OUTCOME") this.#outcome(event, object);
    else if (event.role === "NEUTRAL") this.#deliver(ownerOfNeutral(event, this.view), event, object);
    else this.#event(event, object);
    this.anyEvent = true;
  }

  #outcome(event, object) {
    const turn = answerInput(this, event, object);
    this.#deliver(turn, event, object);
    if (turn) this.#stillFollows(turn);
  }

  #deliver(turn, event, object) {
    if (turn?.state !== "LIVE") return;
    if (turn.inFlight) turn.since = this.now;
    const id = member(member(object, "response"), "id");
    this.delivered.push([turn.name, event.type, typeof id === "string" ? id : null]);
  }

  #mayHaveBegun() {
    for (const turn of this.inFlight) if (turn.phase === "AWAIT") turn.unknownEvent = true;
  }

  #event(event, object) {
    const turn = ownerOf(event, this.view);
    const begins = event.type === "response.created" && (turn?.phase === "AWAIT" || turn?.between);
    if (!turn || (!begins && isOfEnded(event, this.view, turn))) {
      const ofEnded = this.ended.hasResponse(event.response_id, laneOfEnded(event, this.view)) && !["response.in_progress", "response.queued"].includes(event.type);
      if (this.#nobodyCanTell(event)) return this.#violation(1002);
      if (!ofEnded) this.#mayHaveBegun();
      return undefined;
    }
    if (turn.between && !begins) return undefined;
    const foreign = event.response_id !== null && turn.responseId !== null && event.response_id !== turn.responseId;
    if (foreign && event.outcome !== null) return undefined; // P-START-10
    if (event.role === "UNKNOWN") turn.unknownEvent ||= turn.phase === "AWAIT";
    else if (!this.#streams(turn, event, object)) return undefined;
    this.#deliver(turn, event, object);
    if (event.outcome !== null) this.#responseEnds(turn, event.outcome, object);
    return undefined;
  }

  /** A response begins without a name, and several named turns are in flight: P-DIALECT-6. */
  #nobodyCanTell({ type }) {
    return type === "response.created" && this.inFlight.length > 1 && !this.lanes.namesSeen;
  }

  /** An event of the turn's response; false if nobody can tell whose it is (P-DIALECT-6). */
  #streams(turn, event, object) {
    if (turn.phase === "AWAIT") {
      if (!this.#learn(turn, event)) return false;
      if (event.type === "response.created") this.#commitPending(turn);
      turn.enter("STREAM", this.now);
    }
    const id = member(member(object, "response"), "id");
    const begins = event.type === "response.created";
    if (begins && turn.between) {
      turn.between = null;
      turn.responseId = null;
      for (const input of turn.inputs) if (input.state === "ACCEPTED") input.take("COMMITTED");
    }
    if (typeof id === "string" && (begins || turn.responseId === null)) {
      turn.responseId = id;
      turn.ids.add(id);
    }
    if (event.item_id !== null) turn.items.add(event.item_id);
    if (turn.responseId !== null && event.outcome === null) openInputs(this, turn);
    return true;
  }

  #learn(turn, event) {
    const { lanes } = this;
    if (turn.sentName === null || lanes.known === "NO") return true;
    if (event.stream_id === turn.sentName) {
      lanes.namesSeen = true;
      lanes.known = "YES";
      this.#startTurns();
    } else if (!lanes.namesSeen) {
      if (event.stream_id === null && this.inFlight.filter(({ sentName }) => sentName !== null).length > 1) {
        this.#violation(1002);
        return false;
      }
      lanes.known = "NO";
    }
    return true;
  }

  #responseEnds(turn, outcome, object) {
    const steered = member(member(member(object, "response"), "incomplete_details"), "reason") === "steered";
    const follows = steered || turn.inputs.some((input) => input.facts.holds_lane && input.kind === "steer") || turn.inputs.some((input) => this.outbox.begun(input));
    if (follows) {
      turn.between = outcome;
      for (const input of turn.inputs) if (input.state === "QUEUED" && this.outbox.withdraw(input)) input.take("HELD");
      return;
    }
    this.#turnEnds(turn, outcome);
  }

  #turnEnds(turn, outcome) {
    if (turn.state === "LIVE") turn.complete(outcome);
    for (const input of turn.inputs) this.outbox.withdraw(input);
    settleInputs(turn, "turn");
    this.#free(turn);
  }

  /** After an answer to a steer: does the turn still wait for a successor? */
  #stillFollows(turn) {
    if (turn.between && !turn.inputs.some((input) => input.facts.holds_lane)) this.#turnEnds(turn, turn.between);
  }

  // --- errors

  #error(event, object) {
    const refusal = errorOf({ payload: object });
    const answered = this.inputs.find(({ state }) => state === "SENT");
    if (answered && INVALID_CLIENT_EVENT.includes(refusal.code)) {
      answered.take("FAILED", refusal.code);
      if (refusal.code === "unsupported_event_type") this.steering = "NO";
      return this.#stillFollows(answered.turn);
    }
    const awaiting = this.inFlight.filter(({ phase }) => phase === "AWAIT");
    const unnamed = event.stream_id === null;
    const limit = refusal.code === "websocket_connection_limit_reached";
    if (limit) this.#signal("END_ANNOUNCED");
    if (!limit && !this.anyEvent && unnamed && ([401, 403].includes(refusal.status) || refusal.code === "invalid_api_key")) {
      this.#signal("DRAIN");
      return this.#endTurns(this.turns.filter(({ phase }) => phase !== "STREAM"), refusal);
    }
    if (limit && unnamed && !this.inFlight.length) return undefined; // what waits goes elsewhere
    if (limit && unnamed && awaiting.length) return this.#endTurns(awaiting, { ...refusal, of_connection: awaiting.length > 1 });
    const { turn, orphan } = ownerOfError(event, this.view);
    if (orphan) return undefined;
    if (turn) return this.#isRefusedName(turn, refusal) ? this.#again(turn) : this.#endTurns([turn], refusal);
    this.#signal("DRAIN");
    return this.#endTurns(this.turns.filter(({ phase }) => phase !== "STREAM"), { ...refusal, of_connection: true });
  }

  #endTurns(turns, refusal) {
    const cut = turns.filter((turn) => !turn.inFlight && !this.outbox.withdraw(turn));
    turns.forEach((turn) => this.#fail(turn, "ERROR_FRAME", { refusal }));
    turns.forEach((turn) => this.#free(turn));
    if (cut.length) this.#messageCut();
  }

  #isRefusedName(turn, refusal) {
    const about = refusal.code === "invalid_stream_id" || refusal.param === "stream_id";
    const given = turn.lane?.auto && turn.sentName !== null && !turn.unnamed;
    return Boolean(about && given && turn.phase === "AWAIT" && !turn.unknownEvent && (refusal.status ?? 400) < 500 && turn.state === "LIVE" && this.facts.accepts_turns);
  }

  #again(turn) {
    this.lanes.known = "NO";
    Object.assign(turn, { running: false, unnamed: true, ready: null, lane: null });
    turn.enter("LANE_WAIT", this.now);
    this.turns = [turn, ...this.turns.filter((each) => each !== turn)];
    this.#startTurns();
  }
}
