"""The two shells have one face: the same public names, which take and give the same.

How they behave, the conformance suite asks of both. What they have in common is written once, in the core; what is left
in each is what differs between event loops.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import turnwire.aio
import turnwire.trio_shell
from kit.sources import lines_of_code

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


MOST = 420
"""Lines of code of a shell. What is over that belongs into the core, if it is the same in both (D-SHELL-5)."""


def test_a_shell_has_about_400_lines_of_code(summary):
    """With its models; the command line and the test server are not part of the shell."""
    for name, shell in SHELLS.items():
        folder = Path(shell.__file__).parent
        sizes = {path.stem: len(lines_of_code(path.read_text())) for path in sorted(folder.glob("*.py"))}
        told = ", ".join(f"{module} {size}" for module, size in sizes.items())
        summary.append(f"lines of code of {name}: {sum(sizes.values())} ({told})")
        assert 300 < sum(sizes.values()) <= MOST, f"{name}: {told}"
