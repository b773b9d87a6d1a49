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
        self._tasks: set[asyncio.Task[Exception | None]] = set()

    async def run(self, cleanup: Callable[[], Coroutine[Any, Any, None]], *, wait: bool = True) -> None:
        """Do the clean-up, once, and wait for it; what it raises is raised.

        Cancelled meanwhile, or with ``wait=False``, it goes on: on asyncio the caller does not wait for it, and what it
        raises is logged.
        """
        if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
            _finish(await _bounded(cleanup), wait=wait)
            return
        task = asyncio.get_running_loop().create_task(_bounded(cleanup))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            error = await asyncio.shield(task) if wait else None
        except asyncio.CancelledError:
            wait = False
            raise
        finally:
            if not wait:
                task.add_done_callback(_log)
        _finish(error, wait=wait)

    async def aclose(self) -> None:
        """Wait for what was begun on this event loop."""
        loop = asyncio.get_running_loop() if self._tasks else None
        for task in list(self._tasks):
            if task.get_loop() is loop:
                await task


async def _bounded(cleanup: Callable[[], Awaitable[None]]) -> Exception | None:
    """Do it, whatever the state of the calling task; what it raised."""
    try:
        with anyio.move_on_after(BOUND, shield=True):
            await cleanup()
    except Exception as exc:
        return exc
    return None


def _finish(error: Exception | None, *, wait: bool) -> None:
    """Raise to a caller that waits; else log, without the text, which may hold data of the model's."""
    if error is not None and wait:
        raise error
    if error is not None:
        _LOGGER.debug("Closing a stream after its consumer was cancelled failed: %s", type(error).__name__)


def _log(task: asyncio.Task[Exception | None]) -> None:
    if not task.cancelled():
        _finish(task.result(), wait=False)
