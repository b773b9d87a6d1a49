"""The way there, for real: TLS, HTTP proxies, IPv6, several addresses of one name."""

from __future__ import annotations

import select
import socket
import ssl
import sys

import anyio
import httpx2
import pytest
import trustme
from kit.models import call_of
from kit.peers import Peer, proxy_server, raw_server
from kit.shells import FAILURES
from kit.strict_server import serve
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from turnwire.aio import _asyncio
from turnwire.aio.loopback import BeforeEvent, Cut, Fault
from turnwire.sansio.errors import ConnectError, ConnectionLostError, TransportError
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, Verdict

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def served(authority) -> ssl.SSLContext:
    """A server's context, for localhost and its addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting(authority) -> ssl.SSLContext:
    """A client's context that trusts that server."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def trusted_by_default(authority, monkeypatch, tmp_path) -> None:
    """The system's trust store is another one, for as long as the test runs."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def check_tls(error: ConnectError) -> None:
    assert (error.cause, error.phase, error.verdict) == (Cause.TRANSPORT, Phase.CONNECT, Verdict.SAFE)
    assert "TLS failed" in str(error)
    assert len(str(error).split(" — ")) >= 3
    chain: BaseException | None = error
    while chain is not None and not isinstance(chain, ssl.SSLError):
        chain = chain.__cause__
    assert chain is not None, "the TLS library's error is not in the chain of causes"


# --- TLS -------------------------------------------------------------------------------------------------------------


async def test_tls_with_a_context(shell, served, trusting):
    async with serve(ssl_context=served) as server:
        assert server.base_url.startswith("https://")
        async with shell.connect(server.base_url, ssl_context=trusting) as session:
            for words in ("over TLS", "count 5000", "x" * 3_000_000):
                response = await session.respond(model="m", input=words)
                assert response.status == "completed"
            assert response.output_text == words


async def test_tls_with_the_systems_trust_store(shell, served, trusted_by_default):
    async with serve(ssl_context=served) as server, shell.connect(server.base_url) as session:
        assert (await session.respond(model="m", input="x")).output_text == "x"


async def test_an_unknown_authority_is_not_trusted(shell, served):
    async with serve(ssl_context=served) as server:
        with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            async with shell.connect(server.base_url, api_key="k"):
                pass
        check_tls(caught.value)


async def test_a_certificate_for_another_name_is_not_trusted(shell, authority, trusting):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    async with serve(ssl_context=context) as server:
        for url in (server.base_url, server.base_url.replace("127.0.0.1", "localhost")):
            with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                async with shell.connect(url, ssl_context=trusting):
                    pass
            check_tls(caught.value)


async def test_tls_to_a_server_that_speaks_none(shell, trusting):
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(script) as server:
        with pytest.raises(ConnectError) as caught:
            async with shell.connect(server.base_url.replace("http", "https"), ssl_context=trusting):
                pass
        check_tls(caught.value)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_in_the_middle_of_the_tls_handshake(shell, trusting, how):
    async def script(peer: Peer) -> None:
        await peer.read()
        if how == "reset":
            await peer.reset()

    async with raw_server(script) as server:
        with pytest.raises(ConnectError) as caught:
            async with shell.connect(server.base_url.replace("http", "https"), ssl_context=trusting):
                pass
        assert (caught.value.cause, caught.value.phase) == (Cause.TRANSPORT, Phase.CONNECT)


async def test_plain_http_to_a_tls_server(shell, served):
    async with serve(ssl_context=served) as server:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            async with shell.connect(server.base_url.replace("https", "http"), transport="websocket"):
                pass
        assert caught.value.phase is Phase.HANDSHAKE


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_a_tls_connection_that_ends_without_close_notify(shell, served, trusting, how):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        if how == "reset":
            await peer.reset()

    async with raw_server(script, ssl_context=served) as server:
        async with shell.connect(server.base_url, ssl_context=trusting) as session:
            with pytest.raises(ConnectionLostError) as caught:
                await session.respond(input="x")
            assert caught.value.verdict is Verdict.AMBIGUOUS
            assert caught.value.cause in (Cause.EOF, Cause.TRANSPORT)


async def test_leaving_a_turn_over_tls_waits_for_nobody(shell, served, trusting):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        left.set()
        await over.wait()

    left, over = anyio.Event(), anyio.Event()
    async with raw_server(script, ssl_context=served) as server:
        options = shell.SessionOptions(close_timeout=60.0)  # It would wait as long, however busy the machine is.
        async with shell.connect(server.base_url, ssl_context=trusting, options=options) as session:
            async with session.create(input="x"):
                await left.wait()
                begun = anyio.current_time()
            assert anyio.current_time() - begun < 30.0
            over.set()


# --- Proxies ---------------------------------------------------------------------------------------------------------


async def test_through_a_proxy(shell):
    async with serve() as server, proxy_server() as proxy:
        url = f"http://{proxy.authority}"
        async with shell.connect(server.base_url, api_key="secret", proxy=url) as session:
            assert (await session.respond(model="m", input="x")).output_text == "x"
        (peer,) = proxy.peers
        assert peer.target == f"127.0.0.1:{server.port}"
        assert peer.headers["host"] == peer.target
        assert "authorization" not in peer.headers, "the proxy got the server's credential"


async def test_through_a_proxy_with_tls_to_the_server(shell, served, trusting):
    async with serve(ssl_context=served) as server, proxy_server() as proxy:
        async with shell.connect(server.base_url, ssl_context=trusting, proxy=f"http://{proxy.authority}") as session:
            assert (await session.respond(model="m", input="x" * 1_000_000)).output_text == "x" * 1_000_000


async def test_through_a_proxy_that_speaks_tls(shell, served, trusting, trusted_by_default):
    async with serve(ssl_context=served) as server, proxy_server(ssl_context=served) as proxy:
        async with shell.connect(server.base_url, ssl_context=trusting, proxy=f"https://{proxy.authority}") as session:
            assert (await session.respond(model="m", input="x")).output_text == "x"


async def test_a_proxy_with_tls_settings_of_its_own(shell, served, trusting):
    for transport in ("websocket", "http"):
        async with serve(ssl_context=served) as server, proxy_server(ssl_context=served) as proxy:
            arguments = {"proxy": f"https://{proxy.authority}", "transport": transport}
            async with shell.connect(
                server.base_url, ssl_context=trusting, proxy_ssl_context=trusting, **arguments
            ) as session:
                assert (await session.respond(model="m", input="x")).output_text == "x"
    async with serve() as server, proxy_server(ssl_context=served) as proxy:
        with pytest.raises(ConnectError, match=f"the proxy {proxy.authority} cannot be used: TLS failed"):
            async with shell.connect(server.base_url, ssl_context=trusting, proxy=f"https://{proxy.authority}"):
                pass


async def test_a_proxy_that_asks_for_a_password(shell):
    async with serve() as server, proxy_server(authorization=("me", "p@ss")) as proxy:
        async with shell.connect(server.base_url, proxy=f"http://me:p%40ss@{proxy.authority}") as session:
            assert (await session.respond(model="m", input="x")).output_text == "x"
        for wrong in ("", "me:wrong@"):
            with pytest.raises(ConnectError, match=rf"{proxy.authority} refused .*407") as caught:
                async with shell.connect(server.base_url, proxy=f"http://{wrong}{proxy.authority}"):
                    pass
            assert (caught.value.cause, caught.value.phase) == (Cause.TRANSPORT, Phase.CONNECT)
            assert caught.value.verdict is Verdict.SAFE
            assert "wrong" not in str(caught.value)
        assert server.connections == 1


BAD_PROXIES = {
    "too much": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    "1xx for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "SOCKS": b"\x05\x00",
    "garbage": b"\0\0 what?\r\n\r\n",
    "end of file": b"",
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno",
    "half an answer": b"HTTP/1.1 200 Conn",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
}


@pytest.mark.parametrize("case", BAD_PROXIES)
async def test_a_proxy_that_is_none(shell, case):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(BAD_PROXIES[case])

    async with raw_server(script) as proxy:
        with pytest.raises(ConnectError, match=f"the proxy {proxy.authority}") as caught:
            async with shell.connect("http://example.invalid/v1", proxy=f"http://{proxy.authority}"):
                pass
        assert (caught.value.cause, caught.value.phase) == (Cause.TRANSPORT, Phase.CONNECT)
        assert len(str(caught.value).split(" — ")) >= 3


async def test_a_silent_proxy_ends_at_the_connect_deadline(shell):
    async def script(peer: Peer) -> None:
        await peer.end()

    async with raw_server(script) as proxy:
        with pytest.raises(TimeoutError) as caught:
            async with shell.connect(
                "http://example.invalid/v1",
                proxy=f"http://{proxy.authority}",
                options=shell.SessionOptions(connect_timeout=0.05),
            ):
                pass
        assert caught.value.phase is Phase.CONNECT


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_never_ends_its_answer_ends_at_the_connect_deadline(shell, scheme):
    """Byte by byte: none of them moves the deadline."""
    answer = {
        "http": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000,
        "socks5h": b"\x05\x00\x05\x00\x00\x03\xff" + b"n" * 250,
    }

    async def script(peer: Peer) -> None:
        await peer.read()
        for byte in answer[scheme]:
            await peer.send(bytes([byte]))
            await anyio.sleep(0.002)
        await peer.end()

    async with raw_server(script) as proxy:
        with pytest.raises(TimeoutError) as caught:
            async with shell.connect(
                "http://example.invalid/v1",
                proxy=f"{scheme}://{proxy.authority}",
                options=shell.SessionOptions(connect_timeout=0.1),
            ):
                pass
        assert caught.value.phase is Phase.CONNECT


async def test_a_name_is_resolved_by_the_proxy(shell):
    async def script(peer: Peer) -> None:
        await peer.request()
        targets.append(peer.target)
        await peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    targets: list[str] = []
    async with raw_server(script) as proxy:
        for url in ("https://no-such-host.invalid/v1", "http://[2001:db8::1]:8080/v1"):
            with pytest.raises(ConnectError, match="403"):
                async with shell.connect(url, proxy=f"http://{proxy.authority}", api_key="k"):
                    pass
    assert targets == ["no-such-host.invalid:443", "[2001:db8::1]:8080"]


async def test_the_environments_proxies(shell, served, trusting, monkeypatch):
    async with serve() as plain, serve(ssl_context=served) as secure, proxy_server() as proxy:

        async def proxied(url: str, **arguments) -> bool:
            before = len(proxy.peers)
            async with shell.connect(url, ssl_context=trusting, **arguments):
                return len(proxy.peers) > before

        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.authority}")
        assert await proxied(secure.base_url)
        assert not await proxied(plain.base_url)
        assert not await proxied(secure.base_url, proxy=None)
        monkeypatch.setenv("NO_PROXY", "example.com, 127.0.0.1")
        assert not await proxied(secure.base_url)
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("no_proxy", "*")
        assert not await proxied(secure.base_url)
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("http_proxy", proxy.authority)
        assert await proxied(plain.base_url)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_the_network_of_the_clients_own_http_client(shell, served, trusting, transport):
    """P-CONN-19, for sessions and models: the proxy with its password and its TLS, and the server's private CA."""
    async with serve(ssl_context=served) as server:
        async with proxy_server(ssl_context=served, authorization=("me", "p@ss")) as proxy:
            through = httpx2.Proxy(f"https://{proxy.authority}", auth=("me", "p@ss"), ssl_context=trusting)
            async with DefaultAsyncHttpxClient(verify=trusting, proxy=through) as http_client:
                client = AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http_client)
                async with shell.connect(client=client, transport=transport) as session:
                    assert (await session.respond(model="m", input="x")).output_text == "x"
                assert len(proxy.peers) == 1
                options = shell.SessionOptions(transport=transport)
                async with shell.OpenAIResponsesWSModel("m", client, websocket_options=options) as model:
                    await model.get_response(*call_of(shell))
                assert len(proxy.peers) == 2
                async with shell.OpenAIResponsesWSModel("m", client, websocket_options=options, proxy=None) as model:
                    await model.get_response(*call_of(shell))
                assert len(proxy.peers) == 2


# --- Addresses -------------------------------------------------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("secure", [False, True])
async def test_ipv6(shell, served, trusting, secure):
    async with serve("::1", ssl_context=served if secure else None) as server:
        async with shell.connect(server.base_url, ssl_context=trusting) as session:
            assert (await session.respond(model="m", input="x")).output_text == "x"


async def test_localhost(shell):
    async with serve() as server, shell.connect(f"http://localhost:{server.port}/v1") as session:
        assert (await session.respond(model="m", input="x")).output_text == "x"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("first", ["127.0.0.1", "::1"])
async def test_a_name_of_two_addresses_of_which_one_answers(shell, monkeypatch, host, first):
    """Happy eyeballs (RFC 8305), whichever of its addresses the server listens on, and whichever comes first."""
    real = socket.getaddrinfo

    def resolve(name, *args, **kwargs):
        if name not in ("twofold.test", b"twofold.test"):
            return real(name, *args, **kwargs)
        addresses = sorted(("127.0.0.1", "::1"), key=lambda address: address != first)
        return [entry for address in addresses for entry in real(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with serve(host, allowed_hosts=["twofold.test"]) as server:
        with anyio.fail_after(5):
            async with shell.connect(f"http://twofold.test:{server.port}/v1") as session:
                assert (await session.respond(model="m", input="x")).output_text == "x"
    with pytest.raises(ConnectError, match="Errno") as caught:
        async with shell.connect(f"http://twofold.test:{server.port}/v1"):
            pass
    assert (caught.value.cause, caught.value.phase) == (Cause.TRANSPORT, Phase.CONNECT)


async def test_small_messages_do_not_wait_for_acknowledgements(shell):
    """TCP_NODELAY: otherwise a close frame behind a message costs up to 40 ms, every time."""
    async with serve() as server, shell.connect(server.base_url) as session:
        wire = next(iter(session._runtime._driver._links.values())).wire
        sock = wire.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- Other systems ----------------------------------------------------------------------------------------------------


async def test_a_system_that_refuses_the_options_of_a_socket(shell, monkeypatch):
    monkeypatch.setattr(socket, "TCP_NOTSENT_LOWAT", 9999, raising=False)
    async with serve() as server, shell.connect(server.base_url) as session:
        assert (await session.respond(model="m", input="x")).output_text == "x"


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_system_without_poll(shell, monkeypatch, transport):
    """Windows: what has arrived is not read before its turn comes; what is told of a turn stays as true."""
    monkeypatch.delattr(select, "poll", raising=False)
    monkeypatch.setattr(_asyncio, "CAN_READ_AHEAD", False)
    async with serve() as server, shell.connect(server.base_url, transport=transport) as session:
        for text in ("x" * 300_000, "y"):
            assert (await session.respond(model="m", input=text)).output_text == text
        server.faults.append(Fault(BeforeEvent(2), Cut(reset=True)))
        with pytest.raises(ConnectionLostError) as caught:
            await session.respond(model="m", input="x")
        assert caught.value.verdict is Verdict.UNSAFE
        assert (await session.respond(model="m", input="z")).output_text == "z"
        assert [entry.outcome for entry in server.ledger] == ["completed", "completed", "cut", "completed"]


# --- Whatever a transport raises --------------------------------------------------------------------------------------

RAISED = [
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    TimeoutError(110, "Connection timed out"),
    PermissionError(13, "Permission denied"),
    socket.gaierror(-2, "Name or service not known"),
    ssl.SSLError(1, "[SSL] internal error"),
    ssl.SSLCertVerificationError(1, "certificate verify failed"),
    ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"),
    UnicodeError("label empty or too long"),
    UnicodeEncodeError("idna", "a..b", 0, 1, "label empty"),
    ValueError("embedded null byte"),
    OverflowError("getsockaddrarg: port must be 0-65535."),
    ExceptionGroup("multiple connection attempts failed", [OSError(113, "No route to host"), OSError(111, "refused")]),
    ExceptionGroup("", [ExceptionGroup("", [ssl.SSLError(1, "deep")])]),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_whatever_a_transport_raises_is_a_transport_error(shell, error):
    told = FAILURES[shell].translated(error)
    assert isinstance(told, TransportError)
    assert told.__cause__ is error
    assert str(told)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_whatever_the_opening_raises_is_a_connect_error(shell, backend, error, monkeypatch):
    trio = backend.anyio_name == "trio"
    library = sys.modules["trio" if trio else "turnwire.aio._opening"]

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(library, "open_tcp_stream" if trio else "_connected", fail)
    for proxy, named in ((None, ""), ("http://p.test:1", "the proxy p.test:1 cannot be used: ")):
        with pytest.raises(ConnectError, match=f"could not connect to h.test: {named}") as caught:
            async with shell.connect(
                "http://h.test/v1", proxy=proxy, options=shell.SessionOptions(recovery=RecoveryPolicy(attempts=0))
            ):
                pass
        assert caught.value.verdict is Verdict.SAFE
