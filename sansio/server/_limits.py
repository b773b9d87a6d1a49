"""The limits of texts, numbers and arrays in a request: what the reference of the API says, and its refusals.

Sources: ``openapi.json`` of openai/openai-openapi (August 2026): ``maxLength``, ``minLength``, ``pattern``,
``maxItems``, ``minItems``, ``minimum`` and ``maximum``; and for those that it leaves out PROTOCOL.md, P-STRICT-6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from ._problem import Problem

__all__ = ["LIMITS", "Limit", "array_problem", "limit_problem", "number_problem", "too_long", "too_many"]


class Limit(msgspec.Struct, frozen=True):
    """The least and the most: the characters of a text, the items of an array, or a number itself."""

    most: float | None = None
    least: float | None = None
    pattern: str | None = None
    decimal: bool = False
    """Whether the number is called a decimal in codes."""


_TEXT: Final = 10 * 1024 * 1024
_NAME: Final = r"^[a-zA-Z0-9_-]+$"
_SOME: Final = Limit(least=1)

LIMITS: Final[Mapping[str, Limit]] = {
    "call_id": Limit(64, 1),
    "caller_id": Limit(64, 1),
    "safety_identifier": Limit(64),
    "prompt_cache_key": Limit(64),
    "user": Limit(64),
    "allowed_callers": _SOME,
    "Request.max_output_tokens": Limit(least=16),
    "Request.max_tool_calls": Limit(least=1),
    "Request.temperature": Limit(2, 0, decimal=True),
    "Request.top_logprobs": Limit(20, 0),
    "Request.top_p": Limit(1, 0, decimal=True),
    "Request.tools": Limit(128),
    "Request.context_management": _SOME,
    "Request.instructions": Limit(_TEXT),
    "Request.input": Limit(_TEXT),
    "ContextManagement.compact_threshold": Limit(least=1000),
    "FunctionToolParam.name": Limit(128, 1, _NAME),
    "CustomToolParam.name": Limit(128, 1, _NAME),
    "ResponseFunctionToolCallParam.name": Limit(128, 1, _NAME),
    "ResponseCustomToolCallParam.name": Limit(128, 1, _NAME),
    "FunctionCallOutput.name": Limit(128, 1),
    "FunctionCallOutput.namespace": Limit(64, 1, _NAME),
    "FunctionCallOutput.output": Limit(_TEXT),
    "ApplyPatchCallOutput.output": Limit(_TEXT),
    "ResponseFunctionShellCallOutputContentParam.stdout": Limit(_TEXT),
    "ResponseFunctionShellCallOutputContentParam.stderr": Limit(_TEXT),
    "ResponseFormatTextJSONSchemaConfigParam.name": Limit(64, 1, _NAME),
    "ResponseInputTextParam.text": Limit(_TEXT),
    "ResponseInputTextContentParam.text": Limit(_TEXT),
    "ResponseInputImageParam.image_url": Limit(2 * _TEXT),
    "ResponseInputImageContentParam.image_url": Limit(2 * _TEXT),
    "ResponseInputFileParam.file_data": Limit(7 * _TEXT),
    "ResponseInputFileContentParam.file_data": Limit(7 * _TEXT),
    "ResponseCompactionItemParamParam.encrypted_content": Limit(2 * _TEXT),
    "ToolSearchOutputNamespaceToolParam.name": _SOME,
    "ToolSearchOutputNamespaceToolParam.tools": _SOME,
    "ToolMcp.tunnel_id": Limit(pattern=r"^tunnel_[a-z0-9]{32}$"),
    "ToolImageGeneration.output_compression": Limit(100, 0),
    "ToolImageGeneration.partial_images": Limit(3, 0),
    "ToolCodeInterpreterContainerCodeInterpreterToolAuto.file_ids": Limit(50),
    "ContainerAutoParam.file_ids": Limit(50),
    "ContainerAutoParam.skills": Limit(200),
}
"""By the shape and its member; or by the member alone, whatever the shape is."""


def limit_problem(value: object, path: str, shape: str, member: str) -> Problem | None:
    """Whether a value of the right type is out of its limits: the refusal, or None."""
    limit = LIMITS.get(f"{shape}.{member}") or LIMITS.get(member)
    if limit is None:
        return None
    match value:
        case str():
            return _text_problem(value, limit, path)
        case list():
            return array_problem(cast("list[Any]", value), limit, path)
        case None:
            return None
        case _:
            return number_problem(cast("float", value), limit, path)


def _text_problem(text: str, limit: Limit, path: str) -> Problem | None:
    if limit.least and not text:
        message = (
            f"Invalid '{path}': empty string. Expected a string with minimum length {limit.least}, "
            "but got an empty string instead."
        )
        return Problem(400, "empty_string", message, path)
    if limit.most is not None and len(text) > limit.most:
        return too_long(path, limit.most, len(text))
    if limit.pattern is not None and re.fullmatch(limit.pattern, text) is None:
        message = (
            f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern "
            f"'{limit.pattern}'."
        )
        return Problem(400, "invalid_value", message, path)
    return None


def too_long(path: str, most: float, given: int) -> Problem:
    """A text has more characters than it may have."""
    message = (
        f"Invalid '{path}': string too long. Expected a string with maximum length {most}, but got a string with "
        f"length {given} instead."
    )
    return Problem(400, "string_above_max_length", message, path)


def array_problem(items: list[Any], limit: Limit, path: str) -> Problem | None:
    """Whether an array has too few or too many items: the refusal, or None."""
    if limit.least and not items:
        message = (
            f"Invalid '{path}': empty array. Expected an array with minimum length {limit.least}, "
            "but got an empty array instead."
        )
        return Problem(400, "empty_array", message, path)
    if limit.most is not None and len(items) > limit.most:
        return too_many(path, limit.most, len(items))
    return None


def too_many(path: str, most: float, given: int) -> Problem:
    """An array has more items than it may have."""
    message = (
        f"Invalid '{path}': array too long. Expected an array with maximum length {most}, but got an array with "
        f"length {given} instead."
    )
    return Problem(400, "array_above_max_length", message, path)


_NUMBERS: Final = {
    (False, True): ("integer_below_min_value", "integer below minimum value. Expected a value >="),
    (False, False): ("integer_above_max_value", "integer above maximum value. Expected a value <="),
    (True, True): ("decimal_below_min_value", "decimal below minimum value. Expected a value >="),
    (True, False): ("decimal_above_max_value", "decimal above maximum value. Expected a value <="),
}
"""By whether the number is a decimal, and whether it is too low: the code, and what the message says."""


def number_problem(value: float, limit: Limit, path: str) -> Problem | None:
    """Whether a number is out of its limits: the refusal, or None."""
    low = limit.least is not None and value < limit.least
    if not low and (limit.most is None or value <= limit.most):
        return None
    code, says = _NUMBERS[limit.decimal, low]
    bound = limit.least if low else limit.most
    return Problem(400, code, f"Invalid '{path}': {says} {bound}, but got {value} instead.", path)
