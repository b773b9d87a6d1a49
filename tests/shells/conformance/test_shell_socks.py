"""Through SOCKS5 proxies and unix sockets, over real sockets."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import trustme
from kit.models import call_of
from kit.peers import Peer, raw_server
from kit.socks import GRANTED, exactly, socks_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import BeforeEvent, Cut, Fault
from turnwire.sansio.errors import ConnectError, ConnectionLostError, HandshakeRejectedError
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, Verdict

pytestmark = pytest.mark.anyio

NEVER = RecoveryPolicy(attempts=0)


def check(error: ConnectError) -> None:
    """Nothing was sent, and it is said in the usual words."""
    assert (error.cause, error.phase, error.verdict) == (Cause.TRANSPORT, Phase.CONNECT, Verdict.SAFE)
    assert len(str(error).split(" — ")) >= 3


# --- SOCKS5 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_through_a_socks_proxy(shell, scheme, transport):
    async with serve() as server, socks_server(authorization=("me", "p@ss")) as proxy:
        async with shell.connect(
            server.base_url, api_key="k", proxy=f"{scheme}://me:p%40ss@{proxy.authority}", transport=transport
        ) as session:
            assert (await session.respond(model="m", input="x" * 300_000)).output_text == "x" * 300_000
        assert proxy.asked == [("address", "127.0.0.1", server.port)]


async def test_with_tls_to_the_server(shell, monkeypatch):
    authority = trustme.CA()
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("api.invalid").configure_cert(served)
    authority.configure_trust(trusting)
    async with (
        serve(ssl_context=served, allowed_hosts=["api.invalid"]) as server,
        socks_server(names={"api.invalid": "127.0.0.1"}) as proxy,
    ):
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.authority}")
        async with shell.connect(f"https://api.invalid:{server.port}/v1", ssl_context=trusting) as session:
            assert (await session.respond(model="m", input="x")).output_text == "x"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(ConnectError, match="TLS failed"):  # Directly, and by another name.
            async with shell.connect(
                server.base_url, ssl_context=trusting, options=shell.SessionOptions(recovery=NEVER)
            ):
                pass
        assert proxy.asked == [("name", "api.invalid", server.port)]


async def test_socks5_looks_names_up_here_and_socks5h_there(shell):
    async with serve() as server, socks_server(names={"localhost": "127.0.0.1"}) as proxy:
        url = f"http://localhost:{server.port}/v1"
        async with shell.connect(url, proxy=f"socks5h://{proxy.authority}") as session:
            await session.respond(model="m", input="x")
        found = {pair[4][0] for pair in socket.getaddrinfo("localhost", server.port, type=socket.SOCK_STREAM)}
        try:
            async with shell.connect(
                url, proxy=f"socks5://{proxy.authority}", options=shell.SessionOptions(recovery=NEVER)
            ):
                pass
        except ConnectError as error:  # Its first address is ::1, where this server is not.
            check(error)
        assert proxy.asked[0] == ("name", "localhost", server.port)
        (kind, host, port) = proxy.asked[1]
        assert (kind, port) == ("address", server.port)
        assert host in found


async def test_every_address_of_a_name_is_tried_through_the_proxy(shell, monkeypatch):
    """The proxy reaches the second one only; what was opened for the first is closed."""
    real = socket.getaddrinfo

    def resolve(name, *args, **kwargs):
        if name not in ("twofold.test", b"twofold.test"):
            return real(name, *args, **kwargs)
        return [entry for address in ("127.0.0.2", "127.0.0.1") for entry in real(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with serve(allowed_hosts=["twofold.test"]) as server, socks_server(authorization=("me", "p")) as proxy:
        for transport in ("websocket", "http"):
            proxy.asked.clear()
            async with shell.connect(
                f"http://twofold.test:{server.port}/v1", proxy=f"socks5://me:p@{proxy.authority}", transport=transport
            ) as session:
                assert (await session.respond(model="m", input="x" * 300_000)).output_text == "x" * 300_000
            assert proxy.asked == [("address", host, server.port) for host in ("127.0.0.2", "127.0.0.1")]
        with pytest.raises(ConnectError, match="the host refused the connection") as caught:
            async with shell.connect("http://twofold.test:1/v1", proxy=f"socks5://me:p@{proxy.authority}"):
                pass
        check(caught.value)
        assert proxy.asked[-2:] == [("address", host, 1) for host in ("127.0.0.2", "127.0.0.1")]


async def test_a_name_that_nobody_knows_is_not_the_proxys_failure(shell):
    async with socks_server() as proxy:
        with pytest.raises(ConnectError) as caught:
            async with shell.connect(
                "http://no-such-host.invalid/v1",
                proxy=f"socks5://{proxy.authority}",
                options=shell.SessionOptions(recovery=NEVER),
            ):
                pass
        check(caught.value)
        assert "the network failed" in str(caught.value)
        assert "the proxy" not in str(caught.value)
        assert proxy.asked == []


@pytest.mark.parametrize("credentials", ["", "me@", "me:wrong@", "you:p@"])
async def test_a_socks_proxy_that_asks_for_a_password(shell, credentials):
    async with serve() as server, socks_server(authorization=("me", "p")) as proxy:
        with pytest.raises(ConnectError, match=f"the proxy {proxy.authority} refused to connect to") as caught:
            async with shell.connect(server.base_url, proxy=f"socks5h://{credentials}{proxy.authority}"):
                pass
        check(caught.value)
        assert ("asks for a user name" if not credentials else "does not accept the user name") in str(caught.value)
        assert "wrong" not in str(caught.value)
        assert server.connections == 0


LIARS = {
    "SOCKS4": ([b"\x00\x5a" + bytes(6)], "it does not speak SOCKS5"),
    "HTTP": ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "it does not speak SOCKS5"),
    "nothing": ([b""], "it ended the connection instead of answering"),
    "half a greeting": ([b"\x05"], "it ended the connection instead of answering"),
    "half a reply": ([b"\x05\x00", GRANTED[:5]], "it ended the connection instead of answering"),
    "SOCKS4 later": ([b"\x05\x00", b"\x00\x5a"], "it does not speak SOCKS5"),
    "too much": ([b"\x05\x00", GRANTED + b"x" * 100_000], "it said more than it was asked"),
    "endless": ([b"\x05" * 100_000], "it said more than it was asked"),
    "another address": ([b"\x05\x00", b"\x05\x00\x00\x09" + bytes(20)], "its reply has an address of type 9"),
    "refused": ([b"\x05\x00", b"\x05\x05"], "the host refused the connection"),
}


@pytest.mark.parametrize("case", LIARS)
async def test_a_socks_proxy_that_lies(shell, case):
    messages, words = LIARS[case]

    async def script(peer: Peer) -> None:
        await exactly(peer, 3)
        for number, message in enumerate(messages):
            if number:
                await exactly(peer, 10)
            await peer.send(message)

    async with raw_server(script) as proxy:
        with pytest.raises(ConnectError) as caught:
            async with shell.connect("http://127.0.0.1:9/v1", proxy=f"socks5://{proxy.authority}"):
                pass
        check(caught.value)
        assert f"the proxy {proxy.authority} refused to connect to 127.0.0.1:9: {words}" in str(caught.value)


async def test_a_silent_socks_proxy_ends_at_the_connect_deadline(shell):
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.end()

    async with raw_server(script) as proxy:
        with pytest.raises(TimeoutError):
            async with shell.connect(
                "http://api.invalid/v1",
                proxy=f"socks5h://{proxy.authority}",
                options=shell.SessionOptions(connect_timeout=0.05),
            ):
                pass


async def test_a_model_through_a_socks_proxy(shell):
    async with serve() as server, socks_server(authorization=("me", "p")) as proxy:
        client = AsyncOpenAI(base_url=server.base_url, api_key="k")
        async with shell.OpenAIResponsesWSModel("m", client, proxy=f"socks5h://me:p@{proxy.authority}") as model:
            await model.get_response(*call_of(shell))
        assert proxy.asked == [("address", "127.0.0.1", server.port)]
        await client.close()


# --- Unix sockets ----------------------------------------------------------------------------------------------------

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Python has no unix sockets on this system")


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name: a socket's path has about 100 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@needs_unix
async def test_over_a_unix_socket(shell, folder, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")  # A socket of this machine needs none.

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        for number in ("1", "2"):
            await peer.message()
            await peer.answer("y" * 100_000, response_id=f"resp_{number}")
        await peer.end()

    async with raw_server(script, host=str(folder / "an api")) as server:
        for path, target in (("", "/v1/responses"), (":/", "/responses"), (":/a/b?c=d", "/a/b/responses?c=d")):
            url = f"unix:{folder}/an%20api{path}"
            async with shell.connect(url, api_key="k") as session:
                for _ in "12":
                    response = await session.respond(model="m", input="x" * 1_000_000)
                    assert response.output_text == "y" * 100_000
            peer = server.peers[-1]
            assert (peer.target, peer.headers["host"]) == (target, "localhost")
            assert peer.headers["authorization"] == "Bearer k"


@needs_unix
@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_turns_over_a_unix_socket(shell, folder, transport):
    async with serve(path=str(folder / "a:b"), api_key="k") as server:
        assert server.base_url == f"unix:{folder}/a%3Ab"
        async with shell.connect(server.base_url, api_key="k", transport=transport) as session:
            first = await session.respond(model="m", input="x" * 300_000)
            assert first.output_text == "x" * 300_000
            second = await session.respond(model="m", input="recall", previous_response_id=first.id)
            assert second.output_text == first.output_text
        server.faults.append(Fault(BeforeEvent(2), Cut(reset=True)))
        async with shell.connect(server.base_url, api_key="k", transport=transport) as session:
            told = []
            session.on("connection_lost", told.append)
            with pytest.raises(ConnectionLostError, match=f"unix:{folder}/a:b") as caught:
                await session.respond(model="m", input="x")
            assert caught.value.verdict is Verdict.UNSAFE
            assert (await session.respond(model="m", input="y")).output_text == "y"
            assert {each.endpoint for each in (*session.connections, *told)} == {f"unix:{folder}/a:b"}
            assert len(told) == 1
    assert not list(folder.iterdir())


@needs_unix
async def test_http_over_a_unix_socket(shell, folder):
    body = b'{"error": {"message": "no such model", "code": "model_not_found"}}'

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % len(body), body)
        await peer.end()

    async with raw_server(script, host=str(folder / "s")) as server:
        async with shell.connect(server.base_url, transport="http") as session:
            with pytest.raises(Exception, match="no such model"):
                await session.respond(model="m", input="x")
        (peer,) = server.peers
        assert (peer.method, peer.target, peer.headers["host"]) == ("POST", "/v1/responses", "localhost")


@needs_unix
async def test_a_unix_socket_where_nobody_listens(shell, folder):
    (folder / "file").touch()
    for name, words in (("none", "No such file"), ("file", "refused")):
        with pytest.raises(ConnectError, match=f"could not connect to unix:{folder}/{name}: .*{words}") as caught:
            async with shell.connect(f"unix:{folder}/{name}:/v1", options=shell.SessionOptions(recovery=NEVER)):
                pass
        check(caught.value)


@needs_unix
@pytest.mark.parametrize("what", ["a folder", "datagrams", "below a file", "forbidden"])
async def test_a_path_that_is_no_socket_for_us(shell, folder, what):
    path, words = {
        "a folder": (folder, "refused"),
        "datagrams": (folder / "d", "[Pp]rotocol wrong type"),
        "below a file": (folder / "f" / "s", "Not a directory"),
        "forbidden": (folder / "no" / "s", "Permission denied"),
    }[what]
    (folder / "f").touch()
    (folder / "no").mkdir(mode=0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(folder / "d"))
        with (
            nobody(folder) if what == "forbidden" else nullcontext(),
            pytest.raises(ConnectError, match=f"could not connect to unix:{path}: .*{words}") as caught,
        ):
            async with shell.connect(f"unix:{path}", options=shell.SessionOptions(recovery=NEVER)):
                pass
    check(caught.value)


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """Without the superuser's rights, to whom nothing is forbidden; the folder stays open."""
    folder.chmod(0o755)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


async def test_a_system_without_unix_sockets(shell, monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    with pytest.raises(ConnectError, match="Python has no unix sockets on this system") as caught:
        async with shell.connect("unix:/run/api.sock", options=shell.SessionOptions(recovery=NEVER)):
            pass
    check(caught.value)


@needs_unix
async def test_a_redirect_stays_on_the_socket(shell, folder):
    async def moved(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 307 There\r\nLocation: /v2/responses\r\n\r\n")

    async def away(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:9/v1/responses\r\n\r\n")

    async with raw_server(moved, away, host=str(folder / "s")) as server:
        with pytest.raises(HandshakeRejectedError, match="a redirect to another origin"):
            async with shell.connect(server.base_url):
                pass
        assert [peer.target for peer in server.peers] == ["/v1/responses", "/v2/responses"]
