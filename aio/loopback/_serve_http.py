"""A client of the loopback server from its first byte: HTTP requests, until one of them upgrades to WebSocket."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast

import anyio
import h11
from msgspec.structs import replace

from ...sansio.server import (
    FoundRoute,
    HttpReply,
    JsonBody,
    Problem,
    RefusedRequest,
    Retrieved,
    RunTurn,
    ServerConnection,
    ServerTurn,
    Upgraded,
    cors_headers,
    find_route,
)
from ...sansio.websocket import MAX_HEADERS
from ._connection import ClientConnection, RunningTurn, problem_of
from ._control import ControlAnswer, ControlCall
from ._faults import Error, Opened, Send, Upgrading
from ._http import HttpAnswer, body_if_readable, refuse_without_upgrade
from ._reading import LATE, RequestReader, closing
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
        self._reader = RequestReader(connection, self._http)
        self._answers = 0

    async def run(self) -> None:
        """Answer requests until one asks for a WebSocket, or there are no more."""
        http = self._http
        self._connection.refuse_late = self._refuse_late
        while True:
            request, body, refused = await self._reader.read()
            if request is None:
                if refused is not None and http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await self._refuse(refused)
                return
            control = self._find_control(request, body, refused)
            if control is not None:
                await self._control(control)
            elif not await self._respond(request, body, refused):
                return
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _respond(self, request: h11.Request, body: JsonBody, refused: Problem | None) -> bool:
        """Answer a request, which may be refused; returns whether more may follow: not after an upgrade."""
        target, method = request.target.decode("latin-1"), request.method.decode("latin-1")
        found = find_route(method, target, self._service.paths)
        needs_key = isinstance(found, FoundRoute) and not found.route.keyless
        if refused is not None and (refused.status != 401 or needs_key):
            found = refused
        if isinstance(found, FoundRoute):
            call = replace(found.call, body=body, at=int(time.time()))
            result = found.route.answer(self._service.api, call)
        else:
            result = found
        match result:
            case RunTurn():
                await self._run_turn(result)
            case Retrieved():
                await self._retrieve(result)
            case Upgraded():
                upgraded = refuse_without_upgrade(request) or await self._upgrade(request, self._http.trailing_data[0])
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

    def _find_control(
        self, request: h11.Request, body: JsonBody, refused: Problem | None
    ) -> ControlCall | HttpReply | Problem | None:
        """What a request wants of ``/_turnwire``; None if it is for the API. Then the connection has a number."""
        connection, method = self._connection, request.method.decode("latin-1")
        found = None
        if self._service.control is not None:
            found = self._service.control.find(method, request.target.decode("latin-1"), body, connection)
        if found is None:
            connection.number_as_client()
            return None
        connection.leave_out_request(first=self._answers == 0)
        # A browser asks by OPTIONS without the key.
        return found if refused is None or (refused.status == 401 and isinstance(found, HttpReply)) else refused

    async def _control(self, call: ControlCall | HttpReply | Problem) -> None:
        """Answer a request for control."""
        control = self._service.control
        if isinstance(call, HttpReply):
            self._new_answer().reply(call)
            await self._connection.flush()
            return
        found = call if control is None or isinstance(call, Problem) else await control.answer(call)
        if isinstance(found, Problem):
            await self._refuse(found)
        elif isinstance(found, AsyncGenerator):
            await self._stream_control(cast("AsyncGenerator[Mapping[str, object]]", found))
        else:
            answer = found if isinstance(found, ControlAnswer) else ControlAnswer(200, found)
            self._new_answer().result(answer.value, answer.status)
            await self._connection.flush()

    async def _stream_control(self, events: AsyncGenerator[Mapping[str, object]]) -> None:
        """Send events until there are no more, or the client leaves."""
        answer = self._new_answer(stream=True)
        async with Tasks() as reading, aclosing(events):
            reading.start(self._connection.guarded, self._read_on)
            answer.begin_stream()
            await self._connection.flush()
            async for event in events:
                answer.send_extra(event)
                await self._connection.flush()
        answer.finish()
        await self._connection.flush()

    def _new_answer(self, *, stream: bool = False) -> HttpAnswer:
        self._answers += 1
        request_id = f"req_{self._connection.number:06d}{self._answers:06d}"
        method = self._reader.method.decode("latin-1")
        headers = cors_headers(self._service.access, method, self._connection.headers)
        answer = HttpAnswer(self._http, request_id, stream=stream, head=method == "HEAD", headers=headers)
        self._connection.http_answer = answer
        return answer

    async def _refuse(self, problem: Problem) -> None:
        if self._reader.upgrades:  # What follows may be frames, which are not to be read as requests.
            problem = closing(problem)
        self._new_answer().problem(problem)
        await self._connection.flush()

    async def _refuse_late(self) -> None:
        """Say to a client that it was too slow, if an answer can still be sent."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._refuse(LATE)

    def _enter_refused(self, problem: Problem, body: JsonBody) -> None:
        connection = self._connection
        request = body_if_readable(body)
        delivery = "sse" if request is not None and request.get("stream") is True else "http"
        refused = RefusedRequest(number=connection.counter.request, problem=problem, request=request, facts=body.facts)
        self._service.ledger.refuse(refused, delivery, connection.number, connection.headers)

    async def _run_turn(self, run: RunTurn) -> None:
        """Run one turn; end the connection if the client leaves meanwhile."""
        request = run.request
        stream = request.get("stream") is True
        answer = self._new_answer(stream=stream)
        number, end = self._connection.counter.request, self._forget if request.get("background") else self._remember
        turn = ServerTurn(
            request, None, send=answer.send, end=end, number=number, previous=run.previous, facts=run.facts
        )
        running = RunningTurn(turn, "sse" if stream else "http")
        try:
            await self._answer(answer, running)
        finally:
            if not running.in_background:
                self._service.store.unlock(request)

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
        async with Tasks() as reading:
            reading.start(connection.guarded, self._read_on)
            await connection.guarded(run_turn, connection, running, before)
        answer.finish()
        await connection.flush()

    async def _read_on(self) -> None:
        """Read while a request is answered, to notice that the client leaves. Keeps no more than one head may have."""
        while len(self._http.trailing_data[0]) < MAX_HEADERS:
            data = await self._connection.receive()
            if not data:
                await self._connection.stop("disconnected")
            self._http.receive_data(data)

    def _remember(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        if response is not None:
            self._service.store.remember(turn.request, response, turn.previous, words=turn.facts.words)

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
