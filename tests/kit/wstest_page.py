"""The results of Autobahn's suite as data (``tests/autobahn/results.json``) and as a page (``sansio/spec/``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import turnwire.sansio
from kit.wstest import Result

RESULTS: Final = Path(__file__).parents[1] / "autobahn" / "results.json"
PAGE: Final = Path(turnwire.sansio.__file__ or "").parent / "spec" / "AUTOBAHN.md"
ROLES: Final = ("server", "client")
VERDICTS: Final = ("OK", "REFUSED", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED")
"""The columns. What the suite says of a connection's end alone, like WRONG CODE, counts as FAILED."""


class Group(NamedTuple):
    what: str
    cases: int
    binary: int = 0
    """How many of these cases send a binary message, which a peer that speaks text only refuses."""


GROUPS: Final[Mapping[str, Group]] = {
    "1": Group("frames", 16, binary=8),
    "2": Group("pings and pongs", 11),
    "3": Group("reserved bits", 7),
    "4": Group("opcodes", 10),
    "5": Group("fragments", 20),
    "6": Group("UTF-8", 145),
    "7": Group("closing", 37),
    "9.1": Group("texts of 64 KiB to 16 MiB", 6),
    "9.2": Group("the same, binary", 6, binary=6),
    "9.3": Group("a text of 4 MiB in fragments of 64 bytes to 4 MiB", 9),
    "9.4": Group("the same, binary", 9, binary=9),
    "9.5": Group("a text of 1 MiB in writes of 64 bytes to 2 KiB", 6),
    "9.6": Group("the same, binary", 6, binary=6),
    "9.7": Group("1,000 texts of 0 to 4096 bytes", 6),
    "9.8": Group("the same, binary", 6, binary=6),
    "10": Group("fragments made by the sender", 1),
    "12.1": Group("deflate: 1,000 texts, JSON", 18),
    "12.2": Group("deflate: the same, binary, a bitmap", 18, binary=18),
    "12.3": Group("deflate: the same, binary, a book", 18, binary=18),
    "12.4": Group("deflate: the same, texts, HTML", 18),
    "12.5": Group("deflate: the same, binary, a PDF", 18, binary=18),
    "13.1": Group("deflate: no parameter asked for", 18),
    "13.2": Group("deflate: no context takeover", 18),
    "13.3": Group("deflate: a window of 2^9", 18),
    "13.4": Group("deflate: a window of 2^15", 18),
    "13.5": Group("deflate: no context takeover, a window of 2^9", 18),
    "13.6": Group("deflate: no context takeover, a window of 2^15", 18),
    "13.7": Group("deflate: several offers", 18),
}
"""Every group of the suite's cases."""

EXPLAINED: Final[Mapping[str, str]] = {
    "7.1.6": (
        "A long text, another, a close frame and a ping at once. RFC 6455 leaves open whether the texts are answered; "
        "here both are, and then the close frame."
    ),
    "7.13.1": "Close code 5000, which RFC 6455 does not define. It is answered with 1002.",
    "7.13.2": "Close code 65535, which RFC 6455 does not define. It is answered with 1002.",
}
"""Why a case is not OK, by its number."""
REFUSED: Final = "A binary message, where only text is spoken: closed with 1003, in both roles (P-CONN-6)."


class Run(NamedTuple):
    """One run of the suite, as it is kept."""

    date: str
    commit: str
    versions: dict[str, str]
    roles: dict[str, dict[str, list[str]]]
    """For each role and verdict, the cases."""


def kept() -> Run:
    return Run(**json.loads(RESULTS.read_text(encoding="utf-8")))


def keep(run: Run) -> None:
    RESULTS.write_text(json.dumps(run._asdict(), indent=1) + "\n", encoding="utf-8")


def by_verdict(results: Iterable[Result]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for result in results:
        verdict = result.verdict if result.verdict in VERDICTS else "FAILED"
        found.setdefault(verdict, []).append(result.case)
    return found


def group_of(case: str) -> str:
    """The longest group that a case is in."""
    parts = case.split(".")
    return ".".join(parts[:2]) if ".".join(parts[:2]) in GROUPS else parts[0]


def counted(cases: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """For each group that has cases, how many there are of each verdict."""
    counts: dict[str, dict[str, int]] = {}
    for verdict, names in cases.items():
        for name in names:
            group = counts.setdefault(group_of(name), dict.fromkeys(VERDICTS, 0))
            group[verdict] += 1
    return {group: counts[group] for group in GROUPS if group in counts}


def ranges(cases: Sequence[str]) -> str:
    """``1.2.1 to 1.2.8`` for cases in a row."""
    rows: list[list[str]] = []
    for case in cases:
        head, _, last = case.rpartition(".")
        before_head, _, before_last = rows[-1][-1].rpartition(".") if rows else ("", "", "")
        if head == before_head and int(last) == int(before_last) + 1:
            rows[-1].append(case)
        else:
            rows.append([case])
    return ", ".join(row[0] if len(row) == 1 else f"{row[0]} to {row[-1]}" for row in rows)


# --- The page --------------------------------------------------------------------------------------------------------

INTRODUCTION: Final = """# Autobahn

How `turnwire.sansio.websocket` does in Autobahn's test suite for WebSockets, in both roles. This page is written by
`python -m tests.autobahn --write`, and is no rule; the rules are in PROTOCOL.md, "Connection".

The suite's other side is an echo (`tests/kit/echo.py`): plain sockets, and nothing but the public parts of
`turnwire.sansio.websocket`. It answers each text with the same text, each ping with a pong, and a close frame with a
close frame; it offers permessage-deflate, and its `max_message_size` is 64 MiB. No case has a treatment of its own.

The suite on PyPI runs on Python 2. `tests/autobahn/port.py` translates it to Python 3 and says what it changes; the
cases stay what they are. Seen under the translated suite: the suite's own echo passes all cases of 1 to 7, 9.1 to 9.5
and 10, and the first ones of the other groups, but for the three that are not judged; and echoes with planted faults
(no check of UTF-8 or of close codes, no pongs, texts that are cut, compression that is not marked) fail the cases about
them.

- **OK**: the case passed, and the connection ended as it should.
- **refused**: the case sends a binary message, and is closed with 1003. A test holds that these are just the cases
  that send one.
- **informational**: the suite does not judge the case. **non-strict**: allowed, but not what it prefers.
  **unimplemented**: a part of the protocol that was not negotiated.
- **failed**: anything else.
"""
SHORT: Final = {"REFUSED": "refused", "INFORMATIONAL": "informational", "NON-STRICT": "non-strict"} | {
    "UNIMPLEMENTED": "unimplemented",
    "FAILED": "failed",
}


def render(run: Run) -> str:
    """The page of a run. Raises KeyError if a case is not OK and :data:`EXPLAINED` does not say why."""
    lines = [INTRODUCTION, f"Run on {run.date}, at commit {run.commit}:", ""]
    lines += [f"- {name} {version}" for name, version in run.versions.items()]
    for role in ROLES:
        lines += ["", *render_role(role, run.roles[role])]
    return "\n".join(lines) + "\n"


def render_role(role: str, cases: Mapping[str, Sequence[str]]) -> list[str]:
    counts = counted(cases)
    head = ["cases", *(SHORT.get(verdict, verdict) for verdict in VERDICTS)]
    lines = [f"## The {role}'s side", "", f"| group | what | {' | '.join(head)} |", "|---|---|" + "--:|" * len(head)]
    for group, verdicts in counts.items():
        lines.append(row(group, GROUPS[group].what, verdicts))
    sums = {verdict: sum(verdicts[verdict] for verdicts in counts.values()) for verdict in VERDICTS}
    lines += [row("all", "", sums), "", "| case | result | why |", "|---|---|---|"]
    lines += [f"| {ranges(names)} | refused | {REFUSED} |" for names in [cases.get("REFUSED", [])] if names]
    for verdict in VERDICTS[2:]:
        lines += [f"| {case} | {SHORT[verdict]} | {explanation(case)} |" for case in cases.get(verdict, [])]
    return lines


def explanation(case: str) -> str:
    return next(text for pattern, text in EXPLAINED.items() if re.fullmatch(pattern.replace(".", r"\."), case))


def row(group: str, what: str, verdicts: Mapping[str, int]) -> str:
    numbers = [sum(verdicts.values()), *(verdicts[verdict] for verdict in VERDICTS)]
    return f"| {group} | {what} | {' | '.join(str(number) if number else '' for number in numbers)} |"
