"""The frames of a server, read by a reader that goes on after a fault: a check has to see what comes behind it.

:class:`turnwire.sansio.websocket.WebSocket` stops at the first violation, as a client must.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from ..websocket import DEFAULT_MAX_MESSAGE_SIZE, CloseFrame, Ping, Pong, head_length, mask, payload_length, write_head

__all__ = ["FrameItem", "FrameReader", "TextMessage", "frame"]

_KEY: Final = bytes(4)
"""A masking key that changes nothing: what is sent here is public, and a report shows it as it is."""


_CONTROL: Final = frozenset({8, 9, 10})
_DATA: Final = frozenset({0, 1, 2})
MOST_FAULTS: Final = 20
"""Faults of one connection that are kept."""


class TextMessage(msgspec.Struct, frozen=True):
    """A complete message."""

    payload: bytes


FrameItem: TypeAlias = TextMessage | Ping | Pong | CloseFrame


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """One frame of a client. ``first`` is its first byte: final, reserved bits, opcode."""
    return write_head(first, len(payload), masked=masked) + (_KEY if masked else b"") + payload


class FrameReader:
    """Bytes to frames. What RFC 6455 forbids a server is in :attr:`faults`, in words; the frame is read all the
    same."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._buffer = bytearray()
        self._message: bytearray | None = None
        """The fragments of a message so far."""

    def receive(self, data: bytes) -> list[FrameItem]:
        """Take data; return the frames and messages that are complete."""
        self._buffer += data
        items: list[FrameItem] = []
        while len(self._buffer) >= (head := head_length(self._buffer)):
            size = head + payload_length(self._buffer)
            if size > DEFAULT_MAX_MESSAGE_SIZE:
                self._note(True, f"a frame of {size} bytes")
                self._buffer.clear()
            if len(self._buffer) < size:
                break
            whole = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._take(whole[0], whole[1], whole[:head], whole[head:], items)
        return items

    def _take(self, first: int, second: int, head: bytes, payload: bytes, items: list[FrameItem]) -> None:
        opcode, final = first & 0x0F, bool(first & 0x80)
        masked = bool(second & 0x80)
        if masked:
            payload = mask(payload, head[-4:])
        self._note(masked, f"a masked frame (first bytes {head.hex()}): a server must not mask")
        self._note(first & 0x70, f"a frame with a reserved bit (first byte {first:#04x}): no extension was agreed on")
        self._note(opcode not in _CONTROL | _DATA, f"a frame with the unknown opcode {opcode:#x}")
        shortest = write_head(first, len(payload), masked=masked)
        self._note(len(head) > len(shortest) + 4 * masked, f"a length that is longer than it has to be ({head.hex()})")
        if opcode in _CONTROL:
            self._control(opcode, final, payload, items)
        elif opcode in _DATA:
            self._data(opcode, final, payload, items)

    def _control(self, opcode: int, final: bool, payload: bytes, items: list[FrameItem]) -> None:
        self._note(not final or len(payload) > 125, "a control frame that is fragmented, or longer than 125 bytes")
        if opcode == 8:
            self._note(len(payload) == 1, "a close frame with half a code")
            code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 1005
            self._note(len(payload) > 1 and not _may_stand(code), f"a close frame with the code {code}, which is none")
            items.append(CloseFrame(code, payload[2:].decode(errors="replace")))
        else:
            items.append(Ping(payload) if opcode == 9 else Pong(payload))

    def _data(self, opcode: int, final: bool, payload: bytes, items: list[FrameItem]) -> None:
        self._note(opcode == 2, "a binary message: each message is JSON text")
        self._note(
            (self._message is None) is (opcode == 0), "a fragment that belongs to no message, or is out of place"
        )
        message = (self._message or bytearray()) if opcode == 0 else bytearray()
        message += payload
        self._message = None if final else message
        if final:
            self._note(not _is_utf8(message), "a text that is not UTF-8")
            items.append(TextMessage(bytes(message)))

    def _note(self, holds: object, words: str) -> None:
        if holds and len(self.faults) < MOST_FAULTS:
            self.faults.append(words)


def _may_stand(code: int) -> bool:
    """Whether a close frame may have the code (RFC 6455, section 7.4, and IANA's registry)."""
    return any(code in codes for codes in (range(1000, 1004), range(1007, 1015), range(3000, 5000)))


def _is_utf8(data: bytearray) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
