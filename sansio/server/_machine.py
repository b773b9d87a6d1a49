"""The machines of the server's role: a turn, and a connection. The tables are at the top of the package."""

from __future__ import annotations

import binascii
import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

import h11

from ..errors import LaneLimitError, UserError
from ..lanes import Lanes, is_stream_id
from ..websocket import (
    MAX_HEADERS,
    Close,
    Item,
    Ping,
    Rejected,
    Violation,
    WebSocket,
    accept_upgrade,
)
from ._json import read_json, write_json
from ._memory import Problem, Remembered, ResponseStore, check_request
from ._options import SERVER_DIALECTS, ServerOptions

# --- A turn ----------------------------------------------------------------------------------------------------------


class TurnState(enum.Enum):
    """Where a turn is, on the server's side."""

    WAITING = "waiting"
    """For its lane, or for a slot."""
    RUNNING = "running"
    ENDED = "ended"
    """Its terminal event, or its error, has been emitted."""
    CANCELLED = "cancelled"
    """Its connection ended first. What is emitted now goes nowhere."""


_ENDS_WELL: Final[Mapping[str, bool]] = {
    "response.completed": True,
    "response.incomplete": True,
    "response.failed": False,
    "response.error": False,
    "error": False,
}
"""The events that end a turn, and whether it can be continued afterwards."""


class ServerTurn:
    """One ``response.create``: what was asked, and where the answers go.

    ``send`` takes each message that goes out, ``end`` the turn and, if it can be continued, its response. A server of
    another transport (HTTP has no lanes) makes its turns itself, RUNNING from the start.
    """

    def __init__(
        self,
        request: dict[str, Any],
        lane: str | None,
        *,
        send: Callable[[dict[str, Any]], None],
        end: Callable[[ServerTurn, Mapping[str, Any] | None], None],
        number: int = 1,
        state: TurnState = TurnState.RUNNING,
        previous: Remembered | None = None,
    ) -> None:
        self._send = send
        self._end = end
        self.lane = lane
        """Its ``stream_id``; None is the default lane."""
        self.request = request
        """The body: everything but ``type`` and ``stream_id``, as the client sent it."""
        self.number = number
        """The how-manieth message of its connection asked for it, from 1."""
        self.state = state
        self.previous = previous
        """What it continues, once it runs."""
        self.response_id: str | None = None
        """The id that ``response.created`` gave it."""
        self.sequence_number = 0
        """That of the next event; counted per turn, from 0."""

    @property
    def generate(self) -> bool:
        """False for a warm-up: the response is to have no output."""
        return self.request.get("generate") is not False

    def emit(self, event: Mapping[str, Any]) -> None:
        """Send an event of this turn, with its ``sequence_number`` and, on a named lane, its ``stream_id``.

        A terminal event ends the turn. Raises UserError for an event after that; on a connection that has ended, does
        nothing.
        """
        if self._may_emit():
            kind: str = event["type"]
            message = {**event, "sequence_number": self.sequence_number}
            if self.lane is not None:
                message["stream_id"] = self.lane
            self._send(message)
            self.sequence_number += 1
            if kind == "response.created":
                self.response_id = event["response"]["id"]
            elif kind in _ENDS_WELL:
                self.state = TurnState.ENDED
                self._end(self, event["response"] if _ENDS_WELL[kind] else None)

    def fail(self, problem: Problem, *, attributed: bool = True) -> None:
        """End the turn with an ``error`` frame; ``attributed`` says whether with its ``stream_id``.

        Raises UserError if the turn has ended already; on a connection that has ended, does nothing.
        """
        if self._may_emit():
            self._send(problem.frame(self.lane if attributed else None))
            self.state = TurnState.ENDED
            self._end(self, None)

    def _may_emit(self) -> bool:
        if self.state in (TurnState.WAITING, TurnState.ENDED):
            raise UserError(
                f"an event for a turn that is {self.state.value} — nothing was sent — emit events between "
                "next_request() and the terminal event"
            )
        return self.state is TurnState.RUNNING


# --- The connection --------------------------------------------------------------------------------------------------


class ServerState(enum.Enum):
    """Where a connection is: see the table at the top of this room."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


STEER_CODES: Final[Mapping[str, str]] = {
    "running": "steering_not_supported",
    "latest": "response_already_completed",
    "unknown": "response_not_found",
}
"""What ``response.steer`` fails with, by what its target is to this connection."""

INJECT_CODES: Final[Mapping[str, str]] = {
    "running": "response_not_found",
    "latest": "response_already_completed",
    "unknown": "response_not_found",
}
"""The same for ``response.inject``, which knows these two codes: no running response here waits for injected input."""

_TARGETS: Final[Mapping[str, str]] = {"response.steer": "previous_response_id", "response.inject": "response_id"}
"""What names the response that an event gives input to."""

_MEANINGS: Final[Mapping[str, str]] = {
    "steering_not_supported": "The response does not support steering.",
    "response_already_completed": "The response has already completed.",
    "response_not_found": "No response with that id accepts input on this connection.",
}

_LIMIT_REACHED: Final = Problem(
    400,
    "websocket_connection_limit_reached",
    "Responses websocket connection limit reached. Create a new websocket connection to continue.",
)

Check: TypeAlias = Callable[[h11.Request], Rejected | None]


class ServerConnection:
    """One WebSocket, from the server's side.

    The upgrade comes either as raw bytes, into :meth:`receive_data`, and then ``check`` may turn a request away (wrong
    path, wrong key); or, when HTTP is read elsewhere, as the parsed request, into :meth:`accept`.
    """

    def __init__(
        self,
        *,
        options: ServerOptions | None = None,
        store: ResponseStore | None = None,
        check: Check | None = None,
    ) -> None:
        self.options = ServerOptions() if options is None else options
        self._dialect = SERVER_DIALECTS[self.options.dialect]
        self.store = ResponseStore() if store is None else store
        self.state = ServerState.HANDSHAKE
        self.rejected: Rejected | None = None
        """Why the upgrade was turned away, if it was."""
        self.ended_by: Close | Violation | None = None
        """What ended the open phase, if the peer did so in words."""
        self.messages = 0
        """How many messages have arrived."""
        self._check = check
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        self._websocket = WebSocket(client=False)
        self._out: list[bytes] = []
        self._lanes: Lanes[ServerTurn] = Lanes(
            max_in_flight=self.options.max_in_flight, max_named=self.options.max_named_lanes
        )
        self._memory: dict[str | None, Remembered] = {}
        self._waiting: dict[ServerTurn, tuple[int, Problem | None]] = {}
        self._waiting_bytes = 0
        self._ready: deque[ServerTurn] = deque()
        self._deadline: float | None = None

    # -- the upgrade

    def accept(
        self, target: bytes, headers: Iterable[tuple[bytes, bytes]], now: float, *, http_version: bytes = b"1.1"
    ) -> Rejected | None:
        """Take the upgrade request that was read elsewhere. What is returned is to be sent as an ordinary response."""
        fields = list(headers)
        accepted = _refuse_upgrade(fields, http_version) or accept_upgrade(
            target,
            fields,
            compression=self.options.compression,
            max_message_size=self.options.max_message_size,
            extra_headers=[(name.encode(), value.encode()) for name, value in self._dialect.headers.items()],
        )
        if isinstance(accepted, Rejected):
            self.rejected = accepted
            self.state = ServerState.CLOSED
            return accepted
        answer, self._websocket = accepted
        self._out.append(answer)
        self.state = ServerState.OPEN
        self._deadline = None if self.options.lifetime is None else now + self.options.lifetime
        return None

    def _handshake(self, data: bytes, now: float) -> None:
        try:
            self._http.receive_data(data)
            request = self._http.next_event()
        except h11.RemoteProtocolError as exc:
            return self._reject(Rejected(exc.error_status_hint, {}, str(exc).encode()))
        if not isinstance(request, h11.Request):
            return None
        if request.method != b"GET":
            rejected = Rejected(405, {"allow": "GET"}, b"the upgrade is a GET request (RFC 6455 section 4.1)")
            return self._reject(rejected, has_body=request.method != b"HEAD")
        rejected = self._check(request) if self._check is not None else None
        if rejected is None:
            rejected = self.accept(request.target, request.headers, now, http_version=request.http_version)
        if rejected is not None:
            return self._reject(rejected)
        return self.receive_data(self._http.trailing_data[0], now) if self._http.trailing_data[0] else None

    def _reject(self, rejected: Rejected, *, has_body: bool = True) -> None:
        self.rejected = rejected
        self.state = ServerState.CLOSED
        body = rejected.body
        try:
            response = _response(rejected.status, rejected.headers, body)
        except (h11.LocalProtocolError, ValueError):  # What ``check`` gave is no answer that HTTP can carry.
            body = b""
            response = _response(500, {}, body)
        self._out.append(self._http.send(response) or b"")
        if has_body and response.status_code not in BODILESS:
            self._out.append(self._http.send(h11.Data(data=body)) or b"")
        self._out.append(self._http.send(h11.EndOfMessage()) or b"")

    # -- bytes

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what arrived; ``b""`` is end of file.

        The work of one call is bounded (:mod:`turnwire.sansio.websocket`, "Bounded work"): afterwards, look at
        :attr:`has_unprocessed`.
        """
        if not data:
            self._end(ServerState.CLOSED)
        elif self.state is ServerState.HANDSHAKE:
            self._handshake(data, now)
        elif self.state is not ServerState.CLOSED:
            self._receive_items(self._websocket.receive(data), now)

    @property
    def has_unprocessed(self) -> bool:
        """Whether the last call stopped before the end of what arrived.

        Then send what there is, let others run, call :meth:`process`, and read nothing from the transport meanwhile.
        """
        return self._websocket.pending and self.state in (ServerState.OPEN, ServerState.CLOSING)

    def process(self, now: float) -> None:
        """Go on with what arrived: as much work as one :meth:`receive_data` does. Nothing is left: does nothing."""
        if self.has_unprocessed:
            self._receive_items(self._websocket.receive(), now)

    def _receive_items(self, items: Iterable[Item], now: float) -> None:
        for item in items:
            if isinstance(item, Close | Violation):
                self.ended_by = item
                if self.state is ServerState.OPEN:
                    self._out.append(self._websocket.close(item.code, _answer_reason(item)))
                self._end(ServerState.CLOSED)
            elif self.state is ServerState.OPEN:
                if isinstance(item, bytes):
                    self._message(item, now)
                elif isinstance(item, Ping):
                    self._out.append(self._websocket.pong(item.payload))

    @property
    def unsent(self) -> int:
        """How many bytes :meth:`data_to_send` would give: a client that does not read must not make them many."""
        return sum(map(len, self._out))

    def data_to_send(self) -> bytes:
        """Everything that is to be sent by now."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def ping(self, payload: bytes = b"") -> None:
        """Ask for a sign of life; ``payload`` is at most 125 bytes. Only in OPEN."""
        if self.state is ServerState.OPEN:
            self._out.append(self._websocket.ping(payload))

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Send a message that belongs to no turn, as it is. Only in OPEN."""
        if self.state is ServerState.OPEN:
            self._out.append(self._websocket.text(write_json(event)))

    def send_text(self, text: str) -> None:
        """Send a text message, be it JSON or not. Only in OPEN."""
        if self.state is ServerState.OPEN:
            self._out.append(self._websocket.text(text.encode()))

    # -- the end

    def close(self, now: float, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake. Turns that have not ended are cancelled."""
        if self.state is ServerState.OPEN:
            self._out.append(self._websocket.close(code, reason))
            self._end(ServerState.CLOSING)
            self._deadline = now + self.options.close_timeout
        elif self.state is ServerState.HANDSHAKE:
            self._end(ServerState.CLOSED)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` is to be called, in the seconds of ``now``."""
        return self._deadline

    def handle_deadline(self, now: float) -> None:
        """Do what is due: the end of the lifetime, or of the wait for the peer's close."""
        if self._deadline is None or now < self._deadline:
            return
        if self.state is ServerState.OPEN:
            # The code says "not run" to every client's turn that has seen no event (REPLAY.md, "Refusals").
            if not any(turn.sequence_number == 0 and turn not in self._ready for turn in self._lanes.running.values()):
                self.send_event(_LIMIT_REACHED.frame())
            self.close(now, 1000, "connection limit reached")
        else:
            self._end(ServerState.CLOSED)

    def _end(self, state: ServerState) -> None:
        self.state = state
        self._deadline = None
        for turn in self._turns():
            turn.state = TurnState.CANCELLED
        self._ready.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._memory.clear()
        self._lanes = Lanes()

    # -- turns: out

    def next_request(self) -> ServerTurn | None:
        """The next turn that is to run now. Ask until it says None, after receiving and after a turn has ended."""
        return self._ready.popleft() if self._ready else None

    def in_flight(self) -> int:
        """How many turns are running."""
        return len(self._lanes.running)

    def waiting(self) -> int:
        """How many requests wait for their lane or for a slot."""
        return len(self._waiting)

    def _turns(self) -> Iterator[ServerTurn]:
        yield from self._lanes.running.values()
        yield from self._lanes.waiting()

    def _message(self, data: bytes, now: float) -> None:
        self.messages += 1
        try:
            message = read_json(data)
        except ValueError as exc:
            return self._complain("invalid_json", f"The message is not JSON that can be read: {str(exc)[:200]}.")
        if not isinstance(message, dict):
            return self._complain("invalid_type", "The message is not an object.")
        event = cast("dict[str, Any]", message)
        kind = event.pop("type", None)
        if kind == "response.create":
            return self._create(event, len(data), now)
        lane = event.get("stream_id")
        lane = lane if self._dialect.lanes and is_stream_id(lane) else None
        if not isinstance(kind, str):
            return self._complain("missing_required_parameter", "Missing required parameter: 'type'.", "type", lane)
        param = _TARGETS.get(kind) if self._dialect.steering else None
        if param is None:
            message = f"Unsupported event type: '{kind[:100]}'."
            return self._complain("unsupported_event_type", message, "type", lane)
        target = event.get(param)
        if not isinstance(target, str):
            message = f"Missing required parameter: '{param}', the id of a response."
            return self._complain("missing_required_parameter", message, param, lane)
        return (self._steer if kind == "response.steer" else self._inject)(target, event.get("input"))

    def _complain(self, code: str, message: str, param: str | None = None, lane: str | None = None) -> None:
        self.send_event(Problem(400, code, message, param).frame(lane))

    def _create(self, request: dict[str, Any], size: int, now: float) -> None:
        lane = request.pop("stream_id", None)
        if not self._dialect.lanes:
            lane = None
        elif lane is not None and not is_stream_id(lane):
            wanted = "Invalid 'stream_id': expected 1-256 characters of A-Z, a-z, 0-9, '_', '-' and '.'."
            return self._complain("invalid_stream_id", wanted, "stream_id")
        turn = ServerTurn(
            request,
            lane,
            send=self.send_event,
            end=self._turn_ended,
            number=self.messages,
            state=TurnState.WAITING,
        )
        try:
            self._lanes.enter(turn, lane)
        except LaneLimitError:
            limit = f"At most {self.options.max_named_lanes} distinct stream ids are allowed on one connection."
            return self._complain("websocket_stream_limit_reached", limit, "stream_id", lane)
        self._waiting[turn] = (size, check_request(request))
        self._waiting_bytes += size
        self._admit()
        return self._close_if_too_many_wait(now)

    def _close_if_too_many_wait(self, now: float) -> None:
        count, limit = len(self._waiting), self.options.max_waiting_bytes
        if count > self.options.max_waiting:
            self.close(now, 1008, f"more than {self.options.max_waiting} requests are waiting")
        elif count > 1 and self._waiting_bytes > limit:
            self.close(now, 1008, f"the requests that are waiting have more than {limit} bytes")

    def _admit(self) -> None:
        """Start every turn that may start; refuse, in its turn, what cannot be run."""
        while (started := self._lanes.start()) is not None:
            turn, _ = started
            size, problem = self._waiting.pop(turn)
            self._waiting_bytes -= size
            turn.state = TurnState.RUNNING
            if problem is None:
                found = self._find(turn.request)
                if not isinstance(found, Problem):
                    turn.previous = found
                    self._ready.append(turn)
                    continue
                problem = found
            self.send_event(problem.frame(turn.lane))
            turn.state = TurnState.ENDED
            self._end_turn(turn, None)

    def _find(self, request: Mapping[str, Any]) -> Remembered | Problem | None:
        wanted = request.get("previous_response_id")
        for remembered in self._memory.values():
            if remembered.response_id == wanted:
                return remembered
        return self.store.find(request)

    def _turn_ended(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        remembered = None if response is None else self.store.remember(turn.request, response, turn.previous)
        self._end_turn(turn, remembered)
        self._admit()

    def _end_turn(self, turn: ServerTurn, remembered: Remembered | None) -> None:
        self._lanes.leave(turn, turn.lane)
        latest = self._memory.get(turn.lane)
        if remembered is not None:
            self._memory[turn.lane] = remembered
        elif latest is not None and latest.response_id == turn.request.get("previous_response_id"):
            del self._memory[turn.lane]

    # -- turns: input for one that runs, which is not supported, and said so

    def _steer(self, target: str, given: object) -> None:
        relation, turn = self._relation(target)
        code = STEER_CODES[relation] if given and type(given) in (str, list) else "invalid_input"
        meaning = _MEANINGS.get(code, "The input is neither a string nor a non-empty array of user messages.")
        self._failed(
            "response.steer.failed",
            turn,
            error={"type": "invalid_request_error", "code": code, "message": meaning},
            steer={"previous_response_id": target, "input": given},
        )

    def _inject(self, target: str, given: object) -> None:
        relation, turn = self._relation(target)
        code = INJECT_CODES[relation]
        error = {"code": code, "message": _MEANINGS[code]}
        self._failed("response.inject.failed", turn, error=error, response_id=target, input=given)

    def _relation(self, target: str) -> tuple[str, ServerTurn | None]:
        """What a response is to this connection: the turn that runs it, if one does."""
        for turn in self._lanes.running.values():
            if turn.response_id == target:
                return "running", turn
        known = any(remembered.response_id == target for remembered in self._memory.values())
        return ("latest" if known else "unknown"), None

    def _failed(self, kind: str, turn: ServerTurn | None, **particulars: object) -> None:
        if turn is not None:
            turn.emit({"type": kind, **particulars})
        else:
            self.send_event({"type": kind, "sequence_number": 0, **particulars})


def _answer_reason(item: Close | Violation) -> str:
    return item.reason if isinstance(item, Violation) else ""


# --- HTTP ------------------------------------------------------------------------------------------------------------

BODILESS: Final = frozenset({204, 304})
"""Statuses of answers that have no body (RFC 9110 section 6.4.1); nor has any to HEAD."""
_FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})
"""Fields that say how the answer is sent. They are ours to set."""


def _response(status: int, headers: Mapping[str, str], body: bytes) -> h11.Response:
    """The head of an answer after which the connection is closed."""
    fields = [(name, value) for name, value in headers.items() if name.lower() not in _FRAMING]
    return h11.Response(
        status_code=status, headers=[*fields, ("connection", "close"), ("content-length", str(len(body)))]
    )


def _refuse_upgrade(headers: list[tuple[bytes, bytes]], http_version: bytes) -> Rejected | None:
    """What wsproto lets pass (version 1.2): HTTP/1.0, and a ``Sec-WebSocket-Key`` that is none (RFC 6455 4.2.1)."""
    if http_version < b"1.1":
        return Rejected(426, {"upgrade": "websocket"}, b"a WebSocket needs HTTP/1.1 (RFC 6455 section 4.1)")
    keys = [value for name, value in headers if name.lower() == b"sec-websocket-key"]
    if len(keys) > 1 or not all(map(_is_key, keys)):
        return Rejected(400, {}, b"Sec-WebSocket-Key is not the base64 of 16 bytes (RFC 6455 section 4.2.1)")
    return None


def _is_key(value: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == 16
    except binascii.Error:
        return False
