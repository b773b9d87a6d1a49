"""The machine of a connection in the server's role. The tables are at the top of the package."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from ..error_body import CONNECTION_LIMIT
from ..errors import LaneLimitError
from ..lanes import is_stream_id
from ..websocket import (
    CloseFrame,
    Item,
    Ping,
    Rejected,
    Violation,
    WebSocket,
    accept_upgrade,
)
from ._injecting import INJECT_CODES, INJECT_MEANINGS, has_inject_beta, injection_problem
from ._json import write_json
from ._memory import ItemDict
from ._options import SERVER_DIALECTS, ServerOptions
from ._problem import Problem, RefusedRequest
from ._requests import Requests
from ._slices import JsonBody
from ._steering import failed, may_be_steered, steer_items
from ._store import ResponseStore
from ._turn import ServerTurn
from ._upgrade import Check, Upgrade, refuse_upgrade

# --- A turn ----------------------------------------------------------------------------------------------------------


class ServerState(enum.Enum):
    """The state of a connection: see the table at the top of the package."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


STEER_CODES: Final[Mapping[str, str]] = {
    "running": "steering_not_supported",
    "latest": "response_already_completed",
    "unknown": "response_not_found",
}
"""The code with which ``response.steer`` fails, by the relation of its target to this connection; a running response
may support it (PROTOCOL.md, P-STEER-8)."""

_LIMIT_REACHED: Final = Problem(
    400,
    CONNECTION_LIMIT,
    "Responses websocket connection limit reached. Create a new websocket connection to continue.",
)


class ServerConnection:
    """One WebSocket, from the server's side.

    The upgrade may come as raw bytes, into :meth:`receive_data`; then ``check`` may refuse a request (wrong path, wrong
    key). If HTTP is read elsewhere, pass the parsed request to :meth:`accept`. ``refused`` is called with each message
    that is answered with an ``error`` instead of being run.
    """

    # More than 12 attributes: those that callers read, and what the two sides of a connection keep.

    def __init__(
        self,
        *,
        options: ServerOptions | None = None,
        store: ResponseStore | None = None,
        check: Check | None = None,
        refused: Callable[[RefusedRequest], object] | None = None,
    ) -> None:
        self.options = ServerOptions() if options is None else options
        self._dialect = SERVER_DIALECTS[self.options.dialect]
        self.store = ResponseStore() if store is None else store
        self.state = ServerState.HANDSHAKE
        self.rejected: Rejected | None = None
        """The refusal of the upgrade; None if it was not refused."""
        self.ended_by: CloseFrame | Violation | None = None
        """The close frame or the violation that ended the connection; None if there was none."""
        self.expired = False
        """Whether it ended because its lifetime was over."""
        self.messages = 0
        """How many messages have arrived."""
        self._upgrade = Upgrade(check)
        self._websocket = WebSocket(client=False)
        self._items: deque[Item] = deque()
        """What has arrived and was not done."""
        self._body: JsonBody | None = None
        """The first of them, if it is a message that is being decoded."""
        self._out: list[bytes] = []
        self._requests = Requests(self.options, self.store, self.send_event, refused or _ignore)
        self._deadline: float | None = None

    # -- the upgrade

    def accept(
        self, target: bytes, headers: Iterable[tuple[bytes, bytes]], now: float, *, http_version: bytes = b"1.1"
    ) -> Rejected | None:
        """Take an upgrade request that was read elsewhere. A returned Rejected must be sent as an ordinary response."""
        fields = list(headers)
        accepted = refuse_upgrade(fields, http_version) or accept_upgrade(
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
        self._requests.may_inject = self._dialect.steering and has_inject_beta(fields)
        self._out.append(answer)
        self.state = ServerState.OPEN
        self._deadline = None if self.options.lifetime is None else now + self.options.lifetime
        return None

    def _handshake(self, data: bytes, now: float) -> None:
        request = self._upgrade.receive(data)
        if request is None:
            return
        if isinstance(request, Rejected):
            rejected = request
        else:
            rejected = self.accept(request.target, request.headers, now, http_version=request.http_version)
        if rejected is not None:
            self.rejected = rejected
            self.state = ServerState.CLOSED
            self._out.append(self._upgrade.rejection(rejected))
        elif self._upgrade.trailing:
            self.receive_data(self._upgrade.trailing, now)

    # -- bytes

    def receive_data(self, data: bytes, now: float) -> None:
        """Take data; ``b""`` is end of file.

        The work of one call is bounded (:mod:`turnwire.sansio.websocket`, "Bounded work"). After the call, check
        :attr:`has_unprocessed`.
        """
        if not data:
            self._end(ServerState.CLOSED)
        elif self.state is ServerState.HANDSHAKE:
            self._handshake(data, now)
        elif self.state is not ServerState.CLOSED:
            self._items.extend(self._websocket.receive(data))
            self._take_items(now)

    @property
    def has_unprocessed(self) -> bool:
        """Whether the last call stopped before the end of the data.

        If so, send what there is, let other tasks run, then call :meth:`process`. Do not read from the transport
        meanwhile.
        """
        has_more = self._websocket.pending or bool(self._items)
        return has_more and self.state in (ServerState.OPEN, ServerState.CLOSING)

    def process(self, now: float) -> None:
        """Process more of the data, as much as one :meth:`receive_data` does. Does nothing if nothing is left."""
        if self.has_unprocessed:
            if not self._items:
                self._items.extend(self._websocket.receive())
            self._take_items(now)

    def _take_items(self, now: float) -> None:
        """Do what has arrived, in its order; of a long message no more than one slice."""
        while self._items:
            item = self._items[0]
            if isinstance(item, bytes) and self.state is ServerState.OPEN:
                self._body = self._body or JsonBody(item, self._requests.prepare)
                if not self._body.decode_slice():
                    return
            self._items.popleft()
            body, self._body = self._body, None
            if isinstance(item, CloseFrame | Violation):
                self.ended_by = item
                if self.state is ServerState.OPEN:
                    self._out.append(self._websocket.close(item.code, _answer_reason(item)))
                self._end(ServerState.CLOSED)
            elif self.state is ServerState.OPEN:
                if body is not None:
                    self._message(body, now)
                elif isinstance(item, Ping):
                    self._out.append(self._websocket.pong(item.payload))

    @property
    def unsent(self) -> int:
        """How many bytes :meth:`data_to_send` would return. Check it: a client that does not read can make it grow."""
        return sum(map(len, self._out))

    def data_to_send(self) -> bytes:
        """Everything to be sent now."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping; ``payload`` is at most 125 bytes. Only in OPEN."""
        if self.state is ServerState.OPEN:
            self._out.append(self._websocket.ping(payload))

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Send a message that belongs to no turn, unchanged. Only in OPEN."""
        if self.state is ServerState.OPEN:
            self._out.append(self._websocket.text(write_json(event)))

    def send_text(self, text: str) -> None:
        """Send a text message, JSON or not. Only in OPEN."""
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
        """When :meth:`handle_deadline` must be called, in the clock of ``now``."""
        return self._deadline

    def handle_deadline(self, now: float) -> None:
        """Act on a deadline that has passed: the end of the lifetime, or of the wait for the peer's close frame."""
        if self._deadline is None or now < self._deadline:
            return
        if self.state is ServerState.OPEN:
            # This error means "not run" to each of the client's turns without an event (REPLAY.md, "Refusals").
            if not self._requests.any_silent:
                self.send_event(_LIMIT_REACHED.frame())
            self.expired = True
            self.close(now, 1000, "connection limit reached")
        else:
            self._end(ServerState.CLOSED)

    def _end(self, state: ServerState) -> None:
        self.state = state
        self._deadline = None
        self._body = None
        self._requests.cancel()

    # -- turns: out

    def next_request(self) -> ServerTurn | None:
        """The next turn that must run now. After receiving, and after a turn's end, call it until it returns None."""
        return self._requests.next()

    def in_flight(self) -> int:
        """How many turns are running."""
        return self._requests.running

    def waiting(self) -> int:
        """How many requests wait for their lane or for a slot."""
        return self._requests.waiting

    def _message(self, body: JsonBody, now: float) -> None:
        # P-CLIENT-7, P-EVENT-6.
        self.messages += 1
        try:
            message = body.value()
        except ValueError as exc:
            return self._complain("invalid_json", f"The message is not JSON that can be read: {str(exc)[:200]}.")
        if not isinstance(message, dict):
            return self._complain("invalid_type", "The message is not an object.")
        event = cast("dict[str, Any]", message)
        kind = event.pop("type", None)
        if kind == "response.create":
            return self._create(event, body, now)
        lane = event.get("stream_id")
        lane = lane if self._dialect.lanes and is_stream_id(lane) else None
        if not isinstance(kind, str):
            return self._complain("missing_required_parameter", "Missing required parameter: 'type'.", "type", lane)
        if kind == "response.steer" and self._dialect.steering:
            return self._steer(event, lane)
        if kind == "response.inject" and self._requests.may_inject:
            return self._inject(event, now)
        return self._complain("unsupported_event_type", f"Unsupported event type: '{kind[:100]}'.", "type", lane)

    def _complain(
        self,
        code: str,
        message: str,
        param: str | None = None,
        lane: str | None = None,
        request: dict[str, Any] | None = None,
    ) -> None:
        self._refuse(Problem(400, code, message, param), lane, request)

    def _refuse(self, problem: Problem, lane: str | None = None, request: dict[str, Any] | None = None) -> None:
        self.send_event(problem.frame(lane))
        self._requests.refused(RefusedRequest(number=self.messages, problem=problem, request=request, lane=lane))

    def _create(self, request: dict[str, Any], body: JsonBody, now: float) -> None:
        lane = request.pop("stream_id", None)
        if lane is not None and self._dialect.one_at_a_time:
            return self._complain("unknown_parameter", "Unknown parameter: 'stream_id'.", "stream_id", request=request)
        if not self._dialect.lanes:
            lane = None
        elif lane is not None and not is_stream_id(lane):
            wanted = "Invalid 'stream_id': expected 1-256 characters of A-Z, a-z, 0-9, '_', '-' and '.'."
            return self._complain("invalid_stream_id", wanted, "stream_id", request=request)
        try:
            self._requests.enter(request, lane, size=len(body.data), number=self.messages, facts=body.facts)
        except LaneLimitError:
            limit = f"At most {self.options.max_named_lanes} distinct stream ids are allowed on one connection."
            return self._complain("websocket_stream_limit_reached", limit, "stream_id", lane, request)
        excess = self._requests.excess()
        return None if excess is None else self.close(now, 1008, excess)

    # -- input for a running turn

    def _steer(self, event: dict[str, Any], lane: str | None) -> None:
        target, given = event.get("previous_response_id"), event.get("input")
        if not isinstance(target, str):
            message = "Missing required parameter: 'previous_response_id', the id of a response."
            return self._complain("missing_required_parameter", message, "previous_response_id", lane)
        relation, turn = self._requests.relation(target)
        items, code = steer_items(event), STEER_CODES[relation]
        if items is None:
            code = "invalid_input"
        elif turn is not None and may_be_steered(turn.request):
            if self._requests.steering.queue(turn, given, items):
                return None
            code = "too_many_pending_steers"
        return self._tell(turn, failed(target, given, code))

    def _inject(self, event: dict[str, Any], now: float) -> None:
        """Commit all items, or none (PROTOCOL.md, P-INJECT-3). What breaks the schema ends the connection."""
        problem = injection_problem(event, strict=self.options.strict)
        if problem is not None:
            return self._end_for(problem, now)
        target: str = event["response_id"]
        items: list[ItemDict] = event["input"]
        relation, turn = self._requests.relation(target)
        code: str | None = INJECT_CODES[relation]
        if turn is not None and turn.injectable:
            code = turn.injected.refuse()
            problem = turn.injected.unanswerable(items) if code is None and self.options.strict else None
            if problem is not None:
                return self._end_for(problem, now)
            if code is None:
                turn.emit({"type": "response.inject.created", "response_id": target})
                return turn.injected.take(items)
        error = {"code": code, "message": INJECT_MEANINGS[str(code)]}
        return self._tell(
            turn, {"type": "response.inject.failed", "error": error, "response_id": target, "input": items}
        )

    def _end_for(self, problem: Problem, now: float) -> None:
        """Refuse a message, and close the connection because of it."""
        self._refuse(problem)
        self.close(now, 1008, "the message breaks the protocol")

    def _tell(self, turn: ServerTurn | None, event: dict[str, Any]) -> None:
        """Send an event of a turn, if there is one."""
        if turn is not None:
            turn.emit(event)
        else:
            self.send_event({**event, "sequence_number": 0})


def _ignore(refused: RefusedRequest) -> None:
    """Nobody wants to know."""


def _answer_reason(item: CloseFrame | Violation) -> str:
    return item.reason if isinstance(item, Violation) else ""
