"""``openai``'s own client on ``turnwire.aio.httpx``, against the loopback server in strict mode."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
import openai
import pydantic
import pytest
import trustme
from kit.strict_server import serve
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from turnwire.aio.httpx import TurnLostError, TurnTimedOutError, TurnwireTransport
from turnwire.aio.loopback import (
    AfterEvent,
    Asked,
    BeforeEvent,
    BeforeRun,
    Call,
    Cut,
    Error,
    Fault,
    Json,
    LoopbackServer,
    Silence,
    Upgrading,
)
from turnwire.sansio.errors import TurnError, UserError, WrongTypeError
from turnwire.sansio.replay import ModelRetryAdviceRequest, RecoveryPolicy, Verdict, get_retry_advice
from turnwire.sansio.session import SessionOptions

MODEL = "gpt-5.4"
ADD: Any = {
    "type": "function",
    "name": "add",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}


class Client(AsyncOpenAI):
    """It repeats without waiting, and counts that."""

    repeated = 0

    def _calculate_retry_timeout(self, *args: Any, **kwargs: Any) -> float:
        self.repeated += 1
        return 0.0


def client_of(server: LoopbackServer, transport: Any = None, **more: Any) -> Client:
    given: dict[str, Any] = {"base_url": server.base_url, "api_key": "sk-any-0123456789", **more}
    return Client(http_client=DefaultAsyncHttpxClient(transport=transport or TurnwireTransport()), **given)


@asynccontextmanager
async def world(
    *faults: Fault, options: Any = None, retries: int = 2, **more: Any
) -> AsyncIterator[tuple[Client, LoopbackServer]]:
    async with serve(strict=True, faults=faults, **more) as server:
        async with client_of(server, TurnwireTransport(options=options), max_retries=retries) as client:
            yield client, server


def transport_of(client: Client) -> TurnwireTransport:
    return client._client._transport  # pyright: ignore[reportPrivateUsage, reportReturnType]


def run(main: Callable[[], Awaitable[None]], loop: str = "asyncio") -> None:
    anyio.run(main, backend=loop)


async def text_of(events: Any) -> str:
    return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


async def asked(client: Client, *, stream: bool, **body: Any) -> None:
    """One call, to its end."""
    answer = await client.responses.create(stream=stream, **body)
    if stream:
        await text_of(answer)


class Sum(pydantic.BaseModel):
    """An answer."""

    total: int


# --- What works as before --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_create_stream_and_parse_go_over_one_websocket(loop: str) -> None:
    """P-HTTPX-1, P-HTTPX-2."""

    async def main() -> None:
        async with world() as (client, server):
            responses = client.responses
            first = await responses.create(model=MODEL, input="one two")
            assert (first.output_text, first.status) == ("one two", "completed")
            again: Any = {"model": MODEL, "previous_response_id": first.id}
            assert await text_of(await responses.create(input="three", stream=True, **again)) == "three"
            async with responses.stream(input="four", **again) as stream:
                assert await text_of(stream) == "four"
                assert (await stream.get_final_response()).output_text == "four"
            raw = await responses.with_raw_response.create(model=MODEL, input="five")
            assert (raw.headers["x-turnwire-transport"], raw.parse().output_text) == ("websocket", "five")
            async with responses.with_streaming_response.create(model=MODEL, input="six", stream=True) as streaming:
                lines = [line async for line in streaming.iter_lines()]
            assert lines[0] == "event: response.created"
            async with responses.with_streaming_response.create(model=MODEL, input="seven") as streaming:
                assert (await streaming.json())["status"] == "completed"
            assert {(one.transport, one.connection) for one in server.requests} == {("websocket", 1)}
            assert {one.outcome for one in server.requests} == {"completed"}

    run(main, loop)


def test_structured_output_and_tools() -> None:
    def reply(asked: Asked) -> Any:
        if asked.tools:
            return f"It is {asked.text}." if asked.outputs else Call("add", {"a": 40, "b": 2})
        return Json({"total": 42})

    async def main() -> None:
        async with world(reply=reply) as (client, server):
            parsed = await client.responses.parse(model=MODEL, input="40 + 2?", text_format=Sum)
            assert parsed.output_parsed == Sum(total=42)
            async with client.responses.stream(model=MODEL, input="40 + 2?", text_format=Sum) as stream:
                assert (await stream.get_final_response()).output_parsed == Sum(total=42)
            asked = await client.responses.create(model=MODEL, input="40 + 2?", tools=[ADD])
            call: Any = asked.output[0]
            output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
            answer = await client.responses.create(
                model=MODEL, previous_response_id=asked.id, input=[output], tools=[ADD]
            )
            assert answer.output_text == "It is 42."
            server.expect(*["completed"] * 4)

    run(main)


def test_twenty_calls_at_once_take_lanes_of_one_connection() -> None:
    async def main() -> None:
        async with world(options=SessionOptions(), dialect="openai") as (client, server):

            async def ask(number: int) -> str:
                if number % 2:
                    return (await client.responses.create(model=MODEL, input=f"n{number}")).output_text
                return await text_of(await client.responses.create(model=MODEL, input=f"n{number}", stream=True))

            assert await asyncio.gather(*map(ask, range(20))) == [f"n{number}" for number in range(20)]
            assert {one.connection for one in server.ledger} == {1}
            assert len({one.lane for one in server.ledger}) > 10

    run(main)


def test_a_stream_whose_connection_pauses_reading_loses_nothing() -> None:
    """P-HTTPX-2."""

    async def main() -> None:
        slow = SessionOptions(high_water=2_000)
        async with world(options=slow, dialect="openai") as (client, server):
            stream = await client.responses.create(model=MODEL, input="count 300", stream=True)
            first = await anext(aiter(stream))
            assert first.type == "response.created"
            assert await text_of(stream) == " ".join(map(str, range(1, 301)))
            server.expect("completed")

    run(main)


def test_what_is_no_turn_goes_to_the_inner_transport() -> None:
    """P-HTTPX-1."""

    async def main() -> None:
        async with world(options=SessionOptions(transport="websocket")) as (client, server):
            made = await client.responses.create(model=MODEL, input="hi")
            assert (await client.responses.retrieve(made.id)).output_text == "hi"
            behind = await client.responses.create(model=MODEL, input="b", background=True)
            assert behind.status in ("queued", "in_progress", "completed")
            over_http = {"x-turnwire-transport": "http"}
            await client.responses.create(model=MODEL, input="c", extra_headers=over_http)
            assert (await client.models.list()).data
            assert [one.transport for one in server.ledger] == ["websocket", "http", "http"]
            assert not any(name.startswith("x-turnwire") for one in server.requests for name in one.headers)

    run(main)


def test_a_lane_can_be_named_and_a_wrong_header_is_refused() -> None:
    """P-HTTPX-4."""

    async def main() -> None:
        async with world(dialect="openai") as (client, server):
            named = client.with_options(default_headers={"X-Turnwire-Lane": "mine"})
            await named.responses.create(model=MODEL, input="hi")
            assert [one.lane for one in server.ledger] == ["mine"]
            for name, value in (("x-turnwire-lane", "no name"), ("x-turnwire-line", "a")):
                with pytest.raises(UserError):
                    await client.responses.create(model=MODEL, input="hi", extra_headers={name: value})
            assert client.repeated == 0

    run(main)


def test_different_keys_and_headers_never_share_a_connection_and_equal_ones_do() -> None:
    """P-HTTPX-3."""

    async def main() -> None:
        async with serve(strict=True) as server:
            transport = TurnwireTransport(per_request_headers=["X-Log"])
            async with client_of(server, transport) as client:
                other = client.with_options(api_key="sk-other-0123456789")
                for number, each in enumerate((client, other, client, other)):
                    headers = {"x-log": str(number), "idempotency-key": str(number)}
                    await each.responses.create(model=MODEL, input="hi", extra_headers=headers)
                await client.responses.create(model=MODEL, input="hi", extra_headers={"x-team": "a"})
                assert [one.connection for one in server.ledger] == [1, 2, 1, 2, 3]
                keys = [one.headers["authorization"] for one in server.ledger]
                assert keys[:2] == ["Bearer sk-any-0123456789", "Bearer sk-other-0123456789"]
                assert [one.turns for one in transport.connections] == [2, 2, 1]
                assert "x-log" not in server.ledger[0].headers
                assert not any(name.startswith("x-stainless") for name in server.ledger[0].headers)

    run(main)


def test_where_there_is_no_websocket_turns_go_over_http() -> None:
    """P-HTTPX-2."""

    async def main() -> None:
        async with world(Fault(Upgrading(), Error(404, "not_found"), times=None)) as (client, server):
            raw = await client.responses.with_raw_response.create(model=MODEL, input="hi")
            assert (raw.headers["x-turnwire-transport"], raw.parse().output_text) == ("http", "hi")
            assert await text_of(await client.responses.create(model=MODEL, input="a b", stream=True)) == "a b"
            assert [one.transport for one in server.ledger] == ["sse", "sse"]
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model=MODEL, input="hi", previous_response_id="resp_0")
            assert caught.value.code == "previous_response_not_found"

    run(main)


# --- Refusals: openai's own exceptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_raises_openais_exception(stream: bool) -> None:
    """P-HTTPX-6."""

    async def main() -> None:
        async with world() as (client, server):
            given: Any = {"model": MODEL, "input": "hi", "stream": stream}
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(previous_response_id="resp_0", **given)
            body: Any = caught.value.body
            assert (caught.value.code, body["param"]) == ("previous_response_not_found", "previous_response_id")
            assert (await client.responses.create(**{**given, "stream": False})).output_text == "hi"
            assert (client.repeated, [one.outcome for one in server.requests]) == (0, ["refused", "completed"])

    run(main)


def test_a_wrong_key_is_an_authentication_error() -> None:
    """P-HTTPX-6."""

    async def main() -> None:
        async with world(api_key="sk-right-0123456789") as (client, _):
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.responses.create(model=MODEL, input="hi")
            assert caught.value.code == "invalid_api_key"
            assert client.repeated == 0

    run(main)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_rate_limit_is_repeated_as_often_as_the_client_says(retries: int) -> None:
    """P-HTTPX-9."""
    slow = Error(429, "rate_limit_exceeded", headers={"retry-after-ms": "1", "x-request-id": "req_7"})

    async def main() -> None:
        async with world(Fault(BeforeRun(), slow, times=None), retries=retries) as (client, _):
            with pytest.raises(openai.RateLimitError) as caught:
                await client.responses.create(model=MODEL, input="hi")
            assert (caught.value.code, caught.value.request_id) == ("rate_limit_exceeded", "req_7")
            assert caught.value.response.headers["retry-after-ms"] == "1"
            (connection,) = transport_of(client).connections
            assert (client.repeated, connection.turns) == (retries, retries + 1)

    run(main)


@pytest.mark.parametrize(
    ("status", "code", "repeated"), [(503, "server_is_overloaded", 2), (500, "internal_error", 0), (409, "conflict", 0)]
)
def test_an_error_of_the_server_is_repeated_only_if_it_is_overloaded(status: int, code: str, repeated: int) -> None:
    """P-HTTPX-6."""

    async def main() -> None:
        async with world(Fault(BeforeRun(), Error(status, code), times=None)) as (client, _):
            with pytest.raises(openai.APIStatusError) as caught:
                await client.responses.create(model=MODEL, input="hi")
            assert (caught.value.status_code, caught.value.code, client.repeated) == (status, code, repeated)

    run(main)


def test_an_error_within_a_stream_is_an_api_error_and_not_repeated() -> None:
    """P-HTTPX-8."""

    async def main() -> None:
        async with world(Fault(AfterEvent(4), Error(500, "server_error"), times=None)) as (client, server):
            stream = await client.responses.create(model=MODEL, input="hi", stream=True)
            with pytest.raises(openai.APIError, match="The server had an error") as caught:
                await text_of(stream)
            assert caught.value.code == "server_error"
            with pytest.raises(openai.InternalServerError):
                await client.responses.create(model=MODEL, input="hi")
            assert (client.repeated, len(server.ledger)) == (0, 2)

    run(main)


# --- Losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("point", "verdict"), [(AfterEvent(4), Verdict.UNSAFE), (BeforeEvent(1), Verdict.AMBIGUOUS)], ids=["ran", "unknown"]
)
def test_a_lost_turn_that_may_have_run_is_not_repeated(point: Any, verdict: Verdict, stream: bool) -> None:
    """P-HTTPX-7."""

    async def main() -> None:
        async with world(Fault(point, Cut(reset=True))) as (client, server):
            with pytest.raises(openai.APIConnectionError) as caught:
                await asked(client, model=MODEL, input="hi", stream=stream)
            error: Any = caught.value
            assert (type(error), error.verdict, error.request.method) == (TurnLostError, verdict, "POST")
            assert isinstance(error.__cause__, TurnError)
            assert str(error) == error.message == str(error.__cause__)
            assert (client.repeated, len(server.ledger)) == (0, 1)
            if verdict is Verdict.UNSAFE:
                assert (await client.responses.retrieve(error.response_id)).output_text == "hi"
            advice = get_retry_advice(ModelRetryAdviceRequest(error))
            assert advice is not None
            assert advice.replay_safety == ("unsafe" if verdict is Verdict.UNSAFE else None)
            assert (await client.responses.create(model=MODEL, input="again")).output_text == "again"

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_is_openais_timeout_and_not_repeated(stream: bool) -> None:
    """P-HTTPX-5, P-HTTPX-7."""

    async def main() -> None:
        async with world(Fault(AfterEvent(1) if stream else BeforeEvent(1), Silence())) as (client, server):
            given: Any = {"model": MODEL, "input": "hi", "timeout": httpx2.Timeout(5.0, read=0.05)}
            with pytest.raises(openai.APITimeoutError) as caught:
                await asked(client, stream=stream, **given)
            assert (type(caught.value), client.repeated, len(server.ledger)) == (TurnTimedOutError, 0, 1)
            assert "receive" in str(caught.value)

    run(main)


def test_a_connection_that_cannot_be_opened_is_repeated_as_often_as_the_client_says() -> None:
    """P-HTTPX-9."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Nobody listens.
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        async def main() -> None:
            transport = TurnwireTransport()
            http_client = DefaultAsyncHttpxClient(transport=transport)
            async with Client(base_url=url, api_key="any", http_client=http_client) as client:
                with pytest.raises(openai.APIConnectionError) as caught:
                    await client.responses.create(model=MODEL, input="hi")
                assert isinstance(caught.value.__cause__, httpx2.ConnectError)
                assert isinstance(caught.value.__cause__.__cause__, TurnError)
                assert len(transport.connections) == client.max_retries + 1

        run(main)


def test_nothing_runs_twice_whatever_is_cut_and_however_often_the_client_repeats() -> None:
    """P-HTTPX-6, P-HTTPX-7; I5: calls at the same time, each with another fault, on lanes of a few connections."""
    actions: list[tuple[Any, Any]] = [
        (BeforeRun(), Cut()),
        (BeforeRun(), Error(503, "server_is_overloaded")),
        (BeforeRun(), Error(500, "internal_error")),
        (BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after-ms": "1"})),
        (BeforeEvent(1), Cut(reset=True)),
        (BeforeEvent(1), Error(500, "server_error")),
        (AfterEvent(3), Cut()),
        (AfterEvent(5), Error(500, "server_error")),
    ]
    faults = [Fault(*each, marker=f"m{number}") for number, each in enumerate(actions * 3)]
    faults += [Fault(Upgrading(), Cut(), connection=1), Fault(Upgrading(), Error(503, "x"), connection=3)]
    quick = SessionOptions(connections=3, recovery=RecoveryPolicy(initial_delay=0.0))

    async def main() -> None:
        async with world(*faults, options=quick, retries=6, dialect="openai") as (client, server):

            async def ask(number: int) -> bool:
                with contextlib.suppress(openai.APIError):
                    body: Any = {"model": MODEL, "input": f"n{number}", "metadata": {"marker": f"m{number}"}}
                    await asked(client, stream=bool(number % 2), **body)
                    return True
                return False

            done = await asyncio.gather(*map(ask, range(60)))
            runs = Counter(one.marker for one in server.ledger)
            assert set(runs.values()) == {1}
            assert all(runs[f"m{number}"] == 1 for number, well in enumerate(done) if well)
            assert sum(done) > 20
            assert client.repeated > 0

    run(main)


def test_an_upgrade_that_fails_for_now_is_repeated_by_the_client() -> None:
    """P-HTTPX-6, P-HTTPX-9."""

    async def main() -> None:
        faults = [Fault(Upgrading(), Cut(), connection=1), Fault(Upgrading(), Error(503, "x"), connection=2)]
        async with world(*faults) as (client, server):
            assert (await client.responses.create(model=MODEL, input="hi")).output_text == "hi"
            assert (client.repeated, len(server.ledger)) == (2, 1)

    run(main)


# --- Whoever leaves --------------------------------------------------------------------------------------------------


async def outcome_of(server: LoopbackServer) -> str:
    """How the first request ended."""
    with anyio.fail_after(5):
        while server.ledger[0].outcome == "running":
            await anyio.sleep(0.001)
    return server.ledger[0].outcome


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_cancelled_ends_its_turn(loop: str, stream: bool) -> None:
    """P-HTTPX-10."""

    async def main() -> None:
        async with world(latency=0.005) as (client, server):
            given: Any = {"model": MODEL, "input": "count 1000"}
            with anyio.CancelScope() as scope:
                if stream:
                    async for event in await client.responses.create(stream=True, **given):
                        if event.type == "response.output_text.delta":
                            scope.cancel()
                else:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(_cancel_when_it_runs, server, scope)
                        await client.responses.create(**given)
            assert scope.cancelled_caught
            assert await outcome_of(server) == "disconnected"
            assert (await client.responses.create(model=MODEL, input="hi")).output_text == "hi"

    run(main, loop)


async def _cancel_when_it_runs(server: LoopbackServer, scope: anyio.CancelScope) -> None:
    while not server.ledger:
        await anyio.sleep(0.001)
    scope.cancel()


def test_a_stream_that_is_left_early_ends_its_turn() -> None:
    """P-HTTPX-10."""

    async def main() -> None:
        async with world(latency=0.005) as (client, server):
            stream = await client.responses.create(model=MODEL, input="count 1000", stream=True)
            async for event in stream:
                if event.type == "response.output_text.delta":
                    break
            await stream.close()
            assert await outcome_of(server) == "disconnected"
            unread = await client.responses.create(model=MODEL, input="count 1000", stream=True)
            await unread.close()

    run(main)


def test_closing_the_client_ends_what_runs_and_nothing_is_repeated() -> None:
    """P-HTTPX-10."""

    async def main() -> None:
        async with serve(strict=True, latency=0.005) as server:
            client = client_of(server)
            stream = await client.responses.create(model=MODEL, input="count 1000", stream=True)
            await client.close()
            with pytest.raises(TurnLostError):
                await text_of(stream)
            assert (client.repeated, len(server.ledger)) == (0, 1)

    run(main)


def test_one_client_in_several_event_loops() -> None:
    """P-HTTPX-3."""

    async def ask(client: Client, url: str) -> None:
        client.base_url = url
        assert (await client.responses.create(model=MODEL, input="hi")).output_text == "hi"

    async def main(clients: list[Client]) -> None:
        async with serve(strict=True) as server:
            if not clients:
                clients.append(client_of(server))
            await ask(clients[0], server.base_url)

    kept: list[Client] = []
    for _ in range(2):
        asyncio.run(main(kept))


# --- The network, the log, and other HTTP clients --------------------------------------------------------------------


def test_the_websocket_has_the_tls_settings_of_the_inner_transport() -> None:
    """P-HTTPX-11."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        async with serve(strict=True, ssl_context=context) as server:
            inner = httpx2.AsyncHTTPTransport(verify=trusting)
            for transport in (TurnwireTransport(inner), TurnwireTransport(ssl_context=trusting, proxy=None)):
                async with client_of(server, transport) as client:
                    made = await client.responses.create(model=MODEL, input="hi")
                    assert (await client.responses.retrieve(made.id)).output_text == "hi"
            assert {one.transport for one in server.ledger} == {"websocket"}

    run(main)


def test_no_secret_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    """P-HTTPX-3."""
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with serve(strict=True, faults=[Fault(AfterEvent(2), Cut())]) as server:
            transport = TurnwireTransport()
            async with client_of(server, transport, default_query={"team": "hush-query"}) as client:
                with pytest.raises(TurnLostError) as caught:
                    await client.responses.create(model=MODEL, input="hi")
                assert "sk-any" not in repr([caught.value, caught.value.__cause__, transport.connections])
                assert "hush-query" not in str(caught.value)

    run(main)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("turnwire")]
    assert ours
    assert not any("sk-any" in line or "hush" in line for line in ours)


def test_without_a_private_name_of_httpx_its_client_sends_what_is_no_turn() -> None:
    async def main() -> None:
        async with world() as (client, _):
            transport: Any = transport_of(client)
            (inner,) = transport._http_clients.values()
            public = SimpleNamespace(send=inner.send, aclose=inner.aclose)
            transport._http_clients = dict.fromkeys(transport._http_clients, public)
            made = await client.responses.create(model=MODEL, input="hi")
            assert (await client.responses.retrieve(made.id)).output_text == "hi"

    run(main)


def test_a_client_that_blocks_is_told_what_to_use() -> None:
    wrong: Any = TurnwireTransport()
    client = openai.OpenAI(api_key="any", http_client=httpx2.Client(transport=wrong))
    with pytest.raises(UserError, match="AsyncOpenAI"):
        client.responses.create(model=MODEL, input="hi")


def test_arguments_that_cannot_be_are_refused() -> None:
    wrong: Any = {}
    with pytest.raises(WrongTypeError, match="options"):
        TurnwireTransport(options=wrong)
    with pytest.raises(UserError, match="proxy"):
        TurnwireTransport(proxy="ftp://p")


def test_a_client_of_httpx_gets_answers_of_httpx() -> None:
    """P-HTTPX-12."""
    httpx: Any = importlib.import_module("httpx") if importlib.util.find_spec("httpx") else None
    if httpx is None:
        pytest.skip("there is no httpx: pip install httpx")

    async def main() -> None:
        async with serve(strict=True, faults=[Fault(Upgrading(), Cut())]) as server:
            http_client = httpx.AsyncClient(transport=TurnwireTransport())
            async with Client(base_url=server.base_url, api_key="any", http_client=http_client) as client:
                made = await client.responses.create(model=MODEL, input="hi")
                assert await text_of(await client.responses.create(model=MODEL, input="a", stream=True)) == "a"
                assert (await client.responses.retrieve(made.id)).output_text == "hi"
                assert (client.repeated, {one.transport for one in server.ledger}) == (1, {"websocket"})

    run(main)


def test_a_plain_http_client_can_use_it_too() -> None:
    async def main() -> None:
        async with serve(strict=True) as server:
            async with httpx2.AsyncClient(transport=TurnwireTransport(), base_url=server.base_url) as client:
                body = {"model": MODEL, "input": "hi", "stream": True}
                async with client.stream("POST", "/responses", json=body) as answer:
                    lines = [line async for line in answer.aiter_lines() if line.startswith("event:")]
                assert (lines[0], lines[-1]) == ("event: response.created", "event: response.completed")
                answer = await client.post("/responses", content=b'{"model":', headers={"content-type": "text/json"})
                assert answer.status_code == 400

    run(main)
