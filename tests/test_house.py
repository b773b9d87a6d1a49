"""The house is as its plan says: the table of rooms in ``turnwire.sansio`` is complete, and in the order of imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import turnwire.sansio

HOUSE = Path(turnwire.sansio.__file__).parent
ROOMS = re.findall(r"^    (\w+) {2,}\w", turnwire.sansio.__doc__ or "", re.MULTILINE)


def files_of(room: str) -> list[Path]:
    return sorted((HOUSE / room).glob("*.py")) or [HOUSE / f"{room}.py"]


def imports_of(room: str) -> Iterator[tuple[str, str]]:
    """The other rooms that a room imports when it is imported, and where."""
    for file in files_of(room):
        level = 1 if file.parent == HOUSE else 2
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level == level:
                yield (node.module or "").split(".")[0], f"{file.relative_to(HOUSE)}:{node.lineno}"


def test_every_room_is_in_the_table():
    assert sorted(ROOMS) == sorted(
        path.stem for path in HOUSE.iterdir() if (path.suffix == ".py" or path.is_dir()) and path.stem[0] not in "_."
    )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str):
    below = ROOMS[ROOMS.index(room) + 1 :]
    assert [f"{where} imports {other}" for other, where in imports_of(room) if other not in below] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_begins_with_its_promise(room: str):
    text = ast.get_docstring(ast.parse(files_of(room)[0].read_text())) or ""
    assert len(text) > 200, "the docstring at the top of a room says what it promises"
