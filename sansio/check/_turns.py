"""Responses among the events of a connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, cast

from ..events import ENDINGS
from ._read import TOO_MANY, Event, at, event_type, is_error_frame
from ._shown import CheckFailedError, CheckSkippedError, expect

__all__ = ["CREATED", "code_of", "completed", "error_of", "response_id_of", "of_response", "on_lane", "refused"]

CREATED: Final = "response.created"


def error_of(event: Event) -> Event:
    """The ``error`` of a frame; the frame itself if it is flat (P-SHAPE-2)."""
    error = at(event, "error")
    return cast("Event", error) if isinstance(error, dict) else event


def code_of(event: Event) -> object:
    """The code of an error frame, of whatever type it is."""
    return at(error_of(event), "code")


def of_response(events: Iterable[Event]) -> list[Event]:
    """The events of responses: without keepalives, rate limits and errors."""
    return [event for event in events if event_type(event).startswith("response.")]


def on_lane(events: Iterable[Event], lane: str | None) -> list[Event]:
    """The events of a lane."""
    return [event for event in events if event.get("stream_id") == lane]


def response_id_of(event: Event) -> object:
    """The id of the response in an event; None if it has none."""
    return at(event, "response", "id")


def not_busy(event: Event) -> None:
    """Raise CheckSkippedError for an answer that only says that there were too many requests."""
    if is_error_frame(event) and event.get("status") == TOO_MANY:
        raise CheckSkippedError(f"the server has answered 429 ({code_of(event)}), which says nothing about this")


def completed(events: Sequence[Event], expected: str) -> str:
    """The id of the response that these events end with. Raises CheckFailedError if it did not complete."""
    last = events[-1]
    not_busy(last)
    expect(ENDINGS.get(event_type(last)) in ("completed", "incomplete"), expected, last)
    expect(isinstance(response_id_of(last), str), f"{expected}, with its id", last)
    return cast("str", response_id_of(last))


def refused(events: Sequence[Event], expected: str, codes: Iterable[str | None] = ()) -> Event:
    """The error that these events end with, which has one of these codes, if there are any, and status 4xx."""
    last = events[-1]
    not_busy(last)
    if not is_error_frame(last):
        raise CheckFailedError(expected, last)
    wanted = tuple(codes)
    expect(not wanted or code_of(last) in wanted, expected, last)
    return last
