"""The doors of conversations, without sockets: what they ask the session for, and what they tell the machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kit.machines import ENDPOINT, Wire, answer, steady
from kit.peers import event
from kit.stepping import SteppedShell, finished
from turnwire.sansio import client, conversations
from turnwire.sansio.admission import new_turn
from turnwire.sansio.connection import Turn
from turnwire.sansio.conversation import DecisionReason, check_warm_up
from turnwire.sansio.errors import (
    ConcurrentUseError,
    ConnectionLostError,
    ResponsesHTTPError,
    ResponsesWebSocketError,
    UserError,
)
from turnwire.sansio.events import decode_event
from turnwire.sansio.http import Compaction, HttpConnection
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.omit import OMIT
from turnwire.sansio.partial import Partial
from turnwire.sansio.replay import RecoveryPolicy, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts

SHELL = SteppedShell()
FIELDS = {"model": "m", "store": False}
USAGE = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}


class Conversation(conversations.Conversation, shell=SHELL):
    pass


class Session(client.Session[Conversation], shell=SHELL):
    _conversation = Conversation


def item(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


class Server:
    """Answers each request at once, with the next of ``answers``; it is also the runtime of the conversations."""

    def __init__(self, *answers: Any, **options: Any) -> None:
        chosen = {"ping_interval": None, "recovery": RecoveryPolicy(initial_delay=0), **options}
        self.session = ResponsesSession(options=SessionOptions(**chosen), random_bytes=steady)
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.wire: Wire | None = None
        self.now = 100.0
        self.held: list[Callable[[], None]] = []
        """What the server says later."""

    # -- the runtime

    @property
    def fell_back(self) -> bool:
        return self.session.fell_back

    def create(self, body: Any, lane: Any, timeouts: object, follows: Any = None) -> Turn:
        turn = new_turn(self.session.options, body, lane=lane, timeouts=timeouts, now=self.now, follows=follows)
        return self.session.submit(turn, self.now)

    def compaction(self, body: Any, *, timeout: object) -> Compaction:
        return Compaction(body, timeouts=Timeouts(), now=self.now)

    def submit(self, turn: Turn) -> Turn:
        return self.session.submit(turn, self.now)

    async def iterate(self, turn: Turn) -> Any:
        while not turn.events and not turn.ended:
            self.step()
        found = turn.next_event()
        if found is None:
            raise StopAsyncIteration
        return found

    async def until(self, holds: Callable[[], bool], turn: Turn) -> None:
        while not holds():
            self.step()

    def cancel(self, turn: Turn) -> None:
        self.session.cancel(turn, self.now)

    # -- the server

    def step(self) -> None:
        """Do the next thing that there is to do."""
        if self.session.wants_connection(self.now):
            connection = self.session.open(ENDPOINT, self.now)
            if isinstance(connection, HttpConnection):
                self.compact(connection)
                return
            self.wire = Wire(connection)
            self.wire.accept()
            self.update()
        requests = [] if self.wire is None else [one for one in self.wire.sent() if isinstance(one, dict)]
        for request in requests:
            self.requests.append(request)
            self.say(request, self.answers.pop(0))
        if not requests:
            self.held.pop(0)()
        self.update()

    def update(self) -> None:
        self.session.update(self.now, *self.session.pool)

    def say(self, request: dict[str, Any], said: Any) -> None:
        assert self.wire is not None
        wire, lane, name = self.wire, {"stream_id": request["stream_id"]}, f"r{len(self.requests)}"
        begun = event("response.created", response={"id": name, "output": []}, **lane)
        running = event("response.in_progress", response={"id": name, "output": []}, **lane)
        if said == "cut":
            wire.receive(begun, running)
            wire.eof()
            return
        if said == "refused":
            error = {"type": "invalid_request_error", "code": "invalid_prompt", "message": "No."}
            wire.receive(event("error", status=400, error=error, **lane))
            return
        status, output = said if isinstance(said, tuple) else ("completed", [item(said)])
        ended = {"id": name, "status": status, "output": output, "usage": USAGE}
        end = event(f"response.{status}", response=ended, **lane)
        if status == "held":
            self.held += [lambda: wire.receive(begun), lambda: wire.receive(running), lambda: wire.eof()]
        else:
            wire.receive(begun, running, end)

    def compact(self, connection: HttpConnection) -> None:
        connection.transport_connected(self.now)
        request = connection.data_to_send(65536, self.now)
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/responses/compact?secret=hush ")
        self.requests.append(json.loads(body))
        connection.receive_data(self.answers.pop(0), self.now)
        self.update()

    def talk(self, **fields: Any) -> Any:
        return Session(self).conversation(**{**FIELDS, **fields})  # type: ignore[arg-type]


def run(coroutine: Any) -> Any:
    return finished(coroutine)


def test_turns_go_on_from_each_other() -> None:
    """C-DELTA-2, C-HISTORY-2, C-HISTORY-4."""
    server = Server("ONE", "TWO")
    talk = server.talk()
    assert (talk.response_id, talk.partial.text, talk.interrupted) == (None, "", False)
    assert talk._runner.arrived() == []
    assert run(talk.respond("one")).output_text == "ONE"
    assert run(talk.respond("two", temperature=0.5, client_metadata={})).output_text == "TWO"
    assert [("previous_response_id" in one, len(one["input"])) for one in server.requests] == [(False, 1), (False, 3)]
    assert talk.decisions[-1].changed == ("temperature",)
    assert [each.get("role") for each in talk.history] == ["user", "assistant"] * 2
    assert (talk.usage.total_tokens, talk.response_id, talk.partial.text) == (6, "r2", "TWO")
    assert repr(talk) == "<Conversation IDLE items=4>"


async def entered(turn: Any, most: int | None = None) -> list[str]:
    types = []
    async with turn:
        async for each in turn:
            types.append(each.type)
            if len(types) == most:
                break
    return types


def test_a_turn_that_is_left_was_interrupted_though_all_of_it_had_come() -> None:
    """C-PARTIAL-4, C-HISTORY-2."""
    server = Server("ONE", "TWO")
    talk = server.talk()
    assert run(entered(talk.create("one"), 1)) == ["response.created"]
    assert talk.interrupted
    assert talk.history == []
    assert talk.resume(accept_partial=True) == [{"role": "user", "content": "one"}]
    assert run(entered(talk.create("two")))[-1] == "response.completed"
    assert len(talk.history) == 3


async def twice(talk: Any) -> None:
    async with talk.create("one"):
        with pytest.raises(ConcurrentUseError):
            await talk.respond("two")
        talk.save()


def test_one_turn_at_a_time() -> None:
    """C-HISTORY-3."""
    server = Server("ONE")
    talk = server.talk()
    run(twice(talk))
    assert talk.interrupted


def test_a_turn_that_cannot_be_sent_changes_nothing() -> None:
    talk = Server().talk()
    with pytest.raises(TypeError):
        run(talk.respond("one", temperature=object()))
    with pytest.raises(UserError):
        run(talk.respond("one", background=True, store=True, generate=False))
    server = Server(transport="websocket")
    talk = server.talk()
    with pytest.raises(UserError, match="background"):
        run(talk.respond("one", background=True))
    assert talk.decisions == ()


def test_what_was_cut_can_be_kept_or_tried_again() -> None:
    """C-PARTIAL-1, C-HISTORY-2."""
    server = Server("ONE", "cut", "TWO", "cut", ("incomplete", [item("HALF")]), ("failed", []))
    talk = server.talk()
    run(talk.respond("one"))
    with pytest.raises(ConnectionLostError) as caught:
        run(talk.respond("two", temperature=0.5))
    assert caught.value.verdict is Verdict.UNSAFE
    assert run(talk.retry()).output_text == "TWO"
    assert server.requests[-1]["temperature"] == 0.5
    with pytest.raises(ConnectionLostError):
        run(talk.respond("three"))
    saved = talk.save()
    again = server.talk()
    again.load(saved)
    assert again.interrupted
    assert run(again.retry()).status == "incomplete"
    again.resume(accept_partial=True)
    assert again.response_id == "r5"
    assert run(again.respond("four")).status == "failed"
    assert again.resume(accept_partial=False) == []
    again.replace_history([])
    assert again.history == []


def test_c_save_4_turns_are_written_down_before_they_are_sent() -> None:
    """C-SAVE-4, C-SAVE-5."""
    server = Server("ONE", "warm", "cut", "refused")
    talk, written, sent = server.talk(), [], []

    def write(text: str) -> None:
        written.append(text)
        sent.append(len(server.requests))

    talk.before_send(write)
    run(talk.respond("one"))
    assert talk.verdict is talk.interrupted_id is None
    run(talk.warm_up())
    with pytest.raises(ConnectionLostError):
        run(talk.respond("two"))
    with pytest.raises(ResponsesWebSocketError):
        run(talk.retry())
    assert (talk.verdict, talk.interrupted_id) == (Verdict.SAFE, None)
    assert sent == [0, 2, 3], "a warm-up is no turn that could be done twice"
    again = server.talk()
    again.load(written[1])
    assert (again.interrupted, again.verdict, again.interrupted_id) == (True, Verdict.AMBIGUOUS, None)
    again.load(talk.save())
    assert again.verdict is Verdict.SAFE

    def full(text: str) -> None:
        raise OSError("No space left on device")

    talk.before_send(full)
    before = talk.save()
    with pytest.raises(OSError, match="No space"):
        run(talk.respond("four"))
    assert (talk.save(), len(server.requests)) == (before, 4)


def test_c_save_5_a_successor_knows_the_response_and_adopts_it() -> None:
    """C-SAVE-5, C-PARTIAL-5."""
    server = Server("cut", "TWO")
    talk = server.talk()
    with pytest.raises(ConnectionLostError):
        run(talk.respond("one"))
    again = server.talk()
    again.load(talk.save())
    assert (again.verdict, again.interrupted_id) == (Verdict.UNSAFE, "r1")

    def retrieved(status: str) -> Any:
        response = {"id": "r1", "status": status, "output": [item("ONE")], "usage": USAGE}
        text = json.dumps({"type": f"response.{status}", "response": response})
        return decode_event(text.encode()).response

    with pytest.raises(UserError, match="in_progress"):
        again.adopt(retrieved("in_progress"))
    again.adopt(retrieved("completed"))
    assert [one.get("role") for one in again.history] == ["user", "assistant"]
    assert again.usage.total_tokens == 3
    assert run(again.respond("two")).output_text == "TWO"
    assert again.decisions[-1].reason is DecisionReason.FORGOTTEN


def test_the_core_says_what_it_has_sent() -> None:
    """C-DELTA-4, C-DELTA-6, C-DELTA-9."""
    server = Server("ONE", "TWO")
    talk = server.talk()
    run(talk.respond("one"))
    assert server.wire is not None
    server.wire.eof()
    server.update()
    run(talk.respond("two"))
    assert talk.decisions[-1].reason is DecisionReason.FORGOTTEN


def test_p_cont_3_a_refusal_on_the_lane_of_the_response_before_forgets_it() -> None:
    """C-DELTA-4, C-DELTA-10."""
    server = Server("ONE", "refused", "TWO", "refused", "THREE", "FOUR")
    talk = server.talk()
    run(talk.respond("one"))
    with pytest.raises(ResponsesWebSocketError):
        run(talk.respond("two"))
    run(talk.respond("two"))
    with pytest.raises(ResponsesWebSocketError):
        run(talk.fork().respond("fork"))
    run(talk.respond("three"))
    run(talk.respond("four"))
    assert [one.reason.name for one in talk.decisions] == [
        "FIRST",
        "CONTINUES",  # Refused.
        "FORGOTTEN",
        "CONTINUES",  # The fork was refused on another lane.
        "CONTINUES",
    ]
    assert [len(one["input"]) for one in server.requests] == [1, 1, 3, 1, 1, 1]
    assert {server.requests[at]["stream_id"] for at in (0, 1, 2, 4, 5)} == {"auto-1"}


def test_p_cont_3_a_stored_response_is_continued_by_its_id_all_the_same() -> None:
    server = Server("ONE", "refused", "TWO")
    talk = server.talk(store=True)
    run(talk.respond("one"))
    with pytest.raises(ResponsesWebSocketError):
        run(talk.respond("two"))
    run(talk.respond("two"))
    assert [one.reason.name for one in talk.decisions] == ["FIRST", "CONTINUES", "CONTINUES"]


# --- Forks -----------------------------------------------------------------------------------------------------------


async def while_a_fork_begins(talk: Any, fork: Any) -> list[str]:
    async with fork.create("left") as left:
        async with talk.create("right") as right:
            assert left._core.in_progress
            types = [each.type async for each in right]
        with pytest.raises(ConnectionLostError):
            async for _ in left:
                pass
    return types


def test_the_source_waits_for_its_fork() -> None:
    """C-FORK-2, C-HISTORY-3."""
    server = Server("ONE", ("held", []), "RIGHT")
    talk = server.talk()
    run(talk.respond("one"))
    fork, other = talk.fork(), talk.fork(temperature=1.0).fork()
    assert run(while_a_fork_begins(talk, fork))[-1] == "response.completed"
    assert [one.get("previous_response_id") for one in server.requests] == [None, "r1", "r1"]
    assert fork.interrupted
    assert not other.interrupted
    assert len(talk.history) == 4


def test_a_fork_goes_in_full_once_the_memory_has_not_its_anchor_any_more() -> None:
    """C-FORK-2, by C-DELTA-4."""
    server = Server("ONE", "LEFT")
    talk = server.talk()
    run(talk.respond("one"))
    fork = talk.fork()
    assert server.wire is not None
    server.wire.eof()
    server.update()
    run(fork.respond("left"))
    assert fork.decisions[-1].reason is DecisionReason.FORGOTTEN
    assert len(server.requests[-1]["input"]) == 3


def test_a_conversation_that_was_given_a_lane_has_that_one() -> None:
    """C-DELTA-10."""
    server = Server("ONE", "TWO", "THREE")
    talk = Session(server).conversation(**FIELDS, stream_id="main")  # type: ignore[arg-type]
    run(talk.respond("one"))
    run(talk.respond("two"))
    run(talk.respond("three", temperature=0.5))
    assert [(one["stream_id"], len(one["input"])) for one in server.requests] == [("main", 1), ("main", 1), ("main", 5)]


def test_the_forks_of_a_response_are_not_kept() -> None:
    """C-FORK-2."""
    server = Server("ONE", "LEFT", "RIGHT")
    talk = server.talk()
    run(talk.respond("one"))
    forks = [talk.fork(), talk.fork()]
    for each in forks:
        run(each.respond("x"))
    assert len(talk._runner.settled().anchor.forks) == 1


def test_what_was_steered_is_in_the_history() -> None:
    def response(name: str) -> Any:
        carried = {"id": name, "output": [item(name)]}
        return decode_event(json.dumps({"type": "response.completed", "response": carried}).encode()).response

    responses = [response("r1"), response("r2")]
    steered = {"role": "user", "content": "left"}
    more = {"steers": [[steered], []], "events": (), "response": responses[-1], "partial": Partial(response_id="r2")}
    runner = Server().talk()._runner
    runner._core = SimpleNamespace(responses=responses, **more)
    assert runner.arrived() == [item("r1"), steered, item("r2")]


async def history_within(turn: Any, talk: Any) -> list[Any]:
    async with turn:
        async for _ in turn:
            pass
        return talk.history


def test_the_history_is_known_before_the_turn_is_left() -> None:
    class Mine(Conversation):
        """A class of the caller's."""

    server = Server("ONE")
    talk = Mine(server, FIELDS, AUTO, OMIT, None)  # type: ignore[arg-type]
    assert len(run(history_within(talk.create("one"), talk))) == 2
    assert not talk.interrupted


def test_a_loop_of_tools() -> None:
    """C-TOOL-5."""
    call = {
        "type": "function_call",
        "id": "fc",
        "call_id": "c1",
        "name": "double",
        "arguments": '{"x":2}',
        "status": "completed",
    }
    server = Server(("completed", [call]), "cut", "4", "again")
    talk = server.talk()

    async def double(x: int) -> int:
        return 2 * x

    heard: list[str] = []
    with pytest.raises(ConnectionLostError):
        run(talk.run("2 times 2?", tools=[double], on_event=lambda each: heard.append(each.type)))
    assert heard.count("response.completed") == 1
    assert run(talk.run()).output_text == "4"
    assert server.requests[1]["input"] == [{"type": "function_call_output", "call_id": "c1", "output": "4"}]
    assert len(talk.history) == 4
    assert run(talk.fork().run("go on")).output_text == "again"


# --- Warm-ups --------------------------------------------------------------------------------------------------------


def test_a_warm_up_is_a_turn_without_input() -> None:
    """C-WARM-1."""
    server = Server(("completed", []), "ONE")
    talk = server.talk()
    run(talk.warm_up())
    run(talk.respond("one"))
    assert [one.get("generate") for one in server.requests] == [False, None]
    assert server.requests[1]["previous_response_id"] == "r1"


def test_the_warm_up_of_a_session_is_the_first_conversations() -> None:
    """C-WARM-2."""
    server = Server(("completed", []), "ONE", "TWO", "THREE", "FOUR")
    session = Session(server)  # type: ignore[arg-type]
    session._warm_up(FIELDS)
    early = session.conversation(**FIELDS)
    server.step()
    talks = [session.conversation(**{**FIELDS, **more}) for more in ({"model": "other"}, {}, {})]
    for talk in (*talks, early):
        run(talk.respond("x"))
    found = [talk.decisions[-1].reason for talk in talks]
    assert found == [DecisionReason.FIRST, DecisionReason.CONTINUES, DecisionReason.CONTINUES]
    used = session.conversation(**FIELDS)
    used.replace_history([item("old")])
    server.answers.append("FIVE")
    run(used.respond("x"))
    assert used.decisions[-1].reason is DecisionReason.FIRST


def test_where_turns_go_over_http_there_is_none() -> None:
    """C-WARM-2."""
    server = Server()
    server.session._fallback._http_until = float("inf")
    session = Session(server)  # type: ignore[arg-type]
    session._warm_up(FIELDS)
    assert session._warmed is None
    with pytest.raises(UserError, match="transport is 'http'"):
        check_warm_up(FIELDS, "http")
    check_warm_up(FIELDS, "auto")
    with pytest.raises(UserError, match="generate"):
        check_warm_up({"generate": True}, "auto")


# --- Compaction ------------------------------------------------------------------------------------------------------

WINDOW = [{"type": "message", "role": "user", "content": "one"}, {"type": "compaction", "encrypted_content": "g"}]


def compacted(**more: Any) -> bytes:
    return answer(200, json.dumps({"object": "response.compaction", "output": WINDOW, "usage": USAGE, **more}))


@pytest.mark.parametrize("transport", ["auto", "websocket"])
def test_a_compaction_replaces_the_history(transport: Any) -> None:
    """C-COMPACT-1."""
    server = Server("ONE", compacted(), "TWO", transport=transport)
    talk = server.talk(instructions="Be brief")
    run(talk.respond("one"))
    assert run(talk.compact()) == talk.history == WINDOW
    assert server.requests[1] == {"model": "m", "instructions": "Be brief", "input": server.requests[1]["input"]}
    assert len(server.requests[1]["input"]) == 2
    assert talk.usage.total_tokens == 6
    run(talk.respond("two"))
    assert len(server.requests[2]["input"]) == 3
    assert server.session.stats.turns == 2


def test_a_compaction_is_repeated_only_if_it_did_not_run() -> None:
    """C-COMPACT-1."""
    server = Server("ONE", compacted())
    talk = server.talk()
    run(talk.respond("one"))
    compact, failures = server.compact, [True]

    def fail_first(connection: HttpConnection) -> None:
        if failures and failures.pop():
            server.session.transport_failed(connection, "refused", server.now)
        else:
            compact(connection)

    server.compact = fail_first  # type: ignore[method-assign]
    assert run(talk.compact()) == WINDOW
    server = Server("ONE")
    talk = server.talk()
    run(talk.respond("one"))

    lost: list[HttpConnection] = []

    def lose(connection: HttpConnection) -> None:
        lost.append(connection)
        connection.transport_connected(server.now)
        assert connection.data_to_send(1 << 20, server.now)
        connection.receive_data(b"", server.now)
        server.update()

    server.compact = lose  # type: ignore[method-assign]
    with pytest.raises(ConnectionLostError) as caught:
        run(talk.compact())
    assert caught.value.verdict is Verdict.AMBIGUOUS
    assert (len(lost), len(talk.history)) == (1, 2)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(400, '{"error": {"message": "no", "code": "bad"}}'), ResponsesHTTPError),
        (answer(200, '{"id": "resp_1", "object": "response"}'), Exception),
        (answer(200, '{"output": [' + "[" * 3000 + "]" * 3000 + "]}"), Exception),
        (answer(200, "<html>"), Exception),
    ],
)
def test_a_compaction_that_fails_changes_nothing(said: bytes, error: Any) -> None:
    """C-COMPACT-1."""
    server = Server("ONE", said)
    talk = server.talk()
    run(talk.respond("one"))
    before = talk.save()
    with pytest.raises(error):
        run(talk.compact(timeout=5.0))
    assert talk.save() == before
