"""The recording of a proxy as text: the messages of each connection, in both directions, with their times."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

from ...sansio.events import ENDINGS, Role, role_of
from ...sansio.recording import ProxiedMessage, ProxyRecording, RecordingError, json_members
from ._terminal import Terminal
from ._timeline_view import prompt_of, quoted

__all__ = ["show_messages"]

_WAYS: Final = {"sent": "→", "received": "←"}
_STYLES: Final = {"sent": "bold", "": "dim"}
_QUIET: Final = ("ping", "pong", "end of the answer")
"""What is told only if it says something, or if everything is told."""
_ADDS: Final = ".delta"
_LEAST: Final = 12
"""Columns for what a message says, behind its lane; where there are fewer, both have lines of their own."""


class MessageLine(NamedTuple):
    """A line: one message, or several that add to one text."""

    at: float
    connection: int
    way: str
    lane: str
    """The lane that it names; empty: none."""
    text: str


def show_messages(recording: ProxyRecording, name: str, terminal: Terminal, *, verbose: bool) -> None:
    """Print what passed through the proxy. Raises RecordingError for a line that cannot be read, after those before."""
    header = recording.header
    recorded = f"{terminal.recorded(header.wall, _plain(header.turnwire))}; → the client's, ← the server's"
    terminal.title(f"{name}: what passed through a proxy to {_plain(header.upstream or 'a server')}", recorded)
    messages, error = _read(recording)
    lines = sorted((map(_each, messages) if verbose else _in_short(messages)), key=lambda one: one.at)
    for one in lines:
        terminal.wait(one.at - lines[0].at)
        _print(one, one.at - lines[0].at, terminal)
    if error is not None:
        raise error
    if recording.cut:
        print("the recording was cut off at its end")


def _print(one: MessageLine, at: float, terminal: Terminal) -> None:
    way = _WAYS.get(one.way, " ")
    head = terminal.head(at, f"connection {one.connection}") + f"{way} "
    lane = _plain(f"{one.lane}: ") if one.lane else ""
    text = one.text if terminal.wide else one.text.replace("response.", "", 1)
    behind = terminal.width - len(head)
    if behind < len(lane) + _LEAST:  # The name of a lane is never cut.
        lines = textwrap.wrap(lane.rstrip(), behind)
        lines.append(_cut(text, behind))
    else:
        lines = [lane + _cut(text, behind - len(lane))]
    style = _STYLES.get(one.way)
    for number, line in enumerate(lines):
        start = head if number == 0 else " " * len(head)
        terminal.print(terminal.paint(start, "dim") + (terminal.paint(line, style) if style else line))


def _cut(text: str, most: int) -> str:
    """So many characters of a text, in one line."""
    line = _plain(text[: most + 1])
    return line if len(line) <= most else line[: most - 1] + "…"


def _read(recording: ProxyRecording) -> tuple[list[ProxiedMessage], RecordingError | None]:
    """The messages, and what ended the reading of them."""
    messages: list[ProxiedMessage] = []
    try:
        for message in recording:
            messages.append(message)  # noqa: PERF402 - those before an error count.
    except RecordingError as exc:
        return messages, exc
    return messages, None


def _each(message: ProxiedMessage) -> MessageLine:
    members = json_members(message.text)
    text = _said(message.what, message.text, members)
    return MessageLine(message.at, message.connection, message.way, _lane(members), text)


def _in_short(messages: list[ProxiedMessage]) -> Iterator[MessageLine]:
    """Without the events between the beginning and the end of a response; what those of one type and lane add that
    follow one another, together."""
    runs: dict[tuple[int, object], list[tuple[ProxiedMessage, dict[str, Any]]]] = {}
    for message in messages:
        members = json_members(message.text)
        kind = members.get("type")
        if message.way != "received" or not isinstance(kind, str):
            if message.text or message.what not in _QUIET:
                yield _each(message)
            continue
        lane = (message.connection, members.get("stream_id"))
        run = runs.get(lane, [])
        if run and kind != run[0][1]["type"]:
            yield _together(runs.pop(lane))
        if kind.endswith(_ADDS):
            runs.setdefault(lane, []).append((message, members))
        elif kind == "response.created" or kind in ENDINGS or role_of(kind, members) is not Role.RESPONSE:
            yield _each(message)
    yield from map(_together, runs.values())


def _together(run: list[tuple[ProxiedMessage, dict[str, Any]]]) -> MessageLine:
    """One line for all that adds to one text."""
    (message, members), count = run[-1], len(run)
    said = "".join(delta for _, each in run if isinstance(delta := each.get("delta"), str))
    text = _said(message.what, message.text, {**members, "delta": said})
    text = text if count == 1 else f"{count} times {text}"
    return MessageLine(message.at, message.connection, message.way, _lane(members), text)


def _lane(members: dict[str, Any]) -> str:
    """The lane that a message names."""
    return str(members.get("stream_id", "")) if isinstance(members.get("type"), str) else ""


def _said(what: str, text: str, members: dict[str, Any]) -> str:
    """What a message is and holds; of an event: its type, and what it adds, asks or refuses."""
    kind, error = members.get("type"), members.get("error")
    if not isinstance(kind, str):
        return f"{what} {quoted(prompt_of(members), 200)}" if "input" in members else f"{what} {text}".strip()
    words = [kind] if what in ("text", "event") else [what, kind]
    if isinstance(error, dict):
        told = cast("dict[str, object]", error)
        words += [str(told[name]) for name in ("code", "message") if told.get(name)]
    elif "delta" in members or "input" in members:
        delta = members.get("delta", prompt_of(members))
        words.append(quoted(delta if isinstance(delta, str) else json.dumps(delta), 200))
    return " ".join(words)


def _plain(text: str) -> str:
    """The text in one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
