"""``turnwire replay``: a recording as text and as a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from kit.timelines import EVIL, RECORDINGS, evil_timeline
from turnwire.aio.cli import main
from turnwire.aio.cli._demo_view import Paint
from turnwire.aio.cli._page import page_of
from turnwire.aio.cli._timeline_view import bars, moments
from turnwire.sansio.recording import Replay


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.stem)
def recording(request: pytest.FixtureRequest) -> Path:
    return request.param


class Page(HTMLParser):
    """What a browser makes of the page: its scripts, and its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", {}))


def test_the_timeline_is_shown(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording)]) == 0
    out = capsys.readouterr().out
    for verdict in ("SAFE", "AMBIGUOUS", "UNSAFE"):
        assert re.search(rf"turn \d+ {verdict}, error: \d+ events", out)
    assert re.search(r"planner +turn 1: response.created, \d+ ms after its begin", out)
    assert "10 times response.output_text.delta “We fly to Oslo on Friday" in out
    assert "is repeated in 1 s (rate_limit)" in out
    assert "response.content_part.added" not in out
    assert "\x1b" not in out
    assert re.search(r"^planner +.*▒█+", out, re.M)


def test_verbose_has_a_line_for_each_event(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--verbose", str(recording)]) == 0
    timeline = Replay(recording.read_bytes()).run()
    events = sum(len(turn.events) for session in timeline.sessions for turn in session.turns)
    assert len(re.findall(r"^ +[\d.]+ s  .*turn \d+: response\.", capsys.readouterr().out, re.M)) == events


def test_check_says_that_it_is_identical(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--check", str(recording)]) == 0
    assert "replayed identically" in capsys.readouterr().out


def test_at_a_speed_nothing_else_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(RECORDINGS[0])]) == 0
    at_once = capsys.readouterr().out
    assert main(["replay", "--speed", "100000", str(RECORDINGS[0])]) == 0
    assert capsys.readouterr().out == at_once


def test_a_replay_that_differs_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = RECORDINGS[0].read_bytes().splitlines(keepends=True)
    number = next(index for index, line in enumerate(lines) if b'"write"' in line)
    changed = re.sub(
        rb'\["write",(\d+),(\d+)', lambda found: b'["write",%s,9%s' % found.groups(), lines[number], count=1
    )
    path = tmp_path / "changed.jsonl"
    path.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
    assert main(["replay", "--check", str(path)]) == 3
    assert f"line {number + 1} " in capsys.readouterr().err
    assert main(["replay", str(path), "--html", str(tmp_path / "page.html")]) == 3
    assert '"difference":{"line":' in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"{}\n",
        b"no recording\n",
        b'{"turnwire_recording":99}\n',
        b"\xff\xfe\n",
        b'{"turnwire_recording":1}\n{"do":"received"}\n',
    ],
)
def test_what_is_no_recording_is_said_in_one_line(
    contents: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(contents)
    assert main(["replay", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"turnwire replay: .+\n", err)


def test_a_file_that_is_not_there_and_a_page_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path / "none")]) == 1
    assert "cannot read" in capsys.readouterr().err
    assert main(["replay", str(RECORDINGS[0]), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot write" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["replay", "--speed", "nan", str(RECORDINGS[0])])


def test_the_page_is_one_file_that_loads_nothing(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["replay", str(recording), "--html", str(out)]) == 0
    page = Page(out.read_text())
    assert not [
        attributes for _, attributes in page.elements if {"src", "href", "style", "onclick"} & attributes.keys()
    ]
    data = json.loads(page.scripts[0])
    timeline = Replay(recording.read_bytes()).run()
    assert [len(one["turns"]) for one in data["sessions"]] == [len(one.turns) for one in timeline.sessions]
    assert data["sessions"][0]["turns"][0]["began"] >= 0
    assert data["difference"] is None


def test_texts_of_a_recording_cannot_become_markup_or_control_the_terminal() -> None:
    timeline = evil_timeline()
    text = page_of(timeline, EVIL)
    page = Page(text)
    assert len(page.scripts) == 2
    assert json.loads(page.scripts[0])["sessions"][0]["turns"][0]["text"] == EVIL
    assert [name for name, _ in page.elements if name in ("b", "script")] == ["script", "script"]
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    said = [moment.text + moment.who for moment in moments(timeline)] + bars(timeline, 80, Paint(enabled=False))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(said))


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(
    columns: int, recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["replay", str(recording)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < columns
    assert lines[-1].endswith("! unsafe")
    assert any(re.search(r"#1 +open, after" if columns < 64 else r"connection 1 +open, after", line) for line in lines)


def test_bars_are_as_wide_as_asked_for() -> None:
    for width in (40, 79, 200):
        for timeline in (evil_timeline(), Replay(RECORDINGS[0].read_bytes()).run()):
            assert max(map(len, bars(timeline, width, Paint(enabled=False)))) <= width
