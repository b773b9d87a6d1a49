"""The unmodified ``openai`` package against the loopback server, over real sockets.

Its WebSocket client (``responses.connect()``) is built on asyncio; its HTTP client also runs on trio.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.to_thread
import openai
import pytest
from kit.strict_server import serve
from openai import AsyncOpenAI, OpenAI
from openai.resources.responses.responses import AsyncResponsesConnection
from openai.types.responses import Response, ResponseCompletedEvent, ResponseTextDeltaEvent
from openai.types.responses.responses_server_event import ResponseWsError
from turnwire.aio.loopback import BeforeRun, Cut, Error, Fault, LoopbackServer, Received
from turnwire.sansio.server import ServerOptions

pytestmark = pytest.mark.anyio

TOOLS: list[Any] = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def asyncio_only(anyio_backend: str) -> None:
    if anyio_backend != "asyncio":
        pytest.skip("responses.connect() is asyncio's alone")


@pytest.fixture
async def server(anyio_backend: str) -> AsyncGenerator[LoopbackServer]:
    async with serve(api_key="sk-loopback") as server:
        yield server


@pytest.fixture
async def client(server: LoopbackServer) -> AsyncGenerator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=server.base_url, api_key="sk-loopback", max_retries=0) as client:
        yield client


async def finish(connection: AsyncResponsesConnection) -> tuple[Response, list[Any]]:
    """Read until a response is complete."""
    events: list[Any] = []
    while True:
        events.append(await connection.recv())
        if isinstance(events[-1], ResponseCompletedEvent):
            return events[-1].response, events


# --- WebSocket -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("asyncio_only")
async def test_a_conversation_over_one_connection(server: LoopbackServer, client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        previous: str | None = None
        for number in range(5):
            await connection.response.create(
                model="gpt-5.4", input=f"turn {number}", previous_response_id=previous, store=False
            )
            response, events = await finish(connection)
            assert response.output_text == f"turn {number}"
            assert [event.sequence_number for event in events] == list(range(len(events)))
            previous = response.id
        await connection.response.create(model="gpt-5.4", input="recall", previous_response_id=previous, store=False)
        response, _ = await finish(connection)
        assert response.output_text.splitlines() == [f"turn {number}" for number in range(5)]
        assert response.usage is not None
        assert response.usage.total_tokens == 10 + 10 + 1 + 10
    assert [(entry.transport, entry.connection, entry.outcome) for entry in server.ledger] == [
        ("websocket", 1, "completed")
    ] * 6


@pytest.mark.usefixtures("asyncio_only")
async def test_a_fork_streams_beside_its_origin(server: LoopbackServer, client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="m", input="origin", stream_id="main")
        origin, _ = await finish(connection)
        for lane in ("main", "fork"):
            await connection.response.create(
                model="m", input=f"count {300}", stream_id=lane, previous_response_id=origin.id
            )
        order: list[str | None] = []
        done: dict[str | None, Response] = {}
        while len(done) < 2:
            event: Any = await connection.recv()
            order.append(event.stream_id)
            if isinstance(event, ResponseCompletedEvent):
                done[event.stream_id] = event.response
        assert {response.previous_response_id for response in done.values()} == {origin.id}
        assert order != sorted(order, key=str) != order[::-1]
    assert [entry.lane for entry in server.ledger] == ["main", "main", "fork"]


@pytest.mark.usefixtures("asyncio_only")
async def test_a_function_call_and_its_output(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="m", input='call weather {"city": "Oslo"}', tools=TOOLS)
        response, _ = await finish(connection)
        (call,) = response.output
        assert call.type == "function_call"
        assert (call.name, call.arguments) == ("weather", '{"city": "Oslo"}')
        await connection.response.create(
            model="m",
            previous_response_id=response.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}],
        )
        response, _ = await finish(connection)
        assert response.output_text == "rain"


@pytest.mark.usefixtures("asyncio_only")
async def test_an_error_frame_and_the_turn_after_it(server: LoopbackServer, client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="m", input="x", previous_response_id="resp_none", stream_id="a")
        error: Any = await connection.recv()
        assert isinstance(error, ResponseWsError)
        assert (error.status, error.stream_id, error.error.code) == (400, "a", "previous_response_not_found")
        await connection.response.create(model="m", input="still here", stream_id="a")
        response, _ = await finish(connection)
        assert response.output_text == "still here"
    assert [entry.input for entry in server.ledger] == ["still here"]


@pytest.mark.usefixtures("asyncio_only")
async def test_steering_is_declined(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="m", input="x")
        response, _ = await finish(connection)
        await connection.response.steer(previous_response_id=response.id, input="left")
        failed: Any = await connection.recv()
        assert failed.type == "response.steer.failed"
        assert failed.error.code == "response_already_completed"
        assert failed.steer.input == "left"


@pytest.mark.usefixtures("asyncio_only")
async def test_a_wrong_key_is_refused_at_the_handshake(server: LoopbackServer) -> None:
    from websockets.exceptions import InvalidStatus

    async with AsyncOpenAI(base_url=server.base_url, api_key="sk-wrong") as client:
        with pytest.raises(InvalidStatus) as caught:
            await client.responses.connect().enter()
        assert caught.value.response.status_code == 401


@pytest.mark.usefixtures("asyncio_only")
async def test_a_cut_is_a_lost_connection_and_the_next_one_works(server: LoopbackServer, client: AsyncOpenAI) -> None:
    from websockets.exceptions import ConnectionClosedError

    server.faults.append(Fault(Received(20), Cut()))
    async with client.responses.connect() as connection:
        await connection.response.create(model="m", input="never run")
        with pytest.raises(ConnectionClosedError):
            await connection.recv()
    async with client.responses.connect() as connection:
        await connection.response.create(model="m", input="run")
        response, _ = await finish(connection)
        assert response.output_text == "run"
    assert [(entry.input, entry.connection) for entry in server.ledger] == [("run", 2)]


@pytest.mark.usefixtures("asyncio_only")
async def test_compression_when_both_sides_want_it() -> None:
    async with serve(options=ServerOptions(compression=True)) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="any")
        options: Any = {"compression": "deflate", "max_size": 2**20}
        async with client, client.responses.connect(websocket_connection_options=options) as connection:
            for _ in range(3):
                await connection.response.create(model="m", input="la " * 500)
                response, _ = await finish(connection)
                assert response.output_text == "la " * 500


async def test_the_synchronous_client_in_a_thread(server: LoopbackServer) -> None:
    def talk() -> str:
        with (
            OpenAI(base_url=server.base_url, api_key="sk-loopback") as client,
            client.responses.connect() as connection,
        ):
            connection.response.create(model="m", input="from a thread")
            for event in connection:
                if event.type == "response.completed":
                    return event.response.output_text
        raise AssertionError("the connection ended first")

    assert await anyio.to_thread.run_sync(talk) == "from a thread"


# --- HTTP ------------------------------------------------------------------------------------------------------------


async def test_create(server: LoopbackServer, client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="gpt-5.4", input="hello world", metadata={"marker": "m"})
    assert first.output_text == "hello world"
    assert first._request_id
    second = await client.responses.create(model="gpt-5.4", input="recall", previous_response_id=first.id)
    assert second.output_text == "hello world"
    assert [(entry.transport, entry.connection, entry.marker) for entry in server.ledger] == [
        ("http", 1, "m"),
        ("http", 1, None),
    ]


async def test_create_stream(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model="m", input="count 20", stream=True)
    events = [event async for event in stream]
    deltas = [event.delta for event in events if isinstance(event, ResponseTextDeltaEvent)]
    assert "".join(deltas) == " ".join(map(str, range(1, 21)))
    assert isinstance(events[-1], ResponseCompletedEvent)
    assert events[-1].response.output_text == "".join(deltas)


async def test_stream_helper(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="m", input="hello there") as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert response.output_text == "hello there"


async def test_with_streaming_response(client: AsyncOpenAI) -> None:
    async with client.responses.with_streaming_response.create(model="m", input="hello") as answer:
        assert answer.headers["x-request-id"].startswith("req_")
        response = await answer.parse()
    assert response.output_text == "hello"
    async with client.responses.with_streaming_response.create(model="m", input="hello", stream=True) as answer:
        lines = [line async for line in answer.iter_lines()]
    assert lines[0] == "event: response.created"


async def test_the_clients_own_errors(server: LoopbackServer, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not found"):
        await client.responses.create(model="m", input="x", previous_response_id="resp_none")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-wrong").responses.create(model="m", input="x")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_none")
    server.faults.append(Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after": "0"})))
    with pytest.raises(openai.RateLimitError):
        await client.responses.create(model="m", input="x")
    assert server.ledger == []


async def test_the_clients_own_retry(server: LoopbackServer, client: AsyncOpenAI) -> None:
    error = Error(500, headers={"retry-after-ms": "1"})
    server.faults.append(Fault(BeforeRun(), error, times=2))
    response = await client.with_options(max_retries=2).responses.create(model="m", input="third time")
    assert response.output_text == "third time"
    assert len(server.ledger) == 1
