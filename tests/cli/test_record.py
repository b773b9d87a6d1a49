"""``turnwire record``: a recording proxy between real clients and the loopback server."""

from __future__ import annotations

import argparse
import io
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import openai
import pytest
from kit.loopback_clients import serve
from turnwire.aio import TurnError, connect
from turnwire.aio.cli import _terminal, main
from turnwire.aio.cli._record import WholeWrites, tell
from turnwire.aio.loopback import AfterEvent, Cut, Fault, _relay
from turnwire.aio.loopback._relay import Relay
from turnwire.aio.loopback._sockets import SocketStream, listen
from turnwire.sansio.record import Recording
from turnwire.sansio.recording import (
    Entry,
    ProxiedConnection,
    ProxyLog,
    ProxyOptions,
    ProxyRecording,
    upstream_of,
)
from turnwire.sansio.server import Access
from turnwire.sansio.websocket import WebSocket

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")


KEY = "sk-secret-key-0123456789"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


class Proxy(ProxyLog):
    """A proxy in this process, and the file that it writes."""

    def __init__(self, upstream: str, port: int = 0) -> None:
        self.upstream = upstream_of(upstream)
        self.base_url = f"http://127.0.0.1:{port}{self.upstream.path}"
        self.file = io.BytesIO()
        super().__init__(Recording(self.file), self.upstream.url, 0.0, "0")
        self.closed = anyio.Event()

    def write(self, entry: Entry, data: bytes = b"", stream: Any = None) -> None:
        super().write(entry, data, stream)
        if entry.do == "lost":
            self.closed.set()

    @property
    def contents(self) -> bytes:
        return self.file.getvalue()

    def said(self) -> list[str]:
        return [f"{one.way} {one.what} {one.text}".strip() for one in ProxyRecording(self.contents)]


@asynccontextmanager
async def proxy(
    upstream: str, tls: ssl.SSLContext | None = None, access: Access | None = None, **limits: Any
) -> AsyncGenerator[Proxy]:
    with anyio.fail_after(20):
        listener = await listen("127.0.0.1", 0, str)
        one = Proxy(upstream, listener.getsockname()[1])
        async with anyio.create_task_group() as group:
            group.start_soon(Relay(one.upstream, access or Access(), tls, one, ProxyOptions(**limits)).serve, listener)
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


# --- Limits (F-PROXY-5) ----------------------------------------------------------------------------------------------

ASKED = b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
BLOCK = b"x" * 65536


@asynccontextmanager
async def silent_server(says: bytes = b"") -> AsyncGenerator[str]:
    """The URL of a server that takes one connection and reads nothing; ``says``: what it sends again and again."""

    async def flood(listener: socket.socket) -> None:
        await anyio.wait_readable(listener)
        async with SocketStream(listener.accept()[0]) as stream:
            with suppress(anyio.BrokenResourceError):
                while says:
                    await stream.send(says)
                await anyio.sleep_forever()

    with await listen("127.0.0.1", 0, str) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # Its connections have it, too.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood, listener)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            tasks.cancel_scope.cancel()


async def client_of(between: Proxy) -> anyio.abc.SocketStream:
    return await anyio.connect_tcp("127.0.0.1", int(between.base_url.split(":")[2].split("/")[0]))


async def rest_of(stream: anyio.abc.SocketStream) -> bytes:
    """What comes until the end; ``reset``: it ends with RST."""
    data = b""
    try:
        async for part in stream:
            data += part
    except anyio.BrokenResourceError:
        data += b"reset"
    return data


@pytest.mark.parametrize(("sent", "status"), [(b"POST /v1", b"HTTP/1.1 408 "), (b"", b"")])
async def test_f_proxy_5_a_client_that_does_not_ask_is_dropped(sent: bytes, status: bytes) -> None:
    async with proxy("http://127.0.0.1:9", header_timeout=0.02) as between, await client_of(between) as stream:
        await stream.send(sent)
        assert (await rest_of(stream)).startswith(status)
        await stream.aclose()
        await between.closed.wait()
    assert between.said()[-1].startswith("closed by the proxy TimeoutError: The head of the request")


async def test_f_proxy_5_a_server_that_does_not_read_ends_the_connection() -> None:
    async with silent_server() as url, proxy(url, send_timeout=0.02) as between, await client_of(between) as stream:
        with suppress(anyio.BrokenResourceError):
            await stream.send(ASKED + BLOCK * 130)
        await between.closed.wait()
    assert between.said()[-1] == (
        "closed by the proxy TimeoutError: The server did not read what was there for it for 0.02 s."
    )


async def test_f_proxy_5_a_client_that_does_not_read_is_dropped() -> None:
    flood = b"HTTP/1.1 200 OK\r\n\r\n" + BLOCK
    async with silent_server(flood) as url, proxy(url, send_timeout=0.02) as between:
        async with await client_of(between) as stream:
            await stream.send(ASKED)
            await between.closed.wait()
            assert (await rest_of(stream)).endswith(b"reset")
    assert between.said()[-1] == (
        "closed by the proxy TimeoutError: The client did not read what was there for it for 0.02 s."
    )


async def test_f_proxy_5_a_connection_on_which_nobody_says_anything_ends() -> None:
    async with silent_server() as url, proxy(url, idle_timeout=0.02) as between, await client_of(between) as stream:
        await stream.send(ASKED)
        assert await rest_of(stream) == b""
        await stream.aclose()
        await between.closed.wait()
    assert between.said()[-1] == "closed by the proxy TimeoutError: Neither side sent anything for 0.02 s."


async def test_f_proxy_5_a_server_that_does_not_answer_the_connection_is_a_502(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str, port: int) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(_relay, "connect_tcp", never)
    async with proxy("http://127.0.0.1:9", connect_timeout=0.02) as between:
        status, body = await fetch(between.base_url)
    assert status == 502
    assert body["error"]["message"].endswith("there was no connection after 0.02 s")


async def test_f_proxy_5_one_connection_too_many_is_told_so_and_many_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_relay, "_MAX_REFUSED", 1)
    async with silent_server() as url, proxy(url, max_connections=1) as between:
        async with await client_of(between) as first:
            await first.send(ASKED)
            async with await client_of(between) as second, await client_of(between) as third:
                assert await rest_of(third) in (b"", b"reset")
                await second.send(ASKED)
                assert (await second.receive()).startswith(b"HTTP/1.1 503 ")
        await between.closed.wait()


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


async def test_a_name_that_is_allowed_may_be_the_host() -> None:
    async with serve() as server, proxy(server.base_url, access=Access(allowed_hosts=["dev.test"])) as between:
        assert (await fetch(between.base_url, host="dev.test"))[0] == 200
        assert (await fetch(between.base_url, host="other.test"))[0] == 421


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
    header = Proxy("http://a").contents
    file.write_bytes(header + b"".join(json.dumps(line).encode() + b"\n" for line in lines) + b"{")
    assert main(["replay", "--verbose", str(file)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[3].endswith("0.000 s  connection 1    → GET /")
    assert [line.partition("1.500 s  connection 1    ← ")[2] for line in shown[4:10]] == [
        "200 text/event-stream",
        "response.create “b”",
        "x: error no",
        'event {"type": 1}',
        "event [1]",
        "event nothing  [31m",
    ]
    assert shown[10] == "the recording was cut off at its end"
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["replay", "--verbose", str(file)]) == 0
    narrow = capsys.readouterr().out.splitlines()
    assert max(map(len, narrow[3:])) == 59
    assert "  0.000 #1  → GET /" in narrow
    file.write_bytes(header + b"{}\n")
    assert main(["replay", str(file)]) == 1
    assert "line 2 of the recording cannot be read" in capsys.readouterr().err


def passed(tmp_path: Path, lanes: Sequence[str] = "ab") -> Path:
    """The file of a proxy: two lanes whose events come by turns, and a ping."""
    between = Proxy("http://a/v1")
    connection = ProxiedConnection(1, between.upstream, Access(), between, ProxyOptions())
    connection.opened(10.0)
    upgrade = b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    connection.from_client(b"GET /v1/responses HTTP/1.1\r\n" + upgrade, 10.0)
    connection.from_server(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 10.0)
    client, server = WebSocket(client=True), WebSocket(client=False)
    for lane in lanes:
        asked = {"type": "response.create", "stream_id": lane, "input": f"ask {lane}"}
        connection.from_client(client.text(json.dumps(asked).encode()), 11.0)
    kinds = ["created", "output_item.added", "output_text.delta", "output_text.delta", "output_item.done", "completed"]
    for number, kind in enumerate(kinds):
        for lane in lanes:
            event = {"type": f"response.{kind}", "stream_id": lane}
            event |= {"delta": f"{lane}{number} "} if kind.endswith("delta") else {}
            connection.from_server(server.text(json.dumps(event).encode()), 12.0 + number)
    connection.from_server(server.ping(b""), 18.0)
    connection.from_server(server.text(b'{"type": "response.output_text.delta", "delta": "alone"}'), 19.0)
    file = tmp_path / "passed.jsonl"
    file.write_bytes(between.contents)
    return file


def test_events_in_the_middle_of_a_response_are_told_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(passed(tmp_path))]) == 0
    shown = [line[32:] for line in capsys.readouterr().out.splitlines()]
    assert shown[7:15] == [
        "b: response.create “ask b”",
        "a: response.created",
        "b: response.created",
        "a: 2 times response.output_text.delta “a2 a3”",
        "b: 2 times response.output_text.delta “b2 b3”",
        "a: response.completed",
        "b: response.completed",
        "response.output_text.delta “alone”",
    ]


def test_on_a_narrow_terminal_the_name_of_a_lane_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "a-lane-that-has-a-very-long-name"
    assert main(["replay", str(passed(tmp_path, ["planner", long]))]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.partition("\n\n")[2].splitlines())) == 39
    assert "→ planner: create “ask pla…" in shown
    assert "← planner: completed" in shown
    assert "← a-lane-that-has-a-very-\n              long-name:\n              completed" in shown
    assert f"\n{long}\n                 " in shown  # Above its bar.


def test_verbose_tells_of_each_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--verbose", str(passed(tmp_path))]) == 0
    shown = [line[32:] for line in capsys.readouterr().out.splitlines()]
    assert sum("delta" in line for line in shown) == 5
    assert "b: response.output_item.added" in shown
    assert "ping" in shown


def test_messages_are_shown_at_their_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr(_terminal, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    assert main(["replay", "--speed", "2", str(passed(tmp_path))]) == 0
    assert [each for each in slept if each] == [0.5, 0.5, 1.5, 1.0, 1.0]
    assert "alone" in capsys.readouterr().out


def test_the_page_of_a_proxys_recording_has_its_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["replay", "--html", str(page), str(passed(tmp_path))]) == 0
    assert "2 turns (none failed), 1 connections, 12 events" in capsys.readouterr().out
    assert "ask b" in page.read_text()


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize(("number", "status", "more"), [(signal.SIGINT, 130, []), (signal.SIGTERM, 0, ["--scrub"])])
async def test_the_command_records_until_a_signal_and_replay_shows_it(
    number: signal.Signals, status: int, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, ready = tmp_path / "said.jsonl", tmp_path / "ready.json"
    code = "import sys; from turnwire.aio.cli import main; sys.exit(main())"
    async with serve() as server:
        command = [sys.executable, "-c", code, "record", str(file), "--upstream", server.base_url]
        command += ["--allow-host", "dev.test", "--option", "max_connections=9", *more]
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
    assert "connection 1    → GET /v1/responses" in shown
    hello, escape = ("xxxxx", "xxxxxxx") if more else ("hello", "  [31m")
    assert f"connection 1    → auto-1: response.create “{hello}{escape}" in shown
    assert f"connection 1    ← auto-1: 2 times response.output_text.delta “{hello}" in shown
    assert ("hello" in shown) is not bool(more)
    assert "connection 1    ← auto-1: response.completed\n" in shown
    assert "closed by the proxy" in shown
    assert "\nauto-1 " in shown  # The bar of the lane.
    assert "\x1b" not in shown
    assert main(["replay", "--check", str(file)]) == 1
    assert "is one of a proxy" in capsys.readouterr().err


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["x", "--upstream", "ftp://a"], 2, "has the scheme 'ftp'"),
        (["x", "--upstream", "https://a", "--ca", "none.pem"], 2, "cannot read the certificate none.pem"),
        (
            ["x", "--upstream", "http://a", "--option", "max_connections=0"],
            2,
            "--option: ProxyOptions.max_connections is 0: write",
        ),
        (["x", "--upstream", "http://a", "--option", "size=1"], 2, "write one of max_connections, header_timeout"),
        (["x", "--upstream", "http://a", "--allow-host", "a/b"], 2, "allowed_hosts has 'a/b'"),
        (["x", "--upstream", "http://a", "--max-bytes", "0"], 2, "takes bytes: a whole number above 0"),
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
    assert errors.splitlines()[-1].startswith("turnwire record: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_f_file_3_a_full_disk_ends_the_recording_only(capsys: pytest.CaptureFixture[str]) -> None:
    with open("/dev/full", "wb", buffering=0) as file:
        log = ProxyLog(Recording(WholeWrites(file)), "http://a", 0.0, "0")
        log.write(Entry(do="accepted", at=1.0), b"")
    arguments = argparse.Namespace(file="said.jsonl")
    tell(log, arguments)
    assert "the end of said.jsonl is missing: No space left" in capsys.readouterr().err
