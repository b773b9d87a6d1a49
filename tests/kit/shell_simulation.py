"""The shells in a world from a seed: real event loops, whose clock jumps, and real sockets, in pairs.

::

    run = simulate(123, "asyncio")   # or "trio", or "aio on trio"
    assert not run.complaints

It is smaller than ``driver_simulation.py``, which tests what is decided. Here it is the runtimes that are tested: that
they report what happened, wake who is to be woken, keep the time, and release everything.

What is real
    Everything from ``connect()`` down to the socket: only where it would connect by TCP, one end of a pair of sockets
    is given to it. What is written to such a socket can be read from the other end at once, so the clock may jump as
    soon as nothing can be done.

What is reused
    The service, and the judge of turns, of ``driver_simulation.py``. Time passes by :meth:`World.at`.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import anyio
import msgspec
import trio
import trio.testing
import turnwire.aio
import turnwire.aio._opening
import turnwire.trio_shell
from kit.driver_simulation import HORIZON, OPTIONS, Entry, Judge, Run, SimulatedPeer, Story, random_bytes
from turnwire.sansio.errors import SessionClosedError, TurnError
from turnwire.sansio.replay import Verdict
from turnwire.sansio.session import ResponsesSession
from turnwire.sansio.timeouts import Timeouts

STEPS = 100_000
"""Rounds of the loop, or steps of tasks, after which a run counts as spinning."""
SHELLS = {"asyncio": turnwire.aio, "trio": turnwire.trio_shell, "aio on trio": turnwire.aio}


# --- The network -----------------------------------------------------------------------------------------------------


class Line:
    """The server's end of a pair of sockets, with what is going to happen to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = len(world.lines)
        self.born = world.now
        self.client, self._socket = socket.socketpair()
        self.client.setblocking(False)
        self._socket.setblocking(False)
        self.fate: str | None = None
        self.http = False
        self.reads_along = False
        self.over: float | None = None
        """When the client could know of the server's end."""
        self.closed: float | None = None
        """When the server learned of the client's."""
        self.handed: set[str] = set()
        self._dark = False
        self._ended = False
        self._out = bytearray()
        self._patience = 20
        self._left: int | None = None
        """How many bytes get through, in both directions, before its fate befalls it."""
        self._given: str | None = None
        self._draw_fate()
        self._peer = SimulatedPeer(world, self)  # type: ignore[arg-type]
        world.tasks.start_soon(self._read)

    def note(self, what: str) -> None:
        self.world.note(f"line {self.number}: {what}")

    def _draw_fate(self) -> None:
        world, rng = self.world, self.world.rng
        self._given = rng.choices((None, "eof", "dark"), (6, 3, 1))[0]
        if self._given is None:
            return
        if rng.random() < 0.5:
            self._left = rng.choice((rng.randrange(1, 800), rng.randrange(1, 8000)))
        else:
            world.at(world.now + rng.choice((1.0, 30.0, world.length)) * rng.random(), self._befall)

    def _befall(self) -> None:
        fate, self._given = self._given, None
        if fate is not None and not self._ended:
            self.fate = self.fate or fate
            self.note(fate)
            if fate == "eof":
                self.cut(cleanly=True)
            else:
                self._dark = True

    def _through(self, length: int) -> int:
        """How many of these bytes get through."""
        if self._left is None:
            return length
        through = min(length, self._left)
        self._left -= through
        if not self._left and self._given is not None:
            self.fate = self.fate or "cut"
            self.world.at(self.world.now + self.world.rng.choice((0.0, 0.5)), self._befall)
        return through

    async def _read(self) -> None:
        while not self._ended and not self._dark:
            try:
                await anyio.wait_readable(self._socket)
                data = self._socket.recv(self.world.rng.choice((100, 65536)))
            except BlockingIOError:
                continue
            except anyio.ClosedResourceError:
                return
            except OSError:
                data = b""
            if not data:
                self.closed = self.world.now
                self._peer.receive(b"")
                self.cut(cleanly=True)
            elif through := self._through(len(data)):
                self._peer.receive(data[:through])

    def say(self, data: bytes) -> None:
        if not self._ended and not self._dark:
            busy = bool(self._out)
            self._out += data[: self._through(len(data))]
            if not busy and self._out:
                self.world.tasks.start_soon(self._write)

    async def _write(self) -> None:
        rng = self.world.rng
        while self._out and not self._ended and not self._dark:
            try:
                del self._out[: self._socket.send(self._out[: rng.choice((1, 50, 65536))])]
            except BlockingIOError:
                with suppress(anyio.ClosedResourceError):
                    await anyio.wait_writable(self._socket)
            except OSError:  # The client has gone.
                self._out.clear()
                return
            if rng.random() < 0.2:
                await anyio.sleep(rng.choice((0.0, 0.05)))

    def cut(self, *, cleanly: bool) -> None:
        """The server's end is gone."""
        if self._ended:
            return
        if self._out and not self._dark and self._patience:  # After what was said before.
            self._patience -= 1
            self.world.at(self.world.now + 0.1, lambda: self.cut(cleanly=cleanly))
            return
        self._ended = True
        self.over = self.world.now
        self._peer.gone()
        anyio.notify_closing(self._socket)
        self._socket.close()

    def close(self) -> None:
        self._ended = True
        self._socket.close()


# --- The world -------------------------------------------------------------------------------------------------------


class Nobody:
    def wake(self) -> None:
        """Nobody waits for the end of the service's processes."""


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, shell: str) -> None:
        self.rng = rng = random.Random(seed)
        self.shell = SHELLS[shell]
        self.trace: list[str] = []
        self.judge = Judge(self)  # type: ignore[arg-type]
        self.lines: list[Line] = []
        self.stories: list[Story] = []
        self.active: list[Story] = []
        self.ledger: list[Entry] = []
        self.running = Nobody()
        self.options, self.length = rng.choice(OPTIONS)
        self.length = min(self.length, 600.0)
        if rng.random() < 0.4:
            self.options = msgspec.structs.replace(self.options, high_water=0)
        self.real_server = self.options.compression
        self.dialect = rng.choice(("openai", None, "no-lanes"))
        self.limit = rng.choice((None, None, 2_000))
        self.redirects = rng.choice((0.0, 0.3))
        self.options = msgspec.structs.replace(self.options, transport="websocket")  # Its lines carry nothing else.
        self.no_websocket = None
        self.gateway = 0.0
        self.redirected: set[str] = set()
        self.documents: dict[str, int] = {}
        self.stalls = self.slow = 0.0
        self.slack = 0.3
        self.closing = False
        self.tasks: Any = None
        self._steps = 0
        self._horizon: anyio.CancelScope | None = None
        self.clock: Callable[[], float] = lambda: 0.0

    @property
    def now(self) -> float:
        return self.clock()

    def note(self, what: str) -> None:
        self.trace.append(f"{self.now:14.6f} {what}")

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        self.tasks.start_soon(self._later, when, call, args)

    async def _later(self, when: float, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        await anyio.sleep(max(0.0, when - self.now))
        call(*args)

    def look(self) -> None:
        """What it was once told about its turn, a consumer may rely on."""
        self._steps += 1
        if self._steps > STEPS and self._horizon is not None:
            self._horizon.cancel()
        for story in self.active:
            turn = story.turn
            if turn is not None and turn.failure is not story.told:
                if story.told is not None:
                    self.judge.complain(f"I5: {story.marker} was seen to have failed, and goes on: {story.told!r}")
                story.told = turn.failure
                story.told_safe = story.told_safe or (story.told is not None and story.told.verdict is Verdict.SAFE)

    async def connected(self) -> socket.socket:
        """In place of a connection by TCP."""
        how = self.rng.choices(("connects", "is refused", "hangs"), (20, 1, 1))[0]
        self.note(how)
        await anyio.sleep(self.rng.choice((0.0, 0.1, 1.0)) * self.rng.random())
        if how == "is refused":
            raise ConnectionRefusedError(111, "refused")
        if how == "hangs":
            await anyio.sleep_forever()
        line = Line(self)
        self.lines.append(line)
        return line.client

    async def run(self) -> None:
        self.clock = anyio.current_time
        with anyio.move_on_after(HORIZON) as self._horizon:
            async with anyio.create_task_group() as self.tasks:
                await self._clients()
                await anyio.sleep(100.0)
                self.tasks.cancel_scope.cancel()
        if self._horizon.cancel_called:
            self.judge.complain("it hangs, or spins")
        for line in self.lines:
            line.close()
        self.judge.turns()

    async def _clients(self) -> None:
        rng = self.rng
        connecting = self.shell.connect("http://127.0.0.1:9/v1", proxy=None, options=self.options)
        try:
            session = await connecting
        except TurnError as exc:
            self.note(f"no session: {exc!r}")
            return
        async with anyio.create_task_group() as clients:
            for number in range(rng.choice((1, 2, 3))):
                clients.start_soon(self._one, session, number)
            if rng.random() < 0.2:
                await anyio.sleep(rng.choice((0.5, 60.0, self.length)) * rng.random())
                if rng.random() < 0.5:
                    await self._close(session)
                else:
                    self.note("all leave")
                    clients.cancel_scope.cancel()
        await self._close(session)

    async def _close(self, session: Any) -> None:
        self.note("closes")
        self.closing = True
        began = self.now
        await session.aclose()
        self.judge.in_time("aclose()", began, 2 * self.options.close_timeout)

    async def _one(self, session: Any, number: int) -> None:
        rng = self.rng
        for index in range(rng.choice((1, 2, 3))):
            await anyio.sleep(rng.choice((0.0, 0.0, 0.3, 5.0, 100.0)) * rng.random())
            timeouts = self.options.turn_timeouts
            if rng.random() < 0.2:
                timeouts = Timeouts(*(rng.choice((0.2, 3.0, 40.0)) for _ in range(4)), rng.choice((None, 5.0)))
            story = Story(f"t{number}.{index}", rng.choice((None, "a", f"own-{number}")), timeouts, self.now)
            self.stories.append(story)
            manner = rng.choices(("drains", "leaves", "is cancelled", "is slow"), (6, 1, 2, 3))[0]
            patience = rng.choice((0.0, 0.02, 1.0, 30.0)) * rng.random() if manner == "is cancelled" else HORIZON
            with anyio.move_on_after(patience) as scope:
                try:
                    await self._turn(session, story, manner)
                except TurnError as exc:
                    story.failure = exc
                    self.judge.heard(story, exc)
                except SessionClosedError:
                    if not self.closing:
                        raise
                    self.active = [other for other in self.active if other is not story]
                    return
                finally:
                    story.ended = self.now
                    self.note(f"{story.marker} {manner}: {len(story.events)} events, {story.end}")
            if scope.cancelled_caught:
                self.judge.in_time(f"{story.marker}: leaving", scope.deadline, 0.0)

    async def _turn(self, session: Any, story: Story, manner: str) -> None:
        rng = self.rng
        body: dict[str, Any] = {"model": "m", "metadata": {"marker": story.marker}}
        body["input"] = "x" * rng.choice((0, 10, 3_000, 400_000))
        most = rng.choice((0, 1, 2)) if manner == "leaves" else 10**6
        async with session.create(stream_id=story.lane, timeout=story.timeouts, **body) as turn:
            story.turn = turn._core
            self.active.append(story)
            try:
                while len(story.events) < most:
                    began = self.now
                    try:
                        event = await turn.__anext__()
                    except StopAsyncIteration:
                        story.whole = True
                        break
                    finally:
                        self.judge.waited(story, turn._core, began)
                    story.events.append(event)
                    story.first = min(story.first, self.now)
                    if manner == "is slow":
                        await anyio.sleep(rng.choice((0.1, 2.0, 50.0)) * rng.random())
            finally:
                self.active.remove(story)


# --- The event loops -------------------------------------------------------------------------------------------------


class Jumping(selectors.DefaultSelector):
    """Nothing is waited for: when no socket is ready, the time comes that would have been waited for."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing can happen any more")
        if not ready and timeout is not None and timeout > 0:
            self.loop.jumped += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio whose clock jumps, and whose world looks after each round."""

    jumped = 0.0
    world: World | None = None

    def __init__(self) -> None:
        selector = Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.jumped

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.world is not None:
            self.world.look()


class Observer(trio.abc.Instrument):
    """Looks after every step of any task."""

    def __init__(self, world: World) -> None:
        self._world = world

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._world.look()


@contextmanager
def determined(seed: int) -> Iterator[None]:
    """Let trio run its tasks in an order that follows from the seed, as it lets hypothesis do."""
    from trio._core import _run

    with (
        mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch.object(_run, "_r", random.Random(seed)),
    ):
        yield


def _on_asyncio(world: World, run: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        before = len(asyncio.all_tasks())
        asyncio.get_running_loop().world = world  # type: ignore[attr-defined]
        await run()
        if len(asyncio.all_tasks()) != before:
            world.judge.complain(f"tasks are left: {asyncio.all_tasks()}")

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main())


def _on_trio(world: World, run: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        trio.lowlevel.add_instrument(Observer(world))
        await run()
        left = trio.lowlevel.current_statistics().tasks_living - before
        if left:
            world.judge.complain(f"{left} tasks are left")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def simulate(seed: int, shell: str) -> Run:
    """One run, from its seed, on one shell."""
    world = World(seed, shell)

    async def connected(host: str, port: int) -> socket.socket:
        return await world.connected()

    async def open_tcp_stream(host: str, port: int) -> trio.SocketStream:
        return trio.SocketStream(trio.socket.from_stdlib_socket(await world.connected()))

    with ExitStack() as stack:
        stack.enter_context(determined(seed))
        stack.enter_context(mock.patch.object(turnwire.aio._opening, "_connected", connected))
        stack.enter_context(mock.patch.object(trio, "open_tcp_stream", open_tcp_stream))
        defaults = ResponsesSession.__init__.__kwdefaults__
        stack.enter_context(mock.patch.dict(defaults, random_bytes=random_bytes(seed)))
        try:
            (_on_asyncio if shell == "asyncio" else _on_trio)(world, world.run)
        except Exception as exc:
            world.clock = lambda: 0.0
            world.judge.complain(f"it raised {_leaves(exc)}")
    return Run(seed, world.judge.complaints, world.trace, 0.0)


def _leaves(exc: BaseException) -> str:
    if isinstance(exc, BaseExceptionGroup):
        return ", ".join(_leaves(one) for one in exc.exceptions)
    return repr(exc)
