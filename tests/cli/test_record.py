"""``turnwire record``: a recording proxy between real clients and the loopback server."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import openai
import pytest
from kit.loopback_clients import serve
from turnwire.aio import TurnError, connect
from turnwire.aio.cli import main
from turnwire.aio.loopback import AfterEvent, Cut, Fault
from turnwire.aio.loopback._relay import Relay
from turnwire.aio.loopback._sockets import listen
from turnwire.sansio.recording import ProxyRecording, proxy_header, upstream_of
from turnwire.sansio.server import Access

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")


KEY = "sk-secret-key-0123456789"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


class Proxy:
    """A proxy in this process, and the file that it writes."""

    def __init__(self, upstream: str, port: int) -> None:
        self.upstream = upstream_of(upstream)
        self.base_url = f"http://127.0.0.1:{port}{self.upstream.path}"
        self.contents = proxy_header(self.upstream, 0.0, "0")
        self.closed = anyio.Event()

    def write(self, parts: tuple[bytes, ...]) -> None:
        self.contents += b"".join(parts)
        if b'"do":"lost"' in parts[0]:
            self.closed.set()

    def said(self) -> list[str]:
        return [f"{one.way} {one.what} {one.text}".strip() for one in ProxyRecording(self.contents)]


@asynccontextmanager
async def proxy(upstream: str, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    with anyio.fail_after(20):
        listener = await listen("127.0.0.1", 0, str)
        one = Proxy(upstream, listener.getsockname()[1])
        async with anyio.create_task_group() as group:
            group.start_soon(Relay(one.upstream, Access(), tls, one.write).serve, listener)
            yield one
            group.cancel_scope.cancel()


async def test_a_session_says_and_gets_what_it_would_without_the_proxy() -> None:
    async with serve(api_key=KEY) as server, proxy(server.base_url) as between:
        texts: list[list[str]] = []
        for url in (server.base_url, between.base_url):
            async with connect(url, api_key=KEY) as session:
                turns = [await session.respond(model="m", input=f"one {'two ' * 100}{i}") for i in range(2)]
                texts.append([turn.output_text for turn in turns])
        await between.closed.wait()
    assert texts[0] == texts[1]
    said = between.said()
    assert [each[:27] for each in said[:3]] == ["a client connected", "sent GET /v1/responses", "received 101"]
    assert sum(each.startswith('sent text {"stream_id"') for each in said) == 2
    assert sum('"response.completed"' in each for each in said) == 2
    assert "sent close 1000" in said
    assert KEY.encode() not in between.contents


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_openai_gets_the_same_events_over_sse_on_one_connection() -> None:
    async with serve(api_key=KEY) as server, proxy(server.base_url) as between:
        found: list[list[str]] = []
        for url in (server.base_url, between.base_url):
            async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
                stream = await client.responses.create(model="m", input="one two", stream=True)
                types = [event.type async for event in stream]
                whole = await client.responses.create(model="m", input="three")
                found.append([*types, whole.output_text])
        await between.closed.wait()
    assert found[0] == found[1]
    said = between.said()
    assert [each.split(" {")[0] for each in said if each.startswith("sent")] == ["sent POST /v1/responses"] * 2
    assert sum(each.startswith("received event") for each in said) == len(found[0]) - 1
    assert KEY.encode() not in between.contents


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_passes_as_a_cut(reset: bool) -> None:
    evidence = []
    for through in (False, True):
        fault = Fault(AfterEvent(3), Cut(reset=reset), connection=1)
        async with serve(faults=[fault]) as server, proxy(server.base_url) as between:
            async with connect(between.base_url if through else server.base_url) as session:
                with pytest.raises(TurnError) as caught:
                    await session.respond(model="m", input="one two three")
            evidence.append((type(caught.value), caught.value.verdict))
            if through:
                await between.closed.wait()
    assert evidence[0] == evidence[1]
    end = next(each for each in between.said() if each.startswith("closed"))
    assert end.startswith("closed by the server ConnectionResetError: ") if reset else end == "closed by the server"


async def test_a_server_that_is_not_there_is_a_502() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.close()
    async with proxy(url) as between:
        status, body = await fetch(between.base_url)
    assert (status, body["error"]["code"]) == (502, "upstream_unreachable")
    assert between.said()[-1].startswith("closed by the proxy ConnectionRefusedError")


async def fetch(url: str, **headers: str) -> tuple[int, dict[str, dict[str, str]]]:
    """GET /models, on a connection of its own."""
    host, _, port = url.split("/")[2].partition(":")
    fields = {"host": host, **headers}
    async with await anyio.connect_tcp(host, int(port)) as stream:
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await stream.send(f"GET /v1/models HTTP/1.1\r\n{head}connection: close\r\n\r\n".encode())
        data = b"".join([part async for part in stream])
    top, _, body = data.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)


async def test_a_web_page_does_not_reach_it() -> None:
    async with serve() as server, proxy(server.base_url) as between:
        assert (await fetch(between.base_url))[0] == (await fetch(server.base_url))[0]
        assert (await fetch(between.base_url, origin="https://evil.test"))[0] == 403
        assert (await fetch(between.base_url, host="evil.test"))[0] == 421
    assert sum(each.startswith("sent") for each in between.said()) == 1


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_to_the_server_is_verified(trusted: bool) -> None:
    import trustme

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    tls = ssl.create_default_context()
    if trusted:
        authority.configure_trust(tls)
    async with serve(ssl_context=context) as server, proxy(server.base_url, tls) as between:
        assert server.base_url.startswith("https://")
        assert ((await fetch(between.base_url))[0] == 502) is not trusted


def test_messages_are_shown_in_one_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [{"role": "user", "content": "a"}, {"type": "function_call_output", "call_id": "c", "output": "b\n"}]
    texts = [
        {"type": "response.create", "input": items},
        {"type": "error", "stream_id": "x", "error": {"code": "no"}},
        {"type": 1},
        [1],
    ]
    body = "".join(f"data: {json.dumps(text)}\n\n" for text in texts) + "data: nothing \x1b[31m\n\n"
    answer = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}"
    lines: list[dict[str, object]] = [
        {"do": "sent", "at": 7, "link": 1, "data": "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
        {"do": "received", "at": 8.5, "link": 1, "data": answer},
    ]
    file = tmp_path / "said.jsonl"
    header = proxy_header(upstream_of("http://a"), 0.0, "0")
    file.write_bytes(header + b"".join(json.dumps(line).encode() + b"\n" for line in lines) + b"{")
    assert main(["replay", str(file)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[3].endswith("0.000 s  connection 1   → GET /")
    assert [line.partition("1.500 s  connection 1   ← ")[2] for line in shown[4:-1]] == [
        "200 text/event-stream",
        'event response.create “{"type": "function_call_output", "call_id": "c", "output": "b\\n"}”',
        'event error in lane x “{"code": "no"}”',
        'event {"type": 1}',
        "event [1]",
        "event nothing  [31m",
    ]
    assert shown[-1] == "the recording was cut off at its end"
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["replay", str(file)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines()[3:])) == 59
    file.write_bytes(header + b"{}\n")
    assert main(["replay", str(file)]) == 1
    assert "line 2 of the recording cannot be read" in capsys.readouterr().err


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_the_command_records_until_a_signal_and_replay_shows_it(
    number: signal.Signals, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, ready = tmp_path / "said.jsonl", tmp_path / "ready.json"
    code = "import sys; from turnwire.aio.cli import main; sys.exit(main())"
    async with serve() as server:
        command = [sys.executable, "-c", code, "record", str(file), "--upstream", server.base_url]
        with subprocess.Popen(
            [*command, "--ready-file", str(ready)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            line = await anyio.to_thread.run_sync(process.stdout.readline)
            url = json.loads(ready.read_text())["base_url"]
            assert line == f"{url} passes on to {server.base_url} and records to {file}. Ctrl-C stops it.\n"
            async with connect(url, api_key=KEY) as session:
                answer = await session.respond(model="m", input="hello \x1b[31m", stream_id="auto-1")
                assert answer.output_text.startswith("hello")
                process.send_signal(number)
                _, errors = await anyio.to_thread.run_sync(process.communicate)
    assert (process.returncode, errors, ready.exists()) == (status, "", False)
    assert file.stat().st_mode & 0o777 == 0o600
    assert main(["replay", str(file)]) == 0
    shown = capsys.readouterr().out
    assert f"what passed through a proxy to {server.base_url}" in shown
    assert "connection 1   → GET /v1/responses" in shown
    assert "connection 1   → text response.create in lane auto-1 “hello  [31m”" in shown
    assert "connection 1   ← text response.output_text.delta in lane auto-1 “hello" in shown
    assert "connection 1   ← text response.completed in lane auto-1\n" in shown
    assert shown.splitlines()[-1].endswith("closed by the proxy")
    assert "\x1b" not in shown
    assert main(["replay", "--check", str(file)]) == 1
    assert "is one of a proxy" in capsys.readouterr().err


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["x", "--upstream", "ftp://a"], 2, "has the scheme 'ftp'"),
        (["x", "--upstream", "https://a", "--ca", "none.pem"], 2, "cannot read the certificate none.pem"),
        (["no/such/file", "--upstream", "http://a"], 1, "cannot write no/such/file"),
        (["x", "--upstream", "http://a", "--host", "0.0.0.0"], 2, "other machines reach 0.0.0.0"),
        (["x", "--upstream", "http://a", "--host", "192.0.2.1"], 2, "other machines reach 192.0.2.1"),
        (["x", "--upstream", "http://a", "--ready-file", "no/such/file"], 1, "record: cannot write no/such/file"),
    ],
)
async def test_why_it_cannot_is_said_in_one_line(
    arguments: list[str],
    status: int,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def run() -> int:
        try:
            return main(["record", *arguments])
        except SystemExit as exc:
            return int(str(exc.code))

    assert await anyio.to_thread.run_sync(run) == status
    errors = capsys.readouterr().err
    assert what in errors
    assert errors.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_f_file_3_a_full_disk_ends_the_recording_only(capsys: pytest.CaptureFixture[str]) -> None:
    from turnwire.aio.cli._record import Lines

    with open("/dev/full", "wb", buffering=0) as file:
        lines = Lines(file)
        lines.write((b"a", b"b"))
        lines.write((b"c",))
    assert lines.status() == 1
    lines.tell(Path("said.jsonl"))
    assert "the end of said.jsonl is missing: No space left" in capsys.readouterr().err
