"""Frames, against wsproto's and websockets' readers of the same bytes, in both roles, compressed or not.

Byte 0 of an input says role, compression and limit (:class:`Setting`), byte 1 how the rest is split into pieces.

What must hold
    - nothing raises; nothing comes out after a close frame or a violation; what is kept is bounded;
    - the pieces make no difference;
    - the other two readers find the same messages, pings, pongs and close, and the same violations, but for what
      :func:`agree` and :func:`_is_lax` say.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from fuzz.choices import Choices, pieces
from kit.wsproto_items import items_of_wsproto
from turnwire.sansio.websocket import CloseFrame, Deflate, Item, Ping, Pong, Violation, WebSocket
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate as TheirDeflate
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import Protocol, Side
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

AMID: Final = "incomplete fragmented message"
"""What websockets says of a close frame in the middle of a message, which RFC 6455 does not forbid."""
__all__ = ["Setting", "check_frames", "check_written"]

LIMITS: Final = (None, 150, 1000, 70_000)
MIXED: Final = re.compile(rb"[\x88-\x8a]")
"""What may be a control frame: between compressed fragments, wsproto takes what follows it as uncompressed."""
HEADER: Final = 14
"""Bytes of the longest header of a frame."""


class Setting(NamedTuple):
    """What the first byte of an input says."""

    client: bool
    deflate: bool
    takeover: bool
    limit: int | None

    @classmethod
    def of(cls, byte: int) -> Setting:
        return cls(bool(byte & 1), bool(byte & 2), not byte & 4, LIMITS[byte >> 3 & 3])

    def ours(self) -> WebSocket:
        extensions = [_enabled(Deflate, self)] if self.deflate else []
        return WebSocket(
            client=self.client,
            extensions=extensions,
            max_message_size=self.limit,
            random_bytes=lambda n: bytes(range(1, n + 1)),
        )


def _enabled(kind: type[PerMessageDeflate], setting: Setting) -> PerMessageDeflate:
    none = not setting.takeover
    deflate = kind(client_no_context_takeover=none, server_no_context_takeover=none)
    deflate.finalize("permessage-deflate")
    return deflate


def read_by_us(data: bytes, setting: Setting, how: int) -> list[Item]:
    """What our reader finds in these pieces."""
    websocket, items = setting.ours(), list[Item]()
    most = (setting.limit or len(data)) + HEADER
    for piece in pieces(data, how):
        items += websocket.receive(piece)
        while websocket.pending:
            items += websocket.receive()
        kept = len(websocket._buffer) + len(websocket._fragments or b"")
        assert kept <= 2 * most or setting.deflate, f"{kept} bytes are kept, and the limit is {setting.limit}"
    ends = [at for at, item in enumerate(items) if isinstance(item, CloseFrame | Violation)]
    assert ends in ([], [len(items) - 1]), f"something after the end: {items}"
    return [Violation(item.code, "") if isinstance(item, Violation) else item for item in items]


class Noting(PerMessageDeflate):
    """wsproto's, which says whether a compressed stream has ended in the bytes so far. What is behind that, neither
    wsproto nor websockets inflates."""

    over = False

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> Any:
        try:
            return super().frame_inbound_payload_data(proto, data)
        finally:
            self.over = self.over or getattr(self._decompressor, "eof", False)

    def frame_inbound_complete(self, proto: Any, fin: bool) -> Any:
        decompressor = self._decompressor
        try:
            return super().frame_inbound_complete(proto, fin)
        finally:
            self.over = self.over or getattr(decompressor, "eof", False)


def read_by_wsproto(data: bytes, setting: Setting) -> list[Item] | None:
    """What wsproto finds; it has no limit. None: a compressed stream has ended (:class:`Noting`)."""
    deflate = _enabled(Noting, setting)
    assert isinstance(deflate, Noting)
    protocol = FrameProtocol(setting.client, [deflate] if setting.deflate else [])
    items = items_of_wsproto(protocol, data)
    return None if deflate.over else items


def read_by_websockets(data: bytes, setting: Setting) -> list[Item]:
    """What websockets finds."""
    protocol = Protocol(Side.CLIENT if setting.client else Side.SERVER, max_size=setting.limit)
    none = not setting.takeover
    protocol.extensions = [TheirDeflate(none, none, 15, 15)] if setting.deflate else []
    protocol.receive_data(data)
    return list(_items_of(protocol))


def _items_of(protocol: Protocol) -> Iterator[Item]:
    text, message = getincrementaldecoder("utf-8")(), b""
    for event in protocol.events_received():
        assert isinstance(event, TheirFrame)
        match event.opcode:
            case TheirOpcode.PING:
                yield Ping(bytes(event.data))
            case TheirOpcode.PONG:
                yield Pong(bytes(event.data))
            case TheirOpcode.CLOSE:
                received = protocol.close_rcvd
                assert received is not None
                yield CloseFrame(received.code, received.reason)
                return
            case TheirOpcode.BINARY:
                yield Violation(1003, "")
                return
            case _:
                try:
                    text.decode(event.data, event.fin)  # It leaves this to those who read the text.
                except UnicodeDecodeError:
                    yield Violation(1007, "")
                    return
                message += event.data
                if event.fin:
                    yield message
                    message = b""
    match protocol.parser_exc:
        case None | EOFError():
            pass
        case PayloadTooBig():
            yield Violation(1009, "")
        case UnicodeDecodeError():
            yield Violation(1007, "")
        case ProtocolError() as exc:
            yield Violation(1002, AMID if str(exc) == AMID else "")
        case other:
            raise AssertionError(f"websockets: {other!r}") from other


def whole_frames(wire: bytes, *, strictly: bool = False) -> bytes:
    """The wire up to the end of its last frame that is complete, whatever is wrong with the frames. ``strictly``: or to
    the first that websockets takes and RFC 6455 does not (:func:`_is_lax`)."""
    end = 0
    while len(wire) - end >= 2:
        length, head = wire[end + 1] & 0x7F, end + 2
        if length > 125:
            more = 2 if length == 126 else 8
            length, head = int.from_bytes(wire[head : head + more], "big"), head + more
        stop = head + (4 if wire[end + 1] & 0x80 else 0) + length
        if stop > len(wire) or (strictly and _is_lax(wire[end], head - end - 2, length)):
            break
        end = stop
    return wire[:end]


def _is_lax(first: int, more: int, length: int) -> bool:
    """Whether a frame has a length in ``more`` bytes that fits into fewer, or continues a message as a compressed one
    (RFC 7692 section 6.1)."""
    return (more == 2 and length < 126) or (more == 8 and length < 1 << 16) or first & 0x4F == 0x40


def check_frames(data: bytes) -> None:
    """Read the same bytes in all ways; see the top of the module."""
    setting, how, wire = Setting.of(data[0] if data else 0), data[1] if len(data) > 1 else 0, data[2:]
    ours = read_by_us(wire, setting, how)
    at_once = read_by_us(wire, setting, 0)
    assert same(ours, at_once, setting), f"in pieces {ours}, at once {at_once}"
    whole = whole_frames(wire)  # A reader may look into a frame before it is complete, or not.
    read = read_by_us(whole, setting, 0)
    assert same(ours[: len(read)], read, setting), f"of whole frames {read}, then {ours}"
    theirs = read_by_wsproto(whole, setting)
    if theirs is None:
        return
    if setting.limit is None and not (setting.deflate and MIXED.search(whole)):
        assert agree(read, theirs), f"ours {read}, wsproto {theirs}"
    short = whole_frames(wire, strictly=True)
    read, others = read_by_us(short, setting, 0), read_by_websockets(short, setting)
    assert agree(read, others), f"ours {read}, websockets {others}"


def same(ours: list[Item], at_once: list[Item], setting: Setting) -> bool:
    """Whether two of our readings are the same. Which fault of a compressed message comes first, that it is too long or
    that it is no text, depends on how much of it is inflated at a time."""
    if setting.deflate and setting.limit is not None and ours and at_once:
        codes = [item.code for item in (ours[-1], at_once[-1]) if isinstance(item, Violation)]
        if sorted(codes) == [1007, 1009]:
            return ours[:-1] == at_once[:-1]
    return ours == at_once


def agree(ours: list[Item], theirs: list[Item]) -> bool:
    """Whether two readings agree. Where there are several faults in one frame, either may be named."""
    if ours == theirs:
        return True
    same = ours[:-1] == theirs[:-1] and len(ours) == len(theirs) > 0
    match ours[-1:], theirs[-1:]:
        case [Violation()], [Violation()]:
            return same
        case [CloseFrame(code=1014)], [Violation(code=1002)]:  # The code was registered after RFC 6455.
            return same
        case [CloseFrame()], [Violation(reason=reason)]:  # websockets wants no close in the middle of a message.
            return same and reason == AMID
    return False


def check_written(data: bytes) -> None:
    """What is written is read back, by all three, in the other role. Byte 0 is that of a :class:`Setting`; then comes
    what to write, a kind and a length before each."""
    choices = Choices(data)
    setting = Setting.of(choices.byte())._replace(limit=None)
    writer, wire, expected = setting.ours(), b"", list[Item]()
    how = choices.byte()
    while choices:
        kind = choices.one_of(KINDS)
        payload = choices.some(choices.byte() << (2 if kind in ("text", "fragments") else 0))
        wire += b"".join(_written(writer, kind, payload, expected))
        if kind == "close":
            break
    reader = setting._replace(client=not setting.client)
    assert read_by_us(wire, reader, how) == expected
    assert read_by_wsproto(wire, reader) == expected
    assert read_by_websockets(wire, reader) == expected


KINDS: Final = ("text", "fragments", "ping", "pong", "text", "close")


def _written(writer: WebSocket, kind: str, payload: bytes, expected: list[Item]) -> Iterator[bytes]:
    """Write it, and add what is to be read."""
    match kind:
        case "text" | "fragments":
            text = payload.decode("utf-8", "replace").encode() * (
                300 if kind == "fragments" and len(payload) > 900 else 1
            )
            expected.append(text)
            yield from writer.fragments(text) if kind == "fragments" else (writer.text(text),)
        case "ping" | "pong":
            expected.append((Ping if kind == "ping" else Pong)(payload[:125]))
            yield getattr(writer, kind)(payload[:125])
        case _:
            reason = payload.decode("utf-8", "replace")
            expected.append(CloseFrame(1000, reason.encode()[:123].decode(errors="ignore")))
            yield writer.close(1000, reason)
