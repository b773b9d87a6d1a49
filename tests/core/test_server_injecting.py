"""Injecting on the server's side: what a running response takes, what is refused, and what a later turn sees of it."""

from __future__ import annotations

from typing import Any

import pytest
from kit.server_client import Client, complete
from openai.types.beta.beta_responses_server_event import BetaResponsesServerEvent
from pydantic import TypeAdapter
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.server import (
    AWAIT_INPUT,
    INJECT_CODES,
    AwaitInput,
    Call,
    Failed,
    Incomplete,
    InjectedInput,
    Remembered,
    Reply,
    ResponseStore,
    ServerTurn,
    StoredResponse,
    reply_events,
)
from turnwire.sansio.websocket import CloseFrame

BETA = (b"openai-beta", b"responses_multi_agent=v1")
AGENTS = {"model": "m", "input": "go", "multi_agent": {"enabled": True}}
MESSAGE = {"type": "message", "role": "user", "content": "x"}
FIRST = {"type": "message", "role": "assistant", "content": []}


def call(number: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{number}", "name": "f", "arguments": "{}"}


def output(number: int, text: str = "x") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": text}


def begin(client: Client, *items: dict[str, Any], **body: Any) -> ServerTurn:
    """A response that runs and has done these items."""
    turn = client.run(**{**AGENTS, **body})
    turn.emit({"type": "response.created", "response": {"id": "resp_1"}})
    for item in items:
        turn.emit({"type": "response.output_item.done", "item": item})
    client.read()
    return turn


def inject(client: Client, *items: Any, target: object = "resp_1", **more: Any) -> list[Any]:
    client.send({"type": "response.inject", "response_id": target, "input": list(items), **more})
    events = client.items()
    assert client.server.state.value == ("closing" if isinstance(events[-1], CloseFrame) else "open")
    return events


def event(client: Client, *items: Any, target: str = "resp_1") -> dict[str, Any]:
    client.send({"type": "response.inject", "response_id": target, "input": list(items)})
    (found,) = client.read()
    TypeAdapter[Any](BetaResponsesServerEvent).validate_python(found)
    return found


@pytest.fixture
def client() -> Client:
    return Client(headers=[BETA], strict=True)


@pytest.mark.parametrize("lane", [None, "a"])
def test_what_is_injected_is_committed_and_remembered_where_it_came(client: Client, lane: str | None) -> None:
    """P-INJECT-2, P-INJECT-4."""
    where = {} if lane is None else {"stream_id": lane}
    turn = begin(client, FIRST, call(1), **where)
    assert event(client, output(1)) == {
        "type": "response.inject.created",
        "response_id": "resp_1",
        "sequence_number": 3,
        **where,
    }
    assert turn.injected.items == [output(1)]
    done = [FIRST, call(1), {**FIRST, "phase": "final_answer"}]
    turn.emit({"type": "response.completed", "response": {"id": "resp_1", "output": done}})
    after = client.run(model="m", input="more", previous_response_id="resp_1", **where)
    assert after.previous is not None
    assert after.previous.items()[1:] == [FIRST, call(1), output(1), done[2]]


def test_several_outputs_are_committed_or_none_of_them(client: Client) -> None:
    """P-INJECT-2, P-INJECT-3."""
    turn = begin(client, call(1), call(2), call(3))
    assert event(client, output(1), output(2))["type"] == "response.inject.created"
    frame, close = inject(client, output(3), output(2))
    assert b"No tool call found for function call output with call_id call_2." in frame
    assert close == CloseFrame(1008, "the message breaks the protocol")
    assert turn.injected.items == [output(1), output(2)]


def test_one_output_answers_a_call_once(client: Client) -> None:
    """P-INJECT-3."""
    begin(client, call(1))
    assert isinstance(inject(client, output(1), output(1))[-1], CloseFrame)


@pytest.mark.parametrize("agents", [None, {"enabled": False}])
def test_a_response_without_several_agents_takes_no_input(client: Client, agents: Any) -> None:
    """P-INJECT-1."""
    begin(client, call(1), multi_agent=agents)
    failed = event(client, output(1))
    assert (failed["type"], failed["error"]["code"]) == ("response.inject.failed", INJECT_CODES["running"])


def test_an_injection_that_fails_gives_the_input_back(client: Client) -> None:
    """P-STEER-12."""
    turn = begin(client, call(1), stream_id="a")
    turn.emit({"type": "response.completed", "response": {"id": "resp_1", "output": [call(1)]}})
    client.read()
    assert event(client, output(1)) == {
        "type": "response.inject.failed",
        "response_id": "resp_1",
        "input": [output(1)],
        "error": {"code": "response_already_completed", "message": "The response has already completed."},
        "sequence_number": 0,
    }
    assert event(client, output(1), target="resp_0")["error"]["code"] == "response_not_found"


def test_a_response_takes_input_only_from_its_own_connection() -> None:
    """P-INJECT-1."""
    store = ResponseStore()
    first, second = (Client(headers=[BETA], store=store) for _ in range(2))
    begin(first, call(1))
    assert event(second, output(1))["error"]["code"] == "response_not_found"


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"input": None}, "missing_required_parameter", "input"),
    ({"response_id": None}, "missing_required_parameter", "response_id"),
    ({"response_id": 1}, "invalid_type", "response_id"),
    ({"input": "x"}, "invalid_type", "input"),
    ({"input": []}, "empty_array", "input"),
    ({"input": ["x"]}, "invalid_type", "input[0]"),
    ({"stream_id": "a"}, "unknown_parameter", "stream_id"),
]
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [output(1), MESSAGE]}, "invalid_value", "input[1]"),
    ({"input": [{"role": "user", "content": "x"}]}, "invalid_value", "input[0]"),
    ({"input": [{"type": "tomorrow"}]}, "invalid_value", "input[0]"),
    (
        {"input": [{"type": "function_call_output", "call_id": "call_1"}]},
        "missing_required_parameter",
        "input[0].output",
    ),
    ({"input": [{**output(1), "call_id": None, "name": "f"}]}, "missing_required_parameter", "input[0].call_id"),
]


@pytest.mark.parametrize(
    ("strict", "fields", "code", "param"),
    [*((False, *row) for row in BROKEN), *((True, *row) for row in (*BROKEN, *REFUSED))],
)
def test_what_breaks_the_schema_is_refused_and_ends_the_connection(
    strict: bool, fields: dict[str, Any], code: str, param: str
) -> None:
    """P-INJECT-3."""
    client = Client(headers=[BETA], strict=strict)
    turn = begin(client, call(1))
    client.send({"type": "response.inject", "response_id": "resp_1", "input": [output(1)], **fields})
    frame, close = client.items()
    assert f'"code":"{code}"'.encode() in frame
    assert f'"param":"{param}"'.encode() in frame
    assert b'"status":400' in frame
    assert isinstance(close, CloseFrame)
    assert turn.injected.items == []
    assert not client.server.expired


def test_a_lenient_server_takes_any_items() -> None:
    """P-INJECT-3."""
    client = Client(headers=[BETA])
    turn = begin(client)
    agent = {"type": "agent_message", "author": "/a", "recipient": "/", "content": []}
    assert event(client, agent, output(9))["type"] == "response.inject.created"
    complete(turn, "resp_1", (FIRST,))
    after = client.run(previous_response_id="resp_1")
    assert after.previous is not None
    assert after.previous.output == [agent, output(9), FIRST]


@pytest.mark.parametrize(
    ("headers", "dialect"),
    [
        ([], "openai"),
        ([(b"openai-beta", b"responses_multi_agent=v2")], "openai"),
        ([(b"x", BETA[1])], "openai"),
        ([BETA], "no-lanes"),
    ],
)
def test_without_the_beta_there_is_no_injecting(headers: list[tuple[bytes, bytes]], dialect: str) -> None:
    """P-INJECT-1."""
    client = Client(headers=headers, dialect=dialect)
    begin(client, call(1))
    client.send({"type": "response.inject", "response_id": "resp_1", "input": [output(1)]})
    assert client.error()["error"]["code"] == "unsupported_event_type"


def test_without_the_beta_the_field_of_the_body_is_unknown() -> None:
    """P-STRICT-1."""
    client = Client(strict=True)
    client.create(**AGENTS)
    error = client.error()["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", "multi_agent")


@pytest.mark.parametrize(
    "headers", [[(b"OpenAI-Beta", b"a=1, responses_multi_agent=v1")], [(b"openai-beta", b"a=1"), BETA]]
)
def test_the_beta_may_be_one_of_several(headers: list[tuple[bytes, bytes]]) -> None:
    client = Client(headers=headers)
    begin(client, call(1))
    assert event(client, output(1))["type"] == "response.inject.created"


# --- Scripts ---------------------------------------------------------------------------------------------------------


def test_a_reply_may_wait_and_say_what_comes_then() -> None:
    """P-INJECT-5."""
    injected = [output(1, "two words")]
    seen: list[Any] = []

    def then(items: list[Any]) -> Any:
        seen.append(items)
        return [f"got {items[0]['output']}", Call("g")]

    reply = Reply([Call("f"), AwaitInput(then), "last"])
    events = list(reply_events(reply, AGENTS, None, number=1, created_at=0, injected=injected))
    assert seen == [injected]
    assert events[6] == {"type": AWAIT_INPUT, "fails": None}
    response = events[-1]["response"]
    assert [item["id"] for item in response["output"]] == [
        f"{kind}_000000000001_{n}" for n, kind in enumerate(("fc", "msg", "fc", "msg"))
    ]
    assert response["output"][1]["content"][0]["text"] == "got two words"
    assert response["usage"]["input_tokens"] == 3


@pytest.mark.parametrize(("ending", "status"), [(Failed(), "failed"), (Incomplete("steered"), "incomplete")])
def test_what_comes_then_may_end_the_response(ending: Any, status: str) -> None:
    reply = Reply([AwaitInput(lambda items: ["half", ending])])
    *_, last = reply_events(reply, AGENTS, None, number=1, created_at=0)
    assert last["response"]["status"] == status
    assert last["response"]["output"][0]["status"] == ("incomplete" if status == "incomplete" else "completed")


def test_what_a_wait_cannot_be_is_refused_when_it_is_written() -> None:
    with pytest.raises(UserError, match=r"AwaitInput\.fails is 'nope': write 'response_already_completed' or"):
        AwaitInput(fails="nope")
    with pytest.raises(WrongTypeError, match=r"AwaitInput\.then is 5: write a function of the items"):
        AwaitInput(5)  # type: ignore[arg-type]


def test_a_response_waits_for_an_output_of_each_call_or_for_anything() -> None:
    """P-INJECT-5."""
    changes: list[int] = []
    injected = InjectedInput()
    injected.on_change = lambda: changes.append(1)
    assert injected.awaited
    injected.take([MESSAGE])
    assert not injected.awaited
    for number in (1, 2):
        injected.note({"type": "response.output_item.done", "item": call(number)})
    injected.note({"type": "response.output_item.added", "item": call(3)})
    injected.take([output(1)])
    assert injected.awaited
    injected.take([output(2)])
    assert not injected.awaited
    assert len(changes) == 3


def test_the_next_injection_may_be_told_to_fail(client: Client) -> None:
    """P-INJECT-5."""
    turn = begin(client, call(1))
    turn.injected.begin_wait("response_already_completed")
    assert turn.injected.awaited
    assert event(client, output(1))["error"]["code"] == "response_already_completed"
    assert not turn.injected.awaited
    turn.injected.begin_wait(None)
    assert turn.injected.awaited
    assert event(client, output(1))["type"] == "response.inject.created"
    assert not turn.injected.awaited


def test_a_wait_is_no_event_of_a_stored_response() -> None:
    stored = StoredResponse({"background": True})
    events = list(stored.record([{"type": AWAIT_INPUT}, {"type": "response.created", "response": {"id": "resp_1"}}]))
    assert [each["type"] for each in events] == [AWAIT_INPUT, "response.created"]
    assert len(stored.events) == 1


def test_what_was_injected_is_woven_into_the_output_where_it_came() -> None:
    injected = InjectedInput()
    injected.take([{"n": 0}])
    injected.note({"type": "response.output_item.done", "item": {"n": 1}})
    injected.take([{"n": 2}, {"n": 3}])
    assert injected.woven([{"n": 1}, {"n": 4}]) == [{"n": n} for n in range(5)]
    assert injected.woven([]) == [{"n": n} for n in (0, 2, 3)]
    assert Remembered("resp_1", [], injected.woven([])).output == injected.items
