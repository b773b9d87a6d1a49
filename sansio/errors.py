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
        │   └── SessionClosedError        used after close
        ├── EventDecodeError              a server message that cannot be read as an event
        ├── TransportError                the byte stream below did not open, or broke: the cause of a TurnError
        ├── MissingResponseError          a stream that ended without a response in its terminal event
        ├── UnsuccessfulResponseError     a failed or incomplete response, where the caller wanted that raised
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

``TypeError`` is raised, as Python does, for arguments of the wrong type: a value that JSON lacks, a keyword twice.
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
    "InvalidStreamIdError",
    "LaneLimitError",
    "LimitExceededError",
    "MissingResponseError",
    "ProtocolError",
    "RequestTooLargeError",
    "ResponsesHTTPError",
    "ResponsesWebSocketError",
    "SessionClosedError",
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
    """The root of everything turnwire raises on its own account."""

    def __reduce__(self) -> tuple[object, ...]:
        """Make it again from its parts: what ``__init__`` takes is not what pickle would give it."""
        return _remade, (type(self), self.args), self.__dict__


class UserError(TurnwireError):
    """The caller asked for something that cannot be done. Nothing was sent; the message says what to write instead."""


class WrongTypeError(UserError, TypeError):
    """An argument or an option is of a type that means nothing there; the message says which types do."""


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


class SessionClosedError(UserError, RuntimeError):
    """The session or the turn was used after it was closed.

    ``verdict`` is SAFE if a turn was refused so, which was not sent; None if it is not about a turn to be sent.
    """

    def __init__(self, message: str, *, verdict: Verdict | None = None) -> None:
        super().__init__(message)
        self.verdict = verdict


class EventDecodeError(TurnwireError, ValueError):
    """A message from the server that cannot be read as an event: no JSON, no object, no type, a field of a wrong type.

    ``stream_id`` names the lane it was for when at least that much could be read; ``attributable`` says whether it
    could: then only that lane's turn suffers from it, and ``event_type`` is the message's ``type``, which tells whether
    it was to be the turn's last.
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
    """The byte stream below could not be opened, or broke: the ``__cause__`` of what turns then raise.

    Its own ``__cause__`` is what the library below raised, if that was it.
    """


class MissingResponseError(TurnwireError, RuntimeError):
    """A model's stream of events ended without a response (PARITY C4)."""

    @property
    def unsafe_to_replay(self) -> bool:
        """True: the turn ran. The Agents SDK's advice reads this name."""
        return True


class UnsuccessfulResponseError(TurnwireError):
    """A model's response is failed, incomplete or cancelled, and the model was told to raise that (PARITY C4).

    ``response`` is the response, an ``openai.types.responses.Response``. ``outcome`` is ``failed``, ``incomplete`` or
    ``cancelled``, as its event says: ``response.status`` may be missing or another.
    """

    @property
    def unsafe_to_replay(self) -> bool:
        """True: the turn ran. The Agents SDK's advice reads this name."""
        return True

    def __init__(self, message: str, *, response: Any, outcome: str = "failed") -> None:
        super().__init__(message)
        self.response = response
        self.outcome = outcome


class TurnError(TurnwireError):
    """A turn failed. ``evidence`` says how far it got; ``verdict`` says whether it may be sent again (REPLAY.md)."""

    seen_at: float | None = None
    """The wall clock when it failed, in seconds since the epoch, where that is known: for :attr:`retry_after`."""

    def __init__(self, message: str, *, evidence: Evidence) -> None:
        super().__init__(message)
        self.evidence = evidence

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, counted from the failure; None: it does not ask.

        From ``retry-after-ms`` or ``retry-after`` among the headers of what the server said, which may be a date.
        """
        return None if self.evidence.refusal is None else self.evidence.refusal.retry_after(self.seen_at)

    @property
    def verdict(self) -> Verdict:
        """SAFE, UNSAFE or AMBIGUOUS: may the turn be sent again?"""
        return cast("Verdict", self.evidence.verdict)  # None only in phase DONE, and a turn that is done cannot fail.

    @property
    def unsafe_to_replay(self) -> bool:
        """Whether it should not be sent again: it ran, or it may have and continues a conversation kept by the server.

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
        """The response's id, if ``response.created`` told it before the failure."""
        return self.evidence.response_id


class ConnectError(TurnError):
    """No connection could be opened: name lookup, TCP, proxy or TLS failed. The transport's own error is its cause."""


class HandshakeRejectedError(TurnError):
    """The server answered the upgrade with an HTTP response instead of 101 (PROTOCOL.md, "Connection").

    ``status``, ``headers`` (lower-case names) and ``body`` (bytes, cut at the limit) are the server's.
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
    """The connection ended under the turn: end of file, reset, a close frame, or silence beyond the stall limit."""

    @property
    def close_code(self) -> int | None:
        """The WebSocket close code, when the server sent one."""
        return self.evidence.close_code


class StreamEndedError(ConnectionLostError, MissingResponseError):
    """A stream of events over HTTP ended without its terminal event; the answer is not whole (REPLAY.md, "HTTP turn").

    ``unsafe_to_replay`` is that of its verdict.
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
    ``status`` are the server's, as :func:`~turnwire.sansio.error_body.read_error` reads them; None where it sent none.
    The message holds the payload, and the server's words also where the payload is too long to be shown whole.
    """

    SHOWN: ClassVar[int] = 2000
    """How many characters of the payload the message shows."""
    WORDS: ClassVar[int] = 1000
    """How many characters of the server's words it shows in any case."""
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
        """The payload as JSON, cut at the bound, and the words if they are not in what is left of it."""
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

    ``except ResponsesWebSocketError`` catches it, so one handler serves both transports. Answers with another status
    raise what the HTTP client raises for them.
    """

    TRANSPORT: ClassVar[str] = "HTTP"


def _remade(kind: type[TurnwireError], args: tuple[object, ...]) -> TurnwireError:
    error = kind.__new__(kind)
    error.args = args
    return error
