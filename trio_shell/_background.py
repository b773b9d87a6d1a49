"""Clean-up that a cancelled caller should not have to wait for, and that still has an owner.

trio has no tasks outside of scopes, so the clean-up is shielded from the cancellation and bounded in time. The anyio
shell's file of this name can do better on asyncio.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import trio

__all__ = ["Background"]

BOUND: Final = 5.0
"""Seconds that a clean-up may take."""

_LOGGER: Final = logging.getLogger("turnwire")


class Background:
    """The clean-ups of one owner."""

    async def run(self, cleanup: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the clean-up, whatever the state of the calling task; what it raises is logged."""
        try:
            with trio.move_on_after(BOUND) as scope:
                scope.shield = True
                await cleanup()
        except Exception as exc:
            _LOGGER.debug("Closing a stream after its consumer was cancelled failed: %s", exc)

    async def aclose(self) -> None:
        """Nothing was left running."""
