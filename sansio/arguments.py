"""What ``create()``, ``respond()`` and ``run()`` take besides their input, for type checkers.

The promise
    Type checkers find a name that is misspelled and a value of a wrong type. At run time every name passes: what
    turnwire does not know is a field of the request, and the server decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Protocol, TypeAlias, TypeVar

from .connection import Leave
from .conversation import ToolCall
from .events import Event
from .fields import ConversationFields, RequestFields, RunFields
from .lanes import AnyLane
from .omit import Omit
from .timeouts import Timeout

__all__ = [
    "ConversationArguments",
    "ConversationBody",
    "ConversationDefaults",
    "Format",
    "RunArguments",
    "UntypedFormat",
    "TurnArguments",
    "TypeAdapter",
    "TypedFormat",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TypeAdapter(Protocol[T_co]):
    """A ``TypeAdapter`` of pydantic, as a ``text_format``."""

    def validate_json(self, data: str | bytes | bytearray, /) -> T_co:
        """The value of a JSON text."""
        ...

    def json_schema(self) -> dict[str, Any]:
        """The schema of the values."""
        ...


TypedFormat: TypeAlias = type[T] | TypeAdapter[T]
"""A ``text_format`` whose answers are known to be of type T."""
UntypedFormat: TypeAlias = Mapping[str, Any] | UnionType | Omit
"""A ``text_format`` whose answers may be any JSON value, or whose type checkers cannot tell."""
Format: TypeAlias = TypedFormat[Any] | UntypedFormat
"""Any ``text_format``."""


class TurnArguments(RequestFields, total=False):
    """What ``session.create()`` and ``respond()`` take: :class:`~turnwire.sansio.fields.RequestFields`, and these.

    ============== ===================================================================================================
    ``stream_id``  the lane: a name, None for the default lane, AUTO for any
    ``timeout``    seconds for each wait, ``Timeouts(…)``, an HTTP client's timeout object, or None for no limit
    ``leave``      what becomes of the WebSocket if the turn is left: ``"abort"`` or ``"abandon"``
    ``extra_body`` more members of the request: they are put over the fields of the same call, and may be any
    ============== ===================================================================================================
    """

    stream_id: AnyLane
    timeout: Timeout
    leave: Leave | None
    extra_body: Mapping[str, Any] | Omit | None


class ConversationBody(ConversationFields, total=False):
    """The fields of a turn in a conversation, and ``extra_body``. See :class:`TurnArguments`."""

    extra_body: Mapping[str, Any] | Omit | None


class ConversationArguments(ConversationBody, total=False):
    """What ``conversation.create()`` and ``respond()`` take besides the input. See :class:`TurnArguments`."""

    timeout: Timeout
    leave: Leave | None


class ConversationDefaults(ConversationBody, total=False):
    """What ``session.conversation()`` takes besides lane, timeout and ``leave``. See :class:`TurnArguments`."""

    text_format: Format


class RunArguments(RunFields, total=False):
    """What ``conversation.run()`` takes besides input and tools. See :class:`TurnArguments`."""

    max_turns: int
    parallel: int
    on_event: Callable[[Event], Any] | None
    on_call: Callable[[ToolCall], Any] | None
    approve: Callable[[ToolCall], Any] | None
    on_error: Callable[[ToolCall, Exception], Any] | None
    on_interrupted: Callable[[ToolCall], Any] | None
    reset_tool_choice: bool
    timeout: Timeout
    leave: Leave | None
    extra_body: Mapping[str, Any] | Omit | None
