"""The spans and metrics of turns on every event loop and transport, and hooks that do something themselves."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import get_args

import anyio
import openai
import pytest
from kit.models import KINDS, WEBSOCKET, call_of, model_of
from kit.recordings import Recordings
from kit.strict_server import serve
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from turnwire.aio.loopback import AfterEvent, BeforeRun, Cut, Error, Fault, Silence
from turnwire.sansio.notices import NoticeName

pytestmark = pytest.mark.anyio


class Telemetry(Recordings):
    """An application's, for a session."""

    def options(self, shell, **more):
        telemetry = shell.Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)
        return shell.SessionOptions(telemetry=telemetry, recovery=shell.RecoveryPolicy(initial_delay=0.01), **more)


@pytest.fixture
def telemetry():
    return Telemetry()


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_however_a_turn_ends_it_has_one_span_and_one_duration(shell, telemetry, transport):
    faults = [
        Fault(BeforeRun(), Error(503, "server_overloaded"), marker="busy"),
        Fault(AfterEvent(2), Cut(), marker="cut"),
    ]
    options = telemetry.options(shell, transport=transport)
    async with serve(faults=faults) as server, shell.connect(server.base_url, options=options) as session:
        assert (await session.respond(model="m", input="fine")).output_text == "fine"
        for marker in ("busy", "cut"):
            with pytest.raises(shell.TurnError):
                await session.respond(model="m", input="hush", metadata={"marker": marker})
        async with session.create(model="m", input="a b c d e f g h") as turn:
            pass
        assert turn.verdict is not None
        with pytest.raises(shell.UserError):
            await session.respond(model="m", input="x", stream_id="no spaces")
    seen = [span.attributes.get("error.type") for span in telemetry.turns()]
    assert seen[0] is None
    assert seen[2] in ("eof", "transport")
    assert seen[3:] == ["cancelled", "InvalidStreamIdError"]
    first, *_, refused = telemetry.turns()
    assert first.attributes["turnwire.transport"] == transport
    assert first.attributes["gen_ai.usage.output_tokens"] == 1
    assert first.attributes["server.port"] == server.port
    assert "turnwire.transport" not in refused.attributes
    assert telemetry.count("duration") == len(seen) == 5
    assert telemetry.count("time_to_first_chunk") == 2
    assert telemetry.count("usage.output_tokens") == 1
    assert "hush" not in str([span.to_json() for span in telemetry.turns()])


async def test_the_parent_is_the_span_of_the_task_that_began_the_turn(shell, telemetry):
    tracer = telemetry.tracers.get_tracer("application")

    async def request(name: str) -> None:
        with tracer.start_as_current_span(name):
            await session.respond(model=name, input="x")

    async with serve() as server, shell.connect(server.base_url, options=telemetry.options(shell)) as session:
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(request, f"m{number}")
    callers = {span.name: span for span in telemetry.exporter.get_finished_spans() if span.name.startswith("m")}
    assert {span.name: span.parent.span_id for span in telemetry.turns()} == {
        f"chat {name}": span.context.span_id for name, span in callers.items()
    }
    assert all(
        callers[span.name.removeprefix("chat ")].start_time <= span.start_time + 1000 for span in telemetry.turns()
    )


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_turn_that_is_repeated_has_one_span_with_an_event(shell, telemetry, transport):
    refused = Error(429, "rate_limit_exceeded", headers={"retry-after-ms": "1"})
    options = telemetry.options(shell, transport=transport)
    faults = [Fault(BeforeRun(), refused, request=1)]
    async with serve(faults=faults) as server, shell.connect(server.base_url, options=options) as session:
        assert (await session.respond(model="m", input="fine")).output_text == "fine"
        assert session.stats.repeated == 1
    (span,) = telemetry.turns()
    (event,) = span.events
    assert (event.name, event.attributes["turnwire.reason"]) == ("turnwire.turn.repeated", "rate_limit")
    assert event.attributes["error.type"] == "rate_limit_exceeded"
    assert span.attributes["turnwire.repeated"] == 1
    assert "error.type" not in span.attributes
    assert span.start_time <= event.timestamp <= span.end_time


async def test_the_global_providers_are_used_if_they_are_set_before_connecting(shell, telemetry, monkeypatch):
    async with serve() as server:
        async with shell.connect(server.base_url) as session:
            monkeypatch.setattr(trace, "get_tracer_provider", lambda: telemetry.tracers)
            monkeypatch.setattr(metrics, "get_meter_provider", lambda: telemetry.meters)
            await session.respond(model="early", input="x")
        async with shell.connect(server.base_url) as session:
            await session.respond(model="m", input="x")
        async with shell.connect(server.base_url, options=shell.SessionOptions(telemetry=None)) as session:
            await session.respond(model="off", input="x")
    assert [span.name for span in telemetry.turns()] == ["chat m"]
    assert telemetry.count("duration") == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_models_calls_have_the_same_metrics_and_no_span_but_its_tracers(shell, telemetry, kind):
    faults = [
        Fault(BeforeRun(), Cut(), connection=1, request=2),
        Fault(AfterEvent(2), Silence(), connection=2, request=2),
    ]
    providers = shell.Telemetry(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    async with serve(faults=faults) as server, model_of(shell, kind, server, telemetry=providers) as model:
        assert (await model.get_response(*call_of(shell, "fine"))).usage.output_tokens == 1
        with pytest.raises((shell.TurnError, openai.APIConnectionError)):
            await model.get_response(*call_of(shell, "hush"))
        for at_most in (100, 1):
            async with aclosing(model.stream_response(*call_of(shell, "a b c"))) as events:
                async for _ in events:
                    if (at_most := at_most - 1) == 0:
                        break
    assert telemetry.spans() == []
    points = telemetry.points()
    seen = {point.attributes.get("error.type"): point.attributes for point in points["duration"]}
    assert seen.keys() == {None, "cancelled", "eof" if kind == WEBSOCKET else "APIConnectionError"}
    assert telemetry.count("duration") == 4
    transport = "websocket" if kind == WEBSOCKET else "http"
    assert {point.attributes["turnwire.transport"] for point in points["duration"]} == {transport}
    assert {point.attributes["server.port"] for point in points["duration"]} == {server.port}
    assert seen["cancelled"]["turnwire.verdict"] == "unsafe"
    assert telemetry.count("time_to_first_chunk") == (3 if kind == WEBSOCKET else 2)
    assert telemetry.count("usage.output_tokens") == 4  # Of two calls.


class BrokenProcessor(SimpleSpanProcessor):
    def on_end(self, span) -> None:
        raise RuntimeError("hush")


async def test_a_processor_that_raises_costs_no_turn_and_is_logged_once(shell, telemetry, caplog):
    telemetry.tracers.add_span_processor(BrokenProcessor(InMemorySpanExporter()))
    async with serve() as server, shell.connect(server.base_url, options=telemetry.options(shell)) as session:
        for _ in range(3):
            assert (await session.respond(model="m", input="fine")).output_text == "fine"
    lines = [record.getMessage() for record in caplog.records if record.name == "turnwire.session"]
    assert [line for line in lines if "raised" in line] == ["the tracer raised RuntimeError"]


# --- Hooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_each_kind_is_told_once_in_each_transport(shell, transport, caplog):
    caplog.set_level("INFO", logger="turnwire.session")
    told: list[tuple[str, str]] = []
    options = shell.SessionOptions(
        transport=transport,
        recovery=shell.RecoveryPolicy(initial_delay=0.01, repeat_ambiguous_stateless=True),
    )
    faults = [Fault(BeforeRun(), Cut(), request=2)]
    async with serve(faults=faults) as server, shell.connect(server.base_url, options=options) as session:
        for name in get_args(NoticeName):
            session.on(name, lambda notice: told.append((notice.name, notice.transport)))
        for _ in range(3):
            assert (await session.respond(model="m", input="fine")).output_text == "fine"
    count = Counter(name for name, _ in told)
    assert count["turn_repeated"] == count["connection_lost"] == 1
    assert count["connection_opened"] + 1 == count["connection_lost"] + count["connection_closed"]  # 1: before on().
    assert count.keys() <= {"turn_repeated", "connection_lost", "connection_opened", "connection_closed"}
    assert {spoken for _, spoken in told} == {transport}
    levels = [record.levelname for record in caplog.records if record.name == "turnwire.session"]
    assert Counter(levels) == {"INFO": len(told), "WARNING": 1}


async def test_a_hook_may_begin_a_turn_and_close_the_session(shell):
    turns: list[object] = []

    def begin(notice) -> None:
        turn = session.create(model="m", input="again")
        with pytest.raises(StopIteration):
            turn.__aenter__().send(None)
        turns.append(turn)

    def close(notice) -> None:
        group.start_soon(session.aclose)

    faults = [Fault(AfterEvent(2), Cut(), request=1)]
    async with serve(faults=faults) as server, anyio.create_task_group() as group:
        session = await shell.connect(server.base_url)
        off = session.on("connection_lost", begin)
        with pytest.raises(shell.TurnError):
            await session.respond(model="m", input="a b c d e f")
        off()
        (turn,) = turns
        async for _ in turn:
            pass
        assert turn.result().output_text == "again"
        session.on("turn_repeated", close)
        session.on("connection_lost", close)
        server.faults.append(Fault(BeforeRun(), Cut()))
        with pytest.raises(shell.TurnError):
            await session.respond(model="m", input="x")
    with pytest.raises(shell.SessionClosedError):
        await session.respond(model="m", input="x")


async def later(notice) -> None:
    raise AssertionError("never awaited")


async def test_an_async_hook_is_refused(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        with pytest.raises(shell.WrongTypeError, match="cannot be called without waiting"):
            session.on("rotated", later)
