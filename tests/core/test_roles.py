"""What starts a response and what ends a turn: the table of PROTOCOL.md, row by row."""

import inspect
import json
import sys

import pytest
from turnwire.sansio.events import (
    EVENT_TYPES,
    ErrorEvent,
    LifecycleEvent,
    Role,
    UnknownEvent,
    UnknownLifecycleEvent,
    UnknownTerminalEvent,
    decode_event,
    final_status,
    role_of,
)


def event(kind, **members):
    return decode_event(json.dumps({"type": kind, **members}).encode())


@pytest.mark.parametrize(
    "kind",
    [
        "keepalive",
        "ping",
        "response.heartbeat",
        "response.metadata",
        "rate_limits",
        "codex.rate_limits",
        "x.rate_limits",
        "codex.turn_state",
    ],
)
@pytest.mark.parametrize("members", [{}, {"delta": "x"}, {"response": {"id": "r", "status": "completed"}}])
def test_a_neutral_event_moves_nothing_whatever_it_carries(kind, members):
    told = event(kind, **members)
    assert told.role is Role.NEUTRAL
    assert told.outcome is None
    assert not told.ends_turn


@pytest.mark.parametrize("kind", ["keepalives", "pings", "heartbeat", "metadata", "limits", "x", "", "openai.codex.x"])
def test_the_neutral_list_is_closed(kind):
    assert event(kind).role is Role.UNKNOWN


@pytest.mark.parametrize("member", ["response", "response_id", "item_id", "output_index", "delta"])
@pytest.mark.parametrize("value", [None, 0, "", {}])
def test_an_unknown_event_with_a_member_of_a_response_is_part_of_one(member, value):
    told = event("vendor.note", **{member: value})
    assert isinstance(told, UnknownEvent)
    assert told.role is Role.RESPONSE


@pytest.mark.parametrize("kind", ["response.tomorrow", "response.", "response.done", "response.moderation.done"])
def test_an_unknown_event_of_a_response_begins_it(kind):
    assert event(kind).role is Role.RESPONSE


def test_every_known_type_has_its_role():
    roles = {kind: event(kind).role for kind in EVENT_TYPES}
    outcomes = {kind for kind, role in roles.items() if role is Role.OUTCOME}
    errors = {kind for kind, role in roles.items() if role is Role.ERROR}
    assert {kind.rpartition(".")[0] for kind in outcomes} == {"response.steer", "response.inject"}
    assert errors == {"error", "response.error"}
    assert {role for kind, role in roles.items() if kind not in outcomes | errors} == {Role.RESPONSE}
    assert event("response.error").ends_turn
    assert isinstance(event("error"), ErrorEvent)


@pytest.mark.parametrize("outcome", ["completed", "failed", "incomplete", "cancelled"])
@pytest.mark.parametrize("response", [None, {}, {"status": "completed"}, {"status": "failed"}, {"status": "queued"}])
def test_the_type_of_an_ending_decides_whatever_the_status(outcome, response):
    told = event(f"response.{outcome}", response=response)
    assert told.terminal
    assert told.ends_turn
    assert told.outcome == outcome
    assert isinstance(told, LifecycleEvent)
    assert told.response.status == (response or {}).get("status")


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        ("response.done", None, "completed"),
        ("response.done", "", "completed"),
        ("response.done", "completed", "completed"),
        ("response.done", "failed", "failed"),
        ("response.done", "canceled", "cancelled"),
        ("response.done", "in_progress", None),
        ("response.done", "resting", None),
        ("response.finished", "completed", "completed"),
        ("response.finished", "incomplete", "incomplete"),
        ("response.finished", "cancelled", "cancelled"),
        ("response.finished", "queued", None),
        ("response.finished", None, None),
        ("response.canceled", "canceled", "cancelled"),
        ("response.created", "completed", None),
        ("response.in_progress", "failed", None),
        ("response.steer.tomorrow", "completed", None),
        ("response.heartbeat", "completed", None),
        ("vendor.finished", "completed", None),
    ],
)
def test_what_an_event_with_a_status_ends(kind, status, outcome):
    told = event(kind, response={"id": "resp_7", "status": status})
    assert told.outcome == outcome
    assert told.ends_turn is told.terminal is (outcome is not None)
    assert final_status(kind, status, has_response=True) == outcome
    if outcome is not None:
        assert isinstance(told, UnknownTerminalEvent)
        assert told.response_id == told.response.id == "resp_7"


@pytest.mark.parametrize("response", [None, 5, "resp_1", [], True])
@pytest.mark.parametrize("kind", ["response.done", "response.finished"])
def test_an_event_without_an_object_for_a_response_ends_nothing(kind, response):
    for told in (event(kind), event(kind, response=response)):
        assert isinstance(told, UnknownEvent)
        assert told.outcome is None
        assert not told.ends_turn


def test_an_unknown_event_with_a_response_has_it():
    response = {"id": "resp_1", "status": "in_progress"}
    told = event("response.paused", response=response, stream_id="a", sequence_number=3)
    assert type(told) is UnknownLifecycleEvent
    assert (told.stream_id, told.sequence_number, told.response_id) == ("a", 3, "resp_1")
    assert told.response.status == "in_progress"
    assert told.role is Role.RESPONSE
    odd = event("response.paused", response={"id": 5, "status": ["completed"]})
    assert odd.response_id is None
    assert not odd.terminal


@pytest.mark.parametrize(
    ("members", "ids"),
    [
        ({}, (None, None)),
        ({"response": {"id": "r"}}, ("r", None)),
        ({"response": {"id": 5}, "response_id": "s"}, ("s", None)),
        ({"response": None, "response_id": 7, "item_id": "i"}, (None, "i")),
        ({"response": [], "item": {"id": "i"}}, (None, "i")),
        ({"item": {"id": None}, "item_id": {}}, (None, None)),
        ({"item": "i", "response_id": "r"}, ("r", None)),
    ],
)
@pytest.mark.parametrize("kind", ["vendor.note", "response.tomorrow"])
def test_whose_event_it_is_is_read_from_the_text(kind, members, ids):
    assert event(kind, **members).ids() == ids


def test_a_stack_that_is_too_deep_to_read_the_text_tells_no_ids():
    deep: object = "end"
    for _ in range(200):
        deep = [deep]
    late = event("vendor.note", response_id="r", x=deep)

    def ids_at(depth: int):
        return late.ids() if depth == 0 else ids_at(depth - 1)

    assert ids_at(0) == ("r", None)
    assert ids_at(sys.getrecursionlimit() - 100 - len(inspect.stack())) == (None, None)


def test_role_of_needs_only_the_names_of_the_members():
    assert role_of("x", {"delta"}) is Role.RESPONSE
    assert role_of("x", {"deltas"}) is Role.UNKNOWN


def test_the_role_of_an_event_whose_names_cannot_be_read_is_told_by_its_type():
    told = decode_event(b'{"type":"vendor.note","\xff":1,"delta":"x"}')
    assert told.role is Role.UNKNOWN
