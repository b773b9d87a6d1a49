"""Which rule of ``sansio/spec/`` has which code, tests and vectors: what ``sansio/spec/trace.json`` is made of.

What counts
    code        a rule's id in a comment, a docstring or a text of the product: the function, class or name it stands in
    tests       its id in a test: in its name (``test_p_lanes_3_…``), its docstring, its comments, its parameters. The
                docstring of a class of tests is that of each; the docstring of a file counts for none
    proofs      its id in what simulations, searches and fault proxies check (``tests/kit``)
    vectors     its id among the ``rules`` of a vector: turnwire is held to each by ``test_vectors.py``

``R-REFUSAL-1 to R-REFUSAL-3`` are three rules, and so are ``P-STRICT-9 to -11``.

From ``tests/``, ``python -m kit.trace [P-LANES …]`` prints the rules that lack code or a test.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import turnwire.sansio
from kit.sources import parse
from turnwire.sansio.tables import as_text

__all__ = [
    *("DEFINED", "PAGES", "RULE", "SPEC", "Rule", "cited", "cited_by_code", "cited_by_tests"),
    *("file_text", "lacks", "rules", "sources", "trace", "vectors"),
]

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
SPEC = Path(turnwire.sansio.__file__ or "").parent / "spec"
PAGES = {"P": "PROTOCOL", "R": "REPLAY", "C": "CONVERSATION", "F": "RECORDING", "V": "VECTORS", "D": "DESIGN"}
"""The page of an id, by its first letter; I1 to I9 are on DESIGN.md."""

RULE = r"[PRDFCV]-[A-Z0-9]+-\d+"
DEFINED = re.compile(rf"^(?:\| )?\*\*({RULE}|I\d)\*\*|^#+ ([A-D]\d+)\. ", re.MULTILINE)
"""An id where it is given: at the start of a paragraph, of a row, or of a heading of PARITY.md."""
CITED = re.compile(
    r"\b([PRDFCV]-[A-Z0-9]+-)(\d+)(?!\d)(?:\s+(to|and)\s+(?:# )?(?:\1|-)(\d+)\b)?"
    r"|\b(I)([1-9])(?:(-| to )I?([1-9]))?\b(?!\.)"
)
IN_NAME = re.compile(r"\btest_(?:([prdfcv])_([a-z0-9]+)_(\d+)|(i[1-9]))(?:_|\b)", re.IGNORECASE)
"""The rule after which a test is named."""


class Rule(NamedTuple):
    """A rule of a page."""

    id: str
    page: str
    text: str
    """Its paragraph, or its row, on one line."""


@cache
def rules() -> dict[str, Rule]:
    """All rules, by id, in the order of the pages."""
    found: dict[str, Rule] = {}
    for name in PAGES.values():
        text = (SPEC / f"{name}.md").read_text(encoding="utf-8")
        for given in DEFINED.finditer(text):
            words = re.split(r"\n\n|\n\|", text[given.start() :], maxsplit=1)[0]
            found[given[1]] = Rule(given[1], f"{name}.md", " ".join(words.split()))
    return found


def cited(text: str) -> Iterator[tuple[str, int]]:
    """Each id that a text cites, and where it stands."""
    for found in CITED.finditer(text):
        family, first, joint, last = found.groups()[:4] if found[1] else found.groups()[4:]
        numbers = {int(first), int(last or first)} if joint == "and" else range(int(first), int(last or first) + 1)
        yield from ((f"{family}{number}", found.start()) for number in numbers)


# --- Where a citation stands -----------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A function, a class or an assigned name, and its lines: decorators and docstring included."""

    first: int
    last: int
    name: str
    node: ast.stmt


def places(body: Iterable[ast.stmt], inside: str = "") -> Iterator[Place]:
    """Every place of a module, the outer before the inner."""
    statements = list(body)
    for node, behind in zip(statements, [*statements[1:], ast.Pass()], strict=True):
        last = node.end_lineno or 0
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                yield Place(first, last, inside + node.name, node)
                yield from places(node.body, f"{inside}{node.name}.")
            case ast.Assign() | ast.AnnAssign():
                if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
                    last = behind.end_lineno or 0
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                yield Place(node.lineno, last, inside + ast.unparse(target), node)
            case _:
                pass


def cited_by_code(text: str) -> Iterator[tuple[str, str]]:
    """Each rule that a module cites, and where. The place "" is the module's own docstring or a comment outside."""
    found = list(cited(text))
    known = list(places(parse(text).body)) if found else []  # To parse is what takes time.
    for rule, at in found:
        line = text.count("\n", 0, at) + 1
        yield rule, next((place.name for place in reversed(known) if place.first <= line <= place.last), "")


def cited_by_tests(text: str) -> Iterator[tuple[str, str]]:
    """Each rule that a test of a file cites for itself, and the test."""
    lines = text.splitlines()
    known = list(places(parse(text).body)) if CITED.search(text) or IN_NAME.search(text) else []
    classes = [each.node for each in known if isinstance(each.node, ast.ClassDef)]
    for place in known:
        name = place.name.rpartition(".")[2]
        if not name.startswith("test_") or not isinstance(place.node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        words = lines[place.first - 1 : place.last] + _parameters(place.node, known, lines)
        words += [ast.get_docstring(each) or "" for each in classes if place.node in each.body]
        if in_name := IN_NAME.match(name):
            words.append("-".join(filter(None, in_name.groups())).upper())
        yield from ((rule, place.name) for rule, _ in cited("\n".join(words)))


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, known: list[Place], lines: list[str]) -> list[str]:
    """The lines of what the decorators of a test name, such as the list of its cases."""
    named = {each.id for decorator in node.decorator_list for each in ast.walk(decorator) if isinstance(each, ast.Name)}
    return [line for place in known if place.name in named for line in lines[place.first - 1 : place.last]]


# --- The whole -------------------------------------------------------------------------------------------------------

Cited = Callable[[str], Iterable[tuple[str, str]]]
Found = Mapping[str, Mapping[str, list[str]]]
"""Rule -> file -> the places in it."""


def citations(files: Iterable[Path], cited_by: Cited) -> Found:
    """What these files cite."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(files):
        for rule, place in cited_by(path.read_text(encoding="utf-8")):
            places_in_file = found[rule][path.relative_to(ROOT).as_posix()]
            if place not in places_in_file:
                places_in_file.append(place)
    return found


def vectors() -> dict[str, list[str]]:
    """Rule -> the ids of its vectors."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((SPEC / "vectors").glob("*.json")):
        for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]:
            for rule in vector["rules"]:
                found[rule].append(vector["id"])
    return found


@cache
def sources() -> dict[str, Found]:
    """What the product, the tests, and the checks of proofs cite: rules that there are not, too."""
    tests = ROOT / "tests"
    code = [path for name in ("sansio", "aio", "trio_shell") for path in (ROOT / name).rglob("*.py")]
    kit = [path for path in (tests / "kit").glob("*.py") if path.name != "trace.py"]
    # These two are about the pages, and prove nothing about the code.
    shown = [path for path in tests.rglob("test_*.py") if path.name not in ("test_spec.py", "test_trace.py")]
    return {
        "code": citations(code, cited_by_code),
        "tests": citations(shown, cited_by_tests),
        "proofs": citations(kit, cited_by_code),
    }


def trace() -> dict[str, dict[str, Any]]:
    """Rule -> ``code``, ``tests``, ``proofs``, ``vectors``; in the order of the pages."""
    found, shown = sources(), vectors()
    return {
        rule: {kind: cites.get(rule, {}) for kind, cites in found.items()} | {"vectors": shown.get(rule, [])}
        for rule in rules()
    }


def file_text(traced: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of ``sansio/spec/trace.json``."""
    plain = json.loads(json.dumps({"format": 1, "rules": traced}))
    return as_text(plain) + "\n"


OF_TESTS = "R-PROOF-"
"""The rules that say what is tested: no code does that."""


def lacks(rule: str, has: Mapping[str, Any]) -> list[str]:
    """What a rule lacks: ``code``, ``test``."""
    wanted = {"code": has["code"] or rule.startswith(OF_TESTS), "test": has["tests"] or has["vectors"]}
    return [what for what, there in wanted.items() if not there]


def main(prefixes: list[str]) -> None:
    """Print what lacks code or a test."""
    for rule, has in trace().items():
        if (missing := lacks(rule, has)) and rule.startswith(tuple(prefixes or "PR")):
            print(f"{rule:16} no {' and no '.join(missing)}")


if __name__ == "__main__":
    main(sys.argv[1:])
