"""Which transport a turn goes over: a WebSocket, or HTTP where there is none.

The promise
    ``"websocket"`` and ``"http"`` are strict. With ``"auto"``, a WebSocket is used as long as there is one:

    ==================================================== ==============================================================
    what happens                                         then
    ==================================================== ==============================================================
    the upgrade is answered with 404, 405, 426 or 501    HTTP, for as long as the session lives; the turns that waited
                                                         for that connection go over HTTP, for none of them was sent
    five connections in a row fail before they are open  HTTP; a WebSocket is tried again after five minutes
    a request is larger than ``max_request_size``        that turn alone goes over HTTP
    ==================================================== ==============================================================

    A turn that exists on a WebSocket only stays there, whatever happens: a warm-up (``generate``), and one that
    continues a response which is not stored, and so is in the memory of a connection. With ``"http"``, a warm-up is
    refused when it is submitted.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal, TypeAlias

from .connection import Turn
from .http import HttpConnection
from .pool import Connection, Kind
from .replay import Cause, Evidence, Phase

__all__ = ["Fallback", "Transport"]

Transport: TypeAlias = Literal["auto", "websocket", "http"]
"""What turns go over: a WebSocket, HTTP, or the one and, where there is none, the other."""

NO_WEBSOCKET: Final = frozenset({404, 405, 426, 501})
"""Statuses of an upgrade's answer that mean: there is no WebSocket here."""
FAILURES: Final = 5
"""Connections that fail in a row before HTTP is used."""
PAUSE: Final = 300.0
"""Seconds until a WebSocket is tried again then."""


class Fallback:
    """See the top of the module. ``now`` is monotonic seconds."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._http_until = inf if transport == "http" else -inf
        self.failures = 0
        """Connections that have failed in a row before they were open."""

    def active(self, now: float) -> bool:
        """Whether HTTP is used in place of a WebSocket."""
        return self._transport == "auto" and now < self._http_until

    def kind(self, now: float) -> Kind:
        """What a connection that is opened now speaks."""
        return Kind.HTTP if now < self._http_until else Kind.WEBSOCKET

    def kind_for(self, turn: Turn, now: float, *, too_large: bool) -> Kind:
        """What has to carry this turn; ``too_large``: its message is, for a WebSocket."""
        if self._transport != "auto" or not turn.fits_http:
            return Kind.HTTP if self._transport == "http" else Kind.WEBSOCKET
        return Kind.HTTP if too_large or now < self._http_until else Kind.WEBSOCKET

    def replaces(self, turn: Turn, evidence: Evidence) -> bool:
        """Whether a turn that failed so was not sent, and goes over HTTP instead. From then on, all turns do."""
        return self._transport == "auto" and turn.fits_http and _is_no_websocket(evidence)

    def settled(self, connection: Connection, now: float) -> bool:
        """Something has happened to this connection. True: it is the last of those after which HTTP is used."""
        if self._transport != "auto" or type(connection) is HttpConnection:
            return False
        before = self._http_until
        if connection.opened_at is not None:
            self.failures = 0
        elif connection.is_closed and connection.failure is not None:
            self.failures += 1
            if _is_no_websocket(connection.failure.evidence):
                self._http_until = inf
            elif self.failures >= FAILURES:
                self._http_until, self.failures = now + PAUSE, 0
        return self._http_until > before


def _is_no_websocket(evidence: Evidence) -> bool:
    """An upgrade was refused so; not a request over HTTP, which was handed when its answer came."""
    refusal = evidence.refusal
    of_upgrade = evidence.cause is Cause.REJECTED and evidence.phase < Phase.SEND
    return of_upgrade and refusal is not None and refusal.status in NO_WEBSOCKET
