"""turnwire without async: ``with connect() as session``, or ``session = connect()``.

The names, arguments and results are those of ``turnwire.aio``; whatever has to be awaited there blocks here. Everything
runs in one event loop, which has a thread of its own (``_portal.py``). A session may be used from several threads.
"""

from __future__ import annotations

from ...sansio import api
from ...sansio.api import *  # noqa: F403
from ._session import Conversation, Session, SteerOutcome, Turn, connect

__all__ = ["Conversation", "Session", "SteerOutcome", "Turn", "connect"]
__all__ += [name for name in api.__all__ if name not in __all__]
