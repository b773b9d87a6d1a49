"""A session: one endpoint, one connection or several, and turns that can move from a failed connection to another.

The promise
    Each turn ends exactly once, whichever connections come and go. A turn is repeated only for the reasons that
    REPLAY.md lists ("Automatic recovery"), and at most as often as the policy says: unless the caller allows more, none
    of them lets a server run a turn twice. The consumer of a repeated turn notices nothing but the delay.

Where a turn can be
    ::

                          open()                    sent, streamed, done
        create() ─► backlog ────► a connection ─────────────────────────► ended
                      ▲                │
                      ├── repeated ────┤  failed, and it goes over HTTP, or Recovery.plan allows it
                      └── requeued ────┘  not started, and the connection is draining

    The backlog holds, in order, the turns without a connection: none is open; or none has a free slot and another one
    may be opened; or the connection that they were on is *draining*. A connection drains when it was replaced
    (rotation), when its lane names are used up, when the server announced its end, or when it cannot be written to any
    more. It finishes the turns that run on it and is then closed, without waiting for the server's close frame.
    ``pool.py`` chooses the connection for a turn; ``fallback.py`` decides whether the turn goes over HTTP. Of a failed
    turn, ``fallback.py`` is asked first: if its upgrade said that there is no WebSocket, it goes over HTTP
    (R-RECOVER-14). Of every other, ``recovery.py`` decides, by the policy, the turn's deadlines and the caller's
    ``should_repeat``.

    What a repeated turn first waits for depends on what failed. If the connection failed, the next one is not opened
    before the delay is over (backoff). If only the turn failed (a 429; an error answer over HTTP), the turn stays
    in the backlog for that time, within its own deadlines. Other turns are not held up.

When a failure becomes visible
    The session decides about a failure within the call to the connection in which it occurs. So a turn that is repeated
    never shows a failure, not even for a moment (REPLAY.md, "A failure becomes visible when recovery has been
    decided").

What a user of this class does
    If :meth:`ResponsesSession.wants_connection` is true, call :meth:`open` and connect the transport of the connection
    it returns. Report what happens to a connection by the methods of the session that take one; each of them brings the
    whole session up to date before it returns. Take the bytes to write from the connection itself; this does not affect
    the session. At :meth:`next_deadline`, call :meth:`handle_deadline`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, cast

from .admission import check_backlog, check_lane, check_open, new_turn
from .backlog import Backlog
from .chance import SYSTEM_RANDOM, RandomBytes
from .connection import ResponsesConnection, Stats, Turn, TurnInput, limit_exceeded, turn_failure
from .deadlines import Alarm
from .dialect import Support
from .endpoint import Endpoint
from .errors import SessionClosedError, TurnError, UserError
from .fallback import Fallback
from .first_opening import FirstOpening
from .handle import TurnHandle
from .http import HttpConnection, body_of
from .lanes import AUTO, AnyLane
from .notices import Notices
from .omit import OMIT
from .options import SessionOptions, options_from_client
from .placement import missing, place
from .pool import Connection, ConnectionKind, Pool
from .rate_limits import RateLimitLog
from .recovery import Recovery, begin_again
from .replay import Cause, Plan, RepeatReason
from .retries import provider_managed_retries_disabled, websocket_pre_event_retries_disabled
from .source import EndpointSource
from .steering import send_input

__all__ = [
    "EndpointSource",
    "ResponsesSession",
    "SessionOptions",
    "TurnHandle",
    "options_from_client",
    "provider_managed_retries_disabled",
    "websocket_pre_event_retries_disabled",
]


class ResponsesSession:
    """See the top of the module. ``now`` is monotonic seconds; ``random_bytes`` is the only source of random numbers.

    ``wall_clock`` returns the seconds since the epoch. It is used for a ``retry-after`` that is a date; without it,
    such a date is used only if the server also sent ``date``. ``retries_allowed`` is called when a turn is submitted
    and says whether that turn may be repeated (``retries.py``).
    """

    # More than 12 attributes: five are read by the owner, five are arguments, and the others hold what turns and the
    # next connection wait for.

    def __init__(
        self,
        *,
        options: SessionOptions | None = None,
        random_bytes: RandomBytes = SYSTEM_RANDOM,
        wall_clock: Callable[[], float | None] = lambda: None,
        retries_allowed: Callable[[], bool] = lambda: True,
        notices: Notices | None = None,
    ) -> None:
        self.options = options or SessionOptions()
        self._fallback = Fallback(self.options.transport)
        self.closed = False
        self._drain_by: float | None = None
        """After :meth:`drain`: when the session is closed at the latest; ``inf``: only when no turn is left."""
        self._retries_allowed = retries_allowed
        self.alarm = Alarm()
        """Says, to whoever sets a timer, when :meth:`next_deadline` may have become earlier."""
        self.changed: list[Connection] = []
        """Connections that may need a write, a pause or a close. The owner handles them and clears the list."""
        most = self.options.connections
        most = {ConnectionKind.WEBSOCKET: most, ConnectionKind.HTTP: most * self.options.max_in_flight}
        ages = {"max_age": self.options.max_age, "max_idle": self.options.max_idle}
        self.pool = Pool(most=most, alarm=self.alarm, close_last=self.options.close_last, **ages)
        self._random_bytes = random_bytes
        self.notices = notices or Notices()
        """Notices for observers. The owner delivers them at the end of each step."""
        self.rate_limits = RateLimitLog()
        self._recovery = Recovery(self.options.recovery, random_bytes, wall_clock, self.notices)
        self._backlog = Backlog(self.alarm, self._is_exception)
        self._own = Stats()
        """Counters of turns that were on no connection."""
        self._touched: dict[Connection, None] = {}
        """Connections that have changed since the last :meth:`update`."""
        self._returned: list[tuple[Turn, Plan, Connection]] = []
        """Turns to be repeated, in order. :meth:`update` puts them into the backlog."""
        self._now = -inf
        """The latest ``now``."""
        self._not_before = -inf
        """The next connection is not opened before this time (backoff)."""

    @property
    def stats(self) -> Stats:
        """The present counters of all connections together; a copy."""
        return self._own + self.pool.stats()

    @property
    def connection(self) -> Connection | None:
        """The connection that was added last; None if there is none."""
        return self.pool.newest

    @property
    def fell_back(self) -> bool:
        """Whether turns go over HTTP now because the server has no WebSocket, or none could be opened."""
        return self._fallback.active(self._now)

    # -- turns

    def create(self, body: Mapping[str, Any], *, lane: AnyLane = None, timeouts: object = OMIT, now: float) -> Turn:
        """Begin a turn with these fields of a ``response.create``.

        ``lane`` is a name, None for the default lane, or AUTO for any free lane. ``timeouts`` is a value for
        :func:`timeouts_from`: seconds for each wait, ``Timeouts(…)``, or None for no limit. If it is not given, the
        session's timeouts apply.

        Raises UserError (invalid lane, too many turns, session closed) or TypeError (a value that JSON does not have).
        Then nothing was sent.
        """
        return self.submit(new_turn(self.options, body, lane=lane, timeouts=timeouts, now=now), now)

    def submit(self, turn: Turn, now: float) -> Turn:
        """Begin a turn that already exists. Raises as :meth:`create` does."""
        check_open(closed=self.closed, draining=self._drain_by is not None)
        self.update(now)  # A connection may have reached its ``max_age`` since the last call.
        if turn.lane is not None:
            check_lane(turn.lane, self.options)
        turn.repeatable = self._retries_allowed()
        kind = self._kind_for(turn)
        too_large = turn.too_large(self.options.max_request_size)
        if kind is ConnectionKind.HTTP and not turn.fits_http:
            body_of(turn.message)  # Raises UserError for a warm-up.
        # Whether a turn of its lane waits for a connection, one of another kind.
        is_behind = turn.wanted is not AUTO and self._backlog.has_lane(turn.wanted)
        if too_large is not None and kind is ConnectionKind.WEBSOCKET:
            self._fail(turn, turn_failure(turn.evidence(Cause.TOO_LARGE), too_large))
        elif not is_behind and (connection := self.pool.choose(turn, kind)) is not None:
            connection.submit(turn, now)
            self._touched[connection] = None
        else:
            check_backlog(len(self._backlog), self.options)
            self._backlog.add(turn)
            self._touch_draining()
        self.update(now)
        return turn

    def _is_exception(self, turn: Turn) -> bool:
        """Whether the turn needs a kind of connection that does not depend on whether there is a WebSocket."""
        return turn.http_only or not turn.fits_http or turn.too_large(self.options.max_request_size) is not None

    def _kind_for(self, turn: Turn) -> ConnectionKind:
        """The kind of connection that this turn needs."""
        return self._fallback.kind_of(turn, self._now, self.options.max_request_size, self.pool.remembers)

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves the turn (DESIGN.md, "Public API"). After the turn's end it does nothing."""
        self.update(now)  # First decide about failures: this turn may be one that is repeated.
        connection = cast("Connection | None", turn.connection)
        if connection is not None:
            self._touched[connection] = None
            connection.cancel(turn, now)
            if turn.abandoned and self.options.connections > 1:
                self._backlog.add_first(cast("ResponsesConnection", connection).requeue_behind(turn))
        elif not turn.ended:
            self._fail_waiting(turn, Cause.CANCELLED, "the consumer left the turn before it was sent")
        self.update(now)

    def send_input(self, one: TurnInput, support: Support, now: float) -> None:
        """Send a steer or an injection. ``support``: whether the server takes it, if no connection of the turn knows.

        Raises SteeringNotSupportedError; then nothing was sent.
        """
        self.update(now)
        waits = one.turn.connection is None
        send_input(one, support, now, over_http=waits and self._kind_for(one.turn) is ConnectionKind.HTTP)
        self.update(now, *[each for each in self.pool if each is one.turn.connection])

    def _fail_waiting(self, turn: Turn, cause: Cause, what: str) -> None:
        self._backlog.remove(turn)
        self._fail(turn, turn_failure(turn.evidence(cause), what))

    def _fail(self, turn: Turn, failure: TurnError) -> None:
        turn.fail(failure)
        self._own.failed += turn.counts

    @property
    def idle(self) -> bool:
        """Whether no turn runs or waits, here or on a connection; abandoned turns do not count."""
        return not (self._backlog or self._returned) and all(connection.idle for connection in self.pool)

    # -- connections

    def wants_connection(self, now: float) -> bool:
        """Whether :meth:`open` should be called: turns wait for a connection, or one has to be replaced."""
        waiting = self._backlog.ready or self._backlog.retrievals or self.pool.too_old  # Usually there is none.
        return bool(waiting) and not self.closed and now >= self._not_before and self._wanted(now) is not None

    def _wanted(self, now: float) -> ConnectionKind | None:
        """The kind of connection that should be opened; None: none."""
        return missing(self._backlog, self.pool, self._kind_for, now)

    def open(self, endpoint: Endpoint, now: float, *, connect_by: float | None = None) -> Connection:
        """Make a connection; the caller opens its transport. Waiting turns that it can take are given to it.

        ``connect_by``: the attempt to open it ends at this time, if ``connect_timeout`` would end it later.

        Raises SessionClosedError after :meth:`close`, and UserError if the session has all the connections it may have.
        """
        if self.closed:
            raise SessionClosedError("the session is closed — nothing was opened — open a new session")
        kind = self._wanted(now) or self.pool.wants_connection(self._fallback.kind(now))
        if kind is None:
            raise UserError("the session has its connections — nothing was opened — wait until wants_connection()")
        connection = self._new(kind, endpoint, now, connect_by)
        connection.rate_limits = self.rate_limits
        self.pool.add(connection)
        self._touched[connection] = None
        self.update(now)
        return connection

    def _new(self, kind: ConnectionKind, endpoint: Endpoint, now: float, connect_by: float | None) -> Connection:
        given: dict[str, Any] = {"options": self.options, "now": now, "connect_by": connect_by}
        given |= {"recover": self._recover, "alarm": self.alarm}
        if kind is ConnectionKind.HTTP:
            return HttpConnection(endpoint, **given)
        return ResponsesConnection(endpoint, random_bytes=self._random_bytes, **given)

    def _submit(self, connection: Connection, turn: Turn, now: float) -> None:
        self._touched[connection] = None
        try:
            connection.submit(turn, now)
        except UserError as exc:  # Turns that were requeued are not counted by the check in create().
            what = "with the turns that the last connection left, more waited than a new one takes"
            self._fail(turn, turn_failure(turn.evidence(Cause.PROTOCOL), what, limit_exceeded, exc))

    # -- what happens to a connection

    def transport_connected(self, connection: Connection, now: float) -> None:
        """As :meth:`ResponsesConnection.transport_connected`; then updates the session."""
        self._touched[connection] = None
        connection.transport_connected(now)
        self.update(now)

    def transport_failed(
        self, connection: Connection, reason: str, now: float, error: BaseException | None = None
    ) -> None:
        """As :meth:`ResponsesConnection.transport_failed`; then updates the session."""
        self._now = now
        self._touched[connection] = None
        connection.transport_failed(reason, now, error)
        self.update(now)

    def receive_data(self, connection: Connection, data: bytes, now: float) -> None:
        """As :meth:`ResponsesConnection.receive_data`; then updates the session. Hot path: runs once per read."""
        self._now = now
        connection.receive_data(data, now)
        if not connection.only_events or (connection.freed and self._wants_slots):
            self._touched[connection] = None
            self.update(now)

    @property
    def _wants_slots(self) -> bool:
        """Whether the end of a turn may have consequences: a waiting turn takes its slot, or the session ends."""
        return bool(self.pool.spreads or self._backlog.ready or self._drain_by is not None)

    def process(self, connection: Connection, now: float) -> None:
        """As :meth:`ResponsesConnection.process`; then updates the session."""
        self._now = now
        self._touched[connection] = None
        connection.process(now)
        self.update(now)

    def abort(self, connection: Connection, now: float) -> None:
        """As :meth:`ResponsesConnection.abort`; then updates the session."""
        self._now = now
        self._touched[connection] = None
        connection.abort(now)
        self.update(now)

    def _recover(self, turn: Turn, failure: TurnError) -> bool:
        """Decide about a failure (R-VISIBLE-1). True: the turn is repeated, and is again one that has not begun."""
        self._recovery.saw(failure)
        if failure.evidence.refusal is not None:
            self.rate_limits.answered(failure.evidence.refusal.headers)
        if self.closed:
            return False
        moves = self._fallback.replaces(turn, failure.evidence)
        plan = Plan(RepeatReason.NO_WEBSOCKET, 0.0) if moves else self._recovery.plan(turn, failure, self._now)
        if plan is None:
            return False
        self.notices.repeats(turn, connection := cast("Connection", turn.connection), failure, plan)
        begin_again(turn, plan.reason)
        self._own.repeated += turn.counts
        self._returned.append((turn, plan, connection))
        return True

    # -- the consequences

    def update(self, now: float, *touched: Connection) -> None:
        """Bring the session up to date after changes of its connections. Every method that takes a connection calls it.

        ``touched`` are connections that were called directly. Usually there is nothing to do.
        """
        self._now = now
        if touched:
            self._touched.update(dict.fromkeys(touched))
        if self.pool.rotate_at <= now:
            for connection in self.pool.rotate(now):
                connection.drain()
                self._touched[connection] = None
        if self._backlog.delayed:
            for turn in self._backlog.due(now):
                self._backlog.add(turn)
        while self._touched or self._returned:
            changed, self._touched = self._touched, {}
            first = self._place_returned(now) if self._returned else []
            for connection in changed:
                first += self._update_connection(connection, now)
            if first:
                self._backlog.add_first(first)
            if self._backlog.ready or self._backlog.retrievals:
                self._place_waiting(now)
            self.changed.extend(changed)
        if self._drain_by is not None and (self._drain_by <= now or self.idle):
            self._drain_by = None
            self.close(now)

    def _update_connection(self, connection: Connection, now: float) -> list[Turn]:
        """Update the session for one changed connection; return the turns that must leave it and have not started."""
        left: list[Turn] = []
        if connection not in self.notices.seen_open:
            self.notices.look(connection)
        if isinstance(connection, ResponsesConnection) and connection.draining:
            self.notices.look(connection)
            left = connection.requeue_unstarted(now)
            if connection.idle and connection.draining:
                connection.close_without_waiting(now)
        if (connection.is_closed or self._fallback.failures) and connection in self.pool:
            if connection.is_closed:
                self.notices.ended(connection, expected=self.closed)
            if self._fallback.update(connection, now):
                self.notices.fell_back(connection)
        replaced = self.pool.update(connection, now)
        if replaced is not None:
            replaced.drain()
            self._touched[replaced] = None
        return left

    def _place_returned(self, now: float) -> list[Turn]:
        """Put the turns to be repeated where they wait; return those that need nothing but a connection
        (R-RECOVER-9)."""
        returned, self._returned = self._returned, []
        first: list[Turn] = []
        for turn, plan, failed_on in returned:
            turn.since = now
            goes_on = plan.delay > 0 and not failed_on.is_closed  # It would take the turn again at once.
            if plan.reason in (RepeatReason.RATE_LIMIT, RepeatReason.ONLY_READS) or goes_on:
                self._backlog.delay(turn, now + plan.delay)
            else:
                self._not_before = max(self._not_before, now + plan.delay)
                first.append(turn)
        return first

    def _place_waiting(self, now: float) -> None:
        """Give waiting turns to connections."""
        place(self._backlog, self.pool, self._kind_for, lambda connection, turn: self._submit(connection, turn, now))
        self._touch_draining()

    def _touch_draining(self) -> None:
        """Mark draining connections as changed: one may have begun to drain because its lane names are used up."""
        self._touched.update((one, None) for one in self.pool if one.draining and (one.waiting or one.idle))

    # -- deadlines

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` must be called; None: not at all."""
        moments = [self._backlog.next_deadline(), self._backlog.next_resumption(), self.pool.next_deadline()]
        moments.append(None if self._drain_by == inf else self._drain_by)
        if self._backlog.ready:
            moments.append(self.pool.finished_by(self._now))
        if self._now < self._not_before and self._wanted(self._now) is not None:
            moments.append(self._not_before)
        moments += [connection.next_deadline() for connection in self.pool]
        return min([moment for moment in moments if moment is not None], default=None)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that has passed. First read, as :meth:`ResponsesConnection.next_deadline` says."""
        self._now = now
        for turn in self._backlog.expired(now):
            total = turn.total_deadline()
            name = "total" if total is not None and total <= now else "lane wait"
            self._fail_waiting(turn, Cause.TIMEOUT, f"the {name} deadline passed")
        for connection in self.pool:
            connection.handle_deadline(now)
            self._touched[connection] = None
        self.update(now)
        while (unused := self.pool.unused(now)) is not None:
            self._touched[unused] = None
            unused.close_without_waiting(now)
            self.update(now)

    # -- the end

    def close_without_waiting(self, now: float) -> None:
        """Close the connections that no turn needs, without waiting for the server. A later turn opens a new one."""
        for connection in self.pool:
            if connection.idle:
                self._touched[connection] = None
                connection.close_without_waiting(now)
        self.update(now)

    def drain(self, now: float, by: float = inf) -> None:
        """Take no more turns. When the present ones have ended, or at the time ``by``, the session closes itself. The
        earliest time of several calls applies."""
        if not self.closed:
            self._drain_by = by if self._drain_by is None else min(self._drain_by, by)
            self.alarm.announce()
            self.update(now)

    def close(self, now: float, *, wait_for_peer: bool = True) -> None:
        """End the session: turns fail as CLIENT_CLOSED, idle connections close with a handshake, busy ones at once.

        ``wait_for_peer``: wait for the server's close frame, at most ``close_timeout``.
        """
        self.update(now)
        self.closed, self._drain_by = True, None
        for turn in list(self._backlog):
            self._fail_waiting(turn, Cause.CLIENT_CLOSED, "the session was closed")
        for connection in self.pool:
            self._touched[connection] = None
            if wait_for_peer or not connection.idle:
                connection.close(now)
            else:
                connection.close_without_waiting(now)
        self.update(now)

    def give_up(self, now: float) -> None:
        """End every turn as CLIENT_CLOSED, and all connections, at once. A later turn opens a new connection."""
        self.update(now)
        for turn in list(self._backlog):
            self._fail_waiting(turn, Cause.CLIENT_CLOSED, "the session was closed")
        for connection in self.pool:
            self._touched[connection] = None
            if connection.idle:
                connection.close_without_waiting(now)
            else:
                connection.abort(now)
        self.update(now)

    def first_opening(self, now: float) -> FirstOpening:
        """The state of the opening that ``connect()`` does before there is a turn."""
        return FirstOpening(self.options, self._recovery, now, repeatable=self._retries_allowed())
