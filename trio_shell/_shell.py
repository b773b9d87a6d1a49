"""What differs on trio, for the sessions and models of the core: its clock, its cancellation, its runtime.

The promise
    The public classes are those of the core, with :class:`TrioShell` behind them, and nothing added: what they do on
    trio, they do on asyncio. One thing differs: trio has no tasks that run on their own, so that the clean-up of a call
    runs in the caller's task, also when that is cancelled. Nothing here imports anyio or asyncio.

The classes below :data:`SHELL` stand in ``aio/_shell.py`` in the same words, so that type checkers know them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Final

import trio

from ..sansio import client, conversations
from ..sansio.agents import httpmodel, wsmodel
from ..sansio.agents.model import ModelShell
from ..sansio.flow import Flow
from . import _flows
from ._runtime import TrioRuntime
from ._transport import MEANS

__all__ = ["SHELL", "Conversation", "OpenAIResponsesModel", "OpenAIResponsesWSModel", "Session", "Turn", "connect"]


class TrioShell:
    """See :class:`turnwire.sansio.agents.model.ModelShell`."""

    means = MEANS
    runtime = TrioRuntime
    cancelled = trio.Cancelled
    now = staticmethod(trio.current_time)
    token = staticmethod(trio.lowlevel.current_trio_token)
    run = staticmethod(_flows.run)
    iterate = staticmethod(_flows.iterate)
    coroutine_function = staticmethod(_flows.coroutine_function)
    checkpoint = staticmethod(trio.lowlevel.checkpoint)
    in_thread = staticmethod(trio.to_thread.run_sync)

    def spawn(self, flow: Flow[Any], tasks: set[Any], *, wait: bool) -> Awaitable[Any] | None:
        """On trio no task can run on its own: the caller runs the clean-up, even if cancelled."""
        return self.run(flow)

    async def side_by_side(self, flows: Iterable[Flow[None]]) -> None:
        """A task group within one call."""
        async with trio.open_nursery() as tasks:
            for flow in flows:
                tasks.start_soon(self.run, flow)


SHELL: Final[ModelShell] = TrioShell()


if TYPE_CHECKING:  # The same in all shells: what tells turns apart is their response.
    from ..sansio.client import Turn
else:

    class Turn(client.Turn, shell=SHELL): ...


class Conversation(conversations.Conversation, shell=SHELL): ...


class Session(client.Session[Conversation], shell=SHELL):
    _turn = Turn
    _conversation = Conversation


class Connecting(client.Connecting[Session], shell=SHELL):
    _session = Session


class OpenAIResponsesModel(httpmodel.OpenAIResponsesModel, shell=SHELL): ...


class OpenAIResponsesWSModel(wsmodel.OpenAIResponsesWSModel, OpenAIResponsesModel, shell=SHELL): ...


connect: Final = client.bound(client.connect, Connecting)
