"""``python -m benchmarks`` runs: every benchmark, without the peers that may not be installed. No time is judged."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENTS = ["push-floor", "trio-floor", "turnwire", "turnwire-trio"]
TABLE = runpy.run_path(str(ROOT / "benchmarks" / "_targets.py"))
WITHOUT_SUBJECT = TABLE["WITHOUT_SUBJECT"]


def test_one_command_runs_every_benchmark_and_answers_for_every_target(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", ",".join(CLIENTS), "--json", str(file)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert {finding["target"] for finding in results["findings"]} == set(TABLE["TARGETS"]) - set(WITHOUT_SUBJECT)
    for target, why in WITHOUT_SUBJECT.items():
        assert re.search(rf"^{target} .* {why}$", ran.stdout, re.MULTILINE)
    assert set(results["measured"]["clients"]["median"]) == set(CLIENTS)
    assert all(cost > 0 for cost in results["measured"]["clients"]["median"]["turnwire"].values())
    ended = {one["attack"]: one["ended"] for one in results["measured"]["attacks"]}
    assert len(ended) > 40
    assert ended["endless-message"] == "LimitExceededError, UNSAFE, 1009"
    assert ended["extension"] == "LimitExceededError, UNSAFE"
    assert ended["queued"] == "TurnAbortedError, SAFE"


def test_the_targets_are_numbered() -> None:
    assert list(TABLE["TARGETS"]) == [f"T{number}" for number in range(1, len(TABLE["TARGETS"]) + 1)]
