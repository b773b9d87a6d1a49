// What a failed turn means: refusal, verdict, kind and advice (R-VERDICT, R-REFUSAL, R-HTTP, R-ADVICE).

import { tables, inRanges, inOrder } from "./tables.mjs";
import { retryAfter } from "./waits.mjs";
import { headersOf } from "./errors.mjs";

const { refusals } = tables;
const AWAIT = inOrder("AWAIT");

const mayHaveRun = ({ code, type, message }) => {
  const words = [code, type, message].map((part) => (part ?? "").toLowerCase());
  return refusals.may_have_run.some((word) => words.some((part) => part.includes(word)));
};

const isRefusingStatus = (status) => status >= 400 && status < 500 && !inRanges(status, refusals.not_refusing_statuses);

function errorFrameRefuses(evidence) {
  const { refusal } = evidence;
  const status = refusal.status ?? null;
  if (mayHaveRun(refusal) || refusal.of_connection || evidence.unknown_event) return false;
  if (status !== null && status < 400) return false;
  return refusals.codes.includes(refusal.code) || (status !== null && isRefusingStatus(status));
}

function rejectionRefuses({ phase, refusal }) {
  const status = refusal.status ?? 0;
  if (phase !== "AWAIT") return !inRanges(status, refusals.gateway_statuses);
  return isRefusingStatus(status) && status !== 429 && !mayHaveRun(refusal);
}

/** Whether the server, or turnwire itself, said that it did not run the turn. */
export function isRefusal(evidence) {
  if (inOrder(evidence.phase) > AWAIT) return false;
  if (evidence.cause === "TOO_LARGE") return true;
  if (evidence.cause === "PEER_CLOSED") return evidence.close_code === refusals.too_big && evidence.too_big === true;
  if (!evidence.refusal) return false;
  if (evidence.cause === "ERROR_FRAME") return errorFrameRefuses(evidence);
  return evidence.cause === "REJECTED" && rejectionRefuses(evidence);
}

export function verdictOf(evidence) {
  const refused = isRefusal(evidence);
  const row = tables.verdicts.find(({ phases, refused: wanted }) => phases.includes(evidence.phase) && (wanted ?? refused) === refused);
  const verdict = row?.verdict ?? null;
  return verdict === "SAFE" && evidence.earlier_may_have_run ? "AMBIGUOUS" : verdict;
}

const refusalHeaders = (evidence) => headersOf([{ headers: evidence.refusal?.headers }]);
export const waitOf = (evidence, wall = 0) => retryAfter(refusalHeaders(evidence), wall);

function kindOfRefusal(evidence) {
  const { code, status } = evidence.refusal ?? {};
  if (code === "websocket_connection_limit_reached") return "REFUSED_CONNECTION_LIMIT";
  if (status === 429) return "REFUSED_RATE_LIMIT";
  return waitOf(evidence) === null ? "REFUSED" : "REFUSED_RETRY_LATER";
}

function kindOfAmbiguous({ cause, refusal, close_code }) {
  if (cause === "ERROR_FRAME") {
    const { code, type } = refusal ?? {};
    return code === "server_is_overloaded" || (type === "server_error" && !code) ? "OVERLOADED" : "ERROR_FRAME";
  }
  return cause === "PEER_CLOSED" && close_code === refusals.too_big ? "TOO_BIG" : "AMBIGUOUS";
}

/** R-VERDICT-12: a repetition was refused, other than by close code 1009. */
const refusedAgain = (evidence) => isRefusal(evidence) && evidence.cause !== "PEER_CLOSED";

/** The first row of R-ADVICE-2 that matches. */
export function kindOf(evidence) {
  if (["CLIENT_CLOSED", "CANCELLED"].includes(evidence.cause)) return "OUR_OWN_DOING";
  const verdict = verdictOf(evidence);
  if (verdict === "UNSAFE") return "UNSAFE";
  if (isRefusal(evidence) && verdict === "SAFE") return kindOfRefusal(evidence);
  if (verdict === "AMBIGUOUS") return refusedAgain(evidence) ? "REFUSED_AFTER_AMBIGUOUS" : kindOfAmbiguous(evidence);
  const candidate = evidence.close_code === refusals.too_big && (evidence.too_big ?? null) !== null;
  return candidate ? "TOO_BIG_NOT_SENT" : "SAFE";
}

function adviceOf(kind, evidence) {
  const stateful = Boolean(evidence.stateful);
  const row = tables.advice.find((each) => each.kind === kind && (each.stateful ?? stateful) === stateful);
  if (row.suggested === null) return evidence.cause === "REJECTED" ? adviceOfAnswer(evidence, stateful) : null;
  const retry_after = ["OUR_OWN_DOING", "UNSAFE"].includes(kind) ? null : waitOf(evidence);
  return { suggested: row.suggested, replay_safety: row.replay_safety, retry_after };
}

/** R-ADVICE-21, for a rejected upgrade (R-ADVICE-18). */
function adviceOfAnswer(evidence, stateful) {
  const wanted = refusalHeaders(evidence)["x-should-retry"]?.toLowerCase();
  const { status } = evidence.refusal;
  const retry_after = waitOf(evidence);
  const safe = verdictOf(evidence) === "SAFE" ? "safe" : null; // R-ADVICE-19
  if (wanted === "true") return { suggested: true, replay_safety: safe, retry_after };
  if (wanted === "false") return { suggested: false, replay_safety: null, retry_after };
  if ([408, 409, 429].includes(status) || status >= 500) return { suggested: true, replay_safety: stateful ? safe : null, retry_after };
  return retry_after === null ? null : { suggested: null, replay_safety: null, retry_after };
}

export function judge(evidence) {
  const verdict = verdictOf(evidence);
  if (verdict === null) return { refusal: false, verdict, kind: null, advice: null }; // R-VERDICT-7
  const kind = kindOf(evidence);
  return { refusal: isRefusal(evidence), verdict, kind, advice: adviceOf(kind, evidence) };
}

/** Evidence of a call over HTTP, by the table of R-HTTP-1. */
export function judgeHttp(input) {
  const status = input.status ?? 0;
  const matches = (row) =>
    row.event === Boolean(input.event_seen) &&
    (row.statuses === null || inRanges(status, row.statuses)) &&
    (row.error === null || row.error === Boolean(input.api_error)) &&
    (row.handed === null || row.handed === (input.handed ?? null));
  const row = tables.http_evidence.find(matches);
  if (!row) return { evidence: null };
  const { phase } = row;
  const cause = row.cause ?? input.cause;
  const refusal = { ...(input.error ?? {}), status: input.status ?? null };
  return { evidence: { phase, cause }, verdict: verdictOf({ phase, cause, refusal, stateful: input.stateful }) };
}
