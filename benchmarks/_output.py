"""How results are shown: tables for a terminal or for Markdown, units, and progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def seconds(value: float) -> str:
    """A duration with three digits, in s, ms or µs."""
    factor, unit = (1.0, "s") if value >= 0.995 else (1e3, "ms") if value >= 0.995e-3 else (1e6, "µs")
    return f"{value * factor:#.3g}".rstrip(".") + f" {unit}"


def kibibytes(value: float) -> str:
    """An amount of memory."""
    return f"{value / 1024:.1f} KiB"


def times(ratio: float) -> str:
    """A ratio."""
    return f"{ratio:.2f}x" if ratio < 9.95 else f"{ratio:.0f}x"


def share(ratio: float) -> str:
    """A small ratio, as a fraction."""
    return f"1/{1 / ratio:.3g}"


def table(lines: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """A table, its header first: padded columns for a terminal, or Markdown."""
    if markdown:
        header, *rows = lines
        return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---", *("---:" for _ in header[1:])], *rows])
    plain = [[cell.replace("`", "").replace("*", "") for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    plain.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join((first.ljust(widths[0]), *map(str.rjust, rest, widths[1:]))).rstrip() for first, *rest in plain
    )


def progress(text: str = "") -> None:
    """On a terminal, show what is being measured; without a text, erase that line."""
    if sys.stderr.isatty():
        print(f"\r{text:60}" if text else f"\r{'':60}\r", end="", file=sys.stderr, flush=True)
