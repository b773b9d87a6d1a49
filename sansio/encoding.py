"""Values to JSON; an error names the path to a value that JSON does not have.

The promise
    The same value gives the same bytes, and the caller's objects are never changed. Plain JSON values take one pass of
    msgspec and one check of their types. Only other values are walked and converted; only then is the path known that a
    ``WrongTypeError`` names: ``input[3].content[0].image``.

    What came in a response can be sent back, at any depth of the caller's own structures, with exactly the members that
    the server sent.

What is not JSON by itself (PARITY A3, A12); the first row that matches

    ============================================ =====================================================
    a value that is                              is written as
    ============================================ =====================================================
    an enum                                      its value
    text with half a surrogate pair              the half escaped, ``\\ud83d``, as servers send it
    a mapping                                    an object; its keys must be text, numbers or enums
    a list or tuple                              an array
    an item, response or event of turnwire       its ``raw``: the server's own text
    an object of the ``openai`` SDK              an object of the members that were set, by their names in JSON;
                                                 without those that the SDK adds and does not send (``parsed``,
                                                 ``parsed_arguments``: its ``__api_exclude__``)
    another object with ``model_dump``           what ``model_dump(mode="json", exclude_none=True)`` gives
    a msgspec struct                             an object of its tag and fields, by their names in JSON, without
                                                 those that are None by default
    a dataclass                                  an object of its fields
    a set                                        an array in the order of its items' JSON
    another iterable, but not bytes              an array
    anything else, NaN, infinity                 ``WrongTypeError``
    ============================================ =====================================================
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

import msgspec

from .errors import WrongTypeError
from .events import JsonText

__all__ = ["encode_json", "plain"]

_ENCODER: Final = msgspec.json.Encoder()
_LARGEST: Final = sys.float_info.max
_DIGITS: Final = 4000  # Python refuses to read or write an int of more than 4300
_TOO_LONG: Final = 10**_DIGITS
_DEPTH: Final = 200  # a deeper structure that is not plain JSON is taken to contain itself

_kind: Callable[[object], type[object]] = type  # ``type`` with one argument; type checkers do not see that
_HALF: Final = re.compile("[\ud800-\udfff]")
_FAILURES: Final = (TypeError, ValueError, OverflowError, RecursionError)


def encode_json(value: object) -> bytes:
    """``value`` as compact UTF-8 JSON (PARITY A12).

    Plain JSON values are encoded directly; the table at the top says how others are written. The caller's objects are
    not changed.

    Raises:
        WrongTypeError: a value that JSON does not have (bytes, dates, NaN, an object of another type, a number of more
            than 4000 digits, a structure that contains itself); its text names the path: ``input[3].content[0].image``.

    Source: P-CONT-11.
    """
    try:
        data = _ENCODER.encode(value)
        if _is_json((value,)):  # msgspec also encodes bytes, dates, sets and NaN, which JSON does not have
            return data
    except _FAILURES:
        pass
    try:
        return _ENCODER.encode(_plain(value, "", 0, _as_sent))
    except UnicodeEncodeError:
        text = json.dumps(_plain(value, "", 0, _as_dict), ensure_ascii=False, separators=(",", ":"))
        return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def plain(value: Any, name: str = "") -> Any:
    """A deep copy of ``value`` in plain JSON types only; ``name`` is the start of the path in a WrongTypeError (A3)."""
    try:
        copy = msgspec.to_builtins(value)
        if _is_json((value,)):
            return copy
    except _FAILURES:
        pass
    return _plain(value, name, 0, _as_dict)


def _as_sent(made: JsonText) -> msgspec.Raw:
    return msgspec.Raw(made.raw_bytes)


def _as_dict(made: JsonText) -> dict[str, Any]:
    """The object with half surrogate pairs kept; a number that is too large for a float becomes the largest float."""
    return json.loads(made.raw_bytes, parse_float=_clamped, parse_int=_whole)


def _clamped(number: str) -> float:
    return max(-_LARGEST, min(_LARGEST, float(number)))


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS else _clamped(digits)


def _is_json(items: Iterable[Any]) -> bool:
    """Whether ``items`` consist of plain JSON types only.

    Called once for every container of every frame, after it was encoded, so there is no cycle. This loop is the
    remaining cost. Recursion is faster here than a stack (measured: by a quarter).
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


def _plain(value: Any, path: str, depth: int, ours: Callable[[JsonText], Any]) -> Any:
    """The slow path, for what is not plain JSON: convert it, or raise with the path to what cannot be converted.

    ``ours`` converts turnwire's own objects.
    """
    if depth > _DEPTH:
        raise WrongTypeError(f"{path[:80]}… contains itself, or is nested more than {_DEPTH} deep")
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return _plain(value.value, path, depth + 1, ours)
        case str():
            return str.__str__(value)
        case int():
            return _written(int(value), path)
        case float() if math.isfinite(value):
            return float(value)
        case Mapping():
            return {
                _key(key, path): _plain(item, f"{path}.{key}" if path else str(key), depth + 1, ours)
                for key, item in cast("Mapping[object, object]", value).items()
            }
        case list() | tuple():
            items = cast("Iterable[object]", value)
            return [_plain(item, f"{path}[{index}]", depth + 1, ours) for index, item in enumerate(items)]
        case JsonText():
            return ours(value)
        case _:
            return _plain(_unwrapped(value, path), path, depth + 1, ours)


def _key(key: object, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int | float) and not isinstance(key, bool):
        return str(_written(key, path) if isinstance(key, int) else key)
    raise WrongTypeError(f"{path or 'the value'} has a key of type {type(key).__name__}: JSON's keys are text")


def _written(number: int, path: str) -> int:
    """The number, unless Python refuses to write it. That is said here, where the path is known."""
    if abs(number) < _TOO_LONG:
        return number
    raise WrongTypeError(f"{path or 'the value'} is a number of more than {_DIGITS} digits: write it as text")


def _unwrapped(value: object, path: str) -> Any:
    """Convert the outermost layer of a value that JSON does not have. Raises WrongTypeError if that is not possible."""
    shown = str(value) if isinstance(value, float) else f"of type {type(value).__name__}"
    if not isinstance(value, type):
        if callable(dump := getattr(value, "model_dump", None)):
            return dict(_set_members(value)) if _is_of_sdk(type(value)) else _dumped(dump)
        if isinstance(value, msgspec.Struct):
            return dict(_fields(value))
        if dataclasses.is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, set | frozenset):  # Sorted by the items' JSON, so that the same set gives the same bytes.
            items = [_plain(item, path, 0, _as_dict) for item in cast("Iterable[object]", value)]
            return sorted(items, key=encode_json)
        if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
            return list(cast("Iterable[object]", value))
    raise WrongTypeError(
        f"{path or 'the value'} is {shown}, which JSON lacks: convert it to text, a number, a list or a dict"
    )


def _dumped(dump: Callable[..., Any]) -> Any:
    try:
        return dump(mode="json", exclude_none=True)
    except ValueError:  # It contains something that is not JSON: the walk finds it and knows its path.
        return dump(exclude_none=True)


def _fields(struct: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    config = struct.__struct_config__
    if config.tag is not None and config.tag_field is not None:
        yield config.tag_field, config.tag
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if value is not None or field.default is not None:
            yield field.encode_name, value


# Objects of the SDK


@lru_cache(1000)
def _is_of_sdk(kind: type[Any]) -> bool:
    """Whether the class is the ``openai`` package's, or derives from one: such an object knows which members were
    set."""
    return any(base.__module__.partition(".")[0] == "openai" for base in kind.__mro__) and hasattr(kind, "model_fields")


def _set_members(made: Any) -> Iterator[tuple[str, Any]]:
    """The members that were set (not defaults), by their JSON names, as the SDK sends them.

    They are read here and not by ``model_dump``, which would also write members that typed parts within exclude.
    """
    kept_back = _excluded(made)
    for name, field in cast("Any", type(made)).model_fields.items():
        if name in made.model_fields_set and name not in kept_back and not field.exclude:
            yield field.serialization_alias or field.alias or name, getattr(made, name)
    yield from (made.model_extra or {}).items()


def _excluded(made: Any) -> set[str]:
    """The names in ``__api_exclude__``: a set, or a mapping whose value True means the whole member.

    Private to openai (3.57). Without it, members that the SDK adds are sent too, and the API may refuse them.
    """
    names: Any = getattr(made, "__api_exclude__", None) or ()
    if isinstance(names, Mapping):
        return {name for name, which in cast("Mapping[str, Any]", names).items() if which is True}
    return set(names)
