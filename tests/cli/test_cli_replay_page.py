"""The page of ``turnwire replay --html`` in a browser: skipped where there is no Playwright or no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.timelines import EVIL, RECORDINGS, evil_timeline
from turnwire.aio.cli._page import page_of
from turnwire.sansio.recording import Replay

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright, for the page in a browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=request.param)
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    yield page
    assert page.problems == []
    page.close()


def show(page: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    page.goto(path.as_uri())


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_every_turn_is_a_bar_with_its_verdict(recording: Path, page: Any, tmp_path: Path) -> None:
    timeline = Replay(recording.read_bytes()).run()
    turns = timeline.sessions[0].turns
    show(page, tmp_path, page_of(timeline, recording.name))
    assert page.locator(".turn").count() == len(turns)
    assert page.locator(".verdict").count() == sum(turn.verdict is not None for turn in turns)
    assert page.locator(".link").count() == len(timeline.sessions[0].connections)
    assert page.locator(".notice.connection_lost").count() == 2
    dark = page.evaluate("document.documentElement.classList.contains('dark')")
    assert dark == page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_keys_select_zoom_and_search(page: Any, tmp_path: Path) -> None:
    timeline = Replay(RECORDINGS[-1].read_bytes()).run()
    show(page, tmp_path, page_of(timeline, "demo"))
    title = page.locator("#details h2")
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == "Turn 1"
    assert page.locator("#details .answer").inner_text() == "We fly to Oslo on Friday and stay two nights."
    page.keyboard.press("ArrowDown")
    assert title.inner_text() == "Turn 2"
    page.keyboard.press("n")
    assert page.locator("#details .badge.unsafe").inner_text() == "UNSAFE"
    shown = page.locator("#axis text").first.text_content()
    page.keyboard.press("Enter")
    assert page.locator("#axis text").first.text_content() != shown
    page.keyboard.press("0")
    assert page.locator("#axis text").first.text_content() == shown
    page.keyboard.press("/")
    page.keyboard.type("munch museum")
    assert page.locator(".turn:not(.dimmed)").count() == 1
    page.keyboard.press("Escape")
    assert page.locator(".turn.dimmed").count() == 0
    page.keyboard.press("Escape")
    assert title.inner_text() == "demo"
    was = page.evaluate("document.documentElement.classList.contains('dark')")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.classList.contains('dark')") != was
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_events_are_shown_on_hover_and_chosen_by_a_click(page: Any, tmp_path: Path) -> None:
    show(page, tmp_path, page_of(Replay(RECORDINGS[-1].read_bytes()).run(), "demo"))
    bar = page.locator("[data-turn='0'] .frame").bounding_box()
    last = page.evaluate("tracks.getBoundingClientRect().left + x(turns[0].events.at(-1)[0]) - 1")
    at = last, bar["y"] + bar["height"] / 2
    page.mouse.move(*at)
    assert page.locator("#tip b").inner_text() == "response.completed"
    page.mouse.click(*at)
    assert '"type": "response.completed"' in page.locator("#details details[open] pre").inner_text()


def test_the_wheel_zooms_about_the_pointer_and_dragging_moves(page: Any, tmp_path: Path) -> None:
    show(page, tmp_path, page_of(Replay(RECORDINGS[-1].read_bytes()).run(), "demo"))
    box = page.locator("#tracks").bounding_box()
    page.mouse.move(box["x"] + 500, box["y"] + 150)
    begin = page.evaluate("({...view})")
    page.mouse.wheel(0, -400)
    page.wait_for_function("begin => view.to - view.from < begin.to - begin.from", arg=begin)
    zoomed = page.evaluate("({...view})")
    page.mouse.move(box["x"] + 600, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 200, steps=4)
    page.mouse.up()
    moved = page.evaluate("({...view})")
    assert moved["from"] > zoomed["from"]
    assert moved["to"] - moved["from"] == pytest.approx(zoomed["to"] - zoomed["from"])


def test_what_a_server_wrote_is_text(page: Any, tmp_path: Path) -> None:
    show(page, tmp_path, page_of(evil_timeline(), EVIL))
    page.keyboard.press("ArrowRight")
    assert "alert(1)" in page.locator("#details").inner_text()
    assert page.locator("script").count() == 2
    assert "differs from the recording at line 7" in page.locator("#alert").inner_text()
