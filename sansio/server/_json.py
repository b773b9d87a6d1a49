"""JSON as clients read and write it: unlike msgspec, it allows half of a surrogate pair in a text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, NoReturn

import msgspec

__all__ = ["MAX_DEPTH", "MAX_PARTS", "decode_json", "read_json", "write_json"]

MAX_DEPTH: Final = 500
"""Levels of nesting in a message: enough for any tool schema, too few to exhaust an encoder's stack."""

MAX_PARTS: Final = 500_000
"""Objects and arrays in a message. A conversation of 16 MiB has fewer; to decode this many takes at most 0.5 s."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, complete or not. The pattern is possessive, so that matching takes linear time."""
_STEPS: Final[Mapping[int, int]] = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_STEPS))
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def read_json(data: bytes) -> object:
    r"""Decode ``data``, in UTF-8. A text may contain half of a surrogate pair (RFC 8259, 8.2).

    Raises ValueError with a text that says what is wrong: not UTF-8, not JSON, a number out of range, nested deeper
    than :data:`MAX_DEPTH`, or more than :data:`MAX_PARTS` objects and arrays.
    """
    _check_nesting(data)
    return decode_json(data)


def decode_json(data: bytes) -> Any:
    """The same for what is known not to be nested too deep and not to have too many parts."""
    try:
        return _decode(data)
    except RecursionError:  # The stack was already deep when this was called.
        raise ValueError("it is nested too deep") from None
    except ValueError:
        if _SURROGATE.search(data) is None:
            raise
        return json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)


def write_json(value: object, *, ordered: bool = False) -> bytes:
    r"""Encode a JSON value as UTF-8; half of a surrogate pair as its escape. ``ordered`` sorts the names."""
    try:
        return (_encode_sorted if ordered else _encode)(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), sort_keys=ordered).encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def _check_nesting(data: bytes) -> None:
    """Raise ValueError for JSON that is nested too deep or has too many parts. Called before it is decoded, because
    decoding it may take seconds or exhaust the stack."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:  # The usual case. This also counts brackets in strings.
        return
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    if len(brackets) > 2 * MAX_PARTS:
        raise ValueError(f"it has more than {MAX_PARTS} objects and arrays")
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
