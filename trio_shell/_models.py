"""The trio shell's models: ``OpenAIResponsesModel`` over HTTP, ``OpenAIResponsesWSModel`` over one WebSocket.

Constructors and methods are the Agents SDK's, positional order included (PARITY C1); what a call is, ``sansio.model``
says; here it is awaited.
"""

from __future__ import annotations

import logging
import os
import ssl
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from copy import copy
from functools import cached_property
from inspect import isawaitable
from json import JSONDecodeError
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

import trio
from trio import current_time
from trio.lowlevel import TrioToken, current_trio_token

from ..sansio.agents.httpturn import content_type_of, is_document
from ..sansio.agents.model import (
    Environment,
    ModelArguments,
    ModelCall,
    ModelResponse,
    ModelTracing,
    ResponsesModel,
    options_for_model,
    tls_of,
)
from ..sansio.agents.request import Prepared
from ..sansio.agents.settings import ModelSettings
from ..sansio.agents.tools import Handoff, OutputSchemaLike, Tool
from ..sansio.agents.tracing import NO_TRACING, Tracer
from ..sansio.connection import Turn
from ..sansio.events._openai import to_stream_event
from ..sansio.proxy import Proxy, checked_proxy
from ..sansio.session import EndpointSource, SessionOptions
from ..sansio.timeouts import Timeouts
from ._background import Background
from ._runtime import Runtime, is_over

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["OpenAIResponsesModel", "OpenAIResponsesWSModel"]

_LOGGER: Final = logging.getLogger("turnwire")

DRAIN: Final = 1.0
"""Seconds to wait for the end of a stream after its terminal event."""


class OpenAIResponsesModel(ResponsesModel):
    """A model behind the Responses API over HTTP, through the given client.

    ``model_is_explicit=False`` says that ``model`` is a default, which a prompt may overrule (PARITY A5). ``tracer``
    gets a span per call. ``raise_on_unsuccessful`` raises UnsuccessfulResponseError for a failed or incomplete response
    (PARITY C4), after its events if they are streamed; ``idle_parallel_tool_calls=False`` leaves out a setting that has
    nothing to act on (PARITY A4).
    """

    _environment = Environment(_LOGGER, os.environ, time.time, sys.modules)

    async def get_response(
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
    ) -> ModelResponse:
        """Run one call to its end.

        Raises UserError or TypeError for what cannot be sent, and the transport's failure: the client's over HTTP, a
        :class:`~turnwire.sansio.errors.TurnError` over WebSocket. :meth:`get_retry_advice` understands both.
        """
        arguments = ModelArguments(
            system_instructions, input, model_settings, tools, output_schema, handoffs, tracing,
            previous_response_id, conversation_id, prompt,
        )  # fmt: skip
        call = ModelCall(self._config, arguments, stream=False)
        with call.span():
            return await self._get(call)

    async def close(self) -> None:
        """Let go of what the model holds. The client is the caller's."""
        await self._background.aclose()

    # -- over HTTP

    @cached_property
    def _background(self) -> Background:
        return Background()

    async def _get(self, call: ModelCall) -> ModelResponse:
        with trio.CancelScope(deadline=_deadline(call)) as scope:
            call.answer(await _create(self._http_client, call))
        if scope.cancelled_caught:
            raise call.timed_out(answered=False)
        return call.result()

    async def _stream(self, call: ModelCall) -> AsyncGenerator[Any]:
        with call.span():
            stream = _HttpStream(call, self._background)
            try:
                await stream.open(self._http_client)
                while (event := await stream.next()) is not None:
                    yield event
            except trio.Cancelled:
                await stream.aclose(wait=False)  # PARITY C2.
                raise
            finally:
                await stream.aclose()


def _deadline(call: ModelCall) -> float:
    """When the call is to be over."""
    return inf if call.timeout is None else current_time() + call.timeout


async def _create(client: AsyncOpenAI, call: ModelCall) -> Any:
    """The client's answer. An answer that it cannot read is a failure of the turn."""
    try:
        return await cast("Any", client.responses).create(**call.kwargs)
    except (JSONDecodeError, UnicodeDecodeError) as exc:
        raise call.unreadable(exc) from exc


class _HttpStream:
    """A stream of server-sent events, and the HTTP response that carries it; closed exactly once (PARITY C2)."""

    def __init__(self, call: ModelCall, background: Background) -> None:
        self._call = call
        self._background = background
        self._deadline = _deadline(call)
        self._events: AsyncIterator[Any]
        self._request_id: str | None = None
        self._content_type: str | None = None
        self._closing = AsyncExitStack()
        self._closed = False
        self._reading = False
        """The stream has begun, and neither ended nor failed."""

    async def open(self, client: AsyncOpenAI) -> None:
        """Send the request. Raises what the client raises, and TurnTimeoutError."""
        with trio.CancelScope(deadline=self._deadline) as scope:
            await self._open(client.responses)
        if scope.cancelled_caught:
            raise self._call.timed_out(answered=False)

    async def _open(self, responses: Any) -> None:
        """A custom client may lack ``with_streaming_response``; then there is no request id."""
        create: Any = getattr(getattr(responses, "with_streaming_response", None), "create", None)
        if not callable(create):
            self._take(await responses.create(**self._call.kwargs))
            return
        response: Any = await self._closing.enter_async_context(cast("Any", create(**self._call.kwargs)))
        self._request_id = getattr(response, "request_id", None)
        self._content_type = content_type_of(response)
        if is_document(self._content_type):
            self._take(_document(self._call, response, self._content_type or ""))
        else:
            self._take(await response.parse())

    def _take(self, source: Any) -> None:
        """Read from an iterable of events, and close it and its iterator in the end."""
        self._events = aiter(source)
        self._reading = True
        for one in (source,) if self._events is source else (source, self._events):
            close: Any = getattr(one, "aclose", None) or getattr(one, "close", None)
            if callable(close):
                self._closing.push_async_callback(_close, close)

    async def next(self) -> Any:
        """The next event; None at the end. Raises the turn's failure.

        After the terminal event it waits no longer than DRAIN for the end of the stream, which gives the connection
        back to the client.
        """
        call = self._call
        call.check()
        deadline = current_time() + DRAIN if call.ended else self._deadline
        with trio.CancelScope(deadline=deadline):
            try:
                while True:
                    event = await anext(self._events)
                    if call.observe(event, self._request_id):
                        return event
                    call.check()
            except StopAsyncIteration:
                self._reading = False
                failure = call.stream_ended(self._content_type)
            except Exception as exc:
                self._reading = False
                failure = call.broken(exc, self._request_id)
            if failure is None:
                return None
            raise failure
        if not call.ended:
            raise call.timed_out(answered=True)
        return None

    async def aclose(self, *, wait: bool = True) -> None:
        """Close both; again, it does nothing. Cancelled in the middle, or if it is not to wait, this goes on by itself.

        What goes wrong is raised if the consumer left in mid-stream; else it is logged, for the call's end is known.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await self._background.run(self._closing.aclose, wait=wait)
        except Exception as exc:
            if self._reading and not self._call.ended:
                raise
            self._call.closing_failed(exc)


async def _close(close: Any) -> None:
    """Closing is not asynchronous everywhere."""
    closed = close()
    if isawaitable(closed):
        await closed


async def _document(call: ModelCall, response: Any, content_type: str) -> AsyncIterator[Any]:
    """The events in an answer that is no stream."""
    for event in call.document(await response.text(), content_type):
        yield event


class OpenAIResponsesWSModel(OpenAIResponsesModel):
    """A model behind the Responses API over one WebSocket, kept from call to call (PARITY C3).

    Calls run on the lane ``stream_id``, one after another; models, or copies of one made by :meth:`on_lane`, with
    different lanes run side by side on the same connection. ``websocket_options`` holds ``ping_interval``,
    ``ping_timeout`` and ``max_size`` (PARITY C13), or is a ``SessionOptions``. ``ssl_context`` and ``proxy`` are those
    of ``connect()``; without ``ssl_context`` it is the one of the client's ``http_client``, if that can be found.

    Between calls the connection is read: pings are answered, and its end is noticed. When the run of trio ends it is
    closed; :meth:`close`, or ``async with model:``, does so earlier.

    Successful calls have no request id on this transport.
    """

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI,
        *,
        model_is_explicit: bool = True,
        websocket_options: Mapping[str, Any] | SessionOptions | None = None,
        stream_id: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = "env",
        tracer: Tracer = NO_TRACING,
        raise_on_unsuccessful: bool = False,
        idle_parallel_tool_calls: bool = True,
    ) -> None:
        super().__init__(
            model,
            openai_client,
            model_is_explicit=model_is_explicit,
            tracer=tracer,
            raise_on_unsuccessful=raise_on_unsuccessful,
            idle_parallel_tool_calls=idle_parallel_tool_calls,
        )
        self._stream_id = stream_id
        tls = ssl_context or tls_of(openai_client)
        self._shared = _SharedConnection(openai_client, options_for_model(websocket_options), tls, checked_proxy(proxy))

    def on_lane(self, stream_id: str | None) -> OpenAIResponsesWSModel:
        """The same model, on another lane of the same connection."""
        other = copy(self)
        other._stream_id = stream_id
        return other

    async def __aenter__(self) -> OpenAIResponsesWSModel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with trio.CancelScope(shield=True):  # Bounded by close_timeout.
            await self.close()

    async def close(self) -> None:
        """Close the connection. Calls that run fail as aborted, and are not repeated (PARITY C6)."""
        await self._shared.aclose()
        await super().close()

    async def _get(self, call: ModelCall) -> ModelResponse:
        async with self._turn(call) as (turn, runtime):
            while (event := turn.next_event() or await runtime.next_event(turn)) is not None:
                if event.terminal:  # It has the items that came before it, if its own output is empty.
                    call.observe(to_stream_event(event))
                    break
        return call.result()

    async def _stream(self, call: ModelCall) -> AsyncGenerator[Any]:
        with call.span():
            async with self._turn(call) as (turn, runtime):
                while (event := turn.next_event() or await runtime.next_event(turn)) is not None:
                    sdk_event = to_stream_event(event)
                    call.observe(sdk_event)
                    yield sdk_event
                    if event.terminal:
                        break
            call.check()

    def _turn(self, call: ModelCall) -> _RunningTurn:
        prepared = call.prepared(self._stream_id)
        timeouts = call.timeouts(prepared, self._client)
        return _RunningTurn(self._shared.pool(), prepared, timeouts, self._repetitions_as_told())


class _RunningTurn:
    """The turn that a call is, within ``async with``; it is left at the end, whatever the end is."""

    def __init__(
        self, pool: _Pool, prepared: Prepared, timeouts: Timeouts, repetitions: AbstractContextManager[None]
    ) -> None:
        self._pool = pool
        self._prepared = prepared
        self._timeouts = timeouts
        self._repetitions = repetitions
        self._runtime: Runtime
        self._turn: Turn

    async def __aenter__(self) -> tuple[Turn, Runtime]:
        self._runtime = self._pool.runtime(self._prepared.headers, self._prepared.query)
        with self._repetitions:
            turn = Turn.from_frame(self._prepared.frame, timeouts=self._timeouts, now=current_time())
            self._turn = self._runtime.submit(turn)
        return self._turn, self._runtime

    async def __aexit__(self, *exc: object) -> None:
        self._runtime.cancel(self._turn)
        await self._pool.close_replaced()


class _SharedConnection:
    """What a model and its copies share: in each run of trio that they are used in, a pool (PARITY C9)."""

    def __init__(
        self,
        client: AsyncOpenAI,
        options: SessionOptions,
        ssl_context: ssl.SSLContext | None,
        proxy: Proxy | str | None,
    ) -> None:
        self._client = client
        self._options = options
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._pools: dict[TrioToken, _Pool] = {}

    def pool(self) -> _Pool:
        """The pool in this run of trio."""
        token = current_trio_token()
        pool = self._pools.get(token)
        if pool is None:
            for other in filter(is_over, list(self._pools)):
                self._pools.pop(other, None)
            pool = self._pools[token] = _Pool(self._runtime_for)
        return pool

    def _runtime_for(
        self, headers: Mapping[str, Any], query: Mapping[str, Any] | None, last: Runtime | None
    ) -> Runtime:
        """The last one, if it can be used for a call with these headers and this query; else a new one."""
        source = EndpointSource(
            base_url=None, api_key=None, client=self._client, headers=headers, query=query, environment={}
        )
        if last is not None and not last.closed and last.source.identity == source.identity:
            return last
        return Runtime(source, ssl_context=self._ssl_context, proxy=self._proxy, options=self._options)

    async def aclose(self) -> None:
        """Close the connection; a later call opens another. Those in other runs of trio are shut down from here."""
        here = current_trio_token()
        for token, pool in list(self._pools.items()):
            if token != here:
                pool.shutdown_threadsafe()
        if here in self._pools:
            await self._pools[here].aclose()


class _Pool:
    """The runtimes of one run of trio: one, and those that it replaced because URL or headers changed (PARITY C3).

    A connection is kept between calls: it is read all the time, so pings are answered and its end is noticed. When the
    run ends, it is closed.
    """

    def __init__(
        self, runtime_for: Callable[[Mapping[str, Any], Mapping[str, Any] | None, Runtime | None], Runtime]
    ) -> None:
        self._runtime_for = runtime_for
        self._runtimes: list[Runtime] = []
        """The present one is the last; the others have calls that go on."""

    def runtime(self, headers: Mapping[str, Any], query: Mapping[str, Any] | None) -> Runtime:
        """The runtime for a call with these headers and this query."""
        last = self._runtimes[-1] if self._runtimes else None
        runtime = self._runtime_for(headers, query, last)
        if runtime is not last:
            self._runtimes.append(runtime)
        return runtime

    async def close_replaced(self) -> None:
        """A call has ended: those that were replaced are closed after their last, without waiting for the server."""
        for runtime in self._runtimes[:-1]:
            if runtime.idle and runtime in self._runtimes:
                self._runtimes.remove(runtime)
                await runtime.aclose(wait_for_peer=False)

    async def aclose(self) -> None:
        """Close the connections; also when closing one of them is cancelled."""
        runtimes, self._runtimes = self._runtimes, []
        async with AsyncExitStack() as each:
            for runtime in runtimes:
                each.push_async_callback(runtime.aclose)

    def shutdown_threadsafe(self) -> None:
        """Shut the connections down from outside: calls in this run of trio lose them, later ones open others."""
        for runtime in list(self._runtimes):
            runtime.shutdown_threadsafe()
