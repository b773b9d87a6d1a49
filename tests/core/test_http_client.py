"""What the HTTP client of an OpenAI client was given: httpx2's own, and whatever else may be there."""

from __future__ import annotations

import base64
import ssl
from types import SimpleNamespace
from typing import Any

import httpcore2
import httpx2
import pytest
from kit.stepping import DEFAULT_CONTEXT, FAILURES, Log
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from turnwire.sansio import transports
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.http_client import ClientNetwork, client_network, tls_of
from turnwire.sansio.proxy import Proxy, SocksProxy
from turnwire.sansio.source import EndpointSource
from turnwire.sansio.transports import Means, Network, Route

PLACE = Endpoint("wss://api.example.com/v1/responses?key=hush")
CONTEXT = ssl.create_default_context()
OTHER = ssl.create_default_context()


@pytest.fixture(autouse=True)
def no_proxy_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own proxies do not count."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def found(place: Endpoint = PLACE, **given: Any) -> ClientNetwork:
    return client_network(AsyncOpenAI(api_key="k", http_client=DefaultAsyncHttpxClient(**given)), place)


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


# --- P-CONN-19: what an HTTP client of httpx was given ----------------------------------------------------------------


def test_an_http_client_that_openai_made_was_given_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_network(AsyncOpenAI(api_key="k"), PLACE) == ClientNetwork()
    monkeypatch.setenv("HTTPS_PROXY", "http://p.test")
    assert client_network(AsyncOpenAI(api_key="k"), PLACE) == ClientNetwork()


def test_tls_settings_and_proxy_are_those_of_the_clients_http_client() -> None:
    assert found(verify=CONTEXT) == ClientNetwork(CONTEXT, None)
    assert found(verify=CONTEXT, proxy="http://p.test:3128") == ClientNetwork(CONTEXT, Proxy("p.test", 3128, False))
    unverified = found(verify=False).ssl_context
    assert unverified.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("given", "proxy", "context"),
    [
        ("http://p.test", Proxy("p.test", 80, False), None),
        ("https://p.test", Proxy("p.test", 443, True), None),
        ("http://[::1]:9", Proxy("::1", 9, False), None),
        (
            "http://m%40e:h%C3%BCsh@p.test",
            Proxy("p.test", 80, False, headers=(("Proxy-Authorization", basic("m@e:hüsh")),)),
            None,
        ),
        (
            httpx2.Proxy("https://p.test:1", auth=("me", "hush"), headers={"X-Team": "b"}, ssl_context=OTHER),
            Proxy(
                "p.test", 1, True, headers=(("Proxy-Authorization", basic("me:hush")), ("X-Team", "b"))
            ),
            OTHER,
        ),
    ],
)  # fmt: skip
def test_an_http_proxy_with_its_headers_and_its_own_tls_settings(given: Any, proxy: Proxy, context: Any) -> None:
    network = found(verify=CONTEXT, proxy=given)
    assert network == ClientNetwork(CONTEXT, proxy, context)
    assert isinstance(network.proxy, Proxy)
    request = network.proxy.tunnel(PLACE).request()
    for name, value in proxy.headers:
        assert f"{name}: {value.reveal()}\r\n".encode() in request  # type: ignore[union-attr]
    assert "hush" not in f"{network} {basic('me:hush')[6:] in repr(network)}"


@pytest.mark.parametrize("auth", [None, ("me", "hüsh")])
def test_a_socks_proxy_gets_names_as_httpx_gives_them(auth: Any) -> None:
    transport = httpx2.AsyncHTTPTransport(verify=CONTEXT)
    transport._pool = SimpleNamespace(
        _http2=False, _ssl_context=CONTEXT, _proxy_url=httpcore2.URL("socks5://p.test:9"), _proxy_auth=encoded(auth)
    )
    network = found(mounts={"all://": transport})
    assert network == ClientNetwork(CONTEXT, SocksProxy("p.test", 9, True, *(auth or ())))
    assert "hüsh" not in repr(network)


def test_a_socks_proxy_of_httpx_itself() -> None:
    pytest.importorskip("socksio")
    for scheme in ("socks5", "socks5h"):
        network = found(verify=CONTEXT, proxy=f"{scheme}://me:hush@p.test")
        assert network == ClientNetwork(CONTEXT, SocksProxy("p.test", 1080, True, "me", "hush"))


def encoded(auth: tuple[str, str] | None) -> tuple[bytes, bytes] | None:
    return None if auth is None else (auth[0].encode(), auth[1].encode())


def test_the_proxy_is_the_one_for_this_url() -> None:
    mounts = {
        "all://": httpx2.AsyncHTTPTransport(proxy="http://other.test"),
        "https://api.example.com": httpx2.AsyncHTTPTransport(proxy="http://p.test"),
        "all://direct.test": None,
    }
    for url, proxy in (
        ("wss://api.example.com/", Proxy("p.test", 80, False)),
        ("ws://api.example.com/", Proxy("other.test", 80, False)),
        ("wss://direct.test/", None),
    ):
        assert found(Endpoint(url), mounts=mounts).proxy == proxy


def test_the_environment_counts_as_it_did_for_the_http_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p.test:1")
    monkeypatch.setenv("NO_PROXY", "direct.test")
    assert found().proxy == Proxy("p.test", 1, False)
    assert found(Endpoint("wss://direct.test/")).proxy is None
    assert found(trust_env=False).proxy is None
    assert found(transport=httpx2.AsyncHTTPTransport()).proxy is None


def test_without_tls_its_settings_are_not_read() -> None:
    assert found(Endpoint("ws://h.test/"), verify=CONTEXT, http2=False) == ClientNetwork(None, None)


def test_the_tls_settings_of_http2_are_not_for_a_websocket() -> None:
    transport = httpx2.AsyncHTTPTransport(verify=CONTEXT, proxy="http://p.test")
    transport._pool._http2 = True
    assert found(transport=transport) == ClientNetwork(
        None, Proxy("p.test", 80, False), unread=(("TLS settings", "they offer HTTP/2"),)
    )


def test_tls_settings_alone() -> None:
    client = AsyncOpenAI(api_key="k", http_client=httpx2.AsyncClient(verify=CONTEXT))
    assert (tls_of(client), tls_of(AsyncOpenAI(api_key="k"))) == (CONTEXT, None)


# --- Everything else --------------------------------------------------------------------------------------------------


def http_client(pool: Any) -> Any:
    transport = SimpleNamespace(_pool=pool)
    return SimpleNamespace(base_url=httpx2.URL("https://h"), _transport_for_url=lambda url: transport)


BOTH = ("TLS settings", "proxy")
GOOD = {"_http2": False, "_ssl_context": CONTEXT, "_proxy": None}


@pytest.mark.parametrize(
    ("client", "what"),
    [
        (SimpleNamespace(), BOTH),
        (SimpleNamespace(_client=None), BOTH),
        (SimpleNamespace(_client=http_client(None)), BOTH),
        (SimpleNamespace(_client=SimpleNamespace(base_url="https://h")), BOTH),
        (SimpleNamespace(_client=httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: None))), BOTH),
        (SimpleNamespace(_client=httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds="/s"))), BOTH),
        (SimpleNamespace(_client=http_client(SimpleNamespace(**GOOD))), ()),
        (SimpleNamespace(_client=http_client(SimpleNamespace(**{**GOOD, "_ssl_context": "odd"}))), BOTH[:1]),
        (SimpleNamespace(_client=http_client(SimpleNamespace(_ssl_context=CONTEXT, _proxy=None))), BOTH[:1]),
        (SimpleNamespace(_client=http_client(SimpleNamespace(**{**GOOD, "_proxy": "p"}))), BOTH[1:]),
        (SimpleNamespace(_client=http_client(SimpleNamespace(_http2=False, _ssl_context=CONTEXT))), BOTH[1:]),
        (SimpleNamespace(_client=http_client(SimpleNamespace(**GOOD, _proxy_url="http://p"))), BOTH[1:]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_and_stays_the_default(client: Any, what: tuple[str, ...]) -> None:
    network = client_network(client, PLACE)
    assert tuple(name for name, _ in network.unread) == what
    assert network.ssl_context is (None if "TLS settings" in what else CONTEXT)
    assert network.proxy == ("env" if "proxy" in what else None)


def test_an_endpoint_on_a_unix_socket_takes_nothing() -> None:
    place = Endpoint("ws://localhost/v1", socket="/s")
    assert found(place, verify=CONTEXT, proxy="http://p.test") == ClientNetwork()


# --- What a session takes ---------------------------------------------------------------------------------------------


def source(http_client: Any = None, *, with_client: bool = True) -> EndpointSource:
    client = AsyncOpenAI(api_key="k", http_client=http_client) if with_client else None
    return EndpointSource(
        base_url="https://h.test/v1", api_key="k", client=client, headers=None, query=None, environment={}
    )


def test_the_caller_decides_what_is_left_to_the_client() -> None:
    proxy = httpx2.Proxy("https://p.test", ssl_context=OTHER)
    where = source(httpx2.AsyncClient(verify=CONTEXT, proxy=proxy))
    p, own = Proxy("p.test", 443, True), ssl.create_default_context()
    for given, expected in (
        (Network(proxy="client"), Network(CONTEXT, p, OTHER)),
        (Network(own, "client"), Network(own, p, OTHER)),
        (Network(None, "client", own), Network(CONTEXT, p, own)),
        (Network(None, "env"), Network(CONTEXT, "env", None)),
        (Network(None, None), Network(CONTEXT, None, None)),
        (Network(own, "env"), Network(own, "env", None)),
    ):
        assert given.completed(where) == (expected, ())
    for where in (source(with_client=False), source()):
        assert Network(proxy="client").completed(where) == (Network(), ())
        assert Network(own, None).completed(where) == (Network(own, None), ())


def test_the_log_says_once_what_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "_SAID", set())
    where, log = source(httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: None))), Log()
    for network in (
        Network(CONTEXT, None),
        Network(CONTEXT, "client"),
        Network(None, "env"),
        Network(None, "client"),
    ):
        for logger in (log, None):
            Route(where, network, Means({}, lambda: 0.0, lambda: DEFAULT_CONTEXT, FAILURES, logger=logger))
    said = "of the OpenAI client's http_client cannot be read (it is of type AsyncClient): turnwire connects with"
    assert [line.startswith(f"the {what} {said}") for line, what in zip(log.lines, BOTH[::-1], strict=True)] == [
        True,
        True,
    ]


def test_an_http_client_can_be_given_by_itself() -> None:
    """P-HTTPX-11."""
    client = httpx2.AsyncClient(verify=CONTEXT, proxy="http://p.test:3128")
    network, unread = Network(proxy="client", http_client=client).completed(source(with_client=False))
    assert (network.ssl_context, network.proxy, unread) == (CONTEXT, Proxy("p.test", 3128, False), ())
    network, _ = Network(OTHER, proxy=None, http_client=client).completed(source(with_client=False))
    assert (network.ssl_context, network.proxy) == (OTHER, None)
    odd = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: None))  # pyright: ignore[reportArgumentType]
    network, unread = Network(proxy="client", http_client=odd).completed(source(with_client=False))
    assert (network.proxy, tuple(name for name, _ in unread)) == ("env", BOTH)
