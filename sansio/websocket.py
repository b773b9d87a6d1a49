"""WebSocket: bytes to complete text messages and back, in both roles; the upgrade and the proxy's CONNECT before it.

The promise
    Whatever bytes arrive, and however they are split, the same messages come out. Nothing here raises on input from
    the peer: what is wrong with it comes out as a value, after everything that was right before it. Every buffer is
    bounded: headers, the body of a rejection, messages, and what compressed messages expand to.

Before the frames
    :class:`ClientHandshake` and :class:`ProxyTunnel` each send one HTTP request (h11) and wait for its answer:
    :class:`Accepted`, :class:`Rejected` or :class:`Broken`. wsproto has a handshake of its own; it draws its nonce
    from the operating system, and this core takes its randomness from outside, so the upgrade is written on h11
    directly and only the server's side (:func:`accept_upgrade`), which needs no randomness, is wsproto's.

Frames, two lanes
    ===================================================== ======================================================
    a frame that is                                        takes
    ===================================================== ======================================================
    text, final, unmasked, no reserved bit, minimal       the fast lane: its payload is sliced out of the buffer
    length, not inside a fragmented message, whole
    control, well-formed (at most 125 bytes, final)       the fast lane, too, wherever it stands
    anything else: fragments, compressed, binary,          the slow lane: wsproto's ``FrameProtocol``, which knows
    masked text, malformed                                 RFC 6455 and RFC 7692 in full
    ===================================================== ======================================================

    The fast lane yields what wsproto would, with one exception: close code 1014 (Bad Gateway), which IANA registered
    after RFC 6455, is a close code here. A test compares them.

What comes out of :meth:`WebSocket.receive`, in order of arrival
    ``bytes`` (one complete text message, valid UTF-8) · :class:`Ping` · :class:`Pong` · :class:`Close` (the peer
    closes) · :class:`Violation` (the peer broke the protocol or a limit; ``code`` is what RFC 6455 section 7.4.1 has
    us close with). After a Close or a Violation nothing more comes out.

Bounded work
    One call of :meth:`WebSocket.receive` does at most :data:`WORK_AT_ONCE` units of work, so that one peer cannot hold
    an event loop for long with frames of a byte, or with compressed ones. It keeps what it did not come to, and
    :attr:`WebSocket.pending` says so. Then call ``receive()`` again, without data, after letting others run, and read
    no more from the transport meanwhile::

        items = websocket.receive(data)
        while websocket.pending:
            await let_others_run()
            items = websocket.receive()
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import urandom
from typing import Final, TypeAlias, cast

import h11
import msgspec
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits
from wsproto.handshake import H11Handshake, client_extensions_handshake
from wsproto.utilities import ProtocolError as WsprotoError
from wsproto.utilities import generate_accept_token, split_comma_header

from .secret import Secret

__all__ = [
    "DEFAULT_MAX_MESSAGE_SIZE",
    "FRAGMENT",
    "MAX_BODY",
    "MAX_CHUNKS",
    "MAX_EARLY",
    "MAX_HEADERS",
    "WORK_AT_ONCE",
    "Accepted",
    "Answer",
    "Broken",
    "ClientHandshake",
    "Close",
    "Deflate",
    "Item",
    "Ping",
    "Pong",
    "ProxyTunnel",
    "Rejected",
    "Violation",
    "WebSocket",
    "accept_upgrade",
    "mask",
]

DEFAULT_MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
"""Bytes of one message after decompression. A response with images is a few MiB; 64 MiB is a runaway server."""
MAX_HEADERS: Final = 64 * 1024
"""Bytes of an HTTP head in the handshake. Servers with many cookies pass; an endless header does not."""
MAX_BODY: Final = 64 * 1024
"""Bytes kept of a rejection's body. Enough for any JSON error; the rest is dropped."""
MAX_CHUNKS: Final = 1024
"""Chunks that are read of a rejection's body: one of a byte each costs as much to read as one of many."""
MAX_EARLY: Final = 32
"""Informational answers (100, 103) that may come before the answer itself."""

WORK_AT_ONCE: Final = 1024
"""Units of work in one call of :meth:`WebSocket.receive`: a frame is one, and so are each 4 KiB that compressed frames
expand to (so 4 MiB in all). About 10 ms for the most expensive frames, fragments of one byte."""

FRAGMENT: Final = 256 * 1024
"""Bytes of a message to the peer beyond which it is sent in several frames."""

_NO_RSV: Final = RsvBits(False, False, False)
_INFLATE_STEP: Final = 4096
"""Compressed bytes given to zlib at a time. Deflate expands at most 1032 times, so this bounds one step to 4 MiB."""

RandomBytes: TypeAlias = Callable[[int], bytes]


# --- The upgrade, and CONNECT ------------------------------------------------------------------------------------


class Accepted(msgspec.Struct, frozen=True):
    """The peer agreed: to the upgrade, or to tunnel."""

    trailing: bytes
    """What came after the answer's head: already the next protocol's bytes."""
    extensions: list[Extension] = []
    headers: dict[str, str] = {}
    """Names in lower case."""


class Rejected(msgspec.Struct, frozen=True):
    """The peer answered with an ordinary HTTP response."""

    status: int
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by a comma (RFC 9110 section 5.3)."""
    body: bytes
    """At most :data:`MAX_BODY` bytes of it."""


class Broken(msgspec.Struct, frozen=True):
    """What came is not the answer of a WebSocket server (or of a proxy)."""

    reason: str


Answer: TypeAlias = Accepted | Rejected | Broken


class _Exchange:
    """One HTTP/1.1 request and the answer to it, up to the end of its body or the switch of protocols."""

    def __init__(self, request: h11.Request) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
        self._request = self._http.send(request) or b""
        self._http.send(h11.EndOfMessage())
        self._response: h11.Response | None = None
        self._body = bytearray()
        self._early = 0
        self._chunks = 0

    def request(self) -> bytes:
        """The bytes of the request. The same on every call."""
        return self._request

    def receive(self, data: bytes) -> Answer | None:
        """Take what arrived, ``b""`` for end of file; return the answer once it is complete.

        At end of file, a rejection whose body was cut short is still a rejection; before any response it is None: then
        the connection ended, which is not the answer's matter.
        """
        try:
            self._http.receive_data(data)
            return self._read()
        except h11.RemoteProtocolError as exc:
            if self._response is not None:
                return self._rejected(self._response)
            return None if not data else Broken(f"not an HTTP answer: {exc}")

    def _read(self) -> Answer | None:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                # A server of another kind may greet, and then wait for us as long as we wait for it.
                alien = self._response is None and not b"HTTP/".startswith(self._http.trailing_data[0][:5])
                return Broken("not an HTTP answer: it does not begin with HTTP/") if alien else None
            if isinstance(event, h11.InformationalResponse | h11.Response) and _size(event.headers) > MAX_HEADERS:
                return Broken(f"its headers have more than {MAX_HEADERS} bytes")  # h11 sees it only in pieces.
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return self._switched(event)
                self._early += 1  # 100, 102, 103: more is to come (RFC 9110 section 15.2)
                if self._early > MAX_EARLY:
                    return Broken(f"more than {MAX_EARLY} informational answers, and no other")
            elif isinstance(event, h11.Response):
                if event.status_code < 300 and self._http.their_state is h11.SWITCHED_PROTOCOL:
                    return self._switched(event)
                self._response = event
            elif isinstance(event, h11.Data):
                self._body += event.data[: MAX_BODY - len(self._body)]
                self._chunks += event.chunk_end
            # An answer that is long enough is as good as a complete one: nothing after it will be looked at.
            enough = len(self._body) >= MAX_BODY or self._chunks >= MAX_CHUNKS
            if self._response is not None and (isinstance(event, h11.EndOfMessage) or enough):
                return self._rejected(self._response)

    def _rejected(self, response: h11.Response) -> Rejected:
        return Rejected(response.status_code, _header_dict(response.headers), bytes(self._body))

    def _switched(self, response: h11.InformationalResponse | h11.Response) -> Answer:
        return Accepted(self._http.trailing_data[0])


class ProxyTunnel(_Exchange):
    """CONNECT through an HTTP proxy (RFC 9110 section 9.3.6): after :class:`Accepted` the bytes are the target's."""

    def __init__(self, authority: str, headers: Sequence[tuple[str, str | Secret]] = ()) -> None:
        target = authority.encode("ascii")
        super().__init__(h11.Request(method=b"CONNECT", target=target, headers=[(b"Host", target), *_encoded(headers)]))


class ClientHandshake(_Exchange):
    """The upgrade request and the check of its answer (RFC 6455 section 4.1)."""

    def __init__(
        self,
        authority: str,
        target: str,
        headers: Sequence[tuple[str, str | Secret]] = (),
        *,
        compression: bool = False,
        random_bytes: RandomBytes = urandom,
    ) -> None:
        self._key = base64.b64encode(random_bytes(16))
        self._offered: list[Extension] = [Deflate()] if compression else []
        head = [
            (b"Host", authority.encode("ascii")),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._key),
            (b"Sec-WebSocket-Version", b"13"),
        ]
        head += [(b"Sec-WebSocket-Extensions", f"{e.name}; {e.offer()}".encode("ascii")) for e in self._offered]
        super().__init__(h11.Request(method=b"GET", target=target.encode("ascii"), headers=[*head, *_encoded(headers)]))

    def _switched(self, response: h11.InformationalResponse | h11.Response) -> Answer:
        headers = _header_dict(response.headers)
        if headers.get("upgrade", "").lower() != "websocket":
            return Broken("the answer 101 lacks 'Upgrade: websocket'")
        if "upgrade" not in (token.strip().lower() for token in headers.get("connection", "").split(",")):
            return Broken("the answer 101 lacks 'Connection: Upgrade'")
        if headers.get("sec-websocket-accept", "").encode("latin-1") != generate_accept_token(self._key):
            return Broken("the answer 101 has a wrong Sec-WebSocket-Accept: it is not an answer to this request")
        if "sec-websocket-protocol" in headers:
            return Broken("the answer 101 selects a subprotocol that was not asked for")
        try:
            accepted = split_comma_header(headers.get("sec-websocket-extensions", "").encode("ascii"))
            extensions = client_extensions_handshake(filter(None, accepted), self._offered)
        except (WsprotoError, ValueError, IndexError) as exc:
            return Broken(f"the answer 101 has Sec-WebSocket-Extensions that were not offered: {exc}")
        if len(extensions) > len(self._offered):
            return Broken("the answer 101 accepts an extension twice")
        return Accepted(self._http.trailing_data[0], extensions, headers)


def accept_upgrade(
    target: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    compression: bool = False,
    max_message_size: int | None = DEFAULT_MAX_MESSAGE_SIZE,
    extra_headers: Sequence[tuple[bytes, bytes]] = (),
) -> tuple[bytes, WebSocket] | Rejected:
    """The server's side of the upgrade (RFC 6455 section 4.2): the answer's bytes and the open WebSocket.

    ``target`` and ``headers`` are those of a GET request that was read already; ``extra_headers`` go into the answer. A
    request that is no proper upgrade gives a :class:`Rejected` that says why, to be sent as an ordinary response.
    """
    extensions: list[Extension] = [Deflate()] if compression else []
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(list(headers), target)
        answer = handshake.send(AcceptConnection(extensions=extensions, extra_headers=list(extra_headers)))
    except (WsprotoError, h11.ProtocolError, ValueError) as exc:
        hint = getattr(exc, "event_hint", None)
        status = getattr(hint, "status_code", 400)
        return Rejected(status, _header_dict(getattr(hint, "headers", ())), str(exc).encode())
    active = [extension for extension in extensions if extension.enabled()]
    return answer, WebSocket(client=False, extensions=active, max_message_size=max_message_size)


def _encoded(headers: Iterable[tuple[str, str | Secret]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), Secret(value).reveal().encode("latin-1")) for name, value in headers]


def _header_dict(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in named.items()}


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of these headers on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


# --- Frames ------------------------------------------------------------------------------------------------------


class Ping(msgspec.Struct, frozen=True):
    """The peer asks for a pong with the same payload (RFC 6455 section 5.5.2)."""

    payload: bytes


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping of ours, or an unasked sign of life."""

    payload: bytes


class Close(msgspec.Struct, frozen=True):
    """The peer closes. ``code`` 1005 means that it named none."""

    code: int
    reason: str


class Violation(msgspec.Struct, frozen=True):
    """The peer broke RFC 6455, or went over a limit."""

    code: int
    """What to close with: 1002 protocol error, 1003 binary, 1007 invalid data, 1009 too big."""
    reason: str


class Deflate(PerMessageDeflate):
    """wsproto's permessage-deflate (RFC 7692), corrected where a peer can reach a fault of it (wsproto 1.2, 1.3).

    A final DEFLATE block ends a message (section 7.2.3.4), and the next one begins a new stream: zlib answers nothing
    but the end from then on, and keeps whatever comes after it. (A control frame between compressed fragments, which
    wsproto forgets them at, does not come here: see "Frames, two lanes".)
    """

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Inflate a part of a frame's payload."""
        inflated = super().frame_inbound_payload_data(proto, data)
        # The byte that RFC 7692 puts behind a final block is the beginning of the tail that the sender took off.
        if self._decompressor is not None and len(self._decompressor.unused_data) > 1:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return inflated

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """End a frame: what is still to come of the message's text."""
        rest = super().frame_inbound_complete(proto, fin)
        if fin and self._decompressor is not None and self._decompressor.eof:
            self._decompressor = None
        return rest


Item: TypeAlias = bytes | Ping | Pong | Close | Violation

_TEXT_FINAL: Final = 0x80 | Opcode.TEXT
_PING: Final = 0x80 | Opcode.PING
_PONG: Final = 0x80 | Opcode.PONG
_CONTROL: Final = frozenset({_PING, _PONG, 0x80 | Opcode.CLOSE})
_CLOSE_CODES: Final = (range(1000, 1004), range(1007, 1015), range(3000, 5000))
"""What may stand in a close frame: RFC 6455 section 7.4, and IANA's registry (1012 to 1014)."""
_LONGEST_FRAME: Final = 2**63 - 1
"""Bytes; RFC 6455 section 5.2. No message outgrows it either: where there is no limit, memory is one."""


class WebSocket:
    """The open phase of one WebSocket, in either role.

    ``max_message_size`` is in bytes, after decompression; None means no limit. ``random_bytes(4)`` gives a masking key
    (client only); RFC 6455 section 10.3 wants it unpredictable, hence the operating system's source by default.
    """

    def __init__(
        self,
        *,
        client: bool,
        extensions: Sequence[Extension] = (),
        max_message_size: int | None = DEFAULT_MAX_MESSAGE_SIZE,
        random_bytes: RandomBytes = urandom,
    ) -> None:
        self._client = client
        self._limit = _LONGEST_FRAME if max_message_size is None else max_message_size
        self._random_bytes = random_bytes
        self._wsproto = FrameProtocol(client, list(extensions))
        self._deflate = next((e for e in extensions if isinstance(e, PerMessageDeflate)), None)
        self._finished = False
        self._buffer = bytearray()
        """An incomplete frame's beginning: of a header, or of a frame in the fast lane."""
        self._need = 0
        """How long the buffer must be before looking at it again can help."""
        self.pending = False
        """Whether :meth:`receive` has stopped before the end of what arrived: call it again, without data."""
        self._unread = b""
        """If so: what the last call did not come to, from :attr:`_unread_from` on."""
        self._unread_from = 0
        self._work = 0
        """Units of work that are left to this call."""
        self._slow_left = 0
        """Bytes of the slow lane's current frame that are still to come."""
        self._fragments: bytearray | None = None
        """A fragmented or compressed message so far; None between messages."""
        self._between = client
        """A client's: nothing that arrived is incomplete or left, so what comes next is a frame's beginning."""

    # -- in

    def receive(self, data: bytes = b"") -> list[Item]:
        """Take what arrived, and go on; return the complete items of a bounded part of it (see "Bounded work").

        Never raises on what the peer sent.
        """
        items: list[Item] = []
        position, self._work = 0, WORK_AT_ONCE
        if self._between:
            position = self._short_texts(data, 0, len(data), items)
            if position == len(data):
                return items
        elif self.pending:
            data, position = self._with_unread(data)
        elif self._buffer:
            if len(self._buffer) + len(data) < self._need:
                self._buffer += data
                return items
            data = b"".join((self._buffer, data))
            self._buffer.clear()
        end = len(data)
        while position < end and self._work > 0 and not self._finished:
            position = self._next(data, position, end, items)
        if position < end and not self._finished:
            self.pending, self._unread, self._unread_from = True, data, position
        busy = self.pending or self._buffer or self._slow_left or self._finished or self._fragments is not None
        self._between = self._client and not busy
        return items

    def _with_unread(self, data: bytes) -> tuple[bytes, int]:
        """What the last call did not come to, with what arrived behind it; and where to go on in it."""
        unread, position = self._unread, self._unread_from
        self.pending, self._unread = False, b""
        return (b"".join((memoryview(unread)[position:], data)), 0) if data else (unread, position)

    def _next(self, data: bytes, position: int, end: int, items: list[Item]) -> int:
        """Read on from ``position``: some frames, or a part of one; return where that ends."""
        if self._slow_left:
            return self._slow(data, position, items, end)
        if self._client and self._fragments is None:  # A client's frames are masked: a server has none of these.
            position = self._short_texts(data, position, end, items)
            if position == end or self._work <= 0:
                return position
        self._work -= 1
        # One frame's header: 2 bytes, then 2 or 8 more of length, then 4 of mask (RFC 6455 section 5.2).
        head = position + 2
        if end < head:
            return self._keep(data, position, 2)
        first, length = data[position], data[position + 1]
        key, plain = (4 if length & 0x80 else 0), True
        length &= 0x7F
        if first in _CONTROL and length <= 125 and bool(key) is not self._client:
            return self._control(data, position, head, key, length, items)
        if length >= 126:
            if first & 0x0F > Opcode.BINARY:
                plain = False  # Only a data frame may be long: of another, wsproto refuses these 2.
            else:
                extended = 2 if length == 126 else 8
                head += extended
                if end < head:
                    return self._keep(data, position, head - position)
                length = int.from_bytes(data[position + 2 : head], "big")
                plain = length > (125 if extended == 2 else 65535)
        plain = plain and not key and self._client and first == _TEXT_FINAL and self._fragments is None
        if plain and length <= self._limit:
            return self._long_text(data, position, head, length, items)
        # The header goes first: what is wrong with it is to be said before what is too much about it.
        self._slow_left = head - position + key + length
        position = self._slow(data, position, items, head + key)
        in_message = len(self._fragments) if self._fragments else 0
        # A compressed frame may be longer than what it says: there, only what comes out of it is counted.
        too_big = self._deflate is None and in_message + length > self._limit
        if too_big and first & 0x0F <= Opcode.BINARY and not self._finished:
            self._violation(1009, self._too_big(), items)
        return position

    def _short_texts(self, data: bytes, position: int, end: int, items: list[Item]) -> int:
        """Take the fast lane while nothing but complete, short texts come, as events do; return where that ends.

        Whatever else there is, :meth:`_next` looks at anew.
        """
        limit, before = self._limit, len(items)
        append = items.append
        for _ in range(self._work):
            if end - position < 4 or data[position] != _TEXT_FINAL:
                break
            head, length = position + 2, data[position + 1]
            if length == 126:
                head, length = position + 4, data[head] << 8 | data[head + 1]
                if length < 126:
                    break
            elif length > 126:
                break
            stop = head + length
            payload = data[head:stop]
            if stop > end or length > limit or not (payload.isascii() or _is_utf8(payload)):
                break
            append(payload)
            position = stop
        self._work -= len(items) - before
        return position

    def _long_text(self, data: bytes, position: int, head: int, length: int, items: list[Item]) -> int:
        """Take one text of any length in the fast lane, once it is whole."""
        stop = head + length
        if len(data) < stop:
            return self._keep(data, position, stop - position)
        payload = data[head:stop]
        if payload.isascii() or _is_utf8(payload):
            items.append(payload)
        else:
            self._violation(1007, "a text message is not valid UTF-8", items)
        return stop

    def _control(self, data: bytes, position: int, head: int, key: int, length: int, items: list[Item]) -> int:
        """Take a well-formed control frame, which may stand between the fragments of a message, once it is whole."""
        body = head + key
        stop = body + length
        if len(data) < stop:
            return self._keep(data, position, stop - position)
        payload = mask(data[body:stop], data[head:body]) if key else data[body:stop]
        kind = data[position]
        if kind == _PING:
            items.append(Ping(payload))
        elif kind == _PONG:
            items.append(Pong(payload))
        else:
            self._finished = True
            items.append(_closing(payload))
        return stop

    def _keep(self, data: bytes, position: int, need: int) -> int:
        """Keep an incomplete frame until ``need`` bytes of it are there."""
        self._buffer += data[position:]
        self._need = need
        return len(data)

    def _slow(self, data: bytes, position: int, items: list[Item], limit: int) -> int:
        """Give wsproto what there is of its current frame before ``limit``; return where that ends."""
        stop = min(len(data), position + self._slow_left, limit)
        # Without compression nothing expands, and one step will do.
        step = _INFLATE_STEP if self._deflate else stop - position
        begin = position
        try:
            while begin < stop and self._work >= 0 and not self._finished:
                upto = min(begin + step, stop)
                self._wsproto.receive_bytes(data[begin:upto])
                begin = upto
                for frame in self._wsproto.received_frames():
                    self._from_wsproto(frame, items)
                    if self._finished:
                        break
        except ParseFailed as exc:
            self._violation(int(exc.code), str(exc), items)
        self._slow_left -= begin - position
        return begin

    def _from_wsproto(self, frame: Frame, items: list[Item]) -> None:
        if frame.opcode is Opcode.BINARY:
            self._violation(1003, "a binary message, where only text is spoken", items)
        else:
            message = self._fragments if self._fragments is not None else bytearray()
            before = len(message)
            message += _as_bytes(cast("bytes | str", frame.payload))
            if self._deflate is not None:
                self._work -= (len(message) - before) // _INFLATE_STEP
            if len(message) > self._limit:
                self._violation(1009, self._too_big(), items)
            elif frame.message_finished:
                self._fragments = None
                items.append(bytes(message))
            else:
                self._fragments = message

    def _violation(self, code: int, reason: str, items: list[Item]) -> None:
        self._finished = True
        self._buffer.clear()
        self._fragments = None
        items.append(Violation(code, reason))

    def _too_big(self) -> str:
        return f"a message of more than {self._limit} bytes (max_message_size)"

    # -- out

    def text(self, payload: bytes) -> bytes:
        """The frame of one text message; ``payload`` is UTF-8."""
        first = _TEXT_FINAL
        if self._deflate is not None:
            _, payload = self._deflate.frame_outbound(self._wsproto, Opcode.TEXT, _NO_RSV, payload, True)
            first |= 0x40  # RSV1: compressed (RFC 7692 section 7.2.1)
        return self._frame(first, payload)

    def fragments(self, payload: bytes) -> Iterator[bytes]:
        """The frames of one text message: several if it is long, so that a pong can pass between them.

        Servers ping during long uploads, and drop a client that does not answer (PROTOCOL.md, "Connection").
        """
        first = int(Opcode.TEXT)
        if self._deflate is not None:
            _, payload = self._deflate.frame_outbound(self._wsproto, Opcode.TEXT, _NO_RSV, payload, True)
            first |= 0x40  # RSV1, on the first frame only (RFC 7692 section 7.2.1).
        for begin in range(0, max(len(payload), 1), FRAGMENT):
            end = begin + FRAGMENT
            yield self._frame(first if end < len(payload) else 0x80 | first, payload[begin:end])
            first = int(Opcode.CONTINUATION)

    def ping(self, payload: bytes = b"") -> bytes:
        """A ping frame; ``payload`` at most 125 bytes."""
        return self._frame(0x80 | Opcode.PING, payload)

    def pong(self, payload: bytes = b"") -> bytes:
        """A pong frame; ``payload`` is the ping's."""
        return self._frame(0x80 | Opcode.PONG, payload)

    def close(self, code: int = 1000, reason: str = "") -> bytes:
        """A close frame; a ``reason`` longer than 123 bytes of UTF-8 is cut. Code 1005 is sent as no code at all."""
        if code == CloseReason.NO_STATUS_RCVD:
            return self._frame(0x80 | Opcode.CLOSE, b"")
        short = reason.encode()[:123].decode(errors="ignore").encode()
        return self._frame(0x80 | Opcode.CLOSE, code.to_bytes(2, "big") + short)

    def _frame(self, first: int, payload: bytes) -> bytes:
        length = len(payload)
        mask_bit = 0x80 if self._client else 0
        if length <= 125:
            head = bytes((first, mask_bit | length))
        elif length <= 0xFFFF:
            head = bytes((first, mask_bit | 126)) + length.to_bytes(2, "big")
        else:
            head = bytes((first, mask_bit | 127)) + length.to_bytes(8, "big")
        if not self._client:
            return head + payload
        key = self._random_bytes(4)
        return b"".join((head, key, mask(payload, key)))


MASKED_AT_ONCE: Final = 4096
"""Bytes that are masked as one integer: those of a megabyte do not fit into the processor's cache, and take twice as
long as all its pieces (measured)."""


def mask(payload: bytes, key: bytes) -> bytes:
    """XOR ``payload`` with the 4-byte ``key``, repeated (RFC 6455 section 5.3).

    As an exclusive-or of long integers, piece by piece: a single pass in C, the fastest that pure Python has to offer.
    """
    whole = len(payload) - len(payload) % MASKED_AT_ONCE
    rest, pieces = payload[whole:], []
    if whole:
        pad = int.from_bytes(key * (MASKED_AT_ONCE // 4), "little")
        view = memoryview(payload)
        pieces = [
            (int.from_bytes(view[start : start + MASKED_AT_ONCE], "little") ^ pad).to_bytes(MASKED_AT_ONCE, "little")
            for start in range(0, whole, MASKED_AT_ONCE)
        ]
    pad = int.from_bytes((key * (len(rest) // 4 + 1))[: len(rest)], "little")
    pieces.append((int.from_bytes(rest, "little") ^ pad).to_bytes(len(rest), "little"))
    return b"".join(pieces)


def _closing(payload: bytes) -> Close | Violation:
    """What the payload of a close frame says (RFC 6455 section 5.5.1)."""
    if not payload:
        return Close(CloseReason.NO_STATUS_RCVD, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not any(code in codes for codes in _CLOSE_CODES):
        return Violation(1002, "a close frame whose code may not stand in one")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        return Violation(1007, "a close frame whose reason is not valid UTF-8")


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_bytes(payload: bytes | str) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes(payload)
