"""Deadlines of a connection: which is the next, and what happens when one has passed.

The promise
    No deadline acts before its time. Each one that has passed has acted when :meth:`Timing.handle_deadline` returns:
    first those of the connection (opening, closing, pings, silence), which end it or send a ping, the earliest before
    the others; then those of turns, unless the connection has ended with all of its turns. A turn's deadline ends that
    turn, and the failure's text names the wait (I6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from ..replay import Cause, Phase
from ..websocket import WebSocket
from ._common import passed_deadline
from ._states import State, TurnSignal, TurnState
from ._steered import Steered
from ._turn import Turn

__all__ = ["Timing"]


class Timing(Steered):
    """See the top of the module."""

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` must be called, in the same clock as ``now``; None: not at all.

        When it has passed, first pass on the data that has already arrived, then call :meth:`handle_deadline`.
        """
        moments = [moment for moment, _ in self._own_deadlines()]
        if (earliest := self._deadlines.next()) is not None:
            moments.append(earliest)
        return min(moments, default=None)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that has passed."""
        # This loop ends: each deadline closes the connection, but the ping sets a later one, and inputs are forgotten.
        while due := [entry for entry in self._own_deadlines() if entry[0] <= now]:
            min(due, key=lambda entry: entry[0])[1](now)
        for turn in self._deadlines.due(now):
            if self.state is not State.CLOSED:  # An earlier one may have ended the connection, and all turns with it.
                self._expired(turn, now)

    # -- of turns

    def _expired(self, turn: Turn, now: float) -> None:
        """A deadline of this turn has passed. If the server may still run the turn, its lane stays busy."""
        moment = turn.deadline()
        if turn.abandoned and turn.phase is Phase.SEND:
            self._lost(Cause.TRANSPORT, "a turn was left in the middle of its message, and the peer does not read", now)
        elif turn.abandoned:
            pass
        elif moment is None or moment > now:
            self._stalled_turn(turn, now)
        else:
            self._give_up(turn, Cause.TIMEOUT, passed_deadline(turn, now), now)
        if turn.state is TurnState.ABANDONED and self._is_up:
            turn.move(TurnSignal.EXPIRED)
            self._give_up_inputs(turn)
            self._drain_if_blocked(self._lanes.waiting())

    def _stalled_turn(self, turn: Turn, now: float) -> None:
        what = f"no event of the turn arrived from {self._where} for {now - turn.since:.1f} seconds"
        if self._live_count == 1:
            self._lost(Cause.STALLED, what, now)
        else:
            self._give_up(turn, Cause.STALLED, what, now)

    # -- of the connection

    def _own_deadlines(self) -> Iterator[tuple[float, Callable[[float], None]]]:
        if self.state in (State.CONNECTING, State.HANDSHAKING):
            if self.connect_deadline is not None:
                yield self.connect_deadline, self._connect_expired
        elif self.state is State.CLOSING:
            yield cast("float", self._close_by), self.abort
        elif self._is_up:
            if (stall := self._keepalive.stall_deadline(busy=bool(self._lanes.running))) is not None:
                yield stall, self._stalled
            if (ping := self._keepalive.ping_deadline()) is not None:
                yield ping, self._send_ping
            for moment in self._input_deadlines():
                yield moment, self._inputs_expired

    @property
    def began(self) -> float:
        """When the attempt to open the connection began."""
        return self._opening.began

    @property
    def connect_deadline(self) -> float | None:
        """When opening the connection times out, independent of the deadlines of the turns that wait for it."""
        return self._opening.deadline

    def _connect_expired(self, now: float) -> None:
        self._lost(Cause.TIMEOUT, self._opening_took(now - self._opening.began), now)

    def _stalled(self, now: float) -> None:
        self._lost(Cause.STALLED, self._silent_for(now - self._keepalive.last_received), now)

    def _send_ping(self, now: float) -> None:
        self._keepalive.ping_sent(now)
        self._alarm.announce()
        if self.state is not State.WRITE_DISABLED:  # Nothing can be sent there: wait for the stall limit only.
            self._outbox.control(cast("WebSocket", self._websocket).ping())
