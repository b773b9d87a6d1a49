"""How the SDK's objects are made from a message's text: the plans behind ``to_openai()``.

The promise
    The object equals the one that ``openai._models.construct_type`` builds, for every message: in type, fields, extra
    fields, ``model_fields_set``, JSON and repr; it is made faster. No delivered event makes these functions raise. If
    ``construct_type`` raises for a message, the result is what it makes of that message without the parts that it
    cannot accept.

Why ``construct_type`` is slow
    It asks pydantic whether the message is valid. Pydantic is not told that ``type`` distinguishes the events, so it
    validates the message against all 62 classes. Within the message it does the same for 28 kinds of output items, 16
    kinds of tools, and so on. Only if none fits, it goes field by field, accepts everything, and does the same for
    every union.

How plans work
    1. *Validate.* The SDK's own core schema is given to pydantic again, with a tagged union in place of every union
       whose members ``type`` distinguishes. Pydantic still validates and builds everything, but without trying every
       member. The result is the same: a member that requires another ``type`` cannot fit. The smallest messages, such
       as deltas, are made without pydantic (:mod:`._openai_quick`).
    2. *Construct.* A message that is not valid (a field is missing, an enumeration has a new value) is built without
       validation, as ``construct_type`` does. There is one plan per model: a table from JSON name to field and the plan
       for its value.
    3. *Call the original.* If a plan cannot be certain, ``construct_type`` itself is called. It is called for a part of
       the message in these cases: a union with a discriminator that does not distinguish all members; an annotation
       that is not a model, union, list, dict, literal or plain type; a model with a ``construct``, typed extra fields,
       population by name or mutable defaults of its own. It is called for the whole message in these cases: members
       named like the parameters of ``construct``; half a surrogate pair; nesting beyond 200; any other failure.

    Plans are compiled on first use, from the installed SDK's declarations, and kept: no list of types or fields is
    repeated here. ``openai`` is imported then, and not before: see :mod:`._openai`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin

from ._lenient import decode_members
from ._openai_quick import quick_reader

if TYPE_CHECKING:
    import openai.types.responses as sdk
    from pydantic_core import SchemaValidator

ValuePlan = Callable[[Any], Any]
"""Makes the SDK's value from a JSON value, as ``construct_type`` does for one annotation."""

NO_OBJECTS = frozenset({"str", "int", "float", "bool", "none", "literal", "list"})
"""Types of core schema that no JSON object fits, even in pydantic's lax mode."""

NOT_SCHEMAS = frozenset({"metadata", "default", "config", "expected"})
"""Members of a core schema that hold values. The values may look like schemas."""

BEYOND_FLOAT = 309
"""An integer with this many digits is larger than a float can hold."""

MOST_NESTED = 200
"""The maximal nesting of a message from which members are removed."""

SCALARS = (str, int, float, bool, types.NoneType)


def read_server_event(text: bytes, kind: str) -> sdk.ResponsesServerEvent:
    """What ``client.responses.connect()`` makes of a text with ``type`` ``kind``."""
    return _server_event_reader()(text, kind)


def read_stream_event(text: bytes, kind: str) -> sdk.ResponseStreamEvent:
    """What ``client.responses.create(stream=True)`` makes of a text with ``type`` ``kind``."""
    return stream_event_reader()(text, kind)


def read_response(text: bytes) -> sdk.Response:
    """What ``client.responses.create()`` makes of this text."""
    return _response_reader()(text, "response")


@cache
def _server_event_reader() -> Callable[..., Any]:
    from openai.types.responses import ResponsesServerEvent

    return _reader(ResponsesServerEvent)


@cache
def stream_event_reader() -> Callable[[bytes, str], Any]:
    """The function :func:`read_stream_event`, for loops."""
    from openai.types.responses import ResponseStreamEvent

    return _reader(ResponseStreamEvent)


@cache
def _response_reader() -> Callable[..., Any]:
    from openai.types.responses import Response as SdkResponse

    return _reader(SdkResponse)


def _reader(annotation: Any) -> Callable[[bytes, str], Any]:
    """A function that makes the SDK's object from a JSON text and the ``type`` that the text is known to have."""
    from pydantic_core import from_json  # not msgspec's: that makes floats of integers beyond 64 bits

    plan = _plan(annotation)
    tagged = _by_tag(annotation) or {}

    def read(text: bytes, kind: str) -> Any:
        model = tagged.get(kind)
        if model is not None:
            try:
                return model.validate_json(text)
            except ValueError:  # This includes ValidationError: not valid, or not JSON to pydantic.
                pass
        try:
            return plan(from_json(text))
        except Exception:
            return _ask(annotation, text, kind)

    return read


def _ask(annotation: Any, text: bytes, kind: str) -> Any:
    """The result of ``construct_type`` for a whole message; if it raises, for the parts of it that it can accept."""
    oracle = _oracle(annotation)
    for load in (json.loads, _takeable, _flat):
        with suppress(Exception):
            return oracle(load(text))
    return oracle({"type": kind})


def _takeable(text: bytes) -> Any:
    """The message without members named like parameters of ``construct``, too large numbers, and bytes not UTF-8."""
    value = json.loads(text.decode(errors="replace"), parse_int=_integer)
    return _without(PARAMETERS, value)


def _flat(text: bytes) -> Any:
    """The members of the message that are neither arrays nor objects. The others may be nested to any depth."""
    members = [(name, bytes(member)) for name, member in decode_members(text).items() if name not in PARAMETERS]
    return {name: json.loads(member, parse_int=_integer) for name, member in members if member[:1] not in b"{["}


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < BEYOND_FLOAT else float(digits)


def _without(names: frozenset[str], value: Any, depth: int = 0) -> Any:
    if depth > MOST_NESTED:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return {name: _without(names, member, depth + 1) for name, member in members if name not in names}
    if isinstance(value, list):
        return [_without(names, each, depth + 1) for each in cast("list[Any]", value)]
    return value


def _oracle(annotation: Any, metadata: Iterable[Any] = ()) -> ValuePlan:
    """The plan that calls ``construct_type`` itself."""
    from openai._models import construct_type  # Private to openai (3.57); pyproject.toml bounds the version.

    return lambda value: construct_type(value=value, type_=annotation, metadata=list(metadata))


def _plan(annotation: Any, metadata: Iterable[Any] = ()) -> ValuePlan:
    """The plan for an annotation; ``metadata`` is what pydantic has already removed from an ``Annotated``."""
    metadata = tuple(metadata)
    if not metadata and get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Union or origin is types.UnionType:
        return _union_plan(annotation, metadata)
    if origin is list:
        return _list_plan(_plan(arguments[0]))
    if origin is dict:
        return _dict_plan(_plan(arguments[1]))
    if _is_model(annotation):
        return _model(annotation).build
    if annotation is float:
        return _to_float
    if annotation in SCALARS or annotation is object or annotation is Any or origin is Literal:
        return _as_is
    return _oracle(annotation, metadata)


def _as_is(value: Any) -> Any:
    return value


def _to_float(value: Any) -> Any:
    if isinstance(value, int):
        converted = float(value)
        return converted if converted == value else value
    return value


def _list_plan(element: ValuePlan) -> ValuePlan:
    def build(value: Any) -> Any:
        return [element(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value

    return build


def _dict_plan(member: ValuePlan) -> ValuePlan:
    def build(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: member(each) for name, each in cast("dict[str, Any]", value).items()}

    return build


def _union_plan(union: Any, metadata: Iterable[Any]) -> ValuePlan:
    """If the value is valid for a member, what pydantic makes of it. Else the member that ``type`` names, if the SDK
    uses ``type`` for this union; else the first member.
    """
    from openai._utils import PropertyInfo  # Private to openai (3.57), where its models are annotated with it.
    from pydantic import TypeAdapter, ValidationError

    discriminators = {each.discriminator for each in metadata if isinstance(each, PropertyInfo)} - {None}
    tagged = _by_tag(union)
    if discriminators and (tagged is None or discriminators != {"type"}):
        return _oracle(union, metadata)
    members = get_args(union)
    named = {tag for member in members if _is_model(member) for tag in _tags(member)} if discriminators else set[str]()
    passing = {member for member in members if member in SCALARS}
    if all(member in (str, types.NoneType) or _is_literal_string(member) for member in members):
        passing.add(str)  # valid or not, it stays what it is
    otherwise = _plan(members[0])
    validate = cache(lambda: _validator(TypeAdapter[Any](union).core_schema).validate_python)

    def build(value: Any) -> Any:
        kind = value.__class__
        if kind in passing:
            return value
        if kind is dict and tagged is not None:
            tag = value.get("type")
            model = tagged.get(tag) if isinstance(tag, str) else None
            if model is None:
                return otherwise(value)
            attempt, resort = model.validate, model.build if tag in named else otherwise
        else:
            attempt, resort = validate(), otherwise
        try:
            return attempt(value)
        except ValidationError:
            return resort(value)

    return build


def _by_tag(annotation: Any) -> dict[str, _Model] | None:
    """By ``type``: the models that a JSON object can become; None if ``type`` alone does not distinguish them."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_model(annotation):
        return dict.fromkeys(_tags(annotation), _model(annotation)) or None
    if get_origin(annotation) in (Union, types.UnionType):
        told_apart: dict[str, _Model] = {}
        for member in get_args(annotation):
            more = _by_tag(member)
            if more is None or more.keys() & told_apart.keys():
                return None
            told_apart |= more
        return told_apart
    is_no_object = annotation in SCALARS or get_origin(annotation) in (list, Literal)
    return {} if is_no_object else None


def _tags(model: Any) -> tuple[str, ...]:
    """The values of ``type`` that a valid object of this model has; empty if the model does not require any."""
    field = model.model_fields.get("type")
    if field is None or not field.is_required() or field.alias is not None or not _is_literal_string(field.annotation):
        return ()
    return get_args(field.annotation)


def _is_literal_string(annotation: Any) -> bool:

    return get_origin(annotation) is Literal and all(isinstance(value, str) for value in get_args(annotation))


def _is_model(annotation: Any) -> bool:
    from openai import BaseModel

    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


class _Model:
    """One of the SDK's models: how to validate a JSON object for it, and how to build it from any object."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def build(self, value: Any) -> Any:
        """What ``construct_type`` makes of a value for this model."""
        if isinstance(value, dict):
            return self.construct(value)
        if isinstance(value, list):
            elements = cast("list[Any]", value)
            return [self.construct(each) if isinstance(each, dict) else each for each in elements]
        return value

    @cached_property
    def validate(self) -> ValuePlan:
        """Builds the model from a valid object; ValidationError for any other."""
        return self._validator.validate_python

    @cached_property
    def validate_json(self) -> ValuePlan:
        """The same directly from a text."""
        return quick_reader(self._model, self._validator.validate_json)

    @cached_property
    def _validator(self) -> SchemaValidator:
        return _validator(self._model.__pydantic_core_schema__)

    @cached_property
    def construct(self) -> ValuePlan:
        """Builds the model from an object, valid or not."""
        model = self._model
        fields: dict[str, tuple[str, ValuePlan]] = {}
        defaults: dict[str, Any] = {}
        for name, field in model.model_fields.items():
            default = None if field.is_required() else field.get_default()
            if type(default) not in SCALARS or field.annotation is None:
                return _oracle(model)
            fields[field.alias or name] = name, _plan(field.annotation, field.metadata)
            defaults[name] = default
        if _is_peculiar(model):
            return _oracle(model)
        new, put = model.__new__, object.__setattr__

        def construct(value: dict[str, Any]) -> Any:
            if not PARAMETERS.isdisjoint(value):
                raise TypeError("a member is named as a parameter of construct")
            values = defaults.copy()
            given: set[str] = set()
            extra: dict[str, Any] = {}
            for key, member in value.items():
                field = fields.get(key)
                if field is not None:
                    name, plan = field
                    given.add(name)
                    if member is not None:
                        values[name] = member if plan is _as_is else plan(member)
                if key not in defaults:  # extra fields include, in the SDK, a field that JSON calls by another name
                    extra[key] = member
            made = new(model)
            put(made, "__dict__", values)
            put(made, "__pydantic_private__", None)
            put(made, "__pydantic_extra__", extra)
            put(made, "__pydantic_fields_set__", given)
            return made

        return construct


_model = cache(_Model)


PARAMETERS = frozenset({"_fields_set", "_BaseModel__cls"})
"""The parameters of the SDK's ``construct`` (openai 3.57). It takes an object's members as keyword arguments in
addition to these."""


def _is_peculiar(model: Any) -> bool:
    """Whether the SDK builds this model in a special way."""
    import openai._models
    from openai import BaseModel

    # Private to openai (3.57). Without it this cannot be known, and ``construct_type`` is called for every model.
    extra_fields_type: Any = getattr(openai._models, "_get_extra_fields_type", None)
    return (
        extra_fields_type is None
        or model.construct.__func__ is not BaseModel.construct.__func__
        or model.model_config.get("populate_by_name") is not None
        or extra_fields_type(model) is not None
    )


# Validators


def _validator(schema: Mapping[str, Any]) -> SchemaValidator:
    """Pydantic's validator for one of the SDK's core schemas, changed so that it uses ``type``."""
    from pydantic_core import SchemaValidator

    definitions = {each["ref"]: each for each in schema.get("definitions", ())}
    told_apart = _tell_apart(dict(schema), definitions)
    try:
        # Prebuilt validators are those of the models' own schemas, which do not use ``type``. The parameter is private
        # to pydantic_core (2.50); without it the results are the same, but parts of a message take longer.
        return SchemaValidator(told_apart, _use_prebuilt=False)
    except TypeError:
        return SchemaValidator(told_apart)


def _tell_apart(node: Any, definitions: Mapping[str, Any]) -> Any:
    """A copy of a core schema, or of a part of one, with tagged unions wherever the result stays the same."""
    if isinstance(node, list):
        return [_tell_apart(each, definitions) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    members = cast("dict[str, Any]", node)
    kind = members.get("type")
    is_schema = isinstance(kind, str)
    copied = {
        name: member if is_schema and name in NOT_SCHEMAS else _tell_apart(member, definitions)
        for name, member in members.items()
    }
    return _tagged_union(members, copied, definitions) if is_schema and kind == "union" else copied


def _tagged_union(union: dict[str, Any], copied: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The union, with the choices that ``type`` distinguishes made one tagged union.

    No object may fit the other choices; else nothing is changed, because an object might fit several.
    """
    tagged: dict[str, Any] = {}
    others: list[Any] = []
    for choice, replacement in zip(union["choices"], copied["choices"], strict=True):
        tags = _schema_tags(choice, definitions)
        if tags is None or not tags.isdisjoint(tagged):
            return copied
        tagged |= dict.fromkeys(tags, replacement)
        if not tags:
            others.append(replacement)
    if len(tagged) < 2:
        return copied
    return {**copied, "choices": [*others, {"type": "tagged-union", "discriminator": "type", "choices": tagged}]}


def _schema_tags(schema: dict[str, Any], definitions: Mapping[str, Any]) -> frozenset[str] | None:
    """The values of ``type`` with which an object can fit; empty if no object fits; None if that is not known."""
    while schema["type"] == "definition-ref":
        schema = definitions[schema["schema_ref"]]
    if schema["type"] in NO_OBJECTS:
        return frozenset()
    if schema["type"] != "model" or schema["schema"]["type"] != "model-fields":
        return None
    field = schema["schema"]["fields"].get("type", {"schema": {"type": "any"}})
    tags: list[Any] = field["schema"].get("expected", [])  # of a literal: a member with a default has it further in
    is_told = tags and "validation_alias" not in field and all(isinstance(tag, str) for tag in tags)
    return frozenset(tags) if is_told else None
