"""Tasks that belong to no other task: plain tasks on asyncio, system tasks on trio.

Why not a task group
    Only the task that entered a task group can leave it, and it has to leave first those that it entered later. A
    server is started in one task and closed in another by fixtures of pytest-asyncio, by ``IsolatedAsyncioTestCase``,
    by the cells of a notebook, and by the lifespan of a web application.

What is the same on both event loops
    Each task has a cancel scope of its own. So it is cancelled as anyio cancels: every await raises until the task
    ends. Every task that was started begins, and cleans up, even if the event loop is ending. An exception in a task is
    logged, and ends neither the event loop nor another task.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Final, TypeVarTuple

import anyio

__all__ = ["Tasks", "call_at_end_of_loop", "on_trio"]

_LOGGER: Final = logging.getLogger("turnwire.loopback")
_Ts = TypeVarTuple("_Ts")


def on_trio() -> bool:
    """Whether the running event loop is trio's."""
    return anyio.get_cancelled_exc_class() is not asyncio.CancelledError


class Tasks:
    """Several tasks, which any task of their event loop can cancel, and wait for, together.

    At the end of ``async with`` they are cancelled and waited for.
    """

    def __init__(self) -> None:
        self._tasks: set[_Task] = set()
        self._cancelled = False
        self._none_left = anyio.Event()

    def start(self, run: Callable[[*_Ts], Awaitable[None]], *args: *_Ts) -> None:
        """Start a task that runs ``run(*args)``. After :meth:`cancel`, it starts and is cancelled at its first await.

        Raises RuntimeError at the very end of a trio run, when only asynchronous generators are still being closed.
        """

        async def call() -> None:
            await run(*args)

        task = _TrioTask(self, call) if on_trio() else _AsyncioTask(self, call)
        if self._cancelled:
            task.scope.cancel()
        if not self._tasks:
            self._none_left = anyio.Event()
        self._tasks.add(task)
        try:
            task.spawn()
        except BaseException:
            self._tasks.discard(task)
            raise

    def cancel(self) -> None:
        """Cancel all tasks, also those that are started later."""
        self._cancelled = True
        for task in list(self._tasks):
            task.scope.cancel()

    async def wait(self) -> None:
        """Wait until all tasks have ended."""
        while self._tasks:
            await self._none_left.wait()

    async def aclose(self) -> None:
        """Cancel all tasks and wait until they have ended, also if the caller is cancelled meanwhile."""
        self.cancel()
        with anyio.CancelScope(shield=True):
            await self.wait()

    async def __aenter__(self) -> Tasks:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def ended(self, task: _Task) -> None:
        """Called by a task at its end."""
        self._tasks.discard(task)
        if not self._tasks:
            self._none_left.set()


class _Task(ABC):
    """One task; what is the same on both event loops."""

    def __init__(self, owner: Tasks, call: Callable[[], Awaitable[None]]) -> None:
        self.scope = anyio.CancelScope()
        self._owner = owner
        self._call = call
        self._begun = False

    @abstractmethod
    def spawn(self) -> None:
        """Give the task to the event loop."""

    async def _run(self) -> None:
        self._begun = True
        with self.scope:
            try:
                await self._call()
            except Exception:
                with suppress(Exception):  # A logger's filters and handlers are the caller's code.
                    _LOGGER.exception("a task of the server failed")


class _AsyncioTask(_Task):
    """A plain asyncio task. KeyboardInterrupt and SystemExit in it end the event loop, as in any task."""

    def spawn(self) -> None:
        """Give the task to the event loop."""
        asyncio.get_running_loop().create_task(self._run(), name="turnwire: loopback").add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not self._begun:
            # asyncio cancelled it before its first step, as it does when the event loop ends. It may have something to
            # clean up, a socket for example: so start it, cancelled.
            self.scope.cancel()
            self.spawn()
            return
        if not task.cancelled():
            task.exception()  # Retrieved, so that asyncio does not log it again.
        self._owner.ended(self)


class _TrioTask(_Task):
    """A system task of trio: Ctrl-C does not interrupt it, and the end of the main task cancels it. Never raises."""

    def spawn(self) -> None:
        """Give the task to trio."""
        from trio.lowlevel import spawn_system_task

        spawn_system_task(self._guarded, name="turnwire: loopback", context=copy_context())

    async def _guarded(self) -> None:
        try:
            await self._run()
        except BaseException as exc:  # From a system task it would end the whole run, with TrioInternalError.
            if not isinstance(exc, anyio.get_cancelled_exc_class()):
                with suppress(BaseException):
                    _LOGGER.exception("a task of the server failed")
        finally:
            self._owner.ended(self)


async def call_at_end_of_loop(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """A generator that, once started, waits until ``loop.shutdown_asyncgens()`` closes it, and then calls ``close``.

    For asyncio loops that are driven by ``run_until_complete``: no one cancels their tasks, as ``asyncio.run`` does.
    On trio the end of the run cancels system tasks.
    """
    try:
        yield
    finally:
        await close()
