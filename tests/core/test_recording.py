"""Recordings (RECORDING.md): what is written, what is not, and that it replays."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.driver_simulation import simulate
from kit.driving import completed, created, delta
from kit.machines import answer, switching
from kit.recorded import KEY, PLACE, RecordedRig, entries
from kit.stepping import SteppedShell
from openai import AsyncOpenAI
from turnwire.sansio.agents import wsmodel
from turnwire.sansio.connection import Turn
from turnwire.sansio.dialect import OPENAI
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import ConcurrentUseError, SessionClosedError, TransportError, UserError, WrongTypeError
from turnwire.sansio.handle import Leave
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.record import Recording, recording_of
from turnwire.sansio.recording import Entry, Header, RecordedFile, RecordingDriver, RecordingError, Replay
from turnwire.sansio.recording._format import FORMAT, RAW, encode_line
from turnwire.sansio.recording._secrets import ArrivingData, Secrets
from turnwire.sansio.replay import RecoveryPolicy, Verdict
from turnwire.sansio.session import EndpointSource, SessionOptions
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.transports import Network

HEADER = Header(turnwire_recording=FORMAT, turnwire="0.1.0", wall=1.0)
RECORDINGS = Path(__file__).parents[1] / "recordings"


def drained(turn: Turn) -> list[Any]:
    """The consumer takes what is unread."""
    events = []
    while turn.events:
        events.append(turn.next_event())
    return events


# --- The file --------------------------------------------------------------------------------------------------------


def test_the_header_and_the_session_come_first():
    rig = RecordedRig.connected(recording={"max_bytes": 10_000}, dialect="openai", ping_interval=None)
    header, session, connect, *_ = map(json.loads, rig.contents.splitlines())
    assert header == {"turnwire_recording": 1, "turnwire": "0.1.0", "wall": 1_000_100.0, "max_bytes": 10_000}
    assert session["do"] == "session"
    assert session["options"] == {"dialect": "openai", "ping_interval": None}
    assert session["dialect"] == "openai"
    assert connect == {"do": "connect", "at": 100.0, "drawn": [["retries", True]], "out": connect["out"]}


def test_a_turn_is_recorded_with_its_reads_and_replays():
    """F-SECRET-2."""
    rig = RecordedRig.connected()
    turn = rig.create("a", input="hello")
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.now += 1
    rig.say(created(1, "a"), delta("x", "a"))
    assert len(drained(turn)) == 2
    rig.now += 1
    rig.say(completed(1, "a"))
    drained(turn)
    rig.driver.cancel(turn, rig.now)
    rig.driver.cancel(turn, rig.now)  # It has no number any more, and nothing happens.
    rig.close()
    assert [(entry.do, entry.read) for entry in rig.entries if entry.read] == [("received", {1: 2}), ("cancel", {1: 1})]
    timeline = rig.replayed()
    (track,) = timeline.sessions[0].turns
    assert [(mark.type, mark.at, mark.read_at) for mark in track.events] == [
        ("response.created", 101.0, 102.0),
        ("response.output_text.delta", 101.0, 102.0),
        ("response.completed", 102.0, 102.0),
    ]
    assert (track.lane, track.end, track.began, track.ended) == ("a", "completed", 100.0, 102.0)
    assert [(wait.phase, wait.at, wait.until) for wait in track.waits] == [
        ("AWAIT", 100.0, 101.0),
        ("STREAM", 101.0, 102.0),
    ]
    assert timeline.sessions[0].end == "closed"


def test_many_bytes_stand_behind_their_line():
    rig = RecordedRig.connected()
    turn = rig.create()
    text = "é" * RAW
    rig.say(created(), delta(text))
    rig.say(completed())
    lines = list(RecordedFile(rig.contents))
    assert [line.number for line in lines] == [2, 3, 4, 5, 6, 7, 9]
    assert lines[-2].entry.raw == len(lines[-2].data) > RAW
    assert drained(turn)[1].delta == text
    assert rig.replayed().sessions[0].turns[0].events[1].length > RAW


def test_a_file_that_was_cut_anywhere_is_readable_up_to_there():
    rig = RecordedRig.connected()
    rig.create()
    rig.say(created(), delta("x" * RAW))
    rig.close()
    whole = rig.contents
    first = whole.index(b"\n") + 1
    for length in [*range(first, len(whole), 61), *_ends(whole)]:
        replay = Replay(whole[:length])
        timeline = replay.run()
        assert timeline.difference is None
        assert timeline.cut is (length not in _ends(whole))
    assert not rig.replayed().cut


def _ends(whole: bytes) -> set[int]:
    """Where the file may end, so that nothing is missing."""
    ends, position = set(), 0
    for line in RecordedFile(whole):
        position = whole.index(b"\n", position) + 1 if not ends else position
        ends.add(position)
        position = whole.index(b"\n", position) + 1 + (len(line.data) + 1 if line.entry.raw else 0)
    return {*ends, position}


@pytest.mark.parametrize(
    ("contents", "what"),
    [
        (b"", "has no first line"),
        (b"hello\n", "line 1 is not the header"),
        (b"[" * 5000 + b"\n", "line 1 is not the header"),
        (encode_line(msgspec.structs.replace(HEADER, turnwire_recording=9)), "has version 9 of the format"),
        (encode_line(msgspec.structs.replace(HEADER, kind="proxy")), "is one of a proxy"),
        (encode_line(HEADER) + b"{}\n", "line 2 of the recording cannot be read"),
        (encode_line(HEADER) + b"nothing\n", "line 2 of the recording cannot be read"),
        (encode_line(HEADER) + encode_line(Entry(do="connect", at=1.0)), "line 2 of the recording is of session 1"),
        (encode_line(HEADER) + encode_line(Entry(do="session", at=1.0)), "line 2 .* without an endpoint"),
    ],
)
def test_what_is_no_recording_says_why(contents: bytes, what: str):
    with pytest.raises(RecordingError, match=what):
        Replay(contents).run()


def test_the_limit_of_the_size_ends_the_recording_and_not_the_session():
    rig = RecordedRig.connected(recording={"max_bytes": 1500})
    turn = rig.create()
    rig.say(created(), completed())
    assert turn.response is not None
    rig.close()
    assert len(rig.contents) <= 1500 + 200
    assert rig.entries[-1].reason == "max_bytes"
    assert rig.driver.done
    timeline = rig.replayed()
    assert timeline.sessions[0].end == "max_bytes"
    assert not timeline.cut


class Broken(io.BytesIO):
    """A file whose disk is full after some bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = size

    def write(self, data: Any) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise OSError("no space left on device")
        return super().write(data)


@pytest.mark.parametrize("size", [0, 50, 1200])
def test_a_disk_that_fails_ends_the_recording_is_logged_once_and_fails_no_call(size: int):
    rig = RecordedRig.connected(Broken(size))
    turn = rig.create()
    rig.say(created(), completed())
    rig.close()
    assert turn.response is not None
    assert [line for line in rig.log.lines if "recording" in line] == ["the recording raised OSError"]


def test_the_file_is_flushed_when_a_turn_has_ended_and_once_a_second():
    class Counted(io.BytesIO):
        flushes = 0

        def flush(self) -> None:
            self.flushes += 1

    file = Counted()
    rig = RecordedRig.connected(file)
    turn = rig.create()
    before = file.flushes
    for event in (created(), *[delta("x")] * 4):
        rig.now += 0.4
        rig.say(event)
    assert file.flushes == before + 1  # After 1.2 seconds of the 2.
    rig.now += 1.0
    rig.say(delta("y"))
    assert file.flushes == before + 2
    rig.driver.cancel(turn, rig.now)
    assert file.flushes == before + 3


def test_a_file_that_cannot_be_flushed_at_the_end_is_logged_once_and_fails_no_call():
    class Unflushed(io.BytesIO):
        full = False

        def flush(self) -> None:
            if self.full:
                raise OSError("no space left on device")

    file = Unflushed()
    rig = RecordedRig.connected(file)
    file.full = True
    rig.close()
    assert [line for line in rig.log.lines if "recording" in line] == ["the recording raised OSError"]


def test_a_path_is_opened_by_the_shell_and_closed_while_nothing_is_open(tmp_path: Path):
    path, opened = tmp_path / "session.jsonl", []

    def open_file(name: str, mode: str) -> Any:
        opened.append((mode, open(name, mode)))  # noqa: SIM115 - the recording closes it.
        return opened[-1][1]

    recording = Recording(path)
    assert repr(recording) == f"Recording({str(path)!r})"
    first = RecordedRig.connected(recording, open_file=open_file)
    first.driver.give_up(first.now)
    first.lost()
    assert opened[0][1].closed  # And a later turn opens it again.
    first.create()
    first.accept()
    first.close()
    second = RecordedRig.connected(recording, open_file=open_file)
    second.create()
    second.say(created(), completed())
    second.close()
    assert {mode for mode, _ in opened[1:]} == {"ab"}
    assert opened[0][0] == "wb"
    assert all(file.closed for _, file in opened)
    timeline = Replay(path.read_bytes()).run()
    assert timeline.difference is None
    assert [(track.number, len(track.turns), track.end) for track in timeline.sessions] == [
        (1, 1, "closed"),
        (2, 1, "closed"),
    ]


def test_a_path_is_closed_when_the_limit_is_reached(tmp_path: Path):
    file = open(tmp_path / "session.jsonl", "wb")  # noqa: SIM115 - the recording closes it.
    rig = RecordedRig.connected(Recording("any", max_bytes=900), open_file=lambda path, mode: file)
    turn = rig.create()
    rig.say(created(), completed())
    assert file.closed
    rig.driver.cancel(turn, rig.now)
    rig.close()
    assert not [line for line in rig.log.lines if "recording" in line]


def test_reports_of_a_link_that_is_gone_are_nothing():
    rig = RecordedRig.connected()
    rig.lost(TransportError("reset"))
    before = rig.contents
    rig.lost(None)
    rig.receive(b"more")
    rig.driver.writable(rig.link, rig.now)
    rig.driver.opened(rig.link, rig.now)
    assert rig.contents == before


def test_a_path_that_cannot_be_opened_fails_no_call():
    rig = RecordedRig.connected(Recording("nowhere"), open_file=None)
    rig.close()
    assert "the recording raised TypeError" in rig.log.lines


def test_two_sessions_share_a_file():
    recording = Recording(io.BytesIO())
    rigs = [RecordedRig.connected(recording), RecordedRig.connected(recording)]
    for rig in (*rigs, *rigs):
        rig.create()
        rig.say(created(), completed())
    for rig in rigs:
        rig.close()
    timeline = Replay(recording._file.getvalue()).run()
    assert timeline.difference is None
    assert [len(track.turns) for track in timeline.sessions] == [2, 2]


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: Recording(3), WrongTypeError, "record is of type int: write a path"),
        (lambda: Recording(""), WrongTypeError, "record is of type str"),
        (lambda: Recording("x", outputs="all"), UserError, "outputs is 'all'"),
        (lambda: Recording("x", scrub=1), WrongTypeError, "scrub is 1"),
        (lambda: Recording("x", max_bytes=0), UserError, "max_bytes is 0"),
        (lambda: Recording("x", scrub=True, outputs="full"), UserError, "records only the lengths"),
        (lambda: SessionOptions(record="x"), WrongTypeError, "SessionOptions.record is 'x'"),
        (lambda: SessionOptions(record=Recording("x", scrub=True), compression=True), UserError, "cannot be scrubbed"),
    ],
)
def test_what_cannot_be_recorded_to_is_refused(make: Any, error: type[Exception], what: str):
    with pytest.raises(error, match=what):
        make()


def test_what_the_argument_means():
    recording = Recording("x")
    assert recording_of(None) is None
    assert recording_of(recording) is recording
    assert repr(recording_of("y")) == "Recording('y')"


def test_a_session_and_a_model_record_if_they_are_told_to():
    shell = SteppedShell()
    source = EndpointSource(
        base_url="https://h.test/v1", api_key=KEY, client=None, headers=None, query=None, environment={}
    )
    file = io.BytesIO()
    runtime = shell.runtime(source, Network(), SessionOptions(record=Recording(file)))
    assert isinstance(runtime._driver, RecordingDriver)
    assert not isinstance(shell.runtime(source, Network(), SessionOptions())._driver, RecordingDriver)
    for record in (None, Recording(file)):
        model = _Model("m", AsyncOpenAI(base_url="https://h.test/v1", api_key=KEY), record=record)
        assert model._shared._options.record is record


class _Model(wsmodel.OpenAIResponsesWSModel, shell=SteppedShell()):
    pass


# --- Credentials -----------------------------------------------------------------------------------------------------


def secrets_in(contents: bytes) -> list[str]:
    return [secret for secret in (KEY, "query-secret-77", "abc\r", '"abc"') if secret.encode() in contents]


@pytest.mark.parametrize("outputs", ["hash", "full"])
def test_no_credential_enters_the_file(outputs: Any):
    rig = RecordedRig.connected(recording={"outputs": outputs})
    turn = rig.create(input=f"my key is {KEY}")
    error = {"type": "error", "status": 401, "error": {"code": "invalid_api_key", "message": f"Incorrect key {KEY}"}}
    rig.say(error)
    assert turn.ended
    rig.close()
    assert secrets_in(rig.contents) == []
    (session,) = [entry for entry in rig.entries if entry.do == "session"]
    assert session.endpoint.url == "wss://server.test/v1/responses?token=***************&flag"
    assert dict(session.endpoint.headers) == {"Authorization": "*" * 25, "OpenAI-Beta": "some=v1", "X-Short": "***"}
    assert rig.replayed().sessions[0].turns[0].body["input"] == f"my key is {'*' * len(KEY)}"


def test_what_is_written_is_recorded_in_full_on_demand():
    """F-OUTPUT-2."""
    rig = RecordedRig.connected(recording={"outputs": "full"})
    (opened,) = [entry for entry in rig.entries if entry.do == "opened"]
    head = base64.b64decode(opened.out[0][3])
    assert b"GET /v1/responses?token=***************&flag HTTP/1.1\r\n" in head
    assert b"Authorization: " + b"*" * 25 + b"\r\n" in head
    assert b"X-Short: ***\r\n" in head
    rig.close()
    rig.replayed()


def test_a_credential_that_reads_cut_does_not_enter_the_file_either():
    for size in (1, 3, 5, 9, 14):
        rig = RecordedRig.connected()
        rig.create()
        error = {"type": "error", "status": 401, "error": {"code": "invalid_api_key", "message": f"No: {KEY} is it"}}
        data = rig.server.text(json.dumps(error).encode())
        for start in range(0, len(data), size):
            rig.receive(data[start : start + size])
        rig.close()
        arrived = b"".join(line.data for line in RecordedFile(rig.contents))
        assert KEY.encode()[4:] not in arrived
        assert b" is it" in arrived
        rig.replayed()


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_cookies_and_sticky_values_in_answers_are_replaced(size: int):
    place = Endpoint("wss://server.test/v1/responses")
    head = (
        b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: first=1; Path=/\r\n\r\n"
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: KEY\r\nset-cookie: session=77\r\nx-codex-turn-state: sticky-1\r\n"
        b"openai-organization: org-5\r\nx-request-id: req_1\r\n\r\n"
    )
    rig = RecordedRig(place=place, dialect="codex")
    rig.driver.connect(rig.now)
    rig.driver.opened(rig.link, rig.now)
    accepted = _accept_key().encode()
    data = head.replace(b"KEY", accepted)
    for start in range(0, len(data), size):
        rig.receive(data[start : start + size])
    assert rig.link.connection.is_open
    assert rig.link.connection.sticky[0][1].reveal() == "sticky-1"
    turn = rig.create()
    rig.lost(TransportError("reset"))
    rig.now += 10
    rig.driver.time_came(rig.now)
    again = rig.create()
    rig.driver.opened(rig.link, rig.now)
    assert b"x-codex-turn-state: sticky-1" in rig.runtime.written
    assert turn.ended
    assert not again.ended
    rig.close()
    arrived = b"".join(line.data for line in RecordedFile(rig.contents))
    assert b"req_1" in arrived
    assert not [text for text in (b"first=1", b"session=77", b"sticky-1", b"org-5") if text in arrived]
    rig.replayed()


def test_a_value_in_a_head_is_replaced_although_another_request_follows():
    incoming = ArrivingData(Secrets(None))
    incoming.answer_follows()
    assert incoming.masked(b"HTTP/1.1 200 OK\r\nset-co") == b"HTTP/1.1 200 OK\r\nset-co"
    incoming.answer_follows()
    assert incoming.masked(b"okie: a=1\r\n\r\nset-cookie: a=1") == b"okie: ***\r\n\r\nset-cookie: a=1"


def _accept_key() -> str:
    return switching().decode().partition("Accept: ")[2].partition("\r")[0]


def test_words_that_data_has_anyway_are_not_replaced():
    place = Endpoint("wss://server.test/v1", (("Accept", "application/json"), ("X-Kind", "websocket"), ("X-Cut", "k")))
    rig = RecordedRig.connected(place=place)
    rig.create(input="application/json")
    rig.close()
    assert b'"input":"application/json"' in rig.contents
    assert b"Upgrade: websocket" in rig.contents
    rig.replayed()


def test_a_fresh_key_is_recorded_as_the_endpoint_of_its_link():
    rig = RecordedRig()
    rig.driver.connect(rig.now)
    rig.link.connection.endpoint = Endpoint(PLACE.url, (("Authorization", "Bearer another-key-12345"),))
    rig.accept()
    rig.close()
    assert b"another-key" not in rig.contents
    (opened,) = [entry for entry in rig.entries if entry.do == "opened"]
    assert opened.endpoint is not None
    rig.replayed()


def test_a_head_that_is_not_whole_in_one_write_is_recorded_by_its_length():
    """F-OUTPUT-2."""
    place = Endpoint("https://server.test/v1", (("X-Long", "k1" * 80_000), ("X-Key", "9" * 30)))
    rig = RecordedRig(place=place, transport="http", recording={"outputs": "full"})
    rig.create()
    rig.driver.opened(rig.link, rig.now)
    assert len(rig.runtime.written) > 160_000
    rig.close()
    (opened,) = [entry for entry in rig.entries if entry.do == "opened"]
    assert [output[3] for output in opened.out if output[0] == "write"] == [""] * 3
    rig.replayed()


# --- Every input -----------------------------------------------------------------------------------------------------


def test_waiting_leaving_and_conditions_are_inputs():
    rig = RecordedRig(ping_interval=None)
    rig.driver.wake_when("opening", lambda: not rig.driver.connecting)
    rig.driver.connect(rig.now)
    rig.accept()
    rig.driver.forget("opening")
    turn = rig.create()
    rig.driver.listen(turn, "one", lambda: rig.now)
    with pytest.raises(ConcurrentUseError):
        rig.driver.listen(turn, "two", lambda: rig.now)
    rig.driver.ignore(turn, "one")
    rig.driver.ignore(turn, "one")
    rig.driver.writable(rig.link, rig.now)
    rig.driver.close_without_waiting(rig.now)
    turn.leave = "abandon"
    rig.driver.cancel(turn, rig.now)
    left: Leave = "abort"
    other = rig.create()
    other.leave = left
    rig.driver.cancel(other, rig.now)
    rig.driver.drain(rig.now, 3.0)
    with pytest.raises(SessionClosedError):
        rig.create()
    rig.driver.close(rig.now, wait_for_peer=False)
    for link in rig.driver.links:
        rig.driver.lost(link, None, rig.now)
    did = [entry.do for entry in rig.entries]
    assert {"observe", "forget", "listen", "ignore", "writable", "close_without_waiting", "drain", "close"} <= set(did)
    assert [entry.raised for entry in rig.entries if entry.raised] == ["ConcurrentUseError", "SessionClosedError"]
    assert [entry.leave for entry in rig.entries if entry.do == "cancel"] == ["abandon", "abort"]
    track = rig.replayed().sessions[0]
    assert [(turn.end, turn.verdict) for turn in track.turns] == [
        ("left", "ambiguous"),
        ("left", "safe"),
        ("refused", "safe"),
    ]
    assert track.turns[2].failure == "SessionClosedError"


def test_a_retrieval_and_its_redirect_replay():
    rig = RecordedRig(place=Endpoint("https://server.test/v1/responses", (("Authorization", f"Bearer {KEY}"),)))
    turn = rig.retrieve("resp_1", stream=True, starting_after=3, include=["a.b", "c d"])
    rig.driver.opened(rig.link, rig.now)
    rig.receive(answer(307, location="/v1/elsewhere"))
    rig.driver.lost(rig.runtime.links[0], None, rig.now)
    rig.driver.opened(rig.link, rig.now)
    assert b"/v1/elsewhere" in rig.runtime.written
    rig.receive(answer(404, '{"error":{"message":"no"}}', content_type="application/json"))
    assert turn.failure is not None
    rig.close()
    (submitted,) = [entry for entry in rig.entries if entry.do == "submit"]
    assert submitted.retrieval.include == ("a.b", "c d")
    assert submitted.retrieval.starting_after == 3
    track = rig.replayed().sessions[0]
    assert track.turns[0].retrieval == "resp_1"
    assert track.turns[0].body is None
    assert [one.links for one in track.connections] == [[1, 2]]


def test_a_turn_that_was_made_earlier_keeps_its_deadline():
    rig = RecordedRig.connected()
    turn = Turn.from_body({"input": "x"}, lane=AUTO, timeouts=Timeouts(total=5.0), now=rig.now)
    rig.now += 2
    rig.driver.submit(turn, rig.now)
    rig.now += 3.5
    rig.driver.time_came(rig.now)
    rig.driver.time_came(rig.now)
    assert turn.failure is not None
    rig.close()
    assert rig.replayed().sessions[0].turns[0].began == 100.0


def test_reading_that_pauses_replays():
    """F-OUTPUT-1."""
    rig = RecordedRig.connected(high_water=0)
    turn = rig.create()
    rig.say(created(), delta())
    rig.now += 1
    drained(turn)
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.close()
    assert rig.replayed().sessions[0].connections[0].pauses == [(100.0, 101.0)]


def test_what_should_repeat_says_is_an_input():
    asked = []

    def should_repeat(failure: Exception) -> bool:
        asked.append(failure)
        if len(asked) == 2:
            raise ValueError("oh")
        return len(asked) == 1

    rig = RecordedRig.connected(recovery=RecoveryPolicy(should_repeat=should_repeat))
    turn = rig.create()
    busy = {"type": "error", "status": 429, "error": {"code": "rate_limit_exceeded"}, "headers": {"retry-after": "1"}}
    rig.say(busy)
    assert not turn.ended
    other = rig.create("b")
    rig.say({**busy, "stream_id": "b"})
    assert other.ended
    rig.close()
    drawn = [pair for entry in rig.entries for pair in entry.drawn if pair[0] == "repeat"]
    assert drawn == [("repeat", True), ("repeat", None)]
    (mark,) = rig.replayed().sessions[0].turns[0].repeats
    assert (mark.reason, mark.delay, mark.verdict, mark.connection) == ("rate_limit", 1.0, "safe", 1)


def test_a_call_that_a_hook_makes_is_recorded_within_its_step():
    rig = RecordedRig()
    turns: list[Turn] = []

    def opened(notice: object) -> None:
        turns.append(rig.create())
        rig.driver.close(rig.now)

    rig.notices.on("connection_opened", opened)
    rig.driver.connect(rig.now)
    rig.accept()
    rig.lost()
    assert turns[0].failure is not None
    within = [entry.do for entry in rig.entries if entry.within]
    assert within == ["submit", "close"]
    track = rig.replayed().sessions[0]
    assert track.turns[0].end == "error"
    assert track.notices[0].name == "connection_opened"
    assert track.end == "closed"


class Stopped(BaseException):
    """What no hook's caller catches."""


def test_an_exception_that_a_hook_lets_out_is_recorded_and_the_recording_goes_on():
    rig, errors = RecordedRig(), [Stopped()]

    def interrupted(notice: object) -> None:
        if errors:
            raise errors.pop()

    rig.notices.on("connection_opened", interrupted)
    rig.driver.connect(rig.now)
    with pytest.raises(Stopped):
        rig.accept()
    rig.close()
    assert [entry.do for entry in rig.entries if entry.raised == "Stopped"] == ["received"]
    assert rig.entries[-1].do == "end"


def test_a_hook_that_ends_everything_ends_the_recording_once():
    rig = RecordedRig.connected()
    rig.notices.on("connection_lost", lambda notice: rig.driver.close(rig.now))
    rig.create()
    rig.lost(TransportError("reset"))
    rig.driver.time_came(rig.now)
    assert [entry.do for entry in rig.entries][-1] == "end"
    rig.replayed()


def test_the_verdicts_of_a_replay_are_those_of_the_session():
    rig = RecordedRig.connected()
    ambiguous, unsafe = rig.create("a"), rig.create("b")
    rig.say(created(2, "b"))
    rig.lost(TransportError("the network failed"))
    assert (ambiguous.failure.verdict, unsafe.failure.verdict) == (Verdict.AMBIGUOUS, Verdict.UNSAFE)
    rig.close()
    first, second = rig.replayed().sessions[0].turns
    assert (first.verdict, second.verdict) == ("ambiguous", "unsafe")
    assert (first.text, first.failure) == (str(ambiguous.failure), type(ambiguous.failure).__name__)
    assert second.evidence["phase"] == "STREAM"
    assert second.evidence["response_id"] == "r2"


@pytest.mark.parametrize("scrub", [False, True])
def test_every_run_of_the_simulation_replays(scrub: bool):
    ends = 0
    for seed in range(25):
        file = io.BytesIO()
        run = simulate(seed, recording=Recording(file, scrub=scrub))
        assert not run.complaints
        assert run.trace == simulate(seed).trace
        timeline = Replay(file.getvalue()).run()
        assert timeline.difference is None, f"seed {seed}: {timeline.difference}"
        ends += sum(turn.end is not None for session in timeline.sessions for turn in session.turns)
    assert ends > 30


# --- A replay that differs -------------------------------------------------------------------------------------------


def changed(contents: bytes, **replacements: Any) -> bytes:
    """The recording, with its first entry of a kind replaced by what a function makes of it."""
    lines = contents.splitlines(keepends=True)
    for index, line in enumerate(lines[1:], 1):
        entry = json.loads(line)
        make = replacements.pop(entry["do"], None)
        if make is not None:
            make(entry)
            lines[index] = json.dumps(entry).encode() + b"\n"
    assert not replacements
    return b"".join(lines)


def conversation() -> bytes:
    rig = RecordedRig.connected()
    turn = rig.create()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.say(created(), completed())
    drained(turn)
    rig.driver.cancel(turn, rig.now)
    rig.close()
    return rig.contents


def put(name: str, value: Any) -> Any:
    def make(entry: dict[str, Any]) -> None:
        entry[name] = value

    return make


@pytest.mark.parametrize(
    ("change", "line", "expected", "got"),
    [
        ({"connect": put("out", [["open", 2]])}, 3, "open 2", "open 1"),
        ({"connect": put("out", [])}, 3, "nothing more", "open 1"),
        ({"abort": lambda entry: entry["out"].append(["pause", 1])}, 9, "pause 1", "nothing more"),
        ({"connect": put("raised", "UserError")}, 3, "UserError", "no exception"),
        ({"connect": put("drawn", [])}, 3, "nothing more to be drawn", "the core asks for retries"),
        ({"opened": put("drawn", [["random", "00"]])}, 4, "1 random bytes to be drawn", "the core asks for 16"),
        ({"opened": put("drawn", [["wall", 1.0]])}, 4, "('wall', 1.0) to be drawn", "the core asks for random"),
        ({"cancel": put("drawn", [["wall", 1.0]])}, 8, "('wall', 1.0) to be drawn", "the core asks for nothing more"),
        ({"cancel": put("read", {"1": 5})}, 8, "5 unread events of turn 1", "2"),
    ],
)
def test_a_replay_that_differs_says_where(change: dict[str, Any], line: int, expected: str, got: str):
    """F-OUTPUT-1."""
    replay = Replay(changed(conversation(), **change))
    replayed = list(replay)
    difference = replay.timeline.difference
    assert difference is not None
    assert (difference.line, difference.expected, difference.got) == (line, expected, got)
    assert str(difference).startswith(f"line {line} (")
    assert replayed[-1].number == line


def test_a_write_that_differs_is_found_by_its_hash():
    """F-OUTPUT-1, F-OUTPUT-2."""

    def other(entry: dict[str, Any]) -> None:
        entry["body"]["input"] = "y"

    difference = Replay(changed(conversation(), submit=other)).run().difference
    assert difference is not None
    assert difference.expected.startswith("write 1 ")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"received": put("link", 9)}, "names link 9, which is not open"),
        ({"cancel": put("turn", 9)}, "names turn 9, which has not begun"),
        ({"submit": put("body", "x")}, "begins a turn without a body"),
        ({"abort": put("do", "dance")}, "has an unknown input: 'dance'"),
        ({"session": put("options", {"connections": "x"})}, "options cannot be used"),
        ({"session": put("options", {"no_such_option": 1})}, "options cannot be used"),
    ],
)
def test_a_line_that_cannot_be_replayed_says_why(change: dict[str, Any], what: str):
    with pytest.raises(RecordingError, match=what):
        Replay(changed(conversation(), **change)).run()


def test_options_come_back_as_they_were():
    policy = RecoveryPolicy(attempts=2, should_repeat=lambda failure: True)
    rig = RecordedRig.connected(recovery=policy, timeouts=Timeouts(receive=7.0), dialect="azure", leave="abandon")
    rig.close()
    (session,) = [entry for entry in rig.entries if entry.do == "session"]
    assert session.options["timeouts"] == {"lane": None, "connect": 30.0, "send": 120.0, "receive": 7.0, "total": None}
    assert session.options["recovery"]["should_repeat"] is True
    rig.replayed()


def test_a_dialect_of_ones_own_comes_back():
    rig = RecordedRig.connected(dialect=msgspec.structs.replace(OPENAI, name="mine", betas=("a=1",)))
    rig.close()
    assert rig.replayed().sessions[0].dialect == "mine"


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_the_recordings_that_are_kept_replay(path: Path):
    contents = path.read_bytes()
    assert entries(contents)
    timeline = Replay(contents).run()
    assert timeline.difference is None
    verdicts = {turn.verdict for turn in timeline.sessions[0].turns}
    assert verdicts == {None, "safe", "unsafe", "ambiguous"}
    assert any(turn.repeats for turn in timeline.sessions[0].turns)


def test_waiting_that_tells_the_runtime_something_else_now_differs():
    rig = RecordedRig.connected(high_water=0)
    turn = rig.create()
    rig.say(created(), delta())
    rig.driver.listen(turn, "waiter", lambda: rig.now)  # Reading goes on: that is a line of its own.
    rig.close()
    lines = rig.contents.splitlines(keepends=True)
    (index,) = [index for index, line in enumerate(lines) if b'"listen"' in line]
    told = json.loads(lines.pop(index))
    after = json.loads(lines[index])
    after["before"] = [[told["turn"], told["at"], {}]]
    lines[index] = json.dumps(after).encode() + b"\n"
    difference = Replay(b"".join(lines)).run().difference
    assert difference is not None
    assert (difference.expected, difference.got) == ("nothing more", "resume 1")
