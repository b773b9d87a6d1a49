"""The settings of one model call.

The promise
    Plain declarations, checked when they are made: nothing here converts, sends or decides. ``openai`` is never
    imported.

The settings (PARITY A1) are one table, :class:`ModelSettings`; the values that each may have are another, ``_FITTING``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from math import inf
from typing import Any, Final, Literal, TypeAlias, cast

from ..errors import UserError, WrongTypeError

__all__ = [
    "MCPToolChoice",
    "ModelRetryBackoffSettings",
    "ModelRetrySettings",
    "ModelSettings",
    "ToolChoice",
]


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

    Names and order are those of the Agents SDK's class, whose instances are accepted, too.

    Raises:
        UserError: a value of a type that the setting cannot have.
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
    """More values of ``include``, in addition to those that the tools need; any string is accepted."""
    top_logprobs: int | None = None
    """How many alternatives to report per token; it also asks for ``message.output_text.logprobs``."""
    extra_query: Mapping[str, Any] | None = None
    """For the handshake's URL."""
    extra_body: Mapping[str, Any] | None = None
    """More fields of the body, sent unchanged."""
    extra_headers: Mapping[str, Any] | None = None
    """For the handshake."""
    extra_args: Mapping[str, Any] | None = None
    """More keyword arguments of ``responses.create``; none may repeat one that is already set (PARITY A9)."""
    retry: _Object | None = None
    """How the caller's loop repeats failed calls: :class:`ModelRetrySettings`, a mapping of its fields, or the Agents
    SDK's object. The models do not read it; the code that runs them does, such as that SDK's Runner."""
    context_management: Sequence[Mapping[str, Any]] | None = None
    prompt_cache_options: _Object | None = None
    preserve_raw_usage: bool | None = None
    """Whether ``ModelResponse.raw_usage`` holds the usage as the server sent it."""
    timeout: float | None = None
    """Seconds that a whole call may take, including all waits and events; more than 0."""

    def __post_init__(self) -> None:
        for names, fits, wanted in _FITTING:
            for name in names:
                value = getattr(self, name)
                if value is not None and not fits(value):
                    raise UserError(
                        f"ModelSettings({name}=…) is of type {type(value).__name__}: write {wanted}, or None"
                    )

    def resolve(self, override: ModelSettings | Mapping[str, Any] | None) -> ModelSettings:
        """These settings, overridden by those of ``override`` that are not None.

        ``extra_args`` are merged, and so is ``retry``, with its ``backoff``. ``override`` may be a mapping of settings.

        Raises:
            WrongTypeError: a mapping with a name that is not a setting, or an override of another type.
            UserError: a value of a type that the setting cannot have.
        """
        if override is None:
            return self
        over = _from_mapping(override) if isinstance(override, Mapping) else override
        if not hasattr(over, "extra_args"):
            raise WrongTypeError(
                f"the override is of type {type(override).__name__}: write ModelSettings(…) or a mapping"
            )
        names = [each.name for each in fields(self)]
        changes = {name: value for name in names if (value := getattr(over, name, None)) is not None}
        if merged := {**(self.extra_args or {}), **(over.extra_args or {})}:
            changes["extra_args"] = merged
        if (retry := merged_retry(self.retry, getattr(over, "retry", None))) is not None:
            changes["retry"] = retry
        return replace(self, **changes)


def _from_mapping(given: Mapping[str, Any]) -> ModelSettings:
    """Settings from a mapping by name, such as a configuration file contains."""
    unknown = sorted(str(name) for name in given.keys() - {each.name for each in fields(ModelSettings)})
    if unknown:
        raise WrongTypeError(f"there are no model settings {', '.join(unknown)}: write names of ModelSettings")
    values = dict(given)
    choice = values.get("tool_choice")
    if isinstance(choice, Mapping):
        values["tool_choice"] = MCPToolChoice(**cast("Mapping[str, str]", choice))
    return ModelSettings(**values)


# --- Retries -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelRetryBackoffSettings:
    """How long to wait between a caller's own repetitions. Names and order are those of the Agents SDK."""

    initial_delay: float | None = None
    """Seconds before the first repetition."""
    max_delay: float | None = None
    """The longest wait, in seconds."""
    multiplier: float | None = None
    """The factor by which each wait is longer than the one before."""
    jitter: bool | None = None
    """Whether the wait is random in part."""


@dataclass(frozen=True, slots=True)
class ModelRetrySettings:
    """How a caller's own loop repeats failed calls; None: the loop decides. Names and order are those of the Agents
    SDK.

    turnwire's own repetitions are set by ``SessionOptions(recovery=…)``.
    """

    max_retries: int | None = None
    """Repetitions after the first call."""
    backoff: ModelRetryBackoffSettings | Mapping[str, Any] | None = None
    policy: Callable[..., Any] | None = field(default=None, repr=False)
    """Called for each failure; decides whether to repeat."""


def merged_retry(inherited: Any, override: Any) -> Any:
    """One retry setting overridden by another; so are their ``backoff`` members. Both may be mappings or dataclasses.

    The result has the type of the inherited one, or of the override if only that is a dataclass.
    """
    if inherited is None or override is None:
        return inherited if override is None else override
    over, under = _members_set(override), _members_set(inherited)
    members = {**under, **over}
    if "backoff" in over and "backoff" in under:
        members["backoff"] = merged_retry(under["backoff"], over["backoff"])
    typed = next((each for each in (inherited, override) if is_dataclass(each)), None)
    return members if typed is None else replace(cast("Any", typed), **members)


def _members_set(value: Any) -> dict[str, Any]:
    """The members that are not None."""
    if isinstance(value, Mapping):
        members = dict(cast("Mapping[str, Any]", value))
    else:
        members = {each.name: getattr(value, each.name) for each in fields(value)}
    return {name: each for name, each in members.items() if each is not None}


# --- The values that a setting may have ------------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < inf


def _is_retry(value: object) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "backoff")


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
    (("timeout",), _is_duration, "a number of seconds above 0"),
    (("retry",), _is_retry, "ModelRetrySettings(…) or a mapping of its fields"),
    (("parallel_tool_calls", "store", "include_usage", "preserve_raw_usage"), _is_flag, "True or False"),
    (("truncation", "verbosity", "prompt_cache_retention"), _is_text, "text"),
    (("tool_choice",), _is_choice, "auto, required, none, a tool's name, or MCPToolChoice(server_label=…, name=…)"),
    (("metadata", "extra_query", "extra_body", "extra_headers", "extra_args"), _is_mapping, "a mapping"),
    (("response_include", "context_management"), _is_listing, "a list"),
)
"""Which settings have which values: names, a test, and what to write if it fails."""
