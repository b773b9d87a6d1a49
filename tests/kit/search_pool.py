"""The world of the search over transports: several connections at once, WebSockets and HTTP, fallback, drain.

See ``test_state_search_http.py``. What happens within one WebSocket is searched by ``search_world.py``; here it is
opened or is not, takes messages, answers them, and is lost.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from kit.search_http_server import ENDS, TOLD, HttpServer
from kit.search_server import REFUSED, Server, shallow
from kit.search_world import (
    ENDPOINT,
    NO_LIMITS,
    Action,
    ViolatedError,
    World,
    accept,
    cause_of,
    outcome,
    reject,
    zeros,
)
from turnwire.sansio.connection import ResponsesConnection, State, Turn
from turnwire.sansio.errors import SessionClosedError, TurnError
from turnwire.sansio.fallback import FAILURES_IN_A_ROW, PAUSE
from turnwire.sansio.http import HttpConnection, HttpState
from turnwire.sansio.lanes import AUTO, AnyLane
from turnwire.sansio.pool import Connection
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions

PLAIN = frozenset({"create", "open", "resume", "connect", "accept", "hand all", "created", "completed", "rest", "end"})
"""The plain course of things; whatever is not in here is a disturbance."""
NO_WEBSOCKET = 404
BUSY = 503
SIZE = 200
"""Bytes of a message that a WebSocket takes."""


class Ask(NamedTuple):
    """A turn to come."""

    lane: AnyLane = AUTO
    large: bool = False
    """Its message is too large for a WebSocket."""
    websocket_only: bool = False
    """It continues a response that only a connection remembers."""


class PoolWorld(World):
    """The session, the shell, the servers at the ends of its connections, and what was seen of them so far."""

    def __init__(
        self,
        asks: tuple[Ask, ...],
        disturbances: int,
        transport: str,
        *,
        failures: int = 0,
        drains: bool = False,
        refuses: bool = False,
        **options: Any,
    ) -> None:
        """``failures``: so many WebSockets in a row could not be opened. ``refuses``: the caller wants nothing to be
        repeated."""
        super().__init__(tuple(ask.lane for ask in asks), disturbances)
        recovery = {"attempts": 2, "initial_delay": 0.0, **options.pop("recovery", {})}
        if refuses:
            recovery["should_repeat"] = self._asked
        chosen: dict[str, Any] = {
            "transport": transport,
            "max_age": None,
            "ping_interval": None,
            "connect_timeout": 30.0,
            "max_request_size": SIZE,
            "timeouts": NO_LIMITS,
            **options,
        }
        self.session = ResponsesSession(
            options=SessionOptions(recovery=RecoveryPolicy(**recovery), **chosen), random_bytes=zeros
        )
        self.session._fallback.failures = failures
        self.asks = asks
        self.transport = transport
        self.ends: dict[Connection, Server | HttpServer] = {}
        self.failures = failures
        self.http_until = -1.0
        self.may_drain = drains
        self.drains = self.closed_by_hand = False
        self.promised: frozenset[int] = frozenset()
        """Turns of which the client has heard a status 2xx ..."""
        self.begun: frozenset[int] = frozenset()
        """... that is the head of a stream."""

    def _asked(self, failure: TurnError) -> bool:
        return False

    # -- copies

    def _clone_ends(self, other: Self, copies: dict[Any, Any]) -> None:
        other.ends = {copies[one]: end.clone() for one, end in self.ends.items()}

    def _clone_connection(self, old: Any, new: dict[Turn, Turn]) -> Any:
        return self._clone_http(old, new) if isinstance(old, HttpConnection) else super()._clone_connection(old, new)

    @staticmethod
    def _clone_http(old: HttpConnection, new: dict[Turn, Turn]) -> HttpConnection:
        connection = shallow(old)
        connection.stats = copy.copy(old.stats)
        connection.turn = None if old.turn is None else new[old.turn]
        if old._answer is not None:
            answer = connection._answer = shallow(old._answer)
            answer.body = bytearray(answer.body)
            answer._stream = shallow(answer._stream)
            answer._stream._line = bytearray(answer._stream._line)
        if old._exchange is not None:
            exchange = connection._exchange = shallow(old._exchange)
            exchange._unread = list(exchange._unread)
            http = exchange._http = copy.copy(exchange._http)
            http._cstate = copy.copy(http._cstate)
            http._cstate.states = dict(http._cstate.states)
            http._receive_buffer = copy.copy(http._receive_buffer)
            http._receive_buffer._data = bytearray(http._receive_buffer._data)
            http._reader = copy.copy(http._reader)
        return connection

    def key(self) -> object:
        number = {turn: at for at, turn in enumerate(self.turns)}
        session = self.session
        order = {connection: at for at, connection in enumerate(session.pool)}
        return (
            tuple(
                (
                    turn.phase,
                    self.outcomes[at] and str(outcome(turn)),
                    turn.state,
                    tuple(turn.repetitions),
                    order.get(turn.connection, -1),
                    turn.created,
                    turn.response_id,
                )
                for at, turn in enumerate(self.turns)
            ),
            session.closed,
            self.drains,
            tuple(number[turn] for turn in session._backlog),
            len(session._backlog.delayed),
            session._fallback.failures,
            session.fell_back,
            tuple(
                (
                    self._http_key(one, number)
                    if isinstance(one, HttpConnection)
                    else self._connection_key(one, number),
                    self.ends[one].key(),
                    one in session.pool._idle_since,
                )
                for one in session.pool
            ),
            self.past,
            self.heard,
            self.told,
            self.refusals,
            self.promised,
            self.begun,
            self.budget,
        )

    @staticmethod
    def _http_key(connection: HttpConnection, number: dict[Turn, int]) -> object:
        exchange = connection._exchange
        return (
            connection.state,
            connection.endpoint.target,
            None if connection.turn is None else number[connection.turn],
            None if exchange is None else len(exchange._rest),
            connection._answer is not None,
        )

    # -- what may happen

    plain = PLAIN

    def _may_open(self) -> bool:
        return self.session.wants_connection(self.now)

    def possible(self) -> Iterator[Action]:
        session = self.session
        if self.may_drain and not self.drains and not session.closed:
            yield ("drain",)
        yield from (action for action in self._of_caller() if not (self.drains and action == ("create",)))
        if session.next_deadline() is not None:
            yield ("deadline",)
        for at, connection in enumerate(session.pool):
            yield from self._on(at, connection)

    def _on(self, at: int, connection: Connection) -> Iterator[Action]:
        if connection.needs_transport:
            yield ("connect", at)
            yield ("fail", at)
            return
        yield ("eof", at)
        yield ("reset", at)
        if connection.has_data_to_send:
            yield ("hand all", at)
            if not (isinstance(connection, ResponsesConnection) and connection.state is State.HANDSHAKING):
                yield ("hand first", at)
                yield ("hand but one", at)
        end = self.ends[connection]
        if isinstance(end, HttpServer):
            yield from ((kind, at) for kind in end.utterances())
        elif connection.state is State.HANDSHAKING and not connection.has_data_to_send:
            yield ("accept", at)
            yield ("reject", at, NO_WEBSOCKET)
            yield ("reject", at, BUSY)
        elif connection.state is State.OPEN:
            for which, request in end.heads():
                for kind in ("completed",) if request.status > 1 else ("created", "refused"):
                    yield (kind, at, which)

    # -- what happens

    def perform(self, action: Action) -> None:
        kind = action[0]
        if kind not in self.plain:
            self.budget -= 1
        session = self.session
        opening = [one for one in session.pool if isinstance(one, ResponsesConnection) and one.opened_at is None]
        going = [at for at, turn in enumerate(self.turns) if not turn.ended]
        match kind:
            case "create":
                self._create()
            case "close":
                self.closed_by_hand = True
                session.close(self.now)
            case "drain":
                self._drain()
            case "cancel":
                session.cancel(self.turns[action[1]], self.now)
            case "timeout":
                turn = self.turns[action[1]]
                refused = self._is_refused(turn)
                self._time_out(turn)
                refused = refused and not self._is_refused(turn)
            case "open":
                self._open()
            case "resume":
                self.now = max(self.now, session._backlog.next_resumption() or 0.0)
                session.handle_deadline(self.now)
            case "deadline":
                self._deadline()
            case _:
                self._at(list(session.pool)[action[1]], kind, action)
        for connection in opening:
            if connection.is_closed and connection.failure is not None:
                self._not_opened(action, going)
        self._release()
        self._consume()
        self.check()
        # A turn that was refused early may be repeated, though its own deadline ends the wait for words: R-HTTP-19.
        if kind == "timeout" and not self.turns[action[1]].ended and not refused:
            raise ViolatedError(f"I6: its deadline passed, and the turn is {outcome(self.turns[action[1]])}")

    def _body(self, number: int) -> dict[str, Any]:
        ask = self.asks[number]
        body: dict[str, Any] = {"input": str(number) + " " * (SIZE if ask.large else 0)}
        return body | {"previous_response_id": "r-1", "store": False} if ask.websocket_only else body

    def _drain(self) -> None:
        self.session.drain(self.now)
        self.drains = True
        try:
            self.session.create({"input": "late"}, now=self.now)
        except SessionClosedError:
            return
        raise ViolatedError("drain: the session drains, and took a turn")

    def _open(self) -> None:
        connection = self.session.open(ENDPOINT, self.now)
        http = isinstance(connection, HttpConnection)
        self.ends[connection] = HttpServer() if http else Server(echo=True)
        going = [self.asks[at] for at, turn in enumerate(self.turns) if not turn.ended]
        if self.transport == "http":
            right = http
        elif http:
            right = self.now < self.http_until or any(ask.large and not ask.websocket_only for ask in going)
        else:
            right = self.now >= self.http_until or any(ask.websocket_only for ask in going)
        if not right:
            raise ViolatedError(f"transport: {'HTTP' if http else 'a WebSocket'} is opened, for {going}")
        over_http = [one for one in self.session.pool if isinstance(one, HttpConnection)]
        most = self.session.options.connections
        if len(over_http) > most * self.session.options.max_in_flight or len(self.session.pool) - len(over_http) > most:
            raise ViolatedError(f"transport: too many connections: {list(self.session.pool)}")

    def _at(self, connection: Connection, kind: str, action: Action) -> None:
        """Something happens to a connection."""
        session, now, end = self.session, self.now, self.ends[connection]
        match kind:
            case "connect":
                if isinstance(end, HttpServer) and end.redirects:
                    self.past += end.requests
                    end = self.ends[connection] = HttpServer()
                session.transport_connected(connection, now)
            case "fail" | "reset":
                session.transport_failed(connection, "broken", now)
            case "eof":
                session.receive_data(connection, b"", now)
            case "hand all" | "hand first" | "hand but one":
                self._hand_some(connection, end, kind)
            case "accept":
                session.receive_data(connection, accept("openai"), now)
                self.failures = 0
            case "reject":
                session.receive_data(connection, reject(action[2]), now)
            case _ if isinstance(end, HttpServer):
                self._answer(connection, end, kind)
            case _:
                self._say_on_websocket(kind, action[2], connection, end)

    def _not_opened(self, action: Action, going: list[int]) -> None:
        """P-TRANSPORT-2 and P-TRANSPORT-3, from this side. ``going``: the turns that had not ended before."""
        self.failures += 1
        if action[0] == "reject" and action[2] == NO_WEBSOCKET:
            self.http_until = float("inf")
        elif self.failures >= FAILURES_IN_A_ROW:
            self.http_until, self.failures = max(self.http_until, self.now + PAUSE), 0
        for at in going:
            moved = not self.asks[at].websocket_only and self.transport == "auto" and action[-1] == NO_WEBSOCKET
            failure = self.turns[at].failure
            if moved and failure is not None and failure.cause is Cause.REJECTED and failure.phase is Phase.HANDSHAKE:
                raise ViolatedError(f"transport: turn {at} may go over HTTP, and is {outcome(self.turns[at])}")

    def _hand_some(self, connection: Connection, end: Any, how: str) -> None:
        upgrading = isinstance(connection, ResponsesConnection) and connection.state is State.HANDSHAKING
        if how == "hand but one":
            left = len(connection._exchange._rest) if isinstance(connection, HttpConnection) else 0
            data = connection.data_to_send(max(1, left - 1), self.now)
        else:
            data = connection.data_to_send(1 if how == "hand first" else 65536, self.now)
        had = len(end.requests)
        if isinstance(end, HttpServer) and data and (end.last or end.owes or end.rest):
            raise ViolatedError(f"R-HTTP-19, P-TRANSPORT-8: {data[:9]} is handed, and the server has said {end.said}")
        if not upgrading:
            end.take(data)
            self.refusals -= {request.turn for request in end.requests[had:]}

    def _say_on_websocket(self, kind: str, at: int, connection: Connection, server: Server) -> None:
        self._say(kind, at, connection, server)

    def _answer(self, connection: HttpConnection, server: HttpServer, kind: str) -> None:
        """The server over HTTP says something."""
        request = server.now
        number = connection_number(self.turns, connection)
        live = number is not None and not self.turns[number].ended
        if live and request is not None:
            if kind in ("created", "head"):
                self.promised |= {number}
                self.begun |= {number}
            for type_ in TOLD.get(kind, ()):
                self._tell(number, kind, type_)
        if kind == "rest" and live:
            for type_ in TOLD.get(server.rest_of, ()):
                self._tell(number, server.rest_of, type_)
        data = server.say(kind)
        if live and kind in ("half document", "document", "page"):
            self.promised |= {number}
        whole = server.rest_of if kind == "rest" else kind
        if live and whole in ENDS and server.requests and server.requests[-1].status is REFUSED:
            self.refusals |= {number}
        made = len(self.turns[number].repetitions) if number is not None else 0
        self.session.receive_data(connection, data, self.now)
        if live and whole in ENDS:
            turn = self.turns[number]
            if not turn.ended and len(turn.repetitions) == made:
                raise ViolatedError(f"I6: the server said of turn {number}: {whole}; and it is {outcome(turn)}")
        if kind == "end" and connection.state not in (HttpState.IDLE, HttpState.SENDING, HttpState.CLOSED):
            raise ViolatedError(f"I6: its answer is complete, and the connection is {connection.state}")

    def _release(self) -> None:
        """The ends of connections that are gone."""
        for connection in [one for one in self.ends if one not in self.session.pool]:
            self.past += self.ends.pop(connection).requests

    # -- what must hold

    def _requests(self) -> tuple[Any, ...]:
        found = self.past
        for end in self.ends.values():
            found += end.requests
        return found

    def check(self) -> None:
        super().check()
        if self.drains and self.session.idle and not self.session.closed:
            raise ViolatedError("drain: the last turn has ended, and the session goes on")
        if self.drains and self.session.closed:
            cut = [turn for turn in self.turns if cause_of(turn) is Cause.CLIENT_CLOSED]
            if cut and not self.closed_by_hand:
                raise ViolatedError(f"drain: {cut} were cut off")
        lanes: dict[Any, int] = {}
        for end in self.ends.values():
            for request in end.requests:
                lane, turn = self.asks[request.turn].lane, self.turns[request.turn]
                goes_on = lane is not AUTO and not turn.ended and turn.phase >= Phase.SEND
                if goes_on and lanes.setdefault(lane, request.turn) != request.turn:
                    raise ViolatedError(f"I2: turns {lanes[lane]} and {request.turn} of one lane run at a time")
        for at, turn in enumerate(self.turns):
            if self.asks[at].websocket_only and turn.transport == "http":
                raise ViolatedError(f"transport: turn {at} exists on a WebSocket only, and went over HTTP")
        if self.session.options.recovery.should_repeat is not None and any(
            reason is not RepeatReason.NO_WEBSOCKET for turn in self.turns for reason in turn.repetitions
        ):
            raise ViolatedError("should_repeat: the caller said no, and a turn was repeated")

    def _check_failure(self, at: int, turn: Turn, failure: TurnError, handed: set[int], ledger: list[int]) -> None:
        verdict = self._check_verdict(at, turn, failure, handed, ledger)
        if self.heard[at] and verdict is not Verdict.UNSAFE:
            raise ViolatedError(f"I4: turn {at} is {verdict}, and its events: {self.heard[at]}")
        alone = failure.cause in (Cause.EOF, Cause.TRANSPORT, Cause.TIMEOUT, Cause.CANCELLED, Cause.CLIENT_CLOSED)
        if at in self.begun and alone and verdict is not Verdict.UNSAFE:
            raise ViolatedError(f"I4: turn {at} is {verdict}, and the server had begun to answer it")
        if failure.cause is Cause.TOO_LARGE and self.transport == "auto" and not self.asks[at].websocket_only:
            raise ViolatedError(f"transport: turn {at} may go over HTTP, and is too large")
        if verdict is Verdict.UNSAFE and not self.heard[at] and at not in self.promised:
            raise ViolatedError(f"I4: turn {at} is {verdict}, and nothing was heard of it")
        refused = failure.cause in (Cause.ERROR_FRAME, Cause.REJECTED) and at in self.refusals
        if refused and RepeatReason.AMBIGUOUS not in turn.repetitions and verdict is not Verdict.SAFE:
            raise ViolatedError(f"I4: turn {at} is {verdict}, and the server refused it")

    def may_run(self, turn: Turn) -> int:
        return 1 + turn.repetitions.count(RepeatReason.AMBIGUOUS)

    @staticmethod
    def _is_refused(turn: Turn) -> bool:
        connection = turn.connection
        return isinstance(connection, HttpConnection) and connection.state is HttpState.REFUSED

    # -- both ends of I6

    good = ("rest", "hand all", "open", "connect", "accept", "completed", "created", "end", "resume", "stream over")

    def _do_what_is_good(self) -> bool:
        actions = {action[0]: action for action in reversed(list(self.possible()))}
        action = next((actions[kind] for kind in self.good if kind in actions), None)
        action = actions.get("eof", actions.get("deadline")) if action is None else action
        if action is not None:
            self.perform(action)
        return action is not None

    def _let_time_pass(self) -> bool:
        going = next(at for at, turn in enumerate(self.turns) if not turn.ended)
        waits = ("deadline",) if self._is_refused(self.turns[going]) else ("timeout", going)
        self.perform(("open",) if self.session.wants_connection(self.now) else waits)
        return True


def connection_number(turns: list[Turn], connection: Connection) -> int | None:
    """Which turn is on this connection."""
    return next((at for at, turn in enumerate(turns) if turn is getattr(connection, "turn", None)), None)
