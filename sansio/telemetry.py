"""Where the spans and metrics of turns go: the application's OpenTelemetry providers, if it has any.

The promise
    Nothing is imported and nothing is configured here. Unless the caller names providers, the global ones are used, and
    only if the application has set them: the API's own stand-ins, which record nothing, count as none. Then a session
    has no telemetry at all (DESIGN.md, D-OBSERVE-3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .checks import Instance
from .errors import WrongTypeError
from .option_help import explain

__all__ = ["DEFAULT_TELEMETRY", "Telemetry", "encodable", "span_usage", "usage_attributes"]

_USAGE: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read.input_tokens",
    "cache_write.input_tokens",
    "reasoning.output_tokens",
)


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """The OpenTelemetry providers of a session: ``SessionOptions(telemetry=Telemetry(tracer_provider=…))``.

    A provider that is None is the global one, if the application has set one before ``connect()``. Raises
    WrongTypeError for a provider without the method that is needed, and for ``spans`` that is not True or False.

    Options:
        tracer_provider: Makes the tracer: an ``opentelemetry.trace.TracerProvider``.
        meter_provider: Makes the meter: an ``opentelemetry.metrics.MeterProvider``.
        spans: Whether turns have spans. False: they have metrics alone, also where there is a provider of tracers.
    """

    tracer_provider: Any = None
    meter_provider: Any = None
    spans: bool = True

    def __post_init__(self) -> None:
        Instance(bool).check("Telemetry.spans", self.spans)
        for name, method in (("tracer_provider", "get_tracer"), ("meter_provider", "get_meter")):
            given = getattr(self, name)
            if given is not None and not callable(getattr(given, method, None)):
                kind = type(given).__name__
                raise WrongTypeError(f"Telemetry.{name} is of type {kind}: write a provider, with {method}(), or None")

    def tracers(self, modules: Mapping[str, Any]) -> Any:
        """The provider of tracers; None: there is none. ``modules`` are those that the process has imported."""
        if not self.spans:
            return None
        return self.tracer_provider or _configured(modules.get("opentelemetry.trace"), "get_tracer_provider")

    def meters(self, modules: Mapping[str, Any]) -> Any:
        """The provider of meters; None: there is none. ``modules`` are those that the process has imported."""
        return self.meter_provider or _configured(modules.get("opentelemetry.metrics"), "get_meter_provider")


explain(Telemetry)

DEFAULT_TELEMETRY: Final = Telemetry()
"""The application's providers."""


def _configured(api: Any, getter: str) -> Any:
    """The global provider, if the application has set one. The API's own providers record nothing."""
    if api is None:
        return None
    provider = getattr(api, getter)()
    return None if f"{type(provider).__module__}.".startswith(f"{api.__name__}.") else provider


def usage_attributes(usage: Any) -> dict[str, int]:
    """The tokens of a usage, by the ends of the names that the semantic conventions have for them.

    ``usage`` has the attributes of ``openai.types.responses.ResponseUsage``; None: all are 0.
    """
    if usage is None:
        return dict.fromkeys(_USAGE, 0)
    given, made = usage.input_tokens_details, usage.output_tokens_details
    counts = (usage.input_tokens, usage.output_tokens, given.cached_tokens, given.cache_write_tokens)
    return dict(zip(_USAGE, (*counts, made.reasoning_tokens), strict=True))


def span_usage(usage: Any) -> dict[str, int]:
    """The attributes of a span for this usage. Those for parts of the tokens, such as the cache's, only if there are
    any."""
    return {
        f"gen_ai.usage.{name}": count for name, count in usage_attributes(usage).items() if count or "." not in name
    }


def encodable(text: str) -> str:
    """The text with halves of surrogate pairs replaced, so that an exporter can encode it."""
    return text if _is_encodable(text) else text.encode("utf-8", "replace").decode()


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
