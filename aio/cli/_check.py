"""``turnwire check``: whether a server speaks the protocol, over raw connections."""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
from anyio.streams.tls import TLSStream

from ...sansio.check import (
    Check,
    CheckOutcome,
    Context,
    Dial,
    ReceiveBytes,
    SendBytes,
    StepResult,
    chosen,
    requests_of,
    run_check,
)
from ...sansio.dialect import DIALECTS
from ...sansio.endpoint import Endpoint, endpoint, needs_key
from ...sansio.errors import UserError
from ...sansio.secret import Secret
from ._arguments import not_empty, seconds
from ._ask import KEY, MODEL, trusting
from ._masks import mask_credentials, mask_in_json
from ._output import FAILED, WRONG_USAGE, harmless, problem

__all__ = ["add_arguments", "run"]

_CALM: Final = 10
"""How many timeouts a check may take before it is ended."""
_READ: Final = 65536
_MARKS: Final = {"passed": "pass", "failed": "FAIL", "skipped": "skip"}
_EPILOG: Final = """\
Examples:

  turnwire check --list
  turnwire check http://127.0.0.1:8321/v1
  turnwire check https://api.openai.com/v1 --model gpt-5.4-nano --only lanes --only continuation
  turnwire check wss://my.gateway/v1 --json | jq 'select(.outcome == "failed")'

Each check opens connections of its own and sends what a client may send, or must not. It says before it starts how many
requests it sends that a model answers: a server that bills, bills them. Prompts are short, and no check depends on what
the model says. PATTERN is the name of a check, of a group of them (lanes), or a pattern (*/unknown).

A skip has a reason: what the server does not have cannot be checked. With --dialect, what that kind of server has is
expected. With --json a line has check, rules, outcome (passed, failed or skipped), what, expected, came, means, reason
and seconds.

Exit status: 0 if no check failed; 1 if one did, or if there is no connection; 2 for wrong arguments; 130 after
Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    parser.add_argument("url", metavar="URL", nargs="?", help="the server's base URL: https://api.openai.com/v1")
    parser.add_argument("--list", action="store_true", help="list the checks, with the rules they are about, and end")
    parser.add_argument(
        "--only", metavar="PATTERN", action="append", default=[], type=not_empty, help="only these checks; repeatable"
    )
    parser.add_argument(
        "--skip", metavar="PATTERN", action="append", default=[], type=not_empty, help="not these checks; repeatable"
    )
    parser.add_argument("--model", type=not_empty, default=MODEL, help="the model to ask (default: %(default)s)")
    parser.add_argument(
        "--api-key-env", metavar="NAME", default=KEY, help="the variable that holds the API key (default: %(default)s)"
    )
    parser.add_argument(
        "--ca", metavar="FILE", type=Path, help="trust the authorities in this file, in PEM, beside the system's"
    )
    parser.add_argument(
        "--dialect", choices=sorted(DIALECTS), help="what kind of server it is (default: as it says, or its host name)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds(most=86400, above=True),
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for an answer (default: 30)",
    )
    parser.add_argument(
        "--age",
        type=seconds(most=86400, above=True),
        metavar="SECONDS",
        help="wait so long for the end of a connection's lifetime (default: not at all)",
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON, a line for each check")


def run(arguments: argparse.Namespace) -> int:
    """Run the checks; return the exit status."""
    parser: argparse.ArgumentParser = arguments.parser
    checks = chosen(arguments.only, arguments.skip)
    if not checks:
        problem("check", "no check has a name that fits: see 'turnwire check --list'")
        return WRONG_USAGE
    if arguments.list:
        _list(checks, as_json=arguments.json)
        return 0
    if arguments.url is None:
        parser.error("the following arguments are required: URL")
    key = os.environ.get(arguments.api_key_env) or None
    try:
        place = _place(arguments, key)
        context = ssl.create_default_context() if arguments.ca is None else trusting(arguments.ca)
    except UserError as exc:
        problem("check", mask_credentials(str(exc), [key]))
        return WRONG_USAGE
    report = _Report(checks, as_json=arguments.json, key=None if key is None else Secret(key))
    asked = Context(
        place,
        model=arguments.model,
        timeout=arguments.timeout,
        age=arguments.age,
        dialect=None if arguments.dialect is None else DIALECTS[arguments.dialect],
    )
    return anyio.run(_run, checks, asked, context, report)


def _place(arguments: argparse.Namespace, key: str | None) -> Endpoint:
    """Where the server is. Raises UserError."""
    place = endpoint(arguments.url, api_key=key)
    if needs_key(place):
        raise UserError(
            f"there is no API key — nothing was sent — set the variable {arguments.api_key_env}, or name one that "
            "holds the key by --api-key-env"
        )
    return place


def _list(checks: Sequence[Check], *, as_json: bool) -> None:
    for check in checks:
        if as_json:
            members = {"check": check.name, "what": check.what, "rules": check.rules, "requests": check.turns}
            print(json.dumps(members, ensure_ascii=False))
        else:
            print(f"{check.name:<32} {check.what} ({', '.join(check.rules)})")


# --- The report ------------------------------------------------------------------------------------------------------


class _Report:
    """Prints what comes of checks: a table on stdout, and on a terminal the progress on stderr."""

    def __init__(self, checks: Sequence[Check], *, as_json: bool, key: Secret | None) -> None:
        self._json = as_json
        self._key = key
        self._width = max(len(check.name) for check in checks)
        self._total = len(checks)
        self._live = sys.stderr.isatty()
        self.counts: Counter[str] = Counter()

    def begin(self, place: Endpoint, requests: int) -> None:
        """Say what is about to be sent."""
        print(
            f"turnwire check: {self._total} check{'s' * (self._total != 1)} of {place.words}: at most {requests} "
            "requests that a model answers. A server that bills, bills them.",
            file=sys.stderr,
        )

    def now(self, check: Check) -> None:
        """Show which check runs."""
        if self._live:
            done = sum(self.counts.values())
            print(f"\r\x1b[K{done + 1}/{self._total} {check.name}", end="", file=sys.stderr, flush=True)

    def add(self, check: Check, outcome: CheckOutcome, took: float) -> None:
        """Print what came of a check."""
        self.clear()
        self.counts[outcome.outcome] += 1
        if self._json:
            members = mask_in_json(_members(check, outcome, took), self._credentials())
            print(json.dumps(members, ensure_ascii=False), flush=True)
            return
        rules = ", ".join(check.rules)
        lines = [f"{_MARKS[outcome.outcome]}  {check.name:<{self._width}}  {rules}"]
        if outcome.reason:
            lines[0] += f": {outcome.reason}"
        if outcome.outcome == "failed":
            lines += [f"      rule:     a server {check.what}"]
            lines += [f"      expected: {outcome.expected}", f"      came:     {outcome.came}"]
            lines += [f"      it means: {check.means}"]
        print(harmless(mask_credentials("\n".join(lines), self._credentials())), flush=True)

    def end(self) -> None:
        """Print the counts."""
        if not self._json:
            print(", ".join(f"{self.counts[name]} {name}" for name in _MARKS))

    def clear(self) -> None:
        """Remove the progress."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _credentials(self) -> list[str | None]:
        return [None if self._key is None else self._key.reveal()]


def _members(check: Check, outcome: CheckOutcome, took: float) -> dict[str, Any]:
    return {
        "check": check.name,
        "rules": check.rules,
        "outcome": outcome.outcome,
        "what": check.what,
        "expected": outcome.expected or None,
        "came": outcome.came or None,
        "means": check.means if outcome.outcome == "failed" else None,
        "reason": outcome.reason or None,
        "seconds": round(took, 3),
    }


# --- The connections -------------------------------------------------------------------------------------------------


async def _run(checks: Sequence[Check], context: Context, tls: ssl.SSLContext, report: _Report) -> int:
    transports = _Transports(context.place, tls, context.timeout)
    try:
        opened = await transports.dial()
        if opened.problem:
            problem("check", f"cannot connect to {context.place.words}: {opened.problem} — nothing was sent")
            return FAILED
        report.begin(context.place, requests_of(checks))
        for check in checks:
            report.now(check)
            began = time.monotonic()
            outcome = await _outcome(check, context, transports)
            report.add(check, outcome, time.monotonic() - began)
            await transports.close()
    finally:
        report.clear()
        await transports.close()
    report.end()
    return FAILED if report.counts["failed"] else 0


async def _outcome(check: Check, context: Context, transports: _Transports) -> CheckOutcome:
    script = run_check(check, context)
    limit = _CALM * context.timeout + (context.age or 0)
    with anyio.move_on_after(limit):
        answer: Any = None
        while True:
            try:
                step = script.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = await transports.take(step)
    return CheckOutcome(
        outcome="failed", expected=f"an end within {limit:g} s", came="more and more events, or silence"
    )


class _Transports:
    """The open transports of a check, by their numbers."""

    def __init__(self, place: Endpoint, tls: ssl.SSLContext, timeout: float) -> None:
        self._place = place
        self._tls = tls
        self._timeout = timeout
        self._streams: list[anyio.abc.ByteStream] = []

    async def take(self, step: Dial | SendBytes | ReceiveBytes) -> StepResult:
        """Do what a script asks for."""
        match step:
            case Dial():
                return await self.dial()
            case SendBytes():
                return await self._send(step)
            case ReceiveBytes():
                return await self._receive(step)

    async def dial(self) -> StepResult:
        """Open a transport."""
        place = self._place
        try:
            with anyio.fail_after(self._timeout):
                stream = await self._connect(place)
        except TimeoutError:
            return StepResult(problem=f"no answer within {self._timeout:g} s")
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
            return StepResult(problem=str(exc) or type(exc).__name__)
        self._streams.append(stream)
        return StepResult(peer=len(self._streams) - 1)

    async def _connect(self, place: Endpoint) -> anyio.abc.ByteStream:
        if place.socket is not None:
            return await anyio.connect_unix(place.socket)
        stream = await anyio.connect_tcp(place.host, place.port)
        if not place.secure:
            return stream
        try:
            return await TLSStream.wrap(stream, hostname=place.host, ssl_context=self._tls, standard_compatible=False)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise

    async def _send(self, step: SendBytes) -> StepResult:
        try:
            await self._streams[step.peer].send(step.data)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            return StepResult(problem=type(exc).__name__)
        return StepResult()

    async def _receive(self, step: ReceiveBytes) -> StepResult:
        with anyio.move_on_after(step.within):
            try:
                return StepResult(data=await self._streams[step.peer].receive(_READ))
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return StepResult(data=b"")
        return StepResult(data=None)

    async def close(self) -> None:
        """Close all transports."""
        with anyio.CancelScope(shield=True):
            for stream in self._streams:
                with anyio.move_on_after(1):
                    await anyio.aclose_forcefully(stream)
        self._streams.clear()
