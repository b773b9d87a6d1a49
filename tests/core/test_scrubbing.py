"""Scrubbed recordings (RECORDING.md, "Scrubbing"): no text, the same lengths, the same replay."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.driving import completed, created, delta
from kit.machines import answer
from kit.recorded import RecordedRig
from kit.tiers import examples
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import TransportError
from turnwire.sansio.recording import Entry, RecordedFile
from turnwire.sansio.recording._scrub import JsonScrubber
from turnwire.sansio.recording._streams import CompressedError, Held, Stream
from turnwire.sansio.websocket import WebSocket

SCRUB: dict[str, Any] = {"scrub": True}
HTTP = Endpoint("https://server.test/v1/responses")


def scrubbed(text: str, **more: Any) -> str:
    data = text.encode()
    result = JsonScrubber(b"k").message(data, **more)
    assert len(result) == len(data)
    return result.decode()


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type":"a.b","delta":"secret é\\n\\"q\\""}', '{"type":"a.b","delta":"xxxxxxxxxxxxxxxx"}'),
        ('{"n": -1.5e3, "t": true, "f": false, "z": null}', '{"n": -1.5e3, "t": true, "f": false, "z": null}'),
        (
            '{"status":"completed","role":"user","model":"gpt-5.4"}',
            '{"status":"completed","role":"user","model":"gpt-5.4"}',
        ),
        ('{"include": ["a.b", "c"], "input": ["d", ["e"]]}', '{"include": ["a.b", "c"], "input": ["x", ["x"]]}'),
        ('{"type": "a text\\u0020with more than a name has"}', '{"type": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}'),
        ('{"retry_after": "30 s", "x-ratelimit-limit": "5"}', '{"retry_after": "30 s", "x-ratelimit-limit": "5"}'),
        ("[DONE]", "[DONE]"),
        ("not json, is it?", "xxx xxxx, xx xxx"),
        ('{"a": "unended', '{"x": "xxxxxxx'.replace('"x"', '"a"')),
        ("", ""),
    ],
)
def test_texts_become_filler_and_what_the_core_decides_by_stays(text: str, expected: str):
    assert scrubbed(text) == expected


def test_the_texts_of_errors_stay_but_for_their_quotations():
    error = (
        '{"type":"error","error":{"message":"server_error: no \'secret\' and `that` and \\"this\\"; try again in 2s"}}'
    )
    assert scrubbed(error) == (
        '{"type":"error","error":{"message":"server_error: no \'xxxxxx\' and `xxxx` and \\"xxxx\\"; try again in 2s"}}'
    )
    assert "secret" not in scrubbed('{"message": "a secret"}')
    assert "secret" not in scrubbed('{"error": {"message": "a secret"}}', of_server=False)


def test_ids_become_other_ids_of_the_same_form():
    scrubber = JsonScrubber(b"k")
    first = scrubber.message(
        b'{"id":"resp_0123456789abcdef","response_id":"resp_0123456789abcdef","item_id":"msg_1_0"}'
    )
    found = json.loads(first)
    assert found["id"] == found["response_id"] != "resp_0123456789abcdef"
    assert re.fullmatch(r"resp_[0-9a-f]{16}", found["id"])
    assert found["item_id"] == "msg_1_0"  # It says nothing.
    again = scrubber.message(b'{"previous_response_id":"resp_0123456789abcdef","conversation":"conv_012345"}')
    assert json.loads(again)["previous_response_id"] == found["id"]
    assert json.loads(again)["conversation"] != "conv_012345"
    assert JsonScrubber(b"l").message(b'{"id":"resp_0123456789abcdef"}') != first[:29] + b"}"
    long = json.loads(scrubber.message(json.dumps({"id": "call " + "9" * 300}).encode()))["id"]
    assert len(long) == 305
    assert "9999" not in long


def test_ids_are_different_as_long_as_they_can_be():
    scrubber = JsonScrubber(b"k")
    made = {scrubber.identity(b"%04x" % number) for number in range(40_000)}
    assert len(made) == 40_000


@given(
    value=st.recursive(
        st.text() | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
@settings(max_examples=examples(100), deadline=None)
def test_json_stays_json_of_the_same_form(value: Any):
    text = json.dumps(value, ensure_ascii=False)
    result = JsonScrubber(b"k").message(text.encode("utf-8", "surrogatepass"))
    assert _form(json.loads(result)) == _form(value)


def _form(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _form(each) for key, each in value.items()}
    return [_form(each) for each in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"event: response.created\n", b"event: response.created\n"),
        (b'data: {"delta": "abc"}\r\n', b'data: {"delta": "xxx"}\r\n'),
        (b": a comment\n", b":xxxxxxxxxx\n"),
        (b"\n", b"\n"),
        (b"data: [DONE]\n", b"data: [DONE]\n"),
    ],
)
def test_lines_of_a_stream_keep_their_fields(line: bytes, expected: bytes):
    assert JsonScrubber(b"k").line(line) == expected


# --- What arrives ----------------------------------------------------------------------------------------------------


def streamed(data: bytes, size: int) -> bytes:
    stream = Stream(JsonScrubber(b"k"))
    pieces = [bytearray(data[start : start + size]) for start in range(0, len(data), size)]
    for piece in pieces:
        stream.feed(piece)
    stream.finish()
    assert stream.oldest is None
    return b"".join(pieces)


def frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    head = bytes((first, length)) if length < 126 else bytes((first, 126)) + length.to_bytes(2, "big")
    return head + payload


OPEN = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"
LONG = b'{"delta": "%s"}' % (b"s" * 300)
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
NEXT = b"HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (OPEN + frame(0x81, b'{"delta": "abc"}'), OPEN + frame(0x81, b'{"delta": "xxx"}')),
        (OPEN + frame(0x81, LONG), OPEN + frame(0x81, LONG.replace(b"s", b"x"))),
        (
            OPEN + frame(0x01, b'{"delta": "ab') + frame(0x89, b"ping") + frame(0x00, b"") + frame(0x80, b'c"}'),
            OPEN + frame(0x01, b'{"delta": "xx') + frame(0x89, b"ping") + frame(0x00, b"") + frame(0x80, b'x"}'),
        ),
        (OPEN + frame(0x88, b"\x03\xe8going away"), OPEN + frame(0x88, b"\x03\xe8xxxxxxxxxx")),
        (OPEN + frame(0x88, b""), OPEN + frame(0x88, b"")),
        (OPEN + frame(0x81, b'{"delta": "0 1 2"}')[:-5], OPEN + frame(0x81, b"x" * 18)[:-5]),
        (OPEN + frame(0x88, b"\x03\xe8going")[:-1], OPEN + frame(0x88, b"xxxxxxx")[:-1]),
        (
            CHUNKED + b'10\r\ndata: {"delta": \r\n8;a=b\r\n"abc"}\n\n\r\n0\r\nX-Trailer: a\r\n\r\n' + NEXT,
            CHUNKED + b'10\r\ndata: {"delta": \r\n8;a=b\r\n"xxx"}\n\n\r\n0\r\nX-Trailer: a\r\n\r\n' + NEXT,
        ),
        (CHUNKED + b'f\r\ndata: {"delta":\r\n', CHUNKED + b"f\r\nxxxxxxxxxxxxxxx\r\n"),
        (CHUNKED + b'6\r\n"abc"}\r\n0\r\n\r\n', CHUNKED + b'6\r\n"xxx"}\r\n0\r\n\r\n'),
        (CHUNKED + b"what?\r\n\r\n", CHUNKED + b"what?\r\n\r\n"),
        (OK % 14 + b'{"text":"abc"}' + NEXT, OK % 14 + b'{"text":"xxx"}' + NEXT),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK % 0 + NEXT, b"HTTP/1.1 100 Continue\r\n\r\n" + OK % 0 + NEXT),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b'{"text":"abc"}', b"HTTP/1.1 200 OK\r\n\r\n" + b'{"text":"xxx"}'),
        (
            b"HTTP/1.1 502 Bad\r\ncontent-length: 11\r\n\r\nBad Gateway" + NEXT,
            b"HTTP/1.1 502 Bad\r\ncontent-length: 11\r\n\r\nBad Gateway" + NEXT,
        ),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n" + NEXT, b"HTTP/1.1 304 Not Modified\r\n\r\n" + NEXT),
        (b"SSH-2.0 hello\r\n\r\nsecret", b"SSH-2.0 hello\r\n\r\nxxxxxx"),
        (b"HTTP/1.1 101", b"HTTP/1.1 101"),
    ],
)
def test_what_arrives_is_scrubbed_in_place_however_reads_cut_it(data: bytes, expected: bytes, size: int):
    assert streamed(data, size) == expected


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"HTTP/1.1 101 X\r\nSec-WebSocket-Extensions: a\r\n\r\n"],
)
def test_compressed_data_cannot_be_scrubbed(head: bytes):
    """F-SCRUB-3."""
    with pytest.raises(CompressedError):
        Stream(JsonScrubber(b"k")).feed(bytearray(head))


def test_lines_wait_until_what_is_before_them_is_decided():
    held = Held(JsonScrubber(b"k"))

    def add(do: str, data: bytes = b"", link: int | None = 1) -> list[tuple[str, bytes]]:
        return [(entry.do, bytes(its)) for entry, its in held.add(Entry(do=do, at=1.0, link=link), data)]

    assert add("opened") == [("opened", b"")]
    assert add("received", OPEN + frame(0x81, b'"abc"')[:-2]) == []
    assert add("listen", link=None) == []
    assert add("received", NEXT, link=2) == []
    assert [do for do, _ in add("received", b'c"')] == ["received", "listen", "received", "received"]
    assert add("received", frame(0x81, b'"abc"')[:-1]) == []
    assert [do for do, _ in add("lost")] == ["received", "lost"]
    assert add("lost") == [("lost", b"")]
    assert add("received", OPEN + b"\x81\x05a", link=3) == []
    assert [do for do, _ in add("end", link=None)] == ["received", "end"]


# --- A session -------------------------------------------------------------------------------------------------------


def test_a_scrubbed_session_has_no_text_and_replays():
    """F-SCRUB-2."""
    rig = RecordedRig.connected(recording=SCRUB)
    first = rig.create("a", input="my secret", metadata={"note": "another secret"})
    rig.say(created(1, "a"), delta("a secret answer", "a"))
    data = b"".join(
        rig.server.text(json.dumps(event).encode()) for event in (delta("the secret end", "a"), completed(1, "a"))
    )
    rig.receive(data[:50])
    rig.driver.writable(rig.link, rig.now)
    rig.receive(data[50:])
    assert first.response is not None
    rig.create(previous_response_id="resp_0123456789", input="more secrets")
    rig.lost(TransportError("reset"))
    rig.close()
    assert b"secret" not in rig.contents
    assert b"0123456789" not in rig.contents
    header = RecordedFile(rig.contents).header
    assert (header.scrubbed, header.outputs) == (True, "length")
    track = rig.replayed().sessions[0]
    assert [(turn.end, turn.verdict, turn.lane) for turn in track.turns] == [
        ("completed", None, "a"),
        ("error", "ambiguous", None),
    ]
    assert [len(mark.raw) for mark in track.turns[0].events] == [
        len(json.dumps(event))
        for event in (created(1, "a"), delta("a secret answer", "a"), delta("the secret end", "a"), completed(1, "a"))
    ]


def test_a_scrubbed_retrieval_asks_for_the_other_id():
    rig = RecordedRig(place=HTTP, recording=SCRUB)
    rig.retrieve("resp_0123456789abcdef")
    rig.driver.opened(rig.link, rig.now)
    body = {"id": "resp_0123456789abcdef", "object": "response", "status": "completed", "output": [], "x": "secret"}
    rig.receive(answer(200, json.dumps(body), content_type="application/json"))
    rig.close()
    assert b"0123456789" not in rig.contents
    assert b"secret" not in rig.contents
    (turn,) = rig.replayed().sessions[0].turns
    assert turn.end == "completed"
    assert turn.retrieval != "resp_0123456789abcdef"


def test_a_compressed_answer_ends_the_recording_and_not_the_session():
    """F-SCRUB-3."""
    rig = RecordedRig(place=HTTP, recording=SCRUB, transport="http")
    turn = rig.create()
    rig.driver.opened(rig.link, rig.now)
    rig.receive(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\ncontent-type: text/event-stream\r\n\r\n")
    rig.driver.cancel(turn, rig.now)
    rig.close()
    assert rig.entries[-1].reason == "failed"
    assert "the recording raised CompressedError" in rig.log.lines
    assert rig.replayed().sessions[0].end == "failed"


def test_a_client_frame_is_no_text_either():
    stream = Stream(JsonScrubber(b"k"))
    client = WebSocket(client=True, random_bytes=lambda length: b"\0" * length)
    piece = bytearray(OPEN + client.text(b'"secret"'))
    stream.feed(piece)
    stream.finish()
    assert b"secret" not in piece
