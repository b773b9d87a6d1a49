"""The states of an HTTP connection, and every move between them; the table is at the top of the package."""

from __future__ import annotations

import enum
from typing import Final

from ..replay import Phase

__all__ = ["HTTP_TRANSITIONS", "HTTP_WAITING_PHASE", "HttpSignal", "HttpState"]


class HttpState(enum.Enum):
    """Where an HTTP connection is in its life."""

    CONNECTING = "connecting"
    """The shell is opening the transport: TCP, proxy, TLS."""
    IDLE = "idle"
    """It takes a request."""
    SENDING = "sending"
    """The request is being handed; its last byte was not."""
    WAITING = "waiting"
    """The request was handed whole; its answer is awaited, or arrives."""
    REFUSED = "refused"
    """An answer that is no success began before the request was handed whole: no more of it is handed."""
    FINISHING = "finishing"
    """The turn has ended; the rest of its answer is read, so that the connection can take another request."""
    CLOSED = "closed"


class HttpSignal(enum.Enum):
    """What moves an HTTP connection."""

    TRANSPORT_UP = "the transport is connected"
    BEGUN = "a turn begins: its request is ready to be handed"
    WITHDRAWN = "the turn is left before a byte of its request was handed"
    HANDED = "the last byte of the request was handed"
    REFUSED = "an answer that is no success began before that"
    REDIRECTED = "the answer is a redirect within the origin"
    TURN_OVER = "the turn has ended, by its terminal event or by an error in its answer"
    ANSWERED = "the answer is complete, and another request may follow"
    LOST = "end of file, failure, violation, an answer that nothing may follow, a turn given up, our own close"


HTTP_TRANSITIONS: Final[dict[HttpState, dict[HttpSignal, HttpState]]] = {
    HttpState.CONNECTING: {HttpSignal.TRANSPORT_UP: HttpState.IDLE, HttpSignal.LOST: HttpState.CLOSED},
    HttpState.IDLE: {HttpSignal.BEGUN: HttpState.SENDING, HttpSignal.LOST: HttpState.CLOSED},
    HttpState.SENDING: {
        HttpSignal.WITHDRAWN: HttpState.IDLE,
        HttpSignal.HANDED: HttpState.WAITING,
        HttpSignal.REFUSED: HttpState.REFUSED,
        HttpSignal.REDIRECTED: HttpState.CONNECTING,
        HttpSignal.LOST: HttpState.CLOSED,
    },
    HttpState.WAITING: {
        HttpSignal.TURN_OVER: HttpState.FINISHING,
        HttpSignal.REDIRECTED: HttpState.CONNECTING,
        HttpSignal.LOST: HttpState.CLOSED,
    },
    HttpState.REFUSED: {HttpSignal.LOST: HttpState.CLOSED},
    HttpState.FINISHING: {HttpSignal.ANSWERED: HttpState.IDLE, HttpSignal.LOST: HttpState.CLOSED},
    HttpState.CLOSED: {},
}
"""All the moves of an HTTP connection. A signal that is not listed for a state cannot occur in it."""

HTTP_WAITING_PHASE: Final[dict[HttpState, Phase]] = {
    state: Phase.CONNECT if state is HttpState.CONNECTING else Phase.LANE_WAIT for state in HttpState
}
"""The phase of a turn that has not started, by the state of the connection that it waits for."""
