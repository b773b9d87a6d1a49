"""How results are shown: tables for a terminal or for Markdown, and units."""

from __future__ import annotations

from collections.abc import Sequence


def seconds(value: float) -> str:
    """A duration with three digits, in the unit that suits it."""
    factor, unit = (1.0, "s") if value >= 0.995 else (1e3, "ms") if value >= 0.995e-3 else (1e6, "µs")
    return f"{value * factor:#.3g}".rstrip(".") + f" {unit}"


def times(ratio: float) -> str:
    """A ratio."""
    return f"{ratio:.2f}x" if ratio < 9.95 else f"{ratio:.0f}x"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """A table: padded columns for a terminal, or Markdown."""
    if markdown:
        lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    plain = [[cell.replace("`", "").replace("*", "") for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    plain.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join((first.ljust(widths[0]), *map(str.rjust, rest, widths[1:]))).rstrip() for first, *rest in plain
    )
