"""What the wire protocol says of lanes, limits, memory and steering, sentence by sentence: the server keeps to it.

Steering: test_server_steering.py, too. Injecting: test_server_injecting.py. The sentences are those of PROTOCOL.md.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.server_client import Client, complete
from msgspec.structs import replace
from turnwire.sansio.server import (
    ApiState,
    FoundRoute,
    JsonBody,
    Problem,
    Remembered,
    Reply,
    ResponseStore,
    RunTurn,
    ServerState,
    ServerTurn,
    ServerTurnState,
    StoredResponse,
    StoredResponses,
    find_route,
    reply_events,
)
from turnwire.sansio.websocket import CloseFrame


@pytest.fixture
def client() -> Client:
    return Client()


# --- Lanes -----------------------------------------------------------------------------------------------------------


def test_turns_of_one_lane_run_one_after_another(client: Client) -> None:
    """P-LANES-1, P-LANES-5."""
    for text in "abc":
        client.create(input=text, stream_id="x")
    assert (client.server.in_flight(), client.server.waiting()) == (1, 2)
    for text in "abc":
        turn = client.server.next_request()
        assert turn is not None
        assert turn.request["input"] == text
        assert client.server.next_request() is None
        complete(turn, f"resp_{text}")
    assert (client.server.in_flight(), client.server.waiting()) == (0, 0)


def test_turns_of_different_lanes_run_side_by_side_and_count_their_own_events(client: Client) -> None:
    """P-LANES-1, P-LANES-2."""
    lanes = [None, "a", "b"]
    turns = [client.run(**({} if lane is None else {"stream_id": lane})) for lane in lanes]
    for turn in [*turns, *turns]:
        turn.emit({"type": "response.queued"})
    events = client.read()
    assert [event.get("stream_id") for event in events] == lanes * 2
    assert [event["sequence_number"] for event in events] == [0, 0, 0, 1, 1, 1]
    assert [turn.number for turn in turns] == [1, 2, 3]


def test_sixteen_turns_run_and_the_seventeenth_waits_for_a_slot(client: Client) -> None:
    """P-LANES-3."""
    turns = [client.run(stream_id=f"lane-{index}") for index in range(16)]
    client.create(stream_id="lane-16")
    assert client.server.next_request() is None
    complete(turns[3], "resp_3")
    turn = client.server.next_request()
    assert turn is not None
    assert turn.lane == "lane-16"


def test_the_33rd_named_lane_is_refused_and_the_default_lane_does_not_count(client: Client) -> None:
    """P-LANES-4."""
    for index in range(32):
        complete(client.run(stream_id=f"lane-{index}"), f"resp_{index}")
    complete(client.run(), "resp_default")
    client.read()
    client.create(stream_id="lane-32")
    frame = client.error()
    assert frame["error"]["code"] == "websocket_stream_limit_reached"
    assert frame["stream_id"] == "lane-32"
    client.run(stream_id="lane-0")


def test_a_refusal_waits_for_the_turns_before_it_on_its_lane(client: Client) -> None:
    """P-LANES-1."""
    turn = client.run(stream_id="a")
    client.create(stream_id="a", input=7)
    client.create(stream_id="a", previous_response_id="resp_none")
    client.create(stream_id="a", input="good")
    assert client.read() == []
    complete(turn, "resp_1")
    codes = [event["error"]["code"] for event in client.read() if event["type"] == "error"]
    assert codes == ["invalid_type", "previous_response_not_found"]
    last = client.server.next_request()
    assert last is not None
    assert last.request == {"input": "good"}


# --- What is remembered ----------------------------------------------------------------------------------------------


def texts(remembered: Remembered | None) -> list[str]:
    return [] if remembered is None else [item["content"][0]["text"] for item in remembered.items()]


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


@pytest.mark.parametrize("kind", ["completed", "incomplete"])
@pytest.mark.parametrize("store", [True, False])
def test_a_conversation_goes_on_from_the_latest_response_of_its_lane(client: Client, store: bool, kind: str) -> None:
    """P-CONT-1."""
    complete(client.run(input="a", store=store), "resp_1", (said("b"),), kind)
    complete(client.run(input="c", store=store, previous_response_id="resp_1"), "resp_2", (said("d"),), kind)
    assert texts(client.run(previous_response_id="resp_2").previous) == ["a", "b", "c", "d"]


def test_without_store_only_the_latest_response_of_a_lane_is_known(client: Client) -> None:
    """P-CONT-1, P-CONT-2."""
    complete(client.run(input="a", store=False), "resp_1")
    complete(client.run(input="b", store=False, previous_response_id="resp_1"), "resp_2")
    client.read()
    client.create(previous_response_id="resp_1")
    assert client.error()["error"]["code"] == "previous_response_not_found"
    assert texts(client.run(previous_response_id="resp_2").previous) == ["a", "b"]


def test_with_store_any_connection_of_the_service_can_go_on() -> None:
    """P-CONT-2, P-CONT-5, P-CONT-6."""
    store = ResponseStore()
    complete(Client(store=store).run(input="a"), "resp_1")
    complete(Client(store=store).run(input="b", store=False), "resp_2")
    other = Client(store=store)
    assert texts(other.run(stream_id="x", previous_response_id="resp_1").previous) == ["a"]
    other.create(previous_response_id="resp_2")
    assert other.error()["error"]["code"] == "previous_response_not_found"


def test_a_fork_continues_another_lane_and_leaves_it_alone(client: Client) -> None:
    """P-CONT-4, P-LANES-7."""
    complete(client.run(input="a", stream_id="main", store=False), "resp_1")
    fork = client.run(input="b", stream_id="fork", previous_response_id="resp_1", store=False)
    assert texts(fork.previous) == ["a"]
    complete(client.run(input="c", stream_id="main", previous_response_id="resp_1", store=False), "resp_2")
    complete(fork, "resp_3")
    assert texts(client.run(stream_id="main", previous_response_id="resp_2").previous) == ["a", "c"]
    assert texts(client.run(stream_id="fork", previous_response_id="resp_3").previous) == ["a", "b"]


def fail_with_an_error(turn: ServerTurn) -> None:
    turn.fail(Problem(500, "server_error", "x"))


def fail_with_an_event(turn: ServerTurn) -> None:
    turn.emit({"type": "response.failed", "response": {"id": "resp_f", "output": []}})


@pytest.mark.parametrize("fail", [fail_with_an_error, fail_with_an_event])
@pytest.mark.parametrize(("lane", "kept"), [("main", False), ("fork", True)])
def test_a_failure_removes_what_its_own_lane_continued_and_keeps_what_it_forked(
    client: Client, fail: Any, lane: str, kept: bool
) -> None:
    """P-CONT-3."""
    complete(client.run(input="a", stream_id="main", store=False), "resp_1")
    fail(client.run(stream_id=lane, previous_response_id="resp_1", store=False))
    client.read()
    client.create(stream_id="main", previous_response_id="resp_1", store=False)
    turn = client.server.next_request()
    assert (turn is not None) == kept
    if not kept:
        assert client.error()["error"]["code"] == "previous_response_not_found"


def test_a_refused_continuation_removes_its_parent_too(client: Client) -> None:
    """P-CONT-3."""
    complete(client.run(input="a", store=False), "resp_1")
    client.create(previous_response_id="resp_1", input=7)
    client.read()
    client.create(previous_response_id="resp_1")
    assert client.error()["error"]["code"] == "previous_response_not_found"


def test_a_failure_that_continued_nothing_removes_nothing(client: Client) -> None:
    """P-CONT-3."""
    complete(client.run(input="a", store=False), "resp_1")
    client.run(input="b", store=False).fail(Problem(500, None, "x"))
    assert texts(client.run(previous_response_id="resp_1").previous) == ["a"]


def test_what_was_removed_can_still_be_stored(client: Client) -> None:
    """P-CONT-2, P-CONT-3."""
    complete(client.run(input="a"), "resp_1")
    client.run(previous_response_id="resp_1").fail(Problem(500, None, "x"))
    assert texts(client.run(previous_response_id="resp_1").previous) == ["a"]


def test_p_cont_12_a_small_memory_holds_what_ended_last() -> None:
    client = Client(max_remembered=2)
    for lane in ("a", "b", "a", "c"):
        complete(client.run(input=lane, stream_id=lane, store=False), f"resp_{lane}")
    client.read()
    client.create(stream_id="b", previous_response_id="resp_b")
    assert client.error()["error"]["code"] == "previous_response_not_found"
    assert texts(client.run(stream_id="a", previous_response_id="resp_a").previous) == ["a"]


def test_a_warm_up_stands_for_its_input(client: Client) -> None:
    """P-CONT-7."""
    complete(client.run(input="a", generate=False, store=False), "resp_warm")
    assert texts(client.run(input="b", previous_response_id="resp_warm").previous) == ["a"]


@pytest.mark.parametrize("named", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_by_name_goes_on_where_it_was(named: object) -> None:
    """P-HTTP-8."""
    store = ResponseStore()
    first, second = Client(store=store), Client(store=store)
    turn = first.run(input="a", conversation="conv_1")
    assert turn.previous is None
    complete(turn, "resp_1")
    turn = second.run(input="b", conversation=named)
    assert texts(turn.previous) == ["a"]
    complete(turn, "resp_2")
    assert texts(first.run(conversation="conv_1").previous) == ["a", "b"]


# --- Limits ----------------------------------------------------------------------------------------------------------

LIMIT = 16 * 1024 * 1024


def head_of_a_frame(size: int, *, first: bytes = b"\x81") -> bytes:
    """The head of a frame of text that will have that many bytes."""
    return first + b"\xff" + size.to_bytes(8, "big") + b"\0\0\0\0"


def test_a_message_of_more_than_16_mib_gets_1009_and_no_error_frame(client: Client) -> None:
    """P-CONN-9, P-CONN-10."""
    turn = client.run(input="x")
    client.bytes(head_of_a_frame(LIMIT + 1))
    (close,) = client.items()
    assert isinstance(close, CloseFrame)
    assert close.code == 1009
    assert turn.state is ServerTurnState.CANCELLED


def test_a_message_of_16_mib_is_read(client: Client) -> None:
    """P-CONN-9."""
    client.bytes(head_of_a_frame(LIMIT))
    assert client.items() == []
    assert client.server.state is ServerState.OPEN


def test_the_limit_is_that_of_the_whole_message(client: Client) -> None:
    """P-CONN-9, P-CONN-11."""
    client.bytes(b"\x01\x81\0\0\0\0{" + head_of_a_frame(LIMIT, first=b"\x80"))
    (close,) = client.items()
    assert isinstance(close, CloseFrame)
    assert close.code == 1009


def test_after_60_minutes_comes_an_error_frame_and_then_the_close() -> None:
    """P-CONN-8."""
    client = Client(now=7.0)
    assert client.server.next_deadline() == 7.0 + 60 * 60
    client.server.handle_deadline(7.0 + 60 * 60)
    frame, close = client.items()
    assert json.loads(frame)["error"]["code"] == "websocket_connection_limit_reached"
    assert isinstance(close, CloseFrame)
    assert client.server.expired


def test_the_slots_of_16_are_over_all_lanes_and_the_first_that_waits_gets_the_next(client: Client) -> None:
    """P-LANES-3, P-LANES-6."""
    turns = [client.run(stream_id=f"lane-{index}") for index in range(15)]
    turns.append(client.run())
    for name in ("p", "q"):
        client.create(stream_id=name)
    assert (client.server.in_flight(), client.server.waiting()) == (16, 2)
    complete(turns[15], "resp_15")
    first = client.server.next_request()
    assert first is not None
    assert first.lane == "p"
    assert client.server.next_request() is None


def test_a_name_counts_for_the_connection_s_life_and_one_that_was_refused_does_not(client: Client) -> None:
    """P-LANES-4."""
    for index in range(32):
        client.run(stream_id=f"lane-{index}").fail(Problem(500, None, "x"))
    client.read()
    for _ in range(2):
        client.create(stream_id="one-more")
        assert client.error()["error"]["code"] == "websocket_stream_limit_reached"
    client.create(stream_id="not a lane")
    assert client.error()["error"]["code"] == "invalid_stream_id"
    assert client.run(stream_id="lane-31").lane == "lane-31"


def test_the_default_lane_has_no_name_and_an_empty_one_is_none(client: Client) -> None:
    """P-LANES-2."""
    complete(client.run(), "resp_1")
    assert all("stream_id" not in event for event in client.read())
    client.create(stream_id="")
    assert client.error()["error"]["code"] == "invalid_stream_id"


# --- Memory ----------------------------------------------------------------------------------------------------------


def not_found(client: Client, **body: Any) -> bool:
    client.read()
    client.create(**body)
    turn = client.server.next_request()
    if turn is not None:
        turn.emit({"type": "response.created", "response": {"id": "resp_found"}})
        return False
    error = client.error()
    assert (error["status"], error["error"]["code"]) == (400, "previous_response_not_found")
    return True


def test_a_lane_says_where_events_go_and_the_id_which_conversation_goes_on(client: Client) -> None:
    """P-LANES-7."""
    for lane in "ab":
        complete(client.run(input=lane, stream_id=lane, store=False), f"resp_{lane}")
    crossed = {lane: client.run(stream_id=lane, previous_response_id=f"resp_{other}") for lane, other in ("ab", "ba")}
    assert {lane: (turn.lane, texts(turn.previous)) for lane, turn in crossed.items()} == {
        "a": ("a", ["b"]),
        "b": ("b", ["a"]),
    }


def test_the_memory_has_the_latest_response_of_every_lane(client: Client) -> None:
    """P-CONT-1."""
    for index in range(32):
        complete(client.run(input=str(index), stream_id=f"lane-{index}", store=False), f"resp_{index}")
    for index in range(32):
        turn = client.run(previous_response_id=f"resp_{index}", store=False, generate=False)
        assert texts(turn.previous) == [str(index)]
        turn.emit({"type": "response.created", "response": {"id": "resp_x"}})
        turn.emit({"type": "response.completed", "response": {"id": "resp_x"}})


def test_a_fork_without_store_that_starts_before_the_source_advances_goes_on(client: Client) -> None:
    """P-CONT-4."""
    complete(client.run(input="a", stream_id="main", store=False), "resp_1")
    fork = client.run(stream_id="fork", previous_response_id="resp_1", store=False)
    complete(client.run(stream_id="main", previous_response_id="resp_1", store=False), "resp_2")
    complete(fork, "resp_3")
    assert not not_found(client, stream_id="fork", previous_response_id="resp_3", store=False)


def test_a_fork_without_store_that_waits_until_the_source_has_advanced_finds_nothing() -> None:
    """P-CONT-4."""
    client = Client(max_in_flight=2)
    complete(client.run(input="a", stream_id="main", store=False), "resp_1")
    client.run(stream_id="busy")
    advance = client.run(stream_id="main", previous_response_id="resp_1", store=False)
    client.read()
    client.create(stream_id="fork", previous_response_id="resp_1", store=False)
    complete(advance, "resp_2")
    *_, refusal = client.read()
    assert (refusal["stream_id"], refusal["error"]["code"]) == ("fork", "previous_response_not_found")


def test_a_fork_of_a_stored_response_may_start_at_any_time(client: Client) -> None:
    """P-CONT-2, P-CONT-4."""
    complete(client.run(input="a", stream_id="main"), "resp_1")
    complete(client.run(input="b", stream_id="main", previous_response_id="resp_1"), "resp_2")
    assert texts(client.run(stream_id="fork", previous_response_id="resp_1").previous) == ["a"]


@pytest.mark.parametrize("status", [400, 429, 500])
@pytest.mark.parametrize("begun", [True, False])
def test_a_continuation_that_fails_with_4xx_or_5xx_removes_its_parent(client: Client, status: int, begun: bool) -> None:
    """P-CONT-3."""
    complete(client.run(stream_id="a", store=False), "resp_1")
    turn = client.run(stream_id="a", previous_response_id="resp_1", store=False)
    if begun:
        turn.emit({"type": "response.created", "response": {"id": "resp_2"}})
    turn.fail(Problem(status, None, "x"))
    assert not_found(client, stream_id="a", previous_response_id="resp_1")
    assert not_found(client, stream_id="b", previous_response_id="resp_1")


def test_a_continuation_of_an_older_stored_response_that_fails_removes_nothing(client: Client) -> None:
    """P-CONT-3: its parent is not in the memory."""
    complete(client.run(stream_id="a"), "resp_1")
    complete(client.run(stream_id="a", store=False), "resp_2")
    client.run(stream_id="a", previous_response_id="resp_1").fail(Problem(500, None, "x"))
    assert not not_found(client, stream_id="a", previous_response_id="resp_2")


def test_an_invalid_name_removes_nothing(client: Client) -> None:
    """P-CONT-3: the request is on no lane."""
    complete(client.run(store=False), "resp_1")
    client.create(stream_id="", previous_response_id="resp_1")
    assert not not_found(client, previous_response_id="resp_1")


def test_a_reconnect_loses_the_memory_and_keeps_the_storage() -> None:
    """P-CONT-5."""
    store = ResponseStore()
    client = Client(store=store)
    complete(client.run(input="a", store=False), "resp_1")
    complete(client.run(input="b"), "resp_2")
    client.bytes(b"")
    again = Client(store=store)
    assert not_found(again, previous_response_id="resp_1")
    assert not not_found(again, previous_response_id="resp_2")


@pytest.mark.parametrize("claims", [{}, {"store": True}, {"store": False}, {"stream": True}])
def test_a_response_without_store_is_never_found_over_http(client: Client, claims: dict[str, Any]) -> None:
    """P-CONT-6."""
    complete(client.run(input="a", store=False), "resp_1")
    state = ApiState(store=client.server.store, responses=StoredResponses(), strict=False)
    state.responses.keep("resp_1", StoredResponse({"store": False}))

    def ask(method: str, target: str, body: object = None) -> object:
        found = find_route(method, target)
        assert isinstance(found, FoundRoute)
        return found.route.answer(state, replace(found.call, body=JsonBody(json.dumps(body).encode())))

    continued = ask("POST", "/v1/responses", {"model": "m", "previous_response_id": "resp_1", **claims})
    assert isinstance(continued, Problem)
    assert continued.code == "previous_response_not_found"
    for method, target in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        found = ask(method, f"/v1/responses/resp_1{target}")
        assert isinstance(found, Problem)
        assert found.status == 404


def test_what_was_stored_over_a_websocket_is_found_over_http(client: Client) -> None:
    """P-CONT-2."""
    complete(client.run(input="a"), "resp_1")
    found = find_route("POST", "/v1/responses")
    assert isinstance(found, FoundRoute)
    state = ApiState(store=client.server.store, responses=StoredResponses(), strict=True)
    body = JsonBody(b'{"model":"m","input":"b","previous_response_id":"resp_1"}')
    run = found.route.answer(state, replace(found.call, body=body))
    assert isinstance(run, RunTurn)
    assert texts(run.previous) == ["a"]


def test_a_warm_up_has_two_events_and_no_output() -> None:
    """P-CONT-7."""
    events = list(reply_events(Reply(), {"generate": False}, None, number=1, created_at=0))
    assert [event["type"] for event in events] == ["response.created", "response.completed"]
    assert events[-1]["response"]["output"] == []


def test_a_warm_up_may_be_forked(client: Client) -> None:
    """P-CONT-4, P-CONT-7."""
    complete(client.run(input="a", generate=False, store=False, stream_id="a"), "resp_1")
    forks = [client.run(stream_id=lane, previous_response_id="resp_1", store=False) for lane in "bc"]
    assert [texts(fork.previous) for fork in forks] == [["a"], ["a"]]


# --- Steering --------------------------------------------------------------------------------------------------------

CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
STEERED = {"model": "gpt-6-sol", "input": "go"}


def begin(client: Client, response_id: str = "resp_1", **body: Any) -> ServerTurn:
    turn = client.run(**{**STEERED, **body})
    turn.emit({"type": "response.created", "response": {"id": response_id}})
    client.read()
    return turn


def steer(client: Client, given: Any = "left", target: str = "resp_1") -> dict[str, Any]:
    client.send({"type": "response.steer", "previous_response_id": target, "input": given})
    (event,) = client.read()
    return event


def end(client: Client, turn: ServerTurn, kind: str = "completed", output: Any = (), **fields: Any) -> list[Any]:
    response = {"id": turn.response_id, "output": list(output), **fields}
    turn.emit({"type": f"response.{kind}", "response": response})
    return client.read()[1:]


def following(client: Client) -> ServerTurn:
    turn = client.server.next_request()
    assert turn is not None
    return turn


def test_an_accepted_steer_is_applied_by_the_successor_only(client: Client) -> None:
    """P-STEER-1."""
    turn = begin(client)
    assert steer(client)["type"] == "response.steer.accepted"
    assert turn.request == STEERED
    assert client.server.next_request() is None


@pytest.mark.parametrize("kind", ["completed", "incomplete"])
def test_a_steered_response_may_end_early_or_complete_before_its_successor(client: Client, kind: str) -> None:
    """P-STEER-2."""
    turn = begin(client, stream_id="a", store=False)
    steer(client)
    assert end(client, turn, kind, incomplete_details={"reason": "steered"}) == []
    successor = following(client)
    assert (successor.lane, successor.request["previous_response_id"]) == ("a", "resp_1")
    assert texts(successor.previous) == ["go"]


def test_a_response_without_steers_has_no_successor(client: Client) -> None:
    """P-STEER-2."""
    end(client, begin(client))
    assert client.server.next_request() is None


def test_a_successor_has_the_settings_of_the_steered_request(client: Client) -> None:
    """P-STEER-10."""
    settings = {"model": "gpt-6-sol", "temperature": 0.5, "max_output_tokens": 20, "max_tool_calls": 3, "store": False}
    turn = begin(client, tools=[{"type": "function", "name": "f"}], metadata={"a": "b"}, **settings)
    steer(client)
    end(client, turn)
    successor = following(client).request
    assert {name: value for name, value in turn.request.items() if name != "input"}.items() <= successor.items()
    assert successor["input"][0]["content"][0]["text"] == "left"


def test_the_input_of_several_steers_is_in_the_order_of_their_submission(client: Client) -> None:
    """P-STEER-3."""
    turn = begin(client)
    for text in "abc":
        steer(client, text)
    end(client, turn)
    assert [item["content"][0]["text"] for item in following(client).request["input"]] == ["a", "b", "c"]


STUBS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (CALL, {"type": "function_call_output", "call_id": "call_1", "name": "f"}),
    ({"type": "custom_tool_call", "call_id": "c", "name": "g"}, {"type": "custom_tool_call_output", "call_id": "c"}),
    ({"type": "computer_call", "call_id": "c"}, {"type": "computer_call_output", "call_id": "c"}),
    ({"type": "shell_call", "call_id": "c"}, {"type": "shell_call_output", "call_id": "c"}),
    ({"type": "apply_patch_call", "call_id": "c"}, {"type": "apply_patch_call_output", "call_id": "c"}),
    (
        {"type": "tool_search_call", "call_id": "c", "execution": "client"},
        {"type": "tool_search_output", "call_id": "c", "execution": "client"},
    ),
    (
        {"type": "mcp_approval_request", "id": "mcpr_1", "name": "f", "server_label": "s"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1"},
    ),
]


@pytest.mark.parametrize(("item", "stub"), STUBS, ids=[stub["type"] for _, stub in STUBS])
def test_a_response_that_stops_for_the_client_has_stubs_of_seven_kinds(client: Client, item: Any, stub: Any) -> None:
    """P-STEER-3, P-STEER-4."""
    turn = begin(client, stream_id="a")
    steer(client)
    (pending,) = end(client, turn, output=[item])
    assert (pending["type"], pending["reason"]) == ("response.steer.pending", "waiting_for_required_input")
    assert pending["required_input"] == [stub]
    assert pending["stream_id"] == "a"
    assert client.server.next_request() is None


@pytest.mark.parametrize(
    "output",
    [
        [{"type": "tool_search_call", "call_id": "c", "execution": "server"}],
        [{"type": "message", "role": "assistant", "content": []}],
        [CALL, OUTPUT],
    ],
)
def test_what_the_server_does_itself_is_not_waited_for(client: Client, output: list[Any]) -> None:
    """P-STEER-4."""
    turn = begin(client)
    steer(client)
    assert end(client, turn, output=output) == []
    following(client)


def test_pending_input_goes_in_front_of_the_outputs_and_the_request_keeps_its_own_settings(client: Client) -> None:
    """P-STEER-3."""
    turn = begin(client, temperature=0.5)
    steer(client)
    end(client, turn, output=[CALL])
    answer = client.run(model="other", input=[OUTPUT], previous_response_id="resp_1")
    assert [item["type"] for item in answer.request["input"]] == ["message", "function_call_output"]
    assert (answer.request["model"], "temperature" in answer.request) == ("other", False)


@pytest.mark.parametrize("body", [{"stream_id": "b"}, {"previous_response_id": None}])
def test_pending_input_is_taken_on_its_lane_by_what_continues_its_response(
    client: Client, body: dict[str, Any]
) -> None:
    """P-STEER-3."""
    turn = begin(client, stream_id="a")
    steer(client)
    end(client, turn, output=[CALL])
    other = client.run(**{"stream_id": "a", "input": [OUTPUT], "previous_response_id": "resp_1", **body})
    assert other.request["input"] == [OUTPUT]
    complete(other, "resp_2")
    answer = client.run(stream_id="a", input=[OUTPUT], previous_response_id="resp_1")
    assert len(answer.request["input"]) == 2


def test_a_request_that_is_refused_takes_no_pending_input() -> None:
    """P-STEER-3."""
    client = Client(strict=True)
    turn = begin(client)
    steer(client)
    end(client, turn, output=[CALL])
    again = {"model": "m", "previous_response_id": "resp_1"}
    client.create(input="no output", **again)
    assert client.error()["error"]["message"] == "No tool output found for function call call_1."
    assert len(client.run(input=[OUTPUT], **again).request["input"]) == 2


def test_pending_input_whose_response_is_gone_is_given_back(client: Client) -> None:
    """P-STEER-5, P-STEER-14."""
    turn = begin(client, store=False, stream_id="a")
    accepted = steer(client)["steer"]
    end(client, turn, output=[CALL])
    client.run(stream_id="a", previous_response_id="resp_1", input=[OUTPUT], generate=False).fail(
        Problem(500, None, "x")
    )
    _, failed = client.read()
    assert (failed["type"], failed["error"]["code"]) == ("response.steer.failed", "successor_creation_failed")
    assert failed["steer"] == {**accepted, "input": "left"}
    assert (failed["stream_id"], failed["sequence_number"]) == ("a", 4)


def test_a_successor_that_begins_no_response_gives_the_input_back(client: Client) -> None:
    """P-STEER-5, P-STEER-14."""
    turn = begin(client)
    accepted = steer(client)["steer"]
    end(client, turn)
    following(client).fail(Problem(500, "server_error", "x"))
    error, failed = client.read()
    assert (error["type"], failed["error"]["code"]) == ("error", "successor_creation_failed")
    assert failed["steer"] == {**accepted, "input": "left"}


def test_a_successor_that_has_begun_has_committed_the_input(client: Client) -> None:
    """P-STEER-1."""
    turn = begin(client)
    steer(client)
    end(client, turn)
    successor = following(client)
    successor.emit({"type": "response.created", "response": {"id": "resp_2"}})
    successor.fail(Problem(500, "server_error", "x"))
    assert [event["type"] for event in client.read()] == ["response.created", "error"]


def test_a_warm_up_leaves_pending_input_to_what_continues_it(client: Client) -> None:
    """P-STEER-11."""
    turn = begin(client, store=False)
    steer(client)
    end(client, turn, output=[CALL])
    warm = client.run(generate=False, store=False, previous_response_id="resp_1")
    assert "input" not in warm.request
    complete(warm, "resp_warm")
    assert [event["type"] for event in client.read()] == ["response.created", "response.completed"]
    answer = client.run(input=[OUTPUT], previous_response_id="resp_warm")
    assert [item["type"] for item in answer.request["input"]] == ["message", "function_call_output"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"conversation": "conv_1"}, "steering_not_supported"),
        ({"context_management": [{"type": "compaction"}]}, "steering_not_supported"),
        ({"multi_agent": {"enabled": True}}, "steering_not_supported"),
        ({"model": "gpt-5"}, "steering_not_supported"),
        ({"generate": False}, "steering_not_supported"),
        ({"multi_agent": {"enabled": False}}, None),
    ],
    ids=str,
)
def test_steering_is_for_some_models_and_not_with_a_conversation_or_compaction(
    client: Client, body: dict[str, Any], code: str | None
) -> None:
    """P-STEER-8."""
    begin(client, **body)
    assert steer(client).get("error", {}).get("code") == code


def test_steering_is_possible_after_response_created_only(client: Client) -> None:
    """P-STEER-8."""
    client.run(**STEERED)
    assert steer(client)["error"]["code"] == "response_not_found"


def test_a_steer_of_a_response_that_has_ended_comes_too_late(client: Client) -> None:
    """P-STEER-5."""
    end(client, begin(client))
    assert steer(client)["error"]["code"] == "response_already_completed"


def test_a_response_of_another_connection_is_not_found() -> None:
    """P-STEER-5, P-CONT-6."""
    store = ResponseStore()
    begin(Client(store=store))
    assert steer(Client(store=store))["error"]["code"] == "response_not_found"


def test_32_steers_may_be_pending_for_each_response(client: Client) -> None:
    """P-STEER-9."""
    for lane in "ab":
        begin(client, f"resp_{lane}", stream_id=lane)
        ids = [steer(client, target=f"resp_{lane}")["steer"]["id"] for _ in range(32)]
        assert len(set(ids)) == 32
        assert all(len(each) == 38 and int(each.removeprefix("steer_"), 16) for each in ids)
        assert steer(client, target=f"resp_{lane}")["error"]["code"] == "too_many_pending_steers"
