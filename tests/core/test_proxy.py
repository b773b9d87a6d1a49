"""Proxies: which one is chosen, as curl and requests would; and that nobody reads its credentials."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import pytest
from turnwire.sansio.endpoint import Endpoint, endpoint
from turnwire.sansio.errors import TransportError, UserError
from turnwire.sansio.proxy import Proxy, SocksProxy, choose_proxy

SECURE = Endpoint("wss://api.example.com/v1/responses")
PLAIN = Endpoint("ws://localhost:8080/v1/responses")


@pytest.mark.parametrize(
    ("environment", "secure", "plain"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://p:1"}, "p:1", None),
        ({"HTTP_PROXY": "http://p:1"}, None, "p:1"),
        ({"https_proxy": "http://p:1", "http_proxy": "http://q:2"}, "p:1", "q:2"),
        ({"ALL_PROXY": "http://p:1"}, "p:1", "p:1"),
        ({"all_proxy": "http://p:1", "HTTPS_PROXY": "http://q:2"}, "q:2", "p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:2"}, "low:1", None),
        ({"https_proxy": "", "HTTPS_PROXY": "http://up:2"}, "up:2", None),
        ({"HTTPS_PROXY": ""}, None, None),
        ({"HTTPS_PROXY": "p:3128"}, "p:3128", None),
        ({"HTTPS_PROXY": "p"}, "p:80", None),
        ({"HTTPS_PROXY": "http://p"}, "p:80", None),
        ({"HTTPS_PROXY": "https://p"}, "p:443", None),
        ({"HTTPS_PROXY": "HTTP://P:1/ignored"}, "p:1", None),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, "[::1]:3128", None),
        ({"ALL_PROXY": "socks5://p"}, "p:1080", "p:1080"),
        ({"all_proxy": "SOCKS5H://p:9/", "HTTP_PROXY": "http://q:2"}, "p:9", "q:2"),
        ({"HTTPS_PROXY": "socks5h://p", "NO_PROXY": "localhost"}, "p:1080", None),
        ({"ALL_PROXY": "socks5://p", "NO_PROXY": "example.com"}, None, "p:1080"),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "http://p:1", "REQUEST_METHOD": "GET"}, None, "p:1"),
        ({"HTTPS_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "p:1", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None, None),
        ({"ALL_PROXY": "http://p:1", "no_proxy": "localhost"}, "p:1", None),
    ],
)
def test_the_environment_chooses(environment: dict[str, str], secure: str | None, plain: str | None):
    """P-CONN-17."""
    chosen = [choose_proxy("env", place, environment) for place in (SECURE, PLAIN)]
    assert [proxy and str(proxy) for proxy in chosen] == [secure, plain]


HOSTS = {
    "name": "wss://api.example.com/",
    "port": "wss://api.example.com:8443/",
    "v4": "wss://10.1.2.3/",
    "v6": "wss://[fd00::1]:8443/",
    "zone": "wss://[fe80::1%25eth0]/",
}


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", ""),
        (" , ", ""),
        (".", ""),
        ("*", "name port v4 v6 zone"),
        ("other.test,*", "name port v4 v6 zone"),
        ("example.com", "name port"),
        (".example.com", "name port"),
        ("*.example.com", "name port"),
        ("EXAMPLE.com", "name port"),
        ("com", "name port"),
        ("api.example.com", "name port"),
        ("ample.com", ""),
        ("x.api.example.com", ""),
        ("example.com.", ""),
        ("example.com:8443", "port"),
        ("api.example.com:443", "name"),
        ("api.example.com:80", ""),
        ("*:8443", "port v6"),
        ("other.test, example.com", "name port"),
        ("other.test example.com", "name port"),
        ("10.1.2.3", "v4"),
        ("10.1.2.3:443", "v4"),
        ("10.1.2.3:80", ""),
        ("10.1.2.30", ""),
        ("0.1.2.3", ""),
        ("10.0.0.0/8", "v4"),
        ("10.1.2.3/16", "v4"),
        ("10.1.0.0/24", ""),
        ("10.0.0.0/99", ""),
        ("fd00::/8", "v6"),
        ("::/0", "v6 zone"),
        ("fd00::1", "v6"),
        ("FD00:0:0::1", "v6"),
        ("[fd00::1]", "v6"),
        ("[fd00::1]:8443", "v6"),
        ("[fd00::1]:443", ""),
        ("[fe80::1]", "zone"),
        ("fd00::2", ""),
        ("example.com:x", ""),
        ("/", ""),
        ("[", ""),
    ],
)
def test_no_proxy_names_what_is_connected_to_directly(no_proxy: str, direct: str):
    """P-CONN-17."""
    environment = {"ALL_PROXY": "http://p:1", "NO_PROXY": no_proxy}
    chosen = {name: choose_proxy("env", Endpoint(url), environment) for name, url in HOSTS.items()}
    assert {name for name, proxy in chosen.items() if proxy is None} == set(direct.split())


def test_a_proxy_that_was_named_is_used_whatever_the_environment_says():
    environment = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "*"}
    assert choose_proxy("https://p", SECURE, environment) == Proxy("p", 443, True)
    assert choose_proxy("http://p:8080", PLAIN, environment) == Proxy("p", 8080, False)
    assert choose_proxy("socks5://p", PLAIN, environment) == SocksProxy("p", 1080, False)
    assert choose_proxy("socks5h://[::1]:9", SECURE, environment) == SocksProxy("::1", 9, True)
    named = SocksProxy("p", 1080, True)
    assert choose_proxy(named, SECURE, environment) is named
    assert choose_proxy(None, SECURE, {"HTTPS_PROXY": "http://p:1"}) is None


SECRET = "geheim"


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        (f"http://user:{SECRET}@p:1", f"user:{SECRET}"),
        (f"http://us%40er:{SECRET}%3A%2F@p:1", f"us@er:{SECRET}:/"),
        (f"http://{SECRET}@p:1", f"{SECRET}:"),
        (f"http://ü:{SECRET}é@p:1", f"ü:{SECRET}é"),
        (f"http://user:{SECRET}@at@p:1", f"user:{SECRET}@at"),
    ],
)
def test_credentials_go_to_the_proxy_and_nowhere_else(url: str, credentials: str):
    """P-CONN-17."""
    for proxy in (choose_proxy(url, SECURE, {}), choose_proxy("env", SECURE, {"HTTPS_PROXY": url})):
        assert proxy is not None
        encoded = base64.b64encode(credentials.encode()).decode()
        assert proxy.authorization == f"Basic {encoded}"
        request = proxy.tunnel(SECURE).request()
        assert f"Proxy-Authorization: Basic {encoded}\r\n".encode() in request
        for text in (str(proxy), repr(proxy), f"{proxy}"):
            assert SECRET not in text
            assert encoded not in text
        assert str(proxy) == "p:1"
        assert pickle.loads(pickle.dumps(proxy)) == proxy


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("socks5://p", "", ""),
        (f"socks5h://me:{SECRET}@p", "me", SECRET),
        (f"socks5://m%40e:{SECRET}%3A%2F@p", "m@e", f"{SECRET}:/"),
        ("socks5://me@p", "me", ""),
        (f"socks5://ü:{SECRET}é@p", "ü", f"{SECRET}é"),
    ],
)
def test_credentials_go_to_the_socks_proxy_and_nowhere_else(url: str, username: str, password: str):
    """P-CONN-17."""
    for proxy in (choose_proxy(url, SECURE, {}), choose_proxy("env", SECURE, {"ALL_PROXY": url})):
        assert isinstance(proxy, SocksProxy)
        assert (proxy.username, proxy.password, proxy.secure) == (username, password, False)
        tunnel = proxy.tunnel(SECURE)
        assert len(tunnel.request()) == (4 if username else 3)
        if username:
            said = [part.encode() for part in (username, password)]
            assert tunnel.receive(b"\x05\x02") == b"\x01" + b"".join(bytes([len(part)]) + part for part in said)
        assert SECRET not in f"{proxy} {proxy!r} {vars(proxy)} {vars(tunnel)}"
        assert str(proxy) == "p:1080"
        assert pickle.loads(pickle.dumps(proxy)) == proxy


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"socks5://:{SECRET}@p", "password comes without a user name: write socks5://user:password@host"),
        (f"socks5://me:{SECRET * 50}@p", "password has 300 bytes: SOCKS5 takes at most 255"),
        (f"socks5h://{SECRET * 50}:x@p", "user name has 300 bytes: SOCKS5 takes at most 255"),
    ],
)
def test_what_a_socks_proxy_cannot_be_told_is_refused_without_telling_it(url: str, problem: str):
    for arguments in ((url, SECURE, {}), ("env", SECURE, {"ALL_PROXY": url})):
        with pytest.raises(UserError, match=f"^the SOCKS proxy's {problem}") as caught:
            choose_proxy(*arguments)
        assert SECRET not in str(caught.value)


def test_no_proxy_leads_to_a_socket_of_this_machine():
    """P-CONN-18."""
    place = endpoint("unix:/s")
    assert choose_proxy("env", place, {"ALL_PROXY": "http://p:1"}) is None
    assert choose_proxy(None, place, {}) is None
    for url in (f"http://me:{SECRET}@p", f"socks5://me:{SECRET}@p"):
        with pytest.raises(UserError, match=r"^no proxy leads to unix:/s, a socket of this machine: leave proxy= out"):
            choose_proxy(url, place, {})


@pytest.mark.parametrize(
    "url",
    [
        f"socks4://user:{SECRET}@p:1",
        f"http://user:{SECRET}@",
        f"http://user:{SECRET}@:1",
        f"http://user:{SECRET}@p:port",
        f"http://user:{SECRET}@p:99999",
        f"http://user:{SECRET}@[::1",
        f"ftp://user:{SECRET}@p",
    ],
)
@pytest.mark.parametrize("way", ["named", "environment"])
def test_what_names_no_http_proxy_is_refused_without_telling_its_credentials(url: str, way: str):
    arguments: Any = (url, SECURE, {}) if way == "named" else ("env", SECURE, {"HTTPS_PROXY": url})
    with pytest.raises(UserError, match="http://host:port") as caught:
        choose_proxy(*arguments)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert ("the environment variable https_proxy" in str(caught.value)) is (way == "environment")


@pytest.mark.parametrize("url", ["p:1", "p", "", "//p:1", "127.0.0.1:3128"])
def test_a_named_proxy_needs_its_scheme(url: str):
    with pytest.raises(
        UserError, match=r"^proxy has no scheme: write http://host:port, https://…, socks5://… or socks5h://host:port"
    ):
        choose_proxy(url, SECURE, {})


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("wss://api.example.com/", "api.example.com:443"),
        ("ws://api.example.com/", "api.example.com:80"),
        ("wss://[::1]:8443/", "[::1]:8443"),
        ("wss://[fe80::1%25eth0]/", "[fe80::1]:443"),
    ],
)
def test_a_tunnel_always_names_host_and_port(url: str, authority: str):
    request = Proxy("p", 1, False).tunnel(Endpoint(url)).request()
    assert request == f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()


@pytest.mark.parametrize("pieces", [1, 5, 1000])
def test_a_tunnel_leads_through_once_the_proxy_has_said_yes(pieces: int):
    """P-CONN-17."""
    tunnel = Proxy("p", 1, False).tunnel(SECURE)
    said = b"HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n"
    size = max(1, len(said) // pieces)
    for start in range(0, len(said), size):
        assert not tunnel.through
        tunnel.receive(said[start : start + size])
    assert tunnel.through


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", "refused to connect to .*: HTTP status 407"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "refused to connect to .*: not an HTTP answer"),
        (b"HTTP/1.1 407 Who are you\r\n\r\n", "refused to connect to .*: HTTP status 407"),  # Its body has no end.
        (b"HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\nno", "refused to connect to .*: HTTP status 407"),
        (b"HTTP/1.1 302 There\r\nLocation: http://q\r\n\r\n", "refused to connect to .*: HTTP status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "refused .*: its answer is followed by 5 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n\0", "refused to connect to .*: its answer is followed by 1 bytes"),
        (b"HTTP/1.1 100 Wait\r\n\r\n" * 100, "refused .*: more than 32 informational answers, and no other"),
        (b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "refused .*: not an HTTP answer: "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "refused .*: not an HTTP answer: Receive buffer too long"),
        (b"HTTP/2 200 OK\r\n\r\n", "refused to connect to .*: not an HTTP answer: illegal status line$"),
        (b"HTTP/1.1 000 OK\r\n\r\n", "refused to connect to .*: not an HTTP answer: "),
        (b"\x05\x00", "refused to connect to .*: not an HTTP answer"),
        (b"HTTP/1.1 200", "ended the connection instead of answering CONNECT"),
        (b"", "ended the connection instead of answering CONNECT"),
    ],
)
def test_a_tunnel_that_leads_nowhere_says_so_without_the_proxys_credentials(said: bytes, problem: str):
    proxy = Proxy("p", 1, False, f"Basic {SECRET}")
    tunnel = proxy.tunnel(SECURE)
    with pytest.raises(TransportError, match=f"^the proxy p:1 {problem}") as caught:
        [tunnel.receive(data) for data in (said, b"")]
    assert not tunnel.through
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"authorization": f"Basic {SECRET}\r\nX: y"}, "the value of header 'Proxy-Authorization' holds U.000D"),
        ({"headers": (("X-Team", f"{SECRET}\n"),)}, "the value of header 'X-Team' holds U.000A"),
        ({"headers": (("X Team", SECRET),)}, "'X'… is not a header name"),
        ({"headers": (("Host", SECRET),)}, "the header 'Host' is the WebSocket handshake's own"),
    ],
)
def test_headers_for_a_proxy_that_cannot_be_sent_are_refused_without_showing_them(given: Any, problem: str):
    with pytest.raises(UserError, match=problem) as caught:
        Proxy("p", 1, False, **given)
    assert SECRET not in str(caught.value)


def test_headers_for_a_proxy_go_to_it_and_nowhere_else():
    proxy = Proxy("p", 1, False, "Basic x", (("X-Team", SECRET),))
    request = proxy.tunnel(PLAIN).request()
    assert request.endswith(f"\r\nProxy-Authorization: Basic x\r\nX-Team: {SECRET}\r\n\r\n".encode())
    assert SECRET not in f"{proxy} {proxy!r} {vars(proxy)}"


def test_a_proxy_that_repeats_what_it_got_shows_no_credentials():
    tunnel = Proxy("p", 1, False, f"Basic {SECRET}").tunnel(SECURE)
    echo = tunnel.request()
    for said in (echo, echo.split(b"\r\n", 1)[1], b"HTTP/1.1 200 OK\r\n" + echo.replace(b": ", b"\x01 ")):
        tunnel = Proxy("p", 1, False, f"Basic {SECRET}").tunnel(SECURE)
        with pytest.raises(TransportError, match="not an HTTP answer") as caught:
            tunnel.receive(said)
        assert SECRET not in str(caught.value)


def test_a_proxy_that_ends_after_each_byte_of_its_answer():
    said = b"HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n"
    for length in range(len(said)):
        tunnel = Proxy("p", 1, False).tunnel(SECURE)
        with pytest.raises(TransportError, match="ended the connection instead of answering CONNECT"):
            [tunnel.receive(piece) for piece in ([said[:length]] if length else []) + [b""]]
        assert not tunnel.through
