"""The metrics of a model's calls, over HTTP as over WebSocket, without an event loop or a network."""

from __future__ import annotations

from typing import Any

import pytest
from kit.recordings import USAGE, Recordings, attributes_of
from kit.stepped_models import CREATED, DELTA, HttpResponse, Stream, arguments, client_of, event, http_model, ws_model
from kit.stepping import Cancelled, SteppedShell, finished, step
from openai.types import responses as sdk
from turnwire.sansio.errors import ResponsesHTTPError, StreamEndedError, TurnTimeoutError, WrongTypeError
from turnwire.sansio.telemetry import Telemetry, usage_attributes

HOST = "http://h.test:8000/v1"


def answer(status: str = "completed", **more: Any) -> Any:
    usage = sdk.ResponseUsage.model_validate(USAGE)
    return sdk.Response.construct(id="r", status=status, output=[], model="m-1", usage=usage, **more)


class Rig:
    """A model over HTTP whose client gives this answer."""

    def __init__(self, given: Any, **more: Any) -> None:
        self.shell = SteppedShell()
        self.given = Recordings()
        self.client = client_of(given)
        self.client.base_url = HOST
        more.setdefault("telemetry", Telemetry(meter_provider=self.given.meters, tracer_provider=self.given.tracers))
        self.model = http_model(self.shell, self.client, **more)

    def ask(self) -> Any:
        return finished(self.model.get_response(*arguments(timeout=7.0)))

    def stream(self, at_most: int = 100) -> None:
        events = self.model.stream_response(*arguments())
        for _ in range(at_most):
            if step(events) is None:
                break
            self.shell.at += 1.0
        finished(events.aclose())

    def seen(self) -> dict[str, Any]:
        """What the metric of the duration has in addition to what all have."""
        assert self.given.count("duration") == 1
        assert self.given.spans() == []
        return attributes_of(self.given.points()["duration"])


def test_a_call_over_http_has_the_metrics_of_a_turn() -> None:
    rig = Rig(HttpResponse(Stream(CREATED, DELTA, DELTA, event("response.completed", response=answer()))))
    rig.shell.slow = 0.25
    rig.stream()
    points = rig.given.points()
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "server.address": "h.test",
        "server.port": 8000,
    }
    answered = common | {"gen_ai.response.model": "m-1"}
    assert dict(points["duration"][0].attributes) == answered | {"turnwire.transport": "http"}
    assert dict(points["time_per_output_chunk"][0].attributes) == common
    assert [points[f"usage.{name}"][0].value for name in usage_attributes(None)] == [30, 12, 20, 0, 7]
    assert (points["time_to_first_chunk"][0].sum, rig.given.count("time_to_first_chunk")) == (0.75, 1)
    assert (points["time_per_output_chunk"][0].sum, rig.given.count("time_per_output_chunk")) == (3.75, 3)
    assert rig.seen() == {"turnwire.transport": "http"}


def test_an_answer_without_a_stream_has_no_chunks() -> None:
    rig = Rig(answer())
    assert rig.ask().response_id == "r"
    assert rig.seen() == {"turnwire.transport": "http"}
    assert not {"time_to_first_chunk", "time_per_output_chunk"} & rig.given.points().keys()
    assert rig.given.count("usage.input_tokens") == 30


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error", "message": "hush"}, "server_error"),
        ({"code": "made_up_1234", "message": "hush"}, "response_failed"),
        ({"code": ["odd"]}, "response_failed"),
        (None, "response_failed"),
    ],
)
def test_a_response_that_failed(error: Any, kind: str) -> None:
    rig = Rig(answer("failed", error=error))
    rig.ask()
    assert rig.seen() == {"turnwire.transport": "http", "error.type": kind}


@pytest.mark.parametrize(
    ("given", "raised", "kind", "verdict"),
    [
        ({"error": {"code": "server_error", "message": "hush"}}, ResponsesHTTPError, "server_error", "ambiguous"),
        (RuntimeError("hush"), RuntimeError, "RuntimeError", None),
    ],
)
def test_a_call_without_a_response(given: Any, raised: Any, kind: str, verdict: str | None) -> None:
    rig = Rig(given)
    with pytest.raises(raised):
        rig.ask()
    seen = rig.seen()
    assert (seen["error.type"], seen.get("turnwire.verdict")) == (kind, verdict)
    assert rig.given.count("usage.input_tokens") == 0


def test_a_clients_exception_with_a_status_has_a_verdict() -> None:
    class StatusError(Exception):
        status_code = 429
        body = {"code": "rate_limit_exceeded", "message": "hush"}  # noqa: RUF012

    rig = Rig(StatusError())
    with pytest.raises(StatusError):
        rig.ask()
    seen = rig.seen()
    assert (seen["error.type"], seen["turnwire.verdict"]) == ("rate_limit_exceeded", "safe")


def test_a_deadline_and_a_stream_that_breaks_off() -> None:
    rig = Rig(answer())
    rig.shell.slow = 8.0
    with pytest.raises(TurnTimeoutError):
        rig.ask()
    assert (rig.seen()["error.type"], rig.seen()["turnwire.verdict"]) == ("timeout", "ambiguous")
    rig = Rig(HttpResponse(Stream(CREATED)))
    with pytest.raises(StreamEndedError):
        rig.stream()
    assert (rig.seen()["error.type"], rig.seen()["turnwire.verdict"]) == ("eof", "unsafe")


def test_an_error_event_is_what_ended_a_call_that_was_left_after_it() -> None:
    rig = Rig(HttpResponse(Stream(event("error", code="server_error", message="hush"))))
    rig.stream(1)
    assert rig.seen()["error.type"] == "server_error"


def test_a_consumer_that_leaves_is_no_error_but_after_the_last_event_it_leaves_nothing() -> None:
    rig = Rig(HttpResponse(Stream(CREATED, DELTA)))
    rig.stream(2)
    assert rig.seen() == {
        "error.type": "cancelled",
        "turnwire.phase": "stream",
        "turnwire.transport": "http",
        "turnwire.verdict": "unsafe",
    }
    rig = Rig(Cancelled())
    with pytest.raises(Cancelled):
        rig.ask()
    assert rig.seen() == {"turnwire.transport": "http", "error.type": "cancelled"}
    rig = Rig(HttpResponse(Stream(CREATED, event("response.completed", response=answer()), DELTA)))
    rig.stream(2)
    assert rig.seen() == {"turnwire.transport": "http"}


def test_the_end_of_a_response_that_is_not_there_is_an_end() -> None:
    rig = Rig(HttpResponse(Stream(CREATED, event("response.completed"))))
    rig.stream()
    assert rig.seen() == {"turnwire.transport": "http"}
    assert rig.given.count("usage.input_tokens") == 0


def test_the_server_is_that_of_the_clients_present_url() -> None:
    rig = Rig(answer())
    for url in (HOST, HOST, "https://other.test/v1", "no URL", None):
        rig.client.base_url = url
        rig.ask()
    hosts = {point.attributes.get("server.address"): point.count for point in rig.given.points()["duration"]}
    assert hosts == {"h.test": 2, "other.test": 1, None: 2}


def test_nothing_is_measured_where_nobody_wants_it() -> None:
    rig = Rig(HttpResponse(Stream(CREATED, event("response.completed", response=answer()))), telemetry=None)
    rig.stream()
    assert rig.given.points() == {}
    assert rig.model._metrics._recorder is None


def test_a_meter_that_raises_costs_no_call() -> None:
    class Broken:
        def get_meter(self, *_: Any) -> Any:
            raise RuntimeError("hush")

    rig = Rig(HttpResponse(Stream(CREATED, event("response.completed", response=answer()))))
    rig.model._metrics._telemetry = Telemetry(meter_provider=Broken())
    rig.stream()
    assert [line for line in rig.shell.logger.lines if "raised" in line] == ["the meter raised RuntimeError"]


def test_what_is_no_telemetry_is_refused() -> None:
    with pytest.raises(WrongTypeError, match=r"telemetry is True, of type bool: write Telemetry\(…\), or None"):
        Rig(answer(), telemetry=True)
    with pytest.raises(WrongTypeError, match=r"Telemetry\.spans is 1, of type int: write True or False"):
        Telemetry(spans=1)  # type: ignore[arg-type]


def test_over_websocket_the_session_measures_and_has_no_spans() -> None:
    shell, given = SteppedShell(), Recordings()
    model = ws_model(shell, telemetry=Telemetry(meter_provider=given.meters, tracer_provider=given.tracers))
    assert ws_model(shell, telemetry=None)._shared._options.telemetry is None
    options = model._shared._options
    assert options.telemetry.tracers({}) is None
    assert options.telemetry.meters({}) is given.meters
