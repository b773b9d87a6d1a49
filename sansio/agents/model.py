"""What all models have in common, over WebSockets and over HTTP: how they are made, and how their calls are made.

The promise
    A model is a :class:`ResponsesModel`. Its methods do not wait themselves: they return what the shell makes of a flow
    (``sansio/flow.py``). ``httpmodel.py`` and ``wsmodel.py`` contain these flows; a shell's models derive from theirs
    and name the shell.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

import msgspec

from ..checks import Instance
from ..client import OnShell, Shell
from ..errors import UserError, WrongTypeError
from ..flow import Emitting, Flow, awaited
from ..record import Recording
from ..replay import ModelRetryAdvice, ModelRetryAdviceRequest, get_retry_advice
from ..retries import provider_retries_are_off, websocket_pre_event_retries_disabled
from ..session import SessionOptions
from ..telemetry import DEFAULT_TELEMETRY, Telemetry
from .call import HEADERS_OVERRIDE, ModelArguments, ModelCall, ModelConfig, ModelResponse, ModelTracing
from .tracing import NO_TRACING, Logger, OpenTelemetryTracer, Tracer
from .usage import RequestUsage, Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.responses import ResponseStreamEvent

__all__ = [
    "HEADERS_OVERRIDE",
    "Logger",
    "ModelArguments",
    "ModelCall",
    "ModelConfig",
    "ModelResponse",
    "ModelShell",
    "ModelTracing",
    "RequestUsage",
    "ResponsesModel",
    "Usage",
    "options_for_model",
]

A = TypeVar("A")
P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class ModelShell(Shell, Protocol):
    """The parts of a shell that models need in addition to :class:`Shell`."""

    def spawn(self, flow: Flow[T], tasks: set[Any], *, wait: bool) -> Awaitable[T] | None:
        """Run a clean-up to its end, even if the calling task is cancelled. It is shielded, bounded, and raises
        nothing.

        If tasks can run on their own, it is such a task, and in ``tasks`` while it runs. Returns what the caller must
        await; None if there is nothing to await, because the caller does not ``wait``.
        """
        ...


def taking(arguments: Callable[P, A]) -> Callable[[Callable[[S, A], T]], Callable[Concatenate[S, P], T]]:
    """Decorator for a method of one argument: it is called with what makes this argument, and has that signature."""

    def decorate(method: Callable[[S, A], T]) -> Callable[Concatenate[S, P], T]:
        @wraps(method)
        def taken(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
            return method(self, arguments(*args, **kwargs))

        own = inspect.signature(method)
        parameters = [next(iter(own.parameters.values())), *inspect.signature(arguments).parameters.values()]
        cast("Any", taken).__signature__ = own.replace(parameters=parameters)
        return taken

    return decorate


class ResponsesModel(OnShell, ABC):
    """The base class of the models. The shell's class sets ``_shell``."""

    _shell: ModelShell  # pyright: ignore[reportIncompatibleVariableOverride] - the class of a shell sets it, once

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI,
        *,
        model_is_explicit: bool = True,
        tracer: Tracer = NO_TRACING,
        telemetry: Telemetry | None = DEFAULT_TELEMETRY,
        raise_on_unsuccessful: bool = False,
        idle_parallel_tool_calls: bool = True,
    ) -> None:
        Instance(Telemetry, optional=True).check("telemetry", telemetry)
        self.model = model
        self._client = openai_client
        self._telemetry = telemetry
        hidden = self._shell.means.variables.get("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", "1")
        self._config = ModelConfig(
            model=model,
            model_is_explicit=model_is_explicit,
            logger=self._shell.means.model_logger,
            log_model_data=hidden.strip().lower() in ("0", "false"),
            tracer=tracer.of_client(openai_client) if isinstance(tracer, OpenTelemetryTracer) else tracer,
            raise_on_unsuccessful=raise_on_unsuccessful,
            idle_parallel_tool_calls=idle_parallel_tool_calls,
        )

    @awaited
    @taking(ModelArguments)
    def get_response(self, arguments: ModelArguments) -> Flow[ModelResponse]:
        """Run one call to its end.

        Raises UserError or TypeError for a request that cannot be sent, and what failed below: the client's over
        HTTP, a :class:`~turnwire.sansio.errors.TurnError` over WebSocket. :meth:`get_retry_advice` accepts both.
        """
        call = ModelCall(self._config, arguments, stream=False)
        with call.span():
            return (yield from self._get(call))

    @taking(ModelArguments)
    def stream_response(self, arguments: ModelArguments) -> AsyncGenerator[ResponseStreamEvent]:
        """Run one call and yield its events, ``openai.types.responses`` objects. Raises as ``get_response`` does.

        A consumer that stops before the terminal event should close the iterator (``contextlib.aclosing``), so that the
        connection is released at once.
        """
        return self._shell.iterate(self._stream(ModelCall(self._config, arguments, stream=True)))

    @awaited
    def close(self) -> Flow[None]:
        """Release what the model holds. The client belongs to the caller and is not closed."""
        yield from self._close()

    @property
    def _http_client(self) -> AsyncOpenAI:
        """The client; with its own retries switched off where the context asks for that and the client supports it."""
        # R-HTTP-15, R-RECOVER-10: the client repeats, unless it is told not to.
        off = provider_retries_are_off() or self._agents_say("should_disable_provider_managed_retries")
        with_options: Any = getattr(self._client, "with_options", None)
        return cast("AsyncOpenAI", with_options(max_retries=0)) if off and callable(with_options) else self._client

    def _repetitions_as_told(self) -> AbstractContextManager[None]:
        """A context in which turns are not repeated automatically if the Agents SDK says so."""
        off = any(map(self._agents_say, _DISABLING))
        return websocket_pre_event_retries_disabled() if off else nullcontext()

    def _agents_say(self, question: str) -> bool:
        """The value of one of the Agents SDK's context variables, if that SDK is loaded (it is never imported here).

        The module is private to openai-agents 0.24; ``tests/parity`` notices when it goes.
        """
        asked = getattr(self._shell.means.modules.get("agents.models._retry_runtime"), question, None)
        try:
            return callable(asked) and bool(asked())
        except Exception:
            return False

    @abstractmethod
    def _get(self, call: ModelCall) -> Flow[ModelResponse]:
        """Run the call to its end; called within its span."""

    @abstractmethod
    def _stream(self, call: ModelCall) -> Emitting:
        """Run the call within its span, and emit its events."""

    @abstractmethod
    def _close(self) -> Flow[None]:
        """Release everything."""

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """Whether to repeat a call that failed (PARITY C10); None if there is no advice."""
        return get_retry_advice(request, now=self._shell.means.wall_clock())


_DISABLING: Final = ("should_disable_provider_managed_retries", "should_disable_websocket_pre_event_retries")


def options_for_model(
    options: Mapping[str, Any] | SessionOptions | None, record: Recording | None = None
) -> SessionOptions:
    """A model's ``websocket_options``: ``ping_interval``, ``ping_timeout`` and ``max_size`` (PARITY C13), or all
    options. ``record`` replaces the option of this name.

    Raises UserError for an unknown name or a value out of its range, and WrongTypeError for another type.

    Source: P-TRANSPORT-12.
    """
    if isinstance(options, SessionOptions):
        return options if record is None else msgspec.structs.replace(options, record=record)
    given_as = cast("object", options)
    if not isinstance(given_as, Mapping | None):
        kind, names = type(given_as).__name__, ", ".join(_WEBSOCKET_OPTIONS)
        raise WrongTypeError(f"websocket_options is of type {kind}: write a dict of {names}, or SessionOptions(…)")
    given = dict(options or {})
    known = {ours: given.pop(theirs) for theirs, ours in _WEBSOCKET_OPTIONS.items() if theirs in given}
    if given:
        raise UserError(f"websocket_options has {', '.join(map(repr, given))}: write {', '.join(_WEBSOCKET_OPTIONS)}")
    return SessionOptions(transport="websocket", record=record, **known)


_WEBSOCKET_OPTIONS: Final = {
    "ping_interval": "ping_interval",
    "ping_timeout": "ping_timeout",
    "max_size": "max_message_size",
}
