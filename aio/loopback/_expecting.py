"""Assertions on the ledger, whose messages say which entry differs, in which field, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import EllipsisType
from typing import Final, TypeAlias

from ...sansio.checks import shown
from ...sansio.errors import UserError
from ...sansio.server import differences
from ._ledger import FIELDS, LedgerEntry

__all__ = ["Expected", "LedgerError", "check_entries"]

Expected: TypeAlias = str | Mapping[str, object] | EllipsisType
"""An entry as it should be: its outcome, or some of its fields; ``...`` is any entry."""

_MOST: Final = 20
"""How many differences a message has."""


class LedgerError(AssertionError):
    """The ledger is not as expected. The message has a line for each difference."""

    def __init__(self, message: str, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = list(differences)
        """The lines, each of which says where something differs."""


def check_entries(entries: Sequence[LedgerEntry], expected: Sequence[Expected], every: Mapping[str, object]) -> None:
    """Raise LedgerError unless the entries are as expected; UserError for a field that no entry has."""
    found = list(_differences(entries, expected, every))
    if found:
        more = [f"… and {len(found) - _MOST} differences more"] if len(found) > _MOST else []
        lines = [*found[:_MOST], *more]
        raise LedgerError("\n  ".join(["the ledger is not as expected:", *lines]), lines)


def _differences(
    entries: Sequence[LedgerEntry], expected: Sequence[Expected], every: Mapping[str, object]
) -> Iterator[str]:
    if expected and len(expected) != len(entries):
        yield f"expected {len(expected)} requests, got {len(entries)}"
    for index, entry in enumerate(entries):
        wanted = expected[index] if index < len(expected) else ...
        if expected and index >= len(expected):
            yield f"{_name(index, entry)}: expected no such request, got outcome {entry.outcome!r}"
        elif wanted is not ...:
            yield from _of_entry(index, entry, {"outcome": wanted} if isinstance(wanted, str) else wanted)
        yield from _of_entry(index, entry, every)


def _of_entry(index: int, entry: LedgerEntry, wanted: Mapping[str, object]) -> Iterator[str]:
    if unknown := set(wanted) - set(FIELDS):
        raise UserError(f"{shown(min(unknown))} is no field of an entry: write one of {', '.join(sorted(FIELDS))}")
    for name, value in wanted.items():
        for difference in differences(value, getattr(entry, name), name):
            yield f"{_name(index, entry)}: {difference}"


def _name(index: int, entry: LedgerEntry) -> str:
    lane = "" if entry.lane is None else f", lane {entry.lane!r}"
    return f"entry {index} (request {entry.request} of connection {entry.connection}{lane})"
