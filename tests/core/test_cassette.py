"""A recording as the script of a server (RECORDING.md, "Cassettes")."""

from __future__ import annotations

from typing import Any

import pytest
from kit.driving import completed, created, delta
from kit.recorded import RecordedRig
from turnwire.sansio.cassette import Cassette
from turnwire.sansio.errors import TransportError, UserError
from turnwire.sansio.server import Asked, Problem, Reply, Transcript


def asked(number: int = 1, **body: Any) -> Asked:
    return Asked(body={"model": "m", **body}, number=number)


def contents(**recording: Any) -> bytes:
    """Turns that say 1, 2 and 2 again; one that is refused, one that is cut, and one that does not end."""
    rig = RecordedRig.connected(recording=recording)
    for said, name in (("1", 1), ("2", 2), ("2", 3)):
        rig.now += 1
        turn = rig.create("a", model="m", input=said)
        rig.now += 2
        rig.say(created(name, "a"))
        rig.now += 0.5
        rig.say(delta(said, "a"), completed(name, "a"))
        rig.driver.cancel(turn, rig.now)
    rig.now += 1
    rig.create(model="m", input="refuse", tools=[{"name": "f"}])
    error = {"code": "invalid_prompt", "message": "No."}
    rig.say({"type": "error", "status": 400, "error": error})
    rig.now += 1
    rig.create("b", model="m", input="cut")
    rig.say(created(9, "b"))
    rig.lost(TransportError("reset"))
    rig.now += 1
    rig.create(model="m", input="open")
    rig.retrieve("resp_1")
    return rig.contents


def said(reply: Reply) -> list[str]:
    assert isinstance(reply.content, Transcript)
    return [str(event.get("delta") or event["response"]["id"]) for event in reply.content.events]


def test_a_request_gets_the_events_of_the_turn_that_asked_the_same_at_its_pace():
    cassette = Cassette(contents())
    second = cassette(asked(input="2", stream=True, client_metadata={"a": "b"}))
    assert said(second) == ["r2", "2", "r2"]
    assert second.latency == [2.0, 0.5, 0.0]
    assert "stream_id" not in second.content.events[0]
    assert said(cassette(asked(2, input="1"))) == ["r1", "1", "r1"]
    assert said(cassette(asked(3, input="2"))) == ["r3", "2", "r3"]
    assert said(cassette(asked(4, input="2"))) == ["r3", "2", "r3"]  # It is repeated.


@pytest.mark.parametrize(("speed", "pauses"), [(2.0, [1.0, 0.25, 0.0]), (None, [0.0, 0.0, 0.0])])
def test_the_pace_can_be_another(speed: float | None, pauses: list[float]):
    assert Cassette(contents(), speed=speed)(asked(input="1")).latency == pauses


def test_a_refusal_is_repeated():
    """F-CASSETTE-2."""
    reply = Cassette(contents())(asked(input="refuse", tools=[{"name": "f"}]))
    assert reply.content == Problem(400, "invalid_prompt", "No.")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"input": "3"}, r"turn 1 of session 1 of the recording asked otherwise: body.input was '1', and is '3'"),
        ({"input": "1", "tools": [1]}, r"body.tools was None, and is \[1\]"),
        ({"input": "cut"}, r"turn 5 of session 1 of the recording has no end \(ConnectionLostError\)"),
        ({"input": "open"}, r"turn 6 .* has no end \(the recording ends before it\)"),
    ],
)
def test_a_request_that_was_not_recorded_says_where_it_differs(body: dict[str, Any], what: str):
    """F-CASSETTE-2."""
    with pytest.raises(UserError, match=what):
        Cassette(contents())(asked(**body))


def test_a_difference_is_found_in_its_place():
    cassette = Cassette(contents())
    for said_before in ("1", "2", "2"):
        cassette(asked(input=said_before))
    with pytest.raises(UserError, match=r"body.tools\[0\].name was 'f', and is 'g'"):
        cassette(asked(input="refuse", tools=[{"name": "g"}]))
    with pytest.raises(UserError, match=r"body.tools\[1\] was None, and is 2"):
        cassette(asked(input="refuse", tools=[{"name": "f"}, 2]))


def test_a_scrubbed_recording_answers_in_order_and_then_no_more():
    cassette = Cassette(contents(scrub=True))
    assert [len(said(cassette(asked(input="anything")))) for _ in range(3)] == [3, 3, 3]
    assert isinstance(cassette(asked(input="x")).content, Problem)
    for _ in range(2):
        with pytest.raises(UserError, match="has no end"):
            cassette(asked(input="x"))
    with pytest.raises(UserError, match="has no more than 6 turns"):
        cassette(asked(input="x"))


def test_what_is_no_cassette_is_refused():
    with pytest.raises(UserError, match="speed is 0"):
        Cassette(contents(), speed=0)
    broken = contents().replace(b'["open",1]', b'["open",2]', 1)
    with pytest.raises(UserError, match="cannot be replayed: line 3"):
        Cassette(broken)
