"""How a model's calls end: streams are closed once, whoever is cancelled, and spans know the failure in time."""

from __future__ import annotations

import json
import ssl
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
import pytest
import trustme
from kit.models import KINDS, call_of, model_of
from kit.peers import created, event, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.sansio.errors import UnsuccessfulResponseError

pytestmark = pytest.mark.anyio


# --- Closing a stream over HTTP ---------------------------------------------------------------------------------------


def completed(**fields: Any) -> Any:
    return SimpleNamespace(type="response.completed", response=SimpleNamespace(id="r", output=[], usage=None), **fields)


class Stream:
    """A custom client's stream that takes its time to close."""

    def __init__(self, *events: Any, endless: bool = False) -> None:
        self.events = events
        self.endless = endless
        self.began = self.finished = 0
        self.closing, self.release = anyio.Event(), anyio.Event()

    def __aiter__(self) -> Stream:
        self.left = list(self.events)
        return self

    async def __anext__(self) -> Any:
        if self.left:
            return self.left.pop(0)
        if self.endless:
            await anyio.sleep_forever()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.began += 1
        self.closing.set()
        await self.release.wait()
        self.finished += 1


class Carrier:
    """A custom client's ``with_streaming_response``, whose response has to be left, too."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.left = 0
        self.request_id = "req_1"

    def create(self, **kwargs: Any) -> Carrier:
        return self

    async def __aenter__(self) -> Carrier:
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.left += 1

    async def parse(self) -> Stream:
        return self.stream


def client_of(stream: Stream, carrier: Carrier | None) -> Any:
    async def create(**kwargs: Any) -> Stream:
        return stream

    return SimpleNamespace(responses=SimpleNamespace(create=create, with_streaming_response=carrier))


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("when", ["in mid-stream", "while it is closed after its end", "while it is closed early"])
async def test_a_stream_is_closed_once_and_to_the_end_whoever_is_cancelled(backend, shell, when, carried):
    stream = Stream(SimpleNamespace(type="response.created"), completed(), endless=when == "in mid-stream")
    if stream.endless:
        stream.events = stream.events[:1]
    carrier = Carrier(stream) if carried else None
    model = shell.OpenAIResponsesModel("m", client_of(stream, carrier))
    got = anyio.Event()

    async def consume() -> None:
        async with aclosing(model.stream_response(*call_of(shell))) as events:
            async for _ in events:
                got.set()
                if when == "while it is closed early":
                    break

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await (got if stream.endless else stream.closing).wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        if backend.anyio_name == "trio":  # Tasks do not outlive their scope there: the consumer waits for it, shielded.
            with anyio.CancelScope(shield=True):
                await stream.closing.wait()
                stream.release.set()
    stream.release.set()
    await model.close()
    assert (stream.began, stream.finished) == (1, 1)
    assert carrier is None or carrier.left == 1


async def test_a_consumer_that_is_cancelled_by_its_library_alone_does_not_wait(backend, shell):
    """``task.cancel()`` is delivered once: awaiting again would wait."""
    if backend.name != "asyncio":
        pytest.skip("only asyncio has tasks that are cancelled once")
    import asyncio

    stream = Stream(SimpleNamespace(type="response.created"), endless=True)
    model = shell.OpenAIResponsesModel("m", client_of(stream, None))

    async def consume() -> None:
        async for _ in model.stream_response(*call_of(shell)):
            got.set()

    got = asyncio.Event()
    task = asyncio.ensure_future(consume())
    await got.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (stream.began, stream.finished) in ((0, 0), (1, 0))
    stream.release.set()
    await model.close()
    assert (stream.began, stream.finished) == (1, 1)


async def test_closing_that_goes_wrong_after_a_cancellation_is_logged_without_words(shell, caplog):
    class Fails(Stream):
        async def aclose(self) -> None:
            self.began += 1
            raise RuntimeError("SECRET")

    caplog.set_level("DEBUG", "turnwire")
    stream = Fails(SimpleNamespace(type="response.created"), endless=True)
    model = shell.OpenAIResponsesModel("m", client_of(stream, None))
    async with anyio.create_task_group() as tasks:
        got = anyio.Event()

        async def consume() -> None:
            async with aclosing(model.stream_response(*call_of(shell))) as events:
                async for _ in events:
                    got.set()

        tasks.start_soon(consume)
        await got.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await model.close()
    await anyio.lowlevel.checkpoint()
    assert stream.began == 1
    assert "consumer was cancelled failed: RuntimeError" in caplog.text
    assert "SECRET" not in caplog.text


# --- Spans ------------------------------------------------------------------------------------------------------------


class Spans:
    def __init__(self) -> None:
        self.told: list[str] = []

    def start_span(self, *, model: str) -> Any:
        self.told.append("start")
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.told.append(name)


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize(("text", "last"), [("fail", "response.failed"), ("count 20", "response.incomplete")])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_span_knows_the_failure_before_the_last_event_is_given_out(shell, kind, text, last, stops):
    spans = Spans()
    async with serve() as server, model_of(shell, kind, server, tracer=spans, raise_on_unsuccessful=True) as model:
        arguments = call_of(shell, text, tracing=shell.ModelTracing.ENABLED, max_tokens=16)
        try:
            async with aclosing(model.stream_response(*arguments)) as events:
                async for one in events:
                    if one.type == last:
                        assert spans.told == ["start", "set_usage", "set_data", "set_error"]
                        if stops:
                            break
        except shell.UnsuccessfulResponseError:
            assert not stops
        else:
            assert stops
    assert spans.told == ["start", "set_usage", "set_data", "set_error", "end"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_span_of_a_response_that_may_fail_has_no_error(shell, kind):
    spans = Spans()
    async with serve() as server, model_of(shell, kind, server, tracer=spans) as model:
        async with aclosing(model.stream_response(*call_of(shell, "fail"))) as events:
            assert [one.type async for one in events][-1] == "response.failed"
        async with aclosing(
            model.stream_response(*call_of(shell, "fail", tracing=shell.ModelTracing.ENABLED))
        ) as events:
            assert [one.type async for one in events][-1] == "response.failed"
    assert spans.told == ["start", "set_usage", "set_data", "end"]


# --- What ends a turn over WebSocket ----------------------------------------------------------------------------------

LAST = {
    "done": ("response.done", {"status": "completed"}, None),
    "done, no status": ("response.done", {}, None),
    "done, failed": ("response.done", {"status": "failed"}, "failed"),
    "cancelled": ("response.cancelled", {"status": "cancelled"}, "cancelled"),
    "failed, sparse": ("response.failed", {}, "failed"),
    "failed, completed by its status": ("response.failed", {"status": "completed"}, "failed"),
    "incomplete, null": ("response.incomplete", {"status": None}, "incomplete"),
    "completed, failed by its status": ("response.completed", {"status": "failed"}, None),
    "tomorrow's": ("response.wound_up", {"status": "incomplete"}, "incomplete"),
}


@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.parametrize(("kind", "fields", "outcome"), LAST.values(), ids=LAST)
async def test_the_end_of_a_turn_is_what_its_event_says(shell, kind, fields, outcome, raising):
    item = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}

    async def script(peer):
        await peer.upgrade()
        for _ in range(2):
            await peer.message()
            await peer.send(
                created(),
                event("response.output_item.done", output_index=0, item=item),
                event(kind, response={"id": "resp_1", **fields}),
            )
        await peer.end_code()

    async with raw_server(script) as server:
        async with model_of(shell, KINDS[1], server, raise_on_unsuccessful=raising) as model:
            types: list[str] = []
            error = await ending(streamed(shell, model, types))
            assert types[-1] == kind
            assert getattr(error, "outcome", None) == (outcome if raising else None)
            results: list[Any] = []
            error = await ending(at_once(shell, model, results))
            assert getattr(error, "outcome", None) == (outcome if raising else None)
            output = results[0].output if error is None else error.response.output
            assert [(one.type, one.call_id) for one in output] == [("function_call", "c")]
            assert error is not None or results[0].usage.requests == 1


async def streamed(shell, model, types: list[str]) -> None:
    async with aclosing(model.stream_response(*call_of(shell))) as events:
        async for one in events:
            types.append(one.type)


async def at_once(shell, model, results: list[Any]) -> None:
    results.append(await model.get_response(*call_of(shell)))


async def ending(awaitable: Any) -> Any:
    """What it raises, if that is the failure of a response."""
    try:
        await awaitable
    except UnsuccessfulResponseError as exc:
        return exc


async def test_the_settings_timeout_bounds_a_whole_call_over_websocket(shell):
    async def script(peer):
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        await peer.message()
        await peer.send(created())
        while True:
            await peer.send(event("keepalive"))
            await anyio.sleep(0.05)

    async with raw_server(script) as server, model_of(shell, KINDS[1], server) as model:
        await model.get_response(*call_of(shell))
        with pytest.raises(shell.TurnTimeoutError) as caught:
            await model.get_response(*call_of(shell, timeout=1.0))
        assert caught.value.verdict is shell.Verdict.UNSAFE


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["to the model", "to the client", "nowhere"])
async def test_a_private_authority_is_given_to_the_model_or_taken_from_the_client(shell, given):
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    http_client = httpx2.AsyncClient(verify=trusting) if given == "to the client" else None
    options = {"ssl_context": trusting} if given == "to the model" else {}
    async with serve(ssl_context=serving) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="none", http_client=http_client, max_retries=0)
        policy = shell.SessionOptions(recovery=shell.RecoveryPolicy(attempts=0))
        model = shell.OpenAIResponsesWSModel("m", client, websocket_options=policy, **options)
        if given == "nowhere":
            with pytest.raises(shell.ConnectError):
                await model.get_response(*call_of(shell))
        else:
            assert (await model.get_response(*call_of(shell, "x"))).output[0].content[0].text == "x"
        await model.close()
        await client.close()


async def test_a_proxy_is_given_to_the_model(shell):
    async with serve() as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="none")
        model = shell.OpenAIResponsesWSModel(
            "m",
            client,
            proxy="http://127.0.0.1:1",
            websocket_options=shell.SessionOptions(recovery=shell.RecoveryPolicy(attempts=0)),
        )
        with pytest.raises(shell.ConnectError, match=r"127\.0\.0\.1:1"):
            await model.get_response(*call_of(shell))
        await model.close()
        await client.close()
    assert json.dumps(server.ledger) == "[]"


@pytest.mark.parametrize("proxy", [5, "socks4://127.0.0.1:1", "not a url"])
async def test_a_proxy_that_cannot_be_used_is_refused_when_the_model_is_made(shell, proxy):
    client = AsyncOpenAI(base_url="http://127.0.0.1:1/v1", api_key="none")
    with pytest.raises(shell.UserError):
        shell.OpenAIResponsesWSModel("m", client, proxy=proxy)
    await client.close()
