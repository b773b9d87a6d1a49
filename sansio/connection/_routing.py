"""Incoming messages: events go to their turns, an error ends what it is about, a close frame ends the connection.

The promise
    Every event goes to the turn that owns it, or to none; which one decides ``_owners.py``. A turn gets its events in
    the order in which they came, and none after the one that ends it. Whatever may be the first event of a response
    counts as that for the verdict: a refusal that comes after it proves nothing. An error fails the turns that it is
    about, and no others; if it is about the connection, no more turns start there. A message that cannot be read ends
    nothing; a broken frame ends the connection.

    One turn is sent again from here, without asking the policy: one whose automatic lane name the server refused
    (R-RECOVER-15).
"""

from __future__ import annotations

from typing import Final

from ..error_body import CONNECTION_LIMIT
from ..errors import EventDecodeError, ResponsesWebSocketError, TurnError
from ..events import (
    ErrorEvent,
    LifecycleEvent,
    OutputItemEvent,
    ResponseCreatedEvent,
    ResponseInProgressEvent,
    ResponseQueuedEvent,
    Role,
    ServerEvent,
    UnknownEvent,
    decode_event,
)
from ..evidence import TOO_BIG
from ..lanes import AUTO
from ..replay import Cause, Evidence, Phase, Verdict
from ..websocket import CloseFrame, Item, Ping, Violation, WebSocket
from ._inputs import TurnInput
from ._outbox import Message
from ._owners import Whose
from ._states import LIVE, InputState, Signal, State, TurnSignal
from ._steered import MISTAKES, Steered
from ._tables import PROTOCOL_ERROR, SMALL_MESSAGE, limit_exceeded, refusal_in_event
from ._turn import EVENT_COST, Turn

__all__ = ["Routing"]

UNDERWAY: Final = (ResponseInProgressEvent, ResponseQueuedEvent)
"""These events cannot follow the end of their response. With its id, they may belong to another response that was given
the same id."""

STREAM: Final = Phase.STREAM
"""A local name for the hot path, as :data:`LIVE` is."""

NAME_REFUSED: Final = "invalid_stream_id"

WHITESPACE: Final = b" \t\r\n\xef\xbb\xbf"
"""What may precede a JSON text: white space, and a byte order mark (which should not be there)."""


class Routing(Steered):
    """See the top of the module."""

    def _receive_frames(self, websocket: WebSocket, data: bytes, now: float) -> None:
        """Give each event to its turn. Hot path: runs once per received event."""
        running, late, most = self._lanes.running, self._owners.late_items, self._unread_limit
        self.only_events, self.freed, events, kept = True, False, 0, 0
        for item in websocket.receive(data):
            if type(item) is bytes:
                try:
                    event = decode_event(item)
                except EventDecodeError:
                    self._skip(item)
                    continue
                events += 1
                turn = running.get(event.stream_id) or self._owners.only
                if late and getattr(event, "item_id", None) in late:
                    turn = None
                # An event that states its response needs the full check: it may be another response's.
                if turn is None or turn.phase is not STREAM or event.routed or event.response_id is not None:
                    self._route(event, len(item), now)
                elif turn.state is not LIVE:  # Abandoned.
                    turn.since = now
                    self.stats.orphans += 1
                else:
                    size = len(item) + EVENT_COST
                    turn.events.append(event)
                    turn.arrived.append(event)
                    turn.last = event
                    turn.buffered += size
                    kept += size
                    turn.since = now
                    if turn.observer is not None:
                        turn.observer.came(now)
                    if (listener := turn.listener) is not None:
                        turn.listener = None
                        listener(turn)
                    if turn.buffered <= most:
                        continue  # An event for a turn cannot have closed the connection.
                    self._check_buffer(turn, now)
            else:
                self._receive_control(websocket, item, now)
            if self.is_closed:
                break
        self._count(websocket, events, kept, now)

    def _count(self, websocket: WebSocket, events: int, kept: int, now: float) -> None:
        """Count what came with one read: so many events, which take so many bytes of memory. More may be pending."""
        if websocket.pending:
            self.only_events = False
        self.stats.events += events
        self._unchecked += kept
        if self._unchecked > self._unchecked_limit:
            self._check_all(now)

    def _receive_control(self, websocket: WebSocket, item: Item, now: float) -> None:
        self.only_events = False
        if isinstance(item, Ping):
            self._outbox.pong(websocket.pong(item.payload))
        elif isinstance(item, CloseFrame):
            self._peer_closed(item, now)
        elif isinstance(item, Violation):
            self._violated(item.code, item.reason, now)

    def _skip(self, text: bytes) -> None:
        """Skip a text that is no JSON object: it ends nothing (PROTOCOL.md, "What a field may look like").

        If it begins like an object, it may have been an event. A refusal that comes after it then proves nothing.

        Source: P-FIELD-3.
        """
        self.stats.skipped += 1
        if text.lstrip(WHITESPACE).startswith(b"{"):
            self._make_refusals_uncertain()

    def _make_refusals_uncertain(self) -> None:
        """Mark the turns in AWAIT: what came may have been the first event of any of their responses.

        Source: P-START-3, P-START-4.
        """
        for turn in self._lanes.running.values():
            if turn.phase is Phase.AWAIT:
                turn.unknown_event = True

    def _route(self, event: ServerEvent, length: int, now: float) -> None:
        """Handle an event that is not simply the next one of a turn in STREAM (PROTOCOL.md, "What starts, what ends").

        ``length`` is the length of its text in bytes.
        """
        first, self._owners.spoken = not self._owners.spoken, True
        if isinstance(event, ErrorEvent):
            self._error_event(event, now, first=first)
            return
        turn, role = self._owners.owner(event), event.role
        if role is Role.OUTCOME:
            self._outcome(turn, event, length, now)
            return
        unknown = type(event) is UnknownEvent
        if unknown and self.rate_limits is not None:
            self.rate_limits.came(event)
        if turn is None or (unknown and self._owners.dialect.keeps_alive(event)):
            self._pass_over(turn, event, now)
            return
        if turn.phase is Phase.AWAIT:
            if role is Role.RESPONSE:
                if turn.between and not isinstance(event, ResponseCreatedEvent):
                    self.stats.orphans += 1
                    return
                self._begin(turn, event)
            elif role is Role.UNKNOWN:
                turn.unknown_event = True
        if isinstance(event, LifecycleEvent) and role is Role.RESPONSE:
            turn.note_response(event)
            if turn.steering is not None and not event.ends_turn:
                self._send_held(turn, now)
        elif isinstance(event, OutputItemEvent):
            turn.note_item(event)
        abandoned = turn.abandoned
        if abandoned:
            turn.since = now
            self.stats.orphans += 1
        else:
            self._unchecked += turn.deliver(event, length, now)
        if event.ends_turn and isinstance(event, LifecycleEvent):
            self._response_ended(turn, event, now)
        elif turn.buffered > self._unread_limit:
            self._check_buffer(turn, now)

    def _begin(self, turn: Turn, event: ServerEvent) -> None:
        """The turn's response has begun. If this shows whether the server has lanes, waiting turns may start."""
        self._owners.begins(turn, event)
        if self._lanes.waiting_count:
            self.only_events = False
        if turn.steering is not None:
            self._commit(turn, turn.steering, event)
        turn.phase = Phase.STREAM
        turn.forget_message()

    def _outcome(self, owner: Turn | None, event: ServerEvent, length: int, now: float) -> None:
        """Handle an event that answers a steer or an injection. It begins and ends no response (P-STEER-13).

        ``owner``: the turn of the event by its lane; that of the input decides.
        """
        one = self._answer(event, owner)
        turn = owner if one is None else one.turn
        if turn is None or turn.ended or turn.current_phase is not Phase.STREAM:
            self.stats.orphans += 1
        else:
            self._unchecked += turn.deliver(event, length, now)
        if turn is None or one is None:
            return
        self.only_events = False
        self._conclude(turn, now)
        self._release_lane(now)
        if turn.buffered > self._unread_limit:
            self._check_buffer(turn, now)

    def _pass_over(self, turn: Turn | None, event: ServerEvent, now: float) -> None:
        """Handle an event that nobody reads: it has no owner, or it only keeps its owner alive."""
        if not self._owners.dialect.keeps_alive(event):
            self._orphan(event, now)
            return
        if turn is None or turn.abandoned:
            self.stats.orphans += 1
        if turn is not None:
            turn.since = now

    def _orphan(self, event: ServerEvent, now: float) -> None:
        """Handle an event without an owner: no turn awaits it, its response has ended, or its turn is not known.

        Source: P-START-4, P-START-5, P-DIALECT-6.
        """
        self.stats.orphans += 1
        if self._owners.contradicts(event):
            reason = "it began a response without naming its stream_id, though several turns are in flight: no lanes"
            self._violated(PROTOCOL_ERROR, reason, now)
        elif event.role in (Role.RESPONSE, Role.UNKNOWN) and (
            isinstance(event, UNDERWAY) or not self._owners.is_late(event)
        ):
            self._make_refusals_uncertain()

    # -- errors

    def _error_event(self, event: ErrorEvent, now: float, *, first: bool) -> None:
        """End the turns that an error belongs to (PROTOCOL.md, P-OWNER-1 to P-OWNER-8)."""
        limit, unanswered = event.code == CONNECTION_LIMIT, self._inputs.unanswered
        if unanswered is not None and event.code in MISTAKES:
            self._refuse_input(unanswered, event.body, now)
            return
        if limit:
            self._move_if_listed(Signal.END_ANNOUNCED)
        of_all = event.stream_id is None and first and not limit and _is_unauthorized(event)
        awaited = any(turn.current_phase is Phase.AWAIT for turn in self._lanes.running.values())
        of_connection = of_all or (limit and awaited and event.stream_id is None)
        whose = Whose.CONNECTION if of_connection else self._owners.owner_of_error(event, only=unanswered is None)
        if isinstance(whose, Turn):
            self._refuse(whose, event, now)
        elif whose is Whose.NOBODY:
            self.stats.orphans += 1
        else:
            self._refuse_connection(event, now, of_all=of_all)

    def _refuse(self, turn: Turn, event: ErrorEvent, now: float) -> None:
        """Fail this turn with an error that belongs to it."""
        if event.type == "response.error":
            turn.phase = Phase.STREAM
        if turn.phase is Phase.STREAM:
            self._owners.ended(turn)
        if self._refuses_name(turn, event):
            self._repeat_without_name(turn, now)
            return
        if turn.phase is Phase.AWAIT:
            self._owners.refused(turn)
        goes_on = self._broke_off(turn)
        if not turn.abandoned:
            signal = TurnSignal.ABANDONED if goes_on else TurnSignal.FAILED
            self._fail_by(turn, event, of_connection=False, signal=signal)
        if goes_on:
            turn.response_over(None)
            self._deadlines.watch(turn)
        else:
            self._free_lane(turn, now)

    def _refuses_name(self, turn: Turn, event: ErrorEvent) -> bool:
        """Whether the server refuses a lane name that was added automatically (PROTOCOL.md, "Dialects").

        Source: P-DIALECT-11.
        """
        body = event.body
        automatic = turn.wanted is AUTO and turn.lane is not None and turn.named and not turn.abandoned
        if not automatic or self.state is not State.OPEN or (body.param != "stream_id" and body.code != NAME_REFUSED):
            return False
        refusal = refusal_in_event(event, of_connection=False)
        return turn.evidence(Cause.ERROR_FRAME, refusal=refusal).of_attempt.verdict is Verdict.SAFE

    def _repeat_without_name(self, turn: Turn, now: float) -> None:
        """Send a refused turn again, once, without a name: it did not run, and no names are sent here from now on.

        Source: P-DIALECT-11.
        """
        self._owners.no_names()
        self._lanes.leave(turn, turn.lane)
        self._deadlines.drop(turn)
        turn.unsent()
        if turn.observer is not None:
            turn.observer.repeats("name_refused", None, 0.0)
        self.stats.repeated += 1
        self.only_events = False
        self._enter(turn, now)

    def _refuse_connection(self, event: ErrorEvent, now: float, *, of_all: bool) -> None:
        """Handle an error of the connection: turns that stream go on, the others fail.

        ``of_all``: the error is about every turn that has not begun. This is so at the end of the connection's life,
        even if only one turn awaits its response; turns whose messages have not begun then go to another connection.

        Source: P-OWNER-4 to P-OWNER-6.
        """
        self.drain()
        awaiting = [turn for turn in self._owners.in_flight() if turn.current_phase is Phase.AWAIT]
        limit = event.code == CONNECTION_LIMIT
        of_all = of_all or (limit and len(awaiting) == 1)
        for turn in awaiting if limit else self._live_turns():
            if turn.current_phase < Phase.STREAM:
                if not turn.abandoned:
                    self._fail_by(turn, event, of_connection=not of_all)
                self._withdraw(turn, now)

    def _fail_by(
        self, turn: Turn, event: ErrorEvent, *, of_connection: bool, signal: TurnSignal = TurnSignal.FAILED
    ) -> None:
        def make(evidence: Evidence, text: str) -> TurnError:
            return ResponsesWebSocketError(event.payload, evidence=evidence, meaning=text)

        refusal = refusal_in_event(event, of_connection=of_connection)
        self._fail(turn, turn.evidence(Cause.ERROR_FRAME, refusal=refusal), "", make, signal=signal)

    # -- limits of memory

    def _check_buffer(self, turn: Turn, now: float) -> None:
        self.only_events = False  # The owner may have to pause reading.
        if turn.buffered > self.options.max_buffered and not turn.abandoned:
            self._overflowed(turn, now)

    def _overflowed(self, turn: Turn, now: float) -> None:
        self._give_up(turn, Cause.PROTOCOL, self._too_much_unread(), now, make=limit_exceeded)

    def _check_all(self, now: float) -> None:
        """Check the total size of unread events of running turns, and gather those that were read. Ended turns do not
        count: their callers hold those."""
        self.only_events = False
        self._unchecked = 0
        most = self.options.max_buffered_total
        wanted = [turn for turn in self._lanes.running.values() if not turn.abandoned]
        for turn in wanted:
            turn.gather()
        if sum(turn.buffered for turn in wanted) > most:
            what = f"more than {most} bytes of events were left unread (max_buffered_total), most of them of this turn"
            largest = max(wanted, key=lambda turn: turn.buffered)
            self._give_up(largest, Cause.PROTOCOL, what, now, make=limit_exceeded)

    # -- the server ends the connection, or makes us end it

    def _peer_closed(self, item: CloseFrame, now: float) -> None:
        said = f" ({item.reason})" if item.reason else ""
        what = f"{self._where} closed the connection with code {item.code}{said}"
        blame = self._blame_for_size() if item.code == TOO_BIG else None
        self._lost(Cause.PEER_CLOSED, what, now, close_code=item.code, close_with=item.code, blame=blame)

    def _blame_for_size(self) -> dict[Message, tuple[bool, str]]:
        """For each one whose message may be too big: whether it is, and a text (R-1009-1, P-CONN-10)."""
        running = self._lanes.running.values()
        most = self._owners.dialect.message_limit
        candidates: list[Message] = [
            turn for turn in running if turn.current_phase is Phase.AWAIT or self._outbox.begun(turn)
        ]
        candidates += [one for one in self._inputs.open if one.state is InputState.SENT or self._outbox.begun(one)]
        blame: dict[Message, tuple[bool, str]] = {}
        for turn in candidates:
            text = turn.wire_message() if isinstance(turn, TurnInput) else turn.message
            size, being_handed = len(text), self._outbox.begun(turn)
            if len(candidates) > 1:  # R-1009-6
                blame[turn] = False, f" (one of {len(candidates)} messages was too big; this one has {size} bytes)"
            elif being_handed and size < SMALL_MESSAGE:  # R-1009-5
                blame[turn] = False, ""
            else:
                certain = being_handed or size > most  # R-1009-2, R-1009-3; else R-1009-4
                limit = f"; the server's limit is {most}" if size > most else ""
                blame[turn] = certain, f" (a message was too big: this one has {size} bytes{limit})"
        return blame

    def _violated(self, code: int, reason: str, now: float, error: Exception | None = None) -> None:
        """End the connection because the server broke the protocol; a close frame tells it so (P-CONN-6)."""
        make = limit_exceeded if code == TOO_BIG else None
        what = f"{self._where} broke the protocol: {reason}"
        self._lost(Cause.PROTOCOL, what, now, make=make, error=error, close_with=code)


def _is_unauthorized(event: ErrorEvent) -> bool:
    """Whether the error refuses the credentials, which all turns of a connection share (P-OWNER-5)."""
    return event.status in (401, 403) or event.code == "invalid_api_key"
