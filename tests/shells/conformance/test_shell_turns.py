"""The public API: turns that go well."""

from __future__ import annotations

import anyio
import msgspec
import pytest
from kit.peers import Peer, completed, created, delta, event, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import AfterEvent, BeforeEvent, Delay, Fault, Json, Refusal

pytestmark = pytest.mark.anyio


async def test_a_turn_gives_its_events_and_then_its_response(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="one two three") as turn:
            assert turn.response is None
            types = [event.type async for event in turn]
            assert types[0] == "response.created"
            assert types.count("response.output_text.delta") == 3
            assert types[-1] == "response.completed"
            assert turn.response.output_text == "one two three"
            assert turn.result() is turn.response
            assert turn.response_id == turn.response.id == server.ledger[0].response_id
    assert [entry.outcome for entry in server.ledger] == ["completed"]


async def test_events_are_typed_and_keep_the_servers_text(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="word") as turn:
            events = [event async for event in turn]
        (words,) = [event for event in events if event.type == "response.output_text.delta"]
        assert words.delta == "word"
        assert '"delta":"word"' in words.raw
        assert turn.response.output[0].content[0].text == "word"


async def test_iterating_after_the_terminal_event_stops_at_once_and_again(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="x") as turn:
            assert [event async for event in turn]
            assert [event async for event in turn] == []
        assert [event async for event in turn] == []
        assert turn.response.output_text == "x"


@pytest.mark.parametrize(
    ("given", "status"), [({"input": "fail"}, "failed"), ({"input": "count 20", "max_output_tokens": 16}, "incomplete")]
)
async def test_respond_returns_the_response_whatever_its_status(shell, given, status):
    async with serve() as server, shell.connect(server.base_url) as session:
        response = await session.respond(model="m", **given)
        assert response.status == status
        assert (await session.respond(model="m", input="next")).status == "completed"
        assert session.stats.completed == 2


async def test_several_turns_and_a_continuation_on_one_connection(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        first = await session.respond(model="m", input="my name is Ada")
        second = await session.respond(model="m", input="recall", previous_response_id=first.id)
        assert second.output_text == "my name is Ada"
        assert server.connections == 1
        assert session.stats.connections == 1
        assert session.stats.turns == session.stats.completed == 2


async def test_a_tool_call_round_trip(shell):
    tools = [{"type": "function", "name": "add", "parameters": {"type": "object"}}]
    async with serve() as server, shell.connect(server.base_url) as session:
        asked = await session.respond(model="m", input='call add {"a": 1}', tools=tools)
        (call,) = asked.output
        assert (call.type, call.name, call.arguments) == ("function_call", "add", '{"a": 1}')
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "two"}
        told = await session.respond(model="m", input=[result], previous_response_id=asked.id)
        assert told.output_text == "two"


async def test_a_warm_up_gives_an_id_to_continue_from(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        warm = await session.respond(model="m", input="remember me", generate=False)
        assert warm.output == []
        told = await session.respond(model="m", input="recall", previous_response_id=warm.id)
        assert told.output_text == "remember me"


async def test_a_fork_starts_on_another_lane_from_the_parents_response(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        parent = await session.respond(model="m", input="root", stream_id="main", store=False)
        async with session.create(
            model="m", input="recall", stream_id="fork", previous_response_id=parent.id, store=False
        ) as fork:
            async for event in fork:
                if event.type == "response.in_progress":
                    break
            onward = await session.respond(
                model="m", input="recall", stream_id="main", previous_response_id=parent.id, store=False
            )
            assert [event.type async for event in fork][-1] == "response.completed"
        assert fork.response.output_text == onward.output_text == "root"
        assert fork.stream_id == "fork"


async def test_lanes_run_side_by_side_and_each_turn_gets_its_own_events(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        texts: dict[int, str] = {}

        async def run(number: int) -> None:
            words = " ".join(f"{number}.{index}" for index in range(50))
            async with session.create(model="m", input=words, stream_id=f"lane-{number}") as turn:
                texts[number] = "".join([event.delta async for event in turn if "text.delta" in event.type])
            assert texts[number] == words

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(run, number)
        assert len(texts) == len(server.ledger) == 30
        assert server.connections == 1
        assert session.stats.orphans == 0


async def test_more_than_16_turns_wait_for_a_slot_unsent(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        requests = [await peer.message() for _ in range(16)]
        sixteen.set()
        await more.wait()
        for request in requests:
            await peer.answer(lane=request["stream_id"])
        for _ in range(4):
            await peer.answer(lane=(await peer.message())["stream_id"])
        await peer.end_code()

    sixteen, more = anyio.Event(), anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:

        async def run(number: int) -> None:
            await session.respond(input="x", stream_id=f"lane-{number}")

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(run, number)
            await sixteen.wait()
            assert session.stats.turns == 16
            more.set()
        assert session.stats.completed == 20


async def test_turns_of_one_lane_run_one_after_another_in_the_order_given(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        for _ in range(5):
            seen.append((await peer.message())["input"])
            assert len(peer.received) == len(seen), "the next request came before the lane was free"
            await peer.answer(seen[-1], lane="one")
        await peer.end_code()

    seen: list[str] = []
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        turns = [session.create(input=str(number), stream_id="one") for number in range(5)]
        for turn in turns:
            await turn.__aenter__()
        for turn in reversed(turns):  # Whoever looks first: the order is the order of sending.
            assert [event async for event in turn][-1].type == "response.completed"
            await turn.__aexit__(None, None, None)
    assert seen == ["0", "1", "2", "3", "4"]


async def test_the_body_goes_out_as_given_without_stream(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        requests.append(await peer.message())
        await peer.answer(lane="a.b-c_9")
        await peer.end_code()

    requests: list[dict] = []
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        await session.respond(
            model="m",
            input=[{"role": "user", "content": "ü"}],
            stream_id="a.b-c_9",
            stream=True,
            user=None,
        )
    assert requests == [
        {
            "type": "response.create",
            "model": "m",
            "input": [{"role": "user", "content": "ü"}],
            "user": None,
            "stream_id": "a.b-c_9",
        }
    ]


async def test_unknown_events_fields_and_values_are_delivered(shell):
    async def script(peer: Peer) -> None:
        from kit.peers import event

        await peer.upgrade()
        await peer.message()
        await peer.send(
            created(), event("response.telepathy.delta", thought=[1]), event("response.in_progress", colour="blue")
        )
        await peer.send(completed())
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            events = [event async for event in turn]
        assert [event.type for event in events][1:3] == ["response.telepathy.delta", "response.in_progress"]
        assert events[1].to_dict()["thought"] == [1]
        assert events[2].to_dict()["colour"] == "blue"


async def test_events_are_the_same_byte_by_byte_and_in_one_piece(shell):
    stream = b"".join([created(), *(delta(f"{number} ") for number in range(20)), completed(text="done")])

    async def one_by_one(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        for index in range(len(stream)):
            await peer.send(stream[index : index + 1])
        await peer.message()
        await peer.send(stream)
        await peer.end_code()

    async with raw_server(one_by_one) as server, shell.connect(server.base_url) as session:
        runs = []
        for _ in range(2):
            async with session.create(input="x") as turn:
                runs.append([event.raw async for event in turn])
        assert runs[0] == runs[1]
        assert len(runs[0]) == 22


async def test_events_that_come_with_the_upgrades_answer_are_orphans_and_harm_nothing(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade(created(), delta())
        await peer.message()
        await peer.answer("yes")
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        assert (await session.respond(input="x")).output_text == "yes"
        assert session.stats.orphans == 2


async def test_fragmented_messages_pings_in_between_and_large_ones(shell):
    from kit.peers import CONTINUATION, PING, TEXT, frame
    from turnwire.sansio.websocket import Pong

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        text = created()[4:]
        await peer.send(frame(TEXT, text[:10], fin=False), frame(PING, b"are you there"))
        assert await peer.item() == Pong(b"are you there")
        await peer.send(frame(CONTINUATION, text[10:20], fin=False), frame(CONTINUATION, text[20:]))
        await peer.send(delta("x" * 3_000_000), completed())
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            events = [event async for event in turn]
        assert events[0].type == "response.created"
        assert len(events[1].delta) == 3_000_000


async def test_compression_when_asked_for(shell):
    from turnwire.sansio.server import ServerOptions

    text = "the same words again " * 500
    async with (
        serve(options=ServerOptions(compression=True)) as server,
        shell.connect(server.base_url, options=shell.SessionOptions(compression=True)) as session,
    ):
        assert (await session.respond(model="m", input=text)).output_text == text
        assert session.stats.bytes_in < 200_000


async def test_a_turn_whose_consumer_is_slow_does_not_time_out(shell):
    async with (
        serve() as server,
        shell.connect(server.base_url) as session,
        session.create(model="m", input="a b c", timeout=0.05) as turn,
    ):
        async for event in turn:
            await anyio.sleep(0.06)
            last = event
        assert last.terminal


async def test_stats_count_and_are_a_copy(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        before = session.stats
        await session.respond(model="m", input="x")
        after = session.stats
        assert (before.turns, after.turns) == (0, 1)
        assert after.events == server.ledger[0].events
        assert after.bytes_in > before.bytes_in > 0
        assert after.bytes_out > before.bytes_out > 0


async def test_nothing_is_awaited_for_events_that_are_there(shell):
    """One wake-up per read: a consumer takes what came with one read without giving way to other tasks."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(b"".join([created(), *[delta()] * 20, completed()]))
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            await anext(turn)
            switches = 0

            async def count() -> None:
                nonlocal switches
                switches += 1

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(count)
                assert len([event async for event in turn]) == 21
                assert switches == 0


async def test_the_lane_of_a_delayed_turn_does_not_hold_up_another(shell):
    faults = [Fault(BeforeEvent(3), Delay(0.2), marker="slow")]
    async with serve(faults=faults) as server, shell.connect(server.base_url) as session:
        order: list[str] = []

        async def run(name: str) -> None:
            await session.respond(model="m", input="x", stream_id=name, metadata={"marker": name})
            order.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, "slow")
            tasks.start_soon(run, "quick")
        assert order == ["quick", "slow"]


async def test_two_turns_on_one_session_iterated_in_one_task(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with (
            session.create(model="m", input="a b c", stream_id="a") as one,
            session.create(model="m", input="d e f", stream_id="b") as two,
        ):
            texts = ["", ""]
            turns = [one, two]
            for index in (0, 1) * 50:
                try:
                    event = await anext(turns[index])
                except StopAsyncIteration:
                    continue
                texts[index] += getattr(event, "delta", "")
        assert texts == ["a b c", "d e f"]


async def test_a_turn_alone_is_not_aborted_by_reading_it_to_the_end_and_leaving(shell):
    faults = [Fault(AfterEvent(2), Delay(0.01))]
    async with serve(faults=faults) as server, shell.connect(server.base_url) as session:
        for _ in range(3):
            await session.respond(model="m", input="x")
        assert session.stats.connections == server.connections == 1


UNASKED = {
    "a keepalive": event("keepalive"),
    "limits": event("codex.rate_limits", plan_type="plus"),
    "an unknown event": event("session.greeting", delta="hello"),
    "the beginning of a response": created(response_id="resp_of_nobody"),
}


@pytest.mark.parametrize("unasked", UNASKED)
@pytest.mark.parametrize("when", ["after the upgrade", "between turns"])
async def test_what_came_before_a_turn_is_none_of_its_events(shell, unasked, when):
    """Whoever runs first: the task that begins the turn, or the one that reads what has arrived."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        if when == "between turns":
            await peer.message()
            await peer.answer("hello", response_id="resp_2")
            await asked.wait()
        await peer.send(UNASKED[unasked])
        sent.set()
        await peer.message()
        await peer.answer("hello", response_id="resp_3")
        await peer.end()

    for _ in range(3):
        sent, asked = anyio.Event(), anyio.Event()
        async with raw_server(script) as server, shell.connect(server.base_url) as session:
            if when == "between turns":
                await session.respond(model="m", input="x")
                asked.set()
            await sent.wait()
            async with session.create(model="m", input="x") as turn:
                types = [event.type async for event in turn]
            assert types == ["response.created", "response.output_text.delta", "response.completed"]
            assert turn.response_id == "resp_3"
            assert session.stats.orphans == 1
            assert session.stats.connections == 1


@pytest.mark.parametrize("unasked", UNASKED)
async def test_a_model_that_nobody_reads_for_takes_what_came_between_its_calls_for_nothing(shell, unasked):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        for response_id in ("resp_2", "resp_3"):
            await peer.message()
            await peer.answer(response_id, response_id=response_id)
            await peer.send(UNASKED[unasked])
        await peer.end()

    async with raw_server(script) as server, AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
        model = shell.OpenAIResponsesWSModel("m", client)
        settings, tracing = shell.ModelSettings(), shell.ModelTracing.DISABLED
        for response_id in ("resp_2", "resp_3"):
            response = await model.get_response(None, "x", settings, [], None, [], tracing)
            assert response.response_id == response_id
        await model.close()
        assert len(server.peers) == 1


async def test_the_pieces_of_text_and_what_has_come_so_far(shell):
    """P-PARTIAL-1."""
    async with serve() as server, shell.connect(server.base_url) as session:
        turn = session.create(model="m", input="one two three")
        assert turn.partial == shell.Partial()
        async with turn:
            so_far = []
            async for piece in turn.text_deltas():
                so_far.append((piece, turn.partial.text))
            assert so_far == [("one", "one"), (" two", "one two"), (" three", "one two three")]
        assert turn.partial.items == [item.to_dict() for item in turn.response.output]
        assert turn.partial.usage == turn.response.usage


async def test_a_character_that_was_cut_in_two_is_whole_and_a_failure_keeps_what_came(shell):
    """P-PARTIAL-1, P-PARTIAL-7."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created(), delta("a\ud83d"), delta("\ude00!\ud83d"))
        await peer.reset()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(model="m", input="x") as turn:
            texts = turn.text_deltas()
            assert [await anext(texts), await anext(texts)] == ["a", "😀!"]
            with pytest.raises(shell.TurnError):
                await anext(texts)
        assert turn.partial.text == "a😀!"
        assert turn.partial.items[0]["status"] == "incomplete"


class Sum(msgspec.Struct):
    total: int
    terms: list[int]


async def test_an_answer_is_a_value_of_the_type_that_was_asked_for(shell):
    """P-FORMAT-1 to P-FORMAT-4."""
    async with (
        serve(reply=["no sum", Json({"total": 3, "terms": [1, 2]}), Refusal("no"), "plain", Json()]) as server,
        shell.connect(server.base_url) as session,
    ):
        response = await session.respond(model="m", input="x", text_format=Sum, text={"verbosity": "low"})
        with pytest.raises(shell.OutputInvalidError) as caught:
            _ = response.output_parsed
        assert caught.value.text == "no sum"
        async with session.create(model="m", input="x", text_format=Sum) as turn:
            assert [event.type async for event in turn][-1] == "response.completed"
        assert turn.result().output_parsed == Sum(3, [1, 2])
        with pytest.raises(shell.OutputRefusedError):
            _ = (await session.respond(model="m", input="x", text_format=Sum)).output_parsed
        with pytest.raises(shell.UserError):
            session.create(model="m", input="x", text_format=dict[str, int])
        assert (await session.respond(model="m", input="x")).output_parsed is None
        talk = session.conversation(model="m", text_format=Sum)
        assert isinstance((await talk.respond("x")).output_parsed, Sum)
    assert server.ledger[0].body["text"]["verbosity"] == "low"
    assert server.ledger[0].body["text"]["format"]["schema"]["required"] == ["total", "terms"]
