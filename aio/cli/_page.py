"""The timeline of a recording as one HTML page: for ``turnwire replay --html``.

The page needs nothing but itself. Its style and its program are in ``page/``; the data are JSON in the page. A content
security policy allows these two by their hashes and nothing else, and the program makes text of texts only: what a
server sent cannot become markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files
from typing import Any, Final

import msgspec

from ...sansio.recording import ConnectionTrack, SessionTrack, Timeline, TurnTrack

__all__ = ["page_of"]

_DIGITS: Final = 6
"""Digits of seconds: microseconds."""


def page_of(timeline: Timeline, name: str) -> str:
    """The page, as HTML. ``name`` is what the recording is called there."""
    folder = files("turnwire.aio.cli") / "page"
    style, script = ((folder / part).read_text(encoding="utf-8") for part in ("page.css", "page.js"))
    parts = {
        "TITLE": html.escape(f"{name}, turnwire"),
        "STYLE_HASH": _hash(style),
        "SCRIPT_HASH": _hash(script),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _data(timeline, name),
    }
    before, *rest = (folder / "page.html").read_text(encoding="utf-8").split("@")
    # Between two "@" stands the name of a part; the parts themselves are not looked through.
    return before + "".join(parts[text] if index % 2 == 0 else text for index, text in enumerate(rest))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(timeline: Timeline, name: str) -> str:
    """The data as JSON that can stand in a script element."""
    view = _View(timeline)
    data = {
        "name": name,
        "wall": timeline.wall,
        "turnwire": timeline.turnwire,
        "scrubbed": timeline.scrubbed,
        "cut": timeline.cut,
        "span": view.time(timeline.ended),
        "difference": None if timeline.difference is None else view.timed(timeline.difference),
        "sessions": [view.session(one) for one in timeline.sessions],
        "types": list(view.types),
    }
    return msgspec.json.encode(data).decode("utf-8", "replace").replace("<", "\\u003c")


class _View:
    """Makes the data: times count from the beginning, and the names of events' types are numbered."""

    def __init__(self, timeline: Timeline) -> None:
        self.types: dict[str, int] = {}
        self._began = timeline.began

    def time(self, at: float | None) -> float | None:
        """Seconds from the beginning."""
        return None if at is None else round(at - self._began, _DIGITS)

    def timed(self, struct: msgspec.Struct) -> dict[str, Any]:
        """The members of a struct; those that are times count from the beginning."""
        members = msgspec.structs.asdict(struct)
        return {name: self.time(value) if name in _TIMES else value for name, value in members.items()}

    def session(self, session: SessionTrack) -> dict[str, Any]:
        """One session."""
        return {
            **self.timed(session),
            "connections": [self.connection(one) for one in session.connections],
            "turns": [self.turn(one) for one in session.turns],
            "notices": [self.timed(one) for one in session.notices],
        }

    def connection(self, one: ConnectionTrack) -> dict[str, Any]:
        """One connection."""
        pauses = [(self.time(begin), self.time(end)) for begin, end in one.pauses]
        return {**self.timed(one), "pauses": pauses}

    def turn(self, turn: TurnTrack) -> dict[str, Any]:
        """One turn. Its waits and events are short lists, because there are many."""
        return {
            **self.timed(turn),
            "id": turn.response_id,
            "waits": [(one.phase, self.time(one.at), self.time(one.until), one.connection) for one in turn.waits],
            "events": [
                (
                    self.time(event.at),
                    self.types.setdefault(event.type, len(self.types)),
                    event.length,
                    event.connection,
                    event.raw.decode("utf-8", "replace"),
                )
                for event in turn.events
            ],
            "repeats": [self.timed(one) for one in turn.repeats],
        }


_TIMES: Final = frozenset({"at", "began", "ended", "left", "transport_open", "opened", "draining", "gone"})
