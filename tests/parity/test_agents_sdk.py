"""``turnwire.aio.agents``: what a model needs to be one inside of the Agents SDK, a test for each need.

``test_agents_runner.py`` compares whole runs with the Agents SDK's own model.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import agents
import turnwire.aio
from agents import Agent, ModelSettings, ModelTracing, RunConfig, Runner
from agents.exceptions import AgentsException, ModelBehaviorError
from agents.models import _retry_runtime, openai_responses
from agents.models.interface import Model
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest, ModelRetrySettings, retry_policies
from kit.strict_server import serve
from openai import AsyncOpenAI
from openai.types.responses import Response
from turnwire.aio.agents import (
    OpenAIResponsesModel,
    OpenAIResponsesWSModel,
    TurnwireProvider,
    _errors,
    responses_websocket_session,
    set_default_provider,
)
from turnwire.aio.loopback import (
    AfterEvent,
    BeforeEvent,
    Call,
    Cut,
    Error,
    Failed,
    Fault,
    Incomplete,
    LoopbackServer,
    Silence,
    Upgrading,
)
from turnwire.sansio import errors
from turnwire.sansio.replay import Verdict

KINDS = [OpenAIResponsesModel, OpenAIResponsesWSModel]
both = pytest.mark.parametrize("kind", KINDS, ids=["http", "websocket"])
streamed_or_not = pytest.mark.parametrize("streamed", [False, True], ids=["run", "run_streamed"])


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    agents.set_tracing_disabled(True)
    yield
    set_default_provider(None)


def client_of(server: LoopbackServer) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0)


@asynccontextmanager
async def model_of(kind: Any, **options: Any) -> AsyncIterator[tuple[Any, LoopbackServer]]:
    async with serve(**options) as server, client_of(server) as client:
        model = kind("gpt-5.4", client)
        try:
            yield model, server
        finally:
            await model.close()


def call(said: Any = "hello", settings: ModelSettings | None = None, **more: Any) -> dict[str, Any]:
    return {
        "system_instructions": None,
        "input": said,
        "model_settings": settings or ModelSettings(),
        "tools": [],
        "output_schema": None,
        "handoffs": [],
        "tracing": ModelTracing.DISABLED,
        **more,
    }


async def run(agent: Agent[Any], streamed: bool, said: str = "hello", **more: Any) -> Any:
    if not streamed:
        return await Runner.run(agent, said, **more)
    result = Runner.run_streamed(agent, said, **more)
    async for _ in result.stream_events():
        pass
    return result


# --- The twelve obstacles of a model that is none of theirs -----------------------------------------------------------


@both
def test_a_model_is_an_agents_model_and_that_base_comes_last(kind: Any) -> None:
    assert kind.__mro__.index(Model) == len(kind.__mro__) - 3  # Behind it: ABC, object.
    assert Agent(name="a", model=kind("gpt-5.4", AsyncOpenAI(api_key="k"))).model.model == "gpt-5.4"


@both
def test_usage_and_response_are_of_the_agents_sdk(kind: Any) -> None:
    async def main() -> None:
        async with model_of(kind) as (model, _):
            answer = await model.get_response(**call())
            assert type(answer) is agents.ModelResponse
            assert type(answer.usage) is agents.Usage
            assert (answer.usage.requests, answer.usage.total_tokens) == (1, 2)
            spent = agents.Usage()
            spent.add(answer.usage)
            assert [entry.total_tokens for entry in spent.request_usage_entries] == [2]

    asyncio.run(main())


@both
def test_a_response_becomes_input_items(kind: Any) -> None:
    async def main() -> None:
        async with model_of(kind) as (model, _):
            answer = await model.get_response(**call("one"))
            items = [
                {"role": "user", "content": "one"},
                *answer.to_input_items(),
                {"role": "user", "content": "recall"},
            ]
            again = await model.get_response(**call(items))
            assert again.output[0].content[0].text == "one"

    asyncio.run(main())


@both
@streamed_or_not
@pytest.mark.parametrize(
    ("reply", "word"), [(Failed("server_error", "It broke."), "failed"), (Incomplete(), "incomplete")]
)
def test_a_failed_or_incomplete_response_is_a_model_behavior_error(
    kind: Any, streamed: bool, reply: Any, word: str
) -> None:
    async def main() -> None:
        async with model_of(kind, reply=[["Half a ", reply]]) as (model, _):
            with pytest.raises(ModelBehaviorError, match=f"response.{word}") as caught:
                await run(Agent(name="a", model=model), streamed)
            assert caught.value.run_data.raw_responses == []
            if not streamed:  # The Runner itself raises at the last event of a stream.
                assert isinstance(caught.value, turnwire.aio.UnsuccessfulResponseError)
                assert isinstance(caught.value.response, Response)
                assert caught.value.message == str(caught.value)

    asyncio.run(main())


def test_an_error_event_over_http_is_a_model_behavior_error() -> None:
    async def main() -> None:
        async with model_of(OpenAIResponsesModel, reply=[["Half a ", Error(500, "server_error", "It broke.")]]) as both:
            with pytest.raises(ModelBehaviorError, match="It broke") as caught:
                async for _ in both[0].stream_response(**call()):
                    pass
            assert isinstance(caught.value, turnwire.aio.ResponsesHTTPError)
            assert caught.value.verdict is Verdict.UNSAFE

    asyncio.run(main())


def test_advice_says_which_facts_are_known() -> None:
    async def main() -> None:
        async with model_of(OpenAIResponsesWSModel, faults=[Fault(AfterEvent(2), Cut())]) as (model, _):
            with pytest.raises(turnwire.aio.TurnError) as caught:
                await model.get_response(**call())
            advice = model.get_retry_advice(ModelRetryAdviceRequest(error=caught.value, attempt=1, stream=False))
            assert type(advice) is ModelRetryAdvice
            assert (advice.suggested, advice.replay_safety, advice.response_started) == (False, "unsafe", True)
            assert "is_network_error" in advice.normalized._explicit_fields
            assert advice.normalized.is_network_error
            other = model.get_retry_advice(ModelRetryAdviceRequest(error=ValueError(), attempt=1, stream=False))
            assert other is None

    asyncio.run(main())


@streamed_or_not
@pytest.mark.parametrize("retries", [0, 2])
def test_a_runner_that_counts_retries_makes_no_more_connections(streamed: bool, retries: int) -> None:
    settings = ModelRetrySettings(
        max_retries=retries, backoff={"initial_delay": 0.0}, policy=retry_policies.provider_suggested()
    )

    async def main() -> None:
        async with model_of(OpenAIResponsesWSModel, faults=[Fault(Upgrading(), Cut(), times=None)]) as (model, server):
            with pytest.raises(turnwire.aio.TurnError) as caught:
                await run(Agent(name="a", model=model, model_settings=ModelSettings(retry=settings)), streamed)
            assert caught.value.verdict is Verdict.SAFE
            assert server.connections == retries + 1

    asyncio.run(main())


def test_a_runner_that_counts_retries_switches_the_clients_off() -> None:
    client = AsyncOpenAI(api_key="k", max_retries=5)
    model = OpenAIResponsesModel("gpt-5.4", client)
    assert model._http_client.max_retries == 5
    with _retry_runtime.provider_managed_retries_disabled(True):
        assert model._http_client.max_retries == 0


class Spans(agents.TracingProcessor):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_span_end(self, span: Any) -> None:
        if span.span_data.type == "response":
            self.seen.append(span)

    def on_trace_start(self, trace: Any) -> None: ...

    on_trace_end = on_span_start = on_trace_start

    def shutdown(self) -> None: ...

    force_flush = shutdown


@pytest.fixture
def spans() -> Any:
    processor = Spans()
    agents.set_trace_processors([processor])
    agents.set_tracing_disabled(False)
    yield processor.seen
    agents.set_trace_processors([])


@both
@streamed_or_not
def test_a_call_is_a_response_span(kind: Any, streamed: bool, spans: list[Any]) -> None:
    async def main() -> None:
        async with model_of(kind) as (model, _):
            with agents.trace("one") as trace:
                await run(Agent(name="a", model=model), streamed)
            assert spans[0].trace_id == trace.trace_id

    asyncio.run(main())
    (span,) = spans
    assert span.span_data.response.id == "resp_000000000001"
    assert span.span_data.input == [{"content": "hello", "role": "user"}]
    assert span.span_data.usage["total_tokens"] == 2
    assert span.error is None


@streamed_or_not
def test_a_trace_without_data_has_no_text(streamed: bool, spans: list[Any]) -> None:
    async def main() -> None:
        async with model_of(OpenAIResponsesWSModel, reply=["fine", Error(400, "bad", "SECRET")]) as (model, _):
            agent = Agent(name="a", model=model)
            config = RunConfig(trace_include_sensitive_data=False)
            await run(agent, streamed, run_config=config)
            with pytest.raises(openai_responses.ResponsesWebSocketError):
                await run(agent, streamed, run_config=config)

    asyncio.run(main())
    fine, failed = spans
    assert (fine.span_data.response, fine.span_data.input, fine.span_data._response_id) == (None, None, None)
    assert fine.span_data.usage["requests"] == 1
    assert failed.error["data"] == {"error": "Error details are redacted."}


def test_the_id_of_a_response_of_openai_is_traced_even_without_data(spans: list[Any]) -> None:
    async def main() -> None:
        async with model_of(OpenAIResponsesWSModel) as (model, _):
            model._uses_official_openai_endpoint = lambda: True
            with agents.trace("one"):
                await model.get_response(**call(tracing=ModelTracing.ENABLED_WITHOUT_DATA))

    asyncio.run(main())
    assert spans[0].span_data._response_id == "resp_000000000001"


@both
def test_a_model_is_asked_to_clean_up_after_a_run(kind: Any) -> None:
    asyncio.run(kind("gpt-5.4", AsyncOpenAI(api_key="k"))._cleanup_on_run_end(object()))


@pytest.mark.parametrize(
    ("urls", "http", "websocket"),
    [
        ({}, True, True),
        ({"base_url": "http://127.0.0.1/v1"}, False, False),
        ({"websocket_base_url": "wss://api.openai.com/v1"}, True, True),
        ({"websocket_base_url": "wss://gateway.example/v1"}, True, False),
    ],
)
def test_a_cache_key_of_the_runner_goes_to_openai_only(urls: Any, http: bool, websocket: bool) -> None:
    client = AsyncOpenAI(api_key="k", **urls)
    for kind, expected in zip(KINDS, (http, websocket), strict=True):
        model = kind("gpt-5.4", client)
        assert model._supports_default_prompt_cache_key() is expected
        assert model._uses_official_openai_endpoint() is expected


def test_a_custom_client_is_not_openais() -> None:
    assert not OpenAIResponsesWSModel("gpt-5.4", object())._uses_official_openai_endpoint()  # type: ignore[arg-type]


@both
@streamed_or_not
def test_a_request_that_cannot_be_sent_is_their_user_error(kind: Any, streamed: bool) -> None:
    async def main() -> None:
        async with model_of(kind) as (model, server):
            agent = Agent(name="a", model=model, model_settings=ModelSettings(tool_choice="tool_search"), tools=[add])
            with pytest.raises(agents.UserError) as caught:
                await run(agent, streamed)
            assert isinstance(caught.value, turnwire.aio.UserError)
            assert caught.value.run_data is not None
            assert server.requests == []

    asyncio.run(main())


@both
@streamed_or_not
@pytest.mark.parametrize("kept", [False, True])
def test_usage_as_it_was_sent_is_kept_on_demand(kind: Any, streamed: bool, kept: bool) -> None:
    async def main() -> None:
        async with model_of(kind) as (model, _):
            agent = Agent(name="a", model=model, model_settings=ModelSettings(preserve_raw_usage=kept or None))
            result = await run(agent, streamed)
            raw = result.raw_responses[0].raw_usage
            assert (raw and raw["total_tokens"]) == (2 if kept else None)

    asyncio.run(main())


# --- The rest of what a user has of it -------------------------------------------------------------------------------


@agents.function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@streamed_or_not
def test_a_lost_connection_gets_run_data(streamed: bool) -> None:
    """What the run had done is on the exception, which is still turnwire's, with its verdict."""
    fault = Fault(AfterEvent(9), Cut())  # The call of the tool has fewer events.

    def reply(asked: Any) -> Any:
        return "count it up to a good many words, and more" if asked.outputs else Call("add", {"a": 1, "b": 2})

    async def main() -> None:
        async with model_of(OpenAIResponsesWSModel, reply=reply, faults=[fault]) as (model, _):
            with pytest.raises(turnwire.aio.ConnectionLostError) as caught:
                await run(Agent(name="a", model=model, tools=[add]), streamed)
            error: Any = caught.value
            assert isinstance(error, AgentsException)
            assert error.verdict is Verdict.UNSAFE
            assert [one.response_id for one in error.run_data.raw_responses] == ["resp_000000000001"]
            assert [item.type for item in error.run_data.new_items] == ["tool_call_item", "tool_call_output_item"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "begins", "kind"),
    [
        (Fault(BeforeEvent(1), Cut()), "connection closed before any response events were received", RuntimeError),
        (Fault(AfterEvent(3), Cut()), "connection closed before a terminal response event", RuntimeError),
        (Fault(AfterEvent(3), Silence()), "receive timed out", TimeoutError),
    ],
    ids=["before an event", "after an event", "time limit"],
)
def test_a_failure_begins_with_the_words_of_their_model_and_keeps_ours(fault: Any, begins: str, kind: Any) -> None:
    """PARITY D4: for programs that catch RuntimeError, or look for the text."""

    async def main() -> None:
        async with model_of(OpenAIResponsesWSModel, faults=[fault]) as (model, _):
            with pytest.raises(kind, match=f"^Responses websocket {begins}: .* — .* — ") as caught:
                await model.get_response(**call(settings=ModelSettings(extra_args={"timeout": 0.3})))
            assert isinstance(caught.value, turnwire.aio.TurnError)
            assert isinstance(caught.value, AgentsException)

    asyncio.run(main())


def test_advice_on_failures_of_their_own_model_is_theirs() -> None:
    """PARITY D5: a program may ask for it that falls back from their model to ours."""
    model = OpenAIResponsesWSModel("gpt-5.4", AsyncOpenAI(api_key="k"))

    def advice(error: Exception) -> Any:
        return model.get_retry_advice(ModelRetryAdviceRequest(error=error, attempt=1, stream=True))

    assert advice(TimeoutError("Responses websocket connect timed out after 5 seconds.")).replay_safety == "safe"
    assert advice(KeyError("x")) is None
    ours = errors.MissingResponseError("ended")
    wrapped = TimeoutError("Responses websocket connect timed out after 5 seconds.")
    wrapped.__cause__ = ours
    assert advice(wrapped).replay_safety == "unsafe"  # It is turnwire's: the turn ran.


def test_an_error_message_over_websocket_is_their_class_too() -> None:
    async def main() -> None:
        async with model_of(OpenAIResponsesWSModel, reply=[Error(400, "bad", "No.")]) as (model, _):
            with pytest.raises(openai_responses.ResponsesWebSocketError) as caught:
                await model.get_response(**call())
            assert (caught.value.code, caught.value.error_message) == ("bad", "No.")

    asyncio.run(main())


@pytest.mark.parametrize("remade", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_an_exception_survives_a_process(remade: Any) -> None:
    error: Any = errors.UserError("say it")
    _errors.as_theirs(error)
    error.run_data = object()
    again = remade(error)
    assert (type(again), str(again), again.run_data) == (type(error), "say it", None)
    assert (type(error).__name__, type(error).__module__) == ("UserError", "turnwire.sansio.errors")


def test_exceptions_of_others_stay_as_they_are() -> None:
    error = KeyError("x")
    _errors.as_theirs(error)
    assert type(error) is KeyError


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost between"])
def test_run_sync_twice_is_one_connection(lost: bool) -> None:
    """``run_sync`` closes the loop's asynchronous generators after each run; the loop and the connection stay."""
    with_server = asyncio.new_event_loop()
    server = with_server.run_until_complete(serve().__aenter__())
    thread = threading.Thread(target=with_server.run_forever)
    thread.start()
    try:
        model: Any = OpenAIResponsesWSModel("gpt-5.4", client_of(server))
        agent = Agent(name="a", model=model)
        asyncio.set_event_loop(asyncio.new_event_loop())
        for said in ("one", "two", "three"):
            assert Runner.run_sync(agent, said).final_output == said
            if lost and said == "two":
                asyncio.run_coroutine_threadsafe(server.reset(), with_server).result()
        assert server.connections == 1  # After the reset, if there was one.
        (pool,) = model._shared._pools.values()
        assert pool.runtimes[-1].connections[-1].state == "open"
        loop = asyncio.get_event_loop_policy().get_event_loop()
        loop.run_until_complete(loop.shutdown_asyncgens())  # Now it is the loop's end.
        assert pool.runtimes[-1].connections[-1].state == "closed"
        loop.close()
        asyncio.set_event_loop(None)
    finally:
        asyncio.run_coroutine_threadsafe(server.aclose(), with_server).result()
        with_server.call_soon_threadsafe(with_server.stop)
        thread.join()
        with_server.close()


@streamed_or_not
def test_concurrent_runs_of_one_model_take_lanes(streamed: bool) -> None:
    """The Agents SDK's model runs one call after another: these four would wait for each other for ever."""

    async def main() -> None:
        all_there, there = asyncio.Event(), set[int]()

        async def reply(asked: Any) -> str:
            there.add(asked.number)
            if len(there) == 4:
                all_there.set()
            await all_there.wait()
            return f"You said {asked.text}"

        async with model_of(OpenAIResponsesWSModel, reply=reply) as (model, server):
            agent = Agent(name="a", model=model)
            results = await asyncio.gather(*[run(agent, streamed, str(n)) for n in range(4)])
            assert [result.final_output for result in results] == [f"You said {n}" for n in range(4)]
            assert server.connections == 1
            assert len({entry.lane for entry in server.ledger}) == 4

    asyncio.run(asyncio.wait_for(main(), 20))


def test_two_names_share_one_connection() -> None:
    async def main() -> None:
        async with serve() as server, client_of(server) as client:
            provider = TurnwireProvider(client)
            config = RunConfig(model_provider=provider)
            for name in ("gpt-5.4", "openai/gpt-5.4-mini", "gpt-5.4"):
                await Runner.run(Agent(name="a", model=name), "hello", run_config=config)
            assert [entry.body["model"] for entry in server.requests] == ["gpt-5.4", "gpt-5.4-mini", "gpt-5.4"]
            assert server.connections == 1
            assert provider.get_model("gpt-5.4") is provider.get_model("openai/gpt-5.4")
            await provider.aclose()

    asyncio.run(main())


def test_prefixes_are_those_of_the_agents_sdk() -> None:
    client, other = AsyncOpenAI(api_key="k"), agents.MultiProvider(openai_api_key="k").openai_provider
    mapped = agents.models.multi_provider.MultiProviderMap()
    mapped.add_provider("mine", other)
    provider: Any = TurnwireProvider(client, provider_map=mapped)
    assert provider.get_model("openai/gpt-5.4").model == "gpt-5.4"
    assert type(provider.get_model("mine/gpt-5.4")) is openai_responses.OpenAIResponsesModel
    with pytest.raises(agents.UserError, match="Unknown prefix"):
        provider.get_model("else/gpt-5.4")
    whole: Any = TurnwireProvider(client, openai_prefix_mode="model_id", unknown_prefix_mode="model_id")
    assert [whole.get_model(name).model for name in ("openai/m", "else/m")] == ["openai/m", "else/m"]
    default = provider.get_model(None)
    assert (default.model, default._config.model_is_explicit) == (agents.models.get_default_model(), False)


def test_a_provider_over_http_has_http_models() -> None:
    provider = TurnwireProvider(api_key="k", base_url="http://127.0.0.1/v1", transport="http")
    one, two = provider.get_model("one"), provider.get_model("two")
    assert {type(one), type(two)} == {OpenAIResponsesModel}
    assert one._http_client is two._http_client
    asyncio.run(provider.aclose())


def test_options_reach_the_model() -> None:
    provider: Any = TurnwireProvider(AsyncOpenAI(api_key="k"), websocket_options={"ping_interval": 7.0})
    assert provider.get_model("m")._shared._options.ping_interval == 7.0
    with pytest.raises(TypeError, match="pong"):
        TurnwireProvider(AsyncOpenAI(api_key="k"), pong=1).get_model("m")


def test_a_client_that_is_not_given_is_the_agents_sdks() -> None:
    client = AsyncOpenAI(api_key="k")
    agents.set_default_openai_client(client, use_for_tracing=False)
    try:
        assert OpenAIResponsesWSModel("gpt-5.4")._client is client
        assert TurnwireProvider().get_model("gpt-5.4")._client is client
    finally:
        agents.models._openai_shared._default_openai_client = None


@pytest.mark.parametrize("config", [None, {"workflow_name": "mine"}, RunConfig(workflow_name="mine")])
def test_a_default_provider_is_set_in_two_lines(config: Any) -> None:
    async def main() -> None:
        async with serve() as server, client_of(server) as client:
            set_default_provider(provider := TurnwireProvider(client))
            agent = Agent(name="a", model="gpt-5.4")
            for streamed in (False, True):
                await run(agent, streamed, run_config=config)
            assert [entry.transport for entry in server.requests] == ["websocket", "websocket"]
            assert server.connections == 1
            await provider.aclose()

    asyncio.run(main())


def test_a_provider_that_is_given_comes_before_the_default_one() -> None:
    async def main() -> None:
        async with serve() as server, client_of(server) as client:
            set_default_provider(TurnwireProvider(AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:9/v1")))
            given = agents.MultiProvider(openai_client=client)
            await Runner.run(Agent(name="a", model="gpt-5.4"), "hello", run_config=RunConfig(model_provider=given))
            assert [entry.transport for entry in server.requests] == ["http"]

    asyncio.run(main())


@streamed_or_not
def test_a_scope_closes_its_connection(streamed: bool) -> None:
    async def main() -> None:
        async with serve() as server, client_of(server) as client:
            async with responses_websocket_session(client) as session:
                assert isinstance(session, agents.ResponsesWebSocketSession)
                agent = Agent(name="a", model="gpt-5.4")
                for said in ("one", "two"):
                    if streamed:
                        result = session.run_streamed(agent, said)
                        async for _ in result.stream_events():
                            pass
                    else:
                        result = await session.run(agent, said)
                    assert result.final_output == said
                model: Any = session.provider.get_model("gpt-5.4")
                assert model._shared._pools
            assert not model._shared._pools
            assert server.connections == 1

    asyncio.run(main())


def test_their_context_variable_of_headers_is_heard() -> None:
    async def main() -> None:
        async with model_of(OpenAIResponsesModel) as (model, server):
            token = openai_responses._HEADERS_OVERRIDE.set({"X-Team": "blue"})
            await model.get_response(**call(settings=ModelSettings(extra_headers={"X-Team": "red", "X-More": "1"})))
            openai_responses._HEADERS_OVERRIDE.reset(token)
            await model.get_response(**call())
            assert [entry.headers.get("x-team") for entry in server.requests] == ["blue", None]

    asyncio.run(main())


def test_without_the_agents_sdk_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['agents'] = None\nimport turnwire.aio.agents"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'turnwire[agents]'" in ran.stderr


def test_nothing_else_imports_the_agents_sdk() -> None:
    code = "import sys, turnwire.aio, turnwire.trio_shell, turnwire.aio.cli; print('agents' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
