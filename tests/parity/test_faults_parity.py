"""The same breakages, for the Agents SDK's WebSocket model and for turnwire's: the same advice, but for what is listed.

Both models run for real against the loopback server, which does the same thing wrong to either, with their own retries
switched off; then each is asked whether to repeat its own failure. (``test_advice_parity.py`` asks both about failures
that are made up; here they happen.) Equal wherever the Agents SDK's answer is definite; what differs is DIFFERENT, each
with its reason, and all of it must occur.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import agents
import anyio
import anyio.lowlevel
import httpx2
import openai
from agents.models import _retry_runtime as their_retries
from agents.models.interface import ModelTracing as TheirTracing
from agents.models.openai_responses import OpenAIResponsesWSModel as TheirModel
from agents.retry import ModelRetryAdviceRequest as TheirRequest
from kit.peers import CLOSE, Peer, event, frame, raw_server
from kit.proxy import CuttingProxy, cutting_proxy
from kit.proxy import ProxyCut as Stop
from kit.strict_server import serve
from kit.waiting import until
from turnwire import aio
from turnwire.aio.loopback import (
    AfterEvent,
    BeforeEvent,
    BeforeRun,
    Close,
    Cut,
    CutFrame,
    Delay,
    Error,
    Fault,
    Garbage,
    LoopbackServer,
    Silence,
    Upgrading,
)
from turnwire.sansio.errors import TurnError
from turnwire.sansio.replay import Verdict
from turnwire.sansio.websocket import CloseFrame

pytestmark = pytest.mark.anyio

SOON = 0.25
"""Seconds of the deadline that a script wants to pass."""
NEVER = 20.0
"""Seconds of the deadlines that should not."""
PADDING = 8_000_000
"""Characters that no buffer on the way can take."""


class Answer(NamedTuple):
    """What an advice says, without its words."""

    suggested: bool | None = None
    replay_safety: str | None = None
    retry_after: float | None = None
    response_started: bool = False


NONE = Answer()


# --- The breakages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Breakage:
    """What goes wrong with one call."""

    faults: tuple[Fault, ...] = ()
    refuse: bool = False
    """Nobody listens."""
    deadline: str | None = None
    """Which of pool, connect, write, read passes soon."""
    stop: Stop | None = None
    """Where a proxy stops reading a large request, and perhaps cuts."""
    close_when: Callable[[LoopbackServer], bool] | None = None
    """``model.close()`` is called when this holds."""
    busy: bool = False
    """Another call runs already, and does not end."""
    script: Callable[[Peer], Awaitable[None]] | None = None
    """A server that does as it is told, instead of the loopback server."""


def before(action: Any) -> Breakage:
    return Breakage((Fault(BeforeRun(), action, marker="x"),))


def after(k: int, action: Any) -> Breakage:
    return Breakage((Fault(AfterEvent(k), action, marker="x"),))


def upgrading(action: Any) -> Breakage:
    return Breakage((Fault(Upgrading(), action),))


def rejected(status: int, **headers: str) -> Breakage:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return upgrading(Error(status, "x", headers=named))


async def answer_close(peer: Peer) -> None:
    """Answer the client's close frame, or return when it has gone."""
    while not isinstance(await peer.item(), CloseFrame):
        pass
    await peer.send(frame(CLOSE, (1000).to_bytes(2, "big")))


async def response_error(peer: Peer) -> None:
    await peer.upgrade()
    await peer.message()
    await peer.send(event("response.error", error={"type": "server_error", "code": None, "message": "no"}))
    await answer_close(peer)


CODES = {
    "previous_response_not_found": 400,
    "invalid_stream_id": 400,
    "websocket_stream_limit_reached": 400,
    "websocket_connection_limit_reached": 400,
    "invalid_request": 400,
    "conflict": 409,
    "request_timeout": 408,
    "rate_limit_exceeded": 429,
    "server_is_overloaded": 503,
    "server_error": 500,
}

BREAKAGES: dict[str, Breakage] = {
    "connection refused": Breakage(refuse=True),
    "handshake cut, FIN": upgrading(Cut()),
    "handshake cut, RST": upgrading(Cut(reset=True)),
    "handshake answered with garbage": upgrading(Garbage(b"220 mail.test ESMTP\r\n\r\n")),
    "handshake never answered": Breakage((Fault(Upgrading(), Silence()),), deadline="connect"),
    "handshake rejected, 401": rejected(401),
    "handshake rejected, 403": rejected(403),
    "handshake rejected, 404": rejected(404),
    "handshake rejected, 429": rejected(429),
    "handshake rejected, 429, retry-after": rejected(429, retry_after="2"),
    "handshake rejected, 400, retry-after-ms": rejected(400, retry_after_ms="1500"),
    "handshake rejected, 500": rejected(500),
    "handshake rejected, 503": rejected(503),
    "handshake rejected, 503, retry-after": rejected(503, retry_after="3"),
    "handshake rejected, 503, x-should-retry: false": rejected(503, x_should_retry="false"),
    "handshake rejected, 400, x-should-retry: true": rejected(400, x_should_retry="true"),
    "lane busy until the deadline": Breakage(
        (Fault(BeforeRun(), Silence(), marker="busy"),), deadline="pool", busy=True
    ),
    "cut while sending": Breakage(stop=Stop(up=100_000, reset=True)),
    # The Agents SDK does not end before the connection does, which it cannot close by then.
    "sending until the deadline": Breakage(
        stop=Stop(up=100_000, reset=True, ready=lambda: anyio.sleep(4 * SOON)), deadline="write"
    ),
    **{f"error frame {status} {code}": before(Error(status, code)) for code, status in CODES.items()},
    "error frame 429, retry-after": before(Error(429, "rate_limit_exceeded", headers={"retry-after": "4"})),
    "error frame 500 without a code": before(Error(500, None, type="server_error")),
    "error frame 400 server_error without a code": before(Error(400, None, type="server_error")),
    **{f"closed before any event, {code}": before(Close(code)) for code in (1000, 1001, 1008, 1011, 1013)},
    "cut before any event, FIN": before(Cut()),
    "cut before any event, RST": before(Cut(reset=True)),
    "cut within the first event": Breakage((Fault(BeforeEvent(1), CutFrame(), marker="x"),)),
    "garbage before any event": before(Garbage()),
    "silent before any event": Breakage((Fault(BeforeRun(), Silence(), marker="x"),), deadline="read"),
    **{
        f"error frame {status} {code} after two events": after(2, Error(status, code)) for code, status in CODES.items()
    },
    **{f"closed after two events, {code}": after(2, Close(code)) for code in (1000, 1001, 1011)},
    "cut after two events, FIN": after(2, Cut()),
    "cut after two events, RST": after(2, Cut(reset=True)),
    "cut within the third event": Breakage((Fault(BeforeEvent(3), CutFrame(), marker="x"),)),
    "garbage after two events": after(2, Garbage()),
    "silent after two events": Breakage((Fault(AfterEvent(2), Silence(), marker="x"),), deadline="read"),
    "response.error": Breakage(script=response_error),
    "close() in the handshake": Breakage(
        (Fault(Upgrading(), Delay(SOON)),), close_when=lambda server: server.connections > 1
    ),
    "close() before any event": Breakage(
        (Fault(BeforeEvent(1), Silence(), marker="x"),), close_when=lambda server: len(server.ledger) > 1
    ),
    "close() after two events": Breakage(
        (Fault(AfterEvent(2), Silence(), marker="x"),),
        close_when=lambda server: len(server.ledger) > 1 and server.ledger[-1].outcome == "silenced",
    ),
}

LAST_BYTE = (
    "the server cannot have run what it does not have whole; the Agents SDK counts a request as sent from the moment "
    "at which it begins to send"
)
DIFFERENT: dict[str, tuple[Answer, str]] = {
    "cut while sending": (Answer(True, "safe"), LAST_BYTE),
    "sending until the deadline": (Answer(True, "safe"), LAST_BYTE),
    "close() after two events": (
        Answer(False, None, None, True),
        "the response had started, whoever ended it; the Agents SDK does not say so",
    ),
}
"""By breakage: what turnwire answers where the Agents SDK answers something else, and why."""

SILENT = {
    "connection refused",
    "handshake answered with garbage",
    *(name for name in BREAKAGES if name.startswith("handshake rejected")),
    *(f"error frame {status} {code}" for code, status in CODES.items() if code != "server_is_overloaded"),
    "error frame 429, retry-after",
}
"""The Agents SDK has nothing to say of these. turnwire may."""


# --- Both sides ------------------------------------------------------------------------------------------------------


class Side(NamedTuple):
    """A model, and what goes with it."""

    name: str
    model: Callable[[openai.AsyncOpenAI], Any]
    settings: Callable[..., Any]
    tracing: Any
    request: type
    retries_off: Callable[[], Any]


THEIRS = Side(
    "theirs",
    lambda client: TheirModel("m", client),
    agents.ModelSettings,
    TheirTracing.DISABLED,
    TheirRequest,
    lambda: their_retries.websocket_pre_event_retries_disabled(True),
)
OURS = Side(
    "ours",
    lambda client: aio.OpenAIResponsesWSModel("m", client),
    aio.ModelSettings,
    aio.ModelTracing.DISABLED,
    aio.ModelRetryAdviceRequest,
    aio.websocket_pre_event_retries_disabled,
)

STATES = ("stateless", "previous_response_id", "conversation")


@dataclass
class Result:
    """What came of a call: its failure, the advice on it, and how often the server ran it."""

    error: BaseException
    answer: Answer
    is_abort: bool
    events: int
    ran: int


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Both log what failed, and the Agents SDK would send traces to its maker."""
    caplog.set_level(logging.CRITICAL)
    agents.set_tracing_disabled(True)
    yield
    agents.set_tracing_disabled(False)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def stage(breakage: Breakage) -> AsyncIterator[tuple[str, LoopbackServer, CuttingProxy | None]]:
    """The server, the proxy if one is needed, and the address for the model."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve())
        if breakage.script is not None:
            raw = await stack.enter_async_context(raw_server(breakage.script))
            yield raw.base_url, server, None
        elif breakage.stop is not None or breakage.refuse:
            proxy = await stack.enter_async_context(cutting_proxy(server.host, server.port))
            if breakage.refuse:
                await proxy.refuse()
            yield proxy.base_url, server, proxy
        else:
            yield server.base_url, server, None


async def run(side: Side, breakage: Breakage, state: str) -> Result:
    """Let it happen to this side."""
    waits = {name: SOON if name == breakage.deadline else NEVER for name in ("pool", "connect", "write", "read")}
    async with stage(breakage) as (base_url, server, proxy):
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as asking:
            begun = (await asking.conversations.create()).id
        async with aio.connect(server.base_url) as session:
            earlier = await session.respond(model="m", input="before", conversation=begun)
        server.faults.extend(breakage.faults)
        client = openai.AsyncOpenAI(base_url=base_url, api_key="k", timeout=httpx2.Timeout(**waits))
        model = side.model(client)
        if proxy is not None and breakage.stop is not None:
            proxy.arm("", breakage.stop)
        previous = earlier.id if state == "previous_response_id" else None
        conversation = begun if state == "conversation" else None
        count = 0

        async def call(marker: str) -> None:
            nonlocal count
            stream = model.stream_response(
                None,
                "hi" if breakage.stop is None else "x" * PADDING,
                side.settings(metadata={"marker": marker}),
                [],
                None,
                [],
                side.tracing,
                previous_response_id=previous,
                conversation_id=conversation,
                prompt=None,
            )
            async for _ in stream:
                count += marker == "x"

        async def keep_busy() -> None:
            try:
                await call("busy")
            except Exception:
                return

        async def close_in_time() -> None:
            while not (breakage.close_when is not None and breakage.close_when(server)):
                await anyio.lowlevel.checkpoint()
            for _ in range(100):  # What the server has written arrives.
                await anyio.lowlevel.checkpoint()
            await model.close()

        with side.retries_off(), anyio.fail_after(NEVER / 2):
            async with anyio.create_task_group() as tasks:
                if breakage.close_when is not None:
                    tasks.start_soon(close_in_time)
                if breakage.busy:
                    tasks.start_soon(keep_busy)
                    while len(server.faults) == len(breakage.faults):
                        await anyio.lowlevel.checkpoint()
                try:
                    await call("x")
                except Exception as exc:
                    error = exc
                else:
                    raise AssertionError("the call went well")
                await model.close()
                tasks.cancel_scope.cancel()
        advice = model.get_retry_advice(
            side.request(error, 1, True, previous_response_id=previous, conversation_id=conversation)
        )
        await client.close()
        ran = sum(entry.marker == "x" for entry in server.ledger)
    if advice is None:
        return Result(error, NONE, False, count, ran)
    answer = Answer(advice.suggested, advice.replay_safety, advice.retry_after, advice.response_started)
    is_abort = advice.normalized is not None and advice.normalized.is_abort
    return Result(error, answer, is_abort, count, ran)


# --- The comparison --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", BREAKAGES)
async def test_the_same_breakage_gets_the_same_advice(name: str, state: str):
    their_result = await run(THEIRS, BREAKAGES[name], state)
    our_result = await run(OURS, BREAKAGES[name], state)
    shown = f"{their_result}\n{our_result}"
    assert isinstance(our_result.error, TurnError), shown
    assert our_result.error.verdict is not Verdict.SAFE or our_result.ran == 0, shown
    assert our_result.error.evidence.stateful is (state != "stateless"), shown
    assert (our_result.events, our_result.ran) == (their_result.events, their_result.ran), shown
    assert (their_result.answer == NONE) is (name in SILENT), shown
    if name in DIFFERENT:
        assert our_result.answer == DIFFERENT[name][0] != their_result.answer, shown
    elif their_result.answer != NONE:
        assert our_result.answer == their_result.answer, shown
        assert our_result.is_abort is their_result.is_abort, shown


@pytest.mark.parametrize("side", [THEIRS, OURS], ids=lambda side: side.name)
@pytest.mark.parametrize(
    ("fault", "connections"),
    [
        (Fault(Upgrading(), Cut()), 2),
        (Fault(Upgrading(), Cut(reset=True)), 2),
        (Fault(AfterEvent(9), Cut(), marker="first"), 2),
        (Fault(AfterEvent(9), Cut(reset=True), marker="first"), 2),
        (Fault(AfterEvent(9), Close(1001), marker="first"), 2),
        (Fault(AfterEvent(8), Delay(0), marker="first"), 1),
    ],
    ids=[
        "handshake cut, FIN",
        "handshake cut, RST",
        "cut between calls, FIN",
        "cut between calls, RST",
        "closed",
        "well",
    ],
)
async def test_what_cannot_have_run_is_repeated_by_both_and_runs_once(side: Side, fault: Fault, connections: int):
    async with serve(faults=[fault]) as server:
        client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k")
        model = side.model(client)
        nothing: dict[str, Any] = {"previous_response_id": None, "conversation_id": None, "prompt": None}
        for marker in ("first", "second"):
            settings = side.settings(metadata={"marker": marker})
            stream = model.stream_response(None, "hi", settings, [], None, [], side.tracing, **nothing)
            assert len([event.type async for event in stream]) == 9
            if marker == fault.marker and connections == 2:
                await until(lambda: not server._clients)
            await anyio.wait_all_tasks_blocked()
        await model.close()
        await client.close()
        assert [entry.marker for entry in server.ledger] == ["first", "second"]
        assert server.connections == connections


def test_every_difference_is_one_of_the_breakages():
    assert DIFFERENT.keys() | SILENT <= BREAKAGES.keys()
