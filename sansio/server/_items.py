"""The events of one output item, as the API streams them: added, its parts and deltas, done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast

from ._memory import ItemDict

__all__ = ["Event", "item_events", "words"]

Event: TypeAlias = dict[str, Any]

_WORD: Final = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")


def words(text: str) -> list[str]:
    """The text in words, each with the blanks before it: joined, they are exactly the text."""
    return _WORD.findall(text)


def item_events(item: ItemDict, index: int, pieces: Sequence[str] = ()) -> Iterator[Event]:
    """The events of the item at ``output_index`` ``index``, from ``response.output_item.added`` to ``.done``.

    ``pieces`` are the deltas of its text, or its partial images; without them, a delta is a word. An item of a type
    without events of its own has these two.
    """
    kind: str = item["type"]
    at = {"item_id": item["id"], "output_index": index}
    begun = {**item, **{name: value for name, value in _EMPTY.get(kind, {}).items() if name in item}}
    if "status" in item:
        begun["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    inner = _INNER.get(kind)
    if inner is not None:
        yield from inner(item, at, pieces)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


_EMPTY: Final[Mapping[str, ItemDict]] = {
    "code_interpreter_call": {"code": "", "outputs": None},
    "custom_tool_call": {"input": ""},
    "function_call": {"arguments": ""},
    "image_generation_call": {"result": None},
    "mcp_call": {"arguments": "", "output": None, "error": None},
    "message": {"content": []},
    "reasoning": {"summary": [], "content": []},
}
"""The fields of an item that has just begun, by its type."""

# --- Messages and reasoning ------------------------------------------------------------------------------------------

_PARTS: Final[Mapping[object, tuple[str, str, ItemDict]]] = {
    "output_text": ("text", "response.output_text", {"logprobs": []}),
    "refusal": ("refusal", "response.refusal", {}),
    "reasoning_text": ("text", "response.reasoning_text", {}),
}
"""By the type of a content part: the field with its text, the type of its events, and what they have besides."""

_NO_TEXT: Final[tuple[str, str, ItemDict]] = ("", "", {})


def _content(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    for index, part in enumerate(_objects(item.get("content"))):
        here = {**at, "content_index": index}
        field, stem, extra = _PARTS.get(part.get("type"), _NO_TEXT)
        annotations = _objects(part.get("annotations"))
        empty: ItemDict = {**part, field: ""} if field else part
        if annotations:
            empty = {**empty, "annotations": []}
        yield {"type": "response.content_part.added", **here, "part": empty}
        if field:
            yield from _text(
                stem, here, str(part.get(field, "")), pieces, field=field, annotations=annotations, **extra
            )
        yield {"type": "response.content_part.done", **here, "part": part}


def _text(
    stem: str,
    here: ItemDict,
    text: str,
    pieces: Sequence[str],
    *,
    field: str,
    annotations: Sequence[ItemDict] = (),
    **extra: Any,
) -> Iterator[Event]:
    """The deltas of a text, its annotations, and the whole of it."""
    for delta in pieces or map(itemgetter(0), _WORD.finditer(text)):  # As they are sent: there may be millions.
        yield {"type": f"{stem}.delta", **here, "delta": delta, **extra}
    for index, annotation in enumerate(annotations):
        added = {"annotation_index": index, "annotation": annotation}
        yield {"type": f"{stem}.annotation.added", **here, **added}
    yield {"type": f"{stem}.done", **here, field: text, **extra}


def _reasoning(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    for index, part in enumerate(_objects(item.get("summary"))):
        here, stem = {**at, "summary_index": index}, "response.reasoning_summary_part"
        yield {"type": f"{stem}.added", **here, "part": {**part, "text": ""}}
        yield from _text("response.reasoning_summary_text", here, str(part.get("text", "")), (), field="text")
        yield {"type": f"{stem}.done", **here, "part": part}
    yield from _content(item, at, ())


def _objects(value: object) -> list[ItemDict]:
    """The objects of a list; none if it is no list."""
    found = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("ItemDict", each) for each in found if isinstance(each, dict)]


# --- Calls -----------------------------------------------------------------------------------------------------------


def _function_call(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    *deltas, done = _text(
        "response.function_call_arguments", at, str(item.get("arguments", "")), pieces, field="arguments"
    )
    yield from deltas
    yield {**done, "name": item.get("name", "")}


def _custom_tool_call(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    yield from _text("response.custom_tool_call_input", at, str(item.get("input", "")), pieces, field="input")


def _mcp_call(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    yield {"type": "response.mcp_call.in_progress", **at}
    yield from _text("response.mcp_call_arguments", at, str(item.get("arguments", "")), pieces, field="arguments")
    yield {"type": f"response.mcp_call.{_ending(item)}", **at}


def _code_interpreter_call(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    stem = "response.code_interpreter_call"
    yield {"type": f"{stem}.in_progress", **at}
    yield from _text("response.code_interpreter_call_code", at, str(item.get("code") or ""), pieces, field="code")
    yield {"type": f"{stem}.interpreting", **at}
    yield {"type": f"{stem}.completed", **at}


def _image(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    stem = "response.image_generation_call"
    yield {"type": f"{stem}.in_progress", **at}
    yield {"type": f"{stem}.generating", **at}
    for index, partial in enumerate(pieces):
        yield {"type": f"{stem}.partial_image", **at, "partial_image_index": index, "partial_image_b64": partial}
    yield {"type": f"{stem}.completed", **at}


def _search(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    for step in ("in_progress", "searching", "completed"):
        yield {"type": f"response.{item['type']}.{step}", **at}


def _mcp_list_tools(item: ItemDict, at: ItemDict, pieces: Sequence[str]) -> Iterator[Event]:
    for step in ("in_progress", _ending(item)):
        yield {"type": f"response.mcp_list_tools.{step}", **at}


def _ending(item: ItemDict) -> str:
    return "failed" if item.get("error") else "completed"


_INNER: Final[Mapping[str, Callable[[ItemDict, ItemDict, Sequence[str]], Iterator[Event]]]] = {
    "code_interpreter_call": _code_interpreter_call,
    "custom_tool_call": _custom_tool_call,
    "file_search_call": _search,
    "function_call": _function_call,
    "image_generation_call": _image,
    "mcp_call": _mcp_call,
    "mcp_list_tools": _mcp_list_tools,
    "message": _content,
    "reasoning": _reasoning,
    "web_search_call": _search,
}
"""The events between ``added`` and ``done``, by the type of the item."""
