"""Every run of the driver's simulation, recorded, replays to the same outputs; ``TURNWIRE_RECORDED=5000`` runs more."""

from __future__ import annotations

import io
import os
from collections import Counter

from kit.driver_simulation import simulate
from turnwire.sansio.record import Recording
from turnwire.sansio.recording import Replay, Timeline

SEEDS = range(1000, 1000 + int(os.environ.get("TURNWIRE_RECORDED", "250")))


def recorded(seed: int, *, scrub: bool = False) -> Timeline:
    file = io.BytesIO()
    run = simulate(seed, recording=Recording(file, scrub=scrub))
    assert not run.complaints
    timeline = Replay(file.getvalue()).run()
    assert timeline.difference is None, f"seed {seed}: {timeline.difference}"
    return timeline


def ends(timeline: Timeline) -> list[tuple[object, ...]]:
    return [
        (turn.number, turn.end, turn.verdict, len(turn.events), len(turn.repeats), turn.ended)
        for session in timeline.sessions
        for turn in session.turns
    ]


def test_every_run_replays(summary):
    verdicts = Counter(end[1:3] for seed in SEEDS for end in ends(recorded(seed)))
    summary.ran("simulation, recorded", "the driver", runs=len(SEEDS), turns=verdicts.total())
    assert {("completed", None), ("error", "safe"), ("error", "unsafe"), ("error", "ambiguous")} <= set(verdicts)


def test_a_scrubbed_run_replays_to_the_same_ends():
    compared = 0
    for seed in SEEDS[::5]:
        scrubbed = recorded(seed, scrub=True)
        if scrubbed.sessions and scrubbed.sessions[0].end != "failed":  # It was compressed.
            assert ends(scrubbed) == ends(recorded(seed)), f"seed {seed}"
            compared += len(ends(scrubbed))
    assert compared
