"""What a server supports, as known or as seen: lanes, and how large a message may be.

A capability is used only if the server is known or seen to have it (PROTOCOL.md, "Dialects"). The dialect is taken from
the first of these that gives one: the caller (``SessionOptions(dialect=…)``), the server's announcement in its answer
to the upgrade (:data:`ANNOUNCEMENT`), the host name.

Only the lanes capability is also learned from the events that arrive, because many servers accept ``stream_id`` and
ignore it. What is known about lanes has these states:

    ============ ================================================ ==================================================
    support      while it holds                                   moves to
    ============ ================================================ ==================================================
    UNKNOWN      at most one turn is in flight                    YES: a named turn's name came back on an event of a
                                                                  response
                                                                  NO: the first event of a named turn's response
                                                                  came without that name
    YES          turns run side by side                           NO: the first event of a named turn's response
                                                                  came without that name, and no name had come
                                                                  back on this connection before; or the server
                                                                  refuses a name that turnwire chose
    NO           turns run one after another, ``stream_id`` is    (it stays)
                 not sent, and every event belongs to the one in
                 flight
    ============ ================================================ ==================================================
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = [
    "ANNOUNCEMENT",
    "AZURE",
    "CODEX",
    "DEFAULT_MESSAGE_LIMIT",
    "DIALECTS",
    "NO_LANES",
    "OPENAI",
    "UNKNOWN",
    "Dialect",
    "LaneSupport",
    "announced_dialect",
    "dialect_of_host",
]

ANNOUNCEMENT: Final = "x-turnwire-dialect"
"""The header, in the answer to the upgrade, in which a server may name its dialect."""

DEFAULT_MESSAGE_LIMIT: Final = 16 * 1024 * 1024
"""The size limit in bytes of one client message, unless another is known (PROTOCOL.md, "Connection")."""


class LaneSupport(enum.Enum):
    """Whether a server has lanes; the table is at the top of the module."""

    UNKNOWN = "unknown"
    YES = "yes"
    NO = "no"


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of server supports."""

    name: str
    lanes: LaneSupport = LaneSupport.UNKNOWN
    message_limit: int = DEFAULT_MESSAGE_LIMIT
    """The size limit in bytes of one client message; the server refuses a larger one with close code 1009."""


OPENAI: Final = Dialect(name="openai", lanes=LaneSupport.YES)
AZURE: Final = Dialect(name="azure", lanes=LaneSupport.NO)
CODEX: Final = Dialect(name="codex")
NO_LANES: Final = Dialect(name="no-lanes", lanes=LaneSupport.NO)
UNKNOWN: Final = Dialect(name="unknown")

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect for dialect in (OPENAI, AZURE, CODEX, NO_LANES, UNKNOWN)
}
"""The dialects, by the names that a server may announce."""

_HOSTS: Final = (
    ("api.openai.com", OPENAI),
    ("openai.azure.com", AZURE),
    ("services.ai.azure.com", AZURE),
    ("cognitiveservices.azure.com", AZURE),
    ("chatgpt.com", CODEX),
)
"""Host names and their dialects; an entry also holds for the names below it."""


def dialect_of_host(host: str) -> Dialect:
    """The dialect of a server by its host name; :data:`UNKNOWN` if the name is not in the list."""
    name = host.lower().rstrip(".")
    for known, dialect in _HOSTS:
        if name == known or name.endswith("." + known):
            return dialect
    return UNKNOWN


def announced_dialect(headers: Mapping[str, str]) -> Dialect | None:
    """The dialect named in the answer to the upgrade; None if it names none, or one that is not known here.

    ``headers`` have lower-case names.
    """
    return DIALECTS.get(headers.get(ANNOUNCEMENT, "").strip().lower())
