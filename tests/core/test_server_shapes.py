"""The shapes of a request's values: the table is that of the ``openai`` package, and what breaks it is refused."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from kit import openai_shapes
from turnwire.sansio.server import Problem, check_strictly
from turnwire.sansio.server._limits import LIMITS
from turnwire.sansio.server._members import OPENAI_VERSION
from turnwire.sansio.server._shapes import shapes
from turnwire.sansio.tool_calls import CALL_OUTPUTS

MESSAGE = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "name": "f"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1"]}
FILTER = {"type": "eq", "key": "k", "value": 1}


def refused(**body: Any) -> Problem | None:
    return check_strictly({"model": "m", "input": "x", **body}, None, websocket=True)


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


def part(**fields: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [fields]}]}


def test_the_table_is_that_of_the_openai_package() -> None:
    """P-STRICT-3. If it is not: run tests/kit/openai_shapes.py, and read the difference."""
    assert openai_shapes.TARGET.read_text() == openai_shapes.text()
    assert openai.__version__.startswith(f"{OPENAI_VERSION}.")


def test_every_limit_is_one_of_a_member_that_there_is() -> None:
    """P-STRICT-6."""
    members = {f"{shape.name}.{member}" for shape in shapes().values() for member in shape.members}
    members |= {member.partition(".")[2] for member in members}
    assert LIMITS.keys() <= members


def test_every_shape_that_is_named_is_there_and_calls_and_outputs_are_items() -> None:
    def names(kind: Any) -> set[str]:
        inner = [each for each in (kind.items, kind.values) if each is not None]
        return {*kind.shapes, *(name for each in inner for name in names(each))}

    table = shapes()
    for shape in table.values():
        assert {name for kind in shape.members.values() for name in names(kind)} <= table.keys()
        assert set(shape.required) <= shape.members.keys()
    items = table["Request"].members["input"].items
    assert items is not None
    types = {text for name in items.shapes for text in table[name].types}
    assert {each for call, (output, _) in CALL_OUTPUTS.items() for each in (call, output)} <= types
    assert {"agent_message", "multi_agent_call", "multi_agent_call_output", "item_reference"} <= types


TAKEN: list[dict[str, Any]] = [
    item(**MESSAGE, type="message", id="msg_1", status="completed"),
    item(role="assistant", content=[{"type": "output_text", "text": "x"}], phase=None),
    item(role="assistant", content=[{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}]),
    item(type="reasoning", summary=[{"type": "summary_text", "text": "x"}], encrypted_content=None),
    item(type="item_reference", id="ws_1"),
    item(id="msg_1"),
    item(type="web_search_call", status="completed", action={"type": "search", "queries": ["x"]}),
    item(type="file_search_call", queries=[], status="completed", results=[{"score": 1, "attributes": {"a": True}}]),
    item(type="compaction", encrypted_content="x", created_by="me"),
    item(type="local_shell_call_output", id="call_1", output=""),
    item(type="function_call_output", call_id=None, name="f", output="", status=None),
    part(type="input_image", image_url="https://x/", detail="auto"),
    part(type="input_file", file_id=None, file_data="x"),
    {"tools": [{**FUNCTION, "parameters": {"type": "object", "x-any": []}, "strict": None}]},
    {"tools": [{**SEARCH, "filters": {"type": "and", "filters": [FILTER, {"type": "or", "filters": []}]}}]},
    {"tools": [{"type": "mcp", "server_label": "s", "allowed_tools": ["a"], "headers": {"a": "b"}}]},
    {"tools": [{"type": "code_interpreter", "container": "c"}, {"type": "web_search_2025_08_26"}]},
    {"tools": [{"type": "namespace", "name": "n", "description": "", "tools": [FUNCTION]}], "tool_choice": "required"},
    {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": None}},
    {"reasoning": {"effort": "xhigh", "summary": None}, "stream_options": {"include_obfuscation": False}},
    {"include": ["reasoning.encrypted_content"], "prompt": {"id": "p", "variables": {"a": "b"}}},
    {"conversation": {"id": "conv_1"}, "background": None, "tools": None, "text": None},
    {"metadata": {}, "multi_agent": {"enabled": True, "max_concurrent_subagents": 3}, "client_metadata": {"a": "b"}},
]


@pytest.mark.parametrize("body", TAKEN, ids=lambda body: str(body)[:60])
def test_what_has_the_shape_of_the_package_is_taken(body: dict[str, Any]) -> None:
    """P-STRICT-3."""
    calls = [{"type": "local_shell_call", "call_id": "call_1", "status": "completed", "action": {}}]
    if "local_shell_call_output" in str(body):
        calls[0]["action"] = {"type": "exec", "command": [], "env": {}}
        body = {"input": [*calls, *body["input"]]}
    assert refused(**body) is None


def missing(path: str) -> tuple[str, str, str]:
    return "missing_required_parameter", path, f"Missing required parameter: '{path}'."


def unknown(path: str) -> tuple[str, str, str]:
    return "unknown_parameter", path, f"Unknown parameter: '{path}'."


def wrong(path: str, expected: str, given: str) -> tuple[str, str, str]:
    return "invalid_type", path, f"Invalid type for '{path}': expected {expected}, but got {given} instead."


def invalid(path: str, value: str, supported: str) -> tuple[str, str, str]:
    return "invalid_value", path, f"Invalid value: '{value}'. Supported values are: {supported}."


def bad(path: str, code: str, says: str) -> tuple[str, str, str]:
    return code, path, f"Invalid '{path}': {says}"


REFUSED: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"multi_agent": 1}, wrong("multi_agent", "an object", "an integer")),
    ({"multi_agent": {}}, missing("multi_agent.enabled")),
    ({"multi_agent": {"enabled": 1}}, wrong("multi_agent.enabled", "a boolean", "an integer")),
    ({"multi_agent": {"enabled": True, "depth": 1}}, unknown("multi_agent.depth")),
    # What is missing comes before what is unknown: a tool as Chat Completions has it.
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, missing("tools[0].name")),
    ({"tools": [{"type": "code_interpreter"}]}, missing("tools[0].container")),
    ({"tools": [{}]}, missing("tools[0].type")),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, missing("text.format.name")),
    ({"prompt": {}}, missing("prompt.id")),
    (item(role="user"), missing("input[0].content")),
    (item(type="function_call", call_id="call_1", name="f"), missing("input[0].arguments")),
    (item(**MESSAGE, foo=1), unknown("input[0].foo")),
    (item(type="reasoning", summary=[], status="completed"), unknown("input[0].status")),
    (item(**CALL, parsed_arguments={}), unknown("input[0].parsed_arguments")),
    (
        item(type="web_search_call", status="completed", action={"type": "open_page", "q": 1}),
        unknown("input[0].action.q"),
    ),
    (part(type="input_text", text="x", cache=1), unknown("input[0].content[0].cache")),
    ({"tools": [FUNCTION, {**SEARCH, "filters": {**FILTER, "x" * 200: 1}}]}, unknown(f"tools[1].filters.{'x' * 100}")),
    ({"reasoning": {"efort": "low"}}, unknown("reasoning.efort")),
    ({"stream_options": {"include_usage": True}}, unknown("stream_options.include_usage")),
    (item(role="user", content=None), wrong("input[0].content", "one of a string or an array of objects", "null")),
    (item(role="user", content=["x"]), wrong("input[0].content[0]", "an object", "a string")),
    (item(**MESSAGE, id=None), wrong("input[0].id", "a string", "null")),
    (part(type="input_text", text=1), wrong("input[0].content[0].text", "a string", "an integer")),
    (
        part(type=1),
        wrong(
            "input[0].content[0].type",
            "one of 'input_text', 'input_image', 'input_file', 'output_text', or 'refusal'",
            "an integer",
        ),
    ),
    ({"tools": [{**FUNCTION, "parameters": "{}"}]}, wrong("tools[0].parameters", "an object", "a string")),
    ({"tools": [{**FUNCTION, "strict": 1.0}]}, wrong("tools[0].strict", "a boolean", "a decimal number")),
    ({"tools": [{**SEARCH, "max_num_results": True}]}, wrong("tools[0].max_num_results", "an integer", "a boolean")),
    (
        {"tools": [{"type": "mcp", "server_label": "s", "headers": {"a": 1}}]},
        wrong("tools[0].headers.a", "a string", "an integer"),
    ),
    ({"text": {"verbosity": []}}, wrong("text.verbosity", "one of 'low', 'medium', or 'high'", "an array")),
    ({"temperature": "1"}, wrong("temperature", "a decimal", "a string")),
    ({"metadata": {"a": 1}}, wrong("metadata.a", "a string", "an integer")),
    ({"include": "x"}, wrong("include", "an array", "a string")),
    ({"text": {"verbosity": "loud"}}, invalid("text.verbosity", "loud", "'low', 'medium', and 'high'")),
    ({"truncation": "always"}, invalid("truncation", "always", "'auto' and 'disabled'")),
    (
        part(type="text", text="x"),
        invalid(
            "input[0].content[0]", "text", "'input_text', 'input_image', 'input_file', 'output_text', and 'refusal'"
        ),
    ),
    (
        part(type="output_text", text="x"),
        invalid("input[0].content[0]", "output_text", "'input_text', 'input_image', and 'input_file'"),
    ),
    (
        item(role="assistant", content=[{"type": "input_text", "text": "x"}]),
        invalid("input[0].content[0]", "input_text", "'output_text' and 'refusal'"),
    ),
    (
        item(role="tool", content="x"),
        invalid("input[0].role", "tool", "'user', 'assistant', 'system', and 'developer'"),
    ),
    (
        {"tools": [{**FUNCTION, "name": ""}]},
        bad(
            "tools[0].name",
            "empty_string",
            "empty string. Expected a string with minimum length 1, but got an empty string instead.",
        ),
    ),
    (
        {"tools": [{**FUNCTION, "name": "a.b"}]},
        bad(
            "tools[0].name",
            "invalid_value",
            "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
    ),
    (
        {"tools": [{**FUNCTION, "name": "a\n"}]},
        bad(
            "tools[0].name",
            "invalid_value",
            "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
    ),
    (
        {"tools": [{**FUNCTION, "name": "a" * 129}]},
        bad(
            "tools[0].name",
            "string_above_max_length",
            "string too long. Expected a string with maximum length 128, but got a string with length 129 instead.",
        ),
    ),
    (
        item(**{**CALL, "call_id": "c" * 65}),
        bad(
            "input[0].call_id",
            "string_above_max_length",
            "string too long. Expected a string with maximum length 64, but got a string with length 65 instead.",
        ),
    ),
    (
        {"tools": [FUNCTION] * 129},
        bad(
            "tools",
            "array_above_max_length",
            "array too long. Expected an array with maximum length 128, but got an array with length 129 instead.",
        ),
    ),
    (
        {"tools": [{**FUNCTION, "allowed_callers": []}]},
        bad(
            "tools[0].allowed_callers",
            "empty_array",
            "empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ),
    ),
    (
        {"max_output_tokens": 1},
        bad(
            "max_output_tokens",
            "integer_below_min_value",
            "integer below minimum value. Expected a value >= 16, but got 1 instead.",
        ),
    ),
    (
        {"temperature": 2.5},
        bad(
            "temperature",
            "decimal_above_max_value",
            "decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
        ),
    ),
    (
        {"tools": [{"type": "image_generation", "partial_images": 4}]},
        bad(
            "tools[0].partial_images",
            "integer_above_max_value",
            "integer above maximum value. Expected a value <= 3, but got 4 instead.",
        ),
    ),
    (item(**MESSAGE, id="x1"), bad("input[0].id", "invalid_value", "'x1'. Expected an ID that begins with 'msg'.")),
]


@pytest.mark.parametrize(("body", "expected"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_has_another_shape_is_refused_in_the_words_of_the_api(
    body: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    """P-STRICT-4, P-STRICT-5, P-STRICT-6, P-STRICT-8."""
    problem = refused(**body)
    assert problem is not None
    assert (problem.code, problem.param, problem.message) == expected
    assert problem.status == 400


def test_an_item_cannot_come_twice() -> None:
    """P-STRICT-8."""
    problem = refused(input=[{**MESSAGE, "id": "msg_1"}, {"id": "msg_1"}])
    assert problem is not None
    assert (problem.code, problem.param) == (None, "input")
    assert problem.message.startswith("Duplicate item found with id msg_1.")


def test_a_choice_may_be_a_function_in_a_namespace_or_an_mcp_server() -> None:
    tools = [{"type": "namespace", "name": "n", "description": "", "tools": [FUNCTION]}, {"type": "computer"}]
    assert refused(tools=tools, tool_choice={"type": "function", "name": "f"}) is None
    problem = refused(tools=tools, tool_choice={"type": "custom", "name": "g"})
    assert problem is not None
    assert problem.message == "Tool choice 'g' not found in 'tools' parameter."
