// Which turn may start, and under which name (P-LANES, P-DIALECT-3 to P-DIALECT-11).

const AUTO = Array.from({ length: 16 }, (_, index) => `auto-${index + 1}`);

export class Lanes {
  names = new Set(); // that the connection was given, or will be
  namesSeen = false;
  #lastResponse = new Map(); // lane -> the id of its last response
  #freeSince = new Map();
  #clock = 0;

  constructor(dialect, options) {
    this.use(dialect, options);
  }

  use(dialect, options) {
    this.known = dialect.lanes;
    this.maxInFlight = Math.min(options.max_in_flight, dialect.max_in_flight ?? Infinity);
    this.maxNames = Math.min(options.max_named_lanes, dialect.max_named_lanes ?? Infinity);
  }

  get slots() {
    return this.known === "YES" ? this.maxInFlight : 1;
  }

  takesName(name) {
    return this.known === "NO" || this.names.has(name) || this.names.size < this.maxNames;
  }

  ended(turn) {
    const lane = turn.laneName;
    this.#freeSince.set(lane, ++this.#clock);
    if (turn.responseId) this.#lastResponse.set(lane, turn.responseId);
  }

  /** The turns that start now, in order; each has its `laneName` then. */
  start(turns) {
    const busy = new Set(turns.filter((turn) => turn.running).map((turn) => turn.laneName));
    const waiting = turns.filter((turn) => turn.state === "LIVE" && !turn.running);
    const anyLane = (turn) => Boolean(turn.lane?.auto);
    const wanted = new Set(waiting.filter((turn) => !anyLane(turn)).map(({ lane }) => lane));
    const seen = new Set(busy);
    for (const turn of waiting) {
      const ready = anyLane(turn) || !seen.has(turn.lane);
      turn.ready = ready ? (turn.ready ?? ++this.#clock) : null;
      if (!anyLane(turn)) seen.add(turn.lane);
    }
    const started = [];
    for (const turn of waiting.filter(({ ready }) => ready !== null).sort((a, b) => a.ready - b.ready)) {
      if (busy.size >= this.slots) break;
      const lane = anyLane(turn) ? this.#anyLane(turn, (name) => !busy.has(name) && !wanted.has(name)) : turn.lane;
      if (lane === undefined) continue;
      turn.laneName = lane;
      if (lane !== null) this.names.add(lane);
      busy.add(lane);
      started.push(turn);
    }
    return started;
  }

  /** P-LANES-10; undefined if not even the default lane is free. */
  #anyLane(turn, isFree) {
    if (this.known !== "YES") return isFree(null) ? null : undefined;
    const parent = turn.fields.previous_response_id;
    const ofParent = [...this.#lastResponse].find(([lane, id]) => id === parent && isFree(lane));
    if (ofParent) return ofParent[0];
    const fresh = AUTO.find((lane) => !this.names.has(lane));
    if (fresh && this.takesName(fresh)) return fresh;
    const freeSince = (lane) => this.#freeSince.get(lane) ?? 0;
    const [longest] = AUTO.filter((lane) => this.names.has(lane) && isFree(lane)).sort((a, b) => freeSince(a) - freeSince(b));
    return longest ?? (isFree(null) ? null : undefined);
  }
}
