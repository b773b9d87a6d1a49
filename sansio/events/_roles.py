"""What an event does to a turn: whether it begins a response, ends one, or neither (PROTOCOL.md, "What starts").

This is the only table of it, over WebSockets and HTTP, and for both roles. An event is judged by its type, by the
names of its members and, if it may be the last of its response, by the response's status:

    ========== =================================================================== =============================
    role       which events                                                        what it does to its turn
    ========== =================================================================== =============================
    NEUTRAL    a closed list: keepalives, rate limits, ``codex.*``                 nothing
    ERROR      ``error``, ``response.error``                                       ends it
    OUTCOME    ``response.steer.*``, ``response.inject.*``                         nothing: it answers a steer
    RESPONSE   any other ``response.*``, and any event with a member of a response  begins its response
    UNKNOWN    everything else                                                      nothing; but an error frame that
                                                                                    follows is no longer a refusal
    ========== =================================================================== =============================

    ====================== ============================================= ==================================
    type                   the status of its ``response``                the turn has ended as
    ====================== ============================================= ==================================
    one of ENDINGS         any, or no response at all                    what the type says
    ``response.done``      missing                                       completed
    ``response.done``      final                                         what the status says
    unknown ``response.*`` final                                         what the status says
    any other              any                                           it has not
    ====================== ============================================= ==================================
"""

from __future__ import annotations

import enum
from collections.abc import Container
from functools import lru_cache
from typing import Final

from ..error_body import ERROR_TYPES

__all__ = ["ENDINGS", "FINAL_STATUSES", "Role", "ending", "role_of"]


class Role(enum.Enum):
    """What an event does to the turn that it belongs to."""

    NEUTRAL = "neutral"
    """It has no effect on a turn."""
    RESPONSE = "response"
    """It is part of a response: the response has begun."""
    OUTCOME = "outcome"
    """It answers a steer or an injection; it does not begin or end a turn."""
    ERROR = "error"
    """It ends the turn that it belongs to."""
    UNKNOWN = "unknown"
    """It does not begin or end a turn, but its meaning is not known: a refusal that follows proves nothing."""


# P-START-1.
NEUTRAL_TYPES: Final = frozenset({"keepalive", "ping", "rate_limits", "response.heartbeat", "response.metadata"})
NEUTRAL_PREFIX: Final = "codex."
NEUTRAL_SUFFIX: Final = ".rate_limits"
OUTCOME_PREFIXES: Final = ("response.steer.", "response.inject.")
RESPONSE_PREFIX: Final = "response."
RESPONSE_MEMBERS: Final = ("response", "response_id", "item_id", "output_index", "delta")
"""An event with one of these members is part of a response, whatever its type (P-START-2)."""

ENDINGS: Final = {
    "response.completed": "completed",
    "response.failed": "failed",
    "response.incomplete": "incomplete",
    "response.cancelled": "cancelled",
}
"""The types that end a turn, and the outcome, whatever the response says (P-EVENT-3, P-START-6)."""

DONE: Final = "response.done"
FINAL_STATUSES: Final = {**{status: status for status in ENDINGS.values()}, "canceled": "cancelled"}
"""The statuses after which a response does not change, with both spellings of cancelled."""


def role_of(kind: str, members: Container[str] = ()) -> Role:
    """The role of an event of this type with members of these names (PROTOCOL.md, "What starts").

    Source: P-START-1 to P-START-3.
    """
    if kind in NEUTRAL_TYPES or kind.startswith(NEUTRAL_PREFIX) or kind.endswith(NEUTRAL_SUFFIX):
        return Role.NEUTRAL
    if kind in ERROR_TYPES:
        return Role.ERROR
    if kind.startswith(OUTCOME_PREFIXES):
        return Role.OUTCOME
    if kind.startswith(RESPONSE_PREFIX) or any(name in members for name in RESPONSE_MEMBERS):
        return Role.RESPONSE
    return Role.UNKNOWN


role_of_type: Final = lru_cache(256)(role_of)
"""The role by type alone; cached for the last 256 types, because servers may invent any number of them."""


def ending(kind: str, status: str | None, *, known: bool, has_response: bool) -> str | None:
    """The outcome with which an event ends its turn: completed, failed, incomplete or cancelled; None: it does not end
    it.

    ``status`` is the response's; ``known`` says whether the type is one of the API's own.

    Source: P-START-6.
    """
    if kind in ENDINGS:
        return ENDINGS[kind]
    if known or not has_response or not kind.startswith(RESPONSE_PREFIX) or role_of(kind) is not Role.RESPONSE:
        return None
    if kind == DONE and not status:
        return "completed"
    return FINAL_STATUSES.get(status or "")
