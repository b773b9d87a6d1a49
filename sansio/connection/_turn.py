"""A turn: one ``response.create`` and its events.

The promise
    A turn always knows how far it got. Its phase only moves forward, for each of its responses: a turn that is steered
    has several (``_states.py``). Each step is made by what proves it: a chunk that was taken from the outbox, an event,
    a terminal event. A failure contains this state as it was at its moment (:meth:`Turn.evidence`).

    ::

        LANE_WAIT ──queued──► SEND ──last byte handed──► AWAIT ──first event──► STREAM ──terminal event──► DONE

    While a turn waits, its connection determines the phase: CONNECT, HANDSHAKE or LANE_WAIT.

Which deadline applies (:meth:`Turn.deadline`)
    ==================== ================================ =====================================================
    phase                limit                            counted from
    ==================== ================================ =====================================================
    LANE_WAIT            ``timeouts.lane``                when it began to wait, or the connection opened
    CONNECT, HANDSHAKE   ``timeouts.connect``             when it began to wait for the connection
    SEND                 ``timeouts.send``                when its message was queued to be sent
    AWAIT, STREAM,       ``timeouts.receive``             its last event, or when its message was handed over; it does
    between responses                                     not run while its consumer has unread events
    any                  ``timeouts.total``               when the turn was made
    ==================== ================================ =====================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from ..encoding import encode_json
from ..errors import TurnError
from ..events import (
    Event,
    ItemEvent,
    LifecycleEvent,
    OutputItemEvent,
    OutputItems,
    Response,
    ResponseCreatedEvent,
    ResponseOutputItemAddedEvent,
    ResponseQueuedEvent,
    ServerEvent,
)
from ..lanes import AUTO, AnyLane
from ..messages import response_create
from ..partial import Gathered, Partial, needed
from ..replay import Cause, Evidence, Phase, Refusal, RepeatReason
from ..timeouts import Timeouts
from ._states import LIVE, TURN_TRANSITIONS, AnchorLost, TurnSignal, TurnState
from ._steered_turn import SteeredTurn, TurnConnection, TurnObserver

__all__ = ["EVENT_COST", "Leave", "Turn", "TurnObserver"]

EVENT_COST: Final = 400
"""Bytes of memory that a decoded event takes in addition to its text, rounded up (CPython 3.11 to 3.13, 64 bit)."""
MAX_ITEMS: Final = 64
"""How many item ids of a turn's output are kept."""
MAX_ID: Final = 4096
"""Characters of an id that a connection remembers. Encrypted ids have some hundred (D-LIMIT-10)."""


Leave: TypeAlias = Literal["abort", "abandon"]
"""What becomes of a connection when its only turn is left; see the table at the top of the package."""


class Turn(SteeredTurn):
    """The state of one ``response.create`` and its events. Made by :meth:`ResponsesConnection.create` or by a session.

    This is the protocol's record of a turn. The handle that users hold, :class:`turnwire.sansio.client.Turn`, wraps it.
    """

    # More than 12 attributes: its verdict and its deadlines depend on all of them, and they are read and written for
    # each event, where nested objects would cost a look-up each. They hold what was asked for, how far it got and since
    # when, what is known of its response, and its unread events. Slots, because CPython's dictionaries of attributes
    # are slower from the 31st attribute on, and several times as large.

    __slots__ = (
        "_terminal",
        "abandoned",
        "added",
        "anchor_lost",
        "arrived",
        "began",
        "buffered",
        "connection",
        "created",
        "events",
        "failing_since",
        "failure",
        "fits_http",
        "forks",
        "gathered",
        "http_only",
        "in_full",
        "in_progress",
        "items",
        "lane",
        "last",
        "last_number",
        "leave",
        "listener",
        "message",
        "named",
        "observer",
        "output",
        "phase",
        "previous",
        "repeatable",
        "repetitions",
        "response_id",
        "since",
        "state",
        "stateful",
        "steering",
        "stored",
        "suspended",
        "timeouts",
        "transport",
        "unknown_event",
        "wanted",
    )

    response_id: str | None
    gathered: Gathered | None
    """What the events that were read gave; None: nothing was taken in."""
    _terminal: LifecycleEvent | None
    in_full: Callable[[], bytes] | None
    """Makes its second message, if it has one: the same turn without ``previous_response_id``."""
    anchor_lost: AnchorLost | None
    """Why the second message is its message now; None: it is not."""
    counts = True
    """Whether the counters of turns count it: a retrieval is no turn."""

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
        """The JSON text to send, without the name of an automatic lane; kept until an event shows that it arrived."""
        self.wanted = lane
        """The lane that was asked for; AUTO: any."""
        self.lane = None if lane is AUTO else lane
        """The lane it runs in. For AUTO it is set when the turn starts."""
        self.previous = previous
        """The id of the response that it continues, or follows in its conversation."""
        self.in_full = self.anchor_lost = None
        self.leave: Leave | None = None
        """What becomes of its connection when it is left; None: as the options say."""
        self.fits_http = fits_http
        """Whether it may go over HTTP: it is no warm-up, and it does not continue a response that only a connection
        remembers."""
        self.transport: Literal["websocket", "http"] | None = None
        """What it was sent over; None before it is sent."""
        self.stateful, self.timeouts = stateful, timeouts
        self.connection: TurnConnection | None = None
        """The connection that it runs on or waits for."""
        self.phase = Phase.LANE_WAIT
        """How far its message and its events got. For a turn that waits, see :attr:`current_phase`."""
        self.began = self.since = now
        """``began``: when it was made. ``since``: when its present wait began; after its message was handed over, each
        event sets it."""
        self.observer: TurnObserver | None = None
        """What measures it; None: nothing, or it has ended."""
        self.listener: Callable[[Turn], None] | None = None
        """Called with the turn, once, when its consumer has something new to read."""
        self.events: deque[Any] = deque()  # Each is an Event: only decode_event makes them.
        self.arrived: list[ServerEvent] = []
        """The events that ``gathered`` has not taken in: the last read ones, then those in ``events``."""
        self.buffered = 0
        """Bytes of memory that ``events`` take."""
        self.items: list[str] = []
        """The ids of its last output items."""
        self.added: list[str] = []
        """Those of ``items`` that were announced as added."""
        self.output = OutputItems()
        """Its completed output items."""
        self.last: ServerEvent | None = None
        """The last event that does not carry the response."""
        self.last_number: int | None = None
        """The ``sequence_number`` of the last event that carried the response."""
        self.state, self.in_progress = TurnState.LIVE, False
        """``state``: whether it goes on. ``in_progress``: whether the server has loaded what it continues."""
        self.failure: TurnError | None = None
        self.failing_since: float | None = None
        """When it failed for the first time, if it did."""
        self.repetitions: list[RepeatReason] = []
        """The reasons for which it was repeated, in order."""
        self.stored = self.named = self.repeatable = True
        # stored: Whether the server stores its response, so that more than the connection's memory has it.
        # named: Whether its ``stream_id`` is sent.
        # repeatable: Whether automatic recovery may repeat it (``sansio/retries.py``).
        self.http_only = self.created = self.unknown_event = self.suspended = self.abandoned = self.forks = False
        # http_only: Whether it goes over HTTP whatever else does: it is to run in the background, or is a retrieval.
        # created: Whether its ``response.created`` came.
        # forks: Whether it leaves the lane of the response that it continues alone.
        # unknown_event: Whether, in AWAIT, a message came that may have been an event of any kind.
        # suspended: Whether unread events put its receive deadline off when its deadline was last computed.
        # abandoned: It failed for its consumer while the server might still run it.
        self.response_id = self.gathered = self._terminal = self.steering = None

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
        turn.http_only = bool(frame.get("background"))
        return turn

    def forget_message(self) -> None:
        """The server has its message: it will not be sent again."""
        self.message, self.in_full = b"", None

    @property
    def ended(self) -> bool:
        """Whether no more events will come: the terminal event came, or the turn failed."""
        return self.state is not LIVE

    def move(self, signal: TurnSignal) -> None:
        """Change its state as :data:`TURN_TRANSITIONS` says."""
        self.state = TURN_TRANSITIONS[self.state][signal]
        self.abandoned = self.state is TurnState.ABANDONED or self.state is TurnState.OVERDUE

    @property
    def current_phase(self) -> Phase:
        """How far the turn got; for a waiting turn, what it waits for. Between responses it is STREAM (R-STEER-7)."""
        if self.phase is Phase.LANE_WAIT and self.connection is not None:
            return self.connection.waiting_phase
        return Phase.STREAM if self.between else self.phase

    @property
    def response(self) -> Response | None:
        """The response of the terminal event; None before it."""
        return self._terminal.response if self._terminal is not None else None

    def next_event(self) -> Event | None:
        """The next event; None if there is none now (more may come unless :attr:`ended`).

        After the last event of a failed turn, raises its failure, a :class:`~turnwire.sansio.errors.TurnError`.
        """
        if self.events:
            event = self.events.popleft()
            if self.events:
                # The raw text without calling ``raw_bytes``: runs once per event of a turn that is read in bulk.
                self.buffered -= len(event._raw) + EVENT_COST  # pyright: ignore[reportPrivateUsage]
                return event
            self.buffered = 0
            if self.suspended and self.connection is not None:
                self.connection.restart_deadline(self)  # Its receive deadline runs again.
            return event
        if self.failure is not None:
            raise self.failure
        return None

    def deadline(self) -> float | None:
        """When this turn times out, by its present wait or by its total time; None: never (P-DEFAULT-4)."""
        if self.state is not LIVE:
            return None
        wait = self.wait_deadline()
        if self.timeouts.total is None:
            return wait
        total = self.began + self.timeouts.total
        return total if wait is None else min(wait, total)

    def wait_deadline(self) -> float | None:
        """When its present wait times out, even if nobody reads its events any more; None: never (P-DEFAULT-3)."""
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
        """When its total time, counted from when it was made, is over; None: never."""
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
        """Its evidence now. ``phase``: the phase to judge it by, if that is not its own."""
        phase = self.current_phase if phase is None else phase
        return Evidence(
            phase=phase,
            cause=cause,
            final_byte_handed=phase >= Phase.AWAIT,
            response_started=phase >= Phase.STREAM,
            stateful=self.stateful,
            response_id=self.known_id,
            close_code=close_code,
            refusal=refusal,
            unknown_event=self.unknown_event,
            too_big=too_big,
            earlier_may_have_run=self.earlier_may_have_run,
            stored=self.stored,
            sequence_number=self.sequence_number,
        )

    @property
    def earlier_may_have_run(self) -> bool:
        """Whether an attempt before this one may have run: it was AMBIGUOUS, and the policy allowed to repeat it."""
        return RepeatReason.AMBIGUOUS in self.repetitions

    @property
    def sequence_number(self) -> int | None:
        """The ``sequence_number`` of the last event of the response that came; None if there was none."""
        of_item = None if self.last is None else self.last.sequence_number
        known = [number for number in (self.last_number, of_item) if number is not None]
        return max(known, default=None)

    def too_large(self, limit: int | None) -> str | None:
        """A text that says that its message exceeds this many bytes; None if it does not (P-CONN-9)."""
        if limit is None or len(self.message) <= limit:
            return None
        return f"the request has {len(self.message)} bytes, more than {limit} (max_request_size)"

    def unsent(self) -> None:
        """Reset it to before its first attempt: it leaves its connection, and another one will run it."""
        self.connection = None
        self.phase = Phase.LANE_WAIT
        self.unknown_event = False
        self.output.clear()
        if self.steering is not None:
            self.steering.lose_fills()

    def deliver(self, event: ServerEvent, length: int, now: float) -> int:
        """Append an event whose text has this length for the consumer; return the bytes of memory that it takes."""
        cost = length + EVENT_COST
        self.events.append(event)
        self.arrived.append(event)
        self.buffered += cost
        if isinstance(event, ItemEvent):
            self.last = event
        self.since = now
        if self.observer is not None:
            self.observer.came(now)
        listener = self.listener
        if listener is not None:
            self.listener = None
            listener(self)
        return cost

    @property
    def partial(self) -> Partial:
        """What its consumer has read of its response."""
        self.gather()
        return Partial() if self.gathered is None else self.gathered.snapshot()

    def gather(self) -> None:
        """Take in the events that were read since the last time (P-PARTIAL-1)."""
        read = len(self.arrived) - len(self.events)
        if read:
            if self.gathered is None:
                self.gathered = Gathered()
            self.gathered.add(self.arrived[:read])
            del self.arrived[:read]

    def discard(self) -> None:
        """Drop the unread events: nobody will read them."""
        if not self.events:
            self.arrived = list(needed(self.arrived))
        self.gather()
        self.arrived = []
        self.events.clear()
        self.output.clear()
        self.buffered = 0

    def note_response(self, event: LifecycleEvent) -> None:
        """Remember the response's id. ``response.created`` begins a new response, whatever its id (P-START-9)."""
        if event.sequence_number is not None:
            self.last_number = event.sequence_number
        if isinstance(event, ResponseCreatedEvent):
            self.created = True
            self.output.clear()
            self.response_id = event.response_id or self.response_id
            return
        self.in_progress = self.in_progress or not isinstance(event, ResponseQueuedEvent)
        if self.response_id is None:
            self.response_id = event.response_id

    def note_item(self, event: OutputItemEvent) -> None:
        """Remember an item of the response."""
        self.in_progress = True
        _, item_id = event.ids()
        if item_id is not None:
            _note(self.items, item_id)
            if isinstance(event, ResponseOutputItemAddedEvent):
                _note(self.added, item_id)
        if not self.abandoned:
            self.output.add(event)

    def wire_message(self) -> bytes:
        """The message as it is sent: with the lane's name, if names are sent."""
        if self.lane is None or self.named is (self.wanted is not AUTO):
            return self.message
        name = _name_member(self.lane)
        return name + self.message[1:] if self.named else b"{" + self.message[len(name) :]

    def finish(self, event: LifecycleEvent) -> None:
        """End with the terminal event."""
        self.output.complete(event, self.response_id)
        if self.steering is not None:
            self.steering.endings.append(event)
            self.steering.last_id = self.response_id
            self.steering.over(completed=True)
        self._end_with(event)

    def _end_with(self, event: LifecycleEvent) -> None:
        self._terminal = event
        self.phase = Phase.DONE
        self.move(TurnSignal.COMPLETED)
        self.tell()

    def fail(self, failure: TurnError, signal: TurnSignal = TurnSignal.FAILED) -> None:
        """End with this failure. A later one replaces it only if it knows the verdict better."""
        self.move(signal)
        self.failure = failure
        if self.steering is not None:
            self.steering.over(completed=False)
        self.tell()

    def tell(self) -> None:
        """Call the listener: the consumer has something new to read, at the end also the observer."""
        if self.observer is not None:
            observer, self.observer = self.observer, None
            observer.ended(self)
        listener, self.listener = self.listener, None
        if listener is not None:
            listener(self)


def _note(items: list[str], item_id: str) -> None:
    """Append an id, unless it is too long; if there are too many, drop the oldest."""
    if len(item_id) > MAX_ID:
        return
    items.append(item_id)
    if len(items) > MAX_ITEMS:
        del items[0]


def _name_member(lane: str) -> bytes:
    """The beginning of a message that names its lane. A lane name needs no JSON escaping."""
    return f'{{"stream_id":"{lane}",'.encode()
