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

    After OPEN it may take fewer and fewer turns (P-CONN-20). Each state here refuses what the state above it refuses.
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

The responses of a turn
    A turn has one response; if it is steered, others follow it without a request: its *successors* (PROTOCOL.md,
    "Steering"). The phase is that of the present response. ::

        AWAIT ──first event──► STREAM ──terminal event──► the turn is DONE, its lane is free
          ▲                      │
          │                      └── it says "steered", or a steer is SENT or ACCEPTED
        response.created         │
          │                      ▼
          └──────────────────  between two responses: AWAIT again, and at least one response of the turn has ended
                                 │
                                 └── none of its steers is SENT or ACCEPTED ──► the turn is DONE

    Between two responses the turn keeps its lane and its deadlines. Of the events of a response only
    ``response.created`` is taken, and as evidence the phase is STREAM: the turn ran. If the response said "steered", a
    successor is *promised*: then the turn is DONE only if, in addition, a steer that was ACCEPTED has FAILED or is
    PENDING since.

A steer, an injection
    Input for a response that runs (:class:`InputState`); an injection is never ACCEPTED or PENDING. ::

        HELD ──its response runs──► QUEUED ──last byte handed──► SENT ──accepted──► ACCEPTED ──pending──► PENDING
          ▲                           │                           │                    │                     │
          └──its response has ended───┤                           ├────────────────────┴─────────────────────┤
                                      │                           ▼                                          ▼
                    FAILED ◄──────────┘          COMMITTED, FAILED, LOST (SENT) or LOST_ACCEPTED, as the answer says

    ============= ========================= ========= ================================================================
    state         the lane of its turn      verdict   the state ends with
    ============= ========================= ========= ================================================================
    HELD          is the turn's             SAFE      ``response.created``, or the end of the turn
    QUEUED        is the turn's; busy once  SAFE      its last byte, or the end of its response before its first byte
                  a byte was handed
    SENT          is busy                   AMBIGUOUS an answer, its deadline, or the end of the connection
    ACCEPTED      is busy                   UNSAFE    the successor's ``response.created``, an answer, the deadline of
                                                      the turn, or the end of the connection
    PENDING       is reserved for the turn  UNSAFE    that turn's ``response.created`` or end, or the end of the
                  that fills the stubs                connection
    COMMITTED     is the successor's        UNSAFE    (it stays)
    FAILED        is the turn's             SAFE      (it stays)
    LOST          the connection takes no   AMBIGUOUS (it stays)
                  more turns, or has ended
    LOST_ACCEPTED the same                  UNSAFE    (it stays)
    ============= ========================= ========= ================================================================
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from ..replay import Phase, Verdict

__all__ = [
    "FACTS",
    "INPUT_FACTS",
    "INPUT_TRANSITIONS",
    "LIVE",
    "TRANSITIONS",
    "TURN_TRANSITIONS",
    "WAITING_PHASE",
    "Facts",
    "InputFacts",
    "InputSignal",
    "InputState",
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


class InputState(enum.Enum):
    """How far a steer or an injection got; see the table at the top of the module."""

    __hash__ = object.__hash__

    HELD = "held"
    """It waits for a response that it can be sent to."""
    QUEUED = "queued"
    """Its message waits in the outbox, or is being handed."""
    SENT = "sent"
    """Its last byte was handed; the server has not answered."""
    ACCEPTED = "accepted"
    """The server owns it and has not applied it."""
    PENDING = "pending"
    """The server waits for outputs of the client before it applies it."""
    COMMITTED = "committed"
    FAILED = "failed"
    """The server gave it back, or it was not sent."""
    LOST = "lost"
    """The server may have it, and nobody will ever know."""
    LOST_ACCEPTED = "lost after it was accepted"
    """The server had accepted it, and nobody will ever know what became of it."""


class InputSignal(enum.Enum):
    """What changes the state of a steer or an injection."""

    __hash__ = object.__hash__

    QUEUED = "its response runs"
    HANDED = "its last byte was handed"
    HELD = "its response ended before its first byte was handed, and the turn goes on"
    UNSENT = "it can no longer be sent"
    ACCEPTED = "the server accepted it"
    PENDING = "the server waits for outputs of the client"
    COMMITTED = "it was applied"
    FAILED = "the server gave it back, or refused it"
    LOST = "the connection or its deadline ended, or nobody waits any more"


INPUT_TRANSITIONS: Final[dict[InputState, dict[InputSignal, InputState]]] = {
    InputState.HELD: {InputSignal.QUEUED: InputState.QUEUED, InputSignal.UNSENT: InputState.FAILED},
    InputState.QUEUED: {
        InputSignal.HANDED: InputState.SENT,
        InputSignal.HELD: InputState.HELD,
        InputSignal.UNSENT: InputState.FAILED,
        InputSignal.FAILED: InputState.FAILED,  # It is too big, and was being handed.
    },
    InputState.SENT: {
        InputSignal.ACCEPTED: InputState.ACCEPTED,
        InputSignal.PENDING: InputState.PENDING,
        InputSignal.COMMITTED: InputState.COMMITTED,
        InputSignal.FAILED: InputState.FAILED,
        InputSignal.LOST: InputState.LOST,
    },
    InputState.ACCEPTED: {
        InputSignal.PENDING: InputState.PENDING,
        InputSignal.COMMITTED: InputState.COMMITTED,
        InputSignal.FAILED: InputState.FAILED,
        InputSignal.LOST: InputState.LOST_ACCEPTED,
    },
    InputState.PENDING: {
        InputSignal.COMMITTED: InputState.COMMITTED,
        InputSignal.FAILED: InputState.FAILED,
        InputSignal.LOST: InputState.LOST_ACCEPTED,
    },
    InputState.COMMITTED: {},
    InputState.FAILED: {},
    InputState.LOST: {},
    InputState.LOST_ACCEPTED: {},
}
"""All state changes of a steer or an injection. A signal that is not listed changes nothing."""


class InputFacts(NamedTuple):
    """What a state means for the caller, for the lane, and for the owner of an error."""

    word: str
    """What callers see."""
    verdict: Verdict
    """Whether it may be sent again."""
    unsettled: bool = False
    """Whether more will become of it by itself."""
    answered: bool = True
    """Whether the server has answered it, or never will."""
    holds_lane: bool = False
    """Whether the server may begin a response by itself because of it."""


INPUT_FACTS: Final[dict[InputState, InputFacts]] = {
    InputState.HELD: InputFacts("held", Verdict.SAFE, unsettled=True, answered=False),
    InputState.QUEUED: InputFacts("queued", Verdict.SAFE, unsettled=True, answered=False),
    InputState.SENT: InputFacts("sent", Verdict.AMBIGUOUS, unsettled=True, answered=False, holds_lane=True),
    InputState.ACCEPTED: InputFacts("accepted", Verdict.UNSAFE, unsettled=True, holds_lane=True),
    InputState.PENDING: InputFacts("pending", Verdict.UNSAFE),
    InputState.COMMITTED: InputFacts("committed", Verdict.UNSAFE),
    InputState.FAILED: InputFacts("failed", Verdict.SAFE),
    InputState.LOST: InputFacts("unknown", Verdict.AMBIGUOUS),
    InputState.LOST_ACCEPTED: InputFacts("unknown", Verdict.UNSAFE),
}
"""The meaning of each state (R-STEER-1 to R-STEER-5). QUEUED holds the lane, too, once a byte of its message was
handed."""


class AnchorLost(enum.Enum):
    """Why the second message of a turn is sent."""

    FORGOTTEN = "the response is not stored, and no connection that the turn may use has it in its memory"
    NOT_FOUND = "the server said previous_response_not_found"
