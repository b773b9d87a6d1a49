"""Recordings of conversations: second messages, forks and compactions replay (F-DRAWN-1, F-LINE-2)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.driving import completed, created
from kit.recorded import RecordedRig
from turnwire.sansio.admission import new_turn
from turnwire.sansio.connection import Continuation, Turn
from turnwire.sansio.http import Compaction
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.omit import OMIT
from turnwire.sansio.timeouts import Timeouts

NOT_FOUND = {"type": "error", "status": 400, "error": {"code": "previous_response_not_found", "message": "No."}}


def submit(rig: RecordedRig, *, window: Any = ("old", "new"), forks: bool = False, **body: Any) -> Turn:
    follows = Continuation("r0", window, forks)
    given: dict[str, Any] = {"lane": AUTO, "timeouts": OMIT, "now": rig.now, "follows": follows}
    return rig.driver.submit(new_turn(rig.driver.session.options, body, **given), rig.now)


@pytest.mark.parametrize("recording", [{}, {"scrub": True}])
def test_a_turn_that_is_sent_in_full_replays(recording: Any) -> None:
    rig = RecordedRig.connected(recording=recording)
    turn = submit(rig, input=["new"], previous_response_id="r0")
    rig.say(NOT_FOUND)
    rig.say(created(), completed())
    assert turn.response is not None
    submit(rig, input=["new"], previous_response_id="r9", store=False, forks=True)
    rig.say(created(2), completed(2))
    submit(rig, input=["old", "new"], window=None)
    rig.close()
    kinds = [kind for entry in rig.entries for kind, _ in entry.drawn]
    assert kinds.count("in_full") == 2
    follows = [entry.follows for entry in rig.entries if entry.do == "submit"]
    assert follows == [("r0", False, True), ("r0", True, True), ("r0", False, False)]
    rig.replayed()


def test_a_compaction_replays() -> None:
    rig = RecordedRig.connected()
    compaction = Compaction({"model": "m", "input": []}, timeouts=Timeouts(), now=rig.now)
    rig.driver.submit(compaction, rig.now)
    rig.close()
    (line,) = [entry for entry in rig.entries if entry.do == "submit"]
    assert (line.compaction, json.loads(bytes(line.body))) == (True, {"model": "m", "input": []})
    rig.replayed()
