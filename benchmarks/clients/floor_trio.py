"""The raw trio floor: ``recv(65536)`` in the consumer's own task, and the scan of the asyncio floor. No timer, no ping,
one turn at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from . import RunTurn
from ._schema import Completed, Delta, decode
from .floor import _request


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A trio socket, upgraded by hand."""
    url = urlsplit(base_url)
    async with await trio.open_tcp_stream(url.hostname or "", url.port or 80) as stream:
        sock = stream.socket
        await stream.send_all(
            f"GET {url.path}/responses HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while not (await sock.recv(65536)).endswith(b"\r\n\r\n"):
            pass

        async def run(prompt: str) -> int:
            await stream.send_all(_request(prompt))
            characters, data = 0, b""
            while True:
                data += await sock.recv(65536)
                position, end = 0, len(data)
                while end - position >= 4:
                    length, head = data[position + 1], position + 2
                    if length == 126:
                        length, head = (data[head] << 8) | data[head + 1], head + 2
                    if end < head + length:
                        break
                    event = decode(data[head : head + length])
                    position = head + length
                    if type(event) is Delta:
                        characters += len(event.delta)
                    elif type(event) is Completed:
                        return characters
                data = data[position:]

        yield run
