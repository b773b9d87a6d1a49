"""What ``turnwire demo`` runs: conversations on three lanes, one long turn, and turns whose connection is cut.

Each turn is kept as the client saw it (:class:`Seen`), to be compared with the server's ledger.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any, Final, NamedTuple

import anyio
import msgspec

from ...sansio.errors import TurnError
from ...sansio.events import Response, ResponseFunctionToolCall, ResponseTextDeltaEvent
from ...sansio.replay import Verdict
from ...sansio.session import websocket_pre_event_retries_disabled
from .. import Session
from ..loopback import AfterEvent, BeforeEvent, BeforeRun, Cut, Fault, Received
from ._ask import MODEL
from ._demo_view import View

__all__ = ["BREAKAGES", "FAULTS", "LANES", "WORDS", "Breakage", "Demo", "Seen", "Stage"]

WORDS: Final = 5000
"""Deltas of the turn at full speed."""
PICTURE: Final = 4 * 1024 * 1024
"""Characters of the request that is cut: more than the kernel takes at once, so its last byte is still unsent then."""
CUT_AT: Final = 100_000
"""Bytes of it that the server reads before it cuts the connection."""
SHOW_TURNS: Final = 8
"""Turns on the three lanes: those before the one at full speed."""

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


class Seen(msgspec.Struct, kw_only=True):
    """One turn as the client saw it."""

    marker: str
    """Its ``metadata["marker"]``, by which its entry in the server's ledger is found."""
    lane: str | None = None
    due: Verdict | None = None
    """The expected verdict; None if a completed response is expected."""
    due_repeats: int = 0
    """How often turnwire is expected to send it again by itself."""
    response_id: str | None = None
    events: int = 0
    seconds: float = 0.0
    status: str | None = None
    """The response's status; None if the turn failed."""
    verdict: Verdict | None = None
    error: str | None = None
    """The class of the exception, if the turn failed."""
    words: str | None = None
    """The message of the exception."""
    repeated: int = 0
    """How often turnwire sent it again by itself."""


class Stage(msgspec.Struct, kw_only=True):
    """What one part of the demo cost. CPU seconds are those of the whole process: client, server and drawing."""

    name: str
    turns: int
    events: int
    bytes_in: int
    bytes_out: int
    seconds_per_turn: float
    cpu_per_event: float


class Breakage(NamedTuple):
    """A turn whose connection the server cuts, and how it is expected to end."""

    marker: str
    title: str
    due: Verdict | None
    """The expected verdict; None if a completed response is expected."""
    recovery: bool = True
    """Whether turnwire may send it again by itself."""
    repeats: int = 0
    """How often it is expected to."""


BREAKAGES: Final = (
    Breakage("a-before-final-byte", "(a) cut before the request's final byte, recovery off", Verdict.SAFE, False),
    Breakage("a-recovered", "(a) the same cut, recovery on, as it is by default", None, repeats=1),
    Breakage("b-before-run", "(b) cut after the final byte, before the server began", Verdict.AMBIGUOUS),
    Breakage("b-running", "(b) cut after the final byte, when the server had begun", Verdict.AMBIGUOUS),
    Breakage("c-mid-stream", "(c) cut in the middle of the answer", Verdict.UNSAFE),
)
FAULTS: Final = (
    # The server does not know a marker before it has read the request: these two are chosen by their place.
    Fault(Received(CUT_AT), Cut(), connection=1, request=SHOW_TURNS + 2),
    Fault(Received(CUT_AT), Cut(), connection=2, request=1),
    Fault(BeforeRun(), Cut(), marker="b-before-run"),
    Fault(BeforeEvent(1), Cut(), marker="b-running"),
    Fault(AfterEvent(8), Cut(), marker="c-mid-stream"),
)


class Demo:
    """Runs the demo's turns on one session, and keeps what was seen and what it cost."""

    def __init__(self, session: Session, view: View) -> None:
        self._session = session
        self.view = view
        self.seen: list[Seen] = []
        self.stages: list[Stage] = []

    async def run_turn(self, seen: Seen, **body: Any) -> Response | None:
        """Run a turn, show its text, and fill in ``seen``. Returns None if the turn failed."""
        self.seen.append(seen)
        begun, repeated = time.perf_counter(), self._session.stats.repeated
        try:
            async with self._session.create(
                model=MODEL, stream_id=seen.lane, metadata={"marker": seen.marker}, **body
            ) as turn:
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

    async def _run_on_lane(self, lane: str, marker: str, **body: Any) -> Response | None:
        """Run a turn on a lane that is shown."""
        seen = Seen(marker=marker, lane=lane)
        if isinstance(body["input"], str):
            self.view.say(lane, f"> {body['input']}")
        response = await self.run_turn(seen, **body)
        ending = f"{seen.error}: {seen.words}" if response is None else f"[{response.id[-3:]} {response.status}]"
        self.view.say(lane, f"{ending} {seen.events} events, {seen.seconds:.2f} s")
        return response

    async def run_lanes(self) -> None:
        """Run three lanes at once: two conversations, and a fork of the first."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._weather)
            first = await self._run_on_lane(PLANNER, "planner-1", input="We fly to Oslo on Friday and stay two nights.")
            if first is not None:
                tasks.start_soon(self._fork, first.id)
                second = await self._run_on_lane(
                    PLANNER,
                    "planner-2",
                    input="Saturday: the opera roof in the morning, the harbour at noon, a swim at Huk if it is warm.",
                    previous_response_id=first.id,
                )
                if second is not None:
                    await self._run_on_lane(PLANNER, "planner-3", input="recall", previous_response_id=second.id)

    async def _fork(self, parent: str) -> None:
        self.view.say(FORK, "(goes on from the planner's first answer)")
        forked = await self._run_on_lane(
            FORK,
            "fork-1",
            input="Saturday instead: the Munch museum until two, then the sauna boats, then dinner in Vulkan.",
            previous_response_id=parent,
        )
        if forked is not None:
            await self._run_on_lane(FORK, "fork-2", input="recall", previous_response_id=forked.id)

    async def _weather(self) -> None:
        called = await self._run_on_lane(
            WEATHER, "weather-1", input='call weather {"city": "Oslo", "days": "Fri Sat Sun"}', tools=[_WEATHER_TOOL]
        )
        if called is None:
            return
        outputs: list[dict[str, str]] = []
        for call in called.output:
            if isinstance(call, ResponseFunctionToolCall):
                self.view.say(WEATHER, f"the model calls {call.name}({call.arguments}); the tool runs here")
                outputs.append({"type": "function_call_output", "call_id": call.call_id, "output": _WEATHER})
        answered = await self._run_on_lane(
            WEATHER, "weather-2", input=outputs, tools=[_WEATHER_TOOL], previous_response_id=called.id
        )
        if answered is not None:
            await self._run_on_lane(
                WEATHER,
                "weather-3",
                input="So the swim is for Saturday, and the umbrella is for Sunday. Thank you.",
                previous_response_id=answered.id,
            )

    async def run_breakage(self, breakage: Breakage) -> Seen:
        """Run a turn whose connection the server cuts."""
        seen = Seen(marker=breakage.marker, due=breakage.due, due_repeats=breakage.repeats)
        asked = {"type": "input_text", "text": "What is in this picture? Six words, please."}
        picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * PICTURE}
        content = [picture, asked] if breakage.marker.startswith("a-") else [asked]
        with nullcontext() if breakage.recovery else websocket_pre_event_retries_disabled():
            await self.run_turn(seen, input=[{"role": "user", "content": content}])
        return seen

    def stage(self, name: str) -> _Stopwatch:
        """For ``with``: measure a stage, and add it to :attr:`stages`."""
        return _Stopwatch(self, self._session, name)


class _Stopwatch:
    """Measures one stage of the demo."""

    def __init__(self, demo: Demo, session: Session, name: str) -> None:
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
