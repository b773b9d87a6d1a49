"""The facts of a request: the same in slices and at once, and nobody reads a long request again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from typing import Any

import pytest
from kit.server_client import Client, complete
from turnwire.sansio.server import (
    ApiCall,
    ApiState,
    Facts,
    JsonBody,
    Problem,
    ResponseStore,
    RunTurn,
    StoredResponses,
    _memory,
    _turn,
    count_words,
    facts_of,
    input_items,
    prepare_create,
    reply_events,
    reply_of,
    write_json,
)
from turnwire.sansio.server._api_responses import create
from turnwire.sansio.server._facts import SLICE, canonical_pieces, facts_in_slices
from turnwire.sansio.server._strict import check_fields_in_slices, check_strictly


def in_slices(message: dict[str, Any], check: Any = None) -> tuple[Facts, int]:
    """The facts, and how many slices they took."""
    slices, count = facts_in_slices(message, check), 1
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value, count
        count += 1


def message(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "input_text", "text": text}], **fields}


LONG = "two words \u00e9" * 40_000
VALUES: list[Any] = [
    {},
    [],
    {"b": [1, {"d": None, "c": [True, 2.5]}], "a": {}, "c": [], "": ["", {}]},
    [[[[]]], "x" * (SLICE + 1), {"k": LONG}],
    {"a\ud800": '"\\'},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:30])
def test_the_pieces_are_the_json_with_sorted_names(value: Any) -> None:
    pieces = list(canonical_pieces(value))
    assert b"".join(pieces) == write_json(value, ordered=True)
    assert all(len(piece) <= 2 * SLICE for piece in pieces)


def test_deep_nesting_is_no_deep_recursion() -> None:
    value: Any = []
    for _ in range(5000):
        value = [value]
    assert b"".join(canonical_pieces(value)) == b"[" * 5001 + b"]" * 5001


@pytest.mark.parametrize(
    "given",
    [
        None,
        "three words here",
        LONG,
        [message("a b"), message("c")],
        [message(LONG), {"type": "function_call", "call_id": "c", "name": "f", "arguments": "x y z"}],
        [
            {"role": "user", "content": "a b"},
            {"role": "user", "content": [{"text": "half"}, {"text": "word"}, {}, "x"]},
        ],
        [{"role": "user", "content": [{"text": "a "}, {"text": ""}, {"text": " b"}, {"text": 5}]}, {"output": "c"}],
        [{"input": " " * (SLICE + 5) + "x"}, {"content": 7}],
        [5],
        7,
    ],
    ids=lambda given: str(given)[:30],
)
def test_the_facts_are_those_of_the_body(given: Any) -> None:
    message = {"type": "response.create", "stream_id": "a", "model": "m", "input": given}
    body = {"model": "m", "input": given}
    facts = facts_of(message)
    assert facts == facts_of(body)
    assert facts.fingerprint == hashlib.sha256(write_json(body, ordered=True)).hexdigest()
    items = input_items(given)
    if all(isinstance(item, dict) for item in items):
        fields = [item.get(name) for item in items for name in ("content", "output", "arguments", "input")]
        assert facts.words == count_words(items) == sum(len(_memory.item_text(field).split()) for field in fields)


def test_equal_bodies_have_equal_fingerprints_whatever_the_order_of_their_members() -> None:
    first = {"model": "m", "input": [{"a": 1, "b": {"c": 2, "d": 3}}]}
    assert facts_of(first) == facts_of({"input": [{"b": {"d": 3, "c": 2}, "a": 1}], "model": "m"})
    assert facts_of(first).fingerprint != facts_of({**first, "model": "n"}).fingerprint


@pytest.mark.parametrize(
    ("given", "least"),
    [(LONG * 4, 20), ([message("a b c")] * 20_000, 20), ([message(LONG)] * 4, 20)],
    ids=["a", "b", "c"],
)
def test_a_long_request_takes_many_slices(given: Any, least: int) -> None:
    """P-SERVER-7."""
    body = {"model": "m", "input": given}
    facts, count = in_slices(body)
    assert count > least
    assert facts == facts_of(body)


def strict(body: Mapping[str, Any]) -> Generator[None, None, Problem | None]:
    return check_fields_in_slices(body, websocket=True)


def test_the_check_of_many_items_takes_many_slices_and_finds_the_same() -> None:
    """P-SERVER-7, P-STRICT-4."""
    many = [message(str(number)) for number in range(3000)]
    for items in (many, [*many, message("x", foo=1)], [*many, {"role": "user", "content": [{"type": "output_text"}]}]):
        body = {"model": "m", "input": items}
        facts, count = in_slices(body, strict)
        assert facts.problem == check_strictly(body, None, websocket=True)
        assert count > 10
    assert in_slices({"model": "m", "input": [message("x")] * 300, "tools": [{}] * 300}, strict)[0].problem is not None


CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": ""}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}


@pytest.mark.parametrize(
    "items",
    [
        [message("a"), CALL, OUTPUT],
        [CALL, message("a")],
        [message("a"), OUTPUT],
        [message("a"), REASONING, {"role": "assistant", "content": "x"}, message("b")],
        [REASONING, message("b")],
        [message("b"), REASONING],
        [{"id": "msg_gone"}, message("b")],
    ],
    ids=str,
)
def test_what_is_checked_with_facts_is_what_is_checked_without(items: list[Any]) -> None:
    body = {"model": "m", "input": items}
    store = ResponseStore()
    facts, _ = in_slices(body, strict)
    assert len(facts.special) <= len(items)
    with_facts = check_strictly(body, None, websocket=True, lookup=store.item, facts=facts)
    assert with_facts == check_strictly(body, None, websocket=True, lookup=store.item)


# --- Nobody reads a long request again -------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many characters each call that reads a request at once has read."""
    read: list[int] = []

    def refuse(request: Mapping[str, Any]) -> Facts:
        read.append(len(str(request)))
        return facts_of(request)

    def count(items: Any) -> int:
        read.append(len(str(items)))
        return count_words(items)

    monkeypatch.setattr(_turn, "facts_of", refuse)
    monkeypatch.setattr(_memory, "count_words", count)
    return read


def long_request(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": [message("a b " * 100) for _ in range(1000)], **fields}


@pytest.mark.parametrize("strict", [False, True])
def test_a_long_message_is_read_in_slices_only(counted: list[int], strict: bool) -> None:
    """P-SERVER-7."""
    client = Client(strict=strict)
    client.create(**long_request(stream_id="a"))
    rounds = 0
    while client.server.has_unprocessed:
        client.server.process(0.0)
        rounds += 1
    assert rounds > 8
    turn = client.server.next_request()
    assert turn is not None
    assert turn.facts == in_slices(long_request(), None)[0]
    *_, last = reply_events(reply_of("ok"), turn.request, None, number=1, created_at=0, words=turn.facts.words)
    assert last["response"]["usage"]["input_tokens"] == 200_000
    complete(turn, "resp_1")
    assert max(counted) < 100
    assert client.run(model="m", input="x", previous_response_id="resp_1").previous.words == 200_000  # type: ignore[union-attr]


def test_a_long_message_that_is_refused_is_refused_with_its_facts() -> None:
    refused: list[Any] = []
    client = Client(strict=True)
    client.server._requests.refused = refused.append  # pyright: ignore[reportPrivateUsage]
    client.create(**long_request(tempersture=1))
    while client.server.has_unprocessed:
        client.server.process(0.0)
    assert client.error()["error"]["param"] == "tempersture"
    assert refused[0].facts.problem == refused[0].problem


def test_a_message_of_another_type_has_no_facts() -> None:
    client = Client()
    client.send({"type": "response.tomorrow", "input": [message(LONG)]})
    while client.server.has_unprocessed:
        client.server.process(0.0)
    assert client.error()["error"]["code"] == "unsupported_event_type"


@pytest.mark.parametrize("strict", [False, True])
def test_a_long_body_over_http_is_read_in_slices_only(counted: list[int], strict: bool) -> None:
    """P-SERVER-7."""
    body = JsonBody(json.dumps(long_request()).encode(), lambda message: prepare_create(message, strict=strict))
    rounds = 1
    while not body.decode_slice():
        rounds += 1
    assert rounds > 8
    state = ApiState(store=ResponseStore(), responses=StoredResponses(), strict=strict)
    run = create(state, ApiCall(body=body))
    assert isinstance(run, RunTurn)
    assert run.facts is not None
    state.store.remember(run.request, {"id": "resp_1", "output": []}, None, words=run.facts.words)
    assert max(counted) < 100


@pytest.mark.parametrize("data", [b"[]", b"[" + b"1," * 100_000 + b"1]", b"nonsense " * 100_000])
def test_what_is_no_object_has_no_facts(data: bytes) -> None:
    body = JsonBody(data, lambda message: prepare_create(message, strict=True))
    while not body.decode_slice():
        pass
    assert body.facts is None
