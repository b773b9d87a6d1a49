// Reading JSON that was sent by others (P-FIELD).

export class UserError extends Error {
  name = "UserError";
}
export class InvalidStreamIdError extends UserError {
  name = "InvalidStreamIdError";
}

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
export const has = (object, name) => Object.hasOwn(object, name) && object[name] !== null;
export const member = (object, name) => (isObject(object) && has(object, name) ? object[name] : undefined);
export const text = (value) => (typeof value === "string" ? value : null);

/** A whole number, also one that stands in a text (P-FIELD-1); null for anything else. */
export function wholeNumber(value) {
  if (typeof value === "string" && /^-?\d+$/.test(value)) return Number(value);
  return typeof value === "number" && Number.isInteger(value) ? value : null;
}

/** What a text of JSON is; NaN and Infinity are null (P-FIELD-2). Undefined if it is no JSON. */
export function parseJson(source) {
  try {
    return JSON.parse(source);
  } catch {
    const repaired = source.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/gs, (found) =>
      found.startsWith('"') ? found : "null",
    );
    try {
      return JSON.parse(repaired);
    } catch {
      return undefined;
    }
  }
}
