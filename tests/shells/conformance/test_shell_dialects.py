"""The public API, with servers of several dialects: sticky headers, betas, keepalive types, dialects by name.

Rules: PROTOCOL.md, "Dialects". What they say in every case is in ``tests/core/test_dialect.py``.
"""

from __future__ import annotations

import anyio
import pytest
from kit.peers import Peer, raw_server
from openai import AsyncOpenAI
from turnwire.aio.loopback import AfterEvent, BeforeEvent, Close, Cut, Error, Fault, Send, Upgrading, serve
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


@pytest.mark.parametrize("dialect", [None, "azure", "no-lanes", "codex"])
@pytest.mark.parametrize("kind", ["openai", "says nothing", "ignores names", "no WebSocket"])
async def test_the_same_program_runs_on_every_server(shell, kind, dialect):
    """Eight turns at once, half of them with names of lanes: each has its own answer, whatever the server has."""
    texts: dict[int, str] = {}
    server_dialect = {"openai": "openai", "ignores names": "no-lanes"}.get(kind)
    faults = [Fault(Upgrading(), Error(404, "not_found"), times=None)] if kind == "no WebSocket" else []
    options = shell.SessionOptions(dialect=dialect)
    async with (
        serve(dialect=server_dialect, faults=faults) as server,
        shell.connect(server.base_url, options=options) as session,
    ):

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
