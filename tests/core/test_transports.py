"""The steps that open a transport, and what their failures are called. A carrier that carries nothing."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kit.machines import answer
from kit.stepping import DEFAULT_CONTEXT, FAILURES, Cancelled, Context, OwnError, SteppedShell, TlsError, finished
from turnwire.sansio.errors import TransportError, UserError, WrongTypeError
from turnwire.sansio.flow import Wait
from turnwire.sansio.proxy import checked_proxy
from turnwire.sansio.secret import Secret
from turnwire.sansio.session import EndpointSource
from turnwire.sansio.transports import Means, Network, Route, checked_network, socket_options

OWN = Context()


class Carrier:
    """Writes down what is done. What it raises, and what it reads, are given."""

    def __init__(self, *reads: bytes, **raises: BaseException) -> None:
        self.done: list[Any] = []
        self.reads = list(reads)
        self.raises = raises
        self.found = ["10.0.0.9"]
        """The addresses of every host."""

    def _step(self, name: str, *what: Any) -> None:
        self.done.append((name, *what))
        if name in self.raises:
            raise self.raises[name]

    async def connect(self, host: str, port: int) -> None:
        self._step("connect", host, port)

    async def connect_unix(self, path: str) -> None:
        self._step("unix", path)

    async def look_up(self, host: str, port: int) -> list[str]:
        self._step("look up", host, port)
        return self.found

    def start_over(self) -> None:
        self._step("start over")

    async def start_tls(self, host: str, context: Any) -> None:
        self._step("tls", host, context)

    async def send_all(self, data: bytes) -> None:
        self._step("send", data.split(b"\r\n")[0].decode() if data.isascii() and data[:1] == b"C" else data)

    async def receive(self) -> bytes:
        self._step("receive")
        return self.reads.pop(0)


def source(url: str = "https://h.test/v1", client: Any = None) -> EndpointSource:
    key = None if client else "key"
    return EndpointSource(base_url=url, api_key=key, client=client, headers=None, query=None, environment={})


def link(source: EndpointSource) -> Any:
    return SimpleNamespace(connection=SimpleNamespace(endpoint=source.initial))


def opened(
    carrier: Carrier,
    where: EndpointSource | None = None,
    *,
    context: Any = OWN,
    proxy: str | None = None,
    proxy_context: Any = None,
    **environment: str,
) -> Any:
    where = where or source()
    means = Means(environment, lambda: 0.0, lambda: DEFAULT_CONTEXT, FAILURES)
    route, to = Route(where, Network(context, checked_proxy(proxy), proxy_context), means), link(where)
    finished(SteppedShell().run(route.open(to, carrier)))
    return to.connection.endpoint


# --- The steps -------------------------------------------------------------------------------------------------------


def test_straight_to_the_endpoint() -> None:
    carrier = Carrier()
    opened(carrier)
    assert carrier.done == [("connect", "h.test", 443), ("tls", "h.test", OWN)]


def test_without_tls_and_with_that_of_the_system() -> None:
    carrier = Carrier()
    opened(carrier, source("http://h.test/v1"))
    assert carrier.done == [("connect", "h.test", 80)]
    carrier = Carrier()
    opened(carrier, context=None)
    assert carrier.done[1:] == [("tls", "h.test", DEFAULT_CONTEXT)]


def test_through_a_proxy_that_speaks_tls() -> None:
    carrier = Carrier(b"HTTP/1.1 200 ", b"OK\r\n\r\n")
    opened(carrier, proxy="env", https_proxy="https://p.test:8443")
    assert carrier.done == [
        ("connect", "p.test", 8443),
        ("tls", "p.test", DEFAULT_CONTEXT),
        ("send", "CONNECT h.test:443 HTTP/1.1"),
        ("receive",),
        ("receive",),
        ("tls", "h.test", OWN),
    ]


def test_through_a_proxy_with_tls_settings_of_its_own() -> None:
    other = Context()
    carrier = Carrier(b"HTTP/1.1 200 OK\r\n\r\n")
    opened(carrier, proxy="https://p.test", proxy_context=other)
    assert [step for step in carrier.done if step[0] == "tls"] == [("tls", "p.test", other), ("tls", "h.test", OWN)]
    carrier = Carrier(b"HTTP/1.1 200 OK\r\n\r\n")
    opened(carrier, source("http://h.test/v1"), proxy="env", all_proxy="http://p.test", proxy_context=other)
    assert "tls" not in [step[0] for step in carrier.done], "the environment's proxy is none that speaks TLS"


GRANTED = b"\x05\x00\x00\x01" + bytes(6)
NAME = b"\x05\x01\x00\x03\x06h.test\x01\xbb"


def test_through_a_socks_proxy_that_looks_the_name_up() -> None:
    """P-CONN-17."""
    carrier = Carrier(b"\x05", b"\x02", b"\x01\x00", GRANTED[:5], GRANTED[5:])
    opened(carrier, proxy="env", ALL_PROXY="socks5h://me:p%40ss@p.test")
    assert carrier.done == [
        ("connect", "p.test", 1080),
        ("send", b"\x05\x02\x00\x02"),
        ("receive",),
        ("receive",),
        ("send", b"\x01\x02me\x04p@ss"),
        ("receive",),
        ("send", NAME),
        ("receive",),
        ("receive",),
        ("tls", "h.test", OWN),
    ]


@pytest.mark.parametrize(
    ("url", "asked", "target"),
    [
        ("http://h.test/v1", [("look up", "h.test", 80)], b"\x01\x0a\x00\x00\x09\x00\x50"),
        ("http://127.0.0.1/v1", [], b"\x01\x7f\x00\x00\x01\x00\x50"),
        ("http://[::1]:8/v1", [], b"\x04" + bytes(15) + b"\x01\x00\x08"),
    ],
)
def test_a_name_is_looked_up_here_for_socks5(url: str, asked: list[Any], target: bytes) -> None:
    """P-CONN-17."""
    carrier = Carrier(b"\x05\x00", GRANTED)
    opened(carrier, source(url), proxy="socks5://p.test:1")
    assert carrier.done == [
        *asked,
        ("connect", "p.test", 1),
        ("send", b"\x05\x01\x00"),
        ("receive",),
        ("send", b"\x05\x01\x00" + target),
        ("receive",),
    ]


AN_ADDRESS = [("connect", "p.test", 1), ("send", b"\x05\x01\x00"), ("receive",)]


def asked_for(*address: int) -> tuple[str, bytes]:
    return ("send", b"\x05\x01\x00" + bytes([{4: 1, 16: 4}[len(address)], *address]) + b"\x00\x50")


@pytest.mark.parametrize("reply", [1, 3, 4, 5, 6, 8])
def test_every_address_of_a_host_is_tried_until_the_proxy_reaches_one(reply: int) -> None:
    """P-CONN-17."""
    refused = b"\x05" + bytes([reply])
    carrier = Carrier(b"\x05\x00", refused, b"\x05\x00", refused, b"\x05\x00", GRANTED)
    carrier.found = ["::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
    opened(carrier, source("http://h.test/v1"), proxy="socks5://p.test:1")
    assert carrier.done == [
        ("look up", "h.test", 80),
        *(*AN_ADDRESS, asked_for(*bytes(15), 1), ("receive",), ("start over",)),
        *(*AN_ADDRESS, asked_for(10, 0, 0, 1), ("receive",), ("start over",)),
        *(*AN_ADDRESS, asked_for(10, 0, 0, 2), ("receive",)),
    ]


@pytest.mark.parametrize(
    ("reads", "raises", "text"),
    [
        ((b"\x05\x00", b"\x05\x05", b"\x05\x00", b"\x05\x04"), {}, "the host is unreachable"),  # The last one's.
        ((b"\x05\x00", b"\x05\x02"), {}, "its rules do not allow it"),
        ((b"\x05\x00", b"\x05\x07"), {}, "it does not support CONNECT"),
        ((b"\x05\xff",), {}, "it asks for a user name to authenticate"),
        ((b"\x05\x00", b""), {}, "it ended the connection instead of answering"),
        ((), {"connect": OSError("no route")}, "cannot be used: the network failed: no route"),
    ],
)
def test_what_no_other_address_would_change_ends_the_opening(reads: Any, raises: Any, text: str) -> None:
    carrier = Carrier(*reads, **raises)
    carrier.found = ["10.0.0.1", "10.0.0.2"]
    with pytest.raises(TransportError, match=f"^the proxy p.test:1 .*: {text}$|^the proxy p.test:1 {text}$"):
        opened(carrier, source("http://h.test/v1"), proxy="socks5://p.test:1")
    assert carrier.reads == []
    assert [step[0] for step in carrier.done].count("connect") == (2 if len(reads) == 4 else 1)


def test_a_unix_socket() -> None:
    """P-CONN-18."""
    for proxy in (None, "env"):
        carrier = Carrier()
        endpoint = opened(carrier, source("unix:/run/api.sock"), context=None, proxy=proxy, all_proxy="http://p.test")
        assert carrier.done == [("unix", "/run/api.sock")]
        assert endpoint.target == "/v1/responses"
    with pytest.raises(UserError, match=r"no proxy leads to unix:/run/api\.sock"):
        opened(Carrier(), source("unix:/run/api.sock"), context=None, proxy="http://p.test")
    with pytest.raises(TransportError, match=r"^the network failed: no file$"):
        opened(Carrier(unix=OSError("no file")), source("unix:/run/api.sock"), context=None)


def test_a_system_without_unix_sockets() -> None:
    where = source("unix:/run/x.sock")
    means = replace(Means({}, lambda: 0.0, Context, FAILURES), has_unix_sockets=lambda: False)
    route, carrier = Route(where, Network(), means), Carrier()
    with pytest.raises(TransportError, match="Python has no unix sockets on this system"):
        finished(SteppedShell().run(route.open(link(where), carrier)))
    assert carrier.done == []


def test_the_means_of_a_process(tmp_path: Path) -> None:
    """What is read of it is read when it is needed: the tests of the shells replace it."""
    means = Means.of(
        FAILURES, os.environ, logging=logging, os=os, socket=socket, ssl=ssl, sys=sys, time=time, open_file=open
    )
    assert means.variables is os.environ
    assert means.modules is sys.modules
    assert isinstance(means.default_context(), means.context_type)
    assert means.has_unix_sockets() is hasattr(socket, "AF_UNIX")
    assert means.open_file is not None
    with means.open_file(str(tmp_path / "secret"), "wb") as file:
        file.write(b"x")
    if os.name == "posix":
        assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("named", "platform", "number"), [({"TCP_NOTSENT_LOWAT": 7}, "darwin", 7), ({}, "linux", 25), ({}, "win32", None)]
)
def test_the_options_of_a_socket(named: dict[str, int], platform: str, number: int | None) -> None:
    library = SimpleNamespace(IPPROTO_TCP=6, TCP_NODELAY=1, **named)
    limits = [] if number is None else [(6, number, 65536)]
    assert socket_options(library, platform) == [(6, 1, 1), *limits]


def test_a_proxy_is_named_by_what_goes_wrong_there_and_only_there() -> None:
    for carrier, text in (
        (Carrier(connect=OSError("no route")), "the proxy p.test:1 cannot be used: the network failed: no route"),
        (Carrier(send=FAILURES.translated(OwnError("it"))), "the proxy p.test:1 cannot be used: ours: it"),
        (Carrier(answer(407)), "the proxy p.test:1 refused to connect to h.test: HTTP status 407"),
        (Carrier(b""), "the proxy p.test:1 ended the connection instead of answering CONNECT"),
        (Carrier(b"HTTP/1.1 200 OK\r\n\r\n", tls=TlsError("bad")), "TLS failed: bad"),
    ):
        with pytest.raises(TransportError) as caught:
            opened(carrier, proxy="http://p.test:1")
        assert str(caught.value) == text
    for carrier, text in (
        (Carrier(**{"look up": OSError("no such name")}), "the network failed: no such name"),
        (Carrier(connect=OSError("no route")), "the proxy p.test:1080 cannot be used: the network failed: no route"),
        (Carrier(b"HTTP"), "the proxy p.test:1080 refused to connect to h.test: it does not speak SOCKS5"),
        (Carrier(b"\x05\x00", b"\x05\x01"), "the proxy p.test:1080 refused to connect to h.test: it failed"),
    ):
        with pytest.raises(TransportError) as caught:
            opened(carrier, proxy="socks5://p.test")
        assert str(caught.value) == text


def test_a_cancelled_opening_is_cancelled() -> None:
    for proxy in (None, "http://p.test:1"):
        with pytest.raises(Cancelled):
            opened(Carrier(connect=Cancelled()), proxy=proxy)


def checked(**given: Any) -> Network:
    arguments: dict[str, Any] = {"ssl_context": None, "proxy": "env", "proxy_ssl_context": None, **given}
    return checked_network(**arguments, context_type=Context)


def test_the_network_as_the_caller_wants_it() -> None:
    assert checked() == Network(None, "env", None)
    assert checked(ssl_context=OWN, proxy=None) == Network(OWN, None, None)
    for proxy in ("env", "https://p.test"):
        assert checked(proxy=proxy, proxy_ssl_context=OWN) == Network(None, checked_proxy(proxy), OWN)


@pytest.mark.parametrize("name", ["ssl_context", "proxy_ssl_context"])
def test_what_is_no_context_of_a_client(name: str) -> None:
    with pytest.raises(WrongTypeError, match=f"^{name} is of type int: write an ssl.SSLContext, or None"):
        checked(**{name: 5})
    with pytest.raises(UserError, match=f"^{name} is a server's: write ssl.create_default_context"):
        checked(**{name: Context("PROTOCOL_TLS_SERVER")})


@pytest.mark.parametrize("proxy", [None, "http://p.test", "socks5://p.test", "socks5h://p.test"])
def test_tls_settings_for_a_proxy_without_tls_are_refused(proxy: str | None) -> None:
    with pytest.raises(UserError, match=r"^proxy_ssl_context is for TLS to the proxy: write proxy='https://host:port'"):
        checked(proxy=proxy, proxy_ssl_context=OWN)


def test_nothing_shows_the_password() -> None:
    for proxy in ("http://me:hush@p.test", "socks5://me:hush@p.test"):
        assert "hush" not in repr(checked(proxy=proxy))


# --- The key ---------------------------------------------------------------------------------------------------------


def test_a_fresh_key_is_asked_for_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    where = source()
    carrier = Carrier()

    async def refresh() -> str:
        assert carrier.done == []
        return "fresh"

    monkeypatch.setattr(EndpointSource, "key_refresh", staticmethod(refresh))
    endpoint = opened(carrier, where)
    assert ("Authorization", Secret("Bearer fresh")) in endpoint.headers
    assert endpoint is not where.initial


def test_where_the_server_redirected_to_no_key_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EndpointSource, "key_refresh", property(lambda self: pytest.fail("asked")))
    where, elsewhere, carrier = source(), source("http://else.test/v1"), Carrier()
    means = Means({}, lambda: 0.0, lambda: DEFAULT_CONTEXT, FAILURES)
    flow = Route(where, Network(proxy=None), means).open(link(elsewhere), carrier)
    finished(SteppedShell().run(flow))
    assert carrier.done == [("connect", "else.test", 80)]


@pytest.mark.parametrize("raised", [ValueError("secret"), SystemExit(3)])
def test_what_a_key_provider_raises_is_the_openings_failure(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    async def refresh() -> str:
        raise raised

    monkeypatch.setattr(EndpointSource, "key_refresh", staticmethod(refresh))
    carrier = Carrier()
    with pytest.raises(TransportError) as caught:
        opened(carrier)
    assert str(caught.value) == f"the API key provider raised {type(raised).__name__}"
    assert carrier.done == []


def test_a_cancelled_key_provider_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refresh() -> str:
        raise Cancelled

    monkeypatch.setattr(EndpointSource, "key_refresh", staticmethod(refresh))
    with pytest.raises(Cancelled):
        opened(Carrier())


def test_every_step_is_waited_for_as_it_is() -> None:
    """The driver has the deadline of the opening, and cancels it."""
    where = source()
    route = Route(where, Network(proxy=None), Means({}, lambda: 0.0, Context, FAILURES))
    for step in route.open(link(where), Carrier()):
        assert isinstance(step, Wait)
        assert step.unbounded


# --- What failures are called ----------------------------------------------------------------------------------------


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (OwnError("it"), "ours: it"),
        (TlsError("bad certificate"), "TLS failed: bad certificate"),
        (caused(OSError("all"), TlsError("deep")), "TLS failed: deep"),
        (ConnectionResetError(), "the connection was reset"),
        (BrokenPipeError("pipe"), "the connection was reset: pipe"),
        (socket.gaierror("name"), "the network failed: name"),
        (UnicodeError("idna"), "this is no host name: idna"),
        (ValueError("NUL"), "the network cannot take this: NUL"),
        (OverflowError("port"), "the network cannot take this: port"),
        (ExceptionGroup("all", [OSError("one"), OSError("two")]), "every attempt failed: one"),
        (ExceptionGroup("all", [ExceptionGroup("some", [TlsError("deep")])]), "TLS failed: deep"),
        (RuntimeError("what"), "the transport failed: what"),
        (Cancelled(), "the attempt was cancelled"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_a_failure_is_called(raised: BaseException, text: str) -> None:
    error = FAILURES.translated(raised)
    assert str(error) == text
    assert error.__cause__ is raised


def test_what_the_driver_is_told_of_a_loss() -> None:
    own = TransportError("it")
    assert FAILURES.told(None) is None
    assert FAILURES.told(own) is own
    assert str(FAILURES.told(ConnectionResetError())) == "the connection was reset"
