"""Makes ``sansio/server/_members.py``: the shapes of a request's values, out of the types of the ``openai`` package.

Run it after an update of that package: ``python tests/kit/openai_shapes.py``.
"""

from __future__ import annotations

import pathlib
import sys
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import openai
import typing_extensions
from openai.types.beta import beta_response_input_item_param as beta
from openai.types.responses import (
    response_create_params,
    response_input_param,
    responses_client_event_param,
    tool_choice_types_param,
)

TARGET = pathlib.Path(__file__).parents[2] / "sansio/server/_members.py"
OPTIONAL = frozenset(
    {
        ("FunctionToolParam", "parameters"),
        ("FunctionToolParam", "strict"),
        ("ResponseOutputTextParam", "annotations"),
        ("ResponseInputImageParam", "detail"),
        ("ResponseFunctionWebSearchParam", "action"),
    }
)
"""What the package says is required, and what the API takes without: the reference of the API (FunctionToolParam), and
what the Codex client sends. The id of an item is another, but for a reference."""
UNKNOWN = frozenset({("ResponseReasoningItemParam", "status")})
"""What the package has and the API refuses (PROTOCOL.md, P-STRICT-8)."""
STATUS = frozenset({"ResponseCustomToolCallParam", "ResponseCustomToolCallOutputParam"})
"""The items whose ``status`` only the output has. Like it, ``agent``, ``async`` and ``created_by`` of every item are
what servers put in, and clients send back with the item."""
MULTI_AGENT = (beta.AgentMessage, beta.MultiAgentCall, beta.MultiAgentCallOutput)
REQUIRED = (typing.Required, typing_extensions.Required)
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", object: "any", Any: "any"}


@dataclass
class Kind:
    """What a value may be. ``objects`` are the keys of shapes."""

    scalars: set[str] = field(default_factory=set)
    texts: dict[str, None] = field(default_factory=dict)
    items: Kind | None = None
    values: Kind | None = None
    objects: dict[Any, None] = field(default_factory=dict)

    def add(self, other: Kind) -> Kind:
        self.scalars |= other.scalars
        self.texts.update(other.texts)
        self.objects.update(other.objects)
        self.items = both(self.items, other.items)
        self.values = both(self.values, other.values)
        return self


def both(one: Kind | None, other: Kind | None) -> Kind | None:
    if one is None or other is None:
        return one or other
    return Kind().add(one).add(other)


@dataclass
class Shape:
    name: str
    members: dict[str, tuple[bool, Kind]]

    def types(self) -> set[str]:
        return set(self.members["type"][1].texts) if "type" in self.members else set()


class Shapes:
    """The objects that were found, each once."""

    def __init__(self) -> None:
        self.by_class: dict[Any, Shape] = {}
        self.merged: dict[tuple[Any, ...], Shape] = {}

    def kind(self, hint: Any) -> Kind:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint in SCALARS:
            return Kind({SCALARS[hint]})
        if hint is type(None):
            return Kind({"null"})
        if origin in REQUIRED or origin is typing.Annotated:
            return self.kind(arguments[0])
        if origin in (typing.Literal, typing_extensions.Literal):
            return Kind({"boolean"}) if isinstance(arguments[0], bool) else Kind(texts=dict.fromkeys(arguments))
        if origin in (typing.Union, types.UnionType):
            return self.union(arguments)
        if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
            return Kind(values=self.kind(arguments[1]))
        if typing_extensions.is_typeddict(hint):
            self.shape(hint)
            return Kind(objects={hint: None})
        if len(arguments) == 1:
            return Kind(items=self.kind(arguments[0]))
        raise TypeError(f"{hint!r} is new: say what it is in JSON")

    def union(self, arguments: Iterable[Any]) -> Kind:
        kind = Kind()
        for each in arguments:
            kind.add(self.kind(each))
        return kind

    def shape(self, cls: Any) -> Shape:
        if cls not in self.by_class:
            shape = self.by_class[cls] = Shape(cls.__name__, {})
            for name, hint in typing_extensions.get_type_hints(cls, include_extras=True).items():
                if (cls.__name__, name) in UNKNOWN:
                    continue
                required = typing.get_origin(hint) in REQUIRED and (cls.__name__, name) not in OPTIONAL
                shape.members[name] = (required, self.kind(hint))
        return self.by_class[cls]


class Writer:
    """The text of the shapes that a root leads to; shapes of one ``type`` in a union are one, and so are equal ones."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self.texts: dict[str, str] = {}
        self.names: dict[tuple[Any, ...], str] = {}

    def kind(self, kind: Kind) -> str:
        parts = sorted(kind.scalars)
        if "string" not in kind.scalars:
            parts += [f"'{text}'" for text in kind.texts]
        if kind.items is not None:
            parts.append(f"[{self.kind(kind.items)}]")
        if kind.values is not None:
            parts.append(f"{{{self.kind(kind.values)}}}")
        return "|".join([*parts, *self.objects(list(kind.objects))])

    def objects(self, classes: list[Any]) -> list[str]:
        groups: list[list[Any]] = []
        for cls in classes:
            given = self.shapes.shape(cls).types()
            group = next((g for g in groups if given & self.shapes.shape(g[0]).types()), None)
            if group is None:
                groups.append([cls])
            else:
                group.append(cls)
        return list(dict.fromkeys(self.group(tuple(group)) for group in groups))

    def group(self, classes: tuple[Any, ...]) -> str:
        if classes not in self.names:
            wanted = self.shapes.shape(classes[0]).name
            taken = set(self.names.values())
            name = next(n for n in (wanted, *(f"{wanted}{i}" for i in range(2, 9))) if n not in taken)
            self.names[classes] = name
            text = self.members(classes)
            same = next((other for other, its in self.texts.items() if its == text), None)
            if same is None:
                self.texts[name] = text
            else:
                self.names[classes] = same
        return self.names[classes]

    def members(self, classes: tuple[Any, ...]) -> str:
        shapes = [self.shapes.shape(cls) for cls in classes]
        names = dict.fromkeys(name for shape in shapes for name in shape.members)
        written: list[str] = []
        for name in names:
            having = [shape.members[name] for shape in shapes if name in shape.members]
            required = len(having) == len(shapes) and all(needed for needed, _ in having)
            kind = Kind()
            for _, each in having:
                kind.add(each)
            written.append(f"{name}{'!' if required else ''}:{self.kind(kind)}")
        return " ".join(sorted(written))


def text() -> str:
    """The module."""
    shapes = Shapes()
    items = [*typing.get_args(response_input_param.ResponseInputItemParam), *MULTI_AGENT]
    agent = shapes.kind(typing.get_type_hints(beta.AgentMessage)["agent"])
    for cls in items:
        members = shapes.shape(cls).members
        if "item_reference" not in shapes.shape(cls).types():
            members["id"] = (False, members.get("id", (False, Kind({"string"})))[1])
            members.setdefault("agent", (False, agent))
            members.setdefault("async", (False, Kind({"boolean", "null"})))
            members.setdefault("created_by", (False, Kind({"string", "null"})))
            if cls is response_input_param.LocalShellCallOutput:
                members["call_id"] = (False, Kind({"string"}))
            if cls.__name__ in STATUS:
                members["status"] = shapes.shape(response_input_param.FunctionCallOutput).members["status"]
    chosen = shapes.shape(tool_choice_types_param.ToolChoiceTypesParam).members["type"][1]
    chosen.texts["web_search"] = None  # The Agents SDK sends it.
    body = shapes.shape(response_create_params.ResponseCreateParamsStreaming)
    body.name, body.members["stream"] = "Request", (False, Kind({"boolean", "null"}))
    body.members["input"] = (False, Kind({"string"}, items=shapes.union(items)))
    event = shapes.shape(responses_client_event_param.ResponseCreate)
    event.name, event.members = "Event", {k: v for k, v in event.members.items() if k not in body.members}
    writer = Writer(shapes)
    roots = (response_create_params.ResponseCreateParamsStreaming, responses_client_event_param.ResponseCreate)
    for root in roots:
        writer.group((root,))
    lines: list[str] = []
    for name, members in writer.texts.items():
        short = " ".join(each if len(each) < 100 else each.replace("|", "| ") for each in members.split(" "))
        lines += textwrap.wrap(
            f"{name} {short}", 116, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    return f'{HEAD.format(version=".".join(openai.__version__.split(".")[:2]))}{chr(10).join(lines)}\n"""\n'


HEAD = '''"""What a request may be made of, as the types of the ``openai`` package say. Made; do not edit.

``python tests/kit/openai_shapes.py`` makes this module; tests/core/test_server_shapes.py compares it with the package.
A line that is not indented begins a shape: its name, then its members. A member is ``name:kind``, or ``name!:kind`` if
it is required. A kind is one of ``string``, ``integer``, ``number``, ``boolean``, ``null``, ``any``, a text in quotes,
``[kind]`` (an array), ``{{kind}}`` (an object with any names), or the name of a shape. ``|`` is "or".
"""

from __future__ import annotations

from typing import Final

__all__ = ["MEMBERS", "OPENAI_VERSION"]

OPENAI_VERSION: Final = "{version}"
"""The version of the package."""

MEMBERS: Final = """
'''

if __name__ == "__main__":
    made = text()
    TARGET.write_text(made)
    sys.stdout.write(f"{TARGET}: {len(made.splitlines())} lines\n")
