"""The file of a recording proxy: its header, and the lines of all connections (RECORDING.md, F-PROXY-1).

The promise
    Lines are written whole and in order, up to the limit of the file. What fails while they are written ends the
    recording, and never a connection: :attr:`ProxyLog.failed` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..record import Recording
from ._format import FORMAT, Entry, Header, encode_line, encoded
from ._proxy_streams import ProxiedStream
from ._scrub import JsonScrubber
from ._streams import LineQueue

__all__ = ["MOST_HELD", "ProxyLog"]

MOST_HELD: Final = 64 * 1024 * 1024
"""Bytes that wait until a message before them has come to its end; with more, it becomes filler (F-SCRUB-4)."""


class ProxyLog:
    """See the top of the module. ``upstream`` is the server's base URL, ``wall`` the time of day in seconds."""

    def __init__(self, recording: Recording, upstream: str, wall: float, turnwire: str) -> None:
        self.failed: Exception | None = None
        """What failed while the file was written. Nothing is written after that."""
        self.scrubber = JsonScrubber(recording.key) if recording.scrub else None
        """What replaces texts, if they are to be replaced."""
        self._streams: dict[ProxiedStream, None] = {}
        self._queue = LineQueue()
        self._recording = recording
        header = Header(
            turnwire_recording=FORMAT,
            kind="proxy",
            turnwire=turnwire,
            wall=wall,
            scrubbed=recording.scrub,
            max_bytes=recording.max_bytes,
            upstream=upstream,
        )
        self._guarded(lambda: recording.begin(None, encode_line(header)))

    @property
    def full(self) -> bool:
        """Whether the file has reached its limit."""
        return self._recording.over

    def stream(self, *, of_server: bool) -> ProxiedStream | None:
        """One direction of a connection that begins, if its texts are to be replaced."""
        if self.scrubber is None:
            return None
        stream = ProxiedStream(self.scrubber, of_server=of_server)
        self._streams[stream] = None
        return stream

    def finish(self, stream: ProxiedStream) -> None:
        """Nothing follows in this direction."""
        stream.finish()
        del self._streams[stream]

    def write(self, entry: Entry, data: bytes = b"", stream: ProxiedStream | None = None) -> None:
        """One entry, and the bytes that belong to it, which passed in the direction of ``stream``."""
        if self.scrubber is None:
            self._write(entry, data)
            return
        piece = bytearray(data)
        if stream is not None:
            stream.feed(piece)
        self._queue.put(entry, piece)
        self._write_decided()
        while self._queue.size > MOST_HELD:
            for each in self._streams:
                if self._queue.holds(each):
                    each.give_up()
            self._write_decided()

    def _write_decided(self) -> None:
        for entry, data in self._queue.decided(self._streams):
            self._write(entry, data)

    def _write(self, entry: Entry, data: bytes) -> None:
        self._guarded(lambda: self._write_line(entry, encoded(entry, data)))

    def _write_line(self, entry: Entry, parts: Sequence[bytes]) -> None:
        if not self._recording.write(1, parts):
            self._recording.finish(1, encode_line(Entry(do="end", at=entry.at, reason="max_bytes")))

    def _guarded(self, write: Callable[[], object]) -> None:
        if self.failed is None:
            try:
                write()
            except Exception as exc:
                self.failed = exc
