"""The outbox: what waits to be handed to the transport, in which order, and where each message ends.

The promise
    It knows at every byte whose message (a turn's, a steer's, an injection's) has begun and whether its last byte is
    handed out, which the verdict rests on. A frame is never interrupted, and no message begins before the one that has
    begun is handed out whole; pongs and control frames may go between its frames. A message that is taken out before
    its first byte leaves no trace. Of unsent pongs only the latest is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from ..websocket import FRAGMENT
from ._inputs import TurnInput
from ._turn import Turn

if TYPE_CHECKING:
    from ..websocket import WebSocket

Message: TypeAlias = Turn | TurnInput
"""Whose message it is."""

__all__ = ["Outbox"]


class Outbox:
    """The queue of what to send: control frames and pongs first, then messages in order. A frame is never interrupted.

    A message is encoded into frames only when it is its turn to be sent. A turn that is removed before leaves no trace;
    this matters because with permessage-deflate each frame depends on all frames before it. A long message is sent as
    several frames, so that control frames can be sent between them.

    Source: P-CONN-11.
    """

    def __init__(self) -> None:
        self._frame: bytes | memoryview = b""
        """The rest of the frame that is being handed out."""
        self.turn: Message | None = None
        """The turn, steer or injection whose message has begun; None again when its last byte was handed out."""
        self._fragments: Iterator[bytes] = iter(())
        self._following = b""
        """The next frame of that message; empty if its last frame has begun."""
        self._control: deque[bytes] = deque()
        self._pong = b""
        self._messages: dict[Message, None] = {}
        self.mid_frame = False
        """Whether a frame was handed out in part: only its rest may follow."""

    def __bool__(self) -> bool:
        return bool(self._frame or self._following or self._pong or self._control or self._messages)

    def message(self, turn: Message) -> None:
        """Queue a message behind everything else."""
        self._messages[turn] = None

    def control(self, frame: bytes) -> None:
        """Queue a control frame before every message that has not begun, so that a ping does not wait for megabytes."""
        self._control.append(frame)

    def pong(self, frame: bytes) -> None:
        """Queue the answer to a ping. It replaces an unsent pong: RFC 6455 section 5.5.3 asks for the latest only.

        So a peer that sends pings and does not read cannot fill our memory with pongs.

        Source: P-CONN-12.
        """
        self._pong = frame

    def begun(self, message: Message) -> bool:
        """Whether part of this message was handed out, but not all of it."""
        return self.turn is message

    def remove(self, message: Message) -> None:
        """Remove a message that has not begun."""
        self._messages.pop(message, None)

    def take(self, most: int, websocket: WebSocket | None) -> tuple[bytes, list[Message]]:
        """Return at most ``most`` bytes, and those whose messages end within them."""
        parts: list[bytes | memoryview] = []
        ended: list[Message] = []
        while most > 0 and (self._frame or self._next(websocket)):
            frame = self._frame
            self.mid_frame = len(frame) > most
            if self.mid_frame:
                frame = memoryview(frame)
                frame, self._frame = frame[:most], frame[most:]
            else:
                self._frame = b""
            parts.append(frame)
            most -= len(frame)
            if self.turn is not None and not self.mid_frame and not self._following:
                ended.append(self.turn)
                self.turn = None
        return b"".join(parts), ended

    def _next(self, websocket: WebSocket | None) -> bool:
        """Make the next frame current; False if there is none."""
        frame = self._pong
        if frame:
            self._pong = b""
        elif self._control:
            frame = self._control.popleft()
        elif self._following:
            frame, self._following = self._following, next(self._fragments, b"")
        elif self._messages and websocket is not None:
            self.turn = next(iter(self._messages))
            del self._messages[self.turn]
            message = self.turn.wire_message()
            if len(message) <= FRAGMENT:
                frame = websocket.text(message)
            else:
                self._fragments = websocket.fragments(message)
                frame, self._following = next(self._fragments), next(self._fragments, b"")
        self._frame = frame
        return bool(frame)
