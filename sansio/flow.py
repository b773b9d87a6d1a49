"""Flows: the steps and waits of a call, in order, as a plain generator that needs no event loop.

The promise
    A flow never waits itself. It yields a :class:`Wait`; its runner awaits that and sends the result back, or throws in
    the exception that was raised, including a cancellation. So ``try`` and ``finally`` work as in a coroutine, the
    order of waits is written once for all event loops, and a test can step through it.

What a flow yields, and what comes back

    =================== ============================================= ===============================================
    it yields           its runner                                    it goes on with
    =================== ============================================= ===============================================
    ``Wait(start)``     awaits ``start()``                            the result, or the exception
    … ``deadline=…``    cancels the wait at this time                 the same, or :class:`ExpiredError`
    … ``shield=True``   goes on even if the caller is cancelled       the same
    ``Emit(value)``     gives the value to the consumer               None; GeneratorExit if the consumer leaves
    =================== ============================================= ===============================================

    The return value of a :data:`Flow` is the result of the call. An :data:`Emitting` flow is run as an iterator.

How a flow is run
    :func:`result_of` runs a flow to its end, :func:`advance` up to its next emitted value. A shell makes of them what
    its users call: a coroutine for a call, an asynchronous generator for an iterator. It brings the one thing that
    differs between event loops: how to await something within a deadline, or shielded.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from math import inf
from types import CoroutineType, GeneratorType, coroutine
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, cast, final

__all__ = [
    "Awaited",
    "Emit",
    "Emitting",
    "ExpiredError",
    "Flow",
    "Steps",
    "Wait",
    "advance",
    "at_once",
    "awaited",
    "make_awaitable",
    "result_of",
]

P = ParamSpec("P")
T = TypeVar("T")
Y = TypeVar("Y")


class ExpiredError(Exception):
    """The deadline of a wait has passed. It is thrown into the flow and does not leave it."""


@final
class Wait:
    """Something to wait for. It may be yielded more than once: ``start`` is called each time."""

    __slots__ = ("deadline", "shield", "start", "unbounded")

    def __init__(
        self, start: Callable[[], Awaitable[Any]], *, deadline: float | None = None, shield: bool = False
    ) -> None:
        self.start = start
        self.deadline = inf if deadline is None else deadline
        """When to cancel the wait, in seconds of the event loop's clock; ``inf``: never."""
        self.shield = shield
        """Whether the wait goes on if the caller is cancelled."""
        self.unbounded = deadline is None and not shield
        """Whether it can be awaited directly. Hot path: a cancel scope would cost more than everything else."""


@final
class Emit:
    """A value for the consumer of an iterator."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


Flow: TypeAlias = Generator[Wait, Any, T]
"""A call that returns a T."""
Emitting: TypeAlias = Generator[Wait | Emit, Any, None]
"""A call that yields values to a consumer."""


class Steps(Generic[Y, T]):
    """Runs one flow step by step. Call :meth:`next`, then :meth:`succeeded` or :meth:`failed`, and repeat.

    Hot path: runs once or twice per event.
    """

    __slots__ = ("_flow", "_given", "_resume", "result")

    result: T
    """The flow's return value, after :meth:`next` has returned None."""

    def __init__(self, flow: Generator[Y, Any, T]) -> None:
        self._flow = flow
        self._resume: Callable[[Any], Y] = flow.send
        self._given: Any = None

    def next(self) -> Y | None:
        """The next value that the flow yields; None: the flow has returned. Raises what the flow raises."""
        given, self._given = self._given, None
        try:
            return self._resume(given)
        except StopIteration as end:
            self.result = end.value
            return None
        finally:
            del given  # It may be an exception whose traceback contains this frame.

    def succeeded(self, value: Any) -> None:
        """Send the flow the result of its wait."""
        self._resume = self._flow.send
        self._given = value

    def failed(self, error: BaseException) -> None:
        """Throw into the flow what its wait raised."""
        self._resume = self._flow.throw
        self._given = error

    def __enter__(self) -> None:
        """``with steps: yield value``: what the consumer of the value throws in goes into the flow."""
        self.succeeded(None)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Literal[True]:
        if error is not None:
            self.failed(error)
        return True


@coroutine
def advance(steps: Steps[Any, Any], within: Callable[[Wait], Awaitable[Any]]) -> Generator[Any, Any, Emit | None]:
    """Await the waits of a flow up to its next emitted value, which is returned; None: the flow has returned.

    ``within`` awaits a wait that has a deadline or a shield, and raises ExpiredError at the deadline. The consumer must
    take an emitted value within ``with steps``. Hot path: runs once per event.
    """
    while (step := steps.next()) is not None:
        if type(step) is Emit:
            return step
        try:
            steps.succeeded((yield from (step.start() if step.unbounded else within(step)).__await__()))
        except BaseException as exc:
            steps.failed(exc)
    return None


@coroutine
def result_of(given: Any, within: Callable[[Wait], Awaitable[Any]]) -> Generator[Any, Any, Any]:
    """Run a flow to its end and return its result. What is no flow is returned at once (:func:`at_once`)."""
    if type(given) is not GeneratorType:
        return given
    steps = Steps(cast("Flow[Any]", given))
    yield from cast("Generator[Any, Any, None]", advance(steps, within))  # It is a generator, too.
    return steps.result


class Awaited:
    """A method that becomes a coroutine function in a shell's class. See :func:`awaited` and :func:`at_once`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def made_by(self, coroutine_function: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
        """The coroutine function. It has the flow's docstring and a signature with the type of the result."""
        made: Any = coroutine_function(self._function)
        signature = inspect.signature(self._function)
        returned = str(signature.return_annotation).removeprefix("Flow[").removesuffix("]")
        made.__signature__ = signature.replace(return_annotation=returned)
        return made


def awaited(function: Callable[P, Flow[T]]) -> Callable[P, CoroutineType[Any, Any, T]]:
    """Decorator for a method that is a flow: classes of a shell get a coroutine function of the same name."""
    return cast("Callable[P, CoroutineType[Any, Any, T]]", Awaited(function))


def at_once(function: Callable[P, T]) -> Callable[P, CoroutineType[Any, Any, T]]:
    """The same decorator for a method that never waits, and so is not a flow. Hot path: runs once or twice per turn."""
    return cast("Callable[P, CoroutineType[Any, Any, T]]", Awaited(function))


def make_awaitable(cls: type[Any], coroutine_function: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Make the :class:`Awaited` methods of a shell's class coroutine functions, also the inherited ones."""
    for name in dir(cls):
        if isinstance(method := inspect.getattr_static(cls, name), Awaited):
            setattr(cls, name, method.made_by(coroutine_function))
