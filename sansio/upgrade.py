"""The headers of an upgrade besides those of its endpoint: betas of the dialect, and headers that a server made sticky.

The promise
    A header that the caller gives is sent as it is given, and once. A value that a server made sticky goes back to the
    origin that it came from, and to no other; it is a :class:`~turnwire.sansio.secret.Secret`, for it may be a
    credential. What a server gives is bounded: a value above :data:`MAX_STICKY` is not kept.

Where a sticky value is
    ::

        the answer to an upgrade ──► its connection ──► the session ──► the next connection ──► its upgrade
                                       │ takes no more turns,  │ one is opened
                                       │ or has ended          │
                                       └─ its replacement takes the value directly

    So at most one connection of a session sends a value at a time. An upgrade that the server refuses for good loses
    the values that it sent: they may be the reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Protocol, TypeAlias

from .dialect import Dialect
from .endpoint import Endpoint
from .evidence import GATEWAY_STATUSES
from .secret import Secret

__all__ = ["MAX_STICKY", "Headers", "StickyValues", "kept_after", "kept_after_refusal", "upgrade_headers"]

Headers: TypeAlias = tuple[tuple[str, Secret], ...]
"""Names and values of headers."""

MAX_STICKY: Final = 4096
"""Characters of a sticky value. A longer one could make every later upgrade too large for the server."""

BETA: Final = "openai-beta"


def upgrade_headers(endpoint: Endpoint, dialect: Dialect, sticky: Headers) -> Headers:
    """The headers of an upgrade to this endpoint: its own, the betas of the dialect, and the sticky values.

    A beta whose feature (the part before ``=``) is in the caller's own ``OpenAI-Beta`` is not added; others are added
    to that header, so that there is one. A sticky header that the caller gives itself is not sent.
    """
    own = {name.lower() for name, _ in endpoint.headers}
    return (
        *_with_betas(endpoint.headers, dialect.upgrade_betas),
        *((name, value) for name, value in sticky if name not in own),
    )


def _with_betas(headers: Headers, betas: Iterable[str]) -> Headers:
    # P-DIALECT-12, P-DIALECT-13.
    given = next(((name, value.reveal()) for name, value in headers if name.lower() == BETA), ("OpenAI-Beta", ""))
    values = [value.strip() for value in given[1].split(",") if value.strip()]
    features = {_feature(value) for value in values}
    added = [beta for beta in betas if _feature(beta) not in features]
    if not added:
        return headers
    others = [(name, value) for name, value in headers if name.lower() != BETA]
    return (*others, (given[0], Secret(", ".join((*values, *added)))))


def _feature(beta: str) -> str:
    return beta.partition("=")[0].strip().lower()


def kept_after(sticky: Headers, answer: Mapping[str, str], dialect: Dialect) -> Headers:
    """The sticky values after an upgrade that was accepted: those of the answer, and those sent that it does not name.

    ``sticky`` are the values that were sent; ``answer`` has lower-case names.

    Source: P-DIALECT-16.
    """
    kept = dict(sticky)
    for name in dialect.sticky_headers:
        value = answer.get(name, "")
        if 0 < len(value) <= MAX_STICKY:
            kept[name] = Secret(value)
    return tuple(kept.items())


def kept_after_refusal(sticky: Headers, status: int | None) -> Headers:
    """The sticky values after an upgrade that failed: none, if it was refused for good, which they may have caused.

    ``status`` is that of the answer; None: there was none.

    Source: P-DIALECT-17.
    """
    return sticky if status is None or status in GATEWAY_STATUSES else ()


class StickyConnection(Protocol):
    """What is needed of a connection here."""

    endpoint: Endpoint
    sticky: Headers
    """The values that its upgrade sends; after its answer, those that the next upgrade sends."""

    @property
    def accepts_turns(self) -> bool:
        """Whether a new turn may be given to it."""
        ...


class StickyValues:
    """The sticky values of a session's former connections, for the connections that are opened next.

    ``most``: for how many connections values are kept; those of the oldest are dropped first.

    Source: P-DIALECT-17.
    """

    def __init__(self, most: int) -> None:
        self._kept: deque[tuple[Endpoint, Headers]] = deque(maxlen=most)

    def leave(self, connection: StickyConnection) -> None:
        """Take the values of a connection, once it takes no more turns."""
        if connection.sticky and not connection.accepts_turns:
            self._kept.append((connection.endpoint, connection.sticky))
            connection.sticky = ()

    def give(self, connection: StickyConnection, replaced: StickyConnection | None) -> None:
        """Give a new connection the values of the one that it replaces, else the oldest ones of its origin."""
        if replaced is not None and replaced.sticky:
            connection.sticky, replaced.sticky = replaced.sticky, ()
            return
        for kept in self._kept:
            if kept[0].origin == connection.endpoint.origin:
                self._kept.remove(kept)
                connection.sticky = kept[1]
                return
