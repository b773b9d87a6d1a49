"""The timeline of a proxy's recording: its turns and connections, as far as what passed tells them (F-PROXY-6).

The promise
    Any recording that can be read gives a timeline. A verdict is that of the core's tables for what the client could
    have seen; a turn whose end is not in the recording has none.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal, cast

import msgspec

from ..error_body import is_error, read_error
from ..events import Role, final_status, role_of
from ..evidence import Cause, Evidence, Phase, Refusal, Verdict, http_evidence
from ._format import RecordedFile
from ._messages import ProxiedMessage, ProxyRecording
from ._replay import Replay
from ._timeline import ConnectionTrack, EventMark, NoticeMark, SessionTrack, Timeline, TurnPhase, TurnTrack

__all__ = ["json_members", "proxy_timeline", "timeline_of"]

_HTTP: Final = re.compile(r"(GET|POST) [^ ?]*/responses(?:/([^/?]+))?(?:\?.*)?")
"""A request for a response."""
_NORMAL: Final = 1000
"""The code of a close frame that ends a connection as it should (RFC 6455 section 7.4.1)."""
_ENDS_BY: Final = {"client": Cause.CANCELLED, "server": Cause.EOF, "proxy": Cause.TRANSPORT}


def timeline_of(contents: bytes) -> Timeline:
    """The timeline of a recording, whatever its kind. Raises RecordingError for what is none."""
    if RecordedFile(contents).header.kind == "proxy":
        return proxy_timeline(contents)
    return Replay(contents).run()


def proxy_timeline(contents: bytes) -> Timeline:
    """The timeline of a proxy's recording. Raises RecordingError for what is none."""
    recording = ProxyRecording(contents)
    header = recording.header
    session = SessionTrack(number=1, began=0.0, wall=header.wall, url=header.upstream or "", options={}, dialect="")
    reader = _MessageReader(session)
    times: list[float] = []
    for message in recording:
        times.append(message.at)
        reader.read(message)
    lines = 1
    for line in RecordedFile(contents):
        lines = line.number
        reader.count(line.entry.link or 0, line.entry.do, len(line.data))
    session.began = min(times, default=0.0)
    return Timeline(
        began=session.began,
        ended=max(times, default=0.0),
        wall=header.wall,
        turnwire=header.turnwire,
        scrubbed=header.scrubbed,
        lines=lines,
        cut=recording.cut,
        sessions=[session],
    )


def json_members(text: str | bytes) -> dict[str, Any]:
    """The members of a JSON object; none if it is no such object."""
    try:
        members: object = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", members) if isinstance(members, dict) else {}


class _MessageReader:
    """Reads the messages of all connections."""

    def __init__(self, session: SessionTrack) -> None:
        self._session = session
        self._connections: dict[int, _PassedConnection] = {}

    def read(self, message: ProxiedMessage) -> None:
        """The next message."""
        one = self._connections.get(message.connection)
        if one is None:
            one = self._connections[message.connection] = _PassedConnection(self._session, message)
        if message.way == "sent":
            one.sent(message)
        elif message.way == "received":
            one.received(message)
        elif message.what.startswith("closed by the "):
            one.closed(message)

    def count(self, number: int, do: str, length: int) -> None:
        """So many bytes passed."""
        if do == "sent":
            self._connections[number].track.sent += length
        elif do == "received":
            self._connections[number].track.received += length


class _Running:
    """A turn that has not ended, and the evidence of it."""

    def __init__(self, track: TurnTrack) -> None:
        self.track = track
        self.status: int | None = None
        """Of the answer over HTTP."""
        self.unknown = False
        """An event of an unknown kind came before any other."""
        self.close_code: int | None = None
        """Of the server's close frame."""

    @property
    def started(self) -> bool:
        """Whether an event of the response has come."""
        return self.track.waits[-1].phase == Phase.STREAM.name

    def stream(self, at: float) -> None:
        """The response begins, if it has not begun."""
        wait = self.track.waits[-1]
        if not self.started:
            wait.until = at
            self.track.waits.append(TurnPhase(phase=Phase.STREAM.name, at=at, connection=wait.connection))

    def evidence(self, cause: Cause, error: Refusal | None) -> Evidence:
        """What the client could have seen, if it failed by this. The server had all of the request."""
        stateful = bool(self.track.previous) or "conversation" in (self.track.body or {})
        if self.track.transport == "http":
            found = http_evidence(
                cause=cause,
                stateful=stateful,
                handed=True,
                status=self.status,
                error=error,
                api_error=error is not None and (error.code or error.type) is not None,
                event_seen=self.started,
                response_id=self.track.response_id,
            )
            return cast("Evidence", found)  # There is a row for every request that was handed whole.
        return Evidence(
            phase=Phase.STREAM if self.started else Phase.AWAIT,
            cause=cause,
            final_byte_handed=True,
            response_started=self.started,
            stateful=stateful,
            response_id=self.track.response_id,
            close_code=self.close_code,
            refusal=error,
            unknown_event=self.unknown,
        )

    def fail(self, at: float, what: str, text: str, cause: Cause, error: Refusal | None = None) -> None:
        """It has failed, or its client has left it."""
        track, left = self.track, cause is Cause.CANCELLED
        self.end(at, "left" if left else "error")
        track.left = at if left else None
        track.failure, track.text = what, text
        evidence = self.evidence(cause, error)
        track.verdict = cast("Verdict", evidence.verdict).value
        track.evidence = msgspec.to_builtins(evidence, enc_hook=str) | {"phase": evidence.phase.name}

    def end(self, at: float, how: str) -> None:
        """It has ended."""
        self.track.waits[-1].until = self.track.ended = at
        self.track.end = how


class _PassedConnection:
    """One connection: its track, and the turns that have not ended, in the order of their requests."""

    def __init__(self, session: SessionTrack, message: ProxiedMessage) -> None:
        self._session = session
        self._running: list[_Running] = []
        self._status = 0
        self._close_code: int | None = None
        self.track = ConnectionTrack(
            number=message.connection,
            session=1,
            transport="http",
            endpoint=session.url.partition("://")[2].partition("/")[0],
            began=message.at,
            links=[message.connection],
            transport_open=message.at,
        )
        session.connections.append(self.track)

    # -- what the client sends

    def sent(self, message: ProxiedMessage) -> None:
        """A request, or a message of a WebSocket."""
        members = json_members(message.text)
        if message.what == "text":
            if members.get("type") == "response.create":
                self._begin(message.at, "websocket", members, None)
            return
        found = _HTTP.fullmatch(message.what)
        if found is not None and found[1] == "POST" and found[2] is None:
            self._begin(message.at, "http", members, None)
        elif found is not None and found[1] == "GET" and found[2] is not None:
            self._begin(message.at, "http", None, found[2])

    def _begin(
        self, at: float, transport: Literal["http", "websocket"], body: dict[str, Any] | None, retrieval: str | None
    ) -> None:
        track = TurnTrack(
            number=len(self._session.turns) + 1,
            session=1,
            lane=_text((body or {}).get("stream_id")),
            auto_lane=False,
            body=body,
            retrieval=retrieval,
            began=at,
            previous=_text((body or {}).get("previous_response_id")),
            transport=transport,
            waits=[TurnPhase(phase=Phase.AWAIT.name, at=at, connection=self.track.number)],
        )
        self._session.turns.append(track)
        self._running.append(_Running(track))

    # -- what the server sends

    def received(self, message: ProxiedMessage) -> None:
        """An answer, a part of one, or a message of a WebSocket."""
        what = message.what
        if what.isdecimal():
            self._answered(message.at, int(what))
        elif what in ("text", "event"):
            self._event(message)
        elif what == "end of the answer":
            self._end_of_answer(message)
        elif what.startswith("close ") and what[6:].isdecimal():
            self._close_code = int(what[6:])

    def _answered(self, at: float, status: int) -> None:
        if self.track.opened is None:
            self.track.opened = at
        if status == 101:
            self.track.transport = "websocket"
        self._status = status
        for one in self._running:
            one.status = status

    def _event(self, message: ProxiedMessage) -> None:
        members = json_members(message.text)
        kind = _text(members.get("type")) or ""
        one = self._turn_of(_text(members.get("stream_id")))
        if one is None or not kind:
            return
        role = role_of(kind, members)
        if role is Role.ERROR:
            self._fail_by(one, message.at, members)
            return
        one.track.events.append(self._mark(message.at, kind, message.text.encode("utf-8", "replace")))
        if role is Role.RESPONSE:
            one.stream(message.at)
        elif role is Role.UNKNOWN and not one.started:
            one.unknown = True
        response = members.get("response")
        response = cast("dict[str, Any]", response) if isinstance(response, dict) else {}
        one.track.response_id = one.track.response_id or _text(response.get("id"))
        how = final_status(kind, _text(response.get("status")), has_response=bool(response))
        if how is not None:
            one.end(message.at, how)
            self._running.remove(one)

    def _mark(self, at: float, kind: str, raw: bytes) -> EventMark:
        return EventMark(at=at, type=kind, length=len(raw), raw=raw, connection=self.track.number)

    def _turn_of(self, lane: str | None) -> _Running | None:
        """The turn that an event is of: the first one in its lane; or, if it names none, the first."""
        of_lane = (one for one in self._running if one.track.lane == lane)
        return next(of_lane, self._running[0] if self._running and lane is None else None)

    def _fail_by(self, one: _Running, at: float, payload: dict[str, Any]) -> None:
        """The server refuses a turn, or ends it."""
        over_http = one.track.transport == "http"
        of_another = not over_http and one.track.lane is not None and "stream_id" not in payload
        error = Refusal.from_body(
            read_error(payload, status=one.status if over_http else None), of_connection=of_another
        )
        says = " ".join(filter(None, (str(error.status or ""), error.code or error.type)))
        one.fail(at, says or "error", error.message or "", Cause.ERROR_FRAME, error)
        self._running.remove(one)

    def _end_of_answer(self, message: ProxiedMessage) -> None:
        """Over HTTP: of the only request that is not answered."""
        one = self._turn_of(None)
        if one is None:
            return
        payload = json_members(message.text)
        if payload and (self._status >= 400 or is_error(payload)):
            self._fail_by(one, message.at, payload)
            return
        self._running.remove(one)
        if self._status >= 400:
            one.fail(message.at, f"HTTP {self._status}", message.text[:200], Cause.REJECTED)
        elif payload:
            one.stream(message.at)
            status = _text(payload.get("status")) or "completed"
            raw = msgspec.json.encode({"type": f"response.{status}", "response": payload})
            one.track.events.append(self._mark(message.at, f"response.{status}", raw))
            one.track.response_id = _text(payload.get("id"))
            one.end(message.at, status)
        else:
            one.fail(message.at, "end of the answer", "The answer ended before the response did.", Cause.EOF)

    def closed(self, message: ProxiedMessage) -> None:
        """Both connections are closed."""
        by = message.what.removeprefix("closed by the ")
        track, code = self.track, self._close_code
        words = [message.what, *filter(None, [message.text]), *([] if code is None else [f"code {code}"])]
        track.ended = track.gone = message.at
        track.reason = None if by != "server" and not message.text else ", ".join(words)
        if track.reason is not None and code != _NORMAL:
            mark = NoticeMark(at=message.at, name="connection_lost", endpoint=track.endpoint, reason=track.reason)
            self._session.notices.append(mark)
        cause = Cause.PEER_CLOSED if code is not None and by != "client" else _ENDS_BY.get(by, Cause.TRANSPORT)
        for one in self._running:
            one.close_code = code
            one.fail(message.at, "connection", ", ".join(words), cause)
        self._running.clear()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
