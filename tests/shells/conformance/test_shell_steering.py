"""Turns that are steered, over sockets: on every backend, against the loopback server and against one that is odd."""

from __future__ import annotations

import anyio
import msgspec
import pytest
from kit.peers import Peer, completed, created, delta, event, raw_server
from kit.strict_server import serve
from turnwire.aio.loopback import AwaitInput, Call
from turnwire.sansio.dialect import OPENAI, Support
from turnwire.sansio.errors import ConnectionLostError, InvalidInputError, SteeringNotSupportedError, TurnTimeoutError
from turnwire.sansio.replay import Verdict
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.timeouts import Timeouts

pytestmark = pytest.mark.anyio

MODEL = "gpt-6-sol"
INJECTING = msgspec.structs.replace(OPENAI, name="mine", injecting=Support.YES)
ITEMS = [{"type": "agent_message", "author": "/root", "recipient": "/root/a", "content": []}]
SLOW = 0.002
"""Seconds before each event: time to steer a response that runs."""


async def test_one_iterator_has_the_steered_response_and_its_successor(shell):
    async with (
        serve(latency=SLOW, reply=["one two three", "short"]) as server,
        shell.connect(server.base_url) as session,
    ):
        async with session.create(model=MODEL, input="go") as turn:
            outcome, types = None, []
            async for each in turn:
                types.append(each.type)
                if outcome is None:
                    outcome = await turn.steer("Make it shorter")
                    assert (outcome.state, outcome.verdict) == ("accepted", Verdict.UNSAFE)
        assert [kind for kind in types if kind in ("response.created", "response.completed")] == [
            "response.created",
            "response.completed",
            "response.created",
            "response.completed",
        ]
        assert turn.result().output_text == "short"
        assert [response.output_text for response in turn.responses] == ["one two three", "short"]
        assert turn.steers == [[{"type": "message", "role": "user", "content": "Make it shorter"}], []]
        assert (outcome.state, outcome.successor_id, outcome.is_settled) == ("committed", turn.result().id, True)
        assert session.stats.turns == session.stats.completed == 1
    assert [entry.outcome for entry in server.ledger] == ["completed", "completed"]


async def test_the_turn_that_fills_the_stubs_goes_ahead_of_those_that_wait(shell):
    replies = [Call("f", {}), "filled", "behind"]
    async with serve(latency=SLOW, reply=replies) as server, shell.connect(server.base_url) as session:
        async with anyio.create_task_group() as tasks, session.create(model=MODEL, input="go", stream_id="a") as turn:
            behind = []

            async def wait_behind():
                behind.append(await session.respond(model=MODEL, input="later", stream_id="a"))

            outcome = await turn.steer([{"role": "user", "content": "left"}])
            tasks.start_soon(wait_behind)
            await outcome.settled()
            assert outcome.state == "pending"
            assert [kind.type async for kind in turn][-1] == "response.steer.pending"
            stubs = [{**stub, "output": "done"} for stub in outcome.required_input]
            filled = await session.respond(model=MODEL, previous_response_id=turn.response_id, input=stubs)
            assert (filled.output_text, outcome.state, outcome.successor_id) == ("filled", "committed", filled.id)
            assert behind == []
        assert behind[0].output_text == "behind"


async def test_a_steer_that_comes_too_late_gives_its_input_back(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with session.create(model=MODEL, input="go") as turn:
            async for _ in turn:
                pass
            outcome = await turn.steer("too late")
            await outcome.settled()
        assert (outcome.state, outcome.code, outcome.input) == ("failed", "response_already_completed", "too late")
        assert outcome.verdict is Verdict.SAFE


async def test_what_cannot_be_steered_raises_and_the_turn_goes_on(shell):
    async with serve(latency=SLOW) as server, shell.connect(server.base_url) as session:
        async with session.create(model="gpt-5.4", input="a b c") as turn:
            with pytest.raises(InvalidInputError):
                await turn.steer([{"role": "system", "content": "x"}])
            outcome = await turn.steer("x")
            assert (outcome.state, outcome.code) == ("failed", "steering_not_supported")
            with pytest.raises(SteeringNotSupportedError):
                await turn.inject([{"type": "agent_message"}])
            async for _ in turn:
                pass
        assert turn.result().output_text == "a b c"


async def test_a_server_that_does_not_know_steering_refuses_it_once(shell):
    async with serve(latency=SLOW, dialect="no-lanes") as server, shell.connect(server.base_url) as session:
        async with session.create(model=MODEL, input="a b c") as turn:
            outcome = await turn.steer("x")
            assert (outcome.state, outcome.code) == ("failed", "unsupported_event_type")
            with pytest.raises(SteeringNotSupportedError):
                await turn.steer("x")
            async for _ in turn:
                pass
        assert turn.result().status == "completed"


@pytest.mark.parametrize("accept", [True, False])
async def test_the_end_of_the_connection_leaves_the_outcome_unknown(shell, accept):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        await peer.message()
        if accept:
            await peer.send(event("response.steer.accepted", steer={"id": "steer_1", "previous_response_id": "resp_1"}))
        await peer.reset()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(model=MODEL, input="go") as turn:
            outcome = await turn.steer("left")
            await outcome.settled()
            assert outcome.state == "unknown"
            assert outcome.verdict is (Verdict.UNSAFE if accept else Verdict.AMBIGUOUS)
            with pytest.raises(ConnectionLostError) as caught:
                async for _ in turn:
                    pass
            assert caught.value.verdict is Verdict.UNSAFE
    assert len(server.peers) == 1


async def test_a_successor_that_never_comes_ends_the_turn_in_time(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created(), event("response.incomplete", response=steered))
        await peer.end()

    steered = {"id": "resp_1", "status": "incomplete", "output": [], "incomplete_details": {"reason": "steered"}}
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(model=MODEL, input="go", timeout=Timeouts(receive=0.05)) as turn:
            with pytest.raises(TurnTimeoutError, match="did not begin"):
                async for _ in turn:
                    pass
            assert [response.status for response in turn.responses] == ["incomplete"]


async def test_a_task_that_is_cancelled_leaves_the_steer_where_it_is(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        await peer.message()
        steered.set()
        await answer.wait()
        await peer.send(event("response.steer.accepted", steer={"id": "steer_1", "previous_response_id": "resp_1"}))
        await peer.send(completed(), created(response_id="resp_2"), delta(), completed(response_id="resp_2", text="on"))
        await peer.end()

    steered, answer = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(model=MODEL, input="go") as turn:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(turn.steer, "left")
                await steered.wait()
                tasks.cancel_scope.cancel()
            (outcome,) = turn.outcomes
            assert outcome.state == "sent"
            answer.set()
            async for _ in turn:
                pass
            assert (outcome.state, turn.result().output_text) == ("committed", "on")


async def test_a_response_gets_what_it_waits_for(shell):
    call = [Call("f", {}), AwaitInput(), "rain"]
    options = SessionOptions(dialect=INJECTING)
    async with serve(reply=[call]) as server, shell.connect(server.base_url, options=options) as session:
        async with session.create(model=MODEL, input="go", multi_agent={"enabled": True}, tools=[]) as turn:
            async for each in turn:
                if each.type == "response.output_item.done" and each.item.type == "function_call":
                    output = {"type": "function_call_output", "call_id": each.item.call_id, "output": "x"}
                    outcome = await turn.inject([output])
                    assert outcome.state == "committed"
        assert turn.result().output_text == "rain"


async def test_items_are_injected(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        for answer in ("created", "failed"):
            message = await peer.message()
            assert message == {"type": "response.inject", "response_id": "resp_1", "input": ITEMS}
            error = {"code": "response_not_found", "message": "no"}
            await peer.send(event(f"response.inject.{answer}", response_id="resp_1", error=error, input=ITEMS))
        await peer.send(completed(text="done"))
        await peer.end()

    options = SessionOptions(dialect=INJECTING)
    async with raw_server(script) as server, shell.connect(server.base_url, options=options) as session:
        async with session.create(model=MODEL, input="go") as turn:
            first, second = await turn.inject(ITEMS), await turn.inject(iter(ITEMS))
            assert (first.state, second.state, second.code) == ("committed", "failed", "response_not_found")
            async for _ in turn:
                pass
        assert turn.result().output_text == "done"
    assert server.peers[0].headers["openai-beta"] == "responses_multi_agent=v1"
