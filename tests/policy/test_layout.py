"""The layout is the one that ``turnwire.sansio`` describes: its table is complete, and in the order of imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import turnwire.sansio

CORE = Path(turnwire.sansio.__file__).parent
MODULES = re.findall(r"^    (\w+) {2,}\w", turnwire.sansio.__doc__ or "", re.MULTILINE)
FORMER = {"settings", "tools", "converter", "request", "model", "tracing", "usage", "httpturn", "sdk"}
"""Former places of modules: they import the present ones, and nobody imports them."""


def files_of(module: str) -> list[Path]:
    return sorted((CORE / module).glob("*.py")) or [CORE / f"{module}.py"]


def imports_of(module: str) -> Iterator[tuple[str, str]]:
    """The other modules that a module imports when it is imported, and where."""
    for file in files_of(module):
        level = 1 if file.parent == CORE else 2
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level == level:
                yield (node.module or "").split(".")[0], f"{file.relative_to(CORE)}:{node.lineno}"


def test_every_module_is_in_the_table():
    there = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(MODULES) == sorted(there - FORMER - {"__init__"})


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_below_it(module: str):
    below = MODULES[MODULES.index(module) + 1 :]
    assert [f"{where} imports {other}" for other, where in imports_of(module) if other not in below] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_begins_with_its_promise(module: str):
    text = ast.get_docstring(ast.parse(files_of(module)[0].read_text())) or ""
    assert len(text) > 200, "the docstring at the top of a module says what it promises"
