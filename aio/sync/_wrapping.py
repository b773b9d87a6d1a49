"""How a class of ``turnwire.aio`` becomes one that blocks: its methods, called in the event loop's thread.

The promise
    A blocking class has the names, arguments, results and docstrings of the class that it stands for; it holds an
    object of that class and decides nothing itself. Each function below makes a method that blocks from one of these
    kinds: a coroutine function (:func:`waits`), a function that does not wait (:func:`does`), either of them with a
    result that has a blocking class of its own (:func:`makes`), an asynchronous generator (:func:`iterates`).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from functools import wraps
from types import CoroutineType
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from ._portal import Portal

# The functions below make methods.
# pyright: reportPrivateUsage=false

__all__ = ["Blocking", "Iteration", "does", "iterates", "like", "makes", "waits"]

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B", bound="Blocking[Any]")


class Blocking(Generic[A]):
    """An object of ``turnwire.aio``, used from any thread: ``class Turn(Blocking[aio.Turn], of=aio.Turn)``."""

    _of: ClassVar[type[Any]]

    def __init_subclass__(cls, *, of: type[Any]) -> None:
        """Take the docstrings of the class that it stands for."""
        cls._of = of
        cls.__doc__ = _blocking_words(of.__doc__)
        for name, member in vars(cls).items():
            if not name.startswith("_") and not inspect.getdoc(member):
                member.__doc__ = _blocking_words(getattr(of, name).__doc__)

    def __init__(self, portal: Portal, inner: A) -> None:
        self._portal = portal
        self._inner = inner

    def __repr__(self) -> str:
        return self._do(lambda: repr(self._inner)) if self._portal.usable else object.__repr__(self)

    def _wait(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call it in the event loop, and wait for what it returns."""
        return self._portal.run(lambda call: function())

    def _do(self, function: Callable[[], T]) -> T:
        """Call it in the event loop; it does not wait."""
        return self._portal.do(function)


def _blocking_words(text: str | None) -> str:
    """A docstring without the words that only an event loop needs."""
    words = text or ""
    for word, instead in _WORDS:
        words = words.replace(word, instead)
    return words


_WORDS = (
    ("async with ", "with "),
    ("async for ", "for "),
    ("await ", ""),
    ("contextlib.aclosing()", "contextlib.closing()"),
    ("aclose()", "close()"),
    (":meth:`aclose`", ":meth:`close`"),
)


def like(method: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: the name, signature and docstring of another method."""

    def decorate(function: Callable[..., Any]) -> Any:
        made: Any = wraps(method)(function)
        made.__doc__ = _blocking_words(method.__doc__)
        return made

    return decorate


def waits(method: Callable[Concatenate[Any, P], CoroutineType[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """A method that waits for the end of a coroutine."""

    @like(method)
    def called(self: Blocking[Any], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(lambda: method(self._inner, *args, **kwargs))

    return called


def does(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A method that does not wait."""

    @like(method)
    def called(self: Blocking[Any], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._do(lambda: method(self._inner, *args, **kwargs))

    return called


def makes(
    method: Callable[Concatenate[Any, P], Any], made: Callable[[Portal, Any], T]
) -> Callable[Concatenate[Any, P], T]:
    """A method whose result is wrapped by ``made``. It may be a coroutine function."""
    calling = waits if inspect.iscoroutinefunction(method) else does
    inner: Callable[..., Any] = calling(method)

    @like(method)
    def called(self: Blocking[Any], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return made(self._portal, inner(self, *args, **kwargs))

    signature = inspect.signature(method)
    called.__signature__ = signature.replace(return_annotation=made.__name__)
    return called


def iterates(method: Callable[Concatenate[Any, P], AsyncGenerator[T]]) -> Callable[Concatenate[Any, P], Iteration[T]]:
    """A method that returns an iterator."""
    inner: Callable[..., Any] = does(method)

    @like(method)
    def called(self: Blocking[Any], /, *args: P.args, **kwargs: P.kwargs) -> Iteration[T]:
        return Iteration(self._portal, inner(self, *args, **kwargs))

    return called


class Iteration(Iterator[T]):
    """What an asynchronous generator yields. It ends when it is closed, or when nobody refers to it any more."""

    def __init__(self, portal: Portal, inner: AsyncGenerator[T]) -> None:
        self._portal = portal
        self._inner = inner

    def __next__(self) -> T:
        try:
            return self._portal.run(lambda call: self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Leave it: what it has open is closed."""
        self._portal.start(self._inner.aclose)

    __del__ = close
