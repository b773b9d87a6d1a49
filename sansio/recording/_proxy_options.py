"""The limits of a recording proxy (RECORDING.md, F-PROXY-5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ..checks import COUNT, SECONDS, Number, Rule, check_fields
from ..option_help import explain

__all__ = ["ProxyOptions"]


class ProxyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a proxy and of each of its connections. Raises UserError for a value out of its range.

    Options:
        max_connections: How many clients may be connected; a request of one more gets 503. None: no limit.
        header_timeout: Seconds for the head of a request; None: no limit.
        connect_timeout: Seconds for TCP and TLS to the server; None: no limit.
        send_timeout: Seconds for which either side may leave what is there for it unread; None: no limit.
        idle_timeout: Seconds in which neither side sends anything; None: no limit.
    """

    max_connections: int | None = 1000
    header_timeout: float | None = 60.0
    connect_timeout: float | None = 30.0
    send_timeout: float | None = 600.0
    idle_timeout: float | None = 3600.0

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self, _RULES)


_LIMIT: Final = Number(SECONDS, above=True, optional=True)
_RULES: Final[Mapping[str, Rule]] = {
    "max_connections": Number(COUNT, least=1, whole=True, optional=True),
    "header_timeout": _LIMIT,
    "connect_timeout": _LIMIT,
    "send_timeout": _LIMIT,
    "idle_timeout": _LIMIT,
}

explain(ProxyOptions, _RULES)
