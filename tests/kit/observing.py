"""A session whose observers write down what they are told, and the server's end of its newest link."""

from __future__ import annotations

import json
from typing import Any

from kit.driving import FakeRuntime
from kit.machines import ENDPOINT, answer, steady, switching
from turnwire.sansio.driver import Driver, Link
from turnwire.sansio.errors import TransportError
from turnwire.sansio.measures import Recorder
from turnwire.sansio.notices import LINES, Notice, Notices
from turnwire.sansio.replay import RecoveryPolicy
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.websocket import WebSocket

__all__ = ["Log", "ObservedDriver"]


class Log:
    """A logger: the lines of the log, with their levels."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.broken = False

    def log(self, level: int, msg: str, *args: object) -> None:
        if self.broken:
            raise RuntimeError("disk full")
        self.lines.append(f"{level} {msg % args}")


class ObservedDriver:
    """A driver whose session is observed, and the server's end of the newest link."""

    def __init__(self, tracers: Any = None, meters: Any = None, **options: Any) -> None:
        self.now = 100.0
        self.log = Log()
        self.told: list[Notice] = []
        self.runtime = FakeRuntime()
        self.notices = Notices(self.log)
        for name in LINES:
            self.notices.on(name, self.told.append)  # type: ignore[arg-type]
        options.setdefault("recovery", RecoveryPolicy(initial_delay=0.0))
        self.session = ResponsesSession(options=SessionOptions(**options), random_bytes=steady, notices=self.notices)
        self.recorder = Recorder(
            tracers, meters, wall_clock=lambda: 1e9 + self.now, endpoint=ENDPOINT, notices=self.notices
        )
        self.driver = Driver(self.session, self.runtime, lambda: ENDPOINT, self.recorder)
        self.server = WebSocket(client=False)

    @property
    def link(self) -> Link:
        return self.runtime.links[-1]

    def create(self, **body: Any) -> Any:
        return self.driver.create({"input": "x", **body}, now=self.now)

    def accept(self) -> None:
        self.driver.opened(self.link, self.now)
        self.server = WebSocket(client=False)
        self.driver.received(self.link, switching(more="x-turnwire-dialect: openai\r\n"), self.now)

    def reject(self, status: int) -> None:
        self.driver.opened(self.link, self.now)
        self.driver.received(self.link, answer(status), self.now)

    def say(self, *events: dict[str, Any]) -> None:
        texts = [self.server.text(json.dumps(event).encode()) for event in events]
        self.driver.received(self.link, b"".join(texts), self.now)

    def lost(self) -> None:
        self.driver.lost(self.link, TransportError("hush"), self.now)

    def names(self) -> list[str]:
        """What was told since this was last called."""
        told, self.told[:] = [notice.name for notice in self.told], []
        return told
