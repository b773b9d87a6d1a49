"""Standard streams that may be closed or full: what cannot be printed ends a command in one line, without a traceback.

The promise
    While a command runs (:func:`guarded`), a failure to write on stdout is a :class:`StdoutError`, which no other file
    can raise. What cannot be written on stderr is lost, and ends nothing. No file or socket gets the number of a
    standard stream that was closed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Generator
from typing import Any, Final, TextIO, cast

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "WRONG_USAGE",
    "StdoutError",
    "guarded",
    "harmless",
    "leaves",
    "problem",
    "read_stdin",
]

FAILED: Final = 1
"""The exit status of a command that did not do what it should."""
WRONG_USAGE: Final = 2
"""The exit status for wrong arguments, and for files and variables that cannot be used: nothing was done."""
INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status after Ctrl-C, by the convention of shells: 130."""


class StdoutError(Exception):
    """Stdout cannot be written to. ``reason`` is the error of the system."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason.strerror or str(reason))
        self.reason = reason


class _Guarded(io.TextIOBase):
    """A text stream around another one. ``quiet``: what cannot be written is lost; else it raises StdoutError."""

    def __init__(self, stream: TextIO | None, *, quiet: bool) -> None:
        self._stream = stream
        self._quiet = quiet

    def write(self, text: str, /) -> int:
        try:
            return len(text) if self._stream is None else self._stream.write(text)
        except OSError as exc:
            self._failed(exc)
            return len(text)

    def flush(self) -> None:
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError as exc:
            self._failed(exc)

    def _failed(self, exc: OSError) -> None:
        """Let Python's flush at its end succeed, which would fail again."""
        with contextlib.suppress(OSError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        if not self._quiet:
            raise StdoutError(exc) from exc

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded() -> Generator[None]:
    """Stdout raises StdoutError if it cannot be written to, and stderr nothing."""
    _fill_closed()
    stdout, stderr = sys.stdout, sys.stderr
    stream: object = stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # On Windows, a pipe's encoding lacks most characters.
    sys.stdout, sys.stderr = _Guarded(stdout, quiet=False), _Guarded(stderr, quiet=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def _fill_closed() -> None:
    """Open the standard streams that are closed, so that nothing else gets their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Takes the lowest number that is free.


def read_stdin(most: int = -1) -> bytes:
    """All of stdin, or so many bytes. Raises OSError, also if it was closed before the command began."""
    try:
        return sys.stdin.buffer.read(most) or b""
    except AttributeError:  # Then Python has no stdin.
        raise OSError(errno.EBADF, "it is closed") from None


def leaves(exc: BaseException) -> list[BaseException]:
    """The exceptions in a group, and in groups in it; or the exception itself."""
    if not isinstance(exc, BaseExceptionGroup):
        return [exc]
    group = cast("BaseExceptionGroup[BaseException]", exc)
    return [leaf for member in group.exceptions for leaf in leaves(member)]


def problem(command: str, text: str) -> None:
    """Print a problem on stderr, in one line, without control characters."""
    print(f"turnwire {command}: {harmless(' '.join(text.split()))}", file=sys.stderr)


def harmless(text: str) -> str:
    """The text without the control characters of ECMA-48, which a terminal may take for commands."""
    return "".join(char if char in "\n\t" or char.isprintable() or ord(char) > 0x9F else "\ufffd" for char in text)
