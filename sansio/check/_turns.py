"""Responses among the events of a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from ..error_body import ERROR_TYPES
from ..events import ENDINGS
from ._shown import CheckFailedError, CheckSkippedError, expect

__all__ = ["CREATED", "code_of", "completed", "error_of", "id_of", "of_response", "on_lane", "refused"]

CREATED: Final = "response.created"
_BUSY: Final = 429


def error_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``error`` of a frame; the frame itself if it is flat (P-SHAPE-2)."""
    error = event.get("error")
    return cast("Mapping[str, Any]", error) if isinstance(error, dict) else event


def code_of(event: Mapping[str, Any]) -> object:
    """The code of an error frame."""
    return error_of(event).get("code")


def of_response(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The events of responses: without keepalives, rate limits and errors."""
    return [event for event in events if str(event.get("type")).startswith("response.")]


def on_lane(events: Iterable[Mapping[str, Any]], lane: str | None) -> list[Mapping[str, Any]]:
    """The events of a lane."""
    return [event for event in events if event.get("stream_id") == lane]


def id_of(event: Mapping[str, Any]) -> object:
    """The id of the response in an event; None if it has none."""
    response = event.get("response")
    return cast("Mapping[str, Any]", response).get("id") if isinstance(response, dict) else None


def not_busy(event: Mapping[str, Any]) -> None:
    """Raise CheckSkippedError for an answer that only says that there were too many requests."""
    if event.get("type") in ERROR_TYPES and event.get("status") == _BUSY:
        raise CheckSkippedError(f"the server has answered 429 ({code_of(event)}), which says nothing about this")


def completed(events: Sequence[Mapping[str, Any]], expected: str) -> str:
    """The id of the response that these events end with. Raises CheckFailedError if it did not complete."""
    last = events[-1]
    not_busy(last)
    expect(ENDINGS.get(str(last.get("type"))) in ("completed", "incomplete"), expected, last)
    expect(isinstance(id_of(last), str), f"{expected}, with its id", last)
    return cast("str", id_of(last))


def refused(events: Sequence[Mapping[str, Any]], expected: str, codes: Iterable[str | None] = ()) -> Mapping[str, Any]:
    """The error that these events end with, which has one of these codes, if there are any, and status 4xx."""
    last = events[-1]
    not_busy(last)
    if last.get("type") not in ERROR_TYPES:
        raise CheckFailedError(expected, last)
    wanted = tuple(codes)
    expect(not wanted or code_of(last) in wanted, expected, last)
    return last
