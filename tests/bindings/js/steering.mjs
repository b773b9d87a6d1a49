// Steers and injections: when they are sent, what answers them, what becomes of them (P-STEER).

import { UserError, isObject, member, text } from "./values.mjs";
import { ownerOf } from "./owners.mjs";
import { Input } from "./turns.mjs";

const FRAME_HEAD = 14;

function refuse(name) {
  const error = new UserError(name);
  error.name = name;
  throw error;
}

const hasItems = (input) => Array.isArray(input) && input.length > 0 && input.every(isObject);

/** P-STEER-17. */
export function checkInput(kind, input, taken) {
  const sent = kind === "steer" ? taken !== "NO" : taken === "YES";
  if (!sent) refuse("SteeringNotSupportedError");
  const fits = hasItems(input) || (kind === "steer" && typeof input === "string" && input.trim() !== "");
  if (!fits) refuse("InvalidInputError");
}

/** Adds an input, if there is one, and queues those that wait while a response of the turn runs. */
export function openInputs(connection, turn, kind, name, input) {
  if (kind) turn.inputs.push(new Input(name, kind, turn, input));
  const last = turn.inputs.at(-1);
  if (kind && turn.state !== "LIVE") return last.take("UNSENT", turn.state === "DONE" ? "response_already_completed" : "not_sent");
  if (turn.responseId === null || turn.between || turn.phase !== "STREAM") return undefined;
  for (const each of turn.inputs.filter(({ state }) => state === "HELD")) {
    each.take("QUEUED");
    each.responseId = turn.responseId;
    const message = each.message();
    each.size = Buffer.byteLength(JSON.stringify(message));
    connection.outbox.put({ message }, each.size + FRAME_HEAD, { owner: each, done: () => each.take("HANDED") });
  }
  return undefined;
}

/** What becomes of the inputs of a turn that has ended, or whose connection has. */
export function settleInputs(turn, scope, candidates = new Map()) {
  for (const input of turn.inputs) {
    if (!input.facts.unsettled && input.state !== "PENDING") continue;
    if (input.state === "PENDING" && scope === "turn") continue;
    if (input.state === "SENT" && candidates.get(input)) input.take("FAILED", "message_too_big");
    else if (scope === "connection" || turn.ending?.failed) input.take("UNSENT", "not_sent") || input.take("LOST");
    else input.take("UNSENT", "response_already_completed") || input.take("LOST");
  }
}

function answered(inputs, kind, steerId, responseId) {
  const open = inputs.filter((input) => input.kind === kind && ["SENT", "ACCEPTED", "PENDING"].includes(input.state));
  const known = open.find((input) => steerId !== null && input.steerId === steerId);
  const oldest = open.find((input) => input.state === "SENT" && input.steerId === null && (responseId === null || input.responseId === responseId));
  return known ?? oldest ?? null;
}

const SIGNALS = {
  "response.steer.accepted": "ACCEPTED",
  "response.steer.pending": "PENDING",
  "response.steer.failed": "FAILED",
  "response.inject.created": "COMMITTED",
  "response.inject.failed": "FAILED",
};

/** Applies an answer; returns the turn that the event is delivered to, or null (P-STEER-13). */
export function answerInput(connection, event, object) {
  const steer = member(object, "steer");
  const steerId = text(member(steer, "id"));
  const responseId = text(member(steer, "previous_response_id")) ?? text(object.response_id);
  const kind = event.type.startsWith("response.inject.") ? "inject" : "steer";
  const input = SIGNALS[event.type] ? answered(connection.inputs, kind, steerId, responseId) : null;
  if (!input) {
    const turn = ownerOf(event, connection.view);
    return turn?.phase === "STREAM" ? turn : null;
  }
  input.steerId ??= steerId;
  input.take(SIGNALS[event.type], SIGNALS[event.type] === "FAILED" ? text(member(member(object, "error"), "code")) : null);
  return input.turn;
}
