"""Tracing: one span per model call, to whatever tracer the application has; none by default.

The promise
    A tracer implements two small protocols, :class:`Tracer` and :class:`Span`. A span never gets data that the call's
    ``ModelTracing`` does not allow, and never a credential.

    An observer cannot make a call fail. Only :class:`Observers` calls loggers, tracers and spans; it catches every
    ``Exception`` that they raise and logs it once, as a WARNING without data. ``KeyboardInterrupt`` and cancellations
    are not caught. A value that cannot be encoded is shown as well as possible (:func:`shown`).

:class:`OpenTelemetryTracer` (extra ``otel``) writes OpenTelemetry spans by the semantic conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/):

    ================================ ================================================================================
    attribute                        from
    ================================ ================================================================================
    ``gen_ai.operation.name``        ``chat``; the span is called ``chat MODEL`` and is of kind CLIENT
    ``gen_ai.provider.name``         the host of the client: ``openai``, ``azure.ai.openai``, … (P-DIALECT-21)
    ``gen_ai.request.model``         the model asked for
    ``gen_ai.response.id``/``model`` the response, when data is included
    ``gen_ai.usage.input_tokens``    the usage, always; likewise ``output_tokens``, and, unless they are 0,
                                     ``cache_read.input_tokens``, ``cache_write.input_tokens`` and
                                     ``reasoning.output_tokens``
    ``gen_ai.input.messages``        the input as JSON, when data is included
    ``gen_ai.output.messages``       the output items as JSON, when data is included
    ``error.type``                   the class of a failure; its text is the status description, when data is included
    ================================ ================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlsplit

import msgspec

from ..dialect import UNKNOWN, dialect_of_host
from ..encoding import encode_json
from ..telemetry import encodable, span_usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer as OtelTracer

__all__ = ["NO_TRACING", "Logger", "Observers", "OpenTelemetryTracer", "Span", "Tracer", "shown"]

DEBUG: Final = 10
WARNING: Final = 30
ERROR: Final = 40
"""Levels of the standard library's logging."""


class Logger(Protocol):
    """The part of ``logging.Logger`` that is used."""

    def isEnabledFor(self, level: int, /) -> bool:
        """Whether a line of this level would be written."""
        ...

    def log(self, level: int, msg: str, /, *args: object) -> None:
        """Write a line."""
        ...


class Span(Protocol):
    """What happened in one call. Each method is called at most once; ``end`` is always called, and last."""

    def set_usage(self, usage: Any) -> None:
        """The call's :class:`~turnwire.sansio.agents.model.Usage`."""
        ...

    def set_data(self, *, response: Any, input: Any) -> None:
        """The response (``openai.types.responses.Response``) and the input, only if data may be traced."""
        ...

    def set_error(self, message: str, error: str, kind: type[BaseException]) -> None:
        """A failure: what was being done, its text (its class's name if data may not be traced), and its class."""
        ...

    def end(self) -> None:
        """The call is over."""
        ...


class Tracer(Protocol):
    """Makes spans."""

    def start_span(self, *, model: str) -> Span:
        """A span for a call of this model that begins now."""
        ...


class _NoSpan:
    def set_usage(self, usage: Any) -> None: ...

    def set_data(self, *, response: Any, input: Any) -> None: ...

    def set_error(self, message: str, error: str, kind: type[BaseException]) -> None: ...

    def end(self) -> None: ...


class _NoTracer:
    def start_span(self, *, model: str) -> Span:
        return _NO_SPAN


_NO_SPAN: Final = _NoSpan()
NO_TRACING: Final[Tracer] = _NoTracer()
"""The default: no tracing."""


class OpenTelemetryTracer:
    """Makes OpenTelemetry spans; ``tracer`` defaults to the global provider's (extra ``otel``).

    ``provider`` is the ``gen_ai.provider.name``; None: that of the host of a model's client (P-DIALECT-21).
    """

    def __init__(self, tracer: OtelTracer | None = None, *, provider: str | None = None) -> None:
        from opentelemetry import trace

        self._provider = provider
        self._kind = trace.SpanKind.CLIENT
        self._failed = trace.StatusCode.ERROR
        self._tracer = trace.get_tracer("turnwire") if tracer is None else tracer

    def start_span(self, *, model: str) -> Span:
        """See :class:`Tracer`. The span is a child of the current one; it does not become the current one."""
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._provider or UNKNOWN.provider,
            "gen_ai.request.model": model,
        }
        return _OpenTelemetrySpan(
            self._tracer.start_span(f"chat {model}", kind=self._kind, attributes=attributes), self._failed
        )

    def of_client(self, client: object) -> OpenTelemetryTracer:
        """The tracer for the calls of a model that has this client."""
        if self._provider is not None:
            return self
        provider = UNKNOWN.provider
        with suppress(Exception):  # The client may be any object, and its URL any value.
            provider = dialect_of_host(urlsplit(str(cast("Any", client).base_url)).hostname or "").provider
        return OpenTelemetryTracer(self._tracer, provider=provider)


class _OpenTelemetrySpan:
    def __init__(self, span: OtelSpan, failed: Any) -> None:
        self._span = span
        self._failed = failed

    def set_usage(self, usage: Any) -> None:
        self._span.set_attributes(span_usage(usage))

    def set_data(self, *, response: Any, input: Any) -> None:
        for name in ("id", "model"):
            value = getattr(response, name, None)
            if isinstance(value, str):
                self._span.set_attribute(f"gen_ai.response.{name}", encodable(value))
        self._span.set_attribute("gen_ai.input.messages", shown(input))
        self._span.set_attribute("gen_ai.output.messages", shown(getattr(response, "output", None)))

    def set_error(self, message: str, error: str, kind: type[BaseException]) -> None:
        self._span.set_attribute("error.type", kind.__qualname__)
        self._span.set_status(self._failed, encodable(f"{message}: {error}"))

    def end(self) -> None:
        self._span.end()


# --- The calls of observers -------------------------------------------------------------------------------------------


class Observers:
    """The log lines and the span of one call. No ``Exception`` that an observer raises reaches the call.

    ``doing`` is ``getting`` or ``streaming``. ``log_data`` allows bodies and texts of failures in log lines,
    ``trace_data`` allows them on the span (PARITY C11, C12).
    """

    def __init__(self, logger: Logger, tracer: Tracer, *, doing: str, log_data: bool, trace_data: bool) -> None:
        self._logger = logger
        self._tracer = tracer
        self._span: Span = _NO_SPAN
        self._doing = doing
        self._log_data = log_data
        self._trace_data = trace_data
        self._failed = False
        self._complained = False

    def begin(self, model: str) -> None:
        """Start the span."""
        self._guarded("tracer", lambda: setattr(self, "_span", self._tracer.start_span(model=model)))

    def end(self) -> None:
        """End the span."""
        self._guarded("span", lambda: self._span.end())

    def asked(self, model: str, kwargs: dict[str, Any]) -> None:
        """The request was built: log its body, without headers and query."""
        body = {name: value for name, value in kwargs.items() if not name.startswith("extra_")}
        self._log_body("Calling LLM", lambda: f"Calling LLM {model} with:\n{shown(body, indent=2)}")

    def answered(self, response: Any, usage: Any, given: Any) -> None:
        """The response is complete: put it on the span now, because the consumer may leave, and log its output."""
        self._guarded("span", lambda: self._span.set_usage(usage))
        if self._trace_data:
            self._guarded("span", lambda: self._span.set_data(response=response, input=given))
        output = getattr(response, "output", None)
        self._log_body("LLM responded", lambda: f"LLM resp:\n{shown(output, indent=2)}")

    def failed(self, error: Exception) -> None:
        """The call failed: record and log it, once; the error's text only if data is allowed."""
        if self._failed:
            return
        self._failed = True
        kind, what = type(error), f"Error {self._doing} response"
        told = text_of(error) if self._trace_data else kind.__name__
        self._guarded("span", lambda: self._span.set_error(what, told, kind))
        self._log(ERROR, lambda: f"{what}: {text_of(error) if self._log_data else _without_data(error)}{_id_of(error)}")

    def closing_failed(self, error: Exception, after: str) -> None:
        """Closing a stream failed when nobody waited for more events: it is logged, not raised (PARITY C2)."""
        told = text_of(error) if self._log_data else type(error).__name__
        self._log(DEBUG, lambda: f"Closing a stream after {after} failed: {told}")

    def _log_body(self, without_data: str, with_data: Callable[[], str]) -> None:
        def write() -> None:
            if self._logger.isEnabledFor(DEBUG):
                self._logger.log(DEBUG, "%s", with_data() if self._log_data else without_data)

        self._guarded("logger", write)

    def _log(self, level: int, line: Callable[[], str]) -> None:
        self._guarded("logger", lambda: self._logger.log(level, "%s", encodable(line())))

    def _guarded(self, observer: str, step: Callable[[], object]) -> None:
        """Call an observer. All calls of observers go through this method."""
        try:
            step()
        except Exception as error:
            if self._complained:
                return
            self._complained = True
            name = type(error).__name__
            self._guarded(
                "logger", lambda: self._logger.log(WARNING, "The %s of a model call failed: %s", observer, name)
            )


def shown(value: object, *, indent: int | None = None) -> str:
    """A value as JSON, for people and tracers. It never raises, and its result can be encoded in UTF-8.

    A value that JSON does not have is shown as in Python: ``NaN``, an object's ``repr``. Half a surrogate pair is shown
    as its escape. A value that cannot be walked is shown as the name of its type.
    """
    with suppress(Exception):  # It may not be JSON, and an object's attributes may raise anything.
        data = encode_json(value)
        return (data if indent is None else msgspec.json.format(data, indent=indent)).decode()
    try:
        return json.dumps(value, indent=indent, default=_shown, skipkeys=True)
    except Exception:
        return f"({type(value).__name__} that cannot be shown)"


def _shown(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(warnings=False)
    return repr(value)


def text_of(error: BaseException) -> str:
    """An error's text; the name of its class if it has none."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def _without_data(error: Exception) -> str:
    """A description of an error whose text may not be shown: its class, and identifiers of the protocol."""
    found = {name: getattr(error, name, None) for name in ("code", "status", "status_code")}
    told = [f"{name} {value}" for name, value in found.items() if _is_name(value)]
    return ", ".join((type(error).__name__, *told))


def _id_of(error: Exception) -> str:
    request_id = getattr(error, "request_id", None)
    return f" (request_id: {request_id if _is_name(request_id) else None})"


def _is_name(value: object) -> bool:
    """Whether it is a number or one short word, so that it cannot be model data."""
    return isinstance(value, int | str) and re.fullmatch(r"[\w.:-]{1,100}", str(value), re.ASCII) is not None
