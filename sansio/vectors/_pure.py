"""The groups whose output depends on nothing but their input; VECTORS.md has the members of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..dialect import DIALECTS, dialect_of_host
from ..endpoint import endpoint
from ..error_body import read_error
from ..errors import EventDecodeError, TurnError, UserError
from ..events import decode_event
from ..evidence import Cause, Evidence, Phase, Refusal, http_evidence
from ..lanes import AUTO
from ..messages import response_create
from ..proxy import choose_proxy
from ..replay import ModelRetryAdviceRequest, RecoveryPolicy, RepeatReason, get_retry_advice
from ..replay._recovery import failure_kind_of
from ..sse import EventStream
from ..upgrade import upgrade_headers
from ..websocket import Accepted, Broken, ClientHandshake, CloseFrame, Item, Ping, Pong, Violation, WebSocket

__all__ = [
    "encode",
    "errors",
    "events",
    "evidence_from",
    "frames",
    "handshake",
    "http",
    "proxy",
    "recovery",
    "requests",
    "sse",
    "urls",
    "verdicts",
]

Given = Mapping[str, Any]


# --- Bytes -------------------------------------------------------------------------------------------------------


def frames(given: Given) -> dict[str, Any]:
    """What comes out of these bytes (V-FRAMES-1)."""
    limit = given.get("max_message_size")
    websocket = WebSocket(client=given["role"] == "client", max_message_size=limit)
    items: list[Item] = []
    for piece in given["pieces"]:
        items += websocket.receive(bytes.fromhex(piece))
        while websocket.pending:
            items += websocket.receive()
    return {"items": [_item(item) for item in items]}


def _item(item: Item) -> dict[str, Any]:
    match item:
        case Ping(payload):
            return {"ping": payload.hex()}
        case Pong(payload):
            return {"pong": payload.hex()}
        case CloseFrame(code, reason):
            return {"close": int(code), "reason": reason}
        case Violation(code=code):
            return {"violation": int(code)}
        case _:
            return {"text": item.decode()}


def encode(given: Given) -> dict[str, Any]:
    """The bytes of one frame; ``mask`` is that of a client (V-ENCODE-1)."""
    key = given.get("mask")
    websocket = WebSocket(client=key is not None, random_bytes=lambda _: bytes.fromhex(key or ""))
    if "text" in given:
        data = websocket.text(given["text"].encode())
    elif "ping" in given:
        data = websocket.ping(bytes.fromhex(given["ping"]))
    elif "pong" in given:
        data = websocket.pong(bytes.fromhex(given["pong"]))
    else:
        data = websocket.close(given["close"], given.get("reason", ""))
    return {"bytes": data.hex()}


def handshake(given: Given) -> dict[str, Any]:
    """What the answer to an upgrade says (V-HANDSHAKE-1)."""
    nonce = bytes.fromhex(given["nonce"])
    client = ClientHandshake("example.org", "/v1/responses", random_bytes=lambda _: nonce)
    answer = None
    for piece in given["pieces"]:
        if answer is None:
            answer = client.receive(piece.encode("latin-1"))
    match answer:
        case None:
            return {"waits": True}
        case Accepted(rest):
            return {"accepted": True, "rest": rest.hex()}
        case Broken():
            return {"broken": True}
        case rejected:
            return {"rejected": rejected.status, "headers": rejected.headers, "body": rejected.body.decode("latin-1")}


def sse(given: Given) -> dict[str, Any]:
    """The events of a stream (V-SSE-1)."""
    stream = EventStream(given.get("limit"))
    found = [event for piece in given["pieces"] for event in stream.receive(piece.encode())]
    return {
        "events": [{"event": one.name or "message", "data": one.data.decode(), "id": one.last_id} for one in found],
        "retry": stream.retry,
        "too_long": stream.too_long is not None,
    }


# --- Messages ----------------------------------------------------------------------------------------------------


def events(given: Given) -> dict[str, Any]:
    """What one message of a server is (V-EVENTS-1)."""
    try:
        event = decode_event(given["text"].encode())
    except EventDecodeError:
        return {"skipped": True}
    response_id, item_id = event.ids()
    return {
        "type": event.type,
        "role": event.role.name,
        "outcome": event.outcome,
        "stream_id": event.stream_id,
        "response_id": response_id,
        "item_id": item_id,
        "sequence_number": event.sequence_number,
    }


def errors(given: Given) -> dict[str, Any]:
    """What an error says, whatever its shape (V-ERRORS-1)."""
    found = read_error(given["payload"], status=given.get("status"), headers=given.get("headers", {}))
    refusal = Refusal.from_body(found)
    return {
        "status": found.status,
        "code": found.code,
        "type": found.type,
        "message": found.message,
        "param": found.param,
        "request_id": found.request_id,
        "retry_after": refusal.retry_after(given.get("wall")),
    }


def requests(given: Given) -> dict[str, Any]:
    """The message of a turn (V-REQUESTS-1)."""
    lane = AUTO if given.get("lane") == {"auto": True} else given.get("lane")
    try:
        return {"message": response_create(given["fields"], stream_id=lane)}
    except UserError as exc:
        return {"refused": type(exc).__name__}


# --- What a failure means ----------------------------------------------------------------------------------------


def evidence_from(given: Given) -> Evidence:
    """The evidence of a vector: phases and causes by their names in ``tables.json``; what is left out is false."""
    refusal = given.get("refusal")
    phase = Phase[given["phase"]]
    return Evidence(
        phase=phase,
        cause=Cause[given["cause"]],
        final_byte_handed=phase >= Phase.AWAIT,
        response_started=phase >= Phase.STREAM,
        stateful=given.get("stateful", False),
        close_code=given.get("close_code"),
        refusal=None if refusal is None else msgspec.convert(refusal, Refusal),
        unknown_event=given.get("unknown_event", False),
        too_big=given.get("too_big"),
        earlier_may_have_run=given.get("earlier_may_have_run", False),
    )


def verdicts(given: Given) -> dict[str, Any]:
    """The verdict, and the advice that follows (V-VERDICTS-1)."""
    evidence = evidence_from(given)
    if evidence.verdict is None:
        return {"refusal": False, "verdict": None, "kind": None, "advice": None}
    advice = get_retry_advice(ModelRetryAdviceRequest(error=TurnError("", evidence=evidence)), now=given.get("wall"))
    return {
        "refusal": evidence.is_refusal,
        "verdict": evidence.verdict.name,
        "kind": failure_kind_of(evidence).name,
        "advice": None
        if advice is None
        else {
            "suggested": advice.suggested,
            "replay_safety": advice.replay_safety,
            "retry_after": advice.retry_after,
        },
    }


def http(given: Given) -> dict[str, Any]:
    """What a call over HTTP that failed is as evidence (V-HTTP-1)."""
    error = given.get("error")
    evidence = http_evidence(
        cause=Cause[given["cause"]],
        stateful=given.get("stateful", False),
        handed=given.get("handed"),
        status=given.get("status"),
        error=None if error is None else msgspec.convert(error, Refusal),
        api_error=given.get("api_error", False),
        event_seen=given.get("event_seen", False),
    )
    if evidence is None:
        return {"evidence": None}
    verdict = evidence.verdict
    return {
        "evidence": {"phase": evidence.phase.name, "cause": evidence.cause.name},
        "verdict": verdict and verdict.name,
    }


def recovery(given: Given) -> dict[str, Any]:
    """Whether a turn is repeated, why, and after how many seconds (V-RECOVERY-1)."""
    plan = msgspec.convert(given.get("policy", {}), RecoveryPolicy).plan(
        evidence_from(given["failure"]),
        [RepeatReason[name] for name in given.get("made", ())],
        given["random"],
        wall=given.get("wall"),
        spent=given.get("spent", 0.0),
        only_reads=given.get("only_reads", False),
    )
    return {"plan": None if plan is None else {"reason": plan.reason.name, "delay": plan.delay}}


# --- Where to connect --------------------------------------------------------------------------------------------


def urls(given: Given) -> dict[str, Any]:
    """Where the upgrade goes, and its headers (V-URLS-1)."""
    try:
        place = endpoint(
            given["base_url"], api_key=given.get("api_key"), headers=given.get("headers"), query=given.get("query")
        )
    except UserError as exc:
        return {"refused": type(exc).__name__}
    named = given.get("dialect")
    dialect = dialect_of_host(place.host) if named is None else DIALECTS[named]
    return {
        "url": place.url,
        "socket": place.socket,
        "target": place.target,
        "authority": place.authority,
        "dialect": dialect.name,
        "headers": [
            [name.lower(), value.reveal()]
            for name, value in upgrade_headers(place, dialect, ())
            if name.lower() != "user-agent"
        ],
    }


def proxy(given: Given) -> dict[str, Any]:
    """The proxy that leads there (V-PROXY-1)."""
    try:
        chosen = choose_proxy(given.get("proxy", "env"), endpoint(given["base_url"]), given.get("environment", {}))
    except UserError as exc:
        return {"refused": type(exc).__name__}
    return {"proxy": None if chosen is None else str(chosen)}
