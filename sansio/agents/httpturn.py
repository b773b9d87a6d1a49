"""A turn over HTTP: what its answer and its events prove, and the typed failure that it ends with (REPLAY.md, "HTTP").

The promise
    Over HTTP a turn fails as it does over WebSocket: with a :class:`~turnwire.sansio.errors.TurnError` whose evidence
    says how far it got. The server's data is read by the same tables: ``role_of`` and ``final_status`` of ``events``,
    ``read_error`` of ``error_body``, ``http_evidence`` of ``replay``. An exception that the HTTP client raises before
    an answer, or for one with another status, is not replaced; evidence is attached to it.

The answer to a request

    ============================================= ========================== =====================================
    the answer, with status 200                   the failure                cause in its evidence
    ============================================= ========================== =====================================
    a response, a stream of events                none                       none
    an error body                                 ResponsesHTTPError         ERROR_FRAME; never SAFE
    text, HTML, a list, null, nothing             ProtocolError              PROTOCOL; AMBIGUOUS
    an ``error`` event                            ResponsesHTTPError         ERROR_FRAME; never SAFE
    the end of the stream, no terminal event      StreamEndedError           EOF; UNSAFE
    a failure of the network in mid-stream        ConnectionLostError        TRANSPORT; UNSAFE
    a deadline in mid-stream                      TurnTimeoutError           TIMEOUT; UNSAFE
    an event that cannot be read                  ProtocolError              PROTOCOL; UNSAFE
    ============================================= ========================== =====================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from ..error_body import read_error
from ..errors import (
    ConnectionLostError,
    ProtocolError,
    ResponsesHTTPError,
    StreamEndedError,
    TurnAbortedError,
    TurnError,
    TurnTimeoutError,
)
from ..events import Role, role_of
from ..http._document import decoded, is_document, is_error_body, is_response, is_stream
from ..replay import Cause, Evidence, Refusal, attach_evidence, http_evidence, meaning
from ..sse import EventStream
from .tracing import shown
from .usage import member

__all__ = [
    "HttpTurn",
    "content_type_of",
    "decoded",
    "events_in",
    "is_document",
    "is_error_body",
    "is_response",
    "is_stream",
    "members_of",
]

_SHOWN: Final = 200
"""How many characters of an answer that is no response are shown."""


class HttpTurn:
    """How far one HTTP request got, from its answer on. ``stateful``: it continues state that the server keeps."""

    def __init__(self, *, stateful: bool) -> None:
        self._stateful = stateful
        self.started = False
        """Whether an event of the response came."""
        self._response_id: str | None = None

    def note(self, kind: str, members: Mapping[str, Any]) -> None:
        """Note an event of this type with these members."""
        role = role_of(kind, members)
        self.started = self.started or role is Role.RESPONSE or kind == "response.error"
        if role is Role.RESPONSE and self._response_id is None:
            found = member(members.get("response"), "id") or members.get("response_id")
            self._response_id = found if isinstance(found, str) else None

    # -- failures

    def left(self) -> TurnError | None:
        """The failure for a consumer that left; None if it is not known how far the request got."""
        if not self.started:
            return None
        return self._failure(TurnAbortedError, Cause.CANCELLED, "the consumer left the turn")

    def error_event(self, payload: Mapping[str, Any], request_id: str | None) -> TurnError:
        """The failure for an ``error`` event, or for an error body with status 200."""
        payload = {name: _dumped(value) for name, value in payload.items()}
        body = read_error(payload, headers=_id_header(request_id))
        evidence = self._evidence(Cause.ERROR_FRAME, error=Refusal.from_body(body), api_error=True)
        for_the_turn, what_to_do = meaning(evidence)
        return ResponsesHTTPError(
            payload, evidence=evidence, meaning=f" — {for_the_turn} — {what_to_do}", request_id=request_id
        )

    def no_response(self, answer: object, content_type: str | None = None) -> TurnError:
        """The failure for an answer with status 200 that is not a response. It may not have come from the API."""
        return self._foreign(_said(answer, content_type))

    def unreadable(self, error: Exception) -> TurnError:
        """The failure for an answer with status 200 that the client could not read; ``error`` says why."""
        failure = self._foreign(f"the answer has status 200 and is no JSON: {_line(error)}")
        failure.__cause__ = error
        return failure

    def _foreign(self, what: str) -> TurnError:
        evidence = self._evidence(Cause.PROTOCOL, status=None, handed=True)
        for_the_turn, what_to_do = meaning(evidence)
        text = f"{what} — {for_the_turn} — check the URL (base_url); {what_to_do}"
        return ProtocolError(text, evidence=evidence)

    def ended(self, content_type: str | None = None) -> TurnError:
        """The failure for a stream that ended without a terminal event."""
        what = "the stream of events ended without a terminal event"
        if content_type is not None and not is_stream(content_type):
            what += f", and its content-type is {content_type[:_SHOWN]!r}"
        return self._failure(StreamEndedError, Cause.EOF, what)

    def timed_out(self, seconds: float | None, *, answered: bool) -> TurnError:
        """The failure for a call that took longer than its settings allow, before or after the head of its answer
        came."""
        evidence = self._evidence(Cause.TIMEOUT, status=200 if answered else None, handed=True)
        what = f"the call took longer than ModelSettings.timeout ({seconds} s)"
        return TurnTimeoutError(" — ".join((what, *meaning(evidence))), evidence=evidence)

    def broken(self, error: Exception, request_id: str | None) -> TurnError:
        """The failure for an exception that was raised while the answer was read; ``error`` becomes its cause."""
        body = getattr(error, "body", None)
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, TurnError):
            return error
        if isinstance(body, Mapping) and "APIError" in kinds:  # The client raised it for an event with ``error``.
            failure = self.error_event({"type": "error", "error": dict(cast("Mapping[str, Any]", body))}, request_id)
        elif isinstance(error, TimeoutError) or any(name.endswith(("TimeoutError", "Timeout")) for name in kinds):
            failure = self._failure(TurnTimeoutError, Cause.TIMEOUT, "the HTTP client's timeout for reading passed")
        elif isinstance(error, ValueError) or "APIResponseValidationError" in kinds:
            failure = self._failure(ProtocolError, Cause.PROTOCOL, f"the answer cannot be read: {_line(error)}")
        else:
            failure = self._failure(ConnectionLostError, Cause.TRANSPORT, f"the connection was lost: {_line(error)}")
        failure.__cause__ = error
        return failure

    def judge(self, error: Exception) -> None:
        """Attach evidence to the client's exception for an answer with an error status (REPLAY.md, "HTTP turn")."""
        status: object = getattr(error, "status_code", None)
        if isinstance(error, TurnError) or not isinstance(status, int):
            return
        body: object = getattr(error, "body", None)
        headers: Any = getattr(getattr(error, "response", None), "headers", None)
        said = read_error(body, status=status, headers=_named(headers))
        evidence = http_evidence(
            cause=Cause.REJECTED,
            stateful=self._stateful,
            status=status,
            error=Refusal.from_body(said),
            api_error=isinstance(body, Mapping),
            event_seen=self.started,
            response_id=self._response_id,
        )
        if evidence is not None:
            attach_evidence(error, evidence)

    def _failure(self, kind: type[TurnError], cause: Cause, what: str) -> TurnError:
        evidence = self._evidence(cause)
        return kind(" — ".join((what, *meaning(evidence))), evidence=evidence)

    def _evidence(self, cause: Cause, *, status: int | None = 200, **seen: Any) -> Evidence:
        evidence = http_evidence(
            cause=cause,
            stateful=self._stateful,
            status=status,
            event_seen=self.started,
            response_id=self._response_id,
            **seen,
        )
        return cast("Evidence", evidence)  # None only if it is unknown whether the request was handed over.


# --- What was sent ---------------------------------------------------------------------------------------------------


def members_of(value: object) -> dict[str, Any]:
    """The members that were sent in an event or an answer: a mapping, an object of the SDK, or any other object."""
    if isinstance(value, Mapping):
        return {str(name): each for name, each in cast("Mapping[object, Any]", value).items()}
    members: dict[str, Any] = dict(getattr(value, "__dict__", {}))
    named = getattr(value, "model_fields_set", None)
    if not isinstance(named, set):
        return {name: member(value, name) for name in READ if member(value, name) is not None} | members
    sent = {name: each for name, each in members.items() if name in cast("set[str]", named)}
    return sent | cast("dict[str, Any]", getattr(value, "model_extra", None) or {})


READ: Final = ("type", "id", "object", "status", "output", "usage", "response", "error", "detail", "code", "message")
"""Members that are read from an object of any library, which may have slots or properties."""


def content_type_of(answer: object) -> str | None:
    """The content type of an HTTP client's answer; None if it is not known."""
    headers: Any = getattr(answer, "headers", None)
    found = headers.get("content-type") if callable(getattr(headers, "get", None)) else None
    return found if isinstance(found, str) else None


def events_in(text: str) -> Iterator[str]:
    """The data of the server-sent events in a whole text, including a last one without its blank line."""
    for event in EventStream().receive(text.encode(errors="replace") + b"\n\n"):
        if event.data:
            yield event.data.decode()


def _said(answer: object, content_type: str | None) -> str:
    """A description of an answer that is no response, with the beginning of its text."""
    if answer is None or answer == "":
        return "the answer has status 200 and no body"
    kind = f" ({content_type[:_SHOWN]})" if content_type else ""
    if isinstance(answer, bytes):
        answer = answer.decode("utf-8", "replace")
    text = answer if isinstance(answer, str) else _text_of(answer)
    return f"the answer has status 200 and is no response{kind}, but {text[:_SHOWN]!r}"


def _text_of(answer: object) -> str:
    """The text of a JSON value, or of an object of the SDK."""
    sent = {name: _dumped(value) for name, value in members_of(answer).items()}
    return shown(sent or answer)


def _line(error: BaseException) -> str:
    """An exception as one line of bounded length."""
    return f"{type(error).__name__}: {error}"[: 2 * _SHOWN]


def _named(headers: Any) -> dict[str, str]:
    return dict(headers.items()) if callable(getattr(headers, "items", None)) else {}


def _id_header(request_id: str | None) -> dict[str, str]:
    return {} if request_id is None else {"x-request-id": request_id}


def _dumped(value: Any) -> Any:
    """A member of an error as plain JSON; the SDK may have made an object of it."""
    dump = getattr(value, "model_dump", None)
    return dump(exclude_unset=True, warnings=False) if callable(dump) else value
