"""The package ``events``: JSON text to typed structs and back, whatever the text."""

from __future__ import annotations

import contextlib
import copy
import gc
import json
import pickle
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import responses as sdk
from openai.types.beta.beta_response_inject_created_event import BetaResponseInjectCreatedEvent
from openai.types.beta.beta_response_inject_failed_event import BetaResponseInjectFailedEvent
from openai.types.responses import response_content_part_added_event, responses_server_event
from pydantic import BaseModel
from turnwire.sansio import events
from turnwire.sansio.errors import EventDecodeError
from turnwire.sansio.events import EVENT_TYPES, ServerEvent, decode_event, encode_event
from turnwire.sansio.events._json import Object, replace_surrogates

LIFECYCLE = ["created", "queued", "in_progress", "completed", "failed", "incomplete"]

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1760000000,
    "status": "completed",
    "model": "gpt-5.4",
    "output": [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "e",
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "Hello, ",
                    "annotations": [{"type": "url_citation", "url": "https://x"}],
                },
                {"type": "refusal", "refusal": "no"},
                {"type": "output_hologram", "text": "not text"},
                {"type": "output_text", "text": "world", "annotations": []},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "async": True},
        {"type": "hologram_call", "id": "hg_1", "depth": [1, 2]},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"default": None}}],
    "instructions": "be kind",
    "usage": {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens_details": {"reasoning_tokens": 2},
    },
    "error": None,
    "incomplete_details": None,
    "metadata": {"a": "b"},
    "field_of_tomorrow": {"x": None},
}


def wire(**members: Any) -> bytes:
    return json.dumps(members).encode()


def delta(**members: Any) -> bytes:
    return wire(type="response.output_text.delta", **members)


def completed(response: Any = RESPONSE, **members: Any) -> bytes:
    return wire(type="response.completed", response=response, **members)


def outcome(payload: bytes) -> str:
    """What is wrong with the text, or "" if it is delivered."""
    try:
        decode_event(payload)
    except EventDecodeError as error:
        return str(error).split(": ")[1].split(" —")[0]
    return ""


def response_of(**members: Any) -> events.Response:
    event = decode_event(completed(members))
    assert isinstance(event, events.ResponseCompletedEvent)
    return event.response


def item_of(**members: Any) -> events.OutputItem:
    event = decode_event(wire(type="response.output_item.done", item=members))
    assert isinstance(event, events.ResponseOutputItemDoneEvent)
    return event.item


# The schema, held against the installed SDK


def union_of(alias: Any) -> tuple[type[BaseModel], ...]:
    """The members of an ``Annotated[Union[...], ...]``."""
    return typing.get_args(typing.get_args(alias)[0])


def type_of(model: type[BaseModel]) -> str:
    return typing.get_args(model.model_fields["type"].annotation)[0]


def classes_in(annotation: Any, kind: type) -> Iterator[type]:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        if issubclass(annotation, kind):
            yield annotation
    else:
        for argument in typing.get_args(annotation):
            yield from classes_in(argument, kind)


STAND_INS = {events.ResponseHead, Object}
"""Structs that hold the place of what is decoded later, and checked by itself below."""


def lacks(ours: type, model: type[BaseModel], path: str) -> Iterator[str]:
    """The fields of the SDK's model that our struct does not have, at any depth where both are typed."""
    hints = typing.get_type_hints(ours)
    json_names = dict(zip(ours.__struct_encode_fields__, ours.__struct_fields__, strict=True))
    for name, field in model.model_fields.items():
        if name == "type" and issubclass(ours, events.ServerEvent | events.OutputItem | events.ContentPart):
            continue
        here = f"{path}.{name}"
        struct_field = json_names.get(field.alias or name)
        if struct_field is None or not hasattr(ours, name):
            yield here
            continue
        for part in classes_in(hints[struct_field], msgspec.Struct):
            if part not in STAND_INS:
                for submodel in classes_in(field.annotation, BaseModel):
                    yield from lacks(part, submodel, here)


SDK_EVENTS = {
    **{type_of(model): model for model in union_of(sdk.ResponsesServerEvent)},
    "response.inject.created": BetaResponseInjectCreatedEvent,
    "response.inject.failed": BetaResponseInjectFailedEvent,
}


def test_event_types_are_those_of_the_sdk_and_response_error():
    """P-EVENT-1."""
    assert len(union_of(sdk.ResponsesServerEvent)) >= 62
    assert set(SDK_EVENTS) - set(EVENT_TYPES) == set(), "types of the SDK that turnwire lacks"
    assert set(EVENT_TYPES) - set(SDK_EVENTS) == {"response.error"}


@pytest.mark.parametrize("kind", sorted(set(SDK_EVENTS) - {"error"}))
def test_event_has_the_sdks_name_and_fields(kind: str):
    cls, model = EVENT_TYPES[kind], SDK_EVENTS[kind]
    names = {base.__name__.removeprefix("Beta") for base in model.__mro__}
    assert cls.__name__ in names
    assert list(lacks(cls, model, cls.__name__)) == []
    assert cls.type == kind
    assert issubclass(cls, ServerEvent)


def test_error_event_has_the_sdks_particulars():
    ours = {"type": "error_type"}
    models = [responses_server_event.ResponseWsError, responses_server_event.ResponseWsErrorError]
    names = {ours.get(name, name) for model in models for name in model.model_fields} - {"error"}
    assert {name for name in names if not hasattr(events.ErrorEvent, name)} == set()


def test_output_items_have_the_sdks_names_and_fields():
    for model in union_of(sdk.ResponseOutputItem):
        item = item_of(type=type_of(model))
        assert type(item).__name__ == model.__name__
        assert item.type == type_of(model)
        assert list(lacks(type(item), model, model.__name__)) == []


def test_content_parts_have_the_sdks_fields():
    reasoning_text = response_content_part_added_event.PartReasoningText
    for model in (sdk.ResponseOutputText, sdk.ResponseOutputRefusal, reasoning_text):
        event = decode_event(wire(type="response.content_part.added", part={"type": type_of(model)}))
        assert isinstance(event, events.ResponseContentPartAddedEvent)
        assert not isinstance(event.part, events.UnknownPart)
        assert list(lacks(type(event.part), model, model.__name__)) == []


def test_response_has_the_sdks_fields():
    assert list(lacks(events.Response, sdk.Response, "Response")) == []


def test_the_schema_test_can_fail():
    assert "x.input_tokens" in list(lacks(events.Conversation, sdk.ResponseUsage, "x"))


def test_everything_public_is_exported():
    assert {name for name in events.__all__ if not hasattr(events, name)} == set()
    assert {cls.__name__ for cls in EVENT_TYPES.values()} <= set(events.__all__)


# Plain events


def test_text_delta():
    payload = delta(
        sequence_number=4,
        stream_id="planner",
        item_id="msg_1",
        output_index=1,
        content_index=2,
        delta="Grüße",
        logprobs=[{"token": "G", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "g", "logprob": -2}]}],
        obfuscation="xyz",
    )
    event = decode_event(payload)
    assert isinstance(event, events.ResponseTextDeltaEvent)
    assert event.type == "response.output_text.delta"
    assert (event.sequence_number, event.stream_id, event.item_id) == (4, "planner", "msg_1")
    assert (event.output_index, event.content_index, event.delta) == (1, 2, "Grüße")
    assert event.logprobs[0].top_logprobs == [events.TopLogprob(token="g", logprob=-2.0)]
    assert event.raw == payload.decode()
    assert event.raw_bytes is payload, "an event holds the message itself, not a copy or a bigger buffer"
    assert event.to_dict()["obfuscation"] == "xyz"


def test_every_field_but_type_may_be_missing():
    for kind, cls in EVENT_TYPES.items():
        event = decode_event(wire(type=kind))
        assert type(event) is cls
        assert event.type == kind
        assert event.sequence_number is None
        assert event.stream_id is None


def test_terminal_events_are_three():
    """P-EVENT-3."""
    assert {kind for kind, cls in EVENT_TYPES.items() if cls.terminal} == {
        "response.completed",
        "response.failed",
        "response.incomplete",
    }


def test_what_ends_a_turn_is_a_terminal_event_or_an_error():
    ends = {kind for kind, cls in EVENT_TYPES.items() if cls.ends_turn}
    assert ends == {kind for kind, cls in EVENT_TYPES.items() if cls.terminal or issubclass(cls, events.ErrorEvent)}


def test_events_are_frozen_light_and_shown_briefly():
    event = decode_event(delta(delta="x", output_index=0))
    with pytest.raises(AttributeError):
        event.delta = "y"
    assert not gc.is_tracked(event)
    assert repr(event) == "ResponseTextDeltaEvent(delta='x')"


def test_events_are_equal_if_their_text_is():
    one, other = decode_event(delta(delta="x")), decode_event(delta(delta="x"))
    assert one == other
    assert (one != other) is False
    assert hash(one) == hash(other)
    assert one != decode_event(delta(delta="x", new=1))
    assert one != "x"
    assert one != decode_event(wire(type="new"))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_keep_the_text(again: Any):
    event = decode_event(completed(stream_id="a"))
    assert isinstance(event, events.ResponseCompletedEvent)
    item = event.response.output[1]
    assert isinstance(item, events.ResponseOutputMessage)
    for thing in (
        event,
        event.response,
        item,
        item.content[0],
        decode_event(delta(new=1)),
        decode_event(wire(type="new")),
    ):
        assert again(thing) == thing
        assert again(thing).raw == thing.raw


# Lazy parts


@pytest.mark.parametrize("name", LIFECYCLE)
def test_lifecycle_events_tell_the_id_and_decode_the_response_once(name: str):
    event = decode_event(wire(type=f"response.{name}", response=RESPONSE))
    assert isinstance(event, events.LifecycleEvent)
    assert event.response_id == "resp_1"
    assert event.response.id == "resp_1"
    assert event.response is event.response


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        (b'{"type":"new","stream_id":"a","x":"\xff"}', "payload"),
        (b'{"type":"new","stream_id":"a","x":"\xff"}', "raw"),
    ],
)
def test_what_is_decoded_later_may_still_fail_attributably(payload: bytes, read: str):
    event = decode_event(payload)
    for _ in range(2):
        with pytest.raises(EventDecodeError) as failure:
            getattr(event, read)
        assert failure.value.attributable
        assert failure.value.stream_id == "a"


def test_what_is_no_object_in_the_output_or_in_a_message_is_left_out():
    response = response_of(id="r", output=[{"type": "message", "content": [5, {"type": "refusal"}]}, 5, None, []])
    (message,) = response.output
    assert isinstance(message, events.ResponseOutputMessage)
    assert [part.type for part in message.content] == ["refusal"]
    assert response.to_dict()["output"][1:] == [5, None, []]


def test_a_kept_item_does_not_keep_the_response():
    event = decode_event(completed())
    assert isinstance(event, events.ResponseCompletedEvent)
    assert event.response.raw == json.dumps(RESPONSE)
    assert event.response.output[2].raw == json.dumps(RESPONSE["output"][2])
    assert type(event.response.output[2].raw_bytes) is bytes


# The response


def test_response():
    event = decode_event(completed())
    assert isinstance(event, events.ResponseCompletedEvent)
    response = event.response
    assert (response.status, response.model, response.created_at) == ("completed", "gpt-5.4", 1760000000.0)
    assert response.output_text == "Hello, world"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (5, 7, 12)
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert response.error is None
    assert response.tools == RESPONSE["tools"]
    assert response.instructions == "be kind"
    assert response.metadata == {"a": "b"}
    assert response.to_dict() == RESPONSE
    assert repr(response) == "Response(id='resp_1', status='completed', model='gpt-5.4')"

    reasoning, message, call, unknown = response.output
    assert isinstance(reasoning, events.ResponseReasoningItem)
    assert (reasoning.summary[0].text, reasoning.encrypted_content) == ("hm", "e")
    assert isinstance(message, events.ResponseOutputMessage)
    text, refusal, hologram, _ = message.content
    assert isinstance(text, events.ResponseOutputText)
    assert text.annotations[0].url == "https://x"
    assert isinstance(refusal, events.ResponseOutputRefusal)
    assert refusal.refusal == "no"
    assert isinstance(hologram, events.UnknownPart)
    assert hologram.type == "output_hologram"
    assert repr(message) == "ResponseOutputMessage(id='msg_1', status='completed')"
    assert isinstance(call, events.ResponseFunctionToolCall)
    assert (call.call_id, call.name, call.arguments, call.async_) == ("call_1", "f", "{}", True)
    assert isinstance(unknown, events.UnknownItem)
    assert (unknown.type, unknown.id, unknown.to_dict()["depth"]) == ("hologram_call", "hg_1", [1, 2])


def test_response_of_a_failed_and_of_an_incomplete_turn():
    failed = response_of(status="failed", error={"code": "new_code", "message": "m"})
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("new_code", "m")
    incomplete = response_of(status="incomplete", incomplete_details={"reason": "steered"}, conversation={"id": "c"})
    assert incomplete.incomplete_details == events.IncompleteDetails(reason="steered")
    assert incomplete.conversation == events.Conversation(id="c")


@pytest.mark.parametrize("payload", [wire(type="response.completed"), completed({}), completed(None)])
def test_response_without_anything(payload: bytes):
    """P-OUTPUT-3."""
    event = decode_event(payload)
    assert isinstance(event, events.ResponseCompletedEvent)
    assert event.response_id is None
    assert (event.response.id, event.response.output, event.response.output_text) == ("", [], "")
    assert (event.response.tools, event.response.instructions, event.response.usage) == ([], None, None)


def test_output_text_agrees_with_the_sdk():
    reference = sdk.Response.construct(**RESPONSE, tool_choice="auto", parallel_tool_calls=True)
    assert response_of(**RESPONSE).output_text == reference.output_text == "Hello, world"


# Surprises that are delivered


def test_unknown_type_is_delivered():
    """P-EVENT-1."""
    payload = b'{"type": "response.hologram.delta", "sequence_number": 3, "stream_id": "a", "depth": [1.50]}'
    event = decode_event(payload)
    assert isinstance(event, events.UnknownEvent)
    assert (event.type, event.sequence_number, event.stream_id) == ("response.hologram.delta", 3, "a")
    assert event.raw == payload.decode()
    assert event.payload == json.loads(payload)
    assert event.payload is event.payload
    assert event.to_dict() is not event.payload


@pytest.mark.parametrize("odd", ["one", 1.5, True, [], None, {}])
def test_unknown_and_error_events_survive_an_odd_sequence_number(odd: Any):
    for kind in ("new", "error", "response.error"):
        assert decode_event(wire(type=kind, sequence_number=odd)).sequence_number is None


def test_unknown_items_and_parts_survive_odd_members():
    assert (
        item_of(type="new", id=[]) == events.UnknownItem(type="new", id=None) or item_of(type="new", id=[]).id is None
    )
    assert item_of().type == ""
    event = decode_event(wire(type="response.content_part.done", part=None))
    assert isinstance(event, events.ResponseContentPartDoneEvent)
    assert isinstance(event.part, events.UnknownPart)


def test_unknown_values_are_delivered():
    """P-EVENT-1."""
    assert response_of(status="pondering", service_tier="warp").status == "pondering"


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (
            delta(delta=None, item_id=None, logprobs=None, output_index=None),
            {"delta": "", "item_id": "", "logprobs": []},
        ),
        (delta(stream_id=None, sequence_number=None), {"stream_id": None, "sequence_number": None}),
        (b'{"type":"response.output_text.delta","delta":5,"delta":"b"}', {"delta": "b"}),
        (b'{"type":"response.created","type":"response.output_text.delta"}', {"type": "response.output_text.delta"}),
        (b'{"type":"response.output_text.delta","delta":"\\ud83d\\ude00"}', {"delta": "😀"}),
        (b'{"type":"response.output_text.delta","delta":"a\\ud83d"}', {"delta": "a\ufffd"}),
        (
            b'{"type":"response.output_text.delta","delta":"\\uDE00\\\\ud83d\\n\\ud83d\\ude00"}',
            {"delta": "\ufffd\\ud83d\n😀"},
        ),
        (b'{"type":"response.output_text.delta","delta":null,"new":"\\ud83d"}', {"delta": ""}),
        (b'{"type":"new\\ud83d"}', {"type": "new\ufffd", "payload": {"type": "new\ufffd"}}),
        (b'{"type":"error","message":"\\ud83d"}', {"message": "\ufffd"}),
        (b' \t\r\n{"type":"response.output_text.delta"} \n', {"delta": ""}),
        (b'{"type":"resp\\u006fnse.output_text.delta","delta":"\\u0000"}', {"delta": "\x00"}),
        (b'{"delta":"x","type":"response.output_text.delta"}', {"delta": "x"}),
        (delta(new=[[[{}]]], delta="x"), {"delta": "x"}),
        (b'{"type":"response.output_text.delta","new":1e999}', {"delta": ""}),
        (b'{"type":"response.output_text.delta","new":' + b"9" * 5000 + b"}", {"delta": ""}),
        (
            b'{"type":"response.output_text.delta","sequence_number":99999999999999999999}',
            {"sequence_number": 10**20 - 1},
        ),
    ],
)
def test_odd_but_readable_text_is_delivered_and_kept(payload: bytes, fields: dict[str, Any]):
    event = decode_event(payload)
    assert {name: getattr(event, name) for name in fields} == fields
    assert event.raw == payload.decode()
    assert encode_event(event) == payload


def test_nulls_within_the_response_count_as_missing():
    """P-FIELD-2."""
    response = response_of(id=None, model=None, usage={"input_tokens": 1, "input_tokens_details": None}, tools=None)
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 0
    assert response.raw == json.dumps(response.to_dict())
    item = item_of(type="message", content=None)
    assert isinstance(item, events.ResponseOutputMessage)
    assert item.content == []


def test_half_a_pair_within_the_response():
    event = decode_event(
        b'{"type":"response.completed","response":{"output":'
        b'[{"type":"message","content":[{"type":"output_text","text":"\\ud83d"}]}],"instructions":"\\ud83d"}}'
    )
    assert isinstance(event, events.ResponseCompletedEvent)
    assert event.response.output_text == "\ufffd"
    assert event.response.instructions == "\ufffd"


# Error messages


def test_error_as_documented():
    """P-EVENT-4."""
    event = decode_event(
        wire(
            type="error",
            status=429,
            stream_id="main",
            sequence_number=0,
            error={
                "type": "rate_limit_error",
                "code": "rate_limit_exceeded",
                "message": "slow down",
                "param": "model",
                "headers": {"Retry-After": "2", "odd": 5},
                "misalignment": {"error_type": "other"},
                "request_id": "req_1",
            },
        )
    )
    assert isinstance(event, events.ErrorEvent)
    assert (event.type, event.status, event.stream_id, event.sequence_number) == ("error", 429, "main", 0)
    assert (event.code, event.error_type, event.message) == ("rate_limit_exceeded", "rate_limit_error", "slow down")
    assert (event.param, event.request_id, event.headers) == ("model", "req_1", {"retry-after": "2", "odd": "5"})
    assert event.misalignment == {"error_type": "other"}
    assert event.payload["error"]["headers"]["odd"] == 5


def test_error_flat():
    """P-SHAPE-2."""
    event = decode_event(wire(type="response.error", code="c", message="m", param=None, request_id="req_1"))
    assert isinstance(event, events.ErrorEvent)
    assert (event.type, event.code, event.message, event.param) == ("response.error", "c", "m", None)
    assert (event.error_type, event.status, event.request_id, event.headers) == (None, None, "req_1", {})
    assert event.misalignment is None


def test_error_with_fields_of_surprising_types():
    event = decode_event(
        wire(
            type="error",
            status="400",
            error={"code": 5, "message": [], "headers": [], "misalignment": "x"},
            request_id=1,
        )
    )
    assert isinstance(event, events.ErrorEvent)
    assert (event.code, event.message, event.status, event.request_id, event.headers) == ("5", None, 400, None, {})
    assert event.misalignment is None
    assert event.payload["status"] == "400"
    for odd in (True, None, 4.5):
        event = decode_event(wire(type="error", error="boom", status=odd))
        assert isinstance(event, events.ErrorEvent)
        assert (event.status, event.code, event.error_type) == (None, None, None)


# Surprises that are errors

DEEP = 100_000


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "truncated"),
        (b"hello", "malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b'"text"', "Expected `object`, got `str`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"type":"response.output_text.delta"', "truncated"),
        (b'{"type":"response.output_text.delta"}x', "trailing"),
        (b'{"type":"response.output_text.delta"}{"type":"response.output_text.delta"}', "trailing"),
        (b'{"type":"response.output_text.delta","new":nan}', "malformed"),
        (b'{"type":"response.output_text.delta","new":-NaN1}', "malformed"),
        (b'{"type":"response.output_text.delta","new":01}', "malformed"),
        (b'{"type":"response.output_text.delta",}', "malformed"),
        (b'{"type":"response.output_text.delta","delta":"\n"}', "malformed"),
        (b'{"type":"response.output_text.delta","delta":"\\x"}', "malformed"),
        (b'{"type":"response.output_text.delta","delta":"\\ud83', "truncated"),
        (b'{"type":"response.output_text.delta","delta":"\\ud8"}', "malformed"),
        (b'\xef\xbb\xbf{"type":"response.output_text.delta"}', "malformed"),
        (b'{"type":"\xff"}', "utf-8"),
        (b"[" * DEEP, "Expected `object`"),
        (b'{"a":' * DEEP, "nested too deeply"),
        (b'{"type":"response.output_text.delta","a":' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply"),
        (b'{"type":"response.created","response":' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply"),
        (b'{"type":"error","error":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", "nested too deeply"),
    ],
)
def test_unreadable_text_belongs_to_no_lane(payload: bytes, problem: str):
    with pytest.raises(EventDecodeError) as failure:
        decode_event(payload)
    assert problem in str(failure.value)
    assert not failure.value.attributable
    assert failure.value.stream_id is None
    assert failure.value.__cause__ is None


def test_error_text_names_the_problem_and_stays_short():
    payload = b'["' + b"x" * 10_000 + b'"]'
    with pytest.raises(EventDecodeError) as failure:
        decode_event(payload)
    assert str(failure.value) == (
        "cannot read the server's message: Expected `object`, got `array` — no turn can be told from it — report it to "
        f"the server's operator: {payload[:200].decode()!r}… ({len(payload)} bytes)"
    )
    assert len(str(failure.value)) < 700


def test_reading_an_odd_text_may_run_out_of_stack():
    text = b'{"type":"response.output_text.delta","delta":null,"a":' + b"[" * 700 + b"]" * 700 + b"}"
    assert outcome(text) in {"", "nested too deeply"}


# Encoding


def test_encoding_a_decoded_event_gives_its_text():
    for payload in (delta(new=1, delta="x"), b' {"type" : "new"}', completed(), wire(type="error", code=5)):
        event = decode_event(payload)
        assert encode_event(event) == payload
        assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_an_event_made_here_survives_the_round_trip(kind: str):
    cls = EVENT_TYPES[kind]
    extra = {"type": kind} if cls is events.ErrorEvent else {}
    made = cls(sequence_number=3, stream_id="a", **extra)
    again = decode_event(encode_event(made))
    assert type(again) is cls
    assert again == made
    assert (again.type, again.sequence_number, again.stream_id) == (kind, 3, "a")
    assert b"null" not in encode_event(cls(**extra))


def test_a_changed_copy_has_its_own_text():
    event = decode_event(delta(delta="x", new=1))
    changed = msgspec.structs.replace(event, delta="y")
    assert changed.to_dict() == {
        "type": "response.output_text.delta",
        "item_id": "",
        "output_index": 0,
        "content_index": 0,
        "delta": "y",
        "logprobs": [],
    }
    assert json.loads(events.Response(id="r").raw)["id"] == "r"


def test_encoding_a_mapping():
    assert encode_event({"type": "response.completed", "x": None}) == b'{"type":"response.completed","x":null}'
    with pytest.raises(TypeError):
        encode_event({"type": object()})


# Anything at all


FIELDS = {name for cls in EVENT_TYPES.values() for name in cls.__struct_encode_fields__} - {"type"} | {
    "error",
    "status",
}
WORDS = st.sampled_from(["message", "output_text", "function_call", "reasoning", "refusal", *sorted(EVENT_TYPES)])
HALVES = st.text(st.characters(categories=["Cs"]) | st.characters(max_codepoint=127), max_size=3)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | HALVES | WORDS
KEYS = st.sampled_from(sorted(FIELDS | {"type", "id", "content", "output", "usage", "tools", "text"})) | HALVES
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
TYPES = st.sampled_from(sorted(EVENT_TYPES)) | HALVES
EVENTS = st.builds(lambda members, kind: {**members, "type": kind}, st.dictionaries(KEYS, JSON, max_size=4), TYPES)


repeatably = settings(derandomize=True, deadline=None)


def touch(thing: object) -> None:
    """Read all that can be read from an object, and from what comes out."""
    for name in dir(type(thing)):
        if isinstance(getattr(type(thing), name), property):
            with contextlib.suppress(EventDecodeError):
                value = getattr(thing, name)
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, events.Response | events.OutputItem | events.ContentPart):
                        touch(part)


def check(payload: bytes) -> None:
    try:
        event = decode_event(payload)
    except EventDecodeError:
        with contextlib.suppress(ValueError):
            assert not isinstance(msgspec.json.decode(payload), dict), "every JSON object is an event"
        return
    touch(event)
    if not any(word in payload for word in (b"NaN", b"Infinity")):  # Those count as null.
        assert encode_event(event) == payload
    assert event.type in EVENT_TYPES or isinstance(event, events.UnknownEvent | events.UnknownLifecycleEvent)


@repeatably
@given(st.sampled_from([b"", b'{"type":"response.created","response":', b'{"type":"']), st.binary(max_size=60))
def test_bytes_give_an_event_or_an_event_decode_error(beginning: bytes, junk: bytes):
    check(beginning + junk)


@repeatably
@given(JSON | EVENTS)
def test_json_gives_an_event_or_an_event_decode_error(value: object):
    check(json.dumps(value).encode())


@repeatably
@given(TYPES, JSON)
def test_any_response_item_and_part_is_read_or_refused(kind: str, value: object):
    for carrier, member in (("completed", "response"), ("output_item.done", "item"), ("content_part.done", "part")):
        check(wire(type=f"response.{carrier}", **{member: value}))


@repeatably
@given(st.text(st.sampled_from('\ud83d\ude00\udfff\\"nu😀')), st.sampled_from([0, 1]))
def test_halves_of_surrogate_pairs_are_replaced_and_nothing_else(text: str, wrong: int):
    event = decode_event(delta(delta=text, item_id=[None, ""][wrong]))
    assert isinstance(event, events.ResponseTextDeltaEvent)
    assert event.delta == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_a_text_with_a_nul_is_left_as_it_is():
    """It is no JSON, so nothing is replaced in it."""
    text = b'{"type":"x","delta":"\\ud800\0"}'
    assert replace_surrogates(text) is text
    with pytest.raises(EventDecodeError):
        decode_event(text)
