"""The driver: what a session's sockets, its timer and those who wait for it have to do, without any of them.

The promise
    A shell reports what happened, each time by one call that does not block, await or call back: a transport opened,
    bytes arrived, there is room to write, a transport was lost, the time came. The driver answers by calls to the
    shell's :class:`Runtime`. There is one driver, and a runtime for each event loop; a simulation is a runtime, too.

The order of a step
    Every report, and every call of a consumer, is one uninterrupted step:

    ==== ===========================================================================================================
    A    the connection takes the input
    B    the session draws the consequences: recovery, rotation, the backlog
    C    what is to be opened, written, closed and timed is given to the runtime
    D    those whose turn has news are woken; then those who watch the session are told (``notices.py``)
    ==== ===========================================================================================================

    A failure is visible to a consumer after B, never before (REPLAY.md, "A failure becomes visible when recovery has
    been decided"). Nothing can be awaited between A and D, so nobody can see half a step.

The states of a link (a connection and the transport that carries it)
    ::

        OPENING ──opened()──► OPEN ──the connection is over──► CLOSING ──lost()──► CLOSED
           ▲                   │                                  ▲
           └────redirected─────┘                                  │
        OPENING ──the connection is over: the attempt is cancelled┘       any: lost() ──► CLOSED

    Whoever is in CLOSING has ``close_timeout`` seconds to go; then it is aborted. The runtime answers each
    :meth:`Runtime.open` by ``opened()`` or ``lost()``, and each :meth:`Runtime.close` by ``lost()``, once, later.

What is written
    A chunk is given to the transport when everything before it has left the transport's own buffer. So what counts as
    handed is never far ahead of the wire, and a large message that is cut in the middle was not handed whole.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, Protocol

from .connection import LIVE, Turn
from .endpoint import Endpoint
from .errors import ConcurrentUseError, TurnError, TurnwireError
from .first_opening import FirstOpening
from .lanes import AnyLane
from .omit import OMIT
from .pool import Connection
from .session import ResponsesSession

__all__ = ["CHUNK", "Driver", "Link", "LinkState", "Runtime"]

CHUNK: Final = 64 * 1024
"""Bytes that are given to a transport at a time."""
LOOK: Final = 0.01
"""Seconds that even a deadline that has passed grants to what is ready already (PARITY A16)."""


class LinkState(enum.Enum):
    """Where a link is in its life; see the top of the module."""

    OPENING = "opening"
    """The runtime opens the transport: TCP, proxy, TLS."""
    OPEN = "open"
    CLOSING = "closing"
    """Nothing is read or begun any more; the transport is on its way out."""
    CLOSED = "closed"


OPEN: Final = LinkState.OPEN
"""For the hot path: CPython 3.11 looks up a member of an enum by a function written in Python."""


class Link:
    """A connection, and how far its transport is. ``transport`` is the runtime's own, whatever carries the bytes."""

    __slots__ = ("close_by", "connection", "looking", "paused", "state", "transport", "writable")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.state = LinkState.OPENING
        self.transport: Any = None
        self.writable = False
        """The transport's buffer is empty: it takes the next chunk."""
        self.paused = False
        """Reading is paused."""
        self.looking = False
        """Reading was paused when a deadline passed: what has arrived is read before the deadline is acted on."""
        self.close_by: float | None = None
        """When a link in CLOSING is aborted."""


class Runtime(Protocol):
    """What a shell does for the driver. Nothing here blocks, awaits or calls the driver back."""

    def open(self, link: Link) -> None:
        """Begin to open a transport for ``link.connection.endpoint``."""

    def write(self, link: Link, data: bytes) -> bool:
        """Give bytes to the transport. True: its buffer is empty again; False: ``writable()`` will tell."""
        ...

    def pause(self, link: Link) -> None:
        """Read no more until :meth:`resume`."""

    def resume(self, link: Link) -> None:
        """Read again."""

    def close(self, link: Link, *, abort: bool) -> None:
        """Close the transport, after what was given to it, or at once. One that is being opened is given up."""

    def set_timer(self, when: float | None) -> None:
        """Call ``time_came()`` then, in the seconds of ``now``, and not at an earlier call's time any more.

        None: there is nothing to be timed any more.
        """

    def wake(self, waiter: Any) -> None:
        """Let a sleeping consumer look again, soon. Whoever does not sleep may be woken, too."""


class Driver:
    """See the top of the module. ``now`` is monotonic seconds, the same clock everywhere."""

    # More than 12 attributes: four are what it was given, two are its links, four are about those who wait, three about
    # the first opening, and two about the timer; a step looks at all of them.

    def __init__(self, session: ResponsesSession, runtime: Runtime, endpoint: Callable[[], Endpoint]) -> None:
        self.session = session
        self._alarm = session.alarm
        self._runtime = runtime
        self._endpoint = endpoint
        """Where to connect to, as of now; the runtime may replace it before it connects (:meth:`use_endpoint`)."""
        self._links: dict[Connection, Link] = {}
        """The links of the session's connections."""
        self._closing: dict[Link, None] = {}
        """Links that are on their way out."""
        self._waiters: dict[Turn, Any] = {}
        self._news: list[Turn] = []
        """Turns that have told their news since anybody was woken."""
        self._tell = self._news.append
        self._first: FirstOpening | None = None
        """``connect()``'s own opening, while it goes on."""
        self.first_failure: TurnError | None = None
        """What the first opening ended with, if it failed."""
        self._first_at: float | None = None
        """When the first opening tries again."""
        self._observers: dict[Any, Callable[[], bool]] = {}
        """Who waits for something else than a turn's events, and what for."""
        self._timer = inf
        """When the runtime's timer fires; ``inf``: it is not set."""

    # -- what a consumer does

    def create(self, body: Mapping[str, Any], *, lane: AnyLane = None, timeouts: object = OMIT, now: float) -> Turn:
        """Begin a turn. Raises as :meth:`ResponsesSession.create` does; then nothing was sent."""
        turn = self.session.create(body, lane=lane, timeouts=timeouts, now=now)
        self._settle(now)
        return turn

    def submit(self, turn: Turn, now: float) -> Turn:
        """Begin a turn that was made already. Raises as :meth:`ResponsesSession.submit` does."""
        self.session.submit(turn, now)
        self._settle(now)
        return turn

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves its turn. After the turn's end, and a second time, this forgets what was not read."""
        if turn.events or turn.state is LIVE:
            self.session.cancel(turn, now)
            self._settle(now)

    def listen(self, turn: Turn, waiter: Any, clock: Callable[[], float]) -> None:
        """Wake this consumer, once, when its turn has news. It has looked, and found none.

        ``clock`` tells what time it is. Hot path: runs once per event that is waited for. Raises ConcurrentUseError if
        another one waits for the turn.
        """
        if turn in self._waiters:
            raise ConcurrentUseError(
                "two tasks wait for the events of one turn — the turn goes on — let one task iterate over it"
            )
        self._waiters[turn] = waiter
        turn.listener = self._tell
        link = self._links.get(turn.connection)  # pyright: ignore[reportArgumentType] - there are two kinds, both known.
        if link is not None and link.paused:
            self._pause_or_resume(link)
        if self._alarm.at < self._timer:  # Its receive deadline runs again.
            self._arm(clock())

    def ignore(self, turn: Turn, waiter: Any) -> None:
        """The consumer waits no more, for another reason than that it was woken. After that, this does nothing."""
        if self._waiters.get(turn) is waiter:
            del self._waiters[turn]
            turn.listener = None

    def observe(self, waiter: Any, until: Callable[[], bool]) -> None:
        """Wake somebody when ``until()`` holds, after some step."""
        self._observers[waiter] = until

    def forget(self, waiter: Any) -> None:
        """It does not wait any more."""
        self._observers.pop(waiter, None)

    # -- connect() and close

    def connect(self, now: float) -> None:
        """Open the first connection, before there is a turn. It is over when :attr:`connecting` is False; then
        :attr:`first_failure` says how it ended."""
        self._first = self.session.first_opening(now)
        self._open(now, connect_by=self._first.deadline)
        self._settle(now)

    @property
    def connecting(self) -> bool:
        """Whether the first opening goes on."""
        return self._first is not None

    def close(self, now: float, *, wait_for_peer: bool = True) -> None:
        """End the session: turns fail as aborted, the connection is closed; :attr:`done` tells when that is over.

        ``wait_for_peer``: the server's half of the closing handshake is waited for, for ``close_timeout``.
        """
        self._first = self._first_at = None
        self.session.close(now, wait_for_peer=wait_for_peer)
        self._settle(now, timed=True)

    def drain(self, now: float, timeout: float | None) -> None:
        """Take no more turns; when those that there are have ended, or after so many seconds, the session is closed."""
        self.session.drain(now, inf if timeout is None else now + timeout)
        self._settle(now, timed=True)

    @property
    def drained(self) -> bool:
        """The session is closed, and there is no transport any more."""
        return self.session.closed and self.done

    def abort(self, now: float) -> None:
        """Close without waiting for anything."""
        self._first = self._first_at = None
        self.session.close(now, wait_for_peer=False)
        for connection in list(self._links):
            self.session.abort(connection, now)
        self._settle(now, timed=True)
        for link in self._closing:
            self._runtime.close(link, abort=True)

    def give_up(self, now: float) -> None:
        """End every turn and the connection, at once; a later turn opens another connection."""
        self._first = self._first_at = None
        self.session.give_up(now)
        self._settle(now)
        for link in self._closing:
            self._runtime.close(link, abort=True)

    def close_without_waiting(self, now: float) -> None:
        """Close the connections that no turn needs, without waiting; a later turn opens another."""
        self.session.close_without_waiting(now)
        self._settle(now)

    @property
    def awaited(self) -> bool:
        """Whether a consumer sleeps."""
        return bool(self._waiters)

    @property
    def done(self) -> bool:
        """There is no transport, open or closing."""
        return not self._links and not self._closing

    # -- what the runtime reports

    def use_endpoint(self, link: Link, endpoint: Endpoint) -> None:
        """Connect to this one: the same place, with the credential of now."""
        link.connection.endpoint = endpoint

    def opened(self, link: Link, now: float) -> None:
        """The transport is open: TCP, proxy and TLS."""
        if link.state is not LinkState.OPENING:
            return
        link.state = LinkState.OPEN
        link.writable = True
        self.session.transport_connected(link.connection, now)
        self._settle(now)

    def received(self, link: Link, data: bytes, now: float) -> None:
        """Bytes arrived; ``b""`` is the end of file. Hot path: runs once per read."""
        if link.state is not OPEN:
            return
        link.looking = False
        self.session.receive_data(link.connection, data, now)
        if self.session.changed or self._observers:
            self._settle(now)
        else:
            self._wake()

    def writable(self, link: Link, now: float) -> None:
        """Everything that was given to the transport has left its buffer."""
        link.writable = True
        if link.state is LinkState.OPEN:
            self._tend(link, now)
            self._settle(now)

    def lost(self, link: Link, error: TurnwireError | None, now: float) -> None:
        """The transport could not be opened, broke, or is closed: there will be no other report of this link."""
        if link.state is LinkState.CLOSED:
            return
        expected = link.state is LinkState.CLOSING
        link.state = LinkState.CLOSED
        self._closing.pop(link, None)
        if not expected:
            reason = str(error) if error is not None else "it was closed"
            self.session.transport_failed(link.connection, reason, now, error)
        self._settle(now, timed=True)

    def time_came(self, now: float) -> None:
        """The runtime's timer has fired."""
        self._timer = inf
        # What has arrived counts before any deadline.
        unprocessed = [one for one in self._links if one.has_unprocessed]
        unread = [link for link in self._links.values() if link.paused and not link.looking]
        for connection in unprocessed:
            self.session.process(connection, now)
        if unread and not unprocessed:
            for link in unread:
                link.looking = True
                self._pause_or_resume(link)
            self._set_timer(now + LOOK)
        elif not unprocessed:
            for link in self._links.values():
                link.looking = False
            self.session.handle_deadline(now)
        for late in [link for link in self._closing if link.close_by is not None and link.close_by <= now]:
            late.close_by = None
            self._runtime.close(late, abort=True)
        if self._first_at is not None and self._first_at <= now and self._first is not None:
            self._first_at = None
            self._open(now, connect_by=self._first.deadline)
        self._settle(now, timed=True)

    # -- C and D

    def _open(self, now: float, connect_by: float | None = None) -> None:
        connection = self.session.open(self._endpoint(), now, connect_by=connect_by)
        self._links[connection] = link = Link(connection)
        self._runtime.open(link)

    def _settle(self, now: float, *, timed: bool = False) -> None:
        """Give the runtime what is to be done now, then wake those who have news."""
        session = self.session
        while True:
            while session.changed:
                link = self._links.get(session.changed.pop())
                if link is not None:
                    self._tend(link, now)
            if not session.wants_connection(now):
                break
            self._open(now)
        if self._alarm.at < self._timer or timed or self._closing or self._first_at is not None:
            self._arm(now)
        if self._news:
            self._wake()
        if self._observers:
            for waiter, until in list(self._observers.items()):
                if until():
                    self._runtime.wake(waiter)
        if session.notices.queued:
            session.notices.deliver()

    def _wake(self) -> None:
        """Wake the consumers of the turns that have told their news."""
        for turn in self._news:
            waiter = self._waiters.pop(turn, None)
            if waiter is not None:  # It has not gone since, and this is not the second piece of its news.
                turn.listener = None
                self._runtime.wake(waiter)
        self._news.clear()

    def _tend(self, link: Link, now: float) -> None:
        """Write, redirect, pause, close: whatever the link's connection asks for."""
        connection = link.connection
        if link.state is LinkState.OPEN and not connection.is_closed:
            self._flush(link, now)
        if connection.is_closed:
            self._connection_ended(link, now)
            return
        if link.state is not LinkState.OPEN:
            return
        if connection.needs_transport:  # Redirected, within its origin.
            self._begin_to_close(link, now, abort=False)
            self._links[connection] = again = Link(connection)
            self._runtime.open(again)
            return
        if link.paused or connection.has_slow_consumer or connection.has_unprocessed:
            self._pause_or_resume(link)
            if connection.has_unprocessed:
                self._set_timer(now)
        if self._first is not None and connection.is_open:
            self._first = None

    def _flush(self, link: Link, now: float) -> None:
        connection = link.connection
        # What has arrived says nothing of a turn whose message has not begun, so it is read first, all of it.
        while link.writable and not connection.has_unprocessed and (data := connection.data_to_send(CHUNK, now)):
            link.writable = self._runtime.write(link, data)
            if len(data) < CHUNK:
                break  # That was all.

    def _pause_or_resume(self, link: Link) -> None:
        """Read nothing while a consumer has fallen behind, unless another one waits, or a deadline has passed."""
        connection = link.connection
        awaited = link.looking or any(turn.connection is connection for turn in self._waiters)
        pause = connection.has_unprocessed or (connection.has_slow_consumer and not awaited)
        if pause is not link.paused:
            link.paused = pause
            (self._runtime.pause if pause else self._runtime.resume)(link)

    def _connection_ended(self, link: Link, now: float) -> None:
        """The link's connection is over; what it still has to say, a close frame, is worth one write."""
        connection = link.connection
        del self._links[connection]
        if link.state is LinkState.OPEN:
            says_why = link.writable and connection.has_data_to_send
            if says_why:
                self._runtime.write(link, connection.data_to_send(CHUNK, now))
            self._begin_to_close(link, now, abort=not says_why)
        elif link.state is LinkState.OPENING:
            self._begin_to_close(link, now, abort=True)
        if connection.failure is None or self.session.fell_back:  # Closed on purpose; or HTTP will do.
            self._first = None
        elif self._first is not None:
            self._first_failed(self._first, connection.failure, now)

    def _begin_to_close(self, link: Link, now: float, *, abort: bool) -> None:
        link.state = LinkState.CLOSING
        link.close_by = now + self.session.options.close_timeout
        self._closing[link] = None
        self._runtime.close(link, abort=abort)

    def _first_failed(self, first: FirstOpening, failure: TurnError, now: float) -> None:
        delay = first.delay(failure, now)
        if delay is None:
            self._first, self.first_failure = None, failure
        else:
            self._first_at = now + delay

    # -- the timer

    def _arm(self, now: float) -> None:
        """See to it that the timer does not fire too late. That it fires too early does no harm."""
        self._alarm.take()
        moments = [self.session.next_deadline(), self._first_at, *(link.close_by for link in self._closing)]
        earliest = min([moment for moment in moments if moment is not None], default=None)
        if earliest is not None:
            self._set_timer(max(earliest, now + LOOK))
        elif self._timer < inf:
            self._timer = inf
            self._runtime.set_timer(None)

    def _set_timer(self, when: float) -> None:
        if when < self._timer:
            self._timer = when
            self._runtime.set_timer(when)
