"""The recording of a proxy as text: the messages of each connection, in both directions, with their times."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import datetime
from typing import Any, Final, cast

from ...sansio.recording import ProxiedMessage, ProxyRecording
from ._demo_view import Paint
from ._timeline_view import quoted

__all__ = ["show_messages"]

_WAYS: Final = {"sent": "→", "received": "←"}
_STYLES: Final = {"sent": "bold", "": "dim"}


def show_messages(recording: ProxyRecording, name: str) -> None:
    """Print what passed through the proxy. Raises RecordingError for a line that cannot be read, after those before."""
    header = recording.header
    paint = Paint(sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")
    width = max(40, shutil.get_terminal_size((100, 24)).columns - 1)
    recorded = datetime.fromtimestamp(header.wall).astimezone().isoformat(" ", "seconds")
    print(paint(f"{name}: what passed through a proxy to {_plain(header.upstream or 'a server')}", "bold"))
    print(f"recorded {recorded} by turnwire {_plain(header.turnwire)}; → the client's, ← the server's\n")
    began: float | None = None
    for message in recording:
        began = message.at if began is None else began
        head = f"{message.at - began:10.3f} s  connection {message.connection:<3} {_WAYS.get(message.way, ' ')} "
        text = _said(message)
        line = _plain(text[: 4 * width])
        line = (
            line if len(head) + len(line) <= width and len(text) <= 4 * width else line[: width - len(head) - 1] + "…"
        )
        style = _STYLES.get(message.way)
        print(paint(head, "dim") + (paint(line, style) if style else line))
    if recording.cut:
        print("the recording was cut off at its end")


def _said(message: ProxiedMessage) -> str:
    """What a message is and holds; of an event: its type, its lane, and what it adds, asks or refuses."""
    members = _members(message.text)
    if not isinstance(members.get("type"), str):
        return f"{message.what} {message.text}".strip()
    lane = [f"in lane {members['stream_id']}"] if "stream_id" in members else []
    content = next((members[name] for name in ("delta", "error", "input") if name in members), None)
    if isinstance(content, list) and content:
        content = cast("list[object]", content)[-1]
    shown = [] if content is None else [quoted(content if isinstance(content, str) else json.dumps(content), 200)]
    return " ".join([message.what, members["type"], *lane, *shown])


def _members(text: str) -> dict[str, Any]:
    try:
        members: object = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", members) if isinstance(members, dict) else {}


def _plain(text: str) -> str:
    """The text in one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
