"""The open phase: bytes to complete text messages, and back. The tables are at the top of the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias, cast

import msgspec
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from ..chance import SYSTEM_RANDOM, RandomBytes
from ._heads import EXTENDED, SHORT, write_head

DEFAULT_MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
"""Bytes of one message after decompression. A response with images is a few MiB; more than 64 MiB is a server's
fault (P-CONN-6)."""


WORK_AT_ONCE: Final = 1024
"""Units of work in one call of :meth:`WebSocket.receive`. A frame is one unit, a compressed one is :data:`COMPRESSED`,
and each 4 KiB that compressed frames expand to is one (4 MiB in all). It takes about 10 ms for the most expensive
frames, fragments of one byte and empty compressed ones (D-LIMIT-1)."""
COMPRESSED: Final = 4
"""Units of work of a frame that begins a compressed message: zlib is set up and ended for it, however short it is."""


FRAGMENT: Final = 256 * 1024
"""Bytes of a message to the peer above which it is sent in several frames (P-CONN-11)."""

_NO_RSV: Final = RsvBits(False, False, False)
_NO_TEXT: Final = "a text message is not valid UTF-8"
_BINARY: Final = "a binary message, where only text is spoken"
_INFLATE_STEP: Final = 4096
"""Compressed bytes given to zlib at a time. Deflate expands at most 1032 times, so this bounds one step to 4 MiB."""


class Ping(msgspec.Struct, frozen=True):
    """The peer asks for a pong with the same payload (RFC 6455 section 5.5.2)."""

    payload: bytes


class Pong(msgspec.Struct, frozen=True):
    """The answer to our ping, or an unsolicited pong."""

    payload: bytes


class CloseFrame(msgspec.Struct, frozen=True):
    """The peer's close frame. ``code`` 1005 means that it contained no code."""

    code: int
    reason: str


class Violation(msgspec.Struct, frozen=True):
    """The peer broke RFC 6455 or exceeded a limit (P-CONN-6)."""

    code: int
    """The close code to answer with: 1002 protocol error, 1003 binary, 1007 invalid data, 1009 too big."""
    reason: str


class Deflate(PerMessageDeflate):
    """wsproto's permessage-deflate (RFC 7692), with a correction for a fault that a peer can trigger (wsproto 1.2,
    1.3).

    A final DEFLATE block ends a message (section 7.2.3.4), and the next message begins a new stream. But after a final
    block zlib returns nothing more and only stores its input. (A second fault of wsproto, with control frames between
    compressed fragments, cannot occur: control frames do not reach it, see "Frames, two paths".)

    The decompressor is private to wsproto (1.2, 1.3). If there is none by that name, nothing is corrected.
    """

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Inflate a part of a frame's payload."""
        inflated = super().frame_inbound_payload_data(proto, data)
        # RFC 7692 puts a zero byte after a final block: it is the start of the tail that the sender removed.
        decompressor = getattr(self, "_decompressor", None)
        if decompressor is not None and len(decompressor.unused_data) > 1:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return inflated

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """End a frame: return the rest of the message's text."""
        rest = super().frame_inbound_complete(proto, fin)
        decompressor = getattr(self, "_decompressor", None)
        if fin and decompressor is not None and decompressor.eof:
            self._decompressor = None
        return rest


Item: TypeAlias = bytes | Ping | Pong | CloseFrame | Violation

_TEXT_FINAL: Final = 0x80 | Opcode.TEXT
_PING: Final = 0x80 | Opcode.PING
_PONG: Final = 0x80 | Opcode.PONG
_CONTROL: Final = frozenset({_PING, _PONG, 0x80 | Opcode.CLOSE})
_CLOSE_CODES: Final = (range(1000, 1004), range(1007, 1015), range(3000, 5000))
"""Codes that a close frame may contain: RFC 6455 section 7.4, and IANA's registry (1012 to 1014)."""
_LONGEST_FRAME: Final = 2**63 - 1
"""Bytes; RFC 6455 section 5.2. It is also the limit of a message if none is set."""


class WebSocket:
    """The open phase of one WebSocket, in either role.

    ``max_message_size`` is in bytes, after decompression; None means no limit. ``random_bytes(4)`` gives a masking key
    (client only), which RFC 6455 section 10.3 requires to be unpredictable.
    """

    # More than 12 attributes: four are arguments, and the others hold what an incomplete frame, message or call leaves
    # for the next call.

    def __init__(
        self,
        *,
        client: bool,
        extensions: Sequence[Extension] = (),
        max_message_size: int | None = DEFAULT_MAX_MESSAGE_SIZE,
        random_bytes: RandomBytes = SYSTEM_RANDOM,
    ) -> None:
        self._limit = _LONGEST_FRAME if max_message_size is None else max_message_size
        self._mask_source = random_bytes if client else None
        """The source of a client's masking keys; None on a server, which does not mask (RFC 6455 section 5.1)."""
        self._wsproto = FrameProtocol(client, list(extensions))
        self._deflate = next((e for e in extensions if isinstance(e, PerMessageDeflate)), None)
        self._finished = False
        self._buffer = bytearray()
        """The beginning of an incomplete frame: a part of its header, or a part of a frame in the fast path."""
        self._need = 0
        """The length that the buffer must have before it is read again."""
        self.pending = False
        """Whether :meth:`receive` has stopped before the end of the data: call it again, without data."""
        self._unread = (b"", 0)
        """If so: the data that the last call has not processed, and the position to continue at."""
        self._work = 0
        """Units of work that this call may still do."""
        self._slow_left = 0
        """Bytes of the slow path's current frame that have not arrived yet."""
        self._fragments: bytearray | None = None
        """The part of a fragmented or compressed message that has arrived; None between messages."""
        self._between = client
        """For a client: whether nothing is incomplete or left over, so that a frame begins next."""

    # -- in

    def receive(self, data: bytes = b"") -> list[Item]:
        """Take data and process a bounded part of it (see "Bounded work"); return the complete items.

        Never raises because of what the peer sent.
        """
        items: list[Item] = []
        position, work, limit = 0, WORK_AT_ONCE, self._limit
        if not self._between:
            data, position = self._with_kept(data)
        end = len(data)
        while position < end and work > 0 and not self._finished:
            if self._between:
                # Hot path: complete, short texts, as events are. Their headers are read here, without a call.
                before = len(items)
                for _ in range(work):
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
                    items.append(payload)
                    position = stop
                work -= len(items) - before
                if position == end or work <= 0:
                    break
            self._work = work
            position = self._next(data, position, end, items)
            work = self._work
            self._between = self._is_between()
        if position < end and not self._finished:
            self.pending, self._unread, self._between = True, (data, position), False
        return items

    def _with_kept(self, data: bytes) -> tuple[bytes, int]:
        """What the last call has kept, followed by the new data; and the position to continue at."""
        position = 0
        if self.pending:
            unread, position = self._unread
            self.pending, self._unread = False, (b"", 0)
            data, position = (b"".join((memoryview(unread)[position:], data)), 0) if data else (unread, position)
        elif self._buffer:
            if len(self._buffer) + len(data) < self._need:
                self._buffer += data
                return b"", 0
            data = b"".join((self._buffer, data))
            self._buffer.clear()
        self._between = self._is_between()
        return data, position

    def _is_between(self) -> bool:
        busy = self._buffer or self._slow_left or self._finished or self._fragments is not None
        return self._mask_source is not None and not busy

    def _next(self, data: bytes, position: int, end: int, items: list[Item]) -> int:
        """Read one frame, or a part of it, from ``position``; return the position after it."""
        if self._slow_left:
            return self._slow(data, position, items, end)
        self._work -= 1
        # One frame's header: 2 bytes, then 2 or 8 more of length, then 4 of mask (RFC 6455 section 5.2).
        head = position + 2
        if end < head:
            return self._keep(data, position, 2)
        first, length = data[position], data[position + 1]
        key, plain = (4 if length & 0x80 else 0), True
        length &= 0x7F
        if first in _CONTROL and length <= SHORT and bool(key) is (self._mask_source is None):
            return self._control(data, position, head, key, length, items)
        if length > SHORT:
            if first & 0x0F > Opcode.BINARY:
                plain = False  # Only a data frame may be that long; for any other, wsproto reports the error.
            else:
                extended = EXTENDED[length]
                head += extended
                if end < head:
                    return self._keep(data, position, head - position)
                length = int.from_bytes(data[position + 2 : head], "big")
                plain = length > (SHORT if extended == 2 else 0xFFFF)
        plain = plain and not key and self._mask_source is not None and first == _TEXT_FINAL and self._fragments is None
        if plain and length <= self._limit:
            return self._long_text(data, position, head, length, items)
        if first & 0x40 and self._deflate is not None:
            self._work -= COMPRESSED - 1
        # The header is given first, so that its own errors are reported before those of the contents.
        message = self._fragments
        self._slow_left = head - position + key + length
        position = self._slow(data, position, items, head + key)
        if not self._finished and first & 0x0F <= Opcode.BINARY:
            self._check_header(first & 0x0F, length, message, items)
        return position

    def _check_header(self, kind: int, length: int, message: bytearray | None, items: list[Item]) -> None:
        """Report what is wrong with a data frame by its header and the ``message`` that is incomplete before it. Its
        contents may come later, and be wrong too: that must make no difference."""
        # A compressed frame may be longer than its contents: only its decompressed size is counted.
        if kind != Opcode.CONTINUATION and message is not None:
            self._violation(1002, "a message begins within another one", items)
        elif self._deflate is None and len(message or b"") + length > self._limit:
            self._violation(1009, self._too_big(), items)
        elif kind == Opcode.BINARY:
            self._violation(1003, _BINARY, items)

    def _long_text(self, data: bytes, position: int, head: int, length: int, items: list[Item]) -> int:
        """Fast path for one text of any length, once it is complete."""
        stop = head + length
        if len(data) < stop:
            return self._keep(data, position, stop - position)
        payload = data[head:stop]
        if payload.isascii() or _is_utf8(payload):
            items.append(payload)
        else:
            self._violation(1007, _NO_TEXT, items)
        return stop

    def _control(self, data: bytes, position: int, head: int, key: int, length: int, items: list[Item]) -> int:
        """Read a well-formed control frame once it is complete. It may be between the fragments of a message."""
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
        """Keep an incomplete frame until ``need`` bytes of it have arrived."""
        self._buffer += data[position:]
        self._need = need
        return len(data)

    def _slow(self, data: bytes, position: int, items: list[Item], limit: int) -> int:
        """Give wsproto the data of its current frame before ``limit``; return the position after it."""
        stop = min(len(data), position + self._slow_left, limit)
        # Without compression nothing expands, and one step is enough.
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
            # The words of the decoders would tell how the bytes were split.
            words = _NO_TEXT if self._deflate is None else f"{_NO_TEXT}, or not well compressed"
            self._violation(int(exc.code), words if exc.code == 1007 else str(exc), items)
        self._slow_left -= begin - position
        return begin

    def _from_wsproto(self, frame: Frame, items: list[Item]) -> None:
        if frame.opcode is Opcode.BINARY:
            self._violation(1003, _BINARY, items)
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
        """The frames of one text message: several if it is long, so that a pong can be sent between them.

        Servers send pings during long uploads, and drop a client that does not answer (PROTOCOL.md, "Connection").
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
        """A close frame; a ``reason`` longer than 123 bytes of UTF-8 is cut. Code 1005 is sent as an empty payload."""
        if code == CloseReason.NO_STATUS_RCVD:
            return self._frame(0x80 | Opcode.CLOSE, b"")
        short = reason.encode()[:123].decode(errors="ignore").encode()
        return self._frame(0x80 | Opcode.CLOSE, code.to_bytes(2, "big") + short)

    def _frame(self, first: int, payload: bytes) -> bytes:
        length = len(payload)
        if self._mask_source is None:
            return write_head(first, length, masked=False) + payload
        key = self._mask_source(4)
        # Hot path: the header of a short message is written here, without a call.
        head = bytes((first, 0x80 | length)) if length <= SHORT else write_head(first, length, masked=True)
        return b"".join((head, key, mask(payload, key)))


MASKED_AT_ONCE: Final = 4096
"""Bytes that are masked as one integer. A megabyte at once does not fit into the processor's cache, and takes twice as
long as in pieces (measured)."""


def mask(payload: bytes, key: bytes) -> bytes:
    """XOR ``payload`` with the 4-byte ``key``, repeated (RFC 6455 section 5.3).

    It uses an exclusive-or of long integers, piece by piece: this is the fastest way in pure Python.
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


def _closing(payload: bytes) -> CloseFrame | Violation:
    """Read the payload of a close frame (RFC 6455 section 5.5.1)."""
    if not payload:
        return CloseFrame(CloseReason.NO_STATUS_RCVD, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not any(code in codes for codes in _CLOSE_CODES):
        return Violation(1002, "a close frame whose code may not stand in one")
    try:
        return CloseFrame(code, payload[2:].decode())
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
