"""The public face of ``turnwire.aio``: :func:`connect`, :class:`Session`, :class:`Turn`.

They stand over a runtime: the one for asyncio (``_asyncio.py``), or, on trio, that of ``turnwire.trio_shell``; which of
the two is found out when a session is opened.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any

import anyio

from ..sansio.connection import Stats
from ..sansio.errors import ConcurrentUseError
from ..sansio.events import Response, ServerEvent
from ..sansio.omit import OMIT
from ..sansio.proxy import checked_proxy, choose_proxy
from ..sansio.secret import discreet
from ..sansio.session import EndpointSource, SessionOptions, TurnHandle, options_from_client
from ._runtime import Runtime, runtime
from ._transport import checked_context

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Connecting", "Session", "Turn", "connect"]


class Session:
    """One endpoint, and turns on it. Made by :func:`connect`; see there."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def create(self, *, stream_id: str | None = None, timeout: object = OMIT, **body: Any) -> Turn:
        """A turn: ``async with session.create(model=…, input=…) as turn``. It is sent on entering.

        ``body`` holds the fields of ``POST /v1/responses``, and ``generate``. ``stream_id`` names the lane: turns of
        one lane run one after another, different lanes run side by side. ``timeout`` is in seconds, for each wait, or
        ``Timeouts(lane, connect, send, receive, total)``; None means no limit. Not given, the session's own holds.

        Entering raises UserError or TypeError if the turn cannot be sent as it is.
        """
        return Turn(self._runtime, body, stream_id, timeout)

    async def respond(self, *, stream_id: str | None = None, timeout: object = OMIT, **body: Any) -> Response:
        """Run a turn to its end and return its response, whatever its status: completed, failed or incomplete.

        Raises as :meth:`create` does, and the turn's :class:`~turnwire.sansio.errors.TurnError`.
        """
        async with self.create(stream_id=stream_id, timeout=timeout, **body) as turn:
            async for _ in turn:
                pass
        return turn.result()

    @property
    def stats(self) -> Stats:
        """The counters of now; a copy."""
        return self._runtime.stats

    async def aclose(self) -> None:
        """End the session: turns in flight fail as aborted, an idle connection is closed politely.

        Any task may call this, and it may be called again.
        """
        await self._runtime.aclose()


class Turn(TurnHandle):
    """One ``response.create`` and its events: ``async with session.create(…) as turn: async for event in turn: …``.

    Leaving the ``async with`` before the terminal event gives the turn up: if other turns use the connection, this
    one's events are discarded; if none does, the connection is aborted at once.
    """

    def __init__(self, runtime: Runtime, body: Mapping[str, Any], stream_id: str | None, timeout: object) -> None:
        super().__init__(body, stream_id, timeout)
        self._runtime = runtime

    async def __aenter__(self) -> Turn:
        self._core = self._runtime.create(*self._enter())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._runtime.cancel(self._begun)

    def __aiter__(self) -> Turn:
        return self

    def __anext__(self) -> Coroutine[Any, Any, ServerEvent]:
        return self._runtime.iterate(self._core or self._begun)


class Connecting:
    """What :func:`connect` returns: await it, or enter it. Once."""

    def __init__(self, make: Callable[[], Runtime]) -> None:
        self._make = make
        self._runtime: Runtime | None = None

    def __await__(self) -> Generator[Any, Any, Session]:
        return self._connect().__await__()

    async def __aenter__(self) -> Session:
        return await self._connect()

    async def __aexit__(self, *exc: object) -> None:
        if self._runtime is not None:
            with anyio.CancelScope(shield=True):  # Bounded by close_timeout.
                await self._runtime.aclose()

    async def _connect(self) -> Session:
        if self._runtime is not None:
            raise ConcurrentUseError("this opens one session — nothing was opened — call connect() again")
        self._runtime = self._make()
        await self._runtime.connect()
        return Session(self._runtime)


@discreet
def connect(
    base_url: str | None = None,
    *,
    api_key: str | None = None,
    client: AsyncOpenAI | None = None,
    headers: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | None = "env",
    options: SessionOptions | None = None,
) -> Connecting:
    """Open a session: ``async with connect() as session``, or ``session = await connect()`` and ``session.aclose()``.

    Connects then; an upgrade that is answered with 408, 425, 429 or 5xx is repeated, within the connect deadline.
    When the connection is lost, turns in flight fail with their verdicts, and the next turn opens a fresh one.

    ``base_url`` is http(s) or ws(s), with or without a path; ``/responses`` is appended. It defaults to the client's,
    else ``OPENAI_BASE_URL``, else the public endpoint. ``api_key`` defaults to ``OPENAI_API_KEY``. ``client`` is an
    ``openai.AsyncOpenAI``, or Azure's, to take URL, credentials, headers, query and timeouts from. ``ssl_context``
    defaults to the system's trust store. ``proxy`` is ``"env"``, None, or an http(s) URL. ``options`` are the limits.

    Raises UserError, at once, for arguments that cannot be used; when it connects, ConnectError or
    HandshakeRejectedError if no connection can be opened.
    """
    source = EndpointSource(
        base_url=base_url, api_key=api_key, client=client, headers=headers, query=query, environment=os.environ
    )
    choose_proxy(proxy, source.initial, os.environ)
    checked_context(ssl_context)
    arguments = (source, ssl_context, checked_proxy(proxy), options_from_client(client, options))
    return Connecting(lambda: runtime(*arguments))
