"""What passes through a recording proxy, with its texts replaced (RECORDING.md, "Scrubbing" and "Proxies")."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnwire.sansio.record import Recording
from turnwire.sansio.recording import (
    ProxiedConnection,
    ProxyLog,
    ProxyOptions,
    ProxyRecording,
    RecordedFile,
    upstream_of,
)
from turnwire.sansio.recording import _proxy_log as proxy_log
from turnwire.sansio.server import Access
from turnwire.sansio.websocket import WebSocket

UPSTREAM = upstream_of("https://api.test/v1")
SECRET = "Private 4711"
UPGRADE = b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def request(body: bytes, more: str = "content-type: application/json", start: str = "POST /v1/responses") -> bytes:
    return f"{start} HTTP/1.1\r\nHost: localhost\r\n{more}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def answer(body: bytes, more: str = "content-type: application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{more}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class Scrubbed:
    """A proxy whose recording has no texts."""

    def __init__(self) -> None:
        self.written = io.BytesIO()
        self.log = ProxyLog(Recording(self.written, scrub=True), UPSTREAM.url, 0.0, "0")
        self.number = 0

    def connect(self) -> ProxiedConnection:
        self.number += 1
        one = ProxiedConnection(self.number, UPSTREAM, Access(), self.log, ProxyOptions())
        one.opened(0.0)
        return one

    def upgraded(self) -> ProxiedConnection:
        one = self.connect()
        one.from_client(UPGRADE, 1.0)
        one.from_server(SWITCH, 2.0)
        return one

    def lines(self, do: str) -> list[bytes]:
        assert SECRET.encode() not in self.written.getvalue()
        return [line.data for line in RecordedFile(self.written.getvalue()) if line.entry.do == do]

    def messages(self) -> list[tuple[str, str]]:
        return [(one.what, one.text) for one in ProxyRecording(self.written.getvalue()) if one.way]


def test_f_scrub_4_texts_of_both_directions_are_replaced_and_what_passes_is_as_it_was():
    proxy = Scrubbed()
    one = proxy.connect()
    body = json.dumps({"model": "m", "input": SECRET, "previous_response_id": "resp_abcdef0123"}).encode()
    assert one.from_client(request(body), 1.0).endswith(body)
    one.from_server(answer(b'{"id": "resp_abcdef0123", "text": "%s"}' % SECRET.encode()), 2.0)
    header = RecordedFile(proxy.written.getvalue()).header
    assert (header.kind, header.scrubbed) == ("proxy", True)
    (sent,), (received,) = proxy.lines("sent"), proxy.lines("received")
    asked, said = (json.loads(data.partition(b"\r\n\r\n")[2]) for data in (sent, received))
    assert (asked["model"], asked["input"], said["text"]) == ("m", "x" * 12, "x" * 12)
    assert asked["previous_response_id"] == said["id"] != "resp_abcdef0123"
    assert sent.startswith(b"POST /v1/responses HTTP/1.1\r\n")
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_f_scrub_4_an_id_in_a_path_is_that_of_the_bodies():
    proxy = Scrubbed()
    one = proxy.connect()
    one.from_client(request(b"", start="GET /v1/responses/resp_abcdef0123/input_items"), 1.0)
    one.from_server(answer(b'{"id": "resp_abcdef0123"}'), 2.0)
    (sent,), (received,) = proxy.lines("sent"), proxy.lines("received")
    identity = json.loads(received.partition(b"\r\n\r\n")[2])["id"]
    assert sent.startswith(f"GET /v1/responses/{identity}/input_items HTTP/1.1".encode())
    assert identity != "resp_abcdef0123"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (request(b'{"error": "4711"}'), b'{"error": "xxxx"}'),
        (request(b"4711 and more", "content-type: text/plain"), b"x" * 13),
        (request(b'{"a": 4711}', "content-type: application/json\r\ncontent-encoding: zstd"), b"x" * 11),
    ],
)
def test_f_scrub_4_what_is_no_json_becomes_filler(sent: bytes, kept: bytes):
    proxy = Scrubbed()
    proxy.connect().from_client(sent, 1.0)
    assert proxy.lines("sent")[0].partition(b"\r\n\r\n")[2] == kept


def test_f_scrub_4_requests_follow_one_another():
    proxy = Scrubbed()
    one = proxy.connect()
    chunked = b"POST /v1/responses HTTP/1.1\r\nHost: a.localhost\r\ncontent-type: application/json\r\n"
    one.from_client(chunked + b'transfer-encoding: chunked\r\n\r\n9\r\n{"a":"b"}\r\n0\r\n\r\n', 1.0)
    one.from_server(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", 2.0)
    one.from_client(request(b"", start="HEAD /v1/models"), 3.0)
    one.from_server(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n", 4.0)
    one.from_client(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 5.0)
    one.from_server(answer(b'["%s"]' % SECRET.encode()), 6.0)
    assert proxy.messages() == [
        ("POST /v1/responses", '{"a":"x"}'),
        ("100", ""),
        ("204", ""),
        ("end of the answer", ""),
        ("HEAD /v1/models", ""),
        ("200", ""),
        ("end of the answer", ""),
        ("GET /v1/models", ""),
        ("200", "application/json"),
        ("end of the answer", '["' + "x" * 12 + '"]'),
    ]
    proxy.lines("sent")


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_f_scrub_4_messages_of_a_websocket_are_scrubbed_however_reads_cut_them(size: int):
    proxy, client, server = Scrubbed(), WebSocket(client=True), WebSocket(client=False)
    one = proxy.upgraded()
    text = json.dumps({"type": "response.create", "input": SECRET}).encode()
    asked = client.text(text) + client.ping(b"4711")
    said = server.text(text) + server.pong(b"4711") + server.close(1000, SECRET)
    for way, data in ((one.from_client, asked), (one.from_server, said)):
        for start in range(0, len(data), size):
            way(data[start : start + size], 3.0)
    one.closed(4.0, "server")
    shown = json.dumps({"type": "response.create", "input": "x" * 12})
    assert proxy.messages()[2:] == [
        ("text", shown),
        ("ping", "xxxx"),
        ("text", shown),
        ("pong", "xxxx"),
        ("close 1000", "x" * 12),
    ]
    proxy.lines("received")


@pytest.mark.parametrize(
    ("frames", "kept"),
    [
        (b"\x82\x044711", b"\x82\x04xxxx"),  # It is binary.
        (b"\xc1\x044711", b"\xc1\x04xxxx"),  # It is compressed, although nobody asked for that.
        (b'\x01\x024"\x82\x0247', b"\x01\x02xx\x82\x02xx"),  # A message in another.
        (b"\x81\x84keys4711", b"\x81" + b"x" * 9),  # It is masked.
    ],
)
def test_f_scrub_4_a_frame_that_is_no_text_becomes_filler(frames: bytes, kept: bytes):
    proxy = Scrubbed()
    one = proxy.upgraded()
    one.from_server(frames + b'\x81\x024"', 3.0)
    one.closed(4.0, "server")
    assert proxy.lines("received")[1].startswith(kept)


def test_f_scrub_4_what_is_no_http_becomes_filler():
    proxy = Scrubbed()
    one = proxy.connect()
    one.from_client(request(b"{}"), 1.0)
    one.from_server(b"4711 is", 2.0)
    one.from_server(b" no status\r\n\r\n4711", 3.0)
    one.from_server(b"4711", 3.0)
    one.closed(4.0, "server")
    assert proxy.lines("received") == [b"x" * 7, b"x" * 18, b"xxxx"]


def test_f_scrub_4_lines_wait_until_what_is_before_them_is_decided(monkeypatch: pytest.MonkeyPatch):
    proxy = Scrubbed()
    first, second = proxy.upgraded(), proxy.upgraded()
    before = len(proxy.written.getvalue())
    first.from_server(b'\x81\x0d{"a": ', 3.0)
    first.from_client(WebSocket(client=True).text(b"[]"), 3.0)
    second.from_server(b"\x81\x02[]", 4.0)
    assert len(proxy.written.getvalue()) == before
    first.from_server(b'"4711', 5.0)
    monkeypatch.setattr(proxy_log, "MOST_HELD", 15)
    first.from_server(b'"', 6.0)
    assert len(proxy.written.getvalue()) > before
    first.from_server(b'}\x81\x06"4711"', 7.0)
    assert proxy.lines("received")[2:] == [
        b"\x81\x0d" + b"x" * 6,
        b"\x81\x02[]",
        b"x" * 5,
        b"x",
        b'x\x81\x06"xxxx"',
    ]


def test_f_scrub_4_what_has_no_end_becomes_filler():
    proxy = Scrubbed()
    one = proxy.connect()
    one.from_client(request(b'{"input": "4711", "more"}')[:-5], 1.0)
    one.from_server(answer(b'["4711"]')[:-3], 2.0)
    one.closed(3.0, "client")
    (sent,), (received,) = proxy.lines("sent"), proxy.lines("received")
    assert sent.endswith(b"\r\n\r\n" + b"x" * 20)
    assert received.endswith(b"\r\n\r\nxxxxx")


PIECES = [
    request(b'{"input": "4711"}'),
    request(b"4711", "a: b"),
    UPGRADE,
    answer(b'{"input": "4711"}'),
    SWITCH,
    b'\x81\x06"4711"',
    b"\x89\x044711",
    b"4711\r\n",
    b"\r\n\r\n",
    b"4711",
]


AS_A_METHOD = re.compile(rb"(?:4711)+(?=(?:POST|GET) /)")
"""Characters of a token before a method make another method, which is no text: a head stays as it is."""


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(PIECES))))
def test_f_scrub_4_whatever_comes_no_text_is_in_the_file(steps: list[tuple[bool, Any]]):
    proxy = Scrubbed()
    one = proxy.connect()
    for of_client, data in steps:
        if one.refusal is None:
            (one.from_client if of_client else one.from_server)(data, 1.0)
    one.closed(2.0, "client")
    assert not any(b"4711" in AS_A_METHOD.sub(b"", line) for do in ("sent", "received") for line in proxy.lines(do))
    proxy.messages()
