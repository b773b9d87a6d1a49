"""A call of a model inside of the Agents SDK: its span in that SDK's tracing, and what its Runner reads of a response.

The promise
    A call is the core's (``sansio/agents/call.py``). It differs in this: its failures are exceptions of the Agents SDK
    too (``_errors.py``), its span is a ``response`` span of ``agents.tracing``, the Agents SDK's context variable of
    headers is heard, and its response has the marks by which a Runner counts a request without usage, and finds the
    usage as it was sent (PARITY D2-D4, D6).
"""

# pyright: reportPrivateUsage=false
# What the Agents SDK's own models tell its Runner has no public names: tests/policy/test_private_names.py lists them.

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from agents.models.openai_responses import _HEADERS_OVERRIDE
from agents.tracing import SpanError, response_span
from agents.usage import (
    Usage,
    _attach_raw_usage_snapshot,
    _mark_request_completed_without_usage,
    model_usage_to_span_usage,
)
from agents.util._error_tracing import REDACTED_TRACE_ERROR_MESSAGE, record_current_task_model_timeout_on_span

from ...sansio.agents import usage
from ...sansio.agents.call import HEADERS_OVERRIDE, ModelArguments, ModelCall, ModelConfig
from ...sansio.agents.usage import member
from ._errors import as_theirs

__all__ = ["AgentsCall", "usage_as_theirs"]


def usage_as_theirs(spent: usage.Usage) -> Usage:
    """The usage of a call, as an object of the Agents SDK."""
    return Usage(
        requests=spent.requests,
        input_tokens=spent.input_tokens,
        input_tokens_details=spent.input_tokens_details,
        output_tokens=spent.output_tokens,
        output_tokens_details=spent.output_tokens_details,
        total_tokens=spent.total_tokens,
    )


class AgentsCall(ModelCall):
    """See :class:`~turnwire.sansio.agents.call.ModelCall`.

    ``official`` tells whether the server is OpenAI's: then a response's id is traced even if its contents are not.
    ``websocket`` says whether the call is made over a WebSocket.
    """

    def __init__(
        self,
        config: ModelConfig,
        arguments: ModelArguments,
        *,
        stream: bool,
        official: Callable[[], bool],
        websocket: bool,
    ) -> None:
        self._websocket = websocket
        self.traced = arguments.tracing.include_data()
        self.official = official
        self.doing = "Error streaming response" if stream else "Error getting response"
        super().__init__(replace(config, tracer=_Tracer(self)), arguments, stream=stream)

    @contextmanager
    def span(self) -> Generator[None]:
        """The context of the call, as the core's. What is raised in it is an exception of the Agents SDK, too."""
        try:
            with super().span():
                try:
                    yield
                except Exception as exc:
                    as_theirs(exc, websocket=self._websocket)
                    raise
        except Exception as exc:  # The request could not be built.
            as_theirs(exc)
            raise

    def _build(self) -> None:
        """Build the request; the headers of the Agents SDK's context variable replace others, too."""
        theirs = _HEADERS_OVERRIDE.get()
        if not theirs:
            super()._build()
            return
        before = HEADERS_OVERRIDE.set({**(HEADERS_OVERRIDE.get() or {}), **theirs})
        try:
            super()._build()
        finally:
            HEADERS_OVERRIDE.reset(before)

    def _end(self, kind: str | None, outcome: str | None, response: Any) -> None:
        """The response has ended: mark it, before a consumer gets its event."""
        sent = member(response, "usage")
        if outcome == "completed" and response is not None and not isinstance(response, dict):
            if sent is None:
                _mark_request_completed_without_usage(response)
            if member(self._arguments.model_settings, "preserve_raw_usage") is True:
                _attach_raw_usage_snapshot(response, sent)
        super()._end(kind, outcome, response)

    def _end_with(self, kind: str | None, failure: Exception) -> None:
        as_theirs(failure, websocket=self._websocket)
        super()._end_with(kind, failure)


class _Tracer:
    """Makes the span of one call."""

    def __init__(self, call: AgentsCall) -> None:
        self._call = call

    def start_span(self, *, model: str) -> _Span:
        """See :class:`turnwire.sansio.agents.tracing.Tracer`. The span becomes the current one."""
        return _Span(self._call)


class _Span:
    """See :class:`turnwire.sansio.agents.tracing.Span`."""

    def __init__(self, call: AgentsCall) -> None:
        self._call = call
        self._trusted = not call.traced and call.official()
        self._span = response_span()
        self._span.start(mark_as_current=True)

    def set_usage(self, usage: Any) -> None:
        self._span.span_data.usage = model_usage_to_span_usage(usage_as_theirs(usage))
        response_id: object = member(self._call.response, "id")
        if self._trusted and isinstance(response_id, str) and self._call.official():  # It may have another URL now.
            self._span.span_data._response_id = response_id

    def set_data(self, *, response: Any, input: Any) -> None:
        self._span.span_data.response, self._span.span_data.input = response, input

    def set_error(self, message: str, error: str, kind: type[BaseException]) -> None:
        shown = error if self._call.traced else REDACTED_TRACE_ERROR_MESSAGE
        self._span.set_error(SpanError(message=message, data={"error": shown}))

    def end(self) -> None:
        """The call is over. A Runner that cancelled it because of its time limit has said so on the task."""
        record_current_task_model_timeout_on_span(
            cast("Any", self._span), message=self._call.doing, trace_include_sensitive_data=self._call.traced
        )
        self._span.finish(reset_current=True)
