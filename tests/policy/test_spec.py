"""The pages of ``sansio/spec/``: they are shipped, their ids are unique, and every reference to them leads somewhere.

What counts as a reference, in every .py and .md file of the product
    ``PROTOCOL.md, "Connection"``       a page and headings of it; a heading may be cut after a word
    ``PROTOCOL.md's ("Lanes")``         the same
    ``PARITY C3``, ``PARITY A13-A15``   ids of PARITY.md; a letter alone is a part of it
    ``P-LANES-3``, ``R-VERDICT-2``      the id of a rule, wherever it stands
    ``SOMETHING.md``                    a page: of the specification, or a file beside pyproject.toml
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import turnwire.sansio
from kit.trace import DEFINED, RULE
from turnwire.sansio import addresses, checks, driver, evidence, fallback, lanes, pool
from turnwire.sansio.as_http import HTTP_CLIENT_OPTIONS
from turnwire.sansio.as_http._sessions import MOST_SESSIONS
from turnwire.sansio.connection._owners import REMEMBERED
from turnwire.sansio.connection._tables import MAX_REDIRECTS, SMALL_MESSAGE
from turnwire.sansio.error_body import DEPTH, LONGEST_MESSAGE, NAME
from turnwire.sansio.events._gathered import MAX_GATHERED
from turnwire.sansio.http._retrieval import LONGEST_ID
from turnwire.sansio.partial._gathering import GATHER_AFTER
from turnwire.sansio.server._api_conversations import MAX_ADDED
from turnwire.sansio.server._listing import DEFAULT_LIMIT, MAX_LIMIT
from turnwire.sansio.server._memory import KEPT_TURNS
from turnwire.sansio.server._pace import MIN_RATE
from turnwire.sansio.server._slices import JSON_SLICE
from turnwire.sansio.server._steering import MAX_STEERS
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.upgrade import MAX_STICKY
from turnwire.sansio.websocket._frames import FRAGMENT
from turnwire.sansio.websocket._handshake import MAX_BODY, MAX_HEADERS

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
SPEC = Path(turnwire.sansio.__file__ or "").parent / "spec"
NAMES = {"CONVERSATION.md", "DESIGN.md", "PARITY.md", "PROTOCOL.md", "RECORDING.md", "REPLAY.md", "VECTORS.md"}
WRITTEN = {"PROOFS.md"}
"""Pages that a program writes: they give no ids."""
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [*SPEC.glob("*.md"), *ROOT.glob("*.md")]}
FOLDERS = ("sansio", "aio", "trio_shell", "tests", "benchmarks")

PAGE = re.compile(r"\b([A-Z][A-Z_]+\.md)\b(?:(?:'s:?|,)? +\(?(\"[^\"]+\"(?:(?:,| and|, and) +\"[^\"]+\")*))?")
"""A page and, in quotation marks, headings."""
PARITY_ID = r"[A-D](?:\d+(?:-[A-D]?\d+)?)?\b"
PARITY_IDS = rf"{PARITY_ID}(?:(?:,| and) +{PARITY_ID})*"
PARITY = re.compile(rf"\bPARITY(?:\.md)?,? +({PARITY_IDS})|\b({PARITY_IDS}) of PARITY\.md")


@cache
def ids() -> list[str]:
    """Every id, as often as it is given."""
    return [rule or parity for name in sorted(NAMES) for rule, parity in DEFINED.findall(PAGES[name])]


@cache
def headings(page: str) -> list[str]:
    without_code = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    return [title.strip() for title in re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)]


# --- References ------------------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """One reference: the page, and the heading or id in it; None if it names the page only."""

    line: int
    page: str
    place: str | None


def references(text: str) -> Iterator[Reference]:
    # Lines that are joined, comments too; as many characters as before, so that a place tells its line.
    joined = re.sub(r"[ \t]*\n[ \t]*(?:# )?", lambda found: " " * len(found[0]), text)
    for found in PAGE.finditer(joined):
        titles = re.findall(r'"([^"]+)"', found[2] or "") or [None]
        for title in titles:
            yield Reference(line_of(text, found), found[1], title and " ".join(title.split()))
    for found in PARITY.finditer(joined):
        for each in re.findall(PARITY_ID, found[1] or found[2]):
            yield from (Reference(line_of(text, found), "PARITY.md", name) for name in expanded(each))
    for found in re.finditer(rf"\b{RULE}\b", text):
        yield Reference(line_of(text, found), page_of(found[0]), found[0])


def line_of(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1


def expanded(each: str) -> list[str]:
    """``A13-A15`` is three ids."""
    first, _, last = each.partition("-")
    if not last:
        return [first]
    return [f"{first[0]}{number}" for number in range(int(first[1:]), int(last.lstrip("ABCD")) + 1)]


def page_of(rule: str) -> str:
    pages = {"P": "PROTOCOL", "R": "REPLAY", "D": "DESIGN", "F": "RECORDING", "C": "CONVERSATION", "V": "VECTORS"}
    return f"{pages[rule[0]]}.md"


def complaint(reference: Reference) -> str | None:
    """What is wrong with it; None if it leads somewhere."""
    _, page, place = reference
    if page not in PAGES:
        return f"{page} is not a page"
    if place is None or place in ids():
        return None
    if page == "PARITY.md" and re.fullmatch(r"[A-D]\d*", place):
        return None if any(title.startswith(f"{place}. ") for title in headings(page)) else f"PARITY {place} is no id"
    if re.fullmatch(RULE, place):
        return f"{place} is no id"
    fitting = [title for title in headings(page) if re.match(rf"{re.escape(place)}(?!\w)", title)]
    return None if place in fitting or len(fitting) == 1 else f'{page} has no heading "{place}"'


def files() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".md") and path != Path(__file__):
                yield path


# --- Tests -----------------------------------------------------------------------------------------------------------


def test_the_pages_are_shipped() -> None:
    assert {path.name for path in SPEC.glob("*.md")} == NAMES | WRITTEN


def test_every_id_is_given_once() -> None:
    assert [name for name, times in Counter(ids()).items() if times > 1] == []


def test_every_page_gives_ids() -> None:
    numbers = {"A": 16, "B": 6, "C": 14, "I": 9}
    expected = {f"{letter}{number}" for letter, most in numbers.items() for number in range(1, most + 1)}
    found = set(ids())
    assert expected <= found
    assert {name[0] for name in found - expected} == {"P", "R", "D", "F", "C", "V"}


@pytest.mark.parametrize("page", ["CONVERSATION.md", "PROTOCOL.md", "RECORDING.md", "REPLAY.md", "VECTORS.md"])
def test_every_section_has_a_rule(page: str) -> None:
    title, *sections = re.split(r"^##+ ", PAGES[page], flags=re.MULTILINE)
    assert title
    assert [section.splitlines()[0] for section in sections if not DEFINED.search(section)] == []


def test_every_reference_leads_somewhere() -> None:
    counted, wrong = 0, []
    for path in files():
        for reference in references(path.read_text(encoding="utf-8")):
            counted += 1
            if (what := complaint(reference)) is not None:
                wrong.append(f"{path.relative_to(ROOT)}:{reference.line}: {what}")
    assert counted > 100
    assert not wrong, "\n".join(wrong)


# --- Numbers ---------------------------------------------------------------------------------------------------------

STATUSES = " or ".join(", ".join(map(str, sorted(evidence.NO_WEBSOCKET_STATUSES))).rsplit(", ", 1))
OPTIONS = SessionOptions()
MINUTES = 60
WORDS = {4: "four", 5: "five"}

NUMBERS = [
    ("P-CONN-3", f"at most {MAX_REDIRECTS} of them"),
    ("P-CONN-4", f"up to {MAX_HEADERS >> 10} KiB of headers and {MAX_BODY >> 10} KiB of body"),
    ("P-CONN-5", f"Status {STATUSES} means"),
    ("P-CONN-6", f"`max_message_size` ({(OPTIONS.max_message_size or 0) >> 20} MiB,"),
    ("P-CONN-8", f"`max_age` ({OPTIONS.max_age / MINUTES:g} minutes)"),
    ("P-CONN-9", f"({OPTIONS.max_request_size:,} bytes)"),
    ("P-CONN-11", f"more than {FRAGMENT >> 10} KiB in several frames"),
    ("P-CONN-13", f"`ping_timeout` ({OPTIONS.ping_timeout:g} s)"),
    ("P-CONN-13", f"`ping_interval` ({OPTIONS.ping_interval:g} s)"),
    ("P-TRANSPORT-2", f"answered with {STATUSES} |"),
    ("P-TRANSPORT-3", f"{WORDS[fallback.FAILURES_IN_A_ROW]} connections in a row"),
    ("P-TRANSPORT-3", f"after {WORDS[fallback.PAUSE / MINUTES]} minutes"),
    ("P-DEFAULT-7", f"up to {OPTIONS.recovery.attempts} repetitions"),
    ("P-DEFAULT-8", f"at most {OPTIONS.recovery.max_retry_after:g} s"),
    ("P-DEFAULT-10", f"`max_in_flight` {checks.MOST_AT_ONCE} "),
    ("P-DEFAULT-10", f"repetitions {checks.MOST_KEPT:,};"),
    ("P-DEFAULT-10", f"sizes {checks.MOST_BYTES >> 40} TiB;"),
    ("P-DEFAULT-10", f"seconds {checks.MOST_SECONDS:,},"),
    ("P-START-8", f"of the last {REMEMBERED} ended turns"),
    ("P-OUTPUT-4", f"at most {MAX_GATHERED >> 20} MiB of items"),
    ("P-PARTIAL-9", f"until {GATHER_AFTER >> 20} MiB of events"),
    ("P-PARTIAL-9", f"at most {MAX_GATHERED >> 20} MiB of texts"),
    ("P-SHAPE-1", f"{DEPTH} levels in all"),
    ("P-SHAPE-4", f"cut at {NAME} characters, messages at {LONGEST_MESSAGE:,},"),
    ("P-DIALECT-16", f"up to {MAX_STICKY:,} characters"),
    ("P-RETRIEVE-3", f"more than {LONGEST_ID} bytes"),
    ("P-CONT-12", f"the last {KEPT_TURNS:,} turns of a conversation at least, {2 * KEPT_TURNS:,} at most"),
    ("P-HTTP-5", f"`limit` (1 to {MAX_LIMIT}; {DEFAULT_LIMIT})"),
    ("P-HTTP-8", f"(at most {MAX_ADDED} items)"),
    ("P-STEER-9", f"At most {MAX_STEERS} steers"),
    ("P-SERVER-6", f"Each {MIN_RATE:,} bytes"),
    ("P-SERVER-7", f"in slices of {JSON_SLICE >> 10} KiB"),
    ("P-LANES-3", f"at most {OPTIONS.max_in_flight} responses"),
    ("P-LANES-4", f"at most {OPTIONS.max_named_lanes} different names"),
    ("P-LANES-10", f"`auto-1` to `auto-{lanes.AUTOMATIC_NAMES}`"),
    ("P-POOL-1", f"({OPTIONS.connections} by default)"),
    ("P-POOL-10", f"`max_age` ({OPTIONS.max_age / MINUTES:g} minutes)"),
    ("P-POOL-10", f"after {pool.RETRY:g} s"),
    ("P-POOL-12", f"for {pool.FINISH:g} s"),
    ("P-POOL-11", f"`max_idle` ({OPTIONS.max_idle:g} s)"),
    ("P-HTTPX-3", f"at most {MOST_SESSIONS} unused"),
    ("P-HTTPX-3", f"after {HTTP_CLIENT_OPTIONS.max_idle:g} s"),
    ("R-1009-2", f"of {SMALL_MESSAGE // 1024} KiB or more"),
    ("R-RECOVER-14", f"answered with {STATUSES},"),
    ("D-RUNTIME-8", f"{driver.LOOK * 1000:g} ms"),
    ("D-RUNTIME-10", f"({driver.CHUNK // 1024} KiB)"),
    ("D-SHELL-7", f"after {addresses.STAGGER:g} s"),
]
"""Rules that say a number of the code, and how."""


@pytest.mark.parametrize(("rule", "says"), NUMBERS)
def test_a_number_is_that_of_the_code(rule: str, says: str) -> None:
    assert says in rule_text(rule)


def rule_text(rule: str) -> str:
    """A rule's paragraph or row, on one line."""
    found = re.search(rf"^(?:\| )?\*\*{rule}\*\*.*?(?=\n\n|\n\|)", PAGES[page_of(rule)], re.MULTILINE | re.DOTALL)
    assert found, rule
    return found[0].replace("\n", " ")


# --- The tests above can fail ----------------------------------------------------------------------------------------


def test_a_number_that_is_another_is_found() -> None:
    with pytest.raises(AssertionError):
        test_a_number_is_that_of_the_code("P-LANES-3", "at most 17 responses")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('See PROTOCOL.md, "Connection", and README.md.', []),
        ('PROTOCOL.md, "What starts"', []),
        ('# (REPLAY.md, "Whose\n    # 1009 it is")', []),
        ('PROTOCOL.md\'s ("Lanes", "Dialects") and PARITY A13-A15', []),
        ("PARITY A, B; C1-C14 of PARITY.md; P-LANES-3 and R-VERDICT-2", []),
        ("See NOTES.md.", ["NOTES.md is not a page"]),
        ('REPLAY.md, "Connection"', ['REPLAY.md has no heading "Connection"']),
        ('PROTOCOL.md, "What s"', ['PROTOCOL.md has no heading "What s"']),
        ('PROTOCOL.md, "What"', ['PROTOCOL.md has no heading "What"']),
        ('PROTOCOL.md ("Lanes", "Lane")', ['PROTOCOL.md has no heading "Lane"']),
        ('REPLAY.md,\n    "Whose\n    1010"', ['REPLAY.md has no heading "Whose 1010"']),
        ("PARITY A15-A17, C15", ["PARITY A17 is no id", "PARITY C15 is no id"]),
        ("P-LANES-99", ["P-LANES-99 is no id"]),
    ],
)
def test_what_leads_nowhere_is_found(text: str, wrong: list[str]) -> None:
    assert [what for reference in references(text) if (what := complaint(reference)) is not None] == wrong
