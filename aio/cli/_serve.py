"""``turnwire serve``: a loopback server on this machine, for programs in any language, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from ...sansio.cassette import Cassette
from ...sansio.errors import UserError
from ...sansio.server import SERVER_DIALECTS, ScriptLike, ServerOptions
from .. import loopback
from ..loopback import LoopbackServer, faults_schema, read_faults, read_script, script_schema
from ._arguments import Options, add_latency, add_limits, count, key, limits, not_empty, port
from ._output import problem, read_stdin
from ._serve_tls import Tls, given_tls, made_tls

__all__ = ["add_arguments", "run", "until_terminated", "write_ready"]

_LEDGER_LIMIT: Final = 1000
_DIALECTS: Final[Mapping[str, str | None]] = {name or "none": name for name in SERVER_DIALECTS}
_LIMITS: Final = [name for name in ServerOptions.__struct_fields__ if name not in ("strict", "dialect")]
"""What ``--option`` can set; the others have options of their own."""
_SCHEMAS: Final = {"script": script_schema, "faults": faults_schema}

_EPILOG: Final = """\
Examples:

  turnwire serve
  turnwire serve --port 8321 --latency 0.02 --strict
  turnwire serve --script script.json --option max_in_flight=4 --option lifetime=60

It prints its URL. Then, in another shell:

  OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=any your-program

Without a script it answers with the words of the prompt; 'count 1000' gives 1000 deltas, 'recall' repeats what
was said before. A test in any language starts it, waits for the ready file, and asks it what it was asked:

  turnwire serve --port 0 --script script.json --strict --control --ready-file ready.json &
  curl -s http://127.0.0.1:PORT/_turnwire/ledger

A script is JSON; so are faults (--schema prints their JSON Schemas):

  ["Hello.", {"call": "search", "arguments": {"q": "rain"}}, {"reply": "It rains.", "delay": 0.5}]
  {"rules": [{"when": {"text": {"contains": "rain"}}, "reply": "It rains."}, {"reply": "I do not know."}]}
  [{"after_event": 3, "do": {"cut": {"reset": true}}, "connection": 1}]

Exit status: 130 after Ctrl-C; 0 after SIGTERM, or 1 if a request found no reply in the script; 1 if it cannot
listen; 2 for wrong arguments, and for a file that is not what it should be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    _add_listening(parser.add_argument_group("where it listens"))
    _add_answers(parser.add_argument_group("what it answers"))
    _add_tests(parser.add_argument_group("for tests"))


def _add_listening(group: Options) -> None:
    group.add_argument(
        "--host", type=not_empty, default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    group.add_argument("--port", type=port, default=0, help="port to listen on (default: any that is free)")
    group.add_argument("--path", type=not_empty, metavar="SOCKET", help="a unix socket to listen on instead")
    group.add_argument(
        "--api-key", type=key, metavar="KEY", help="refuse requests that bring another key (default: take any)"
    )
    group.add_argument("--api-key-env", metavar="NAME", help="the same, with the key in this variable")
    group.add_argument(
        "--allow-remote", action="store_true", help="let anybody who reaches the address use it, without a key"
    )
    group.add_argument(
        "--allow-host", metavar="NAME", action="append", default=[], help="another name that clients call it by"
    )
    group.add_argument(
        "--allow-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="web pages that may use it: https://app.test",
    )
    group.add_argument(
        "--tls", action="store_true", help="TLS with a certificate that is made now (needs 'turnwire[tls-test]')"
    )
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="TLS with this certificate, in PEM")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, if that is in another file")
    group.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="with --tls: where to put the certificate that clients are to trust"
    )


def _add_answers(group: Options) -> None:
    group.add_argument("--script", type=Path, metavar="FILE", help="what the model answers: JSON, or - for stdin")
    group.add_argument("--replay", type=Path, metavar="FILE", help="answer as in this recording, at its pace")
    group.add_argument("--faults", type=Path, metavar="FILE", help="what goes wrong, and when: JSON, or - for stdin")
    add_latency(group, 0.0)
    group.add_argument(
        "--strict", action=argparse.BooleanOptionalAction, default=False, help="refuse what the API refuses"
    )
    group.add_argument(
        "--dialect", choices=sorted(_DIALECTS), default="openai", help="the kind of server (default: %(default)s)"
    )
    add_limits(group, _LIMITS)


def _add_tests(group: Options) -> None:
    group.add_argument(
        "--control",
        "--ledger",
        action="store_true",
        help="answer under /_turnwire: the ledger, events, faults, script, reset; GET /_turnwire lists them",
    )
    group.add_argument(
        "--ledger-limit",
        type=count,
        metavar="N",
        default=_LEDGER_LIMIT,
        help="how many requests to remember, the newest, or 'all' (default: %(default)s)",
    )
    group.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="a file to write when it listens, as JSON; removed at the end"
    )
    group.add_argument("--json", action="store_true", help="print the address as one JSON object instead of text")
    group.add_argument(
        "--schema", choices=tuple(_SCHEMAS), help="print the JSON Schema of scripts or of faults, and end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit status."""
    if arguments.schema is not None:
        print(json.dumps(_SCHEMAS[arguments.schema](), indent=1, ensure_ascii=False))
        return 0
    with ExitStack() as files:
        try:
            options, tls = serve_arguments(arguments), _tls(arguments, files)
        except UserError as exc:
            problem("serve", str(exc))
            return 2
        if tls is not None:
            options["ssl_context"] = tls.context
        return anyio.run(_run, arguments, options, tls)


# --- Arguments to those of serve() -----------------------------------------------------------------------------------


def serve_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments for ``serve()``. Raises UserError."""
    read_from_stdin = [str(path) == "-" for path in (arguments.script, arguments.replay, arguments.faults)]
    if sum(read_from_stdin) > 1:
        raise UserError("only one file can be -, which is stdin")
    faults = _document(arguments.faults)
    return {
        "host": arguments.host,
        "port": arguments.port,
        "path": arguments.path,
        "latency": arguments.latency,
        "api_key": _key(arguments),
        "reply": _reply(arguments),
        "faults": [] if faults is None else _read(arguments.faults, read_faults, faults),
        "options": limits(arguments.option, _LIMITS, ServerOptions),
        "dialect": _DIALECTS[arguments.dialect],
        "strict": arguments.strict,
        "ledger_limit": arguments.ledger_limit,
        "control": arguments.control,
        "allow_remote": arguments.allow_remote,
        "allowed_hosts": arguments.allow_host,
        "allowed_origins": arguments.allow_origin,
    }


def _reply(arguments: argparse.Namespace) -> ScriptLike | None:
    """What the model answers: a script, or a recording. Raises UserError."""
    script: Path | None = arguments.script
    recording: Path | None = arguments.replay
    if script is not None and recording is not None:
        raise UserError("--script and --replay both say what it answers: leave out one")
    if recording is not None:
        return _read(recording, Cassette, _document(recording) or b"")
    return None if script is None else _read(script, read_script, _document(script) or b"")


def _document(path: Path | None) -> bytes | None:
    """What is in a file of JSON; None without a file. Raises UserError."""
    if path is None:
        return None
    try:
        return read_stdin() if str(path) == "-" else path.read_bytes()
    except OSError as exc:
        raise UserError(f"cannot read {path}: {exc.strerror}") from exc


def _read(path: Path, read: Callable[[bytes], Any], data: bytes) -> Any:
    """What a document means. Raises UserError, with the name of the file and the place in it."""
    try:
        return read(data)
    except UserError as exc:
        raise UserError(f"{path}: {exc}") from None


def _key(arguments: argparse.Namespace) -> str | None:
    """The key that requests must bring. Raises UserError."""
    name: str | None = arguments.api_key_env
    if name is None:
        return arguments.api_key
    try:
        return key(os.environ.get(name, ""))
    except argparse.ArgumentTypeError as exc:
        raise UserError(f"the variable {name} holds no key: it {exc}") from None


def _tls(arguments: argparse.Namespace, files: ExitStack) -> Tls | None:
    """The certificate that was given, or that is made now. Raises UserError."""
    cert: Path | None = arguments.tls_cert
    if cert is not None:
        return given_tls(cert, arguments.tls_key)
    if arguments.tls:
        return made_tls(arguments.host, arguments.tls_ca, files)
    if arguments.tls_key is not None or arguments.tls_ca is not None:
        raise UserError("--tls-key needs --tls-cert, and --tls-ca needs --tls")
    return None


# --- The server ------------------------------------------------------------------------------------------------------


async def _run(arguments: argparse.Namespace, options: Mapping[str, Any], tls: Tls | None) -> int:
    try:
        server = await loopback.serve(**options)
    except UserError as exc:
        problem("serve", _as_options(str(exc)))
        return 2
    except (OSError, ValueError) as exc:  # ValueError: the host is not a name that can be resolved.
        place = arguments.path or f"{arguments.host}:{arguments.port}"
        problem("serve", f"cannot listen on {place}: {exc}")
        return 1
    try:
        with _announced(server, arguments, None if tls is None else tls.ca):
            await until_terminated()
    finally:
        await server.aclose()
    for error in server.script_errors:
        problem("serve", str(error))
    return 1 if server.script_errors else 0


def _as_options(text: str) -> str:
    """What ``serve()`` says, with the names that its arguments have here."""
    return text.replace("api_key=", "--api-key KEY").replace("allow_remote=True", "--allow-remote")


async def until_terminated() -> None:
    """Wait for SIGTERM; where there is no such signal, for ever."""
    if sys.platform == "win32":
        await anyio.sleep_forever()
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            return


@contextmanager
def _announced(server: LoopbackServer, arguments: argparse.Namespace, ca: Path | None) -> Generator[None]:
    """Say where the server is; while it is there, the ready file says so, too. Raises SystemExit if that cannot be
    written."""
    if arguments.json:
        print(json.dumps({"base_url": server.base_url, "host": server.host, "port": server.port}), flush=True)
    else:
        print(f"{server.base_url} speaks WebSocket, SSE and JSON at /responses. Ctrl-C stops it.", flush=True)
        if arguments.control:
            print(f"{server.control_url} is its control: the ledger, faults, the script.", flush=True)
        if ca is not None:
            print(f"{ca} is the certificate to trust.", flush=True)
    ready: Path | None = arguments.ready_file
    if ready is None:
        yield
        return
    place = {"base_url": server.base_url, "host": server.host, "port": server.port, "path": server.path}
    write_ready(
        ready, {**place, "control_url": server.control_url, "ca": None if ca is None else str(ca), "pid": os.getpid()}
    )
    try:
        yield
    finally:
        ready.unlink(missing_ok=True)


def write_ready(path: Path, content: Mapping[str, object], command: str = "serve") -> None:
    """Write a file that others see as a whole, or not at all. Raises SystemExit."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        print(f"turnwire {command}: cannot write {path}: {exc.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
