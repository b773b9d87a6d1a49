"""The replay: a fresh session and driver get the recorded inputs, and are held against what the recorded ones did.

::

    replay = Replay(Path("session.jsonl").read_bytes())
    timeline = replay.run()
    timeline.difference  # None: the core did the same

The promise
    It needs no network, no clock and no event loop (RECORDING.md, "Replay"). It can be stepped through: ``for line in
    replay:`` yields each line when it was replayed, and :attr:`Replay.timeline` is then as of that line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from ..connection import Turn, TurnInput
from ..driver import Driver
from ..endpoint import Endpoint
from ..errors import TransportError, TurnwireError, UserError, WrongTypeError
from ..http import Compaction, Retrieval
from ..lanes import AUTO
from ..link import Link
from ..notices import NoticeName, Notices
from ..session import ResponsesSession
from ..timeouts import Timeouts
from ._format import Entry, Header, Line, Output, RecordedFile, RecordingError
from ._options import options_of
from ._outputs import OutputNotes
from ._secrets import Secrets, placed
from ._timeline import Difference, SessionTrack, Timeline
from ._watch import SessionWatch

__all__ = ["Replay"]

_NOTICES: Final[tuple[NoticeName, ...]] = (
    "connection_opened",
    "connection_lost",
    "connection_closed",
    "turn_repeated",
    "rotated",
    "fell_back",
)
_ERRORS: Final = {kind.__name__: kind for kind in (TransportError, UserError, WrongTypeError)}
"""What a transport can be lost by."""


class _Notices(Notices):
    """Where hooks made calls of the session, the same calls are made."""

    def __init__(self) -> None:
        super().__init__()
        self.within: deque[Callable[[], None]] = deque()

    def deliver(self) -> None:
        """Make the calls, then pass on what is queued."""
        self.make_calls()
        super().deliver()

    def make_calls(self) -> None:
        """Make the calls that hooks made in this step."""
        while self.within:
            self.within.popleft()()


class _Notes(OutputNotes):
    """The outputs of the replay; it also tells the watch of new links."""

    watch: SessionWatch

    def open(self, link: Link) -> None:
        """Open a transport."""
        super().open(link)
        self.watch.opens(link.connection, self.numbers[link])


class _SessionReplay:
    """One session of the recording."""

    # More than 12 attributes: three are the machines, three what is drawn and compared, and five stand for the numbers
    # of the recording.

    def __init__(self, line: Line, header: Header) -> None:
        entry = line.entry
        if entry.endpoint is None:
            raise RecordingError(f"line {line.number} of the recording begins a session without an endpoint")
        self._endpoint: Endpoint = placed(entry.endpoint)
        self.differs: tuple[str, str] | None = None
        """What was expected and what came, if that differs."""
        self._drawn: deque[tuple[str, Any]] = deque()
        options = options_of(entry.options or {}, lambda failure: bool(self._draw("repeat", False)))
        self.notices = _Notices()
        self._session = ResponsesSession(
            options=options,
            random_bytes=self._random_bytes,
            wall_clock=lambda: self._draw("wall", None),
            retries_allowed=lambda: self._draw("retries", True),
            notices=self.notices,
        )
        secrets = Secrets(options.given_dialect)
        secrets.learn(self._endpoint)
        self._notes = _Notes(header.outputs, secrets)
        self._driver = Driver(self._session, self._notes, lambda: self._endpoint)
        track = SessionTrack(
            number=entry.session,
            began=entry.at,
            wall=entry.wall or 0.0,
            url=self._endpoint.url,
            options=entry.options or {},
            dialect=entry.dialect or "",
        )
        self.watch = self._notes.watch = SessionWatch(self._session, track)
        for name in _NOTICES:
            self.notices.on(name, self.watch.noticed)
        self._turns: dict[int, Turn] = {}
        self._waiters: dict[int, object] = {}
        """Those who wait, by the number of the turn."""
        self._observers: dict[int, object] = {}

    # -- what the core asks for

    def _draw(self, kind: str, other: Any) -> Any:
        """The next thing that was drawn; ``other`` if the core asks for something else than in the recording."""
        if self._drawn and self._drawn[0][0] == kind:
            return self._drawn.popleft()[1]
        had = repr(self._drawn[0]) if self._drawn else "nothing more"
        self._note_difference(f"{had} to be drawn", f"the core asks for {kind}")
        return other

    def _random_bytes(self, size: int) -> bytes:
        drawn = bytes.fromhex(self._draw("random", ""))
        if len(drawn) != size:
            self._note_difference(f"{len(drawn)} random bytes to be drawn", f"the core asks for {size}")
        return drawn.ljust(size, b"\0")[:size]

    def _note_difference(self, expected: str, got: str) -> None:
        self.differs = self.differs or (expected, got)

    # -- one line

    def replay(self, line: Line) -> None:
        """Replay one line; :attr:`differs` says afterwards whether the core did the same."""
        entry = line.entry
        for turn, at, read in entry.before:
            self._wait(turn, at, read)
        self.watch.at = entry.at
        self._take(entry.read)
        self._drawn.extend(entry.drawn)
        self._notes.takes += [bool(output[4]) for output in entry.out if output[0] == "write" and len(output) > 4]
        out: list[Output] = []
        self._notes.begin(out)
        raised: str | None = None
        try:
            self._act(line)
            self.notices.make_calls()
        except RecordingError:
            raise
        except Exception as exc:
            raised = type(exc).__name__
            if entry.do == "submit" and (turn := self._turns.get(entry.turn or 0)) is not None:
                self.watch.refused(turn, exc)
        self._notes.end()
        self._compare(entry, out, raised)
        for output in out:
            if output[0] in ("write", "pause", "resume"):
                self.watch.told(output)
        self.watch.look()

    def _wait(self, turn: int, at: float, read: dict[int, int]) -> None:
        """A consumer has begun to wait, without another effect."""
        self.watch.at = at
        self._take(read)
        out: list[Output] = []
        self._notes.begin(out)
        self._listen(turn, at)
        self._notes.end()
        if out:
            self._note_difference(_shown(None), _shown(out[0]))

    def _take(self, read: dict[int, int]) -> None:
        """Consumers have taken events."""
        for number, count in read.items():
            turn = self._turn(number)
            if len(turn.events) < count:
                self._note_difference(f"{count} unread events of turn {number}", f"{len(turn.events)}")
            for _ in range(min(count, len(turn.events))):
                turn.next_event()
            self.watch.took(turn, count)

    def _compare(self, entry: Entry, out: list[Output], raised: str | None) -> None:
        if raised != entry.raised:
            self._note_difference(f"{entry.raised or 'no exception'}", f"{raised or 'no exception'}")
        for index in range(max(len(out), len(entry.out))):
            had = tuple(entry.out[index]) if index < len(entry.out) else None
            came = out[index] if index < len(out) else None
            if had is not None and came is not None and had[0] == came[0] == "write" and len(had) > 3 and not had[3]:
                came = (*came[:3], "", *came[4:])
            if had != came:
                self._note_difference(_shown(had), _shown(came))
        if self._drawn:
            self._note_difference(f"{self._drawn[0]!r} to be drawn", "the core asks for nothing more")
            self._drawn.clear()
        self._notes.takes.clear()

    def _act(self, line: Line) -> None:
        """Make the call that the line says."""
        entry, driver, now = line.entry, self._driver, line.entry.at
        match entry.do:
            case "submit":
                self._submit(line)
            case "cancel":
                turn = self._turn(entry.turn)
                turn.leave = "abort" if entry.leave == "abort" else "abandon" if entry.leave == "abandon" else None
                driver.cancel(turn, now)
            case "steer" | "inject":
                encoded = bytes(entry.body)
                driver.send_input(TurnInput(self._turn(entry.turn), entry.do, None, encoded), now)
            case "listen":
                self._listen(entry.turn, now)
            case "ignore":
                driver.ignore(self._turn(entry.turn), self._waiters.pop(entry.turn or 0, None))
            case "observe":
                waiter = self._observers[entry.waiter or 0] = object()
                driver.wake_when(waiter, lambda: False, None if entry.turn is None else self._turn(entry.turn))
            case "forget":
                driver.forget(self._observers.pop(entry.waiter or 0, None))
            case "opened" | "received" | "writable" | "lost":
                self._report(line)
            case "close":
                driver.close(now, wait_for_peer=entry.wait_for_peer)
            case "drain":
                driver.drain(now, entry.timeout)
            case "end":
                self.watch.track.end, self.watch.track.ended = entry.reason, now
            case "connect" | "abort" | "give_up" | "close_without_waiting" | "time_came":
                getattr(driver, entry.do)(now)
            case _:
                raise RecordingError(f"line {line.number} of the recording has an unknown input: {entry.do!r}")

    def _submit(self, line: Line) -> None:
        entry = line.entry
        timeouts = Timeouts(*(entry.timeouts or ()))
        began = entry.at if entry.began is None else entry.began
        body: dict[str, Any] | None = None
        if entry.retrieval is not None:
            wanted = msgspec.structs.asdict(entry.retrieval)
            turn: Turn = Retrieval(**wanted, timeouts=timeouts, now=began)
        else:
            message = bytes(entry.body or b"null")
            body = msgspec.json.decode(message)
            if not isinstance(body, dict):
                raise RecordingError(f"line {line.number} of the recording begins a turn without a body")
            lane = AUTO if entry.auto_lane else None
            if entry.compaction:
                turn = Compaction(body, timeouts=timeouts, now=began)
            else:
                turn = Turn.from_frame(body, timeouts=timeouts, now=began, lane=lane)
            turn.message = message
            if entry.follows is not None:
                self._follow(turn, body, *entry.follows)
        self._turns[entry.turn or 0] = turn
        self.watch.begins(turn, entry, body)
        self._driver.submit(turn, entry.at)

    def _follow(self, turn: Turn, body: Mapping[str, Any], previous: str | None, forks: bool, second: bool) -> None:
        turn.previous, turn.forks = previous, forks
        if second:
            turn.in_full = lambda: self._draw("in_full", "").encode()
            turn.fits_http = "generate" not in body

    def _listen(self, number: int | None, now: float) -> None:
        turn, waiter = self._turn(number), object()
        self._driver.listen(turn, waiter, lambda: now)
        self._waiters[number or 0] = waiter
        self._notes.waiters[waiter] = number or 0

    def _report(self, line: Line) -> None:
        """What a runtime reports of a link."""
        entry, now, number = line.entry, line.entry.at, line.entry.link
        link = next((link for link, its in self._notes.numbers.items() if its == number), None)
        if link is None or number is None:
            raise RecordingError(f"line {line.number} of the recording names link {number}, which is not open")
        match entry.do:
            case "opened":
                if entry.endpoint is not None:
                    link.connection.endpoint = placed(entry.endpoint)
                self._notes.secrets.learn(link.connection.endpoint)
                self.watch.opened(number)
                self._driver.opened(link, now)
            case "received":
                self.watch.arrived(number, len(line.data))
                self._notes.incoming[link].masked(line.data)
                self._driver.received(link, line.data, now)
            case "writable":
                self._driver.writable(link, now)
            case _:
                self.watch.gone(number)
                self._driver.lost(link, _error(entry.error), now)
                self._notes.gone(link)

    def _turn(self, number: int | None) -> Turn:
        turn = self._turns.get(number or 0)
        if turn is None:
            raise RecordingError(f"the recording names turn {number}, which has not begun")
        return turn


def _error(told: tuple[str, str] | None) -> TurnwireError | None:
    """The exception that a transport was lost by."""
    return None if told is None else _ERRORS.get(told[0], TransportError)(told[1])


def _shown(output: Output | None) -> str:
    return "nothing more" if output is None else " ".join(map(str, output))


class Replay:
    """The replay of one recording. See the top of the module.

    Raises RecordingError for what is no recording; while it runs, for a line that cannot be read or replayed.

    Source: F-REPLAY-1, F-REPLAY-2.
    """

    def __init__(self, contents: bytes) -> None:
        self._file = RecordedFile(contents)
        header = self._file.header
        if header.kind != "session":
            raise RecordingError(
                "this recording is one of a proxy: nothing to replay in a client's core. `turnwire replay` shows it"
            )
        self._sessions: dict[int, _SessionReplay] = {}
        self.timeline = Timeline(
            began=0.0, ended=0.0, wall=header.wall, turnwire=header.turnwire, scrubbed=header.scrubbed, lines=1
        )
        """What happened, up to the line that was last replayed."""

    def run(self) -> Timeline:
        """Replay all lines, or those up to the first difference."""
        for _ in self:
            pass
        return self.timeline

    def __iter__(self) -> Iterator[Line]:
        """Replay the lines one after another; each is yielded when it was replayed. Only once."""
        group: list[Line] = []
        for line in self._file:
            if group and not line.entry.within:
                yield from self._replay(group)
                group = []
            if self.timeline.difference is not None:
                return
            group.append(line)
        if group:
            yield from self._replay(group)
        self.timeline.cut = self._file.cut

    def _replay(self, group: list[Line]) -> list[Line]:
        """Replay one step: its line, and those of the calls that hooks made within it."""
        first, *within = group
        entry, timeline = first.entry, self.timeline
        if entry.do == "session":
            self._sessions[entry.session] = session = _SessionReplay(first, self._file.header)
            timeline.began = entry.at if not timeline.sessions else min(timeline.began, entry.at)
            timeline.sessions.append(session.watch.track)
        else:
            session = self._sessions.get(entry.session)
            if session is None:
                raise RecordingError(f"line {first.number} of the recording is of session {entry.session}, not begun")
            for line in within:
                session.notices.within.append(lambda line=line: self._one(session, line))
            self._one(session, first)
        timeline.ended = max(timeline.ended, entry.at)
        timeline.lines = group[-1].number
        return group

    def _one(self, session: _SessionReplay, line: Line) -> None:
        session.replay(line)
        if session.differs is not None and self.timeline.difference is None:
            expected, got = session.differs
            entry = line.entry
            self.timeline.difference = Difference(
                line=line.number, do=entry.do, at=entry.at, expected=expected, got=got
            )
