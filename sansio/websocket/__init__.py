"""WebSocket: bytes to complete text messages and back, in both roles; before that, the upgrade and a proxy's CONNECT.

The promise
    However the incoming bytes are split, the same messages come out (I1). Nothing here raises on input from the peer:
    an error is returned as a value, after everything valid that came before it (I7). Every buffer is bounded: headers,
    the body of a rejection, messages, and what compressed messages expand to.

Before the frames
    :class:`ClientHandshake` and :class:`ProxyTunnel` each send one HTTP request (h11) and wait for its answer:
    :class:`Accepted`, :class:`Rejected` or :class:`Broken`. wsproto's own client handshake is not used, because it
    takes its nonce from the operating system, and this core takes randomness from its caller. So the upgrade is written
    with h11 directly. The server's side (:func:`accept_upgrade`) needs no randomness and is wsproto's.

Frames, two paths
    ===================================================== ======================================================
    a frame that is                                        takes
    ===================================================== ======================================================
    text, final, unmasked, no reserved bit, minimal       the fast path: its payload is sliced out of the buffer
    length, not inside a fragmented message, whole
    control, well-formed (at most 125 bytes, final)       the fast path, too, wherever it stands
    anything else: fragments, compressed, binary,          the slow path: wsproto's ``FrameProtocol``, which knows
    masked text, malformed                                 RFC 6455 and RFC 7692 in full
    ===================================================== ======================================================

    The fast path yields what wsproto would, with one exception: close code 1014 (Bad Gateway), which IANA registered
    after RFC 6455, is accepted here. A test compares the two paths.

What comes out of :meth:`WebSocket.receive`, in order of arrival
    ``bytes`` (one complete text message, valid UTF-8) · :class:`Ping` · :class:`Pong` · :class:`CloseFrame` (the peer
    closes) · :class:`Violation` (the peer broke the protocol or a limit; ``code`` is the close code that RFC 6455
    section 7.4.1 requires). After a CloseFrame or a Violation nothing more comes out.

Bounded work
    One call of :meth:`WebSocket.receive` does at most :data:`WORK_AT_ONCE` units of work, so that one peer cannot block
    an event loop for long with very small or compressed frames. It keeps the data that it has not processed, and
    :attr:`WebSocket.pending` is then true. If so, let other tasks run, call ``receive()`` again without data, and do
    not read from the transport meanwhile::

        items = websocket.receive(data)
        while websocket.pending:
            await let_others_run()
            items = websocket.receive()
"""

from __future__ import annotations

from ._frames import (
    DEFAULT_MAX_MESSAGE_SIZE,
    FRAGMENT,
    MASKED_AT_ONCE,
    WORK_AT_ONCE,
    CloseFrame,
    Deflate,
    Item,
    Ping,
    Pong,
    Violation,
    WebSocket,
    mask,
)
from ._handshake import (
    MAX_BODY,
    MAX_CHUNKS,
    MAX_EARLY,
    MAX_HEADERS,
    Accepted,
    Broken,
    ClientHandshake,
    HandshakeAnswer,
    ProxyTunnel,
    Rejected,
    accept_upgrade,
)
from ._heads import head_length, payload_length, write_head

__all__ = [
    "DEFAULT_MAX_MESSAGE_SIZE",
    "FRAGMENT",
    "MASKED_AT_ONCE",
    "MAX_BODY",
    "MAX_CHUNKS",
    "MAX_EARLY",
    "MAX_HEADERS",
    "WORK_AT_ONCE",
    "Accepted",
    "Answer",
    "HandshakeAnswer",
    "Broken",
    "ClientHandshake",
    "Close",
    "CloseFrame",
    "Deflate",
    "Item",
    "Ping",
    "Pong",
    "ProxyTunnel",
    "Rejected",
    "Violation",
    "WebSocket",
    "accept_upgrade",
    "head_length",
    "mask",
    "payload_length",
    "write_head",
]

Answer = HandshakeAnswer
"""The former name, kept so that existing imports work."""
Close = CloseFrame
"""The former name, kept so that existing imports work."""
