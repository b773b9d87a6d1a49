"""The world of the state search: a session of the real code, a shell that may do any of its steps at any time, and the
model of a server. See ``test_state_search.py``."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

from kit.search_server import (
    AFTER,
    ARRIVED,
    BROKEN,
    CLOSE,
    ENDED,
    ENDS,
    LARGE,
    MAY_HAVE_BEGUN,
    PING,
    REFUSED,
    RETRY_AFTER,
    TOO_BIG,
    Server,
    message,
    shallow,
)
from turnwire.sansio.admission import new_turn
from turnwire.sansio.backlog import Backlog
from turnwire.sansio.connection import Continuation, Leave, ResponsesConnection, State, Turn
from turnwire.sansio.deadlines import Deadlines
from turnwire.sansio.dialect import Dialect
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import TurnError
from turnwire.sansio.events import Role
from turnwire.sansio.lanes import AnyLane
from turnwire.sansio.omit import OMIT
from turnwire.sansio.pool import Pool
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts
from wsproto.utilities import generate_accept_token

ENDPOINT = Endpoint("ws://server.test/v1/responses")
RECOVERY = RecoveryPolicy(attempts=2, initial_delay=0.0)
NOW = Timeouts(0.0, 0.0, 0.0, 0.0)
NO_LIMITS = Timeouts()
UNBEGUN = (ARRIVED, MAY_HAVE_BEGUN)
NEUTRAL = (Role.NEUTRAL, Role.UNKNOWN)


def zeros(length: int) -> bytes:
    return bytes(length)


def accept(announced: str | None) -> bytes:
    more = "" if announced is None else f"x-turnwire-dialect: {announced}\r\n"
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    return f"{head}{generate_accept_token(b'AAAAAAAAAAAAAAAAAAAAAA==').decode()}\r\n{more}\r\n".encode()


def reject(status: int) -> bytes:
    return f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()


PASSING = (429, 503)
"""Statuses of a rejected upgrade after which the turns are repeated (REPLAY.md, "Verdict"); 408 and 425 are alike."""
LASTING = (401,)

PLAIN = frozenset({"create", "open", "connect", "hand", "accept", "created", "completed", "rest", "finish", "resume"})
"""The plain course of things; whatever is not in here is a disturbance."""

Action = tuple[Any, ...]


class ViolatedError(AssertionError):
    """An invariant does not hold."""


class Kind(NamedTuple):
    """What kind of server it is, and what the client knows about it."""

    name: str
    echo: bool
    """Whether it names lanes, or has none."""
    announced: str | None = None
    """The dialect in the upgrade's answer."""
    dialect: Dialect | None = None
    """What the caller says that it has."""
    big: bool = False
    """Messages are larger than those that no server finds too big."""
    limit: int = 1 << 60
    """Bytes of a message that it takes."""


ANNOUNCED = Kind("lanes, announced", echo=True, announced="openai")
LEARNED = Kind("lanes, to be found out", echo=True)
WITHOUT = Kind("without lanes, to be found out", echo=False)
KNOWN_WITHOUT = Kind("without lanes, as it announces", echo=False, announced="no-lanes")
BIG = Kind("lanes, large messages", echo=True, announced="openai", big=True)
SMALL_LIMIT = Kind("no message is small enough", echo=True, dialect=Dialect(name="small", message_limit=10), limit=10)


class Caller:
    """What the caller says when it is asked whether to repeat a turn: not after the end of a connection without a word,
    and after a rejected upgrade it fails itself."""

    def __init__(self) -> None:
        self.consents = 0
        """How often it said yes, since somebody set this to 0. A copy of the world asks the same caller."""

    @staticmethod
    def allows(cause: Cause) -> bool:
        return cause not in (Cause.EOF, Cause.REJECTED)

    def __call__(self, failure: TurnError) -> bool:
        if failure.cause is Cause.REJECTED:
            raise ValueError("the caller cannot tell")
        allowed = self.allows(failure.cause)
        self.consents += allowed
        return allowed


class World:
    """The session, the shell, the server, and what was seen of them so far."""

    def __init__(
        self,
        lanes: tuple[AnyLane, ...],
        disturbances: int,
        kind: Kind = ANNOUNCED,
        *,
        leaves: tuple[Leave | None, ...] = (),
        stored: bool = True,
        deltas: bool = False,
        **options: Any,
    ) -> None:
        """``leaves``: the ``leave`` of the first turns. ``stored``: whether the server stores their responses.

        ``deltas``: each turn continues the response of the one before it, the first one that of an earlier session; it
        can be sent in full instead (R-RECOVER-18).
        """
        chosen = {
            "transport": "websocket",
            "max_age": 10.0,
            "ping_interval": 20.0,
            "recovery": RECOVERY,
            "timeouts": NO_LIMITS,
            **options,
        }
        self.kind = kind
        self.session = ResponsesSession(options=SessionOptions(dialect=kind.dialect, **chosen), random_bytes=zeros)
        self.lanes = lanes
        self.leaves = leaves
        self.stored = stored
        self.deltas = deltas
        self.budget = disturbances
        self.now = 0.0
        self.turns: list[Turn] = []
        self.server: Server | None = None
        """The server's end of the session's connection; None if there is none."""
        self.past: tuple[Any, ...] = ()
        """What the servers of earlier connections had."""
        self.heard: tuple[tuple[str, ...], ...] = ()
        """The types of the events of its response that each turn was given."""
        self.told: tuple[tuple[str, ...], ...] = ()
        """The types of those that the server sent while the turn had not ended."""
        self.outcomes: tuple[TurnError | str | None, ...] = ()
        self.refusals: frozenset[int] = frozenset()
        """Turns that were told that they were refused, while nothing had been said that could mean anything else."""
        self.failing_since: tuple[float | None, ...] = ()
        """When each turn was repeated first."""
        self.later = False
        """The turn of which the server speaks may be repeated, if the server asks it to come back later."""

    # -- copies, and what makes two of them the same

    def clone(self) -> Self:
        """A copy that shares with the original only what never changes."""
        other = shallow(self)
        new: dict[Turn, Turn] = {}
        session = other.session = shallow(self.session)
        session._own = copy.copy(session._own)
        session._fallback = shallow(session._fallback)
        session._touched, session.changed, session._returned = {}, [], []
        for turn in self.turns:
            clone = new[turn] = shallow(turn)
            clone.events = deque()
            clone.items, clone.added = list(turn.items), list(turn.added)
            clone.arrived, clone.gathered = list(turn.arrived), copy.deepcopy(turn.gathered)
            clone.output = shallow(turn.output)
            clone.output._done = list(turn.output._done)
            clone.repetitions = list(turn.repetitions)
        inputs = dict(self._clone_inputs(new))
        copies: dict[Any, Any] = {}
        for old in self.session.pool:
            copies[old] = self._clone_connection(old, {**new, **inputs})
            copies[old]._recover = session._recover
        session.pool = self._clone_pool(self.session.pool, copies)
        session.notices = shallow(session.notices)
        session.notices.seen_open = {copies[one] for one in self.session.notices.seen_open if one in copies}
        session.notices._rotated = {copies[one] for one in self.session.notices._rotated if one in copies}
        for turn in new.values():
            if turn.connection is not None:
                turn.connection = copies.get(turn.connection, turn.connection)
        session._backlog = self._clone_backlog(self.session._backlog, new)
        other.turns = list(new.values())
        self._clone_ends(other, copies)
        return other

    def _clone_inputs(self, new: dict[Turn, Turn]) -> Iterator[tuple[Any, Any]]:
        """Give the copies of turns their own steers; yields each and its copy. Most worlds have none."""
        return iter(())

    def _clone_ends(self, other: Self, copies: dict[Any, Any]) -> None:
        """Give the copy its own servers, of which these are the connections' copies."""
        other.server = self.server.clone() if self.server is not None else None

    @staticmethod
    def _clone_pool(old: Pool, copies: dict[Any, Any]) -> Pool:
        pool = shallow(old)
        pool._connections = dict.fromkeys(copies[one] for one in old._connections)
        pool._lanes = {lane: copies[one] for lane, one in old._lanes.items() if one in copies}
        pool.too_old = {copies[one]: copies.get(two) for one, two in old.too_old.items()}
        pool._idle_since = {copies[one]: since for one, since in old._idle_since.items()}
        return pool

    @staticmethod
    def _clone_backlog(old: Backlog, new: dict[Turn, Turn]) -> Backlog:
        backlog = Backlog()
        backlog.ready = OrderedDict.fromkeys(new[turn] for turn in old.ready)
        backlog.delayed = {new[turn]: moment for turn, moment in old.delayed.items()}
        backlog._lanes = Counter(old._lanes)
        backlog._resumptions = Deadlines(backlog.delayed.get)
        for turn in backlog.delayed:
            backlog._resumptions.watch(turn)
        for turn in backlog:
            backlog._deadlines.watch(turn)
        return backlog

    def _clone_connection(self, old: Any, new: dict[Any, Any]) -> Any:
        connection = shallow(old)
        connection.stats = copy.copy(old.stats)
        lanes = connection._lanes = shallow(old._lanes)
        lanes._preferred = connection._lane_to_continue
        lanes._names = set(lanes._names)
        lanes._automatic = OrderedDict(lanes._automatic)
        lanes._any = OrderedDict.fromkeys(new[turn] for turn in lanes._any)
        lanes._ready = OrderedDict.fromkeys(new.get(key, key) for key in lanes._ready)
        lanes._waiting = {
            lane: OrderedDict.fromkeys(new[turn] for turn in queue) for lane, queue in lanes._waiting.items()
        }
        lanes.running = {lane: new[turn] for lane, turn in lanes.running.items()}
        owners = connection._owners = shallow(old._owners)
        owners._lanes = lanes
        owners._latest, owners._lane_of = dict(owners._latest), dict(owners._lane_of)
        owners.late_items, owners._unstored = dict(owners.late_items), set(owners._unstored)
        owners._ended = {lane: deque(ended, ended.maxlen) for lane, ended in owners._ended.items()}
        outbox = connection._outbox = shallow(old._outbox)
        outbox.turn = None if outbox.turn is None else new[outbox.turn]
        outbox._control = deque(outbox._control)
        outbox._messages = dict.fromkeys(new[turn] for turn in outbox._messages)
        connection._keepalive = shallow(old._keepalive)
        if old._websocket is not None:
            websocket = connection._websocket = shallow(old._websocket)
            websocket._buffer = bytearray(websocket._buffer)
        elif old.state is State.HANDSHAKING:  # An h11 connection is not for copying: one like it.
            connection._opening = copy.copy(old._opening)
            connection._opening.request(ENDPOINT, ENDPOINT.headers)
        connection._deadlines = Deadlines(connection._deadline_of)
        for turn in (*lanes.running.values(), *lanes.waiting()):
            clone = turn.connection
            turn.connection = connection
            connection._deadlines.watch(turn)
            turn.connection = clone
        return connection

    def _numbers(self) -> dict[Any, Any]:
        """What stands for each turn in a key."""
        return {turn: at for at, turn in enumerate(self.turns)}

    def key(self) -> object:
        """Two states with equal keys have equal futures (up to the clock)."""
        number = self._numbers()
        session, connection = self.session, self.session.connection
        return (
            tuple(
                (
                    turn.phase,
                    self.outcomes[at] and str(outcome(turn)),
                    turn.state,
                    tuple(turn.repetitions),
                    0.0 if self.session.options.recovery.budget is None or turn.ended else self._spent(at),
                    turn.connection is None,
                    turn.unknown_event,
                    turn.named,
                    turn.response_id,
                    turn.created,
                    turn.in_full is None,
                    tuple(turn.items),
                )
                for at, turn in enumerate(self.turns)
            ),
            session.closed,
            tuple(number[turn] for turn in session._backlog),
            len(session._backlog.delayed),
            self.now < session._not_before,
            connection and self._connection_key(connection, number),
            connection in session.pool.too_old,
            self.server and self.server.key(),
            self.past,
            self.heard,
            self.told,
            self.refusals,
            self.budget,
        )

    @staticmethod
    def _connection_key(connection: ResponsesConnection, number: dict[Turn, int]) -> object:
        outbox, lanes, owners = connection._outbox, connection._lanes, connection._owners
        return (
            connection.state,
            owners.spoken,
            connection._keepalive.ping_sent_at is None,
            len(outbox._frame),
            number.get(outbox.turn) if outbox.turn is not None else None,
            outbox.mid_frame,
            len(outbox._control),
            outbox._pong,
            tuple(number[turn] for turn in outbox._messages),
            tuple(number.get(key, key) for key in lanes._ready),
            tuple(lanes._automatic),
            lanes.max_in_flight,
            tuple((lane, number[turn]) for lane, turn in lanes.running.items()),
            tuple((lane, tuple(number[turn] for turn in queue)) for lane, queue in lanes._waiting.items()),
            owners.support,
            owners._seen,
            tuple((lane, tuple(ended)) for lane, ended in owners._ended.items()),
            frozenset(owners._unstored),
            frozenset(owners._lane_of),
        )

    # -- what may happen

    plain = PLAIN
    apart: frozenset[str] = frozenset()
    """What a subclass does itself, before :meth:`perform` draws the consequences."""

    def actions(self) -> list[Action]:
        """Everything that may happen next."""
        actions = list(self.possible())
        return actions if self.budget else [action for action in actions if action[0] in self.plain]

    def _may_open(self) -> bool:
        return self.session.wants_connection(self.now) and not len(self.session.pool)

    def _of_caller(self) -> Iterator[Action]:
        """What the caller may do, a turn's own deadlines, and what the session waits for."""
        if not self.session.closed:
            yield ("close",)
            if len(self.turns) < len(self.lanes):
                yield ("create",)
        for at, turn in enumerate(self.turns):
            if not turn.ended:
                yield ("cancel", at)
                yield ("timeout", at)
        if self._may_open():
            yield ("open",)
        if self.session._backlog.next_resumption() is not None:
            yield ("resume",)

    def possible(self) -> Iterator[Action]:
        """The same, were it not for the budget."""
        connection, server = self.session.connection, self.server
        yield from self._of_caller()
        if connection is None:
            return
        yield ("deadline",)
        if connection.state is State.CONNECTING:
            yield ("connect",)
            yield ("fail",)
            return
        yield ("eof",)
        yield ("reset",)
        if connection.has_data_to_send:
            if connection.state is State.HANDSHAKING:
                yield ("hand", 65536)
                return
            yield from self._handed(connection)
        if connection.state is State.HANDSHAKING:
            yield ("accept",)
            for status in (*PASSING, *LASTING):
                yield ("reject", status)
        elif server is not None and server.rest:
            yield ("rest",)
        elif server is not None and connection.state is State.CLOSING:
            yield ("finish",)
        elif server is not None:
            yield from server.utterances()

    @staticmethod
    def _handed(connection: ResponsesConnection) -> Iterator[Action]:
        left = len(connection._outbox._frame)
        if not connection._outbox.mid_frame:
            yield ("hand", 65536)
            yield ("hand", 1)
            yield ("hand", -1)
        else:
            if left > 1:
                yield ("hand", left - 1)
            yield ("hand", left)
            yield ("hand", 65536)

    # -- what happens

    def perform(self, action: Action) -> None:
        """Do it by the session's own methods, which draw all consequences; then hand the consumers their events."""
        kind = action[0]
        if kind not in self.plain:
            self.budget -= 1
        session, connection = self.session, self.session.connection
        timed_out: Turn | None = None
        made = [len(turn.repetitions) for turn in self.turns]
        if self.caller is not None:
            self.caller.consents = 0
        if kind == "create":
            self._create()
        elif kind == "close":
            session.close(self.now)
        elif kind == "cancel":
            self._leave(self.turns[action[1]])
        elif kind == "timeout":
            timed_out = self.turns[action[1]]
            self._time_out(timed_out)
        elif kind == "open":
            self._close_unneeded()
            session.open(ENDPOINT, self.now)
            self.server = self._new_server()
        elif kind == "resume":
            self.now = max(self.now, session._backlog.next_resumption() or 0.0)
            session.handle_deadline(self.now)
        elif kind == "deadline":
            self._deadline()
        elif connection is not None and kind not in self.apart:
            self._on_connection(kind, action, connection)
        if connection is not None and connection.state is State.CLOSED and self.server is not None:
            self.server.take(connection.data_to_send(65536, self.now))  # A close frame, if anything.
            self._close_unneeded()
        self._consume()
        self._check_repetitions(made)
        self.check()
        if timed_out is not None and not (timed_out.ended and cause_of(timed_out) in (Cause.TIMEOUT, None)):
            raise ViolatedError(f"I6: its deadline passed, and the turn is {outcome(timed_out)}")

    def _new_server(self) -> Server:
        return Server(echo=self.kind.echo, limit=self.kind.limit)

    def _create(self) -> None:
        number = len(self.turns)
        body, follows = self._body(number), None
        if self.deltas:
            previous = f"r{number - 1}" if number else "earlier"
            body, follows = {**body, "previous_response_id": previous}, Continuation(previous, body["input"])
        given: dict[str, Any] = {"timeouts": OMIT, "follows": follows}
        turn = new_turn(self.session.options, body, lane=self.lanes[number], now=self.now, **given)
        self.session.submit(turn, self.now)
        turn.leave = self.leaves[number] if number < len(self.leaves) else None
        self.turns.append(turn)
        self.heard += ((),)
        self.told += ((),)
        self.outcomes += (None,)
        self.failing_since += (None,)

    def _body(self, number: int) -> dict[str, Any]:
        """What the turn with this number asks for."""
        body = {"input": str(number) + " " * (17_000 if self.kind.big else 0)}
        return body if self.stored else {**body, "store": False}

    def _leave(self, turn: Turn) -> None:
        """Its consumer leaves a turn: what becomes of the connection is said in ``sansio/connection/__init__.py``."""
        connection = turn.connection
        others = [one for one in self.turns if one is not turn and one.connection is connection and not one.ended]
        begun = connection is not None and (turn.phase >= Phase.AWAIT or connection._outbox.begun(turn))
        leave = turn.leave or self.session.options.leave
        outlives = self._remembers_beside(turn) if leave is None else leave == "abandon"
        goes_on = True if others else connection is not None and connection.state is State.OPEN and outlives
        self.session.cancel(turn, self.now)
        if begun and goes_on not in (None, connection.state is not State.CLOSED):
            raise ViolatedError(f"leave: {turn} was left, and its connection {'ended' if goes_on else 'goes on'}")

    def _remembers_beside(self, turn: Turn) -> bool | None:
        """Whether the server has the last response of another lane in its connection's memory only; None: who knows,
        for a response that was broken off, or whose end has not come whole."""
        if self.stored or self.server is None:
            return False
        unheard = self.server.rest_of[0] if self.server.rest and self.server.rest_of else None
        requests = enumerate(self.server.requests)
        beside = {BROKEN if at == unheard else one.status for at, one in requests if one.lane != turn.lane}
        return True if ENDED in beside else None if BROKEN in beside else False

    def _time_out(self, turn: Turn) -> None:
        turn.timeouts = NOW
        if turn.connection is not None:
            turn.connection.restart_deadline(turn)
        else:
            self.session._backlog._deadlines.watch(turn)
        self.session.handle_deadline(self.now)
        turn.timeouts = NO_LIMITS

    def _spent(self, at: int) -> float:
        """How many seconds ago a turn was repeated for the first time."""
        since = self.failing_since[at]
        return 0.0 if since is None else self.now - since

    @property
    def caller(self) -> Caller | None:
        """Whom the session asks before it repeats a turn."""
        asked = self.session.options.recovery.should_repeat
        return asked if isinstance(asked, Caller) else None

    def _may_be_repeated(self, at: int, cause: Cause, wait: float = 0.0) -> bool:
        """Whether attempts, time and the caller allow to repeat a turn that fails now, after this many seconds."""
        recovery, made = self.session.options.recovery, len(self.turns[at].repetitions)
        in_time = recovery.budget is None or self._spent(at) + wait <= recovery.budget
        asked = recovery.should_repeat
        allowed = asked is None or (isinstance(asked, Caller) and asked.allows(cause))
        return made < recovery.attempts and in_time and allowed

    def _check_repetitions(self, made: list[int]) -> None:
        """R-RECOVER: in time, and with the caller's consent. ``made``: how many there were before."""
        recovery, new = self.session.options.recovery, 0
        for at, before in enumerate(made):
            repetitions = self.turns[at].repetitions
            if len(repetitions) == before:
                continue
            new += 1
            wait = RETRY_AFTER if repetitions[-1] is RepeatReason.RATE_LIMIT else 0.0
            if recovery.budget is not None and self._spent(at) + wait > recovery.budget:
                raise ViolatedError(f"budget: turn {at} is repeated {self._spent(at) + wait} s after it failed first")
            if self.failing_since[at] is None:
                self.failing_since = (*self.failing_since[:at], self.now, *self.failing_since[at + 1 :])
        if self.caller is not None and new != self.caller.consents:
            raise ViolatedError(f"should_repeat: the caller allowed {self.caller.consents} repetitions, and {new} are")

    def _deadline(self) -> None:
        moment = self.session.next_deadline()
        if moment is None:
            raise ViolatedError("I6: a connection without a deadline")
        self.now = max(self.now, moment)
        self.session.handle_deadline(self.now)
        after = self.session.next_deadline()
        if after is not None and after <= self.now and not self.session.wants_connection(self.now):
            raise ViolatedError("I6: a deadline that passed is still there")

    def _on_connection(self, kind: str, action: Action, connection: ResponsesConnection) -> None:
        session, server, now = self.session, self.server, self.now
        assert server is not None
        match kind:
            case "connect":
                session.transport_connected(connection, now)
            case "fail" | "reset":
                session.transport_failed(connection, "broken", now)
            case "eof":
                session.receive_data(connection, b"", now)
            case "accept":
                session.receive_data(connection, accept(self.kind.announced), now)
            case "reject":
                self._reject(action[1], connection)
            case "hand":
                self._hand(action[1], connection, server)
            case "rest":
                self._rest(connection, server)
            case "ping":
                session.receive_data(connection, PING, now)
            case "close frame" | "finish":
                server.gone = True
                session.receive_data(connection, CLOSE, now)
            case "too big":
                self._too_big(connection, server)
            case _ if len(action) == 1:
                self._announce(kind, connection, server)
            case _:
                self._say(kind, action[1], connection, server)

    def _reject(self, status: int, connection: ResponsesConnection) -> None:
        waiting = [turn for turn in self.turns if turn.connection is connection and not turn.ended]
        repeatable = {at for at, turn in enumerate(self.turns) if self._may_be_repeated(at, Cause.REJECTED)}
        self.session.receive_data(connection, reject(status), self.now)
        for at, turn in enumerate(self.turns):
            if turn not in waiting:
                continue
            again = status in PASSING and at in repeatable
            if turn.ended is again and not self.session.closed:
                raise ViolatedError(f"I6: the upgrade was rejected with {status}, and the turn is {outcome(turn)}")

    def _hand(self, most: int, connection: ResponsesConnection, server: Server) -> None:
        upgrading = connection.state is State.HANDSHAKING
        if most > 0:
            data = connection.data_to_send(most, self.now)
        else:  # To the last byte of the frame, whose length is known once it has begun.
            data = connection.data_to_send(1, self.now)
            if (left := len(connection._outbox._frame)) > 1:
                data += connection.data_to_send(left - 1, self.now)
        if not upgrading:
            had = len(server.requests)
            server.take(data)
            self.refusals -= {request.turn for request in server.requests[had:]}
            for request in server.requests[had:]:
                if request.continues and RepeatReason.ANCHOR_LOST in self.turns[request.turn].repetitions:
                    raise ViolatedError(f"R-RECOVER-17: turn {request.turn} continues again what was not found")

    def _announce(self, kind: str, connection: ResponsesConnection, server: Server) -> None:
        """It speaks of no turn."""
        awaiting = server.awaiting()
        refused: list[int] = []
        if kind == "unknown":
            server.may_have_begun()
        elif kind == "limit":  # REPLAY.md: a refusal, if it is plain whose.
            server.limited = True
            refused = awaiting if len(awaiting) == 1 else []
            if not awaiting:  # PROTOCOL.md, "Whose error it is": if it streams, the only one in flight ends by it.
                running = server.streaming()
                default = [at for at in running if server.requests[at].lane is None]
                for at in default or (running if len(running) == 1 and not self._unanswered() else ()):
                    server.mark(at, BROKEN)
        elif kind == "unauthorized":
            refused = awaiting
        for at in refused:
            server.mark(at, REFUSED)
        plainly = [server.requests[at].turn for at in refused if server.requests[at].status is REFUSED]
        self.refusals |= {number for number in plainly if not self.turns[number].ended}
        server.spoken = True
        unsent = [turn for turn in self.turns if not turn.ended and turn.connection is connection]
        ((_, data),) = message(kind, -1, None)
        self.session.receive_data(connection, data, self.now)
        if kind == "unauthorized" and not all(turn.ended for turn in unsent):
            raise ViolatedError("I6: the credentials were refused, and turns wait on")

    def _too_big(self, connection: ResponsesConnection, server: Server) -> None:
        """It closes with 1009 (REPLAY.md, "Whose 1009 it is")."""
        server.gone = True
        partial = connection._outbox.turn
        unbegun = (*UNBEGUN, REFUSED) if self.kind.limit < LARGE else UNBEGUN  # Too large, it is refused by this.
        handed = [self.turns[request.turn] for request in server.requests if request.status in unbegun]
        candidates = [turn for turn in (partial, *handed, *self._unanswered()) if turn is not None]
        waiting = [turn for turn in self.turns if turn.connection is connection and not turn.ended]
        before = {
            turn: self._may_be_repeated(at, Cause.PEER_CLOSED) for at, turn in enumerate(self.turns) if turn in waiting
        }
        self.session.receive_data(connection, TOO_BIG, self.now)
        for turn, again in before.items() if not self.session.closed else ():
            expected = (not again, Verdict.SAFE)  # Of those whose messages were not begun.
            if turn in candidates and len(candidates) > 1:
                expected = (True, Verdict.SAFE if turn is partial else Verdict.AMBIGUOUS)
            elif turn in candidates and turn is not partial:
                expected = (True, Verdict.SAFE if self.kind.limit < len(turn.message) else Verdict.AMBIGUOUS)
            elif turn in candidates:
                expected = (True, Verdict.SAFE)
            if turn.current_phase is Phase.STREAM:
                expected = (True, Verdict.UNSAFE)
            if (turn.ended, turn.failure.verdict if turn.failure else Verdict.SAFE) != expected:
                raise ViolatedError(f"I4: 1009, and {turn} is {outcome(turn)}, not {expected}")

    def _unanswered(self) -> list[Any]:
        """What else was handed whole and not answered."""
        return []

    def _say(self, kind: str, at: int, connection: ResponsesConnection, server: Server) -> None:
        """It speaks of a request."""
        half = kind.startswith("half ")
        kind = kind.removeprefix("half ")
        request = server.requests[at]
        if kind in AFTER:
            server.mark(at, AFTER[kind])
        server.spoken = True
        turn = self.turns[request.turn]
        again = self._may_be_repeated(request.turn, Cause.ERROR_FRAME, RETRY_AFTER)
        again = again and RepeatReason.RATE_LIMIT not in turn.repetitions
        again = again if kind == "busy" else kind == "not found" and turn.in_full is not None
        self.later = again and not (turn.ended or self.session.closed)
        parts = server.parts(kind, at)
        data = b"".join(part for _, part in parts)
        if half:
            data, server.rest = data[:-20], data[-20:]
            server.rest_of = (at, kind, parts[-1][0])
        for type_, _ in parts[: -1 if half else None]:
            self._tell(request.turn, kind, type_)
        if not half and server.requests[at].status is REFUSED:
            self._refused(request.turn)
        self.session.receive_data(connection, data, self.now)
        if not half:
            self._ends(kind, request.turn)

    def _rest(self, connection: ResponsesConnection, server: Server) -> None:
        assert server.rest_of is not None
        (at, kind, type_), rest, server.rest = server.rest_of, server.rest, b""
        number = server.requests[at].turn
        self._tell(number, kind, type_)
        if server.requests[at].status is REFUSED:
            self._refused(number)
        self.session.receive_data(connection, rest, self.now)
        self._ends(kind, number)

    def _tell(self, number: int, kind: str, type_: str) -> None:
        """An event arrives; if its turn has not ended, it is to be delivered."""
        if kind.startswith("late ") or type_ in ("error", "response.error") or self.turns[number].ended:
            return
        self.told = (*self.told[:number], (*self.told[number], type_), *self.told[number + 1 :])

    def _refused(self, number: int) -> None:
        if not self.turns[number].ended:
            self.refusals |= {number}

    def _ends(self, kind: str, number: int) -> None:
        turn = self.turns[number]
        later = kind in ("busy", "not found") and number in self.refusals and self.later
        if kind in ENDS and turn.ended is later:
            raise ViolatedError(f"I6: the server said of turn {number}: {kind}; and it is {outcome(turn)}")

    def _close_unneeded(self) -> None:
        if self.server is not None:
            self.past += self.server.requests
            self.server = None

    def _consume(self) -> None:
        for at, turn in enumerate(self.turns):
            while turn.events:
                event = turn.next_event()
                assert event is not None
                if event.role in NEUTRAL:
                    continue
                if not self._is_own(at, *event.ids()):
                    raise ViolatedError(f"I2: turn {at} was given {event.raw}")
                self.heard = (*self.heard[:at], (*self.heard[at], event.type), *self.heard[at + 1 :])

    def _is_own(self, at: int, response_id: str | None, item_id: str | None) -> bool:
        """Whether an event with these ids is of this turn."""
        return response_id == f"r{at}" or item_id == f"i{at}"

    # -- what must hold

    def _requests(self) -> tuple[Any, ...]:
        """All that servers have had."""
        return self.past if self.server is None else self.past + self.server.requests

    def may_run(self, turn: Turn) -> int:
        """How often a server may run it."""
        return 1

    def check(self) -> None:
        requests = self._requests()
        handed = {request.turn for request in requests}
        ledger = [request.turn for request in requests if request.status is not REFUSED]
        outcomes: list[TurnError | str | None] = []
        for at, turn in enumerate(self.turns):
            if self.heard[at] != self.told[at]:
                raise ViolatedError(f"I2: turn {at} was given {self.heard[at]}, and the server sent {self.told[at]}")
            if ledger.count(at) > self.may_run(turn):
                raise ViolatedError(f"I5: turn {at} ran {ledger.count(at)} times")
            failure = turn.failure
            if failure is not None:
                if turn.phase is Phase.DONE:
                    raise ViolatedError(f"I6: turn {at} ended twice: with its terminal event, and {failure!r}")
                self._check_failure(at, turn, failure, handed, ledger)
            before = self.outcomes[at]
            after: TurnError | str | None = failure if failure is not None else "done" if turn.ended else None
            if before is not None and after is not before and not (turn.abandoned and isinstance(after, TurnError)):
                raise ViolatedError(f"I6: turn {at} ended with {before!r}, and then with {after!r}")
            if before is None and failure is not None and failure.cause in (Cause.EOF, Cause.TRANSPORT):
                again = self._may_be_repeated(at, failure.cause) and not self.session.closed
                if again and failure.evidence.verdict is Verdict.SAFE:
                    raise ViolatedError(f"I6: turn {at} did not run, and was not repeated: {outcome(turn)}")
            outcomes.append(after)
        self.outcomes = tuple(outcomes)
        if self.session.idle is not all(turn.ended for turn in self.turns):
            raise ViolatedError(f"I6: the session is{'' if self.session.idle else ' not'} idle, with {self.turns}")
        pool = self.session.pool  # As ``stats.failed``, without all the other counters.
        failed = self.session._own.failed + pool._past.failed + sum(one.stats.failed for one in pool._connections)
        if failed != sum(turn.failure is not None for turn in self.turns):
            raise ViolatedError(f"I6: {self.session.stats} of {self.turns}")

    def _check_failure(self, at: int, turn: Turn, failure: TurnError, handed: set[int], ledger: list[int]) -> None:
        verdict = self._check_verdict(at, turn, failure, handed, ledger)
        if bool(self.heard[at]) is not (verdict is Verdict.UNSAFE):
            raise ViolatedError(f"I4: turn {at} is {verdict}, and its events: {self.heard[at]}")
        if failure.cause is Cause.ERROR_FRAME and at in self.refusals and verdict is not Verdict.SAFE:
            raise ViolatedError(f"I4: turn {at} is {verdict}, and the server refused it")

    @staticmethod
    def _check_verdict(at: int, turn: Turn, failure: TurnError, handed: set[int], ledger: list[int]) -> Verdict | None:
        """What holds over every transport."""
        verdict = failure.evidence.verdict
        settled = not (turn.abandoned and turn.phase is Phase.SEND)
        if verdict is Verdict.SAFE and at in ledger:
            raise ViolatedError(f"I3: turn {at} is SAFE ({failure}), and the server runs it")
        if settled and at not in handed and verdict is not Verdict.SAFE:
            raise ViolatedError(f"I4: turn {at} is {verdict}, and was never handed whole")
        return verdict

    # -- both ends of I6

    good: tuple[str, ...] = ("rest", "hand", "open", "connect", "accept", "finish", "completed", "created", "resume")
    """What happens where everybody does what they should, the first that may."""

    def _otherwise(self) -> Action | None:
        """What is left, if nothing of it can happen."""
        return None

    def _is_over(self) -> bool:
        return all(turn.ended for turn in self.turns)

    def ends_in_a_good_world(self, proven: set[object]) -> None:
        """From here on everybody does what they should, and no deadline passes. ``proven``: see
        :meth:`_comes_to_an_end`."""
        if not self._comes_to_an_end(self._do_what_is_good, proven):
            raise ViolatedError(f"I6: nothing is left to do, and the turns are {self.turns}")

    def ends_in_a_dead_world(self, proven: set[object]) -> None:
        """From here on nothing happens but that time passes, and that the shell tries to connect."""
        if not self._comes_to_an_end(self._let_time_pass, proven):
            raise ViolatedError(f"I6: no deadline ends the turns {self.turns}")

    def _comes_to_an_end(self, step: Callable[[], bool], proven: set[object]) -> bool:
        """Whether everything ends by such steps. ``proven``: the keys of states where that is known already."""
        passed: list[object] = []
        for _ in range(60):
            self.budget = 0  # What happens now is not counted, so it makes no difference.
            if self._is_over() or (key := self.key()) in proven:
                proven.update(passed)
                return True
            passed.append(key)
            if not step():
                return False
        return False

    def _do_what_is_good(self) -> bool:
        """Do it; whether there was anything to do."""
        actions = {action[0]: action for action in reversed(list(self.possible()))}
        action = next((actions[kind] for kind in self.good if kind in actions), None)
        if action is None and self.server is not None and (self.server.gone or self.server.limited):
            action = ("eof",)  # The server has sent its close frame.
        if action is None and self.kind.limit < LARGE and self.server is not None and self.server.requests:
            action = ("too big",)
        action = self._otherwise() if action is None else action
        if action is not None:
            self.perform(("hand", 65536) if action[0] == "hand" else action)
        return action is not None

    def _let_time_pass(self) -> bool:
        self.perform(("open",) if self._may_open() else ("deadline",))
        return True


def outcome(turn: Turn) -> str:
    if turn.failure is None:
        return turn.phase.name
    return f"{turn.failure.cause.name} {turn.failure.phase.name} {turn.failure.evidence.verdict}"


def cause_of(turn: Turn) -> Cause | None:
    return None if turn.failure is None else turn.failure.cause


# --- The search ------------------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    states: int
    transitions: int


def search(start: World, *, liveness_of_every: int = 1, at_most: int | None = None) -> Counts:
    """Walk every state that can be reached; raises ViolatedError, with the way to it."""
    seen = {start.key()}
    good: set[object] = set()
    dead: set[object] = set()
    stack: list[tuple[World, tuple[Any, ...]]] = [(start, ())]
    transitions = 0
    while stack:
        world, path = stack.pop()
        actions = world.actions()
        for action in actions:
            child = world if action is actions[-1] else world.clone()
            way = (path, action)
            try:
                child.perform(action)
                transitions += 1
                key = child.key()
                if key not in seen:
                    seen.add(key)
                    stack.append((child, way))
                    if len(seen) % liveness_of_every == 0:
                        child.clone().ends_in_a_good_world(good)
                        child.clone().ends_in_a_dead_world(dead)
            except Exception as exc:
                raise ViolatedError(f"{exc} — after {_unrolled(way)}") from exc
        if at_most is not None and transitions >= at_most:
            break
    return Counts(len(seen), transitions)


def _unrolled(way: tuple[Any, ...]) -> list[Action]:
    actions: list[Action] = []
    while way:
        way, action = way
        actions.append(action)
    return actions[::-1]
