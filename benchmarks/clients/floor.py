"""The floor: what a program costs that reads a socket on asyncio and knows exactly what will come.

It scans two kinds of frame headers, checks nothing, buffers no more than the last incomplete frame and decodes three
types of events. No library that others can rely on can be as cheap.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import urandom
from urllib.parse import urlsplit

import msgspec

from . import RunTurn
from ._schema import Completed, Delta, decode

_encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A bare socket, upgraded by hand."""
    url = urlsplit(base_url)
    loop = asyncio.get_running_loop()
    with socket.create_connection((url.hostname, url.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(
            f"GET {url.path}/responses HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while not sock.recv(65536).endswith(b"\r\n\r\n"):
            pass
        sock.setblocking(False)

        async def run(prompt: str) -> int:
            await loop.sock_sendall(sock, _request(prompt))
            characters, data = 0, b""
            while True:
                data += await loop.sock_recv(sock, 262144)
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


def _request(prompt: str) -> bytes:
    payload = _encode({"type": "response.create", "model": "gpt-5.4", "input": prompt})
    length, key = len(payload), urandom(4)
    repeated = (key * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return bytes((0x81, 0x80 | length)) + key + masked.to_bytes(length, "little")
