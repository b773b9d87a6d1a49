"""One model call as plain steps: what is logged, what is traced, what is raised and returned. No sockets (PARITY C)."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
from kit.stepping import SteppedShell
from openai import AsyncAzureOpenAI
from openai.types import responses as sdk
from openai.types.responses import response_usage
from turnwire.sansio.agents.call import (
    HEADERS_OVERRIDE,
    ModelArguments,
    ModelCall,
    ModelConfig,
    ModelResponse,
    ModelTracing,
)
from turnwire.sansio.agents.httpmodel import OpenAIResponsesModel
from turnwire.sansio.agents.model import Usage, options_for_model
from turnwire.sansio.agents.settings import ModelSettings
from turnwire.sansio.agents.tracing import DEBUG, ERROR, NO_TRACING, OpenTelemetryTracer
from turnwire.sansio.dialect import AZURE
from turnwire.sansio.errors import (
    ConnectionLostError,
    MissingResponseError,
    ProtocolError,
    ResponsesHTTPError,
    TurnTimeoutError,
    UnsuccessfulResponseError,
    UserError,
)
from turnwire.sansio.replay import Verdict, evidence_of
from turnwire.sansio.session import SessionOptions


class Log:
    """A logger that writes everything from a level on."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.lines: list[str] = []

    def isEnabledFor(self, level: int) -> bool:
        return level >= self.level

    def log(self, level: int, msg: str, *args: object) -> None:
        assert level >= self.level
        self.lines.append(msg % args)


class Spans:
    """A tracer, and the spans that it gave out."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []

    def start_span(self, *, model: str) -> Spans:
        self.steps.append(("start", model))
        return self

    def set_usage(self, usage: Usage) -> None:
        self.steps.append(("usage", usage))

    def set_data(self, *, response: Any, input: Any) -> None:
        self.steps.append(("data", response.id, input))

    def set_error(self, message: str, error: str, kind: type[BaseException]) -> None:
        self.steps.append(("error", message, error, kind))

    def end(self) -> None:
        self.steps.append(("end",))


def call_of(
    given: Any = "hi",
    *,
    tracing: ModelTracing = ModelTracing.ENABLED,
    level: int = DEBUG,
    log_model_data: bool = True,
    stream: bool = False,
    settings: ModelSettings | None = None,
    previous_response_id: str | None = None,
    **config: Any,
) -> tuple[ModelCall, Log, Spans]:
    log, spans = Log(level), Spans()
    arguments = ModelArguments(
        "be brief", given, settings or ModelSettings(), [], None, [], tracing, previous_response_id
    )
    made = ModelConfig("m", True, log, log_model_data, tracer=spans, **config)
    return ModelCall(made, arguments, stream=stream), log, spans


def response(status: str = "completed", **fields: Any) -> sdk.Response:
    text = {"type": "output_text", "text": "marmalade", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [text]}
    usage = {
        "input_tokens": 3,
        "output_tokens": 4,
        "total_tokens": 7,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    members = {"id": "resp_1", "model": "m-1", "status": status, "output": [message], "usage": usage, **fields}
    return sdk.Response.construct(**members)


def event(type_: str, **fields: Any) -> Any:
    return SimpleNamespace(type=type_, **fields)


# --- the steps --------------------------------------------------------------------------------------------------------


def test_a_call_has_the_request_from_the_beginning_of_its_span() -> None:
    call, _, _ = call_of(stream=True, settings=ModelSettings(extra_headers={"x-a": "1"}))
    assert call.kwargs == {}
    with call.span():
        assert (call.kwargs["model"], call.kwargs["stream"]) == ("m", True)
        assert call.kwargs["input"] == [{"role": "user", "content": "hi"}]
        prepared = call.prepared("lane_1")
    assert (prepared.frame["type"], prepared.frame["stream_id"]) == ("response.create", "lane_1")
    assert prepared.headers["x-a"] == "1"


def test_headers_of_the_context_overrule_those_of_the_settings() -> None:
    call, _, _ = call_of(settings=ModelSettings(extra_headers={"X-Tenant": "settings"}))
    token = HEADERS_OVERRIDE.set({"x-tenant": "context"})
    try:
        with call.span():
            assert call.kwargs["extra_headers"]["x-tenant"] == "context"
    finally:
        HEADERS_OVERRIDE.reset(token)


def test_what_cannot_be_sent_is_raised_within_the_span() -> None:
    call, log, spans = call_of(7)
    with pytest.raises(UserError), call.span():
        raise AssertionError("never gets here")
    assert [step[0] for step in spans.steps] == ["start", "error", "end"]
    assert log.lines[0].startswith("Error getting response: the input is of type int")


def test_a_call_is_stateful_if_the_server_keeps_its_past() -> None:
    assert not call_of()[0].stateful
    assert call_of(previous_response_id="resp_0")[0].stateful


def finish(call: ModelCall, answer: Any) -> ModelResponse:
    call.answer(answer)
    return call.result()


# --- results ----------------------------------------------------------------------------------------------------------


def test_the_result_is_the_response_that_came() -> None:
    call, _, _ = call_of()
    came = response()
    came._request_id = "req_1"
    with call.span():
        call.answer(came)
        result = call.result()
    assert (result.output, result.response_id, result.request_id) == (came.output, "resp_1", "req_1")
    usage = result.usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (1, 3, 4, 7)
    assert usage.input_tokens_details.cached_tokens == 1
    assert usage.output_tokens_details.reasoning_tokens == 2


@pytest.mark.parametrize("kind", ["completed", "failed", "incomplete"])
def test_the_result_of_a_stream_is_its_terminal_response_whatever_its_status(kind: str) -> None:
    """P-CONN-14."""
    call, _, _ = call_of(stream=True)
    with call.span():
        call.add(event("response.created", response=response("in_progress")))
        call.add(event("response.output_text.delta", delta="x"))
        assert call.terminal_type is None
        call.add(event(f"response.{kind}", response=response(kind)))
        assert call.terminal_type == f"response.{kind}"
        call.check()
        assert call.result().response_id == "resp_1"
        assert call.result().request_id is None


def test_usage_is_of_one_request_and_zeros_when_the_server_sent_none() -> None:
    call, _, spans = call_of()
    with call.span():
        call.answer(response(usage=None))
        usage = call.result().usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (1, 0, 0, 0)
    assert usage.input_tokens_details.cached_tokens == 0
    assert spans.steps[1] == ("usage", usage)


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_response_that_did_not_succeed_is_an_error_if_the_configuration_says_so(status: str) -> None:
    call, _, spans = call_of(raise_on_unsuccessful=True)
    with pytest.raises(UnsuccessfulResponseError, match=status) as caught, call.span():
        finish(call, response(status))
    assert caught.value.response.status == status
    assert [step[0] for step in spans.steps] == ["start", "usage", "data", "error", "end"]
    streamed, _, _ = call_of(raise_on_unsuccessful=True, stream=True)
    streamed.check()  # Nothing came yet.
    streamed.add(event(f"response.{status}", response=response(status)))
    with pytest.raises(UnsuccessfulResponseError):
        streamed.check()
    fine, _, _ = call_of(raise_on_unsuccessful=True)
    fine.answer(response())
    assert fine.result().response_id == "resp_1"


def test_a_stream_without_a_terminal_response_has_no_result() -> None:
    call, _, _ = call_of(stream=True)
    with pytest.raises(MissingResponseError, match="without a terminal event"):
        call.result()
    for empty in (event("response.completed", response=None), event("response.completed")):
        call.add(empty)
        call.check()
        with pytest.raises(MissingResponseError, match=r"with response\.completed"):
            call.result()


@pytest.mark.parametrize(
    ("indexes", "order"),
    [
        ([1, 0], [1, 0]),
        ([1.0, "0"], [1, 0]),
        ([None, None], [0, 1]),
        (["x", float("nan")], [0, 1]),
        ([float("inf"), "٣"], [0, 1]),
        ([2, None], [0, 1]),
    ],
)
def test_items_that_came_one_by_one_are_the_output_in_the_order_of_their_indexes(indexes: Any, order: Any) -> None:
    call, _, _ = call_of(stream=True)
    items = [{"type": "reasoning", "id": f"rs_{number}"} for number in range(2)]
    for index, item in zip(indexes, items, strict=True):
        assert call.add(event("response.output_item.done", output_index=index, item=item))
    call.add(event("response.output_item.done", output_index=0, item=None))
    call.add(event("response.completed", response=response(output=None)))
    assert call.result().output == [items[number] for number in order]


def test_a_response_that_cannot_be_changed_has_its_output_in_the_result() -> None:
    call, _, _ = call_of(stream=True)
    call.add(event("response.output_item.done", output_index=0, item={"type": "x"}))
    frozen = Frozen("r", None, None)
    call.add(event("response.completed", response=frozen), "req_1")
    assert (call.result().output, frozen.output) == ([{"type": "x"}], None)


@dataclasses.dataclass(frozen=True)
class Frozen:
    id: str
    output: Any
    usage: Any


def test_events_without_a_type_are_passed_over_before_and_after_the_end() -> None:
    call, _, _ = call_of(stream=True)
    for _ in range(2):
        for odd in (None, [], "x", {}, SimpleNamespace(), event(None), event(7)):
            assert call.add(odd) is False
        assert call.add({"type": "response.completed", "response": {"id": "r"}}) is True
    assert call.result().response_id == "r"


def test_what_the_agents_sdk_says_counts_only_if_it_can_be_asked() -> None:
    """R-RECOVER-10."""

    def model_with(modules: dict[str, Any]) -> Any:
        class Model(OpenAIResponsesModel):
            _shell = SimpleNamespace(means=SimpleNamespace(variables={}, model_logger=Log(ERROR), modules=modules))

        return Model("m", SimpleNamespace(with_options=lambda **given: given))  # type: ignore[arg-type]

    def broken() -> bool:
        raise RuntimeError("changed")

    name = "agents.models._retry_runtime"
    asked = {"should_disable_provider_managed_retries": lambda: True}
    assert model_with({name: SimpleNamespace(**asked)})._http_client == {"max_retries": 0}
    for modules in ({}, {name: None}, {name: SimpleNamespace()}):
        assert model_with(modules)._http_client is not None
        assert not isinstance(model_with(modules)._http_client, dict)
    for changed in (broken, 7, lambda: False, lambda one: True):
        modules = {name: SimpleNamespace(should_disable_provider_managed_retries=changed)}
        assert not isinstance(model_with(modules)._http_client, dict)


def test_an_input_item_that_is_of_no_library() -> None:
    chunk = {"stdout": "x", "created_by": "y"}
    output = [{"type": "shell_call_output", "output": [chunk, "odd"], "created_by": "z"}, Frozen("a", [1], None)]
    items = ModelResponse(output, Usage(), "r").to_input_items()
    assert items == [
        {"type": "shell_call_output", "output": [{"stdout": "x"}, "odd"]},
        {"id": "a", "output": [1], "usage": None},
    ]
    assert chunk["created_by"] == "y"


# --- evidence over HTTP -----------------------------------------------------------------------------------------------


class StatusError(Exception):
    def __init__(self, **particulars: Any) -> None:
        self.__dict__.update(particulars)


def test_evidence_is_attached_to_answers_with_an_error_status() -> None:
    """R-HTTP-14."""
    headers = {"retry-after": "3"}
    error = StatusError(status_code=429, body={"message": "slow"}, response=SimpleNamespace(headers=headers))
    call, _, _ = call_of(previous_response_id="resp_0")
    with pytest.raises(StatusError), call.span():
        raise error
    evidence = evidence_of(error)
    assert evidence is not None
    assert (evidence.verdict, evidence.stateful) == (Verdict.SAFE, True)
    assert evidence.refusal is not None
    assert (evidence.refusal.status, evidence.refusal.headers["retry-after"]) == (429, "3")


@pytest.mark.parametrize("status", [None, "429", 0])
def test_no_evidence_is_attached_where_nothing_is_known(status: Any) -> None:
    """R-HTTP-11."""
    error = StatusError(status_code=status, body=None, response=None)
    with pytest.raises(StatusError), call_of()[0].span():
        raise error
    assert evidence_of(error) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), TurnTimeoutError),
        (type("PoolTimeout", (Exception,), {})(), TurnTimeoutError),
        (json.JSONDecodeError("x", "y", 0), ProtocolError),
        (type("APIResponseValidationError", (Exception,), {})("x"), ProtocolError),
        (ConnectionResetError("reset"), ConnectionLostError),
        (RuntimeError("x"), ConnectionLostError),
        (type("APIError", (Exception,), {"body": {"code": "x", "message": "words"}})(), ResponsesHTTPError),
        (type("APIError", (Exception,), {"body": "text"})("words"), ConnectionLostError),
    ],
)
def test_what_a_stream_raises_becomes_a_failure_by_its_kind(error: Exception, kind: type[Exception]) -> None:
    call, _, _ = call_of(stream=True)
    failure = call.broken(error, "req_1")
    assert type(failure) is kind
    assert failure.__cause__ is error
    assert call.broken(failure) is failure  # One of ours stays as it is.
    call.add(event("response.completed", response=response()))
    assert call.broken(error) is None


# --- what is written down ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("level", [DEBUG, ERROR])
def test_bodies_are_logged_at_debug_if_allowed_and_headers_never(level: int, data: bool, stream: bool) -> None:
    settings = ModelSettings(extra_headers={"authorization": "hush"}, extra_query={"key": "hush"})
    call, log, _ = call_of("cucumber", level=level, log_model_data=data, stream=stream, settings=settings)
    with call.span():
        call.add(event("response.completed", response=response()))
    text = "\n".join(log.lines)
    assert "hush" not in text
    if level > DEBUG:
        assert log.lines == []
    elif not data:
        assert log.lines == ["Calling LLM", "LLM responded"]
    else:
        asked, answered = log.lines
        assert asked.startswith("Calling LLM m with:\n")
        assert json.loads(asked.partition("\n")[2])["input"][0]["content"] == "cucumber"
        assert json.loads(answered.partition("\n")[2])[0]["content"][0]["text"] == "marmalade"


@pytest.mark.parametrize(("stream", "doing"), [(False, "getting"), (True, "streaming")])
def test_a_failure_is_logged_with_its_request_id_and_raised_as_it_is(stream: bool, doing: str) -> None:
    failure = RuntimeError("boom")
    failure.request_id = "req_7"  # type: ignore[attr-defined]
    call, log, _ = call_of(level=ERROR, stream=stream)
    with pytest.raises(RuntimeError) as caught, call.span():
        raise failure
    assert caught.value is failure
    assert log.lines == [f"Error {doing} response: boom (request_id: req_7)"]


def test_who_leaves_or_cancels_is_no_failure() -> None:
    for leaving in (GeneratorExit, KeyboardInterrupt):
        call, log, spans = call_of(level=ERROR)
        with pytest.raises(leaving), call.span():
            raise leaving
        assert log.lines == []
        assert [step[0] for step in spans.steps] == ["start", "end"]


@pytest.mark.parametrize(
    ("tracing", "good", "bad"),
    [
        (ModelTracing.DISABLED, [], []),
        (ModelTracing.ENABLED, ["start", "usage", "data", "end"], "boom"),
        (ModelTracing.ENABLED_WITHOUT_DATA, ["start", "usage", "end"], "RuntimeError"),
    ],
)
def test_a_span_holds_what_the_mode_allows(tracing: ModelTracing, good: list[str], bad: Any) -> None:
    call, _, spans = call_of(tracing=tracing)
    with call.span():
        call.answer(response())
    assert [step[0] for step in spans.steps] == good
    call, _, spans = call_of(tracing=tracing)
    with pytest.raises(RuntimeError), call.span():
        raise RuntimeError("boom")
    if tracing is ModelTracing.DISABLED:
        assert spans.steps == []
    else:
        assert spans.steps[1] == ("error", "Error getting response", bad, RuntimeError)
        assert spans.steps[2] == ("end",)


def test_no_tracing_takes_everything_and_keeps_nothing() -> None:
    span = NO_TRACING.start_span(model="m")
    assert span is NO_TRACING.start_span(model="other")
    for taken in (span.set_usage(Usage()), span.set_data(response=None, input=""), span.end()):
        assert taken is None
    assert span.set_error("m", "e", ValueError) is None


def test_opentelemetry_spans() -> None:
    sdk_trace = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = sdk_trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = OpenTelemetryTracer(provider.get_tracer("test"))
    span = tracer.start_span(model="m")
    given = response_usage.InputTokensDetails(cached_tokens=2, cache_write_tokens=0)
    made = response_usage.OutputTokensDetails(reasoning_tokens=1)
    usage = Usage(1, input_tokens=3, input_tokens_details=given, output_tokens=4, output_tokens_details=made)
    span.set_usage(usage)
    span.set_data(response=response(), input="cucumber")
    span.end()
    span = tracer.start_span(model="m")
    span.set_error("Error getting response", "boom", ValueError)
    span.end()
    good, bad = exporter.get_finished_spans()
    assert dict(good.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.model": "m-1",
        "gen_ai.input.messages": '"cucumber"',
        "gen_ai.output.messages": good.attributes["gen_ai.output.messages"],
    }
    assert "marmalade" in good.attributes["gen_ai.output.messages"]
    assert (bad.attributes["error.type"], bad.status.status_code.name) == ("ValueError", "ERROR")
    assert bad.status.description == "Error getting response: boom"
    OpenTelemetryTracer().start_span(model="m").end()  # The global tracer, which does nothing by default.


@pytest.mark.parametrize(
    ("client", "given", "name"),
    [
        (
            AsyncAzureOpenAI(azure_endpoint="https://mine.openai.azure.com", api_version="1", api_key="k"),
            None,
            AZURE.provider,
        ),
        (SimpleNamespace(base_url="https://mine.services.ai.azure.com/openai/v1/"), None, AZURE.provider),
        (SimpleNamespace(base_url="https://api.x.ai/v1"), None, "x_ai"),
        (SimpleNamespace(base_url="https://gateway.test/v1"), None, "openai"),
        (SimpleNamespace(base_url="https://gateway.test/v1"), "mine", "mine"),
        (SimpleNamespace(base_url="https://mine.openai.azure.com/"), "mine", "mine"),
        (SimpleNamespace(base_url="http://["), None, "openai"),
        (SimpleNamespace(base_url=7), None, "openai"),
        (object(), None, "openai"),
    ],
)
def test_the_provider_of_a_span_is_that_of_the_models_client(client: Any, given: str | None, name: str) -> None:
    """P-DIALECT-21"""

    class Model(OpenAIResponsesModel, shell=SteppedShell()):
        pass

    started: list[Any] = []
    tracer: Any = SimpleNamespace(start_span=lambda *_, attributes, **more: started.append(attributes))
    made = OpenTelemetryTracer(tracer, provider=given)
    Model("m", client, tracer=made)._config.tracer.start_span(model="m")
    made.start_span(model="m")
    assert [each["gen_ai.provider.name"] for each in started] == [name, given or "openai"]


# --- options ----------------------------------------------------------------------------------------------------------


def test_websocket_options_have_the_seeds_names() -> None:
    """P-TRANSPORT-12."""
    assert options_for_model(None) == SessionOptions(transport="websocket")
    given = {"ping_interval": 1.0, "ping_timeout": None, "max_size": 5}
    same = {"ping_interval": 1.0, "ping_timeout": None, "max_message_size": 5}
    assert options_for_model(given) == SessionOptions(transport="websocket", **same)
    everything = SessionOptions(max_age=None, transport="http")
    assert options_for_model(everything) is everything
    with pytest.raises(UserError, match="'pingg', 'size'"):
        options_for_model({"pingg": 1, "size": 2, "max_size": 3})
