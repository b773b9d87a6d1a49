"""T4: what the models cost.

``OpenAIResponsesWSModel.stream_response`` of turnwire beside the Agents SDK's, as in ``peers.py``: the same events, as
the same objects of ``openai``.
"""

from __future__ import annotations

from ._measure import BenchmarkPlan, Outcome
from .peers import compared


def models(plan: BenchmarkPlan) -> Outcome:
    """The two models side by side."""
    names = [name for name in ("turnwire-model", "agents") if name in plan.clients]
    return compared(plan, names, reference="turnwire-model", targets=("T4",))
