"""What a server says of its rate limits: the last headers, and the last events, as data.

The promise
    Nothing is made of them here: providers differ, and what they mean is the caller's to know. Only what is named as a
    rate limit is kept, a bounded number of types, each with its last value. No header of another kind is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .events import ServerEvent, UnknownEvent

__all__ = ["RateLimitLog", "RateLimits"]

IN_HEADERS: Final = ("ratelimit", "rate-limit")
"""A header with one of these in its name is about rate limits: ``x-ratelimit-remaining-tokens``, ``ratelimit``, …"""
EVENTS: Final = "rate_limits"
"""So is an event whose type ends so: ``codex.rate_limits``."""
MOST_TYPES: Final = 16
"""Types of such events that are kept."""


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The last that a server said of its rate limits, on whichever connection of a session."""

    headers: Mapping[str, str]
    """Of the last answer that had any, also one that refused: names in lower case. Empty: there was none."""
    events: Mapping[str, Mapping[str, Any]]
    """The last event of each type, whole."""


class RateLimitLog:
    """Where the connections of a session write down what they see."""

    def __init__(self) -> None:
        self._headers: dict[str, str] = {}
        self._events: dict[str, UnknownEvent] = {}

    def answered(self, headers: Mapping[str, str]) -> None:
        """These are the headers of an answer, or of an error."""
        found = {name.lower(): value for name, value in headers.items() if any(x in name.lower() for x in IN_HEADERS)}
        self._headers = found or self._headers

    def came(self, event: ServerEvent) -> None:
        """This event came."""
        if not (isinstance(event, UnknownEvent) and event.type.endswith(EVENTS)):
            return
        if event.type in self._events or len(self._events) < MOST_TYPES:
            self._events[event.type] = event

    def latest(self) -> RateLimits:
        """The last of each; a copy."""
        return RateLimits(
            headers=dict(self._headers), events={kind: event.to_dict() for kind, event in self._events.items()}
        )
