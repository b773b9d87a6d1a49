// What an error says, wherever a server puts it (P-SHAPE, P-STATUS).

import { tables } from "./tables.mjs";
import { isObject, has, member, wholeNumber } from "./values.mjs";
import { retryAfter, seconds, waitInWords } from "./waits.mjs";

const DEPTH = 3; // below the object itself: 4 levels in all
const SHORT = 256;
const LONG = 4000;
const STATUS = ["status", "status_code", "statusCode", "http_status"];
const WORDS = ["message", "msg", "error_description", "detail", "title"];
const table = tables.errors;

const firstObject = (value) => (Array.isArray(value) ? value.find(isObject) : isObject(value) ? value : undefined);
const isText = (value) => typeof value === "string" && value !== "";

/** The object and what is nested in it, the innermost first. */
function nested(object, depth = 0) {
  if (!isObject(object)) return [];
  const inner = ["error", "detail", "errors"].map((name) => object[name]);
  inner.push(member(member(object, "response"), "error"));
  const below = depth === DEPTH ? [] : inner.flatMap((value) => nested(firstObject(value), depth + 1));
  return [...below, object];
}

function words(value) {
  if (isText(value)) return value;
  if (Array.isArray(value)) return value.map(wordsOfElement).filter(Boolean).join("; ") || null;
  return null;
}

function wordsOfElement(element) {
  if (!isObject(element)) return words(element);
  const said = WORDS.map((name) => words(element[name])).find(Boolean);
  const place = Array.isArray(element.loc) ? `${element.loc.join(".")}: ` : "";
  return said ? place + said : null;
}

function messageOf(objects, payload) {
  const lists = objects.map(({ detail }) => (Array.isArray(detail) ? firstObject(detail) : undefined)); // read as a whole
  for (const object of objects) {
    const said = lists.includes(object) ? null : WORDS.map((name) => words(object[name])).find(Boolean);
    if (said) return said;
  }
  const others = objects.flatMap(({ error, errors }) => [words(error), words(errors)]);
  return others.find(Boolean) ?? (isText(payload) ? payload : null);
}

function codeOf(objects) {
  for (const { code } of objects) {
    if (isText(code)) return code;
    if (typeof code === "number") return String(code);
  }
  return objects.map(({ error }) => error).find((error) => isText(error) && /^[a-z0-9]+(_[a-z0-9]+)+$/.test(error)) ?? null;
}

function headersOf(objects) {
  const found = {};
  for (const { headers } of objects) {
    const pairs = Array.isArray(headers) ? headers.filter((pair) => Array.isArray(pair) && pair.length === 2) : isObject(headers) ? Object.entries(headers) : [];
    for (const [name, value] of pairs) {
      const one = Array.isArray(value) ? value[0] : value;
      if (typeof name === "string" && ["string", "number"].includes(typeof one)) found[name.toLowerCase()] ??= String(one);
    }
  }
  return found;
}

/** The status that an error has, or that follows from its names (P-STATUS-1 to P-STATUS-4). */
function statusOf(objects, code, type) {
  const given = objects.toReversed().flatMap((object) => STATUS.map((name) => wholeNumber(object[name])));
  const status = given.find((number) => number !== null && number >= 100 && number <= 599);
  if (status !== undefined) return status;
  const number = wholeNumber(code);
  if (number !== null && number >= 400 && number <= 599) return number;
  if (/server_error|overloaded/.test(`${code} ${type}`)) return null;
  return table.status_by_code[code ?? ""] ?? table.status_by_type[type ?? ""] ?? null;
}

function waitOf(objects, headers, status, message, wall) {
  const told = retryAfter(headers, wall);
  if (told !== null) return told;
  const all = objects.flatMap((object) => [object, ...(Array.isArray(object.details) ? object.details.filter(isObject) : [])]);
  for (const [name, members] of Object.entries(table.retry_members)) {
    const values = all.flatMap((object) => members.map((key) => object[key])).filter((value) => seconds(value) !== null);
    if (values.length) return seconds(values[0]) / (name === "retry-after-ms" && !/[a-z]/i.test(values[0]) ? 1000 : 1);
  }
  const until = all.map((object) => seconds(object.resets_at)).find((time) => time !== null);
  if (until !== undefined) return Math.max(until - wall, 0);
  return status === 429 && message ? waitInWords(message) : null;
}

function cut(value, length, mark = "") {
  const characters = [...(value ?? "")];
  const kept = characters.length > length ? [...characters.slice(0, length - mark.length), mark] : characters;
  return kept.join("") || null;
}
const firstText = (objects, ...names) => objects.flatMap((object) => names.map((name) => object[name])).find(isText);

export function errorOf({ payload = null, status = null, headers = null, wall = 0 }) {
  const objects = nested(firstObject(payload));
  const allHeaders = headersOf([...objects, { headers }]);
  const code = codeOf(objects);
  const type = objects.map((object) => object.type).find((value) => isText(value) && !tables.events.error_types.includes(value));
  const message = cut(messageOf(objects, payload), LONG, "…");
  const known = status ?? statusOf(objects, code, type);
  return {
    status: known,
    code: cut(code, SHORT),
    type: cut(type, SHORT),
    message,
    param: cut(firstText(objects, "param"), SHORT),
    request_id: cut(firstText(objects.toReversed(), "request_id", "requestId") ?? allHeaders["x-request-id"], SHORT),
    retry_after: waitOf(objects, allHeaders, known, message, wall),
  };
}

export { headersOf };
