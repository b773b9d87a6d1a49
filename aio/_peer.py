"""One client of the loopback server: its bytes in and out, its turns, and the faults that strike it.

What is said is decided elsewhere: by h11 and :mod:`._http` at first, by :mod:`turnwire.sansio.server` after an upgrade,
by :mod:`._model` in the turns. Here is who waits for what: one task reads; each turn is a task; whoever has something
to send sends all that there is, one at a time; and the connection's own task group ends them all.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import anyio
import h11
from anyio.streams.tls import TLSStream

from ..sansio.server import Problem, ServerConnection, ServerState, ServerTurn, TurnState
from ..sansio.websocket import MAX_HEADERS
from ._faults import (
    Action,
    AfterEvent,
    BeforeEvent,
    BeforeRun,
    Close,
    Cut,
    CutFrame,
    Delay,
    Error,
    Garbage,
    Meter,
    Point,
    Received,
    Silence,
    Upgrading,
)
from ._http import HttpAnswer, parse_request, refuse
from ._model import respond
from ._sockets import SocketStream

if TYPE_CHECKING:
    from .loopback import LedgerEntry, LoopbackServer

__all__ = ["Peer", "Transport"]

Transport: TypeAlias = Literal["websocket", "sse", "http"]

_BATCH: Final = 64
"""Events per write at latency 0: few system calls, and still every lane gets a word in."""
_LINGER: Final = 1.0
"""Seconds for which a connection that has ended waits for the peer's end of file, so that what was sent arrives."""
_LINGER_AT_SHUTDOWN: Final = 0.1
"""The same when the server goes away: whoever has not read by then may not be reading at all."""
_READ: Final = 65536


class Running:
    """A turn, and what its ledger entry and its faults need to know of it."""

    def __init__(self, turn: ServerTurn, transport: Transport) -> None:
        self.turn = turn
        self.transport: Transport = transport
        metadata: Mapping[str, Any] = turn.request.get("metadata") or {}
        marker = metadata.get("marker")
        self.marker: str | None = marker if isinstance(marker, str) else None
        self.entry: LedgerEntry | None = None
        self.emitted = 0
        """Events that were given out; the entry counts them once they were sent."""


class Peer:
    """One connection of a client, from accepting to closing."""

    def __init__(self, server: LoopbackServer, raw: SocketStream, number: int) -> None:
        self._server = server
        self._raw = raw
        self._stream: SocketStream | TLSStream = raw
        self._number = number
        self._meter = Meter()
        self._tasks = anyio.create_task_group()
        self._sending = anyio.Lock()
        self._reading = anyio.CancelScope()
        self._websocket: ServerConnection | None = None
        self._answer: HttpAnswer | None = None
        self._answers = 0
        self._running: set[Running] = set()
        self._why: str | None = None
        """What ended the connection, in the ledger's words."""
        self._whole = True
        """Whether what was sent ends with the end of a frame."""
        self._muted = False
        self._reset = False

    # -- life

    async def run(self) -> None:
        """Serve it, and close it."""
        try:
            async with self._tasks:
                await self._main()
                self._tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(_LINGER if self._why else _LINGER_AT_SHUTDOWN, shield=True):
                await self._end()
            await self._raw.aclose()

    async def _main(self) -> None:
        context = self._server.ssl_context
        try:
            for action in self._server.faults.due(Received(0, "connection"), self._number):
                await self._act(action)
            if context is not None:
                self._stream = await TLSStream.wrap(
                    self._raw, server_side=True, ssl_context=context, standard_compatible=False
                )
            await self._serve()
        except (anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError):
            self._why = self._why or "disconnected"

    async def _stop(self, why: str) -> None:
        """End the connection, from whichever of its tasks."""
        self._why = self._why or why
        self._tasks.cancel_scope.cancel()
        await anyio.sleep_forever()

    async def _end(self) -> None:
        """Say goodbye if nobody has, and close as was asked for."""
        if self._reset:
            await self._raw.reset()
            return
        try:
            if self._websocket is not None and self._why is None and self._whole:
                self._websocket.close(anyio.current_time(), 1001, "the server is shutting down")
                await self._stream.send(self._websocket.data_to_send())
            await self._raw.send_eof()
            # Closing a socket with something unread sends RST, and what the peer has not read yet would be lost to it.
            while True:
                await self._raw.receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            pass

    # -- bytes

    async def _receive(self) -> bytes:
        """What the client sent, after the faults that count bytes have had their way; ``b""`` is end of file."""
        faults = self._server.faults
        while True:
            room = self._meter.room(faults, self._number) if faults else None
            try:
                data = await self._stream.receive(_READ if room is None else min(room, _READ))
            except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
                self._why = self._why or "disconnected"
                return b""
            for action in self._meter.due(faults, self._number, data):
                await self._act(action)
            if not self._muted:
                return data

    def _take(self) -> bytes:
        if self._websocket is not None:
            return self._websocket.data_to_send()
        return self._answer.take() if self._answer is not None else b""

    async def _flush(self) -> None:
        """Send what there is to send. Lets other tasks run before, and not between the last byte and the return."""
        async with self._sending:
            await self._send_all()

    async def _send_all(self) -> None:
        counts = [(running.entry, running.emitted) for running in self._running]
        await self._send(self._take())
        for entry, emitted in counts:
            if entry is not None:
                entry.events = emitted

    async def _send(self, data: bytes) -> None:
        if data and not self._muted:
            try:
                self._whole = False
                await self._stream.send(data)
                self._whole = True
            except (anyio.BrokenResourceError, ssl.SSLError):
                await self._stop("disconnected")

    # -- HTTP

    async def _serve(self) -> None:
        """Requests, one after another, until one asks for a WebSocket or there are no more."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        while True:
            self._meter.between()
            try:
                request, body = await self._read_request(http)
            except h11.RemoteProtocolError as exc:
                if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await self._refuse(http, Problem(exc.error_status_hint, None, str(exc)))
                return
            if request is None:
                return
            refused = refuse(request, self._server.api_key)
            if refused is None and request.method == b"GET":
                upgraded = await self._upgrade(request, http.trailing_data[0])
                if isinstance(upgraded, ServerConnection):
                    await self._speak(upgraded)
                    return
                refused = upgraded
            if refused is not None:
                await self._refuse(http, refused)
            else:
                await self._post(http, body)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _read_request(self, http: h11.Connection) -> tuple[h11.Request | None, bytes]:
        """The next request and its body; None at end of file."""
        limit = self._server.options.max_message_size
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    await self._send(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                http.receive_data(await self._receive())
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if limit is not None and len(body) > limit:
                    raise h11.RemoteProtocolError(f"a body of more than {limit} bytes", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                return request, bytes(body)
            else:
                return None, b""

    def _new_answer(self, http: h11.Connection, *, stream: bool = False) -> HttpAnswer:
        self._answers += 1
        self._answer = HttpAnswer(http, f"req_{self._number:06d}{self._answers:06d}", stream=stream)
        return self._answer

    async def _refuse(self, http: h11.Connection, problem: Problem) -> None:
        self._new_answer(http).problem(problem)
        await self._flush()

    async def _post(self, http: h11.Connection, body: bytes) -> None:
        """Run one ``POST``, and notice if the client leaves meanwhile."""
        request = parse_request(body)
        previous = request if isinstance(request, Problem) else self._server.store.find(request)
        if isinstance(request, Problem) or isinstance(previous, Problem):
            await self._refuse(http, request if isinstance(request, Problem) else cast("Problem", previous))
            return
        stream = request.get("stream") is True
        answer = self._new_answer(http, stream=stream)
        turn = ServerTurn(
            request, None, send=answer.send, end=self._remember, number=self._meter.request, previous=previous
        )

        async def watch() -> None:
            while data := await self._receive():
                http.receive_data(data)
            await self._stop("disconnected")

        running = Running(turn, "sse" if stream else "http")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await self._run(running, self._begin(running))
            tasks.cancel_scope.cancel()

    def _remember(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        if response is not None:
            self._server.store.remember(turn.request, response, turn.previous)

    # -- WebSocket

    async def _upgrade(self, request: h11.Request, trailing: bytes) -> ServerConnection | Problem:
        """Answer the upgrade; or say why not."""
        for action in self._server.faults.due(Upgrading(), self._number):
            if isinstance(action, Error):
                return _problem(action)
            await self._act(action)
        websocket = ServerConnection(options=self._server.options, store=self._server.store)
        rejected = websocket.accept(request.target, request.headers, anyio.current_time())
        if rejected is not None:
            return Problem(rejected.status, None, rejected.body.decode(errors="replace"), headers=rejected.headers)
        self._websocket = websocket
        self._meter.switch(trailing)
        if trailing:
            websocket.receive_data(trailing, anyio.current_time())
        return websocket

    async def _speak(self, websocket: ServerConnection) -> None:
        """Frames, until the end."""
        while True:
            self._start_turns()
            await self._flush()
            if websocket.state is ServerState.CLOSED:
                return
            deadline = websocket.next_deadline()
            wait = None if deadline is None else max(0.0, deadline - anyio.current_time())
            with anyio.move_on_after(wait) as self._reading:
                websocket.receive_data(await self._receive(), anyio.current_time())
            if self._reading.cancelled_caught:
                websocket.handle_deadline(anyio.current_time())
            if websocket.state is not ServerState.OPEN:
                self._why = self._why or ("expired" if websocket.ended_by is None else "disconnected")

    def _start_turns(self) -> None:
        """Give each turn that is to run a task. In the order of arrival: tasks, on trio, begin in any order."""
        if self._websocket is not None:
            while (turn := self._websocket.next_request()) is not None:
                running = Running(turn, "websocket")
                self._tasks.start_soon(self._run, running, self._begin(running))

    # -- turns

    def _begin(self, running: Running) -> list[Action]:
        """Put a turn into the ledger; or say what is to be done before."""
        actions = self._due(BeforeRun(), running)
        if not actions:
            self._enter(running)
        return actions

    def _enter(self, running: Running) -> LedgerEntry:
        running.entry = self._server.enter(running.turn, running.transport, self._number, running.marker)
        return running.entry

    async def _run(self, running: Running, before: list[Action]) -> None:
        self._running.add(running)
        try:
            if before:
                await self._flush()
                await self._do(before, running)
            if running.turn.state is TurnState.RUNNING:
                await self._stream_events(running, running.entry or self._enter(running))
            await self._flush()
        finally:
            self._running.discard(running)
            if running.entry is not None and running.entry.outcome == "running":
                running.entry.outcome = self._why or "shutdown"
        self._start_turns()

    async def _stream_events(self, running: Running, entry: LedgerEntry) -> None:
        turn, faults = running.turn, self._server.faults
        events: Iterable[dict[str, Any]] = respond(
            turn.request, turn.previous, number=entry.number, created_at=int(time.time()), generate=turn.generate
        )
        if running.transport == "http":
            events = deque(events, maxlen=1)
        for k, event in enumerate(events, 1):
            if latency := self._server.latency:
                await anyio.sleep(latency)
            if self._muted:
                await anyio.sleep_forever()
            if faults and not await self._strike(BeforeEvent(k), running, event):
                return
            after = self._due(AfterEvent(k), running) if faults else None
            if not after:
                self._emit(running, event, k)
                if latency or not k % _BATCH:
                    await self._flush()
            else:
                # Nobody else sends this event, so that what the client sends on seeing it is not read before the fault.
                async with self._sending:
                    self._emit(running, event, k)
                    await self._send_all()
                await self._do(after, running)
            if turn.state is not TurnState.RUNNING:
                return

    def _emit(self, running: Running, event: Mapping[str, Any], k: int) -> None:
        running.turn.emit(event)
        if running.turn.state is not TurnState.CANCELLED:
            running.emitted = k
        if running.entry is not None and running.turn.state is TurnState.ENDED:
            running.entry.outcome = event["type"].removeprefix("response.")

    # -- faults

    def _due(self, point: Point, running: Running) -> list[Action]:
        return self._server.faults.due(point, self._number, running.turn.number, running.marker)

    async def _strike(self, point: Point, running: Running, event: Mapping[str, Any] | None = None) -> bool:
        """Do what is due at a point of a turn; say whether the turn goes on."""
        actions = self._due(point, running)
        if actions:
            await self._flush()
            await self._do(actions, running, event)
        return running.turn.state is TurnState.RUNNING

    async def _do(self, actions: list[Action], running: Running, event: Mapping[str, Any] | None = None) -> None:
        for action in actions:
            await self._act(action, running, event)

    async def _act(
        self, action: Action, running: Running | None = None, event: Mapping[str, Any] | None = None
    ) -> None:
        entry = running.entry if running is not None else None
        match action:
            case Cut(reset):
                await self._cut(reset)
            case CutFrame(keep, reset):
                async with self._sending:
                    before = self._take()
                    if running is not None and event is not None:
                        running.turn.emit(event)
                    frame = self._take()
                    await self._send(before + frame[: len(frame) // 2 if keep is None else keep])
                await self._cut(reset)
            case Delay(seconds):
                await anyio.sleep(seconds)
            case Silence(connection):
                if running is None or connection:
                    self._why = self._why or "silenced"
                    self._muted = True
                if entry is not None and entry.outcome == "running":
                    entry.outcome = "silenced"
                if running is not None:
                    await anyio.sleep_forever()
            case Error():
                if running is not None and running.turn.state is TurnState.RUNNING:
                    running.turn.fail(_problem(action), attributed=action.attributed)
                    if entry is not None:
                        entry.outcome = "error"
                    await self._flush()
            case Close(code, reason):
                if self._websocket is None:
                    await self._cut(reset=False)
                else:
                    self._why = self._why or "closed"
                    self._websocket.close(anyio.current_time(), code, reason)
                    await self._flush()
                    self._reading.cancel()  # The deadline is another one now.
            case Garbage(data):
                async with self._sending:
                    await self._send(data)

    async def _cut(self, reset: bool) -> None:
        self._reset = reset
        await self._stop("cut")


def _problem(error: Error) -> Problem:
    return Problem(error.status, error.code, error.message, error.param, error.type, error.headers)
