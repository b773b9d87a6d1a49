"""How the clients with a callback hand events to the one task that waits for them: a queue and one future."""

from __future__ import annotations

import asyncio
from collections import deque

from ._schema import Completed, Created, Delta


class Events:
    """What has arrived, for one consumer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[Created | Delta | Completed] = deque()
        self.take = self._events.append
        """What to call with each event; afterwards call :meth:`wake`."""
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the consumer, if it waits."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def characters(self) -> int:
        """Consume one turn: how many characters of text came."""
        events, characters = self._events, 0
        while True:
            if not events:
                self._waiter = self._loop.create_future()
                await self._waiter
            event = events.popleft()
            if type(event) is Delta:
                characters += len(event.delta)
            elif type(event) is Completed:
                return characters
