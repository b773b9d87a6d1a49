// What one message of a server is (P-START, P-FIELD).

import { tables } from "./tables.mjs";
import { isObject, has, member, parseJson, text, wholeNumber } from "./values.mjs";

const table = tables.events;
const id = (value) => text(value) || null;

function typeOf(object) {
  if (text(object.type)) return object.type;
  const isResponse = object.object === "response" || Array.isArray(object.output);
  const names = ["error", "detail"];
  const hasWords = has(object, "message") || has(object, "code");
  const saysError = names.some((name) => has(object, name)) || (names.some((name) => Object.hasOwn(object, name)) && hasWords);
  const isError = saysError && !isResponse;
  return isError ? "error" : "";
}

export function isNeutral(type) {
  return table.neutral_types.includes(type) || type.startsWith(table.neutral_prefix) || type.endsWith(table.neutral_suffix);
}

function roleOf(type, object) {
  if (table.error_types.includes(type)) return "ERROR";
  if (isNeutral(type)) return "NEUTRAL";
  if (table.outcome_prefixes.some((prefix) => type.startsWith(prefix))) return "OUTCOME";
  const ofResponse = type.startsWith(table.response_prefix) || table.response_members.some((name) => Object.hasOwn(object, name));
  return ofResponse ? "RESPONSE" : "UNKNOWN";
}

/** How the event ends its response (P-START-6); null if it ends nothing. */
function outcomeOf(type, role, object) {
  if (role !== "RESPONSE") return null;
  if (type in table.endings) return table.endings[type];
  const response = member(object, "response");
  if (!isObject(response)) return null;
  if (type === table.done && !text(response.status)) return "completed";
  const known = table.types.includes(type) || !type.startsWith(table.response_prefix);
  return known ? null : (table.final_statuses[text(response.status) ?? ""] ?? null);
}

export function eventOf(object) {
  const type = typeOf(object);
  const role = roleOf(type, object);
  return {
    type,
    role,
    outcome: outcomeOf(type, role, object),
    stream_id: text(object.stream_id),
    response_id: id(member(member(object, "response"), "id")) ?? id(object.response_id),
    item_id: id(object.item_id) ?? id(member(member(object, "item"), "id")),
    sequence_number: wholeNumber(object.sequence_number),
  };
}

export function readEvent({ text: source }) {
  const object = parseJson(source);
  return isObject(object) ? eventOf(object) : { skipped: true };
}
