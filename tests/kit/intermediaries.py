"""Real programs between a session and the loopback server: nginx, haproxy, tinyproxy, microsocks, on 127.0.0.1.

::

    async with intermediary("nginx", server.port, folder) as between:
        async with connect(between.base_url, **between.arguments) as session:
            ...
            await between.restart()      # it ends at once, and another begins on the same port
            await between.reload()       # nginx, haproxy: new workers; the old ones are ended after 50 ms

A test that wants one calls :func:`need` first: it skips the test, and says which Debian package is absent.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
import trustme

USER, PASSWORD = "me", "hush"
IDLE = 0.2
"""Seconds after which the reverse proxies end a connection on which nothing is said."""
TICK = 0.3
"""Seconds: nginx does not move a timer by less than this, so a shorter time-out ends a connection that speaks, too."""

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_processes 1;
worker_shutdown_timeout 50ms;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    client_max_body_size 0;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout {idle}ms;
        }}
    }}
}}
"""

HAPROXY = """
global
    hard-stop-after 50ms
    maxconn 512
defaults
    mode http
    timeout connect 5s
    timeout client {idle}ms
    timeout server {idle}ms
    timeout tunnel {idle}ms
frontend in
    bind 127.0.0.1:{port}
    default_backend out
backend out
    server one 127.0.0.1:{upstream}
"""

HAPROXY_TLS = """
global
    hard-stop-after 50ms
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend in
    bind 127.0.0.1:{port} ssl crt {folder}/both.pem
    default_backend out
backend out
    server one 127.0.0.1:{upstream}
"""

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 600
MaxClients 200
LogLevel Critical
LogFile "{folder}/tinyproxy.log"
Allow 127.0.0.1
BasicAuth {user} {password}
"""


class Program(NamedTuple):
    """One program, and how it is started."""

    command: str
    package: str
    """The Debian package that has it."""
    arguments: Callable[[dict[str, Any]], list[str]]
    config: str = ""
    reload: signal.Signals | None = None
    """The signal that begins new workers."""


def _socks(user: bool) -> Callable[[dict[str, Any]], list[str]]:
    credentials = ["-u", USER, "-P", PASSWORD] if user else []
    return lambda at: ["-i", "127.0.0.1", "-p", str(at["port"]), *credentials]


PROGRAMS = {
    "nginx": Program("nginx", "nginx-light", lambda at: ["-p", at["folder"], "-c", at["file"]], NGINX, signal.SIGHUP),
    "haproxy": Program("haproxy", "haproxy", lambda at: ["-W", "-q", "-f", at["file"]], HAPROXY, signal.SIGUSR2),
    "tinyproxy": Program("tinyproxy", "tinyproxy", lambda at: ["-d", "-c", at["file"]], TINYPROXY),
    "microsocks": Program("microsocks", "microsocks", _socks(True)),
    "microsocks without a password": Program("microsocks", "microsocks", _socks(False)),
    "TLS": Program("haproxy", "haproxy", lambda at: ["-W", "-q", "-f", at["file"]], HAPROXY_TLS, signal.SIGUSR2),
}
"""By what :func:`intermediary` calls them."""
KINDS = {
    "nginx": ("nginx",),
    "haproxy": ("haproxy",),
    "http proxy": ("tinyproxy",),
    "https proxy": ("TLS", "tinyproxy"),
    "socks5": ("microsocks",),
    "socks5h": ("microsocks",),
    "socks5 without a password": ("microsocks without a password",),
}
"""The ways to the server, each by the programs on it, the nearest first."""
REVERSE = ("nginx", "haproxy")
"""Those that the client takes for the server."""


def need(kind: str) -> None:
    """Skip the test if a program for this kind is absent."""
    for name in KINDS[kind]:
        program = PROGRAMS[name]
        if found(program) is None:
            pytest.skip(f"{program.command} is absent: apt-get install --no-install-recommends {program.package}")


def found(program: Program) -> str | None:
    """Its path. Debian has servers in /usr/sbin, which is not on every user's PATH."""
    return shutil.which(program.command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """One running program."""

    def __init__(self, name: str, folder: Path, upstream: int, idle: float) -> None:
        self.port = free_port()
        self.folder = folder / name.replace(" ", "-")
        self.folder.mkdir()
        self._program = PROGRAMS[name]
        self._at = {
            "port": self.port,
            "upstream": upstream,
            "folder": str(self.folder),
            "file": str(self.folder / "config"),
            "idle": round(idle * 1000),
            "user": USER,
            "password": PASSWORD,
        }
        (self.folder / "config").write_text(self._program.config.format(**self._at))
        self._running: subprocess.Popen[bytes]

    async def start(self) -> None:
        with (self.folder / "said").open("ab") as said:
            command = [found(self._program) or "", *self._program.arguments(self._at)]
            self._running = subprocess.Popen(command, stdout=said, stderr=said)
        with anyio.fail_after(10):
            while True:
                assert self._running.poll() is None, (self.folder / "said").read_text()
                try:
                    stream = await anyio.connect_tcp("127.0.0.1", self.port)
                except OSError:
                    await anyio.sleep(0.005)
                else:
                    await stream.aclose()
                    return

    async def stop(self) -> None:
        """End it at once, and its connections."""
        if self._program.reload is None:
            self._running.kill()
        else:
            self._running.terminate()  # Its master process ends the workers, too.
        with anyio.fail_after(10):
            while self._running.poll() is None:
                await anyio.sleep(0.005)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def reload(self) -> None:
        assert self._program.reload is not None
        self._running.send_signal(self._program.reload)


class Intermediary:
    """What is between: see the top of the file."""

    def __init__(self, kind: str, server_port: int, folder: Path, idle: float) -> None:
        self.kind = kind
        self.restarts = 0
        self.processes: list[Process] = []
        upstream = server_port
        authority = trustme.CA()
        for name in reversed(KINDS[kind]):
            process = Process(name, folder, upstream, idle)
            certificate = authority.issue_cert("127.0.0.1")
            certificate.private_key_and_cert_chain_pem.write_to_path(str(process.folder / "both.pem"))
            self.processes.insert(0, process)
            upstream = process.port
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)
        self.base_url = f"http://127.0.0.1:{self.processes[0].port if kind in REVERSE else server_port}/v1"
        self.arguments = self.arguments_with(f"{USER}:{PASSWORD}@")

    def arguments_with(self, credentials: str) -> dict[str, Any]:
        """The arguments of ``connect()`` for this way, with such credentials for the proxy."""
        if self.kind in REVERSE:
            return {"proxy": None}
        scheme, _, rest = self.kind.partition(" ")
        place = f"127.0.0.1:{self.processes[0].port}"
        if rest == "without a password":
            credentials = ""
        more = {"proxy_ssl_context": self.trusting} if scheme == "https" else {}
        return {"proxy": f"{scheme}://{credentials}{place}", **more}

    async def restart(self) -> None:
        self.restarts += 1
        await self.processes[0].restart()

    async def reload(self) -> None:
        self.restarts += 1
        await self.processes[0].reload()


@asynccontextmanager
async def intermediary(kind: str, server_port: int, folder: Path, idle: float = 60.0) -> AsyncIterator[Intermediary]:
    """One of :data:`KINDS`, in front of the server on this port. ``idle``: the time-out of the reverse proxies."""
    between = Intermediary(kind, server_port, folder, idle)
    try:
        for process in reversed(between.processes):
            await process.start()
        yield between
    finally:
        with anyio.CancelScope(shield=True):
            for process in between.processes:
                if hasattr(process, "_running"):
                    await process.stop()
