"""The module ``sdk``: our objects and those of ``construct_type``, compared in everything that a caller can see."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from functools import cache, partial
from typing import Annotated, Any, Literal, Union

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.processes import run_python
from kit.sdk_objects import difference
from kit.tiers import examples
from openai._models import add_request_id, construct_type
from openai._utils import PropertyInfo
from openai.types import responses as openai_types
from openai.types.responses import ResponsesServerEvent, ResponseStreamEvent
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from turnwire.sansio.events import EVENT_TYPES, LifecycleEvent, Response, UnknownEvent, decode_event
from turnwire.sansio.events import _openai as sdk
from turnwire.sansio.events import _openai_plans as plans
from typing_extensions import TypeAliasType

UNIONS = {"connect": ResponsesServerEvent, "stream": ResponseStreamEvent}


def shown(made: Any) -> list[Any]:
    """What the model's methods say; an exception's type where they fail, on a lone surrogate for example."""
    if not isinstance(made, BaseModel):
        return [made]
    methods = (
        made.__repr__,
        made.__str__,
        partial(made.to_json, warnings=False),
        partial(made.model_dump_json, warnings=False),
        partial(made.to_dict, warnings=False),
        partial(made.model_dump, mode="json", warnings=False, exclude_defaults=True),
    )
    answers: list[Any] = []
    for method in methods:
        try:
            answers.append(method())
        except Exception as error:
            answers.append(type(error))
    return answers


def compare(text: bytes, annotation: Any, *, thorough: bool = True) -> Any:
    """What the module makes of a JSON text, after holding it against what the SDK makes of it."""
    try:
        theirs = construct_type(value=json.loads(text), type_=annotation)
    except Exception:
        reader(annotation)(text, "message")
        return None
    ours = reader(annotation)(text, "message")
    assert difference(ours, theirs) == "", text
    if thorough:
        assert shown(ours) == shown(theirs), text
        assert ours == theirs
    return ours


@cache
def reader(annotation: Any) -> Any:
    return plans._reader(annotation)


# Messages, made from the SDK's declarations

WILD: list[Any] = [
    None, True, 0, 7, -1.5, 7.0, 2**70, 1e300, "", "7", "true", "tomorrow", [], [None], ["x", 7], [{}], {},
    {"type": "tomorrow", "x": 1}, {"type": None}, {"type": ["x"]}, [{"type": "tomorrow"}, [{"type": 7}]], {"text": "x"},
]  # fmt: skip
FEW: list[Any] = [None, 7, "7", "tomorrow", ["x"], {}, [{"type": "tomorrow"}]]


def unwrapped(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def members_of(annotation: Any) -> list[Any]:
    annotation = unwrapped(annotation)
    if not is_union(annotation):
        return [annotation]
    return [member for part in typing.get_args(annotation) for member in members_of(part) if member is not type(None)]


def valid(annotation: Any, depth: int = 0) -> Any:
    """A valid JSON value."""
    annotation = members_of(annotation)[0]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if is_model(annotation):
        return valid_object(annotation, depth)
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [valid(arguments[0], depth + 1)]
    if origin is dict:
        return {"key": valid(arguments[1], depth + 1)}
    return {str: "text", int: 3, float: 2.5, bool: True, object: {"any": [1]}, Any: {"any": [1]}}[annotation]


def valid_object(model: Any, depth: int, *, optional: bool = True) -> dict[str, Any]:
    return {
        field.alias or name: valid(field.annotation, depth + 1)
        for name, field in model.model_fields.items()
        if field.is_required() or (optional and depth < 6)
    }


def values(annotation: Any, depth: int, odd: list[Any], *, brief: bool = False) -> Iterator[Any]:
    """Values of every kind that the annotation allows, and odd ones, each odd in one place, ``depth`` levels deep."""
    for member in members_of(annotation):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if is_model(member):
            yield from objects(member, depth, odd, brief=brief)
        elif origin is Literal:
            yield from arguments
        elif origin is list:
            yield from ([value] for value in values(arguments[0], depth, odd, brief=brief))
            yield [valid(arguments[0]), valid(arguments[0])]
        elif origin is dict:
            yield from ({"key": value} for value in values(arguments[1], depth, odd, brief=brief))
        else:
            yield valid(member)
    yield from odd


def objects(model: Any, depth: int, odd: list[Any], *, brief: bool = False) -> Iterator[dict[str, Any]]:
    full = valid_object(model, 2, optional=not brief)
    yield full
    yield valid_object(model, 0, optional=False)
    yield {**full, "field_of_tomorrow": {"a": [None]}, "model_config": 1}
    if depth == 0:
        return
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key == "type":
            continue
        yield {other: value for other, value in full.items() if other != key}
        for value in values(field.annotation, depth - 1, odd, brief=brief):
            yield {**full, key: value}


def models_within(annotation: Any, found: dict[type, None]) -> dict[type, None]:
    if isinstance(annotation, list):
        for each in annotation:
            models_within(each, found)
    elif is_model(annotation):
        if annotation not in found:
            found[annotation] = None
            for field in annotation.model_fields.values():
                models_within(field.annotation, found)
    else:
        for argument in typing.get_args(annotation):
            models_within(argument, found)
    return found


def models_in(made: Any) -> Iterator[type]:
    if isinstance(made, BaseModel):
        yield type(made)
        yield from models_in(list(made.__dict__.values()))
    elif isinstance(made, dict):
        yield from models_in(list(made.values()))
    elif isinstance(made, list):
        for each in made:
            yield from models_in(each)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def tag_of(model: Any) -> str:
    return typing.get_args(model.model_fields["type"].annotation)[0]


# Every event, every item, every field

MODELS = {name: members_of(union) for name, union in UNIONS.items()}
CARRIERS = {"response.created", "response.queued", "response.in_progress", "response.failed", "response.incomplete"}
"""Events that carry a response as ``response.completed`` does, which stands for them in the long tests."""


@pytest.mark.parametrize("api", UNIONS)
def test_every_event_odd_in_every_field(api: str):
    assert len(MODELS[api]) >= {"connect": 62, "stream": 59}[api]
    count = 0
    for model in MODELS[api]:
        depth = 0 if tag_of(model) in CARRIERS else 1
        for value in objects(model, depth, WILD):
            compare(encoded(value), UNIONS[api], thorough=count % 7 == 0)
            count += 1
    assert count > 3000


def test_every_output_item_odd_two_levels_deep():
    items = members_of(openai_types.ResponseOutputItem)
    assert len(items) >= 28
    for item in items:
        for count, value in enumerate(objects(item, 2, FEW)):
            message = {"type": "response.output_item.done", "item": value, "output_index": 0, "sequence_number": 1}
            compare(encoded(message), ResponseStreamEvent, thorough=count % 7 == 0)


def test_a_response_odd_at_any_depth():
    """Tools, formats, input items as instructions; and every model that a response can hold is built once at least."""
    built: set[type] = set()
    for depth, odd in ((2, [7]), (5, [])):
        for count, value in enumerate(objects(openai_types.ResponseCompletedEvent, depth, odd, brief=True)):
            models = set(models_in(reader(ResponseStreamEvent)(encoded(value), "message")))
            if not models <= built or count % 5 == 0:
                compare(encoded(value), ResponseStreamEvent, thorough=count % 50 == 0)
                built |= models
    assert set(models_within(openai_types.ResponseCompletedEvent, {})) - built == set()


def test_every_model_that_can_occur_odd_in_every_field():
    models = models_within(list(UNIONS.values()), {})
    assert len(models) > 400
    for model in models:
        TypeAdapter(model).validate_python(valid_object(model, 0))  # or these tests compare less than they seem to
        for value in objects(model, 1, FEW):
            compare(encoded(value), model | None, thorough=False)


# Messages at random

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4), st.sampled_from(WILD)
)
wild = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)


def seldom(odd: st.SearchStrategy[Any], regular: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 11).flatmap(lambda chance: odd if chance == 11 else regular)


@cache
def messages(annotation: Any) -> st.SearchStrategy[Any]:
    """JSON values for an annotation of the SDK's, read off its models; some are odd."""
    members = members_of(annotation)
    if len(members) > 1:
        return st.deferred(lambda: st.one_of([messages(member) for member in members]))
    annotation = members[0]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if is_model(annotation):
        return st.deferred(lambda: random_objects(annotation))
    if origin is Literal:
        return seldom(wild, st.sampled_from(arguments))
    if origin is list:
        return seldom(wild, st.deferred(lambda: st.lists(messages(arguments[0]), max_size=2)))
    if origin is dict:
        return seldom(
            wild, st.deferred(lambda: st.dictionaries(st.text(max_size=3), messages(arguments[1]), max_size=2))
        )
    simple = {str: st.text(max_size=5), int: st.integers(-9, 9), float: st.floats(-9, 9), bool: st.booleans()}
    return seldom(wild, simple.get(annotation, wild))


@cache
def random_objects(model: Any) -> st.SearchStrategy[Any]:
    required = {
        field.alias or name: field.annotation for name, field in model.model_fields.items() if field.is_required()
    }
    optional = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    kind = {"type": required["type"]} if "type" in required else {}

    @st.composite
    def made(draw: st.DrawFn) -> Any:
        chance = draw(st.integers(0, 11))
        if chance == 11:
            return draw(wild)
        names = list(required) if chance < 8 else draw(st.lists(st.sampled_from(list(optional)), unique=True))
        names += draw(st.lists(st.sampled_from(list(optional)), max_size=3))
        value = {name: draw(messages(optional[name])) for name in [*kind, *names]}
        if chance % 4 == 3:
            value |= draw(
                st.dictionaries(st.sampled_from(["async_", "schema_", "new", "type", "self"]), wild, max_size=2)
            )
        return value

    return made()


@settings(deadline=None, max_examples=examples(400), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_event(data: st.DataObject):
    """P-FIELD-5."""
    api = data.draw(st.sampled_from(sorted(UNIONS)))
    model = data.draw(st.sampled_from(MODELS[api]))
    compare(encoded(data.draw(messages(model))), UNIONS[api])


@settings(deadline=None, max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(messages(openai_types.Response))
def test_any_response(value: Any):
    compare(encoded(value), openai_types.Response)


# What is peculiar about the SDK's construction


def made(**members: Any) -> Any:
    return compare(encoded(members), ResponseStreamEvent)


def test_valid_messages_are_validated_and_others_are_constructed():
    valid_delta = valid_object(openai_types.ResponseTextDeltaEvent, 0)
    assert made(**{**valid_delta, "sequence_number": "7"}).sequence_number == 7
    assert made(**{**valid_delta, "sequence_number": "7", "logprobs": 0}).sequence_number == "7"


def test_a_null_is_the_default_but_set():
    event = made(type="response.output_text.delta", delta=None)
    assert event.delta is None
    assert event.model_fields_set == {"type", "delta"}


def test_a_field_with_an_alias_is_also_an_extra_field_if_constructed():
    call = valid_object(openai_types.ResponseFunctionToolCall, 0)
    for status, extra in (("completed", {}), ("tomorrow", {"async": True})):
        item = {**call, "status": status, "async": True, "async_": "lost"}
        event = made(type="response.output_item.done", item=item, output_index=0, sequence_number=1)
        assert event.item.async_ is True
        assert event.item.model_extra == (extra or {"async_": "lost"})


def test_an_unknown_item_is_the_first_of_the_union():
    event = made(type="response.output_item.done", item={"type": "hologram", "id": "x", "depth": 3})
    assert type(event.item) is openai_types.ResponseOutputMessage
    assert event.item.depth == 3


def test_an_unknown_event_is_the_first_of_the_union():
    for annotation, first in (
        (ResponsesServerEvent, openai_types.responses_server_event.ResponseAudioWsDelta),
        (ResponseStreamEvent, openai_types.ResponseAudioDeltaEvent),
    ):
        for kind in ("tomorrow", "response.error", "response.inject.created", None, 7, ["x"]):
            assert type(compare(encoded({"type": kind, "x": 1}), annotation)) is first
        assert type(compare(b"{}", annotation)) is first


def test_errors_are_nested_for_connect_and_flat_for_stream():
    text = encoded({"type": "error", "status": 400, "error": {"code": "c", "message": "m", "type": "t"}})
    event = decode_event(text)
    assert sdk.to_server_event(event).error.code == "c"
    assert sdk.to_stream_event(event).code is None
    assert sdk.to_stream_event(event).error == {"code": "c", "message": "m", "type": "t"}


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"response.output_text.delta","delta":"\\ud83d"}',
        b'{"type":"response.output_text.delta","delta":"x","\\ud83d":"\\ud83d"}',
        b'{"type":"response.output_text.delta","delta":"x","delta":"y","new":1,"new":2}',
        b'{"type":"response.output_text.done","type":"response.output_text.delta","delta":"y"}',
        b'{"type":"response.output_text.delta","type":"response.output_text.done","text":"y"}',
        b'{"type":"response.output_text.delta","sequence_number":123456789012345678901234567890}',
        b'{"type":"response.completed","response":{"created_at":123456789012345678901234567890,"top_p":-0}}',
        b'{"type":"response.completed","response":{"created_at":9007199254740993,"temperature":1e999,"top_p":true}}',
        b'{"type":"response.completed","response":{"created_at":-0,"temperature":-0.0,"top_p":0.1e-400}}',
        b'{"type":"new","x":' + b"[" * 300 + b"]" * 300 + b"}",
        b' {"type" : "new", "x": [Infinity, -Infinity]}',
    ],
)
def test_odd_json(text: bytes):
    for annotation in (ResponsesServerEvent, ResponseStreamEvent):
        compare(text, annotation)


DEEP = b'{"a":' * 300 + b"1" + b"}" * 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"type":"new","_fields_set":"x","y":1}', {"type": "new", "y": 1}),
        (b'{"type":"new","x":[{"_fields_set":7,"y":1}],"_BaseModel__cls":1}', {"type": "new", "x": [{"y": 1}]}),
        (b'{"type":"new","x":"\xff","_fields_set":1}', {"type": "new", "x": "\ufffd"}),
        (b'{"type":"new","x":1%b}' % (b"0" * 5000), {"type": "new", "x": math.inf}),
        (b'{"type":"new","_fields_set":1,"z":1,"x":%b}' % DEEP, {"type": "new", "z": 1}),
        (b'{"type":"new","_fields_set":1,"z":"\\ud83d","x":%b}' % DEEP, {"type": "new"}),
    ],
)
def test_where_the_sdk_raises_the_object_is_made_of_what_it_can_take(text: bytes, expected: dict[str, Any]):
    for annotation in (ResponsesServerEvent, ResponseStreamEvent):
        theirs = construct_type(value=expected, type_=annotation)
        assert difference(reader(annotation)(text, "new"), theirs) == ""


@pytest.mark.parametrize(
    "members",
    [
        b'"response":{"id":"x","_fields_set":7}',
        b'"response":{"_BaseModel__cls":1,"status":"completed"}',
        b'"response":{"created_at":1%b}' % (b"0" * 400),
        b'"response":5',
        b'"response":null',
        b'"response":[{"id":"x"}]',
        b'"response":{"output":[5,null,[{}],{"type":5},{"type":"message","content":[5]}]}',
        b'"response":{"output":"x","usage":[],"tools":{},"text":7,"error":"boom","metadata":[1]}',
        b'"item":[],"part":5,"response":"x"',
    ],
)
def test_nothing_that_was_delivered_makes_it_raise(members: bytes):
    """P-FIELD-5."""
    for kind in EVENT_TYPES:
        event = decode_event(b'{"type":"%b",%b}' % (kind.encode(), members))
        assert event.to_openai() is not None
        sdk.to_stream_event(event)
        if isinstance(event, LifecycleEvent):
            assert isinstance(event.response.to_openai(), openai_types.Response)


def test_a_parameter_of_construct_that_does_no_harm():
    assert made(type="new", _fields_set=None).type == "new"
    assert made(**valid_object(openai_types.ResponseTextDeltaEvent, 0), _fields_set="x").model_extra == {
        "_fields_set": "x"
    }


# When the oracle is asked


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The annotations for which a plan has asked the oracle since the test began, with no plan made before."""
    annotations: list[Any] = []
    oracle = plans._oracle

    def recorded(annotation: Any, metadata: Any = ()) -> plans.Plan:
        annotations.append(annotation)
        return oracle(annotation, metadata)

    monkeypatch.setattr(plans, "_oracle", recorded)
    plans._model.cache_clear()
    yield annotations
    plans._model.cache_clear()


def test_the_oracle_is_not_asked_for_anything_that_the_sdk_declares_today(asked: list[Any]):
    for union in UNIONS.values():
        plans._reader(union)
    for model in models_within(list(UNIONS.values()), {}):
        assert callable(plans._model(model).construct)
    assert asked == []


def test_no_message_that_is_only_new_or_partial_goes_to_the_oracle(asked: list[Any]):
    for union in UNIONS.values():
        read = plans._reader(union)
        for model in members_of(union):
            read(encoded(valid_object(model, 0)), "message")
            read(encoded({"type": tag_of(model), "new": 1}), "message")
        read(encoded({"type": "tomorrow"}), "message")
    assert asked == []


class Tagged(openai.BaseModel):
    type: Literal["a"]
    x: int


class TaggedToo(openai.BaseModel):
    type: Literal["a", "d"]
    x: str


class Other(openai.BaseModel):
    type: Literal["b"]
    y: float | None = 1.5


class Loose(openai.BaseModel):
    type: Literal["a"] | None = None
    x: int | None = None


class Aliased(openai.BaseModel):
    type: Literal["c"] = Field(alias="kind")


class Defaulted(openai.BaseModel):
    type: Literal["z"] = "z"


class Numbered(openai.BaseModel):
    type: Literal[1]


class Changeable(openai.BaseModel):
    x: list[int] = Field(default=[])


class MadeByFactory(openai.BaseModel):
    x: list[int] = Field(default_factory=list)


class MadeInItsOwnWay(openai.BaseModel):
    x: int

    @classmethod
    def construct(cls, _fields_set: set[str] | None = None, **values: object) -> Any:
        return super().construct(_fields_set, **{**values, "made": True})


class ByName(openai.BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    x: int = Field(alias="ex")


class TypedExtra(openai.BaseModel):
    __pydantic_extra__: dict[str, Tagged] = Field(init=False)
    x: int = 0


Recursive = TypeAliasType("Recursive", list["Recursive"] | int)
By = PropertyInfo

STRANGE: list[Any] = [
    Annotated[Tagged | Loose, By(discriminator="type")],
    Annotated[Tagged | TaggedToo | Other, By(discriminator="type")],
    Tagged | TaggedToo | Other,
    Other | TaggedToo | Tagged | None,
    Other,
    Annotated[Tagged | Defaulted, By(discriminator="type")],
    Tagged | Other | Defaulted,
    Tagged | Other | Aliased,
    Tagged | dict[str, int] | Other,
    Annotated[Tagged | Other, By(discriminator="x")],
    Annotated[Tagged | Other, By(alias="no discriminator")],
    Annotated[Tagged | Other | Aliased, By(discriminator="type")],
    Annotated[Tagged | Other | Numbered, By(discriminator="type")],
    Annotated[Annotated[Tagged | Other, By(discriminator="type")] | str | None, By(discriminator="type")],
    Tagged | Other,
    str | list[Tagged] | Other | Tagged,
    Loose | Other,
    Literal["a"] | Literal[1] | int,
    Literal["a"] | str | None,
    bool | float,
    int | float | None,
    Tagged | Other | None,
    datetime | None,
    float | datetime,
    datetime,
    Recursive,
    list[Recursive],
    dict[str, Changeable],
    MadeByFactory | None,
    MadeByFactory,
    list[MadeInItsOwnWay],
    ByName | None,
    ByName,
    TypedExtra,
    list,
    dict,
    dict[str, float],
    Annotated[list[Annotated[float, "seconds"]], "since"],
    object,
    Any,
    BaseModel,
]
"""What the SDK does not declare among the responses today, and may tomorrow."""

STRANGE_VALUES: list[Any] = [
    *WILD,
    {"type": "a"}, {"type": "a", "x": 1}, {"type": "a", "x": "1"}, {"type": "a", "x": "no"}, {"type": "b", "y": None},
    {"type": "b", "y": 2}, {"type": "b", "y": "no"}, {"kind": "c"}, {"type": "c"}, {"kind": "no"}, {"type": 1},
    {"type": "z"}, {"type": "b", "kind": "c"},
    {"x": 1}, {"x": "no"}, {"ex": 1}, {"ex": "no", "x": 2}, {"x": [1]}, {"x": ["no"]}, {"x": None}, {"x": 1, "y": {}},
    {"y": {"x": "no"}}, [{"type": "a", "x": "no"}, None], [{"type": "a", "x": 1}], [[1, [2]], []], [[], "x"],
    "2026-01-02T03:04:05Z", "a", "1", 1, False, 5.5, [1, 2.5, "x"], {"k": 1}, {"k": "x"},
]  # fmt: skip


@pytest.mark.parametrize("annotation", STRANGE, ids=str)
def test_declarations_of_tomorrow(annotation: Any):
    for value in STRANGE_VALUES:
        compare(encoded(value), annotation)


# Our own objects


DELTA = {"type": "response.output_text.delta", "delta": "Hi", "stream_id": "planner", "new": 1}
RESPONSE: dict[str, Any] = valid_object(openai_types.Response, 0)


def test_an_event_becomes_what_each_way_of_streaming_yields():
    event = decode_event(encoded(DELTA))
    connected, streamed = event.to_openai(), sdk.to_stream_event(event)
    assert type(connected) is openai_types.responses_server_event.ResponseTextWsDelta
    assert type(streamed) is openai_types.ResponseTextDeltaEvent
    assert isinstance(connected, openai_types.ResponseTextDeltaEvent)
    assert connected.stream_id == "planner"
    assert connected.model_extra == {"new": 1}
    assert streamed.model_extra == {"new": 1, "stream_id": "planner"}
    assert event.to_openai() is not connected
    assert difference(sdk.to_server_event(event), connected) == ""


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_every_event_of_ours_becomes_the_sdks(kind: str):
    models = {tag_of(model): model for model in MODELS["connect"]}
    value = valid_object(models[kind], 0) if kind in models else {"type": kind}
    event = decode_event(encoded(value))
    assert isinstance(event, EVENT_TYPES[kind])
    for convert, annotation in (
        (sdk.to_server_event, ResponsesServerEvent),
        (sdk.to_stream_event, ResponseStreamEvent),
    ):
        assert difference(convert(event), construct_type(value=value, type_=annotation)) == ""


def test_a_response_becomes_what_create_returns():
    event = decode_event(encoded({"type": "response.completed", "response": RESPONSE, "sequence_number": 1}))
    assert isinstance(event, LifecycleEvent)
    response = event.response.to_openai()
    assert difference(response, construct_type(value=RESPONSE, type_=openai_types.Response)) == ""
    assert response.output_text == event.response.output_text == "text"
    assert not hasattr(response, "_request_id")
    assert response == sdk.to_stream_event(event).response


def test_a_response_has_the_request_id_that_it_is_given():
    ours = Response(id="r")
    response = sdk.response_to_openai(ours, request_id="req_1")
    theirs = construct_type(value=ours.to_dict(), type_=openai_types.Response)
    add_request_id(theirs, "req_1")
    assert response._request_id == "req_1"
    assert "_request_id" not in response.to_dict()
    assert difference(response, theirs) == ""
    assert not hasattr(sdk.response_to_openai(ours), "_request_id")


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_an_sdk_event_becomes_ours(kind: str):
    event = decode_event(encoded({"type": kind, "sequence_number": 3, "stream_id": "a", "delta": None, "new": [1]}))
    ours = sdk.from_openai(event.to_openai())
    assert type(ours) is type(event)
    assert ours.to_dict() == event.to_dict()


def test_an_sdk_response_becomes_ours():
    ours = sdk.from_openai(openai_types.Response.construct(**RESPONSE))
    assert type(ours) is Response
    assert ours.to_dict() == RESPONSE


def test_the_details_of_usage_that_no_server_sent_are_zeros():
    usage = openai_types.ResponseUsage
    details = sdk.no_tokens()
    for made, name in zip(details, ("input_tokens_details", "output_tokens_details"), strict=True):
        assert type(made) is usage.model_fields[name].annotation
        assert set(made.to_dict(exclude_none=True).values()) == {0}


def test_half_a_surrogate_pair_survives_both_ways():
    event = decode_event(b'{"type":"response.output_text.delta","delta":"\\ud83d"}')
    assert event.to_openai().delta == "\ud83d"
    assert sdk.from_openai(event.to_openai()).raw_bytes == b'{"delta": "\\ud83d", "type": "response.output_text.delta"}'


def test_an_sdk_event_without_a_type_becomes_an_unknown_event():
    event = sdk.from_openai(openai_types.ResponseTextDeltaEvent.construct(delta="x"))
    assert (type(event), event.to_dict()) == (UnknownEvent, {"delta": "x"})


def test_openai_is_imported_when_it_is_needed_and_not_before():
    program = """
import sys
from turnwire.sansio import sdk
from turnwire.sansio.events import decode_event
event = decode_event(b'{"type":"response.output_text.delta"}')
assert not {"openai", "pydantic"} & set(sys.modules)
event.to_openai()
assert "openai" in sys.modules
"""
    run_python(program)
