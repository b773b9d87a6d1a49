"""What both floors do: the least work that gets the events of this benchmark. They check nothing.

They scan two kinds of frame headers, keep no more than the last incomplete frame and decode three types of events. A
library for real servers has to do more.
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from urllib.parse import SplitResult

import msgspec

from ._schema import Completed, Created, Delta, decode

READ_SIZE = 65536
_encode = msgspec.json.Encoder().encode


def upgrade(url: SplitResult) -> bytes:
    """The request that begins the WebSocket."""
    return (
        f"GET {url.path}/responses HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def scan(data: bytes, take: Callable[[Created | Delta | Completed], object]) -> bytes:
    """Hand on the events of all complete frames; give what is left."""
    position, end = 0, len(data)
    while end - position >= 4:
        length, head = data[position + 1], position + 2
        if length == 126:
            length, head = (data[head] << 8) | data[head + 1], head + 2
        if end < head + length:
            break
        position = head + length
        take(decode(data[head:position]))
    return data[position:]


def request(prompt: str) -> bytes:
    """A turn's message in a masked frame."""
    payload = _encode({"type": "response.create", "model": "gpt-5.4", "input": prompt})
    length, key = len(payload), urandom(4)
    repeated = (key * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return bytes((0x81, 0x80 | length)) + key + masked.to_bytes(length, "little")
