// The door of VECTORS.md: a question a line on stdin, an answer a line on stdout.

import { createInterface } from "node:readline";
import { encode, readAll } from "./frames.mjs";
import { answer } from "./handshake.mjs";
import { readEvent } from "./events.mjs";
import { errorOf } from "./errors.mjs";
import { judge, judgeHttp } from "./verdicts.mjs";
import { plan } from "./recovery.mjs";
import { endpoint, proxy } from "./urls.mjs";
import { request } from "./requests.mjs";
import { readStream } from "./sse.mjs";
import { play } from "./script.mjs";
import { UserError } from "./values.mjs";

const GROUPS = {
  frames: readAll,
  encode,
  handshake: answer,
  events: readEvent,
  errors: errorOf,
  verdicts: judge,
  http: judgeHttp,
  recovery: plan,
  urls: endpoint,
  proxy,
  requests: request,
  sse: readStream,
  connection: play,
};

function reply({ id, group, input }) {
  const program = GROUPS[group];
  if (!program) return { id, unsupported: true };
  try {
    return { id, output: program(input) };
  } catch (error) {
    if (error instanceof UserError) return { id, output: { refused: error.name } };
    return { id, error: String(error.stack) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(reply(JSON.parse(line)))}\n`);
}
