"""turnwire for trio, without anyio: ``async with connect() as session``.

The same names and the same behaviour as ``turnwire.aio``. A shell: it opens sockets, does TLS, reads, writes and waits.
What to do with what it read, the core decides (``turnwire.sansio``); see ``_runtime.py`` for who reads and writes when.
"""

from __future__ import annotations

from ..sansio import api
from ..sansio.api import *  # noqa: F403
from ._shell import OpenAIResponsesModel, OpenAIResponsesWSModel, Session, Turn, connect

__all__ = ["OpenAIResponsesModel", "OpenAIResponsesWSModel", "Session", "Turn", "connect"]
__all__ += api.__all__
