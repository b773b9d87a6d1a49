"""What a shell must provide: what differs between event loops, and how a class gets it.

The promise
    The classes that users hold are written once, in the core. A shell derives its own from them, and names itself:
    ``class Session(client.Session, shell=SHELL)``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from types import CoroutineType
from typing import Any, Protocol, TypeVar

from .flow import Emitting, Flow, make_awaitable
from .runtime import SessionRuntime
from .session import EndpointSource, SessionOptions
from .toolloop import LoopShell
from .transports import Means, Network

__all__ = ["OnShell", "Shell"]

T = TypeVar("T")


class Shell(LoopShell, Protocol):
    """What differs between event loops."""

    @property
    def means(self) -> Means:
        """What it takes from the process."""
        ...

    @property
    def cancelled(self) -> type[BaseException]:
        """The exception class that is raised in a task that is cancelled."""
        ...

    def now(self) -> float:
        """The time of the running event loop, in seconds."""
        ...

    def token(self) -> Hashable:
        """An object that identifies the running event loop; tokens of different loops are not equal."""
        ...

    def run(self, flow: Flow[T]) -> CoroutineType[Any, Any, T]:
        """A coroutine that runs the flow."""
        ...

    def coroutine_function(self, method: Callable[..., Any]) -> Callable[..., CoroutineType[Any, Any, Any]]:
        """A function made with ``async def``, so that inspection shows a coroutine function.

        Each call runs the flow that ``method`` returns; if it returns anything else, the call returns that.
        """
        ...

    def iterate(self, flow: Emitting) -> AsyncGenerator[Any]:
        """An asynchronous generator that yields what the flow emits."""
        ...

    @property
    def runtime(self) -> Callable[[EndpointSource, Network, SessionOptions], SessionRuntime]:
        """Makes a new runtime, in the running event loop."""
        ...


class OnShell:
    """A class whose flows are run by a shell: ``class Session(client.Session, shell=SHELL)``.

    Such a class has the docstring of its base. Its :func:`~turnwire.sansio.flow.awaited` methods are coroutine
    functions.
    """

    _shell: Shell

    def __init_subclass__(cls, *, shell: Shell | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if shell is None:
            return
        cls._shell = shell
        cls.__doc__ = cls.__doc__ or cls.__mro__[1].__doc__
        make_awaitable(cls, shell.coroutine_function)
