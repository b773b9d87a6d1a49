"""A JSON schema, as msgspec, pydantic or people write it, in the form that ``strict: true`` asks for.

The promise
    What a strict schema accepts, the given one accepts, up to checks that the API does not know (the length of a text,
    for instance): whoever reads the model's answer checks it against the type it came from. A schema that has no strict
    form is refused with the place and the reason, and never sent. The given schema is not changed.

What becomes of what
    ================================================= ================================================================
    in the schema                                     in the strict one
    ================================================= ================================================================
    an object                                         all its properties are required, and it has no others
    an object whose properties have no names; any     refused: the model would have to write what nobody has named
    value
    a list without ``items``                          refused
    ``prefixItems`` (a tuple)                         ``items`` that may be any of them, as many as there were
    ``oneOf``                                         ``anyOf``
    ``allOf`` of one; of several                      the one; refused
    ``$ref`` with something beside it                 what it refers to, and that; within itself, the ``$ref`` alone
    ``$ref`` at the top                               what it refers to
    ``enum`` and ``const`` without a ``type``         with the ``type`` of their values
    a ``format`` that the API does not know           none
    keywords that the API does not know, ``default``  none
    ``not``, ``if``, ``patternProperties``, …         refused
    ================================================= ================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from .errors import UserError

__all__ = ["strict_schema"]

_FORMATS: Final = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
_KNOWN: Final = frozenset(
    {
        *("$ref", "$defs", "definitions", "type", "description", "enum", "const", "anyOf"),
        *("properties", "required", "additionalProperties", "items", "minItems", "maxItems"),
        *("pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    }
)
"""The keywords of a strict schema."""
_REFUSED: Final = (
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "dependentRequired",
    "dependentSchemas",
    "contains",
)
_NOTHING: Final = frozenset({"$ref", "title", "default", "examples"})
"""Keywords beside a reference that say nothing."""
_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The strict form of a schema. Raises UserError if it has none."""
    made = _Strict(schema).node(schema, "$")
    if made.get("type") != "object":
        raise UserError("a strict schema is that of an object: put the value into one, as its only property")
    return made


def _refused(place: str, why: str) -> UserError:
    return UserError(f"the schema cannot be strict: {place} {why}")


def _type_name(value: object) -> str:
    return _TYPES.get(type(value), "string")


class _Strict:
    """Makes one schema strict. ``inside`` are the references that a part of it is within, as these were resolved."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def node(self, given: object, place: str, inside: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The strict form of a part of the schema."""
        if not isinstance(given, Mapping):
            raise _refused(place, "may be any value, or none")
        node, inside = self._merged(dict(cast("Mapping[str, Any]", given)), place, inside)
        if "$ref" in node:
            return {"$ref": node["$ref"]}
        for name in _REFUSED:
            if name in node:
                raise _refused(place, f"has {name!r}")
        if "oneOf" in node:
            node["anyOf"] = [*node.get("anyOf", ()), *node["oneOf"]]
        if node.get("format") not in _FORMATS:
            node.pop("format", None)
        self._check_type(node, place)
        self._parts(node, place, inside)
        return {name: value for name, value in node.items() if name in _KNOWN}

    def _merged(
        self, node: dict[str, Any], place: str, inside: frozenset[str]
    ) -> tuple[dict[str, Any], frozenset[str]]:
        """Without ``allOf``; and without a reference that has something beside it, or is the whole schema."""
        while True:
            reference, parts = node.get("$ref"), node.pop("allOf", None)
            if parts is not None:
                if len(parts) != 1:
                    raise _refused(place, "has an 'allOf' of several")
                node = {**parts[0], **node}
            elif reference is None or reference in inside or not (place == "$" or node.keys() - _NOTHING):
                return node, inside
            else:
                del node["$ref"]
                node = {**self._found(reference, place), **node}
                inside |= {reference}

    def _found(self, reference: str, place: str) -> Mapping[str, Any]:
        """What a reference refers to."""
        found: Mapping[str, Any] = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            inner: object = found.get(name.replace("~1", "/").replace("~0", "~"))
            if not isinstance(inner, Mapping):
                raise _refused(place, f"refers to {reference!r}, which is not in it")
            found = cast("Mapping[str, Any]", inner)
        return found

    def _check_type(self, node: dict[str, Any], place: str) -> None:
        """See to it that the node says what it is."""
        values: list[Any] = [node["const"]] if "const" in node else node.get("enum", [])
        if "type" not in node and values:
            types = list(dict.fromkeys(map(_type_name, values)))
            node["type"] = types[0] if len(types) == 1 else types
        if not node.keys() & {"type", "anyOf"}:
            raise _refused(place, "may be any value")

    def _parts(self, node: dict[str, Any], place: str, inside: frozenset[str]) -> None:
        """The strict forms of what the node consists of."""
        said: Any = node.get("type")
        kinds: list[object] = cast("list[object]", said) if isinstance(said, list) else [said]
        if "object" in kinds:
            self._object(node, place, inside)
        if "array" in kinds:
            self._array(node, place, inside)
        if "anyOf" in node:
            several = enumerate(node["anyOf"])
            node["anyOf"] = [self.node(each, f"{place}.anyOf[{index}]", inside) for index, each in several]
        for name in ("$defs", "definitions"):
            if name in node:
                node[name] = {key: self.node(each, f"{name}.{key}") for key, each in node[name].items()}

    def _object(self, node: dict[str, Any], place: str, inside: frozenset[str]) -> None:
        found: Mapping[str, Any] | None = node.get("properties")
        more = node.get("additionalProperties", found is None)
        if not found and more is not False:
            raise _refused(place, "has properties whose names are not known")
        node["properties"] = {name: self.node(each, f"{place}.{name}", inside) for name, each in (found or {}).items()}
        node["required"] = list(node["properties"])
        node["additionalProperties"] = False

    def _array(self, node: dict[str, Any], place: str, inside: frozenset[str]) -> None:
        items: Any = node.get("items")
        first: list[Any] = node.get("prefixItems", [])
        if first:
            several: list[Any] = []
            for each in first:
                several += [] if each in several else [each]
            items = several[0] if len(several) == 1 else {"anyOf": several}
            node |= {"minItems": len(first), "maxItems": len(first)}
        if items is None:
            raise _refused(place, "has items that may be any value")
        node["items"] = self.node(items, f"{place}[]", inside)
