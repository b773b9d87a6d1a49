"""The product's sources as syntax trees, each parsed once however many policies are read from it."""

from __future__ import annotations

import ast
from functools import cache

__all__ = ["parse"]


@cache
def parse(text: str) -> ast.Module:
    """The tree of a module's text. Do not change it."""
    return ast.parse(text)
