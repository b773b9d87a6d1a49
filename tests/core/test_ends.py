"""DESIGN.md, "What happens when a connection ends": every row of the table is run against a session."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import turnwire.sansio
from kit.machines import ENDPOINT, Wire, answer, check_text, steady, switching
from kit.peers import CLOSE, created, event, frame
from turnwire.sansio import errors
from turnwire.sansio.connection import State, Turn
from turnwire.sansio.dialect import Dialect, LaneSupport
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts

SANSIO = Path(turnwire.sansio.__file__ or "").parent
PAGE = (SANSIO / "spec" / "DESIGN.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## What happens when a connection ends\n")[2].partition("\n## ")[0]

LIMIT = 32 * 1024
"""What the server of these tests is known to take, in bytes of one message."""
SIZES = {"with 16 KiB": 16 * 1024, "with 1 KiB": 1024, "over the limit": LIMIT, "": 8}
"""How long the text of a turn's request is, by what the table says behind its phase."""


class Row(NamedTuple):
    """One row of the table, cell by cell."""

    rule: str
    ends_by: str
    phases: str
    cause: str
    verdict: str
    session: str
    error: str


def rows_of(section: str) -> list[Row]:
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| **D-END-")]
    return [Row(*(cell.strip() for cell in cells)) for cells in lines]


class Bench:
    """A session with a turn that has got as far as a row says, on a connection that can be ended."""

    def __init__(self, phase: Phase, size: int, *, attempts: int, **options: Any) -> None:
        self.session = ResponsesSession(
            options=SessionOptions(
                transport="websocket",
                dialect=Dialect(name="test", lanes=LaneSupport.YES, message_limit=LIMIT),
                recovery=RecoveryPolicy(attempts=attempts),
                **{"ping_interval": None, "timeouts": Timeouts(connect=None, send=5.0, receive=7.0), **options},
            ),
            random_bytes=steady,
        )
        self.now = 100.0
        before = self.create("") if phase is Phase.LANE_WAIT else None
        self.turn = self.create("x" * size)
        self.wire = Wire(self.session.open(ENDPOINT, self.now))
        if phase >= Phase.HANDSHAKE or before is not None:
            assert self.wire.connect()
        if phase >= Phase.SEND or before is not None:
            self.wire.receive(switching())
        if phase is Phase.SEND:
            assert self.wire.hand(1)
        if phase >= Phase.AWAIT or before is not None:
            self.wire.hand(10**9)
        if phase >= Phase.STREAM:
            self.receive(created("lane"))
            assert self.turn.next_event() is not None  # A turn with unread events has no receive deadline.
        assert self.turn.current_phase is phase

    def create(self, text: str) -> Turn:
        return self.session.create({"input": text}, lane="lane", now=self.now)

    def receive(self, data: bytes) -> None:
        self.session.receive_data(self.wire.connection, data, self.now)

    def let_time_pass(self) -> None:
        """Deadline after deadline, until the connection has ended; what is to be sent is sent."""
        while self.wire.state is not State.CLOSED:
            moment = self.session.next_deadline()
            assert moment is not None
            self.now = max(self.now, moment)
            self.session.handle_deadline(self.now)
            if self.turn.phase >= Phase.AWAIT:
                self.wire.hand()


def close_frame(code: int) -> Callable[[Bench], None]:
    return lambda bench: bench.receive(frame(CLOSE, code.to_bytes(2, "big")))


def upgrade_answered(status: int) -> Callable[[Bench], None]:
    return lambda bench: bench.receive(answer(status))


def limit_reached(bench: Bench) -> None:
    bench.receive(event("error", status=400, code="websocket_connection_limit_reached"))
    close_frame(1000)(bench)


NO_LIMITS = {"timeouts": Timeouts(send=None, receive=None)}
ENDS: dict[str, tuple[Callable[[Bench], None], dict[str, Any]]] = {
    "FIN": (lambda bench: bench.receive(b""), {}),
    "RST": (lambda bench: bench.session.transport_failed(bench.wire.connection, "reset", bench.now), {}),
    "an unanswered ping": (Bench.let_time_pass, {"ping_interval": 20.0, "ping_timeout": 20.0, **NO_LIMITS}),
    "`stall_timeout`": (Bench.let_time_pass, {"stall_timeout": 30.0, **NO_LIMITS}),
    "a broken frame": (lambda bench: bench.receive(b"\xff\xff"), {}),
    "`connect_timeout`": (Bench.let_time_pass, {"connect_timeout": 3.0}),
    "`websocket_connection_limit_reached`": (limit_reached, {}),
    "`send` deadline of its only turn": (Bench.let_time_pass, {}),
    "`receive` deadline of its only turn": (Bench.let_time_pass, {}),
    "`session.aclose()`": (lambda bench: bench.session.close(bench.now), {}),
}
"""What the second column says, as what is done; and the options that it needs."""


def ends_of(row: Row) -> Iterator[tuple[Callable[[Bench], None], dict[str, Any], int | None]]:
    """Each way in which a row's connection ends, the options that it needs, and the close code."""
    for words, make in (("close frame ", close_frame), ("upgrade answered ", upgrade_answered)):
        if row.ends_by.startswith(words):
            numbers = map(int, re.findall(r"\d+", row.ends_by))
            yield from ((make(number), {}, number if make is close_frame else None) for number in numbers)
            return
    yield from ((*ENDS[name], None) for name in row.ends_by.split(", "))


def complaints(row: Row) -> Iterator[str]:
    """What the core does otherwise than the row says."""
    for place in row.phases.split(", "):
        name, _, size = place.partition(" ")
        phase = Phase[name]
        for end, options, code in ends_of(row):
            unrepeated = Bench(phase, SIZES[size], attempts=0, **options)
            end(unrepeated)
            failure = unrepeated.turn.failure
            assert failure is not None
            check_text(failure)
            found = failure.evidence
            if (found.cause, found.phase, found.close_code) != (Cause[row.cause], phase, code):
                yield f"{place}: the evidence is {found}"
            if failure.verdict.name != row.verdict.partition(" ")[0]:
                yield f"{place}: {failure.verdict}"
            if type(failure) is not getattr(errors, row.error):
                yield f"{place}: {type(failure).__name__}"
            assert unrepeated.wire.state is State.CLOSED
            bench = Bench(phase, SIZES[size], attempts=5, **options)
            end(bench)
            done = "fails it" if bench.turn.failure else "repeats it" if bench.turn.repetitions else "does nothing"
            if done != row.session.partition(" (")[0]:
                yield f"{place}: the session {done}"
            assert bench.session.wants_connection(bench.now + 60) is (done == "repeats it")


ROWS = rows_of(SECTION)


@pytest.mark.parametrize("row", ROWS, ids=[row.rule.strip("*") for row in ROWS])
def test_what_happens_is_what_the_row_says(row: Row) -> None:
    """D-END-1 to D-END-31, R-EVIDENCE-3, R-VERDICT-2, R-VERDICT-5, R-VERDICT-6, R-RECOVER-1, R-RECOVER-2."""
    assert list(complaints(row)) == []


IDLE_ENDS = [close_frame(1000), close_frame(1001), close_frame(1009), close_frame(4000)]
IDLE_ENDS += [ENDS[name][0] for name in ("FIN", "RST", "an unanswered ping")]


@pytest.mark.parametrize("end", IDLE_ENDS)
def test_the_end_of_an_idle_connection_fails_nothing(end: Callable[[Bench], None]) -> None:
    """D-END-32. The next turn runs on another connection, opened without a delay."""
    bench = Bench(Phase.STREAM, 8, attempts=5, ping_interval=20.0, ping_timeout=20.0)
    bench.receive(event("response.completed", stream_id="lane", response={"id": "resp_1", "status": "completed"}))
    assert bench.turn.failure is None
    assert bench.turn.current_phase is Phase.DONE
    end(bench)
    assert not bench.session.wants_connection(bench.now)
    following = bench.create("Next.")
    assert bench.session.wants_connection(bench.now)
    wire = Wire(bench.session.open(ENDPOINT, bench.now))
    assert wire.connection is not bench.wire.connection
    assert wire.connect()
    wire.receive(switching())
    wire.hand(10**9)
    assert following.current_phase is Phase.AWAIT
    assert bench.session.stats.repeated == 0


@pytest.mark.parametrize(
    "change",
    [{"cause": "EOF"}, {"verdict": "SAFE (R-VERDICT-2)"}, {"session": "repeats it"}, {"error": "ConnectError"}],
)
def test_a_row_that_says_something_else_is_found(change: dict[str, str]) -> None:
    row = next(row for row in ROWS if "1012" in row.ends_by and row.phases == "AWAIT")
    assert len(list(complaints(row._replace(**change)))) == len(list(ends_of(row))) == 6


def test_the_table_has_every_cause_by_which_a_connection_ends() -> None:
    """TOO_LARGE ends a turn before it is on a connection; CANCELLED is a caller that left, who gets no exception."""
    assert {row.cause for row in ROWS} == {cause.name for cause in Cause} - {"TOO_LARGE", "CANCELLED"}
    assert {place.partition(" ")[0] for row in ROWS for place in row.phases.split(", ")} == {
        phase.name for phase in Phase if phase is not Phase.DONE
    }


def test_the_files_that_the_section_names_are_there() -> None:
    named = re.findall(r"`sansio/([\w/]+\.py)`", SECTION)
    assert len(named) > 8
    assert [name for name in named if not (SANSIO / name).is_file()] == []
    for name, file in re.findall(r"`([A-Z_]+)` in `sansio/([\w/]+\.py)`", SECTION):
        assert re.search(rf"^{name}\b", (SANSIO / file).read_text(encoding="utf-8"), re.MULTILINE), name
