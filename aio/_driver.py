"""The anyio shell's one machine: a session's sockets, tasks and waiting. What to do, the core says.

Who reads
    *Whoever waits, reads.* The core's pump (``sansio/pump.py``) says who of those who wait is on duty: that one reads
    from the socket, hands the bytes to the core, and keeps the core's deadlines; the others sleep until it rings them.
    The *keeper* is a task of the session's scope that is on duty when no consumer is.

Who writes
    A task of its own, one at a time: cancelling a consumer in the middle of a write would leave half a message on a
    connection that others use. It takes chunks from the core until there are none. Only what is so short that it cannot
    be held up in the middle is written at once by whoever begins the turn.

Whose tasks
    The writer, the task that opens a connection, and the one that lets go of a closed one, run in a *host*: a task
    group with an owner. With ``async with driver`` that is the scope itself, which has the keeper too. Without it every
    wait is a host for as long as it lasts: it outlives what it began, and goes on waiting meanwhile, so that a peer
    that writes before it reads cannot hold it up. Between waits there are no tasks at all.

Read this file beside ``trio_shell/_driver.py``: the same design in the other dialect.
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from functools import partial
from math import inf
from time import time
from types import TracebackType
from typing import Any, Final, cast

import anyio
from anyio import current_time
from anyio.abc import TaskGroup

from ..sansio.connection import ResponsesConnection, State, Stats, Turn
from ..sansio.errors import TransportError, TurnwireError
from ..sansio.events import ServerEvent
from ..sansio.proxy import Proxy, choose_proxy
from ..sansio.pump import GRACE, SMALL, Job, Link, Pump, Step, Waiter
from ..sansio.request import Timeouts
from ..sansio.secret import Secret
from ..sansio.session import EndpointSource, ResponsesSession, SessionOptions
from ._transport import Transport, open_transport

__all__ = ["Driver", "Host"]

CHUNK: Final = 64 * 1024
"""Bytes per write: what is cut off in the middle of a large message was never handed whole."""
DRAIN: Final = 1.0
"""Seconds to look for the server's last words after writing to it failed."""


class _Link(Link):
    """A connection and the transport that carries it."""

    __slots__ = ("closed", "opening", "sending", "transport")

    def __init__(self, connection: ResponsesConnection) -> None:
        super().__init__(connection)
        self.transport: Transport | None = None
        """None until the connection is open."""
        self.opening = anyio.CancelScope()
        """The opening, whose end the connection's end is."""
        self.sending = anyio.CancelScope()
        """The write of one chunk. Closing the transport ends it, cancelling its task does not."""
        self.closed = anyio.Event()


class _Waiter(Waiter):
    """Somebody who waits, and where it sleeps."""

    __slots__ = ("_bell",)

    def __init__(self, ready: Callable[[], bool], turn: Turn | None = None) -> None:
        super().__init__(ready, turn)
        self._bell: anyio.Event | None = None

    def ring(self) -> None:
        """Wake it."""
        if self._bell is not None:
            self._bell.set()

    async def sleep(self) -> None:
        """Sleep until rung."""
        self._bell = anyio.Event()
        await self._bell.wait()


class Host:
    """A task group in which drivers run their tasks: ``async with Host() as host``.

    What leaves its body goes on as it came: not wrapped in a group, and not taken for the cancellation of the host's
    own tasks, which on asyncio can look alike. ``after`` is called when a task has ended, or was cancelled and leaves
    something undone. A ``lasting`` host keeps a task that has nothing to do for the next thing to do: each ``start``
    wakes the one that rests, or begins another, so nothing is left behind.
    """

    def __init__(self, after: Callable[[], None] | None = None, *, lasting: bool = False) -> None:
        self._after = after
        self._lasting = lasting
        self._manager = anyio.create_task_group()
        self._tasks: TaskGroup
        self._work: deque[tuple[Callable[..., Awaitable[object]], tuple[object, ...]]] = deque()
        self._running = 0
        self._resting: anyio.Event | None = None
        """Wakes the task that has nothing to do."""
        self.closing = False
        """Its tasks are cancelled, or it is about to leave: no place for another task."""

    def busy(self) -> bool:
        """Whether a task has something to do."""
        return self._running > 0

    def start(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run the function in a task."""
        self._running += 1
        self._work.append((function, args))
        if self._resting is None:
            self._tasks.start_soon(self._run)
        else:
            self._resting.set()
            self._resting = None

    async def _run(self) -> None:
        try:
            while self._work:
                function, args = self._work.popleft()
                try:
                    await function(*args)
                finally:
                    self._running -= 1
                if self._after is not None:
                    self._after()
                if self._lasting and self._resting is None:
                    await self._rest()
        except BaseException:  # Cancelled, perhaps in a group.
            self.closing = True
            if self._after is not None:
                self._after()
            raise

    async def _rest(self) -> None:
        """Wait for something to do. Cancelled, leave what has just come to another task."""
        resting = self._resting = anyio.Event()
        try:
            await resting.wait()
        except BaseException:
            if self._work:
                self._tasks.start_soon(self._run)
            if self._resting is resting:
                self._resting = None
            raise

    async def end(self, exc: BaseException | None = None) -> None:
        """Leave, after the end of what runs. That it was cancelled does not replace ``exc``, which leaves the body."""
        self._lasting = False
        if self._resting is not None:
            self._resting.set()
            self._resting = None
        try:
            await self.__aexit__(None, None, None)
        except BaseException as error:
            if exc is None or not _is_cancellation(error):
                raise

    async def __aenter__(self) -> Host:
        self._tasks = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._manager.__aexit__(kind, exc, traceback)
        except BaseExceptionGroup as group:
            if group.exceptions != (exc,) and not (_is_cancellation(exc) and _is_cancellation(group)):
                raise


def _is_cancellation(error: BaseException | None) -> bool:
    """Whether it is that and nothing else, perhaps several times."""
    kind = anyio.get_cancelled_exc_class()
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(kind)[1] is None
    return isinstance(error, kind)


class Driver:
    """Runs one ``ResponsesSession``, within ``async with driver`` or from wait to wait (see "Whose tasks")."""

    def __init__(
        self,
        source: EndpointSource,
        *,
        ssl_context: ssl.SSLContext | None,
        proxy: Proxy | str | None,
        options: SessionOptions,
    ) -> None:
        self._core = ResponsesSession(options=options, wall_clock=time)
        self._pump: Pump[_Link] = Pump(self._core)
        self.source = source
        """Where it connects to."""
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._scope: Host | None = None
        """The host of ``async with driver``."""
        self._hosts: list[Host] = []
        self._serving: anyio.CancelScope | None = None
        """The wait of whoever is on duty; its deadline follows the core's."""
        self._keeping = anyio.CancelScope()

    @property
    def stats(self) -> Stats:
        """The counters of now; a copy."""
        return copy(self._core.stats)

    @property
    def idle(self) -> bool:
        """No turn runs or waits."""
        return self._core.idle

    @property
    def closed(self) -> bool:
        """No turn may begin any more."""
        return self._core.closed

    # -- the scope

    async def __aenter__(self) -> Driver:
        self.keep_in(await Host(lasting=True).__aenter__())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        host = self._scope
        if host is None:
            return
        try:
            with anyio.CancelScope(shield=True):  # Bounded by close_timeout.
                await self.aclose()
        finally:
            await host.end(exc)
            self._scope = None
            self._hosts.remove(host)

    def keep_in(self, host: Host) -> None:
        """Run this driver's tasks, and its keeper, in a host that outlives the driver's turns."""
        self._scope = host
        self._hosts.insert(0, host)
        host.start(self._keep)

    async def connect(self) -> None:
        """Open the first connection. Raises ConnectError, HandshakeRejectedError or another TurnError."""
        opening = self._core.first_opening(current_time())
        while (failure := (await self._open(connect_by=opening.deadline)).failure) is not None:
            delay = opening.delay(failure, current_time())
            if delay is None:
                raise failure
            await anyio.sleep(delay)

    async def aclose(self, *, patiently: bool = True) -> None:
        """End the session: turns in flight fail as aborted, the connection is closed, politely if it was idle.

        ``patiently`` waits for the server's half of the closing handshake, for close_timeout.
        """
        self._core.close(current_time(), patiently=patiently)
        self._settle()
        try:
            await self._hosted(_Waiter(lambda: self._pump.link is None), self._abort)
        finally:
            self._abort()
            self._keeping.cancel()

    def _abort(self) -> None:
        """So much for politeness."""
        if self._pump.link is not None:
            self._core.abort(self._pump.link.connection, current_time())
            self._settle()

    def forsake(self) -> None:
        """Shut the connection down from outside of its event loop; whoever uses it there will see."""
        link = self._pump.link
        if link is not None and link.transport is not None:
            link.transport.forsake()

    # -- turns

    def begin(self, body: Mapping[str, Any], lane: str | None, timeouts: object) -> Turn:
        """Give a turn to the core; :meth:`send` is to follow. Raises as ``ResponsesSession.create`` does."""
        return self._core.create(body, lane=lane, timeouts=timeouts, now=self._probe())

    async def begin_frame(self, frame: Mapping[str, Any], timeouts: Timeouts) -> Turn:
        """Begin and send a turn that is a complete ``response.create`` message, as the models make it."""
        now = self._probe()
        turn = self._core.submit(Turn.from_frame(frame, timeouts=timeouts, now=now), now)
        await self.send(turn)
        return turn

    async def send(self, turn: Turn) -> None:
        """Write the message of a turn that has just begun, or leave it to the writer. Cancelled, give the turn up."""
        link = self._pump.at_once()
        if link is not None and link.transport is not None and link.transport.writable():
            link.writer = turn
            try:
                await self._catch_up(link.transport)
                if link.error is None and link.connection.is_open and link.connection.has_data_to_send:
                    await self._hand(link, link.transport, SMALL)
            except BaseException:
                link.writer = None
                self._give_up(turn)
                raise
            link.writer = None
        self._settle()

    async def _catch_up(self, transport: Transport) -> None:
        """Before a message is written: what has arrived by then is not for it."""
        if not self._pump.unattended:
            await transport.catch_up()

    def _probe(self) -> float:
        """Let the core look whether something is to be read before a turn begins. What time it is."""
        now, link = current_time(), self._pump.link
        if link is not None and link.transport is not None:
            link.connection.probe(now, link.transport.unread, attended=not self._pump.unattended)
        return now

    async def next_event(self, turn: Turn) -> ServerEvent | None:
        """The turn's next event, waiting for it; None after the terminal one. Raises the turn's failure."""
        await self._hosted(_Waiter(turn.has_news, turn), partial(self._give_up, turn))
        return turn.next_event()

    async def leave(self, turn: Turn) -> None:
        """The consumer leaves the turn. Waits for nothing but the letting go of a connection that nobody needs."""
        if turn.events or not turn.ended:
            self._give_up(turn)
        if self._pump.gone:
            await self._hosted(_Waiter(lambda: True))

    def _give_up(self, turn: Turn) -> None:
        self._core.cancel(turn, current_time())
        self._settle()

    # -- waiting

    @property
    def _kept(self) -> bool:
        """Whether there is a scope that runs this driver's tasks. One that is cancelled does not any more."""
        return self._scope is not None and not self._scope.closing

    async def _hosted(self, waiter: _Waiter, give_up: Callable[[], None] = lambda: None) -> None:
        """Wait, with a host for what is to be begun. If it is this wait's own, a cancelled one has to ``give_up``."""
        if self._kept:
            await self._wait(waiter)
            return
        async with Host(self._settle) as host:
            host.closing = waiter.ready()  # Then there are only farewells to be said.
            self._hosts.append(host)
            self._settle()
            try:
                await self._wait(waiter)
                host.closing = True
                link = self._pump.link
                if link is not None and link.writer is host and link.transport is None:
                    link.opening.cancel()  # If it is for another turn, that one's host will open one.
                await self._wait(_Waiter(lambda: not host.busy()))
            except anyio.get_cancelled_exc_class():
                give_up()
                raise
            finally:
                self._hosts.remove(host)
                link = self._pump.link
                if link is not None and link.writer is host:  # Nobody reads for it: it shall not hold us up.
                    link.sending.deadline = current_time() + self._core.options.close_timeout

    async def _wait(self, waiter: _Waiter) -> None:
        pump, now = self._pump, current_time()
        pump.enter(waiter, now)
        self._refresh(now)  # Its receive deadline runs.
        try:
            while (step := pump.step(waiter)) is not Step.GO:
                await (self._serve(waiter) if step is Step.SERVE else waiter.sleep())
        finally:
            pump.exit(waiter)

    async def _keep(self) -> None:
        """Be on duty while no consumer is."""
        keeper = _Waiter(lambda: False)
        try:
            with self._keeping:
                while True:
                    match self._pump.keep(keeper, current_time()):
                        case Step.SERVE:
                            await self._serve(keeper)
                        case Step.SLEEP:
                            await keeper.sleep()
                        case _:
                            with anyio.move_on_after(GRACE):
                                await keeper.sleep()
        finally:
            self._pump.dismiss(keeper)

    async def _serve(self, waiter: _Waiter) -> None:
        """Be on duty: read once and hand what came to the core, or sleep, until the core's next deadline."""
        link = self._pump.link
        data, error = None, None
        scope = self._serving = anyio.CancelScope(deadline=self._pump.deadline(current_time()))
        try:
            with scope:
                if link is None or link.transport is None:
                    await waiter.sleep()
                elif link.connection.has_unprocessed:
                    await anyio.lowlevel.checkpoint()
                else:
                    data = await link.transport.receive()
        except TransportError as exc:
            error = exc
        finally:
            self._serving = None
        now = current_time()
        if link is not None and data is not None:
            self._core.receive_data(link.connection, data, now)
        elif link is not None and error is not None:
            self._core.transport_failed(link.connection, str(error), now, error)
        elif link is not None:
            self._core.process(link.connection, now)
        self._pump.served(now)
        self._settle(now)

    def _refresh(self, now: float | None = None) -> None:
        """Let whoever is on duty keep the deadlines as they are now."""
        if self._serving is not None:
            self._serving.deadline = self._pump.deadline(current_time() if now is None else now)

    # -- the tasks

    def _settle(self, now: float | None = None) -> None:
        """After every call to the core: begin what is to be done."""
        if now is None:
            now = current_time()
        self._pump.settle(now)
        if self._hosts:
            host = next((host for host in self._hosts if not host.closing), None)
            for job, link in self._pump.farewells() if host is None else self._pump.jobs(now):
                self._start(job, link, host or self._hosts[0])
        self._refresh(now)

    def _start(self, job: Job, link: _Link | None, host: Host) -> None:
        if link is None:
            host.start(self._reopen, host)
        elif link.transport is None:
            link.opening.cancel()
        elif job is Job.LET_GO:
            link.closed.set()
            host.start(self._let_go, link, link.transport)
        elif job is Job.WRITE:
            link.writer = host
            host.start(self._write, link, link.transport, host)
        else:
            link.writer = host
            host.start(self._drain, link)

    async def _write(self, link: _Link, transport: Transport, host: Host) -> None:
        """Write until the core has nothing left to write, or until the host is to leave: then another host goes on."""
        try:
            await self._catch_up(transport)
            while link.error is None and link.connection.has_data_to_send and not host.closing:
                await anyio.lowlevel.checkpoint_if_cancelled()
                await self._hand(link, transport, CHUNK)
        finally:
            link.writer = None
        self._settle()

    async def _hand(self, link: _Link, transport: Transport, most: int) -> None:
        """Write one chunk: all of it, whoever is cancelled, for half a chunk would be half a message."""
        now = current_time()
        data = self._core.data_to_send(link.connection, most, now)
        self._refresh(now)  # With its last byte a message passes on to its next deadline.
        try:
            with anyio.CancelScope(shield=True) as link.sending:
                await transport.send(data)
        except TransportError as exc:
            link.error = exc
        if link.sending.cancelled_caught:
            what = "a task that was writing was cancelled, and the peer did not read"
            self._core.transport_failed(link.connection, what, current_time())

    async def _drain(self, link: _Link) -> None:
        """Writing failed. The server may have said why before it went: let that be read first."""
        try:
            with anyio.move_on_after(DRAIN):
                await link.closed.wait()
        finally:
            self._core.transport_failed(link.connection, str(link.error), current_time(), link.error)
            self._settle()

    async def _reopen(self, host: Host) -> None:
        """Open a connection for the turns that wait for one; before this task ran, they may have been left."""
        if not host.closing and self._core.wants_connection(current_time()):
            await self._open(host)
        else:
            self._pump.opened()

    async def _open(self, host: Host | None = None, connect_by: float | None = None) -> ResponsesConnection:
        """Open a connection, whoever waits for it."""
        link = _Link(self._core.open(self.source.initial, current_time(), connect_by=connect_by))
        link.writer = host
        self._pump.opening(link)
        try:
            link.transport = await self._connect(link)
        finally:
            link.writer = None
            if link.transport is None and link.connection.state is not State.CLOSED:
                self._core.forgo(current_time())  # It was cancelled.
            self._pump.opened()
            self._pump.settle(current_time())
        self._settle()
        return link.connection

    async def _connect(self, link: _Link) -> Transport | None:
        """Lead a connection from CONNECTING to OPEN, through redirects; None if that failed."""
        connection = link.connection
        transport: Transport | None = None
        deadline = connection.connect_deadline
        link.opening.deadline = inf if deadline is None else deadline
        with link.opening:
            try:
                connection.endpoint = self.source.endpoint(await self._fresh_key())
                while connection.state is State.CONNECTING:
                    if transport is not None:
                        await transport.aclose()
                    proxy = choose_proxy(self._proxy, connection.endpoint, os.environ)
                    transport = await open_transport(connection.endpoint, ssl_context=self._ssl_context, proxy=proxy)
                    self._core.transport_connected(connection, current_time())
                    await self._shake_hands(connection, transport)
            except TurnwireError as exc:
                self._core.transport_failed(connection, str(exc), current_time(), exc)
            finally:
                if connection.state is not State.OPEN and transport is not None:
                    await transport.aclose()
        if link.opening.cancelled_caught:
            self._core.handle_deadline(current_time())
        return transport if connection.state is State.OPEN else None

    async def _fresh_key(self) -> Secret | None:
        """Ask the caller's key provider, if there is one (PARITY A15); if it raises, there is no connection."""
        refresh = self.source.key_refresh
        try:
            return None if refresh is None else Secret(await refresh())
        except Exception as exc:
            raise TransportError(f"the API key provider raised {type(exc).__name__}") from exc

    async def _shake_hands(self, connection: ResponsesConnection, transport: Transport) -> None:
        while connection.state is State.HANDSHAKING:
            while connection.has_data_to_send:  # What is sent is in no variable: it holds the key.
                await transport.send(self._core.data_to_send(connection, CHUNK, current_time()))
            self._core.receive_data(connection, await transport.receive(), current_time())

    async def _let_go(self, link: _Link, transport: Transport) -> None:
        """Close the transport of a closed connection; a close frame that it still holds is worth one try."""
        with anyio.CancelScope(shield=True, deadline=current_time() + self._core.options.close_timeout):
            try:
                while link.writer is None and (data := self._core.data_to_send(link.connection, CHUNK, current_time())):
                    await transport.send(data)
            except TransportError:
                pass
            finally:
                await transport.aclose()
