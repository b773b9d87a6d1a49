"""Whose an event is, what it starts and what it ends, on servers with lanes, without lanes, and with odd habits.

The rules are PROTOCOL.md's: "What starts, what ends, what is neither", "Whose error it is", "Dialects"; and REPLAY.md's
"Whose 1009 it is".
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.machines import ENDPOINT, Wire, failed, steady, types
from kit.peers import CLOSE, TEXT, event, frame
from turnwire.sansio.connection import ConnectionOptions, ResponsesConnection, State, Turn
from turnwire.sansio.connection._owners import REMEMBERED
from turnwire.sansio.connection._turn import MAX_ITEMS
from turnwire.sansio.dialect import (
    AZURE,
    CODEX,
    NO_LANES,
    OPENAI,
    UNKNOWN,
    Dialect,
    LaneSupport,
    announced_dialect,
    dialect_of_host,
)
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import ProtocolError, RequestTooLargeError, ResponsesWebSocketError
from turnwire.sansio.replay import Cause, Phase, Verdict, meaning

SAFE, AMBIGUOUS, UNSAFE = Verdict.SAFE, Verdict.AMBIGUOUS, Verdict.UNSAFE


def said(kind: str, response_id: str | None = None, lane: str | None = None, **more: Any) -> bytes:
    """An event of a response, from a server that says ids and lanes, or does not."""
    status = {"created": "in_progress"}.get(kind, kind)
    response = {"response": {"id": response_id, "status": status, "output": []}} if response_id is not None else {}
    at = {} if lane is None else {"stream_id": lane}
    return event(f"response.{kind}", **{**response, **at, **more})


def words(text: str, item_id: str | None = None, lane: str | None = None) -> bytes:
    at = {} if lane is None else {"stream_id": lane}
    return event("response.output_text.delta", delta=text, **({"item_id": item_id} if item_id else {}), **at)


def item(kind: str, item_id: str, lane: str | None = None) -> bytes:
    at = {} if lane is None else {"stream_id": lane}
    return event(f"response.output_item.{kind}", item={"type": "message", "id": item_id}, output_index=0, **at)


def refused(status: int | None = 400, code: str | None = "bad", lane: str | None = None, **more: Any) -> bytes:
    at = {} if lane is None else {"stream_id": lane}
    error = {"type": "invalid_request_error", "code": code, "message": "No."}
    return event("error", error=error, **({} if status is None else {"status": status}), **at, **more)


def unknown_server(**options: Any) -> Wire:
    wire = Wire(**options)
    wire.accept(dialect="")
    return wire


def texts(turn: Turn) -> str:
    events = list(iter(turn.next_event, None))
    return "".join(found.to_dict()["delta"] for found in events if found.type.endswith(".delta"))


# --- What starts a response ------------------------------------------------------------------------------------------

NEUTRAL = [
    event("keepalive"),
    event("ping", data=1),
    event("response.heartbeat"),
    event("response.metadata", response={"id": "x", "status": "completed"}),
    event("rate_limits", primary={"used": 3}),
    event("codex.rate_limits", delta="x"),
    event("vendor.rate_limits"),
    event("codex.turn.state", response_id="x"),
]


@pytest.mark.parametrize("neutral", NEUTRAL)
def test_a_neutral_event_is_delivered_and_a_refusal_after_it_is_still_safe(neutral: bytes) -> None:
    """P-START-1."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(neutral, neutral)
    assert turn.phase is Phase.AWAIT
    assert len(types(turn)) == 2
    wire.receive(refused(429))
    failure = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert not failure.evidence.response_started


@pytest.mark.parametrize("neutral", NEUTRAL)
def test_a_connection_that_is_lost_after_neutral_events_is_ambiguous(neutral: bytes) -> None:
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(neutral)
    wire.eof()
    assert turn.failure is not None
    assert turn.failure.verdict is AMBIGUOUS


@pytest.mark.parametrize(
    "beginning",
    [
        event("response.tomorrow"),
        event("vendor.progress", response_id="r"),
        event("x", output_index=0),
        event("", delta=""),
        words("x"),
        said("queued", "r"),
        said("in_progress", "r"),
    ],
)
def test_what_is_of_a_response_begins_it(beginning: bytes) -> None:
    """P-START-2."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(beginning, refused(400))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)


@pytest.mark.parametrize("unknown", [event("vendor.note"), event("heartbeat"), frame(TEXT, b'{"a":1}')])
def test_an_unknown_event_moves_nothing_but_a_refusal_after_it_is_none(unknown: bytes) -> None:
    """P-START-3."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(unknown)
    assert turn.phase is Phase.AWAIT
    wire.receive(refused(400))
    assert failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS).evidence.unknown_event


def test_an_event_that_nobody_can_be_told_to_own_leaves_no_refusal_certain() -> None:
    """P-START-4."""
    wire = Wire.opened()
    one = wire.run("a")
    wire.receive(said("created", "r1", "a"), said("completed", "r1", "a"))
    two, three = wire.run("a"), wire.run("b")
    wire.receive(event("response.tomorrow"), refused(400, lane="a"), refused(400, lane="b"))
    failed(two, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    failed(three, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    assert one.phase is Phase.DONE
    assert wire.connection.stats.orphans == 1


def test_the_outcome_of_a_steer_begins_nothing() -> None:
    """P-START-2, P-STEER-13."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(event("response.steer.failed", error={"code": "response_not_active"}))
    assert wire.connection.stats.orphans == 1
    wire.receive(refused(400))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


@pytest.mark.parametrize("early", [*NEUTRAL, said("created", "r0"), words("x"), event("vendor.note")])
def test_a_frame_that_comes_when_nothing_is_awaited_is_an_orphan(early: bytes) -> None:
    """P-START-5, P-START-11."""
    wire = Wire.opened()
    wire.receive(early)
    queued = wire.create()
    wire.receive(early)  # Its message was not handed yet.
    assert wire.connection.stats.orphans == 2
    wire.hand(10**6)
    wire.receive(refused(400))
    assert types_before_failure(queued) == []
    failed(queued, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


def types_before_failure(turn: Turn) -> list[str]:
    return [found.type for found in turn.events]


# --- What ends a turn ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    [
        said("done", "r1", response={"id": "r1"}),
        said("done", "r1", response={"id": "r1", "status": "failed"}),
        said("cancelled", "r1"),
        event("response.cancelled"),
        event("response.canceled", response={"status": "canceled"}),
        event("response.finished", response={"id": "r1", "status": "incomplete"}),
        event("response.failed"),
        event("response.completed", response={}),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_turn_ends_with_every_kind_of_last_event(last: bytes, begun: bool) -> None:
    """P-START-6."""
    wire = Wire.opened()
    turn, after = wire.run(), wire.create()
    if begun:
        wire.receive(said("created", "r1"))
    wire.receive(last)
    assert turn.phase is Phase.DONE
    assert turn.response is not None
    assert after.phase is Phase.SEND


@pytest.mark.parametrize(
    "not_last",
    [
        event("response.done"),
        event("response.done", response=None),
        said("done", "r1", response={"id": "r1", "status": "in_progress"}),
        event("response.paused", response={"id": "r1", "status": "queued"}),
        said("in_progress", "r1", response={"id": "r1", "status": "completed"}),
        said("completed", "r2"),
        said("failed", "r2"),
        event("response.done", response={"id": "r2", "status": "completed"}),
    ],
)
def test_what_does_not_end_the_turn(not_last: bytes) -> None:
    """P-START-6, P-START-10."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(said("created", "r1"), not_last)
    assert turn.phase is Phase.STREAM
    wire.receive(said("completed", "r1"))
    assert turn.phase is Phase.DONE


LATE = [
    said("completed", "r1"),
    said("failed", "r1"),
    event("response.done", response={"id": "r1", "status": "completed"}),
    said("in_progress", "r1"),
    event("vendor.usage", response_id="r1", delta=""),
    words("late", "item_1"),
    item("done", "item_1"),
    item("added", "item_1"),
    event("response.content_part.done", item_id="item_1", output_index=0, content_index=0),
]


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("times", [1, 3])
def test_what_is_late_is_never_the_next_turns(late: bytes, times: int) -> None:
    """P-START-8, P-START-10."""
    wire = Wire.opened()
    first = wire.run()
    wire.receive(said("created", "r1"), words("one", "item_1"), said("completed", "r1"))
    second = wire.run()
    wire.receive(late * times)
    assert second.phase is Phase.AWAIT
    assert not second.events
    assert wire.connection.stats.orphans == times
    wire.receive(said("created", "r2"), words("two", "item_2"), said("completed", "r2"))
    assert (texts(first), texts(second)) == ("one", "two")
    assert second.response is not None
    assert second.response.id == "r2"


@pytest.mark.parametrize("late", LATE)
def test_a_refusal_behind_what_is_late_is_one_unless_that_may_have_begun_the_response(late: bytes) -> None:
    """P-START-4: A response that has ended is not in progress again: a server may give every response the same id."""
    wire = Wire.opened()
    wire.run()
    wire.receive(said("created", "r1"), words("one", "item_1"), said("completed", "r1"))
    second = wire.run()
    wire.receive(late, event("error", status=400, error={"code": "content_filter"}))
    begun = b"in_progress" in late
    assert failed(second, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS if begun else SAFE).evidence.unknown_event is begun


@pytest.mark.parametrize("late", [said("completed", "r1"), said("created", "r1"), said("in_progress", "r1")])
def test_what_is_late_while_the_next_turn_streams_is_an_orphan(late: bytes) -> None:
    """P-START-8."""
    wire = Wire.opened()
    wire.run()
    wire.receive(said("created", "r1"), said("completed", "r1"))
    second = wire.run()
    wire.receive(said("created", "r2"), late, event("response.output_text.delta", response_id="r1", delta="late"))
    assert second.phase is Phase.STREAM
    assert wire.connection.stats.orphans == 2
    wire.receive(words("two"), said("completed", "r2"))
    assert texts(second) == "two"


def test_what_is_late_of_an_item_is_an_orphan_while_the_next_turn_streams() -> None:
    """P-START-8."""
    wire = Wire.opened()
    wire.run()
    wire.receive(said("created", "r1"), item("added", "i1"), words("one", "i1"), said("completed", "r1"))
    second = wire.run()
    wire.receive(said("created", "r2"), words("late", "i1"), item("added", "i2"), words("two", "i2"))
    wire.receive(item("done", "i1"), words("late", "i1"), words("!", "i2"), said("completed", "r2"))
    assert texts(second) == "two!"
    assert wire.connection.stats.orphans == 3


def test_items_that_are_only_done_may_have_the_same_id_in_every_response() -> None:
    wire = Wire.opened()
    for number in range(3):
        turn = wire.run()
        wire.receive(said("created", f"r{number}"), words("x", "i"), item("done", "i"), said("completed", f"r{number}"))
        assert turn.response is not None
        assert [found.id for found in turn.response.output] == ["i"]
        assert texts(turn) == "x"


def test_the_last_items_of_a_turn_are_remembered_and_no_more() -> None:
    wire = Wire.opened()
    turn = wire.run()
    ids = [f"i{number}" for number in range(MAX_ITEMS + 5)]
    wire.receive(said("created", "r1"), *(item("added", one) for one in ids))
    assert turn.items == turn.added == ids[5:]


def test_a_refusal_after_a_late_event_is_still_safe() -> None:
    wire = Wire.opened()
    wire.run()
    wire.receive(said("created", "r1"), said("completed", "r1"))
    second = wire.run()
    wire.receive(said("completed", "r1"), refused(400))
    failed(second, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


def test_the_events_of_an_abandoned_turn_are_never_the_next_ones() -> None:
    wire = Wire.opened()
    left, other, after = wire.run("a"), wire.run("b"), wire.create("a")
    wire.receive(said("created", "r1", "a"), words("x", "item_1", "a"))
    wire.connection.cancel(left, wire.now)
    wire.receive(said("completed", "r1", "a"))
    wire.hand(10**6)
    wire.receive(said("completed", "r1", "a"), words("x", "item_1", "a"))
    assert after.phase is Phase.AWAIT
    assert not other.ended


def test_servers_that_give_every_response_the_same_ids_work() -> None:
    """P-START-9."""
    wire = Wire.opened()
    for text in ("one", "two", "three"):
        turn = wire.run()
        wire.receive(
            said("created", "r"), item("added", "i"), words(text, "i"), item("done", "i"), said("completed", "r")
        )
        assert turn.phase is Phase.DONE
        assert texts(turn) == text
    assert wire.connection.stats.orphans == 0


def test_servers_that_never_say_created_and_give_every_item_the_same_id_work() -> None:
    wire = Wire.opened()
    for number, text in enumerate(("one", "two")):
        turn = wire.run()
        wire.receive(words(text, "i"), said("completed", f"r{number}"))
        assert texts(turn) == text


def test_the_same_ids_in_two_lanes_at_a_time_work() -> None:
    wire = Wire.opened()
    turns = {lane: wire.run(lane) for lane in ("a", "b", None)}
    for lane in ("b", "a", None):
        wire.receive(said("created", "r", lane), item("added", "i", lane))
    for lane in (None, "a", "b"):
        wire.receive(words(str(lane), "i", lane), said("completed", "r", lane))
    assert {lane: texts(turn) for lane, turn in turns.items()} == {"a": "a", "b": "b", None: "None"}


def test_a_response_that_is_begun_anew_is_the_turns() -> None:
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(said("created", "r1"), said("created", "r2"), said("completed", "r2"))
    assert turn.phase is Phase.DONE
    assert turn.response_id == "r2"


def test_only_the_last_few_turns_of_a_lane_are_remembered() -> None:
    """P-START-8."""
    wire = Wire.opened()
    for number in range(REMEMBERED + 1):
        wire.run()
        wire.receive(said("created", f"r{number}"), said("completed", f"r{number}"))
    turn = wire.run()
    wire.receive(said("completed", "r1"))
    assert turn.phase is Phase.AWAIT
    wire.receive(said("completed", "r0"))  # It cannot be told from a new one.
    assert turn.phase is Phase.DONE


def test_an_item_is_late_until_the_last_turn_that_had_it_is_forgotten() -> None:
    wire = Wire.opened()
    late = wire.connection._owners.late_items
    for number, name in enumerate(("same", "same", *(f"i{number}" for number in range(2 * REMEMBERED)))):
        wire.run()
        wire.receive(said("created", f"r{number}"), item("added", name), said("completed", f"r{number}"))
        assert ("same" in late) is (number <= REMEMBERED)
    assert set(late) == {f"i{number}" for number in range(REMEMBERED, 2 * REMEMBERED)}


# --- Lanes, where there are some and where there are none ------------------------------------------------------------


def test_on_an_unknown_server_one_turn_is_in_flight_until_a_name_came_back() -> None:
    """P-DIALECT-3, P-DIALECT-4."""
    wire = unknown_server()
    one, two, three = wire.run("a"), wire.create("b"), wire.create("c")
    assert [turn.phase for turn in (one, two, three)] == [Phase.AWAIT, Phase.LANE_WAIT, Phase.LANE_WAIT]
    wire.receive(event("keepalive", stream_id="a"))  # No event of a response.
    assert two.phase is Phase.LANE_WAIT
    wire.receive(said("created", "r1", "a"))
    assert [turn.phase for turn in (one, two, three)] == [Phase.STREAM, Phase.SEND, Phase.SEND]


@pytest.mark.parametrize("named", [False, True])
def test_p_dialect_7_turns_that_wait_to_see_whether_there_are_lanes_are_safe(named: bool) -> None:
    """P-DIALECT-3, P-DIALECT-5: while that is not known, and where there are none."""
    wire = unknown_server()
    first, waiting = wire.run("a"), wire.create("b")
    wire.receive(said("created", "r1")) if named else None
    wire.eof()
    assert first.failure is not None
    assert first.failure.verdict is (UNSAFE if named else AMBIGUOUS)
    failed(waiting, Cause.EOF, Phase.LANE_WAIT, SAFE)


def test_a_server_that_never_sends_names_runs_one_turn_after_another_without_names() -> None:
    """P-DIALECT-8, P-DIALECT-5."""
    wire = unknown_server()
    turns = [wire.create(lane) for lane in ("a", "b", None, "a")]
    requests: list[Any] = []
    for number, turn in enumerate((turns[0], turns[1], turns[2], turns[3])):
        requests += wire.sent()
        assert [other.phase is Phase.AWAIT for other in turns] == [other is turn for other in turns]
        wire.receive(said("created", f"r{number}"), words(f"w{number}", "i"), said("completed", f"r{number}"))
    assert ["stream_id" in request for request in requests] == [True, False, False, False]
    assert [request["type"] for request in requests] == ["response.create"] * 4
    assert [texts(turn) for turn in turns] == ["w0", "w1", "w2", "w3"]
    assert wire.connection.stats.orphans == 0


def test_where_names_are_not_sent_any_number_of_them_can_be_used() -> None:
    wire = unknown_server(max_named_lanes=2)
    for number in range(5):
        turn = wire.run(f"lane{number}")
        wire.receive(said("created", f"r{number}"), said("completed", f"r{number}"))
        assert turn.phase is Phase.DONE


@pytest.mark.parametrize("echoed", ["", "default", "main", "A", "lane-7"])
@pytest.mark.parametrize("lane", [None, "a"])
def test_another_name_that_comes_back_to_the_only_turn_in_flight_is_its(echoed: str, lane: str | None) -> None:
    """P-START-7."""
    wire = unknown_server()
    for number in range(2):
        turn, waiting = wire.run(lane), wire.create("b")
        wire.receive(said("created", f"r{number}", echoed), words("x", "i", echoed))
        assert waiting.phase is Phase.LANE_WAIT
        wire.connection.cancel(waiting, wire.now)
        wire.receive(said("completed", f"r{number}", echoed))
        assert texts(turn) == "x"
        assert turn.phase is Phase.DONE


@pytest.mark.parametrize("echoed", ["", "default"])
def test_where_lanes_were_seen_an_unknown_name_is_the_only_turns(echoed: str) -> None:
    """P-START-7."""
    wire = Wire.opened()
    wire.run("a")
    wire.receive(said("created", "r0", "a"), said("completed", "r0", "a"))
    turn = wire.run()
    wire.receive(said("created", "r1", echoed), said("completed", "r1", echoed))
    assert turn.phase is Phase.DONE


def test_where_lanes_were_seen_another_name_changes_nothing_about_it() -> None:
    wire = Wire.opened()
    wire.run("a")
    wire.receive(said("created", "r0", "a"), said("completed", "r0", "a"))
    turn = wire.run("b")
    wire.receive(said("created", "r1", "default"), said("completed", "r1", "b"))
    assert turn.phase is Phase.DONE
    assert wire.create("a").phase is wire.create("b").phase is Phase.SEND


def test_a_name_that_is_used_and_idle_owns_nothing() -> None:
    """P-START-7."""
    wire = Wire.opened()
    wire.run("a")
    wire.receive(said("created", "r0", "a"), said("completed", "r0", "a"))
    turn = wire.run("b")
    wire.receive(said("created", "r1", "a"), words("x", "i", "a"))
    assert turn.phase is Phase.AWAIT
    assert wire.connection.stats.orphans == 2


def test_where_lanes_were_seen_an_event_without_a_name_goes_by_its_ids() -> None:
    """P-START-7."""
    wire = Wire.opened()
    one, two = wire.run("a"), wire.run("b")
    wire.receive(said("created", "r1", "a"), item("added", "i1", "a"), said("created", "r2", "b"))
    wire.receive(words("x", "i1"), said("completed", "r2"), words("y", "nobody's"), said("completed", "r1"))
    assert (texts(one), texts(two)) == ("x", "")
    assert one.phase is two.phase is Phase.DONE
    assert wire.connection.stats.orphans == 1


def test_where_lanes_were_seen_an_event_without_name_and_ids_is_the_default_lanes() -> None:
    """P-START-7."""
    wire = Wire.opened()
    named, default = wire.run("a"), wire.run()
    wire.receive(said("created", "r1", "a"), words("x"), said("completed"))
    assert texts(default) == "x"
    assert default.phase is Phase.DONE
    assert named.phase is Phase.STREAM


def test_a_server_said_to_have_lanes_that_names_none_has_none() -> None:
    """P-DIALECT-8, P-DIALECT-5."""
    wire = Wire.opened()
    turn = wire.run("a")
    wire.receive(said("created", "r1"), said("completed", "r1"))
    assert turn.phase is Phase.DONE
    one, two = wire.create("a"), wire.create("b")
    assert (one.phase, two.phase) == (Phase.SEND, Phase.LANE_WAIT)


def test_a_server_said_to_have_lanes_that_names_none_of_several_is_left_at_once() -> None:
    """P-DIALECT-6."""
    wire = Wire.opened()
    turns = [wire.run(lane) for lane in ("a", "b")]
    wire.receive(said("created", "r1"))
    for turn in turns:
        assert "no lanes" in str(failed(turn, Cause.PROTOCOL, Phase.AWAIT, AMBIGUOUS, ProtocolError))
    assert wire.state is State.CLOSED
    assert [item.code for item in wire.sent()] == [1002]


def test_an_abandoned_turn_counts_as_in_flight() -> None:
    """P-START-11, P-DIALECT-3."""
    wire = unknown_server()
    left, waiting = wire.run("a"), wire.create("b")
    wire.connection.cancel(left, wire.now)
    assert waiting.phase is Phase.LANE_WAIT
    wire.receive(said("created", "r1"), said("completed", "r1"))
    assert waiting.phase is Phase.SEND
    assert wire.connection.stats.orphans == 2


@pytest.mark.parametrize(
    ("host", "dialect"),
    [
        ("api.openai.com", OPENAI),
        ("EU.api.openai.com.", OPENAI),
        ("api.openai.com.evil.example", UNKNOWN),
        ("myapi.openai.com", UNKNOWN),
        ("x.openai.azure.com", AZURE),
        ("y.services.ai.azure.com", AZURE),
        ("chatgpt.com", CODEX),
        ("localhost", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_dialect_of_a_host(host: str, dialect: Dialect) -> None:
    """P-DIALECT-1."""
    assert dialect_of_host(host) is dialect


@pytest.mark.parametrize(
    ("name", "dialect"),
    [("openai", OPENAI), (" OpenAI ", OPENAI), ("no-lanes", NO_LANES), ("klingon", None), ("", None)],
)
def test_the_dialect_that_is_announced(name: str, dialect: Dialect | None) -> None:
    """P-DIALECT-2."""
    assert announced_dialect({"x-turnwire-dialect": name}) is dialect
    assert announced_dialect({}) is None


@pytest.mark.parametrize(
    ("url", "given", "announced", "support"),
    [
        ("wss://server.test/", None, "", LaneSupport.UNKNOWN),
        ("wss://server.test/", None, "openai", LaneSupport.YES),
        ("wss://server.test/", None, "no-lanes", LaneSupport.NO),
        ("wss://api.openai.com/", None, "", LaneSupport.YES),
        ("wss://api.openai.com/", None, "no-lanes", LaneSupport.NO),
        ("wss://x.openai.azure.com/", None, "", LaneSupport.NO),
        ("wss://x.openai.azure.com/", OPENAI, "", LaneSupport.YES),
        ("wss://server.test/", NO_LANES, "openai", LaneSupport.NO),
    ],
)
def test_who_decides_on_the_dialect(url: str, given: Dialect | None, announced: str, support: LaneSupport) -> None:
    """P-DIALECT-2."""
    options = ConnectionOptions(dialect=given)
    connection = ResponsesConnection(Endpoint(url), options=options, now=100.0, random_bytes=steady)
    wire = Wire(connection)
    wire.accept(dialect=announced)
    wire.create("a"), wire.create("b")
    assert wire.connection.running == (2 if support is LaneSupport.YES else 1)
    assert ["stream_id" in request for request in wire.sent()] == [support is not LaneSupport.NO] * (
        2 if support is LaneSupport.YES else 1
    )


# --- Whose error it is -----------------------------------------------------------------------------------------------


def test_an_error_without_a_name_is_the_default_lanes_turn() -> None:
    """P-OWNER-3."""
    wire = Wire.opened()
    named, default = wire.run("a"), wire.run()
    wire.receive(refused(400))
    failed(default, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert not named.ended
    assert not wire.connection.draining


def test_an_error_without_a_name_is_the_only_turn_in_flight() -> None:
    """P-START-11, P-OWNER-3."""
    wire = Wire.opened()
    turn, waiting, unsent = wire.run("a"), wire.create("a"), wire.create("b")
    wire.receive(refused(404, "model_not_found"))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert not unsent.ended
    assert waiting.phase is Phase.SEND


def test_an_abandoned_turn_may_be_the_one_that_an_error_is_about() -> None:
    """P-OWNER-3."""
    wire = Wire.opened()
    left, turn = wire.run("a"), wire.run("b")
    wire.connection.cancel(left, wire.now)
    wire.receive(refused(400))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)


@pytest.mark.parametrize("status", [400, 404, 429, 500, None])
def test_an_error_that_may_be_any_ones_leaves_all_that_await_ambiguous(status: int | None) -> None:
    """P-OWNER-4, R-REFUSAL-3."""
    wire = Wire.opened()
    streaming, one, two, unsent = wire.run("s"), wire.run("a"), wire.run("b"), wire.create("c")
    wire.receive(said("created", "r", "s"), refused(status))
    for turn in (one, two):
        failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    failed(unsent, Cause.ERROR_FRAME, Phase.SEND, SAFE)
    assert not streaming.ended
    assert wire.connection.draining


@pytest.mark.parametrize("name", ["", "default", "other"])
def test_an_error_with_an_unknown_name_is_the_only_turns(name: str) -> None:
    wire = unknown_server()
    turn = wire.run("a")
    wire.receive(refused(400, lane=name))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


def test_an_error_in_an_idle_lane_is_nobodys() -> None:
    """P-OWNER-2."""
    wire = Wire.opened()
    wire.run("a")
    wire.receive(said("created", "r0", "a"), said("completed", "r0", "a"))
    one, two = wire.run("b"), wire.run("c")
    wire.receive(refused(400, lane="a"), refused(400, lane="nobody"))
    assert not one.ended
    assert not two.ended
    assert wire.connection.stats.orphans == 2


def test_an_error_that_names_a_response_is_its_turns_or_nobodys() -> None:
    """P-OWNER-1."""
    wire = Wire.opened()
    wire.run("a")
    wire.receive(said("created", "r0", "a"), said("completed", "r0", "a"))
    one, two = wire.run("a"), wire.run("b")
    wire.receive(said("created", "r1", "a"), refused(400, response_id="r0"), refused(500, response_id="r1"))
    failed(one, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)
    assert not two.ended
    assert wire.connection.stats.orphans == 1


def test_an_error_that_names_an_unknown_response_is_the_only_turns() -> None:
    wire = Wire.opened()
    turn = wire.run("a")
    wire.receive(refused(400, response_id="never heard of"))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


UNAUTHORIZED = [refused(401), refused(403, None), refused(None, "invalid_api_key"), refused(400, "invalid_api_key")]


@pytest.mark.parametrize("error", UNAUTHORIZED)
def test_credentials_that_the_first_message_refuses_are_every_turns(error: bytes) -> None:
    """P-OWNER-5, R-REFUSAL-3."""
    wire = Wire.opened()
    one, two, unsent = wire.run("a"), wire.run("b"), wire.create("c")
    waiting = wire.create("c")
    wire.receive(error)
    for turn, phase in ((one, Phase.AWAIT), (two, Phase.AWAIT), (unsent, Phase.SEND), (waiting, Phase.LANE_WAIT)):
        assert failed(turn, Cause.ERROR_FRAME, phase, SAFE).evidence.is_refusal


@pytest.mark.parametrize("error", UNAUTHORIZED)
def test_credentials_that_a_later_message_refuses_are_not(error: bytes) -> None:
    """P-OWNER-5."""
    wire = Wire.opened()
    one, two = wire.run("a"), wire.run("b")
    wire.receive(event("keepalive"), error)
    for turn in (one, two):
        failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)


LIMIT = "websocket_connection_limit_reached"


@pytest.mark.parametrize("status", [400, 401, 403])
def test_the_connections_age_goes_before_the_credentials(status: int) -> None:
    """P-OWNER-5 leaves to P-OWNER-6 what has its code, whatever the status."""
    wire = Wire.opened()
    one, two, queued = wire.run("a"), wire.run("b"), wire.create("c")
    wire.receive(refused(status, LIMIT))
    for turn in (one, two):
        failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    assert wire.connection.requeue_unstarted(wire.now) == [queued]


@pytest.mark.parametrize("before", [b"", event("codex.rate_limits"), event("keepalive")])
def test_the_end_of_the_connection_refuses_the_only_turn_that_awaits(before: bytes) -> None:
    """P-OWNER-6, R-REFUSAL-2, R-REFUSAL-3."""
    wire = Wire.opened()
    streaming, turn, queued = wire.run("s"), wire.run("a"), wire.create("b")
    wire.receive(said("created", "r", "s"), before, refused(400, LIMIT))
    assert failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE).evidence.is_refusal
    assert not streaming.ended
    assert wire.connection.requeue_unstarted(wire.now) == [queued]
    assert not queued.ended


def test_p_owner_6_the_end_of_the_connection_is_not_the_default_lanes_while_another_turn_awaits() -> None:
    wire = Wire.opened()
    streaming, turn = wire.run(), wire.run("a")
    wire.receive(said("created", "r"), refused(400, LIMIT))
    assert failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE).evidence.is_refusal
    wire.receive(said("completed", "r"))
    assert streaming.phase is Phase.DONE


@pytest.mark.parametrize("leave", [False, True])
def test_the_end_of_the_connection_refuses_nobody_if_several_await(leave: bool) -> None:
    """P-OWNER-6."""
    wire = Wire.opened()
    one, two = wire.run("a"), wire.run("b")
    if leave:
        wire.connection.cancel(one, wire.now)
    wire.receive(refused(400, LIMIT))
    failed(two, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)


@pytest.mark.parametrize("lane", [None, "a"])
def test_the_end_of_the_connection_ends_the_only_turn_if_it_streams(lane: str | None) -> None:
    wire = Wire.opened()
    turn = wire.run(lane)
    wire.receive(said("created", "r", lane), refused(400, LIMIT))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)
    assert not wire.connection.accepts_turns


def test_the_end_of_the_connection_leaves_turns_that_stream_in_named_lanes() -> None:
    wire = Wire.opened()
    turns = [wire.run(lane) for lane in ("a", "b")]
    wire.receive(said("created", "ra", "a"), said("created", "rb", "b"), refused(400, LIMIT))
    wire.receive(said("completed", "ra", "a"), said("completed", "rb", "b"))
    assert [turn.phase for turn in turns] == [Phase.DONE, Phase.DONE]


def test_an_error_says_the_servers_words() -> None:
    """P-SHAPE-4."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(frame(TEXT, json.dumps({"detail": "upstream is on holiday"})))
    failure = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS, ResponsesWebSocketError)
    assert "upstream is on holiday" in str(failure)


# --- Size ------------------------------------------------------------------------------------------------------------

TOO_BIG = frame(CLOSE, (1009).to_bytes(2, "big") + b"too big")


def test_1009_while_a_large_message_was_being_handed_is_its_refusal() -> None:
    """R-REFUSAL-7, R-1009-2."""
    wire = Wire.opened()
    streaming = wire.run("s")
    wire.receive(said("created", "r", "s"))
    turn = wire.create("a", input="x" * 100_000)
    wire.hand(65536)
    wire.receive(TOO_BIG)
    evidence = failed(turn, Cause.PEER_CLOSED, Phase.SEND, SAFE).evidence
    assert evidence.too_big is True
    assert evidence.is_refusal
    assert "this one has 1000" in str(turn.failure)
    failed(streaming, Cause.PEER_CLOSED, Phase.STREAM, UNSAFE)


def test_1009_while_a_small_message_was_being_handed_was_not_about_it() -> None:
    """R-1009-5."""
    wire = Wire.opened()
    turn = wire.begun()
    wire.receive(TOO_BIG)
    evidence = failed(turn, Cause.PEER_CLOSED, Phase.SEND, SAFE).evidence
    assert evidence.too_big is False
    assert not evidence.is_refusal


def test_1009_says_nothing_of_a_message_that_is_queued() -> None:
    """R-1009-8, and R-EVIDENCE-2: the turn stays in SEND."""
    wire = Wire.opened()
    first, queued = wire.begun("a"), wire.create("b")
    wire.receive(TOO_BIG)
    assert failed(first, Cause.PEER_CLOSED, Phase.SEND, SAFE).evidence.closed_as_too_big
    evidence = failed(queued, Cause.PEER_CLOSED, Phase.SEND, SAFE).evidence
    assert (evidence.too_big, evidence.closed_as_too_big, evidence.close_code) == (None, False, 1009)


def test_1009_after_a_message_was_handed_whole_is_ambiguous() -> None:
    """R-1009-4."""
    wire = Wire.opened()
    turn, waiting = wire.run(input="x" * 100_000), wire.create()
    wire.receive(TOO_BIG)
    evidence = failed(turn, Cause.PEER_CLOSED, Phase.AWAIT, AMBIGUOUS).evidence
    assert evidence.too_big is False
    assert "a message was too big" in str(turn.failure)
    evidence = failed(waiting, Cause.PEER_CLOSED, Phase.LANE_WAIT, SAFE).evidence
    assert evidence.too_big is None


def test_1009_for_a_message_that_is_longer_than_the_servers_limit_is_its_refusal() -> None:
    """R-REFUSAL-7, R-1009-3."""
    small = Dialect(name="small", lanes=LaneSupport.YES, message_limit=50_000)
    wire = Wire.opened(dialect=small)
    turn = wire.run(input="x" * 100_000)
    wire.receive(TOO_BIG)
    evidence = failed(turn, Cause.PEER_CLOSED, Phase.AWAIT, SAFE).evidence
    assert evidence.is_refusal
    assert "the server's limit is 50000" in str(turn.failure)


@pytest.mark.parametrize("leave", [False, True])
def test_1009_with_several_candidates_is_judged_by_their_phases(leave: bool) -> None:
    """R-1009-1, R-1009-6."""
    wire = Wire.opened()
    one, two = wire.run("a", input="x" * 100_000), wire.create("b", input="x" * 100_000)
    wire.hand(65536)
    if leave:
        wire.connection.cancel(one, wire.now)
    wire.receive(TOO_BIG)
    evidence = failed(two, Cause.PEER_CLOSED, Phase.SEND, SAFE).evidence
    assert evidence.too_big is False
    assert not evidence.is_refusal
    assert "one of 2 messages was too big" in str(two.failure)
    if not leave:
        failed(one, Cause.PEER_CLOSED, Phase.AWAIT, AMBIGUOUS)


def test_a_request_that_is_too_large_fails_before_a_byte_is_sent() -> None:
    """R-REFUSAL-6, R-EVIDENCE-3."""
    wire = Wire.opened(max_request_size=1000)
    turn = wire.create("a", input="x" * 1000)
    failure = failed(turn, Cause.TOO_LARGE, Phase.LANE_WAIT, SAFE, RequestTooLargeError)
    size = len(turn.message)
    assert f"the request has {size} bytes, more than 1000 (max_request_size)" in str(failure)
    assert "make it smaller" in meaning(failure.evidence).what_to_do
    assert failure.evidence.is_refusal
    assert wire.hand() == b""
    assert wire.create("a", input="x").phase is Phase.SEND
    assert (wire.connection.stats.turns, wire.connection.stats.failed) == (1, 1)
    assert ResponsesConnection(ENDPOINT, now=0.0).options.max_request_size == 16 * 1024 * 1024


def test_without_a_limit_a_request_of_any_size_is_sent() -> None:
    wire = Wire.opened(max_request_size=None)
    assert wire.create(input="x" * 17_000_000).phase is Phase.SEND


# --- Memory ----------------------------------------------------------------------------------------------------------


def test_small_events_count_as_what_they_hold() -> None:
    wire = Wire.opened(max_buffered=100_000)
    turn, other = wire.run("a"), wire.run("b")
    tiny = event("x", stream_id="a")
    for _ in range(1000):
        wire.receive(tiny)
    failed(turn, Cause.PROTOCOL, Phase.AWAIT, AMBIGUOUS)
    assert not other.ended
    assert wire.connection.stats.orphans > 700


def test_the_turns_that_run_are_bounded_together() -> None:
    wire = Wire.opened(max_buffered_total=20_000)
    one, two = wire.run("a"), wire.run("b")
    wire.receive(said("created", "ra", "a"), said("created", "rb", "b"))
    wire.receive(*[words("x" * 500, "i", "a")] * 6)
    wire.receive(*[words("x" * 500, "i", "b")] * 16)
    assert not one.ended
    assert "max_buffered_total" in str(two.failure)
    wire.receive(*[words("x" * 500, "i", "a")] * 8)  # What the other held does not count any more.
    assert not one.ended
    assert len(types(one)) == 15


def test_what_ended_turns_hold_hurts_nobody() -> None:
    wire = Wire.opened(max_buffered_total=2000)
    done, turn = wire.run("a"), wire.run("b")
    wire.receive(said("completed", "ra", "a", response={"id": "ra", "text": "x" * 3000}))
    wire.receive(said("created", "rb", "b"))
    assert done.phase is Phase.DONE
    assert not turn.ended


def test_what_was_left_is_not_held_any_more() -> None:
    wire = Wire.opened()
    one, two = wire.run("a"), wire.run("b")
    wire.receive(said("created", "ra", "a"), words("x", "i", "a"), said("created", "rb", "b"))
    types(one)
    assert one.buffered == 0 < two.buffered
    wire.connection.cancel(two, wire.now)
    assert two.buffered == 0
