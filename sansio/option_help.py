"""Completes docstrings, so that ``help()`` shows each option or argument of a class: default, meaning, unit.

The promise
    Nothing is written twice. The meaning of an option stands in the docstring of the class that declares it, in its
    last section, ``Options:``; its default is that of the field; its unit and its range are those of the rule that
    checks it (``checks.py``). A class shows the options of its base classes, too. README's table is made of the same.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from .checks import Rule, shown

__all__ = ["explain", "explain_arguments", "meanings"]

_NO_RULES: Final[Mapping[str, Rule]] = {}


class _Explained(NamedTuple):
    """What is known of the options or arguments that a class declares."""

    meanings: Mapping[str, str]
    rules: Mapping[str, Rule]


_CLASSES: Final[dict[type, _Explained]] = {}


def explain(cls: type[msgspec.Struct], rules: Mapping[str, Rule] = _NO_RULES) -> None:
    """Complete the docstring of a class of options, which all have defaults. ``rules`` has the rules of its fields, by
    their names."""
    _complete(cls, "Options", dict(zip(cls.__struct_fields__, cls.__struct_defaults__, strict=True)), rules)


def explain_arguments(cls: type) -> None:
    """Complete the docstring of a class by the arguments of its constructor: the section ``Arguments:`` of its own and
    of its base classes."""
    parameters = list(inspect.signature(cls).parameters.values())
    _complete(cls, "Arguments", {parameter.name: parameter.default for parameter in parameters}, _NO_RULES)


def _complete(cls: type, title: str, defaults: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    own, _, section = inspect.cleandoc(cls.__doc__ or "").partition(f"\n\n{title}:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    _CLASSES[cls] = _Explained(dict(entries), rules)
    known = meanings(cls)
    all_rules = {name: rule for each in _with_bases(cls) for name, rule in each.rules.items()}
    blocks = [own, f"{title}:"]
    for name, default in defaults.items():
        lines = [f"    {name}{_default(default)}", f"        {known.get(name, '')}"]
        if name in all_rules:
            lines.append(f"        Takes {all_rules[name]}.")
        blocks.append("\n".join(lines))
    cls.__doc__ = "\n\n".join(blocks)


def meanings(cls: type) -> dict[str, str]:
    """What the docstrings of a class and of its base classes say of each option, or argument, by its name."""
    return {name: meaning for each in _with_bases(cls) for name, meaning in each.meanings.items()}


def _with_bases(cls: type) -> list[_Explained]:
    """Of a class and its base classes, the base classes first."""
    return [_CLASSES[each] for each in reversed(cls.__mro__) if each in _CLASSES]


def _default(value: object) -> str:
    """A default, as it stands behind the name."""
    if value is inspect.Parameter.empty:
        return ""
    if value is msgspec.UNSET:
        return " = not given"
    if isinstance(value, bool | int | float | str | None):
        return f" = {shown(value)}"
    return f" = {type(value).__name__.lstrip('_')}()"
