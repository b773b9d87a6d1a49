"""What was sent for a turn, and why; and the sum of what was used."""

from __future__ import annotations

import enum
from typing import Final, Literal

import msgspec

from ..events import InputTokensDetails, OutputTokensDetails, ResponseUsage

__all__ = ["MOST_DECISIONS", "Decision", "DecisionReason", "added"]

MOST_DECISIONS: Final = 256
"""How many decisions are kept: the last ones (C-DELTA-9)."""


class DecisionReason(enum.Enum):
    """Why a turn was sent as a delta or in full; the table is in :mod:`turnwire.sansio.conversation`."""

    CONTINUES = "the fields are those of the turn before, and the history begins with what that turn stands for"
    FIRST = "no turn has completed before"
    FIELDS_CHANGED = "a field is not what it was in the turn before"
    HISTORY_CHANGED = "the caller replaced the history, and it does not begin with what the response stands for"
    COMPACTED = "the history was compacted"
    PARTIAL_ACCEPTED = "what arrived of an interrupted turn is in the history"
    NO_RESPONSE_ID = "the response before has no id"
    FORGOTTEN = "no connection has the response before in its memory, and it is not stored"
    NOT_FOUND = "the server said previous_response_not_found"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent for one turn."""

    sent: Literal["delta", "full"]
    """Only what is new, with ``previous_response_id``; or everything, without it."""
    reason: DecisionReason
    items: int
    """How many items were sent."""
    window: int
    """How many items the server was to run in all."""
    changed: tuple[str, ...] = ()
    """For FIELDS_CHANGED: the names of these fields."""
    previous_response_id: str | None = None
    """The response that a delta continues, or was to continue."""

    def in_full(self, reason: DecisionReason) -> Decision:
        """The decision after the core had to send everything instead."""
        return msgspec.structs.replace(self, sent="full", reason=reason, items=self.window)


def added(one: ResponseUsage, other: ResponseUsage | None) -> ResponseUsage:
    """The sum of two usages; None: nothing is known of the second (C-HISTORY-4)."""
    if other is None:
        return one
    first, second = one.input_tokens_details, other.input_tokens_details
    reasoning = one.output_tokens_details.reasoning_tokens + other.output_tokens_details.reasoning_tokens
    return ResponseUsage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
        input_tokens_details=InputTokensDetails(
            cached_tokens=first.cached_tokens + second.cached_tokens,
            cache_write_tokens=first.cache_write_tokens + second.cache_write_tokens,
        ),
        output_tokens_details=OutputTokensDetails(reasoning_tokens=reasoning),
    )
