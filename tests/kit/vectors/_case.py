"""One case of a source."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    id: str
    what: str
    input: dict[str, Any]
    must: dict[str, Any]
    """What the output must have: its members, and theirs; a list must be whole, but ``...`` stands for any value."""
    rules: tuple[str, ...] = ()


def lacks(must: Any, got: Any, at: str = "output") -> list[str]:
    """What the output lacks of what it must have."""
    if must is ...:
        return []
    if isinstance(must, dict) and isinstance(got, dict):
        missing = [f"{at}.{name}: missing" for name in must if name not in got]
        return missing + [line for name in must if name in got for line in lacks(must[name], got[name], f"{at}.{name}")]
    if isinstance(must, list) and isinstance(got, list) and len(must) == len(got):
        return [
            line
            for i, (one, other) in enumerate(zip(must, got, strict=True))
            for line in lacks(one, other, f"{at}[{i}]")
        ]
    return [] if must == got and type(must) is type(got) else [f"{at}: must be {must!r}, is {got!r}"]
