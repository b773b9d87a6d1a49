"""The bytes to and from one client: a socket, and TLS on it if the server has a certificate."""

from __future__ import annotations

import ssl

from anyio.streams.tls import TLSStream

from ._sockets import SocketStream

__all__ = ["ClientStream"]


class ClientStream:
    """A stream of bytes that can be silenced or reset, and that knows whether what it sent ends with a whole frame.

    When the client is gone, every method but :meth:`aclose` raises one of :data:`~._sockets.TRANSPORT_ERRORS`.
    """

    def __init__(self, sock: SocketStream) -> None:
        self._socket = sock
        self._stream: SocketStream | TLSStream = sock
        self.silenced = False
        """Send nothing more, and ignore what comes in."""
        self.resets = False
        """End with RST instead of FIN."""
        self.ends_with_frame = True
        """Whether everything that was given to :meth:`send` has been sent."""

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the handshake, in the server's role."""
        self._stream = await TLSStream.wrap(
            self._socket, server_side=True, ssl_context=context, standard_compatible=False
        )

    async def receive(self, max_bytes: int) -> bytes:
        """At least one byte, and at most ``max_bytes``."""
        return await self._stream.receive(max_bytes)

    async def send(self, data: bytes) -> None:
        """Send all of it; nothing if the stream is silenced. One task at a time may send."""
        if not data or self.silenced:
            return
        sent, before, self.ends_with_frame = self._socket.sent, self.ends_with_frame, False
        try:
            await self._stream.send(data)
            self.ends_with_frame = before
        finally:
            # Under TLS nothing may follow a record that was encrypted and not sent.
            if self._stream is self._socket and self._socket.sent == sent:
                self.ends_with_frame = before

    async def end(self, last: bytes) -> None:
        """Send ``last``, then FIN, and read until the client ends its side; or only send RST if it :attr:`resets`.

        A socket that is closed with unread bytes in it sends RST, and the client may lose what it has not read yet.
        """
        if self.resets:
            await self._socket.reset()
            return
        if last:
            await self._stream.send(last)
        await self._socket.send_eof()
        while True:
            await self._socket.receive()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.aclose()
