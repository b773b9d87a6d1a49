"""What became of a response, over real sockets: from a turn's failure to its response (PROTOCOL.md, "Retrieval")."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from kit.peers import Peer, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import AfterEvent, BeforeRun, Cut, Error, Fault, Silence

pytestmark = pytest.mark.anyio

TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "http"])


def quick(shell, **options):
    """Options with which nothing waits long."""
    return shell.SessionOptions(recovery=shell.RecoveryPolicy(initial_delay=0.01), **options)


def text(events) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


@TRANSPORTS
async def test_a_turn_that_was_cut_off_is_retrieved_whole(shell, transport):
    faults = [Fault(AfterEvent(5), Cut(), connection=1), Fault(BeforeRun(), Error(503), connection=2)]
    async with serve(faults=faults) as server:
        async with shell.connect(server.base_url, transport=transport, options=quick(shell)) as session:
            with pytest.raises(shell.ConnectionLostError) as caught:
                await session.respond(model="m", input="one two three", store=True)
            error = caught.value
            assert (error.verdict, error.sequence_number) == (shell.Verdict.UNSAFE, 4)
            response = await session.retrieve(error.response_id)
            assert (response.id, response.status, response.output_text) == (
                error.response_id,
                "completed",
                "one two three",
            )
            assert (session.stats.retrievals, session.stats.turns) == (2, 1)
            assert [entry.outcome for entry in server.ledger] == ["cut"]
            async with AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
                assert response.to_openai() == await client.responses.retrieve(error.response_id)


async def test_a_turn_in_the_background_goes_on_where_it_was_cut(shell):
    """The creating request is cut after its fifth event, the first retrieval after its second."""
    faults = [Fault(AfterEvent(5), Cut(), connection=2), Fault(AfterEvent(2), Cut(reset=True), connection=3)]
    async with serve(faults=faults) as server, shell.connect(server.base_url, options=quick(shell)) as session:
        seen = []

        async def run(turn):
            async with turn:
                async for event in turn:
                    seen.append(event)

        turn = session.create(model="m", input="one two three", background=True)
        with pytest.raises(shell.ConnectionLostError) as caught:
            await run(turn)
        error = caught.value
        assert (error.verdict, error.sequence_number, turn.transport) == (shell.Verdict.UNSAFE, 4, "http")
        async for event in session.retrieve_stream(error.response_id, starting_after=error.sequence_number):
            seen.append(event)
        assert [event.sequence_number for event in seen] == list(range(12))
        assert text(seen) == seen[-1].response.output_text == "one two three"
        assert (seen[-1].type, session.stats.retrievals) == ("response.completed", 2)
        async with AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
            stream = await client.responses.retrieve(error.response_id, stream=True, starting_after=4)
            assert [event.to_dict() async for event in stream] == [event.to_dict() for event in seen[5:]]


async def test_a_response_is_followed_while_it_is_made(shell):
    async with serve(latency=0.002) as server, shell.connect(server.base_url, transport="http") as session:
        async with AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
            made = await client.responses.create(model="m", input="count 20", background=True)
        assert made.status in ("queued", "in_progress")
        assert (await session.retrieve(made.id)).status in ("queued", "in_progress")
        async with aclosing(session.retrieve_stream(made.id)) as events:
            first = await anext(events)
        assert (first.type, first.sequence_number) == ("response.created", 0)
        rest = [event async for event in session.retrieve_stream(made.id, starting_after=0)]
        assert [event.sequence_number for event in rest] == list(range(1, 29))
        assert (await session.retrieve(made.id)).output_text == rest[-1].response.output_text == text(rest)


async def test_it_goes_through_a_unix_socket(shell, tmp_path):
    async with serve(path=str(tmp_path / "s")) as server, shell.connect(server.base_url) as session:
        response = await session.respond(model="m", input="x")
        assert (await session.retrieve(response.id)).output_text == "x"


async def test_a_turn_that_its_client_left_was_cancelled(shell):
    async with serve(latency=0.01) as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="count 50") as turn:
            await anext(turn)
        response_id = turn.evidence.response_id
        while (response := await session.retrieve(response_id)).status == "in_progress":
            await anyio.sleep(0.005)
        assert response.status == "cancelled"


async def test_what_was_not_stored_is_not_found(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        response = await session.respond(model="m", input="x", store=False)
        for response_id in (response.id, "../responses", "a b?c#d", "é"):
            with pytest.raises(shell.ResponseNotFoundError) as caught:
                await session.retrieve(response_id)
            assert (caught.value.response_id, caught.value.status) == (response_id, 404)
        stored = await session.respond(model="m", input="x")
        with pytest.raises(shell.RetrievalError, match="not created with background=true"):
            await anext(session.retrieve_stream(stored.id))


async def test_a_deadline_and_a_server_that_is_silent(shell):
    faults = [Fault(BeforeRun(), Silence(), connection=2)]
    async with serve(faults=faults) as server, shell.connect(server.base_url) as session:
        response = await session.respond(model="m", input="x")
        with pytest.raises(shell.RetrievalTimeoutError):
            await session.retrieve(response.id, timeout=0.05)
        assert (await session.retrieve(response.id, timeout=5)).status == "completed"


async def test_a_caller_that_is_cancelled_leaves_nothing(shell):
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.end_code()

    async with raw_server(silent) as server:
        async with shell.connect(server.base_url, transport="http") as session:
            with anyio.move_on_after(0.05) as scope:
                await session.retrieve("resp_1")
            assert scope.cancelled_caught


async def test_no_request_is_sent_after_the_end(shell):
    async with serve() as server:
        async with shell.connect(server.base_url) as session:
            pass
        with pytest.raises(shell.SessionClosedError):
            await session.retrieve("resp_1")
        with pytest.raises(shell.SessionClosedError):
            await anext(session.retrieve_stream("resp_1"))
