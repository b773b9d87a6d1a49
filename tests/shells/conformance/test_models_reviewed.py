"""What a reviewer found in the WebSocket model: scopes inside scopes, closing beside calls, and use without a scope.

Where a test says nothing else, the model is in no scope: every wait runs the tasks that are needed meanwhile.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager

import anyio
import kit.models
import pytest
from kit.models import WEBSOCKET, call_of
from kit.peers import PING, PONG, Peer, completed, created, delta, frame, raw_server
from kit.strict_server import serve
from turnwire.sansio.websocket import CloseFrame, Ping, Pong

pytestmark = pytest.mark.anyio

STUCK = 2.0
"""Seconds after which something counts as hanging."""
LARGE = "x" * 16_000_000
"""Several times what sockets take while the peer does not read."""
COUNT = 10
"""Events of a turn beside one whose message is large."""


def model_of(shell, server, **options):
    return kit.models.model_of(shell, WEBSOCKET, server, websocket_options=shell.SessionOptions(**options))


async def ask(shell, model, text, lane=None, **settings) -> str:
    response = await model.on_lane(lane).get_response(*call_of(shell, text, **settings))
    return response.output[0].content[0].text


def stream(shell, model, text, lane=None):
    return aclosing(model.on_lane(lane).stream_response(*call_of(shell, text)))


@asynccontextmanager
async def promptly(what: str, seconds: float = STUCK):
    with anyio.move_on_after(seconds) as scope:
        yield
    assert not scope.cancelled_caught, f"not over after {seconds:g} seconds: {what}"


# --- Scopes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", [None, "other"])
async def test_each_scope_of_a_model_closes_the_connection_and_a_later_call_opens_another(shell, lane):
    async with serve() as server, model_of(shell, server) as model:
        async with model:
            assert await ask(shell, model, "first", lane) == "first"
            async with model.on_lane(lane):
                assert await ask(shell, model, "on the same", lane) == "on the same"
            assert await ask(shell, model, "goes on", lane) == "goes on"
        assert [entry.connection for entry in server.ledger] == [1, 1, 2]


async def test_a_scope_of_a_model_may_be_left_by_another_task_than_entered_it(shell):
    async with serve() as server, model_of(shell, server) as model:

        async def enter() -> None:
            await model.__aenter__()
            assert await ask(shell, model, "entered") == "entered"

        async def leave() -> None:
            await model.__aexit__(None, None, None)

        for one in (enter, leave):
            async with promptly(one.__name__), anyio.create_task_group() as tasks:
                tasks.start_soon(one)
        assert [entry.connection for entry in server.ledger] == [1]


async def test_a_scope_entered_after_a_first_call_answers_pings_between_calls(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        await entered.wait()
        await peer.send(frame(PING, b"there?"))
        while not isinstance(found := await peer.item(), Pong):
            pass
        assert found.payload == b"there?"
        answered.set()
        await peer.end_code()

    entered, answered = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, model_of(shell, server) as model:
        await ask(shell, model, "x")
        async with model:
            entered.set()
            async with promptly("a ping between calls is not answered"):
                await answered.wait()


# --- Closing ---------------------------------------------------------------------------------------------------------


async def test_closing_the_model_does_not_disturb_a_call_that_begins_meanwhile(shell):
    async def first(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer("one")
        while not isinstance(await peer.item(), CloseFrame):
            pass
        closing.set()
        await peer.end(silent=True)

    async def second(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created(), delta())
        await closed.wait()
        await peer.send(completed(text="two"))
        await peer.end_code()

    closing, closed = anyio.Event(), anyio.Event()
    async with raw_server(first, second) as server, model_of(shell, server, close_timeout=0.3) as model:

        async def close() -> None:
            await model.close()
            closed.set()

        assert await ask(shell, model, "1") == "one"
        async with promptly("a call that began while the model was being closed"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(close)
                await closing.wait()
                assert await ask(shell, model, "2") == "two"


def without_close_frame(over: anyio.Event):
    """Scripts that answer turns, and close frames only by hanging up when it is over."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        while not isinstance(found := await peer.item(), CloseFrame):
            await peer.answer(found["input"][0]["content"])
        await over.wait()

    return script


async def test_calls_with_different_headers_complete_side_by_side(shell):
    over = anyio.Event()
    async with raw_server(without_close_frame(over)) as server, model_of(shell, server, close_timeout=0.1) as model:

        async def call(number: int) -> None:
            answers[number] = await ask(shell, model, str(number), extra_headers={"x-n": str(number)})

        answers: dict[int, str] = {}
        await call(0)
        async with promptly("calls with different headers"):
            async with anyio.create_task_group() as tasks:
                for number in range(1, 6):
                    tasks.start_soon(call, number)
        assert answers == {number: str(number) for number in range(6)}
        assert sorted(peer.headers["x-n"] for peer in server.peers) == ["0", "1", "2", "3", "4", "5"]
        over.set()


async def test_a_call_with_other_headers_does_not_wait_for_the_old_connections_close_frame(shell):
    over = anyio.Event()
    async with raw_server(without_close_frame(over)) as server, model_of(shell, server, close_timeout=60.0) as model:
        async with promptly("a call on a new connection, while the old one's server does not answer a close frame"):
            for text in ("0", "1", "2"):
                assert await ask(shell, model, text, extra_headers={"x-n": text}) == text
        assert [peer.headers["x-n"] for peer in server.peers] == ["0", "1", "2"]
        over.set()


# --- Deadlines that passed while nobody waited -----------------------------------------------------------------------


@pytest.mark.parametrize("which", ["stall_timeout", "ping_timeout"])
async def test_what_came_while_nobody_waited_counts_although_the_deadline_passed(shell, which):
    """The deadline is that of a wait that was given up; the next wait looks into the socket first."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("stays", "resp_s"))
        await peer.message()
        ping = await peer.item() if which == "ping_timeout" else None
        expected.set()
        await left.wait()
        if isinstance(ping, Ping):
            await peer.send(frame(PONG, ping.payload))
        await peer.send(delta("news", "stays"), completed("stays", "resp_s", text="news"))
        sent.set()
        await peer.end()

    limit = 0.5
    options = {"stall_timeout": limit} if which == "stall_timeout" else {"ping_interval": 0.1, "ping_timeout": limit}
    expected, left, sent = anyio.Event(), anyio.Event(), anyio.Event()
    async with raw_server(script) as server, model_of(shell, server, **options) as model:

        async def leaves() -> None:
            with scope:
                await ask(shell, model, "y", "leaves")

        scope = anyio.CancelScope()
        async with stream(shell, model, "x", "stays") as stays:
            await anext(stays)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(leaves)
                await expected.wait()
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
            left.set()
            await sent.wait()
            await anyio.sleep(limit + 0.2)  # The deadline passes, and nobody waits.
            assert [event.type async for event in stays][-1] == "response.completed"
        assert len(server.peers) == 1


# --- Tasks that a wait runs ------------------------------------------------------------------------------------------


async def test_a_consumer_gets_its_events_while_another_turns_slow_upload_goes_on(shell):
    """Its wait may have begun the upload; it waits for the chunk that is being written, and for no more."""

    async def script(peer: Peer) -> None:
        nonlocal read
        await peer.upgrade()
        await peer.message()
        await peer.send(created("reads", "resp_r"))
        for number in range(1, COUNT + 1):
            while not read or len(got) < number - 1:  # Slowly, and only until the last event has been taken.
                if read < len(LARGE):
                    read += len(await peer.read())
                await anyio.sleep(0.005)
            await peer.send(delta("w", "reads"))
        await peer.send(completed("reads", "resp_r", text="w" * COUNT))
        await done.wait()
        while await peer.read():
            pass

    read = 0
    got: list[str] = []
    done = anyio.Event()
    async with raw_server(script, receive_buffer=65536) as server, model_of(shell, server) as model:
        async with anyio.create_task_group() as tasks:
            async with stream(shell, model, "x", "reads") as events:
                await anext(events)
                tasks.start_soon(ask, shell, model, LARGE, "uploads")
                async for event in events:
                    if event.type == "response.output_text.delta":
                        got.append(event.delta)
            behind = read
            done.set()
            tasks.cancel_scope.cancel()
    assert len(got) == COUNT
    assert behind < len(LARGE) / 2, "the events were held back until most of another turn's message had been written"


@pytest.mark.parametrize("stage", ["opening", "uploading"])
async def test_a_cancelled_call_sees_a_bare_cancellation(shell, stage):
    """And not a group of it and those of the tasks that its wait ran."""

    async def script(peer: Peer) -> None:
        if stage == "opening":
            await peer.request()
            begun.set()
            await peer.end()
        else:
            await peer.upgrade()
            await peer.message()
            await peer.answer()
            await peer.read(1000)
            begun.set()
            await cancelled.wait()
            while await peer.read():  # Let the chunk out that is being written.
                pass

    begun, cancelled = anyio.Event(), anyio.Event()
    seen: list[BaseException] = []
    async with raw_server(script, receive_buffer=4096) as server:
        async with model_of(shell, server) as model:

            async def call() -> None:
                try:
                    await ask(shell, model, LARGE)
                except BaseException as exc:
                    seen.append(exc)
                    raise

            if stage == "uploading":
                await ask(shell, model, "first")
            async with promptly("a cancelled call"):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(call)
                    await begun.wait()
                    await anyio.wait_all_tasks_blocked()
                    tasks.cancel_scope.cancel()
                    cancelled.set()
    assert [type(exc) for exc in seen] == [anyio.get_cancelled_exc_class()]
