"""A client of the loopback server from its first byte: HTTP requests, until one of them upgrades to WebSocket."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import anyio
import h11
from msgspec.structs import replace

from ...sansio.server import (
    FoundRoute,
    HttpReply,
    Problem,
    RefusedRequest,
    Remembered,
    Retrieved,
    RunTurn,
    ServerConnection,
    ServerTurn,
    Upgraded,
)
from ...sansio.websocket import MAX_HEADERS
from ._connection import ClientConnection, RunningTurn, problem_of
from ._faults import Error, Opened, Send, Upgrading
from ._http import HttpAnswer, body_of, find_permitted, refuse_upgrade
from ._serve_websocket import serve_websocket
from ._tasks import Tasks
from ._turns import begin_turn, run_turn, take_before

__all__ = ["serve_http"]


async def serve_http(connection: ClientConnection) -> None:
    """Serve the client, one request after another, and as a WebSocket after an upgrade, until the connection ends."""
    await _HttpService(connection).run()


class _HttpService:
    """Reads requests and answers them."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._service = connection.service
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        self._answers = 0
        self._method = b""
        """Of the request that is being read or answered."""

    async def run(self) -> None:
        """Answer requests until one asks for a WebSocket, or there are no more."""
        http = self._http
        while True:
            self._connection.counter.end_request()
            try:
                request, body = await self._read_request()
            except h11.RemoteProtocolError as exc:
                if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await self._refuse(Problem(exc.error_status_hint, None, str(exc)))
                return
            if request is None:
                return
            self._connection.headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
            if not await self._respond(request, body):
                return
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _respond(self, request: h11.Request, body: bytes) -> bool:
        """Answer a request; returns whether more may follow: not after an upgrade."""
        found = find_permitted(request, self._service.api_key)
        if isinstance(found, FoundRoute):
            call = replace(found.call, body=body, now=int(time.time()))
            result = found.route.answer(self._service.api, call)
        else:
            result = found
        match result:
            case RunTurn(asked, previous):
                await self._run_turn(asked, previous)
            case Retrieved():
                await self._retrieve(result)
            case Upgraded():
                upgraded = refuse_upgrade(request) or await self._upgrade(request, self._http.trailing_data[0])
                if isinstance(upgraded, ServerConnection):
                    await serve_websocket(self._connection, upgraded)
                    return False
                await self._refuse(upgraded)
            case HttpReply():
                self._new_answer().reply(result)
                await self._connection.flush()
            case Problem():
                if request.method == b"POST" and (not isinstance(found, FoundRoute) or found.route.runs):
                    self._enter_refused(result, body)
                await self._refuse(result)
        return True

    async def _read_request(self) -> tuple[h11.Request | None, bytes]:
        """The next request and its body; None at end of file. Raises RemoteProtocolError."""
        http, limit = self._http, self._service.options.max_message_size
        self._method = b""
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    go_on = http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    async with self._connection.sending:
                        await self._connection.send(go_on)
                http.receive_data(await self._connection.receive())
            elif isinstance(event, h11.Request):
                request = event
                self._method = event.method
            elif isinstance(event, h11.Data):
                body += event.data
                if limit is not None and len(body) > limit:
                    raise h11.RemoteProtocolError(f"a body of more than {limit} bytes", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                return request, bytes(body)
            else:
                return None, b""

    def _new_answer(self, *, stream: bool = False) -> HttpAnswer:
        self._answers += 1
        request_id = f"req_{self._connection.number:06d}{self._answers:06d}"
        answer = HttpAnswer(self._http, request_id, stream=stream, head=self._method == b"HEAD")
        self._connection.http_answer = answer
        return answer

    async def _refuse(self, problem: Problem) -> None:
        self._new_answer().problem(problem)
        await self._connection.flush()

    def _enter_refused(self, problem: Problem, body: bytes) -> None:
        connection = self._connection
        request = body_of(body)
        delivery = "sse" if request is not None and request.get("stream") is True else "http"
        refused = RefusedRequest(number=connection.counter.request, problem=problem, request=request)
        self._service.ledger.refuse(refused, delivery, connection.number, connection.headers)

    async def _run_turn(self, request: dict[str, Any], previous: Remembered | None) -> None:
        """Run one turn; end the connection if the client leaves meanwhile."""
        stream = request.get("stream") is True
        answer = self._new_answer(stream=stream)
        number, end = self._connection.counter.request, self._forget if request.get("background") else self._remember
        turn = ServerTurn(request, None, send=answer.send, end=end, number=number, previous=previous)
        await self._answer(answer, RunningTurn(turn, "sse" if stream else "http"))

    async def _retrieve(self, wanted: Retrieved) -> None:
        """Answer with a stored response, or with its events; end the connection if the client leaves meanwhile."""
        answer = self._new_answer(stream=wanted.stream)
        number = self._connection.counter.request
        turn = ServerTurn(dict(wanted.stored.request), None, send=answer.send, end=self._forget, number=number)
        turn.sequence_number = wanted.starting_after + 1
        await self._answer(answer, RunningTurn(turn, "sse" if wanted.stream else "http", wanted.stored))

    async def _answer(self, answer: HttpAnswer, running: RunningTurn) -> None:
        connection = self._connection
        before = take_before(connection, running) if running.stored else begin_turn(connection, running)
        async with Tasks() as watching:
            watching.start(connection.guarded, self._watch)
            await connection.guarded(run_turn, connection, running, before)
        answer.finish()
        await connection.flush()

    async def _watch(self) -> None:
        """Read while a request is answered, to notice that the client leaves. Keeps no more than one head may have."""
        while len(self._http.trailing_data[0]) < MAX_HEADERS:
            data = await self._connection.receive()
            if not data:
                await self._connection.stop("disconnected")
            self._http.receive_data(data)

    def _remember(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        if response is not None:
            self._service.store.remember(turn.request, response, turn.previous)

    def _forget(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        """Nothing: it is stored already, or will be by its own task."""

    def _enter_websocket_refusal(self, refused: RefusedRequest) -> None:
        connection = self._connection
        self._service.ledger.refuse(refused, "websocket", connection.number, connection.headers)

    async def _upgrade(self, request: h11.Request, trailing: bytes) -> ServerConnection | Problem:
        """Accept the upgrade and do what is due then; or say why it is rejected."""
        connection, faults = self._connection, self._service.faults
        for action in faults.take_due(Upgrading(), connection.number):
            if isinstance(action, Error):
                return problem_of(action)
            await connection.perform(action)
        websocket = ServerConnection(
            options=self._service.options, store=self._service.store, refused=self._enter_websocket_refusal
        )
        now = anyio.current_time()
        rejected = websocket.accept(request.target, request.headers, now, http_version=request.http_version)
        if rejected is not None:
            return Problem(rejected.status, None, rejected.body.decode(errors="replace"), headers=rejected.headers)
        connection.websocket = websocket
        connection.counter.begin_websocket(trailing)
        for action in faults.take_due(Opened(), connection.number):
            if not isinstance(action, Send):
                await connection.flush()
            await connection.perform(action)
        if trailing:
            websocket.receive_data(trailing, anyio.current_time())
        return websocket
