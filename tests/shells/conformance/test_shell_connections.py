"""Several connections of one session: the same program against every kind of server, turns that are left, the list."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from kit.loopback_clients import SEQUENCE
from kit.strict_server import serve
from turnwire.aio.loopback import AfterEvent, BeforeEvent, Cut, Error, Fault, Silence, Upgrading
from turnwire.sansio.server import ServerOptions

pytestmark = pytest.mark.anyio


# --- The same program against every kind of server -------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "lanes": {},
    "lanes, and does not say so": {"dialect": None},
    "ignores stream_id": {"dialect": "no-lanes"},
    "refuses stream_id": {"options": ServerOptions(max_named_lanes=0)},
    "one response at a time": {"dialect": "no-lanes", "options": ServerOptions(max_in_flight=1, max_waiting=0)},
    "no WebSocket": {"faults": [Fault(Upgrading(), Error(404, "not_found"), times=None)]},
    "HTTP only": {},
}
TOGETHER = 20


def streamed(words: int) -> list[str]:
    """The types of the events of an answer of so many words."""
    delta = SEQUENCE.index("response.output_text.delta")
    return [*SEQUENCE[:delta], *["response.output_text.delta"] * words, *SEQUENCE[delta + 2 :]]


async def ask(session: Any, **body: Any) -> tuple[list[str], str, str]:
    """The types of a turn's events, its text as it was streamed, and the id of its response."""
    async with session.create(model="m", **body) as turn:
        events = [event async for event in turn]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert turn.result().output_text == text
    return [event.type for event in events], text, turn.response_id


async def program(session: Any, answers: dict[str, tuple[list[str], str]]) -> None:
    """Twenty turns at once, of which every third is continued, and forked; three in one lane; and one that is left."""

    async def conversation(number: int) -> None:
        name = f"turn {number}"
        types, text, response_id = await ask(session, input=name)
        answers[name] = (types, text)
        if number % 3 == 0:
            async with anyio.create_task_group() as forks:
                for fork in range(2):
                    forks.start_soon(go_on, f"{name} fork {fork}", response_id)

    async def go_on(name: str, response_id: str) -> None:
        given = [{"type": "message", "role": "user", "content": said} for said in (name, "recall")]
        types, text, _ = await ask(session, input=given, previous_response_id=response_id)
        answers[name] = (types, text)

    async def leave() -> None:
        async with session.create(model="m", input="count 100000") as turn:
            async for event in turn:
                if event.type == "response.output_text.delta":
                    break
        answers["left"] = ([], turn.verdict.name)

    async def in_a_lane(number: int) -> None:
        answers[f"lane {number}"] = (await ask(session, input=f"lane {number}", stream_id=None))[:2]

    async with anyio.create_task_group() as tasks:
        for number in range(TOGETHER):
            tasks.start_soon(conversation, number)
        tasks.start_soon(leave)
        for number in range(3):
            tasks.start_soon(in_a_lane, number)
            await anyio.lowlevel.checkpoint()


def expected() -> dict[str, tuple[list[str], str]]:
    answers: dict[str, tuple[list[str], str]] = {"left": ([], "UNSAFE")}
    for number in range(TOGETHER):
        answers[f"turn {number}"] = (streamed(2), f"turn {number}")
        for fork in range(2 * (number % 3 == 0)):
            name = f"turn {number} fork {fork}"
            answers[name] = (streamed(6), f"turn {number}\n{name}")
    return answers | {f"lane {number}": (streamed(2), f"lane {number}") for number in range(3)}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_program_runs_against_every_kind_of_server(shell, kind):
    answers: dict[str, tuple[list[str], str]] = {}
    transport = "http" if kind == "HTTP only" else "auto"
    async with serve(**KINDS[kind]) as server:
        async with shell.connect(server.base_url, connections=4, transport=transport) as session:
            await program(session, answers)
            assert answers == expected()
            stats = session.stats
            assert (stats.completed, stats.failed) == (len(answers) - 1, 1)
            assert sum(one.completed for one in session.connections) == stats.completed
        in_lane = [entry.input for entry in server.ledger if str(entry.input).startswith("lane")]
        assert sorted(in_lane) == ["lane 0", "lane 1", "lane 2"], "each ran once"
        assert len(server.ledger) == len(answers), "and so did every other turn"


# --- Turns that are left, and the list -------------------------------------------------------------------------------


async def test_a_lane_that_was_left_is_free_at_once_on_another_connection(shell):
    """The server says nothing more of the turn that was left, which so has its lane for as long as the test runs."""
    silences = [Fault(BeforeEvent(3), Silence(), marker="left")]
    async with serve(faults=silences) as server, shell.connect(server.base_url, connections=2) as session:
        async with session.create(model="m", input="count 100000", stream_id="other") as other:
            await anext(other)
            async with session.create(model="m", input="x", stream_id="a", metadata={"marker": "left"}) as left:
                await anext(left)
                waiting = session.create(model="m", input="It waits.", stream_id="a")
                async with waiting:
                    assert session.connections[0].waiting == 1
                    await left.__aexit__(None, None, None)
                    async for _ in waiting:
                        pass
                assert waiting.result().output_text == "It waits."
            response = await session.respond(model="m", input="At once.", stream_id="a")
            assert response.output_text == "At once."
            assert [one.running for one in session.connections] == [2, 0]
        assert [entry.connection for entry in server.ledger] == [1, 1, 2, 2]


async def test_a_continuation_of_what_only_a_connection_remembers_waits_there(shell):
    async with serve() as server, shell.connect(server.base_url, connections=2) as session:
        body = {"model": "m", "stream_id": "a", "store": False}
        first = await session.respond(input="Remember this.", **body)
        async with session.create(model="m", input="count 100000", stream_id="other") as other:
            await anext(other)
            async with session.create(input="count 500", previous_response_id=first.id, **body) as left:
                await anext(left)
            second = await session.respond(input="recall", model="m", stream_id="a", store=False)
            assert second.output_text == ""
            recalled = session.create(input="recall", previous_response_id=second.id, **body)
            async with recalled:
                async for _ in recalled:
                    pass
            assert recalled.result().output_text == "recall"
        assert [one.number for one in session.connections] == [1, 2]


async def test_each_connection_is_listed_and_those_that_ended_say_why(shell):
    faults = [Fault(AfterEvent(2), Cut(), marker="cut")]
    async with serve(faults=faults) as server, shell.connect(server.base_url, connections=2) as session:
        await session.respond(model="m", input="x", stream_id="a")
        (one,) = session.connections
        assert (one.number, one.transport, one.state, one.reason) == (1, "websocket", "open", None)
        assert (one.turns, one.completed, one.lanes, one.running, one.waiting) == (1, 1, 1, 0, 0)
        assert one.age is not None
        assert 0 <= one.age < 60
        assert (one.events, one.bytes_in, one.bytes_out) == (
            session.stats.events,
            session.stats.bytes_in,
            session.stats.bytes_out,
        )
        with pytest.raises(shell.TurnError):
            await session.respond(model="m", input="x", metadata={"marker": "cut"})
        await session.respond(model="m", input="x")
        lost, present = session.connections
        assert (lost.number, lost.state, present.number, present.state) == (1, "closed", 2, "open")
        assert lost.reason is not None
        assert lost.reason.startswith("eof")
        assert isinstance(present, shell.ConnectionInfo)
    assert [one.state for one in session.connections] == ["closed", "closed"]
