"""The public names of commit 0dbbdb9 are there, each in the module that had it: existing imports keep working.

``public_api.txt`` holds the public modules of that commit and, indented, the names of their ``__all__``; those of the
former places of modules, too. Names are added when they are released; none is taken out without a major version.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def promised() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    module = ""
    for line in Path(__file__).with_name("public_api.txt").read_text().splitlines():
        if line.startswith(" "):
            names[module].append(line.strip())
        else:
            module = line
            names[module] = []
    return names


PROMISED = promised()


def missing(module: str, names: list[str]) -> list[str]:
    there = importlib.import_module(module)
    public = getattr(there, "__all__", None) or vars(there)  # A former place has what it imports.
    return [name for name in names if name not in public or not hasattr(there, name)]


def test_the_list_is_that_of_the_commit():
    assert len(PROMISED) == 32
    assert sum(map(len, PROMISED.values())) == 535


@pytest.mark.parametrize("module", PROMISED)
def test_every_public_name_is_where_it_was(module: str):
    assert missing(module, PROMISED[module]) == []


def test_a_name_that_has_gone_is_found():
    assert missing("turnwire.sansio.replay", ["Verdict", "NoSuchName"]) == ["NoSuchName"]
    with pytest.raises(ModuleNotFoundError):
        missing("turnwire.sansio.no_such_module", [])
