"""What all connections of one loopback server have in common: its options, its faults, its ledger and its store."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...sansio.server import (
    SERVER_DIALECTS,
    Access,
    ApiState,
    ResponseStore,
    Script,
    ServerOptions,
    StoredResponses,
)
from ._control import Control
from ._faults import Faults
from ._ledger import Ledger
from ._tasks import Tasks

__all__ = ["Service"]


@dataclass(slots=True, kw_only=True)
class Service:
    """The state of a server that its connections read and change; most of it comes from the arguments of ``serve``."""

    latency: float
    """Seconds before each event; may change at any time."""
    api_key: str | None = field(repr=False)
    """The key that requests must bring; None for any."""
    ssl_context: ssl.SSLContext | None
    options: ServerOptions
    """Limits and dialect of a WebSocket connection; ``max_message_size`` also limits HTTP bodies."""
    access: Access
    """Which requests are for this server, by ``Host`` and ``Origin``."""
    faults: Faults
    """The faults that have not been done yet; may change at any time."""
    ledger: Ledger
    connections: int = 0
    """How many connections have been accepted, but for those with nothing but requests for control."""
    control: Control | None = None
    """What is answered under ``/_turnwire``; None: nothing."""
    script: Script | None = None
    """Which request gets which reply; None: what a request says decides."""
    store: ResponseStore = field(default_factory=ResponseStore)
    """The responses that can be continued from any connection."""
    responses: StoredResponses = field(default_factory=StoredResponses)
    """The responses that can be retrieved."""
    tasks: Tasks = field(init=False)
    """One that accepts, one for each connection, and one for each response in the background."""

    @property
    def api(self) -> ApiState:
        """What the endpoints of the API read and change."""
        return ApiState(store=self.store, responses=self.responses, strict=self.options.strict)

    @property
    def paths(self) -> Mapping[str, str | None]:
        """Where the API is (:class:`turnwire.sansio.server.ServerDialect`)."""
        return SERVER_DIALECTS[self.options.dialect].paths
