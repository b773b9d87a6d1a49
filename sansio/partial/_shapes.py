"""Where the text that an event brings belongs in its item: one row for each type of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

from .. import events as ev
from ..events import ServerEvent

__all__ = ["COMMAND", "DELTAS", "DONE", "PARTS", "PLACES", "PRINTED", "START", "TEXT", "Json", "Shape", "list_of"]

Json: TypeAlias = dict[str, Any]


def list_of(value: Any) -> list[Any]:
    """The list; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


class Shape(NamedTuple):
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
TEXT = Shape("message", "text", *_CONTENT, "output_text")
_REFUSAL = Shape("message", "refusal", *_CONTENT, "refusal")
_THOUGHT = Shape("reasoning", "text", *_CONTENT, "reasoning_text")
_SUMMARY = Shape("reasoning", "text", "summary", "summary_index", "summary_text")
COMMAND = Shape("shell_call", "", "commands", "command_index")
PRINTED = Shape("shell_call_output", "", "output", "command_index")
_ARGUMENTS = Shape("function_call", "arguments")
_INPUT = Shape("custom_tool_call", "input")
_MCP = Shape("mcp_call", "arguments")
_CODE = Shape("code_interpreter_call", "code")
_IMAGE = Shape("image_generation_call", "result")

DELTAS: Final[Mapping[type[ServerEvent], Shape]] = {
    ev.ResponseTextDeltaEvent: TEXT,
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
    kind: attrgetter("item_id", "output_index", *([shape.place] if shape.place else []))
    for kind, shape in DELTAS.items()
    if shape is not COMMAND
}
"""What names the text that a delta continues."""
DONE: Final[Mapping[type[ServerEvent], tuple[Shape, str]]] = {
    ev.ResponseTextDoneEvent: (TEXT, "text"),
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
PARTS: Final[Mapping[type[ServerEvent], Shape]] = {
    ev.ResponseContentPartAddedEvent: TEXT,
    ev.ResponseContentPartDoneEvent: TEXT,
    ev.ResponseReasoningSummaryPartAddedEvent: _SUMMARY,
    ev.ResponseReasoningSummaryPartDoneEvent: _SUMMARY,
}
"""The events that give a part: a shape with the same list, and the same member for its place."""
START: Final[Mapping[str, Json]] = {"message": {"role": "assistant"}, "output_text": {"annotations": []}}
"""The members of an item or a part of this type that no event gave the beginning of."""
