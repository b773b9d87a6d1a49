"""The span and the metrics of each turn, by OpenTelemetry's semantic conventions for generative AI.

Turns of sessions and calls of models are measured here. A model's calls have metrics alone: its ``tracer`` makes their
spans. Over WebSocket they are turns of a session; over HTTP the caller's client makes the request, and the model says
what came and how it ended (:class:`Measured`).

The promise (DESIGN.md, "Observers")
    During a step, what happens to a turn is only stored. The tracer and the meter are called when the step is over and
    consumers were woken, as hooks are (``driver.py``, "The order of a step"); only the span is started before, in the
    task that begins the turn, so that its parent is that task's current span. What they raise is logged once per kind
    and never reaches a turn. All times are the driver's: a span's duration and the metric of it are the same number.

    No text of a request, an answer or an error, no header and no key goes into a span or a metric. The metrics have no
    ids and no lane names either: each attribute of theirs has few values.

The names are those of https://github.com/open-telemetry/semantic-conventions-genai, release v0.1.0

    ==================================================== ===== ========================================================
    metric                                               unit  recorded
    ==================================================== ===== ========================================================
    ``gen_ai.client.inference.duration``                 s     when a turn ends, however it ends
    ``gen_ai.client.inference.time_to_first_chunk``      s     then, if an event came
    ``gen_ai.client.inference.time_per_output_chunk``    s     for each chunk after the first; events that come with
                                                               one read are one chunk
    ``gen_ai.client.inference.usage.…``                  token counters: ``input_tokens``, ``output_tokens``,
                                                               ``cache_read.input_tokens``, ``reasoning.output_tokens``,
                                                               ``cache_write.input_tokens``; 0 if the server said none
    ``gen_ai.client.inference.operation.…``              token histograms: ``input_tokens``, ``output_tokens``
    ==================================================== ===== ========================================================

What the conventions do not have

    ========================= =========================================================================================
    attribute                 value
    ========================= =========================================================================================
    ``turnwire.verdict``      ``safe``, ``unsafe`` or ``ambiguous``; of a turn that failed or was left
    ``turnwire.phase``        how far such a turn got: ``lane_wait``, ``connect``, … ``stream``
    ``turnwire.transport``    ``websocket`` or ``http``; of a turn that was sent
    ``turnwire.repeated``     how often the turn was sent again; where the caller's client sends it, this is not known
    ``turnwire.lane``         the lane's name; of spans only
    ========================= =========================================================================================

    ``error.type`` is the code of the server's error if it is one of :data:`CODES`, else its HTTP status, else the
    :class:`~turnwire.sansio.evidence.Cause`; for a turn that was refused before it was sent, the exception's class. A
    turn that its consumer left has ``cancelled``, and its span no status. Each repetition is an event of the span,
    ``turnwire.turn.repeated``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

from .connection import Turn
from .connections import why
from .dialect import Dialect, dialect_of_host
from .endpoint import USER_AGENT, Endpoint
from .error_body import STATUS_BY_CODE
from .errors import TurnError
from .events import Response
from .evidence import Cause, Evidence, Verdict
from .notices import Notices
from .replay import evidence_of
from .telemetry import Telemetry, encodable, span_usage, usage_attributes

__all__ = ["CODES", "Measured", "Recorder", "TurnRecord"]

CODES: Final = frozenset(STATUS_BY_CODE) | {
    "bio_policy",
    "data_residency_mismatch",
    "empty_image_file",
    "failed_to_download_image",
    "image_content_policy_violation",
    "image_file_not_found",
    "image_file_too_large",
    "image_parse_error",
    "image_too_large",
    "image_too_small",
    "invalid_base64_image",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_mode",
    "invalid_image_url",
    "invalid_prompt",
    "misalignment_policy_violation",
    "rate_limit_exceeded",
    "server_error",
    "unsupported_image_media_type",
    "vector_store_timeout",
}
"""The codes that ``error.type`` may be: those of the API. A server's other codes could be any number of values."""

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The boundaries of histograms that the conventions name."""

_INFERENCE: Final = "gen_ai.client.inference."
_HISTOGRAMS: Final[Mapping[str, tuple[str, tuple[float, ...], str]]] = {
    "duration": ("s", _SECONDS, "GenAI client inference operation duration."),
    "time_to_first_chunk": ("s", _SECONDS, "Time to receive the first chunk of the response stream."),
    "time_per_output_chunk": ("s", _SECONDS, "Time per output chunk, for each chunk after the first."),
    "operation.input_tokens": ("{token}", _TOKENS, "The number of input tokens used per inference operation."),
    "operation.output_tokens": ("{token}", _TOKENS, "The number of output tokens used per inference operation."),
}
VERSION: Final = USER_AGENT.rpartition("/")[2]
"""Of turnwire, for the tracer and the meter."""
_BILLION: Final = 1_000_000_000


class Measured(Protocol):
    """What is read of a turn that has ended. A :class:`~turnwire.sansio.connection.Turn` is one."""

    @property
    def transport(self) -> str | None:
        """``websocket`` or ``http``; None: it was not sent."""
        ...

    @property
    def lane(self) -> str | None:
        """The lane's name."""
        ...

    @property
    def failure(self) -> BaseException | None:
        """Why it failed; None: it ended with a response."""
        ...

    @property
    def response(self) -> Any:
        """An object with the attributes of :class:`~turnwire.sansio.events.Response`; None: there is none."""
        ...


class Recorder:
    """Makes the spans and the metrics of a session's turns. See the top of the module; made by :meth:`of`."""

    def __init__(
        self,
        tracers: Any,
        meters: Any,
        *,
        wall_clock: Callable[[], float],
        endpoint: Endpoint | None,
        notices: Notices,
        dialect: Dialect | None = None,
    ) -> None:
        """``endpoint`` is None where nobody knows which server a client talks to."""
        self._wall_clock = wall_clock
        self.guarded = notices.guarded
        self.pending: dict[TurnRecord, None] = {}
        """The turns to which something has happened since :meth:`deliver`."""
        self._tracer: Any = None
        self._meters: dict[str, Callable[[float, Mapping[str, Any]], None]] = {}
        """The function that records a value, by the end of the metric's name; where there is none, nothing is."""
        self._attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": (dialect or dialect_of_host(endpoint.host if endpoint else "")).provider,
        }
        """Those that every span and every measurement has."""
        if endpoint is not None:
            self._attributes["server.address"] = endpoint.socket or endpoint.host
        if endpoint is not None and endpoint.socket is None:
            self._attributes["server.port"] = endpoint.port
        if tracers is not None:
            self._tracer = self.guarded("the tracer", lambda: tracers.get_tracer("turnwire", VERSION))
        if meters is not None:
            self.guarded("the meter", lambda: self._make_instruments(meters.get_meter("turnwire", VERSION)))

    @classmethod
    def of(
        cls, telemetry: Telemetry | None, modules: Mapping[str, Any], notices: Notices, **more: Any
    ) -> Recorder | None:
        """The recorder for a session's option; None: there is nothing to record to.

        ``modules`` are those that the process has imported. ``more`` are arguments of the class.
        """
        if telemetry is None:
            return None
        tracers = notices.guarded("the tracer", lambda: telemetry.tracers(modules))
        meters = notices.guarded("the meter", lambda: telemetry.meters(modules))
        return None if tracers is None and meters is None else cls(tracers, meters, notices=notices, **more)

    def _make_instruments(self, meter: Any) -> None:
        for name, (unit, boundaries, what) in _HISTOGRAMS.items():
            made = meter.create_histogram(_INFERENCE + name, unit, what, explicit_bucket_boundaries_advisory=boundaries)
            self._meters[name] = made.record
        for name in usage_attributes(None):
            what = f"The number of {name.replace('_', ' ').replace('.', ', ')} used."
            self._meters[f"usage.{name}"] = meter.create_counter(f"{_INFERENCE}usage.{name}", "{token}", what).add

    def begin(self, body: Mapping[str, Any], now: float, *, repeated: int | None = 0) -> TurnRecord:
        """Start the span of a turn with this body. The current span of the caller is its parent.

        ``repeated``: how often it was sent again so far; None: nobody will know.
        """
        attributes = dict(self._attributes)
        model, previous = body.get("model"), body.get("previous_response_id")
        if isinstance(model, str):
            attributes["gen_ai.request.model"] = encodable(model)
        record = TurnRecord(self, attributes, now, repeated)
        if self._tracer is not None:
            more: dict[str, Any] = {"gen_ai.request.stream": True, "openai.api.type": "responses"}
            if isinstance(previous, str):
                more["gen_ai.request.previous_response.id"] = encodable(previous)
            self.guarded("the tracer", lambda: record.start(self._tracer, self._wall_clock(), attributes | more))
        return record

    def around(self, begin: Callable[[TurnRecord], Turn], body: Mapping[str, Any], now: float) -> Turn:
        """Begin a turn by a function that takes its record. If that raises, the record ends."""
        record = self.begin(body, now)
        try:
            return begin(record)
        except Exception as exc:
            record.refused(exc, now)
            raise

    def record(self, name: str, value: float, attributes: Mapping[str, Any]) -> None:
        """Record a value of the metric whose name ends so."""
        record = self._meters.get(name)
        if record is not None:
            self.guarded("the meter", lambda: record(value, attributes))

    def deliver(self, now: float) -> None:
        """Pass what has happened in this step to the tracer and the meter."""
        while self.pending:
            record, _ = self.pending.popitem()
            self.guarded("the telemetry", lambda record=record: record.deliver(now))


class TurnRecord:
    """What is measured of one turn: a :class:`~turnwire.sansio.connection.TurnObserver`. Made by the recorder."""

    def __init__(self, recorder: Recorder, attributes: dict[str, Any], now: float, repeated: int | None = 0) -> None:
        self._recorder = recorder
        self._attributes = attributes
        """Those of its measurements."""
        self._began = now
        self._first: float | None = None
        """When the first event came."""
        self._last = now
        """When the last event came."""
        self._gaps: list[float] = []
        """The seconds between chunks, as far as they are not recorded yet."""
        self._repeats: list[dict[str, Any]] = []
        """The repetitions that the span does not have yet, by their attributes."""
        self._repeated = repeated
        self._span: Any = None
        self._started = 0
        """When the span started, in nanoseconds since the epoch."""
        self._turn: Measured | None = None
        """The turn, when it has ended."""

    def start(self, tracer: Any, wall: float, attributes: Mapping[str, Any]) -> None:
        """Start the span. ``wall`` is the time, in seconds since the epoch."""
        from opentelemetry.trace import SpanKind

        name = " ".join(filter(None, ("chat", attributes.get("gen_ai.request.model"))))
        self._started = int(wall * _BILLION)
        self._span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=self._started)

    @property
    def traceparent(self) -> str | None:
        """The span as the ``traceparent`` of the W3C's Trace Context, for the server; None: there is no span."""
        return None if self._span is None else self._recorder.guarded("the tracer", self._traceparent)

    def _traceparent(self) -> str | None:
        context = self._span.get_span_context()
        ids = f"{context.trace_id:032x}-{context.span_id:016x}"
        return f"00-{ids}-{context.trace_flags:02x}" if context.is_valid else None

    # -- what happens to the turn

    def came(self, now: float) -> None:
        """An event came. Hot path: runs once per event."""
        if self._first is None:
            self._first = now
        elif now > self._last:
            self._gaps.append(now - self._last)
            self._recorder.pending[self] = None
        self._last = now

    def repeats(self, reason: str, failure: TurnError | None, delay: float) -> None:
        """The turn is sent again."""
        seen = {} if failure is None else _of_failure(failure.evidence)
        self._repeats.append({"turnwire.reason": reason, "turnwire.delay": delay, **seen})
        self._repeated = (self._repeated or 0) + 1
        self._recorder.pending[self] = None

    def ended(self, turn: Measured) -> None:
        """The turn has ended."""
        self._turn = turn
        self._recorder.pending[self] = None

    def refused(self, error: Exception, now: float) -> None:
        """The turn was not begun: ``create`` raised this."""
        kind = type(error).__name__
        self._end(now, {"error.type": kind}, None, f"refused before it was sent: {kind}")

    # -- what the tracer and the meter get

    def deliver(self, now: float) -> None:
        """Record what has happened in this step. Only the recorder calls it, or the owner of a record of its own."""
        self._recorder.pending.pop(self, None)
        gaps, self._gaps = self._gaps, []
        for gap in gaps:
            self._recorder.record("time_per_output_chunk", gap, self._attributes)
        repeats, self._repeats = self._repeats, []
        for attributes in repeats:
            self._to_span("add_event", "turnwire.turn.repeated", attributes, self._at(now))
        if self._turn is not None:
            self._ended(self._turn, now)

    def _ended(self, turn: Measured, now: float) -> None:
        seen: dict[str, Any] = {} if self._repeated is None else {"turnwire.repeated": self._repeated}
        if turn.transport is not None:
            seen["turnwire.transport"] = turn.transport
        response = self._recorder.guarded("the response", lambda: turn.response)
        failure, words = turn.failure, ""
        if failure is not None:
            evidence = evidence_of(failure)
            seen |= {"error.type": _kind_of(failure)} if evidence is None else _of_failure(evidence)
            words = why(failure) if isinstance(failure, TurnError) else ""
        elif response is not None and response.status in ("failed", "cancelled"):
            code = None if response.error is None else response.error.code
            seen["error.type"] = code if code in CODES else f"response_{response.status}"
            words = f"the response is {response.status}"
        if turn.lane is not None:
            self._to_span("set_attribute", "turnwire.lane", turn.lane)
        self._end(now, seen, response, "" if seen.get("error.type") == Cause.CANCELLED.value else words)
        self._record_usage(seen, response)

    def _end(self, now: float, seen: dict[str, Any], response: Response | None, words: str) -> None:
        """End the span, and record the times. ``words`` say what failed, if that is an error."""
        if response is not None and response.model:
            self._attributes["gen_ai.response.model"] = encodable(response.model)
        if self._first is not None:
            first, self._first = self._first - self._began, None
            self._to_span("set_attribute", "gen_ai.response.time_to_first_chunk", first)
            sent = {name: value for name, value in seen.items() if name == "turnwire.transport"}
            self._recorder.record("time_to_first_chunk", first, self._attributes | sent)
        self._recorder.record("duration", now - self._began, self._attributes | seen)
        if self._span is not None:
            self._to_span("set_attributes", self._attributes | seen | _of_response(response, seen))
            if words:
                self._recorder.guarded("the tracer", lambda: _fail(self._span, words))
            self._to_span("end", self._at(now))

    def _record_usage(self, seen: Mapping[str, Any], response: Response | None) -> None:
        usage = usage_attributes(None if response is None else response.usage)
        failed = {name: value for name, value in seen.items() if name == "error.type"}
        for name, count in usage.items():
            self._recorder.record(f"usage.{name}", count, self._attributes | {"gen_ai.token.modality": "unknown"})
            if "." not in name:
                self._recorder.record(f"operation.{name}", count, self._attributes | failed)

    def _at(self, now: float) -> int:
        """A time of the driver, in nanoseconds since the epoch."""
        return self._started + int((now - self._began) * _BILLION)

    def _to_span(self, method: str, *args: Any) -> None:
        if self._span is not None:
            self._recorder.guarded("the tracer", lambda: getattr(self._span, method)(*args))


def _of_failure(evidence: Evidence) -> dict[str, Any]:
    """The attributes of a failure."""
    return {
        "error.type": _error_type(evidence),
        "turnwire.phase": evidence.phase.name.lower(),
        "turnwire.verdict": cast("Verdict", evidence.verdict).value,  # None only in phase DONE, which no failure has.
    }


def _kind_of(failure: BaseException) -> str:
    """The kind of a failure of which no more is known: a client's exception, or that the consumer left."""
    return type(failure).__name__ if isinstance(failure, Exception) else Cause.CANCELLED.value


def _error_type(evidence: Evidence) -> str:
    """The kind of a failure, of which there are few."""
    refusal = evidence.refusal
    if refusal is not None:
        for name in (refusal.code, refusal.type):
            if name in CODES:
                return str(name)
        if refusal.status is not None and refusal.status >= 400:  # A broken answer over HTTP has 200.
            return str(refusal.status)
    return evidence.cause.value


def _of_response(response: Response | None, seen: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a response, or of its absence, for a span."""
    found: dict[str, Any] = {"gen_ai.response.finish_reasons": ("error",)}
    if response is None:
        return found
    if "error.type" not in seen:
        details = response.incomplete_details
        reason = None if details is None else details.reason
        found["gen_ai.response.finish_reasons"] = (encodable(reason or "stop"),)
    for name, value in (("gen_ai.response.id", response.id), ("openai.response.service_tier", response.service_tier)):
        if value:
            found[name] = encodable(value)
    if response.usage is not None:
        found |= span_usage(response.usage)
    return found


def _fail(span: Any, words: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR, words)
