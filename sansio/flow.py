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
    :func:`result_of` runs a flow to its end, a :class:`Runner` up to its next emitted value. A shell makes of them what
    its users call: a coroutine for a call, an asynchronous generator for an iterator. It brings the one thing that
    differs between event loops: the cancel scope with a deadline or a shield in which :func:`scoped` awaits a wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from functools import partial, wraps
from math import inf
from types import CoroutineType, GeneratorType, coroutine
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeAlias, TypeVar, cast, final

from .secret import discreet

__all__ = [
    "FLOW",
    "Awaited",
    "Emit",
    "Emitting",
    "ExpiredError",
    "Flow",
    "Runner",
    "Steps",
    "Wait",
    "at_once",
    "awaited",
    "bound",
    "call_hook",
    "make_awaitable",
    "result_of",
    "scoped",
]

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
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
FLOW: Final[Any] = GeneratorType
"""The type of every flow at run time."""
Emitting: TypeAlias = Generator[Wait | Emit, Any, None]
"""A call that yields values to a consumer."""
CancelScope: TypeAlias = Callable[..., AbstractContextManager[Any]]
"""``anyio.CancelScope`` or ``trio.CancelScope``: takes ``deadline`` and ``shield``."""


class Steps(Generic[Y, T]):
    """Runs one flow step by step. Call :meth:`next`, then :meth:`succeeded` or :meth:`failed`, and repeat.

    Without either, the flow goes on with None, as it does after an emitted value.

    Hot path: runs once or twice per event.
    """

    __slots__ = ("_flow", "_given", "_resume", "result", "send")

    result: T
    """The flow's return value, after :meth:`next` has returned None."""

    def __init__(self, flow: Generator[Y, Any, T]) -> None:
        self._flow = flow
        self.send: Callable[[Any], Y] = flow.send
        self._resume = self.send
        self._given: Any = None

    def next(self) -> Y | None:
        """The next value that the flow yields; None: the flow has returned. Raises what the flow raises."""
        resume, given = self._resume, self._given
        self._resume, self._given = self.send, None
        try:
            return resume(given)
        except StopIteration as end:
            self.result = end.value
            return None
        finally:
            del given  # It may be an exception whose traceback contains this frame.

    def succeeded(self, value: Any) -> None:
        """Send the flow the result of its wait."""
        self._given = value

    def failed(self, error: BaseException) -> None:
        """Throw into the flow what its wait raised."""
        self._resume = self._flow.throw
        self._given = error


@final
class Runner(Steps[Y, T]):
    """Awaits the waits of a flow.

    ``within`` awaits a wait that has a deadline or a shield, and raises ExpiredError at the deadline.
    """

    __slots__ = ("within",)

    def __init__(self, flow: Generator[Y, Any, T], within: Callable[[Wait], Awaitable[Any]]) -> None:
        super().__init__(flow)
        self.within = within

    @coroutine
    def advance(self) -> Generator[Any, Any, Emit | None]:
        """Go on to the next emitted value, which is returned; None: the flow has returned. Hot path: once per event."""
        while (step := self.next()) is not None:
            if type(step) is Emit:
                return step
            wait: Any = step
            try:
                self.succeeded((yield from (wait.start() if wait.unbounded else self.within(wait)).__await__()))
            except BaseException as exc:
                self.failed(exc)
        return None

    @coroutine
    def __aenter__(self) -> Generator[Any, Any, Self]:
        """``async with``: a flow whose values have a consumer. What the consumer throws in goes into the flow."""
        yield from ()
        return self

    @coroutine
    def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> Generator[Any, Any, None]:
        if error is not None:
            self.failed(error)
            del error, traceback  # They refer to this frame.
            yield from cast("Generator[Any, Any, None]", self.advance())


@coroutine
def result_of(flow: Flow[Any], within: Callable[[Wait], Awaitable[Any]]) -> Generator[Any, Any, Any]:
    """Run a flow to its end and return its result."""
    runner = Runner(flow, within)
    yield from cast("Generator[Any, Any, None]", runner.advance())
    return runner.result


class Scoped:
    """A wait in a cancel scope of its own. Awaiting it raises ExpiredError when its deadline has passed."""

    __slots__ = ("_cancel_scope", "_wait")

    def __init__(self, cancel_scope: CancelScope, wait: Wait) -> None:
        self._cancel_scope = cancel_scope
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, Any]:
        with self._cancel_scope(deadline=self._wait.deadline, shield=self._wait.shield):
            return (yield from self._wait.start().__await__())
        raise ExpiredError


def scoped(cancel_scope: CancelScope) -> Callable[[Wait], Scoped]:
    """How a :class:`Runner` awaits a wait that has a deadline or a shield. ``cancel_scope``: the class of the shell's
    library, which absorbs its own cancellation when the deadline has passed."""
    return partial(Scoped, cancel_scope)


def call_hook(hook: Callable[..., Any], *args: Any) -> Flow[Any]:
    """Call a function of the caller's, ``async`` or not, and return its result."""
    result = hook(*args)
    return (yield Wait(lambda: result)) if inspect.isawaitable(result) else result


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


def bound(function: Callable[Concatenate[A, P], R], first: A) -> Callable[P, R]:
    """The function with its first argument given. It has the docstring, and the signature of the other arguments."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(first, *args, **kwargs)

    bare = discreet(called)
    signature = inspect.signature(function)
    bare.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return bare
