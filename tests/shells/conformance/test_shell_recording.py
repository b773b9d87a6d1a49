"""What is recorded in a shell replays to what its consumers saw (RECORDING.md): events, ends, verdicts, evidence."""

from __future__ import annotations

import io
import logging
import stat
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import AfterEvent, BeforeRun, Cut, Error, Fault
from turnwire.sansio.recording import Replay, Timeline, TurnTrack

pytestmark = pytest.mark.anyio

KEY = "sk-shell-0123456789"


def replayed(contents: bytes) -> Timeline:
    assert KEY.encode() not in contents
    timeline = Replay(contents).run()
    assert timeline.difference is None, str(timeline.difference)
    assert not timeline.cut
    return timeline


def what_came(turn: Any) -> dict[str, Any]:
    """A turn's end, as its consumer sees it."""
    evidence, verdict = turn.evidence, turn.verdict
    return {
        "response": turn.response_id,
        "status": None if turn.response is None else turn.response.status,
        "verdict": None if verdict is None else verdict.value,
        "phase": None if evidence is None else evidence.phase.name,
        "transport": turn.transport,
    }


def what_was_replayed(track: TurnTrack) -> dict[str, Any]:
    return {
        "response": track.response_id,
        "status": None if track.end in ("error", "left") else track.end,
        "verdict": track.verdict,
        "phase": None if track.evidence is None else track.evidence["phase"],
        "transport": track.transport,
    }


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_session_with_faults_replays_to_what_its_consumers_saw(shell, transport, tmp_path: Path):
    """F-SECRET-3."""
    faults = [
        Fault(AfterEvent(4), Cut(reset=True), marker="middle"),
        Fault(BeforeRun(), Cut(), marker="before"),
        Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after": "0.01"}), marker="busy"),
        Fault(BeforeRun(), Error(400, "invalid_prompt"), marker="refused"),
    ]
    seen: dict[str, tuple[list[bytes], dict[str, Any]]] = {}
    path = tmp_path / "session.jsonl"

    async def run(session: Any, marker: str, leaves: int = 1000) -> None:
        raw: list[bytes] = []
        body = {"model": "m", "input": f"this is {marker}", "metadata": {"marker": marker}}
        turn = session.create(stream_id=f"lane-{marker}", **body)
        try:
            async with turn:
                async for event in turn:
                    raw.append(bytes(event.raw_bytes))
                    if len(raw) == leaves:
                        break
        except shell.TurnError:
            pass
        seen[marker] = (raw, what_came(turn))

    async with serve(faults=faults) as server:
        async with shell.connect(server.base_url, api_key=KEY, transport=transport, record=path) as session:
            async with anyio.create_task_group() as tasks:
                for marker in ("one", "two", "busy", "refused"):
                    tasks.start_soon(run, session, marker)
            await run(session, "middle")
            await run(session, "before")
            await run(session, "left", 3)
            await run(session, "last")
    (track,) = replayed(path.read_bytes()).sessions
    assert track.end == "closed"
    found = {turn.body["metadata"]["marker"]: turn for turn in track.turns}
    assert set(found) == set(seen)
    for marker, (raw, came) in seen.items():
        turn = found[marker]
        assert [mark.raw for mark in turn.events if mark.read_at is not None] == raw, marker
        assert what_was_replayed(turn) == came, marker
    assert [mark.reason for mark in found["busy"].repeats] == ["rate_limit"]
    verdicts = {marker: found[marker].verdict for marker in ("middle", "before", "refused", "last")}
    assert verdicts == {"middle": "unsafe", "before": "ambiguous", "refused": "safe", "last": None}
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_scrubbed_session_replays_too(shell):
    file = io.BytesIO()
    async with serve() as server:
        recording = shell.Recording(file, scrub=True)
        async with shell.connect(server.base_url, api_key=KEY, record=recording) as session:
            first = await session.respond(model="m", input="a private text")
            await session.respond(model="m", input="another private text", previous_response_id=first.id)
            await session.retrieve(first.id)
    assert b"private" not in file.getvalue()
    assert not file.closed
    (track,) = replayed(file.getvalue()).sessions
    assert [turn.end for turn in track.turns][:2] == ["completed"] * 2
    assert track.turns[1].previous == track.turns[0].response_id == track.turns[2].retrieval


async def test_a_model_records_all_of_its_connections(shell, tmp_path: Path):
    path = tmp_path / "model.jsonl"
    async with serve() as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=0)
        model = shell.OpenAIResponsesWSModel("m", client, record=str(path))

        async def ask(text: str, **extra: Any) -> str:
            settings = shell.ModelSettings(**extra)
            response = await model.get_response(None, text, settings, [], None, [], shell.ModelTracing.DISABLED)
            return response.output[0].content[0].text

        async with model:
            assert await ask("one") == "one"
            assert await ask("two", extra_headers={"X-Other": "another-value-9"}) == "two"
        assert await ask("three") == "three"
        await model.close()
    contents = path.read_bytes()
    assert b"another-value-9" not in contents
    timeline = replayed(contents)
    assert [[turn.end for turn in track.turns] for track in timeline.sessions] == [["completed"]] * 3


async def test_a_file_that_cannot_be_written_fails_no_call(shell, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, "turnwire.session")
    async with serve() as server, shell.connect(server.base_url, record=tmp_path / "no" / "file") as session:
        assert (await session.respond(model="m", input="x")).output_text == "x"
    assert [record.getMessage() for record in caplog.records] == ["the recording raised FileNotFoundError"]
