"""Strict mode: what the API would refuse, with its codes. The shapes of values: test_server_shapes.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.server_client import Client, complete
from turnwire.sansio.server import (
    ApiCall,
    ApiState,
    JsonBody,
    Problem,
    Remembered,
    ResponseStore,
    RunTurn,
    ServerConnection,
    ServerOptions,
    ServerTurn,
    StoredResponses,
    check_strictly,
)
from turnwire.sansio.server._api_responses import create
from turnwire.sansio.server._strict import WEBSOCKET_FIELDS
from turnwire.sansio.websocket import WebSocket

CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
FUNCTION = {"type": "function", "name": "f"}


def strictly(previous: Remembered | None = None, *, websocket: bool = True, **body: Any) -> Problem | None:
    return check_strictly({"model": "m", "input": "x", **body}, previous, websocket=websocket)


def message(content: Any = "x", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": content, **fields}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": None, "prompt": {"id": "p"}},
        {"input": None, "previous_response_id": "resp_1"},
        {"input": None, "generate": False},
        {"model": "no-such-model", "reasoning": {"effort": "high"}},
        {"temperature": 2, "top_p": 0.0, "top_logprobs": 20, "max_output_tokens": 16, "max_tool_calls": None},
        {"truncation": "auto", "service_tier": "flex"},
        {"metadata": {"k" * 64: "v" * 512}},
        {"input": [{"role": "developer", "content": "x"}, {"id": "msg_1"}, {"type": "reasoning", "summary": []}]},
        {"input": [message([{"type": "input_text", "text": "x"}, {"type": "input_image"}])]},
        {"input": [message([{"type": "output_text", "text": "x"}], role="assistant"), message([], role="system")]},
        {"input": [CALL, OUTPUT]},
        {"input": [CALL], "generate": False},
        {"input": [{"type": "web_search_call", "status": "completed"}]},
        {"tools": [FUNCTION, {"type": "web_search"}, {"type": "mcp", "server_label": "s"}]},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
        {"tool_choice": "auto", "client_metadata": {}, "generate": True},
    ],
    ids=json.dumps,
)
def test_what_the_api_takes_is_taken(body: dict[str, Any]) -> None:
    """P-STRICT-7."""
    assert strictly(**body) is None


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"tempersture": 1}, "unknown_parameter", "tempersture"),
    ({"model": None}, "missing_required_parameter", "model"),
    ({"model": ""}, "missing_required_parameter", "model"),
    ({"input": None}, "missing_required_parameter", "input"),
    ({"max_output_tokens": 15}, "integer_below_min_value", "max_output_tokens"),
    ({"max_tool_calls": 0}, "integer_below_min_value", "max_tool_calls"),
    ({"top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
    ({"top_logprobs": 1.0}, "invalid_type", "top_logprobs"),
    ({"temperature": -0.1}, "decimal_below_min_value", "temperature"),
    ({"temperature": 2.1}, "decimal_above_max_value", "temperature"),
    ({"temperature": True}, "invalid_type", "temperature"),
    ({"top_p": 1.5}, "decimal_above_max_value", "top_p"),
    ({"truncation": "always"}, "invalid_value", "truncation"),
    ({"service_tier": []}, "invalid_type", "service_tier"),
    ({"metadata": {str(n): "" for n in range(17)}}, "object_above_max_properties", "metadata"),
    ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
    ({"metadata": {"k" * 65: ""}}, "string_above_max_length", f"metadata.{'k' * 64}"),
    ({"metadata": {"a": "v" * 513}}, "string_above_max_length", "metadata.a"),
    ({"input": [{}]}, "missing_required_parameter", "input[0].type"),
    ({"input": [message(), {"type": "tomorrow"}]}, "invalid_value", "input[1]"),
    ({"input": [{"type": 5}]}, "invalid_type", "input[0].type"),
    ({"input": [{"type": "message", "content": "x"}]}, "missing_required_parameter", "input[0].role"),
    ({"input": [message(role="tool")]}, "invalid_value", "input[0].role"),
    ({"input": [message(role=[])]}, "invalid_type", "input[0].role"),
    ({"input": [message(None)]}, "invalid_type", "input[0].content"),
    ({"input": [message(5)]}, "invalid_type", "input[0].content"),
    ({"input": [message([5])]}, "invalid_type", "input[0].content[0]"),
    ({"input": [message([{"type": "text"}])]}, "invalid_value", "input[0].content[0]"),
    ({"input": [message([{"type": "output_text"}])]}, "missing_required_parameter", "input[0].content[0].text"),
    (
        {"input": [message([{"type": "input_text", "text": "x"}], role="assistant")]},
        "invalid_value",
        "input[0].content[0]",
    ),
    ({"input": [{"type": "function_call_output", "output": ""}]}, "missing_required_parameter", "input[0].call_id"),
    ({"tools": [{"name": "f"}]}, "missing_required_parameter", "tools[0].type"),
    ({"tools": [FUNCTION, {"type": "tomorrow"}]}, "invalid_value", "tools[1]"),
    ({"tools": [{"type": []}]}, "invalid_type", "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, None, "tool_choice"),
    ({"input": [OUTPUT]}, None, "input"),
    ({"input": [CALL, OUTPUT, OUTPUT]}, None, "input"),
    ({"input": [CALL]}, None, "input"),
]


@pytest.mark.parametrize(("body", "code", "param"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_the_api_refuses_is_refused_with_its_code(body: dict[str, Any], code: str | None, param: str) -> None:
    """P-STRICT-1."""
    problem = strictly(**body)
    assert problem is not None
    assert (problem.status, problem.code, problem.param) == (400, code, param)
    assert len(problem.message) < 1500


def test_the_fields_of_websocket_are_unknown_over_http() -> None:
    assert strictly(websocket=False, client_metadata={}) is None
    for name in WEBSOCKET_FIELDS - {"client_metadata"}:
        problem = strictly(websocket=False, **{name: None})
        assert problem is not None
        assert (problem.code, problem.param) == ("unknown_parameter", name)


def test_calls_are_those_of_the_response_that_is_continued() -> None:
    """P-STRICT-2."""
    custom = {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": ""}
    older = Remembered("resp_0", [], [{**CALL, "call_id": "call_0"}])
    previous = Remembered("resp_1", [{**OUTPUT, "call_id": "call_0"}], [CALL, custom, {"type": "message"}], older)
    both = [OUTPUT, {"type": "custom_tool_call_output", "call_id": "call_2", "output": ""}]
    assert strictly(previous, input=both) is None
    for given, says in (
        ([OUTPUT], "No tool output found for custom tool call call_2."),
        ("x", "No tool output found for function call call_1."),
        ([*both, {**OUTPUT, "call_id": "call_0"}], "No tool call found for function call output with call_id call_0."),
    ):
        problem = strictly(previous, input=given)
        assert problem is not None
        assert problem.message == says
    assert strictly(previous, input=None, generate=False) is None


def test_what_a_warm_up_leaves_open_is_answered_by_the_turn_after_it() -> None:
    """P-STRICT-2."""
    store = ResponseStore()
    first = store.remember({"input": [CALL], "generate": False}, {"id": "resp_1", "output": []}, None)
    second = store.remember({"input": [], "generate": False}, {"id": "resp_2", "output": []}, first)
    for previous in (first, second):
        problem = strictly(previous, input="x")
        assert problem is not None
        assert problem.message == "No tool output found for function call call_1."
        assert strictly(previous, input=[OUTPUT]) is None
    answered = store.remember({"input": [OUTPUT], "generate": False}, {"id": "resp_3", "output": []}, second)
    assert strictly(answered, input="x") is None
    ran = store.remember({"input": [OUTPUT]}, {"id": "resp_4", "output": []}, second)
    assert strictly(ran, input="x") is None


# --- What is stored --------------------------------------------------------------------------------------------------

REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
SAID = {"type": "message", "role": "assistant", "content": [], "id": "msg_1", "status": "completed"}
NAMED = {**CALL, "id": "fc_1"}


@pytest.fixture
def store() -> ResponseStore:
    """One response is stored, another one is not."""
    store = ResponseStore()
    store.remember({"input": [message("listed")]}, {"id": "resp_1", "output": [REASONING, NAMED]}, None)
    store.remember({"input": [], "store": False}, {"id": "resp_2", "output": [{**SAID, "id": "msg_gone"}]}, None)
    store.make_conversation(0, {}, [message("of a conversation", id="msg_conv")])
    return store


def reference(item_id: str) -> dict[str, Any]:
    return {"type": "item_reference", "id": item_id}


def stored_problem(kept: ResponseStore, /, *items: Any, **body: Any) -> Problem | None:
    return check_strictly({"model": "m", "input": list(items), **body}, None, websocket=True, lookup=kept.item)


def test_a_reference_is_to_a_stored_item(store: ResponseStore) -> None:
    """P-STRICT-9."""
    for item_id in ("msg_conv", "msg_1_0in"):
        assert stored_problem(store, reference(item_id)) is None
        assert stored_problem(store, {"id": item_id}) is None
    assert stored_problem(store, reference("rs_1"), reference("fc_1"), OUTPUT) is None


@pytest.mark.parametrize("item_id", ["msg_gone", "msg_9_0in", "msg_1_9in", "never"])
@pytest.mark.parametrize("named", [reference, lambda item_id: {"id": item_id}])
def test_a_reference_to_nothing_is_refused(store: ResponseStore, item_id: str, named: Any) -> None:
    """P-STRICT-9."""
    problem = stored_problem(store, named(item_id))
    assert problem == Problem(404, None, f"Item with id '{item_id}' not found.", "input")
    unstored = stored_problem(store, named(item_id), store=False)
    assert unstored is not None
    assert unstored.message.startswith(f"{problem.message} Items are not persisted when `store` is set to false.")


def test_a_deleted_response_takes_its_items_along(store: ResponseStore) -> None:
    """P-STRICT-9, P-HTTP-3."""
    store.forget("resp_1")
    store.forget("resp_1")
    for item_id in ("rs_1", "msg_1_0in"):
        assert stored_problem(store, reference(item_id)) is not None


def test_reasoning_without_content_is_a_reference(store: ResponseStore) -> None:
    """P-STRICT-9."""
    other = {**REASONING, "id": "rs_2"}
    assert stored_problem(store, REASONING, SAID) is None
    problem = stored_problem(store, other, SAID)
    assert problem is not None
    assert (problem.status, problem.message) == (404, "Item with id 'rs_2' not found.")
    for more in ({"encrypted_content": "x"}, {"content": [{"type": "reasoning_text", "text": "x"}]}):
        assert stored_problem(store, {**other, **more}, SAID) is None
    assert stored_problem(store, {"type": "reasoning", "summary": []}) is None


@pytest.mark.parametrize(
    ("after", "taken"),
    [
        ([], False),
        ([message()], False),
        ([{"role": "user", "content": "x"}], False),
        ([OUTPUT], False),
        ([SAID], True),
        ([NAMED, OUTPUT], True),
        ([reference("fc_1"), OUTPUT], True),
        ([{"type": "web_search_call", "status": "completed"}], True),
        ([{**REASONING, "id": "rs_2", "encrypted_content": "x"}, SAID], True),
    ],
    ids=str,
)
@pytest.mark.parametrize("first", [REASONING, reference("rs_1")], ids=["item", "reference"])
def test_reasoning_comes_with_what_it_led_to(store: ResponseStore, first: Any, after: list[Any], taken: bool) -> None:
    """P-STRICT-10."""
    problem = stored_problem(store, first, *after)
    assert (problem is None) == taken
    if problem is not None:
        says = "Item 'rs_1' of type 'reasoning' was provided without its required following item."
        assert (problem.status, problem.code, problem.message, problem.param) == (400, None, says, "input")


# --- On a connection -------------------------------------------------------------------------------------------------


def run(client: Client, **body: Any) -> ServerTurn:
    return client.run(model="m", input="x", **body)


def locked(client: Client, **body: Any) -> bool:
    client.read()
    client.create(model="m", input="x", conversation="conv_000000000001", **body)
    (frame,) = client.read()
    error = frame["error"]
    assert (
        error["message"]
        == "Another process is currently operating on this conversation. Please retry in a few seconds."
    )
    return (frame["status"], error["code"], error["param"]) == (400, "conversation_locked", "conversation")


def test_one_response_at_a_time_runs_in_a_conversation() -> None:
    """P-STRICT-11."""
    store = ResponseStore()
    conversation = store.make_conversation(0, {}, []).conversation_id
    first, second = (Client(store=store, strict=True) for _ in range(2))
    turn = run(first, conversation=conversation)
    assert locked(second, stream_id="a")
    assert locked(first, stream_id="b")
    complete(turn, "resp_1")
    turn = run(second, conversation={"id": conversation})
    assert locked(first)
    turn.fail(Problem(500, None, "x"))
    run(first, conversation=conversation)
    first.bytes(b"")
    state = ApiState(store=store, responses=StoredResponses(), strict=True)
    body = json.dumps({"model": "m", "input": "x", "conversation": conversation}).encode()
    begun = create(state, ApiCall(body=JsonBody(body)))
    assert isinstance(begun, RunTurn)
    assert locked(second)
    again = create(state, ApiCall(body=JsonBody(body)))
    assert isinstance(again, Problem)
    store.unlock(begun.request)
    run(second, conversation=conversation)


def test_a_lenient_server_locks_nothing() -> None:
    client = Client()
    for lane in "ab":
        run(client, conversation="conv_1", stream_id=lane)


UPGRADE = [
    (b"host", b"localhost"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]


@pytest.mark.parametrize("strict", [True, False])
def test_a_connection_refuses_strictly_if_it_is_told_to_and_says_what_it_refused(strict: bool) -> None:
    refused: list[Any] = []
    server = ServerConnection(options=ServerOptions(strict=strict), refused=refused.append)
    assert server.accept(b"/v1/responses", UPGRADE, 0.0) is None
    client = WebSocket(client=True)
    client.receive(server.data_to_send().partition(b"\r\n\r\n")[2])
    for event in ({"input": "x", "stream_id": "a"}, {"input": 5, "model": "m"}, {"input": "x", "model": "m"}):
        server.receive_data(client.text(json.dumps({"type": "response.create", **event}).encode()), 0.0)
    codes = [("missing_required_parameter", 1, "a"), ("invalid_type", 2, None)]
    assert [(each.problem.code, each.number, each.lane) for each in refused] == (codes if strict else codes[1:])
    assert refused[-1].request == {"input": 5, "model": "m"}
    turn = server.next_request()
    assert turn is not None
    assert turn.number == (3 if strict else 1)
