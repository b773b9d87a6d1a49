"""What differs for models inside of the Agents SDK: a connection outlives ``Runner.run_sync()`` (PARITY D7).

Why
    ``run_sync()`` runs on the thread's default event loop, which stays for the next call, and closes the loop's
    asynchronous generators after each run. Elsewhere that is the end of a loop, at which turnwire closes what is open.
"""

from __future__ import annotations

from inspect import currentframe
from typing import Final

from agents.run import AgentRunner

from ...sansio.runtime import SessionRuntime
from .._asyncio import AsyncioRuntime
from .._shell import AnyioShell

__all__ = ["AGENTS_SHELL"]

_RUN_SYNC: Final = AgentRunner.run_sync.__code__


def _in_run_sync() -> bool:
    """Whether the event loop runs within ``run_sync()``: then that function is among the callers."""
    frame = currentframe()
    while frame is not None and frame.f_code is not _RUN_SYNC:
        frame = frame.f_back
    return frame is not None


class AgentsRuntime(AsyncioRuntime):
    """See :class:`turnwire.aio._asyncio.AsyncioRuntime`."""

    @property
    def loop_goes_on(self) -> bool:
        """As elsewhere; and it goes on after ``run_sync()``."""
        return super().loop_goes_on or _in_run_sync()


class AgentsShell(AnyioShell):
    """See :class:`turnwire.aio._shell.AnyioShell`. It is for asyncio only, as the Agents SDK is."""

    @property
    def runtime(self) -> type[SessionRuntime]:
        """The one above."""
        return AgentsRuntime


AGENTS_SHELL: Final = AgentsShell()
