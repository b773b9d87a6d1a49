"""Strict mode: what the API would refuse, with its codes. The shapes of values: test_server_shapes.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from turnwire.sansio.server import (
    Problem,
    Remembered,
    ResponseStore,
    ServerConnection,
    ServerOptions,
    check_strictly,
)
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
