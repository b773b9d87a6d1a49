"""turnwire for asyncio, and for trio through anyio: ``async with connect() as session``.

A shell: it opens sockets, does TLS, reads, writes and waits. What to do with what it read, the core decides
(``turnwire.sansio``); see ``_driver.py`` for who reads and who writes when.
"""

from __future__ import annotations

from ..sansio.connection import Stats
from ..sansio.replay import RecoveryPolicy, Verdict
from ..sansio.request import Timeouts
from ..sansio.session import (
    SessionOptions,
    provider_managed_retries_disabled,
    websocket_pre_event_retries_disabled,
)
from ._session import Session, Turn, connect

__all__ = [
    "RecoveryPolicy",
    "Session",
    "SessionOptions",
    "Stats",
    "Timeouts",
    "Turn",
    "Verdict",
    "connect",
    "provider_managed_retries_disabled",
    "websocket_pre_event_retries_disabled",
]
