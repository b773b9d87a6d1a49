"""The module ``events/_openai_quick``: the same objects as pydantic's, of small messages, and only of these."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
from openai import BaseModel
from openai.types.responses import ResponseFunctionCallArgumentsDeltaEvent, ResponseTextDeltaEvent
from pydantic import BaseModel as Plain
from pydantic import ConfigDict, Field, RootModel, StrictInt, computed_field, field_validator
from turnwire.sansio.events._openai_quick import quick_reader

ARGUMENTS = {
    "type": "response.function_call_arguments.delta",
    "sequence_number": 5,
    "output_index": 0,
    "item_id": "fc_1",
    "delta": "{}",
}
TEXT = {**ARGUMENTS, "type": "response.output_text.delta", "content_index": 1, "logprobs": []}
LOGPROB = {"token": "a", "logprob": -0.5, "top_logprobs": []}


class LeftError(Exception):
    """A message was left to pydantic."""


def left(text: bytes) -> Any:
    raise LeftError


def seen(made: Any) -> list[Any]:
    """All that is seen of an object, with the order of its members."""
    members, extra = made.__dict__, made.__pydantic_extra__
    kept = [type(made), list(members.items()), list(extra.items()), made.__pydantic_fields_set__]
    return [*kept, made.__pydantic_private__, repr(made), made.to_json(), made.model_copy(deep=True) == made]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ResponseTextDeltaEvent, TEXT),
        (ResponseTextDeltaEvent, {**TEXT, "stream_id": "a"}),
        (ResponseTextDeltaEvent, {"obfuscation": "xyz", **TEXT}),
        (ResponseTextDeltaEvent, {**TEXT, "delta": 'ü\n"\\😀', "sequence_number": 2**70}),
        (ResponseFunctionCallArgumentsDeltaEvent, ARGUMENTS),
        (ResponseFunctionCallArgumentsDeltaEvent, dict(reversed(ARGUMENTS.items()))),
    ],
)
def test_a_small_message_becomes_what_pydantic_makes_of_it(model: Any, message: dict[str, Any]) -> None:
    read = quick_reader(model, left)
    text = json.dumps(message).encode()
    made, again = read(text), read(text)
    assert seen(made) == seen(model.model_validate_json(text))
    made.delta = "another"  # Each object is its own.
    made.__pydantic_extra__["more"] = 1
    made.__pydantic_fields_set__.add("more")
    made.__dict__.setdefault("logprobs", []).append(1)
    assert seen(again) == seen(model.model_validate_json(text))


@pytest.mark.parametrize(
    "message",
    [
        {**TEXT, "stream_id": "a", "obfuscation": "b"},
        {**TEXT, "new": 1},
        {**TEXT, "logprobs": [LOGPROB]},
        {**TEXT, "sequence_number": "5"},
        {**TEXT, "sequence_number": 5.0},
        {**TEXT, "sequence_number": True},
        {**TEXT, "delta": None},
        {**TEXT, "type": "response.output_text.done"},
        {**TEXT, "stream_id": None},
        {**TEXT, "delta": "\ud83d"},
        ARGUMENTS,
        [],
    ],
)
def test_any_other_message_is_left_to_pydantic(message: Any) -> None:
    with pytest.raises(LeftError):
        quick_reader(ResponseTextDeltaEvent, left)(json.dumps(message).encode())


def test_what_is_no_json_is_left_to_pydantic() -> None:
    for text in (b"", b"{", b'{"delta":"\xff"}'):
        with pytest.raises(LeftError):
            quick_reader(ResponseTextDeltaEvent, left)(text)


class WithDefault(BaseModel):
    a: str = ""


class WithAlias(BaseModel):
    a: str = Field(alias="b")


class Bounded(BaseModel):
    a: Annotated[str, Field(max_length=3)]


class Strict(BaseModel):
    a: StrictInt


class OfFloat(BaseModel):
    a: float


class OfNumbers(BaseModel):
    a: Literal[1, 2]


class Computed(BaseModel):
    a: str

    @computed_field
    def b(self) -> str:
        return self.a


class Validated(BaseModel):
    a: str

    @field_validator("a")
    @classmethod
    def check(cls, value: str) -> str:
        return value.upper()


class Made(BaseModel):
    a: str

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)


class Later(BaseModel):
    a: str

    def model_post_init(self, context: Any) -> None:
        self.a = self.a.upper()


class Stripped(BaseModel):
    model_config = ConfigDict(extra="allow", str_strip_whitespace=True)

    a: str


class Closed(Plain):
    a: str


class Laned(BaseModel):
    a: str
    stream_id: str


class Empty(BaseModel): ...


class Root(RootModel[list[int]]): ...


class Recursive(BaseModel):
    a: list[Recursive]


NOT_SIMPLE = [WithDefault, WithAlias, Bounded, Strict, OfFloat, OfNumbers, Computed, Validated, Made, Later, Stripped]
NOT_SIMPLE += [Closed, Laned, Empty, Root, Recursive]


@pytest.mark.parametrize("model", NOT_SIMPLE)
def test_a_model_that_is_not_as_simple_is_pydantics(model: Any) -> None:
    assert quick_reader(model, left) is left


class Simple(BaseModel):
    a: str


def test_a_class_without_pydantics_slots_is_pydantics() -> None:
    assert quick_reader(Simple, left) is not left
    other = SimpleNamespace(__pydantic_core_schema__=Simple.__pydantic_core_schema__, __mro__=(object,))
    assert quick_reader(other, left) is left
