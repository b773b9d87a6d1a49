"""Which requests are for the test server (PROTOCOL.md, "What the test server refuses"): the rules without sockets."""

from __future__ import annotations

import hmac
from typing import Any

import h11
import pytest
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.server import Access, Problem, _access, check_head, check_key, cors_headers, host_of, is_loopback

OWN_HOSTS = [
    *("localhost", "localhost:8080", "LOCALHOST:80", "LocalHost.", "localhost:", "app.localhost:3000", "127.0.0.1"),
    *("127.0.0.1:65535", "127.255.255.254", "127.0.0.1.", "[::1]", "[::1]:1", "[0:0:0:0:0:0:0:1]:443"),
    *("[::ffff:127.0.0.1]:80", "[::FFFF:7F00:1]"),
]
FOREIGN_HOSTS = [
    *("evil.test", "evil.test:8080", "localhost.evil.test", "127.0.0.1.evil.test", "notlocalhost", "xlocalhost.test"),
    *("0.0.0.0", "0", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "128.0.0.1", "10.0.0.1", "[::]", "[::2]"),
    *("[fe80::1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]", "localhost..", "localhost.localhost.test", "_", "127.0.0.1_"),
]
NO_HOSTS = [
    *(
        "",
        " ",
        ".",
        ":",
        ":80",
        "localhost:80:80",
        "localhost:99999",
        "localhost:65536",
        "localhost:abc",
        "localhost:-1",
    ),
    *("localhost: 80", "localhost :80", "localhost, evil.test", "localhost evil.test", "user@localhost", "localhost@e"),
    *("user:pass@localhost:80", "http://localhost", "localhost/", "localhost?x", "localhost#x", "localhos%74", "[::1"),
    *("::1", "[::1]x", "[::1%25lo]", "[::1%lo]", "[fe80::1%eth0]", "[127.0.0.1]", "[v1.x]", "[]", "[localhost]", "*"),
    *(
        "localhost\t",
        "localhost\x00",
        "lokalh\u00f6st",
        "\uff4cocalhost",
        "127.0.0.\u0661",
        "localhost:\u0661",
        "-x",
        "a" * 256,
    ),
]


def asks(*headers: tuple[str, str], access: Access | None = None) -> str | None:
    """The code with which these headers are refused; None if they are not."""
    fields = [(name.encode(), value.encode("utf-8")) for name, value in headers]
    problem = (Access() if access is None else access).refuse(fields)
    if problem is not None:
        assert problem.headers == {"connection": "close"}
        assert {400: "invalid_host", 421: "foreign_host", 403: "foreign_origin"}[problem.status] == problem.code
    return None if problem is None else problem.code


# --- P-SERVER-3: Host ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "host"),
    [
        *((None, host) for host in OWN_HOSTS),
        *(("foreign_host", host) for host in FOREIGN_HOSTS),
        *(("invalid_host", host) for host in NO_HOSTS),
    ],
)
def test_which_hosts_are_its_own(code: str | None, host: str) -> None:
    """P-SERVER-3."""
    assert asks(("host", host)) == code


def test_a_request_of_http_1_0_may_have_no_host() -> None:
    assert asks() is None


@pytest.mark.parametrize(
    ("access", "own", "foreign"),
    [
        (Access(host="Box.local"), ["box.local:1", "BOX.LOCAL.", "localhost"], ["box", "10.0.0.1", "evil.test"]),
        (Access(host="0.0.0.0", remote=True), ["0.0.0.0:1", "192.168.1.5", "[fe80::1]"], ["evil.test", "127.1"]),
        (Access(host="10.0.0.1"), ["10.0.0.1"], ["10.0.0.2"]),
        (Access(host=None), ["anything", "evil.test:80", "[::2]"], []),
        (Access(allowed_hosts=["App.Test", "[FD00::1]", "fd00::2"]), ["app.test:9", "[fd00::1]", "[fd00:0::2]"], ["x"]),
        (Access(allowed_hosts=("*",)), ["evil.test"], []),
    ],
)
def test_which_hosts_are_its_own_by_its_options(access: Access, own: list[str], foreign: list[str]) -> None:
    """P-SERVER-3."""
    assert [asks(("host", host), access=access) for host in own] == [None] * len(own)
    assert [asks(("host", host), access=access) for host in foreign] == ["foreign_host"] * len(foreign)
    assert asks(("host", "user@localhost"), access=access) == "invalid_host"


def test_a_refusal_says_which_host_and_what_to_write() -> None:
    problem = Access().refuse([(b"host", b"%b.test:1" % (b"a" * 200))])
    assert problem is not None
    assert "allowed_hosts" in problem.message
    assert len(problem.message) < 300


# --- P-SERVER-4: Origin ----------------------------------------------------------------------------------------------

OWN_ORIGINS = [
    "http://localhost",
    "http://localhost:3000",
    "https://127.0.0.1:1",
    "http://[::1]:80",
    "HTTP://LOCALHOST",
]
FOREIGN_ORIGINS = [
    *("https://evil.example", "http://localhost.evil.example", "http://evil.example:8080", "null", "file://", "", " "),
    *("http://localhost@evil.example", "http://evil.example#localhost", "http://evil.example/localhost", "localhost"),
    *("http://localhost http://evil.example", "http://localhost, http://evil.example", "http://localhost:99999"),
    *("chrome-extension://abcdefghijklmnop", "ws://localhost", "file://localhost", "http:localhost", "http://10.0.0.1"),
    *("http://user@localhost", "http://localhost/", "http://0.0.0.0", "app://localhost", "://localhost", "http://"),
]


@pytest.mark.parametrize(
    ("code", "origin"),
    [*((None, origin) for origin in OWN_ORIGINS), *(("foreign_origin", origin) for origin in FOREIGN_ORIGINS)],
)
def test_which_origins_may_use_it(code: str | None, origin: str) -> None:
    """P-SERVER-4."""
    assert asks(("host", "localhost"), ("origin", origin)) == code


@pytest.mark.parametrize(
    ("access", "host", "may", "may_not"),
    [
        (
            Access(allowed_origins=["https://App.test:443", "http://b.test:81", "null"]),
            "localhost",
            ["https://app.test", "HTTPS://APP.TEST", "http://b.test:81", "null"],
            ["http://app.test", "https://app.test:444", "http://b.test", "https://x.app.test", "file://"],
        ),
        (Access(allowed_origins=["*"]), "localhost", ["https://evil.test", "null", "x"], []),
        (Access(allowed_origins=["file://", "app://x"]), "localhost", ["file://", "app://x"], ["null", "app://y"]),
        (Access(allowed_hosts=["a.test"]), "a.test", ["http://a.test:1"], ["http://b.test"]),
        (Access(allowed_hosts=["*"]), "evil.test", [], ["http://evil.test"]),
        (Access(host=None), "evil.test", ["http://localhost"], ["http://evil.test"]),
        (Access(host="0.0.0.0", remote=True), "10.0.0.1:1", ["http://10.0.0.1:2"], ["http://10.0.0.2:1"]),
        (
            Access(host="box.test", remote=True),
            "box.test",
            ["http://box.test"],
            ["http://evil.test", "http://10.0.0.1"],
        ),
    ],
)
def test_which_origins_may_use_it_by_its_options(access: Access, host: str, may: list[str], may_not: list[str]) -> None:
    """P-SERVER-4."""
    for origin in may:
        assert asks(("host", host), ("origin", origin), access=access) is None, origin
    for origin in may_not:
        assert asks(("host", host), ("origin", origin), access=access) == "foreign_origin", origin


@pytest.mark.parametrize(
    ("site", "code"),
    [("cross-site", "foreign_origin"), (" Cross-Site", "foreign_origin"), ("same-site", None), ("none", None)],
)
def test_what_a_page_of_another_site_loads_without_cors_is_refused(site: str, code: str | None) -> None:
    assert asks(("host", "localhost"), ("sec-fetch-site", site)) == code
    assert asks(("sec-fetch-site", site), access=Access(allowed_origins=["*"])) is None
    assert asks(("sec-fetch-site", site), ("origin", "http://localhost:1")) is None


def test_whether_an_origin_may_use_it_can_be_asked_by_what_answers_preflights() -> None:
    assert Access().allows_origin("http://localhost:3000")
    assert not Access().allows_origin("https://evil.test")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"allowed_hosts": "localhost"}, WrongTypeError, "allowed_hosts is 'localhost', of type str: write a list"),
        ({"allowed_origins": 5}, WrongTypeError, "allowed_origins is 5, of type int: write a list"),
        ({"allowed_hosts": ["http://x"]}, UserError, "allowed_hosts has 'http://x': write a name or an address"),
        ({"allowed_hosts": ["x:80"]}, UserError, "allowed_hosts has 'x:80'"),
        ({"allowed_hosts": ["[::1]:80"]}, UserError, r"allowed_hosts has '\[::1\]:80'"),
        ({"allowed_hosts": [None]}, UserError, "allowed_hosts has None"),
        ({"allowed_hosts": ["[::1"]}, UserError, "allowed_hosts has"),
        (
            {"allowed_origins": ["app.test"]},
            UserError,
            "allowed_origins has 'app.test': write it like 'https://app.test",
        ),
        ({"allowed_origins": ["https://app.test/"]}, UserError, "allowed_origins has 'https://app.test/'"),
        ({"allowed_origins": [b"null"]}, UserError, "allowed_origins has b'null'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Access(**options)


def test_an_address_is_of_this_machine_or_not() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0", "")] == [False] * 5
    assert host_of("[::FFFF:10.0.0.1]:80") == "10.0.0.1"


# --- P-SERVER-2: heads that h11 can read -----------------------------------------------------------------------------


def head_problem(raw: bytes) -> Problem | None:
    http = h11.Connection(h11.SERVER)
    http.receive_data(raw)
    request = http.next_event()
    assert isinstance(request, h11.Request), request
    return check_head(request, raw)


GOOD = b"POST /v1/responses HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (GOOD + b"\r\n", None, None),
        (GOOD + b"content-length: 9\r\n\r\na\n b\n\tc\r\n ", None, None),
        (GOOD.replace(b"\r\n", b"\n") + b"content-length: 9\n\na\n b\n\tcd", None, None),
        (GOOD.replace(b"1.1", b"1.0") + b"\r\n", None, None),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", None, None),
        (b"GET * HTTP/1.1\r\nhost: x\r\n\r\n", 400, "invalid_target"),
        (GOOD.replace(b"/v1", b"http://x/v1") + b"\r\n", 400, "invalid_target"),
        (GOOD.replace(b"/v1/responses", b"x:443").replace(b"POST", b"CONNECT") + b"\r\n", 400, "invalid_target"),
        (GOOD.replace(b"/v1", b"v1") + b"\r\n", 400, "invalid_target"),
        (GOOD.replace(b"1.1", b"2.0") + b"\r\n", 505, "unsupported_version"),
        (GOOD.replace(b"1.1", b"0.9") + b"\r\n", 505, "unsupported_version"),
        (GOOD + b"x: a\r\n b\r\n\r\n", 400, "invalid_header"),
        (GOOD + b"x: a\n\tb\r\n\r\n", 400, "invalid_header"),
        (GOOD + b"Authorization: a\r\nauthorization: a\r\n\r\n", 400, "repeated_header"),
        (GOOD + b"Api-Key: a\r\nx: y\r\napi-key: b\r\n\r\n", 400, "repeated_header"),
        (GOOD + b"origin: null\r\norigin: http://localhost\r\n\r\n", 400, "repeated_header"),
        (GOOD + b"sec-websocket-version: 13\r\nsec-websocket-version: 8\r\n\r\n", 400, "repeated_header"),
        (GOOD + b"x: a\r\nx: b\r\ncookie: a\r\ncookie: b\r\n\r\n", None, None),
        (GOOD + b"transfer-encoding: chunked\r\n\r\n", None, None),
        (GOOD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n", 400, "invalid_framing"),
        (GOOD.replace(b"1.1", b"1.0") + b"transfer-encoding: chunked\r\n\r\n", 400, "invalid_framing"),
        (GOOD + b"upgrade: websocket\r\ncontent-length: 3\r\n\r\n", 400, "invalid_upgrade"),
        (GOOD + b"upgrade: WebSocket \r\ntransfer-encoding: chunked\r\n\r\n", 400, "invalid_upgrade"),
        (GOOD + b"upgrade: websocket\r\ncontent-length: 0\r\n\r\n", None, None),
        (GOOD + b"upgrade: h2c\r\ncontent-length: 3\r\n\r\n", None, None),
    ],
)
def test_which_heads_are_refused(raw: bytes, status: int | None, code: str | None) -> None:
    problem = head_problem(raw)
    assert (problem and problem.status, problem and problem.code) == (status, code)


def test_a_head_whose_end_is_not_in_the_bytes_is_searched_to_their_end() -> None:
    request = h11.Request(method="GET", target="/", headers=[("host", "x")])
    problem = check_head(request, b"GET / HTTP/1.1\r\nx: y\r\n z")
    assert problem is not None
    assert problem.code == "invalid_header"


# --- P-SERVER-5: the key ---------------------------------------------------------------------------------------------

RIGHT = b"sk-right"


@pytest.mark.parametrize(
    ("headers", "right"),
    [
        ([(b"authorization", b"Bearer sk-right")], True),
        ([(b"authorization", b"bearer  sk-right ")], True),
        ([(b"api-key", RIGHT)], True),
        ([(b"authorization", b"Bearer sk-right"), (b"api-key", RIGHT)], True),
        ([(b"authorization", b"Bearer sk-right"), (b"api-key", b"x")], False),
        ([(b"authorization", b"Bearer x"), (b"api-key", RIGHT)], False),
        ([], False),
        ([(b"x-api-key", RIGHT)], False),
        ([(b"authorization", RIGHT)], False),
        ([(b"authorization", b"Basic sk-right")], False),
        ([(b"authorization", b"Bearer")], False),
        ([(b"authorization", b"Bearer sk-righ")], False),
        ([(b"authorization", b"Bearer sk-right, Bearer sk-right")], False),
        ([(b"authorization", b"Bearer sk-righ\xe9")], False),
        ([(b"api-key", b"\xff\xfe")], False),
        ([(b"api-key", b"")], False),
    ],
)
def test_which_keys_are_right(headers: list[tuple[bytes, bytes]], right: bool) -> None:
    assert check_key(headers, None) is None
    problem = check_key(headers, "sk-right")
    assert (problem is None) is right
    if problem is not None:
        assert (problem.status, problem.code, problem.headers) == (
            401,
            "invalid_api_key",
            {"www-authenticate": "Bearer"},
        )
        assert "sk-" not in problem.message


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noting(given: bytes, right: bytes) -> bool:
        compared.append(given)
        return compare(given, right)

    monkeypatch.setattr(_access.hmac, "compare_digest", noting)
    assert check_key([(b"authorization", b"Bearer x"), (b"api-key", b"\xe9")], "sk-right") is not None
    assert compared == [b"x", b"\xe9"]


# --- CORS ------------------------------------------------------------------------------------------------------------

APP = "https://app.test"


@pytest.mark.parametrize(
    ("access", "origin", "allowed"),
    [
        (Access(), None, False),
        (Access(), "https://evil.example", False),
        (Access(), "null", False),
        (Access(), "http://localhost:3000", True),
        (Access(allowed_origins=[APP]), APP, True),
        (Access(allowed_origins=[APP]), f"{APP}:8443", False),
        (Access(allowed_origins=["*"]), "https://any.example", True),
        (Access(allowed_origins=["null"]), "null", True),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
def test_answers_may_be_read_by_the_pages_that_may_ask(
    access: Access, origin: str | None, allowed: bool, method: str
) -> None:
    """P-SERVER-8."""
    asks = {"host": "localhost:1", "access-control-request-method": "POST"}
    found = cors_headers(access, method, asks if origin is None else {**asks, "origin": origin})
    assert found.get("access-control-allow-origin") == (origin if allowed else None)
    assert ("access-control-allow-methods" in found) == (allowed and method == "OPTIONS")
    assert bool(found) == allowed


def test_a_page_of_a_foreign_host_may_read_nothing() -> None:
    """P-SERVER-8."""
    assert cors_headers(Access(allowed_origins=[APP]), "GET", {"host": "evil.example", "origin": APP}) == {}


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("authorization, x-stainless-os", "authorization, x-stainless-os"),
        ("", None),
        ("a,,b", None),
        ("a b", None),
        ("a\r\nset-cookie: x", None),
        ("é", None),
    ],
)
def test_the_headers_that_a_page_wants_to_send_are_allowed_if_they_are_names(wanted: str, given: str | None) -> None:
    asks = {"origin": APP, "access-control-request-method": "GET", "access-control-request-headers": wanted}
    found = cors_headers(Access(allowed_origins=[APP]), "OPTIONS", asks)
    assert found.get("access-control-allow-headers") == given
    assert "access-control-allow-private-network" not in found
    private = {**asks, "access-control-request-private-network": "true"}
    found = cors_headers(Access(allowed_origins=[APP]), "OPTIONS", private)
    assert found["access-control-allow-private-network"] == "true"
