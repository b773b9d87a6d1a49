"""turnwire for asyncio, and for trio: ``async with connect() as session``, or ``session = await connect()``.

This package is a shell: it opens sockets, does TLS, reads, writes and waits. The core (``turnwire.sansio``) decides
what to do with the data. ``_asyncio.py`` says who reads, who writes and who wakes. On trio it uses
``turnwire.trio_shell``.
"""

from __future__ import annotations

from ..sansio import api
from ..sansio.api import *  # noqa: F403
from ._shell import Conversation, OpenAIResponsesModel, OpenAIResponsesWSModel, Session, Turn, connect

__all__ = ["Conversation", "OpenAIResponsesModel", "OpenAIResponsesWSModel", "Session", "Turn", "connect"]
__all__ += api.__all__
