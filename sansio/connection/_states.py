"""The states of a connection and of a turn, and every move between them.

Rules
    All state that decides what may happen is here, in two tables. A signal that is not listed for a state cannot occur
    in it, or changes nothing there (:data:`Signal.DRAIN`, :data:`Signal.END_ANNOUNCED`). No flag stands beside the
    states: what only some of them allow is a state of its own.

A connection
    ::

        CONNECTING ──transport_connected()──► HANDSHAKING ──101──► OPEN ──close()──► CLOSING ──► CLOSED
             ▲                                     │                                               ▲
             └───────── redirect, same origin ─────┘        any state: end of file, failure, abort ┘

    From OPEN on it may come to take fewer turns. Each of these states takes all that the one before it refuses, too,
    and none of them is left but for CLOSING and CLOSED:

    ================ ======================================= ===================================================
    state            turns that wait                         turns that have started
    ================ ======================================= ===================================================
    OPEN             start when lane and slot are free       go on
    DRAINING         have to go elsewhere                    go on
    ENDING           have to go elsewhere                    go elsewhere if not a byte was handed; others go on
    WRITE_DISABLED   have to go elsewhere                    go elsewhere if in SEND; those that stream go on
    ================ ======================================= ===================================================

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
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    """The shell is opening the transport: TCP, proxy, TLS."""
    HANDSHAKING = "handshaking"
    """The upgrade request is out."""
    OPEN = "open"
    DRAINING = "draining"
    """No turn starts here any more: the session is to replace it, or all that could start are blocked."""
    ENDING = "ending"
    """The server announced the connection's end."""
    WRITE_DISABLED = "write disabled"
    """A message was cut in the middle: not a byte is handed any more, so that its verdict SAFE stays true."""
    CLOSING = "closing"
    """Our close frame is out; the peer's answer is awaited."""
    CLOSED = "closed"

    __hash__ = object.__hash__  # For the tables: that of Enum is a function written in Python.


class Facts(NamedTuple):
    """What a state means to those who look at a connection."""

    accepts_turns: bool = False
    draining: bool = False
    is_open: bool = False
    is_closed: bool = False
    needs_transport: bool = False


class Signal(enum.Enum):
    """What moves a connection."""

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
"""All the moves of a connection."""

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
"""The phase of a turn that has not started, by the state of the connection that it waits for."""


class TurnState(enum.Enum):
    """Whether a turn goes on."""

    __hash__ = object.__hash__  # For the tables: that of Enum is a function written in Python.

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

    __hash__ = object.__hash__

    COMPLETED = "the terminal event came"
    FAILED = "it failed"
    ABANDONED = "it is given up while the server may run it"
    EXPIRED = "the deadline of the wait for its end passed"


LIVE: Final = TurnState.LIVE
"""For the hot path: CPython 3.11 looks up a member of an enum by a function written in Python."""

TURN_TRANSITIONS: Final[dict[TurnState, dict[TurnSignal, TurnState]]] = {
    TurnState.LIVE: {
        TurnSignal.COMPLETED: TurnState.DONE,
        TurnSignal.FAILED: TurnState.FAILED,
        TurnSignal.ABANDONED: TurnState.ABANDONED,
    },
    # FAILED again: its message was never handed whole, as is known when its connection is lost.
    TurnState.ABANDONED: {TurnSignal.EXPIRED: TurnState.OVERDUE, TurnSignal.FAILED: TurnState.ABANDONED},
    TurnState.OVERDUE: {},
    TurnState.DONE: {},
    TurnState.FAILED: {},
}
"""All the moves of a turn. One that is repeated stays LIVE: its failure was never seen."""
