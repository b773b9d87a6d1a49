"""The fields of a request, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, TypeVar

from ..omit import Omit
from ._items import Input, InputContent, JsonSchemaFormat
from ._tools import Effort, TextFormat, ToolChoiceParam, ToolParam

T = TypeVar("T")

Nullable: TypeAlias = T | Omit | None
"""A value, None for JSON's null, or OMIT, which leaves the field out."""
Filled: TypeAlias = T | Omit
"""A value, or OMIT, which leaves the field out."""


class ReasoningOptions(TypedDict, total=False):
    """How the model reasons: how much, whether with a summary, and which of its earlier reasoning it has."""

    effort: Effort | None
    summary: Literal["auto", "concise", "detailed"] | None
    generate_summary: Literal["auto", "concise", "detailed"] | None
    context: Literal["auto", "current_turn", "all_turns"] | None
    mode: str


class JsonObjectFormat(TypedDict):
    """Text that is JSON, of no schema."""

    type: Literal["json_object"]


class TextOptions(TypedDict, total=False):
    """The form of the text, and how much of it. With ``text_format`` the format comes from there."""

    format: TextFormat | JsonSchemaFormat | JsonObjectFormat
    verbosity: Literal["low", "medium", "high"] | None


class Prompt(TypedDict):
    """A prompt that the server has, and the values of its variables."""

    id: str
    version: NotRequired[str | None]
    variables: NotRequired[Mapping[str, str | InputContent] | None]


class PromptCacheOptions(TypedDict, total=False):
    """How the prompt is cached. ``ttl`` is the least time. ``prewarm`` fills the cache and generates nothing."""

    mode: Literal["implicit", "explicit"]
    ttl: Literal["30m", "12h"]
    prewarm: bool
    comparison_response_id: str | None


class ContextManagement(TypedDict):
    """When the server compacts the conversation: above this number of tokens. The known type is ``compaction``."""

    type: str
    compact_threshold: NotRequired[int | None]


class StreamOptions(TypedDict, total=False):
    """Whether events are padded, so that their sizes say nothing."""

    include_obfuscation: bool


class ServerConversation(TypedDict):
    """A conversation that the server keeps."""

    id: str


class ModerationMode(TypedDict):
    """Whether what is objectionable is scored or blocked."""

    mode: Literal["score", "block"]


class ModerationPolicy(TypedDict, total=False):
    """The same for the input and for the output."""

    input: ModerationMode | None
    output: ModerationMode | None


class Moderation(TypedDict):
    """Which model looks at input and output, and what follows."""

    model: str
    policy: NotRequired[ModerationPolicy | None]


class AccessPrograms(TypedDict, total=False):
    """Programs of access to what a model does not tell everybody."""

    cyber: Literal["standard", "daybreak_blue", "daybreak_red"]


class BackgroundOptions(TypedDict, total=False):
    """When a response in the background has to be complete."""

    completion_window: Literal["soonest", "2h", "8h"]
    continuation_id: str


class ImageOptions(TypedDict, total=False):
    """Whether the images of the context are compressed."""

    context_compression: Literal["auto", "enabled", "disabled"]


class MultiAgent(TypedDict, total=False):
    """Whether the model may start agents (beta)."""

    enabled: bool


Includable: TypeAlias = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
"""What a response has only if it is asked for."""


class RunFields(TypedDict, total=False):
    """The fields of every request but its tools and its input. :class:`RequestFields` has the list."""

    model: Filled[str]
    instructions: Nullable[str]
    tool_choice: Filled[ToolChoiceParam]
    parallel_tool_calls: Nullable[bool]
    max_tool_calls: Nullable[int]
    reasoning: Nullable[ReasoningOptions]
    text: Filled[TextOptions]
    temperature: Nullable[float]
    top_p: Nullable[float]
    top_logprobs: Nullable[int]
    max_output_tokens: Nullable[int]
    truncation: Nullable[Literal["auto", "disabled"]]
    context_management: Nullable[Iterable[ContextManagement]]
    include: Nullable[Iterable[Includable]]
    store: Nullable[bool]
    metadata: Nullable[Mapping[str, str]]
    prompt: Nullable[Prompt]
    prompt_cache_key: Nullable[str]
    prompt_cache_options: Filled[PromptCacheOptions]
    prompt_cache_retention: Nullable[Literal["in_memory", "24h"]]
    safety_identifier: Nullable[str]
    user: Filled[str]
    service_tier: Nullable[Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]]
    moderation: Nullable[Moderation]
    access_programs: Filled[AccessPrograms]
    image: Filled[ImageOptions]
    background: Nullable[bool]
    background_options: Filled[BackgroundOptions]
    stream: Nullable[bool]
    stream_options: Nullable[StreamOptions]
    client_metadata: Filled[Mapping[str, Any]]
    multi_agent: Filled[MultiAgent]


class ConversationFields(RunFields, total=False):
    """The fields of a turn in a conversation: those of :class:`RequestFields`, but ``input``, ``previous_response_id``,
    ``conversation`` and ``generate``, which a conversation sets by itself."""

    tools: Filled[Iterable[ToolParam | Mapping[str, Any]]]


class RequestFields(ConversationFields, total=False):
    """The fields of a request: the keyword arguments of ``create()`` and ``respond()``, with their types.

    For type checkers these are all; what a server takes beside them goes into ``extra_body``. At run time every name is
    sent as it is. None is sent as null; OMIT leaves a field out.

    ============================= ====================================================================================
    field                         what it says
    ============================= ====================================================================================
    ``model``                     the model's name
    ``input``                     text, or items: messages, outputs of tools, items of earlier responses
    ``instructions``              what comes before the input, as the developer's or the system's; for this response
    ``previous_response_id``      the response that this one goes on from
    ``conversation``              the server's conversation that it belongs to: an id, or ``{"id": …}``
    ``tools``                     what the model may call: functions, custom tools, tools of the server
    ``tool_choice``               ``"auto"``, ``"none"``, ``"required"``, or one tool
    ``parallel_tool_calls``       whether the model may call several tools at once
    ``max_tool_calls``            how often it may call tools of the server, at most
    ``reasoning``                 ``effort``, ``summary``
    ``text``                      ``format``, ``verbosity``
    ``temperature``               0 to 2: from always the likeliest token to very different ones
    ``top_p``                     0 to 1: only the likeliest tokens that have this probability together
    ``top_logprobs``              0 to 20: how many alternatives come with each token
    ``max_output_tokens``         the most tokens of the output, reasoning included
    ``truncation``                ``"auto"``: drop the oldest items if the input is too long; ``"disabled"``: fail
    ``context_management``        when the server compacts the conversation
    ``include``                   what a response has only if it is asked for
    ``store``                     whether the server keeps the response, so that others can go on from it by its id
    ``metadata``                  at most 16 pairs of texts, of 64 and of 512 characters
    ``prompt``                    a prompt that the server has, and its variables
    ``prompt_cache_key``          requests with one key are likely to find each other's prefix in the cache
    ``prompt_cache_options``      which prefixes are cached, and for how long at least
    ``prompt_cache_retention``    the same, in its earlier form
    ``safety_identifier``         whom the request is for: a stable text of at most 128 characters, as a hash
    ``user``                      the same, in its earlier form
    ``service_tier``              how fast, and for which price
    ``moderation``                whether input and output are looked at, and by which model
    ``access_programs``           programs of access that the caller is in
    ``image``                     whether the images of the context are compressed
    ``background``                whether it runs on without a connection; such a turn goes over HTTP
    ``background_options``        when a response in the background has to be complete
    ``stream``                    left out: every response is a stream of events here
    ``stream_options``            whether events are padded
    ``client_metadata``           what the client says of itself, in WebSockets (P-DIALECT-19)
    ``multi_agent``               whether the model may start agents, in WebSockets (beta, P-CLIENT-6)
    ``generate``                  False: a warm-up, in WebSockets (P-CLIENT-4)
    ============================= ====================================================================================
    """

    input: Filled[Input]
    previous_response_id: Nullable[str]
    conversation: Nullable[str | ServerConversation]
    generate: Filled[bool]
