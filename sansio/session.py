"""A session: one endpoint, one connection or several, and turns that outlive a connection that failed them.

The promise
    A turn is given once and ends once, whichever connections come and go meanwhile. A turn is repeated only if its
    verdict is SAFE and the server did not refuse it, at most as often as the policy says, and its consumer sees nothing
    of it but the time.

Where a turn can be
    ::

                          open()                    sent, streamed, done
        create() ─► backlog ────► a connection ─────────────────────────► ended
                      ▲                │
                      ├── repeated ────┤  failed, and the policy has a plan (RecoveryPolicy.plan)
                      └── evicted ─────┘  not started, and the connection is draining

    The backlog holds, in order, the turns that have no connection to wait for: none is open, or none has a slot and
    another one may be opened, or the one that they were on is *draining*: it was replaced (rotation), its names are
    used up, the server announced its end, or it cannot be written to any more. A draining connection finishes what
    runs on it and is then closed, without waiting for the server's half of the closing handshake. Which connection a
    turn goes to is the pool's matter (``pool.py``), whether it goes over HTTP that of ``fallback.py``.

    What a repeated turn waits for first depends on what failed. The connection: the next one is not opened before that
    (backoff). The turn alone, because the server asked to wait (429): the turn stays in the backlog until then, within
    its own deadlines, and holds up no other.

When a failure is seen
    The session decides about a failure within the call to the connection in which it occurs: a turn that is repeated
    never has one, not even for a moment. (REPLAY.md, "A failure becomes visible when recovery has been decided".)

What a user of this class does
    When :meth:`ResponsesSession.wants_connection`: :meth:`open` one and connect its transport. Tell what happens to it
    to the session, by the methods that take a connection (those that :meth:`open` has returned, no others); each draws
    all consequences before it returns. Ask the connection what is to be written: taking it has no consequences here.
    At :meth:`next_deadline`: :meth:`handle_deadline`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, cast

from .admission import check_backlog, check_lane, check_open
from .backlog import Backlog
from .chance import SYSTEM_RANDOM, RandomBytes
from .connection import ResponsesConnection, Stats, Turn, limit_exceeded, turn_failure
from .deadlines import Alarm
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
from .pool import Connection, Kind, Pool
from .rate_limits import RateLimitLog
from .recovery import Recovery
from .replay import Cause, Plan, Reason
from .retries import provider_managed_retries_disabled, websocket_pre_event_retries_disabled
from .source import EndpointSource
from .timeouts import timeouts_from

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
    """See the top of the module. ``now`` is monotonic seconds; ``random_bytes`` is the only source of chance.

    ``wall_clock`` tells the seconds since the epoch, for a ``retry-after`` that is a date; without one, such a date
    counts only beside the server's own ``date``. ``retries_allowed`` is asked when a turn is submitted: whether it may
    be repeated (``retries.py``).
    """

    # More than 12 attributes: five are what an owner asks for, five are what it was given, and the others hold what has
    # to be decided, and what turns and the next connection wait for.

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
        """Once :meth:`drain` was called: when the session is closed, if not before; ``inf``: when no turn runs."""
        self._retries_allowed = retries_allowed
        self.alarm = Alarm()
        """For whoever sets a timer: when :meth:`next_deadline` may be earlier than it was."""
        self.changed: list[Connection] = []
        """Connections of which something may have to be written, read or closed; whoever does that clears it."""
        most = self.options.connections
        most = {Kind.WEBSOCKET: most, Kind.HTTP: most * self.options.max_in_flight}
        self.pool = Pool(most=most, max_age=self.options.max_age, max_idle=self.options.max_idle)
        self._random_bytes = random_bytes
        self.notices = notices or Notices()
        """What has happened, for those who watch; whoever ends the steps delivers it."""
        self.limits = RateLimitLog()
        self._recovery = Recovery(self.options.recovery, random_bytes, wall_clock, self.notices)
        self._backlog = Backlog(self.alarm)
        self._own = Stats()
        """What was counted of turns that were on no connection."""
        self._touched: dict[Connection, None] = {}
        """Those to which something has happened since :meth:`update`."""
        self._returned: list[tuple[Turn, Plan]] = []
        """Turns that are to be repeated, in order, until :meth:`update` gives them their places in the backlog."""
        self._now = -inf
        """When this was last told what time it is."""
        self._not_before = -inf
        """When the next connection may be opened (backoff)."""

    @property
    def stats(self) -> Stats:
        """The counters of now, of all connections together; a copy."""
        return self._own + self.pool.stats()

    @property
    def connection(self) -> Connection | None:
        """The newest connection; None if there is none."""
        return self.pool.newest

    @property
    def fell_back(self) -> bool:
        """Whether turns go over HTTP now, because the server has no WebSocket, or none that can be opened."""
        return self._fallback.active(self._now)

    # -- turns

    def create(self, body: Mapping[str, Any], *, lane: AnyLane = None, timeouts: object = OMIT, now: float) -> Turn:
        """Begin a turn with these fields of a ``response.create``.

        ``lane`` is a name, None for the default lane, or AUTO for any that is free. ``timeouts`` is what
        :func:`timeouts_from` takes: seconds for each wait, ``Timeouts(…)``, or None for no limit; not given, the
        session's own hold.

        Raises UserError (invalid lane, too many turns, session closed) or TypeError (a value that JSON lacks); then
        nothing was sent.
        """
        default = self.options.turn_timeouts
        limits = default if timeouts is OMIT else timeouts_from(timeouts, default=default)
        return self.submit(Turn.from_body(body, lane=lane, timeouts=limits, now=now), now)

    def submit(self, turn: Turn, now: float) -> Turn:
        """Begin a turn that was made already. Raises as :meth:`create` does."""
        check_open(closed=self.closed, draining=self._drain_by is not None)
        self.update(now)  # A connection may have reached its ``max_age`` meanwhile.
        check_lane(turn, self.options)
        turn.repeatable = self._retries_allowed()
        too_large = turn.too_large(self.options.max_request_size)
        kind = self._fallback.kind_for(turn, now, too_large=too_large is not None)
        if kind is Kind.HTTP and not turn.fits_http:
            body_of(turn.message)  # Raises UserError for a warm-up.
        if too_large is not None and kind is Kind.WEBSOCKET:
            self._fail(turn, turn_failure(turn.evidence(Cause.TOO_LARGE), too_large))
        elif not self._is_behind(turn) and (connection := self.pool.choose(turn, kind)) is not None:
            connection.submit(turn, now)
            self._touched[connection] = None
        else:
            check_backlog(len(self._backlog), self.options)
            self._backlog.add(turn)
            self._touch_draining()
        self.update(now)
        return turn

    def _kind_for(self, turn: Turn) -> Kind:
        """What has to carry this turn."""
        too_large = turn.too_large(self.options.max_request_size) is not None
        return self._fallback.kind_for(turn, self._now, too_large=too_large)

    def _is_behind(self, turn: Turn) -> bool:
        """Whether a turn of this one's lane waits for a connection, one of another kind."""
        return turn.wanted is not AUTO and self._backlog.has_lane(turn.wanted)

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves the turn (DESIGN.md, "Public API"). After its end this does nothing."""
        self.update(now)  # A turn that has just failed may be one that goes on.
        connection = cast("Connection | None", turn.connection)
        if connection is not None:
            self._touched[connection] = None
            connection.cancel(turn, now)
        elif not turn.ended:
            self._fail_waiting(turn, Cause.CANCELLED, "the consumer left the turn before it was sent")
        self.update(now)

    def _fail_waiting(self, turn: Turn, cause: Cause, what: str) -> None:
        self._backlog.remove(turn)
        self._fail(turn, turn_failure(turn.evidence(cause), what))

    def _fail(self, turn: Turn, failure: TurnError) -> None:
        turn.fail(failure)
        self._own.failed += 1

    @property
    def idle(self) -> bool:
        """No turn runs or waits, here or on a connection; abandoned ones do not count."""
        return not (self._backlog or self._returned) and all(connection.idle for connection in self.pool)

    # -- connections

    def wants_connection(self, now: float) -> bool:
        """Whether :meth:`open` should be called: turns wait for one, or one has to be replaced."""
        return not self.closed and now >= self._not_before and self._wanted() is not None

    def _wanted(self) -> Kind | None:
        """Which kind of connection should be opened, if any."""
        if not self._backlog.ready and not self.pool.too_old:
            return None
        found = self._next_waiting(set())
        return self.pool.wants_connection(None if found is None else found[1])

    def open(self, endpoint: Endpoint, now: float, *, connect_by: float | None = None) -> Connection:
        """A new connection, to be connected by the caller; turns that waited for one wait on it now.

        ``connect_by`` is when opening it is given up, if that is earlier than ``connect_timeout`` says.

        Raises SessionClosedError after :meth:`close`, and UserError if there are as many as there may be.
        """
        if self.closed:
            raise SessionClosedError("the session is closed — nothing was opened — open a new session")
        kind = self._wanted() or self.pool.wants_connection(self._fallback.kind(now))
        if kind is None:
            raise UserError("the session has its connections — nothing was opened — wait until wants_connection()")
        connection = self._new(kind, endpoint, now, connect_by)
        connection.limits = self.limits
        self.pool.add(connection)
        self._touched[connection] = None
        self.update(now)
        return connection

    def _new(self, kind: Kind, endpoint: Endpoint, now: float, connect_by: float | None) -> Connection:
        given: dict[str, Any] = {"options": self.options, "now": now, "connect_by": connect_by}
        given |= {"recover": self._recover, "alarm": self.alarm}
        if kind is Kind.HTTP:
            return HttpConnection(endpoint, **given)
        return ResponsesConnection(endpoint, random_bytes=self._random_bytes, **given)

    def _submit(self, connection: Connection, turn: Turn, now: float) -> None:
        self._touched[connection] = None
        try:
            connection.submit(turn, now)
        except UserError as exc:  # Those that came back from the last one were not counted by create().
            what = "with the turns that the last connection left, more waited than a new one takes"
            self._fail(turn, turn_failure(turn.evidence(Cause.PROTOCOL), what, limit_exceeded, exc))

    # -- what happens to a connection

    def transport_connected(self, connection: Connection, now: float) -> None:
        """As :meth:`ResponsesConnection.transport_connected`, with all consequences."""
        self._touched[connection] = None
        connection.transport_connected(now)
        self.update(now)

    def transport_failed(
        self, connection: Connection, reason: str, now: float, error: BaseException | None = None
    ) -> None:
        """As :meth:`ResponsesConnection.transport_failed`, with all consequences."""
        self._now = now
        self._touched[connection] = None
        connection.transport_failed(reason, now, error)
        self.update(now)

    def receive_data(self, connection: Connection, data: bytes, now: float) -> None:
        """As :meth:`ResponsesConnection.receive_data`, with all consequences. Hot path: runs once per read."""
        self._now = now
        watched = self.pool.spreads or self._backlog.ready or self._drain_by is not None
        ran = connection.in_flight if watched else 0
        connection.receive_data(data, now)
        if not connection.only_events or (
            ran and connection.in_flight < ran
        ):  # One of those that wait may take its place.
            self._touched[connection] = None
            self.update(now)

    def process(self, connection: Connection, now: float) -> None:
        """As :meth:`ResponsesConnection.process`, with all consequences."""
        self._now = now
        self._touched[connection] = None
        connection.process(now)
        self.update(now)

    def abort(self, connection: Connection, now: float) -> None:
        """As :meth:`ResponsesConnection.abort`, with all consequences."""
        self._now = now
        self._touched[connection] = None
        connection.abort(now)
        self.update(now)

    def _recover(self, turn: Turn, failure: TurnError) -> bool:
        """Whether the turn is repeated; then it is one that has not begun."""
        self._recovery.saw(failure)
        if failure.evidence.refusal is not None:
            self.limits.answered(failure.evidence.refusal.headers)
        if self.closed:
            return False
        if self._fallback.replaces(turn, failure.evidence):
            plan = Plan(Reason.NO_WEBSOCKET, 0.0)
        else:
            plan = self._recovery.plan(turn, failure, self._now)
        if plan is None:
            return False
        self.notices.repeats(turn, cast("Connection", turn.connection), failure, plan)
        turn.unsent()
        turn.repetitions.append(plan.reason)
        self._own.repeated += 1
        self._returned.append((turn, plan))
        return True

    # -- the consequences

    def update(self, now: float, *touched: Connection) -> None:
        """Draw the consequences of what has happened. Every method that takes a connection does it.

        ``touched`` are connections that were called without the session. Mostly there are no consequences.
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
                first += self._settle(connection, now)
            if first:
                self._backlog.add_first(first)
            if self._backlog.ready:
                self._place_waiting(now)
            self.changed.extend(changed)
        if self._drain_by is not None and (self._drain_by <= now or self.idle):
            self._drain_by = None
            self.close(now)

    def _settle(self, connection: Connection, now: float) -> list[Turn]:
        """The turns that have to leave this connection, to which something has happened, without having started."""
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
            if self._fallback.settled(connection, now):
                self.notices.fell_back(connection)
        replaced = self.pool.settled(connection, now)
        if replaced is not None:
            replaced.drain()
            self._touched[replaced] = None
        return left

    def _place_returned(self, now: float) -> list[Turn]:
        """The turns that are to be repeated as soon as there is a connection; others are put where they wait."""
        returned, self._returned = self._returned, []
        first: list[Turn] = []
        for turn, plan in returned:
            turn.since = now
            if plan.reason is Reason.RATE_LIMIT:
                self._backlog.delay(turn, now + plan.delay)
            else:
                self._not_before = max(self._not_before, now + plan.delay)
                first.append(turn)
        return first

    def _place_waiting(self, now: float) -> None:
        """Give the turns that wait to connections, in order, as long as one takes them."""
        held: set[AnyLane] = set()
        while (found := self._next_waiting(held)) is not None:
            turn, kind = found
            connection = self.pool.choose(turn, kind)
            if connection is None:
                break
            self._backlog.remove(turn)
            self._submit(connection, turn, now)
        self._touch_draining()

    def _next_waiting(self, held: set[AnyLane]) -> tuple[Turn, Kind] | None:
        """The first turn that waits for a connection, and of which kind.

        Those are passed over that wait for the turn before them in their lane; ``held`` are these lanes, and grows.
        """
        for turn in self._backlog.ready:
            if turn.wanted not in held:
                kind = self._kind_for(turn)
                if not self.pool.is_lane_busy(turn, kind):
                    return turn, kind
                held.add(turn.wanted)
        return None

    def _touch_draining(self) -> None:
        """One may have begun to drain because its names are used up."""
        self._touched.update((one, None) for one in self.pool if one.draining and one.waiting)

    # -- deadlines

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` wants to be called; None: not at all."""
        moments = [self._backlog.next_deadline(), self._backlog.next_resumption(), self.pool.next_deadline()]
        moments.append(None if self._drain_by == inf else self._drain_by)
        if self._now < self._not_before and self._wanted() is not None:
            moments.append(self._not_before)
        moments += [connection.next_deadline() for connection in self.pool]
        return min([moment for moment in moments if moment is not None], default=None)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that has passed; read first, as :meth:`ResponsesConnection.next_deadline` says."""
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
        """End the connections that no turn needs, without waiting for the server; a later turn opens another."""
        for connection in self.pool:
            if connection.idle:
                self._touched[connection] = None
                connection.close_without_waiting(now)
        self.update(now)

    def drain(self, now: float, by: float = inf) -> None:
        """Take no more turns. Those that there are go on; when they have ended, or at ``by``, this closes itself.

        Called again, the earlier time holds.
        """
        if not self.closed:
            self._drain_by = by if self._drain_by is None else min(self._drain_by, by)
            self.alarm.announce()
            self.update(now)

    def close(self, now: float, *, wait_for_peer: bool = True) -> None:
        """End the session: turns fail as CLIENT_CLOSED, idle connections close with a handshake, busy ones at once.

        ``wait_for_peer``: the server's half of the closing handshake is waited for, for ``close_timeout``.
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
        """End every turn, as CLIENT_CLOSED, and the connections, at once; a later turn opens another."""
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

    # -- the first opening

    def first_opening(self, now: float) -> FirstOpening:
        """For ``connect()``, which opens a connection before there is a turn."""
        return FirstOpening(self.options, self._recovery, now, repeatable=self._retries_allowed())
