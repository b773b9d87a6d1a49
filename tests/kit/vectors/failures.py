"""Groups ``verdicts``, ``http`` and ``recovery``: what a failure means, and what is repeated.

What must come out is written here from the pages, not computed by turnwire.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._case import Case

BEFORE = ("LANE_WAIT", "CONNECT", "HANDSHAKE", "SEND")
CAUSES = ("TIMEOUT", "EOF", "TRANSPORT", "PROTOCOL", "STALLED", "PEER_CLOSED", "CLIENT_CLOSED", "CANCELLED")
OURS = ("CLIENT_CLOSED", "CANCELLED")


def by_phase() -> Iterator[Case]:
    """Every phase with every cause that says nothing of the turn itself (R-VERDICT)."""
    for phase in (*BEFORE, "AWAIT", "STREAM"):
        verdict = "SAFE" if phase in BEFORE else "AMBIGUOUS" if phase == "AWAIT" else "UNSAFE"
        for cause in CAUSES:
            for stateful in (False, True) if phase == "AWAIT" else (False,):
                suggested, safety, row = {
                    "SAFE": (True, "safe", 14),
                    "UNSAFE": (False, "unsafe", 4),
                    "AMBIGUOUS": (False, "unsafe", 15) if stateful else (True, None, 16),
                }[verdict]
                if cause in OURS:
                    suggested, safety, row = False, None, 3
                yield Case(
                    f"verdicts/{phase.lower()}_{cause.lower()}{'_stateful' if stateful else ''}",
                    f"phase {phase}, cause {cause}{', continues a response' if stateful else ''}",
                    {"phase": phase, "cause": cause, "stateful": stateful},
                    {
                        "verdict": verdict,
                        "refusal": False,
                        "kind": "OUR_OWN_DOING" if cause in OURS else verdict,
                        "advice": {"suggested": suggested, "replay_safety": safety, "retry_after": None},
                    },
                    (
                        {"SAFE": "R-VERDICT-2", "AMBIGUOUS": "R-VERDICT-5", "UNSAFE": "R-VERDICT-6"}[verdict],
                        f"R-ADVICE-{row}",
                    ),
                )


def error_frame(name: str, what: str, says: dict[str, Any], *rules: str, **must: Any) -> Case:
    more = must.pop("more", {})
    return Case(
        f"verdicts/error_{name}",
        what,
        {"phase": "AWAIT", "cause": "ERROR_FRAME", "refusal": says, **more},
        must,
        rules or ("R-REFUSAL-1",),
    )


SAFE: dict[str, Any] = {"verdict": "SAFE", "refusal": True}
AMBIGUOUS: dict[str, Any] = {"verdict": "AMBIGUOUS", "refusal": False}


def by_status() -> Iterator[Case]:
    """Error frames of a turn by their status (R-REFUSAL)."""
    for status in (400, 401, 403, 404, 410, 413, 422, 425, 451, 499):
        yield error_frame(
            f"status_{status}",
            f"an error frame with status {status} refuses",
            {"status": status},
            "R-VERDICT-3",
            "R-REFUSAL-1",
            **SAFE,
        )
    for status in (200, 302, 399, 408, 409, 500, 502, 503, 504, 529, 599):
        yield error_frame(
            f"status_{status}",
            f"an error frame with status {status} refuses nothing",
            {"status": status},
            "R-VERDICT-4",
            "R-REFUSAL-1",
            **AMBIGUOUS,
        )
    yield error_frame("no_status", "an error frame that says nothing refuses nothing", {}, **AMBIGUOUS)


REFUSING = (
    "previous_response_not_found",
    "invalid_stream_id",
    "websocket_stream_limit_reached",
    "websocket_connection_limit_reached",
)


def by_code() -> Iterator[Case]:
    """Codes that refuse with any status from 400 on; and what forbids it (R-REFUSAL, P-STATUS)."""
    for code in REFUSING:
        for status in (None, 400, 408, 503):
            yield error_frame(
                f"{code}_{status or 'no_status'}",
                f"{code} refuses with {f'status {status}' if status else 'no status'}",
                {"code": code, "status": status},
                "R-REFUSAL-2",
                **SAFE,
            )
        yield error_frame(
            f"{code}_200",
            f"{code} with status 200 refuses nothing",
            {"code": code, "status": 200},
            "P-STATUS-6",
            "R-REFUSAL-3",
            **AMBIGUOUS,
        )
    for member in ("code", "type", "message"):
        for words in ("server_error", "InternalServerError", "The model is OVERLOADED"):
            yield error_frame(
                f"{member}_says_{words.split()[-1].lower()}",
                f"{words!r} in the {member} forbids the verdict SAFE, whatever the status",
                {"status": 400, member: words},
                "P-STATUS-5",
                "R-REFUSAL-3",
                **AMBIGUOUS,
            )


def advised(suggested: bool | None, safety: str | None, after: float | None = None) -> dict[str, Any] | None:
    if suggested is None:
        return None
    return {"suggested": suggested, "replay_safety": safety, "retry_after": after}


REJECTED: dict[str, Any] = {"phase": "HANDSHAKE", "cause": "REJECTED", "refusal": {"status": 403}}
REFUSED_400: dict[str, Any] = {"phase": "AWAIT", "cause": "ERROR_FRAME", "refusal": {"status": 400}}
AGAINST = advised(False, "unsafe")
OTHERS = [
    error_frame(
        "rate_limit",
        "status 429 with retry-after",
        {"status": 429, "headers": {"retry-after": "3"}},
        "R-REFUSAL-1",
        "R-ADVICE-6",
        **SAFE,
        kind="REFUSED_RATE_LIMIT",
        advice=advised(True, "safe", 3.0),
    ),
    error_frame(
        "rate_limit_bare",
        "status 429",
        {"status": 429},
        "R-REFUSAL-1",
        "R-ADVICE-6",
        **SAFE,
        advice=advised(True, "safe"),
    ),
    error_frame(
        "connection_limit",
        "the connection's age limit",
        {"status": 400, "code": "websocket_connection_limit_reached"},
        "R-REFUSAL-2",
        "R-ADVICE-5",
        **SAFE,
        kind="REFUSED_CONNECTION_LIMIT",
        advice=advised(True, "safe"),
    ),
    error_frame(
        "retry_later",
        "a refusal with retry-after-ms",
        {"status": 400, "headers": {"retry-after-ms": "1500"}},
        "R-REFUSAL-1",
        "R-ADVICE-7",
        "R-ADVICE-29",
        **SAFE,
        kind="REFUSED_RETRY_LATER",
        advice=advised(True, "safe", 1.5),
    ),
    error_frame(
        "plain", "any other refusal", {"status": 400}, "R-REFUSAL-1", "R-ADVICE-8", **SAFE, kind="REFUSED", advice=None
    ),
    error_frame(
        "overloaded",
        "server_is_overloaded before any event",
        {"code": "server_is_overloaded", "status": 503},
        "R-VERDICT-4",
        "R-ADVICE-9",
        **AMBIGUOUS,
        kind="OVERLOADED",
        advice=advised(True, None),
    ),
    error_frame(
        "server_error_without_code",
        "server_error without a code",
        {"type": "server_error"},
        "R-VERDICT-4",
        "R-ADVICE-9",
        **AMBIGUOUS,
        kind="OVERLOADED",
        advice=advised(True, None),
    ),
    error_frame(
        "server_error_with_code",
        "server_error with a code",
        {"type": "server_error", "code": "x"},
        "R-VERDICT-4",
        "R-ADVICE-10",
        **AMBIGUOUS,
        kind="ERROR_FRAME",
        advice=None,
    ),
    error_frame(
        "after_an_unknown_event",
        "after an unknown event an error frame refuses nothing",
        {"status": 400},
        "P-START-3",
        "R-REFUSAL-3",
        **AMBIGUOUS,
        more={"unknown_event": True},
    ),
    error_frame(
        "of_the_connection",
        "an error that names no turn and hits all of them refuses none",
        {"status": 400, "of_connection": True},
        "R-REFUSAL-3",
        **AMBIGUOUS,
    ),
    Case(
        "verdicts/error_while_streaming",
        "an error frame after an event of the response",
        {"phase": "STREAM", "cause": "ERROR_FRAME", "refusal": {"status": 400}},
        {"verdict": "UNSAFE", "refusal": False, "advice": advised(False, "unsafe")},
        ("R-REFUSAL-4", "R-ADVICE-4"),
    ),
    Case(
        "verdicts/done",
        "a turn that is done has no verdict",
        {"phase": "DONE", "cause": "EOF"},
        {"verdict": None, "refusal": False, "kind": None, "advice": None},
        ("R-VERDICT-7",),
    ),
    Case(
        "verdicts/too_large",
        "a request above max_request_size is not sent",
        {"phase": "LANE_WAIT", "cause": "TOO_LARGE"},
        SAFE,
        ("R-REFUSAL-6",),
    ),
    Case(
        "verdicts/earlier_attempt",
        "an earlier attempt was AMBIGUOUS, and the last one did not run",
        {"phase": "SEND", "cause": "EOF", "earlier_may_have_run": True},
        {"verdict": "AMBIGUOUS", "kind": "AMBIGUOUS", "advice": advised(True, None)},
        ("R-VERDICT-12", "R-ADVICE-16"),
    ),
    *(
        Case(
            f"verdicts/earlier_attempt_{name}",
            f"an earlier attempt was AMBIGUOUS, and {what}",
            {**given, "earlier_may_have_run": True, "stateful": stateful},
            {"verdict": "AMBIGUOUS", "kind": "REFUSED_AFTER_AMBIGUOUS", "advice": advice},
            ("R-VERDICT-12", "R-ADVICE-32" if stateful else "R-ADVICE-33"),
        )
        for name, what, given, stateful, advice in (
            ("rejected", "the next upgrade was answered with 403", REJECTED, False, None),
            ("rejected_stateful", "the same for a turn that continues a response", REJECTED, True, AGAINST),
            ("refused", "an error frame refused the next one", REFUSED_400, False, None),
            ("refused_stateful", "the same for a turn that continues a response", REFUSED_400, True, AGAINST),
        )
    ),
    Case(
        "verdicts/earlier_attempt_1009",
        "an earlier attempt was AMBIGUOUS, and the last one's message was too big",
        {"phase": "AWAIT", "cause": "PEER_CLOSED", "close_code": 1009, "too_big": True, "earlier_may_have_run": True},
        {"verdict": "AMBIGUOUS", "kind": "TOO_BIG", "advice": advised(False, None)},
        ("R-VERDICT-12", "R-ADVICE-12"),
    ),
]


def too_big() -> Iterator[Case]:
    """Close code 1009 (REPLAY.md, "Whose 1009 it is")."""
    for phase, mine, verdict, refused, kind, *rules in (
        ("SEND", True, "SAFE", True, "REFUSED", "R-REFUSAL-7", "R-1009-2"),
        ("SEND", False, "SAFE", False, "TOO_BIG_NOT_SENT", "R-1009-7", "R-ADVICE-13"),
        ("SEND", None, "SAFE", False, "SAFE", "R-1009-8"),
        ("AWAIT", True, "SAFE", True, "REFUSED", "R-REFUSAL-7", "R-1009-3"),
        ("AWAIT", False, "AMBIGUOUS", False, "TOO_BIG", "R-1009-7", "R-ADVICE-12"),
        ("STREAM", False, "UNSAFE", False, "UNSAFE", "R-ADVICE-4"),
        ("LANE_WAIT", None, "SAFE", False, "SAFE", "R-1009-8"),
    ):
        yield Case(
            f"verdicts/1009_{phase.lower()}_{(mine and 'mine') or ('other' if mine is False else 'none')}",
            f"close code 1009 in phase {phase}; too_big is {mine}",
            {"phase": phase, "cause": "PEER_CLOSED", "close_code": 1009, "too_big": mine},
            {"verdict": verdict, "refusal": refused, "kind": kind},
            tuple(rules),
        )
    for stateful, safety in ((False, None), (True, "unsafe")):
        yield Case(
            f"verdicts/1009_await_{'stateful' if stateful else 'stateless'}",
            "what may have been too big is not suggested to be repeated",
            {"phase": "AWAIT", "cause": "PEER_CLOSED", "close_code": 1009, "stateful": stateful},
            {"verdict": "AMBIGUOUS", "kind": "TOO_BIG", "advice": advised(False, safety)},
            ("R-1009-7", "R-ADVICE-11" if stateful else "R-ADVICE-12"),
        )
    yield Case(
        "verdicts/1008_await",
        "any other close code says nothing of a turn",
        {"phase": "AWAIT", "cause": "PEER_CLOSED", "close_code": 1008},
        {"verdict": "AMBIGUOUS", "refusal": False},
    )


def rejected() -> Iterator[Case]:
    """An upgrade that was rejected (R-REFUSAL): nothing was sent, and by the status it is a refusal, or not now."""
    for status in (400, 401, 403, 404, 405, 407, 426, 501, 408, 425, 429, 500, 502, 503, 504, 599):
        refused = status not in (408, 425, 429) and status < 500
        yield Case(
            f"verdicts/rejected_{status}",
            f"the upgrade was answered with {status}",
            {"phase": "HANDSHAKE", "cause": "REJECTED", "refusal": {"status": status}},
            {"verdict": "SAFE", "refusal": refused},
            ("R-REFUSAL-5",),
        )


def rejected_with_headers() -> Iterator[Case]:
    """What is advised about a rejected upgrade that is a refusal: by its headers, then by its status (R-ADVICE-18)."""
    for name, status, headers, more, advice, rules in (
        ("should_retry", 403, {"x-should-retry": "true"}, {}, advised(True, "safe"), ("R-ADVICE-23",)),
        ("should_not_retry", 409, {"x-should-retry": "false"}, {}, advised(False, None), ("R-ADVICE-24",)),
        ("conflict", 409, {}, {}, advised(True, None), ("R-ADVICE-26",)),
        ("conflict_stateful", 409, {}, {"stateful": True}, advised(True, "safe"), ("R-ADVICE-26",)),
        ("plain", 403, {}, {}, None, ("R-ADVICE-28",)),
        ("retry_later", 403, {"retry-after": "5"}, {}, advised(True, "safe", 5.0), ("R-ADVICE-7",)),
        (
            "should_retry_after_ambiguous",
            403,
            {"x-should-retry": "true"},
            {"earlier_may_have_run": True},
            advised(True, None),
            ("R-ADVICE-33", "R-ADVICE-19", "R-ADVICE-23"),
        ),
    ):
        yield Case(
            f"verdicts/rejected_{name}",
            f"the upgrade was answered with {status}{', ' if headers else ''}"
            + ", ".join(f"{header}: {value}" for header, value in headers.items()),
            {
                "phase": "HANDSHAKE",
                "cause": "REJECTED",
                "refusal": {"status": status, "headers": headers},
                **more,
            },
            {"refusal": True, "advice": advice},
            ("R-ADVICE-18", "R-ADVICE-21", *rules),
        )


# --- Calls over HTTP -------------------------------------------------------------------------------------------------


def seen(
    name: str, what: str, given: dict[str, Any], phase: str | None, cause: str | None, verdict: str | None, rule: int
) -> Case:
    must: dict[str, Any] = {"evidence": None if phase is None else {"phase": phase, "cause": cause}}
    rules = ("R-HTTP-1", f"R-HTTP-{rule}", *(("R-HTTP-13",) if name == "api_error_200" else ()))
    return Case(f"http/{name}", what, given, must if phase is None else {**must, "verdict": verdict}, rules)


TRANSPORT: dict[str, Any] = {"cause": "TRANSPORT"}
HTTP = [
    seen(
        "cut_before_it_was_handed",
        "no answer, and not handed whole",
        {**TRANSPORT, "handed": False},
        "SEND",
        "TRANSPORT",
        "SAFE",
        9,
    ),
    seen(
        "cut_after_it_was_handed",
        "no answer to the whole request",
        {**TRANSPORT, "handed": True},
        "AWAIT",
        "TRANSPORT",
        "AMBIGUOUS",
        10,
    ),
    seen("nobody_knows", "no answer, and the client does not tell", TRANSPORT, None, None, None, 11),
    seen(
        "event_seen",
        "an event of the response had come",
        {"cause": "EOF", "status": 200, "event_seen": True},
        "STREAM",
        "EOF",
        "UNSAFE",
        2,
    ),
    seen(
        "answered_without_an_end",
        "an answer without a terminal event",
        {"cause": "EOF", "status": 200},
        "STREAM",
        "EOF",
        "UNSAFE",
        5,
    ),
    *(
        seen(
            f"api_error_{status}",
            f"a JSON error with status {status}",
            {**TRANSPORT, "status": status, "api_error": True, "error": {"message": "no"}},
            "AWAIT",
            "ERROR_FRAME",
            verdict,
            3 if verdict == "SAFE" else 4,
        )
        for status, verdict in (
            (400, "SAFE"),
            (404, "SAFE"),
            (408, "AMBIGUOUS"),
            (409, "AMBIGUOUS"),
            (429, "SAFE"),
            (500, "AMBIGUOUS"),
            (200, "AMBIGUOUS"),
        )
    ),
    *(
        seen(
            f"page_{status}",
            f"a page with status {status}",
            {**TRANSPORT, "status": status},
            "AWAIT",
            "REJECTED",
            verdict,
            7 if verdict == "SAFE" else 8,
        )
        for status, verdict in (
            (400, "SAFE"),
            (403, "SAFE"),
            (404, "SAFE"),
            (408, "AMBIGUOUS"),
            (429, "AMBIGUOUS"),
            (502, "AMBIGUOUS"),
        )
    ),
]


# --- Recovery --------------------------------------------------------------------------------------------------------


def plan(
    name: str, what: str, given: dict[str, Any], reason: str | None, delay: float | None = None, *rules: str
) -> Case:
    must = {"plan": None if reason is None else {"reason": reason, "delay": delay}}
    by_reason = {"NOT_RUN": "R-RECOVER-2", "CONNECTION_LIMIT": "R-RECOVER-3", "RATE_LIMIT": "R-RECOVER-4"}
    by_reason |= {"AMBIGUOUS": "R-RECOVER-5", "ONLY_READS": "R-RETRIEVE-1"}
    cited = rules or (("R-RECOVER-1",) if reason is None else (by_reason[reason],))
    return Case(f"recovery/{name}", what, {"random": 0.0, **given}, must, cited)


CUT: dict[str, Any] = {"phase": "SEND", "cause": "EOF"}
LOST: dict[str, Any] = {"phase": "AWAIT", "cause": "EOF"}


def error(**refusal: Any) -> dict[str, Any]:
    return {"phase": "AWAIT", "cause": "ERROR_FRAME", "refusal": refusal}


def asked(header: str, value: str) -> dict[str, Any]:
    return error(status=429, headers={header: value})


RECOVERY = [
    plan("first", "the first repetition, at random 0", {"failure": CUT}, "NOT_RUN", 0.25),
    plan("first_half", "at random 0.5", {"failure": CUT, "random": 0.5}, "NOT_RUN", 0.375),
    *(
        plan(
            f"after_{count}",
            f"after {count} repetitions",
            {"failure": CUT, "made": ["NOT_RUN"] * count},
            "NOT_RUN",
            delay,
        )
        for count, delay in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0))
    ),
    plan(
        "no_more",
        "after five repetitions there are no more",
        {"failure": CUT, "made": ["NOT_RUN"] * 5},
        None,
        None,
        "R-RECOVER-6",
    ),
    plan("off", "a policy without attempts", {"failure": CUT, "policy": {"attempts": 0}}, None, None, "R-RECOVER-6"),
    plan(
        "longest_delay",
        "the delay has a limit",
        {"failure": CUT, "made": ["NOT_RUN"] * 8, "policy": {"attempts": 9}},
        "NOT_RUN",
        4.0,
    ),
    plan(
        "streaming",
        "what ran is not repeated",
        {"failure": {"phase": "STREAM", "cause": "EOF"}},
        None,
        None,
        "R-RECOVER-1",
        "R-RECOVER-13",
    ),
    plan(
        "ambiguous", "what may have run is not repeated", {"failure": LOST}, None, None, "R-RECOVER-5", "R-RECOVER-13"
    ),
    plan(
        "ambiguous_allowed",
        "unless the caller allows it",
        {"failure": LOST, "policy": {"repeat_ambiguous_stateless": True}},
        "AMBIGUOUS",
        0.25,
    ),
    plan(
        "ambiguous_stateful",
        "what continues a response needs a permission of its own",
        {"failure": {**LOST, "stateful": True}, "policy": {"repeat_ambiguous_stateless": True}},
        None,
        None,
        "R-RECOVER-5",
    ),
    plan(
        "ambiguous_stateful_allowed",
        "which it has here",
        {"failure": {**LOST, "stateful": True}, "policy": {"repeat_ambiguous_stateful": True}},
        "AMBIGUOUS",
        0.25,
    ),
    *(
        plan(
            f"cause_{cause.lower()}",
            f"{cause} is not repeated",
            {"failure": {"phase": "SEND", "cause": cause}},
            None,
            None,
            "R-RECOVER-7",
        )
        for cause in ("TIMEOUT", "CLIENT_CLOSED", "CANCELLED", "TOO_LARGE")
    ),
    *(
        plan(
            f"cause_{cause.lower()}",
            f"{cause} is repeated",
            {"failure": {"phase": "SEND", "cause": cause}},
            "NOT_RUN",
            0.25,
        )
        for cause in ("EOF", "TRANSPORT", "PROTOCOL", "STALLED", "PEER_CLOSED")
    ),
    plan("refused", "a refusal is not repeated", {"failure": error(status=400)}, None),
    plan("rate_limit", "429 that says how long", {"failure": asked("retry-after", "3")}, "RATE_LIMIT", 3.0),
    plan("rate_limit_ms", "in milliseconds", {"failure": asked("retry-after-ms", "250")}, "RATE_LIMIT", 0.25),
    plan("rate_limit_bare", "429 that does not say it", {"failure": error(status=429)}, None, None, "R-RECOVER-4"),
    plan(
        "rate_limit_long",
        "429 that asks for too long",
        {"failure": asked("retry-after", "61")},
        None,
        None,
        "R-RECOVER-8",
    ),
    plan(
        "rate_limit_twice",
        "only once",
        {"failure": asked("retry-after", "3"), "made": ["RATE_LIMIT"]},
        None,
        None,
        "R-RECOVER-4",
    ),
    plan(
        "rate_limit_date",
        "429 with a date",
        {"failure": asked("retry-after", "Thu, 28 May 2026 20:26:40 GMT"), "wall": 1779999998.0},
        "RATE_LIMIT",
        2.0,
    ),
    plan(
        "quota",
        "a quota that is used up is not waited for",
        {"failure": error(status=429, code="insufficient_quota", headers={"retry-after": "3"})},
        None,
        None,
        "R-RECOVER-8",
    ),
    *(
        plan(
            f"1009_{phase.lower()}_{name}",
            "a message that may be too big is not repeated, whatever the policy allows",
            {
                "failure": {"phase": phase, "cause": "PEER_CLOSED", "close_code": 1009, "too_big": mine},
                "policy": {"repeat_ambiguous_stateless": True},
            },
            None,
            None,
            "R-1009-7",
        )
        for phase in ("SEND", "AWAIT")
        for name, mine in (("mine", True), ("other", False))
    ),
    plan(
        "1009_queued",
        "a message that had not begun is",
        {"failure": {"phase": "SEND", "cause": "PEER_CLOSED", "close_code": 1009}},
        "NOT_RUN",
        0.25,
        "R-1009-8",
    ),
    plan(
        "quota_of_a_plan",
        "nor one of a plan",
        {"failure": error(status=429, code="usage_limit_reached", headers={"retry-after": "3"})},
        None,
        None,
        "P-DEFAULT-9",
    ),
    plan(
        "delays",
        "the delays of the policy",
        {"failure": CUT, "policy": {"initial_delay": 3.0, "max_delay": 4.0}},
        "NOT_RUN",
        1.5,
        "P-DEFAULT-7",
    ),
    plan(
        "delays_most",
        "and its longest",
        {"failure": CUT, "policy": {"initial_delay": 3.0, "max_delay": 4.0}, "made": ["NOT_RUN"]},
        "NOT_RUN",
        2.0,
        "P-DEFAULT-7",
    ),
    plan(
        "patience",
        "how long the policy waits for a retry-after",
        {"failure": asked("retry-after", "61"), "policy": {"max_retry_after": 61.0}},
        "RATE_LIMIT",
        61.0,
        "P-DEFAULT-8",
    ),
    plan(
        "connection_limit",
        "the connection's age limit: at once",
        {"failure": error(code="websocket_connection_limit_reached", status=400)},
        "CONNECTION_LIMIT",
        0.0,
    ),
    plan(
        "connection_limit_twice",
        "only once",
        {"failure": error(code="websocket_connection_limit_reached", status=400), "made": ["CONNECTION_LIMIT"]},
        None,
        None,
        "R-RECOVER-3",
    ),
    plan(
        "overloaded",
        "an overloaded server is the caller's matter",
        {"failure": error(code="server_is_overloaded")},
        None,
    ),
    plan(
        "rejected_503",
        "an upgrade answered with 503 that says how long",
        {
            "failure": {
                "phase": "HANDSHAKE",
                "cause": "REJECTED",
                "refusal": {"status": 503, "headers": {"retry-after": "7"}},
            }
        },
        "NOT_RUN",
        7.0,
    ),
    plan(
        "rejected_401",
        "an upgrade answered with 401",
        {"failure": {"phase": "HANDSHAKE", "cause": "REJECTED", "refusal": {"status": 401}}},
        None,
        None,
        "R-REFUSAL-5",
    ),
    plan(
        "budget",
        "the time for repetitions is over",
        {"failure": CUT, "policy": {"budget": 5.0}, "spent": 4.9},
        None,
        None,
        "R-RECOVER-8",
        "R-RECOVER-11",
    ),
    plan(
        "budget_left", "and here it is not", {"failure": CUT, "policy": {"budget": 5.0}, "spent": 4.7}, "NOT_RUN", 0.25
    ),
    plan(
        "reads",
        "a retrieval is repeated, whatever its phase",
        {"failure": LOST, "only_reads": True},
        "ONLY_READS",
        0.25,
    ),
    *(
        plan(
            f"reads_{status}",
            f"also after {status}",
            {"failure": error(status=status), "only_reads": True},
            "ONLY_READS",
            0.25,
            "R-RETRIEVE-1",
        )
        for status in (408, 409, 425, 429, 500, 503, 599)
    ),
    *(
        plan(
            f"reads_{phase.lower()}_{cause.lower()}",
            f"however far it got: {cause} in {phase}",
            {"failure": {"phase": phase, "cause": cause}, "only_reads": True},
            "ONLY_READS",
            0.25,
            "R-RETRIEVE-1",
        )
        for phase in ("SEND", "STREAM")
        for cause in ("EOF", "TRANSPORT", "STALLED")
    ),
    *(
        plan(
            f"reads_not_{cause.lower()}",
            f"but not after {cause}",
            {"failure": {"phase": "AWAIT", "cause": cause}, "only_reads": True},
            None,
            None,
            "R-RETRIEVE-1",
        )
        for cause in ("PROTOCOL", "TIMEOUT", "CANCELLED", "CLIENT_CLOSED")
    ),
    plan(
        "reads_404", "but not after 404", {"failure": error(status=404), "only_reads": True}, None, None, "R-RETRIEVE-1"
    ),
]

CASES = [
    *by_phase(),
    *by_status(),
    *by_code(),
    *OTHERS,
    *too_big(),
    *rejected(),
    *rejected_with_headers(),
    *HTTP,
    *RECOVERY,
]
