"""The sessions of a transport: one for each endpoint with its credentials, in each event loop.

The promise
    Requests with different URLs, credentials or other headers never share a connection. A session is made when a
    request needs it. Its connections close when nothing ran on them for ``max_idle``; a session without one is
    forgotten when another is made. No key, and nothing that is logged, shows a credential.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from ..client import Shell
from ..connections import ConnectionInfo
from ..errors import SessionClosedError, TurnError, UserError
from ..evidence import Phase
from ..flow import Flow, Wait
from ..options import SessionOptions
from ..replay import RecoveryPolicy
from ..runtime import SessionRuntime
from ..secret import Secret, discreet
from ..source import EndpointSource
from ..transports import Network
from ._answer import TurnAnswer
from ._asked import AskedTurn
from ._exchange import TurnExchange

__all__ = ["HTTP_CLIENT_OPTIONS", "Sessions"]

MOST_SESSIONS: Final = 64
"""Sessions of an event loop that are kept, besides those in use."""


def left_to_recovery(failure: TurnError) -> bool:
    """Whether a turn that failed is repeated here, and not by the HTTP client: the client knows nothing of the
    connection below it. What it knows, it repeats as often as its ``max_retries`` says: connections that cannot be
    opened, and answers (P-HTTPX-9)."""
    evidence = failure.evidence
    opening = evidence.phase in (Phase.CONNECT, Phase.HANDSHAKE)
    status = None if evidence.refusal is None else evidence.refusal.status
    return not opening and status != 429


HTTP_CLIENT_OPTIONS: Final = SessionOptions(
    connections=16,
    max_idle=300.0,
    close_last=True,
    recovery=RecoveryPolicy(should_repeat=left_to_recovery),
)
"""The options of a transport's sessions, unless others are given."""


class Sessions:
    """See the top of the module. ``network``: how connections are opened."""

    def __init__(self, shell: Shell, options: SessionOptions, network: Network) -> None:
        self._shell = shell
        self.options = options
        self._network = network
        self._of_loops: dict[Hashable, dict[Secret, SessionRuntime]] = {}
        self._to_close: list[SessionRuntime] = []
        """Sessions of no use, to be closed."""
        self._closed = False

    def begin(self, asked: AskedTurn, body: Mapping[str, Any]) -> TurnExchange | None:
        """Send the turn of a request; None: no upgrade can have its URL or headers, and the inner transport sends it.

        Raises SessionClosedError after :meth:`close`, and as :class:`TurnExchange` does.
        """
        if self._closed:
            raise SessionClosedError("the transport is closed — nothing was sent — make another client")
        known = self._of_loops.setdefault(self._shell.token(), {})
        runtime = known.pop(asked.key, None)
        if runtime is None or runtime.closed:
            try:
                source = _source(asked)
            except UserError:
                return None
            self._forget_ended_loops()
            self._take_out_unused(known)
            runtime = self._shell.runtime(source, self._network, self.options)
        known[asked.key] = runtime  # The last used one is last.
        return TurnExchange(runtime, asked, body)

    def answer(self, exchange: TurnExchange) -> Flow[TurnAnswer]:
        """The answer, as :meth:`TurnExchange.answer` gives it. Before that, sessions are closed that nobody uses."""
        try:
            while self._to_close:
                yield Wait(partial(self._to_close.pop().aclose, wait_for_peer=False))
        except BaseException:
            exchange.leave()
            raise
        return (yield from exchange.answer())

    def _forget_ended_loops(self) -> None:
        here = self._shell.token()
        for token, known in list(self._of_loops.items()):
            if token != here and all(runtime.over for runtime in list(known.values())):
                self._of_loops.pop(token, None)

    def _take_out_unused(self, known: dict[Secret, SessionRuntime]) -> None:
        """Take out sessions that have no connection any more, and the ones that were not used for the longest time."""
        too_many = len(known) + 1 - MOST_SESSIONS
        unused = [(key, each) for key, each in known.items() if each.idle]
        for number, (key, each) in enumerate(unused):
            if number < too_many or not _is_open(each):
                self._to_close.append(known.pop(key))

    @property
    def connections(self) -> list[ConnectionInfo]:
        """What is known of the connections in this event loop."""
        known = self._of_loops.get(self._shell.token(), {})
        return [info for runtime in known.values() for info in runtime.connections]

    def close(self) -> Flow[None]:
        """Close all sessions; calls that run fail as aborted. Those in other event loops are shut down from here."""
        self._closed = True
        here = self._shell.token()
        for token, known in list(self._of_loops.items()):
            for runtime in list(known.values()) if token != here else ():
                runtime.shutdown_threadsafe()
        each = AsyncExitStack()
        for runtime in self._of_loops.get(here, {}).values():
            each.push_async_callback(runtime.aclose)
        self._of_loops.clear()
        yield Wait(each.aclose)


def _is_open(runtime: SessionRuntime) -> bool:
    return any(each.state != "closed" for each in runtime.connections)


@discreet
def _source(asked: AskedTurn) -> EndpointSource:
    headers: Any = asked.headers.reveal()
    return EndpointSource(
        base_url=asked.url.reveal(), api_key=None, client=None, headers=dict(headers), query=None, environment={}
    )
