"""Autobahn's ``wstest``: where it is, how it is installed, what a run of it says of ``kit.echo``.

It needs a virtual environment of its own: :func:`install` makes one. ``TURNWIRE_WSTEST`` names its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from kit import echo

VARIABLE: Final = "TURNWIRE_WSTEST"
PORT: Final = Path(__file__).parents[1] / "autobahn" / "port.py"
REQUIRED: Final = (
    "autobahn==0.10.9",
    "txaio==2.1.0",
    "twisted[tls]>=24",
    "setuptools<81",
)
"""What the suite needs, in the versions that it asks for where another does not do."""
FASTER: Final = "wsaccel"
"""Needs a compiler; the suite does without, but is slow then."""
SUITE: Final = "autobahntestsuite==25.10.1"
ABSENT: Final = (
    "Autobahn's wstest is not here. Make an environment for it with 'python -m tests.autobahn --install FOLDER', and "
    f"set {VARIABLE}=FOLDER. It needs CPython 3.11 or 3.12, which have lib2to3."
)
AGENT: Final = "turnwire"
LIMIT: Final = 64 * 1024 * 1024
"""``max_message_size`` of the echo: above the 16 MiB of cases 9.1.6 and 9.2.6."""


class AbsentError(Exception):
    """There is no wstest."""


class Result(NamedTuple):
    """What the suite says of one case."""

    case: str
    behavior: str
    """OK, NON-STRICT, INFORMATIONAL, FAILED, UNIMPLEMENTED."""
    close: str
    """The same of how the connection ended; also WRONG CODE, UNCLEAN, FAILED BY CLIENT."""
    code: int | None
    """The close code that we sent."""
    sent_binary: bool
    """Whether the suite sent a frame of a binary message."""
    why: str
    """Its words."""

    @property
    def verdict(self) -> str:
        """One word for both: REFUSED is a binary message that was answered with close code 1003."""
        if self.behavior == "OK" and self.close == "OK":
            return "OK"
        if self.sent_binary and self.code == 1003:
            return "REFUSED"
        return self.behavior if self.behavior != "OK" else self.close


def install(folder: Path) -> None:
    """Make the virtual environment, and translate the suite in it. Done again, it changes nothing."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *REQUIRED], check=True)
    subprocess.run([*pip, FASTER], check=False)
    # Its own list of requirements is for Python 2.
    subprocess.run([*pip, "--no-deps", SUITE], check=True)
    subprocess.run([python, PORT], check=True)


def find(folder: str | None = None) -> Path:
    """The program; raises :class:`AbsentError`."""
    place = folder or os.environ.get(VARIABLE)
    program = Path(place or "", "bin", "wstest")
    if not place or not program.exists():
        raise AbsentError(ABSENT)
    return program


# --- Runs ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """The echo as a server; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=echo.serve, args=(listener,), kwargs={"limit": LIMIT})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def run_server(program: Path, cases: Sequence[str], folder: Path) -> None:
    """Our server: ``wstest -m fuzzingclient`` connects to it, once for each case."""
    with listening() as port:
        spec = write_spec(folder, cases, servers=[{"url": f"ws://127.0.0.1:{port}", "agent": AGENT}])
        with running(program, "fuzzingclient", spec, folder) as process:
            process.wait()


def run_client(program: Path, cases: Sequence[str], folder: Path) -> None:
    """Our client: it connects to ``wstest -m fuzzingserver``, once for each case."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    spec = write_spec(folder, cases, url=f"ws://127.0.0.1:{port}")
    with running(program, "fuzzingserver", spec, folder, "--webport", "0") as process:
        wait_for(port, process)
        for case in range(1, int(echo.ask(port, "/getCaseCount")) + 1):
            echo.run_one(port, f"/runCase?case={case}&agent={AGENT}", limit=LIMIT)
        echo.ask(port, f"/updateReports?agent={AGENT}")
        process.send_signal(signal.SIGTERM)
        process.wait()


def write_spec(folder: Path, cases: Sequence[str], **given: object) -> Path:
    spec = folder / "spec.json"
    nothing: dict[str, object] = {"exclude-cases": [], "exclude-agent-cases": {}}
    spec.write_text(json.dumps({"outdir": str(folder / "reports"), "cases": list(cases), **nothing, **given}))
    return spec


@contextlib.contextmanager
def running(program: Path, mode: str, spec: Path, folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        command = [program, "--mode", mode, "--spec", spec, *more]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the port is listened to."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"wstest has ended with {process.returncode}")


def run(program: Path, role: str, cases: Sequence[str]) -> list[Result]:
    """Run cases in one role (``server`` or ``client``: ours); patterns like ``6.*`` are the suite's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        {"server": run_server, "client": run_client}[role](program, cases, folder)
        index = folder / "reports" / "index.json"
        if not index.exists():
            raise RuntimeError(f"wstest has written no report:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")
        reports = json.loads(index.read_text())[AGENT]
        return sorted((result_of(folder, case, report) for case, report in reports.items()), key=order)


def result_of(folder: Path, case: str, report: dict[str, object]) -> Result:
    detail = json.loads((folder / "reports" / str(report["reportfile"])).read_text())
    return Result(
        case=case,
        behavior=detail["behavior"],
        close=detail["behaviorClose"],
        code=detail["remoteCloseCode"],
        sent_binary="2" in detail["txFrameStats"],
        why=f"{detail['result']} {detail['resultClose']}",
    )


def order(result: Result) -> list[int]:
    return [int(part) for part in result.case.split(".")]
