"""The groups ``recording``, ``replay``, ``recorder`` and ``scrubbing``: the format of recordings (RECORDING.md)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..admission import new_turn
from ..connection import Turn
from ..driver import Driver
from ..endpoint import Endpoint, endpoint
from ..errors import UserError
from ..http import Retrieval
from ..notices import Notices
from ..omit import OMIT
from ..record import Recording
from ..recording import RecordedFile, Timeline, TurnTrack, recorded_session, timeline_of
from ..recording._scrub import JsonScrubber
from ..session import ResponsesSession, SessionOptions
from ..timeouts import NO_TIMEOUTS
from ._script import given_lane
from ._session import OF_THE_SERVER, ScriptedNetwork, ScriptedSession

__all__ = ["recorder", "recording", "replay", "scrubbing"]

_WALL: Final = 1_780_000_000.0
"""When every script begins, in seconds since the epoch."""


def _file_of(lines: list[Any]) -> bytes:
    """A file: JSON values are lines of their own, texts stand as they are, a character for a byte."""
    return b"".join(
        line.encode("latin-1") if isinstance(line, str) else msgspec.json.encode(line) + b"\n" for line in lines
    )


def recording(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader makes of a file (V-RECORDING-1)."""
    try:
        file = RecordedFile(_file_of(given["lines"]))
        entries = [[line.number, line.entry.do, len(line.data)] for line in file]
    except UserError as exc:
        return {"refused": type(exc).__name__}
    header: dict[str, Any] = {
        name: getattr(file.header, name) for name in ("kind", "wall", "outputs", "scrubbed", "max_bytes", "upstream")
    }
    return {"header": header, "entries": entries, "cut": file.cut}


def replay(given: Mapping[str, Any]) -> dict[str, Any]:
    """What happened in a recording (V-REPLAY-1)."""
    try:
        timeline = timeline_of(_file_of(given["lines"]))
    except UserError as exc:
        return {"refused": type(exc).__name__}
    differs = timeline.difference
    return {"cut": timeline.cut, "difference": None if differs is None else differs.line, "turns": _turns(timeline)}


def _turns(timeline: Timeline) -> list[dict[str, Any]]:
    return [_turn(turn) for session in timeline.sessions for turn in session.turns]


def _turn(turn: TurnTrack) -> dict[str, Any]:
    facts = ("number", "session", "lane", "retrieval", "transport", "response_id", "began", "ended", "end")
    return {
        **{name: getattr(turn, name) for name in facts},
        "verdict": _name(turn.verdict),
        "events": [[mark.type, mark.at, mark.read_at] for mark in turn.events],
        "repeats": [[_name(mark.reason), mark.at, mark.delay, _name(mark.verdict)] for mark in turn.repeats],
    }


def _name(value: str | None) -> str | None:
    """The name in ``tables.json`` of a verdict or a reason."""
    return None if value is None else value.upper()


# --- The recorder ----------------------------------------------------------------------------------------------------


class _RecordedScript:
    """A recorded session, and its turns by name."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._file = io.BytesIO()
        self._place = endpoint(
            given.get("base_url", "https://example.org/v1"),
            api_key=given.get("api_key"),
            headers=given.get("headers"),
            query=given.get("query"),
        )
        self._recording = Recording(self._file, max_bytes=given.get("max_bytes"))
        self._network = ScriptedSession(given.get("options", {}), self._made)
        self._turns: dict[str, Turn] = {}

    def _made(self, options: SessionOptions, network: ScriptedNetwork) -> tuple[ResponsesSession, Driver]:
        def place() -> Endpoint:
            return self._place

        return recorded_session(
            self._recording,
            None,
            network,
            place,
            None,
            options=options,
            notices=Notices(),
            wall_clock=lambda: _WALL,
            retries_allowed=lambda: True,
            random_bytes=bytes,
        )

    def step(self, given: Mapping[str, Any]) -> None:
        step = dict(given)
        network = self._network
        network.moment, link = step.pop("now", network.moment), step.pop("link", None)
        ((what, value),) = step.items()
        if what in OF_THE_SERVER:
            OF_THE_SERVER[what](network, value, link)
        else:
            _OF_A_CALLER[what](self, value)
        network.settle()

    def create(self, given: Mapping[str, Any]) -> None:
        network = self._network
        fields, lane = given.get("fields", {}), given_lane(given)
        turn = new_turn(network.options, fields, lane=lane, timeouts=OMIT, now=network.moment)
        self._turns[given["turn"]] = network.driver.submit(turn, network.moment)

    def retrieve(self, given: Mapping[str, Any]) -> None:
        turn = Retrieval(given["response_id"], timeouts=NO_TIMEOUTS, now=self._network.moment)
        self._turns[given["turn"]] = self._network.driver.submit(turn, self._network.moment)

    def read(self, name: str) -> None:
        """Its consumer takes what has come, and waits for more."""
        turn, now = self._turns[name], self._network.moment
        while turn.events:
            turn.next_event()
        self._network.driver.listen(turn, object(), lambda: now)

    def cancel(self, name: str) -> None:
        self._network.driver.cancel(self._turns[name], self._network.moment)

    def close(self, _: object) -> None:
        self._network.driver.close(self._network.moment, wait_for_peer=False)

    def drain(self, timeout: float) -> None:
        self._network.driver.drain(self._network.moment, timeout)

    def result(self) -> dict[str, Any]:
        contents = self._file.getvalue()
        timeline = timeline_of(contents)
        header, *lines = [msgspec.json.decode(line) for line in contents.splitlines() if line.startswith(b"{")]
        header.pop("turnwire")
        for line in lines:
            for name in _OF_THE_CORE:
                line.pop(name, None)
            headers = line.get("endpoint", {}).get("headers", [])
            headers[:] = [[name.lower(), value] for name, value in headers if name.lower() != "user-agent"]
        return {"header": header, "lines": lines, "turns": _turns(timeline)}


_OF_THE_CORE: Final = ("out", "drawn")
"""Members that tell what the core did, or asked for: another core's may be others."""
_OF_A_CALLER: Final[Mapping[str, Callable[[_RecordedScript, Any], None]]] = {
    "create": _RecordedScript.create,
    "retrieve": _RecordedScript.retrieve,
    "read": _RecordedScript.read,
    "cancel": _RecordedScript.cancel,
    "close": _RecordedScript.close,
    "drain": _RecordedScript.drain,
}


def recorder(given: Mapping[str, Any]) -> dict[str, Any]:
    """The lines that a recorder writes (V-RECORDER-1)."""
    script = _RecordedScript(given)
    for step in given["steps"]:
        script.step(step)
    return script.result()


# --- Scrubbing -------------------------------------------------------------------------------------------------------


class _Numbered(JsonScrubber):
    """Ids are numbers here, in the order in which they first came: which others stand for them is chance."""

    def __init__(self) -> None:
        super().__init__(bytes(16))
        self._made: dict[bytes, bytes] = {}

    def identity(self, given: bytes) -> bytes:
        made = super().identity(given)
        if made != given:
            self._made.setdefault(made, b"<%d:%d>" % (len(self._made) + 1, len(made)))
        return made

    def shown(self, text: bytes) -> str:
        """A scrubbed text, with the number and the length of each id in place of it."""
        for made, stands in self._made.items():
            text = text.replace(made, stands)
        return text.decode()


def scrubbing(given: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in place of the texts of one recording (V-SCRUBBING-1)."""
    scrubber, of_server = _Numbered(), given.get("of_server", True)
    scrub = scrubber.line if given.get("stream") else scrubber.message
    return {"texts": [scrubber.shown(scrub(text.encode(), of_server=of_server)) for text in given["texts"]]}
