"""The machine itself. The theory of operation is at the top of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from os import urandom
from typing import Any, Final, cast

from ..deadlines import Deadlines
from ..dialect import LaneSupport, announced_dialect, dialect_of_host
from ..errors import (
    ConnectError,
    EventDecodeError,
    HandshakeRejectedError,
    ResponsesWebSocketError,
    SessionClosedError,
    TooManyTurnsError,
    TurnError,
)
from ..events import (
    ErrorEvent,
    LifecycleEvent,
    OutputItemEvent,
    ResponseInProgressEvent,
    ResponseQueuedEvent,
    Role,
    ServerEvent,
    decode_event,
)
from ..lanes import Lanes
from ..replay import Cause, Evidence, Phase, Refusal
from ..request import Endpoint, Timeouts
from ..websocket import Accepted, ClientHandshake, Close, Ping, Rejected, Violation, WebSocket
from ._owners import Owners, Whose
from ._pulse import Pulse
from ._tables import (
    CONNECTION_LIMIT,
    MAX_REDIRECTS,
    NO_WEBSOCKET,
    PROTOCOL_ERROR,
    REDIRECTS,
    SMALL_MESSAGE,
    TOO_BIG,
    TRANSITIONS,
    WAIT_NAMES,
    WAITING_PHASE,
    ConnectionOptions,
    ErrorFactory,
    Signal,
    State,
    Stats,
    limit_exceeded,
    refusal_in_answer,
    refusal_in_event,
    turn_failure,
)
from ._turn import EVENT_COST, Outbox, Turn

RESPONSE_ID: Final = b'"response_id"'
"""In the beginning of an event that streams, it makes the event one to look at: it may speak of another response."""

UNDERWAY: Final = (ResponseInProgressEvent, ResponseQueuedEvent)
"""A response that has ended is neither again: with its id, they may speak of another one that was given the same id."""

WHITESPACE: Final = b" \t\r\n\xef\xbb\xbf"
"""What may stand before a JSON text: white space, and the byte order mark that it should not have."""


class ResponsesConnection:
    """One WebSocket to one endpoint, and the turns on it. See the top of this room.

    ``now`` is always monotonic seconds; ``random_bytes`` gives the handshake's nonce and the frames' masks.

    ``recover`` is asked about every failure of a turn, before anybody can see it. Returning True, it takes the turn
    away, as :meth:`Turn.unsent` leaves it; returning False, it lets the failure become visible. It must not call this
    connection (REPLAY.md, "A failure becomes visible when recovery has been decided"). ``connect_by`` is when opening
    it is given up, if that is earlier than ``connect_timeout`` says.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        options: ConnectionOptions | None = None,
        now: float,
        random_bytes: Callable[[int], bytes] = urandom,
        stats: Stats | None = None,
        recover: Callable[[Turn, TurnError], bool] | None = None,
        connect_by: float | None = None,
    ) -> None:
        self.endpoint = endpoint
        """Where to connect to; a redirect within the origin changes it."""
        self.options = options or ConnectionOptions()
        self.state = State.CONNECTING
        self.draining = False
        """No turn may start here any more; :meth:`evict_waiting` gives back those that wait. The server announced its
        end, or it cannot be written to any more, or the session is to replace it."""
        self.stats = stats or Stats()
        self.opened_at: float | None = None
        self._random_bytes = random_bytes
        self._redirects = 0
        self._handshake: ClientHandshake | None = None
        self._websocket: WebSocket | None = None
        self._lanes: Lanes[Turn] = Lanes(
            max_in_flight=self.options.max_in_flight, max_named=self.options.max_named_lanes
        )
        dialect = self.options.dialect or dialect_of_host(endpoint.host)
        self._message_limit = dialect.message_limit
        self._owners = Owners(self._lanes, dialect, self.options.max_in_flight, self.options.max_named_lanes)
        self._outbox = Outbox()
        self._muted = False
        self._spoken = False
        """The server has sent a message."""
        self._ending = False
        """The server announced the connection's end: what was not begun goes elsewhere."""
        self._unchecked = 0
        """Bytes that turns were given to hold since they were last counted together."""
        self._since = now
        """When the opening, or the closing, began."""
        self._connect_by = connect_by
        self._pulse = Pulse(self.options, now)
        self._deadlines: Deadlines[Turn] = Deadlines(self._deadline_of)
        """Of the turns that are in the lanes."""
        self._stuck: set[Turn] = set()
        """Turns that run without an end in sight: abandoned, and their deadlines have passed."""
        self._recover = recover
        self._failure: TurnError | None = None

    # -- turns

    def create(
        self,
        payload: Mapping[str, Any],
        lane: str | None = None,
        *,
        timeouts: Timeouts | None = None,
        now: float,
    ) -> Turn:
        """Begin a turn: frame it if its lane and a slot are free, keep it waiting otherwise.

        Raises UserError and TypeError as :meth:`Turn.from_body` does, LaneLimitError for a 33rd name, and
        SessionClosedError if the connection takes no turns any more.
        """
        turn = Turn.from_body(payload, lane=lane, timeouts=timeouts or self.options.turn_timeouts, now=now)
        self.submit(turn, now)
        return turn

    def submit(self, turn: Turn, now: float) -> None:
        """Take a turn that was made already. Raises as :meth:`create` does."""
        if not self.accepts_turns:
            state = "draining" if self.draining else self.state.value
            raise SessionClosedError(
                f"this connection is {state} and takes no turns — the turn was not sent — open a new connection"
            )
        if self._lanes.waiting_count >= self.options.max_waiting:
            raise TooManyTurnsError(
                f"{self.options.max_waiting} turns wait for a lane already (max_waiting) — the turn was not sent — "
                "wait for some of them to end, or spread them over sessions"
            )
        too_large = turn.too_large(self.options.max_request_size)
        if too_large is not None:
            self._end(turn, turn_failure(turn.evidence(Cause.TOO_LARGE), too_large))
            return
        self._lanes.enter(turn, turn.lane)
        turn.connection = self
        turn.since = now
        self._deadlines.watch(turn)
        self._start_turns(now)
        self._drain_if_blocked((turn,))

    @property
    def waiting_phase(self) -> Phase:
        """The phase of a turn that has not started here."""
        return WAITING_PHASE[self.state]

    @property
    def is_open(self) -> bool:
        """Whether bytes go both ways: the upgrade was accepted, and the connection is not closed."""
        return self.state is State.OPEN or self.state is State.CLOSING

    @property
    def accepts_turns(self) -> bool:
        """Whether a new turn may be given to this connection."""
        return not self.draining and self.state in (State.CONNECTING, State.HANDSHAKING, State.OPEN)

    @property
    def in_flight(self) -> int:
        """Turns whose messages were framed and whose lanes are busy, abandoned ones included."""
        return len(self._lanes.running)

    @property
    def idle(self) -> bool:
        """No turn needs this connection: none waits, and all that run were abandoned."""
        return not self._live_count

    @property
    def _live_count(self) -> int:
        """How many turns somebody wants: running and not abandoned, or waiting."""
        return self._lanes.waiting_count + sum(not turn.abandoned for turn in self._lanes.running.values())

    @property
    def lagging(self) -> bool:
        """A consumer has fallen behind: whoever reads ahead of need should pause."""
        return any(
            turn.buffered > self.options.high_water and not turn.abandoned for turn in self._lanes.running.values()
        )

    @property
    def failure(self) -> TurnError | None:
        """Why the connection ended, as a turn that had waited for it would see it; None while it lives, and if it was
        retired."""
        return self._failure

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves the turn; see the table at the top of this room. After its end this does nothing."""
        if not turn.ended:
            self._give_up(turn, Cause.CANCELLED, "the consumer left the turn before its terminal event", now)
        turn.discard()

    # -- the transport's side

    def transport_connected(self, now: float) -> None:
        """TCP, proxy and TLS are up: the upgrade request is ready to be written. Too late, it changes nothing."""
        if self.state is not State.CONNECTING:
            return
        self._move(Signal.TRANSPORT_UP, now)
        self._pulse.beat(now)
        self._handshake = ClientHandshake(
            self.endpoint.authority,
            self.endpoint.target,
            self.endpoint.headers,
            compression=self.options.compression,
            random_bytes=self._random_bytes,
        )
        self._outbox.control(self._handshake.request())

    def transport_failed(self, reason: str, now: float, error: BaseException | None = None) -> None:
        """The transport could not be opened, or broke. ``error`` becomes the ``__cause__`` of what turns raise."""
        self._process_all(now)
        if self.state is State.CONNECTING:
            what = f"could not connect to {self._where()}: {reason}"
            self._lost(Cause.TRANSPORT, what, now, make=lambda e, text: ConnectError(text, evidence=e), error=error)
        else:
            self._lost(Cause.TRANSPORT, f"the connection to {self._where()} broke: {reason}", now, error=error)

    def data_to_send(self, max_bytes: int = 65536, now: float | None = None) -> bytes:
        """At most ``max_bytes`` to write next; ``b""`` if there is nothing.

        Taking bytes marks them handed. Begin to write them before asking for more: the exactness of
        ``final_byte_handed`` rests on it. ``now`` starts the receive deadlines of the turns whose messages end here.
        """
        if self._muted:
            return b""
        data, ended = self._outbox.take(max_bytes, self._websocket)
        self.stats.bytes_out += len(data)
        for turn in ended:
            turn.phase = Phase.AWAIT
            if now is not None:
                turn.since = now
            self._deadlines.watch(turn)
        return data

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` would give something."""
        return bool(self._outbox) and not self._muted

    @property
    def bytes_to_send(self) -> int:
        """How much :meth:`data_to_send` would give, but for the frames' heads and for compression."""
        return 0 if self._muted else self._outbox.size

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what arrived from the transport; ``b""`` is end of file. Never raises on what the server sent.

        The work of one call is bounded (``sansio/websocket.py``, "Bounded work"): afterwards, look at
        :attr:`has_unprocessed`.
        """
        if self.state in (State.CONNECTING, State.CLOSED):
            return
        self._pulse.beat(now)
        self.stats.bytes_in += len(data)
        if self._websocket is None:
            self._receive_handshake(cast("ClientHandshake", self._handshake), data, now)
        elif data:
            self._receive_frames(self._websocket, data, now)
            self._start_turns(now)
        else:
            self._process_all(now)
            self._lost(Cause.EOF, f"{self._where()} ended the connection without a close frame", now)

    @property
    def has_unprocessed(self) -> bool:
        """Whether the last call stopped before the end of what arrived.

        Then let others run and call :meth:`process`, and read nothing from the transport meanwhile.
        """
        return self._websocket is not None and self._websocket.pending and self.state is not State.CLOSED

    def process(self, now: float) -> None:
        """Go on with what arrived: as much work as one :meth:`receive_data` does. Nothing is left: does nothing."""
        if self.has_unprocessed:
            self._receive_frames(cast("WebSocket", self._websocket), b"", now)
            self._start_turns(now)

    def _process_all(self, now: float) -> None:
        """What arrived before the end counts, whole."""
        while self.has_unprocessed:
            self.process(now)

    # -- deadlines

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` wants to be called, in the same seconds as ``now``; None: not at all.

        A deadline that has passed still allows a look at what arrived meanwhile: read first, then handle it.
        """
        moments = [moment for moment, _ in self._own_deadlines()]
        if (earliest := self._deadlines.next()) is not None:
            moments.append(earliest)
        return min(moments, default=None)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that has passed."""
        # Each of them closes the connection, but for the ping, which sets another: this ends.
        while due := [entry for entry in self._own_deadlines() if entry[0] <= now]:
            min(due, key=lambda entry: entry[0])[1](now)
        for turn in self._deadlines.due(now):
            self._expired(turn, now)

    def watch(self, turn: Turn) -> None:
        """One of its turns may have an earlier deadline than before. For :class:`Turn`."""
        if not turn.ended:
            self._deadlines.watch(turn)

    def _deadline_of(self, turn: Turn) -> float | None:
        """When a turn in the lanes has to be given up; an abandoned one, when its lane has."""
        if turn.connection is not self or turn in self._stuck:
            return None
        moment = turn.wait_deadline() if turn.abandoned else turn.deadline()
        stall = self._stall_of(turn)
        return moment if stall is None else stall if moment is None else min(moment, stall)

    def _stall_of(self, turn: Turn) -> float | None:
        """When the silence about one turn is too long, where a pong is no sign that the turn lives."""
        limit = self._pulse.stall_of_turns
        if limit is None or turn.phase < Phase.AWAIT or (turn.events and not turn.abandoned):
            return None
        return turn.since + limit

    def _expired(self, turn: Turn, now: float) -> None:
        """A deadline of this turn has passed. If the server may still run it, its lane is not to be counted on."""
        moment, total = turn.deadline(), turn.total_deadline()
        if turn.abandoned:
            pass
        elif moment is None or moment > now:
            self._stalled_turn(turn, now)
        else:
            name = "total" if total is not None and total <= now else WAIT_NAMES[turn.current_phase]
            self._give_up(turn, Cause.TIMEOUT, f"the {name} deadline passed", now)
        if turn.abandoned and self.state is State.OPEN:
            self._stuck.add(turn)
            self._drain_if_blocked(self._lanes.waiting())

    def _stalled_turn(self, turn: Turn, now: float) -> None:
        what = f"no event of the turn arrived from {self._where()} for {now - turn.since:.1f} seconds"
        if self._live_count == 1:
            self._lost(Cause.STALLED, what, now)
        else:
            self._give_up(turn, Cause.STALLED, what, now)

    def _drain_if_blocked(self, suspects: Iterable[Turn]) -> None:
        """If one of these turns, or any, waits for one without an end in sight, it needs another connection."""
        if self._stuck and self._lanes.waiting_count:
            lanes = {turn.lane for turn in self._stuck}
            all_are = len(self._stuck) == len(self._lanes.running)
            self.draining = self.draining or all_are or any(turn.lane in lanes for turn in suspects)

    @property
    def connect_deadline(self) -> float | None:
        """When opening the connection is given up, whatever the turns that wait for it say."""
        limit = self.options.connect_timeout
        own = inf if limit is None else self._since + limit
        earliest = own if self._connect_by is None else min(own, self._connect_by)
        return None if earliest == inf else earliest

    def _own_deadlines(self) -> Iterator[tuple[float, Callable[[float], None]]]:
        if self.state in (State.CONNECTING, State.HANDSHAKING):
            if self.connect_deadline is not None:
                yield self.connect_deadline, self._connect_expired
        elif self.state is State.CLOSING:
            yield self._since + self.options.close_timeout, self.abort
        elif self.state is State.OPEN:
            for moment, asks in self._pulse.deadlines(busy=bool(self._lanes.running)):
                yield moment, self._send_ping if asks else self._stalled

    def _connect_expired(self, now: float) -> None:
        what = f"no connection to {self._where()} within {now - self._since:.3g} seconds"
        self._lost(Cause.TIMEOUT, what, now)

    def _stalled(self, now: float) -> None:
        quiet = now - self._pulse.heard
        self._lost(Cause.STALLED, f"nothing arrived from {self._where()} for {quiet:.1f} seconds", now)

    def probe(self, now: float, unread: Callable[[], bool] | None = None, *, attended: bool = False) -> None:
        """Before a turn begins: what has arrived is read first, and the connection is trusted only if it lives.

        ``unread`` tells whether something has arrived that nobody has read: it may be the connection's end, and what it
        says, it says of no turn (PROTOCOL.md, "What starts, what ends"). Unless it was ``attended``, that is, somebody
        reads whatever comes, a turn is also kept until a sign of life if there was none for ``probe_after``.
        """

        def waiting() -> bool:
            return self.has_unprocessed or (unread is not None and unread())

        if self.state is State.OPEN and not self._lanes.running and self._pulse.doubt(now, waiting, attended=attended):
            self._send_ping(now)

    def _send_ping(self, now: float) -> None:
        self._pulse.asked = now
        if not self._muted:  # A muted one cannot ask: there, silence must do.
            self._outbox.control(cast("WebSocket", self._websocket).ping())

    # -- ending

    def close(self, now: float) -> None:
        """End the connection: politely when no turn is in flight, at once otherwise. Turns fail as CLIENT_CLOSED."""
        polite = self.state is State.OPEN and not self._lanes.running and not self._muted
        if polite and self._websocket is not None:
            for turn in self.evict_waiting(now):
                self._fail(turn, Cause.CLIENT_CLOSED, "the session was closed")
            self._move(Signal.CLOSE, now)
            self._outbox.control(self._websocket.close(1000))
        elif self.state is not State.CLOSING:
            self._lost(Cause.CLIENT_CLOSED, "the session was closed", now)

    def retire(self, now: float) -> None:
        """End the connection, which no turn needs, so that another can be opened at once.

        The server is told (1000), but its half of the closing handshake is not waited for.
        """
        self._lost(Cause.CLIENT_CLOSED, "the connection was replaced", now, farewell=1000)
        self._failure = None

    def abort(self, now: float) -> None:
        """End the connection at once, without a closing handshake."""
        self._lost(Cause.CLIENT_CLOSED, "the connection was aborted", now)

    # -- inside: the handshake

    def _receive_handshake(self, handshake: ClientHandshake, data: bytes, now: float) -> None:
        answer = handshake.receive(data)
        if isinstance(answer, Accepted):
            self._websocket = WebSocket(
                client=True,
                extensions=answer.extensions,
                max_message_size=self.options.max_message_size,
                random_bytes=self._random_bytes,
            )
            dialect = announced_dialect(answer.headers)
            if dialect is not None and self.options.dialect is None:
                self._message_limit = dialect.message_limit
                self._owners.adopt(dialect)
            self._move(Signal.ACCEPTED, now)
            self.opened_at = now
            self.stats.connections += 1
            for turn in self._lanes.waiting():
                turn.since = now  # From here on they wait for their lanes.
                self._deadlines.watch(turn)
            self._start_turns(now)
            if answer.trailing:
                self._receive_frames(self._websocket, answer.trailing, now)
        elif isinstance(answer, Rejected):
            self._rejected(answer, now)
        elif answer is not None:
            self._lost(Cause.PROTOCOL, f"{self._where()} is no WebSocket server: {answer.reason}", now)
        elif not data:
            self._lost(Cause.EOF, f"{self._where()} ended the connection instead of answering the upgrade", now)

    def _rejected(self, answer: Rejected, now: float) -> None:
        location = answer.headers.get("location")
        hint = ""
        if answer.status in REDIRECTS and location is not None:
            endpoint = self.endpoint.redirected(location)
            if endpoint is not None and self._redirects < MAX_REDIRECTS:
                self._redirects += 1
                self.endpoint = endpoint
                self._outbox = Outbox()  # An answer may come before the whole of the request has gone.
                self._move(Signal.REDIRECTED, now)
                return
            hint = (
                " (a redirect to another origin, which is not followed: the credentials would leave this one)"
                if endpoint is None
                else f" (more than {MAX_REDIRECTS} redirects)"
            )
        elif answer.status in NO_WEBSOCKET:
            hint = " (there is no WebSocket mode at this URL)"
        refusal = refusal_in_answer(answer)
        said = f": {refusal.message}" if refusal.message else ""
        what = f"{self._where()} rejected the WebSocket handshake with HTTP status {answer.status}{said}{hint}"

        def make(evidence: Evidence, text: str) -> TurnError:
            return HandshakeRejectedError(
                text, evidence=evidence, status=answer.status, headers=answer.headers, body=answer.body
            )

        self._lost(Cause.REJECTED, what, now, make=make, refusal=refusal)

    # -- inside: the open connection

    def _receive_frames(self, websocket: WebSocket, data: bytes, now: float) -> None:
        """Hand each message to its turn. Hot path: runs once per received event."""
        running = self._lanes.running
        streaming, limit = Phase.STREAM, self.options.max_buffered
        only, late = self._owners.only, self._owners.late_items
        events = held = 0
        for item in websocket.receive(data):
            if type(item) is bytes:
                try:
                    event = decode_event(item)
                except EventDecodeError:
                    self._skip(item)
                    continue
                events += 1
                turn = running.get(event.stream_id, only)
                if (
                    turn is None
                    or turn.phase is not streaming
                    or event.routed
                    or item.find(RESPONSE_ID, 0, 512) > 0
                    or (late and getattr(event, "item_id", None) in late)
                ):
                    self._route(event, now)
                    only, late = self._owners.only, self._owners.late_items
                elif turn.abandoned:
                    turn.since = now
                    self.stats.orphans += 1
                else:
                    cost = len(item) + EVENT_COST
                    turn.events.append(event)
                    turn.last = event
                    turn.buffered += cost
                    held += cost
                    turn.since = now
                    if turn.listener is not None:
                        turn.tell()
                    if turn.buffered <= limit:
                        continue  # Nothing here can have closed the connection.
                    self._overflowed(turn, now)
            elif isinstance(item, Ping):
                self._outbox.pong(websocket.pong(item.payload))
            elif isinstance(item, Close):
                self._peer_closed(item, now)
            elif isinstance(item, Violation):
                self._violated(item.code, item.reason, now)
            if self.state is State.CLOSED:
                break
        self.stats.events += events
        self._unchecked += held
        if self._unchecked > self.options.max_buffered_total >> 6:
            self._check_all(now)

    def _skip(self, text: bytes) -> None:
        """A text that is no JSON object ends nothing (PROTOCOL.md, "What a field may look like").

        One that begins like an object may have been an event, though: a refusal that follows it proves nothing.
        """
        self.stats.skipped += 1
        if text.lstrip(WHITESPACE).startswith(b"{"):
            self._doubt_refusals()

    def _doubt_refusals(self) -> None:
        """Something came that may have been the beginning of any response that is awaited."""
        for turn in self._lanes.running.values():
            if turn.phase is Phase.AWAIT:
                turn.unknown_event = True

    def _route(self, event: ServerEvent, now: float) -> None:
        """What is not simply the next event of a turn that streams (PROTOCOL.md, "What starts, what ends")."""
        first, self._spoken = not self._spoken, True
        if isinstance(event, ErrorEvent):
            self._error_event(event, now, first=first)
            return
        turn = self._owners.owner(event)
        if turn is None:
            self._orphan(event, now)
            return
        role = event.role
        if turn.phase is Phase.AWAIT:
            if role is Role.RESPONSE:
                self._begin(turn, event)
            elif role is Role.OUTCOME:  # It answers a steer of the response before.
                self.stats.orphans += 1
                return
            elif role is Role.UNKNOWN:
                turn.unknown_event = True
        if isinstance(event, LifecycleEvent) and role is Role.RESPONSE:
            turn.note_response(event)
        elif isinstance(event, OutputItemEvent):
            turn.note_item(event)
        if turn.abandoned:
            turn.since = now
            self.stats.orphans += 1
        else:
            self._unchecked += turn.deliver(event, now)
        if event.ends_turn and isinstance(event, LifecycleEvent):
            if not turn.abandoned:
                turn.finish(event)
                self.stats.completed += 1
            self._owners.ended(turn)
            self._free_lane(turn, now)
        elif turn.buffered > self.options.max_buffered and not turn.abandoned:
            self._overflowed(turn, now)

    def _begin(self, turn: Turn, event: ServerEvent) -> None:
        """The turn's response has begun."""
        self._owners.begins(turn, event)
        turn.phase = Phase.STREAM
        turn.message = b""

    def _orphan(self, event: ServerEvent, now: float) -> None:
        """The event belongs to no turn: nobody awaits, or what it speaks of has ended, or it cannot be told."""
        self.stats.orphans += 1
        if self._owners.contradicts(event):
            reason = "it began a response without naming its stream_id, though several turns are in flight: no lanes"
            self._violated(PROTOCOL_ERROR, reason, now)
        elif event.role in (Role.RESPONSE, Role.UNKNOWN) and (
            isinstance(event, UNDERWAY) or not self._owners.is_late(event)
        ):
            self._doubt_refusals()

    def _error_event(self, event: ErrorEvent, now: float, *, first: bool) -> None:
        """An error ends what it belongs to (PROTOCOL.md, "Whose error it is")."""
        limit = event.code == CONNECTION_LIMIT
        if limit:
            self.draining = self._ending = True
        of_all = event.stream_id is None and first and _is_unauthorized(event)
        awaited = any(turn.phase is Phase.AWAIT for turn in self._lanes.running.values())
        of_connection = of_all or (limit and awaited and event.stream_id is None)
        whose = Whose.CONNECTION if of_connection else self._owners.owner_of_error(event)
        if isinstance(whose, Turn):
            self._refuse(whose, event, now)
        elif whose is Whose.NOBODY:
            self.stats.orphans += 1
        else:
            self._refuse_connection(event, now, of_all=of_all)

    def _refuse(self, turn: Turn, event: ErrorEvent, now: float) -> None:
        """The error is this turn's."""
        if event.type == "response.error":
            turn.phase = Phase.STREAM
        if turn.phase is Phase.STREAM:
            self._owners.ended(turn)
        if not turn.abandoned:
            self._fail_by(turn, event, of_connection=False)
        self._free_lane(turn, now)

    def _refuse_connection(self, event: ErrorEvent, now: float, *, of_all: bool) -> None:
        """The error is the connection's: turns that have begun may go on, the others fail with it.

        ``of_all``: what it says, it says of every one of them. So it does, at the end of the connection's life, if only
        one awaits its response; those that were not begun go on elsewhere then.
        """
        self.draining = True
        awaiting = [turn for turn in self._owners.in_flight() if turn.phase is Phase.AWAIT]
        limit = event.code == CONNECTION_LIMIT
        of_all = of_all or (limit and len(awaiting) == 1)
        for turn in awaiting if limit else self._live_turns():
            if turn.phase < Phase.STREAM:
                if not turn.abandoned:
                    self._fail_by(turn, event, of_connection=not of_all)
                self._withdraw(turn, now)

    def _fail_by(self, turn: Turn, event: ErrorEvent, *, of_connection: bool) -> None:
        def make(evidence: Evidence, text: str) -> TurnError:
            return ResponsesWebSocketError(event.payload, evidence=evidence, meaning=text)

        refusal = refusal_in_event(event, of_connection=of_connection)
        self._fail(turn, Cause.ERROR_FRAME, "", make=make, refusal=refusal)

    def _overflowed(self, turn: Turn, now: float) -> None:
        what = f"more than {self.options.max_buffered} bytes of its events were left unread (max_buffered)"
        self._give_up(turn, Cause.PROTOCOL, what, now, make=limit_exceeded)

    def _check_all(self, now: float) -> None:
        """The turns that run may hold so much together. What ended turns hold is their callers' to read or to leave."""
        self._unchecked = 0
        most = self.options.max_buffered_total
        live = [turn for turn in self._lanes.running.values() if not turn.abandoned]
        if sum(turn.buffered for turn in live) > most:
            what = f"more than {most} bytes of events were left unread (max_buffered_total), most of them of this turn"
            largest = max(live, key=lambda turn: turn.buffered)
            self._give_up(largest, Cause.PROTOCOL, what, now, make=limit_exceeded)

    def _peer_closed(self, item: Close, now: float) -> None:
        said = f" ({item.reason})" if item.reason else ""
        what = f"{self._where()} closed the connection with code {item.code}{said}"
        blame = self._blame_for_size() if item.code == TOO_BIG else None
        self._lost(Cause.PEER_CLOSED, what, now, close_code=item.code, farewell=item.code, blame=blame)

    def _blame_for_size(self) -> dict[Turn, tuple[bool | None, str]]:
        """Of each turn whose message may have been too big: whether it was, and in words (REPLAY.md, "Whose 1009")."""
        running = self._lanes.running.values()
        candidates = [turn for turn in running if turn.phase is Phase.AWAIT or self._outbox.begun(turn)]
        blame: dict[Turn, tuple[bool | None, str]] = {}
        for turn in candidates:
            size, being_handed = len(turn.message), turn.phase is Phase.SEND
            if len(candidates) > 1:
                blame[turn] = False, f" (one of {len(candidates)} messages was too big; this one has {size} bytes)"
            elif being_handed and size < SMALL_MESSAGE:
                blame[turn] = None, ""
            else:
                certain = being_handed or size > self._message_limit
                limit = f"; the server's limit is {self._message_limit}" if size > self._message_limit else ""
                blame[turn] = certain, f" (a message was too big: this one has {size} bytes{limit})"
        return blame

    def _violated(self, code: int, reason: str, now: float, error: Exception | None = None) -> None:
        """The server cannot be understood any more: tell it so, and give the connection up."""
        make = limit_exceeded if code == TOO_BIG else None
        what = f"{self._where()} broke the protocol: {reason}"
        self._lost(Cause.PROTOCOL, what, now, make=make, error=error, farewell=code)

    # -- inside: turns

    def _start_turns(self, now: float) -> None:
        """Queue the messages of the turns that may go."""
        while self.state is State.OPEN and not (self.draining or self._pulse.proving):
            turn = self._lanes.start()
            if turn is None:
                return
            turn.phase = Phase.SEND
            turn.since = now
            turn.named = self._owners.support is not LaneSupport.NO
            self.stats.turns += 1
            self._deadlines.watch(turn)
            self._outbox.message(turn)

    def _live_turns(self) -> list[Turn]:
        """The turns that somebody wants: running and not abandoned, or waiting."""
        running = [turn for turn in self._lanes.running.values() if not turn.abandoned]
        return [*running, *self._lanes.waiting()]

    def evict_waiting(self, now: float) -> list[Turn]:
        """Take back the turns that have not started, in order: another connection will run them. For the session.

        Also those whose messages are queued, and not begun, if nothing can be sent or the server has announced the
        connection's end.
        """
        running = self._lanes.running.values()
        stuck = [
            turn
            for turn in running
            if turn.phase is Phase.SEND and (self._muted or (self._ending and not self._outbox.begun(turn)))
        ]
        evicted = [*stuck, *self._lanes.waiting()]
        for turn in evicted:
            self._lanes.leave(turn, turn.lane)
            self._deadlines.drop(turn)
            self._outbox.remove(turn)
            turn.unsent()
        self._end_if_useless(now)
        return evicted

    def _free_lane(self, turn: Turn, now: float) -> None:
        """The turn is over: the next one in its lane may go."""
        self._lanes.leave(turn, turn.lane)
        self._deadlines.drop(turn)
        self._stuck.discard(turn)
        self._start_turns(now)
        self._drain_if_blocked(())
        self._end_if_useless(now)

    def _end_if_useless(self, now: float) -> None:
        """A muted connection is of use only to the turns that stream on it."""
        if self._muted and self.idle:
            self._lost(Cause.TRANSPORT, "the connection could not be written to any more", now)

    def _withdraw(self, turn: Turn, now: float) -> None:
        """Take a failed turn that must not go any further out of lanes and outbox."""
        if self._outbox.begun(turn):
            self._muted = self.draining = True
        self._outbox.remove(turn)
        self._free_lane(turn, now)

    def _give_up(
        self,
        turn: Turn,
        cause: Cause,
        what: str,
        now: float,
        *,
        make: ErrorFactory | None = None,
        error: BaseException | None = None,
    ) -> None:
        """End one turn from this side while the connection lives: no such failure is recovered from."""
        alone = self._live_count == 1
        in_the_middle = self._outbox.begun(turn)
        if in_the_middle and cause is Cause.CANCELLED and not alone:
            # The rest will be handed, so that the others can go on using the connection: judge it as handed.
            turn.phase = Phase.AWAIT
            self._end(turn, turn_failure(turn.evidence(cause), what, make, error))
            turn.phase = Phase.SEND
        else:
            self._end(turn, turn_failure(turn.evidence(cause), what, make, error))
        if turn.phase >= Phase.AWAIT or (in_the_middle and cause is Cause.CANCELLED):
            turn.abandoned = True
            self._deadlines.watch(turn)
            if alone:
                self._lost(Cause.CANCELLED, "no turn needed the connection any more", now)
        else:
            self._withdraw(turn, now)

    def _fail(
        self,
        turn: Turn,
        cause: Cause,
        what: str,
        *,
        make: ErrorFactory | None = None,
        refusal: Refusal | None = None,
        close_code: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        failure = turn_failure(turn.evidence(cause, close_code=close_code, refusal=refusal), what, make, error)
        if self._recover is None or not self._recover(turn, failure):
            self._end(turn, failure)

    def _end(self, turn: Turn, failure: TurnError) -> None:
        """The failure becomes visible, and is final."""
        turn.fail(failure)
        self.stats.failed += 1

    def _lost(
        self,
        cause: Cause,
        what: str,
        now: float,
        *,
        make: ErrorFactory | None = None,
        refusal: Refusal | None = None,
        close_code: int | None = None,
        error: BaseException | None = None,
        farewell: int | None = None,
        blame: Mapping[Turn, tuple[bool | None, str]] | None = None,
    ) -> None:
        """The connection is over: every turn on it gets the verdict of its own evidence.

        ``farewell`` is the code of a close frame that is worth a last write, unless a message was cut in the middle, or
        a close frame has gone already. ``blame`` is what :meth:`_blame_for_size` says.
        """
        if self.state is State.CLOSED:
            return
        nobody = Turn(b"", lane=None, stateful=False, timeouts=Timeouts(), now=now)
        nobody.connection = self
        self._failure = turn_failure(nobody.evidence(cause, close_code=close_code, refusal=refusal), what, make, error)
        for turn in [*self._lanes.running.values(), *self._lanes.waiting()]:
            if not turn.abandoned:
                if blame is not None and turn.phase is Phase.SEND and turn not in blame:
                    turn.phase = Phase.LANE_WAIT  # Not a byte of it was handed: it is about others.
                turn.too_big, note = (blame or {}).get(turn, (None, ""))
                text = what + note
                self._fail(turn, cause, text, make=make, refusal=refusal, close_code=close_code, error=error)
            elif turn.phase is Phase.SEND:
                # Judged as handed when it was abandoned; now its last byte never will be.
                turn.fail(turn_failure(turn.evidence(Cause.CANCELLED), what, None, error))
        self._lanes.clear()
        self._deadlines.clear()
        self._stuck.clear()
        polite = self.state is State.OPEN and not self._outbox.mid_frame
        self._outbox = Outbox()
        self._muted = False
        self._move(Signal.LOST, now)
        if polite and farewell is not None and self._websocket is not None:
            self._outbox.control(self._websocket.close(farewell))

    def _move(self, signal: Signal, now: float) -> None:
        self.state = TRANSITIONS[self.state][signal]
        if signal is Signal.CLOSE:
            self._since = now

    def _where(self) -> str:
        """The endpoint in words; never with its query or headers, which may hold secrets."""
        return self.endpoint.authority


def _is_unauthorized(event: ErrorEvent) -> bool:
    """Whether it refuses the credentials, which all turns of a connection share."""
    return event.status in (401, 403) or event.code == "invalid_api_key"
