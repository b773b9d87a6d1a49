"""Groups ``verdicts``, ``http`` and ``recovery``: what a failure means, and what is repeated."""

from __future__ import annotations

from ._case import Case

CASES: list[Case] = [
    Case(
        "verdicts/cut_before_the_last_byte",
        "a message that was not handed whole did not run",
        {"phase": "SEND", "cause": "EOF"},
        {"verdict": "SAFE", "refusal": False, "advice": {"suggested": True, "replay_safety": "safe"}},
        ("R-VERDICT-1",),
    ),
]
