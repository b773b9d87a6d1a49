"""Tokens: the usage of one call, the sum over many calls, and the usage as the server sent it.

The promise
    No missing values (PARITY C5): every count is an int, and every detail is an object with int attributes, whatever
    the server sent. :func:`usage_of` is total: a count of another type, NaN or null counts as 0, and only that count.
    Names, order and arithmetic are those of the Agents SDK (0.24), so code that reads its ``Usage`` can read this one.

How a count is read

    ================================= ==========
    the server sent                   the count
    ================================= ==========
    a whole number, 12 or 12.0        12
    digits, ``"12"``                  12
    anything else, or nothing         0
    ================================= ==========
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, cast

from ..events._openai import no_tokens

__all__ = ["RequestUsage", "Usage", "member", "raw_usage_of", "usage_of"]


@dataclass
class RequestUsage:
    """The tokens of one of the requests that a :class:`Usage` sums up."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: Any
    output_tokens_details: Any


def _no_input() -> Any:
    return no_tokens()[0]


def _no_output() -> Any:
    return no_tokens()[1]


@dataclass
class Usage:
    """Tokens of one call, or of many after :meth:`add` (PARITY C5). The field order is the Agents SDK's.

    The details are objects with attributes: ``cached_tokens`` and ``cache_write_tokens`` of the input,
    ``reasoning_tokens`` of the output, as in ``openai.types.responses.response_usage``.
    """

    requests: int = 0
    """How many calls were made."""
    input_tokens: int = 0
    input_tokens_details: Any = field(default_factory=_no_input)
    output_tokens: int = 0
    output_tokens_details: Any = field(default_factory=_no_output)
    total_tokens: int = 0
    request_usage_entries: list[RequestUsage] = field(default_factory=list[RequestUsage])
    """The single requests that were added, in order; for costs per request."""

    def __post_init__(self) -> None:
        for name in _COUNTS:
            setattr(self, name, _count(getattr(self, name)))
        self.input_tokens_details = _details(self.input_tokens_details, _no_input())
        self.output_tokens_details = _details(self.output_tokens_details, _no_output())

    def add(self, other: Usage) -> None:
        """Add the tokens of ``other`` to these.

        Its entries are added to ``request_usage_entries``. If it has none, and is of one request that used tokens, it
        is added as an entry itself.
        """
        other = usage_of(other, requests=_count(other.requests))
        entries = other.request_usage_entries
        used = other.input_tokens or other.output_tokens or other.total_tokens
        if not entries and other.requests == 1 and used:
            entries = [
                RequestUsage(
                    input_tokens=other.input_tokens,
                    output_tokens=other.output_tokens,
                    total_tokens=other.total_tokens,
                    input_tokens_details=other.input_tokens_details,
                    output_tokens_details=other.output_tokens_details,
                )
            ]
        for name in _COUNTS:
            setattr(self, name, _count(getattr(self, name)) + getattr(other, name))
        self.input_tokens_details = _sum(self.input_tokens_details, other.input_tokens_details, _no_input())
        self.output_tokens_details = _sum(self.output_tokens_details, other.output_tokens_details, _no_output())
        self.request_usage_entries.extend(copy.deepcopy(entries))


_COUNTS: Final = ("requests", "input_tokens", "output_tokens", "total_tokens")


def usage_of(sent: object, *, requests: int = 1) -> Usage:
    """The usage that a server sent, as an object of the SDK, a mapping, or None if it sent none. Never raises.

    ``requests`` is 1 for a call that ran, with or without a usage.
    """
    entries = member(sent, "request_usage_entries")
    return Usage(
        requests=requests,
        input_tokens=member(sent, "input_tokens"),
        input_tokens_details=member(sent, "input_tokens_details"),
        output_tokens=member(sent, "output_tokens"),
        output_tokens_details=member(sent, "output_tokens_details"),
        total_tokens=member(sent, "total_tokens"),
        request_usage_entries=cast("list[RequestUsage]", entries) if isinstance(entries, list) else [],
    )


def raw_usage_of(sent: object) -> dict[str, Any] | None:
    """The server's usage as it was sent, as a JSON copy: for ``ModelSettings(preserve_raw_usage=True)``.

    Fields that were not sent are missing. None if there is no usage, or if it cannot be JSON.
    """
    try:
        if isinstance(sent, Mapping):
            members: object = dict(cast("Mapping[Any, Any]", sent))
        else:
            dump = getattr(sent, "model_dump", None)
            members = dump(mode="json", by_alias=True, exclude_unset=True, warnings=False) if callable(dump) else None
        return cast("dict[str, Any]", copy.deepcopy(members)) if _is_object(members) else None
    except Exception:  # A custom client's object may raise anything; the usage is not worth failing the call.
        return None


def member(value: object, name: str) -> Any:
    """A member of an object or of a mapping; None if it has none, or if reading it raises."""
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    try:
        return getattr(value, name, None)
    except Exception:  # A property of a custom client's object.
        return None


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _DIGITS:
        return int(value)
    return 0


_DIGITS: Final = 20
"""A count with more digits is not valid."""


def _details(sent: Any, zeros: Any) -> Any:
    """The details that were sent, if all counts are valid; else the same with zeros for the others."""
    whole = all(_is_count(getattr(sent, name, None)) for name in _names(zeros))
    return sent if whole else _sum(sent, None, zeros)


def _sum(one: object, other: object, zeros: Any) -> Any:
    return type(zeros)(**{name: _count(member(one, name)) + _count(member(other, name)) for name in _names(zeros)})


def _names(zeros: object) -> list[str]:
    """The names of the details that are counts."""
    return [name for name, value in vars(zeros).items() if _is_count(value)]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and _is_json(cast("object", value))


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        return all(isinstance(name, str) and _is_json(each) for name, each in members.items())
    if isinstance(value, list):
        return all(_is_json(each) for each in cast("list[object]", value))
    if isinstance(value, float):
        return isfinite(value)
    return value is None or isinstance(value, str | int | bool)
