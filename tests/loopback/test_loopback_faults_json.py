"""Faults as JSON: each shape has one meaning, an error names the place, and the published schema agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import turnwire.sansio
from kit.schemas import check_published
from turnwire.aio import loopback
from turnwire.aio.loopback import (
    AfterEvent,
    BeforeEvent,
    BeforeRun,
    Close,
    Cut,
    CutFrame,
    Delay,
    Error,
    Fault,
    Garbage,
    Opened,
    Received,
    Send,
    Silence,
    Upgrading,
    read_faults,
)
from turnwire.aio.loopback._faults import POSSIBLE
from turnwire.aio.loopback._faults_json import faults_json, faults_schema
from turnwire.sansio.errors import UserError

jsonschema = pytest.importorskip("jsonschema")
SPEC = Path(turnwire.sansio.__file__ or "").parent / "spec"
VALID = jsonschema.Draft202012Validator(faults_schema())
ERROR: Any = {"status": 429, "code": None, "message": "m", "type": "t", "param": "p", "headers": {"retry-after": "1"}}

FAULTS: list[tuple[Any, Fault]] = [
    (
        {"after_event": 3, "do": {"cut": {"reset": True}}, "connection": 1},
        Fault(AfterEvent(3), Cut(True), connection=1),
    ),
    (
        {"before_event": 2, "do": {"cut_frame": {"keep": 0}}, "marker": "x"},
        Fault(BeforeEvent(2), CutFrame(0), marker="x"),
    ),
    (
        {"before_event": 2, "do": {"cut_frame": {"keep": None, "reset": True}}},
        Fault(BeforeEvent(2), CutFrame(None, True)),
    ),
    ({"before_run": True, "do": {"error": ERROR}, "times": None}, Fault(BeforeRun(), Error(**ERROR), times=None)),
    ({"before_run": True, "do": {"error": {"attributed": False}}}, Fault(BeforeRun(), Error(attributed=False))),
    ({"received": 9, "do": {"delay": {"seconds": 0.5}}, "request": 2}, Fault(Received(9), Delay(0.5), request=2)),
    ({"received": 0, "of": "connection", "do": {"silence": {}}}, Fault(Received(0, "connection"), Silence())),
    ({"upgrading": True, "do": {"silence": {"connection": True}}}, Fault(Upgrading(), Silence(True))),
    (
        {"opened": True, "do": {"close": {"code": 1013, "reason": "r"}}, "times": 2},
        Fault(Opened(), Close(1013, "r"), times=2),
    ),
    ({"opened": True, "do": {"send": {"event": {"type": "x"}}}}, Fault(Opened(), Send({"type": "x"}))),
    ({"after_event": 1, "do": {"send": {"event": "[DONE]"}}}, Fault(AfterEvent(1), Send("[DONE]"))),
    ({"after_event": 1, "do": {"garbage": {"base64": "AAE="}}}, Fault(AfterEvent(1), Garbage(b"\0\1"))),
    ({"after_event": 1.0, "do": {"garbage": {}}}, Fault(AfterEvent(1), Garbage())),
    *(
        ({"after_event": 1, "do": name}, Fault(AfterEvent(1), action))
        for name, action in [("cut", Cut()), ("close", Close())]
    ),
]


@pytest.mark.parametrize(("written", "meant"), FAULTS, ids=[json.dumps(written)[:60] for written, _ in FAULTS])
def test_each_shape_of_a_fault_has_one_meaning(written: Any, meant: Fault) -> None:
    """P-FAULT-1, P-FAULT-2"""
    for document in (written, [written], {"faults": [written]}, {"$schema": "urn:x", "faults": [written]}):
        assert read_faults(document) == [meant]
        assert VALID.is_valid(document)
    assert read_faults(json.dumps(written)) == [meant]


POINTS: dict[type, Any] = {Received: Received(1), BeforeEvent: BeforeEvent(1), AfterEvent: AfterEvent(1)}
ACTIONS: dict[type, Any] = {Delay: Delay(1), Send: Send("x")}


@pytest.mark.parametrize("point", POSSIBLE, ids=lambda point: point.__name__)
def test_every_fault_that_python_can_make_can_be_written(point: type) -> None:
    """P-FAULT-2"""
    at = POINTS.get(point) or point()
    for kind in ACTIONS.keys() | {kind for kinds in POSSIBLE.values() for kind in kinds}:
        do = ACTIONS.get(kind) or kind()
        if kind in POSSIBLE[point]:  # type: ignore[index]
            fault = Fault(at, do, connection=2, times=3)
            assert read_faults(faults_json([fault])) == [fault]
            assert VALID.is_valid(faults_json([fault]))
        else:
            (written,) = faults_json([Fault(AfterEvent(1), do)]) if kind is not CutFrame else [{"do": "cut_frame"}]
            refused = {**faults_json([Fault(at, Cut())])[0], "do": written["do"]}
            with pytest.raises(UserError, match=r"^do: .* is not "):
                read_faults(refused)
            assert not VALID.is_valid(refused)


@pytest.mark.parametrize(("written", "fault"), FAULTS, ids=[json.dumps(written)[:60] for written, _ in FAULTS])
def test_what_is_written_is_read_as_it_was(written: Any, fault: Fault) -> None:
    assert read_faults(faults_json([fault])) == [fault]


BAD: list[tuple[Any, str]] = [
    (5, 'the document: 5 is not faults: write a list of them, {"faults": […]}, or one fault'),
    (
        [5],
        "[0]: 5 is not a fault: an object with one of received, upgrading, opened, before_run, before_event",
    ),
    ([{"do": "cut"}], '[0]: {"do": "cut"} is not a fault'),
    ([{"after_event": 3}], "[0].do: it is missing: write it"),
    ({"faults": {}}, "faults: {} is not a list"),
    ([{"after_event": 0, "do": "cut"}], "[0].after_event: 0 is not a whole number, 1 or more"),
    ([{"opened": False, "do": "cut"}], "[0].opened: false is not true"),
    (
        [{"opened": True, "do": "cut", "marker": "x"}],
        "[0].marker: there is no such member here: a fault at",
    ),
    ([{"opened": True, "do": "cut", "request": 1}], "[0].request: there is no such member here"),
    ([{"received": 1, "do": "cut", "marker": "x"}], "[0].marker: there is no such member here"),
    ([{"received": 0, "do": "cut"}], "[0]: Received(0) is before the first byte of a request"),
    ([{"received": 1, "of": "message", "do": "cut"}], '[0].of: "message" is not one of "request", "connection"'),
    ([{"after_event": 1, "do": "send"}], '[0].do: "send" is not one of "cut", "silence", "garbage", "error", "close"'),
    ([{"after_event": 1, "do": {"send": {}}}], "[0].do.send.event: it is missing: write it"),
    (
        [{"after_event": 1, "do": {"cut": {"restet": True}}}],
        "[0].do.cut.restet: there is no such member here: the action cut",
    ),
    ([{"after_event": 1, "do": {"cut": True}}], "[0].do.cut: true is not the action cut"),
    ([{"after_event": 1, "do": {"close": {"code": 65536}}}], "[0].do.close.code: 65536 is not a close code"),
    ([{"after_event": 1, "do": {"garbage": {"base64": "AA"}}}], '[0].do.garbage.base64: "AA" is not bytes in base64'),
    ([{"after_event": 1, "do": {"error": {"status": 99}}}], "[0].do.error.status: 99 is not an HTTP status"),
    ([{"after_event": 1, "do": "cut", "times": 0}], "[0].times: 0 is not a whole number, 1 or more"),
    ([{"after_event": 1, "do": "cut", "connection": None}], "[0].connection: null is not a whole number"),
]


@pytest.mark.parametrize(("document", "message"), BAD, ids=[json.dumps(document)[:60] for document, _ in BAD])
def test_an_error_names_the_place_and_the_schema_refuses_the_same(document: Any, message: str) -> None:
    """P-FAULT-3"""
    with pytest.raises(UserError) as caught:
        read_faults(document)
    assert str(caught.value).startswith(message)
    assert not VALID.is_valid(document)


def test_the_published_schema_is_that_of_the_reader() -> None:
    check_published(SPEC / "faults.schema.json", faults_schema())
    jsonschema.Draft202012Validator.check_schema(faults_schema())
    assert {"read_faults", "read_script", "Rule", "Rules", "When", "TextTest"} <= set(loopback.__all__)
