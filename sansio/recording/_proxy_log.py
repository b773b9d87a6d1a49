"""The file of a recording proxy: its header, and the lines of all connections (RECORDING.md, F-PROXY-1).

The promise
    Lines are written whole and in order, up to the limit of the file. What fails while they are written ends the
    recording, and never a connection: :attr:`ProxyLog.failed` says so.
"""

from __future__ import annotations

from collections.abc import Callable

from ..record import Recording
from ._format import FORMAT, Entry, Header, encode_line, encoded

__all__ = ["ProxyLog"]


class ProxyLog:
    """See the top of the module. ``upstream`` is the server's base URL, ``wall`` the time of day in seconds."""

    def __init__(self, recording: Recording, upstream: str, wall: float, turnwire: str) -> None:
        self.failed: Exception | None = None
        """What failed while the file was written. Nothing is written after that."""
        self._recording = recording
        header = Header(
            turnwire_recording=FORMAT,
            kind="proxy",
            turnwire=turnwire,
            wall=wall,
            max_bytes=recording.max_bytes,
            upstream=upstream,
        )
        self._guarded(lambda: recording.begin(None, encode_line(header)))

    @property
    def full(self) -> bool:
        """Whether the file has reached its limit."""
        return self._recording.over

    def write(self, entry: Entry, data: bytes) -> None:
        """One entry, and the bytes that belong to it."""
        ends = Entry(do="end", at=entry.at, reason="max_bytes")
        self._guarded(lambda: self._recording.write(1, *encoded(entry, data), end=lambda: encode_line(ends)))

    def _guarded(self, write: Callable[[], object]) -> None:
        if self.failed is None:
            try:
                write()
            except Exception as exc:
                self.failed = exc
