// Whose an event is, and whose an error (P-START-7 to P-START-9, P-OWNER).

const REMEMBERED = 4;

/** What the ended turns of each lane were about (P-START-8). */
export class Ended {
  #lanes = new Map();

  add(lane, ids, items) {
    const kept = [...(this.#lanes.get(lane) ?? []), { ids, items }].slice(-REMEMBERED);
    this.#lanes.set(lane, kept);
  }

  /** `lane`: only that one; undefined: all. */
  #some(lane, test) {
    return (lane === undefined ? [...this.#lanes.values()].flat() : (this.#lanes.get(lane) ?? [])).some(test);
  }

  hasResponse(id, lane) {
    return id !== null && this.#some(lane, ({ ids }) => ids.has(id));
  }

  hasItem(id, lane) {
    return id !== null && this.#some(lane, ({ items }) => items.has(id));
  }
}

/** The lane whose ended turns an event is compared with; undefined: all. */
export function laneOfEnded({ stream_id }, { namesSeen, usedLanes }) {
  return stream_id !== null && namesSeen && usedLanes.has(stream_id) ? stream_id : undefined;
}

const only = (turns) => (turns.length === 1 ? turns[0] : null);

export function isOfEnded(event, view, owner) {
  const { ended } = view;
  const lane = laneOfEnded(event, view);
  if (event.response_id !== null && event.response_id === owner?.responseId) return false;
  if (ended.hasResponse(event.response_id, lane)) return true;
  if (!ended.hasItem(event.item_id, lane) || owner?.items.has(event.item_id)) return false;
  return owner?.phase === "AWAIT" || event.type !== "response.output_item.added";
}

/** The turn in flight that an event belongs to, or null. */
export function ownerOf(event, { inFlight, sending, lanes, namesSeen, usedLanes }) {
  if (lanes === "NO") return only(inFlight);
  if (sending.some(({ sentName, leftAt }) => sentName === event.stream_id && leftAt === null) && !(namesSeen && event.stream_id === null)) return null;
  const onLane = (lane) => inFlight.find((turn) => turn.sentName === lane) ?? null;
  const name = event.stream_id;
  if (name !== null) return onLane(name) ?? (usedLanes.has(name) ? null : only(inFlight));
  if (!namesSeen) return onLane(null) ?? only(inFlight);
  const byId = inFlight.find((turn) => (event.response_id !== null && turn.ids.has(event.response_id)) || turn.items.has(event.item_id));
  return byId ?? onLane(null);
}

export function ownerOfNeutral(event, view) {
  const named = view.inFlight.find((turn) => turn.sentName === event.stream_id);
  return named ?? only(view.inFlight);
}

/** {turn}, {orphan: true} or {connection: true}. */
export function ownerOfError(event, view) {
  const { inFlight, ended, unanswered } = view;
  const byId = inFlight.find((turn) => event.response_id !== null && turn.ids.has(event.response_id));
  if (byId) return { turn: byId };
  if (ended.hasResponse(event.response_id, laneOfEnded(event, view))) return { orphan: true };
  if (event.stream_id !== null) {
    const named = ownerOf(event, view);
    return named ? { turn: named } : { orphan: true };
  }
  const byDefault = inFlight.find((turn) => turn.sentName === null);
  const turn = byDefault ?? (unanswered ? null : only(inFlight));
  return turn ? { turn } : { connection: true };
}
