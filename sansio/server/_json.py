"""JSON as clients write it, and as they read it: what msgspec lacks is half of a surrogate pair, alone in a text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Final, NoReturn

import msgspec

__all__ = ["MAX_DEPTH", "MAX_PARTS", "read_json", "write_json"]

MAX_DEPTH: Final = 500
"""Levels of nesting in a message. Any tool schema passes; what would exhaust an encoder's stack does not."""

MAX_PARTS: Final = 500_000
"""Objects and arrays in a message. A conversation of 16 MiB has fewer; decoding as many takes half a second at most."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, or what is there of one; possessive, so that no text makes it look twice."""
_STEPS: Final[Mapping[int, int]] = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_STEPS))
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def read_json(data: bytes) -> object:
    r"""The value that ``data`` is, in UTF-8. Half of a surrogate pair may stand in a text (RFC 8259, 8.2).

    Raises ValueError, whose text says what is wrong: no UTF-8, no JSON, a number out of range, nested deeper than
    :data:`MAX_DEPTH`, or of more than :data:`MAX_PARTS`.
    """
    _check_nesting(data)
    try:
        return _decode(data)
    except RecursionError:  # The caller's own stack is deep.
        raise ValueError("it is nested too deep") from None
    except ValueError:
        if _SURROGATE.search(data) is None:
            raise
        return json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)


def write_json(value: object, *, ordered: bool = False) -> bytes:
    r"""A value of JSON's kinds as UTF-8; half of a surrogate pair as its escape. ``ordered`` sorts the names."""
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
    """Raise ValueError for JSON that is nested too deep, or made of too many parts. Before it is decoded: that may take
    seconds, and exhaust a stack."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:  # The usual case; those in strings count here, and not below.
        return
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    if len(brackets) > 2 * MAX_PARTS:
        raise ValueError(f"it has more than {MAX_PARTS} objects and arrays")
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
