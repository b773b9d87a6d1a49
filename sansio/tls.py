"""The client's side of a TLS session, bytes in and bytes out, for shells whose event loop has no TLS of its own.

The promise
    :class:`TlsSession` neither reads nor writes and imports no ``ssl``: the shell gives it that module. Sessions can be
    nested, as in the tunnel of an https proxy.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["TlsSession"]

RECORD: Final = 64 * 1024
"""Bytes to decrypt at a time. A TLS record has at most 16 KiB."""


class TlsSession:
    """One TLS session. ``library`` is the module ``ssl``, ``context`` an ``ssl.SSLContext``.

    Every method may raise ``ssl.SSLError``.
    """

    def __init__(self, library: Any, context: Any, host: str) -> None:
        self._library = library
        self._incoming, self._outgoing = library.MemoryBIO(), library.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._failed: OSError | None = None
        self.ended = False
        """Whether nothing more can be read: the peer has ended TLS, its bytes have ended, or TLS has failed."""
        self.unencrypted = bytearray()
        """Data that cannot be encrypted before the peer has answered (TLS 1.2, renegotiation)."""

    def handshake(self, data: bytes | None) -> bool:
        """Continue the handshake with this data. Returns whether it is complete; if not, send :meth:`outgoing` and
        read."""
        if data is not None:
            self._feed(data)
        try:
            self._object.do_handshake()
        except self._library.SSLWantReadError:
            return False
        return True

    def outgoing(self) -> bytes:
        """The bytes to send."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send so that the peer receives this data."""
        self.unencrypted += data
        while self.unencrypted:
            try:
                del self.unencrypted[: self._object.write(self.unencrypted)]
            except self._library.SSLWantReadError:
                break
        return self.outgoing()

    def decrypt(self, data: bytes) -> bytes | None:
        """The peer's data; None: nothing yet, ``b""``: the end. Afterwards, send ``encrypt(b"")``."""
        self._feed(data)
        chunks: list[bytes] = []
        try:
            while chunk := self._object.read(RECORD):
                chunks.append(chunk)
            self.ended = True
        except self._library.SSLWantReadError:
            pass
        except self._library.SSLError as exc:
            self.ended = True
            if not self._is_end_of_file(exc):
                self._failed = exc  # Data before the failure still counts.
        if chunks:
            return b"".join(chunks)
        if self._failed is not None:
            raise self._failed
        return b"" if self.ended else None

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _is_end_of_file(self, exc: OSError) -> bool:
        """Whether the peer ended TLS without close_notify. It is usual, and counts as the end of the byte stream."""
        return isinstance(exc, self._library.SSLEOFError) or "UNEXPECTED_EOF_WHILE_READING" in (exc.strerror or "")
