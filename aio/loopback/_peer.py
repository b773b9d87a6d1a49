"""One client of the loopback server: its bytes in and out, its turns, and the faults that strike it.

What is said is decided elsewhere: by h11 and :mod:`._http` at first, by :mod:`turnwire.sansio.server` after an upgrade,
by :mod:`._model` in the turns. Here is who waits for what: one task reads; one waits for the next deadline; each turn
is a task; whoever has something to send sends all that there is, one at a time. The tasks (:mod:`._tasks`) belong to
the connection, and end with it.

One peer cannot harm another
    Whatever a peer does, only its own connection ends. What its transport raises is in one table
    (:data:`._sockets.TRANSPORT_ERRORS`) and means that the peer is gone. Anything else that one of its tasks raises
    is a fault of this server: it is logged to ``turnwire.loopback``, and the ledger says ``crashed``. Nothing of it
    reaches another peer, or the event loop (:meth:`Peer._own`).

A peer that does not read
    Its turns stop at what the kernel and one batch of events each hold. It is read from as long as the answers to what
    it sends, pongs and error frames, are few (:data:`_UNSENT`): who sends a long message and reads nothing meanwhile
    gets it through. It is waited for until the connection's lifetime is over, or, once it is closing, until the
    close's timeout.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVarTuple, cast

import anyio
import anyio.lowlevel
import h11
from anyio.streams.tls import TLSStream

from ...sansio.server import Problem, ServerConnection, ServerState, ServerTurn, TurnState
from ...sansio.websocket import MAX_HEADERS
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
    Opened,
    Point,
    Received,
    Send,
    Silence,
    Upgrading,
)
from ._http import HttpAnswer, parse_request, refuse
from ._script import respond
from ._sockets import TRANSPORT_ERRORS, SocketStream
from ._tasks import Tasks

if TYPE_CHECKING:
    from . import LedgerEntry, LoopbackServer

__all__ = ["Peer", "Transport"]

Transport: TypeAlias = Literal["websocket", "sse", "http"]

_LOGGER: Final = logging.getLogger("turnwire.loopback")
_Ts = TypeVarTuple("_Ts")

_BATCH: Final = 64
"""Events per write at latency 0: few system calls, and still every lane gets a word in."""
_LINGER: Final = 1.0
"""Seconds for which a connection that has ended waits for the peer's end of file, so that what was sent arrives."""
_LINGER_AT_SHUTDOWN: Final = 0.1
"""The same when the server goes away: whoever has not read by then may not be reading at all."""
_READ: Final = 65536
_UNSENT: Final = 256 * 1024
"""Bytes of answers that may wait for a client to read; it is not read from while there are more."""
_CLOSES: Final[Mapping[str | None, tuple[int, str]]] = {
    None: (1001, "the server is shutting down"),
    "crashed": (1011, "the server failed"),
}
"""What a WebSocket is closed with that nobody has closed, by what ended the connection; nothing for other ends."""


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
        self._tasks = Tasks()
        self._sending = anyio.Lock()
        self._to_write = anyio.Event()
        self._timer = anyio.CancelScope()
        """Where the wait for the next deadline is; its own deadline is moved when that changes."""
        self._websocket: ServerConnection | None = None
        self._answer: HttpAnswer | None = None
        self._answers = 0
        self._head = False
        """Whether the HTTP request is HEAD, so that its answer has no body."""
        self._running: set[Running] = set()
        self._why: str | None = None
        """What ended the connection, in the ledger's words."""
        self._whole = True
        """Whether what was sent ends with the end of a frame."""
        self._muted = False
        self._reset = False

    # -- life

    async def run(self) -> None:
        """Serve it, and close it. Raises nothing, whatever the peer does."""
        try:
            async with self._tasks:
                self._tasks.start(self._own, self._main)
                await self._tasks.wait()
        finally:
            with anyio.move_on_after(_LINGER if self._why else _LINGER_AT_SHUTDOWN, shield=True):
                await self._own(self._end)
            with contextlib.suppress(*TRANSPORT_ERRORS):
                await self._raw.aclose()

    async def _own(self, part: Callable[[*_Ts], Awaitable[None]], *args: *_Ts) -> None:
        """Do a part of this peer's work. What it raises ends this connection, and nothing else."""
        try:
            await part(*args)
        except Exception as exc:
            self._why = self._why or "crashed"
            self._tasks.cancel()
            self._log(logging.ERROR, "ended by a fault of the server's own", exc)

    def _gone(self, exc: Exception) -> None:
        self._why = self._why or "disconnected"
        self._log(logging.DEBUG, "the client is gone", exc)

    def _log(self, level: int, what: str, exc: Exception) -> None:
        with contextlib.suppress(Exception):  # A logger's filters and handlers are the caller's code.
            shown = exc if level >= logging.ERROR else None
            _LOGGER.log(level, "connection %d: %s: %r", self._number, what, exc, exc_info=shown)

    async def _main(self) -> None:
        """From accepting to the end of the conversation; then the other tasks end, too."""
        await self._converse()
        self._tasks.cancel()

    async def _converse(self) -> None:
        context = self._server.ssl_context
        for action in self._server.faults.due(Received(0, "connection"), self._number):
            await self._act(action)
        if context is not None:
            try:
                self._stream = await TLSStream.wrap(
                    self._raw, server_side=True, ssl_context=context, standard_compatible=False
                )
            except TRANSPORT_ERRORS as exc:
                return self._gone(exc)
        return await self._serve()

    async def _stop(self, why: str) -> None:
        """End the connection, from whichever of its tasks."""
        self._why = self._why or why
        self._tasks.cancel()
        await anyio.sleep_forever()

    async def _end(self) -> None:
        """Close as was asked for, and with a close frame first if nobody has sent one."""
        if self._reset:
            await self._raw.reset()
            return
        close = _CLOSES.get(self._why)
        with contextlib.suppress(*TRANSPORT_ERRORS):
            if self._websocket is not None and close is not None and self._whole:
                self._websocket.close(anyio.current_time(), *close)
                await self._stream.send(self._websocket.data_to_send())
            await self._raw.send_eof()
            # Closing a socket with something unread sends RST: what the peer has not read yet would be lost to it.
            while True:
                await self._raw.receive()

    # -- bytes

    async def _receive(self) -> bytes:
        """What the client sent, after the faults that count bytes have had their way; ``b""`` is end of file."""
        faults = self._server.faults
        while True:
            room = self._meter.room(faults, self._number) if faults else None
            try:
                data = await self._stream.receive(_READ if room is None else min(room, _READ))
            except TRANSPORT_ERRORS as exc:
                self._gone(exc)
                return b""
            for action in self._meter.due(faults, self._number, data):
                await self._flush()
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
            sent, whole, self._whole = self._raw.sent, self._whole, False
            try:
                await self._stream.send(data)
                self._whole = whole
            except TRANSPORT_ERRORS as exc:
                self._gone(exc)
                await self._stop("disconnected")
            finally:
                if self._stream is self._raw and self._raw.sent == sent:  # TLS has counted the record that is not sent.
                    self._whole = whole

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
        self._head = False
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
                self._head = event.method == b"HEAD"
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
        self._answer = HttpAnswer(http, f"req_{self._number:06d}{self._answers:06d}", stream=stream, head=self._head)
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

        running = Running(turn, "sse" if stream else "http")
        async with Tasks() as watching:
            watching.start(self._own, self._watch, http)
            await self._own(self._run, running, self._begin(running))
        answer.finish()
        await self._flush()

    async def _watch(self, http: h11.Connection) -> None:
        """Read while a request is answered: to notice that the client leaves, and only as much as one head may have."""
        while len(http.trailing_data[0]) < MAX_HEADERS:
            data = await self._receive()
            if not data:
                await self._stop("disconnected")
            http.receive_data(data)

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
        now = anyio.current_time()
        rejected = websocket.accept(request.target, request.headers, now, http_version=request.http_version)
        if rejected is not None:
            return Problem(rejected.status, None, rejected.body.decode(errors="replace"), headers=rejected.headers)
        self._websocket = websocket
        self._meter.switch(trailing)
        for action in self._server.faults.due(Opened(), self._number):
            if not isinstance(action, Send):
                await self._flush()
            await self._act(action)
        if trailing:
            websocket.receive_data(trailing, anyio.current_time())
        return websocket

    async def _speak(self, websocket: ServerConnection) -> None:
        """Frames, until the end."""
        self._tasks.start(self._own, self._keep_deadlines, websocket)
        self._tasks.start(self._own, self._write)
        while True:
            self._start_turns()
            if websocket.state is ServerState.CLOSED or websocket.unsent > _UNSENT:
                await self._flush()
            elif websocket.unsent:
                self._to_write.set()
            if websocket.state is ServerState.CLOSED:
                return
            if websocket.has_unprocessed:
                await anyio.lowlevel.checkpoint()
                websocket.process(anyio.current_time())
            else:
                websocket.receive_data(await self._receive(), anyio.current_time())
            self._note_end(websocket)

    async def _write(self) -> None:
        """Send the answers that belong to no turn, so that the client is read from meanwhile."""
        while True:
            await self._to_write.wait()
            self._to_write = anyio.Event()
            await self._flush()

    async def _keep_deadlines(self, websocket: ServerConnection) -> None:
        """Do what is due when it is due, also while the peer does not read and a task is stuck in sending."""
        while True:
            with anyio.CancelScope(deadline=_deadline(websocket)) as self._timer:
                await anyio.sleep_forever()
            websocket.handle_deadline(anyio.current_time())
            self._note_end(websocket)
            if websocket.state is ServerState.CLOSED:
                await self._stop("expired")
            with anyio.CancelScope(deadline=_deadline(websocket)):
                await self._flush()

    def _note_end(self, websocket: ServerConnection) -> None:
        """Keep what ended the connection, and when it is to be given up: the peer may not read."""
        if websocket.state is not ServerState.OPEN:
            self._why = self._why or ("expired" if websocket.ended_by is None else "disconnected")
            self._timer.deadline = _deadline(websocket)

    def _start_turns(self) -> None:
        """Give each turn that is to run a task. In the order of arrival: tasks, on trio, begin in any order."""
        if self._websocket is not None:
            while (turn := self._websocket.next_request()) is not None:
                running = Running(turn, "websocket")
                self._tasks.start(self._own, self._run, running, self._begin(running))

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
        except Exception:
            self._why = self._why or "crashed"
            raise
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
            events = [await _last(events)]
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
        match action:
            case Cut(reset):
                await self._cut(reset)
            case CutFrame():
                await self._cut_frame(action, running, event)
            case Delay(seconds):
                await anyio.sleep(seconds)
            case Silence(connection):
                await self._silence(running, connection=connection)
            case Error():
                await self._error(action, running)
            case Close(code, reason):
                await self._close(code, reason)
            case Send(extra):
                await self._send_extra(extra)
            case Garbage(data):
                async with self._sending:
                    await self._send(data)

    async def _cut(self, reset: bool) -> None:
        self._reset = reset
        await self._stop("cut")

    async def _cut_frame(self, action: CutFrame, running: Running | None, event: Mapping[str, Any] | None) -> None:
        async with self._sending:
            before = self._take()
            if running is not None and event is not None and running.turn.state is TurnState.RUNNING:
                running.turn.emit(event)
            frame = self._take()
            await self._send(before + frame[: len(frame) // 2 if action.keep is None else action.keep])
        await self._cut(action.reset)

    async def _silence(self, running: Running | None, *, connection: bool) -> None:
        if running is None or connection:
            self._why = self._why or "silenced"
            self._muted = True
        if running is not None:
            if running.entry is not None and running.entry.outcome == "running":
                running.entry.outcome = "silenced"
            await anyio.sleep_forever()

    async def _error(self, error: Error, running: Running | None) -> None:
        if running is not None and running.turn.state is TurnState.RUNNING:
            running.turn.fail(_problem(error), attributed=error.attributed)
            if running.entry is not None:
                running.entry.outcome = "error"
            await self._flush()

    async def _close(self, code: int, reason: str) -> None:
        if self._websocket is None:
            await self._cut(reset=False)
        else:
            self._why = self._why or "closed"
            self._websocket.close(anyio.current_time(), code, reason)
            self._note_end(self._websocket)
            await self._flush()

    async def _send_extra(self, extra: Mapping[str, Any] | str) -> None:
        if self._websocket is None:
            if self._answer is not None:
                self._answer.send_extra(extra)
        elif isinstance(extra, str):
            self._websocket.send_text(extra)
        else:
            self._websocket.send_event(extra)
        await self._flush()


async def _last(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The last of the events; other tasks run in between."""
    last: dict[str, Any] = {}
    for k, event in enumerate(events, 1):
        last = event
        if not k % _BATCH:
            await anyio.lowlevel.checkpoint()
    return last


def _deadline(websocket: ServerConnection) -> float:
    """Until when to wait before the machine is asked again, or the connection given up."""
    if websocket.state is ServerState.CLOSED:
        return anyio.current_time() + _LINGER
    deadline = websocket.next_deadline()
    return math.inf if deadline is None else deadline


def _problem(error: Error) -> Problem:
    return Problem(error.status, error.code, error.message, error.param, error.type, error.headers)
