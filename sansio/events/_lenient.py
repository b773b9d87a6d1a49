"""How a text is read that does not fit its schema: an odd field costs the field.

The rule is in PROTOCOL.md, "What a field may look like". Used only after msgspec's decoder has refused a text. A struct
is then read member by member, by a plan that is made once from the types of its fields:

    =================================== =============================================================================
    the field's type                    what is read where the member is of another type
    =================================== =============================================================================
    int                                 digits in a text, and numbers such as 1.0; else it is missing
    float                               a number in a text; else it is missing
    :data:`JsonString`                  an object or array: its JSON text; else it is missing
    :data:`CodeString`                  a whole number: its digits; else it is missing
    a struct, a dict                    the object without the members that do not fit; else it is missing
    a list of objects or of any values  the array without the elements that do not fit; else it is missing
    a list of texts or numbers          the array if each element can be read by this table; else it is missing
    Any                                 everything; numbers beyond a float's range are infinite
    all others                          nothing: it is missing
    =================================== =============================================================================

``null`` counts as missing where the type has no None; of a member given twice, the last one counts. What is missing has
the field's default.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

__all__ = [
    "JsonString",
    "decode_any",
    "decode_dict",
    "decode_elements",
    "decode_members",
    "read_integer",
    "read_struct",
]

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_Key = TypeVar("_Key")
_Read = Callable[[msgspec.Raw | bytes], Any]
"""Makes a value of a JSON text; ValueError if there is none of the type."""

_JSON: Any = msgspec.Meta(extra={"json": True})
JsonString = Annotated[str, _JSON]
"""A text that is itself JSON, such as a function call's arguments; some servers send what it says instead."""

_CODE: Any = msgspec.Meta(extra={"code": True})
CodeString = Annotated[str, _CODE]
"""A code of an error, which some servers send as a number."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_EXACT = 2**53  # beyond it, a float is a whole number whatever was meant
_MOST_DIGITS = 4000  # Python refuses to make an int of more than 4300

decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""The members of an object, undecoded."""
decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
"""The elements of an array, undecoded."""
_any = msgspec.json.Decoder(Any).decode
_number = msgspec.json.Decoder(str | float).decode


def decode_any(text: msgspec.Raw | bytes) -> Any:
    """Any JSON value. A number that msgspec refuses, because a float cannot hold it, is infinite."""
    try:
        return _any(text)
    except msgspec.ValidationError:
        return json.loads(bytes(text), parse_int=_integer)


def decode_dict(text: msgspec.Raw | bytes) -> dict[str, Any]:
    """An object, for a text that is known to be one, with all that is in it, as :func:`decode_any` reads it."""
    return decode_any(text)


def read_struct(kind: type[_Struct], text: msgspec.Raw | bytes) -> _Struct:
    """The struct of this type that an object is, without what does not fit. ValueError if ``text`` is no object."""
    members = decode_members(text)
    plan = [each for each in _plan(kind) if each[0] in members]
    return kind(**dict(_fitting((field, read, members[member]) for member, field, read in plan)))


def _fitting(texts: Iterable[tuple[_Key, _Read, msgspec.Raw]]) -> Iterator[tuple[_Key, Any]]:
    """What can be read, under its name or index."""
    for key, read, text in texts:
        try:
            yield key, read(text)
        except (ValueError, RecursionError):
            continue


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


@cache
def _plan(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, _Read], ...]:
    """For each field: its name in JSON, its own, and how it is read."""
    return tuple((each.encode_name, each.name, _reader(each.type)) for each in msgspec.structs.fields(kind))


@cache
def _reader(annotation: Any) -> _Read:
    """As the type's own decoder does, or else by the table at the top."""
    decode = msgspec.json.Decoder(annotation).decode
    otherwise = _otherwise(annotation)

    def read(text: msgspec.Raw | bytes) -> Any:
        try:
            return decode(text)
        except msgspec.ValidationError:
            return otherwise(text)

    return read


def _otherwise(annotation: Any) -> _Read:
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not types.NoneType)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return decode_any
    if annotation is int:
        return _whole
    if annotation is float:
        return _float
    if origin is Annotated and _JSON in arguments:
        return _json_text
    if origin is Annotated and _CODE in arguments:
        return _code
    if origin is list:
        return _list(arguments[0])
    if origin is dict:
        return _dict(_reader(arguments[1]))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return lambda text: read_struct(annotation, text)
    return _missing


def _missing(text: msgspec.Raw | bytes) -> Any:
    raise ValueError("nothing can be read here")


def _whole(text: msgspec.Raw | bytes) -> int:
    value = _number(text)
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else _missing(text)
    return int(value) if value.is_integer() and abs(value) < _EXACT else _missing(text)


def _float(text: msgspec.Raw | bytes) -> float:
    value = float(_number(text))
    return value if math.isfinite(value) else _missing(text)


def _json_text(text: msgspec.Raw | bytes) -> str:
    value = str(bytes(text), "utf-8")
    return value if value[0] in "{[" else _missing(text)


def _code(text: msgspec.Raw | bytes) -> str:
    return str(read_integer(text))


def _list(annotation: Any) -> _Read:
    read = _reader(annotation)
    if annotation in (str, int):
        return lambda text: [read(each) for each in decode_elements(text)]
    return lambda text: [value for _, value in _fitting((None, read, each) for each in decode_elements(text))]


def _dict(read: _Read) -> _Read:
    return lambda text: dict(_fitting((name, read, member) for name, member in decode_members(text).items()))


read_integer = _reader(int)
"""An integer, by the same rule. ValueError if there is none."""
