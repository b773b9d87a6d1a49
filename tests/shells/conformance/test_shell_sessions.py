"""What an application does with a session beside its turns: retries of its own, draining, leaving, watching."""

from __future__ import annotations

from typing import get_args

import anyio
import pytest
from kit.peers import Peer, completed, created, raw_server
from kit.strict_server import serve
from kit.waiting import until_disconnected
from turnwire.aio.loopback import AfterEvent, BeforeEvent, BeforeRun, Cut, Error, Fault, Send, Silence
from turnwire.sansio.notices import NoticeName
from turnwire.sansio.replay import Verdict

pytestmark = pytest.mark.anyio


# --- Failures ---------------------------------------------------------------------------------------------------------


async def test_a_turn_that_is_refused_before_it_is_sent_has_a_verdict(shell):
    options = shell.SessionOptions(max_named_lanes=0)
    async with serve() as server, shell.connect(server.base_url, options=options) as session:
        with pytest.raises(shell.LaneLimitError) as caught:
            await session.respond(model="m", input="x", stream_id="a")
        assert caught.value.verdict is Verdict.SAFE
        with pytest.raises(shell.InvalidStreamIdError) as invalid:
            await session.respond(model="m", input="x", stream_id="no spaces")
        assert invalid.value.verdict is Verdict.SAFE
        await session.aclose()
        with pytest.raises(shell.SessionClosedError) as closed:
            await session.respond(model="m", input="x")
        assert closed.value.verdict is Verdict.SAFE
        assert server.ledger == []


async def test_a_failure_says_how_long_the_server_asks_to_wait(shell):
    fault = Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after": "7200"}))
    async with serve(faults=[fault]) as server, shell.connect(server.base_url) as session:
        with pytest.raises(shell.TurnError) as caught:
            await session.respond(model="m", input="x")
        assert caught.value.retry_after == 7200.0


# --- Retries ----------------------------------------------------------------------------------------------------------


async def test_the_caller_decides_whether_a_turn_that_may_have_run_is_repeated(shell):
    asked = []

    def ask(failure):
        asked.append((failure.verdict, failure.phase.name))
        return len(asked) < 2

    policy = shell.RecoveryPolicy(repeat_ambiguous_stateless=True, initial_delay=0.01, budget=60.0, should_repeat=ask)
    faults = [Fault(BeforeRun(), Cut(), connection=number) for number in (1, 2)]
    options = shell.SessionOptions(recovery=policy)
    async with serve(faults=faults) as server, shell.connect(server.base_url, options=options) as session:
        with pytest.raises(shell.ConnectionLostError) as caught:
            await session.respond(model="m", input="x")
        assert asked == [(Verdict.AMBIGUOUS, "AWAIT")] * 2
        assert caught.value.verdict is Verdict.AMBIGUOUS
        assert session.stats.repeated == 1
        assert (await session.respond(model="m", input="x")).output_text == "x"


# --- Draining ---------------------------------------------------------------------------------------------------------


async def test_a_session_that_drains_ends_when_its_turns_have_ended(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        await refused.wait()
        await peer.send(completed())
        codes.append(await peer.end_code())

    async def drain() -> None:
        await session.drain()
        drained.set()

    refused, drained, codes = anyio.Event(), anyio.Event(), []
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with anyio.create_task_group() as tasks, session.create(input="x") as turn:
            await anext(turn)
            tasks.start_soon(drain)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(shell.SessionClosedError) as caught:
                await session.respond(input="late")
            assert caught.value.verdict is Verdict.SAFE
            assert not drained.is_set()
            refused.set()
            assert [event.type async for event in turn][-1] == "response.completed"
            await drained.wait()
        assert codes == [1000]
        await session.drain()


async def test_a_session_that_drains_for_too_long_aborts_what_is_left(shell):
    fault = Fault(BeforeRun(), Silence())
    async with serve(faults=[fault]) as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="x") as turn:
            await session.drain(0.05)
            with pytest.raises(shell.TurnAbortedError) as caught:
                await anext(turn)
            assert caught.value.verdict in (Verdict.SAFE, Verdict.AMBIGUOUS)
        with pytest.raises(shell.SessionClosedError):
            await session.respond(model="m", input="late")


async def test_a_session_goes_on_draining_if_nobody_waits_for_it(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="count 5") as turn:
            await anext(turn)
            with anyio.move_on_after(0.01):
                await session.drain()
            assert [event.type async for event in turn][-1] == "response.completed"
        await until_disconnected(session)
        with pytest.raises(shell.SessionClosedError):
            await session.respond(model="m", input="late")


# --- Leaving a turn ---------------------------------------------------------------------------------------------------


async def test_leaving_the_only_turn_keeps_what_is_in_the_connections_memory_only(shell):
    hangs = Fault(AfterEvent(1), Silence(), request=2)
    async with serve(faults=[hangs]) as server, shell.connect(server.base_url) as session:
        first = await session.respond(model="m", input="first", stream_id="a", store=False)
        async with session.create(model="m", input="left", stream_id="b") as turn:
            await anext(turn)
        assert turn.verdict is Verdict.UNSAFE
        again = await session.respond(
            model="m", input="again", stream_id="a", store=False, previous_response_id=first.id
        )
        assert again.output_text == "again"
        assert session.stats.connections == 1


@pytest.mark.parametrize(("option", "leave"), [("abort", None), (None, "abort"), ("abandon", "abort")])
async def test_a_caller_may_have_the_connection_aborted_all_the_same(shell, option, leave):
    options = shell.SessionOptions(leave=option)
    async with serve() as server, shell.connect(server.base_url, options=options) as session:
        await session.respond(model="m", input="first", stream_id="a", store=False)
        async with session.create(model="m", input="count 100000", stream_id="b", leave=leave) as turn:
            await anext(turn)
        await session.respond(model="m", input="again", stream_id="a", store=False)
        assert session.stats.connections == 2


async def test_a_caller_may_keep_the_connection(shell):
    hangs = Fault(AfterEvent(1), Silence(), request=1)
    async with serve(faults=[hangs]) as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="left", leave="abandon") as turn:
            await anext(turn)
        assert (await session.respond(model="m", input="again", leave="abandon")).output_text == "again"
        assert session.stats.connections == 1


# --- Watching ---------------------------------------------------------------------------------------------------------


async def test_hooks_and_the_log_say_what_happens_without_secrets(shell, caplog):
    caplog.set_level("INFO", logger="turnwire")
    told: list[str] = []

    def broken(notice) -> None:
        raise ValueError("hush")

    faults = [Fault(BeforeRun(), Cut(), connection=1)]
    async with serve(faults=faults, api_key="hush") as server:
        options = shell.SessionOptions(
            recovery=shell.RecoveryPolicy(initial_delay=0.01, repeat_ambiguous_stateless=True)
        )
        async with shell.connect(server.base_url, api_key="hush", options=options) as session:
            for name in get_args(NoticeName):
                session.on(name, lambda notice: told.append(notice.name))
            session.on("connection_lost", broken)
            assert (await session.respond(model="m", input="hush")).output_text == "hush"
            with pytest.raises(shell.UserError):
                session.on("no such thing", print)
    assert told == ["turn_repeated", "connection_lost", "connection_opened", "connection_closed"]
    lines = [record.getMessage() for record in caplog.records if record.name == "turnwire.session"]
    assert [next(word for word in ("open (", "repeated (", "lost") if word in line) for line in lines[:3]] == [
        "open (",
        "repeated (",
        "lost",
    ]
    assert "the hook for connection_lost raised ValueError" in lines
    assert "hush" not in caplog.text


async def test_what_the_server_says_of_its_rate_limits_is_data(shell):
    headers = {"X-RateLimit-Remaining-Tokens": "12", "retry-after": "7200", "set-cookie": "hush"}
    frame = {"type": "codex.rate_limits", "primary": {"used_percent": 3}}
    faults = [
        Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers=headers), request=1),
        Fault(BeforeEvent(2), Send(frame), request=2),
    ]
    async with serve(faults=faults) as server, shell.connect(server.base_url) as session:
        assert (session.rate_limits.headers, session.rate_limits.events) == ({}, {})
        with pytest.raises(shell.TurnError):
            await session.respond(model="m", input="x")
        await session.respond(model="m", input="x")
        assert session.rate_limits.headers == {"x-ratelimit-remaining-tokens": "12"}
        assert session.rate_limits.events["codex.rate_limits"]["primary"] == {"used_percent": 3}
