"""A retrieval: ``GET …/responses/{id}``, for one response as it is, or for the events of one in the background.

What is requested (PROTOCOL.md, "Retrieval")
    The path of the endpoint with the id as one more segment; then the endpoint's own query, ``include[]`` for each
    value, and for a stream ``stream=true`` and ``starting_after``. In the id every character that is not unreserved in
    a URL is percent-encoded (RFC 3986, section 2.3). An id that could lead elsewhere all the same is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast
from urllib.parse import quote

from ..checks import COUNT, Number, shown
from ..connection import Turn
from ..endpoint import Endpoint
from ..errors import UserError, WrongTypeError
from ..events import OutputItemEvent, ServerEvent
from ..lanes import AUTO
from ..replay import Phase
from ..timeouts import Timeouts
from ._exchange import Request

__all__ = ["LONGEST_ID", "Retrieval"]

LONGEST_ID: Final = 4096
"""Bytes of an id in a URL, percent-encoded. Common servers take request lines of 8 KiB (P-RETRIEVE-3)."""
_NUMBER: Final = Number(COUNT, whole=True, optional=True, most=2**63 - 1)


class Retrieval(Turn):
    """The state of one retrieval. For connections and sessions it is a turn that goes over HTTP.

    ``stream``: ask for its events, those with a higher ``sequence_number`` than ``starting_after``; None: all.

    Raises UserError for an id that no response can have, and WrongTypeError for an argument of another type.
    """

    counts = False

    def __init__(
        self,
        response_id: str,
        *,
        stream: bool = False,
        starting_after: int | None = None,
        include: Iterable[str] = (),
        timeouts: Timeouts,
        now: float,
    ) -> None:
        super().__init__(b"", lane=AUTO, stateful=False, timeouts=timeouts, now=now)
        self.http_only = True
        _NUMBER.check("starting_after", starting_after)
        self.segment = _segment(response_id)
        """The id as it stands in the URL."""
        self.response_id = response_id
        self.stream = stream
        self.gathers = starting_after is None
        """Whether all output items come, so that they can complete a response that lacks its output."""
        self._received = starting_after
        self.include = [f"include[]={_query_value(each)}" for each in _several(include)]
        """The members of the query that name more fields."""
        self._moved_to: str | None = None
        """The request target that a redirect named."""

    def __repr__(self) -> str:
        return f"<Retrieval phase={self.current_phase.name} response_id={shown(self.response_id)}>"

    @property
    def sequence_number(self) -> int | None:
        """The highest ``sequence_number`` that came, or what ``starting_after`` said."""
        return self._received

    def request(self, endpoint: Endpoint) -> Request:
        """The request to send to this endpoint now. After a repetition it asks for what did not come before
        (R-RETRIEVE-3, P-RETRIEVE-1, P-RETRIEVE-2)."""
        accept = "text/event-stream, application/json" if self.stream else "application/json"
        return Request((self._moved_to or self._target(endpoint.target)).encode("ascii"), None, accept)

    def _target(self, target: str) -> str:
        path, _, query = target.partition("?")
        members = [query] if query else []
        members += self.include
        if self.stream:
            members.append("stream=true")
            if self._received is not None:
                members.append(f"starting_after={self._received}")
        return f"{path.rstrip('/')}/{self.segment}" + (f"?{'&'.join(members)}" if members else "")

    def redirected(self, endpoint: Endpoint) -> None:
        """The server names another place within its origin, for this request only (P-RETRIEVE-5)."""
        self._moved_to = endpoint.target

    def unsent(self) -> None:
        """Reset it to before its first attempt, but for the events that came: they do not come again."""
        self.connection = None
        self.phase = Phase.LANE_WAIT
        self._moved_to = None

    def deliver(self, event: ServerEvent, length: int, now: float) -> int:
        """Append an event for the consumer, unless one with its number, or a higher one, has come.

        An event that ends the response is always delivered: some servers number a continued stream anew.

        Source: P-RETRIEVE-6.
        """
        number = event.sequence_number
        if number is not None:
            if self._received is not None and number <= self._received and not event.ends_turn:
                return 0
            self._received = max(number, self._received or 0)
        return super().deliver(event, length, now)

    def note_item(self, event: OutputItemEvent) -> None:
        """Remember an item of the response, if none before it is missing."""
        if self.gathers:
            super().note_item(event)


def _segment(response_id: object) -> str:
    """An id as a segment of a path (P-RETRIEVE-3)."""
    if not isinstance(response_id, str):
        raise WrongTypeError(f"response_id is {shown(response_id)}: write the id of a response, as text")
    if not response_id or response_id in (".", ".."):
        raise UserError(f"response_id is {response_id!r}, which names no response: write its id, such as 'resp_…'")
    encoded = quote(response_id, safe="") if len(response_id) <= LONGEST_ID and response_id.isprintable() else ""
    if not 0 < len(encoded) <= LONGEST_ID:
        what = f"of {len(response_id)} characters" if response_id.isprintable() else "with a control character"
        raise UserError(f"response_id is {shown(response_id[:80])}, a text {what}: write the id of a response")
    return encoded


def _several(include: object) -> Iterable[object]:
    if isinstance(include, str) or not isinstance(include, Iterable):
        raise WrongTypeError(f"include is {shown(include)}: write a list, such as ['reasoning.encrypted_content']")
    return cast("Iterable[object]", include)


def _query_value(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise WrongTypeError(f"{shown(value)} in include is no name of a field: write text")
    return quote(value, safe="")
