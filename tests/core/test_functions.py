"""Python functions as tools: their schemas, what reads their arguments, what is sent of their results."""

from __future__ import annotations

import enum
import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypedDict

import msgspec
import pydantic
import pytest
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.functions import ArgumentsError, Toolbox, ToolFunction, output_of, tool

if TYPE_CHECKING:
    from decimal import Decimal


class Unit(enum.Enum):
    """Of a temperature."""

    C = "celsius"
    F = "fahrenheit"


class Place(msgspec.Struct):
    city: str
    zip: int | None = None


class Range(TypedDict):
    low: float
    high: float


@dataclass
class Query:
    words: list[str]


@dataclass
class Other:
    number: int


class Model(pydantic.BaseModel):
    size: Annotated[int, pydantic.Field(ge=1, description="How large.")]


Described = Annotated[str, msgspec.Meta(description="Whom to greet.")]


def weather(
    place: Place,
    unit: Unit = Unit.C,
    days: int = 3,
    *,
    kind: Literal["now", "later"] = "now",
    between: Optional[Range] = None,  # noqa: UP045 - as people write it
    query: Query | None = None,
    tags: list[str] = [],  # noqa: B006 - a default that is a list
) -> str:
    """The weather
    of a place.

    Not this.

    Args:
        place: Where
            it is.
        days (int): How many.
        nobody: Not a parameter.

    Returns:
        It: not this.
    """
    return f"{place.city} {unit.value} {days} {kind} {between} {query} {tags}"


def greet(name: Described, often: Annotated[int, msgspec.Meta(description="How often.")] = 1) -> str:
    return name * often


def by_model(
    model: Model, models: list[Model] | None = None, size: int = pydantic.Field(7, description="A size.")
) -> Any:
    return model, models, size


def anything(value: Any) -> Any:
    return value


def must(size: Annotated[int, pydantic.Field(gt=0)] = pydantic.Field(description="Needed.")) -> int:
    return size


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    return tool(function).spec["parameters"]["properties"]


def called(function: Callable[..., Any], text: str) -> Any:
    made = tool(function)
    return made(**made.read(text))


# --- Schemas ---------------------------------------------------------------------------------------------------------


def test_the_signature_is_the_schema() -> None:
    """C-TOOL-12."""
    spec = tool(weather).spec
    assert (spec["type"], spec["name"], spec["strict"]) == ("function", "weather", True)
    assert spec["description"] == "The weather of a place."
    parameters = spec["parameters"]
    assert parameters["required"] == ["place", "unit", "days", "kind", "between", "query", "tags"]
    assert parameters["additionalProperties"] is False
    found = parameters["properties"]
    assert found["days"] == {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "How many. Default: 3."}
    assert found["kind"]["description"] == 'Default: "now".'
    assert found["unit"]["description"] == 'Default: "celsius".'
    assert found["tags"]["description"] == "Default: []."
    assert "description" not in found["between"]
    assert "nobody" not in str(spec)


def test_descriptions_come_from_the_annotation_wherever_it_stands() -> None:
    assert properties(greet)["name"] == {"type": "string", "description": "Whom to greet."}
    assert properties(greet)["often"]["description"] == "How often. Default: 1."


def test_a_schema_of_pydantic_where_the_types_are_pydantics() -> None:
    spec = tool(by_model).spec
    assert spec["strict"]
    assert spec["parameters"]["properties"]["size"]["description"] == "A size. Default: 7."
    assert "How large." in str(spec)
    assert called(by_model, '{"model": {"size": 1}, "models": null, "size": null}') == (Model(size=1), None, 7)
    assert called(by_model, '{"model": {"size": 1}, "models": [{"size": 2}], "size": 3}')[1:] == ([Model(size=2)], 3)
    assert properties(must)["size"]["description"] == "Needed."
    with pytest.raises(ArgumentsError, match="size: Field required"):
        tool(must).read("{}")


def test_a_name_that_a_model_of_pydantic_could_not_have() -> None:
    def odd(_schema: Model, copy: int, model_dump: str = "x") -> Any:
        return _schema.size, copy, model_dump

    assert list(properties(odd)) == ["_schema", "copy", "model_dump"]
    assert called(odd, '{"_schema": {"size": 1}, "copy": 2}') == (1, 2, "x")


def test_what_only_pydantic_can_tell_apart() -> None:
    def either(which: Query | Model) -> str:
        return type(which).__name__

    def plain(which: Query | Other) -> Any:
        return type(which).__name__

    assert called(either, '{"which": {"size": 2}}') == "Model"
    assert called(plain, '{"which": {"number": 1}}') == "Other"


@pytest.mark.parametrize("hint", [dict[str, int], Any, dict[str, Any]])
def test_what_no_strict_schema_can_say_is_checked_all_the_same(hint: Any) -> None:
    """C-TOOL-12."""

    def loose(value: Any, number: int) -> Any:
        return value, number

    loose.__annotations__["value"] = hint
    assert tool(loose).spec["strict"] is False
    assert called(loose, '{"value": {"a": 1}, "number": 2}') == ({"a": 1}, 2)
    with pytest.raises(ArgumentsError, match="number"):
        tool(loose).read('{"value": {}, "number": "x"}')
    with pytest.raises(UserError, match="'loose' cannot be a strict tool"):
        tool(loose, strict=True)


def test_strict_may_be_switched_off() -> None:
    """C-TOOL-12."""
    spec = tool(greet, strict=False).spec
    assert (spec["strict"], spec["parameters"]["required"]) == (False, ["name"])
    assert tool(greet, strict=True).spec["strict"] is True


def test_a_function_without_parameters() -> None:
    def now() -> str:
        return "now"

    assert tool(now).spec["parameters"]["properties"] == {}
    for text in ("", "{}", '{"more": 1}'):
        assert called(now, text) == "now"


def test_a_default_that_json_does_not_have() -> None:
    def odd(value: int = object()) -> Any:  # type: ignore[assignment]
        return value

    assert "description" not in properties(odd)["value"]


# --- What is a function ----------------------------------------------------------------------------------------------


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, by: int) -> int:
        """Add to it."""
        self.count += by
        return self.count

    def __call__(self, by: int) -> int:
        return self.add(by)

    @classmethod
    def made(cls, by: int) -> int:
        return by

    @staticmethod
    async def later(by: int) -> int:
        return by


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapped


COUNTER = Counter()


@pytest.mark.parametrize(
    ("function", "name", "description", "is_async"),
    [
        (COUNTER.add, "add", "Add to it.", False),
        (COUNTER, "Counter", "Counts.", False),
        (Counter.made, "made", None, False),
        (Counter.later, "later", None, True),
        (functools.partial(Counter.later), "later", None, True),
        (wrapping(COUNTER.add), "add", "Add to it.", False),
    ],
)
def test_whatever_can_be_called(function: Any, name: str, description: str | None, is_async: bool) -> None:
    made = tool(function)
    assert (made.name, made.spec.get("description"), made.is_async) == (name, description, is_async)
    assert list(made.spec["parameters"]["properties"]) == ["by"]
    assert repr(made) == f"<ToolFunction {name}>"


def test_what_a_partial_gives_is_not_the_models() -> None:
    assert list(properties(functools.partial(greet, "Al"))) == ["often"]
    assert list(properties(functools.partial(greet, often=2))) == ["name"]
    assert called(functools.partial(greet, often=2), '{"name": "Al"}') == "AlAl"
    assert called(functools.partial(functools.partial(greet, "Al")), '{"often": 3}') == "AlAlAl"


def test_a_tool_with_more_than_its_signature_says() -> None:
    @tool(name="hail", description="Hail.", repeatable=True)
    def shout(name: str) -> str:
        return name.upper()

    assert isinstance(shout, ToolFunction)
    assert (shout.spec["name"], shout.spec["description"], shout.repeatable) == ("hail", "Hail.", True)
    assert shout(name="Al") == shout("Al") == "AL"


def positional_only(text: str, /) -> None: ...
def many(*texts: str) -> None: ...
def named(**texts: str) -> None: ...
def untyped(text) -> None: ...  # type: ignore[no-untyped-def]
def unknown(amount: Decimal) -> None: ...
def two_kinds(place: Place | Range) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (positional_only, "'positional_only' has the parameter 'text'.*named arguments"),
        (many, "named arguments"),
        (named, "named arguments"),
        (untyped, "'text' of the function 'untyped' has no type hint: write one, such as text: str"),
        (unknown, "'unknown' has a type hint that cannot be read: name 'Decimal' is not defined"),
        (lambda: None, "cannot be called '<lambda>': write name="),
        (type, "is no function"),
        (3, "is no function: write a function, or a mapping"),
        (dict.fromkeys, "named arguments"),
        (functools.partial(functools.reduce), "signature"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_with_the_reason(function: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        tool(function)


@pytest.mark.parametrize("hint", [Counter, "Model | Place"])
@pytest.mark.parametrize("loaded", [True, False])
def test_a_type_that_neither_knows_is_refused(hint: Any, loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(value: Any) -> None: ...

    odd.__annotations__["value"] = hint
    if not loaded:
        monkeypatch.delitem(sys.modules, "pydantic")
    with pytest.raises(UserError, match="'odd' has a parameter that cannot be written as JSON: ") as caught:
        tool(odd)
    assert "\n\n" not in str(caught.value)


def test_pydantic_is_not_imported_for_functions_that_do_not_use_it() -> None:
    code = (
        "import sys\n"
        "from turnwire.sansio.functions import tool\n"
        "from turnwire.sansio.errors import UserError\n"
        "def f(a: list[int], b: str = 'x') -> str: ...\n"
        "class C: ...\n"
        "def g(a: C) -> str: ...\n"
        "tool(f)\n"
        "try:\n    tool(g)\nexcept UserError as exc:\n    print(exc)\n"
        "print('pydantic' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("the function 'g' has a parameter that cannot be written as JSON")
    assert told.endswith("False\n")


# --- Arguments -------------------------------------------------------------------------------------------------------


def test_arguments_are_python_values_and_null_stands_for_a_default() -> None:
    """C-TOOL-12."""
    text = '{"place": {"city": "Bonn"}, "unit": "fahrenheit", "days": null, "between": {"low": 1, "high": 2}}'
    assert called(weather, text) == "Bonn fahrenheit 3 now {'low': 1.0, 'high': 2.0} None []"
    assert called(weather, '{"place": {"city": "B"}, "query": {"words": ["x"]}, "days": "4"}').startswith("B celsius 4")


def test_null_is_itself_where_the_type_has_it() -> None:
    """C-TOOL-12."""

    def find(text: str | None = "x", anything: Any = "y", nothing: None = None) -> Any:
        return text, anything, nothing

    assert called(find, '{"text": null, "anything": null, "nothing": null}') == (None, None, None)
    assert called(find, "{}") == ("x", "y", None)


@pytest.mark.parametrize(
    ("function", "text", "why"),
    [
        (greet, "{", "do not fit: Input data was truncated"),
        (greet, "[]", "Expected `object`, got `array`"),
        (greet, '{"name": 3}', r"Expected `str`, got `int` - at `\$.name`"),
        (greet, '{"often": 3}', "missing required field `name`"),
        (anything, '{"value": ' + "[" * 100_000, "recursion"),
        (by_model, "{", "do not fit: JSON: Invalid JSON"),
        (by_model, '{"model": {"size": 0}}', "do not fit: model.size: Input should be greater than or equal to 1$"),
    ],
)
def test_arguments_that_do_not_fit(function: Any, text: str, why: str) -> None:
    """C-TOOL-12, C-TOOL-7."""
    with pytest.raises(ArgumentsError, match=why):
        tool(function).read(text)


# --- Tools that the caller describes ---------------------------------------------------------------------------------


def test_a_custom_tool_takes_the_text() -> None:
    made = tool(lambda query, limit=3: (query, limit), spec={"type": "custom", "name": "sql", "description": "SQL."})
    assert made.spec == {"type": "custom", "name": "sql", "description": "SQL."}
    assert made(**made.read("select {")) == ("select {", 3)


def test_a_function_with_a_schema_of_the_callers() -> None:
    spec = {"type": "function", "name": "any", "parameters": {"type": "object"}}
    made = tool(lambda **given: given, spec=spec, repeatable=True)
    assert made(**made.read('{"a": [1]}')) == {"a": [1]}
    assert made(**made.read("")) == {}
    assert made.repeatable
    for text in ("{", "[]"):
        with pytest.raises(ArgumentsError, match="no JSON object"):
            made.read(text)


@pytest.mark.parametrize(
    ("function", "spec", "why"),
    [
        (greet, {"type": "web_search"}, "a tool of type 'web_search' has no function"),
        (greet, {"name": "x"}, "a tool of type None has no function"),
        (greet, {"type": "function"}, "cannot be called None"),
        (lambda: 1, {"type": "custom", "name": "x"}, "takes no argument"),
    ],
)
def test_a_description_that_cannot_be(function: Any, spec: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        tool(function, spec=spec)


# --- Results ---------------------------------------------------------------------------------------------------------


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("text", "text"),
        ("half \ud83d", "half \ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        (None, "null"),
        (3, "3"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ([], "[]"),
        (Place("Bonn"), '{"city":"Bonn","zip":null}'),
        ([Model(size=1), Unit.C], '[{"size":1},"celsius"]'),
        (IMAGE, [IMAGE]),
        ([IMAGE, {"type": "input_text", "text": "x"}], [IMAGE, {"type": "input_text", "text": "x"}]),
        ([IMAGE, 3], '[{"type":"input_image","image_url":"data:image/png;base64,AA=="},3]'),
        ([{"type": ["input_text"]}], '[{"type":["input_text"]}]'),
    ],
)
def test_what_is_sent_of_a_result(value: Any, output: Any) -> None:
    assert output_of(value) == output


@pytest.mark.parametrize("value", [object(), Model, [object()]])
def test_what_json_does_not_have(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        output_of(value)


# --- Several tools ---------------------------------------------------------------------------------------------------


def test_functions_and_mappings_side_by_side() -> None:
    custom = {"type": "custom", "name": "theirs"}
    space = {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "inner"}]}
    made = tool(COUNTER)
    box = Toolbox([greet, {"type": "web_search"}, made, custom, space])
    assert [spec["type"] for spec in box.specs] == ["function", "web_search", "function", "custom", "namespace"]
    assert box.names == ["Counter", "greet", "inner", "theirs"]
    assert box.function_for("Counter") is made
    assert box.function_for("theirs") is None


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ([greet, tool(weather, name="greet")], "two tools are called 'greet'"),
        ([greet, {"type": "custom", "name": "greet"}], "two tools are called 'greet'"),
        ([{"name": "x"}], "has no type"),
        ([3], "is no function"),
        (greet, "write a list"),
        ({"type": "web_search"}, "write a list"),
        ("greet", "write a list"),
    ],
)
def test_what_is_no_list_of_tools(tools: Any, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        Toolbox(tools)
    assert isinstance(caught.value, WrongTypeError) is (why in ("write a list", "is no function"))
