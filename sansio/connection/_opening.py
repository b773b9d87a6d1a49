"""Opening: from an open transport to the accepted upgrade, with redirects within the endpoint's origin.

It makes the upgrade request, reads the answer, and says what the answer means. The connection decides what then happens
to itself and to its turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from ..endpoint import Endpoint
from ..errors import HandshakeRejectedError, TurnError
from ..evidence import NO_WEBSOCKET_STATUSES
from ..replay import Cause, Evidence, Refusal
from ..upgrade import Headers
from ..websocket import Accepted, ClientHandshake, Rejected, WebSocket
from ._tables import (
    MAX_REDIRECTS,
    REDIRECTS,
    ConnectionOptions,
    ErrorFactory,
    connect_deadline,
    refusal_in_answer,
)

__all__ = ["Opening", "Refused"]


class Refused(NamedTuple):
    """The upgrade failed: the cause, a text, and how to make the exception."""

    cause: Cause
    what: str
    make: ErrorFactory | None = None
    refusal: Refusal | None = None


class Opening:
    """The opening of one connection. ``connect_by``: it ends at this time, if ``connect_timeout`` would end it
    later."""

    def __init__(
        self, options: ConnectionOptions, random_bytes: Callable[[int], bytes], now: float, connect_by: float | None
    ) -> None:
        self._options = options
        self._random_bytes = random_bytes
        self._connect_by = connect_by
        self._handshake: ClientHandshake | None = None
        self._redirects = 0
        self.began = now

    @property
    def deadline(self) -> float | None:
        """When the opening times out, independent of the deadlines of the turns that wait for it."""
        return connect_deadline(self._options, self.began, self._connect_by)

    def request(self, endpoint: Endpoint, headers: Headers) -> bytes:
        """The upgrade request with these headers, to be written when the transport is open."""
        self._handshake = ClientHandshake(
            endpoint.authority,
            endpoint.target,
            headers,
            compression=self._options.compression,
            random_bytes=self._random_bytes,
        )
        return self._handshake.request()

    def receive(self, data: bytes, endpoint: Endpoint) -> Accepted | Endpoint | Refused | None:
        """Take data, ``b""`` for end of file. An Endpoint: connect to it instead (a redirect). None: no complete answer
        yet."""
        answer = cast("ClientHandshake", self._handshake).receive(data)
        if isinstance(answer, Accepted):
            return answer
        if isinstance(answer, Rejected):
            return self._rejected(answer, endpoint)
        if answer is not None:
            return Refused(Cause.PROTOCOL, f"{endpoint.words} is no WebSocket server: {answer.reason}")
        if not data:
            what = f"{endpoint.words} ended the connection instead of answering the upgrade"
            return Refused(Cause.EOF, what)
        return None

    def websocket(self, answer: Accepted) -> WebSocket:
        """A WebSocket with the options that the upgrade has agreed on."""
        return WebSocket(
            client=True,
            extensions=answer.extensions,
            max_message_size=self._options.max_message_size,
            random_bytes=self._random_bytes,
        )

    def _rejected(self, answer: Rejected, endpoint: Endpoint) -> Endpoint | Refused:
        location = answer.headers.get("location")
        hint = ""
        if answer.status in REDIRECTS and location is not None:
            elsewhere = endpoint.redirected(location)
            if elsewhere is not None and self._redirects < MAX_REDIRECTS:
                self._redirects += 1
                return elsewhere
            hint = (
                " (a redirect to another origin, which is not followed: the credentials would leave this one)"
                if elsewhere is None
                else f" (more than {MAX_REDIRECTS} redirects)"
            )
        elif answer.status in NO_WEBSOCKET_STATUSES:
            hint = " (there is no WebSocket mode at this URL)"
        refusal = refusal_in_answer(answer)
        said = f": {refusal.message}" if refusal.message else ""
        what = f"{endpoint.words} rejected the WebSocket handshake with HTTP status {answer.status}{said}{hint}"

        def make(evidence: Evidence, text: str) -> TurnError:
            return HandshakeRejectedError(
                text, evidence=evidence, status=answer.status, headers=answer.headers, body=answer.body
            )

        return Refused(Cause.REJECTED, what, make, refusal)
