"""What a model call sends: the keyword arguments of ``responses.create``, and their message.

The promise
    Pure functions. The same arguments give the same result; the caller's objects are never changed; nothing is sent,
    awaited or read from the environment. A request that cannot be sent is refused here, before a connection is opened:
    with a :class:`~turnwire.sansio.errors.UserError` that says what to write instead, or with a ``TypeError`` that
    names the path to a value that JSON does not have.

Two steps; each can be used alone

    ======================================= =============================================================== ==========
    step                                    gives                                                           PARITY
    ======================================= =============================================================== ==========
    :func:`create_kwargs`                   the keyword arguments of the client's ``responses.create``      A2-A11
    :func:`prepare`                         their message; and separately, what its request needs: headers,         A12
                                            query, timeout
    ======================================= =============================================================== ==========
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from ..encoding import plain
from ..endpoint import USER_AGENT
from ..errors import UserError, WrongTypeError
from ..messages import in_lane
from ..omit import OMIT, is_omitted
from .converter import Converter
from .settings import ModelSettings
from .tools import Handoff, OutputSchemaLike, Tool

__all__ = ["FAKE_RESPONSES_ID", "Prepared", "create_kwargs", "prepare"]

# --- the kwargs of responses.create() --------------------------------------------------------------------------------

FAKE_RESPONSES_ID: Final = "__fake_id__"
"""The id that the Agents SDK gives to items which did not come from the Responses API; no server knows it."""

_FROM_SETTINGS: Final = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("truncation", "truncation"),
    ("max_output_tokens", "max_tokens"),
    ("store", "store"),
    ("prompt_cache_retention", "prompt_cache_retention"),
    ("prompt_cache_options", "prompt_cache_options"),
    ("reasoning", "reasoning"),
    ("metadata", "metadata"),
    ("context_management", "context_management"),
)
"""Keyword arguments that are settings unchanged, with the name of the setting (PARITY A2)."""


def create_kwargs(
    *,
    model: str | None,
    turn_input: str | Sequence[Any],
    model_settings: ModelSettings | None = None,
    tools: Sequence[Tool] = (),
    output_schema: OutputSchemaLike | None = None,
    handoffs: Sequence[Handoff] = (),
    system_instructions: str | None = None,
    previous_response_id: str | None = None,
    conversation_id: str | None = None,
    prompt: Any = None,
    stream: bool = False,
    model_is_explicit: bool = True,
    headers_override: Mapping[str, Any] | None = None,
    idle_parallel_tool_calls: bool = True,
) -> dict[str, Any]:
    """The keyword arguments of ``responses.create`` for one model call; arguments that are not sent are left out.

    Args:
        model: left out if a prompt is given and ``model_is_explicit`` is False: then the prompt chooses (A5).
        turn_input: text, which becomes one user message, or items, which are copied into plain JSON (A3, A10).
        model_settings: the call's settings (A1, A4, A7-A9, A11).
        tools: what the model may use (A6, B4, B5).
        output_schema: the shape of its answer (A8, B6).
        handoffs: the agents it may pass the conversation to.
        system_instructions: sent as ``instructions``.
        previous_response_id: the response to continue.
        conversation_id: sent as ``conversation``.
        prompt: a stored prompt, which may bring model and tools (A5, A6).
        stream: whether ``stream=True`` is among the arguments.
        model_is_explicit: whether the caller chose ``model``; False: it is the default.
        headers_override: headers that replace those of the settings (A11): the caller's context variable.
        idle_parallel_tool_calls: send ``parallel_tool_calls=False`` even when there is nothing to call, as the Agents
            SDK does; with False, only when there are tools or a prompt, as its later versions do (A4).

    Raises:
        UserError: what the converter refuses (B1-B5); an ``include`` that is not text; ``extra_headers`` that are not a
            mapping; an input that is neither text nor items.
        WrongTypeError: an ``extra_args`` key that is set already (A9); a value that JSON does not have in input,
            tools or schema.
    """
    settings = model_settings or ModelSettings()
    request_model = None if prompt is not None and not model_is_explicit else model
    callables = _callables(tools, handoffs, prompt, settings, request_model, idle=idle_parallel_tool_calls)
    fields: dict[str, Any] = {
        "previous_response_id": previous_response_id,
        "conversation": conversation_id,
        "instructions": system_instructions,
        "model": request_model,
        "input": _input_items(turn_input),
        **callables,
        "stream": stream or None,
        "text": _text(output_schema, settings),
        **{name: getattr(settings, setting, None) for name, setting in _FROM_SETTINGS},
    }
    kwargs = {name: value for name, value in fields.items() if value is not None and not is_omitted(value)}
    kwargs["extra_headers"] = _extra_headers(settings.extra_headers, headers_override)
    kwargs["extra_query"] = settings.extra_query
    kwargs["extra_body"] = settings.extra_body
    extra_args = {**(settings.extra_args or {}), **_given(top_logprobs=settings.top_logprobs)}
    if twice := sorted(kwargs.keys() & extra_args.keys()):
        names = ", ".join(map(repr, twice))
        raise WrongTypeError(f"there are multiple values for {names}: leave out of extra_args what is set already")
    return kwargs | extra_args


def _callables(
    tools: Sequence[Tool],
    handoffs: Sequence[Handoff],
    prompt: Any,
    settings: ModelSettings,
    request_model: str | None,
    *,
    idle: bool,
) -> dict[str, Any]:
    """What the model may call, and how: the fields of tools, tool choice and prompt (PARITY A4-A7)."""
    computer_model = Converter.resolve_computer_tool_model(request_model=request_model, tools=tools)
    tool_choice = Converter.convert_tool_choice(
        settings.tool_choice, tools=tools, handoffs=handoffs, model=computer_model
    )
    converted = Converter.convert_tools(
        tools,
        handoffs,
        allow_opaque_tool_search_surface=prompt is not None,
        model=computer_model,
        tool_choice=settings.tool_choice,
    )
    brought_by_prompt = prompt is not None and not converted.tools
    callable_here = bool(converted.tools) or prompt is not None
    return {
        "include": _include(converted.includes, settings),
        "tools": None if brought_by_prompt else plain(converted.tools, "tools"),
        "prompt": prompt,
        "tool_choice": None if brought_by_prompt and isinstance(tool_choice, dict) else tool_choice,
        "parallel_tool_calls": _parallel_tool_calls(settings.parallel_tool_calls, callable_here, idle),
    }


def _text(output_schema: OutputSchemaLike | None, settings: ModelSettings) -> dict[str, Any] | None:
    """The format of the answer, and its verbosity (PARITY A8, B6)."""
    text = Converter.get_response_format(output_schema)
    return {**plain(text or {}, "text"), **_given(verbosity=settings.verbosity)} or None


def _given(**named: Any) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None}


def _input_items(turn_input: object) -> list[Any]:
    """The input as items in plain JSON, without what other providers added to them (PARITY A3, A10)."""
    if isinstance(turn_input, str):
        return [{"content": turn_input, "role": "user"}]
    kind = type(turn_input).__name__
    one = isinstance(turn_input, Mapping | bytes | bytearray) or hasattr(turn_input, "model_dump")
    if one or not isinstance(turn_input, Iterable):
        raise UserError(f"the input is of type {kind}: write text, or a list of items")
    cleaned: list[Any] = []
    for item in plain(list(cast("Iterable[object]", turn_input)), "input"):
        if isinstance(item, dict):
            fields = cast("dict[str, Any]", item)
            foreign = fields.pop("provider_data", None)
            if foreign and fields.get("type") == "reasoning":
                continue
            if fields.get("id") == FAKE_RESPONSES_ID:
                del fields["id"]
        cleaned.append(item)
    return cleaned


def _include(wanted_by_tools: Sequence[str], settings: ModelSettings) -> list[str]:
    """PARITY A7: the union, sorted, so that the same request has the same bytes."""
    include = set(wanted_by_tools)
    for value in cast("Sequence[object]", settings.response_include or ()):
        if not isinstance(value, str):
            raise UserError(f"response_include holds something of type {type(value).__name__}: write names, as text")
        include.add(value)
    if settings.top_logprobs is not None:
        include.add("message.output_text.logprobs")
    return sorted(include)


def _parallel_tool_calls(wanted: bool | None, callable_here: bool, idle: bool) -> bool | None:
    """PARITY A4: True only if there is something to call; False then, and by default always."""
    return wanted if callable_here or (idle and wanted is False) else None


def _extra_headers(*layers: object) -> dict[str, Any]:
    """PARITY A11: turnwire's name, then each layer over it; names match in any case."""
    merged: dict[str, tuple[str, Any]] = {"user-agent": ("User-Agent", USER_AGENT)}
    for layer in layers:
        for name, value in (_mapping("extra_headers", layer) or {}).items():
            merged[str(name).lower()] = (str(name), value)
    return dict(merged.values())


# --- the frame -------------------------------------------------------------------------------------------------------


class Prepared(NamedTuple):
    """A ``response.create`` message, and separately what its request needs: headers, query, timeout."""

    frame: dict[str, Any]
    """The message, for :func:`encode_json`."""
    headers: Mapping[str, Any]
    """For the handshake: ``endpoint_from_client(client, headers=…)``."""
    query: Mapping[str, Any] | None
    """For the handshake: ``endpoint_from_client(client, query=…)``."""
    timeout: Any
    """For ``timeouts_from(timeout, default=client.timeout)``; OMIT if the call has none."""


def prepare(kwargs: Mapping[str, Any], *, stream_id: str | None = None) -> Prepared:
    """The frame for the keyword arguments of ``responses.create`` (PARITY A12).

    ``extra_body`` overrides the arguments, except ``type`` and ``stream``. ``stream`` is always True, as the Agents
    SDK's model sends it.

    Args:
        kwargs: as :func:`create_kwargs` makes them; None is sent, ``Omit`` and ``NotGiven`` are not.
        stream_id: the lane to run in; None for the default lane, or for the one in ``extra_body`` or ``extra_args``.

    Raises:
        UserError: ``extra_headers``, ``extra_query`` or ``extra_body`` that are not a mapping; two different lanes.
        InvalidStreamIdError: a ``stream_id`` that is not 1-256 of ``A-Z a-z 0-9 _ - .``.

    Source: P-CLIENT-2.
    """
    fields = dict(kwargs)
    timeout = fields.pop("timeout", OMIT)
    headers, query, body = (_mapping(name, fields.pop(name, None)) for name in _EXTRAS)
    frame: dict[str, Any] = {"type": "response.create"}
    frame.update((name, value) for name, value in fields.items() if not is_omitted(value))
    frame["stream"] = True
    frame.update((str(name), value) for name, value in (body or {}).items() if not is_omitted(value))
    frame |= {"type": "response.create", "stream": True}
    return Prepared(in_lane(frame, stream_id), headers or {}, query, timeout)


_EXTRAS: Final = ("extra_headers", "extra_query", "extra_body")


def _mapping(name: str, value: object) -> Mapping[str, Any] | None:
    if value is None or is_omitted(value):
        return None
    if not isinstance(value, Mapping):
        raise UserError(f"{name} is of type {type(value).__name__}: write a mapping of names to values")
    return cast("Mapping[str, Any]", value)
