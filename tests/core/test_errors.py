"""The exceptions: the tree that the docstring draws, what each carries, how each reads; pickles."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import pytest
from turnwire.sansio import errors
from turnwire.sansio.connection._tables import ERRORS, turn_failure
from turnwire.sansio.errors import (
    ConnectionLostError,
    EventDecodeError,
    HandshakeRejectedError,
    MaxTurnsError,
    MissingResponseError,
    ResponsesHTTPError,
    ResponsesWebSocketError,
    RetrievalError,
    StreamEndedError,
    TurnError,
    TurnTimeoutError,
    TurnwireError,
    UnsuccessfulResponseError,
)
from turnwire.sansio.replay import (
    Cause,
    Evidence,
    ModelRetryAdviceRequest,
    Phase,
    Refusal,
    Verdict,
    get_retry_advice,
)

CLASSES: dict[str, type[BaseException]] = {name: getattr(errors, name) for name in errors.__all__}


def evidence(phase: Phase = Phase.AWAIT, cause: Cause = Cause.EOF, **fields: Any) -> Evidence:
    return Evidence(
        phase=phase,
        cause=cause,
        final_byte_handed=phase >= Phase.AWAIT,
        response_started=phase >= Phase.STREAM,
        stateful=False,
        **fields,
    )


# --- The tree --------------------------------------------------------------------------------------------------------


def drawn() -> dict[str, str | None]:
    """Each name in the docstring's tree, and the name above it."""
    assert errors.__doc__ is not None
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"^ {8}([│ ]*(?:├── |└── )?)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1] if depth else None
    return parents


def test_the_tree_in_the_docstring_is_the_tree():
    tree = drawn()
    assert tree.keys() == CLASSES.keys()
    for name, parent in tree.items():
        bases = [base.__name__ for base in CLASSES[name].__bases__ if base.__name__ in CLASSES]
        also = re.findall(rf"{name} .*\(also (\w+)\)", errors.__doc__ or "")
        assert bases == ([parent] if parent else []) + [other for other in also if other in CLASSES], name


def test_every_exception_of_the_module_is_public_and_under_the_root():
    defined = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)]
    assert {kind.__name__ for kind in defined} == CLASSES.keys()
    assert all(issubclass(kind, TurnwireError) for kind in defined)
    assert errors.__all__ == sorted(errors.__all__)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("TurnTimeoutError", TimeoutError),
        ("ResponsesWebSocketError", RuntimeError),
        ("ConcurrentUseError", RuntimeError),
        ("SessionClosedError", RuntimeError),
        ("InvalidStreamIdError", ValueError),
        ("EventDecodeError", ValueError),
    ],
)
def test_some_are_also_pythons_own(name: str, base: type[Exception]):
    assert issubclass(CLASSES[name], base)


# --- What they carry -------------------------------------------------------------------------------------------------


def test_a_turns_failure_carries_its_evidence():
    known = evidence(Phase.STREAM, Cause.PEER_CLOSED, response_id="resp_1", close_code=1011)
    error = ConnectionLostError("lost", evidence=known)
    assert error.evidence is known
    assert (error.verdict, error.cause, error.phase) == (Verdict.UNSAFE, Cause.PEER_CLOSED, Phase.STREAM)
    assert (error.response_id, error.close_code) == ("resp_1", 1011)
    assert str(error) == "lost"


def test_an_error_over_http_is_one_handler_with_that_over_websocket():
    known = evidence(Phase.STREAM, Cause.ERROR_FRAME)
    error = ResponsesHTTPError({"error": {"message": "no plums", "code": 5}}, evidence=known, request_id="req_1")
    assert isinstance(error, ResponsesWebSocketError)
    assert (error.event_type, error.code, error.error_message, error.request_id) == ("error", "5", "no plums", "req_1")
    assert str(error).startswith("Responses HTTP error: {")
    named = ResponsesHTTPError({"request_id": "req_2"}, evidence=known, request_id="req_1")
    assert named.request_id == "req_2"


def test_a_stream_that_ended_is_a_lost_connection_and_a_missing_response():
    error = StreamEndedError("ended", evidence=evidence(Phase.STREAM))
    assert isinstance(error, ConnectionLostError)
    assert isinstance(error, MissingResponseError)
    assert error.unsafe_to_replay is True
    assert StreamEndedError("ended", evidence=evidence(Phase.AWAIT)).unsafe_to_replay is False


def test_a_response_that_is_missing_or_did_not_succeed_ran():
    unsuccessful = UnsuccessfulResponseError("failed", response=None)
    assert (unsuccessful.unsafe_to_replay, unsuccessful.outcome) == (True, "failed")
    for error in (unsuccessful, MissingResponseError("missing")):
        advice = get_retry_advice(ModelRetryAdviceRequest(error))
        assert advice is not None
        assert (advice.suggested, advice.replay_safety) == (False, "unsafe")


def test_a_rejected_handshake_keeps_the_answer():
    headers = {"x-request-id": "req_1"}
    error = HandshakeRejectedError(
        "no", evidence=evidence(Phase.HANDSHAKE, Cause.REJECTED), status=401, headers=headers, body=b"{}"
    )
    headers.clear()
    assert (error.status, error.headers, error.body, error.request_id) == (
        401,
        {"x-request-id": "req_1"},
        b"{}",
        "req_1",
    )
    bare = HandshakeRejectedError("no", evidence=error.evidence, status=500, headers={}, body=b"")
    assert bare.request_id is None


def test_an_unreadable_event_says_whose_it_was():
    error = EventDecodeError("bad", stream_id="a", attributable=True)
    assert (str(error), error.stream_id, error.attributable) == ("bad", "a", True)
    assert (EventDecodeError("bad").stream_id, EventDecodeError("bad").attributable) == (None, False)


FIELDS = ("event_type", "code", "error_type", "error_message", "request_id", "status")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {
                "type": "error",
                "status": 400,
                "request_id": "req_1",
                "error": {"type": "invalid_request_error", "code": "bad", "message": "No.", "request_id": "req_2"},
            },
            ("error", "bad", "invalid_request_error", "No.", "req_1", 400),
        ),
        (
            {"type": "error", "code": "bad", "message": "No.", "param": None},
            ("error", "bad", None, "No.", None, None),
        ),
        (
            {"type": "response.error", "error": {"request_id": "req_2"}},
            ("response.error", None, None, None, "req_2", None),
        ),
        (
            {"error": {"type": 5, "code": 400, "message": ["No."], "request_id": 7}, "request_id": "", "status": "400"},
            ("error", "400", None, "No.", None, 400),
        ),
        ({"type": None, "error": "No.", "status": True}, ("error", None, None, "No.", None, None)),
        ({"type": 5, "error": None, "message": "flat", "status": 4.5}, ("error", None, None, "flat", None, None)),
        ({}, ("error", None, None, None, None, None)),
    ],
)
def test_an_error_message_is_read_nested_and_flat_and_with_odd_types(
    payload: dict[str, Any], expected: tuple[Any, ...]
):
    error = ResponsesWebSocketError(payload, evidence=evidence(cause=Cause.ERROR_FRAME))
    assert tuple(getattr(error, name) for name in FIELDS) == expected
    assert error.payload == payload
    assert error.payload is not payload
    assert str(error).startswith(f"Responses websocket {expected[0]}: {{")


def test_the_message_shows_the_payload_as_it_came():
    payload = {"type": "error", "error": {"message": "Größe"}}
    error = ResponsesWebSocketError(payload, evidence=evidence(), meaning=" — meaning — advice")
    assert str(error) == (
        'Responses websocket error: {"type": "error", "error": {"message": "Größe"}} — meaning — advice'
    )


def test_a_long_payload_is_shortened_in_the_message_only():
    payload = {"message": "x" * 100_000}
    error = ResponsesWebSocketError(payload, evidence=evidence(), meaning=" — meaning")
    assert len(str(error)) < ResponsesWebSocketError.SHOWN + 100
    assert str(error).endswith("x… (100015 characters) — meaning")
    assert error.payload == payload


@pytest.mark.parametrize("words", ["Not today.", 'a "quoted"\n word', "half \ud83d of a pair", "y" * 50_000])
def test_the_servers_words_are_in_the_message_wherever_they_stand(words: str):
    payload = {"input": "x" * 100_000, "error": {"error": {"message": words}}}
    text = str(ResponsesWebSocketError(payload, evidence=evidence(), meaning=" — meaning"))
    assert text.endswith(f": {words[: ResponsesWebSocketError.WORDS].replace(chr(0xD83D), chr(0xFFFD))} — meaning")
    assert len(text) < ResponsesWebSocketError.SHOWN + ResponsesWebSocketError.WORDS + 100
    text.encode()


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def circular() -> dict[str, Any]:
    payload: dict[str, Any] = {"code": "bad"}
    payload["self"] = payload
    return payload


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ({"error": {"code": "bad"}, "deep": nested(100_000)}, "a payload that cannot be shown"),
        (circular(), "a payload that cannot be shown"),
        ({"code": "bad", "object": Cause.EOF}, "Cause.EOF"),
        ({"code": "bad", ("a", "b"): 1}, "a payload that cannot be shown"),
    ],
    ids=["deep", "circular", "no JSON", "a key that is none"],
)
def test_a_payload_that_json_cannot_write_is_no_second_failure(payload: Any, shown: str):
    error = ResponsesWebSocketError(payload, evidence=evidence())
    assert error.code == "bad"
    assert shown in str(error)


# --- How they read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DONE])
@pytest.mark.parametrize("cause", ERRORS)
def test_a_failure_reads_what_happened_what_it_means_what_to_do(cause: Cause, phase: Phase):
    origin = OSError("reset")
    error = turn_failure(evidence(phase, cause), "the connection broke", error=origin)
    parts = str(error).split(" — ")
    assert len(parts) == 3, error
    assert parts[0] == "the connection broke"
    assert all(parts)
    assert type(error) is ERRORS[cause]
    assert error.__cause__ is origin


def test_an_error_message_of_the_server_reads_like_the_others():
    def make(known: Evidence, text: str) -> TurnError:
        return ResponsesWebSocketError({"type": "error"}, evidence=known, meaning=text)

    refused = evidence(cause=Cause.ERROR_FRAME, refusal=Refusal(status=400))
    parts = str(turn_failure(refused, "", make=make)).split(" — ")
    assert parts[0] == 'Responses websocket error: {"type": "error"}'
    assert len(parts) == 3


def test_the_causes_without_a_class_bring_their_own():
    assert set(Cause) - ERRORS.keys() == {Cause.REJECTED, Cause.ERROR_FRAME}


# --- Pickles and copies ----------------------------------------------------------------------------------------------


def made(kind: type[BaseException]) -> Any:
    known = evidence(refusal=Refusal(status=429, headers={"retry-after": "1"}), response_id="resp_1")
    if issubclass(kind, ResponsesWebSocketError):
        return kind({"type": "error", "error": {"code": "bad"}}, evidence=known, meaning=" — m")
    if kind is HandshakeRejectedError:
        return kind("no", evidence=known, status=429, headers={"a": "b"}, body=b"body")
    if issubclass(kind, TurnError):
        return kind("failed", evidence=known)
    if kind is EventDecodeError:
        return kind("bad", stream_id="a", attributable=True)
    if kind is MaxTurnsError:
        return kind("too many", response="the response")
    if kind is UnsuccessfulResponseError:
        return kind("failed", response={"status": "failed"})
    if issubclass(kind, RetrievalError):
        return kind("no", response_id="resp_1", cause=Cause.EOF, status=503, retry_after=1.0, sequence_number=7)
    return kind("said")


@pytest.mark.parametrize("name", CLASSES)
def test_every_exception_can_be_pickled_and_copied(name: str):
    error = made(CLASSES[name])
    copies = [copy.copy(error), copy.deepcopy(error)]
    copies += [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for again in copies:
        assert type(again) is CLASSES[name]
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)
        assert repr(again) == repr(error)


def test_a_copy_of_a_timeout_has_its_verdict():
    again = pickle.loads(pickle.dumps(TurnTimeoutError("late", evidence=evidence(Phase.SEND, Cause.TIMEOUT))))
    assert again.verdict is Verdict.SAFE
    assert again.errno is None
