"""What a reviewer found in the shells: cancellation inside TLS, what TLS holds back, names that are none.

``test_models_reviewed.py`` has what concerns use without a scope.
"""

from __future__ import annotations

import socket
import ssl
import sys
from contextlib import asynccontextmanager

import anyio
import pytest
import trustme
from kit.peers import CLOSE, Peer, completed, created, delta, frame, raw_server
from openai import AsyncOpenAI
from turnwire.sansio.dialect import OPENAI
from turnwire.sansio.replay import Verdict
from turnwire.sansio.session import EndpointSource
from turnwire.sansio.transports import Network

pytestmark = pytest.mark.anyio

STUCK = 5.0
"""Seconds after which something counts as hanging."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["tcp", "tls"])
def served(request, authority, monkeypatch, tmp_path) -> ssl.SSLContext | None:
    """A server's context, which every client trusts while the test runs; None for a server that speaks no TLS."""
    if request.param == "tcp":
        return None
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


# --- Reading ahead ---------------------------------------------------------------------------------------------------


async def test_what_arrived_while_reading_was_paused_is_read_before_a_turn_begins(shell):
    """A consumer has fallen behind, so the server's close frame is unread: the next turn is not sent to it."""

    async def first(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("slow") + delta("x" * 10_000, "slow"))
        await paused.wait()
        await peer.send(frame(CLOSE, (1001).to_bytes(2, "big")))
        said.set()
        received.extend(await peer.end(silent=True))

    async def second(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer("fresh", "other")
        await peer.end()

    received: list = []
    paused, said = anyio.Event(), anyio.Event()
    options = shell.SessionOptions(high_water=1000, dialect=OPENAI)
    async with (
        raw_server(first, second) as server,
        shell.connect(server.base_url, options=options) as session,
        session.create(model="m", input="x", stream_id="slow") as slow,
    ):
        while not next(iter(session._runtime._driver._links.values())).paused:
            await anyio.sleep(0.001)
        paused.set()
        await said.wait()
        assert (await session.respond(model="m", input="x", stream_id="other")).output_text == "fresh"
        assert slow.verdict is Verdict.UNSAFE
    assert not [item for item in received if isinstance(item, dict)]


# --- Cancellation ----------------------------------------------------------------------------------------------------


async def interrupted(backend, steps, function) -> None:
    """Run the function as a task of the loop's own kind, and cancel it natively after so many rounds of the loop.

    No rounds: it runs into a timeout of no time at all, in this task.
    """
    if backend.anyio_name == "asyncio":
        import asyncio

        if not steps:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await function()
            return
        task = asyncio.get_running_loop().create_task(function())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
    else:
        import trio

        if not steps:
            with trio.move_on_after(0):
                await function()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("steps", range(4))
async def test_a_turn_cancelled_natively_at_its_beginning_leaves_another_on_its_connection_unharmed(
    shell, backend, served, steps
):
    """``Task.cancel()``, which only asyncio has, reaches into a write that cancel scopes shield."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("stays", "resp_s"))
        while (await peer.message())["input"] != "again":
            await peer.answer("late", "leaves", "resp_l")
        await peer.answer("again", "leaves", "resp_a")
        await peer.send(delta("good", "stays"), completed("stays", "resp_s"))
        await peer.end_code()

    async with raw_server(script, ssl_context=served) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", stream_id="stays") as stays:
            await anext(stays)

            async def leaves() -> None:
                await session.respond(input="cancelled", stream_id="leaves")

            await interrupted(backend, steps, leaves)
            with anyio.move_on_after(STUCK) as scope:
                again = await session.respond(input="again", stream_id="leaves")
            assert not scope.cancelled_caught, "the lane of the cancelled turn stays busy for ever"
            assert again.output_text == "again"
            assert [found.type async for found in stays][-1] == "response.completed"
        assert session.stats.connections == 1


def runtime_of(shell, server, **options):
    """A session's runtime that is not connected yet, as the models use it."""
    source = EndpointSource(
        base_url=server.base_url, api_key="none", client=None, headers=None, query=None, environment={}
    )
    return sys.modules[f"{shell.__name__}._shell"].SHELL.runtime(source, Network(), shell.SessionOptions(**options))


@pytest.mark.parametrize("again", range(3))
async def test_a_cancelled_consumer_without_a_scope_does_not_stay_for_a_turn_that_has_just_begun(shell, again):
    """Not even for the first chunk of its message, which the peer does not read.

    Several times: in which order trio runs tasks is a matter of chance.
    """

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        assert (await peer.message())["input"] == "small"
        arrived.set()
        await over.wait()

    arrived, over, left, scope = anyio.Event(), anyio.Event(), anyio.Event(), anyio.CancelScope()
    async with raw_server(script, receive_buffer=4096) as server:
        runtime = runtime_of(shell, server, close_timeout=10.0)
        first = runtime.create({"input": "first"}, None, None)
        while not (await runtime.iterate(first)).terminal:
            pass
        runtime.cancel(first)
        wire = next(iter(runtime._driver._links.values())).wire
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        small = runtime.create({"input": "small"}, "leaves", None)

        async def consume() -> None:
            with scope:
                await runtime.iterate(small)
            left.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await arrived.wait()
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            large = runtime.create({"input": "x" * 1_000_000}, "begins", None)  # In the same step of the loop.
            with anyio.move_on_after(1):
                await left.wait()
            in_time = left.is_set()
            over.set()
        for turn in (small, large):
            runtime.cancel(turn)
        await runtime.aclose()
    assert in_time, "the cancelled consumer stays until the peer reads another turn's message"


# --- TLS -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def session(shell, base_url):
    async with shell.connect(base_url) as opened:

        async def ask(text: str) -> str:
            return (await opened.respond(model="m", input=text)).output_text

        yield ask


@asynccontextmanager
async def model(shell, base_url):
    """It is in no scope: between its calls nobody reads."""
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        asked = shell.OpenAIResponsesWSModel("m", client)

        async def ask(text: str) -> str:
            settings, tracing = shell.ModelSettings(), shell.ModelTracing.DISABLED
            response = await asked.get_response(None, text, settings, [], None, [], tracing)
            return response.output[0].content[0].text

        yield ask
        await asked.close()


class Held:
    """Holds back what is sent."""

    def __init__(self) -> None:
        self.data = b""

    async def send(self, item: bytes) -> None:
        self.data += item


async def send_in_one_segment(peer: Peer, *parts: bytes) -> None:
    """Over TLS, each part is a record of its own."""
    if peer.stream is peer.raw:
        await peer.send(*parts)
        return
    held = peer.stream.transport_stream = Held()
    for part in parts:
        await peer.send(part)
    peer.stream.transport_stream = peer.raw
    await peer.raw.send(held.data)


@pytest.mark.parametrize("subject", [session, model], ids=["session", "model without a scope"])
async def test_a_close_frame_right_behind_the_terminal_event_gets_no_turn(shell, served, subject):
    """In one TCP segment and two TLS records, of which TLS gives the second only to whoever reads again."""

    async def first(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await send_in_one_segment(peer, created() + completed(text="one"), frame(CLOSE, (1001).to_bytes(2, "big")))
        lost.extend(item["input"] for item in await peer.end(silent=True) if isinstance(item, dict))

    async def second(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer("two")
        await peer.end_code()

    lost: list = []
    async with raw_server(first, second, ssl_context=served) as server:
        async with subject(shell, server.base_url) as ask:
            assert await ask("1") == "one"
            with anyio.fail_after(STUCK):
                assert await ask("2") == "two"
        assert not lost, "a turn was sent to a server that had said that it closes the connection"
        assert len(server.peers) == 2


# --- Names -----------------------------------------------------------------------------------------------------------

NO_NAMES = {"a label of 70 letters": "a" * 70 + ".example", "an empty label": "a..b"}


@pytest.mark.parametrize("case", NO_NAMES)
@pytest.mark.parametrize("whose", ["server", "proxy"])
async def test_a_host_name_that_cannot_be_encoded_is_refused_at_the_door(shell, case, whose):
    url, proxy = f"http://{NO_NAMES[case]}:9/v1", None
    if whose == "proxy":
        url, proxy = "http://example.invalid/v1", f"http://{NO_NAMES[case]}:9"
    with pytest.raises(shell.UserError, match="host is not valid"):
        async with shell.connect(url, proxy=proxy):
            pass
