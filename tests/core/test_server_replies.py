"""What the events of a scripted reply are: those of the API, held against ``openai``'s models and turnwire's reader."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.events import OutputItems, decode_event
from turnwire.sansio.server import (
    Asked,
    Attempts,
    Call,
    CustomCall,
    Failed,
    Image,
    Incomplete,
    Json,
    McpCall,
    Problem,
    RawEvents,
    Reasoning,
    Refusal,
    Remembered,
    Reply,
    Script,
    ScriptError,
    StoredResponse,
    Text,
    Transcript,
    differences,
    fit,
    reply_events,
    reply_of,
    words,
)

ADAPTER: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
CITATION = {"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 0, "end_index": 2}


def events(reply: Any, previous: Remembered | None = None, **body: Any) -> list[dict[str, Any]]:
    return list(reply_events(reply_of(reply), body, previous, number=7, created_at=1_700_000_000))


def response(reply: Any, **body: Any) -> dict[str, Any]:
    return events(reply, **body)[-1]["response"]


def output(reply: Any, **body: Any) -> list[dict[str, Any]]:
    return response(reply, **body)["output"]


def kinds(reply: Any, **body: Any) -> list[str]:
    """The types of the events between those of the response, without the prefix that all have."""
    return [event["type"].removeprefix("response.") for event in events(reply, **body)[2:-1]]


EVERY: list[Any] = [
    "two words",
    "",
    Text("It rains.", [CITATION]),
    Text(["It ", "ra", "ins."]),
    Json({"a": [1, None]}),
    Refusal("I will not."),
    Call("f", {"a": 1}),
    Call("f", "no JSON", "call_x"),
    CustomCall("edit", "*** Begin Patch"),
    McpCall("deepwiki", "ask", {"q": "x"}, output="42"),
    McpCall("deepwiki", "ask", error={"type": "mcp_tool_execution_error", "content": []}),
    Reasoning("Let me see."),
    Reasoning(["One.", "Two."], "raw thought", "c2VjcmV0"),
    Image("aW1hZ2U=", ["cGFydA==", "cGFydDI="]),
    {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "file_search_call", "status": "completed", "queries": ["q"]},
    {"type": "code_interpreter_call", "status": "completed", "code": "1 + 1", "container_id": "c", "outputs": []},
    {"type": "mcp_list_tools", "server_label": "deepwiki", "tools": []},
    {"type": "mcp_list_tools", "server_label": "deepwiki", "tools": [], "error": "gone"},
    {"type": "mcp_approval_request", "server_label": "deepwiki", "name": "ask", "arguments": "{}"},
    {"type": "compaction", "encrypted_content": "c2VjcmV0"},
    {"type": "local_shell_call", "id": "mine", "call_id": "c", "status": "completed", "action": {"type": "exec"}},
]


@pytest.mark.parametrize("part", [*EVERY, EVERY, []], ids=repr)
def test_each_part_gives_the_events_of_the_api_with_their_indices(part: Any) -> None:
    """P-SCRIPT-1."""
    made = events(part)
    adopted, gathered = [], OutputItems()
    for number, event in enumerate(made):
        message = {**event, "sequence_number": number}
        if "local_shell_call" not in str(event):  # Its action is not whole, which the models require.
            assert ADAPTER.validate_python(message).type == event["type"]
        decoded = decode_event(json.dumps(message).encode())
        if event["type"].startswith("response.output_item"):
            gathered.add(decoded)  # type: ignore[arg-type]
        if event["type"] == "response.output_item.added":
            adopted.append(event["output_index"])
            assert event["item"].get("status") in (None, "in_progress")
    assert [event["type"] for event in made[:2]] == ["response.created", "response.in_progress"]
    items = made[-1]["response"]["output"]
    assert adopted == list(range(len(items)))
    assert len({item["id"] for item in items}) == len(items)
    for event in made[2:-1]:
        if "item_id" in event:
            assert event["item_id"] == items[event["output_index"]]["id"]
    last: Any = decode_event(json.dumps({"type": "response.completed", "response": {"id": "resp_7"}}).encode())
    gathered.complete(last)
    assert last.response.to_dict().get("output", []) == items


@pytest.mark.parametrize("part", EVERY, ids=repr)
def test_the_deltas_joined_are_what_is_done(part: Any) -> None:
    """P-SCRIPT-1."""
    texts: dict[str, str] = {}
    for event in events(part):
        kind, _, step = event["type"].rpartition(".")
        if step == "delta":
            texts[kind] = texts.get(kind, "") + event["delta"]
        elif step == "done" and kind in texts:
            whole = [event[name] for name in ("text", "refusal", "arguments", "input", "code") if name in event]
            assert texts.pop(kind) == whole[0]
    assert texts == {}


def test_the_order_of_events_of_an_item() -> None:
    """P-SCRIPT-1."""
    message = ["output_item.added", "content_part.added", "content_part.done", "output_item.done"]
    assert kinds("") == [*message[:2], "output_text.done", *message[2:]]
    annotated = ["output_text.delta", "output_text.annotation.added", "output_text.done"]
    assert kinds(Text("x", [CITATION])) == [*message[:2], *annotated, *message[2:]]
    assert kinds(Refusal("no")) == [*message[:2], "refusal.delta", "refusal.done", *message[2:]]
    summary = ["part.added", "text.delta", "text.done", "part.done"]
    assert kinds(Reasoning("x"))[1:-1] == [f"reasoning_summary_{step}" for step in summary]
    assert kinds(Reasoning(text="x"))[1:-1] == [
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
    ]
    stem = "image_generation_call."
    steps = ["in_progress", "generating", "partial_image", "completed"]
    assert kinds(Image("x", ["y"]))[1:-1] == [stem + step for step in steps]
    assert kinds(McpCall("s", "f", error={}))[-2] == "mcp_call.completed"
    assert kinds(McpCall("s", "f", error={"type": "x"}))[-2] == "mcp_call.failed"


def test_a_raw_message_is_streamed_part_by_part_and_odd_parts_cost_nothing_else() -> None:
    parts = [{"type": "output_text", "text": "a b"}, {"type": "refusal", "refusal": "c"}, {"type": "tomorrow"}, 5]
    made = events({"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": parts})
    assert [event["content_index"] for event in made if event["type"].endswith("part.added")] == [0, 1, 2]
    assert [event["delta"] for event in made if event["type"].endswith("delta")] == ["a", " b", "c"]
    assert kinds({"type": "message", "content": "text"}) == ["output_item.added", "output_item.done"]


def test_what_a_part_becomes() -> None:
    call, custom, mcp = output([Call("f"), CustomCall("g", "x", "call_1"), McpCall("s", "h", "{}")])
    assert (call["arguments"], call["call_id"]) == ("{}", "call_000000000007_0")
    assert (custom["input"], custom["call_id"]) == ("x", "call_1")
    assert (mcp["arguments"], mcp["output"], mcp["status"]) == ("{}", None, "completed")
    assert output({"type": "x"}) == [{"id": "item_000000000007_0", "type": "x"}]
    assert output(Json())[0]["content"][0]["text"] == "{}"
    assert output(Json(None))[0]["content"][0]["text"] == "null"


def test_the_end_of_a_response() -> None:
    failed = response(["Half a", Failed("rate_limit_exceeded", "Slow down.")])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "rate_limit_exceeded")
    assert failed["output"][0]["status"] == "completed"
    stopped = response(["a", "b", Incomplete("content_filter")])
    assert (stopped["status"], stopped["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert [item["status"] for item in stopped["output"]] == ["completed", "incomplete"]
    refused = events(Problem(429, "rate_limit_exceeded", "Slow down.", headers={"retry-after": "1"}))
    assert [(event["type"], event["status"]) for event in refused] == [("error", 429)]
    cut = events(["Half a", Problem(500, "server_error", "Oh.")])
    assert [event["type"] for event in cut[-2:]] == ["response.output_item.done", "error"]


def test_a_stored_response_that_ends_with_an_error_has_failed() -> None:
    stored = StoredResponse({"background": True})
    for event in stored.record(events(["Half a", Problem(500, "server_error", "Oh.")])):
        assert stored.ended is (event["type"] == "error")
    assert stored.response is not None
    assert stored.response["status"] == "failed"


def test_a_response_in_the_background_is_queued_first() -> None:
    """P-RETRIEVE-10."""
    begun = events("x", background=True)[:4]
    assert [(event["type"], event.get("response", {}).get("status")) for event in begun] == [
        ("response.created", "queued"),
        ("response.queued", "queued"),
        ("response.in_progress", "in_progress"),
        ("response.output_item.added", None),
    ]


def test_events_of_ones_own() -> None:
    extra = {"type": "response.tomorrow", "response_id": "resp_000000000007"}
    made = events(["a", RawEvents([extra]), "b"])
    place = made.index(extra)
    assert [event.get("output_index") for event in (made[place - 1], made[place + 1])] == [0, 1]
    whole = [{"type": "response.created", "response": {"id": "r"}}, {"type": "error", "error": {}}]
    assert events(Transcript(whole)) == whole


def test_usage_counts_words_and_can_be_said() -> None:
    previous = Remembered("resp_1", [{"type": "message", "content": "a b c"}], [{"content": "d"}])
    usage = events("e f", previous, input="g")[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (5, 2, 7)
    assert usage["input_tokens_details"]["cached_tokens"] == 4
    said = {"input_tokens": 100, "output_tokens_details": {"reasoning_tokens": 9}}
    usage = response(Reply("e f", usage=said))["usage"]
    assert (usage["total_tokens"], usage["output_tokens_details"]) == (102, {"reasoning_tokens": 9})
    assert response(Reply("x", usage={"total_tokens": 1}))["usage"]["total_tokens"] == 1


def test_the_words_of_a_conversation_are_counted_once_however_long_it_is() -> None:
    link: Remembered | None = None
    for number in range(20_000):
        link = Remembered(f"resp_{number}", [{"content": "a b"}], [{"content": "c"}], link)
    assert link is not None
    assert link.words == 60_000
    assert len(link.items()) == 40_000


def test_fields_of_the_response_can_be_said() -> None:
    made = events(Reply("x", response={"model": "gpt-6", "service_tier": "flex"}), model="other")
    assert {event["response"]["model"] for event in made if "response" in event} == {"gpt-6"}
    assert response("x", model="other", conversation="c")["conversation"] == {"id": "c"}


def test_when_each_event_is_due() -> None:
    assert [Reply("x", delay=1.0).pause(1, k, 0.5) for k in range(3)] == [1.5, 0.5, 0.5]
    assert [Reply("x", latency=[1, 2]).pause(1, k, 9.0) for k in range(4)] == [1, 2, 2, 2]
    assert Reply("x", latency=[]).pause(1, 0, 9.0) == 9.0
    jittery = Reply("x", jitter=0.25)
    pauses = [jittery.pause(1, k, 1.0) for k in range(100)]
    assert pauses == [jittery.pause(1, k, 1.0) for k in range(100)]
    assert all(1.0 <= pause < 1.25 for pause in pauses)
    assert len(set(pauses)) > 90
    assert Reply("x", latency=0.5, delay=1).total_pause(1, 4, 9.0) == 3.0
    assert Reply("x", delay=1).total_pause(1, 4, 0.5) == 1.5


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Reply(5), WrongTypeError, "5 is no part of a reply"),  # type: ignore[arg-type]
        (lambda: Reply(["x", None]), WrongTypeError, "None is no part"),  # type: ignore[list-item]
        (lambda: Reply({"text": "x"}), UserError, "has no type"),
        (lambda: Reply({"type": "x", "y": object()}), UserError, "is not JSON"),
        (lambda: Reply([Failed(), "x"]), UserError, "write it last"),
        (lambda: Reply(["x", Transcript([{"type": "error"}])]), UserError, "write it alone"),
        (lambda: Reply("x", delay=-1), UserError, "Reply.delay is -1"),
        (lambda: Reply("x", jitter="x"), WrongTypeError, "Reply.jitter"),  # type: ignore[arg-type]
        (lambda: Reply("x", latency=[1, -1]), UserError, "Reply.latency is -1"),
        (lambda: Reply("x", usage=5), WrongTypeError, "Reply.usage is 5"),  # type: ignore[arg-type]
        (lambda: Text(["a", 5]), WrongTypeError, "Text.text"),  # type: ignore[list-item]
        (lambda: Call(5), WrongTypeError, "Call.name is 5: write a string"),  # type: ignore[arg-type]
        (lambda: Call("f", [1]), WrongTypeError, "Call.arguments"),  # type: ignore[arg-type]
        (lambda: RawEvents("x"), WrongTypeError, "RawEvents.events is 'x'"),  # type: ignore[arg-type]
        (lambda: RawEvents([5]), UserError, "5 has no type"),  # type: ignore[list-item]
        (lambda: Transcript([]), UserError, "no terminal event"),
        (lambda: Transcript([{"type": "response.created"}]), UserError, "no terminal event"),
    ],
)
def test_what_cannot_be_a_reply_is_refused_when_it_is_written(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        make()


# --- Scripts ---------------------------------------------------------------------------------------------------------


def asked(text: str = "", **fields: Any) -> Asked:
    return Asked(**{"body": {"input": text}, "number": 1, **fields})


def test_a_list_gives_each_request_the_next_reply_and_then_says_which_request_found_none() -> None:
    """P-SCRIPT-2, P-SCRIPT-4."""
    script = Script(["one", Call("f")])
    assert [script.take(asked()).reply for _ in range(2)] == [Reply("one"), Reply(Call("f"))]
    assert script.left == 0
    with pytest.raises(
        ScriptError, match=r"request 3 .connection 2, lane 'a'., which says 'more'.* 2 replies"
    ) as caught:
        script.take(asked("more", number=3, connection=2, lane="a"))
    assert script.errors == [caught.value]
    problem = caught.value.problem()
    assert (problem.status, problem.code, problem.headers) == (500, "script_error", {"x-should-retry": "false"})


def test_a_reply_that_is_put_back_is_given_to_the_request_that_repeats() -> None:
    """P-SCRIPT-3."""
    script = Script(["one", Attempts(["two", "three"]), "four"])
    first, second = script.take(asked()), script.take(asked())
    script.put_back(second)
    script.put_back(first)
    given = [script.take(asked()) for _ in range(2)]
    assert [taken.reply for taken in given] == [Reply("one"), Reply("three")]
    script.put_back(given[1])
    assert [script.take(asked()).reply for _ in range(2)] == [Reply("three"), Reply("four")]


def test_a_function_answers_every_request() -> None:
    script = Script(lambda request: request.text)
    taken = script.take(asked())
    script.put_back(taken)
    assert script.left == 0
    reply: Any = taken.reply
    assert reply(asked("hello")) == "hello"
    assert [script.attempt("a"), script.attempt("b"), script.attempt("a")] == [1, 1, 2]


def test_an_error_of_the_script_is_kept_and_says_what_it_was() -> None:
    script = Script(lambda request: "")
    assert "KeyError was raised" in str(script.failed(asked(), KeyError("secret")))
    assert "secret" not in str(script.errors[0])
    assert str(script.failed(asked(), UserError("write another"))).endswith("write another")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("text", "reply is 'text': write a list"),
        ({"type": "x"}, "write a list"),
        (5, "write a list"),
        ([5], r"reply\[0\]: 5 is no part"),
        (["x", Attempts([])], r"reply\[1\] has no attempts"),
    ],
)
def test_what_cannot_be_a_script(script: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Script(script)


def test_what_a_function_sees_of_a_request() -> None:
    items = [
        {"type": "function_call_output", "call_id": "call_1", "output": "42"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "43"}]},
    ]
    tools = [{"type": "function", "name": "f"}, {"type": "web_search"}]
    request = asked(body={"input": items, "tools": tools}, previous=Remembered("r", [{"a": 1}], [{"b": 2}]))
    assert request.text == "43"
    assert request.outputs == {"call_1": "42", "call_2": items[1]["output"]}
    assert request.tools == ["f", "web_search"]
    assert request.conversation() == [{"a": 1}, {"b": 2}, *items]
    assert (asked("hi").text, asked(body={}).text, asked(body={}).conversation()) == ("hi", "", [])


# --- Differences -----------------------------------------------------------------------------------------------------


def even(value: int) -> bool:
    return value % 2 == 0


@pytest.mark.parametrize(
    ("expected", "got", "lines"),
    [
        (1, 1, []),
        (..., object, []),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4}, []),
        ({"a": 1}, {}, ["x.a: expected 1, got nothing of that name"]),
        ({"a": 1}, 5, ["x: expected {'a': 1}, got 5"]),
        ([1], [1, 2], ["x: expected 1 items, got 2"]),
        (["a", "b"], ("a", "c"), ["x[1]: expected 'b', got 'c'"]),
        ("ab", ["a", "b"], ["x: expected 'ab', got ['a', 'b']"]),
        (even, 2, []),
        (even, 3, ["x: even is not true of 3"]),
        (1, None, ["x: expected 1, got None"]),
    ],
)
def test_a_difference_says_where_it_is(expected: Any, got: Any, lines: list[str]) -> None:
    assert list(differences(expected, got, "x")) == lines


# --- Values that fit a schema ----------------------------------------------------------------------------------------

NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["value", "next"],
}
TREE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "parent": {"$ref": "#"}},
    "required": ["children"],
}
FORMATS = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid", "unknown")
SCHEMAS: list[Any] = [
    True,
    {},
    {"const": {"a": [1]}},
    {"enum": ["b", "a"]},
    {"type": ["null", "string"]},
    {"type": ["null"]},
    {"type": "boolean"},
    {"type": "string", "minLength": 12},
    {"type": "string", "maxLength": 2},
    {"maxLength": 0},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    {"type": "string", "pattern": "^[0-9]+$", "minLength": 3, "maxLength": 3},
    *({"type": "string", "format": name} for name in FORMATS),
    *({"type": "array", "items": {"format": name}, "minItems": 3, "uniqueItems": True} for name in FORMATS),
    {"type": "integer", "minimum": 5},
    {"type": "integer", "maximum": -5},
    {"type": "integer", "exclusiveMinimum": 5, "multipleOf": 4},
    {"type": "integer", "minimum": 1.5, "maximum": 2.5},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": 0.5},
    {"minimum": 7, "maximum": 7},
    {"type": "number", "exclusiveMaximum": 0, "multipleOf": 0.5},
    {"type": "array", "items": {"type": "integer"}, "minItems": 4, "uniqueItems": True},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False},
    {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    {"type": "array"},
    {"minItems": 2},
    {"properties": {"a": {"type": "string"}}, "required": ["a", "b"], "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": {"type": "string"}, "never": False}, "additionalProperties": False},
    {"anyOf": [False, {"type": "integer", "minimum": 9}], "maximum": 10},
    {"type": "object", "oneOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}]},
    {
        "allOf": [
            {"properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]},
            {"properties": {"a": {"maximum": 9, "minimum": 5}, "b": {"enum": [1, 2]}}, "required": ["a", "b"]},
            {"properties": {"b": {"enum": [2, 3]}}},
        ]
    },
    {"allOf": [{"type": "integer", "exclusiveMaximum": 9}, {"exclusiveMaximum": 5, "exclusiveMinimum": 3}, True]},
    {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    {"$ref": "#/$defs/a~1b%25/prefixItems/0", "$defs": {"a/b%": {"prefixItems": [{"type": "integer"}]}}},
    {"allOf": [{"type": "integer"}, {"type": "integer"}]},
    {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}, "minimum": 3},
    TREE,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_a_value_fits_its_schema(schema: Any) -> None:
    value = fit(schema)
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)
    assert json.dumps(fit(schema)) == json.dumps(value)


def test_json_and_calls_fit_what_the_request_asks_for() -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Bern"]}}, "required": ["city"]}
    form = {"type": "json_schema", "name": "n", "schema": schema}
    assert output(Json(), text={"format": form})[0]["content"][0]["text"] == '{"city":"Bern"}'
    tools = [{"type": "function", "name": "f", "parameters": schema}, {"type": "function", "name": "g"}]
    calls = output([Call("f"), Call("g"), Call("h"), Call("f", {})], tools=tools)
    assert [call["arguments"] for call in calls] == ['{"city":"Bern"}', "{}", "{}", "{}"]


MANY = {
    f"d{n}": {"type": "object", "properties": {f"p{m}": {"$ref": f"#/$defs/d{m}"} for m in range(9)}} for n in range(9)
}


def test_a_schema_whose_parts_all_contain_each_other_is_bounded() -> None:
    schema = {"$ref": "#/$defs/d0", "$defs": MANY}
    value = fit(schema)
    Draft202012Validator(schema).validate(value)
    assert len(json.dumps(value)) < 100_000


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"anyOf": [False]},
        {"allOf": [False]},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "string", "pattern": "^never[0-9]{9}$"},
        {"type": "string", "pattern": "("},
        {"type": "tomorrow"},
        {"type": "array", "minItems": 1, "items": False},
        {"type": "array", "minItems": 10**9},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"$ref": "#/$defs/none"},
        {"$ref": "#/$defs/a/7", "$defs": {"a": []}},
        {"$ref": "#/$defs/a/7", "$defs": {"a": 5}},
    ],
    ids=json.dumps,
)
def test_a_schema_that_no_value_is_found_for_says_what_to_write(schema: Any) -> None:
    with pytest.raises(UserError, match="write the value in the script"):
        fit(schema)


def test_a_schema_without_an_end_is_refused() -> None:
    deep: Any = {"type": "integer"}
    for _ in range(3000):
        deep = {"type": "array", "items": deep, "minItems": 1}
    with pytest.raises(UserError, match="no value was found"):
        fit(deep)


@pytest.mark.parametrize("text", ["", "a", " a  b\n", "a b c", "  "])
def test_words_are_exactly_the_text(text: str) -> None:
    assert "".join(words(text)) == text
    assert all(word.strip() or word == text for word in words(text))
