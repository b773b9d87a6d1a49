"""The public API, with servers of several dialects: sticky headers, betas, keepalive types, dialects by name.

Rules: PROTOCOL.md, "Dialects". What they say in every case is in ``tests/core/test_dialect.py``.
"""

from __future__ import annotations

from functools import partial

import anyio
import msgspec
import pytest
from kit.models import call_of
from kit.peers import Peer, raw_server
from kit.strict_server import serve
from openai import AsyncAzureOpenAI, AsyncOpenAI
from turnwire.aio.loopback import AfterEvent, BeforeEvent, Close, Cut, Error, Fault, Send, Upgrading
from turnwire.sansio.dialect import CODEX, OPENAI, UNKNOWN, Dialect, Support

pytestmark = pytest.mark.anyio

STATE = "x-codex-turn-state"
MINE = Dialect(name="mine", lanes=Support.YES, keepalive_types=("gateway.beat",))


async def test_what_the_upgrade_made_sticky_is_sent_again_on_the_reconnect(shell, caplog):
    caplog.set_level("DEBUG")

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(peer.switching(more=f"{STATE}: hush-{len(server.peers)}\r\n"))
        await peer.message()
        await peer.answer()
        await peer.message()  # Of the second, nothing is run: the connection is cut.

    notices: list[str] = []
    options = shell.SessionOptions(dialect="codex", recovery=shell.RecoveryPolicy(attempts=0))
    async with raw_server(script, script) as server:
        async with shell.connect(server.base_url, options=options) as session:
            session.on("connection_lost", lambda notice: notices.append(repr(notice)))
            await session.respond(model="m", input="x")
            with pytest.raises(shell.TurnError) as failed:
                await session.respond(model="m", input="x")
            await session.respond(model="m", input="x")
        first, second = server.peers
    assert (STATE in first.headers, second.headers[STATE]) == (False, "hush-1")
    assert [peer.headers["openai-beta"] for peer in server.peers] == ["responses_websockets=2026-02-06"] * 2
    assert "hush" not in caplog.text + repr(failed.value) + "".join(notices)
    assert notices


@pytest.mark.parametrize("ends", [Close(1012), Cut()])
async def test_against_the_loopback_server_a_dialect_by_name_reconnects_and_goes_on(shell, ends):
    options = shell.SessionOptions(dialect="codex")
    async with serve(faults=[Fault(BeforeEvent(1), ends)]) as server:
        async with shell.connect(server.base_url, options=options) as session:
            assert session.dialect is CODEX
            with pytest.raises(shell.TurnError):
                await session.respond(model="m", input="x")
            assert (await session.respond(model="m", input="x")).output_text == "x"
            assert session.stats.connections == 2


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_keepalive_type_is_not_delivered_and_the_turn_waits_on(shell, transport):
    beats = [Fault(AfterEvent(number), Send({"type": "gateway.beat", "load": number})) for number in (1, 2, 3)]
    options = shell.SessionOptions(dialect=MINE)
    async with serve(faults=beats) as server:
        async with shell.connect(server.base_url, options=options, transport=transport) as session:
            async with session.create(model="m", input="one two", stream_id=None) as turn:
                types = [event.type async for event in turn]
            assert not server.faults
    assert turn.transport == transport
    assert (types[0], types[-1]) == ("response.created", "response.completed")
    assert "gateway.beat" not in types
    assert turn.result().output_text == "one two"


async def test_without_that_dialect_it_is_delivered(shell):
    beat = Fault(AfterEvent(1), Send({"type": "gateway.beat"}))
    async with serve(faults=[beat]) as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="one", stream_id=None) as turn:
            assert "gateway.beat" in [event.type async for event in turn]


async def test_the_dialect_is_what_the_server_announces(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        assert session.dialect is OPENAI
    async with serve(dialect=None) as server, shell.connect(server.base_url) as session:
        assert session.dialect is UNKNOWN


async def test_a_model_takes_a_dialect_with_its_options(shell):
    options = shell.SessionOptions(dialect="azure")
    async with serve() as server, AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
        model = shell.OpenAIResponsesWSModel("m", client, websocket_options=options, stream_id="lane")
        async with model:
            arguments = {"system_instructions": None, "input": "x", "model_settings": shell.ModelSettings()}
            more = {"tools": [], "output_schema": None, "handoffs": [], "tracing": shell.ModelTracing.DISABLED}
            await model.get_response(**arguments, **more)
        assert [entry.lane for entry in server.ledger] == [None]


async def test_an_unknown_dialect_is_refused_before_anything_is_opened(shell):
    with pytest.raises(shell.UserError, match="write one of 'openai', 'azure', 'codex', 'no-lanes', 'unknown', or"):
        shell.SessionOptions(dialect="klingon")


KINDS = {
    "openai": {"dialect": "openai"},
    "says nothing": {"dialect": None},
    "ignores names": {"dialect": "no-lanes"},
    "refuses names": {"dialect": "azure"},
    "no WebSocket": {"dialect": None, "faults": [Fault(Upgrading(), Error(404, "not_found"), times=None)]},
}
"""What each kind of server is, for ``serve()``."""
ON_KINDS = [(kind, dialect) for kind in KINDS for dialect in (None, "azure", "no-lanes", "codex")]
ON_KINDS.remove(("refuses names", "codex"))
"""That one is told to send the names that the caller gives: to refuse them is the server's right (P-DIALECT-11)."""


@pytest.mark.parametrize(("kind", "dialect"), ON_KINDS)
async def test_the_same_program_runs_on_every_server(shell, kind, dialect):
    """Eight turns at once, half of them with names of lanes: each has its own answer, whatever the server has."""
    texts: dict[int, str] = {}
    options = shell.SessionOptions(dialect=dialect)
    async with serve(**KINDS[kind]) as server, shell.connect(server.base_url, options=options) as session:

        async def ask(number: int) -> None:
            lane = {"stream_id": f"lane-{number}"} if number % 2 else {}
            response = await session.respond(model="m", input=f"say {number}", **lane)
            texts[number] = response.output_text

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(ask, number)
        assert session.stats.http_turns == (8 if kind == "no WebSocket" else 0)
    assert texts == {number: f"say {number}" for number in range(8)}
    assert [entry.outcome for entry in server.ledger] == ["completed"] * 8


# --- Azure OpenAI -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_an_azure_client_on_an_azure_like_server(shell, transport):
    """Its path, its query, its header with the key, its one response at a time: for sessions and for models."""
    async with serve(dialect="azure", api_key="k") as server:
        root = server.base_url.removesuffix("/openai/v1")
        client = AsyncAzureOpenAI(azure_endpoint=root, api_version="2025-04-01-preview", api_key="k")
        async with client, shell.connect(client=client, transport=transport) as session:
            first = await session.respond(model="m", input="We fly to Oslo.")
            again = await session.respond(model="m", input="recall", previous_response_id=first.id)
            assert again.output_text == "We fly to Oslo."
            assert (await session.retrieve(first.id)).output_text == first.output_text
            assert session.dialect.name == ("azure" if transport == "websocket" else "unknown")
            options = shell.SessionOptions(transport=transport)
            async with shell.OpenAIResponsesWSModel("m", client, websocket_options=options, stream_id="a") as model:
                await model.get_response(*call_of(shell))
        headers = [entry.headers for entry in server.requests]
        assert {each["api-key"] for each in headers} == {"k"}
        assert not any("authorization" in each for each in headers)
        assert [(entry.outcome, entry.lane) for entry in server.requests] == [("completed", None)] * 3


@pytest.mark.parametrize("dialect", [None, "azure"])
async def test_turns_of_an_azure_like_server_wait_for_each_other_and_one_that_fails_takes_the_memory(shell, dialect):
    options = shell.SessionOptions(dialect=dialect)
    async with serve(dialect="azure") as server, shell.connect(server.base_url, options=options) as session:
        first = await session.respond(model="m", input="one", store=False)
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(partial(session.respond, model="m", input=f"count {number}", store=False))
        last = await session.respond(model="m", input="two", store=False)
        with pytest.raises(shell.TurnError, match="previous_response_not_found"):
            await session.respond(model="m", input="recall", store=False, previous_response_id=first.id)
        with pytest.raises(shell.TurnError, match="previous_response_not_found"):  # That failure removed it.
            await session.respond(model="m", input="recall", store=False, previous_response_id=last.id)
        assert session.stats.connections == 1
    assert [entry.outcome for entry in server.requests] == ["completed"] * 6 + ["refused"] * 2


async def test_a_name_that_turnwire_gave_is_dropped_where_names_are_refused(shell):
    """The session is told that the server has lanes, which it has not: no caller sees that (P-DIALECT-11)."""
    options = shell.SessionOptions(dialect=msgspec.structs.replace(OPENAI, name="hopeful"))
    async with serve(dialect="azure") as server, shell.connect(server.base_url, options=options) as session:
        assert (await session.respond(model="m", input="x")).output_text == "x"
        assert (await session.respond(model="m", input="y")).output_text == "y"
        assert (await session.respond(model="m", input="z", stream_id="mine")).output_text == "z"
    assert [entry.outcome for entry in server.requests] == ["refused"] + ["completed"] * 3
