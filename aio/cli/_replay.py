"""``turnwire replay``: a recording is replayed in the core, and shown as a timeline or as a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from ...sansio.recording import (
    ProxyRecording,
    RecordedFile,
    RecordingError,
    Replay,
    Timeline,
    proxy_timeline,
    timeline_of,
)
from ._output import read_stdin
from ._page import page_of
from ._proxy_view import show_messages
from ._terminal import Terminal
from ._timeline_view import bars, in_seconds, moments

__all__ = ["add_arguments", "run"]

DIFFERS: Final = 3
"""The exit status if the replay differs from the recording."""

_EPILOG: Final = f"""\
Examples:

  turnwire replay session.jsonl
  turnwire replay session.jsonl --speed 1
  turnwire replay session.jsonl --html session.html

The core gets the recorded inputs again; no network is used. A recording is made by connect(record=FILE), by turnwire
record, and, to look at, by turnwire demo --record FILE.

Exit status: 0; 1 if the file cannot be read or is no recording, or if stdout or OUT cannot be written; 2 for wrong
arguments; {DIFFERS} if the core does something else than was recorded; 130 after Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a recording, of connect(record=FILE) or turnwire record; - is stdin"
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        metavar="FACTOR",
        help="show what happened at its pace: 1 as fast as it was, 10 ten times as fast (default: at once)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="a line for each event; else those of texts are together"
    )
    parser.add_argument("--html", type=Path, metavar="OUT", help="write the timeline as a page instead, in one file")
    parser.add_argument("--check", action="store_true", help="say only whether the core does the same as was recorded")
    parser.epilog = _EPILOG


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError("takes a factor, more than 0 and up to 1000000")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Replay the file; return the exit status."""
    path: Path = arguments.file
    try:
        contents = read_stdin() if str(path) == "-" else path.read_bytes()
        passed = RecordedFile(contents).header.kind == "proxy"
        if passed and arguments.html is None and not arguments.check:
            terminal = Terminal(arguments.speed)
            show_messages(ProxyRecording(contents), path.name, terminal, verbose=arguments.verbose)
            _show_bars(proxy_timeline(contents), terminal)
            return 0
        timeline = Replay(contents).run() if arguments.check else timeline_of(contents)
    except OSError as exc:
        print(f"turnwire replay: cannot read {path}: {exc.strerror or exc}", file=sys.stderr)
        return 1
    except RecordingError as exc:
        print(f"turnwire replay: {path}: {exc}", file=sys.stderr)
        return 1
    if arguments.html is not None:
        try:
            arguments.html.write_text(page_of(timeline, path.name), encoding="utf-8")
        except OSError as exc:
            print(f"turnwire replay: cannot write {arguments.html}: {exc.strerror or exc}", file=sys.stderr)
            return 1
        print(f"{arguments.html}: {_summary(timeline)}")
    elif not arguments.check:
        _show(timeline, path.name, Terminal(arguments.speed), verbose=arguments.verbose)
    elif timeline.difference is None:
        print(f"{path}: {timeline.lines} lines, replayed identically")
    if timeline.difference is None:
        return 0
    print(f"turnwire replay: {path} differs from what the core does now: {timeline.difference}", file=sys.stderr)
    return DIFFERS


def _show(timeline: Timeline, name: str, terminal: Terminal, *, verbose: bool) -> None:
    """Print what happened, at its pace if a speed is given, and then the bars."""
    paint = terminal.paint
    recorded = terminal.recorded(timeline.wall, timeline.turnwire) + (", cut off at its end" if timeline.cut else "")
    terminal.title(f"{name}: {_summary(timeline)}", recorded)
    for moment in moments(timeline, verbose=verbose):
        terminal.wait(moment.at)
        head = terminal.head(moment.at, moment.who)
        first, *more = (paint(line, *filter(None, [moment.style])) for line in terminal.lines(head, moment.text))
        terminal.print(paint(head, "dim") + first)
        for line in more:
            terminal.print(line)
    _show_bars(timeline, terminal)


def _show_bars(timeline: Timeline, terminal: Terminal) -> None:
    print()
    for line in bars(timeline, terminal.width, terminal.paint):
        print(line)


def _summary(timeline: Timeline) -> str:
    turns = [turn for session in timeline.sessions for turn in session.turns]
    connections = sum(len(session.connections) for session in timeline.sessions)
    bad = [turn.verdict for turn in turns if turn.verdict is not None]
    verdicts = ", ".join(f"{bad.count(one)} {one}" for one in ("safe", "ambiguous", "unsafe") if one in bad)
    return (
        f"{len(turns)} turns ({verdicts or 'none failed'}), {connections} connections, "
        f"{sum(len(turn.events) for turn in turns)} events, {in_seconds(timeline.ended - timeline.began)}"
    )
