"""Groups ``frames``, ``encode``, ``handshake`` and ``sse``: bytes in and out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from ._case import Case

# --- Frames: RFC 6455, section 5 -------------------------------------------------------------------------------------


def frame(first: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """One frame, written here by the RFC: section 5.2."""
    size = len(payload)
    head = bytes([first]), bytes([126]), bytes([127])
    length = bytes([size]) if size < 126 else head[1] + size.to_bytes(2) if size < 65536 else head[2] + size.to_bytes(8)
    if mask is None:
        return head[0] + length + payload
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return head[0] + bytes([length[0] | 0x80]) + length[1:] + mask + masked


TEXT, BINARY, CLOSE, PING, PONG, FIN = 1, 2, 8, 9, 10, 0x80


def received(name: str, what: str, data: bytes | list[bytes], *items: dict[str, Any], **given: Any) -> Case:
    pieces = [piece.hex() for piece in ([data] if isinstance(data, bytes) else data)]
    return Case(f"frames/{name}", what, {"role": "client", "pieces": pieces, **given}, {"items": list(items)})


def closing(code: int | None, reason: bytes = b"") -> bytes:
    return frame(FIN | CLOSE, b"" if code is None else code.to_bytes(2) + reason)


HI = frame(FIN | TEXT, b"hi")
BAD: dict[str, Any] = {"violation": 1002}
PARTS = frame(TEXT, b"he") + frame(0, b"l") + frame(FIN, b"lo")


def frames() -> Iterator[Case]:
    yield received("text", "one text", HI, {"text": "hi"})
    yield received("in_single_bytes", "a byte at a time", [HI[i : i + 1] for i in range(len(HI))], {"text": "hi"})
    yield received("two_at_once", "two texts in one piece", HI + HI, {"text": "hi"}, {"text": "hi"})
    yield received("empty", "an empty text", frame(FIN | TEXT, b""), {"text": ""})
    for size in (125, 126, 127, 65535, 65536):
        text = "x" * size
        yield received(f"length_{size}", f"{size} bytes", frame(FIN | TEXT, text.encode()), {"text": text})
    yield received(
        "utf8", "characters of two, three and four bytes", frame(FIN | TEXT, "ä€💥".encode()), {"text": "ä€💥"}
    )
    yield received("fragments", "a text in three fragments", PARTS, {"text": "hello"})
    yield received(
        "ping_between_fragments",
        "a ping between fragments comes first",
        frame(TEXT, b"he") + frame(FIN | PING, b"p") + frame(FIN, b"llo"),
        {"ping": b"p".hex()},
        {"text": "hello"},
    )
    split = "💥".encode()
    yield received(
        "character_in_two_fragments",
        "a character that is cut by fragments",
        frame(TEXT, split[:2]) + frame(FIN, split[2:]),
        {"text": "💥"},
    )
    yield received("ping", "a ping", frame(FIN | PING, b"abc"), {"ping": b"abc".hex()})
    yield received("pong", "a pong that was not asked for", frame(FIN | PONG, b""), {"pong": ""})
    yield received("waits", "a frame that is not complete", HI[:3])
    yield received("close", "a close frame", closing(1000, b"bye"), {"close": 1000, "reason": "bye"})
    yield received("close_bare", "a close frame without a code", closing(None), {"close": 1005, "reason": ""})
    yield received("after_close", "nothing comes out after it", closing(1001) + HI, {"close": 1001, "reason": ""})
    for code in (1001, 1008, 1009, 1011, 1012, 1013, 1014, 3000, 4999):
        yield received(f"close_{code}", f"close code {code}", closing(code), {"close": code, "reason": ""})
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000):
        yield received(f"close_code_{code}_is_none", f"{code} is no close code to be sent", closing(code), BAD)
    yield received("close_of_one_byte", "half a close code", frame(FIN | CLOSE, b"\x03"), BAD)
    yield received("close_reason_is_no_utf8", "a reason that is no UTF-8", closing(1000, b"\xff"), {"violation": 1007})
    yield received("masked", "a masked frame of a server", frame(FIN | TEXT, b"hi", b"abcd"), BAD)
    yield received(
        "binary", "a binary message is refused by the client", frame(FIN | BINARY, b"hi"), {"violation": 1003}
    )
    yield received(
        "binary_by_its_header",
        "and by its header, whatever follows",
        frame(FIN | BINARY, b"hi")[:2],
        {"violation": 1003},
    )
    within = frame(TEXT, b"a") + frame(TEXT, b"b")[:2]
    yield received("text_within_fragments_by_its_header", "a new text within another, by its header", within, BAD)
    yield received("no_utf8", "a text that is no UTF-8", frame(FIN | TEXT, b"\xc3\x28"), {"violation": 1007})
    yield received("surrogate", "half a surrogate pair", frame(FIN | TEXT, b"\xed\xa0\xbd"), {"violation": 1007})
    for bit in (0x40, 0x20, 0x10):
        yield received(
            f"reserved_bit_{bit}", "a reserved bit without an extension", frame(FIN | bit | TEXT, b"hi"), BAD
        )
    for opcode in (3, 7, 11, 15):
        yield received(f"opcode_{opcode}", f"opcode {opcode} is reserved", frame(FIN | opcode, b""), BAD)
    yield received("ping_in_fragments", "a control frame in fragments", frame(PING, b"a"), BAD)
    yield received("long_ping", "a control frame of 126 bytes", frame(FIN | PING, b"x" * 126), BAD)
    yield received("continuation_of_nothing", "a continuation of nothing", frame(FIN, b"a"), BAD)
    yield received(
        "text_within_fragments", "a new text within another", frame(TEXT, b"a") + frame(FIN | TEXT, b"b"), BAD
    )
    yield received("long_form_of_a_short_length", "a length that is longer than it needs", b"\x81\x7e\x00\x02hi", BAD)
    yield received("long_form_of_eight", "in eight bytes", b"\x81\x7f" + (200).to_bytes(8) + b"x" * 200, BAD)
    yield received("length_of_64_bits", "a length with the first bit set", b"\x81\x7f\x80" + bytes(7), BAD)
    yield received("valid_before_invalid", "what was valid comes out", HI + frame(FIN | 3, b""), {"text": "hi"}, BAD)
    yield received("too_big", "a message above the limit", HI, {"violation": 1009}, max_message_size=1)
    yield received("just_fits", "one at the limit", HI, {"text": "hi"}, max_message_size=2)
    yield received("fragments_too_big", "fragments count together", PARTS, {"violation": 1009}, max_message_size=4)
    masked = frame(FIN | TEXT, b"hi", b"abcd")
    yield received("server_reads_masked", "a server reads masked frames", masked, {"text": "hi"}, role="server")
    yield received("server_reads_unmasked", "and no others", HI, BAD, role="server")


# --- Encoding --------------------------------------------------------------------------------------------------------


def encoded(name: str, what: str, data: bytes, **given: Any) -> Case:
    return Case(f"encode/{name}", what, given, {"bytes": data.hex()})


KEY = bytes.fromhex("01020304")


def encode() -> Iterator[Case]:
    yield encoded("text", "a masked text", frame(FIN | TEXT, b"hi", KEY), text="hi", mask=KEY.hex())
    yield encoded("text_of_a_server", "a text without a mask", HI, text="hi")
    for size in (125, 126, 65536):
        data = "x" * size
        yield encoded(f"text_{size}", f"{size} bytes", frame(FIN | TEXT, data.encode(), KEY), text=data, mask=KEY.hex())
    yield encoded("ping", "a ping", frame(FIN | PING, b"p", KEY), ping=b"p".hex(), mask=KEY.hex())
    yield encoded("pong", "a pong", frame(FIN | PONG, b"p", KEY), pong=b"p".hex(), mask=KEY.hex())
    yield encoded("close", "a close frame", closing(1000, b"bye"), close=1000, reason="bye")
    yield encoded("close_bare", "code 1005 stands for no code", closing(None), close=1005)
    long = closing(1000, ("ä" * 61).encode())
    yield encoded(
        "close_long_reason", "a reason is cut at 123 bytes, between characters", long, close=1000, reason="ä" * 100
    )


# --- The upgrade -----------------------------------------------------------------------------------------------------

NONCE = bytes(range(16))
TOKEN = base64.b64encode(
    hashlib.sha1(base64.b64encode(NONCE) + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
).decode()


def head(status: str = "101 Switching Protocols", **headers: str | None) -> str:
    named = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": TOKEN, **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items() if value is not None]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n"


def answered(name: str, what: str, pieces: list[str], **must: Any) -> Case:
    return Case(f"handshake/{name}", what, {"nonce": NONCE.hex(), "pieces": pieces}, must, ("P-CONN-2",))


PLAIN: dict[str, Any] = {"Upgrade": None, "Connection": None, "Sec-WebSocket-Accept": None}
HANDSHAKE = [
    answered("accepted", "101", [head()], accepted=True, rest=""),
    answered("rest", "bytes after the head are frames", [head() + "\x81\x02hi"], accepted=True, rest="81026869"),
    answered("pieces", "a head in pieces", [head()[:20], head()[20:]], accepted=True),
    answered(
        "case",
        "names and words in any case",
        [head(Upgrade="WebSocket", Connection="keep-alive, UPGRADE")],
        accepted=True,
    ),
    answered("waits", "a head that is not complete", [head()[:-2]], waits=True),
    answered("wrong_token", "the answer to another key", [head(**{"Sec-WebSocket-Accept": "x" * 28})], broken=True),
    answered("no_token", "no key at all", [head(**{"Sec-WebSocket-Accept": None})], broken=True),
    answered("no_upgrade", "101 without Upgrade", [head(Upgrade=None)], broken=True),
    answered("no_connection", "101 without Connection", [head(Connection="close")], broken=True),
    answered(
        "extension",
        "an extension that was not offered",
        [head(**{"Sec-WebSocket-Extensions": "permessage-deflate"})],
        broken=True,
    ),
    answered(
        "subprotocol", "a subprotocol that was not offered", [head(**{"Sec-WebSocket-Protocol": "x"})], broken=True
    ),
    answered("other_101", "101 for another protocol", [head(Upgrade="h2c")], broken=True),
    answered("no_http", "no HTTP", ["SSH-2.0-x\r\n\r\n"], broken=True),
    answered("ended", "the stream ends first: there is no answer", ["HTTP/1.1 101", ""], waits=True),
    answered(
        "rejected",
        "another status, with its body",
        [head("401 No", **PLAIN, **{"Content-Length": "2"}) + "no"],
        rejected=401,
        body="no",
    ),
    answered(
        "rejected_chunked",
        "a body in chunks",
        [head("503 No", **PLAIN, **{"Transfer-Encoding": "chunked"}) + "2\r\nno\r\n0\r\n\r\n"],
        rejected=503,
        body="no",
    ),
    answered(
        "rejected_until_the_end",
        "a body until the end of the stream",
        [head("502 No", **PLAIN) + "n", "o", ""],
        rejected=502,
        body="no",
    ),
    answered(
        "rejected_headers",
        "repeated headers are joined",
        [head("429 No", **PLAIN, **{"Retry-After": "3", "Content-Length": "0"})],
        rejected=429,
        headers={"retry-after": "3", "content-length": "0"},
    ),
    answered("early_hints", "other 1xx come before", ["HTTP/1.1 103 Early Hints\r\n\r\n" + head()], accepted=True),
    answered(
        "after_the_answer",
        "what follows a rejection is not read",
        [head("401 No", **PLAIN, **{"Content-Length": "0"}), "x"],
        rejected=401,
    ),
    answered("status_200", "200 is a rejection", [head("200 OK", **PLAIN, **{"Content-Length": "0"})], rejected=200),
]


# --- Server-sent events: the HTML standard, "Interpreting an event stream" --------------------------------------------


def stream(
    name: str, what: str, pieces: list[str] | str, *found: str | tuple[str, str] | tuple[str, str, str], **must: Any
) -> Case:
    """Found: the data; or the name and the data; or these and the id."""
    listed: list[dict[str, str]] = []
    for one in found:
        kind, data, last = ("message", one, "") if isinstance(one, str) else (*one, "")[:3]
        listed.append({"event": kind, "data": data, "id": last})
    given = {"pieces": [pieces] if isinstance(pieces, str) else pieces}
    if "limit" in must:
        given["limit"] = must.pop("limit")
    return Case(f"sse/{name}", what, given, {"events": listed, **must})


SSE = [
    stream("data", "one event", "data: a\n\n", "a"),
    stream("two_lines", "lines are joined", "data: a\ndata: b\n\n", "a\nb"),
    stream("no_space", "the space after the colon may be missing", "data:a\n\n", "a"),
    stream("one_space", "and only one is taken off", "data:  a\n\n", " a"),
    stream("cr", "lines may end with CR", "data: a\r\r", "a"),
    stream("crlf", "or with CR LF", "data: a\r\n\r\n", "a"),
    stream("cr_in_pieces", "CR and LF in two pieces are one end", ["data: a\r", "\n\r", "\n"], "a"),
    stream("in_single_characters", "a character at a time", list("data: a\n\n"), "a"),
    stream("named", "a name", "event: x\ndata: a\n\n", ("x", "a")),
    stream("name_without_data", "no data, no event; and the name is forgotten", "event: x\n\ndata: a\n\n", "a"),
    stream("last_name", "the last name counts", "event: x\nevent: y\ndata: a\n\n", ("y", "a")),
    stream("id", "an id stays", "id: 1\ndata: a\n\ndata: b\n\n", ("message", "a", "1"), ("message", "b", "1")),
    stream("id_is_reset", "an empty id takes it away", "id: 1\ndata: a\n\nid\ndata: b\n\n", ("message", "a", "1"), "b"),
    stream("id_with_null", "an id with U+0000 is ignored", "id: 1\x002\ndata: a\n\n", "a"),
    stream("retry", "retry in digits", "retry: 250\n\n", retry=250),
    stream("retry_words", "and in nothing else", "retry: 1s\nretry: -1\n\n", retry=None),
    stream("comment", "a comment", ": hello\ndata: a\n\n", "a"),
    stream("unknown_field", "an unknown field", "x: y\ndata: a\n\n", "a"),
    stream("field_without_colon", "a field without a colon has an empty value", "data\ndata\n\n", "\n"),
    stream("empty_data", "an event with empty data", "data:\n\n", ""),
    stream("case", "names of fields are in lower case", "Data: a\ndata: b\n\n", "b"),
    stream("space_before_the_colon", "a space is part of a name", "data : a\ndata: b\n\n", "b"),
    stream("byte_order_mark", "a byte order mark at the beginning", "\ufeffdata: a\n\n", "a"),
    stream("two_byte_order_marks", "only one is taken off", "\ufeff\ufeffdata: a\n\ndata: b\n\n", "b"),
    stream("incomplete", "what is not ended by a blank line is no event", "data: a\n"),
    stream(
        "json",
        "as the API sends it",
        'event: response.created\ndata: {"type": "response.created"}\n\n',
        ("response.created", '{"type": "response.created"}'),
    ),
    stream("utf8", "characters of several bytes", "data: ä€💥\n\n", "ä€💥"),
    stream("limit", "a line above the limit", "data: aaaaaaaa\n\n", too_long=True, limit=10),
    stream("limit_of_an_event", "many lines above the limit", "data: aaaa\n" * 4 + "\n", too_long=True, limit=12),
    stream("limit_in_pieces", "the same, a character at a time", list("data: aaaaaaaa\n\n"), too_long=True, limit=10),
    stream("limit_of_a_comment", "any line counts", ": aaaaaaaaaaa\n", too_long=True, limit=10),
    # Parsing cases of web-platform-tests, in the folder eventsource; all of them: tests/core/test_sse_wpt.py.
    stream(
        "mark_later", "a byte order mark that is not the first is part of a name", "data:1\n\n\ufeffdata:2\n\n", "1"
    ),
    stream(
        "comments",
        "comments between the lines of an event, of any length, and with any end",
        "data:1\r:\0\n:\r\ndata:2\n:" + "x" * 2048 + "\rdata:3\n:data:fail\r:" + "x" * 2048 + "\ndata:4\n\n",
        "1\n2\n3\n4",
    ),
    stream(
        "almost_data",
        "names that are not quite data",
        "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
        "\0\n 2\n1\n3\n\n4",
    ),
    stream("newlines", "each end of a line in one event", "data:test\r\ndata\ndata:test\r\n\r", "test\n\ntest"),
    stream("tab", "a tab is not taken off", "data:\ttest\rdata: \ndata:test\n\n", "\ttest\n\ntest"),
    stream("null", "U+0000 is data", "data:\0\n\n", "\0"),
    stream("name_empty", "an empty name is that of a message", "event: \ndata:data\n\n", "data"),
    stream(
        "id_of_an_incomplete_event",
        "an event that is not complete changes no id",
        "data:test1\n\nid:test\ndata:test2\n",
        "test1",
    ),
    stream(
        "id_with_null_later",
        "an id with U+0000 at any place leaves the one before",
        "id: 1\ndata: a\n\nid: x\0\ndata: b\n\nid: \0x\ndata: c\n\n",
        ("message", "a", "1"),
        ("message", "b", "1"),
        ("message", "c", "1"),
    ),
    stream(
        "id_changes",
        "an id stays until another",
        "id: 1\ndata: 1\n\nid: 2\ndata:2\n\ndata:3\n\n",
        ("message", "1", "1"),
        ("message", "2", "2"),
        ("message", "3", "2"),
    ),
    stream("retry_leading_zero", "retry is decimal", "retry:03000\ndata:x\n\n", "x", retry=3000),
    stream("retry_bogus_later", "a bad retry leaves the one before", "retry:3000\nretry:1000x\n\n", retry=3000),
    stream("retry_empty", "an empty retry says nothing", "retry\ndata:test\n\n", "test", retry=None),
    stream("within_the_limit", "data at the limit", "data: aaaa\n\n", "aaaa", too_long=False, limit=10),
]

CASES = [*frames(), *encode(), *HANDSHAKE, *SSE]
