"""The model over one WebSocket, kept from call to call, in each event loop that it is used in.

The promise
    A call is an ordinary turn of a session. The connection is read between calls: pings are answered, and its end is
    noticed. It is replaced when URL or headers have changed, and closed with the model or with its event loop.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AsyncExitStack
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace

from ..connection import Turn
from ..events import ServerEvent
from ..events._openai import to_stream_event
from ..events._openai_plans import stream_event_reader
from ..flow import Emit, Emitting, Flow, Wait, awaited
from ..lanes import AUTO, AnyLane
from ..option_help import explain_arguments
from ..record import BinaryFile, PathLike, Recording, recording_of
from ..runtime import SessionRuntime
from ..secret import discreet
from ..session import EndpointSource, SessionOptions
from ..telemetry import DEFAULT_TELEMETRY, Telemetry
from ..transports import Network, checked_network
from .call import ModelCall, ModelResponse
from .httpmodel import OpenAIResponsesModel
from .metrics import without_spans
from .model import ModelShell, options_for_model
from .tracing import NO_TRACING, Tracer

if TYPE_CHECKING:
    import ssl

    from openai import AsyncOpenAI

__all__ = ["OpenAIResponsesWSModel"]


class OpenAIResponsesWSModel(OpenAIResponsesModel):
    """A model behind the Responses API over one WebSocket, kept from call to call (PARITY C3).

    Calls run on the lane ``stream_id``, one after another; with AUTO, side by side, each on any free lane. Models (or
    copies of one, made by :meth:`on_lane`) with different lanes run side by side on the same connection.

    Between calls the connection is read: pings are answered, and its end is noticed. ``async with model:`` closes it at
    the end, as :meth:`close` does. If neither is used, it is closed when the event loop ends.

    Successful calls have no request id over a WebSocket.

    Arguments:
        websocket_options: A ``SessionOptions``, whose ``telemetry`` is not used (``help(SessionOptions)`` has the
            options with their units), or a mapping with ``ping_interval`` and ``ping_timeout``, in seconds, and
            ``max_size``, in bytes of one message (PARITY C13).
        stream_id: The lane; None is the default lane, and AUTO any free one.
        ssl_context: For TLS to the server; by default that of the client's ``http_client``.
        proxy: None, ``"env"``, or the URL of a proxy, as for ``connect()``; by default that of the client's
            ``http_client``.
        proxy_ssl_context: For TLS to an https proxy.
        record: The file that all of its connections are recorded in, as for ``connect()``.
    """

    @discreet
    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI,
        *,
        model_is_explicit: bool = True,
        websocket_options: Mapping[str, Any] | SessionOptions | None = None,
        stream_id: AnyLane = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = "client",
        proxy_ssl_context: ssl.SSLContext | None = None,
        record: str | PathLike | BinaryFile | Recording | None = None,
        tracer: Tracer = NO_TRACING,
        telemetry: Telemetry | None = DEFAULT_TELEMETRY,
        raise_on_unsuccessful: bool = False,
        idle_parallel_tool_calls: bool = True,
    ) -> None:
        super().__init__(
            model,
            openai_client,
            model_is_explicit=model_is_explicit,
            tracer=tracer,
            telemetry=telemetry,
            raise_on_unsuccessful=raise_on_unsuccessful,
            idle_parallel_tool_calls=idle_parallel_tool_calls,
        )
        self._stream_id = stream_id
        network = checked_network(
            ssl_context=ssl_context,
            proxy=proxy,
            proxy_ssl_context=proxy_ssl_context,
            context_type=self._shell.means.context_type,
        )
        options = replace(
            options_for_model(websocket_options, recording_of(record)), telemetry=without_spans(telemetry)
        )
        self._shared = _SharedConnection(self._shell, openai_client, options, network)

    def on_lane(self, stream_id: AnyLane) -> Self:
        """The same model, on another lane of the same connection; AUTO: on any free lane."""
        other = copy(self)
        other._stream_id = stream_id
        return other

    @awaited
    def __aenter__(self) -> Flow[Self]:
        yield from ()  # It waits for nothing.
        return self

    @awaited
    def __aexit__(self, *exc: object) -> Flow[None]:
        """Close the connection in this event loop; those in other event loops stay open."""
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
                if event.terminal and running.turn.ends_with(event):
                    call.add(to_stream_event(event))  # Its response has the earlier items if its own output is empty.
                    break
        except StopAsyncIteration:
            call.add(to_stream_event(running.turn.ending))
        finally:
            yield from running.leave()
        return call.result()

    def _stream(self, call: ModelCall) -> Emitting:
        with call.span():
            running = self._begin(call)
            turn, receive, made, emitted = running.turn, running.receive, stream_event_reader(), Emit(None)
            try:
                while True:  # Hot path: runs once per event.
                    event: ServerEvent = turn.next_event() or (yield receive)
                    emitted.value = made(event.full_bytes, event.type)
                    if event.terminal:
                        if last := turn.ends_with(event):  # A steered response is not the call's: its successor is.
                            call.add(emitted.value)
                        yield emitted
                        if last:
                            break
                    else:
                        if call.takes(event.type):
                            call.add(emitted.value)
                        yield emitted
            except StopAsyncIteration:
                call.add(to_stream_event(running.turn.ending))
            finally:
                yield from running.leave()
            call.check()

    def _begin(self, call: ModelCall) -> _RunningTurn:
        """Send the call's turn."""
        lane = self._stream_id
        prepared = call.prepared(None if lane is AUTO else lane)
        timeouts = call.timeouts(prepared, self._client)
        pool = self._shared.pool(prepared.headers, prepared.query)
        with self._repetitions_as_told():
            turn = Turn.from_frame(prepared.frame, timeouts=timeouts, now=self._shell.now(), lane=lane)
            return _RunningTurn(pool, pool.runtimes[-1].submit(turn, prepared.frame))


explain_arguments(OpenAIResponsesWSModel)


class _RunningTurn:
    """The turn of a call and the runtime that it runs on. Call :meth:`leave` at the end, however the call ends."""

    def __init__(self, pool: _Pool, turn: Turn) -> None:
        self._pool = pool
        self._runtime = pool.runtimes[-1]
        self.turn = turn
        self.receive = Wait(partial(self._runtime.iterate, turn))
        """Waits for the next event."""

    def leave(self) -> Flow[None]:
        """The consumer leaves the turn. After the turn's end, only unread events are dropped."""
        self._runtime.cancel(self.turn)
        yield from self._pool.close_replaced()


class _SharedConnection:
    """What a model and its copies share: one pool in each event loop in which they are used (PARITY C9)."""

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
        """The pool of this event loop. Its last runtime fits a call with these headers and this query."""
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
        """Close the connections of this event loop."""
        pool = self._pools.pop(self._shell.token(), None)
        if pool is not None:
            yield from pool.close()


class _Pool:
    """The runtimes of one event loop: the present one, and those replaced when URL or headers changed (PARITY C3)."""

    def __init__(self) -> None:
        self.runtimes: list[SessionRuntime] = []
        """The last one is the present one; the others still have running calls."""

    @property
    def over(self) -> bool:
        """Whether the event loop has ended."""
        return all(runtime.over for runtime in self.runtimes)

    def fits(self, source: EndpointSource) -> bool:
        """Whether the present runtime is for this endpoint, and can be used."""
        last = self.runtimes[-1] if self.runtimes else None
        return last is not None and not last.closed and last.source.identity == source.identity

    def close_replaced(self) -> Flow[None]:
        """After a call's end: close replaced runtimes that have no calls left, without waiting for the server."""
        for runtime in self.runtimes[:-1]:
            if runtime.idle and runtime in self.runtimes:
                self.runtimes.remove(runtime)
                yield Wait(partial(runtime.aclose, wait_for_peer=False))

    def close(self) -> Flow[None]:
        """Close the connections; all of them, even if closing one is cancelled."""
        runtimes, self.runtimes = self.runtimes, []
        each = AsyncExitStack()
        for runtime in runtimes:
            each.push_async_callback(runtime.aclose)
        yield Wait(each.aclose)

    def shutdown_threadsafe(self) -> None:
        """Shut the connections down from another event loop or thread: running calls fail, later calls open new
        ones."""
        for runtime in list(self.runtimes):
            runtime.shutdown_threadsafe()
