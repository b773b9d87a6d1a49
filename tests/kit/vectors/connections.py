"""Group ``connection``: scripts of one connection; they show verdicts, lanes, dialects, owners, deadlines, steering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._case import Case

Step = dict[str, Any]
UP: list[Step] = [{"connected": True}, {"hand": "all"}, {"accepted": {}}]


def script(name: str, what: str, *steps: Step, rules: tuple[str, ...] = (), up: bool = True, **options: Any) -> Case:
    """A script. What a step's output must have is its member ``must``, which is no part of the input."""
    before = UP if up else []
    given = [{name: value for name, value in step.items() if name != "must"} for step in steps]
    return Case(
        f"connection/{name}",
        what,
        {"options": {"dialect": "openai", **options}, "steps": [*before, *given]},
        {"steps": [*(... for _ in before), *(step.get("must", ...) for step in steps)]},
        rules,
    )


# --- What the caller and the server do -------------------------------------------------------------------------------


def create(turn: str = "t", lane: Any = None, *, must: Any = ..., timeouts: Any = None, **fields: Any) -> Step:
    given = {"turn": turn, "fields": {"model": "m", **fields}, "lane": lane}
    return {"create": given if timeouts is None else {**given, "timeouts": timeouts}, "must": must}


def hand(*sent: Any, now: float | None = None) -> Step:
    step: Step = {"hand": "all"} if now is None else {"hand": "all", "now": now}
    return {**step, "must": {"sent": list(sent)}} if sent else step


ONE_BYTE: Step = {"hand": "one byte"}
CUT: Step = {"end_of_file": True}


def server(*messages: Any, must: Any = ..., now: float | None = None) -> Step:
    step: Step = {"messages": list(messages), "must": must}
    return step if now is None else {**step, "now": now}


def named(lane: str | None) -> dict[str, str]:
    return {} if lane is None else {"stream_id": lane}


def created(response_id: str = "r1", lane: str | None = None) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress"}, **named(lane)}


def ended(response_id: str = "r1", lane: str | None = None, how: str = "completed", **more: Any) -> dict[str, Any]:
    response = {"id": response_id, "status": how, "output": [], **more}
    return {"type": f"response.{how}", "response": response, **named(lane)}


def delta(lane: str | None = None, item: str = "m1") -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": item, "output_index": 0, "delta": "a", **named(lane)}


def error(code: str | None = None, status: int | None = 400, lane: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "error", "status": status, "error": {"code": code, "message": "no"}, **named(lane), **more}


def message(lane: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"message": {"type": "response.create", "model": "m", **named(lane), **fields}}


def failed(verdict: str, phase: str, cause: str = "EOF", turn: str = "t", **more: Any) -> dict[str, Any]:
    return {"turn": turn, "failed": cause, "phase": phase, "verdict": verdict, **more}


def done(turn: str = "t", outcome: str = "completed", response_id: str | None = "r1") -> dict[str, Any]:
    return {"turn": turn, "outcome": outcome, "response_id": response_id}


def changed(*what: Any, **more: Any) -> dict[str, Any]:
    return {"changed": list(what), **more}


# --- Verdicts: each way to end, in each phase ------------------------------------------------------------------------

PHASES: list[tuple[str, str, list[Step]]] = [
    ("LANE_WAIT", "SAFE", [create("other"), hand(), create()]),
    ("SEND", "SAFE", [create(), ONE_BYTE]),
    ("AWAIT", "AMBIGUOUS", [create(), hand()]),
    ("STREAM", "UNSAFE", [create(), hand(), server(created())]),
]
ROWS = {
    "LANE_WAIT": ("R-VERDICT-2", "R-EVIDENCE-7"),
    "SEND": ("R-VERDICT-2", "R-VERDICT-10", "R-EVIDENCE-4"),
    "AWAIT": ("R-VERDICT-5",),
    "STREAM": ("R-VERDICT-6",),
}
ENDS: list[tuple[str, str, Step]] = [
    ("eof", "EOF", CUT),
    ("reset", "TRANSPORT", {"transport_fails": "reset"}),
    ("close_1000", "PEER_CLOSED", {"server_closes": 1000}),
    ("close_1011", "PEER_CLOSED", {"server_closes": 1011}),
    ("violation", "PROTOCOL", {"bytes": "ff00"}),
]


def verdicts() -> Iterator[Case]:
    for phase, verdict, before in PHASES:
        for name, cause, end in ENDS:
            found = [failed(verdict, phase, cause)]
            if phase == "LANE_WAIT":
                found.insert(0, failed("AMBIGUOUS", "AWAIT", cause, "other"))
            yield script(
                f"{name}_in_{phase.lower()}",
                f"the connection ends ({cause}) while a turn is in {phase}",
                *before,
                {**end, "must": changed(*found)},
                rules=("R-VERDICT-1", *ROWS[phase], "I3", "I4", "I6"),
            )
    yield script(
        "eof_while_connecting",
        "the connection ends before the upgrade",
        create(),
        {"connected": True},
        {**CUT, "must": changed(failed("SAFE", "HANDSHAKE"))},
        up=False,
        rules=("R-VERDICT-2", "R-EVIDENCE-2"),
    )
    yield script(
        "transport_fails_at_once",
        "the transport does not open",
        create(),
        {"transport_fails": "refused", "must": changed(failed("SAFE", "CONNECT", "TRANSPORT"))},
        up=False,
        rules=("R-VERDICT-2", "R-EVIDENCE-2"),
    )
    yield script(
        "upgrade_in_part",
        "one byte of the upgrade was handed",
        create(),
        {"connected": True},
        {"hand": "one byte", "must": {"sent": []}},
        {**CUT, "must": changed(failed("SAFE", "HANDSHAKE"))},
        up=False,
    )
    for status, refused in ((401, True), (404, True), (429, False), (503, False)):
        yield script(
            f"rejected_{status}",
            f"the upgrade is answered with {status}",
            create(),
            {"connected": True},
            hand({"upgrade": "/v1/responses"}),
            {
                "rejected": {"status": status},
                "must": changed(failed("SAFE", "HANDSHAKE", "REJECTED", refusal=refused), state="CLOSED"),
            },
            up=False,
            rules=("R-REFUSAL-5",),
        )
    for how in ("completed", "failed", "incomplete", "cancelled"):
        yield script(
            f"{how}",
            f"a turn ends as {how}",
            create(),
            hand(),
            server(created()),
            server(ended(how=how), must=changed(done(outcome=how))),
        )
    yield script(
        "neutral_is_no_beginning",
        "a heartbeat begins nothing",
        create(),
        hand(),
        server({"type": "response.heartbeat"}),
        {**CUT, "must": changed(failed("AMBIGUOUS", "AWAIT"))},
        rules=("P-START-1",),
    )
    yield script(
        "unknown_is_no_beginning",
        "an unknown event begins nothing, but no error refuses after it",
        create(),
        hand(),
        server({"type": "new.thing"}),
        server(error("x"), must=changed(failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", refusal=False))),
        rules=("P-START-3",),
    )
    yield script(
        "unknown_of_a_response",
        "an unknown event with a member of a response begins it",
        create(),
        hand(),
        server({"type": "new.thing", "response_id": "r1"}),
        {**CUT, "must": changed(failed("UNSAFE", "STREAM"))},
        rules=("P-START-2",),
    )
    yield script(
        "stray_text",
        "a text that is no JSON moves nothing",
        create(),
        hand(),
        server("ping", must={"state": "OPEN"}),
        {**CUT, "must": changed(failed("AMBIGUOUS", "AWAIT"))},
    )
    yield script(
        "done_ends",
        "response.done ends a turn",
        create(),
        hand(),
        server({"type": "response.done", "response": {"id": "r1", "status": "completed"}}, must=changed(done())),
        rules=("P-START-6",),
    )
    yield script(
        "sparse",
        "a terminal event without a response",
        create(),
        hand(),
        server(created()),
        server({"type": "response.completed"}, must=changed(done())),
        rules=("P-START-6", "P-OUTPUT-2"),
    )
    yield script(
        "orphan_before",
        "an event before any turn is nobody's",
        server(created("r0")),
        create(),
        hand(),
        {**CUT, "must": changed(failed("AMBIGUOUS", "AWAIT"))},
        rules=("P-START-5",),
    )
    yield script(
        "late_event",
        "an event of an ended response is not the next turn's",
        create(),
        hand(),
        server(created(), ended()),
        create("u"),
        hand(),
        server(ended()),
        {**CUT, "must": changed(failed("AMBIGUOUS", "AWAIT", turn="u"))},
        rules=("P-START-8",),
    )


# --- Errors: whose they are ------------------------------------------------------------------------------------------


def errors() -> Iterator[Case]:
    two = [create("a", "a"), create("b", "b"), hand()]
    refused = {"refusal": True}
    yield script(
        "refused",
        "an error frame with 400",
        create(),
        hand(),
        server(error("x"), must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", **refused))),
        rules=("R-REFUSAL-1",),
    )
    yield script(
        "not_refused",
        "one with 503",
        create(),
        hand(),
        server(error("x", 503), must=changed(failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", refusal=False))),
        rules=("R-VERDICT-4",),
    )
    yield script(
        "error_while_streaming",
        "one after the first event",
        create(),
        hand(),
        server(created()),
        server(error("x"), must=changed(failed("UNSAFE", "STREAM", "ERROR_FRAME"))),
        rules=("R-REFUSAL-4",),
    )
    yield script(
        "error_of_a_lane",
        "it names the lane it is about",
        *two,
        server(error("x", lane="b"), must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", "b"), state="OPEN")),
        rules=("P-OWNER-2", "I9"),
    )
    yield script(
        "error_of_an_id",
        "it has the id of a response",
        *two,
        server(created("r1", "a"), created("r2", "b")),
        server(error("x", response_id="r2"), must=changed(failed("UNSAFE", "STREAM", "ERROR_FRAME", "b"))),
        rules=("P-OWNER-1",),
    )
    yield script(
        "error_of_the_connection",
        "it names nobody, and several await",
        *two,
        server(
            error("x"),
            must=changed(
                failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", "a"), failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", "b")
            ),
        ),
        rules=("P-OWNER-4",),
    )
    yield script(
        "error_of_an_empty_lane",
        "it names a lane where nothing runs",
        *two,
        server(error("x", lane="c"), must={"state": "OPEN"}),
        rules=("P-OWNER-2",),
    )
    yield script(
        "error_of_the_default_lane",
        "it names nobody, and the default lane's turn is in flight",
        create("a"),
        create("b", "b"),
        hand(),
        server(error("x"), must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", "a"))),
        rules=("P-OWNER-3",),
    )
    yield script(
        "unauthorized",
        "the first event is 401, without a lane",
        *two,
        server(
            error("invalid_api_key", 401),
            must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", "a"), failed("SAFE", "AWAIT", "ERROR_FRAME", "b")),
        ),
        rules=("P-OWNER-5",),
    )
    limit = error("websocket_connection_limit_reached")
    yield script(
        "connection_limit",
        "the connection's age limit, one turn awaits",
        create(),
        hand(),
        server(limit, must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", **refused))),
        rules=("P-OWNER-6",),
    )
    yield script(
        "connection_limit_of_two",
        "and if two await",
        *two,
        server(
            limit,
            must=changed(
                failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", "a"), failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", "b")
            ),
        ),
        rules=("P-OWNER-6",),
    )
    yield script(
        "connection_limit_unauthorized",
        "and with a status that speaks of the credentials",
        *two,
        server(
            error("websocket_connection_limit_reached", 401),
            must=changed(
                failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", "a"), failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", "b")
            ),
        ),
        rules=("P-OWNER-5", "P-OWNER-6"),
    )
    yield script(
        "after_the_limit",
        "no turn starts after it",
        create(),
        hand(),
        server(limit),
        create("u", must={"refused": "SessionClosedError"}),
        rules=("P-OWNER-7",),
    )
    big = "x" * 20_000
    yield script(
        "1009_of_one_in_send",
        "close code 1009 while one long message is being handed",
        create(input=big),
        ONE_BYTE,
        {"server_closes": 1009, "must": changed(failed("SAFE", "SEND", "PEER_CLOSED", **refused))},
        rules=("R-1009-2",),
    )
    yield script(
        "1009_beside_a_queued_one",
        "while one is being handed, another is queued: it is no candidate, and its phase is SEND",
        create("a", "a", input=big),
        create("b", "b", input=big),
        ONE_BYTE,
        {
            "server_closes": 1009,
            "must": changed(
                failed("SAFE", "SEND", "PEER_CLOSED", "a", **refused), failed("SAFE", "SEND", "PEER_CLOSED", "b")
            ),
        },
        rules=("R-1009-1", "R-1009-8", "R-EVIDENCE-2"),
    )
    yield script(
        "1009_of_a_short_one",
        "and a short one",
        create(),
        ONE_BYTE,
        {"server_closes": 1009, "must": changed(failed("SAFE", "SEND", "PEER_CLOSED", refusal=False))},
        rules=("R-1009-5",),
    )
    yield script(
        "1009_of_one_handed",
        "close code 1009 after the message was handed",
        create(input=big),
        hand(),
        {"server_closes": 1009, "must": changed(failed("AMBIGUOUS", "AWAIT", "PEER_CLOSED", refusal=False))},
        rules=("R-1009-4",),
    )
    yield script(
        "1009_of_two",
        "and after two were",
        create("a", "a", input=big),
        create("b", "b", input=big),
        hand(),
        {
            "server_closes": 1009,
            "must": changed(
                failed("AMBIGUOUS", "AWAIT", "PEER_CLOSED", "a"), failed("AMBIGUOUS", "AWAIT", "PEER_CLOSED", "b")
            ),
        },
        rules=("R-1009-6",),
    )


# --- Lanes and dialects ----------------------------------------------------------------------------------------------


def lanes() -> Iterator[Case]:
    yield script(
        "one_lane_in_order",
        "turns of a lane run one after another",
        create("a"),
        create("b"),
        hand(message()),
        server(created(), ended()),
        hand(message()),
        rules=("P-LANES-1",),
    )
    yield script(
        "two_lanes",
        "turns of two lanes run side by side",
        create("a", "a"),
        create("b", "b"),
        hand(message("a"), message("b")),
        server(created("r2", "b"), must={"events": [["b", "response.created", "r2"]]}),
        server(created("r1", "a"), must={"events": [["a", "response.created", "r1"]]}),
        rules=("P-LANES-1", "I2"),
    )
    yield script(
        "too_many_at_once",
        "a third turn waits for a slot",
        create("a", "a"),
        create("b", "b"),
        create("c", "c"),
        hand(message("a"), message("b")),
        server(created("r1", "a"), ended("r1", "a")),
        hand(message("c")),
        max_in_flight=2,
        rules=("P-LANES-3",),
    )
    yield script(
        "too_many_names",
        "a name more than the connection takes",
        create("a", "a"),
        create("b", "b", must={"refused": "LaneLimitError"}),
        max_named_lanes=1,
        rules=("P-LANES-4",),
    )
    yield script(
        "any_lane",
        "turns without a lane of their own take new names",
        create("a", {"auto": True}),
        create("b", {"auto": True}),
        hand(message("auto-1"), message("auto-2")),
        rules=("P-LANES-10",),
    )
    yield script(
        "azure",
        "without lanes no name is sent, and turns run in order",
        create("a", "a"),
        create("b", "b"),
        hand(message()),
        server(created(), ended()),
        hand(message()),
        dialect="azure",
        rules=("P-LANES-8",),
    )
    yield script(
        "unknown_one_at_a_time",
        "of an unknown server one turn runs at a time",
        create("a", "a"),
        create("b", "b"),
        hand(message("a")),
        dialect="unknown",
        rules=("P-DIALECT-3",),
    )
    yield script(
        "unknown_learns_yes",
        "until it sends a name back",
        create("a", "a"),
        create("b", "b"),
        create("c", "c"),
        hand(message("a")),
        server(created("r1", "a")),
        hand(message("b"), message("c")),
        dialect="unknown",
        rules=("P-DIALECT-4",),
    )
    yield script(
        "unknown_learns_no",
        "or does not",
        create("a", "a"),
        create("b", "b"),
        hand(message("a")),
        server(created("r1")),
        server(ended("r1"), must=changed(done("a"))),
        hand(message()),
        dialect="unknown",
        rules=("P-DIALECT-5",),
    )
    for dialect in ("codex", "no-lanes"):
        yield script(
            f"dialect_{dialect}",
            "one turn at a time, and no name that the caller has not asked for",
            create("a", {"auto": True}),
            create("b", {"auto": True}),
            hand(message()),
            server(created(), ended()),
            hand(message()),
            dialect=dialect,
            rules=("P-DIALECT-1", "P-DIALECT-3", "P-DIALECT-10"),
        )
    yield script(
        "announced_dialect",
        "the answer to the upgrade says which dialect it is",
        create("a", "a"),
        create("b", "b"),
        {"connected": True},
        hand({"upgrade": "/v1/responses"}),
        {"accepted": {"x-turnwire-dialect": "openai"}},
        hand(message("a"), message("b")),
        dialect=None,
        up=False,
        rules=("P-DIALECT-2",),
    )
    yield script(
        "nobody_can_tell",
        "a response without a name while two named turns are in flight, on a server that has lanes",
        create("a", "a"),
        create("b", "b"),
        hand(message("a"), message("b")),
        server(
            created(),
            must=changed(failed("AMBIGUOUS", "AWAIT", "PROTOCOL", "a"), failed("AMBIGUOUS", "AWAIT", "PROTOCOL", "b")),
        ),
        hand({"close": 1002}),
        rules=("P-DIALECT-6", "I2"),
    )
    refused = {"type": "error", "status": 400, "error": {"code": "invalid_stream_id", "message": "no"}}
    yield script(
        "name_refused",
        "a name that turnwire gave is refused: the turn goes again without it, and nothing is seen of that",
        create("a", {"auto": True}),
        hand(message("auto-1")),
        server({**refused, "stream_id": "auto-1"}, must={"state": "OPEN"}),
        hand(message()),
        server(created(), ended(), must=changed(done("a"))),
        rules=("P-DIALECT-11", "R-RECOVER-15", "I5"),
    )
    yield script(
        "name_of_the_caller_refused",
        "one that the caller gave is the caller's",
        create("a", "x"),
        hand(message("x")),
        server({**refused, "stream_id": "x"}, must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", "a", refusal=True))),
        rules=("P-DIALECT-11",),
    )
    yield script(
        "error_of_a_lane_that_was_used",
        "a second error about a lane is not that of the turn on another one, also before any name came back",
        create("a", "x"),
        hand(message("x")),
        server(error("x", 429, "x"), must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", "a"))),
        create("b"),
        hand(message()),
        server(error("x", 429, "x"), must={"state": "OPEN"}),
        server(created(), ended(), must=changed(done("b"))),
        rules=("P-START-7", "P-OWNER-2", "I3", "I5"),
    )
    yield script(
        "ended_on_an_unknown_lane",
        "an event of an ended response is nobody's, whatever lane it names",
        create("a", "a"),
        create("b", "b"),
        hand(message("a"), message("b")),
        server(created("r2", "b"), ended("r2", "b"), must=changed(done("b", response_id="r2"))),
        server(ended("r2", "z"), must={"state": "OPEN"}),
        server(created("r1", "a"), ended("r1", "a"), must=changed(done("a"))),
        rules=("P-START-8", "I2"),
    )
    yield script(
        "other_lanes_go_on",
        "a lane whose turn was left stays busy; others go on",
        create("a", "a"),
        create("b", "b"),
        hand(),
        {"cancel": "a", "must": changed(failed("AMBIGUOUS", "AWAIT", "CANCELLED", "a"))},
        create("c", "a"),
        hand(),
        server(created("r1", "a"), ended("r1", "a")),
        hand(message("a")),
        rules=("P-LANES-9", "I9"),
    )
    yield script(
        "refused_name",
        "a name that turnwire gave is refused: the turn goes again without one, on the same connection, once",
        create(lane={"auto": True}),
        hand(message("auto-1")),
        server(error("invalid_stream_id", lane="auto-1"), must={"state": "OPEN"}),
        hand(message()),
        server(error("invalid_stream_id"), must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", refusal=True))),
        rules=("R-RECOVER-15", "P-DIALECT-11"),
    )
    yield script(
        "left_before_it_was_sent",
        "a turn that is left before a byte was handed is forgotten",
        create(),
        {"cancel": "t", "must": changed(failed("SAFE", "SEND", "CANCELLED"), state="OPEN")},
        {"hand": "all", "must": {"sent": []}},
    )
    yield script(
        "left_in_the_middle",
        "a turn that is left in the middle of its message is judged as handed, until that can no longer be",
        create("a", "a"),
        hand(),
        create("b", "b"),
        ONE_BYTE,
        {"cancel": "b", "must": changed(failed("AMBIGUOUS", "AWAIT", "CANCELLED", "b"), state="OPEN")},
        {**CUT, "must": changed(failed("AMBIGUOUS", "AWAIT", turn="a"), failed("SAFE", "SEND", "CANCELLED", "b"))},
        rules=("R-EVIDENCE-7", "R-EVIDENCE-8"),
    )
    yield script(
        "left_alone",
        "the only turn is left: the connection is aborted",
        create(),
        hand(),
        {"cancel": "t", "must": changed(failed("AMBIGUOUS", "AWAIT", "CANCELLED"), state="CLOSED")},
    )
    yield script(
        "left_alone_abandon",
        "or stays, as the option says",
        create(),
        hand(),
        {"cancel": "t", "must": {"state": "OPEN"}},
        leave="abandon",
    )
    yield script(
        "draining",
        "a connection that drains takes no more turns",
        create(),
        hand(),
        {"drain": True, "must": {"state": "DRAINING"}},
        create("u", must={"refused": "SessionClosedError"}),
        server(created(), ended(), must=changed(done())),
    )
    yield script(
        "bad_lane",
        "a name that is none",
        create("a", "a b", must={"refused": "InvalidStreamIdError"}),
        rules=("P-EVENT-7",),
    )
    yield script(
        "closing",
        "the closing handshake",
        {"close": True, "must": {"state": "CLOSING"}},
        hand({"close": 1000}),
        {"server_closes": 1000, "must": {"state": "CLOSED"}},
    )
    yield script(
        "closed_by_the_server",
        "the server closes an idle connection",
        {"server_closes": 1000, "must": {"state": "CLOSED"}},
        hand({"close": 1000}),
    )
    yield script("pong", "a ping is answered", {"server_pings": "6162"}, hand({"pong": "6162"}), rules=("P-CONN-12",))


# --- Deadlines -------------------------------------------------------------------------------------------------------


def deadlines() -> Iterator[Case]:
    def timed(turn: str = "t", **limits: float) -> Step:
        return create(turn, timeouts={"lane": None, "connect": None, "send": None, "receive": None, **limits})

    def late(now: float, verdict: str, phase: str, *more: Any, turn: str = "t", **rest: Any) -> Step:
        return {"expire": True, "now": now, "must": changed(failed(verdict, phase, "TIMEOUT", turn), *more, **rest)}

    yield script(
        "receive",
        "nothing comes",
        timed(receive=10.0),
        {**hand(now=1.0), "must": {"deadline": 11.0}},
        late(11.0, "AMBIGUOUS", "AWAIT", state="CLOSED"),
        rules=("P-DEFAULT-1",),
    )
    yield script(
        "receive_again",
        "each event begins it anew",
        timed(receive=10.0),
        hand(now=1.0),
        server(created(), now=5.0, must={"deadline": 15.0}),
        late(15.0, "UNSAFE", "STREAM"),
    )
    yield script(
        "send",
        "the transport does not take the message",
        timed(send=10.0),
        {**ONE_BYTE, "now": 1.0, "must": {"deadline": 10.0}},
        late(10.0, "SAFE", "SEND"),
    )
    yield script(
        "total",
        "the whole turn",
        timed(total=10.0),
        hand(now=1.0),
        server(created(), now=5.0, must={"deadline": 10.0}),
        late(10.0, "UNSAFE", "STREAM"),
    )
    yield script(
        "lane",
        "the lane does not become free",
        create("other"),
        hand(),
        timed(lane=10.0),
        late(10.0, "SAFE", "LANE_WAIT", state="OPEN"),
    )
    yield script(
        "not_yet",
        "a deadline that has not passed",
        timed(receive=10.0),
        hand(now=1.0),
        {"expire": True, "now": 10.9, "must": {"deadline": 11.0, "state": "OPEN"}},
    )
    yield script(
        "connect",
        "the connection is not opened in time",
        create(timeouts={"connect": 10.0}),
        {"connected": True},
        late(10.0, "SAFE", "HANDSHAKE"),
        up=False,
    )
    yield script(
        "ping",
        "a ping after silence, and the end without a pong",
        create(),
        hand(),
        {"expire": True, "now": 20.0, "must": {"deadline": 25.0}},
        hand({"ping": True}),
        {"expire": True, "now": 25.0, "must": changed(failed("AMBIGUOUS", "AWAIT", "STALLED"))},
        ping_interval=20.0,
        ping_timeout=5.0,
        rules=("P-CONN-13",),
    )
    yield script(
        "pong_came",
        "and with one",
        create(),
        hand(),
        {"expire": True, "now": 20.0},
        hand(),
        {"server_pongs": "", "now": 21.0, "must": {"deadline": 41.0}},
        ping_interval=20.0,
        ping_timeout=5.0,
    )
    yield script(
        "stalled",
        "nothing at all comes while a turn runs",
        create(),
        hand(),
        {"expire": True, "now": 30.0, "must": changed(failed("AMBIGUOUS", "AWAIT", "STALLED"))},
        stall_timeout=30.0,
    )
    yield script(
        "close_timeout",
        "the peer does not answer the close frame",
        {"close": True, "now": 1.0, "must": {"deadline": 3.0}},
        hand(),
        {"expire": True, "now": 3.0, "must": {"state": "CLOSED"}},
    )


# --- The end of a connection, step by step ---------------------------------------------------------------------------


NO_LIMITS = {"lane": None, "connect": None, "send": None, "receive": None}


def endings() -> Iterator[Case]:
    rules = ("P-CONN-20",)
    limit = server(error("websocket_connection_limit_reached", lane="a"), must={"state": "ENDING"})
    two = [create("a", "a"), create("b", "b"), hand(message("a"), message("b"))]
    begun: Step = {"create": {"turn": "c", "fields": {"model": "m"}, "lane": "c"}}
    timed: Step = {"create": {**begun["create"], "timeouts": {**NO_LIMITS, "send": 5.0}}}
    cut: Step = {
        "expire": True,
        "now": 5.0,
        "must": changed(failed("SAFE", "SEND", "TIMEOUT", "c"), state="WRITE_DISABLED"),
    }
    for name, before in (
        ("open", [create("b", "b"), hand(), timed, ONE_BYTE]),
        ("draining", [create("b", "b"), hand(), timed, ONE_BYTE, {"drain": True, "must": {"state": "DRAINING"}}]),
        ("ending", [*two, timed, ONE_BYTE, limit]),
    ):
        yield script(
            f"message_cut_while_{name}",
            "a deadline passes within a message: nothing more is handed, and what runs goes on",
            *before,
            cut,
            {"hand": "all", "must": {"sent": []}},
            {"server_pings": "6162"},
            {"hand": "all", "must": {"sent": []}},
            create("d", "d", must={"refused": "SessionClosedError"}),
            server(created("r1", "b"), must={"events": [["b", "response.created", "r1"]]}),
            server(ended("r1", "b"), must=changed(done("b"), state="CLOSED")),
            rules=rules,
        )
    yield script(
        "message_cut_and_lost",
        "until the connection ends",
        create("b", "b"),
        hand(),
        timed,
        ONE_BYTE,
        cut,
        {**CUT, "must": changed(failed("AMBIGUOUS", "AWAIT", "EOF", "b"), state="CLOSED")},
        rules=rules,
    )
    left = failed("AMBIGUOUS", "AWAIT", "CANCELLED", "c")
    leave: list[Step] = [
        create("b", "b"),
        hand(),
        begun,
        {**ONE_BYTE, "now": 1.0},
        {"cancel": "c", "must": changed(left, state="OPEN", deadline=3.0)},
    ]
    yield script(
        "left_within_its_message",
        "a turn is left within its message, while another uses the connection: the rest is handed",
        *leave,
        hand(message("c")),
        server(created("r1", "b"), must={"events": [["b", "response.created", "r1"]]}),
        rules=("R-EVIDENCE-8",),
    )
    yield script(
        "left_within_its_message_and_lost",
        "if the connection ends before that, the turn did not run",
        *leave,
        {
            **CUT,
            "must": changed(
                failed("AMBIGUOUS", "AWAIT", "EOF", "b"), failed("SAFE", "SEND", "CANCELLED", "c"), state="CLOSED"
            ),
        },
        rules=("R-EVIDENCE-8", "I4"),
    )
    yield script(
        "left_within_its_message_too_long",
        "the transport does not take the rest in time",
        *leave,
        {
            "expire": True,
            "now": 3.0,
            "must": changed(
                failed("AMBIGUOUS", "AWAIT", "TRANSPORT", "b"), failed("SAFE", "SEND", "CANCELLED", "c"), state="CLOSED"
            ),
        },
        rules=("R-EVIDENCE-8",),
    )
    yield script(
        "message_cut_alone",
        "with no other turn the connection ends",
        create(),
        ONE_BYTE,
        {"cancel": "t", "must": changed(failed("SAFE", "SEND", "CANCELLED"), state="CLOSED")},
        rules=rules,
    )
    yield script(
        "draining_and_announced",
        "the server announces its end to a connection that drains",
        *two,
        {"drain": True, "must": {"state": "DRAINING"}},
        limit,
        {**CUT, "must": changed(failed("AMBIGUOUS", "AWAIT", "EOF", "b"), state="CLOSED")},
        rules=(*rules, "P-OWNER-7"),
    )
    yield script(
        "ending_others_go_on",
        "after the end was announced, turns whose message was handed go on",
        *two,
        limit,
        server(created("r1", "b"), ended("r1", "b"), must=changed(done("b"))),
        rules=(*rules, "P-OWNER-7"),
    )
    for name, before in (("draining", [{"drain": True}]), ("ending", [*two, limit, server(ended("r1", "b"))])):
        yield script(
            f"{name}_and_closed",
            "an idle connection is closed by a handshake in this state, too",
            *before,
            {"close": True, "must": {"state": "CLOSING"}},
            hand({"close": 1000}),
            {"server_closes": 1000, "must": {"state": "CLOSED"}},
            rules=rules,
        )
    yield script("draining_and_cut", "or ends", {"drain": True}, {**CUT, "must": {"state": "CLOSED"}}, rules=rules)
    yield script(
        "closed_with_turns",
        "with turns on it, a connection ends without a handshake",
        create(),
        hand(),
        {"close": True, "must": changed(failed("AMBIGUOUS", "AWAIT", "CLIENT_CLOSED"), state="CLOSED")},
    )


def redirects() -> Iterator[Case]:
    opening = [create(), {"connected": True}, hand({"upgrade": "/v1/responses"})]

    def moved(status: int, location: str, must: Any) -> Step:
        return {"rejected": {"status": status, "headers": {"Location": location}}, "must": must}

    for status in (301, 302, 303, 307, 308):
        yield script(
            f"redirect_{status}",
            "a redirect within the origin is followed",
            *opening,
            moved(status, "/v2/responses", {"state": "CONNECTING"}),
            {"connected": True, "must": {"state": "HANDSHAKING"}},
            hand({"upgrade": "/v2/responses"}),
            {"accepted": {}, "must": {"state": "OPEN"}},
            hand(message()),
            up=False,
            rules=("P-CONN-3",),
        )
    for name, location in (
        ("host", "https://other.example/v1/responses"),
        ("scheme", "http://example.org/v1/responses"),
        ("port", "https://example.org:8443/v1/responses"),
    ):
        yield script(
            f"redirect_to_another_{name}",
            "one to another origin is a rejection",
            *opening,
            moved(307, location, changed(failed("SAFE", "HANDSHAKE", "REJECTED", refusal=True), state="CLOSED")),
            up=False,
            rules=("P-CONN-3",),
        )
    follow: list[Step] = [moved(307, "/v2/responses", {"state": "CONNECTING"}), {"connected": True}, hand()]
    yield script(
        "redirect_six_times",
        "at most five are followed",
        *opening,
        *follow * 5,
        moved(307, "/v2/responses", changed(failed("SAFE", "HANDSHAKE", "REJECTED"), state="CLOSED")),
        up=False,
        rules=("P-CONN-3",),
    )


# --- Steering --------------------------------------------------------------------------------------------------------

S1 = {"id": "steer_1", "previous_response_id": "r1"}


def steering() -> Iterator[Case]:
    def given(state: str, verdict: str, code: str | None = None) -> dict[str, Any]:
        return {"input": "s", "state": state, "verdict": verdict, "code": code}

    def answered(kind: str, **more: Any) -> dict[str, Any]:
        return {"type": f"response.steer.{kind}", "steer": S1, **more}

    steer: Step = {"steer": {"turn": "t", "as": "s", "input": "left"}}
    sent = {"message": {"type": "response.steer", "previous_response_id": "r1", "input": "left"}}
    running = [create(), hand(), server(created())]
    steered = [*running, steer, hand(sent)]
    cut_short = ended(how="incomplete", incomplete_details={"reason": "steered"})
    rules = ("P-STEER-1",)
    yield script(
        "steer_held",
        "a steer before the response runs is held",
        create(),
        hand(),
        {**steer, "must": changed(given("HELD", "SAFE"))},
        {"hand": "all", "must": {"sent": []}},
        server(created(), must=changed(given("QUEUED", "SAFE"))),
        hand(sent),
        rules=rules,
    )
    yield script(
        "steer_committed",
        "accepted, and committed with the successor",
        *steered,
        server(answered("accepted"), must=changed(given("ACCEPTED", "UNSAFE"))),
        server(cut_short),
        server(created("r2"), must=changed(given("COMMITTED", "UNSAFE"))),
        server(ended("r2"), must=changed(done(response_id="r2"))),
        rules=("P-STEER-1", "R-STEER-4"),
    )
    yield script(
        "steer_lost",
        "the connection ends before the answer",
        *steered,
        {**CUT, "must": changed(failed("UNSAFE", "STREAM"), given("LOST", "AMBIGUOUS"))},
        rules=("R-STEER-1", "R-STEER-3", "R-STEER-6"),
    )
    yield script(
        "steer_lost_accepted",
        "and after it",
        *steered,
        server(answered("accepted")),
        {**CUT, "must": changed(failed("UNSAFE", "STREAM"), given("LOST_ACCEPTED", "UNSAFE"))},
        rules=("R-STEER-1", "R-STEER-4", "R-STEER-6", "R-STEER-7"),
    )
    yield script(
        "steer_not_handed",
        "and before it was handed",
        *running,
        steer,
        {**CUT, "must": changed(failed("UNSAFE", "STREAM"), given("FAILED", "SAFE", "not_sent"))},
        rules=("R-STEER-1", "R-STEER-2", "R-STEER-6"),
    )
    yield script(
        "steer_failed",
        "the server gives it back",
        *steered,
        server(
            answered("failed", error={"code": "response_not_active", "message": "no"}),
            must=changed(given("FAILED", "SAFE", "response_not_active")),
        ),
        rules=("P-STEER-1", "R-STEER-5"),
    )
    yield script(
        "steer_pending",
        "the server waits for outputs",
        *steered,
        server(
            answered("pending", reason="waiting_for_required_input", required_input=[]),
            must=changed(given("PENDING", "UNSAFE")),
        ),
        rules=rules,
    )
    yield script(
        "steer_too_late",
        "the turn ends before it was sent",
        create(),
        hand(),
        steer,
        server(created(), ended(), must=changed(done(), given("FAILED", "SAFE", "response_already_completed"))),
        rules=("P-STEER-18",),
    )
    yield script(
        "steer_nothing",
        "an input that no server takes",
        *running,
        {"steer": {"turn": "t", "as": "s", "input": ""}, "must": {"refused": "InvalidInputError"}},
        rules=("P-STEER-17",),
    )
    yield script(
        "steer_without_steering",
        "a server that takes no steers",
        *running,
        {**steer, "must": {"refused": "SteeringNotSupportedError"}},
        dialect="azure",
        rules=("P-STEER-17",),
    )
    pending = answered("pending", reason="waiting_for_required_input", required_input=[])
    yield script(
        "steer_accepted_then_pending",
        "accepted first, and then it waits for outputs",
        *steered,
        server(answered("accepted")),
        server(ended()),
        server(pending, must=changed(done(), given("PENDING", "UNSAFE"))),
        rules=(*rules, "P-STEER-16"),
    )
    yield script(
        "steer_accepted_then_failed",
        "accepted first, and then given back",
        *steered,
        server(answered("accepted")),
        server(ended()),
        server(
            answered("failed", error={"code": "successor_creation_failed", "message": "no"}),
            must=changed(done(), given("FAILED", "SAFE", "successor_creation_failed")),
        ),
        rules=("P-STEER-5", "P-STEER-16", "R-STEER-5"),
    )
    waits = [*steered, server(pending), server(ended(), must=changed(done()))]
    yield script(
        "steer_pending_then_committed",
        "the turn that continues the response commits what is pending",
        *waits,
        create("u", previous_response_id="r1"),
        hand(message(previous_response_id="r1")),
        server(created("r2"), must=changed(given("COMMITTED", "UNSAFE"))),
        rules=("P-STEER-19",),
    )
    yield script(
        "steer_pending_then_failed",
        "or the server gives it back",
        *waits,
        server(
            answered("failed", error={"code": "successor_creation_failed", "message": "no"}),
            must=changed(given("FAILED", "SAFE", "successor_creation_failed")),
        ),
        rules=("P-STEER-19", "P-STEER-20", "R-STEER-5"),
    )
    yield script(
        "steer_pending_then_lost",
        "or the connection ends",
        *waits,
        {**CUT, "must": changed(given("LOST_ACCEPTED", "UNSAFE"))},
        rules=("R-STEER-4",),
    )
    yield script(
        "steer_waits_for_the_successor",
        "a response ends before a steer of it was handed: it goes to the next one",
        *steered,
        server(answered("accepted")),
        {"steer": {"turn": "t", "as": "z", "input": "right"}},
        server(
            cut_short,
            must=changed({"input": "z", "state": "HELD", "verdict": "SAFE", "code": None}),
        ),
        {"hand": "all", "must": {"sent": []}},
        server(created("r2")),
        hand({"message": {"type": "response.steer", "previous_response_id": "r2", "input": "right"}}),
        rules=("P-STEER-15",),
    )
    injecting = {"name": "mine", "lanes": "YES", "injecting": "YES"}
    inject: Step = {"inject": {"turn": "t", "as": "s", "input": [{"type": "message"}]}}
    injected = {"message": {"type": "response.inject", "response_id": "r1", "input": [{"type": "message"}]}}
    yield script(
        "inject_created",
        "an injection is committed by its answer",
        *running,
        inject,
        hand(injected),
        server({"type": "response.inject.created", "response_id": "r1"}, must=changed(given("COMMITTED", "UNSAFE"))),
        dialect=injecting,
        rules=("P-STEER-17", "P-INJECT-2"),
    )
    yield script(
        "inject_failed",
        "or given back",
        *running,
        inject,
        hand(injected),
        server(
            {
                "type": "response.inject.failed",
                "response_id": "r1",
                "input": [{"type": "message"}],
                "error": {"code": "response_not_found", "message": "no"},
            },
            must=changed(given("FAILED", "SAFE", "response_not_found")),
        ),
        dialect=injecting,
        rules=("P-STEER-12", "R-STEER-5"),
    )
    yield script(
        "inject_lost",
        "the connection ends before the answer",
        *running,
        inject,
        hand(injected),
        {**CUT, "must": changed(failed("UNSAFE", "STREAM"), given("LOST", "AMBIGUOUS"))},
        dialect=injecting,
        rules=("R-STEER-3",),
    )
    yield script(
        "inject_unknown",
        "an injection where nothing says that the server takes it",
        *running,
        {
            "inject": {"turn": "t", "as": "s", "input": [{"type": "message"}]},
            "must": {"refused": "SteeringNotSupportedError"},
        },
        rules=("P-STEER-17",),
    )


CASES = [*verdicts(), *errors(), *lanes(), *deadlines(), *endings(), *redirects(), *steering()]
