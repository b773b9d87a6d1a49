"""Server-sent events: the grammar of the HTML standard against a plain reading of it, every chunking, every limit."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnwire.sansio.sse import EventStream, ServerSentEvent


def read(*chunks: bytes, limit: int | None = None) -> list[ServerSentEvent]:
    stream = EventStream(limit)
    return [event for chunk in chunks for event in stream.receive(chunk)]


def data_of(*chunks: bytes) -> list[bytes]:
    return [event.data for event in read(*chunks)]


# --- The standard's own examples, and its rules one by one ----------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
        (b"data\n\ndata\ndata\n\ndata:", [b"", b"\n"]),
        (b"data:test\n\ndata: test\n\n", [b"test", b"test"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data:\ttab\n\n", [b"\ttab"]),
        (b": comment\n\n", []),
        (b":\n:\n\n\n\ndata: x\n:in the middle\ndata: y\n\n", [b"x\ny"]),
        (b"event: named\n\n", []),
        (b"data: [DONE]\n\n", [b"[DONE]"]),
        (b"data: a:b: c\n\n", [b"a:b: c"]),
        (b"Data: x\nDATA: y\ndatax: z\n data: w\n\n", []),
        (b"x: 1\ndata: y\nz\n\n", [b"y"]),
        (b"data: cut", []),
        (b"data: cut\n", []),
        (b"", []),
        (b"\n\n\n", []),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\ndata: d\r\n\r", [b"a", b"b", b"c", b"d"]),
        (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [b"y"]),
        (b"\n\xef\xbb\xbfdata: x\n\n", []),
        (b"data: \xef\xbb\xbfx\n\n", [b"\xef\xbb\xbfx"]),
        (b"data: \xff|\xc3\n\ndata: \xc3\xa9\n\n", ["\ufffd|\ufffd".encode(), "é".encode()]),
        (b"data: \xed\xa0\x80\n\n", ["\ufffd\ufffd\ufffd".encode()]),
        (b"data: \xc3\ndata: \xa9\n\n", ["\ufffd\n\ufffd".encode()]),
    ],
)
def test_what_the_data_is(stream: bytes, data: list[bytes]) -> None:
    assert data_of(stream) == data
    assert data_of(*(stream[at : at + 1] for at in range(len(stream)))) == data


def test_names_and_ids() -> None:
    stream = EventStream()
    events = stream.receive(
        b"event: a\nevent: b\ndata: 1\nid: i\n\n"
        b"data: 2\n\n"
        b"id: no\0\ndata: 3\n\n"
        b"id\ndata: 4\nevent\n\n"
        b"event: \xff\nid: \xff\ndata: 5\n\n"
    )
    assert [(event.name, event.last_id) for event in events] == [
        ("b", "i"),
        ("", "i"),
        ("", "i"),
        ("", ""),
        ("\ufffd", "\ufffd"),
    ]


def test_an_id_counts_from_the_blank_line_on_also_of_an_event_without_data() -> None:
    stream = EventStream()
    stream.receive(b"id: 7\n")
    assert stream.last_id == ""
    assert stream.receive(b"\n") == []
    assert stream.last_id == "7"


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        (b"retry: 1500", 1500),
        (b"retry:0", 0),
        (b"retry: 1.5", None),
        (b"retry: -1", None),
        (b"retry:  1", None),
        (b"retry", None),
        (b"retry: \xd9\xa1", None),
        (b"retry: " + b"9" * 5000, None),
    ],
)
def test_retry(line: bytes, retry: int | None) -> None:
    stream = EventStream()
    stream.receive(line + b"\n")
    assert stream.retry == retry


# --- Every stream, in every chunking --------------------------------------------------------------------------------


class Reference(NamedTuple):
    """The standard's steps, word by word, over a whole stream."""

    events: list[tuple[str, str, str]]
    last_id: str
    retry: int | None

    @classmethod
    def of(cls, stream: bytes) -> Reference:
        text = stream.decode(errors="replace")
        text = text.removeprefix("\ufeff")
        events: list[tuple[str, str, str]] = []
        data = name = id_buffer = last_id = ""
        retry: int | None = None
        *lines, _ = re.split("\r\n|\n|\r", text)
        for line in lines:
            if line == "":
                last_id = id_buffer
                if data:
                    events.append((data.removesuffix("\n"), name, last_id))
                data = name = ""
                continue
            if line.startswith(":"):
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value + "\n"
            elif field == "id" and "\0" not in value:
                id_buffer = value
            elif field == "retry" and value.isascii() and value.isdigit() and len(value) < 16:
                retry = int(value)
        return cls(events, last_id, retry)


PIECES = [
    b"data: ", b"data:", b"data", b"event: ", b"event", b"id: ", b"id", b"retry: ", b"12", b":", b" ", b"\n", b"\n\n",
    b"\r", b"\r\n", b"\0", b"x", b"{}", b"[DONE]", b"\xef", b"\xbb", b"\xbf", b"\xef\xbb\xbf", "é€😀".encode(), b"\xff",
    b"\xf0\x9f", b"\xed\xa0\x80",
]  # fmt: skip
STREAMS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)), max_size=40).map(b"".join)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(STREAMS, st.lists(st.integers(min_value=0)))
def test_any_stream_in_any_chunking_is_what_the_standard_says(stream: bytes, cuts: list[int]) -> None:
    expected = Reference.of(stream)
    parser = EventStream()
    events = [event for chunk in cut(stream, cuts) for event in parser.receive(chunk)]
    assert [(event.data.decode(), event.name, event.last_id) for event in events] == expected.events
    assert parser.retry == expected.retry
    assert parser.last_id == expected.last_id
    assert parser.too_long is None


def test_an_event_comes_with_the_byte_that_completes_it() -> None:
    for end in (b"\n", b"\r"):
        stream = EventStream()
        assert stream.receive(b"data: x" + end) == []
        assert [event.data for event in stream.receive(end)] == [b"x"]
    stream = EventStream()
    assert stream.receive(b"data: x\r\n") == []
    assert [event.data for event in stream.receive(b"\r")] == [b"x"]
    assert stream.receive(b"\n") == []


# --- Limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "what"),
    [
        ([b"data: x\n\n", b"x" * 101], "a line"),
        ([b"data: x\n\n" + b"x" * 60, b"x" * 60], "a line"),
        ([b"data: x\n\n" + b"x" * 101 + b"\n\ndata: y\n\n"], "a line"),
        ([b"data: x\n\n:" + b"x" * 101 + b"\n\n"], "a line"),
        ([b"data: x\n\ndata: " + b"x" * 101 + b"\n\n"], "a line"),
        ([b"data: x\n\ndata: " + b"x" * 99 + b"\n\n"], "a line"),
        ([b"data: x\n\ndata: ", b"x" * 99, b"\n\n"], "a line"),
        ([b"data: x\n\n" + b"data: 234567890\n" * 11 + b"\n"], "an event"),
        ([b"data: x\n\n" + b"data\n" * 102 + b"\n"], "an event"),
        ([b"data: x\n\n", *[b"data:\n"] * 102, b"\n"], "an event"),
    ],
)
def test_a_limit_ends_the_stream_after_what_was_right(chunks: list[bytes], what: str) -> None:
    stream = EventStream(100)
    events = [event.data for chunk in chunks for event in stream.receive(chunk)]
    assert events == [b"x"]
    assert stream.too_long is not None
    assert stream.too_long.startswith(what)
    assert "100" in stream.too_long
    assert stream.receive(b"data: y\n\n") == []


def test_what_reaches_a_limit_and_does_not_exceed_it_comes_whole() -> None:
    assert [len(event.data) for event in read(b"data: " + b"x" * 94 + b"\n" + b"data:12345\n\n", limit=100)] == [100]
    assert len(read(b"data: " + b"x" * (1 << 20) + b"\n\n")) == 1


def test_a_long_line_in_small_chunks_costs_linear_time() -> None:
    stream = EventStream()
    stream.receive(b"data: ")
    for _ in range(20_000):
        assert stream.receive(b"x" * 100) == []
    (event,) = stream.receive(b"\n\n")
    assert len(event.data) == 2_000_000
