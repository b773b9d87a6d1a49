"""turnwire's anyio shell, on whichever event loop runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from turnwire.aio import connect as connect_session

from ..wire import DELTA, prompt
from . import RunTurn


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A session."""
    async with connect_session(base_url) as session:

        async def run(deltas: int) -> int:
            characters = 0
            async with session.create(model="gpt-5.4", input=prompt(deltas)) as turn:
                async for event in turn:
                    if event.type == DELTA:
                        characters += len(event.delta)
            return characters

        yield run
