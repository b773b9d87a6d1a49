"""The openai package's own WebSocket connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openai import AsyncOpenAI

from ..wire import COMPLETED, DELTA
from . import RunTurn


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """``AsyncOpenAI().responses.connect()``."""
    client = AsyncOpenAI(api_key="none", websocket_base_url=base_url)
    async with client, client.responses.connect() as connection:

        async def run(prompt: str) -> int:
            await connection.response.create(model="gpt-5.4", input=prompt)
            characters = 0
            while True:
                event = await connection.recv()
                if event.type == DELTA:
                    characters += len(event.delta)
                elif event.type == COMPLETED:
                    return characters

        yield run
