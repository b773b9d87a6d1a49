"""The sources of ``sansio/spec/vectors/``: for each group, cases with what must come out, written by hand.

A case says what its output must have; the file gets the whole output, once that agrees. Members that a case does not
name are in the file, too, so that a change of any of them is seen in review.

``TURNWIRE_WRITE_VECTORS=1 python -m pytest tests/core/test_vectors.py`` writes the files anew.
"""

from __future__ import annotations

from . import bytes_, connections, conversations, exchanges, failures, field, messages, places, recordings
from ._case import Case

__all__ = ["CASES", "Case"]

CASES: list[Case] = [
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
