"""Reads the HTTP requests of one client: their heads, which may refuse them, and their bodies."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel
import h11
from msgspec.structs import replace

from ...sansio.secret import without_quotes
from ...sansio.server import JsonBody, Prepare, Problem, check_head, check_key, prepare_create
from ._connection import ClientConnection

__all__ = ["LATE", "Incoming", "RequestReader", "closing"]

_CLOSE: Final = {"connection": "close"}
_MAX_WITHOUT_KEY: Final = 65536
"""Bytes of the body of a request that has not brought the key; it is refused at once if there are more."""
_AT_ONCE: Final = 256
"""Chunks of a body that are parsed before other tasks run; they may have a byte each."""

LATE: Final = Problem(408, "request_timeout", "The request took too long to arrive.", headers=_CLOSE)
"""The answer to a client that is too slow."""
_FULL: Final = Problem(
    503, "too_many_connections", "This server has as many connections as max_connections allows.", headers=_CLOSE
)


def closing(problem: Problem) -> Problem:
    """The same answer, after which the connection is closed."""
    return replace(problem, headers={**(problem.headers or {}), **_CLOSE})


class Incoming(NamedTuple):
    """What was read: a request, or the end of file, or what is no request."""

    request: h11.Request | None
    body: JsonBody
    refused: Problem | None
    """Why it is not to be run."""


def _without_body(request: h11.Request | None = None, refused: Problem | None = None) -> Incoming:
    return Incoming(request, JsonBody(b""), refused)


async def _decoded(data: bytes, prepare: Prepare | None) -> JsonBody:
    body = JsonBody(data, prepare)
    while not body.decode_slice():
        await anyio.lowlevel.checkpoint()
    return body


class RequestReader:
    """Reads one request after another, as fast as the client sends them and within the limits of the server."""

    def __init__(self, connection: ClientConnection, http: h11.Connection) -> None:
        self._connection = connection
        self._service = connection.service
        self._http = http
        self._requests = 0
        self.method = b""
        """Of the request that is being read or answered."""
        self.upgrades = False
        """Whether it asks for another protocol."""

    async def read(self) -> Incoming:
        """The next request; none at end of file.

        The body is not read if the head refuses it; without the key, no more than :data:`_MAX_WITHOUT_KEY` of it.
        """
        connection = self._connection
        connection.counter.end_request()
        if self._requests:
            connection.expect("head" if self._http.trailing_data[0] else "idle")
        self._requests += 1
        self.method, self.upgrades = b"", False
        try:
            return await self._read()
        except h11.RemoteProtocolError as exc:
            return _without_body(None, Problem(exc.error_status_hint, "invalid_http", without_quotes(exc)))
        finally:
            connection.expect("answer")

    async def _read(self) -> Incoming:
        request = await self._read_head()
        if request is None:
            return _without_body()
        refused = self._refuse_head(request)
        if refused is not None and refused.status != 401:
            return _without_body(request, refused)
        self._connection.expect("body")
        return await self._read_body(request, refused)

    async def _read_head(self) -> h11.Request | None:
        """The head of the next request; None at end of file."""
        self._head = bytearray(self._http.trailing_data[0])
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._connection.receive()
            self._head += data
            self._http.receive_data(data)
        if not isinstance(event, h11.Request):
            return None
        self.method = event.method
        self.upgrades = any(name == b"upgrade" for name, _ in event.headers)
        return event

    def _refuse_head(self, request: h11.Request) -> Problem | None:
        """Why a request is refused before its body is read; None if it is not."""
        service, headers = self._service, list(request.headers)
        self._connection.headers = {name.decode(): value.decode("latin-1") for name, value in headers}
        if self._connection.over_limit:
            return _FULL
        refused = check_head(request, bytes(self._head)) or service.access.refuse(headers)
        if refused is not None:
            return refused
        length = next((int(value) for name, value in headers if name == b"content-length"), 0)
        return self._too_big(length) or check_key(headers, service.api_key)

    def _too_big(self, length: int) -> Problem | None:
        limit = self._service.options.max_message_size
        if limit is None or length <= limit:
            return None
        return Problem(413, None, f"a body of more than {limit} bytes", headers=_CLOSE)

    async def _read_body(self, request: h11.Request, refused: Problem | None) -> Incoming:
        """The rest of a request; ``refused`` is why it is not to be run, if it is known."""
        http, body, events = self._http, bytearray(), 0
        while True:
            event = http.next_event()
            events += 1
            if event is h11.NEED_DATA:
                await self._allow_body()
                http.receive_data(await self._connection.receive())
            elif isinstance(event, h11.Data):
                body += event.data
                if refused is not None and len(body) > _MAX_WITHOUT_KEY:
                    return _without_body(request, closing(refused))
                if problem := self._too_big(len(body)):
                    return _without_body(request, problem)
                if not events % _AT_ONCE:
                    await anyio.lowlevel.checkpoint()
            elif isinstance(event, h11.EndOfMessage):
                return Incoming(request, await _decoded(bytes(body), self._prepare(request)), refused)
            else:
                return _without_body()

    def _prepare(self, request: h11.Request) -> Prepare | None:
        """How the facts of a request for a response are found."""
        path = request.target.partition(b"?")[0].decode("latin-1")
        creates = request.method == b"POST" and path in self._service.paths
        return partial(prepare_create, strict=self._service.options.strict) if creates else None

    async def _allow_body(self) -> None:
        """Say that the body may come, to a client that waits for that (RFC 9110 section 10.1.1)."""
        if self._http.they_are_waiting_for_100_continue:
            go_on = self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
            async with self._connection.sending:
                await self._connection.send(go_on)
