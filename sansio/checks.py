"""Checks of what a caller gives: one rule for each kind of option, and one message for what does not keep to it.

The promise
    A table of an options class says which rule each of its fields has; :func:`check_fields` holds the fields against
    it. The message names the option, what it was given, and what to write instead.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgspec

from .errors import UserError, WrongTypeError

__all__ = [
    "BYTES",
    "COUNT",
    "MOST_AT_ONCE",
    "MOST_BYTES",
    "MOST_KEPT",
    "MOST_SECONDS",
    "SECONDS",
    "Choice",
    "Function",
    "Instance",
    "Named",
    "Number",
    "Rule",
    "TextRule",
    "TextsRule",
    "check_fields",
    "is_async",
    "shown",
]


def shown(value: object) -> str:
    """A value as the message of an error shows it: its ``repr``, cut at 80 characters."""
    try:
        text = repr(value)
    except Exception:  # Whatever it may be: the message is not to be lost by it.
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


@dataclass(frozen=True, slots=True)
class Number:
    """The rule of an option that is a number: finite, at least ``least`` (or above it where ``above`` says so), and at
    most ``most``."""

    what: str
    """What it counts, for the message: ``a number of seconds``."""
    least: int = 0
    above: bool = False
    whole: bool = False
    """An int, not a float."""
    optional: bool = False
    """None means no limit, and so does infinity."""
    most: int | None = None
    """The largest one; None: any."""

    def __str__(self) -> str:
        if self.above:
            bound = f"above {self.least}" + ("" if self.most is None else f", at most {self.most}")
        else:
            bound = f"{self.least} or more" if self.most is None else f"{self.least} to {self.most}"
        return f"{self.what}, {bound}{', or None for no limit' if self.optional else ''}"

    def check(self, name: str, value: object) -> None:
        """Raise UserError for a number out of its range, WrongTypeError for what is no such number."""
        if value is None and self.optional:
            return
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")
        if self.optional and value == math.inf:
            return
        if not self._in_range(value):
            raise UserError(f"{name} is {shown(value)}: write {self}")

    def _in_range(self, value: float) -> bool:
        try:
            finite = self.whole or math.isfinite(value)
        except OverflowError:  # An int beyond every float cannot be added to a time.
            return False
        if not finite or (self.most is not None and value > self.most):
            return False
        return value > self.least if self.above else value >= self.least


@dataclass(frozen=True, slots=True)
class Instance:
    """The rule of an option that is an object of a class."""

    kind: type
    optional: bool = False

    def __str__(self) -> str:
        some = "True or False" if self.kind is bool else f"{self.kind.__name__}(…)"
        return f"{some}{', or None' if self.optional else ''}"

    def check(self, name: str, value: object) -> None:
        """Raise WrongTypeError for anything else."""
        if not isinstance(value, self.kind) and not (self.optional and value is None):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")


@dataclass(frozen=True, slots=True)
class Choice:
    """The rule of an option that is one of a few values, and of its type: True is not 1."""

    choices: tuple[object, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.choices))

    def check(self, name: str, value: object) -> None:
        """Raise WrongTypeError for another type, and UserError for anything else."""
        kind, known = type(value), False
        for choice in self.choices:  # No any(): each turn has such an option.
            if kind is type(choice):
                if value == choice:
                    return
                known = True
        if not known:
            raise WrongTypeError(f"{name} is {shown(value)}, of type {kind.__name__}: write {self}")
        raise UserError(f"{name} is {shown(value)}: write {self}")


@dataclass(frozen=True, slots=True)
class Function:
    """The rule of an option that is a function, or None. It is called within a step, so it must not be ``async``."""

    what: str
    """What it takes and returns, for the message."""

    def __str__(self) -> str:
        return f"{self.what}, or None"

    def check(self, name: str, value: object) -> None:
        """Raise WrongTypeError for anything else."""
        if value is not None and (not callable(value) or is_async(value)):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")


@dataclass(frozen=True, slots=True)
class Named:
    """The rule of an option that is an object of a class, the name of a known one, or None."""

    kind: type
    names: Mapping[str, object]

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.names))}, or {self.kind.__name__}(…), or None"

    def check(self, name: str, value: object) -> None:
        """Raise UserError for an unknown name, and WrongTypeError for another type."""
        if value is None or isinstance(value, self.kind):
            return
        if not isinstance(value, str):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")
        if value not in self.names:
            raise UserError(f"{name} is {shown(value)}: write {self}")


@dataclass(frozen=True, slots=True)
class TextRule:
    """The rule of an option that is text of a certain form."""

    what: str
    """The form, for the message."""
    form: re.Pattern[str]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.what}{', or None' if self.optional else ''}"

    def check(self, name: str, value: object) -> None:
        """Raise UserError for text of another form, and WrongTypeError for anything else."""
        if value is None and self.optional:
            return
        if not isinstance(value, str):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")
        if not self.form.fullmatch(value):
            raise UserError(f"{name} is {shown(value)}: write {self}")


@dataclass(frozen=True, slots=True)
class TextsRule:
    """The rule of an option that is a tuple (or list) of different texts."""

    each: TextRule

    def __str__(self) -> str:
        return f"a tuple, and in it each time {self.each}"

    def check(self, name: str, value: object) -> None:
        """Raise UserError for a text of another form or one that is there twice, and WrongTypeError for another
        type."""
        if not isinstance(value, tuple | list):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")
        texts = cast("list[object]", value)
        for number, text in enumerate(texts):
            self.each.check(f"{name}[{number}]", text)
            if text in texts[:number]:
                raise UserError(f"{name} has {shown(text)} twice: write it once")


def is_async(function: object) -> bool:
    """Whether the result of calling it would have to be awaited, as far as its definition says."""
    made = inspect.getattr_static(function, "__call__", None)
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in (function, made))


Rule: TypeAlias = Number | Instance | Choice | Function | Named | TextRule | TextsRule

SECONDS: Final = "a number of seconds"
BYTES: Final = "a whole number of bytes"
COUNT: Final = "a whole number"

MOST_SECONDS: Final = 10**9
"""About 31 years. The timers of event loops do not go further than a century (P-DEFAULT-10)."""
MOST_BYTES: Final = 2**40
"""1 TiB: more than the memory of the machines that run this (P-DEFAULT-10)."""
MOST_AT_ONCE: Final = 256
"""Connections of a session, and turns on one: 256 times 256 are all the ports by which a machine reaches an address.

Source: P-DEFAULT-10.
"""
MOST_KEPT: Final = 10**6
"""What a session keeps in memory, each some hundred bytes: turns that wait, names of lanes, repetitions.

Source: P-DEFAULT-10.
"""


def check_fields(options: msgspec.Struct, rules: Mapping[str, Rule]) -> None:
    """Hold the fields of ``options`` against their rules; where None is no limit, infinity becomes None, and a list of
    texts becomes a tuple.

    Raises:
        UserError: a number out of its range, NaN included.
        WrongTypeError: a value of another type: text, a bool for a number.
    """
    for name in options.__struct_fields__:
        rule = rules.get(name)
        value: Any = getattr(options, name)
        if rule is None or value is msgspec.UNSET:  # Not given: the option says what that means.
            continue
        rule.check(f"{type(options).__name__}.{name}", value)
        if isinstance(rule, Number) and rule.optional and value == math.inf:
            msgspec.structs.force_setattr(options, name, None)
        elif isinstance(rule, TextsRule):
            msgspec.structs.force_setattr(options, name, tuple(value))
