"""The shells, as one: what every test of behaviour runs against."""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import pytest
from kit.shells import BACKENDS, Backend


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
def shell(backend: Backend) -> ModuleType:
    """The module with ``connect``, ``SessionOptions``, ``Timeouts``, …"""
    return backend.shell


class Summary:
    """What a test has to say when all are over."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def append(self, line: str) -> None:
        """One more line. It reaches the terminal from whichever process runs the test."""
        self._item.user_properties.append(("summary", line))


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Summary:
    return Summary(request.node)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if (backend := backend_of(item)) is not None:
        item.user_properties.append(("backend", backend.name))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the tests said; and, as each behaviour of the shells is tested on each backend, how many tests each has."""
    outcomes = terminalreporter.stats
    reports = [one for kind in ("passed", "failed") for one in outcomes.get(kind, []) if one.when == "call"]
    told = [line for report in sorted(reports, key=lambda one: one.nodeid) for line in _said(report, "summary")]
    counts = Counter(name for report in reports for name in _said(report, "backend"))
    if counts:
        told.append("tests of the shells: " + ", ".join(f"{one.name} {counts[one.name]}" for one in BACKENDS))
    if told:
        terminalreporter.section("said by the tests")
        terminalreporter.write_line("\n".join(told))


def _said(report: pytest.TestReport, what: str) -> list[str]:
    return [str(value) for name, value in report.user_properties if name == what]


def backend_of(item: pytest.Item) -> Backend | None:
    """The backend that a test runs on, if it runs on one."""
    return (
        item.callspec.params.get("backend") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )
