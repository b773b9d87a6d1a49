"""``turnwire serve`` in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import anyio
import anyio.to_thread
import pytest
from kit.loopback_clients import Client, serve, text
from turnwire.aio.cli import main

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        "import sys; from turnwire.aio.cli import main; sys.exit(main())",
        "serve",
        "--strict",
    ]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("arguments", [[], ["--json"]])
async def test_turnwire_serve_runs_until_ctrl_c_and_exits_cleanly(arguments: list[str]) -> None:
    with start(*arguments, "--latency", "0.001", "--api-key", "sk-x") as process:
        assert process.stdout is not None
        line = await anyio.to_thread.run_sync(process.stdout.readline)
        url = json.loads(line)["base_url"] if arguments else line.split()[0]
        port = int(url.removeprefix("http://127.0.0.1:").removesuffix("/v1"))
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            client = Client(stream)
            await client.handshake(authorization="Bearer sk-x")
            assert text(await client.run(input="hello")) == "hello"
            await client.create(input="count 10000")
            await client.event()
            process.send_signal(signal.SIGINT)
            assert (await client.until_broken())[1] == "1001"
        _, errors = await anyio.to_thread.run_sync(process.communicate)
        assert (process.returncode, errors) == (130, "")


async def test_turnwire_serve_says_in_one_line_why_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve() as server:
        assert await anyio.to_thread.run_sync(main, ["serve", "--port", str(server.port)]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"turnwire serve: cannot listen on 127.0.0.1:{server.port}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["serve", "--port", "70000"], ["serve", "--port", "x"], ["dance"]])
def test_wrong_arguments_are_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: turnwire" in capsys.readouterr().err


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert all(
        option in shown for option in ("--host", "--port", "--latency", "--api-key", "--json", "OPENAI_BASE_URL")
    )
