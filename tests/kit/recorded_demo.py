"""The sessions whose recordings are in ``tests/recordings``: lanes, cuts, repetitions, a rotation.

``python tests/kit/recorded_demo.py`` makes the files again, over WebSocket and over HTTP. They take some seconds of
real time, because a view of them shows how long things took.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
from kit.strict_server import serve
from turnwire.aio import Session, connect
from turnwire.aio.loopback import AfterEvent, Asked, BeforeRun, Call, Cut, Error, Fault, Reply, Silence
from turnwire.sansio.errors import TurnError
from turnwire.sansio.record import Recording
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.timeouts import Timeouts

FOLDER = Path(__file__).parents[1] / "recordings"
KEY = "sk-demo-0123456789abcdef"
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
FAULTS = (
    Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after": "1"}), marker="busy"),
    Fault(BeforeRun(), Error(400, "invalid_prompt"), marker="refused"),
    Fault(AfterEvent(12), Cut(reset=True), marker="cut in the middle"),
    Fault(BeforeRun(), Cut(), marker="cut before its first event"),
    Fault(AfterEvent(6), Silence(), marker="silent"),
)


def answer(asked: Asked) -> Reply:
    """What the server says, slowly enough to be looked at."""
    text = asked.text
    if text.startswith("call "):
        return Reply(Call("weather", {"city": "Oslo"}), delay=0.03, latency=0.2)
    return Reply(text, delay=0.02, latency=0.15)


async def turn(session: Session, marker: str, said: Any, **more: Any) -> str | None:
    """Run a turn; None if it fails."""
    try:
        response = await session.respond(model="gpt-5.4", input=said, metadata={"marker": marker}, **more)
    except TurnError:
        return None
    return response.id


async def planner(session: Session) -> None:
    """A conversation of three turns, with a fork."""
    first = await turn(session, "planner 1", "We fly to Oslo on Friday and stay two nights.", stream_id="planner")
    plan = "Saturday: the opera roof in the morning, the harbour at noon, a swim at Huk if it is warm."
    async with anyio.create_task_group() as tasks:
        fork = {"previous_response_id": first, "stream_id": "fork"}
        tasks.start_soon(lambda: turn(session, "fork 1", "Saturday instead: the Munch museum until two.", **fork))
        second = await turn(session, "planner 2", plan, previous_response_id=first, stream_id="planner")
    await turn(session, "busy", "And on Sunday?", previous_response_id=second, stream_id="planner")


async def weather(session: Session) -> None:
    """A tool call and its output."""
    first = await turn(session, "weather 1", "call the tool", tools=[TOOL], stream_id="weather")
    output = [{"type": "function_call_output", "call_id": "call_000000000002_0", "output": "19 degrees, sun."}]
    await turn(session, "weather 2", output, previous_response_id=first, stream_id="weather")


async def leaves_early(session: Session) -> None:
    """A turn that its consumer leaves."""
    asked = {
        "model": "gpt-5.4",
        "input": "Tell me everything about Oslo, in detail, from the start.",
        "stream_id": "left",
    }
    async with session.create(**asked) as left:
        async for event in left:
            if event.type == "response.output_text.delta":
                break


async def failures(session: Session) -> None:
    """One verdict after another."""
    await turn(session, "refused", "This is refused, so it did not run.")
    await turn(session, "cut in the middle", "This is cut off in the middle of its answer, which was on its way.")
    await turn(session, "cut before its first event", "Nobody knows whether this ran.")
    await turn(session, "silent", "This falls silent, and its deadline passes.", timeout=Timeouts(receive=0.8))
    await turn(session, "after all", "And after all that, a turn that ends well.")


async def make(path: Path, **options: Any) -> None:
    """Make one recording."""
    async with serve(reply=answer, faults=FAULTS) as server:
        given = SessionOptions(max_age=2.2, **options)
        async with connect(server.base_url, api_key=KEY, record=Recording(path), options=given) as session:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(planner, session)
                tasks.start_soon(weather, session)
                tasks.start_soon(leaves_early, session)
            await failures(session)


def main(folder: Path = FOLDER) -> None:
    """Make both files."""
    folder.mkdir(exist_ok=True)
    anyio.run(lambda: make(folder / "demo-websocket.jsonl", transport="websocket", connections=2))
    anyio.run(lambda: make(folder / "demo-http.jsonl", transport="http", connections=1))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
