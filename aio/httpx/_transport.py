"""The transport: see the top of the package."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, cast

from openai import DEFAULT_CONNECTION_LIMITS, DefaultAsyncHttpxClient

from ...sansio.as_http import (
    HTTP_CLIENT_OPTIONS,
    HttpRequest,
    Sessions,
    TurnExchange,
    interruption_of,
    is_own_header,
    turn_asked,
    turn_body,
)
from ...sansio.checks import Instance
from ...sansio.connections import ConnectionInfo
from ...sansio.errors import TooManyTurnsError, TurnError, UserError
from ...sansio.session import SessionOptions
from ...sansio.transports import checked_network
from .._shell import SHELL
from ._errors import lost

if TYPE_CHECKING:
    import ssl

    from httpx2 import AsyncBaseTransport, Request, Response

    _LIBRARY: Any
else:
    _OWNER = next(base for base in DefaultAsyncHttpxClient.__mro__ if base.__name__ == "AsyncClient").__module__
    _LIBRARY = sys.modules[_OWNER.partition(".")[0]]
    AsyncBaseTransport = _LIBRARY.AsyncBaseTransport

__all__ = ["TurnwireTransport"]


class TurnwireTransport(AsyncBaseTransport):
    """A transport that sends Responses API calls over a WebSocket, and all else over ``inner``.

    ``inner`` is a transport of httpx2 or httpx. If it is not given, one is made; ``ssl_context`` and ``proxy`` are for
    both, then: ``proxy`` is the URL of a proxy, ``"env"``, or None. If it is given, the WebSocket connects as it does,
    as far as its settings can be read, unless the arguments say otherwise.

    ``options`` are those of the sessions, of which there is one for each URL with its headers. Their timeouts are those
    of each request. Without ``options``: up to 16 connections each, which close after 300 seconds without a turn; and
    of the failures that ``openai``'s client repeats itself, none is repeated here. ``per_request_headers`` are names of
    headers that differ from request to request, such as an id for a log: they are not sent over the WebSocket. Any
    other header belongs to the connection, and a call with another value opens another one.

    A request may have the header ``x-turnwire-lane`` (the name of the lane), and ``x-turnwire-transport: http``.

    Raises UserError for arguments that cannot be used, and WrongTypeError for those of another type.
    """

    def __init__(
        self,
        inner: AsyncBaseTransport | None = None,
        *,
        options: SessionOptions | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = "client",
        per_request_headers: Collection[str] = (),
    ) -> None:
        Instance(SessionOptions, optional=True).check("options", options)
        network = checked_network(
            ssl_context=ssl_context, proxy=proxy, proxy_ssl_context=None, context_type=SHELL.means.context_type
        )
        self._given = _arguments_of_a_client(inner, ssl_context, proxy)
        self._http_clients: dict[Any, Any] = {}
        """The HTTP clients whose transports are the inner ones, by their library."""
        network = replace(network, http_client=self._http_client(_LIBRARY))
        self._sessions = Sessions(SHELL, options or HTTP_CLIENT_OPTIONS, network)
        not_sent = frozenset(name.lower() for name in per_request_headers)
        self._limits = (self._sessions.options.turn_timeouts, not_sent)
        """What else :func:`turn_asked` needs."""

    @property
    def connections(self) -> list[ConnectionInfo]:
        """What is known of the connections of turns in the running event loop, those that have ended included."""
        return self._sessions.connections

    async def handle_async_request(self, request: Request) -> Response:
        """Answer one request. Raises what the inner transport raises; TurnLostError; UserError for a header
        ``x-turnwire-…`` that cannot be used; and, for a turn that did not run, exceptions of the request's library."""
        exchange = await self._begun(request)
        if exchange is None:
            return await self._passed_on(request)
        library: Any = _library_of(request)
        try:
            answer = await SHELL.run(self._sessions.answer(exchange))
        except TurnError as failure:
            raise _interrupted(failure, request) from failure
        body = {"stream": _stream_of(library)(exchange, request)} if answer.body is None else {"content": answer.body}
        about = {"headers": answer.headers, "request": request, "extensions": {"http_version": b"HTTP/1.1"}}
        return library.Response(answer.status, **about, **body)

    def handle_request(self, request: object) -> NoReturn:
        """Raises UserError: a client that blocks has no event loop to read a WebSocket in."""
        raise UserError(
            "TurnwireTransport is for AsyncOpenAI — nothing was sent — for blocking calls: turnwire.aio.sync"
        )

    async def _begun(self, request: Request) -> TurnExchange | None:
        """Send the turn that a request is; None: it is none."""
        timeout: Any = request.extensions.get("timeout")
        url, pairs = request.url, request.headers.multi_items  # Their values stay out of this frame.
        asked = turn_asked(HttpRequest(request.method, str(url), pairs(), timeout), *self._limits)
        body = None if asked is None else turn_body(await request.aread())
        if asked is None or body is None:
            return None
        try:
            return self._sessions.begin(asked, body)
        except TooManyTurnsError as failure:
            raise _interrupted(failure, request) from failure

    async def _passed_on(self, request: Request) -> Response:
        for name in [name for name in request.headers if is_own_header(name)]:
            del request.headers[name]
        client = self._http_client(_library_of(request))
        # Private to httpx 0.28 and httpx2. Without it, the client sends the request, and its logger has it twice.
        transport_for: Any = getattr(client, "_transport_for_url", None)
        if transport_for is None:
            return await client.send(request, stream=True)
        return await transport_for(request.url).handle_async_request(request)

    def _http_client(self, library: Any) -> Any:
        """The client of this library that has the inner transport (P-HTTPX-11)."""
        if library not in self._http_clients:
            names = ("max_connections", "max_keepalive_connections", "keepalive_expiry")
            limits = library.Limits(**{name: getattr(DEFAULT_CONNECTION_LIMITS, name) for name in names})
            self._http_clients[library] = library.AsyncClient(limits=limits, **self._given)
        return self._http_clients[library]

    async def aclose(self) -> None:
        """Close all connections. Calls that run fail, and are not repeated."""
        try:
            await SHELL.run(self._sessions.close())
        finally:
            for client in self._http_clients.values():
                await client.aclose()


def _arguments_of_a_client(inner: object, ssl_context: object, proxy: str | None) -> dict[str, Any]:
    if inner is not None:
        return {"transport": inner}
    verify = {} if ssl_context is None else {"verify": ssl_context}
    return {**verify, "trust_env": proxy is not None, "proxy": None if proxy in ("client", "env") else proxy}


def _library_of(request: object) -> Any:
    """httpx2 or httpx: the library of the client that made this request (P-HTTPX-12)."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _interrupted(failure: TurnError | TooManyTurnsError, request: Any) -> Exception:
    """What is raised for a failure that is no answer."""
    name = interruption_of(failure)
    if name is None:
        return lost(cast("TurnError", failure), request)
    return getattr(_library_of(request), name)(str(failure), request=request)


@cache
def _stream_of(library: Any) -> Any:
    """The class of the body of a streamed answer: the library checks that it is one of its own (P-HTTPX-12)."""

    class TurnStream(library.AsyncByteStream):
        def __init__(self, exchange: TurnExchange, request: Any) -> None:
            self._exchange = exchange
            self._events: Any = SHELL.iterate(exchange.body(lambda failure: lost(failure, request)))

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._events

        async def aclose(self) -> None:
            self._exchange.leave()
            if not self._events.ag_running:
                await self._events.aclose()

    return TurnStream
