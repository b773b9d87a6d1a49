"""Model calls: what ``OpenAIResponsesModel`` and ``OpenAIResponsesWSModel`` share in every shell, as plain steps.

The promise
    A call of a model is one :class:`ModelCall`. It knows the request, the log lines, the span and the result; the shell
    around it awaits. Nothing here sends, waits, or reads the environment: the logger and the tracer come from outside.

    A model is a :class:`ResponsesModel`: how it is made and what its calls are made of. A shell's models derive from
    it, and add what is awaited.

The steps of a call
    ======================================= ===========================================================================
    step                                    what the shell does with it
    ======================================= ===========================================================================
    ``call = ModelCall(config, …)``         builds the request (PARITY A) and logs it; raises what cannot be sent
    ``with call.span():``                   around all that follows: traces it; records, logs and re-raises a failure
    ``call.kwargs`` / ``call.prepared``     gives them to the HTTP client, or to a session as a frame
    ``call.observe(event)``                 for each event of a stream: remembers the terminal response
    ``call.check()``                        after a stream that was read to its end: raises if it was asked for
    ``call.result(response)``               makes the :class:`ModelResponse`, with usage, and completes the span
    ======================================= ===========================================================================

What is written down, and where
    ========================== ==================== ===============================================================
    datum                      log                  span
    ========================== ==================== ===============================================================
    request and response body  DEBUG, if allowed    if ``tracing`` is ENABLED
    usage                      no                   if ``tracing`` is not DISABLED
    a failure's text           ERROR, request id    if ``tracing`` is ENABLED; else only its class
    a credential               never                never
    ========================== ==================== ===============================================================
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import msgspec

from .errors import MissingResponseError, UnsuccessfulResponseError, UserError
from .replay import ModelRetryAdvice, ModelRetryAdviceRequest, get_retry_advice
from .request import Prepared, create_kwargs, encode_json, prepare
from .sdk import no_tokens
from .session import SessionOptions, provider_retries_are_off
from .settings import ModelSettings
from .tools import Handoff, OutputSchemaLike, Tool
from .tracing import NO_TRACING, Span, Tracer

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = [
    "HEADERS_OVERRIDE",
    "Logger",
    "ModelCall",
    "ModelConfig",
    "ModelResponse",
    "ModelTracing",
    "ResponsesModel",
    "Surroundings",
    "Usage",
    "options_for_model",
]

DEBUG: Final = 10
ERROR: Final = 40
"""The levels of the standard library's logging."""

HEADERS_OVERRIDE: ContextVar[Mapping[str, Any] | None] = ContextVar("turnwire_headers_override", default=None)
"""Headers over those of the settings, for every call in the present context (PARITY A11)."""


class ModelTracing(enum.Enum):
    """Whether a call is traced, and whether its contents are (PARITY C12)."""

    DISABLED = 0
    ENABLED = 1
    ENABLED_WITHOUT_DATA = 2

    def is_disabled(self) -> bool:
        """No span at all."""
        return self is ModelTracing.DISABLED

    def include_data(self) -> bool:
        """Input, response and the texts of failures belong on the span."""
        return self is ModelTracing.ENABLED


@dataclass
class Usage:
    """Tokens of one call (PARITY C5). The details are what the server sent, as objects with attributes."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: Any = None
    output_tokens_details: Any = None


@dataclass
class ModelResponse:
    """The result of a model call (PARITY C5)."""

    output: list[Any]
    """Items of ``openai.types.responses``: messages, tool calls, reasoning."""
    usage: Usage
    response_id: str | None
    request_id: str | None = None
    """The transport's id of the request; None over WebSocket, which has none (PROTOCOL.md, "Connection")."""


class Logger(Protocol):
    """As much of ``logging.Logger`` as is used."""

    def isEnabledFor(self, level: int, /) -> bool:
        """Whether a line of this level would be written."""
        ...

    def log(self, level: int, msg: str, /, *args: object) -> None:
        """Write one."""
        ...


@dataclass(frozen=True)
class ModelConfig:
    """What stays the same over the calls of one model object."""

    model: str
    model_is_explicit: bool
    logger: Logger
    log_model_data: bool
    """Whether bodies may be logged: False if ``OPENAI_AGENTS_DONT_LOG_MODEL_DATA`` is set (PARITY C11)."""
    tracer: Tracer = field(default=NO_TRACING)
    raise_on_unsuccessful: bool = False
    """Raise UnsuccessfulResponseError for a failed or incomplete response instead of returning it (PARITY C4)."""
    idle_parallel_tool_calls: bool = True
    """Send ``parallel_tool_calls=False`` even when there is nothing to call (PARITY A4)."""


@dataclass(frozen=True)
class ModelArguments:
    """What a caller of ``get_response`` or ``stream_response`` gives, in the seed's order (PARITY C1)."""

    system_instructions: str | None
    input: str | Sequence[Any]
    model_settings: ModelSettings
    tools: Sequence[Tool]
    output_schema: OutputSchemaLike | None
    handoffs: Sequence[Handoff]
    tracing: ModelTracing
    previous_response_id: str | None = None
    conversation_id: str | None = None
    prompt: Any = None


_TERMINAL: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
_UNSUCCESSFUL: Final = frozenset({"failed", "incomplete"})


class ModelCall:
    """One call; see the table of steps at the top of this room.

    Raises UserError or TypeError for what cannot be sent (PARITY A, B).
    """

    def __init__(self, config: ModelConfig, arguments: ModelArguments, *, stream: bool) -> None:
        self._config = config
        self._arguments = arguments
        self._doing = "streaming" if stream else "getting"
        self._span: Span | None = None
        self.response: Any = None
        """The terminal response that was observed, an ``openai.types.responses.Response``."""
        self.terminal_type: str | None = None
        """The type of the terminal event that was observed."""
        self.kwargs: dict[str, Any] = {}
        """The arguments of the HTTP client's ``responses.create``; empty until the span begins."""
        self._stream = stream

    @contextmanager
    def span(self) -> Generator[None]:
        """Around the call: trace it; record, log and re-raise what it raises."""
        tracing = self._arguments.tracing
        tracer = NO_TRACING if tracing.is_disabled() else self._config.tracer
        self._span = span = tracer.start_span(model=self._config.model)
        try:
            self._build()
            yield
        except Exception as exc:
            text = str(exc) if tracing.include_data() else type(exc).__name__
            span.set_error(f"Error {self._doing} response", text, type(exc))
            request_id = getattr(exc, "request_id", None)
            self._config.logger.log(ERROR, "Error %s response: %s (request_id: %s)", self._doing, exc, request_id)
            raise
        finally:
            span.end()

    def _build(self) -> None:
        given, config = self._arguments, self._config
        self.kwargs = create_kwargs(
            model=config.model,
            turn_input=given.input,
            model_settings=given.model_settings,
            tools=given.tools,
            output_schema=given.output_schema,
            handoffs=given.handoffs,
            system_instructions=given.system_instructions,
            previous_response_id=given.previous_response_id,
            conversation_id=given.conversation_id,
            prompt=given.prompt,
            stream=self._stream,
            model_is_explicit=config.model_is_explicit,
            headers_override=HEADERS_OVERRIDE.get(),
            idle_parallel_tool_calls=config.idle_parallel_tool_calls,
        )
        if not config.logger.isEnabledFor(DEBUG):
            return
        if config.log_model_data:
            shown = {name: value for name, value in self.kwargs.items() if not name.startswith("extra_")}
            config.logger.log(DEBUG, "Calling LLM %s with:\n%s", config.model, _pretty(shown))
        else:
            config.logger.log(DEBUG, "Calling LLM")

    def prepared(self, stream_id: str | None = None) -> Prepared:
        """The same request as a ``response.create`` frame for a lane, and what of it is the transport's matter."""
        return prepare(self.kwargs, stream_id=stream_id)

    @property
    def stateful(self) -> bool:
        """Whether the request goes on from state that the server keeps."""
        return bool(self._arguments.previous_response_id or self._arguments.conversation_id)

    def observe(self, event: Any, request_id: str | None = None) -> None:
        """Take note of a stream's event: of ours or of the SDK's, they have the same ``type`` and ``response``.

        The request's id goes where it is without streaming, on the response (PARITY C2).
        """
        if request_id is not None and getattr(event, "response", None) is not None:
            event.response._request_id = request_id
        if event.type in _TERMINAL:
            self.terminal_type = event.type
            response = getattr(event, "response", None)
            if response is not None:
                self._complete(response)

    def _complete(self, response: Any) -> None:
        """Remember the response; put on the span what belongs there, before the consumer may leave."""
        self.response = response
        if self._span is not None:
            self._span.set_usage(_usage(response))
            if self._arguments.tracing.include_data():
                self._span.set_data(response=response, input=self._arguments.input)
        if self._config.logger.isEnabledFor(DEBUG):
            if self._config.log_model_data:
                self._config.logger.log(DEBUG, "LLM resp:\n%s", _pretty(response.output))
            else:
                self._config.logger.log(DEBUG, "LLM responded")

    def check(self) -> None:
        """Raise UnsuccessfulResponseError if the response failed or is incomplete, and that is to be an error."""
        status = None if self.response is None else self.response.status
        if self._config.raise_on_unsuccessful and status in _UNSUCCESSFUL:
            raise UnsuccessfulResponseError(
                f"the response is {status} — the turn ran — see error.response for why", response=self.response
            )

    def result(self, response: Any = None) -> ModelResponse:
        """The result: of the response given (HTTP), or of the terminal one observed (WebSocket).

        Raises MissingResponseError if there was none, and, if the configuration says so, UnsuccessfulResponseError for
        one that failed or is incomplete (PARITY C4).
        """
        if response is not None:
            self._complete(response)
        if self.response is None:
            ended = f"ended with {self.terminal_type}" if self.terminal_type else "ended without a terminal event"
            raise MissingResponseError(
                f"the stream of events {ended} and no response in it — the turn ran — look at the events, or ask again"
            )
        self.check()
        return ModelResponse(
            output=self.response.output,
            usage=_usage(self.response),
            response_id=self.response.id,
            request_id=getattr(self.response, "_request_id", None),
        )


@dataclass(frozen=True)
class Surroundings:
    """What a model takes from its process, which a shell may look at."""

    logger: Logger
    environment: Mapping[str, str]
    """The process's variables."""
    clock: Callable[[], float]
    """Seconds since the epoch, for a ``retry-after`` that is a date."""


class ResponsesModel(ABC):
    """What the models of every shell have in common. The arguments are those of the shells' models."""

    _surroundings: ClassVar[Surroundings]

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI,
        *,
        model_is_explicit: bool = True,
        tracer: Tracer = NO_TRACING,
        raise_on_unsuccessful: bool = False,
        idle_parallel_tool_calls: bool = True,
    ) -> None:
        self.model = model
        self._client = openai_client
        hidden = self._surroundings.environment.get("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", "").lower()
        self._config = ModelConfig(
            model=model,
            model_is_explicit=model_is_explicit,
            logger=self._surroundings.logger,
            log_model_data=hidden not in ("1", "true"),
            tracer=tracer,
            raise_on_unsuccessful=raise_on_unsuccessful,
            idle_parallel_tool_calls=idle_parallel_tool_calls,
        )

    def stream_response(
        self,
        system_instructions: str | None,
        input: str | Sequence[Any],
        model_settings: ModelSettings,
        tools: Sequence[Tool],
        output_schema: OutputSchemaLike | None,
        handoffs: Sequence[Handoff],
        tracing: ModelTracing,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: Any = None,
    ) -> AsyncGenerator[Any]:
        """Run one call and yield its events, ``openai.types.responses`` objects. Raises as ``get_response`` does.

        A consumer that stops before the terminal event should close the iterator (``contextlib.aclosing``), so that the
        connection is let go of at once.
        """
        arguments = ModelArguments(
            system_instructions, input, model_settings, tools, output_schema, handoffs, tracing,
            previous_response_id, conversation_id, prompt,
        )  # fmt: skip
        return self._stream(ModelCall(self._config, arguments, stream=True))

    @property
    def _patient_client(self) -> AsyncOpenAI:
        """The client, without retries of its own where they are switched off."""
        return self._client.with_options(max_retries=0) if provider_retries_are_off() else self._client

    @abstractmethod
    def _stream(self, call: ModelCall) -> AsyncGenerator[Any]: ...

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """Whether to repeat a call that failed (PARITY C10); None if there is nothing to say."""
        return get_retry_advice(request, now=self._surroundings.clock())


def options_for_model(options: Mapping[str, Any] | SessionOptions | None) -> SessionOptions:
    """A model's ``websocket_options``: ``ping_interval``, ``ping_timeout`` and ``max_size`` (PARITY C13), or all.

    Raises UserError for a name that there is not.
    """
    if isinstance(options, SessionOptions):
        return options
    given = dict(options or {})
    known = {ours: given.pop(theirs) for theirs, ours in _WEBSOCKET_OPTIONS.items() if theirs in given}
    if given:
        raise UserError(f"websocket_options has {', '.join(map(repr, given))}: write {', '.join(_WEBSOCKET_OPTIONS)}")
    return SessionOptions(**known)


_WEBSOCKET_OPTIONS: Final = {
    "ping_interval": "ping_interval",
    "ping_timeout": "ping_timeout",
    "max_size": "max_message_size",
}


def _usage(response: Any) -> Usage:
    usage = response.usage
    if usage is None:
        return Usage(0, 0, 0, 0, *no_tokens())
    return Usage(
        requests=1,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        input_tokens_details=usage.input_tokens_details,
        output_tokens_details=usage.output_tokens_details,
    )


def _pretty(value: Any) -> str:
    return msgspec.json.format(encode_json(value)).decode()
