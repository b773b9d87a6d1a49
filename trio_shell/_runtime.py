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
    timer        sleeps until the time that the driver has set                       the session is closed
    ============ =================================================================== ==================================

    The first write of a message is made in the task that makes the driver's step, often that of the caller. Before a
    turn begins, its caller reads what has arrived and the connection's task has not read yet (:meth:`_caught_up`): it
    may be the end of the connection. A consumer takes the events of its turn from the turn. If there is none, it waits
    until the driver wakes it (:meth:`TrioRuntime.wake`).

What happens when a task fails
    Its connection fails. Nothing is raised into trio, where it would end the whole run. When the run ends, its system
    tasks are cancelled: then the driver closes everything, and no new task is started.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from math import inf
from typing import Any, Final

import trio
from trio.lowlevel import (
    Abort,
    Task,
    TrioToken,
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
from ..sansio.driver import Link, LinkState
from ..sansio.errors import TurnwireError
from ..sansio.events import ServerEvent
from ..sansio.lanes import AnyLane
from ..sansio.runtime import SessionRuntime
from ..sansio.session import EndpointSource, SessionOptions
from ..sansio.transports import Network
from ._flows import run
from ._transport import FAILURES, MEANS, TRANSPORT_ERRORS, Wire

__all__ = ["TrioRuntime"]

_LOGGER: Final = logging.getLogger("turnwire")

DRAIN: Final = 1.0
"""Seconds for which reading goes on after writing has failed: the server may have said why."""
CLEANUP: Final = 1.0
"""Seconds that tasks may take to end after they were cancelled. Only a key provider can take that long."""
READS: Final = 16
"""How many reads are made before a turn begins, at most. The data cannot belong to that turn."""


class _Waiter:
    """Lets one task wait until it is woken; a call of :meth:`wake` before :meth:`sleep` counts, too."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Task | None = None

    def wake(self) -> None:
        """Wake the task. If it does not wait now, its next :meth:`sleep` ends at once."""
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    def sleep(self) -> Awaitable[object]:
        """Wait until :meth:`wake`; await the result at once. Hot path: it needs no coroutine of its own."""
        self._task = current_task()
        return wait_task_rescheduled(self._abort)

    def _abort(self, raise_cancel: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED


def is_over(token: TrioToken) -> bool:
    """Whether that run of trio has ended."""
    try:
        token.run_sync_soon(lambda: None)
    except trio.RunFinishedError:
        return True
    return False


class TrioRuntime(SessionRuntime):
    """Runs one session in the run of trio in which it is made. All tasks of this run may use it.

    The first methods are for sessions, turns and models; the others are called by the driver
    (:class:`turnwire.sansio.driver.Runtime`).
    """

    _means = MEANS

    def __init__(self, source: EndpointSource, network: Network, options: SessionOptions) -> None:
        super().__init__(source, network, options)
        self._token = current_trio_token()
        self.now = current_clock().current_time
        """The function that ``trio.current_time()`` calls."""
        self._tasks = 0
        self._links: dict[Link, Wire] = {}
        """Links that have a task."""
        self._timer: trio.CancelScope | None = None
        self._when = inf
        self._leaving: list[_Waiter] = []
        """Tasks that wait for the end of all tasks."""

    @property
    def over(self) -> bool:
        """Whether the run of trio has ended, and everything with it."""
        return is_over(self._token)

    # -- the session

    @enable_ki_protection
    async def connect(self) -> None:
        """Open the first connection. Raises ConnectError, HandshakeRejectedError or another TurnError."""
        try:
            self._driver.connect(self.now())
            await self._until(lambda: not self._driver.connecting)
        except BaseException:
            await self.aclose(wait_for_peer=False)
            raise
        if self._driver.first_failure is not None:
            await self.aclose(wait_for_peer=False)
            raise self._driver.first_failure

    @enable_ki_protection
    async def aclose(self, *, wait_for_peer: bool = True) -> None:
        """End the session: turns in flight fail as aborted; an idle connection is closed with a closing handshake.

        ``wait_for_peer``: wait for the server's close frame, at most ``close_timeout``. If it is cancelled, it stops
        waiting. Afterwards the session has no task and no socket.
        """
        self._driver.close(self.now(), wait_for_peer=wait_for_peer)
        try:
            await self._no_tasks()
        finally:
            self._driver.abort(self.now())
            with trio.move_on_after(CLEANUP, shield=True):
                await self._no_tasks()

    @enable_ki_protection
    async def drain(self, timeout: float | None) -> None:
        """Let no more turns begin; end the session when the others have ended, or after so many seconds."""
        self._driver.drain(self.now(), timeout)
        await self._until(lambda: self._driver.drained)
        await self.aclose()

    async def _no_tasks(self) -> None:
        self._end_timer()
        while self._tasks:
            waiter = _Waiter()
            self._leaving.append(waiter)
            try:
                await waiter.sleep()
            finally:
                self._leaving.remove(waiter)

    async def _until(self, holds: Callable[[], bool]) -> None:
        waiter = _Waiter()
        self._driver.observe(waiter, holds)
        try:
            while not holds():
                await waiter.sleep()
        finally:
            self._driver.forget(waiter)

    def shutdown_threadsafe(self) -> None:
        """Shut the connections down, from any thread: both sides see them end, and a later turn opens new ones."""
        for wire in list(self._links.values()):
            if not wire.shut_down():
                with contextlib.suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(wire.scope.cancel)

    # -- turns

    @enable_ki_protection
    def create(self, body: Mapping[str, Any], lane: AnyLane, timeouts: object) -> Turn:
        """Begin a turn. Raises as ``ResponsesSession.create`` does; then nothing was sent."""
        return self._driver.create(body, lane=lane, timeouts=timeouts, now=self._caught_up())

    @enable_ki_protection
    def submit(self, turn: Turn) -> Turn:
        """Begin a turn that already exists. Raises as ``ResponsesSession.submit`` does."""
        return self._driver.submit(turn, self._caught_up())

    def _caught_up(self) -> float:
        """Read the data that has arrived, which cannot belong to the turn that now begins. Returns the present time."""
        several = len(self._links) > 1
        for link, wire in list(self._links.items()):
            # If there are several: read only idle ones, which may not have been read for a long time.
            if link.state is LinkState.OPEN and wire.readable() and not (several and not link.connection.idle):
                self._read_ahead(link, wire)
        return self.now()

    def _read_ahead(self, link: Link, wire: Wire) -> None:
        for _ in range(READS):
            if link.state is not LinkState.OPEN or link.connection.has_unprocessed or not self._read(link, wire):
                return

    @enable_ki_protection
    async def iterate(self, turn: Turn) -> ServerEvent:
        """The turn's next event, waiting for it. Raises StopAsyncIteration after the terminal one, or the failure.

        Hot path: runs once per event.
        """
        while not turn.events and turn.state is LIVE:
            waiter = _Waiter()
            self._driver.listen(turn, waiter, self.now)
            try:
                await waiter.sleep()
            except BaseException:
                self._driver.ignore(turn, waiter)
                raise
        event = turn.next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    @enable_ki_protection
    def cancel(self, turn: Turn) -> None:
        """The consumer leaves the turn."""
        self._driver.cancel(turn, self.now())

    # -- what the driver asks for

    def open(self, link: Link) -> None:
        """Start to open a transport."""
        wire = self._links[link] = Wire()
        self._spawn(self._connection, link, wire)

    def write(self, link: Link, data: bytes) -> bool:
        """Give bytes to the socket."""
        wire: Wire = link.transport
        if wire.send(data):
            return True
        self._go_on_writing(link, wire)
        return False

    def pause(self, link: Link) -> None:
        """Stop reading."""
        self._links[link].resumed = trio.Event()

    def resume(self, link: Link) -> None:
        """Read again."""
        wire = self._links[link]
        if wire.resumed is not None:
            wire.resumed.set()
        wire.resumed = None

    def close(self, link: Link, *, abort: bool) -> None:
        """End the connection's task, which closes the socket: at once, or without ``abort`` after all was written."""
        wire = self._links[link]
        wire.closing = True
        if abort or not wire.left_over:
            wire.scope.cancel()

    def set_timer(self, when: float | None) -> None:
        """Call ``time_came()`` at this time; None: never."""
        self._when = inf if when is None else when
        if self._timer is not None:
            self._timer.deadline = self._when
        elif when is not None:
            self._timer = trio.CancelScope(deadline=when)
            self._spawn(self._keep_time)

    def wake(self, waiter: _Waiter) -> None:
        """Wake a consumer."""
        waiter.wake()

    # -- tasks

    def _spawn(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task in the caller's context, so that a key provider can read its context variables."""
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
            self._driver.abort(self.now())
        except Exception:
            _LOGGER.exception("A session could not be closed")

    def _task_ended(self) -> None:
        self._tasks -= 1
        if not self._tasks:
            for waiter in self._leaving:
                waiter.wake()

    def _run_is_over(self) -> None:
        self._abort()
        self._task_ended()

    async def _keep_time(self) -> None:
        while not (self._session.closed and self._driver.done):
            scope = self._timer = trio.CancelScope(deadline=self._when)
            with scope:
                await trio.sleep_forever()
            if self._when <= self.now():
                self._when = inf
                await checkpoint()  # Data that has arrived is read before the deadline counts.
                self._driver.time_came(self.now())
        self._timer = None

    def _end_timer(self) -> None:
        """End the timer's task if there is nothing to time any more."""
        if self._timer is not None and self._session.closed and self._driver.done:
            self._timer.cancel()

    async def _connection(self, link: Link, wire: Wire) -> None:
        error: TurnwireError | None = None
        try:
            with wire.scope:
                await run(self._route.open(link, wire, self._driver.use_endpoint))
                link.transport = wire
                self._driver.opened(link, self.now())
                while True:  # Hot path: runs once per read, so it is inline and not a coroutine of its own.
                    await (checkpoint() if wire.ended else wait_readable(wire.sock))
                    if wire.resumed is not None:
                        await wire.resumed.wait()
                    else:
                        self._read(link, wire)
        except TurnwireError as exc:
            error = exc
        except BaseException:  # Abort before the driver is told of the loss; otherwise it would open a new connection.
            self._abort()
            raise
        finally:
            wire.close()
            self._lost(link, error or wire.broken)
            self._end_timer()

    def _lost(self, link: Link, error: TurnwireError | None) -> None:
        """Tell the driver that the link is lost, once."""
        if self._links.pop(link, None) is not None:
            self._driver.lost(link, error, self.now())

    def _read(self, link: Link, wire: Wire) -> bool:
        """Pass the data that has arrived to the driver. Returns whether there may be more."""
        try:
            data = wire.take()
        except TRANSPORT_ERRORS as exc:
            wire.scope.cancel()
            self._lost(link, FAILURES.translated(exc))
            return False
        if wire.blocked:
            self._go_on_writing(link, wire)
        if data is not None:
            self._driver.received(link, data, self.now())
        return bool(data)

    def _go_on_writing(self, link: Link, wire: Wire) -> None:
        """Part of the data could not be written: start a writer, or let the connection end."""
        if wire.broken is not None:
            wire.scope.deadline = min(wire.scope.deadline, self.now() + DRAIN)
        elif wire.left_over and not wire.writing:
            wire.writing = True
            self._spawn(self._write, link, wire)
        elif not wire.left_over and not wire.held:
            self._written(link, wire)

    async def _write(self, link: Link, wire: Wire) -> None:
        try:
            while wire.left_over:
                await wait_writable(wire.sock)
                wire.send_rest()
                if not wire.left_over:
                    self._written(link, wire)
        except TRANSPORT_ERRORS:  # It was closed in the meantime.
            pass
        finally:
            wire.writing = False

    def _written(self, link: Link, wire: Wire) -> None:
        """All data was written."""
        if wire.broken is not None:
            self._go_on_writing(link, wire)
        elif wire.closing:
            wire.scope.cancel()
        elif not wire.held:
            wire.blocked = False
            self._driver.writable(link, self.now())
