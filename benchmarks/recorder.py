"""T13: what a recorder costs. The same client with and without one, in turn; what counts is the ratio in bulk.

Beside them, the floor: the client without a recorder, with a bare ``os.write`` of the bytes of each read. What that
costs is the kernel's, which copies them into new pages of its cache, and no recorder that writes a file costs less.
"""

from __future__ import annotations

from ._measure import BenchmarkPlan, Outcome
from .peers import compared


def recorder(plan: BenchmarkPlan) -> Outcome:
    """A session with a recorder beside one without, and beside the floor."""
    return compared(plan, ("turnwire", "turnwire-recorded", "turnwire-teed"), reference="turnwire", targets=("T13",))
