"use strict";
// The page of a recording: lanes as tracks, turns as bars. `data` is what aio/cli/_page.py writes. Texts of the recording
// only ever become text nodes: nothing that a server sent is run as markup or as a program.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const GUTTER = 150, MARGIN = 18, BAR = 26, GAP = 8, LINK = 14;
const BADGES = { safe: "S", ambiguous: "?", unsafe: "!" };
const VERDICTS = {
  safe: "The server cannot have run it: sending it again is safe.",
  ambiguous: "It may or may not have run: send it again only if twice does no harm.",
  unsafe: "It ran, at least in part: do not send it again as if it had not.",
};
const PHASES = {
  BACKLOG: "waits for a connection", LANE_WAIT: "waits for its lane", CONNECT: "TCP, proxy, TLS", HANDSHAKE: "upgrade",
  SEND: "request is being sent", AWAIT: "waits for the first event", STREAM: "events arrive",
};
const NOTED = new Map([
  ["connection_lost", ["✕", "lost"]], ["rotated", ["⇄", "rotated"]], ["fell_back", ["↧", "HTTP"]], ["turn_repeated", ["↻", "repeated"]],
]);
const KEYS = [
  ["← →", "turn before, after"], ["↑ ↓", "turn in the track above, below"], ["n  p", "failed turn after, before"],
  ["Enter", "zoom to the turn"], ["Esc", "select nothing"], ["+  −  0", "zoom in, out; show everything"],
  ["a  d", "move left, right"], ["/", "search"], ["t", "light or dark"], ["wheel", "zoom; with Shift, move"], ["?", "this list"],
];
const by = (id) => document.getElementById(id);
const chart = by("chart"), tracks = by("tracks"), axis = by("axis"), overview = by("overview"), tip = by("tip");
const end = Math.max(data.span, 1e-6);
const view = { from: 0, to: end };
const turns = data.sessions.flatMap((session) => session.turns.map((turn) => Object.assign(turn, { session: session.number })));
turns.sort((one, other) => one.began - other.began || one.number - other.number);
let rows = [], height = 0, selected = null, query = "", cursor = null;

// --- Elements and texts

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(parent, name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

function seconds(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (size < 1) return `${Number((value * 1e3).toPrecision(3))} ms`;
  if (size < 120) return `${Number(value.toPrecision(4))} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

function bytes(count) {
  return count < 1e4 ? `${count} B` : count < 1e7 ? `${(count / 1e3).toPrecision(3)} kB` : `${(count / 1e6).toPrecision(3)} MB`;
}

function shorten(text, most) {
  return text.length > most ? `${text.slice(0, Math.max(0, most - 1))}…` : text;
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function promptOf(turn) {
  if (turn.retrieval) return `GET ${turn.retrieval}`;
  const input = turn.body?.input;
  if (typeof input === "string") return input;
  const last = Array.isArray(input) ? input[input.length - 1] : null;
  if (!last) return turn.body?.generate === false ? "warm-up" : "";
  const content = last.content ?? last.output ?? last.type ?? "";
  return typeof content === "string" ? content : (content[0]?.text ?? last.type ?? "");
}

function answerOf(turn) {
  const parts = [];
  for (const [, type, , , text] of turn.events) {
    const name = data.types[type];
    if (!name.endsWith(".delta")) continue;
    try { const { delta } = JSON.parse(text); if (typeof delta === "string") parts.push(delta); } catch { /* Not JSON: shown with its event. */ }
  }
  return parts.join("");
}

const nameOf = (turn) => `Turn ${turn.number}${data.sessions.length > 1 ? `, session ${turn.session}` : ""}`;
const finish = (turn) => turn.ended ?? end;
const failed = (turn) => turn.verdict !== null || turn.end === "failed" || turn.end === "refused";
const found = (turn) => !query || turn.text_of.includes(query);

// --- Rows: which bar is in which track

function pack(items, from, to) {
  const ends = [];
  for (const item of items) {
    let slot = ends.findIndex((time) => time <= from(item));
    if (slot < 0) slot = ends.push(0) - 1;
    ends[slot] = to(item);
    item.slot = slot;
  }
  return Math.max(1, ends.length);
}

function layOut() {
  rows = []; height = 6;
  const add = (row, tall) => { rows.push(Object.assign(row, { y: height, tall })); height += tall; };
  for (const session of data.sessions) {
    if (data.sessions.length > 1) add({ kind: "group", label: `SESSION ${session.number}`, session }, 26);
    if (session.connections.length) {
      add({ kind: "group", label: "CONNECTIONS", session }, 24);
      const slots = pack(session.connections, (one) => one.began, (one) => one.gone ?? one.ended ?? end);
      add({ kind: "connections", items: session.connections, session, label: "" }, slots * (LINK + 6) + GAP);
    }
    add({ kind: "group", label: "LANES", session }, 24);
    const lanes = new Map();
    for (const turn of turns.filter((one) => one.session === session.number)) {
      const lane = turn.retrieval ? "retrieved" : turn.lane ?? (turn.transport === "http" ? "http" : "default lane");
      if (!lanes.has(lane)) lanes.set(lane, []);
      lanes.get(lane).push(turn);
    }
    for (const [label, items] of lanes) {
      const slots = pack(items, (one) => one.began, finish);
      add({ kind: "lane", label, items, session }, slots * (BAR + 4) + GAP);
      for (const turn of items) turn.row = rows[rows.length - 1];
    }
  }
  height += 24;
}

// --- The scale

const width = () => Math.max(320, chart.clientWidth);
const scale = () => (width() - GUTTER - MARGIN) / (view.to - view.from);
const x = (time) => GUTTER + (time - view.from) * scale();
const timeAt = (px) => view.from + (px - GUTTER) / scale();

function show(from, to) {
  const span = Math.min(end * 1.02, Math.max(1e-5, to - from));
  const start = Math.max(-end * 0.01, Math.min(from, end * 1.01 - span));
  view.from = start; view.to = start + span;
  draw();
}

function zoom(factor, about = (view.from + view.to) / 2) {
  show(about - (about - view.from) * factor, about + (view.to - about) * factor);
}

function steps() {
  const rough = (view.to - view.from) / Math.max(2, (width() - GUTTER) / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const all = [];
  for (let index = Math.ceil(Math.max(0, view.from) / step); index * step <= view.to; index += 1) all.push(index * step);
  return all;
}

// --- Drawing

function draw() {
  hideTip();
  drawOverview();
  drawAxis();
  drawTracks();
}

function tickLabel(time) {
  const all = steps(), step = all.length > 1 ? all[1] - all[0] : view.to - view.from, unit = step < 1e-3 ? 1e-3 : 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
  return time === 0 ? "0" : `${(time / unit).toFixed(digits)} ${unit < 1 ? "ms" : "s"}`;
}

function drawAxis() {
  axis.replaceChildren();
  svg(axis, "text", { x: 12, y: 17, class: "quiet" }, `${seconds(view.to - view.from)} shown`);
  for (const time of steps()) {
    svg(axis, "line", { x1: x(time), x2: x(time), y1: 20, y2: 26, class: "grid" });
    svg(axis, "text", { x: x(time), y: 16, "text-anchor": "middle", class: "quiet" }, tickLabel(time));
  }
}

function drawOverview() {
  overview.replaceChildren();
  const at = (time) => GUTTER + (time / end) * (width() - GUTTER - MARGIN);
  svg(overview, "text", { x: 12, y: 26, class: "quiet" }, `${turns.length} turn${turns.length === 1 ? "" : "s"}`);
  const lanes = [...new Set(turns.map((turn) => turn.row))];
  const tall = Math.max(1, Math.min(5, 36 / lanes.length));
  for (const turn of turns) {
    const y = 4 + (lanes.indexOf(turn.row) / lanes.length) * 36;
    const kind = turn.verdict ?? (turn.transport === "http" ? "http" : "");
    const group = svg(overview, "g", { class: turn.verdict ? "" : kind });
    svg(group, "rect", {
      x: at(turn.began), y, width: Math.max(1, at(finish(turn)) - at(turn.began)), height: Math.max(1, tall - 1),
      class: turn.verdict ?? "STREAM",
    });
  }
  svg(overview, "rect", { x: at(view.from), y: 1, width: Math.max(3, at(view.to) - at(view.from)), height: 41, rx: 3, class: "window" });
}

function drawTracks() {
  tracks.replaceChildren();
  tracks.setAttribute("height", height);
  tracks.style.height = `${height}px`;
  let odd = false;
  for (const row of rows) {
    odd = row.kind !== "group" && !odd;
    if (odd) svg(tracks, "rect", { x: 0, y: row.y, width: width(), height: row.tall, class: "stripe" });
  }
  for (const time of steps()) svg(tracks, "line", { x1: x(time), x2: x(time), y1: 0, y2: height, class: "grid" });
  const clip = svg(svg(tracks, "defs"), "clipPath", { id: "plot" });
  svg(clip, "rect", { x: GUTTER, y: 0, width: width() - GUTTER, height });
  const plot = svg(tracks, "g", { "clip-path": "url(#plot)" });
  for (const row of rows) {
    if (row.kind === "connections") for (const one of row.items) drawLink(plot, row, one);
    if (row.kind === "lane") for (const turn of row.items) drawTurn(plot, row, turn);
    if (row.kind === "lane") for (const turn of row.items.filter((one) => one.verdict)) drawVerdict(plot, turn);
  }
  for (const session of data.sessions) for (const notice of session.notices) drawNotice(plot, session, notice);
  for (const row of rows) {
    const group = row.kind === "group";
    svg(tracks, "text", { x: 12, y: row.y + (group ? 17 : 20), class: group ? "group" : "" }, shorten(row.label, 19));
  }
  if (cursor !== null) svg(tracks, "line", { x1: x(cursor), x2: x(cursor), y1: 0, y2: height, class: "cursor" });
}

function drawLink(plot, row, one) {
  const y = row.y + 4 + one.slot * (LINK + 6), last = one.gone ?? one.ended ?? end;
  if (x(last) < GUTTER || x(one.began) > width()) return;
  const group = svg(plot, "g", { class: `link ${one.transport}` });
  svg(group, "rect", { x: x(one.began), y, width: Math.max(2, x(last) - x(one.began)), height: LINK, rx: 4, opacity: 0.45 });
  if (one.opened !== null) {
    svg(group, "rect", { x: x(one.opened), y, width: Math.max(1, x(one.draining ?? last) - x(one.opened)), height: LINK, rx: 4, class: "up" });
  }
  for (const [from, until] of one.pauses) svg(group, "path", { d: `M${x(from)} ${y + LINK - 1}H${x(until ?? last)}`, class: "pause" });
  const left = Math.max(GUTTER, x(one.began));
  const label = shorten(`#${one.number} ${one.transport}`, Math.floor((Math.min(width(), x(last)) - left - 10) / 6.2));
  if (label.length > 2) svg(group, "text", { x: left + 5, y: y + LINK - 3 }, label);
  group.addEventListener("pointermove", (event) => showTip(event, `Connection ${one.number}: ${one.transport} to ${one.endpoint}`, [
    `opening ${seconds((one.opened ?? last) - one.began)}, open ${seconds(one.opened === null ? null : last - one.opened)}`,
    `${bytes(one.sent)} sent, ${bytes(one.received)} received`,
    one.draining === null ? null : `takes no more turns from ${seconds(one.draining)}`,
    one.ended === null ? "open at the end of the recording" : `ended: ${one.reason ?? "closed on purpose"}`,
  ]));
}

function drawTurn(plot, row, turn) {
  const y = row.y + 4 + turn.slot * (BAR + 4), from = x(turn.began), to = Math.max(from + 3, x(finish(turn)));
  if (to + 16 < GUTTER || from > width()) return;
  const group = svg(plot, "g", {
    class: `turn ${turn.transport ?? ""}${turn === selected ? " selected" : ""}${found(turn) ? "" : " dimmed"}`,
    role: "listitem", "data-turn": turns.indexOf(turn),
    "aria-label": `${nameOf(turn)}, ${row.label}: ${turn.end ?? "running"}${turn.verdict ? `, ${turn.verdict}` : ""}, ${seconds(finish(turn) - turn.began)}`,
  });
  for (const [phase, at, until] of turn.waits) {
    const thin = phase !== "STREAM" && phase !== "AWAIT";
    svg(group, "rect", {
      x: x(at), y: thin ? y + 7 : y, width: Math.max(0.5, x(until ?? finish(turn)) - x(at)), height: thin ? BAR - 14 : BAR,
      rx: Math.min(4, Math.max(0, (x(until ?? finish(turn)) - x(at)) / 2)), class: phase,
    });
  }
  if (!turn.waits.length) svg(group, "rect", { x: from, y, width: to - from, height: BAR, rx: 3, class: "BACKLOG" });
  svg(group, "path", { d: ticks(turn, y), class: "ticks" });
  const stream = turn.waits.find(([phase]) => phase === "STREAM");
  const start = Math.max(GUTTER, stream ? x(stream[1]) : from);
  const label = shorten(promptOf(turn), Math.floor((Math.min(width(), to) - start - 14) / 6.1));
  if (label.length > 3) svg(group, "text", { x: start + 7, y: y + 17 }, label);
  for (const one of turn.repeats) svg(group, "text", { x: x(one.at) + 2, y: y + 18, class: "flag turn_repeated" }, "↻");
  svg(group, "rect", { x: from - 2, y: y - 2, width: to - from + 4, height: BAR + 4, rx: 6, class: "frame" });
  group.addEventListener("click", (event) => { event.stopPropagation(); select(turn, eventAt(turn, event)); chart.focus({ preventScroll: true }); });
  group.addEventListener("pointermove", (event) => showTurnTip(event, turn));
}

function drawVerdict(plot, turn) {
  const at = Math.max(x(turn.began) + 3, x(finish(turn))) + 3, y = turn.row.y + 4 + turn.slot * (BAR + 4) + BAR / 2;
  const badge = svg(plot, "g", { class: `verdict${found(turn) ? "" : " dimmed"}` });
  svg(badge, "circle", { cx: at, cy: y, r: 8, class: turn.verdict });
  svg(badge, "text", { x: at, y: y + 4 }, BADGES[turn.verdict] ?? "·");
}

function ticks(turn, y) {
  let path = "", last = -1;
  for (const [at, type] of turn.events) {
    const px = Math.round(x(at) * 2) / 2, delta = data.types[type].endsWith(".delta");
    if (px === last || px < GUTTER || px > width()) continue;
    last = px;
    path += delta ? `M${px} ${y + BAR - 7}v5` : `M${px} ${y + 2}v${BAR - 4}`;
  }
  return path;
}

function drawNotice(plot, session, notice) {
  if (!NOTED.has(notice.name)) return;
  const mine = rows.filter((row) => row.session === session && row.kind !== "group");
  if (!mine.length || x(notice.at) < GUTTER || x(notice.at) > width()) return;
  const bottom = mine[mine.length - 1].y + mine[mine.length - 1].tall;
  const crowded = session.notices.some((other) => other !== notice && NOTED.has(other.name) && Math.abs(x(other.at) - x(notice.at)) < 62);
  const [sign, word] = NOTED.get(notice.name);
  svg(plot, "line", { x1: x(notice.at), x2: x(notice.at), y1: mine[0].y, y2: bottom, class: `notice ${notice.name}` });
  const late = x(notice.at) > width() - 66;
  const before = session.notices.slice(0, session.notices.indexOf(notice));
  const beside = 12 * before.filter((other) => NOTED.has(other.name) && Math.abs(x(other.at) - x(notice.at)) < 12).length;
  const flag = svg(plot, "text", { x: x(notice.at) + (late ? -3 - beside : 3 + beside), "text-anchor": late ? "end" : "start", y: mine[0].y - 6, class: `flag ${notice.name}` },
    crowded ? sign : `${sign} ${word}`);
  flag.addEventListener("pointermove", (event) => showTip(event, notice.name.replace("_", " "), [`at ${seconds(notice.at)}, ${notice.endpoint}`, notice.reason]));
}

// --- What the pointer is on

function eventAt(turn, event) {
  const at = timeAt(event.clientX - tracks.getBoundingClientRect().left);
  let best = -1;
  turn.events.forEach(([time], index) => { if (best < 0 || Math.abs(time - at) < Math.abs(turn.events[best][0] - at)) best = index; });
  return best >= 0 && Math.abs(turn.events[best][0] - at) * scale() < 12 ? best : -1;
}

function showTurnTip(pointer, turn) {
  const index = eventAt(turn, pointer);
  if (index >= 0) {
    const [at, type, length, connection, text] = turn.events[index];
    showTip(pointer, data.types[type], [`${nameOf(turn)}, event ${index + 1} of ${turn.events.length}`,
      `at ${seconds(at)}, ${seconds(at - turn.began)} after its start; ${bytes(length)} by connection ${connection}`], shorten(text, 600));
    return;
  }
  const now = timeAt(pointer.clientX - tracks.getBoundingClientRect().left);
  const part = turn.waits.find(([, at, until]) => at <= now && now <= (until ?? end));
  showTip(pointer, `${nameOf(turn)}: ${turn.end ?? "running"}${turn.verdict ? `, ${turn.verdict.toUpperCase()}` : ""}`, [
    shorten(promptOf(turn), 160), part ? `${part[0]}: ${PHASES[part[0]] ?? ""}, ${seconds((part[2] ?? end) - part[1])}` : null,
    `${seconds(finish(turn) - turn.began)} in all, ${turn.events.length} events`, turn.verdict ? VERDICTS[turn.verdict] : null,
  ]);
}

function showTip(pointer, title, lines, code = null) {
  pointer.stopPropagation();
  tip.replaceChildren(node("b", {}, title), ...lines.filter(Boolean).map((line) => node("span", {}, line)));
  if (code) tip.append(node("code", {}, code));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(pointer.clientX + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${pointer.clientY + 18 + box.height < innerHeight ? pointer.clientY + 18 : Math.max(4, pointer.clientY - box.height - 12)}px`;
}

function hideTip() { tip.hidden = true; }

// --- The panel

function line(...cells) {
  return node("tr", {}, ...cells.map((cell, index) => node("td", index && /^[\d–]/.test(String(cell)) && String(cell).length < 16 ? { class: "number" } : {}, String(cell))));
}

function badges(turn) {
  return [
    turn.verdict ? node("span", { class: `badge ${turn.verdict}` }, turn.verdict.toUpperCase()) : null,
    node("span", { class: "badge" }, turn.end ?? "running"), turn.transport ? node("span", { class: "badge" }, turn.transport) : null,
    turn.repeats.length ? node("span", { class: "badge" }, `repeated ${turn.repeats.length}×`) : null,
    turn.lane ? node("span", { class: "badge" }, `lane ${turn.lane}`) : null,
  ];
}

function showDetails(chosen = -1) {
  const panel = by("details");
  panel.replaceChildren(...(selected ? turnDetails(selected, chosen) : recordingDetails()));
  panel.querySelector("details[open]")?.scrollIntoView({ block: "nearest" });
}

function turnDetails(turn, chosen) {
  const parts = [node("h2", {}, nameOf(turn)), node("div", {}, ...badges(turn).filter(Boolean))];
  if (turn.verdict) parts.push(node("p", {}, VERDICTS[turn.verdict]));
  if (turn.text) parts.push(node("p", {}, `${turn.failure}: ${turn.text}`));
  const phases = node("table");
  for (const [phase, at, until, connection] of turn.waits) {
    phases.append(line(phase, PHASES[phase] ?? "", connection === null ? "" : `#${connection}`, seconds((until ?? finish(turn)) - at)));
  }
  parts.push(node("h3", {}, `Time: ${seconds(finish(turn) - turn.began)}`), phases);
  if (turn.repeats.length) {
    parts.push(node("h3", {}, "Repeated"), ...turn.repeats.map((one) => node("p", {}, `at ${seconds(one.at)}, ${one.reason}, in ${seconds(one.delay)}: ${one.text}`)));
  }
  const answer = answerOf(turn);
  if (answer) parts.push(node("h3", {}, turn.end === "completed" ? "Answer" : "Answer so far"), node("div", { class: "answer" }, answer));
  if (turn.evidence) {
    const table = node("table");
    for (const [key, value] of Object.entries(turn.evidence)) if (value !== null) table.append(line(key, typeof value === "object" ? JSON.stringify(value) : value));
    parts.push(node("h3", {}, "Evidence"), table);
  }
  parts.push(node("h3", {}, turn.retrieval ? "Retrieval" : "Request"), node("pre", {}, turn.retrieval ?? JSON.stringify(turn.body, null, 2)));
  parts.push(node("h3", {}, `${turn.events.length} events`), eventList(turn, chosen));
  return parts;
}

function eventList(turn, chosen) {
  const list = node("div"), first = Math.max(0, Math.min(chosen - 200, turn.events.length - 500));
  turn.events.slice(first, first + 500).forEach(([at, type, length, , text], offset) => {
    const index = first + offset, hit = query && text.toLowerCase().includes(query);
    const item = node("details", hit ? { class: "hit" } : {}, node("summary", {}, node("span", {}, `+${seconds(at - turn.began)}`), node("span", {}, data.types[type]), node("span", {}, bytes(length))));
    item.addEventListener("toggle", () => { if (item.open && item.children.length === 1) item.append(node("pre", {}, pretty(text))); });
    item.open = index === chosen;
    list.append(item);
  });
  if (turn.events.length > 500) list.append(node("p", {}, `Events ${first + 1} to ${first + 500} of ${turn.events.length}: choose one in its bar for those around it.`));
  return list;
}

function recordingDetails() {
  const counts = new Map();
  for (const turn of turns) { const kind = turn.verdict ?? turn.end ?? "running"; counts.set(kind, (counts.get(kind) ?? 0) + 1); }
  const table = node("table"), parts = [node("h2", {}, data.name)];
  for (const [kind, count] of counts) table.append(line(kind, count));
  parts.push(node("p", {}, `Recorded ${new Date(data.wall * 1000).toLocaleString()} by turnwire ${data.turnwire}${data.scrubbed ? "; texts were replaced" : ""}${data.cut ? "; the file is cut" : ""}.`));
  parts.push(node("h3", {}, "Turns"), table);
  for (const session of data.sessions) {
    const links = node("table");
    for (const one of session.connections) links.append(line(`#${one.number}`, one.transport, one.reason ?? (one.ended === null ? "open" : "closed"), seconds((one.gone ?? one.ended ?? end) - one.began)));
    parts.push(node("h3", {}, data.sessions.length > 1 ? `Session ${session.number}` : "Session"), node("p", {}, session.url),
      session.dialect ? node("p", {}, `dialect ${session.dialect}`) : null,
      Object.keys(session.options).length ? node("pre", {}, JSON.stringify(session.options, null, 2)) : null, node("h3", {}, "Connections"), links);
  }
  parts.push(node("p", { class: "quiet" }, "Choose a turn, or press ? for the keys."));
  return parts.filter(Boolean);
}

// --- Selecting

function select(turn, event = -1, reveal = false) {
  selected = turn;
  if (turn && reveal) {
    if (turn.began < view.from || turn.began > view.to) { const half = (view.to - view.from) / 2; show(turn.began - half / 2, turn.began + half * 1.5); }
    const box = by("scroll"), y = turn.row.y + turn.slot * (BAR + 4);
    if (y < box.scrollTop) box.scrollTop = y - 20;
    if (y + BAR + 20 > box.scrollTop + box.clientHeight) box.scrollTop = y + BAR + 40 - box.clientHeight;
  }
  drawTracks();
  showDetails(event);
}

function step(direction, wanted = () => true) {
  const from = selected ? turns.indexOf(selected) : direction > 0 ? -1 : turns.length;
  for (let index = from + direction; index >= 0 && index < turns.length; index += direction) {
    if (wanted(turns[index]) && found(turns[index])) return select(turns[index], -1, true);
  }
}

function stepRow(direction) {
  if (!selected) return step(1);
  const lanes = rows.filter((one) => one.kind === "lane"), target = lanes[lanes.indexOf(selected.row) + direction];
  if (target) select(target.items.reduce((best, one) => (Math.abs(one.began - selected.began) < Math.abs(best.began - selected.began) ? one : best)), -1, true);
}

function search(text) {
  query = text.trim().toLowerCase();
  const hits = turns.filter(found).length;
  by("search").title = query ? `${hits} turn${hits === 1 ? "" : "s"}` : "";
  drawTracks();
  if (selected) showDetails();
}

function switchTheme() { document.documentElement.classList.toggle("dark"); }

const ACTIONS = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => stepRow(-1), ArrowDown: () => stepRow(1),
  n: () => step(1, failed), p: () => step(-1, failed), Home: () => { selected = null; step(1); }, End: () => { selected = null; step(-1); },
  Enter: () => { if (selected) { const span = Math.max(finish(selected) - selected.began, 1e-4); show(selected.began - span * 0.1, finish(selected) + span * 0.15); } },
  Escape: () => select(null), "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: () => show(-end * 0.01, end * 1.01),
  a: () => show(view.from - (view.to - view.from) / 5, view.to - (view.to - view.from) / 5),
  d: () => show(view.from + (view.to - view.from) / 5, view.to + (view.to - view.from) / 5),
  "/": () => by("search").focus(), t: switchTheme, "?": () => by("keys").showModal(),
};

// --- What the reader does

function listen() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target === by("search");
    if (event.ctrlKey || event.metaKey || event.altKey || by("keys").open || (typing && event.key !== "Escape") || !(event.key in ACTIONS)) return;
    if (event.target.closest?.("button, summary") && event.key === "Enter") return;
    event.preventDefault();
    if (typing) { event.target.value = ""; search(""); chart.focus(); } else ACTIONS[event.key]();
  });
  tracks.addEventListener("wheel", (event) => {
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by_ = ((event.deltaX || event.deltaY) / (width() - GUTTER)) * (view.to - view.from);
      event.preventDefault(); show(view.from + by_, view.to + by_);
    } else if (event.ctrlKey || height <= by("scroll").clientHeight) {
      event.preventDefault(); zoom(1.0015 ** event.deltaY, timeAt(event.clientX - tracks.getBoundingClientRect().left));
    }
  }, { passive: false });
  drag(tracks, (start, moved) => show(start.from - moved / scale(), start.to - moved / scale()));
  const at = (event) => ((event.clientX - overview.getBoundingClientRect().left - GUTTER) / (width() - GUTTER - MARGIN)) * end;
  const centre = (event) => { const half = Math.min(view.to - view.from, end) / 2; show(at(event) - half, at(event) + half); };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); centre(event); });
  overview.addEventListener("pointermove", (event) => { if (overview.hasPointerCapture(event.pointerId)) centre(event); });
  tracks.addEventListener("pointermove", hideTip);
  tracks.addEventListener("pointerleave", hideTip);
  tracks.addEventListener("click", () => { if (!tracks.moved) select(null); });
  by("in").addEventListener("click", ACTIONS["+"]); by("out").addEventListener("click", ACTIONS["-"]); by("fit").addEventListener("click", ACTIONS[0]);
  by("theme").addEventListener("click", switchTheme); by("help").addEventListener("click", ACTIONS["?"]);
  by("search").addEventListener("input", (event) => search(event.target.value));
  addEventListener("resize", draw);
}

function drag(element, move) {
  let start = null;
  element.addEventListener("pointerdown", (event) => { if (event.button === 0) { start = { px: event.clientX, ...view }; element.moved = false; } });
  element.addEventListener("pointermove", (event) => {
    if (!start || Math.abs(event.clientX - start.px) < 4 && !element.moved) return;
    if (!element.moved) { element.moved = true; element.setPointerCapture(event.pointerId); element.classList.add("dragged"); }
    move(start, event.clientX - start.px);
  });
  for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => { start = null; element.classList.remove("dragged"); });
}

function legend() {
  const items = [["waiting", "waits for a connection or a lane"], ["setup", "connects"], ["await", "waits for the first event"], ["stream", "WebSocket"], ["http", "HTTP"],
    ["safe", "SAFE: not run"], ["ambiguous", "AMBIGUOUS: nobody knows"], ["unsafe", "UNSAFE: it ran"]];
  by("legend").append(...items.map(([name, text]) => { const chip = node("i"); chip.style.background = `var(--${name})`; return node("li", {}, chip, text); }));
  by("keys").querySelector("dl").append(...KEYS.flatMap(([key, text]) => [node("dt", {}, key), node("dd", {}, text)]));
}

function begin() {
  if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark");
  for (const turn of turns) turn.text_of = JSON.stringify([turn.body, turn.text, turn.failure, turn.end, turn.verdict, turn.lane, turn.id, answerOf(turn), turn.events.map((event) => event[4])]).toLowerCase();
  by("name").textContent = data.name;
  const links = data.sessions.reduce((sum, session) => sum + session.connections.length, 0);
  by("summary").textContent = [`${turns.length} turns`, `${links} connections`, `${turns.reduce((sum, turn) => sum + turn.events.length, 0)} events`,
    seconds(data.span), `${turns.filter(failed).length} failed or left`].join(" · ");
  if (data.difference) {
    by("alert").hidden = false;
    by("alert").textContent = `The replay differs from the recording at line ${data.difference.line} (${data.difference.do}, at ${seconds(data.difference.at)}): expected ${data.difference.expected}, got ${data.difference.got}. What follows is not shown.`;
    cursor = data.difference.at;
  }
  layOut(); legend(); listen();
  show(-end * 0.01, end * 1.01);
  showDetails();
}

begin();
