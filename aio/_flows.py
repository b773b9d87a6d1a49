"""How anyio runs the flows of the core, on asyncio and on trio (see ``turnwire.sansio.flow``).

The promise
    A flow's steps run in the task that awaits it, and no other task runs between two waits. Each wait has a cancel
    scope of its own, with the deadline and the shield that the flow asks for; a deadline that passes is
    ``ExpiredError`` in the flow, and a cancellation from outside passes through it as what it is. No decision is made
    here: which wait, how long, and what follows from it, the flow says.

Why three functions stand here and in ``trio_shell/_flows.py``
    Users get coroutine functions and asynchronous generators (``inspect.iscoroutinefunction`` says so), and only
    ``async def`` makes these. The core has none, and ``trio_shell`` imports neither this package nor anyio. Each
    function passes on to the core's :func:`~turnwire.sansio.flow.result_of` or
    :class:`~turnwire.sansio.flow.Runner`, which have the logic.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import wraps
from types import CoroutineType
from typing import Any, Final, ParamSpec, TypeVar

import anyio

from ..sansio.flow import FLOW, Emitting, Flow, Runner, result_of, scoped

__all__ = ["coroutine_function", "iterate", "run"]

P = ParamSpec("P")
T = TypeVar("T")

_within: Final = scoped(anyio.CancelScope)


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
