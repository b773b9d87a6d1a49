"""``turnwire record``: a recording proxy on this machine, for clients in any language, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import os
import ssl
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import anyio

from ...sansio import __version__
from ...sansio.errors import UserError
from ...sansio.record import Recording
from ...sansio.recording import ProxyLog, ProxyOptions, Upstream, upstream_of
from ...sansio.server import Access, is_loopback
from ..loopback._relay import Relay
from ..loopback._sockets import listen
from ._arguments import add_limits, limits, port, size
from ._serve import until_terminated, write_ready

__all__ = ["add_arguments", "run"]

_EPILOG = """\
It prints its URL. Then, in another shell:

  OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 your-program

and, when it has ended, turnwire replay FILE. Keys and cookies are not written to the file; the texts of requests and
answers are, unless --scrub replaces them. The client's key is passed on to the server.

When the file has --max-bytes, nothing more is recorded; what clients and the server say passes as before.

Exit status: 130 after Ctrl-C, 0 after SIGTERM; 1 if it cannot listen, or could not write all of the file; 2 for wrong
arguments."""

_LIMITS: Final = ProxyOptions.__struct_fields__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("file", type=Path, metavar="FILE", help="the recording; a file that is there is replaced")
    parser.add_argument(
        "--upstream", metavar="URL", required=True, help="the server's base URL: https://api.openai.com/v1"
    )
    parser.add_argument("--scrub", action="store_true", help="replace the texts of requests and answers by filler")
    parser.add_argument("--max-bytes", type=size, metavar="N", help="limit the file: 100000, 50K, 20M or 1G")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="trust the server's certificate by this one, in PEM")
    parser.add_argument("--host", default="127.0.0.1", help="address of this machine to listen on (%(default)s)")
    parser.add_argument("--port", type=port, default=0, help="port to listen on (default: any that is free)")
    parser.add_argument(
        "--allow-host", metavar="NAME", action="append", default=[], help="another name that clients call it by"
    )
    add_limits(parser, _LIMITS)
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="a file to write when it listens, as JSON; removed at the end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Record until Ctrl-C or SIGTERM; return the exit status."""
    try:
        upstream = upstream_of(arguments.upstream)
        access = Access(host=arguments.host, allowed_hosts=arguments.allow_host)
        tls, options = _tls(upstream, arguments.ca), limits(arguments.option, _LIMITS, ProxyOptions)
    except UserError as exc:
        print(f"turnwire record: {exc}", file=sys.stderr)
        return 2
    with ExitStack() as files:
        try:
            file = files.enter_context(open(arguments.file, "wb", buffering=0, opener=_private))
        except OSError as exc:
            print(f"turnwire record: cannot write {arguments.file}: {exc.strerror}", file=sys.stderr)
            return 1
        recording = Recording(WholeWrites(file), scrub=arguments.scrub, max_bytes=arguments.max_bytes)
        log = ProxyLog(recording, upstream.url, time.time(), __version__)
        try:
            return anyio.run(_run, arguments, upstream, Relay(upstream, access, tls, log, options)) or int(
                bool(log.failed)
            )
        finally:
            tell(log, arguments)


def tell(log: ProxyLog, arguments: argparse.Namespace) -> None:
    """Say so if the recording has ended early."""
    if log.failed is not None:
        reason = getattr(log.failed, "strerror", None) or log.failed
        print(f"turnwire record: the end of {arguments.file} is missing: {reason}", file=sys.stderr)
    elif log.full:
        print(f"turnwire record: {arguments.file} ends where it has {arguments.max_bytes} bytes", file=sys.stderr)


def _tls(upstream: Upstream, ca: Path | None) -> ssl.SSLContext | None:
    if upstream.scheme == "http":
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as exc:
        raise UserError(f"cannot read the certificate {ca}: {exc.strerror or exc}") from None


def _private(path: str, flags: int) -> int:
    """Open a file that its owner alone can read (F-SECRET-3)."""
    return os.open(path, flags, 0o600)


class WholeWrites:
    """An unbuffered file that takes all of what is written at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Write it. Raises OSError."""
        while data:
            data = data[self._file.write(data) :]

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Who has opened the file closes it."""


async def _run(arguments: argparse.Namespace, upstream: Upstream, relay: Relay) -> int:
    host: str = arguments.host
    try:
        listener = await listen(host, arguments.port, _check_address)
    except UserError as exc:
        print(f"turnwire record: {exc}", file=sys.stderr)
        return 2
    except (OSError, ValueError) as exc:
        print(f"turnwire record: cannot listen on {host}:{arguments.port}: {exc}", file=sys.stderr)
        return 1
    number: int = listener.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{number}{upstream.path}"
    with listener, _announced(arguments.ready_file, {"base_url": url, "host": host, "port": number}):
        async with anyio.create_task_group() as group:
            group.start_soon(relay.serve, listener)
            print(f"{url} passes on to {upstream.url} and records to {arguments.file}. Ctrl-C stops it.", flush=True)
            await until_terminated()
            group.cancel_scope.cancel()
    return 0


def _check_address(address: str) -> None:
    if not is_loopback(address):
        raise UserError(f"other machines reach {address}: write an address of this machine, as 127.0.0.1")


@contextmanager
def _announced(ready: Path | None, place: Mapping[str, object]) -> Generator[None]:
    """The ready file, while the proxy is there. Raises SystemExit if it cannot be written."""
    if ready is not None:
        write_ready(ready, {**place, "pid": os.getpid()}, "record")
    try:
        yield
    finally:
        if ready is not None:
            ready.unlink(missing_ok=True)
