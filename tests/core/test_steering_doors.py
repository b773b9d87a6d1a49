"""Steering by a session, its driver and its turns, and in recordings. The rules are in ``test_steering.py``."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.driving import completed, created, delta
from kit.machines import answer
from kit.recorded import KEY, RecordedRig
from kit.stepping import SteppedShell, finished
from turnwire.sansio import client
from turnwire.sansio.connection import InputState, Turn, TurnInput
from turnwire.sansio.dialect import OPENAI, Dialect, Support
from turnwire.sansio.errors import SessionClosedError, SteeringNotSupportedError, TransportError
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import Phase, RecoveryPolicy
from turnwire.sansio.steering import InjectOutcome, SteerOutcome, turn_input

ACCEPTED = {"type": "response.steer.accepted", "steer": {"id": "steer_1", "previous_response_id": "r1"}}


def steer(rig: RecordedRig, turn: Turn, given: Any = "left", kind: Any = "steer") -> TurnInput:
    one = turn_input(turn, kind, given, None)
    rig.driver.send_input(one, rig.now)
    return one


def sent(rig: RecordedRig) -> list[Any]:
    """The messages that the server has got since this was last called."""
    data, rig.runtime.written = rig.runtime.written, b""
    return [json.loads(item) for item in rig.server.receive(data) if isinstance(item, bytes)]


def running(**options: Any) -> tuple[RecordedRig, Turn]:
    rig = RecordedRig.connected(**options)
    rig.runtime.written = b""
    turn = rig.create()
    rig.say(created())
    sent(rig)
    return rig, turn


# --- The session and the driver --------------------------------------------------------------------------------------


def test_a_steer_is_written_at_once_and_the_recording_replays_with_its_successor() -> None:
    """F-LINE-2."""
    rig, turn = running()
    one = steer(rig, turn, [{"role": "user", "content": "left"}])
    assert [message["type"] for message in sent(rig)] == ["response.steer"]
    rig.driver.wake_when("waiter", lambda: one.facts.answered, turn)
    rig.say(ACCEPTED)
    assert rig.runtime.woken == ["waiter"]
    rig.driver.forget("waiter")
    rig.say(completed(), created(2), completed(2))
    assert len(turn.responses) == 2
    rig.close()
    (line,) = [entry for entry in rig.entries if entry.do == "steer"]
    assert (line.turn, bytes(line.body)) == (1, b'[{"role":"user","content":"left"}]')
    (watch,) = [entry for entry in rig.entries if entry.do == "observe"]
    assert watch.turn == 1
    (track,) = rig.replayed().sessions[0].turns
    assert [mark.type for mark in track.events].count("response.completed") == 2


def test_a_scrubbed_recording_of_a_steer_replays() -> None:
    rig, turn = running(recording={"scrub": True})
    steer(rig, turn, "the secret is out")
    rig.say(ACCEPTED, completed(), created(2), completed(2))
    rig.close()
    assert b"secret" not in rig.contents
    rig.replayed()


def test_a_credential_in_a_steer_is_not_recorded() -> None:
    """F-SECRET-1."""
    rig, turn = running()
    steer(rig, turn, f"my key is {KEY}")
    rig.close()
    assert KEY.encode() not in rig.contents
    rig.replayed()


def test_a_steer_after_the_end_of_its_turn_is_no_input_of_the_core() -> None:
    rig, turn = running()
    rig.say(completed())
    one = steer(rig, turn)
    rig.driver.cancel(turn, rig.now)
    two = steer(rig, turn)
    assert {one.state, two.state} == {InputState.FAILED}
    rig.close()
    assert "steer" not in [entry.do for entry in rig.entries]
    rig.driver.wake_when("waiter", lambda: True, turn)
    rig.driver.forget("waiter")


def test_a_steer_of_a_turn_that_waits_for_a_connection_goes_with_it() -> None:
    """P-STEER-15, R-STEER-7."""
    rig = RecordedRig(recovery=RecoveryPolicy(initial_delay=0.0))
    turn = rig.create()
    one = steer(rig, turn)
    rig.lost()
    assert (turn.ended, one.state) == (False, InputState.HELD)
    rig.accept()
    rig.runtime.written = b""
    rig.say(created())
    assert one.state is InputState.SENT
    assert [message["type"] for message in sent(rig)] == ["response.steer"]
    rig.close()
    rig.replayed()


def test_a_refused_steer_is_recorded_as_one() -> None:
    rig, turn = running(dialect=Dialect(name="mine", steering=Support.NO))
    with pytest.raises(SteeringNotSupportedError):
        steer(rig, turn)
    rig.close()
    (line,) = [entry for entry in rig.entries if entry.do == "steer"]
    assert line.raised == "SteeringNotSupportedError"
    rig.replayed()


@pytest.mark.parametrize("steering", [Support.NO, Support.YES])
def test_before_there_is_a_connection_the_dialect_decides(steering: Support) -> None:
    rig = RecordedRig(dialect=Dialect(name="mine", steering=steering))
    turn = rig.create()
    rig.lost(TransportError("refused"))
    assert (turn.connection, turn.ended, turn.phase) == (None, False, Phase.LANE_WAIT)
    if steering is Support.NO:
        with pytest.raises(SteeringNotSupportedError):
            steer(rig, turn)
    else:
        assert steer(rig, turn).state is InputState.HELD


def test_a_turn_over_http_is_not_steered() -> None:
    """P-STEER-17."""
    rig = RecordedRig(transport="http")
    turn = rig.create()
    with pytest.raises(SteeringNotSupportedError, match="goes over HTTP"):
        steer(rig, turn)
    rig.driver.opened(rig.link, rig.now)
    with pytest.raises(SteeringNotSupportedError, match="goes over HTTP"):
        steer(rig, turn)
    rig.receive(answer(400, "{}"))
    assert steer(rig, turn).state is InputState.FAILED


def test_a_steer_of_a_turn_that_falls_back_to_http_fails_with_it() -> None:
    """P-STEER-17, P-STEER-18."""
    rig = RecordedRig(transport="auto")
    turn = rig.create()
    one = steer(rig, turn)
    rig.driver.opened(rig.link, rig.now)
    rig.receive(answer(404))
    assert (turn.ended, one.state) == (False, InputState.HELD)
    rig.driver.opened(rig.link, rig.now)
    rig.receive(answer(400, "{}"))
    assert one.error is not None
    assert (turn.ended, one.state, one.error.code) == (True, InputState.FAILED, "not_sent")


def test_who_waits_for_an_outcome_keeps_the_connection_read() -> None:
    rig, turn = running(high_water=0, max_buffered=10_000)
    rig.say(delta())
    assert rig.runtime.calls[-1] == "pause 0"
    one = steer(rig, turn)
    rig.driver.wake_when("waiter", lambda: one.facts.answered, turn)
    assert rig.runtime.calls[-1] == "resume 0"
    rig.say(ACCEPTED)
    assert "wake waiter" in rig.runtime.calls
    rig.driver.forget("waiter")
    rig.say(delta())
    assert rig.runtime.calls[-1] == "pause 0"
    rig.close()
    rig.replayed()


def test_an_injection_is_recorded_and_replays() -> None:

    rig, turn = running(dialect=msgspec.structs.replace(OPENAI, name="mine", injecting=Support.YES))
    one = steer(rig, turn, [{"type": "agent_message"}], "inject")
    assert [message["type"] for message in sent(rig)] == ["response.inject"]
    rig.say({"type": "response.inject.created", "response_id": "r1"}, completed())
    assert one.state is InputState.COMMITTED
    rig.close()
    assert [entry.do for entry in rig.entries if entry.do == "inject"] == ["inject"]
    rig.replayed()


# --- The turn that users hold ----------------------------------------------------------------------------------------


class Runtime:
    """What a turn asks its runtime for."""

    def __init__(self, core: Turn) -> None:
        self.core = core
        self.waited: list[Any] = []

    def create(self, *given: Any) -> Turn:
        return self.core

    async def send_input(self, turn: Turn, kind: Any, given: Any) -> TurnInput:
        one = turn_input(turn, kind, given, None)
        turn.add_input(one)
        return one

    async def until(self, holds: Any, turn: Turn) -> None:
        self.waited.append((holds(), turn))


def test_a_turn_is_steered_by_its_methods() -> None:
    rig, core = running()
    shell = SteppedShell()

    class Held(client.Turn, shell=shell):
        pass

    turn = Held(Runtime(core), {"input": "x"}, AUTO, None)  # type: ignore[arg-type]
    assert (turn.responses, turn.steers, turn.outcomes, turn.response_id) == ([], [], [], None)
    with pytest.raises(SessionClosedError, match="the turn was not sent yet"):
        finished(turn.steer("left"))
    finished(turn.__aenter__())
    assert turn.outcomes == []
    outcome = finished(turn.steer("left"))
    assert isinstance(outcome, SteerOutcome)
    assert (outcome.state, outcome.input) == ("held", "left")
    injected = finished(turn.inject(iter([{"type": "agent_message"}])))
    assert isinstance(injected, InjectOutcome)
    assert [each.input for each in turn.outcomes] == ["left"]
    finished(turn.outcomes[0].settled())
    assert turn._runtime.waited == [(False, core)]  # type: ignore[attr-defined]
    rig.say(completed())
    assert (turn.response_id, len(turn.responses), turn.steers) == ("r1", 1, [[]])
    assert turn.result() is turn.responses[0]
