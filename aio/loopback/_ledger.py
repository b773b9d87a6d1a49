"""The ledger of the loopback server: every request that it ran or refused, and how each ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final, Literal, TypeAlias, cast

from ...sansio.secret import Secret
from ...sansio.server import RefusedRequest, RequestFacts, ServerTurn, facts_of, response_id, tool_names

__all__ = ["FIELDS", "Delivery", "Ledger", "LedgerEntry", "masked"]

Delivery: TypeAlias = Literal["websocket", "sse", "http"]
"""How a response is delivered: as WebSocket messages, as server-sent events, or as one JSON body."""


class _Observed:
    """A base for what is no field: not shown, not compared, not written as JSON."""

    __slots__ = ("on_end",)

    on_end: Callable[[LedgerEntry], object] | None
    """Called when the outcome is written; not set: nobody is."""


@dataclass(slots=True)
class LedgerEntry(_Observed):
    """One request. The server ran it: it had received all of it, found it valid, and begun to answer. Or it was
    ``refused``: then it is not in ``server.ledger``, but in ``server.requests``."""

    # More than 12 attributes: a record, of which each assertion reads a few.

    number: int
    """Its place in the order of starting, from 1. The response's id is made of it. 0 if it was refused."""
    transport: Delivery
    """How it was answered: ``websocket``, ``sse`` or ``http`` (one JSON body)."""
    connection: int
    """The number of the connection that it came on, in the order of accepting, from 1."""
    request: int
    """Its number among the requests of that connection, from 1."""
    lane: str | None
    """The request's ``stream_id``; None for the default lane, and over HTTP."""
    response_id: str
    """The id of the response; empty if the request was refused."""
    previous_response_id: str | None
    """The response that the request continued."""
    marker: str | None
    """The request's ``metadata["marker"]``."""
    metadata: Mapping[str, Any]
    """The request's ``metadata``."""
    input: object
    """The request's ``input``."""
    fingerprint: str
    """SHA-256 of the request's body without ``type`` and ``stream_id``, in hexadecimal; equal for equal bodies."""
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    """All of the request but ``type`` and ``stream_id``; None if it was no object that can be read."""
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Those of the HTTP request, or of the upgrade; names in lower case. The value of one that holds a credential is a
    :class:`~turnwire.sansio.secret.Secret`: equal to its text, and not shown."""
    tools: Sequence[str] = ()
    """The names of the request's tools; of a tool without a name, its type."""
    injected: Sequence[Mapping[str, Any]] = ()
    """The items that the client has injected into the response, in their order."""
    started: float = 0.0
    """When it started, or was refused, in seconds since 1970."""
    ended: float | None = None
    """When its outcome was known."""
    events: int = 0
    """How many of its events were sent."""
    outcome: str = "running"
    """How the turn ended: ``completed``, ``incomplete``, ``failed``, or ``error`` (an ``error`` frame). Or what ended
    it: ``cut``, ``closed`` or ``silenced`` by a fault, ``disconnected`` by the client, ``shutdown`` by the end of the
    server, ``expired`` by the end of the connection's lifetime, ``dropped`` because the client was too slow or
    broke the protocol, ``crashed`` by a bug of the server, which is logged. Or ``refused``: it did not run."""
    code: str | None = None
    """The ``code`` of the error, if it was refused, if the response failed, or if it ended with an ``error``."""
    message: str | None = None
    """The text of that error."""

    def end(self, outcome: str, error: Mapping[str, Any] | None = None) -> None:
        """Write the outcome, and the error if there was one."""
        self.outcome, self.ended = outcome, time.time()
        if error is not None:
            self.code, self.message = error.get("code"), error.get("message")
        on_end: Callable[[LedgerEntry], object] | None = getattr(self, "on_end", None)
        if on_end is not None:
            on_end(self)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON, with ``***`` for each credential in the headers and in the tools of the body.

        Source: P-CONTROL-6.
        """
        values = {name: getattr(self, name) for name in FIELDS}
        headers = {name: _MASK if isinstance(value, Secret) else value for name, value in self.headers.items()}
        return {**values, "headers": headers, "body": None if self.body is None else _without_credentials(self.body)}


FIELDS: Final = tuple(each.name for each in fields(LedgerEntry))
"""What an entry has to say."""
_MASK: Final = "***"


def _without_credentials(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body; ``authorization`` and the values of ``headers`` of its MCP tools masked."""
    tools = body.get("tools")
    if not isinstance(tools, list):
        return {**body}
    return {**body, "tools": [_masked_tool(tool) for tool in cast("list[object]", tools)]}


def _masked_tool(tool: object) -> object:
    if not isinstance(tool, dict):
        return tool
    members = cast("dict[str, object]", tool)
    headers = members.get("headers")
    masked_headers = (
        {"headers": dict.fromkeys(cast("dict[str, object]", headers), _MASK)} if isinstance(headers, dict) else {}
    )
    return {**members, **masked_headers, **({"authorization": _MASK} if members.get("authorization") else {})}


class Ledger:
    """The entries, and what makes new ones."""

    def __init__(self, limit: int | None) -> None:
        self.entries: list[LedgerEntry] = []
        """What was run, in the order of starting: all, or the newest ``limit``."""
        self.requests: list[LedgerEntry] = []
        """The same, and what was refused."""
        self.listeners: set[Callable[[str, LedgerEntry | None], object]] = set()
        """Called with ``started``, ``ended`` or ``refused`` and the entry, and with ``reset`` and None."""
        self._limit = limit
        self._started = 0

    def reset(self) -> None:
        """Forget all entries, and count from 1 again."""
        for entry in self.requests:
            entry.on_end = None
        self.entries.clear()
        self.requests.clear()
        self._started = 0
        self._tell("reset", None)

    def enter(
        self, turn: ServerTurn, delivery: Delivery, connection: int, marker: str | None, headers: Mapping[str, str]
    ) -> LedgerEntry:
        """Add an entry for a turn that runs from now on."""
        self._started += 1
        entry = _entry(turn.request, delivery, connection, turn.number, turn.lane, headers, turn.facts)
        entry.number, entry.response_id, entry.marker = self._started, response_id(self._started), marker
        entry.injected = turn.injected.items
        self._add(self.entries, entry)
        self._add(self.requests, entry)
        entry.on_end = partial(self._tell, "ended")
        self._tell("started", entry)
        return entry

    def refuse(self, refused: RefusedRequest, delivery: Delivery, connection: int, headers: Mapping[str, str]) -> None:
        """Add an entry for a request that is not run."""
        entry = _entry(
            refused.request or {}, delivery, connection, refused.number, refused.lane, headers, refused.facts
        )
        entry.body = refused.request
        entry.end("refused", refused.problem.body())
        self._add(self.requests, entry)
        self._tell("refused", entry)

    def _tell(self, what: str, entry: LedgerEntry | None) -> None:
        for listener in list(self.listeners):
            listener(what, entry)

    def _add(self, entries: list[LedgerEntry], entry: LedgerEntry) -> None:
        entries.append(entry)
        if self._limit is not None:
            del entries[: max(0, len(entries) - self._limit)]


def _entry(
    request: Mapping[str, Any],
    delivery: Delivery,
    connection: int,
    number: int,
    lane: str | None,
    headers: Mapping[str, str],
    facts: RequestFacts | None,
) -> LedgerEntry:
    return LedgerEntry(
        number=0,
        transport=delivery,
        connection=connection,
        request=number,
        lane=lane,
        response_id="",
        previous_response_id=request.get("previous_response_id"),
        marker=None,
        metadata=request.get("metadata") or {},
        input=request.get("input"),
        fingerprint=(facts or facts_of(request)).fingerprint,
        body=request,
        headers=masked(headers),
        tools=tool_names(request.get("tools")),
        started=time.time(),
    )


_CREDENTIAL: Final = re.compile("auth|key|token|cookie|secret|sec-websocket-protocol")
"""In the names of headers. A page that cannot set ``Authorization`` puts its key into a subprotocol."""
_HANDSHAKE: Final = frozenset({"sec-websocket-key"})


def masked(headers: Mapping[str, str]) -> dict[str, str | Secret]:
    """The headers; the values of those whose names speak of credentials as secrets. ``sec-websocket-key`` is none."""
    return {
        name: Secret(value) if _CREDENTIAL.search(name) and name not in _HANDSHAKE else value
        for name, value in headers.items()
    }
