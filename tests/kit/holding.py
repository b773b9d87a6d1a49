"""Transports that take no more after so many bytes, as if the socket's buffers were full: for the ledger's tests."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from turnwire.aio._asyncio import AsyncioRuntime
from turnwire.sansio import driver
from turnwire.trio_shell._runtime import TrioRuntime


class Hold:
    """Lets a transport take so many bytes of a message, and then none, until it is closed."""

    def __init__(self, left: int) -> None:
        self.left = left


class Held:
    """A client whose transports may be held."""

    hold: Hold | None = None


CLIENT: ContextVar[Any] = ContextVar("client")
"""The :class:`Held` whose tasks these are: a session's tasks inherit it from the one that opened the session."""


def make_holdable(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The runtimes' transports obey their client's :class:`Hold`; call it to set the size of the chunks."""
    for runtime in (AsyncioRuntime, TrioRuntime):
        monkeypatch.setattr(runtime, "write", held(runtime.write))
    return lambda size: monkeypatch.setattr(driver, "CHUNK", size)


def held(write: Callable[[Any, driver.Link, bytes], bool]) -> Callable[[Any, driver.Link, bytes], bool]:
    def held_write(runtime: Any, link: driver.Link, data: bytes) -> bool:
        client = CLIENT.get(None)
        hold = client.hold if client is not None else None
        if client is None or hold is None or not link.connection.is_open:
            return write(runtime, link, data)
        if len(data) < hold.left:
            hold.left -= len(data)
            return write(runtime, link, data)
        client.hold = None
        write(runtime, link, data[: hold.left])
        return False

    return held_write
