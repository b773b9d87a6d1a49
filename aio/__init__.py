"""turnwire for asyncio, and for trio: ``async with connect() as session``, or ``session = await connect()``.

A shell: it opens sockets, does TLS, reads, writes and waits. What to do with what it read, the core decides
(``turnwire.sansio``); see ``_asyncio.py`` for who reads, who writes and who wakes. On trio it is a front for
``turnwire.trio_shell``.
"""

from __future__ import annotations

from ..sansio import api
from ..sansio.api import *  # noqa: F403
from ._shell import OpenAIResponsesModel, OpenAIResponsesWSModel, Session, Turn, connect

__all__ = ["OpenAIResponsesModel", "OpenAIResponsesWSModel", "Session", "Turn", "connect"]
__all__ += api.__all__
