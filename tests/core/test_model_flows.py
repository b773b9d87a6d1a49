"""What a model's calls wait for, over HTTP and over WebSocket: stepped through, without an event loop or a network."""

from __future__ import annotations

import json
import traceback
from math import inf
from typing import Any

import pytest
from kit.stepped_models import (
    ANSWER,
    CREATED,
    DELTA,
    DONE,
    HttpResponse,
    Stream,
    arguments,
    client_of,
    event,
    http_model,
    ws_model,
)
from kit.stepping import Cancelled, Context, SteppedShell, finished, step
from turnwire.sansio.agents import httpmodel
from turnwire.sansio.agents.httpmodel import BOUND, STREAM_END_TIMEOUT
from turnwire.sansio.errors import (
    ConnectionLostError,
    ProtocolError,
    ResponsesHTTPError,
    StreamEndedError,
    TurnTimeoutError,
    UserError,
)
from turnwire.sansio.events import decode_event
from turnwire.sansio.replay import ModelRetryAdviceRequest, Phase, Verdict
from turnwire.sansio.session import SessionOptions


@pytest.fixture
def shell() -> SteppedShell:
    return SteppedShell()


# --- Over HTTP, without a stream -------------------------------------------------------------------------------------


def test_an_answer_is_waited_for_as_long_as_the_settings_say(shell: SteppedShell) -> None:
    model = http_model(shell, client_of(ANSWER))
    assert finished(model.get_response(*arguments())).response_id == "resp_1"
    assert finished(model.get_response(*arguments(timeout=7.0))).response_id == "resp_1"
    assert [wait.deadline for wait in shell.waits] == [inf, 107.0]


def test_a_call_that_is_not_awaited_does_nothing(shell: SteppedShell) -> None:
    model = http_model(shell, client_of(ANSWER))
    coroutine = model.get_response(*arguments())
    assert (shell.logger.lines, shell.waits) == ([], [])
    finished(coroutine)
    assert [line.split(" ")[0] for line in shell.logger.lines] == ["Calling", "LLM"]


def test_an_answer_that_does_not_come_in_time(shell: SteppedShell) -> None:
    shell.slow = 8.0
    with pytest.raises(TurnTimeoutError) as caught:
        finished(http_model(shell, client_of(ANSWER)).get_response(*arguments(timeout=7.0)))
    assert caught.value.evidence.phase is Phase.AWAIT
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), ProtocolError),
        (KeyError("client"), KeyError),
        (Cancelled(), Cancelled),
    ],
)
def test_what_the_client_raises(shell: SteppedShell, raised: BaseException, kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        finished(http_model(shell, client_of(raised)).get_response(*arguments()))


def test_an_answer_that_is_no_response(shell: SteppedShell) -> None:
    """R-HTTP-6."""
    with pytest.raises(ProtocolError, match="is no response, but 'Hello'") as caught:
        finished(http_model(shell, client_of(b"Hello")).get_response(*arguments()))
    assert caught.value.verdict is Verdict.AMBIGUOUS


def test_a_call_is_made_once(shell: SteppedShell) -> None:
    """R-HTTP-15: whether it is repeated is the client's matter, and nothing of this one was handed."""
    calls: list[object] = []
    client = client_of(ANSWER)

    async def create(**kwargs: object) -> None:
        calls.append(kwargs)
        raise ConnectionResetError("reset")

    client.responses.create = create
    with pytest.raises(ConnectionResetError):
        finished(http_model(shell, client).get_response(*arguments()))
    assert len(calls) == 1


def test_the_advice_of_a_model_looks_at_its_shells_clock(shell: SteppedShell) -> None:
    request = ModelRetryAdviceRequest(error=KeyError("x"), attempt=1, stream=False)
    assert http_model(shell, client_of(ANSWER)).get_retry_advice(request) is None


# --- Over HTTP, streamed ---------------------------------------------------------------------------------------------


def types(events: Any) -> list[str]:
    found = []
    while (one := step(events)) is not None:
        found.append(one.type)
    return found


def test_a_stream_is_read_to_its_end_and_closed_once(shell: SteppedShell) -> None:
    stream = Stream(CREATED, None, DELTA, DONE)
    answer = HttpResponse(stream)
    model = http_model(shell, client_of(answer))
    events = model.stream_response(*arguments())
    assert types(events) == ["response.created", "response.output_text.delta", "response.completed"]
    assert (stream.closed, answer.left, answer.told) == (1, 1, None)
    finished(events.aclose())
    assert (stream.closed, answer.left) == (1, 1)
    assert ANSWER._request_id == "req_1"


def test_a_model_emits_what_its_stream_has_and_closes_it(shell: SteppedShell, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Given:
        """A stream without waits."""

        def __init__(self, *_: object) -> None:
            self.events = [DELTA, DONE, None]

        def _step(self, name: str, value: Any = None) -> Any:
            yield from ()
            done.append(name)
            return value

        def open(self, client: Any) -> Any:
            return self._step("open")

        def next(self) -> Any:
            return self._step("next", self.events.pop(0))

        def close(self) -> Any:
            return self._step("close")

    monkeypatch.setattr(httpmodel, "HttpStream", Given)
    assert len(types(http_model(shell, client_of(None)).stream_response(*arguments()))) == 2
    assert done == ["open", "next", "next", "next", "close"]


def test_the_deadlines_of_a_stream(shell: SteppedShell) -> None:
    """To open it, and to read it: the settings'; then STREAM_END_TIMEOUT. To close it: BOUND, shielded."""
    model = http_model(shell, client_of(HttpResponse(Stream(DELTA, DONE))))
    types(model.stream_response(*arguments(timeout=7.0)))
    assert [(wait.deadline, wait.shield) for wait in shell.waits] == [
        *[(107.0, False)] * 4,
        (100.0 + STREAM_END_TIMEOUT, False),
        (inf, False),
        (100.0 + BOUND, True),
        (inf, False),
    ]


def test_without_a_timeout_no_event_needs_a_scope(shell: SteppedShell) -> None:
    model = http_model(shell, client_of(HttpResponse(Stream(DELTA, DELTA, DONE))))
    events = model.stream_response(*arguments())
    for _ in range(3):
        step(events)
    assert all(wait.unbounded for wait in shell.waits)
    finished(events.aclose())


def test_a_client_without_streaming_responses(shell: SteppedShell) -> None:
    class Other:
        """An iterable whose iterator is another object, closed by a function that is not asynchronous."""

        closed = 0

        def __aiter__(self) -> Stream:
            return stream

        def close(self) -> None:
            self.closed += 1

    stream, other = Stream(DONE), Other()
    model = http_model(shell, client_of(other, plain=True))
    assert types(model.stream_response(*arguments())) == ["response.completed"]
    assert (stream.closed, other.closed) == (1, 1)


def test_a_stream_that_cannot_be_closed(shell: SteppedShell) -> None:
    class Endless:
        """It has nothing to close."""

        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> Any:
            return DONE

    events = http_model(shell, client_of(Endless(), plain=True)).stream_response(*arguments())
    assert step(events) is DONE
    finished(events.aclose())


def test_an_answer_that_is_a_document(shell: SteppedShell) -> None:
    text = '{"id": "r", "object": "response", "status": "completed", "output": []}'
    answer = HttpResponse(text=text, content_type="application/json")
    assert types(http_model(shell, client_of(answer)).stream_response(*arguments())) == ["response.completed"]
    answer = HttpResponse(text='{"error": {"message": "no"}}', content_type="application/json")
    with pytest.raises(ResponsesHTTPError):
        types(http_model(shell, client_of(answer)).stream_response(*arguments()))
    assert answer.left == 1


def test_a_stream_that_calls_itself_something_else(shell: SteppedShell) -> None:
    answer = HttpResponse(Stream(), content_type="text/plain")
    with pytest.raises(StreamEndedError, match="its content-type is 'text/plain'"):
        types(http_model(shell, client_of(answer)).stream_response(*arguments()))


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([DELTA], StreamEndedError),
        ([DELTA, OSError("lost")], ConnectionLostError),
        ([event("error", message="no")], ResponsesHTTPError),
        ([{"error": {"message": "no"}}], ResponsesHTTPError),
    ],
    ids=["no terminal event", "lost", "an error", "an error that is no event"],
)
def test_how_a_stream_fails(shell: SteppedShell, script: list[Any], kind: type[Exception]) -> None:
    stream = Stream(*script)
    answer = HttpResponse(stream)
    with pytest.raises(kind) as caught:
        types(http_model(shell, client_of(answer)).stream_response(*arguments()))
    told = None if kind is ResponsesHTTPError else caught.value  # With an error event, the answer is complete.
    assert (stream.closed, answer.left, answer.told) == (1, 1, told)


def test_a_stream_that_takes_too_long_to_be_opened(shell: SteppedShell) -> None:
    shell.slow = 8.0
    with pytest.raises(TurnTimeoutError) as caught:
        types(http_model(shell, client_of(HttpResponse(Stream(DONE)))).stream_response(*arguments(timeout=7.0)))
    assert caught.value.evidence.phase is Phase.AWAIT


def test_a_stream_that_takes_too_long_to_be_read(shell: SteppedShell) -> None:
    stream = Stream(CREATED, DELTA, DONE)
    events = http_model(shell, client_of(HttpResponse(stream))).stream_response(*arguments(timeout=3.0))
    assert step(events) is CREATED
    shell.slow = 2.0
    assert step(events) is DELTA
    with pytest.raises(TurnTimeoutError) as caught:
        step(events)
    assert caught.value.evidence.phase is Phase.STREAM
    assert stream.closed == 1


def test_the_end_of_a_stream_that_does_not_come_is_not_waited_for(shell: SteppedShell) -> None:
    stream = Stream(DONE, DELTA)
    events = http_model(shell, client_of(HttpResponse(stream))).stream_response(*arguments())
    assert step(events) is DONE
    shell.slow = STREAM_END_TIMEOUT
    assert step(events) is None
    assert stream.closed == 1


def test_what_comes_after_the_terminal_event_changes_nothing(shell: SteppedShell) -> None:
    stream = Stream(DONE, OSError("late"))
    assert types(http_model(shell, client_of(HttpResponse(stream))).stream_response(*arguments())) == [
        "response.completed"
    ]
    assert "Closing a stream after its terminal event failed: OSError" in shell.logger.lines[-1]


# --- Closing ---------------------------------------------------------------------------------------------------------


def test_a_consumer_that_leaves_closes_the_stream_and_is_told_what_goes_wrong(shell: SteppedShell) -> None:
    stream = Stream(DELTA, DONE, closing=OSError("stuck"))
    events = http_model(shell, client_of(HttpResponse(stream))).stream_response(*arguments())
    step(events)
    with pytest.raises(OSError, match="stuck"):
        finished(events.aclose())
    assert stream.closed == 1


def test_a_complete_answer_is_not_spoilt_by_closing(shell: SteppedShell) -> None:
    stream = Stream(DONE, closing=OSError("stuck"))
    assert types(http_model(shell, client_of(HttpResponse(stream))).stream_response(*arguments())) != []
    assert "Closing a stream after its terminal event failed: OSError" in shell.logger.lines[-1]


def test_a_cancelled_consumer_does_not_wait_for_the_closing(shell: SteppedShell) -> None:
    shell.alone = True
    stream = Stream(DELTA, Cancelled(), closing=OSError("stuck"))
    model = http_model(shell, client_of(HttpResponse(stream)))
    events = model.stream_response(*arguments())
    step(events)
    with pytest.raises(Cancelled):
        step(events)
    assert stream.closed == 0
    finished(model.close())  # Which waits for it.
    assert stream.closed == 1
    assert "Closing a stream after its consumer was cancelled failed: OSError" in shell.logger.lines[-1]


def test_the_closing_of_one_event_loop_is_not_anothers_to_wait_for(shell: SteppedShell) -> None:
    shell.alone = True
    stream = Stream(DELTA, Cancelled())
    model = http_model(shell, client_of(HttpResponse(stream)))
    events = model.stream_response(*arguments())
    step(events)
    with pytest.raises(Cancelled):
        step(events)
    shell.here = "elsewhere"
    finished(model.close())
    assert stream.closed == 0
    finished(shell.tasks[0])


def test_a_closing_that_is_cancelled_goes_on_and_its_failure_is_logged(shell: SteppedShell) -> None:
    shell.alone = True
    spawn, stream = shell.spawn, Stream(DELTA, DONE, closing=OSError("stuck"))

    async def cancelled() -> None:
        raise Cancelled

    def spawned(*args: Any, **kwargs: Any) -> Any:
        spawn(*args, **kwargs)
        return cancelled()

    shell.spawn = spawned  # type: ignore[method-assign]
    events = http_model(shell, client_of(HttpResponse(stream))).stream_response(*arguments())
    step(events)
    with pytest.raises(Cancelled):
        finished(events.aclose())
    assert stream.closed == 0
    finished(shell.tasks[0])
    assert stream.closed == 1
    assert "Closing a stream after its consumer was cancelled failed: OSError" in shell.logger.lines[-1]


def test_a_closing_that_takes_too_long_is_given_up(shell: SteppedShell) -> None:
    stream = Stream(DELTA, DONE)
    events = http_model(shell, client_of(HttpResponse(stream))).stream_response(*arguments())
    step(events)
    shell.slow = BOUND
    finished(events.aclose())
    assert stream.closed == 0


# --- Over WebSocket --------------------------------------------------------------------------------------------------


def ws_event(type_: str, **fields: Any) -> Any:
    return decode_event(json.dumps({"type": type_, **fields}).encode())


RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": []}
WS_CREATED = ws_event("response.created", response=RESPONSE)
WS_DELTA = ws_event("response.output_text.delta", delta="x", item_id="i", output_index=0, content_index=0)
WS_DONE = ws_event("response.completed", response=RESPONSE)


def test_a_turn_is_begun_run_and_left(shell: SteppedShell) -> None:
    model = ws_model(shell, stream_id="a", websocket_options=SessionOptions(max_age=1.0), proxy=None)
    shell.script[:] = [WS_CREATED, [WS_DELTA, WS_DELTA], WS_DONE]
    assert finished(model.get_response(*arguments(timeout=7.0))).response_id == "r"
    (runtime,) = shell.runtimes
    assert runtime.done == ["submit a 7.0", "cancel"]
    assert (runtime.options.max_age, runtime.network.proxy) == (1.0, None)
    assert all(wait.unbounded for wait in shell.waits), "the turn has its own deadlines"


def test_p_lanes_13_a_model_that_is_given_no_lane_uses_the_default_lane(shell: SteppedShell) -> None:
    shell.script[:] = [WS_CREATED, WS_DONE]
    finished(ws_model(shell).get_response(*arguments()))
    assert shell.runtimes[0].done[0].startswith("submit None ")


def test_its_network_is_the_callers_or_the_clients(shell: SteppedShell) -> None:
    tls, to_proxy = Context(), Context()
    model = ws_model(shell, ssl_context=tls, proxy="https://p.test", proxy_ssl_context=to_proxy)
    shell.script[:] = [WS_CREATED, WS_DONE]
    finished(model.get_response(*arguments()))
    network = shell.runtimes[0].network
    assert (network.ssl_context, str(network.proxy), network.proxy_ssl_context) == (tls, "p.test:443", to_proxy)
    for given in ({"proxy": "socks4://me:hush@p"}, {"proxy": "socks5://me:hush@p", "proxy_ssl_context": tls}):
        with pytest.raises(UserError, match="write ") as caught:
            ws_model(shell, **given)
        for found, _ in traceback.walk_tb(caught.value.__traceback__):
            assert found.f_code.co_filename in (__file__, ws_model.__code__.co_filename) or "hush" not in repr(
                found.f_locals
            )


def test_events_that_are_there_are_not_waited_for(shell: SteppedShell) -> None:
    model = ws_model(shell)
    shell.script[:] = [WS_CREATED, [WS_DELTA, WS_DELTA, WS_DONE]]
    assert len(types(model.stream_response(*arguments()))) == 4
    assert len(shell.waits) == 1


STEERED = {"id": "s", "object": "response", "status": "incomplete", "output": []}
WS_STEERED = ws_event("response.incomplete", response={**STEERED, "incomplete_details": {"reason": "steered"}})


def test_the_answer_of_a_steered_turn_is_that_of_its_last_response(shell: SteppedShell) -> None:
    """P-STEER-16."""
    shell.script[:] = [WS_CREATED, WS_STEERED, WS_CREATED, WS_DONE]
    assert finished(ws_model(shell).get_response(*arguments())).response_id == "r"
    shell.script[:] = [WS_CREATED, WS_STEERED, WS_CREATED, WS_DONE]
    kinds = types(ws_model(shell).stream_response(*arguments()))
    assert kinds == ["response.created", "response.incomplete", "response.created", "response.completed"]


def test_a_steered_turn_that_ends_without_a_successor_has_its_last_response(shell: SteppedShell) -> None:
    shell.script[:] = [WS_CREATED, WS_STEERED]
    assert finished(ws_model(shell).get_response(*arguments())).response_id == "s"
    shell.script[:] = [WS_CREATED, WS_STEERED]
    assert types(ws_model(shell).stream_response(*arguments())) == ["response.created", "response.incomplete"]


@pytest.mark.parametrize("raised", [Cancelled(), KeyError("x")])
def test_a_turn_is_left_whatever_happens(shell: SteppedShell, raised: BaseException) -> None:
    shell.script[:] = [WS_CREATED, raised]
    with pytest.raises(type(raised)):
        finished(ws_model(shell).get_response(*arguments()))
    shell.script[:] = [WS_CREATED, raised]
    with pytest.raises(type(raised)):
        types(ws_model(shell).stream_response(*arguments()))
    assert [runtime.done[-1] for runtime in shell.runtimes] == ["cancel"] * 2


def test_a_consumer_that_leaves_a_stream_leaves_the_turn(shell: SteppedShell) -> None:
    shell.script[:] = [WS_CREATED, WS_DELTA]
    events = ws_model(shell).stream_response(*arguments())
    step(events)
    finished(events.aclose())
    assert shell.runtimes[0].done[-1] == "cancel"


def test_what_cannot_be_sent_opens_nothing(shell: SteppedShell) -> None:
    model = ws_model(shell)
    with pytest.raises(UserError):
        finished(model.on_lane("no name!").get_response(*arguments()))
    assert shell.runtimes == []


def ask(shell: SteppedShell, model: Any, **settings: Any) -> None:
    shell.script[:] = [WS_DONE]
    finished(model.get_response(*arguments(**settings)))


def test_copies_share_a_connection_and_another_loop_has_its_own(shell: SteppedShell) -> None:
    model = ws_model(shell)
    ask(shell, model)
    ask(shell, model.on_lane("b"))
    assert len(shell.runtimes) == 1
    shell.here = "there"
    ask(shell, model)
    assert len(shell.runtimes) == 2
    finished(model.close())
    assert [runtime.done[-1] for runtime in shell.runtimes] == ["shut down", "close True"]
    shell.here = "here"
    ask(shell, model)  # What was shut down opens another connection by itself.
    assert len(shell.runtimes) == 2


def test_other_headers_replace_the_connection_once_its_calls_are_over(shell: SteppedShell) -> None:
    model = ws_model(shell)
    ask(shell, model)
    old = shell.runtimes[0]
    old.busy = True
    ask(shell, model, extra_headers={"x-tenant": "b"})
    assert len(shell.runtimes) == 2
    assert old.done[-1] == "cancel"
    old.busy = False
    ask(shell, model, extra_headers={"x-tenant": "b"})
    assert old.done[-1] == "close False"
    ask(shell, model, extra_headers={"x-tenant": "b"})
    assert old.done.count("close False") == 1
    assert len(shell.runtimes) == 2


def test_a_connection_that_was_closed_is_replaced(shell: SteppedShell) -> None:
    model = ws_model(shell)
    ask(shell, model)
    shell.runtimes[0].shut = True
    ask(shell, model)
    assert len(shell.runtimes) == 2


def test_what_loops_that_ended_have_left_is_forgotten(shell: SteppedShell) -> None:
    model = ws_model(shell)
    for here in ("first", "second", "third"):
        shell.here = here
        ask(shell, model)
        if here == "first":
            shell.runtimes[0].ended = True
    assert set(model._shared._pools) == {"second", "third"}


def test_a_model_is_entered_and_left_in_one_loop(shell: SteppedShell) -> None:
    model = ws_model(shell)
    shell.here = "there"
    ask(shell, model)
    shell.here = "here"
    finished(model.__aexit__(None, None, None))  # Nothing was opened here.
    assert finished(model.__aenter__()) is model
    ask(shell, model)
    shell.waits.clear()
    finished(model.__aexit__(None, None, None))
    assert shell.waits[0].shield
    assert [runtime.done[-1] for runtime in shell.runtimes] == ["cancel", "close True"]


def test_every_connection_is_closed_also_if_one_cannot_be(shell: SteppedShell) -> None:
    model = ws_model(shell)
    ask(shell, model)
    shell.runtimes[0].busy = True
    ask(shell, model, extra_headers={"x-tenant": "b"})
    shell.runtimes[1].closing = Cancelled()
    with pytest.raises(Cancelled):
        finished(model.close())
    assert [runtime.done[-1] for runtime in shell.runtimes] == ["close True"] * 2
