"""Groups ``recording``, ``replay``, ``recorder`` and ``scrubbing``: the format of recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kit.driving import completed, created, delta
from kit.recorded import RecordedRig
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import LaneLimitError
from turnwire.sansio.websocket import WebSocket

from ._case import Case

HEADER: dict[str, Any] = {"turnwire_recording": 1, "turnwire": "0.1.0", "wall": 1.0}
READ = {"kind": "session", "wall": 1.0, "outputs": "hash", "scrubbed": False, "max_bytes": None, "upstream": None}


# --- Files -----------------------------------------------------------------------------------------------------------


def file(name: str, what: str, lines: list[Any], must: Any, *rules: str) -> Case:
    refused = {"refused": "RecordingError"}
    return Case(f"recording/{name}", what, {"lines": lines}, refused if must is None else must, rules or ("F-FILE-1",))


def entry(do: str = "time_came", at: Any = 1.0, **more: Any) -> dict[str, Any]:
    return {"do": do, "at": at, **more}


def files() -> Iterator[Case]:
    def read(*entries: list[Any], cut: bool = False, **header: Any) -> dict[str, Any]:
        return {"header": {**READ, **header}, "entries": list(entries), "cut": cut}

    yield file("header_alone", "a header, and nothing else", [HEADER], read())
    yield file(
        "header_whole",
        "every member of a header",
        [{**HEADER, "kind": "proxy", "outputs": "full", "scrubbed": True, "max_bytes": 9, "upstream": "https://a.b/c"}],
        read(kind="proxy", outputs="full", scrubbed=True, max_bytes=9, upstream="https://a.b/c"),
        "F-HEADER-1",
    )
    yield file(
        "unknown_members",
        "unknown members are ignored",
        [{**HEADER, "new": [1]}, entry(new={"a": None})],
        read([2, "time_came", 0]),
    )
    yield file("unknown_input", "whatever a line does", [HEADER, entry("new_input")], read([2, "new_input", 0]))
    yield file(
        "data",
        "each character of data is a byte",
        [HEADER, entry("received", link=1, data="a\xff\n\u0000")],
        read([2, "received", 4]),
        "F-LINE-2",
    )
    yield file(
        "raw",
        "bytes behind their line, which counts as one line more",
        [HEADER, entry("received", link=1, raw=5), "\n{}\n\xff", "\n", entry()],
        read([2, "received", 5], [4, "time_came", 0]),
        "F-FILE-5",
    )
    yield file("space", "white space in a line", [HEADER, ' {"do": "connect", "at": 1}\r\n'], read([2, "connect", 0]))
    for name, last in (("line", '{"do":"time_came","at":2'), ("line_end", '{"do":"time_came","at":2}'), ("byte", "{")):
        yield file(
            f"cut_{name}",
            "the last line lacks its end: it is dropped",
            [HEADER, entry(), last],
            read([2, "time_came", 0], cut=True),
            "F-FILE-2",
        )
    for name, rest in (("within", ["ab"]), ("without_line_feed", ["abcde"]), ("before", [])):
        yield file(
            f"cut_raw_{name}",
            "bytes behind a line that lack their end: the line is dropped",
            [HEADER, entry(), entry("received", link=1, raw=5), *rest],
            read([2, "time_came", 0], cut=True),
            "F-FILE-2",
            "F-FILE-5",
        )
    for name, what, lines, *rules in (
        ("empty", "nothing", []),
        ("no_line_feed", "one line without an end", ['{"turnwire_recording":1,"turnwire":"0","wall":1}']),
        ("text", "no JSON", ["hello\n"]),
        ("list", "no object", [[HEADER]]),
        ("no_version", "no version", [{"turnwire": "0.1.0", "wall": 1.0}], "F-HEADER-1"),
        ("version_2", "another version", [{**HEADER, "turnwire_recording": 2}], "F-HEADER-1"),
        ("version_text", "a version that is no number", [{**HEADER, "turnwire_recording": "1"}], "F-HEADER-1"),
        ("kind", "a kind that it does not know", [{**HEADER, "kind": "new"}], "F-HEADER-1"),
        ("entry_empty", "an empty line", [HEADER, "\n"]),
        ("entry_text", "a line that is no JSON", [HEADER, "hello\n"]),
        ("entry_list", "a line that is no object", [HEADER, [1]]),
        ("entry_without_do", "a line that does nothing", [HEADER, {"at": 1.0}], "F-LINE-1"),
        ("entry_without_at", "at no time", [HEADER, {"do": "connect"}], "F-LINE-1"),
        ("entry_at_text", "at a time that is no number", [HEADER, entry(at="1")], "F-LINE-1"),
        ("entry_in_the_middle", "a line in the middle that is cut", [HEADER, '{"do":"conn\n', entry()], "F-FILE-2"),
    ):
        yield file(f"refused_{name}", f"refused: {what}", lines, None, *rules)


# --- Replays ---------------------------------------------------------------------------------------------------------

PLACE = Endpoint("wss://example.org/v1/responses", (("user-agent", "a"),))
"""The caller's own user-agent, so that nothing depends on the version of turnwire."""
OPTIONS: dict[str, Any] = {"ping_interval": None, "timeouts": None, "dialect": "openai"}


def rig(**options: Any) -> RecordedRig:
    return RecordedRig(place=PLACE, **{**OPTIONS, **options})


def connected(**options: Any) -> RecordedRig:
    made = rig(**options)
    made.driver.connect(made.now)
    made.accept("")
    return made


def lines_of(made: RecordedRig) -> list[Any]:
    """The file of a recording, its lines as JSON."""
    header, *lines = map(json.loads, made.contents.splitlines())
    return [{**header, "turnwire": "0.1.0", "wall": 1.0}, *lines]


def replay(name: str, what: str, lines: list[Any], must: Any, *rules: str) -> Case:
    refused = {"refused": "RecordingError"}
    expected = refused if must is None else {"cut": False, "difference": None, **must}
    return Case(f"replay/{name}", what, {"lines": lines}, expected, rules or ("F-REPLAY-2",))


def turn(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"number": number, "session": 1, **more}


def a_turn() -> RecordedRig:
    """A turn with three events, of which two are read."""
    made = connected()
    one = made.create("a", model="m")
    made.now += 1
    made.say(created(1, "a"), delta("x", "a"))
    one.next_event()
    one.next_event()
    made.now += 1
    made.say(completed(1, "a"))
    made.driver.cancel(one, made.now)
    return made


RAN = turn(
    lane="a",
    transport="websocket",
    response_id="r1",
    began=100.0,
    ended=102.0,
    end="completed",
    verdict=None,
    events=[
        ["response.created", 101.0, 102.0],
        ["response.output_text.delta", 101.0, 102.0],
        ["response.completed", 102.0, None],
    ],
    repeats=[],
)


def sessions() -> Iterator[Case]:
    made = a_turn()
    made.close()
    whole = lines_of(made)
    yield replay("whole", "a turn, and the end of the session", whole, {"turns": [RAN]}, "F-REPLAY-2", "F-LINE-1")
    last = json.dumps(whole[-1])
    yield replay(
        "cut", "the end of the file is missing", [*whole[:-1], last], {"cut": True, "turns": [RAN]}, "F-FILE-2"
    )
    at = next(number for number, line in enumerate(whole) if line.get("do") == "submit")
    unfinished = turn(lane="a", ended=None, end=None, verdict=None, events=[], response_id=None)
    yield replay("prefix", "a beginning is a recording, too", whole[: at + 1], {"turns": [unfinished]}, "F-FILE-2")
    other = [*whole]
    other[at] = {**other[at], "out": [["write", 1, 5, "", True]]}
    yield replay(
        "difference",
        "a line whose outputs are others: what follows is not replayed",
        other,
        {"difference": at + 1, "turns": [unfinished]},
        "F-REPLAY-1",
    )
    other = [*whole]
    other[at] = {**other[at], "raised": "UserError"}
    yield replay("difference_raised", "or that raised nothing", other, {"difference": at + 1}, "F-REPLAY-1")
    other = [*whole]
    other[at] = {**other[at], "drawn": []}
    yield replay("difference_drawn", "or that asks for more", other, {"difference": at + 1}, "F-REPLAY-1", "F-DRAWN-1")

    made = connected()
    made.create(model="m")
    made.say(created())
    made.now += 1
    made.lost()
    yield replay(
        "lost_in_stream",
        "the verdict of a turn that was lost",
        lines_of(made),
        {"turns": [turn(end="error", verdict="UNSAFE", response_id="r1", ended=101.0)]},
        "F-REPLAY-2",
        "R-VERDICT-6",
    )
    made = connected()
    made.create(model="m")
    made.receive(b"")
    yield replay(
        "lost_in_await", "before its response", lines_of(made), {"turns": [turn(end="error", verdict="AMBIGUOUS")]}
    )
    made = connected()
    one = made.create(model="m")
    made.say(created())
    one.next_event()
    made.now += 1
    made.driver.cancel(one, made.now)
    yield replay(
        "left",
        "a turn that was left",
        lines_of(made),
        {"turns": [turn(end="left", verdict="UNSAFE", ended=101.0, events=[["response.created", 100.0, 101.0]])]},
    )
    made = rig()
    made.create(model="m")
    made.driver.opened(made.link, made.now)
    made.receive(b"HTTP/1.1 503 -\r\ncontent-length: 0\r\n\r\n")
    made.now += 0.5
    made.driver.time_came(made.now)
    made.accept("")
    made.say(created(), completed())
    repeated = {
        "transport": "websocket",
        "end": "completed",
        "ended": 100.5,
        "repeats": [["NOT_RUN", 100.0, ..., "SAFE"]],
    }
    yield replay(
        "repeated",
        "a turn that was repeated",
        lines_of(made),
        {"turns": [turn(**repeated)]},
        "F-DRAWN-1",
        "R-RECOVER-2",
        "I8",
    )
    made = connected()
    made.create("a", model="m")
    made.create("a", model="m")
    made.say(created(1, "a"), completed(1, "a"))
    made.say(created(2, "a"), completed(2, "a"))
    yield replay(
        "two_turns",
        "turns count in the order in which they began",
        lines_of(made),
        {"turns": [turn(1, response_id="r1", end="completed"), turn(2, response_id="r2", end="completed")]},
        "F-TURN-1",
    )
    made = connected(max_named_lanes=0)
    with suppress(LaneLimitError):
        made.create("a", model="m")
    yield replay(
        "refused_turn",
        "also one that was refused",
        lines_of(made),
        {"turns": [turn(end="refused", verdict="SAFE", ended=100.0, transport=None)]},
        "F-TURN-1",
    )
    made = connected()
    made.retrieve("r7")
    made.driver.opened(made.link, made.now)
    body = '{"id":"r7","object":"response","status":"completed","output":[]}'
    made.receive(f"HTTP/1.1 200 -\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
    yield replay(
        "retrieval",
        "a retrieval",
        lines_of(made),
        {"turns": [turn(retrieval="r7", transport="http", end="completed", events=[])]},
        "F-TURN-1",
    )
    header, session, *_ = whole
    for name, what, lines, *rules in (
        ("no_session", "an entry of a session that has not begun", [header, entry("connect")], "F-SESSION-1"),
        (
            "no_endpoint",
            "a session without an endpoint",
            [header, {name: value for name, value in session.items() if name != "endpoint"}],
            "F-SESSION-1",
        ),
        ("unknown_input", "an input that it does not know", [header, session, entry("new")], "F-LINE-2"),
        ("no_link", "a link that was not opened", [header, session, entry("opened", link=1)], "F-LINK-1"),
        ("no_turn", "a turn that has not begun", [header, session, entry("cancel", turn=1)], "F-TURN-1"),
        ("no_body", "a turn without a body", [header, session, entry("submit", turn=1)], "F-TURN-1"),
    ):
        yield replay(f"refused_{name}", f"refused: {what}", lines, None, *rules)


# --- Proxies ---------------------------------------------------------------------------------------------------------


def proxies() -> Iterator[Case]:
    header = {**HEADER, "kind": "proxy", "upstream": "https://example.org/v1"}
    server = WebSocket(client=False)

    def frame(message: Any) -> str:
        return server.text(json.dumps(message).encode()).decode("latin-1")

    key = "AAAAAAAAAAAAAAAAAAAAAA=="
    upgrade = (
        "GET /v1/responses HTTP/1.1\r\nhost: example.org\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    )
    accepted = (
        "HTTP/1.1 101 -\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        "sec-websocket-accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
    )
    up = [
        header,
        entry("accepted", link=1),
        entry("sent", link=1, data=upgrade),
        entry("received", link=1, data=accepted),
        entry("sent", 2.0, link=1, data=frame({"type": "response.create", "model": "m"})),
    ]
    lost = entry("lost", 5.0, link=1, reason="server")
    came = entry("received", 3.0, link=1, data=frame(created()))
    ws = {"transport": "websocket", "began": 2.0}
    yield replay(
        "proxy_websocket",
        "a turn that a proxy saw",
        [*up, came, entry("received", 4.0, link=1, data=frame(completed())), lost],
        {"turns": [turn(**ws, response_id="r1", ended=4.0, end="completed", verdict=None)]},
        "F-PROXY-1",
        "F-PROXY-6",
    )
    yield replay(
        "proxy_cut",
        "one that the server ended, after its first event",
        [*up, came, lost],
        {"turns": [turn(**ws, response_id="r1", ended=5.0, end="error", verdict="UNSAFE")]},
        "F-PROXY-6",
    )
    yield replay(
        "proxy_cut_before",
        "before its first event",
        [*up, lost],
        {"turns": [turn(**ws, response_id=None, ended=5.0, end="error", verdict="AMBIGUOUS")]},
        "F-PROXY-6",
    )
    yield replay(
        "proxy_client",
        "one that its client left",
        [*up, came, {**lost, "reason": "client"}],
        {"turns": [turn(**ws, response_id="r1", ended=5.0, end="left", verdict="UNSAFE")]},
        "F-PROXY-6",
    )
    refusal = {"type": "error", "status": 400, "error": {"code": "invalid_prompt", "message": "no"}}
    yield replay(
        "proxy_refused",
        "one that was refused",
        [*up, entry("received", 3.0, link=1, data=frame(refusal))],
        {"turns": [turn(**ws, ended=3.0, end="error", verdict="SAFE")]},
        "F-PROXY-6",
    )
    body = '{"model":"m"}'
    post = f"POST /v1/responses HTTP/1.1\r\nhost: example.org\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    response = '{"id":"r1","object":"response","status":"completed","output":[]}'
    answer = f"HTTP/1.1 200 -\r\ncontent-type: application/json\r\ncontent-length: {len(response)}\r\n\r\n{response}"
    yield replay(
        "proxy_http",
        "one over HTTP, answered by a document",
        [
            header,
            entry("accepted", link=1),
            entry("sent", 2.0, link=1, data=post),
            entry("received", 3.0, link=1, data=answer),
        ],
        {"turns": [turn(transport="http", began=2.0, response_id="r1", ended=3.0, end="completed")]},
        "F-PROXY-6",
    )


# --- The recorder ----------------------------------------------------------------------------------------------------


def recorder(name: str, what: str, given: dict[str, Any], must: dict[str, Any], *rules: str) -> Case:
    return Case(f"recorder/{name}", what, given, must, rules)


def recorders() -> Iterator[Case]:
    def made(turn: str = "t", now: float = 1.0, **fields: Any) -> dict[str, Any]:
        return {"create": {"turn": turn, "fields": {"model": "m", **fields}}, "now": now}

    session = {"do": "session", "at": 1.0, "wall": 1_780_000_000.0, "dialect": "openai"}
    opened, upgraded = {"do": "opened", "at": 1.0, "link": 1}, {"do": "received", "at": 1.0, "link": 1, "data": ...}
    submit = {"do": "submit", "at": 1.0, "turn": 1, "body": {"type": "response.create", "model": "m"}}
    before = [session, submit, opened, upgraded]
    closed = [{"do": "close", "wait_for_peer": False}, {"do": "lost", "link": 1}, {"do": "end", "reason": "closed"}]

    def came(at: float, **more: Any) -> dict[str, Any]:
        return {"do": "received", "at": at, "link": 1, "data": ..., **more}

    yield recorder(
        "turn",
        "a turn whose consumer waits for each event",
        {
            "steps": [
                made(),
                {"read": "t"},
                {"messages": [created()], "now": 2.0},
                {"read": "t", "now": 3.0},
                {"messages": [completed()], "now": 4.0},
                {"read": "t", "now": 5.0},
                {"cancel": "t"},
                {"close": True},
            ]
        },
        {
            "header": {"turnwire_recording": 1, "wall": 1_780_000_000.0},
            "lines": [
                *before,
                came(2.0, before=[[1, 1.0, {}]]),
                came(4.0, before=[[1, 3.0, {"1": 1}]]),
                {"do": "cancel", "at": 5.0, "turn": 1, "before": [[1, 5.0, {"1": 1}]]},
                *closed,
            ],
            "turns": [turn(end="completed", events=[["response.created", 2.0, 3.0], ["response.completed", 4.0, 5.0]])],
        },
        "F-LINE-1",
        "F-LINE-2",
        "F-TURN-1",
        "F-LINK-1",
    )
    yield recorder(
        "lost",
        "the stream ends",
        {"steps": [made(), {"cut": True, "now": 2.0}, {"close": True}]},
        {"lines": [*before, {"do": "received", "at": 2.0, "link": 1}, {"do": "lost"}, {"do": "close"}, ...]},
        "F-LINE-2",
    )
    yield recorder(
        "any_lane",
        "a turn without a lane of its own; the turn before it is left, and one after it refused",
        {
            "options": {"max_waiting": 1, "max_in_flight": 1},
            "steps": [
                made(),
                {"create": {"turn": "u", "fields": {"model": "m"}, "lane": {"auto": True}}},
                {"cancel": "u"},
                {"drain": 5.0},
            ],
        },
        {
            "lines": [
                {**session, "options": {"max_waiting": 1, "max_in_flight": 1}},
                *before[1:],
                {"do": "submit", "turn": 2, "auto_lane": True},
                {"do": "cancel", "turn": 2},
                {"do": "drain", "timeout": 5.0},
            ]
        },
        "F-TURN-1",
        "F-SESSION-1",
    )
    yield recorder(
        "timer",
        "a deadline passes",
        {"options": {"timeouts": {"receive": 2.0}}, "steps": [made(), {"expire": True, "now": 3.0}]},
        {
            "lines": [*before, {"do": "time_came", "at": 3.0}, ...],
            "turns": [turn(end="error", verdict="AMBIGUOUS", ended=3.0)],
        },
        "F-LINE-2",
    )
    yield recorder(
        "retrieval",
        "a retrieval",
        {
            "steps": [
                {"retrieve": {"turn": "t", "response_id": "r1"}, "now": 1.0},
                {"answer": {"status": 200, "body": '{"id":"r1","object":"response","status":"completed"}'}},
            ]
        },
        {
            "lines": [
                session,
                {"do": "submit", "at": 1.0, "turn": 1, "retrieval": {"response_id": "r1"}},
                opened,
                upgraded,
            ],
            "turns": [turn(retrieval="r1", transport="http", end="completed")],
        },
        "F-TURN-1",
    )
    big = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": "x" * 4096}
    yield recorder(
        "raw",
        "many bytes stand behind their line",
        {"steps": [made(), {"messages": [created()]}, {"messages": [big]}]},
        {"lines": [*before, came(1.0), {"do": "received", "raw": len(json.dumps(big, separators=(",", ":"))) + 4}]},
        "F-FILE-5",
    )
    yield recorder(
        "max_bytes",
        "a file that may not be larger",
        {"max_bytes": 400, "steps": [made(), {"close": True}]},
        {"header": {"max_bytes": 400}, "lines": [session, {"do": "end", "reason": "max_bytes"}]},
        "F-FILE-4",
        "F-HEADER-1",
    )
    secret = "sk-test-0123456789"
    stars = "*" * len(secret)
    yield recorder(
        "credentials",
        "no credential is in the file, wherever it comes up",
        {
            "api_key": secret,
            "headers": {"openai-beta": "a=1", "x-a": "abc"},
            "query": {"token": "query-secret-77", "v": "1"},
            "steps": [
                made(input=f"my key is {secret}, not abc"),
                {"messages": [{"type": "new.event", "key": secret}]},
            ],
        },
        {
            "lines": [
                {
                    "endpoint": {
                        "url": "wss://example.org/v1/responses?token=***************&v=*",
                        "headers": [["authorization", "*" * 25], ["openai-beta", "a=1"], ["x-a", "***"]],
                    }
                },
                {"body": {"type": "response.create", "model": "m", "input": f"my key is {stars}, not abc"}},
                opened,
                upgraded,
                {"data": f'\x81/{{"type":"new.event","key":"{stars}"}}'},
            ]
        },
        "F-SECRET-1",
    )


# --- Scrubbing -------------------------------------------------------------------------------------------------------


def scrubbed(name: str, what: str, texts: dict[str, str], *rules: str, **given: Any) -> Case:
    return Case(
        f"scrubbing/{name}",
        what,
        {"texts": list(texts), **given},
        {"texts": list(texts.values())},
        rules or ("F-SCRUB-1",),
    )


def scrubbings() -> Iterator[Case]:
    yield scrubbed(
        "strings",
        "strings are filler of the same length in bytes",
        {'{"input": "Hé you", "a": ["", "x"], "b": "\\"\\n"}': '{"input": "xxxxxxx", "a": ["", "x"], "b": "xxxx"}'},
    )
    yield scrubbed(
        "kept",
        "names, numbers, and what the core decides by are kept",
        {
            '{"type":"response.create","model":"gpt-5","n":1.5e3,"b":true,"c":null,"role":"user","stream_id":"main"}': (
                '{"type":"response.create","model":"gpt-5","n":1.5e3,"b":true,"c":null,"role":"user","stream_id":"main"}'
            ),
            '{"object":"response","status":"completed","code":"server_error"}': (
                '{"object":"response","status":"completed","code":"server_error"}'
            ),
        },
    )
    yield scrubbed(
        "ids",
        "ids become others of the same length, the same one always the same",
        {
            '{"id":"resp_0123456789","previous_response_id":"resp_9876543210"}': (
                '{"id":"<1:15>","previous_response_id":"<2:15>"}'
            ),
            '{"response":{"id":"resp_0123456789"},"item_id":"msg_1234"}': (
                '{"response":{"id":"<1:15>"},"item_id":"<3:8>"}'
            ),
        },
    )
    yield scrubbed(
        "ids_short",
        "an id of fewer than four characters stays",
        {'{"id":"r1","item_id":"msg_12","a_id":"msg_1234"}': '{"id":"r1","item_id":"msg_12","a_id":"<1:8>"}'},
    )
    yield scrubbed(
        "kept_in_part",
        "of the members that are kept, values of another form are filler",
        {
            '{"type":"a<b","model":"%s","retry_after":"1s","Retry-After":"2","x":"1s"}' % ("m" * 65): (
                '{"type":"xxx","model":"%s","retry_after":"1s","Retry-After":"2","x":"xx"}' % ("x" * 65)
            )
        },
        "F-SCRUB-5",
    )
    yield scrubbed(
        "stream",
        "lines of a stream of events",
        {
            'data: {"delta":"Hi"}\n': 'data: {"delta":"xx"}\n',
            "event: response.created\n": "event: response.created\n",
            ": a comment\n": ":xxxxxxxxxx\n",
            "data: [DONE]\n": "data: [DONE]\n",
            "\n": "\n",
        },
        stream=True,
    )
    yield scrubbed("no_json", "what is no JSON", {"hello you": "xxxxx xxx"})
    yield scrubbed(
        "words_of_an_error",
        "of a server's words about an error, what it quotes",
        {'{"error":{"message":"Unknown name: \'my_name\'."}}': '{"error":{"message":"Unknown name: \'xxxxxxx\'."}}'},
    )
    yield scrubbed(
        "words_of_a_client",
        "a client's are filler",
        {'{"error":{"message":"Hi"}}': '{"error":{"message":"xx"}}'},
        of_server=False,
    )


CASES = [*files(), *sessions(), *proxies(), *recorders(), *scrubbings()]
