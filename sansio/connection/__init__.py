r"""One connection: many turns over one WebSocket, from opening the transport to the last verdict.

The promise
    However the connection ends, each turn on it ends exactly once: with its terminal event, or with one typed failure
    whose evidence says how far the turn got. Nothing here reads a clock, opens a socket or draws a random number by
    itself: the same calls with the same arguments give the same results.

Theory of operation
    Two machines stand here, and their states and moves are in ``_states.py``. The *connection* has a state, moved by
    signals (:data:`TRANSITIONS`). Each *turn* has a phase (:class:`~turnwire.sansio.replay.Phase`: how far it got),
    moved by what happens to its message and by its events, and a state (:class:`TurnState`: whether it goes on). The
    two machines meet in one place only: while a turn waits, its phase is read off the connection's state
    (:data:`WAITING_PHASE`).

    A turn's message joins the *outbox* when its lane and a slot are free. :meth:`data_to_send` hands the
    outbox out in chunks and sees where each message ends: handing out the chunk that holds a message's last byte is the
    moment at which its turn passes from SEND to AWAIT. That moment is exact, because the caller begins to write a chunk
    before it asks for the next.

    =========================== ============================================== ======================================
    a turn in phase             when its consumer leaves it                    when the connection is lost
    =========================== ============================================== ======================================
    LANE_WAIT, CONNECT,         is forgotten                                   fails, SAFE
    HANDSHAKE
    SEND, not a byte handed     is taken out of the outbox                     fails, SAFE
    SEND, in the middle         abandoned: the rest is sent                    fails, SAFE
    AWAIT                       abandoned                                      fails, AMBIGUOUS
    STREAM                      abandoned                                      fails, UNSAFE
    =========================== ============================================== ======================================

    *Abandoned* means: its events are discarded, and its lane stays busy until its terminal event. If it was the only
    turn that anybody wanted, the connection may be aborted instead, so that the server stops working at once. That is
    the choice of ``leave``, of the turn or else of the options:

    ================== ======================== =================================================== ==================
    ``leave``          other turns use the      no other turn does, and ...
                       connection
    ------------------ ------------------------ ----------------------------------------------------------------------
    \                  \                        another lane's last response is in its memory only  it holds no such
                                                (``store: false``)                                  response
    ================== ======================== =================================================== ==================
    None (default)     abandoned                abandoned                                           aborted
    ``"abort"``        abandoned                aborted                                             aborted
    ``"abandon"``      abandoned                abandoned                                           abandoned
    ================== ======================== =================================================== ==================

    A turn whose deadline passed, or that goes over a limit, is given up as by ``"abort"``; so is any on a connection
    that takes no more turns.

    A turn that must fail in the middle of its message while others stream on (its send deadline passed) *disables
    writing*: no byte is handed out any more, so that its verdict SAFE stays true; those that stream finish, and then
    the connection is aborted. The others must go elsewhere.

    An abandoned turn keeps its deadlines: when one passes, its lane has no end in sight. Turns that wait for that lane,
    or for a slot where all are held so, need another connection: then this one drains.

    A *draining* connection starts no turn any more. Whoever owns it takes those that wait, and those that cannot be
    sent any more, back by :meth:`~ResponsesConnection.requeue_unstarted`.

What a user of this class does
    Call :meth:`transport_connected`, :meth:`receive_data` (``b""`` is end of file), :meth:`transport_failed` and
    :meth:`handle_deadline` when those things happen; after each, write what :meth:`data_to_send` gives. While it
    :attr:`~ResponsesConnection.has_unprocessed` bytes, call :meth:`process` instead of reading, and let others run in
    between. In state CLOSED, write what it still gives (a close frame), then close the transport.
"""

from __future__ import annotations

from ._machine import ResponsesConnection
from ._states import LIVE, TRANSITIONS, TURN_TRANSITIONS, WAITING_PHASE, Signal, State, TurnSignal, TurnState
from ._tables import LEAVE_RULE, ConnectionOptions, Stats, limit_exceeded, turn_failure
from ._turn import Leave, Turn

__all__ = [
    "LEAVE_RULE",
    "LIVE",
    "TRANSITIONS",
    "TURN_TRANSITIONS",
    "WAITING_PHASE",
    "ConnectionOptions",
    "Leave",
    "ResponsesConnection",
    "Signal",
    "State",
    "Stats",
    "Turn",
    "TurnSignal",
    "TurnState",
    "limit_exceeded",
    "turn_failure",
]
