"""Sessions, turns and ``connect()``, without an event loop: what is awaited, in which order, what is raised when."""

from __future__ import annotations

import inspect
import json
from types import SimpleNamespace
from typing import Any

import pytest
from kit.stepping import Cancelled, Context, SteppedShell, finished
from turnwire.sansio import client, conversations
from turnwire.sansio.errors import ConcurrentUseError, SessionClosedError, UserError, WrongTypeError
from turnwire.sansio.events import decode_event
from turnwire.sansio.omit import OMIT
from turnwire.sansio.runtime import SessionRuntime
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.timeouts import Timeouts

URL = "http://h.test/v1"
DELTA = SimpleNamespace(type="delta")
END = SimpleNamespace(type="response.completed", response="the response")


@pytest.fixture
def shell() -> SteppedShell:
    return SteppedShell()


def connecting(shell: SteppedShell) -> Any:
    """The class of this shell, with those that it makes."""

    class Turn(client.Turn, shell=shell):
        pass

    class Conversation(conversations.Conversation, shell=shell):
        pass

    class Session(client.Session[Conversation], shell=shell):
        _turn = Turn
        _conversation = Conversation

    class Connecting(client.Connecting[Session], shell=shell):
        _session = Session

    return Connecting


def connect(shell: SteppedShell, *args: Any, **kwargs: Any) -> Any:
    return client.connect(connecting(shell), *args, **kwargs)


def opened(shell: SteppedShell) -> Any:
    return finished(connect(shell, URL))


# --- connect() -------------------------------------------------------------------------------------------------------


def test_connecting_is_awaited_or_entered_once(shell: SteppedShell) -> None:
    opening = connect(shell, URL)
    assert shell.runtimes == []
    session = finished(opening)
    assert shell.runtimes[0].done == ["connect"]
    assert session.stats.connections == 0
    assert session.connections == ()
    for again in (opening.__await__, lambda: opening.__aenter__().__await__()):
        with pytest.raises(ConcurrentUseError, match="one session"):
            finished(SimpleNamespace(__await__=again))
    assert len(shell.runtimes) == 1


def test_leaving_closes_behind_a_shield(shell: SteppedShell) -> None:
    opening = connect(shell, URL)
    finished(opening.__aenter__())
    assert not shell.waits[-1].shield
    finished(opening.__aexit__(None, None, None))
    assert shell.waits[-1].shield
    assert shell.runtimes[0].done == ["connect", "close True"]


def test_leaving_what_was_not_entered_does_nothing(shell: SteppedShell) -> None:
    finished(connect(shell, URL).__aexit__(None, None, None))
    assert shell.runtimes == []


def test_the_arguments_are_the_runtimes(shell: SteppedShell) -> None:
    context, options = Context(), SessionOptions(max_age=1.0)
    finished(connect(shell, URL, ssl_context=context, proxy="http://p.test:1", options=options))  # type: ignore[arg-type]
    (runtime,) = shell.runtimes
    assert (runtime.network.ssl_context, str(runtime.network.proxy)) == (context, "p.test:1")
    assert runtime.options is options


def test_the_environment_is_the_shells(shell: SteppedShell) -> None:
    shell.variables.update({"OPENAI_BASE_URL": "http://elsewhere.test/v1", "HTTP_PROXY": "socks4://no"})
    with pytest.raises(UserError, match="environment variable http_proxy"):
        connect(shell)
    del shell.variables["HTTP_PROXY"]
    finished(connect(shell))
    assert shell.runtimes[0].source.initial.host == "elsewhere.test"


@pytest.mark.parametrize(
    ("context", "kind", "text"),
    [
        (True, WrongTypeError, "ssl_context is of type bool: write an ssl.SSLContext, or None"),
        (Context("PROTOCOL_TLS_SERVER"), UserError, "ssl_context is a server's"),
    ],
    ids=["no context", "a server's"],
)
def test_what_is_no_context_of_a_client_is_refused_at_once(
    shell: SteppedShell, context: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        connect(shell, URL, ssl_context=context)


def test_bound_to_a_shell_it_keeps_its_docstring_and_the_rest_of_its_signature(shell: SteppedShell) -> None:
    here = client.bound(client.connect, connecting(shell))
    signature, whole = inspect.signature(here), inspect.signature(client.connect)
    assert list(whole.parameters) == ["connecting", *signature.parameters]
    assert all(whole.parameters[name] == parameter for name, parameter in signature.parameters.items())
    assert (here.__doc__, here.__name__) == (client.connect.__doc__, "connect")
    assert finished(here(URL)).stats.connections == 0


def test_bound_to_a_shell_it_shows_no_arguments_in_a_traceback(shell: SteppedShell) -> None:
    with pytest.raises(UserError) as caught:
        client.bound(client.connect, connecting(shell))(URL, api_key="secret\n")
    traceback, frames = caught.value.__traceback__, []
    while traceback is not None:
        frames.append(repr(traceback.tb_frame.f_locals))
        traceback = traceback.tb_next
    assert len(frames) == 2
    assert "secret" not in frames[1]
    assert caught.value.__context__ is None


def test_a_class_on_a_shell_has_coroutine_functions_and_the_docstring_of_its_base(shell: SteppedShell) -> None:
    session = opened(shell)
    kind = type(session)
    assert kind.__doc__ == client.Session.__doc__
    for method in (session.respond, session.aclose, kind.respond, connecting(shell).__aenter__):
        assert inspect.iscoroutinefunction(method), method
    assert str(inspect.signature(session.respond)).endswith("**body: 'Any') -> 'Response'")

    class Mine(kind):
        pass

    assert Mine.respond is kind.respond


# --- Sessions and turns ----------------------------------------------------------------------------------------------


def test_a_turn_is_sent_on_entering_and_left_on_leaving(shell: SteppedShell) -> None:
    session = opened(shell)
    runtime = shell.runtimes[0]
    turn = session.create(input="x", stream_id="a", timeout=3)
    assert ("not sent" in repr(turn), turn.response_id, turn.stream_id) == (True, None, "a")
    assert runtime.done == ["connect"]
    with pytest.raises(SessionClosedError, match="not sent yet"):
        turn.__anext__()
    entering = turn.__aenter__()
    assert runtime.done == ["connect"], "calling alone does nothing"
    assert finished(entering) is turn
    assert runtime.done[1:] == ["create {'input': 'x'} a"]
    shell.script[:] = [DELTA, END]
    assert turn.__aiter__() is turn
    assert [finished(anext(turn)) for _ in range(2)] == [DELTA, END]
    with pytest.raises(StopAsyncIteration):
        finished(anext(turn))
    finished(turn.__aexit__(None, None, None))
    assert runtime.done[2:] == ["cancel"]
    assert turn.result() == "the response"
    assert (turn.response_id, turn.stream_id) == ("resp_1", "a")
    with pytest.raises(ConcurrentUseError, match="entered once"):
        finished(turn.__aenter__())


def test_what_cannot_be_sent_is_raised_on_entering(shell: SteppedShell) -> None:
    session = opened(shell)
    shell.runtimes[0].shut = True
    turn = session.create(input="x")
    with pytest.raises(SessionClosedError):
        finished(turn.__aenter__())
    with pytest.raises(SessionClosedError, match="not sent yet"):
        finished(turn.__aexit__(None, None, None))


def test_a_session_can_be_observed(shell: SteppedShell) -> None:
    session = opened(shell)
    off = session.on("rotated", print)
    off()
    with pytest.raises(UserError, match="nothing is called 'closed'"):
        session.on("closed", print)
    assert (session.rate_limits.headers, session.rate_limits.events) == ({}, {})


def test_leaving_is_one_of_two_things(shell: SteppedShell) -> None:
    session = opened(shell)
    with pytest.raises(UserError, match="leave is 'forget': write one of 'abort', 'abandon', None"):
        session.create(leave="forget")
    turn = session.create(input="x", leave="abandon")
    finished(turn.__aenter__())
    assert turn._begun.leave == "abandon"


def test_draining_is_the_runtimes(shell: SteppedShell) -> None:
    session = opened(shell)
    finished(session.drain(3.0))
    finished(session.drain())
    assert shell.runtimes[0].done[1:] == ["drain 3.0", "drain None"]
    with pytest.raises(UserError, match="timeout is -1"):
        finished(session.drain(-1))


def test_respond_runs_a_turn_to_its_end(shell: SteppedShell) -> None:
    session = opened(shell)
    shell.script[:] = [DELTA, DELTA, END]
    responding = session.respond(input="x", stream_id="a")
    assert shell.runtimes[0].done == ["connect"], "calling alone does nothing"
    assert finished(responding) == "the response"
    assert shell.runtimes[0].done[1:] == ["create {'input': 'x'} a", "cancel"]
    assert all(wait.unbounded for wait in shell.waits)


@pytest.mark.parametrize("raised", [Cancelled(), KeyError("x")])
def test_respond_leaves_its_turn_whatever_happens(shell: SteppedShell, raised: BaseException) -> None:
    session = opened(shell)
    shell.script[:] = [DELTA, raised]
    with pytest.raises(type(raised)):
        finished(session.respond(input="x"))
    assert shell.runtimes[0].done[2:] == ["cancel"]


def text_event(kind: str, **fields: Any) -> Any:
    return decode_event(json.dumps({"type": f"response.{kind}", **fields}).encode())


async def texts(turn: Any) -> list[str]:
    async with turn:
        return [text async for text in turn.text_deltas()]


def test_the_texts_of_a_turn_are_its_deltas_without_what_has_none(shell: SteppedShell) -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Hello!"}]}]
    shell.script = [
        text_event("created", response={"id": "resp_1"}),
        text_event("output_text.delta", item_id="i", delta="Hel"),
        text_event("output_text.delta", item_id="i", delta="lo"),
        text_event("completed", response={"id": "resp_1", "output": output}),
    ]
    assert finished(texts(opened(shell).create(input="x"))) == ["Hel", "lo", "!"]


def test_a_session_is_warmed_up_when_it_has_connected(shell: SteppedShell) -> None:
    session = finished(connect(shell, URL, warm={"model": "m"}))
    assert [done.partition(" ")[0] for done in shell.runtimes[0].done] == ["connect", "create"]
    assert session._warmed is not None
    with pytest.raises(UserError, match="generate"):
        connect(shell, URL, warm={"generate": True})


def test_a_compaction_has_the_sessions_deadlines_or_its_own(shell: SteppedShell) -> None:
    finished(connect(shell, URL, options=SessionOptions(timeouts=Timeouts(total=7.0))))
    (runtime,) = shell.runtimes
    assert runtime.compaction({"input": []}, timeout=OMIT).timeouts.total == 7.0
    assert runtime.compaction({"input": []}, timeout=3.0).timeouts.receive == 3.0
    assert runtime.fell_back is False


def test_closing_a_session_is_its_runtimes_matter(shell: SteppedShell) -> None:
    finished(opened(shell).aclose())
    assert shell.runtimes[0].done == ["connect", "close True"]


def test_a_runtime_tells_of_its_session(shell: SteppedShell) -> None:
    opened(shell)
    (runtime,) = shell.runtimes
    assert SessionRuntime.idle.fget(runtime) is True  # type: ignore[attr-defined]
    assert SessionRuntime.closed.fget(runtime) is False  # type: ignore[attr-defined]
