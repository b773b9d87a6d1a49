"""The prompt of ``turnwire ask``: the words of the command line, and what is piped into it.

The promise
    :func:`reads` decides from facts alone whether stdin is read, and :func:`composed` what is asked. Only
    :func:`read_prompt` reads.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from ...sansio.errors import UserError
from ._output import problem, read_stdin

__all__ = ["LONGEST_PROMPT", "NoPromptError", "Stdin", "composed", "read_prompt", "reads"]

LONGEST_PROMPT: Final = 64 * 1024 * 1024
"""Bytes of stdin that are read."""
PATIENCE: Final = 3.0
"""Seconds without a byte from stdin after which the user is told that it is waited for."""
_NOTHING: Final = (
    "there is no prompt: write it behind the command (turnwire ask 'What is a lane?'), pipe it in, or write - to read "
    "it from stdin"
)


class NoPromptError(UserError):
    """There is neither a word nor anything on stdin."""


class Stdin(NamedTuple):
    """What stdin is."""

    terminal: bool = False
    closed: bool = False
    piped: bool = False
    """Whether it is a pipe or a file: it ends, and somebody has put it there for this command."""


def reads(words: Sequence[str], stdin: Stdin) -> bool:
    """Whether stdin is read: if the last word is ``-``; if there are no words, unless it is a terminal; and beside
    words only a pipe or a file. A socket, which programs leave open for their children, would never end."""
    if words and words[-1] == "-":
        return True
    return not stdin.closed and (stdin.piped if words else not stdin.terminal)


def composed(words: Sequence[str], piped: bytes | None) -> str:
    """The prompt: the words, an empty line, and what was piped in. Raises UserError if there is none of both."""
    prompt = " ".join(words[:-1] if words and words[-1] == "-" else words)
    try:
        text = (piped or b"").decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise UserError(f"stdin is not text in UTF-8: byte {exc.start} is 0x{exc.object[exc.start]:02x}") from None
    parts = [part for part in (prompt, text) if part.strip()]
    if not parts:
        if piped is None and not words:
            raise NoPromptError(_NOTHING)
        raise UserError("the prompt is empty: there is nothing to ask")
    return "\n\n".join(parts)


def read_prompt(words: Sequence[str]) -> str:
    """The prompt, after reading stdin if :func:`reads` says so. Raises UserError."""
    stdin = _stdin()
    return composed(words, _piped(stdin) if reads(words, stdin) else None)


def _piped(stdin: Stdin) -> bytes:
    """All of stdin. If nothing comes, say that it is waited for: a program may have left it open for its children."""
    try:
        if stdin.piped and sys.platform != "win32" and not select.select([sys.stdin], [], [], PATIENCE)[0]:
            problem("ask", "waiting for stdin to end, which the prompt is read from; < /dev/null leaves it out")
        piped = read_stdin(LONGEST_PROMPT + 1)
    except OSError as exc:
        raise UserError(f"cannot read stdin: {exc.strerror}") from exc
    if len(piped) > LONGEST_PROMPT:
        raise UserError(f"stdin has more than {LONGEST_PROMPT // 1024**2} MiB")
    return piped


def _stdin() -> Stdin:
    """What stdin is now."""
    try:
        number = sys.stdin.fileno()
        mode = os.fstat(number).st_mode
    except (OSError, ValueError, AttributeError):  # AttributeError: Python has no stdin if it was closed.
        return Stdin(closed=True)
    return Stdin(terminal=os.isatty(number), piped=stat.S_ISFIFO(mode) or stat.S_ISREG(mode))
