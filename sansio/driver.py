"""The driver: decides what a session's sockets and its timer do and which consumers wake, without any I/O itself.

The promise
    A shell reports each event (a transport opened, bytes arrived, the transport can be written to, a transport was
    lost, the timer fired) by one call that does not block, await or call back. The driver answers by calls to the
    shell's :class:`Runtime`. There is one driver, and one runtime per event loop; the simulations are runtimes, too.
    ``link.py`` has the states of links.

The order of a step
    Every report, and every call of a consumer, is one uninterrupted step:

    ==== ===========================================================================================================
    A    the connection takes the input
    B    the session is brought up to date: recovery, rotation, the backlog
    C    the runtime is told what to open, write, close and time
    D    the consumers of turns with something new are woken; then the observers (``measures.py``, ``notices.py``)
    ==== ===========================================================================================================

    A consumer can see a failure after B, never before (REPLAY.md, "A failure becomes visible when recovery has been
    decided"). Nothing is awaited between A and D, so nobody can see a half-finished step.

What is written
    A chunk is given to the transport when everything before it has left the transport's own buffer. So the bytes that
    count as handed over are never far ahead of the network, and a large message that is cut was not handed over whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

from .admission import new_turn
from .connection import LIVE, Continuation, ResponsesConnection, Turn, TurnInput
from .connections import Connection
from .dialect import Dialect, dialect_of_host
from .endpoint import Endpoint
from .errors import ConcurrentUseError, TurnError, TurnwireError
from .first_opening import FirstOpening
from .lanes import AnyLane
from .link import Link, LinkState, Runtime
from .measures import Recorder, TurnRecord
from .messages import with_trace
from .omit import OMIT
from .session import ResponsesSession

__all__ = ["CHUNK", "Driver", "Link", "LinkState", "Runtime"]

CHUNK: Final = 64 * 1024
"""Bytes given to a transport at a time."""
LOOK: Final = 0.01
"""The timer is set at least this many seconds ahead, so that data that is ready is read first (PARITY A16)."""

OPEN: Final = LinkState.OPEN
"""A local name for the hot path: in CPython 3.11, access to an enum member calls a function written in Python."""


class Driver:
    """See the top of the module. ``now`` is monotonic seconds, the same clock everywhere."""

    # More than 12 attributes: five are arguments, two hold the links, five are about waiting consumers, three about
    # the first opening, and two about the timer; a step uses all of them.

    def __init__(
        self,
        session: ResponsesSession,
        runtime: Runtime,
        endpoint: Callable[[], Endpoint],
        recorder: Recorder | None = None,
    ) -> None:
        self.session = session
        self._recorder = recorder
        """Makes the spans and metrics of turns; None: nobody wants them."""
        self._alarm = session.alarm
        self._runtime = runtime
        self._endpoint = endpoint
        """Returns the endpoint to connect to now. The connection's route may replace it."""
        self._links: dict[Connection, Link] = {}
        """The links of the session's connections."""
        self.open_links: Mapping[Connection, Link] = self._links
        """The same, to be read: links that are OPENING or OPEN."""
        self._closing: dict[Link, None] = {}
        """Links in state CLOSING."""
        self._paused = False
        """Whether a link was ever paused. Hot path: most sessions never pause one."""
        self._waiters: dict[Turn, Any] = {}
        self._news: list[Turn] = []
        """Turns that have something new for their consumers, since consumers were last woken."""
        self._tell = self._news.append
        self._first: FirstOpening | None = None
        """The opening that ``connect()`` does; None when it is over."""
        self.first_failure: TurnError | None = None
        """The failure of the first opening, if it failed."""
        self._first_at: float | None = None
        """When the first opening tries again."""
        self._conditions: dict[Any, Callable[[], bool]] = {}
        """Waiters for a condition other than a turn's events, and the condition."""
        self._reading_for: dict[Any, Turn] = {}
        """Those of them that wait for what comes for a turn."""
        self._timer = inf
        """When the runtime's timer fires; ``inf``: it is off."""

    # -- what a consumer does

    @property
    def dialect(self) -> Dialect:
        """What the server supports, as far as known: by the newest WebSocket, else connection, else as before one."""
        websockets = [one for one in self.session.pool if isinstance(one, ResponsesConnection)]
        if (newest := websockets[-1] if websockets else self.session.connection) is not None:
            return newest.dialect
        return self.session.options.given_dialect or dialect_of_host(self._endpoint().host)

    def create(
        self,
        body: Mapping[str, Any],
        *,
        lane: AnyLane = None,
        timeouts: object = OMIT,
        now: float,
        follows: Continuation | None = None,
    ) -> Turn:
        """Begin a turn; ``follows``: what it continues, if it is of a conversation. Raises as
        :meth:`ResponsesSession.create` does; then nothing was sent."""
        given: dict[str, Any] = {"lane": lane, "timeouts": timeouts, "now": now, "follows": follows}
        if self._recorder is None:
            return self.submit(new_turn(self.session.options, body, **given), now)

        def begin(record: TurnRecord) -> Turn:
            traced = with_trace(body, self.dialect.trace_member, record.traceparent)
            turn = new_turn(self.session.options, traced, **given)
            turn.observer = record
            return self.submit(turn, now)

        return self._recorder.around(begin, body, now)

    def submit(self, turn: Turn, now: float) -> Turn:
        """Begin a turn that already exists. Raises as :meth:`ResponsesSession.submit` does."""
        self.session.submit(turn, now)
        self._carry_out(now)
        return turn

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves its turn. After the turn's end, and when called again, it drops the unread events."""
        if turn.events or turn.state is LIVE:
            self.session.cancel(turn, now)
            self._carry_out(now)

    def send_input(self, one: TurnInput, now: float) -> None:
        """Send a steer or an injection. Raises as :meth:`ResponsesSession.send_input` does; then nothing was sent."""
        if one.turn.ended:
            one.turn.add_input(one)
            return
        dialect = self.dialect
        self.session.send_input(one, dialect.steering if one.kind == "steer" else dialect.injecting, now)
        self._carry_out(now)

    def listen(self, turn: Turn, waiter: Any, clock: Callable[[], float]) -> None:
        """Wake this consumer, once, when its turn has something new. The caller has found nothing to read before.

        ``clock`` returns the present time. Hot path: runs once per event that is waited for. Raises ConcurrentUseError
        if another consumer waits for the turn.
        """
        if turn in self._waiters:
            raise ConcurrentUseError(
                "two tasks wait for the events of one turn — the turn goes on — let one task iterate over it"
            )
        self._waiters[turn] = waiter
        turn.listener = self._tell
        if self._paused:
            self._resume_for(turn)
        if self._alarm.at < self._timer:  # The turn's receive deadline runs again.
            self._arm(clock())

    def _resume_for(self, turn: Turn) -> None:
        link = self._links.get(turn.connection)  # pyright: ignore[reportArgumentType] - there are two kinds, both known.
        if link is not None and link.paused:
            self._pause_or_resume(link)

    def ignore(self, turn: Turn, waiter: Any) -> None:
        """The consumer stops waiting without having been woken. If it was woken, this does nothing."""
        if self._waiters.get(turn) is waiter:
            del self._waiters[turn]
            turn.listener = None

    def wake_when(self, waiter: Any, until: Callable[[], bool], turn: Turn | None = None) -> None:
        """Wake a waiter when ``until()`` is true at the end of a step. ``turn``: whose connection is read meanwhile,
        although this turn may have too many unread events."""
        self._conditions[waiter] = until
        if turn is not None:
            self._reading_for[waiter] = turn
            if self._paused:
                self._resume_for(turn)

    def forget(self, waiter: Any) -> None:
        """The waiter stops waiting."""
        self._conditions.pop(waiter, None)
        self._reading_for.pop(waiter, None)

    # -- connect() and close

    def connect(self, now: float) -> None:
        """Open the first connection, before there is a turn. When :attr:`connecting` becomes False, it is over, and
        :attr:`first_failure` is its failure or None."""
        self._first = self.session.first_opening(now)
        self._open(now, connect_by=self._first.deadline)
        self._carry_out(now)

    @property
    def connecting(self) -> bool:
        """Whether the first opening goes on."""
        return self._first is not None

    def close(self, now: float, *, wait_for_peer: bool = True) -> None:
        """End the session: turns fail as aborted, connections are closed. :attr:`done` says when that is finished.

        ``wait_for_peer``: wait for the server's close frame, at most ``close_timeout``.
        """
        self._first = self._first_at = None
        self.session.close(now, wait_for_peer=wait_for_peer)
        self._carry_out(now, timed=True)

    def drain(self, now: float, timeout: float | None) -> None:
        """Take no more turns. The session is closed when the present ones have ended, or after this many seconds."""
        self.session.drain(now, inf if timeout is None else now + timeout)
        self._carry_out(now, timed=True)

    @property
    def drained(self) -> bool:
        """Whether the session is closed and no transport is left."""
        return self.session.closed and self.done

    def abort(self, now: float) -> None:
        """Close without waiting for anything."""
        self._first = self._first_at = None
        self.session.close(now, wait_for_peer=False)
        for connection in list(self._links):
            self.session.abort(connection, now)
        self._carry_out(now, timed=True)
        for link in self._closing:
            self._runtime.close(link, abort=True)

    def give_up(self, now: float) -> None:
        """End every turn and all connections at once. A later turn opens a new connection."""
        self._first = self._first_at = None
        self.session.give_up(now)
        self._carry_out(now)
        for link in self._closing:
            self._runtime.close(link, abort=True)

    def close_without_waiting(self, now: float) -> None:
        """Close the connections that no turn needs, without waiting. A later turn opens a new one."""
        self.session.close_without_waiting(now)
        self._carry_out(now)

    @property
    def links(self) -> list[Link]:
        """All links that are not CLOSED."""
        return [*self._links.values(), *self._closing]

    @property
    def awaited(self) -> bool:
        """Whether any consumer waits."""
        return bool(self._waiters)

    @property
    def done(self) -> bool:
        """Whether there is no transport left, neither open nor closing."""
        return not self._links and not self._closing

    # -- what the runtime reports

    def opened(self, link: Link, now: float) -> None:
        """The transport is open: TCP, proxy and TLS."""
        if link.state is not LinkState.OPENING:
            return
        link.state = LinkState.OPEN
        link.writable = True
        self.session.transport_connected(link.connection, now)
        self._carry_out(now)

    def received(self, link: Link, data: bytes, now: float) -> None:
        """Bytes arrived; ``b""`` is the end of file. Hot path: runs once per read."""
        if link.state is not OPEN:
            return
        link.looking = False
        session = self.session
        session.receive_data(link.connection, data, now)
        if session.changed or self._conditions:
            self._carry_out(now)
            return
        if self._news:
            self._wake()
        if self._recorder is not None and self._recorder.pending:
            self._recorder.deliver(now)

    def writable(self, link: Link, now: float) -> None:
        """Everything that was given to the transport has left its buffer."""
        link.writable = True
        if link.state is LinkState.OPEN:
            self._tend(link, now)
            self._carry_out(now)

    def lost(self, link: Link, error: TurnwireError | None, now: float) -> None:
        """The transport could not be opened, broke, or is closed. No other report of this link follows."""
        if link.state is LinkState.CLOSED:
            return
        expected = link.state is LinkState.CLOSING
        link.state = LinkState.CLOSED
        self._closing.pop(link, None)
        if not expected:
            reason = str(error) if error is not None else "it was closed"
            self.session.transport_failed(link.connection, reason, now, error)
        self._carry_out(now, timed=True)

    def time_came(self, now: float) -> None:
        """The runtime's timer has fired."""
        self._timer = inf
        # Data that has arrived is processed before any deadline.
        for connection in [one for one in self._links if one.has_unprocessed]:
            self.session.process(connection, now)
        behind = any(one.has_unprocessed for one in self._links)
        unread = [link for link in self._links.values() if link.paused and not link.looked]
        if unread and not behind:
            for link in unread:
                link.looking = link.looked = True
                self._pause_or_resume(link)
            self._set_timer(now + LOOK)
        elif not behind:
            for link in self._links.values():
                link.looking = link.looked = False
            self.session.handle_deadline(now)
        for late in [link for link in self._closing if link.close_by is not None and link.close_by <= now]:
            late.close_by = None
            self._runtime.close(late, abort=True)
        if self._first_at is not None and self._first_at <= now and self._first is not None:
            self._first_at = None
            self._open(now, connect_by=self._first.deadline)
        self._carry_out(now, timed=True)

    # -- C and D

    def _open(self, now: float, connect_by: float | None = None) -> None:
        connection = self.session.open(self._endpoint(), now, connect_by=connect_by)
        self._links[connection] = link = Link(connection)
        self._runtime.open(link)

    def _carry_out(self, now: float, *, timed: bool = False) -> None:
        """Tell the runtime what to do now, then wake the consumers of turns with something new."""
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
        if self._conditions:
            for waiter, until in list(self._conditions.items()):
                if until():
                    self._runtime.wake(waiter)
        if self._recorder is not None and self._recorder.pending:
            self._recorder.deliver(now)
        if session.notices.queued:
            session.notices.deliver()

    def _wake(self) -> None:
        """Wake the consumers of the turns in ``_news``."""
        for turn in self._news:
            waiter = self._waiters.pop(turn, None)
            if waiter is not None:  # It has not gone since.
                self._runtime.wake(waiter)
        self._news.clear()

    def _tend(self, link: Link, now: float) -> None:
        """Do what the link's connection needs: write, redirect, pause, close."""
        connection = link.connection
        behind = connection.has_unprocessed
        # Data that has arrived is processed first: it cannot be an answer to a message that has not begun.
        if link.writable and link.state is OPEN and not (behind or connection.is_closed):
            self._flush(link, now)
        if connection.is_closed:
            self._connection_ended(link, now)
            return
        if link.state is not OPEN:
            return
        if connection.needs_transport:  # It was redirected within its origin.
            self._begin_to_close(link, now, abort=False)
            self._links[connection] = again = Link(connection)
            self._runtime.open(again)
            return
        if link.paused or behind or connection.has_slow_consumer:
            self._pause_or_resume(link)
            if behind:
                self._set_timer(now)
        if self._first is not None and connection.is_open:
            self._first = None

    def _flush(self, link: Link, now: float) -> None:
        while link.writable and (data := link.connection.data_to_send(CHUNK, now)):
            link.writable = self._runtime.write(link, data)
            if len(data) < CHUNK:
                break  # There is no more.

    def _pause_or_resume(self, link: Link) -> None:
        """Stop reading while a turn has too many unread events, unless another consumer waits or a deadline has
        passed."""
        connection = link.connection
        turns = [*self._waiters, *self._reading_for.values()]
        awaited = link.looking or any(turn.connection is connection for turn in turns)
        pause = connection.has_unprocessed or (connection.has_slow_consumer and not awaited)
        if pause is not link.paused:
            link.paused = pause
            self._paused = True
            (self._runtime.pause if pause else self._runtime.resume)(link)

    def _connection_ended(self, link: Link, now: float) -> None:
        """The link's connection has ended. If it has a close frame to send, that is written once."""
        connection = link.connection
        del self._links[connection]
        if link.state is LinkState.OPEN:
            says_why = link.writable and connection.has_data_to_send
            if says_why:
                self._runtime.write(link, connection.data_to_send(CHUNK, now))
            self._begin_to_close(link, now, abort=not says_why)
        elif link.state is LinkState.OPENING:
            self._begin_to_close(link, now, abort=True)
        if connection.failure is None or self.session.fell_back:  # It was closed on purpose, or HTTP is used instead.
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
        """Set the timer no later than the next deadline. A timer that fires too early is harmless."""
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
