"""Objects of ``openai``, compared."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel


def difference(ours: Any, theirs: Any, path: str = "$") -> str:
    """Where two values differ in type, fields, extra fields, which were set, private attributes; "" if nowhere."""
    if type(ours) is not type(theirs):
        return f"{path}: {type(ours)} is not {type(theirs)}"
    if isinstance(ours, BaseModel):
        if ours.__pydantic_fields_set__ != theirs.__pydantic_fields_set__:
            return f"{path}: set {ours.__pydantic_fields_set__} is not {theirs.__pydantic_fields_set__}"
        return (
            difference(ours.__dict__, theirs.__dict__, path)
            or difference(ours.__pydantic_extra__, theirs.__pydantic_extra__, f"{path}<extra>")
            or difference(ours.__pydantic_private__, theirs.__pydantic_private__, f"{path}<private>")
        )
    if isinstance(ours, dict):
        if list(ours) != list(theirs):
            return f"{path}: {list(ours)} is not {list(theirs)}"
        return next(filter(None, (difference(ours[key], theirs[key], f"{path}.{key}") for key in ours)), "")
    if isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"{path}: {len(ours)} elements, not {len(theirs)}"
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next(filter(None, (difference(one, other, f"{path}[{i}]") for i, (one, other) in pairs)), "")
    same = ours == theirs or (isinstance(ours, float) and math.isnan(ours) and math.isnan(theirs))
    return "" if same else f"{path}: {ours!r} is not {theirs!r}"
