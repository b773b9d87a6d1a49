"""Clean-up that a cancelled caller should not have to wait for, and that still has an owner.

trio has no tasks outside of scopes, so the clean-up is shielded from the cancellation and bounded in time. The anyio
shell's file of this name can do better on asyncio.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import trio

__all__ = ["Background"]

BOUND: Final = 5.0
"""Seconds that a clean-up may take."""

_LOGGER: Final = logging.getLogger("turnwire")


class Background:
    """The clean-ups of one owner."""

    async def run(self, cleanup: Callable[[], Coroutine[Any, Any, None]], *, wait: bool = True) -> None:
        """Do the clean-up, once, whatever the state of the calling task; what it raises is raised.

        With ``wait=False`` it is logged.
        """
        _finish(await _bounded(cleanup), wait=wait)

    async def aclose(self) -> None:
        """Nothing was left running."""


async def _bounded(cleanup: Callable[[], Awaitable[None]]) -> Exception | None:
    """Do it, whatever the state of the calling task; what it raised."""
    try:
        with trio.move_on_after(BOUND, shield=True):
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
