"""Faults as JSON: for programs in any language that use ``turnwire serve`` (PROTOCOL.md, "Faults as JSON").

::

    [{"after_event": 3, "do": {"cut": {"reset": true}}, "connection": 1},
     {"before_run": true, "do": {"error": {"status": 429, "headers": {"retry-after": "1"}}}, "times": null},
     {"received": 100, "of": "connection", "do": "silence"}]

The point is a member by its name, with its number or ``true``; the action is its name, or an object of that name with
its fields. The reader and the published schema, ``sansio/spec/faults.schema.json``, both come from the tables below.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from ...sansio.checks import COUNT, SECONDS, Number
from ...sansio.forms import (
    FLAG,
    OBJECT,
    TEXT,
    Amount,
    Constant,
    Form,
    ListOf,
    Members,
    OneOf,
    Shared,
    Texts,
    json_schema,
)
from ...sansio.server import ERROR_MEMBERS, parse_json
from ._faults import (
    POSSIBLE,
    Action,
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
    Point,
    Received,
    Send,
    Silence,
    Upgrading,
)

__all__ = ["faults_json", "faults_schema", "read_faults"]

_BYTES: Final = "a whole number of bytes"
_FROM_1: Final = Amount(Number(COUNT, least=1, whole=True))
_FLAG: Final = Constant((True,))


def _name(kind: type) -> str:
    """``after_event`` for AfterEvent."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


# --- Actions ---------------------------------------------------------------------------------------------------------

_FIELDS: Final[Mapping[type[Action], Mapping[str, Form]]] = {
    Cut: {"reset": FLAG},
    CutFrame: {"keep": Amount(Number(_BYTES, whole=True, optional=True)), "reset": FLAG},
    Delay: {"seconds": Amount(Number(SECONDS))},
    Silence: {"connection": FLAG},
    Error: {**ERROR_MEMBERS, "attributed": FLAG},
    Close: {"code": Amount(Number("a close code", whole=True), 0xFFFF), "reason": TEXT},
    Garbage: {"base64": Texts("bytes in base64", r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")},
    Send: {"event": OneOf("an object, or text", (OBJECT, TEXT))},
}
"""The fields of each action, by the names that they have in Python; bytes are in base64."""
_REQUIRED: Final[Mapping[type[Action], tuple[str, ...]]] = {Delay: ("seconds",), Send: ("event",)}


def _garbage(**given: str) -> Garbage:
    return Garbage(base64.b64decode(given["base64"])) if given else Garbage()


def _action(kind: type[Action]) -> Members:
    """``{"cut": {"reset": true}}`` (P-FAULT-2)."""
    name = _name(kind)
    make: Callable[..., Any] = _garbage if kind is Garbage else kind
    fields = Members(f"the action {name}", _FIELDS[kind], make, _REQUIRED.get(kind, ()))

    def action(**given: Action) -> Action:
        return given[name]

    return Members(f"the action {name}", {name: Shared(name, fields)}, action, (name,))


_PLAIN: Final[Mapping[str, Action]] = {_name(kind): kind() for kind in _FIELDS if kind not in _REQUIRED}  # type: ignore[call-arg]
"""The actions that need no fields: their name alone will do."""


def _actions(kinds: Iterable[type[Action]]) -> Form:
    names = [_name(kind) for kind in kinds]
    plain = Constant(tuple(name for name in names if name in _PLAIN), _PLAIN.__getitem__)
    what = f"an action that is possible at this point: an object with one of {', '.join(names)}, or such a name"
    return OneOf(what, (plain, *map(_action, kinds)))


# --- Points and faults -----------------------------------------------------------------------------------------------

_POINTS: Final[Mapping[type[Point], Mapping[str, Form]]] = {
    Received: {"received": Amount(Number(_BYTES, whole=True)), "of": Constant(("request", "connection"))},
    Upgrading: {"upgrading": _FLAG},
    Opened: {"opened": _FLAG},
    BeforeRun: {"before_run": _FLAG},
    BeforeEvent: {"before_event": _FROM_1},
    AfterEvent: {"after_event": _FROM_1},
}
"""What says where a fault is: the point's name first."""
_OF_A_REQUEST: Final = {
    "if": {"properties": {"of": {"const": "request"}}},
    "then": {"properties": {"received": {"minimum": 1}}},
}
"""``received: 0`` is the moment of accepting: no byte of a request has come then."""


def _fault(point: type[Point]) -> Members:
    """A fault at one point, with the actions and the conditions that are possible there (P-FAULT-1, P-FAULT-3)."""
    tag, read = _name(point), point not in (Upgrading, Opened)
    marked = read and point is not Received
    members = {
        **_POINTS[point],
        "do": _actions(POSSIBLE[point]),
        "connection": _FROM_1,
        **({"request": _FROM_1} if read else {}),
        **({"marker": TEXT} if marked else {}),
        "times": Amount(Number(COUNT, least=1, whole=True, optional=True)),
    }

    def make(do: Action, **given: Any) -> Fault:
        at, of = given.pop(tag), {"of": given.pop("of")} if "of" in given else {}
        made = cast("Callable[..., Point]", point)
        return Fault(made() if at is True else made(at, **of), do, **given)

    keywords = _OF_A_REQUEST if point is Received else {}
    return Members(f"a fault at {tag}", members, make, (tag, "do"), keywords)


_FAULT: Final = Shared(
    "fault",
    OneOf(f"a fault: an object with one of {', '.join(map(_name, _POINTS))}", tuple(map(_fault, _POINTS))),
)
_LIST: Final = ListOf(_FAULT)


def _faults(faults: list[Fault], **named: str) -> list[Fault]:
    return faults


_DOCUMENT: Final = OneOf(
    'faults: write a list of them, {"faults": […]}, or one fault',
    (_LIST, Members("faults", {"faults": _LIST, "$schema": TEXT}, _faults, ("faults",)), _FAULT),
)


def read_faults(document: object) -> list[Fault]:
    """The faults that a JSON document has (decoded, or as bytes or text), for ``serve(faults=…)``.

    Raises UserError for what is none; it names the place: ``[1].do: …``.

    Source: P-FAULT-1.
    """
    read = _DOCUMENT.read(parse_json(document), "")
    return [read] if isinstance(read, Fault) else read


def faults_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a document of faults."""
    return json_schema(_DOCUMENT, "faults", "Faults of turnwire's test server: what it does wrong, and when")


def faults_json(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """Faults as :func:`read_faults` reads them; what is as usual is left out."""
    return [{**_point_json(fault.at), "do": _action_json(fault.do), **_unusual(fault)} for fault in faults]


def _point_json(point: Point) -> dict[str, Any]:
    at, *others = [getattr(point, name) for name in point.__struct_fields__] or [True]
    return {_name(type(point)): at, **({"of": others[0]} if others else {})}


def _action_json(action: Action) -> dict[str, Any]:
    if isinstance(action, Garbage):
        return {"garbage": {"base64": base64.b64encode(action.data).decode()}}
    return {_name(type(action)): _unusual(action)}


def _unusual(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields that JSON has as they are, and that are not as they are if nothing is written."""
    fields = {field.name: field.default for field in msgspec.structs.fields(struct)}
    return {
        name: value
        for name, usual in fields.items()
        if name not in ("at", "do") and (value := getattr(struct, name)) != usual
    }
