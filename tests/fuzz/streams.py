"""Server-sent events against a plain reading of the HTML standard, in pieces; byte 0 says how they are split."""

from __future__ import annotations

from typing import Final, NamedTuple

from fuzz.choices import pieces
from turnwire.sansio.sse import EventStream

__all__ = ["check_stream"]

LIMIT: Final = 200


class Read(NamedTuple):
    """What a reader found."""

    events: list[tuple[str, str, str]]
    """Name, data and last id of each."""
    retry: int | None


def check_stream(data: bytes) -> None:
    """Read the bytes whole, in pieces, and with a limit; see the top of the module."""
    how, stream = data[0] if data else 0, data[1:]
    expected = plainly(stream)
    assert by_us(stream, 0) == expected
    assert by_us(stream, how) == expected
    bounded = EventStream(LIMIT)
    for piece in pieces(stream, how):
        events = bounded.receive(piece)
        assert all(len(event.data) <= 3 * LIMIT for event in events)  # U+FFFD has three bytes.
        assert len(bounded._line) <= LIMIT
        assert bounded._data is None or len(bounded._data) <= LIMIT


def by_us(stream: bytes, how: int) -> Read:
    """What our reader finds in these pieces."""
    reader = EventStream()
    events = [event for piece in pieces(stream, how) for event in reader.receive(piece)]
    return Read([(event.name, event.data.decode(), event.last_id) for event in events], reader.retry)


def plainly(stream: bytes) -> Read:
    """The standard's steps (section 9.2.6), word by word, over the whole stream as text."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events: list[tuple[str, str, str]] = []
    name, data, last_id, retry = "", list[str](), "", None
    for line in lines:
        if not line:
            if data:
                events.append((name, "\n".join(data), last_id))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                name = value
            case "data":
                data.append(value)
            case "id" if "\0" not in value:
                last_id = value
            case "retry" if value.isascii() and value.isdigit() and len(value) <= 15:
                retry = int(value)
            case _:
                pass
    return Read(events, retry)
