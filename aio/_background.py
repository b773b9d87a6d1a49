"""Clean-up that a cancelled caller does not wait for, and that still has an owner.

On asyncio it is a task that the owner remembers, and awaits when it is closed. trio has no tasks outside of scopes, so
there, through anyio, the clean-up is shielded from the cancellation and bounded in time instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import anyio

__all__ = ["Background"]

BOUND: Final = 5.0
"""Seconds that a clean-up may take."""

_LOGGER: Final = logging.getLogger("turnwire")


class Background:
    """The clean-ups of one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, cleanup: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin the clean-up; on asyncio this returns at once, whatever the state of the calling task."""
        if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
            await _bounded(cleanup)
            return
        task = asyncio.get_running_loop().create_task(_bounded(cleanup))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Wait for what was begun on this event loop."""
        loop = asyncio.get_running_loop() if self._tasks else None
        for task in list(self._tasks):
            if task.get_loop() is loop:
                await task


async def _bounded(cleanup: Callable[[], Awaitable[None]]) -> None:
    try:
        with anyio.move_on_after(BOUND, shield=True):
            await cleanup()
    except Exception as exc:
        _LOGGER.debug("Closing a stream after its consumer was cancelled failed: %s", exc)
