"""Credentials in what is printed or kept: only where they stand as such, so that a short key does not change words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

__all__ = ["MASK", "mask_credentials", "mask_in_json"]

MASK: Final = "***"
LEAST: Final = 8
"""Characters of a credential that is masked; shorter ones are parts of ordinary words."""
LONG: Final = 20
"""Characters from which on a credential is masked within a word, too: no word has it by chance."""


def mask_credentials(text: str, credentials: Sequence[str | None]) -> str:
    """The text with :data:`MASK` for each whole occurrence of a credential."""
    for credential in credentials:
        if credential is None or len(credential) < LEAST:
            continue
        pattern = re.escape(credential)
        if len(credential) < LONG:
            pattern = rf"(?<![\w-]){pattern}(?![\w-])"
        text = re.sub(pattern, MASK, text)
    return text


def mask_in_json(value: object, credentials: Sequence[str | None]) -> Any:
    """A plain JSON value with this done to every text in it, but to the names of members."""
    match value:
        case str():
            return mask_credentials(value, credentials)
        case list():
            return [mask_in_json(each, credentials) for each in cast("list[object]", value)]
        case dict():
            members = cast("dict[str, object]", value)
            return {name: mask_in_json(each, credentials) for name, each in members.items()}
        case _:
            return value
