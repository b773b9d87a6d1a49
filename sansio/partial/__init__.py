"""What has come of a response so far: its items, open ones too, as plain JSON (PROTOCOL.md, "What has come so far").

The promise
    A :class:`Partial` is made of the events that the consumer has read, and of nothing else: whoever asks for it sees
    what the consumer has seen. It can be asked for at any time, also after a failure, and raises nothing.

What it costs
    A turn keeps its events, and they are gathered only when somebody asks, or when :data:`GATHER_AFTER` bytes have
    come. Then each event costs O(1). What is gathered takes at most 64 MiB, counted in the texts of the events; beyond
    that, the items are dropped and :attr:`Partial.overflowed` is true.

How the events are gathered
    ============================== ====================================================================================
    ``response.created``           a new response begins
    an item was added              it is the beginning of an open item
    a part was added               it is the beginning of a part of an open item
    a delta                        continues a text of an open item; the item or part begins with it if need be
    a text or part is done         replaces what the deltas gave; deltas that follow are ignored
    an item is done                replaces the open item
    the terminal event             replaces all items that it has
    ============================== ====================================================================================
"""

from __future__ import annotations

from ._gathering import GATHER_AFTER, Gathered, needed
from ._snapshot import Partial
from ._text import TextStream

__all__ = ["GATHER_AFTER", "Gathered", "Partial", "TextStream", "needed"]
