"""A thousand lives: hours of connections, simulated in milliseconds, each from its seed. See ``simulation.py``.

``TURNWIRE_SEEDS=20000 pytest --no-cov tests/test_simulation.py`` lives more of them, and ``TURNWIRE_SEED=123`` one,
with all that happened in it if anything was wrong.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from simulation import Life, explain, live
from turnwire.sansio.connection import ResponsesConnection, Turn
from turnwire.sansio.pump import Pump, Step
from turnwire.sansio.replay import Evidence, RecoveryPolicy, Verdict
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
    "I2: an event is lost": (Turn, "deliver", lambda self, event: None),
    "I3: what was handed is SAFE": (Evidence, "verdict", property(lambda self: Verdict.SAFE)),
    "I5: what may have run is repeated": (
        RecoveryPolicy,
        "may_repeat",
        lambda self, evidence, made: made < self.attempts,
    ),
    "I6: a turn has no deadline": (Turn, "deadline", lambda self: None),
    "no ping": (ResponsesConnection, "_send_ping", lambda self, now: setattr(self._pulse, "asked", now)),
    "not given up": (ResponsesConnection, "_stalled", lambda self, now: setattr(self._pulse, "asked", now)),
    "noticed at": (Pump, "keep", lambda self, keeper, now: Step.DOZE),
    "to be": (ResponsesSession, "_rotation", lambda self, connection: None),
}
"""What the judge says, and what to break so that it does."""


@pytest.mark.skipif(ONE is not None, reason="a seed was asked for")
@pytest.mark.parametrize("complaint", MUTANTS)
def test_the_judge_notices(complaint, monkeypatch):
    monkeypatch.setattr(*MUTANTS[complaint])
    words = complaint.partition(":")[0]
    assert any(words in said for seed in range(300) for said in live(seed).complaints)
