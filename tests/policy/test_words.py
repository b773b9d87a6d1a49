"""Words: none of those that were replaced because a reader had to guess, and no name for two things.

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
from kit.sources import parse

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
    r"XDG_STATE_HOME",
    r"Path\.home",
    r"Homepage",
    r"(?:comes|follows|drawn) from the seed",  # That of a random generator.
    r"Surroundings = Means|\"Surroundings\"",  # A former name that existing code may import.
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
    "Conversation": "the field of a response, and what users hold of turns that go on from each other",
    "McpCall": "the item of a response, and what a script of the test server says to have one",
    "Refusal": "the evidence that a request was refused, and what a script says to have the model refuse",
    "Session": "what users hold, in the shells and without async",
    "Turn": "the protocol's record of a turn, and the handle that users hold; the docstring of each names the other",
}


def classes(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The files in which each class is defined anew: not as a subclass of the class of the same name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, source in sources.items():
        for node in parse(source).body:
            if isinstance(node, ast.ClassDef):
                bases = {re.split(r"[\[.]", ast.unparse(base).partition("[")[0])[-1] for base in node.bases}
                if node.name not in bases:
                    found[node.name].append(name)
    return found


def modules_of(*packages: str) -> dict[str, str]:
    """The modules in these folders, and their texts."""
    paths = [path.relative_to(ROOT) for path in TEXTS if path.suffix == ".py"]
    return {str(path): (ROOT / path).read_text() for path in paths if path.parts[0] in packages}


def named_twice(sources: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: files for name, files in classes(sources).items() if len(files) > 1}


def test_no_class_name_means_two_things():
    assert set(named_twice(modules_of(*PACKAGES))) == set(NAMED_TWICE)


def test_a_class_name_that_means_two_things_is_found():
    one, shell = "class Peer: ...\nclass Session: ...", "class Session(client.Session[Turn], shell=SHELL): ..."
    assert named_twice({"a.py": one, "b.py": "class Peer: ...", "c.py": shell}) == {"Peer": ["a.py", "b.py"]}


DEFINED_TWICE = {
    "Event": "an event as the client reads it, and as the test server writes it",
    "Item": "an item of a response, and what the bytes of a WebSocket become",
    "Part": "a part of an item's content, and what a script says a reply consists of",
    "WARNING": "the number of a level of the log, in the two modules that write logs",
    "TRANSPORT_ERRORS": "what the library of a module raises when a transport breaks: anyio in the test server, trio",
    "add_arguments": "of each command of the command line: its options",
    "run": "of each command of the command line: its work; and in the shells, of a flow: its wait",
    "connect": "what a user calls, in the core without waiting, in the shells bound to them",
    "serve": "the test server, for asyncio and without async",
    "shown": "a value for people, as Python's repr in messages and as JSON in logs and spans; both are public",
}
"""Functions and constants that stand in several modules, and why."""


def defined_in(source: str) -> set[str]:
    """The functions and constants of a module, without those that are private, type variables, or former names."""
    body = parse(source).body
    found: set[str] = set()
    for node, after in zip(body, [*body[1:], None], strict=True):
        former = isinstance(after, ast.Expr) and "former name" in ast.unparse(after)
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if not former:
                if not ast.unparse(value).startswith(("TypeVar(", "TypeVarTuple(", "ParamSpec(")):
                    found.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)) if not former:
                found.add(name)
    return {name for name in found if not name.startswith("_")}


def defined_twice(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The names that stand in several modules, and which; what stands once in each of the shells is one thing."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, source in sources.items():
        for each in defined_in(source):
            found[each].append(name)
    for files in found.values():
        shells = [file for file in files if re.fullmatch(r"(aio|trio_shell)/\w+\.py", file)]
        if sorted(file.split("/")[0] for file in shells) == ["aio", "trio_shell"]:
            files.remove(shells[1])
    return {name: files for name, files in found.items() if len(files) > 1}


def test_no_function_or_constant_means_two_things():
    found = defined_twice(modules_of("sansio", "aio", "trio_shell"))
    assert {name: files for name, files in found.items() if name not in DEFINED_TWICE} == {}
    assert set(DEFINED_TWICE) <= set(found)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("MOST: Final = 5", "MOST = 1", ["MOST"]),
        ("def shown(): ...", "async def shown(): ...", ["shown"]),
        ("_MOST = 5", "_MOST = 1", []),
        ("T = TypeVar('T')", "T = TypeVar('T')", []),
        ("class Answer: ...", "Answer = HandshakeAnswer\n'The former name.'", []),
        ("MOST: Final = 5", "from .a import MOST", []),
    ],
)
def test_a_function_or_constant_that_means_two_things_is_found(first: str, second: str, found: list[str]):
    assert list(defined_twice({"sansio/a.py": first, "sansio/b.py": second})) == found


def test_what_stands_in_both_shells_is_one_thing():
    shells = {"aio/_a.py": "SHELL = 1", "trio_shell/_b.py": "SHELL = 2"}
    assert defined_twice(shells) == {}
    assert defined_twice(shells | {"sansio/c.py": "SHELL = 3"}) == {"SHELL": ["aio/_a.py", "sansio/c.py"]}


def test_both_kinds_of_turn_name_the_other():
    from turnwire.sansio import client, connection

    assert "turnwire.sansio.client.Turn" in (connection.Turn.__doc__ or "")
    assert "turnwire.sansio.connection.Turn" in (client.Turn.__doc__ or "")
