"""The models, over real sockets: a test for each numbered behaviour C1-C14 of PARITY.md."""

from __future__ import annotations

import inspect
import json
import logging
from contextlib import aclosing
from types import SimpleNamespace

import anyio
import openai
import pytest
from kit.models import HTTP, KINDS, WEBSOCKET, model_of
from kit.peers import completed, created, delta, frame, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from openai.types import responses as sdk
from turnwire.aio.loopback import AfterEvent, BeforeEvent, Close, Cut, Error, Fault, Silence
from turnwire.sansio.agents.tools import FunctionTool
from turnwire.sansio.websocket import Pong

pytestmark = pytest.mark.anyio


def arguments(shell, text="one two", *, settings=None, tools=(), tracing=None, **more):
    """The positional arguments of a call, and the keyword ones."""
    tracing = tracing or shell.ModelTracing.DISABLED
    return (None, text, settings or shell.ModelSettings(), list(tools), None, [], tracing), more


async def ask(model, shell, text="one two", **given):
    positional, keyword = arguments(shell, text, **given)
    return await model.get_response(*positional, **keyword)


async def stream(model, shell, text="one two", **given):
    positional, keyword = arguments(shell, text, **given)
    async with aclosing(model.stream_response(*positional, **keyword)) as events:
        return [event async for event in events]


def text_of(response) -> str:
    return response.output[0].content[0].text


# --- C1, C5: signatures and results -----------------------------------------------------------------------------------

SEED = [
    "system_instructions",
    "input",
    "model_settings",
    "tools",
    "output_schema",
    "handoffs",
    "tracing",
    "previous_response_id",
    "conversation_id",
    "prompt",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["get_response", "stream_response"])
async def test_C1_the_methods_have_the_seeds_signatures(shell, kind, method):
    signature = inspect.signature(getattr(getattr(shell, kind), method))
    assert list(signature.parameters)[1:] == SEED
    assert [p.default for p in signature.parameters.values()][-3:] == [None] * 3
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in signature.parameters.values())
    constructor = inspect.signature(getattr(shell, kind)).parameters
    assert list(constructor)[:3] == ["model", "openai_client", "model_is_explicit"]


@pytest.mark.parametrize("kind", KINDS)
async def test_C1_streaming_yields_the_sdks_objects(shell, kind):
    async with serve() as server, model_of(shell, kind, server) as model:
        events = await stream(model, shell, "one two")
    assert type(events[0]) is sdk.ResponseCreatedEvent
    assert "".join(event.delta for event in events if type(event) is sdk.ResponseTextDeltaEvent) == "one two"
    assert type(events[-1]) is sdk.ResponseCompletedEvent
    assert type(events[-1].response) is sdk.Response


@pytest.mark.parametrize("kind", KINDS)
async def test_C5_a_model_response_has_output_usage_and_ids(shell, kind):
    """P-CONN-14."""
    async with serve() as server, model_of(shell, kind, server) as model:
        response = await ask(model, shell, "one two")
        assert text_of(response) == "one two"
        assert response.response_id == server.ledger[0].response_id
        assert (response.usage.requests, response.usage.output_tokens) == (1, 2)
        assert response.usage.total_tokens == response.usage.input_tokens + 2
        assert response.usage.input_tokens_details.cached_tokens == 0
        assert response.usage.output_tokens_details.reasoning_tokens == 0
        assert (response.request_id is None) == (kind == "OpenAIResponsesWSModel")


async def test_C5_usage_is_of_one_request_and_zeros_when_the_server_sent_none(shell):
    async def script(peer):
        await peer.upgrade()
        await peer.message()
        await peer.send(created(), completed(text="x"))
        await peer.end()

    async with raw_server(script) as server, model_of(shell, WEBSOCKET, server) as model:
        usage = (await ask(model, shell)).usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (1, 0, 0, 0)
    assert usage.input_tokens_details.cached_tokens == 0
    assert usage.output_tokens_details.reasoning_tokens == 0


# --- C2: HTTP ---------------------------------------------------------------------------------------------------------


async def test_C2_a_streams_terminal_response_carries_the_request_id(shell):
    async with serve() as server, model_of(shell, HTTP, server) as model:
        events = await stream(model, shell)
    assert events[-1].response._request_id.startswith("req_")


class _Stream:
    """A custom client's stream, which counts how it is used."""

    def __init__(self, events, *, fails=False):
        self.events = events
        self.fails = fails
        self.closed = 0

    async def __aiter__(self):
        for event in self.events:
            yield event

    async def aclose(self):
        self.closed += 1
        if self.fails:
            raise RuntimeError("closing failed")


def _custom_client(stream):
    async def create(**kwargs):
        return stream

    return SimpleNamespace(responses=SimpleNamespace(create=create))


def _events(*types):
    return [SimpleNamespace(type=kind, response=_response()) for kind in types]


def _response():
    return sdk.Response.model_construct(id="resp_1", output=[], status="completed", usage=None, model="m")


async def test_C2_a_client_without_streaming_responses_falls_back_to_create(shell):
    source = _Stream(_events("response.created", "response.completed"))
    model = shell.OpenAIResponsesModel("m", _custom_client(source))
    assert [event.type for event in await stream(model, shell)] == ["response.created", "response.completed"]
    assert source.closed == 1


async def test_C2_what_goes_wrong_in_closing_after_the_end_is_logged(shell, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG, "turnwire")
    for setting, told in (("1", "RuntimeError"), ("0", "closing failed")):
        monkeypatch.setenv("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", setting)
        caplog.clear()
        source = _Stream(_events("response.created", "response.completed"), fails=True)
        assert len(await stream(shell.OpenAIResponsesModel("m", _custom_client(source)), shell)) == 2
        assert f"Closing a stream after its terminal event failed: {told}" in caplog.text
    source = _Stream(_events("response.created"), fails=True)
    with pytest.raises(shell.MissingResponseError):  # And not what went wrong in closing it.
        await stream(shell.OpenAIResponsesModel("m", _custom_client(source)), shell)


async def test_C2_what_goes_wrong_in_closing_is_raised_to_a_consumer_that_leaves_in_mid_stream(shell):
    source = _Stream(_events("response.created", "response.completed"), fails=True)
    positional, keyword = arguments(shell)
    events = shell.OpenAIResponsesModel("m", _custom_client(source)).stream_response(*positional, **keyword)
    await anext(events)
    with pytest.raises(RuntimeError, match="closing failed"):
        await events.aclose()
    assert source.closed == 1


async def test_C2_a_cancelled_consumer_leaves_a_stream_that_is_closed_once(shell):
    class Endless(_Stream):
        async def __aiter__(self):
            yield self.events[0]
            await anyio.sleep_forever()

    source = Endless(_events("response.created"))
    model = shell.OpenAIResponsesModel("m", _custom_client(source))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream, model, shell)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await model.close()
    assert source.closed == 1


# --- C3, C7, C8, C9: the connection -----------------------------------------------------------------------------------


async def test_C3_calls_share_one_connection_while_url_and_headers_are_equal(shell):
    async with serve() as server, model_of(shell, WEBSOCKET, server) as model:
        await ask(model, shell)
        await ask(model, shell)
        assert server.connections == 1
        other = shell.ModelSettings(extra_headers={"x-tenant": "2"})
        await ask(model, shell, settings=other)
        await ask(model, shell, settings=other)
        assert server.connections == 2
        await ask(model, shell, settings=shell.ModelSettings(extra_query={"v": "2"}))
        assert server.connections == 3


async def test_C3_a_connection_that_was_lost_between_calls_is_replaced(shell):
    async with serve() as server, model_of(shell, WEBSOCKET, server) as model:
        server.faults.append(Fault(AfterEvent(10), Close(1001)))
        first = await ask(model, shell, "one")
        second = await ask(model, shell, "two")
        assert first.response_id != second.response_id
        assert server.connections <= 2


async def test_C3_several_tasks_use_one_model_at_once_on_lanes_and_in_turn(shell):
    async with serve() as server, model_of(shell, WEBSOCKET, server) as model:
        answers = []

        async def call(lane, number):
            answers.append(text_of(await ask(model.on_lane(lane), shell, f"{lane} {number}")))

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(call, f"lane{number % 3}" if number % 4 else None, number)
        assert len(answers) == 12
        assert server.connections == 1
        assert {entry.lane for entry in server.ledger} == {None, "lane0", "lane1", "lane2"}


async def test_C3_a_model_in_a_scope_answers_pings_between_calls(shell):
    got = anyio.Event()

    async def script(peer):
        await peer.upgrade()
        await peer.message()
        await peer.send(created(), completed(text="x"))
        await peer.send(frame(9, b"still there?"))
        while not isinstance(await peer.item(), Pong):
            pass
        got.set()
        await peer.end()

    async with raw_server(script) as server, model_of(shell, WEBSOCKET, server) as model, model:
        await ask(model, shell)
        await got.wait()


async def test_C7_leaving_before_the_terminal_event_aborts_and_after_it_keeps_the_connection(shell):
    async with serve() as server, model_of(shell, WEBSOCKET, server) as model:
        positional, keyword = arguments(shell, "count 100000")
        async with aclosing(model.stream_response(*positional, **keyword)) as events:
            async for _ in events:
                break
        assert server.connections == 1
        positional, keyword = arguments(shell, "one")
        async with aclosing(model.stream_response(*positional, **keyword)) as events:
            async for event in events:
                if event.type == "response.completed":
                    break
        await ask(model, shell)
        assert server.connections == 2


async def test_C8_a_cancelled_call_aborts_and_the_next_one_works(shell):
    async with serve(faults=[Fault(BeforeEvent(3), Silence())]) as server:
        async with model_of(shell, WEBSOCKET, server) as model:
            with anyio.move_on_after(0.2) as scope:
                await ask(model, shell)
            assert scope.cancelled_caught
            assert text_of(await ask(model, shell, "again")) == "again"
            assert server.connections == 2


# --- C4, C6, C10, C14: endings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_C4_a_failed_response_is_a_result_and_on_request_an_error(shell, kind):
    async with serve() as server:
        async with model_of(shell, kind, server) as model:
            assert (await ask(model, shell, "fail")).response_id
            assert (await stream(model, shell, "fail"))[-1].type == "response.failed"
        async with model_of(shell, kind, server, raise_on_unsuccessful=True) as model:
            with pytest.raises(shell.UnsuccessfulResponseError) as caught:
                await ask(model, shell, "fail")
            assert caught.value.response.status == "failed"


async def test_C6_closing_fails_running_calls_as_aborted_and_they_are_not_repeated(shell):
    async with serve(faults=[Fault(BeforeEvent(3), Silence())]) as server:
        async with model_of(shell, WEBSOCKET, server) as model:
            failures = []

            async def call():
                try:
                    await ask(model, shell)
                except shell.TurnAbortedError as exc:
                    failures.append(exc)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                while not server.ledger or server.ledger[0].events < 2:
                    await anyio.wait_all_tasks_blocked()
                await model.close()
            advice = model.get_retry_advice(shell.ModelRetryAdviceRequest(failures[0]))
            assert advice.suggested is False
            assert advice.normalized.is_abort
            assert text_of(await ask(model, shell, "after close")) == "after close"
            assert len(server.ledger) == 2


async def test_C6_closing_an_idle_connection_has_a_closing_handshake(shell):
    async with serve() as server:
        async with model_of(shell, WEBSOCKET, server) as model:
            await ask(model, shell)
        assert server.ledger[0].outcome == "completed"


async def test_C10_advice_for_both_transports(shell):
    async with serve() as server:
        async with model_of(shell, WEBSOCKET, server) as model:
            server.faults.append(Fault(BeforeEvent(1), Cut()))
            with pytest.raises(shell.TurnError) as caught:
                await ask(model, shell)
            assert caught.value.verdict is shell.Verdict.AMBIGUOUS
            request = shell.ModelRetryAdviceRequest
            assert model.get_retry_advice(request(caught.value)).suggested is True
            assert model.get_retry_advice(request(caught.value, previous_response_id="r")).replay_safety == "unsafe"
        async with model_of(shell, HTTP, server) as model:
            server.faults.append(Fault(BeforeEvent(1), Error(429, "rate_limit_exceeded", headers={"retry-after": "7"})))
            with pytest.raises(openai.RateLimitError) as caught:
                await ask(model, shell)
            assert model.get_retry_advice(request(caught.value)).retry_after == 7


async def test_C14_an_error_frame_raises_with_the_seeds_attributes(shell):
    async with serve() as server, model_of(shell, WEBSOCKET, server) as model:
        with pytest.raises(shell.ResponsesWebSocketError) as caught:
            await ask(model, shell, previous_response_id="resp_unknown")
        error = caught.value
        assert (error.event_type, error.code) == ("error", "previous_response_not_found")
        assert error.payload["error"]["code"] == error.code
        assert str(error).startswith("Responses websocket error: {")
        assert error.verdict is shell.Verdict.SAFE


# --- C11, C12, C13: what is written down, and the options -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_C11_bodies_are_logged_at_debug_if_allowed_and_credentials_never(shell, kind, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG, "turnwire")
    settings = shell.ModelSettings(extra_headers={"x-token": "hush-hush"})
    async with serve() as server:
        for value in ("0", "false", "False"):
            monkeypatch.setenv("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", value)
            caplog.clear()
            async with model_of(shell, kind, server) as model:
                await ask(model, shell, "marmalade", settings=settings)
            lines = [record.getMessage() for record in caplog.records if record.name == "turnwire"]
            assert sum("marmalade" in line for line in lines) == 2
            assert not any("hush-hush" in line or "sk-secret" in line for line in lines)
        caplog.clear()
        for value in (None, "1", "true", "no", ""):
            monkeypatch.delenv("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", raising=False)
            if value is not None:
                monkeypatch.setenv("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", value)
            async with model_of(shell, kind, server) as model:
                await ask(model, shell, "marmalade")
        lines = [record.getMessage() for record in caplog.records if record.name == "turnwire"]
        assert lines == ["Calling LLM", "LLM responded"] * 5


async def test_C11_errors_are_logged_with_the_request_id(shell, caplog):
    async with serve() as server, model_of(shell, HTTP, server) as model:
        server.faults.append(Fault(BeforeEvent(1), Error(500, "server_error")))
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(model, shell)
    assert f"(request_id: {caught.value.request_id})" in caplog.text


class _Tracer:
    def __init__(self):
        self.seen = []

    def start_span(self, *, model):
        self.seen.append(("start", model))
        return self

    def set_usage(self, usage):
        self.seen.append(("usage", usage.output_tokens))

    def set_data(self, *, response, input):
        self.seen.append(("data", response.id, input))

    def set_error(self, message, error, kind):
        self.seen.append(("error", message, error, kind))

    def end(self):
        self.seen.append(("end",))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("run", [ask, stream])
async def test_C12_a_span_holds_what_the_tracing_mode_allows(shell, kind, run):
    modes = shell.ModelTracing
    async with serve() as server:
        for mode, expected in {
            modes.DISABLED: [],
            modes.ENABLED: ["start", "usage", "data", "end"],
            modes.ENABLED_WITHOUT_DATA: ["start", "usage", "end"],
        }.items():
            async with model_of(shell, kind, server, tracer=(tracer := _Tracer())) as model:
                await run(model, shell, "one two", tracing=mode)
                assert [step[0] for step in tracer.seen] == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_C12_a_failures_text_is_on_the_span_only_with_data(shell, kind):
    modes = shell.ModelTracing
    async with serve() as server:
        for mode in (modes.ENABLED, modes.ENABLED_WITHOUT_DATA):
            async with model_of(shell, kind, server, tracer=(tracer := _Tracer())) as model:
                server.faults.append(Fault(BeforeEvent(1), Error(400, "bad_request", message="cucumber")))
                with pytest.raises((openai.BadRequestError, shell.ResponsesWebSocketError)):
                    await ask(model, shell, tracing=mode)
                _, (_, message, text, kind_of), _ = tracer.seen
                assert message == "Error getting response"
                assert ("cucumber" in text) == (mode is modes.ENABLED)
                assert mode is modes.ENABLED or text == kind_of.__name__


async def test_C12_opentelemetry_spans_follow_the_semantic_conventions(shell):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = shell.OpenTelemetryTracer(provider.get_tracer("test"))
    async with serve() as server, model_of(shell, WEBSOCKET, server, tracer=tracer) as model:
        await ask(model, shell, "one two", tracing=shell.ModelTracing.ENABLED)
        with pytest.raises(shell.ResponsesWebSocketError):
            await ask(model, shell, tracing=shell.ModelTracing.ENABLED_WITHOUT_DATA, previous_response_id="resp_0")
    good, bad = exporter.get_finished_spans()
    assert (good.name, good.kind.name) == ("chat gpt-5.4", "CLIENT")
    assert good.attributes["gen_ai.operation.name"] == "chat"
    assert good.attributes["gen_ai.provider.name"] == "openai"
    assert good.attributes["gen_ai.request.model"] == "gpt-5.4"
    assert good.attributes["gen_ai.response.id"] == server.ledger[0].response_id
    assert good.attributes["gen_ai.usage.output_tokens"] == 2
    assert json.loads(good.attributes["gen_ai.output.messages"])[0]["content"][0]["text"] == "one two"
    assert good.status.status_code.name == "UNSET"
    assert bad.attributes["error.type"] == "ResponsesWebSocketError"
    assert bad.status.description == "Error getting response: ResponsesWebSocketError"
    assert "gen_ai.input.messages" not in bad.attributes
    shell.OpenTelemetryTracer()  # The global tracer will do as well.


async def test_C13_the_websocket_options_are_the_seeds_names(shell):
    async def script(peer):
        await peer.upgrade()
        await peer.message()
        await peer.send(created(), delta("x" * 2000), completed())
        await peer.end()

    async with raw_server(script) as server:
        async with model_of(shell, WEBSOCKET, server, websocket_options={"max_size": 1000}) as model:
            with pytest.raises(shell.LimitExceededError):
                await ask(model, shell)
        options = {"ping_interval": None, "ping_timeout": None, "max_size": None}
        async with model_of(shell, WEBSOCKET, server, websocket_options=options) as model:
            await ask(model, shell)
        async with AsyncOpenAI(base_url=server.base_url, api_key="sk-secret-key") as client:
            with pytest.raises(shell.UserError, match="ping_intervall"):
                shell.OpenAIResponsesWSModel("m", client, websocket_options={"ping_intervall": 1})


async def test_a_tool_call_makes_its_round_trip(shell):
    tool = FunctionTool(name="add", description="Adds.", params_json_schema={"type": "object", "properties": {}})
    for kind in KINDS:
        async with serve() as server, model_of(shell, kind, server) as model:
            first = await ask(model, shell, 'call add {"a": 1}', tools=[tool])
            (call,) = first.output
            assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "add", {"a": 1})
            answer = [{"type": "function_call_output", "call_id": call.call_id, "output": "2"}]
            second = await ask(model, shell, answer, tools=[tool], previous_response_id=first.response_id)
            assert text_of(second) == "2"
