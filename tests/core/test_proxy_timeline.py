"""The timeline of a proxy's recording: turns, connections and verdicts (RECORDING.md, F-PROXY-6)."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from kit.recorded import RecordedRig
from turnwire.sansio.cassette import Cassette
from turnwire.sansio.errors import UserError
from turnwire.sansio.record import Recording
from turnwire.sansio.recording import (
    ConnectionTrack,
    ProxiedConnection,
    ProxyLog,
    ProxyOptions,
    Timeline,
    TurnTrack,
    proxy_timeline,
    timeline_of,
    upstream_of,
)
from turnwire.sansio.server import Access, Asked, Transcript
from turnwire.sansio.websocket import WebSocket

UPSTREAM = upstream_of("https://api.test/v1")
UPGRADE = b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


class Passed:
    """A connection through a proxy; each step is a second after the one before."""

    def __init__(self) -> None:
        self.written = io.BytesIO()
        self.log = ProxyLog(Recording(self.written), UPSTREAM.url, 1.5, "0")
        self.at, self.number = 0.0, 0
        self.connect()

    def connect(self) -> None:
        self.number += 1
        self.connection = ProxiedConnection(self.number, UPSTREAM, Access(), self.log, ProxyOptions())
        self.connection.opened(self.at)
        self.server, self.client = WebSocket(client=False), WebSocket(client=True)

    @classmethod
    def upgraded(cls) -> Passed:
        passed = cls()
        passed.asks(UPGRADE)
        passed.says(SWITCH)
        return passed

    def asks(self, data: bytes) -> None:
        self.at += 1
        self.connection.from_client(data, self.at)

    def says(self, data: bytes) -> None:
        self.at += 1
        self.connection.from_server(data, self.at)

    def create(self, **body: Any) -> None:
        self.asks(self.client.text(json.dumps({"type": "response.create", **body}).encode()))

    def event(self, kind: str, lane: str | None = None, **members: Any) -> None:
        named = {} if lane is None else {"stream_id": lane}
        self.says(self.server.text(json.dumps({"type": kind, **named, **members}).encode()))

    def post(self, **body: Any) -> None:
        self.request("POST /v1/responses", json.dumps(body).encode())

    def request(self, start: str, body: bytes = b"") -> None:
        self.asks(f"{start} HTTP/1.1\r\nHost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    def answer(self, body: bytes, status: int = 200, kind: str = "application/json") -> None:
        head = f"HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.says(head.encode() + body)

    def stream(self, *events: dict[str, Any]) -> None:
        self.answer(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events), kind=STREAM)

    def closed(self, by: str, error: Exception | None = None) -> None:
        self.at += 1
        self.connection.closed(self.at, by, error)

    @property
    def contents(self) -> bytes:
        return self.written.getvalue()

    @property
    def timeline(self) -> Timeline:
        return proxy_timeline(self.contents)

    @property
    def turns(self) -> list[TurnTrack]:
        return self.timeline.sessions[0].turns

    @property
    def links(self) -> list[ConnectionTrack]:
        return self.timeline.sessions[0].connections


STREAM = "text/event-stream"
CREATED = {"type": "response.created", "response": {"id": "r1"}}
COMPLETED = {"type": "response.completed", "response": {"id": "r1", "status": "completed"}}


def how(turn: TurnTrack) -> tuple[str | None, str | None, str | None]:
    return turn.end, turn.verdict, turn.failure


def test_f_proxy_6_lanes_of_a_websocket_are_turns():
    passed = Passed.upgraded()
    passed.create(stream_id="a", input="one", previous_response_id="r0")
    passed.create(stream_id="b", input="two")
    passed.event("response.created", "b", response={"id": "rb"})
    passed.event("response.created", "a", response={"id": "ra"})
    passed.event("rate_limits", "a")
    passed.event("response.output_text.delta", "a", delta="x")
    passed.event("response.completed", "a", response={"id": "ra", "status": "completed"})
    passed.event("response.incomplete", "b", response={"id": "rb"})
    passed.event("response.completed", "a")  # There is no turn in this lane any more.
    passed.create(stream_id="a", type="response.steer")
    passed.says(passed.server.close(1000))
    passed.closed("client")
    one, two = passed.turns
    assert (one.number, one.lane, one.previous, one.response_id) == (1, "a", "r0", "ra")
    assert (two.number, two.lane, two.previous, two.response_id) == (2, "b", None, "rb")
    assert (one.body or {})["input"] == "one"
    assert (one.began, one.ended, how(one)) == (3.0, 9.0, ("completed", None, None))
    assert (two.began, two.ended, how(two)) == (4.0, 10.0, ("incomplete", None, None))
    assert [(wait.phase, wait.at, wait.until) for wait in one.waits] == [("AWAIT", 3.0, 6.0), ("STREAM", 6.0, 9.0)]
    assert [(mark.type, mark.at, mark.connection) for mark in two.events] == [
        ("response.created", 5.0, 1),
        ("response.incomplete", 10.0, 1),
    ]
    (link,) = passed.links
    assert (link.transport, link.endpoint, link.opened, link.ended, link.reason) == (
        "websocket",
        "api.test",
        2.0,
        14.0,
        None,
    )
    assert link.sent > 200
    assert link.received > 400
    timeline = passed.timeline
    assert (timeline.began, timeline.ended, timeline.wall, timeline.scrubbed, timeline.cut) == (
        0.0,
        14.0,
        1.5,
        False,
        False,
    )
    assert timeline.lines == passed.contents.count(b"\n")


def test_f_proxy_6_events_without_a_lane_are_of_the_first_turn():
    passed = Passed.upgraded()
    passed.create(stream_id="a")
    passed.create(stream_id="b")
    passed.event("response.created", response={"id": "1"})
    passed.event("response.completed", response={"id": "1"})
    passed.event("response.created", response={"id": "2"})
    assert [(turn.response_id, turn.end) for turn in passed.turns] == [("1", "completed"), ("2", None)]


@pytest.mark.parametrize(
    ("lane", "events", "verdict", "failure"),
    [
        ("a", [], "safe", "400 invalid_prompt"),
        ("a", [("mystery", "a")], "ambiguous", "400 invalid_prompt"),
        ("a", [("response.created", "a")], "unsafe", "400 invalid_prompt"),
        (None, [], "ambiguous", "400 invalid_prompt"),  # It may mean another turn.
    ],
)
def test_f_proxy_6_an_error_ends_the_turn_with_the_verdict_of_its_client(
    lane: str | None, events: list[tuple[str, str]], verdict: str, failure: str
):
    passed = Passed.upgraded()
    passed.create(stream_id="a")
    for kind, its in events:
        passed.event(kind, its)
    passed.event("error", lane, status=400, error={"code": "invalid_prompt", "message": "No."})
    (turn,) = passed.turns
    assert how(turn) == ("error", verdict, failure)
    assert turn.text == "No."
    assert (turn.evidence or {})["refusal"]["code"] == "invalid_prompt"


@pytest.mark.parametrize(
    ("by", "error", "close", "ended"),
    [
        ("server", ConnectionResetError("reset"), None, ("error", "unsafe", "connection")),
        ("server", None, None, ("error", "unsafe", "connection")),
        ("server", None, 1011, ("error", "unsafe", "connection")),
        ("server", None, 1000, ("error", "unsafe", "connection")),
        ("client", None, None, ("left", "unsafe", "connection")),
        ("proxy", None, None, ("error", "unsafe", "connection")),
    ],
)
def test_f_proxy_6_a_turn_that_a_connection_left_without_an_end_has_a_verdict(
    by: str, error: Exception | None, close: int | None, ended: tuple[str, str, str]
):
    passed = Passed.upgraded()
    passed.create(stream_id="a")
    passed.create(stream_id="b")
    passed.event("response.created", "a", response={"id": "ra"})
    if close is not None:
        passed.says(passed.server.close(close))
    passed.closed(by, error)
    one, two = passed.turns
    assert how(one) == ended
    assert how(two) == (ended[0], "ambiguous", "connection")
    assert one.left == (one.ended if by == "client" else None)
    words = f"closed by the {by}" + (", ConnectionResetError: reset" if error else "")
    assert one.text == words + ("" if close is None else f", code {close}")
    (link,) = passed.links
    assert link.reason == (one.text if by == "server" else None)
    notices = [notice.name for notice in passed.timeline.sessions[0].notices]
    assert notices == (["connection_lost"] if by == "server" and close != 1000 else [])
    assert (one.evidence or {}).get("close_code") == close


def test_f_proxy_6_streams_over_http_are_turns():
    passed = Passed()
    passed.post(input="one", stream=True)
    passed.stream(CREATED, COMPLETED)
    passed.post(input="two", stream=True)
    passed.stream(CREATED)
    passed.post(input="three", stream=True)
    passed.stream({"type": "error", "status": 500, "error": {"code": "server_error", "message": "No."}})
    passed.request("GET /v1/responses/r1?stream=true")
    passed.stream(CREATED, COMPLETED)
    passed.request("GET /v1/models")
    passed.answer(b"{}")
    passed.request("POST /v1/responses/r1/cancel")
    passed.answer(b"{}")
    assert [how(turn) for turn in passed.turns] == [
        ("completed", None, None),
        ("error", "unsafe", "end of the answer"),
        ("error", "ambiguous", "200 server_error"),
        ("completed", None, None),
    ]
    assert [turn.retrieval for turn in passed.turns] == [None, None, None, "r1"]
    assert {turn.transport for turn in passed.turns} == {"http"}
    assert passed.links[0].opened == 2.0


def test_f_proxy_6_one_document_is_the_event_that_ends_its_response():
    passed = Passed()
    passed.post(input="one")
    passed.answer(b'{"id": "r1", "object": "response", "status": "incomplete", "output": []}')
    (turn,) = passed.turns
    assert (how(turn), turn.response_id) == (("incomplete", None, None), "r1")
    (mark,) = turn.events
    assert json.loads(mark.raw)["response"]["id"] == "r1"
    assert mark.type == "response.incomplete"


@pytest.mark.parametrize(
    ("status", "body", "ended"),
    [
        (400, b'{"error": {"code": "invalid_prompt", "message": "No."}}', ("error", "safe", "400 invalid_prompt")),
        (500, b'{"error": {"code": "server_error"}}', ("error", "ambiguous", "500 server_error")),
        (502, b"Bad Gateway", ("error", "ambiguous", "HTTP 502")),
        (200, b'{"error": {"code": "odd"}}', ("error", "ambiguous", "200 odd")),
        (200, b"[]", ("error", "unsafe", "end of the answer")),
        (400, b"{", ("error", "safe", "HTTP 400")),
        (400, b'{"detail": "no"}', ("error", "safe", "400")),
    ],
)
def test_f_proxy_6_an_answer_that_is_no_response_ends_the_turn(status: int, body: bytes, ended: tuple[str, str, str]):
    passed = Passed()
    passed.post(input="one")
    passed.answer(body, status)
    assert [how(turn) for turn in passed.turns] == [ended]


def test_f_proxy_6_what_tells_nothing_is_no_turn_and_no_event():
    passed = Passed.upgraded()
    passed.event("response.created", "a")
    passed.create()
    passed.says(passed.server.text(b"[1]"))
    passed.says(passed.server.text(b"nothing"))
    passed.says(passed.server.ping(b""))
    (turn,) = passed.turns
    assert (turn.events, turn.end, turn.verdict, turn.ended) == ([], None, None, None)
    assert proxy_timeline(passed.contents.split(b"\n")[0] + b"\n").sessions[0].turns == []


def test_the_timeline_of_a_recording_is_that_of_its_kind():
    passed = Passed()
    passed.post(input="one", stream=True)
    assert timeline_of(passed.contents) == passed.timeline
    rig = RecordedRig.connected()
    rig.create()
    assert len(timeline_of(rig.contents).sessions[0].turns) == 1


def test_f_cassette_1_a_proxys_recording_is_a_script():
    passed = Passed.upgraded()
    passed.create(stream_id="a", input="one")
    passed.event("response.created", "a", response={"id": "r1"})
    passed.event("response.completed", "a", response={"id": "r1"})
    passed.connect()
    passed.post(input="two")
    passed.answer(b'{"id": "r2", "status": "completed"}')
    passed.post(input="three", stream=True)
    cassette = Cassette(passed.contents, speed=2.0)
    second = cassette(Asked(body={"input": "two"}, number=1))
    assert isinstance(second.content, Transcript)
    assert [event["type"] for event in second.content.events] == ["response.completed"]
    first = cassette(Asked(body={"input": "one"}, number=2))
    assert isinstance(first.content, Transcript)
    assert [event["response"]["id"] for event in first.content.events] == ["r1", "r1"]
    assert first.latency == [0.5, 0.5]
    with pytest.raises(UserError, match="has no end"):
        cassette(Asked(body={"input": "three"}, number=3))
