"""What the loopback server answers, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.loopback_clients import SEQUENCE, TOOLS, message, text
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from turnwire.aio.loopback import _script
from turnwire.sansio.server import Remembered, reply_events

pytestmark = pytest.mark.anyio


def answer(given: Any, previous: Remembered | None = None, **body: Any) -> list[dict[str, Any]]:
    request = {"input": given, **body}
    return list(reply_events(_script.answer(request, previous), request, previous, number=7, created_at=1_700_000_000))


def test_every_event_is_what_the_sdk_declares() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
    for said in ("hello world", "call f {}\ncall g {}", "fail", "count 3"):
        for number, event in enumerate(answer(said, tools=TOOLS, max_output_tokens=2)):
            parsed = adapter.validate_python({**event, "sequence_number": number, "stream_id": "a"})
            assert parsed.type == event["type"]


@given(st.text() | st.just("  two\n words  "))
def test_the_deltas_joined_are_the_text_that_is_said(said: str) -> None:
    events = answer([message("user", said), message("user", said)])
    deltas = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    if said.strip() not in ("recall", "fail"):
        assert deltas == text(events) == said


def test_it_says_what_it_was_told() -> None:
    assert [event["type"] for event in answer("hello world")] == SEQUENCE
    assert text(answer("count 3")) == "1 2 3"
    assert len([e for e in answer("count 1000") if e["type"] == "response.output_text.delta"]) == 1000
    assert text(answer([{"type": "function_call_output", "call_id": "c", "output": "42"}])) == "42"
    parts = [{"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]
    assert text(answer([{"type": "function_call_output", "call_id": "c", "output": parts}])) == "42"
    assert text(answer(None)) == text(answer([])) == ""
    assert text(answer([{"type": "message", "content": [1, {"text": 2}, {"text": "x"}]}])) == "x"


def test_it_recalls_what_users_said() -> None:
    first = Remembered("resp_1", [message("user", "one")], [message("assistant", "one")])
    second = Remembered("resp_2", [message("user", "two"), message("developer", "no")], [], first)
    assert text(answer([message("user", "three"), message("user", "recall")], second)) == "one\ntwo\nthree"


def test_it_calls_functions_that_it_was_given() -> None:
    events = answer('call f {"a": 1, "b": 2}\ncall g {}', tools=TOOLS)
    calls = events[-1]["response"]["output"]
    assert [(call["name"], call["arguments"]) for call in calls] == [("f", '{"a": 1, "b": 2}'), ("g", "{}")]
    assert len({call["call_id"] for call in calls} | {call["id"] for call in calls}) == 4
    for index, call in enumerate(calls):
        of_call = [event for event in events if event.get("output_index") == index]
        deltas = "".join(event["delta"] for event in of_call if event["type"].endswith("arguments.delta"))
        assert deltas == call["arguments"]
    said = "call h {}"
    assert text(answer(said, tools=TOOLS)) == text(answer(said)) == said
    assert text(answer("call f {}\nplease", tools=TOOLS)) == "call f {}\nplease"


def test_it_fails_and_stops_early_when_asked() -> None:
    assert answer("fail")[-1]["response"]["error"]["code"] == "server_error"
    response = answer("one two three", max_output_tokens=2)[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["content"][0]["text"] == "one two"
    assert answer("one", max_output_tokens=-5)[-1]["response"]["usage"]["output_tokens"] == 0


def test_usage_counts_words() -> None:
    previous = Remembered("resp_1", [message("user", "a b c")], [message("assistant", "d")])
    usage = answer("e f", previous)[-1]["response"]["usage"]
    assert usage["input_tokens"] == 6
    assert usage["input_tokens_details"]["cached_tokens"] == 4
    assert (usage["output_tokens"], usage["total_tokens"]) == (2, 8)
