"""The two shells have one face: the same public names, which take and give the same.

How they behave, the conformance suite asks of both. What they have in common is written once, in the core; what is left
in each is what differs between event loops.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import turnwire.aio
import turnwire.trio_shell
from kit.sources import parse

SHELLS = {
    "turnwire.aio": turnwire.aio,
    "turnwire.trio_shell": turnwire.trio_shell,
}


def test_the_same_public_names_with_the_same_signatures():
    aio, trio = turnwire.aio, turnwire.trio_shell
    assert aio.__all__ == trio.__all__
    for name in aio.__all__:
        mine, theirs = getattr(aio, name), getattr(trio, name)
        if mine is theirs:  # The core's.
            continue
        assert inspect.signature(mine) == inspect.signature(theirs), name
        public = [member for member in vars(mine) if not member.startswith("_")]
        assert public == [member for member in vars(theirs) if not member.startswith("_")], name
        for member in public:
            if inspect.isfunction(getattr(mine, member)):
                assert inspect.signature(getattr(mine, member)) == inspect.signature(getattr(theirs, member)), member


def test_what_connect_gives_can_be_awaited_and_entered_in_both():
    for shell in SHELLS.values():
        opening = shell.connect("http://127.0.0.1:1/v1")
        assert all(hasattr(opening, name) for name in ("__await__", "__aenter__", "__aexit__")), shell


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments, docstrings."""
    tree, lines = parse(path.read_text()), set()
    text = path.read_text().splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or 0) + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in lines
        for number, line in enumerate(text, 1)
    )


MOST = 420
"""Lines of code of a shell. What is over that belongs into the core, if it is the same in both (D-SHELL-5)."""


def test_a_shell_has_about_400_lines_of_code(summary):
    """With its models; the command line and the test server are not part of the shell."""
    for name, shell in SHELLS.items():
        folder = Path(shell.__file__).parent
        sizes = {path.stem: code_lines(path) for path in sorted(folder.glob("*.py"))}
        told = ", ".join(f"{module} {size}" for module, size in sizes.items())
        summary.append(f"lines of code of {name}: {sum(sizes.values())} ({told})")
        assert 300 < sum(sizes.values()) <= MOST, f"{name}: {told}"
