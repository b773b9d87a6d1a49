"""Dialects: their fields, what contradicts what, their limits, betas, sticky headers, keepalives, and traces.

Who decides on the dialect, and what is learned of lanes, is in ``test_owners.py``. Rules: PROTOCOL.md, "Dialects".
"""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from kit.driving import FakeRuntime
from kit.machines import ENDPOINT, Wire, answer, failed, steady, switching, types
from kit.peers import TEXT, completed, created, delta, event, frame
from opentelemetry.sdk.trace import TracerProvider
from turnwire.sansio.client import Session
from turnwire.sansio.connection import ConnectionOptions, ResponsesConnection, Turn
from turnwire.sansio.dialect import (
    AZURE,
    CODEX,
    DIALECT_RULES,
    DIALECTS,
    NO_LANES,
    OPENAI,
    UNKNOWN,
    Dialect,
    LaneSupport,
    Support,
)
from turnwire.sansio.driver import Driver
from turnwire.sansio.endpoint import Endpoint, endpoint
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.events import EVENT_TYPES
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.measures import Recorder
from turnwire.sansio.messages import with_trace
from turnwire.sansio.omit import Omit
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.runtime import SessionRuntime
from turnwire.sansio.secret import Secret
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.upgrade import MAX_STICKY, StickyValues
from turnwire.sansio.websocket import WebSocket

SAFE, AMBIGUOUS, UNSAFE = Verdict.SAFE, Verdict.AMBIGUOUS, Verdict.UNSAFE
STATE = "x-codex-turn-state"
SECRET = "gAAAA-hush-token"
WEBSOCKETS = "responses_websockets=2026-02-06"
MULTI_AGENT = "responses_multi_agent=v1"
MINE = Dialect(name="mine", lanes=Support.YES, keepalive_types=("server.beat", "response.beat", "keepalive"))

# --- The fields ------------------------------------------------------------------------------------------------------


def test_every_field_of_a_dialect_has_a_rule() -> None:
    assert set(DIALECT_RULES) == set(Dialect.__struct_fields__)
    assert LaneSupport is Support


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_a_dialect_is_a_value(dialect: Dialect) -> None:
    assert DIALECTS[dialect.name] is dialect
    assert pickle.loads(pickle.dumps(dialect)) == copy.deepcopy(dialect) == dialect
    assert len({dialect, copy.deepcopy(dialect)}) == 1
    assert msgspec.structs.replace(dialect) == dialect


def test_what_is_known_of_the_kinds_of_servers() -> None:
    """P-DIALECT-1, P-DIALECT-14."""
    assert (OPENAI.lanes, OPENAI.steering, OPENAI.max_in_flight, OPENAI.max_named_lanes) == (
        Support.YES,
        Support.YES,
        16,
        32,
    )
    assert (AZURE.lanes, AZURE.steering, AZURE.injecting, AZURE.max_in_flight) == (Support.NO,) * 3 + (1,)
    assert (CODEX.upgrade_betas, CODEX.sticky_headers) == ((WEBSOCKETS,), (STATE,))
    assert (NO_LANES.lanes, NO_LANES.steering) == (Support.NO, Support.UNKNOWN)
    assert msgspec.structs.replace(UNKNOWN, name="x") == Dialect(name="x")
    assert all(not one.upgrade_betas and not one.sticky_headers for one in (OPENAI, AZURE, NO_LANES, UNKNOWN))


WRONG_TYPES: list[tuple[str, Any]] = [
    *((name, value) for name in DIALECT_RULES for value in (1j, {}, object(), b"x", Dialect)),
    *((name, value) for name in ("lanes", "steering", "injecting") for value in ("yes", True, None, 1)),
    *((name, value) for name in ("max_in_flight", "max_named_lanes") for value in ("5", True, 2.0, 1.5)),
    *(("message_limit", value) for value in ("5", True, 2.0, None)),
    *((name, value) for name in ("betas", "keepalive_types", "sticky_headers") for value in ("ping", None, 1, {"a"})),
    *((name, [value]) for name in ("betas", "keepalive_types", "sticky_headers") for value in (1, None, b"ping", ())),
    ("name", None),
    ("inject_beta", 1),
    ("trace_member", 1),
    ("provider", None),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG_TYPES)
def test_a_field_of_another_type_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(WrongTypeError, match=rf"^Dialect\.{name}(\[0\])? is .*, of type \w+: write ") as refused:
        Dialect(**{"name": "mine", name: wrong})
    assert len(str(refused.value)) < 300


OUT_OF_RANGE: list[tuple[str, Any]] = [
    *(("name", value) for value in ("", " x", "x" * 65, "a\nb", "ünknown", "a:b")),
    *(
        (name, value)
        for name in ("max_in_flight", "max_named_lanes", "message_limit")
        for value in (0, -1, -(10**400), 10**13)
    ),
    *(("max_in_flight", value) for value in (257, 10**400)),
    *(("provider", value) for value in ("", "a b", 'a"b', "x" * 65)),
    *(("betas", [value]) for value in ("", "a b", "a=1,b=2", "a=1\r\nX: y", "ä", "x" * 257)),
    *(("inject_beta", value) for value in ("", "a b", "a,b", "\x00")),
    *(("keepalive_types", [value]) for value in ("", "a b", "\n", "x" * 257, "ä")),
    *(("sticky_headers", [value]) for value in ("", "a b", "a:b", "a\r\nb", "ä", "x" * 129)),
    *(("trace_member", value) for value in ("", "a b", 'a"b', "x" * 65)),
]


@pytest.mark.parametrize(("name", "wrong"), OUT_OF_RANGE)
def test_a_field_out_of_its_range_is_refused_with_what_to_write(name: str, wrong: Any) -> None:
    with pytest.raises(UserError, match=rf"^Dialect\.{name}(\[0\])? is .*: write ") as refused:
        Dialect(**{"name": "mine", name: wrong})
    assert not isinstance(refused.value, WrongTypeError)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["betas", "keepalive_types", "sticky_headers"])
def test_a_list_becomes_a_tuple_and_nothing_is_there_twice(name: str) -> None:
    dialect = Dialect(**{"name": "mine", name: ["a", "b"]})
    assert getattr(dialect, name) == ("a", "b")
    with pytest.raises(UserError, match=rf"^Dialect\.{name} has 'a' twice"):
        Dialect(**{"name": "mine", name: ("a", "b", "a")})


def test_names_of_headers_may_be_written_in_any_case() -> None:
    assert Dialect(name="mine", sticky_headers=("X-Sticky",)).sticky_headers == ("x-sticky",)


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"lanes": Support.NO, "max_in_flight": 2}, "max_in_flight is 2: without lanes write 1 or None"),
    ({"lanes": Support.NO, "max_in_flight": 16}, "without lanes write 1 or None, or lanes=Support.YES"),
    ({"lanes": Support.NO, "max_named_lanes": 32}, "max_named_lanes is given: leave it out"),
    *(
        ({"keepalive_types": ("server.beat", kind)}, f"keepalive_types has '{kind}', which does more")
        for kind in (
            *("response.created", "response.completed", "response.failed", "response.incomplete", "error"),
            *("response.error", "response.done", "response.cancelled", "response.output_text.delta"),
            *("response.steer.accepted", "response.steer.tomorrow", "response.inject.failed", "response.queued"),
        )
    ),
    *(
        ({"sticky_headers": ("x-sticky", name)}, "a server may not decide: write headers other than")
        for name in (
            *("Authorization", "api-key", "Cookie", "set-cookie", "User-Agent", "OpenAI-Beta", "Host", "Upgrade"),
            *("sec-websocket-key", "Sec-WebSocket-Accept", "Connection", "content-length", "proxy-authorization"),
        )
    ),
]


@pytest.mark.parametrize(("fields", "text"), CONTRADICTIONS)
def test_fields_that_contradict_each_other_are_refused_with_what_to_write(fields: dict[str, Any], text: str) -> None:
    """P-DIALECT-20."""
    with pytest.raises(UserError, match=r"^Dialect 'mine': ") as refused:
        Dialect(name="mine", **fields)
    assert text in str(refused.value)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_no_event_of_the_api_only_keeps_alive(kind: str) -> None:
    """P-DIALECT-15."""
    with pytest.raises(UserError, match="which does more than to keep alive"):
        Dialect(name="mine", keepalive_types=(kind,))


def test_without_lanes_a_limit_of_one_is_no_contradiction() -> None:
    assert Dialect(name="mine", lanes=Support.NO, max_in_flight=1).max_in_flight == 1
    assert Dialect(name="mine", max_in_flight=4, max_named_lanes=2).lanes is Support.UNKNOWN


# --- The option ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ConnectionOptions, SessionOptions])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_may_be_given_by_its_name(kind: type[ConnectionOptions], name: str) -> None:
    assert kind(dialect=name).given_dialect is DIALECTS[name]
    assert kind(dialect=DIALECTS[name]).given_dialect is DIALECTS[name]
    assert kind().given_dialect is None


@pytest.mark.parametrize("name", ["klingon", "", "OpenAI", " openai", "no_lanes", "open ai", "none", "auto", "x" * 500])
def test_an_unknown_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(UserError, match=r"^SessionOptions\.dialect is '.*: write one of 'openai', 'azure', 'codex'"):
        SessionOptions(dialect=name)


@pytest.mark.parametrize("wrong", [0, False, ["openai"], ("openai",), {"name": "openai"}, Dialect, b"openai"])
def test_what_is_no_dialect_is_refused(wrong: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"^SessionOptions\.dialect is .*or Dialect\(…\), or None"):
        SessionOptions(dialect=wrong)


def test_the_option_by_name_is_that_of_the_connection() -> None:
    """P-DIALECT-2."""
    wire = Wire(dialect="azure")
    wire.accept(dialect="openai")
    assert wire.connection.dialect is AZURE
    wire.create("a"), wire.create("b")
    assert ["stream_id" in request for request in wire.sent()] == [False]


# --- Limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "options", "most"),
    [
        ({}, {}, 16),
        ({"max_in_flight": 3}, {}, 3),
        ({"max_in_flight": 1}, {}, 1),
        ({"max_in_flight": 30}, {}, 16),
        ({"max_in_flight": 30}, {"max_in_flight": 20}, 20),
        ({"max_in_flight": 3}, {"max_in_flight": 2}, 2),
    ],
)
def test_as_many_turns_are_in_flight_as_both_the_dialect_and_the_options_allow(
    fields: dict[str, Any], options: dict[str, Any], most: int
) -> None:
    """P-DIALECT-18."""
    wire = Wire.opened(dialect=Dialect(name="mine", lanes=Support.YES, **fields), **options)
    for number in range(30):
        wire.create(f"lane-{number}")
    assert len(wire.sent()) == wire.connection.slots == most


def test_the_limit_of_a_dialect_holds_once_lanes_are_seen() -> None:
    wire = Wire(dialect=Dialect(name="mine", max_in_flight=2))
    wire.accept()
    first = wire.create("a")
    for lane in "bcd":
        wire.create(lane)
    assert len(wire.sent()) == 1
    wire.receive(created("a"))
    assert len(wire.sent()) == 1, "the second of two"
    assert first.phase is Phase.STREAM


def test_names_above_the_limit_of_the_dialect_go_to_another_connection() -> None:
    """P-DIALECT-18."""
    shop = Shop(dialect=Dialect(name="mine", lanes=Support.YES, max_named_lanes=2))
    for number, lane in enumerate("abc"):
        shop.run(shop.create(lane), f"resp_{number}")
    assert len(shop.wires) == 2


# --- Betas -----------------------------------------------------------------------------------------------------------


def upgrade(dialect: Dialect | None = None, base_url: str = "https://server.test/v1", **headers: str) -> dict[str, str]:
    """The headers of an upgrade, by names as they were sent; each is there once."""
    place = endpoint(base_url, api_key="key", headers={name.replace("_", "-"): headers[name] for name in headers})
    connection = ResponsesConnection(place, options=ConnectionOptions(dialect=dialect), now=0.0, random_bytes=steady)
    return sent_headers(Wire(connection))


def sent_headers(wire: Wire) -> dict[str, str]:
    lines = wire.connect().decode("latin-1").split("\r\n")[1:-2]
    sent = dict(line.split(": ", 1) for line in lines)
    assert len({name.lower() for name in sent}) == len(lines), "a header is there twice"
    return sent


@pytest.mark.parametrize(
    ("fields", "betas"),
    [
        ({}, None),
        ({"betas": ("a=1", "b=2")}, "a=1, b=2"),
        ({"injecting": Support.YES}, MULTI_AGENT),
        ({"injecting": Support.UNKNOWN}, None),
        ({"injecting": Support.NO}, None),
        ({"injecting": Support.YES, "inject_beta": None}, None),
        ({"injecting": Support.YES, "inject_beta": "other=v2", "betas": ("a=1",)}, "a=1, other=v2"),
        ({"injecting": Support.YES, "betas": (MULTI_AGENT, "a=1")}, f"{MULTI_AGENT}, a=1"),
    ],
)
def test_an_upgrade_has_the_betas_of_the_capabilities_that_there_are(fields: dict[str, Any], betas: str | None) -> None:
    """P-DIALECT-12."""
    assert upgrade(Dialect(name="mine", **fields)).get("OpenAI-Beta") == betas


@pytest.mark.parametrize(
    ("base_url", "betas"),
    [
        ("https://chatgpt.com/backend-api/codex", WEBSOCKETS),
        ("https://api.openai.com/v1", None),
        ("https://x.openai.azure.com/openai/v1", None),
        ("https://server.test/v1", None),
    ],
)
def test_only_the_dialect_that_wants_a_beta_gets_one(base_url: str, betas: str | None) -> None:
    """P-DIALECT-12."""
    assert upgrade(base_url=base_url).get("OpenAI-Beta") == betas


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        (WEBSOCKETS, WEBSOCKETS),
        ("responses_websockets=2099-01-01", "responses_websockets=2099-01-01"),
        ("Responses_WebSockets", "Responses_WebSockets"),
        (MULTI_AGENT, f"{MULTI_AGENT}, {WEBSOCKETS}"),
        (f"a=1 ,{WEBSOCKETS}", f"a=1 ,{WEBSOCKETS}"),
        (f"a=1 , , {MULTI_AGENT}", f"a=1, {MULTI_AGENT}, {WEBSOCKETS}"),
        ("", WEBSOCKETS),
        (",", WEBSOCKETS),
    ],
)
@pytest.mark.parametrize("name", ["OpenAI_Beta", "openai_beta", "OPENAI_BETA"])
def test_a_beta_is_added_to_the_callers_own_header_unless_the_caller_names_it(name: str, own: str, sent: str) -> None:
    """P-DIALECT-13."""
    assert upgrade(CODEX, **{name: own})[name.replace("_", "-")] == sent


def test_what_the_server_announces_comes_too_late_for_a_beta() -> None:
    """P-DIALECT-12."""
    wire = Wire()
    assert "OpenAI-Beta" not in sent_headers(wire)
    wire.receive(switching(more="x-turnwire-dialect: codex\r\n"))
    assert wire.connection.dialect is CODEX


def test_a_request_over_http_has_no_betas() -> None:
    """P-DIALECT-12."""
    connection = HttpConnection(ENDPOINT, options=ConnectionOptions(dialect="codex"), now=0.0)
    connection.transport_connected(0.0)
    connection.submit(Turn.from_body({"input": "x"}, lane=None, timeouts=Timeouts(), now=0.0), 0.0)
    assert b"beta" not in connection.data_to_send(1 << 20, 0.0).lower()


# --- Sticky headers --------------------------------------------------------------------------------------------------


class Shop:
    """A session, and a server that makes a header sticky. ``place`` may be changed."""

    def __init__(self, dialect: Dialect | str | None = "codex", connections: int = 1, **options: Any) -> None:
        self.now = 0.0
        self.place = ENDPOINT
        options = {"ping_interval": None, "transport": "websocket", "dialect": dialect, **options}
        self.session = ResponsesSession(options=SessionOptions(connections=connections, **options), random_bytes=steady)
        self.wires: list[Wire] = []

    def begin(self) -> tuple[Wire, dict[str, str]]:
        """A connection that has asked for its upgrade, and the headers of that."""
        wire = Wire(self.session.open(self.place, self.now))
        wire.now = self.now
        self.wires.append(wire)
        return wire, sent_headers(wire)

    def accept(self, wire: Wire, token: str | None = None, more: str = "") -> None:
        more += "" if token is None else f"X-Codex-Turn-State: {token}\r\n"
        self.session.receive_data(wire.connection, switching(more=more), self.now)

    def open(self, token: str | None = None, more: str = "") -> str | None:
        """Open a connection; the token that its upgrade had."""
        wire, headers = self.begin()
        self.accept(wire, token, more)
        return headers.get(STATE)

    def create(self, lane: Any = AUTO, **body: Any) -> Turn:
        turn = self.session.create({"input": "x", **body}, lane=lane, now=self.now)
        while self.session.wants_connection(self.now):
            self.open()
        return turn

    def run(self, turn: Turn, response_id: str = "resp_1") -> None:
        wire = next(wire for wire in self.wires if wire.connection is turn.connection)
        wire.hand(1 << 20)
        text = created(turn.lane, response_id) + completed(turn.lane, response_id)
        self.session.receive_data(wire.connection, text, self.now)
        assert turn.phase is Phase.DONE

    def lose(self, number: int = -1) -> None:
        self.session.receive_data(self.wires[number].connection, b"", self.now)

    def refuse(self, wire: Wire, status: int) -> None:
        self.session.receive_data(wire.connection, answer(status, "no"), self.now)


def test_what_a_server_makes_sticky_goes_back_to_it_on_every_reconnect() -> None:
    """P-DIALECT-16."""
    shop = Shop()
    assert shop.open(SECRET) is None
    for _ in range(3):
        shop.lose()
        assert shop.open() == SECRET, "an answer without it changes nothing"


def test_the_last_value_counts() -> None:
    shop = Shop()
    shop.open("one")
    shop.lose()
    assert shop.open("two") == "one"
    shop.lose()
    assert shop.open() == "two"


@pytest.mark.parametrize("dialect", ["openai", "azure", "no-lanes", "unknown", None])
def test_another_dialect_makes_nothing_sticky(dialect: str | None) -> None:
    shop = Shop(dialect)
    shop.open(SECRET)
    shop.lose()
    assert shop.open() is None


def test_a_server_that_announces_the_dialect_makes_its_headers_sticky() -> None:
    shop = Shop(None)
    assert shop.open(SECRET, more="x-turnwire-dialect: codex\r\n") is None
    shop.lose()
    assert shop.open() == SECRET


def test_each_sticky_header_has_its_own_value() -> None:
    """P-DIALECT-16."""
    shop = Shop(Dialect(name="mine", sticky_headers=("X-One", "x-two", "x-three")))
    shop.open(more="X-ONE: 1\r\nx-two: 2\r\nx-four: 4\r\n")
    shop.lose()
    wire, headers = shop.begin()
    assert {name: value for name, value in headers.items() if name.startswith("x-")} == {"x-one": "1", "x-two": "2"}
    shop.accept(wire, more="x-two: two\r\n")
    shop.lose()
    assert shop.begin()[1]["x-two"] == "two"


def test_a_header_that_the_caller_gives_is_sent_as_it_is_and_once() -> None:
    """P-DIALECT-16."""
    shop = Shop()
    shop.place = Endpoint(ENDPOINT.url, (("X-Codex-Turn-State", "mine"),))
    shop.open(SECRET)
    shop.lose()
    _, headers = shop.begin()
    assert (headers["X-Codex-Turn-State"], STATE in headers) == ("mine", False)


@pytest.mark.parametrize("value", ["", " ", "x" * (MAX_STICKY + 1)])
def test_a_value_that_is_empty_or_too_long_is_not_kept_and_changes_nothing(value: str) -> None:
    """P-DIALECT-16."""
    shop = Shop()
    shop.open("one")
    shop.lose()
    assert shop.open(value) == "one"
    shop.lose()
    assert shop.open() == "one"


@pytest.mark.parametrize("value", ["x" * MAX_STICKY, "a b\tc", "é\xff", "=;,\"'"])
def test_every_value_that_http_can_carry_comes_back_as_it_was(value: str) -> None:
    shop = Shop()
    wire, _ = shop.begin()
    head = switching(more="X-Codex-Turn-State: @\r\n").replace(b"@", value.encode("latin-1"))
    shop.session.receive_data(wire.connection, head, shop.now)
    shop.lose()
    assert shop.begin()[1][STATE] == value


def test_a_value_is_lost_with_an_upgrade_that_is_refused_for_good() -> None:
    """P-DIALECT-17."""
    shop = Shop()
    shop.open(SECRET)
    shop.lose()
    for status, then in ((503, SECRET), (429, SECRET), (408, SECRET), (400, None)):
        wire, headers = shop.begin()
        assert headers[STATE] == SECRET
        shop.refuse(wire, status)
        if then is None:
            assert STATE not in shop.begin()[1]


@pytest.mark.parametrize("how", ["eof", "transport", "garbage"])
def test_a_value_survives_an_upgrade_that_was_not_answered(how: str) -> None:
    shop = Shop()
    shop.open(SECRET)
    shop.lose()
    wire, _ = shop.begin()
    if how == "transport":
        shop.session.transport_failed(wire.connection, "reset", shop.now)
    else:
        shop.session.receive_data(wire.connection, b"" if how == "eof" else b"SSH-2.0\r\n", shop.now)
    assert shop.open() == SECRET


def test_no_other_origin_gets_a_value() -> None:
    """P-DIALECT-16."""
    shop = Shop(connections=2)
    shop.open(SECRET)
    shop.lose()
    shop.place = Endpoint("wss://elsewhere.test/v1/responses")
    assert shop.open("other") is None
    shop.lose()
    shop.place = ENDPOINT
    assert shop.open() == SECRET
    shop.lose()
    shop.place = Endpoint("wss://server.test/another/path")
    assert shop.open() == SECRET, "this is the same origin"


def test_a_redirect_within_the_origin_sends_it_again() -> None:
    shop = Shop()
    shop.open(SECRET)
    shop.lose()
    wire, _ = shop.begin()
    moved = answer(307, Location="wss://server.test/v2/responses")
    shop.session.receive_data(wire.connection, moved, shop.now)
    assert sent_headers(wire)[STATE] == SECRET


def test_a_replacement_takes_the_value_of_the_connection_that_it_replaces() -> None:
    """P-DIALECT-17."""
    shop = Shop(Dialect(name="mine", lanes=Support.YES, sticky_headers=(STATE,)), max_age=60.0)
    turn = shop.session.create({"input": "x"}, now=shop.now)
    shop.open(SECRET)
    wire = shop.wires[0]
    wire.hand(1 << 20)
    shop.session.receive_data(wire.connection, created(), shop.now)
    shop.now = 60.0
    shop.session.handle_deadline(shop.now)
    assert shop.session.wants_connection(shop.now)
    replacement, headers = shop.begin()
    assert headers[STATE] == SECRET
    shop.session.transport_failed(replacement.connection, "reset", shop.now)
    shop.now = 200.0
    shop.session.handle_deadline(shop.now)
    assert shop.open() == SECRET, "the one that failed gave it back"
    shop.run(turn)
    shop.lose()
    assert shop.open() == SECRET, "the old one did not take it along"


def test_connections_beside_each_other_have_each_their_own_value() -> None:
    """P-DIALECT-17."""
    shop = Shop(Dialect(name="mine", lanes=Support.YES, sticky_headers=(STATE,), max_in_flight=1), connections=2)
    for token in ("one", "two"):
        shop.session.create({"input": "x"}, lane=AUTO, now=shop.now)
        assert shop.open(token) is None, "it is no reconnect"
    shop.lose(1)
    shop.session.create({"input": "x"}, lane=AUTO, now=shop.now)
    assert shop.open() == "two"


def test_values_are_kept_for_as_many_connections_as_there_may_be() -> None:
    kept = StickyValues(2)
    for number in range(5):
        left = Wire().connection
        left.sticky = ((STATE, Secret(str(number))),)
        kept.leave(left)  # It takes turns.
        assert left.sticky
        left.abort(0.0)
        kept.leave(left)
        kept.leave(left)  # Once more, it has none.
    new = [Wire().connection for _ in range(3)]
    for connection in new:
        kept.give(connection, None)
    assert [[value.reveal() for _, value in connection.sticky] for connection in new] == [["3"], ["4"], []]


def test_a_sticky_value_is_in_no_text() -> None:
    """P-DIALECT-16."""
    shop = Shop()
    shop.open(SECRET)
    wire = shop.wires[0]
    turn = shop.create()
    wire.hand(1 << 20)
    shop.lose()
    failure = turn.failure
    shown = [repr(wire.connection.sticky), repr(shop.session.pool._sticky._kept), str(failure), repr(failure)]
    wire, _ = shop.begin()
    shop.refuse(wire, 400)
    shown += [repr(wire.connection.sticky), repr(vars(wire.connection)), repr(wire.connection.failure)]
    shown += [str(notice) for notice in shop.session.notices.queued]
    assert SECRET not in "".join(shown)


# --- Keepalive types -------------------------------------------------------------------------------------------------

BEATS = [event("server.beat"), event("response.beat"), event("keepalive"), event("server.beat", load=0.5)]


@pytest.mark.parametrize("beat", BEATS)
def test_an_event_that_only_keeps_alive_is_nobodys_to_read_and_moves_nothing(beat: bytes) -> None:
    """P-DIALECT-15."""
    wire = Wire.opened(dialect=MINE)
    turn = wire.run()
    wire.receive(beat, beat)
    assert (turn.phase, types(turn)) == (Phase.AWAIT, [])
    wire.receive(event("error", status=429, error={"code": "rate_limit_exceeded"}))
    failure = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert not failure.evidence.unknown_event
    assert wire.connection.stats.orphans == 0


@pytest.mark.parametrize("beat", BEATS)
def test_in_a_stream_it_is_passed_over(beat: bytes) -> None:
    wire = Wire.opened(dialect=MINE)
    turn = wire.run()
    wire.receive(beat, created(), beat, delta(), beat, completed(), beat)
    assert types(turn) == ["response.created", "response.output_text.delta", "response.completed"]
    assert turn.response is not None
    assert wire.connection.stats.orphans == 1, "the last one, after the end"


@pytest.mark.parametrize("beat", BEATS)
def test_a_connection_that_is_lost_after_it_is_ambiguous(beat: bytes) -> None:
    wire = Wire.opened(dialect=MINE)
    turn = wire.run()
    wire.receive(beat)
    wire.eof()
    failed(turn, Cause.EOF, Phase.AWAIT, AMBIGUOUS)


@pytest.mark.parametrize(
    "members",
    [
        {"response_id": "resp_1"},
        {"item_id": "msg_1"},
        {"delta": "x"},
        {"output_index": 0},
        {"response": {"id": "resp_1", "status": "in_progress"}},
        {"response": None},
    ],
)
@pytest.mark.parametrize("kind", ["server.beat", "response.beat"])
def test_an_event_that_speaks_of_a_response_does_more_than_to_keep_alive(kind: str, members: dict[str, Any]) -> None:
    """P-DIALECT-15: Whatever the dialect says: a response that has begun is never taken for one that has not."""
    wire = Wire.opened(dialect=MINE)
    turn = wire.run()
    wire.receive(event(kind, **members))
    assert (turn.phase, types(turn)) == (Phase.STREAM, [kind])
    wire.eof()
    failed(turn, Cause.EOF, Phase.STREAM, UNSAFE)


@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_one_that_is_nested_too_deeply_to_be_read_raises_nothing_and_begins_nothing(depth: int) -> None:
    wire = Wire.opened(dialect=MINE)
    turn = wire.run()
    wire.receive(frame(TEXT, f'{{"type": "server.beat", "x": {"[" * depth}{"]" * depth}}}'))
    assert turn.phase is Phase.AWAIT
    wire.receive(event("error", status=429, error={"code": "rate_limit_exceeded"}))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE if depth < 1000 else AMBIGUOUS)


def test_a_response_that_a_listed_type_ends_has_ended() -> None:
    wire = Wire.opened(dialect=MINE)
    turn = wire.run()
    wire.receive(created(), event("response.beat", response={"id": "resp_1", "status": "completed"}))
    assert turn.phase is Phase.DONE


@pytest.mark.parametrize("dialect", ["openai", "codex", None])
def test_without_a_dialect_that_lists_it_the_same_event_is_delivered(dialect: str | None) -> None:
    """P-DIALECT-15."""
    wire = Wire.opened(dialect=dialect)
    turn = wire.run()
    wire.receive(event("server.beat"), event("keepalive"))
    assert types(turn) == ["server.beat", "keepalive"]


@pytest.mark.parametrize("phase", [Phase.AWAIT, Phase.STREAM])
def test_the_receive_deadline_starts_again_with_it(phase: Phase) -> None:
    """P-DIALECT-15."""
    wire = Wire.opened(dialect=MINE, ping_interval=None)
    turn = wire.run(timeouts=Timeouts(receive=10.0))
    if phase is Phase.STREAM:
        wire.receive(created())
        types(turn)
    for _ in range(3):
        wire.now += 9.0
        wire.receive(event("server.beat"))
        wire.connection.handle_deadline(wire.now)
    assert not turn.ended
    assert wire.connection.next_deadline() == wire.now + 10.0
    wire.pass_deadline()
    assert turn.failure is not None
    assert turn.failure.cause is Cause.TIMEOUT


def test_a_turn_with_it_has_not_stalled() -> None:
    """P-DIALECT-15."""
    wire = Wire.opened(dialect=MINE, ping_interval=20.0, stall_timeout=30.0)
    turn = wire.run(timeouts=Timeouts(receive=None))
    for _ in range(3):
        wire.now += 25.0
        wire.receive(event("server.beat"))
        wire.connection.handle_deadline(wire.now)
    assert not turn.ended


def test_among_several_it_is_the_turns_that_it_names() -> None:
    """P-DIALECT-15."""
    wire = Wire.opened(dialect=MINE, ping_interval=None)
    one, two = (wire.run(lane, timeouts=Timeouts(receive=10.0)) for lane in ("a", "b"))
    wire.receive(created("a", "r1"), created("b", "r2"))
    types(one), types(two)
    wire.now += 9.0
    wire.receive(event("server.beat", stream_id="a"), event("server.beat"))
    assert wire.connection.stats.orphans == 1, "nobody can tell whose the second is"
    wire.now += 2.0
    wire.connection.handle_deadline(wire.now)
    assert (one.ended, two.ended) == (False, True)


def test_an_abandoned_turn_that_it_names_goes_on_unseen() -> None:
    wire = Wire.opened(dialect=MINE, ping_interval=None)
    left, other = wire.run("a", timeouts=Timeouts(receive=10.0)), wire.run("b")
    wire.connection.cancel(left, wire.now)
    wire.now += 9.0
    wire.receive(event("server.beat", stream_id="a"))
    assert wire.connection.stats.orphans == 1
    assert left.since == wire.now
    assert not other.ended


def test_over_http_it_is_the_same() -> None:
    connection = HttpConnection(ENDPOINT, options=ConnectionOptions(dialect=MINE), now=0.0)
    connection.transport_connected(0.0)
    turn = Turn.from_body({"input": "x"}, lane=None, timeouts=Timeouts(receive=10.0), now=0.0)
    connection.submit(turn, 0.0)
    connection.data_to_send(1 << 20, 0.0)
    texts = [
        {"type": "server.beat"},
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
        {"type": "keepalive"},
        {"type": "server.beat", "delta": "x"},
    ]
    body = "".join(f"data: {json.dumps(text)}\n\n" for text in texts).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 10000\r\n\r\n"
    connection.receive_data(head.encode() + body.split(b"\n\n")[0] + b"\n\n", 9.0)
    assert (turn.phase, turn.since) == (Phase.AWAIT, 9.0)
    connection.receive_data(body[body.index(b"\n\n") + 2 :], 9.5)
    assert types(turn) == ["response.created", "server.beat"]


# --- Traces ----------------------------------------------------------------------------------------------------------

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ({}, {"client_metadata": {"traceparent": TRACE}}),
        ({"client_metadata": {}}, {"client_metadata": {"traceparent": TRACE}}),
        ({"client_metadata": {"a": "b"}}, {"client_metadata": {"a": "b", "traceparent": TRACE}}),
    ],
)
def test_a_trace_joins_the_callers_own_metadata_in_a_copy(own: dict[str, Any], sent: dict[str, Any]) -> None:
    """P-DIALECT-19."""
    body = {"input": "x", **own}
    before = copy.deepcopy(body)
    assert with_trace(body, "traceparent", TRACE) == {"input": "x", **sent}
    assert body == before


@pytest.mark.parametrize(
    "metadata",
    [{"traceparent": "mine"}, {"traceparent": None}, {"traceparent": "", "a": 1}, None, "text", ["a"], 7, True],
)
def test_the_callers_own_value_stays(metadata: Any) -> None:
    """P-DIALECT-19."""
    body = {"client_metadata": metadata}
    assert with_trace(body, "traceparent", TRACE) is body


def test_metadata_that_is_left_out_is_no_value() -> None:
    assert with_trace({"client_metadata": Omit()}, "x", TRACE) == {"client_metadata": {"x": TRACE}}


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, "", "x", 7, b"00-", TRACE.upper(), TRACE + "-00", TRACE[:-1], f" {TRACE}", f"{TRACE}\n"),
        *("ff" + TRACE[2:], f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01"),
        *(TRACE.replace("-", "_"), TRACE.replace("a", "g"), object(), [TRACE]),
    ],
)
def test_what_is_no_trace_is_not_sent_and_raises_nothing(wrong: Any) -> None:
    """P-DIALECT-19."""
    body = {"input": "x"}
    assert with_trace(body, "traceparent", wrong) is body


def test_a_server_that_is_not_known_to_take_it_gets_none() -> None:
    body = {"input": "x"}
    assert with_trace(body, None, TRACE) is body
    assert [one.name for one in DIALECTS.values() if one.trace_member is not None] == ["openai", "codex"]


@pytest.mark.parametrize(
    ("dialect", "announced", "member"),
    [
        (None, "openai", "traceparent"),
        (None, "", None),
        ("codex", "openai", "ws_request_header_traceparent"),
        ("azure", "openai", None),
        (Dialect(name="mine", trace_member="trace"), "", "trace"),
    ],
)
def test_the_driver_sends_a_turns_trace_as_the_dialect_says(dialect: Any, announced: str, member: str | None) -> None:
    """P-DIALECT-19."""
    runtime, body = FakeRuntime(), {"input": "x"}
    session = ResponsesSession(options=SessionOptions(dialect=dialect), random_bytes=steady)
    tracers: Any = TracerProvider()
    recorder = Recorder(tracers, None, wall_clock=lambda: 0.0, endpoint=ENDPOINT, notices=session.notices)
    driver = Driver(session, runtime, lambda: ENDPOINT, recorder)
    driver.connect(0.0)
    link = runtime.links[-1]
    driver.opened(link, 0.0)
    driver.received(link, switching(more=f"x-turnwire-dialect: {announced}\r\n"), 0.0)
    runtime.written = b""
    turn: Any = driver.create(body, now=0.0)
    sent = [json.loads(item) for item in WebSocket(client=False).receive(runtime.written) if isinstance(item, bytes)]
    assert sent[0].get("client_metadata") == (None if member is None else {member: turn.observer.traceparent})
    assert body == {"input": "x"}


@pytest.mark.parametrize(
    ("url", "given", "before"),
    [
        ("wss://api.openai.com/v1", None, OPENAI),
        ("wss://server.test/v1", None, UNKNOWN),
        ("wss://server.test/v1", "azure", AZURE),
        ("wss://chatgpt.com/x", NO_LANES, NO_LANES),
    ],
)
def test_before_there_is_a_connection_the_options_or_the_host_name_say(url: str, given: Any, before: Dialect) -> None:
    """P-DIALECT-2."""
    session = ResponsesSession(options=SessionOptions(dialect=given), random_bytes=steady)
    driver = Driver(session, FakeRuntime(), lambda: Endpoint(url))
    assert driver.dialect is before
    driver.connect(0.0)
    assert driver.dialect is before


# --- The same program, whatever the server ---------------------------------------------------------------------------


class Server:
    """A server of one kind, which answers each request as that kind does; one answer after another."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.ran: list[str] = []
        self.most = 0
        """How many requests it was ever given at a time."""

    def answer(self, requests: list[dict[str, Any]]) -> bytes:
        self.most = max(self.most, len(requests))
        return b"".join(map(self._answer, requests))

    def _answer(self, request: dict[str, Any]) -> bytes:
        name = request.get("stream_id")
        if self.kind == "refusing" and name is not None:
            return event("error", status=400, error={"code": "unknown", "param": "stream_id"}, stream_id=name)
        lane = name if self.kind == "lanes" else None
        self.ran.append(request["input"])
        response_id = f"resp_{len(self.ran)}"
        return created(lane, response_id) + completed(lane, response_id, request["input"])


@pytest.mark.parametrize("announced", ["openai", ""])
@pytest.mark.parametrize(
    ("kind", "dialect"),
    [("lanes", None), ("ignoring", None), ("refusing", None), ("azure", "azure"), ("ignoring", "no-lanes")],
)
def test_the_same_program_runs_on_every_kind_of_server(kind: str, dialect: str | None, announced: str) -> None:
    """P-DIALECT-10: Twelve turns that leave their lanes to turnwire: each is run once, and has its own answer."""
    if kind == "ignoring" and announced:
        return  # A server that announces lanes and ignores names lies; what happens then is in test_owners.py.
    server = Server(kind)
    wire = Wire(dialect=dialect)
    wire.accept(dialect=announced)
    turns = [wire.create(AUTO, input=f"say {number}") for number in range(12)]  # type: ignore[arg-type]
    while requests := wire.sent():
        wire.receive(server.answer(requests))
    assert sorted(server.ran) == sorted(f"say {number}" for number in range(12))
    for number, turn in enumerate(turns):
        assert turn.response is not None
        assert turn.response.output_text == f"say {number}"
    one_at_a_time = kind in ("azure", "ignoring") or not announced
    assert server.most == 1 if one_at_a_time else server.most > 1


@pytest.mark.parametrize("kind", ["ignoring", "refusing"])
def test_named_turns_on_a_server_without_lanes(kind: str) -> None:
    """One that ignores the name runs them one after another; one that refuses it refuses what the caller asked for."""
    server = Server(kind)
    wire = Wire(dialect="unknown")
    wire.accept(dialect="")
    turns = [wire.create(lane, input=lane) for lane in ("a", "b", "a", "c")]
    while requests := wire.sent():
        wire.receive(server.answer(requests))
    assert server.most == 1
    if kind == "ignoring":
        assert [turn.response is not None for turn in turns] == [True] * 4
        assert server.ran == ["a", "b", "a", "c"] or sorted(server.ran) == ["a", "a", "b", "c"]
    else:
        assert server.ran == []
        for turn in turns:
            assert turn.failure is not None
            assert turn.failure.verdict is SAFE


def test_a_session_tells_its_dialect() -> None:
    """P-DIALECT-2: What users hold asks the runtime, and that the driver."""
    driver = Driver(ResponsesSession(options=SessionOptions(dialect="azure")), FakeRuntime(), lambda: ENDPOINT)
    runtime = SimpleNamespace(_driver=driver)
    runtime.dialect = SessionRuntime.dialect.fget(runtime)  # type: ignore[attr-defined]
    assert Session(cast("Any", runtime)).dialect is AZURE
