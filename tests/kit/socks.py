"""A SOCKS5 proxy for tests (RFC 1928, RFC 1929). Written from the RFCs, and not with what it tests.

::

    async with socks_server(authorization=("me", "p@ss")) as proxy:
        async with connect(server.base_url, proxy=f"socks5h://me:p%40ss@{proxy.authority}"): ...
    assert proxy.asked == [("name", "api.test", 443)]
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
from kit.peers import GoneError, Peer, RawServer, raw_server, relay

GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class SocksServer:
    """See :func:`socks_server`."""

    def __init__(self, server: RawServer) -> None:
        self.authority = server.authority
        self.asked: list[tuple[str, str, int]] = []
        """What each connection wanted: "name" or "address", the host, the port."""


async def exactly(peer: Peer, count: int) -> bytes:
    """So many bytes, and none of what follows."""
    data = b""
    while len(data) < count:
        if not (more := await peer.read(count - len(data))):
            raise GoneError
        data += more
    return data


async def authenticate(peer: Peer, authorization: tuple[str, str] | None) -> None:
    version, count = await exactly(peer, 2)
    assert version == 5
    methods = await exactly(peer, count)
    if authorization is None:
        await peer.send(b"\x05\x00")
        return
    if 2 not in methods:
        await peer.send(b"\x05\xff")
        raise GoneError
    await peer.send(b"\x05\x02")
    version, length = await exactly(peer, 2)
    assert version == 1
    name = await exactly(peer, length)
    (length,) = await exactly(peer, 1)
    password = await exactly(peer, length)
    right = (name.decode(), password.decode()) == authorization
    await peer.send(b"\x01\x00" if right else b"\x01\x01")
    if not right:
        raise GoneError


async def request(peer: Peer) -> tuple[str, str, int]:
    """What the client asks for: what kind of host it is, the host, the port."""
    assert await exactly(peer, 3) == b"\x05\x01\x00", "version, CONNECT, reserved"
    (kind,) = await exactly(peer, 1)
    if kind == 3:
        (length,) = await exactly(peer, 1)
        host = (await exactly(peer, length)).decode("ascii")
    else:
        host = str(ipaddress.ip_address(await exactly(peer, {1: 4, 4: 16}[kind])))
    return ("name" if kind == 3 else "address"), host, int.from_bytes(await exactly(peer, 2), "big")


@asynccontextmanager
async def socks_server(
    *,
    authorization: tuple[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> AsyncIterator[SocksServer]:
    """A proxy that wants a name and a password if ``authorization`` is given. ``names`` are those it can resolve."""

    async def serve(peer: Peer) -> None:
        await authenticate(peer, authorization)
        kind, host, port = await request(peer)
        found.asked.append((kind, host, port))
        try:
            upstream = await anyio.connect_tcp((names or {}).get(host, host), port)
        except OSError:
            await peer.send(b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
            await peer.end()
            return
        await peer.send(GRANTED)
        await relay(peer, upstream)

    async with raw_server(serve) as server:
        found = SocksServer(server)
        yield found
