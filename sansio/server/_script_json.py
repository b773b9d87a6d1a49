"""Scripts as JSON: for programs in any language that use ``turnwire serve`` (PROTOCOL.md, "Scripts as JSON").

::

    ["Hello.", {"call": "search", "arguments": {"q": "rain"}}, {"reply": "It rains.", "delay": 0.5}]
    {"replies": [...]}
    {"rules": [{"when": {"text": {"contains": "rain"}}, "reply": "It rains."}, {"reply": "I do not know."}]}

The tables below are the vocabulary. The reader and the published schema, ``sansio/spec/script.schema.json``, both come
from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..checks import COUNT, SECONDS, Number
from ..errors import UserError
from ..forms import (
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
    json_schema,
)
from ._injecting import INJECT_MEANINGS
from ._json import read_json
from ._problem import Problem
from ._replies import (
    AwaitInput,
    Call,
    CustomCall,
    Failed,
    Image,
    Incomplete,
    Json,
    McpCall,
    RawEvents,
    Reasoning,
    Refusal,
    Reply,
    Text,
    Transcript,
)
from ._rules import Rule, Rules, TextTest, When
from ._scripting import Attempts, ScriptLike

__all__ = ["ERROR_MEMBERS", "parse_json", "read_script", "script_schema"]

_TEXTS: Final = OneOf("text, or a list of texts", (TEXT, ListOf(TEXT)))
_TEXT_OR_NULL: Final = OneOf("text, or null", (TEXT, NULL))
_OBJECT_OR_TEXT: Final = OneOf("an object, or text", (OBJECT, TEXT))
_SECONDS: Final = Amount(Number(SECONDS))
_FROM_1: Final = Amount(Number(COUNT, least=1, whole=True))
_ITEM: Final = Shared(
    "item", Members("an object with a type, as the API has it", {"type": TEXT}, dict, ("type",), open=True)
)

_HEADER_NAMES: Final = Texts("the name of a header", r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

ERROR_MEMBERS: Final[Mapping[str, Form]] = {
    "status": Amount(Number("an HTTP status", least=200, whole=True), 599),
    "code": _TEXT_OR_NULL,
    "message": TEXT,
    "type": _TEXT_OR_NULL,
    "param": _TEXT_OR_NULL,
    "headers": MapOf(
        "an object of headers",
        _HEADER_NAMES,
        Texts("the value of a header: ASCII text in one line", r"(?:[!-~](?:[ -~]*[!-~])?)?"),
    ),
}
"""What an error has, in a script and as the action of a fault."""


# --- Parts of a reply ------------------------------------------------------------------------------------------------


def _part(what: str, kind: Callable[..., Any], tag: str, members: Mapping[str, Form]) -> Members:
    """An object that is named by one member, which is the first argument of the struct that it makes."""

    def make(**given: Any) -> Any:
        return kind(given.pop(tag), **given)

    return Members(what, members, make, (tag,))


def _error(error: Mapping[str, Any]) -> Problem:
    whole: dict[str, Any] = {"status": 500, "code": "server_error", "message": Problem.FAILED, **error}
    return Problem(**whole)


def _mcp_call(mcp_call: str, server_label: str, **given: Any) -> McpCall:
    return McpCall(server_label, mcp_call, **given)


def _await_input(await_input: bool, fails: str | None = None) -> AwaitInput:
    return AwaitInput(fails=fails)


def _fitting(fitting_json: bool) -> Json:
    return Json()


_PARTS: Final[tuple[Members, ...]] = (
    _part("a call", Call, "call", {"call": TEXT, "arguments": _OBJECT_OR_TEXT, "call_id": TEXT}),
    _part("a call of a custom tool", CustomCall, "custom_call", {"custom_call": TEXT, "input": TEXT, "call_id": TEXT}),
    Members(
        "a call of an MCP tool",
        {"mcp_call": TEXT, "server_label": TEXT, "arguments": _OBJECT_OR_TEXT, "output": TEXT, "error": OBJECT},
        _mcp_call,
        ("mcp_call", "server_label"),
    ),
    _part(
        "reasoning",
        Reasoning,
        "reasoning",
        {"reasoning": _TEXTS, "text": TEXT, "encrypted_content": TEXT},
    ),
    _part("a refusal", Refusal, "refusal", {"refusal": TEXT}),
    _part("an image", Image, "image", {"image": TEXT, "partial": ListOf(TEXT)}),
    _part("a message of JSON", Json, "json", {"json": ANY}),
    Members(
        "a message of JSON that fits the schema of the request",
        {"fitting_json": Constant((True,))},
        _fitting,
        ("fitting_json",),
    ),
    _part("events", RawEvents, "events", {"events": ListOf(_ITEM)}),
    _part("all events of a response", Transcript, "transcript", {"transcript": ListOf(_ITEM, least=1)}),
    Members(
        "a wait for injected input",
        {"await_input": Constant((True,)), "fails": Constant(tuple(INJECT_MEANINGS))},
        _await_input,
        ("await_input",),
    ),
    _part("a failure", Failed, "failed", {"failed": TEXT, "message": TEXT}),
    _part("an early end", Incomplete, "incomplete", {"incomplete": TEXT}),
    _part("an error", _error, "error", {"error": Members("an error", ERROR_MEMBERS, dict)}),
    _part("a message", Text, "text", {"text": _TEXTS, "annotations": ListOf(_ITEM)}),
)
"""By the member that says which one it is. An object with a ``type`` is an item, whatever else it has."""

_TAGS: Final = ", ".join(part.required[0] for part in _PARTS)
_PART: Final = Shared(
    "part",
    OneOf(
        f"a part of a reply: text, an item with a type, or an object with one of {_TAGS}",
        (TEXT, _ITEM, *_PARTS),
    ),
)
_CONTENT: Final = OneOf(f"{_PART}, or a list of these", (ListOf(_PART), _PART))


# --- Replies and rules -----------------------------------------------------------------------------------------------

_REPLY: Final = Shared(
    "reply",
    OneOf(
        f"a reply: text, an item with a type, an object with one of {_TAGS}, reply, or a list of parts",
        (
            ListOf(_PART, make=Reply),
            _part(
                "a reply with usage and timing",
                Reply,
                "reply",
                {
                    "reply": _CONTENT,
                    "usage": OBJECT,
                    "response": OBJECT,
                    "delay": _SECONDS,
                    "latency": OneOf("a number of seconds, or a list of them", (_SECONDS, ListOf(_SECONDS))),
                    "jitter": _SECONDS,
                },
            ),
            _PART,
        ),
    ),
)
_ATTEMPTS: Final = _part(
    "the replies to one request and its repetitions", Attempts, "attempts", {"attempts": ListOf(_REPLY, least=1)}
)
_REPLIES: Final = ListOf(Shared("element", OneOf(f"{_REPLY}; or an object with attempts", (_ATTEMPTS, _REPLY))))

_TEST: Final = Shared(
    "test",
    OneOf(
        'text, or a condition on it: {"contains": …} or {"matches": …}',
        (
            TEXT,
            Members("a condition on a text", {"contains": TEXT, "matches": TEXT}, TextTest),
        ),
    ),
)
_WHEN: Final = Members(  # P-SCRIPT-7.
    "when",
    {
        "text": _TEST,
        "tool_output": OneOf("true, false, or a condition on text", (FLAG, _TEST)),
        **dict.fromkeys(("turn", "number", "attempt", "connection"), _FROM_1),
        "lane": TEXT,
        "model": TEXT,
        "tools": ListOf(TEXT),
        "metadata": OBJECT,
        "body": OBJECT,
        "headers": MapOf("an object of headers", _HEADER_NAMES, _TEST),
    },
    When,
)
_RULE: Final = Members("a rule", {"reply": _REPLY, "when": _WHEN, "times": _FROM_1}, Rule, ("reply",))


def _list(replies: list[Any], **named: str) -> list[Any]:
    return replies


def _rules(rules: list[Rule], **named: str) -> Rules:
    return Rules(rules)


_SCRIPT: Final = OneOf(
    'a script: write a list of replies, {"replies": […]} or {"rules": […]}',
    (
        _REPLIES,
        Members("a script of replies", {"replies": _REPLIES, "$schema": TEXT}, _list, ("replies",)),
        Members("a script of rules", {"rules": ListOf(_RULE), "$schema": TEXT}, _rules, ("rules",)),
    ),
)


def read_script(document: object) -> ScriptLike:
    """The script that a JSON document is (decoded, or as bytes or text), for ``serve(reply=…)`` and :class:`Script`.

    Raises UserError for what is none; it names the place: ``[3].call: 5 is not text``.

    Source: P-SCRIPT-6, P-SCRIPT-8.
    """
    return _SCRIPT.read(parse_json(document), "")


def script_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a script."""
    return json_schema(_SCRIPT, "script", "A script of turnwire's test server: what the model answers")


def parse_json(document: object) -> object:
    """What JSON text has in it; any other value as it is. Raises UserError for what is no JSON."""
    if not isinstance(document, bytes | str):
        return document
    try:
        return read_json(document if isinstance(document, bytes) else document.encode())
    except (ValueError, msgspec.DecodeError) as exc:
        raise UserError(f"it is no JSON: {exc}") from None
