// The message of a turn (P-CLIENT, P-LANES-2, P-EVENT-7).

import { InvalidStreamIdError, UserError } from "./values.mjs";

const NOT_OF_A_MESSAGE = ["extra_headers", "extra_query", "extra_body", "timeout"];

export function checkLane(lane) {
  if (typeof lane !== "string" || !/^[A-Za-z0-9_.-]{1,256}$/.test(lane)) throw new InvalidStreamIdError(`no lane: ${lane}`);
}

/** The lane of a turn: a name, null for the default lane, or {auto: true}. */
export function laneOf(fields, lane = null) {
  const inFields = fields.stream_id ?? null;
  if (inFields !== null && lane !== null && !lane.auto && inFields !== lane) throw new UserError("two lanes");
  const chosen = inFields ?? lane;
  if (chosen !== null && !chosen.auto) checkLane(chosen);
  return chosen;
}

export function messageOf(fields, lane = null) {
  if ("type" in fields && fields.type !== "response.create") throw new UserError(`no turn: ${fields.type}`);
  const wrong = NOT_OF_A_MESSAGE.find((name) => name in fields);
  if (wrong) throw new UserError(`no field of a message: ${wrong}`);
  const name = laneOf(fields, lane);
  const { stream, background, stream_id, ...rest } = fields;
  const message = { type: "response.create", ...rest };
  if (background) message.background = background; // it goes over HTTP (P-CLIENT-3)
  if (typeof name === "string") message.stream_id = name;
  return message;
}

export const request = ({ fields, lane }) => ({ message: messageOf(fields, lane) });
