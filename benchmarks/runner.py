"""T14: what a model costs inside of the Agents SDK's Runner, which has a cost of its own."""

from __future__ import annotations

from ._measure import BenchmarkPlan, Outcome
from .clients import EVERY
from .peers import compared


def runner(plan: BenchmarkPlan) -> Outcome:
    """Streamed runs with turnwire's model, and with the Agents SDK's."""
    names = [name for name in ("runner-turnwire", "runner-agents") if not EVERY[name].missing]
    return compared(plan, names, reference="runner-turnwire", targets=("T14",))
