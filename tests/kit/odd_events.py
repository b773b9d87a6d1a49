"""A valid object for each type of event, item and part, made from the declarations; and values to spoil them with."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import strategies as st
from turnwire.sansio import events
from turnwire.sansio.events import EVENT_TYPES
from turnwire.sansio.events._items import _ITEMS
from turnwire.sansio.events._json import Object
from turnwire.sansio.events._lenient import CodeString, JsonString


def core(annotation: Any) -> Any:
    """The annotation without its None."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = (each for each in typing.get_args(annotation) if each is not types.NoneType)
    return annotation


def valid(annotation: Any) -> Any:
    annotation = core(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation == CodeString:
        return "c"
    if annotation == JsonString:
        return '{"b": 2}'
    if origin is list:
        return [valid(arguments[0]), valid(arguments[0])]
    if origin is dict:
        return {"k": valid(arguments[1])}
    if annotation is Object:
        return {"type": "message", "id": "i", "content": [{"type": "output_text", "text": "t"}]}
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return valid_object(annotation)
    return {str: "s", int: 3, float: 2.5, bool: True, msgspec.Raw: {"raw": 1}, Any: {"any": [1]}}[annotation]


def valid_object(cls: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: valid(field.type) for field in msgspec.structs.fields(cls)}


MESSAGE = valid_object(events.ResponseOutputMessage) | {"type": "message"}
MESSAGE["content"] = [
    {**valid_object(events.ResponseOutputText), "type": "output_text"},
    {**valid_object(events.ResponseOutputRefusal), "type": "refusal"},
]
ITEMS = [MESSAGE] + [{**valid_object(cls), "type": kind} for kind, cls in _ITEMS.by_type.items() if kind != "message"]
RESPONSE = {**valid_object(events.Response), "output": ITEMS, "tools": [{"type": "function"}], "instructions": "i"}
CORPUS: list[dict[str, Any]] = [
    {"type": kind, **valid_object(cls), **({"response": RESPONSE} if issubclass(cls, events.LifecycleEvent) else {})}
    for kind, cls in EVENT_TYPES.items()
    if cls is not events.ErrorEvent
] + [
    {"type": "error", "status": 429, "error": {"code": "c", "message": "m", "headers": {"retry-after": "1"}}},
    {"type": "response.done", "response": RESPONSE},
    {"type": "response.hologram", "response": {"id": "r", "status": "in_progress"}, "depth": [1]},
    {"type": "codex.rate_limits", "limits": {"primary": 5}},
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from places(each)


ODD_VALUES = st.sampled_from(
    [None, True, 7, -1.5, 10**30, "", "7", "\ud83d", [], [None], [[]], {}, {"type": 5}, float("inf")]
).map(copy.deepcopy)
