"""A thousand lives: hours of connections, simulated in milliseconds, each from its seed. See ``simulation.py``.

``TURNWIRE_SEEDS=20000 pytest --no-cov tests/test_simulation.py`` lives more of them, and ``TURNWIRE_SEED=123`` one,
with all that happened in it if anything was wrong.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trio
import turnwire.aio._driver
import turnwire.sansio
import turnwire.trio_shell._driver
from simulation import Life, explain, live
from turnwire.sansio.connection import ResponsesConnection, Turn, TurnState
from turnwire.sansio.errors import TurnError
from turnwire.sansio.pump import Pump, Step
from turnwire.sansio.replay import Evidence, Plan, Reason, RecoveryPolicy, Verdict
from turnwire.sansio.session import ResponsesSession

ONE = os.environ.get("TURNWIRE_SEED")
SEEDS = range(int(ONE), int(ONE) + 1) if ONE is not None else range(int(os.environ.get("TURNWIRE_SEEDS", "1000")))
TWICE = SEEDS[:60]
"""Seeds that are lived again, here and in another process."""


HAPPENINGS = {
    *("eof", "reset", "dark", "deaf", "mute", "is refused", "hangs"),
    *("leaves", "its time is over"),
    *("aclose", "all leave", "all cancelled"),
    *("whole", "left"),
    *("TIMEOUT LANE_WAIT SAFE", "TIMEOUT SEND SAFE", "TIMEOUT AWAIT AMBIGUOUS", "TIMEOUT STREAM UNSAFE"),
    *("EOF AWAIT AMBIGUOUS", "EOF STREAM UNSAFE", "TRANSPORT AWAIT AMBIGUOUS", "TRANSPORT STREAM UNSAFE"),
    *("PEER_CLOSED STREAM UNSAFE", "STALLED AWAIT AMBIGUOUS", "STALLED STREAM UNSAFE", "REJECTED HANDSHAKE SAFE"),
    *("ERROR_FRAME AWAIT SAFE", "ERROR_FRAME AWAIT AMBIGUOUS", "ERROR_FRAME STREAM UNSAFE"),
}
"""What happens at least three times in a thousand lives: to connections, to the server, to clients, to turns."""


@cache
def lives() -> list[Life]:
    return [live(seed) for seed in SEEDS]


def test_nothing_is_wrong_in_a_thousand_lives():
    wrong = [life for life in lives() if life.complaints]
    told = "\n\n".join(explain(life, whole=ONE is not None) for life in wrong[:3])
    more = f"\n\n… and the seeds {[life.seed for life in wrong[3:]]}" if wrong[3:] else ""
    assert not wrong, f"{len(wrong)} of {len(SEEDS)} lives went wrong\n\n{told}{more}"


def test_the_same_seed_is_the_same_life():
    for life in lives()[: len(TWICE)]:
        again = live(life.seed)
        assert again.trace == life.trace, f"seed {life.seed} was another life the second time"


def test_the_same_seed_is_the_same_life_in_another_process():
    """Neither the order of sets, nor the addresses of objects, nor a clock may have a say."""
    code = f"from simulation import live\nfor seed in {TWICE!r}: print(live(seed).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parent)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.split() == [life.digest for life in lives()[: len(TWICE)]]


@pytest.mark.skipif(len(SEEDS) < 1000, reason="of so few lives nothing can be said")
def test_the_lives_are_long_and_varied():
    """Or the first test would say little."""
    assert sum(life.seconds for life in lives()) >= 500 * 3600
    happened = Counter(re.split(r": |, ", line[15:])[-1] for life in lives() for line in life.trace)
    missing = {what for what in HAPPENINGS if happened[what] < 3}
    assert not missing, f"{missing}\n{happened}"


# --- The judge -------------------------------------------------------------------------------------------------------


MUTANTS = {
    "I2: an event is lost": (Turn, "deliver", lambda self, event, now: 0),
    "I3: what was handed is SAFE": (Evidence, "verdict", property(lambda self: Verdict.SAFE)),
    "I5: what may have run is repeated": (
        RecoveryPolicy,
        "plan",
        lambda self, evidence, made, random, wall: Plan(Reason.NOT_RUN, 0.0) if len(made) < self.attempts else None,
    ),
    "I6: a turn has no deadline": (Turn, "deadline", lambda self: None),
    "no ping": (ResponsesConnection, "_send_ping", lambda self, now: self._keepalive.ping_sent(now)),
    "not given up": (ResponsesConnection, "_stalled", lambda self, now: self._keepalive.received(now)),
    "noticed at": (Pump, "keep", lambda self, keeper, now: Step.SLEEP),
    "to be": (ResponsesSession, "_rotation", lambda self, connection: None),
}
"""What the judge says, and what to break so that it does."""


@pytest.mark.skipif(ONE is not None, reason="a seed was asked for")
@pytest.mark.parametrize("complaint", MUTANTS)
def test_the_judge_notices(complaint, monkeypatch):
    monkeypatch.setattr(*MUTANTS[complaint])
    words = complaint.partition(":")[0]
    assert any(words in said for seed in range(300) for said in live(seed).complaints)


# --- What is seen before it is decided -------------------------------------------------------------------------------


def decides_at_the_next_update(patch: pytest.MonkeyPatch) -> None:
    """The session takes an input, and decides when it is next updated: a shell that awaits in between shows the
    failure of a turn that is then repeated. (As it was, when a consumer was told SAFE of a turn that ran.)"""
    recover, update = ResponsesSession._recover, ResponsesSession.update

    def decide_later(self: ResponsesSession, turn: Turn, failure: TurnError) -> bool:
        self.__dict__.setdefault("undecided", []).append((turn, failure))
        return False

    def update_and_decide(self: ResponsesSession, now: float) -> None:
        for turn, failure in self.__dict__.pop("undecided", ()):
            if recover(self, turn, failure):
                turn.failure, turn.state = None, TurnState.LIVE
        update(self, now)

    def pass_on(name: str) -> Callable[..., Any]:
        return lambda self, connection, *args: getattr(connection, name)(*args)

    patch.setattr(ResponsesSession, "_recover", decide_later)
    patch.setattr(ResponsesSession, "update", update_and_decide)
    for name in ("transport_connected", "transport_failed", "receive_data", "data_to_send", "abort"):
        patch.setattr(ResponsesSession, name, pass_on(name))


def gives_way_where_writing_failed(patch: pytest.MonkeyPatch) -> None:
    """The path on which writing fails awaits between the failures and the decision."""

    async def drain(self: Any, link: Any) -> None:
        late: list[tuple[Turn, TurnError]] = []
        link.connection._recover = lambda turn, failure: late.append((turn, failure))
        link.connection.transport_failed(str(link.error), trio.current_time(), link.error)
        await trio.lowlevel.checkpoint()
        for turn, failure in late:
            if self._core._recover(turn, failure):
                turn.failure, turn.state = None, TurnState.LIVE
        self._settle()

    for shell in (turnwire.aio, turnwire.trio_shell):
        patch.setattr(shell._driver.Driver, "_drain", drain)


def shows_the_failure_until_the_next_attempt(patch: pytest.MonkeyPatch) -> None:
    """The failure is published first, and then decided about; it goes when the turn is sent again."""
    recover, start = ResponsesSession._recover, ResponsesConnection.submit

    def publish_and_decide(self: ResponsesSession, turn: Turn, failure: TurnError) -> bool:
        turn.failure = failure
        return recover(self, turn, failure)

    def forget_and_submit(self: ResponsesConnection, turn: Turn, now: float) -> None:
        turn.failure, turn.state = None, TurnState.LIVE
        start(self, turn, now)

    patch.setattr(ResponsesSession, "_recover", publish_and_decide)
    patch.setattr(ResponsesConnection, "submit", forget_and_submit)


def cancels_by_what_it_saw_before(patch: pytest.MonkeyPatch) -> None:
    """Cancelling looks whether the turn has a connection before the decision: one that is to be repeated has none, and
    is repeated with nobody listening."""

    def cancel(self: ResponsesSession, turn: Turn, now: float) -> None:
        if turn.connection is not None:
            turn.connection.cancel(turn, now)
        self.update(now)

    patch.setattr(ResponsesSession, "cancel", cancel)


def decides_twice(patch: pytest.MonkeyPatch) -> None:
    """One failure, two decisions: the turn waits twice for the next connection."""
    recover = ResponsesSession._recover
    patch.setattr(ResponsesSession, "_recover", lambda self, *args: recover(self, *args) and recover(self, *args))


def forgets_who_waits_for_a_connection(patch: pytest.MonkeyPatch) -> None:
    """The session calls itself idle while turns wait for the next attempt."""
    idle = property(lambda self: self.connection is None or self.connection.idle)
    patch.setattr(ResponsesSession, "idle", idle)


UNDECIDED = {
    decides_at_the_next_update: "seen to have failed, SAFE, and ran",
    gives_way_where_writing_failed: "seen to have failed, and goes on",
    shows_the_failure_until_the_next_attempt: "seen to have failed, SAFE, and ran",
    cancels_by_what_it_saw_before: "opened after its consumer had left",
    decides_twice: "SAFE, and ran",
    forgets_who_waits_for_a_connection: "calls itself idle",
}
"""Planted faults of the kind of issue 10's number 20, and what the judge says of each."""


@pytest.mark.skipif(ONE is not None, reason="a seed was asked for")
@pytest.mark.parametrize("plant", UNDECIDED, ids=lambda plant: plant.__name__)
def test_a_failure_that_is_seen_before_it_is_decided_is_found(plant, monkeypatch):
    plant(monkeypatch)
    assert any(UNDECIDED[plant] in said for seed in range(400) for said in live(seed).complaints)


# --- By construction -------------------------------------------------------------------------------------------------


DOORS = {"transport_connected", "transport_failed", "receive_data", "process", "data_to_send", "handle_deadline"}
FILES = [
    Path(shell.__file__).with_name(name)
    for shell in (turnwire.aio, turnwire.trio_shell)
    for name in ("_driver.py", "_session.py", "_models.py", "_background.py")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shell_tells_the_session_what_happens_and_no_connection(path):
    """The session decides before it returns; a connection alone would publish failures that are not decided."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in (DOORS | {"abort", "retire", "evict_waiting"}):
            assert ast.unparse(node.value) == "self._core", f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            assert node.attr != "failure", f"line {node.lineno}: {ast.unparse(node)}"


def test_every_failure_is_decided_by_whoever_made_it_visible():
    """In the core a turn's failure is set in one place, called where the decision was made and nowhere else."""
    core = Path(turnwire.sansio.__file__).parent
    setters, callers = set(), set()
    for path in (*(core / "connection").glob("*.py"), core / "session.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Attribute) and node.attr == "failure" and isinstance(node.ctx, ast.Store):
                        setters.add(f"{path.stem}.{function.name}")
                    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("turn.fail"):
                        callers.add(f"{path.stem}.{function.name}")
    assert setters == {"_turn.__init__", "_turn.fail"}
    assert callers == {"_base._end", "_base._lose", "session._fail"}  # _lose: an abandoned turn settles.
