"""Whether a value has the shape that the API asks for; if not, the problem in the API's words (PROTOCOL.md, P-STRICT).

:mod:`._members` has the shapes. This module reads them once, when the first request is checked.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from functools import cache
from typing import Any, Final, cast

import msgspec

from ._limits import limit_problem
from ._members import MEMBERS
from ._problem import Problem, invalid_choice, missing_parameter, unknown_parameter, wrong_type

__all__ = ["ITEMS_AT_ONCE", "Shape", "ValueKind", "kind_problem", "kind_problem_in_slices", "shapes"]


class ValueKind(msgspec.Struct, frozen=True):
    """What a value may be."""

    scalars: frozenset[str]
    """Of ``string``, ``integer``, ``number``, ``boolean``, ``null`` and ``any``."""
    texts: tuple[str, ...] = ()
    """The texts that it may be, if it may not be any text."""
    items: ValueKind | None = None
    """What the items of an array may be; None: it may not be an array."""
    values: ValueKind | None = None
    """What the members of an object may be, whatever their names."""
    shapes: tuple[str, ...] = ()
    """The shapes that an object may have."""


class Shape(msgspec.Struct, frozen=True):
    """An object with members that are known."""

    name: str
    members: Mapping[str, ValueKind]
    required: tuple[str, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """The values of ``type`` that mean this shape."""
        return self.members["type"].texts if "type" in self.members else ()


@cache
def shapes() -> Mapping[str, Shape]:
    """Every shape, by its name (P-STRICT-3)."""
    lines = re.sub(r"\|\s+", "|", MEMBERS.strip()).replace("\n    ", " ").splitlines()
    return {shape.name: shape for shape in map(_read_shape, lines)}


_TOKEN: Final = re.compile(r"'[^']*'|\w+|[\[\]{}]")


def _read_shape(line: str) -> Shape:
    name, *written = line.split()
    members = {member.split(":", 1)[0]: member.split(":", 1)[1] for member in written}
    kinds = {member.rstrip("!"): _read_kind(iter(_TOKEN.findall(kind))) for member, kind in members.items()}
    return Shape(name, kinds, tuple(member[:-1] for member in members if member.endswith("!")))


_SCALARS: Final = frozenset({"any", "boolean", "integer", "null", "number", "string"})


def _read_kind(tokens: Iterator[str]) -> ValueKind:
    """Read up to the end, or to the bracket that closes this kind."""
    scalars: list[str] = []
    texts: list[str] = []
    names: list[str] = []
    nested: dict[str, ValueKind] = {}
    for token in tokens:
        if token in ("]", "}"):
            break
        if token in ("[", "{"):
            nested[token] = _read_kind(tokens)
        elif token.startswith("'"):
            texts.append(token[1:-1])
        else:
            (scalars if token in _SCALARS else names).append(token)
    return ValueKind(frozenset(scalars), tuple(texts), nested.get("["), nested.get("{"), tuple(names))


# --- Checks ----------------------------------------------------------------------------------------------------------


def kind_problem(value: object, kind: ValueKind, path: str, shape: str, member: str) -> Problem | None:
    """What is wrong with a value, the ``member`` of a ``shape``, that should be of this kind; None if nothing is.

    Of several problems it is the first: in the order of the items and members, and for an object what is missing, then
    what is unknown, then its members.

    Source: P-STRICT-4.
    """
    if "any" in kind.scalars:
        return None
    if kind.items is not None and (items := _as_list(value)) is not None:
        if problem := limit_problem(items, path, shape, member):
            return problem
        problems = (
            kind_problem(each, kind.items, f"{path}[{i}]", shape, f"{member}[]") for i, each in enumerate(items)
        )
        return next(filter(None, problems), None)
    if (kind.values is not None or kind.shapes) and (members := _as_object(value)) is not None:
        return _object_problem(members, kind, path, shape, member)
    if isinstance(value, str) and "string" not in kind.scalars and kind.texts:
        return None if value in kind.texts else invalid_choice(path, value, kind.texts)
    if not _is_scalar(value, kind.scalars):
        return wrong_type(path, _expected(kind), value)
    return limit_problem(value, path, shape, member)


ITEMS_AT_ONCE: Final = 200
"""Items that are checked in one slice."""


def kind_problem_in_slices(
    value: object, kind: ValueKind, path: str, shape: str, member: str
) -> Generator[None, None, Problem | None]:
    """The same for the items of a long array in slices: others may run whenever it yields."""
    items = _as_list(value)
    if items is None or kind.items is None or len(items) <= ITEMS_AT_ONCE:
        return kind_problem(value, kind, path, shape, member)
    if problem := limit_problem(items, path, shape, member):
        return problem
    for index, each in enumerate(items):
        if problem := kind_problem(each, kind.items, f"{path}[{index}]", shape, f"{member}[]"):
            return problem
        if not index % ITEMS_AT_ONCE:
            yield
    return None


def _as_list(value: object) -> list[object] | None:
    return cast("list[object]", value) if isinstance(value, list) else None


def _as_object(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


_WANTED: Final[Mapping[str, str]] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a decimal",
    "boolean": "a boolean",
}


def _expected(kind: ValueKind) -> list[str]:
    """What a value of this kind is, in the words of the API."""
    wanted = [f"'{text}'" for text in kind.texts]
    wanted += [text for scalar, text in _WANTED.items() if scalar in kind.scalars]
    if kind.items is not None:
        wanted.append("an array of objects" if kind.items.shapes else "an array")
    if kind.values is not None or kind.shapes:
        wanted.append("an object")
    return wanted


def _is_scalar(value: object, scalars: frozenset[str]) -> bool:
    match value:
        case None:
            return "null" in scalars
        case bool():
            return "boolean" in scalars
        case int():
            return bool(scalars & {"integer", "number"})
        case float():
            return "number" in scalars
        case _:
            return isinstance(value, str) and "string" in scalars


def _object_problem(value: dict[str, Any], kind: ValueKind, path: str, shape: str, member: str) -> Problem | None:
    if kind.values is not None:
        values = kind.values
        problems = (kind_problem(each, values, f"{path}.{_cut(name)}", shape, member) for name, each in value.items())
        return next(filter(None, problems), None)
    chosen = _choose(value, [shapes()[name] for name in kind.shapes], path)
    return chosen if isinstance(chosen, Problem) else _shape_problem(value, chosen, path)


def _choose(value: dict[str, Any], candidates: list[Shape], path: str) -> Shape | Problem:
    """The shape that an object should have, by its ``type``; without one, by its first member that one requires."""
    if len(candidates) == 1:
        return candidates[0]
    given = value.get("type")
    if given is None:
        untyped = [each for each in candidates if "type" not in each.required]
        fitting = [each for each in untyped if any(name in value for name in each.required)]
        return fitting[0] if fitting else missing_parameter(f"{path}.type")
    types = ValueKind(frozenset(), tuple(text for each in candidates for text in each.types))
    if not isinstance(given, str):
        return wrong_type(f"{path}.type", _expected(types), given)
    found = [each for each in candidates if given in each.types]
    return found[0] if found else invalid_choice(path, given, types.texts)


def _shape_problem(value: dict[str, Any], shape: Shape, path: str) -> Problem | None:
    # P-STRICT-4.
    for name in shape.required:
        if name not in value:
            return missing_parameter(f"{path}.{name}")
    for name in value:
        if name not in shape.members:
            return unknown_parameter(f"{path}.{_cut(name)}")
    members = shape.members
    problems = (kind_problem(each, members[name], f"{path}.{name}", shape.name, name) for name, each in value.items())
    return next(filter(None, problems), None)


def _cut(name: str) -> str:
    return name[:100]
