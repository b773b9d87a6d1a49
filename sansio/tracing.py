"""Tracing: one span per model call, to whatever tracer the application has; none by default.

The promise
    A tracer is two small protocols, :class:`Tracer` and :class:`Span`. What they are told has been cleared for it: a
    span never gets what the call's ``ModelTracing`` does not allow, and no credential at all. A tracer that fails is a
    bug of the tracer's; turnwire does not hide it.

:class:`OpenTelemetryTracer` (extra ``otel``) writes OpenTelemetry spans by the semantic conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/):

    ================================ ================================================================================
    attribute                        from
    ================================ ================================================================================
    ``gen_ai.operation.name``        ``chat``; the span is called ``chat MODEL`` and is of kind CLIENT
    ``gen_ai.provider.name``         ``openai``
    ``gen_ai.request.model``         the model asked for
    ``gen_ai.response.id``/``model`` the response, when data is included
    ``gen_ai.usage.input_tokens``    the usage, always; likewise ``output_tokens``
    ``gen_ai.input.messages``        the input as JSON, when data is included
    ``gen_ai.output.messages``       the output items as JSON, when data is included
    ``error.type``                   the class of a failure; its text is the status description, when data is included
    ================================ ================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from .encoding import encode_json

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer as OtelTracer

__all__ = ["NO_TRACING", "OpenTelemetryTracer", "Span", "Tracer"]


class Span(Protocol):
    """What happened in one call. Each method is called at most once, ``end`` always and last."""

    def set_usage(self, usage: Any) -> None:
        """The call's :class:`~turnwire.sansio.model.Usage`."""
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
    """Where spans come from."""

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
"""The default: nothing is traced."""


class OpenTelemetryTracer:
    """Spans for OpenTelemetry; ``tracer`` defaults to the global provider's (extra ``otel``)."""

    def __init__(self, tracer: OtelTracer | None = None) -> None:
        from opentelemetry import trace

        self._kind = trace.SpanKind.CLIENT
        self._failed = trace.StatusCode.ERROR
        self._tracer = trace.get_tracer("turnwire") if tracer is None else tracer

    def start_span(self, *, model: str) -> Span:
        """See :class:`Tracer`. The span is a child of the current one; it does not become the current one."""
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
        }
        return _OpenTelemetrySpan(
            self._tracer.start_span(f"chat {model}", kind=self._kind, attributes=attributes), self._failed
        )


class _OpenTelemetrySpan:
    def __init__(self, span: OtelSpan, failed: Any) -> None:
        self._span = span
        self._failed = failed

    def set_usage(self, usage: Any) -> None:
        self._span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
        self._span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)

    def set_data(self, *, response: Any, input: Any) -> None:
        self._span.set_attribute("gen_ai.response.id", response.id)
        self._span.set_attribute("gen_ai.response.model", str(response.model))
        self._span.set_attribute("gen_ai.input.messages", encode_json(input).decode())
        self._span.set_attribute("gen_ai.output.messages", encode_json(response.output).decode())

    def set_error(self, message: str, error: str, kind: type[BaseException]) -> None:
        self._span.set_attribute("error.type", kind.__qualname__)
        self._span.set_status(self._failed, f"{message}: {error}")

    def end(self) -> None:
        self._span.end()
