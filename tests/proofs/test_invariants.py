"""The invariants of DESIGN.md, each with a test that can fail; for I3-I6 see test_state_search.py as well."""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import turnwire.sansio
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.machines import ENDPOINT, Wire, answer, check_text, steady, switching
from kit.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, completed, created, delta, event, frame
from kit.processes import run_python
from turnwire.sansio.connection import ConnectionOptions, ResponsesConnection, State, Turn
from turnwire.sansio.errors import TurnError, TurnwireError
from turnwire.sansio.events import ResponseTextDeltaEvent, encode_event
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts

LANES = (None, "a", "b")
SANSIO = Path(turnwire.sansio.__file__ or "").parent


def outcome(turn: Turn) -> tuple[Any, ...]:
    """All that a consumer can see of a turn."""
    events = [found.raw for found in turn.events]
    failure = turn.failure
    return (
        events,
        turn.phase,
        turn.response_id,
        None if failure is None else (type(failure), str(failure), failure.evidence),
    )


def cut(data: bytes, at: list[int]) -> Iterator[bytes]:
    """The data in pieces, cut at these places, however many fit."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    for begin, end in itertools.pairwise(places):
        yield data[begin:end]


# --- I1, I2 ---------------------------------------------------------------------------------------------------------


def recording(seed: int = 7) -> bytes:
    """What a server sends on three lanes, interleaved, with all that may stand between messages."""
    random = Random(seed)
    scripts: dict[str | None, list[bytes]] = {
        lane: [created(lane, f"r-{lane}"), *(delta(f"{lane}{number} ü", lane) for number in range(12)), completed(lane)]
        for lane in LANES
    }
    scripts["a"].insert(5, event("response.tomorrow", stream_id="a", anything=["goes", {"x": 1}]))
    scripts["b"][-1] = event("error", status=500, stream_id="b", error={"message": "x" * 200})
    parts: list[bytes] = []
    while any(scripts.values()):
        lane = random.choice([lane for lane, script in scripts.items() if script])
        part = scripts[lane].pop(0)
        match random.randrange(8):
            case 0:
                parts.append(frame(PING, b"?"))
            case 1:
                parts.append(frame(PONG))
            case 2:  # In two fragments, with a ping between them.
                payload = part[2 if part[1] < 126 else 4 :]
                half = len(payload) // 2
                part = frame(TEXT, payload[:half], fin=False) + frame(PING) + frame(CONTINUATION, payload[half:])
            case _:
                pass
        parts.append(part)
    return b"".join(parts) + frame(CLOSE, (1000).to_bytes(2, "big"))


def played(pieces: Iterator[bytes]) -> list[Any]:
    wire = Wire()
    turns = [wire.create(lane) for lane in LANES]
    later = wire.create("b")
    wire.connect()
    for piece in pieces:
        was_open = wire.state is State.OPEN
        wire.receive(piece)
        if not was_open and wire.state is State.OPEN:
            wire.hand(10**9)  # The requests; what may go later stays here, in whichever piece its lane becomes free.
    return [wire.state, wire.connection.stats.events, [outcome(turn) for turn in (*turns, later)]]


RECORDED = switching() + recording()


def test_I1_chunking_byte_by_byte() -> None:
    # The upgrade comes whole: the requests have to be handed before the answers to them arrive.
    """I1."""
    upgrade = len(switching())
    whole = played(iter([RECORDED[:upgrade], RECORDED[upgrade:]]))
    singles = (RECORDED[at : at + 1] for at in range(upgrade, len(RECORDED)))
    assert played(iter([RECORDED[:upgrade], *singles])) == whole
    in_pieces_too = (RECORDED[at : at + 1] for at in range(upgrade))
    assert played(iter([*in_pieces_too, RECORDED[upgrade:]])) == whole


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(RECORDED)), max_size=25))
def test_I1_chunking_anywhere(at: list[int]) -> None:
    """I1."""
    upgrade = len(switching())
    whole = played(iter([RECORDED[:upgrade], RECORDED[upgrade:]]))
    assert played(cut(RECORDED, [upgrade, *at])) == whole


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data())
def test_I2_integrity_of_interleaved_lanes(data: st.DataObject) -> None:
    """I2. Whatever the order of lanes, and the cuts: each turn gets exactly its own events, in order."""
    wire = Wire.opened(max_in_flight=3)
    lanes = ("a", "b", None, "c")
    turns = {lane: [wire.create(lane) for _ in range(data.draw(st.integers(1, 3)))] for lane in lanes}
    said: dict[int, list[bytes]] = {id(turn): [] for queue in turns.values() for turn in queue}
    got: dict[int, list[bytes]] = {key: [] for key in said}

    def collect() -> None:
        for turn in (turn for queue in turns.values() for turn in queue):
            got[id(turn)] += [encode_event(found) for found in iter(turn.next_event, None)]

    wire.hand(10**9)
    number = 0
    while running := sorted((lane or "" for lane in wire.connection._lanes.running), key=str):
        lane = data.draw(st.sampled_from(running)) or None
        turn = next(turn for turn in turns[lane] if not turn.ended)
        last = len(said[id(turn)]) >= data.draw(st.integers(1, 4))
        make = completed(lane, f"r{number}") if last else delta(f"{number}", lane)
        number += 1
        said[id(turn)].append(make[4:] if make[1] == 126 else make[2:])
        for piece in cut(make, data.draw(st.lists(st.integers(0, 500), max_size=3))):
            wire.receive(piece)
        wire.hand(10**9)
        if data.draw(st.booleans()):
            collect()
    collect()
    assert got == said
    assert wire.connection.stats.orphans == 0
    assert all(turn.phase is Phase.DONE for queue in turns.values() for turn in queue)


# --- I3, I4: every cut of one message; the search has the rest ------------------------------------------------------


@pytest.mark.parametrize("end", ["eof", "reset", "close", "abort", "leave", "error frame", "violation"])
def test_I3_I4_sound_and_precise_at_every_byte_of_a_message(end: str) -> None:
    """I3, I4, R-VERDICT-9, R-VERDICT-10, R-EVIDENCE-4."""
    size = len(Wire.opened().create(input="y" * 40).message) + 6
    for handed in range(size + 1):
        wire = Wire.opened()
        turn = wire.create(input="y" * 40)
        got = b""
        while len(got) < handed:
            got += wire.hand(min(7, handed - len(got)))
        match end:
            case "eof":
                wire.eof()
            case "reset":
                wire.connection.transport_failed("reset", wire.now)
            case "close":
                wire.receive(frame(CLOSE))
            case "abort":
                wire.connection.abort(wire.now)
            case "leave":
                wire.connection.cancel(turn, wire.now)
            case "error frame":
                wire.receive(event("error", status=500, error={}))
            case _:
                wire.receive(frame(BINARY))
        assert turn.failure is not None
        got += wire.hand(10**9)  # Whatever still goes out, it must not be the rest of the message.
        whole = [item for item in wire.server.receive(got) if isinstance(item, bytes)]
        assert bool(whole) is (handed == size)
        assert turn.failure.verdict is (Verdict.AMBIGUOUS if whole else Verdict.SAFE), handed
        assert turn.failure.evidence.final_byte_handed is bool(whole)
        check_text(turn.failure)


# --- I5, I6 ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=6))
def test_I5_I6_once_and_live_however_often_connections_are_cut(cuts: list[int]) -> None:
    """I5, I6, R-RECOVER-13. Every connection is cut after so many bytes: the turn runs at most once, and ends."""
    session = ResponsesSession(options=SessionOptions(), random_bytes=steady)
    turn = session.create({"input": "x"}, now=0.0)
    ledger = 0
    for most in cuts:
        if not session.wants_connection(10.0):
            break
        wire = Wire(session.open(ENDPOINT, 10.0))
        wire.accept()
        ledger += any(isinstance(item, bytes) for item in wire.server.receive(wire.hand(most)))
        wire.eof()
        session.update(0.0, *session.pool)
    else:
        session.close(0.0)
    assert ledger <= 1
    assert turn.ended
    assert turn.failure is not None
    assert (turn.failure.verdict is Verdict.SAFE) is (ledger == 0)


# --- I7 -------------------------------------------------------------------------------------------------------------

TIMES = Timeouts(lane=5.0, connect=5.0, send=5.0, receive=5.0)


def busy_wire(**options: Any) -> tuple[Wire, list[Turn]]:
    """A connection with turns in every phase."""
    wire = Wire.opened(**options)
    turns = [wire.run("a"), wire.run("b"), wire.run(None)]
    wire.receive(created("a"))
    turns += [wire.create("a"), wire.begun("c")]
    return wire, turns


def end_and_check(wire: Wire, turns: list[Turn]) -> None:
    """However it went: no error but ours, everything ends, and nothing is left over."""
    wire.hand(10**9)
    wire.eof()
    assert wire.state is State.CLOSED
    for turn in turns:
        with contextlib.suppress(TurnError):
            while turn.next_event() is not None:
                pass
        assert turn.ended
        assert turn.failure is None or turn.failure.evidence.verdict is not None
        assert not turn.events
    connection = wire.connection
    assert connection.running == 0
    assert connection.idle
    assert len(wire.hand(10**9)) < 200  # At most a close frame.


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_I7_total_on_arbitrary_bytes_on_an_open_connection(pieces: list[bytes]) -> None:
    wire, turns = busy_wire()
    for piece in pieces:
        wire.receive(piece)
    end_and_check(wire, turns)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=200), max_size=4), st.booleans())
def test_I7_total_on_arbitrary_bytes_instead_of_the_upgrade(pieces: list[bytes], http: bool) -> None:
    wire = Wire()
    turn = wire.create()
    wire.connect()
    for piece in (b"HTTP/1.1 " if http else b"", *pieces):
        if wire.state is not State.HANDSHAKING:
            break
        if piece:
            wire.receive(piece)
    if wire.state is State.CONNECTING:
        wire.connection.abort(wire.now)
    end_and_check(wire, [turn])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(
    ["error", "response.error", "response.created", "response.completed", "response.output_text.delta", "what"]
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | JSON,
        "stream_id": st.sampled_from(["a", "b", "c", None, ""]) | JSON,
        "status": st.sampled_from([400, 429, 500]) | JSON,
        "response": JSON | st.fixed_dictionaries({"id": JSON, "status": JSON}),
        "error": JSON | st.fixed_dictionaries({"code": JSON, "type": JSON, "headers": JSON, "message": JSON}),
        "delta": JSON,
    },
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(MESSAGES | JSON, max_size=6))
def test_I7_total_on_arbitrary_messages(messages: list[Any]) -> None:
    wire, turns = busy_wire()
    for message in messages:
        wire.receive(frame(TEXT, json.dumps(message)))
    end_and_check(wire, turns)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["set", "drop", "add"])), max_size=6)
)
def test_I7_total_on_mutations_of_a_valid_stream(mutations: list[tuple[int, int, str]]) -> None:
    data = bytearray(RECORDED)
    for place, value, how in mutations:
        at = place % len(data)
        data[at : at + (how != "add")] = b"" if how == "drop" else bytes([value])
    wire = Wire()
    turns = [wire.create(lane) for lane in LANES]
    wire.connect()
    wire.receive(bytes(data[:200]))
    wire.hand(10**9)
    if wire.state not in (State.CONNECTING, State.CLOSED):
        wire.receive(bytes(data[200:]))
    if wire.state is State.CONNECTING:
        wire.connection.abort(wire.now)
    end_and_check(wire, turns)


@pytest.mark.parametrize("levels", [*range(860, 1000, 4), 5_000, 100_000])
def test_I7_total_on_nesting_up_to_the_stacks_end(levels: int) -> None:
    for message in (
        b'{"type":"error","status":400,"stream_id":"a","error":' + b"[" * levels + b"]" * levels + b"}",
        b'{"type":"response.created","stream_id":"a","response":' + b'{"x":' * levels + b"1" + b"}" * levels + b"}",
        b'{"type":"what","stream_id":"a","x":' + b"[" * levels + b"]" * levels + b"}",
    ):
        wire, turns = busy_wire()
        wire.receive(frame(TEXT, message))
        end_and_check(wire, turns)


@pytest.mark.parametrize("name", ["pings", "orphans", "bad upgrade", "headers", "events"])
def test_I7_nothing_grows(name: str) -> None:
    """I7. A megabyte of it, and what is kept is a small part."""
    options: dict[str, Any] = {"max_buffered": 50_000, "max_message_size": 50_000}
    wire = Wire(**options) if name in ("bad upgrade", "headers") else Wire.opened(**options)
    piece: Callable[[int], bytes] = {
        "pings": lambda at: frame(PING, str(at)) * 100,
        "orphans": lambda at: delta(str(at), "nobody") * 10,
        "bad upgrade": lambda at: b"HTTP/1.1 200 OK\r\n\r\n" if at == 0 else b"x" * 1000,
        "headers": lambda at: b"HTTP/1.1 101 X\r\n" if at == 0 else b"x: %d\r\n" % at * 100,
        "events": lambda at: created() if at == 0 else delta("y" * 900),
    }[name]
    turn = wire.create()
    if name in ("bad upgrade", "headers"):
        wire.connect()
    else:
        wire.hand(10**9)
    for at in range(1000):
        wire.receive(piece(at))
    assert wire.connection.stats.bytes_in > 10_000
    assert turn.buffered < 60_000
    assert len(wire.hand(10**9)) < 200
    websocket = wire.connection._websocket
    assert websocket is None or len(websocket._buffer) + len(websocket._fragments or b"") < 60_000


CALLS = st.sampled_from(
    [
        "create",
        "submit_again",
        "cancel",
        "connected",
        "failed",
        "hand",
        "hand1",
        "upgrade",
        "redirect",
        "reject",
        "events",
        "garbage",
        "eof",
        "deadline",
        "later",
        "close",
        "abort",
        "requeue",
        "next",
        "update",
        "open",
        "ping",
        "close frame",
    ]
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(CALLS, st.integers(0, 3)), max_size=40))
def test_I7_total_on_arbitrary_calls_of_a_connection(calls: list[tuple[str, int]]) -> None:
    connection = ResponsesConnection(
        ENDPOINT, options=ConnectionOptions(timeouts=TIMES, max_in_flight=2), now=0.0, random_bytes=steady
    )
    wire = Wire(connection)
    turns: list[Turn] = []
    for name, number in calls:
        turn = turns[number % len(turns)] if turns else None
        with contextlib.suppress(TurnwireError):
            call(name, number, wire, turn, turns)
        assert not connection.has_data_to_send or connection.state is not State.CONNECTING
        moment = connection.next_deadline()
        assert moment is None or moment >= 0
    wire.connection.abort(wire.now)
    for turn in turns:
        assert turn.ended or turn.connection is None
    assert connection.next_deadline() is None


def call(name: str, number: int, wire: Wire, turn: Turn | None, turns: list[Turn]) -> None:
    connection, now = wire.connection, wire.now
    lane = LANES[number % 3]
    data = {
        "upgrade": switching(),
        "redirect": answer(307, location="/x"),
        "reject": answer(500),
        "events": (created(lane), delta("x", lane), completed(lane), event("error", status=500 - 100 * number))[number],
        "garbage": (b"\x00", frame(BINARY), frame(TEXT, b"{"), event("response.created", response=5))[number],
        "ping": frame(PING),
        "close frame": frame(CLOSE),
        "eof": b"",
    }
    if name in data:
        connection.receive_data(data[name], now)
    elif name == "create":
        turns.append(connection.create({"input": "x"}, lane, now=now))
    elif name == "connected":
        connection.transport_connected(now)
    elif name == "failed":
        connection.transport_failed("gone", now)
    elif name == "hand":
        connection.data_to_send(65536, now)
    elif name == "hand1":
        connection.data_to_send(1, now)
    elif name == "deadline":
        wire.now = max(now, connection.next_deadline() or now)
        connection.handle_deadline(wire.now)
        after = connection.next_deadline()
        assert after is None or after > wire.now
    elif name == "later":
        wire.now += number * 3.0
    elif name == "requeue":
        connection.requeue_unstarted(now)
    elif name in ("close", "abort"):
        getattr(connection, name)(now)
    elif turn is not None:
        if name == "cancel" and turn.connection is not None:
            connection.cancel(turn, now)
        elif name == "next":
            turn.next_event()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(CALLS, st.integers(0, 3)), max_size=40))
def test_I7_total_on_arbitrary_calls_of_a_session(calls: list[tuple[str, int]]) -> None:
    """I7."""
    session = ResponsesSession(options=SessionOptions(timeouts=TIMES), random_bytes=steady)
    turns: list[Turn] = []
    now = 0.0
    for name, number in calls:
        turn = turns[number % len(turns)] if turns else None
        with contextlib.suppress(TurnwireError):
            if name == "create":
                turns.append(session.create({"input": "x"}, lane=LANES[number % 3], now=now))
            elif name == "open":
                session.open(ENDPOINT, now)
            elif name == "deadline":
                now = max(now, session.next_deadline() or now)
                session.handle_deadline(now)
            elif name == "cancel" and turn is not None:
                session.cancel(turn, now)
            elif name == "close" and number == 3:
                session.close(now)
            elif session.connection is not None and name not in ("cancel", "requeue"):
                wire = Wire(session.connection)
                wire.now = now
                call(name, number, wire, turn, [])
                now = wire.now
        session.update(now, *session.pool)
    session.close(now)
    if session.connection is not None:
        session.connection.abort(now)
    session.update(now, *session.pool)
    assert all(turn.ended for turn in turns)
    assert session.idle
    assert session.next_deadline() is None


# --- I8 -------------------------------------------------------------------------------------------------------------


def run_of(seed: int) -> list[Any]:
    """A long run, drawn from a seed; everything that came out of it."""
    random, chance = Random(seed), Random(seed + 1)
    session = ResponsesSession(
        options=SessionOptions(timeouts=TIMES, compression=bool(seed % 2)), random_bytes=chance.randbytes
    )
    turns: list[Turn] = []
    out: list[Any] = []
    now = 0.0
    for _ in range(120):
        connection = session.connection
        with contextlib.suppress(TurnwireError):
            if session.wants_connection(now):
                connection = session.open(ENDPOINT, now)
            if connection is not None and connection.state is State.CONNECTING:
                connection.transport_connected(now)
            if random.random() < 0.4:
                turns.append(session.create({"input": "x" * random.randrange(99)}, lane=random.choice(LANES), now=now))
            if connection is not None:
                out.append(connection.data_to_send(random.choice((3, 60, 9999)), now))
                wire = Wire(connection)
                wire.now = now
                if connection.state is State.HANDSHAKING and out[-1].startswith(b"GET") and random.random() < 0.8:
                    key = out[-1].partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
                    connection.receive_data(switching(key), now)
                elif random.random() < 0.6:
                    lane = random.choice(LANES)
                    connection.receive_data(random.choice((created, delta, completed))(lane=lane), now)
                elif random.random() < 0.1:
                    connection.receive_data(b"", now)
        now += random.random() * 3
        if (moment := session.next_deadline()) is not None and moment <= now:
            session.handle_deadline(now)
        session.update(now, *session.pool)
        out += [session.next_deadline(), str(session.stats)]
    return [*out, [outcome(turn) for turn in turns]]


@pytest.mark.parametrize("seed", range(8))
def test_I8_pure_the_same_calls_give_the_same_bytes_and_events(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8."""
    first = run_of(seed)
    assert any(isinstance(item, bytes) and item for item in first)

    def forbidden(*_: object, **__: object) -> Any:
        raise AssertionError("the core looked at a clock, or drew from a well of its own")

    for name in ("time.time", "time.monotonic", "time.perf_counter", "time.sleep", "random.random", "os.getenv"):
        monkeypatch.setattr(name, forbidden)
    assert run_of(seed) == first


FORBIDDEN = {
    "socket", "ssl", "asyncio", "anyio", "trio", "threading", "subprocess", "time", "random", "select", "selectors",
    "logging", "os", "secrets", "uuid", "concurrent", "multiprocessing", "signal", "sniffio", "httpx", "websockets",
}  # fmt: skip
FILES = sorted(SANSIO.rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[tuple[str, frozenset[str], int]]:
    """Each absolute import: the module, the names taken out of it, the column (0: at module level)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, frozenset(), node.col_offset
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", frozenset(alias.name for alias in node.names), node.col_offset


def named_by_annotations(tree: ast.AST) -> set[str]:
    """The modules that are imported for annotations only, under TYPE_CHECKING."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    checking = [one for one in blocks if isinstance(one.test, ast.Name) and one.test.id == "TYPE_CHECKING"]
    return {module for block in checking for node in block.body for module, _, _ in imports(node)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SANSIO)))
def test_I8_pure_no_file_can_do_io(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    annotations = named_by_annotations(tree)
    for module, names, column in imports(tree):
        # An SSL context is named, and handed on to a shell; it is not imported when the module is.
        allowed = (module == "os" and names == {"urandom"}) or (
            module == "ssl" and module in annotations and column > 0
        )
        assert allowed or module.partition(".")[0] not in FORBIDDEN, f"{path.name} imports {module}"
        assert module != "urllib.request", path.name
        assert not (module == "urllib" and "request" in names), path.name
        if module.partition(".")[0] == "openai":
            assert column > 0, f"{path.name} imports openai when it is imported"
    for node in ast.walk(tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith), path.name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "input", "print", "exec", "eval", "__import__"}, path.name
        if isinstance(node, ast.Attribute) and ast.unparse(node) not in ("shell.now", "self._shell.now"):  # Injected.
            assert node.attr not in {"now", "utcnow", "today", "environ"}, f"{path.name} line {node.lineno}"


def test_I8_pure_the_core_brings_neither_openai_nor_a_loop_with_it() -> None:
    modules = [path.relative_to(SANSIO).with_suffix("") for path in FILES if path.name != "__init__.py"]
    names = [".".join(("turnwire.sansio", *module.parts)) for module in modules]
    loaded = "[name for name in sys.modules if name in {'openai', 'asyncio', 'anyio', 'trio'}]"
    check = f"import sys, {', '.join(names)}; print({loaded})"
    assert run_python(check).strip() == "[]"


# --- I9 -------------------------------------------------------------------------------------------------------------


TROUBLE: dict[str, Callable[[Wire, Turn], object]] = {
    "begins": lambda wire, turn: wire.receive(created("a", "r-a")),
    "says something": lambda wire, turn: wire.receive(delta("x" * 200, "a")),
    "says too much": lambda wire, turn: wire.receive(delta("x" * 25_000, "a")),
    "ends": lambda wire, turn: wire.receive(completed("a", "r-a")),
    "is refused": lambda wire, turn: wire.receive(event("error", status=400, stream_id="a", error={"message": "no"})),
    "fails": lambda wire, turn: wire.receive(event("response.error", stream_id="a", error="oh")),
    "is odd": lambda wire, turn: wire.receive(event("response.completed", stream_id="a", response=[{}], usage="x")),
    "is unknown": lambda wire, turn: wire.receive(event("vendor.news", stream_id="a")),
    "is of an idle lane": lambda wire, turn: wire.receive(created("idle", "r-x"), completed("idle", "r-x")),
    "speaks of another": lambda wire, turn: wire.receive(completed("a", "r-of-long-ago")),
    "is no JSON": lambda wire, turn: wire.receive(frame(TEXT, "[DONE]"), frame(TEXT, b"{"), frame(TEXT, b"")),
    "is left": lambda wire, turn: wire.connection.cancel(turn, wire.now),
    "is late": lambda wire, turn: late(wire, turn),
}
"""What may happen in one lane, or nowhere."""


def late(wire: Wire, turn: Turn) -> None:
    """Its deadline passes, and no other."""
    turn.timeouts = Timeouts(0.0, 0.0, 0.0, 0.0)
    if turn.connection is not None:
        turn.connection.restart_deadline(turn)
    wire.connection.handle_deadline(wire.now)


def texts(turn: Turn) -> list[str]:
    """The pieces of text that a turn has for its consumer."""
    return [found.delta for found in iter(turn.next_event, None) if isinstance(found, ResponseTextDeltaEvent)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(sorted(TROUBLE)), st.booleans()), min_size=1, max_size=12))
def test_I9_apart_whatever_happens_in_one_lane_the_others_go_on(trouble: list[tuple[str, bool]]) -> None:
    """I9."""
    wire = Wire.opened(max_buffered=20_000)
    steady_one = wire.run("b", timeouts=Timeouts(receive=None))
    wire.run("idle")
    wire.receive(created("idle", "r-idle"), completed("idle", "r-idle"), created("b", "r-b"))
    sent = [*(delta(f"{number}", "b") for number in range(12)), completed("b", "r-b")]
    got: list[str] = []
    turn = wire.run("a")
    for what, between in trouble:
        if turn.ended and wire.connection.accepts_turns:  # Where it was abandoned, the lane is busy: the next waits.
            turn = wire.create("a")
            wire.hand(10**6)
        TROUBLE[what](wire, turn)
        if between and len(sent) > 1:
            wire.receive(sent.pop(0))
            got += texts(steady_one)
    wire.receive(*sent)
    got += texts(steady_one)
    assert got == [str(number) for number in range(12)]
    assert steady_one.phase is Phase.DONE


def test_I9_apart_a_lane_that_takes_the_connection_with_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def end_all(self: ResponsesConnection, turn: Turn, now: float) -> None:
        if turn.buffered > self.options.max_buffered:
            self.abort(now)

    monkeypatch.setattr(ResponsesConnection, "_check_buffer", end_all)
    play = test_I9_apart_whatever_happens_in_one_lane_the_others_go_on.hypothesis.inner_test  # type: ignore[attr-defined]
    with pytest.raises(TurnwireError):
        play([("begins", True), ("says too much", True)])


def test_every_invariant_has_a_test() -> None:
    here = " ".join(name for name in globals() if name.startswith("test_"))
    assert all(f"I{number}_" in here for number in range(1, 10))
    assert Cause.TIMEOUT in Cause
