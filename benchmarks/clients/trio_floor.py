"""The raw trio floor: ``recv`` in the consumer's own task, and the same scan. No timer, no ping, one turn at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from . import RunTurn
from ._floor import READ_SIZE, request, scan, upgrade
from ._schema import Completed, Created, Delta


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A bare socket, upgraded by hand."""
    url = urlsplit(base_url)
    async with await trio.open_tcp_stream(url.hostname or "", url.port or 80) as stream:
        sock = stream.socket
        await stream.send_all(upgrade(url))
        while not (await sock.recv(READ_SIZE)).endswith(b"\r\n\r\n"):
            pass

        async def run(prompt: str) -> int:
            await stream.send_all(request(prompt))
            events: deque[Created | Delta | Completed] = deque()
            characters, rest = 0, b""
            while True:
                rest = scan(rest + await sock.recv(READ_SIZE), events.append)
                while events:
                    event = events.popleft()
                    if type(event) is Delta:
                        characters += len(event.delta)
                    elif type(event) is Completed:
                        return characters

        yield run
