"""What a server says of its rate limits is kept as data: over each transport, the last of each, and nothing else."""

from __future__ import annotations

import json

from kit.driving import FakeRuntime
from kit.machines import ENDPOINT, answer, steady, switching
from turnwire.sansio.driver import Driver
from turnwire.sansio.events import decode_event
from turnwire.sansio.rate_limits import MOST_TYPES, RateLimitLog
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.websocket import WebSocket

LIMIT = {"type": "codex.rate_limits", "used": 1}


def test_the_headers_of_the_upgrade_and_the_events_of_a_websocket() -> None:
    session, runtime = ResponsesSession(random_bytes=steady), FakeRuntime()
    driver = Driver(session, runtime, lambda: ENDPOINT)
    driver.create({"input": "x"}, now=0.0)
    link = runtime.links[0]
    driver.opened(link, 0.0)
    driver.received(link, switching(more="X-RateLimit-Limit: 5\r\nServer: hush\r\n"), 0.0)
    text = WebSocket(client=False).text(json.dumps(LIMIT).encode())
    driver.received(link, text, 0.0)
    told = session.rate_limits.latest()
    assert (told.headers, told.events) == ({"x-ratelimit-limit": "5"}, {"codex.rate_limits": LIMIT})


def test_the_headers_and_the_events_of_an_answer_over_http() -> None:
    session, runtime = ResponsesSession(random_bytes=steady, options=SessionOptions(transport="http")), FakeRuntime()
    driver = Driver(session, runtime, lambda: ENDPOINT)
    driver.create({"input": "x"}, now=0.0)
    link = runtime.links[0]
    driver.opened(link, 0.0)
    body = f"data: {json.dumps(LIMIT)}\n\n"
    headers = {"RateLimit": '"default";r=5', "content_type": "text/event-stream"}
    driver.received(link, answer(200, body, **headers), 0.0)
    told = session.rate_limits.latest()
    assert (told.headers, told.events) == ({"ratelimit": '"default";r=5'}, {"codex.rate_limits": LIMIT})


def test_a_connection_alone_writes_nothing_down() -> None:
    session, runtime = ResponsesSession(random_bytes=steady), FakeRuntime()
    driver = Driver(session, runtime, lambda: ENDPOINT)
    driver.create({"input": "x"}, now=0.0)
    link = runtime.links[0]
    link.connection.rate_limits = None
    driver.opened(link, 0.0)
    driver.received(link, switching(more="X-RateLimit-Limit: 5\r\n"), 0.0)
    driver.received(link, WebSocket(client=False).text(json.dumps(LIMIT).encode()), 0.0)
    assert (session.rate_limits.latest().headers, session.rate_limits.latest().events) == ({}, {})


def test_the_last_counts_and_types_are_bounded() -> None:
    log = RateLimitLog()
    log.answered({"x-ratelimit-limit": "1"})
    log.answered({"X-RateLimit-Limit": "2"})
    log.answered({"other": "3"})
    for number in range(MOST_TYPES + 5):
        log.came(decode_event(json.dumps({"type": f"x{number}.rate_limits"}).encode()))
    log.came(decode_event(b'{"type": "x0.rate_limits", "used": 9}'))
    log.came(decode_event(b'{"type": "x0.other"}'))
    log.came(decode_event(b'{"type": "error"}'))
    assert log.latest().headers == {"x-ratelimit-limit": "2"}
    assert len(log.latest().events) == MOST_TYPES
    assert log.latest().events["x0.rate_limits"]["used"] == 9
