"""``turnwire ask``: one turn on an endpoint; its text is printed as it comes."""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import anyio

from ...sansio.client import Turn
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
from .. import Conversation, connect
from ._arguments import Options, conversation_name, lane, not_empty, seconds
from ._kept import DEFAULT, Kept, content_text
from ._masks import mask_credentials
from ._output import FAILED, WRONG_USAGE, harmless, problem
from ._prompt import NoPromptError, read_prompt

__all__ = ["add_arguments", "contradiction_in", "keeps_conversation", "run", "trusting"]

MODEL: Final = "gpt-5.4"
KEY: Final = "OPENAI_API_KEY"
_DEFAULTS: Final = Timeouts()


_EPILOG: Final = """\
Examples:

  turnwire ask What is a lane?
  git diff | turnwire ask 'Review this change:'
  turnwire ask - < question.txt
  turnwire ask --new 'My name is Ada.'
  turnwire ask --continue 'What is my name?'
  turnwire ask --json 'Hello' | jq -r 'select(.type == "response.output_text.delta").delta'

What is piped in, or redirected from a file, follows the words of the prompt (with < /dev/null, nothing does). A prompt
that begins with - goes behind --. The text is printed on stdout as it comes, a tool call as a line 'call NAME
ARGUMENTS CALL_ID', and problems on stderr, in one line.

Nothing is kept, unless --new, --continue or --conversation is given: then the prompts and answers, the model and the
instructions, but no key, are in a file that its owner alone can read:
$XDG_STATE_HOME/turnwire/conversations/NAME.json (~/.local/state, if the variable is not set). A turn that did not
complete is not a part of it.

Exit status: 0 if the response completed. 1 if it did not, if the turn failed, or if stdout or the conversation could
not be written. 2 if nothing was sent: wrong arguments, no key, a file that cannot be used. 130 after Ctrl-C. If the
reader of stdout leaves early, as head does, it is 1, and nothing is said.

To try it without a key: run turnwire serve, and pass the URL that it prints as --base-url."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    parser.add_argument("prompt", metavar="PROMPT", nargs="*", help="what to ask; - reads it from stdin")
    parser.add_argument("--model", type=not_empty, help=f"the model (default: the conversation's, else {MODEL})")
    parser.add_argument(
        "--base-url", metavar="URL", help="where the API is (default: OPENAI_BASE_URL, else OpenAI's public endpoint)"
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", default=KEY, help="the variable that holds the API key (default: %(default)s)"
    )
    parser.add_argument("--instructions", metavar="TEXT", help="instructions for the model")
    parser.add_argument(
        "--reasoning", metavar="EFFORT", type=not_empty, help="how much to reason: low, medium, high, …"
    )
    parser.add_argument(
        "--tool",
        metavar="FILE.json",
        type=Path,
        action="append",
        default=[],
        help="a file with a function tool that the model may call, in the form of the API, or with a list of them; may "
        "be given several times. Calls are printed and not executed",
    )
    _add_conversation(parser)
    _add_network(parser.add_argument_group("network"))
    parser.add_argument(
        "--json", action="store_true", help="print each event as one line of JSON, as the server sent it"
    )


def _add_conversation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("conversations")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--continue", "-c", dest="goes_on", action="store_true", help="go on with the conversation that was kept"
    )
    one.add_argument("--new", action="store_true", help="begin a conversation, in place of the one that was kept")
    group.add_argument(
        "--conversation",
        metavar="NAME",
        type=conversation_name,
        help=f"the conversation to go on with; it begins if there is none of this name (default: {DEFAULT})",
    )
    group.add_argument(
        "--previous-response-id",
        metavar="ID",
        type=not_empty,
        help="the response that this turn continues; keeps nothing",
    )


def _add_network(parser: Options) -> None:
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
    parser.add_argument("--stream-id", type=lane, metavar="LANE", help="the lane to run on (default: the default lane)")
    parser.add_argument(
        "--timeout",
        type=seconds(most=1e6, above=True),
        metavar="SECONDS",
        help="give up after waiting this long to connect, to send, or for an event (default: "
        f"{_DEFAULTS.connect:g}, {_DEFAULTS.send:g} and {_DEFAULTS.receive:g})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask; return the exit status. Raises SystemExit for options that contradict each other, and without a prompt."""
    key: str | None = os.environ.get(arguments.api_key_env)
    parser: argparse.ArgumentParser = arguments.parser
    contradiction = contradiction_in(arguments)
    if contradiction is not None:
        parser.error(contradiction)
    try:
        if not key and (arguments.api_key_env != KEY or not (arguments.base_url or os.environ.get("OPENAI_BASE_URL"))):
            raise UserError(
                f"there is no API key — nothing was sent — set the variable {arguments.api_key_env}, or name one that "
                "holds the key by --api-key-env, or a server that needs none by --base-url"
            )
        return anyio.run(_run, arguments, read_prompt(arguments.prompt), key)
    except NoPromptError as exc:
        parser.error(str(exc))
    except (TurnwireError, TypeError) as exc:
        _problem(str(exc), key)
        return WRONG_USAGE if isinstance(exc, UserError | TypeError) else FAILED


def contradiction_in(arguments: argparse.Namespace) -> str | None:
    """What is wrong if two of the options contradict each other."""
    if not keeps_conversation(arguments):
        return None
    if arguments.previous_response_id is not None:
        return "a conversation knows which response it continues: leave out --previous-response-id"
    if arguments.tool:
        return "a conversation needs the outputs of calls, and ask executes none: leave out --tool"
    return None


def keeps_conversation(arguments: argparse.Namespace) -> bool:
    """Whether the turn is one of a conversation that is kept."""
    return arguments.new or arguments.goes_on or arguments.conversation is not None


def _problem(text: str, key: str | None) -> None:
    """Print a problem, without the key, which a server may have repeated, and in the words of the command line."""
    text = text.replace("give it as api_key= or in headers=", "put the key into the variable of --api-key-env")
    problem("ask", mask_credentials(text, [key]))


async def _run(arguments: argparse.Namespace, prompt: str, key: str | None) -> int:
    kept = Kept(arguments.conversation or DEFAULT) if keeps_conversation(arguments) else None
    content = None if kept is None else kept.read(anew=arguments.new)
    if arguments.goes_on and kept is not None and content is None:
        _problem(f"no conversation was kept so far; this is the first turn of one: {kept.path}", key)
    body = _body(arguments, {} if content is None else content.fields)
    async with connect(arguments.base_url, api_key=key, options=_options(arguments), **_network(arguments)) as session:
        if kept is None:
            return await _answer(session.create(input=prompt, stream_id=arguments.stream_id, **body), arguments, key)
        conversation = session.conversation(stream_id=arguments.stream_id, **body)
        if content is not None:
            try:
                conversation.load(json.dumps(content.conversation))
            except UserError as exc:
                raise kept.refused(exc) from None
        status = await _answer(conversation.create(prompt), arguments, key)
        return _keep(kept, body, conversation, key) if status == 0 else status


async def _answer(turn: Turn, arguments: argparse.Namespace, key: str | None) -> int:
    """Run a turn and print what comes; return the exit status."""
    printer = _Printer(as_json=arguments.json)
    async with turn:
        try:
            async for event in turn:
                printer.print(event)
        finally:
            printer.end()
        return _status(turn.result(), key)


def _keep(kept: Kept, fields: dict[str, Any], conversation: Conversation, key: str | None) -> int:
    """Write the conversation to its file; return the exit status."""
    try:
        kept.write(content_text(fields, conversation.save(), [key]))
    except UserError as exc:
        _problem(str(exc), key)
    except OSError as exc:
        _problem(f"cannot write {kept.path}: {exc.strerror} — the turn ran, and is not a part of the conversation", key)
    else:
        return 0
    return FAILED


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
    context = None if arguments.ca is None else trusting(arguments.ca)
    to_proxy = context if proxy == "env" or (proxy or "").lower().startswith("https:") else None
    return {"proxy": proxy, "ssl_context": context, "proxy_ssl_context": to_proxy}


def trusting(path: Path) -> ssl.SSLContext:
    """TLS settings that trust the authorities in a file, too. Raises UserError."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as exc:
        raise UserError(f"{path} holds no certificates in PEM: {exc.reason or exc}") from exc
    except OSError as exc:
        raise UserError(f"cannot read {path}: {exc.strerror}") from exc
    return context


def _body(arguments: argparse.Namespace, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the request: those that were given, before those of the conversation. Raises UserError."""
    given: dict[str, Any] = {
        "model": arguments.model,
        "instructions": arguments.instructions,
        "previous_response_id": arguments.previous_response_id,
        "reasoning": None if arguments.reasoning is None else {"effort": arguments.reasoning},
        "tools": [tool for path in arguments.tool for tool in _tools(path)] or None,
    }
    return {"model": MODEL, **kept, **{name: value for name, value in given.items() if value is not None}}


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
            print(harmless(line) if self._terminal else line, flush=True)
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
            print(harmless(text) if self._terminal else text, end="", flush=True)
            self._open = not text.endswith("\n")


def _status(response: Response, key: str | None) -> int:
    """The exit status for a response. If it did not complete, prints why."""
    if response.status == "completed":
        return 0
    why = f"the response ended as {response.status}"
    if response.error is not None:
        why += f": {response.error.code}: {response.error.message}"
    elif response.incomplete_details is not None:
        why += f": {response.incomplete_details.reason}"
    _problem(f"{why} — the turn ran ({response.id}) — what came of its text is above", key)
    return FAILED
