"""The room ``sdk``: our objects and those of ``construct_type``, compared in everything that a caller can see."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Optional, Union

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai._utils import PropertyInfo
from openai.types import responses as openai_types
from openai.types.responses import ResponsesServerEvent, ResponseStreamEvent
from pydantic import BaseModel, Field, TypeAdapter
from turnwire.sansio import sdk
from turnwire.sansio.errors import EventDecodeError
from turnwire.sansio.events import EVENT_TYPES, ErrorEvent, Response, decode_event

UNIONS = {"connect": ResponsesServerEvent, "stream": ResponseStreamEvent}


# The comparison


def difference(ours: Any, theirs: Any, path: str = "$") -> str:
    """Where two values differ in type, fields, extra fields, which were set, private attributes; "" if nowhere."""
    if type(ours) is not type(theirs):
        return f"{path}: {type(ours)} is not {type(theirs)}"
    if isinstance(ours, BaseModel):
        if ours.__pydantic_fields_set__ != theirs.__pydantic_fields_set__:
            return f"{path}: set {ours.__pydantic_fields_set__} is not {theirs.__pydantic_fields_set__}"
        return (
            difference(ours.__dict__, theirs.__dict__, path)
            or difference(ours.__pydantic_extra__, theirs.__pydantic_extra__, f"{path}<extra>")
            or difference(ours.__pydantic_private__, theirs.__pydantic_private__, f"{path}<private>")
        )
    if isinstance(ours, dict):
        if list(ours) != list(theirs):
            return f"{path}: {list(ours)} is not {list(theirs)}"
        return next(filter(None, (difference(ours[key], theirs[key], f"{path}.{key}") for key in ours)), "")
    if isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"{path}: {len(ours)} elements, not {len(theirs)}"
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next(filter(None, (difference(one, other, f"{path}[{i}]") for i, (one, other) in pairs)), "")
    same = ours == theirs or (isinstance(ours, float) and math.isnan(ours) and math.isnan(theirs))
    return "" if same else f"{path}: {ours!r} is not {theirs!r}"


def shown(made: Any) -> tuple[Any, ...]:
    if not isinstance(made, BaseModel):
        return (made,)
    try:
        text = made.model_dump_json(warnings=False)
    except Exception as error:  # half a surrogate pair: neither can be written
        text = type(error).__name__
    return repr(made), str(made), text, made.model_dump(warnings=False, exclude_unset=True, by_alias=True)


def compare(text: bytes, annotation: Any, *, thorough: bool = True) -> Any:
    """What the room makes of a JSON text, after holding it against what the SDK makes of it."""
    try:
        theirs = construct_type(value=json.loads(text), type_=annotation)
    except Exception:
        with pytest.raises(EventDecodeError, match="cannot make an openai object"):
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
    return sdk._reader(annotation)


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


def values(annotation: Any, depth: int, odd: list[Any]) -> Iterator[Any]:
    """Values of every kind that the annotation allows, and odd ones, each odd in one place, ``depth`` levels deep."""
    for member in members_of(annotation):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if is_model(member):
            yield from objects(member, depth, odd)
        elif origin is Literal:
            yield from arguments
        elif origin is list:
            yield from ([value] for value in values(arguments[0], depth, odd))
            yield [valid(arguments[0]), valid(arguments[0])]
        elif origin is dict:
            yield from ({"key": value} for value in values(arguments[1], depth, odd))
        else:
            yield valid(member)
    yield from odd


def objects(model: Any, depth: int, odd: list[Any]) -> Iterator[dict[str, Any]]:
    full = valid_object(model, 2)
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
        for value in values(field.annotation, depth - 1, odd):
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


def test_a_response_odd_three_levels_deep():
    """Tools, formats, input items as instructions; and every model that a response can hold is built once at least."""
    built: set[type] = set()
    for depth, odd in ((2, [7]), (4, [])):
        for count, value in enumerate(objects(openai_types.ResponseCompletedEvent, depth, odd)):
            built.update(models_in(compare(encoded(value), ResponseStreamEvent, thorough=count % 50 == 0)))
    assert set(models_within(openai_types.ResponseCompletedEvent, {})) - built == set()


def test_every_model_that_can_occur_odd_in_every_field():
    models = models_within(list(UNIONS.values()), {})
    assert len(models) > 400
    for model in models:
        TypeAdapter(model).validate_python(valid_object(model, 0))  # or these tests compare less than they seem to
        for value in objects(model, 1, FEW):
            compare(encoded(value), Optional[model], thorough=False)


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


@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_event(data: st.DataObject):
    api = data.draw(st.sampled_from(sorted(UNIONS)))
    model = data.draw(st.sampled_from(MODELS[api]))
    compare(encoded(data.draw(messages(model))), UNIONS[api])


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(messages(openai_types.Response))
def test_any_response(value: Any):
    compare(encoded(value), openai_types.Response)
