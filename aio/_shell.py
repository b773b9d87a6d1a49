"""What differs on asyncio, or on trio through anyio, for the sessions and models of the core.

The runtime is the one for asyncio (``_asyncio.py``) or, on trio, that of ``turnwire.trio_shell``. It is chosen when a
session is opened.

The classes below :data:`SHELL` stand in ``trio_shell/_shell.py`` in the same words. They are written out, and not made
by a function, so that type checkers and documentation know them as classes of this package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint, current_token

from ..sansio import client, conversations
from ..sansio.agents import httpmodel, wsmodel
from ..sansio.agents.model import ModelShell
from ..sansio.flow import Flow
from ..sansio.runtime import SessionRuntime
from . import _flows
from ._asyncio import AsyncioRuntime
from ._opening import MEANS

__all__ = ["SHELL", "Conversation", "OpenAIResponsesModel", "OpenAIResponsesWSModel", "Session", "Turn", "connect"]


class AnyioShell:
    """See :class:`turnwire.sansio.agents.model.ModelShell`."""

    means = MEANS
    now = staticmethod(anyio.current_time)
    token = staticmethod(current_token)
    run = staticmethod(_flows.run)
    iterate = staticmethod(_flows.iterate)
    coroutine_function = staticmethod(_flows.coroutine_function)
    checkpoint = staticmethod(checkpoint)
    in_thread = staticmethod(anyio.to_thread.run_sync)

    @property
    def cancelled(self) -> type[BaseException]:
        """The exception class that the backend raises."""
        return anyio.get_cancelled_exc_class()

    def spawn(self, flow: Flow[Any], tasks: set[Any], *, wait: bool) -> Awaitable[Any] | None:
        """On asyncio, start a task. On trio no task can run on its own: the caller runs the clean-up, even if
        cancelled."""
        if self.cancelled is not asyncio.CancelledError:
            return self.run(flow)
        task = asyncio.get_running_loop().create_task(self.run(flow))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return asyncio.shield(task) if wait else None

    async def side_by_side(self, flows: Iterable[Flow[None]]) -> None:
        """A task group within one call."""
        async with anyio.create_task_group() as tasks:
            for flow in flows:
                tasks.start_soon(self.run, flow)

    @property
    def runtime(self) -> type[SessionRuntime]:
        """The one for the running event loop."""
        if self.cancelled is asyncio.CancelledError:
            return AsyncioRuntime
        from ..trio_shell._runtime import TrioRuntime

        return TrioRuntime


SHELL: Final[ModelShell] = AnyioShell()


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
