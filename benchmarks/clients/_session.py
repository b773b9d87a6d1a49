"""turnwire's sessions, which have the same methods in every shell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from ..wire import DELTA
from . import Connect, RunTurn


def client_of(connect_session: Callable[[str], AbstractAsyncContextManager[Any]]) -> Connect:
    """A client that opens its sessions with this function."""

    @asynccontextmanager
    async def connect(base_url: str) -> AsyncIterator[RunTurn]:
        async with connect_session(base_url) as session:

            async def run(prompt: str) -> int:
                characters = 0
                async with session.create(model="gpt-5.4", input=prompt) as turn:
                    async for event in turn:
                        if event.type == DELTA:
                            characters += len(event.delta)
                return characters

            yield run

    return connect
