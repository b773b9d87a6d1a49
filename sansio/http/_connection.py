"""The public class of an HTTP connection: what its owner calls. The package says how it works.

The promise
    It has the methods of a :class:`~turnwire.sansio.connection.ResponsesConnection`, with the same meaning, so that the
    driver treats both alike. It has one slot, no lanes, and no memory of responses. Each method is one step; after it
    the state, the turn and the deadlines agree. To leave a turn of which anything was handed ends the connection.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, cast

from ..connection import Turn
from ..connection._common import passed_deadline
from ..lanes import AnyLane
from ..replay import Cause, Phase
from ._compaction import Compaction
from ._document import body_of
from ._exchange import Exchange, Request
from ._reading import Reading
from ._retrieval import Retrieval
from ._states import HttpSignal, HttpState

__all__ = ["HttpConnection"]

EXPANSION: Final = 4
"""How many times ``max_message_size`` a compressed answer may expand to in all."""


class HttpConnection(Reading):
    """One connection in HTTP/1.1 to one endpoint, and the turn on it. See the top of the package.

    ``now`` is always monotonic seconds. ``recover``, ``connect_by`` and ``alarm`` are those of a
    :class:`~turnwire.sansio.connection.ResponsesConnection`, and so is what both have under the same name.
    """

    # -- turns

    def submit(self, turn: Turn, now: float) -> None:
        """Take a turn: its request is ready to be handed, or will be once the connection is open.

        Raises SessionClosedError if the connection takes none (:attr:`accepts_turns`), and UserError for a warm-up.
        """
        if not self.accepts_turns:
            state = self.state.value if self.turn is None else "busy"
            raise self._takes_none(state)
        self._body = b"" if isinstance(turn, Retrieval) else _body(turn)
        self.turn = turn
        turn.connection = cast("Any", self)
        turn.since = now
        self._redirects = 0
        self._alarm.announce()
        if self.state is HttpState.IDLE:
            self._begin(turn, now)

    def _begin(self, turn: Turn, now: float) -> None:
        """The request may go."""
        most = self.options.max_message_size
        reads = isinstance(turn, Retrieval)
        if reads:
            request = turn.request(self.endpoint)
        elif isinstance(turn, Compaction):
            request = turn.request(self.endpoint, self._body)
        else:
            request = Request(self.endpoint.target.encode("ascii"), self._body)
        self._exchange = Exchange(self.endpoint, request, None if most is None else most * EXPANSION)
        self._answer = None
        turn.phase = Phase.SEND
        turn.since = now
        turn.transport = "http"
        self.stats.turns += turn.counts
        self.stats.http_turns += turn.counts
        self.stats.retrievals += reads
        self._move(HttpSignal.BEGUN)

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves the turn. If any of its request was handed, the connection ends with it: HTTP/1.1 has no
        other way to stop an answer. After the turn's end this forgets its events."""
        if turn is self.turn:
            self._give_up(turn, Cause.CANCELLED, "the consumer left the turn before its terminal event")
        turn.discard()

    def restart_deadline(self, turn: Turn) -> None:
        """A turn's receive deadline runs again: its consumer has taken all of its events."""
        if turn is self.turn:
            self._alarm.announce()

    # -- what a connection is asked, that is always the same for one of these

    waiting: ClassVar[int] = 0
    """Turns that wait for a slot here: they wait elsewhere."""
    slots: ClassVar[int] = 1
    """Turns that may run at a time."""
    names_used: ClassVar[int] = 0
    """Lane names that were used: none is sent."""
    draining: ClassVar[bool] = False
    """It takes turns until it is closed."""

    def has_room_for(self, lane: AnyLane) -> bool:
        """Any lane: no name is sent."""
        return True

    def has_in_lane(self, lane: str | None) -> bool:
        """Whether the turn on this connection is of this lane."""
        return self.turn is not None and self.turn.wanted == lane

    def remembers(self, response_id: str | None) -> bool:
        """Nothing: what a response continues, the server has stored."""
        return False

    def alone_remembers(self, response_id: str | None) -> bool:
        """Nothing, as :meth:`remembers`."""
        return False

    def is_held_for(self, turn: Turn) -> bool:
        """Never: to leave its turn ends it, or frees it."""
        return False

    def drain(self) -> None:
        """Nothing: it is closed when its turn ends, or it is not."""

    # -- the transport's side

    def transport_connected(self, now: float) -> None:
        """TCP, proxy and TLS are up. Too late, it changes nothing."""
        if self.state is not HttpState.CONNECTING:
            return
        self._move(HttpSignal.TRANSPORT_UP)
        self.opened_at = self._received = now
        self.stats.connections += 1
        if self.turn is not None:
            self._begin(self.turn, now)

    def transport_failed(self, reason: str, now: float, error: BaseException | None = None) -> None:
        """The transport could not be opened, or broke. ``error`` becomes the ``__cause__`` of what the turn raises."""
        while self.has_unprocessed:  # What arrived before the end counts, whole.
            self.process(now)
        if self.state is HttpState.REFUSED:
            self._refused(now)
        elif self.state is not HttpState.CLOSED:
            what, make = self._transport_lost(reason, opening=self.state is HttpState.CONNECTING)
            self._lost(Cause.TRANSPORT, what, make=make, error=error)

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` would give something."""
        return self.state is HttpState.SENDING

    def data_to_send(self, max_bytes: int = 65536, now: float | None = None) -> bytes:
        """At most ``max_bytes`` to write next; ``b""`` if there is nothing.

        Taking bytes marks them handed (R-HTTP-16). Begin to write them before asking for more: the exactness of
        ``final_byte_handed`` rests on it. ``now`` starts the receive deadline of a turn whose request ends here.
        """
        turn, exchange = self.turn, self._exchange
        if self.state is not HttpState.SENDING or turn is None or exchange is None:
            return b""
        data = exchange.take(max_bytes)
        self.stats.bytes_out += len(data)
        if exchange.handed:
            turn.phase = Phase.AWAIT
            if now is not None:
                turn.since = self._received = now
            self._move(HttpSignal.HANDED)
        return data

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what arrived from the transport; ``b""`` is end of file. Never raises on what the server sent.

        The work of one call is bounded: afterwards, look at :attr:`has_unprocessed`.
        """
        self.only_events = False
        if not self.is_open:
            return
        self._received = now
        self.stats.bytes_in += len(data)
        exchange = self._exchange
        if exchange is None:  # Between two answers: whatever it is, the next answer would not be the next request's.
            self._close()
        elif not exchange.begun:  # R-HTTP-20.
            what = "sent something before the request" if data else "ended the connection before the request"
            self._lost(Cause.PROTOCOL if data else Cause.EOF, f"{self._where} {what}")
        else:
            exchange.feed(data)
            self._read(exchange, now)

    def process(self, now: float) -> None:
        """Go on with what arrived: as much work as one :meth:`receive_data` does. Nothing is left: does nothing."""
        if self.has_unprocessed and self._exchange is not None:
            self._read(self._exchange, now)

    # -- the clock

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` wants to be called, in the same seconds as ``now``; None: not at all.

        A deadline that has passed still allows a look at what arrived meanwhile: read first, then handle it.
        """
        moments = (self._until, self._turn_deadline(), self._stall_deadline())
        return min((moment for moment in moments if moment is not None), default=None)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that has passed."""
        if self._until is not None and self._until <= now:
            self._expired(now)
        turn, moment, stall = self.turn, self._turn_deadline(), self._stall_deadline()
        if turn is not None and moment is not None and moment <= now:
            if self.state is HttpState.REFUSED:  # R-HTTP-19: no more of the server's words is awaited.
                self._refused(now)
            else:
                self._give_up(turn, Cause.TIMEOUT, passed_deadline(turn, now))
        elif stall is not None and stall <= now:
            self._lost(Cause.STALLED, self._silent_for(now - self._received))

    def _expired(self, now: float) -> None:
        """The present state has lasted too long."""
        if self.state is HttpState.CONNECTING:
            self._lost(Cause.TIMEOUT, self._opening_took(now - self._began))
        elif self.state is HttpState.REFUSED:
            self._refused(now)
        else:
            self._close()

    def _turn_deadline(self) -> float | None:
        turn = self.turn
        if turn is None:
            return None
        turn.suspended = bool(turn.events)
        return turn.deadline()

    def _stall_deadline(self) -> float | None:
        """When silence is too long: while an answer is awaited, and all of it that came was taken."""
        turn, limit = self.turn, self.options.stall_timeout
        if turn is None or limit is None or turn.phase < Phase.AWAIT or turn.events:
            return None
        return self._received + limit

    # -- ending

    def close(self, now: float) -> None:
        """End the connection; the turn on it fails as CLIENT_CLOSED."""
        if self.state is not HttpState.CLOSED:
            self._lost(Cause.CLIENT_CLOSED, "the session was closed")

    def abort(self, now: float) -> None:
        """End the connection, as :meth:`close` does: there is no closing handshake."""
        self.close(now)

    def close_without_waiting(self, now: float) -> None:
        """End a connection that no turn needs."""
        if self.turn is None and self.state is not HttpState.CLOSED:
            self._close()


def _body(turn: Turn) -> bytes:
    """The body of a turn's request."""
    return turn.message if isinstance(turn, Compaction) else body_of(turn.message)
