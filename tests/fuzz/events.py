"""JSON to events, their parts, what is gathered of them, and the SDK's objects.

Each line of an input is one message of a server.

What must hold
    - what Python's own ``json`` reads as an object is an event, of the type that it says; nothing else is one;
    - every attribute of an event and its parts can be read, or raises EventDecodeError and nothing else;
    - equal texts are equal events; an event survives pickling;
    - ``to_openai()`` gives what the SDK's ``construct_type`` gives, where that does not raise;
    - events can be gathered, in any order, and the gathered response can be read;
    - an error body can be read, whatever it is.
"""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from typing import Any, Final

import msgspec
from kit.sdk_objects import difference
from openai._models import construct_type
from openai.types.responses import Response as SdkResponse
from openai.types.responses import ResponsesServerEvent, ResponseStreamEvent
from turnwire.sansio.error_body import read_error
from turnwire.sansio.errors import EventDecodeError
from turnwire.sansio.events import LifecycleEvent, ServerEvent, decode_event
from turnwire.sansio.events._json import JsonText
from turnwire.sansio.events._openai import to_stream_event
from turnwire.sansio.partial import Gathered
from turnwire.sansio.replay import Refusal

__all__ = ["check_events"]

MOST_LINES: Final = 20
DEEPEST: Final = 100
"""Levels of nesting up to which the stack is certainly enough for every reader."""


def check_events(data: bytes) -> None:
    """Read each line in all ways; see the top of the module."""
    events: list[ServerEvent] = []
    for line in data.split(b"\n")[:MOST_LINES]:
        event = check_event(line)
        if event is not None:
            events.append(event)
    gathered = Gathered()
    for at, event in enumerate(events):
        gathered.add([event])
        if at % 4 == 0 or event is events[-1]:
            read_all(gathered.snapshot(), 3)


def check_event(text: bytes) -> ServerEvent | None:
    """Read one message in all ways; the event, if it is one."""
    members = plain_object(text)
    try:
        event = decode_event(text)
    except EventDecodeError:
        assert members is None, f"{text!r} is an object, and no event"
        return None
    if not is_utf8(text):  # A transport hands on valid UTF-8 only: others may be read, or fail when a part is.
        read_all(event, 4)
        return None
    assert event.raw_bytes == text or b"NaN" in text or b"Infinity" in text  # P-FIELD-2
    assert event == decode_event(text)
    assert hash(event) == hash(decode_event(text))
    assert pickle.loads(pickle.dumps(event)) == event
    read_all(event, 4)
    event.ids()
    event.role  # noqa: B018 - It must not raise.
    if members is not None:
        kind = members.get("type")
        if isinstance(kind, str) and kind and kind.isascii():
            assert event.type == kind, f"{event.type!r} is not {kind!r}"
        check_error(members)
    check_sdk(event, text, members)
    return event


def is_utf8(text: bytes) -> bool:
    """Whether it is text at all."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def plain_object(text: bytes) -> dict[str, Any] | None:
    """What Python's own reader makes of a text; None if it is no object, or beyond what every reader takes."""
    if max(text.count(b"["), text.count(b"{")) > DEEPEST:
        return None
    try:
        value = json.loads(text.decode(), parse_constant=_refuse)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def read_all(value: object, depth: int) -> None:
    """Read every public attribute, down to some depth; EventDecodeError is all that may be raised."""
    if isinstance(value, list | tuple):
        for each in value[:5]:
            read_all(each, depth)
        return
    if depth == 0 or not isinstance(value, JsonText | msgspec.Struct):
        return
    repr(value)
    for name in _names(type(value)):
        try:
            found = getattr(value, name)
        except EventDecodeError:
            continue
        if callable(found):
            if name in ("to_dict", "text", "parsed_arguments"):
                _call(found)
            continue
        read_all(found, depth - 1)


def _call(method: Any) -> None:
    with suppress(EventDecodeError, TypeError):  # TypeError: it wants an argument.
        method()


_NAMES: dict[type, list[str]] = {}


def _names(cls: type) -> list[str]:
    if cls not in _NAMES:
        _NAMES[cls] = [name for name in dir(cls) if not name.startswith("_")]
    return _NAMES[cls]


def check_error(members: dict[str, Any]) -> None:
    """An error can be read from it, and so can what it says of a turn."""
    for status in (None, 429):
        refusal = Refusal.from_body(read_error(members, status=status, headers={}))
        assert isinstance(refusal.may_have_run, bool)
        assert refusal.status is None or isinstance(refusal.status, int)
        wait = refusal.retry_after(1_700_000_000.0)
        assert wait is None or wait >= 0.0


def check_sdk(event: ServerEvent, text: bytes, members: dict[str, Any] | None) -> None:
    """The SDK's objects are those that it makes itself."""
    connected, streamed = event.to_openai(), to_stream_event(event)
    made = event.response.to_openai() if isinstance(event, LifecycleEvent) else None
    if members is None:
        return
    pairs: list[tuple[Any, Any, Any]] = [
        (connected, ResponsesServerEvent, members),
        (streamed, ResponseStreamEvent, members),
    ]
    if made is not None and isinstance(members.get("response"), dict):
        pairs.append((made, SdkResponse, members["response"]))
    for ours, annotation, value in pairs:
        try:
            theirs = construct_type(value=value, type_=annotation)
        except Exception:  # Ours is what it makes of what it can take.
            continue
        where = difference(ours, theirs)
        assert where == "", f"{where} of {text!r}"
