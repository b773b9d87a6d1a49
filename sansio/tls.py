"""The client's side of TLS, bytes in and bytes out, for shells whose event loop has no TLS of its own.

The promise
    :class:`TlsSession` and :class:`TlsLayers` neither read nor write and import no ``ssl``: the shell gives them that
    module. Sessions can be nested, as in the tunnel of an https proxy.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any, Final, Protocol

from .flow import Flow, Wait

__all__ = ["TlsLayers", "TlsSession"]

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


class Handshaking(Protocol):
    """A transport, as far as a handshake needs it."""

    def send(self, data: bytes) -> None:
        """Write bytes without waiting."""
        ...

    def send_all(self, data: bytes) -> Awaitable[None]:
        """Write bytes, and wait until all are written."""
        ...

    def receive(self) -> Awaitable[bytes]:
        """Wait for data; ``b""`` is the end."""
        ...


class TlsLayers:
    """The TLS of one transport: no session, one, or one inside the other. ``library`` is the module ``ssl``."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.sessions: list[TlsSession] = []
        """The outermost first."""

    @property
    def waits_for_peer(self) -> bool:
        """Whether data cannot be encrypted before the peer has answered."""
        return any(session.unencrypted for session in self.sessions)

    @property
    def ended(self) -> bool:
        """Whether nothing more can be read. There is TLS."""
        return self.sessions[-1].ended

    def start(self, context: Any, host: str, transport: Handshaking) -> Flow[None]:
        """Make a handshake inside the present sessions, and add the session. Raises ``ssl.SSLError``."""
        session, data = TlsSession(self._library, context, host), None
        try:
            while not session.handshake(data):
                yield Wait(partial(transport.send_all, session.outgoing()))
                data = yield Wait(transport.receive)
        finally:  # There may be an alert to send.
            transport.send(session.outgoing())
        yield Wait(partial(transport.send_all, b""))
        self.sessions.append(session)

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send so that the peer receives this data."""
        for session in reversed(self.sessions):
            data = session.encrypt(data)
        return data

    def decrypt(self, data: bytes) -> bytes | None:
        """The peer's data; None: nothing yet, ``b""``: the end. Afterwards, send ``encrypt(b"")``."""
        for session in self.sessions:
            decrypted = session.decrypt(data)
            if decrypted is None:
                return None
            data = decrypted
        return data
