"""What calls take, and how it is declared: ``extra_body``, the fields of a request, the literal types of unions."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from openai.types.responses import responses_client_event_param, tool_param
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from turnwire.sansio import arguments, events, fields
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.events import ContentPart, Event, Item, KnownEvent, KnownItem, KnownPart, OutputItem, ServerEvent
from turnwire.sansio.events._names import EventName
from turnwire.sansio.handle import TurnHandle
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.messages import response_create, with_extra_body
from turnwire.sansio.omit import OMIT

# --- extra_body ------------------------------------------------------------------------------------------------------


def test_D_API_14_extra_body_is_put_over_the_fields_of_its_call() -> None:
    given = {"model": "m", "store": True, "extra_body": {"store": False, "x": 1}}
    assert with_extra_body(given) == {"model": "m", "store": False, "x": 1}
    assert given["extra_body"] == {"store": False, "x": 1}, "the caller's objects are not changed"
    plain = {"model": "m"}
    assert with_extra_body(plain) is plain


@pytest.mark.parametrize("nothing", [None, OMIT, {}])
def test_D_API_14_none_and_the_markers_mean_that_there_is_none(nothing: object) -> None:
    assert with_extra_body({"model": "m", "extra_body": nothing}) == {"model": "m"}


@pytest.mark.parametrize("wrong", ["sk-secret", [("a", 1)], 3])
def test_D_API_14_anything_else_is_refused_and_not_shown(wrong: object) -> None:
    with pytest.raises(WrongTypeError, match="extra_body is of type") as caught:
        TurnHandle({"model": "m", "extra_body": wrong}, AUTO, OMIT)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("extra", [{"timeout": 1}, {"extra_body": {}}, {"type": "response.cancel"}])
def test_D_API_14_what_may_not_be_a_field_may_not_be_in_it(extra: dict[str, Any]) -> None:
    handle = TurnHandle({"model": "m", "extra_body": extra}, AUTO, OMIT)
    with pytest.raises(UserError):
        response_create(handle._arguments[0])


def test_D_API_14_text_format_goes_into_the_text_that_it_brings() -> None:
    schema = {"type": "object", "properties": {}}
    handle: TurnHandle = TurnHandle({"text_format": schema, "extra_body": {"text": {"verbosity": "low"}}}, AUTO, OMIT)
    text = handle._arguments[0]["text"]
    assert (text["verbosity"], text["format"]["type"]) == ("low", "json_schema")


# --- The fields, and those of the SDK --------------------------------------------------------------------------------


def hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def inside(hint: Any) -> Iterator[Any]:
    """The members of a union, at any depth, without what says whether a member must be there."""
    if get_origin(hint) in (Union, UnionType, Required, NotRequired):
        for each in get_args(hint):
            yield from inside(each)
    else:
        yield hint


def by_type(union: Any) -> dict[str, set[str]]:
    """The names of the members of each TypedDict in a union, by its ``type``."""
    found: dict[str, set[str]] = {}
    for kind in inside(union):
        if hasattr(kind, "__required_keys__"):
            members = hints(kind)
            types = [each for part in inside(members["type"]) for each in get_args(part)] if "type" in members else [""]
            for name in types:
                found[name] = found.get(name, set()) | members.keys()
    return found


SDK_REQUEST = responses_client_event_param.ResponseCreate


def test_D_API_15_the_fields_are_those_of_the_sdk() -> None:
    theirs = hints(SDK_REQUEST).keys() - {"type", "stream_id"}
    assert hints(fields.RequestFields).keys() - theirs == {"client_metadata", "multi_agent"}
    assert theirs - hints(fields.RequestFields).keys() == set()


def test_D_API_15_a_field_says_what_it_is_in_help() -> None:
    told = fields.RequestFields.__doc__ or ""
    assert [name for name in hints(fields.RequestFields) if f"    ``{name}``" not in told] == []
    assert [
        name
        for name in ("stream_id", "timeout", "leave", "extra_body")
        if f"    ``{name}``" not in (arguments.TurnArguments.__doc__ or "")
    ] == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fields.ToolParam, tool_param.ToolParam),
        (fields.InputItem, ResponseInputItemParam),
        (fields.ToolChoiceParam, hints(SDK_REQUEST)["tool_choice"]),
        (hints(fields.TextOptions)["format"], hints(hints(SDK_REQUEST)["text"])["format"]),
    ],
    ids=["tools", "items", "tool_choice", "format"],
)
def test_D_API_15_their_values_are_those_of_the_sdk(ours: Any, theirs: Any) -> None:
    mine, sdk = by_type(ours), by_type(theirs)
    assert set(sdk) - set(mine) == set(), "types of the SDK that turnwire lacks"
    assert set(mine) - set(sdk) == set()
    assert {kind: sdk[kind] ^ mine[kind] for kind in sdk if sdk[kind] != mine[kind]} == {}


def test_D_API_15_the_settings_have_the_words_of_the_sdk() -> None:
    """Literals of the same field: theirs may be fewer, where the SDK takes any text as well."""
    for name, theirs in hints(SDK_REQUEST).items():
        words = {word for part in inside(theirs) if get_origin(part) is Literal for word in get_args(part)}
        mine = hints(fields.RequestFields).get(name, Any)
        own = {word for part in inside(mine) if get_origin(part) is Literal for word in get_args(part)}
        if name not in ("type", "stream_id", "model"):
            assert own == words, name


def test_D_API_15_the_arguments_have_types_at_run_time_too() -> None:
    for kind in (arguments.TurnArguments, arguments.ConversationDefaults, arguments.RunArguments):
        assert "extra_body" in hints(kind)


# --- The unions ------------------------------------------------------------------------------------------------------


def below(base: type[Any]) -> Iterator[type[Any]]:
    for child in base.__subclasses__():
        yield child
        yield from below(child)


@pytest.mark.parametrize(
    ("base", "known"),
    [(ServerEvent, KnownEvent), (OutputItem, KnownItem), (ContentPart, KnownPart)],
    ids=["events", "items", "parts"],
)
def test_D_API_16_every_tag_is_in_the_union_and_is_the_literal_type(base: Any, known: Any) -> None:
    tagged = {kind for kind in below(base) if kind.__struct_config__.tag is not None}
    assert tagged == set(get_args(known))
    for kind in tagged:
        tag = kind.__struct_config__.tag
        assert kind.__annotations__["type"] == f"ClassVar[Literal[{tag!r}]]"
        assert kind.type == tag


def test_D_API_16_an_unknown_type_is_any_text_at_run_time() -> None:
    assert EventName is str
    event: Event = events.decode_event(b'{"type":"vendor.note"}')
    assert isinstance(event, events.UnknownEvent)
    assert str(event.type) == "vendor.note"
    item: Item = events.decode_event(b'{"type":"response.output_item.done","item":{"type":"x"}}').item  # type: ignore[union-attr]
    assert isinstance(item, events.UnknownItem)
    assert msgspec.json.decode(b'"x"', type=str) == item.type
