"""Steering on the server's side: accepted, committed by a successor, pending, or given back."""

from __future__ import annotations

from typing import Any

import pytest
from kit.server_client import Client, complete
from turnwire.sansio.server import ServerTurn
from turnwire.sansio.server._steering import MAX_STEERS

CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
CUSTOM = {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": ""}


def begin(client: Client, response_id: str = "resp_1", **body: Any) -> ServerTurn:
    turn = client.run(**{"model": "gpt-6-sol", "input": "go", **body})
    turn.emit({"type": "response.created", "response": {"id": response_id}})
    client.read()
    return turn


def steer(client: Client, given: Any = "left", target: str = "resp_1", **more: Any) -> dict[str, Any]:
    client.send({"type": "response.steer", "previous_response_id": target, "input": given, **more})
    (event,) = client.read()
    return event


def end(client: Client, turn: ServerTurn, response_id: str = "resp_1", output: tuple[Any, ...] = ()) -> list[Any]:
    turn.emit({"type": "response.completed", "response": {"id": response_id, "output": list(output)}})
    return client.read()[1:]


def said(turn: ServerTurn) -> list[Any]:
    return [item["content"] for item in turn.request["input"]]


@pytest.mark.parametrize("lane", [None, "a"])
def test_a_steer_is_accepted_and_its_successor_goes_before_the_turns_that_wait(
    client: Client, lane: str | None
) -> None:
    """P-STEER-1, P-STEER-2, P-STEER-9, P-STEER-10, P-STEER-14."""
    where = {} if lane is None else {"stream_id": lane}
    turn = begin(client, temperature=1, **where)
    first, second = steer(client), steer(client, [{"role": "user", "content": "right"}])
    assert first == {
        "type": "response.steer.accepted",
        "steer": {"id": f"steer_{1:032x}", "previous_response_id": "resp_1"},
        "sequence_number": 1,
        **where,
    }
    assert second["steer"]["id"] == f"steer_{2:032x}"
    client.create(model="gpt-6-sol", input="later", **where)
    assert end(client, turn) == []
    successor = client.server.next_request()
    assert successor is not None
    assert client.server.next_request() is None
    assert said(successor)[1:] == ["right"]
    assert (successor.lane, successor.request["temperature"]) == (lane, 1)
    assert successor.request["previous_response_id"] == "resp_1"
    assert successor.previous is not None
    successor.emit({"type": "response.created", "response": {"id": "resp_2"}})
    client.read()
    assert steer(client, target="resp_2")["type"] == "response.steer.accepted"
    end(client, successor, "resp_2")
    last = client.server.next_request()
    assert last is not None
    complete(last, "resp_3")
    later = client.server.next_request()
    assert later is not None
    assert later.request["input"] == "later"


@pytest.fixture
def client() -> Client:
    return Client(strict=True)


def test_a_steer_waits_for_the_outputs_of_the_client_and_goes_in_front_of_them(client: Client) -> None:
    """P-STEER-3, P-STEER-4, P-STEER-11."""
    turn = begin(client)
    accepted = [steer(client)["steer"], steer(client, "right")["steer"]]
    events = end(client, turn, output=(CALL, CUSTOM))
    stubs = [
        {"type": "function_call_output", "call_id": "call_1", "name": "f"},
        {"type": "custom_tool_call_output", "call_id": "call_2"},
    ]
    assert events == [
        {
            "type": "response.steer.pending",
            "steer": reference,
            "reason": "waiting_for_required_input",
            "required_input": stubs,
            "sequence_number": 4 + number,
        }
        for number, reference in enumerate(accepted)
    ]
    assert client.server.next_request() is None
    after = {"model": "gpt-6-sol", "previous_response_id": "resp_1"}
    warm = client.run(generate=False, **after)
    assert "input" not in warm.request
    complete(warm, "resp_warm")
    client.read()
    other = client.run(model="gpt-6-sol", input="aside")
    assert other.request["input"] == "aside"
    complete(other, "resp_other")
    outputs = [OUTPUT, {"type": "custom_tool_call_output", "call_id": "call_2", "output": ""}]
    answer = client.run(input=outputs, **after)
    assert [item.get("role") for item in answer.request["input"]] == ["user", "user", None, None]
    complete(answer, "resp_2")
    assert client.run(input=outputs, **after).request["input"] == outputs


@pytest.mark.parametrize("kind", ["response.failed", "error"])
def test_a_steer_of_a_response_that_fails_is_given_back(client: Client, kind: str) -> None:
    """P-STEER-5, P-STEER-14."""
    turn = begin(client, stream_id="a")
    accepted = steer(client, "left")["steer"]
    turn.emit({"type": kind, "response": {"id": "resp_1"}, "error": {}})
    failed = client.read()[1]
    assert (failed["type"], failed["error"]["code"]) == ("response.steer.failed", "response_not_active")
    assert failed["steer"] == {**accepted, "input": "left"}
    assert (failed["stream_id"], failed["sequence_number"]) == ("a", 3)


def test_the_33rd_steer_is_one_too_many(client: Client) -> None:
    """P-STEER-9."""
    begin(client)
    for _ in range(MAX_STEERS):
        assert steer(client)["type"] == "response.steer.accepted"
    event = steer(client)
    assert event["error"]["code"] == "too_many_pending_steers"
    assert event["steer"] == {"previous_response_id": "resp_1", "input": "left"}


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    "event",
    [
        {"given": "x", "stream_id": "a"},
        {"given": "x", "model": "m"},
        {"given": []},
        {"given": ""},
        {"given": 5},
        {"given": ["x"]},
        {"given": [USER, {**USER, "role": "system"}]},
        {"given": [{**USER, "id": "msg_1"}]},
        {"given": [{**USER, "type": "reasoning"}]},
        {"given": [{**USER, "content": 5}]},
        {"given": [{**USER, "content": ["x"]}]},
        {"given": [{**USER, "content": [{"type": "output_text"}]}]},
    ],
    ids=str,
)
def test_an_invalid_steer_is_told_so(client: Client, event: dict[str, Any]) -> None:
    """P-STEER-6."""
    begin(client)
    failed = steer(client, **event)
    assert failed["error"]["code"] == "invalid_input"
    assert "id" not in failed["steer"]


def test_a_steer_may_have_parts(client: Client) -> None:
    begin(client)
    parts = [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "u"}, {"type": "input_file"}]
    assert steer(client, [{**USER, "type": "message", "content": parts}])["type"] == "response.steer.accepted"


@pytest.mark.parametrize("body", [{"model": "m"}, {"context_management": [{"type": "compaction"}]}], ids=str)
def test_not_every_response_can_be_steered(client: Client, body: dict[str, Any]) -> None:
    """P-STEER-8."""
    begin(client, **body)
    assert steer(client)["error"]["code"] == "steering_not_supported"


def test_the_end_of_the_connection_ends_the_steers(client: Client) -> None:
    """P-STEER-7."""
    turn = begin(client)
    steer(client)
    client.server.close(0.0)
    turn.emit({"type": "response.completed", "response": {"id": "resp_1"}})
    assert client.server.next_request() is None
