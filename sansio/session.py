"""A session: one endpoint, one connection at a time, and turns that outlive a connection that failed them.

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

    The backlog holds, in order, the turns that have no connection to wait for: none is open, or the open one is
    *draining*: it has reached its ``max_age`` (rotation), the server announced its end, or it cannot be written to any
    more. A draining connection finishes what runs on it and is then closed, without waiting for the server's half of
    the closing handshake: the next one is opened at once.

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

import msgspec

from .backlog import Backlog
from .chance import SYSTEM_RANDOM, RandomBytes
from .checks import Instance
from .connection import ConnectionOptions, ResponsesConnection, State, Stats, Turn, limit_exceeded, turn_failure
from .deadlines import Alarm
from .endpoint import (
    Endpoint,
)
from .errors import LaneLimitError, SessionClosedError, TooManyTurnsError, TurnError, UserError
from .handle import TurnHandle
from .omit import OMIT, is_omitted
from .replay import Cause, Plan, Reason, RecoveryPolicy
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


class SessionOptions(ConnectionOptions, frozen=True, kw_only=True):
    """The options of a session: those of its connections, and when to replace and repeat."""

    max_age: float | None = 55 * 60.0
    """Seconds after which a connection is replaced when no turn runs on it; servers end it at 60 minutes (PROTOCOL.md,
    "Connection")."""
    recovery: RecoveryPolicy = RecoveryPolicy()
    """What is repeated automatically."""


def options_from_client(client: object | None, options: SessionOptions | None) -> SessionOptions:
    """The session's options; the deadlines are the client's, its own defaults too, unless the options name some.

    Raises WrongTypeError for options that are none.
    """
    Instance(SessionOptions, optional=True).check("options", options)
    options = options or SessionOptions()
    timeout = getattr(client, "timeout", OMIT)
    if options.timeouts is not msgspec.UNSET or is_omitted(timeout):
        return options
    return msgspec.structs.replace(options, timeouts=timeouts_from(timeout))


class ResponsesSession:
    """See the top of the module. ``now`` is monotonic seconds; ``random_bytes`` is the only source of chance.

    ``wall_clock`` tells the seconds since the epoch, for a ``retry-after`` that is a date; without one, such a date
    counts only beside the server's own ``date``. ``retries_allowed`` is asked when a turn is submitted: whether it may
    be repeated (``retries.py``).
    """

    # More than 12 attributes: four are what an owner asks for, five are what it was given, and the others hold what
    # turns and the next connection wait for.

    def __init__(
        self,
        *,
        options: SessionOptions | None = None,
        random_bytes: RandomBytes = SYSTEM_RANDOM,
        wall_clock: Callable[[], float | None] = lambda: None,
        retries_allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.options = options or SessionOptions()
        self.stats = Stats()
        self.connection: ResponsesConnection | None = None
        """The connection that takes turns, or is draining; None if there is none."""
        self.closed = False
        self._random_bytes = random_bytes
        self._wall_clock = wall_clock
        self._retries_allowed = retries_allowed
        self.alarm = Alarm()
        """For whoever sets a timer: when :meth:`next_deadline` may be earlier than it was."""
        self._backlog = Backlog(self.alarm)
        self._timeouts = self.options.turn_timeouts
        self._steady_until = -inf
        """While the connection is open, its age is of no consequence until then."""
        self._returned: list[tuple[Turn, Plan]] = []
        """Turns that are to be repeated, in order, until :meth:`update` gives them their places in the backlog."""
        self._now = -inf
        """When this was last told what time it is."""
        self._not_before = -inf
        """When the next connection may be opened (backoff)."""

    # -- turns

    def create(self, body: Mapping[str, Any], *, lane: str | None = None, timeouts: object = OMIT, now: float) -> Turn:
        """Begin a turn with these fields of a ``response.create``.

        ``timeouts`` is what :func:`timeouts_from` takes: seconds for each wait, ``Timeouts(…)``, or None for no limit;
        not given, the session's own hold.

        Raises UserError (invalid lane, a 33rd lane, too many turns, session closed) or TypeError (a value that JSON
        lacks); then nothing was sent.
        """
        limits = self._timeouts if timeouts is OMIT else timeouts_from(timeouts, default=self._timeouts)
        return self.submit(Turn.from_body(body, lane=lane, timeouts=limits, now=now), now)

    def submit(self, turn: Turn, now: float) -> Turn:
        """Begin a turn that was made already. Raises as :meth:`create` does."""
        if self.closed:
            raise SessionClosedError("the session is closed — the turn was not sent — open a new session")
        self.update(now)  # The connection may have reached its ``max_age`` meanwhile.
        turn.repeatable = self._retries_allowed()
        if self.connection is not None and self.connection.accepts_turns:
            self.connection.submit(turn, now)
            self.update(now)
        elif too_large := turn.too_large(self.options.max_request_size):
            self._fail(turn, turn_failure(turn.evidence(Cause.TOO_LARGE), too_large))
        else:
            self._check_backlog(turn)
            self._backlog.add(turn)
        return turn

    def _check_backlog(self, turn: Turn) -> None:
        """Refuse now what the next connection could not take."""
        if len(self._backlog) >= self.options.max_waiting:
            raise TooManyTurnsError(
                f"{self.options.max_waiting} turns wait for a connection already (max_waiting) — the turn was not "
                "sent — wait for some of them to end"
            )
        names = self._backlog.names_with(turn.lane)
        if names > self.options.max_named_lanes:
            raise LaneLimitError(
                f"stream_id {turn.lane!r} would be named lane number {names} of the next connection, and the "
                f"server allows {self.options.max_named_lanes} — the turn was not sent — use a name that is in use"
            )

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves the turn (DESIGN.md, "Public API"). After its end this does nothing."""
        self.update(now)  # A turn that has just failed may be one that goes on.
        if turn.connection is not None:
            cast("ResponsesConnection", turn.connection).cancel(turn, now)
        elif not turn.ended:
            self._fail_waiting(turn, Cause.CANCELLED, "the consumer left the turn before it was sent")
        self.update(now)

    def _fail_waiting(self, turn: Turn, cause: Cause, what: str) -> None:
        self._backlog.remove(turn)
        self._fail(turn, turn_failure(turn.evidence(cause), what))

    def _fail(self, turn: Turn, failure: TurnError) -> None:
        turn.fail(failure)
        self.stats.failed += 1

    @property
    def idle(self) -> bool:
        """No turn runs or waits, here or on the connection; abandoned ones do not count."""
        waiting = bool(self._backlog or self._returned)
        return not waiting and (self.connection is None or self.connection.idle)

    # -- connections

    def wants_connection(self, now: float) -> bool:
        """Whether :meth:`open` should be called: turns wait, and there is no connection."""
        return self._backlog.has_ready and self.connection is None and now >= self._not_before

    def open(self, endpoint: Endpoint, now: float, *, connect_by: float | None = None) -> ResponsesConnection:
        """A new connection, to be connected by the caller; the turns that waited for one wait on it now.

        ``connect_by`` is when opening it is given up, if that is earlier than ``connect_timeout`` says.

        Raises SessionClosedError after :meth:`close`, and UserError while there is one.
        """
        if self.closed:
            raise SessionClosedError("the session is closed — nothing was sent — open a new session")
        if self.connection is not None:
            raise UserError("the session has a connection — nothing was opened — wait until wants_connection() says so")
        connection = ResponsesConnection(
            endpoint,
            options=self.options,
            now=now,
            random_bytes=self._random_bytes,
            stats=self.stats,
            recover=self._recover,
            connect_by=connect_by,
            alarm=self.alarm,
        )
        self.connection = connection
        self._steady_until = -inf
        for turn in self._backlog.take():
            self._submit(connection, turn, now)
        return connection

    def _submit(self, connection: ResponsesConnection, turn: Turn, now: float) -> None:
        try:
            connection.submit(turn, now)
        except UserError as exc:  # Those that came back from the last one were not counted by create().
            what = "with the turns that the last connection left, more waited than a new one takes"
            self._fail(turn, turn_failure(turn.evidence(Cause.PROTOCOL), what, limit_exceeded, exc))

    # -- what happens to a connection

    def transport_connected(self, connection: ResponsesConnection, now: float) -> None:
        """As :meth:`ResponsesConnection.transport_connected`, with all consequences."""
        self._now = now
        connection.transport_connected(now)
        self.update(now)

    def transport_failed(
        self, connection: ResponsesConnection, reason: str, now: float, error: BaseException | None = None
    ) -> None:
        """As :meth:`ResponsesConnection.transport_failed`, with all consequences."""
        self._now = now
        connection.transport_failed(reason, now, error)
        self.update(now)

    def receive_data(self, connection: ResponsesConnection, data: bytes, now: float) -> None:
        """As :meth:`ResponsesConnection.receive_data`, with all consequences."""
        self._now = now
        connection.receive_data(data, now)
        if not connection.only_events:
            self.update(now)

    def process(self, connection: ResponsesConnection, now: float) -> None:
        """As :meth:`ResponsesConnection.process`, with all consequences."""
        self._now = now
        connection.process(now)
        self.update(now)

    def abort(self, connection: ResponsesConnection, now: float) -> None:
        """As :meth:`ResponsesConnection.abort`, with all consequences."""
        self._now = now
        connection.abort(now)
        self.update(now)

    def _recover(self, turn: Turn, failure: TurnError) -> bool:
        """Whether the turn is repeated; then it is one that has not begun."""
        if self.closed or not turn.repeatable:
            return False
        recovery, wall = self.options.recovery, self._wall_clock()
        plan = recovery.plan(failure.evidence, turn.repetitions, self._chance(), wall=wall)
        if plan is None or plan.delay > self._patience(turn):
            return False
        turn.unsent()
        turn.repetitions.append(plan.reason)
        self.stats.repeated += 1
        self._returned.append((turn, plan))
        return True

    def _patience(self, turn: Turn) -> float:
        """For how many seconds the turn may wait for its repetition."""
        lane, end = turn.timeouts.lane, turn.total_deadline()
        return min(inf if lane is None else lane, inf if end is None else end - self._now)

    def update(self, now: float) -> None:
        """Draw the consequences of what happened to the connection. Every method that takes a connection does it.

        Mostly there are none.
        """
        self._now = now
        connection = self.connection
        steady = connection is not None and connection.state is State.OPEN and now < self._steady_until
        if not steady or self._returned or self._backlog.delayed:
            self._update(now)

    def _update(self, now: float) -> None:
        first = self._place_returned(now)
        connection = self.connection
        if connection is not None:
            rotation = self._rotation(connection)
            until = inf if rotation is None else rotation
            self._steady_until = until if connection.state is State.OPEN else -inf  # It has no age before.
            if rotation is not None and rotation <= now:
                connection.drain()
            if connection.draining:
                first += connection.requeue_unstarted(now)  # Which may have been the end of it.
                if connection.idle and connection.draining:
                    connection.close_without_waiting(now)
            if connection.state is State.CLOSED:
                self.connection = None
        self._backlog.add_first(first)
        for turn in self._backlog.due(now):
            if self.connection is not None and self.connection.accepts_turns:
                self._submit(self.connection, turn, now)
            else:
                self._backlog.add(turn)

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

    def _chance(self) -> float:
        """Uniform in [0, 1)."""
        return int.from_bytes(self._random_bytes(6), "big") / 2**48

    def _rotation(self, connection: ResponsesConnection) -> float | None:
        """When this connection begins to drain; None if it does already, or is not open, or never will."""
        if connection.state is not State.OPEN:
            return None
        if self.options.max_age is None or connection.opened_at is None:
            return None
        return connection.opened_at + self.options.max_age

    # -- deadlines

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` wants to be called; None: not at all."""
        moments = [self._backlog.next_deadline(), self._backlog.next_resumption()]
        if self._backlog.has_ready and self.connection is None:
            moments.append(self._not_before)
        if self.connection is not None:
            moments += (self.connection.next_deadline(), self._rotation(self.connection))
        return min([moment for moment in moments if moment is not None], default=None)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that has passed; read first, as :meth:`ResponsesConnection.next_deadline` says."""
        self._now = now
        for turn in self._backlog.expired(now):
            total = turn.total_deadline()
            name = "total" if total is not None and total <= now else "lane wait"
            self._fail_waiting(turn, Cause.TIMEOUT, f"the {name} deadline passed")
        if self.connection is not None:
            self.connection.handle_deadline(now)
        self.update(now)

    # -- the end

    def close_without_waiting(self, now: float) -> None:
        """End the connection, without waiting for the server, if no turn needs it; a later turn opens another."""
        if self.connection is not None and self.connection.idle:
            self.connection.close_without_waiting(now)
            self.update(now)

    def close(self, now: float, *, wait_for_peer: bool = True) -> None:
        """End the session: turns fail as CLIENT_CLOSED, an idle connection is closed, a busy one aborted.

        ``wait_for_peer``: the server's half of the closing handshake is waited for.
        """
        self.update(now)
        self.closed = True
        for turn in list(self._backlog):
            self._fail_waiting(turn, Cause.CLIENT_CLOSED, "the session was closed")
        if self.connection is not None and (wait_for_peer or not self.connection.idle):
            self.connection.close(now)
        elif self.connection is not None:
            self.connection.close_without_waiting(now)
        self.update(now)

    def give_up(self, now: float) -> None:
        """End every turn, as CLIENT_CLOSED, and the connection, at once; a later turn wants another connection."""
        self.update(now)
        for turn in list(self._backlog):
            self._fail_waiting(turn, Cause.CLIENT_CLOSED, "the session was closed")
        if self.connection is not None and self.connection.idle:
            self.connection.close_without_waiting(now)
        elif self.connection is not None:
            self.connection.abort(now)
        self.update(now)

    # -- the first opening

    def first_opening(self, now: float) -> FirstOpening:
        """For ``connect()``, which opens a connection before there is a turn."""
        return FirstOpening(self.options, self._chance, self._wall_clock, now, repeatable=self._retries_allowed())


class FirstOpening:
    """``connect()``'s own opening, in one attempt or several (REPLAY.md, "Automatic recovery")."""

    def __init__(
        self,
        options: SessionOptions,
        chance: Callable[[], float],
        wall_clock: Callable[[], float | None],
        now: float,
        *,
        repeatable: bool,
    ) -> None:
        limits = (options.connect_timeout, options.turn_timeouts.connect)
        self.deadline = min((now + limit for limit in limits if limit is not None), default=None)
        """When all of it has to be over."""
        self._policy = options.recovery
        self._repeatable = repeatable
        self._chance = chance
        self._wall_clock = wall_clock
        self._made: list[Reason] = []

    def delay(self, failure: TurnError, now: float) -> float | None:
        """Seconds to wait before the next attempt; None: there is none, and the caller has to know this failure.

        Only a rejection that will pass is repeated: who cannot be reached at first may be a wrong address.
        """
        if failure.evidence.cause is not Cause.REJECTED or not self._repeatable:
            return None
        plan = self._policy.plan(failure.evidence, self._made, self._chance(), wall=self._wall_clock())
        if plan is None or (self.deadline is not None and now + plan.delay >= self.deadline):
            return None
        self._made.append(plan.reason)
        return plan.delay
