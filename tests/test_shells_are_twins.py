"""The two shells are one design in two dialects (ARCHITECTURE.md, rule 6): held against each other, line by line.

What is compared is code: comments and docstrings may say it in the words of their own library.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from pathlib import Path

import pytest
import turnwire.aio
import turnwire.trio_shell

AIO = Path(turnwire.aio.__file__).parent
TRIO = Path(turnwire.trio_shell.__file__).parent

ONLY_AIO = {
    "loopback.py": "the loopback server runs beside either shell, and needs no twin",
    **dict.fromkeys(("_faults.py", "_http.py", "_model.py", "_peer.py", "_sockets.py"), "the loopback server's"),
    **dict.fromkeys(
        ("cli.py", "_arguments.py", "_ask.py", "_demo.py", "_demo_view.py"), "the console script's, which has --shell"
    ),
}
"""Files without a twin, and why."""

WORDS = (
    (r"\banyio\.get_cancelled_exc_class\(\)", "trio.Cancelled"),
    (r"\banyio\.create_task_group\b", "trio.open_nursery"),
    (r"\bTaskGroup\b", "Nursery"),
    (r"\bcurrent_token\b", "current_trio_token"),
    (r"\bByteStream\b", "Stream"),
    (r"\bnursery\b", "tasks"),
    (r"\banyio\b", "trio"),
)
"""The dictionary: what anyio calls it, what trio calls it."""

OF_THEIR_OWN = {
    "_transport.py": {
        "<module>": "the exceptions of the libraries are different ones",
        "Transport": "anyio's stream raises at end of file; trio's TLS is made without a handshake",
        "_connected": "opening a TCP connection has another name in trio",
    },
    "_background.py": {
        "Background": "only on asyncio can a task outlive the scope that began it",
        "_log": "only on asyncio can a task outlive the scope that began it",
    },
}
"""Definitions that are written differently, and why."""

SIGNATURES_DIFFER = {
    ("_transport.py", "Transport.__init__"),
    ("_transport.py", "Transport._queue"),
    ("_background.py", "Background.__init__"),
    ("_background.py", "_log"),
}
"""Definitions that have no twin, or one that takes something else; for the reasons above."""


def code(path: Path) -> ast.Module:
    """The code of a file, without docstrings, in trio's words."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            told = [one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
            node.body = told or [ast.Pass()]
    text = ast.unparse(tree)
    for theirs, ours in WORDS:
        text = re.sub(theirs, ours, text)
    return ast.parse(text)


def definitions(path: Path) -> dict[str, str]:
    """The text of each class and function at the top of a file; all else together is ``<module>``."""
    tree, found = code(path), {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = ast.unparse(node)
        elif not isinstance(node, ast.Import | ast.ImportFrom):  # Sorted by names that differ.
            found["<module>"] = found.get("<module>", "") + ast.unparse(node) + "\n"
    return found


def signatures(path: Path) -> dict[str, str]:
    """Each class, function and method of a file, in order, with what it takes and gives."""
    found = {}

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                found[prefix + node.name] = f"class({', '.join(map(ast.unparse, node.bases))})"
                collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = " ".join(f"@{ast.unparse(one)}" for one in node.decorator_list)
                kind, gives = type(node).__name__, ast.unparse(node.returns) if node.returns else None
                found[prefix + node.name] = f"{decorators} {kind}({ast.unparse(node.args)}) -> {gives}"

    collect(code(path).body, "")
    return found


def difference(aio: object, trio: object) -> str:
    return "\n".join(difflib.unified_diff(str(aio).splitlines(), str(trio).splitlines(), "aio", "trio_shell", n=1))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.py")}


def test_the_same_files():
    assert files(AIO) - set(ONLY_AIO) == files(TRIO)
    assert set(ONLY_AIO) <= files(AIO)


@pytest.mark.parametrize("name", sorted(files(TRIO)))
def test_the_same_classes_and_methods_in_the_same_order_with_the_same_signatures(name):
    def those_with_a_twin(path: Path) -> str:
        return "\n".join(
            f"{what}: {how}" for what, how in signatures(path).items() if (name, what) not in SIGNATURES_DIFFER
        )

    aio, trio = those_with_a_twin(AIO / name), those_with_a_twin(TRIO / name)
    assert aio == trio, difference(aio, trio)


@pytest.mark.parametrize("name", sorted(files(TRIO)))
def test_the_same_code_in_other_words(name):
    aio, trio = definitions(AIO / name), definitions(TRIO / name)
    differ = {what for what in {*aio, *trio} if aio.get(what) != trio.get(what)}
    unexplained = differ - set(OF_THEIR_OWN.get(name, ()))
    assert not unexplained, "\n".join(difference(aio.get(what), trio.get(what)) for what in sorted(unexplained))
    alike = set(OF_THEIR_OWN.get(name, ())) - differ
    assert not alike, f"these are the same by now, and need no excuse: {alike}"


MOST = 12
"""Statements of a function that awaits nothing: enough to make an object, or to call the core and do what it says."""


@pytest.mark.parametrize("shell", [AIO, TRIO], ids=["aio", "trio_shell"])
def test_what_does_not_wait_is_glue(shell):
    """Whatever thinks for longer than that belongs into the core (ARCHITECTURE.md, rule 1)."""
    thinkers = [
        f"{name}: {node.name}"
        for name in sorted(files(TRIO))
        for node in ast.walk(code(shell / name))
        if isinstance(node, ast.FunctionDef) and sum(isinstance(one, ast.stmt) for one in ast.walk(node)) - 1 > MOST
    ]
    assert not thinkers, thinkers


def test_the_same_public_names_with_the_same_signatures():
    aio, trio = turnwire.aio, turnwire.trio_shell
    assert aio.__all__ == trio.__all__
    for name in aio.__all__:
        mine, twin = getattr(aio, name), getattr(trio, name)
        if mine is twin:  # The core's.
            continue
        assert inspect.signature(mine) == inspect.signature(twin), name
        public = [member for member in vars(mine) if not member.startswith("_")]
        assert public == [member for member in vars(twin) if not member.startswith("_")], name
        for member in public:
            if inspect.isfunction(getattr(mine, member)):
                assert inspect.signature(getattr(mine, member)) == inspect.signature(getattr(twin, member)), member


def test_their_sizes(summary):
    """Printed, not judged: each is to stay in the order of a few hundred lines."""

    def statements(path: Path) -> int:
        return sum(isinstance(node, ast.stmt) for node in ast.walk(code(path)))

    summary.append("statements        aio  trio_shell")
    for name in sorted(files(TRIO)):
        summary.append(f"{name:15} {statements(AIO / name):5} {statements(TRIO / name):11}")
