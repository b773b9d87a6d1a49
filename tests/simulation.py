"""A world in a seed: a network that loses things, a server with moods, and clients, on a clock that jumps.

::

    life = live(123)              # hours, in some milliseconds
    assert not life.complaints    # what did not hold
    life.trace, life.digest       # everything that happened, and its hash: equal for equal seeds

What is real
    A shell from ``connect()`` down to its transport (trio's, or anyio's on trio), the core under it, and the server's
    role of the core. The transports are :class:`SimTransport`, over a :class:`Line`; the server's model is
    :class:`Service`.

What is chance
    Everything, and all of it comes from the seed: the options, the network's latencies and cuts, the server's answers,
    the clients' turns, and the order in which trio runs its tasks.

What is checked
    :class:`Judge` says it, for turns and for connections. A check compares what the clients saw with the ledger of the
    service and with the bytes that the network saw; nothing is asked of the shell or of the core about themselves.

Who looks
    Every await of a shell gives way to other tasks, at least once: those of its transports too, and in some worlds for
    a while (:meth:`World.suspend`). After *every* step of *any* task an :class:`Observer` looks at what a consumer
    could look at just then: the failures of the turns, the state and the counters of the session. So no state is too
    short to be seen. In some worlds consumers are eager as well: one whose turn has something to say is woken in that
    moment, whatever the shell is doing, and acts on it. What a consumer was told stands (REPLAY.md, "Verdict").
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any
from unittest import mock

import trio
import trio.testing
import turnwire.aio._driver
import turnwire.trio_shell._driver
from turnwire.sansio import pump
from turnwire.sansio.errors import SessionClosedError, TransportError, TurnError
from turnwire.sansio.replay import RecoveryPolicy, Verdict
from turnwire.sansio.request import Timeouts
from turnwire.sansio.server import Problem, ServerConnection, ServerOptions, ServerState, ServerTurn, TurnState
from turnwire.sansio.session import EndpointSource, ResponsesSession, SessionOptions
from turnwire.sansio.websocket import Deflate, Rejected, WebSocket

SHELLS = {"trio": turnwire.trio_shell, "anyio": turnwire.aio}
CHUNK = turnwire.trio_shell._driver.CHUNK
GRACE = 2 * pump.GRACE + pump.POLL
"""Seconds for which nobody may be reading: the keeper looks every so often, and waits for that long."""
SLACK = 0.1
"""Seconds that anything may be late, for no reason."""
HORIZON = 14 * 86400.0
"""Seconds after which a life counts as hanging: nothing in it takes days."""
STEPS = 20_000
"""Steps of tasks after which it counts as spinning."""
HOUR = 3600.0


# --- The network -----------------------------------------------------------------------------------------------------


class Pipe:
    """Bytes in one direction: each piece arrives at its time, in order. What is lost is lost from some byte on."""

    def __init__(self, world: World, latency: float, capacity: float) -> None:
        self._world = world
        self._latency = latency
        self._capacity = capacity
        self._pieces: deque[tuple[float, bytes]] = deque()
        self.last = 0.0
        self._held = 0
        self.moved = trio.Event()
        self.total = 0
        """Bytes that were put in."""
        self.limit: int | None = None
        """How many of them get through."""
        self.dark = False
        """Nothing arrives any more, and nobody is told."""
        self.ended: bool | None = None
        """The end of the bytes: True is end of file, False a reset."""
        self.refuses = False
        """The far end takes no bytes any more: writing raises."""

    def changed(self) -> None:
        self.moved.set()
        self.moved = trio.Event()

    @property
    def room(self) -> float:
        return self._capacity - self._held

    def put(self, data: bytes) -> None:
        self.total += len(data)
        if self.limit is not None:
            data = data[: max(0, len(data) - max(0, self.total - self.limit))]
        if data and self.ended is None:
            self._held += len(data)
            now, rng = trio.current_time(), self._world.rng
            late = self._latency * rng.random()
            if rng.random() < self._world.stalls:
                late += rng.choice((0.7, 5.0, 45.0))
            self.last = max(self.last, now + late)
            self._pieces.append((self.last, data))
            self.changed()

    def end(self, *, cleanly: bool, drop: bool) -> None:
        """No more bytes come. A reset takes those along that have not arrived."""
        if self.ended is None:
            self.ended = cleanly
            if drop:
                self._pieces.clear()
            self.changed()

    @property
    def ready(self) -> bool:
        """Something has arrived, be it the end."""
        if self.dark:
            return False
        return self._pieces[0][0] <= trio.current_time() if self._pieces else self.ended is not None

    def close(self) -> None:
        """The near end is gone: whoever waits for bytes waits no more."""
        self._pieces.clear()
        self.ended, self.dark = False, False
        self.changed()

    async def has_room(self) -> None:
        while self.room <= 0 and not self.refuses and self.ended is None:
            await self.moved.wait()

    async def take(self, most: int) -> bytes | None:
        """What has arrived, a piece of it; b"" at the end, None at a reset. Cancelled, it takes nothing."""
        await trio.lowlevel.checkpoint()
        while True:
            if self.dark:
                await self.moved.wait()
            elif self._pieces and self._pieces[0][0] <= trio.current_time():
                return self._pop(most)
            elif self._pieces:
                with trio.move_on_at(self._pieces[0][0]):
                    await self.moved.wait()
            elif self.ended is not None:
                return b"" if self.ended else None
            else:
                await self.moved.wait()

    def _pop(self, most: int) -> bytes:
        due, data = self._pieces.popleft()
        while self._pieces and self._pieces[0][0] <= trio.current_time() and len(data) < most:
            due, more = self._pieces.popleft()
            data += more
        cut = min(most, self._world.piece(len(data)))
        if cut < len(data):
            self._pieces.appendleft((due, data[cut:]))
        self._held -= cut
        self.changed()
        return data[:cut]


class Line:
    """One connection through the network, with what is going to happen to it."""

    def __init__(self, world: World, number: int) -> None:
        rng = world.rng
        self.number = number
        self.born = trio.current_time()
        latency = rng.choice((0.001, 0.02, 0.3))
        self.up = Pipe(world, latency, rng.choice((2_000, 100_000)))
        self.down = Pipe(world, latency, float("inf"))
        self.heard: list[float] = []
        """When the client read something."""
        self.wrote: list[float] = []
        """When it began to write."""
        self.blocked: list[tuple[float, float]] = []
        """From when to when a write of it took no time that a network with room would take."""
        self.opened: float | None = None
        self.over: float | None = None
        """When the server's end could have been read of."""
        self.farewell: float | None = None
        """When the client began to write its close frame."""
        self.closed: float | None = None
        """When the client let go of it."""
        self.handed: set[str] | None = set() if world.rng.random() < 0.3 else None
        """The markers of the turns whose last bytes the client began to write. Reading along costs time."""
        self._world = world
        self._upgrade = b""
        self._upgraded = b""
        self._frames: WebSocket | None = None
        self._amid = False
        """The next write begins in the middle of a frame."""

    def note(self, what: str) -> None:
        self._world.note(f"line {self.number}: {what}")

    def saw(self, data: bytes) -> None:
        self.heard.append(trio.current_time())
        if self.opened is None:
            self._upgrade += data
            if b"\r\n\r\n" in self._upgrade:
                self.opened = trio.current_time()

    def began_to_write(self, data: bytes) -> None:
        """Read along what the client hands over."""
        self.wrote.append(trio.current_time())
        if self._frames is None:
            self._upgraded += data
            _, end, data = self._upgraded.partition(b"\r\n\r\n")
            if not end:
                return
            extension = Deflate()
            if self._world.options.compression:
                extension.accept("permessage-deflate")
            self._frames = WebSocket(client=False, extensions=[extension] if self._world.options.compression else [])
        elif data[0] == 0x88 and not self._amid:
            self.farewell = self.farewell or trio.current_time()
        self._amid = len(data) == CHUNK
        if self.handed is not None:
            for item in self._frames.receive(data) if data else ():
                if isinstance(item, bytes):
                    self.handed.add(json.loads(item)["metadata"]["marker"])

    async def doom(self) -> None:
        """What happens to the connection, at some moment or at some byte."""
        world, rng = self._world, self._world.rng
        fate = rng.choices(("none", "eof", "reset", "dark", "deaf", "mute"), (10, 3, 3, 2, 1, 1))[0]
        if fate == "none":
            return
        if rng.random() < 0.5:
            ways = ((self.up, 2000), (self.down, 4000), (self.up, 150), (self.down, 150))  # 150: amid the upgrade.
            pipe, most = rng.choice(ways)
            pipe.limit = rng.randrange(most)
            while pipe.total < pipe.limit and self.closed is None:
                await pipe.moved.wait()
            await trio.sleep(rng.choice((0.0, 0.01, 1.0)))
        else:
            await trio.sleep(rng.choice((1.0, 30.0, 900.0, world.length)) * rng.random())
        if self.closed is not None:
            return
        self.note(fate)
        if fate in ("eof", "reset"):
            self.cut(cleanly=fate == "eof")
        else:
            self.up.dark = fate in ("dark", "deaf")
            self.down.dark = fate in ("dark", "mute")

    def cut(self, *, cleanly: bool) -> None:
        """The server's end is gone."""
        rng = self._world.rng
        self.up.end(cleanly=True, drop=rng.random() < 0.5)
        self.up.refuses = True
        self.down.end(cleanly=cleanly, drop=not cleanly)
        self.up.changed()
        if not self.down.dark and self.over is None:
            self.over = max(trio.current_time(), self.down.last if cleanly else 0.0)

    def hang_up(self) -> None:
        """The client's end is gone."""
        if self.closed is None:
            self.closed = trio.current_time()
            self.note("closed")
            self.up.end(cleanly=True, drop=self._world.rng.random() < 0.3)
            self.up.changed()
            self.down.close()


class SimTransport:
    """What ``_transport.Transport`` is to the driver."""

    def __init__(self, line: Line, world: World) -> None:
        self._line = line
        self._world = world

    async def receive(self) -> bytes:
        line = self._line
        await self._world.suspend()
        data = await line.down.take(256 * 1024)
        if line.closed is not None:
            raise TransportError("it was closed on this side")
        if data:
            line.saw(data)
        if data is None:
            raise TransportError("it was reset")
        return data

    async def send(self, data: bytes) -> None:
        line = self._line
        began = trio.current_time()
        line.began_to_write(data)
        try:
            await self._world.suspend()
            while data:
                if line.closed is not None or line.up.refuses:
                    raise TransportError("it was reset")
                if line.up.room <= 0:
                    await line.up.has_room()
                    continue
                cut = int(min(len(data), line.up.room, self._world.piece(len(data))))
                line.up.put(data[:cut])
                data = data[cut:]
        finally:
            line.blocked.append((began, trio.current_time()))

    async def aclose(self) -> None:
        self._line.hang_up()
        await self._world.suspend()

    def unread(self) -> bool:
        return self._line.down.ready

    async def catch_up(self) -> None:
        await self._world.suspend()

    def writable(self) -> bool:
        return self._line.up.room >= 2 * pump.SMALL or self._line.up.refuses

    def forsake(self) -> None:
        self._line.hang_up()


# --- The service -----------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """A turn that the service ran."""

    marker: str
    line: Line
    ended: float = HORIZON
    """When it said the last word on it."""


class Service:
    """The server's side of every line. It behaves: what it refuses it does not run, what ends says so."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ledger: list[Entry] = []

    async def serve(self, line: Line) -> None:
        world, rng = self._world, self._world.rng
        check: Callable[[Any], Rejected | None] | None = None
        if rng.random() < 0.06:
            status = rng.choice((401, 408, 425, 429, 500, 503))
            check = lambda request: Rejected(status, {}, b"{}")  # noqa: E731
        lifetime = rng.choice((HOUR, HOUR, 40 * 60.0, 120.0))
        options = ServerOptions(
            lifetime=lifetime, close_timeout=5.0, compression=world.options.compression, dialect=world.dialect
        )
        connection = ServerConnection(options=options, check=check)
        async with trio.open_nursery() as turns:
            peer = ServicePeer(self, world, line, connection, turns)
            turns.start_soon(peer.moods)
            await peer.read()
            turns.cancel_scope.cancel()


class ServicePeer:
    """One line of it."""

    def __init__(
        self, service: Service, world: World, line: Line, connection: ServerConnection, turns: trio.Nursery
    ) -> None:
        self._service = service
        self._world = world
        self._line = line
        self._connection = connection
        self._turns = turns

    def flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self._line.down.put(data)

    async def read(self) -> None:
        connection = self._connection
        while connection.state is not ServerState.CLOSED:
            deadline = connection.next_deadline()
            with trio.move_on_at(float("inf") if deadline is None else deadline) as self.reading:
                data = await self._line.up.take(64 * 1024)
                connection.receive_data(data or b"", trio.current_time())
            if self.reading.cancelled_caught:
                self._line.note("its time is over")
                connection.handle_deadline(trio.current_time())
            self.start()
        self.flush()
        await trio.sleep(self._world.rng.choice((0.0, 0.0, 3.0)))
        self._line.cut(cleanly=True)

    def start(self) -> None:
        while (turn := self._connection.next_request()) is not None:
            self._turns.start_soon(self.run, turn)
        self.flush()

    async def moods(self) -> None:
        """What a server does unasked."""
        rng = self._world.rng
        mood = rng.choices(("none", "pings", "leaves"), (6, 2, 1))[0]
        if mood == "pings":
            for _ in range(10):
                await trio.sleep(rng.choice((0.1, 10.0, 300.0)))
                self._connection.ping(b"server")
                self.flush()
        elif mood == "leaves":
            await trio.sleep(rng.choice((1.0, 100.0, self._world.length)) * rng.random())
            self._line.note("leaves")
            self._connection.close(trio.current_time(), 1001, "going away")
            self.flush()
            self.reading.cancel()  # The deadline is another one now.

    async def pause(self) -> None:
        rng = self._world.rng
        pauses = (0.0, 0.001, 0.05, 0.4, 2.0, 20.0)
        await trio.sleep(rng.choices(pauses, (8, 6, 4, 2, 1, 0.3))[0] * rng.random())

    async def run(self, turn: ServerTurn) -> None:
        rng = self._world.rng
        marker = turn.request["metadata"]["marker"]
        kind = rng.choices(
            ("answers", "refuses", "breaks", "breaks later", "is silent", "falls silent"), (30, 2, 2, 1, 1, 1)
        )[0]
        self._line.note(f"{marker} {kind}")
        await self.pause()
        if turn.state is not TurnState.RUNNING:
            return None
        if kind == "refuses":
            turn.fail(Problem(*rng.choice(((400, "bad"), (429, "rate_limit_exceeded"))), "no"))
            return self.start()
        entry = Entry(marker, self._line)
        self._service.ledger.append(entry)
        self._line.note(f"{marker} runs")
        await self.pause()
        if kind == "is silent":
            return await trio.sleep_forever()
        if turn.state is not TurnState.RUNNING:
            return None
        if kind == "breaks":
            turn.fail(Problem(500, rng.choice(("server_error", None)), "oh"))
            return self.ended(entry)
        turn.emit(lifecycle("created", marker))
        self.flush()
        count = rng.choice((0, 1, 2, 5, 12))
        for index in range(count):
            await self.pause()
            if turn.state is not TurnState.RUNNING:
                return None
            turn.emit(delta(marker, index))
            self.flush()
        if kind == "falls silent":
            return await trio.sleep_forever()
        await self.pause()
        if turn.state is not TurnState.RUNNING:
            return None
        if kind == "breaks later":
            turn.fail(Problem(500, "server_error", "oh"))
        else:
            end = rng.choices(("completed", "incomplete", "failed"), (8, 1, 1))[0]
            turn.emit(lifecycle(end, marker, count))
        return self.ended(entry)

    def ended(self, entry: Entry) -> None:
        entry.ended = trio.current_time()
        self.start()


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


@dataclass
class Story:
    """What a client saw of one turn."""

    marker: str
    lane: str | None
    limits: Timeouts
    began: float
    events: list[Any] = field(default_factory=list)
    ended: float = HORIZON
    failure: TurnError | None = None
    first: float = HORIZON
    """When the first event came."""
    whole: bool = False
    """It came to its terminal event."""
    turn: Any = None
    """The shell's turn, or what stands for it: whoever looks, looks at its core."""
    told: TurnError | None = None
    """The last failure that could be seen of it, at any step of any task."""
    told_safe: bool = False
    """Whether at any step it could be seen that the turn had failed, SAFE."""

    @property
    def end(self) -> str:
        if self.failure is not None:
            return f"{self.failure.cause.name} {self.failure.phase.name} {self.failure.verdict.name}"
        return "whole" if self.whole else "left"


class Clients:
    """Some tasks, each with its turns and pauses, on one session."""

    def __init__(self, world: World, session: Any) -> None:
        self._world = world
        self._session = session
        self._options = world.options
        self._ending = False

    async def live(self) -> None:
        rng = self._world.rng
        async with trio.open_nursery() as tasks:
            for number in range(rng.choice((1, 2, 2, 4))):
                tasks.start_soon(self._one, number, rng.choice((1, 2, 3)))
            if rng.random() < 0.15:
                await trio.sleep(rng.choice((0.5, 60.0, self._world.length)) * rng.random())
                if rng.random() < 0.5:
                    await self.end()
                else:
                    self._world.note("all leave")
                    tasks.cancel_scope.cancel()

    async def end(self) -> None:
        self._world.note("aclose")
        self._ending = True
        began = trio.current_time()
        await self._session.aclose()
        self._world.judge.in_time("aclose()", began, 2 * self._options.close_timeout + SLACK)

    async def _one(self, number: int, turns: int) -> None:
        rng, world = self._world.rng, self._world
        for index in range(turns):
            await trio.sleep(rng.choice((0.0, 0.0, 0.3, 5.0, 100.0, world.length)) * rng.random())
            limits = self._options.timeouts
            if rng.random() < 0.3:
                limits = Timeouts(*(rng.choice((0.0, 0.2, 3.0, 40.0)) for _ in range(4)), rng.choice((None, 5.0, 90.0)))
            lane = rng.choice((None, "a", "b", f"own-{number}"))
            story = Story(f"t{number}.{index}", lane, limits, trio.current_time())
            world.stories.append(story)
            world.note(f"{story.marker} on {lane}, {limits}")
            manner = rng.choices(("drains", "leaves", "is cancelled", "is slow"), (6, 1, 2, 1))[0]
            patience = rng.choice((0.0, 0.02, 1.0, 30.0)) * rng.random() if manner == "is cancelled" else float("inf")
            with trio.move_on_after(patience) as scope:
                try:
                    await self._turn(story, manner)
                except TurnError as exc:
                    story.failure = exc
                except SessionClosedError:
                    if not self._ending:
                        raise
                    return
                finally:
                    story.ended = trio.current_time()
                    world.note(f"{story.marker} {manner}: {len(story.events)} events, {story.end}")
            if scope.cancelled_caught:
                bound = SLACK if world.scoped else self._options.close_timeout + SLACK
                world.judge.in_time(f"{story.marker}: leaving on being cancelled", scope.deadline, bound)
                story.failure = None

    async def _turn(self, story: Story, manner: str) -> None:
        rng, judge = self._world.rng, self._world.judge
        body = {"model": "m", "input": "x" * rng.choice((0, 10, 3_000, 150_000)), "metadata": {"marker": story.marker}}
        if rng.random() < 0.3:
            body["conversation"] = "c"
        most = rng.choice((0, 1, 2)) if manner == "leaves" else 10**6
        story.turn = self._begin(story, body)
        async with story.turn as turn:
            while len(story.events) < most:
                began = trio.current_time()
                try:
                    event = await turn.__anext__()
                except StopAsyncIteration:
                    story.whole = True
                    break
                except TurnError:
                    judge.waited(story, turn._core, began)
                    raise
                judge.waited(story, turn._core, began)
                story.events.append(event)
                story.first = min(story.first, trio.current_time())
                self._world.note(f"{story.marker} {event.type}")
                if manner == "is slow":
                    await trio.sleep(rng.choice((0.1, 2.0, 50.0)) * rng.random())
            left = trio.current_time()
        judge.in_time(f"{story.marker}: leaving", left, 0.0 if self._world.scoped else self._options.close_timeout)

    def _begin(self, story: Story, body: dict[str, Any]) -> Any:
        if self._world.scoped:
            return self._session.create(stream_id=story.lane, timeout=story.limits, **body)
        return FrameTurn(self._session, story, body)


class FrameTurn:
    """A turn as the models make it: without a scope, from wait to wait."""

    _core: Any = None

    def __init__(self, driver: Any, story: Story, body: dict[str, Any]) -> None:
        lane = {} if story.lane is None else {"stream_id": story.lane}
        self._frame = {"type": "response.create", **lane, **body}
        self._driver = driver
        self._limits = story.limits

    async def __aenter__(self) -> FrameTurn:
        self._core = await self._driver.begin_frame(self._frame, self._limits)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._driver.leave(self._core)

    async def __anext__(self) -> Any:
        event = self._core.next_event()
        if event is None and (self._core.ended or (event := await self._driver.next_event(self._core)) is None):
            raise StopAsyncIteration
        return event


# --- The judge -------------------------------------------------------------------------------------------------------


class Judge:
    """What must hold, and what did not."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.complaints: list[str] = []

    def complain(self, what: str) -> None:
        self.complaints.append(what)
        self._world.note(f"COMPLAINT {what}")

    def in_time(self, what: str, began: float, bound: float) -> None:
        took = trio.current_time() - began
        if took > bound + 1e-6:
            self.complain(f"I6: {what} took {took:.3f} seconds, and {bound:g} are allowed")

    def waited(self, story: Story, turn: Any, began: float) -> None:
        """I6: a wait for an event is over by the deadlines that may have run in it, one after another."""
        limits, options = story.limits, self._world.options
        bound = limits.receive
        if len(story.events) == 0:
            # A turn whose message waited on a connection that went mute begins again on the next one.
            attempts = 1 + max(len(turn.repetitions), sum(line.born >= began for line in self._world.lines))
            connect = min(limits.connect, options.connect_timeout)
            bound = attempts * (limits.lane + connect + limits.send + limits.receive + options.recovery.max_delay)
        if not self._world.scoped:  # Such a wait outlives the writing that it began, be it another turn's.
            bound += sum(
                max(0.0, ended - max(began, start)) for line in self._world.lines for start, ended in line.blocked
            )
        took = trio.current_time() - began
        if limits.total is not None and self._world.scoped:
            bound = min(bound, max(0.0, story.began + limits.total - began))
        if took > bound + GRACE + SLACK:
            self.complain(f"I6: {story.marker} waited {took:.3f} seconds, and its deadlines allow {bound:g}")

    def turns(self, stories: list[Story], ledger: list[Entry], lines: list[Line]) -> None:
        read_along = all(line.handed is not None for line in lines)
        handed = {marker for line in lines for marker in line.handed or ()}
        ran: dict[str, int] = {}
        for entry in ledger:
            ran[entry.marker] = ran.get(entry.marker, 0) + 1
        for story in stories:
            marker, times = story.marker, ran.get(story.marker, 0)
            if times > 1:
                self.complain(f"I5: {marker} ran {times} times")
            if story.ended == HORIZON:
                self.complain(f"I6: {marker} never ended")
            if story.failure is not None and story.failure.verdict is Verdict.SAFE and times:
                self.complain(f"I3: {marker} is SAFE, and ran: {story.failure!r}")
            if story.told_safe and times:
                self.complain(f"I3: {marker} was seen to have failed, SAFE, and ran")
            if story.failure is not None and story.failure.verdict is Verdict.UNSAFE and not times:
                self.complain(f"{marker} is UNSAFE, and did not run: {story.failure!r}")
            if story.failure is not None and read_along:
                self._precise(story, story.failure, handed)
            if story.events and not times:
                self.complain(f"I2: {marker} has events, and did not run")
            if any(entry.line.born > story.ended for entry in ledger if entry.marker == marker):
                self.complain(f"I5: {marker} ran on a connection that was opened after its consumer had left")
            self._events(story)

    def _precise(self, story: Story, failure: TurnError, handed: set[str]) -> None:
        """I4: SAFE, unless the writing of the last byte was begun; and then only if the server refused it."""
        safe, refused = failure.verdict is Verdict.SAFE, failure.evidence.is_refusal
        if not safe and story.marker not in handed:
            self.complain(f"I4: {story.marker} was not handed over, and is {failure!r}")
        if safe and not refused and story.marker in handed:
            self.complain(f"I3: {story.marker} was handed over, and is {failure!r}")

    def _events(self, story: Story) -> None:
        """I2: its own events, in order, none missing."""
        marker = story.marker
        for index, event in enumerate(story.events):
            if index == 0:
                fine = event.type == "response.created" and event.response.id == f"resp_{marker}"
            elif event.type == "response.output_text.delta":
                fine = event.delta == f"{marker}/{index - 1} "
            else:
                text = "".join(f"{marker}/{number} " for number in range(index - 1))
                fine = event.terminal and event.response.output_text == text and index == len(story.events) - 1
            if not fine:
                self.complain(f"I2: event {index} of {marker} is {event.raw}")
        if story.whole and not (story.events and story.events[-1].terminal):
            self.complain(f"I2: {marker} ended without its terminal event")
        if story.failure is not None and any(event.terminal for event in story.events):
            self.complain(f"I2: {marker} failed after its terminal event")

    def lines(self, lines: list[Line], ledger: list[Entry], stories: list[Story]) -> None:
        told = {story.marker: story for story in stories}
        for line in lines:
            if line.closed is None:
                self.complain(f"line {line.number} was never closed")
            elif line.opened is not None:
                mine = [(entry, told[entry.marker]) for entry in ledger if entry.line is line]
                if self._world.scoped:
                    self._kept(line, line.opened, line.closed, mine)
                self._rotated(line, line.opened, line.closed, mine, stories)

    def _kept(self, line: Line, opened: float, closed: float, mine: list[tuple[Entry, Story]]) -> None:
        """Whoever has a scope has a keeper: it pings, finds out who is silent, and who is gone."""
        options = self._world.options
        interval, patience = options.ping_interval or HORIZON, options.ping_timeout or HORIZON
        end = min(closed, line.over or closed, line.farewell or closed)
        muted = min((one.ended for one in self._world.stories if one.end == "TIMEOUT SEND SAFE"), default=HORIZON)
        moments = [*(moment for moment in line.heard if opened <= moment <= end), end]
        for before, after in pairwise(moments):
            if after - before > interval + GRACE + SLACK:
                first, last = before + interval - 1e-6, before + interval + GRACE + SLACK
                pinged = any(first <= moment <= last for moment in line.wrote)
                blocked = any(began < last and ended > first for began, ended in line.blocked)
                if not pinged and not blocked and muted > last:  # What is cut off in a message cannot ping.
                    self.complain(f"line {line.number} heard nothing from {before:.3f} to {after:.3f}: no ping")
            allowed = interval + patience
            if any(story.first <= before < entry.ended and story.ended > after for entry, story in mine):
                allowed = min(allowed, options.stall_timeout or HORIZON)
            if after - before > allowed + GRACE + SLACK:
                self.complain(f"line {line.number} was silent from {before:.3f} to {after:.3f}, and not given up")
        # A consumer that took something before the end is given as long again.
        if line.over is not None and closed - max(line.over, line.heard[-1]) > GRACE + SLACK:
            self.complain(f"line {line.number} had ended at {line.over:.3f}, noticed at {closed:.3f}")
        if line.farewell is not None and closed - line.farewell > options.close_timeout + SLACK:
            self.complain(f"line {line.number} said farewell at {line.farewell:.3f}, and was let go of at {closed:.3f}")

    def _rotated(
        self, line: Line, opened: float, closed: float, mine: list[tuple[Entry, Story]], stories: list[Story]
    ) -> None:
        """No turn begins on a connection that is too old, and that is closed as soon as no turn needs it."""
        options = self._world.options
        if options.max_age is None:
            return
        limit = opened + options.max_age
        for _, story in mine:
            if story.began > limit + SLACK:
                self.complain(f"{story.marker} ran on line {line.number}, which was to be replaced at {limit:.3f}")
        due = max([limit, *(story.ended for story in stories if story.began <= limit + SLACK)])
        if self._world.scoped and closed > due + options.close_timeout + GRACE + SLACK:
            self.complain(f"line {line.number} was to be closed by {due:.3f}, and was at {closed:.3f}")


# --- The world -------------------------------------------------------------------------------------------------------


class World:
    """Everything of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.trace: list[str] = []
        self.judge = Judge(self)
        self.service = Service(self)
        self.lines: list[Line] = []
        self.stories: list[Story] = []
        self.scoped = rng.random() < 0.75
        self.stalls = rng.choice((0.0, 0.0, 0.01, 0.1))
        self._splits = rng.choice((0.0, 0.1, 0.9))
        self.shell = SHELLS[rng.choice(("trio", "trio", "anyio"))]
        self.eager = rng.random() < 0.5
        """Consumers look as soon as their turns have something to say."""
        self._suspends = rng.choice((0.0, 0.3))
        self.dialect = rng.choice(("openai", "openai", None, "no-lanes"))
        """Of the server."""
        ping_interval = rng.choice((None, 20.0, 300.0, 900.0))
        self.length = 4 * HOUR if ping_interval != 20.0 else 300.0
        """How long a client may be away: a ping every twenty seconds for hours is much to compute."""
        self.options = SessionOptions(
            connect_timeout=rng.choice((3.0, 30.0)),
            close_timeout=rng.choice((0.5, 2.0)),
            ping_interval=ping_interval,
            ping_timeout=rng.choice((5.0, 20.0)),
            stall_timeout=rng.choice((None, None, 10.0)),
            compression=rng.random() < 0.15,
            max_age=rng.choice((None, 55 * 60.0, 55 * 60.0, 90.0)),
            recovery=RecoveryPolicy(attempts=rng.choice((0, 1, 3, 5))),
            timeouts=Timeouts(
                rng.choice((5.0, 600.0)), rng.choice((2.0, 60.0)), rng.choice((2.0, 60.0)), rng.choice((3.0, 120.0))
            ),
        )
        self.nursery: trio.Nursery
        self.driver: Any = None
        """The shell's, once there is one."""

    def note(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():14.6f} {what}")

    async def suspend(self) -> None:
        """Give way: always once, perhaps for longer. Cancelled, it ends."""
        await trio.lowlevel.checkpoint()
        if self._suspends and self.rng.random() < self._suspends:
            for _ in range(self.rng.choice((1, 3, 8))):
                await trio.lowlevel.checkpoint()

    def piece(self, length: int) -> int:
        """How much of some bytes goes in one piece."""
        return length if self.rng.random() >= self._splits else self.rng.choice((1, 3, max(1, length // 2), length))

    async def open_transport(self, endpoint: Any, *, ssl_context: Any, proxy: Any) -> SimTransport:
        how = self.rng.choices(("connects", "is refused", "hangs"), (20, 1, 1))[0]
        await trio.sleep(self.rng.choice((0.001, 0.1, 1.0)) * self.rng.random())
        if how == "is refused":
            self.note(how)
            raise TransportError("refused")
        if how == "hangs":
            self.note(how)
            await trio.sleep_forever()
        line = Line(self, len(self.lines))
        self.lines.append(line)
        line.note("connected")
        self.nursery.start_soon(self.service.serve, line)
        self.nursery.start_soon(line.doom)
        return SimTransport(line, self)

    async def run(self) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.move_on_after(HORIZON) as horizon:
            trio.lowlevel.add_instrument(Odometer(horizon))
            trio.lowlevel.add_instrument(Observer(self))
            async with trio.open_nursery() as self.nursery:
                await self._clients()
                await trio.sleep(100.0)  # What is on its way may arrive.
                self.nursery.cancel_scope.cancel()
        if horizon.cancel_called:
            self.judge.complain("it hangs, or spins")
        if (left := trio.lowlevel.current_statistics().tasks_living - before) != 0:
            self.judge.complain(f"{left} tasks are left")
        self.judge.turns(self.stories, self.service.ledger, self.lines)
        self.judge.lines(self.lines, self.service.ledger, self.stories)

    async def _clients(self) -> None:
        """Everything that clients do, from beginning to end; some are cancelled as a whole."""
        patience = self.rng.choice((0.05, 3.0, self.length)) * self.rng.random() if self.rng.random() < 0.1 else HORIZON
        with trio.move_on_after(patience) as scope:
            try:
                await (self._in_a_scope() if self.scoped else self._from_wait_to_wait())
            except TurnError as exc:
                self.note(f"no session: {exc!r}")
        if scope.cancelled_caught:
            self.note("all cancelled")
            self.judge.in_time("leaving on being cancelled", scope.deadline, 2 * self.options.close_timeout + SLACK)

    async def _in_a_scope(self) -> None:
        async with self.shell.connect("http://sim.test/v1", proxy=None, options=self.options) as session:
            self.driver = session._driver
            await Clients(self, session).live()
            left = trio.current_time()
        self.judge.in_time("leaving connect()", left, 2 * self.options.close_timeout + SLACK)

    async def _from_wait_to_wait(self) -> None:
        source = EndpointSource(
            base_url="http://sim.test/v1", api_key=None, client=None, headers=None, query=None, environment={}
        )
        self.driver = driver = self.shell._driver.Driver(source, ssl_context=None, proxy=None, options=self.options)
        clients = Clients(self, driver)
        try:
            await clients.live()
        finally:
            with trio.CancelScope(shield=True):
                await clients.end()


class Odometer(trio.abc.Instrument):
    """Ends a life that spins."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._left = STEPS

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left < 0:
            self._scope.cancel()


class Observer(trio.abc.Instrument):
    """Looks, after every step of any task, at what consumers could see, and notes what may not be seen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._failed = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        driver = self._world.driver
        if driver is None:
            return
        goes_on = False
        for story in self._world.stories:
            turn = story.turn._core if story.turn is not None and story.ended == HORIZON else None
            if turn is not None:
                self._look(story, turn)
                goes_on = goes_on or not turn.ended
        if goes_on and driver.idle:
            self._world.judge.complain("I6: a turn goes on, and the session calls itself idle")
        if driver._core.stats.failed < self._failed:
            self._world.judge.complain("I5: a failure that was counted is counted no more")
        self._failed = driver._core.stats.failed
        if self._world.eager:
            for waiter in driver._pump._waiters:
                if waiter.turn is not None and waiter.turn.has_news():
                    waiter.ring()

    def _look(self, story: Story, turn: Any) -> None:
        """What it was once told about its turn, a consumer may rely on."""
        failure, before = turn.failure, story.told
        if failure is before:
            return
        if before is not None and not (turn.abandoned and failure is not None):  # An abandoned one may yet settle.
            self._world.judge.complain(f"I5: {story.marker} was seen to have failed, and goes on: {before!r}")
        story.told = failure
        story.told_safe = story.told_safe or (failure is not None and failure.verdict is Verdict.SAFE)


@dataclass
class Life:
    """What came of a seed."""

    seed: int
    complaints: list[str]
    trace: list[str]
    seconds: float
    """Of the life; not of ours."""

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


@contextmanager
def determined(seed: int) -> Iterator[None]:
    """Let trio run its tasks in an order that follows from the seed, as it lets hypothesis do."""
    from trio._core import _run

    with (
        mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch.object(_run, "_r", random.Random(seed)),
    ):
        yield


def live(seed: int) -> Life:
    """One life, from its seed."""
    world = World(seed)
    clock = trio.testing.MockClock(autojump_threshold=0)
    session = partial(ResponsesSession, random_bytes=random.Random(seed).randbytes)
    with (
        determined(seed),
        mock.patch.object(world.shell._driver, "open_transport", world.open_transport),
        mock.patch.object(world.shell._driver, "ResponsesSession", session),
    ):
        try:
            trio.run(world.run, clock=clock)
        except Exception as exc:
            world.judge.complaints.append(f"it raised {_leaves(exc)}")
    return Life(seed, world.judge.complaints, world.trace, clock.current_time())


def _leaves(exc: BaseException) -> str:
    if isinstance(exc, BaseExceptionGroup):
        return ", ".join(_leaves(one) for one in exc.exceptions)
    return repr(exc)


def explain(life: Life, *, whole: bool = False) -> str:
    """A life that went wrong, in words, and how to live it again."""
    again = f"seed {life.seed}: TURNWIRE_SEED={life.seed} pytest --no-cov tests/test_simulation.py"
    return "\n".join([again, *(f"  {what}" for what in life.complaints), *life.trace[0 if whole else -15 :]])
