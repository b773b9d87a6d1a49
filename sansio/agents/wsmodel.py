"""The model over one WebSocket, kept from call to call, in each event loop that it is used in.

The promise
    A call is a turn of a session like any other. The connection is read between calls: pings are answered, and its end
    is noticed. It is replaced when URL or headers have changed, and closed with the model, or with its event loop.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AsyncExitStack
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from ..connection import Turn
from ..events import ServerEvent
from ..events._openai import to_stream_event
from ..flow import Emit, Emitting, Flow, Wait, awaited
from ..runtime import SessionRuntime
from ..secret import discreet
from ..session import EndpointSource, SessionOptions
from ..transports import Network, checked_network
from .call import ModelCall, ModelResponse
from .httpmodel import OpenAIResponsesModel
from .model import ModelShell, options_for_model, tls_of
from .tracing import NO_TRACING, Tracer

if TYPE_CHECKING:
    import ssl

    from openai import AsyncOpenAI

__all__ = ["OpenAIResponsesWSModel"]


class OpenAIResponsesWSModel(OpenAIResponsesModel):
    """A model behind the Responses API over one WebSocket, kept from call to call (PARITY C3).

    Calls run on the lane ``stream_id``, one after another; models, or copies of one made by :meth:`on_lane`, with
    different lanes run side by side on the same connection. ``websocket_options`` holds ``ping_interval``,
    ``ping_timeout`` and ``max_size`` (PARITY C13), or is a ``SessionOptions``. ``ssl_context``, ``proxy``
    and ``proxy_ssl_context`` are those of ``connect()``; without ``ssl_context`` it is the one of the client's
    ``http_client``, if that can be found.

    Between calls the connection is read: pings are answered, and its end is noticed. ``async with model:`` closes it in
    the end, as :meth:`close` does; when nobody does, the end of the event loop will.

    Successful calls have no request id on this transport.
    """

    @discreet
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
        proxy_ssl_context: ssl.SSLContext | None = None,
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
        network = checked_network(
            ssl_context=ssl_context,
            proxy=proxy,
            proxy_ssl_context=proxy_ssl_context,
            context_type=self._shell.context_type,
        )
        if ssl_context is None:
            network = replace(network, ssl_context=tls_of(openai_client))
        self._shared = _SharedConnection(self._shell, openai_client, options_for_model(websocket_options), network)

    def on_lane(self, stream_id: str | None) -> Self:
        """The same model, on another lane of the same connection."""
        other = copy(self)
        other._stream_id = stream_id
        return other

    @awaited
    def __aenter__(self) -> Flow[Self]:
        yield from ()  # It waits for nothing.
        return self

    @awaited
    def __aexit__(self, *exc: object) -> Flow[None]:
        """Close the connection in this event loop; those in others go on."""
        yield Wait(lambda: self._shell.run(self._shared.close_here()), shield=True)  # Bounded by close_timeout.

    @awaited
    def close(self) -> Flow[None]:
        """Close the connection. Calls that run fail as aborted, and are not repeated (PARITY C6)."""
        yield from self._close()

    def _close(self) -> Flow[None]:
        yield from self._shared.close()
        yield from super()._close()

    def _get(self, call: ModelCall) -> Flow[ModelResponse]:
        running = self._begin(call)
        try:
            while True:
                event: ServerEvent = running.turn.next_event() or (yield running.receive)
                if event.terminal:  # It has the items that came before it, if its own output is empty.
                    call.observe(to_stream_event(event))
                    break
        finally:
            yield from running.leave()
        return call.result()

    def _stream(self, call: ModelCall) -> Emitting:
        with call.span():
            running = self._begin(call)
            try:
                while True:
                    event: ServerEvent = running.turn.next_event() or (yield running.receive)
                    sdk_event = to_stream_event(event)
                    call.observe(sdk_event)
                    yield Emit(sdk_event)
                    if event.terminal:
                        break
            finally:
                yield from running.leave()
            call.check()

    def _begin(self, call: ModelCall) -> _RunningTurn:
        """Send the call's turn."""
        prepared = call.prepared(self._stream_id)
        timeouts = call.timeouts(prepared, self._client)
        pool = self._shared.pool(prepared.headers, prepared.query)
        with self._repetitions_as_told():
            turn = Turn.from_frame(prepared.frame, timeouts=timeouts, now=self._shell.now())
            return _RunningTurn(pool, pool.runtimes[-1].submit(turn))


class _RunningTurn:
    """The turn that a call is, and the runtime that it runs on; to be left at the end, whatever the end is."""

    def __init__(self, pool: _Pool, turn: Turn) -> None:
        self._pool = pool
        self._runtime = pool.runtimes[-1]
        self.turn = turn
        self.receive = Wait(partial(self._runtime.iterate, turn))
        """Waits for the next event."""

    def leave(self) -> Flow[None]:
        """The consumer goes. After the turn's end, it only forgets what was not read."""
        self._runtime.cancel(self.turn)
        yield from self._pool.close_replaced()


class _SharedConnection:
    """What a model and its copies share: in each event loop that they are used in, a pool (PARITY C9)."""

    def __init__(
        self,
        shell: ModelShell,
        client: AsyncOpenAI,
        options: SessionOptions,
        network: Network,
    ) -> None:
        self._shell = shell
        self._client = client
        self._options = options
        self._network = network
        self._pools: dict[Hashable, _Pool] = {}

    def pool(self, headers: Mapping[str, Any], query: Mapping[str, Any] | None) -> _Pool:
        """The pool in this event loop. Its last runtime is for a call with these headers and this query."""
        source = EndpointSource(
            base_url=None, api_key=None, client=self._client, headers=headers, query=query, environment={}
        )
        token = self._shell.token()
        pool = self._pools.get(token)
        if pool is None:
            for other, left in list(self._pools.items()):
                if left.over:
                    self._pools.pop(other, None)
            pool = _Pool()
        if not pool.fits(source):
            pool.runtimes.append(self._shell.runtime(source, self._network, self._options))
        self._pools[token] = pool
        return pool

    def close(self) -> Flow[None]:
        """Close the connections; a later call opens another. Those in other event loops are shut down from here."""
        here = self._shell.token()
        for token, pool in list(self._pools.items()):
            if token != here:
                pool.shutdown_threadsafe()
        yield from self.close_here()

    def close_here(self) -> Flow[None]:
        """Close those in this event loop."""
        pool = self._pools.pop(self._shell.token(), None)
        if pool is not None:
            yield from pool.close()


class _Pool:
    """The runtimes of one event loop: one, and those that it replaced because URL or headers changed (PARITY C3)."""

    def __init__(self) -> None:
        self.runtimes: list[SessionRuntime] = []
        """The present one is the last; the others have calls that go on."""

    @property
    def over(self) -> bool:
        """The event loop has ended."""
        return all(runtime.over for runtime in self.runtimes)

    def fits(self, source: EndpointSource) -> bool:
        """Whether the present one is for this endpoint, and can be used."""
        last = self.runtimes[-1] if self.runtimes else None
        return last is not None and not last.closed and last.source.identity == source.identity

    def close_replaced(self) -> Flow[None]:
        """A call has ended: those that were replaced are closed after their last, without waiting for the server."""
        for runtime in self.runtimes[:-1]:
            if runtime.idle and runtime in self.runtimes:
                self.runtimes.remove(runtime)
                yield Wait(partial(runtime.aclose, wait_for_peer=False))

    def close(self) -> Flow[None]:
        """Close the connections; also when closing one of them is cancelled."""
        runtimes, self.runtimes = self.runtimes, []
        each = AsyncExitStack()
        for runtime in runtimes:
            each.push_async_callback(runtime.aclose)
        yield Wait(each.aclose)

    def shutdown_threadsafe(self) -> None:
        """Shut the connections down from outside: calls in this event loop lose them, later ones open others."""
        for runtime in list(self.runtimes):
            runtime.shutdown_threadsafe()
