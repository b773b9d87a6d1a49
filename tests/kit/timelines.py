"""Timelines of recordings, for the tests of what shows them."""

from __future__ import annotations

import json
from pathlib import Path

from turnwire.sansio.recording import (
    ConnectionTrack,
    Difference,
    EventMark,
    SessionTrack,
    Timeline,
    TurnPhase,
    TurnTrack,
)

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("demo-*.jsonl"))
EVIL = "</script><script>alert(1)</script>\x1b[31m\u2028<b>&amp;@DATA@"


def evil_timeline() -> Timeline:
    """A recording of a server and a caller who write what they like."""
    event = EventMark(
        at=1.5, type="x.delta", length=9, raw=json.dumps({"delta": EVIL}).encode() + b"\xff", connection=1
    )
    turn = TurnTrack(
        number=1,
        session=1,
        lane=EVIL,
        auto_lane=False,
        body={"input": EVIL},
        retrieval=None,
        began=1.0,
        waits=[TurnPhase(phase="STREAM", at=1.0, until=2.0, connection=1)],
        events=[event],
        ended=2.0,
        end="error",
        verdict="unsafe",
        failure="TurnError",
        text=EVIL,
    )
    link = ConnectionTrack(number=1, session=1, transport="websocket", endpoint=EVIL, began=0.5, ended=2.0, reason=EVIL)
    session = SessionTrack(
        number=1, began=0.5, wall=0.0, url=EVIL, options={EVIL: EVIL}, dialect=EVIL, turns=[turn], connections=[link]
    )
    difference = Difference(line=7, do="received", at=1.5, expected=EVIL, got="")
    return Timeline(
        began=0.5, ended=2.0, wall=0.0, turnwire="0.1.0", scrubbed=False, sessions=[session], difference=difference
    )
