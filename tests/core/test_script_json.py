"""Scripts as JSON: what each shape means, where an error is said to be, and that the published schema agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import turnwire.sansio
from kit.schemas import check_published
from turnwire.sansio.checks import Number
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.forms import (
    ANY,
    FLAG,
    NULL,
    OBJECT,
    TEXT,
    Amount,
    Constant,
    Form,
    ListOf,
    MapOf,
    Members,
    OneOf,
    Shared,
    Texts,
)
from turnwire.sansio.secret import Secret
from turnwire.sansio.server import (
    Asked,
    Attempts,
    AwaitInput,
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
    Rule,
    Rules,
    Script,
    ScriptError,
    Text,
    TextTest,
    Transcript,
    When,
    read_script,
    script_schema,
)

jsonschema = pytest.importorskip("jsonschema")
SPEC = Path(turnwire.sansio.__file__ or "").parent / "spec"
VALID = jsonschema.Draft202012Validator(script_schema())
EVENT = {"type": "keepalive"}
END = {"type": "response.completed", "response": {}}

REPLIES: list[tuple[Any, Any]] = [
    ("text", "text"),
    ({"text": "t"}, Text("t")),
    ({"text": ["a", "b"], "annotations": [{"type": "url_citation"}]}, Text(["a", "b"], [{"type": "url_citation"}])),
    ({"json": {"a": [None]}}, Json({"a": [None]})),
    ({"json": None}, Json(None)),
    ({"fitting_json": True}, Json()),
    ({"call": "f"}, Call("f")),
    ({"call": "f", "arguments": {"q": 1}, "call_id": "c"}, Call("f", {"q": 1}, "c")),
    ({"call": "f", "arguments": "{no json"}, Call("f", "{no json")),
    ({"custom_call": "f", "input": "x", "call_id": "c"}, CustomCall("f", "x", "c")),
    ({"mcp_call": "f", "server_label": "s", "output": "o"}, McpCall("s", "f", output="o")),
    (
        {"mcp_call": "f", "server_label": "s", "arguments": {}, "error": {"type": "e"}},
        McpCall("s", "f", {}, None, {"type": "e"}),
    ),
    ({"reasoning": "why"}, Reasoning("why")),
    ({"reasoning": ["a", "b"], "text": "t", "encrypted_content": "e"}, Reasoning(["a", "b"], "t", "e")),
    ({"refusal": "no"}, Refusal("no")),
    ({"image": "aGk=", "partial": ["aA=="]}, Image("aGk=", ["aA=="])),
    ({"type": "web_search_call", "error": 5}, {"type": "web_search_call", "error": 5}),
    ({"type": "x", "self": 1, "make": 2}, {"type": "x", "self": 1, "make": 2}),
    ({"events": [EVENT]}, RawEvents([EVENT])),
    ({"transcript": [EVENT, END]}, Transcript([EVENT, END])),
    ({"await_input": True}, AwaitInput()),
    ({"await_input": True, "fails": "response_not_found"}, AwaitInput(fails="response_not_found")),
    ({"failed": "server_error"}, Failed("server_error")),
    ({"failed": "server_error", "message": "m"}, Failed("server_error", "m")),
    ({"incomplete": "content_filter"}, Incomplete("content_filter")),
    ({"error": {}}, Problem(500, "server_error", Problem.FAILED)),
    (
        {
            "error": {
                "status": 429,
                "code": None,
                "message": "m",
                "type": "t",
                "param": "p",
                "headers": {"retry-after": "1"},
            }
        },
        Problem(429, None, "m", "p", "t", {"retry-after": "1"}),
    ),
    ([], Reply([])),
    (["a", {"call": "f"}, {"failed": "c"}], Reply(["a", Call("f"), Failed("c")])),
    ({"reply": "x"}, Reply("x")),
    (
        {
            "reply": ["x"],
            "usage": {"input_tokens": 1},
            "response": {"model": "m"},
            "delay": 1,
            "latency": [0, 0.5],
            "jitter": 0.1,
        },
        Reply(["x"], {"input_tokens": 1}, {"model": "m"}, 1, [0, 0.5], 0.1),
    ),
    ({"reply": {"call": "f"}, "latency": 2.0}, Reply(Call("f"), latency=2.0)),
    ({"attempts": ["a", [{"refusal": "b"}]]}, Attempts(["a", Reply([Refusal("b")])])),
]


@pytest.mark.parametrize(("written", "meant"), REPLIES, ids=[json.dumps(written)[:60] for written, _ in REPLIES])
def test_each_shape_of_a_reply_has_one_meaning(written: Any, meant: Any) -> None:
    """P-SCRIPT-6"""
    for document in ([written], {"replies": [written]}, {"$schema": "urn:x", "replies": [written]}):
        assert read_script(document) == [meant]
        assert VALID.is_valid(document)
    assert read_script(json.dumps([written])) == read_script(json.dumps([written]).encode()) == [meant]


RULES: list[tuple[Any, When]] = [
    ({}, When()),
    (
        {"text": "t", "turn": 2, "number": 3.0, "attempt": 1, "connection": 1},
        When(text="t", turn=2, number=3, attempt=1, connection=1),
    ),
    ({"text": {"contains": "a"}, "tool_output": True}, When(text=TextTest(contains="a"), tool_output=True)),
    ({"tool_output": {"matches": "^a"}, "tools": ["f"]}, When(tool_output=TextTest(matches="^a"), tools=["f"])),
    ({"lane": "l", "model": "m", "metadata": {"a": "b"}}, When(lane="l", model="m", metadata={"a": "b"})),
    (
        {"body": {"store": False}, "headers": {"x-a": {"contains": "b"}}},
        When(body={"store": False}, headers={"x-a": TextTest("b")}),
    ),
]


@pytest.mark.parametrize(("written", "meant"), RULES)
def test_conditions_of_a_rule(written: Any, meant: When) -> None:
    """P-SCRIPT-7"""
    document = {"rules": [{"when": written, "reply": "a", "times": 2}, {"reply": ["b"]}]}
    rules = read_script(document)
    assert isinstance(rules, Rules)
    assert rules.rules == (Rule("a", meant, 2), Rule(["b"]))
    assert VALID.is_valid(document)


BAD: list[tuple[Any, str]] = [
    (5, 'the document: 5 is not a script: write a list of replies, {"replies": […]} or {"rules": […]}'),
    ({"reply": []}, 'the document: {"reply": []} is not a script'),
    ({"replies": "a"}, 'replies: "a" is not a list'),
    (
        {"replies": [], "rules": []},
        "rules: there is no such member here: a script of replies can have replies, $schema",
    ),
    ([5], "[0]: 5 is not a reply: text, an item with a type, an object with one of call, custom_call"),
    ([{}], "[0]: {} is not a reply"),
    ([{"call": 5}], "[0].call: 5 is not text"),
    ([{"call": "f", "args": {}}], "[0].args: there is no such member here: a call can have call, arguments, call_id"),
    ([{"call": "f", "arguments": [1]}], "[0].arguments: [1] is not an object, or text"),
    ([{"call": "f", "arguments": None}], "[0].arguments: null is not an object, or text"),
    ([{"call": "f", "call_id": True}], "[0].call_id: true is not text"),
    ([{"text": ["a", 1]}], "[0].text[1]: 1 is not text"),
    ([{"text": "a", "annotations": [{}]}], "[0].annotations[0].type: it is missing: write it"),
    ([{"fitting_json": False}], "[0].fitting_json: false is not true"),
    (
        [{"await_input": True, "fails": "x"}],
        '[0].fails: "x" is not one of "response_already_completed", "response_not_found"',
    ),
    ([{"mcp_call": "f"}], "[0].server_label: it is missing: write it"),
    ([{"type": 5}], "[0].type: 5 is not text"),
    ([{"events": [5]}], "[0].events[0]: 5 is not an object with a type, as the API has it"),
    ([{"transcript": []}], "[0].transcript: [] is not a list of 1 or more"),
    ([["a", ["b"]]], '[0][1]: ["b"] is not a part of a reply: text'),
    ([["a", {"reply": "b"}]], '[0][1]: {"reply": "b"} is not a part of a reply: text'),
    ([{"reply": {"attempts": ["a"]}}], '[0].reply: {"attempts": ["a"]} is not a part of a reply: text'),
    ([{"reply": "a", "delay": -1}], "[0].delay: -1 is not a number of seconds, 0 or more"),
    ([{"reply": "a", "latency": [1, "x"]}], '[0].latency[1]: "x" is not a number of seconds, 0 or more'),
    ([{"error": {"status": 600}}], "[0].error.status: 600 is not an HTTP status, 200 or more, up to 599"),
    ([{"error": {"status": 200.5}}], "[0].error.status: 200.5 is not an HTTP status"),
    ([{"error": {"headers": []}}], "[0].error.headers: [] is not an object of headers"),
    ([{"error": {"headers": {"a b": "c"}}}], '[0].error.headers: "a b" is not the name of a header'),
    ([{"error": {"headers": {"a": "ä"}}}], '[0].error.headers.a: "ä" is not the value of a header'),
    ([{"error": "x"}], '[0].error: "x" is not an error'),
    ([{"error": {"statuts": 500}}], "[0].error.statuts: there is no such member here: an error can have status, code"),
    ([{"attempts": []}], "[0].attempts: [] is not a list of 1 or more"),
    ([{"attempts": [{"attempts": ["a"]}]}], '[0].attempts[0]: {"attempts": ["a"]} is not a reply'),
    ({"rules": [{}]}, "rules[0].reply: it is missing: write it"),
    ({"rules": ["a"]}, 'rules[0]: "a" is not a rule'),
    ({"rules": [{"reply": "a", "times": 0}]}, "rules[0].times: 0 is not a whole number, 1 or more"),
    ({"rules": [{"reply": "a", "times": None}]}, "rules[0].times: null is not a whole number, 1 or more"),
    ({"rules": [{"reply": "a", "when": {"turn": 1.5}}]}, "rules[0].when.turn: 1.5 is not a whole number"),
    (
        {"rules": [{"reply": "a", "when": {"txt": "a"}}]},
        "rules[0].when.txt: there is no such member here: when can have text",
    ),
    ({"rules": [{"reply": "a", "when": {"text": {"is": "a"}}}]}, "rules[0].when.text.is: there is no such member here"),
    ({"rules": [{"reply": "a", "when": {"tool_output": 1}}]}, "rules[0].when.tool_output: 1 is not true, false, or a"),
    ({"rules": [{"reply": {"attempts": ["a"]}}]}, 'rules[0].reply: {"attempts": ["a"]} is not a reply'),
]


@pytest.mark.parametrize(("document", "message"), BAD, ids=[json.dumps(document)[:60] for document, _ in BAD])
def test_an_error_names_the_place_and_the_schema_refuses_the_same(document: Any, message: str) -> None:
    """P-SCRIPT-8"""
    with pytest.raises(UserError) as caught:
        read_script(document)
    assert str(caught.value).startswith(message)
    assert not VALID.is_valid(document)


BEYOND: list[tuple[Any, str]] = [
    ([[{"failed": "c"}, "a"]], "[0]: Failed(code='c'"),
    ([{"reply": [{"transcript": [END]}, "a"]}], "[0]: a Transcript is a whole response"),
    ([{"transcript": [EVENT]}], "[0]: Transcript.events has no terminal event at its end"),
    ({"rules": [{"reply": "a", "when": {"text": {"matches": "("}}}]}, "rules[0].when.text: matches is '(': no regular"),
]


@pytest.mark.parametrize(("document", "message"), BEYOND)
def test_what_no_schema_can_say_is_refused_by_the_reader(document: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_script(document)
    assert str(caught.value).startswith(message)
    assert VALID.is_valid(document)


def test_text_that_is_no_json_is_refused() -> None:
    for text in ("{", "", "[NaN]", b"\xff"):
        with pytest.raises(UserError, match="it is no JSON: "):
            read_script(text)


def test_the_published_schema_is_that_of_the_reader() -> None:
    check_published(SPEC / "script.schema.json", script_schema())
    jsonschema.Draft202012Validator.check_schema(script_schema())


# --- Forms -----------------------------------------------------------------------------------------------------------

FORMS: list[Form] = [
    *(ANY, FLAG, NULL, OBJECT, TEXT, Amount(Number("a number")), Amount(Number("a number", above=True, optional=True))),
    *(Amount(Number("a count", whole=True), 3), Constant((True,)), Constant(("a", "b")), ListOf(TEXT), ListOf(FLAG, 1)),
    *(MapOf("a map", Texts("a word", "[a-z]+"), FLAG), Members("some", {"a": TEXT}, dict), Texts("a word", "[a-z]+")),
    *(Members("one", {"a": TEXT}, dict, ("a",)), Members("more", {"a": TEXT}, dict, open=True)),
    *(OneOf("either", (TEXT, FLAG)), Shared("word", TEXT)),
]
VALUES: list[Any] = [None, True, False, 0, 1, 3, 4, -1, 1.5, 2.0, "", "a", "b", "aa1", [], ["a"], [True], [None], {}]
VALUES += [{"a": "b"}, {"a": True}, {"1": True}, {"b": 5}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_form_reads_what_its_schema_allows_and_nothing_else(form: Form) -> None:
    shared: dict[str, Any] = {}
    root = form.schema(shared)
    valid = jsonschema.Draft202012Validator({**root, "$defs": shared})
    for value in VALUES:
        if valid.is_valid(value):
            form.read(value, "")
            assert form.fits(value)
        else:
            with pytest.raises(UserError, match=r".+: .+"):
                form.read(value, "")


# --- Rules -----------------------------------------------------------------------------------------------------------


def output(text: str, kind: str = "function_call_output") -> dict[str, Any]:
    return {"type": kind, "call_id": "c", "output": text}


LONG = Remembered("resp_2", [], [], Remembered("resp_1", [], []))
ASKED = Asked(
    body={
        "model": "m",
        "input": "rain today",
        "metadata": {"a": "b", "c": "d"},
        "tools": [{"name": "f"}, {"name": "g"}],
    },
    number=4,
    attempt=2,
    connection=3,
    lane="l",
    headers={"x-test": "1", "authorization": Secret("Bearer k")},
    previous=LONG,
)
GIVEN = Asked(
    body={
        "input": [
            output("no"),
            {"role": "user", "content": "x"},
            output("yes"),
            output("no", "custom_tool_call_output"),
        ]
    },
    number=1,
)
TRUE = [
    When(),
    When(text="rain today"),
    When(text=TextTest(contains="rain", matches="y$")),
    When(number=4, attempt=2, connection=3, lane="l", turn=3, model="m"),
    When(tools=["g"], metadata={"a": "b"}, body={"metadata": {"c": "d"}, "model": "m"}),
    When(headers={"X-Test": "1", "authorization": TextTest(matches="k$")}),
    When(tool_output=False),
]
FALSE = [
    When(text="rain"),
    When(text=TextTest(contains="snow")),
    When(text=TextTest(matches="^today")),
    *(When(number=1), When(attempt=1), When(connection=1), When(lane="k"), When(turn=1), When(model="n")),
    *(When(tools=["f", "h"]), When(metadata={"a": "c"}), When(body={"store": False}), When(headers={"x": "1"})),
    *(When(tool_output=True), When(tool_output="yes")),
]


@pytest.mark.parametrize("when", TRUE, ids=repr)
def test_a_condition_that_a_request_keeps_to(when: When) -> None:
    assert when.accepts(ASKED)


@pytest.mark.parametrize("when", FALSE, ids=repr)
def test_a_condition_that_it_does_not_keep_to(when: When) -> None:
    assert not when.accepts(ASKED)


def test_conditions_on_what_the_tools_gave_at_the_end_of_the_input() -> None:
    for wanted in (True, "yes", "no", TextTest(contains="es")):
        assert When(tool_output=wanted).accepts(GIVEN)
    assert not When(tool_output=False).accepts(GIVEN)
    earlier = Asked(body={"input": [output("yes"), {"role": "user", "content": "x"}]}, number=1)
    assert not When(tool_output="yes").accepts(earlier)
    assert When(tool_output=False).accepts(earlier)


def test_the_first_rule_that_fits_has_the_reply_as_often_as_it_says() -> None:
    """P-SCRIPT-5"""
    script = Script(
        Rules([Rule("once", When(model="m"), times=1), Rule("other", When(model="m")), Rule("b", When(turn=2))])
    )
    taken = script.take(ASKED)
    assert (taken.place, taken.reply) == (0, Reply("once"))
    assert script.take(ASKED).reply == Reply("other")
    script.put_back(script.take(ASKED))
    assert script.take(ASKED).reply == Reply("other")
    script.put_back(taken)
    assert script.take(ASKED).reply == Reply("once")
    assert script.left == 0
    with pytest.raises(ScriptError, match=r"request 1 .*: no rule fits .* write another rule"):
        script.take(GIVEN)
    assert len(script.errors) == 1
    script.restart()
    assert script.errors == []
    assert script.take(ASKED).reply == Reply("once")


def test_a_list_begins_anew() -> None:
    script = Script(["a", "b"])
    assert [script.take(ASKED).reply, script.attempt("x"), script.attempt("x")] == [Reply("a"), 1, 2]
    script.restart()
    assert (script.left, script.attempt("x"), script.take(ASKED).reply) == (2, 1, Reply("a"))


@pytest.mark.parametrize("wrong", [lambda: Rules(["a"]), lambda: Rule("a", {"text": "b"}), lambda: Rule(5)])  # type: ignore[list-item]
def test_what_is_no_rule_is_refused(wrong: Any) -> None:
    with pytest.raises(WrongTypeError, match="write"):
        wrong()
    with pytest.raises(UserError, match=r"Rule\.times is 0"):
        Rule("a", times=0)
