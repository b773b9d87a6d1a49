"""The recorder: a driver that writes down each of its inputs before it acts on it, and what followed.

The promise
    It is a :class:`~turnwire.sansio.driver.Driver` that does nothing else: without ``record=`` none of this is loaded.
    What fails here is logged once and ends the recording; it never reaches a caller. Each input is one line, which is
    written when its step is over.

What is an input
    The calls of consumers and the reports of the runtime, with their times; and what the core asks its caller for:
    random bytes, the time of day, whether a turn may be repeated. How many events consumers have taken is seen by
    comparing, at the next input, what is unread: between two inputs nothing else can change it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec

from ..chance import SYSTEM_RANDOM, RandomBytes
from ..connection import Turn, TurnInput
from ..dialect import dialect_of_host
from ..driver import Driver
from ..endpoint import USER_AGENT, Endpoint
from ..errors import TurnError, TurnwireError
from ..http import Compaction, Retrieval
from ..lanes import AUTO
from ..link import Link, Runtime
from ..measures import Recorder
from ..notices import Notices, called
from ..options import SessionOptions
from ..record import OpenFile, Recording
from ..session import ResponsesSession
from ._format import FORMAT, Entry, Header, RecordedRetrieval, encode_line, encoded
from ._options import recorded_options
from ._outputs import OutputNotes
from ._scrub import JsonScrubber
from ._secrets import Secrets
from ._streams import CompressedError, Held

__all__ = ["RecordingDriver", "SessionLog", "recorded_session"]

FLUSHED_EVERY: Final = 1.0
"""Seconds after which a line is passed on with those before it (F-FILE-3)."""

T = TypeVar("T")


class SessionLog:
    """The lines of one session."""

    # More than 12 attributes: six are arguments, and the others are the line that is being made.

    def __init__(
        self,
        recording: Recording,
        open_file: OpenFile | None,
        notices: Notices,
        wall_clock: Callable[[], float | None],
        opening: Entry,
    ) -> None:
        self._recording = recording
        self._open_file = open_file
        self._notices = notices
        self._wall_clock = wall_clock
        self.opening = opening
        """The session's first line."""
        self.session: int | None = None
        """The number of the session; None: nothing was written yet; 0: nothing is written any more."""
        self.at = 0.0
        """The time of the last step."""
        self._flushed = 0.0
        """When the file was flushed last, by the event loop's time."""
        self.unread: dict[Turn, int] = {}
        """How many events of each turn were unread when the last step was over."""
        self.turns: dict[Turn, int] = {}
        """The numbers of the turns that have not been left."""
        self._steps: list[Entry] = []
        """The step that is being carried out; behind it the calls that hooks made within it."""
        self._within: list[Entry] = []
        """Finished lines of such calls."""
        self._before: list[tuple[int, float, dict[int, int]]] = []
        """Consumers that have begun to wait since the last line."""
        self.scrubber = JsonScrubber(recording.key) if recording.scrub else None
        self._held = None if self.scrubber is None else Held(self.scrubber)

    # -- what the core asks its caller for

    def random_bytes(self, source: RandomBytes) -> RandomBytes:
        """The source, with what it gives written down."""

        def draw(size: int) -> bytes:
            drawn = source(size)
            self._drew("random", drawn.hex())
            return drawn

        return draw

    def drawing(self, kind: str, source: Callable[[], T]) -> Callable[[], T]:
        """The function, with its results written down."""

        def draw() -> T:
            value = source()
            self._drew(kind, value)
            return value

        return draw

    def should_repeat(self, asked: Callable[[TurnError], bool]) -> Callable[[TurnError], bool]:
        """The caller's function, with its answers written down."""

        def ask(failure: TurnError) -> bool:
            drawn: bool | None = None
            try:
                drawn = answer = bool(called(asked, failure))
            finally:
                self._drew("repeat", drawn)
            return answer

        return ask

    def _drew(self, kind: str, value: object) -> None:
        self._steps[-1].drawn.append((kind, value))

    # -- lines

    @property
    def busy(self) -> bool:
        """Whether a step is being carried out."""
        return bool(self._steps)

    def enter(self, entry: Entry) -> None:
        """A step begins."""
        self.at = entry.at
        if self._steps:
            entry.within = True
        elif self.unread:
            entry.read = self._taken()
        self._steps.append(entry)

    def _taken(self) -> dict[int, int]:
        """How many events consumers have taken, by turn."""
        taken: dict[int, int] = {}
        for turn, before in self.unread.items():  # Not a comprehension, which is a call: this runs once per read.
            if before != len(turn.events):
                taken[self.turns[turn]] = before - len(turn.events)
        return taken

    def waits(self, number: int, at: float) -> None:
        """A consumer has begun to wait, and nothing followed from it. Hot path: runs once per event that is waited for,
        and so makes no entry."""
        self.at = at
        taken: dict[int, int] = {}
        if self.unread:
            taken = self._taken()
            self.unread = {turn: len(turn.events) for turn in self.unread if turn.events}
        self._before.append((number, at, taken))

    def leave(self, data: bytes) -> None:
        """The step that began last is over. ``data`` is what arrived with it."""
        entry = self._steps.pop()
        if self._steps:
            self._within.append(entry)
            return
        if self._before:
            entry.before, self._before = self._before, []
        self.unread = {turn: len(turn.events) for turn in self.turns if turn.events}
        if self.session == 0:
            self._within.clear()
            return
        try:
            if self.session is None:
                self._begin(entry.at)
            self._write_step(entry, data)
            while self._within:
                self._write_step(self._within.pop(0), b"")
        except Exception as exc:
            self._failed(exc)

    def _write_step(self, entry: Entry, data: bytes) -> None:
        if self._held is None:
            self._write(entry, data)
        else:
            self._write_scrubbed(self._held, entry, data)
        if entry.do == "cancel" or entry.at - self._flushed >= FLUSHED_EVERY:
            self._flushed = entry.at
            self._recording.flush()

    def _write_scrubbed(self, held: Held, entry: Entry, data: bytes) -> None:
        try:
            for each, its in held.add(entry, data):
                self._write(each, its)
        except CompressedError:
            self._write(self._end(entry.at, "failed"), b"")
            raise

    def _begin(self, at: float) -> None:
        """Write the first line of the session, and of the file if it is new."""
        recording, wall = self._recording, self._wall_clock() or 0.0
        self.session = 0  # If the next line raises.
        self.session = recording.begin(self._open_file, encode_line(_header(recording, wall)))
        self.opening.at, self.opening.wall = at, wall
        self._write(self.opening, b"")

    def _write(self, entry: Entry, data: bytes) -> None:
        entry.session = session = self.session or 0
        if not self._recording.write(session, encoded(entry, data)):
            self._recording.finish(session, encode_line(self._end(entry.at, "max_bytes")))

    def _end(self, at: float, reason: str) -> Entry:
        return Entry(do="end", at=at, session=self.session or 0, reason=reason)

    def rest(self) -> None:
        """No transport is left: another may be opened later, or never."""
        if self.session:
            try:
                self._recording.release(self.session)
            except Exception as exc:
                self._failed(exc)

    def finish(self) -> None:
        """The session is closed, and its last transport is gone."""
        if self.session:
            self.enter(self._end(self.at, "closed"))
            self.leave(b"")
            self.rest()
            self.session = 0

    def _failed(self, error: Exception) -> None:
        self.session = 0
        self._notices.raised("the recording", error)


def _header(recording: Recording, wall: float) -> Header:
    # F-SCRUB-2.
    return Header(
        turnwire_recording=FORMAT,
        turnwire=USER_AGENT.rpartition("/")[2],
        wall=wall,
        outputs=recording.outputs,
        scrubbed=recording.scrub,
        max_bytes=recording.max_bytes,
    )


class _Step:
    """One input, as a context: what is done within follows from it."""

    def __init__(self, driver: RecordingDriver, entry: Entry, data: bytes = b"") -> None:
        self._driver = driver
        self._entry = entry
        self._data = data

    def __enter__(self) -> None:
        self._driver.notes.begin(self._entry.out)
        self._driver.log.enter(self._entry)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self._entry.raised = kind.__name__
        self._driver.notes.end()
        self._driver.log.leave(self._data)
        if self._driver.done and not self._driver.log.busy:
            self._driver.rests()


class RecordingDriver(Driver):
    """A driver whose inputs are written down. See the top of the module; made by :func:`recorded_session`."""

    def __init__(
        self,
        session: ResponsesSession,
        runtime: Runtime,
        endpoint: Callable[[], Endpoint],
        recorder: Recorder | None,
        log: SessionLog,
        notes: OutputNotes,
    ) -> None:
        super().__init__(session, notes, endpoint, recorder)
        self.log = log
        self.notes = notes
        notes.runtime = runtime
        self._watched: dict[Any, int] = {}
        """The numbers of those who wait for another condition than a turn's events."""
        self._observed = self._begun = 0
        """How many have waited for such a condition, and how many turns were begun."""

    def rests(self) -> None:
        """There is no transport left."""
        if self.session.closed:
            self.log.finish()
        else:
            self.log.rest()

    def _step(self, do: str, now: float, **more: Any) -> _Step:
        return _Step(self, Entry(do=do, at=now, **more))

    # -- what a consumer does: as of every driver

    def submit(self, turn: Turn, now: float) -> Turn:
        self._begun += 1
        self.log.turns[turn] = self._begun
        limits = msgspec.structs.astuple(turn.timeouts)
        began = None if turn.began == now else turn.began
        with self._step("submit", now, turn=self._begun, timeouts=limits, began=began, **self._asked(turn)):
            return super().submit(turn, now)

    def _asked(self, turn: Turn) -> dict[str, Any]:
        """The members of a line that say what the turn asks for (F-TURN-1)."""
        if isinstance(turn, Retrieval):
            return {"retrieval": _retrieval(turn, self.log.scrubber)}
        if isinstance(turn, Compaction):
            return {"body": self._shown(turn.message), "compaction": True}
        follows = None
        if turn.previous is not None and (turn.in_full is not None or turn.forks or not turn.stateful):
            follows = (turn.previous, turn.forks, turn.in_full is not None)
        if turn.in_full is not None:
            turn.in_full = partial(self._drawn_in_full, turn.in_full)
        return {"body": self._shown(turn.message), "auto_lane": turn.wanted is AUTO, "follows": follows}

    def _drawn_in_full(self, in_full: Callable[[], bytes]) -> bytes:
        """The second message of a turn, which is written down (F-DRAWN-1)."""
        message = in_full()
        self.log.drawing("in_full", lambda: bytes(self._shown(message)).decode())()
        return message

    def _shown(self, message: bytes) -> msgspec.Raw:
        """A JSON text that is sent, as a recording may have it: without credentials, and scrubbed if that is wanted."""
        masked = self.notes.secrets.masked(message)
        if masked is not message:
            self.notes.outputs = "length"
        return msgspec.Raw(masked if self.log.scrubber is None else self.log.scrubber.message(masked, of_server=False))

    def cancel(self, turn: Turn, now: float) -> None:
        number = self.log.turns.get(turn)
        if number is None:
            super().cancel(turn, now)
            return
        with self._step("cancel", now, turn=number, leave=turn.leave):
            super().cancel(turn, now)
            del self.log.turns[turn]

    def listen(self, turn: Turn, waiter: Any, clock: Callable[[], float]) -> None:
        number, now = self.log.turns.get(turn, 0), clock()
        if self.log.busy or self._paused or self._alarm.at < self._timer or turn in self._waiters:
            with self._step("listen", now, turn=number):
                super().listen(turn, waiter, lambda: now)
                self.notes.waiters[waiter] = number
        else:  # Nothing follows from it.
            super().listen(turn, waiter, clock)
            self.notes.waiters[waiter] = number
            self.log.waits(number, now)

    def ignore(self, turn: Turn, waiter: Any) -> None:
        number = self.notes.waiters.pop(waiter, None)
        if number is not None:  # It was not woken before.
            with self._step("ignore", self.log.at, turn=number):
                super().ignore(turn, waiter)

    def send_input(self, one: TurnInput, now: float) -> None:
        number = self.log.turns.get(one.turn)
        if number is None or one.turn.ended:  # Nothing follows from it.
            super().send_input(one, now)
            return
        with self._step(one.kind, now, turn=number, body=self._shown(one.encoded)):
            super().send_input(one, now)

    def wake_when(self, waiter: Any, until: Callable[[], bool], turn: Turn | None = None) -> None:
        self._observed += 1
        self._watched[waiter] = self._observed
        number = None if turn is None else self.log.turns.get(turn)
        with self._step("observe", self.log.at, waiter=self._observed, turn=number):
            super().wake_when(waiter, until, turn)

    def forget(self, waiter: Any) -> None:
        with self._step("forget", self.log.at, waiter=self._watched.pop(waiter, 0)):
            super().forget(waiter)

    def connect(self, now: float) -> None:
        with self._step("connect", now):
            super().connect(now)

    def close(self, now: float, *, wait_for_peer: bool = True) -> None:
        with self._step("close", now, wait_for_peer=wait_for_peer):
            super().close(now, wait_for_peer=wait_for_peer)

    def drain(self, now: float, timeout: float | None) -> None:
        with self._step("drain", now, timeout=timeout):
            super().drain(now, timeout)

    def abort(self, now: float) -> None:
        with self._step("abort", now):
            super().abort(now)

    def give_up(self, now: float) -> None:
        with self._step("give_up", now):
            super().give_up(now)

    def close_without_waiting(self, now: float) -> None:
        with self._step("close_without_waiting", now):
            super().close_without_waiting(now)

    # -- what the runtime reports: as to every driver. Of a link that is gone nothing is reported any more.

    def opened(self, link: Link, now: float) -> None:
        number = self.notes.numbers.get(link)
        if number is not None:
            given = self.notes.secrets.learn(link.connection.endpoint)
            differs = given != self.log.opening.endpoint
            with self._step("opened", now, link=number, endpoint=given if differs else None):
                super().opened(link, now)

    def received(self, link: Link, data: bytes, now: float) -> None:
        notes, log = self.notes, self.log
        number = notes.numbers.get(link)
        if number is None:
            return
        shown = notes.incoming[link].masked(data)
        entry = Entry(do="received", at=now, link=number)
        notes.begin(entry.out)
        log.enter(entry)
        try:  # As a _Step does, which costs more.
            super().received(link, data, now)
        except BaseException as exc:
            entry.raised = type(exc).__name__
            raise
        finally:
            notes.end()
            log.leave(shown)

    def writable(self, link: Link, now: float) -> None:
        number = self.notes.numbers.get(link)
        if number is not None:
            with self._step("writable", now, link=number):
                super().writable(link, now)

    def lost(self, link: Link, error: TurnwireError | None, now: float) -> None:
        number = self.notes.numbers.get(link)
        if number is not None:
            told = None if error is None else (type(error).__name__, str(error))
            with self._step("lost", now, link=number, error=told):
                super().lost(link, error, now)
                self.notes.gone(link)

    def time_came(self, now: float) -> None:
        with self._step("time_came", now):
            super().time_came(now)


def _retrieval(turn: Retrieval, scrubber: JsonScrubber | None) -> RecordedRetrieval:
    include = tuple(unquote(each.partition("=")[2]) for each in turn.include)
    response_id = turn.response_id or ""
    if scrubber is not None:
        response_id = scrubber.identity(response_id.encode()).decode()
    return RecordedRetrieval(
        response_id=response_id, stream=turn.stream, starting_after=turn.sequence_number, include=include
    )


def recorded_session(
    recording: Recording,
    open_file: OpenFile | None,
    runtime: Runtime,
    endpoint: Callable[[], Endpoint],
    recorder: Recorder | None,
    *,
    options: SessionOptions,
    notices: Notices,
    wall_clock: Callable[[], float | None],
    retries_allowed: Callable[[], bool],
    random_bytes: RandomBytes = SYSTEM_RANDOM,
) -> tuple[ResponsesSession, RecordingDriver]:
    """A session and its driver, recorded."""
    given = options.given_dialect
    secrets = Secrets(given)
    opening = Entry(
        do="session",
        at=0.0,
        endpoint=secrets.learn(endpoint()),
        options=recorded_options(options),
        dialect=(given or dialect_of_host(endpoint().host)).name,
    )
    log = SessionLog(recording, open_file, notices, wall_clock, opening)
    asks = options.recovery.should_repeat
    if asks is not None:
        policy = msgspec.structs.replace(options.recovery, should_repeat=log.should_repeat(asks))
        options = msgspec.structs.replace(options, recovery=policy)
    session = ResponsesSession(
        options=options,
        random_bytes=log.random_bytes(random_bytes),
        wall_clock=log.drawing("wall", wall_clock),
        retries_allowed=log.drawing("retries", retries_allowed),
        notices=notices,
    )
    notes = OutputNotes(recording.outputs, secrets)
    return session, RecordingDriver(session, runtime, endpoint, recorder, log, notes)
