"""Types, as users see them: pyright and mypy, both strict, on what users write.

Each checker runs once, on all files together: ``kit/typed_use.py`` for both shells, in which nothing is wrong, and
``kit/typed_misuse.py``, in which each line that is marked is, and no other. pyright reads README.md's programs, too,
but not strictly. (mypy takes a list of functions and texts, as for ``serve(reply=…)``, for one of objects.)
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import turnwire.aio
import turnwire.sansio
import turnwire.trio_shell
from kit.sources import readme_programs

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the same as elsewhere"),
    pytest.mark.timeout(300),  # Ten seconds of work each, on a machine that may be busy.
]

KIT = Path(__file__).parents[1] / "kit"
PACKAGES = {"sansio": turnwire.sansio, "aio": turnwire.aio, "trio_shell": turnwire.trio_shell}
NOT_FOLLOWED = ("openai", "agents", "anyio", "trio", "opentelemetry", "starlette", "uvicorn", "websockets")
"""Modules whose types mypy does not read: it takes half a minute for them. pyright reads them."""


AS_IN_README = """
# pyright: standard, reportOptionalMemberAccess=false
"""
"""What README.md's programs need not do to be short: annotate everything, and ask for each value whether it is None."""
NOT_OURS = {
    "point.count": "OpenTelemetry: a point may be of another kind",
    "error.verdict.value": "openai: the attribute is turnwire's, on openai's exception",
    "client.responses.retrieve(error.response_id)": "the same",
    "entry.input[": "the ledger: an input may be any JSON value",
}
"""What is in lines of README.md's programs of which a checker complains, and why."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files to check; and the packages, at a place where a checker finds them however they are installed."""
    made = tmp_path_factory.mktemp("typed")
    for name, module in PACKAGES.items():
        source = Path(module.__file__ or "").parent
        shutil.copytree(source, made / "path" / "turnwire" / name, ignore=shutil.ignore_patterns("__pycache__"))
    use = (KIT / "typed_use.py").read_text(encoding="utf-8")
    (made / "use_aio.py").write_text(use, encoding="utf-8")
    on_trio = use.replace("from turnwire import aio", "from turnwire import trio_shell as aio")
    on_trio = on_trio.replace("from turnwire.aio import", "from turnwire.trio_shell import")
    (made / "use_trio.py").write_text(on_trio, encoding="utf-8")
    for shell in ("aio", "trio_shell"):
        names = "".join(f"from turnwire.{shell} import {name} as {name}\n" for name in sorted(PACKAGES[shell].__all__))
        (made / f"names_of_{shell}.py").write_text(names, encoding="utf-8")
    (made / "misuse.py").write_text((KIT / "typed_misuse.py").read_text(encoding="utf-8"), encoding="utf-8")
    for number, code in enumerate(readme_programs()):
        (made / f"readme_{number}.py").write_text(code + AS_IN_README, encoding="utf-8")
    return made


def wrong(path: Path) -> set[tuple[str, int]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {(path.name, number) for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 1, done.stdout + done.stderr  # It found something, and ran to its end.
    return done.stdout


def is_not_ours(folder: Path, place: tuple[str, int]) -> bool:
    name, number = place
    line = (folder / name).read_text(encoding="utf-8").splitlines()[number - 1]
    imported = re.match(r"(?:from|import) (\w+)", line)
    absent = imported is not None and importlib.util.find_spec(imported[1]) is None
    return name.startswith("readme_") and (absent or any(piece in line for piece in NOT_OURS))


def compare(folder: Path, found: Mapping[tuple[str, int], Iterable[str]]) -> None:
    marked = wrong(folder / "misuse.py")
    assert len(marked) > 30
    told = {
        place: list(said) for place, said in found.items() if place not in marked and not is_not_ours(folder, place)
    }
    assert told == {}, "wrong, and not marked"
    assert sorted(marked - found.keys()) == [], "marked, and not found"


def test_D_API_15_pyright_finds_what_is_wrong_and_nothing_else(folder: Path) -> None:
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": ["path"], "include": ["*.py"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    told = json.loads(run(folder, "pyright", "--outputjson", "--pythonpath", sys.executable))
    found: dict[tuple[str, int], list[str]] = {}
    for each in told["generalDiagnostics"]:
        place = Path(each["file"]).name, each["range"]["start"]["line"] + 1
        found.setdefault(place, []).append(each["message"])
    compare(folder, found)


def test_D_API_15_mypy_finds_what_is_wrong_and_nothing_else(folder: Path) -> None:
    lines = ["[mypy]", "strict = True", "python_version = 3.11", "mypy_path = path", "explicit_package_bases = True"]
    lines += ["follow_imports = silent", "show_error_codes = True", "pretty = False"]
    for name in NOT_FOLLOWED:
        lines += [f"[mypy-{name}.*]", "follow_imports = skip", "ignore_missing_imports = True"]
    (folder / "mypy.ini").write_text("\n".join(lines), encoding="utf-8")
    names = [path.name for path in sorted(folder.glob("*.py")) if not path.name.startswith("readme_")]
    told = run(folder, "mypy", "--config-file", "mypy.ini", "--cache-dir", os.devnull, *names)
    found: dict[tuple[str, int], list[str]] = {}
    for name, number, said in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", told, re.MULTILINE):
        found.setdefault((name, int(number)), []).append(said)
    compare(folder, found)
