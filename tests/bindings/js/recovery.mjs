// Whether a failed turn is repeated, why, and after what wait (R-RECOVER, R-RETRIEVE-1).

import { tables, inRanges, named } from "./tables.mjs";
import { kindOf, waitOf } from "./verdicts.mjs";

const { recovery, refusals } = tables;
const DEFAULTS = Object.fromEntries(Object.entries(recovery.policy).map(([name, field]) => [name, field.default]));

function reasonOf(failure, policy, onlyReads) {
  if (onlyReads) {
    const again = recovery.retrieval_causes.includes(failure.cause) || inRanges(failure.refusal?.status ?? 0, recovery.retrieval_statuses);
    return again ? "ONLY_READS" : null;
  }
  if (!named(tables.causes, failure.cause).repeatable) return null;
  const reason = named(tables.failure_kinds, kindOf({ ...failure, earlier_may_have_run: false })).repeated;
  if (reason !== "AMBIGUOUS") return reason;
  return (failure.stateful ? policy.repeat_ambiguous_stateful : policy.repeat_ambiguous_stateless) ? reason : null;
}

function delayOf(reason, wait, policy, made, random) {
  if (recovery.reasons_once.includes(reason)) return wait ?? 0;
  const longest = Math.min(policy.initial_delay * 2 ** made.filter((each) => !recovery.reasons_once.includes(each)).length, policy.max_delay);
  return Math.max(longest / 2 + (random * longest) / 2, wait ?? 0);
}

export function plan(input) {
  const { failure, made = [], random = 0, wall = 0, spent = 0, only_reads: onlyReads } = input;
  const policy = { ...DEFAULTS, ...input.policy };
  const reason = reasonOf(failure, policy, onlyReads);
  const wait = waitOf(failure, wall);
  const { code, type } = failure.refusal ?? {};
  const forbidden =
    reason === null ||
    made.length >= policy.attempts ||
    (recovery.reasons_once.includes(reason) && made.includes(reason)) ||
    (reason === "RATE_LIMIT" && wait === null) ||
    (wait !== null && wait > policy.max_retry_after) ||
    [code, type].some((name) => refusals.exhausted.includes(name));
  if (forbidden) return { plan: null };
  const delay = delayOf(reason, wait, policy, made, random);
  if (policy.budget !== null && spent + delay > policy.budget) return { plan: null };
  return { plan: { reason, delay } };
}
