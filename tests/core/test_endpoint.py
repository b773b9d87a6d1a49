"""The doors: whatever a caller gives as URL, key, headers, query or proxy is used, or refused at once with a reason."""

from __future__ import annotations

import contextlib
import math
import pickle
import socket
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.tiers import examples
from turnwire.sansio.agents.model import options_for_model
from turnwire.sansio.checks import Choice, Named
from turnwire.sansio.connection import ConnectionOptions
from turnwire.sansio.connection._tables import OPTION_RULES
from turnwire.sansio.endpoint import PUBLIC_BASE_URL, Endpoint, endpoint, endpoint_from_client
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.proxy import Proxy, checked_proxy, choose_proxy
from turnwire.sansio.replay import RecoveryPolicy
from turnwire.sansio.secret import Secret, without_frames
from turnwire.sansio.session import EndpointSource, SessionOptions, options_from_client
from turnwire.sansio.timeouts import Timeouts, timeouts_from
from turnwire.sansio.websocket import ClientHandshake

THOROUGH = settings(deadline=None, derandomize=True, max_examples=examples(400))
KEY = "sk-hidden-0123456789"
CONTEXT = ssl.create_default_context()


def source(environment: dict[str, str] | None = None, **given: Any) -> EndpointSource:
    arguments: dict[str, Any] = dict.fromkeys(("base_url", "api_key", "client", "headers", "query"))
    return EndpointSource(**{**arguments, **given}, environment=environment or {})


def usable(place: Endpoint) -> None:
    """Nothing below finds anything in it that it cannot take."""
    with contextlib.suppress(socket.gaierror):  # No address, or an unknown zone: that is for the network to say.
        socket.getaddrinfo(place.host, place.port, flags=socket.AI_NUMERICHOST)
    CONTEXT.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=place.host)
    request = ClientHandshake(place.authority, place.target, place.headers).request()
    assert request.count(b"\r\n\r\n") == 1
    assert request.count(b"\r\n") == 7 + len(place.headers)
    assert Proxy("p", 1, False).tunnel(place).request().startswith(b"CONNECT ")
    assert Endpoint(place.url, place.headers) == place
    assert repr(place).isprintable()


# --- URLs ------------------------------------------------------------------------------------------------------------

NO_PLACES = [
    "http://a%00b",
    "http://%0d%0aevil/",
    "http://a%2Fb/v1",
    "http://a%40b",
    "http://a%20b",
    "http://%ff",
    "http://%3A%3A1/",
    "http://[::1%25]/",
    "http://[::1%25e/0]/",
    "http://[::g]/",
    "http://[v1.a]/",
    "http://a..b",
    "http://.a",
    "http://a\\b",
    "http://a{b}",
    "http://" + "a" * 64,
    "http://" + "a." * 127,
    "http://\ud800",
    "http://h/\udfff",
    "http://h/?q=\ud83d",
    "http://\u2026",
    "http://a\uff0fb",
    "http://%EF%BC%8Fa",
    "http://\N{ZERO WIDTH SPACE}",
    "http://h:-1",
    "http://h:65536",
    "http://h:+80",
    "http://h:\u0663",
    "http://h:" + "9" * 5000,
    "http://h:00000",
    "https://user@h",
    "https://:@h",
    "https://h\t/",
    " https://h",
    "https://h ",
    "https://h\n",
    "https://h/\x85".replace("\x85", "\x7f"),
    "http:/h",
    "http:h",
    "http:\\\\h",
    "mailto:me@h",
    "h:8080/v1",
    "127.0.0.1:8080",
    "\ud800",
    "",
]


@pytest.mark.parametrize("url", NO_PLACES)
def test_a_url_that_nobody_can_connect_to_is_refused_before_anybody_tries(url: str):
    """P-CONN-1."""
    for make in (endpoint, Endpoint, lambda base: source(base_url=base or " ", api_key="k")):
        with pytest.raises(UserError, match=r"^the base URL.*: (write|give|leave)") as refused:
            make(url)
        assert refused.value.__cause__ is None
        assert refused.value.__context__ is None


@pytest.mark.parametrize("wrong", [5, True, b"https://h", ["https://h"], {"url": "x"}, object(), 1.5])
def test_a_url_is_text_or_a_url_object(wrong: Any):
    with pytest.raises(WrongTypeError, match=f"the base URL is of type {type(wrong).__name__}: write it like"):
        source(base_url=wrong, api_key="k")


def test_a_url_object_of_another_library_is_read():
    class HttpUrl:
        def __str__(self) -> str:
            return "https://H.test/v1"

    assert endpoint(HttpUrl()).url == "wss://h.test/v1/responses"
    client = openai.AsyncOpenAI(api_key="k", base_url="https://H.test:443/v1/")
    assert endpoint_from_client(client).url == "wss://h.test/v1/responses"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://%61.test", "a.test"),
        ("http://a_b-c.test.", "a_b-c.test."),
        ("http://-a-", "-a-"),
        ("http://[0:0::0001]", "::1"),
        ("http://[FE80::1%25En0]", "fe80::1%En0"),
        ("http://[fe80::1%en0]", "fe80::1%en0"),
        ("http://127.1", "127.1"),
        ("http://B\N{LATIN SMALL LETTER U WITH DIAERESIS}.test", "xn--b-xga.test".replace("xga", "eha")),
        ("http://a\N{IDEOGRAPHIC FULL STOP}test", "a.test"),
        ("http://" + "a" * 63, "a" * 63),
        ("http://h:", "h"),
    ],
)
def test_a_host_is_what_is_left_when_it_is_decoded(url: str, host: str):
    place = endpoint(url)
    assert place.host == host
    usable(place)


SAME = [
    "https://api.openai.com/v1",
    "https://api.openai.com/v1/",
    "https://API.OpenAI.com/v1",
    "HTTPS://api.openai.com:443/v1//",
    "wss://api.openai.com/v1/responses",
    "https://api.openai.com/v1/responses/",
    "https://%61pi.openai.com/v1",
]


@pytest.mark.parametrize("url", SAME)
def test_one_place_has_one_identity_and_one_check_of_the_key_however_it_is_spelled(url: str):
    given = source(base_url=url, api_key=KEY)
    assert given.identity == source(api_key=KEY).identity
    assert given.initial == endpoint(PUBLIC_BASE_URL, api_key=KEY)
    for environment in ({}, {"OPENAI_API_KEY": ""}):
        with pytest.raises(UserError, match="there is no API key: pass api_key="):
            source(environment, base_url=url)
        with pytest.raises(UserError, match="there is no API key"):
            source({**environment, "OPENAI_BASE_URL": url}, headers={"X-Team": "red"})
    assert source({"OPENAI_API_KEY": KEY}, base_url=url).identity == given.identity
    assert source(base_url=url, headers={"authorization": f"Bearer {KEY}"}).initial.host == "api.openai.com"


@pytest.mark.parametrize(
    "url", ["http://api.openai.com/other", "https://eu.api.openai.com/v1", "https://api.openai.com."]
)
def test_the_key_is_missed_everywhere_at_the_public_service(url: str):
    with pytest.raises(UserError, match="there is no API key"):
        source(base_url=url)


@pytest.mark.parametrize(
    "url", ["https://api.openai.com.evil.test", "https://myapi.openai.com", "http://localhost/v1/"]
)
def test_other_servers_may_need_no_key(url: str):
    assert source(base_url=url).initial.headers == endpoint(url).headers


odd = st.text(st.characters() | st.sampled_from("%/\\:@[]?#.\0\r\n\t \ud800\udcaf0a-_"), max_size=12)
escapes = st.integers(0, 255).map("%{:02x}".format)
hosts = st.lists(odd | escapes | st.sampled_from(["h", "::1", "xn--", "%25", "[", "]", "a.b"]), max_size=4).map("".join)


@THOROUGH
@given(
    st.one_of(
        st.text(max_size=30),
        st.builds("{}://{}:{}/{}?{}".format, st.sampled_from(["http", "WSS"]), hosts, st.integers(-1, 99999), odd, odd),
        st.builds("https://{}/{}".format, hosts, odd),
        st.builds("ws://[{}]".format, hosts),
    )
)
@example("http://[::1]%2f")
@example("https://[fe80::1%25%00]/")
def test_any_text_is_a_place_or_a_user_error(url: str):
    try:
        place = endpoint(url)
    except UserError:
        pass
    else:
        usable(place)


@THOROUGH
@given(
    st.dictionaries(
        odd | st.sampled_from(["X-A", "x-a", "B"]), odd | st.none() | st.integers() | st.floats() | st.binary()
    ),
    st.dictionaries(odd, odd | st.lists(odd) | st.booleans() | st.none() | st.binary() | st.floats()),
    odd | st.none() | st.binary(),
)
def test_any_headers_query_and_key_are_sent_or_a_user_error(headers: Any, query: Any, key: Any):
    """P-CONN-15."""
    try:
        place = endpoint("https://h.test/v1", api_key=key, headers=headers, query=query)
    except UserError:
        pass
    else:
        usable(place)


@THOROUGH
@given(
    st.one_of(
        odd,
        st.builds("{}://{}:{}@{}".format, st.sampled_from(["http", "https", "socks5", "socks5h"]), odd, odd, hosts),
        st.builds("http://{}:{}".format, hosts, st.integers(-1, 70000)),
    ),
    st.booleans(),
)
def test_any_text_is_a_proxy_or_a_user_error(url: str, named: bool):
    place = Endpoint("wss://h.test/")
    try:
        proxy = choose_proxy(url, place, {}) if named else choose_proxy("env", place, {"HTTPS_PROXY": url})
    except UserError:
        return
    if proxy is not None:
        usable(Endpoint(f"ws://[{proxy.host}]" if ":" in proxy.host else f"ws://{proxy.host}:{proxy.port}"))
        begun = proxy.tunnel(place).request()
        assert begun.count(b"\r\n\r\n") == 1 if isinstance(proxy, Proxy) else begun[0] == 5


# --- Keys, headers, queries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [KEY.encode(), b"", 0, 5, ["k"], lambda: KEY, {"key": KEY}])
def test_a_key_is_text(wrong: Any):
    for make in (lambda key: source(api_key=key), lambda key: endpoint(api_key=key), client_with_key):
        with pytest.raises(WrongTypeError, match=f"api_key is of type {type(wrong).__name__}: write text") as refused:
            make(wrong)
        assert KEY not in str(refused.value)
        assert ("give client=AsyncOpenAI" in str(refused.value)) is callable(wrong)


def client_with_key(key: Any) -> Endpoint:
    return endpoint_from_client(SimpleNamespace(base_url="https://h"), api_key=key)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\0", f" {KEY} ", f"\u201c{KEY}\u201d", f"{KEY}\ud800", "  "])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str):
    """P-CONN-15."""
    for environment, arguments in (({}, {"api_key": key}), ({"OPENAI_API_KEY": key}, {})):
        with pytest.raises(UserError, match="the value of header 'Authorization'") as refused:
            source(environment, **arguments)
        assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("headers", "error", "text"),
    [
        ({5: "x"}, WrongTypeError, "a name in headers is of type int: write text"),
        ({None: "x"}, WrongTypeError, "a name in headers is None"),
        ({b"X": "x"}, WrongTypeError, "a name in headers is of type bytes"),
        ({"X": True}, WrongTypeError, "the value of header 'X' is of type bool"),
        ({"X": b"hidden"}, WrongTypeError, "of type bytes: write text"),
        ({"X": "hid\ud800den"}, UserError, "beyond Latin-1 at position 3"),
        ({"X": "\x7fhidden"}, UserError, "holds U\\+007F at position 0"),
        ({"X: hidden": ""}, UserError, "'X'… is not a header name"),
        ({"\u00dcber": "x"}, UserError, "''… is not a header name"),
        ([("X", "hidden")], WrongTypeError, "headers must be a mapping of names to values, not of type list"),
        ("X: hidden", WrongTypeError, "headers must be a mapping"),
        ({"Sec-WebSocket-Extensions": "hidden"}, UserError, "the WebSocket handshake's own"),
        pytest.param({"X": 10**5000}, UserError, "header 'X' is a number of more digits than Python writes", id="long"),
    ],
)
def test_headers_that_cannot_be_sent(headers: Any, error: type[UserError], text: str):
    """P-CONN-15."""
    with pytest.raises(error, match=text) as refused:
        source(base_url="http://h", headers=headers)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "error", "text"),
    [
        ({"q": object()}, WrongTypeError, "the query's 'q' is of type object"),
        ({"q": b"hidden"}, WrongTypeError, "of type bytes: write text, a number"),
        ({"q": ["x", {}]}, WrongTypeError, "of type dict"),
        ({5: "x"}, WrongTypeError, "a name in query is of type int"),
        ({"q": "\ud800hidden"}, UserError, "the value of 'q' in the query holds half a surrogate pair"),
        ({"\udfff": "x"}, UserError, "a name in the query holds half a surrogate pair"),
        ([("q", "hidden")], WrongTypeError, "query must be a mapping"),
        pytest.param({"q": 10**5000}, UserError, "the query's 'q' is a number of more digits than", id="long"),
    ],
)
def test_queries_that_cannot_be_sent(query: Any, error: type[UserError], text: str):
    with pytest.raises(error, match=text) as refused:
        source(base_url="http://h", query=query)
    assert "hidden" not in str(refused.value)


# --- Clients ---------------------------------------------------------------------------------------------------------


class Raising:
    base_url = "https://h"

    @property
    def auth_headers(self) -> dict[str, str]:
        raise RuntimeError(KEY)


@pytest.mark.parametrize(
    ("client", "error", "text"),
    [
        (5, WrongTypeError, "client is of type int, without a base_url: give an openai.AsyncOpenAI"),
        ("https://h", WrongTypeError, "client is of type str, without a base_url"),
        (
            openai.AsyncOpenAI,
            WrongTypeError,
            r"client is the class AsyncOpenAI: give an object of it, AsyncOpenAI\(…\)",
        ),
        (openai.OpenAI(api_key=KEY), WrongTypeError, "client is of type OpenAI, which is synchronous"),
        (Raising(), UserError, "the client's auth_headers cannot be read: it raised RuntimeError"),
        (SimpleNamespace(base_url="https://h%00"), UserError, "the base URL's host is not valid"),
        (SimpleNamespace(base_url="https://h", default_headers=5), WrongTypeError, "headers must be a mapping"),
    ],
)
def test_a_client_that_cannot_be_used(client: Any, error: type[UserError], text: str):
    with pytest.raises(error, match=text) as refused:
        source(client=client)
    assert "hidden" not in str(refused.value)


def test_a_client_that_is_true_to_nobody_is_a_client_still():
    client = SimpleNamespace(base_url="https://h/v1", auth_headers=None, default_headers=None)
    assert source(client=client).initial.url == "wss://h/v1/responses"


# --- Proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [5, True, False, 0, b"http://p:1", ["http://p:1"], {"https": "http://p:1"}])
def test_a_proxy_is_text_or_none(wrong: Any):
    with pytest.raises(WrongTypeError, match=f"proxy is of type {type(wrong).__name__}: write http://host:port"):
        checked_proxy(wrong)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("socks4://p:1", "proxy has the scheme 'socks4': write http://host:port"),
        ("socks5://:pw@p:1", "the SOCKS proxy's password comes without a user name"),
        (f"socks5://{'u' * 256}@p:1", "the SOCKS proxy's user name has 256 bytes: SOCKS5 takes at most 255"),
        ("http://p%00:1", "proxy's host is not valid"),
        ("http://p:0", "proxy's port is 0"),
        ("http://p:1\n", "proxy holds a space or a control character"),
        ("http://\ud800@p:1", "proxy holds half a surrogate pair"),
        ("http://a..b:1", "proxy's host is not valid"),
        ("ENV", "proxy has no scheme"),
    ],
)
def test_a_proxy_that_cannot_be_used(url: str, text: str):
    with pytest.raises(UserError, match=f"^{text}"):
        checked_proxy(url)


def test_a_proxy_that_was_checked_is_chosen_as_it_is():
    proxy = checked_proxy("http://u:p@h:1")
    assert proxy == Proxy("h", 1, False, "Basic dTpw")
    assert isinstance(proxy, Proxy)
    assert choose_proxy(proxy, Endpoint("ws://x"), {}) is proxy
    assert checked_proxy(proxy) is proxy
    assert checked_proxy(None) is None
    assert checked_proxy("env") == "env"


# --- Options ---------------------------------------------------------------------------------------------------------

BEYOND_TEXT = pytest.param(10**5000, id="more digits than Python writes")
NUMBERS = {name: rule for name, rule in OPTION_RULES.items() if hasattr(rule, "least")}


def test_every_option_has_a_rule_and_every_default_keeps_to_it():
    assert set(OPTION_RULES) == set(SessionOptions.__struct_fields__)
    assert SessionOptions() == SessionOptions()


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", [math.nan, -1, -0.5, -math.inf, 10**13, 10**400, -(10**400), BEYOND_TEXT, 1e300])
def test_a_number_out_of_its_range_is_refused(name: str, wrong: Any):
    with pytest.raises(UserError, match=rf"^SessionOptions\.{name} is .*: write a (whole )?number") as refused:
        SessionOptions(**{name: wrong})
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_an_upper_bound_which_the_message_says(name: str):
    """P-DEFAULT-10"""
    most = NUMBERS[name].most  # pyright: ignore[reportAttributeAccessIssue]
    assert getattr(SessionOptions(**{name: most}), name) == most
    with pytest.raises(
        UserError, match=rf"^SessionOptions\.{name} is {most + 1}: write a .*(0|1) to {most}|at most {most}"
    ):
        SessionOptions(**{name: most + 1})


@pytest.mark.parametrize("name", ["connections", "max_in_flight"])
def test_a_session_has_no_more_connections_and_turns_than_a_machine_has_ports(name: str):
    with pytest.raises(UserError, match=rf"^SessionOptions\.{name} is 1000000000: write a whole number, 1 to 256$"):
        SessionOptions(**{name: 10**9})


TOO_MANY_SECONDS = (10**9 + 1, 1e10, 1e300, 10**400, BEYOND_TEXT)


@pytest.mark.parametrize("wrong", TOO_MANY_SECONDS)
def test_seconds_have_an_upper_bound_wherever_they_are_written(wrong: Any):
    for name in ("initial_delay", "max_delay", "max_retry_after", "budget"):
        with pytest.raises(
            UserError, match=rf"^RecoveryPolicy\.{name} is .*: write a number of seconds, 0 to 1000000000"
        ):
            RecoveryPolicy(**{name: wrong})
    for name in Timeouts.__struct_fields__:
        with pytest.raises(UserError, match=rf"^timeout '{name}' is .*: write a number of seconds, 0 to 1000000000"):
            Timeouts(**{name: wrong})
    with pytest.raises(UserError, match=r"^timeout is .*: write a number of seconds, 0 to 1000000000, or None"):
        timeouts_from(wrong)


@pytest.mark.parametrize("wrong", [10**9, 10**400, BEYOND_TEXT])
def test_repetitions_have_an_upper_bound(wrong: Any):
    with pytest.raises(UserError, match=r"^RecoveryPolicy\.attempts is .*: write a whole number, 0 to 1000000$"):
        RecoveryPolicy(attempts=wrong)


OF_OTHER_TYPES = [
    (name, wrong)
    for name, rule in OPTION_RULES.items()
    for wrong in ("5", b"5", [], {}, object(), 1j, SessionOptions)
    if not (isinstance(rule, Choice) and type(wrong) in map(type, rule.choices))
]


@pytest.mark.parametrize(("name", "wrong"), OF_OTHER_TYPES)
def test_a_value_of_another_type_is_refused(name: str, wrong: Any):
    if isinstance(wrong, str) and isinstance(OPTION_RULES[name], Choice | Named):
        with pytest.raises(UserError, match=rf"^SessionOptions\.{name} is '5': write one of"):
            SessionOptions(**{name: wrong})
        return
    with pytest.raises(WrongTypeError, match=rf"^SessionOptions\.{name} is .*, of type {type(wrong).__name__}: write"):
        SessionOptions(**{name: wrong})


@pytest.mark.parametrize("wrong", ["5", "HTTP", ""])
def test_a_transport_that_there_is_not_is_refused(wrong: Any):
    with pytest.raises(UserError, match=rf"^SessionOptions\.transport is '{wrong}': write one of 'auto', 'websocket'"):
        SessionOptions(transport=wrong)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", [True, False])
def test_a_bool_is_no_number(name: str, wrong: Any):
    with pytest.raises(WrongTypeError, match=f"{name} is {wrong}, of type bool: write"):
        SessionOptions(**{name: wrong})


ZERO_MEANS_SOMETHING = {"close_timeout", "high_water", "max_named_lanes"}


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_is_allowed_where_it_means_something(name: str):
    if name in ZERO_MEANS_SOMETHING:
        assert getattr(SessionOptions(**{name: 0}), name) == 0
    else:
        with pytest.raises(UserError, match=f"{name} is 0: write .*(above 0|1 to)"):
            SessionOptions(**{name: 0})


@pytest.mark.parametrize("name", NUMBERS)
def test_none_and_infinity_are_no_limit_where_there_may_be_none(name: str):
    rule: Any = NUMBERS[name]
    for unlimited in (None, math.inf):
        if rule.optional and not (rule.whole and unlimited == math.inf):
            assert getattr(SessionOptions(**{name: unlimited}), name) is None
        else:
            with pytest.raises(UserError, match=rf"{name} is (None|inf).*: write {rule}"):
                SessionOptions(**{name: unlimited})


def test_options_of_a_connection_are_checked_as_those_of_a_session():
    with pytest.raises(UserError, match=r"^ConnectionOptions\.ping_interval is nan"):
        ConnectionOptions(ping_interval=math.nan)


@pytest.mark.parametrize("wrong", [{}, [], 5, "x", False, ConnectionOptions(), SessionOptions, {"max_age": 1}])
def test_options_are_session_options(wrong: Any):
    with pytest.raises(WrongTypeError, match=r"^options is .*: write SessionOptions\(…\), or None"):
        options_from_client(None, wrong)


@pytest.mark.parametrize("wrong", [[], 5, "ping_interval=5", {"ping_interval"}])
def test_a_models_websocket_options_are_a_mapping_or_session_options(wrong: Any):
    with pytest.raises(WrongTypeError, match=f"websocket_options is of type {type(wrong).__name__}: write a dict of"):
        options_for_model(wrong)
    with pytest.raises(UserError, match="max_message_size is 0"):
        options_for_model({"max_size": 0})


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


def test_a_value_that_cannot_be_shown_is_refused_still():
    wrong: Any = Unshowable()
    with pytest.raises(WrongTypeError, match="max_age is an object of type Unshowable, of type Unshowable: write"):
        SessionOptions(max_age=wrong)


@pytest.mark.parametrize("wrong", [-1, math.nan, 10**400])
def test_a_deadline_out_of_range_is_refused(wrong: Any):
    for name in Timeouts.__struct_fields__:
        with pytest.raises(
            UserError, match=f"timeout '{name}' is .*: write a number of seconds, 0 to 1000000000, or None"
        ):
            Timeouts(**{name: wrong})
        assert getattr(Timeouts(**{name: math.inf}), name) is None


# --- Secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_shows_nothing_and_equals_what_it_holds():
    secret = Secret(KEY)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), repr({"k": secret})):
        assert "hidden" not in shown
    assert secret == KEY
    assert secret == Secret(KEY)
    assert Secret(secret) == secret
    assert secret != "other"
    assert {secret: 1}[KEY] == 1  # pyright: ignore[reportArgumentType]
    assert secret.reveal() == KEY
    assert not Secret("")
    assert pickle.loads(pickle.dumps(secret)) == secret
    assert not hasattr(secret, "__dict__")


def test_an_endpoint_shows_no_values():
    place = endpoint("https://h/v1?token=hidden", api_key="hidden", headers={"X-Key": "hidden"})
    for shown in (repr(place), repr(place.headers), repr(place.identity), repr(dict(place.headers))):
        assert "hidden" not in shown
    assert place.headers[0] == ("Authorization", "Bearer hidden")


def test_frames_are_taken_from_an_error_and_what_led_to_it():
    def fail(make: Callable[[], object]) -> Exception:
        try:
            make()
        except Exception as exc:
            return exc
        raise AssertionError

    def chained() -> None:
        try:
            int("x")
        except ValueError as exc:
            raise OSError("broken") from exc

    error = fail(chained)
    assert error.__traceback__ is not None
    assert error.__cause__ is not None
    error.__cause__.__context__ = error  # A circle ends.
    without_frames(error)
    assert error.__traceback__ is None
    assert error.__cause__.__traceback__ is None


@THOROUGH
@given(st.text(st.characters(max_codepoint=255), max_size=20) | st.builds("http{}://h:8443{}".format, odd, odd))
def test_any_location_stays_at_the_origin_or_is_not_followed(location: str):
    """P-CONN-3."""
    place = endpoint("https://h:8443/v1", api_key="k")
    moved = place.redirected(location)
    if moved is not None:
        assert moved.origin == place.origin
        usable(moved)
