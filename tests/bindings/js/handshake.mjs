// The answer to the upgrade (P-CONN-4, P-CONN-16; RFC 6455, section 4.1; RFC 9112).

import { createHash } from "node:crypto";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const LIMIT = 65536;
const BROKEN = { broken: true };
const WAITS = { waits: true };

export const acceptOf = (nonce) => createHash("sha1").update(nonce.toString("base64") + GUID).digest("base64");

function parseHead(source) {
  const [first, ...lines] = source.replace(/\r?\n[ \t]+/g, " ").split(/\r?\n/);
  const status = /^HTTP\/1\.[01] (\d{3})(?: .*)?$/.exec(first);
  if (!status) return null;
  const headers = {};
  for (const line of lines) {
    const parts = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line);
    if (!parts) return null;
    const name = parts[1].toLowerCase();
    headers[name] = name in headers ? `${headers[name]}, ${parts[2]}` : parts[2];
  }
  return { status: Number(status[1]), headers };
}

const listed = (headers, name) => (headers[name] ?? "").toLowerCase().split(",").map((word) => word.trim());

function isAccepted(headers, nonce) {
  return (
    listed(headers, "upgrade").includes("websocket") &&
    listed(headers, "connection").includes("upgrade") &&
    headers["sec-websocket-accept"] === acceptOf(nonce) &&
    !("sec-websocket-protocol" in headers) &&
    !headers["sec-websocket-extensions"]
  );
}

/** The body of a chunked answer as far as it has come; undefined if it is none. */
function unchunk(source) {
  let body = "";
  let rest = source;
  for (;;) {
    const end = rest.indexOf("\r\n");
    if (end < 0) return { body };
    const size = /^([0-9a-f]+)\s*(;.*)?$/i.exec(rest.slice(0, end));
    if (!size) return undefined;
    const length = parseInt(size[1], 16);
    rest = rest.slice(end + 2);
    if (length === 0) return { body, whole: /^(?:[^\r\n]+\r\n)*\r\n/.test(rest) };
    if (rest.length < length + 2) return { body: body + rest.slice(0, length) };
    body += rest.slice(0, length);
    rest = rest.slice(length + 2);
  }
}

/** The body: null if more has to come, undefined if it is none. What the end of the stream cut off is not waited for. */
function bodyOf({ status, headers }, source, ended) {
  if (status === 204 || status === 304) return "";
  if (listed(headers, "transfer-encoding").includes("chunked")) {
    const chunked = unchunk(source);
    return chunked && (chunked.whole || ended ? chunked.body : null);
  }
  if ("content-length" in headers) {
    if (!/^\d+$/.test(headers["content-length"])) return undefined;
    const length = Math.min(Number(headers["content-length"]), LIMIT);
    return source.length >= length || ended ? source.slice(0, length) : null;
  }
  return ended || source.length >= LIMIT ? source : null;
}

export function answer({ nonce, pieces }) {
  const ended = pieces.includes("");
  let source = pieces.join("");
  for (;;) {
    const end = /\r?\n\r?\n/.exec(source);
    if (!source.startsWith("HTTP/1.".slice(0, source.length))) return BROKEN;
    if (!end) return source.length > LIMIT ? BROKEN : WAITS;
    const head = parseHead(source.slice(0, end.index));
    if (!head) return BROKEN;
    source = source.slice(end.index + end[0].length);
    if (head.status === 101) {
      if (!isAccepted(head.headers, Buffer.from(nonce, "hex"))) return BROKEN;
      return { accepted: true, rest: Buffer.from(source, "latin1").toString("hex") };
    }
    if (head.status < 200) continue;
    const body = bodyOf(head, source, ended);
    if (body === undefined) return BROKEN;
    return body === null ? WAITS : { rejected: head.status, headers: head.headers, body };
  }
}
