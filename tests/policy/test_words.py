"""Words: none of those that were replaced because a reader had to guess, and no class name for two things.

The product's text is plain technical English: short sentences, and the words of the field. Names that were wordplay
have been replaced (left: the word, right: what is written now). A name in code counts as its parts: ``evict_waiting``
has the word ``evict``. A word of the list may have a second meaning that is the field's own: :data:`ALLOWED` has these
phrases.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sansio", "aio", "trio_shell", "benchmarks")
TEXTS = sorted(
    path
    for place in (*PACKAGES, "tests", "README.md", "CHANGELOG.md")
    for path in ((ROOT / place).rglob("*") if (ROOT / place).is_dir() else [ROOT / place])
    if path.suffix in (".py", ".md") and "results" not in path.parts and path != Path(__file__)
)

REPLACED: Mapping[str, str] = {
    "bell bells": "event",
    "doom doomed dooms": "fault_script",
    "doze dozed dozes dozing": "background reader",
    "duty duties": "reader",
    "evict evicted evicting evicts eviction": "requeue",
    "farewell farewells": "close code",
    "forgo forgoes forgone forwent": "abandon",
    "forsake forsaken forsakes forsook": "abandon",
    "home homes": "per-loop pool",
    "house houses": "package",
    "keeper keepers": "background reader",
    "lagging": "read_paused",
    "lease leased leases": "finalizer",
    "lives": "runs",
    "manieth": "index",
    "mend mended mending mends": "replace_surrogates",
    "mood moods": "server_behaviour",
    "mute muted mutes": "write_disabled",
    "patient patiently impatient impatiently": "wait_for_peer",
    "polite politely politeness": "close without waiting for the peer",
    "pulse pulses": "keepalive",
    "retire retired retires": "close_without_waiting",
    "ring rings": "wake",
    "room rooms": "module",
    "stranger strangers": "unknown variant",
    "surroundings": "environment",
    "twin twins": "equivalent",
}
PHRASES: Mapping[str, str] = {"the seed": "the Agents SDK's model", "let go of": "release", "sign of life": "pong"}
"""As :data:`REPLACED`, for several words together."""

ALLOWED = (
    '"HOME"',  # The variable of the environment.
    r"room for",  # As in "there is room for another lane".
    r"has_room_for",
    r"has room for",
    r"no room",
    r"lives in",  # As in "the table lives in another module".
    r"home directory",
    r"Path\.home",
    r"Homepage",
    r"(?:comes|follows|drawn) from the seed",  # That of a random generator.
    r"Surroundings = Environment|\"Surroundings\": \"Environment\"",  # A former name that existing code may import.
)


def words_of(text: str) -> Iterator[tuple[int, str]]:
    """The words of a text in lower case, and where each begins; a name in code gives its parts."""
    for found in re.finditer(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text):
        yield found.start(), found[0].lower()


WORDS = {word: instead for words, instead in REPLACED.items() for word in words.split()}


def replaced_words(text: str) -> list[str]:
    """What of a text is written otherwise: the line's number, the word, and what is written now."""
    allowed = [range(*found.span()) for found in re.finditer("|".join(ALLOWED), text)]
    places = [(at, word, WORDS[word]) for at, word in words_of(text) if word in WORDS]
    places += [
        (found.start(), phrase, instead)
        for phrase, instead in PHRASES.items()
        for found in re.finditer(rf"\b{phrase}\b".replace(" ", r"\s+"), text, re.IGNORECASE)
    ]
    return [
        f"line {text.count(chr(10), 0, at) + 1}: {word!r}, write {instead!r}"
        for at, word, instead in sorted(places)
        if not any(at in span for span in allowed)
    ]


def test_no_text_has_a_word_that_was_replaced():
    found = {str(path.relative_to(ROOT)): replaced_words(path.read_text()) for path in TEXTS}
    assert {name: words for name, words in found.items() if words} == {}


def test_all_texts_are_read():
    names = {str(path.relative_to(ROOT)) for path in TEXTS}
    assert {"README.md", "sansio/session.py", "sansio/spec/REPLAY.md", "aio/loopback/_server.py"} <= names
    assert {"tests/kit/peers.py", "trio_shell/_runtime.py", "benchmarks/core.py", "CHANGELOG.md"} <= names


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("# So much for politeness.", "politeness"),
        ("def evict_waiting(self):", "evict"),
        ("class BackgroundKeeper:", "keeper"),
        ("one\nRings the bell.", "bell"),
        ("the order of the\n    seed's arguments", "the seed"),
        ("a room of this house", "house"),
    ],
)
def test_a_planted_word_is_found(text: str, word: str):
    assert any(f"{word!r}, write" in found for found in replaced_words(text))


def test_the_line_and_the_word_to_write_are_said():
    assert replaced_words("one\ntwo twins\n") == ["line 2: 'twins', write 'equivalent'"]


@pytest.mark.parametrize(
    "text", ["there is room for one more", "during a string's life", "All of it comes from the seed"]
)
def test_the_meanings_of_the_field_are_allowed(text: str):
    assert replaced_words(text) == []


# --- Names -----------------------------------------------------------------------------------------------------------


NAMED_TWICE = {
    "McpCall": "the item of a response, and what a script of the test server says to have one",
    "Refusal": "the evidence that a request was refused, and what a script says to have the model refuse",
    "Text": "what a script says to have a message, and a private class of the demo's report",
    "Turn": "the protocol's record of a turn, and the handle that users hold; the docstring of each names the other",
}


def classes(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The files in which each class is defined anew: not as a subclass of the class of the same name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef):
                bases = {re.split(r"[\[.]", ast.unparse(base).partition("[")[0])[-1] for base in node.bases}
                if node.name not in bases:
                    found[node.name].append(name)
    return found


def named_twice(sources: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: files for name, files in classes(sources).items() if len(files) > 1}


def test_no_class_name_means_two_things():
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in TEXTS if path.suffix == ".py"}
    product = {name: source for name, source in sources.items() if name.split("/")[0] in PACKAGES}
    assert set(named_twice(product)) == set(NAMED_TWICE)


def test_a_class_name_that_means_two_things_is_found():
    one, shell = "class Peer: ...\nclass Session: ...", "class Session(client.Session[Turn], shell=SHELL): ..."
    assert named_twice({"a.py": one, "b.py": "class Peer: ...", "c.py": shell}) == {"Peer": ["a.py", "b.py"]}


def test_both_kinds_of_turn_name_the_other():
    from turnwire.sansio import client, connection

    assert "turnwire.sansio.client.Turn" in (connection.Turn.__doc__ or "")
    assert "turnwire.sansio.connection.Turn" in (client.Turn.__doc__ or "")
