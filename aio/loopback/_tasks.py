"""Tasks that belong to no other task: plain tasks on asyncio, system tasks on trio.

Why not a task group
    A task group is left by the task that entered it, before any other that this task entered since. A server is started
    in one task and closed in another: by fixtures of pytest-asyncio, ``IsolatedAsyncioTestCase``, the cells of a
    notebook, the lifespan of a web application.

What is the same on both event loops
    A task has a cancel scope of its own, so cancelling it is anyio's cancelling: every await raises until it ends.
    Every task that was started begins, and cleans up, also when the event loop is ending. What it raises is logged, and
    ends neither the event loop nor another task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Final, TypeVarTuple

import anyio

__all__ = ["Tasks", "call_at_end_of_loop", "on_trio"]

_LOGGER: Final = logging.getLogger("turnwire.loopback")
_Ts = TypeVarTuple("_Ts")


def on_trio() -> bool:
    """Whether the event loop that runs is trio's."""
    return anyio.get_cancelled_exc_class() is not asyncio.CancelledError


class Tasks:
    """Several tasks that are cancelled and waited for together, from any task of their event loop.

    As an asynchronous context manager it cancels them on leaving, and waits for them.
    """

    def __init__(self) -> None:
        self._tasks: set[_Task] = set()
        self._cancelled = False
        self._none_left = anyio.Event()

    def start(self, run: Callable[[*_Ts], Awaitable[None]], *args: *_Ts) -> None:
        """Begin a task. After :meth:`cancel` it begins all the same, and is cancelled at its first await.

        Raises RuntimeError if a run of trio is over but for its asynchronous generators.
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
        """Cancel them all, and those that are started from now on."""
        self._cancelled = True
        for task in list(self._tasks):
            task.scope.cancel()

    async def wait(self) -> None:
        """Wait until all of them have ended."""
        while self._tasks:
            await self._none_left.wait()

    async def aclose(self) -> None:
        """Cancel them all, and wait until they have ended, whoever cancels the caller meanwhile."""
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


class _Task:
    """What a task is on both event loops."""

    def __init__(self, owner: Tasks, call: Callable[[], Awaitable[None]]) -> None:
        self.scope = anyio.CancelScope()
        self._owner = owner
        self._call = call
        self._begun = False

    def spawn(self) -> None:
        """Have the event loop run it."""
        raise NotImplementedError

    async def _run(self) -> None:
        self._begun = True
        with self.scope:
            try:
                await self._call()
            except Exception:
                with suppress(Exception):  # A logger's filters and handlers are the caller's code.
                    _LOGGER.exception("a task of the server failed")


class _AsyncioTask(_Task):
    """A plain task of asyncio's. KeyboardInterrupt and SystemExit leave through the event loop, as they always do."""

    def spawn(self) -> None:
        """Have the event loop run it."""
        asyncio.get_running_loop().create_task(self._run(), name="turnwire: loopback").add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not self._begun:
            # asyncio cancelled it before its first step, as it does when the event loop ends. What it would have
            # cleaned up, a socket say, is still there: let it begin, cancelled.
            self.scope.cancel()
            self.spawn()
            return
        if not task.cancelled():
            task.exception()  # Seen, so that asyncio does not log it once more.
        self._owner.ended(self)


class _TrioTask(_Task):
    """A system task of trio's: not interrupted by Ctrl-C, cancelled when the main task has ended, and never raising."""

    def spawn(self) -> None:
        """Have trio run it."""
        from trio.lowlevel import spawn_system_task

        spawn_system_task(self._guarded, name="turnwire: loopback", context=copy_context())

    async def _guarded(self) -> None:
        try:
            await self._run()
        except BaseException as exc:  # It would be a TrioInternalError, and the end of the whole run.
            if not isinstance(exc, anyio.get_cancelled_exc_class()):
                with suppress(BaseException):
                    _LOGGER.exception("a task of the server failed")
        finally:
            self._owner.ended(self)


async def call_at_end_of_loop(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Suspended, once begun, until ``loop.shutdown_asyncgens()`` closes it; then it calls ``close``.

    For asyncio's loops that are ended step by step: ``asyncio.run`` and its like cancel all tasks before. On trio the
    end of the run cancels system tasks.
    """
    try:
        yield
    finally:
        await close()
