"""The base class of all runtimes. A runtime runs a session in one event loop.

The promise
    Sessions, turns and models (``client.py``, ``agents``) use a :class:`SessionRuntime` and do not depend on the event
    loop. Whatever has an order is here, once: how a session is opened, drained and closed, what is read before a turn
    begins, how a consumer waits. Each shell's runtime derives from it and adds the sockets, the timer and the waiter,
    which is an awaitable that :meth:`Runtime.wake` completes.

How the methods wait
    Those with :func:`~turnwire.sansio.flow.awaited` are flows, of which a shell's class makes coroutine functions:
    ``class TrioRuntime(SessionRuntime, coroutine_function=…)``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from copy import copy
from typing import Any, ClassVar, Final

from .connection import Continuation, InputKind, Stats, Turn, TurnInput
from .connections import ConnectionInfo
from .dialect import Dialect
from .driver import Driver, Link, LinkState, Runtime
from .errors import SessionClosedError
from .events import Event
from .flow import ExpiredError, Flow, Wait, awaited, make_awaitable
from .http import Compaction, Retrieval
from .lanes import AnyLane
from .measures import Recorder, TurnRecord
from .notices import Notices
from .rate_limits import RateLimits
from .retries import retries_allowed
from .session import EndpointSource, ResponsesSession, SessionOptions
from .steering import turn_input
from .timeouts import timeouts_from
from .transports import Means, Network, Route

__all__ = ["SessionRuntime"]

CLEANUP: Final = 1.0
"""Seconds for which an ended session waits for what it has cancelled. Only a key provider can take that long."""
READS: Final = 16
"""How many reads are made before a turn begins, at most. The data cannot belong to that turn."""


class SessionRuntime(Runtime):
    """Runs one session in the event loop in which it is made. All tasks of this loop may use it.

    The first methods are for sessions, turns and models. The abstract ones at the end are the shell's part, in addition
    to those that the driver calls (:class:`turnwire.sansio.driver.Runtime`).
    """

    _means: ClassVar[Means]
    clock: Callable[[], float]
    """Returns the event loop's time in seconds; the shell's class sets it."""

    def __init_subclass__(
        cls, *, coroutine_function: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None, **more: Any
    ) -> None:
        super().__init_subclass__(**more)
        if coroutine_function is not None:
            make_awaitable(cls, coroutine_function)

    def __init__(self, source: EndpointSource, network: Network, options: SessionOptions) -> None:
        self.source = source
        """Where to connect to."""
        self.route = Route(source, network, self._means)
        clock = self._means.wall_clock
        self.notices = Notices(self._means.logger)
        """What happens, for hooks and the log."""
        made: dict[str, Any] = {"options": options, "wall_clock": clock, "retries_allowed": retries_allowed}
        more = {"wall_clock": clock, "endpoint": source.initial, "dialect": options.given_dialect}
        self._recorder = Recorder.of(options.telemetry, self._means.modules, self.notices, **more)
        if options.record is None:
            self._session = ResponsesSession(**made, notices=self.notices)
            self._driver = Driver(self._session, self, lambda: source.initial, self._recorder)
        else:
            from .recording import recorded_session  # It is not imported where nothing is recorded.

            given = (options.record, self._means.open_file, self, lambda: source.initial, self._recorder)
            self._session, self._driver = recorded_session(*given, notices=self.notices, **made)

    @property
    def stats(self) -> Stats:
        """The present counters; a copy."""
        return copy(self._session.stats)

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """What is known of each connection."""
        return self._session.pool.connections(self.clock())

    @property
    def rate_limits(self) -> RateLimits:
        """What the server last said of its rate limits."""
        return self._session.rate_limits.latest()

    def retrieval(self, response_id: str, *, timeout: object, now: float, **wanted: Any) -> Retrieval:
        """A retrieval, to be given to :meth:`submit`. Raises as :class:`~turnwire.sansio.http.Retrieval` does."""
        default = self._session.options.turn_timeouts
        return Retrieval(response_id, timeouts=timeouts_from(timeout, default=default), now=now, **wanted)

    def compaction(self, body: Mapping[str, Any], *, timeout: object) -> Compaction:
        """A compaction, to be given to :meth:`submit`. Raises as :class:`~turnwire.sansio.http.Compaction` does."""
        limits = timeouts_from(timeout, default=self._session.options.turn_timeouts)
        return Compaction(body, timeouts=limits, now=self.clock())

    @property
    def dialect(self) -> Dialect:
        """What the server supports, as far as it is known now."""
        return self._driver.dialect

    @property
    def fell_back(self) -> bool:
        """Whether turns go over HTTP now because the server has no WebSocket, or none could be opened."""
        return self._session.fell_back

    @property
    def idle(self) -> bool:
        """Whether no turn runs or waits."""
        return self._session.idle

    @property
    def closed(self) -> bool:
        """Whether the session takes no more turns."""
        return self._session.closed

    @property
    def loop_goes_on(self) -> bool:
        """Whether an event loop that closes its generators is not ending: a consumer waits, and was not cancelled."""
        return self._driver.awaited

    # -- the session

    @awaited
    def connect(self) -> Flow[None]:
        """Open the first connection. Raises ConnectError, HandshakeRejectedError or another TurnError."""
        try:
            self._driver.connect(self.begin())
            yield from self._until(lambda: not self._driver.connecting)
            self._check_opened()
        except BaseException:
            yield from self._finish()
            raise

    def _check_opened(self) -> None:
        if self._driver.first_failure is not None:
            raise self._driver.first_failure
        if self.closed:
            raise SessionClosedError("the session was closed while it was being opened — open a new session")

    @awaited
    def aclose(self, *, wait_for_peer: bool = True) -> Flow[None]:
        """End the session: turns in flight fail as aborted; an idle connection is closed with a closing handshake.

        ``wait_for_peer``: wait for the server's close frame, at most ``close_timeout``. Any task may call it; several
        tasks may, at the same time or one after another. If the caller is cancelled, everything is closed at once.
        """
        self._driver.close(self.clock(), wait_for_peer=wait_for_peer)
        try:
            yield from self._until(lambda: self._driver.done)
        finally:
            yield from self._finish()

    @awaited
    def drain(self, timeout: float | None) -> Flow[None]:
        """Take no more turns; end the session when the present ones have ended, or after this many seconds.

        If the caller is cancelled, it stops waiting, but the session still ends in this way.
        """
        self._driver.drain(self.clock(), timeout)
        yield from self._until(lambda: self._driver.drained)
        yield Wait(self.aclose)

    def _finish(self) -> Flow[None]:
        """Close everything that is left, and wait for that even if the caller is cancelled, but not for long."""
        self._driver.abort(self.clock())
        with suppress(ExpiredError):
            yield Wait(self.let_go, deadline=self.clock() + CLEANUP, shield=True)

    def _until(self, holds: Callable[[], bool], turn: Turn | None = None) -> Flow[None]:
        """Wait for a condition, which a step of the driver makes true. ``turn``: it depends on what comes for it."""
        while not holds():
            waiter = self.waiter()
            self._driver.wake_when(waiter, holds, turn)
            try:
                yield Wait(lambda waiter=waiter: waiter)
            finally:
                self._driver.forget(waiter)

    def shutdown_threadsafe(self) -> None:
        """Shut the connections down, from any thread: both sides see them end, and a later turn opens new ones."""
        for link in self._driver.links:
            self.shut_down(link)

    # -- turns

    def create(
        self, body: Mapping[str, Any], lane: AnyLane, timeouts: object, follows: Continuation | None = None
    ) -> Turn:
        """Begin a turn. Raises as ``ResponsesSession.create`` does; then nothing was sent."""
        return self._driver.create(body, lane=lane, timeouts=timeouts, now=self.begin(), follows=follows)

    def submit(self, turn: Turn, body: Mapping[str, Any] | None = None) -> Turn:
        """Begin a turn that already exists. Raises as ``ResponsesSession.submit`` does.

        ``body`` are the fields of its request, if it is to be measured.
        """
        now = self.begin()

        def begin(record: TurnRecord) -> Turn:
            turn.observer = record
            return self._driver.submit(turn, now)

        if self._recorder is None or body is None:
            return self._driver.submit(turn, now)
        return self._recorder.around(begin, body, now)

    @awaited
    def send_input(self, turn: Turn, kind: InputKind, given: object) -> Flow[TurnInput]:
        """Send a steer or an injection of this turn, and wait for the server's answer. Raises as
        :meth:`turnwire.sansio.client.Turn.steer` does."""
        one = turn_input(turn, kind, given, self._session.options.max_request_size)
        self._driver.send_input(one, self.clock())
        yield from self._until(lambda: one.facts.answered, turn)
        return one

    @awaited
    def until(self, holds: Callable[[], bool], turn: Turn) -> Flow[None]:
        """Wait for something that depends on what comes for this turn."""
        yield from self._until(holds, turn)

    def cancel(self, turn: Turn) -> None:
        """The consumer leaves the turn. After the turn's end it drops the unread events."""
        self._driver.cancel(turn, self.clock())

    def begin(self) -> float:
        """The present time. First, read the data that has arrived: it cannot belong to the turn that now begins.

        Source: P-START-12.
        """
        links = list(self._driver.open_links.values())
        for link in links:  # If there are several: only idle ones, which may not have been read for a long time.
            if len(links) == 1 or link.connection.idle:
                self.read_ahead(link)
        return self.clock()

    def read_ahead(self, link: Link) -> None:
        """Read data that has arrived, and that the event loop has not read yet: it may be the end of the connection.

        Hot path: runs once per turn, usually without data. To ask first costs a third of a read that fails.
        """
        if link.state is LinkState.OPEN and link.wire.readable():
            for _ in range(READS):
                if link.state is not LinkState.OPEN or link.connection.has_unprocessed or not self.read(link):
                    break

    # -- for the driver

    def pause(self, link: Link) -> None:
        """Stop reading."""
        link.wire.pause()

    def resume(self, link: Link) -> None:
        """Read again."""
        link.wire.resume()

    def close(self, link: Link, *, abort: bool) -> None:
        """Close the transport, or cancel its opening."""
        link.wire.close(abort=abort)

    # -- what a shell adds

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether the event loop has ended, and everything with it."""

    @abstractmethod
    def iterate(self, turn: Turn) -> Coroutine[Any, Any, Event]:
        """Wait for the turn's next event. Raises StopAsyncIteration after the terminal event, or the turn's failure.

        While the turn has no event and is LIVE, it calls :meth:`Driver.listen` and waits; if the wait raises, it calls
        :meth:`Driver.ignore`.
        """

    @abstractmethod
    def waiter(self) -> Awaitable[None]:
        """An object that one task awaits once, until the driver wakes it."""

    @abstractmethod
    def let_go(self) -> Awaitable[None]:
        """Wait until nothing is open or running after everything was aborted."""

    @abstractmethod
    def read(self, link: Link) -> bool:
        """Read once without waiting and pass the data to the driver. Returns whether there may be more."""

    @abstractmethod
    def shut_down(self, link: Link) -> None:
        """Shut the link's socket down, from any thread."""
