"""What the tests of the loopback server have in common."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme
from turnwire.aio.loopback._sockets import SocketStream


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context and the client's."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return context, trusting


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much the server took out of the kernel, read by read, before it closed its side."""
    sizes: list[int] = []
    closed: set[int] = set()
    receive, send_eof, reset = SocketStream.receive, SocketStream.send_eof, SocketStream.reset

    async def counted(self: SocketStream, max_bytes: int = 65536) -> bytes:
        data = await receive(self, max_bytes)
        if id(self) not in closed:
            sizes.append(len(data))
        return data

    def noting(end: Callable[[SocketStream], Awaitable[None]]) -> Callable[[SocketStream], Awaitable[None]]:
        async def noted(self: SocketStream) -> None:
            closed.add(id(self))
            await end(self)

        return noted

    monkeypatch.setattr(SocketStream, "receive", counted)
    monkeypatch.setattr(SocketStream, "send_eof", noting(send_eof))
    monkeypatch.setattr(SocketStream, "reset", noting(reset))
    return sizes
