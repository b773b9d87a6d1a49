"""What one connection of the server may be, and what kind of server it plays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ..dialect import ANNOUNCEMENT, DEFAULT_MESSAGE_LIMIT, OPENAI
from ..errors import UserError
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
        for name, lowest in _COUNTS.items():
            check_count(f"ServerOptions.{name}", getattr(self, name), lowest, none=name == "max_message_size")
        check_seconds("ServerOptions.lifetime", self.lifetime, above=True, none=True)
        check_seconds("ServerOptions.close_timeout", self.close_timeout)
        check_choice("ServerOptions.compression", self.compression, (True, False))
        check_choice("ServerOptions.dialect", self.dialect, SERVER_DIALECTS)


_COUNTS: Final[Mapping[str, int]] = {
    "max_message_size": 1,
    "max_in_flight": 1,
    "max_named_lanes": 0,
    "max_waiting": 0,
    "max_waiting_bytes": 0,
}
"""The options that count something, and the least that each may be."""


# --- Checks of what a caller gives -----------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value as a message of an error shows it: its ``repr``, cut."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def check_count(name: str, value: object, lowest: int, *, none: bool = False) -> None:
    """Raise UserError unless ``value`` is an int of at least ``lowest`` (or None, if ``none``)."""
    if value is None and none:
        return
    if type(value) is not int or value < lowest:
        raise UserError(f"{name} is {shown(value)} — write an int of at least {lowest}{' or None' if none else ''}")


def check_seconds(name: str, value: object, *, above: bool = False, none: bool = False) -> None:
    """Raise UserError unless ``value`` is a finite number of seconds: at least 0, or more than 0 if ``above``."""
    if value is None and none:
        return
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number) or number < 0 or (above and number == 0):
        bound = "more than 0" if above else "at least 0"
        raise UserError(f"{name} is {shown(value)} — write a finite number, {bound}{', or None' if none else ''}")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise UserError unless ``value`` is one of ``choices``, and of its type."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise UserError(f"{name} is {shown(value)} — write one of {', '.join(map(repr, choices))}")
