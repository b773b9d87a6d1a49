"""A turn: one ``response.create`` and its events; and the outbox, in which its message waits to be handed over.

The promise
    A turn always knows how far it got. Its phase moves forward only, and every step is made by the one thing that
    proves it: a chunk taken out of the outbox, an event, a terminal event. A failure takes a picture of that
    (:meth:`Turn.evidence`) at its moment.

    ::

        LANE_WAIT ──framed──► SEND ──last byte handed──► AWAIT ──first event──► STREAM ──terminal event──► DONE

    While a turn waits, what it waits for is its connection's matter: CONNECT, HANDSHAKE or LANE_WAIT.

Which deadline runs (:meth:`Turn.deadline`)
    ==================== ================================ =====================================================
    phase                limit                            from
    ==================== ================================ =====================================================
    LANE_WAIT            ``timeouts.lane``                when it began to wait, or the connection opened
    CONNECT, HANDSHAKE   ``timeouts.connect``             when it began to wait for the connection
    SEND                 ``timeouts.send``                when its message was framed
    AWAIT, STREAM        ``timeouts.receive``             when its consumer began to wait, or the message was handed
    ==================== ================================ =====================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import TurnError
from ..events import LifecycleEvent, Response, ServerEvent
from ..replay import Cause, Evidence, Phase, Refusal
from ..request import Timeouts, encode_json, response_create

if TYPE_CHECKING:
    from ._machine import ResponsesConnection

__all__ = ["Outbox", "Turn"]


class Turn:
    """One ``response.create`` and its events. Made by :meth:`ResponsesConnection.create` or by a session."""

    def __init__(self, message: bytes, *, lane: str | None, stateful: bool, timeouts: Timeouts, now: float) -> None:
        self.message = message
        """The JSON text to send; kept until an event shows that it arrived."""
        self.lane = lane
        self.stateful = stateful
        self.timeouts = timeouts
        self.connection: ResponsesConnection | None = None
        """Where it runs, or waits to run."""
        self.phase = Phase.LANE_WAIT
        """How far its message and its events got; see :attr:`current_phase` for a turn that waits."""
        self.since = now
        """When the present wait began."""
        self.waiting_since: float | None = None
        """Since when a consumer has been waiting for an event; None while none is."""
        self.events: deque[ServerEvent] = deque()
        self.buffered = 0
        """Bytes of the events above."""
        self.failure: TurnError | None = None
        self.abandoned = False
        self.repetitions = 0
        self.repeatable = True
        """Whether automatic recovery may repeat it (the context managers of the session room clear this)."""
        self.response_id: str | None = None
        self._terminal: LifecycleEvent | None = None

    def __repr__(self) -> str:
        return f"<Turn lane={self.lane!r} phase={self.current_phase.name} response_id={self.response_id!r}>"

    @classmethod
    def from_body(cls, body: Mapping[str, Any], *, lane: str | None, timeouts: Timeouts, now: float) -> Turn:
        """A turn for the body of a ``response.create``.

        Raises InvalidStreamIdError or another UserError for what the server would refuse anyway, and TypeError, naming
        the path, for a value that JSON lacks.
        """
        return cls.from_frame(response_create(body, stream_id=lane), timeouts=timeouts, now=now)

    @classmethod
    def from_frame(cls, frame: Mapping[str, Any], *, timeouts: Timeouts, now: float) -> Turn:
        """A turn for a complete message, made by the request room. Raises TypeError as :meth:`from_body` does."""
        stateful = bool(frame.get("previous_response_id") or frame.get("conversation"))
        lane = frame.get("stream_id")
        return cls(encode_json(frame), lane=lane, stateful=stateful, timeouts=timeouts, now=now)

    @property
    def ended(self) -> bool:
        """No further event will come: the terminal one did, or the turn failed."""
        return self.phase is Phase.DONE or self.failure is not None

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
            self.waiting_since = None
            event = self.events.popleft()
            self.buffered -= len(event.raw_bytes)
            return event
        if self.failure is not None:
            raise self.failure
        return None

    def wait(self, now: float) -> None:
        """A consumer begins to wait for the next event: its receive deadline runs from now."""
        if self.waiting_since is None:
            self.waiting_since = now

    def deadline(self) -> float | None:
        """When this turn's present wait times out, if it does."""
        if self.failure is not None:
            return None
        match self.current_phase:
            case Phase.LANE_WAIT:
                limit, start = self.timeouts.lane, self.since
            case Phase.CONNECT | Phase.HANDSHAKE:
                limit, start = self.timeouts.connect, self.since
            case Phase.SEND:
                limit, start = self.timeouts.send, self.since
            case Phase.AWAIT | Phase.STREAM:
                if self.waiting_since is None:  # Nobody waits: however long the consumer takes, it is not late.
                    return None
                limit, start = self.timeouts.receive, max(self.since, self.waiting_since)
            case Phase.DONE:
                return None
        return None if limit is None else start + limit

    def evidence(self, cause: Cause, *, close_code: int | None = None, refusal: Refusal | None = None) -> Evidence:
        """How far the turn got, as of now."""
        phase = self.current_phase
        return Evidence(
            phase=phase,
            cause=cause,
            final_byte_handed=phase >= Phase.AWAIT,
            response_started=phase >= Phase.STREAM,
            stateful=self.stateful,
            response_id=self.response_id,
            close_code=close_code,
            refusal=refusal,
        )

    def reset(self, now: float) -> None:
        """Forget the failed attempt: the turn is as before its first (recovery; only for a turn that may be sent)."""
        self.connection = None
        self.phase = Phase.LANE_WAIT
        self.since = now
        self.failure = None

    def deliver(self, event: ServerEvent) -> None:
        """Append an event for the consumer."""
        self.events.append(event)
        self.buffered += len(event.raw_bytes)

    def finish(self, event: LifecycleEvent) -> None:
        """The terminal event came."""
        self._terminal = event
        self.phase = Phase.DONE


class Outbox:
    """Frames on their way out, in order, each knowing the turn whose message it holds."""

    def __init__(self) -> None:
        self._frames: deque[tuple[memoryview, Turn | None]] = deque()
        self._offset = 0
        """Bytes of the first frame that were handed."""

    def __bool__(self) -> bool:
        return bool(self._frames)

    def message(self, frame: bytes, turn: Turn) -> None:
        """Queue a turn's message behind everything else."""
        self._frames.append((memoryview(frame), turn))

    def control(self, frame: bytes) -> None:
        """Queue a control frame before every message that has not begun: a ping does not wait for megabytes."""
        at = 1 if self.mid_frame else 0
        while at < len(self._frames) and self._frames[at][1] is None:
            at += 1
        self._frames.insert(at, (memoryview(frame), None))

    @property
    def mid_frame(self) -> bool:
        """Whether a frame was handed in part: nothing but its rest may follow."""
        return self._offset > 0

    def begun(self, turn: Turn) -> bool:
        """Whether part of this turn's message was handed."""
        return self.mid_frame and self._frames[0][1] is turn

    def remove(self, turn: Turn) -> None:
        """Forget a message that has not begun."""
        self._frames = deque(entry for entry in self._frames if entry[1] is not turn)

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._offset = 0

    def take(self, most: int) -> tuple[bytes, list[Turn]]:
        """Hand out at most ``most`` bytes, and the turns whose messages end within them."""
        parts: list[memoryview] = []
        ended: list[Turn] = []
        while self._frames and most > 0:
            frame, turn = self._frames[0]
            part = frame[self._offset : self._offset + most]
            parts.append(part)
            most -= len(part)
            self._offset += len(part)
            if self._offset == len(frame):
                self._frames.popleft()
                self._offset = 0
                if turn is not None:
                    ended.append(turn)
        return b"".join(parts), ended
