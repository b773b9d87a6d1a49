"""``turnwire serve`` and ``turnwire record`` from other languages: the programs in ``serve/`` start them, script the
server, and read its ledger."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from turnwire.aio.cli import main
from turnwire.sansio.recording import ProxyRecording

PROGRAMS = Path(__file__).parent / "serve"
LIMIT = 90
"""Seconds until a program counts as hanging."""


def run(folder: Path, *command: str | Path, **more: str) -> str:
    """Run a program that finds ``turnwire`` as a command; what it prints."""
    turnwire = folder / "turnwire"
    turnwire.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m turnwire.aio "$@"\n')
    turnwire.chmod(0o755)
    ran = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "TURNWIRE": str(turnwire), "NO_PROXY": "*", **more},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="stops the server by SIGTERM")
def test_node_runs_fifty_turns_with_a_cut_in_the_thirtieth(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    said = run(tmp_path, node, "--test", PROGRAMS / "tool_loop.test.mjs")
    assert "# pass 3" in said
    assert "# fail 0" in said


@pytest.mark.skipif(sys.platform == "win32", reason="stops the server by SIGTERM")
def test_node_with_the_packages_ws_and_openai(tmp_path: Path) -> None:
    node, modules = shutil.which("node"), Path(os.environ.get("TURNWIRE_CLIENTS", "/none"), "node")
    if node is None or not all((modules / "node_modules" / name).exists() for name in ("ws", "openai")):
        pytest.skip("there are no packages ws and openai for Node: see test_clients.py")
    assert "# pass 2" in run(tmp_path, node, "--test", PROGRAMS / "lanes.test.mjs", CLIENT_MODULES=str(modules))


@pytest.mark.skipif(sys.platform == "win32", reason="stops the server by SIGTERM")
def test_node_through_the_recording_proxy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node, modules = shutil.which("node"), Path(os.environ.get("TURNWIRE_CLIENTS", "/none"), "node")
    if node is None or not all((modules / "node_modules" / name).exists() for name in ("ws", "openai")):
        pytest.skip("there are no packages ws and openai for Node: see test_clients.py")
    file = tmp_path / "said.jsonl"
    said = run(tmp_path, node, "--test", PROGRAMS / "record.test.mjs", CLIENT_MODULES=str(modules), RECORDING=str(file))
    assert "# pass 3" in said
    contents = file.read_bytes()
    assert not any(key in contents for key in (b"sk-node-0123456789abcdef", b"wrong-key-0123456789"))
    found = [f"{one.way} {one.what}" for one in ProxyRecording(contents)]
    assert found.count("sent POST /v1/responses") == 3
    assert found.count("sent GET /v1/responses") == 1
    assert found.count("received 401") == 1
    assert main(["replay", str(file)]) == 0
    assert "b: response.create “Go, b.”" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_a_shell_script_needs_nothing_but_curl(tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None or not subprocess.run([curl, "--help", "all"], capture_output=True, text=True).stdout.count(
        "--json"
    ):
        pytest.skip("there is no curl with --json (7.82)")
    assert run(tmp_path, "sh", PROGRAMS / "curl.sh").splitlines() == [
        "Take an umbrella.",
        '"code":"rate_limit_exceeded"',
        "Nobody has told me what to say",
        '{"ok":true,"requests":3}',
        "expected 1 requests, got 3",
        '"code":"server_error"',
    ]
