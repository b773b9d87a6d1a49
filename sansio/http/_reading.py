"""What arrives: events go to the turn, an error or the end of the answer ends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, cast

from ..connection import Turn, limit_exceeded
from ..connection._tables import MAX_REDIRECTS, connect_deadline
from ..endpoint import Endpoint
from ..error_body import read_error
from ..errors import EventDecodeError, StreamEndedError, TurnError
from ..events import ErrorEvent, LifecycleEvent, OutputItemEvent, Role, ServerEvent, UnknownEvent, decode_event
from ..partial import GATHER_AFTER
from ..replay import Cause, Evidence, Phase
from ..sse import ServerSentEvent
from ..websocket import WORK_AT_ONCE
from ._answer import Answer
from ._compaction import Compaction
from ._document import decoded, error_in, events_of, is_error_body, is_response, is_stream
from ._exchange import CUT, AnswerPart, BrokenAnswer, Exchange, Head
from ._retrieval import Retrieval
from ._retrieving import Retrieving
from ._states import HttpSignal, HttpState

__all__ = ["Reading"]

RESENDING: Final = frozenset({307, 308})
"""Redirects that keep the method and the body (RFC 9110 section 15.4); after the others a POST becomes a GET.

Source: P-TRANSPORT-10.
"""
LINES_PER_UNIT: Final = 64
"""Lines of a stream of events that count as one unit of work, as an event does. They may be empty, or comments.

Source: D-LIMIT-2.
"""
_SHOWN: Final = 200
"""How many characters of an answer that is no response a message shows."""


class Reading(Retrieving):
    """See the top of the module."""

    def _read(self, exchange: Exchange, now: float) -> None:
        work, plain = WORK_AT_ONCE, True
        while work > 0 and self._exchange is exchange:
            item = exchange.next()
            if item is None:
                break
            work -= 1
            if isinstance(item, bytes):
                if item:
                    work -= self._body_came(item, now)
                plain = plain and self.turn is not None and self.turn.phase is Phase.STREAM
            else:
                plain = False
                self._item_came(item, now)
        self.has_unprocessed = work <= 0 and self._exchange is exchange
        self.only_events = plain and not self.has_unprocessed and not self.has_slow_consumer

    def _item_came(self, item: AnswerPart, now: float) -> None:
        if isinstance(item, Head):
            self._head_came(item, now)
        elif isinstance(item, BrokenAnswer):
            what = f"{self._where} broke the protocol: {item.reason}"
            self._lost(Cause.PROTOCOL, what, make=limit_exceeded if item.too_much else None)
        elif item is CUT:
            self._cut(now)
        else:
            self._answered(now)

    # -- what arrives

    def _head_came(self, head: Head, now: float) -> None:
        self._answer = Answer(head, self.options.max_message_size)
        if self.rate_limits is not None:
            self.rate_limits.answered(head.headers)
        location = head.headers.get("location")
        if head.status in RESENDING and location is not None and self._redirects < MAX_REDIRECTS:
            elsewhere = self.endpoint.redirected(location)
            if elsewhere is not None:
                self._redirect(elsewhere, now)
                return
        if self.state is HttpState.SENDING and not self._answer.success:  # R-HTTP-19.
            self._move(HttpSignal.REFUSED)
            self._until = now + self.options.close_timeout

    def _redirect(self, elsewhere: Endpoint, now: float) -> None:
        """The server did not run the request, and says where to send it (R-HTTP-17). The transport is opened anew.

        Source: P-TRANSPORT-10.
        """
        turn = cast("Turn", self.turn)
        if isinstance(turn, Retrieval):
            turn.redirected(elsewhere)
        else:
            self.endpoint = elsewhere
        self._redirects += 1
        self._exchange = self._answer = None
        turn.phase = Phase.LANE_WAIT
        turn.since = self._began = now
        self._move(HttpSignal.REDIRECTED)
        self._until = connect_deadline(self.options, now, None)

    def _body_came(self, data: bytes, now: float) -> int:
        """A part of the answer's body; returns the units of work that were in it."""
        turn, answer = self.turn, self._answer
        if turn is None or answer is None:
            return 0
        if self.state is HttpState.SENDING:
            self._lost(Cause.PROTOCOL, f"{self._where} broke the protocol: it answered before it had the whole request")
            return 0
        events = answer.receive(data)
        self._deliver(turn, events, now)
        if self.turn is turn:
            if answer.too_long is not None:
                self._lost(Cause.PROTOCOL, f"{self._where} went over a limit: {answer.too_long}", make=limit_exceeded)
            elif turn.buffered > self.options.max_buffered:
                self._give_up(turn, Cause.PROTOCOL, self._too_much_unread(), make=limit_exceeded)
        self._kept += len(data)
        if self._kept > GATHER_AFTER:
            self._kept = 0
            turn.gather()
        return len(events) + answer.lines // LINES_PER_UNIT

    def _deliver(self, turn: Turn, events: Iterable[ServerSentEvent], now: float) -> None:
        """Hand each event to the turn. Hot path: runs once per received event."""
        for each in events:
            try:
                event = decode_event(each.data)
            except EventDecodeError:  # [DONE], and whatever else is no object, ends nothing.
                self.stats.skipped += 1
                continue
            self.stats.events += 1
            if turn.phase is Phase.STREAM and not event.routed:
                turn.deliver(event, len(each.data), now)
            else:
                self._event_came(turn, event, len(each.data), now)
                if self.turn is not turn:  # What follows the end of the turn is of no use to anybody.
                    return

    def _event_came(self, turn: Turn, event: ServerEvent, length: int, now: float) -> None:
        """What is not simply the next event of a turn that streams (PROTOCOL.md, "What starts, what ends").

        ``length`` is that of its text, in bytes.
        """
        if isinstance(event, ErrorEvent):
            self._error_came(turn, event, now)
            return
        if isinstance(turn, Retrieval) and self._is_other(turn, event, now):
            return
        if type(event) is UnknownEvent and self.rate_limits is not None:
            self.rate_limits.came(event)
        if self.dialect.keeps_alive(event):
            turn.since = now
            return
        if event.role is Role.RESPONSE:
            if turn.phase is Phase.AWAIT:
                turn.phase = Phase.STREAM
                self._body = b""
                turn.forget_message()
            if isinstance(event, LifecycleEvent):
                turn.note_response(event)
        if isinstance(event, OutputItemEvent):
            turn.note_item(event)
        turn.deliver(event, length, now)
        if event.ends_turn and isinstance(event, LifecycleEvent):
            turn.finish(event)
            self.stats.completed += turn.counts
            self._turn_over(now)

    def _error_came(self, turn: Turn, event: ErrorEvent, now: float) -> None:
        """An ``error`` event: it ends the turn. The status of its answer counts as its own (R-HTTP-13)."""
        answer = cast("Answer", self._answer)
        if event.type == "response.error":
            turn.phase = Phase.STREAM
        said = read_error(event.payload, headers=answer.head.headers)
        self._fail_by(turn, event.payload, said, now, api_error=True)

    # -- the end of an answer

    def _answered(self, now: float) -> None:
        """The answer is complete."""
        turn, answer, exchange = self.turn, self._answer, cast("Exchange", self._exchange)
        if turn is not None and answer is not None:
            if not answer.success:
                self._refused(now)
            elif answer.is_stream:
                self._stream_over(turn, answer, now)
            else:
                self._document_came(turn, answer, now)
        if self.state is HttpState.FINISHING:
            if exchange.reusable:
                self._exchange = self._answer = None
                self._move(HttpSignal.ANSWERED)
            else:
                self._close()

    def _cut(self, now: float) -> None:
        """The connection ended before the answer did."""
        answer = self._answer
        if self.state is HttpState.REFUSED:
            self._refused(now)
        elif answer is None:
            self._lost(Cause.EOF, f"{self._where} ended the connection instead of answering")
        elif answer.success and answer.is_stream:
            self._lost(Cause.EOF, f"{self._where} ended the connection in mid-stream", make=stream_ended)
        else:
            what = f"{self._where} ended the connection in the middle of an answer with status {answer.head.status}"
            self._lost(Cause.EOF, what)

    def _refused(self, now: float) -> None:
        """The answer has an error status, and no more of it is awaited."""
        answer = cast("Answer", self._answer)
        head = answer.head
        value = decoded(_text(answer))
        payload, said = error_in(value, head.status, head.headers)
        hint = ""
        if 300 <= head.status < 400:
            hint = (
                f" (more than {MAX_REDIRECTS} redirects)"
                if self._redirects >= MAX_REDIRECTS
                else " (a redirect that is not followed: only 307 and 308 within this origin are, "
                "beyond which the credentials would leave it)"
            )
        self._fail_by(cast("Turn", self.turn), payload, said, now, api_error=isinstance(value, Mapping), hint=hint)

    def _stream_over(self, turn: Turn, answer: Answer, now: float) -> None:
        kind = answer.content_type
        but = "" if is_stream(kind) else f", and its content-type is {(kind or '')[:_SHOWN]!r}"
        what = f"the stream of events ended without a terminal event{but}"
        self._end_by_answer(turn, self._evidence(turn, Cause.EOF, answer.head.status), what, now, make=stream_ended)

    def _document_came(self, turn: Turn, answer: Answer, now: float) -> None:
        """The answer is no stream: it is a response, an error, or something else."""
        text = _text(answer)
        value = decoded(text)
        members: Mapping[str, Any] = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
        if is_error_body(members):
            said = read_error(members, headers=answer.head.headers)
            self._fail_by(turn, members, said, now, api_error=True)
            return
        events: list[bytes] = []
        if isinstance(turn, Compaction) and isinstance(members.get("output"), list):
            self._compaction_came(turn, text, now)
        elif is_response(members) and isinstance(turn, Retrieval):
            self._response_came(turn, text, members, now)
        elif is_response(members) and not isinstance(turn, Compaction):
            with suppress(EventDecodeError):
                events = list(events_of(text.encode()))
        self._deliver(turn, map(ServerSentEvent, events), now)
        if self.turn is not turn:
            return
        if events:
            what = "the answer is a response that has not ended, without a stream of its events"
            self._end_by_answer(turn, self._evidence(turn, Cause.EOF, answer.head.status), what, now, make=stream_ended)
            return
        kind = f" ({answer.content_type[:_SHOWN]})" if answer.content_type else ""
        but = f"is no response{kind}, but {text[:_SHOWN]!r}" if text else "no body"
        # R-HTTP-6: it may not have come from the API.
        what = f"the answer has status {answer.head.status} and {but}; check the URL (base_url)"
        self._end_by_answer(turn, self._evidence(turn, Cause.PROTOCOL), what, now)


def stream_ended(evidence: Evidence, text: str) -> TurnError:
    """A stream without its terminal event (R-HTTP-12)."""
    return StreamEndedError(text, evidence=evidence)


def _text(answer: Answer) -> str:
    """What has come of a document."""
    return bytes(answer.body).decode(errors="replace").removeprefix("\ufeff").strip()
