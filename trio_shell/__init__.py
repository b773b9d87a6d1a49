"""turnwire for trio, without anyio: ``async with connect() as session``.

It has the same names and the same behaviour as ``turnwire.aio``. This package is a shell: it opens sockets, does TLS,
reads, writes and waits. The core (``turnwire.sansio``) decides what to do with the data. ``_runtime.py`` says who reads
and writes, and when.
"""

from __future__ import annotations

from ..sansio import api
from ..sansio.api import *  # noqa: F403
from ._shell import Conversation, OpenAIResponsesModel, OpenAIResponsesWSModel, Session, Turn, connect

__all__ = ["Conversation", "OpenAIResponsesModel", "OpenAIResponsesWSModel", "Session", "Turn", "connect"]
__all__ += api.__all__
