"""What any recorder costs at least: turnwire's asyncio shell, and a bare ``os.write`` of each read to a new file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from turnwire.aio import connect as connect_session
from turnwire.sansio.driver import Driver
from turnwire.sansio.link import Link

from ._session import client_of


@asynccontextmanager
async def teed(base_url: str) -> AsyncIterator[Any]:
    """A session of a process whose driver is changed for good: every client has a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".bytes", buffering=0) as file:
        received, number = Driver.received, file.fileno()

        def write_and_receive(self: Driver, link: Link, data: bytes, now: float) -> None:
            os.write(number, data)
            received(self, link, data, now)

        Driver.received = write_and_receive
        try:
            async with connect_session(base_url) as session:
                yield session
        finally:
            Driver.received = received


connect = client_of(teed)
