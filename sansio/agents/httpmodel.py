"""The model over HTTP, through the caller's client: one request per call, and a stream of server-sent events.

The promise
    The settings limit a call's time, from the request to the last event. The HTTP response is closed exactly once,
    however the call ends. A cancelled caller does not wait for that if another task can do it (PARITY C2). What the
    client raises is judged by ``httpturn.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from functools import cached_property, partial
from inspect import isawaitable
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Final, cast

from ..flow import Emit, Emitting, ExpiredError, Flow, Wait
from ..option_help import explain_arguments
from .call import ModelCall, ModelResponse
from .httpturn import content_type_of, is_document
from .metrics import ClientMetrics
from .model import ModelShell, ResponsesModel

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["BOUND", "Background", "HttpStream", "OpenAIResponsesModel"]

STREAM_END_TIMEOUT: Final = 1.0
"""Seconds to wait for the end of a stream after its terminal event."""
BOUND: Final = 5.0
"""Seconds that a clean-up may take."""


class OpenAIResponsesModel(ResponsesModel):
    """A model behind the Responses API over HTTP, through the given client.

    Arguments:
        model: The name of the model.
        openai_client: The ``openai.AsyncOpenAI`` (or Azure's) whose URL, credentials, headers and timeouts are
            used. It is not closed.
        model_is_explicit: False says that ``model`` is a default, which a prompt may replace (PARITY A5).
        tracer: Gets a span per call.
        telemetry: Where metrics go: by default to the application's provider, if it was set before the first call.
            None: nowhere.
        raise_on_unsuccessful: Raise UnsuccessfulResponseError for a failed or incomplete response (PARITY C4); if
            events are streamed, after the last one.
        idle_parallel_tool_calls: False leaves out that setting if there is nothing to call (PARITY A4).
    """

    @cached_property
    def _background(self) -> Background:
        return Background(self._shell)

    @cached_property
    def _metrics(self) -> ClientMetrics:
        return ClientMetrics(self._shell, self._client, self._telemetry)

    def _get(self, call: ModelCall) -> Flow[ModelResponse]:
        responses = cast("Any", self._http_client.responses)
        with self._metrics.measured(call):
            try:
                answer: Any = yield Wait(lambda: responses.create(**call.kwargs), deadline=_deadline(self._shell, call))
                call.answer(answer)
            except ExpiredError:
                raise call.timed_out(answered=False) from None
            except (JSONDecodeError, UnicodeDecodeError) as exc:  # The client could not decode the answer.
                raise call.unreadable(exc) from exc
        return call.result()

    def _stream(self, call: ModelCall) -> Emitting:
        with call.span(), self._metrics.measured(call) as came:
            stream = HttpStream(self._shell, call, self._background)
            try:
                yield from stream.open(self._http_client)
                while (event := (yield from stream.next())) is not None:
                    came()
                    yield Emit(event)
            except BaseException as exc:
                yield from stream.close(exc, wait=not isinstance(exc, self._shell.cancelled))
                raise
            yield from stream.close()

    def _close(self) -> Flow[None]:
        yield from self._background.finish()


explain_arguments(OpenAIResponsesModel)


def _deadline(shell: ModelShell, call: ModelCall) -> float | None:
    """When the call must be over; None: no limit."""
    return None if call.timeout is None else shell.now() + call.timeout


class HttpStream:
    """A stream of server-sent events and the HTTP response that contains it. Its methods are flows."""

    def __init__(self, shell: ModelShell, call: ModelCall, background: Background) -> None:
        self._shell = shell
        self._call = call
        self._background = background
        self._deadline = _deadline(shell, call)
        self._receive: Callable[[], Awaitable[Any]]
        """Waits for the next event."""
        self._request_id: str | None = None
        self._content_type: str | None = None
        self._closing = AsyncExitStack()
        self._reading = False
        """Whether the stream has begun and has neither ended nor failed."""

    def open(self, client: AsyncOpenAI) -> Flow[None]:
        """Send the request. Raises what the client raises, and TurnTimeoutError."""
        try:
            yield from self._open(client.responses)
        except ExpiredError:
            raise self._call.timed_out(answered=False) from None

    def _open(self, responses: Any) -> Flow[None]:
        """Open the stream. A custom client may lack ``with_streaming_response``; then there is no request id."""
        arguments, deadline = self._call.kwargs, self._deadline
        create: Any = getattr(getattr(responses, "with_streaming_response", None), "create", None)
        if not callable(create):
            self._take((yield Wait(lambda: responses.create(**arguments), deadline=deadline)))
            return
        entering = partial(self._closing.enter_async_context, cast("Any", create(**arguments)))
        response: Any = yield Wait(entering, deadline=deadline)
        self._request_id = getattr(response, "request_id", None)
        self._content_type = content_type_of(response)
        if is_document(self._content_type):
            self._take(self._shell.iterate(_document(self._call, response, self._content_type or "")))
        else:
            self._take((yield Wait(response.parse, deadline=deadline)))

    def _take(self, source: Any) -> None:
        """Read from an iterable of events; it and its iterator are closed at the end."""
        events: AsyncIterator[Any] = aiter(source)
        self._receive = partial(anext, events)
        self._reading = True
        for one in (source,) if events is source else (source, events):
            close: Any = getattr(one, "aclose", None) or getattr(one, "close", None)
            if callable(close):
                self._closing.push_async_callback(partial(self._close_one, close))

    def _close_one(self, close: Callable[[], Any]) -> Awaitable[None]:
        return self._shell.run(_called(close))

    def next(self) -> Flow[Any]:
        """The next event; None at the end. Raises the turn's failure.

        After the terminal event it waits at most STREAM_END_TIMEOUT for the end of the stream: then the client can
        reuse the connection.
        """
        call = self._call
        call.check()
        receive = Wait(self._receive, deadline=self._shell.now() + STREAM_END_TIMEOUT if call.ended else self._deadline)
        try:
            while True:
                event: Any = yield receive
                if call.add(event, self._request_id):
                    return event
                call.check()
        except StopAsyncIteration:
            self._reading = False
            failure = call.stream_ended(self._content_type)
        except ExpiredError:
            failure = None if call.ended else call.timed_out(answered=True)
        except Exception as exc:
            self._reading = False
            failure = call.broken(exc, self._request_id)
        if failure is not None:
            raise failure
        return None

    def close(self, error: BaseException | None = None, *, wait: bool = True) -> Flow[None]:
        """Close the iterator and the response.

        If it is cancelled, or ``wait`` is False, closing goes on in the background. A failure to close is raised if the
        consumer left before the terminal event; else it is logged, because the call's result is known. The context of
        the response is told of ``error`` if that came before the terminal event.
        """
        if self._call.ended:
            error = None
        closing = partial(self._closing.__aexit__, error and type(error), error, error and error.__traceback__)
        try:
            yield from self._background.run(closing, self._call.closing_failed, wait=wait)
        except Exception as exc:
            if self._reading and not self._call.ended:
                raise
            self._call.closing_failed(exc)


def _called(close: Callable[[], Any]) -> Flow[None]:
    """Call a close function, which may be synchronous or asynchronous."""
    closed = close()
    if isawaitable(closed):
        yield Wait(lambda: closed)


def _document(call: ModelCall, response: Any, content_type: str) -> Emitting:
    """The events in an answer that is not a stream."""
    text: str = yield Wait(response.text)
    for event in call.document(text, content_type):
        yield Emit(event)


class Background:
    """The clean-ups of one model. A cancelled caller does not wait for them; :meth:`finish` does."""

    def __init__(self, shell: ModelShell) -> None:
        self._shell = shell
        self._tasks: dict[Hashable, set[Any]] = {}
        """The clean-ups that run, by event loop."""

    def run(
        self, cleanup: Callable[[], Awaitable[Any]], failed: Callable[[Exception], None], *, wait: bool = True
    ) -> Flow[None]:
        """Run the clean-up, once, and wait for it; what it raises is raised.

        If the caller is cancelled, or with ``wait=False``, the clean-up goes on; where it can run as a task, the caller
        does not wait for it. What it then raises is passed to ``failed``.
        """
        self._tasks = {token: tasks for token, tasks in self._tasks.items() if tasks}
        tasks = self._tasks.setdefault(self._shell.token(), set())
        one = _CleanUp(cleanup, failed, wait=wait)
        left = self._shell.spawn(one.run(self._shell.now() + BOUND), tasks, wait=wait)
        if left is None:
            return
        try:
            error: Exception | None = yield Wait(lambda: left)
        except BaseException:
            one.awaited = False
            raise
        if error is not None:
            raise error

    def finish(self) -> Flow[None]:
        """Wait for the clean-ups of this event loop."""
        for task in list(self._tasks.get(self._shell.token(), ())):
            yield Wait(partial(_itself, task))


def _itself(task: Awaitable[Any]) -> Awaitable[Any]:
    return task


class _CleanUp:
    """One clean-up, which takes at most BOUND."""

    def __init__(
        self, cleanup: Callable[[], Awaitable[Any]], failed: Callable[[Exception], None], *, wait: bool
    ) -> None:
        self._cleanup = cleanup
        self._failed = failed
        self.awaited = wait
        """Whether somebody waits for what it raises."""

    def run(self, deadline: float) -> Flow[Exception | None]:
        """Run it. Returns what it raised, if somebody waits for that."""
        try:
            yield Wait(self._cleanup, deadline=deadline, shield=True)
        except ExpiredError:
            pass
        except Exception as exc:
            if self.awaited:
                return exc
            self._failed(exc)
        return None
