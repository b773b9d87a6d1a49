"""The product's sources as syntax trees, each parsed once however many policies are read from it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

__all__ = ["lines_of_code", "parse", "readme_programs", "recipe"]

NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


@cache
def parse(text: str) -> ast.Module:
    """The tree of a module's text. Do not change it."""
    return ast.parse(text)


def lines_of_code(text: str) -> set[int]:
    """The numbers of a module's lines that have something else than a comment or a docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


def recipe(title: str) -> tuple[str, str]:
    """The first program under a heading of README.md, and what README.md says that it prints."""
    text = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n### {title}\n")[2]
    program, shown = re.findall(r"^```(?:python|text)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[:2]
    return program, shown


def readme_programs() -> list[str]:
    """The programs of README.md, in order."""
    text = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
