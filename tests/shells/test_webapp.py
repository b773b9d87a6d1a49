"""A web application under uvicorn on one session: browsers that stay, browsers that leave, a server that is killed."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

from turnwire.sansio.replay import RecoveryPolicy

ROOT = Path(__file__).parents[2]
BROWSERS = 60
SOON = RecoveryPolicy(attempts=20, initial_delay=0.02, max_delay=0.2)


def test_many_browsers_of_which_a_third_leaves_while_the_server_is_killed_twice(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    webapp = importlib.import_module("benchmarks.webapp")
    report = asyncio.run(webapp.play(BROWSERS, SOON))
    assert report.wrong == []
    assert (report.right, report.left) == (BROWSERS * 2 // 3, BROWSERS // 3)
    assert report.told_safe_and_ran == [], "I3"
    assert report.told_run_and_did_not == []
    assert report.ran_twice == [], "I5"
    assert report.ran_untold == [], "each turn that ran was told of"
    assert report.outcomes["completed"] >= report.right
    assert report.over_http == 0, "though the server was gone for a while"
    assert report.at_once == webapp.CONNECTIONS * webapp.LANES, "a lane is stuck"
    assert 1 < report.most_open <= webapp.CONNECTIONS
    assert report.attempts > BROWSERS, "nobody noticed that the server was killed"
