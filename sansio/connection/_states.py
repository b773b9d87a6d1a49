"""The states of a connection and of a turn, and every move between them.

Rules
    All state that decides what may happen is here, in two tables. If a signal is not listed for a state, it cannot
    occur in it, or it changes nothing (:data:`Signal.DRAIN`, :data:`Signal.END_ANNOUNCED`). There are no flags beside
    the states: anything that only some states allow has a state of its own.

A connection
    ::

        CONNECTING ──transport_connected()──► HANDSHAKING ──101──► OPEN ──close()──► CLOSING ──► CLOSED
             ▲                                     │                                               ▲
             └───────── redirect, same origin ─────┘        any state: end of file, failure, abort ┘

    After OPEN it may take fewer and fewer turns. Each state in this table also refuses what the state above it refuses.
    From each of them the connection can only move down the table, or to CLOSING and CLOSED:

    ================ ======================================= ===================================================
    state            turns that wait                         turns that have started
    ================ ======================================= ===================================================
    OPEN             start when lane and slot are free       go on
    DRAINING         have to go elsewhere                    go on
    ENDING           have to go elsewhere                    go elsewhere if not a byte was handed; others go on
    WRITE_DISABLED   have to go elsewhere                    go elsewhere if in SEND; others go on
    ================ ======================================= ===================================================

A turn
    Two things are known of a turn: how far it got (:class:`~turnwire.sansio.replay.Phase`, the evidence), and whether
    it goes on (:class:`TurnState`). ::

        LIVE ──terminal event──► DONE
          ├──failed────────────► FAILED
          └──abandoned─────────► ABANDONED ──deadline──► OVERDUE

    ABANDONED is a failure for the consumer, while the server may still run the turn. Events for it are dropped, and its
    lane is busy until its terminal event. OVERDUE: an abandoned turn whose deadline has passed without a terminal
    event.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from ..replay import Phase

__all__ = [
    "FACTS",
    "LIVE",
    "TRANSITIONS",
    "TURN_TRANSITIONS",
    "WAITING_PHASE",
    "Facts",
    "Signal",
    "State",
    "TurnSignal",
    "TurnState",
]


class State(enum.Enum):
    """The state of a connection."""

    CONNECTING = "connecting"
    """The shell is opening the transport: TCP, proxy, TLS."""
    HANDSHAKING = "handshaking"
    """The upgrade request can be sent; its answer is awaited."""
    OPEN = "open"
    DRAINING = "draining"
    """No more turns start here: the session will replace the connection, or all turns that could start are blocked."""
    ENDING = "ending"
    """The server announced the connection's end."""
    WRITE_DISABLED = "write disabled"
    """A message was cut in the middle. No further byte is handed out, so that its verdict SAFE stays true."""
    CLOSING = "closing"
    """Our close frame was queued; the peer's is awaited."""
    CLOSED = "closed"

    __hash__ = object.__hash__  # For the tables: that of Enum is a function written in Python.


class Facts(NamedTuple):
    """What a state means for the users of a connection."""

    accepts_turns: bool = False
    draining: bool = False
    is_open: bool = False
    is_closed: bool = False
    needs_transport: bool = False


class Signal(enum.Enum):
    """What changes a connection's state."""

    TRANSPORT_UP = "the transport is connected"
    REDIRECTED = "the upgrade was redirected within its origin"
    ACCEPTED = "the upgrade was accepted"
    DRAIN = "it is to take no more turns"
    END_ANNOUNCED = "the server announced its end"
    MESSAGE_CUT = "a message that had begun must not go on"
    CLOSE = "we begin the closing handshake"
    LOST = "end of file, failure, rejection, violation, the peer's close, or our abort"

    __hash__ = object.__hash__


TRANSITIONS: Final[dict[State, dict[Signal, State]]] = {
    State.CONNECTING: {Signal.TRANSPORT_UP: State.HANDSHAKING, Signal.LOST: State.CLOSED},
    State.HANDSHAKING: {
        Signal.ACCEPTED: State.OPEN,
        Signal.REDIRECTED: State.CONNECTING,
        Signal.LOST: State.CLOSED,
    },
    State.OPEN: {
        Signal.DRAIN: State.DRAINING,
        Signal.END_ANNOUNCED: State.ENDING,
        Signal.MESSAGE_CUT: State.WRITE_DISABLED,
        Signal.CLOSE: State.CLOSING,
        Signal.LOST: State.CLOSED,
    },
    State.DRAINING: {
        Signal.END_ANNOUNCED: State.ENDING,
        Signal.MESSAGE_CUT: State.WRITE_DISABLED,
        Signal.CLOSE: State.CLOSING,
        Signal.LOST: State.CLOSED,
    },
    State.ENDING: {
        Signal.MESSAGE_CUT: State.WRITE_DISABLED,
        Signal.CLOSE: State.CLOSING,
        Signal.LOST: State.CLOSED,
    },
    State.WRITE_DISABLED: {Signal.LOST: State.CLOSED},
    State.CLOSING: {Signal.LOST: State.CLOSED},
    State.CLOSED: {},
}
"""All state changes of a connection."""

_DRAINING: Final = Facts(draining=True, is_open=True)
FACTS: Final[dict[State, Facts]] = {
    State.CONNECTING: Facts(accepts_turns=True, needs_transport=True),
    State.HANDSHAKING: Facts(accepts_turns=True),
    State.OPEN: Facts(accepts_turns=True, is_open=True),
    State.DRAINING: _DRAINING,
    State.ENDING: _DRAINING,
    State.WRITE_DISABLED: _DRAINING,
    State.CLOSING: Facts(is_open=True),
    State.CLOSED: Facts(is_closed=True),
}
"""The meaning of each state."""

WAITING_PHASE: Final[dict[State, Phase]] = {
    State.CONNECTING: Phase.CONNECT,
    State.HANDSHAKING: Phase.HANDSHAKE,
    State.OPEN: Phase.LANE_WAIT,
    State.DRAINING: Phase.LANE_WAIT,
    State.ENDING: Phase.LANE_WAIT,
    State.WRITE_DISABLED: Phase.LANE_WAIT,
    State.CLOSING: Phase.LANE_WAIT,
    State.CLOSED: Phase.LANE_WAIT,
}
"""The phase of a turn that has not started, by the state of the connection it waits for."""


class TurnState(enum.Enum):
    """Whether a turn goes on."""

    __hash__ = object.__hash__  # For the look-ups in the tables: Enum's own is written in Python and slower.

    LIVE = "live"
    DONE = "done"
    """Its terminal event came."""
    FAILED = "failed"
    """It failed and is on no connection."""
    ABANDONED = "abandoned"
    """It failed for its consumer; the server may still run it."""
    OVERDUE = "overdue"
    """ABANDONED, and its deadline has passed: nobody can say when its lane becomes free."""


class TurnSignal(enum.Enum):
    """What changes a turn's state."""

    __hash__ = object.__hash__

    COMPLETED = "the terminal event came"
    FAILED = "it failed"
    ABANDONED = "it is given up while the server may run it"
    EXPIRED = "the deadline of the wait for its end passed"


LIVE: Final = TurnState.LIVE
"""A local name for the hot path: in CPython 3.11, access to an enum member calls a function written in Python."""

TURN_TRANSITIONS: Final[dict[TurnState, dict[TurnSignal, TurnState]]] = {
    TurnState.LIVE: {
        TurnSignal.COMPLETED: TurnState.DONE,
        TurnSignal.FAILED: TurnState.FAILED,
        TurnSignal.ABANDONED: TurnState.ABANDONED,
    },
    # FAILED after ABANDONED: the connection was lost, and the message was never handed over whole.
    TurnState.ABANDONED: {TurnSignal.EXPIRED: TurnState.OVERDUE, TurnSignal.FAILED: TurnState.ABANDONED},
    TurnState.OVERDUE: {},
    TurnState.DONE: {},
    TurnState.FAILED: {},
}
"""All state changes of a turn. A turn that is repeated stays LIVE: the consumer never saw its failure."""


class AnchorLost(enum.Enum):
    """Why the second message of a turn is sent."""

    FORGOTTEN = "the response is not stored, and no connection that the turn may use has it in its memory"
    NOT_FOUND = "the server said previous_response_not_found"
