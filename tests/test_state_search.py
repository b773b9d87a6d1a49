"""An explicit-state search of the session and connection machines (REPLAY.md, "Proof obligations"), without sockets.

The world
    One session of the real code with up to 3 turns on up to 2 lanes; a shell that may do any of its steps at any time;
    and a model of a server, written here and sharing no code with the machine. The search walks *every* order of

    ================== =============================================================================================
    the caller         creates the next turn · cancels a turn · closes the session
    the shell          opens a connection · its transport comes up, or fails · hands bytes of the outbox
    the server         accepts or rejects the upgrade · starts, refuses (4xx), drops (5xx), completes or breaks off a
                       request · speaks without a lane: "connection limit reached", or a failure · pings · closes;
                       whole frames, or the first half of one now and the rest later or never
    the network        ends the stream, or resets it
    time               lets a deadline of one turn pass, or the next one of the connection or the session
    ================== =============================================================================================

    The server may have received any prefix of the bytes that were handed. Checking against the worst one is enough: it
    has received all of them, and *runs a request as soon as it has the whole of it*, unless it tells the client, ever,
    that it refused. Whether the client has heard so is the network's matter. So the ledger holds all whole messages of
    every connection, without the refused ones.

What is checked in every state
    I2  a turn gets its own events only, in order;
    I3  verdict SAFE ⇒ the ledger does not hold the turn, in this and in every later state;
    I4  the final byte of no message of the turn was handed, and it is settled ⇒ SAFE. (*Settled*: a message whose
        consumer left it in the middle, on a connection that others use, is judged as handed while its rest goes out);
        and UNSAFE ⇔ an event arrived; a refusal arrived ⇒ SAFE;
    I5  with recovery on, the ledger holds no turn twice;
    I6  an outcome, once seen, does not change (but for a turn that settles); a turn whose deadline passed has ended;
        and from every state, or every n-th of a large search, *both* of these end every turn: an environment that does
        all it should, without any deadline; and one that does nothing at all, by deadlines alone.

What is reduced, to keep it finite
    - Bytes are handed by 1, up to the last of the frame, to the frame's end, or all at once: not by every number. (Of
      an upgrade request all at once; the ledger tests over TCP cut at every byte.)
    - A turn's deadline is its own choice, so any turn's may be the next to pass: time stands still for the others.
      The connection's own (connect, ping, stall, close, rotation) pass in their order.
    - A server that says "connection limit reached" is taken at REPLAY.md's word: it refuses, so it runs nothing for
      which it has sent no event.
    - Backoff and masks are zero: the injected randomness is.
    - On each path there is a bounded number of *disturbances*: everything but the plain course of things (create, open,
      connect, hand, accept, start, complete). The bounds are in :data:`WORLDS`.
    - A turn has three events at most, a lane never more than its turns, and states that differ only in the time on the
      clock count as one.

``TURNWIRE_SEARCH=large`` walks further. The counts are printed, whatever pytest captures.
"""

from __future__ import annotations

import copy
import functools
import json
import os
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from turnwire.sansio import replay
from turnwire.sansio.connection import ResponsesConnection, State, Turn
from turnwire.sansio.connection._turn import Outbox
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import TurnError
from turnwire.sansio.lanes import Lanes
from turnwire.sansio.replay import Cause, Phase, Plan, Reason, RecoveryPolicy, Verdict
from turnwire.sansio.request import Timeouts
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.websocket import ClientHandshake
from wsproto.utilities import generate_accept_token

ENDPOINT = Endpoint("ws://server.test/v1/responses")
OPTIONS = SessionOptions(max_age=10.0, ping_interval=20.0, ping_timeout=20.0)
NOW = Timeouts(0.0, 0.0, 0.0, 0.0)
PATIENT = Timeouts()


def zeros(length: int) -> bytes:
    return bytes(length)


ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    + generate_accept_token(b"AAAAAAAAAAAAAAAAAAAAAA==")
    + b"\r\n\r\n"
)
REJECT = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


# --- The server's messages ------------------------------------------------------------------------------------------


def frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    head = bytes((0x80 | opcode, length)) if length < 126 else bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    return head + payload


PING = frame(9, b"?")
CLOSE = frame(8, (1000).to_bytes(2, "big"))


@functools.cache
def message(kind: str, number: int, lane: str | None) -> bytes:
    """What the server says about a turn, or with number -1 about none."""
    event: dict[str, Any]
    if kind in ("created", "completed"):
        event = {"type": f"response.{kind}", "response": {"id": f"r{number}", "status": kind}}
    elif kind == "broken off":
        event = {"type": "response.error", "error": {"type": "server_error", "code": None, "message": f"r{number}"}}
    else:
        status, code = {"refused": (400, "bad"), "dropped": (500, None), "limit": (400, LIMIT)}[kind]
        event = {"type": "error", "status": status, "error": {"type": "x", "code": code, "message": f"r{number}"}}
    lane_field = {} if lane is None else {"stream_id": lane}
    return frame(1, json.dumps({**event, **lane_field, "sequence_number": 0}).encode())


LIMIT = "websocket_connection_limit_reached"

# --- The server ------------------------------------------------------------------------------------------------------

ARRIVED, RUNNING, ENDED, REFUSED = range(4)


class Request(NamedTuple):
    turn: int
    lane: str | None
    status: int


class Server:
    """The worst that PROTOCOL.md allows: it has what was handed, and runs what it has."""

    def __init__(self) -> None:
        self.bytes = b""
        self.requests: tuple[Request, ...] = ()
        self.rest = b""
        """The second half of a frame whose first half was delivered."""
        self.gone = False
        """It sent a close frame: nothing more is to come but the end."""

    def clone(self) -> Server:
        other = Server()
        other.__dict__.update(self.__dict__)
        return other

    def take(self, data: bytes) -> None:
        self.bytes += data
        while len(self.bytes) >= 2:
            length, head = self.bytes[1] & 0x7F, 6
            if length == 126:
                length, head = int.from_bytes(self.bytes[2:4], "big"), 8
            if len(self.bytes) < head + length:
                return
            payload, first = self.bytes[head : head + length], self.bytes[0]
            self.bytes = self.bytes[head + length :]
            if first == 0x81:  # The mask is zero: the random bytes are.
                request = json.loads(payload)
                self.requests += (Request(int(request["input"]), request.get("stream_id"), ARRIVED),)

    def heads(self) -> Iterator[tuple[int, Request]]:
        """The requests that may run now: the first of each lane that has not ended."""
        busy: set[str | None] = set()
        for at, request in enumerate(self.requests):
            if request.status in (ARRIVED, RUNNING) and request.lane not in busy:
                busy.add(request.lane)
                yield at, request

    def mark(self, at: int, status: int) -> None:
        requests = list(self.requests)
        requests[at] = requests[at]._replace(status=status)
        self.requests = tuple(requests)


AFTER = {
    "created": RUNNING,
    "completed": ENDED,
    "broken off": ENDED,
    "dropped": ENDED,
    "refused": REFUSED,
}
PLAIN = frozenset({"create", "open", "connect", "hand", "accept", "created", "completed", "rest", "finish"})
"""The plain course of things; whatever is not in here is a disturbance."""

Action = tuple[Any, ...]


class ViolatedError(AssertionError):
    """An invariant does not hold."""


# --- The world -------------------------------------------------------------------------------------------------------


class World:
    """The session, the shell, the server, and what was seen of them so far."""

    def __init__(self, lanes: tuple[str | None, ...], disturbances: int, options: SessionOptions = OPTIONS) -> None:
        self.session = ResponsesSession(options=options, random_bytes=zeros)
        self.lanes = lanes
        self.budget = disturbances
        self.now = 0.0
        self.turns: list[Turn] = []
        self.server: Server | None = None
        self.past: tuple[Request, ...] = ()
        """What the servers of earlier connections had whole."""
        self.heard: tuple[tuple[str, ...], ...] = ()
        """The events of each turn, so far."""
        self.refusals: frozenset[int] = frozenset()
        """The turns whose refusal was delivered."""
        self.outcomes: tuple[TurnError | str | None, ...] = ()

    # -- snapshots

    def clone(self) -> World:
        """A copy that shares with the original only what never changes."""
        other = object.__new__(World)
        other.__dict__.update(self.__dict__)
        new: dict[Turn, Turn] = {}
        session = other.session = copy.copy(self.session)
        session.stats = copy.copy(session.stats)
        for turn in self.turns:
            twin = new[turn] = copy.copy(turn)
            twin.events = deque()
        old = self.session.connection
        if old is not None:
            session.connection = self._clone_connection(old, new)
            session.connection.stats = session.stats
        for turn in new.values():
            if turn.connection is old and old is not None:
                turn.connection = session.connection
        session._backlog = deque(new[turn] for turn in self.session._backlog)
        other.turns = list(new.values())
        other.server = self.server.clone() if self.server is not None else None
        return other

    @staticmethod
    def _clone_connection(old: ResponsesConnection, new: dict[Turn, Turn]) -> ResponsesConnection:
        connection = copy.copy(old)
        lanes = connection._lanes = copy.copy(old._lanes)
        lanes._names = set(lanes._names)
        lanes._ready = deque(lanes._ready)
        lanes._waiting = {lane: deque(new[turn] for turn in queue) for lane, queue in lanes._waiting.items()}
        lanes.running = {lane: new[turn] for lane, turn in lanes.running.items()}
        outbox = connection._outbox = copy.copy(old._outbox)
        outbox._turn = None if outbox._turn is None else new[outbox._turn]
        outbox._control = deque(outbox._control)
        outbox._messages = dict.fromkeys(new[turn] for turn in outbox._messages)
        connection._pulse = copy.copy(old._pulse)
        connection._failed = []
        if old._websocket is not None:
            websocket = connection._websocket = copy.copy(old._websocket)
            websocket._buffer = bytearray(websocket._buffer)
        elif old.state is State.HANDSHAKING:  # An h11 connection is not for copying: one like it.
            connection._handshake = ClientHandshake(ENDPOINT.authority, ENDPOINT.target, random_bytes=zeros)
        return connection

    def key(self) -> object:
        """Two states with equal keys have equal futures (up to the clock)."""
        number = {turn: at for at, turn in enumerate(self.turns)}
        session, connection, server = self.session, self.session.connection, self.server
        return (
            tuple(
                (
                    turn.phase,
                    self.outcomes[at] and str(_outcome(turn)),
                    turn.abandoned,
                    turn.repetitions,
                    turn.connection is None,
                )
                for at, turn in enumerate(self.turns)
            ),
            session.closed,
            tuple(number[turn] for turn in session._backlog),
            connection
            and (
                connection.state,
                connection.draining,
                connection._muted,
                connection._pulse.asked is None,
                len(connection._outbox._frame),
                number.get(connection._outbox._turn) if connection._outbox._turn is not None else None,
                connection._outbox.mid_frame,
                len(connection._outbox._control),
                connection._outbox._pong,
                tuple(number[turn] for turn in connection._outbox._messages),
                tuple(connection._lanes._ready),
                tuple((lane, number[turn]) for lane, turn in connection._lanes.running.items()),
                tuple(
                    (lane, tuple(number[turn] for turn in queue)) for lane, queue in connection._lanes._waiting.items()
                ),
            ),
            server and (server.bytes, server.requests, server.rest, server.gone),
            self.past,
            self.heard,
            self.refusals,
            self.budget,
        )

    # -- what may happen

    def actions(self) -> list[Action]:
        """Everything that may happen next."""
        actions = list(self._possible())
        return actions if self.budget else [action for action in actions if action[0] in PLAIN]

    def _possible(self) -> Iterator[Action]:
        session, connection, server = self.session, self.session.connection, self.server
        if not session.closed:
            yield ("close",)
            if len(self.turns) < len(self.lanes):
                yield ("create",)
        for at, turn in enumerate(self.turns):
            if not turn.ended:
                yield ("cancel", at)
                yield ("timeout", at)
        if session.wants_connection(self.now):
            yield ("open",)
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
        if connection.state is State.HANDSHAKING:
            yield ("accept",)
            yield ("reject",)
        elif server is not None and server.rest:
            yield ("rest",)
        elif server is not None and not server.gone:
            yield from self._spoken(server, connection)

    def _spoken(self, server: Server, connection: ResponsesConnection) -> Iterator[Action]:
        if connection.state is State.CLOSING:
            yield ("finish",)
            return
        yield ("ping",)
        yield ("goodbye",)
        yield ("limit",)
        if not any(request.lane is None for _, request in server.heads()):
            yield ("outage",)
        for at, request in server.heads():
            for kind in ("created", "refused", "dropped") if request.status is ARRIVED else ("completed", "broken off"):
                yield (kind, at)
                yield ("half " + kind, at)

    # -- what happens

    def perform(self, action: Action) -> None:
        """Do it, then what a shell does after everything: update, and hand the consumers their events."""
        kind = action[0]
        if kind not in PLAIN:
            self.budget -= 1
        session, connection = self.session, self.session.connection
        timed_out: Turn | None = None
        if kind == "create":
            number = len(self.turns)
            body = {"input": str(number)}
            self.turns.append(session.create(body, lane=self.lanes[number], now=self.now))
            self.heard += ((),)
            self.outcomes += (None,)
        elif kind == "close":
            session.close(self.now)
        elif kind == "cancel":
            session.cancel(self.turns[action[1]], self.now)
        elif kind == "timeout":
            timed_out = self.turns[action[1]]
            timed_out.timeouts = NOW
            session.handle_deadline(self.now)
            timed_out.timeouts = PATIENT
        elif kind == "open":
            self._retire()
            session.open(ENDPOINT, self.now)
            self.server = Server()
        elif kind == "deadline":
            self._deadline()
        elif connection is not None:
            self._on_connection(kind, action, connection)
        session.update(self.now)
        if connection is not None and connection.state is State.CLOSED and self.server is not None:
            self.server.take(connection.data_to_send(65536, self.now))  # A close frame, if anything.
            self._retire()
        self._consume()
        self.check()
        if timed_out is not None and not (timed_out.ended and _cause(timed_out) in (Cause.TIMEOUT, None)):
            raise ViolatedError(f"I6: its deadline passed, and the turn is {_outcome(timed_out)}")

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
        server, now = self.server, self.now
        assert server is not None
        match kind:
            case "connect":
                connection.transport_connected(now)
            case "fail" | "reset":
                connection.transport_failed("broken", now)
            case "eof":
                connection.receive_data(b"", now)
            case "accept":
                connection.receive_data(ACCEPT, now)
            case "reject":
                connection.receive_data(REJECT, now)
            case "hand":
                self._hand(action[1], connection, server)
            case "rest":
                rest, server.rest = server.rest, b""
                connection.receive_data(rest, now)
            case "ping":
                connection.receive_data(PING, now)
            case "goodbye" | "finish":
                server.gone = True
                connection.receive_data(CLOSE, now)
            case "limit":  # REPLAY.md: a refusal. Whatever has not begun is not run.
                for at, request in enumerate(server.requests):
                    if request.status is ARRIVED:
                        server.mark(at, REFUSED)
                server.gone = True
                connection.receive_data(message("limit", -1, None), now)
            case "outage":
                connection.receive_data(message("dropped", -1, None), now)
            case _:
                self._say(kind, action[1], connection, server)

    def _hand(self, most: int, connection: ResponsesConnection, server: Server) -> None:
        upgrading = connection.state is State.HANDSHAKING
        if most > 0:
            data = connection.data_to_send(most, self.now)
        else:  # To the last byte of the frame, whose length is known once it has begun.
            data = connection.data_to_send(1, self.now)
            if (left := len(connection._outbox._frame)) > 1:
                data += connection.data_to_send(left - 1, self.now)
        if not upgrading:
            server.take(data)

    def _say(self, kind: str, at: int, connection: ResponsesConnection, server: Server) -> None:
        half = kind.startswith("half ")
        kind = kind.removeprefix("half ")
        request = server.requests[at]
        server.mark(at, AFTER[kind])
        data = message(kind, request.turn, request.lane)
        if half:
            data, server.rest = data[:-20], data[-20:]
        elif kind == "refused" and not self.turns[request.turn].ended:
            self.refusals |= {request.turn}
        connection.receive_data(data, self.now)

    def _retire(self) -> None:
        if self.server is not None:
            self.past += self.server.requests
            self.server = None

    def _consume(self) -> None:
        for at, turn in enumerate(self.turns):
            while turn.events:
                event = turn.next_event()
                assert event is not None
                if getattr(event, "response_id", None) != f"r{at}":
                    raise ViolatedError(f"I2: turn {at} was given {event.raw}")
                self.heard = (*self.heard[:at], (*self.heard[at], event.type), *self.heard[at + 1 :])
            if not turn.ended:
                turn.wait(self.now)

    # -- what must hold

    def check(self) -> None:
        requests = self.past if self.server is None else self.past + self.server.requests
        handed = {request.turn for request in requests}
        ledger = [request.turn for request in requests if request.status is not REFUSED]
        outcomes: list[TurnError | str | None] = []
        for at, turn in enumerate(self.turns):
            if self.heard[at] not in ((), ("response.created",), ("response.created", "response.completed")):
                raise ViolatedError(f"I2: turn {at} was given {self.heard[at]}")
            if ledger.count(at) > 1:
                raise ViolatedError(f"I5: turn {at} ran {ledger.count(at)} times")
            failure = turn.failure
            if failure is not None:
                if turn.phase is Phase.DONE:
                    raise ViolatedError(f"I6: turn {at} ended twice: with its terminal event, and {failure!r}")
                verdict = failure.evidence.verdict
                settled = not (turn.abandoned and turn.phase is Phase.SEND)
                if verdict is Verdict.SAFE and at in ledger:
                    raise ViolatedError(f"I3: turn {at} is SAFE ({failure}), and the server runs it")
                if settled and at not in handed and verdict is not Verdict.SAFE:
                    raise ViolatedError(f"I4: turn {at} is {verdict}, and was never handed whole")
                if bool(self.heard[at]) is not (verdict is Verdict.UNSAFE):
                    raise ViolatedError(f"I4: turn {at} is {verdict}, and its events: {self.heard[at]}")
                if failure.cause is Cause.ERROR_FRAME and at in self.refusals and verdict is not Verdict.SAFE:
                    raise ViolatedError(f"I4: turn {at} is {verdict}, and the server refused it")
            before = self.outcomes[at]
            after: TurnError | str | None = failure if failure is not None else "done" if turn.ended else None
            if before is not None and after is not before and not (turn.abandoned and isinstance(after, TurnError)):
                raise ViolatedError(f"I6: turn {at} ended with {before!r}, and then with {after!r}")
            outcomes.append(after)
        self.outcomes = tuple(outcomes)

    # -- both ends of I6

    def ends_in_a_good_world(self) -> None:
        """From here on everybody does what they should, and no deadline passes."""
        for _ in range(40):
            if all(turn.ended for turn in self.turns):
                return
            wanted = ("rest", "hand", "open", "connect", "accept", "finish", "completed", "created")
            actions = {action[0]: action for action in reversed(list(self._possible()))}
            action = next((actions[kind] for kind in wanted if kind in actions), None)
            if action is None and self.server is not None and self.server.gone:
                action = ("eof",)  # The server has said goodbye; it goes.
            if action is None:
                break
            self.perform(("hand", 65536) if action[0] == "hand" else action)
        raise ViolatedError(f"I6: nothing is left to do, and the turns are {self.turns}")

    def ends_in_a_dead_world(self) -> None:
        """From here on nothing happens but that time passes, and that the shell tries to connect."""
        for _ in range(40):
            if all(turn.ended for turn in self.turns):
                return
            self.perform(("open",) if self.session.wants_connection(self.now) else ("deadline",))
        raise ViolatedError(f"I6: no deadline ends the turns {self.turns}")


def _outcome(turn: Turn) -> str:
    if turn.failure is None:
        return turn.phase.name
    return f"{turn.failure.cause.name} {turn.failure.phase.name} {turn.failure.evidence.verdict}"


def _cause(turn: Turn) -> Cause | None:
    return None if turn.failure is None else turn.failure.cause


# --- The search ------------------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    states: int
    transitions: int


def search(start: World, *, liveness_of_every: int = 1, at_most: int | None = None) -> Counts:
    """Walk every state that can be reached; raises ViolatedError, with the way to it."""
    seen = {start.key()}
    stack: list[tuple[World, tuple[Any, ...]]] = [(start, ())]
    transitions = 0
    while stack:
        world, path = stack.pop()
        for action in world.actions():
            child = world.clone()
            way = (path, action)
            try:
                child.perform(action)
                transitions += 1
                key = child.key()
                if key not in seen:
                    seen.add(key)
                    stack.append((child, way))
                    if len(seen) % liveness_of_every == 0:
                        child.clone().ends_in_a_good_world()
                        child.clone().ends_in_a_dead_world()
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


LARGE = os.environ.get("TURNWIRE_SEARCH") == "large"

WORLDS = (
    # lanes of the turns, disturbances on each path, and at most one state in how many is tried for liveness
    ((None,), 4, 1),
    (("a", "a"), 2, 4),
    ((None, "a"), 3, 32),
    ((None, None, "a"), 1, 4),
)
LARGER = (
    ((None,), 12, 1),
    (("a", "a"), 4, 4),
    ((None, "a"), 4, 16),
    ((None, "a", "a"), 2, 16),
    ((None, "a", None), 3, 64),
)


def test_no_order_of_events_breaks_an_invariant(summary) -> None:
    totals = Counts(0, 0)
    for lanes, disturbances, every in LARGER if LARGE else WORLDS:
        found = search(World(lanes, disturbances), liveness_of_every=every)
        totals = Counts(totals.states + found.states, totals.transitions + found.transitions)
        summary.append(
            f"search: lanes {lanes}, {disturbances} disturbances: "
            f"{found.states:,} states, {found.transitions:,} transitions"
        )
    summary.append(f"search: {totals.states:,} states, {totals.transitions:,} transitions, 0 violations of I2-I6")
    assert totals.transitions >= 100_000


def test_without_recovery_nothing_breaks_either() -> None:
    never = SessionOptions(max_age=None, ping_interval=20.0, recovery=RecoveryPolicy(attempts=0))
    search(World(("a", None), 2, never), liveness_of_every=8)


# --- And it can fail -------------------------------------------------------------------------------------------------


def small_search() -> None:
    """Enough of a search to find what is plainly wrong."""
    search(World((None,), 3))
    search(World((None, "a"), 2), liveness_of_every=4)


ROWS = [
    pytest.param(
        row, verdict, id=f"{'+'.join(phase.name for phase in sorted(row.phases))}-{row.refused}-{verdict.name}"
    )
    for row in replay.VERDICT_TABLE
    for verdict in Verdict
    if verdict is not row.verdict
]


@pytest.mark.parametrize(("row", "verdict"), ROWS)
def test_a_flipped_verdict_is_found(monkeypatch: pytest.MonkeyPatch, row: Any, verdict: Verdict) -> None:
    table = tuple(other._replace(verdict=verdict) if other is row else other for other in replay.VERDICT_TABLE)
    monkeypatch.setattr(replay, "VERDICT_TABLE", table)
    with pytest.raises(ViolatedError, match=r"I[34]"):
        small_search()


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DONE])
def test_a_phase_in_the_wrong_row_is_found(monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    safe, refused, ambiguous, unsafe = replay.VERDICT_TABLE
    if phase < Phase.AWAIT:
        table = (
            safe._replace(phases=safe.phases - {phase}),
            ambiguous._replace(phases=frozenset({phase, Phase.AWAIT})),
        )
    else:
        table = (safe._replace(phases=safe.phases | {phase}), ambiguous)
    monkeypatch.setattr(replay, "VERDICT_TABLE", (*table, refused, unsafe))
    with pytest.raises(ViolatedError, match=r"I[34]"):
        small_search()


def test_a_turn_that_passes_to_await_a_chunk_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Outbox.take
    late: dict[str, list[Turn]] = {"turns": []}

    def take_late(self: Outbox, most: int, websocket: Any) -> tuple[bytes, list[Turn]]:
        data, ended = take(self, most, websocket)
        late["turns"], ended = ended, late["turns"]
        return data, ended

    monkeypatch.setattr(Outbox, "take", take_late)
    with pytest.raises(ViolatedError, match=r"I[2346]"):
        small_search()


def test_a_turn_that_passes_to_await_with_its_first_byte_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Outbox.take

    def take_early(self: Outbox, most: int, websocket: Any) -> tuple[bytes, list[Turn]]:
        data, ended = take(self, most, websocket)
        return data, [*ended, self._turn] if self._turn is not None else ended

    monkeypatch.setattr(Outbox, "take", take_early)
    with pytest.raises(ViolatedError, match="I4"):
        small_search()


def test_a_message_that_goes_out_after_its_turn_failed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "remove", lambda self, turn: None)
    with pytest.raises(ViolatedError, match=r"I[35]"):
        small_search()


def test_a_connection_that_is_not_muted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ResponsesConnection, "_muted", property(lambda self: False, lambda self, value: None), raising=False
    )
    with pytest.raises(ViolatedError, match=r"I[35]"):
        small_search()


def test_a_muted_connection_that_keeps_its_turns_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def evict_the_waiting_only(self: ResponsesConnection, now: float) -> list[Turn]:
        waiting = list(self._lanes.waiting())
        for turn in waiting:
            self._lanes.leave(turn, turn.lane)
            turn.unsent()
        self._end_if_useless(now)
        return waiting

    monkeypatch.setattr(ResponsesConnection, "evict_waiting", evict_the_waiting_only)
    with pytest.raises(ViolatedError, match="I6"):
        search(World((None, "a"), 2))


def test_a_lane_that_is_not_freed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = Lanes.leave

    def leave_it_busy(self: Lanes[Turn], turn: Turn, lane: str | None) -> None:
        if self.running.get(lane) is not turn or not turn.abandoned:
            leave(self, turn, lane)

    monkeypatch.setattr(Lanes, "leave", leave_it_busy)
    with pytest.raises(ViolatedError, match="I6"):
        search(World(("a", "a", "b"), 1))


def test_a_turn_that_is_repeated_after_its_last_byte_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    once = Plan(Reason.NOT_RUN, 0.0)
    monkeypatch.setattr(RecoveryPolicy, "plan", lambda self, evidence, made, random: None if made else once)
    with pytest.raises(ViolatedError, match=r"I[56]"):
        small_search()
