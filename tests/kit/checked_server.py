"""A server for the scripts of ``turnwire check``, without sockets: what it does can be changed, a rule at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h11
from msgspec.structs import replace
from turnwire.aio.loopback._http import HttpAnswer, refuse_without_upgrade
from turnwire.sansio.check import Check, CheckOutcome, Context, Dial, ReceiveBytes, SendBytes, StepResult, run_check
from turnwire.sansio.dialect import Dialect
from turnwire.sansio.endpoint import endpoint
from turnwire.sansio.server import (
    SERVER_DIALECTS,
    ApiState,
    FoundRoute,
    HttpReply,
    JsonBody,
    Problem,
    ResponseStore,
    Retrieved,
    RunTurn,
    ServerConnection,
    ServerOptions,
    ServerState,
    ServerTurn,
    StoredResponse,
    StoredResponses,
    Upgraded,
    check_key,
    find_route,
    reply_events,
    reply_of,
)
from turnwire.sansio.websocket import Rejected

__all__ = ["CheckedServer", "Peer", "context", "outcomes"]

KEY = "sk-checked-server-key"
WORDS = "one two three"


class _Connection(ServerConnection):
    """Passes what it says through its server."""

    server: CheckedServer

    def _create(self, request: dict[str, Any], body: JsonBody, now: float) -> None:
        self.server.requested(request)
        super()._create(request, body, now)

    def send_event(self, event: Mapping[str, Any]) -> None:
        for each in self.server.change(dict(event)):
            super().send_event(each)


class CheckedServer:
    """Answers the steps of a script. Each ``ReceiveBytes`` lets every response go on by one event."""

    def __init__(self, *, key: str | None = None, has_http: bool = True, model: str = "gpt-6", **options: Any) -> None:
        self.options = ServerOptions(**options)
        self.state = ApiState(store=ResponseStore(), responses=StoredResponses(), strict=self.options.strict)
        self.key = key
        self.has_http = has_http
        self.peers: list[Peer] = []
        self.now = 0.0
        self.made = 0
        """Responses so far."""
        self.text = WORDS

    def take(self, step: Dial | SendBytes | ReceiveBytes) -> StepResult:
        match step:
            case Dial():
                self.peers.append(Peer(self))
                return StepResult(peer=len(self.peers) - 1)
            case SendBytes():
                self.peers[step.peer].receive(step.data)
                return StepResult()
            case ReceiveBytes():
                return self.receive(self.peers[step.peer], step.within)

    def receive(self, peer: Peer, within: float) -> StepResult:
        data = peer.data_to_send()
        if not data and not peer.ended:
            self.now += within
            peer.at_deadline()
            data = peer.data_to_send()
        return StepResult(data=data if data or peer.ended else None)

    # --- What a planted bug may change -------------------------------------------------------------------------------

    def bytes_in(self, peer: Peer, data: bytes) -> bytes:
        return data

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return data

    def requested(self, request: dict[str, Any]) -> None:
        """Look at a request before it is queued."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [event]

    def may_go_on(self, turns: list[ServerTurn]) -> list[ServerTurn]:
        return turns

    def output(self, request: Mapping[str, Any]) -> str:
        return self.text

    def events_of(self, turn: ServerTurn) -> Iterator[dict[str, Any]]:
        reply = reply_of([] if not turn.generate else self.output(turn.request))
        self.made += 1
        stored = StoredResponse(turn.request, turn.previous)
        events = stored.record(
            reply_events(reply, turn.request, turn.previous, number=self.made, created_at=1_700_000_000)
        )
        first = next(events)
        self.state.responses.keep(first["response"]["id"], stored)
        yield first
        yield from events


class Peer:
    """One transport."""

    def __init__(self, server: CheckedServer) -> None:
        self.server = server
        self.http = h11.Connection(h11.SERVER)
        self.websocket: ServerConnection | None = None
        self.running: dict[ServerTurn, Iterator[dict[str, Any]]] = {}
        self.out = b""
        self.ended = False
        self.request: h11.Request | None = None
        self.body = b""

    def receive(self, data: bytes) -> None:
        data = self.server.bytes_in(self, data)
        if self.websocket is not None and data:
            self._frames(data)
        elif self.websocket is None and not self.ended:
            self.http.receive_data(data)
            self._requests()

    def _frames(self, data: bytes) -> None:
        assert self.websocket is not None
        self.websocket.receive_data(data, self.server.now)
        while self.websocket.has_unprocessed:
            self.websocket.process(self.server.now)
        self._begin()

    def _begin(self) -> None:
        assert self.websocket is not None
        while (turn := self.websocket.next_request()) is not None:
            self.running[turn] = self.server.events_of(turn)

    def at_deadline(self) -> None:
        if self.websocket is not None:
            self.websocket.handle_deadline(self.server.now)

    def data_to_send(self) -> bytes:
        data, self.out = self.out, b""
        if self.websocket is not None:
            data += self.websocket.data_to_send()
            if not data:
                self._go_on()
                data = self.websocket.data_to_send()
            self.ended = self.websocket.state is ServerState.CLOSED
        return self.server.bytes_out(self, data) if data else b""

    def _go_on(self) -> None:
        for turn in self.server.may_go_on(list(self.running)):
            event = next(self.running[turn], None)
            if event is None:
                del self.running[turn]
            else:
                turn.emit(event)
        self._begin()

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _requests(self) -> None:
        try:
            while True:
                event = self.http.next_event()
                if isinstance(event, h11.Request):
                    self.request = event
                elif isinstance(event, h11.Data):
                    self.body += event.data
                elif isinstance(event, h11.EndOfMessage) and self.request is not None:
                    return self._answer(self.request)
                else:
                    return None
        except h11.RemoteProtocolError:
            self.out, self.ended = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", True

    def _answer(self, request: h11.Request) -> None:
        server = self.server
        target, method = request.target.decode(), request.method.decode()
        found = find_route(method, target, SERVER_DIALECTS[server.options.dialect].paths)
        result: Any = found
        if isinstance(found, FoundRoute):
            absent = method == "POST" and not server.has_http
            result = Problem(405, None, "Not allowed.") if absent else check_key(request.headers, server.key)
            call = replace(found.call, body=JsonBody(self.body), at=7)
            result = result or found.route.answer(server.state, call)
        if isinstance(result, Upgraded):
            result = refuse_without_upgrade(request) or self._upgrade(request)
        if result is not None:
            self._reply(result, b'"stream":true' in self.body)

    def _upgrade(self, request: h11.Request) -> Problem | None:
        connection = _Connection(options=self.server.options, store=self.server.state.store)
        connection.server = self.server
        refused = connection.accept(
            request.target, list(request.headers), self.server.now, http_version=request.http_version
        )
        if isinstance(refused, Rejected):
            return Problem(refused.status, None, refused.body.decode(), headers=refused.headers)
        self.websocket = connection
        if self.http.trailing_data[0]:
            self._frames(self.http.trailing_data[0])
        return None

    def _reply(self, result: Any, stream: bool) -> None:
        answer = HttpAnswer(self.http, "req_1", stream=stream)
        match result:
            case HttpReply():
                answer.reply(result)
            case Problem():
                answer.problem(result)
            case Retrieved():
                answer.result(result.stored.response)
            case RunTurn():
                turn = ServerTurn(result.request, None, send=answer.send, end=self._ended, previous=result.previous)
                for event in self.server.events_of(turn):
                    turn.emit(event)
                answer.finish()
        self.out = answer.take()

    def _ended(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        if response is not None:
            self.server.state.store.remember(turn.request, response, turn.previous)


def context(
    server: CheckedServer, *, dialect: Dialect | None = None, age: float | None = None, api_key_header: bool = False
) -> Context:
    path = next(iter(SERVER_DIALECTS[server.options.dialect].paths)).removesuffix("/responses")
    headers = {"api-key": server.key} if api_key_header else {}
    place = endpoint(f"http://localhost{path}", api_key=None if headers else server.key, headers=headers)
    return Context(
        place, model="gpt-6", timeout=5.0, age=age, dialect=dialect, random_bytes=lambda length: b"\x17" * length
    )


def outcome(server: CheckedServer, check: Check, asked: Context) -> CheckOutcome:
    script, answer = run_check(check, asked), None
    while True:
        try:
            step = script.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value
        answer = server.take(step)


def outcomes(server: CheckedServer, checks: Any, asked: Context | None = None) -> dict[str, CheckOutcome]:
    """What comes of these checks, one after another, by their names."""
    asked = context(server) if asked is None else asked
    return {check.name: outcome(server, check, asked) for check in checks}
