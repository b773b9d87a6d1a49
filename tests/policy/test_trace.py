"""Every rule of the specification is cited by the code that does it and by a test that proves it.

Those of DESIGN.md, which describes this code and no protocol, need not be.

``kit/trace.py`` says what counts. ``sansio/spec/trace.json`` has the result, and ``turnwire tables --trace`` prints it.
"""

from __future__ import annotations

import os
import re

import pytest
from kit.trace import (
    DEFINED,
    PAGES,
    SPEC,
    cited,
    cited_by_code,
    cited_by_tests,
    file_text,
    lacks,
    rules,
    sources,
    trace,
)

FILE = SPEC / "trace.json"
WRITE = "TURNWIRE_WRITE_TRACE"
TRACED = ("PROTOCOL.md", "REPLAY.md", "CONVERSATION.md", "RECORDING.md", "VECTORS.md")
"""The pages of which each rule has code and a test."""
RULES_ONLY = ("PROTOCOL", "REPLAY", "CONVERSATION", "RECORDING", "VECTORS")
"""The pages that have rules and what introduces them; DESIGN.md also describes."""


@pytest.mark.parametrize("page", TRACED)
def test_each_rule_has_code_and_a_test(page: str) -> None:
    traced = {rule: has for rule, has in trace().items() if rules()[rule].page == page}
    assert len(traced) > 25
    assert {rule: missing for rule, has in traced.items() if (missing := lacks(rule, has))} == {}


def test_the_trace_is_current() -> None:
    text = file_text(trace())
    if os.environ.get(WRITE):
        FILE.write_text(text, encoding="utf-8")
    behind = f"trace.json is behind: {WRITE}=1 python -m pytest tests/policy/test_trace.py"
    assert FILE.read_text(encoding="utf-8") == text, behind


def test_each_rule_that_is_cited_exists() -> None:
    """In the names of tests and within ranges, too; ``test_spec.py`` sees to the ids that are written out."""
    known = set(rules())
    wrong = {
        f"{path}: {rule}"
        for found in sources().values()
        for rule, places in found.items()
        for path in places
        if rule not in known
    }
    assert wrong == set()


# --- Every rule has an id, as far as a test can see that --------------------------------------------------------------

DEMAND = re.compile(r"\b(?:must|never|always|refuses|ha(?:s|ve) to be)\b|(?<![`./])\bturnwire(?! \w+ FILE) \w+s\b")
"""What says that something is demanded, or what turnwire does."""


def demands(words: str) -> bool:
    """A heading, and a sentence such as "What turnwire refuses.", say what a section is about."""
    return DEMAND.search(re.sub(r"(?i)\bwhat [^.:]*[.:]", "", words.partition(": ")[2])) is not None


def introductions(text: str) -> list[str]:
    """The paragraphs of each section of a page before its first rule."""
    found: list[str] = []
    for section in re.split(r"^(?=##+ )", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        before = body[: first.start()] if (first := DEFINED.search(body)) else body
        blocks = [block for block in re.split(r"\n\n+", before.strip()) if block and not block.startswith("|")]
        found += [f"{heading}: {' '.join(block.split())}" for block in blocks]
    return found


def rows_without_id(text: str) -> list[str]:
    """Rows of a table whose first column is that of ids, and that have none."""
    found: list[str] = []
    for table in re.findall(r"^\| id \|.*\n\| -.*\n((?:\|.*\n)+)", text, re.MULTILINE):
        found += [row for row in table.splitlines() if not DEFINED.match(row)]
    return found


@pytest.mark.parametrize("page", RULES_ONLY)
def test_what_is_demanded_has_an_id(page: str) -> None:
    text = (SPEC / f"{page}.md").read_text(encoding="utf-8")
    assert [words for words in introductions(text) if demands(words)] == []
    assert rows_without_id(text) == []


def test_every_page_of_rules_is_read() -> None:
    assert set(RULES_ONLY) < set(PAGES.values())
    assert {rule.page for rule in rules().values()} == {f"{page}.md" for page in PAGES.values()}


# --- The tests above can fail -----------------------------------------------------------------------------------------


def test_what_is_demanded_without_an_id_is_found() -> None:
    page = "# Page\n\nIt never does.\n\n## A\n\nturnwire refuses this.\n\n**P-LANES-1** It refuses that.\n\nBehind.\n"
    assert introductions(page) == ["## A: turnwire refuses this."]
    assert demands(introductions(page)[0])
    assert not demands("## What it refuses: What turnwire sends and refuses. It is said here.")
    assert rows_without_id("| id | x |\n| --- | --- |\n| **P-LANES-1** | y |\n| z | y |\n") == ["| z | y |"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("P-LANES-3, P-LANES-5", {"P-LANES-3", "P-LANES-5"}),
        ("R-VERDICT-1 to R-VERDICT-3", {"R-VERDICT-1", "R-VERDICT-2", "R-VERDICT-3"}),
        ("R-VERDICT-1 to\n    # R-VERDICT-3", {"R-VERDICT-1", "R-VERDICT-2", "R-VERDICT-3"}),
        ("P-STRICT-9 and -11", {"P-STRICT-9", "P-STRICT-11"}),
        ("R-VERDICT-1 to P-LANES-3", {"R-VERDICT-1", "P-LANES-3"}),
        ("I2-I4; I6, I8", {"I2", "I3", "I4", "I6", "I8"}),
        ("P-LANES-13 XP-LANES-3 I10 AI3", {"P-LANES-13"}),
    ],
)
def test_what_a_text_cites(text: str, found: set[str]) -> None:
    assert {rule for rule, _ in cited(text)} == found


MODULE = '''
"""About P-LANES-1."""

CASES = ["P-LANES-2"]
"""P-LANES-3."""


# --- P-LANES-4 ---


@pytest.mark.parametrize("case", CASES)
def test_a(case):
    """P-LANES-5."""
    assert case  # P-LANES-6


class TestB:
    """P-LANES-7."""

    def test_p_lanes_8_of_b(self):
        pass

    def help(self):
        """P-LANES-9."""


async def test_i3_it_is_sound():
    pass
'''


def test_where_a_citation_counts() -> None:
    assert {(rule[8:] or rule, name) for rule, name in cited_by_tests(MODULE)} == {
        *((number, "test_a") for number in "2356"),
        *((number, "TestB.test_p_lanes_8_of_b") for number in "78"),
        ("I3", "test_i3_it_is_sound"),
    }
    places = {
        "1": "",
        "2": "CASES",
        "3": "CASES",
        "4": "",
        "5": "test_a",
        "6": "test_a",
        "7": "TestB",
        "9": "TestB.help",
    }
    assert {rule[8:]: name for rule, name in cited_by_code(MODULE)} == places


def test_a_rule_that_lacks_something_is_found() -> None:
    assert lacks("P-LANES-1", {"code": {}, "tests": {}, "vectors": ["a/b"]}) == ["code"]
    assert lacks("P-LANES-1", {"code": {"a.py": [""]}, "tests": {}, "vectors": []}) == ["test"]
    assert lacks("R-PROOF-1", {"code": {}, "tests": {"test_a.py": ["test_a"]}, "vectors": []}) == []
