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
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import turnwire.sansio
from kit.sources import parse

__all__ = ["DEFINED", "PAGES", "ROOT", "RULE", "SPEC", "Rule", "cited", "rules", "trace"]

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
IN_NAME = re.compile(r"^test_(?:([prdfcv])_([a-z0-9]+)_(\d+)|(i[1-9]))(?:_|$)", re.IGNORECASE)
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


Found = Mapping[str, Mapping[str, list[str]]]
"""Rule -> file -> the places in it."""


def citations_in_code(folders: Iterable[Path]) -> Found:
    """What the code of these folders cites. A place "" is the module's own docstring or comment."""
    found = _empty()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        known = list(places(parse(text).body))
        for rule, at in cited(text):
            line = text.count("\n", 0, at) + 1
            name = next((place.name for place in reversed(known) if place.first <= line <= place.last), "")
            _add(found, rule, path, name)
    return found


def citations_in_tests(files: Iterable[Path]) -> Found:
    """What tests cite, each for itself."""
    found = _empty()
    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        known = list(places(parse(text).body))
        for place in known:
            name = place.name.rpartition(".")[2]
            if not name.startswith("test_") or not isinstance(place.node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            words = "\n".join(lines[place.first - 1 : place.last] + _parameters(place.node, known, lines))
            outer = [each.node for each in known if isinstance(each.node, ast.ClassDef)]
            words += "".join(ast.get_docstring(each) or "" for each in outer if place.node in each.body)
            if in_name := IN_NAME.match(name):
                words += f" {'-'.join(filter(None, in_name.groups()))}".upper()
            for rule, _ in cited(words):
                _add(found, rule, path, place.name)
    return found


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, known: list[Place], lines: list[str]) -> list[str]:
    """The lines of what the decorators of a test name, such as the list of its cases."""
    named = {each.id for decorator in node.decorator_list for each in ast.walk(decorator) if isinstance(each, ast.Name)}
    return [line for place in known if place.name in named for line in lines[place.first - 1 : place.last]]


def citations_in_vectors() -> dict[str, list[str]]:
    """Rule -> the ids of its vectors."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((SPEC / "vectors").glob("*.json")):
        for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]:
            for rule in vector["rules"]:
                found[rule].append(vector["id"])
    return found


def _empty() -> dict[str, dict[str, list[str]]]:
    return defaultdict(lambda: defaultdict(list))


def _add(found: dict[str, dict[str, list[str]]], rule: str, path: Path, name: str) -> None:
    names = found[rule][path.relative_to(ROOT).as_posix()]
    if name not in names:
        names.append(name)


# --- The whole -------------------------------------------------------------------------------------------------------


def trace() -> dict[str, dict[str, Any]]:
    """Rule -> ``code``, ``tests``, ``proofs``, ``vectors``; in the order of the pages."""
    tests = ROOT / "tests"
    code = citations_in_code(ROOT / name for name in ("sansio", "aio", "trio_shell"))
    # test_spec.py compares words of the pages, and proves nothing about the code.
    shown = citations_in_tests(set(tests.rglob("test_*.py")) - {tests / "policy" / "test_spec.py"})
    proofs = citations_in_code([tests / "kit"])
    vectors = citations_in_vectors()
    return {
        rule: {
            "code": code.get(rule, {}),
            "tests": shown.get(rule, {}),
            "proofs": {path: names for path, names in proofs.get(rule, {}).items() if _is_proof(path)},
            "vectors": vectors.get(rule, []),
        }
        for rule in rules()
    }


def _is_proof(path: str) -> bool:
    return not path.startswith(("tests/kit/vectors/", "tests/kit/trace.py"))


def main(prefixes: list[str]) -> None:
    """Print what lacks code or a test."""
    for rule, has in trace().items():
        lacks = [what for what, there in (("code", has["code"]), ("test", has["tests"] or has["vectors"])) if not there]
        if lacks and rule.startswith(tuple(prefixes or "PR")):
            print(f"{rule:16} no {' and no '.join(lacks)}")


if __name__ == "__main__":
    main(sys.argv[1:])
