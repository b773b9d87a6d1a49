"""How ``turnwire demo`` compares the client's view with the server's ledger, and how it prints text and tables."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

import msgspec

from ...sansio.replay import Verdict
from ..loopback import LedgerEntry
from ._demo_turns import Breakage, Seen, Stage
from ._demo_view import Paint

__all__ = ["Report", "Printer", "cost_rows", "against_ledger", "ledger_rows", "times"]


_RUNS: Final[dict[Verdict | None, tuple[int, ...]]] = {
    None: (1,),
    Verdict.SAFE: (0,),
    Verdict.AMBIGUOUS: (0, 1),
    Verdict.UNSAFE: (1,),
}
"""How often the server may have run a turn, by the client's verdict; None: the turn was completed."""


def against_ledger(seen: Sequence[Seen], ledger: Sequence[LedgerEntry]) -> list[str]:
    """What differs between the client's view and the server's ledger, or from what was expected; one line each."""
    found: list[str] = []
    for turn in seen:
        ended = "completed" if turn.verdict is None else turn.verdict.name
        due = "completed" if turn.due is None else turn.due.name
        if turn.verdict is not turn.due or (turn.verdict is None and turn.status != "completed"):
            found.append(f"{turn.marker}: expected {due}, seen {turn.status or ended}")
        if turn.repeated != turn.due_repeats:
            found.append(f"{turn.marker}: expected {turn.due_repeats} repetitions, seen {turn.repeated}")
        runs = [entry for entry in ledger if entry.marker == turn.marker]
        if len(runs) not in _RUNS[turn.verdict]:
            allowed = " or ".join(map(str, _RUNS[turn.verdict]))
            found.append(f"{turn.marker}: {ended} means {allowed} runs, and the ledger has {len(runs)}")
        elif runs and turn.verdict is not Verdict.AMBIGUOUS:
            entry = runs[0]
            for name, ours, theirs in (
                ("response", turn.response_id, entry.response_id),
                ("lane", turn.lane, entry.lane),
                ("number of events", turn.events, entry.events),
                ("outcome", turn.status or "cut", entry.outcome),
            ):
                if ours != theirs:
                    found.append(f"{turn.marker}: its {name} is {ours} for the client and {theirs} in the ledger")
    markers = {turn.marker for turn in seen}
    found += [f"{entry.marker}: in the ledger, but never sent" for entry in ledger if entry.marker not in markers]
    return found


class Report(msgspec.Struct, kw_only=True):
    """What ``--json`` prints."""

    ok: bool
    differences: list[str]
    seconds: float
    stages: list[Stage]
    turns: list[Seen]
    ledger: list[LedgerEntry]


class Printer:
    """Prints text and tables on stdout; nothing if ``silent``."""

    def __init__(self, paint: Paint, silent: bool) -> None:
        self._paint = paint
        self._silent = silent

    def line(self, text: str = "", *styles: str) -> None:
        """Print a line in these styles."""
        if not self._silent:
            print(self._paint(text, *styles), flush=True)

    def paragraph(self, text: str, indent: str, *styles: str) -> None:
        """Print text, wrapped to the width of the terminal, each line after ``indent``."""
        width = max(20, min(120, _columns() or 100))
        for line in textwrap.wrap(text, width - len(indent), break_long_words=False, break_on_hyphens=False):
            self.line(indent + line, *styles)

    def heading(self, text: str) -> None:
        """Print an empty line and a heading."""
        self.line()
        self.line(text, "bold")

    def breakage(self, breakage: Breakage, seen: Seen, runs: int) -> None:
        """Print a cut, how the turn ended for the client, and how often the server had run it by then."""
        self.line(breakage.title)
        if seen.verdict is None:
            self.line(f"    {seen.status}", "bold", "green")
            again = f"turnwire sent it again {times(seen.repeated)}, on a new connection; the caller did not notice"
            self.paragraph(again, "    ")
        else:
            colour = {Verdict.SAFE: "green", Verdict.AMBIGUOUS: "yellow", Verdict.UNSAFE: "red"}[seen.verdict]
            self.line(f"    {seen.verdict.name}", "bold", colour)
            self.paragraph(f"{seen.error}: {seen.words}", "    ")
        self.line(f"    ledger: {f'it ran {times(runs)}' if runs else 'it never ran'}", "dim")

    def table(self, rows: Sequence[Sequence[str]], left: int = 1) -> None:
        """Print rows as columns: the first ``left`` of them aligned to the left, the others to the right. On a terminal
        that is too narrow for that, print a line for each cell."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        columns = _columns()
        if columns is not None and sum(widths) + 2 * (len(widths) - 1) > columns:
            for row in rows[1:]:
                self.line(row[0], "bold")
                for name, cell in zip(rows[0][1:], row[1:], strict=True):
                    self.line(f"  {name}: {cell}")
            return
        for number, row in enumerate(rows):
            cells = [
                cell.ljust(width) if column < left else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.line("  ".join(cells).rstrip(), *(["dim"] if number == 0 else []))


def _columns() -> int | None:
    """The width of the terminal; None if stdout is none."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None


def times(count: int) -> str:
    """``never``, ``once``, ``2 times``."""
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def cost_rows(stages: Sequence[Stage]) -> list[list[str]]:
    """The table of what each stage cost, its header first."""
    header = ["", "turns", "events", "bytes in", "bytes out", "time per turn", "CPU per event"]
    return [header] + [
        [
            stage.name,
            str(stage.turns),
            f"{stage.events:,}",
            f"{stage.bytes_in:,}",
            f"{stage.bytes_out:,}",
            _duration(stage.seconds_per_turn),
            _duration(stage.cpu_per_event),
        ]
        for stage in stages
    ]


def ledger_rows(seen: Sequence[Seen], ledger: Sequence[LedgerEntry]) -> list[list[str]]:
    """The table of all turns, its header first: how each ended for the client, and what the ledger has of it."""
    rows = [["turn", "lane", "client: ended", "events", "server: ran it", "ended", "events"]]
    for turn in seen:
        entries = [entry for entry in ledger if entry.marker == turn.marker]
        rows.append(
            [
                turn.marker,
                turn.lane or "-",
                turn.status or (turn.verdict.name if turn.verdict else "-"),
                str(turn.events),
                times(len(entries)),
                entries[0].outcome if entries else "-",
                str(entries[0].events) if entries else "-",
            ]
        )
    return rows
