// Where the upgrade goes, and which proxy leads there (P-CONN, P-DIALECT-2, P-DIALECT-12, P-DIALECT-13).

import { BlockList, isIP } from "node:net";
import { domainToASCII } from "node:url";
import { tables } from "./tables.mjs";
import { UserError } from "./values.mjs";

const SECURE = { "https:": true, "wss:": true, "http:": false, "ws:": false };
const PROXY_PORTS = { http: 80, https: 443, socks5: 1080, socks5h: 1080 };
const OWN_HEADERS = ["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];
const refuse = (words) => {
  throw new UserError(words);
};

function parse(url) {
  const parts = /^([a-z][a-z0-9+.-]*:)\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?$/i.exec(url);
  if (!parts || /[\s\x00-\x1f]/.test(url)) refuse(`no URL: ${url}`);
  const [, scheme, authority, path, query] = parts;
  const secure = SECURE[scheme.toLowerCase()] ?? refuse(`no scheme of ours: ${scheme}`);
  const place = /^(\[[0-9a-f:.]+\]|[^:@[\]]+)(?::(\d+))?$/i.exec(authority) ?? refuse(`no host: ${authority}`);
  const port = place[2] ? Number(place[2]) : secure ? 443 : 80;
  if (port > 65535 || port < 1) refuse(`no port: ${port}`);
  const host = place[1].startsWith("[") ? place[1].toLowerCase() : domainToASCII(place[1]) || refuse(`no host: ${place[1]}`);
  return { secure, host, port, authority: port === (secure ? 443 : 80) ? host : `${host}:${port}`, path, query: query ?? "" };
}

function parseEndpoint(url) {
  if (!url.startsWith("unix:")) return { ...parse(url), socket: null };
  const [socket, path = "/v1"] = url.slice("unix:".length).split(/:(.*)/s);
  if (!socket.startsWith("/")) refuse(`no absolute path: ${socket}`);
  return { ...parse(`http://localhost${path}`), socket };
}

function moreQuery(query, more) {
  const added = Object.entries(more ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => new URLSearchParams([[name, value ?? ""]]).toString()),
  );
  const kept = query.split("&").filter((part) => !Object.hasOwn(more ?? {}, new URLSearchParams(part).keys().next().value ?? ""));
  return [...kept, ...added].filter(Boolean).join("&");
}

function dialectOf(authority) {
  const host = authority.replace(/\.$/, "");
  const found = Object.entries(tables.dialect_by_host).find(([name]) => host === name || host.endsWith(`.${name}`));
  return found ? found[1] : "unknown";
}

function checkHeader(name, value) {
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/i.test(name) || /^\s|\s$|[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]/.test(value)) refuse(`no header: ${name}`);
  if (OWN_HEADERS.includes(name) || name.startsWith("sec-websocket-")) refuse(`turnwire decides ${name} itself`);
}

function headersOf(apiKey, given, dialect) {
  const callers = Object.entries(given ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]);
  const key = apiKey && !callers.some(([name]) => name === "authorization") ? [["authorization", `Bearer ${apiKey}`]] : [];
  const headers = new Map([...key, ...callers]);
  headers.forEach((value, name) => checkHeader(name, value));
  const feature = (beta) => beta.split("=")[0].trim();
  const own = (headers.get("openai-beta") ?? "").split(",").map((beta) => beta.trim()).filter(Boolean);
  const wanted = [...dialect.betas, ...(dialect.injecting === "YES" ? [dialect.inject_beta] : [])];
  const betas = [...own, ...wanted.filter((beta) => !own.some((each) => feature(each) === feature(beta)))];
  if (betas.length) headers.set("openai-beta", betas.join(", "));
  return [...headers];
}

/** The target that a redirect names, if it has the same scheme, host and port; else null (P-CONN-3). */
export function targetWithin(origin, target, location) {
  if (!location || !URL.canParse(location, origin + target)) return null;
  const at = new URL(location, origin + target);
  return at.origin === origin && !at.username && !at.password ? at.pathname + at.search : null;
}

export function endpoint({ base_url, api_key, headers, query, dialect }) {
  const at = parseEndpoint(base_url);
  const path = at.path.replace(/\/+$/, "");
  const search = moreQuery(at.query, query);
  const target = (path.endsWith("/responses") ? path : `${path}/responses`) + (search ? `?${search}` : "");
  const name = dialect ?? dialectOf(at.host);
  return {
    url: `${at.secure ? "wss" : "ws"}://${at.authority}${target}`,
    socket: at.socket,
    target,
    authority: at.authority,
    dialect: name,
    headers: headersOf(api_key, headers, tables.dialects[name] ?? refuse(`no dialect: ${name}`)),
  };
}

function proxyAddress(url) {
  const parts = /^([a-z0-9]+):\/\/(?:[^@/]*@)?(\[[^\]]+\]|[^:/@]+)(?::(\d+))?\/?$/i.exec(url) ?? refuse("no proxy");
  const port = PROXY_PORTS[parts[1].toLowerCase()] ?? refuse(`no proxy of ours: ${parts[1]}`);
  if (Number(parts[3] ?? port) < 1 || Number(parts[3] ?? port) > 65535) refuse("no port of a proxy");
  return `${parts[2]}:${parts[3] ?? port}`;
}

function inNetwork(host, network) {
  const [address, bits] = network.split("/");
  const family = isIP(address);
  if (!family || !/^\d+$/.test(bits ?? "") || isIP(host) !== family) return false;
  const list = new BlockList();
  list.addSubnet(address, Number(bits), `ipv${family}`);
  return list.check(host, `ipv${family}`);
}

function isBypassed(entry, host, port) {
  if (entry === "*" || entry === host) return true;
  if (inNetwork(host, entry)) return true;
  const bracketed = /^\[(.*)\](?::(\d+))?$/.exec(entry);
  const [, name, only] = bracketed ?? /^(.*?)(?::(\d+))?$/.exec(entry);
  const fits = only === undefined || Number(only) === port;
  const domain = name.replace(/^\*?\./, "");
  return !isIP(entry) && fits && domain !== "" && (host === domain || host.endsWith(`.${domain}`));
}

function proxyOfEnvironment({ secure, host, port }, environment) {
  const variable = (name) => {
    const upper = name === "http_proxy" && environment.REQUEST_METHOD ? "" : environment[name.toUpperCase()];
    return environment[name] || upper || "";
  };
  const url = variable(secure ? "https_proxy" : "http_proxy") || variable("all_proxy");
  const bare = host.replace(/^\[|\]$/g, "");
  const entries = variable("no_proxy").toLowerCase().split(/[\s,]+/).filter(Boolean);
  const whole = url.includes("://") ? url : `http://${url}`;
  return url && !entries.some((entry) => isBypassed(entry, bare, port)) ? whole : null;
}

export function proxy({ base_url, environment = {}, proxy: given = "env" }) {
  const at = parseEndpoint(base_url);
  if (at.socket && given !== "env" && given !== null) refuse("no proxy leads to a unix socket");
  const url = given === "env" ? (at.socket ? null : proxyOfEnvironment(at, environment)) : given;
  return { proxy: url === null ? null : proxyAddress(url) };
}
