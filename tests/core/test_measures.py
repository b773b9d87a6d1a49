"""The span and the metrics of a turn: what they have, when, and that whoever takes them changes nothing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from kit.driving import completed, created, delta
from kit.machines import ENDPOINT
from kit.observing import Log, ObservedDriver
from kit.recordings import USAGE, Recordings, attributes_of
from openai.types.responses import ResponseError
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from turnwire.sansio.dialect import AZURE, Dialect
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.measures import CODES, Recorder
from turnwire.sansio.notices import Notices
from turnwire.sansio.replay import RecoveryPolicy
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.telemetry import Telemetry, usage_attributes


class Observed(ObservedDriver):
    """An observed session with the SDK's exporters."""

    def __init__(self, **options: Any) -> None:
        self.given = Recordings()
        self.spans, self.points = self.given.spans, self.given.points
        options.setdefault("max_named_lanes", 32)
        super().__init__(self.given.tracers, self.given.meters, **options)

    def span(self) -> Any:
        (span,) = self.spans()
        return span


def done(number: int = 1, **response: Any) -> dict[str, Any]:
    event = completed(number)
    event["response"] |= {"model": "gpt-5.4-2026", "usage": USAGE, "service_tier": "flex", **response}
    return event


# --- A turn that completes --------------------------------------------------------------------------------------------


def test_the_span_of_a_turn_that_completed() -> None:
    rig = Observed()
    turn = rig.driver.create({"model": "gpt-5.4", "input": "hush"}, lane="one", now=rig.now)
    rig.now += 0.25
    rig.accept()
    rig.say(created())
    rig.now += 1.0
    rig.say(delta(), done())
    assert turn.response is not None
    span = rig.span()
    assert (span.name, span.kind, span.parent) == ("chat gpt-5.4", trace.SpanKind.CLIENT, None)
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("turnwire", "0.1.0")
    assert span.start_time == (10**9 + 100) * 10**9
    assert span.end_time - span.start_time == 1.25e9
    assert span.status.status_code is trace.StatusCode.UNSET
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.4",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.id": "r1",
        "gen_ai.response.model": "gpt-5.4-2026",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.reasoning.output_tokens": 7,
        "openai.api.type": "responses",
        "openai.response.service_tier": "flex",
        "server.address": "server.test",
        "server.port": 443,
        "turnwire.lane": "one",
        "turnwire.repeated": 0,
        "turnwire.transport": "websocket",
    }


def test_the_metrics_of_a_turn_that_completed() -> None:
    rig = Observed()
    rig.driver.create({"model": "gpt-5.4", "input": "hush"}, lane="one", now=rig.now)
    rig.now += 0.25
    rig.accept()
    rig.say(created())
    rig.now += 1.0
    rig.say(delta(), done())
    points = rig.points()
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.4",
        "server.address": "server.test",
        "server.port": 443,
    }
    answered = common | {"gen_ai.response.model": "gpt-5.4-2026"}
    sent = {"turnwire.transport": "websocket"}
    times = {name: points[name][0] for name in ("duration", "time_to_first_chunk", "time_per_output_chunk")}
    assert {name: (point.count, point.sum) for name, point in times.items()} == {
        "duration": (1, 1.25),
        "time_to_first_chunk": (1, 0.25),
        "time_per_output_chunk": (1, 1.0),
    }
    assert {name: dict(point.attributes) for name, point in times.items()} == {
        "duration": answered | sent | {"turnwire.repeated": 0},
        "time_to_first_chunk": answered | sent,
        "time_per_output_chunk": common,
    }
    assert times["duration"].explicit_bounds[:2] == (0.01, 0.02)
    used = {name.removeprefix("usage."): point[0] for name, point in points.items() if name.startswith("usage.")}
    assert {name: point.value for name, point in used.items()} == {
        "input_tokens": 30,
        "output_tokens": 12,
        "cache_read.input_tokens": 20,
        "cache_write.input_tokens": 0,
        "reasoning.output_tokens": 7,
    }
    assert dict(used["input_tokens"].attributes) == answered | {"gen_ai.token.modality": "unknown"}
    spent = {name: points[f"operation.{name}"][0] for name in ("input_tokens", "output_tokens")}
    assert {name: (point.sum, dict(point.attributes)) for name, point in spent.items()} == {
        "input_tokens": (30, answered),
        "output_tokens": (12, answered),
    }
    assert set(points) == {*times, *(f"usage.{name}" for name in used), *(f"operation.{name}" for name in spent)}


def test_events_that_come_with_one_read_are_one_chunk() -> None:
    rig = Observed()
    rig.create(model="m")
    rig.accept()
    rig.say(created(), delta(), delta())
    for _ in range(3):
        rig.now += 0.5
        rig.say(delta(), delta())
    assert [(point.count, point.sum) for point in rig.points()["time_per_output_chunk"]] == [(3, 1.5)]
    rig.now += 1.0
    rig.say(done())
    assert [(point.count, point.sum) for point in rig.points()["time_per_output_chunk"]] == [(4, 2.5)]


def test_no_lane_no_id_and_no_content_is_in_a_metric_and_no_content_in_a_span() -> None:
    rig = Observed()
    body = {"model": "m", "input": "hush", "previous_response_id": "r0", "instructions": "hush", "user": "hush"}
    rig.driver.create(body, lane="one", now=rig.now)
    rig.accept()
    rig.say(created(), delta("hush"), done(output=[{"type": "message", "content": []}], metadata={"a": "hush"}))
    named = str([dict(point.attributes) for points in rig.points().values() for point in points])
    assert all(f"'{word}'" not in named for word in ("one", "r0", "r1"))
    assert "hush" not in named + str(rig.span().to_json())
    assert rig.span().attributes["gen_ai.request.previous_response.id"] == "r0"


def test_the_current_span_of_the_caller_is_the_parent() -> None:
    rig = Observed()
    with rig.given.tracers.get_tracer("application").start_as_current_span("request") as request:
        rig.create(model="m")
    rig.accept()
    rig.say(created(), done())
    turn = next(span for span in rig.spans() if span.name == "chat m")
    assert turn.parent.span_id == request.get_span_context().span_id


@pytest.mark.parametrize(("body", "name"), [({}, "chat"), ({"model": 7}, "chat"), ({"model": "\ud83d"}, "chat ?")])
def test_a_model_that_is_missing_or_odd(body: dict[str, Any], name: str) -> None:
    rig = Observed()
    record = rig.recorder.begin({"previous_response_id": 7, **body}, rig.now)
    record.refused(ValueError("hush"), rig.now + 1.0)
    assert rig.span().name == name


# --- A turn that does not ---------------------------------------------------------------------------------------------


def test_a_turn_that_failed() -> None:
    rig = Observed()
    rig.create(model="m")
    rig.accept()
    rig.now += 2.0
    rig.lost()
    span, points = rig.span(), rig.points()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == "transport, phase AWAIT"
    seen = {
        "error.type": "transport",
        "turnwire.phase": "await",
        "turnwire.repeated": 0,
        "turnwire.transport": "websocket",
        "turnwire.verdict": "ambiguous",
    }
    assert attributes_of(points["duration"]) == seen
    assert points["duration"][0].sum == 2.0
    assert span.attributes.items() >= seen.items()
    assert span.attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert [points[f"usage.{name}"][0].value for name in usage_attributes(None)] == [0] * 5
    assert attributes_of(points["operation.input_tokens"]) == {"error.type": "transport"}
    assert "time_to_first_chunk" not in points


def test_a_turn_that_was_left_is_no_error() -> None:
    rig = Observed()
    turn = rig.create(model="m")
    rig.accept()
    rig.say(created())
    rig.driver.cancel(turn, rig.now)
    assert rig.span().attributes["error.type"] == "cancelled"
    assert rig.span().status.status_code is trace.StatusCode.UNSET
    rig.driver.cancel(turn, rig.now)
    assert len(rig.spans()) == 1


def test_a_turn_that_is_abandoned_ends_its_span_once() -> None:
    rig = Observed()
    turn, _ = rig.create(model="m"), rig.driver.create({"input": "x"}, lane="b", now=rig.now)
    rig.accept()
    rig.say(created())
    rig.driver.cancel(turn, rig.now)
    rig.now += 1.0
    rig.say(delta(), completed())
    rig.lost()
    assert [span.attributes["error.type"] for span in rig.spans()] == ["cancelled", "transport"]


def test_each_repetition_is_an_event_of_the_span() -> None:
    """R-RECOVER-16."""
    rig = Observed(recovery=RecoveryPolicy(initial_delay=0.5))
    rig.create(model="m")
    rig.now += 1.0
    rig.driver.opened(rig.link, rig.now)
    rig.lost()  # In the handshake.
    rig.now += 4.0
    rig.driver.time_came(rig.now)
    rig.accept()
    rig.say(created(), done())
    (event,) = rig.span().events
    assert (event.name, event.timestamp - rig.span().start_time) == ("turnwire.turn.repeated", 10**9)
    assert event.attributes["turnwire.delay"] > 0.0
    assert {name: value for name, value in event.attributes.items() if name != "turnwire.delay"} == {
        "error.type": "transport",
        "turnwire.phase": "handshake",
        "turnwire.reason": "not_run",
        "turnwire.verdict": "safe",
    }
    assert rig.span().attributes["turnwire.repeated"] == 1
    assert rig.span().status.status_code is trace.StatusCode.UNSET
    assert attributes_of(rig.points()["duration"])["turnwire.repeated"] == 1


@pytest.mark.parametrize("observed", [True, False])
def test_a_repetition_without_a_name_is_an_event_of_the_span(observed: bool) -> None:
    """R-RECOVER-16."""
    rig = Observed()
    turn = rig.driver.create({"input": "x"}, lane=AUTO, now=rig.now)
    turn.observer = turn.observer if observed else None
    rig.accept()
    rig.say({"type": "error", "status": 400, "error": {"code": "invalid_stream_id"}, "stream_id": "auto-1"})
    rig.say(created(), done())
    assert turn.response is not None
    found = [dict(event.attributes) for span in rig.spans() for event in span.events]
    assert found == [{"turnwire.reason": "name_refused", "turnwire.delay": 0.0}] * observed


def test_a_turn_that_is_refused_before_it_is_sent() -> None:
    rig = Observed(max_waiting=1)
    rig.create(model="m")
    for body, error in (({"model": "m"}, UserError), ({"model": "m", "input": object()}, TypeError)):
        with pytest.raises(error):
            rig.driver.create(body, now=rig.now)
    spans = rig.spans()
    assert [span.attributes["error.type"] for span in spans] == ["TooManyTurnsError", "WrongTypeError"]
    assert [span.status.description for span in spans] == [
        "refused before it was sent: TooManyTurnsError",
        "refused before it was sent: WrongTypeError",
    ]
    assert sum(point.count for point in rig.points()["duration"]) == 2


def test_a_turn_that_is_refused_where_nobody_observes_raises_the_same() -> None:
    rig = ObservedDriver(max_waiting=1)
    rig.driver._recorder = None  # pyright: ignore
    rig.create()
    with pytest.raises(UserError):
        rig.create()
    rig.accept()
    rig.say(created(), completed())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "rate_limit_exceeded", "status": 429}, "rate_limit_exceeded"),
        ({"code": "made_up_1234", "type": "rate_limit_error", "status": 429}, "rate_limit_error"),
        ({"code": "made_up_1234", "status": 418}, "418"),
        ({"status": 200}, "error_frame"),
        ({"message": "hush"}, "error_frame"),
    ],
)
def test_the_error_type_of_a_refusal_is_one_of_few(error: dict[str, Any], kind: str) -> None:
    rig = Observed(recovery=RecoveryPolicy(attempts=0))
    turn = rig.create(model="m")
    rig.accept()
    rig.say({"type": "error", "error": {"message": "hush", **error}, "status": error.get("status")})
    assert turn.failure is not None
    assert rig.span().attributes["error.type"] == kind
    assert "hush" not in rig.span().to_json()


@pytest.mark.parametrize(
    ("kind", "response", "seen", "reason"),
    [
        ("failed", {"error": {"code": "server_error", "message": "hush"}}, "server_error", "error"),
        ("failed", {"error": {"code": "made_up_1234", "message": "hush"}}, "response_failed", "error"),
        ("failed", {}, "response_failed", "error"),
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, None, "max_output_tokens"),
    ],
)
def test_a_response_that_is_not_completed(kind: str, response: dict[str, Any], seen: str | None, reason: str) -> None:
    rig = Observed()
    rig.create(model="m")
    rig.accept()
    ending = {"id": "r1", "object": "response", "status": kind, "output": [], **response}
    rig.say(created(), {"type": f"response.{kind}", "response": ending})
    span = rig.span()
    assert span.attributes.get("error.type") == seen
    assert span.attributes["gen_ai.response.finish_reasons"] == (reason,)
    assert span.status.description == (None if seen is None else f"the response is {kind}")
    assert "gen_ai.usage.input_tokens" not in span.attributes
    assert "hush" not in span.to_json()


def test_the_codes_are_those_of_the_api() -> None:
    assert set(get_args(ResponseError.model_fields["code"].annotation)) <= CODES


# --- Whoever takes them changes nothing -------------------------------------------------------------------------------


class BrokenError(Exception):
    pass


class Broken:
    """Its methods raise, but for those named; these give the same again."""

    def __init__(self, *working: str) -> None:
        self.working = working

    def __getattr__(self, name: str) -> Any:
        def method(*_: Any, **__: Any) -> Any:
            if name in self.working:
                return self
            raise BrokenError("hush")

        return method


@pytest.mark.parametrize(
    ("tracers", "meters", "told"),
    [
        (Broken(), None, ["the tracer"]),
        (None, Broken(), ["the meter"]),
        (None, Broken("get_meter"), ["the meter"]),
        (Broken("get_tracer"), Broken("get_meter", "create_histogram"), ["the meter", "the tracer"]),
        (Broken("get_tracer", "start_span"), None, ["the tracer"]),
        (None, Broken("get_meter", "create_histogram", "create_counter"), ["the meter"]),
    ],
)
def test_a_tracer_or_meter_that_raises_is_logged_once(tracers: Any, meters: Any, told: list[str]) -> None:
    rig = ObservedDriver(tracers, meters)
    for number in (1, 2):
        turn = rig.create(model="m")
        if number == 1:
            rig.accept()
        record: Any = turn.observer
        assert record.traceparent is None
        rig.say(created(number), delta(), completed(number))
        assert turn.response is not None
    failed = rig.create()
    rig.lost()
    assert failed.failure is not None
    assert [line for line in rig.log.lines if "raised" in line] == [f"30 {who} raised BrokenError" for who in told]
    assert "hush" not in str(rig.log.lines)


def test_a_response_that_cannot_be_read_is_logged_and_the_span_ends() -> None:
    rig = Observed()
    record: Any = rig.recorder.begin({}, rig.now)

    class Unreadable:
        lane = failure = transport = None

        @property
        def response(self) -> Any:
            raise BrokenError("hush")

    record.ended(Unreadable())
    rig.recorder.deliver(rig.now)
    assert rig.span().attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert rig.log.lines == ["30 the response raised BrokenError"]


def test_an_error_of_the_recorder_itself_reaches_no_turn() -> None:
    rig = Observed()
    record: Any = rig.recorder.begin({}, rig.now)
    record.ended(SimpleNamespace())
    rig.recorder.deliver(rig.now)
    assert rig.log.lines == ["30 the telemetry raised AttributeError"]


# --- For the server ---------------------------------------------------------------------------------------------------


def test_the_traceparent_is_that_of_the_turns_span() -> None:
    rig = Observed()
    turn = rig.create(model="m")
    record: Any = turn.observer
    version, trace_id, span_id, flags = record.traceparent.split("-")
    rig.driver.cancel(turn, rig.now)
    context = rig.span().get_span_context()
    assert version == "00"
    ids = (int(trace_id, 16), int(span_id, 16), int(flags, 16))
    assert ids == (context.trace_id, context.span_id, context.trace_flags)
    assert (len(trace_id), len(span_id), len(flags)) == (32, 16, 2)


def test_there_is_no_traceparent_without_a_span() -> None:
    rig = ObservedDriver(trace.NoOpTracerProvider())
    record: Any = rig.create(model="m").observer
    assert record.traceparent is None
    rig = ObservedDriver()
    record = rig.create(model="m").observer
    assert record.traceparent is None


# --- Where they go ----------------------------------------------------------------------------------------------------


def recorder_of(telemetry: Telemetry | None, **modules: Any) -> Recorder | None:
    names = {f"opentelemetry.{name}": module for name, module in modules.items()}
    return Recorder.of(telemetry, names, Notices(Log()), wall_clock=lambda: 0.0, endpoint=ENDPOINT)


def test_nothing_is_recorded_where_there_is_no_provider() -> None:
    assert SessionOptions().telemetry == Telemetry()
    assert recorder_of(Telemetry()) is None
    assert recorder_of(None, trace=trace, metrics=metrics) is None
    stand_ins = {
        "trace": SimpleNamespace(__name__="opentelemetry.trace", get_tracer_provider=trace.ProxyTracerProvider),
        "metrics": SimpleNamespace(__name__="opentelemetry.metrics", get_meter_provider=metrics.NoOpMeterProvider),
    }
    assert recorder_of(Telemetry(), **stand_ins) is None


def test_the_global_providers_are_used_once_the_application_has_set_them() -> None:
    tracing = SimpleNamespace(__name__="opentelemetry.trace", get_tracer_provider=TracerProvider)
    metering = SimpleNamespace(__name__="opentelemetry.metrics", get_meter_provider=MeterProvider)
    assert isinstance(recorder_of(Telemetry(), trace=tracing), Recorder)
    assert isinstance(recorder_of(Telemetry(), metrics=metering), Recorder)
    assert isinstance(recorder_of(Telemetry(meter_provider=MeterProvider())), Recorder)


def test_a_global_provider_that_cannot_be_had_is_logged() -> None:
    def get_tracer_provider() -> Any:
        raise BrokenError("hush")

    log = Log()
    modules = {"opentelemetry.trace": SimpleNamespace(__name__="x", get_tracer_provider=get_tracer_provider)}
    assert Recorder.of(Telemetry(), modules, Notices(log), wall_clock=lambda: 0.0, endpoint=ENDPOINT) is None
    assert log.lines == ["30 the tracer raised BrokenError"]


def test_a_unix_socket_is_the_address_of_the_server() -> None:
    rig = Observed()
    endpoint = Endpoint("ws://localhost/v1/responses", (), "/run/llm.sock")
    recorder = Recorder(rig.given.tracers, None, wall_clock=lambda: 0.0, endpoint=endpoint, notices=rig.notices)
    recorder.begin({}, rig.now).refused(ValueError(), rig.now)
    assert rig.span().attributes["server.address"] == "/run/llm.sock"
    assert "server.port" not in rig.span().attributes


@pytest.mark.parametrize(
    ("url", "dialect", "provider"),
    [
        ("wss://api.openai.com/v1/responses", None, "openai"),
        ("wss://mine.openai.azure.com/openai/v1/responses", None, "azure.ai.openai"),
        ("wss://mine.services.ai.azure.com/openai/v1/responses", None, "azure.ai.openai"),
        ("wss://chatgpt.com/backend-api/codex/responses", None, "openai"),
        ("wss://api.x.ai/v1/responses", None, "x_ai"),
        ("wss://gateway.test/v1/responses", None, "openai"),
        ("wss://gateway.test/v1/responses", AZURE, "azure.ai.openai"),
        ("wss://mine.openai.azure.com/openai/v1/responses", Dialect(name="mine"), "openai"),
        ("wss://gateway.test/v1/responses", Dialect(name="mine", provider="mine.ai"), "mine.ai"),
    ],
)
def test_the_provider_is_that_of_the_dialect(url: str, dialect: Dialect | None, provider: str) -> None:
    """P-DIALECT-21"""
    rig = Observed()
    more: Any = {"wall_clock": lambda: 0.0, "notices": rig.notices, "dialect": dialect}
    recorder = Recorder(rig.given.tracers, None, endpoint=Endpoint(url), **more)
    recorder.begin({}, rig.now).refused(ValueError(), rig.now)
    assert rig.span().attributes["gen_ai.provider.name"] == provider


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider"])
@pytest.mark.parametrize("given", [7, "console", math, SimpleNamespace(get_tracer=None, get_meter=1)])
def test_what_is_no_provider_is_refused(name: str, given: Any) -> None:
    with pytest.raises(WrongTypeError, match=f"Telemetry.{name} is of type .*: write a provider, with get_"):
        Telemetry(**{name: given})


@pytest.mark.parametrize("given", [True, False, "on", TracerProvider()])
def test_an_option_that_is_no_telemetry_is_refused(given: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"SessionOptions\.telemetry is .*: write Telemetry\(…\), or None"):
        SessionOptions(telemetry=given)
