"""``turnwire serve``: what its options do, and that they say all that ``serve()`` in Python can be told."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import signal
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import turnwire.sansio
from turnwire.aio import loopback
from turnwire.aio.cli import _serve, main
from turnwire.aio.loopback._control import Control, ControlCall
from turnwire.sansio.cassette import Cassette
from turnwire.sansio.server import JsonBody, ServerOptions

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command in a process of its own, and its ready file. It is killed in the end, if it has not ended."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "turnwire.aio", "serve", "--strict", "--ready-file", str(ready), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # Printed before the file is written.
            while not ready.exists() and process.poll() is None:
                pass
            yield process, json.loads(ready.read_text())
        finally:
            process.kill()


def post(url: str, body: object, **options: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with OPENER.open(request, **options) as answer:
        return json.load(answer)


def said(response: Any) -> str:
    return response["output"][0]["content"][0]["text"]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    _serve.add_arguments(parser)
    return parser.parse_args(arguments)


def options_of(*arguments: str) -> dict[str, Any]:
    return _serve.serve_arguments(parsed(*arguments))


# --- Python and the command line can say the same --------------------------------------------------------------------

OPTION_FOR: dict[str, tuple[str, ...]] = {
    "reply": ("--script",),
    "ssl_context": ("--tls", "--tls-cert"),
    "options": ("--option",),
    "allowed_hosts": ("--allow-host",),
    "allowed_origins": ("--allow-origin",),
}
"""For the arguments of ``serve()`` whose options have another name."""
ONLY_PYTHON = {"a function of the request": "a script has rules that look at the request, and a client that changes it"}
"""What cannot be written as JSON, and what there is instead."""


def test_every_argument_of_serve_has_an_option() -> None:
    known = {name for action in known_actions() for name in action.option_strings}
    for name in inspect.signature(loopback.serve).parameters:
        for option in OPTION_FOR.get(name, (f"--{name.replace('_', '-')}",)):
            assert option in known, f"serve({name}=…) has no option: see aio/cli/_serve.py"
    given = set(options_of("--tls-cert", "x"))
    assert given | {"ssl_context"} == set(inspect.signature(loopback.serve).parameters)


def known_actions() -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    _serve.add_arguments(parser)
    return parser._actions


@pytest.mark.parametrize("name", ServerOptions.__struct_fields__)
def test_every_limit_can_be_set(name: str) -> None:
    usual = getattr(ServerOptions(), name)
    if name in ("strict", "dialect"):
        assert f"--{name}" in {option for action in known_actions() for option in action.option_strings}
        return
    other = not usual if isinstance(usual, bool) else (usual or 0) + 1
    (limits,) = (options_of("--option", f"{name}={json.dumps(other)}")["options"],)
    assert limits == ServerOptions(**{name: other})


def test_nothing_given_is_what_serve_does_by_itself() -> None:
    given = options_of()
    usual = {name: each.default for name, each in inspect.signature(loopback.serve).parameters.items()}
    different = {name for name, value in given.items() if value != usual[name]}
    assert different == {"faults", "options", "ledger_limit", "allowed_hosts", "allowed_origins"}
    assert (given["faults"], given["options"], given["ledger_limit"]) == ([], ServerOptions(), 1000)


def test_what_options_mean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERVER_KEY", "sk-env")
    (tmp_path / "s.json").write_text('["a", {"call": "f"}]')
    (tmp_path / "f.json").write_text('{"after_event": 3, "do": "cut"}')
    files = ("--script", str(tmp_path / "s.json"), "--faults", str(tmp_path / "f.json"))
    given = options_of(
        *files, "--api-key-env", "SERVER_KEY", "--dialect", "none", "--strict", "--ledger", "--ledger-limit", "all"
    )
    assert given["reply"] == ["a", loopback.Call("f")]
    assert given["faults"] == [loopback.Fault(loopback.AfterEvent(3), loopback.Cut())]
    assert (given["api_key"], given["dialect"], given["strict"], given["control"], given["ledger_limit"]) == (
        *("sk-env", None, True, True),
        None,
    )
    assert options_of("--no-strict", "--api-key", "k")["api_key"] == "k"


# --- What is wrong is said in one line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--script", "none.json"], "cannot read none.json: No such file or directory"),
        (["--script", "bad.json"], "bad.json: [0].call: 5 is not text"),
        (["--faults", "no.json"], "no.json: it is no JSON: "),
        (["--faults", "bad.json"], '[0]: {"call": 5} is not a fault'),
        (["--option", "colour=red"], "--option colour=red: write one of max_message_size, "),
        (
            ["--option", "max_in_flight=0"],
            "--option: ServerOptions.max_in_flight is 0: write a whole number, 1 or more",
        ),
        (["--option", "lifetime=long"], "--option: ServerOptions.lifetime is 'long'"),
        (["--api-key-env", "NO_SUCH_KEY"], "the variable NO_SUCH_KEY holds no key: it takes visible ASCII characters"),
        (["--tls-cert", "bad.json"], "cannot use the certificate in bad.json: "),
        (["--tls-key", "bad.json"], "--tls-key needs --tls-cert, and --tls-ca needs --tls"),
        (["--tls", "--tls-ca", "no/such/folder.pem"], "cannot write no/such/folder.pem: No such file or directory"),
        (["--path", "/x.sock", "--port", "80"], "path is a unix socket, without TLS: "),
    ],
)
def test_wrong_options_are_explained(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text('[{"call": 5}]')
    Path("no.json").write_text("{")
    assert main(["serve", *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("turnwire serve: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_tls_without_the_extra_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    assert main(["serve", "--tls"]) == 2
    assert "pip install 'turnwire[tls-test]', or give a certificate by --tls-cert" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["script", "faults"])
def test_the_schema_that_is_printed_is_the_published_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--schema", name]) == 0
    spec = Path(turnwire.sansio.__file__ or "").parent / "spec"
    assert capsys.readouterr().out == (spec / f"{name}.schema.json").read_text()


def test_help_has_groups_and_examples_that_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert all(f"\n{group}:\n" in shown for group in ("where it listens", "what it answers", "for tests"))
    examples = [line for line in shown.splitlines() if line.startswith(("  [", "  {"))]
    reads: list[Callable[[object], object]] = [loopback.read_script, loopback.read_script, loopback.read_faults]
    for example, read in zip(examples, reads, strict=True):
        read(example)


def test_what_readme_shows_can_be_read() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("#### In other languages\n")[2].partition("\n### ")[0]
    blocks = re.findall(r"^```json\n(.*?)^```$", shown, re.M | re.S)
    assert len(blocks) == 3
    for block, read in zip(blocks, (loopback.read_script, loopback.read_script, loopback.read_faults), strict=True):
        read(block)
    (command,) = re.findall(r"^turnwire serve (.*) &$", shown, re.M)
    assert parsed(*command.split()).control
    for place in re.findall(r"http://127\.0\.0\.1:\d+(/_turnwire\S*)", shown):
        assert isinstance(Control.find("GET" if "ledger" in place else "POST", place, JsonBody(b""), None), ControlCall)


# --- In a process of its own -----------------------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="stops the server by a signal")


@posix
def test_a_script_from_a_file_the_ready_file_and_sigterm(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('["Hello."]')
    with serving(tmp_path, "--script", "s.json", "--control") as (process, ready):
        assert ready["pid"] == process.pid
        assert ready["control_url"] == f"http://127.0.0.1:{ready['port']}/_turnwire"
        assert (ready["base_url"], ready["ca"], ready["path"]) == (f"http://127.0.0.1:{ready['port']}/v1", None, None)
        assert said(post(f"{ready['base_url']}/responses", {"model": "m", "input": "x"})) == "Hello."
        assert post(f"{ready['control_url']}/expect", {"entries": ["completed"]})["ok"]
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.readline() == f"{ready['control_url']} is its control: the ledger, faults, the script.\n"
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    assert os.listdir(tmp_path) == ["s.json"]


@posix
def test_a_request_without_a_reply_is_told_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[]")
    with serving(tmp_path, "--script", "s.json") as (process, ready):
        with pytest.raises(urllib.error.HTTPError):
            post(f"{ready['base_url']}/responses", {"model": "m", "input": "what now?"})
        process.terminate()
        _, errors = process.communicate()
        assert process.returncode == 1
        assert errors.startswith(
            "turnwire serve: the script has no reply for request 1 (connection 1), which says 'what"
        )


@posix
def test_tls_with_a_certificate_that_is_made_and_one_that_is_given(tmp_path: Path) -> None:
    import trustme

    with serving(tmp_path, "--tls") as (process, ready):
        context = ssl.create_default_context(cafile=ready["ca"])
        assert ready["base_url"].startswith("https://127.0.0.1:")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        request = urllib.request.Request(f"{ready['base_url']}/responses", b'{"model": "m", "input": "x"}')
        with opener.open(request) as answer:
            assert said(json.load(answer)) == "x"
        process.terminate()
        process.communicate()
    assert not Path(ready["ca"]).exists()
    cert = trustme.CA().issue_cert("localhost")
    cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    assert isinstance(_serve.given_tls(tmp_path / "both.pem", None).context, ssl.SSLContext)
    ca = tmp_path / "ca.pem"
    with _serve.ExitStack() as files:
        assert _serve.made_tls("0.0.0.0", ca, files).ca == ca
    assert ca.exists()


@pytest.mark.usefixtures("ctrl_c")
@posix
def test_a_unix_socket_and_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with serving(tmp_path, "--path", str(path), "--json") as (process, ready):
        assert (ready["path"], ready["control_url"], ready["base_url"]) == (str(path), None, f"unix:{path}")
        assert stat.S_ISSOCK(path.stat().st_mode)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 130
    assert os.listdir(tmp_path) == []


def test_a_ready_file_that_cannot_be_written_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--ready-file", "no/such/folder"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "turnwire serve: cannot write no/such/folder: No such file or directory\n"


def test_it_answers_from_a_recording() -> None:
    recording = next(folder for folder in Path(__file__).parents if folder.name == "tests") / "recordings"
    options = options_of("--replay", str(recording / "demo-http.jsonl"))
    assert isinstance(options["reply"], Cassette)


def test_a_recording_and_a_script_contradict_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--replay", "a", "--script", "b"]) == 2
    assert "--script and --replay both say what it answers" in capsys.readouterr().err
    (tmp_path / "a").write_text("{}")
    assert main(["serve", "--replay", str(tmp_path / "a")]) == 2
    assert "this is no recording" in capsys.readouterr().err
