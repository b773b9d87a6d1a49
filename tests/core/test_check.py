"""``turnwire check`` without sockets: servers that keep the rules pass, and a server that breaks one is found by it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import pytest
from kit.checked_server import CheckedServer, Peer, context, outcomes
from msgspec.structs import replace
from turnwire.sansio.check import CHECKS, SendBytes, StepResult, _wire, chosen, requests_of, run_check
from turnwire.sansio.check._frames import FrameReader, TextMessage, frame
from turnwire.sansio.check._http import AnswerReader
from turnwire.sansio.check._shown import CheckFailedError, shown
from turnwire.sansio.dialect import DIALECTS
from turnwire.sansio.server import ServerTurn
from turnwire.sansio.websocket import CloseFrame, Ping, Pong, head_length, payload_length

KEY = "sk-checked-server-key"


def failed(server: CheckedServer, *, only: Sequence[str] = (), **arguments: Any) -> list[str]:
    """The names of the checks that fail."""
    found = outcomes(server, chosen(only, ()), context(server, **arguments))
    return [name for name, each in found.items() if each.outcome == "failed"]


# --- Servers that keep the rules -------------------------------------------------------------------------------------

LENIENT = {f"refused/{name}" for name in ("model", "input", "field", "metadata", "role")}
WITHOUT_KEY = {"key/missing", "key/wrong", "key/http"}
AGE = "limits/age"
NO_LANES = {
    *(f"lanes/{name}" for name in ("stream-id", "fifo", "parallel", "whose-events", "in-flight", "names")),
    *("errors/lane", "errors/stream-id", "continuation/fork", "continuation/failed-fork"),
    *(f"steering/{name}" for name in ("unknown", "invalid", "ended", "running")),
    *(f"injecting/{name}" for name in ("unknown", "invalid", "without-beta")),
}
OF_HTTP = {f"http/{name}" for name in ("stream", "json", "error", "retrieve", "unstored")}


@pytest.mark.parametrize(
    ("options", "skipped"),
    [
        ({}, {*LENIENT, *WITHOUT_KEY, AGE, "errors/no-lanes"}),
        ({"strict": True, "key": KEY}, {AGE, "errors/no-lanes"}),
        ({"dialect": None, "has_http": False}, {*LENIENT, *WITHOUT_KEY, *OF_HTTP, AGE, "errors/no-lanes"}),
        ({"dialect": "no-lanes"}, {*LENIENT, *WITHOUT_KEY, *NO_LANES, AGE, "errors/no-lanes"}),
        (
            {"dialect": "azure", "key": KEY, "strict": True},
            {*NO_LANES, AGE, "lanes/default-fifo", "continuation/other-failure"},
        ),
        ({"max_message_size": 60_000, "strict": True, "key": KEY}, {AGE, "errors/no-lanes"}),
    ],
)
def test_a_server_that_keeps_the_rules_passes(options: dict[str, Any], skipped: set[str]) -> None:
    server = CheckedServer(**options)
    found = outcomes(server, CHECKS)
    assert {name: each for name, each in found.items() if each.outcome == "failed"} == {}
    assert {name for name, each in found.items() if each.outcome == "skipped"} == skipped
    assert all(each.reason for each in found.values() if each.outcome == "skipped")
    assert server.made <= requests_of(CHECKS), "it says before it starts how many requests it sends"


# --- Planted bugs ----------------------------------------------------------------------------------------------------


class WrongLane(CheckedServer):
    """A delta of one lane is sent on another."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "response.output_text.delta" and event.get("stream_id") == "check-b":
            event["stream_id"] = "check-a"
        return [event]


class LostName(CheckedServer):
    """The events of an item have no stream_id."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "response.output_item.done":
            event.pop("stream_id", None)
        return [event]


class NoNames(CheckedServer):
    """It says that it has lanes, and ignores them."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        event.pop("stream_id", None)
        return [event]


class TwoAtOnce(CheckedServer):
    """Each valid request runs at once, on whatever lane it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_named_lanes=1000, **options)

    def requested(self, request: dict[str, Any]) -> None:
        name = request.get("stream_id", "-")
        if re.fullmatch(r"[a-z0-9-]{1,20}", name):
            request["stream_id"] = f"{name}.{self.made}.{len(str(request))}.{id(request)}"

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        name = event.pop("stream_id", "-").partition(".")[0]
        return [event if name == "-" else {**event, "stream_id": name}]


class NewestFirst(TwoAtOnce):
    """Of requests that wait, the newest runs first."""

    def may_go_on(self, turns: list[ServerTurn]) -> list[ServerTurn]:
        return turns[-1:]


class OneAfterAnother(CheckedServer):
    """Lanes wait for each other."""

    def may_go_on(self, turns: list[ServerTurn]) -> list[ServerTurn]:
        return turns[:1]


class OtherCode(CheckedServer):
    """An unknown previous_response_id has the code of an unknown URL."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "error" and event["error"]["code"] == "previous_response_not_found":
            event["error"]["code"] = "not_found"
        return [event]


class FlatErrors(CheckedServer):
    """Errors have neither an object nor a status."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "error":
            event = {**event.pop("error"), **event}
            del event["status"]
        return [event]


class ErrorsWithoutLane(CheckedServer):
    """Errors do not say their lane."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "error":
            event.pop("stream_id", None)
        return [event]


class NoCloseFrame(CheckedServer):
    """It ends connections without a close frame."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return data[: data.index(b"\x88")] if peer.ended and b"\x88" in data else data


class LosesStored(CheckedServer):
    """A stored response is gone when the next one ends."""

    def events_of(self, turn: ServerTurn) -> Iterator[dict[str, Any]]:
        self.state.store._responses.clear()
        return super().events_of(turn)


class StoresAll(CheckedServer):
    """It stores what was not to be stored."""

    def events_of(self, turn: ServerTurn) -> Iterator[dict[str, Any]]:
        turn.request.pop("store", None)
        return super().events_of(turn)


class RepeatsNumbers(CheckedServer):
    """Two events of a response have one sequence number."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event.get("sequence_number") == 3:
            event["sequence_number"] = 2
        return [event]


class RepeatsTheEnd(CheckedServer):
    """The end of a response comes twice."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [event] * (1 + (event["type"] == "response.completed" and not event.get("stream_id")))


class SameId(CheckedServer):
    """All responses have one id."""

    def events_of(self, turn: ServerTurn) -> Iterator[dict[str, Any]]:
        self.made = 0
        return super().events_of(turn)


class LosesDeltas(CheckedServer):
    """A delta is lost."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [] if str(event.get("delta")).strip() == "two" else [event]


class LongWarmUps(CheckedServer):
    """A warm-up generates."""

    def events_of(self, turn: ServerTurn) -> Iterator[dict[str, Any]]:
        turn.request.pop("generate", None)
        return super().events_of(turn)


class Masks(CheckedServer):
    """It masks its frames."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return data if peer.websocket is None or data.startswith(b"HTTP") else masked(data)


class TakesUnmasked(CheckedServer):
    """It takes frames that are not masked."""

    def bytes_in(self, peer: Peer, data: bytes) -> bytes:
        plain = len(data) > 1 and data[:1] == b"\x81" and not data[1] & 0x80
        return frame(0x81, data[2:]) if plain and peer.websocket is not None else data


class TakesAll(CheckedServer):
    """It takes messages of any size: what is over the limit is dropped."""

    def bytes_in(self, peer: Peer, data: bytes) -> bytes:
        if peer.websocket is not None and len(data) > 200_000:
            return frame(0x81, b'{"type": "turnwire.check"}') if data[:1] == b"\x81" else b""
        return data


class NoPongs(CheckedServer):
    """It does not answer pings."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return data if data.startswith(b"HTTP") else b"".join(each for each in frames_in(data) if each[:1] != b"\x8a")


class AnyKey(CheckedServer):
    """It wants a key, and takes any."""

    def bytes_in(self, peer: Peer, data: bytes) -> bytes:
        return re.sub(rb"sk-turnwire-check-\w+", KEY.encode(), data)


class SilentVersion(CheckedServer):
    """It does not say which version it speaks."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return re.sub(rb"(?i)sec-websocket-version: 13\r\n", b"", data)


class Subprotocol(CheckedServer):
    """It selects a subprotocol."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return re.sub(rb"^(HTTP/1.1 101.*?\r\n)", rb"\1sec-websocket-protocol: x\r\n", data)


class OldVersion(CheckedServer):
    """It says that it does not know HTTP/1.0."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        old = peer.request is not None and peer.request.http_version == b"1.0"
        return b"HTTP/1.1 505 \r\ncontent-length: 0\r\n\r\n" if old else data


class KeepsFailed(CheckedServer):
    """A continuation that fails does not remove what it continued."""

    def requested(self, request: dict[str, Any]) -> None:
        if request.get("input") == 5:
            request["previous_response_id"] = None


class KeepsNothing(CheckedServer):
    """It remembers only what is stored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_remembered=0, **options)


class LosesSteers(CheckedServer):
    """It takes a steer, and no response follows."""

    steered = False

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        self.steered = self.steered or event["type"] == "response.steer.accepted"
        after = self.steered and event["type"] == "response.created"
        return [] if after else [event]


class ClosesOnErrors(CheckedServer):
    """An error ends the connection."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "error":
            self.closing = True
        return [event]

    closing = False

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        if self.closing and peer.websocket is not None:
            self.closing = False
            peer.websocket.close(self.now, 1008)
            data += peer.websocket.data_to_send()
        return data


class TakesNames(CheckedServer):
    """It takes more names than its dialect says."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_named_lanes=100, **options)


class RunsMore(CheckedServer):
    """It runs more responses at once than its dialect says."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_in_flight=100, **options)


LIMITED = replace(DIALECTS["openai"], message_limit=300_000)
FRAMES_THAT_CLOSE = {
    f"frames/{name}"
    for name in (
        *("unmasked", "reserved-bit", "opcode", "long-ping", "ping-fragment", "continuation", "interleaved", "utf-8"),
        *("binary", "close-code", "half-code"),
    )
}
PLANTED: dict[type[CheckedServer], set[str]] = {
    WrongLane: {"lanes/whose-events"},
    LostName: {"lanes/stream-id"},
    NoNames: {"lanes/stream-id"},
    # Requests of one lane run at once, so that a continuation of what fails is not on its lane, and names are many.
    TwoAtOnce: {"lanes/fifo", "lanes/default-fifo", "lanes/names", "continuation/failure-forgets"},
    NewestFirst: {
        *("lanes/fifo", "lanes/default-fifo", "lanes/names", "continuation/failure-forgets"),
        *("lanes/parallel", "lanes/in-flight"),
    },
    OneAfterAnother: {"lanes/parallel"},
    OtherCode: {
        *("continuation/unknown", "continuation/unstored-elsewhere", "continuation/latest"),
        "continuation/failure-forgets",
    },
    FlatErrors: {"errors/shape", "refused/input-type", "refused/background", "injecting/invalid"},
    ErrorsWithoutLane: {"errors/lane"},
    # P-CHECK-6: all of them use the connection after an error.
    ClosesOnErrors: {
        *("errors/invalid-json", "errors/not-an-object", "errors/without-type", "errors/unknown-type"),
        *("errors/deep-json", "errors/stream-id", "errors/then-a-turn", "lanes/names"),
        *("continuation/failure-forgets", "continuation/other-failure", "continuation/failed-fork"),
    },
    # P-CHECK-3 and P-CHECK-5: it closes without saying so.
    NoCloseFrame: {
        *FRAMES_THAT_CLOSE,
        "closing/idle",
        "closing/without-code",
        "closing/in-turn",
        "limits/message-size",
    },
    LosesStored: {"continuation/stored"},
    StoresAll: {"continuation/unstored-elsewhere", "continuation/failure-forgets", "http/unstored"},
    KeepsFailed: {"continuation/failure-forgets"},
    KeepsNothing: {
        *("continuation/unstored", "continuation/other-failure", "continuation/fork", "continuation/failed-fork"),
        "warm-up/continue",
    },
    RepeatsNumbers: {"events/numbers"},  # P-CHECK-7
    # The second end ends the turn after it, too.
    RepeatsTheEnd: {
        *("events/nothing-after", "lanes/default-fifo", "continuation/failure-forgets", "continuation/other-failure"),
        *("steering/ended", "steering/running"),
    },
    SameId: {"events/new-id", "continuation/failure-forgets", "steering/running", "http/unstored"},
    LosesDeltas: {"events/items"},  # P-CHECK-8
    LongWarmUps: {"warm-up/events"},
    LosesSteers: {"steering/running"},
    Masks: {"frames/well-formed"},  # P-CHECK-3
    TakesUnmasked: {"frames/unmasked"},
    TakesAll: {"limits/message-size"},
    NoPongs: {"frames/ping", "frames/fragments", "frames/ping-in-turn"},  # P-CHECK-4
    AnyKey: {"key/wrong"},  # P-CHECK-2
    SilentVersion: {"handshake/version"},  # P-CHECK-1
    Subprotocol: {"handshake/nothing-unasked"},
    TakesNames: {"lanes/names"},
    RunsMore: {"lanes/in-flight"},
}
"""Each server breaks a rule: what finds it. Where that is more than one check, they need what is broken."""


def frames_in(data: bytes) -> list[bytes]:
    """The frames of a client, which come whole here."""
    found = []
    while data:
        size = head_length(data) + payload_length(data[:14])
        found.append(data[:size])
        data = data[size:]
    return found


def masked(data: bytes) -> bytes:
    return b"".join(frame(each[0], each[head_length(each) :]) for each in frames_in(data))


@pytest.mark.parametrize("kind", PLANTED, ids=lambda kind: kind.__name__)
def test_a_planted_bug_is_found_by_the_checks_of_its_rule_and_no_others(kind: type[CheckedServer]) -> None:
    assert set(failed(kind(key=KEY, max_message_size=300_000), dialect=LIMITED)) == PLANTED[kind]


# --- Servers that have less, or say more -----------------------------------------------------------------------------


class Numbered(CheckedServer):
    """It does not send metadata back."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        event.get("response", {}).pop("metadata", None)
        return [event]


class StoresNothing(StoresAll):
    """Zero data retention."""

    def events_of(self, turn: ServerTurn) -> Iterator[dict[str, Any]]:
        for event in CheckedServer.events_of(self, turn):
            if "response" in event:
                event["response"]["store"] = False
            yield event


class Pings(CheckedServer):
    """It pings before everything that it says, and wants pongs; and it sends pongs that nobody has asked for."""

    pongs = 0

    def bytes_in(self, peer: Peer, data: bytes) -> bytes:
        self.pongs += b"\x8a\x81\0\0\0\0p" in data
        return data

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return data if data.startswith(b"HTTP") else b"\x89\x01p\x8a\0" + data


class Keepalives(CheckedServer):
    """It sends events that are none of a response."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"type": "keepalive"}, event, {"type": "codex.rate_limits"}]


class OddTexts(CheckedServer):
    """It sends texts that are no JSON object."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return data if data.startswith(b"HTTP") else b"\x81\x06[DONE]" + data


class IgnoresUnknown(CheckedServer):
    """It does not answer messages of types that it does not know."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [] if event["type"] == "error" and event["error"]["code"] == "unsupported_event_type" else [event]


class NoTurns(CheckedServer):
    """It refuses every request."""

    status = 400

    def requested(self, request: dict[str, Any]) -> None:
        request["input"] = 5

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**event, "status": self.status}]


class Busy(NoTurns):
    """It has no time."""

    status = 429


class NoWarmUps(CheckedServer):
    """It refuses warm-ups."""

    def requested(self, request: dict[str, Any]) -> None:
        request["input"] = request["input"] if request.pop("generate", True) else 5


class NoSteering(CheckedServer):
    """Its model cannot be steered."""

    def events_of(self, turn: ServerTurn) -> Iterator[dict[str, Any]]:
        turn.request["model"] = "gpt-5"
        return super().events_of(turn)


class SlowSteers(CheckedServer):
    """It accepts a steer when the response has ended."""

    held: Sequence[dict[str, Any]] = ()

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "response.steer.accepted":
            self.held = [event]
            return []
        held, self.held = (self.held, ()) if event["type"] == "response.completed" else ((), self.held)
        return [event, *held]


class NoInjecting(CheckedServer):
    """It does not answer injections."""

    def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [] if event["type"] == "response.inject.failed" else [event]


class Silent(CheckedServer):
    """It accepts connections, and says nothing."""

    def bytes_out(self, peer: Peer, data: bytes) -> bytes:
        return b""


class HangsUp(CheckedServer):
    """It ends connections at once."""

    def bytes_in(self, peer: Peer, data: bytes) -> bytes:
        peer.ended = True
        return b""


class ReadsAll(CheckedServer):
    """It reads a message to its end before it refuses it."""

    held = b""

    def bytes_in(self, peer: Peer, data: bytes) -> bytes:
        if not self.held and len(data) < 200_000:
            return data
        self.held += data
        if len(self.held) < self.options.max_message_size:
            return b""
        held, self.held = self.held, b""
        return held


class BreaksOff(ReadsAll):
    """It breaks a connection off on which a long message comes."""

    def take(self, step: Any) -> StepResult:
        return (
            StepResult(problem="BrokenPipeError") if self.held and isinstance(step, SendBytes) else super().take(step)
        )


def reasons(server: CheckedServer, *only: str, **arguments: Any) -> dict[str, str]:
    """The checks that are skipped, and why."""
    found = outcomes(server, chosen(only, ()), context(server, **arguments))
    return {name: each.reason for name, each in found.items() if each.outcome == "skipped"}


@pytest.mark.parametrize("kind", [Numbered, Pings, Keepalives, SlowSteers, OldVersion])
def test_what_a_server_may_say_besides_is_no_failure(kind: type[CheckedServer]) -> None:
    server = kind(key=KEY, max_message_size=300_000)
    assert failed(server, dialect=LIMITED) == []
    assert getattr(server, "pongs", 9) > 5


def test_a_text_that_is_no_object_is_told_once() -> None:
    assert failed(OddTexts(), only=["frames", "events", "lanes/fifo"]) == ["frames/well-formed", "frames/fragments"]


def test_a_server_that_stores_nothing_and_says_so_is_not_asked_for_what_is_stored() -> None:
    found = reasons(StoresNothing(), "continuation/stored", "http/retrieve")
    assert set(found) == {"continuation/stored", "http/retrieve"}
    assert all("zero data retention" in reason for reason in found.values())


@pytest.mark.parametrize(
    ("kind", "only", "words"),
    [
        (NoTurns, "lanes", "a plain request does not get a response (events/order): "),
        (Busy, "events", "429"),
        (NoWarmUps, "warm-up", "the server takes no warm-ups: invalid_type"),
        (NoSteering, "steering/running", "name another one by --model"),
        (NoInjecting, "injecting", "the server has no injecting, or does not answer: nothing within 5 s"),
    ],
)
def test_a_skip_says_what_the_server_lacks(kind: type[CheckedServer], only: str, words: str) -> None:
    found = reasons(kind(), only)
    assert set(found) == {check.name for check in chosen([only], ())}
    assert all(words in reason for reason in found.values())


def test_a_server_that_does_not_answer_what_it_does_not_know_fails_and_the_run_goes_on() -> None:
    found = failed(IgnoresUnknown(), only=["errors/unknown-type", "events", "injecting"])
    assert found == ["errors/unknown-type", "injecting/without-beta"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Silent, "nothing within 5 s"), (HangsUp, "the end of the connection, without an answer")],
)
def test_without_a_websocket_one_check_fails_and_the_others_say_why(kind: type[CheckedServer], words: str) -> None:
    server = kind()
    found = outcomes(server, chosen((), ["http", "key"]))
    assert [name for name, each in found.items() if each.outcome == "failed"] == ["handshake/accept"]
    assert found["handshake/accept"].came == words
    assert all(words in each.reason for each in found.values() if each.outcome == "skipped")


def test_a_url_with_http_alone_is_checked_over_http() -> None:
    class HttpOnly(CheckedServer):
        def bytes_out(self, peer: Peer, data: bytes) -> bytes:
            peer.ended = peer.ended or data.startswith(b"HTTP/1.1 101")
            return b"HTTP/1.1 426 \r\ncontent-length: 2\r\n\r\n{}" if data.startswith(b"HTTP/1.1 101") else data

    found = outcomes(HttpOnly(), CHECKS)
    assert {name for name, each in found.items() if each.outcome == "passed"} == OF_HTTP
    assert found["handshake/accept"].came == "status 426 with {}"


@pytest.mark.parametrize("kind", [ReadsAll, TakesAll, BreaksOff])
def test_a_message_that_is_too_long_is_sent_to_its_end_if_nothing_comes(kind: type[CheckedServer]) -> None:
    server = kind(dialect=None, max_message_size=1_000_000)
    unknown = replace(DIALECTS["unknown"], message_limit=1_000_000)
    (found,) = outcomes(server, chosen(["limits/message-size"], ()), context(server, dialect=unknown)).values()
    assert found.outcome == {ReadsAll: "passed", TakesAll: "skipped", BreaksOff: "failed"}[kind]


def test_the_age_of_a_connection_is_waited_for_if_that_is_asked() -> None:
    class Closes(CheckedServer):
        def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
            return [event] if event["type"] != "error" else []

    def ended(server: CheckedServer, age: float) -> str:
        (found,) = outcomes(server, chosen([AGE], ()), context(server, age=age)).values()
        return found.outcome

    assert ended(CheckedServer(lifetime=9.0), 10.0) == "passed"
    assert ended(CheckedServer(lifetime=9.0), 8.0) == "skipped"
    assert ended(Closes(lifetime=9.0), 10.0) == "failed"


def test_a_server_that_takes_more_names_is_asked_for_the_limit_only_if_its_dialect_has_one() -> None:
    assert reasons(TakesNames(dialect=None), "lanes/names") == {"lanes/names": "the server takes more than 32 names"}


def test_the_betas_of_a_dialect_are_asked_for() -> None:
    class Codex(CheckedServer):
        asked: Sequence[bytes] = ()

        def bytes_in(self, peer: Peer, data: bytes) -> bytes:
            self.asked = [*self.asked, *re.findall(rb"OpenAI-Beta: (.*)\r\n", data)]
            return data

    server = Codex()
    assert failed(server, only=["handshake/accept", "injecting/unknown"], dialect=DIALECTS["codex"]) == []
    assert set(server.asked) == {
        b"responses_websockets=2026-02-06",
        b"responses_websockets=2026-02-06, responses_multi_agent=v1",
    }


def test_a_post_without_a_key_is_not_asked_for_where_there_is_no_http() -> None:
    assert failed(CheckedServer(key=KEY, has_http=False), only=["key"]) == []


def test_a_server_that_sends_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Floods(CheckedServer):
        def receive(self, peer: Peer, within: float) -> StepResult:
            found = super().receive(peer, within)
            begun = peer.websocket is not None and not (found.data or b"").startswith(b"HTTP")
            return StepResult(data=frame(0x81, b"[1]") * 10_000) if begun else found

    monkeypatch.setattr(_wire, "DEFAULT_MAX_MESSAGE_SIZE", 1_000_000)
    (found,) = outcomes(Floods(), chosen(["frames/ping"], ())).values()
    assert (found.outcome, found.expected) == ("failed", "an end")


def test_an_answer_429_says_nothing() -> None:
    class HasNoTime(CheckedServer):
        def bytes_out(self, peer: Peer, data: bytes) -> bytes:
            return b"HTTP/1.1 429 \r\ncontent-length: 0\r\n\r\n"

    found = reasons(HasNoTime())
    assert len(found) == len(CHECKS)
    assert all("429" in reason for reason in found.values())


def test_what_a_dialect_says_that_a_server_has_is_a_failure_if_it_has_not() -> None:
    class NoSteers(IgnoresUnknown):
        def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
            return [] if event["type"].startswith("response.steer.") else super().change(event)[:1]

    assert failed(NoSteers(), only=["steering/unknown", "key"]) == ["steering/unknown"]
    found = reasons(NoSteers(dialect=None), "steering")
    assert all("the server has no steering, or does not answer: " in reason for reason in found.values())
    assert len(found) == 4


def test_a_key_in_the_header_of_azure_is_replaced_there() -> None:
    server = CheckedServer(key=KEY, dialect="azure")
    found = outcomes(server, chosen(["key"], ()), context(server, api_key_header=True))
    assert {each.outcome for each in found.values()} == {"passed"}


# --- The parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "items", "faults"),
    [
        (b"\x81\x01a\x89\0\x8a\x01x\x88\0", [TextMessage(b"a"), Ping(b""), Pong(b"x"), CloseFrame(1005, "")], []),
        (b"\x01\x01a\x89\0\x80\x01b", [Ping(b""), TextMessage(b"ab")], []),
        (b"\x88\x04\x03\xe8ok", [CloseFrame(1000, "ok")], []),
        (frame(0x81, b"a"), [TextMessage(b"a")], ["a masked frame"]),
        (b"\xc1\x01a", [TextMessage(b"a")], ["a reserved bit"]),
        (b"\x83\0\x81\0", [TextMessage(b"")], ["unknown opcode 0x3"]),
        (b"\x81\x7e\0\x01a", [TextMessage(b"a")], ["longer than it has to be"]),
        (b"\x09\0", [Ping(b"")], ["a control frame that is fragmented"]),
        (b"\x88\x01\x03", [CloseFrame(1005, "")], ["half a code"]),
        (b"\x88\x02\x03\xed", [CloseFrame(1005, "")], ["the code 1005"]),
        (b"\x82\x01a", [TextMessage(b"a")], ["a binary message"]),
        (b"\x80\x01a", [TextMessage(b"a")], ["belongs to no message"]),
        (b"\x01\x01a\x81\x01b", [TextMessage(b"b")], ["out of place"]),
        (b"\x81\x01\xff", [TextMessage(b"\xff")], ["not UTF-8"]),
        (b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", [], ["a frame of 9223372036854775817 bytes"]),
        (b"\x83\0" * 100, [], ["unknown opcode"] * 20),
    ],
)
def test_frames_are_read_on_after_a_fault(data: bytes, items: list[object], faults: list[str]) -> None:
    for step in (1, len(data)):
        reader = FrameReader()
        read = [item for at in range(0, len(data), step) for item in reader.receive(data[at : at + step])]
        if "bytes" not in "".join(faults):
            assert read == items
        assert len(reader.faults) == len(faults) or step == 1
        assert all(words in fault for words, fault in zip(faults, reader.faults, strict=False))


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"HTTP/1.1 103 \r\n\r\nHTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}", 200, "status 200 with {}"),
        (b"HTTP/1.1 204 \r\n\r\n", 204, "status 204"),
        (b"HTTP/1.1 500 \r\ncontent-length: 9\r\n\r\nhalf", 500, "status 500 with half"),
        (b"HTTP/1.1 200 \r\n\r\n[1]", 200, "status 200 with [1]"),
        (b"SSH-2.0\r\n\r\n", 0, "no answer in HTTP: "),
        (b"", 0, "the end of the connection, without an answer"),
    ],
)
def test_any_answer_is_read(data: bytes, status: int, words: str) -> None:
    reader = AnswerReader()
    answer = (reader.receive(data) if data else None) or reader.receive(b"")
    assert answer is not None
    assert answer.status == status
    assert answer.words.startswith(words)
    assert answer.json == {}
    assert answer.events == []


def test_what_came_is_shown_in_few_words() -> None:
    response = {"object": "response", "id": "resp_1", "status": "failed", "error": None, "output": ["x"] * 99}
    assert shown({"type": "response.failed", "response": response}) == (
        '{"type": "response.failed", "response": {"id": "resp_1", "status": "failed"}}'
    )
    assert shown([{"a": "x" * 100}, [1, None]]) == '{"a": "' + "x" * 80 + '…"}; 1; null'
    assert len(shown("x" * 1000)) == 300
    assert shown([]) == "nothing"
    assert shown(CloseFrame(1000, "bye")) == "a close frame with code 1000 (bye)"
    assert shown(CloseFrame(1009, "")) == "a close frame with code 1009"
    assert shown(Pong(b"x")) == "a pong with the payload b'x'"
    assert shown(TextMessage(b"\xff{")) == "\\xff{"
    assert CheckFailedError("a", Ping(b"")).came == "a ping with the payload b''"


# --- What is said of the checks --------------------------------------------------------------------------------------


def test_every_check_has_rules_a_name_of_its_own_and_says_what_a_failure_means() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names)) > 80
    for check in CHECKS:
        assert re.fullmatch(r"[a-z-]+/[a-z0-9.-]+", check.name)
        assert check.rules
        assert len(set(check.rules)) == len(check.rules)
        assert check.means.endswith(".")
        assert not check.what.endswith(".")


def test_P_CHECK_9_every_rule_that_is_cited_is_in_the_page() -> None:
    page = (files("turnwire.sansio") / "spec" / "PROTOCOL.md").read_text(encoding="utf-8")
    there = set(re.findall(r"^(?:\| )?\*\*(P-[A-Z0-9]+-\d+)\*\*", page, re.MULTILINE))
    assert {rule for check in CHECKS for rule in check.rules} - there == set()


def test_P_CHECK_9_no_outcome_and_no_step_shows_the_key_or_a_part_of_it() -> None:
    class Repeats(CheckedServer):
        """It repeats what it was sent, in what it refuses and in what it says."""

        def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
            return [{**event, "type": f"Bearer {KEY}"}]

        def bytes_out(self, peer: Peer, data: bytes) -> bytes:
            repeated = b"x" * 185 + KEY.encode()
            refusal = (
                b"HTTP/1.1 400 " + KEY.encode() + b"\r\nsec-websocket-version: " + KEY.encode() + b"\r\n\r\n" + repeated
            )
            return data if data.startswith(b"HTTP/1.1 101") or peer.websocket else refusal

    server = Repeats(key=KEY)
    asked = context(server)
    found = outcomes(server, CHECKS, asked)
    assert len([name for name, each in found.items() if each.outcome == "failed"]) > 5
    assert KEY[:8] not in repr(found)
    assert "***" in repr(found)
    assert KEY not in repr(run_check(CHECKS[0], context(server)).send(None))
    assert KEY not in repr(SendBytes(0, KEY.encode()))
    assert KEY not in repr(vars(asked))


def test_a_short_key_does_not_change_words() -> None:
    assert context(CheckedServer(key="none")).hide(b"none") == b"none"


def test_checks_are_chosen_by_name_group_and_pattern() -> None:
    assert [check.name for check in chosen(["lanes/fifo"], ())] == ["lanes/fifo"]
    assert {check.name.partition("/")[0] for check in chosen(["lanes", "http"], ())} == {"lanes", "http"}
    assert {check.name for check in chosen(["*/unknown"], ["steering"])} == {
        "continuation/unknown",
        "injecting/unknown",
    }
    assert chosen((), ["*"]) == []


def test_P_CHECK_9_no_more_requests_are_sent_than_it_says() -> None:
    for group in sorted({check.name.partition("/")[0] for check in CHECKS}):
        checks = chosen([group], ())
        server = CheckedServer()
        outcomes(server, checks)
        assert server.made <= requests_of(checks), group


# --- Anything may come -----------------------------------------------------------------------------------------------

MEMBERS = (
    *("type", "response", "item", "delta", "text", "error", "status", "stream_id", "sequence_number", "steer", "input"),
    "item_id",
)


@pytest.mark.parametrize("value", [None, [], 5, {"id": [], "code": {}, "output": 5, "metadata": [1]}], ids=repr)
def test_P_CHECK_9_members_of_any_type_raise_nothing(value: object) -> None:
    class Odd(CheckedServer):
        member = ""

        def change(self, event: dict[str, Any]) -> list[dict[str, Any]]:
            return [{**event, self.member: value} if self.member in event else event]

    groups = (
        "events",
        "errors/shape",
        "lanes/whose-events",
        "lanes/stream-id",
        "warm-up",
        "steering",
        "continuation/fork",
    )
    for member in MEMBERS:
        server = Odd()
        server.member = member
        found = outcomes(server, chosen(groups, ()))
        assert {each.outcome for each in found.values()} <= {"passed", "failed", "skipped"}
