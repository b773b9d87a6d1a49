// The scripts of V-CONNECTION-1, played on one connection.

import { Connection } from "./connection.mjs";
import { closePayload, encodeFrame } from "./frames.mjs";
import { UserError } from "./values.mjs";

const serverFrame = (opcode, payload) => encodeFrame(opcode, payload, null);

class Script {
  constructor(options) {
    this.connection = new Connection(options);
    this.turns = new Map();
    this.inputs = new Map();
    this.reported = new Map();
  }

  #create(step) {
    this.connection.create(step);
    this.turns.set(step.turn, this.connection.turns.find((turn) => turn.name === step.turn));
  }

  #give(kind, step) {
    const turn = this.turns.get(step.turn);
    this.connection.give(kind, turn, step.as, step.input);
    this.inputs.set(step.as, turn.inputs.at(-1));
  }

  #play(name, value) {
    const { connection } = this;
    const frame = (opcode, payload) => connection.receive(serverFrame(opcode, payload));
    const message = (each) => frame(1, Buffer.from(typeof each === "string" ? each : JSON.stringify(each)));
    const plays = {
      create: () => this.#create(value),
      cancel: () => connection.cancel(this.turns.get(value)),
      steer: () => this.#give("steer", value),
      inject: () => this.#give("inject", value),
      connected: () => connection.connected(),
      accepted: () => connection.accepted(value),
      rejected: () => connection.rejected(value),
      hand: () => ({ sent: connection.hand(value === "all" ? Infinity : 1) }),
      messages: () => value.forEach(message),
      bytes: () => connection.receive(Buffer.from(value, "hex")),
      server_closes: () => frame(8, closePayload(value)),
      server_pings: () => frame(9, Buffer.from(value, "hex")),
      server_pongs: () => frame(10, Buffer.from(value, "hex")),
      end_of_file: () => connection.endOfFile(),
      transport_fails: () => connection.transportFails(),
      expire: () => connection.expire(),
      drain: () => connection.drain(),
      close: () => connection.close(),
    };
    return plays[name]();
  }

  #changed() {
    const changed = [];
    for (const [name, turn] of this.turns) {
      if (turn.ending && this.reported.get(`turn ${name}`) !== turn.ending) changed.push(turn.ending);
      this.reported.set(`turn ${name}`, turn.ending);
    }
    for (const [name, input] of this.inputs) {
      if (this.reported.get(`input ${name}`) !== input.state) changed.push(input.report());
      this.reported.set(`input ${name}`, input.state);
    }
    return changed;
  }

  step({ now, ...rest }) {
    const { connection } = this;
    if (now !== undefined) connection.now = now;
    const [[name, value]] = Object.entries(rest);
    let output = {};
    try {
      output = { ...this.#play(name, value) };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      output.refused = error.name;
    }
    const order = [...this.turns.keys()];
    const events = connection.delivered.splice(0).sort(([one], [other]) => order.indexOf(one) - order.indexOf(other));
    const changed = this.#changed();
    if (events.length) output.events = events;
    if (changed.length) output.changed = changed;
    return { ...output, state: connection.state, deadline: connection.deadline };
  }
}

export function play({ options = {}, steps }) {
  const script = new Script(options);
  return { steps: steps.map((step) => script.step(step)) };
}
