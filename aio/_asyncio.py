"""The runtime for asyncio: sockets, timer and futures of one session. The driver decides what to do with them.

Who reads
    asyncio. It calls :meth:`_Wire.data_received`, which passes the bytes to the driver; the driver wakes the consumers
    whose events came. No task exists while a connection is open. Before a turn begins, its caller reads what has
    arrived and asyncio has not read yet (:meth:`AsyncioRuntime.read`): it may be the end of the connection.

Who writes
    The driver, in whichever task makes the step, by calls of :meth:`AsyncioRuntime.write`, one chunk at a time: while
    the transport's own buffer is empty, and again when :meth:`_Wire.resume_writing` reports that it is empty again.

Who wakes
    A consumer that finds no event waits on a future. When its turn has something new, the driver calls
    :meth:`AsyncioRuntime.wake`. If the event loop has just read the data, the consumer's task goes on after the
    driver's step, in the same callback of the loop (:meth:`AsyncioRuntime.go_on`). Otherwise the future is completed,
    and the task goes on in the loop's next iteration.

Who opens
    A task. It is the only kind of task here, and it ends when the transport is open or has failed.

The order of opening, draining and closing is that of all runtimes (``sansio/runtime.py``).

Nothing of this belongs to the task that called. So a session may be opened in one task, used in others and closed in
yet another. If no task closes it, ``loop.shutdown_asyncgens()`` does, which ``asyncio.run`` calls at its end.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import warnings
from asyncio import Future
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from ..sansio.connection import LIVE, Turn
from ..sansio.events import Event
from ..sansio.link import READ_SIZE, Link
from ..sansio.runtime import SessionRuntime
from ..sansio.session import EndpointSource, SessionOptions
from ..sansio.transports import Network
from ._flows import coroutine_function, run
from ._opening import FAILURES, MEANS, OpeningSteps

__all__ = ["AsyncioRuntime"]


class AsyncioRuntime(SessionRuntime, coroutine_function=coroutine_function):
    """Runs one session in the running event loop."""

    _means = MEANS

    def __init__(self, source: EndpointSource, network: Network, options: SessionOptions) -> None:
        super().__init__(source, network, options)
        self.loop = asyncio.get_running_loop()
        self.clock = _clock_of(self.loop)
        self._timer: asyncio.Handle | None = None
        self.receiving = False
        """Whether the driver is given data by the event loop."""
        self.woken: list[Future[None]] = []
        """The consumers that it has woken since."""
        self._end: AsyncGenerator[None] | None = None
        """A generator that is suspended until the event loop closes its asynchronous generators."""

    # -- for the session

    @property
    def over(self) -> bool:
        """Whether the event loop has ended, and everything with it."""
        return self.loop.is_closed()

    async def iterate(self, turn: Turn) -> Event:
        """The turn's next event, waiting for it. Hot path: runs once per event, so it is written out in each shell."""
        while not turn.events and turn.state is LIVE:
            waiter: Future[None] = Future(loop=self.loop)
            self._driver.listen(turn, waiter, self.clock)
            try:
                await waiter
            except BaseException:
                self._driver.ignore(turn, waiter)
                raise
        event = turn.next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    def waiter(self) -> Future[None]:
        """A future."""
        return self.loop.create_future()

    async def let_go(self) -> None:
        """Wait for the sockets to close."""
        end, self._end = self._end, None
        if end is not None:
            await end.aclose()
        await run(self._until(lambda: self._driver.done))

    # -- the end of the event loop

    def _start_end(self) -> None:
        """Start a generator that the event loop will close at its end (:meth:`_until_the_end`)."""
        try:
            self._end = _begun(self._until_the_end())
        except ResourceWarning:  # Warnings are errors.
            self._start_end_again()

    def _start_end_again(self) -> None:
        """The same, although the loop has closed its generators before. It warns of that, but the caller has not."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self._end = _begun(self._until_the_end())

    async def _until_the_end(self) -> AsyncGenerator[None]:
        """Closed by ``loop.shutdown_asyncgens()``. If the loop runs on afterwards, a later turn opens a new connection.

        If the loop goes on, keep everything.
        """
        try:
            yield
        finally:
            if self._end is not None:
                self._end = None
                if self.loop_goes_on:
                    self._start_end_again()
                else:
                    self._driver.give_up(self.clock())
                    await run(self._until(lambda: self._driver.done))

    # -- for the driver

    def open(self, link: Link) -> None:
        """Start to open a transport. The end of the event loop closes it, if nobody else does."""
        if self._end is None:
            self._start_end()
        _Wire(self, link).start()

    def write(self, link: Link, data: bytes) -> bool:
        """Write bytes to the transport; return whether it has written all of them, so that its buffer is empty.

        Over TLS, asyncio only knows its own buffer, not the one below, which then holds at most one chunk.
        """
        transport: asyncio.Transport = link.wire.transport
        transport.write(data)
        return not transport.get_write_buffer_size() and not transport.is_closing()

    def set_timer(self, when: float | None) -> None:
        """Set the timer, or switch it off."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else self.loop.call_at(when, self._due)

    def wake(self, waiter: Future[None]) -> None:
        """Wake a consumer."""
        if self.receiving:
            self.woken.append(waiter)
        elif not waiter.done():
            waiter.set_result(None)

    def go_on(self) -> None:
        """Let the tasks of :attr:`woken` consumers go on now, in this callback of the loop.

        Hot path: a future would start the task in the loop's next iteration, so that each event cost two of them. The
        task's own step is the callback of its future. ``_callbacks`` is private (CPython 3.11 to 3.14, compiled and
        not); without it, or if there is another callback, the future is completed as usual.
        """
        woken, self.woken = self.woken, []
        for waiter in woken:
            callbacks: list[Any] | None = getattr(waiter, "_callbacks", None)
            if not callbacks or len(callbacks) > 1:
                self.wake(waiter)
                continue
            step, context = callbacks[0]
            waiter.remove_done_callback(step)
            waiter.set_result(None)
            try:
                context.run(step, waiter)
            except RuntimeError:  # Another task is running: data was read ahead within its step.
                self.loop.call_soon(step, waiter, context=context)
            except BaseException:  # Ctrl-C, or sys.exit(), in the task. The others go on as usual.
                for other in woken:
                    self.wake(other)
                raise

    def read(self, link: Link) -> bool:
        """Read once, although the transport reads the socket, too."""
        sock: socket.socket = link.wire.sock
        try:
            if link.wire.tls is not None:
                link.wire.read_tls(sock, link.wire.tls)
            elif (data := sock.recv(READ_SIZE)) or not link.wire.transport.is_closing():  # Its own end says more.
                self._driver.received(link, data, self.clock())
        except OSError:  # There is no more data (BlockingIOError), or the transport will report the error.
            return False
        return True

    def shut_down(self, link: Link) -> None:
        """Shut the socket down in both directions, independent of the event loop."""
        if link.wire.sock is not None:
            with suppress(OSError):
                link.wire.sock.shutdown(socket.SHUT_RDWR)

    def _due(self, rounds: int = 2) -> None:
        """The timer has fired. Let the loop read its sockets once more before the deadline counts: uvloop has not done
        so, and it needs two rounds."""
        if rounds:
            self._timer = self.loop.call_soon(self._due, rounds - 1)
        else:
            self._timer = None
            self._driver.time_came(self.clock())


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The function that returns the loop's time. asyncio's own loops wrap ``time.monotonic`` in a Python function."""
    return monotonic if getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time else loop.time


def _begun(generator: AsyncGenerator[None]) -> AsyncGenerator[None]:
    """Run a generator up to its first ``yield``; it awaits nothing before that."""
    with suppress(StopIteration):
        generator.__anext__().send(None)
    return generator


class _Wire(asyncio.Protocol):
    """The transport of a link. At first a task opens it; then this object is the protocol of the asyncio transport."""

    transport: asyncio.Transport
    """Set when it is open."""
    _task: asyncio.Task[None]
    """It opens the transport."""

    def __init__(self, runtime: AsyncioRuntime, link: Link) -> None:
        self._runtime = runtime
        self._driver = runtime._driver  # pyright: ignore[reportPrivateUsage] - the wire is a part of the runtime
        self._link = link
        self.sock: socket.socket | None = None
        self._arrived: select.poll | None = None
        """Says whether the socket can be read; None if it must not be read directly."""
        self._given_up = False
        """Whether it was closed before it was open."""
        self.tls: asyncio.BufferedProtocol | None = None
        """The TLS protocol that reads from the socket; None without TLS."""

    # -- while it is being opened

    def start(self) -> None:
        """Start to open the transport."""
        self._link.wire = self
        self._task = self._runtime.loop.create_task(self._open(), name="turnwire: open a connection")
        self._task.add_done_callback(self._ended)

    async def _open(self) -> None:
        opening = OpeningSteps()
        try:
            await run(self._runtime.route.open(self._link, opening))
            if not self._given_up:
                self._use(opening)
        finally:
            if self.sock is None:
                opening.abort()

    def _use(self, opening: OpeningSteps) -> None:
        """The transport is open: read, and report it."""
        self.transport, self.sock, self.tls = opening.transport, opening.socket, opening.tls
        if sys.platform != "win32" and hasattr(select, "poll"):  # Windows' proactor always has a pending read.
            self._arrived = select.poll()
            self._arrived.register(self.sock, select.POLLIN)
        self.transport.set_protocol(self)
        self._driver.opened(self._link, self._runtime.clock())
        while not opening.early.data.empty():
            self.data_received(opening.early.data.get_nowait())
        if opening.early.lost:
            self.connection_lost(opening.early.error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The task has ended. Report a loss if it has not opened a transport."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.sock is None:
            self._lost(error)
        elif error is not None:  # The transport is open, but the task failed afterwards.
            self.transport.abort()

    # -- for the runtime

    def pause(self) -> None:
        """Stop reading."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self.transport.resume_reading()

    def readable(self) -> bool:
        """Whether the socket can be read, and may be."""
        return self._arrived is not None and bool(self._arrived.poll(0))

    def close(self, *, abort: bool) -> None:
        """Close the transport; :meth:`connection_lost` follows. If it is still being opened, cancel that."""
        if self.sock is None:
            if self._given_up:
                self._runtime.loop.call_soon(self._lost, None)
            self._given_up = True
            self._task.cancel()
        elif abort or not self.transport.get_write_buffer_size():
            self.transport.abort()  # Without TLS's close_notify, as is usual: WebSocket has its own close frame.
        else:
            self.transport.close()

    def read_tls(self, sock: socket.socket, tls: asyncio.BufferedProtocol) -> None:
        """Read as the transport does when data arrives. Its protocol is asyncio's own TLS protocol."""
        count = sock.recv_into(tls.get_buffer(READ_SIZE))
        if count:
            tls.buffer_updated(count)
        else:
            tls.eof_received()
        if not count or self.transport.is_closing():  # uvloop reports the end of TLS later.
            self._driver.received(self._link, b"", self._runtime.clock())

    # -- for asyncio

    def data_received(self, data: bytes) -> None:
        """Hot path: runs once per read."""
        runtime = self._runtime
        runtime.receiving = True
        try:
            self._driver.received(self._link, data, runtime.clock())
        finally:
            runtime.receiving = False
            if runtime.woken:
                runtime.go_on()

    def eof_received(self) -> None:
        """The peer has ended its side; the transport then closes itself."""
        self._driver.received(self._link, b"", self._runtime.clock())

    def resume_writing(self) -> None:
        """The transport's buffer is empty again."""
        self._driver.writable(self._link, self._runtime.clock())

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed. If writing failed, read first: the peer may have said why it closed."""
        if exc is not None and self.tls is None:
            self._runtime.read_ahead(self._link)
        self._lost(exc)

    def _lost(self, exc: BaseException | None) -> None:
        self._driver.lost(self._link, FAILURES.told(exc), self._runtime.clock())
