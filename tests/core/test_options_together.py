"""Two options that bear upon each other: which pairs are refused (DESIGN.md, "Options together")."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import turnwire.sansio
from kit.stepping import DEFAULT_CONTEXT, FAILURES, Context, SteppedShell
from turnwire.sansio import client
from turnwire.sansio.dialect import NO_LANES, Dialect, Support
from turnwire.sansio.errors import LaneLimitError, UserError
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.record import Recording
from turnwire.sansio.replay import RecoveryPolicy
from turnwire.sansio.session import EndpointSource, ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.transports import Means, Network, Route

PAGE = (Path(turnwire.sansio.__file__ or "").parent / "spec" / "DESIGN.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| \*\*(D-PAIR-\d+)\*\* \| .* \| (.*?) \|$", PAGE, re.MULTILINE))
"""What becomes of each pair of the page."""

SOCKET, CONTEXT = "unix:/run/llm.sock", Context()
SCRUBBED = Recording("session.jsonl", scrub=True)


def connect(**arguments: Any) -> Any:
    class Connecting(client.Connecting[Any], shell=SteppedShell()):
        pass

    return client.connect(Connecting, **{"base_url": "https://h.test/v1", "api_key": "k", **arguments})


def turn(options: dict[str, Any], stream_id: Any = AUTO, **body: Any) -> Any:
    session = ResponsesSession(options=SessionOptions(**options))
    return session.create({"input": "x", **body}, lane=stream_id, now=0.0)


REFUSED: list[tuple[str, Callable[[], Any], tuple[str, ...]]] = [
    ("D-PAIR-1", lambda: SessionOptions(transport="http", compression=True), ("transport='http'", "compression=True")),
    ("D-PAIR-1", lambda: connect(transport="http", options=SessionOptions(compression=True)), ("compression=True",)),
    ("D-PAIR-2", lambda: SessionOptions(transport="http", leave="abandon"), ("transport='http'", "leave='abandon'")),
    ("D-PAIR-3", lambda: connect(base_url=SOCKET, ssl_context=CONTEXT), ("ssl_context", SOCKET)),
    ("D-PAIR-4", lambda: connect(base_url=SOCKET, proxy="http://p:1"), ("proxy", SOCKET)),
    ("D-PAIR-4", lambda: connect(base_url=SOCKET, proxy="socks5h://p:1"), ("proxy", SOCKET)),
    ("D-PAIR-5", lambda: connect(base_url=SOCKET, proxy_ssl_context=CONTEXT), ("proxy_ssl_context", SOCKET)),
    ("D-PAIR-6", lambda: connect(proxy=None, proxy_ssl_context=CONTEXT), ("proxy_ssl_context", "proxy=")),
    ("D-PAIR-6", lambda: connect(proxy="http://p:1", proxy_ssl_context=CONTEXT), ("proxy_ssl_context", "proxy=")),
    ("D-PAIR-6", lambda: connect(proxy="socks5://p:1", proxy_ssl_context=CONTEXT), ("proxy_ssl_context", "proxy=")),
    ("D-PAIR-7", lambda: turn({"transport": "websocket"}, background=True), ("background=True", "'websocket'")),
    ("D-PAIR-8", lambda: turn({"transport": "http"}, generate=False), ("generate", "HTTP")),
    ("D-PAIR-9", lambda: turn({}, background=True, generate=False), ("generate", "HTTP")),
    ("D-PAIR-10", lambda: turn({"max_named_lanes": 0}, stream_id="a"), ("'a'", "max_named_lanes")),
    ("D-PAIR-33", lambda: SessionOptions(compression=True, record=SCRUBBED), ("compression=True", "scrub=True")),
    ("D-PAIR-34", lambda: connect(transport="http", warm={"model": "m"}), ("transport is 'http'",)),
    ("D-PAIR-11", lambda: Dialect(name="m", lanes=Support.NO, max_in_flight=2), ("lanes is NO", "max_in_flight is 2")),
]


@pytest.mark.parametrize(("row", "make", "words"), REFUSED, ids=lambda each: each if isinstance(each, str) else "")
def test_a_pair_that_contradicts_itself_is_refused_by_an_error_that_names_both(
    row: str, make: Callable[[], Any], words: tuple[str, ...]
) -> None:
    assert ROWS[row].startswith("refused")
    with pytest.raises(UserError) as refused:
        make()
    assert [word for word in words if word not in str(refused.value)] == []
    assert isinstance(refused.value, LaneLimitError) is ("LaneLimitError" in ROWS[row])


def test_every_row_that_is_refused_is_tried() -> None:
    assert {row for row, together in ROWS.items() if together.startswith("refused")} == {row for row, *_ in REFUSED}
    assert len(ROWS) == len(re.findall(r"\*\*D-PAIR-", PAGE)) > 30


# --- All pairs -------------------------------------------------------------------------------------------------------

OTHERS: dict[str, tuple[Any, ...]] = {
    "connect_timeout": (None, 0.1),
    "close_timeout": (0.0,),
    "ping_interval": (None, 1.0),
    "ping_timeout": (None, 1.0),
    "stall_timeout": (0.5,),
    "timeouts": (None, Timeouts(connect=0.1)),
    "compression": (True,),
    "max_message_size": (None, 1),
    "max_request_size": (None, 1),
    "max_buffered": (1,),
    "max_buffered_total": (1,),
    "high_water": (0, 2**40),
    "max_waiting": (1,),
    "max_in_flight": (1,),
    "max_named_lanes": (0,),
    "leave": ("abort", "abandon"),
    "dialect": ("azure", NO_LANES),
    "connections": (2,),
    "transport": ("websocket", "http"),
    "max_age": (None, 0.1),
    "max_idle": (None, 0.1),
    "close_last": (True,),
    "recovery": (RecoveryPolicy(attempts=0, repeat_ambiguous_stateless=True),),
    "telemetry": (None,),
    "record": (Recording("session.jsonl"), SCRUBBED),
}
"""Values of each option that are not its default."""


def is_refused(options: dict[str, Any]) -> bool:
    try:
        SessionOptions(**options)
    except UserError:
        return True
    return False


def test_no_other_pair_of_options_is_refused() -> None:
    assert set(OTHERS) == set(SessionOptions.__struct_fields__)
    refused: set[tuple[object, ...]] = set()
    for one, other in itertools.combinations(OTHERS, 2):
        for first, second in itertools.product(OTHERS[one], OTHERS[other]):
            if is_refused({one: first, other: second}):
                refused.add((one, first, other, second))
    assert refused == {
        ("compression", True, "transport", "http"),
        ("compression", True, "record", SCRUBBED),
        ("leave", "abandon", "transport", "http"),
    }


def test_no_other_arguments_of_connect_are_refused() -> None:
    """D-PAIR-3 to D-PAIR-6, D-PAIR-15 and D-PAIR-16: every way to a server, with every kind of proxy and of TLS."""
    urls = ("https://h.test/v1", "http://h.test/v1", SOCKET)
    proxies = ("client", "env", None, "http://p:1", "https://p:1", "socks5://p:1", "socks5h://p:1")
    for url, proxy, context, to_proxy in itertools.product(urls, proxies, (None, CONTEXT), (None, CONTEXT)):
        named = proxy not in ("client", "env", None)
        no_tls_to_proxy = to_proxy is not None and proxy not in ("client", "env", "https://p:1")
        contradicts = no_tls_to_proxy or (url == SOCKET and (named or context is not None or to_proxy is not None))
        arguments = {"base_url": url, "proxy": proxy, "ssl_context": context, "proxy_ssl_context": to_proxy}
        if contradicts:
            with pytest.raises(UserError):
                connect(**arguments)
        else:
            connect(**arguments)


def test_what_connects_for_a_model_refuses_the_same() -> None:
    """A model knows its endpoint when it is called."""
    given: dict[str, Any] = {"api_key": None, "client": None, "headers": None, "query": None, "environment": {}}
    means = Means({}, lambda: 0.0, lambda: DEFAULT_CONTEXT, FAILURES)
    with pytest.raises(UserError, match=f"ssl_context contradicts {SOCKET}"):
        Route(EndpointSource(base_url=SOCKET, **given), Network(ssl_context=CONTEXT), means)
