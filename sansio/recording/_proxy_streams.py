"""What passes through a proxy in one direction, taken apart so that it can be scrubbed in place.

The promise
    Heads stay as they are; texts are replaced as in a session's recording. What is no JSON, is compressed, or cannot be
    told, becomes filler: a text never stays because it was not understood.
"""

from __future__ import annotations

from functools import partial

from ._scrub import JsonScrubber
from ._streams import CODED, JSON, WITHOUT_BODY, Stream, filled, status_of

__all__ = ["ProxiedStream"]


class ProxiedStream(Stream):
    """One direction: what the server sends, or, of frames without their masking keys, what the client does."""

    def __init__(self, scrubber: JsonScrubber, *, of_server: bool) -> None:
        super().__init__(scrubber)
        self._of_server = of_server
        self._message = partial(scrubber.message, of_server=of_server)
        self._line = partial(scrubber.line, of_server=of_server)
        self.without_body = False
        """The answer that follows has no body, whatever its head says: it is one to HEAD."""

    def upgraded(self) -> None:
        """What follows are frames."""
        self._step, self._fills = self._frame, False

    def give_up(self) -> None:
        """The message or line that goes on becomes filler up to its end: too much waits for it."""
        self._fills = True
        self._scrub(self._parts, filled)
        self._scrub(self._control, filled)

    def fill_all(self) -> None:
        """What has no end yet becomes filler, and so does all that follows: it is no HTTP, or no WebSocket."""
        self.give_up()
        self._step = self._filler

    def _filler(self, piece: bytearray, position: int) -> int:
        piece[position:] = filled(bytes(piece[position:]))
        return len(piece)

    # -- heads: held until they have ended

    def _head_goes_on(self, piece: bytearray, position: int) -> None:
        self._parts.append((piece, position, len(piece)))

    def _head_ended(self, head: bytes) -> None:
        self._parts.clear()
        self._fills = False
        code = status_of(head)
        if code == 101:
            self._step = self._frame
        elif code // 100 != 1 and code not in WITHOUT_BODY and not (self._of_server and self.without_body):
            self._begin_body(head, code)

    def _body_begins(self, head: bytes) -> None:
        if not self._of_server and self._left < 0 and not self._chunked:  # A request ends with its head.
            self._step = self._head
            return
        self._lines = True
        self._fills = CODED.search(head) is not None or JSON.search(head) is None

    # -- frames

    def _is_masked(self) -> bool:
        self.fill_all()
        return True

    def _ping_ended(self) -> None:
        self._scrub(self._control, filled)

    def _data_ended(self) -> None:
        if self._first & 0x0F > 1 or self._first & 0x70:  # No text, or compressed.
            self._fills = True
        if self._first & 0x80:
            self._scrub(self._parts, self._message)
            self._fills = False
