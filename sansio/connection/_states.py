"""The states of a connection and of a turn, and every move between them.

Rules
    All state that decides what may happen is here, in two tables. A signal that is not listed for a state cannot occur
    in it.

A connection
    ::

        CONNECTING ──transport_connected()──► HANDSHAKING ──101──► OPEN ──close()──► CLOSING ──► CLOSED
             ▲                                     │                                               ▲
             └───────── redirect, same origin ─────┘        any state: end of file, failure, abort ┘

A turn
    Two things are to be known of it: how far it got (:class:`~turnwire.sansio.replay.Phase`, the evidence), and whether
    it goes on (:class:`TurnState`). ::

        LIVE ──terminal event──► DONE
          ├──failed────────────► FAILED
          └──abandoned─────────► ABANDONED ──deadline──► OVERDUE

    ABANDONED is a failure for its consumer, while the server may still run the turn: what comes for it is dropped, and
    its lane is busy until its terminal event. OVERDUE is such a turn that has no end in sight.
"""

from __future__ import annotations

import enum
from typing import Final

from ..replay import Phase

__all__ = ["TRANSITIONS", "TURN_TRANSITIONS", "WAITING_PHASE", "Signal", "State", "TurnSignal", "TurnState"]


class State(enum.Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    """The shell is opening the transport: TCP, proxy, TLS."""
    HANDSHAKING = "handshaking"
    """The upgrade request is out."""
    OPEN = "open"
    CLOSING = "closing"
    """Our close frame is out; the peer's answer is awaited."""
    CLOSED = "closed"


class Signal(enum.Enum):
    """What moves a connection."""

    TRANSPORT_UP = "the transport is connected"
    REDIRECTED = "the upgrade was redirected within its origin"
    ACCEPTED = "the upgrade was accepted"
    CLOSE = "we close politely"
    LOST = "end of file, failure, rejection, violation, the peer's close, or our abort"


TRANSITIONS: Final[dict[State, dict[Signal, State]]] = {
    State.CONNECTING: {Signal.TRANSPORT_UP: State.HANDSHAKING, Signal.LOST: State.CLOSED},
    State.HANDSHAKING: {
        Signal.ACCEPTED: State.OPEN,
        Signal.REDIRECTED: State.CONNECTING,
        Signal.LOST: State.CLOSED,
    },
    State.OPEN: {Signal.CLOSE: State.CLOSING, Signal.LOST: State.CLOSED},
    State.CLOSING: {Signal.LOST: State.CLOSED},
    State.CLOSED: {},
}
"""All the moves of a connection."""

WAITING_PHASE: Final[dict[State, Phase]] = {
    State.CONNECTING: Phase.CONNECT,
    State.HANDSHAKING: Phase.HANDSHAKE,
    State.OPEN: Phase.LANE_WAIT,
    State.CLOSING: Phase.LANE_WAIT,
    State.CLOSED: Phase.LANE_WAIT,
}
"""The phase of a turn that has not started, by the state of the connection that it waits for."""


class TurnState(enum.Enum):
    """Whether a turn goes on."""

    LIVE = "live"
    DONE = "done"
    """Its terminal event came."""
    FAILED = "failed"
    """It failed, and nothing of it is left on a connection."""
    ABANDONED = "abandoned"
    """It failed for its consumer; the server may still run it."""
    OVERDUE = "overdue"
    """ABANDONED, and its deadline has passed: its lane has no end in sight."""


class TurnSignal(enum.Enum):
    """What moves a turn."""

    COMPLETED = "the terminal event came"
    FAILED = "it failed"
    ABANDONED = "it is given up while the server may run it"
    EXPIRED = "the deadline of the wait for its end passed"


TURN_TRANSITIONS: Final[dict[TurnState, dict[TurnSignal, TurnState]]] = {
    TurnState.LIVE: {
        TurnSignal.COMPLETED: TurnState.DONE,
        TurnSignal.FAILED: TurnState.FAILED,
        TurnSignal.ABANDONED: TurnState.ABANDONED,
    },
    # FAILED again: how far it got is known better now, because its connection is lost.
    TurnState.ABANDONED: {TurnSignal.EXPIRED: TurnState.OVERDUE, TurnSignal.FAILED: TurnState.ABANDONED},
    TurnState.OVERDUE: {TurnSignal.FAILED: TurnState.OVERDUE},
    TurnState.DONE: {},
    TurnState.FAILED: {},
}
"""All the moves of a turn. One that is repeated stays LIVE: its failure was never seen."""
