"""Fixtures and hooks for all tests: the shells, what a test has to say, the markers, the order in which tests run."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import settings
from kit import runs
from kit.shells import BACKENDS, Backend
from kit.tiers import FOLDERS, PROOF_LIMIT, QUICK, QUICK_EXAMPLES, QUICK_LIMIT, SLOW

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

HERE = Path(__file__).parent

settings.register_profile("turnwire", deadline=None)  # How busy the machine is says nothing of the code.
settings.register_profile("quick", settings.get_profile("turnwire"), max_examples=QUICK_EXAMPLES)
settings.load_profile("turnwire")


# --- Which tests there are, and in which order they run --------------------------------------------------------------


def folder_of(path: Path) -> str:
    """The folder in ``tests/`` that a test is in."""
    return path.relative_to(HERE).parts[0]


def only_quick(config: pytest.Config) -> bool:
    """Whether the quick tests are all that is asked for."""
    return config.option.markexpr == "quick"


def pytest_configure(config: pytest.Config) -> None:
    """With ``-m quick`` alone, Hypothesis tries fewer examples. The files with the tests are imported after this."""
    if only_quick(config):
        settings.load_profile("quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m quick`` alone, folders without quick tests are not even imported."""
    return (only_quick(config) and HERE in collection_path.parents and folder_of(collection_path) not in QUICK) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = folder_of(item.path)
        if folder == "proofs":
            item.add_marker("proof")
            item.add_marker(pytest.mark.timeout(PROOF_LIMIT))
        if folder in QUICK and getattr(item, "originalname", item.name) not in SLOW:
            item.add_marker("quick")
    items.sort(key=lambda item: FOLDERS.index(folder_of(item.path)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """The tests stay until the end: with thousands of quick ones, no collection of garbage visits them again."""
    if only_quick(session.config):
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: more processes than this end no sooner than the longest file."""
    return min(4, os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Several processes (``-n auto``): each takes a whole file, so that what a file makes once is made once."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


# --- The shells ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
def shell(backend: Backend) -> ModuleType:
    """The module with ``connect``, ``SessionOptions``, ``Timeouts``, …"""
    return backend.shell


def backend_of(item: pytest.Item) -> Backend | None:
    """The backend that a test runs on, if it runs on one."""
    return (
        item.callspec.params.get("backend") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )


# --- Signals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts here and in subprocesses, though it is ignored: in a shell's background job it is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# --- What a test has to say ------------------------------------------------------------------------------------------


ASKED = ("TURNWIRE_SEARCH", "TURNWIRE_SEEDS", "TURNWIRE_LEDGER", "TURNWIRE_RECORDED")
"""The settings with which more of the proofs is asked for."""


def cpu_seconds() -> float:
    """What this process and those that it started have used."""
    return sum(os.times()[:4])


class Summary:
    """What a test has to say when all are over."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._told_at = cpu_seconds()

    def append(self, line: str) -> None:
        """One more line. It reaches the terminal from whichever process runs the test."""
        self._item.user_properties.append(("summary", line))

    def ran(self, proof: str, what: str, *, violations: int = 0, whole: bool = True, **counts: int) -> None:
        """A proof was run: how much of it. With ``TURNWIRE_RUNS=FILE`` the line goes there, see ``kit/runs.py``."""
        before, self._told_at = self._told_at, cpu_seconds()
        seconds = round(self._told_at - before, 2)
        asked = " ".join(f"{name}={os.environ[name]}" for name in ASKED if name in os.environ)
        run = runs.Run(proof, what, runs.today(), "", seconds, counts, violations, asked, whole=whole)
        self._item.user_properties.append(("run", msgspec.json.encode(run).decode()))


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Summary:
    return Summary(request.node)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if (backend := backend_of(item)) is not None:
        item.user_properties.append(("backend", backend.name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    begun = time.process_time()
    try:
        return (yield)
    finally:
        if only_quick(item.config):
            item.user_properties.append(("cpu", time.process_time() - begun))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the tests said; and, as each behaviour of the shells is tested on each backend, how many tests each has."""
    outcomes = terminalreporter.stats
    reports = [one for kind in ("passed", "failed") for one in outcomes.get(kind, []) if one.when == "call"]
    told = [line for report in sorted(reports, key=lambda one: one.nodeid) for line in _said(report, "summary")]
    counts = Counter(name for report in reports for name in _said(report, "backend"))
    cpu: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        cpu[report.nodeid.partition("[")[0]] += sum(map(float, _said(report, "cpu")))
    told += [
        f"not quick, {cpu[name]:.1f} s of CPU, see kit/tiers.py: {name}" for name in cpu if cpu[name] > QUICK_LIMIT
    ]
    if counts:
        told.append("tests of the shells: " + ", ".join(f"{one.name} {counts[one.name]}" for one in BACKENDS))
    if told:
        terminalreporter.section("said by the tests")
        terminalreporter.write_line("\n".join(told))
    if file := os.environ.get("TURNWIRE_RUNS"):
        commit = runs.commit()
        made = [msgspec.json.decode(line, type=runs.Run) for report in reports for line in _said(report, "run")]
        runs.replace(Path(file), [msgspec.structs.replace(run, commit=commit) for run in runs.merged(made)])


def _said(report: pytest.TestReport, what: str) -> list[str]:
    return [str(value) for name, value in report.user_properties if name == what]
