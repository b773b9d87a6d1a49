"""A shell without an event loop: its flows are stepped through by a test, which is the network, the clock and the rest.

::

    shell = SteppedShell()
    coroutine = shell.run(flow)      # run to its end by finished(coroutine), if what it waits for never suspends
    steps = Steps(flow)              # or step by step
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

from turnwire.sansio.connection import Turn
from turnwire.sansio.errors import SessionClosedError
from turnwire.sansio.flow import Emit, Emitting, ExpiredError, Flow, Steps, Wait
from turnwire.sansio.partial import Partial
from turnwire.sansio.runtime import SessionRuntime
from turnwire.sansio.session import EndpointSource, SessionOptions
from turnwire.sansio.transports import Failures, Means, Network

T = TypeVar("T")


class Cancelled(BaseException):
    """The caller was cancelled."""


class TlsError(OSError):
    """What TLS raises."""


class OwnError(Exception):
    """What only this shell's libraries raise."""


class Context:
    """TLS settings."""

    def __init__(self, protocol: str = "PROTOCOL_TLS_CLIENT") -> None:
        self.protocol = SimpleNamespace(name=protocol)


DEFAULT_CONTEXT = Context()
FAILURES = Failures(tls=TlsError, own={OwnError: "ours"}, is_failure=lambda exc: not isinstance(exc, Cancelled))


class Log:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def isEnabledFor(self, level: int) -> bool:
        return True

    def log(self, level: int, msg: str, *args: object) -> None:
        self.lines.append(msg % args)


class SteppedRuntime(SessionRuntime):
    """Its turns are :class:`ScriptedTurn`. What is done to it is written down."""

    _means = Means({"NO_PROXY": "*"}, lambda: 0.0, lambda: DEFAULT_CONTEXT, FAILURES)

    def __init__(self, shell: SteppedShell, source: EndpointSource, network: Network, options: SessionOptions) -> None:
        super().__init__(source, network, options)
        self.shell = shell
        self.clock = shell.now
        self.network = network
        self.options = options
        self.done: list[str] = []
        self.closing: BaseException | None = None
        """What closing it raises."""
        self.busy = False
        self.shut = False
        self.ended = False

    over = property(lambda self: self.ended)
    closed = property(lambda self: self.shut)
    idle = property(lambda self: not self.busy)

    async def connect(self) -> None:
        self.done.append("connect")

    def create(self, body: Mapping[str, Any], lane: str | None, timeouts: object, follows: object = None) -> Any:
        if self.shut:
            raise SessionClosedError("closed")
        self.done.append(f"create {dict(body)} {lane}")
        return ScriptedTurn(self.shell.script, lane)

    def submit(self, turn: Turn, body: Mapping[str, Any] | None = None) -> Any:
        self.done.append(f"submit {turn.lane} {turn.timeouts.total}")
        return ScriptedTurn(self.shell.script, turn.lane)

    async def iterate(self, turn: Any) -> Any:
        return turn.wait()

    def cancel(self, turn: Any) -> None:
        self.done.append("cancel")

    async def aclose(self, *, wait_for_peer: bool = True) -> None:
        self.done.append(f"close {wait_for_peer}")
        if self.closing is not None:
            raise self.closing

    async def drain(self, timeout: float | None) -> None:
        self.done.append(f"drain {timeout}")

    def shutdown_threadsafe(self) -> None:
        self.done.append("shut down")

    def _unused(self, *_: object) -> Any:
        raise AssertionError("what would use it is replaced")

    waiter = let_go = readable = read = shut_down = _unused


class ScriptedTurn:
    """A turn of the core, as far as its consumer sees it: what is there, and what has to be waited for."""

    def __init__(self, script: list[Any], lane: str | None) -> None:
        self._script = script
        self.lane = lane
        self.response_id = self.known_id = "resp_1"
        self.response: Any = None
        self.failure: Exception | None = None
        self.partial = Partial()
        self.ending: Any = None
        self.transport = "websocket"

    @property
    def events(self) -> list[Any]:
        """What is there."""
        return self._script[0] if self._script and isinstance(self._script[0], list) else []

    def next_event(self) -> Any:
        """The events in a row of a list are there at once."""
        if self._script and isinstance(self._script[0], list):
            found = self._script[0].pop(0)
            if not self._script[0]:
                del self._script[0]
            self.response = getattr(found, "response", None)
            return found
        return None

    def ends_with(self, event: Any) -> bool:
        """A steered response is not the last."""
        self.ending = event
        return "steered" not in event.raw

    def wait(self) -> Any:
        found = self._script.pop(0) if self._script else StopAsyncIteration()
        if isinstance(found, BaseException):
            raise found
        self.response = getattr(found, "response", None)
        return found


class SteppedShell:
    """A shell whose waits are over at once. ``at`` is what its clock says."""

    cancelled = Cancelled

    def __init__(self, **modules: Any) -> None:
        self.at = 100.0
        self.slow = 0.0
        """Seconds that each wait takes."""
        self.here: object = "here"
        """Which event loop runs."""
        self.logger = Log()
        self.variables: dict[str, str] = {}
        self.means = Means(
            self.variables,
            lambda: 0.0,
            lambda: DEFAULT_CONTEXT,
            FAILURES,
            modules=modules,
            context_type=Context,
            model_logger=self.logger,
        )
        self.waits: list[Wait] = []
        """All that were waited for."""
        self.script: list[Any] = []
        """What the turns see."""
        self.runtimes: list[SteppedRuntime] = []
        self.tasks: list[Coroutine[Any, Any, Any]] = []
        """Clean-ups that go on by themselves, if ``alone``."""
        self.alone = False

    def now(self) -> float:
        return self.at

    def token(self) -> object:
        return self.here

    async def run(self, flow: Flow[T]) -> T:
        steps = Steps(flow)
        while (step := steps.next()) is not None:
            try:
                steps.succeeded(await self._wait(step))
            except BaseException as exc:
                steps.failed(exc)
        return steps.result

    def coroutine_function(self, method: Any) -> Any:
        @functools.wraps(method)
        async def called(*args: Any, **kwargs: Any) -> Any:
            given = method(*args, **kwargs)
            return await self.run(given) if inspect.isgenerator(given) else given

        return called

    async def iterate(self, flow: Emitting) -> AsyncGenerator[Any]:
        steps = Steps(flow)
        while (step := steps.next()) is not None:
            try:
                steps.succeeded((yield step.value) if type(step) is Emit else await self._wait(step))
            except BaseException as exc:
                steps.failed(exc)

    async def _wait(self, wait: Wait) -> Any:
        self.waits.append(wait)
        self.at += self.slow
        if wait.deadline <= self.at:
            raise ExpiredError
        return await wait.start()

    async def side_by_side(self, flows: Iterable[Flow[None]]) -> None:
        """One after another, up to the first that raises."""
        for flow in flows:
            await self.run(flow)

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        return function()

    async def checkpoint(self) -> None:
        """Nobody is cancelled."""

    def spawn(self, flow: Flow[T], tasks: set[Any], *, wait: bool) -> Any:
        coroutine = self.run(flow)
        if not self.alone:
            return coroutine
        self.tasks.append(coroutine)
        tasks.add(coroutine)
        return coroutine if wait else None

    def runtime(self, source: EndpointSource, network: Network, options: SessionOptions) -> SteppedRuntime:
        self.runtimes.append(SteppedRuntime(self, source, network, options))
        return self.runtimes[-1]


def finished(awaitable: Any) -> Any:
    """The result of what never suspends."""
    try:
        awaitable.__await__().send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def step(awaitable: Any) -> Any:
    """The next value of an asynchronous generator that never suspends; None at its end."""
    try:
        return finished(anext(awaitable))
    except StopAsyncIteration:
        return None
