"""The SDK's objects for the smallest messages, such as deltas: made without pydantic.

Why
    A model's words come one by one, and between two of them the processor runs other things. Then most of the cost is
    code that must be fetched again. Pydantic's is large; that of msgspec, which has just decoded the event, is there.

The promise
    The object equals the one that pydantic makes of the same text, as :mod:`._openai_plans` says. A message is made
    here if all of this holds; any other is left to pydantic:

    - All fields of its model are required, and each is a text, an integer, a literal text, or an array that is empty.
      The model's own core schema says so, and has nothing else in it: no alias, constraint, validator or default.
    - The message has these members, of these very types, and at most one other: ``stream_id`` or ``obfuscation``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec.structs import asdict

__all__ = ["quick_reader"]

Reader = Callable[[bytes], Any]

_EXTRAS: Final = ("stream_id", "obfuscation")
"""Members that no model declares, and that many events have."""
_SCHEMA_MEMBERS: Final = frozenset({"type", "metadata", "expected", "items_schema"})
_FIELD_MEMBERS: Final = frozenset({"type", "metadata", "schema"})
_FIELDS_MEMBERS: Final = frozenset({"type", "metadata", "fields", "computed_fields", "model_name"})
_MODEL_MEMBERS: Final = frozenset({"type", "metadata", "cls", "config", "ref", "schema", "custom_init", "root_model"})
_SLOTS: Final = ("__dict__", "__pydantic_private__", "__pydantic_extra__", "__pydantic_fields_set__")


def quick_reader(model: Any, otherwise: Reader) -> Reader:
    """A function that makes the model from a text; ``otherwise`` makes it from any text that is not as simple."""
    types = _field_types(model)
    slots = [_setter(model, name) for name in _SLOTS]
    if types is None or None in slots:
        return otherwise
    set_members, set_private, set_extra, set_given = cast("list[Any]", slots)
    extras = [(name, str | msgspec.UnsetType, msgspec.UNSET) for name in _EXTRAS]
    struct = msgspec.defstruct("Members", [*types.items(), *extras], forbid_unknown_fields=True)
    decode = msgspec.json.Decoder(struct).decode
    new, unset, names = object.__new__, msgspec.UNSET, frozenset(types)

    def read(text: bytes) -> Any:
        try:
            members = asdict(decode(text))
        except Exception:  # Not as simple, or not JSON.
            return otherwise(text)
        lane, padding = members.pop("stream_id"), members.pop("obfuscation")
        extra: dict[str, Any] = {}
        if lane is not unset:
            if padding is not unset:
                return otherwise(text)  # Which of the two comes first is not known here.
            extra["stream_id"] = lane
        elif padding is not unset:
            extra["obfuscation"] = padding
        made = new(model)
        set_members(made, members)
        set_private(made, None)
        set_extra(made, extra)
        set_given(made, {*names, *extra})
        return made

    return read


def _setter(model: Any, name: str) -> Callable[[Any, Any], None] | None:
    """What sets a slot of a model, past the model's own ``__setattr__``; None if there is no such slot."""
    slots: list[Any] = [vars(base)[name] for base in model.__mro__ if name in vars(base)]
    return getattr(slots[-1], "__set__", None) if slots else None


def _field_types(model: Any) -> dict[str, Any] | None:
    """The types of a model's fields; None if the model is not as simple."""
    schema: Mapping[str, Any] = dict(model.__pydantic_core_schema__)
    fields: Mapping[str, Any] = schema.get("schema", {})
    is_simple = (
        schema["type"] == "model"
        and schema.keys() <= _MODEL_MEMBERS
        and not (schema.get("custom_init") or schema.get("root_model"))
        and (schema["config"].keys() <= {"title", "extra_fields_behavior"})
        and schema["config"].get("extra_fields_behavior") == "allow"
        and fields["type"] == "model-fields"
        and fields.keys() <= _FIELDS_MEMBERS
        and not fields.get("computed_fields")
        and all(field.keys() <= _FIELD_MEMBERS for field in fields["fields"].values())
    )
    types = {name: _type(field["schema"]) for name, field in fields["fields"].items()} if is_simple else {}
    return types if types and None not in types.values() and types.keys().isdisjoint(_EXTRAS) else None


def _type(schema: Mapping[str, Any]) -> Any:
    """The type of a field, for msgspec; None if it is another than those that are simple."""
    if not schema.keys() <= _SCHEMA_MEMBERS:
        return None
    match schema["type"]:
        case "str":
            return str
        case "int":
            return int
        case "literal" if all(isinstance(value, str) for value in schema["expected"]):
            return Literal[tuple(schema["expected"])]
        case "list":
            return Annotated[list[Any], msgspec.Meta(max_length=0)]
        case _:
            return None
