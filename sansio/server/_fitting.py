"""A value that fits a JSON schema: always the same, and small. For scripts, where the model would write it.

What is read of a schema: ``const``, ``enum``, ``type``, ``anyOf``, ``oneOf``, ``allOf``, ``$ref`` within the schema;
``properties``, ``required``, ``additionalProperties``; ``items``, ``prefixItems``, ``minItems``, ``maxItems``,
``uniqueItems``; the bounds and ``multipleOf`` of numbers; the lengths, ``format`` and ``pattern`` of strings. Of
``oneOf`` the first that can be is taken, and the other branches are not held against the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import unquote

from ..checks import shown
from ..errors import UserError

__all__ = ["fit"]

Schema = Mapping[str, Any]

_MAX_REFS: Final = 500
"""How many references are followed; beyond that, what may be left out is left out."""

_MAX_ITEMS: Final = 10_000
"""How long an array may have to be."""


class _NoValueError(Exception):
    """No value that is small enough fits this part of the schema."""


def fit(schema: object) -> Any:
    """A JSON value that fits the schema. Raises UserError if none is found: then the script has to say the value."""
    try:
        return _Fitting(schema).value(schema, 0)
    except (_NoValueError, RecursionError) as exc:
        raise UserError(
            f"no value was found that fits the schema {shown(schema)}: {exc}: write the value in the script, "
            "Json(value) or Call(name, arguments)"
        ) from None


class _Fitting:
    """One schema, whose root is what ``$ref`` points into."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._refs: list[str] = []
        """The references that are being followed, from the outside in."""
        self._left = _MAX_REFS

    def value(self, given: object, k: int) -> Any:
        """A value that fits; the ``k``-th of them where several have to be different."""
        if given is False:
            raise _NoValueError("it allows no value")
        schema = _schema(given)
        if "$ref" in schema:
            return self._referred(schema, k)
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                return self._any(schema, name, k)
        if schema.get("allOf"):
            return self.value(_merged(_without(schema, "allOf"), schema["allOf"]), k)
        if "const" in schema:
            return schema["const"]
        if choices := cast("list[Any]", schema.get("enum") or []):
            return choices[k % len(choices)]
        return self._typed(schema, k)

    def _referred(self, schema: Schema, k: int) -> Any:
        ref = str(schema["$ref"])
        if ref in self._refs or not self._left:
            raise _NoValueError(f"{ref} contains itself without end")
        self._left -= 1
        self._refs.append(ref)
        try:
            return self.value(_merged(_without(schema, "$ref"), [self._find(ref)]), k)
        finally:
            self._refs.pop()

    def _find(self, ref: str) -> object:
        """What ``#/$defs/Name`` points to (RFC 6901)."""
        found: Any = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            inside = dict(enumerate(cast("list[Any]", found))) if isinstance(found, list) else _schema(found)
            key = int(name) if isinstance(found, list) and name.isdigit() else name
            if key not in inside:
                raise _NoValueError(f"{ref} is not in it")
            found = cast("Mapping[object, Any]", inside)[key]
        return found

    def _any(self, schema: Schema, name: str, k: int) -> Any:
        problem = _NoValueError()
        for branch in schema[name]:
            try:
                return self.value(_merged(_without(schema, name), [branch]), k)
            except _NoValueError as exc:
                problem = exc
        raise problem

    def _typed(self, schema: Schema, k: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = cast("list[object]", kind)
            kind = next((each for each in kinds if each != "null"), "null")
        if kind is None:
            kind = next((kind for name, kind in _TYPE_BY_KEYWORD.items() if name in schema), "string")
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        make = _MAKERS.get(str(kind))
        if make is None:
            raise _NoValueError(f"{shown(kind)} is no type")
        return make(schema, k)

    def _object(self, schema: Schema) -> dict[str, Any]:
        properties: Mapping[str, object] = schema.get("properties") or {}
        required: list[str] = schema.get("required") or []
        value: dict[str, Any] = {}
        for name, each in {**dict.fromkeys(required, schema.get("additionalProperties")), **properties}.items():
            try:
                value[name] = self.value(each, 0)
            except _NoValueError:
                if name in required:
                    raise
        return value

    def _array(self, schema: Schema) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if least > _MAX_ITEMS:
            raise _NoValueError(f"an array of {least} items is too long")
        first: list[object] = schema.get("prefixItems") or []
        rest = schema.get("items", not first)
        value: list[Any] = []
        try:
            for place in range(int(min(max(least, len(first), 1), most))):
                each = first[place] if place < len(first) else rest
                value += [self.value(each, place if schema.get("uniqueItems") else 0)]
        except _NoValueError:
            if len(value) < least:
                raise
        return value


def _schema(given: object) -> Schema:
    return cast("Schema", given) if isinstance(given, Mapping) else {}


def _without(schema: Schema, name: str) -> Schema:
    return {key: value for key, value in schema.items() if key != name}


def _merged(schema: Schema, others: list[Any]) -> object:
    """One schema that says what all of them say; of two values of a keyword that is no collection, the narrower."""
    merged = dict(schema)
    for other in others:
        if other is False:
            return False
        for name, value in _schema(other).items():
            merged[name] = _both(name, merged[name], value) if name in merged else value
    return merged


def _both(name: str, one: Any, other: Any) -> Any:
    """The values of one keyword in two schemas, as the value that says both."""
    if name == "properties":
        shared = {key: _merged(one[key], [other[key]]) for key in one if key in other}
        return {**one, **other, **shared}
    if name == "required":
        return [*one, *(key for key in other if key not in one)]
    if name == "enum":
        return [value for value in one if value in other]
    if name.startswith(("min", "exclusiveMin")):
        return max(one, other)
    if name.startswith(("max", "exclusiveMax")):
        return min(one, other)
    return other


_TYPE_BY_KEYWORD: Final[Mapping[str, str]] = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
}
"""The type of a value whose schema does not say it; a string, if none of these is there."""

# --- Strings ---------------------------------------------------------------------------------------------------------

_FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-01-{:02d}",
    "date-time": "2026-01-{:02d}T00:00:00Z",
    "duration": "P{}D",
    "email": "user{}@example.com",
    "hostname": "host{}.example.com",
    "ipv4": "192.0.2.{}",
    "ipv6": "2001:db8::{}",
    "time": "00:00:{:02d}Z",
    "uri": "https://example.com/{}",
    "uuid": "00000000-0000-4000-8000-{:012d}",
}
"""A value of each format, with a place for a number that makes it different from others."""

_SAMPLES: Final = (
    *("text", "a", "A", "aa", "AA", "abc", "ABC", "Abc", "0", "1", "12", "123", "1234", "12345", "123456", "a1", "A1"),
    *("AB12", "AB-1234", "a-b", "a_b", "a.b", "#a1b2c3", "1.0", "1.0.0", "v1.0.0", "+15550100", "555-0100", "12:00"),
    *(value.format(1) for value in _FORMATS.values()),
)
"""What is tried where a pattern has to match."""


def _string(schema: Schema, k: int) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    pattern = schema.get("pattern")
    if pattern is not None:
        return _matching(pattern, [sample for sample in _SAMPLES if least <= len(sample) <= most])
    form = _FORMATS.get(schema.get("format", ""))
    if form is not None:
        return form.format(k + 1)
    text = f"text{k + 1}" if k else "text"
    return text.ljust(least, "x")[-int(min(most, max(len(text), least))) :] if most else ""


def _matching(pattern: str, samples: list[str]) -> str:
    try:
        return next(sample for sample in samples if re.search(pattern, sample))
    except (StopIteration, re.error):
        raise _NoValueError(f"the pattern {shown(pattern)} has to be matched") from None


# --- Numbers ---------------------------------------------------------------------------------------------------------


def _number(schema: Schema, k: int) -> float:
    """The number that is allowed and closest to 0, or above it; ``k`` steps further."""
    return _between(schema, k, step=schema.get("multipleOf"))


def _integer(schema: Schema, k: int) -> int:
    return int(_between(schema, k, step=schema.get("multipleOf", 1)))


def _between(schema: Schema, k: int, *, step: float | None) -> float:
    least, above = schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf)
    most, below = schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf)

    def allowed(value: float) -> bool:
        return value >= least and value > above and value <= most and value < below

    low, high = max(least, above), min(most, below)
    size = step or 1
    near = 0 if low <= 0 <= high else low if low > 0 else high
    units = math.floor(near / size)
    candidates = [(units + n) * size for n in range(-k - 2, k + 3)]
    if step is None:
        candidates += [near, (low + high) / 2] if math.isfinite(low + high) else [near]
    found = sorted(filter(allowed, candidates), key=lambda value: (abs(value), -value))
    if not found:
        raise _NoValueError(f"no number is allowed by {shown(schema)}")
    return found[min(k, len(found) - 1)]


def _boolean(schema: Schema, k: int) -> bool:
    return k % 2 == 0


def _null(schema: Schema, k: int) -> None:
    return None


_MAKERS: Final[Mapping[str, Callable[[Schema, int], Any]]] = {
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "null": _null,
}
"""What makes a value of each type that contains no other."""
