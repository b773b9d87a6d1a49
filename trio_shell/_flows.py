"""How trio runs the flows of the core (see ``turnwire.sansio.flow``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import wraps
from math import inf
from types import CoroutineType, GeneratorType
from typing import Any, ParamSpec, TypeVar, cast

import trio

from ..sansio.flow import Emitting, ExpiredError, Flow, Steps, Wait, advance

__all__ = ["coroutine_function", "iterate", "run"]

P = ParamSpec("P")
T = TypeVar("T")


async def run(flow: Flow[T]) -> T:
    """Run a flow to its end."""
    steps = Steps(flow)
    await advance(steps, _within)
    return steps.result


def coroutine_function(method: Callable[P, Any]) -> Callable[P, CoroutineType[Any, Any, Any]]:
    """A coroutine function. Each call runs the flow that ``method`` returns, or returns another result at once."""

    @wraps(method)
    async def called(*args: P.args, **kwargs: P.kwargs) -> Any:
        given = method(*args, **kwargs)
        return (await run(cast("Flow[Any]", given))) if type(given) is GeneratorType else given

    return called


async def iterate(flow: Emitting) -> AsyncGenerator[Any]:
    """Run a flow and yield what it emits. Hot path: runs once per event."""
    steps = Steps(flow)
    while (emitted := await advance(steps, _within)) is not None:
        try:
            steps.succeeded((yield emitted.value))
        except BaseException as exc:
            steps.failed(exc)


async def _within(wait: Wait) -> Any:
    """Await it in a cancel scope of its own."""
    with trio.CancelScope(deadline=inf if wait.deadline is None else wait.deadline, shield=wait.shield):
        return await wait.start()
    raise ExpiredError
