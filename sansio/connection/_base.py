"""What the parts of a connection share: its state, its turns, and how a turn and the connection end.

The other parts: ``_routing.py`` handles what arrives, ``_timing.py`` handles deadlines, ``_machine.py`` is the public
class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final

from ..chance import SYSTEM_RANDOM, RandomBytes
from ..deadlines import Alarm, Deadlines
from ..dialect import Dialect, Support, dialect_of_host
from ..endpoint import Endpoint
from ..errors import TurnError
from ..events import InputError
from ..lanes import AUTO, AnyLane, Lanes
from ..partial import GATHER_AFTER
from ..replay import Cause, Phase, Refusal
from ..timeouts import shortest_wait
from ..websocket import WebSocket
from ._common import CommonConnection, Loss
from ._inputs import OpenInputs, TurnInput, TurnSteering
from ._keepalive import Keepalive
from ._opening import Opening
from ._outbox import Message, Outbox
from ._owners import Owners
from ._states import (
    FACTS,
    TRANSITIONS,
    WAITING_PHASE,
    InputSignal,
    InputState,
    Signal,
    State,
    TurnSignal,
    TurnState,
)
from ._tables import ConnectionOptions, ErrorFactory, Stats, turn_failure
from ._turn import Turn

__all__ = ["Blame", "ConnectionBase"]


Blame = Mapping[Message, tuple[bool, str]]
"""For each turn, steer or injection whose message may have been too big: whether it was (None: not known), and a text
that says so."""

NOT_HANDED: Final = InputError(code="not_sent", message="its last byte was not handed to the transport")
TOO_LARGE: Final = InputError(
    code="message_too_big", message="the server closed the connection: the message is too big"
)
"""Why an input failed, if the server has not said it."""


class ConnectionBase(CommonConnection):
    """See the top of the package."""

    # More than 12 attributes: six are the state and what follows from it (as attributes, reading them costs no call),
    # eight are parts with a module of their own (opening, WebSocket, lanes, owners, outbox, inputs, keepalive,
    # deadlines), three limit the memory of unread events and are read once per read, and one is for its end.

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        options: ConnectionOptions | None = None,
        now: float,
        random_bytes: RandomBytes = SYSTEM_RANDOM,
        stats: Stats | None = None,
        recover: Callable[[Turn, TurnError], bool] | None = None,
        connect_by: float | None = None,
        alarm: Alarm | None = None,
    ) -> None:
        super().__init__(endpoint, options=options, stats=stats, recover=recover, alarm=alarm)
        self._enter_state(State.CONNECTING)
        self._opening = Opening(self.options, random_bytes, now, connect_by)
        self._websocket: WebSocket | None = None
        """None until the upgrade is accepted."""
        self._lanes: Lanes[Turn] = Lanes(
            max_in_flight=self.options.max_in_flight,
            max_named=self.options.max_named_lanes,
            preferred=self._lane_to_continue,
        )
        dialect = self.options.given_dialect or dialect_of_host(endpoint.host)
        self._owners = Owners(self._lanes, dialect, self.options.max_in_flight, self.options.max_named_lanes)
        self._outbox = Outbox()
        self._inputs = OpenInputs()
        self._unread_limit = min(self.options.high_water, self.options.max_buffered)
        """Bytes of unread events above which a turn's buffer is checked."""
        self._unchecked = 0
        """Bytes of events given to turns since the total was last checked."""
        self._unchecked_limit = min(self.options.max_buffered_total >> 6, GATHER_AFTER)
        """The total is checked when ``_unchecked`` exceeds this number of bytes."""
        self._keepalive = Keepalive(self.options, now)
        self._close_by: float | None = None
        """In state CLOSING: when to stop waiting for the peer's close frame."""
        self._deadlines: Deadlines[Turn] = Deadlines(self._deadline_of, self._alarm)
        """The deadlines of the turns that are in the lanes."""

    # -- its state

    @property
    def dialect(self) -> Dialect:
        """What the server supports, as the caller, the server or its host name says. Lanes may be seen to differ."""
        return self._owners.dialect

    @property
    def waiting_phase(self) -> Phase:
        """The phase of a turn that has not started here (P-DIALECT-7)."""
        return WAITING_PHASE[self.state]

    @property
    def _is_up(self) -> bool:
        """Whether turns may run here."""
        return self.state is State.OPEN or self.draining

    def drain(self) -> None:
        """Start no more turns here: the session will replace this connection. Does nothing unless it is OPEN."""
        self._move_if_listed(Signal.DRAIN)

    @property
    def running(self) -> int:
        """How many turns have a queued or sent message and hold their lanes, abandoned ones included."""
        return len(self._lanes.running)

    @property
    def idle(self) -> bool:
        """Whether no turn needs this connection: none waits, and all that run were abandoned."""
        if self._lanes.waiting_count:
            return False
        for turn in self._lanes.running.values():  # noqa: SIM110 - any() takes three calls more
            if not turn.abandoned:
                return False
        return True

    @property
    def _live_count(self) -> int:
        """How many turns are wanted: running and not abandoned, or waiting."""
        return self._lanes.waiting_count + sum(not turn.abandoned for turn in self._lanes.running.values())

    def _live_turns(self) -> list[Turn]:
        """The turns that are wanted: running and not abandoned, or waiting."""
        running = [turn for turn in self._lanes.running.values() if not turn.abandoned]
        return [*running, *self._lanes.waiting()]

    def _move(self, signal: Signal) -> None:
        self.only_events = False
        self._enter_state(TRANSITIONS[self.state][signal])
        self._alarm.announce()

    def _enter_state(self, state: State) -> None:
        self.state = state
        facts = FACTS[state]
        self.accepts_turns = facts.accepts_turns
        """Whether a new turn may be given to this connection."""
        self.draining = facts.draining
        """Whether no more turns may start here; :meth:`requeue_unstarted` gives back those that wait."""
        self.is_open = facts.is_open
        """Whether bytes go both ways: the upgrade was accepted, and the connection is not closed."""
        self.is_closed = facts.is_closed
        """Whether the connection has ended."""
        self.needs_transport = facts.needs_transport
        """Whether a transport must be opened for it: at first, and after a redirect."""

    def _move_if_listed(self, signal: Signal) -> None:
        if signal in TRANSITIONS[self.state]:
            self._move(signal)

    # -- turns: start, wait, leave

    def remembers(self, response_id: str | None) -> bool:
        """Whether this response is the last one of its lane here: the server keeps it in the connection's memory.

        Source: P-POOL-13.
        """
        return self._owners.remembers(response_id)

    def alone_remembers(self, response_id: str | None) -> bool:
        """Whether this response is in the memory of this connection only: it was not stored."""
        return self._owners.is_unstored(response_id)

    def is_held_for(self, turn: Turn) -> bool:
        """Whether an abandoned turn has the lane, or the last slot, that this turn needs to start here (P-POOL-14)."""
        running = self._lanes.running
        holder = None if turn.wanted is AUTO else running.get(turn.wanted)
        if holder is not None:
            return holder.abandoned
        return len(running) >= self._lanes.max_in_flight and any(one.abandoned for one in running.values())

    def _lane_to_continue(self, turn: Turn) -> AnyLane:
        """The lane of the response that the turn continues (C-DELTA-10); AUTO if there is none, or if it forks.

        Source: P-LANES-7, P-LANES-12.
        """
        return AUTO if turn.forks else self._owners.lane_of(turn.previous)

    def _enter(self, turn: Turn, now: float) -> None:
        """Add a turn: it starts at once, or waits for its lane or a slot."""
        turn.lane = None if turn.wanted is AUTO else turn.wanted
        lane = AUTO
        if not (self._inputs.pending and self._enter_first(turn)):
            lane = self._lanes.enter(turn, turn.wanted, at_once=self.state is State.OPEN)
        turn.connection = self
        turn.since = now
        if lane is not AUTO:
            turn.lane = lane
            self._start(turn, now)
            return
        self._start_turns(now)
        if turn.phase is Phase.LANE_WAIT:
            self._deadlines.watch(turn)
            self._drain_if_blocked((turn,))

    def _enter_first(self, turn: Turn) -> bool:
        """Whether pending steers wait for this turn. If so, it goes ahead of its lane's other turns (P-STEER-3).

        A warm-up does, too, but leaves them to a turn that continues it (P-STEER-11).
        """
        for lane, pending in self._inputs.pending.items():
            ours = not turn.forks and (turn.wanted in (AUTO, lane) or not self._lanes.names_known)
            if ours and turn.previous is not None and turn.previous in pending.response_ids:
                if turn.is_warm_up and lane not in self._lanes.reserved:
                    continue
                turn.lane = lane
                turn.steering = turn.steering or TurnSteering()
                if turn.is_warm_up:
                    turn.steering.keeps = pending
                else:
                    turn.steering.fills = self._inputs.pending.pop(lane).inputs
                self._lanes.release(lane)
                self._lanes.enter_first(turn, lane)
                return True
        return False

    def _start_turns(self, now: float) -> None:
        """Start the waiting turns that may start (P-LANES-5)."""
        while self._lanes.waiting_count and self.state is State.OPEN:
            started = self._lanes.start()
            if started is None:
                return
            turn, turn.lane = started
            self._start(turn, now)

    def _start(self, turn: Turn, now: float) -> None:
        """Queue the message of a turn that may start."""
        turn.phase = Phase.SEND
        turn.since = now
        turn.named = self._owners.support is not Support.NO
        turn.transport = "websocket"
        self.stats.turns += 1
        if self._keepalive.stalls:  # The stall limit applies while the connection is busy.
            self._alarm.announce()
        if self._keepalive.turn_stall_timeout is None and turn.timeouts.total is None:
            self._deadlines.watch_later(turn, now + shortest_wait(turn.timeouts))
        else:
            self._deadlines.watch(turn)
        self._outbox.message(turn)

    def requeue_unstarted(self, now: float) -> list[Turn]:
        """Remove the turns that have not started and return them in order. The session runs them on another connection.

        If nothing can be sent any more, or if the server has announced the connection's end, this includes turns with a
        queued message of which no byte was handed out.
        """
        queued = [turn for turn in self._lanes.running.values() if turn.phase is Phase.SEND]
        if self.state is State.ENDING:
            queued = [turn for turn in queued if not self._outbox.begun(turn)]
        elif self.state is not State.WRITE_DISABLED:
            queued = []
        requeued = self._taken_back([*queued, *self._lanes.waiting()])
        self._end_if_useless(now)
        return requeued

    def requeue_behind(self, left: Turn) -> list[Turn]:
        """Remove the turns that an abandoned turn holds up, and return them in order. The session places them anew.

        They are those that wait for its lane; if no slot is free, all that wait.

        Source: P-POOL-14.
        """
        full = len(self._lanes.running) >= self._lanes.max_in_flight
        return self._taken_back(list(self._lanes.waiting() if full else self._lanes.waiting_in(left.lane)))

    def _taken_back(self, turns: list[Turn]) -> list[Turn]:
        """Remove these turns; each is again a turn that was never sent."""
        for turn in turns:
            self._lanes.leave(turn, turn.lane)
            self._deadlines.drop(turn)
            self._outbox.remove(turn)
            turn.unsent()
        return turns

    def _free_lane(self, turn: Turn, now: float, *, reserve: bool = False) -> None:
        """Remove a turn that is over; the next one in its lane may start, unless the lane is to be reserved."""
        self._lanes.leave(turn, turn.lane, reserve=reserve or self._keeps_lane(turn, now))
        self._deadlines.drop(turn)
        self.freed = True
        if self._lanes.waiting_count or self.state is not State.OPEN:
            self.only_events = False
            self._start_turns(now)
            self._drain_if_blocked(())
            self._end_if_useless(now)

    def _keeps_lane(self, turn: Turn, now: float) -> bool:
        """Whether a warm-up that is over leaves its lane to the turn that pending steers wait for."""
        pending = None if turn.steering is None else turn.steering.keeps
        if pending is None or self._inputs.pending.get(turn.lane) is not pending:
            return False
        pending.response_ids.append(turn.response_id)
        return pending.until is None or now < pending.until

    def _withdraw(self, turn: Turn, now: float) -> None:
        """Remove a failed turn from lanes and outbox."""
        if self._outbox.begun(turn):
            self._cut_message()
        self._outbox.remove(turn)
        self._free_lane(turn, now)

    def _cut_message(self) -> None:
        """The message that has begun must not go on: nothing is handed out any more (P-CONN-20)."""
        self._move_if_listed(Signal.MESSAGE_CUT)
        for one in [one for one in self._inputs.open if one.state is InputState.QUEUED]:
            self._lose_input(one)

    def _drain_if_blocked(self, suspects: Iterable[Turn]) -> None:
        """Drain if one of these turns, or any turn that waits, is blocked by a turn without an end in sight.

        Source: P-LANES-9.
        """
        if not self._lanes.waiting_count:
            return
        running = self._lanes.running
        lanes = {lane for lane, turn in running.items() if turn.state is TurnState.OVERDUE}
        if lanes and (len(lanes) == len(running) or any(turn.lane in lanes for turn in suspects)):
            self.drain()

    def _end_if_useless(self, now: float) -> None:
        """End a connection that cannot be written to if no turn streams on it."""
        if self.state is State.WRITE_DISABLED and self.idle:
            self._lost(Cause.TRANSPORT, "the connection could not be written to any more", now)

    # -- deadlines of turns

    def restart_deadline(self, turn: Turn) -> None:
        """Start the receive deadline of a turn again: its consumer has taken all of its events (P-DEFAULT-4)."""
        limit = turn.timeouts.receive
        if limit is None or self._keepalive.turn_stall_timeout is not None:
            limit = -inf
        if not self._deadlines.is_watched(turn, turn.since + limit) and not turn.ended:
            self._deadlines.watch(turn)

    def _deadline_of(self, turn: Turn) -> float | None:
        """When a turn in the lanes times out; for an abandoned one, when its lane counts as blocked."""
        turn.suspended = bool(turn.events)
        if turn.connection is not self or turn.state is TurnState.OVERDUE:
            return None
        if not turn.abandoned:
            moment = turn.deadline()
        elif turn.phase is Phase.SEND:
            return turn.since + self.options.close_timeout
        else:
            moment = turn.wait_deadline()
        if self._keepalive.turn_stall_timeout is None:
            return moment
        stall = self._stall_of(turn, self._keepalive.turn_stall_timeout)
        return moment if stall is None else stall if moment is None else min(moment, stall)

    def _stall_of(self, turn: Turn, limit: float) -> float | None:
        """When a turn without events has stalled, if stalls are counted per turn (``_keepalive.py``) (P-DEFAULT-5)."""
        waits = turn.phase >= Phase.AWAIT and (turn.abandoned or not turn.events)
        return turn.since + limit if waits else None

    # -- the end of a turn, and of the connection

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
        """End one turn from this side while the connection goes on. Such a failure is never recovered from
        (R-RECOVER-7)."""
        alone = self._live_count == 1 and not (cause is Cause.CANCELLED and self._outlives(turn))
        left_in_the_middle = cause is Cause.CANCELLED and self._outbox.begun(turn)
        # R-EVIDENCE-8: the rest of the message will be sent, so that others can use the connection: judge it as handed.
        judged = Phase.AWAIT if left_in_the_middle and not alone else None
        runs_on = left_in_the_middle or turn.phase >= Phase.AWAIT
        signal = TurnSignal.ABANDONED if runs_on else TurnSignal.FAILED
        self._end(turn, turn_failure(turn.evidence(cause, phase=judged), what, make, error), signal)
        if runs_on:
            if turn.phase is Phase.SEND:
                turn.since = now  # From now on, sending the rest of its message may take close_timeout.
            self._deadlines.watch(turn)
            if alone:
                self._lost(Cause.CANCELLED, "no turn needed the connection any more", now)
        else:
            self._withdraw(turn, now)

    def _outlives(self, turn: Turn) -> bool:
        """Whether the connection goes on when its only turn is left; see the table at the top of the package."""
        if self.state is not State.OPEN:
            return False
        leave = turn.leave or self.options.leave
        return leave == "abandon" or (leave is None and self._owners.remembers_beside(turn))

    def abort(self, now: float) -> None:
        """End the connection at once, without a closing handshake."""
        self._lost(Cause.CLIENT_CLOSED, "the connection was aborted", now)

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
        close_with: int | None = None,
        blame: Blame | None = None,
    ) -> None:
        """End the connection: every turn on it gets the verdict of its own evidence (R-EVIDENCE-7).

        ``close_with`` is the code of a close frame to send as the last write. It is not sent in the middle of a message
        or after another close frame. ``blame`` is given for close code 1009 (``_routing.py``).
        """
        if self.state is State.CLOSED:
            return
        loss = Loss(cause, what, make, refusal, close_code, error)
        self.failure = loss.failure_of_waiting(self.waiting_phase)
        for turn in [*self._lanes.running.values(), *self._lanes.waiting()]:
            self._lose(turn, loss, blame)
        self._lose_inputs(blame)
        self._lanes.clear()
        self._deadlines.clear()
        writable = self._is_up and not self._outbox.mid_frame
        self._outbox = Outbox()
        self._move(Signal.LOST)
        if writable and close_with is not None and self._websocket is not None:
            self._outbox.control(self._websocket.close(close_with))

    def _take_back_inputs(self, turn: Turn) -> None:
        self._inputs.hold_unsent(turn, self._outbox)

    def _lose_input(self, one: TurnInput) -> None:
        """Nobody will ever know what became of it (P-STEER-7)."""
        self._inputs.open.pop(one, None)
        self._inputs.owe(one)
        if one.state is InputState.QUEUED:
            self._outbox.remove(one)
            one.fail(InputSignal.UNSENT, NOT_HANDED)
        else:
            one.move(InputSignal.LOST)

    def _lose_inputs(self, blame: Blame | None = None) -> None:
        """The connection has ended: each input is judged by how far it got (R-STEER-6)."""
        for one in list(self._inputs.open):
            if blame is not None and blame.get(one, (None, ""))[0]:
                one.fail(InputSignal.FAILED, TOO_LARGE)
            self._lose_input(one)
        self._inputs.pending.clear()

    def _lose(self, turn: Turn, loss: Loss, blame: Blame | None) -> None:
        """End one turn because its connection ended."""
        if not turn.abandoned:
            too_big, note = (blame or {}).get(turn, (None, ""))
            evidence = turn.evidence(
                loss.cause,
                close_code=loss.close_code,
                refusal=loss.refusal,
                too_big=too_big,
            )
            self._fail(turn, evidence, loss.what + note, loss.make, loss.error)
        elif turn.phase is Phase.SEND:
            # R-EVIDENCE-8: it was judged as handed when it was abandoned. Now its last byte will never be handed.
            turn.fail(turn_failure(turn.evidence(Cause.CANCELLED), loss.what, None, loss.error))
