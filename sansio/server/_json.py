"""JSON as clients write it, and as they read it: what msgspec lacks is half of a surrogate pair, alone in a text."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn, cast

import msgspec

__all__ = ["MAX_DEPTH", "read_json", "write_json"]

MAX_DEPTH: Final = 500
"""Levels of nesting in a message. Any tool schema passes; what would exhaust an encoder's stack does not."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def read_json(data: bytes) -> object:
    r"""The value that ``data`` is, in UTF-8. Half of a surrogate pair may stand in a text (RFC 8259, 8.2).

    Raises ValueError, whose text says what is wrong: no UTF-8, no JSON, a number out of range, or nested deeper than
    :data:`MAX_DEPTH`.
    """
    try:
        value = _read(data)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    if _too_deep(data, value):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    return value


def write_json(value: object, *, ordered: bool = False) -> bytes:
    r"""A value of JSON's kinds as UTF-8; half of a surrogate pair as its escape. ``ordered`` sorts the names."""
    try:
        return (_encode_sorted if ordered else _encode)(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), sort_keys=ordered).encode()


def _read(data: bytes) -> object:
    try:
        return _decode(data)
    except ValueError:
        if _SURROGATE.search(data) is None:
            raise
        return json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def _too_deep(data: bytes, message: object) -> bool:
    """Whether JSON is nested deeper than is allowed. Only a message with that many brackets can be."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    level: list[object] = [message]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += cast("dict[str, Any]", value).values()
            elif isinstance(value, list):
                inner += cast("list[object]", value)
        level = [value for value in inner if isinstance(value, dict | list)]
    return bool(level)
