"""Whatever an HTTP server sends, a call ends with a result or with a typed failure: random and mutated answers."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.tiers import examples
from openai._models import construct_type
from openai.types.responses import Response as SdkResponse
from openai.types.responses import ResponseStreamEvent
from turnwire.sansio.agents.call import ModelArguments, ModelCall, ModelConfig, ModelTracing
from turnwire.sansio.agents.httpturn import (
    content_type_of,
    events_in,
    is_document,
    is_error_body,
    is_response,
    is_stream,
)
from turnwire.sansio.agents.settings import ModelSettings
from turnwire.sansio.agents.tracing import OpenTelemetryTracer
from turnwire.sansio.agents.usage import member
from turnwire.sansio.errors import MissingResponseError, TurnError, UnsuccessfulResponseError
from turnwire.sansio.replay import ModelRetryAdviceRequest, Verdict, get_retry_advice

SCALARS = st.sampled_from([None, True, 0, 7, -1.5, float("inf"), "", "text", "\ud83d", "completed", "429"])
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "status", "output", "error", "response", "code", "message", "usage", "item", "detail"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)

MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "pear", "annotations": []}],
}
USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_tokens_details": {"cached_tokens": 0}}
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": [MESSAGE], "usage": USAGE}
STREAM: list[dict[str, Any]] = [
    {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "status": "in_progress", "output": []}},
    {"type": "keepalive", "sequence_number": 1},
    {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE, "content": []}},
    {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "pear"},
    {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE},
    {"type": "response.completed", "sequence_number": 9, "response": RESPONSE},
]


class Log:
    def isEnabledFor(self, level: int) -> bool:
        return True

    def log(self, level: int, msg: str, *args: object) -> None:
        (msg % args).encode()


def call_of(*, raising: bool) -> ModelCall:
    arguments = ModelArguments(None, "hi", ModelSettings(), [], None, [], ModelTracing.ENABLED)
    config = ModelConfig("m", True, Log(), True, tracer=OpenTelemetryTracer(), raise_on_unsuccessful=raising)
    return ModelCall(config, arguments, stream=True)


def ending(call: ModelCall) -> str:
    """How a call ends whose stream has ended; it is one of the endings that the documentation knows."""
    failure = call.stream_ended("text/event-stream")
    if isinstance(failure, TurnError):
        assert failure.verdict in (Verdict.UNSAFE, Verdict.AMBIGUOUS)  # Never SAFE: the status was 200.
        get_retry_advice(ModelRetryAdviceRequest(failure, stream=True))
        return type(failure).__name__
    try:
        result = call.result()
    except (MissingResponseError, UnsuccessfulResponseError) as exc:
        return type(exc).__name__
    assert failure is None
    assert isinstance(result.output, list)
    assert (type(result.usage.input_tokens), result.usage.requests) == (int, 1)
    return "result"


def as_the_sdk_makes_it(event: Any) -> Any:
    return construct_type(value=event, type_=ResponseStreamEvent)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(JSON, max_size=4), st.booleans(), st.booleans())
def test_any_stream_ends_with_a_result_or_a_typed_failure(events: list[Any], raising: bool, built: bool) -> None:
    call = call_of(raising=raising)
    with call.span():
        for event in events:
            try:
                made = as_the_sdk_makes_it(event) if built else event
            except Exception:
                made = event
            given_out = call.add(made, "req_1")
            assert not given_out or isinstance(member(made, "type"), str)
        ending(call)


@settings(max_examples=examples(300), deadline=None)
@given(JSON, st.booleans(), st.sampled_from(["as it is", "the SDK's", "an object"]))
def test_any_answer_gives_a_result_or_a_typed_failure(answer: Any, raising: bool, how: str) -> None:
    if how == "the SDK's":
        answer = construct_type(value=answer, type_=SdkResponse)
    elif how == "an object" and isinstance(answer, dict):
        answer = SimpleNamespace(**answer)
    call = call_of(raising=raising)
    failure = raised_by(lambda: call.answer(answer))
    if failure is None:
        raised_by(lambda: call.result().output.clear())
    assert failure is None or failure.verdict is Verdict.AMBIGUOUS


@settings(max_examples=examples(200), deadline=None)
@given(JSON | st.text(max_size=20), st.sampled_from(["application/json", "text/html"]))
def test_any_document_gives_events_or_a_typed_failure(document: Any, content_type: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    call = call_of(raising=False)
    failure = raised_by(lambda: [call.add(event) for event in call.document(text, content_type)])
    assert failure is None or failure.verdict is not Verdict.SAFE
    assert failure is not None or ending(call)


def test_server_sent_events_under_a_wrong_name_are_read_as_events() -> None:
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in [STREAM[0], [], *STREAM[1:]])
    events = list(call_of(raising=True).document(text, "application/json"))
    assert [member(event, "type") for event in events] == [event["type"] for event in STREAM]
    call = call_of(raising=True)
    for event in events:
        call.add(event)
    assert ending(call) == "result"
    assert list(call_of(raising=True).document("data: []\n\n", "text/html")) == [], "no event, and no response either"


def raised_by(step: Callable[[], object]) -> Any:
    """The typed failure that it raises, if it does."""
    try:
        step()
    except (TurnError, MissingResponseError, UnsuccessfulResponseError) as failure:
        return failure


def mutations() -> list[tuple[str, list[Any]]]:
    """Each event dropped and doubled; each member of each dropped, null, and of another type."""
    found: list[tuple[str, list[Any]]] = []
    for number, event in enumerate(STREAM):
        found.append((f"{number} dropped", STREAM[:number] + STREAM[number + 1 :]))
        found.append((f"{number} doubled", [*STREAM[: number + 1], *STREAM[number:]]))
        for path in paths(event):
            for what, value in (("dropped", ...), ("null", None), ("number", 5), ("text", "odd"), ("list", [[]])):
                changed = copy.deepcopy(event)
                change(changed, path, value)
                found.append(
                    (f"{number} {'.'.join(map(str, path))} {what}", [*STREAM[:number], changed, *STREAM[number + 1 :]])
                )
    return found


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [deeper for name, each in items for deeper in ((*path, name), *paths(each, (*path, name)))]


def change(event: Any, path: tuple[Any, ...], value: Any) -> None:
    for name in path[:-1]:
        event = event[name]
    if value is ...:
        del event[path[-1]]
    else:
        event[path[-1]] = value


def test_one_odd_field_costs_that_field_and_never_the_call(summary: Any) -> None:
    """A stream of which one member is wrong still gives its text, unless it is the terminal event that is gone."""
    endings: Counter[str] = Counter()
    for name, events in mutations():
        for built in (False, True):
            call = call_of(raising=True)
            with call.span():
                for event in events:
                    call.add(as_the_sdk_makes_it(event) if built else event, "req_1")
                ended = ending(call)
            endings[ended] += 1
            last_is_gone = name.startswith(("5 dropped", "5 type"))
            no_response = name.startswith("5 response ") and "dropped" not in name
            expected = {"StreamEndedError"} if last_is_gone else {"result"}
            if no_response or name == "5 response dropped":
                expected = {"MissingResponseError"}
            assert ended in expected, name
            if ended == "result":
                assert len(call.result().output) == 1, name
    summary.append(f"mutated HTTP streams: {sum(endings.values())}, of which {dict(endings)}")


@pytest.mark.parametrize(
    ("members", "error", "response"),
    [
        ({"error": {"message": "x"}}, True, False),
        ({"detail": "x"}, True, False),
        ({"type": "error", "error": {"type": "overloaded_error"}}, True, False),
        ({"type": "error", "code": "server_error", "message": "x"}, True, False),
        ({"type": "response.error", "message": "x"}, True, False),
        ({"type": 5, "message": "x"}, False, False),
        ({"error": None, "id": "r", "output": []}, False, True),
        ({"error": {"code": "x"}, "status": "failed"}, False, True),
        ({"error": {"code": "x"}, "status": "error"}, True, False),
        ({"error": {"code": "x"}, "status": 400}, True, False),
        ({"error": {"code": "x"}, "output": ()}, False, True),
        ({"object": "response"}, False, True),
        ({"object": "list", "data": []}, False, False),
        ({}, False, False),
    ],
)
def test_an_error_body_and_a_response_are_told_apart(members: Any, error: bool, response: bool) -> None:
    assert (is_error_body(members), is_response(members)) == (error, response)


class Slotted:
    """An event, an item or a response of a client that has neither pydantic nor attributes in a dict."""

    __slots__ = ("id", "item", "output", "output_index", "response", "type", "usage")

    def __init__(self, **members: Any) -> None:
        for name, value in members.items():
            setattr(self, name, value)


def test_objects_with_slots_and_properties_are_read() -> None:
    class Computed:
        id = "resp_1"

        @property
        def output(self) -> Any:
            return [MESSAGE]

        @property
        def status(self) -> Any:
            raise RuntimeError("not now")

    item = Slotted(type="message", id="m")
    for answer in (Slotted(id="resp_1", output=[item], usage=None), Computed()):
        call = call_of(raising=True)
        call.answer(answer)
        assert (call.result().response_id, len(call.result().output)) == ("resp_1", 1)
        call = call_of(raising=True)
        call.add(Slotted(type="response.output_item.done", item=item, output_index=0))
        assert call.add(Slotted(type="response.completed", response=Slotted(id="resp_1", usage=None)))
        assert call.result().output == [item]
    for nothing in (Slotted(), Slotted(type="x"), object()):
        assert isinstance(raised_by(lambda nothing=nothing: call_of(raising=True).answer(nothing)), TurnError)


def test_the_data_of_events_is_read_as_the_html_standard_says() -> None:
    text = ":c\r\n\r\nid: 1\rdata:a\rdata: b\r\rdata\n\nevent: x\n\ndata:  c\n\ndata: last"
    assert list(events_in(text)) == ["a\nb", " c", "last"]
    assert list(events_in("<html>data: x</html>")) == []


def test_content_types() -> None:
    answer = SimpleNamespace(headers={"content-type": "Text/Event-Stream; charset=utf-8"})
    assert content_type_of(answer) == "Text/Event-Stream; charset=utf-8"
    assert is_stream("Text/Event-Stream; charset=utf-8")
    assert not is_stream("text/plain")
    for odd in (SimpleNamespace(), SimpleNamespace(headers=None), SimpleNamespace(headers={"content-type": 3}), None):
        assert content_type_of(odd) is None
    kinds = ("application/json", "application/problem+json; x=y", "TEXT/HTML", "text/plain", "", None)
    assert [is_document(kind) for kind in kinds] == [True, True, True, False, False, False]
