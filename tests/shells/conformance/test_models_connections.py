"""The WebSocket model between calls: which connection it trusts, and whose key it brings (PARITY C3, A15).

It is in no scope here: between its calls nobody reads.
"""

from __future__ import annotations

import anyio
import pytest
from kit.models import WEBSOCKET, call_of, model_of
from kit.peers import CLOSE, PING, frame, raw_server
from kit.strict_server import serve
from turnwire.aio.loopback import AfterEvent, Close, Cut, Fault
from turnwire.sansio.websocket import Pong

pytestmark = pytest.mark.anyio


async def ask(model, shell, text, **more):
    response = await model.get_response(*call_of(shell, text), **more)
    return response.output[0].content[0].text, response.response_id


EVENTS = 9
"""Of a turn that says one word."""


@pytest.mark.parametrize("end", [Cut(), Cut(reset=True), Close(1001)], ids=["FIN", "RST", "close"])
async def test_a_connection_that_ended_between_calls_gets_no_call(shell, end):
    async with serve(faults=[Fault(AfterEvent(EVENTS), end)]) as server, model_of(shell, WEBSOCKET, server) as model:
        _, first = await ask(model, shell, "one")
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()  # The server has ended the connection.
        assert (await ask(model, shell, "two", previous_response_id=first))[0] == "two"
        assert [entry.connection for entry in server.ledger] == [1, 2]


async def test_a_ping_that_came_between_calls_is_answered_and_harms_nothing(shell):
    async def script(peer):
        await peer.upgrade()
        await peer.message()
        await peer.answer("one")
        await answered.wait()
        await peer.send(frame(PING, b"there?"))
        pinged.set()
        assert (await peer.message())["input"][0]["content"] == "two"
        await peer.answer("two")
        await peer.end()

    answered, pinged = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, model_of(shell, WEBSOCKET, server) as model:
        await ask(model, shell, "one")
        answered.set()
        await pinged.wait()
        assert (await ask(model, shell, "two"))[0] == "two"
        (peer,) = server.peers
    assert [item.payload for item in peer.received if isinstance(item, Pong)] == [b"there?"]


async def test_A15_the_key_is_asked_for_at_each_handshake_and_at_no_call(shell):
    async def script(peer):
        await peer.upgrade()
        for _ in range(2):
            await peer.message()
            await peer.answer("hello")
        await peer.send(frame(CLOSE, (1001).to_bytes(2, "big")))
        await peer.end()

    asked = []

    async def key():
        asked.append(len(asked))
        return f"key-{len(asked)}"

    async with (
        raw_server(script) as server,
        model_of(shell, WEBSOCKET, server, client_options={"api_key": key}) as model,
    ):
        for _ in range(4):
            await ask(model, shell, "x")
            await anyio.wait_all_tasks_blocked()
        assert [peer.headers["authorization"] for peer in server.peers] == ["Bearer key-1", "Bearer key-2"]


async def test_A15_a_key_provider_that_raises_fails_the_call_before_anything_is_sent(shell):
    async def key():
        raise RuntimeError("the vault is closed: hunter2")

    async with serve() as server, model_of(shell, WEBSOCKET, server, client_options={"api_key": key}) as model:
        with shell.websocket_pre_event_retries_disabled(), pytest.raises(shell.TurnError) as caught:
            await ask(model, shell, "x")
        assert caught.value.verdict is shell.Verdict.SAFE
        assert "hunter2" not in str(caught.value)
        assert server.ledger == []
