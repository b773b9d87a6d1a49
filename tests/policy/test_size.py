"""No module over 500 lines, no function over 40 lines of code, no class over 12 attributes without a reason beside it.

A line of code is one that has something else than a comment or a docstring. An attribute is what is assigned to on
``self``. The reason is a comment in the class that begins ``# More than 12 attributes:``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import turnwire.aio
import turnwire.sansio
import turnwire.trio_shell
from kit.sources import lines_of_code, parse

PACKAGES = [Path(module.__file__ or "").parent for module in (turnwire.sansio, turnwire.aio, turnwire.trio_shell)]
REASON = "# More than 12 attributes:"


def attributes_of(node: ast.ClassDef) -> set[str]:
    return {
        inner.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute)
        and isinstance(inner.ctx, ast.Store)
        and isinstance(inner.value, ast.Name)
        and inner.value.id == "self"
    }


def complaints(name: str, text: str) -> Iterator[str]:
    tree = parse(text)
    code: set[int] | None = None  # Counted when a function is long with its comments.
    all_lines = text.splitlines()
    if len(all_lines) > 500:
        yield f"{name} has {len(all_lines)} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first, last = node.lineno, node.end_lineno or 0
            if last - first < 40:
                continue
            code = lines_of_code(text) if code is None else code
            count = sum(node.lineno <= line <= (node.end_lineno or 0) for line in code)
            if count > 40:
                yield f"{node.name} has {count} lines of code ({name}:{node.lineno})"
        elif isinstance(node, ast.ClassDef):
            count = len(attributes_of(node))
            if count > 12 and not any(REASON in line for line in all_lines[node.lineno : node.end_lineno]):
                yield f"{node.name} has {count} attributes ({name}:{node.lineno})"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_nothing_is_over_its_limit(package: Path):
    found = [each for path in sorted(package.rglob("*.py")) for each in complaints(path.name, path.read_text())]
    assert found == []


TOO_LONG = "def f():\n" + "    x = 1\n" * 40
TOO_MANY = "class C:\n    def f(self):\n" + "".join(f"        self.a{i} = 1\n" for i in range(13))
DOCUMENTED = 'def f():\n    """A.\n' + "    B.\n" * 60 + '    """\n' + "    x = 1  # One.\n    # Two.\n\n" * 39


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\n" * 501, ["m.py has 501 lines"]),
        ("x = 1\n" * 500, []),
        (TOO_LONG, ["f has 41 lines of code (m.py:1)"]),
        (DOCUMENTED, []),
        (TOO_MANY, ["C has 13 attributes (m.py:1)"]),
        (TOO_MANY.replace(":", f":\n    {REASON} a machine's state is in one place.", 1), []),
    ],
)
def test_what_is_over_a_limit_is_found(text: str, found: list[str]):
    assert list(complaints("m.py", text)) == found
