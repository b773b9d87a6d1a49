"""The anyio shell's one machine: a session's sockets, tasks and waiting. What to do, the core says.

Who reads
    *Whoever waits, reads.* A consumer that finds no event for its turn reads the socket itself (it *leads*), hands the
    bytes to the core, and goes on until its turn has news; consumers that come meanwhile *follow*: they sleep until the
    leader's reading brings news of their turns, or until the leader is gone and one of them is woken to lead. So an
    event reaches its consumer without a task switch, and many events of one read are taken in one go.

    The *keeper* is a task of the session's scope that reads when no turn is in flight, and while no consumer has read
    for a moment: it answers pings, and notices at once that an idle connection died, so that no turn is lost on it. It
    pauses while a consumer lags behind. So whenever a consumer waits, exactly one task reads, and keeps the core's
    deadlines; while there is no connection, the keeper keeps them.

Who writes
    One task at a time and never a consumer's: cancelling a consumer in the middle of a write would leave half a message
    on a connection that others use. The task takes chunks from the core until there are none.

Whose tasks
    The writer, the task that opens a connection, and the one that lets go of a closed one, run in a *host*: a task
    group with an owner. With ``async with driver`` that is the scope itself, which has the keeper too. Without it every
    wait is a host for as long as it lasts: it outlives what it began, and reads on meanwhile, so that a peer that
    writes before it reads cannot hold it up. Between waits there are no tasks at all.

Read this file beside ``trio_shell/_driver.py``: the same design in the other dialect.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from math import inf
from types import TracebackType
from typing import Any, Final, TypeVar

import anyio

from ..sansio.connection import ResponsesConnection, State, Stats, Turn
from ..sansio.errors import ConcurrentUseError, TurnwireError
from ..sansio.events import ServerEvent
from ..sansio.proxy import choose_proxy
from ..sansio.request import Timeouts
from ..sansio.session import EndpointSource, ResponsesSession, SessionOptions
from ._transport import Transport, TransportError, open_transport

__all__ = ["Driver", "Host"]

_T = TypeVar("_T")

CHUNK: Final = 64 * 1024
"""Bytes per write: what is cut off in the middle of a large message was never handed whole."""
GRACE: Final = 0.5
"""Seconds without a consumer's reading after which the keeper reads."""
POLL: Final = 0.01
"""Seconds that even an expired deadline grants to what is ready already (PARITY A16)."""
DRAIN: Final = 1.0
"""Seconds to look for the server's last words after writing to it failed."""


class _Link:
    """A connection and the transport that carries it."""

    __slots__ = ("connection", "gone", "reading", "sending", "transport", "waiting", "writer")

    def __init__(self, connection: ResponsesConnection, transport: Transport) -> None:
        self.connection = connection
        self.transport = transport
        self.reading = False
        self.waiting = anyio.CancelScope()
        """The wait of whoever reads; its deadline follows the core's."""
        self.writer: Host | None = None
        """Where somebody writes; None if nobody does."""
        self.sending = anyio.CancelScope()
        """The write of one chunk. Closing the transport ends it, cancelling its task does not."""
        self.gone = anyio.Event()
        """Set once the connection is closed."""


class Host:
    """A task group in which drivers run their tasks: ``async with Host() as host``.

    What leaves its body goes on as it came: not wrapped in a group, and not taken for the cancellation of the host's
    own tasks, which on asyncio can look alike. ``heir`` is called when a task was cancelled, for what it leaves undone.
    """

    def __init__(self, heir: Callable[[], None] | None = None) -> None:
        self._heir = heir
        self._tasks = anyio.create_task_group()
        self._running = 0
        self.idle = anyio.Event()
        """Set when the last task has ended; a new one each time that there are any."""
        self.cancelled = False
        """A task was cancelled here, and so would be any that came: look for another host."""

    @property
    def busy(self) -> bool:
        """Whether a task runs."""
        return self._running > 0

    def start(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run the function as a task."""
        if not self._running:
            self.idle = anyio.Event()
        self._running += 1
        self._tasks.start_soon(self._run, function, args)

    async def _run(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        try:
            await function(*args)
        except BaseException:  # Cancelled, perhaps in a group.
            self.cancelled = True
            if self._heir is not None:
                self._heir()
            raise
        finally:
            self._running -= 1
            if not self._running:
                self.idle.set()

    async def end(self) -> None:
        """Cancel the tasks and leave."""
        self._tasks.cancel_scope.cancel()
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Host:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._tasks.__aexit__(kind, exc, traceback)
        except BaseExceptionGroup as group:
            if group.exceptions != (exc,):
                raise


class Driver:
    """Runs one ``ResponsesSession``, within ``async with driver`` or from wait to wait (see "Whose tasks")."""

    def __init__(
        self,
        source: EndpointSource,
        *,
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
        options: SessionOptions,
    ) -> None:
        self._core = ResponsesSession(options=options)
        self._source = source
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._scope: Host | None = None
        """The host of ``async with driver``."""
        self._hosts: list[Host] = []
        self._link: _Link | None = None
        self._gone: list[_Link] = []
        """Closed, and to be let go of."""
        self._opening = False
        self._led_at = -inf
        """When a consumer last read."""
        self._consumers: set[Turn] = set()
        """The turns whose consumers are waiting, leading or following."""
        self._followers: dict[Turn, anyio.Event] = {}
        self._keeping = anyio.CancelScope()
        self._vacancy = anyio.Event()
        """Set when nobody reads, and no consumer waits who would."""
        self._nudge = anyio.Event()
        """Wakes the keeper."""

    @property
    def stats(self) -> Stats:
        """The counters of now; a copy."""
        return copy(self._core.stats)

    # -- the scope

    async def __aenter__(self) -> Driver:
        self.keep_in(await Host().__aenter__())
        return self

    async def __aexit__(self, *exc: object) -> None:
        host = self._scope
        if host is None:
            return
        try:
            with anyio.CancelScope(shield=True):  # Bounded by close_timeout.
                await self.aclose()
        finally:
            await host.end()
            self._scope = None
            self._hosts.remove(host)

    def keep_in(self, host: Host) -> None:
        """Run this driver's tasks, and its keeper, in a host that outlives the driver's turns."""
        self._scope = host
        self._hosts.insert(0, host)
        host.start(self._keep)

    async def connect(self) -> None:
        """Open the first connection. Raises ConnectError, HandshakeRejectedError or another TurnError."""
        connection = await self._open()
        if connection.failure is not None:
            raise connection.failure

    @property
    def _kept(self) -> bool:
        """Whether there is a scope that runs this driver's tasks. One that is cancelled does not any more."""
        return self._scope is not None and not self._scope.cancelled

    async def _hosted(self, operation: Callable[..., Awaitable[_T]], *args: object) -> _T:
        """Await the operation with a host for what it starts."""
        if self._kept:
            return await operation(*args)
        async with Host(self._settle) as host:
            self._hosts.append(host)
            self._settle()
            try:
                result = await operation(*args)
                while host.busy:
                    await self._read_on(host)
            finally:
                self._hosts.remove(host)
                link = self._link
                if link is not None and link.writer is host:  # This wait was cancelled, and it waits for the chunk.
                    link.sending.deadline = anyio.current_time() + self._core.options.close_timeout
        return result

    async def _read_on(self, host: Host) -> None:
        """Wait for the tasks of a host that is about to leave; meanwhile let the peer write."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_meanwhile)
            await host.idle.wait()
            tasks.cancel_scope.cancel()

    async def _read_meanwhile(self) -> None:
        while (link := self._link) is not None:
            if link.reading:
                await self._vacated()
            else:
                await self._lead(link)

    async def _vacated(self) -> None:
        """Wait until whoever reads has left off: with the connection's end, or cancelled in the middle of it."""
        if self._vacancy.is_set():
            self._vacancy = anyio.Event()
        await self._vacancy.wait()

    async def aclose(self) -> None:
        """End the session: turns in flight fail as aborted, the connection is closed, politely if it was idle."""
        await self._hosted(self._aclose)

    async def _aclose(self) -> None:
        self._core.close(anyio.current_time())
        self._settle()
        try:
            while (link := self._link) is not None:
                if link.reading:
                    await self._vacated()
                else:
                    await self._lead(link)
        finally:
            if self._link is not None:  # Cancelled: so much for politeness.
                self._link.connection.abort(anyio.current_time())
                self._settle()
            self._keeping.cancel()

    # -- turns

    def begin(self, body: Mapping[str, Any], lane: str | None, timeouts: object) -> Turn:
        """Give a turn to the core, which sends it as soon as it may. Raises as ``ResponsesSession.create`` does."""
        turn = self._core.create(body, lane=lane, timeouts=timeouts, now=anyio.current_time())
        self._settle()
        return turn

    def begin_frame(self, frame: Mapping[str, Any], timeouts: Timeouts) -> Turn:
        """The same for a complete ``response.create`` message, as the models make it."""
        now = anyio.current_time()
        if self._link is not None and not self._kept:
            self._link.connection.probe(now, unread=self._link.transport.unread())
        turn = self._core.submit(Turn.from_frame(frame, timeouts=timeouts, now=now), now)
        self._settle()
        return turn

    @property
    def idle(self) -> bool:
        """No turn runs or waits."""
        return self._core.idle

    @property
    def closed(self) -> bool:
        """No turn may begin any more."""
        return self._core.closed

    def forsake(self) -> None:
        """Shut the connection down from outside of its event loop; whoever uses it there will see."""
        if self._link is not None:
            self._link.transport.forsake()

    async def leave(self, turn: Turn) -> None:
        """The consumer leaves the turn. Waits for nothing but the letting go of a connection that nobody needs."""
        self._core.cancel(turn, anyio.current_time())
        self._settle()
        if self._gone:
            await self._hosted(self._let_go)

    async def _let_go(self) -> None:
        self._settle()

    async def next_event(self, turn: Turn) -> ServerEvent | None:
        """The turn's next event, waiting for it; None after the terminal one. Raises the turn's failure."""
        return await self._hosted(self._next_event, turn)

    async def _next_event(self, turn: Turn) -> ServerEvent | None:
        if turn in self._consumers:
            raise ConcurrentUseError(
                "two tasks wait for the events of one turn — the turn goes on — let one task iterate over it"
            )
        self._consumers.add(turn)
        try:
            while True:
                event = turn.next_event()
                if event is not None or turn.ended:
                    return event
                turn.wait(anyio.current_time())
                link = self._link
                if link is not None and not link.reading:
                    await self._lead(link, turn)
                else:
                    await self._follow(turn)
        except anyio.get_cancelled_exc_class():
            if not self._kept:  # A writer that nobody reads for shall not hold up the cancellation.
                self._core.cancel(turn, anyio.current_time())
                self._settle()
            self._appoint()  # It may have been appointed just before.
            raise
        finally:
            turn.waiting_since = None  # A consumer that left without an event, cancelled, waits no more.
            self._consumers.discard(turn)

    async def _follow(self, turn: Turn) -> None:
        """Sleep until somebody's reading brings news of this turn, or this consumer is appointed to read."""
        news = self._followers[turn] = anyio.Event()
        mine = self._link is None and not self._kept
        if mine:  # Nobody else opens a connection, and keeps the deadlines until there is one.
            self._settle()
        if self._link is not None:  # This turn's receive deadline has begun to run.
            self._hasten(self._link)
        try:
            with anyio.CancelScope(deadline=self._deadline() if mine else inf) as scope:
                await news.wait()
        finally:
            del self._followers[turn]
        if scope.cancelled_caught:
            self._core.handle_deadline(anyio.current_time())
            self._settle()

    # -- reading, writing, opening

    async def _lead(self, link: _Link, turn: Turn | None = None) -> None:
        """Read until there is news for this turn; without one, read once."""
        link.reading = True
        try:
            while True:
                await self._read(link)
                if turn is None or turn.events or turn.ended or link is not self._link:
                    break
        finally:
            link.reading = False
            if turn is not None:
                self._led_at = anyio.current_time()
            self._appoint()

    async def _read(self, link: _Link) -> None:
        """Read once, or until the core's next deadline, and hand what came to the core."""
        connection = link.connection
        with anyio.CancelScope(deadline=self._deadline()) as link.waiting:
            try:
                data = await link.transport.receive()
            except TransportError as exc:
                connection.transport_failed(str(exc), anyio.current_time(), exc)
            else:
                connection.receive_data(data, anyio.current_time())
        now = anyio.current_time()
        due = self._core.next_deadline()
        # While something keeps coming, pings or other lanes' events, the wait itself does not expire.
        if link.waiting.cancelled_caught or (due is not None and due + POLL <= now):
            self._core.handle_deadline(now)
        self._settle()

    async def _write(self, link: _Link) -> None:
        """Write until the core has nothing left to write."""
        connection = link.connection
        try:
            while data := connection.data_to_send(CHUNK, anyio.current_time()):
                self._hasten(link)  # With its last byte a message passes on to its next deadline.
                with anyio.CancelScope(shield=True) as link.sending:  # Half a chunk would be half a message.
                    await link.transport.send(data)
                if link.sending.cancelled_caught:
                    what = "a task that was writing was cancelled, and the peer did not read"
                    connection.transport_failed(what, anyio.current_time())
                    self._settle()
                    break
                if connection.has_data_to_send:
                    await anyio.lowlevel.checkpoint_if_cancelled()
        except TransportError as exc:
            # The server may have said why before it went: let what it said be read first.
            self._led_at = -inf
            self._nudge.set()
            try:
                with anyio.move_on_after(DRAIN):
                    await link.gone.wait()
            finally:
                connection.transport_failed(str(exc), anyio.current_time(), exc)
                self._settle()
        finally:
            link.writer = None

    async def _reopen(self) -> None:
        """Open a connection for the turns that wait for one; before this task ran, they may have been left."""
        if self._core.wants_connection(anyio.current_time()):
            await self._open()
        else:
            self._opening = False

    async def _open(self) -> ResponsesConnection:
        """Open a connection, whoever waits for it."""
        self._opening = True
        connection = self._core.open(self._source.initial, anyio.current_time())
        try:
            transport = await self._connect(connection)
            if transport is not None:
                self._link = _Link(connection, transport)
        except BaseException:  # Cancelled, perhaps in a group.
            self._core.forgo(anyio.current_time())
            raise
        finally:
            self._opening = False
            self._rouse()
        self._settle()
        self._nudge.set()
        self._appoint()
        return connection

    async def _connect(self, connection: ResponsesConnection) -> Transport | None:
        """Lead a connection from CONNECTING to OPEN, through redirects; None if that failed."""
        transport: Transport | None = None
        deadline = connection.connect_deadline
        with anyio.CancelScope(deadline=inf if deadline is None else deadline) as scope:
            try:
                connection.endpoint = self._source.endpoint(await self._fresh_key())
                while connection.state is State.CONNECTING:
                    if transport is not None:
                        await transport.aclose()
                    proxy = choose_proxy(self._proxy, connection.endpoint, os.environ)
                    transport = await open_transport(connection.endpoint, ssl_context=self._ssl_context, proxy=proxy)
                    connection.transport_connected(anyio.current_time())
                    await self._shake_hands(connection, transport)
            except (TransportError, TurnwireError) as exc:
                connection.transport_failed(str(exc), anyio.current_time(), exc)
            finally:
                if connection.state is not State.OPEN and transport is not None:
                    await transport.aclose()
        if scope.cancelled_caught:
            connection.handle_deadline(anyio.current_time())
        return transport if connection.state is State.OPEN else None

    async def _fresh_key(self) -> str | None:
        """Ask the caller's key provider, if there is one (PARITY A15); if it raises, there is no connection."""
        refresh = self._source.key_refresh
        try:
            return None if refresh is None else await refresh()
        except Exception as exc:
            raise TransportError(f"the API key provider raised {type(exc).__name__}") from exc

    async def _shake_hands(self, connection: ResponsesConnection, transport: Transport) -> None:
        while connection.state is State.HANDSHAKING:
            while data := connection.data_to_send(CHUNK, anyio.current_time()):
                await transport.send(data)
            connection.receive_data(await transport.receive(), anyio.current_time())

    async def _discard(self, link: _Link) -> None:
        """Let go of a closed connection; a close frame that it still holds is worth one try."""
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._core.options.close_timeout):
            try:
                while link.writer is None and (data := link.connection.data_to_send(CHUNK)):
                    await link.transport.send(data)
            except TransportError:
                pass
            finally:
                await link.transport.aclose()

    async def _keep(self) -> None:
        """Read while nobody else does."""
        with self._keeping:
            while True:
                await self._keep_once()

    async def _keep_once(self) -> None:
        link = self._link
        if link is not None and not link.reading and not link.connection.lagging and self._unattended(link):
            await self._lead(link)
            if self._followers:
                self._led_at = anyio.current_time()
            return
        self._nudge = anyio.Event()
        deadline = self._deadline() if link is None else anyio.current_time() + GRACE
        with anyio.CancelScope(deadline=deadline) as scope:
            await self._nudge.wait()
        if scope.cancelled_caught and self._link is None:
            self._core.handle_deadline(anyio.current_time())
        self._settle()

    def _unattended(self, link: _Link) -> bool:
        """No consumer is about to read."""
        return not link.connection.in_flight or anyio.current_time() - self._led_at >= GRACE

    def _deadline(self) -> float:
        """How long to wait for something to happen. What has expired already still gets one look at what is ready."""
        deadline = self._core.next_deadline()
        return inf if deadline is None else max(deadline, anyio.current_time() + POLL)

    def _hasten(self, link: _Link) -> None:
        """Let whoever reads keep the deadlines as they are now."""
        if link.reading:
            link.waiting.deadline = self._deadline()

    def _settle(self) -> None:
        """After every call to the core: start what it wants done, and wake whom it has news for."""
        self._core.update(anyio.current_time())
        link = self._link
        if link is not None and link.connection.state is State.CLOSED:
            self._link = None
            link.gone.set()
            self._gone.append(link)
            self._rouse()
        if self._hosts:
            self._start_tasks(next((host for host in self._hosts if not host.cancelled), None))
        if link is not None:
            self._hasten(link)
        for turn, news in self._followers.items():
            if turn.events or turn.ended:
                news.set()
        if self._link is None:
            self._nudge.set()

    def _start_tasks(self, host: Host | None) -> None:
        """Start what is to be done; where all hosts are cancelled, only what that does not keep from its work."""
        while self._gone:
            (host or self._hosts[0]).start(self._discard, self._gone.pop())
        if host is None:
            return
        link = self._link
        if link is not None and link.connection.has_data_to_send and link.writer is None:
            link.writer = host
            host.start(self._write, link)
        if not self._opening and self._core.wants_connection(anyio.current_time()):
            self._opening = True
            host.start(self._reopen)

    def _rouse(self) -> None:
        """Without a keeper, let those that wait look again: at the deadlines, and for what is to be done."""
        if not self._kept:
            for news in self._followers.values():
                news.set()

    def _appoint(self) -> None:
        """If nobody reads, wake a follower that will: one without news, for one with news has better things to do."""
        link = self._link
        if link is not None and link.reading:
            return
        for news in self._followers.values() if link is not None else ():
            if not news.is_set():
                news.set()
                return
        self._vacancy.set()
        if link is not None and not link.connection.in_flight:
            self._nudge.set()
