r"""One connection: many turns over one WebSocket, from opening the transport to the last verdict.

The promise
    However the connection ends, each turn on it ends exactly once: with its terminal event, or with one typed failure.
    The failure's evidence says how far the turn got. Nothing here reads a clock, opens a socket or draws a random
    number by itself: the same calls with the same arguments give the same results.

Theory of operation
    There are two state machines; their states and moves are in ``_states.py``. The *connection* has a state, which
    signals change (:data:`TRANSITIONS`). Each *turn* has a phase (:class:`~turnwire.sansio.replay.Phase`: how far it
    got), which changes when its message is handed over and when its events come, and a state (:class:`TurnState`:
    whether it goes on). The two machines meet in one place only: while a turn waits, the connection's state determines
    its phase (:data:`WAITING_PHASE`).

    A turn's message joins the *outbox* when its lane and a slot are free. :meth:`data_to_send` returns the outbox in
    chunks and knows where each message ends. When it returns the chunk with a message's last byte, the turn passes from
    SEND to AWAIT. That moment is exact, because the caller begins to write a chunk before it asks for the next.

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
    turn that was not abandoned, the connection may be aborted instead, so that the server stops working at once. The
    value of ``leave`` decides, that of the turn or else that of the options:

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

    A turn whose deadline passed, or that exceeds a limit, is ended as by ``"abort"``. So is any turn on a connection
    that takes no more turns.

    A turn may have to fail in the middle of its message while others stream (its send deadline passed). The connection
    then *disables writing*: it hands out no further byte, so that the verdict SAFE stays true. Turns whose
    messages were handed over whole go on; when they have ended, the connection is aborted. All other turns are moved to
    another connection.

    An abandoned turn keeps its deadlines. When one passes, nobody can say when its lane becomes free. Turns that wait
    for that lane need another connection, and so do turns that wait for a slot if all slots are held in this way: then
    this connection drains.

    A *draining* connection starts no more turns. Its owner calls :meth:`~ResponsesConnection.requeue_unstarted` to take
    back the turns that wait and those that can no longer be sent.

What a user of this class does
    Call :meth:`transport_connected`, :meth:`receive_data` (``b""`` is end of file), :meth:`transport_failed` and
    :meth:`handle_deadline` when those things happen. After each call, write what :meth:`data_to_send` gives. While
    :attr:`~ResponsesConnection.has_unprocessed` is true, call :meth:`process` instead of reading, and let other tasks
    run in between. In state CLOSED, write what is left (a close frame), then close the transport.
"""

from __future__ import annotations

from ._continuation import Continuation, send_in_full
from ._inputs import InputKind, TurnInput
from ._machine import ResponsesConnection
from ._states import (
    INPUT_FACTS,
    INPUT_TRANSITIONS,
    LIVE,
    TRANSITIONS,
    TURN_TRANSITIONS,
    WAITING_PHASE,
    AnchorLost,
    InputSignal,
    InputState,
    Signal,
    State,
    TurnSignal,
    TurnState,
)
from ._tables import LEAVE_RULE, ConnectionOptions, Stats, limit_exceeded, turn_failure, words_of
from ._turn import Leave, Turn, TurnObserver

__all__ = [
    "INPUT_FACTS",
    "INPUT_TRANSITIONS",
    "LEAVE_RULE",
    "LIVE",
    "TRANSITIONS",
    "TURN_TRANSITIONS",
    "WAITING_PHASE",
    "AnchorLost",
    "ConnectionOptions",
    "Continuation",
    "InputKind",
    "InputSignal",
    "InputState",
    "Leave",
    "ResponsesConnection",
    "Signal",
    "State",
    "Stats",
    "Turn",
    "TurnInput",
    "TurnObserver",
    "TurnSignal",
    "TurnState",
    "limit_exceeded",
    "send_in_full",
    "turn_failure",
    "words_of",
]
