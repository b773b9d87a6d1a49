"""Checks of options: one rule for each kind of option, and one message for a value that breaks it.

The promise
    A table beside an options class gives the rule for each of its fields; :func:`check_fields` applies it. The message
    names the option, the value, and what to write instead.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from .errors import UserError, WrongTypeError

__all__ = ["BYTES", "COUNT", "SECONDS", "Choice", "Function", "Instance", "Number", "Rule", "check_fields", "shown"]


def shown(value: object) -> str:
    """A value for an error message: its ``repr``, cut at 80 characters."""
    try:
        text = repr(value)
    except Exception:  # A ``repr`` may raise anything; the message must not be lost because of it.
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


@dataclass(frozen=True, slots=True)
class Number:
    """The rule for a number: finite, and at least ``least`` (``above``: more than ``least``)."""

    what: str
    """The unit, for the message: ``a number of seconds``."""
    least: int = 0
    above: bool = False
    whole: bool = False
    """Whether it must be an int."""
    optional: bool = False
    """Whether None is allowed and means no limit. Infinity then means the same."""

    def __str__(self) -> str:
        bound = f"above {self.least}" if self.above else f"{self.least} or more"
        return f"{self.what}, {bound}{', or None for no limit' if self.optional else ''}"

    def check(self, name: str, value: object) -> None:
        """Raise UserError for a number out of its range, WrongTypeError for a value of another type."""
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
        except OverflowError:  # An int too large for a float cannot be added to a time.
            return False
        return finite and (value > self.least if self.above else value >= self.least)


@dataclass(frozen=True, slots=True)
class Instance:
    """The rule for an option that is an instance of a class."""

    kind: type
    optional: bool = False

    def __str__(self) -> str:
        some = "True or False" if self.kind is bool else f"{self.kind.__name__}(…)"
        return f"{some}{', or None' if self.optional else ''}"

    def check(self, name: str, value: object) -> None:
        """Raise WrongTypeError for any other value."""
        if not isinstance(value, self.kind) and not (self.optional and value is None):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")


@dataclass(frozen=True, slots=True)
class Choice:
    """The rule for an option that is one of a few values. The type must be the same: True is not 1."""

    choices: tuple[object, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.choices))

    def check(self, name: str, value: object) -> None:
        """Raise WrongTypeError for another type, and UserError for another value."""
        if not any(type(value) is type(choice) for choice in self.choices):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")
        if not any(type(value) is type(choice) and value == choice for choice in self.choices):
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
        if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):
            raise WrongTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}: write {self}")


Rule: TypeAlias = Number | Instance | Choice | Function

SECONDS: Final = "a number of seconds"
BYTES: Final = "a whole number of bytes"
COUNT: Final = "a whole number"


def check_fields(options: msgspec.Struct, rules: Mapping[str, Rule]) -> None:
    """Check the fields of ``options`` by their rules. Where None means no limit, infinity is replaced by None.

    Raises:
        UserError: a number out of its range, NaN included.
        WrongTypeError: a value of another type: text, a bool for a number.
    """
    for name in options.__struct_fields__:
        rule = rules.get(name)
        value: Any = getattr(options, name)
        if rule is None or value is msgspec.UNSET:  # Not given: the option's own documentation says what applies.
            continue
        rule.check(f"{type(options).__name__}.{name}", value)
        if isinstance(rule, Number) and rule.optional and value == math.inf:
            msgspec.structs.force_setattr(options, name, None)
