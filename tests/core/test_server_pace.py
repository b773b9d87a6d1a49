"""How long a client of the test server may take (PROTOCOL.md, P-SERVER-6), by a clock that is an argument."""

from __future__ import annotations

import math
from typing import Any

import pytest
from turnwire.sansio.errors import UserError
from turnwire.sansio.server import MIN_RATE, Pace, ServerOptions

OPTIONS = ServerOptions(header_timeout=10, receive_timeout=20, idle_timeout=100, send_timeout=50)
NONE = ServerOptions(header_timeout=None, receive_timeout=None, idle_timeout=None, send_timeout=None)


def late(pace: Pace, now: float, *, busy: bool = False) -> str | None:
    return pace.late(now, busy=busy)


def test_the_head_of_the_first_request_is_due_from_accepting_on_however_many_bytes_come() -> None:
    pace = Pace(OPTIONS, 1000.0)
    for second in range(10):
        pace.received(1, 1000.0 + second)
        assert late(pace, 1000.0 + second) is None
    assert pace.deadline == 1010.0
    assert late(pace, 1010.0) == "head"


def test_a_body_is_due_by_its_bytes_too() -> None:
    pace = Pace(OPTIONS, 0.0)
    pace.expect("body", 5.0)
    assert pace.deadline == 25.0
    pace.received(MIN_RATE * 3, 6.0)
    assert pace.deadline == 28.0
    assert late(pace, 27.9) is None
    assert late(pace, 28.0) == "body"


def test_nothing_is_due_while_a_request_is_answered() -> None:
    pace = Pace(OPTIONS, 0.0)
    pace.expect("answer", 5.0)
    pace.received(7, 6.0)
    assert pace.deadline == math.inf


def test_between_requests_a_client_is_idle_until_the_next_head_begins() -> None:
    pace = Pace(OPTIONS, 0.0)
    pace.expect("idle", 5.0)
    assert pace.deadline == 105.0
    assert late(pace, 105.0) == "idle"
    pace.received(1, 50.0)
    assert (pace.phase, pace.deadline) == ("head", 60.0)


def test_a_connection_that_is_used_or_runs_a_turn_is_not_idle() -> None:
    pace = Pace(OPTIONS, 0.0)
    pace.expect("idle", 0.0)
    assert late(pace, 100.0, busy=True) is None
    assert pace.deadline == 200.0
    pace.begin_sending(0, 150.0)
    pace.end_sending(151.0)
    assert pace.deadline == 251.0
    assert late(pace, 251.0) == "idle"


def test_a_message_is_due_from_its_first_byte_on_and_whatever_comes_between_its_frames() -> None:
    pace = Pace(OPTIONS, 0.0)
    pace.between_messages(False, 0.0)
    pace.between_messages(True, 10.0)
    assert (pace.phase, pace.deadline) == ("body", 30.0)
    pace.between_messages(True, 20.0)
    assert pace.deadline == 30.0
    assert late(pace, 30.0, busy=True) == "body"
    pace.between_messages(False, 25.0)
    assert (pace.phase, pace.deadline) == ("idle", 125.0)


def test_what_is_sent_is_to_be_read_in_time_by_its_bytes() -> None:
    pace = Pace(OPTIONS, 0.0)
    pace.expect("answer", 0.0)
    pace.begin_sending(MIN_RATE * 5, 10.0)
    assert pace.deadline == 65.0
    assert late(pace, 64.9, busy=True) is None
    assert late(pace, 65.0, busy=True) == "unread"
    pace.end_sending(64.0)
    assert pace.deadline == math.inf


def test_a_fault_that_pauses_gives_its_time_back() -> None:
    pace = Pace(OPTIONS, 0.0)
    pace.paused(1000.0)
    assert pace.deadline == 1010.0


def test_none_is_no_limit() -> None:
    pace = Pace(NONE, 0.0)
    for phase in ("head", "body", "idle", "answer"):
        pace.expect(phase, 0.0)
        pace.received(5, 1e9)
        pace.begin_sending(5, 0.0)
        assert late(pace, 1e12) is None


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 0},
        {"header_timeout": 0},
        {"receive_timeout": -1},
        {"send_timeout": math.nan},
        {"idle_timeout": 0},
    ],
)
def test_limits_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"ServerOptions.{next(iter(options))} is "):
        ServerOptions(**options)
