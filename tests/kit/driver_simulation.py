"""The driver in a world from a seed: a runtime that is a heap of events, a network that loses things, servers, clients.

::

    run = simulate(123)          # minutes or hours, in a millisecond or two
    assert not run.complaints    # what did not hold
    run.trace, run.digest        # everything that happened, and its hash: equal for equal seeds

What is real
    ``sansio/driver.py`` and the core under it, over WebSockets and over HTTP; in some worlds the server's role of the
    core, too. There is no event
    loop, no task, no patch: :class:`World` is the loop, :class:`SimRuntime` the runtime.

What is chance
    Everything, and all of it comes from the seed: options, latencies, where bytes are cut, what the network and the
    server do, what the clients do, in which order things happen that happen at the same time, how late the timer is.

Who looks
    After every step of the driver, and in every call that it makes to its runtime, :meth:`World.look` looks at what a
    consumer could see just then. What a consumer could see stands (REPLAY.md, "Verdict"), so a failure must not be
    there before the session has decided about it.

Who judges
    :class:`SimRuntime` that the driver keeps to its contract; :class:`Judge` what came of turns and connections, by the
    ledger of the service and the bytes that the network saw. Nobody asks the driver about itself.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

import msgspec
from kit.driver_http import ClientRequests, LightHttpServer
from kit.driver_service import NO_MASK, NONCE, ClientFrames, LightServer
from turnwire.sansio.connection import Turn, TurnInput
from turnwire.sansio.driver import CHUNK, LOOK, Driver, Link
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import SessionClosedError, SteeringNotSupportedError, TransportError, TurnError
from turnwire.sansio.events import Role
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.lanes import AUTO, AnyLane
from turnwire.sansio.notices import Notices
from turnwire.sansio.pool import RETRY
from turnwire.sansio.record import Recording
from turnwire.sansio.recording import recorded_session
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.server import Problem, ServerConnection, ServerOptions, ServerState, ServerTurnState
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.steering import turn_input
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import Rejected

HORIZON = 14 * 86400.0
"""Seconds after which a run counts as hanging: nothing in it takes days."""
STEPS = 20_000
"""Events after which it counts as spinning."""
HOUR = 3600.0
ENDPOINT = Endpoint("http://sim.test/v1/responses", ())
COMPLETED = "response.completed"
NO_WEBSOCKET = (404, 405, 426, 501)
"""Statuses of a rejected upgrade that say that there is none (PROTOCOL.md, "Transports")."""
SLEEP = None
"""What a process yields to sleep until it is woken; a number is seconds."""

Steps = Generator[float | None, None, None]


class Cancelled(BaseException):
    """A client's process was cancelled."""


class Process:
    """A generator that yields how long to sleep. Waking one that was woken, or does not sleep, changes nothing."""

    __slots__ = ("_pause", "_sleep", "done", "run", "woken", "world")

    def __init__(self, world: World, run: Steps) -> None:
        self.world = world
        self.run = run
        self.woken = True
        self.done = False
        self._sleep = 0
        world.at(world.now, self._go, 0)

    def wake(self) -> None:
        if not self.woken and not self.done and self._pause is SLEEP:
            self.woken = True
            self.world.at(self.world.now, self._go, self._sleep)

    def cancel(self) -> None:
        if not self.done:
            self._advance(self.run.throw, Cancelled)

    def _go(self, sleep: int) -> None:
        if sleep == self._sleep and not self.done:
            self._advance(self.run.send, None)

    def _advance(self, step: Callable[[Any], float | None], value: Any) -> None:
        self._sleep += 1
        self.woken = False
        try:
            pause = self._pause = step(value)
        except (StopIteration, Cancelled):
            self.done = True
            self.world.running.wake()
        else:
            if pause is not SLEEP:
                self.world.at(self.world.now + pause, self._go, self._sleep)


# --- The network -----------------------------------------------------------------------------------------------------


class Line:
    """One connection through the network, with what is going to happen to it."""

    def __init__(self, world: World, link: Link) -> None:
        rng = world.rng
        self.world = world
        self.link = link
        self.number = len(world.lines)
        self.born = world.now
        self.peer: SimulatedPeer | None = None
        """None while it is being opened."""
        self._latency = rng.choice((0.0, 0.001, 0.02, 0.3))
        self._last = {True: 0.0, False: 0.0}
        self._up: deque[bytes] = deque()
        self._down: deque[bytes | TransportError] = deque()
        self._kept = b""
        """What the transport has in its buffer."""
        self.writable = True
        self.paused = False
        self.was_paused = False
        self.closing = False
        """It closes when its buffer is empty."""
        self.closed: float | None = None
        """When the client released it."""
        self.asked = False
        """The driver asked for it."""
        self.lost = False
        """And when the driver was told."""
        self.fate: str | None = None
        """What the network did to it."""
        self.ended = False
        """The server's end is gone."""
        self.dark_up = self.dark_down = False
        self.byte_limits: dict[bool, int | None] = {True: None, False: None}
        """How many bytes get through, up and down, before its fate befalls it."""
        self.totals = {True: 0, False: 0}
        self.heard: list[float] = []
        """When the client read something."""
        self.wrote: list[float] = []
        """When it wrote."""
        self.full: list[tuple[float, float]] = []
        """From when to when the transport took no more."""
        self._full_at = 0.0
        self.upgraded: float | None = None
        self._answer = b""
        self.over: float | None = None
        """When the client could know of the server's end."""
        self.close_frame: float | None = None
        """When the client wrote one."""
        self.handed: set[str] = set()
        """The markers of the turns whose last bytes the client wrote."""
        self.http = isinstance(link.connection, HttpConnection)
        self._frames = ClientFrames()
        self._requests = ClientRequests()
        self.handed_steers: set[str] = set()
        """The same of steers."""
        self.reads_along = self.http or not world.options.compression
        self._given: str | None = None

    def note(self, what: str) -> None:
        self.world.note(f"line {self.number}: {what}")

    # -- up

    def write(self, data: bytes) -> bool:
        """What the client gives to the transport; whether that keeps nothing of it."""
        world = self.world
        self.wrote.append(world.now)
        if self.reads_along:
            self._read_along(data)
        if self.closed is not None:  # The driver does not know yet.
            return False
        if not world.slow or world.rng.random() >= world.slow:
            self._put_up(data)
            return True
        cut = world.rng.randrange(len(data) + 1)
        self.writable = False
        self._full_at = world.now
        self._kept = data[cut:]
        if cut:
            self._put_up(data[:cut])
        if not self.dark_up:
            delay = world.rng.choices((0.0, 0.01, 1.0, 70.0), (6, 6, 2, 1))[0]
            world.at(world.now + delay * world.rng.random(), self._flushed)
        return False

    def _read_along(self, data: bytes) -> None:
        if self.http:
            self.handed.update(_marker(body) for body in self._requests.receive(data))
            return
        for opcode, payload in self._frames.receive(data):
            if opcode == 1 and b'"response.steer"' in payload[:40]:
                self.handed_steers.add(msgspec.json.decode(payload)["input"])
            elif opcode == 1:
                self.handed.add(_marker(payload))
            elif opcode == 8 and self.close_frame is None:
                self.close_frame = self.world.now

    def _flushed(self) -> None:
        """The transport's buffer is empty."""
        if self.closed is None and not self.ended and not self.dark_up:
            self._put_up(self._kept)
            self._kept = b""
            self.writable = True
            self.full.append((self._full_at, self.world.now))
            if self.closing:
                self.let_go()
            else:
                self.world.tell(self.world.driver.writable, self.link)

    def _put_up(self, data: bytes) -> None:
        self._put(True, self._up, data, self._arrive_up)

    def _put(self, up: bool, pieces: deque[Any], data: bytes, arrive: Callable[[], None]) -> None:
        limit, self.totals[up] = self.byte_limits[up], self.totals[up] + len(data)
        if limit is not None and self.totals[up] >= limit:
            data = data[: max(0, len(data) - (self.totals[up] - limit))]
            self.fate = self.fate or "cut"
            if self._given is not None:
                self.world.at(self.world.now + self.world.rng.choice((0.0, 0.01, 1.0)), self.befall)
        if data and not self.ended:
            pieces.append(data)
            self.world.at(self._due(up), arrive)

    def _due(self, up: bool) -> float:
        """When what is put in now arrives: not before what was put in before."""
        world = self.world
        late = self._latency * world.rng.random() if self._latency else 0.0
        if world.stalls and world.rng.random() < world.stalls:
            late += world.rng.choice((0.7, 5.0, 45.0))
        self._last[up] = due = max(self._last[up], world.now + late)
        return due

    def _arrive_up(self) -> None:
        if self._up and not self.dark_up:
            data = self._up.popleft()
            cut = self.world.piece(len(data))
            if cut < len(data):
                self._up.appendleft(data[cut:])
                self.world.at(self.world.now, self._arrive_up)
            if self.peer is not None:
                self.peer.receive(data[:cut])

    # -- down

    def say(self, data: bytes) -> None:
        """What the server sends."""
        self._put(False, self._down, data, self._arrive_down)

    def _arrive_down(self) -> None:
        """Hot path: what has arrived is read, a piece of it."""
        if not self._down or self.dark_down or self.paused or self.closed is not None:
            return
        data = self._down.popleft()
        world = self.world
        if isinstance(data, TransportError):
            self.let_go(data)
            return
        if not data and self.closing:  # What it still had to write is refused.
            self.let_go()
            return
        if data:
            cut = world.piece(len(data))
            if cut < len(data):
                self._down.appendleft(data[cut:])
                data = data[:cut]
                world.at(world.now, self._arrive_down)
            self.heard.append(world.now)
            if self.upgraded is None and not self.http:
                self._answer += data
                if b"\r\n\r\n" in self._answer and self._answer.startswith(b"HTTP/1.1 101"):
                    self.upgraded = world.now
                    world.judge.failed_openings = 0
        world.tell(world.driver.received, self.link, data)
        if not data and self.closed is None and world.rng.random() < 0.5:  # As asyncio's transports do.
            self.let_go()

    def pause(self) -> None:
        self.paused = self.was_paused = True

    def resume(self) -> None:
        self.paused = False
        for _ in range(len(self._down)):
            self.world.at(self.world.now, self._arrive_down)

    # -- ends

    def draw_fate(self) -> None:
        """What is going to happen to it, at some moment or at some byte."""
        world, rng = self.world, self.world.rng
        self._given = rng.choices((None, "eof", "reset", "dark", "deaf", "silent"), (14, 3, 3, 2, 1, 1))[0]
        if self._given is None:
            return
        if rng.random() < 0.6:
            up, most = rng.choice(((True, 2000), (True, 150_000), (False, 4000), (True, 150), (False, 150)))
            self.byte_limits[up] = rng.randrange(1, most)
        else:
            world.at(world.now + rng.choice((1.0, 30.0, 900.0, world.length)) * rng.random(), self.befall)

    def befall(self) -> None:
        if self.closed is not None or self._given is None:
            return
        fate, self._given = self._given, None
        self.fate = fate
        self.note(fate)
        if fate in ("eof", "reset"):
            self.cut(cleanly=fate == "eof")
        else:
            self.dark_up = fate in ("dark", "deaf")
            self.dark_down = fate in ("dark", "silent")
            if self.dark_down and self._down:  # If the end is among it, the client cannot know of it.
                self.over = None

    def cut(self, *, cleanly: bool) -> None:
        """The server's end is gone."""
        if self.ended:
            return
        self.ended = True
        if self.peer is not None:
            self.peer.gone()
        if not cleanly:
            self._down.clear()
        if self.closed is None:
            self._down.append(b"" if cleanly else TransportError("it was reset"))
            due = self._due(False) if cleanly else self.world.now
            if not self.dark_down:
                self.over = due
            self.world.at(due, self._arrive_down)

    def close(self, *, abort: bool) -> None:
        """The client's wish."""
        if self.peer is None or abort or self.writable:
            self.closing = True
            self.let_go()
        else:
            self.closing = True

    def let_go(self, error: TransportError | None = None) -> None:
        """The client's end is gone; the driver learns of it, once, a little later."""
        if self.closed is not None:
            return
        world = self.world
        self.closed = world.now
        if not self.writable:
            self.full.append((self._full_at, world.now))
        self.note("closed")
        world.at(world.now + world.rng.choice((0.0, 0.0, 0.01)), self._tell_lost, error)
        world.at(self._due(True), self._arrive_end)

    def _tell_lost(self, error: TransportError | None) -> None:
        world = self.world
        self.lost = True
        world.tell(world.driver.lost, self.link, error)
        world.judge.over(self)
        for story in world.active:
            if not self.asked and story.turn.connection is self.link.connection and not story.turn.ended:
                world.judge.complain(f"I6: {story.marker} goes on, on a link that was lost")

    def _arrive_end(self) -> None:
        if self.peer is not None and not self.dark_up and not self.ended:
            self.peer.receive(b"")


def _marker(message: bytes) -> str:
    """Of which turn a message is."""
    start = message.index(b'"marker":"') + 10
    return message[start : message.index(b'"', start)].decode()


# --- The runtime -----------------------------------------------------------------------------------------------------


class SimRuntime:
    """A runtime, which notices when the driver asks what it must not."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.timer: float | None = None
        self._serial = 0
        self.closing = False
        """The driver was told to close for good."""

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            self._world.judge.complain(f"contract: {what}")

    def open(self, link: Link) -> None:
        world = self._world
        world.look()
        self._expect(link.wire is None, "a link is opened twice")
        self._expect(not self.closing, "a link is opened after close")
        self._count_links()
        world.judge.opens(link)
        for story in world.active:
            soon = world.now < story.repeated_at + world.options.recovery.initial_delay / 2
            if soon and story.turn.repetitions[-1] in (RepeatReason.NOT_RUN, RepeatReason.AMBIGUOUS):
                self._expect(False, f"{story.marker} is repeated without a pause")
        line = link.wire = Line(world, link)
        world.lines.append(line)
        rng = world.rng
        how = (
            rng.choices(("connects", "is refused", "hangs"), (24, 1, 1))[0]
            if world.down_until <= world.now
            else "is refused"
        )
        line.fate = None if how == "connects" else how
        delay = rng.choice((0.0, 0.001, 0.1, 1.0)) * rng.random()
        if how == "connects":
            world.at(world.now + delay, self._opened, line)
        elif how == "is refused":
            world.at(world.now + delay, line.let_go, TransportError("refused"))
        line.note(how)

    def _count_links(self) -> None:
        world = self._world
        over_http = [isinstance(connection, HttpConnection) for connection in world.session.pool]
        taking = sum(one.accepts_turns for one in world.session.pool if not isinstance(one, HttpConnection))
        self._expect(taking <= world.connections + 1, "more links are open than turns may be given to, and one")
        self._expect(sum(over_http) <= world.connections * world.options.max_in_flight, "too many links over HTTP")

    def _opened(self, line: Line) -> None:
        if line.closed is None:
            line.peer = SimulatedPeer(self._world, line)
            line.draw_fate()
            self._world.tell(self._world.driver.opened, line.link)

    def write(self, link: Link, data: bytes) -> bool:
        self._world.look()
        line: Line = link.wire
        self._expect(line.peer is not None and not line.lost, "bytes are written to a link that is not open")
        self._expect(not line.closing, "bytes are written to a link that is being closed")
        self._expect(line.writable, "a chunk is written before the buffer is empty")
        self._expect(0 < len(data) <= CHUNK, f"a chunk has {len(data)} bytes")
        return line.write(data)

    def pause(self, link: Link) -> None:
        self._expect(not link.wire.paused, "paused twice")
        link.wire.pause()

    def resume(self, link: Link) -> None:
        self._expect(link.wire.paused, "resumed, and was not paused")
        link.wire.resume()

    def close(self, link: Link, *, abort: bool) -> None:
        self._world.look()
        line: Line = link.wire
        if not line.closing and line.closed is None:
            self._world.judge.client_closes(line)
        line.asked = True
        self._world.judge.over(line)
        line.close(abort=abort)

    def set_timer(self, when: float | None) -> None:
        earlier = self.timer is not None if when is None else self.timer is None or when < self.timer
        self._expect(earlier, f"the timer was set to {self.timer}, and is set to {when}")
        self.timer = when
        self._serial += 1
        if when is not None:
            world = self._world
            late = world.lateness * world.rng.random() if world.lateness else 0.0
            if world.early and world.rng.random() < world.early:  # The clock of the loop, and ours.
                late = -min(0.02, max(0.0, when - world.now))
            world.at(max(world.now, when + late), self._fired, self._serial)

    def _fired(self, serial: int) -> None:
        if serial == self._serial:  # What has arrived counts first: behind everything that is to happen now.
            heappush(self._world.heap, (self._world.now, 2.0, self._world.count(), self._time_came, (serial,)))

    def _time_came(self, serial: int) -> None:
        if serial == self._serial:
            self.timer = None
            self._world.tell(self._world.driver.time_came)

    def wake(self, waiter: Process) -> None:
        self._expect(not waiter.done, "somebody is woken who is gone")
        waiter.wake()


# --- The service -----------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """A turn that the service ran."""

    marker: str
    line: Line
    began: float
    ended: float = HORIZON
    """When it said the last word on it."""


class SimulatedPeer:
    """The server's side of a line. It behaves: what it refuses it does not run, what ends says so."""

    def __init__(self, world: World, line: Line) -> None:
        self._world = world
        self._line = line
        self._gone = False
        self._timed: float | None = None
        self._redirects = False
        self._unfinished: Entry | None = None
        """The turn of which part of the answer's body is still to come."""
        rng = world.rng
        lifetime = rng.choice((HOUR, HOUR, 40 * 60.0, 120.0))
        if line.http:
            early = rng.choice((400, 401, 413, 500, 503)) if world.answers_early else None
            self.connection: Any = LightHttpServer(rng, idle=rng.choice((0.5, 5.0, 75.0, HOUR)), early=early)
            self._behaviours()
            return
        check = self._check()
        if world.real_server:
            options = ServerOptions(
                lifetime=lifetime,
                close_timeout=5.0,
                compression=world.options.compression,
                dialect=world.dialect,
                max_message_size=world.limit or 1 << 20,
            )
            self.connection = ServerConnection(options=options, check=check)
        else:
            self.connection = LightServer(world.dialect, lifetime=lifetime, limit=world.limit, check=check)
        self._behaviours()

    def _check(self) -> Callable[[Any], Rejected | None] | None:
        """What the gateway before it says."""
        world, rng = self._world, self._world.rng
        if rng.random() < world.redirects:
            self._redirects = True
            return lambda request: Rejected(307, {"location": "/v1/elsewhere/responses"}, b"")
        if world.no_websocket is not None:
            status = world.no_websocket
            return lambda request: Rejected(status, {}, b"{}")
        if rng.random() < world.gateway:
            status = rng.choice((401, 408, 425, 429, 500, 503))
            headers = {"retry-after": rng.choice(("1", "20", "100"))} if rng.random() < 0.3 else {}
            return lambda request: Rejected(status, headers, b"{}")
        return None

    def _behaviours(self) -> None:
        """What a server does unasked."""
        world, rng = self._world, self._world.rng
        behaviour = rng.choices(("none", "pings", "leaves"), (9, 1, 1))[0]
        if behaviour == "pings":
            when = world.now
            for _ in range(4):
                when += rng.choice((0.1, 10.0, 300.0))
                world.at(when, self._ping)
        elif behaviour == "leaves":
            when = world.now + rng.choice((1.0, 100.0, world.length)) * rng.random()
            world.at(when, self._leave, rng.choice((1000, 1001, 1012)))

    def _ping(self) -> None:
        if not self._gone:
            self.connection.ping(b"server")
            self.flush()

    def _leave(self, code: int) -> None:
        if not self._gone:
            self._line.note("leaves")
            self._line.fate = self._line.fate or "leaves"
            self.connection.close(self._world.now, code, "going away")
            self.flush()

    @property
    def steers(self) -> list[tuple[str, str]]:
        """What became of steers that came on this line."""
        return getattr(self.connection, "steers", [])

    def gone(self) -> None:
        """Its end of the line is."""
        self._gone = True

    def receive(self, data: bytes) -> None:
        if not self._gone:
            self.connection.receive_data(data, self._world.now)
            self.start()

    def start(self) -> None:
        while (turn := self.connection.next_request()) is not None:
            Process(self._world, self._run(turn))
        self.flush()

    def flush(self) -> None:
        data = self.connection.data_to_send()
        if data:
            self._line.say(data)
        if self._unfinished is not None and not self.connection.owes_body:
            self._unfinished.ended, self._unfinished = self._world.now, None
        if self.connection.state is ServerState.CLOSED:
            if not self._gone:
                self._gone = True
                if not self._redirects:
                    self._line.fate = self._line.fate or "server closed"
                world = self._world
                world.at(world.now + world.rng.choice((0.0, 0.0, 3.0)), self._cut)
            return
        deadline = self.connection.next_deadline()
        if deadline is not None and deadline != self._timed:
            self._timed = deadline
            self._world.at(deadline, self._due, deadline)

    def _cut(self) -> None:
        self._line.cut(cleanly=True)

    def _due(self, deadline: float) -> None:
        if not self._gone and self.connection.next_deadline() == deadline:
            self._line.note("its time is over")
            self._line.fate = self._line.fate or "its time is over"
            self.connection.handle_deadline(self._world.now)
            self.start()

    def _pause(self) -> float:
        rng = self._world.rng
        return rng.choices((0.0, 0.001, 0.05, 0.4, 2.0, 20.0), (8, 6, 4, 2, 1, 0.3))[0] * rng.random()

    def _run(self, turn: Any) -> Steps:
        world, rng = self._world, self._world.rng
        marker = turn.request["metadata"]["marker"]
        kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
        if self._line.http and kind == "answers" and rng.random() < 0.1:
            kind = "rejects"
        world.note(f"{marker} {kind}")
        yield self._pause()
        if turn.state is not ServerTurnState.RUNNING:
            return
        if kind == "refuses":
            turn.fail(rng.choice(REFUSALS))
            self.start()
            return
        if kind == "rejects":
            status = rng.choice((307, 308, 400, 401, 404, 429, 500, 502, 503))
            if status < 400:
                world.redirected.add(marker)
            turn.reject(status, {"location": "/v1/elsewhere/responses"} if status < 400 else None)
            self.start()
            return
        entry = Entry(marker, self._line, world.now)
        world.ledger.append(entry)
        world.note(f"{marker} runs")
        yield self._pause()
        if kind == "is silent":
            return
        if kind == "breaks" and turn.state is ServerTurnState.RUNNING:
            turn.fail(Problem(500, rng.choice(("server_error", None)), "oh"))
            self._ended(entry)
            return
        count = rng.choice((0, 1, 2, 5, 12))
        if self._line.http and self.connection.document:
            world.documents[marker] = count
        else:
            world.documents.pop(marker, None)  # It may have been repeated, and have been answered by a document before.
        for event in (lifecycle("created", marker), *(delta(marker, index) for index in range(count))):
            if turn.state is not ServerTurnState.RUNNING:
                return
            turn.emit(event)
            if rng.random() < 0.7:
                self.flush()
                yield self._pause()
        self.flush()
        if kind == "falls silent" or turn.state is not ServerTurnState.RUNNING:
            return
        if kind == "breaks later":
            turn.fail(Problem(500, "server_error", "oh"))
        else:
            turn.emit(lifecycle(rng.choices(("completed", "incomplete", "failed"), (8, 1, 1))[0], marker, count))
        self._ended(entry)

    def _ended(self, entry: Entry) -> None:
        if self._line.http and self.connection.owes_body:
            self._unfinished = entry
        else:
            entry.ended = self._world.now
        self.start()


KINDS = ("answers", "refuses", "breaks", "breaks later", "is silent", "falls silent")
KIND_WEIGHTS = (30, 3, 2, 1, 1, 1)
REFUSALS = (
    Problem(400, "bad", "no"),
    Problem(429, "rate_limit_exceeded", "no"),
    Problem(429, "rate_limit_exceeded", "no", headers={"retry-after": "2"}),
    Problem(429, "rate_limit_exceeded", "no", headers={"retry-after": "50"}),
)


def lifecycle(what: str, marker: str, count: int = 0) -> dict[str, Any]:
    status = "in_progress" if what == "created" else what
    text = "".join(f"{marker}/{index} " for index in range(count))
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": [part]}
    response = {"id": f"resp_{marker}", "object": "response", "status": status, "output": [item] if text else []}
    return {"type": f"response.{what}", "response": response}


def delta(marker: str, index: int) -> dict[str, Any]:
    at = {"item_id": "msg", "output_index": 0, "content_index": 0, "logprobs": []}
    return {"type": "response.output_text.delta", "delta": f"{marker}/{index} ", **at}


# --- The clients -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Story:
    """What a client saw of one turn."""

    marker: str
    lane: AnyLane
    timeouts: Timeouts
    began: float
    events: list[Any] = field(default_factory=list)
    ended: float = HORIZON
    failure: TurnError | None = None
    first: float = HORIZON
    """When the first event came."""
    whole: bool = False
    """It came to its terminal event."""
    turn: Turn | None = None
    sleeper: Process | None = None
    """Who waits for its events."""
    told: TurnError | None = None
    """The last failure that could be seen of it, after any step."""
    told_safe: bool = False
    """Whether it could ever be seen that the turn had failed, SAFE."""
    repeated: int = 0
    """How often."""
    repeated_at: float = -HORIZON
    """When that was decided."""
    failing_since: float = HORIZON
    """When it was repeated for the first time."""
    websocket_only: bool = False
    """It continues a response that only a connection remembers."""
    large: bool = False
    """Its message is about as large as one on a WebSocket may be, or larger."""
    unstored: bool = False
    """Its response is in the connection's memory only."""
    turn_ended: float = HORIZON
    """When that could first be seen."""
    inputs: list[TurnInput] = field(default_factory=list)
    """Its steers."""

    @property
    def end(self) -> str:
        if self.failure is not None:
            return f"{self.failure.cause.name} {self.failure.phase.name} {self.failure.verdict.name}"
        return "whole" if self.whole else "left"


class Clients:
    """Some processes, each with its turns and pauses, on one session."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._processes: list[Process] = []

    def act(self) -> Steps:
        """From beginning to end."""
        world, rng = self._world, self._world.rng
        if world.connects and not (yield from self._connect()):
            return
        self._processes = [Process(world, self._one(number)) for number in range(rng.choice((1, 1, 2, 3)))]
        if rng.random() < 0.2:
            yield rng.choice((0.5, 60.0, world.length)) * rng.random()
            event = rng.choice(("ends", "all leave", "given up", "restarts", "replaced", "drains"))
            world.note(event)
            if event == "all leave":
                for process in self._processes:
                    process.cancel()
            elif event == "given up":
                world.tell(world.driver.give_up)
            elif event == "replaced":
                world.tell(world.driver.close_without_waiting)
            elif event == "drains":
                yield from self._drain()
            elif event == "restarts":
                world.down_until = world.now + rng.choice((0.1, 2.0, 20.0))
                for line in world.lines:
                    if line.peer is not None and line.closed is None and not line.ended:
                        line.fate = line.fate or event
                        line.cut(cleanly=rng.random() < 0.5)
            else:
                yield from self.end()
        while not all(process.done for process in self._processes):
            yield SLEEP
        yield rng.choice((0.0, 0.0, 2.0, 100.0))
        yield from self.end()

    def _drain(self) -> Steps:
        world, driver = self._world, self._world.driver
        timeout = world.rng.choice((None, None, 0.0, 5.0, 300.0))
        world.drains, world.drain_began = True, world.now
        world.drained_by = HORIZON if timeout is None else world.now + timeout
        going = [story for story in world.active if not story.turn.ended]
        world.tell(lambda now: driver.drain(now, timeout))
        yield from self._until(lambda: driver.drained)
        world.closing()
        world.judge.drained(going)

    def _connect(self) -> Generator[float | None, None, bool]:
        world, driver, began = self._world, self._world.driver, self._world.now
        world.tell(driver.connect)
        if world.rng.random() < 0.2:
            world.at(world.now + world.rng.choice((0.01, 1.0, 10.0)) * world.rng.random(), self._leave_connecting)
        yield from self._until(lambda: not driver.connecting)
        world.judge.in_time(
            "connect()",
            began,
            min(world.options.connect_timeout or HORIZON, world.options.turn_timeouts.connect or HORIZON),
        )
        if driver.first_failure is None and not world.runtime.closing:
            return True
        if driver.first_failure is not None:
            world.judge.honest("connect()", driver.first_failure)
            world.note(f"no session: {driver.first_failure!r}")
        yield from self.end()
        return False

    def _leave_connecting(self) -> None:
        world = self._world
        if world.driver.connecting:
            world.note("connect() is cancelled")
            world.closing()
            world.tell(world.driver.close, wait_for_peer=False)

    def _until(self, holds: Callable[[], bool]) -> Steps:
        driver, me = self._world.driver, self._world.running
        driver.wake_when(me, holds)
        while not holds():
            yield SLEEP
        driver.forget(me)

    def end(self) -> Steps:
        world = self._world
        began, how = world.now, world.rng.choices(("waits", "does not wait", "abort"), (6, 2, 1))[0]
        world.note(f"closes, {how}")
        world.closing()
        if how == "abort":
            world.tell(world.driver.abort)
        else:
            world.tell(world.driver.close, wait_for_peer=how == "waits")
        yield from self._until(lambda: world.driver.done)
        world.judge.in_time("close", began, 0.02 if how == "abort" else 2 * world.options.close_timeout)

    def _one(self, number: int) -> Steps:
        world, rng = self._world, self._world.rng
        me = self._processes[number]
        for index in range(rng.choice((1, 1, 2, 3))):
            yield rng.choice((0.0, 0.0, 0.3, 5.0, 100.0, world.length)) * rng.random()
            timeouts = world.options.turn_timeouts
            if rng.random() < 0.2:
                timeouts = Timeouts(
                    *(rng.choice((0.0, 0.2, 3.0, 40.0)) for _ in range(4)), rng.choice((None, 5.0, 90.0))
                )
            lanes: tuple[AnyLane, ...] = (None, "a", "b", f"own-{number}", *world.any_lane)
            story = Story(f"t{number}.{index}", rng.choice(lanes), timeouts, world.now)
            world.stories.append(story)
            world.note(f"{story.marker} on {story.lane}")
            manner = rng.choices(("drains", "leaves", "is cancelled", "is slow"), (6, 1, 2, 1))[0]
            if manner == "is cancelled":
                world.at(world.now + rng.choice((0.0, 0.02, 1.0, 30.0)) * rng.random(), self._cancel, me, story)
            try:
                yield from self._turn(story, manner, me)
            except TurnError as exc:
                story.failure = exc
                world.judge.heard(story, exc)
            except SessionClosedError:
                if not world.runtime.closing and not world.drains:
                    raise
                return
            finally:
                story.ended = world.now
                world.note(f"{story.marker} {manner}: {len(story.events)} events, {story.end}")

    def _cancel(self, process: Process, story: Story) -> None:
        if story.ended == HORIZON:
            process.cancel()

    def _turn(self, story: Story, manner: str, me: Process) -> Steps:
        world, rng, driver = self._world, self._world.rng, self._world.driver
        size = rng.choices((0, 10, 3_000, 70_000, 150_000), (4, 4, 4, 1, 1))[0]
        size = 150_000 if world.answers_early else size
        body: dict[str, Any] = {"model": "m", "metadata": {"marker": story.marker}, "input": "x" * size}
        if rng.random() < 0.3:
            body["conversation"] = "c"
        if world.more.random() < world.unstored:
            body["store"] = False
            story.unstored = True
            before = [one for one in world.stories if one.whole and one.lane == story.lane is not AUTO]
            if before and world.more.random() < 0.5:
                body["previous_response_id"] = f"resp_{before[-1].marker}"
                story.websocket_only = True
        most = rng.choice((0, 1, 2)) if manner == "leaves" else 10**6
        story.large = size + 300 > (world.options.max_request_size or HORIZON)
        world.beginning = story
        story.turn = turn = world.tell(driver.create, body, lane=story.lane, timeouts=story.timeouts)
        world.beginning = None
        if world.drains:
            world.judge.complain(f"drain: {story.marker} begins while the session drains")
        world.active.append(story)
        world.look()
        world.judge.placed()
        try:
            self._maybe_steer(story)
            while len(story.events) < most:
                began = world.now
                try:
                    while (event := turn.next_event()) is None and not turn.ended:
                        driver.listen(turn, me, lambda: world.now)
                        story.sleeper = me
                        try:
                            yield SLEEP
                        finally:
                            story.sleeper = None
                            driver.ignore(turn, me)
                finally:
                    world.judge.waited(story, turn, began)
                if event is None:
                    story.whole = True
                    break
                if event.role is Role.OUTCOME:
                    continue
                self._maybe_steer(story)
                story.events.append(event)
                story.first = min(story.first, world.now)
                if manner == "is slow":
                    yield rng.choice((0.1, 2.0, 50.0)) * rng.random()
        finally:
            world.active.remove(story)
            outlives = world.judge.before_leaving(story)
            connection = turn.connection
            world.tell(driver.cancel, turn)
            world.judge.placed()
            if outlives is not None and outlives is connection.is_closed:
                world.judge.complain(
                    f"leave: {story.marker} was left, and its connection {'ended' if outlives else 'goes on'}"
                )

    def _maybe_steer(self, story: Story) -> None:
        """A steer, at any time of a turn, before its response has begun and after that has ended included."""
        world = self._world
        if not world.steers or len(story.inputs) >= 2 or world.steering.random() < 0.7:
            return
        text = f"{story.marker}/steer {len(story.inputs)}"
        one = turn_input(story.turn, "steer", text, None)
        try:
            world.tell(world.driver.send_input, one)
        except SteeringNotSupportedError:
            return
        story.inputs.append(one)
        world.note(f"{text}: steers")


# --- The judge -------------------------------------------------------------------------------------------------------


BY_ITEM = {
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
}
"""Events that are made of a document's items."""


class Judge:
    """What must hold, and what did not."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.complaints: list[str] = []
        self.failed_openings = 0
        """WebSockets in a row that failed before they were open. Those opened at one time count once."""
        self._failed_at = -HORIZON
        """When the last of them that counts did."""
        self._over: set[Any] = set()
        self._http_until = -HORIZON

    def complain(self, what: str) -> None:
        if what not in self.complaints:
            self.complaints.append(what)
            self._world.note(f"COMPLAINT {what}")

    def in_time(self, what: str, began: float, bound: float) -> None:
        took = self._world.now - began
        if took > bound + self._world.slack:
            self.complain(f"I6: {what} took {took:.3f} seconds, and {bound:g} are allowed")

    def over(self, line: Line) -> None:
        """PROTOCOL.md, "Transports": what a WebSocket that ended before it was open means for those to come."""
        connection, world = line.link.connection, self._world
        if line.http or not connection.is_closed or connection in self._over:
            return
        self._over.add(connection)
        if connection.opened_at is not None or connection.failure is None:
            return
        first = min(other.born for other in world.lines if other.link.connection is connection)
        if first >= self._failed_at:
            self.failed_openings, self._failed_at = self.failed_openings + 1, world.now
        refusal = connection.failure.evidence.refusal
        if connection.failure.cause is Cause.REJECTED and refusal.status in NO_WEBSOCKET:
            self._http_until = 2 * HORIZON
        elif self.failed_openings >= 5:
            self._http_until, self.failed_openings = max(self._http_until, world.now + 300.0), 0

    def opens(self, link: Link) -> None:
        """The driver opens a link: of a kind that PROTOCOL.md, "Transports", allows now."""
        world, http = self._world, isinstance(link.connection, HttpConnection)
        if any(line.link.connection is link.connection for line in world.lines):
            return  # It was redirected.
        for line in world.lines:
            self.over(line)
        transport = world.options.transport
        going = [story for story in world.active if not story.turn.ended]
        going += [world.beginning] if world.beginning is not None else []
        instead = world.now < self._http_until
        if transport == "http":
            wrong = not http
        elif transport == "websocket":
            wrong = http
        elif http:
            wrong = not instead and not any(story.large for story in going)
        else:
            too_old = any(line.upgraded is not None and line.closed is None for line in world.lines)
            wrong = instead and not too_old and not any(story.websocket_only for story in going)
        if wrong:
            self.complain(f"transport: {transport}, and a link is opened over {'HTTP' if http else 'a WebSocket'}")

    def repeated(self, story: Story) -> None:
        """A repetition of it has just been decided: the policy allows it, and the caller was asked."""
        world, reason = self._world, story.turn.repetitions[-1]
        if reason is RepeatReason.NO_WEBSOCKET:
            return
        story.failing_since = min(story.failing_since, world.now)
        budget = world.options.recovery.budget
        if budget is not None and world.now > story.failing_since + budget:
            self.complain(
                f"budget: {story.marker} failed first at {story.failing_since:.3f}, and is repeated for {reason}"
            )
        world.repetitions += 1
        if world.options.recovery.should_repeat is not None and world.repetitions > world.allowed:
            self.complain(f"should_repeat: {story.marker} is repeated, and the caller did not allow it")

    def before_leaving(self, story: Story) -> bool | None:
        """DESIGN.md, "Public API": whether its connection goes on when the turn is left now; None: either."""
        world, turn = self._world, story.turn
        connection = turn.connection
        if turn.ended or connection is None or isinstance(connection, HttpConnection) or turn.phase < Phase.AWAIT:
            return None
        if any(one.inputs for one in world.active):
            return None
        if not connection.accepts_turns or not connection.is_open or world.drains or world.runtime.closing:
            return None
        if world.now >= (connection.opened_at or 0.0) + (world.options.max_age or HORIZON):
            return None
        leave = world.options.leave
        if leave == "abandon" or any(one.turn.connection is connection and not one.turn.ended for one in world.active):
            return True
        if leave == "abort":
            return False
        return self._is_memory_held(story, connection)

    def placed(self) -> None:
        """P-POOL-14: with several connections, no turn waits on one for the end of a turn that was left."""
        world = self._world
        if world.connections == 1 or world.dialect != "openai":  # Elsewhere, turns wait for slots, too.
            return
        for story in world.active:
            turn, connection = story.turn, story.turn.connection
            if turn.phase is not Phase.LANE_WAIT or turn.ended or connection is None or not connection.is_open:
                continue
            if story.lane is AUTO or story.websocket_only:
                continue
            others = [one.turn for one in world.active if one is not story and not one.turn.ended]
            if not any(one.connection is connection and one.lane == story.lane for one in others):
                self.complain(f"hold: {story.marker} waits on a connection where nobody waits for a turn of its lane")

    def _is_memory_held(self, story: Story, connection: Any) -> bool | None:
        """Whether another lane's last response is in this connection's memory only; None: it may be."""
        mine = [one for one in self._world.stories if one.turn is not None and one.turn.connection is connection]
        if not any(one.unstored for one in mine if one is not story):
            return False
        last = {one.turn.lane: one for one in mine}
        lanes = self._world.dialect == "openai"
        others = [one for lane, one in last.items() if lane != story.turn.lane]
        sure = lanes and any(one.whole and one.unstored and one.events[-1].type == COMPLETED for one in others)
        return True if sure else None

    def drained(self, going: list[Story]) -> None:
        """The session has drained: its turns had their time, and it did not take longer than they."""
        world = self._world
        for story in going:
            if not story.turn.ended:
                self.complain(f"drain: the session has drained, and {story.marker} goes on")
            cut_off = story.turn.failure is not None and story.turn.failure.cause is Cause.CLIENT_CLOSED
            if cut_off and world.now < world.drained_by:
                self.complain(f"drain: {story.marker} was cut off")
        last = max([world.drain_began, *(story.turn_ended for story in going)])
        bound = min(last, max(world.drained_by, world.drain_began)) + 2 * world.options.close_timeout
        if world.now > bound + world.slack:
            self.complain(f"drain: it was to be over by {bound:.3f}")

    def waited(self, story: Story, turn: Turn, began: float) -> None:
        """I6: a wait for an event is over by the deadlines that may have run in it, one after another."""
        world = self._world
        took = world.now - began
        if not took:
            return
        timeouts, options = story.timeouts, world.options
        bound = timeouts.receive or 0.0
        if story.inputs:
            bound = 2 * bound + (timeouts.send or 0.0)  # P-STEER-21: until its message is handed, then for its answer.
        if not story.events:
            # A turn whose message waited on a connection that fell silent begins again on the next one.
            attempts = 1 + max(len(turn.repetitions), sum(line.born >= began for line in world.lines))
            connect = min(timeouts.connect or 0.0, options.connect_timeout or HORIZON)
            each = 2 * (timeouts.lane or 0.0) + connect + (timeouts.send or 0.0) + bound + options.recovery.max_delay
            bound = attempts * each
        if timeouts.total is not None:
            bound = min(bound, max(0.0, story.began + timeouts.total - began))
        if took > bound + world.slack:
            self.complain(f"I6: {story.marker} waited {took:.3f} seconds, and its deadlines allow {bound:g}")

    def client_closes(self, line: Line) -> None:
        """The driver closes a link: if nothing was wrong with it, and nobody used it, the server was told."""
        world = self._world
        if line.upgraded is None or line.fate is not None or world.stalls or not line.reads_along:
            return
        quiet = all(story.whole and not story.turn.events for story in world.stories if story.turn is not None)
        if quiet and line.writable and line.close_frame is None:
            self.complain(f"line {line.number} is closed without a close frame")

    def turns(self) -> None:
        world = self._world
        read_along = all(line.reads_along for line in world.lines)
        handed = {marker for line in world.lines for marker in line.handed}
        ran: dict[str, int] = {}
        for entry in world.ledger:
            ran[entry.marker] = ran.get(entry.marker, 0) + 1
        for story in world.stories:
            marker, times, failure = story.marker, ran.get(story.marker, 0), story.failure
            if times > 1 + (story.turn.repetitions.count(RepeatReason.AMBIGUOUS) if story.turn is not None else 0):
                self.complain(f"I5: {marker} ran {times} times")
            if story.ended == HORIZON:
                self.complain(f"I6: {marker} never ended")
            if story.told_safe and times:
                self.complain(f"I3: {marker} was seen to have failed, SAFE, and ran")
            if story.events and not times:
                self.complain(f"I2: {marker} has events, and did not run")
            if any(entry.line.born > story.ended for entry in world.ledger if entry.marker == marker):
                self.complain(f"I5: {marker} ran on a connection that was opened after its consumer had left")
            if failure is not None:
                if failure.verdict is Verdict.SAFE and times:
                    self.complain(f"I3: {marker} is SAFE, and ran: {failure!r}")
                if failure.verdict is Verdict.UNSAFE and not times:
                    self.complain(f"{marker} is UNSAFE, and did not run: {failure!r}")
                if read_along:
                    self._precise(story, failure, handed)
                self.honest(marker, failure)
                self._moved(story, failure)
            self._events(story)
        self._serial()

    def steers(self) -> None:
        """R-STEER-1 to R-STEER-5, by what the servers had and the network saw."""
        world = self._world
        said = [each for line in world.lines if line.peer is not None for each in line.peer.steers]
        handed = {text for line in world.lines for text in line.handed_steers}
        for one in (one for story in world.stories for one in story.inputs):
            became = [what for text, what in said if text == one.given]
            if became.count("arrived") > 1:
                self.complain(f"I5: steer {one.given} arrived {became.count('arrived')} times")
            if one.facts.unsettled:
                self.complain(f"I6: steer {one.given} is never settled: {one.state.name}")
            elif one.given not in handed and one.verdict is not Verdict.SAFE:
                self.complain(f"I4: steer {one.given} was not handed over, and is {one.verdict.name}")
            if one.verdict is Verdict.SAFE and one.given in handed and "given back" not in became:
                self.complain(f"I3: steer {one.given} was handed over, and is SAFE: {became}")
            if one.verdict is Verdict.UNSAFE and "accepted" not in became:
                self.complain(f"I4: steer {one.given} is UNSAFE, and was not accepted")

    def _moved(self, story: Story, failure: TurnError) -> None:
        """PROTOCOL.md, "Transports": what a WebSocket cannot take, HTTP does."""
        if self._world.options.transport != "auto" or story.websocket_only:
            return
        refusal = failure.evidence.refusal
        refused = failure.cause is Cause.REJECTED and failure.phase is Phase.HANDSHAKE and refusal is not None
        if failure.cause is Cause.TOO_LARGE or (refused and refusal.status in NO_WEBSOCKET):
            self.complain(f"transport: {story.marker} might have gone over HTTP: {failure!r}")

    def _serial(self) -> None:
        """I2: turns of one lane run one after another, as long as somebody waits for the first."""
        lanes = {story.marker: story.lane for story in self._world.stories}
        until: dict[str, float] = {story.marker: story.ended for story in self._world.stories}
        last: dict[str | None, Entry] = {}
        for entry in self._world.ledger:
            if entry.line.closed is not None and entry.line.closed <= entry.began:
                continue  # The client has given it up: what still runs there, runs for nobody.
            if until[entry.marker] <= entry.began:
                continue  # Its consumer had left it; the next one of its lane may be on another connection.
            lane = lanes[entry.marker]
            before = None if lane is AUTO else last.get(lane)
            if before is not None and before.marker != entry.marker:
                line = before.line
                over = min(before.ended, until[before.marker], line.over or HORIZON, line.closed or HORIZON)
                if entry.began < over:
                    self.complain(f"I2: {entry.marker} ran at {entry.began:.3f}, while {before.marker} of its lane did")
            if lane is not AUTO:
                last[lane] = entry

    def _precise(self, story: Story, failure: TurnError, handed: set[str]) -> None:
        """I4: SAFE, unless the writing of the last byte was begun; and then only if the server refused it."""
        safe, refused = failure.verdict is Verdict.SAFE, failure.evidence.is_refusal
        if not safe and story.marker not in handed:
            self.complain(f"I4: {story.marker} was not handed over, and is {failure!r}")
        refused = refused or failure.evidence.too_big or bool(story.turn.repetitions)  # A 429 may have been repeated.
        refused = refused or story.marker in self._world.redirected
        if safe and not refused and story.marker in handed:
            self.complain(f"I3: {story.marker} was handed over, and is {failure!r}")

    def honest(self, whose: str, failure: TurnError) -> None:
        """Nothing is said to have happened that did not."""
        world = self._world
        if failure.cause in (Cause.TRANSPORT, Cause.EOF, Cause.PEER_CLOSED, Cause.STALLED):
            silent = failure.cause is Cause.STALLED and (world.stalls or world.slow or world.options.stall_timeout)
            if not silent and all(line.fate is None for line in world.lines):
                self.complain(f"{whose} failed, and nothing had happened: {failure!r}")

    def heard(self, story: Story, failure: TurnError) -> None:
        """No turn times out whose last word had come. To be asked when it fails."""
        world = self._world
        if failure.cause not in (Cause.TIMEOUT, Cause.STALLED) or story.timeouts.total is not None:
            return
        for entry in world.ledger:
            quick = entry.line.fate is None and not world.stalls and not world.slow
            if entry.marker == story.marker and quick and entry.ended + 1.0 < world.now:
                self.complain(f"I6: {story.marker} timed out, and all had been said by {entry.ended:.3f}: {failure!r}")

    def _events(self, story: Story) -> None:
        """I2: its own events, in order, none missing."""
        marker = story.marker
        events = story.events
        if marker in self._world.documents:  # Between these, what the document says of its items, as events.
            events = [event for event in events if event.type not in BY_ITEM]
        for index, event in enumerate(events):
            if index == 0:
                fine = event.type == "response.created" and event.response.id == f"resp_{marker}"
            elif event.type == "response.output_text.delta":
                fine = event.delta == f"{marker}/{index - 1} "
            else:
                number = index - 1 if len(events) == len(story.events) else self._world.documents[marker]
                text = "".join(f"{marker}/{number} " for number in range(number))
                fine = event.terminal and event.response.output_text == text and index == len(events) - 1
            if not fine:
                self.complain(f"I2: event {index} of {marker} is {event.raw}")
        if story.whole and not (story.events and story.events[-1].terminal):
            self.complain(f"I2: {marker} ended without its terminal event")
        between = bool(story.inputs)  # A successor may have been awaited (R-STEER-7).
        if story.failure is not None and story.events and story.events[-1].terminal and not between:
            self.complain(f"I2: {marker} failed after its terminal event")

    def lines(self) -> None:
        world = self._world
        told = {story.marker: story for story in world.stories}
        for line in world.lines:
            if line.closed is None:
                self.complain(f"line {line.number} was never closed")
            elif line.over is not None and not line.was_paused and line.closed - line.over > world.slack:
                self.complain(f"line {line.number} had ended at {line.over:.3f}, noticed at {line.closed:.3f}")
            elif line.upgraded is not None and line.link.connection.opened_at is not None:
                mine = [(entry, told[entry.marker]) for entry in world.ledger if entry.line is line]
                self._kept(line, line.upgraded, line.closed, mine)
                self._rotated(line, line.upgraded, line.closed, mine)

    def _kept(self, line: Line, opened: float, closed: float, mine: list[tuple[Entry, Story]]) -> None:
        """It pings, finds out who is silent, and who is gone."""
        world, options = self._world, self._world.options
        interval, patience = options.ping_interval or HORIZON, options.ping_timeout or HORIZON
        if line.close_frame is not None and closed - line.close_frame > 2 * options.close_timeout + world.slack:
            self.complain(f"line {line.number} wrote its close frame at {line.close_frame:.3f}, closed at {closed:.3f}")
        if line.was_paused:
            return
        # Once a message was given up in the middle, nothing can be written.
        write_disabled = min((one.ended for one in world.stories if one.end == "TIMEOUT SEND SAFE"), default=HORIZON)
        end = min(closed, line.over or closed, line.close_frame or closed, world.closes_at)
        moments = [*(moment for moment in line.heard if opened <= moment <= end), end]
        for before, after in pairwise(moments):
            quiet = after - before
            if quiet > interval + world.slack:
                first, last = before + interval - 0.03, before + interval + world.slack
                pinged = any(first <= moment <= last for moment in line.wrote)
                full = any(began < last and ended > first for began, ended in line.full)
                if not pinged and not full and line.writable and write_disabled > last:
                    self.complain(f"line {line.number} heard nothing from {before:.3f} to {after:.3f}: no ping")
            allowed = interval + patience
            if any(story.first <= before < entry.ended and story.ended > after for entry, story in mine):
                allowed = min(allowed, options.stall_timeout or HORIZON)
            if quiet > allowed + world.slack:
                self.complain(f"line {line.number} was silent from {before:.3f} to {after:.3f}, and not given up")

    def _rotated(self, line: Line, opened: float, closed: float, mine: list[tuple[Entry, Story]]) -> None:
        """No turn begins on a connection that is too old, and that is closed as soon as no turn needs it."""
        world, options = self._world, self._world.options
        if options.max_age is None:
            return
        limit = opened + options.max_age
        newer = min((one.upgraded for one in world.lines if one.upgraded and one.born > limit), default=HORIZON)
        for _, story in mine:
            if world.connections == 1 and story.began > newer + world.slack:
                self.complain(f"{story.marker} ran on line {line.number}, which had been replaced at {newer:.3f}")
        due = max([limit, *(story.ended for story in world.stories if story.began <= limit + world.slack)])
        due = max([due, *(story.ended for _, story in mine)]) + RETRY + (options.connect_timeout or 0.0)
        if closed > due + options.close_timeout + world.slack:
            self.complain(f"line {line.number} was to be closed by {due:.3f}, and was at {closed:.3f}")


# --- The world -------------------------------------------------------------------------------------------------------


class World:
    """Everything of one seed; and its loop."""

    def __init__(self, seed: int, driver: type[Driver] = Driver, recording: Recording | None = None) -> None:
        self.rng = rng = random.Random(seed)
        self.now = 0.0
        self.heap: list[tuple[float, float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.trace: list[str] = []
        self.judge = Judge(self)
        self.lines: list[Line] = []
        self.stories: list[Story] = []
        self.active: list[Story] = []
        """Those that go on."""
        self.ledger: list[Entry] = []
        self.down_until = 0.0
        """The service restarts until then."""
        self.shuffled = rng.random() < 0.7
        """What happens at the same time happens in any order."""
        self.stalls = rng.choice((0.0, 0.0, 0.01, 0.1))
        self.splits = rng.choice((0.0, 0.0, 0.1, 0.9))
        self.slow = rng.choice((0.0, 0.0, 0.1, 0.6))
        """How often the transport keeps something in its buffer."""
        self.lateness = rng.choice((0.0, 0.0, 0.05))
        self.early = rng.choice((0.0, 0.0, 0.3))
        self.slack = 0.1 + LOOK + self.lateness
        """Seconds that anything may be late."""
        self.connects = rng.random() < 0.75
        self.real_server = rng.random() < 0.08
        self.dialect = rng.choice(("openai", "openai", None, "no-lanes"))
        self.redirects = rng.choice((0.0, 0.0, 0.0, 0.3))
        self.limit = rng.choice((None, None, None, 100_000, 2_000))
        """Bytes of a message that the service takes."""
        self.options, self.length = rng.choice(OPTIONS)
        if self.options.compression:
            self.real_server = True
        self.runtime = SimRuntime(self)
        more = random.Random(seed + 2)  # So that the worlds of old seeds stay what they are, but for this.
        self.connections = more.choice((1, 1, 2, 3))
        self.any_lane = more.choice(((), (AUTO,), (AUTO,) * 10))
        names = 1 if more.random() < 0.15 else 32
        self.more = more
        self.unstored = more.choice((0.0, 0.7))
        """How often a turn's response is not stored."""
        transport = more.choices(("websocket", "auto", "http"), (12, 5, 2))[0]
        self.no_websocket = more.choice(NO_WEBSOCKET) if transport == "auto" and more.random() < 0.3 else None
        self.gateway = more.choice((0.06, 0.9)) if transport == "auto" else 0.06
        """How often a gateway rejects an upgrade."""
        self.answers_early = more.random() < 0.1
        """Servers over HTTP refuse requests of which they have the head; and requests are large."""
        self.steering = random.Random(seed + 3)
        """Chance, for what concerns steers."""
        self.steers = self.steering.random() < 0.2 and not self.real_server and self.dialect != "no-lanes"
        """Whether clients steer their turns."""
        self.beginning: Story | None = None
        """A turn that is being created."""
        self.documents: dict[str, int] = {}
        """The turns to which a server over HTTP gave one document, and how many pieces of text are in it."""
        self.redirected: set[str] = set()
        """The turns that a server over HTTP did not run, but pointed elsewhere."""
        self.drains = False
        self.drain_began = self.drained_by = HORIZON
        self.allowed = self.repetitions = 0
        """How often the caller allowed a repetition; how many there were."""
        self.options = msgspec.structs.replace(
            self.options,
            connections=self.connections,
            max_named_lanes=names,
            transport=transport,
            compression=self.options.compression and transport != "http",
            leave=more.choice((None, None, "abort", "abandon" if transport != "http" else None)),
            recovery=self._recovery(more),
            **({"max_request_size": more.choice((1000, 50_000))} if more.random() < 0.15 else {}),
        )
        chance = random_bytes(seed)
        if recording is None:
            self.session = ResponsesSession(options=self.options, random_bytes=chance)
            self.driver = driver(self.session, self.runtime, lambda: ENDPOINT)
        else:
            made: dict[str, Any] = {"notices": Notices(), "wall_clock": lambda: None, "retries_allowed": lambda: True}
            given = (recording, None, self.runtime, lambda: ENDPOINT, None)
            made |= {"options": self.options, "random_bytes": chance}
            self.session, self.driver = recorded_session(*given, **made)
        self.closes_at = HORIZON
        """When the clients closed the session."""
        self.running: Process
        self._steps = 0
        self._failed = 0

    def _recovery(self, more: random.Random) -> RecoveryPolicy:
        return msgspec.structs.replace(
            self.options.recovery,
            budget=more.choice((None, None, 1.0, 5.0)),
            should_repeat=self._asked if more.random() < 0.2 else None,
            repeat_ambiguous_stateless=more.random() < 0.3,
            repeat_ambiguous_stateful=more.random() < 0.1,
        )

    def _asked(self, failure: TurnError) -> bool:
        """The caller's word on a repetition."""
        policy = self.options.recovery
        may = policy.repeat_ambiguous_stateful if failure.evidence.stateful else policy.repeat_ambiguous_stateless
        if failure.verdict is Verdict.UNSAFE or (failure.verdict is Verdict.AMBIGUOUS and not may):
            self.judge.complain(f"should_repeat: the caller is asked about {failure!r}")
        says = self.more.choices(("yes", "no", "nothing"), (6, 2, 1))[0]
        if says == "nothing":
            raise ValueError("the caller's own failure")
        self.allowed += says == "yes"
        return says == "yes"

    def closing(self) -> None:
        """From now on the session is to be closed."""
        self.runtime.closing = True
        self.closes_at = min(self.closes_at, self.now)

    def note(self, what: str) -> None:
        self.trace.append(f"{self.now:14.6f} {what}")

    def count(self) -> int:
        self._count += 1
        return self._count

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Have something happen then."""
        self._count += 1
        heappush(self.heap, (when, self.rng.random() if self.shuffled else 0.0, self._count, call, args))

    def piece(self, length: int) -> int:
        """How much of some bytes goes in one piece."""
        if not self.splits or self.rng.random() >= self.splits:
            return length
        return self.rng.choice((1, 3, max(1, length // 2), length))

    def tell(self, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """One step of the driver; then everybody may look."""
        result = call(*args, **more, now=self.now) if more else call(*args, self.now)
        self.look()
        for story in self.active:
            if story.sleeper is not None and not story.sleeper.woken:
                if story.turn.events or story.turn.ended:
                    self.judge.complain(f"{story.marker} has news, and its consumer was not woken")
                line = self.lines[-1] if self.lines else None
                if line is not None and line.paused and line.link.connection is story.turn.connection:
                    self.judge.complain(f"{story.marker} has no news, and what arrives is not read")
        return result

    def look(self) -> None:
        """What it was once told about its turn, a consumer may rely on."""
        goes_on = False
        for story in self.active:
            turn = story.turn
            if turn.failure is not story.told:
                if story.told is not None:
                    self.judge.complain(f"I5: {story.marker} was seen to have failed, and goes on: {story.told!r}")
                story.told = turn.failure
                story.told_safe = story.told_safe or (story.told is not None and story.told.verdict is Verdict.SAFE)
            if len(turn.repetitions) != story.repeated:
                story.repeated, story.repeated_at = len(turn.repetitions), self.now
                self.judge.repeated(story)
            if not turn.ended:
                goes_on = True
            elif story.turn_ended == HORIZON:
                story.turn_ended = self.now
        if goes_on and self.session.idle:
            self.judge.complain("I6: a turn goes on, and the session calls itself idle")
        session = self.session  # As ``stats.failed``, without all the other counters: runs after every step.
        failed = session._own.failed + session.pool._past.failed
        failed += sum(connection.stats.failed for connection in session.pool._connections)
        if failed < self._failed:
            self.judge.complain("I5: a failure that was counted is counted no more")
        self._failed = failed

    def run(self) -> None:
        self.running = Process(self, Clients(self).act())
        heap = self.heap
        while heap:
            when, _, _, call, args = heappop(heap)
            if when > self.now:
                self.now = when
            self._steps += 1
            if self._steps > STEPS or self.now > HORIZON:
                self.judge.complain("it hangs, or spins")
                break
            if self.running.done and all(line.closed is not None for line in self.lines):
                if self.runtime.timer is not None:
                    self.judge.complain("a timer is left")
                if not heap or self.driver.done:
                    break
            call(*args)
        if not self.running.done:
            self.judge.complain("it hangs: nothing more can happen")
        self.judge.turns()
        self.judge.steers()
        self.judge.lines()


def random_bytes(seed: int) -> Callable[[int], bytes]:
    """Chance, for a session; but no masks, and the nonce whose answer is known."""
    chance = random.Random(seed + 1).randbytes
    return lambda length: NO_MASK if length == 4 else NONCE if length == 16 else chance(length)


def _options(rng: random.Random) -> tuple[SessionOptions, float]:
    """Options, and how long a client may be away: a ping every twenty seconds for hours is much to compute."""
    ping_interval = rng.choice((None, 20.0, 300.0, 900.0))
    length = {None: 4 * HOUR, 20.0: 200.0, 300.0: HOUR, 900.0: 4 * HOUR}[ping_interval]
    options = SessionOptions(
        connect_timeout=rng.choice((3.0, 30.0)),
        close_timeout=rng.choice((0.0, 0.5, 2.0)),
        ping_interval=ping_interval,
        ping_timeout=rng.choice((5.0, 20.0)),
        stall_timeout=rng.choice((None, None, 10.0)),
        compression=rng.random() < 0.05,
        high_water=rng.choice((1000, 1 << 22, 1 << 22)),
        max_age=rng.choice((None, 55 * 60.0, 55 * 60.0, 90.0)),
        recovery=RecoveryPolicy(attempts=rng.choice((0, 1, 3, 5))),
        timeouts=Timeouts(
            rng.choice((5.0, 600.0)), rng.choice((2.0, 60.0)), rng.choice((2.0, 60.0)), rng.choice((3.0, 120.0))
        ),
    )
    return options, length


OPTIONS = [_options(random.Random(number)) for number in range(500)]
"""Made once: it takes as long as some runs do."""


@dataclass
class Run:
    """What came of a seed."""

    seed: int
    complaints: list[str]
    trace: list[str]
    seconds: float
    """In the simulated world."""

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


def simulate(seed: int, driver: type[Driver] = Driver, recording: Recording | None = None) -> Run:
    """One run, from its seed; it may be recorded."""
    world = World(seed, driver, recording)
    try:
        world.run()
    except Exception as exc:
        world.judge.complain(f"it raised {exc!r}")
    return Run(seed, world.judge.complaints, world.trace, world.now)


def explain(run: Run, *, whole: bool = False) -> str:
    """A run that went wrong, in words, and how to repeat it."""
    again = f"seed {run.seed}: TURNWIRE_SEED={run.seed} pytest tests/proofs/test_driver_simulation.py"
    return "\n".join([again, *(f"  {what}" for what in run.complaints), *run.trace[0 if whole else -15 :]])
