"""A recorded session with a runtime that does what a test says; and what its recording has."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from kit.driving import FakeRuntime
from kit.machines import steady, switching
from turnwire.sansio.connection import Turn
from turnwire.sansio.driver import Link
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.http import Retrieval
from turnwire.sansio.notices import Notices
from turnwire.sansio.record import Recording
from turnwire.sansio.recording import Entry, RecordedFile, Replay, Timeline, recorded_session
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.timeouts import DEFAULT_TIMEOUTS
from turnwire.sansio.websocket import WebSocket

__all__ = ["KEY", "PLACE", "RecordedRig", "entries"]

KEY = "sk-test-0123456789"
PLACE = Endpoint(
    "wss://server.test/v1/responses?token=query-secret-77&flag",
    (("Authorization", f"Bearer {KEY}"), ("OpenAI-Beta", "some=v1"), ("X-Short", "abc")),
)


class LogLines:
    """A logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: int, msg: str, /, *args: object) -> None:
        self.lines.append(msg % args)


class RecordedRig:
    """A session, recorded in :attr:`file`. ``now`` is a clock that a test moves."""

    def __init__(
        self,
        to: Any = None,
        *,
        place: Endpoint = PLACE,
        open_file: Callable[[str, str], Any] | None = None,
        retries: bool = True,
        recording: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.now = 100.0
        self.runtime = FakeRuntime()
        self.log = LogLines()
        self.file = io.BytesIO() if to is None else to
        self.recording = self.file if isinstance(self.file, Recording) else Recording(self.file, **(recording or {}))
        self.notices = Notices(self.log)
        self.session, self.driver = recorded_session(
            self.recording,
            open_file,
            self.runtime,
            lambda: place,
            None,
            options=SessionOptions(**options),
            notices=self.notices,
            wall_clock=lambda: 1_000_000.0 + self.now,
            retries_allowed=lambda: retries,
            random_bytes=steady,
        )
        self.server = WebSocket(client=False)

    @classmethod
    def connected(cls, *given: Any, **options: Any) -> RecordedRig:
        rig = cls(*given, **options)
        rig.driver.connect(rig.now)
        rig.accept()
        return rig

    @property
    def link(self) -> Link:
        return self.runtime.links[-1]

    def accept(self, more: str = "x-turnwire-dialect: openai\r\n") -> None:
        self.driver.opened(self.link, self.now)
        self.server = WebSocket(client=False)
        self.receive(switching(more=more))

    def receive(self, *data: bytes) -> None:
        self.driver.received(self.link, b"".join(data), self.now)

    def say(self, *events: dict[str, Any]) -> None:
        """One read with these events."""
        self.receive(*(self.server.text(json.dumps(event).encode()) for event in events))

    def lost(self, error: Any = None) -> None:
        self.driver.lost(self.link, error, self.now)

    def create(self, lane: str | None = None, **body: Any) -> Turn:
        return self.driver.create({"input": "x", **body}, lane=lane, now=self.now)

    def retrieve(self, response_id: str, **more: Any) -> Retrieval:
        turn = Retrieval(response_id, timeouts=DEFAULT_TIMEOUTS, now=self.now, **more)
        self.driver.submit(turn, self.now)
        return turn

    def close(self) -> None:
        """Close the session, and all that is open."""
        self.driver.abort(self.now)
        for link in self.driver.links:
            self.driver.lost(link, None, self.now)

    # -- the recording

    @property
    def contents(self) -> bytes:
        return self.file.getvalue()

    @property
    def entries(self) -> list[Entry]:
        return entries(self.contents)

    def replayed(self) -> Timeline:
        """The timeline; the replay does the same."""
        timeline = Replay(self.contents).run()
        assert timeline.difference is None, str(timeline.difference)
        return timeline


def entries(contents: bytes) -> list[Entry]:
    return [line.entry for line in RecordedFile(contents)]
