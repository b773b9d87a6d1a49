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
    ``call = ModelCall(config, …)``         prepares nothing yet
    ``with call.span():``                   around all that follows: builds the request (PARITY A), traces and logs;
                                            records, logs and re-raises a failure
    ``call.kwargs`` / ``call.prepared``     gives them to the HTTP client, or to a session as a frame
    ``call.observe(event)``                 for each event of a stream: gathers the output, knows the end
    ``call.answer(value)``                  for the answer of an HTTP request without a stream
    ``call.broken(exc)``/``call.ended()``   over HTTP, for what was raised by the stream, or its end: what to raise
    ``call.check()``                        after a stream that was read to its end: raises its failure
    ``call.result()``                       makes the :class:`ModelResponse`
    ======================================= ===========================================================================

What ends a call is the table of ``events`` (``final_status``), over each transport. What a response gave is its
``output``; where that is missing, null or empty, the items of ``response.output_item.done`` (PROTOCOL.md, "What the
turn gave").

What is written down, and where
    ========================== ==================== ===============================================================
    datum                      log                  span
    ========================== ==================== ===============================================================
    request and response body  DEBUG, if allowed    if ``tracing`` is ENABLED
    usage                      no                   if ``tracing`` is not DISABLED
    a failure's class, code    ERROR                if ``tracing`` is not DISABLED
    a failure's text           ERROR, if allowed    if ``tracing`` is ENABLED
    a credential               never                never
    ========================== ==================== ===============================================================

    "If allowed": ``OPENAI_AGENTS_DONT_LOG_MODEL_DATA`` is ``0`` or ``false``. Observers cannot fail a call: they are
    called by ``tracing.Observers`` alone.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec

from ..encoding import plain
from ..error_body import is_error
from ..errors import MissingResponseError, TurnError, UnsuccessfulResponseError, UserError, WrongTypeError
from ..events import EVENT_TYPES, LifecycleEvent, Role, final_status, gather_output, role_of
from ..events._openai import response_of, stream_event_of
from ..omit import OMIT
from ..replay import ModelRetryAdvice, ModelRetryAdviceRequest, get_retry_advice
from ..retries import provider_retries_are_off, websocket_pre_event_retries_disabled
from ..session import SessionOptions
from ..timeouts import Timeouts, timeouts_from
from .httpturn import HttpTurn, decoded, events_in, is_error_body, is_response, members_of
from .request import Prepared, create_kwargs, prepare
from .settings import ModelSettings
from .tools import Handoff, OutputSchemaLike, Tool
from .tracing import NO_TRACING, Logger, Observers, Tracer
from .usage import RequestUsage, Usage, member, raw_usage_of, usage_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = [
    "HEADERS_OVERRIDE",
    "Logger",
    "ModelCall",
    "ModelConfig",
    "ModelResponse",
    "ModelTracing",
    "RequestUsage",
    "ResponsesModel",
    "Environment",
    "Usage",
    "options_for_model",
    "tls_of",
]

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
class ModelResponse:
    """The result of a model call (PARITY C5)."""

    output: list[Any]
    """Items of ``openai.types.responses``: messages, tool calls, reasoning."""
    usage: Usage
    response_id: str | None
    request_id: str | None = None
    """The transport's id of the request; None over WebSocket, which has none (PROTOCOL.md, "Connection")."""
    raw_usage: dict[str, Any] | None = None
    """The usage as the server sent it, with ``ModelSettings(preserve_raw_usage=True)``; else None."""

    def to_input_items(self) -> list[dict[str, Any]]:
        """The output as items of a next call's input, without what only a server may say (``created_by``)."""
        return [_input_item(item) for item in self.output]


@dataclass(frozen=True)
class ModelConfig:
    """What stays the same over the calls of one model object."""

    model: str
    model_is_explicit: bool
    logger: Logger
    log_model_data: bool
    """Whether bodies and the texts of failures may be logged: ``OPENAI_AGENTS_DONT_LOG_MODEL_DATA`` is 0 or false."""
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


DONE: Final = "response.done"
"""An answer without a stream ends its turn as an event of this type does: by its status, or completed without one."""
ITEM_DONE: Final = "response.output_item.done"


class ModelCall:
    """One call; see the table of steps at the top of this module.

    Its span raises UserError or TypeError for what cannot be sent (PARITY A, B).
    """

    def __init__(self, config: ModelConfig, arguments: ModelArguments, *, stream: bool) -> None:
        self._config = config
        self._arguments = arguments
        self._stream = stream
        tracing = arguments.tracing
        self._observers = Observers(
            config.logger,
            NO_TRACING if tracing.is_disabled() else config.tracer,
            doing="streaming" if stream else "getting",
            log_data=config.log_model_data,
            trace_data=tracing.include_data(),
        )
        self._http = HttpTurn(stateful=self.stateful)
        self._items: list[tuple[int | None, Any]] = []
        """The finished items of the output, each with its ``output_index``, in the order in which they came."""
        self._output: list[Any] = []
        self.response: Any = None
        """The response that ended the call, an ``openai.types.responses.Response``."""
        self.terminal_type: str | None = None
        """The type of the event that ended the call."""
        self.outcome: str | None = None
        """``completed``, ``failed``, ``incomplete`` or ``cancelled``, once the response has ended."""
        self.failure: Exception | None = None
        """What a stream ends with after its last event."""
        self.kwargs: dict[str, Any] = {}
        """The arguments of the HTTP client's ``responses.create``; empty until the span begins."""

    @contextmanager
    def span(self) -> Generator[None]:
        """Around the call: trace it; record, log and re-raise what it raises."""
        self._observers.begin(self._config.model)
        try:
            self._build()
            yield
        except Exception as exc:
            self._http.judge(exc)
            self._observers.failed(exc)
            raise
        finally:
            self._observers.end()

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
        self._observers.asked(config.model, self.kwargs)

    def prepared(self, stream_id: str | None = None) -> Prepared:
        """The same request as a ``response.create`` frame for a lane, and what of it is the transport's matter."""
        return prepare(self.kwargs, stream_id=stream_id)

    def timeouts(self, prepared: Prepared, client: object) -> Timeouts:
        """The deadlines of the call's turn: its own, else the client's; and the one of its settings for all together.

        Raises UserError or TypeError as :func:`~turnwire.sansio.timeouts.timeouts_from` does.
        """
        given = timeouts_from(prepared.timeout, default=getattr(client, "timeout", OMIT))
        limits = [seconds for seconds in (given.total, self.timeout) if seconds is not None]
        return msgspec.structs.replace(given, total=min(limits, default=None))

    @property
    def stateful(self) -> bool:
        """Whether the request goes on from state that the server keeps."""
        return bool(self._arguments.previous_response_id or self._arguments.conversation_id)

    @property
    def timeout(self) -> float | None:
        """Seconds that the whole call may take, by its settings; None: no limit of theirs."""
        seconds = member(self._arguments.model_settings, "timeout")
        return seconds if isinstance(seconds, int | float) and seconds > 0 else None

    # -- what comes

    def observe(self, event: Any, request_id: str | None = None) -> bool:
        """Take note of an event of a stream; False for what is none (null, a list, text), which is passed over.

        Events are the SDK's, or objects and mappings with the same members. Over HTTP the request's id goes where it is
        without streaming, on the response (PARITY C2).
        """
        kind = member(event, "type")
        if self.ended:
            return isinstance(kind, str)
        if self._http.started and isinstance(kind, str) and kind in _PLAIN:
            return True
        members = members_of(event)
        if not isinstance(kind, str):
            if is_error(members):
                self._end_with("error", self._http.error_event(members, request_id))
            return False
        self._http.note(kind, members)
        response = member(event, "response")
        if request_id is not None and response is not None:
            _attach(response, request_id)
        if kind == ITEM_DONE:
            self._keep(member(event, "output_index"), member(event, "item"))
        if role_of(kind) is Role.ERROR:
            self._end_with(kind, self._http.error_event(members, request_id))
        elif outcome := final_status(kind, _status_of(response), has_response=_is_object(response)):
            self._end(kind, outcome, response)
        return True

    @property
    def ended(self) -> bool:
        """Whether the event that ends the call was observed."""
        return self.outcome is not None or self.failure is not None

    def answer(self, value: Any) -> None:
        """Take the answer of an HTTP request without a stream.

        Raises ResponsesHTTPError if it is an error body, ProtocolError if it is no response.
        """
        members = members_of(value)
        if is_error_body(members):
            raise self._http.error_event(members, member(value, "_request_id"))
        if not is_response(members):
            raise self._http.no_response(value)
        self._end(None, final_status(DONE, _status_of(value), has_response=True), value)

    def document(self, text: str, content_type: str) -> Iterator[Any]:
        """Yield the events in an answer to a request for a stream that calls itself JSON or a page.

        They are server-sent events under a wrong name, or one whole response. Raises as :meth:`answer` does.
        """
        found = False
        for data in events_in(text):
            found = True
            if isinstance(event := decoded(data), dict):
                yield stream_event_of(cast("dict[str, Any]", event))
        if found:
            return
        value = decoded(text)
        members = members_of(value)
        if is_error_body(members):
            raise self._http.error_event(members, None)
        if not is_response(members):
            raise self._http.no_response(value, content_type)
        outcome = final_status(DONE, _status_of(value), has_response=True) or "completed"
        yield stream_event_of({"type": f"response.{outcome}", "response": value})

    def _end(self, kind: str | None, outcome: str | None, response: Any) -> None:
        """The response has ended. Everything about it is written down before the consumer may leave."""
        self.terminal_type, self.outcome = kind, outcome
        if isinstance(response, dict):
            response = response_of(cast("dict[str, Any]", response))
        if _is_object(response):
            self._gather(response)
            self.response = response
            self._observers.answered(response, self._usage, self._arguments.input)
        if self._config.raise_on_unsuccessful and outcome in UNSUCCESSFUL:
            said = _why(response)
            text = f"the response is {outcome}{said} — the turn ran — see error.response for why"
            self._end_with(kind, UnsuccessfulResponseError(text, response=self.response, outcome=outcome))

    def _end_with(self, kind: str | None, failure: Exception) -> None:
        self.terminal_type, self.failure = kind, failure
        self._observers.failed(failure)

    def _keep(self, index: object, item: object) -> None:
        """An item of the output is done."""
        if _is_object(item):
            self._items.append((_place(index), item))

    def _gather(self, response: Any) -> None:
        """Where the response has no output, it is that of the items that came (PROTOCOL.md, "What the turn gave")."""
        sent = member(response, "output")
        self._output = gather_output(
            self._items, list(cast("tuple[Any, ...]", sent)) if isinstance(sent, tuple) else sent
        )
        if self._output and self._output is not sent:
            with suppress(Exception):  # A custom client's response may be frozen.
                response.output = self._output

    @property
    def _usage(self) -> Usage:
        return usage_of(member(self.response, "usage"))

    # -- how it ends

    def broken(self, error: Exception, request_id: str | None = None) -> Exception | None:
        """Over HTTP, what to raise for what reading the answer raised; None if the answer is complete already."""
        if self.ended:
            self.closing_failed(error)
            return self.failure
        return self._http.broken(error, request_id)

    def unreadable(self, error: Exception) -> TurnError:
        """Over HTTP, what to raise for an answer without a stream that the client could not read."""
        return self._http.unreadable(error)

    def closing_failed(self, error: Exception) -> None:
        """Letting go of the stream failed, which changes nothing any more."""
        self._observers.closing_failed(error)

    def stream_ended(self, content_type: str | None = None) -> Exception | None:
        """Over HTTP, what to raise at the end of the stream; None if the answer is complete."""
        return self.failure if self.ended else self._http.ended(content_type)

    def timed_out(self, *, answered: bool) -> TurnError:
        """Over HTTP, what to raise when the settings' timeout has passed; ``answered``: the stream had begun."""
        return self._http.timed_out(self.timeout, answered=answered)

    def check(self) -> None:
        """Raise what a stream that was read to its end has failed with."""
        if self.failure is not None:
            raise self.failure

    def result(self) -> ModelResponse:
        """The result.

        Raises MissingResponseError if there was no response, and, if the configuration says so,
        UnsuccessfulResponseError for one that failed or is incomplete (PARITY C4).
        """
        self.check()
        if self.response is None:
            ended = f"ended with {self.terminal_type}" if self.terminal_type else "ended without a terminal event"
            raise MissingResponseError(
                f"the stream of events {ended} and no response in it — the turn ran — look at the events, or ask again"
            )
        keeps = member(self._arguments.model_settings, "preserve_raw_usage") is True
        return ModelResponse(
            output=self._output,
            usage=self._usage,
            response_id=member(self.response, "id"),
            request_id=member(self.response, "_request_id"),
            raw_usage=raw_usage_of(member(self.response, "usage")) if keeps else None,
        )


UNSUCCESSFUL: Final = frozenset({"failed", "incomplete", "cancelled"})

_PLAIN: Final = frozenset(
    kind
    for kind, event in EVENT_TYPES.items()
    if kind != ITEM_DONE and not event.ends_turn and not issubclass(event, LifecycleEvent)
)
"""Types that say nothing new of a response that has begun. Hot path: most events are of one of these."""


def _input_item(item: object) -> dict[str, Any]:
    """An item of the output as one of the input: without ``created_by``, which the API does not take back."""
    dump: Any = getattr(item, "model_dump", None)
    made = cast("dict[str, Any]", plain(dump(by_alias=True, exclude_unset=True, warnings=False) if dump else item))
    made.pop("created_by", None)
    chunks = made.get("output")
    if made.get("type") == "shell_call_output" and isinstance(chunks, list):
        for chunk in cast("list[Any]", chunks):
            if isinstance(chunk, dict):
                cast("dict[str, Any]", chunk).pop("created_by", None)
    return made


def _place(index: object) -> int | None:
    """An output index; None for what is none."""
    if isinstance(index, float) and index.is_integer():
        return int(index)
    if isinstance(index, str) and index.isascii() and index.isdecimal():
        return int(index[:10])
    return index if isinstance(index, int) else None


def _attach(response: object, request_id: str) -> None:
    with suppress(Exception):  # A mapping, or a custom client's object that takes no attributes.
        response._request_id = request_id  # type: ignore[attr-defined]


def _is_object(value: object) -> bool:
    """Whether it can be a response: an object or a mapping, and no plain value."""
    return value is not None and not isinstance(value, str | bytes | int | float | list | tuple)


def _status_of(response: object) -> str | None:
    status = member(response, "status")
    return status if isinstance(status, str) else None


def _why(response: object) -> str:
    """The server's words on a response that did not succeed."""
    error, details = member(response, "error"), member(response, "incomplete_details")
    words = [member(error, "code"), member(error, "message"), member(details, "reason")]
    said = ": ".join(word[:WORDS] for word in words if isinstance(word, str) and word)
    return f" ({said})" if said else ""


WORDS: Final = 1000
"""How many characters of the server's words a message shows."""


@dataclass(frozen=True)
class Environment:
    """What a model takes from its process, which a shell may look at."""

    logger: Logger
    variables: Mapping[str, str]
    """The process's variables."""
    clock: Callable[[], float]
    """Seconds since the epoch, for a ``retry-after`` that is a date."""
    modules: Mapping[str, Any]
    """The modules that the process has imported, by name."""


class ResponsesModel(ABC):
    """What the models of every shell have in common. The arguments are those of the shells' models."""

    _environment: ClassVar[Environment]

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
        hidden = self._environment.variables.get("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", "1")
        self._config = ModelConfig(
            model=model,
            model_is_explicit=model_is_explicit,
            logger=self._environment.logger,
            log_model_data=hidden.strip().lower() in ("0", "false"),
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
    def _http_client(self) -> AsyncOpenAI:
        """The client, without retries of its own where they are switched off, if it can be told so."""
        off = provider_retries_are_off() or self._agents_say("should_disable_provider_managed_retries")
        with_options: Any = getattr(self._client, "with_options", None)
        return cast("AsyncOpenAI", with_options(max_retries=0)) if off and callable(with_options) else self._client

    def _repetitions_as_told(self) -> AbstractContextManager[None]:
        """Within this, turns are begun that are not repeated automatically if the Agents SDK says so."""
        off = any(map(self._agents_say, _DISABLING))
        return websocket_pre_event_retries_disabled() if off else nullcontext()

    def _agents_say(self, question: str) -> bool:
        """What the Agents SDK's context variables say, if it is loaded (it is never imported from here).

        The module is private to openai-agents 0.24; ``tests/parity`` notices when it goes.
        """
        asked = getattr(self._environment.modules.get("agents.models._retry_runtime"), question, None)
        try:
            return callable(asked) and bool(asked())
        except Exception:
            return False

    @abstractmethod
    def _stream(self, call: ModelCall) -> AsyncGenerator[Any]: ...

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """Whether to repeat a call that failed (PARITY C10); None if there is nothing to say."""
        return get_retry_advice(request, now=self._environment.clock())


_DISABLING: Final = ("should_disable_provider_managed_retries", "should_disable_websocket_pre_event_retries")


def tls_of(client: object) -> Any:
    """The TLS settings of an ``http_client`` that the caller gave the client, so that one private CA serves both.

    An ``ssl.SSLContext``; None for a client with an HTTP client of its own making, for one that may negotiate HTTP/2,
    and where it is not found: it is private to httpx 0.28 and httpx2, httpcore 1 and httpcore2.
    ``tests/core/test_model.py`` notices when it goes.
    """
    http_client = getattr(client, "_client", None)
    pool = getattr(getattr(http_client, "_transport", None), "_pool", None)
    if type(http_client).__name__ == "AsyncHttpxClientWrapper" or getattr(pool, "_http2", True):
        return None
    context: Any = getattr(pool, "_ssl_context", None)
    return context if callable(getattr(context, "wrap_bio", None)) else None


def options_for_model(options: Mapping[str, Any] | SessionOptions | None) -> SessionOptions:
    """A model's ``websocket_options``: ``ping_interval``, ``ping_timeout`` and ``max_size`` (PARITY C13), or all.

    Raises UserError for a name that there is not, or a value that cannot be, and WrongTypeError for another type.
    """
    if isinstance(options, SessionOptions):
        return options
    given_as = cast("object", options)
    if not isinstance(given_as, Mapping | None):
        kind, names = type(given_as).__name__, ", ".join(_WEBSOCKET_OPTIONS)
        raise WrongTypeError(f"websocket_options is of type {kind}: write a dict of {names}, or SessionOptions(…)")
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
