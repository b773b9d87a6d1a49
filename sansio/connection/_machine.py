"""The public class of a connection: what its owner calls. The theory of operation is at the top of the package.

The promise
    Each method is one step: it takes what happened and the time, and when it returns, the connection, its turns and its
    deadlines agree. A chunk of :meth:`ResponsesConnection.data_to_send` counts as handed to the transport when it is
    returned, because the owner writes it before it asks for the next. Nothing that the server sends raises an exception
    here: it ends turns, or the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from ..dialect import announced_dialect
from ..errors import TooManyTurnsError
from ..lanes import AnyLane
from ..replay import Cause, Phase
from ..timeouts import Timeouts
from ..upgrade import kept_after, kept_after_refusal, upgrade_headers
from ..websocket import Accepted, WebSocket
from ._inputs import TurnInput
from ._opening import Refused
from ._outbox import Outbox
from ._routing import Routing
from ._states import TRANSITIONS, Signal, State
from ._tables import turn_failure
from ._timing import Timing
from ._turn import Turn

__all__ = ["ResponsesConnection"]

NOT_READING: Final = (State.CONNECTING, State.CLOSED)
"""States in which incoming data is ignored."""


class ResponsesConnection(Routing, Timing):
    """One WebSocket to one endpoint, and the turns on it. See the top of the package.

    ``now`` is always monotonic seconds. ``random_bytes`` gives the handshake's nonce and the frames' masks.

    ``recover`` is called with every failure of a turn before the consumer can see it. If it returns True, it has taken
    the turn back, in the state that :meth:`Turn.unsent` leaves. If it returns False, the failure becomes visible. It
    must not call this connection (R-VISIBLE-1, R-VISIBLE-2).
    ``connect_by`` is when the attempt to open the connection ends, if that is earlier than ``connect_timeout`` allows.
    """

    # -- turns

    def create(
        self,
        payload: Mapping[str, Any],
        lane: AnyLane = None,
        *,
        timeouts: Timeouts | None = None,
        now: float,
    ) -> Turn:
        """Begin a turn: queue its message if its lane and a slot are free, else let it wait.

        Raises UserError and TypeError as :meth:`Turn.from_body` does, LaneLimitError for a 33rd lane name, and
        SessionClosedError if the connection takes no more turns.
        """
        turn = Turn.from_body(payload, lane=lane, timeouts=timeouts or self.options.turn_timeouts, now=now)
        self.submit(turn, now)
        return turn

    def submit(self, turn: Turn, now: float) -> None:
        """Take a turn that already exists. Raises as :meth:`create` does."""
        if not self.accepts_turns:
            state = State.DRAINING.value if self.draining else self.state.value
            raise self._takes_none(state)
        if self._lanes.waiting_count >= self.options.max_waiting:
            raise TooManyTurnsError(
                f"{self.options.max_waiting} turns wait for a lane already (max_waiting) — the turn was not sent — "
                "wait for some of them to end, or spread them over sessions"
            )
        too_large = turn.too_large(self.options.max_request_size)
        if too_large is not None:
            self._end(turn, turn_failure(turn.evidence(Cause.TOO_LARGE), too_large))
            return
        self._enter(turn, now)

    @property
    def waiting(self) -> int:
        """How many turns have not started."""
        return self._lanes.waiting_count

    def has_in_lane(self, lane: str | None) -> bool:
        """Whether a turn that named this lane, and that somebody wants, waits in it or runs in it."""
        turn = self._lanes.running.get(lane)
        if turn is not None and turn.wanted == lane and not turn.abandoned:
            return True
        return any(one.wanted == lane for one in self._lanes.waiting_in(lane))

    @property
    def slots(self) -> int:
        """How many turns may run at a time, by what is known of the server (P-LANES-8, P-DIALECT-3)."""
        return self._lanes.max_in_flight

    @property
    def names_used(self) -> int:
        """How many lane names were used on this connection."""
        return self._lanes.names_used

    def has_room_for(self, lane: AnyLane) -> bool:
        """Whether a turn of this lane may be given to this connection without exceeding its number of lane names."""
        return self._lanes.has_room_for(lane)

    @property
    def has_slow_consumer(self) -> bool:
        """Whether a turn has too many unread events; if so, the owner should pause reading."""
        most = self.options.high_water
        for turn in self._lanes.running.values():  # noqa: SIM110 - runs in every step, and any() takes three calls more
            if turn.buffered > most and not turn.abandoned:
                return True
        return False

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves the turn; see the table at the top of the package. After the turn's end it does
        nothing."""
        if not turn.ended:
            self._give_up(turn, Cause.CANCELLED, "the consumer left the turn before its terminal event", now)
        turn.discard()

    # -- the transport's side

    def transport_connected(self, now: float) -> None:
        """TCP, proxy and TLS are up: the upgrade request can be written. In any other state than CONNECTING it does
        nothing."""
        if self.state is not State.CONNECTING:
            return
        self._move(Signal.TRANSPORT_UP)
        self._keepalive.received(now)
        headers = upgrade_headers(self.endpoint, self.dialect, self.sticky)
        self._outbox.control(self._opening.request(self.endpoint, headers))

    def transport_failed(self, reason: str, now: float, error: BaseException | None = None) -> None:
        """The transport could not be opened, or it broke. Turns raise their failures with ``error`` as
        ``__cause__``."""
        self._process_all(now)
        what, make = self._transport_lost(reason, opening=self.state is State.CONNECTING)
        self._lost(Cause.TRANSPORT, what, now, make=make, error=error)

    def data_to_send(self, max_bytes: int = 65536, now: float | None = None) -> bytes:
        """At most ``max_bytes`` to write next; ``b""`` if there is nothing.

        Returned bytes count as handed over. Begin to write them before asking for more: ``final_byte_handed`` is exact
        only then (R-EVIDENCE-5). ``now`` starts the receive deadlines of the turns whose messages end in these bytes.
        """
        if self.state is State.WRITE_DISABLED:
            return b""
        data, ended = self._outbox.take(max_bytes, self._websocket)
        self.stats.bytes_out += len(data)
        unfinished = self._outbox.turn
        if isinstance(unfinished, Turn) and unfinished.abandoned and now is not None:
            unfinished.since = now  # The peer is reading: the send deadline starts again.
        for turn in ended:
            if isinstance(turn, TurnInput):
                self._handed(turn, now)
                continue
            turn.phase = Phase.AWAIT
            if now is not None:
                turn.since = now
            self.restart_deadline(turn)
        return data

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` would give something."""
        return bool(self._outbox) and self.state is not State.WRITE_DISABLED

    def receive_data(self, data: bytes, now: float) -> None:
        """Take data from the transport; ``b""`` is end of file. Never raises because of what the server sent.

        The work of one call is bounded (``sansio/websocket/``, "Bounded work"). After the call, check
        :attr:`has_unprocessed`.
        """
        if self._websocket is None or not data or self.is_closed:
            self._receive_otherwise(data, now)
            return
        keepalive = self._keepalive
        keepalive.last_received = now
        self.stats.bytes_in += len(data)
        self._receive_frames(self._websocket, data, now)
        if keepalive.ping_sent_at is not None:
            keepalive.received(now)
            self._alarm.announce()  # The next ping is due before the connection would have been given up.
            self.only_events = False
        if not self.only_events and self._lanes.waiting_count:
            self._start_turns(now)

    def _receive_otherwise(self, data: bytes, now: float) -> None:
        """Take data of the handshake, or the end of file."""
        if self.state in NOT_READING:
            return
        self._keepalive.last_received = now
        self.stats.bytes_in += len(data)
        if self._websocket is None:
            self._receive_handshake(data, now)
        else:
            self._process_all(now)
            self._lost(Cause.EOF, f"{self._where} ended the connection without a close frame", now)
        self.only_events = False

    @property
    def has_unprocessed(self) -> bool:
        """Whether the last call stopped before the end of the data.

        If so, let other tasks run, then call :meth:`process`. Do not read from the transport meanwhile.
        """
        return self._websocket is not None and self._websocket.pending and self.state is not State.CLOSED

    def process(self, now: float) -> None:
        """Process more of the data, as much as one :meth:`receive_data` does. Does nothing if nothing is left."""
        if self.has_unprocessed:
            self._receive_frames(cast("WebSocket", self._websocket), b"", now)
            self._start_turns(now)

    def _process_all(self, now: float) -> None:
        """Process all data that arrived before the end of file."""
        while self.has_unprocessed:
            self.process(now)

    # -- ending

    def close(self, now: float) -> None:
        """End the connection: with a closing handshake if no turn runs, else at once.

        Turns fail as CLIENT_CLOSED.
        """
        quiet = Signal.CLOSE in TRANSITIONS[self.state] and not self._lanes.running
        if quiet and self._websocket is not None:
            for turn in self.requeue_unstarted(now):
                self._fail(turn, turn.evidence(Cause.CLIENT_CLOSED), "the session was closed")
            self._move(Signal.CLOSE)
            self._close_by = now + self.options.close_timeout
            self._outbox.control(self._websocket.close(1000))
        elif self.state is not State.CLOSING:
            self._lost(Cause.CLIENT_CLOSED, "the session was closed", now)

    def close_without_waiting(self, now: float) -> None:
        """End a connection that no turn needs, so that another can be opened at once.

        A close frame (1000) is sent, but the peer's close frame is not waited for.
        """
        self._lost(Cause.CLIENT_CLOSED, "the connection was replaced", now, close_with=1000)
        self.failure = None

    # -- the handshake

    def _receive_handshake(self, data: bytes, now: float) -> None:
        answer = self._opening.receive(data, self.endpoint)
        if isinstance(answer, Accepted):
            self._accepted(answer, now)
        elif isinstance(answer, Refused):
            self.sticky = kept_after_refusal(self.sticky, answer.refusal.status if answer.refusal else None)
            self._lost(answer.cause, answer.what, now, make=answer.make, refusal=answer.refusal)
        elif answer is not None:
            self.endpoint = answer
            self._outbox = Outbox()  # The answer may come before the whole request was sent.
            self._move(Signal.REDIRECTED)

    def _accepted(self, answer: Accepted, now: float) -> None:
        self._websocket = websocket = self._opening.websocket(answer)
        dialect = announced_dialect(answer.headers)
        if dialect is not None and self.options.dialect is None:
            self._owners.adopt(dialect)
        self.sticky = kept_after(self.sticky, answer.headers, self.dialect)
        if self.rate_limits is not None:
            self.rate_limits.answered(answer.headers)
        self._move(Signal.ACCEPTED)
        self.opened_at = now
        self.stats.connections += 1
        for turn in self._lanes.waiting():
            turn.since = now  # From now on they wait for their lanes.
            self._deadlines.watch(turn)
        self._start_turns(now)
        if answer.trailing:
            self._receive_frames(websocket, answer.trailing, now)
