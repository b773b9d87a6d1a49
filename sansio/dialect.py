"""What a server supports, as known or as seen: lanes, steering, limits, and the headers of its upgrade.

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
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from .checks import (
    BYTES,
    COUNT,
    MOST_AT_ONCE,
    MOST_BYTES,
    MOST_KEPT,
    Choice,
    Number,
    Rule,
    TextRule,
    TextsRule,
    check_fields,
    shown,
)
from .endpoint import is_of_handshake
from .errors import UserError
from .events import EVENT_TYPES, ServerEvent, UnknownEvent
from .events._roles import OUTCOME_PREFIXES, RESPONSE_MEMBERS
from .lanes import MAX_IN_FLIGHT, MAX_NAMED_LANES

__all__ = [
    "ANNOUNCEMENT",
    "AZURE",
    "CODEX",
    "DEFAULT_MESSAGE_LIMIT",
    "DIALECTS",
    "HOSTS",
    "NO_LANES",
    "OPENAI",
    "UNKNOWN",
    "Dialect",
    "LaneSupport",
    "Support",
    "announced_dialect",
    "dialect_of_host",
]

ANNOUNCEMENT: Final = "x-turnwire-dialect"
"""The header, in the answer to the upgrade, in which a server may name its dialect."""

DEFAULT_MESSAGE_LIMIT: Final = 16 * 1024 * 1024
"""The size limit in bytes of one client message, unless another is known (PROTOCOL.md, P-CONN-9)."""

INJECT_BETA: Final = "responses_multi_agent=v1"
"""The ``OpenAI-Beta`` value that ``response.inject`` needs (P-CLIENT-6)."""


class Support(enum.Enum):
    """Whether a server has a capability. For lanes, the table is at the top of the module."""

    UNKNOWN = "unknown"
    YES = "yes"
    NO = "no"


LaneSupport = Support
"""The former name of :class:`Support`."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of server supports (PROTOCOL.md, "Dialects").

    For a server of your own: ``Dialect(name="mine", lanes=Support.YES)``, or
    ``msgspec.structs.replace(OPENAI, name="mine", injecting=Support.YES)``.

    Raises:
        UserError: a value out of its range, or two that contradict each other.
        WrongTypeError: a value of another type.
    """

    name: str
    """For messages: 1 to 64 letters, digits, spaces and ``. _ -``."""
    lanes: Support = Support.UNKNOWN
    """Whether ``stream_id`` names a lane (P-DIALECT-3 to P-DIALECT-6)."""
    steering: Support = Support.UNKNOWN
    """Whether ``response.steer`` may be sent (P-DIALECT-14)."""
    injecting: Support = Support.UNKNOWN
    """Whether ``response.inject`` may be sent (P-DIALECT-14)."""
    max_in_flight: int | None = None
    """How many responses may be in flight at once on a connection, if it has lanes; None: as many as the options
    allow. Without lanes it is one (P-DIALECT-18)."""
    max_named_lanes: int | None = None
    """How many lane names a connection takes in its life; None: as many as the options allow (P-DIALECT-18)."""
    message_limit: int = DEFAULT_MESSAGE_LIMIT
    """The size limit in bytes of one client message; the server refuses a larger one with close code 1009."""
    betas: tuple[str, ...] = ()
    """The ``OpenAI-Beta`` values that every upgrade needs (P-DIALECT-12)."""
    inject_beta: str | None = INJECT_BETA
    """The ``OpenAI-Beta`` value that injecting needs: sent on the upgrade if ``injecting`` is YES."""
    keepalive_types: tuple[str, ...] = ()
    """Types of events by which the server says only that it is there (P-DIALECT-15)."""
    sticky_headers: tuple[str, ...] = ()
    """Headers of the answer to an upgrade that the next upgrade sends back (P-DIALECT-16). Names in lower case."""
    trace_member: str | None = None
    """The member of ``client_metadata`` that takes a ``traceparent``; None: none is sent (P-DIALECT-19)."""
    provider: str = "openai"
    """What spans and metrics call the provider, ``gen_ai.provider.name`` (P-DIALECT-21)."""

    def __post_init__(self) -> None:
        check_fields(self, DIALECT_RULES)
        msgspec.structs.force_setattr(self, "sticky_headers", tuple(name.lower() for name in self.sticky_headers))
        if (problem := _contradiction(self)) is not None:
            raise UserError(f"Dialect {self.name!r}: {problem}")

    @property
    def upgrade_betas(self) -> tuple[str, ...]:
        """The ``OpenAI-Beta`` values of an upgrade: those that it needs, and those of capabilities that are YES."""
        if self.injecting is not Support.YES or self.inject_beta is None or self.inject_beta in self.betas:
            return self.betas
        return (*self.betas, self.inject_beta)

    def keeps_alive(self, event: ServerEvent) -> bool:
        """Whether the event only keeps its turn alive: its type is listed, and it has no member of a response."""
        if not isinstance(event, UnknownEvent) or event.type not in self.keepalive_types:
            return False
        members = event.members
        return members is not None and not any(name in members for name in RESPONSE_MEMBERS)


_HEADER: Final = TextRule(
    "the name of a header, in letters, digits and hyphens",
    re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}"),  # RFC 9110, section 5.6.2
)
_TYPE: Final = TextRule("the type of an event, in visible ASCII", re.compile(r"[!-~]{1,256}"))
_BETA: Final = re.compile(r"[!-+\--~]{1,256}")

DIALECT_RULES: Final[Mapping[str, Rule]] = {
    "name": TextRule("1 to 64 letters, digits, spaces and . _ -", re.compile(r"[\w.-][\w. -]{0,63}", re.ASCII)),
    "lanes": Choice(tuple(Support)),
    "steering": Choice(tuple(Support)),
    "injecting": Choice(tuple(Support)),
    "max_in_flight": Number(COUNT, least=1, whole=True, optional=True, most=MOST_AT_ONCE),
    "max_named_lanes": Number(COUNT, least=1, whole=True, optional=True, most=MOST_KEPT),
    "message_limit": Number(BYTES, least=1, whole=True, most=MOST_BYTES),
    "betas": TextsRule(TextRule("a value of OpenAI-Beta, in visible ASCII without a comma", _BETA)),
    "inject_beta": TextRule("a value of OpenAI-Beta, in visible ASCII without a comma", _BETA, optional=True),
    "keepalive_types": TextsRule(_TYPE),
    "sticky_headers": TextsRule(_HEADER),
    "trace_member": TextRule(
        "a name of letters, digits and . _ -", re.compile(r"[\w.-]{1,64}", re.ASCII), optional=True
    ),
    "provider": TextRule("a name of letters, digits and . _ -", re.compile(r"[\w.-]{1,64}", re.ASCII)),
}
"""The range of each field of a dialect; a test compares it with the fields."""

_NEVER_STICKY: Final = frozenset(
    {"api-key", "authorization", "cookie", "openai-beta", "proxy-authorization", "set-cookie", "user-agent"}
)
"""Headers by which a server must not change what an upgrade says: credentials, and what else the caller decides."""


def _contradiction(dialect: Dialect) -> str | None:
    """What contradicts what in a dialect, and what to write; None: nothing does (P-DIALECT-20)."""
    if dialect.lanes is Support.NO:
        most = dialect.max_in_flight
        if most is not None and most > 1:
            return f"lanes is NO, and max_in_flight is {most}: without lanes write 1 or None, or lanes=Support.YES"
        if dialect.max_named_lanes is not None:
            return "lanes is NO, and max_named_lanes is given: leave it out, or write lanes=Support.YES"
    for kind in dialect.keepalive_types:
        if kind in EVENT_TYPES or kind in _ENDING or kind.startswith(OUTCOME_PREFIXES):
            return (
                f"keepalive_types has {kind!r}, which does more than to keep alive: write types that the API does not "
                "have, or one of keepalive, ping, rate_limits, response.heartbeat, response.metadata"
            )
    for name in dialect.sticky_headers:
        if name in _NEVER_STICKY or is_of_handshake(name):
            return (
                f"sticky_headers has {shown(name)}, which a server may not decide: write headers other than those of "
                f"the handshake and {', '.join(sorted(_NEVER_STICKY))}"
            )
    return None


_ENDING: Final = frozenset({"response.cancelled", "response.done"})
"""Types that the API does not have and that end a response (P-START-6)."""

OPENAI: Final = Dialect(
    name="openai",
    lanes=Support.YES,
    steering=Support.YES,
    max_in_flight=MAX_IN_FLIGHT,
    max_named_lanes=MAX_NAMED_LANES,
    trace_member="traceparent",
)
AZURE: Final = Dialect(
    name="azure",
    lanes=Support.NO,
    steering=Support.NO,
    injecting=Support.NO,
    max_in_flight=1,
    inject_beta=None,
    provider="azure.ai.openai",
)
CODEX: Final = Dialect(
    name="codex",
    betas=("responses_websockets=2026-02-06",),
    sticky_headers=("x-codex-turn-state",),
    trace_member="ws_request_header_traceparent",
)
NO_LANES: Final = Dialect(name="no-lanes", lanes=Support.NO, max_in_flight=1)
UNKNOWN: Final = Dialect(name="unknown")

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect for dialect in (OPENAI, AZURE, CODEX, NO_LANES, UNKNOWN)
}
"""The dialects, by the names that a server may announce (P-DIALECT-1)."""

HOSTS: Final = (
    ("api.openai.com", OPENAI),
    ("openai.azure.com", AZURE),
    ("services.ai.azure.com", AZURE),
    ("cognitiveservices.azure.com", AZURE),
    ("chatgpt.com", CODEX),
    ("x.ai", msgspec.structs.replace(UNKNOWN, provider="x_ai")),
)
"""Host names and their dialects; an entry also holds for the names below it (P-DIALECT-1)."""


def dialect_of_host(host: str) -> Dialect:
    """The dialect of a server by its host name; :data:`UNKNOWN` if the name is not in the list."""
    name = host.lower().rstrip(".")
    for known, dialect in HOSTS:
        if name == known or name.endswith("." + known):
            return dialect
    return UNKNOWN


def announced_dialect(headers: Mapping[str, str]) -> Dialect | None:
    """The dialect named in the answer to the upgrade; None if it names none, or one that is not known here.

    ``headers`` have lower-case names.

    Source: P-DIALECT-2.
    """
    return DIALECTS.get(headers.get(ANNOUNCEMENT, "").strip().lower())
