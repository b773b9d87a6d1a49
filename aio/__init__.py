"""turnwire for asyncio, and for trio: ``async with connect() as session``, or ``session = await connect()``.

A shell: it opens sockets, does TLS, reads, writes and waits. What to do with what it read, the core decides
(``turnwire.sansio``); see ``_asyncio.py`` for who reads, who writes and who wakes. On trio it is a front for
``turnwire.trio_shell``.
"""

from __future__ import annotations

from ..sansio import api
from ..sansio.agents import httpmodel, wsmodel
from ..sansio.api import *  # noqa: F403
from ._shell import SHELL, connect

__all__ = ["OpenAIResponsesModel", "OpenAIResponsesWSModel", "connect"]
__all__ += api.__all__


class OpenAIResponsesModel(httpmodel.OpenAIResponsesModel):  # noqa: D101 - it has one
    __doc__ = httpmodel.OpenAIResponsesModel.__doc__
    _shell = SHELL


class OpenAIResponsesWSModel(wsmodel.OpenAIResponsesWSModel, OpenAIResponsesModel):  # noqa: D101 - it has one
    __doc__ = wsmodel.OpenAIResponsesWSModel.__doc__
