"""Steers and injections on the client: what is sent, whose the successor is, and what becomes of an input.

The rules are PROTOCOL.md's ("Steering", "Whose error it is") and REPLAY.md's ("Steers and injections").
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import msgspec
import pytest
from kit.machines import Wire, failed, types
from kit.peers import CLOSE, event, frame
from turnwire.sansio.connection import (
    INPUT_FACTS,
    INPUT_TRANSITIONS,
    InputSignal,
    InputState,
    State,
    Turn,
    TurnInput,
    TurnState,
)
from turnwire.sansio.dialect import AZURE, OPENAI, Support
from turnwire.sansio.errors import InvalidInputError, SteeringNotSupportedError, WrongTypeError
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.steering import InjectOutcome, SteerOutcome, turn_input
from turnwire.sansio.timeouts import Timeouts

SAFE, AMBIGUOUS, UNSAFE = Verdict.SAFE, Verdict.AMBIGUOUS, Verdict.UNSAFE
LIMITS = Timeouts(send=5.0, receive=10.0)
UNLIMITED = Timeouts(connect=None, send=None, receive=None)
INJECTING = msgspec.structs.replace(OPENAI, name="mine", injecting=Support.YES)
STUBS = [{"type": "function_call_output", "call_id": "call_1", "name": "f"}]


def at(lane: str | None) -> dict[str, str]:
    return {} if lane is None else {"stream_id": lane}


def begins(response_id: str | None = "r1", lane: str | None = None) -> bytes:
    return event("response.created", response={"id": response_id, "status": "in_progress"}, **at(lane))


def ends(response_id: str = "r1", lane: str | None = None, how: str = "completed", **more: Any) -> bytes:
    return event(f"response.{how}", response={"id": response_id, "status": how, "output": [], **more}, **at(lane))


def cut_short(response_id: str = "r1", lane: str | None = None) -> bytes:
    return ends(response_id, lane, "incomplete", incomplete_details={"reason": "steered"})


def accepted(number: int = 1, response_id: str | None = "r1", lane: str | None = None) -> bytes:
    steer = {"id": f"steer_{number:032x}", "previous_response_id": response_id}
    return event("response.steer.accepted", steer=steer, **at(lane))


def pending(number: int = 1, response_id: str = "r1") -> bytes:
    steer = {"id": f"steer_{number:032x}", "previous_response_id": response_id}
    return event("response.steer.pending", steer=steer, reason="waiting_for_required_input", required_input=STUBS)


def given_back(code: str = "response_not_active", number: int | None = 1, response_id: str | None = "r1") -> bytes:
    known = {} if number is None else {"id": f"steer_{number:032x}"}
    steer = {**known, "previous_response_id": response_id, "input": "left"}
    return event("response.steer.failed", steer=steer, error={"code": code, "message": "no"})


def error(code: str, status: int = 400, **more: Any) -> bytes:
    return event(
        "error", status=status, error={"type": "invalid_request_error", "code": code, "message": "No."}, **more
    )


def running(wire: Wire, response_id: str = "r1", **more: Any) -> Turn:
    """A turn of which a response runs."""
    turn = wire.run(timeouts=LIMITS, **more)
    wire.receive(begins(response_id, turn.lane))
    turn.events.clear()
    return turn


def steered(wire: Wire, **more: Any) -> tuple[Turn, TurnInput]:
    """A turn with a steer that was accepted."""
    turn = running(wire, **more)
    one = wire.steer(turn)
    wire.hand()
    wire.receive(accepted())
    turn.events.clear()
    assert one.state is InputState.ACCEPTED
    return turn, one


# --- What may be sent ------------------------------------------------------------------------------------------------


class Part(msgspec.Struct):
    text: str
    type: str = "input_text"


@dataclasses.dataclass
class Message:
    content: Any
    role: str = "user"


@pytest.mark.parametrize(
    "given",
    [
        "left",
        [{"role": "user", "content": "left"}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "left"}]}],
        ({"role": "user", "content": [{"type": "input_image", "image_url": "x"}, {"type": "input_file"}]},),
        [Message([Part("left")])],
    ],
)
def test_p_steer_15_a_steer_has_exactly_three_members(given: Any) -> None:
    """P-CLIENT-5."""
    wire = Wire.opened()
    turn = running(wire, lane="a")
    one = wire.steer(turn, given)
    (message,) = wire.sent()
    assert message.keys() == {"type", "previous_response_id", "input"}
    assert (message["type"], message["previous_response_id"]) == ("response.steer", "r1")
    assert message["input"] == msgspec.json.decode(one.encoded)
    assert one.given is given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "the input is ''"),
        ([], "the input is []"),
        ({"role": "user", "content": "x"}, "the input is {"),
        (7, "the input is 7"),
        (["x"], "input[0] is 'x', no message"),
        ([{"role": "user"}], "no message"),
        ([{"role": "user", "content": "x"}, {"role": "developer", "content": "x"}], "input[1].role is 'developer'"),
        ([{"content": "x"}], "role is None"),
        ([{"role": "user", "content": "x", "id": "1", "status": "s"}], "has id, status"),
        ([{"type": "function_call_output", "call_id": "1", "output": "x"}], "no message"),
        ([{"role": "user", "content": 7}], "neither text nor a list of parts"),
        ([{"role": "user", "content": ["x"]}], "content[0] is 'x', none of"),
        ([{"role": "user", "content": [{"type": "output_text", "text": "x"}]}], "none of input_text"),
    ],
)
def test_p_steer_17_what_no_server_takes_is_not_sent(given: Any, words: str) -> None:
    wire = Wire.opened()
    turn = running(wire)
    with pytest.raises(InvalidInputError, match=re.escape(words)) as caught:
        wire.steer(turn, given)
    assert caught.value.verdict is SAFE
    assert (wire.sent(), turn.steering) == ([], None)


@pytest.mark.parametrize("given", ["x", [], [7], {"type": "agent_message"}])
def test_p_steer_17_no_items_are_not_injected(given: Any) -> None:
    wire = Wire.opened(dialect=INJECTING)
    with pytest.raises(InvalidInputError, match="the items to inject are"):
        wire.steer(running(wire), given, "inject")


def test_p_steer_17_what_is_too_large_is_not_sent() -> None:
    turn = running(Wire.opened())
    with pytest.raises(InvalidInputError, match="102 bytes, more than 101"):
        turn_input(turn, "steer", "x" * 100, 101)
    with pytest.raises(WrongTypeError):
        turn_input(turn, "steer", [{"role": "user", "content": object()}], None)


def test_p_steer_17_a_server_without_steering_gets_none() -> None:
    wire = Wire(dialect=AZURE)
    wire.accept(dialect="")
    with pytest.raises(SteeringNotSupportedError, match="this server does not take response") as caught:
        wire.steer(running(wire))
    assert caught.value.verdict is SAFE
    assert wire.sent() == []


def test_p_steer_17_an_unknown_server_is_tried_until_it_refuses() -> None:
    """P-OWNER-8."""
    wire = Wire()
    wire.accept(dialect="")
    turn = running(wire)
    one, two = wire.steer(turn), wire.steer(turn)
    wire.hand()
    wire.receive(error("unsupported_event_type", param="type"))
    assert (one.state, two.state) == (InputState.FAILED, InputState.SENT)
    assert one.error is not None
    assert (one.error.code, one.error.message) == ("unsupported_event_type", "No.")
    with pytest.raises(SteeringNotSupportedError):
        wire.steer(turn)
    wire.receive(error("invalid_json"), ends())
    assert (two.state, two.verdict, turn.phase) == (InputState.FAILED, SAFE, Phase.DONE)
    assert wire.connection.stats.orphans == 0


@pytest.mark.parametrize("code", ["unsupported_event_type", "invalid_json", "invalid_prompt"])
def test_p_owner_8_a_steer_that_was_given_up_is_unanswered(code: str) -> None:
    """P-OWNER-3, too. The error that names nothing may be its answer: no other turn is told that it was refused."""
    wire = Wire.opened()
    turn, other = running(wire), wire.run("a", timeouts=UNLIMITED)
    one = wire.steer(turn)
    wire.hand()
    wire.receive(ends())
    assert wire.pass_deadline() == 10.0
    assert (one.verdict, turn.phase, other.phase) == (AMBIGUOUS, Phase.DONE, Phase.AWAIT)
    wire.receive(error(code))
    if code == "invalid_prompt":
        assert other.failure is not None
        assert other.failure.verdict is AMBIGUOUS
        return
    assert (other.phase, other.failure) == (Phase.AWAIT, None)
    wire.receive(error(code))
    assert other.failure is not None
    assert other.failure.verdict is SAFE


def test_p_start_7_the_successor_of_a_steer_that_was_given_up_is_nobodys() -> None:
    wire = Wire.opened()
    (turn, one), other = steered(wire), wire.run("a", timeouts=UNLIMITED)
    assert wire.pass_deadline() == 10.0
    assert (one.state, failed(turn, Cause.TIMEOUT, Phase.STREAM, UNSAFE)) == (InputState.LOST_ACCEPTED, turn.failure)
    wire.receive(ends(), begins("r2"), ends("r2"))
    assert (other.phase, other.failure, types(other)) == (Phase.AWAIT, None, [])
    wire.receive(begins("r3", "a"), ends("r3", "a"))
    assert types(other) == ["response.created", "response.completed"]


def test_p_steer_17_an_injection_needs_a_dialect_that_has_it() -> None:
    wire = Wire.opened()
    turn = running(wire)
    with pytest.raises(SteeringNotSupportedError, match="not known to take response"):
        wire.steer(turn, [{}], "inject")
    wire = Wire(dialect=INJECTING)
    assert b"responses_multi_agent=v1" in wire.connect()


def test_p_client_8_three_types_of_messages_are_sent_and_no_other() -> None:
    """P-CLIENT-7, too: who leaves a turn sends nothing."""
    wire = Wire.opened(dialect=INJECTING)
    turn, left = running(wire), running(wire, "r2", lane="a")
    wire.steer(turn)
    wire.steer(turn, [{"type": "function_call_output", "call_id": "c", "output": "x"}], "inject")
    wire.connection.cancel(left, wire.now)
    sent = wire.sent()
    wire.connection.cancel(turn, wire.now)
    wire.connection.close(wire.now)
    sent += wire.sent()
    assert [message["type"] for message in sent] == ["response.steer", "response.inject"]


# --- When it is sent -------------------------------------------------------------------------------------------------


def test_p_steer_15_a_steer_waits_for_the_response() -> None:
    wire = Wire.opened()
    turn = wire.create(timeouts=LIMITS)
    one = wire.steer(turn)
    assert [message["type"] for message in wire.sent()] == ["response.create"]
    wire.receive(event("response.output_text.delta", delta="x"))
    late = wire.steer(turn)
    assert (turn.phase, wire.sent()) == (Phase.STREAM, [])
    assert (one.facts.word, late.verdict) == ("held", SAFE)
    wire.receive(begins())
    assert [message["previous_response_id"] for message in wire.sent()] == ["r1", "r1"]
    assert {one.state, late.state} == {InputState.SENT}


def test_p_steer_18_what_waits_fails_with_the_end_of_the_turn() -> None:
    wire = Wire.opened()
    turn = wire.run(timeouts=LIMITS)
    one = wire.steer(turn)
    wire.receive(error("bad"))
    assert turn.state is TurnState.FAILED
    two = wire.steer(turn)
    for each in (one, two):
        assert (each.state, each.verdict, each.target) == (InputState.FAILED, SAFE, None)
        assert each.error is not None
        assert each.error.code == "not_sent"
    assert wire.sent() == []


def test_p_steer_15_what_was_not_begun_is_not_sent_to_a_response_that_has_ended() -> None:
    wire = Wire.opened()
    turn = running(wire)
    one = wire.steer(turn)
    wire.receive(ends())
    assert (one.state, turn.phase, wire.sent()) == (InputState.FAILED, Phase.DONE, [])
    assert turn.responses == [turn.response]
    assert turn.steers == [[]]


def test_p_steer_15_what_was_not_begun_goes_to_the_successor() -> None:
    wire = Wire.opened()
    turn = running(wire)
    one = wire.steer(turn)
    wire.receive(cut_short())
    assert (one.state, wire.sent()) == (InputState.HELD, [])
    wire.receive(begins("r2"))
    (message,) = wire.sent()
    assert message["previous_response_id"] == one.target == "r2"


def test_a_steer_fails_with_its_turn_if_no_byte_was_handed() -> None:
    """R-STEER-2, P-STEER-18."""
    wire = Wire.opened()
    turn, other = running(wire, lane="a"), running(wire, "r9", lane="b")
    one = wire.steer(turn)
    wire.connection.cancel(turn, wire.now)
    assert (one.state, one.verdict, wire.sent()) == (InputState.FAILED, SAFE, [])
    assert other.failure is None


# --- Whose the successor is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", [None, "a", AUTO])
def test_p_steer_16_the_successor_belongs_to_the_steered_turn(lane: Any) -> None:
    """P-STEER-1, P-STEER-2, P-STEER-20."""
    wire = Wire.opened()
    turn, one = steered(wire, lane=lane)
    behind = wire.create(turn.lane)
    two = wire.steer(turn, [{"role": "user", "content": "right"}])
    wire.sent()
    wire.receive(accepted(2, lane=turn.lane), ends(lane=turn.lane))
    assert (turn.phase, turn.current_phase, turn.response) == (Phase.AWAIT, Phase.STREAM, None)
    assert (turn.known_id, wire.sent()) == ("r1", [])
    wire.receive(begins("r2", turn.lane))
    assert (one.state, two.state) == (InputState.COMMITTED, InputState.COMMITTED)
    assert (one.successor_id, turn.known_id) == ("r2", "r2")
    wire.receive(ends("r2", turn.lane))
    assert types(turn) == [
        "response.steer.accepted",
        "response.completed",
        "response.created",
        "response.completed",
    ]
    assert [response.id for response in turn.responses] == ["r1", "r2"]
    assert turn.response is not None
    assert (turn.response.id, turn.state) == ("r2", TurnState.DONE)
    first = {"type": "message", "role": "user", "content": "left"}
    assert turn.steers == [[first, {"role": "user", "content": "right"}], []]
    assert [message["type"] for message in wire.sent()] == ["response.create"]
    assert behind.phase is Phase.AWAIT
    assert wire.connection.stats.completed == 1


def test_p_steer_16_a_successor_belongs_to_the_turn_whoever_steered() -> None:
    wire = Wire.opened()
    turn = running(wire)
    behind = wire.create()
    wire.receive(cut_short(), begins("r2"), ends("r2"))
    assert types(turn)[-1] == "response.completed"
    assert [response.id for response in turn.responses] == ["r1", "r2"]
    assert (turn.steers, turn.phase) == ([[], []], Phase.DONE)
    wire.sent()
    wire.receive(begins("r3"), ends("r3"))
    assert behind.response is not None
    assert behind.response.id == "r3"


def test_p_steer_20_somebody_elses_steer_keeps_the_lane() -> None:
    wire = Wire.opened()
    turn = running(wire)
    behind = wire.create()
    wire.receive(accepted(7), ends())
    assert (turn.ended, wire.sent()) == (False, [])
    wire.receive(begins("r2"), ends("r2"))
    assert (turn.steers, turn.phase, behind.phase) == ([[], []], Phase.DONE, Phase.SEND)


@pytest.mark.parametrize("early", [accepted(7), accepted(7, "r0"), accepted(7, None)])
def test_a_steer_that_nobody_can_be_meant_by_changes_nothing(early: bytes) -> None:
    wire = Wire.opened()
    wire.receive(early)
    turn = wire.run()
    wire.receive(early)
    assert wire.connection.stats.orphans == 2
    wire.receive(begins(), accepted(8, "r0"), accepted(9, None), ends())
    assert (turn.phase, turn.steering) == (Phase.DONE, None)


def test_a_successor_may_be_steered_and_limits_count_for_each() -> None:
    """P-STEER-10."""
    wire = Wire.opened()
    turn, _ = steered(wire)
    wire.receive(ends(), begins("r2"))
    two = wire.steer(turn, "on")
    wire.hand()
    wire.receive(accepted(2, "r2"), ends("r2"), begins("r3"))
    assert (two.target, two.successor_id, two.after) == ("r2", "r3", 1)
    wire.receive(ends("r3"))
    assert [len(items) for items in turn.steers] == [1, 1, 0]


def test_between_two_responses_only_the_beginning_of_the_next_one_is_taken() -> None:
    """P-STEER-16."""
    wire = Wire.opened()
    turn, _ = steered(wire)
    wire.receive(ends())
    turn.events.clear()
    late = event("response.output_text.delta", item_id="i9", output_index=0, delta="x")
    wire.receive(ends(), late, event("response.done"), event("response.done", response={"id": "r9"}))
    assert (types(turn), turn.ended) == ([], False)
    assert wire.connection.stats.orphans == 4
    wire.receive(event("keepalive"), event("vendor.note"))
    assert len(types(turn)) == 2
    wire.receive(begins("r1"), ends("r1"))  # A server that gives every response the same id.
    assert (turn.phase, len(turn.responses)) == (Phase.DONE, 2)


@pytest.mark.parametrize("number", [None, 1])
def test_a_steer_that_fails_ends_the_turn_with_its_last_response(number: int | None) -> None:
    """P-STEER-5, P-STEER-16, R-STEER-5."""
    wire = Wire.opened()
    turn = running(wire)
    one = wire.steer(turn)
    wire.hand()
    if number is not None:
        wire.receive(accepted())
    wire.receive(ends())
    behind = wire.create()
    assert (turn.ended, wire.sent()) == (False, [])
    wire.receive(given_back(number=number))
    assert (one.state, one.verdict) == (InputState.FAILED, SAFE)
    assert one.error is not None
    assert one.error.code == "response_not_active"
    assert (turn.phase, turn.response_id, behind.phase) == (Phase.DONE, "r1", Phase.SEND)
    assert turn.ends_with(turn.ending)
    assert (turn.responses, turn.steers) == ([turn.response], [[]])
    assert types(turn)[-2:] == ["response.completed", "response.steer.failed"]
    wire.receive(given_back())
    assert wire.connection.stats.orphans == 1


def test_a_steer_that_fails_while_the_response_runs_changes_nothing_else() -> None:
    wire = Wire.opened()
    turn = running(wire)
    one, two = wire.steer(turn), wire.steer(turn)
    wire.hand()
    wire.receive(given_back("too_many_pending_steers", None), accepted(2), given_back(number=2))
    assert {one.state, two.state} == {InputState.FAILED}
    wire.receive(ends())
    assert turn.phase is Phase.DONE


def test_an_answer_without_the_id_of_a_response_is_the_oldest_ones() -> None:
    """P-STEER-20."""
    wire = Wire.opened()
    turn = running(wire)
    one = wire.steer(turn)
    wire.hand()
    wire.receive(accepted(1, None))
    assert one.state is InputState.ACCEPTED
    wire.receive(accepted(1), event("response.steer.tomorrow", steer={"id": one.steer_id}))
    assert (one.state, len(types(turn))) == (InputState.ACCEPTED, 3)


def test_an_event_with_the_id_of_a_settled_steer_answers_no_other() -> None:
    """P-STEER-20."""
    wire = Wire.opened()
    turn, one = steered(wire)
    wire.receive(given_back())
    two = wire.steer(turn)
    wire.hand()
    wire.receive(given_back(), accepted(1))
    assert (one.state, two.state) == (InputState.FAILED, InputState.SENT)
    wire.receive(accepted(2), accepted(2))
    assert (two.state, two.steer_id) == (InputState.ACCEPTED, f"steer_{2:032x}")


@pytest.mark.parametrize("answer", [given_back("invalid_input", None), ends("r2"), begins("r2")])
def test_a_promised_successor_is_awaited_although_another_steer_fails(answer: bytes) -> None:
    """P-STEER-16."""
    wire = Wire.opened()
    turn = running(wire)
    wire.steer(turn)
    wire.hand()
    wire.receive(cut_short(), answer)
    assert not turn.ended
    wire.receive(begins("r2"), given_back("invalid_input", None), ends("r2"))
    assert (turn.phase, len(turn.responses)) == (Phase.DONE, 2)


def test_a_server_may_leave_ids_out() -> None:
    """P-STEER-20."""
    wire = Wire.opened()
    turn = running(wire)
    one, two, three = wire.steer(turn), wire.steer(turn), wire.steer(turn)
    wire.hand()
    wire.receive(*[event("response.steer.accepted"), event("response.steer.accepted")])
    assert (one.state, two.state, three.state) == (InputState.ACCEPTED, InputState.ACCEPTED, InputState.SENT)
    wire.receive(event("response.steer.failed"), ends())
    wire.receive(event("response.steer.pending"), event("response.steer.pending", required_input=STUBS))
    assert (one.state, two.state, three.state) == (InputState.FAILED, InputState.PENDING, InputState.PENDING)
    assert (three.required_input, turn.phase) == (STUBS, Phase.DONE)


def test_a_successor_whose_creation_failed_does_not_follow() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    wire.receive(cut_short(), given_back("successor_creation_failed"))
    assert turn.response is not None
    assert (turn.response.status, one.state) == ("incomplete", InputState.FAILED)


# --- Pending ---------------------------------------------------------------------------------------------------------


def stopped(wire: Wire, **more: Any) -> tuple[Turn, TurnInput]:
    """A turn that stopped for tools of the client, with a pending steer."""
    turn, one = steered(wire, **more)
    wire.receive(ends(lane=turn.lane), pending())
    assert (turn.phase, one.state, one.required_input) == (Phase.DONE, InputState.PENDING, STUBS)
    assert types(turn) == ["response.completed", "response.steer.pending"]
    assert turn.steers == [[{"type": "message", "role": "user", "content": "left"}]]
    return turn, one


@pytest.mark.parametrize("lane", [None, "a"])
@pytest.mark.parametrize("wanted", ["the same", AUTO])
def test_p_steer_19_the_turn_that_fills_the_stubs_goes_ahead(lane: str | None, wanted: Any) -> None:
    """P-STEER-3."""
    wire = Wire.opened()
    turn, one = stopped(wire, lane=lane)
    behind = wire.create(lane)
    fork = wire.create("fork", previous_response_id="r1")
    elsewhere = wire.create("b")
    assert [message.get("stream_id") for message in wire.sent()] == ["fork", "b"]
    fill = wire.create(lane if wanted == "the same" else AUTO, previous_response_id="r1", generate=True)
    assert [message.get("stream_id") for message in wire.sent()] == [lane]
    assert (fill.lane, fill.phase, behind.phase) == (lane, Phase.AWAIT, Phase.LANE_WAIT)
    assert one.state is InputState.PENDING
    wire.receive(begins("r2", lane))
    assert (one.state, one.successor_id, fill.steers) == (InputState.COMMITTED, "r2", [])
    assert turn.steers != [[]]
    wire.receive(ends("r2", lane))
    assert (fill.phase, fill.steers, len(fill.responses)) == (Phase.DONE, [[]], 1)
    assert (behind.phase, fork.phase, elsewhere.phase) == (Phase.SEND, Phase.AWAIT, Phase.AWAIT)


@pytest.mark.parametrize("lane", [None, "a"])
@pytest.mark.parametrize("wanted", ["the same", AUTO])
@pytest.mark.parametrize("continues", ["r1", "w1"])
@pytest.mark.parametrize("early", [False, True])
def test_p_steer_11_a_warm_up_goes_ahead_and_leaves_the_steers_to_the_next_turn(
    lane: str | None, wanted: Any, continues: str, early: bool
) -> None:
    """P-STEER-19."""
    wire = Wire.opened()
    _, one = stopped(wire, lane=lane)
    given = lane if wanted == "the same" else AUTO
    behind = wire.create(lane)
    warm = wire.create(given, previous_response_id="r1", generate=False)
    assert [message.get("stream_id") for message in wire.sent()] == [lane]
    fill = wire.create(given, previous_response_id="r1") if early else None
    wire.receive(begins("w1", lane))
    assert (one.state, wire.sent()) == (InputState.PENDING, [])
    wire.receive(ends("w1", lane))
    assert (warm.phase, behind.phase) == (Phase.DONE, Phase.LANE_WAIT)
    fill = fill or wire.create(given, previous_response_id=continues)
    assert [message["previous_response_id"] for message in wire.sent()] == ["r1" if early else continues]
    assert (fill.lane, fill.phase, behind.phase) == (lane, Phase.AWAIT, Phase.LANE_WAIT)
    wire.receive(begins("r2", lane))
    assert (one.state, one.successor_id) == (InputState.COMMITTED, "r2")
    wire.receive(ends("r2", lane))
    assert behind.phase is Phase.SEND


def test_p_steer_19_after_a_warm_up_the_reservation_ends_when_it_would_have() -> None:
    wire = Wire.opened(ping_interval=None)
    _, one = stopped(wire)
    warm = wire.create(previous_response_id="r1", generate=False, timeouts=Timeouts())
    behind = wire.create(timeouts=Timeouts())
    wire.hand()
    wire.receive(begins("w1"))
    wire.now += LIMITS.receive
    wire.receive(ends("w1"))
    assert (warm.phase, behind.phase, one.state) == (Phase.DONE, Phase.SEND, InputState.PENDING)
    again = wire.create(previous_response_id="r1", generate=False, timeouts=Timeouts())
    assert again.phase is Phase.LANE_WAIT


def test_p_steer_19_a_fork_does_not_fill_the_stubs_of_its_source() -> None:
    wire = Wire.opened()
    _, one = stopped(wire, lane="a")
    turn = Turn.from_body({"previous_response_id": "r1"}, lane=AUTO, timeouts=UNLIMITED, now=wire.now)
    turn.forks = True
    wire.connection.submit(turn, wire.now)
    assert [message["stream_id"] for message in wire.sent()] == ["auto-1"]
    assert one.state is InputState.PENDING


def test_p_steer_19_two_steers_are_pending_and_are_filled_together() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    two = wire.steer(turn, "right")
    wire.hand()
    wire.receive(accepted(2), ends(), pending(1))
    assert not turn.ended
    wire.receive(pending(2))
    assert (turn.phase, len(turn.steers[0])) == (Phase.DONE, 2)
    wire.create(previous_response_id="r1")
    wire.hand()
    wire.receive(begins("r2"))
    assert {one.state, two.state} == {InputState.COMMITTED}


def test_a_steer_that_is_pending_before_the_end_of_its_response_is_pending_after_it() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    wire.receive(pending())
    assert (turn.ended, one.after) == (False, None)
    wire.receive(ends())
    assert (turn.phase, one.after) == (Phase.DONE, 0)
    assert wire.create().phase is Phase.LANE_WAIT


def test_p_steer_19_the_reservation_ends() -> None:
    wire = Wire.opened(ping_interval=None)
    _, one = stopped(wire)
    behind = wire.create(timeouts=Timeouts())
    assert wire.pass_deadline() == LIMITS.receive
    assert (behind.phase, one.state) == (Phase.SEND, InputState.PENDING)
    wire.hand()
    wire.receive(begins("r2"), ends("r2"))
    wire.create(previous_response_id="r1")
    wire.hand()
    wire.receive(begins("r3"))
    assert one.state is InputState.COMMITTED


def test_p_steer_19_the_reservation_ends_if_the_steers_are_given_back() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    two = wire.steer(turn)
    wire.hand()
    wire.receive(accepted(2), ends(), pending(1), pending(2))
    behind = wire.create()
    wire.receive(given_back(number=2))
    assert (two.state, behind.phase) == (InputState.FAILED, Phase.LANE_WAIT)
    wire.receive(given_back())
    assert (one.state, behind.phase, turn.steers) == (InputState.FAILED, Phase.SEND, [[]])
    assert wire.connection.stats.orphans == 2


def test_p_steer_19_steers_may_be_given_back_after_the_turn_that_fills_the_stubs_was_sent() -> None:
    wire = Wire.opened()
    _, one = stopped(wire)
    wire.create(previous_response_id="r1")
    wire.hand()
    wire.receive(given_back(), begins("r2"), ends("r2"))
    assert (one.state, one.successor_id) == (InputState.FAILED, None)


def test_p_steer_19_without_limits_the_lane_stays_reserved() -> None:
    wire = Wire.opened(ping_interval=None)
    turn, _ = steered(wire)
    turn.timeouts = UNLIMITED
    wire.receive(ends(), pending())
    assert (wire.create(timeouts=UNLIMITED).phase, wire.connection.next_deadline()) == (Phase.LANE_WAIT, None)


def test_p_steer_19_the_lane_of_a_turn_that_was_left_is_not_reserved() -> None:
    wire = Wire.opened(leave="abandon")
    turn, one = steered(wire)
    wire.connection.cancel(turn, wire.now)
    behind = wire.create()
    wire.receive(ends())
    assert (turn.ended, wire.sent(), behind.phase) == (True, [], Phase.LANE_WAIT)
    wire.receive(pending())
    assert (behind.phase, one.state) == (Phase.SEND, InputState.PENDING)


def test_p_steer_19_without_lanes_nothing_else_starts() -> None:
    wire = Wire()
    wire.accept(dialect="no-lanes")
    turn, _ = stopped(wire)
    behind = wire.create("other")
    assert wire.sent() == []
    fill = wire.create("another", previous_response_id="r1")
    assert (fill.phase, behind.phase, turn.phase) == (Phase.SEND, Phase.LANE_WAIT, Phase.DONE)


def test_p_steer_19_without_its_response_the_pending_steers_are_unknown() -> None:
    wire = Wire.opened()
    _, one = stopped(wire)
    fill = wire.create(previous_response_id="r1")
    wire.hand()
    wire.receive(error("bad"))
    failed(fill, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert (one.state, one.verdict) == (InputState.LOST_ACCEPTED, UNSAFE)


def test_a_turn_that_is_moved_leaves_the_pending_steers() -> None:
    wire = Wire.opened(max_in_flight=1)
    _, one = stopped(wire)
    running(wire, "r8", lane="b")
    fill = wire.create(previous_response_id="r1")
    wire.connection.drain()
    assert wire.connection.requeue_unstarted(wire.now) == [fill]
    assert one.state is InputState.LOST_ACCEPTED


def test_pending_steers_of_a_lane_replace_older_ones_and_end_with_the_connection() -> None:
    wire = Wire.opened(ping_interval=None)
    _, one = stopped(wire)
    wire.pass_deadline()
    turn = running(wire, "r2")
    two = wire.steer(turn)
    wire.hand()
    wire.receive(accepted(2, "r2"), ends("r2"), pending(2, "r2"))
    assert (one.state, two.state) == (InputState.LOST_ACCEPTED, InputState.PENDING)
    wire.eof()
    assert (two.state, two.verdict, turn.steers) == (InputState.LOST_ACCEPTED, UNSAFE, [[]])


# --- The end of the connection ---------------------------------------------------------------------------------------


def test_r_steer_6_each_steer_is_judged_by_how_far_it_got() -> None:
    """R-STEER-6. P-STEER-7, R-STEER-2 to R-STEER-4, R-STEER-7."""
    wire = Wire.opened()
    turn, known = steered(wire)
    sent = wire.steer(turn)
    wire.hand()
    begun, unsent = wire.steer(turn), wire.steer(turn)
    wire.hand(3)
    wire.eof()
    assert (known.state, known.verdict) == (InputState.LOST_ACCEPTED, UNSAFE)
    assert (sent.state, sent.verdict) == (InputState.LOST, AMBIGUOUS)
    for one in (begun, unsent):
        assert (one.state, one.verdict) == (InputState.FAILED, SAFE)
        assert one.error is not None
        assert one.error.code == "not_sent"
    failed(turn, Cause.EOF, Phase.STREAM, UNSAFE)


def test_r_steer_7_a_turn_between_two_responses_is_unsafe() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    wire.receive(ends(), event("vendor.note"))
    wire.eof()
    failure = failed(turn, Cause.EOF, Phase.STREAM, UNSAFE)
    assert (failure.evidence.response_id, one.state) == ("r1", InputState.LOST_ACCEPTED)
    assert [response.id for response in turn.responses] == ["r1"]
    assert turn.response is None


def test_a_connection_wide_error_leaves_a_turn_between_two_responses() -> None:
    """P-OWNER-4, P-OWNER-6."""
    wire = Wire.opened()
    turn, _ = steered(wire, lane="a")
    wire.receive(ends(lane="a"))
    other, third = wire.run("b"), wire.run("c")
    wire.receive(error("bad"))
    assert (turn.ended, other.ended, third.ended) == (False, True, True)
    wire.receive(error("websocket_connection_limit_reached"))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)


def test_a_connection_limit_refuses_only_the_turn_that_awaits() -> None:
    wire = Wire.opened()
    turn, _ = steered(wire, lane="a")
    wire.receive(ends(lane="a"))
    other = wire.run("b")
    wire.receive(error("websocket_connection_limit_reached"))
    failed(other, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert (turn.ended, wire.state) == (False, State.ENDING)
    wire.receive(begins("r2", "a"))
    one = wire.steer(turn)
    assert [message["type"] for message in wire.sent()] == ["response.steer"]
    assert one.state is InputState.SENT


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_p_owner_8_a_mistake_refuses_no_turn_while_a_steer_is_unanswered() -> None:
    wire = Wire.opened()
    turn, other = running(wire, lane="a"), wire.run()
    one = wire.steer(turn)
    wire.hand()
    wire.receive(error("unsupported_event_type", stream_id="a"))
    assert (one.state, turn.ended, other.ended) == (InputState.FAILED, False, False)
    wire.receive(error("unsupported_event_type"))
    failed(other, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


def test_p_owner_3_an_error_without_a_name_may_be_the_answer_to_a_steer() -> None:
    wire = Wire.opened()
    turn = running(wire, lane="a")
    one = wire.steer(turn)
    wire.hand()
    wire.receive(error("bad"))
    assert (turn.ended, one.state, wire.state) == (False, InputState.SENT, State.DRAINING)
    wire.receive(accepted(), error("bad"))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)


def test_a_turn_whose_response_broke_off_keeps_the_lane_for_its_steers() -> None:
    """P-STEER-16."""
    wire = Wire.opened()
    turn, one = steered(wire)
    behind = wire.create()
    unsent = wire.steer(turn)
    wire.receive(error("server_error", 500))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)
    assert (turn.state, behind.phase, one.state) == (TurnState.ABANDONED, Phase.LANE_WAIT, InputState.ACCEPTED)
    assert (unsent.state, wire.sent()) == (InputState.FAILED, [])
    wire.receive(given_back())
    assert (one.state, behind.phase) == (InputState.FAILED, Phase.SEND)
    assert wire.connection.stats.failed == 1


def test_the_successor_of_a_response_that_broke_off_is_nobodys() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    behind = wire.create()
    wire.receive(error("server_error", 500), begins("r2"), ends("r2"))
    assert (one.state, behind.phase, len(turn.events)) == (InputState.COMMITTED, Phase.SEND, 0)
    assert (turn.responses, turn.steers) == ([], [])


def test_p_owner_9_an_error_between_two_responses_is_that_of_the_successor() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    wire.receive(ends())
    behind = wire.create()
    wire.receive(error("server_error", 500))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)
    assert (one.state, behind.phase) == (InputState.LOST_ACCEPTED, Phase.SEND)
    assert [response.id for response in turn.responses] == ["r1"]


def test_p_owner_9_a_steer_without_an_answer_keeps_the_lane_after_such_an_error() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    two = wire.steer(turn)
    wire.hand()
    wire.receive(ends())
    behind = wire.create()
    wire.receive(error("server_error", 500))
    assert (one.state, two.state) == (InputState.LOST_ACCEPTED, InputState.SENT)
    assert (turn.state, behind.phase) == (TurnState.ABANDONED, Phase.LANE_WAIT)
    wire.receive(given_back("response_already_completed", None))
    assert (two.state, behind.phase) == (InputState.FAILED, Phase.SEND)


# --- Deadlines -------------------------------------------------------------------------------------------------------


def test_p_steer_21_a_steer_that_is_not_handed_in_time_is_not_sent() -> None:
    wire = Wire.opened(ping_interval=None)
    turn = running(wire)
    one = wire.steer(turn)
    assert wire.pass_deadline() == LIMITS.send
    assert (one.state, turn.ended, wire.sent()) == (InputState.FAILED, False, [])


def test_p_steer_21_a_steer_that_is_cut_in_the_middle_ends_all_writing() -> None:
    """R-STEER-2."""
    wire = Wire.opened(ping_interval=None)
    turn = running(wire)
    one, two = wire.steer(turn), wire.steer(turn)
    wire.hand(3)
    wire.pass_deadline()
    assert (one.state, two.state, one.verdict) == (InputState.FAILED, InputState.FAILED, SAFE)
    assert (wire.state, turn.ended, wire.connection.has_data_to_send) == (State.WRITE_DISABLED, False, False)
    three = wire.steer(turn)
    assert three.error is not None
    assert (three.state, three.error.code) == (InputState.FAILED, "not_sent")
    wire.receive(ends())
    assert (turn.phase, wire.state) == (Phase.DONE, State.CLOSED)


def test_p_steer_21_a_steer_that_nobody_answers_is_unknown() -> None:
    wire = Wire.opened(ping_interval=None)
    turn = running(wire)
    one = wire.steer(turn)
    turn.timeouts = Timeouts(send=5.0, receive=None)
    assert one.deadline() == wire.now + 5.0
    wire.hand()
    assert one.deadline() is None
    turn.timeouts = LIMITS
    wire.now += 9.0
    wire.receive(event("response.output_text.delta", item_id="i", output_index=0, delta="x"))
    turn.events.clear()
    wire.pass_deadline()
    assert (one.state, one.verdict) == (InputState.LOST, AMBIGUOUS)
    assert (turn.ended, wire.state) == (False, State.DRAINING)
    wire.receive(accepted(), ends(), begins("r2"), ends("r2"))  # The turn still gets its successor.
    assert (one.state, turn.phase, len(turn.responses)) == (InputState.LOST, Phase.DONE, 2)


@pytest.mark.parametrize("late", [accepted(1) + given_back(), given_back(number=None)], ids=["accepted", "refused"])
def test_p_steer_20_a_late_answer_is_not_that_of_a_later_steer(late: bytes) -> None:
    """P-STEER-20, P-STEER-21: else the second is said to be SAFE when the first is given back."""
    wire = Wire.opened(ping_interval=None)
    turn = running(wire)
    one = wire.steer(turn)
    wire.hand()
    wire.now += 9.0
    wire.receive(event("response.output_text.delta", item_id="i", output_index=0, delta="x"))
    turn.events.clear()
    wire.pass_deadline()
    assert one.state is InputState.LOST
    other = wire.steer(turn)
    wire.hand()
    wire.receive(late)
    assert (one.state, other.state) == (InputState.LOST, InputState.SENT)
    wire.receive(accepted(2), given_back(number=2))
    assert (other.state, other.verdict) == (InputState.FAILED, SAFE)


def test_p_steer_20_what_comes_late_for_an_accepted_steer_without_an_id_is_not_a_later_steers() -> None:
    """R-STEER-4, P-STEER-21: it was accepted without an id, and given up with its turn."""
    wire = Wire.opened(ping_interval=None)
    turn = running(wire, lane="a")
    one = wire.steer(turn)
    wire.hand()
    wire.receive(event("response.steer.accepted"), ends(lane="a"))
    turn.events.clear()
    wire.now += 1.0
    other = running(wire, "r9", lane="b")
    wire.pass_deadline()
    assert (one.state, one.verdict, turn.ended, other.ended) == (InputState.LOST_ACCEPTED, UNSAFE, True, False)
    two = wire.steer(other)
    wire.hand()
    wire.receive(event("response.steer.failed"))
    assert (two.state, two.verdict) == (InputState.SENT, AMBIGUOUS)
    wire.receive(event("response.steer.accepted"))
    assert (two.state, two.verdict) == (InputState.ACCEPTED, UNSAFE)


def test_p_steer_21_a_successor_that_never_comes_ends_the_turn_in_time() -> None:
    wire = Wire.opened(ping_interval=None)
    turn, one = steered(wire, lane="a")
    other = running(wire, "r9", lane="b")
    wire.receive(ends(lane="a"))
    turn.events.clear()
    wire.now += 1.0
    wire.receive(event("response.in_progress", response={"id": "r9"}, stream_id="b"))
    other.events.clear()
    wire.pass_deadline()
    failure = failed(turn, Cause.TIMEOUT, Phase.STREAM, UNSAFE)
    assert "the response that was to follow the steered one did not begin" in str(failure)
    assert (one.state, one.verdict) == (InputState.LOST_ACCEPTED, UNSAFE)
    assert (wire.state, other.ended) == (State.DRAINING, False)


def test_p_steer_21_a_turn_that_was_left_keeps_its_lane_no_longer_than_its_limits() -> None:
    wire = Wire.opened(ping_interval=None, leave="abandon")
    turn, one = steered(wire)
    wire.connection.cancel(turn, wire.now)
    wire.receive(ends())
    assert one.state is InputState.ACCEPTED
    wire.pass_deadline()
    assert (turn.state, one.state, wire.state) == (TurnState.OVERDUE, InputState.LOST_ACCEPTED, State.DRAINING)


def test_a_turn_that_was_left_keeps_its_lane_until_the_end_of_the_successor() -> None:
    wire = Wire.opened(leave="abandon")
    turn, one = steered(wire)
    behind = wire.create()
    wire.connection.cancel(turn, wire.now)
    wire.receive(ends(), begins("r2"))
    assert (one.state, behind.phase, wire.sent()) == (InputState.COMMITTED, Phase.LANE_WAIT, [])
    wire.receive(ends("r2"))
    assert (behind.phase, wire.connection.stats.completed) == (Phase.SEND, 0)


# --- Close code 1009 -------------------------------------------------------------------------------------------------

TOO_BIG = frame(CLOSE, (1009).to_bytes(2, "big"))


def test_a_steer_is_a_candidate_for_1009() -> None:
    """R-1009-1, R-1009-3, R-1009-4."""
    wire = Wire.opened()
    turn = running(wire)
    one = wire.steer(turn)
    wire.hand()
    wire.receive(TOO_BIG)
    assert (one.state, one.verdict) == (InputState.LOST, AMBIGUOUS)
    failed(turn, Cause.PEER_CLOSED, Phase.STREAM, UNSAFE)


def test_a_steer_that_is_longer_than_the_servers_limit_is_the_one() -> None:
    """R-1009-2, R-1009-3, P-STEER-18."""
    wire = Wire.opened(dialect=msgspec.structs.replace(OPENAI, name="small", message_limit=100))
    turn = running(wire)
    one = wire.steer(turn, "x" * 100)
    wire.hand()
    wire.receive(TOO_BIG)
    assert one.error is not None
    assert (one.state, one.verdict, one.error.code) == (InputState.FAILED, SAFE, "message_too_big")


def test_a_large_steer_that_is_being_handed_is_the_one() -> None:
    """R-1009-2."""
    wire = Wire.opened()
    turn = running(wire)
    one = wire.steer(turn, "x" * 20_000)
    wire.hand(10)
    wire.receive(TOO_BIG)
    assert one.error is not None
    assert (one.state, one.error.code) == (InputState.FAILED, "message_too_big")


def test_with_a_steer_nobody_is_the_only_candidate_for_1009() -> None:
    wire = Wire.opened()
    turn, other = running(wire, lane="a"), wire.run("b")
    wire.steer(turn)
    wire.hand()
    wire.receive(TOO_BIG)
    assert "one of 2 messages was too big" in str(failed(other, Cause.PEER_CLOSED, Phase.AWAIT, AMBIGUOUS))


# --- Injection -------------------------------------------------------------------------------------------------------


def injected(kind: str, response_id: str = "r1", **more: Any) -> bytes:
    return event(f"response.inject.{kind}", response_id=response_id, **more)


def test_an_injection_has_two_outcomes_and_keeps_no_lane() -> None:
    """P-CLIENT-6, P-STEER-12, P-STEER-20, R-STEER-3 to R-STEER-5."""
    wire = Wire.opened(dialect=INJECTING)
    turn = running(wire, lane="a")
    items = [{"type": "agent_message", "author": "/root", "recipient": "/root/a", "content": []}]
    first, second, third = (wire.steer(turn, items, "inject") for _ in range(3))
    (message, *_) = wire.sent()
    assert message == {"type": "response.inject", "response_id": "r1", "input": items}
    wire.receive(injected("created"), injected("failed", error={"code": "response_not_found"}, input=items))
    assert (first.state, first.verdict) == (InputState.COMMITTED, UNSAFE)
    assert (second.state, second.verdict) == (InputState.FAILED, SAFE)
    wire.receive(injected("created", "r7"), ends(lane="a"))
    assert (third.state, turn.phase, turn.steers) == (InputState.SENT, Phase.DONE, [[]])
    wire.receive(injected("failed", error={"code": "response_already_completed"}))
    assert third.state is InputState.FAILED


def test_an_injection_that_nobody_answers_is_unknown_and_the_connection_goes_on() -> None:
    wire = Wire.opened(dialect=INJECTING, ping_interval=None)
    turn = running(wire)
    one = wire.steer(turn, [{}], "inject")
    wire.hand()
    wire.receive(ends())
    assert turn.phase is Phase.DONE
    wire.pass_deadline()
    assert (one.state, wire.state) == (InputState.LOST, State.OPEN)


def test_an_injection_may_come_too_late_for_an_exception() -> None:
    """P-STEER-18."""
    wire = Wire.opened(dialect=INJECTING)
    turn = wire.run()
    one, two = wire.steer(turn, [{}], "inject"), wire.steer(turn)
    wire.connection._inputs.refused |= {"inject", "steer"}
    wire.receive(begins())
    assert one.error is not None
    assert two.error is not None
    assert (one.error.code, two.error.code) == ("unsupported_event_type", "steering_not_supported")
    assert wire.sent() == []


# --- The tables and the outcomes -------------------------------------------------------------------------------------


def test_every_state_of_an_input_has_a_meaning_and_only_its_own_moves() -> None:
    """R-STEER-1. R-STEER-1."""
    assert INPUT_TRANSITIONS.keys() == INPUT_FACTS.keys() == set(InputState)
    final = {state for state, moves in INPUT_TRANSITIONS.items() if not moves}
    assert final == {InputState.COMMITTED, InputState.FAILED, InputState.LOST, InputState.LOST_ACCEPTED}
    assert {signal for moves in INPUT_TRANSITIONS.values() for signal in moves} == set(InputSignal)
    for state, facts in INPUT_FACTS.items():
        assert facts.unsettled is (state not in final | {InputState.PENDING})
        for other in INPUT_TRANSITIONS[state].values():
            if facts.verdict is not SAFE and other is not InputState.FAILED:
                assert INPUT_FACTS[other].verdict is not SAFE


def test_an_outcome_says_what_is_known_now() -> None:
    wire = Wire.opened()
    turn, one = steered(wire)
    waits: list[Any] = []
    outcome = SteerOutcome(one, lambda holds, of: waits.append((holds, of)))  # type: ignore[arg-type]
    assert (outcome.state, outcome.verdict, outcome.input, outcome.response_id) == ("accepted", UNSAFE, "left", "r1")
    assert (outcome.steer_id, outcome.code, outcome.message) == (one.steer_id, None, None)
    assert repr(outcome) == "<SteerOutcome accepted of 'r1'>"
    outcome.settled()
    ((holds, of),) = waits
    assert (holds(), outcome.is_settled, of) == (False, False, turn)
    wire.receive(ends(), pending())
    assert (outcome.state, outcome.required_input, holds()) == ("pending", STUBS, True)
    assert outcome.required_input[0] is not STUBS[0]
    assert (outcome.successor_id, repr(one)) == (None, "<steer pending of 'r1'>")
    late = InjectOutcome(turn_input(turn, "inject", [{}], None))
    turn.add_input(late._core)
    assert (late.state, late.code) == ("failed", "response_already_completed")
    assert repr(late) == "<InjectOutcome failed of None code='response_already_completed'>"
    assert late.message == "the turn ended before it could be sent"


def test_what_was_read_of_a_steered_turn_is_that_of_its_present_response() -> None:
    wire = Wire.opened()
    turn, _ = steered(wire)
    words = {"item_id": "m", "output_index": 0, "content_index": 0}
    wire.receive(event("response.output_text.delta", delta="one", **words), ends(), begins("r2"))
    types(turn)
    assert turn.partial.response_id == "r2"
    wire.receive(event("response.output_text.delta", delta="two", **words))
    types(turn)
    assert turn.partial.text == "two"
