"""Keeps the items of a response as they come, for its end; :mod:`._filling` says how they are used.

Each :class:`~turnwire.sansio.connection.Turn` has one :class:`OutputItems`. Its terminal event, and everything made
from that event, then has the items."""

from __future__ import annotations

from typing import Final

from ._filling import Particulars
from ._json import keep
from ._lifecycle import LifecycleEvent
from ._output import OutputItemEvent

__all__ = ["MAX_GATHERED", "OutputItems"]

MAX_GATHERED: Final = 64 * 1024 * 1024
"""Bytes of memory that the kept items of one response may take (P-OUTPUT-4)."""
COST: Final = 100
"""Bytes of memory that each item takes in addition to its text, rounded up."""
_ITEM_DONE: Final = "response.output_item.done"


class OutputItems:
    """The completed items of one response. Each costs O(1) time and keeps the text of its event.

    When they exceed ``most`` bytes, no items are kept; the response is then as the server's last snapshot has it.
    """

    __slots__ = ("_done", "_most", "_size")

    def __init__(self, most: int = MAX_GATHERED) -> None:
        self._most = most
        self._size = 0
        self._done: list[bytes] = []

    def add(self, event: OutputItemEvent) -> None:
        """Note an item that was added or done."""
        if event.type == _ITEM_DONE:
            self._size += len(event.raw_bytes) + COST
            self._done.append(event.raw_bytes)
            if self._size > self._most:
                self._done.clear()

    def clear(self) -> None:
        """Drop all items: another response begins, or nobody needs this one."""
        self._size = 0
        self._done = []

    def complete(self, event: LifecycleEvent, response_id: str | None = None) -> None:
        """The response ends with this event: from now on its ``response`` has the items, if its own output is empty.

        The response also gets the event's outcome as ``status``, and ``response_id`` as ``id`` if it has none. This
        affects ``output_text``, ``raw``, ``to_dict()`` and ``to_openai()`` of the response, and ``to_openai()`` of the
        event. The event's own ``raw`` remains what the server sent.
        """
        keep(event, "_lazy", Particulars(response_id, tuple(self._done)))
        if self._size:
            self.clear()
