"""Other clients run a tool loop against the loopback server in strict mode: it takes what real programs send.

Each is a program in ``programs/``. It needs its library: either this environment has it, or the folder that
``TURNWIRE_CLIENTS`` names: ``venv/`` there is a virtual environment, and ``node/`` has ``node_modules``::

    python3 -m venv $TURNWIRE_CLIENTS/venv
    $TURNWIRE_CLIENTS/venv/bin/pip install openai-agents 'pydantic-ai-slim[openai]' langchain-openai
    cd $TURNWIRE_CLIENTS/node && npm install openai ws @openai/codex

A program whose library is in neither is skipped.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest
from kit.sources import recipe
from turnwire.aio.loopback import Asked, Call, LoopbackServer

PROGRAMS = Path(__file__).parent / "programs"
PLACE = os.environ.get("TURNWIRE_CLIENTS")
LIMIT = 90
"""Seconds until a program counts as hanging."""


def add_twice(asked: Asked) -> Call | str:
    """Ask for the sum until it was given."""
    if "add" not in asked.tools:
        return "There is no tool."
    return f"It is {asked.text}." if asked.outputs else Call("add", {"a": 40, "b": 2})


def use_the_shell(asked: Asked) -> Call | str:
    """Ask codex for a sum that its shell makes."""
    if asked.outputs:
        return f"It is {asked.text.split()[-1]}."
    return Call("exec_command", {"cmd": "echo $((40 + 2))"}) if "exec_command" in asked.tools else "There is no tool."


@functools.cache
def python_with(module: str) -> str | None:
    """An interpreter that can import a module; None if none is known."""
    if importlib.util.find_spec(module) is not None:
        return sys.executable
    other = Path(PLACE or "", "venv", "bin", "python")
    if PLACE is None or not other.exists():
        return None
    return (
        str(other) if subprocess.run([other, "-c", f"import {module}"], capture_output=True).returncode == 0 else None
    )


def run(server: LoopbackServer, folder: Path, *command: str | Path, **more: str) -> str:
    """Run a program as a newcomer would, with the server's address; what it prints."""
    kept: Mapping[str, str] = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    ours = {"HOME": str(folder), "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "any", "NO_PROXY": "*"}
    ran = subprocess.run(
        [str(word) for word in command],
        env={**kept, **ours, **more},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    said = [f"{one.transport} {one.outcome} {one.code}: {one.message}" for one in server.requests]
    assert ran.returncode == 0, "\n".join([*said, ran.stdout, ran.stderr])
    return ran.stdout


@pytest.mark.turnwire_serve(reply=add_twice)
@pytest.mark.parametrize(
    ("program", "module"),
    [
        ("openai_python.py", "openai"),
        ("openai_agents.py", "agents"),
        ("pydantic_ai_agent.py", "pydantic_ai"),
        ("langchain_agent.py", "langchain_openai"),
    ],
)
def test_a_tool_loop_in_python(program: str, module: str, turnwire_server: LoopbackServer, tmp_path: Path) -> None:
    interpreter = python_with(module)
    if interpreter is None:
        pytest.skip(f"there is no {module}: see {Path(__file__).name}")
    assert run(turnwire_server, tmp_path, interpreter, PROGRAMS / program) == "It is 42.\n"
    turnwire_server.expect("completed", "completed", tools=["add"])


WITH_TURNWIRE = (
    "import os, runpy, site, sys; site.addsitedir(os.environ['TURNWIRE_SITE']); "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)
"""Runs a program in an interpreter that has its library and not turnwire."""


@pytest.mark.turnwire_serve(reply=add_twice)
@pytest.mark.parametrize(
    ("program", "module"),
    [("pydantic_ai_transport.py", "pydantic_ai"), ("langchain_transport.py", "langchain_openai")],
)
def test_a_tool_loop_on_our_transport(
    program: str, module: str, turnwire_server: LoopbackServer, tmp_path: Path
) -> None:
    """P-HTTPX-12: what stands on an ``openai`` client goes over the WebSocket, unchanged."""
    interpreter = python_with(module)
    if interpreter is None:
        pytest.skip(f"there is no {module}: see {Path(__file__).name}")
    site = sysconfig.get_path("purelib")
    command = (interpreter, "-c", WITH_TURNWIRE, PROGRAMS / program)
    assert run(turnwire_server, tmp_path, *command, TURNWIRE_SITE=site) == "It is 42.\n"
    turnwire_server.expect("completed", "completed", tools=["add"])
    assert {(one.transport, one.connection) for one in turnwire_server.ledger} == {("websocket", 1)}


def test_the_recipe_for_langchain(turnwire_server: LoopbackServer, tmp_path: Path) -> None:
    """README.md's program, which has a server of its own."""
    interpreter = python_with("langchain_openai")
    if interpreter is None:
        pytest.skip(f"there is no langchain_openai: see {Path(__file__).name}")
    path, (program, shown) = tmp_path / "program.py", recipe("A model of LangChain")
    path.write_text(program, encoding="utf-8")
    site = sysconfig.get_path("purelib")
    assert run(turnwire_server, tmp_path, interpreter, "-c", WITH_TURNWIRE, path, TURNWIRE_SITE=site) == shown


@pytest.mark.turnwire_serve(reply=add_twice)
def test_a_tool_loop_in_node(turnwire_server: LoopbackServer, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or PLACE is None or not Path(PLACE, "node", "node_modules", "openai").exists():
        pytest.skip(f"there is no openai for Node: see {Path(__file__).name}")
    modules = str(Path(PLACE, "node"))
    said = run(turnwire_server, tmp_path, node, PROGRAMS / "openai_node.mjs", CLIENT_MODULES=modules)
    assert said == "It is 42.\n"
    turnwire_server.expect("completed", "completed", tools=["add"])


@pytest.mark.turnwire_serve(reply=use_the_shell)
@pytest.mark.parametrize(("sockets", "transport"), [("false", "sse"), ("true", "websocket")])
def test_a_tool_loop_of_codex(sockets: str, transport: str, turnwire_server: LoopbackServer, tmp_path: Path) -> None:
    codex = shutil.which("codex") or shutil.which("codex", path=str(Path(PLACE or "", "node", "node_modules", ".bin")))
    if codex is None:
        pytest.skip(f"there is no codex: see {Path(__file__).name}")
    said = run(turnwire_server, tmp_path, "sh", PROGRAMS / "codex.sh", CODEX=codex, SOCKETS=sockets)
    assert said.splitlines()[-1] == "It is 42."
    assert {entry.transport for entry in turnwire_server.ledger} == {transport}
    assert {entry.outcome for entry in turnwire_server.requests} == {"completed"}
