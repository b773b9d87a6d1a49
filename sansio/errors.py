"""Every exception that turnwire raises: one tree, rooted at :class:`TurnwireError`.

The promise
    A caller can act on an exception without reading its text. A failure of a turn carries the evidence of how far the
    turn got, hence its verdict, from the moment it is made; nothing but the time of day is added, and that before
    anybody can see it. The text is for people and always has three parts: what happened — what it means for the turn —
    what to do. Every one of them can be pickled and copied.

The tree
    ::

        TurnwireError
        ├── UserError                     the caller asked for something that cannot be; nothing was sent
        │   │                             (those of a turn that was refused have a .verdict: SAFE)
        │   ├── WrongTypeError            an argument or an option of a wrong type (also a TypeError)
        │   ├── InvalidStreamIdError      a stream_id outside 1-256 of A-Z a-z 0-9 _ - .
        │   ├── LaneLimitError            a 33rd named lane on one connection
        │   ├── TooManyTurnsError         more turns waiting than the session may hold
        │   ├── ConcurrentUseError        two consumers waiting on one turn
        │   ├── InvalidInputError         what no response may be steered with; also a ValueError
        │   ├── SteeringNotSupportedError the server or the transport takes no steers, or no injections
        │   └── SessionClosedError        used after close
        ├── EventDecodeError              a server message that cannot be read as an event
        ├── TransportError                the byte stream below did not open, or broke: the cause of a TurnError
        ├── MissingResponseError          a stream that ended without a response in its terminal event
        ├── UnsuccessfulResponseError     a failed or incomplete response, where the caller wanted that raised
        ├── OutputError                   a response without a value of its text_format (also a ValueError)
        │   ├── OutputRefusedError        the model refused
        │   ├── OutputIncompleteError     the response ended too early
        │   ├── OutputMissingError        it has no text, because the model called tools, for instance
        │   └── OutputInvalidError        its text is no such value
        ├── MaxTurnsError                 conversation.run() had its number of turns; .response is the last one
        ├── RetrievalError                session.retrieve() got no response: it says nothing of the turn's verdict
        │   ├── ResponseNotFoundError     the server has no such response
        │   └── RetrievalTimeoutError     a deadline passed (also a TimeoutError)
        └── TurnError                     a turn failed: .evidence, .verdict, .cause, .phase, .response_id
            ├── ConnectError              TCP, proxy or TLS did not come up
            ├── HandshakeRejectedError    the upgrade was answered with something other than 101
            ├── ConnectionLostError       the connection ended under the turn: EOF, reset, close frame, stall
            │   └── StreamEndedError      a stream over HTTP without its terminal event (also MissingResponseError)
            ├── ProtocolError             the server broke the protocol
            │   └── LimitExceededError    … or went over a limit: message size, unread events
            ├── RequestTooLargeError      the request is larger than max_request_size; nothing was sent
            ├── TurnTimeoutError          a deadline passed (also a TimeoutError)
            ├── TurnAbortedError          this side closed the session or left the turn
            └── ResponsesWebSocketError   an error message from the server (also a RuntimeError)
                └── ResponsesHTTPError    … in an answer or a stream of events over HTTP

``TypeError`` is raised, as Python does, for a value that JSON does not have and for a keyword that is given twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from .error_body import read_error
from .evidence import Cause, Evidence, Phase, Verdict

__all__ = [
    "ConcurrentUseError",
    "ConnectError",
    "ConnectionLostError",
    "EventDecodeError",
    "HandshakeRejectedError",
    "InvalidInputError",
    "InvalidStreamIdError",
    "LaneLimitError",
    "LimitExceededError",
    "MaxTurnsError",
    "MissingResponseError",
    "OutputError",
    "OutputIncompleteError",
    "OutputInvalidError",
    "OutputMissingError",
    "OutputRefusedError",
    "ProtocolError",
    "RequestTooLargeError",
    "ResponseNotFoundError",
    "ResponsesHTTPError",
    "ResponsesWebSocketError",
    "RetrievalError",
    "RetrievalTimeoutError",
    "SessionClosedError",
    "SteeringNotSupportedError",
    "StreamEndedError",
    "TooManyTurnsError",
    "TransportError",
    "TurnAbortedError",
    "TurnError",
    "TurnTimeoutError",
    "TurnwireError",
    "UnsuccessfulResponseError",
    "UserError",
    "WrongTypeError",
]


class TurnwireError(Exception):
    """The base class of every exception that turnwire raises, except plain ``TypeError``."""

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild it from its parts: pickle's default would call ``__init__`` with other arguments."""
        return _remade, (type(self), self.args), self.__dict__


class UserError(TurnwireError):
    """The caller asked for something that cannot be done. Nothing was sent. The message says what to write instead."""


class WrongTypeError(UserError, TypeError):
    """An argument or an option has a wrong type. The message says which types are accepted."""


class InvalidStreamIdError(UserError, ValueError):
    """A ``stream_id`` that is not 1-256 characters of ``A-Z a-z 0-9 _ - .`` (PROTOCOL.md, "Server events")."""

    verdict: ClassVar[Verdict] = Verdict.SAFE
    """The turn was not sent."""


class LaneLimitError(UserError):
    """More distinct named lanes than one connection may have in its life: 32 (PROTOCOL.md, "Lanes")."""

    verdict: ClassVar[Verdict] = Verdict.SAFE
    """The turn was not sent."""


class TooManyTurnsError(UserError):
    """More turns wait for a lane or a connection than the options allow (``max_waiting``)."""

    verdict: ClassVar[Verdict] = Verdict.SAFE
    """The turn was not sent."""


class ConcurrentUseError(UserError, RuntimeError):
    """Two tasks waited for the events of one turn at the same time."""


class InvalidInputError(UserError, ValueError):
    """Input that no response may be steered with, or that cannot be injected (PROTOCOL.md, "Steering")."""

    verdict: ClassVar[Verdict] = Verdict.SAFE
    """The input was not sent."""


class SteeringNotSupportedError(UserError):
    """The turn's server, or its transport, takes no steers or no injections."""

    verdict: ClassVar[Verdict] = Verdict.SAFE
    """The input was not sent."""


class SessionClosedError(UserError, RuntimeError):
    """The session or the turn was used after it was closed.

    ``verdict`` is SAFE if a turn was refused for this reason, and so was not sent; else it is None.
    """

    def __init__(self, message: str, *, verdict: Verdict | None = None) -> None:
        super().__init__(message)
        self.verdict = verdict


class EventDecodeError(TurnwireError, ValueError):
    """A message from the server that cannot be read as an event: no JSON, no object, no type, a field of a wrong type.

    ``stream_id`` is the lane it was for, if that could be read; ``attributable`` says whether it could. If so, only
    that lane's turn is affected. ``event_type`` is the message's ``type``, which says whether it was to end the turn.
    """

    def __init__(
        self,
        message: str,
        *,
        stream_id: str | None = None,
        attributable: bool = False,
        event_type: str | None = None,
    ) -> None:
        super().__init__(message)
        self.stream_id = stream_id
        self.attributable = attributable
        self.event_type = event_type


class TransportError(TurnwireError):
    """The byte stream could not be opened, or it broke. It is the ``__cause__`` of what turns then raise.

    Its own ``__cause__`` is the exception of the network library, if there was one.
    """


class MissingResponseError(TurnwireError, RuntimeError):
    """A model's stream of events ended without a response (PARITY C4)."""

    @property
    def unsafe_to_replay(self) -> bool:
        """True: the turn ran. The Agents SDK's advice reads this name."""
        return True


class UnsuccessfulResponseError(TurnwireError):
    """A model's response is failed, incomplete or cancelled, and the model was configured to raise then (PARITY C4).

    ``response`` is an ``openai.types.responses.Response``. ``outcome`` is ``failed``, ``incomplete`` or ``cancelled``,
    as its event says: ``response.status`` may be missing or different.
    """

    @property
    def unsafe_to_replay(self) -> bool:
        """True: the turn ran. The Agents SDK's advice reads this name."""
        return True

    def __init__(self, message: str, *, response: Any, outcome: str = "failed") -> None:
        super().__init__(message)
        self.response = response
        self.outcome = outcome


class OutputError(TurnwireError, ValueError):
    """A response has no value of the ``text_format`` that its turn was given (PROTOCOL.md, "Structured output").

    ``response`` is the response: the turn ran. ``text`` is its text, or None; ``refusal`` is the model's refusal, or
    None.
    """

    def __init__(
        self, message: str, *, response: Any = None, text: str | None = None, refusal: str | None = None
    ) -> None:
        super().__init__(message)
        self.response = response
        self.text = text
        self.refusal = refusal


class OutputRefusedError(OutputError):
    """The model refused to answer; ``refusal`` says why."""


class OutputIncompleteError(OutputError):
    """The response ended before its text was complete: ``response.status``, ``response.incomplete_details``."""


class OutputMissingError(OutputError):
    """The response has no text: the model called tools, for instance."""


class OutputInvalidError(OutputError):
    """The text is no value of the type. ``__cause__`` is the error of msgspec or pydantic."""


class MaxTurnsError(TurnwireError):
    """The loop of ``conversation.run()`` had as many turns as it may have, and the model calls more tools.

    ``response`` is the last :class:`~turnwire.sansio.events.Response`. Its calls were not run; ``run()`` goes on.
    """

    def __init__(self, message: str, *, response: Any) -> None:
        super().__init__(message)
        self.response = response


class RetrievalError(TurnwireError):
    """A response could not be retrieved (PROTOCOL.md, "Retrieval"). Retrieving changes nothing on the server.

    It has no verdict: what the failure of a turn said of that turn stays as it was. ``cause`` is what ended the
    request. ``status``, ``code`` and ``request_id`` are those of the server's answer, None without one.
    ``retry_after`` is how many seconds the server asks to wait. ``sequence_number`` is that of the last event that
    came, or what ``starting_after`` said: ``retrieve_stream(response_id, starting_after=…)`` goes on from there.
    """

    def __init__(
        self,
        message: str,
        *,
        response_id: str,
        cause: Cause,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        sequence_number: int | None = None,
    ) -> None:
        super().__init__(message)
        self.response_id = response_id
        self.cause = cause
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.sequence_number = sequence_number


class ResponseNotFoundError(RetrievalError):
    """The server has no response with this id: it was not stored, is gone, or belongs to another account."""


class RetrievalTimeoutError(RetrievalError, TimeoutError):
    """A deadline passed before the response, or the next event, had come."""


class TurnError(TurnwireError):
    """A turn failed. ``evidence`` says how far it got; ``verdict`` says whether it may be sent again (REPLAY.md)."""

    seen_at: float | None = None
    """When it failed, in seconds since the epoch, if that is known; used by :attr:`retry_after`."""

    def __init__(self, message: str, *, evidence: Evidence) -> None:
        super().__init__(message)
        self.evidence = evidence

    @property
    def retry_after(self) -> float | None:
        """How many seconds the server asks to wait, counted from the failure; None: it does not ask.

        It is taken from the headers ``retry-after-ms`` or ``retry-after``, which may be a date, in the server's answer.
        """
        return None if self.evidence.refusal is None else self.evidence.refusal.retry_after(self.seen_at)

    @property
    def verdict(self) -> Verdict:
        """SAFE, UNSAFE or AMBIGUOUS: may the turn be sent again?"""
        return cast("Verdict", self.evidence.verdict)  # None only in phase DONE: such a turn cannot fail.

    @property
    def unsafe_to_replay(self) -> bool:
        """Whether it should not be sent again: it ran, or may have run and continues a conversation kept by the server.

        The Agents SDK's advice for errors of any provider reads this name.
        """
        return self.evidence.unsafe_to_replay

    @property
    def cause(self) -> Cause:
        """What ended the turn."""
        return self.evidence.cause

    @property
    def phase(self) -> Phase:
        """How far the turn got."""
        return self.evidence.phase

    @property
    def response_id(self) -> str | None:
        """The response's id, if ``response.created`` came before the failure.

        If the response is stored, ``session.retrieve(error.response_id)`` gets what became of it.
        """
        return self.evidence.response_id

    @property
    def sequence_number(self) -> int | None:
        """The ``sequence_number`` of the last event of the response that came; None if there was none.

        ``session.retrieve_stream(error.response_id, starting_after=error.sequence_number)`` gives what follows, if the
        response runs in the background.
        """
        return self.evidence.sequence_number


class ConnectError(TurnError):
    """No connection could be opened: name lookup, TCP, proxy or TLS failed. ``__cause__`` is the transport's own
    error."""


class HandshakeRejectedError(TurnError):
    """The server answered the upgrade with an HTTP response instead of 101 (PROTOCOL.md, "Connection").

    ``status``, ``headers`` (lower-case names) and ``body`` (bytes, cut at the limit) are from the server's answer.
    """

    def __init__(
        self, message: str, *, evidence: Evidence, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        super().__init__(message, evidence=evidence)
        self.status = status
        self.headers = dict(headers)
        self.body = body

    @property
    def request_id(self) -> str | None:
        """The ``x-request-id`` of the answer, for the provider's support."""
        return self.headers.get("x-request-id")


class ConnectionLostError(TurnError):
    """The connection ended before the turn did: end of file, reset, a close frame, or silence beyond the stall
    limit."""

    @property
    def close_code(self) -> int | None:
        """The WebSocket close code, when the server sent one."""
        return self.evidence.close_code


class StreamEndedError(ConnectionLostError, MissingResponseError):
    """A stream of events over HTTP ended without its terminal event: the answer is incomplete (REPLAY.md, "HTTP turn").

    ``unsafe_to_replay`` follows from its verdict.
    """


class ProtocolError(TurnError):
    """The server broke HTTP, WebSocket or the event format."""


class LimitExceededError(ProtocolError):
    """A limit was exceeded: a message above ``max_message_size``, unread events above ``max_buffered``."""


class RequestTooLargeError(TurnError):
    """The request is larger than ``max_request_size`` (PROTOCOL.md, "Connection"): nothing of it was sent."""


class TurnTimeoutError(TurnError, TimeoutError):
    """A deadline passed; ``phase`` says which: lane wait, connect (and handshake), send, or receive."""


class TurnAbortedError(TurnError):
    """This side ended the turn: the session was closed, or the consumer left it."""


class ResponsesWebSocketError(TurnError, RuntimeError):
    """An ``error`` or ``response.error`` message from the server (PARITY C14).

    ``event_type``, ``payload`` (the message as a dict), ``code``, ``error_type``, ``error_message``, ``request_id`` and
    ``status`` are what :func:`~turnwire.sansio.error_body.read_error` finds in the message; None if it is missing. The
    text contains the payload; if that is too long and is cut, it also contains the server's own message.
    """

    SHOWN: ClassVar[int] = 2000
    """How many characters of the payload the message shows."""
    WORDS: ClassVar[int] = 1000
    """How many characters of the server's own message are always shown."""
    TRANSPORT: ClassVar[str] = "websocket"

    def __init__(
        self, payload: Mapping[str, Any], *, evidence: Evidence, meaning: str = "", request_id: str | None = None
    ) -> None:
        self.payload: dict[str, Any] = dict(payload)
        kind = payload.get("type")
        self.event_type: str = kind[: self.SHOWN] if isinstance(kind, str) else "error"
        body = read_error(payload)
        self.code: str | None = body.code
        self.error_type: str | None = body.type
        self.error_message: str | None = body.message
        self.request_id: str | None = body.request_id or request_id
        self.status: int | None = body.status
        text = (
            f"Responses {self.TRANSPORT} {self.event_type}: {self._shown((body.message or '')[: self.WORDS])}{meaning}"
        )
        super().__init__(text, evidence=evidence)

    def _shown(self, words: str) -> str:
        """The payload as JSON, cut at the limit; with the server's message added if the cut text does not contain
        it."""
        try:
            shown = json.dumps(self.payload, ensure_ascii=False, default=str)
        except (TypeError, ValueError, RecursionError) as exc:
            shown = f"(a payload that cannot be shown: {exc})"
        if len(shown) > self.SHOWN:
            shown = f"{shown[: self.SHOWN]}… ({len(shown)} characters)"
        shown = shown.encode(errors="replace").decode()  # half a surrogate pair cannot be printed
        written = json.dumps(words, ensure_ascii=False)[1:-1]
        return shown if written in shown else f"{shown}: {words}"


class ResponsesHTTPError(ResponsesWebSocketError):
    """The same over HTTP: an ``error`` event in a stream, or an answer with status 200 whose body is an error.

    ``except ResponsesWebSocketError`` also catches it. For an answer with another status, the HTTP client's own
    exception is raised.
    """

    TRANSPORT: ClassVar[str] = "HTTP"


def _remade(kind: type[TurnwireError], args: tuple[object, ...]) -> TurnwireError:
    error = kind.__new__(kind)
    error.args = args
    return error
