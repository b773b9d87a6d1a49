"""T13: what a recorder costs. The same client with and without one, in turn; what counts is the ratio in bulk."""

from __future__ import annotations

from ._measure import BenchmarkPlan, Outcome
from .peers import compared


def recorder(plan: BenchmarkPlan) -> Outcome:
    """A session with a recorder beside one without."""
    return compared(plan, ("turnwire", "turnwire-recorded"), reference="turnwire", targets=("T13",))
