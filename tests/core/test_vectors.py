"""The vectors: what their sources say holds, the files are current, and turnwire passes them."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from kit.vectors import CASES, Case
from kit.vectors._case import lacks
from turnwire.sansio import vectors
from turnwire.sansio.tables import as_text
from turnwire.sansio.vectors import GROUPS, Vector, VectorError, mismatches, output_for
from turnwire.sansio.websocket import WORK_AT_ONCE

SPEC = Path(vectors.__file__).parents[1] / "spec"
WRITE = "TURNWIRE_WRITE_VECTORS"


@cache
def text_of(group: str) -> str:
    """The file of a group, made from its source."""
    made = [
        {
            "id": case.id,
            "what": case.what,
            "rules": list(case.rules),
            "input": case.input,
            "output": output_for(group, case.input),
        }
        for case in CASES
        if case.id.startswith(f"{group}/")
    ]
    return as_text({"format": vectors.VECTORS_FORMAT, "group": group, "vectors": made}) + "\n"


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_source_holds(case: Case) -> None:
    """V-FILE-4; V-FRAMES-1, V-ENCODE-1, V-HANDSHAKE-1, V-EVENTS-1, V-ERRORS-1, V-VERDICTS-1, V-HTTP-1, V-RECOVERY-1,
    V-URLS-1, V-PROXY-1, V-REQUESTS-1, V-SSE-1, V-CONNECTION-1 and -2, V-EXCHANGE-1 and -2, V-CONVERSATION-1 and -2,
    V-RECORDING-1, V-REPLAY-1, V-RECORDER-1, V-SCRUBBING-1: a case of each group.
    """
    assert lacks(case.must, output_for(case.id.partition("/")[0], case.input)) == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_file_is_current(group: str) -> None:
    path = SPEC / "vectors" / f"{group}.json"
    if os.environ.get(WRITE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text_of(group), encoding="utf-8")
    else:
        behind = f"{path.name} is behind: {WRITE}=1 python -m pytest tests/core/test_vectors.py"
        assert path.read_text(encoding="utf-8") == text_of(group), behind


@pytest.mark.parametrize("group", GROUPS)
def test_a_file_has_the_schema(group: str) -> None:
    """V-FILE-1, V-FILE-2."""
    schema = json.loads((SPEC / "vectors.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(text_of(group)), schema)


def test_each_id_is_there_once() -> None:
    """V-FILE-1."""
    assert [name for name, count in Counter(case.id for case in CASES).items() if count > 1] == []


# --- The door --------------------------------------------------------------------------------------------------------


def test_a_vector_knows_its_group() -> None:
    assert msgspec.convert({"id": "sse/a", "what": "", "input": {}, "output": {}}, Vector).group == "sse"


@pytest.mark.parametrize(
    ("group", "given", "words"),
    [
        ("lane", {}, "'lane' is no group: it is one of frames, "),
        ("frames", {}, "the input is none of group 'frames': KeyError('role')"),
        ("verdicts", {"phase": "LATE", "cause": "EOF"}, "KeyError('LATE')"),
        ("connection", {"steps": [{"wait": 1}]}, "KeyError('wait')"),
        ("recovery", {"policy": {"attempts": "x"}, "failure": {}, "random": 0}, "ValidationError"),
    ],
)
def test_what_cannot_be_read_is_said(group: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(VectorError) as caught:
        output_for(group, given)
    assert words in str(caught.value)


def test_more_frames_than_are_read_at_once() -> None:
    count = WORK_AT_ONCE + 1
    pings = "8900" * count
    assert output_for("frames", {"role": "client", "pieces": [pings]}) == {"items": [{"ping": ""}] * count}
    steps = [{"connected": True}, {"hand": "all"}, {"accepted": {}}, {"bytes": pings}, {"hand": "all"}]
    sent = output_for("connection", {"steps": steps})["steps"][-1]["sent"]
    assert sent[-1] == {"pong": ""}


@pytest.mark.parametrize(
    ("expected", "got", "found"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, ["output.a: expected 1, got true"]),
        ({"a": False}, {"a": 0}, ["output.a: expected false, got 0"]),
        ({"a": 1}, {"b": 1}, ["output.a: expected 1, and it is not there", "output.b: not expected, got 1"]),
        ([1, {"a": None}], [1, {"a": "x"}], ['output[1].a: expected null, got "x"']),
        ([1], [1, 2], ["output: expected 1 elements, [1]; got 2, [1,2]"]),
        (0.1 + 0.2, 0.3, []),
        ("x" * 300, "", [f'output: expected "{"x" * 199}…, got ""']),
    ],
)
def test_differences_are_found_where_they_are(expected: object, got: object, found: list[str]) -> None:
    """V-FILE-3."""
    assert mismatches(expected, got) == found
