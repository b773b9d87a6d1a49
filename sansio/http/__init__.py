"""One connection in HTTP/1.1: requests one after the other, each a turn (``POST``) or a retrieval (``GET``).

The promise
    A turn over HTTP is the same :class:`~turnwire.sansio.connection.Turn` as over a WebSocket: its phases, its events
    and its failures are the same, and its verdict comes from the same evidence (REPLAY.md, "HTTP turn"). Nothing here
    raises on what a server sends, reads a clock, or opens a socket; every buffer is bounded.

Theory of operation
    The connection has a state, moved by signals (:data:`HTTP_TRANSITIONS`), and at most one turn. The last byte of the
    request's body is the last byte of the turn's message: handing out the chunk that holds it is the moment at which
    the turn passes from SEND to AWAIT. ::

        CONNECTING ──transport_connected()──► IDLE ──submit()──► SENDING ──last byte──► WAITING
            ▲                                  ▲                    │                      │
            │                                  │                    ▼ error status         ▼ terminal event, error
            │                                  │                 REFUSED               FINISHING
            │                                  └─────────────────── answer complete ───────┘
            └── 307 or 308 within the origin: from SENDING and WAITING
                                                       any: end of file, failure, violation, a turn given up ──► CLOSED

    =================== ================================================== ===========================================
    state               what may be handed                                 the turn, if the connection is lost
    =================== ================================================== ===========================================
    CONNECTING          nothing                                            fails in CONNECT: SAFE
    IDLE                nothing                                            (there is none)
    SENDING             the request                                        fails in SEND: SAFE
    WAITING             nothing                                            fails in AWAIT: AMBIGUOUS; after a head with
                                                                           status 2xx, or an event: UNSAFE
    REFUSED             nothing, so that SAFE stays true                   fails in SEND by what the answer says: SAFE
    FINISHING, CLOSED   nothing                                            (it has ended)
    =================== ================================================== ===========================================

The answer

    ================================================= ============================ =====================================
    the answer                                        what becomes of the turn     cause in its evidence
    ================================================= ============================ =====================================
    2xx, a stream: an event                           it is delivered              none
    2xx, a stream: ``error``, ``response.error``      ResponsesHTTPError           ERROR_FRAME; never SAFE
    2xx, a stream: data that is no object             nothing: it is skipped       none
    2xx, a stream that ends without a terminal event  StreamEndedError             EOF; UNSAFE
    2xx, a document: a response                       its events, at once          none
    2xx, a document: an error body                    ResponsesHTTPError           ERROR_FRAME; never SAFE
    2xx, anything else, or nothing                    ProtocolError                PROTOCOL; AMBIGUOUS: who answered?
    307, 308 within the origin                        is sent again, to there      none
    another status, a JSON object                     ResponsesHTTPError           ERROR_FRAME; 4xx may be a refusal
    another status, anything else                     ResponsesHTTPError           REJECTED; the same
    a head, or a body, that is not whole              ConnectionLostError          EOF, TRANSPORT
    what is no HTTP, or went over a limit             ProtocolError                PROTOCOL
    ================================================= ============================ =====================================

    An answer in REFUSED is awaited until the turn's own deadline, and no longer than ``close_timeout``; then the turn
    fails by what the answer has said. A redirect that is followed is the server's word that it did not run the request.
    An error answer to the whole request that is not whole itself is no word of anybody: AMBIGUOUS.

Another request on the same transport
    Only after an answer that was complete, in HTTP/1.1 without ``Connection: close``, with its length told in one way,
    and with nothing behind it. What arrives in IDLE, or before the first byte of a request was handed, is no answer to
    it: the connection ends.

What a user of this class does
    As with a :class:`~turnwire.sansio.connection.ResponsesConnection`. In state CONNECTING, open a transport; after a
    redirect this is a new one, and the old one is to be closed. In state CLOSED, close the transport.
"""

from __future__ import annotations

from ._compaction import Compaction
from ._connection import HttpConnection
from ._document import body_of, media_type
from ._retrieval import Retrieval
from ._states import HTTP_TRANSITIONS, HTTP_WAITING_PHASE, HttpSignal, HttpState

__all__ = [
    "HTTP_TRANSITIONS",
    "HTTP_WAITING_PHASE",
    "Compaction",
    "HttpConnection",
    "HttpSignal",
    "HttpState",
    "Retrieval",
    "body_of",
    "media_type",
]
