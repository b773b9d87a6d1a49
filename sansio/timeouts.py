"""How long each wait of a turn may take.

The promise
    A turn waits four times: for its lane, for a connection, for its message to be written, and for each event. Each
    wait has a limit, and so has the whole turn (PARITY A16). "Not given" and "no limit" are different values.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import Final, Protocol, TypeAlias

import msgspec

from .checks import MOST_SECONDS, SECONDS, Number
from .errors import WrongTypeError
from .omit import OMIT, Omit, is_omitted
from .option_help import explain

__all__ = ["DEFAULT_TIMEOUTS", "NO_TIMEOUTS", "HttpTimeouts", "Timeout", "Timeouts", "timeouts_from"]

_WAIT: Final = Number(SECONDS, optional=True, most=MOST_SECONDS)


class Timeouts(msgspec.Struct, frozen=True):
    """The limits, in seconds, of a turn's four waits and of the whole turn; None: no limit (PARITY A16).

    0 means "only if possible at once": something that is already available never times out. The defaults are
    PROTOCOL.md's ("Defaults").

    Raises:
        UserError: a negative number of seconds, one above 10**9 (about 31 years), or NaN.
        WrongTypeError: anything but a number or None.

    Options:
        lane: For the lane, a slot, and the choice of a connection.
        connect: For TCP, proxy, TLS and the answer to the handshake.
        send: For the transport to take the turn's message.
        receive: For each next event of the turn, counted from its last event, or from when its message was handed over.
            Keepalive events count as events of the turn; pongs, and events of other turns, do not.
        total: For the whole turn, including repetitions, counted from when it was made.

    Source: P-DEFAULT-1.
    """

    lane: float | None = None
    connect: float | None = 30.0
    send: float | None = 120.0
    receive: float | None = 600.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds = getattr(self, name)
            _WAIT.check(f"timeout {name!r}", seconds)
            if seconds == inf:
                msgspec.structs.force_setattr(self, name, None)


explain(Timeouts, dict.fromkeys(Timeouts.__struct_fields__, _WAIT))


class HttpTimeouts(Protocol):
    """An HTTP client's timeout object, such as ``httpx.Timeout``: the seconds of each phase; None: no limit."""

    @property
    def pool(self) -> float | None:
        """For a connection of the pool: for the lane, here."""
        ...

    @property
    def connect(self) -> float | None:
        """For the connection."""
        ...

    @property
    def write(self) -> float | None:
        """For sending."""
        ...

    @property
    def read(self) -> float | None:
        """For each next event."""
        ...


Timeout: TypeAlias = float | Timeouts | HttpTimeouts | Omit | None
"""What a ``timeout`` may be: seconds for each wait, :class:`Timeouts`, an HTTP client's timeout object, None for no
limit, or OMIT for the limits of the session."""

_HTTP_PHASES: Final = {"lane": "pool", "connect": "connect", "send": "write", "receive": "read"}
"""The waits of a turn, with their names in an HTTP client's timeout object."""


def timeouts_from(value: object, *, default: object = OMIT) -> Timeouts:
    """The timeouts that ``value`` means (PARITY A16). "Not given" and "no limit" are different values.

    Args:
        value: seconds for each wait; None for no limit; :class:`Timeouts`; an object with ``pool``, ``connect``,
            ``write`` and ``read`` (``httpx.Timeout``); or ``Omit`` or ``NotGiven``, which takes ``default``.
        default: used if ``value`` was not given, for example the client's ``timeout``; the same types. If it is not
            given either, the defaults of :class:`Timeouts` apply.

    Raises:
        UserError: a negative number of seconds, one above 10**9 (about 31 years), or NaN.
        WrongTypeError: anything else.

    Source: P-DEFAULT-2.
    """
    given = default if is_omitted(value) else value
    if is_omitted(given):
        return DEFAULT_TIMEOUTS
    if given is None:
        return NO_TIMEOUTS
    if isinstance(given, Timeouts):
        return given
    if isinstance(given, int | float):
        _WAIT.check("timeout", given)
        return Timeouts(given, given, given, given)
    if all(hasattr(given, phase) for phase in _HTTP_PHASES.values()):
        return Timeouts(**{name: getattr(given, phase) for name, phase in _HTTP_PHASES.items()})
    raise WrongTypeError(
        f"timeout is of type {type(given).__name__}: write seconds, None, Timeouts(lane=…, connect=…, send=…, "
        "receive=…, total=…), or an object with pool, connect, write and read"
    )


@lru_cache(64)
def shortest_wait(timeouts: Timeouts) -> float:
    """The shortest of the limits for waits after the turn was queued, in seconds."""
    return min(inf if limit is None else limit for limit in (timeouts.send, timeouts.receive))


DEFAULT_TIMEOUTS: Final = Timeouts()
"""Those that hold where nobody has given any (P-DEFAULT-1, P-DEFAULT-6)."""
NO_TIMEOUTS: Final = Timeouts(None, None, None, None, None)
"""Every wait without a limit (P-DEFAULT-11)."""
