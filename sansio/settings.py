"""How one model call is to be made, and the two ways to say "leave it out".

The promise
    Plain declarations, checked where they are made: nothing here converts, sends or decides. ``openai`` is never
    imported; its markers ``Omit`` and ``NotGiven`` are known by the name and module of their class, so they may stand
    wherever turnwire's may.

The markers (PARITY A13, A14)

    ============= ======================================== ===================================================
    marker        in headers and query                     in a body
    ============= ======================================== ===================================================
    ``Omit``      removes what would have been inherited   the field is not sent
    ``NotGiven``  leaves what would have been inherited    the field is not sent
    ============= ======================================== ===================================================

The settings (PARITY A1) are one table, :class:`ModelSettings`; what each may hold is another, ``_FITTING``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, TypeAlias, final

from .errors import UserError

__all__ = ["OMIT", "MCPToolChoice", "ModelSettings", "Omit", "ToolChoice", "is_not_given", "is_omit", "is_omitted"]


@final
class Omit:
    """The type of :data:`OMIT`; ``openai.Omit`` means the same wherever turnwire takes it."""

    __slots__ = ()

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "OMIT"


OMIT: Final = Omit()
"""Leave this out. In headers and query it removes the inherited value; as a converter's result, "do not send"."""


@functools.lru_cache(maxsize=512)
def _marker(kind: type) -> str | None:
    for base in kind.__mro__:
        if base.__name__ in ("Omit", "NotGiven") and base.__module__.partition(".")[0] in ("openai", "turnwire"):
            return base.__name__
    return None


def is_omit(value: object) -> bool:
    """Whether ``value`` is :data:`OMIT` or an ``openai.Omit``: what would have been inherited goes."""
    return _marker(type(value)) == "Omit"


def is_not_given(value: object) -> bool:
    """Whether ``value`` is an ``openai.NotGiven``: what would have been inherited stays."""
    return _marker(type(value)) == "NotGiven"


def is_omitted(value: object) -> bool:
    """Whether ``value`` is one of the markers, so that a body must not hold it."""
    return _marker(type(value)) is not None


@dataclass(frozen=True, slots=True)
class MCPToolChoice:
    """The choice of one tool of a hosted MCP server (PARITY B1)."""

    server_label: str
    name: str


ToolChoice: TypeAlias = str | MCPToolChoice
"""``auto``, ``required``, ``none``, the name of a hosted tool or of a function, or an :class:`MCPToolChoice`."""

_Object: TypeAlias = Any
"""An object of the body: a mapping, or a pydantic model such as ``openai.types.shared.Reasoning``."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The settings of a model call; None leaves a setting to the server (PARITY A1).

    Names and order are those of the Agents SDK's class, whose instances are taken in this one's place.

    Raises:
        UserError: a value of a kind that the setting cannot hold.
    """

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    """Not a parameter of the Responses API; kept so that settings can be shared with other models."""
    presence_penalty: float | None = None
    """Not a parameter of the Responses API either."""
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    """Whether the model may call several tools in one turn; False allows it one."""
    truncation: Literal["auto", "disabled"] | None = None
    max_tokens: int | None = None
    """At most this many output tokens (``max_output_tokens``)."""
    reasoning: _Object | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    metadata: Mapping[str, str] | None = None
    store: bool | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    include_usage: bool | None = None
    """Not a parameter of the Responses API, which always reports usage."""
    response_include: Sequence[str] | None = None
    """More of ``include``, beside what the tools ask for; any string passes."""
    top_logprobs: int | None = None
    """How many alternatives to report per token; asks for ``message.output_text.logprobs`` by itself."""
    extra_query: Mapping[str, Any] | None = None
    """For the handshake's URL."""
    extra_body: Mapping[str, Any] | None = None
    """More fields of the body, as they are."""
    extra_headers: Mapping[str, Any] | None = None
    """For the handshake."""
    extra_args: Mapping[str, Any] | None = None
    """More keyword arguments of ``responses.create``; none may repeat one that is already set (PARITY A9)."""
    context_management: Sequence[Mapping[str, Any]] | None = None
    prompt_cache_options: _Object | None = None

    def __post_init__(self) -> None:
        for names, fits, wanted in _FITTING:
            for name in names:
                value = getattr(self, name)
                if value is not None and not fits(value):
                    raise UserError(
                        f"ModelSettings({name}=…) is of type {type(value).__name__}: write {wanted}, or None"
                    )

    def resolve(self, override: ModelSettings | None) -> ModelSettings:
        """These settings with those of ``override`` that are not None laid over them; ``extra_args`` are merged."""
        if override is None:
            return self
        changes = {
            field.name: value for field in fields(self) if (value := getattr(override, field.name, None)) is not None
        }
        if merged := {**(self.extra_args or {}), **(override.extra_args or {})}:
            changes["extra_args"] = merged
        return replace(self, **changes)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_choice(value: object) -> bool:
    return isinstance(value, str) or (hasattr(value, "server_label") and hasattr(value, "name"))


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_listing(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


_FITTING: Final = (
    (("temperature", "top_p", "frequency_penalty", "presence_penalty"), _is_number, "a number"),
    (("max_tokens", "top_logprobs"), _is_count, "a whole number"),
    (("parallel_tool_calls", "store", "include_usage"), _is_flag, "True or False"),
    (("truncation", "verbosity", "prompt_cache_retention"), _is_text, "text"),
    (("tool_choice",), _is_choice, "auto, required, none, a tool's name, or MCPToolChoice(server_label=…, name=…)"),
    (("metadata", "extra_query", "extra_body", "extra_headers", "extra_args"), _is_mapping, "a mapping"),
    (("response_include", "context_management"), _is_listing, "a list"),
)
"""Which settings hold what: names, a test, and what to write when it fails."""
