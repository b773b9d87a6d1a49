"""A call of a model, as plain steps, the same over HTTP and over a WebSocket.

The promise
    A call of a model is one :class:`ModelCall`. It has the request, the log lines, the span and the result; the model
    that uses it sends and waits (``httpmodel.py``, ``wsmodel.py``). Nothing here reads the environment: the logger and
    the tracer are arguments.

The steps of a call
    ======================================= ===========================================================================
    step                                    what the model does with it
    ======================================= ===========================================================================
    ``call = ModelCall(config, …)``         nothing yet
    ``with call.span():``                   around all that follows: builds the request (PARITY A), traces and logs;
                                            records, logs and re-raises a failure
    ``call.kwargs`` / ``call.prepared``     passes them to the HTTP client, or to a session as a frame
    ``call.add(event)``                     for each event of a stream: collects the output, notes the end
    ``call.answer(value)``                  for the answer of an HTTP request without a stream
    ``call.broken(exc)``/``call.ended()``   over HTTP, when the stream raised, or ended: gives what to raise
    ``call.check()``                        after a stream was read to its end: raises its failure
    ``call.result()``                       makes the :class:`ModelResponse`
    ======================================= ===========================================================================

The table in ``events`` (``final_status``) says what ends a call, over either. The result is the response's
``output``; if that is missing, null or empty, it is the items of ``response.output_item.done`` (PROTOCOL.md, "What the
turn gave").

What is recorded, and where
    ========================== ==================== ===============================================================
    datum                      log                  span
    ========================== ==================== ===============================================================
    request and response body  DEBUG, if allowed    if ``tracing`` is ENABLED
    usage                      no                   if ``tracing`` is not DISABLED
    a failure's class, code    ERROR                if ``tracing`` is not DISABLED
    a failure's text           ERROR, if allowed    if ``tracing`` is ENABLED
    a credential               never                never
    ========================== ==================== ===============================================================

    "If allowed": ``OPENAI_AGENTS_DONT_LOG_MODEL_DATA`` is ``0`` or ``false``. Observers cannot make a call fail: only
    ``tracing.Observers`` calls them.
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from ..encoding import plain
from ..error_body import is_error
from ..errors import MissingResponseError, TurnError, UnsuccessfulResponseError
from ..events import EVENT_TYPES, LifecycleEvent, Role, final_status, gather_output, role_of
from ..events._openai import response_of, stream_event_of
from ..fields import AnyItem
from ..omit import OMIT
from ..timeouts import Timeouts, timeouts_from
from .httpturn import HttpTurn, decoded, events_in, is_error_body, is_response, members_of
from .request import Prepared, create_kwargs, prepare
from .settings import ModelSettings
from .tools import Handoff, OutputSchemaLike, Tool
from .tracing import NO_TRACING, Logger, Observers, Tracer
from .usage import Usage, member, raw_usage_of, usage_of

if TYPE_CHECKING:
    from openai.types.responses import ResponseOutputItem

__all__ = ["HEADERS_OVERRIDE", "ModelArguments", "ModelCall", "ModelConfig", "ModelResponse", "ModelTracing"]

HEADERS_OVERRIDE: ContextVar[Mapping[str, Any] | None] = ContextVar("turnwire_headers_override", default=None)
"""Headers that replace those of the settings, for every call in the present context (PARITY A11)."""


class ModelTracing(enum.Enum):
    """Whether a call is traced, and whether its contents are (PARITY C12)."""

    DISABLED = 0
    ENABLED = 1
    ENABLED_WITHOUT_DATA = 2

    def is_disabled(self) -> bool:
        """Whether there is no span at all."""
        return self is ModelTracing.DISABLED

    def include_data(self) -> bool:
        """Whether input, response and the texts of failures may be put on the span."""
        return self is ModelTracing.ENABLED


@dataclass
class ModelResponse:
    """The result of a model call (PARITY C5)."""

    output: list[ResponseOutputItem]
    """Items of ``openai.types.responses``: messages, tool calls, reasoning."""
    usage: Usage
    response_id: str | None
    request_id: str | None = None
    """The request's id; None over a WebSocket, which has no such id (PROTOCOL.md, P-CONN-14)."""
    raw_usage: dict[str, Any] | None = None
    """The usage as the server sent it, with ``ModelSettings(preserve_raw_usage=True)``; else None."""

    def to_input_items(self) -> list[dict[str, Any]]:
        """The output as items for a next call's input, without members that only a server may send (``created_by``)."""
        return [_input_item(item) for item in self.output]


@dataclass(frozen=True)
class ModelConfig:
    """What is the same for all calls of one model object."""

    model: str
    model_is_explicit: bool
    logger: Logger
    log_model_data: bool
    """Whether bodies and texts of failures may be logged: ``OPENAI_AGENTS_DONT_LOG_MODEL_DATA`` is 0 or false."""
    tracer: Tracer = field(default=NO_TRACING)
    raise_on_unsuccessful: bool = False
    """Raise UnsuccessfulResponseError for a failed or incomplete response instead of returning it (PARITY C4)."""
    idle_parallel_tool_calls: bool = True
    """Send ``parallel_tool_calls=False`` even when there is nothing to call (PARITY A4)."""


@dataclass(frozen=True)
class ModelArguments:
    """The arguments of ``get_response`` and ``stream_response``, in the order of the Agents SDK's model (PARITY C1)."""

    system_instructions: str | None
    input: str | Sequence[AnyItem]
    model_settings: ModelSettings
    tools: Sequence[Tool]
    output_schema: OutputSchemaLike | None
    handoffs: Sequence[Handoff]
    tracing: ModelTracing
    previous_response_id: str | None = None
    conversation_id: str | None = None
    prompt: Any = None


ANSWER_TYPE: Final = "response.done"
"""An answer without a stream ends its turn like an event of this type: by its status, or completed if it has none."""
ITEM_DONE: Final = "response.output_item.done"


class ModelCall:
    """One call; see the table of steps at the top of this module.

    Its span raises UserError or TypeError for a request that cannot be sent (PARITY A, B).
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
        """The completed items of the output, each with its ``output_index``, in the order in which they came."""
        self._output: list[Any] = []
        self.response: Any = None
        """The response that ended the call, an ``openai.types.responses.Response``."""
        self.terminal_type: str | None = None
        """The type of the event that ended the call."""
        self.outcome: str | None = None
        """``completed``, ``failed``, ``incomplete`` or ``cancelled``, once the response has ended."""
        self.failure: Exception | None = None
        """What is raised after the last event of the stream."""
        self.kwargs: dict[str, Any] = {}
        """The arguments of the HTTP client's ``responses.create``; empty until the span begins."""

    @contextmanager
    def span(self) -> Generator[None]:
        """The context of the call: traces it; records, logs and re-raises a failure."""
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
        """The same request as a ``response.create`` frame for a lane, plus its headers, query and timeout."""
        return prepare(self.kwargs, stream_id=stream_id)

    def timeouts(self, prepared: Prepared, client: object) -> Timeouts:
        """The deadlines of the call's turn: its own, else the client's. The total is the settings' timeout.

        Raises UserError or TypeError as :func:`~turnwire.sansio.timeouts.timeouts_from` does.
        """
        given = timeouts_from(prepared.timeout, default=getattr(client, "timeout", OMIT))
        limits = [seconds for seconds in (given.total, self.timeout) if seconds is not None]
        return msgspec.structs.replace(given, total=min(limits, default=None))

    @property
    def stateful(self) -> bool:
        """Whether the request continues state that the server keeps."""
        return bool(self._arguments.previous_response_id or self._arguments.conversation_id)

    @property
    def timeout(self) -> float | None:
        """Seconds that the whole call may take, by its settings; None: no limit."""
        seconds = member(self._arguments.model_settings, "timeout")
        return seconds if isinstance(seconds, int | float) and seconds > 0 else None

    # -- events and answers

    def add(self, event: Any, request_id: str | None = None) -> bool:
        """Note an event of a stream. Returns False for a value that is not an event (null, a list, text); skip it then.

        Events are the SDK's objects, or objects and mappings with the same members. Over HTTP the request's id is put
        on the response, where it also is without streaming (PARITY C2).
        """
        kind = member(event, "type")
        if self.ended:
            return isinstance(kind, str)
        if isinstance(kind, str) and not self.takes(kind):
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

    def takes(self, kind: str) -> bool:
        """Whether an event of this type may add something. Hot path: most do not, once the response has begun."""
        return kind not in _PLAIN or not self._http.started

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
        self._end(None, final_status(ANSWER_TYPE, _status_of(value), has_response=True), value)

    def document(self, text: str, content_type: str) -> Iterator[Any]:
        """Yield the events in the answer to a streaming request whose content type is JSON or HTML.

        They are server-sent events under a wrong content type, or one whole response. Raises as :meth:`answer` does.
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
        outcome = final_status(ANSWER_TYPE, _status_of(value), has_response=True) or "completed"
        yield stream_event_of({"type": f"response.{outcome}", "response": value})

    def _end(self, kind: str | None, outcome: str | None, response: Any) -> None:
        """The response has ended. Everything about it is recorded now, because the consumer may leave after this
        event."""
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
        """Keep a completed item of the output."""
        if _is_object(item):
            self._items.append((_place(index), item))

    def _gather(self, response: Any) -> None:
        """If the response has no output, use the items that came before (PROTOCOL.md, "What the turn gave")."""
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

    # -- the end

    def broken(self, error: Exception, request_id: str | None = None) -> Exception | None:
        """Over HTTP: the exception to raise when reading the answer raised ``error``; None if the answer was
        complete."""
        if self.ended:
            self.closing_failed(error)
            return self.failure
        return self._http.broken(error, request_id)

    def unreadable(self, error: Exception) -> TurnError:
        """Over HTTP: the exception to raise for an answer without a stream that the client could not read."""
        return self._http.unreadable(error)

    def judged(self, error: BaseException) -> BaseException:
        """Over HTTP: the exception that ended the call, with evidence if there is any."""
        if not isinstance(error, Exception):
            return self._http.left() or error
        self._http.judge(error)
        return error

    def closing_failed(self, error: Exception) -> None:
        """Closing the stream failed. The result of the call is not affected; it is only logged."""
        self._observers.closing_failed(error, "its terminal event" if self.ended else "its consumer was cancelled")

    def stream_ended(self, content_type: str | None = None) -> Exception | None:
        """Over HTTP: the exception to raise at the end of the stream; None if the answer is complete."""
        return self.failure if self.ended else self._http.ended(content_type)

    def timed_out(self, *, answered: bool) -> TurnError:
        """Over HTTP: the exception to raise when the settings' timeout has passed; ``answered``: the stream had
        begun."""
        return self._http.timed_out(self.timeout, answered=answered)

    def check(self) -> None:
        """Raise the failure of a stream that was read to its end."""
        if self.failure is not None:
            raise self.failure

    def result(self) -> ModelResponse:
        """The result.

        Raises MissingResponseError if there was no response, and UnsuccessfulResponseError for a failed or incomplete
        response if the configuration says so (PARITY C4).
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
"""Types that add nothing once a response has begun."""


def _input_item(item: object) -> dict[str, Any]:
    """An item of the output as an input item: without ``created_by``, which the API does not accept."""
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
    """A valid output index; None for any other value."""
    if isinstance(index, float) and index.is_integer():
        return int(index)
    if isinstance(index, str) and index.isascii() and index.isdecimal():
        return int(index[:10])
    return index if isinstance(index, int) else None


def _attach(response: object, request_id: str) -> None:
    with suppress(Exception):  # It may be a mapping, or a custom client's object whose attributes cannot be set.
        response._request_id = request_id  # type: ignore[attr-defined]


def _is_object(value: object) -> bool:
    """Whether it can be a response: an object or a mapping, not a plain value."""
    return value is not None and not isinstance(value, str | bytes | int | float | list | tuple)


def _status_of(response: object) -> str | None:
    status = member(response, "status")
    return status if isinstance(status, str) else None


def _why(response: object) -> str:
    """The server's message about a response that did not succeed."""
    error, details = member(response, "error"), member(response, "incomplete_details")
    words = [member(error, "code"), member(error, "message"), member(details, "reason")]
    said = ": ".join(word[:ERROR_SHOWN] for word in words if isinstance(word, str) and word)
    return f" ({said})" if said else ""


ERROR_SHOWN: Final = 1000
"""How many characters of the server's message are shown."""
