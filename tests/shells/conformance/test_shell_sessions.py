"""What an application does with a session beside its turns: retries of its own, draining, leaving, watching."""

from __future__ import annotations

import pytest
from turnwire.aio.loopback import BeforeRun, Cut, Error, Fault, serve
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
