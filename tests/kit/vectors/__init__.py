"""The sources of ``sansio/spec/vectors/``: for each group, cases with what must come out, written by hand.

A case says what its output must have; the file gets the whole output, once that agrees. Members that a case does not
name are in the file, too, so that a change of any of them is seen in review.

``TURNWIRE_WRITE_VECTORS=1 python -m pytest tests/core/test_vectors.py`` writes the files anew.
"""

from __future__ import annotations

from . import bytes_, connections, conversations, exchanges, failures, field, messages, places, recordings
from ._case import Case

__all__ = ["CASES", "Case"]

_ALL: list[Case] = [
    *bytes_.CASES,
    *messages.CASES,
    *failures.CASES,
    *places.CASES,
    *connections.CASES,
    *exchanges.CASES,
    *conversations.CASES,
    *recordings.CASES,
    *field.CASES,
]

SHOWN = {
    "frames": ("P-CONN-6", "I7"),
    "encode": ("P-CONN-6",),
    "sse": ("P-TRANSPORT-9",),
    "proxy": ("P-CONN-17",),
    "verdicts": ("R-VERDICT-5",),
    "events": ("P-FIELD-1",),
    "events/skipped": ("P-FIELD-3",),
    "events/nan": ("P-FIELD-2",),
    "events/field": ("P-EVENT-1",),
    "exchange": ("P-TRANSPORT-8",),
    "exchange/done_marker": ("P-FIELD-3",),
    "exchange/after_the_terminal_event": ("P-START-5",),
    "exchange/not_opened": ("R-VERDICT-2",),
    "exchange/before_it_is_connected": ("R-EVIDENCE-2",),
    "exchange/closed_in": ("R-VERDICT-1",),
    "exchange/left_before_it_was_sent": ("R-HTTP-21",),
    "exchange/total_timeout": ("P-DEFAULT-1",),
    "connection": ("P-DEFAULT-1",),
    **{f"connection/{how}": ("P-START-6",) for how in ("completed", "failed", "incomplete", "cancelled")},
    **{f"connection/{how}": ("R-EVIDENCE-7",) for how in ("clos", "left_")},
    "connection/upgrade_in_part": ("R-EVIDENCE-4",),
    "connection/stray_text": ("P-FIELD-3",),
    "connection/draining": ("P-CONN-20",),
    "connection/receive_again": ("P-DEFAULT-3",),
    "connection/pong_came": ("P-CONN-13",),
    "connection/stalled": ("P-DEFAULT-5",),
}
"""What the vectors show that name no rule of their own, by the beginning of their ids."""


def _cited(case: Case) -> Case:
    known = max((name for name in SHOWN if case.id.startswith(name)), key=len)
    return case._replace(rules=SHOWN[known])


CASES: list[Case] = [case if case.rules else _cited(case) for case in _ALL]
