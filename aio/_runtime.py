"""Which runtime a session gets: the one of the event loop that it is opened in."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from ..sansio.proxy import Proxy
from ..sansio.session import EndpointSource, SessionOptions

if TYPE_CHECKING:
    from ..trio_shell._runtime import Runtime as TrioRuntime
    from ._asyncio import AsyncioRuntime

__all__ = ["Runtime", "runtime"]

Runtime: TypeAlias = "AsyncioRuntime | TrioRuntime"
"""Either has what sessions, turns and models need; the names are the same, and so is what they do."""


def runtime(
    source: EndpointSource,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | Literal["env"] | str | None,
    options: SessionOptions,
) -> Runtime:
    """A runtime for the event loop that runs. On trio it is the one of ``turnwire.trio_shell``."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        from ._asyncio import AsyncioRuntime as Chosen
    else:
        from ..trio_shell._runtime import Runtime as Chosen
    return Chosen(source, ssl_context=ssl_context, proxy=proxy, options=options)
