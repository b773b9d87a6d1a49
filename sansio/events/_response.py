"""The response, as contained in the events that begin and end a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ._items import Item, ResponseFunctionToolCall, ResponseOutputMessage, decode_item
from ._json import JsonText, exactly, force_setattr, keep, objects_in, read_envelope
from ._lenient import CodeString, decode_any, read_struct
from ._openai_plans import read_response
from ._parts import ResponseOutputText

if TYPE_CHECKING:
    from openai.types import responses as sdk


class InputTokensDetails(msgspec.Struct, frozen=True, gc=False):
    """How many of the input tokens came from the prompt cache, and how many were added to it."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_tokens_details: dict[str, Any] | None = None


class OutputTokensDetails(msgspec.Struct, frozen=True, gc=False):
    """How many of the output tokens were spent on reasoning."""

    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, frozen=True, gc=False):
    """The tokens that a response used."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()


class ResponseError(msgspec.Struct, frozen=True, gc=False):
    """Why a response failed."""

    code: CodeString | None = None
    message: str | None = None
    type: str | None = None
    param: str | None = None
    misalignment: dict[str, Any] | None = None


class IncompleteDetails(msgspec.Struct, frozen=True, gc=False):
    """Why a response is incomplete: ``max_output_tokens``, ``max_messages``, ``content_filter``, ``steered``."""

    reason: str | None = None


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """The conversation that a response belongs to."""

    id: str = ""


class Response(JsonText, msgspec.Struct, frozen=True, gc=False, eq=False, repr_omit_defaults=True):
    """A response: what the model made of one turn.

    ``status`` is ``queued``, ``in_progress``, ``completed``, ``failed``, ``incomplete``, ``cancelled``, or a value that
    is added in the future. Fields typed ``Any`` are plain JSON values; ``raw`` and ``to_dict()`` contain all fields.
    """

    id: str = ""
    object: str = "response"
    status: str | None = None
    model: str = ""
    created_at: float | None = None
    completed_at: float | None = None
    undecoded_output: list[msgspec.Raw] = msgspec.field(name="output", default_factory=list[msgspec.Raw])
    usage: ResponseUsage | None = None  # P-OUTPUT-3.
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    previous_response_id: str | None = None
    conversation: Conversation | None = None
    metadata: dict[str, Any] | None = None
    background: bool | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    temperature: float | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: str | None = None
    user: str | None = None
    undecoded_instructions: msgspec.Raw = msgspec.field(name="instructions", default=msgspec.Raw(b"null"))
    undecoded_tools: msgspec.Raw = msgspec.field(name="tools", default=msgspec.Raw(b"[]"))
    access_programs: Any = None
    image: Any = None
    input_transformations: Any = None
    moderation: Any = None
    prompt: Any = None
    prompt_cache_diagnostics: Any = None
    prompt_cache_options: Any = None
    reasoning: Any = None
    text: Any = None
    tool_choice: Any = None
    tool_usage: Any = None

    @property
    def output(self) -> list[Item]:
        """The items of the output in order, decoded on first use."""
        return self._read_once(lambda: [decode_item(text) for text in objects_in(self.undecoded_output)])

    @property
    def output_text(self) -> str:
        """The text of all messages in the output, joined; "" if there is none."""
        return "".join(
            part.text
            for item in self.output
            if isinstance(item, ResponseOutputMessage)
            for part in item.content
            if isinstance(part, ResponseOutputText)
        )

    @property
    def function_calls(self) -> list[ResponseFunctionToolCall]:
        """The calls of the client's functions in the output, in order. Other tool calls, such as custom ones, are in
        ``output``."""
        return [item for item in self.output if isinstance(item, ResponseFunctionToolCall)]

    @property
    def output_parsed(self) -> Any:
        """The answer as a value of the turn's ``text_format``; None: the turn was given none."""
        return None

    @property
    def instructions(self) -> Any:
        """The instructions that the response followed: a string, a list of input items, or None."""
        return self._read(lambda: decode_any(self.undecoded_instructions))

    @property
    def tools(self) -> Any:
        """The tools that the model could call, as a new list of dicts."""
        return self._read(lambda: decode_any(self.undecoded_tools))

    def to_openai(self) -> sdk.Response:
        """The response as a new object of the ``openai`` SDK, as ``client.responses.create()`` would return it."""
        return read_response(self.raw_bytes)

    def __repr__(self) -> str:
        return f"Response(id={self.id!r}, status={self.status!r}, model={self.model!r})"


_decode_response = msgspec.json.Decoder(Response).decode


def decode_response(text: bytes) -> Response:
    """Decode a response. Raises what msgspec raises if it is not an object; the caller makes the error."""
    try:
        response = _decode_response(text)
    except msgspec.DecodeError:
        replaced = read_envelope(text)[1]
        response = read_struct(Response, replaced)
        items = exactly(text, replaced, map(bytes, response.undecoded_output))
        force_setattr(response, "undecoded_output", list(map(msgspec.Raw, items)))
    keep(response, "_raw", text)
    return response


Response.reader = decode_response
