"""Values to JSON, and the path to what JSON lacks; a part of the room ``request``, which re-exports it.

The promise
    The same value gives the same bytes, and the caller's objects are never changed. What is JSON already takes one
    pass of msgspec and one look at the kinds of what it wrote; only what is not is walked and converted, and only
    there is the path known that a ``TypeError`` names: ``input[3].content[0].image``.

What is not JSON by itself (PARITY A3, A12): the first row that fits

    ============================================ =====================================================
    a value that is                              is written as
    ============================================ =====================================================
    an enum                                      its value
    a mapping                                    an object; its keys must be text, numbers or enums
    a list or tuple                              an array
    an object with ``model_dump`` (pydantic)     what ``model_dump(mode="json", exclude_none=True)`` gives
    a msgspec struct, a dataclass                an object of its fields
    a set                                        an array in the order of its items' JSON
    another iterable, but not bytes              an array
    anything else, NaN, infinity                 ``TypeError``
    ============================================ =====================================================
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import msgspec

__all__ = ["encode_json", "plain"]

_ENCODER: Final = msgspec.json.Encoder()
_DEPTH: Final = 200  # what is nested deeper and is not plain JSON contains itself, or might as well

_kind: Callable[[object], type[object]] = type  # what ``type`` means with one argument, which checkers forget
_FAILURES: Final = (TypeError, ValueError, OverflowError, RecursionError)


def encode_json(value: object) -> bytes:
    """``value`` as compact UTF-8 JSON (PARITY A12).

    JSON's own kinds go straight through. Objects with ``model_dump`` (pydantic), msgspec structs, dataclasses and enums
    are written as what they hold, mappings as objects, other iterables as arrays; nothing of the caller's is changed.

    Raises:
        TypeError: a value that JSON lacks (bytes, dates, NaN, an object of another type, text with a lone surrogate,
            a structure that contains itself), with the path to it: ``input[3].content[0].image``.
    """
    try:
        data = _ENCODER.encode(value)
        if _is_json((value,)):  # msgspec also knows bytes, dates, sets and NaN, which JSON does not
            return data
    except _FAILURES:
        pass
    return _ENCODER.encode(_plain(value, "", 0))


def plain(value: Any, name: str = "") -> Any:
    """A deep copy of ``value`` in nothing but JSON's own kinds; ``name`` begins the path in a ``TypeError`` (A3)."""
    try:
        copy = msgspec.to_builtins(value)
        if _is_json((value,)):
            return copy
    except _FAILURES:
        pass
    return _plain(value, name, 0)


def _is_json(items: Iterable[Any]) -> bool:
    """Whether ``items`` are made of exactly JSON's own kinds.

    Called once for every container of every frame, after an encoder got through it: thus it has no cycle, and what is
    left of the cost is this loop. Recursion is faster here than a stack (measured: by a quarter).
    """
    for item in items:
        kind = _kind(item)
        if kind is str or kind is int or kind is bool or item is None:
            continue
        if kind is dict:
            for key in item:
                if type(key) is not str:
                    return False
            if not _is_json(item.values()):
                return False
        elif kind is list:
            if not _is_json(item):
                return False
        elif kind is not float or not math.isfinite(item):
            return False
    return True


def _plain(value: Any, path: str, depth: int) -> Any:
    """The slow way, for what is not plain JSON: convert it, or name the path to what cannot be converted."""
    if depth > _DEPTH:
        raise TypeError(f"{path[:80]}… contains itself, or is nested more than {_DEPTH} deep")
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return _plain(value.value, path, depth + 1)
        case str():
            return _text(value, path)
        case int():
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case Mapping():
            return {
                _key(key, path): _plain(item, f"{path}.{key}" if path else str(key), depth + 1)
                for key, item in cast("Mapping[object, object]", value).items()
            }
        case list() | tuple():
            items = cast("Iterable[object]", value)
            return [_plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(items)]
        case _:
            return _plain(_unwrapped(value, path), path, depth + 1)


def _text(value: str, path: str) -> str:
    try:
        return value.encode().decode()
    except UnicodeEncodeError as exc:
        raise TypeError(
            f"{path or 'the value'} holds half of a surrogate pair at position {exc.start}, which UTF-8 cannot encode: "
            'use text.encode(errors="replace").decode()'
        ) from None


def _key(key: object, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return _text(key, path)
    if isinstance(key, int | float) and not isinstance(key, bool):
        return str(key)
    raise TypeError(f"{path or 'the value'} has a key of type {type(key).__name__}: JSON's keys are text")


def _unwrapped(value: object, path: str) -> Any:
    """One layer off something that JSON lacks; ``TypeError`` when there is nothing inside that JSON has."""
    shown = str(value) if isinstance(value, float) else f"of type {type(value).__name__}"
    if not isinstance(value, type):
        if callable(dump := getattr(value, "model_dump", None)):
            return dump(mode="json", exclude_none=True)
        if isinstance(value, msgspec.Struct):
            return {name: getattr(value, name) for name in value.__struct_fields__}
        if dataclasses.is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, set | frozenset):  # no order of its own: that of the items' JSON, so that frames repeat
            items = [_plain(item, path, 0) for item in cast("Iterable[object]", value)]
            return sorted(items, key=encode_json)
        if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
            return list(cast("Iterable[object]", value))
    raise TypeError(
        f"{path or 'the value'} is {shown}, which JSON lacks: convert it to text, a number, a list or a dict"
    )
