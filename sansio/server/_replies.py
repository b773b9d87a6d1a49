"""The vocabulary of scripts: what a test author writes to say what the model answers.

::

    "It rains."                                           a message
    Call("search", {"q": "rain"})                         a call of a function tool
    [Reasoning("Look it up."), Call("a"), Call("b")]      several items, one after another
    ["Half a sen", Failed("server_error")]                an item, then response.failed
    {"type": "web_search_call", "status": "completed"}    any item, as it is
    Problem(429, "rate_limit_exceeded", "Slow down.")     an error instead of a response
    [Call("f"), AwaitInput(), "It rains."]                waits for the output that the client injects
    Reply("Slowly", delay=1.0, usage={"input_tokens": 9}) any of these, with what else there is to say

Each is a value without behaviour. :func:`~turnwire.sansio.server.reply_events` makes the API's events of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from ..checks import SECONDS, Number, shown
from ..errors import UserError, WrongTypeError
from ..events import ENDINGS
from ._injecting import INJECT_MEANINGS
from ._json import write_json
from ._problem import Problem

__all__ = [
    "AwaitInput",
    "Call",
    "CustomCall",
    "RawEvents",
    "Failed",
    "Image",
    "Incomplete",
    "Json",
    "McpCall",
    "Part",
    "Reasoning",
    "Refusal",
    "Reply",
    "ReplyLike",
    "Text",
    "Transcript",
    "reply_of",
]

_EMPTY: Final[Mapping[str, Any]] = {}


class _Word(msgspec.Struct, frozen=True):
    """A struct whose fields are checked against :data:`_KINDS` when it is made. Raises WrongTypeError."""

    def __post_init__(self) -> None:
        """Check the fields."""
        name = type(self).__name__
        for field, (kinds, wanted) in _KINDS.get(name, {}).items():
            if not isinstance(value := getattr(self, field), kinds):
                raise WrongTypeError(f"{name}.{field} is {shown(value)}: write {wanted}")


class Text(_Word, frozen=True):
    """A message of the assistant. A plain string is the same as ``Text(string)``."""

    text: str | Sequence[str]
    """The text; a list gives the deltas that it arrives in. A string arrives in words."""
    annotations: Sequence[Mapping[str, Any]] = ()
    """``url_citation``, ``file_citation`` and so on, each as the API has it."""

    def __post_init__(self) -> None:
        """Refuse what is neither text nor a list of it."""
        pieces = [self.text] if isinstance(self.text, str) else list(cast("Sequence[object]", self.text))
        if not all(isinstance(piece, str) for piece in pieces):
            raise WrongTypeError(f"Text.text is {shown(self.text)}: write a string, or a list of strings")


class Json(_Word, frozen=True):
    """A message of JSON text: ``value``, or without one a value that fits the request's ``text.format.schema``."""

    value: Any = msgspec.UNSET


class Refusal(_Word, frozen=True):
    """A message in which the model refuses."""

    text: str


class Call(_Word, frozen=True):
    """A call of a function tool."""

    name: str
    arguments: Mapping[str, Any] | str | None = None
    """An object; or text, sent as it is, JSON or not. None: an object that fits the tool's ``parameters``."""
    call_id: str | None = None
    """None: one that no other call has."""


class CustomCall(_Word, frozen=True):
    """A call of a custom tool, whose input is text."""

    name: str
    input: str = ""
    call_id: str | None = None


class McpCall(_Word, frozen=True):
    """A call of a tool of an MCP server, which the API itself has made."""

    server_label: str
    name: str
    arguments: Mapping[str, Any] | str = msgspec.field(default_factory=dict[str, Any])
    output: str | None = None
    error: Mapping[str, Any] | None = None
    """With an error the call has failed: ``{"type": "mcp_tool_execution_error", "content": [...]}``."""


class Reasoning(_Word, frozen=True):
    """What the model thought: the parts of its summary, and of its text where the model shows that."""

    summary: str | Sequence[str] = ()
    text: str | None = None
    encrypted_content: str | None = None


class Image(_Word, frozen=True):
    """A generated image, in base64."""

    result: str
    partial: Sequence[str] = ()
    """The partial images that come before it."""


class RawEvents(_Word, frozen=True):
    """RawEvents that are sent in this place as they are; ``sequence_number`` and ``stream_id`` are added."""

    events: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Refuse what is no list of events."""
        _check_events("RawEvents.events", self.events)


class AwaitInput(_Word, frozen=True):
    """The response goes on once the client has injected an output for each call so far (``response.inject``); or, if it
    has made no call, any input. It is no item. Only for a WebSocket, with ``multi_agent`` and the header of the beta.
    """

    then: Callable[[list[Mapping[str, Any]]], Any] | None = None
    """Called with all items that were injected, it returns what comes next: one part or several."""
    fails: str | None = None
    """Instead of that, the next injection fails with this code, and the response goes on."""

    def __post_init__(self) -> None:
        """Refuse what is no function, and a code that ``response.inject.failed`` does not have."""
        super().__post_init__()
        if self.then is not None and not callable(cast("object", self.then)):
            raise WrongTypeError(f"AwaitInput.then is {shown(self.then)}: write a function of the items")
        if self.fails is not None and self.fails not in INJECT_MEANINGS:
            codes = " or ".join(map(repr, INJECT_MEANINGS))
            raise UserError(f"AwaitInput.fails is {shown(self.fails)}: write {codes}")


class Transcript(_Word, frozen=True):
    """All events of a response, from ``response.created`` to the terminal one, as they are: nothing is added but
    ``sequence_number`` and ``stream_id``."""

    events: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Refuse what does not end a turn: the client would wait for ever."""
        _check_events("Transcript.events", self.events)
        if not self.events or self.events[-1]["type"] not in {*ENDINGS, "error"}:
            raise UserError(
                "Transcript.events has no terminal event at its end: write response.completed, .failed or .incomplete "
                "last, or write RawEvents(…) to have the events around it added"
            )


class Failed(_Word, frozen=True):
    """The response fails: ``response.failed``. In a list, after the items before it."""

    code: str = "server_error"
    message: str = "The model was asked to fail, and did."


class Incomplete(_Word, frozen=True):
    """The response stops early: ``response.incomplete``. In a list, after the items before it."""

    reason: str = "max_output_tokens"


Part: TypeAlias = (
    str
    | Mapping[str, Any]
    | Text
    | Json
    | Refusal
    | Call
    | CustomCall
    | McpCall
    | Reasoning
    | Image
    | RawEvents
    | AwaitInput
    | Transcript
    | Failed
    | Incomplete
    | Problem
)
"""What an answer is made of."""


class Reply(_Word, frozen=True):
    """An answer, and when it comes."""

    content: Part | Sequence[Part] = ()
    """One part, or several: the items of the output in their order; :class:`Failed`, :class:`Incomplete` or
    :class:`Problem` only at the end. A :class:`Transcript` is alone."""
    usage: Mapping[str, Any] | None = None
    """What differs from the usage that is counted, a word as a token: ``{"input_tokens": 12}``."""
    response: Mapping[str, Any] = _EMPTY
    """Fields that every copy of the response has as they are here: ``{"model": "gpt-6"}``."""
    delay: float = 0.0
    """Seconds before the first event, in addition to ``latency``."""
    latency: float | Sequence[float] | None = None
    """Seconds before each event; a list has one for each event, and its last one is for all that follow. None: the
    server's latency."""
    jitter: float = 0.0
    """Up to as many seconds are added before each event; always the same for the same response and event."""

    def __post_init__(self) -> None:
        """Check the fields, and the parts one by one."""
        super().__post_init__()
        for name, seconds in (("delay", self.delay), ("jitter", self.jitter)):
            _SECONDS.check(f"Reply.{name}", seconds)
        for seconds in self._latencies(0.0):
            _SECONDS.check("Reply.latency", seconds)
        parts = self.parts
        for index, part in enumerate(parts):
            if isinstance(part, Mapping):
                _check_events("an item of a reply", (part,))
            elif not isinstance(cast("object", part), _PARTS):
                raise WrongTypeError(f"{shown(part)} is no part of a reply: write a string, an item, Call(…), …")
            if isinstance(part, _LAST) and index + 1 < len(parts):
                raise UserError(f"{shown(part)} ends the response: write it last")
            if isinstance(part, Transcript) and len(parts) > 1:
                raise UserError("a Transcript is a whole response: write it alone, or write RawEvents(…)")

    @property
    def parts(self) -> list[Part]:
        """The parts, in their order."""
        one = isinstance(self.content, str | Mapping) or not isinstance(self.content, Sequence)
        return [cast("Part", self.content)] if one else list(cast("Sequence[Part]", self.content))

    @property
    def problem(self) -> Problem | None:
        """The error that is sent instead of a response; None if there is a response."""
        first = self.parts[:1]
        return first[0] if first and isinstance(first[0], Problem) else None

    def pause(self, number: int, k: int, usual: float) -> float:
        """The seconds before event ``k``, counted from 0, of the ``number``-th response. ``usual`` is the server's
        latency."""
        latencies = self._latencies(usual)
        delay = 0.0 if k else self.delay
        return delay + latencies[min(k, len(latencies) - 1)] + self.jitter * zlib.crc32(b"%d %d" % (number, k)) / 2**32

    def total_pause(self, number: int, events: int, usual: float) -> float:
        """The seconds before an answer that has all events at once; the server's latency is waited for once."""
        if self.latency is None:
            return self.pause(number, 0, usual)
        return sum(self.pause(number, k, usual) for k in range(events))

    def _latencies(self, usual: float) -> Sequence[float]:
        if isinstance(self.latency, Sequence):
            return self.latency or (usual,)
        return (usual if self.latency is None else self.latency,)


ReplyLike: TypeAlias = Reply | Part | Sequence[Part]
"""What a script may have where it means a reply."""


def reply_of(value: object) -> Reply:
    """The reply that a test author means. Raises UserError that says what can be written."""
    return value if isinstance(value, Reply) else Reply(cast("Part", value))


def _check_events(name: str, given: object) -> None:
    """Raise UserError unless these are objects of JSON that each have a ``type``."""
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise WrongTypeError(f"{name} is {shown(cast('object', given))}: write a list of objects")
    for event in cast("Sequence[object]", given):
        kind = cast("Mapping[str, object]", event).get("type") if isinstance(event, Mapping) else None
        if not isinstance(kind, str):
            wanted = "write an object with a type, as the API has it"
            raise UserError(f"{name}: {shown(cast('object', event))} has no type: {wanted}")
        try:
            write_json(cast("object", event))
        except (TypeError, ValueError, RecursionError) as exc:
            raise UserError(f"{name} is not JSON: {shown(str(exc))}: write what JSON has") from None


_LAST: Final = (Failed, Incomplete, Problem)
_ITEMS: Final = (str, Text, Json, Refusal, Call, CustomCall, McpCall, Reasoning, Image)
_PARTS: Final = (*_ITEMS, RawEvents, AwaitInput, Transcript, *_LAST)


_SECONDS: Final = Number(SECONDS)
_STRING: Final = ((str,), "a string")
_STRING_OR_NONE: Final = ((str, type(None)), "a string, or None")
_ARGUMENTS: Final = ((str, Mapping, type(None)), "an object, or text")
_OBJECT: Final = ((Mapping, type(None)), "an object")
_KINDS: Final[Mapping[str, Mapping[str, tuple[tuple[type, ...], str]]]] = {
    "Refusal": {"text": _STRING},
    "Call": {"name": _STRING, "arguments": _ARGUMENTS, "call_id": _STRING_OR_NONE},
    "CustomCall": {"name": _STRING, "input": _STRING, "call_id": _STRING_OR_NONE},
    "McpCall": {
        "server_label": _STRING,
        "name": _STRING,
        "arguments": _ARGUMENTS,
        "output": _STRING_OR_NONE,
        "error": _OBJECT,
    },
    "Reasoning": {"text": _STRING_OR_NONE, "encrypted_content": _STRING_OR_NONE},
    "Image": {"result": _STRING},
    "AwaitInput": {"fails": _STRING_OR_NONE},
    "Failed": {"code": _STRING, "message": _STRING},
    "Incomplete": {"reason": _STRING},
    "Reply": {"usage": _OBJECT, "response": _OBJECT},
}
"""What the fields may be, by the name of the struct, and the same in words."""
