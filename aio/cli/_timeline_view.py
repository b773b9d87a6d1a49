"""The timeline of a recording as text: what happened, moment by moment, and a bar for each lane.

The promise
    Pure functions from a :class:`~turnwire.sansio.recording.Timeline` to lines of text. No bar is wider than asked for;
    control characters of recorded texts do not reach the terminal.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from ...sansio.recording import ConnectionTrack, EventMark, SessionTrack, Timeline, TurnTrack
from ...sansio.server import input_items, item_text
from ._demo_view import Paint

__all__ = ["Moment", "bars", "moments", "in_seconds"]

VERDICT_STYLES: Final = {"safe": "green", "ambiguous": "yellow", "unsafe": "red"}
_FILLS: Final = {"STREAM": "█", "AWAIT": "▒", "SEND": "▒", "CONNECT": "░", "HANDSHAKE": "░"}
"""What a bar is made of in each phase; other phases wait, and have a dot."""
_ENDS: Final = {"safe": "S", "ambiguous": "?", "unsafe": "!"}
_NAMES: Final = 14
"""Columns for the name of a lane."""
_INDENT: Final = " " * (_NAMES + 2)
_MEANING: Final = (
    "█\u00a0events   ▒\u00a0waits\u00a0for\u00a0the\u00a0first   ░\u00a0connects   ·\u00a0waits   ─\u00a0connection   "
    "x\u00a0lost   S\u00a0safe   ?\u00a0ambiguous   !\u00a0unsafe"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Moment(NamedTuple):
    """Something that happened."""

    at: float
    """Seconds from the beginning."""
    who: str
    """The lane or the connection."""
    text: str
    style: str = ""


def in_seconds(value: float) -> str:
    """A length of time, with its unit."""
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s" if value < 120 else f"{value // 60:.0f} min {value % 60:.0f} s"


def quoted(text: str, most: int = 60) -> str:
    """A text in quotation marks, in one line, of at most so many characters."""
    plain = _plain(text).strip()
    return f"“{plain[: most - 1]}…”" if len(plain) > most else f"“{plain}”"


def moments(timeline: Timeline, *, verbose: bool = False) -> list[Moment]:
    """What happened, in order. Of the events: the first of each turn, and what the others say; ``verbose``: all."""
    found: list[Moment] = []
    for session in timeline.sessions:
        for one in session.connections:
            found += _of_connection(one, timeline.began)
        for turn in session.turns:
            found += _of_turn(turn, timeline.began, verbose=verbose)
        for notice in session.notices:
            if notice.name in ("rotated", "fell_back"):
                text = {"rotated": "rotated to a new connection", "fell_back": "uses HTTP from now on"}[notice.name]
                found.append(Moment(notice.at - timeline.began, "session", f"{text} ({notice.reason})", "magenta"))
    plain = [moment._replace(who=_plain(moment.who), text=_plain(moment.text)) for moment in found]
    return sorted(plain, key=lambda moment: moment.at)


def _plain(text: str) -> str:
    """The text in one line, without control characters."""
    return _CONTROL.sub(" ", text)


def _of_connection(one: ConnectionTrack, began: float) -> Iterator[Moment]:
    who = f"connection {one.number}"
    yield Moment(one.began - began, who, f"opening, {one.transport} to {one.endpoint}", "dim")
    if one.opened is not None:
        yield Moment(one.opened - began, who, f"open, after {in_seconds(one.opened - one.began)}", "dim")
    if one.ended is not None:
        text = "closed" if one.reason is None else f"ended: {one.reason}"
        yield Moment(one.ended - began, who, text, "red" if _is_lost(one) else "dim")


def _is_lost(one: ConnectionTrack) -> bool:
    """Whether it ended though nobody wanted that."""
    return one.reason is not None and one.reason != "cancelled" and not one.reason.endswith("code 1000")


def lane_of(turn: TurnTrack) -> str:
    """The name of the track that a turn is in."""
    if turn.retrieval is not None:
        return "retrieved"
    return turn.lane or ("http" if turn.transport == "http" else "default lane")


def _of_turn(turn: TurnTrack, began: float, *, verbose: bool) -> Iterator[Moment]:
    who, name = lane_of(turn), f"turn {turn.number}"
    asked = f"GET {turn.retrieval}" if turn.retrieval is not None else quoted(prompt_of(turn.body or {}))
    yield Moment(turn.began - began, who, f"{name} begins: {asked}", "bold")
    for one in turn.repeats:
        text = f"{name} is repeated in {in_seconds(one.delay)} ({one.reason}): {quoted(one.text, 100)}"
        yield Moment(one.at - began, who, text, "yellow")
    first = True
    for events in _runs(turn.events, verbose=verbose):
        late = f", {in_seconds(events[0].at - turn.began)} after its begin" if first else ""
        first = False
        yield Moment(events[-1].at - began, who, f"{name}: {_told(events)}{late}")
    if turn.ended is not None:
        yield Moment(turn.ended - began, who, *_ending(turn, name))


def _runs(events: Sequence[EventMark], *, verbose: bool) -> Iterator[list[EventMark]]:
    """The events to tell of; those of one type that follow one another, and only add text, together."""
    run: list[EventMark] = []
    for index, event in enumerate(events):
        adds = event.type.endswith(".delta")
        if not (verbose or adds or index == 0):
            continue
        if run and (verbose or event.type != run[0].type or not adds):
            yield run
            run = []
        run.append(event)
    if run:
        yield run


def _told(events: list[EventMark]) -> str:
    count = f"{len(events)} times " if len(events) > 1 else ""
    said = "".join(delta for event in events if isinstance(delta := _members(event).get("delta"), str))
    return f"{count}{events[0].type}" + (f" {quoted(said)}" if said else "")


def _members(event: EventMark) -> dict[str, Any]:
    try:
        members: object = json.loads(event.raw)
    except ValueError:
        return {}
    return cast("dict[str, Any]", members) if isinstance(members, dict) else {}


def _ending(turn: TurnTrack, name: str) -> tuple[str, str]:
    """How a turn ended, and the style of that."""
    took = f"{len(turn.events)} events in {in_seconds((turn.ended or turn.began) - turn.began)}"
    if turn.verdict is None:
        return f"{name} {turn.end or 'ended'}: {took}", "green" if turn.end == "completed" else "red"
    return f"{name} {turn.verdict.upper()}, {turn.end}: {took}; {turn.failure}: {turn.text}", VERDICT_STYLES[
        turn.verdict
    ]


def prompt_of(body: Mapping[str, Any]) -> str:
    """What a request says last."""
    items = input_items(body.get("input"))
    if not items:
        return "warm-up" if body.get("generate") is False else ""
    return item_text(items[-1].get("content", items[-1].get("output"))) or str(items[-1].get("type", ""))


# --- Bars ------------------------------------------------------------------------------------------------------------


def bars(timeline: Timeline, width: int, paint: Paint) -> list[str]:
    """A scale, a line for each lane and for the connections, and what their characters mean."""
    columns = max(10, width - _NAMES - 2)
    span = max(timeline.ended - timeline.began, 1e-9)
    lines = [_INDENT + _scale(span, columns)]
    for session in timeline.sessions:
        chart = _Chart(timeline.began, span, columns, paint)
        lines += chart.connections(session)
        lanes: dict[str, list[TurnTrack]] = {}
        for turn in session.turns:
            lanes.setdefault(lane_of(turn), []).append(turn)
        for lane, turns in lanes.items():
            *above, name = _name(lane, width)
            lines += [*above, f"{name}  {chart.lane(turns)}"]
    meaning = textwrap.wrap(_MEANING, width, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return [*lines, "", *(line.replace("\u00a0", " ") for line in meaning)]


def _name(text: str, width: int) -> list[str]:
    """The lines with a name, of which the last one is padded: a long name stands above its bar."""
    plain = _plain(text)
    lines = [plain] if len(plain) <= _NAMES else [*textwrap.wrap(plain, width), ""]
    return [*lines[:-1], lines[-1].ljust(_NAMES)]


def _scale(span: float, columns: int) -> str:
    count = max(2, columns // 16)
    marks = [in_seconds(span * index / count) if index else "0" for index in range(count)]
    return "".join(f"|{mark}".ljust(columns // count) for mark in marks)[:columns]


class _Chart:
    """Draws lines of one session."""

    def __init__(self, began: float, span: float, columns: int, paint: Paint) -> None:
        self._began, self._span, self._columns, self._paint = began, span, columns, paint

    def _column(self, at: float) -> int:
        return min(self._columns - 1, int((at - self._began) / self._span * self._columns))

    def connections(self, session: SessionTrack) -> list[str]:
        """A line for the connections, and one more for each that overlaps others."""
        lines: list[list[str]] = []
        for one in session.connections:
            begin = self._column(one.began)
            end = self._column(one.gone or one.ended or self._began + self._span)
            line = next((line for line in lines if line[begin] == " "), None)
            if line is None:
                lines.append(line := [" "] * self._columns)
            line[begin : end + 1] = ["─"] * (end + 1 - begin)
            number = str(one.number)
            if end - begin > len(number):
                line[begin : begin + len(number)] = number
            if _is_lost(one) and one.ended is not None:
                line[self._column(one.ended)] = "x"
        names = ["connections", *[""] * len(lines)]
        return [
            f"{name:{_NAMES}}  {self._paint(''.join(line).rstrip(), 'dim')}"
            for name, line in zip(names, lines, strict=False)
        ]

    def lane(self, turns: list[TurnTrack]) -> str:
        """The line of a lane. Where turns are at the same time, the later one is seen."""
        cells: list[tuple[str, str]] = [(" ", "")] * self._columns
        last = self._began + self._span
        for turn in turns:
            colour = "cyan" if turn.transport == "http" else "blue"
            for wait in turn.waits:
                begin, end = self._column(wait.at), self._column(wait.until or turn.ended or last)
                cells[begin : end + 1] = [(_FILLS.get(wait.phase, "·"), colour)] * (end + 1 - begin)
        for turn in turns:
            if turn.verdict is not None:
                cells[self._column(turn.ended or last)] = (_ENDS[turn.verdict], VERDICT_STYLES[turn.verdict])
        return _painted(cells, self._paint)


def _painted(cells: list[tuple[str, str]], paint: Paint) -> str:
    """The characters; those of one style that follow one another are painted together."""
    parts: list[str] = []
    text, style = "", ""
    for character, its in [*cells, ("", "end")]:
        if its != style:
            parts.append(paint(text, *filter(None, [style])))
            text, style = "", its
        text += character
    return "".join(parts).rstrip()
