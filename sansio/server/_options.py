"""The limits of one connection of the server, and the kind of server that it imitates."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ..checks import COUNT, SECONDS, Choice, Instance, Number, Rule, check_fields
from ..dialect import ANNOUNCEMENT, AZURE, DEFAULT_MESSAGE_LIMIT, OPENAI
from ..lanes import MAX_IN_FLIGHT, MAX_NAMED_LANES
from ..option_help import explain


class ServerDialect(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of server this is (PROTOCOL.md, "Dialects")."""

    lanes: bool
    """Whether ``stream_id`` names a lane and is sent back in each event. If not, any ``stream_id`` is ignored:
    responses run one after another, in the order of their requests, and no event contains one."""
    steering: bool
    """Whether ``response.steer`` and ``response.inject`` are supported. If not, they are unknown types like any
    other."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers that are added to the answer to the upgrade."""
    paths: Mapping[str, str | None] = MappingProxyType({"/v1/responses": None})
    """Where the API is, the usual place first; with each, the member of the query that it needs."""
    one_at_a_time: bool = False
    """Whether a request is refused that comes before the end of another one on its connection, and whether any request
    that fails removes the one response that the connection remembers. Such a server refuses ``stream_id``."""


SERVER_DIALECTS: Final[Mapping[str | None, ServerDialect]] = MappingProxyType(
    {
        "openai": ServerDialect(lanes=True, steering=True, headers={ANNOUNCEMENT: OPENAI.name}),
        None: ServerDialect(lanes=True, steering=True),
        "no-lanes": ServerDialect(lanes=False, steering=False),
        "azure": ServerDialect(
            lanes=False,
            steering=False,
            headers={ANNOUNCEMENT: AZURE.name},
            paths=MappingProxyType({"/openai/v1/responses": None, "/openai/responses": "api-version"}),
            one_at_a_time=True,
        ),
    }
)
"""The dialects, by the value of :attr:`ServerOptions.dialect`.

    ============== ========================== =============== ==================================================
    dialect        the upgrade's answer says  lanes, steering like
    ============== ========================== =============== ==================================================
    ``"openai"``   x-turnwire-dialect: openai yes             api.openai.com, which is known by its host name
    ``None``       nothing                    yes             a gateway that passes everything on
    ``"no-lanes"`` nothing                    no              aimock, fastresponses, vLLM gateways: ``stream_id`` is
                                                              accepted and ignored
    ``"azure"``    x-turnwire-dialect: azure  no              Azure OpenAI, which is known by its host name: one
                                                              response at a time; ``stream_id`` is refused; at
                                                              ``/openai/v1/responses``, or at
                                                              ``/openai/responses?api-version=…``
    ============== ========================== =============== ==================================================

Source: P-DIALECT-22.
"""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a server and of each connection, and its dialect. Raises UserError for a value out of its range.

    Those with a star are kept by the loopback server: a :class:`ServerConnection` does not see sockets.

    Options:
        max_message_size: Bytes of one message, after decompression; a longer one closes the connection with 1009. None:
            no limit.
        compression: Whether to accept permessage-deflate if the client offers it.
        lifetime: Seconds from the upgrade to ``websocket_connection_limit_reached``; None: no limit.
        close_timeout: Seconds to wait for the peer's close frame.
        max_in_flight: Turns that may run at the same time on one connection; the others wait.
        max_named_lanes: Different lane names that one connection may use in its life.
        max_remembered: Of how many lanes a connection's memory holds the latest response: of those that ended last.
            None: of all.
        max_waiting: How many requests may wait for their lane or for a slot; one more closes the connection.
        max_waiting_bytes: Bytes of the messages of all waiting requests. If more than one waits, exceeding it closes
            the connection.
        max_connections: * How many connections may be open; a request on one more gets 503. None: no limit.
        header_timeout: * Seconds for the head of an HTTP request, and for TLS before it; None: no limit.
        receive_timeout: * Seconds for the body of a request or for a message, and one more for each 10,000 bytes; None:
            no limit.
        send_timeout: * Seconds for which a client may leave an answer unread, and one more for each 10,000 bytes; None:
            no limit.
        idle_timeout: * Seconds without a request, on a connection without a turn; None: no limit.
        strict: Whether a request is refused that the API would refuse (PROTOCOL.md, "Strict mode").
        dialect: The kind of server: see :data:`SERVER_DIALECTS`.
    """

    max_message_size: int | None = DEFAULT_MESSAGE_LIMIT
    compression: bool = False
    lifetime: float | None = 3600.0
    close_timeout: float = 10.0
    max_in_flight: int = MAX_IN_FLIGHT
    max_named_lanes: int = MAX_NAMED_LANES
    max_remembered: int | None = None
    max_waiting: int = 1024
    max_waiting_bytes: int = 4 * DEFAULT_MESSAGE_LIMIT
    max_connections: int | None = 1000
    header_timeout: float | None = 60.0
    receive_timeout: float | None = 60.0
    send_timeout: float | None = 600.0
    idle_timeout: float | None = 3600.0
    strict: bool = False
    dialect: str | None = "openai"

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self, _RULES)


_BYTES: Final = "a whole number of bytes"
_RULES: Final[Mapping[str, Rule]] = {
    "max_message_size": Number(_BYTES, least=1, whole=True, optional=True),
    "compression": Instance(bool),
    "lifetime": Number(SECONDS, above=True, optional=True),
    "close_timeout": Number(SECONDS),
    "max_in_flight": Number(COUNT, least=1, whole=True),
    "max_named_lanes": Number(COUNT, whole=True),
    "max_remembered": Number(COUNT, whole=True, optional=True),
    "max_waiting": Number(COUNT, whole=True),
    "max_waiting_bytes": Number(_BYTES, whole=True),
    "max_connections": Number(COUNT, least=1, whole=True, optional=True),
    "header_timeout": Number(SECONDS, above=True, optional=True),
    "receive_timeout": Number(SECONDS, above=True, optional=True),
    "send_timeout": Number(SECONDS, above=True, optional=True),
    "idle_timeout": Number(SECONDS, above=True, optional=True),
    "strict": Instance(bool),
    "dialect": Choice(tuple(SERVER_DIALECTS)),
}

explain(ServerOptions, _RULES)
