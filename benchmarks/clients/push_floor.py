"""The push floor: what a callback costs that scans what arrives and wakes one future, on asyncio or uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from . import RunTurn
from ._events import Events
from ._floor import READ_SIZE, request, scan, upgrade


class _Floor(asyncio.Protocol):
    def __init__(self) -> None:
        self.events = Events()
        self.opened = asyncio.get_running_loop().create_future()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if hasattr(transport, "max_size"):  # Of asyncio alone, which allocates so much for each read.
            transport.max_size = READ_SIZE

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            if data.endswith(b"\r\n\r\n"):
                self.opened.set_result(None)
            return
        self._rest = scan(self._rest + data, self.events.take)
        self.events.wake()


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A bare transport, upgraded by hand."""
    url = urlsplit(base_url)
    loop = asyncio.get_running_loop()
    transport, floor = await loop.create_connection(_Floor, url.hostname, url.port)
    transport.write(upgrade(url))
    await floor.opened

    async def run(prompt: str) -> int:
        transport.write(request(prompt))
        return await floor.events.characters()

    try:
        yield run
    finally:
        transport.abort()
