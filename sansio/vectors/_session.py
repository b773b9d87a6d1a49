"""A session whose network does what is asked at once: connections open, upgrades are accepted, bytes are taken.

It is for the groups that are scripts of a whole session. Only what a server says, when a connection ends, and the time
are the script's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..driver import Driver
from ..http import HttpConnection
from ..link import Link
from ..replay import RecoveryPolicy
from ..session import ResponsesSession, SessionOptions
from ..timeouts import Timeouts
from ..websocket import WebSocket
from ._connection import accepting, answering
from ._script import PLACE
from ._wire import ServerWire

__all__ = ["OF_THE_SERVER", "ScriptedNetwork", "ScriptedSession"]


class ScriptedNetwork:
    """A runtime. Links have numbers from 1, in the order in which they were opened."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.wires: list[ServerWire] = []
        self.sent: list[dict[str, Any]] = []
        """What servers have read since the last step."""
        self.opening: list[Link] = []
        self.closing: list[Link] = []

    def open(self, link: Link) -> None:
        self.links.append(link)
        self.wires.append(ServerWire())
        self.opening.append(link)

    def write(self, link: Link, data: bytes) -> bool:
        number = self.links.index(link)
        for item in self.wires[number].read(data):
            if "upgrade" not in item:
                item.get("request", {}).pop("headers", None)
                self.sent.append({"link": number + 1, **item})
        return True

    def pause(self, link: Link) -> None:
        """Nothing: what a server sends is read."""

    def resume(self, link: Link) -> None:
        """Nothing."""

    def close(self, link: Link, *, abort: bool) -> None:
        self.closing.append(link)

    def set_timer(self, when: float | None) -> None:
        """Nothing: the script says what time it is."""

    def wake(self, waiter: Any) -> None:
        """Nothing: every step looks at what has come."""


Made = Callable[[SessionOptions, ScriptedNetwork], tuple[ResponsesSession, Driver]]


def unrecorded(options: SessionOptions, network: ScriptedNetwork) -> tuple[ResponsesSession, Driver]:
    """A session and its driver; it draws nothing but zeros."""
    session = ResponsesSession(options=options, random_bytes=bytes)
    return session, Driver(session, network, lambda: PLACE)


class ScriptedSession:
    """One session, its network and the server at the other end."""

    def __init__(self, given: dict[str, Any], make: Made = unrecorded) -> None:
        options: dict[str, Any] = {"dialect": "openai", "timeouts": None, "ping_interval": None, **given}
        for name, kind in (("recovery", RecoveryPolicy), ("timeouts", Timeouts)):
            if options.get(name) is not None:
                options[name] = msgspec.convert(options[name], kind)
        self.network = ScriptedNetwork()
        self.options = SessionOptions(**options)
        self.session, self.driver = make(self.options, self.network)
        self.moment = 0.0

    # -- what happens by itself

    def settle(self) -> None:
        """Do what is asked, until nothing is."""
        network = self.network
        while network.opening or network.closing:
            if network.closing:
                self.driver.lost(network.closing.pop(0), None, self.moment)
            else:
                self._opened(network.opening.pop(0))

    def _opened(self, link: Link) -> None:
        self.driver.opened(link, self.moment)
        if not isinstance(link.connection, HttpConnection):
            self._arrives(link, accepting({}))

    # -- what a server does

    def messages(self, messages: list[Any], number: int | None) -> None:
        """The server sends these on a link: on the last that was opened, if none is named."""
        server = WebSocket(client=False)
        for message in messages:
            text = message.encode() if isinstance(message, str) else msgspec.json.encode(message)
            self._arrives(self._link(number), server.text(text))

    def answer(self, given: Any, number: int | None) -> None:
        """It answers a request."""
        self._arrives(self._link(number), answering(given))

    def cut(self, number: int | None) -> None:
        """The stream ends."""
        self._arrives(self._link(number), b"")

    def expire(self) -> None:
        """The timer has fired."""
        self.driver.time_came(self.moment)

    def _link(self, number: int | None) -> Link:
        return self.network.links[-1 if number is None else number - 1]

    def _arrives(self, link: Link, data: bytes) -> None:
        self.driver.received(link, data, self.moment)

    # -- what is said of it

    def sent(self) -> list[dict[str, Any]]:
        """What servers have read since the last call."""
        found, self.network.sent = self.network.sent, []
        return found


OF_THE_SERVER: Final[Mapping[str, Callable[[ScriptedSession, Any, int | None], None]]] = {
    "messages": ScriptedSession.messages,
    "answer": ScriptedSession.answer,
    "cut": lambda session, _, link: session.cut(link),
    "expire": lambda session, _, link: session.expire(),
}
"""What a step does that is none of a caller: by its name, with its value and the number of a link."""
