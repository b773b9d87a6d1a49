"""turnwire's asyncio shell, with a recorder that writes to a file."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from turnwire.aio import connect as connect_session

from ._session import client_of


@asynccontextmanager
async def recorded(base_url: str) -> AsyncIterator[Any]:
    """A session whose recording goes with it."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        async with connect_session(base_url, record=file.name) as session:
            yield session


connect = client_of(recorded)
