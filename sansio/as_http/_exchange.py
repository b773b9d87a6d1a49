"""One request that is a turn: its answer, and the body of an answer that is a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ..errors import ResponsesWebSocketError, TurnError
from ..events import Response, Role, ServerEvent
from ..flow import Emit, Emitting, Flow, Wait
from ..runtime import SessionRuntime
from ._answer import CONTENT_JSON, CONTENT_STREAM, TurnAnswer, answer_of, error_event, sse_of
from ._asked import AskedTurn

__all__ = ["TurnExchange"]

SSE_PIECE: Final = 64 * 1024
"""Bytes of events that are passed on at once, at most, if that many have arrived; one event may be larger."""


class TurnExchange:
    """Sends the turn of a request. Call :meth:`answer` first; if it has no body, :meth:`body`; :meth:`leave` last.

    Raises UserError for what cannot be sent.
    """

    def __init__(self, runtime: SessionRuntime, asked: AskedTurn, body: Mapping[str, Any]) -> None:
        self._streamed = bool(body.get("stream"))
        self._runtime = runtime
        self._turn = runtime.create(body, asked.lane, asked.timeouts)
        self._receive = Wait(partial(runtime.iterate, self._turn))
        self._held: list[bytes] = []
        """Events before the answer began."""

    def answer(self) -> Flow[TurnAnswer]:
        """The answer: it begins with the first event of the response; without a stream, it is the response.

        Raises the turn's failure if the server did not answer it. Then, and if the caller is cancelled, the turn is
        left.

        Source: P-HTTPX-2.
        """
        try:
            return (yield from self._answer())
        except BaseException as exc:
            self.leave()
            answer = answer_of(exc) if isinstance(exc, TurnError) else None
            if answer is None:
                raise
        return answer

    def _answer(self) -> Flow[TurnAnswer]:
        try:
            while True:
                event: ServerEvent = self._turn.next_event() or (yield self._receive)
                if self._streamed:
                    self._held.append(sse_of(event))
                    if event.role is Role.RESPONSE:
                        return TurnAnswer(200, self._headers(CONTENT_STREAM), None)
        except StopAsyncIteration:
            pass
        self.leave()
        response: Response = self._turn.response  # pyright: ignore[reportAssignmentType] - it has ended.
        return TurnAnswer(200, self._headers(CONTENT_JSON), response.raw_bytes)

    def _headers(self, kind: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        return kind, ("x-turnwire-transport", self._turn.transport or "")

    def body(self, raised: Callable[[TurnError], Exception]) -> Emitting:
        """The server-sent events of a stream, in pieces.

        Raises what ``raised`` makes of the turn's failure, unless that is an ``error`` message of the server: then this
        is the last event.
        """
        chunk, size, turn = self._held, 0, self._turn
        try:
            while True:
                while size < SSE_PIECE and (turn.events or not chunk):
                    event: Any = turn.next_event() if turn.events else (yield self._receive)
                    chunk.append(sse_of(event))
                    size += len(chunk[-1])
                yield Emit(b"".join(chunk))
                chunk, size = [], 0
        except StopAsyncIteration:
            pass
        except ResponsesWebSocketError as failure:
            yield Emit(error_event(failure))
        except TurnError as failure:
            raise raised(failure) from failure
        finally:
            self.leave()

    def leave(self) -> None:
        """The client leaves the turn. After the turn's end, only unread events are dropped (P-HTTPX-10)."""
        self._runtime.cancel(self._turn)
