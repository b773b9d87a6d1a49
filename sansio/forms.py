"""Forms: what a JSON document may look like. One table gives its reader, and its JSON Schema (draft 2020-12).

The promise
    A form reads a value that JSON gave, and makes what it means. What does not fit raises UserError, which names the
    place in the document: ``replies[3].call: 5 is not text``. Members that are not in the table are refused. The schema
    refuses the same, but for what only ``make`` can tell.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from .checks import Number
from .errors import UserError

__all__ = [
    "ANY",
    "FLAG",
    "NULL",
    "OBJECT",
    "TEXT",
    "Amount",
    "Constant",
    "Form",
    "JsonType",
    "ListOf",
    "MapOf",
    "Members",
    "OneOf",
    "Shared",
    "Texts",
    "json_schema",
    "member_path",
]

JsonSchema = dict[str, Any]


def member_path(path: str, name: str) -> str:
    """The path of a member of what is at ``path``."""
    return f"{path}.{name}" if path else name


def _refusal(path: str, value: object, wanted: str) -> UserError:
    text = json.dumps(value, ensure_ascii=False)
    return UserError(f"{path or 'the document'}: {text if len(text) <= 80 else f'{text[:80]}…'} is not {wanted}")


class Form(ABC):
    """What a value may look like."""

    @abstractmethod
    def fits(self, value: object) -> bool:
        """Whether a value is meant to be of this form. :meth:`read` may still refuse what is in it."""

    @abstractmethod
    def read(self, value: object, path: str) -> Any:
        """What the value at this path means. Raises UserError."""

    @abstractmethod
    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """The JSON Schema; the forms that have a name are put into ``shared``."""

    def __str__(self) -> str:
        """The form in words, after "is not"."""
        return str(getattr(self, "what", type(self).__name__))


# --- Values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JsonType(Form):
    """A value of some types."""

    what: str
    types: tuple[type, ...]
    keywords: Mapping[str, Any]
    """Its schema."""

    def fits(self, value: object) -> bool:
        """Whether it has one of the types; ``true`` is no number."""
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))

    def read(self, value: object, path: str) -> Any:
        """The value as it is."""
        if not self.fits(value):
            raise _refusal(path, value, self.what)
        return value

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """Its keywords."""
        return dict(self.keywords)

    __str__ = Form.__str__


TEXT: Final = JsonType("text", (str,), {"type": "string"})
FLAG: Final = JsonType("true or false", (bool,), {"type": "boolean"})
NULL: Final = JsonType("null", (type(None),), {"type": "null"})
OBJECT: Final = JsonType("an object", (dict,), {"type": "object"})
ANY: Final = JsonType("a value", (object, bool), {})


@dataclass(frozen=True, slots=True)
class Texts(Form):
    """Text of a certain form: what all of a pattern matches."""

    what: str
    pattern: str
    """The same in Python as in ECMA 262, without ``^`` and ``$``."""

    def fits(self, value: object) -> bool:
        """Whether it is text."""
        return isinstance(value, str)

    def read(self, value: object, path: str) -> Any:
        """The text."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise _refusal(path, value, self.what)
        return value

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """Text and its pattern."""
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}

    __str__ = Form.__str__


@dataclass(frozen=True, slots=True)
class Amount(Form):
    """A number that keeps to a rule of an option; ``most`` is the highest."""

    rule: Number
    most: int | None = None

    def __str__(self) -> str:
        return str(self.rule).replace("None", "null") + (f", up to {self.most}" if self.most is not None else "")

    def fits(self, value: object) -> bool:
        """Whether it is a number, or null where that means no limit."""
        return (isinstance(value, int | float) and not isinstance(value, bool)) or (
            value is None and self.rule.optional
        )

    def read(self, value: object, path: str) -> Any:
        """The number; ``1.0`` is the whole number 1."""
        number = int(value) if self.rule.whole and isinstance(value, float) and value.is_integer() else value
        try:
            self.rule.check("", number)
        except UserError:
            raise _refusal(path, value, str(self)) from None
        if self.most is not None and isinstance(number, int | float) and number > self.most:
            raise _refusal(path, value, str(self))
        return number

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """Its type and bounds."""
        kind = "integer" if self.rule.whole else "number"
        bound = {"exclusiveMinimum" if self.rule.above else "minimum": self.rule.least}
        most = {} if self.most is None else {"maximum": self.most}
        return {"type": [kind, "null"] if self.rule.optional else kind, **bound, **most}


@dataclass(frozen=True, slots=True)
class Constant(Form):
    """One of a few values: texts, or only ``true``."""

    values: tuple[str | bool, ...]
    make: Callable[[Any], Any] = lambda value: value

    def __str__(self) -> str:
        names = ["true" if value is True else f'"{value}"' for value in self.values]
        return f"one of {', '.join(names)}" if len(names) > 1 else names[0]

    def fits(self, value: object) -> bool:
        """Whether it is of the same type as one of them."""
        return any(type(value) is type(each) for each in self.values)

    def read(self, value: object, path: str) -> Any:
        """What ``make`` gives for it."""
        if not any(value is each or (isinstance(value, str) and value == each) for each in self.values):
            raise _refusal(path, value, str(self))
        return self.make(value)

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """All of them."""
        return {"enum": list(self.values)}


# --- Lists and objects -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListOf(Form):
    """A list, each item of one form; ``make`` gets the list."""

    item: Form
    least: int = 0
    make: Callable[[list[Any]], Any] = list

    def __str__(self) -> str:
        return f"a list{f' of {self.least} or more' if self.least else ''}"

    def fits(self, value: object) -> bool:
        """Whether it is a list."""
        return isinstance(value, list)

    def read(self, value: object, path: str) -> Any:
        """What its items mean."""
        if not isinstance(value, list) or len(cast("list[object]", value)) < self.least:
            raise _refusal(path, cast("object", value), str(self))
        items = [self.item.read(each, f"{path}[{index}]") for index, each in enumerate(cast("list[object]", value))]
        return _made(lambda: self.make(items), path)

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """An array of the items' schema."""
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.item.schema(shared), **least}


@dataclass(frozen=True, slots=True)
class MapOf(Form):
    """An object whose members have any names of a form, and values of another."""

    what: str
    names: Texts
    value: Form

    def fits(self, value: object) -> bool:
        """Whether it is an object."""
        return isinstance(value, dict)

    def read(self, value: object, path: str) -> Any:
        """Its members."""
        if not isinstance(value, dict):
            raise _refusal(path, value, self.what)
        members = cast("dict[str, object]", value).items()
        return {self.names.read(name, path): self.value.read(each, member_path(path, name)) for name, each in members}

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """An object with such names and values."""
        names, value = self.names.schema(shared), self.value.schema(shared)
        return {"type": "object", "propertyNames": names, "additionalProperties": value}

    __str__ = Form.__str__


@dataclass(frozen=True, slots=True)
class Members(Form):
    """An object with these members and no others. ``make`` gets them by name."""

    what: str
    members: Mapping[str, Form]
    make: Callable[..., Any]
    required: tuple[str, ...] = ()
    """Those that must be there. The first says that an object is of this form."""
    keywords: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What its schema has besides: what ``make`` refuses."""
    open: bool = False
    """Whether it may have any other members, too; they are kept as they are."""

    def fits(self, value: object) -> bool:
        """Whether it is an object that has the first of the required members."""
        return isinstance(value, dict) and all(name in value for name in self.required[:1])

    def read(self, value: object, path: str) -> Any:
        """What ``make`` gives."""
        if not isinstance(value, dict):
            raise _refusal(path, value, self.what)
        given = cast("dict[str, object]", value)
        for name in given:
            if name not in self.members and not self.open:
                known = ", ".join(self.members)
                raise UserError(
                    f"{member_path(path, name)}: there is no such member here: {self.what} can have {known}"
                )
        for name in self.required:
            if name not in given:
                raise UserError(f"{member_path(path, name)}: it is missing: write it")
        made = {name: self.members.get(name, ANY).read(each, member_path(path, name)) for name, each in given.items()}
        return _made(lambda: self.make(**made), path)

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """An object with these properties."""
        properties = {name: each.schema(shared) for name, each in self.members.items()}
        required = {"required": list(self.required)} if self.required else {}
        closed = {} if self.open else {"additionalProperties": False}
        named = {"type": "object", "description": self.what, "properties": properties}
        return {**named, **required, **closed, **self.keywords}

    __str__ = Form.__str__


@dataclass(frozen=True, slots=True)
class OneOf(Form):
    """The first of several forms that a value fits."""

    what: str
    forms: tuple[Form, ...]

    def fits(self, value: object) -> bool:
        """Whether it fits one of them."""
        return any(each.fits(value) for each in self.forms)

    def read(self, value: object, path: str) -> Any:
        """What that form makes of it."""
        for each in self.forms:
            if each.fits(value):
                return each.read(value, path)
        raise _refusal(path, value, self.what)

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """Any of their schemas."""
        return {"anyOf": [each.schema(shared) for each in self.forms]}

    __str__ = Form.__str__


@dataclass(frozen=True, slots=True)
class Shared(Form):
    """A form that the schema has once, under a name."""

    name: str
    form: Form

    def __str__(self) -> str:
        return str(self.form)

    def fits(self, value: object) -> bool:
        """As the form."""
        return self.form.fits(value)

    def read(self, value: object, path: str) -> Any:
        """As the form."""
        return self.form.read(value, path)

    def schema(self, shared: dict[str, JsonSchema]) -> JsonSchema:
        """A reference."""
        if self.name not in shared:
            shared[self.name] = self.form.schema(shared)
        return {"$ref": f"#/$defs/{self.name}"}


def _made(make: Callable[[], Any], path: str) -> Any:
    try:
        return make()
    except UserError as exc:
        raise UserError(f"{path or 'the document'}: {exc}") from None


def json_schema(form: Form, name: str, title: str) -> JsonSchema:
    """The schema of a document of this form."""
    shared: dict[str, JsonSchema] = {}
    root = form.schema(shared)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:turnwire:{name}",
        "title": title,
        **root,
        "$defs": dict(sorted(shared.items())),
    }
