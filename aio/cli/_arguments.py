"""Types for argparse: they convert the text of an option, or raise an error that says what the option takes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Options", "add_latency", "count", "key", "port", "seconds"]


class Options(Protocol):
    """A parser, or a group of its options."""

    @property
    def add_argument(self) -> Callable[..., Any]:
        """Declare an option."""
        ...


def seconds(*, most: float, above: bool = False) -> Callable[[str], float]:
    """A type for a number of seconds: from 0 to ``most``, or with ``above``, more than 0."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (0 < value <= most if above else 0 <= value <= most):
            least = "more than 0 and up to" if above else "from 0 to"
            raise argparse.ArgumentTypeError(f"takes seconds, {least} {most:g}")
        return value

    return parse


def port(text: str) -> int:
    """A type for a TCP port; 0 is any free one."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError("takes a port, from 0 to 65535")
    return int(text)


def count(text: str) -> int | None:
    """A type for how many of something there may be; ``all`` is None, no limit."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise argparse.ArgumentTypeError("takes a whole number, or 'all'")
    return int(text)


def key(text: str) -> str:
    """A type for a key that an HTTP header can hold."""
    if not text or not all("!" <= character <= "~" for character in text):
        raise argparse.ArgumentTypeError("takes visible ASCII characters, without spaces")
    return text


def add_latency(parser: Options, default: float, *, except_for: str = "") -> None:
    """Declare ``--latency``: the seconds that the loopback server waits before each event."""
    parser.add_argument(
        "--latency",
        type=seconds(most=60),
        default=default,
        metavar="SECONDS",
        help=f"wait before each event, up to 60 (default: %(default)s){except_for}",
    )
