"""Counts the bytes that a client sends, per connection and per request: for faults at :class:`Received`.

Bytes are counted before they are parsed. So this reads the headers of frames (RFC 6455 section 5.2) and nothing else.
"""

from __future__ import annotations

from ...sansio.websocket import head_length, payload_length
from ._faults import Action, Faults, Received

__all__ = ["ByteCounter"]


class ByteCounter:
    """How many bytes of one connection have been read, and how many of its current request.

    Control frames count for the connection, and for no request.
    """

    def __init__(self) -> None:
        self.total = 0
        """Bytes of the connection so far."""
        self.request = 0
        """The number of the request that began last, from 1; 0 before the first."""
        self.received = 0
        """Bytes of that request so far."""
        self._between_requests = True
        self._counted = True
        """Over HTTP: whether the request counts as one; a GET does not."""
        self._websocket = False
        self._header = bytearray()
        """Over WebSocket: what has come of a frame's header, from its first byte to the last byte of the frame."""
        self._payload_left = 0
        """Over WebSocket: bytes of the frame's payload that have not come."""

    @property
    def partial(self) -> bool:
        """Whether a request, or a frame, has begun and not ended."""
        return not self._between_requests or bool(self._header)

    def begin_websocket(self, trailing: bytes) -> None:
        """From here on count frames; each message is a request. ``trailing`` was read with the upgrade."""
        self._websocket = True
        self.request = 0
        self.end_request()
        self.total -= len(trailing)
        self.count(trailing)

    def end_request(self) -> None:
        """The next byte begins another request."""
        self._between_requests = self._counted = True
        self.received = 0

    def leave_out_request(self) -> None:
        """Over HTTP: what has been read is no request of the connection after all."""
        self.request -= self._counted

    def begin_requests(self) -> None:
        """Over HTTP: what has been read is the first request of the connection, if it counts as one."""
        self.request = int(self._counted)

    def count(self, data: bytes) -> None:
        """Count bytes that were read."""
        self.total += len(data)
        if self._websocket:
            self._count_frames(data)
            return
        if self._between_requests:
            self._counted = data[:1] != b"G"
        if self._counted:
            self._count_for_request(len(data))
        self._between_requests = False

    def _count_frames(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - position)
                self._payload_left -= step
            else:
                step = 1
                self._header.append(data[position])
                if len(self._header) == head_length(self._header):
                    self._payload_left = payload_length(self._header)
            position += step
            if self._header[0] & 0x0F < 8:
                self._count_for_request(step)
            if not self._payload_left and len(self._header) == head_length(self._header):
                if self._header[0] & 0x88 == 0x80:  # Final, and not a control frame.
                    self._between_requests = True
                self._header.clear()

    def _count_for_request(self, step: int) -> None:
        if self._between_requests:
            self._between_requests = False
            self.request += 1
            self.received = 0
        self.received += step

    def read_limit(self, faults: Faults, connection: int) -> int | None:
        """How many bytes the next read may take, so that none is read after a fault is due; None for no limit.

        If a fault counts the bytes of the current request or of a later one, a read ends with a frame or with its
        header: the byte after it may be the first of the request that is meant.
        """
        between = self._between_requests
        request, received = (self.request + 1, 0) if between else (self.request, self.received)
        limits = [faults.bytes_until_due(Received(self.total, "connection"), connection)]
        if self._counted:
            limits.append(faults.bytes_until_due(Received(received), connection, request))
        if (self._websocket or between) and faults.counts_from(connection, request):
            limits.append(self._payload_left or (head_length(self._header) - len(self._header) if self._header else 1))
        return min((limit for limit in limits if limit is not None), default=None)

    def count_and_take_due(self, faults: Faults, connection: int, data: bytes) -> list[Action]:
        """Count bytes that were read; give the actions that are due after the last of them."""
        before = (self.request, self.received)
        self.count(data)
        actions = faults.take_due(Received(self.total, "connection"), connection)
        if (self.request, self.received) != before:
            actions += faults.take_due(Received(self.received), connection, self.request)
        return actions
