"""The items of a response as they come, kept for its end: see :mod:`._filling` for what is made of them.

A :class:`~turnwire.sansio.connection.Turn` has one :class:`OutputItems`, and its terminal event and all that is made of
it then have the items.
"""

from __future__ import annotations

from typing import Final

from ._filling import Particulars
from ._json import keep
from ._lifecycle import LifecycleEvent
from ._output import OutputItemEvent

__all__ = ["MAX_GATHERED", "OutputItems"]

MAX_GATHERED: Final = 64 * 1024 * 1024
"""Bytes of memory that the items of one response may take while they wait for its end."""
COST: Final = 100
"""Bytes of memory that each takes beside its text, rounded up."""
DONE: Final = "response.output_item.done"


class OutputItems:
    """The items of one response as they are done. Each costs O(1) time, and keeps the text of its event.

    Beyond ``most`` bytes nothing is kept any more: the response is then as the server's last snapshot has it.
    """

    def __init__(self, most: int = MAX_GATHERED) -> None:
        self._most = most
        self._size = 0
        self._done: list[bytes] = []

    def add(self, event: OutputItemEvent) -> None:
        """An item was added, or done."""
        if event.type == DONE:
            self._size += len(event.raw_bytes) + COST
            self._done.append(event.raw_bytes)
            if self._size > self._most:
                self._done.clear()

    def clear(self) -> None:
        """Another response begins, or nobody wants this one."""
        self._size = 0
        self._done = []

    def complete(self, event: LifecycleEvent, response_id: str | None = None) -> None:
        """The response ends with this event, whose ``response`` has the items from here on if its own output is empty.

        It also has the event's outcome as its ``status``, and ``response_id`` if it names no id itself. So have
        ``output_text``, ``raw``, ``to_dict()`` and ``to_openai()`` of the response, and ``to_openai()`` of the event.
        The event's own ``raw`` stays what the server sent.
        """
        keep(event, "_lazy", Particulars(response_id, tuple(self._done)))
        if self._size:
            self.clear()
