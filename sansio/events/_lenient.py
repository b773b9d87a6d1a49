"""How a text is read that does not fit its schema: only the field that does not fit is lost.

The rule is in PROTOCOL.md, "What a field may look like". This module is used only after msgspec's decoder has refused a
text. A struct is then read member by member, by a plan that is made once from the types of its fields:

    =================================== =============================================================================
    the field's type                    what is read if the member has another type
    =================================== =============================================================================
    int                                 digits in a text, and numbers such as 1.0; else it is missing
    float                               a number in a text; else it is missing
    :data:`JsonString`                  an object or array: its JSON text; else it is missing
    :data:`CodeString`                  a whole number: its digits; else it is missing
    a struct, a dict                    the object without the members that do not fit; else it is missing
    a list of objects or of any values  the array without the elements that do not fit; else it is missing
    a list of texts or numbers          the array if each element can be read by this table; else it is missing
    Any                                 everything; numbers beyond a float's range become infinite
    all others                          nothing: it is missing
    =================================== =============================================================================

``null`` counts as missing if the type does not include None. If a member is given twice, the last one counts. A missing
field has its default. An array or dict whose text is longer than :data:`MOST_ODD` is not read element by element: if
one of its elements does not fit, it is missing (D-LIMIT-5).
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
"""Makes a value from a JSON text; raises ValueError if it has no value of the type."""

_JSON: Any = msgspec.Meta(extra={"json": True})
JsonString = Annotated[str, _JSON]
"""Text that is itself JSON, such as a function call's arguments; some servers send the JSON value instead of text."""

_CODE: Any = msgspec.Meta(extra={"code": True})
CodeString = Annotated[str, _CODE]
"""An error code, which some servers send as a number."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_EXACT = 2**53  # above it, a float cannot represent every whole number
_MOST_DIGITS = 4000  # Python refuses to make an int of more than 4300
MOST_ODD = 256 * 1024
"""Bytes of an array or dict that is read element by element. Each element that does not fit costs an exception."""

decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""The members of an object, undecoded."""
decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
"""The elements of an array, undecoded."""
_any = msgspec.json.Decoder(Any).decode
_number = msgspec.json.Decoder(str | float).decode


def decode_any(text: msgspec.Raw | bytes) -> Any:
    """Any JSON value. A number that a float cannot hold, which msgspec refuses, becomes infinite."""
    try:
        return _any(text)
    except msgspec.ValidationError:
        return json.loads(bytes(text), parse_int=_integer)


def decode_dict(text: msgspec.Raw | bytes) -> dict[str, Any]:
    """Decode a text that is known to be an object; its values are read as :func:`decode_any` does."""
    return decode_any(text)


def read_struct(kind: type[_Struct], text: msgspec.Raw | bytes) -> _Struct:
    """Read a struct from an object, leaving out members that do not fit. Raises ValueError if it is not an object.

    Source: P-FIELD-1.
    """
    members = decode_members(text)
    plan = [each for each in _plan(kind) if each[0] in members]
    return kind(**dict(_fitting((field, read, members[member]) for member, field, read in plan)))


def _fitting(texts: Iterable[tuple[_Key, _Read, msgspec.Raw]]) -> Iterator[tuple[_Key, Any]]:
    """The values that can be read, with their names or indices."""
    for key, read, text in texts:
        try:
            yield key, read(text)
        except (ValueError, RecursionError):
            continue


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


@cache
def _plan(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, _Read], ...]:
    """For each field: its JSON name, its own name, and the function that reads it."""
    return tuple((each.encode_name, each.name, _reader(each.type)) for each in msgspec.structs.fields(kind))


@cache
def _reader(annotation: Any) -> _Read:
    """A reader that uses the type's own decoder first, then the table at the top."""
    decode = msgspec.json.Decoder(annotation).decode
    otherwise = _otherwise(annotation)

    def read(text: msgspec.Raw | bytes) -> Any:
        try:
            return decode(text)
        except msgspec.ValidationError:
            return otherwise(text)

    return read


def _otherwise(annotation: Any) -> _Read:
    # P-FIELD-1.
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
        return lambda text: [read(each) for each in decode_elements(_short(text))]
    return lambda text: [value for _, value in _fitting((None, read, each) for each in decode_elements(_short(text)))]


def _dict(read: _Read) -> _Read:
    return lambda text: dict(_fitting((name, read, member) for name, member in decode_members(_short(text)).items()))


def _short(text: msgspec.Raw | bytes) -> msgspec.Raw | bytes:
    """The text of an array or dict that is to be read element by element. Raises ValueError if it is too long."""
    return _missing(text) if memoryview(text).nbytes > MOST_ODD else text


read_integer = _reader(int)
"""Reads an integer by the same rule. Raises ValueError if there is none."""
