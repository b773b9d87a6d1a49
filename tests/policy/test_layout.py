"""The layout is the one that ``turnwire.sansio`` describes: its table is complete, and in the order of imports.

Every import counts, those inside functions and under ``TYPE_CHECKING`` too: what only a type checker follows is a
dependency for whoever reads the code.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import turnwire.aio
import turnwire.sansio
import turnwire.trio_shell
from kit.sources import parse

PACKAGES = {
    name: Path(module.__file__ or "").parent
    for name, module in (
        ("turnwire.sansio", turnwire.sansio),
        ("turnwire.aio", turnwire.aio),
        ("turnwire.trio_shell", turnwire.trio_shell),
    )
}
CORE = PACKAGES["turnwire.sansio"]
ROWS = re.findall(r"^    (\w+) {2,}\w", turnwire.sansio.__doc__ or "", re.MULTILINE)
FORMER = {"settings", "tools", "converter", "request", "model", "tracing", "usage", "httpturn", "sdk"}
"""Former places of modules: they import the present ones, and nobody imports them."""
IO = {"socket", "ssl", "asyncio", "anyio", "trio", "threading", "time", "random", "os", "selectors", "subprocess"}
"""What the core does without, but for ``os.urandom`` in ``chance``."""


class Import(NamedTuple):
    """One import: what is imported, as a dotted name; where it stands; and whether a function has it."""

    name: str
    line: int
    lazy: bool


def modules_in(packages: Mapping[str, Path]) -> dict[str, Path]:
    """Every module below these packages, by its dotted name."""
    found: dict[str, Path] = {}
    for package, folder in packages.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def statements(tree: ast.AST) -> Iterator[tuple[ast.stmt, bool]]:
    """Every statement, and whether it stands in a function."""
    rest: deque[tuple[ast.AST, bool]] = deque([(tree, False)])
    while rest:
        node, lazy = rest.popleft()
        if isinstance(node, ast.stmt):
            yield node, lazy
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
                rest.append((child, lazy))


def imports_of(name: str, path: Path, text: str, modules: Mapping[str, Path]) -> Iterator[Import]:
    """Every import of a module, wherever it stands; ``from a import b`` is an import of ``a.b`` if that is a module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node, lazy in statements(parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield Import(inner if inner in modules else origin, node.lineno, lazy)


def all_imports(packages: Mapping[str, Path]) -> dict[str, list[Import]]:
    modules = modules_in(packages)
    return {name: list(imports_of(name, path, path.read_text(), modules)) for name, path in modules.items()}


@cache
def product() -> dict[str, list[Import]]:
    """What each module of the three packages imports."""
    return all_imports(PACKAGES)


def row_of(name: str) -> str:
    """The row of the table in which a module of the core stands: ``turnwire.sansio.events._json`` in ``events``."""
    return name.split(".")[2] if name.count(".") >= 2 else ""


def crossing(names: list[str]) -> Iterator[tuple[str, Import]]:
    """The imports of modules whose names begin with one of these, and where."""
    for name, imports in product().items():
        if any(f"{name}.".startswith(f"{prefix}.") for prefix in names):
            for each in imports:
                yield name, each


def leads_to(imported: Import, *names: str) -> bool:
    return any(f"{imported.name}.".startswith(f"{name}.") for name in names)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that can be reached from each other: the strongly connected components of more than one (Tarjan)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], order[other])
        if lowest[node] == order[node]:
            index = stack.index(node)
            component = stack[index:]
            del stack[index:]
            if len(component) > 1 or node in graph[node]:
                found.append(sorted(component))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def graph_of(imports: Mapping[str, list[Import]]) -> dict[str, set[str]]:
    """Which file imports which."""
    return {name: {each.name for each in found if each.name in imports} for name, found in imports.items()}


# --- The table ------------------------------------------------------------------------------------------------------


def test_every_module_of_the_core_is_in_the_table():
    there = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(ROWS) == sorted(there - FORMER - {"__init__"})


@pytest.mark.parametrize("row", ROWS)
def test_a_module_imports_only_modules_below_it(row: str):
    allowed = {row, *ROWS[ROWS.index(row) + 1 :]}
    above = [
        f"{name}:{each.line} imports {each.name}"
        for name, each in crossing([f"turnwire.sansio.{row}"])
        if each.name.startswith("turnwire.")
        and (not leads_to(each, "turnwire.sansio") or row_of(each.name) not in allowed)
    ]
    assert above == []


@pytest.mark.parametrize("row", ROWS)
def test_a_module_begins_with_its_promise(row: str):
    path = CORE / row / "__init__.py" if (CORE / row).is_dir() else CORE / f"{row}.py"
    text = ast.get_docstring(parse(path.read_text())) or ""
    assert len(text) > 200, "the docstring at the top of a module says what it promises"


# --- Who may import whom --------------------------------------------------------------------------------------------


def test_no_files_import_each_other_in_a_circle():
    assert circles(graph_of(product())) == []


def test_the_protocol_never_imports_the_agents_side():
    rows = [f"turnwire.sansio.{row}" for row in ROWS if row not in ("agents", "api")]
    assert [(name, each) for name, each in crossing(rows) if leads_to(each, "turnwire.sansio.agents")] == []


def test_nobody_imports_a_former_place():
    former = [f"turnwire.sansio.{name}" for name in FORMER]
    assert [(name, each) for name, each in crossing(["turnwire"]) if leads_to(each, *former)] == []


def test_the_core_imports_no_shell_and_does_no_input_or_output():
    found = [
        (name, each)
        for name, each in crossing(["turnwire.sansio"])
        if leads_to(each, "turnwire.aio", "turnwire.trio_shell", *IO)
    ]
    assert [(name, each.name) for name, each in found] == [
        ("turnwire.sansio.agents.wsmodel", "ssl"),  # For types only, as in client.py.
        ("turnwire.sansio.chance", "os"),
        ("turnwire.sansio.client", "ssl"),
    ]


def test_the_shell_for_trio_imports_neither_the_other_nor_what_that_stands_on():
    wrong = ("turnwire.aio", "anyio", "asyncio", "sniffio", "uvloop")
    assert [(name, each) for name, each in crossing(["turnwire.trio_shell"]) if leads_to(each, *wrong)] == []


def test_the_test_server_imports_the_core_and_nothing_of_the_clients():
    found = [
        (name, each)
        for name, each in crossing(["turnwire.aio.loopback"])
        if leads_to(each, "turnwire") and not leads_to(each, "turnwire.sansio", "turnwire.aio.loopback")
    ]
    assert found == []


OPENAI = {"turnwire.sansio.events._openai", "turnwire.sansio.events._openai_plans"}
"""The modules that make objects of ``openai``, and therefore import it: when they are called, and not before."""


def test_only_what_makes_openais_objects_imports_openai():
    found = {
        name
        for name, each in crossing(["turnwire"])
        if leads_to(each, "openai", "pydantic", "pydantic_core") and each.lazy
    }
    assert found == OPENAI


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_all_of_the_core_imports_no_openai():
    names = sorted(name for name in product() if leads_to(Import(name, 0, False), "turnwire.sansio"))
    heavy = ("openai", "pydantic", "agents", "httpx", "anyio", "asyncio", "trio")
    code = f"import sys\nfor name in {names}: __import__(name)\nprint(*sorted(set({heavy}) & set(sys.modules)))"
    assert run(code).strip() == ""


# --- The tests above can fail ---------------------------------------------------------------------------------------

PLANTED = {
    "at the top": ("from . import b", "from .a import x"),
    "in a function": ("def f():\n    from .b import y", "from . import a"),
    "for the type checker": ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import y", "import p.a"),
    "of three": ("from .b import y", "from .c import z"),
    "through a package": ("from .d import w", ""),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_circle_is_found(kind: str, tmp_path: Path):
    first, second = PLANTED[kind]
    (tmp_path / "d").mkdir()
    for name, text in (("a", first), ("b", second), ("c", "from .a import x"), ("d/__init__", "from ..a import x")):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "__init__.py").write_text("")
    (found,) = circles(graph_of(all_imports({"p": tmp_path})))
    assert {"p.a"} < set(found)
    assert len(found) == (3 if kind == "of three" else 2)


def test_files_without_a_circle_have_none(tmp_path: Path):
    for name, text in (("a", "from . import b, c"), ("b", "from .c import z"), ("c", "import json"), ("__init__", "")):
        (tmp_path / f"{name}.py").write_text(text)
    assert circles(graph_of(all_imports({"p": tmp_path}))) == []


def test_every_package_is_in_the_wheel():
    """The editable install finds folders that ``packages`` in pyproject.toml lacks; the wheel does not."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    if not pyproject.exists():
        pytest.skip("there is no pyproject.toml beside the tests")
    setuptools = tomllib.loads(pyproject.read_text())["tool"]["setuptools"]
    places = {place: name for name, place in setuptools["package-dir"].items()}
    found = set()
    for top in ("sansio", "aio", "trio_shell"):
        for path in sorted((pyproject.parent / top).rglob("__init__.py")):
            folder = path.parent.relative_to(pyproject.parent).as_posix()
            found.add(places.get(folder) or folder.replace(top, places[top], 1).replace("/", "."))
    assert found == set(setuptools["packages"])
