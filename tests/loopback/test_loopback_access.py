"""Who may talk to the server, over real sockets (PROTOCOL.md, "What the test server refuses")."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import anyio
import pytest
from kit import strict_server
from kit.loopback_clients import UPGRADE, Client, frame, http, play, post, serve, text, until_eof, until_eof_or_reset
from turnwire.sansio.errors import UserError
from turnwire.sansio.server import ServerOptions
from turnwire.sansio.websocket import Accepted, Rejected

pytestmark = pytest.mark.anyio

EVIL = {"origin": "https://evil.example"}
HELLO = {"model": "m", "input": "hello"}


def code(answer: bytes) -> tuple[int, str | None]:
    """The status and the code of an error response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"access-control-" not in head.lower()
    return int(head.split(b" ")[1]), json.loads(body)["error"]["code"]


# --- Web pages -------------------------------------------------------------------------------------------------------


async def test_a_web_page_cannot_open_a_websocket() -> None:
    """P-SERVER-4. ``new WebSocket("ws://127.0.0.1:PORT/v1/responses")``: only the server can refuse it."""
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        answer = await Client(stream).handshake(**EVIL)
        assert isinstance(answer, Rejected)
        assert answer.status == 403
        assert json.loads(answer.body)["error"]["code"] == "foreign_origin"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {**EVIL, "content-type": "text/plain", "sec-fetch-site": "cross-site"}),
        ("POST", {"origin": "null", "content-type": "application/x-www-form-urlencoded"}),
        (
            "OPTIONS",
            {**EVIL, "access-control-request-method": "POST", "access-control-request-private-network": "true"},
        ),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
        ("POST", {"host": "evil.example"}),
        ("POST", {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"}),
    ],
)
async def test_a_web_page_cannot_send_a_request(method: str, headers: dict[str, str | bytes]) -> None:
    """Simple requests, preflights, images, forms, DNS rebinding. None runs, none is answered with what it asks for."""
    async with serve() as server:
        async with http(server) as client:
            status, names, body = await client.request(method, headers=headers, body=HELLO)
        assert (status, json.loads(body)["error"]["code"]) in [(403, "foreign_origin"), (421, "foreign_host")]
        assert names["connection"] == "close"
        assert not [name for name in names if name.startswith("access-control-")]
        assert server.ledger == []
        assert [(entry.outcome, entry.body) for entry in server.requests] == [("refused", None)] * (method == "POST")


async def test_pages_of_this_machine_and_those_that_are_allowed_may_use_it() -> None:
    async with serve(allowed_origins=["https://app.test"]) as server:
        for origin in ("http://localhost:3000", "https://app.test"):
            async with await anyio.connect_tcp(server.host, server.port) as stream:
                client = Client(stream)
                assert isinstance(await client.handshake(origin=origin), Accepted)
                assert text(await client.run(input="hello")) == "hello"


APP = "https://app.test"
ASKS = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
    "access-control-request-private-network": "true",
}


@pytest.mark.parametrize("target", ["/v1/responses", "/v1/conversations/conv_1", "/_turnwire/expect"])
async def test_a_page_of_an_allowed_origin_is_told_what_it_may_send(target: str) -> None:
    """P-SERVER-8. A browser asks without the key."""
    async with serve(allowed_origins=[APP], api_key="sk-test", control=True) as server, http(server) as client:
        status, names, body = await client.request("OPTIONS", target, ASKS)
        assert (status, body) == (204, b"")
        assert names["access-control-allow-origin"] == APP
        assert "POST" in names["access-control-allow-methods"].split(", ")
        assert names["access-control-allow-headers"] == "authorization,content-type"
        assert names["access-control-allow-private-network"] == "true"
        assert names["vary"] == "origin"
        assert "access-control-allow-credentials" not in names
        status, names, _ = await client.request("OPTIONS", target)
        assert status == 204
        assert not [name for name in names if name.startswith("access-control-")]


async def test_a_page_of_an_allowed_origin_may_read_the_answers() -> None:
    """P-SERVER-8: whole ones, streams, refusals and errors."""
    async with serve(allowed_origins=[APP], api_key="sk-test") as server:
        key = {"authorization": "Bearer sk-test"}
        for headers, body, expected in (
            (key, HELLO, 200),
            (key, {**HELLO, "stream": True}, 200),
            (key, {"input": 5}, 400),
            ({}, HELLO, 401),
        ):
            async with http(server) as client:
                status, names, _ = await client.request(headers={**headers, "origin": APP}, body=body)
            assert (status, names["access-control-allow-origin"], names["vary"]) == (expected, APP, "origin")
            assert "x-request-id" in names["access-control-expose-headers"]
        async with http(server) as client:
            _, names, _ = await client.request(headers=dict(key), body=HELLO)
            assert "access-control-allow-origin" not in names


async def test_a_foreign_host_is_refused_before_its_body_is_read() -> None:
    head = b"POST /v1/responses HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 9000000\r\n\r\n"
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        await stream.send(head + b"x" * 1000)
        assert code(await until_eof(stream)) == (421, "foreign_host")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (UPGRADE.replace(b"Host: localhost", b"Host: user@localhost"), (400, "invalid_host")),
        (UPGRADE.replace(b"Host: localhost", b"Host: localhost\r\nHost: localhost"), (400, "invalid_http")),
        (UPGRADE.replace(b"Host: localhost\r\n", b""), (400, "invalid_http")),
        (UPGRADE.replace(b"/v1", b"http://localhost/v1"), (400, "invalid_target")),
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nx: a\r\n b\r\n\r\n"), (400, "invalid_header")),
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), (400, "invalid_upgrade")),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), (426, None)),
        (UPGRADE.replace(b"Version: 13", b"Version: 8"), (426, None)),
        (UPGRADE.replace(b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 8"), (400, "repeated_header")),
        (UPGRADE.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x"), (400, None)),
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"), (400, None)),
        (post(b"{}", b"transfer-encoding: chunked"), (400, "invalid_framing")),
        (post(b"{}").replace(b"HTTP/1.1", b"HTTP/2.0"), (505, "unsupported_version")),
        (post(b"{}", b"authorization: Bearer a", b"authorization: Bearer a"), (400, "repeated_header")),
    ],
)
async def test_a_request_that_is_refused_by_its_head_gets_an_answer_and_the_end(
    raw: bytes, expected: tuple[int, str | None]
) -> None:
    """P-SERVER-2."""
    async with serve() as server:
        assert code(await play(server, raw + frame(b'{"type":"response.create","model":"m","input":"x"}'))) == expected
        assert server.ledger == []


async def test_what_h11_says_about_a_head_does_not_repeat_a_key() -> None:
    async with serve() as server:
        answer = await play(server, post(b"{}", b"authorization : Bearer sk-secret"))
        assert code(answer) == (400, "invalid_http")
        assert b"sk-secret" not in answer


async def test_what_follows_a_refused_upgrade_is_not_read_as_a_request() -> None:
    """A page could put one into the payload of a frame. Whatever refuses the upgrade, the connection ends."""
    async with serve(api_key="sk-right") as server:
        for raw in (UPGRADE, UPGRADE.replace(b"/v1", b"/v2"), UPGRADE.replace(b"localhost", b"evil.example")):
            answer = await play(server, raw + post(b'{"model":"m","input":"x"}', b"api-key: sk-right"))
            assert answer.count(b"HTTP/1.1") == 1
            assert b"connection: close" in answer
        assert server.requests == []


# --- Where it listens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
async def test_an_address_that_others_reach_needs_a_key_or_to_be_allowed(host: str) -> None:
    """P-SERVER-1."""
    with pytest.raises(UserError, match=r"other machines reach .*: write api_key=, or allow_remote=True"):
        await strict_server.serve(host)


@pytest.mark.parametrize("options", [{"allow_remote": True}, {"api_key": "sk-right"}])
async def test_an_address_that_others_reach_is_called_by_any_of_its_addresses(options: dict[str, object]) -> None:
    async with serve("0.0.0.0", **options) as server:
        for host, status in (("0.0.0.0:1", 200), ("10.0.0.1", 200), ("evil.example", 421)):
            async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                head = post(b'{"model":"m","input":"hello"}', b"authorization: Bearer sk-right")
                await stream.send(head.replace(b"localhost", host.encode()))
                assert (await stream.receive()).split(b" ")[1] == str(status).encode()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Python has no unix sockets on this system")
async def test_any_host_may_be_called_on_a_unix_socket_and_no_foreign_page_may_use_it(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with serve(path=path):
        for headers, status in (("", b"200"), ("origin: http://api.test\r\n", b"403")):
            async with await anyio.connect_unix(path) as stream:
                request = post(b'{"model":"m","input":"hello"}').replace(
                    b"localhost\r\n", b"api.test\r\n" + headers.encode()
                )
                await stream.send(request)
                assert (await stream.receive()).split(b" ")[1] == status


async def test_names_that_cannot_be_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="allowed_hosts has 'http://x'"):
        strict_server.serve(allowed_hosts=["http://x"])
    with pytest.raises(UserError, match="allowed_origins has 'x'"):
        strict_server.serve(allowed_origins=["x"])
    with pytest.raises(TypeError, match="allow_remote is 'yes'"):
        strict_server.serve(allow_remote="yes")  # pyright: ignore[reportArgumentType]


# --- The key ---------------------------------------------------------------------------------------------------------


async def test_no_more_than_a_little_is_read_from_who_has_not_brought_the_key() -> None:
    """P-SERVER-5. A small body is read, so that the connection goes on; a large one is not kept."""
    async with serve(api_key="sk-right") as server:
        async with http(server) as client:
            for key, expected in (("Bearer sk-wrong", 401), ("Bearer sk-right", 200)):
                assert (await client.request(headers={"authorization": key}, body=HELLO))[0] == expected
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(post(b"x" * 9_000_000)[:100_000])
            answer = await until_eof(stream)
        assert code(answer) == (401, "invalid_api_key")
        assert b"connection: close" in answer
        assert [entry.body for entry in server.requests] == [HELLO, HELLO, None]


async def test_no_key_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    protocol = b"Sec-WebSocket-Protocol: openai-insecure-api-key.sk-wrong\r\n"
    async with serve(api_key="sk-right") as server:
        for name in (b"authorization: Bearer ", b"api-key: ", b"cookie: ", b"x-goog-api-key: "):
            await play(server, post(b"{}", name + b"sk-wrong"))
        await play(server, post(b"{}", b"api-key: sk-right", protocol.strip()))
        shown = repr(server) + repr(server.requests) + repr(server._service) + caplog.text
        assert len(server.requests) == 5
    assert "sk-" not in shown


# --- How many, and how much ------------------------------------------------------------------------------------------


async def test_a_connection_too_many_is_told_so_and_the_next_one_is_served() -> None:
    """P-SERVER-6."""
    async with serve(options=ServerOptions(max_connections=2)) as server:
        async with http(server) as first, http(server) as second:
            assert (await first.request(body=HELLO))[0] == (await second.request(body=HELLO))[0] == 200
            for raw in (post(b"{}"), UPGRADE):
                assert code(await play(server, raw)) == (503, "too_many_connections")
            assert (await first.request(body=HELLO))[0] == 200
        while True:  # The server may hear of the ends later than the clients.
            async with http(server) as third:
                if (await third.request(body=HELLO))[0] == 200:
                    break


async def test_far_too_many_connections_are_closed_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnwire.aio.loopback._server._MAX_REFUSED", 1)
    async with serve(options=ServerOptions(max_connections=1)) as server:
        async with http(server) as client, http(server) as waiting:
            assert (await client.request(body=HELLO))[0] == 200
            await waiting.stream.send(b"P")
            async with await anyio.connect_tcp(server.host, server.port) as stream:
                assert await until_eof_or_reset(stream) == b""
            assert (await client.request(body=HELLO))[0] == 200
        assert server.connections == 2


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_big_is_refused_when_it_is_known(announced: bool) -> None:
    body = b"x" * 2000 if announced else b"7d0\r\n" + b"x" * 2000 + b"\r\n"
    how = b"content-length: 9000000" if announced else b"transfer-encoding: chunked"
    head = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n" + how + b"\r\n\r\n"
    async with serve(options=ServerOptions(max_message_size=1000)) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(head if announced else head + body)
            answer = await until_eof(stream)
    assert code(answer.removeprefix(b"HTTP/1.1 100 \r\n\r\n")) == (413, None)


async def test_a_body_of_chunks_of_a_byte_does_not_stall_another_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tasks run between its chunks: counted, as no test can rely on a time."""
    turns = 0
    checkpoint = anyio.lowlevel.checkpoint

    async def counted() -> None:
        nonlocal turns
        turns += 1
        await checkpoint()

    async with serve() as server:
        monkeypatch.setattr("turnwire.aio.loopback._reading.anyio.lowlevel.checkpoint", counted)
        head = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        body = b'{"model":"m","input":"' + b"x" * 5000 + b'"}'
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(head + chunks)
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")
    assert turns > len(body) // 256
