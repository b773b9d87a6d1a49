// A test of an agent in Node, against `turnwire serve`. It needs nothing but Node 20: node --test tool_loop.test.mjs
//
// The agent adds numbers up: in each of 49 turns the model asks for a tool, in the 50th it answers. In turn 30 the server
// cuts the connection in the middle of the answer; the agent repeats the request. The ledger tells what was asked.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";

const folder = mkdtempSync(join(tmpdir(), "agent-"));
let server, baseUrl, controlUrl;

before(async () => {
  const script = [];
  for (let n = 0; n < 49; n++) script.push({ call: "add", arguments: { n } });
  script.push("It is");
  writeFileSync(join(folder, "script.json"), JSON.stringify(script));
  const faults = [{ after_event: 4, do: { cut: { reset: true } }, marker: "turn-30" }];
  writeFileSync(join(folder, "faults.json"), JSON.stringify(faults));
  const files = ["--script", "script.json", "--faults", "faults.json", "--ready-file", "ready.json"];
  const options = ["serve", "--port", "0", "--strict", "--control", ...files];
  server = spawn(process.env.TURNWIRE ?? "turnwire", options, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  let ready = null;
  while (ready === null) {
    assert.equal(server.exitCode, null, "turnwire serve has ended");
    try {
      ready = JSON.parse(readFileSync(join(folder, "ready.json"), "utf8"));
    } catch {
      await setTimeout(10);
    }
  }
  baseUrl = ready.base_url;
  controlUrl = ready.control_url;
});

after(async () => {
  const ended = new Promise((resolve) => server.once("exit", resolve));
  server.kill();
  assert.equal(await ended, 0);
  rmSync(folder, { recursive: true });
});

/** One turn, streamed: the response of its last event. Rejects if the stream ends before that. */
async function respond(body) {
  const headers = { "content-type": "application/json", authorization: "Bearer any" };
  const answer = await fetch(`${baseUrl}/responses`, {
    method: "POST",
    headers,
    body: JSON.stringify({ model: "gpt-6", stream: true, ...body }),
  });
  assert.equal(answer.status, 200);
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) text += piece;
  const events = text.split("\n\n").filter(Boolean).map((event) => JSON.parse(event.split("\ndata: ")[1]));
  const last = events.at(-1);
  assert.equal(last.type, "response.completed");
  return last.response;
}

/** The agent: it runs the tool until the model has an answer, and repeats a turn that broke off. */
async function agent(task) {
  const tools = [{ type: "function", name: "add", parameters: { type: "object", properties: { n: { type: "integer" } } } }];
  let input = task, previous = null, total = 0, turn = 1;
  for (;;) {
    let response;
    try {
      response = await respond({ input, tools, previous_response_id: previous, metadata: { marker: `turn-${turn}` } });
    } catch (error) {
      if (error.code === "ERR_ASSERTION") throw error;
      continue;
    }
    const calls = response.output.filter((item) => item.type === "function_call");
    if (calls.length === 0) return `${response.output[0].content[0].text} ${total}`;
    input = calls.map((call) => {
      total += JSON.parse(call.arguments).n;
      return { type: "function_call_output", call_id: call.call_id, output: String(total) };
    });
    previous = response.id;
    turn += 1;
  }
}

/** Ask the server what it was asked; or tell it something. */
async function control(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(`${controlUrl}/${path}`, options);
  const content = await answer.json();
  assert.ok(answer.ok, content.error?.message);
  return content;
}

test("a loop of fifty turns survives a cut in the thirtieth", async () => {
  assert.equal(await agent("Add them up."), "It is 1176");

  const outcomes = [...Array(29).fill("completed"), "cut", ...Array(21).fill("completed")];
  await control("expect", { entries: outcomes, every: { transport: "sse", tools: ["add"] }, within: 10 });

  const { entries } = await control("ledger?marker=turn-30");
  assert.deepEqual(entries.map((entry) => entry.outcome), ["cut", "completed"]);
  assert.deepEqual(entries[0].body, entries[1].body);
  assert.equal(entries[0].headers.authorization, "***");
  assert.deepEqual((await control("faults")).faults, []);
});

test("after a reset the server is as it was", async () => {
  await control("reset", {});
  await control("faults", []);
  assert.deepEqual((await control("ledger")).entries, []);
  assert.equal(await agent("Once more."), "It is 1176");
  assert.equal((await control("ledger?outcome=cut")).entries.length, 1);
});

test("an assertion that fails says what differs", async () => {
  await assert.rejects(control("expect", { every: { transport: "websocket" } }), /transport: expected 'websocket', got 'sse'/);
});
