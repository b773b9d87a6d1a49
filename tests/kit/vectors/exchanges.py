"""Group ``exchange``: scripts of one HTTP connection: requests, answers of every kind, and how a turn ends by them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from ._case import Case
from .connections import changed, created, delta, done, ended, error, failed

Step = dict[str, Any]
UP: Step = {"connected": True}


def exchange(name: str, what: str, *steps: Step, rules: tuple[str, ...] = (), up: bool = True, **options: Any) -> Case:
    """A script. What a step's output must have is its member ``must``, which is no part of the input."""
    before = [UP] if up else []
    given = [{name: value for name, value in step.items() if name != "must"} for step in steps]
    must = {"steps": [*(... for _ in before), *(step.get("must", ...) for step in steps)]}
    return Case(f"exchange/{name}", what, {"options": options, "steps": [*before, *given]}, must, rules)


# --- What the caller and the server do -------------------------------------------------------------------------------


def create(turn: str = "t", *, must: Any = ..., timeouts: Any = None, lane: Any = None, **fields: Any) -> Step:
    given = {"turn": turn, "fields": {"model": "m", **fields}, "lane": lane}
    return {"create": given if timeouts is None else {**given, "timeouts": timeouts}, "must": must}


def hand(must: Any = ..., *, now: float | None = None) -> Step:
    step: Step = {"hand": "all", "must": must}
    return step if now is None else {**step, "now": now}


ONE_BYTE: Step = {"hand": "one byte", "must": {"sent": [], "state": "SENDING"}}
HEAD: Step = {"hand": "head", "must": {"sent": [], "state": "SENDING"}}
ALL_BUT_ONE: Step = {"hand": "all but one byte", "must": {"sent": [], "state": "SENDING"}}
CUT: Step = {"end_of_file": True}
SENT: list[Step] = [create(), hand()]


def cut(*what: Any) -> Step:
    return {**CUT, "must": changed(*what, state="CLOSED")}


def answer(*pieces: str, must: Any = ..., now: float | None = None) -> Step:
    step: Step = {"answer": list(pieces), "must": must}
    return step if now is None else {**step, "now": now}


def head(status: int = 200, **headers: str) -> str:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} -\r\n{lines}\r\n"


def whole(body: str, status: int = 200, kind: str = "application/json", **headers: str) -> str:
    return head(status, content_type=kind, content_length=str(len(body.encode())), **headers) + body


def text_of(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def sse(*events: Any) -> str:
    return "".join(f"data: {text_of(event)}\n\n" for event in events)


def stream(*events: Any, status: int = 200, **headers: str) -> str:
    return whole(sse(*events), status, "text/event-stream", **headers)


def chunks(*parts: str, end: bool = True) -> str:
    return "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts) + ("0\r\n\r\n" if end else "")


CHUNKED = head(200, content_type="text/event-stream", transfer_encoding="chunked")
LENGTHLESS = head(200, content_type="text/event-stream")
RUN = (created(), delta(), ended())
COMES = [["t", "response.created", "r1"], ["t", "response.output_text.delta", None], ["t", "response.completed", "r1"]]


def refused(verdict: str, cause: str, status: int | None, phase: str = "AWAIT", **more: Any) -> dict[str, Any]:
    return failed(verdict, phase, cause, status=status, **more)


# --- Requests --------------------------------------------------------------------------------------------------------


def requests() -> Iterator[Case]:
    headers = {
        "host": "example.org",
        "accept": "text/event-stream, application/json",
        "accept-encoding": "gzip, deflate",
        "connection": "keep-alive",
        "content-type": "application/json",
    }

    def posted(body: Any, target: str = "/v1/responses", **more: str) -> dict[str, Any]:
        return {"request": {"method": "POST", "target": target, "headers": {**headers, **more}, "body": body}}

    def got(target: str, accept: str = "application/json") -> dict[str, Any]:
        told = {name: value for name, value in headers.items() if name != "content-type"}
        return {"request": {"method": "GET", "target": target, "headers": {**told, "accept": accept}, "body": None}}

    yield exchange(
        "request",
        "the body is the message without type, and asks for a stream",
        create(input="a"),
        hand({"sent": [posted({"model": "m", "input": "a", "stream": True})], "state": "WAITING"}),
        rules=("P-TRANSPORT-7",),
    )
    yield exchange(
        "request_lane",
        "and without the name of a lane",
        create(lane="a"),
        hand({"sent": [posted({"model": "m", "stream": True})]}),
        rules=("P-TRANSPORT-7",),
    )
    yield exchange(
        "request_background",
        "a turn in the background",
        create(background=True),
        hand({"sent": [posted({"model": "m", "background": True, "stream": True})]}),
        rules=("P-CLIENT-3",),
    )
    yield exchange(
        "request_warm_up",
        "a warm-up is refused before anything is sent",
        create(generate=False, must={"refused": "UserError", "state": "IDLE"}),
        hand({"sent": [], "state": "IDLE"}),
        rules=("P-TRANSPORT-5",),
    )
    yield exchange(
        "before_it_is_connected",
        "a turn waits for the connection",
        create(must={"state": "CONNECTING"}),
        {**UP, "must": {"state": "SENDING"}},
        hand({"sent": [...], "state": "WAITING"}),
        up=False,
    )
    yield exchange(
        "one_at_a_time",
        "a connection takes no second turn",
        create(),
        create("u", must={"refused": "SessionClosedError"}),
        rules=("P-TRANSPORT-8",),
    )
    for name, given, target, accept in (
        ("plain", {}, "", "application/json"),
        ("include", {"include": ["a.b", "c"]}, "?include[]=a.b&include[]=c", "application/json"),
        ("stream", {"stream": True}, "?stream=true", headers["accept"]),
        ("after", {"stream": True, "starting_after": 7}, "?stream=true&starting_after=7", headers["accept"]),
    ):
        yield exchange(
            f"retrieval_{name}",
            "what a retrieval asks for",
            {"retrieve": {"turn": "t", "response_id": "r1", **given}},
            hand({"sent": [got(f"/v1/responses/r1{target}", accept)]}),
            rules=("P-RETRIEVE-1", "P-RETRIEVE-2"),
        )
    yield exchange(
        "retrieval_encoded",
        "each character of an id that is not unreserved is percent-encoded",
        {"retrieve": {"turn": "t", "response_id": "a/b c?é~"}},
        hand({"sent": [got("/v1/responses/a%2Fb%20c%3F%C3%A9~")]}),
        rules=("P-RETRIEVE-3",),
    )
    for number, bad in enumerate(("", ".", "..", "a\nb", "x" * 4097, "ä" * 683)):
        yield exchange(
            f"retrieval_bad_{number}",
            "an id that names no response",
            {"retrieve": {"turn": "t", "response_id": bad}, "must": {"refused": "UserError"}},
            rules=("P-RETRIEVE-3",),
        )
    yield exchange(
        "retrieval_longest",
        "4096 bytes do",
        {"retrieve": {"turn": "t", "response_id": "x" * 4096}, "must": {"state": "SENDING"}},
        rules=("P-RETRIEVE-3",),
    )
    yield exchange(
        "compaction",
        "a compaction has a path of its own, and asks for no stream",
        {"compact": {"turn": "t", "fields": {"model": "m", "input": []}}},
        hand({"sent": [posted({"model": "m", "input": []}, "/v1/responses/compact", accept="application/json")]}),
        answer(
            whole(text_of({"output": [{"type": "compaction", "id": "k", "encrypted_content": "x"}]})),
            must=changed({"turn": "t", "outcome": "completed", "response_id": None}, state="IDLE"),
        ),
        rules=("P-CONT-8",),
    )


# --- Answers that end a turn as it should be -------------------------------------------------------------------------


def answers() -> Iterator[Case]:
    ok = changed(done(), state="IDLE", events=COMES)
    text = stream(*RUN)
    yield exchange("stream", "a stream of events", *SENT, answer(text, must=ok), rules=("P-TRANSPORT-9",))
    yield exchange(
        "stream_in_bytes", "the same, byte by byte", *SENT, answer(*text, must=ok), rules=("I1", "P-TRANSPORT-9")
    )
    yield exchange("chunks", "in chunks", *SENT, answer(CHUNKED + chunks(sse(*RUN)), must=ok))
    yield exchange(
        "chunks_of_a_byte",
        "in chunks of one byte, each of which comes in two pieces",
        *SENT,
        answer(CHUNKED, *[piece for each in sse(*RUN) for piece in ("1\r", f"\n{each}\r\n")], "0\r\n\r\n", must=ok),
        rules=("I1",),
    )
    yield exchange(
        "chunks_extensions",
        "with extensions and trailers",
        *SENT,
        answer(CHUNKED + chunks(sse(*RUN), end=False).replace("\r\n", ";a=b\r\n", 1) + "0\r\nx-a: 1\r\n\r\n", must=ok),
    )
    yield exchange(
        "until_the_end",
        "without a length: the end of the stream ends it",
        *SENT,
        answer(LENGTHLESS + sse(*RUN), must=changed(done(), state="FINISHING")),
        {**CUT, "must": {"state": "CLOSED"}},
    )
    zipped = gzip.compress(sse(*RUN).encode(), mtime=0).decode("latin-1")
    yield exchange(
        "gzip",
        "a compressed stream",
        *SENT,
        answer(
            head(content_type="text/event-stream", content_encoding="gzip", content_length=str(len(zipped))) + zipped,
            must=ok,
        ),
    )
    yield exchange(
        "encoding_unknown",
        "an encoding that was not asked for",
        *SENT,
        answer(
            head(content_encoding="br", content_length="3") + "abc",
            must=changed(refused("AMBIGUOUS", "PROTOCOL", None), state="CLOSED"),
        ),
    )
    yield exchange(
        "informational",
        "answers of status 1xx come first",
        *SENT,
        answer(head(100) + head(103, link="x") + text, must=ok),
    )
    yield exchange(
        "comments",
        "comments, other fields, and line ends of three kinds",
        *SENT,
        answer(
            whole(
                f": hi\r\nevent: x\r\ndata: {text_of(created())}\r\n\r\nid: 7\ndata: {text_of(delta())}\n\n"
                f"retry: 5\rdata: {text_of(ended())}\r\r",
                kind="text/event-stream",
            ),
            must=ok,
        ),
    )
    yield exchange(
        "done_marker",
        "data that is no object is skipped",
        *SENT,
        answer(whole(sse(created(), delta()) + "data: [1]\n\n" + sse(ended()) + "data: [DONE]\n\n"), must=ok),
    )
    yield exchange(
        "kind_of_a_document",
        "a stream with the content-type of a document",
        *SENT,
        answer(whole(sse(*RUN)), must=ok),
        rules=("P-TRANSPORT-9",),
    )
    response = {"id": "r1", "object": "response", "status": "completed", "output": []}
    for kind in ("application/json", "text/event-stream"):
        yield exchange(
            f"document_{'as_json' if kind == 'application/json' else 'as_stream'}",
            f"a response as a document, with content-type {kind}",
            *SENT,
            answer(
                whole(text_of(response), kind=kind),
                must=changed(
                    done(), state="IDLE", events=[["t", "response.created", "r1"], ["t", "response.completed", "r1"]]
                ),
            ),
            rules=("P-TRANSPORT-9",),
        )
    yield exchange(
        "document_in_progress",
        "a response that has not ended, as a document",
        *SENT,
        answer(
            whole(text_of({**response, "status": "in_progress"})),
            must=changed(failed("UNSAFE", "STREAM"), state="IDLE"),
        ),
        rules=("R-HTTP-5", "R-HTTP-12"),
    )
    for how in ("failed", "incomplete", "cancelled"):
        yield exchange(
            f"ended_{how}",
            f"a response that ends as {how}",
            *SENT,
            answer(stream(created(), ended(how=how)), must=changed(done(outcome=how), state="IDLE")),
            rules=("P-START-6",),
        )
    yield exchange(
        "again",
        "another turn follows on the same connection",
        *SENT,
        answer(text, must=ok),
        create("u"),
        hand({"sent": [...], "state": "WAITING"}),
        answer(stream(created("r2"), ended("r2")), must=changed(done("u", response_id="r2"), state="IDLE")),
        rules=("P-TRANSPORT-8",),
    )
    for name, what, given in (
        ("close", "Connection: close", stream(*RUN, connection="close")),
        ("http_1_0", "HTTP/1.0", stream(*RUN).replace("HTTP/1.1", "HTTP/1.0")),
        ("rest", "something behind the answer", text + "x"),
        (
            "two_lengths",
            "a length that is told in two ways",
            CHUNKED.replace("\r\n\r\n", "\r\ncontent-length: 5\r\n\r\n") + chunks(sse(*RUN)),
        ),
    ):
        yield exchange(
            f"not_again_{name}",
            f"after {what} no other turn follows",
            *SENT,
            answer(given, must=changed(done(), state="CLOSED")),
            create("u", must={"refused": "SessionClosedError"}),
            rules=("P-TRANSPORT-8",),
        )
    yield exchange(
        "rest_in_time",
        "the rest of an answer is awaited, and not for long",
        *SENT,
        answer(CHUNKED + chunks(sse(*RUN), end=False), now=5.0, must=changed(done(), state="FINISHING", deadline=7.0)),
        answer("0\r\n\r\n", now=6.0, must={"state": "IDLE", "deadline": None}),
    )
    yield exchange(
        "rest_too_late",
        "longer than close_timeout",
        *SENT,
        answer(CHUNKED + chunks(sse(*RUN), end=False), now=5.0),
        {"expire": True, "now": 7.0, "must": {"state": "CLOSED"}},
    )
    yield exchange(
        "after_the_terminal_event",
        "what follows the terminal event belongs to no turn",
        *SENT,
        answer(
            stream(*RUN, {"type": "response.done", "response": {"id": "r1", "status": "completed"}}, error("x")),
            must=ok,
        ),
    )


# --- Failures --------------------------------------------------------------------------------------------------------

HOWS: list[tuple[str, str, Step]] = [("eof", "EOF", CUT), ("reset", "TRANSPORT", {"transport_fails": "reset"})]
WHEN: list[tuple[str, str, str, list[Step], tuple[str, ...]]] = [
    ("one_byte", "SAFE", "SEND", [create(), ONE_BYTE], ("R-HTTP-9",)),
    ("head_handed", "SAFE", "SEND", [create(), HEAD], ("R-HTTP-9",)),
    ("all_but_one_byte", "SAFE", "SEND", [create(), ALL_BUT_ONE], ("R-HTTP-16", "I3", "I4")),
    ("whole", "AMBIGUOUS", "AWAIT", SENT, ("R-HTTP-10", "R-HTTP-16")),
    ("status_line", "AMBIGUOUS", "AWAIT", [*SENT, answer("HTTP/1.1 200 -\r\n")], ("R-HTTP-10",)),
    ("head", "UNSAFE", "STREAM", [*SENT, answer(LENGTHLESS)], ("R-HTTP-5",)),
    ("half_an_event", "UNSAFE", "STREAM", [*SENT, answer(CHUNKED + "5\r\ndata:\r\n")], ("R-HTTP-5",)),
    ("event", "UNSAFE", "STREAM", [*SENT, answer(CHUNKED + chunks(sse(created()), end=False))], ("R-HTTP-2",)),
    ("error_head", "AMBIGUOUS", "AWAIT", [*SENT, answer(head(400, content_length="9") + "{")], ("R-HTTP-18",)),
]


def losses() -> Iterator[Case]:
    for name, verdict, phase, before, rules in WHEN:
        for how, cause, end in HOWS:
            yield exchange(
                f"{how}_after_{name}",
                f"the connection ends ({cause}) after: {name.replace('_', ' ')}",
                *before,
                {**end, "must": changed(failed(verdict, phase, cause), state="CLOSED")},
                rules=rules,
            )
    yield exchange(
        "not_opened",
        "the transport does not open",
        create(),
        {"transport_fails": "refused", "must": changed(failed("SAFE", "CONNECT", "TRANSPORT"), state="CLOSED")},
        up=False,
    )
    yield exchange(
        "nothing_handed",
        "the connection ends before a byte of the request was handed",
        create(),
        cut(failed("SAFE", "SEND")),
        rules=("R-HTTP-20",),
    )
    yield exchange(
        "spoke_first",
        "an answer before a byte of the request was handed is none",
        create(),
        answer(stream(*RUN), must=changed(failed("SAFE", "SEND", "PROTOCOL"), state="CLOSED")),
        rules=("R-HTTP-20",),
    )
    yield exchange(
        "spoke_between",
        "nor is what comes between two answers",
        *SENT,
        answer(stream(*RUN)),
        answer("HTTP/1.1 408 -\r\n\r\n", must={"state": "CLOSED"}),
    )
    yield exchange(
        "ended_idle",
        "the server ends an idle connection",
        {**CUT, "must": {"state": "CLOSED"}},
    )
    ran = failed("UNSAFE", "STREAM")
    for position, name in enumerate(("nothing", "created", "delta")):
        yield exchange(
            f"no_terminal_event_after_{name}",
            "a whole stream without a terminal event",
            *SENT,
            answer(stream(*RUN[:position]), must=changed(ran, state="IDLE")),
            rules=("R-HTTP-5", "R-HTTP-12"),
        )
    yield exchange(
        "only_neutral",
        "a whole stream of nothing but a heartbeat",
        *SENT,
        answer(stream({"type": "keepalive"}), must=changed(ran)),
        rules=("R-HTTP-5", "P-START-1"),
    )


def broken() -> Iterator[Case]:
    bad = changed(failed("AMBIGUOUS", "AWAIT", "PROTOCOL"), state="CLOSED")
    for name, what, text in (
        ("not_http", "what is no HTTP", "SSH-2.0-x\r\n"),
        (
            "two_lengths_differ",
            "two lengths that differ",
            head(content_length="1").replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\n") + "ab",
        ),
        ("length_negative", "a length below 0", head(content_length="-1")),
        ("status_of_4_digits", "a status of four digits", "HTTP/1.1 2000 -\r\n\r\n"),
        ("header_without_a_colon", "a header without a colon", "HTTP/1.1 200 -\r\nabc\r\n\r\n"),
    ):
        yield exchange(name, what, *SENT, answer(text, must=bad), rules=("I7",))
    yield exchange(
        "chunk_size",
        "the size of a chunk that is no number, after status 200",
        *SENT,
        answer(CHUNKED + "x\r\n", must=changed(failed("UNSAFE", "STREAM", "PROTOCOL"), state="CLOSED")),
        rules=("R-HTTP-5",),
    )
    yield exchange(
        "head_too_long",
        "a head above 64 KiB",
        *SENT,
        answer("HTTP/1.1 200 -\r\n", *["x-a: " + "a" * 16384 + "\r\n"] * 5, must=bad),
        rules=("I7",),
    )
    yield exchange(
        "event_too_long",
        "an event above max_message_size",
        *SENT,
        answer(
            LENGTHLESS + "data: " + "x" * 100,
            must=changed(failed("UNSAFE", "STREAM", "PROTOCOL"), state="CLOSED"),
        ),
        max_message_size=64,
        rules=("I7",),
    )
    for name, kind, body in (
        ("page", "text/html", "<html>Hi</html>"),
        ("list", "application/json", "[]"),
        ("text", "text/plain", '"hi"'),
        ("object", "application/json", '{"a":1}'),
        ("nothing", "application/json", ""),
    ):
        yield exchange(
            f"no_response_{name}",
            "status 200 and a whole answer that is no response",
            *SENT,
            answer(whole(body, kind=kind), must=changed(failed("AMBIGUOUS", "AWAIT", "PROTOCOL"), state="IDLE")),
            rules=("R-HTTP-6",),
        )


def errors() -> Iterator[Case]:
    for status, verdict, refusal in (
        (400, "SAFE", True),
        (404, "SAFE", True),
        (408, "AMBIGUOUS", False),
        (409, "AMBIGUOUS", False),
        (429, "SAFE", True),
        (500, "AMBIGUOUS", False),
        (503, "AMBIGUOUS", False),
    ):
        body = text_of({"error": {"message": "no", "code": "c"}})
        yield exchange(
            f"error_{status}",
            f"a JSON error with status {status}",
            *SENT,
            answer(
                whole(body, status),
                must=changed(refused(verdict, "ERROR_FRAME", status, refusal=refusal, code="c"), state="IDLE"),
            ),
            rules=("R-HTTP-3",) if refusal else ("R-HTTP-4",),
        )
    for status, verdict, refusal in (
        (403, "SAFE", True),
        (408, "AMBIGUOUS", False),
        (429, "AMBIGUOUS", False),
        (502, "AMBIGUOUS", False),
    ):
        yield exchange(
            f"page_{status}",
            f"a page with status {status}",
            *SENT,
            answer(
                whole("<p>no</p>", status, "text/html"),
                must=changed(refused(verdict, "REJECTED", status, refusal=refusal)),
            ),
            rules=("R-HTTP-7",) if refusal else ("R-HTTP-8",),
        )
    yield exchange(
        "error_overloaded",
        "words that forbid the verdict SAFE",
        *SENT,
        answer(
            whole(text_of({"error": {"message": "overloaded"}}), 400),
            must=changed(refused("AMBIGUOUS", "ERROR_FRAME", 400, refusal=False)),
        ),
        rules=("P-STATUS-5",),
    )
    for name, body in (("nested", {"error": {"message": "no", "status": 400}}), ("detail", {"detail": "no"})):
        yield exchange(
            f"error_in_200_{name}",
            "an error body with status 200",
            *SENT,
            answer(
                whole(text_of(body)),
                must=changed(refused("AMBIGUOUS", "ERROR_FRAME", 200, refusal=False), state="IDLE"),
            ),
            rules=("R-HTTP-13", "P-STATUS-6"),
        )
    for name, first, verdict, phase in (
        ("first", (), "AMBIGUOUS", "AWAIT"),
        ("after_created", (created(),), "UNSAFE", "STREAM"),
        ("after_a_heartbeat", ({"type": "response.heartbeat"},), "AMBIGUOUS", "AWAIT"),
    ):
        yield exchange(
            f"error_event_{name}",
            "an error event in a stream with status 200",
            *SENT,
            answer(stream(*first, error("x", None)), must=changed(refused(verdict, "ERROR_FRAME", 200, phase))),
            rules=("R-HTTP-13",),
        )
    yield exchange(
        "error_event_flat",
        "a flat error event",
        *SENT,
        answer(
            stream(created(), {"type": "error", "code": "c", "message": "no"}),
            must=changed(refused("UNSAFE", "ERROR_FRAME", 200, "STREAM", code="c")),
        ),
        rules=("P-SHAPE-2",),
    )


def early() -> Iterator[Case]:
    """An answer before the request was handed whole (R-HTTP-19)."""
    rules = ("R-HTTP-19",)
    for status in (400, 429, 503):
        yield exchange(
            f"early_{status}",
            f"an answer with {status} before the request was handed whole: no more of it is handed",
            create(),
            HEAD,
            answer(head(status, content_length="2"), now=1.0, must={"state": "REFUSED", "deadline": 3.0}),
            hand({"sent": [], "state": "REFUSED"}),
            answer("no", must=changed(refused("SAFE", "REJECTED", status, "SEND"), state="CLOSED")),
            rules=rules,
        )
    yield exchange(
        "early_json",
        "a JSON error",
        create(),
        HEAD,
        answer(
            whole(text_of({"error": {"message": "no", "code": "c"}}), 413),
            must=changed(refused("SAFE", "ERROR_FRAME", 413, "SEND", refusal=True, code="c"), state="CLOSED"),
        ),
        rules=rules,
    )
    yield exchange(
        "early_without_its_words",
        "the rest of the answer does not come",
        create(),
        HEAD,
        answer(head(503, content_length="2"), now=1.0),
        {"expire": True, "now": 3.0, "must": changed(refused("SAFE", "REJECTED", 503, "SEND"), state="CLOSED")},
        rules=rules,
    )
    yield exchange(
        "early_cut",
        "the connection ends within it",
        create(),
        HEAD,
        answer(head(400, content_length="2")),
        cut(refused("SAFE", "REJECTED", 400, "SEND")),
        rules=rules,
    )
    yield exchange(
        "early_head_of_200",
        "the head of an answer with status 200 may come early",
        create(),
        HEAD,
        answer(CHUNKED, must={"state": "SENDING"}),
        hand({"sent": [...], "state": "WAITING"}),
        answer(chunks(sse(*RUN)), must=changed(done(), state="IDLE")),
        rules=rules,
    )
    yield exchange(
        "early_body_of_200",
        "its body may not",
        create(),
        HEAD,
        answer(CHUNKED + chunks(sse(created())), must=changed(failed("SAFE", "SEND", "PROTOCOL"), state="CLOSED")),
        rules=rules,
    )


def redirects() -> Iterator[Case]:
    for status in (307, 308):
        yield exchange(
            f"redirect_{status}",
            f"{status} within the origin is followed",
            *SENT,
            answer(head(status, location="/v2/responses", content_length="0"), must={"state": "CONNECTING"}),
            {**UP, "must": {"state": "SENDING"}},
            hand({"sent": [{"request": {"method": "POST", "target": "/v2/responses"}}]}),
            answer(stream(*RUN), must=changed(done())),
            rules=("P-TRANSPORT-10", "R-HTTP-17"),
        )
    yield exchange(
        "redirect_early",
        "also before the request was handed whole",
        create(),
        HEAD,
        answer(head(307, location="/v2/responses", content_length="0"), must={"state": "CONNECTING"}),
        {**UP, "must": {"state": "SENDING"}},
        hand({"sent": [{"request": {"method": "POST", "target": "/v2/responses"}}]}),
        rules=("P-TRANSPORT-10", "R-HTTP-17", "R-HTTP-19"),
    )
    yield exchange(
        "redirect_and_cut",
        "before it is sent again, it was not run",
        *SENT,
        answer(head(307, location="/v2/responses", content_length="0")),
        {"transport_fails": "refused", "must": changed(failed("SAFE", "CONNECT", "TRANSPORT"), state="CLOSED")},
        rules=("R-HTTP-17", "I3"),
    )
    for name, status, location in (
        ("other_host", 307, "https://other.example/v1/responses"),
        ("other_scheme", 307, "http://example.org/v1/responses"),
        ("other_port", 308, "https://example.org:8443/v1/responses"),
        ("303", 303, "/v2/responses"),
        ("301", 301, "/v2/responses"),
        ("nowhere", 307, None),
    ):
        where = {} if location is None else {"location": location}
        yield exchange(
            f"redirect_{name}",
            "a redirect that is not followed",
            *SENT,
            answer(
                head(status, content_length="0", **where),
                must=changed(refused("AMBIGUOUS", "REJECTED", status, refusal=False), state="IDLE"),
            ),
            rules=("P-TRANSPORT-10", "R-HTTP-17"),
        )
    again = [answer(head(307, location=f"/v{i}", content_length="0")) for i in range(5)]
    follow = [step for one in again for step in (one, UP, hand({"sent": [...]}))]
    yield exchange(
        "redirect_six_times",
        "at most five are followed",
        *SENT,
        *follow,
        answer(
            head(307, location="/v9", content_length="0"),
            must=changed(refused("AMBIGUOUS", "REJECTED", 307), state="IDLE"),
        ),
        rules=("P-TRANSPORT-10",),
    )


def leaving() -> Iterator[Case]:
    def late(now: float, verdict: str, phase: str, **rest: Any) -> Step:
        return {"expire": True, "now": now, "must": changed(failed(verdict, phase, "TIMEOUT"), **rest)}

    yield exchange(
        "left_before_it_was_sent",
        "a turn that is left before a byte was handed leaves the connection to another",
        create(),
        {"cancel": "t", "must": changed(failed("SAFE", "SEND", "CANCELLED"), state="IDLE")},
        create("u"),
        hand({"sent": [...]}),
    )
    for name, before, verdict, phase in (
        ("in_send", [create(), ONE_BYTE], "SAFE", "SEND"),
        ("in_await", SENT, "AMBIGUOUS", "AWAIT"),
        ("in_stream", [*SENT, answer(CHUNKED + chunks(sse(created()), end=False))], "UNSAFE", "STREAM"),
    ):
        yield exchange(
            f"left_{name}",
            "to leave a turn ends the connection, if any byte was handed",
            *before,
            {"cancel": "t", "must": changed(failed(verdict, phase, "CANCELLED"), state="CLOSED")},
            rules=("R-HTTP-21",),
        )
        yield exchange(
            f"closed_{name}",
            "the owner ends the connection",
            *before,
            {"close": True, "must": changed(failed(verdict, phase, "CLIENT_CLOSED"), state="CLOSED")},
        )
    timed = {"lane": None, "connect": None, "send": None, "receive": None}
    yield exchange(
        "connect_timeout",
        "the transport does not open in time",
        create(),
        late(3.0, "SAFE", "CONNECT", state="CLOSED"),
        up=False,
        connect_timeout=3.0,
        rules=("P-DEFAULT-1",),
    )
    yield exchange(
        "send_timeout",
        "the transport does not take the request",
        create(timeouts={**timed, "send": 10.0}),
        {**ONE_BYTE, "now": 1.0, "must": {"deadline": 10.0}},
        late(10.0, "SAFE", "SEND", state="CLOSED"),
        rules=("P-DEFAULT-1",),
    )
    yield exchange(
        "receive_timeout",
        "nothing comes",
        create(timeouts={**timed, "receive": 10.0}),
        hand({"deadline": 11.0}, now=1.0),
        late(11.0, "AMBIGUOUS", "AWAIT", state="CLOSED"),
        rules=("P-DEFAULT-3",),
    )
    yield exchange(
        "receive_timeout_again",
        "each event begins it anew",
        create(timeouts={**timed, "receive": 10.0}),
        hand(now=1.0),
        answer(CHUNKED + chunks(sse(created()), end=False), now=5.0, must={"deadline": 15.0}),
        late(15.0, "UNSAFE", "STREAM", state="CLOSED"),
        rules=("P-DEFAULT-3",),
    )
    yield exchange(
        "receive_timeout_after_the_head",
        "a head begins nothing anew, and says that it may have run",
        create(timeouts={**timed, "receive": 10.0}),
        hand(now=1.0),
        answer(CHUNKED, now=5.0, must={"deadline": 11.0}),
        late(11.0, "UNSAFE", "STREAM", state="CLOSED"),
        rules=("R-HTTP-5",),
    )
    yield exchange(
        "total_timeout",
        "the whole turn",
        create(timeouts={**timed, "total": 10.0}),
        hand({"deadline": 10.0}, now=1.0),
        late(10.0, "AMBIGUOUS", "AWAIT"),
    )
    yield exchange(
        "stalled",
        "nothing at all comes",
        create(),
        hand({"deadline": 6.0}, now=1.0),
        {"expire": True, "now": 6.0, "must": changed(failed("AMBIGUOUS", "AWAIT", "STALLED"), state="CLOSED")},
        stall_timeout=5.0,
        rules=("P-DEFAULT-5",),
    )


def retrievals() -> Iterator[Case]:
    response = {"id": "r1", "object": "response", "status": "completed", "output": []}
    plain: list[Step] = [{"retrieve": {"turn": "t", "response_id": "r1"}}, hand()]
    streamed: list[Step] = [{"retrieve": {"turn": "t", "response_id": "r1", "stream": True}}, hand()]
    yield exchange(
        "retrieved",
        "a response as it is",
        *plain,
        answer(whole(text_of(response)), must=changed(done(), state="IDLE")),
        rules=("P-RETRIEVE-1",),
    )
    yield exchange(
        "retrieved_in_progress",
        "one that goes on",
        *plain,
        answer(whole(text_of({**response, "status": "in_progress"})), must={"changed": [...], "state": "IDLE"}),
        rules=("P-RETRIEVE-1",),
    )
    yield exchange(
        "retrieved_another",
        "another response is an error",
        *plain,
        answer(
            whole(text_of({**response, "id": "r2"})),
            must={"changed": [{"turn": "t", "failed": "PROTOCOL", "status": None}]},
        ),
        rules=("P-RETRIEVE-5",),
    )
    yield exchange(
        "retrieved_404",
        "it is not there",
        *plain,
        answer(
            whole(text_of({"error": {"message": "no"}}), 404),
            must={"changed": [{"turn": "t", "failed": "ERROR_FRAME", "status": 404}]},
        ),
        rules=("P-RETRIEVE-7",),
    )

    def numbered(kind: str, number: int) -> dict[str, Any]:
        return {"type": f"response.{kind}", "sequence_number": number, "response": {**response, "status": kind}}

    text = {"type": "response.output_text.delta", "item_id": "m1", "output_index": 0, "delta": "a"}
    yield exchange(
        "retrieved_stream",
        "each event comes once",
        *streamed,
        answer(
            stream(
                numbered("in_progress", 0),
                {**text, "sequence_number": 1},
                {**text, "sequence_number": 1},
                {**text, "sequence_number": 0},
                {**text, "sequence_number": 2},
                numbered("completed", 2),
            ),
            must=changed(
                done(),
                events=[
                    ["t", "response.in_progress", "r1"],
                    ["t", "response.output_text.delta", None],
                    ["t", "response.output_text.delta", None],
                    ["t", "response.completed", "r1"],
                ],
            ),
        ),
        rules=("P-RETRIEVE-6",),
    )
    yield exchange(
        "retrieved_stream_as_document",
        "a document gives the event that ends the response",
        *streamed,
        answer(
            whole(text_of(response)), must=changed(done(), events=[["t", "response.completed", "r1"]], state="IDLE")
        ),
        rules=("P-RETRIEVE-6",),
    )
    yield exchange(
        "retrieved_stream_in_progress",
        "but one that has not ended is an error",
        *streamed,
        answer(
            whole(text_of({**response, "status": "queued"})),
            must={"changed": [{"turn": "t", "failed": "PROTOCOL", "status": None}]},
        ),
        rules=("P-RETRIEVE-6",),
    )


CASES = [
    *requests(),
    *answers(),
    *losses(),
    *broken(),
    *errors(),
    *early(),
    *redirects(),
    *leaving(),
    *retrievals(),
]
