"""Conversations over sockets: on every backend, against the loopback server, stored and not, with faults."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from kit.strict_server import serve
from turnwire.aio.loopback import AfterEvent, BeforeRun, Call, Cut, Error, Fault, Incomplete, Upgrading
from turnwire.sansio.errors import ConcurrentUseError, ConnectionLostError, ResponsesHTTPError, UserError
from turnwire.sansio.replay import Verdict

pytestmark = pytest.mark.anyio

MODEL = "gpt-test"
UNSTORED = {"store": False}
STORED = [pytest.param({}, id="stored"), pytest.param(UNSTORED, id="not stored")]
LAST_EVENT = 9
"""How many events a response of one word has."""
WORDS = ["one", "two", "three", "four", "five"]
NOT_FOUND = Error(400, "previous_response_not_found")


def texts(history: list[dict[str, Any]]) -> list[str]:
    """The texts of the messages of a history."""
    found: list[str] = []
    for item in history:
        content = item["content"]
        found.append(content if isinstance(content, str) else "".join(part["text"] for part in content))
    return found


def sent(server: Any) -> list[tuple[bool, int]]:
    """Of each request that ran: whether it continues a response, and how many items it has."""
    return [(entry.previous_response_id is not None, len(entry.input)) for entry in server.ledger]


def reasons(talk: Any) -> list[str]:
    return [decision.reason.name for decision in talk.decisions]


@pytest.mark.parametrize("fields", STORED)
async def test_only_what_is_new_is_sent(shell, fields):
    async with serve(reply=WORDS, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, **fields)
        before = 0
        for number in range(4):
            before = session.stats.bytes_out
            response = await talk.respond(f"question {number}")
            assert response.output_text == WORDS[number]
        size = session.stats.bytes_out - before
        async with talk.create([{"role": "user", "content": "question 4"}]) as turn:
            assert "".join([text async for text in turn.text_deltas()]) == "five"
        assert talk.partial.text == "five"
        assert session.stats.bytes_out - before == 2 * size  # It does not grow with the history.
        assert texts(talk.history) == [text for n in range(5) for text in (f"question {n}", WORDS[n])]
        assert sent(server) == [(False, 1), *[(True, 1)] * 4]
        assert reasons(talk) == ["FIRST", *["CONTINUES"] * 4]
        assert talk.usage.total_tokens > 0
        assert talk.response_id == response_id_of(server)
        assert len({entry.lane for entry in server.ledger}) == 1
        assert repr(talk) == "<Conversation IDLE items=10>"


def response_id_of(server: Any) -> str:
    return server.ledger[-1].response_id


@pytest.mark.parametrize("fields", STORED)
async def test_what_is_not_found_is_sent_in_full_unseen(shell, fields):
    faults = [Fault(BeforeRun(), NOT_FOUND, request=2)]
    async with serve(reply=WORDS, strict=True, faults=faults) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, **fields)
        for number in range(3):
            await talk.respond(f"question {number}")
        assert sent(server) == [(False, 1), (False, 3), (True, 1)]
        assert reasons(talk) == ["FIRST", "NOT_FOUND", "CONTINUES"]
        assert len({(entry.lane, entry.connection) for entry in server.ledger}) == 1


@pytest.mark.parametrize(
    ("fields", "reason"), [({}, "CONTINUES"), (UNSTORED, "FORGOTTEN")], ids=["stored", "not stored"]
)
async def test_each_turn_on_another_connection(shell, fields, reason):
    faults = [Fault(AfterEvent(LAST_EVENT), Cut(), times=None)]
    async with serve(reply=WORDS, strict=True, faults=faults) as server, shell.connect(server.base_url) as session:
        lost: list[Any] = []
        session.on("connection_lost", lost.append)
        talk = session.conversation(model=MODEL, **fields)
        for number in range(3):
            await talk.respond(f"question {number}")
            while len(lost) <= number:
                await anyio.sleep(0.001)
        assert reasons(talk) == ["FIRST", reason, reason]
        assert sent(server) == [(False, 1), *([(True, 1), (True, 1)] if not fields else [(False, 3), (False, 5)])]
        assert [entry.connection for entry in server.ledger] == [1, 2, 3]
        assert texts(talk.history) == [text for n in range(3) for text in (f"question {n}", WORDS[n])]


@pytest.mark.parametrize("fields", STORED)
async def test_over_http(shell, fields):
    async with serve(reply=WORDS, strict=True) as server, shell.connect(server.base_url, transport="http") as session:
        talk = session.conversation(model=MODEL, **fields)
        for number in range(2):
            await talk.respond(f"question {number}")
        assert sent(server) == [(False, 1), (False, 3) if fields else (True, 1)]


@pytest.mark.parametrize("fields", STORED)
async def test_a_turn_that_may_have_run_is_the_callers(shell, fields):
    faults = [Fault(BeforeRun(), Cut(), request=2)]
    async with serve(reply=WORDS, faults=faults) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, **fields)
        await talk.respond("question 0")
        with pytest.raises(ConnectionLostError) as caught:
            await talk.respond("question 1")
        assert caught.value.verdict is Verdict.AMBIGUOUS
        assert talk.interrupted
        assert texts(talk.history) == ["question 0", "one"]
        response = await talk.retry()
        assert texts(talk.history) == ["question 0", "one", "question 1", response.output_text]
        assert sent(server)[-1] == ((False, 3) if fields else (True, 1))


@pytest.mark.parametrize("fields", STORED)
async def test_what_arrived_can_be_kept(shell, fields):
    faults = [Fault(AfterEvent(6), Cut(), request=2)]
    async with (
        serve(reply=["one", "two and more words"], faults=faults) as server,
        shell.connect(server.base_url) as session,
    ):
        talk = session.conversation(model=MODEL, **fields)
        await talk.respond("question 0")
        with pytest.raises(ConnectionLostError) as caught:
            await talk.respond("question 1")
        assert caught.value.verdict is Verdict.UNSAFE
        part = talk.partial.text
        assert part
        assert "two and more words".startswith(part)
        added = talk.resume(accept_partial=True)
        assert (texts(added), added[1]["status"]) == (["question 1", part], "incomplete")
        response = await talk.respond("go on")
        assert texts(talk.history) == ["question 0", "one", "question 1", part, "go on", response.output_text]
        assert reasons(talk)[-1] == ("FORGOTTEN" if fields else "CONTINUES")
        assert sent(server)[-1] == ((False, 5) if fields else (True, 3))


async def test_c_partial_3_without_storage_the_anchor_lasts_as_long_as_the_connection(shell):
    async with serve(reply=WORDS * 2, latency=0.002) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, store=False)
        await talk.respond("question 0")
        for leave, accept, reason in (
            ("abandon", True, "CONTINUES"),
            ("abandon", False, "CONTINUES"),
            ("abort", True, "FORGOTTEN"),
        ):
            async with talk.create("question 1", leave=leave) as turn:
                async for each in turn:
                    if each.type == "response.output_text.delta":
                        break
            talk.resume(accept_partial=accept)
            await talk.respond("go on")
            assert reasons(talk)[-1] == reason
            assert sent(server)[-1] == (
                (False, len(talk.history) - 1) if reason == "FORGOTTEN" else (True, 1 + 2 * accept)
            )


async def test_a_turn_that_is_left_leaves_the_history(shell):
    async with serve(reply=WORDS) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, store=False)
        await talk.respond("question 0")
        async with talk.create("question 1") as turn:
            async for each in turn:
                if each.type == "response.output_text.delta":
                    break
        assert (talk.interrupted, talk.partial.text) == (True, "two")
        await talk.respond("another")
        assert texts(talk.history) == ["question 0", "one", "another", "three"]


async def test_an_incomplete_response_is_no_history_until_it_is_accepted(shell):
    replies = ["one", ["half", Incomplete("max_output_tokens")], "three"]
    async with serve(reply=replies) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        await talk.respond("question 0")
        response = await talk.respond("question 1")
        assert response.status == "incomplete"
        assert (talk.interrupted, len(talk.history)) == (True, 2)
        talk.resume(accept_partial=True)
        await talk.respond("go on")
        assert texts(talk.history)[2:4] == ["question 1", "half"]
        assert sent(server)[-1] == (True, 1)  # The server has all of it.


async def test_one_turn_at_a_time(shell):
    async with serve(reply=WORDS) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        async with talk.create("question 0") as turn:
            with pytest.raises(ConcurrentUseError, match=r"fork\(\) the conversation"):
                await talk.respond("at the same time")
            with pytest.raises(ConcurrentUseError):
                await talk.compact()
            async for _ in turn:
                pass
        with pytest.raises(TypeError):
            await talk.respond("bad", temperature=object())
        await talk.respond("question 1")
        assert texts(talk.history) == ["question 0", "one", "question 1", "two"]


# --- Forks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", STORED)
async def test_forks_run_side_by_side_from_the_same_response(shell, fields):
    async with serve(reply=WORDS, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, **fields)
        await talk.respond("question 0")
        forks = [talk.fork(), talk.fork()]
        async with anyio.create_task_group() as tasks:
            for number, one in enumerate([*forks, talk]):
                tasks.start_soon(one.respond, f"branch {number}")
        assert sent(server) == [(False, 1), *[(True, 1)] * 3]
        assert [one.decisions[-1].reason.name for one in (talk, *forks)] == ["CONTINUES"] * 3
        assert len({entry.lane for entry in server.ledger}) == 3
        for number, one in enumerate([*forks, talk]):
            assert texts(one.history)[:3] == ["question 0", "one", f"branch {number}"]


async def test_the_source_waits_until_its_fork_is_in_progress(shell):
    async with serve(reply=WORDS, latency=0.01) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, store=False)
        await talk.respond("question 0")
        fork = talk.fork()
        async with fork.create("left") as left, talk.create("right") as right:
            types = [each.type async for each in left]
            assert types[1] == "response.in_progress"
            async for _ in right:
                pass
        assert sent(server) == [(False, 1), (True, 1), (True, 1)]
        starts = [entry.input[0]["content"] for entry in server.ledger]
        assert starts == ["question 0", "left", "right"]


async def test_a_fork_that_fails_leaves_its_source_as_it_was(shell):
    faults = [Fault(BeforeRun(), Error(400, "invalid_prompt"), request=2)]
    async with serve(reply=WORDS, strict=True, faults=faults) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, store=False)
        await talk.respond("question 0")
        with pytest.raises(RuntimeError, match="invalid_prompt"):
            await talk.fork().respond("left")
        await talk.respond("right")
        assert reasons(talk) == ["FIRST", "CONTINUES"]
        assert texts(talk.history) == ["question 0", "one", "right", "two"]


# --- Warm-ups, compaction, saving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", STORED)
async def test_a_warm_up_is_continued(shell, fields):
    async with serve(reply=WORDS, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, instructions="Be brief", **fields)
        assert (await talk.warm_up()).output == []
        assert talk.history == []
        await talk.respond("question 0")
        assert sent(server) == [(False, 0), (True, 1)]
        assert reasons(talk) == ["FIRST", "CONTINUES"]


async def test_a_connection_that_is_warm_before_there_is_an_input(shell):
    fields = {"model": MODEL, "instructions": "Be brief", "store": False}
    async with serve(reply=WORDS, strict=True) as server, shell.connect(server.base_url, warm=fields) as session:
        while session.stats.completed == 0:
            await anyio.sleep(0.001)
        first, second, other = (session.conversation(**fields, **more) for more in ({}, {}, {"temperature": 0.5}))
        for talk in (first, second, other):
            await talk.respond("question 0")
        assert [reasons(talk) for talk in (first, second, other)] == [["CONTINUES"], ["CONTINUES"], ["FIRST"]]
        assert sent(server) == [(False, 0), (True, 1), (True, 1), (False, 1)]


async def test_over_http_there_is_no_warm_up(shell):
    fields = {"model": MODEL}
    with pytest.raises(UserError, match="transport is 'http'"):
        shell.connect("http://server.test", transport="http", warm=fields)
    faults = [Fault(Upgrading(), Error(404), times=None)]
    async with serve(reply=WORDS, faults=faults) as server, shell.connect(server.base_url, warm=fields) as session:
        await session.conversation(**fields).respond("question 0")
        assert sent(server) == [(False, 1)]


@pytest.mark.parametrize("transport", ["auto", "websocket"])
async def test_after_a_compaction_it_goes_on_from_what_came(shell, transport):
    async with (
        serve(reply=WORDS, strict=True) as server,
        shell.connect(server.base_url, transport=transport) as session,
    ):
        talk = session.conversation(model=MODEL, store=False, tools=[])
        await talk.respond("question 0")
        await talk.respond("question 1")
        before = talk.usage.total_tokens
        window = await talk.compact()
        assert [item["type"] for item in window] == ["message", "message", "compaction"]
        assert talk.history == window
        assert talk.usage.total_tokens > before
        await talk.respond("question 2")
        assert sent(server)[-1] == (False, 4)
        assert reasons(talk)[-1] == "COMPACTED"


async def test_a_compaction_that_fails_changes_nothing(shell):
    # Lenient, so that there is a turn without a model, which compactions are refused without.
    async with serve(reply=WORDS, strict=False) as server, shell.connect(server.base_url) as session:
        talk = session.conversation()
        await talk.respond("question 0")
        with pytest.raises(ResponsesHTTPError, match="model") as caught:
            await talk.compact()
        assert caught.value.verdict is Verdict.SAFE
        await talk.respond("question 1", model=MODEL)
        assert reasons(talk) == ["FIRST", "FIELDS_CHANGED"]
        assert len(talk.history) == 4


@pytest.mark.parametrize("fields", STORED)
async def test_it_goes_on_in_another_process(shell, fields):
    async with serve(reply=WORDS, strict=True) as server:
        async with shell.connect(server.base_url) as session:
            talk = session.conversation(model=MODEL, **fields)
            await talk.respond("question 0")
            saved = talk.save()
        async with shell.connect(server.base_url) as session:
            talk = session.conversation(model=MODEL, **fields)
            talk.load(saved)
            await talk.respond("question 1")
            assert reasons(talk) == ["FORGOTTEN" if fields else "CONTINUES"]
            talk.replace_history(talk.history[2:])
            await talk.respond("question 2")
            assert reasons(talk)[-1] == "HISTORY_CHANGED"
        assert sent(server) == [(False, 1), (False, 3) if fields else (True, 1), (False, 3)]


async def test_a_turn_that_runs_is_saved_as_interrupted(shell):
    async with serve(reply=["one two three"], latency=0.002) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        async with talk.create("question 0") as turn:
            async for each in turn:
                if each.type == "response.output_text.delta":
                    saved = talk.save()
                    break
        again = session.conversation(model=MODEL)
        again.load(saved)
        assert again.interrupted
        assert texts(again.resume(accept_partial=True))[0] == "question 0"


async def test_a_steered_turn_is_in_the_history(shell):
    async with (
        serve(latency=0.002, reply=["one two three", "short"]) as server,
        shell.connect(server.base_url) as session,
    ):
        talk = session.conversation(model="gpt-6-sol")
        async with talk.create("go") as turn:
            steered = False
            async for _ in turn:
                if not steered:
                    steered = True
                    await turn.steer("Make it shorter")
        assert texts(talk.history) == ["go", "one two three", "Make it shorter", "short"]
        assert talk.response_id == turn.result().id


async def test_calls_are_answered_by_the_next_input(shell):
    async with serve(reply=[Call("f", {}), "done"], strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(
            model=MODEL, tools=[{"type": "function", "name": "f", "parameters": {}, "strict": False}]
        )
        response = await talk.respond("call it")
        (call,) = response.function_calls
        await talk.respond({"type": "function_call_output", "call_id": call.call_id, "output": "42"})
        assert [item.get("type") for item in talk.history][1:3] == ["function_call", "function_call_output"]
