"""Whether a turn goes over a WebSocket, or over HTTP if there is none.

The promise
    ``"websocket"`` and ``"http"`` are strict. With ``"auto"``, a WebSocket is used unless a row says otherwise:

    ==================================================== ==============================================================
    what happens                                         then
    ==================================================== ==============================================================
    the upgrade is answered with 404, 405, 426 or 501    HTTP until the session ends; the turns that waited for that
                                                         connection go over HTTP, because none of them was sent
    five connections in a row fail before they are open  HTTP; a WebSocket is tried again after five minutes
    a request is larger than ``max_request_size``        only that turn goes over HTTP
    ==================================================== ==============================================================

    Connections that were being opened when another one failed count as one failure with it: a server that is started
    again refuses all of them at once.

    A retrieval and a compaction always go over HTTP, and so does a turn in the background, which ``"websocket"``
    refuses. Two kinds of turn are never moved to HTTP: a warm-up (``generate``), and a turn that continues a response
    that is not stored, because only the connection's memory has it; but such a turn of a conversation is moved, in full
    (R-RECOVER-18). With ``"http"``, a warm-up is refused when it is submitted.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, Literal, TypeAlias

from .connection import AnchorLost, Turn, send_in_full
from .errors import UserError
from .evidence import NO_WEBSOCKET_STATUSES
from .http import HttpConnection
from .pool import Connection, ConnectionKind
from .replay import Cause, Evidence, Phase

__all__ = ["Fallback", "TransportChoice"]

TransportChoice: TypeAlias = Literal["auto", "websocket", "http"]
"""What turns go over: a WebSocket, HTTP, or (``"auto"``) a WebSocket and, if the server has none, HTTP. This is an
option of a session; the transports of :mod:`turnwire.sansio.transports` are byte streams (P-TRANSPORT-1)."""

FAILURES_IN_A_ROW: Final = 5
"""How many connections must fail in a row before HTTP is used."""
PAUSE: Final = 300.0
"""Seconds until a WebSocket is tried again after these failures."""


class Fallback:
    """See the top of the module. ``now`` is monotonic seconds."""

    def __init__(self, transport: TransportChoice) -> None:
        self._transport = transport
        self._http_until = inf if transport == "http" else -inf
        self.failures = 0
        """How many connections in a row have failed before they were open; those of one time count as one."""
        self._failed_at = -inf
        """When the last of them failed."""

    def active(self, now: float) -> bool:
        """Whether HTTP is used instead of a WebSocket."""
        return self._transport == "auto" and now < self._http_until

    def kind(self, now: float) -> ConnectionKind:
        """The kind of a connection that is opened now."""
        return ConnectionKind.HTTP if now < self._http_until else ConnectionKind.WEBSOCKET

    def kind_for(self, turn: Turn, now: float, *, too_large: bool) -> ConnectionKind:
        """The kind of connection that this turn needs. ``too_large``: its message is too large for a WebSocket.

        Source: P-TRANSPORT-1, P-TRANSPORT-4, P-TRANSPORT-5, P-CLIENT-3.
        """
        if turn.http_only:
            if self._transport == "websocket" and turn.counts:
                raise UserError(
                    "background=True does not exist on a WebSocket, and transport='websocket' allows nothing else — "
                    "the turn was not sent — leave it out, or use transport='auto'"
                )
            return ConnectionKind.HTTP
        if self._transport != "auto" or not turn.fits_http:
            return ConnectionKind.HTTP if self._transport == "http" else ConnectionKind.WEBSOCKET
        return ConnectionKind.HTTP if too_large or now < self._http_until else ConnectionKind.WEBSOCKET

    def kind_of(
        self, turn: Turn, now: float, most: int | None, remembers: Callable[[str | None], bool]
    ) -> ConnectionKind:
        """The same for a turn whose message may have ``most`` bytes on a WebSocket.

        ``remembers``: whether a WebSocket has this response in its memory. A delta whose response nobody has becomes a
        turn in full (R-RECOVER-18, C-DELTA-4, C-SAVE-3).
        """
        kind = self.kind_for(turn, now, too_large=turn.too_large(most) is not None)
        if turn.in_full is None or turn.stored or (kind is ConnectionKind.WEBSOCKET and remembers(turn.previous)):
            return kind
        send_in_full(turn, AnchorLost.FORGOTTEN)
        return self.kind_for(turn, now, too_large=turn.too_large(most) is not None)

    def replaces(self, turn: Turn, evidence: Evidence) -> bool:
        """Whether a turn that failed with this evidence was not sent and goes over HTTP instead (P-TRANSPORT-2)."""
        return self._transport == "auto" and turn.fits_http and _is_no_websocket(evidence)

    def update(self, connection: Connection, now: float) -> bool:
        """Update the state after a change of this connection. True: from now on HTTP is used.

        Source: P-TRANSPORT-2, P-TRANSPORT-3.
        """
        if self._transport != "auto" or isinstance(connection, HttpConnection):
            return False
        before = self._http_until
        if connection.opened_at is not None:
            if connection.opened_at >= self._failed_at:  # Else it was open before they failed, and breaks no row.
                self.failures = 0
        elif connection.is_closed and connection.failure is not None:
            if connection.began >= self._failed_at:
                self.failures += 1
                self._failed_at = now
            if _is_no_websocket(connection.failure.evidence):
                self._http_until = inf
            elif self.failures >= FAILURES_IN_A_ROW:
                self._http_until, self.failures = now + PAUSE, 0
        return self._http_until > before


def _is_no_websocket(evidence: Evidence) -> bool:
    """Whether an upgrade was refused in this way. A refused HTTP request is different: it was handed over."""
    refusal = evidence.refusal
    of_upgrade = evidence.cause is Cause.REJECTED and evidence.phase < Phase.SEND
    return of_upgrade and refusal is not None and refusal.status in NO_WEBSOCKET_STATUSES
