"""JSON in slices is the JSON that it would be in one piece, and no slice does much."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from turnwire.sansio.server import JsonBody, ServerConnection, ServerOptions, _slices, read_json
from turnwire.sansio.server._slices import read_json_in_slices
from turnwire.sansio.websocket import WebSocket

UPGRADE = [
    (b"host", b"x"),
    (b"upgrade", b"websocket"),
    (b"connection", b"upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]


def in_slices(data: bytes, size: int) -> tuple[object, int]:
    """The value, and how many slices it took."""
    slices = read_json_in_slices(data, size)
    for count in itertools.count(1):
        try:
            next(slices)
        except StopIteration as end:
            return end.value, count
    raise AssertionError


GOOD = [
    "[]",
    "{}",
    "  [ ]  ",
    "7",
    '"a [ text , ] of { many } bytes"',
    "[1,2,3,4,5,6,7,8]",
    "[[1,2],[3,4],{},[],[[[[5]]]]]",
    '{"a":[1,{"b":[2,{"c":[3,4,5]},6]},7],"d":{"e":{}}}',
    '{ "a" : [ 1 , 2 ] , "b" : { "c" : null } , "a" : 5 }',
    '["a\\"b","c\\\\","[,]","{","\\\\\\"",""]',
    '[{"k":"a long text that is in several slices, with \\"quotes\\" and [brackets]"},["x",["y","z"]]]',
    '["\\ud800",{"\\udc00":["half","a","pair"]}]',
    "[ \n[ \t[ \r[ 1 ] \n] ] , 2 ]",
    '[-1.5e3,true,false,null,"\u00e9"]',
]
BAD = [
    "",
    " ",
    "[",
    "[1",
    "[1,",
    "[1,2",
    '["a',
    '["a\\',
    '["a\\"',
    "[1,]",
    "[,1]",
    "[1,,2]",
    "[1 2]",
    "[[1][2]]",
    "[[1,2,3]4]",
    "[[1,2,3]{}]",
    "[[1,2,3],]",
    "[5[1,2,3]]",
    "[[1,2,3}]",
    '{"a":[1,2,3]]',
    '{"a":[1,2,3],}',
    '{"a":[1,2,3]"b":4}',
    '{"a":1{"b":2,"c":3}}',
    '{"a"[1,2,3]}',
    '{"a":[1,2,3],"b"}',
    "{[1,2,3]:4}",
    "[1,2,3]]",
    "[1,2,3] x",
    "]",
    "nonsense, and a lot",
    "[nonsense, and a lot]",
    '["\x01"]',
    "[1e400,1,2,3]",
    "[" * 501 + "]" * 501,
]


@pytest.mark.parametrize("text", GOOD)
def test_the_value_is_that_of_one_piece(text: str) -> None:
    expected = read_json(text.encode())
    for size in (1, 2, 3, 5, 8, 13, 1000):
        value, _ = in_slices(text.encode(), size)
        assert repr(value) == repr(expected)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_json_in_one_piece_is_none_in_slices(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_json(text.encode())
    for size in (1, 2, 3, 5, 8, 13, 1000):
        with pytest.raises(ValueError, match=r"\w"):
            in_slices(text.encode(), size)


LONG = [
    "plain text, with [brackets] and {braces}: " * 20,
    "\u00e9\u20ac\U0001f4a5" * 60,
    "\\\\" * 200,
    '\\"' * 200,
    "\\n \\t" * 80,
    "\\ud83d\\udca5" * 60,
    "a\\ud83d\\udca5b" * 60,
    "1234567\\ud83d" * 40,
    "\\u00e9abcdefg" * 40,
]
"""The insides of strings, as they are in JSON."""


@pytest.mark.parametrize("inside", LONG)
@pytest.mark.parametrize(
    "around",
    ['["%s"]', '[1,"%s",2]', '{"a":"%s"}', '{"a":[{"b" : "%s" , "c":1}]}', '{"%s":1}', '["%s","%s"]', '[["%s"],[]]'],
)
def test_a_long_text_is_what_it_is_in_one_piece(inside: str, around: str) -> None:
    data = around.replace("%s", inside).encode()
    expected = read_json(data)
    for size in (1, 7, 16, 50, 199):
        value, count = in_slices(data, size)
        assert repr(value) == repr(expected)
        assert count > 1
    for broken in (data[:-3], data.replace(b"]", b'"]').replace(b"}", b'"}'), data.replace(b'"', b"", 1)):
        with pytest.raises(ValueError, match=r"\w"):
            read_json(broken)
        with pytest.raises(ValueError, match=r"\w"):
            in_slices(broken, 16)


def test_a_long_text_is_decoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-SERVER-7: no piece of work is as long as the text."""
    sizes: list[int] = []
    decode = _slices.decode_json

    def counted(data: bytes) -> Any:
        sizes.append(len(data))
        return decode(data)

    monkeypatch.setattr(_slices, "decode_json", counted)
    text = "x" * 1_000_000
    value, count = in_slices(json.dumps({"input": [{"text": text}]}).encode(), 10_000)
    assert value == {"input": [{"text": text}]}
    assert count > 100
    assert max(sizes) < 10_100


def random_json(chance: random.Random, depth: int = 0) -> str:
    blank = chance.choice(["", "", " ", "\n\t"])
    kind = chance.random()
    if depth > 5 or kind < 0.3:
        return chance.choice(["1", "-2.5e3", '"a"', '"\\\\"', '"\\""', '"[,{"', '"}]\\\\"', "null", " 7 ", '"\\ud800"'])
    elements = [random_json(chance, depth + 1) for _ in range(chance.randrange(5))]
    if kind < 0.65:
        return f"[{blank}{f'{blank},'.join(elements)}{blank}]"
    names = ['"k"', '"b"', '"x,"']
    return "{" + f"{blank},".join(f"{chance.choice(names)}{blank}:{blank}{each}" for each in elements) + blank + "}"


@pytest.mark.parametrize("seed", range(4))
def test_random_json_whole_or_broken_is_what_it_is_in_one_piece(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(1000):
        text = random_json(chance).encode()
        at = chance.randrange(len(text))
        broken = chance.choice([text, text[:at] + text[at + 1 :], text[:at], text[:at] + b'1,[]{}:" \\'[at % 10 :][:1]])
        try:
            expected: object = read_json(broken)
        except ValueError:
            with pytest.raises(ValueError, match=r"\w"):
                in_slices(broken, chance.choice([1, 2, 3, 5, 8, 13]))
        else:
            assert repr(in_slices(broken, chance.choice([1, 2, 3, 5, 8, 13]))[0]) == repr(expected), broken


@pytest.mark.parametrize(
    "value",
    [
        [{"role": "user", "content": "x" * 700} for _ in range(1000)],
        {"input": [{"a": list(range(100_000))}]},
        {"input": {str(number): number for number in range(50_000)}},
        [[]] * 100_000,
        ["\\"] * 100_000,
    ],
)
def test_a_long_message_takes_many_slices(value: Any) -> None:
    data = json.dumps(value).encode()
    found, slices = in_slices(data, 10_000)
    assert found == value
    assert slices >= len(data) / 10_000 / 2


def test_what_is_opened_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slices, "MAX_PARTS", 50)
    assert in_slices(b"[" * 25 + b"1,2,3" + b"]" * 25 + b" ", 2)[0]
    with pytest.raises(ValueError, match="more than 50 objects and arrays"):
        in_slices(b"[" + b"[]," * 50 + b"[]]", 2)


def test_too_many_parts_are_refused_in_one_piece_too() -> None:
    with pytest.raises(ValueError, match="more than 500000 objects and arrays"):
        read_json(b"[" + b"[]," * 500_000 + b"[]]")


def test_a_message_is_decoded_when_its_value_is_asked_for_and_once() -> None:
    body = JsonBody(b'{"a": [1, 2]}')
    assert body.data == b'{"a": [1, 2]}'
    assert body.value() is body.value()
    assert body.decode_slice()
    assert JsonBody(long_create("a")).value() == json.loads(long_create("a"))
    broken = JsonBody(b"[")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"\w"):
            broken.value()


# --- The connection --------------------------------------------------------------------------------------------------


def opened() -> ServerConnection:
    server = ServerConnection(options=ServerOptions())
    assert server.accept(b"/v1/responses", UPGRADE, 0.0) is None
    server.data_to_send()
    return server


def long_create(marker: str) -> bytes:
    items = [{"role": "user", "content": "x" * 1000}] * 500
    return json.dumps({"type": "response.create", "metadata": {"marker": marker}, "input": items}).encode()


def test_a_long_message_is_taken_slice_by_slice_and_in_its_order() -> None:
    server, client = opened(), WebSocket(client=True)
    server.receive_data(client.text(long_create("a")) + client.text(b"{}") + client.ping(b"p"), 0.0)
    assert server.has_unprocessed
    assert server.data_to_send() == b""
    rounds = 0
    while server.has_unprocessed:
        server.process(0.0)
        rounds += 1
    assert rounds > 3
    turn = server.next_request()
    assert turn is not None
    assert turn.request["metadata"] == {"marker": "a"}
    assert [type(item).__name__ for item in client.receive(server.data_to_send())] == ["bytes", "Pong"]


def test_a_long_message_that_is_being_taken_is_dropped_when_the_connection_closes() -> None:
    server, client = opened(), WebSocket(client=True)
    server.receive_data(client.text(long_create("a")) + client.close(1000), 0.0)
    server.close(1.0)
    assert server.has_unprocessed
    server.process(2.0)
    assert server.next_request() is None
    assert not server.has_unprocessed
    assert server.messages == 0
