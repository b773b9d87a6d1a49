"""Where the text that an event brings belongs in its item: one row for each type of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

from .. import events as ev
from ..events import ServerEvent

__all__ = [
    "COMMAND",
    "DELTAS",
    "MESSAGE_TEXT",
    "PARTS",
    "PLACES",
    "PRINTED",
    "START",
    "WHOLE_TEXTS",
    "Json",
    "Position",
    "list_of",
]

Json: TypeAlias = dict[str, Any]


def list_of(value: Any) -> list[Any]:
    """The list; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


class Position(NamedTuple):
    """Where the text of a kind of delta is in its item."""

    item: str
    """The type of the item."""
    field: str = ""
    """The member that is the text; "": the part is the text."""
    list: str = ""
    """The list that has the part with this member; "": the item itself has it."""
    place: str = ""
    """The member of the event that has the part's place."""
    part: str | None = None
    """The type of the part."""


_CONTENT: Final = ("content", "content_index")
MESSAGE_TEXT = Position("message", "text", *_CONTENT, "output_text")
_REFUSAL = Position("message", "refusal", *_CONTENT, "refusal")
_THOUGHT = Position("reasoning", "text", *_CONTENT, "reasoning_text")
_SUMMARY = Position("reasoning", "text", "summary", "summary_index", "summary_text")
COMMAND = Position("shell_call", "", "commands", "command_index")
PRINTED = Position("shell_call_output", "", "output", "command_index")
_ARGUMENTS = Position("function_call", "arguments")
_INPUT = Position("custom_tool_call", "input")
_MCP = Position("mcp_call", "arguments")
_CODE = Position("code_interpreter_call", "code")
_IMAGE = Position("image_generation_call", "result")

DELTAS: Final[Mapping[type[ServerEvent], Position]] = {
    ev.ResponseTextDeltaEvent: MESSAGE_TEXT,
    ev.ResponseRefusalDeltaEvent: _REFUSAL,
    ev.ResponseReasoningTextDeltaEvent: _THOUGHT,
    ev.ResponseReasoningSummaryTextDeltaEvent: _SUMMARY,
    ev.ResponseFunctionCallArgumentsDeltaEvent: _ARGUMENTS,
    ev.ResponseCustomToolCallInputDeltaEvent: _INPUT,
    ev.ResponseMcpCallArgumentsDeltaEvent: _MCP,
    ev.ResponseCodeInterpreterCallCodeDeltaEvent: _CODE,
    ev.ResponseShellCallCommandDeltaEvent: COMMAND,
}
PLACES: Final[Mapping[type[ServerEvent], Callable[[Any], object]]] = {
    kind: attrgetter("item_id", "output_index", *([position.place] if position.place else []))
    for kind, position in DELTAS.items()
    if position is not COMMAND
}
"""What names the text that a delta continues."""
WHOLE_TEXTS: Final[Mapping[type[ServerEvent], tuple[Position, str]]] = {
    ev.ResponseTextDoneEvent: (MESSAGE_TEXT, "text"),
    ev.ResponseRefusalDoneEvent: (_REFUSAL, "refusal"),
    ev.ResponseReasoningTextDoneEvent: (_THOUGHT, "text"),
    ev.ResponseReasoningSummaryTextDoneEvent: (_SUMMARY, "text"),
    ev.ResponseFunctionCallArgumentsDoneEvent: (_ARGUMENTS, "arguments"),
    ev.ResponseCustomToolCallInputDoneEvent: (_INPUT, "input"),
    ev.ResponseMcpCallArgumentsDoneEvent: (_MCP, "arguments"),
    ev.ResponseCodeInterpreterCallCodeDoneEvent: (_CODE, "code"),
    ev.ResponseShellCallCommandDoneEvent: (COMMAND, "command"),
    ev.ResponseImageGenCallPartialImageEvent: (_IMAGE, "partial_image_b64"),
}
"""The events that give a whole text, and the member that is the text."""
PARTS: Final[Mapping[type[ServerEvent], Position]] = {
    ev.ResponseContentPartAddedEvent: MESSAGE_TEXT,
    ev.ResponseContentPartDoneEvent: MESSAGE_TEXT,
    ev.ResponseReasoningSummaryPartAddedEvent: _SUMMARY,
    ev.ResponseReasoningSummaryPartDoneEvent: _SUMMARY,
}
"""The events that give a part: a position with the same list, and the same member for its place."""
START: Final[Mapping[str, Json]] = {"message": {"role": "assistant"}, "output_text": {"annotations": []}}
"""The members of an item or a part of this type that no event gave the beginning of."""
