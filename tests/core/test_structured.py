"""Structured output: the schema that a type becomes, and the value that a response has."""

from __future__ import annotations

import copy
import datetime
import enum
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from kit.machines import Wire
from openai.lib._parsing._responses import type_to_text_format_param
from openai.lib._pydantic import _ensure_strict_json_schema
from turnwire.sansio.errors import (
    OutputError,
    OutputIncompleteError,
    OutputInvalidError,
    OutputMissingError,
    OutputRefusedError,
    UserError,
    WrongTypeError,
)
from turnwire.sansio.events import Response
from turnwire.sansio.handle import TurnHandle
from turnwire.sansio.omit import OMIT
from turnwire.sansio.server import fit
from turnwire.sansio.structured import ParsedResponse, output_format
from turnwire.sansio.websocket import WebSocket

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(pydantic.BaseModel):
    """Where."""

    city: str
    country: str | None = None


class Weather(pydantic.BaseModel):
    place: Place = pydantic.Field(description="of the weather")
    degrees: float = pydantic.Field(ge=-100, le=100)
    colours: list[Colour] = []
    when: datetime.date
    tags: tuple[str, str]


class Node(pydantic.BaseModel):
    value: int
    children: list[Node] = []
    left: Optional[Node] = None  # noqa: UP045 - the older spelling.


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    age: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    place: Place


class Pets(pydantic.BaseModel):
    one: Cat | Dog
    other: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


class Box(pydantic.BaseModel, Generic[T]):
    inside: T


@pydantic.dataclasses.dataclass
class Checked:
    even: int

    @pydantic.field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        assert value % 2 == 0
        return value


class Point(msgspec.Struct):
    x: int
    y: int = 0
    label: str | None = None


class Shape(msgspec.Struct, tag=True):
    points: list[Point]


class Line(msgspec.Struct):
    ends: tuple[Point, Point]
    shape: Shape | None = None


@dataclass
class Person:
    name: str
    born: datetime.date
    friends: list[Person]


class Film(TypedDict):
    title: str
    year: int


class Pair(NamedTuple):
    one: int


PYDANTIC: list[Any] = [Place, Weather, Node, Pets, Box[int], Cat, Checked]
OTHERS: list[Any] = [Point, Line, Person, Film]


def told(schema: Any, root: Any) -> Any:
    """A schema without what the API need not know; its tuples, unions and references as turnwire writes them."""
    if isinstance(schema, list):
        return [told(each, root) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: each for name, each in schema.items() if name not in ("title", "default", "discriminator")}
    if "oneOf" in made:
        made["anyOf"] = [_ensure_strict_json_schema(each, path=(), root=root) for each in made.pop("oneOf")]
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")[0]
    if "enum" in made or "const" in made:
        made["type"] = "string"
    for name in {"properties", "$defs"} & made.keys():
        made[name] = {key: told(each, root) for key, each in made[name].items()}
    return {name: value if name in ("properties", "$defs") else told(value, root) for name, value in made.items()}


@pytest.mark.parametrize("kind", PYDANTIC, ids=lambda kind: kind.__name__)
def test_the_schema_of_a_model_is_that_of_openai(kind: Any) -> None:
    """P-FORMAT-1."""
    wanted = output_format(kind)
    assert wanted is not None
    theirs: Any = type_to_text_format_param(kind)
    assert {**wanted.wire, "schema": None, "name": None} == {**theirs, "schema": None, "name": None}
    assert told(wanted.wire["schema"], {}) == told(theirs["schema"], theirs["schema"])


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: kind.__name__)
def test_the_schema_of_another_type_is_what_openai_would_make_of_it(kind: Any) -> None:
    wanted = output_format(kind)
    assert wanted is not None
    schema = msgspec.json.schema(kind)
    theirs = _ensure_strict_json_schema(schema, path=(), root=schema)
    assert told(wanted.wire["schema"], {}) == told(theirs, theirs)
    assert wanted.wire["name"] == kind.__name__


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for each in schema.values():
            yield from objects(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from objects(each)


@pytest.mark.parametrize("kind", [*PYDANTIC, *OTHERS], ids=lambda kind: kind.__name__)
def test_what_fits_the_schema_is_read_as_a_value_of_the_type(kind: Any) -> None:
    """P-FORMAT-1 and P-FORMAT-3."""
    wanted = output_format(kind)
    assert wanted is not None
    for each in objects(wanted.wire["schema"]):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
    value = fit(wanted.wire["schema"])
    read = wanted.parsed(answered(json.dumps(value))).output_parsed
    assert isinstance(read, dict if kind is Film else kind)


def answered(*texts: str, phase: str | None = None, **members: Any) -> Response:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    message = {"type": "message", "id": "m", "role": "assistant", "content": content, "phase": phase}
    return response(output=[message], **members)


def response(**members: Any) -> Response:
    return Response.reader(json.dumps({"id": "resp_1", "status": "completed", **members}).encode())


def parsed(answer: Response, kind: Any = Point) -> ParsedResponse[Any]:
    wanted = output_format(kind)
    assert wanted is not None
    return wanted.parsed(answer)


def test_a_parsed_response_is_the_response() -> None:
    answer = answered('{"x": 1, "y": 2, "label": null}', model="m")
    both = parsed(answer)
    assert isinstance(both, Response)
    assert (both.id, both.model, both.raw, both.output_text) == ("resp_1", "m", answer.raw, answer.output_text)
    assert both.output_parsed == Point(1, 2)
    assert both.output_parsed is both.output_parsed
    assert answer.output_parsed is None
    for again in (pickle.loads(pickle.dumps(both)), copy.copy(both), copy.deepcopy(both)):
        assert again.output_parsed == Point(1, 2)
        assert again.raw == both.raw


def test_an_adapter_and_types_that_cannot_be_hashed() -> None:
    someone = '{"name": "Ada", "born": "1815-12-10", "friends": []}'
    adapter = pydantic.TypeAdapter(Person)
    assert parsed(answered(someone), adapter).output_parsed == Person("Ada", datetime.date(1815, 12, 10), [])
    unhashed = Annotated[Point, {}]
    assert parsed(answered('{"x": 1}'), unhashed).output_parsed == Point(1)
    with pytest.raises(OutputInvalidError) as caught:
        _ = parsed(answered('{"even": 3}'), Checked).output_parsed
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)


def test_a_json_schema() -> None:
    """P-FORMAT-1: as it is, or as a whole format."""
    schema = {"title": "The answer!", "type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = output_format(schema)
    assert wanted is not None
    strict = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    made = {"type": "json_schema", "name": "The_answer", "strict": True}
    assert wanted.wire == {**made, "schema": {**strict, "additionalProperties": False}}
    assert wanted.parsed(answered('{"a": 1}')).output_parsed == {"a": 1}
    whole = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False}
    both = parsed(answered("[]"), whole)
    assert (both.reading.wanted.wire, both.output_parsed) == (whole, [])
    nameless = output_format({"type": "object", "properties": {}})
    assert nameless is not None
    assert nameless.wire["name"] == "response"
    with pytest.raises(OutputInvalidError, match="no JSON"):
        _ = wanted.parsed(answered("{")).output_parsed


def test_the_format_stands_beside_the_other_members_of_text() -> None:
    """P-FORMAT-2."""
    wanted = output_format(Point)
    assert wanted is not None
    body = {"model": "m", "text": {"verbosity": "low", "format": OMIT}}
    assert wanted.filled(body) == {"model": "m", "text": {"verbosity": "low", "format": wanted.wire}}
    assert body == {"model": "m", "text": {"verbosity": "low", "format": OMIT}}
    for none in ({}, {"text": None}, {"text": OMIT}):
        assert wanted.filled(none) == {"text": {"format": wanted.wire}}
    with pytest.raises(UserError, match="text_format is given, too"):
        wanted.filled({"text": {"format": {"type": "text"}}})
    with pytest.raises(WrongTypeError, match="text is"):
        wanted.filled({"text": "low"})
    assert output_format(None) is output_format(OMIT) is None
    assert output_format(Point) is wanted


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (5, WrongTypeError),
        ("Point", WrongTypeError),
        (object, WrongTypeError),
        (list[int], UserError),
        (int, UserError),
        (Pair, UserError),
        (dict[str, int], UserError),
        (Point | Shape | Line, WrongTypeError),
        ({"type": "array", "items": {"type": "integer"}}, UserError),
        ({"type": "object", "properties": {"a": True}}, UserError),
    ],
    ids=str,
)
def test_what_is_no_type_of_answers_is_refused_before_anything_is_sent(given: Any, error: type[Exception]) -> None:
    """P-FORMAT-1."""
    with pytest.raises(error) as caught:
        output_format(given)
    assert error is WrongTypeError or not isinstance(caught.value, TypeError)


# --- No value --------------------------------------------------------------------------------------------------------

REFUSAL = {"type": "message", "id": "m", "content": [{"type": "refusal", "refusal": "I will not."}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("answer", "error", "text", "said"),
    [
        (response(output=[REFUSAL]), OutputRefusedError, None, "the model refused"),
        (response(output=[CALL]), OutputMissingError, None, "it has no text"),
        (response(output=[]), OutputMissingError, None, "it has no text"),
        (answered(), OutputMissingError, None, "it has no text"),
        (answered('{"x": 1}', phase="commentary"), OutputMissingError, None, "it has no text"),
        (answered('{"x":'), OutputInvalidError, '{"x":', r"its text is no Point \(DecodeError\)"),
        (answered('{"x": "1"}'), OutputInvalidError, '{"x": "1"}', r"its text is no Point \(ValidationError\)"),
        (
            answered('{"x":', status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            OutputIncompleteError,
            '{"x":',
            r"it is incomplete \(max_output_tokens\)",
        ),
        (
            response(status="failed", error={"code": "server_error", "message": "m"}),
            OutputIncompleteError,
            None,
            r"it is failed \(server_error\)",
        ),
        (response(status="failed", error={"message": "oh"}), OutputIncompleteError, None, r"it is failed \(oh\)"),
        (response(status="cancelled"), OutputIncompleteError, None, "it is cancelled —"),
    ],
)
def test_a_response_without_a_value_says_why(
    answer: Response, error: type[OutputError], text: str | None, said: str
) -> None:
    """P-FORMAT-4."""
    both = parsed(answer)
    with pytest.raises(error, match=said) as caught:
        _ = both.output_parsed
    found = caught.value
    assert (type(found), found.text, found.response) == (error, text, both)
    assert found.refusal == ("I will not." if error is OutputRefusedError else None)
    assert (found.__cause__ is not None) == (text is not None)
    assert len(str(found).split(" — ")) == 3


def test_the_first_text_of_a_final_answer_counts() -> None:
    """P-FORMAT-3; what is whole counts, however the response ended."""
    assert parsed(answered('{"x": 1}', '{"x": 2}', phase="final_answer")).output_parsed == Point(1)
    assert parsed(answered('{"x": 1}', status="incomplete")).output_parsed == Point(1)
    assert parsed(answered('{"x": 1}', status=None)).output_parsed == Point(1)


def test_a_turn_has_the_parsed_response() -> None:
    handle = TurnHandle({"text_format": Point, "input": "x"}, None, None)
    assert handle.response is None
    body, _, _ = handle._enter()
    assert body["text"]["format"]["name"] == "Point"
    assert body.keys() == {"input", "text"}
    assert TurnHandle({"text_format": None, "input": "x"}, None, None)._enter()[0] == {"input": "x"}
    wire = Wire.opened()
    turn = handle._sent(wire.run())
    assert handle.response is None
    last = {"type": "response.completed", "response": answered('{"x": 1}').to_dict()}
    wire.receive(WebSocket(client=False).text(json.dumps(last).encode()))
    assert turn.response is not None
    assert handle.result().output_parsed == Point(1)
    assert handle.result() is handle.response
