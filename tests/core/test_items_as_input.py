"""What a response gave goes back as input as the server sent it: turnwire's items, the SDK's, those of parse()."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar

import msgspec
import pydantic
import pytest
from openai import NOT_GIVEN
from openai.lib._parsing._responses import parse_response
from openai.types import responses as sdk
from turnwire.sansio import events
from turnwire.sansio.encoding import encode_json, plain
from turnwire.sansio.events import decode_event
from turnwire.sansio.messages import response_create


class Answer(pydantic.BaseModel):
    city: str
    warm: bool = True


MESSAGE: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [
        {"type": "output_text", "text": '{"city": "Oslo"}', "annotations": [], "new": [None, 1.5]},
        {"type": "refusal", "refusal": "no"},
    ],
}
CALL: dict[str, Any] = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Oslo"}',
    "async": True,
    "caller": {"type": "direct"},
    "namespace": None,
}
REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "content": None,
    "encrypted_content": "gAAA",
}
HOLOGRAM: dict[str, Any] = {"type": "hologram_call", "id": "hg_1", "depth": [1, {"x": None}]}
ITEMS = [MESSAGE, CALL, REASONING, HOLOGRAM]


def completed(**response: Any) -> events.LifecycleEvent:
    event = decode_event(json.dumps({"type": "response.completed", "response": {"id": "r", **response}}).encode())
    assert isinstance(event, events.LifecycleEvent)
    return event


def sent(value: Any) -> Any:
    """What goes out for it, as the request of a session and as that of a model."""
    encoded = json.loads(encode_json(response_create({"input": value})))["input"]
    copied = plain(value, "input")
    assert copied == encoded
    assert json.loads(encode_json(copied)) == encoded
    return encoded


@dataclasses.dataclass
class Turn:
    said: Any
    note: str | None = None


def nestings(items: list[Any]) -> list[tuple[Any, Any]]:
    """Ways to hold items, with the same of ``...`` for where they are."""
    return [
        (items, ...),
        (tuple(items), ...),
        ([{"role": "user", "content": "hi"}, *items], [{"role": "user", "content": "hi"}, ...]),
        ({"deep": [{"er": items}]}, {"deep": [{"er": ...}]}),
        (Turn(items), {"said": ..., "note": None}),
        ((item for item in items), ...),
    ]


def filled(shape: Any, items: list[Any]) -> Any:
    if shape is ...:
        return items
    if isinstance(shape, dict):
        return {name: filled(value, items) for name, value in shape.items()}
    if isinstance(shape, list):
        return [shape[0], *items] if shape[-1] is ... else [filled(value, items) for value in shape]
    return shape


@pytest.mark.parametrize("index", range(6))
def test_turnwires_items_go_back_as_they_came(index: int):
    """P-CONT-11."""
    value, shape = nestings(completed(output=ITEMS).response.output)[index]
    if index == 5:
        assert json.loads(encode_json(value)) == ITEMS
    else:
        assert sent(value) == filled(shape, ITEMS)


def test_the_text_of_turnwires_items_is_the_servers():
    """P-CONT-11."""
    raw = b'{ "type":"function_call",\t"async":true, "n": 1.50, "n2": 1e999, "x": "\\u00e9\\ud83d" }'
    event = decode_event(b'{"type":"response.output_item.done","item":%b}' % raw)
    assert isinstance(event, events.OutputItemEvent)
    assert encode_json([event.item]) == b"[%b]" % raw
    assert plain(event.item)["x"] == "\u00e9\ud83d"
    response = completed(output=ITEMS).response
    assert encode_json({"kept": (response, event.item)}) == b'{"kept":[%b,%b]}' % (response.raw_bytes, raw)
    assert encode_json([event]) == b"[%b]" % event.raw_bytes


def test_numbers_that_a_copy_cannot_hold_are_as_large_as_they_can_be():
    event = decode_event(
        b'{"type":"response.output_item.done","item":{"type":"t","x":[1e999,-1e999,1%b]}}' % (b"0" * 5000)
    )
    assert isinstance(event, events.OutputItemEvent)
    largest = 1.7976931348623157e308
    assert plain([event.item]) == [{"type": "t", "x": [largest, -largest, largest]}]


def test_an_item_made_here_has_no_member_that_nobody_gave():
    made = events.ResponseFunctionToolCall(call_id="c", name="f", arguments="{}", caller=events.Caller(type="direct"))
    assert sent([made]) == [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "caller": {"type": "direct"}}
    ]
    changed = msgspec.structs.replace(made, async_=False, id="fc")
    assert sent([changed])[0]["async"] is False
    assert sent([events.SafetyCheck(id="s"), events.Annotation(type="url_citation", url="u")]) == [
        {"id": "s"},
        {"type": "url_citation", "url": "u"},
    ]


@pytest.mark.parametrize("index", range(5))
def test_the_sdks_items_go_back_as_they_came(index: int):
    value, shape = nestings(completed(output=ITEMS).response.to_openai().output)[index]
    assert sent(value) == filled(shape, ITEMS)


def test_a_response_of_the_sdk_goes_back_as_it_came():
    whole = {"id": "r", "output": ITEMS, "metadata": None, "field_of_tomorrow": {"x": None}}
    assert sent([completed(**whole).response.to_openai()]) == [whole]


def test_what_was_set_to_none_is_sent_and_what_was_not_set_is_not():
    call = sdk.ResponseFunctionToolCall(type="function_call", call_id="c", name="f", arguments="{}", status=None)
    assert sent([call]) == [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": None}]


def test_what_parse_adds_is_not_sent():
    tools: Any = [
        {"type": "function", "name": "weather", "strict": True, "parameters": {"type": "object", "properties": {}}}
    ]
    plain_response = completed(output=[MESSAGE, CALL, REASONING]).response.to_openai()
    parsed = parse_response(response=plain_response, text_format=Answer, input_tools=tools)
    assert parsed.output_parsed == Answer(city="Oslo")
    assert parsed.output[1].parsed_arguments == {"city": "Oslo"}  # type: ignore[union-attr]
    assert sent(parsed.output) == [MESSAGE, CALL, REASONING]
    assert sent([parsed])[0]["output"] == [MESSAGE, CALL, REASONING]
    assert sent([parsed.output[0].content[0]]) == [MESSAGE["content"][0]]  # type: ignore[union-attr]


def test_what_the_sdk_excludes_in_another_way_is_not_sent():
    class Odd(sdk.ResponseOutputRefusal):
        hidden: str = pydantic.Field(default="", exclude=True)
        client_side: int = 0
        nested: Any = None
        __api_exclude__: ClassVar[dict[str, Any]] = {"client_side": True, "nested": {"x": True}}

    odd = Odd(type="refusal", refusal="no", hidden="h", client_side=1, nested={"y": 2})
    assert sent([odd]) == [{"refusal": "no", "type": "refusal", "nested": {"y": 2}}]


HALVES = ["\ud83d", "\udca5x", "a\ud83d\ud83d", "\ud83d\udca5", 'é\udcaf\n"\\ud83d', "\udfff\udc00"]


@pytest.mark.parametrize("text", HALVES)
def test_half_a_surrogate_pair_can_be_sent_back(text: str):
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    item = {**MESSAGE, "content": [{"type": "output_text", "text": text, "annotations": []}]}
    response = completed(output=[item]).response
    expected = json.loads(json.dumps(item))
    for items in (response.output, response.to_openai().output, [item], [{text: text}]):
        data = encode_json({"input": items})
        data.decode("utf-8")
        (found,) = json.loads(data)["input"]
        assert found in (expected, {whole: whole}, {text: text})
    assert json.loads(encode_json({"x": [Answer.model_construct(city=text)]}))["x"][0]["city"] == whole


def test_half_a_pair_is_written_as_its_escape_and_all_else_as_it_is():
    assert (
        encode_json({"é\ud83d": ["\udca5", "\ud83d\ude00", "😀"]})
        == '{"é\\ud83d":["\\udca5","\\ud83d\\ude00","😀"]}'.encode()
    )
    assert encode_json((dataclasses.replace(Turn("\ud83d"), note="n"),)) == b'[{"said":"\\ud83d","note":"n"}]'
    response = completed(output=[MESSAGE]).response
    assert json.loads(encode_json([response.output[0], "\ud83d"])) == [MESSAGE, "\ud83d"]


class Labelled(msgspec.Struct, tag="label", rename="camel"):
    short_text: str
    long_text: str | None = None
    wanted: str | None = "x"


def test_structs_have_their_tag_and_their_names_in_json():
    assert sent([Labelled("s")]) == [{"type": "label", "shortText": "s", "wanted": "x"}]
    assert sent([Labelled("s", wanted=None)]) == [{"type": "label", "shortText": "s", "wanted": None}]


def test_another_librarys_model_has_its_defaults_and_no_nulls():
    class Item(pydantic.BaseModel):
        role: str = "user"
        content: str
        note: str | None = None

    assert sent([Item(content="x")]) == [{"role": "user", "content": "x"}]


def test_what_json_lacks_is_found_within_another_librarys_model():
    class Box(pydantic.BaseModel):
        held: Any

    with pytest.raises(TypeError, match=r"^input\[0\]\.held\[1\] is of type object"):
        encode_json({"input": [Box(held=[1, object()])]})


def test_what_the_sdk_leaves_out_is_no_value():
    with pytest.raises(TypeError, match=r"^input\[0\] is of type NotGiven"):
        encode_json({"input": [NOT_GIVEN]})
