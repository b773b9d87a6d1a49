"""aiohttp, whose frame parser is compiled, and a typed msgspec decode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from . import RunTurn
from ._schema import Completed, Delta, decode

_encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A WebSocket that leaves messages as bytes."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{base_url}/responses", max_msg_size=0, decode_text=False) as websocket,
    ):

        async def run(prompt: str) -> int:
            request = {"type": "response.create", "model": "gpt-5.4", "input": prompt}
            await websocket.send_frame(_encode(request), aiohttp.WSMsgType.TEXT)
            characters = 0
            while True:
                event = decode((await websocket.receive()).data)
                if type(event) is Delta:
                    characters += len(event.delta)
                elif type(event) is Completed:
                    return characters

        yield run
