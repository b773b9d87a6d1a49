"""A request, as a script sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..secret import Secret
from ._memory import ItemDict, Remembered, input_items, item_text, tool_names

__all__ = ["Asked"]

_NO_HEADERS: Final[Mapping[str, str | Secret]] = {}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as the function of a script gets it."""

    body: Mapping[str, Any]
    """All of it but ``type`` and ``stream_id``."""
    number: int
    """Its number among the requests that the server has run, from 1."""
    attempt: int = 1
    """How many requests with an equal body there have been, this one included."""
    connection: int = 1
    """The number of its connection, from 1."""
    lane: str | None = None
    """Its ``stream_id``."""
    headers: Mapping[str, str | Secret] = _NO_HEADERS
    """Those of the HTTP request, or of the upgrade; names in lower case. Credentials are not shown."""
    previous: Remembered | None = None
    """The response that it continues."""

    @property
    def input(self) -> list[ItemDict]:
        """The items of its ``input``."""
        return input_items(self.body.get("input"))

    @property
    def text(self) -> str:
        """The text of the last item: what the user said, or what the tool gave."""
        items = self.input
        return item_text(items[-1].get("content", items[-1].get("output"))) if items else ""

    @property
    def outputs(self) -> dict[str, Any]:
        """What the tools gave: the ``output`` of each ``…_output`` item in the input, by its ``call_id``."""
        return {item["call_id"]: item.get("output") for item in self.input if isinstance(item.get("call_id"), str)}

    @property
    def tools(self) -> list[str]:
        """The names of its tools; of a tool without a name, its type."""
        return tool_names(self.body.get("tools"))

    def conversation(self) -> list[ItemDict]:
        """Every item of the conversation, this input included, oldest first. Takes time with its length."""
        return [*(self.previous.items() if self.previous is not None else []), *self.input]
