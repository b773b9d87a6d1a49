"""How anyio runs the flows of the core, on asyncio and on trio (see ``turnwire.sansio.flow``).

The promise
    A flow's steps run in the task that awaits it, and no other task runs between two waits. Each wait has a cancel
    scope of its own, with the deadline and the shield that the flow asks for; a deadline that passes is
    ``ExpiredError`` in the flow, and a cancellation from outside passes through it as what it is. No decision is made
    here: which wait, how long, and what follows from it, the flow says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import wraps
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

import anyio

from ..sansio.flow import FLOW, Emitting, ExpiredError, Flow, Runner, Wait, result_of

__all__ = ["coroutine_function", "iterate", "run"]

P = ParamSpec("P")
T = TypeVar("T")


async def _within(wait: Wait) -> Any:
    """Await it in a cancel scope of its own."""
    with anyio.CancelScope(deadline=wait.deadline, shield=wait.shield):
        return await wait.start()
    raise ExpiredError


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
