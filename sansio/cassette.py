"""A cassette: a script for the test server that answers as a recording says (RECORDING.md, "Cassettes").

::

    serve(reply=Cassette(Path("session.jsonl").read_bytes()))

The promise
    A request gets the events of the recorded turn whose request was equal, in the order of the recording if there are
    several, and at the recorded pace. A request that is equal to none raises UserError, which names the first
    difference to the turn that is next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from .checks import SECONDS, Number, shown
from .errors import UserError
from .recording import TurnTrack, timeline_of
from .server import Asked, Problem, Reply, Transcript

__all__ = ["Cassette"]

_IGNORED: Final = frozenset({"client_metadata", "stream", "stream_id", "type"})
"""Members of a request that are not compared: where it is sent, and who traces it."""
_SPEED: Final = Number(SECONDS.replace("seconds", "recorded seconds per second"), above=True, optional=True)


class _Recorded:
    """One recorded turn."""

    def __init__(self, track: TurnTrack, speed: float | None) -> None:
        self.track = track
        self.asked = _compared(track.body or {})
        self.used = False
        self._speed = speed

    def reply(self) -> Reply:
        """The answer. Raises UserError for a turn that has no end (F-CASSETTE-2)."""
        track = self.track
        refusal = (track.evidence or {}).get("refusal")
        if refusal is not None and not track.events:
            status, code, message = refusal["status"] or 500, refusal["code"] or "server_error", refusal["message"]
            return Reply(Problem(status, code, message or ""))
        if track.end in (None, "error", "left", "refused"):
            raise UserError(f"{self} has no end ({track.failure or 'the recording ends before it'}): give it a reply")
        events: list[dict[str, Any]] = []
        pauses: list[float] = []
        before = next((phase.at for phase in track.waits if phase.phase == "AWAIT"), track.began)
        for mark in track.events:
            events.append(msgspec.json.decode(mark.raw))
            pauses.append(0.0 if self._speed is None else max(0.0, mark.at - before) / self._speed)
            before = mark.at
        for event in events:
            event.pop("stream_id", None)
        return Reply(Transcript(events), latency=pauses)

    def __str__(self) -> str:
        return f"turn {self.track.number} of session {self.track.session} of the recording"


class Cassette:
    """See the top of the module. ``contents`` are those of a recording's file.

    ``speed`` is how many times faster than recorded the events come; None: at once. Of a scrubbed recording, requests
    are not compared: they are answered in order.

    Raises RecordingError for what is no recording, or cannot be replayed.

    Source: F-CASSETTE-1.
    """

    def __init__(self, contents: bytes, *, speed: float | None = 1.0) -> None:
        _SPEED.check("speed", speed)
        timeline = timeline_of(contents)
        if timeline.difference is not None:
            raise UserError(f"the recording cannot be replayed: {timeline.difference}")
        self._in_order = timeline.scrubbed
        tracks = [turn for session in timeline.sessions for turn in session.turns if turn.body is not None]
        self._turns = [_Recorded(track, speed) for track in sorted(tracks, key=lambda track: track.began)]

    def __call__(self, asked: Asked) -> Reply:
        """The reply to a request. A repeated request gets its reply again. Raises UserError if there is none."""
        body = _compared(asked.body)
        equal = [turn for turn in self._turns if self._in_order or turn.asked == body]
        unused = [turn for turn in equal if not turn.used]
        if unused:
            unused[0].used = True
            return unused[0].reply()
        if equal and not self._in_order:
            return equal[-1].reply()
        following = next((turn for turn in self._turns if not turn.used), None)
        if following is None:
            raise UserError(f"the recording has no more than {len(self._turns)} turns")
        place, recorded, given = cast("tuple[str, Any, Any]", _difference(following.asked, body, "body"))
        raise UserError(f"{following} asked otherwise: {place} was {shown(recorded)}, and is {shown(given)}")


def _compared(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _IGNORED}


def _difference(recorded: Any, given: Any, place: str) -> tuple[str, object, object] | None:
    """Where two JSON values differ first, and by what; None: they do not."""
    pairs: list[tuple[str, Any, Any]]
    if isinstance(recorded, dict) and isinstance(given, dict):
        one, other = cast("dict[str, Any]", recorded), cast("dict[str, Any]", given)
        pairs = [(f"{place}.{name}", one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])]
    elif isinstance(recorded, list) and isinstance(given, list):
        first, second = cast("list[Any]", recorded), cast("list[Any]", given)
        longest = max(len(first), len(second))
        padded = [[*each, *[None] * (longest - len(each))] for each in (first, second)]
        pairs = [(f"{place}[{index}]", *pair) for index, pair in enumerate(zip(*padded, strict=True))]
    else:
        return None if recorded == given else (place, cast("object", recorded), given)
    return next((found for at, one, other in pairs if (found := _difference(one, other, at)) is not None), None)
