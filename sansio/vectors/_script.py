"""What the scripts of one connection share, a WebSocket's and an HTTP connection's: turns by name, and most steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from ..connection import ConnectionOptions, Turn
from ..dialect import Dialect, Support
from ..endpoint import endpoint
from ..errors import UserError
from ..events import LifecycleEvent
from ..lanes import AUTO
from ..timeouts import NO_TIMEOUTS, Timeouts
from ._wire import ServerWire

__all__ = ["COMMON", "PLACE", "ConnectionScript", "end_of_turn", "given_lane", "given_options", "given_timeouts"]

PLACE = endpoint("https://example.org/v1")
"""Where every script connects to."""

Step = Callable[[Any, Any], "dict[str, Any] | None"]


def given_options(given: Mapping[str, Any]) -> ConnectionOptions:
    """The options of a vector; no time passes by itself unless it says so."""
    options: dict[str, Any] = {"timeouts": None, "ping_interval": None, **given.get("options", {})}
    if isinstance(options.get("dialect"), dict):
        options["dialect"] = _dialect(options["dialect"])
    return ConnectionOptions(**options)


def _dialect(members: dict[str, Any]) -> Dialect:
    """A dialect with the members that ``tables.json`` has; what is left out is that of an unknown server."""
    known: dict[str, Any] = {
        name: Support[value] if value in Support.__members__ else value for name, value in members.items()
    }
    return Dialect(**known)


def given_timeouts(given: Mapping[str, Any]) -> Timeouts:
    """Those of a turn."""
    return msgspec.convert(given["timeouts"], Timeouts) if "timeouts" in given else NO_TIMEOUTS


def given_lane(given: Mapping[str, Any]) -> Any:
    """A name, None, or any lane."""
    return AUTO if given.get("lane") == {"auto": True} else given.get("lane")


def end_of_turn(turn: Turn) -> dict[str, Any]:
    """How a turn has ended, without its name."""
    if turn.failure is None:
        return {"outcome": turn.ending.outcome, "response_id": turn.response_id}
    evidence = turn.failure.evidence
    return {
        "failed": evidence.cause.name,
        "phase": evidence.phase.name,
        "refusal": evidence.is_refusal,
        "verdict": evidence.verdict and evidence.verdict.name,
        "response_id": evidence.response_id,
    }


class ConnectionScript:
    """One connection, and its turns by the names that the vector gives them."""

    steps: ClassVar[Mapping[str, Step]] = {}
    """What can happen in a step, by the name of the member that says so; beside it a step has only ``now``."""
    connection: Any
    """A ResponsesConnection or an HttpConnection: both have the methods that are called here."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.turns: dict[str, Turn] = {}
        self._told: dict[str, Any] = {}
        """What was said of each turn that has ended, and of each input."""
        self.wire = ServerWire()

    def step(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Do a step; return its output."""
        self.moment = given.get("now", self.moment)
        ((name, value),) = ((name, value) for name, value in given.items() if name != "now")
        out: dict[str, Any] = {}
        try:
            out |= self.steps[name](self, value) or {}
        except UserError as exc:
            out["refused"] = type(exc).__name__
        events = self._events()
        if events:
            out["events"] = events
        changed = [said for name in self.names() if (said := self._news(name)) is not None]
        if changed:
            out["changed"] = changed
        out["state"] = self.connection.state.name
        out["deadline"] = self.connection.next_deadline()
        return out

    # -- what happened

    def names(self) -> list[str]:
        """Those of what can change, in order."""
        return list(self.turns)

    def _events(self) -> list[list[Any]]:
        found: list[list[Any]] = []
        for name, turn in self.turns.items():
            while turn.events:
                event = turn.events.popleft()
                of_response = isinstance(event, LifecycleEvent)
                found.append([name, event.type, event.response_id if of_response else None])
            turn.buffered = 0
            self.connection.restart_deadline(turn)
        return found

    def _news(self, name: str) -> dict[str, Any] | None:
        said = self.said_of(name)
        if said is None or self._told.get(name) == said:
            return None
        self._told[name] = said
        return said

    def said_of(self, name: str) -> dict[str, Any] | None:
        """What there is to say of a turn; None: it runs."""
        turn = self.turns[name]
        return {"turn": name, **end_of_turn(turn)} if turn.ended else None

    # -- the steps

    def cancel(self, name: str) -> None:
        """Its consumer leaves a turn."""
        self.connection.cancel(self.turns[name], self.moment)

    def connected(self, _: object) -> None:
        """The transport is connected."""
        self.wire = ServerWire()
        self.connection.transport_connected(self.moment)

    def raw(self, data: str) -> None:
        """These bytes arrive."""
        self.receive(bytes.fromhex(data))

    def receive(self, data: bytes) -> None:
        """Bytes arrive."""
        self.connection.receive_data(data, self.moment)
        while self.connection.has_unprocessed:
            self.connection.process(self.moment)

    def end_of_file(self, _: object) -> None:
        """The stream ends."""
        self.receive(b"")

    def transport_fails(self, reason: str) -> None:
        """The transport breaks."""
        self.connection.transport_failed(reason, self.moment)

    def expire(self, _: object) -> None:
        """A deadline may have passed."""
        self.connection.handle_deadline(self.moment)

    def close(self, _: object) -> None:
        """The owner ends the connection."""
        self.connection.close(self.moment)

    def hand(self, most: Any) -> dict[str, Any]:
        """What is to be sent is given to the transport."""
        sent: list[Any] = []
        while data := self.connection.data_to_send(1 if most == "one byte" else 65536, self.moment):
            sent += self.wire.read(data)
            if most == "one byte":
                break
        return {"sent": sent}


COMMON: Mapping[str, Step] = {
    "cancel": ConnectionScript.cancel,
    "connected": ConnectionScript.connected,
    "hand": ConnectionScript.hand,
    "bytes": ConnectionScript.raw,
    "end_of_file": ConnectionScript.end_of_file,
    "transport_fails": ConnectionScript.transport_fails,
    "expire": ConnectionScript.expire,
    "close": ConnectionScript.close,
}
"""The steps of both."""
