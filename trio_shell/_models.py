"""The trio shell's models: ``OpenAIResponsesModel`` over HTTP, ``OpenAIResponsesWSModel`` over one WebSocket.

Constructors and methods are the Agents SDK's, positional order included (PARITY C1); what a call is, ``sansio.model``
says; here it is awaited. Read this file beside ``aio/_models.py``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.lowlevel import current_trio_token

from ..sansio.connection import Turn
from ..sansio.model import ModelArguments, ModelCall, ModelConfig, ModelResponse, ModelTracing, options_for_model
from ..sansio.replay import ModelRetryAdvice, ModelRetryAdviceRequest, get_retry_advice
from ..sansio.request import timeouts_from
from ..sansio.sdk import to_stream_event
from ..sansio.session import EndpointSource, SessionOptions, provider_retries_are_off
from ..sansio.settings import ModelSettings
from ..sansio.tools import Handoff, OutputSchemaLike, Tool
from ..sansio.tracing import NO_TRACING, Tracer
from ._background import Background
from ._driver import Driver, Host

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["OpenAIResponsesModel", "OpenAIResponsesWSModel"]

_LOGGER: Final = logging.getLogger("turnwire")


class OpenAIResponsesModel:
    """A model behind the Responses API over HTTP, through the given client.

    ``model_is_explicit=False`` says that ``model`` is a default, which a prompt may overrule (PARITY A5). ``tracer``
    gets a span per call. ``raise_on_unsuccessful`` raises UnsuccessfulResponseError for a failed or incomplete response
    (PARITY C4), after its events if they are streamed; ``idle_parallel_tool_calls=False`` leaves out a setting that has
    nothing to act on (PARITY A4).
    """

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
        self._config = ModelConfig(
            model=model,
            model_is_explicit=model_is_explicit,
            logger=_LOGGER,
            log_model_data=os.environ.get("OPENAI_AGENTS_DONT_LOG_MODEL_DATA", "").lower() not in ("1", "true"),
            tracer=tracer,
            raise_on_unsuccessful=raise_on_unsuccessful,
            idle_parallel_tool_calls=idle_parallel_tool_calls,
        )
        self._background = Background()

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
        """Run one call and yield its events, ``openai.types.responses`` objects. Raises as :meth:`get_response` does.

        A consumer that stops before the terminal event should close the iterator (``contextlib.aclosing``), so that the
        connection is let go of at once.
        """
        arguments = ModelArguments(
            system_instructions, input, model_settings, tools, output_schema, handoffs, tracing,
            previous_response_id, conversation_id, prompt,
        )  # fmt: skip
        return self._stream(ModelCall(self._config, arguments, stream=True))

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """Whether to repeat a call that failed (PARITY C10); None if there is nothing to say."""
        return get_retry_advice(request, now=time.time())

    async def close(self) -> None:
        """Let go of what the model holds. The client is the caller's."""
        await self._background.aclose()

    # -- over HTTP

    @property
    def _patient_client(self) -> AsyncOpenAI:
        return self._client.with_options(max_retries=0) if provider_retries_are_off() else self._client

    async def _get(self, call: ModelCall) -> ModelResponse:
        return call.result(await self._patient_client.responses.create(**call.kwargs))

    async def _stream(self, call: ModelCall) -> AsyncGenerator[Any]:
        with call.span():
            stream = await _HttpStream.open(self._patient_client, call.kwargs)
            try:
                async for event in stream.events:
                    stream.attach_request_id(event)
                    call.observe(event)
                    yield event
            except trio.Cancelled:
                await self._background.run(stream.take_aclose())  # Without waiting for it (PARITY C2).
                raise
            finally:
                await stream.aclose(quietly=call.terminal_type is not None)
            call.check()


class _HttpStream:
    """A stream of server-sent events and the HTTP response that carries it; closed exactly once (PARITY C2)."""

    def __init__(self, events: Any, response_manager: Any, request_id: str | None) -> None:
        self.events: AsyncIterator[Any] = events
        self._response_manager = response_manager
        self._request_id = request_id
        self._closed = False

    @classmethod
    async def open(cls, client: AsyncOpenAI, kwargs: Mapping[str, Any]) -> _HttpStream:
        """Send the request. A custom client may lack ``with_streaming_response``; then there is no request id."""
        create: Any = getattr(getattr(client.responses, "with_streaming_response", None), "create", None)
        if not callable(create):
            plain: Any = client.responses.create
            return cls(await plain(**kwargs), None, None)
        manager: Any = create(**kwargs)
        response = await manager.__aenter__()
        try:
            return cls(await response.parse(), manager, getattr(response, "request_id", None))
        except BaseException as exc:
            await manager.__aexit__(type(exc), exc, exc.__traceback__)
            raise

    def attach_request_id(self, event: Any) -> None:
        """The request's id belongs to the response (``response._request_id``), as it does without streaming."""
        response = getattr(event, "response", None)
        if response is not None and self._request_id is not None:
            response._request_id = self._request_id

    def take_aclose(self) -> Callable[[], Coroutine[Any, Any, None]]:
        """The closing, for somebody else to do; for this one, the stream is closed."""
        closing = _HttpStream(self.events, self._response_manager, None)
        self._closed = True
        return closing.aclose

    async def aclose(self, *, quietly: bool = False) -> None:
        """Close both; again, it does nothing. ``quietly``: what goes wrong is logged, for the answer is complete."""
        if self._closed:
            return
        self._closed = True
        try:
            try:
                close: Any = getattr(self.events, "aclose", None) or getattr(self.events, "close", None)
                if close is not None:
                    await close()
            finally:
                if self._response_manager is not None:
                    await self._response_manager.__aexit__(None, None, None)
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
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _stream_id=stream_id)
        return other

    async def __aenter__(self) -> OpenAIResponsesWSModel:
        await self._shared.home().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._shared.home().__aexit__(*exc)

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
        timeouts = timeouts_from(prepared.timeout, default=getattr(self._client, "timeout", None))
        home = self._shared.home()
        driver = await home.driver(prepared.headers, prepared.query)
        turn = driver.begin_frame(prepared.frame, timeouts)
        try:
            yield turn, driver
        finally:
            try:
                await driver.leave(turn)
            finally:
                await home.release(driver)


class _SharedConnection:
    """What a model and its copies share: in each run of trio that they are used in, a home (PARITY C9)."""

    def __init__(self, client: AsyncOpenAI, options: SessionOptions) -> None:
        self._client = client
        self._options = options
        self._homes: dict[object, _Home] = {}

    def home(self) -> _Home:
        """The home in this run of trio."""
        token = current_trio_token()
        home = self._homes.get(token)
        if home is None:
            for other, left in list(self._homes.items()):
                if left.over:
                    self._homes.pop(other, None)
            home = self._homes[token] = _Home(self._client, self._options)
        return home

    async def aclose(self) -> None:
        """Close the connection; a later call opens another. Those in other runs of trio are shut down from here."""
        here = current_trio_token()
        for token, home in list(self._homes.items()):
            if token != here:
                home.forsake()
        if here in self._homes:
            await self._homes[here].aclose()


class _Home:
    """The driver of one run of trio, replaced when URL or headers are no longer the same (PARITY C3)."""

    def __init__(self, client: AsyncOpenAI, options: SessionOptions) -> None:
        self._client = client
        self._options = options
        self._identity: object = None
        self._driver: Driver | None = None
        self._host: Host | None = None
        self._lease: AsyncGenerator[None] | None = None
        self.over = False
        """The run of trio has ended."""

    async def driver(self, headers: Mapping[str, Any], query: Mapping[str, Any] | None) -> Driver:
        """The driver for a call with these headers and this query."""
        source = EndpointSource(
            base_url=None, api_key=None, client=self._client, headers=headers, query=query, environment={}
        )
        old = self._driver
        if old is not None and source.identity == self._identity:
            return old
        self._identity = source.identity
        self._driver = new = Driver(source, ssl_context=None, proxy="env", options=self._options)
        if self._host is not None:
            new.keep_in(self._host)
        if self._lease is None:
            self._lease = self._until_the_end()
            await anext(self._lease)
        if old is not None:
            await self.release(old)
        return new

    async def _until_the_end(self) -> AsyncGenerator[None]:
        """Suspended for as long as the run of trio lasts. It ends its generators when it ends, and this one ends us."""
        try:
            yield
        finally:
            self.over = self._lease is not None
            if self._driver is not None:
                with trio.move_on_after(0):
                    await self._driver.aclose()

    async def release(self, driver: Driver) -> None:
        """A call has ended: a driver that was replaced meanwhile is closed after its last one."""
        if driver is not self._driver and driver.idle and not driver.closed:
            await driver.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        driver, self._driver = self._driver, None
        lease, self._lease = self._lease, None
        try:
            if driver is not None:
                await driver.aclose()
        finally:
            if lease is not None:
                await lease.aclose()

    def forsake(self) -> None:
        """Shut the connection down from outside of its run of trio. Calls there lose it; the next one opens another."""
        if self._driver is not None:
            self._driver.forsake()

    async def __aenter__(self) -> None:
        self._host = await Host().__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        host, self._host = self._host, None
        if host is None:
            return
        try:
            with trio.CancelScope(shield=True):  # Bounded by close_timeout.
                await self.aclose()
        finally:
            await host.end()
