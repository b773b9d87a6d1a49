"""The push floor: what a program costs whose event loop calls it with the bytes, and that knows exactly what will come.

An ``asyncio.Protocol`` that reads 64 KiB at a time, scans two kinds of frame headers, checks nothing, buffers no more
than the last incomplete frame, decodes three types of events and wakes one future. No library that others can rely on
can be as cheap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import urandom
from urllib.parse import urlsplit

import msgspec

from . import RunTurn
from ._schema import Completed, Created, Delta, decode

_encode = msgspec.json.Encoder().encode


class _Socket(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.events: deque[Created | Delta | Completed] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if hasattr(transport, "max_size"):  # uvloop's have none.
            transport.max_size = 65536

    def data_received(self, data: bytes) -> None:
        data = self.data + data
        position, end = 0, len(data)
        if not self.upgraded:
            self.upgraded = data.endswith(b"\r\n\r\n")
            position = end if self.upgraded else 0
        while self.upgraded and end - position >= 4:
            length, head = data[position + 1], position + 2
            if length == 126:
                length, head = (data[head] << 8) | data[head + 1], head + 2
            if end < head + length:
                break
            self.events.append(decode(data[head : head + length]))
            position = head + length
        self.data = data[position:]
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A bare transport, upgraded by hand."""
    url = urlsplit(base_url)
    loop = asyncio.get_running_loop()
    transport, sock = await loop.create_connection(_Socket, url.hostname, url.port)
    transport.write(
        f"GET {url.path}/responses HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    while not sock.upgraded:
        await asyncio.sleep(0.001)
    events = sock.events

    async def run(prompt: str) -> int:
        transport.write(_request(prompt))
        characters = 0
        while True:
            while not events:
                sock.waiter = loop.create_future()
                await sock.waiter
            event = events.popleft()
            if type(event) is Delta:
                characters += len(event.delta)
            elif type(event) is Completed:
                return characters

    yield run
    transport.close()


def _request(prompt: str) -> bytes:
    payload = _encode({"type": "response.create", "model": "gpt-5.4", "input": prompt})
    length, key = len(payload), urandom(4)
    repeated = (key * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return bytes((0x81, 0x80 | length)) + key + masked.to_bytes(length, "little")
