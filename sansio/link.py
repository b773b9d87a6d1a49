"""A link: a connection, the state of its transport, and what a runtime does with the transport for the driver.

The states of a link (a connection and the transport that carries it)
    ::

        OPENING ──opened()──► OPEN ──the connection is over──► CLOSING ──lost()──► CLOSED
           ▲                   │                                  ▲
           └────redirected─────┘                                  │
        OPENING ──the connection is over: the attempt is cancelled┘       any: lost() ──► CLOSED

    A link in CLOSING is aborted after ``close_timeout`` seconds. The runtime answers each :meth:`Runtime.open` with
    ``opened()`` or ``lost()``, and each :meth:`Runtime.close` with ``lost()``: once, and not from within the call.
"""

from __future__ import annotations

import enum
from typing import Any, Final, Protocol

from .connections import Connection

__all__ = ["READ_SIZE", "Link", "LinkState", "Runtime", "Transport"]

READ_SIZE: Final = 64 * 1024
"""Bytes to read from a socket at a time."""


class LinkState(enum.Enum):
    """The state of a link; see the top of the module."""

    OPENING = "opening"
    """The runtime opens the transport: TCP, proxy, TLS."""
    OPEN = "open"
    CLOSING = "closing"
    """Nothing more is read or started; the transport is being closed."""
    CLOSED = "closed"


class Link:
    """A connection and the state of its transport."""

    __slots__ = ("close_by", "connection", "looked", "looking", "paused", "state", "wire", "writable")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.state = LinkState.OPENING
        self.wire: Any = None
        """The transport, as an object of the runtime's own kind: a :class:`Transport`."""
        self.writable = False
        """Whether the transport's buffer is empty, so that it takes the next chunk."""
        self.paused = False
        """Whether reading is paused."""
        self.looking = False
        """Whether reading goes on although a turn has too many unread events: a deadline has passed, and what has
        arrived is read before the deadline is acted on."""
        self.looked = False
        """Whether it was, since a deadline was last acted on. Once is enough: a server may send without an end."""
        self.close_by: float | None = None
        """When a link in CLOSING is aborted."""


class Transport(Protocol):
    """What every runtime's own kind of transport does. No method blocks, awaits or calls the driver back."""

    def pause(self) -> None:
        """See :meth:`Runtime.pause`."""

    def resume(self) -> None:
        """See :meth:`Runtime.resume`."""

    def close(self, *, abort: bool) -> None:
        """See :meth:`Runtime.close`."""

    def readable(self) -> bool:
        """Whether a read may find data. The transport is open."""
        ...


class Runtime(Protocol):
    """What a shell does for the driver. No method blocks, awaits or calls the driver back."""

    def open(self, link: Link) -> None:
        """Start to open a transport to ``link.connection.endpoint``."""

    def write(self, link: Link, data: bytes) -> bool:
        """Give bytes to the transport. True: its buffer is empty again. False: ``writable()`` will be called when it
        is."""
        ...

    def pause(self, link: Link) -> None:
        """Stop reading until :meth:`resume`."""

    def resume(self, link: Link) -> None:
        """Read again."""

    def close(self, link: Link, *, abort: bool) -> None:
        """Close the transport: after all written bytes, or at once. If it is still being opened, cancel that."""

    def set_timer(self, when: float | None) -> None:
        """Call ``time_came()`` at this time, in the clock of ``now``. It replaces the time of an earlier call.

        None: switch the timer off.
        """

    def wake(self, waiter: Any) -> None:
        """Let a waiting consumer check its turn again, soon. It may also be called for a consumer that does not
        wait."""
