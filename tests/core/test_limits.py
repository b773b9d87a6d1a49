"""What a peer can make turnwire do and keep is bounded (DESIGN.md, "Limits"): counted here, not timed.

Memory is counted by what is kept, work by steps. ``python -m benchmarks attacks`` measures seconds and bytes.
"""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
import zlib
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from kit.driving import FakeRuntime, completed, created
from kit.machines import ENDPOINT, Wire, failed
from turnwire.sansio.connection import ConnectionOptions, Turn
from turnwire.sansio.connection._turn import EVENT_COST, MAX_ITEMS
from turnwire.sansio.driver import Driver
from turnwire.sansio.errors import EventDecodeError, LimitExceededError, TooManyTurnsError
from turnwire.sansio.events import ResponseTextDeltaEvent, decode_event
from turnwire.sansio.events import _json as event_json
from turnwire.sansio.events._lenient import MOST_ODD
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.notices import MOST_QUEUED, Notices
from turnwire.sansio.rate_limits import MOST_TYPES, RateLimitLog
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.server import ServerConnection
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.websocket import (
    MAX_EARLY,
    MAX_HEADERS,
    WORK_AT_ONCE,
    Broken,
    ClientHandshake,
    Deflate,
    WebSocket,
    write_head,
)
from turnwire.sansio.websocket._frames import COMPRESSED

MIB = 1024 * 1024


def frame(payload: bytes, first: int = 0x81) -> bytes:
    return write_head(first, len(payload), masked=False) + payload


def message(event: dict[str, Any]) -> bytes:
    return frame(json.dumps(event).encode())


def steps(machine: Any, data: bytes, look: Callable[[], object] = lambda: None) -> int:
    """How many calls it takes to process the data; ``look`` is called after each."""
    machine.receive_data(data, 0.0)
    look()
    calls = 1
    while machine.has_unprocessed:
        machine.process(0.0)
        look()
        calls += 1
    return calls


def peak(action: Callable[[], object]) -> int:
    """The most bytes that Python held within a call, beyond what it held before."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- Work ------------------------------------------------------------------------------------------------------------


def deflating() -> WebSocket:
    deflate = Deflate()
    deflate.accept("permessage-deflate")
    return WebSocket(client=True, extensions=[deflate])


@pytest.mark.parametrize(
    ("begin", "again", "each"),
    [
        (b"", frame(b""), 1),
        (b"", frame(b"{}"), 1),
        (frame(b"{", 0x01), frame(b"x", 0x00), 1),
        (frame(b"", 0x01), frame(b"", 0x00), 1),
        (b"", frame(b"", 0x89), 1),
        (b"", frame(b"\0", 0xC1), COMPRESSED),
    ],
    ids=["empty texts", "objects", "fragments of a byte", "empty fragments", "pings", "empty compressed frames"],
)
def test_d_limit_1_one_call_reads_so_many_frames(begin: bytes, again: bytes, each: int) -> None:
    """D-LIMIT-1: what one read brings takes as many calls as it has units of work, in thousands."""
    websocket = deflating()
    websocket.receive(begin + again * 6 * WORK_AT_ONCE)
    calls = 1
    while websocket.pending:
        websocket.receive()
        calls += 1
    assert calls in (6 * each, 6 * each + 1)
    assert (WORK_AT_ONCE, COMPRESSED) == (1024, 4)


def test_d_limit_1_an_empty_compressed_frame_counts_as_four() -> None:
    """D-LIMIT-1, the units themselves, whatever the bytes of a read are."""
    for size in (7, 1000, 10**6):
        websocket = deflating()
        data, items, most = frame(b"\0", 0xC1) * 2000, 0, 0
        for begin in range(0, len(data), size):
            part = websocket.receive(data[begin : begin + size])
            items, most = items + len(part), max(most, len(part))
            while websocket.pending:
                part = websocket.receive()
                items, most = items + len(part), max(most, len(part))
        assert items == 2000
        assert most <= WORK_AT_ONCE // COMPRESSED + 1


class Http:
    """A turn over HTTP whose request was handed."""

    def __init__(self, head: str) -> None:
        self.connection = HttpConnection(ENDPOINT, options=ConnectionOptions(), now=0.0)
        timeouts = self.connection.options.turn_timeouts
        self.turn = Turn.from_body({"model": "m", "input": "x"}, lane=None, timeouts=timeouts, now=0.0)
        self.connection.submit(self.turn, 0.0)
        self.connection.transport_connected(0.0)
        self.connection.data_to_send(10**6, 0.0)
        self.head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{head}\r\n\r\n".encode()

    def steps(self, data: bytes, look: Callable[[], object] = lambda: None) -> int:
        return steps(self.connection, self.head + data, look)


@pytest.mark.parametrize("line", [b"\n", b":\n", b"id:1\n", b"retry:1\r\n", b"\r"], ids=repr)
@pytest.mark.parametrize("compressed", [False, True])
def test_d_limit_2_lines_that_say_nothing_are_work(line: bytes, compressed: bool) -> None:
    """D-LIMIT-2: a megabyte of short lines is not one step, least of all if it came as a thousand bytes of gzip."""
    data = b":\n" + line * 150_000
    body = gzip.compress(data) if compressed else data
    http = Http(f"content-length: {10 * len(data)}{chr(13)}{chr(10)}content-encoding: gzip" if compressed else "x: y")
    assert http.steps(body) >= 150_000 // 64 // 1024
    assert not http.turn.ended


def test_d_limit_2_the_lines_of_one_step_are_bounded() -> None:
    """D-LIMIT-2: no step reads more than its units, and one piece."""
    http = Http("content-length: 1000000000\r\ncontent-encoding: gzip")
    seen = [0]

    def look() -> None:
        answer = http.connection._answer
        if answer is not None:
            seen.append(answer._stream.retry or 0)

    data = b"".join(b"retry:%d\n" % number for number in range(1, 100_000))
    http.steps(gzip.compress(data), look)
    assert seen[-1] > 99_000
    assert max(after - before for before, after in pairwise(seen)) <= 64 * 1024 + 16384


def test_d_limit_13_a_server_decodes_a_long_message_in_slices() -> None:
    """D-LIMIT-13: one message is many steps, and a flood of pings is, too."""
    server = ServerConnection()
    server.accept(b"/", [(b"upgrade", b"websocket"), (b"connection", b"upgrade"), (b"host", b"x"), *KEY], 0.0)
    client = WebSocket(client=True)
    assert steps(server, client.text(b'{"type":"x","a":[' + b"{}," * 100_000 + b"0]}")) > 30
    assert steps(server, client.ping() * 3 * WORK_AT_ONCE, server.data_to_send) >= 3


KEY = [(b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"KioqKioqKioqKioqKioqKg==")]


# --- One message -----------------------------------------------------------------------------------------------------

TEXT = b'{"type":"response.output_text.delta","delta":"%b","logprobs":[%b]}'


@pytest.mark.parametrize(
    "text",
    [
        TEXT % (rb"\ud83dx" * 100_000, b""),
        TEXT % (rb"\ude00\ud83d" * 50_000, b""),
        TEXT % (b"", b"NaN," * 100_000 + b"0"),
        TEXT % (rb"\ud83d", b'"",' * 100_000 + b"-Infinity"),
        TEXT % (b"", b"0," * MOST_ODD + b"0"),
        TEXT % (b"", b"{}," * 100_000 + b"{}"),
        b'{"type":"x","a":NaN' + b',"":0' * 100_000 + b"}",
    ],
    ids=["half pairs", "halves swapped", "NaN", "texts and one Infinity", "odd elements", "objects", "members"],
)
def test_d_limit_4_decoding_takes_no_python_code_for_each_piece(text: bytes) -> None:
    """D-LIMIT-4, D-LIMIT-5: counted are the calls of Python functions; 100,000 pieces cause none of them."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    decode_event(b'{"type":"response.output_text.delta","delta":5}')  # Plans and patterns are made once.
    sys.setprofile(count)
    try:
        event = decode_event(text)
    finally:
        sys.setprofile(None)
    assert event.raw_bytes
    assert calls < 500


@pytest.mark.parametrize(
    "make", [event_json.replace_surrogates, event_json.standard_json], ids=lambda make: make.__name__
)
def test_d_limit_4_repairing_a_text_takes_little_memory(make: Callable[[bytes], bytes]) -> None:
    """D-LIMIT-4: at most 35 bytes for each byte of the text."""
    text = b'["' + rb"\ud83dx" * 50_000 + b'",NaN' + b',""' * 100_000 + b",-Infinity" * 10_000 + b"]"
    assert peak(lambda: make(text)) < 35 * len(text)


@pytest.mark.parametrize(
    "text",
    [TEXT % (b"", b"{}," * 100_000 + b"{}"), b'{"type":"error","a":[' + b'"ab",' * 100_000 + b"0]}"],
    ids=["logprobs", "an error"],
)
def test_d_limit_4_a_decoded_message_takes_a_multiple_of_its_size(text: bytes) -> None:
    """D-LIMIT-4: at most 35 bytes for each byte of the text."""
    kept: list[object] = []
    assert peak(lambda: kept.append(getattr(decode_event(text), "payload", None))) < 35 * len(text)


def test_d_limit_5_a_long_array_with_an_odd_element_is_missing() -> None:
    """D-LIMIT-5: below the limit only the element is lost."""
    one = b'{"token":"a","logprob":-1.5,"bytes":[],"top_logprobs":[]},'
    below, beyond = (one * (MOST_ODD // len(one) + more) + b"0" for more in (-1, 1))
    for text, kept in ((below, MOST_ODD // len(one) - 1), (beyond, 0)):
        event = decode_event(TEXT % (b"word", text))
        assert isinstance(event, ResponseTextDeltaEvent)
        assert (event.delta, len(event.logprobs)) == ("word", kept)
    whole = decode_event(TEXT % (b"word", one * 10_000 + one[:-1]))
    assert len(whole.logprobs) == 10_001  # pyright: ignore[reportAttributeAccessIssue] - If all fit, none is lost.


@pytest.mark.parametrize("member", ["output_index", "content_index", "sequence_number"])
@pytest.mark.parametrize("number", ["9" * 10**6, "-" + "9" * 10**6, "0." + "9" * 10**6, "1e" + "9" * 10**4])
def test_d_limit_6_a_number_of_a_million_digits_is_missing(member: str, number: str) -> None:
    """D-LIMIT-6: it costs the field; no text of the digits is made for an error."""
    event = decode_event(
        b'{"type":"response.output_text.delta","delta":"x","%b":%b}' % (member.encode(), number.encode())
    )
    assert event.delta == "x"  # pyright: ignore[reportAttributeAccessIssue]
    assert getattr(event, member) in (0, None, 1)


@pytest.mark.parametrize("nest", [b"[", b'{"":', b'[{"a":'], ids=repr)
def test_d_limit_6_a_text_that_is_nested_too_deeply_is_skipped(nest: bytes) -> None:
    """D-LIMIT-6: the connection and its turn go on."""
    wire = Wire.opened()
    turn = wire.run()
    with pytest.raises(EventDecodeError) as caught:
        decode_event(b'{"type":"x","a":' + nest * 50_000)
    assert len(str(caught.value)) < 1000
    wire.receive(frame(b'{"type":"x","a":' + nest * 50_000), message(created()), message(completed()))
    assert turn.phase is Phase.DONE


@pytest.mark.parametrize("bomb", [b" ", b"[", b"a"], ids=repr)
def test_d_limit_3_a_compressed_message_ends_where_its_limit_is(bomb: bytes) -> None:
    """D-LIMIT-3: what is kept of a bomb is at most the limit and one step of zlib; the connection ends with 1009."""
    wire = Wire.opened(compression=True, max_message_size=MIB)
    turn = wire.run()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = frame((packer.compress(bomb * 16 * MIB) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1)
    assert peak(lambda: wire.receive(data)) < 14 * MIB
    failed(turn, Cause.PROTOCOL, Phase.AWAIT, Verdict.AMBIGUOUS, LimitExceededError)
    assert [item.code for item in wire.sent()] == [1009]


# --- Heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "again", "enough"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", MAX_HEADERS),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y", MAX_HEADERS),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 25 * MAX_EARLY),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", b"x", MAX_HEADERS),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n", MAX_HEADERS),
    ],
    ids=["headers", "one header", "informational answers", "extension of a chunk", "trailers"],
)
def test_d_limit_7_what_precedes_a_body_is_bounded(begin: bytes, again: bytes, enough: int) -> None:
    """D-LIMIT-7: the turn fails as soon as too much came."""
    http = Http("")
    data = begin + again * (2 * enough // len(again))
    taken = 0
    while not http.turn.ended and taken < len(data):
        steps(http.connection, data[taken : taken + 4096])
        taken += 4096
    assert isinstance(http.turn.failure, LimitExceededError)
    assert taken <= enough + len(begin) + 2 * 4096


@pytest.mark.parametrize("again", [b"x: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["headers", "informational"])
def test_d_limit_7_the_answer_to_an_upgrade_too(again: bytes) -> None:
    """D-LIMIT-7: before the frames there are the same limits."""
    handshake = ClientHandshake("a", "/")
    begin = b"HTTP/1.1 101 Switching\r\n" if again.startswith(b"x") else b""
    assert isinstance(handshake.receive(begin + again * (2 * MAX_HEADERS // len(again))), Broken)


# --- What is kept ----------------------------------------------------------------------------------------------------


def test_d_limit_8_of_pongs_only_the_latest_is_kept() -> None:
    """D-LIMIT-8: a peer that sends pings and never reads fills no memory."""
    wire = Wire.opened()
    wire.receive(*(frame(b"%03d" % number, 0x89) for number in range(500)))
    assert [item.payload for item in wire.sent()] == [b"499"]


def driver(**options: Any) -> Driver:
    return Driver(ResponsesSession(options=SessionOptions(**options)), FakeRuntime(), lambda: ENDPOINT)


@pytest.mark.parametrize("lanes", [1, 8, 10_000])
def test_d_limit_9_one_of_many_waiting_turns_costs_what_one_of_few_does(lanes: int) -> None:
    """D-LIMIT-9: counted are the calls of Python functions for ten turns that come and are cancelled."""
    counts: dict[int, int] = {}
    for waiting in (100, 3000):
        made = driver()
        turns = [
            made.create({"input": "x"}, lane=f"lane-{number % lanes}", timeouts=None, now=0.0)
            for number in range(waiting)
        ]
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            for turn in turns[waiting // 2 : waiting // 2 + 10]:
                made.cancel(turn, 1.0)
                made.create({"input": "x"}, lane="lane-0", timeouts=None, now=1.0)
        finally:
            sys.setprofile(None)
        counts[waiting] = calls
    assert counts[3000] < 1.5 * counts[100]


def test_d_limit_9_so_many_may_wait() -> None:
    """D-LIMIT-9: one more is refused, and nothing of it is kept."""
    made = driver(max_waiting=3)
    for _ in range(3):
        made.create({"input": "x"}, lane=None, timeouts=None, now=0.0)
    with pytest.raises(TooManyTurnsError):
        made.create({"input": "x"}, lane=None, timeouts=None, now=0.0)


def test_d_limit_10_a_connection_remembers_no_long_ids() -> None:
    """D-LIMIT-10: ids of a megabyte are gone with their turn; the turn itself has them."""
    wire = Wire.opened()
    long = "r" * 4097
    for number in range(10):
        turn = wire.run("lane")
        response = {"id": f"{number}{long}", "status": "completed"}
        wire.receive(message({"type": "response.created", "stream_id": "lane", "response": response}))
        for place in range(5):
            item = {"type": "message", "id": f"{place}-{number}{long}"}
            wire.receive(message({"type": "response.output_item.added", "stream_id": "lane", "item": item}))
        wire.receive(message({"type": "response.completed", "stream_id": "lane", "response": response}))
        assert (turn.items, turn.phase, turn.response_id) == ([], Phase.DONE, response["id"])
        assert not wire.connection.remembers(response["id"])
    owners = wire.connection._owners
    kept = [owners._latest, owners._lane_of, owners.late_items, [list(each) for each in owners._ended.values()]]
    assert len(repr(kept)) < 1000


def test_d_limit_10_an_event_with_a_long_id_begins_the_present_turn() -> None:
    """D-LIMIT-10: what is not remembered proves nothing, so the turn that waits is not SAFE because of it."""
    wire = Wire.opened()
    long = "r" * 4097
    wire.run()
    for kind, status in (("created", "in_progress"), ("completed", "completed")):
        wire.receive(message({"type": f"response.{kind}", "response": {"id": long, "status": status}}))
    turn = wire.run()
    wire.receive(message({"type": "response.in_progress", "response": {"id": long, "status": "in_progress"}}))
    wire.receive(message({"type": "error", "status": 400, "error": {"code": "invalid_prompt"}}))
    assert turn.failure is not None
    assert turn.failure.verdict is not Verdict.SAFE


def test_d_limit_10_so_many_items_are_remembered() -> None:
    """D-LIMIT-10: of a response with a thousand items, the last ones."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(message(created()))
    for number in range(1000):
        wire.receive(message({"type": "response.output_item.added", "item": {"type": "message", "id": f"m{number}"}}))
    assert turn.items == [f"m{number}" for number in range(1000 - MAX_ITEMS, 1000)]


def test_d_limit_11_unread_events_are_bounded_however_small_they_are() -> None:
    """D-LIMIT-11: each counts with its text and what it takes besides."""
    wire = Wire.opened(max_buffered=100_000, high_water=50_000)
    turn = wire.run()
    wire.receive(message(created()))
    paused: deque[int] = deque()
    while not turn.ended:
        wire.receive(frame(b'{"type":"x"}'))
        if wire.connection.has_slow_consumer:
            paused.append(len(turn.events))
    assert paused[0] <= 50_000 // EVENT_COST + 1
    assert isinstance(turn.failure, LimitExceededError)
    assert max(paused) <= 100_000 // EVENT_COST + 1


def test_d_limit_12_of_what_nobody_reads_little_is_kept() -> None:
    """D-LIMIT-12: notices and rate limits."""
    log = RateLimitLog()
    for number in range(100):
        log.came(decode_event(b'{"type":"codex.%d.rate_limits"}' % number))
    assert len(log.latest().events) == MOST_TYPES
    assert Notices().queued.maxlen == MOST_QUEUED
