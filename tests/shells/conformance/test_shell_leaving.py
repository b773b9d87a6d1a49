"""Leaving turns and sessions: early, by exception, by cancellation, at the end; and what goes on while nobody looks."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from kit.peers import CLOSE, PING, GoneError, Peer, completed, created, delta, event, frame, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import BeforeEvent, Fault, Silence
from turnwire.sansio.errors import (
    ConnectionLostError,
    SessionClosedError,
    TurnAbortedError,
    TurnTimeoutError,
)
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.websocket import CloseFrame, Pong

pytestmark = pytest.mark.anyio

PROMPTLY = 0.4
"""Seconds: less than any deadline here, more than a slow machine needs."""


async def hold(peer: Peer) -> None:
    """Begin a turn if there is one, and wait for the client to do something about it."""
    await peer.upgrade()
    if isinstance(await peer.item(), dict):
        await peer.send(created(), delta())
        await peer.end()
    else:
        await peer.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        await peer.end()


# --- Leaving a turn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
async def test_leaving_the_only_turn_aborts_the_connection_at_once(shell, begun):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        arrived.set()
        if begun:
            await peer.send(created())
        last.extend(await peer.end())

    arrived = anyio.Event()
    last: list = []
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            await arrived.wait()
            if begun:
                await anext(turn)
        with anyio.fail_after(PROMPTLY):
            await server.peers[0].has_ended.wait()
        assert last == [], "a closing handshake, where the server shall stop working at once"
        assert session.stats.failed == 1
        with pytest.raises(TurnAbortedError) as caught:
            await anext(turn)
        assert caught.value.cause is Cause.CANCELLED
        assert caught.value.verdict is (Verdict.UNSAFE if begun else Verdict.AMBIGUOUS)


async def test_after_an_abort_the_next_turn_opens_a_fresh_connection(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        for number in range(1, 4):
            async with session.create(model="m", input="count 100000") as turn:
                await anext(turn)
            assert (await session.respond(model="m", input="x")).output_text == "x"
            assert session.stats.connections == number + 1
        assert session.stats.orphans == 0


async def test_leaving_one_turn_of_several_abandons_it_and_the_others_go_on(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.message()
        await peer.send(created("stays", "resp_s"), created("leaves", "resp_l"))
        await left.wait()
        await peer.send(*[delta("late", "leaves")] * 5, delta("good", "stays"))
        await busy.wait()
        await peer.send(completed("leaves", "resp_l"))
        assert (await peer.message())["input"] == "again"
        await peer.answer("again", "leaves", "resp_2")
        await peer.send(completed("stays", "resp_s"))
        await peer.end_code()

    left, busy = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", stream_id="stays") as stays:
            async with session.create(input="x", stream_id="leaves") as leaves:
                await anext(leaves)
            left.set()
            assert [(await anext(stays)).type for _ in range(2)][1] == "response.output_text.delta"
            assert session.stats.orphans == 5
            async with session.create(input="again", stream_id="leaves") as again:
                assert session.stats.turns == 2, "the abandoned turn's lane was not kept busy"
                busy.set()
                assert [found.type async for found in again][-1] == "response.completed"
                assert again.response.output_text == "again"
            assert [found.type async for found in stays][-1] == "response.completed"
        assert session.stats.connections == 1
        assert session.stats.failed == 1


async def test_a_turn_left_before_it_was_sent_is_never_sent(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        assert (await peer.message())["input"] == "first"
        await left.wait()
        await peer.answer()
        assert (await peer.message())["input"] == "third"
        await peer.answer()
        await peer.end_code()

    left = anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="first", stream_id=None) as first:
            async with session.create(input="second", stream_id=None) as second:
                pass
            with pytest.raises(TurnAbortedError) as caught:
                await anext(second)
            assert (caught.value.phase, caught.value.verdict) == (Phase.LANE_WAIT, Verdict.SAFE)
            left.set()
            assert [found.type async for found in first][-1] == "response.completed"
        await session.respond(input="third")


async def test_leaving_after_a_failure_or_the_terminal_event_changes_nothing(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="x") as turn:
            async for _ in turn:
                pass
        assert session.stats.failed == 0
        assert (await session.respond(model="m", input="x")).output_text == "x"
        assert server.connections == 1


class OddError(BaseException):
    """As unusual as can be."""


@pytest.mark.parametrize("kind", [ValueError, OddError, StopAsyncIteration, KeyError])
@pytest.mark.parametrize("where", ["session", "turn", "turn beside others"])
async def test_an_exception_of_the_body_comes_out_as_it_went_in(shell, kind, where):
    async with raw_server(hold) as server:
        thrown = kind("mine")
        with pytest.raises(kind) as caught:  # noqa: PT012
            async with shell.connect(server.base_url) as session:
                if where == "session":
                    raise thrown
                async with session.create(input="x") as turn:
                    await anext(turn)
                    if where == "turn":
                        raise thrown
                    async with session.create(input="y", stream_id="other"):
                        raise thrown
        if kind is not StopAsyncIteration:  # A generator may not raise that one: contextlib's affair.
            assert caught.value is thrown
        with anyio.fail_after(5):
            await server.peers[0].has_ended.wait()
        if where != "session":
            assert not [item for item in server.peers[0].received if isinstance(item, CloseFrame)]


async def test_an_exception_group_of_the_body_stays_the_same_group(shell):
    group = ExceptionGroup("mine", [ValueError(1), KeyError(2)])
    async with raw_server(hold) as server:
        with pytest.raises(ExceptionGroup) as caught:
            async with shell.connect(server.base_url):
                raise group
        assert caught.value is group


async def test_a_failed_turn_is_no_group_and_names_its_turn(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())

    async with raw_server(script) as server:
        with pytest.raises(ConnectionLostError) as caught:  # noqa: PT012
            async with shell.connect(server.base_url) as session, session.create(input="x") as turn:
                async for _ in turn:
                    pass
        assert caught.value.response_id == "resp_1"


# --- Leaving a session -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True])
async def test_an_idle_session_closes_with_a_handshake(shell, used):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        if used:
            await peer.message()
            await peer.answer()
        codes.append(await peer.end_code())

    codes: list = []
    async with raw_server(script) as server:
        async with shell.connect(server.base_url) as session:
            if used:
                await session.respond(input="x")
        with anyio.fail_after(5):
            await server.peers[0].has_ended.wait()
        await anyio.wait_all_tasks_blocked()
    assert codes == [1000]


async def test_the_closing_handshake_is_bounded(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        found.extend(await peer.end(silent=True))

    found: list = []
    async with raw_server(script) as server:
        with anyio.fail_after(1):
            async with shell.connect(server.base_url, options=shell.SessionOptions(close_timeout=0.1)):
                pass
        await server.peers[0].has_ended.wait()
        await anyio.wait_all_tasks_blocked()
    assert [item.code for item in found] == [1000]


async def test_what_the_server_still_says_while_we_close_is_no_error(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        assert isinstance(await peer.item(), CloseFrame)
        await peer.send(event("error", error={"code": "late"}), delta(), frame(PING, b"late"))
        await peer.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        await peer.end()

    async with raw_server(script) as server, shell.connect(server.base_url):
        pass


async def test_a_busy_session_is_aborted_and_its_turns_fail_as_aborted(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("a"))
        await peer.message()
        last.extend(await peer.end())

    last: list = []
    errors: list[TurnAbortedError] = []
    async with raw_server(script) as server, anyio.create_task_group() as tasks:
        async with shell.connect(server.base_url) as session:

            async def consume(lane: str) -> None:
                async with session.create(input="x", stream_id=lane) as turn:
                    with pytest.raises(TurnAbortedError) as caught:  # noqa: PT012
                        async for _ in turn:
                            running.set()
                    errors.append(caught.value)

            running = anyio.Event()
            tasks.start_soon(consume, "a")
            await running.wait()
            tasks.start_soon(consume, "b")
            await anyio.wait_all_tasks_blocked()
            await session.aclose()
            with pytest.raises(SessionClosedError):
                await session.respond(input="x")
        with anyio.fail_after(5):
            await server.peers[0].has_ended.wait()
    assert not [item for item in last if isinstance(item, CloseFrame)]
    assert {(error.cause, error.phase) for error in errors} == {
        (Cause.CLIENT_CLOSED, Phase.STREAM),
        (Cause.CLIENT_CLOSED, Phase.AWAIT),
    }


async def test_aclose_twice_and_from_two_tasks(shell):
    async with serve() as server:
        async with shell.connect(server.base_url) as session:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.aclose)
                tasks.start_soon(session.aclose)
            await session.aclose()


async def test_use_after_the_end(shell):
    async with serve() as server:
        async with shell.connect(server.base_url) as session:
            unsent = session.create(model="m", input="x")
            async with session.create(model="m", input="x") as turn:
                pass
        with pytest.raises(SessionClosedError, match=r" — .* — "):
            await unsent.__aenter__()
        with pytest.raises(SessionClosedError, match=r" — .* — "):
            await session.respond(model="m", input="x")
        with pytest.raises(TurnAbortedError):
            await anext(turn)
        assert session.stats.connections == 1
        assert "x" not in repr(unsent)


async def test_a_turn_left_open_when_its_session_ends(shell):
    """Nobody should, and it hangs nothing."""
    async with raw_server(hold) as server:
        async with shell.connect(server.base_url) as session:
            turn = session.create(input="x")
            await turn.__aenter__()
            await anext(turn)
        with pytest.raises(TurnAbortedError) as caught:  # noqa: PT012
            while True:
                await anext(turn)
        assert caught.value.cause is Cause.CLIENT_CLOSED
        await turn.__aexit__(None, None, None)


# --- Cancellation ----------------------------------------------------------------------------------------------------


async def cancelled(backend, function) -> None:
    """Run the function as a task of the loop's own kind, and cancel it natively once everything has come to rest."""
    if backend.anyio_name == "asyncio":
        import asyncio

        task = asyncio.get_running_loop().create_task(function())
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(function)
            await anyio.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught


def native_timeout(backend, seconds: float):
    if backend.anyio_name == "asyncio":
        import asyncio

        return asyncio.timeout(seconds), TimeoutError
    import trio

    return trio.fail_after(seconds), trio.TooSlowError


async def test_a_consumer_that_gave_up_waiting_may_go_on_later(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        await gave_up.wait()
        await peer.send(delta("late"), completed())
        await peer.end_code()

    gave_up = anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", timeout=10.0) as turn:
            await anext(turn)
            for _ in range(3):
                with anyio.move_on_after(0.05) as scope:
                    await anext(turn)
                assert scope.cancelled_caught
            gave_up.set()
            assert (await anext(turn)).delta == "late"
            assert (await anext(turn)).terminal
        assert session.stats.connections == 1


async def test_native_cancellation_in_a_turn_aborts_the_connection(shell, backend):
    async def run() -> None:
        async with shell.connect(server.base_url) as session, session.create(input="x") as turn:
            async for _ in turn:
                pass

    async with raw_server(hold) as server:
        await cancelled(backend, run)
        with anyio.fail_after(5):
            await server.peers[0].has_ended.wait()
        assert len(server.peers[0].received) == 1


async def test_native_cancellation_of_one_turn_leaves_the_others(shell, backend):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.message()
        await gone.wait()
        await peer.answer(lane="stays")
        await peer.end_code()

    gone = anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", stream_id="stays") as stays:

            async def leaves() -> None:
                await session.respond(input="x", stream_id="leaves")

            await cancelled(backend, leaves)
            gone.set()
            with anyio.fail_after(PROMPTLY):
                assert [found.type async for found in stays][-1] == "response.completed"
        assert session.stats.connections == 1


@pytest.mark.parametrize("where", ["around the turn", "around the session", "around the wait"])
async def test_a_native_timeout(shell, backend, where):
    timeout, kind = native_timeout(backend, 0.1)
    async with raw_server(hold) as server:
        if where == "around the session":
            with pytest.raises(kind):
                async with _either(timeout), shell.connect(server.base_url) as session:
                    await session.respond(input="x")
        else:
            async with shell.connect(server.base_url) as session:
                if where == "around the turn":
                    with pytest.raises(kind):
                        async with _either(timeout):
                            await session.respond(input="x")
                else:
                    async with session.create(input="x") as turn:
                        await anext(turn)
                        await anext(turn)
                        with pytest.raises(kind):
                            async with _either(timeout):
                                await anext(turn)
        with anyio.fail_after(5):
            await server.peers[0].has_ended.wait()
        assert len(server.peers[0].received) == 1, "no closing handshake for a busy connection"


class _either:
    """Any context manager as an asynchronous one."""

    def __init__(self, manager):
        self.manager = manager

    async def __aenter__(self):
        if hasattr(self.manager, "__aenter__"):
            return await self.manager.__aenter__()
        return self.manager.__enter__()

    async def __aexit__(self, *exc):
        if hasattr(self.manager, "__aexit__"):
            return await self.manager.__aexit__(*exc)
        return self.manager.__exit__(*exc)


@pytest.mark.parametrize("stage", ["handshake", "TLS"])
async def test_cancelling_the_opening_leaves_nothing(shell, backend, stage):
    async def script(peer: Peer) -> None:
        await peer.end()

    async with raw_server(script) as server:

        async def run() -> None:
            async with shell.connect(server.base_url.replace("http", "https" if stage == "TLS" else "http")):
                pass

        await cancelled(backend, run)
        with anyio.fail_after(5):
            await server.peers[0].has_ended.wait()


@pytest.mark.parametrize("how", ["session", "model"])
async def test_what_leaves_the_body_is_not_lost_in_a_scope_that_is_cancelled(shell, how):
    async with serve() as server, AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
        opened = shell.connect(server.base_url) if how == "session" else shell.OpenAIResponsesWSModel("m", client)
        with pytest.raises((ValueError, ExceptionGroup)) as caught:  # noqa: PT012
            with anyio.CancelScope() as scope:
                async with opened:
                    scope.cancel()
                    raise ValueError("mine")
    assert "mine" in repr(caught.value)


async def test_cancelling_the_closing_still_closes(shell, backend):
    """Sending the close frame is shielded, and bounded."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.end(silent=True)

    async with raw_server(script) as server:

        async def run() -> None:
            async with shell.connect(server.base_url, options=shell.SessionOptions(close_timeout=0.1)):
                await anyio.sleep_forever()

        with anyio.fail_after(2):
            await cancelled(backend, run)
        await server.peers[0].has_ended.wait()


async def test_a_follower_takes_over_promptly_when_the_leader_is_cancelled(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        for _ in range(3):
            await peer.message()
        await gone.wait()
        await peer.answer(lane="follows")
        await peer.send(created("stays"))
        await peer.end()

    gone, done = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:

        async def leads() -> None:
            with leading:
                await session.respond(input="x", stream_id="leads")

        async def follows() -> None:
            await session.respond(input="x", stream_id="follows")
            done.set()

        async def stays() -> None:
            with pytest.raises(TurnAbortedError):
                await session.respond(input="x", stream_id="stays")

        leading = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            for function in (leads, follows, stays):
                tasks.start_soon(function)
                await anyio.wait_all_tasks_blocked()
            leading.cancel()
            await anyio.wait_all_tasks_blocked()
            gone.set()
            with anyio.fail_after(PROMPTLY):
                await done.wait()
            await session.aclose()
        assert session.stats.connections == 1


async def test_a_leader_that_has_its_events_hands_over(shell):
    """Its consumer goes off to do something else; whoever waits then, reads."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.message()
        await peer.send(created("leads"))
        await busy.wait()
        await peer.answer(lane="follows")
        await peer.end()

    busy, done = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:

        async def leads() -> None:
            async with session.create(input="x", stream_id="leads") as turn:
                await anext(turn)
                busy.set()
                await done.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leads)
            with anyio.fail_after(PROMPTLY):
                await session.respond(input="x", stream_id="follows")
            done.set()


async def test_cancellation_in_the_middle_of_a_large_message_spares_the_connection(shell, backend):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("stays"))
        await gone.wait()
        while (await peer.message())["stream_id"] != "after":
            pass
        await peer.answer(lane="after")
        await peer.send(completed("stays"))
        await peer.end_code()

    gone = anyio.Event()
    async with raw_server(script, receive_buffer=4096) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", stream_id="stays") as stays:
            await anext(stays)

            async def leaves() -> None:
                await session.respond(input="x" * 10_000_000, stream_id="large")

            await cancelled(backend, leaves)
            gone.set()
            await session.respond(input="x", stream_id="after")
            assert [found.type async for found in stays][-1] == "response.completed"
        assert session.stats.connections == 1


# --- While nobody looks ----------------------------------------------------------------------------------------------


async def test_pings_are_answered_while_no_turn_runs(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        for number in range(3):
            await peer.send(frame(PING, str(number).encode()))
            assert await peer.item() == Pong(str(number).encode())
        idle.set()
        await peer.message()
        await peer.answer()
        await peer.send(frame(PING, b"after"))
        assert await peer.item() == Pong(b"after")
        answered.set()
        await peer.end_code()

    idle, answered = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        await idle.wait()
        await session.respond(input="x")
        with anyio.fail_after(PROMPTLY):
            await answered.wait()


async def test_pings_are_answered_while_a_consumer_is_busy_elsewhere(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created(), frame(PING, b"1"))
        assert await peer.item() == Pong(b"1")
        await peer.send(frame(PING, b"2"))
        assert await peer.item() == Pong(b"2")
        answered.set()
        await peer.send(completed())
        await peer.end_code()

    answered = anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            await anext(turn)
            await answered.wait()
            assert (await anext(turn)).terminal


async def test_an_idle_connection_is_pinged(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        for _ in range(3):
            ping = await peer.item()
            await peer.send(frame(10, ping.payload))
        pinged.set()
        await peer.end_code()

    pinged = anyio.Event()
    async with raw_server(script) as server:
        async with shell.connect(server.base_url, options=shell.SessionOptions(ping_interval=0.05)):
            await pinged.wait()


@pytest.mark.parametrize("how", ["eof", "reset", "close", "no pong"])
@pytest.mark.parametrize("used", [False, True])
async def test_a_dead_idle_connection_is_noticed_and_the_next_turn_opens_another(shell, how, used):
    async def dies(peer: Peer) -> None:
        await peer.upgrade()
        if used:
            await peer.message()
            await peer.answer()
        await done.wait()
        if how == "reset":
            await peer.reset()
        elif how == "close":
            await peer.send(frame(CLOSE, (1001).to_bytes(2, "big")))
            await peer.end()
        elif how == "no pong":
            await peer.end()
        else:
            await peer.raw.send_eof()
            await peer.end()

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer("fresh")
        await peer.end_code()

    done = anyio.Event()
    options = shell.SessionOptions(ping_interval=0.05, ping_timeout=0.05) if how == "no pong" else None
    async with raw_server(dies, good) as server, shell.connect(server.base_url, options=options) as session:
        if used:
            await session.respond(input="x")
        done.set()
        while session._runtime._driver._links:  # Nothing public tells.
            await anyio.sleep(0.001)
        assert (await session.respond(input="x")).output_text == "fresh"
        assert session.stats.connections == 2
        assert session.stats.repeated == session.stats.failed == 0


async def test_a_connection_is_replaced_when_it_is_old_and_idle(shell):
    async with serve() as server:
        async with shell.connect(server.base_url, options=shell.SessionOptions(max_age=1e-9)) as session:
            for _ in range(3):
                await anyio.sleep(0.002)  # uvloop's clock counts milliseconds.
                assert (await session.respond(model="m", input="x")).output_text == "x"
            assert session.stats.repeated == session.stats.failed == 0
            assert session.stats.connections >= 3


async def test_a_connection_is_replaced_without_waiting_for_the_servers_close_frame(shell):
    async def never_closes(peer: Peer) -> None:
        await peer.upgrade()
        try:
            await peer.message()
            await peer.answer()
        except GoneError:  # It was too old before its first turn.
            pass
        await over.wait()

    over = anyio.Event()
    options = shell.SessionOptions(max_age=1e-9, close_timeout=60.0)
    async with raw_server(*[never_closes] * 20) as server:
        async with shell.connect(server.base_url, options=options) as session:
            for _ in range(3):
                await anyio.sleep(0.002)  # uvloop's clock counts milliseconds.
                await session.respond(input="x")
            assert session.stats.connections >= 3
            over.set()  # The last one is closed in the ordinary way, if its clock has not gone on yet.


async def test_a_silenced_lane_does_not_stop_the_others(shell):
    faults = [Fault(BeforeEvent(2), Silence(), marker="silent")]
    async with serve(faults=faults) as server, shell.connect(server.base_url) as session:
        async with session.create(
            model="m", input="x", stream_id="m", metadata={"marker": "silent"}, timeout=0.3
        ) as silent:
            for _ in range(5):
                await session.respond(model="m", input="x", stream_id="good")
            with pytest.raises(TurnTimeoutError):
                async for _ in silent:
                    pass


async def test_two_sessions_do_not_disturb_each_other(shell):
    async with serve() as server:
        async with shell.connect(server.base_url) as one, shell.connect(server.base_url) as two:
            async with one.create(model="m", input="a b") as left:
                await anext(left)
                assert (await two.respond(model="m", input="c")).output_text == "c"
                assert (await two.respond(model="m", input="d")).output_text == "d"
            assert two.stats.connections == 1


async def test_retries_may_be_switched_off_for_a_block(shell):
    async def cut(peer: Peer) -> None:
        await peer.upgrade()
        await peer.read(1)
        await peer.reset()

    options = shell.SessionOptions(max_request_size=None)
    async with raw_server(cut) as server, shell.connect(server.base_url, options=options) as session:
        with shell.websocket_pre_event_retries_disabled():
            with pytest.raises(ConnectionLostError) as caught:
                await session.respond(input="x" * 30_000_000)
        assert (caught.value.phase, caught.value.verdict) == (Phase.SEND, Verdict.SAFE)
        assert session.stats.repeated == 0
