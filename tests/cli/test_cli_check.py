"""``turnwire check`` over real sockets: the loopback server passes, and what is wrong with a server is told."""

from __future__ import annotations

import json
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from kit.strict_server import serve_blocking
from turnwire.aio.cli import _check, main
from turnwire.aio.loopback import LoopbackServer
from turnwire.sansio.check import CHECKS
from turnwire.sansio.server import ServerConnection, ServerTurn
from turnwire.sansio.websocket import WebSocket

KEY = "sk-do-not-tell-anybody"
README = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file()) / "README.md"

Checked = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checked:
    """The command in this process: exit status, stdout, stderr."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(["check", *arguments])
        except SystemExit as exc:
            status = int(exc.code or 0)
        return (status, *capsys.readouterr())

    return run


def report(said: str) -> dict[str, dict[str, Any]]:
    """The report with ``--json``, by the names of the checks."""
    found = [json.loads(line) for line in said.splitlines()]
    return {each["check"]: each for each in found}


def named(found: dict[str, dict[str, Any]], outcome: str) -> set[str]:
    return {name for name, each in found.items() if each["outcome"] == outcome}


# --- The loopback server passes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "skipped"),
    [
        ({"strict": False}, {"key", "refused", "errors/no-lanes", "steering/running", "limits/age"}),
        ({"api_key": KEY}, {"errors/no-lanes", "steering/running", "limits/age"}),
        (
            {"dialect": "no-lanes", "api_key": KEY},
            {"lanes", "steering", "injecting", "errors", "continuation/fork", "continuation/failed-fork", "limits/age"},
        ),
    ],
    ids=["default", "strict", "without lanes"],
)
def test_the_loopback_server_passes(check: Checked, options: dict[str, Any], skipped: set[str]) -> None:
    with serve_blocking(**options) as server:
        status, out, err = check(server.base_url, "--json", "--model", "gpt-6", "--timeout", "60")
    found = report(out)
    assert named(found, "failed") == set()
    assert status == 0
    assert list(found) == [each.name for each in CHECKS]
    assert all(name in skipped or name.partition("/")[0] in skipped for name in named(found, "skipped"))
    assert all(found[name]["reason"] for name in named(found, "skipped"))
    assert f"{len(CHECKS)} checks of 127.0.0.1:{server.port}: at most " in err
    assert KEY not in out + err


def test_the_loopback_server_passes_over_tls(check: Checked, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with serve_blocking(ssl_context=context, api_key=KEY) as server:
        only = [f"--only={name}" for name in ("handshake", "key", "frames", "closing", "limits", "http", "lanes/fifo")]
        status, out, _ = check(server.base_url, "--json", "--ca", str(tmp_path / "ca.pem"), "--timeout", "60", *only)
        assert named(report(out), "failed") == set()
        assert status == 0
        assert named(report(out), "skipped") == {"limits/age"}
        status, out, err = check(server.base_url)
    assert (status, out) == (1, "")
    assert "cannot connect to 127.0.0.1:" in err
    assert "certificate" in err


def test_a_response_that_is_slow_enough_is_steered(check: Checked) -> None:
    with serve_blocking(latency=0.001) as server:
        status, out, _ = check(server.base_url, "--only", "steering/running", "--model", "gpt-6")
    assert (status, out.splitlines()[-1]) == (0, "1 passed, 0 failed, 0 skipped")


@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
def test_a_unix_socket_is_checked(check: Checked, tmp_path: Path) -> None:
    with serve_blocking(path=str(tmp_path / "s")) as server:
        assert check(server.base_url, "--only", "closing", "--only", "frames/ping")[0] == 0


def test_the_age_of_connections_is_waited_for(check: Checked) -> None:
    from turnwire.sansio.server import ServerOptions

    with serve_blocking(options=ServerOptions(lifetime=0.2)) as server:
        status, out, _ = check(server.base_url, "--only", "limits/age", "--age", "20")
    assert (status, out) == (0, "pass  limits/age  P-CONN-8, P-EVENT-6\n1 passed, 0 failed, 0 skipped\n")


# --- Planted bugs, in the server that listens ------------------------------------------------------------------------


def repeated_numbers(patch: pytest.MonkeyPatch) -> None:
    emit = ServerTurn.emit

    def repeating(self: ServerTurn, event: Any) -> None:
        emit(self, event)
        self.sequence_number -= self.sequence_number == 3

    patch.setattr(ServerTurn, "emit", repeating)


def no_close_frame(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WebSocket, "close", lambda *_: b"")


def masked_frames(patch: pytest.MonkeyPatch) -> None:
    frame = WebSocket._frame

    def masking(self: WebSocket, first: int, payload: bytes) -> bytes:
        self._mask_source = bytes
        try:
            return frame(self, first, payload)
        finally:
            self._mask_source = None

    patch.setattr(WebSocket, "_frame", masking)


def lost_lane(patch: pytest.MonkeyPatch) -> None:
    send = ServerConnection.send_event
    patch.setattr(
        ServerConnection,
        "send_event",
        lambda self, event: send(self, {**event, "stream_id": "check-a"} if event.get("stream_id") else event),
    )


def wrong_code(patch: pytest.MonkeyPatch) -> None:
    from turnwire.sansio.server import _store

    problem = _store.Problem
    patch.setattr(_store, "Problem", lambda status, _, *others: problem(status, "not_found", *others))


def any_size(patch: pytest.MonkeyPatch) -> None:
    from turnwire.sansio.server import _machine

    accept = _machine.accept_upgrade
    patch.setattr(
        _machine, "accept_upgrade", lambda *args, **named: accept(*args, **{**named, "max_message_size": None})
    )


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (repeated_numbers, {"events/numbers", "http/stream"}),
        (no_close_frame, {"closing/idle", "closing/without-code", "frames/unmasked", "limits/message-size"}),
        (masked_frames, {"frames/well-formed"}),
        (lost_lane, {"errors/lane", "lanes/whose-events"}),
        (wrong_code, {"continuation/unknown", "http/error"}),
        (any_size, {"limits/message-size"}),
    ],
)
def test_a_bug_in_the_server_is_found_over_sockets(
    check: Checked, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], names: set[str]
) -> None:
    asked = ("closing/idle", "closing/without-code", "frames/unmasked", "frames/well-formed", "errors/lane")
    asked += ("events/numbers", "lanes/whose-events", "continuation/unknown", "limits/message-size", "http")
    with serve_blocking() as server, monkeypatch.context() as patch:
        plant(patch)
        status, out, _ = check(server.base_url, "--json", "--timeout", "60", *(f"--only={name}" for name in asked))
    assert named(report(out), "failed") == names
    assert status == 1


# --- What is said ----------------------------------------------------------------------------------------------------


def test_a_failure_says_what_was_expected_what_came_and_what_it_means(
    check: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_blocking() as server, monkeypatch.context() as patch:
        wrong_code(patch)
        status, out, _ = check(server.base_url, "--only", "continuation/unknown")
    assert status == 1
    lines = out.splitlines()
    assert lines[0] == "FAIL  continuation/unknown  P-CONT-2, P-EVENT-6"
    assert lines[1] == "      rule:     a server refuses an id that there is not, with previous_response_not_found"
    assert lines[-1] == "0 passed, 1 failed, 0 skipped"
    assert "      expected: an error with the code previous_response_not_found" in lines
    assert any(re.match(r'      came:     \{"type": "error", "status": 400, .*"not_found"', line) for line in lines)
    assert any(line.startswith("      it means: Clients repair") for line in lines)


def test_checks_are_listed_with_their_rules(check: Checked) -> None:
    status, out, _ = check("--list", "--only", "warm-up")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["warm-up/events", "warm-up/continue"]
    assert "P-CONT-7" in out
    status, out, _ = check("--list", "--json")
    assert [json.loads(line)["check"] for line in out.splitlines()] == [each.name for each in CHECKS]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: URL"),
        (["http://x/v1", "--only", "nothing"], "no check has a name that fits"),
        (["http://x/v1", "--timeout", "0"], "takes seconds, more than 0 and up to 86400"),
        (["ftp://x/v1"], "the scheme 'ftp'"),
        (["http://x/v1", "--ca", "no/such.pem"], "cannot read no/such.pem: No such file or directory"),
        (["https://api.openai.com/v1", "--api-key-env", "NO_SUCH_KEY"], "there is no API key — nothing was sent"),
    ],
)
def test_wrong_use_sends_nothing(check: Checked, arguments: list[str], words: str) -> None:
    status, out, err = check(*arguments)
    assert (status, out) == (2, "")
    assert words in err


def test_a_server_that_is_not_there_is_told_in_a_line(check: Checked, free_port: int) -> None:
    status, out, err = check(f"http://127.0.0.1:{free_port}/v1")
    assert (status, out) == (1, "")
    assert re.fullmatch(r"turnwire check: cannot connect to 127\.0\.0\.1:\d+: .* — nothing was sent\n", err)


@pytest.fixture
def free_port() -> Iterator[int]:
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_ctrl_c_ends_the_run_and_the_progress(
    check: Checked, monkeypatch: pytest.MonkeyPatch, turnwire_server: LoopbackServer
) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(_check._Transports, "take", interrupted)
    status, out, err = check(turnwire_server.base_url, "--only", "frames/ping")
    assert (status, out) == (130, "")
    assert "Traceback" not in err


def test_a_terminal_shows_which_check_runs(
    check: Checked, monkeypatch: pytest.MonkeyPatch, turnwire_server: LoopbackServer
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _, out, err = check(turnwire_server.base_url, "--only", "frames/ping", "--only", "closing/idle")
    assert "\r\x1b[K1/2 frames/ping\r\x1b[K" in err
    assert err.endswith("2/2 closing/idle\r\x1b[K\r\x1b[K")
    assert "\x1b" not in out


def test_a_check_that_does_not_end_is_ended(
    check: Checked, monkeypatch: pytest.MonkeyPatch, turnwire_server: LoopbackServer
) -> None:
    monkeypatch.setattr(_check, "_CALM", 0)
    status, out, _ = check(turnwire_server.base_url, "--only", "frames/ping")
    assert status == 1
    assert "      expected: an end within 0 s" in out


def test_the_output_in_README_is_what_the_command_says(check: Checked, turnwire_server: LoopbackServer) -> None:
    (block,) = re.findall(r"\$ turnwire check \S+ (.*)\n((?:.*\n)*?)```", README.read_text(encoding="utf-8"))
    status, out, _ = check(turnwire_server.base_url, *block[0].split())
    assert (status, out) == (0, block[1])
