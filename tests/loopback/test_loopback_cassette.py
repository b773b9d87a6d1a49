"""A server that answers from a recording: the same conversation again, with faults on top."""

from __future__ import annotations

import io
from typing import Any

import pytest
from kit.strict_server import serve
from turnwire.aio import TurnError, connect
from turnwire.aio.loopback import AfterEvent, Call, Cut, Fault, ScriptError
from turnwire.sansio.cassette import Cassette

pytestmark = pytest.mark.anyio

TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}


async def conversation(session: Any) -> list[str]:
    """A tool loop of two turns."""
    first = await session.respond(model="m", input="What is 1 + 1?", tools=[TOOL])
    output = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "2"}
    second = await session.respond(model="m", input=[output], tools=[TOOL], previous_response_id=first.id)
    return [first.id, first.output[0].arguments, second.id, second.output_text]


async def recorded() -> tuple[bytes, list[str]]:
    file = io.BytesIO()
    async with serve(reply=[Call("add", {"a": 1}), "It is 2."]) as server:
        async with connect(server.base_url, record=file) as session:
            said = await conversation(session)
    return file.getvalue(), said


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_the_same_conversation_gets_the_same_answers(transport: Any):
    contents, said = await recorded()
    async with serve(reply=Cassette(contents, speed=None)) as server:
        async with connect(server.base_url, transport=transport) as session:
            assert await conversation(session) == said
    assert len(server.ledger) == 2


async def test_faults_are_done_on_top_and_a_repeated_request_gets_its_answer_again():
    contents, said = await recorded()
    fault = Fault(AfterEvent(2), Cut())
    async with (
        serve(reply=Cassette(contents, speed=None), faults=[fault]) as server,
        connect(server.base_url) as session,
    ):
        with pytest.raises(TurnError):
            await conversation(session)
        assert await conversation(session) == said


async def test_another_request_is_an_error_that_says_where_it_differs():
    contents, _ = await recorded()
    server = await serve(reply=Cassette(contents))
    async with connect(server.base_url) as session:
        with pytest.raises(TurnError, match=r"body\.input was 'What is 1 \+ 1\?', and is 'What else\?'"):
            await session.respond(model="m", input="What else?", tools=[TOOL])
    await server.aclose()
    assert [type(error) for error in server.script_errors] == [ScriptError]
