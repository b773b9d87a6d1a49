"""What passes through a recording proxy: what is sent on, what is written down, and how it reads (RECORDING.md)."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnwire.sansio.errors import UserError
from turnwire.sansio.record import Recording
from turnwire.sansio.recording import (
    ProxiedConnection,
    ProxiedMessage,
    ProxyLog,
    ProxyOptions,
    ProxyRecording,
    RecordedFile,
    RecordingError,
    upstream_of,
)
from turnwire.sansio.recording._pair import MOST_AHEAD
from turnwire.sansio.server import Access, Problem
from turnwire.sansio.websocket import WebSocket

KEY = "sk-secret-key-0123456789"
UPSTREAM = upstream_of("https://api.test/v1/")
POST = b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:9\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
UPGRADE = b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def post(body: bytes = b"{}", more: bytes = b"") -> bytes:
    return POST + more + b"content-length: %d\r\n\r\n" % len(body) + body


class Proxy:
    """One connection through a proxy, and the file that it writes."""

    def __init__(self, *, full: bool = False, limits: dict[str, Any] | None = None, **recording: Any) -> None:
        self.written = io.BytesIO()
        self.log = ProxyLog(Recording(self.written, **recording), UPSTREAM.url, 1.5, "0")
        self.at = 0.0
        options = ProxyOptions(**(limits or {}))
        self.connection = ProxiedConnection(1, UPSTREAM, Access(), self.log, options, full=full)
        self.connection.opened(0.0)

    @property
    def file(self) -> bytes:
        return self.written.getvalue()

    def client(self, data: bytes) -> bytes:
        self.at += 1
        return self.connection.from_client(data, self.at)

    def server(self, data: bytes) -> bytes:
        self.at += 1
        return self.connection.from_server(data, self.at)

    def lines(self, do: str) -> list[bytes]:
        return [line.data for line in RecordedFile(self.file) if line.entry.do == do]

    def messages(self) -> list[tuple[str, str, str]]:
        return [(one.way, one.what, one.text) for one in ProxyRecording(self.file)]


def upgraded() -> Proxy:
    proxy = Proxy()
    proxy.client(UPGRADE + b"\r\n")
    proxy.server(SWITCH)
    return proxy


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("https://user:word@api.test/v1", "has a user, a query or a fragment"),
        ("https://api.test/v1?a=b", "has a user, a query or a fragment"),
        ("ftp://api.test", "has the scheme 'ftp'"),
    ],
)
def test_a_url_that_is_no_upstream_is_refused(url: str, what: str):
    with pytest.raises(UserError, match=what):
        upstream_of(url)


@pytest.mark.parametrize(
    "url", ["https://api.test/v1", "http://api.test:8080", "http://[::1]:9/v1", "https://api.test:80/a/b"]
)
def test_the_url_of_an_upstream_is_its_own(url: str):
    assert upstream_of(url).url == url


def test_f_proxy_2_the_head_of_a_request_is_rewritten_and_nothing_else():
    proxy = Proxy()
    sent = proxy.client(post(b'{"a": 1}', b"Accept-Encoding: gzip\r\nSec-WebSocket-Extensions: x\r\nX-Other: 1\r\n"))
    assert sent == (
        b"POST /v1/responses HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n"
        b"Accept-Encoding: identity\r\nX-Other: 1\r\ncontent-length: 8\r\n\r\n" + b'{"a": 1}'
    )


def test_f_proxy_2_the_next_request_passes_when_the_answer_has_ended():
    proxy = Proxy()
    first = proxy.client(post(b"1") + post(b"2")[:20])
    assert first.endswith(b"\r\n\r\n1")
    assert proxy.server(OK[:-1]) == b""
    assert proxy.client(post(b"2")[20:]) == b""
    assert proxy.server(OK[-1:]).endswith(b"\r\n\r\n2")
    assert [what for _, what, _ in proxy.messages()] == [
        "a client connected",
        "POST /v1/responses",
        "200",
        "end of the answer",
        "POST /v1/responses",
    ]


def test_f_proxy_2_a_request_that_was_answered_before_its_end_is_followed_by_the_next():
    proxy = Proxy()
    proxy.client(post(b"123456")[:-1])
    proxy.server(OK)
    assert proxy.client(b"6" + post(b"2")).count(b"POST") == 1


def test_f_proxy_2_a_chunked_body_passes():
    proxy = Proxy()
    proxy.client(POST + b"transfer-encoding: chunked\r\n\r\n")
    assert proxy.client(b"3\r\nabc\r\n0\r\n\r\n") == b"3\r\nabc\r\n0\r\n\r\n"
    assert ("sent", "POST /v1/responses", "abc") in proxy.messages()


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (post().replace(b"127.0.0.1:9", b"evil.test"), 421, b"foreign_host"),
        (post(more=b"Origin: https://evil.test\r\n"), 403, b"foreign_origin"),
        (post(more=b"Host: localhost\r\n"), 400, b"invalid_http"),
        (post(more=b"Authorization: x\r\n"), 400, b"repeated_header"),
        (post().replace(b"HTTP/1.1", b"HTTP/1.0"), 505, b"unsupported_version"),
        (b"hello\r\n\r\n", 400, b"invalid_http"),
    ],
)
def test_f_proxy_3_what_is_not_for_it_is_refused_and_not_passed_on(request_: bytes, status: int, code: bytes):
    proxy = Proxy()
    assert proxy.client(request_) == b""
    assert proxy.connection.refusal is not None
    head, _, body = proxy.connection.refusal.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-length: %d" % len(body) in head
    assert code in body
    assert proxy.lines("sent") == []


def test_f_proxy_3_what_is_no_http_is_not_repeated():
    proxy = Proxy()
    proxy.client(b"GET  /v1?key=sk-hush HTTP/1.1\r\n\r\n")
    assert proxy.connection.refusal is not None
    assert b"sk-hush" not in proxy.connection.refusal


def test_f_proxy_3_in_the_middle_of_an_answer_nothing_is_said():
    proxy = Proxy()
    proxy.client(POST + b"transfer-encoding: chunked\r\n\r\n")
    proxy.server(OK[:-1])
    assert proxy.client(b"no chunk\r\n") == b""
    assert proxy.connection.refusal == b""


def test_f_proxy_3_too_much_before_an_answer_is_refused():
    proxy = Proxy()
    proxy.client(post())
    proxy.client(b"x" * (MOST_AHEAD + 1))
    assert proxy.connection.refusal is not None


def test_f_proxy_3_a_server_that_cannot_be_reached_is_told():
    proxy = Proxy()
    proxy.connection.refuse(Problem(502, "upstream_unreachable", "no"))
    assert (proxy.connection.refusal or b"").startswith(b"HTTP/1.1 502 ")


def test_f_proxy_3_one_connection_too_many_is_refused():
    proxy = Proxy(full=True)
    assert proxy.client(post()) == b""
    assert (proxy.connection.refusal or b"").startswith(b"HTTP/1.1 503 ")
    assert b"too_many_connections" in (proxy.connection.refusal or b"")


def late_at(proxy: Proxy, at: float) -> tuple[str, bytes] | None:
    """Nothing is late before that; then: what it says, and the first line of what the client gets."""
    assert proxy.connection.deadline == at
    assert proxy.connection.late(at - 0.001) is None
    assert proxy.connection.refusal is None
    error = proxy.connection.late(at)
    return str(error), (proxy.connection.refusal or b"").split(b"\r\n")[0]


def test_f_proxy_5_a_head_has_to_come_in_time():
    limits = {"header_timeout": 5.0, "idle_timeout": None}
    said = "The head of the request was not there after 5 s."
    assert late_at(Proxy(limits=limits), 5.0) == (said, b"")
    proxy = Proxy(limits=limits)
    proxy.client(post()[:9])
    assert late_at(proxy, 5.0) == (said, b"HTTP/1.1 408 Refused")


def test_f_proxy_5_the_time_of_the_next_head_runs_from_its_first_byte():
    proxy = Proxy(limits={"header_timeout": 5.0, "idle_timeout": None})
    proxy.client(post())
    assert proxy.connection.deadline == float("inf")
    proxy.client(post()[:9])  # It is no head yet: the first answer comes before.
    assert proxy.connection.deadline == float("inf")
    proxy.server(OK)
    assert (proxy.at, proxy.connection.deadline) == (3.0, 8.0)
    proxy.client(post()[9:20])
    assert proxy.connection.deadline == 8.0
    proxy.client(post()[20:])
    assert proxy.connection.deadline == float("inf")


def test_f_proxy_5_a_connection_on_which_nobody_says_anything_ends():
    proxy = Proxy(limits={"idle_timeout": 9.0})
    proxy.client(UPGRADE + b"\r\n")
    assert proxy.connection.deadline == 10.0
    proxy.server(SWITCH)
    assert proxy.connection.deadline == 11.0
    proxy.client(b"\x81\x00")
    assert late_at(proxy, 12.0) == ("Neither side sent anything for 9 s.", b"")


def test_f_proxy_5_without_limits_nothing_is_late():
    proxy = Proxy(limits={"header_timeout": None, "idle_timeout": None})
    assert proxy.connection.deadline == float("inf")


@pytest.mark.parametrize("name", ProxyOptions.__struct_fields__)
def test_f_proxy_5_a_limit_out_of_its_range_is_refused(name: str):
    with pytest.raises(UserError, match=f"{name} is 0"):
        ProxyOptions(**{name: 0})


def test_f_file_4_the_limit_of_the_size_ends_the_recording_and_not_the_connection():
    proxy = Proxy(max_bytes=700)
    assert not proxy.log.full
    bodies = [f'{{"number": {number}}}'.encode() for number in range(9)]
    for body in bodies:
        assert proxy.client(post(body)).endswith(body)
        proxy.server(OK)
    proxy.connection.closed(9.0, "client")
    assert proxy.log.full
    assert len(proxy.file) < 700 + 200
    *_, last = RecordedFile(proxy.file)
    assert (last.entry.do, last.entry.reason) == ("end", "max_bytes")
    assert proxy.messages()[-1] == ("", "the recording ends here: it has its max_bytes", "")
    assert ProxyRecording(proxy.file).header.max_bytes == 700


def test_f_file_3_what_fails_while_it_is_written_ends_the_recording_only():
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if len(self.getvalue()) > 200:
                raise OSError("disk full")
            return super().write(data)

    log = ProxyLog(Recording(Full()), UPSTREAM.url, 1.5, "0")
    connection = ProxiedConnection(1, UPSTREAM, Access(), log, ProxyOptions())
    for number in range(9):
        assert connection.from_client(post(), number) != b""
        connection.from_server(OK, number)
    assert str(log.failed) == "disk full"
    assert not log.full


def test_f_proxy_4_no_credential_is_in_the_file():
    proxy = Proxy()
    more = b"Cookie: a=cookie-0123456789; b\r\nX-Unknown: a private value\r\nOpenAI-Beta: v2\r\n"
    request = post(f'{{"user": "{KEY}"}}'.encode(), more).replace(
        b"/v1/responses", b"/v1/responses?sig=query-0123456789"
    )
    assert KEY.encode() in proxy.client(request)
    proxy.server(b"HTTP/1.1 200 OK\r\nset-cookie: c=1\r\ncontent-length: 60\r\n\r\ncookie-0123456789 query-0123456789 ")
    proxy.server(KEY[:7].encode())
    proxy.server(KEY[7:].encode())
    for secret in (KEY, KEY[:7], "cookie-0", "query-0", "private", "c=1"):
        assert secret.encode() not in proxy.file
    (sent,) = proxy.lines("sent")
    assert b"OpenAI-Beta: v2" in sent
    assert b"Authorization: " + b"*" * len(f"Bearer {KEY}") + b"\r\n" in sent
    assert b"?sig=" + b"*" * 16 + b" HTTP" in sent
    assert b"X-Unknown: ***************\r\n" in sent


def test_f_proxy_4_frames_of_the_client_are_recorded_without_masking():
    proxy, client = upgraded(), WebSocket(client=True)
    texts = [b"a", b"b" * 200, b"c" * 70000]
    data = b"".join(map(client.text, texts)) + client.ping(b"") + client.pong(b"p") + client.close(1000, "bye")
    pieces = [data[:1], data[1:5], data[5:9], data[9:150], data[150:]]
    assert [proxy.client(piece) for piece in pieces] == pieces
    server = WebSocket(client=False)
    assert b"".join(proxy.lines("sent")[1:]).startswith(server.text(b"a") + server.text(b"b" * 200))
    assert [each for each in proxy.messages() if each[0] == "sent"] == [
        ("sent", "GET /v1/responses", ""),
        *[("sent", "text", text.decode()) for text in texts],
        ("sent", "ping", ""),
        ("sent", "pong", "p"),
        ("sent", "close 1000", "bye"),
    ]


def test_f_proxy_4_a_frame_that_is_not_masked_passes_as_it_is():
    proxy, frame = upgraded(), WebSocket(client=False).text(b"abc")
    assert proxy.client(frame) == frame
    assert proxy.lines("sent")[-1] == frame


def test_f_proxy_2_what_was_sent_before_the_upgrade_passes_with_the_answer():
    proxy, frame = Proxy(), WebSocket(client=True).text(b"early")
    proxy.client(UPGRADE + b"\r\n" + frame)
    assert proxy.server(SWITCH + WebSocket(client=False).text(b"first")) == frame
    assert proxy.server(WebSocket(client=False).text(b"next")) == b""
    assert [each for each in proxy.messages() if each[1] == "text"] == [
        ("received", "text", "first"),
        ("sent", "text", "early"),
        ("received", "text", "next"),
    ]


def test_f_proxy_4_a_refused_upgrade_is_followed_by_requests_without_credentials():
    proxy = Proxy()
    proxy.client(UPGRADE + b"\r\n")
    proxy.server(OK)
    assert KEY.encode() in proxy.client(post())
    assert KEY.encode() not in proxy.file


def test_f_proxy_1_lines_say_who_ended_a_connection_and_how():
    proxy = Proxy()
    proxy.connection.closed(3.0, "server", ConnectionResetError("reset"))
    assert list(ProxyRecording(proxy.file)) == [
        ProxiedMessage(0.0, 1, "", "a client connected"),
        ProxiedMessage(3.0, 1, "", "closed by the server", "ConnectionResetError: reset"),
    ]
    header = ProxyRecording(proxy.file).header
    assert (header.kind, header.upstream, header.wall) == ("proxy", "https://api.test/v1", 1.5)


def test_a_connection_that_was_closed_without_an_error_says_nothing_more():
    proxy = Proxy()
    proxy.connection.closed(3.0, "client")
    assert proxy.messages()[-1] == ("", "closed by the client", "")


def test_events_of_an_answer_are_messages():
    proxy = Proxy()
    proxy.client(post())
    body = b'data: {"type":"a"}\n\ndata: b\n\n'
    proxy.server(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    assert proxy.messages()[2:] == [
        ("received", "200", "text/event-stream"),
        ("received", "event", '{"type":"a"}'),
        ("received", "event", "b"),
        ("received", "end of the answer", ""),
    ]


def test_an_answer_that_is_no_http_passes_and_no_request_follows():
    proxy = Proxy()
    proxy.client(post())
    assert proxy.server(b"nonsense\r\n\r\n") == b""
    assert proxy.server(b"more") == b""
    assert proxy.client(post()) == b""
    assert proxy.lines("received") == [b"nonsense\r\n\r\n", b"more"]
    assert proxy.messages()[-1] == ("received", "bytes that are no HTTP", "4")


def test_f_proxy_2_an_answer_without_a_request_passes_and_no_request_follows():
    proxy = Proxy()
    assert proxy.server(OK) == b""
    assert proxy.client(post()) == b""
    assert proxy.connection.refusal == b""
    assert (proxy.lines("received"), proxy.lines("sent")) == ([OK], [])


def test_what_is_no_http_and_no_frame_is_told_in_bytes():
    proxy = Proxy()
    proxy.written.write(b'{"do":"sent","at":1,"link":2,"data":"hello\\r\\n\\r\\n"}\n{"do":"sent"')
    recording = ProxyRecording(proxy.file)
    assert list(recording)[-1] == ProxiedMessage(1.0, 2, "sent", "bytes that are no HTTP", "9")
    assert recording.cut
    other = upgraded()
    other.server(b"\xff\xff")
    assert other.messages()[-1][:2] == ("received", "wrong frame")


def test_many_small_frames_are_all_read():
    proxy = upgraded()
    proxy.server(WebSocket(client=False).text(b"") * 3000)
    assert len(proxy.messages()) == 3000 + 3


def test_a_recording_of_a_session_is_none_of_a_proxy():
    with pytest.raises(RecordingError, match="one of a session"):
        ProxyRecording(b'{"turnwire_recording":1,"turnwire":"0","wall":0}\n')


WITH_KEY = UPGRADE + b"Authorization: Bearer " + KEY.encode() + b"\r\n\r\n"
PIECES = [post(), post()[:50], post()[50:], WITH_KEY, OK, SWITCH, b"\r\n", b"0\r\n\r\n", b"\x81\x00", b"GET / "]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(PIECES) | st.binary(min_size=1, max_size=9))))
def test_whatever_comes_nothing_raises_and_the_file_can_be_read(steps: list[tuple[bool, bytes]]):
    proxy, told = Proxy(), False
    for of_client, data in steps:
        if proxy.connection.refusal is None and (of_client or told or KEY.encode() not in data):
            (proxy.client if of_client else proxy.server)(data)
            told = told or bool(proxy.lines("sent"))
    assert KEY.encode() not in proxy.file
    proxy.messages()
