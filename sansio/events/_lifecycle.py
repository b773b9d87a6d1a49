"""The events that contain the response: events that begin it, and events that end it."""

# Each class narrows the ``type`` of its base, which nobody sets.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ._event import ServerEvent
from ._filling import Particulars, fill_response
from ._json import (
    keep,
    read_envelope,
)
from ._lenient import decode_members
from ._names import LifecycleName
from ._response import Response, decode_response
from ._roles import ENDINGS, FINAL_STATUSES


class ResponseHead(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The part of a response that is decoded together with its event."""

    id: str | None = None


class LifecycleEvent(ServerEvent, frozen=True):
    """An event that contains the response. Base class of the six known types, and of other types that contain one."""

    routed: ClassVar[bool] = True

    head: ResponseHead = msgspec.field(name="response", default=ResponseHead())

    @property
    def response_id(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride] - frozen: to be read.
        """The response's id, without further decoding."""
        return self.head.id if self.head.id is not None else super().response_id

    def ids(self) -> tuple[str | None, str | None]:
        """As for every event; if the response has an id, the text is not read again."""
        return ServerEvent.ids(self) if self.head.id is None else (self.head.id, None)

    @property
    def response(self) -> Response:
        """The response as of this event, decoded on first use.

        In a turn's terminal event, missing parts are filled in: a missing or empty ``output`` is made of the items that
        came before, and a missing ``id`` is taken from earlier events. ``status`` is then what the event says, if the
        response says nothing or something else (PROTOCOL.md, "What starts, what ends, what is neither").
        """
        found = getattr(self, "_lazy", None)
        if isinstance(found, Response):
            return found
        return keep(self, "_lazy", self._read(lambda: self._read_response(found)))

    @property
    def full_bytes(self) -> bytes:
        """The event's text with the response as :attr:`response` has it; unchanged if there is no response and no
        items."""
        text = self._member("response")
        if not hasattr(self, "_lazy") or self.response.raw_bytes == text:
            return self.raw_bytes
        members = decode_members(read_envelope(self.raw_bytes)[1])
        if not bytes(members.get("response", b"")).startswith(b"{") and not self.response.undecoded_output:
            return self.raw_bytes
        return msgspec.json.encode({**members, "response": msgspec.Raw(self.response.raw_bytes)})

    def _read_response(self, known: Particulars | None) -> Response:
        text = self._member("response")
        response = decode_response(text)
        if known is None:
            return response
        filled = {} if response.id or known.id is None else {"id": known.id}
        outcome = self._outcome_of(response)
        if outcome is not None and FINAL_STATUSES.get(response.status or "") != outcome:
            filled["status"] = outcome
        full = fill_response(text, known.done, filled)
        return response if full is text else decode_response(full)

    def _outcome_of(self, response: Response) -> str | None:
        """The outcome with which the event ends this response; None if it does not end it."""
        return ENDINGS.get(self.type)


class ResponseCreatedEvent(LifecycleEvent, frozen=True, tag="response.created"):
    """The server made a response for the turn: from now on it may be running."""

    type: ClassVar[Literal["response.created"]]


class ResponseQueuedEvent(LifecycleEvent, frozen=True, tag="response.queued"):
    """The response waits to be processed."""

    type: ClassVar[Literal["response.queued"]]


class ResponseInProgressEvent(LifecycleEvent, frozen=True, tag="response.in_progress"):
    """The response is being generated."""

    type: ClassVar[Literal["response.in_progress"]]


class ResponseCompletedEvent(LifecycleEvent, frozen=True, tag="response.completed"):
    """The response is complete."""

    type: ClassVar[Literal["response.completed"]]
    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True


class ResponseFailedEvent(LifecycleEvent, frozen=True, tag="response.failed"):
    """The response failed; ``response.error`` says why."""

    type: ClassVar[Literal["response.failed"]]
    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True


class ResponseIncompleteEvent(LifecycleEvent, frozen=True, tag="response.incomplete"):
    """The response ended early; ``response.incomplete_details`` says why (``steered``: another response follows)."""

    type: ClassVar[Literal["response.incomplete"]]
    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True


class UnknownLifecycleEvent(LifecycleEvent, frozen=True):
    """An event of a type ``response.…`` that turnwire does not know and that contains a response.

    For type checkers, ``type`` is one of those that are known by name; it may be any other (D-API-16).
    """

    type: LifecycleName = ""
