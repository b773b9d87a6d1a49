"""The anyio shell's models: ``OpenAIResponsesModel`` over HTTP, ``OpenAIResponsesWSModel`` over one WebSocket.

Constructors and methods are the Agents SDK's, positional order included (PARITY C1); what a call is, ``sansio.model``
says; here it is awaited. Read this file beside ``trio_shell/_models.py``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from anyio.lowlevel import current_token

from ..sansio.connection import Turn
from ..sansio.errors import ConcurrentUseError
from ..sansio.model import (
    ModelArguments,
    ModelCall,
    ModelResponse,
    ModelTracing,
    ResponsesModel,
    Surroundings,
    options_for_model,
)
from ..sansio.request import timeouts_from
from ..sansio.sdk import to_stream_event
from ..sansio.session import EndpointSource, SessionOptions
from ..sansio.settings import OMIT, ModelSettings
from ..sansio.tools import Handoff, OutputSchemaLike, Tool
from ..sansio.tracing import NO_TRACING, Tracer
from ._background import Background
from ._driver import Driver, Host

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["OpenAIResponsesModel", "OpenAIResponsesWSModel"]

_LOGGER: Final = logging.getLogger("turnwire")


class OpenAIResponsesModel(ResponsesModel):
    """A model behind the Responses API over HTTP, through the given client.

    ``model_is_explicit=False`` says that ``model`` is a default, which a prompt may overrule (PARITY A5). ``tracer``
    gets a span per call. ``raise_on_unsuccessful`` raises UnsuccessfulResponseError for a failed or incomplete response
    (PARITY C4), after its events if they are streamed; ``idle_parallel_tool_calls=False`` leaves out a setting that has
    nothing to act on (PARITY A4).
    """

    _surroundings = Surroundings(_LOGGER, os.environ, time.time)

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
        return call.result(await self._patient_client.responses.create(**call.kwargs))

    async def _stream(self, call: ModelCall) -> AsyncGenerator[Any]:
        with call.span():
            stream = await _HttpStream.open(self._patient_client, call.kwargs)
            try:
                async for event in stream.events:
                    call.observe(event, stream.request_id)
                    yield event
            except anyio.get_cancelled_exc_class():
                await self._background.run(stream.detached())  # Without waiting for it (PARITY C2).
                raise
            finally:
                await stream.aclose(quietly=call.terminal_type is not None)
            call.check()


class _HttpStream:
    """A stream of server-sent events, and the HTTP response that carries it; closed exactly once (PARITY C2)."""

    def __init__(self, events: AsyncIterator[Any], request_id: str | None, closing: AsyncExitStack) -> None:
        self.events = events
        self.request_id = request_id
        self._closing = closing

    @classmethod
    async def open(cls, client: AsyncOpenAI, kwargs: Mapping[str, Any]) -> _HttpStream:
        """Send the request. A custom client may lack ``with_streaming_response``; then there is no request id."""
        responses: Any = client.responses
        create: Any = getattr(getattr(responses, "with_streaming_response", None), "create", None)
        async with AsyncExitStack() as closing:
            if callable(create):
                response: Any = await closing.enter_async_context(cast("Any", create(**kwargs)))
                events, request_id = await response.parse(), getattr(response, "request_id", None)
            else:
                events, request_id = await responses.create(**kwargs), None
            close: Any = getattr(events, "aclose", None) or getattr(events, "close", None)
            if close is not None:
                closing.push_async_callback(close)
            return cls(events, request_id, closing.pop_all())

    def detached(self) -> Callable[[], Coroutine[Any, Any, None]]:
        """The closing, for somebody else to do; this stream counts as closed."""
        return self._closing.pop_all().aclose

    async def aclose(self, *, quietly: bool = False) -> None:
        """Close both; again, it does nothing. ``quietly``: what goes wrong is logged, for the answer is complete."""
        try:
            await self._closing.aclose()
        except Exception as exc:
            if not quietly:
                raise
            _LOGGER.debug("Closing a stream after its terminal event failed: %s", exc)


class OpenAIResponsesWSModel(OpenAIResponsesModel):
    """A model behind the Responses API over one WebSocket, kept from call to call (PARITY C3).

    Calls run on the lane ``stream_id``, one after another; models, or copies of one made by :meth:`on_lane`, with
    different lanes run side by side on the same connection. ``websocket_options`` holds ``ping_interval``,
    ``ping_timeout`` and ``max_size`` (PARITY C13), or is a ``SessionOptions``.

    ``async with model:`` gives it a keeper, which answers pings between calls. Without it, a connection that was not
    read for a while is asked for a sign of life before a call is trusted to it.

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
        self._shared = _SharedConnection(openai_client, options_for_model(websocket_options))

    def on_lane(self, stream_id: str | None) -> OpenAIResponsesWSModel:
        """The same model, on another lane of the same connection."""
        other = copy(self)
        other._stream_id = stream_id
        return other

    async def __aenter__(self) -> OpenAIResponsesWSModel:
        await self._shared.home().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._shared.home().__aexit__(kind, exc, traceback)

    async def close(self) -> None:
        """Close the connection. Calls that run fail as aborted, and are not repeated (PARITY C6)."""
        await self._shared.aclose()
        await super().close()

    async def _get(self, call: ModelCall) -> ModelResponse:
        async with self._turn(call) as (turn, driver):
            while (event := turn.next_event() or await driver.next_event(turn)) is not None:
                if event.terminal:
                    call.observe(to_stream_event(event))
                    break
        return call.result()

    async def _stream(self, call: ModelCall) -> AsyncGenerator[Any]:
        with call.span():
            async with self._turn(call) as (turn, driver):
                while (event := turn.next_event() or await driver.next_event(turn)) is not None:
                    sdk_event = to_stream_event(event)
                    if event.terminal:
                        call.observe(sdk_event)
                        yield sdk_event
                        break
                    yield sdk_event
            call.check()

    @asynccontextmanager
    async def _turn(self, call: ModelCall) -> AsyncGenerator[tuple[Turn, Driver]]:
        """The turn that the call is; it is left at the end, whatever the end is."""
        prepared = call.prepared(self._stream_id)
        timeouts = timeouts_from(prepared.timeout, default=getattr(self._client, "timeout", OMIT))
        home = self._shared.home()
        driver = await home.driver(prepared.headers, prepared.query)
        turn = await driver.begin_frame(prepared.frame, timeouts)  # From here on the driver is not idle.
        try:
            yield turn, driver
        finally:
            try:
                await driver.leave(turn)
            finally:
                await home.release()


class _SharedConnection:
    """What a model and its copies share: in each event loop that they are used in, a home (PARITY C9)."""

    def __init__(self, client: AsyncOpenAI, options: SessionOptions) -> None:
        self._client = client
        self._options = options
        self._homes: dict[object, _Home] = {}

    def home(self) -> _Home:
        """The home in this event loop."""
        token = current_token()
        home = self._homes.get(token)
        if home is None:
            for other, left in list(self._homes.items()):
                if left.over:
                    self._homes.pop(other, None)
            home = self._homes[token] = _Home(self._client, self._options)
        return home

    async def aclose(self) -> None:
        """Close the connection; a later call opens another. Those in other event loops are shut down from here."""
        here = current_token()
        for token, home in list(self._homes.items()):
            if token != here:
                home.forsake()
        if here in self._homes:
            await self._homes[here].aclose()


class _Home:
    """The drivers of one event loop: one, and those that it replaced because URL or headers changed (PARITY C3)."""

    def __init__(self, client: AsyncOpenAI, options: SessionOptions) -> None:
        self._client = client
        self._options = options
        self._drivers: list[Driver] = []
        """The present one is the last; the others have calls that go on."""
        self._host: Host | None = None
        self._lease: AsyncGenerator[None] | None = None
        self.over = False
        """The event loop has ended."""

    async def driver(self, headers: Mapping[str, Any], query: Mapping[str, Any] | None) -> Driver:
        """The driver for a call with these headers and this query."""
        source = EndpointSource(
            base_url=None, api_key=None, client=self._client, headers=headers, query=query, environment={}
        )
        if self._drivers and self._drivers[-1].source.identity == source.identity:
            return self._drivers[-1]
        new = Driver(source, ssl_context=None, proxy="env", options=self._options)
        self._drivers.append(new)
        if self._host is not None:
            new.keep_in(self._host)
        if self._lease is None:
            self._lease = self._until_the_end()
            await anext(self._lease)
        return new

    async def release(self) -> None:
        """A call has ended: drivers that were replaced are closed after their last, without waiting for the server."""
        for driver in self._drivers[:-1]:
            if driver.idle and driver in self._drivers:
                self._drivers.remove(driver)
                await driver.aclose(patiently=False)

    async def _until_the_end(self) -> AsyncGenerator[None]:
        """Suspended for as long as the event loop lasts. It ends its generators when it ends, and this one ends us."""
        try:
            yield
        finally:
            self.over = self._lease is not None
            with anyio.move_on_after(0):
                await _close_all(self._drivers)

    async def aclose(self) -> None:
        """Close the connections."""
        drivers, self._drivers = self._drivers, []
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.aclose()  # At once, before another call takes another.
        await _close_all(drivers)

    def forsake(self) -> None:
        """Shut the connections down from outside: calls in this event loop lose them, later ones open others."""
        for driver in list(self._drivers):
            driver.forsake()

    async def __aenter__(self) -> None:
        if self._host is not None:
            raise ConcurrentUseError(
                "the model's connection is in an 'async with' already — nothing was opened — enter it once, and use "
                "the model and its on_lane() within"
            )
        self._host = host = Host(lasting=True)
        await host.__aenter__()
        for driver in self._drivers:
            driver.keep_in(host)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        host, self._host = self._host, None
        if host is None:
            return
        try:
            with anyio.CancelScope(shield=True):  # Bounded by close_timeout.
                await self.aclose()
        finally:
            await host.end(exc)


async def _close_all(drivers: list[Driver]) -> None:
    """Also when one of them is cancelled."""
    async with AsyncExitStack() as each:
        for driver in drivers:
            each.push_async_callback(driver.aclose)
