"""How trio runs the flows of the core (see ``turnwire.sansio.flow``).

The promise
    The same as in ``aio/_flows.py``, without anyio: a flow's steps run in the task that awaits it, and each wait has a
    cancel scope with the deadline and the shield that the flow asks for. No decision is made here.

Why three functions stand here and in ``aio/_flows.py``
    Only ``async def`` makes the coroutine functions and asynchronous generators that users get. The core has none, and
    nothing here imports ``aio`` or anyio. The logic is the core's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import wraps
from types import CoroutineType
from typing import Any, Final, ParamSpec, TypeVar

import trio

from ..sansio.flow import FLOW, Emitting, Flow, Runner, result_of, scoped

__all__ = ["coroutine_function", "iterate", "run"]

P = ParamSpec("P")
T = TypeVar("T")

_within: Final = scoped(trio.CancelScope)


async def run(flow: Flow[T]) -> T:
    """Run a flow to its end."""
    return await result_of(flow, _within)


def coroutine_function(method: Callable[P, Any]) -> Callable[P, CoroutineType[Any, Any, Any]]:
    """A coroutine function. Each call runs the flow that ``method`` returns, or returns another result at once."""

    @wraps(method)
    async def called(*args: P.args, **kwargs: P.kwargs) -> Any:
        result: Any = method(*args, **kwargs)
        return await result_of(result, _within) if type(result) is FLOW else result

    return called


async def iterate(flow: Emitting) -> AsyncGenerator[Any]:
    """Run a flow and yield what it emits. Hot path: runs once per event."""
    async with Runner(flow, _within) as runner:
        while (emitted := await runner.advance()) is not None:
            yield emitted.value
