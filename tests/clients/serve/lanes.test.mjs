// Two lanes over one WebSocket, against `turnwire serve`: node --test lanes.test.mjs
//
// It needs the package `ws`, because Node 20 has no WebSocket of its own; CLIENT_MODULES is the folder with node_modules.
// And the package `openai`, for the second test.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.env.CLIENT_MODULES}/`));
const WebSocket = require("ws");
const { OpenAI } = require("openai");

const folder = mkdtempSync(join(tmpdir(), "lanes-"));
let server, ready;

before(async () => {
  const options = ["serve", "--port", "0", "--strict", "--control", "--ready-file", "ready.json"];
  server = spawn(process.env.TURNWIRE ?? "turnwire", options, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  while (ready === undefined) {
    assert.equal(server.exitCode, null, "turnwire serve has ended");
    try {
      ready = JSON.parse(readFileSync(join(folder, "ready.json"), "utf8"));
    } catch {
      await setTimeout(10);
    }
  }
});

after(async () => {
  const ended = new Promise((resolve) => server.once("exit", resolve));
  server.kill();
  assert.equal(await ended, 0);
  rmSync(folder, { recursive: true });
});

async function control(path, body) {
  const answer = await fetch(`${ready.control_url}/${path}`, { method: "POST", body: JSON.stringify(body) });
  const content = await answer.json();
  assert.ok(answer.ok, content.error?.message);
}

test("two lanes; the connection is cut in the middle of the second answer of one of them", async () => {
  const rule = (lane, reply, ...more) => ({ when: { lane }, reply, ...Object.assign({}, ...more) });
  await control("script", { rules: [rule("a", "First of a.", { times: 1 }), rule("a", "Second of a."), rule("b", "Of b.")] });
  await control("faults", { after_event: 5, do: { close: { code: 1011 } }, marker: "last" });

  const socket = new WebSocket(`${ready.base_url.replace("http", "ws")}/responses`);
  await new Promise((resolve) => socket.once("open", resolve));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const ends = new Map();
  socket.on("message", (data) => {
    const event = JSON.parse(data);
    if (event.type === "response.completed") ends.get(event.stream_id)(event.response.output[0].content[0].text);
  });
  const run = (lane, metadata) =>
    new Promise((resolve) => {
      ends.set(lane, resolve);
      const body = { type: "response.create", model: "gpt-6", input: "Go.", stream_id: lane, metadata };
      socket.send(JSON.stringify(body));
    });

  assert.deepEqual(await Promise.all([run("a", {}), run("b", {})]), ["First of a.", "Of b."]);
  run("a", { marker: "last" });
  assert.equal(await closed, 1011);
  await control("expect", {
    entries: [{ lane: "a" }, { lane: "b" }, { lane: "a", outcome: "closed", events: 5 }],
    every: { transport: "websocket", connection: 1 },
    within: 10,
  });
});

test("the package openai gets what the script says", async () => {
  await control("reset", {});
  await control("script", [{ error: { status: 503, code: "server_is_overloaded" } }, { reasoning: "Hm." }, ["It ", "rains."]]);
  const client = new OpenAI({ baseURL: ready.base_url, apiKey: "any", maxRetries: 1 });
  const first = await client.responses.create({ model: "gpt-6", input: "What now?" });
  assert.equal(first.output[0].type, "reasoning");
  const second = await client.responses.create({ model: "gpt-6", input: "And?", previous_response_id: first.id });
  assert.equal(second.output_text, "It rains.");
  await control("expect", { entries: ["error", "completed", "completed"], every: { transport: "http" } });
});
