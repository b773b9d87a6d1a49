"""Watches the session of a replay, and writes its part of the timeline.

The promise
    It looks at the session after each step and changes nothing in it. What it writes has the times of the steps.
"""

from __future__ import annotations

import msgspec

from ..connection import Turn
from ..connections import Connection, why
from ..errors import TurnError
from ..evidence import Cause
from ..http import HttpConnection, Retrieval
from ..lanes import AUTO
from ..notices import Notice
from ..session import ResponsesSession
from ._format import Entry, Output
from ._timeline import (
    ConnectionTrack,
    EventMark,
    NoticeMark,
    RepeatMark,
    SessionTrack,
    TurnPhase,
    TurnTrack,
)

__all__ = ["SessionWatch"]


class _TurnWatch:
    """Watches one turn: a :class:`~turnwire.sansio.connection.TurnObserver`."""

    def __init__(self, watch: SessionWatch, turn: Turn, track: TurnTrack) -> None:
        self._watch = watch
        self._turn = turn
        self.track = track

    def came(self, now: float) -> None:
        """An event came."""
        event, connection = self._turn.events[-1], self._turn.connection
        raw = event.raw_bytes
        number = 0 if connection is None else _number(connection)
        mark = EventMark(at=now, type=event.type, length=len(raw), raw=raw, connection=number)
        self.track.events.append(mark)

    def repeats(self, reason: str, failure: TurnError | None, delay: float) -> None:
        """The turn is sent again."""
        connection = self._turn.connection
        verdict = None if failure is None else failure.evidence.verdict
        self.track.repeats.append(
            RepeatMark(
                at=self._watch.at,
                reason=reason,
                delay=delay,
                verdict=None if verdict is None else verdict.value,
                text="" if failure is None else why(failure),
                connection=None if connection is None else _number(connection),
            )
        )

    def ended(self, turn: Turn) -> None:
        """The turn has ended: :meth:`SessionWatch.look` sees how."""


def _number(connection: object) -> int:
    """The session's number for a connection."""
    return getattr(connection, "number", 0)


class SessionWatch:
    """Writes the track of one session."""

    def __init__(self, session: ResponsesSession, track: SessionTrack) -> None:
        self._session = session
        self.track = track
        self.at = track.began
        """The time of the present step."""
        self._live: dict[Turn, TurnTrack] = {}
        """Turns that were not seen to end."""
        self._unread: dict[Turn, tuple[TurnTrack, int]] = {}
        """Of turns: how many of their events were taken."""
        self._connections: dict[Connection, ConnectionTrack] = {}
        """Connections that were not seen to end."""
        self._links: dict[int, ConnectionTrack] = {}

    def begins(self, turn: Turn, entry: Entry, body: dict[str, object] | None) -> None:
        """A turn is about to begin."""
        track = TurnTrack(
            number=entry.turn or 0,
            session=self.track.number,
            lane=turn.lane,
            auto_lane=turn.wanted is AUTO,
            body=body,
            retrieval=turn.response_id if isinstance(turn, Retrieval) else None,
            began=turn.began,
            previous=turn.previous,
        )
        self.track.turns.append(track)
        self._live[turn] = track
        self._unread[turn] = (track, 0)
        turn.observer = _TurnWatch(self, turn, track)

    def refused(self, turn: Turn, error: Exception) -> None:
        """The session did not take the turn."""
        track = self._live.pop(turn)
        track.ended, track.end = self.at, "refused"
        track.failure, track.text = type(error).__name__, str(error)
        verdict = getattr(error, "verdict", None)
        track.verdict = None if verdict is None else verdict.value

    def took(self, turn: Turn, count: int) -> None:
        """Its consumer took so many events."""
        track, before = self._unread[turn]
        for mark in track.events[before : before + count]:
            mark.read_at = self.at
        self._unread[turn] = (track, before + count)

    def noticed(self, notice: Notice) -> None:
        """The session notes something."""
        mark = NoticeMark(at=self.at, name=notice.name, endpoint=notice.endpoint, reason=notice.reason)
        self.track.notices.append(mark)

    def opens(self, connection: Connection, link: int) -> None:
        """A transport is opened for a connection."""
        track = self._connections.get(connection)
        if track is None:
            track = self._connections[connection] = ConnectionTrack(
                number=connection.number,
                session=self.track.number,
                transport="http" if isinstance(connection, HttpConnection) else "websocket",
                endpoint=connection.endpoint.words,
                began=self.at,
            )
            self.track.connections.append(track)
        track.links.append(link)
        self._links[link] = track

    def told(self, output: Output) -> None:
        """The runtime was told something about a link."""
        kind, link, *more = output
        track = self._links[link]
        if kind == "write":
            track.sent += more[0]
        elif kind == "pause":
            track.pauses.append((self.at, None))
        else:
            track.pauses[-1] = (track.pauses[-1][0], self.at)

    def arrived(self, link: int, length: int) -> None:
        """Bytes arrived on a link."""
        self._links[link].received += length

    def opened(self, link: int) -> None:
        """A transport is open."""
        self._links[link].transport_open = self.at

    def gone(self, link: int) -> None:
        """A transport is gone."""
        self._links[link].gone = self.at

    # -- after each step

    def look(self) -> None:
        """Write down what has changed."""
        self.track.closed = self._session.closed
        for turn, track in list(self._live.items()):
            self._look_at_turn(turn, track)
        for connection, track in list(self._connections.items()):
            if track.opened is None and connection.opened_at is not None:
                track.opened = self.at
            if track.draining is None and connection.draining:
                track.draining = self.at
            if connection.is_closed:
                del self._connections[connection]
                track.ended = self.at
                failure = connection.failure
                track.reason = None if failure is None else why(failure)

    def _look_at_turn(self, turn: Turn, track: TurnTrack) -> None:
        connection = None if turn.connection is None else _number(turn.connection)
        phase = "BACKLOG" if connection is None else turn.current_phase.name
        last = track.waits[-1] if track.waits else None
        over = turn.ended
        if last is None or (not over and (last.phase, last.connection) != (phase, connection)):
            if last is not None:
                last.until = self.at
            track.waits.append(TurnPhase(phase=phase, at=self.at, connection=connection))
        track.lane, track.response_id, track.transport = turn.lane, turn.response_id, turn.transport
        if over:
            del self._live[turn]
            track.waits[-1].until = track.ended = self.at
            _write_end(turn, track)


def _write_end(turn: Turn, track: TurnTrack) -> None:
    """How a turn has ended."""
    failure, response = turn.failure, turn.response
    if failure is not None:
        left = failure.cause is Cause.CANCELLED
        track.end = "left" if left else "error"
        track.left = track.ended if left else None
        track.verdict = failure.verdict.value
        track.failure, track.text = type(failure).__name__, str(failure)
        track.evidence = msgspec.to_builtins(failure.evidence, enc_hook=str) | {"phase": failure.phase.name}
    else:
        track.end = (None if response is None else response.status) or "completed"
