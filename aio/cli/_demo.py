"""``turnwire demo``: several conversations over one WebSocket, what happens when it breaks, and the server's own word.

It runs against a loopback server in the same process, over a real socket. First the show: three lanes at once, with a
tool call and a fork. Then one turn at full speed. Then the breakages of REPLAY.md: the server cuts the connection
before a request's final byte, after it, and in the middle of the answer. In the end the server's ledger is compared
with what the client was told (:func:`differences`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, NamedTuple, cast

import anyio
import msgspec

from ...sansio.errors import TurnError
from ...sansio.events import Response, ResponseFunctionToolCall, ResponseTextDeltaEvent
from ...sansio.replay import Verdict
from ...sansio.session import websocket_pre_event_retries_disabled
from .._shell import Session, connect
from ..loopback import AfterEvent, BeforeEvent, BeforeRun, Cut, Fault, LedgerEntry, Received, serve
from ._arguments import seconds
from ._demo_view import Nothing, Paint, View, choose_view

__all__ = ["Seen", "add_arguments", "differences", "run"]

LATENCY: Final = 0.04
"""Seconds between events, so that one can watch."""
WORDS: Final = 5000
"""Deltas of the turn at full speed."""
PICTURE: Final = 4 * 1024 * 1024
"""Characters of the request that is cut: more than the system takes at once, so that its last byte stays here."""
CUT_AT: Final = 100_000
"""Bytes of it that the server reads before it cuts."""
SHOW_TURNS: Final = 8

PLANNER, WEATHER, FORK = LANES = ("planner", "weather", "planner-fork")

_WEATHER_TOOL: Final = {
    "type": "function",
    "name": "weather",
    "description": "The weather of the weekend in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

_WEATHER: Final = (
    "Friday: 14 degrees, clouds in the evening. Saturday: 19 degrees, sun, a light wind from the south. "
    "Sunday: 13 degrees, rain from noon on."
)


# --- What was seen, and what the server says -------------------------------------------------------------------------


class Seen(msgspec.Struct, kw_only=True):
    """One turn as the client saw it."""

    marker: str
    """Its ``metadata["marker"]``: how it is found in the server's ledger."""
    lane: str | None = None
    due: Verdict | None = None
    """How it has to end: with this verdict, or None for a completed response."""
    due_repeats: int = 0
    """How often turnwire has to send it again by itself."""
    response_id: str | None = None
    events: int = 0
    seconds: float = 0.0
    status: str | None = None
    """The response's status; None if the turn failed."""
    verdict: Verdict | None = None
    error: str | None = None
    """The class of its failure, and the words."""
    words: str | None = None
    repeated: int = 0
    """How often turnwire sent it again by itself."""


_RUNS: Final[dict[Verdict | None, tuple[int, ...]]] = {
    None: (1,),
    Verdict.SAFE: (0,),
    Verdict.AMBIGUOUS: (0, 1),
    Verdict.UNSAFE: (1,),
}
"""How often the server may have run a turn, by the verdict that the client gave; None: it was completed."""


def differences(seen: Sequence[Seen], ledger: Sequence[LedgerEntry]) -> list[str]:
    """Where the client's view and the server's ledger contradict each other; empty if nowhere."""
    found: list[str] = []
    for turn in seen:
        ended = "completed" if turn.verdict is None else turn.verdict.name
        due = "completed" if turn.due is None else turn.due.name
        if turn.verdict is not turn.due or (turn.verdict is None and turn.status != "completed"):
            found.append(f"{turn.marker}: {due} was to be seen, not {turn.status or ended}")
        if turn.repeated != turn.due_repeats:
            found.append(f"{turn.marker}: {turn.due_repeats} repetitions were to be seen, not {turn.repeated}")
        runs = [entry for entry in ledger if entry.marker == turn.marker]
        if len(runs) not in _RUNS[turn.verdict]:
            allowed = " or ".join(map(str, _RUNS[turn.verdict]))
            found.append(f"{turn.marker}: {ended} means {allowed} runs, and the ledger has {len(runs)}")
        elif runs and turn.verdict is not Verdict.AMBIGUOUS:
            entry = runs[0]
            for name, ours, theirs in (
                ("response", turn.response_id, entry.response_id),
                ("lane", turn.lane, entry.lane),
                ("number of events", turn.events, entry.events),
                ("outcome", turn.status or "cut", entry.outcome),
            ):
                if ours != theirs:
                    found.append(f"{turn.marker}: its {name} is {ours} for the client and {theirs} in the ledger")
    markers = {turn.marker for turn in seen}
    found += [f"{entry.marker}: in the ledger, and never sent" for entry in ledger if entry.marker not in markers]
    return found


class Stage(msgspec.Struct, kw_only=True):
    """What one part of the demo cost, all of this process counted: client, server and drawing."""

    name: str
    turns: int
    events: int
    bytes_in: int
    bytes_out: int
    seconds_per_turn: float
    cpu_per_event: float


class _Report(msgspec.Struct, kw_only=True):
    """What ``--json`` prints."""

    ok: bool
    differences: list[str]
    seconds: float
    stages: list[Stage]
    turns: list[Seen]
    ledger: list[LedgerEntry]


# --- What is run -----------------------------------------------------------------------------------------------------


class _Breakage(NamedTuple):
    """One cut, and what is to be told about it."""

    marker: str
    title: str
    due: Verdict | None
    recovery: bool = True
    repeats: int = 0


_BREAKAGES: Final = (
    _Breakage("a-before-final-byte", "(a) cut before the request's final byte, recovery off", Verdict.SAFE, False),
    _Breakage("a-recovered", "(a) the same cut, recovery on, as it is by default", None, repeats=1),
    _Breakage("b-before-run", "(b) cut after the final byte, before the server began", Verdict.AMBIGUOUS),
    _Breakage("b-running", "(b) cut after the final byte, when the server had begun", Verdict.AMBIGUOUS),
    _Breakage("c-mid-stream", "(c) cut in the middle of the answer", Verdict.UNSAFE),
)
_FAULTS: Final = (
    # No marker is known before the request has been read: these two are named by their place.
    Fault(Received(CUT_AT), Cut(), connection=1, request=SHOW_TURNS + 2),
    Fault(Received(CUT_AT), Cut(), connection=2, request=1),
    Fault(BeforeRun(), Cut(), marker="b-before-run"),
    Fault(BeforeEvent(1), Cut(), marker="b-running"),
    Fault(AfterEvent(8), Cut(), marker="c-mid-stream"),
)


class _Demo:
    """The demo on one session."""

    def __init__(self, session: Session, view: View) -> None:
        self._session = session
        self.view = view
        self.seen: list[Seen] = []
        self.stages: list[Stage] = []

    async def turn(self, seen: Seen, **body: Any) -> Response | None:
        """Run a turn, tell the view, and note what was seen. None if it failed."""
        self.seen.append(seen)
        begun, repeated = time.perf_counter(), self._session.stats.repeated
        try:
            async with self._session.create(stream_id=seen.lane, metadata={"marker": seen.marker}, **body) as turn:
                async for event in turn:
                    seen.events += 1
                    if seen.lane is not None and isinstance(event, ResponseTextDeltaEvent):
                        self.view.stream(seen.lane, event.delta)
            response = turn.result()
        except TurnError as exc:
            seen.response_id, seen.verdict = exc.response_id, exc.verdict
            seen.error, seen.words = type(exc).__name__, str(exc)
            return None
        finally:
            seen.seconds = time.perf_counter() - begun
            seen.repeated = self._session.stats.repeated - repeated
        seen.response_id, seen.status = response.id, response.status
        return response

    async def lane(self, lane: str, marker: str, **body: Any) -> Response | None:
        """A turn of the show."""
        seen = Seen(marker=marker, lane=lane)
        if isinstance(body["input"], str):
            self.view.say(lane, f"> {body['input']}")
        response = await self.turn(seen, **body)
        ending = f"{seen.error}: {seen.words}" if response is None else f"[{response.id[-3:]} {response.status}]"
        self.view.say(lane, f"{ending} {seen.events} events, {seen.seconds:.2f} s")
        return response

    async def show(self) -> None:
        """Three lanes at once: two conversations, and a fork of the first."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._weather)
            first = await self.lane(PLANNER, "planner-1", input="We fly to Oslo on Friday and stay two nights.")
            if first is not None:
                tasks.start_soon(self._fork, first.id)
                second = await self.lane(
                    PLANNER,
                    "planner-2",
                    input="Saturday: the opera roof in the morning, the harbour at noon, a swim at Huk if it is warm.",
                    previous_response_id=first.id,
                )
                if second is not None:
                    await self.lane(PLANNER, "planner-3", input="recall", previous_response_id=second.id)

    async def _fork(self, parent: str) -> None:
        self.view.say(FORK, "(goes on from the planner's first answer)")
        forked = await self.lane(
            FORK,
            "fork-1",
            input="Saturday instead: the Munch museum until two, then the sauna boats, then dinner in Vulkan.",
            previous_response_id=parent,
        )
        if forked is not None:
            await self.lane(FORK, "fork-2", input="recall", previous_response_id=forked.id)

    async def _weather(self) -> None:
        called = await self.lane(
            WEATHER, "weather-1", input='call weather {"city": "Oslo", "days": "Fri Sat Sun"}', tools=[_WEATHER_TOOL]
        )
        if called is None:
            return
        outputs: list[dict[str, str]] = []
        for call in called.output:
            if isinstance(call, ResponseFunctionToolCall):
                self.view.say(WEATHER, f"the model calls {call.name}({call.arguments}); the tool runs here")
                outputs.append({"type": "function_call_output", "call_id": call.call_id, "output": _WEATHER})
        answered = await self.lane(
            WEATHER, "weather-2", input=outputs, tools=[_WEATHER_TOOL], previous_response_id=called.id
        )
        if answered is not None:
            await self.lane(
                WEATHER,
                "weather-3",
                input="So the swim is for Saturday, and the umbrella is for Sunday. Thank you.",
                previous_response_id=answered.id,
            )

    async def breakage(self, breakage: _Breakage) -> Seen:
        """A turn whose connection the server cuts."""
        seen = Seen(marker=breakage.marker, due=breakage.due, due_repeats=breakage.repeats)
        asked = {"type": "input_text", "text": "What is in this picture? Six words, please."}
        picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * PICTURE}
        content = [picture, asked] if breakage.marker.startswith("a-") else [asked]
        with nullcontext() if breakage.recovery else websocket_pre_event_retries_disabled():
            await self.turn(seen, input=[{"role": "user", "content": content}])
        return seen

    def measured(self, name: str) -> _Stopwatch:
        """For ``with``: note a stage."""
        return _Stopwatch(self, self._session, name)


class _Stopwatch:
    """Measures one stage of a demo."""

    def __init__(self, demo: _Demo, session: Session, name: str) -> None:
        self._demo = demo
        self._session = session
        self._name = name

    def __enter__(self) -> None:
        self._turns = len(self._demo.seen)
        self._stats = self._session.stats
        self._cpu = time.process_time()

    def __exit__(self, *exc: object) -> None:
        cpu = time.process_time() - self._cpu
        before, after = self._stats, self._session.stats
        turns = self._demo.seen[self._turns :]
        events = after.events - before.events
        self._demo.stages.append(
            Stage(
                name=self._name,
                turns=len(turns),
                events=events,
                bytes_in=after.bytes_in - before.bytes_in,
                bytes_out=after.bytes_out - before.bytes_out,
                seconds_per_turn=sum(turn.seconds for turn in turns) / max(1, len(turns)),
                cpu_per_event=cpu / max(1, events),
            )
        )


# --- How it is told --------------------------------------------------------------------------------------------------


class _Teller:
    """Prints what is not streamed; nothing at all if ``silent``."""

    def __init__(self, paint: Paint, silent: bool) -> None:
        self._paint = paint
        self._silent = silent

    def line(self, text: str = "", *styles: str) -> None:
        if not self._silent:
            print(self._paint(text, *styles), flush=True)

    def paragraph(self, text: str, indent: str) -> None:
        width = max(40, min(120, shutil.get_terminal_size((100, 24)).columns)) if sys.stdout.isatty() else 100
        for line in textwrap.wrap(text, width - len(indent), break_long_words=False, break_on_hyphens=False):
            self.line(indent + line)

    def heading(self, text: str) -> None:
        self.line()
        self.line(text, "bold")

    def breakage(self, breakage: _Breakage, seen: Seen, runs: int) -> None:
        """A cut, what the client made of it, and how often the server had run the turn by then."""
        self.line(breakage.title)
        if seen.verdict is None:
            self.line(f"    {seen.status}", "bold", "green")
            again = f"turnwire sent it again {_times(seen.repeated)}, on a new connection; the caller saw nothing of it"
            self.paragraph(again, "    ")
        else:
            colour = {Verdict.SAFE: "green", Verdict.AMBIGUOUS: "yellow", Verdict.UNSAFE: "red"}[seen.verdict]
            self.line(f"    {seen.verdict.name}", "bold", colour)
            self.paragraph(f"{seen.error}: {seen.words}", "    ")
        self.line(f"    ledger: {f'it ran {_times(runs)}' if runs else 'it never ran'}", "dim")

    def table(self, rows: Sequence[Sequence[str]], left: int = 1) -> None:
        """Columns as wide as their widest cell, the first ones aligned to the left, all others to the right."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows):
            cells = [
                cell.ljust(width) if column < left else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.line("  ".join(cells).rstrip(), *(["dim"] if number == 0 else []))


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def _cost_rows(stages: Sequence[Stage]) -> list[list[str]]:
    header = ["", "turns", "events", "bytes in", "bytes out", "time per turn", "CPU per event"]
    return [header] + [
        [
            stage.name,
            str(stage.turns),
            f"{stage.events:,}",
            f"{stage.bytes_in:,}",
            f"{stage.bytes_out:,}",
            _duration(stage.seconds_per_turn),
            _duration(stage.cpu_per_event),
        ]
        for stage in stages
    ]


def _ledger_rows(seen: Sequence[Seen], ledger: Sequence[LedgerEntry]) -> list[list[str]]:
    rows = [["turn", "lane", "client: ended", "events", "server: ran it", "ended", "events"]]
    for turn in seen:
        entries = [entry for entry in ledger if entry.marker == turn.marker]
        rows.append(
            [
                turn.marker,
                turn.lane or "-",
                turn.status or (turn.verdict.name if turn.verdict else "-"),
                str(turn.events),
                _times(len(entries)),
                entries[0].outcome if entries else "-",
                str(entries[0].events) if entries else "-",
            ]
        )
    return rows


# --- The command -----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--latency",
        type=seconds(most=60),
        default=LATENCY,
        metavar="SECONDS",
        help="wait before each event of the show, up to 60 (default: %(default)s)",
    )
    parser.add_argument(
        "--shell",
        choices=("asyncio", "trio"),
        default="asyncio",
        help="the client's shell: turnwire.aio on asyncio, or turnwire.trio_shell on trio (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object in the end, and nothing else")
    parser.add_argument("--no-color", action="store_true", help="no colours; the variable NO_COLOR does the same")
    parser.epilog = (
        "Needs no network and no key: the server is in the same process, on 127.0.0.1. On a terminal of at least "
        "48 columns the lanes are shown side by side, else line by line. Exit status: 0 if the server's ledger and "
        "the client's view agree, 1 if not, 130 after Ctrl-C."
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    return anyio.run(_run, arguments, backend=arguments.shell)


def _connect_of(shell: str) -> Callable[..., AbstractAsyncContextManager[Session]]:
    """The shell's ``connect``. Both shells' sessions have the same methods; only their homes differ."""
    if shell == "trio":
        from ... import trio_shell

        return cast("Callable[..., AbstractAsyncContextManager[Session]]", trio_shell.connect)
    return connect


async def _run(arguments: argparse.Namespace) -> int:
    begun = time.perf_counter()
    silent: bool = arguments.json
    paint = Paint(sys.stdout.isatty() and not arguments.no_color and not os.environ.get("NO_COLOR"))
    tell = _Teller(paint, silent)
    view = Nothing() if silent else choose_view(sys.stdout, LANES, paint)
    async with (
        serve(latency=arguments.latency, faults=_FAULTS) as server,
        # Neither the environment's proxy nor its key have any business on the way to this machine itself.
        _connect_of(arguments.shell)(server.base_url, api_key="loopback", proxy=None) as session,
    ):
        tell.heading(f"Three lanes over one WebSocket to {server.base_url}")
        tell.line()
        demo = _Demo(session, view)
        with demo.measured("three lanes"), view:
            await demo.show()
        server.latency = 0.0
        with demo.measured("full speed"):
            await demo.turn(Seen(marker="full-speed"), input=f"count {WORDS}")
        server.latency = arguments.latency / 4
        tell.heading("And now the server cuts the connection")
        with demo.measured("breakages"):
            for breakage in _BREAKAGES:
                seen = await demo.breakage(breakage)
                runs = sum(entry.marker == breakage.marker for entry in server.ledger)
                tell.breakage(breakage, seen, runs)
    # Only now is the ledger final: whatever the server still ran has ended.
    found = differences(demo.seen, server.ledger)
    if silent:
        report = _Report(
            ok=not found,
            differences=found,
            seconds=time.perf_counter() - begun,
            stages=demo.stages,
            turns=demo.seen,
            ledger=server.ledger,
        )
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
        return 1 if found else 0
    tell.heading("What it took")
    tell.table(_cost_rows(demo.stages))
    tell.line(
        "CPU is that of the whole process: client, server and drawing; the requests (a) are of 4 MiB each.", "dim"
    )
    tell.heading("The client's view, and the server's ledger")
    tell.table(_ledger_rows(demo.seen, server.ledger), left=2)
    tell.line()
    most = max((sum(entry.marker == turn.marker for entry in server.ledger) for turn in demo.seen), default=0)
    for difference in found:
        tell.line(f"DIFFERENT  {difference}", "bold", "red")
    if not found:
        tell.line(f"They agree. {len(demo.seen)} turns, none of which ran more than {_times(most)}.", "bold", "green")
    return 1 if found else 0
