"""Waiting for what a test cannot be told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio


async def until(condition: Callable[[], object]) -> None:
    """Until it holds. It may take as long as the test may."""
    while not condition():
        await anyio.sleep(0.001)


async def until_disconnected(session: Any) -> None:
    """Until a session has noticed that its connection has ended."""
    await until(lambda: not session._runtime._driver._links)
