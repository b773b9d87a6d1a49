"""picows, a WebSocket in Cython that calls back with each frame, and a typed msgspec decode; one future is woken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from . import RunTurn
from ._events import Events
from ._schema import decode

_encode = msgspec.json.Encoder().encode


class _Listener(WSListener):
    def __init__(self) -> None:
        super().__init__()
        self.events = Events()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.events.take(decode(frame.get_payload_as_memoryview()))
            self.events.wake()


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A WebSocket whose payloads are not copied."""
    transport, listener = await ws_connect(_Listener, f"{base_url}/responses")

    async def run(prompt: str) -> int:
        request = {"type": "response.create", "model": "gpt-5.4", "input": prompt}
        transport.send(WSMsgType.TEXT, _encode(request))
        return await listener.events.characters()

    try:
        yield run
    finally:
        transport.disconnect()
        await transport.wait_disconnected()
