"""turnwire's asyncio shell; on trio, the same names."""

from __future__ import annotations

from turnwire.aio import connect as connect_session

from ._session import client_of

connect = client_of(connect_session)
