"""Types for argparse: they convert the text of an option, or raise an error that says what the option takes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeVar

from ...sansio.errors import UserError
from ...sansio.lanes import is_stream_id
from ...sansio.server import parse_json
from ._kept import is_name

__all__ = [
    "Options",
    "add_latency",
    "add_limits",
    "conversation_name",
    "count",
    "not_empty",
    "key",
    "lane",
    "limits",
    "port",
    "seconds",
    "size",
]

T = TypeVar("T")

_MOST: Final = 10**15
"""What a limit may be at most, in bytes, seconds, or how many there are; more than that is meant to be no limit."""
_UNITS: Final = {"K": 1000, "M": 1000**2, "G": 1000**3}


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
            value = math.nan if "_" in text else float(text)
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


def size(text: str) -> int:
    """A type for a number of bytes: a whole number, with K, M or G behind it for 10^3, 10^6 or 10^9 of them."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    if not (number.isascii() and number.isdecimal() and len(number) <= 15 and int(number)):
        raise argparse.ArgumentTypeError("takes bytes: a whole number above 0, as 100000, 50K, 20M or 1G")
    return int(number) * _UNITS.get(unit, 1)


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


def not_empty(text: str) -> str:
    """A type for a text that says something."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: write a text, or leave out the option")
    return text


def lane(text: str) -> str:
    """A type for the name of a lane."""
    if not is_stream_id(text):
        raise argparse.ArgumentTypeError("takes 1 to 256 characters of A-Z a-z 0-9 _ - .")
    return text


def conversation_name(text: str) -> str:
    """A type for the name of a conversation that is kept in a file."""
    if not is_name(text):
        raise argparse.ArgumentTypeError("takes 1 to 64 characters of A-Z a-z 0-9 _ - . and no . as the first")
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


def add_limits(parser: Options, names: Collection[str]) -> None:
    """Declare ``--option NAME=VALUE``, for :func:`limits`."""
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a limit of a connection, as JSON (null for none); may be given several times: " + ", ".join(names),
    )


def limits(given: Sequence[str], names: Collection[str], kind: Callable[..., T]) -> T:
    """What ``kind`` makes of the options ``NAME=VALUE``; a value is JSON, or else text. Raises UserError."""
    options: dict[str, Any] = {}
    for option in given:
        name, _, value = option.partition("=")
        if name not in names:
            raise UserError(f"--option {option}: write one of {', '.join(names)}, then = and a value")
        try:
            options[name] = parse_json(value)
        except UserError:
            options[name] = value
        if isinstance(options[name], int | float) and options[name] > _MOST:
            raise UserError(f"--option {option}: write a number up to {_MOST:g}, or null for no limit")
    try:
        return kind(**options)
    except UserError as exc:
        raise UserError(f"--option: {str(exc).replace(', or None for', ', or null for')}") from None
