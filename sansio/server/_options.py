"""What one connection of the server may be, and what kind of server it plays."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ..checks import COUNT, SECONDS, Choice, Instance, Number, Rule, check_fields
from ..dialect import ANNOUNCEMENT, DEFAULT_MESSAGE_LIMIT, OPENAI
from ..lanes import MAX_IN_FLIGHT, MAX_NAMED_LANES


class ServerDialect(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of server this is (PROTOCOL.md, "Dialects")."""

    lanes: bool
    """Whether ``stream_id`` names a lane and is echoed in each event. If not, it is ignored, whatever it is: responses
    run one after another, in the order in which their requests came, and no event carries one."""
    steering: bool
    """Whether ``response.steer`` and ``response.inject`` are known. If not, they are unknown types like any other."""
    headers: Mapping[str, str] = MappingProxyType({})
    """What the answer to the upgrade says about it."""


SERVER_DIALECTS: Final[Mapping[str | None, ServerDialect]] = MappingProxyType(
    {
        "openai": ServerDialect(lanes=True, steering=True, headers={ANNOUNCEMENT: OPENAI.name}),
        None: ServerDialect(lanes=True, steering=True),
        "no-lanes": ServerDialect(lanes=False, steering=False),
    }
)
"""The dialects, by what :attr:`ServerOptions.dialect` says.

    ============== ========================== =============== ==================================================
    dialect        the upgrade's answer says  lanes, steering like
    ============== ========================== =============== ==================================================
    ``"openai"``   x-turnwire-dialect: openai yes             api.openai.com, which is known by its host name
    ``None``       nothing                    yes             a gateway that passes everything on
    ``"no-lanes"`` nothing                    no              aimock, fastresponses, vLLM gateways: ``stream_id`` is
                                                              taken and ignored
    ============== ========================== =============== ==================================================
"""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one connection, and the dialect it speaks. Raises UserError for what cannot be one."""

    max_message_size: int | None = DEFAULT_MESSAGE_LIMIT
    """Bytes of one message, decompressed; a longer one closes with 1009. None is no limit."""
    compression: bool = False
    """Whether to agree to permessage-deflate when the client offers it."""
    lifetime: float | None = 3600.0
    """Seconds from the upgrade to ``websocket_connection_limit_reached``; None is for ever."""
    close_timeout: float = 10.0
    """Seconds to wait for the peer's half of the closing handshake."""
    max_in_flight: int = MAX_IN_FLIGHT
    max_named_lanes: int = MAX_NAMED_LANES
    max_waiting: int = 1024
    """Requests that wait for their lane or for a slot; one more closes the connection."""
    max_waiting_bytes: int = 4 * DEFAULT_MESSAGE_LIMIT
    """Bytes of the messages of all requests that wait; more, if more than one waits, closes the connection."""
    dialect: str | None = "openai"
    """What kind of server this is: see :data:`SERVER_DIALECTS`."""

    def __post_init__(self) -> None:
        """Refuse what no connection could keep to."""
        check_fields(self, _RULES)


_BYTES: Final = "a whole number of bytes"
_RULES: Final[Mapping[str, Rule]] = {
    "max_message_size": Number(_BYTES, least=1, whole=True, optional=True),
    "compression": Instance(bool),
    "lifetime": Number(SECONDS, above=True, optional=True),
    "close_timeout": Number(SECONDS),
    "max_in_flight": Number(COUNT, least=1, whole=True),
    "max_named_lanes": Number(COUNT, whole=True),
    "max_waiting": Number(COUNT, whole=True),
    "max_waiting_bytes": Number(_BYTES, whole=True),
    "dialect": Choice(tuple(SERVER_DIALECTS)),
}
