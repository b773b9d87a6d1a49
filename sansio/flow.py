"""Flows: what a call does and waits for, in order, as a plain generator that no event loop is needed for.

The promise
    A flow never waits itself. It yields a :class:`Wait`; whoever runs it awaits that and sends the result back, or
    throws in what was raised: also a cancellation. So ``try`` and ``finally`` mean in a flow what they mean in a
    coroutine, the order of waits is written once for all event loops, and a test can step through it.

What a flow yields, and what comes back

    =================== ============================================= ===============================================
    it yields           whoever runs it                               it goes on with
    =================== ============================================= ===============================================
    ``Wait(start)``     awaits ``start()``                            the result, or what was raised
    … ``deadline=…``    … until then; later it cancels the wait       the same, or :class:`ExpiredError`
    … ``shield=True``   … even if the caller is cancelled meanwhile   the same
    ``Emit(value)``     gives the value to the consumer               None; GeneratorExit if the consumer leaves
    =================== ============================================= ===============================================

    What a :data:`Flow` returns is the result of the call. An :data:`Emitting` one is run as an iterator.

How a flow is run
    Each shell has the same few lines around :class:`Steps`::

        steps = Steps(flow)
        while (step := steps.next()) is not None:
            try:
                steps.succeeded((yield step.value) if type(step) is Emit else await wait_for(step))
            except BaseException as exc:
                steps.failed(exc)
        return steps.result
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from types import CoroutineType
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, cast, final

__all__ = ["Awaited", "Emit", "Emitting", "ExpiredError", "Flow", "Steps", "Wait", "at_once", "awaited"]

P = ParamSpec("P")
T = TypeVar("T")
Y = TypeVar("Y")


class ExpiredError(Exception):
    """The deadline of a wait has passed. Thrown into the flow, and no further."""


@final
class Wait:
    """Something to wait for. It may be yielded again: each time, ``start`` is called for something to await."""

    __slots__ = ("deadline", "shield", "start", "unbounded")

    def __init__(
        self, start: Callable[[], Awaitable[Any]], *, deadline: float | None = None, shield: bool = False
    ) -> None:
        self.start = start
        self.deadline = deadline
        """When it is given up, in seconds of the event loop's clock."""
        self.shield = shield
        """The cancellation of the caller does not reach it."""
        self.unbounded = deadline is None and not shield
        """It can be awaited as it is. Hot path: a scope for its cancellation costs more than the rest."""


@final
class Emit:
    """A value for the consumer of an iterator."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


Flow: TypeAlias = Generator[Wait, Any, T]
"""A call that returns a T."""
Emitting: TypeAlias = Generator[Wait | Emit, Any, None]
"""A call that is iterated over."""


class Steps(Generic[Y, T]):
    """Steps through one flow. Call :meth:`next`; then :meth:`succeeded` or :meth:`failed`; and so on.

    Hot path: runs once or twice per event.
    """

    __slots__ = ("_flow", "_given", "_resume", "result")

    result: T
    """What the flow returned, once :meth:`next` has returned None."""

    def __init__(self, flow: Generator[Y, Any, T]) -> None:
        self._flow = flow
        self._resume: Callable[[Any], Y] = flow.send
        self._given: Any = None

    def next(self) -> Y | None:
        """What the flow yields next; None: it has returned. Raises what the flow raises."""
        given, self._given = self._given, None
        try:
            return self._resume(given)
        except StopIteration as end:
            self.result = end.value
            return None
        finally:
            del given  # It may be an exception, and this frame is in its traceback.

    def succeeded(self, value: Any) -> None:
        """What the flow waited for has come to this result."""
        self._resume = self._flow.send
        self._given = value

    def failed(self, error: BaseException) -> None:
        """What the flow waited for has raised this."""
        self._resume = self._flow.throw
        self._given = error


class Awaited:
    """A method that a shell makes a coroutine function of. See :func:`awaited` and :func:`at_once`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def made_by(self, coroutine_function: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
        """The coroutine function, with the docstring of the flow, and its signature, which tells what it returns."""
        made: Any = coroutine_function(self._function)
        signature = inspect.signature(self._function)
        returned = str(signature.return_annotation).removeprefix("Flow[").removesuffix("]")
        made.__signature__ = signature.replace(return_annotation=returned)
        return made


def awaited(function: Callable[P, Flow[T]]) -> Callable[P, CoroutineType[Any, Any, T]]:
    """Mark a method that is a flow, so that the classes of shells have a coroutine function of this name."""
    return cast("Callable[P, CoroutineType[Any, Any, T]]", Awaited(function))


def at_once(function: Callable[P, T]) -> Callable[P, CoroutineType[Any, Any, T]]:
    """Mark a method in the same way that waits for nothing, and so is no flow. Hot path: a turn is entered and left."""
    return cast("Callable[P, CoroutineType[Any, Any, T]]", Awaited(function))
