"""The providers of an application that uses OpenTelemetry, and what they were given."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = ["USAGE", "Recordings", "attributes_of"]

USAGE = {
    "input_tokens": 30,
    "output_tokens": 12,
    "total_tokens": 42,
    "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 7},
}
"""A response's."""


class Recordings:
    """What was recorded, in the order in which it ended."""

    def __init__(self) -> None:
        self.exporter, self.tracers = InMemorySpanExporter(), TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def turns(self) -> list[Any]:
        """The spans of turns."""
        return [span for span in self.spans() if span.name.startswith("chat")]

    def points(self) -> dict[str, list[Any]]:
        """The data points of every metric, by the end of its name."""
        data: Any = self.reader.get_metrics_data()
        if data is None:
            return {}
        found = data.resource_metrics[0].scope_metrics[0].metrics
        return {one.name.removeprefix("gen_ai.client.inference."): list(one.data.data_points) for one in found}

    def count(self, name: str) -> int:
        """How many values of a histogram there are, or the sum of a counter."""
        return sum(getattr(point, "count", getattr(point, "value", 0)) for point in self.points().get(name, ()))


def attributes_of(points: list[Any]) -> dict[str, Any]:
    """What a measurement says of a turn's end."""
    (point,) = points
    return {name: value for name, value in point.attributes.items() if name.startswith(("turnwire.", "error."))}
