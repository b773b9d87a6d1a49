"""The sync door: the same sessions, turns and conversations, blocking."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest
import turnwire.aio
import turnwire.aio.sync
from kit.processes import run_python
from kit.strict_server import serve_blocking as serve
from turnwire.aio.loopback import AfterEvent, BeforeRun, Call, Cut, Fault, LoopbackServer, Silence, Upgrading
from turnwire.aio.sync import (
    ConcurrentUseError,
    ConnectError,
    Session,
    SessionOptions,
    ToolCall,
    TurnError,
    TurnTimeoutError,
    UserError,
    Verdict,
    connect,
    provider_managed_retries_disabled,
)

MODEL = "gpt-5.4"


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with serve() as server:
        yield server


@pytest.fixture
def session(server: LoopbackServer) -> Iterator[Session]:
    with connect(server.base_url) as session:
        yield session


# --- It is the same --------------------------------------------------------------------------------------------------


def parameters(method: Callable[..., object]) -> list[object]:
    """What can be told of them without their types."""
    return [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize("name", ["Session", "Turn", "Conversation", "SteerOutcome"])
def test_it_has_the_names_arguments_and_words_of_the_shell(name: str):
    mine, theirs = getattr(turnwire.aio.sync, name), getattr(turnwire.aio, name)
    public = {member for member in dir(theirs) if not member.startswith("_")}
    public = {"close" if member == "aclose" else member for member in public}
    assert {member for member in dir(mine) if not member.startswith("_")} == public
    for member in public - {"close"}:
        own, other = inspect.getattr_static(mine, member), inspect.getattr_static(theirs, member)
        text = inspect.getdoc(own)
        assert text, member
        assert not re.search(r"\bawait |\basync (?:with|for)\b|aclose", text), member
        if inspect.isfunction(own) and (name, member) != ("Session", "respond"):  # Written out, for its overloads.
            assert parameters(own) == parameters(other), member


def test_its_connect_has_the_arguments_of_the_shells_and_every_other_name_is_theirs():
    assert inspect.signature(connect).parameters == inspect.signature(turnwire.aio.connect).parameters
    assert set(turnwire.aio.sync.__all__) == {name for name in turnwire.aio.__all__ if not name.endswith("Model")}, (
        "models are for the Agents SDK, which is async"
    )


# --- Turns -----------------------------------------------------------------------------------------------------------


def test_a_turn_is_iterated_over(session: Session):
    with session.create(model=MODEL, input="One two three") as turn:
        types = [event.type for event in turn]
    assert (types[0], types[-1]) == ("response.created", "response.completed")
    assert turn.result().output_text == turn.partial.text == "One two three"
    assert (turn.transport, turn.verdict, turn.evidence) == ("websocket", None, None)
    assert turn.response is not None
    assert turn.response_id == turn.response.id == turn.responses[0].id
    with session.create(model=MODEL, input="One two three", stream_id="lane") as turn:
        assert list(turn.text_deltas()) == ["One", " two", " three"]
    assert turn.stream_id == "lane"
    assert "lane='lane'" in repr(turn)


def test_a_turn_that_is_left_is_abandoned():
    silence = Fault(AfterEvent(4), Silence(), request=1)
    with serve(faults=[silence]) as server, connect(server.base_url) as session:
        with session.create(model=MODEL, input="One two three") as turn:
            for event in turn:
                if event.type == "response.output_item.added":
                    break
        assert turn.verdict is Verdict.UNSAFE
        with pytest.raises(TurnError):
            turn.result()
        assert session.respond(model=MODEL, input="Next.").output_text == "Next."
        assert session.stats.connections == 2, "its connection was aborted"


def test_an_iterator_of_texts_that_is_dropped_is_closed(session: Session):
    with session.create(model=MODEL, input="One two three") as turn:
        for text in turn.text_deltas():
            assert text == "One"
            break
        texts = turn.text_deltas()
        assert next(texts) == " two"
        texts.close()
        assert list(texts) == []
        assert turn.partial.text == "One two"


def test_the_failure_of_a_turn_is_raised_as_it_is():
    with serve(faults=[Fault(AfterEvent(3), Cut())]) as server, connect(server.base_url) as session:
        with pytest.raises(TurnError) as caught:
            session.respond(model=MODEL, input="One.")  # This line is in the traceback.
    assert caught.value.verdict is Verdict.UNSAFE
    assert caught.value.response_id == server.ledger[0].response_id
    told = "".join(traceback.format_exception(caught.value))
    assert "This line is in the traceback." in told
    assert "ExceptionGroup" not in told


def test_times_run_out_as_in_the_shell():
    with serve(faults=[Fault(BeforeRun(), Silence())]) as server, connect(server.base_url) as session:
        with pytest.raises(TurnTimeoutError):
            session.respond(model=MODEL, input="One.", timeout=0.05)


def test_what_cannot_be_is_refused_in_the_callers_line(server: LoopbackServer):
    with pytest.raises(UserError, match="base URL"):
        connect("ftp://host")
    with pytest.raises(ConnectError):
        connect("http://127.0.0.1:1/v1", options=SessionOptions(connect_timeout=0.2))
    session = connect(server.base_url)
    session.close()
    session.close()
    with pytest.raises(UserError, match="closed"):
        session.respond(model=MODEL, input="One.")


def test_what_else_a_session_has(session: Session, server: LoopbackServer):
    seen: list[str] = []
    session.on("connection_closed", lambda notice: seen.append(threading.current_thread().name))
    response = session.respond(model=MODEL, input="One.", background=True)
    assert session.retrieve(response.id).output_text == "One."
    numbers = [event.sequence_number for event in session.retrieve_stream(response.id, starting_after=2)]
    assert numbers[0] == 3
    for event in session.retrieve_stream(response.id):
        assert event.type == "response.created"
        break
    assert session.dialect.name == "openai"
    assert session.stats.completed == 1
    assert session.connections[-1].running == 0
    assert not session.rate_limits.events
    session.drain(1)
    assert set(seen) == {"turnwire"}, "hooks of a session run in the event loop"
    with pytest.raises(UserError, match="closed"):
        session.respond(model=MODEL, input="One.")


def test_a_turn_is_steered():
    replies = ["It rains in Bergen.", "Rain."]
    with serve(reply=[*replies, "Next."], latency=0.005) as server, connect(server.base_url) as session:
        with session.create(model="gpt-6-sol", input="The weather?") as turn:
            outcome = turn.steer("Make it shorter")
            assert outcome.state == "accepted"
            assert [event.type for event in turn].count("response.completed") == 2
        outcome.settled()
        assert outcome.successor_id == turn.response_id
        (same,) = turn.outcomes
        assert same.is_settled
        same.settled()
        assert [response.output_text for response in turn.responses] == replies
        assert turn.steers[0][0]["role"] == "user"
        with session.create(model="gpt-6-sol", input="Next.") as turn, pytest.raises(UserError):
            turn.inject([{"type": "function_call_output", "call_id": "c", "output": "x"}])


def test_the_callers_context_holds(server: LoopbackServer):
    with serve(faults=[Fault(BeforeRun(), Cut(), request=1)]) as server, connect(server.base_url) as session:
        with provider_managed_retries_disabled(), pytest.raises(TurnError):
            session.respond(model=MODEL, input="One.", generate=False)
        assert session.stats.repeated == 0


# --- Conversations ---------------------------------------------------------------------------------------------------


def test_a_conversation(session: Session):
    talk = session.conversation(model=MODEL)
    assert talk.warm_up().status == "completed"
    assert talk.respond("One.").output_text == "One."
    with talk.create("Two.") as turn:
        assert "RUNNING" in repr(talk)
        list(turn)
    assert [decision.sent for decision in talk.decisions] == ["full", "delta", "delta"]
    fork = talk.fork()
    assert fork.respond("Three.").output_text == "Three."
    assert (len(fork.history), len(talk.history)) == (6, 4)
    saved = talk.save()
    other = session.conversation(model=MODEL)
    other.load(saved)
    assert other.history == talk.history
    assert other.response_id == talk.response_id
    other.compact()
    other.replace_history([{"role": "user", "content": "Hm"}])
    assert other.respond("Four.").output_text == "Four."
    assert talk.usage.total_tokens > 0


def test_a_conversation_goes_on_after_an_interruption():
    with serve(faults=[Fault(AfterEvent(5), Cut(), request=1)]) as server, connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        with pytest.raises(TurnError):
            talk.respond("One two")
        assert (talk.interrupted, talk.partial.text) == (True, "One")
        assert talk.retry().output_text == "One two"
        with talk.create("Three four") as turn:
            next(turn.text_deltas())
        assert talk.resume(accept_partial=True)[1]["content"][0]["text"] == "Three"


def test_turns_are_written_down_in_the_callers_thread_before_they_are_sent(session: Session, server: LoopbackServer):
    database = sqlite3.connect(":memory:")
    database.execute("create table saved (text)")
    talk = session.conversation(model=MODEL)
    talk.before_send(lambda text: database.execute("insert into saved values (?)", (text,)))
    talk.respond("One.")
    with talk.create("Two.") as turn:
        list(turn)
    (_,), (second,) = database.execute("select text from saved")
    database.close()
    other = session.conversation(model=MODEL)
    other.load(second)
    assert (other.interrupted, other.verdict, other.interrupted_id) == (True, Verdict.AMBIGUOUS, None)
    other.adopt(session.retrieve(server.ledger[1].response_id))
    assert other.history == talk.history


def test_a_loop_is_steered_while_its_tools_run():
    def plainly() -> str:
        assert talk.steer("In Celsius.") is None
        return "12"

    with serve(reply=[Call("plainly", {}), "Done."]) as server, connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        talk.run("Go.", tools=[plainly])
        assert [item.get("role") or item["type"] for item in talk.history][1:4] == [
            "function_call",
            "function_call_output",
            "user",
        ]


def test_tools_run_where_they_should_and_hooks_run_in_the_callers_thread(session: Session, server: LoopbackServer):
    threads: dict[str, threading.Thread] = {}
    here = threading.current_thread()
    database = sqlite3.connect(":memory:")  # It can be used in the thread alone that made it.
    database.execute("create table saved (text)")

    async def slowly(n: int) -> int:
        threads["slowly"] = threading.current_thread()
        await asyncio.sleep(0)
        return n

    def plainly(n: int) -> str:
        threads["plainly"] = threading.current_thread()
        return session.respond(model=MODEL, input=f"A question of the tool's, {n}").output_text

    def changed(call: ToolCall) -> None:
        assert threading.current_thread() is here
        database.execute("insert into saved values (?)", (talk.save(),))

    async def approved(call: ToolCall) -> bool:
        return threading.current_thread() is not here

    script = [[Call("slowly", {"n": 1}), Call("plainly", {"n": 2})], "A question of the tool's, 2", "Done."]
    with serve(reply=script) as server, connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        events: list[threading.Thread] = []
        response = talk.run(
            "Go.",
            tools=[slowly, plainly],
            on_call=changed,
            approve=approved,
            on_event=lambda event: events.append(threading.current_thread()),
        )
    assert response.output_text == "Done."
    assert set(events) == {here}
    assert threads["slowly"].name == "turnwire"
    assert threads["plainly"] not in (here, threads["slowly"])
    outputs = [item["output"] for item in talk.history if item.get("type") == "function_call_output"]
    assert outputs == ["1", "A question of the tool's, 2"]
    assert database.execute("select count(*) from saved").fetchone() == (4,)
    database.close()


def test_what_a_hook_or_a_tool_raises_comes_out():
    def approve(call: ToolCall) -> bool:
        raise ZeroDivisionError

    def leave() -> None:
        raise SystemExit(3)

    script = [Call("leave", {}), "Done."]
    with serve(reply=script) as server, connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        with pytest.raises(ZeroDivisionError):
            talk.run("Go.", tools=[leave], approve=approve)
        with pytest.raises(SystemExit):
            talk.run()
        assert talk.run().output_text == "Done.", "the event loop goes on"


def test_a_loop_is_steered_from_its_tools_and_its_hooks():
    outcomes = []

    def look(path: str) -> str:
        outcomes.append(talk.steer("In French."))
        return path

    def on_event(event) -> None:
        if event.type == "response.output_text.delta" and len(outcomes) == 1:
            outcomes.append(talk.steer("Shorter!"))

    with (
        serve(reply=[Call("look", {"path": "a"}), "A long story.", "Court."], latency=0.002) as server,
        connect(server.base_url) as session,
    ):
        talk = session.conversation(model="gpt-6-sol")
        assert talk.run("Go.", tools=[look], on_event=on_event).output_text == "Court."
        assert outcomes[0] is None
        assert outcomes[1].state == "committed"


def test_a_blocking_call_within_the_event_loop_is_an_error_and_no_deadlock(session: Session, server: LoopbackServer):
    async def ask() -> str:
        assert session.stats.connections == 1, "what does not wait can be called"
        return session.respond(model=MODEL, input="One.").output_text

    with serve(reply=[Call("ask", {}), "Done."]) as server, connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        talk.run("Go.", tools=[ask], on_error=lambda call, error: f"{type(error).__name__}: {error}")
    (output,) = [item["output"] for item in talk.history if item.get("type") == "function_call_output"]
    assert output.startswith(f"{ConcurrentUseError.__name__}: a blocking call")


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ctrl_c_when(ready: object) -> Iterator[None]:
    """SIGINT for the main thread as soon as ``ready()`` is true, until it has gone off."""
    main = threading.main_thread().ident
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.001):
            if ready():  # type: ignore[operator]
                signal.pthread_kill(main, signal.SIGINT)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there are no signals for a thread")
def test_ctrl_c_interrupts_a_turn():
    silences = [Fault(AfterEvent(5), Silence(), request=1), Fault(BeforeRun(), Silence(), connection=2)]
    with serve(faults=silences) as server, connect(server.base_url) as session:
        seen: list[object] = []
        with pytest.raises(KeyboardInterrupt), ctrl_c_when(lambda: len(seen) == 5):
            with session.create(model=MODEL, input="One two three") as turn:
                seen.extend(turn)
        assert turn.verdict is Verdict.UNSAFE
        assert turn.partial.text == "One"
        talk = session.conversation(model=MODEL)
        with pytest.raises(KeyboardInterrupt), ctrl_c_when(lambda: session.connections[-1].running):
            talk.respond("Four.")
        assert talk.interrupted
        assert talk.retry().output_text == "Four."
        assert [entry.outcome for entry in server.ledger] == ["silenced", "completed"], "the server ran it once"


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there are no signals for a thread")
def test_ctrl_c_interrupts_opening_and_tools_and_hooks():
    begun = threading.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def asked(call: ToolCall) -> bool:
        begun.set()
        time.sleep(60)  # As long as somebody needs to answer.
        return True

    with serve(faults=[Fault(Upgrading(), Silence(), connection=1)]) as server:
        with pytest.raises(KeyboardInterrupt), ctrl_c_when(lambda: server.connections):
            connect(server.base_url)
    with serve(reply=[Call("forever", {}), "Done."]) as server, connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        with pytest.raises(KeyboardInterrupt), ctrl_c_when(begun.is_set):
            talk.run("Go.", tools=[forever], approve=asked)
        assert talk.interrupted is False
        begun.clear()
        states: list[str] = []
        with pytest.raises(KeyboardInterrupt), ctrl_c_when(begun.is_set):
            talk.run(on_call=lambda call: states.append(call.state.name))
        assert states == ["RUNNING"]
        assert talk.run().output_text == "Done.", "the tool is not run again"
        assert "interrupted" in talk.history[-2]["output"]


# --- Threads, processes, other loops ---------------------------------------------------------------------------------


def test_several_threads_use_one_session(session: Session, server: LoopbackServer):
    wrong: list[str] = []

    def ask(number: int) -> None:
        talk = session.conversation(model=MODEL)
        for turn in range(5):
            text = f"{number}.{turn}"
            if (said := talk.respond(text).output_text) != text:
                wrong.append(said)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert session.stats.completed == 40
    assert len([one for one in threading.enumerate() if one.name == "turnwire"]) == 1


def test_it_works_where_an_event_loop_runs(server: LoopbackServer):
    async def cell() -> str:
        with connect(server.base_url) as session:
            return session.respond(model=MODEL, input="In a notebook.").output_text

    assert asyncio.run(cell()) == "In a notebook."


FORK = """
import os, sys
from turnwire.aio.sync import SessionClosedError, connect
from turnwire.aio.sync import loopback
with loopback.serve(strict=True) as server, connect(server.base_url) as session:
    assert session.respond(model="m", input="One.").output_text == "One."
    talk = session.conversation(model="m")
    sys.stdout.flush()
    if not (child := os.fork()):
        session.close()
        for use in (lambda: session.respond(model="m", input="Two."), lambda: talk.history, lambda: talk.respond("Hm")):
            try:
                use()
            except SessionClosedError as error:
                print(error)
        print(repr(talk).startswith("<turnwire.aio.sync._session.Conversation object"))
        with connect(server.base_url) as own:
            print(own.respond(model="m", input="Child.").output_text)
        sys.exit()
    print(os.waitpid(child, 0)[1])
    print(session.respond(model="m", input="Parent.").output_text, session.stats.connections)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork")
def test_a_child_process_opens_a_session_of_its_own_and_leaves_its_parents_alone():
    lines = run_python(FORK, "-W", "error", "-W", "ignore::DeprecationWarning").splitlines()
    assert lines[:3] == [lines[0]] * 3
    assert "opened before this process was forked" in lines[0]
    assert lines[3:] == ["True", "Child.", "0", "Parent. 1"]


EXIT = """
import os, threading
from turnwire.aio.sync import connect
session = connect(os.environ["OPENAI_BASE_URL"])
session.on("connection_closed", lambda notice: print("closed", flush=True))
session.respond(model="m", input="One.")
waits = threading.Event()
def wait():
    with session.create(model="m", input="Two.") as turn:
        for event in turn:
            waits.set()
threading.Thread(target=wait, daemon=True).start()
waits.wait()
print("end", flush=True)
"""


def test_the_interpreter_exits_at_once_and_closes_what_is_open():
    with serve(faults=[Fault(AfterEvent(3), Silence(), request=2)]) as server:
        assert run_python(EXIT, "-W", "error", OPENAI_BASE_URL=server.base_url).splitlines() == ["end", "closed"]
