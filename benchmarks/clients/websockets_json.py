"""websockets and the standard library's json."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import websockets

from ..wire import COMPLETED, DELTA
from . import RunTurn


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A WebSocket."""
    async with websockets.connect(f"{base_url}/responses", max_size=None) as websocket:

        async def run(prompt: str) -> int:
            request = {"type": "response.create", "model": "gpt-5.4", "input": prompt}
            await websocket.send(json.dumps(request))
            characters = 0
            while True:
                event = json.loads(await websocket.recv())
                if event["type"] == DELTA:
                    characters += len(event["delta"])
                elif event["type"] == COMPLETED:
                    return characters

        yield run
