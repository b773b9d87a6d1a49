"""A turn: one ``response.create`` and its events.

The promise
    A turn always knows how far it got. Its phase moves forward only, and every step is made by the one thing that
    proves it: a chunk taken out of the outbox, an event, a terminal event. A failure takes a picture of that
    (:meth:`Turn.evidence`) at its moment.

    ::

        LANE_WAIT ──queued──► SEND ──last byte handed──► AWAIT ──first event──► STREAM ──terminal event──► DONE

    While a turn waits, what it waits for is its connection's matter: CONNECT, HANDSHAKE or LANE_WAIT.

Which deadline runs (:meth:`Turn.deadline`)
    ==================== ================================ =====================================================
    phase                limit                            from
    ==================== ================================ =====================================================
    LANE_WAIT            ``timeouts.lane``                when it began to wait, or the connection opened
    CONNECT, HANDSHAKE   ``timeouts.connect``             when it began to wait for the connection
    SEND                 ``timeouts.send``                when its message was queued to be sent
    AWAIT, STREAM        ``timeouts.receive``             its last event, or when the message was handed; not while it
                                                          has events that its consumer has not taken
    any                  ``timeouts.total``               when the turn was made
    ==================== ================================ =====================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias

from ..encoding import encode_json
from ..errors import TurnError
from ..events import (
    ItemEvent,
    LifecycleEvent,
    OutputItemEvent,
    OutputItems,
    Response,
    ResponseCreatedEvent,
    ResponseOutputItemAddedEvent,
    ServerEvent,
)
from ..lanes import AUTO, AnyLane
from ..messages import response_create
from ..replay import Cause, Evidence, Phase, Reason, Refusal
from ..timeouts import Timeouts
from ._states import LIVE, TURN_TRANSITIONS, TurnSignal, TurnState

__all__ = ["EVENT_COST", "Leave", "Turn"]

EVENT_COST: Final = 400
"""Bytes of memory that a decoded event takes beside its text, rounded up (CPython 3.11 to 3.13, 64 bit)."""
MAX_ITEMS: Final = 64
"""How many items of a turn's output are remembered."""


Leave: TypeAlias = Literal["abort", "abandon"]
"""What becomes of a connection when its only turn is left; see the table at the top of the package."""


class Carrier(Protocol):
    """The connection that a turn runs on, as its turns know it; a ``ResponsesConnection`` or an ``HttpConnection``."""

    @property
    def waiting_phase(self) -> Phase:
        """The phase of a turn that has not started there."""
        ...

    def watch(self, turn: Turn) -> None:
        """The turn's receive deadline runs, or runs again."""


class Turn:
    """One ``response.create`` and its events. Made by :meth:`ResponsesConnection.create` or by a session."""

    # More than 12 attributes: it is the record of what its verdict and its deadlines depend on, and its parts are read
    # and written for each event, where objects within it would cost a look-up each: what was asked for, how far it got
    # and since when, what its response was seen to have, and what its consumer has not taken yet.

    stored = True
    """Whether the server stores its response, so that more than the connection's memory has it."""
    leave: Leave | None = None
    """What becomes of its connection when it is left; None: as the options say."""
    failing_since: float | None = None
    """When it failed for the first time, if it did."""

    def __init__(
        self,
        message: bytes,
        *,
        lane: AnyLane,
        stateful: bool,
        timeouts: Timeouts,
        now: float,
        previous: str | None = None,
        fits_http: bool = True,
    ) -> None:
        self.message = message
        """The JSON text to send, without an automatic lane's name; kept until an event shows that it arrived."""
        self.wanted = lane
        """The lane that it was given; AUTO: any."""
        self.lane = None if lane is AUTO else lane
        """The lane that it runs in. For AUTO it is known when the turn starts."""
        self.previous = previous
        """The response that it continues."""
        self.fits_http = fits_http
        """Whether it may go over HTTP: no warm-up, and it continues nothing that is in a connection's memory only."""
        self.transport: Literal["websocket", "http"] | None = None
        """What it was sent over; None before it was sent."""
        self.stateful = stateful
        self.timeouts = timeouts
        self.connection: Carrier | None = None
        """Where it runs, or waits to run."""
        self.phase = Phase.LANE_WAIT
        """How far its message and its events got; see :attr:`current_phase` for a turn that waits."""
        self.began = self.since = now
        """When it was made; and since when it waits: for its next event, once its message was handed."""
        self.listener: Callable[[Turn], None] | None = None
        """Called with the turn for each piece of news for its consumer."""
        self.events: deque[ServerEvent] = deque()
        self.buffered = 0
        """Bytes of memory that the events above take."""
        self.suspended = False
        """When its deadline was last looked at, its receive deadline did not run, because of those events."""
        self.named = True
        """Whether its ``stream_id`` is sent."""
        self.created = False
        """Its ``response.created`` came."""
        self.items: list[str] = []
        """The ids of the output's last items, and ..."""
        self.added: list[str] = []
        """... of those of them that were said to be added."""
        self.output = OutputItems()
        """The items of the output that are done."""
        self.last: ServerEvent | None = None
        """The last event but those that carry the response."""
        self.unknown_event = False
        """While it awaited its response, something came that may have been anything."""
        self.state = TurnState.LIVE
        """Whether it goes on."""
        self.abandoned = False
        """It failed for its consumer while the server might still run it."""
        self.failure: TurnError | None = None
        self.repetitions: list[Reason] = []
        """Why it was repeated, each time."""
        self.repeatable = True
        """Whether automatic recovery may repeat it (the context managers of ``sansio/retries.py`` clear this)."""
        self.response_id: str | None = None
        self._terminal: LifecycleEvent | None = None

    def __repr__(self) -> str:
        return f"<Turn lane={self.lane!r} phase={self.current_phase.name} response_id={self.response_id!r}>"

    @classmethod
    def from_body(cls, body: Mapping[str, Any], *, lane: AnyLane, timeouts: Timeouts, now: float) -> Turn:
        """A turn for the body of a ``response.create``.

        Raises InvalidStreamIdError or another UserError for what the server would refuse anyway, and TypeError, naming
        the path, for a value that JSON lacks.
        """
        return cls.from_frame(response_create(body, stream_id=lane), timeouts=timeouts, now=now, lane=lane)

    @classmethod
    def from_frame(cls, frame: Mapping[str, Any], *, timeouts: Timeouts, now: float, lane: AnyLane = None) -> Turn:
        """A turn for a complete message, made by ``sansio/messages.py``. Raises TypeError as :meth:`from_body` does.

        ``lane`` is for a message that names none: None for the default lane, AUTO for any.
        """
        previous = frame.get("previous_response_id")
        stateful = bool(previous or frame.get("conversation"))
        name = frame.get("stream_id")
        if name is not None:  # First, so that it can be taken off the encoded message.
            frame, lane = {"stream_id": name, **frame}, name
        fits_http = "generate" not in frame and not (previous and frame.get("store") is False)
        turn = cls(
            encode_json(frame),
            lane=lane,
            stateful=stateful,
            timeouts=timeouts,
            now=now,
            previous=previous,
            fits_http=fits_http,
        )
        turn.stored = frame.get("store") is not False
        return turn

    @property
    def ended(self) -> bool:
        """No further event will come: the terminal one did, or the turn failed."""
        return self.state is not LIVE

    def move(self, signal: TurnSignal) -> None:
        """Move its state, as :data:`TURN_TRANSITIONS` says."""
        self.state = TURN_TRANSITIONS[self.state][signal]
        self.abandoned = self.state is TurnState.ABANDONED or self.state is TurnState.OVERDUE

    @property
    def current_phase(self) -> Phase:
        """How far the turn got; for a waiting turn, what it waits for."""
        if self.phase is Phase.LANE_WAIT and self.connection is not None:
            return self.connection.waiting_phase
        return self.phase

    @property
    def response(self) -> Response | None:
        """The response of the terminal event; None before it."""
        return self._terminal.response if self._terminal is not None else None

    def next_event(self) -> ServerEvent | None:
        """The next event; None if none is there, either yet (see :attr:`ended`) or any more.

        Raises the turn's failure, a :class:`~turnwire.sansio.errors.TurnError`, after the last event before it.
        """
        if self.events:
            event = self.events.popleft()
            if self.events:
                # Its text, without the call that ``raw_bytes`` is: this runs for each event of a turn in bulk.
                self.buffered -= len(event._raw) + EVENT_COST  # pyright: ignore[reportPrivateUsage]
                return event
            self.buffered = 0
            if self.suspended and self.connection is not None:
                self.connection.watch(self)  # Its receive deadline runs again.
            return event
        if self.failure is not None:
            raise self.failure
        return None

    def deadline(self) -> float | None:
        """When this turn times out, if it does: with its present wait, or with its whole time."""
        if self.state is not LIVE:
            return None
        wait = self.wait_deadline()
        if self.timeouts.total is None:
            return wait
        total = self.began + self.timeouts.total
        return total if wait is None else min(wait, total)

    def wait_deadline(self) -> float | None:
        """When its present wait is too long, also if nobody waits for its events any more."""
        match self.phase if self.phase is not Phase.LANE_WAIT else self.current_phase:
            case Phase.AWAIT | Phase.STREAM:
                limit = None if self.events and not self.abandoned else self.timeouts.receive
            case Phase.SEND:
                limit = self.timeouts.send
            case Phase.CONNECT | Phase.HANDSHAKE:
                limit = self.timeouts.connect
            case _:
                limit = self.timeouts.lane
        return None if limit is None else self.since + limit

    def total_deadline(self) -> float | None:
        """When its whole time is over, counted from when it was made; None: never."""
        return None if self.timeouts.total is None else self.began + self.timeouts.total

    def evidence(
        self,
        cause: Cause,
        *,
        phase: Phase | None = None,
        close_code: int | None = None,
        refusal: Refusal | None = None,
        too_big: bool | None = None,
    ) -> Evidence:
        """How far the turn got, as of now; ``phase``: how far to judge it to have got, if that is not its own."""
        phase = self.current_phase if phase is None else phase
        return Evidence(
            phase=phase,
            cause=cause,
            final_byte_handed=phase >= Phase.AWAIT,
            response_started=phase >= Phase.STREAM,
            stateful=self.stateful,
            response_id=self.response_id,
            close_code=close_code,
            refusal=refusal,
            unknown_event=self.unknown_event,
            too_big=too_big,
        )

    def too_large(self, limit: int | None) -> str | None:
        """In words, that its message is larger than this many bytes; None if it is not."""
        if limit is None or len(self.message) <= limit:
            return None
        return f"the request has {len(self.message)} bytes, more than {limit} (max_request_size)"

    def unsent(self) -> None:
        """It leaves its connection, as it was before its first attempt: another one will run it."""
        self.connection = None
        self.phase = Phase.LANE_WAIT
        self.unknown_event = False
        self.output.clear()

    def deliver(self, event: ServerEvent, length: int, now: float) -> int:
        """Append an event for the consumer, whose text has this length; return the bytes of memory that it takes."""
        cost = length + EVENT_COST
        self.events.append(event)
        self.buffered += cost
        if isinstance(event, ItemEvent):
            self.last = event
        self.since = now
        if self.listener is not None:
            self.listener(self)
        return cost

    def discard(self) -> None:
        """Forget the events that nobody will read."""
        self.events.clear()
        self.output.clear()
        self.buffered = 0

    def note_response(self, event: LifecycleEvent) -> None:
        """Whose response the turn's events are; ``response.created`` begins another one, whatever its id."""
        if isinstance(event, ResponseCreatedEvent):
            self.created = True
            self.output.clear()
            self.response_id = event.response_id or self.response_id
        elif self.response_id is None:
            self.response_id = event.response_id

    def note_item(self, event: OutputItemEvent) -> None:
        """The response has this item."""
        _, item_id = event.ids()
        if item_id is not None:
            _note(self.items, item_id)
            if isinstance(event, ResponseOutputItemAddedEvent):
                _note(self.added, item_id)
        if not self.abandoned:
            self.output.add(event)

    def wire_message(self) -> bytes:
        """The message as it is sent: with the lane's name, if that is sent."""
        if self.lane is None or self.named is (self.wanted is not AUTO):
            return self.message
        name = _name_member(self.lane)
        return name + self.message[1:] if self.named else b"{" + self.message[len(name) :]

    def finish(self, event: LifecycleEvent) -> None:
        """The terminal event came."""
        self.output.complete(event, self.response_id)
        self._terminal = event
        self.phase = Phase.DONE
        self.move(TurnSignal.COMPLETED)
        self.tell()

    def fail(self, failure: TurnError, signal: TurnSignal = TurnSignal.FAILED) -> None:
        """It ended in this failure, which nothing but a better knowledge of its verdict will replace."""
        self.move(signal)
        self.failure = failure
        self.tell()

    def tell(self) -> None:
        """It has news for its consumer."""
        if self.listener is not None:
            self.listener(self)


def _note(items: list[str], item_id: str) -> None:
    """Put an id behind the others; the first of too many is forgotten."""
    items.append(item_id)
    if len(items) > MAX_ITEMS:
        del items[0]


def _name_member(lane: str) -> bytes:
    """The beginning of a message that names its lane: a name needs no escaping."""
    return f'{{"stream_id":"{lane}",'.encode()
