"""The WebSocket module: the upgrade and CONNECT, both roles; frames, held against wsproto and against websockets."""

from __future__ import annotations

import base64
import itertools
import random
import time
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.tiers import examples
from kit.wsproto_items import items_of_wsproto
from turnwire.sansio.websocket import (
    FRAGMENT,
    MASKED_AT_ONCE,
    MAX_BODY,
    MAX_CHUNKS,
    MAX_EARLY,
    MAX_HEADERS,
    WORK_AT_ONCE,
    Accepted,
    Answer,
    Broken,
    ClientHandshake,
    CloseFrame,
    Deflate,
    Item,
    Ping,
    Pong,
    ProxyTunnel,
    Rejected,
    Violation,
    WebSocket,
    accept_upgrade,
    head_length,
    mask,
    payload_length,
    write_head,
)
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import PerMessageDeflate as TheirDeflate
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import Protocol, Side
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol
from wsproto.utilities import generate_accept_token

THOROUGH = settings(deadline=None, derandomize=True, max_examples=examples(300))
QUICK = settings(deadline=None, derandomize=True, max_examples=examples(100))

NONCE = bytes(range(16))
KEY = base64.b64encode(NONCE)
ACCEPT = generate_accept_token(KEY).decode()
TRAILING = b"\x81\x02{}"


def without_headers(answer: Answer | None) -> Answer | None:
    return msgspec.structs.replace(answer, headers={}) if isinstance(answer, Accepted) else answer


def received(websocket: WebSocket, data: bytes) -> list[Item]:
    """All that a WebSocket makes of the bytes, however often it stops to let others run."""
    items = websocket.receive(data)
    while websocket.pending:
        items += websocket.receive()
    return items


def handshake(*, compression: bool = False, headers: Sequence[tuple[str, str]] = ()) -> ClientHandshake:
    return ClientHandshake(
        "api.test:8080", "/v1/responses?a=b", headers, compression=compression, random_bytes=lambda n: NONCE[:n]
    )


def answer(status: str = "101 Switching Protocols", body: bytes = b"", **headers: str | None) -> bytes:
    """A good answer, with these headers (``_`` for ``-``) put in, replaced or, if None, left out."""
    named: dict[str, str | None] = {"upgrade": "websocket", "connection": "Upgrade", "sec_websocket_accept": ACCEPT}
    named.update(headers)
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items() if value is not None]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode("latin-1") + body


GOOD = answer()


# --- The upgrade, the client's side ----------------------------------------------------------------------------------


def test_the_request_is_that_of_rfc_6455_section_4_1():
    request = handshake(headers=[("Authorization", "Bearer sk"), ("X-Name", "caf\xe9")]).request()
    assert request == (
        b"GET /v1/responses?a=b HTTP/1.1\r\n"
        b"Host: api.test:8080\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: " + KEY + b"\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Authorization: Bearer sk\r\n"
        b"X-Name: caf\xe9\r\n\r\n"
    )


def test_the_request_is_the_same_on_every_call():
    exchange = handshake()
    assert exchange.request() == exchange.request()


def test_the_nonce_comes_from_outside_and_is_otherwise_never_the_same():
    keys = {ClientHandshake("a.test", "/").request().split(b"Key: ")[1].split(b"\r\n")[0] for _ in range(20)}
    assert len(keys) == 20
    assert all(len(base64.b64decode(key)) == 16 for key in keys)


def test_compression_is_offered_only_when_asked_for():
    """P-CONN-7."""
    assert b"Extensions" not in handshake().request()
    offered = handshake(compression=True).request()
    assert b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15" in offered


def test_an_accepted_upgrade_keeps_what_came_after_its_head():
    assert without_headers(handshake().receive(GOOD + TRAILING)) == Accepted(TRAILING, [])


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_the_answer_may_come_in_pieces(pieces: int):
    exchange = handshake()
    for begin in range(0, len(GOOD) - pieces, pieces):
        assert exchange.receive(GOOD[begin : begin + pieces]) is None
    rest = GOOD[begin + pieces :]
    assert without_headers(exchange.receive(rest + TRAILING)) == Accepted(TRAILING)


def test_informational_answers_before_101_are_passed_over():
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert without_headers(handshake().receive(early + GOOD)) == Accepted(b"")
    exchange = handshake()
    assert exchange.receive(early) is None
    assert without_headers(exchange.receive(GOOD)) == Accepted(b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"upgrade": "WebSocket"},
        {"connection": "keep-alive, Upgrade"},
        {"connection": " uPGRADE , x"},
        {"sec_websocket_extensions": ""},
        {"server": "caf\xe9"},
    ],
)
def test_answers_may_be_spelled_in_other_ways(headers: dict[str, str]):
    assert without_headers(handshake().receive(answer(**headers))) == Accepted(b"")


BROKEN = {
    "no Upgrade": ({"upgrade": None}, "lacks 'Upgrade: websocket'"),
    "another Upgrade": ({"upgrade": "h2c"}, "lacks 'Upgrade: websocket'"),
    "no Connection": ({"connection": None}, "lacks 'Connection: Upgrade'"),
    "another Connection": ({"connection": "close, upgraded"}, "lacks 'Connection: Upgrade'"),
    "no accept key": ({"sec_websocket_accept": None}, "wrong Sec-WebSocket-Accept"),
    "another accept key": ({"sec_websocket_accept": ACCEPT.lower()}, "wrong Sec-WebSocket-Accept"),
    "an accept key beyond ASCII": ({"sec_websocket_accept": "\xe9"}, "wrong Sec-WebSocket-Accept"),
    "two accept keys": ({"sec_websocket_accept": f"{ACCEPT}, {ACCEPT}"}, "wrong Sec-WebSocket-Accept"),
    "a subprotocol": ({"sec_websocket_protocol": "chat"}, "subprotocol that was not asked for"),
    "an extension": ({"sec_websocket_extensions": "permessage-deflate"}, "not offered"),
    "an extension beyond ASCII": ({"sec_websocket_extensions": "\xe9"}, "not offered"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_answer_101_that_is_not_to_this_request_is_broken(case: str):
    """P-CONN-16."""
    headers, reason = BROKEN[case]
    broken = handshake().receive(answer(**headers))
    assert isinstance(broken, Broken)
    assert reason in broken.reason


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ("permessage-bzip2", "not offered"),
        ("permessage-deflate; server_max_window_bits=7", "not offered"),
        ("permessage-deflate; server_max_window_bits=x", "not offered"),
        ("permessage-deflate; server_max_window_bits", "not offered"),
        ("permessage-deflate, permessage-deflate", "twice"),
        ("permessage-deflate, permessage-deflate; server_no_context_takeover", "twice"),
    ],
)
def test_compression_must_be_accepted_as_it_was_offered(extensions: str, reason: str):
    """P-CONN-7."""
    broken = handshake(compression=True).receive(answer(sec_websocket_extensions=extensions))
    assert isinstance(broken, Broken)
    assert reason in broken.reason


def test_compression_may_be_accepted_with_parameters_or_not_at_all():
    accepted = handshake(compression=True).receive(
        answer(sec_websocket_extensions="permessage-deflate; server_no_context_takeover; client_max_window_bits=10")
    )
    assert isinstance(accepted, Accepted)
    (deflate,) = accepted.extensions
    assert isinstance(deflate, Deflate)
    assert deflate.enabled()
    assert deflate.server_no_context_takeover
    assert deflate.client_max_window_bits == 10
    assert without_headers(handshake(compression=True).receive(GOOD)) == Accepted(b"", [])


def test_a_rejection_is_kept_with_status_headers_and_body():
    """P-CONN-4."""
    told = b'{"error":{"message":"no"}}'
    data = answer("401 No", told, content_length=str(len(told)), X_Request_Id="r1", set_cookie="a") + b"ignored"
    data = data.replace(b"set-cookie: a", b"set-cookie: a\r\nSet-Cookie: b")
    rejected = handshake().receive(data)
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.body) == (401, told)
    assert rejected.headers["x-request-id"] == "r1"
    assert rejected.headers["set-cookie"] == "a, b"


@pytest.mark.parametrize(
    "status", ["200 OK", "204 None", "301 Moved", "307 There", "404 No", "426 Upgrade", "503 Busy"]
)
def test_every_other_status_is_a_rejection_redirects_too(status: str):
    rejected = handshake().receive(answer(status, content_length="0", location="https://evil.test/"))
    assert isinstance(rejected, Rejected)
    assert rejected.status == int(status[:3])
    assert rejected.body == b""
    assert rejected.headers["location"] == "https://evil.test/"


def test_a_rejection_without_a_length_ends_with_the_connection():
    exchange = handshake()
    assert exchange.receive(answer("500 Oops", b"half")) is None
    assert exchange.receive(b" and half") is None
    rejected = exchange.receive(b"")
    assert isinstance(rejected, Rejected)
    assert rejected.body == b"half and half"


def test_a_chunked_rejection_is_put_together():
    chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"
    rejected = handshake().receive(answer("500 Oops", chunks, transfer_encoding="chunked"))
    assert isinstance(rejected, Rejected)
    assert rejected.body == b"abcde"


@pytest.mark.parametrize("step", [1000, MAX_BODY, 10 * MAX_BODY])
def test_the_body_of_a_rejection_is_cut_at_its_limit(step: int):
    """P-CONN-4."""
    exchange = handshake()
    assert exchange.receive(answer("500 Oops")) is None
    result = None
    for _ in range(0, MAX_BODY, step):
        result = exchange.receive(b"x" * step)
    assert isinstance(result, Rejected)
    assert result.body == b"x" * MAX_BODY


@pytest.mark.parametrize("end", [b"", b"zz\r\nnot chunked\r\n"])
def test_a_rejection_whose_body_breaks_off_or_breaks_the_rules_is_a_rejection_still(end: bytes):
    exchange = handshake()
    assert exchange.receive(answer("500 Oops", b"3\r\nabc\r\n", transfer_encoding="chunked")) is None
    rejected = exchange.receive(end)
    assert isinstance(rejected, Rejected)
    assert rejected.body == b"abc"


def test_an_endless_header_is_broken_and_not_kept():
    """P-CONN-4."""
    exchange = handshake()
    assert exchange.receive(b"HTTP/1.1 101 X\r\nA: ") is None
    results = [exchange.receive(b"x" * 1000) for _ in range(MAX_HEADERS // 1000 + 1)]
    assert isinstance(results[-1], Broken)
    assert results[:-2] == [None] * (len(results) - 2)


def test_a_big_header_below_the_limit_is_read():
    assert without_headers(handshake().receive(answer(cookie="x" * (MAX_HEADERS - 1000)))) == Accepted(b"")


GARBAGE = {
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a greeting without an end": b"SSH-2.0-OpenSSH_9.7\r\n",
    "a line": b"what is this\r\n\r\n",
    "zeros": b"\0" * 10,
    "one byte": b"<",
    "HTTP of the wrong sort": b"HTTPS/1.1 101 X\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a name": b"HTTP/1.1 101 X\r\n: y\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "garbage after 100": b"HTTP/1.1 100 Continue\r\n\r\nnonsense",
}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_no_http_answer_is_broken_as_soon_as_it_can_be_seen(case: str):
    broken = handshake().receive(GARBAGE[case])
    assert isinstance(broken, Broken)
    assert broken.reason.startswith("not an HTTP answer")


@pytest.mark.parametrize("step", [1, 3, 100])
def test_what_does_not_begin_as_http_is_told_in_the_same_words_however_it_is_split(step: int):
    data = b"HTTQ/1.1 200 OK\r\n\r\n"
    exchange = handshake()
    answers = [exchange.receive(data[begin : begin + step]) for begin in range(0, len(data), step)]
    assert next(filter(None, answers)) == Broken("not an HTTP answer: it does not begin with HTTP/")


def test_garbage_stays_broken():
    exchange = handshake()
    assert isinstance(exchange.receive(b"nonsense\r\n\r\n"), Broken)
    assert isinstance(exchange.receive(b"more"), Broken)


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_an_end_of_file_before_the_answer_is_complete_is_no_answer(cut: int):
    exchange = handshake()
    assert exchange.receive(GOOD[:cut]) is None
    assert exchange.receive(b"") is None
    assert exchange.receive(b"") is None


REFUSAL = answer("503 Busy", b"01234", content_length="5")


@pytest.mark.parametrize("cut", range(len(REFUSAL)))
def test_an_end_of_file_in_a_rejection_keeps_it_once_its_head_was_there(cut: int):
    exchange = handshake()
    assert exchange.receive(REFUSAL[:cut]) is None
    last = exchange.receive(b"")
    body = REFUSAL[:cut].partition(b"\r\n\r\n")[2]
    if cut < len(REFUSAL) - 5:
        assert last is None
    else:
        assert isinstance(last, Rejected)
        assert last.body == body


@pytest.mark.parametrize("data", [GOOD + TRAILING, REFUSAL])
def test_what_comes_after_the_answer_does_not_hang_it(data: bytes):
    exchange = handshake()
    assert exchange.receive(data) is not None
    exchange.receive(b"more")


@QUICK
@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_answer_raises(data: bytes, step: int):
    for prefix in (b"", b"HTTP/1.1 ", GOOD[:-2], answer("500 X", transfer_encoding="chunked"), REFUSAL[:-5]):
        exchange, whole = handshake(compression=True), prefix + data
        for begin in range(0, len(whole), step):
            if exchange.receive(whole[begin : begin + step]) is not None:
                break
        else:
            exchange.receive(b"")


# --- CONNECT ---------------------------------------------------------------------------------------------------------


def test_a_tunnel_is_asked_for_and_what_follows_its_answer_is_the_targets():
    tunnel = ProxyTunnel("api.test:443", [("Proxy-Authorization", "Basic eA==")])
    assert tunnel.request() == (
        b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )
    assert tunnel.receive(b"HTTP/1.1 100 Continue\r\n\r\n") is None
    assert tunnel.receive(b"HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\n\r\n\x16\x03") == Accepted(
        b"\x16\x03"
    )


def test_a_tunnel_to_an_ipv6_address_and_any_status_of_success():
    tunnel = ProxyTunnel("[::1]:443")
    assert b"Host: [::1]:443\r\n" in tunnel.request()
    assert tunnel.receive(b"HTTP/1.0 204 ok\r\n\r\n") == Accepted(b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno",
            Rejected(407, {"proxy-authenticate": "Basic", "content-length": "2"}, b""),
        ),
        (b"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n", Rejected(302, {"content-length": "0"}, b"")),
    ],
)
def test_a_proxy_may_refuse(data: bytes, expected: Rejected):
    assert ProxyTunnel("api.test:443").receive(data) == expected


@pytest.mark.parametrize("data", [b"\x05\x00", b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"])
def test_a_proxy_that_answers_something_else_is_broken(data: bytes):
    assert isinstance(ProxyTunnel("api.test:443").receive(data), Broken)


def test_a_proxy_may_hang_up():
    assert ProxyTunnel("api.test:443").receive(b"") is None


# --- The upgrade, the server's side ----------------------------------------------------------------------------------

UPGRADE: dict[bytes, bytes | None] = {
    b"host": b"localhost",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": KEY,
    b"sec-websocket-version": b"13",
}


def upgrade(target: bytes = b"/", *, compression: bool = False, **headers: bytes | None) -> Any:
    named = UPGRADE | {name.replace("_", "-").encode(): value for name, value in headers.items()}
    given_headers = [(name, value) for name, value in named.items() if value is not None]
    return accept_upgrade(target, given_headers, compression=compression, max_message_size=1000)


def test_a_server_accepts_an_upgrade_and_both_ends_understand_each_other():
    data, server = upgrade()
    accepted = handshake().receive(data + server.text(b"hello"))
    assert isinstance(accepted, Accepted)
    client = WebSocket(client=True, extensions=accepted.extensions)
    assert client.receive(accepted.trailing) == [b"hello"]
    assert server.receive(client.text(b"world") + client.ping(b"?") + client.close(1001, "bye")) == [
        b"world",
        Ping(b"?"),
        CloseFrame(1001, "bye"),
    ]


def test_a_server_passes_its_limit_on():
    _, server = upgrade()
    client = WebSocket(client=True)
    assert server.receive(client.text(b"x" * 1000)) == [b"x" * 1000]
    assert [item.code for item in server.receive(client.text(b"x" * 1001))] == [1009]


@pytest.mark.parametrize(
    ("compression", "offer", "compressed"),
    [
        (False, b"permessage-deflate", False),
        (True, None, False),
        (True, b"permessage-bzip2", False),
        (True, b"permessage-deflate; client_max_window_bits=8", False),
        (True, b"permessage-deflate", True),
        (True, b"x, permessage-deflate; client_max_window_bits", True),
        (True, b"permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
    ],
)
def test_a_server_compresses_when_both_sides_want_it(compression: bool, offer: bytes | None, compressed: bool):
    data, server = upgrade(compression=compression, sec_websocket_extensions=offer)
    accepted = handshake(compression=compression).receive(data)
    assert isinstance(accepted, Accepted)
    assert bool(accepted.extensions) is compressed
    client = WebSocket(client=True, extensions=accepted.extensions)
    for text in (b"a" * 500, b"a" * 500, b"b"):
        frame = server.text(text)
        assert bool(frame[0] & 0x40) is compressed
        assert client.receive(frame) == [text]
        assert server.receive(client.text(text)) == [text]


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"upgrade": None}, 400, b"Upgrade"),
        ({"upgrade": b"h2c"}, 400, b"Upgrade"),
        ({"connection": None}, 400, b"Connection"),
        ({"connection": b"close"}, 400, b"Connection"),
        ({"sec_websocket_key": None}, 400, b"Key"),
        ({"sec_websocket_version": None}, 400, b"Version"),
        ({"sec_websocket_version": b"8"}, 426, b"Version"),
        ({"host": None}, 400, b"Host"),
        ({"host": b"\xff"}, 400, b""),
        ({"connection": b"\xe9"}, 400, b""),
        ({"x y": b"z"}, 400, b"header name"),
        ({"content_length": b"x"}, 400, b"Content-Length"),
        ({"sec_websocket_extensions": b"permessage-deflate; client_max_window_bits=x"}, 400, b"int"),
    ],
)
def test_a_server_says_what_is_wrong_with_an_upgrade(headers: dict[str, bytes | None], status: int, reason: bytes):
    rejected = upgrade(compression=True, **headers)
    assert isinstance(rejected, Rejected)
    assert rejected.status == status
    assert reason in rejected.body
    assert ("sec-websocket-version" in rejected.headers) is (reason == b"Version")


@pytest.mark.parametrize("target", [b"/a b", b"/\xe9", b""])
def test_a_server_rejects_a_target_that_is_none(target: bytes):
    assert isinstance(upgrade(target), Rejected)


@QUICK
@given(
    st.binary(max_size=20),
    st.lists(
        st.tuples(
            st.sampled_from([*UPGRADE, b"sec-websocket-extensions", b"x", b"content-length"]) | st.binary(max_size=9),
            st.sampled_from([b"permessage-deflate", b"Upgrade", b"13", b"0"]) | st.binary(max_size=30),
        ),
        max_size=8,
    ),
)
def test_no_upgrade_request_raises(target: bytes, headers: list[tuple[bytes, bytes]]):
    good = [(name, value) for name, value in UPGRADE.items() if value is not None]
    for given_headers in (headers, good + headers):
        result = accept_upgrade(target, given_headers, compression=True)
        assert isinstance(result, Rejected | tuple)


# --- Frames: the same as wsproto -------------------------------------------------------------------------------------


def enabled(kind: type[PerMessageDeflate], **parameters: bool) -> PerMessageDeflate:
    deflate = kind(**parameters)
    deflate.finalize("permessage-deflate")
    return deflate


def read_by_wsproto(data: bytes, *, client: bool, extensions: Sequence[Extension] = ()) -> list[Item]:
    """What a plain wsproto ``FrameProtocol`` makes of the bytes, in our items."""
    return items_of_wsproto(FrameProtocol(client, list(extensions)), data)


def read_by_us(
    data: bytes, cuts: Iterable[int] = (), *, client: bool = True, extensions: Sequence[Extension] = ()
) -> list[Item]:
    """What our WebSocket makes of the bytes when they come in pieces; reasons are ours, so they are left out."""
    websocket = WebSocket(client=client, extensions=extensions, max_message_size=None)
    borders = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    items = [item for begin, end in itertools.pairwise(borders) for item in received(websocket, data[begin:end])]
    return [Violation(item.code, "") if isinstance(item, Violation) else item for item in items]


def frame(
    first: int, payload: bytes = b"", *, key: bytes | None = None, width: int | None = None, length: int | None = None
) -> bytes:
    """One frame, as odd as asked for: any first byte, masked or not, the length in 0, 2 or 8 further bytes."""
    length = len(payload) if length is None else length
    if width is None:
        width = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length & 0x7F, 2: 126, 8: 127}[width]
    head = bytes((first, short | (0x80 if key is not None else 0))) + (length.to_bytes(8, "big")[8 - width :])
    return head + (payload if key is None else key + mask(payload, key))


TEXTS = st.one_of(
    st.text(max_size=12).map(str.encode),
    st.sampled_from([b"", b"{}", b"\xff", b"\xc3", b"\xa9", b"\xe2\x82", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80"]),
    st.integers(120, 300).map(lambda size: b"x" * size),
    st.integers(65530, 65540).map(lambda size: "é".encode() + b"y" * size),
)
CLOSES = st.builds(
    lambda code, reason: code.to_bytes(2, "big") + reason,
    st.sampled_from(
        [0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1011, 1012, 1015, 1016, 2999, 3000, 4999, 5000, 65535]
    ),
    st.sampled_from([b"", b"bye", "é".encode(), b"\xff", b"x" * 123, b"x" * 124]),
) | st.binary(max_size=1)
KEYS = st.none() | st.binary(min_size=4, max_size=4)


def usual(client: bool) -> st.SearchStrategy[list[bytes]]:
    """A valid message or control frame: one frame, or fragments with control frames in between."""
    key = st.none() if client else st.binary(min_size=4, max_size=4)
    control = st.builds(frame, st.sampled_from([0x89, 0x8A]), st.binary(max_size=125), key=key)

    @st.composite
    def fragments(draw: st.DrawFn) -> list[bytes]:
        text = draw(st.text(max_size=20)).encode()
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=4)))
        pieces = [text[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(text)])]
        made: list[bytes] = []
        for index, piece in enumerate(pieces):
            first = (0 if index else 1) | (0x80 if index == len(pieces) - 1 else 0)
            made += [frame(first, piece, key=draw(key)), *draw(st.lists(control, max_size=1))]
        return made

    single = st.builds(frame, st.just(0x81), st.text(max_size=150).map(str.encode), key=key)
    return st.one_of(single.map(lambda one: [one]), control.map(lambda one: [one]), fragments())


ODD = st.one_of(
    st.builds(frame, st.integers(0, 255), TEXTS, key=KEYS, width=st.sampled_from([None, 2, 8])),
    st.builds(frame, st.sampled_from([0x01, 0x81, 0x80, 0x00, 0xC1, 0x82]), TEXTS, key=KEYS),
    st.builds(frame, st.sampled_from([0x88, 0x89, 0x8A, 0x08]), TEXTS, key=KEYS),
    st.builds(frame, st.just(0x88), CLOSES, key=KEYS),
    st.builds(frame, st.integers(0, 255), length=st.sampled_from([2**63, 2**64 - 1]), width=st.just(8), key=KEYS),
    st.binary(max_size=20),
)


def streams(client: bool) -> st.SearchStrategy[bytes]:
    """Bytes of valid frames, with at most two odd ones among them, perhaps cut short, perhaps with a byte changed."""

    @st.composite
    def stream(draw: st.DrawFn) -> bytes:
        frames = [one for message in draw(st.lists(usual(client), max_size=5)) for one in message]
        for odd in draw(st.lists(ODD, max_size=2)):
            frames.insert(draw(st.integers(0, len(frames))), odd)
        data = bytearray(b"".join(frames))
        if data and draw(st.booleans()):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)

    return stream()


CUTS = st.lists(st.integers(0, 200_000), max_size=8) | st.just(range(400))


def same_or_later(ours: list[Item], theirs: list[Item]) -> bool:
    """Whether two readings agree.

    wsproto looks into a text frame while it comes, we look when it is whole: then a violation of UTF-8 in a frame that
    is cut short is one that we have not seen yet. And what a header breaks is one that wsproto sees with the contents.
    """
    if ours[-1:] in ([Violation(1002, "")], [Violation(1003, "")]) and ours[:-1] == theirs:
        return True
    return ours == theirs or (theirs[-1:] == [Violation(1007, "")] and ours == theirs[:-1])


@pytest.mark.parametrize("client", [True, False])
def test_any_frames_in_any_pieces_are_read_as_wsproto_reads_them(client: bool):
    @THOROUGH
    @given(streams(client), CUTS)
    @example(b"\x81\xff" + b"\xff" * 8, range(100))
    @example(b"\x81\x7f" + b"\xff" * 8, range(100))
    @example(b"\xff\xff garbage", range(100))
    @example(b"\x81\x02{}\x89\xfe", range(100))
    @example(b"\x01\x01{\x89\x00\x81\x00", range(100))
    def check(data: bytes, cuts: Iterable[int]) -> None:
        theirs = read_by_wsproto(data, client=client)
        assert same_or_later(read_by_us(data, cuts, client=client), theirs)

    check()


@pytest.mark.parametrize("first", range(256))
def test_every_first_byte_with_every_kind_of_length_is_read_as_wsproto_reads_it(first: int):
    """Exhaustive: with and without a message begun, masked or not, each width of length, whole and cut everywhere."""
    lengths = ((0, None), (2, None), (125, None), (126, 2), (5, 2), (65536, 8), (5, 8))
    for (length, width), key, client in itertools.product(lengths, (None, b"abcd"), (True, False)):
        begun = frame(0x01, b"a", key=None if client else b"abcd")
        odd = frame(first, b"{}".ljust(length, b" ")[:length], key=key, width=width)
        for data in (odd,) if length > 1000 else (begun + odd, odd + odd):
            theirs = read_by_wsproto(data, client=client)
            assert read_by_us(data, client=client) == theirs
            assert read_by_us(data, range(20), client=client) == theirs
        for cut in range(min(len(odd), 12)):
            assert same_or_later(
                read_by_us(odd[:cut], range(12), client=client), read_by_wsproto(odd[:cut], client=client)
            )


@pytest.mark.parametrize("first", [0x81, 0x82, 0x01, 0x80])
@pytest.mark.parametrize("width", [2, 8])
@pytest.mark.parametrize("length", [0, 125, 126, 65534, 65535, 65536])
def test_a_length_must_be_written_as_short_as_it_can_be(length: int, width: int, first: int):
    if length >> 8 * width:
        return
    data = frame(first, b" " * length, width=width)
    assert read_by_us(data) == read_by_wsproto(data, client=True)
    assert read_by_us(data, range(12)) == read_by_wsproto(data, client=True)


DEFLATED = st.lists(
    st.tuples(st.text(max_size=60).map(str.encode) | st.just(b"ab" * 5000), st.booleans(), st.integers(0, 9)),
    max_size=6,
)


def compressed_frames(messages: list[tuple[bytes, bool, int]], *, takeover: bool) -> bytes:
    """Compressed and plain messages of a server, some in fragments, none with a control frame in between."""
    compressor = None
    data = b""
    for text, compress, cut in messages:
        if compress:
            compressor = compressor if takeover and compressor is not None else zlib.compressobj(wbits=-15)
            text = (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] or b"\0"
        first = 0x41 if compress else 0x01
        data += frame(first | 0x80, text) if cut == 0 else frame(first, text[:cut]) + frame(0x80, text[cut:])
        data += frame(0x89, b"between")
    return data


@pytest.mark.parametrize("takeover", [True, False])
def test_compressed_frames_are_read_as_wsproto_reads_them(takeover: bool):
    @QUICK
    @given(DEFLATED, CUTS, st.integers(0, 300), st.integers(0, 255))
    def check(messages: list[tuple[bytes, bool, int]], cuts: Iterable[int], place: int, value: int) -> None:
        def theirs(data: bytes) -> list[Item]:
            deflate = enabled(PerMessageDeflate, server_no_context_takeover=not takeover)
            return read_by_wsproto(data, client=True, extensions=[deflate])

        def ours(data: bytes) -> list[Item]:
            deflate = enabled(Deflate, server_no_context_takeover=not takeover)
            return read_by_us(data, cuts, extensions=[deflate])

        data = compressed_frames(messages, takeover=takeover)
        read = ours(data)
        assert read == theirs(data)
        assert [item for item in read if isinstance(item, bytes)] == [text for text, _, _ in messages]
        # With one byte changed: the same or, where wsproto has its faults, at least nothing but our own items.
        hurt = bytearray(data or b"\0")
        hurt[place % len(hurt)] = value
        assert all(isinstance(item, bytes | Ping | Pong | CloseFrame | Violation) for item in ours(bytes(hurt)))

    check()


# --- Frames: what we write -------------------------------------------------------------------------------------------


class Recorded:
    """``websockets``' own parser in either role: what it reads, as our items."""

    def __init__(self, *, client: bool, extensions: Sequence[Any] = ()) -> None:
        self.protocol = Protocol(Side.CLIENT if client else Side.SERVER, max_size=None)
        self.protocol.extensions = list(extensions)

    def read(self, data: bytes) -> list[Item]:
        self.protocol.receive_data(data)
        assert self.protocol.parser_exc is None, self.protocol.parser_exc
        return list(self._items())

    def _items(self) -> Iterator[Item]:
        kinds: dict[Any, Any] = {TheirOpcode.TEXT: bytes, TheirOpcode.PING: Ping, TheirOpcode.PONG: Pong}
        for event in self.protocol.events_received():
            assert isinstance(event, TheirFrame)
            assert event.fin
            if event.opcode is TheirOpcode.CLOSE:
                received = self.protocol.close_rcvd
                assert received is not None
                yield CloseFrame(received.code, received.reason)
            else:
                yield kinds[event.opcode](bytes(event.data))


WRITTEN = st.lists(
    st.tuples(st.just("text"), st.text(max_size=200).map(str.encode))
    | st.tuples(st.just("text"), st.sampled_from([0, 125, 126, 65535, 65536]).map(lambda size: b"z" * size))
    | st.tuples(st.sampled_from(["ping", "pong"]), st.binary(max_size=125)),
    max_size=6,
)
CLOSE_FRAME = st.none() | st.tuples(
    st.sampled_from([1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1011, 3000, 4999]), st.text(max_size=70)
)


@pytest.mark.parametrize("deflate", [None, "takeover", "no takeover"])
@pytest.mark.parametrize("client", [True, False])
def test_what_we_write_is_read_back_by_wsproto_by_websockets_and_by_us(client: bool, deflate: str | None):
    no_takeover = deflate == "no takeover"
    parameters = {"client_no_context_takeover": no_takeover, "server_no_context_takeover": no_takeover}

    @QUICK
    @given(WRITTEN, CLOSE_FRAME, st.binary(min_size=4, max_size=4), CUTS)
    def check(
        written: list[tuple[str, bytes]], close_frame: tuple[int, str] | None, key: bytes, cuts: Iterable[int]
    ) -> None:
        ours = [enabled(Deflate, **parameters)] if deflate else []
        writer = WebSocket(client=client, extensions=ours, random_bytes=lambda n: key[:n])
        data = b"".join(getattr(writer, kind)(payload) for kind, payload in written)
        expected: list[Item] = [{"text": bytes, "ping": Ping, "pong": Pong}[kind](payload) for kind, payload in written]
        if close_frame is not None:
            data += writer.close(*close_frame)
            code, reason = close_frame
            kept = "" if code == 1005 else reason.encode()[:123].decode(errors="ignore")
            expected.append(CloseFrame(code, kept))
        extensions = [enabled(PerMessageDeflate, **parameters)] if deflate else []
        assert read_by_wsproto(data, client=not client, extensions=extensions) == expected
        extensions = [enabled(Deflate, **parameters)] if deflate else []
        assert read_by_us(data, cuts, client=not client, extensions=extensions) == expected
        their_deflate = [TheirDeflate(no_takeover, no_takeover, 15, 15)] if deflate else []
        assert Recorded(client=not client, extensions=their_deflate).read(data) == expected

    check()


def test_frames_of_a_client_are_masked_with_a_fresh_key_each():
    keys = iter([b"abcd", b"wxyz"])
    client = WebSocket(client=True, random_bytes=lambda n: next(keys)[:n])
    assert client.text(b"hi") == b"\x81\x82abcd" + bytes((ord("h") ^ ord("a"), ord("i") ^ ord("b")))
    assert client.ping() == b"\x89\x80wxyz"
    unseeded = WebSocket(client=True)
    assert len({unseeded.ping()[2:] for _ in range(50)}) == 50


def test_frames_of_a_server_are_not_masked():
    server = WebSocket(client=False)
    assert server.text(b"hi") == b"\x81\x02hi"
    assert server.pong(b"p") == b"\x8a\x01p"
    assert server.close() == b"\x88\x02\x03\xe8"
    assert server.close(1005, "not sent") == b"\x88\x00"


def test_a_long_reason_is_cut_between_characters():
    assert WebSocket(client=False).close(1000, "é" * 100) == b"\x88\x7c\x03\xe8" + ("é" * 61).encode()


@QUICK
@given(st.binary(max_size=1000), st.binary(min_size=4, max_size=4))
def test_mask_is_the_exclusive_or_of_rfc_6455(payload: bytes, key: bytes):
    masked = mask(payload, key)
    assert masked == bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    assert mask(masked, key) == payload


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("more", [-1, 0, 1, 5])
def test_a_long_payload_is_masked_piece_by_piece_without_a_seam(pieces: int, more: int):
    payload = bytes(index % 251 for index in range(pieces * MASKED_AT_ONCE + more))
    key = b"\x01\x20\x43\xf7"
    assert mask(payload, key) == bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


# --- Frames: what must not come through ------------------------------------------------------------------------------


def codes(items: Iterable[Item]) -> list[int]:
    return [item.code for item in items if isinstance(item, Violation)]


VIOLATIONS = {
    "invalid UTF-8 in one frame": (frame(0x81, b"a\xff"), 1007),
    "a surrogate": (frame(0x81, b"\xed\xa0\x80"), 1007),
    "a character cut off at the end": (frame(0x81, b"\xe2\x82"), 1007),
    "invalid UTF-8 split over fragments": (frame(0x01, b"\xe2\x82") + frame(0x80, b"x"), 1007),
    "a character cut off at the end of fragments": (frame(0x01, b"\xe2") + frame(0x80, b"\x82"), 1007),
    "a masked frame from a server": (frame(0x81, b"{}", key=b"abcd"), 1002),
    "a masked ping from a server": (frame(0x89, key=b"abcd"), 1002),
    "RSV1 without compression": (frame(0xC1, b"{}"), 1002),
    "RSV2": (frame(0xA1, b"{}"), 1002),
    "RSV3": (frame(0x91, b"{}"), 1002),
    "RSV1 on a ping": (frame(0xC9), 1002),
    "binary": (frame(0x82, b"{}"), 1003),
    "an empty binary message": (frame(0x82), 1003),
    "binary in fragments": (frame(0x02, b"x"), 1003),
    "a reserved data opcode": (frame(0x83), 1002),
    "a reserved control opcode": (frame(0x8B), 1002),
    "a continuation of nothing": (frame(0x80, b"x"), 1002),
    "a message in a message": (frame(0x01, b"a") + frame(0x81, b"b"), 1002),
    "a ping in fragments": (frame(0x09), 1002),
    "a ping of 126 bytes": (frame(0x89, b"x" * 126), 1002),
    "a ping of 64 KiB": (frame(0x89, b"x" * 65536), 1002),
    "2 bytes of length for 5": (frame(0x81, b"01234", width=2), 1002),
    "8 bytes of length for 126": (frame(0x81, b"x" * 126, width=8), 1002),
    "a length with the highest bit": (frame(0x81, length=2**63, width=8), 1002),
    "a close of one byte": (frame(0x88, b"\x03"), 1002),
    "a close code not to be sent": (frame(0x88, (1006).to_bytes(2, "big")), 1002),
    "a close reason that is not UTF-8": (frame(0x88, b"\x03\xe8\xff"), 1007),
    "one byte more than the limit": (frame(0x81, b"x" * 1001), 1009),
    "far more than the limit, announced": (frame(0x81, length=2**40, width=8), 1009),
    "fragments above the limit": (frame(0x01, b"x" * 600) + frame(0x80, b"x" * 401), 1009),
    "a fragment above the limit, announced": (frame(0x01, b"x") + frame(0x80, length=1000, width=2), 1009),
    "garbage": (b"\xff\xff", 1002),
}


@pytest.mark.parametrize("pieces", ["at once", "byte by byte"])
@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violation_comes_after_what_was_right_and_is_the_last_thing(case: str, pieces: str):
    data, code = VIOLATIONS[case]
    whole = frame(0x81, b"first") + frame(0x89, b"p") + data + frame(0x81, b"never") + frame(0x89)
    websocket = WebSocket(client=True, max_message_size=1000)
    step = len(whole) if pieces == "at once" else 1
    items = [item for begin in range(0, len(whole), step) for item in websocket.receive(whole[begin : begin + step])]
    assert items[:2] == [b"first", Ping(b"p")]
    assert codes(items[2:]) == [code]
    assert len(items) == 3
    assert isinstance(items[2], Violation)
    assert items[2].reason
    assert websocket.receive(frame(0x81, b"more")) == []
    assert websocket.receive(b"") == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0xC2, b"\xff" * 9), 1003),
        (frame(0x02, length=100), 1003),
        (frame(0x41, b"\x00\x3f\x89") + frame(0x01, b"\x41\x3f"), 1002),
        (frame(0x01, b"a") + frame(0x01, length=100), 1002),
    ],
)
def test_what_a_header_breaks_comes_before_what_its_contents_break(data: bytes, code: int):
    """P-CONN-6: and so it makes no difference how much of the contents has come."""
    for step in (1, 2, 3, len(data)):
        websocket = deflating()
        items = [item for begin in range(0, len(data), step) for item in websocket.receive(data[begin : begin + step])]
        assert codes(items) == [code]


@pytest.mark.parametrize("client", [True, False])
def test_the_reason_of_a_violation_does_not_tell_how_the_bytes_were_split(client: bool):
    data = frame(0x01, b"abc\xb5def" * 3, key=None if client else b"abcd")
    reasons: set[str] = set()
    for step in (1, 5, len(data)):
        websocket = WebSocket(client=client)
        for begin in range(0, len(data), step):
            reasons.update(item.reason for item in websocket.receive(data[begin : begin + step]))  # type: ignore[union-attr]
    assert reasons == {"a text message is not valid UTF-8"}


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8bye"])
def test_nothing_comes_out_after_a_close(payload: bytes):
    websocket = WebSocket(client=True)
    items = websocket.receive(frame(0x81, b"last") + frame(0x88, payload) + frame(0x81, b"never") + b"\xff\xff")
    assert items == [b"last", CloseFrame(1000, "bye") if payload else CloseFrame(1005, "")]
    assert websocket.receive(frame(0x81, b"more")) == []


@pytest.mark.parametrize("size", [0, 1, 125, 126, 999, 1000])
def test_a_message_may_be_as_big_as_the_limit(size: int):
    text = b"x" * size
    for data in (frame(0x81, text), frame(0x01, text[:7]) + frame(0x89) + frame(0x80, text[7:])):
        items = WebSocket(client=True, max_message_size=1000).receive(data)
        assert [item for item in items if item != Ping(b"")] == [text]


def test_the_limit_is_for_each_message_anew():
    websocket = WebSocket(client=True, max_message_size=10)
    fragmented = frame(0x01, b"01234") + frame(0x80, b"56789")
    assert websocket.receive(fragmented * 3) == [b"0123456789"] * 3


def test_without_a_limit_a_message_may_be_of_any_size():
    text = b"x" * 70_000_000
    websocket = WebSocket(client=True, max_message_size=None)
    data = frame(0x81, text)
    assert websocket.receive(data[:1_000_000]) == []
    assert websocket.receive(data[1_000_000:]) == [text]
    assert codes(WebSocket(client=True).receive(data)) == [1009]


def test_a_message_that_is_only_announced_takes_no_memory():
    tracemalloc.start()
    try:
        websocket = WebSocket(client=True, max_message_size=None)
        assert websocket.receive(frame(0x81, length=2**62, width=8)) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def peak_of(websocket: WebSocket, chunks: Iterable[bytes]) -> tuple[list[Item], int, float]:
    """What comes out, until a violation, and the peak of memory and the time that it took."""
    items: list[Item] = []
    tracemalloc.start()
    try:
        begin = time.process_time()
        for chunk in chunks:
            items += received(websocket, chunk)
            if codes(items):
                break
        return items, tracemalloc.get_traced_memory()[1], time.process_time() - begin
    finally:
        tracemalloc.stop()


def test_a_flood_of_empty_fragments_does_not_grow():
    flood = itertools.chain([frame(0x01)], [frame(0x00) * 1000] * 5, [frame(0x80)])
    items, peak, _ = peak_of(WebSocket(client=True), flood)
    assert items == [b""]
    assert peak < 200_000


def test_a_frame_may_come_byte_by_byte():
    text = b"x" * 100_000
    websocket = WebSocket(client=True)
    items = [item for byte in frame(0x81, text) for item in websocket.receive(bytes((byte,)))]
    assert items == [text]


# --- Compression -----------------------------------------------------------------------------------------------------


def deflating(*, limit: int | None = 1_000_000, client: bool = True, **parameters: bool) -> WebSocket:
    return WebSocket(client=client, extensions=[enabled(Deflate, **parameters)], max_message_size=limit)


def deflated(text: bytes, *, final: bool = False) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(text)
    return data + compressor.flush() + b"\0" if final else (data + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def bomb() -> bytes:
    """1 GiB of spaces, compressed to 1 MiB."""
    compressor = zlib.compressobj(level=9, wbits=-15)
    mebibyte = compressor.compress(b" " * 2**20) + compressor.flush(zlib.Z_FULL_FLUSH)
    return mebibyte * 1024 + b"\0"


@pytest.fixture(scope="module")
def bombed() -> bytes:
    return bomb()


@pytest.mark.parametrize("shape", ["one frame", "one frame in pieces", "small frames", "after a message"])
@pytest.mark.parametrize("limit", [100_000, 8_000_000])
def test_a_decompression_bomb_is_defused(bombed: bytes, shape: str, limit: int):
    """P-CONN-6."""
    chunks: Iterable[bytes]
    if shape == "small frames":
        pieces = [bombed[begin : begin + 500] for begin in range(0, len(bombed), 500)]
        chunks = itertools.chain([frame(0x41, pieces[0])], (frame(0x00, piece) for piece in pieces[1:]))
    else:
        whole = frame(0xC1, bombed)
        if shape == "after a message":
            whole = frame(0xC1, deflated(b"{}")) + whole
        step = 1000 if shape == "one frame in pieces" else len(whole)
        chunks = (whole[begin : begin + step] for begin in range(0, len(whole), step))
    items, peak, seconds = peak_of(deflating(limit=limit), chunks)
    assert codes(items) == [1009]
    assert items[:-1] == ([b"{}"] if shape == "after a message" else [])
    # The message, one step of inflating, and copies of that as text and as bytes; and the chunk that came.
    assert peak < 3 * limit + 20_000_000 + 2 * len(bombed), f"{peak:,} bytes"
    assert seconds < 5


def test_what_follows_a_final_block_is_not_hoarded():
    chunks = itertools.chain(
        [frame(0xC1, deflated(b"hello", final=True), length=2**40, width=8)], itertools.repeat(b"x" * 60_000, 100)
    )
    items, peak, _ = peak_of(deflating(limit=None), chunks)
    assert codes(items) == [1007]
    assert peak < 1_000_000


@pytest.mark.parametrize("step", [1, 1000])
def test_a_message_may_end_in_a_final_block_and_the_next_begins_anew(step: int):
    """RFC 7692 section 7.2.3.4, with its own example first."""
    hello = bytes.fromhex("f348cdc9c90700 00")
    data = frame(0xC1, hello) * 2 + frame(0xC1, deflated(b"{}")) + frame(0xC1, deflated(b"[]", final=True)) + b"\x89\0"
    websocket = deflating()
    items = [item for begin in range(0, len(data), step) for item in received(websocket, data[begin : begin + step])]
    assert items == [b"Hello", b"Hello", b"{}", b"[]", Ping(b"")]


@pytest.mark.parametrize("between", [frame(0x89), frame(0x8A, b"pong"), frame(0x89, b"p" * 125)])
def test_a_control_frame_amid_compressed_fragments_leaves_them_compressed(between: bytes):
    """wsproto 1.3 takes the rest of the message for uncompressed text."""
    text = b"hello hello hello, world"
    data = deflated(text)
    pieces = frame(0x41, data[:4]) + between + frame(0x00, data[4:9]) + between + between + frame(0x80, data[9:])
    items = deflating().receive(pieces + frame(0x81, b"plain") + between)
    assert [item for item in items if isinstance(item, bytes)] == [text, b"plain"]
    assert len(items) == 6
    assert codes(items) == []


@pytest.mark.parametrize("size", [10, 1000, 100_000])
def test_the_limit_counts_what_a_compressed_message_says_not_what_it_takes(size: int):
    text = bytes(32 + index * index % 89 for index in range(size))
    stored = (
        b"".join(
            b"\0" + len(part).to_bytes(2, "little") + (len(part) ^ 0xFFFF).to_bytes(2, "little") + part
            for part in (text[begin : begin + 5] for begin in range(0, size, 5))
        )
        + b"\0"
    )
    assert len(stored) > size
    assert deflating(limit=size).receive(frame(0xC1, stored)) == [text]
    half = frame(0x41, stored[: size // 2]) + frame(0x80, stored[size // 2 :])
    assert deflating(limit=size).receive(half) == [text]
    assert codes(deflating(limit=size - 1).receive(frame(0xC1, stored))) == [1009]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0xC1, b"\xff\xff\xff"), 1007),
        (frame(0xC1, deflated(b"\xff")), 1007),
        (frame(0xC9), 1002),
        (frame(0x41, deflated(b"ab")[:2]) + frame(0xC0, b"x"), 1002),
        (frame(0xE1, deflated(b"ab")), 1002),
        (frame(0xC2, deflated(b"ab")), 1003),
        (frame(0x81, b"x" * 1_000_001), 1009),
        (frame(0x01, b"x" * 1_000_000) + frame(0x80, b"x"), 1009),
        (frame(0xC1, deflated(b"Hello") + b"\x01\0\0\xff\xff"), 1007),
    ],
)
def test_what_is_wrong_with_compressed_frames_is_said(data: bytes, code: int):
    items = deflating().receive(data)
    assert codes(items) == [code]
    assert len(items) == 1


def test_a_server_bounds_what_clients_compress(bombed: bytes):
    items, peak, _ = peak_of(deflating(limit=100_000, client=False), [frame(0xC1, bombed, key=b"abcd")])
    assert codes(items) == [1009]
    assert peak < 30_000_000
    plain = frame(0x81, b"x" * 100_001, key=b"abcd")
    assert codes(received(deflating(limit=100_000, client=False), plain)) == [1009]


def test_websockets_finds_the_same_limit():
    """The other library's parser agrees on what is one byte too big, compressed or not."""
    for data in (frame(0xC1, deflated(b"x" * 1001)), frame(0x81, b"x" * 1001)):
        theirs = Protocol(Side.CLIENT, max_size=1000)
        theirs.extensions = [TheirDeflate(False, False, 15, 15)]
        theirs.receive_data(data)
        assert isinstance(theirs.parser_exc, PayloadTooBig)
        assert codes(received(deflating(limit=1000), data)) == [1009]
        assert codes(received(deflating(limit=1001), data)) == []


# --- Bounded work ----------------------------------------------------------------------------------------------------

FLOODS = {
    "pings": frame(0x89) * 5000,
    "pongs of some bytes": frame(0x8A, b"pong") * 5000,
    "empty texts": frame(0x81) * 5000,
    "fragments of a byte": frame(0x01) + frame(0x00, b"x") * 5000 + frame(0x80),
    "empty fragments": frame(0x01, b"a") + frame(0x00) * 5000 + frame(0x80, b"b"),
    "pings between fragments": frame(0x01, b"a") + (frame(0x00, b"x") + frame(0x89, b"?")) * 3000 + frame(0x80),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_one_call_does_a_bounded_amount_of_work_and_says_that_more_is_left(flood: str):
    websocket, data = WebSocket(client=True), FLOODS[flood] + frame(0x81, b"last") + frame(0x88)
    parts = [websocket.receive(data)]
    while websocket.pending:
        parts.append(websocket.receive())
    assert len(parts) >= len(FLOODS[flood]) // 6 // WORK_AT_ONCE
    assert all(len(part) <= WORK_AT_ONCE for part in parts)
    items = [item for part in parts for item in part]
    assert items[-2:] == [b"last", CloseFrame(1005, "")]
    assert items == read_by_wsproto(data, client=True)
    assert websocket.receive() == []


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("size", [1, 999, 7000])
def test_what_arrives_while_more_is_left_comes_behind_it(flood: str, size: int):
    websocket, data = WebSocket(client=True), FLOODS[flood] + frame(0x81, b"last")
    items = [item for begin in range(0, len(data), size) for item in websocket.receive(data[begin : begin + size])]
    while websocket.pending:
        items += websocket.receive()
    assert items == read_by_wsproto(data, client=True)


def test_nothing_is_left_after_a_violation_or_a_close():
    for end in (frame(0x88, b"\x03\xe8"), frame(0x82), frame(0xF1), frame(0x81, b"\xff")):
        websocket = WebSocket(client=True)
        assert len(websocket.receive(frame(0x81, b"{}") * 5 + end + frame(0x89) * 5000)) == 6
        assert not websocket.pending


def test_a_server_stops_too():
    client, server = WebSocket(client=True), WebSocket(client=False)
    data = b"".join(client.text(str(number).encode()) for number in range(3000))
    first = server.receive(data)
    assert len(first) <= WORK_AT_ONCE
    assert server.pending
    assert first + received(server, b"") == [str(number).encode() for number in range(3000)]


@pytest.mark.parametrize("shape", ["many messages", "one message"])
def test_what_compressed_frames_expand_to_counts_as_work(shape: str):
    text = b"a" * 16_000_000
    sizes = [1_000_000] * 16 if shape == "many messages" else [16_000_000]
    data = b"".join(frame(0xC1, deflated(text[:size])) for size in sizes)
    websocket = deflating(limit=16_000_000, server_no_context_takeover=True)
    parts = [websocket.receive(data)]
    while websocket.pending:
        parts.append(websocket.receive())
    assert 3 <= len(parts) <= 8
    assert [item for part in parts for item in part] == [text[:size] for size in sizes]
    assert max(sum(map(len, part)) for part in parts) <= max(max(sizes), 9_000_000)  # At most 8 MiB, but one message.


# --- Close codes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1010, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
@pytest.mark.parametrize("client", [True, False])
def test_every_registered_close_code_is_one(code: int, client: bool):
    data = WebSocket(client=not client).close(code, "soon")
    for step in (1, len(data)):
        websocket = WebSocket(client=client)
        items = [item for begin in range(0, len(data), step) for item in websocket.receive(data[begin : begin + step])]
        assert items == [CloseFrame(code, "soon")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_every_other_close_code_is_a_violation(code: int):
    assert codes(WebSocket(client=True).receive(frame(0x88, code.to_bytes(2, "big")))) == [1002]


@pytest.mark.parametrize(
    ("payload", "code"), [(b"\x03", 1002), (b"\x03\xe8\xff", 1007), (b"\x03\xf6\xed\xa0\x80", 1007)]
)
def test_a_close_frame_must_hold_a_code_and_text(payload: bytes, code: int):
    assert codes(WebSocket(client=True).receive(frame(0x88, payload))) == [code]


# --- Answers without an end ------------------------------------------------------------------------------------------


def answered(exchange: ClientHandshake | ProxyTunnel, data: bytes, step: int) -> object:
    """The answer in these bytes, given ``step`` at a time; None if there is none yet."""
    for begin in range(0, len(data), step):
        found = exchange.receive(data[begin : begin + step])
        if found is not None:
            return found
    return None


STEPS = pytest.mark.parametrize("step", [1, 1000, 10_000_000])


@STEPS
@pytest.mark.parametrize("make", [handshake, lambda: ProxyTunnel("h:443")])
def test_informational_answers_without_an_end_are_broken(step: int, make: Any):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert answered(make(), early * MAX_EARLY, step) is None
    broken = answered(make(), early * 1000, step)
    assert broken == Broken(f"more than {MAX_EARLY} informational answers, and no other")


@STEPS
@pytest.mark.parametrize("status", ["101 Switching Protocols", "503 No", "103 Early Hints"])
@pytest.mark.parametrize("header", [b"A: " + b"x" * 100 + b"\r\n", b"B:\r\n", b"C: " + b"x" * 70_000 + b"\r\n"])
def test_headers_have_one_limit_however_they_are_split(step: int, status: str, header: bytes):
    head = f"HTTP/1.1 {status}\r\n".encode()
    many = 2 * MAX_HEADERS // len(header) + 1
    if step == 1:
        step = 97
    assert isinstance(answered(handshake(), head + header * many + b"\r\n", step), Broken)


@STEPS
def test_a_body_in_chunks_of_a_byte_is_cut(step: int):
    data = answer("500 Oops", transfer_encoding="chunked") + b"1\r\nx\r\n" * 40_000
    rejected = answered(handshake(), data, step)
    assert isinstance(rejected, Rejected)
    assert rejected.body == b"x" * MAX_CHUNKS


def test_a_header_that_is_repeated_is_joined_in_one_go():
    head = b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n" + b"a:b\r\n" * 8000 + b"\r\n"
    rejected = handshake().receive(head)
    assert isinstance(rejected, Rejected)
    assert rejected.headers["a"] == ", ".join(["b"] * 8000)


# --- Fragments of what is sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT, 3 * FRAGMENT + 5])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_long_message_is_sent_in_fragments(length: int, compressed: bool) -> None:
    """P-CONN-11."""
    chance = random.Random(length)
    payload = bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_", k=length))
    deflates = [Deflate(), Deflate()] if compressed else []
    for deflate in deflates:
        deflate.accept("permessage-deflate")
    client = WebSocket(client=True, extensions=deflates[:1], random_bytes=bytes)
    server = WebSocket(client=False, extensions=deflates[1:])
    frames = list(client.fragments(payload))
    if not compressed:
        assert len(frames) == max(1, -(-length // FRAGMENT))
    items: list[Item] = []
    for number, frame in enumerate(frames):
        items += server.receive(frame)
        while server.pending:
            items += server.receive()
        assert bool(items) is (number == len(frames) - 1)
        assert bool(frame[0] & 0x40) is (compressed and number == 0)
        if number < len(frames) - 1:
            assert server.receive(client.ping(b"?")) == [Ping(b"?")]
    assert items == [payload]


# --- Headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 2**40])
def test_a_header_tells_its_own_length_and_that_of_its_payload(length: int, masked: bool):
    head = write_head(0x81, length, masked=masked) + b"mask" * masked
    assert head_length(head) == len(head)
    assert payload_length(head) == length
    assert [head_length(head[:few]) for few in range(2)] == [2, 2]
    assert all(head_length(head[:few]) == len(head) for few in range(2, len(head)))


class CountingBuffer(bytearray):
    """Counts the bytes that are appended to it."""

    appended = 0

    def __iadd__(self, data: Any) -> CountingBuffer:  # type: ignore[override]
        self.appended += len(data)
        return super().__iadd__(data)  # type: ignore[return-value]


@pytest.mark.parametrize("length", [1 << 20, 1 << 23])
def test_the_bytes_of_a_long_text_are_kept_once_however_many_reads_it_takes(length: int) -> None:
    """T8, counted and not timed: what is kept is not copied again with each read."""
    socket = WebSocket(client=True)
    buffer = socket._buffer = CountingBuffer()
    frame = WebSocket(client=False).text(b"x" * length)
    reads = [frame[at : at + (1 << 16)] for at in range(0, len(frame), 1 << 16)]
    assert [socket.receive(data) for data in reads] == [[]] * (len(reads) - 1) + [[b"x" * length]]
    assert buffer.appended == len(frame) - len(reads[-1])
    assert not buffer
