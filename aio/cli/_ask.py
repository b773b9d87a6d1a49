"""``turnwire ask``: one turn on an endpoint; its text is printed as it comes."""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
from pathlib import Path
from typing import Any, Final, cast

import anyio

from ...sansio.dialect import DIALECTS
from ...sansio.errors import TurnwireError, UserError
from ...sansio.events import (
    Response,
    ResponseFunctionToolCall,
    ResponseOutputItemDoneEvent,
    ResponseRefusalDeltaEvent,
    ResponseTextDeltaEvent,
    ServerEvent,
)
from ...sansio.session import SessionOptions
from ...sansio.timeouts import Timeouts
from .. import connect
from ._arguments import seconds

__all__ = ["add_arguments", "run"]

MODEL: Final = "gpt-5.4"
KEY: Final = "OPENAI_API_KEY"
_DEFAULTS: Final = Timeouts()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("prompt", metavar="PROMPT", help="what to ask")
    parser.add_argument("--model", default=MODEL, help="the model (default: %(default)s)")
    parser.add_argument(
        "--base-url", metavar="URL", help="where the API is (default: OPENAI_BASE_URL, else OpenAI's public endpoint)"
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", default=KEY, help="the variable that holds the API key (default: %(default)s)"
    )
    parser.add_argument("--instructions", metavar="TEXT", help="instructions for the model")
    parser.add_argument("--previous-response-id", metavar="ID", help="the response that this turn continues")
    parser.add_argument("--reasoning", metavar="EFFORT", help="how much to reason: low, medium, high, …")
    parser.add_argument(
        "--tool",
        metavar="FILE.json",
        type=Path,
        action="append",
        default=[],
        help="a file with a function tool that the model may call, in the form of the API, or with a list of them; may "
        "be given several times. Calls are printed and not executed",
    )
    _add_network(parser)
    parser.add_argument("--stream-id", metavar="LANE", help="the lane to run on (default: the default lane)")
    parser.add_argument(
        "--timeout",
        type=seconds(most=1e6, above=True),
        metavar="SECONDS",
        help="give up after waiting this long to connect, to send, or for an event (default: "
        f"{_DEFAULTS.connect:g}, {_DEFAULTS.send:g} and {_DEFAULTS.receive:g})",
    )
    parser.add_argument("--json", action="store_true", help="print each event as one line of JSON")
    parser.epilog = (
        "Prints the text on stdout as it comes, a tool call as a line 'call NAME ARGUMENTS CALL_ID', and problems on "
        "stderr. "
        "Exit status: 0 if the response completed, 1 if not, 2 for wrong arguments, 130 after Ctrl-C. To try it "
        "without a key: run 'turnwire serve', and pass its URL as --base-url."
    )


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--proxy",
        metavar="URL",
        default="env",
        help="the proxy to connect through: http, https, socks5 or socks5h, as in socks5h://user:password@host:port; "
        "'none' connects directly (default: as HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say)",
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        type=Path,
        help="a file with certificates in PEM, of authorities to trust beside the system's; for an https proxy, too",
    )
    parser.add_argument(
        "--dialect",
        choices=sorted(DIALECTS),
        help="what kind of server it is (default: as its host name, and the server, say)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask; return the exit status."""
    key: str | None = os.environ.get(arguments.api_key_env)
    try:
        if not key and (arguments.api_key_env != KEY or not (arguments.base_url or os.environ.get("OPENAI_BASE_URL"))):
            raise UserError(
                f"there is no API key — nothing was sent — set the variable {arguments.api_key_env}, or name one that "
                "holds the key by --api-key-env, or a server that needs none by --base-url"
            )
        return anyio.run(_run, arguments, key)
    except (TurnwireError, TypeError) as exc:
        return _problem(str(exc), key)


def _problem(text: str, key: str | None) -> int:
    """Print a problem in one line, without the key, which a server may have repeated. Returns the exit status."""
    if key:
        text = text.replace(key, "***")
    print(f"turnwire ask: {_harmless(' '.join(text.split()))}", file=sys.stderr)
    return 1


async def _run(arguments: argparse.Namespace, key: str | None) -> int:
    body = _body(arguments)
    async with (
        connect(arguments.base_url, api_key=key, options=_options(arguments), **_network(arguments)) as session,
        session.create(stream_id=arguments.stream_id, **body) as turn,
    ):
        printer = _Printer(as_json=arguments.json)
        try:
            async for event in turn:
                printer.print(event)
        finally:
            printer.end()
        return _status(turn.result(), key)


def _options(arguments: argparse.Namespace) -> SessionOptions:
    """The options of a session where no single wait may take longer than ``--timeout`` seconds."""
    limit: float | None = arguments.timeout
    if limit is None:
        return SessionOptions(dialect=arguments.dialect)
    limits = Timeouts(limit, limit, limit, limit)
    return SessionOptions(dialect=arguments.dialect, connect_timeout=limit, timeouts=limits)


def _network(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``connect()`` for the network."""
    proxy: str | None = None if arguments.proxy == "none" else arguments.proxy
    context = None if arguments.ca is None else _trusting(arguments.ca)
    to_proxy = context if proxy == "env" or (proxy or "").lower().startswith("https:") else None
    return {"proxy": proxy, "ssl_context": context, "proxy_ssl_context": to_proxy}


def _trusting(path: Path) -> ssl.SSLContext:
    """TLS settings that trust the authorities in a file, too. Raises UserError."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as exc:
        raise UserError(f"{path} holds no certificates in PEM: {exc.reason or exc}") from exc
    except OSError as exc:
        raise UserError(f"cannot read {path}: {exc.strerror}") from exc
    return context


def _body(arguments: argparse.Namespace) -> dict[str, Any]:
    """The body of the request; options that were not given are left out."""
    body: dict[str, Any] = {
        "model": arguments.model,
        "input": arguments.prompt,
        "instructions": arguments.instructions,
        "previous_response_id": arguments.previous_response_id,
        "reasoning": None if arguments.reasoning is None else {"effort": arguments.reasoning},
        "tools": [tool for path in arguments.tool for tool in _tools(path)] or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _tools(path: Path) -> list[dict[str, Any]]:
    """The function tools in a file. Raises UserError."""
    try:
        found: object = json.loads(path.read_bytes())
    except OSError as exc:
        raise UserError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise UserError(f"{path} is not JSON: {exc}") from exc
    tools = cast("list[object]", found) if isinstance(found, list) else [found]
    return [_tool(tool, path) for tool in tools]


def _tool(tool: object, path: Path) -> dict[str, Any]:
    if isinstance(tool, dict):
        fields = cast("dict[str, Any]", tool)
        if fields.get("type", "function") == "function" and isinstance(fields.get("name"), str):
            return {"type": "function", **fields}
    raise UserError(
        f"{path} holds no function tool: write "
        '{"type": "function", "name": …, "description": …, "parameters": {…}}, or a list of such'
    )


class _Printer:
    """Prints events on stdout, as text or as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._terminal = sys.stdout.isatty()
        self._open = False
        """Whether the last line has no end yet."""

    def print(self, event: ServerEvent) -> None:
        """Print the event, or the text in it."""
        if self._json:
            # In JSON line breaks are between tokens, never inside one: here they are only the server's formatting.
            line = event.raw.replace("\r", " ").replace("\n", " ")
            print(_harmless(line) if self._terminal else line, flush=True)
        elif isinstance(event, ResponseTextDeltaEvent | ResponseRefusalDeltaEvent):
            self._write(event.delta)
        elif isinstance(event, ResponseOutputItemDoneEvent) and isinstance(event.item, ResponseFunctionToolCall):
            self.end()
            self._write(f"call {event.item.name} {event.item.arguments} {event.item.call_id}\n")

    def end(self) -> None:
        """End the line, if it has no end yet."""
        if self._open:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            print(_harmless(text) if self._terminal else text, end="", flush=True)
            self._open = not text.endswith("\n")


def _harmless(text: str) -> str:
    """The text without the control characters of ECMA-48, which a terminal may take for commands."""
    return "".join(char if char in "\n\t" or char.isprintable() or ord(char) > 0x9F else "\ufffd" for char in text)


def _status(response: Response, key: str | None) -> int:
    """The exit status for a response. If it did not complete, prints why."""
    if response.status == "completed":
        return 0
    why = f"the response ended as {response.status}"
    if response.error is not None:
        why += f": {response.error.code}: {response.error.message}"
    elif response.incomplete_details is not None:
        why += f": {response.incomplete_details.reason}"
    return _problem(f"{why} — the turn ran ({response.id}) — what came of its text is above", key)
