"""The runtime for trio: sockets, timer and waiting tasks of one session. The driver decides what to do with them.

Who reads, who writes, who wakes
    All tasks are system tasks of trio. They belong to no scope: a session may be opened in one task and closed in
    another, and a task that is cancelled only cancels its own wait.

    ============ =================================================================== ==================================
    task         what it does                                                        until
    ============ =================================================================== ==================================
    connection   opens the transport; then passes the data of each read to the       the transport is closed; it reports
                 driver, which wakes the consumers whose events came                 this to the driver, once
    writer       writes to the socket what the socket did not take at once           the socket has taken everything
    timer        sleeps until the time that the driver has set                       there is no such time
    ============ =================================================================== ==================================

    The first write of a message is made in the task that makes the driver's step, often that of the caller. Before a
    turn begins, its caller reads what has arrived and that task has not read yet (:meth:`TrioRuntime.read`): it may be
    the end of the connection. A consumer takes the events of its turn from the turn. If there is none, it
    waits until the driver wakes it (:meth:`TrioRuntime.wake`).

    The order of opening, draining and closing is that of all runtimes (``sansio/runtime.py``).

What happens when a task fails
    Its connection fails. Nothing is raised into trio, where it would end the whole run. When the run ends, its system
    tasks are cancelled: then the driver closes everything, and no new task is started.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator
from contextvars import copy_context
from functools import wraps
from math import inf
from types import CoroutineType
from typing import Any, Final, ParamSpec

import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    current_clock,
    current_task,
    current_trio_token,
    enable_ki_protection,
    reschedule,
    spawn_system_task,
    wait_readable,
    wait_task_rescheduled,
    wait_writable,
)

from ..sansio.connection import LIVE, Turn
from ..sansio.driver import Link
from ..sansio.errors import TurnwireError
from ..sansio.events import Event
from ..sansio.runtime import SessionRuntime
from ..sansio.session import EndpointSource, SessionOptions
from ..sansio.transports import Network
from ._flows import coroutine_function, run
from ._transport import FAILURES, MEANS, TRANSPORT_ERRORS, Wire

__all__ = ["TrioRuntime"]

_LOGGER: Final = logging.getLogger("turnwire")

LAST_READS: Final = 1.0
"""Seconds for which reading goes on after writing has failed: the server may have said why."""
P = ParamSpec("P")


class _Waiter:
    """Lets a task wait until it is woken."""

    __slots__ = ("task",)

    def __init__(self, task: Task) -> None:
        self.task: Task | None = task
        """The task that waits; None: not any more."""

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait until :meth:`TrioRuntime.wake`."""
        return wait_task_rescheduled(self.abort).__await__()

    def abort(self, raise_cancel: object) -> Abort:
        """The task is cancelled."""
        self.task = None
        return Abort.SUCCEEDED


def _uninterrupted(method: Callable[P, Any]) -> Callable[P, CoroutineType[Any, Any, Any]]:
    """A coroutine function. A Ctrl-C does not interrupt it, except where it waits."""
    inner = coroutine_function(method)

    @wraps(inner)
    @enable_ki_protection
    async def called(*args: P.args, **kwargs: P.kwargs) -> Any:
        return await inner(*args, **kwargs)

    return called


for step in (SessionRuntime.create, SessionRuntime.submit, SessionRuntime.cancel):
    enable_ki_protection(step)  # It changes nothing in the function: trio remembers its code.


class TrioRuntime(SessionRuntime, coroutine_function=_uninterrupted):
    """Runs one session in the run of trio in which it is made. All tasks of this run may use it."""

    _means = MEANS

    def __init__(self, source: EndpointSource, network: Network, options: SessionOptions) -> None:
        super().__init__(source, network, options)
        self._token = current_trio_token()
        self.clock = current_clock().current_time  # The function that trio.current_time() calls.
        self._tasks = 0
        self._idle = trio.Event()
        """Set at the end of the last task."""
        self._timer: trio.CancelScope | None = None
        self._when = inf

    @property
    def over(self) -> bool:
        """Whether the run of trio has ended, and everything with it."""
        try:
            self._token.run_sync_soon(lambda: None)
        except trio.RunFinishedError:
            return True
        return False

    @enable_ki_protection
    async def iterate(self, turn: Turn) -> Event:
        """The turn's next event, waiting for it. Hot path: runs once per event, so it is written out in each shell."""
        while not turn.events and turn.state is LIVE:
            waiter = _Waiter(current_task())
            self._driver.listen(turn, waiter, self.clock)
            try:
                await wait_task_rescheduled(waiter.abort)
            except BaseException:
                self._driver.ignore(turn, waiter)
                raise
        event = turn.next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    def waiter(self) -> _Waiter:
        """One for the current task."""
        return _Waiter(current_task())

    async def let_go(self) -> None:
        """Wait for the end of all tasks."""
        while self._tasks:
            await self._idle.wait()

    # -- what the driver asks for

    def open(self, link: Link) -> None:
        """Start to open a transport."""
        link.wire = Wire()
        self._spawn(self._connection, link, link.wire)

    def write(self, link: Link, data: bytes) -> bool:
        """Give bytes to the socket."""
        link.wire.send(data)
        return self._after_writing(link, link.wire)

    def set_timer(self, when: float | None) -> None:
        """Call ``time_came()`` at this time; None: never."""
        self._when = inf if when is None else when
        if self._timer is None:
            self._timer = trio.CancelScope()
            self._spawn(self._keep_time)
        self._timer.deadline = -inf if when is None else when

    def wake(self, waiter: _Waiter) -> None:
        """Wake a consumer, if it waits."""
        task, waiter.task = waiter.task, None
        if task is not None:
            reschedule(task)

    def shut_down(self, link: Link) -> None:
        """Shut the socket down, or cancel the opening."""
        if not link.wire.shut_down():
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(link.wire.scope.cancel)

    # -- tasks

    def _spawn(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task in the caller's context, so that a key provider can read its context variables."""
        if not self._tasks:
            self._idle = trio.Event()
        self._tasks += 1
        try:
            spawn_system_task(
                self._task, run, *args, name=f"turnwire.{run.__name__.strip('_')}", context=copy_context()
            )
        except RuntimeError:  # The run has ended, except for its asynchronous generators.
            self._token.run_sync_soon(self._run_is_over)

    async def _task(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task. Its exceptions are not raised into trio, where they would end the whole run."""
        try:
            await run(*args)
        except Exception:
            _LOGGER.exception("A task of a session failed, and the session is closed")
            self._abort()
        except BaseException:  # trio cancelled it: the run is ending, so open nothing new.
            self._abort()
        self._task_ended()

    def _abort(self) -> None:
        try:
            self._driver.abort(self.clock())
        except Exception:
            _LOGGER.exception("A session could not be closed")

    def _task_ended(self) -> None:
        self._tasks -= 1
        if not self._tasks:
            self._idle.set()

    def _run_is_over(self) -> None:
        self._abort()
        self._task_ended()

    async def _keep_time(self) -> None:
        while self._when < inf:
            self._timer = trio.CancelScope(deadline=self._when)
            with self._timer:
                await trio.sleep_forever()
            if self._when <= self.clock():
                self._when = inf
                await checkpoint()  # Data that has arrived is read before the deadline counts.
                self._driver.time_came(self.clock())
        self._timer = None

    async def _connection(self, link: Link, wire: Wire) -> None:
        error: TurnwireError | None = None
        try:
            with wire.scope:
                await run(self.route.open(link, wire))
                self._driver.opened(link, self.clock())
                while True:  # Hot path: runs once per read, so it is inline and not a coroutine of its own.
                    await (checkpoint() if wire.ended else wait_readable(wire.sock))
                    if wire.resumed is not None:
                        await wire.resumed.wait()
                    else:
                        self.read(link)
        except TurnwireError as exc:
            error = exc
        except BaseException:  # Abort before the driver is told of the loss; otherwise it would open a new connection.
            self._abort()
            raise
        finally:
            wire.end()
            self._driver.lost(link, error or wire.broken, self.clock())

    def read(self, link: Link) -> bool:
        """Pass the data that has arrived to the driver."""
        wire: Wire = link.wire
        blocked = wire.tls.waits_for_peer
        try:
            data = wire.take()
        except TRANSPORT_ERRORS as exc:
            wire.scope.cancel()
            self._driver.lost(link, FAILURES.translated(exc), self.clock())
            return False
        if blocked and self._after_writing(link, wire):
            self._driver.writable(link, self.clock())
        if data is not None:
            self._driver.received(link, data, self.clock())
        return bool(data)

    def _after_writing(self, link: Link, wire: Wire) -> bool:
        """Whether all data was written. If not, start a writer, or let the connection end."""
        if wire.broken is not None:
            wire.scope.deadline = min(wire.scope.deadline, self.clock() + LAST_READS)
        elif wire.unsent:
            if not wire.writing:
                wire.writing = True
                self._spawn(self._write, link, wire)
        elif wire.closing:
            wire.scope.cancel()
        else:
            return not wire.tls.waits_for_peer
        return False

    async def _write(self, link: Link, wire: Wire) -> None:
        with contextlib.suppress(*TRANSPORT_ERRORS):  # It was closed in the meantime.
            while wire.unsent:
                await wait_writable(wire.sock)
                wire.send(b"")
                if self._after_writing(link, wire):
                    self._driver.writable(link, self.clock())
        wire.writing = False
