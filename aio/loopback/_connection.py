"""One client of the loopback server: its bytes in and out, the tasks that serve it, and the faults that are for it.

Who does what
    :mod:`._serve_http` reads requests and answers them, and after an upgrade :mod:`._serve_websocket` does;
    :mod:`._turns` runs the turns of both. All of them read, send and do the actions of faults through the
    :class:`ClientConnection`. What is said is decided by h11, :mod:`._http`, :mod:`turnwire.sansio.server` and
    :mod:`._script`. One task reads; one waits for the next deadline; each turn is a task. A task that has something to
    send sends all that is ready, one task at a time. The tasks belong to the connection, and end with it.

One client cannot harm another
    Whatever a client does, only its own connection ends. :data:`._sockets.TRANSPORT_ERRORS` lists what the transport
    raises when the client is gone. Any other exception in one of the tasks is a bug of this server: it is logged to
    ``turnwire.loopback``, and the ledger says ``crashed``. It never reaches another client or the event loop
    (:meth:`ClientConnection.guarded`).

A client that is slow
    :class:`~turnwire.sansio.server.Pace` says until when a request has to be there and an answer has to be read. One
    task waits for the next of these deadlines, and ends the connection if one has passed.

A client that does not read
    Its turns stop at what the kernel and one batch of events each hold. The server reads from it as long as the answers
    to what it sends, pongs and error frames, are few (:data:`._serve_websocket.MAX_UNSENT`): so a client that sends a
    long message before it reads gets it through. The server waits for it until ``send_timeout``, or until the
    connection's lifetime is over, or, once the connection is closing, until the close's timeout.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVarTuple

import anyio

from ...sansio.server import (
    Asked,
    ItemDict,
    Pace,
    Phase,
    Problem,
    Reply,
    Script,
    ServerConnection,
    ServerState,
    ServerTurn,
    ServerTurnState,
    StoredResponse,
    Taken,
)
from ._byte_counter import ByteCounter
from ._control import Control
from ._faults import Action, Close, Cut, CutFrame, Delay, Error, Faults, Garbage, Received, Send, Silence
from ._http import HttpAnswer
from ._ledger import Delivery, LedgerEntry
from ._service import Service
from ._sockets import TRANSPORT_ERRORS, SocketStream
from ._stream import ClientStream
from ._tasks import Tasks

__all__ = ["ClientConnection", "RunningTurn", "deadline_of", "problem_of"]

_LOGGER: Final = logging.getLogger("turnwire.loopback")
_Ts = TypeVarTuple("_Ts")

_LINGER: Final = 1.0
"""Seconds for which a connection that has ended waits for the client's end of file, so that what was sent arrives."""
_LINGER_AT_SHUTDOWN: Final = 0.1
"""The same when the server is closed: a client that has not read by then may not be reading at all."""
_READ: Final = 65536
"""Bytes of one read at most."""
_CLOSES: Final[Mapping[str | None, tuple[int, str]]] = {
    None: (1001, "the server is shutting down"),
    "crashed": (1011, "the server failed"),
    "dropped": (1008, "the client was too slow, or idle"),
}
"""The close frame for a WebSocket that no one has closed, by what ended the connection; no frame for other ends."""

_NO_FAULTS: Final = Faults()

_BY_FAULT: Final = frozenset({"cut", "closed", "silenced", "error", "expired"})
"""The outcomes after which the reply of a script is given again: the client did not get it, for no fault of its own."""


class TakenReply(NamedTuple):
    """A reply that was taken out of a script, and the request that it is for."""

    script: Script
    taken: Taken
    asked: Asked


class RunningTurn:
    """A turn, and what its ledger entry and its faults need to know of it."""

    def __init__(self, turn: ServerTurn, delivery: Delivery, stored: StoredResponse | None = None) -> None:
        self.turn = turn
        self.stored = stored
        """The response that is retrieved, if it is not run."""
        self.rest: Iterator[ItemDict] = iter(())
        """The events of the response that were not made yet, unless it runs in the background."""
        self.delivery: Delivery = delivery
        metadata: Mapping[str, Any] = turn.request.get("metadata") or {}
        marker = metadata.get("marker")
        self.marker: str | None = marker if isinstance(marker, str) else None
        self.entry: LedgerEntry | None = None
        """None until the turn runs."""
        self.emitted = 0
        """Events that are sent or about to be; the entry counts them once they are sent."""
        self.reply: Reply | None = None
        """What is answered, once that is known; it says when each event is due."""
        self.whole = 0
        """The number of events that one JSON body stands for, once they are made."""
        self.in_background = False
        """Whether the response goes on without this turn."""
        self.taken: TakenReply | None = None
        """A reply out of the list of a script, until it was given to the end."""

    def set_outcome(self, outcome: str, error: Mapping[str, Any] | None = None) -> None:
        """Write the outcome into the ledger, if the turn is there. In the background it goes on all the same."""
        if self.entry is not None and not self.in_background:
            self.entry.end(outcome, error)
        if self.taken is not None and outcome in _BY_FAULT:
            script, taken, _ = self.taken
            self.taken = None
            script.put_back(taken)

    def set_outcome_if_running(self, outcome: str) -> None:
        """The same, unless the ledger has an outcome already."""
        if self.entry is not None and self.entry.outcome == "running":
            self.set_outcome(outcome)


class ClientConnection:
    """One connection of a client, from accepting to closing."""

    # More than 12 attributes: the state of a connection, over HTTP and after the upgrade.

    def __init__(self, service: Service, sock: SocketStream, number: int, *, over_limit: bool = False) -> None:
        self.service = service
        self.over_limit = over_limit
        """Whether the server has enough connections without this one: its request is refused."""
        self.number = number
        """Its number in the order of accepting, from 1; 0 if nothing has come but requests for control."""
        self.for_control = False
        """Whether nothing has come but requests for control."""
        self.tasks = Tasks()
        self.counter = ByteCounter()
        self.turns: set[RunningTurn] = set()
        self.websocket: ServerConnection | None = None
        """What the bytes to send come from, after the upgrade."""
        self.http_answer: HttpAnswer | None = None
        """What the bytes to send come from, before it: the answer to the latest request."""
        self.ended_by: str | None = None
        """What ended the connection: an outcome of :class:`LedgerEntry`."""
        self.timer = anyio.CancelScope()
        """Around the wait for the next deadline. To move the deadline, set the scope's."""
        self.sending = anyio.Lock()
        """Hold it to send."""
        self.headers: Mapping[str, str] = {}
        """Those of the latest HTTP request, or of the upgrade."""
        self.stream = ClientStream(sock)
        self.refuse_late: Callable[[], Awaitable[None]] | None = None
        """Answers an HTTP request that took too long to arrive."""
        self._reads_control = False
        """Whether what is read is a request for control: no fault is for it."""
        self._pace = Pace(service.options, anyio.current_time())
        self._watch = anyio.CancelScope()
        """Around the wait for the next deadline of the client's pace."""

    # --- What counts -------------------------------------------------------------------------------------------------

    def leave_out_request(self, *, first: bool) -> None:
        """The request that was read is for control, and the first of its connection or not: it does not count.

        Source: P-CONTROL-2.
        """
        self.counter.leave_out_request()
        self.for_control = self.for_control or first
        if first and self.number == self.service.connections:
            self.service.connections -= 1
            self.number = 0

    def number_as_client(self) -> None:
        """A request has come that is for the API (P-CONTROL-2)."""
        self.for_control = False
        if self.number == 0:
            self.service.connections += 1
            self.number = self.service.connections
            self.counter.begin_requests()

    # --- From accepting to closing -----------------------------------------------------------------------------------

    async def run(self, serve: Callable[[ClientConnection], Awaitable[None]]) -> None:
        """Serve the client by ``serve``, and close the connection. Raises nothing, whatever the client does."""
        try:
            async with self.tasks:
                self.tasks.start(self.guarded, self._drop_if_slow)
                self.tasks.start(self.guarded, self._serve_then_cancel, serve)
                await self.tasks.wait()
        finally:
            with anyio.move_on_after(_LINGER if self.ended_by else _LINGER_AT_SHUTDOWN, shield=True):
                await self.guarded(self._end)
            with contextlib.suppress(*TRANSPORT_ERRORS):
                await self.stream.aclose()

    async def guarded(self, part: Callable[[*_Ts], Awaitable[None]], *args: *_Ts) -> None:
        """Run a part of this connection's work. An exception in it ends this connection, and nothing else."""
        try:
            await part(*args)
        except Exception as exc:
            self.ended_by = self.ended_by or "crashed"
            self.tasks.cancel()
            self._log(logging.ERROR, "ended by a bug of the server", exc)

    async def stop(self, why: str) -> None:
        """End the connection, from any of its tasks. Does not return."""
        self.ended_by = self.ended_by or why
        self.tasks.cancel()
        await anyio.sleep_forever()

    def note_websocket_state(self) -> None:
        """If the WebSocket is closing or closed, keep what ended it, and when to stop waiting for the client."""
        if self.websocket is not None and self.websocket.state is not ServerState.OPEN:
            self.ended_by = self.ended_by or _end_of(self.websocket)
            self.timer.deadline = deadline_of(self.websocket)

    async def _serve_then_cancel(self, serve: Callable[[ClientConnection], Awaitable[None]]) -> None:
        """From accepting to the end of the conversation; then the other tasks are cancelled."""
        await self._start_and_serve(serve)
        self.tasks.cancel()

    async def _start_and_serve(self, serve: Callable[[ClientConnection], Awaitable[None]]) -> None:
        for action in self.service.faults.take_due(Received(0, "connection"), self.number):
            await self.perform(action)
        if self.service.ssl_context is not None:
            try:
                await self.stream.start_tls(self.service.ssl_context)
            except TRANSPORT_ERRORS as exc:
                self._gone(exc)
                return
        await serve(self)

    async def _end(self) -> None:
        """Close as a fault has asked for; otherwise, if no close frame was sent, send one first."""
        last = b""
        close = _CLOSES.get(self.ended_by)
        with contextlib.suppress(*TRANSPORT_ERRORS):
            if self.websocket is not None and close is not None and self.stream.ends_with_frame:
                self.websocket.close(anyio.current_time(), *close)
                last = self.websocket.data_to_send()
            await self.stream.end(last)

    def _gone(self, exc: Exception) -> None:
        self.ended_by = self.ended_by or "disconnected"
        self._log(logging.DEBUG, "the client is gone", exc)

    def _log(self, level: int, what: str, exc: Exception) -> None:
        with contextlib.suppress(Exception):  # A logger's filters and handlers are the caller's code.
            shown = exc if level >= logging.ERROR else None
            _LOGGER.log(level, "connection %d: %s: %r", self.number, what, exc, exc_info=shown)

    # --- The client's pace -------------------------------------------------------------------------------------------

    def expect(self, phase: Phase) -> None:
        """From now on the client is about this."""
        self._pace.expect(phase, anyio.current_time())
        self._keep_deadline()

    def _keep_deadline(self) -> None:
        """Wake the task that watches, if the deadline is before the one that it waits for. It sees later ones itself:
        so that a deadline that moves with each read costs nothing."""
        if self._pace.deadline < self._watch.deadline:
            self._watch.deadline = self._pace.deadline

    async def _drop_if_slow(self) -> None:
        while True:
            with anyio.CancelScope(deadline=self._pace.deadline) as self._watch:
                await anyio.sleep_forever()
            late = self._pace.late(anyio.current_time(), busy=bool(self.turns))
            if late is not None and not self.stream.silenced:
                await self._drop(late)
            elif late is not None:
                await anyio.sleep_forever()

    async def _drop(self, late: Phase) -> None:
        self.ended_by = self.ended_by or "dropped"
        with contextlib.suppress(Exception):  # A logger's filters and handlers are the caller's code.
            _LOGGER.info("connection %d: dropped, because it was too slow: %s", self.number, late)
        if late == "unread":
            self.stream.resets = True
        elif self.websocket is None and self.refuse_late is not None and self.counter.partial:
            with anyio.move_on_after(_LINGER):
                await self.refuse_late()
        await self.stop("dropped")

    # --- Bytes -------------------------------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """What the client sent; ``b""`` is end of file. Does what is due at a byte before it returns that byte."""
        control = self.service.control
        if control is not None and self.websocket is None and not self.counter.partial:
            start = await self._receive_start(control)
            if start:
                return start
        return await self._receive(_NO_FAULTS if self._reads_control else self.service.faults)

    async def _receive(self, faults: Faults) -> bytes:
        while True:
            limit = self.counter.read_limit(faults, self.number) if faults else None
            try:
                data = await self.stream.receive(_READ if limit is None else min(limit, _READ))
            except TRANSPORT_ERRORS as exc:
                self._gone(exc)
                return b""
            await self._count(data, faults)
            if not self.stream.silenced:
                return data

    async def _receive_start(self, control: Control) -> bytes:
        """The first bytes of a request, read one by one until they say whether it is for control: no fault is for such
        a request. Counted after that, and what is due is done. Nothing is read if there are no faults."""
        faults, start = self.service.faults, b""
        while faults and control.begins(start) is None:
            try:
                start += await self.stream.receive(1)
            except TRANSPORT_ERRORS:  # The next read says so again.
                break
        self._reads_control = control.begins(start) is True
        for byte in range(len(start)):
            await self._count(start[byte : byte + 1], _NO_FAULTS if self._reads_control else faults)
        return b"" if self.stream.silenced else start

    async def _count(self, data: bytes, faults: Faults) -> None:
        """Count what was read, and do what is due at its last byte."""
        actions = self.counter.count_and_take_due(faults, self.number, data)
        self._note_received(len(data))
        for action in actions:
            await self.flush()
            await self.perform(action)

    def _note_received(self, size: int) -> None:
        now = anyio.current_time()
        self._pace.received(size, now)
        if self.websocket is not None:
            self._pace.between_messages(self.counter.partial, now)
        self._keep_deadline()

    async def flush(self) -> None:
        """Send what there is to send. No other task runs between the last byte and the return."""
        async with self.sending:
            await self.send_all()

    async def send_all(self) -> None:
        """Send what there is to send, and count the events in the ledger. The caller holds :attr:`sending`."""
        counts = [(running.entry, running.emitted) for running in self.turns]
        await self.send(self.take_bytes())
        for entry, emitted in counts:
            if entry is not None:
                entry.events = emitted

    @property
    def unsent(self) -> int:
        """How many bytes :meth:`take_bytes` would return."""
        if self.websocket is not None:
            return self.websocket.unsent
        return self.http_answer.unsent if self.http_answer is not None else 0

    def take_bytes(self) -> bytes:
        """Everything that the protocol has to send by now."""
        if self.websocket is not None:
            return self.websocket.data_to_send()
        return self.http_answer.take() if self.http_answer is not None else b""

    async def send(self, data: bytes) -> None:
        """Send these bytes; if the client is gone, end the connection. The caller holds :attr:`sending`."""
        if not data:
            return
        self._pace.begin_sending(len(data), anyio.current_time())
        self._keep_deadline()
        try:
            await self.stream.send(data)
            self._pace.end_sending(anyio.current_time())
        except TRANSPORT_ERRORS as exc:
            self._gone(exc)
            await self.stop("disconnected")

    # --- Actions of faults -------------------------------------------------------------------------------------------

    async def perform(
        self, action: Action, running: RunningTurn | None = None, event: Mapping[str, Any] | None = None
    ) -> None:
        """Do the action of a fault; for a turn, and at the event that it is about to send, if there are such."""
        match action:
            case Cut(reset):
                await self._cut(reset)
            case CutFrame():
                await self._cut_frame(action, running, event)
            case Delay(seconds):
                self._pace.paused(seconds)
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
                async with self.sending:
                    await self.send(data)

    async def _cut(self, reset: bool) -> None:
        self.stream.resets = reset
        await self.stop("cut")

    async def _cut_frame(self, action: CutFrame, running: RunningTurn | None, event: Mapping[str, Any] | None) -> None:
        async with self.sending:
            before = self.take_bytes()
            if running is not None and event is not None and running.turn.state is ServerTurnState.RUNNING:
                running.turn.emit(event)
            frame = self.take_bytes()
            await self.send(before + frame[: len(frame) // 2 if action.keep is None else action.keep])
        await self._cut(action.reset)

    async def _silence(self, running: RunningTurn | None, *, connection: bool) -> None:
        if running is None or connection:
            self.ended_by = self.ended_by or "silenced"
            self.stream.silenced = True
        if running is not None:
            running.set_outcome_if_running("silenced")
            await anyio.sleep_forever()

    async def _error(self, error: Error, running: RunningTurn | None) -> None:
        if running is not None and running.turn.state is ServerTurnState.RUNNING:
            problem = problem_of(error)
            running.turn.fail(problem, attributed=error.attributed)
            running.set_outcome("error", problem.body())
            await self.flush()

    async def _close(self, code: int, reason: str) -> None:
        if self.websocket is None:
            await self._cut(reset=False)
        else:
            self.ended_by = self.ended_by or "closed"
            self.websocket.close(anyio.current_time(), code, reason)
            self.note_websocket_state()
            await self.flush()

    async def _send_extra(self, extra: Mapping[str, Any] | str) -> None:
        if self.websocket is None:
            if self.http_answer is not None:
                self.http_answer.send_extra(extra)
        elif isinstance(extra, str):
            self.websocket.send_text(extra)
        else:
            self.websocket.send_event(extra)
        await self.flush()


def deadline_of(websocket: ServerConnection) -> float:
    """When to call its ``handle_deadline``; or, if it is closed, when to stop waiting for the client."""
    if websocket.state is ServerState.CLOSED:
        return anyio.current_time() + _LINGER
    deadline = websocket.next_deadline()
    return math.inf if deadline is None else deadline


def _end_of(websocket: ServerConnection) -> str:
    """What ended a WebSocket: the client, the end of its lifetime, or the server for what the client did."""
    if websocket.ended_by is not None:
        return "disconnected"
    return "expired" if websocket.expired else "dropped"


def problem_of(error: Error) -> Problem:
    """An :class:`Error` in the form that :mod:`turnwire.sansio.server` takes."""
    return Problem(error.status, error.code, error.message, error.param, error.type, error.headers)
