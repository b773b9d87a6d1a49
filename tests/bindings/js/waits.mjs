// How long a server asks to wait (R-ADVICE-29, P-SHAPE-1).

const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600 };
const UNIT = "(ms|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?|h(?:ours?)?)";
const PART = `(\\d+(?:\\.\\d+)?)\\s*${UNIT}(?![a-z])`;
const DURATION = `(?:${PART}\\s*)+`;

function duration(words) {
  let sum = 0;
  for (const [, number, unit] of words.matchAll(new RegExp(PART, "g"))) sum += Number(number) * UNITS[unit === "ms" ? unit : unit[0]];
  return sum;
}

const usable = (number) => (Number.isFinite(number) && number >= 0 ? number : null);

/** What a header says: a number, and no duration. */
function plainSeconds(value) {
  return /^\s*\d*\.?\d+(e\d+)?\s*$/i.test(value ?? "") ? usable(Number(value)) : null;
}

/** A number of seconds: a number, digits, or a duration such as 1m30s. Null for anything else. */
export function seconds(value) {
  if (typeof value === "number") return usable(value);
  if (typeof value !== "string") return null;
  const words = value.trim();
  if (/^\d+(\.\d+)?$/.test(words)) return usable(Number(words));
  return new RegExp(`^${DURATION}$`, "i").test(words) ? duration(words.toLowerCase()) : null;
}

/** What "try again in 1m30s" says. */
export function waitInWords(message) {
  const found = message.toLowerCase().match(new RegExp(`try again in (${DURATION})`));
  return found ? duration(found[1]) : null;
}

/** The headers retry-after-ms and retry-after; names are in lower case. */
export function retryAfter(headers, wall) {
  const milliseconds = plainSeconds(headers["retry-after-ms"]);
  if (milliseconds !== null) return milliseconds / 1000;
  const value = headers["retry-after"];
  if (value === undefined) return null;
  const plain = plainSeconds(value);
  if (plain !== null) return plain;
  const at = Date.parse(value) / 1000;
  const from = headers.date ? Date.parse(headers.date) / 1000 : wall;
  return /^[A-Z][a-z]{2}/.test(value) ? usable(at - (Number.isFinite(from) ? from : wall)) : null;
}
