"""An odd field costs the field: every field of every event, item, part and response, with every kind of odd value."""

from __future__ import annotations

import copy
import json
import typing
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.machines import Wire
from kit.odd_events import CORPUS, ODD_VALUES, core, places, valid_object
from kit.peers import TEXT, frame
from kit.tiers import examples
from turnwire.sansio import events
from turnwire.sansio.errors import EventDecodeError
from turnwire.sansio.events import EVENT_TYPES, LifecycleEvent, ServerEvent, decode_event
from turnwire.sansio.events._items import _ITEMS
from turnwire.sansio.events._lenient import JsonString
from turnwire.sansio.events._parts import _PARTS

ODD: list[Any] = [
    None,
    True,
    7,
    -1.5,
    7.0,
    1e300,
    "",
    "7",
    "-07",
    "x",
    "7.5",
    "nan",
    [],
    [None],
    [{}],
    ["x", 7],
    {},
    {"a": 1},
]
RAW_ODD = ["1e999", "9" * 400, '"\\ud83d"', '{"a":1e999}', "[1e999]"]


TYPES: dict[str, type[msgspec.Struct]] = {
    **EVENT_TYPES,
    **{f"item {kind}": cls for kind, cls in _ITEMS.by_type.items()},
    **{f"part {kind}": cls for kind, cls in _PARTS.by_type.items()},
    "response": events.Response,
    "unheard.of": events.UnknownEvent,
}


def read(name: str, members: dict[str, Any] | str) -> Any:
    """The thing of this type that an object of these members is read as, carried as the server carries it."""
    text = members if isinstance(members, str) else json.dumps(members)
    group, _, kind = name.rpartition(" ")
    if name == "response":
        return decode_event(b'{"type":"response.completed","response":%b}' % text.encode()).response  # type: ignore[attr-defined]
    text = text.replace("{", f'{{"type": "{kind}", ', 1)
    if group == "item":
        return decode_event(b'{"type":"response.output_item.done","item":%b}' % text.encode()).item  # type: ignore[attr-defined]
    if group == "part":
        return decode_event(b'{"type":"response.content_part.done","part":%b}' % text.encode()).part  # type: ignore[attr-defined]
    return decode_event(text.encode())


def fields_of(thing: Any) -> dict[str, Any]:
    """The values of its fields, by their names in JSON; undecoded ones as text."""

    def shown(value: Any) -> Any:
        if isinstance(value, msgspec.Raw):
            return bytes(value)
        return [shown(each) for each in value] if isinstance(value, list) else value

    values = msgspec.structs.astuple(thing)  # A property may hide a field: LifecycleEvent.response_id.
    return {name: shown(value) for name, value in zip(thing.__struct_encode_fields__, values, strict=True)}


def fits(annotation: Any, value: Any) -> bool:
    """Whether the fast decoder takes the value for the field."""
    try:
        msgspec.json.decode(json.dumps(value), type=annotation)
    except msgspec.DecodeError:
        return False
    return True


def plain_reading(annotation: Any, value: Any) -> Any:
    """What PROTOCOL.md has a scalar field read where the value is of another type; ``...`` for nothing."""
    if annotation == JsonString:
        return json.dumps(value) if isinstance(value, dict | list) else ...
    if annotation is int:
        return {"7": 7, "-07": -7}.get(value, ...) if isinstance(value, str) else 7 if value == 7.0 else ...
    if annotation is float:
        return {"7": 7.0, "-07": -7.0, "7.5": 7.5}.get(value, ...) if isinstance(value, str) else ...
    return ...


@pytest.mark.parametrize("name", TYPES)
def test_an_odd_field_costs_the_field_and_nothing_else(name: str):
    """P-FIELD-1."""
    cls = TYPES[name]
    whole = valid_object(cls)
    whole.pop("type", None)
    usual, missing = fields_of(read(name, whole)), fields_of(read(name, "{ }" if name == "response" else '{"_":0}'))
    tried: Counter[str] = Counter()
    for field in msgspec.structs.fields(cls):
        if field.encode_name == "type":
            continue
        annotation = core(field.type)
        for odd in ODD:
            if fits(field.type, odd):
                continue
            found = read(name, {**whole, field.encode_name: odd})
            assert type(found) is type(read(name, whole))
            values = fields_of(found)
            value = values.pop(field.encode_name)
            assert values == {key: each for key, each in usual.items() if key != field.encode_name}, (field.name, odd)
            reading = plain_reading(annotation, odd)
            if reading is not ...:
                assert value == reading
            elif typing.get_origin(annotation) not in (list, dict):
                assert value == missing[field.encode_name], (field.name, odd)
            tried[field.name] += 1
        for odd_text in RAW_ODD:
            text = json.dumps({**whole, field.encode_name: "@"}).replace('"@"', odd_text)
            values = fields_of(read(name, text))
            values.pop(field.encode_name)
            assert values == {key: each for key, each in usual.items() if key != field.encode_name}, (
                field.name,
                odd_text,
            )
    assert len(whole) - len(tried) == sum(
        core(field.type) in (Any, msgspec.Raw) for field in msgspec.structs.fields(cls)
    )


@pytest.mark.parametrize("name", TYPES)
def test_a_field_that_is_dropped_renamed_or_doubled_costs_the_field(name: str):
    """P-FIELD-2."""
    whole = valid_object(TYPES[name])
    whole.pop("type", None)
    usual = fields_of(read(name, whole))
    for field, value in whole.items():
        others = {key: each for key, each in usual.items() if key != field}
        rest = {"_": 0} | {key: each for key, each in whole.items() if key != field}
        renamed = {f"{key}_" if key == field else key: each for key, each in whole.items()}
        for text in (rest, renamed, {**rest, "sequence_no": {}}):
            assert {key: each for key, each in fields_of(read(name, text)).items() if key != field} == others
        doubled = json.dumps(whole)[:-1] + f", {json.dumps(field)}: {json.dumps(value)}}}"
        assert fields_of(read(name, doubled)) == usual
        assert fields_of(read(name, doubled.replace("{", f'{{{json.dumps(field)}: {{"odd": 1e999}}, ', 1))) == usual


# At any depth


def touch(thing: object) -> None:
    """Read all that can be read of it."""
    for name in dir(type(thing)):
        if isinstance(getattr(type(thing), name), property):
            value = getattr(thing, name)
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, events.Response | events.OutputItem | events.ContentPart):
                    touch(part)


@settings(derandomize=True, deadline=None, max_examples=examples(400))
@given(st.data())
def test_any_change_anywhere_leaves_an_event_that_can_be_read(data: st.DataObject):
    """P-FIELD-5."""
    payload = copy.deepcopy(data.draw(st.sampled_from(CORPUS)))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(payload)) or [(payload, "new")]))
        change = data.draw(st.sampled_from(["retype", "drop", "rename"]))
        if change == "retype" or isinstance(container, list):
            container[key] = data.draw(ODD_VALUES)
        else:
            value = container.pop(key)
            container.update({f"{key}.": value} if change == "rename" else {})
    text = json.dumps(payload).replace("Infinity", "1e999").encode()
    event = decode_event(text)
    assert event.raw_bytes == text
    touch(event)
    event.to_dict()
    event.to_openai()
    if isinstance(event, events.LifecycleEvent):
        event.response.to_openai()
        event.response.to_dict()


# Particular readings


@pytest.mark.parametrize("text", ['{"city": "Bergen"}', '[1, {"a": "}"}]', "{}", '{"n": 1e999}'])
@pytest.mark.parametrize("name", ["item function_call", "item mcp_call", "item mcp_approval_request"])
def test_arguments_that_are_an_object_are_its_json_text(name: str, text: str):
    """P-FIELD-1."""
    assert read(name, f'{{"arguments": {text}, "id": "i"}}').arguments == text


@pytest.mark.parametrize("kind", ["response.function_call_arguments.done", "response.mcp_call_arguments.done"])
def test_arguments_in_an_event_that_are_an_object_are_its_json_text(kind: str):
    event: Any = decode_event(b'{"type":"%b","item_id":"i","arguments":{"x":\t[1.50]}}' % kind.encode())
    assert (event.arguments, event.item_id) == ('{"x":\t[1.50]}', "i")


def test_a_list_of_texts_is_read_whole_or_not_at_all():
    call: Any = read("item local_shell_call", {"action": {"command": ["rm", 5, "-rf"], "user": "u"}})
    assert (call.action.command, call.action.user) == ([], "u")


def test_a_list_of_objects_loses_what_is_none():
    """P-FIELD-1."""
    event: Any = decode_event(
        b'{"type":"response.output_text.delta","delta":"d","logprobs":[{"token":"a","logprob":"-0.5","bytes":["97"]},5,'
        b'null,{"token":5,"logprob":1e999,"bytes":[null],"top_logprobs":[{"token":"b"},[]]}]}'
    )
    first, second = event.logprobs
    assert (event.delta, first.token, first.logprob, first.bytes) == ("d", "a", -0.5, [97])
    assert (second.token, second.logprob, second.bytes) == ("", None, None)
    assert second.top_logprobs == [events.TopLogprob(token="b")]


def test_usage_with_holes_and_digits():
    response: events.Response = read(
        "response",
        {"usage": {"input_tokens": "12", "output_tokens": 7.0, "total_tokens": None, "input_tokens_details": 5}},
    )
    assert response.usage == events.ResponseUsage(input_tokens=12, output_tokens=7)


@pytest.mark.parametrize(
    ("code", "read"), [(400, "400"), (-32600, "-32600"), (1.0, "1"), ("c", "c"), (True, None), ([], None)]
)
def test_a_code_that_is_a_number_is_its_digits(code: Any, read: str | None):
    """P-FIELD-1."""
    body = {"error": {"code": code, "message": "m"}}
    failed: Any = decode_event(json.dumps({"type": "response.failed", "response": body}).encode())
    assert (failed.response.error.code, failed.response.error.message) == (read, "m")
    steer: Any = decode_event(json.dumps({"type": "response.steer.failed", **body}).encode())
    assert (steer.error.code, steer.error.message) == (read, "m")


@pytest.mark.parametrize("kind", [None, 5, ["response.completed"], {}, ""])
def test_a_type_that_is_no_text_is_as_if_missing(kind: Any):
    event = decode_event(json.dumps({"type": kind, "stream_id": "a", "x": 1}).encode())
    assert isinstance(event, events.UnknownEvent)
    assert (event.type, event.stream_id, event.payload["x"]) == ("", "a", 1)
    refused = decode_event(json.dumps({"type": kind, "detail": "No."}).encode())
    assert isinstance(refused, events.ErrorEvent)
    assert (refused.type, refused.message) == ("error", "No.")


@pytest.mark.parametrize("lane", [5, [], {}, True, None])
def test_a_lane_that_is_no_text_is_as_if_missing(lane: Any):
    for kind in ("response.created", "error", "unheard.of", "response.done"):
        assert decode_event(json.dumps({"type": kind, "stream_id": lane}).encode()).stream_id is None


def test_numbers_beyond_every_range():
    event = decode_event(b'{"type":"unheard.of","sequence_number":-1e308,"x":[1e999,-1e999,1%b]}' % (b"0" * 5000))
    assert isinstance(event, events.UnknownEvent)
    assert event.payload["x"] == [float("inf"), float("-inf"), float("inf")]
    assert event.sequence_number is None
    error = decode_event(b'{"type":"error","message":"m","x":1e999}')
    assert isinstance(error, ServerEvent)
    assert error.to_dict()["x"] == float("inf")


# A turn of nothing but odd events

ODD_TURN: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": 7, "status": [], "output": "x"}, "sequence_number": "0"},
    {"type": "response.in_progress", "response": 5, "sequence_number": {}},
    {"type": "response.output_item.added", "item": [], "output_index": "zero"},
    {"type": "response.output_text.delta", "delta": {"a": 1}, "logprobs": "none", "item_id": 5, "sequence_number": 3.0},
    {"type": "response.content_part.done", "part": "text"},
    {"type": "response.reasoning_summary_text.delta", "summary_index": None, "delta": 5},
    {"type": 5, "response_metadata": []},
    {
        "type": "response.output_item.done",
        "output_index": "1",
        "item": {"type": "function_call", "arguments": {"a": 1}},
    },
    {
        "type": "response.output_item.done",
        "output_index": 0.0,
        "item": {"type": "message", "content": [None, {"type": "output_text", "text": "hi"}]},
    },
    {"type": "response.completed", "response": {"id": [], "output": {}, "usage": {"input_tokens": "3"}, "error": "no"}},
]


def test_a_turn_of_odd_events_completes_and_gives_what_came():
    """P-FIELD-4, P-FIELD-5."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(*(frame(TEXT, json.dumps(each).encode()) for each in ODD_TURN))
    got = [turn.next_event() for _ in ODD_TURN]
    assert [each.to_dict() for each in got if each is not None] == ODD_TURN
    assert turn.ended
    assert turn.failure is None
    for each in got:
        assert each is not None
        touch(each)
        each.to_openai()
    response = turn.response
    assert response is not None
    assert response.output_text == "hi"
    assert response.usage == events.ResponseUsage(input_tokens=3)
    assert [item.type for item in response.output] == ["message", "function_call"]
    assert [item.type for item in response.to_openai().output] == ["message", "function_call"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_lacks_is_null(number: str) -> None:
    """P-FIELD-2."""
    text = (
        '{"type":"response.completed","response":{"id":"r","temperature":%s,"a":[%s, 1],"user":"say \\"NaN\\" or %s"}}'
    )
    event = decode_event((text % (number, number, number)).encode())
    assert isinstance(event, LifecycleEvent)
    assert event.terminal
    assert event.response.temperature is None
    assert event.response.user == f'say "NaN" or {number}'
    assert event.to_dict()["response"]["a"] == [None, 1]
    assert event.to_openai().type == "response.completed"


@pytest.mark.parametrize(
    "text", [b'{"type":NaN}', b'{"type":"x","a":NaNa}', b"{NaN:1}", b'{"a":"NaN', b"NaN", b"[Infinity]"]
)
def test_other_texts_with_such_numbers_are_read_or_refused(text: bytes) -> None:
    try:
        assert decode_event(text).type == ""
    except EventDecodeError:
        assert text != b'{"type":NaN}'
