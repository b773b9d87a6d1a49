"""JSON schemas made strict: each row of the table, and the schemas that msgspec and pydantic make."""

from __future__ import annotations

import copy
import datetime
import decimal
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from turnwire.sansio.errors import UserError
from turnwire.sansio.strict_schema import strict_schema

TEXT = {"type": "string"}


def within(schema: Any, **more: Any) -> dict[str, Any]:
    """A schema with one property."""
    return {"type": "object", "properties": {"x": schema}, **more}


def of_property(schema: Any, **more: Any) -> Any:
    made = strict_schema(within(schema, **more))
    assert made["required"] == ["x"]
    assert made["additionalProperties"] is False
    return made["properties"]["x"]


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (TEXT, TEXT),
        ({**TEXT, "title": "X", "default": "x", "minLength": 2, "pattern": "^a"}, {**TEXT, "pattern": "^a"}),
        ({**TEXT, "format": "date-time"}, {**TEXT, "format": "date-time"}),
        ({**TEXT, "format": "decimal"}, TEXT),
        ({"enum": ["a", "b"]}, {"enum": ["a", "b"], "type": "string"}),
        (
            {"enum": [1, None, True, 0.5]},
            {
                "enum": [1, None, True, 0.5],
                "type": [
                    "integer",
                    "null",
                    "boolean",
                    "number",
                ],
            },
        ),
        ({"const": 1}, {"const": 1, "type": "integer"}),
        ({"oneOf": [TEXT], "discriminator": {}}, {"anyOf": [TEXT]}),
        ({"anyOf": [{"type": "null"}], "oneOf": [TEXT]}, {"anyOf": [{"type": "null"}, TEXT]}),
        ({"allOf": [TEXT], "description": "A."}, {**TEXT, "description": "A."}),
        (within(TEXT), closed(x=TEXT)),
        (within(TEXT, additionalProperties=True), closed(x=TEXT)),
        ({"type": ["object", "null"], "properties": {}}, {**closed(), "type": ["object", "null"]}),
        ({"type": "object", "additionalProperties": False}, closed()),
        ({"type": "array", "items": within(TEXT), "uniqueItems": True}, {"type": "array", "items": closed(x=TEXT)}),
        (
            {"type": ["array", "null"], "prefixItems": [TEXT, TEXT], "items": False},
            {"type": ["array", "null"], "items": TEXT, "minItems": 2, "maxItems": 2},
        ),
        (
            {"type": "array", "prefixItems": [TEXT, {"type": "null"}], "minItems": 2},
            {"type": "array", "items": {"anyOf": [TEXT, {"type": "null"}]}, "minItems": 2, "maxItems": 2},
        ),
    ],
)
def test_what_becomes_of_what(given: Any, made: Any) -> None:
    before = copy.deepcopy(given)
    assert of_property(given) == made
    assert given == before
    assert of_property(made) == made


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, r"\$\.x may be any value"),
        (True, "any value, or none"),
        ({"type": "object"}, "names are not known"),
        ({"type": "object", "additionalProperties": TEXT}, "names are not known"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "names are not known"),
        ({"type": "array"}, "items that may be any value"),
        ({"type": "array", "items": {"anyOf": [TEXT, {}]}}, r"\$\.x\[\]\.anyOf\[1\] may be any value"),
        ({"allOf": [TEXT, TEXT]}, "'allOf' of several"),
        ({"not": TEXT}, "has 'not'"),
        ({"$ref": "#/$defs/none", "description": "A."}, "refers to '#/\\$defs/none', which is not in it"),
        ({"$ref": "#/properties/x/y/z", "description": "A."}, "which is not in it"),
    ],
)
def test_what_has_no_strict_form_is_refused_with_the_place(given: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        strict_schema(within(given))


@pytest.mark.parametrize("given", [TEXT, {"anyOf": [within(TEXT)]}])
def test_the_whole_is_an_object(given: Any) -> None:
    with pytest.raises(UserError, match="that of an object"):
        strict_schema(given)


def test_references() -> None:
    more = {"$defs": {"A/b": TEXT, "C": {"allOf": [{"$ref": "#/$defs/A~1b"}]}}}
    assert of_property({"$ref": "#/$defs/C", "title": "X"}, **more) == {"$ref": "#/$defs/C"}
    assert of_property({"$ref": "#/$defs/A~1b", "description": "A."}, **more) == {**TEXT, "description": "A."}
    assert of_property({"$ref": "#/$defs/C", "description": "A."}, **more) == {**TEXT, "description": "A."}
    assert strict_schema(within(TEXT, definitions={"D": within(TEXT)}))["definitions"] == {"D": closed(x=TEXT)}


class Node(msgspec.Struct):
    """Refers to itself, with a description."""

    text: str
    next: Annotated[Node, msgspec.Meta(description="The next one.")] | None = None
    others: list[Node] = []


class Cat(msgspec.Struct, tag=True):
    age: Annotated[int, msgspec.Meta(ge=0)]


class Dog(msgspec.Struct, tag=True):
    name: Literal["Rex", "Bello"]
    born: datetime.datetime
    price: decimal.Decimal


@dataclass
class Pets:
    all: list[Cat | Dog]
    first: tuple[int, str]


class Model(pydantic.BaseModel):
    size: int = pydantic.Field(3, ge=1)
    inner: Inner | None = None


class Inner(pydantic.BaseModel):
    kind: Literal["a"]


def keywords(node: Any) -> set[str]:
    """All keywords in a schema, without the names of properties and definitions."""
    if isinstance(node, list):
        return set().union(*map(keywords, node))
    if not isinstance(node, dict):
        return set()
    found = set(node)
    for name, each in node.items():
        named = name in ("properties", "$defs")
        found |= set().union(*map(keywords, each.values())) if named else keywords(each)
    return found


@pytest.mark.parametrize("kind", [Node, Pets, Model])
def test_the_schemas_of_msgspec_and_pydantic_have_a_strict_form(kind: Any) -> None:
    given = kind.model_json_schema() if kind is Model else msgspec.json.schema(kind)
    made = strict_schema(given)
    assert (made["type"], made["additionalProperties"]) == ("object", False)
    assert keywords(made) <= {
        *("type", "properties", "required", "additionalProperties", "$defs", "$ref", "anyOf", "items", "enum"),
        *("description", "const", "minimum", "minItems", "maxItems", "format"),
    }
    assert strict_schema(made) == made


def test_a_type_that_contains_itself_is_described_once_and_then_referred_to() -> None:
    described = strict_schema(msgspec.json.schema(Node))["properties"]["next"]["anyOf"][0]
    assert described == {"$ref": "#/$defs/Node"}
    inner = strict_schema(
        within(
            {"$ref": "#/$defs/N", "description": "A."},
            **{"$defs": {"N": within({"anyOf": [{"$ref": "#/$defs/N", "description": "B."}, {"type": "null"}]})}},
        )
    )
    found = inner["properties"]["x"]
    assert found["description"] == "A."
    assert found["properties"]["x"] == {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}
