"""Stored responses, and the requests that retrieve them: ``GET …/responses/{id}`` (PROTOCOL.md, "Retrieval").

::

    GET …/responses/{id}                                    the response as it is now, as JSON
    GET …/responses/{id}?stream=true                        its events, if it was made with background: true
    GET …/responses/{id}?stream=true&starting_after=N       those with a higher sequence_number than N
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from ..events import ENDINGS
from ._expansion import AWAIT_INPUT
from ._memory import ItemDict, Remembered
from ._problem import Problem

__all__ = ["StoredResponse", "StoredResponses", "WantedResponse", "wanted_response"]


class StoredResponse:
    """One response as it is now. Of one that runs in the background, its events, too."""

    def __init__(self, request: Mapping[str, Any], previous: Remembered | None = None) -> None:
        self.request = request
        """The body of the request that made it."""
        self.previous = previous
        """The response that it continues."""
        self.injected: list[ItemDict] = []
        """What was injected into it."""
        self.background = request.get("background") is True
        self.response: ItemDict | None = None
        """None before its first event."""
        self.events: list[ItemDict] = []
        """Of a response in the background: all events so far, each with its ``sequence_number``."""
        self.ended = False
        self.cancelled = False
        """Whether a request has cancelled it: nothing more is made of it."""
        self.listeners: set[Callable[[], object]] = set()
        """Called after each event, and when it is stopped."""

    def record(self, events: Iterable[ItemDict]) -> Iterator[ItemDict]:
        """The same events; each is recorded before it is given out, but for the waits between them."""
        for event in events:
            if event["type"] == AWAIT_INPUT:
                yield event
                continue
            self.response = event.get("response") or self.response
            if self.background:
                self.events.append({**event, "sequence_number": len(self.events)})
            self.ended = self.ended or event["type"] in ENDINGS
            if event["type"] == "error":
                self.stop("failed")
            for listener in list(self.listeners):
                listener()
            yield event

    def stop(self, status: str) -> None:
        """It ends without a terminal event, with this status; nothing if it has ended."""
        if not self.ended and self.response is not None:
            self.response = {**self.response, "status": status}
            self.ended = True
            for listener in list(self.listeners):
                listener()

    def cancel(self) -> ItemDict | Problem:
        """Cancel it, if it runs in the background; the response as it is then."""
        if not self.background or self.response is None:
            return Problem(400, None, "Cannot cancel a synchronous response.")
        self.cancelled = not self.ended
        self.stop("cancelled")
        return self.response

    def events_after(self, number: int) -> list[ItemDict]:
        """The events with a higher ``sequence_number``."""
        return self.events[number + 1 :]


class WantedResponse(msgspec.Struct, frozen=True):
    """What a request wants to retrieve."""

    response_id: str
    stream: bool = False
    starting_after: int = -1


class StoredResponses:
    """The stored responses of one service: the newest ``limit`` of them."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._by_id: dict[str, StoredResponse] = {}

    def keep(self, response_id: str, stored: StoredResponse) -> None:
        """Store a response that begins, unless its request had ``store: false``."""
        if stored.request.get("store") is not False:
            self._by_id[response_id] = stored
            while len(self._by_id) > self._limit:
                del self._by_id[next(iter(self._by_id))]

    def find(self, wanted: WantedResponse) -> StoredResponse | Problem:
        """What a request wants, or why it cannot have it."""
        found = self._by_id.get(wanted.response_id)
        if found is None or found.response is None:
            return Problem(404, None, f"Response with id '{wanted.response_id[:100]}' not found.", "response_id")
        if wanted.stream and not found.background:
            message = "This response cannot be streamed because it was not created with background=true."
            return Problem(400, None, message, "stream")
        return found

    def delete(self, response_id: str) -> bool:
        """Keep it no longer; returns whether it was there. If it runs in the background, it is cancelled."""
        found = self._by_id.pop(response_id, None)
        if found is not None and found.background:
            found.cancel()
        return found is not None


_BOOLEANS: Final = {"true": True, "false": False}


def wanted_response(target: str, path: str) -> WantedResponse | Problem | None:
    """What a request target under ``path`` wants; None if it is none of a response."""
    place, _, query = target.partition("?")
    segment = place.removeprefix(f"{path}/")
    if segment == place or not segment or "/" in segment:
        return None
    given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    stream = _BOOLEANS.get(given.get("stream", "false"))
    if stream is None:
        return Problem(400, "invalid_type", "Invalid type for 'stream': expected a boolean.", "stream")
    after = given.get("starting_after", "-1")
    if after != "-1" and not (stream and after.isascii() and after.isdigit() and len(after) < 16):
        message = "Invalid value for 'starting_after': expected an integer, and stream=true."
        return Problem(400, "invalid_value", message, "starting_after")
    return WantedResponse(unquote(segment), stream, int(after))
