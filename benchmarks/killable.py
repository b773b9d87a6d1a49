"""turnwire's loopback server in a process that can be killed, and a ledger that outlasts it.

``python -m benchmarks.killable PORT`` waits for a line, then serves until its standard input ends. It writes the marker
of every turn that it runs to its standard output, before anything of the answer.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from turnwire.aio.loopback import serve

ROOT = Path(__file__).parents[1]
LATENCY = 0.002
"""Seconds between two events of an answer."""


class _Told(list[Any]):
    """A ledger that is written to standard output, entry by entry."""

    def append(self, entry: Any) -> None:
        print(entry.marker, flush=True)


async def _serve(port: int) -> None:
    sys.stdin.readline()
    async with serve(port=port, latency=LATENCY) as server:
        server._service.ledger.entries = _Told()
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Api:
    """The server's process, one after another at the same port, and the ledger of all of them.

    ``starts`` says how many there will be. Each is there from the beginning, and waits
    for a line before it takes the port.
    """

    def __init__(self, starts: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.ledger: list[str] = []
        """The markers of the turns that ran."""
        self._processes = [self._spawn() for _ in range(starts)]
        self._reader = threading.Thread()

    def _spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.killable", str(self.port)]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self) -> None:
        process = self._processes[0]
        process.stdin.write("\n")
        process.stdin.flush()
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the server does not start")
        self._reader = threading.Thread(target=self._read, args=(process.stdout,))
        self._reader.start()

    def _read(self, lines: TextIO) -> None:
        self.ledger.extend(line.strip() for line in lines)

    def kill(self) -> None:
        """As by the kernel: it can say nothing more. Returns when the ledger has all that it ran."""
        process = self._processes.pop(0)
        process.kill()
        if self._reader.is_alive():
            self._reader.join()
        process.wait()
        process.stdin.close()
        process.stdout.close()

    def close(self) -> None:
        while self._processes:
            self.kill()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
