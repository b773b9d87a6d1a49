// Clients in Node through `turnwire record`, to `turnwire serve`: node --test record.test.mjs
//
// It needs the packages `ws` and `openai`; CLIENT_MODULES is the folder with node_modules. RECORDING is the file to write.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.env.CLIENT_MODULES}/`));
const WebSocket = require("ws");
const { OpenAI } = require("openai");

const KEY = "sk-node-0123456789abcdef";
const folder = mkdtempSync(join(tmpdir(), "record-"));
const started = [];
let direct, through;

async function start(name, ...options) {
  const file = join(folder, `${name}.json`);
  const child = spawn(process.env.TURNWIRE ?? "turnwire", [...options, "--port", "0", "--ready-file", file], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  started.unshift(child);
  for (;;) {
    assert.equal(child.exitCode, null, `turnwire ${options[0]} has ended`);
    try {
      return JSON.parse(readFileSync(file, "utf8")).base_url;
    } catch {
      await setTimeout(10);
    }
  }
}

before(async () => {
  const script = join(folder, "script.json");
  writeFileSync(script, JSON.stringify({
    rules: [
      { when: { tool_output: { matches: "." } }, reply: { reply: "It is 42.", delay: 0.001 } },
      { when: { text: { contains: "40 + 2" } }, reply: { call: "add", arguments: { a: 40, b: 2 } } },
      { reply: ["Hello ", "lanes."] },
    ],
  }));
  direct = await start("serve", "serve", "--strict", "--api-key", KEY, "--script", script);
  through = await start("record", "record", process.env.RECORDING, "--upstream", direct);
});

after(async () => {
  for (const child of started) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill();
    assert.equal(await ended, 0);
  }
  rmSync(folder, { recursive: true });
});

/** Two lanes over one WebSocket: the types of the events of each, and how it was closed. */
async function lanes(url) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/responses`, { headers: { Authorization: `Bearer ${KEY}` } });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const found = { a: [], b: [] };
  await new Promise((resolve) => {
    let left = 2;
    socket.on("message", (data) => {
      const event = JSON.parse(data);
      found[event.stream_id].push(event.type);
      if (event.type === "response.completed" && --left === 0) resolve();
    });
    for (const lane of ["a", "b"]) {
      socket.send(JSON.stringify({ type: "response.create", model: "gpt-6", input: `Go, ${lane}.`, stream_id: lane }));
    }
  });
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.close(1000, "done");
  return { ...found, code: await closed };
}

/** A tool loop of the package openai, streamed: the types of all events, and what it says. */
async function loop(url) {
  const client = new OpenAI({ baseURL: url, apiKey: KEY, maxRetries: 0 });
  const schema = { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" } } };
  const tools = [{ type: "function", name: "add", parameters: schema, strict: false }];
  const types = [];
  let input = "What is 40 + 2?", previous;
  for (;;) {
    const stream = client.responses.stream({ model: "gpt-6", input, tools, previous_response_id: previous });
    for await (const event of stream) types.push(event.type);
    const response = await stream.finalResponse();
    const calls = response.output.filter((item) => item.type === "function_call");
    if (calls.length === 0) return { types, text: response.output_text };
    input = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "42" }));
    previous = response.id;
  }
}

test("ws gets through the proxy what it gets without it", async () => {
  const without = await lanes(direct);
  assert.equal(without.code, 1000);
  assert.deepEqual(await lanes(through), without);
});

test("the package openai gets through the proxy what it gets without it", async () => {
  const without = await loop(direct);
  assert.equal(without.text, "It is 42.");
  assert.deepEqual(await loop(through), without);
});

test("a wrong key is refused through the proxy as without it", async () => {
  const client = new OpenAI({ baseURL: through, apiKey: "wrong-key-0123456789", maxRetries: 0 });
  await assert.rejects(client.responses.create({ model: "gpt-6", input: "x" }), { status: 401, code: "invalid_api_key" });
});
