"""The parsing cases of web-platform-tests' folder ``eventsource``, at :class:`EventStream`.

Each case is the body that the case's server sends, and the events that its script expects, as data of our own. A case
is named after its file; the 24 files of 2026 are here. ``message.py``, which most of them use, sends the message, then
a blank line unless ``newline=none`` is given, and one line end. :data:`NO_PART` names the other files of that folder,
and why they are none of a parser's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from turnwire.sansio.http import media_type
from turnwire.sansio.sse import EventStream, ServerSentEvent

BOM = b"\xef\xbb\xbf"
LONG = b"x" * 2048


class Case(NamedTuple):
    name: str
    stream: bytes
    expected: Sequence[str | tuple[str, str] | tuple[str, str, str]]
    """The events: the data; with a name before it; with the last id behind it."""
    retry: int | None = None


def sent(message: bytes) -> bytes:
    """What ``message.py`` makes of a message."""
    return message + b"\n\n\n"


CASES = [
    Case(
        "event-data",
        b"data:msg\ndata: msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
        ["msg\nmsg", "", "end"],
    ),
    Case("format-bom", sent(BOM + b"data:1\n\n" + BOM + b"data:2\n\ndata:3"), ["1", "3"]),
    Case("format-bom-2", sent(BOM + BOM + b"data:1\n\ndata:2\n\ndata:3"), ["2", "3"]),
    Case(
        "format-comments",
        b"data:1\r:\0\n:\r\ndata:2\n:" + LONG + b"\rdata:3\n:data:fail\r:" + LONG + b"\ndata:4\n\n",
        ["1\n2\n3\n4"],
    ),
    Case("format-data-before-final-empty-line", b"retry:1000\ndata:test1\n\nid:test\ndata:test2\n", ["test1"], 1000),
    Case("format-field-data", sent(b"data:\n\ndata\ndata\n\ndata:test"), ["", "\n", "test"]),
    Case("format-field-event", sent(b"event:test\ndata:x\n\ndata:x"), [("test", "x"), "x"]),
    Case("format-field-event-empty", sent(b"event: \ndata:data"), ["data"]),
    Case("format-field-id", "id: …\nretry: 200\ndata: hello\n\n".encode(), [("message", "hello", "…")], 200),
    Case(
        "format-field-id-2",
        "id: …\nretry: 200\ndata: hello\n\ndata: …\n\ndata: …\n\n".encode(),
        [("message", "hello", "…"), ("message", "…", "…"), ("message", "…", "…")],
        200,
    ),
    Case(
        "format-field-id-3, persists",
        b"id: 1\ndata: 1\n\ndata:2\n\n",
        [("message", "1", "1"), ("message", "2", "1")],
    ),
    Case(
        "format-field-id-3, changes and persists",
        b"id: 1\ndata: 1\n\nid: 2\ndata:2\n\ndata:3\n\n",
        [("message", "1", "1"), ("message", "2", "2"), ("message", "3", "2")],
    ),
    Case(
        "format-field-id-3, resets",
        b"id: 1\ndata: 1\n\nid:\ndata:2\n\ndata:3\n\n",
        [("message", "1", "1"), "2", "3"],
    ),
    Case(
        "format-field-id-3, resets, without a colon",
        b"id: 1\ndata: 1\n\nid\ndata:2\n\ndata:3\n\n",
        [("message", "1", "1"), "2", "3"],
    ),
    *(
        Case(f"format-field-id-null, {value!r}", b"id: " + value + b"\nretry: 200\ndata: hello\n\n", ["hello"], 200)
        for value in (b"\0\0", b"x\0", b"\0x", b"x\0x", b" \0")
    ),
    Case(
        "format-field-parsing",
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n"
        b"\n",
        ["\0\n 2\n1\n3\n\n4"],
    ),
    Case("format-field-retry", sent(b"retry:03000\ndata:x"), ["x"], 3000),
    Case("format-field-retry-bogus", sent(b"retry:3000\nretry:1000x\ndata:x"), ["x"], 3000),
    Case("format-field-retry-empty", sent(b"retry\ndata:test"), ["test"]),
    Case(
        "format-field-unknown",
        sent(b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test"),
        ["test\n\ntest"],
    ),
    Case("format-leading-space", sent(b"data:\ttest\rdata: \ndata:test"), ["\ttest\n\ntest"]),
    Case("format-newlines", b"data:test\r\ndata\ndata:test\r\n\r\n", ["test\n\ntest"]),
    Case("format-null-character", sent(b"data:\0\n\n"), ["\0"]),
    Case("format-utf-8", sent("data:ok…".encode()), ["ok…"]),
]

MEDIA_TYPES = [
    ("format-mime-bogus", "x bogus", False),
    ("format-mime-trailing-semicolon", "text/event-stream;", True),
    ("format-mime-valid-bogus", "text/x-bogus", False),
    ("format-utf-8", "text/event-stream;charset=windows-1252", True),
]
"""What a server says that its answer is, and whether that is a stream of events."""

NO_PART = {
    "eventsource-close, eventsource-reconnect, request-status-error": (
        "connecting again, as the second halves of format-field-id and format-field-retry do; the wait that a stream "
        "asks for, and the id, are compared above"
    ),
    "eventsource-constructor-*, eventsource-eventtarget, eventsource-on*, eventsource-prototype, eventsource-url, "
    "interfaces": "the object EventSource of a browser",
    "eventsource-cross-origin, eventsource-request-cancellation, request-*": "origins, redirects, caches, credentials",
}
"""Files of the folder without a case here, and why."""


def chunks(stream: bytes) -> Iterator[list[bytes]]:
    """Whole; byte by byte; and in pieces of random lengths, some of them empty."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    source = random.Random(len(stream))
    for _ in range(20):
        edges = [0, *sorted(source.choices(range(len(stream) + 1), k=source.randrange(1, 12))), len(stream)]
        yield [stream[edges[at] : edges[at + 1]] for at in range(len(edges) - 1)]


def whole(event: str | tuple[str, str] | tuple[str, str, str]) -> tuple[str, str, str]:
    if isinstance(event, str):
        return "message", event, ""
    return event if len(event) == 3 else (*event, "")


def shown(event: ServerSentEvent) -> tuple[str, str, str]:
    return event.name or "message", event.data.decode(), event.last_id


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_parsing_cases_of_web_platform_tests(case: Case) -> None:
    for pieces in chunks(case.stream):
        stream = EventStream()
        events = [shown(event) for piece in pieces for event in stream.receive(piece)]
        assert events == [whole(event) for event in case.expected], pieces
        assert stream.retry == case.retry


@pytest.mark.parametrize(("name", "media", "stream"), MEDIA_TYPES)
def test_the_media_types_of_web_platform_tests(name: str, media: str, stream: bool) -> None:
    assert (media_type(media) == "text/event-stream") is stream, name


def test_each_file_has_its_place_once() -> None:
    names = {case.name.partition(",")[0] for case in CASES} | {name for name, _, _ in MEDIA_TYPES}
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(names) == 24
    assert not names & {name.strip() for row in NO_PART for name in row.split(",")}
