"""Retrieving a stored response, without sockets: what is requested, what each answer means, what is repeated."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
from collections.abc import Iterator
from typing import Any

import h11
import pytest
from kit.driving import FakeRuntime
from kit.machines import check_text, steady, switching
from kit.stepping import SteppedShell, finished, step
from turnwire.sansio import client
from turnwire.sansio.connection import ConnectionOptions, ResponsesConnection, Turn
from turnwire.sansio.driver import Driver
from turnwire.sansio.endpoint import endpoint
from turnwire.sansio.errors import (
    ResponseNotFoundError,
    RetrievalError,
    RetrievalTimeoutError,
    TurnError,
    UserError,
    WrongTypeError,
)
from turnwire.sansio.evidence import Verdict
from turnwire.sansio.flow import Emit, Steps
from turnwire.sansio.http import HttpConnection, HttpState, Retrieval
from turnwire.sansio.http._retrieval import LONGEST_ID
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import Cause, RecoveryPolicy
from turnwire.sansio.replay._meaning import RETRIEVE
from turnwire.sansio.retries import (
    provider_managed_retries_disabled,
    retries_allowed,
    websocket_pre_event_retries_disabled,
)
from turnwire.sansio.retrieval import retrieve, retrieve_events
from turnwire.sansio.server import (
    Problem,
    StoredResponse,
    StoredResponses,
    WantedResponse,
    check_request,
    wanted_response,
)
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts

ENDPOINT = endpoint("https://server.test/v1", api_key="hush", query={"api-version": "1"})
ITEM = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}
Event = dict[str, Any]


def response(status: str | None = "completed", **more: Any) -> Event:
    return {"id": "resp_1", "object": "response", "status": status, "output": [ITEM], **more}


def lifecycle(kind: str, number: int | None = None, **more: Any) -> Event:
    status = "in_progress" if kind == "created" else kind
    return {"type": f"response.{kind}", "response": response(status, **more), "sequence_number": number}


def delta(number: int | None) -> Event:
    at = {"item_id": "m", "output_index": 0, "content_index": 0}
    return {"type": "response.output_text.delta", **at, "delta": str(number), "sequence_number": number}


def sse(*events: Event) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def answer(body: bytes | Event, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n{more}\r\n".encode() + text


def streamed(*events: Event) -> bytes:
    return answer(sse(*events), kind="text/event-stream")


class Cut(bytes):
    """What comes before the connection ends."""


def cut(*events: Event) -> Cut:
    """A stream that ends too early."""
    return Cut(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nContent-Length: 99999\r\n\r\n" + sse(*events))


def refused(status: int, message: str = "No.", **more: Any) -> bytes:
    headers = more.pop("headers", {})
    return answer({"error": {"message": message, "type": "invalid_request_error", **more}}, status, **headers)


class Service:
    """A session over HTTP, its runtime, and the server: what each request is answered with."""

    def __init__(self, *answers: bytes, **options: Any) -> None:
        self.now = 100.0
        self.answers = list(answers)
        self.requests: list[h11.Request] = []
        options = {"transport": "http", "recovery": RecoveryPolicy(initial_delay=0.5), **options}
        self.session = ResponsesSession(
            options=SessionOptions(**options), random_bytes=steady, retries_allowed=retries_allowed
        )

    # What a flow asks of a runtime.

    def submit(self, turn: Turn) -> Turn:
        return self.session.submit(turn, self.now)

    def cancel(self, turn: Turn) -> None:
        self.session.cancel(turn, self.now)

    async def iterate(self, turn: Turn) -> Any:
        while not turn.events and not turn.ended:
            self.serve()
        event = turn.next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    # What the network does.

    def serve(self) -> None:
        """Answer what was sent; if nothing was, let time pass."""
        while self.session.wants_connection(self.now):
            self.session.transport_connected(self.session.open(ENDPOINT, self.now), self.now)
        for connection in self.session.pool:
            if connection.needs_transport:  # It was redirected.
                self.session.transport_connected(connection, self.now)
        busy = [one for one in self.session.pool if one.has_data_to_send]
        if not busy:
            moment = self.session.next_deadline()
            assert moment is not None
            self.now = max(moment, self.now)
            self.session.handle_deadline(self.now)
        for connection in busy:
            request = h11.Connection(h11.SERVER)
            request.receive_data(connection.data_to_send(1 << 20, self.now))
            self.requests.append(request.next_event())  # type: ignore[arg-type]
            assert isinstance(request.next_event(), h11.EndOfMessage)
            self.give(connection, self.answers.pop(0))

    def give(self, connection: Any, data: bytes) -> None:
        self.session.receive_data(connection, data, self.now)
        while connection.has_unprocessed:
            self.session.process(connection, self.now)
        if isinstance(data, Cut):
            self.session.receive_data(connection, b"", self.now)

    @property
    def targets(self) -> list[str]:
        return [request.target.decode() for request in self.requests]

    def retrieval(self, response_id: str = "resp_1", **wanted: Any) -> Retrieval:
        timeouts = wanted.pop("timeouts", Timeouts())
        return Retrieval(response_id, timeouts=timeouts, now=self.now, **wanted)

    def retrieve(self, response_id: str = "resp_1", **wanted: Any) -> Any:
        return finished(SteppedShell().run(retrieve(self, self.retrieval(response_id, **wanted))))

    def events(self, **wanted: Any) -> list[Any]:
        generator = SteppedShell().iterate(retrieve_events(self, self.retrieval(stream=True, **wanted)))
        return list(iter(lambda: step(generator), None))

    def fails(self, kind: type[RetrievalError] = RetrievalError, **wanted: Any) -> RetrievalError:
        """The error of a retrieval, once it is sure that it says what, what it means, and what to do."""
        with pytest.raises(RetrievalError) as caught:
            self.events(**wanted) if wanted.pop("stream", False) else self.retrieve(**wanted)
        error = caught.value
        assert type(error) is kind
        assert (error.response_id, error.__context__) == ("resp_1", None)
        assert not hasattr(error, "verdict")
        assert "the verdict of its turn stays what it was" in str(error)
        assert "hush" not in str(error)
        check_text(error)
        return error


def numbers(events: list[Any]) -> list[int | None]:
    return [event.sequence_number for event in events]


# --- What is requested -----------------------------------------------------------------------------------------------


def test_the_request_is_a_get_of_the_id_below_the_endpoint() -> None:
    """P-RETRIEVE-1, P-RETRIEVE-2."""
    service = Service(answer(response()), streamed(lifecycle("completed")), streamed(lifecycle("completed", 8)))
    service.retrieve()
    service.events(include=["a.b", "c&d=e"])
    service.events(starting_after=7)
    assert service.targets == [
        "/v1/responses/resp_1?api-version=1",
        "/v1/responses/resp_1?api-version=1&include[]=a.b&include[]=c%26d%3De&stream=true",
        "/v1/responses/resp_1?api-version=1&stream=true&starting_after=7",
    ]
    heads = [dict(request.headers) for request in service.requests]
    assert {request.method for request in service.requests} == {b"GET"}
    assert [head[b"accept"] for head in heads] == [b"application/json"] + [b"text/event-stream, application/json"] * 2
    assert all(head[b"authorization"] == b"Bearer hush" and head[b"host"] == b"server.test" for head in heads)
    assert not {b"content-type", b"content-length", b"transfer-encoding"} & {name for head in heads for name in head}
    assert (service.session.stats.connections, service.session.stats.retrievals) == (1, 3)


@pytest.mark.parametrize(
    ("response_id", "segment"),
    [
        ("a/b?c#d&e=f%2f", "a%2Fb%3Fc%23d%26e%3Df%252f"),
        ("../x", "..%2Fx"),
        ("é😀 ", "%C3%A9%F0%9F%98%80%20"),
        ("...", "..."),
        ("x" * LONGEST_ID, "x" * LONGEST_ID),
    ],
)
def test_an_id_stays_within_its_segment(response_id: str, segment: str) -> None:
    """P-RETRIEVE-3."""
    place = endpoint("http://h.test")
    request = Retrieval(response_id, timeouts=Timeouts(), now=0.0).request(place)
    assert request.target.decode() == f"/responses/{segment}"


@pytest.mark.parametrize(
    "response_id",
    [
        "",
        ".",
        "..",
        "a\r\nX: y",
        "a\0",
        "\ud800",
        "x" * (LONGEST_ID + 1),
        "é" * LONGEST_ID,
        "x" * 10_000_000,
        " \u2028",
    ],
    ids=lambda each: f"{each[:9]!r}-{len(each)}",
)
def test_an_id_that_no_response_has_is_refused_before_anything_is_sent(response_id: str) -> None:
    """P-RETRIEVE-3."""
    service = Service()
    with pytest.raises(UserError) as caught:
        service.retrieve(response_id)
    assert len(str(caught.value)) < 300
    assert not service.session.wants_connection(service.now)


@pytest.mark.parametrize(
    "wrong",
    [
        {"response_id": None},
        {"response_id": b"resp_1"},
        {"starting_after": "1"},
        {"starting_after": True},
        {"include": "a"},
        {"include": 3},
        {"include": [None]},
        {"include": ["a\n"]},
    ],
    ids=str,
)
def test_an_argument_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(WrongTypeError):
        Service().retrieval(**{"response_id": "resp_1", **wrong})
    with pytest.raises(UserError):
        Service().retrieval(starting_after=-1)


def test_a_retrieval_shows_no_more_than_its_id() -> None:
    assert repr(Service().retrieval("a" * 99)).startswith("<Retrieval phase=LANE_WAIT response_id='aaa")
    assert len(repr(Service().retrieval("a" * 999))) < 140


# --- A response as it is now -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["queued", "in_progress", "completed", "failed", "incomplete", "cancelled", "new", None]
)
def test_a_response_is_given_whatever_its_status(status: str | None) -> None:
    """P-RETRIEVE-1."""
    body = response(status, usage={"input_tokens": 1}, error={"code": "x", "message": "y"}, tomorrow=[1])
    found = Service(answer(body)).retrieve()
    assert (found.status, found.id, found.output_text) == (status, "resp_1", "Hi.")
    assert found.to_dict() == body


def test_a_response_without_its_id_is_the_one_that_was_asked_for() -> None:
    """P-RETRIEVE-5."""
    assert Service(answer({"status": "completed", "output": []})).retrieve().id == "resp_1"


def test_the_connection_is_kept_and_no_turn_is_counted() -> None:
    """P-RETRIEVE-4."""
    service = Service(*[answer(response("in_progress"))] * 3)
    for _ in range(3):
        service.retrieve()
    stats = service.session.stats
    assert (stats.connections, stats.retrievals) == (1, 3)
    assert (stats.turns, stats.http_turns, stats.completed, stats.failed, stats.repeated) == (0, 0, 0, 0, 0)


def test_a_server_that_streams_although_nobody_asked_is_read_to_the_end() -> None:
    assert Service(streamed(lifecycle("created", 0), lifecycle("completed", 1))).retrieve().status == "completed"


BAD: dict[str, tuple[bytes, str]] = {
    "another response": (answer(response(id="resp_2")), "is about another response, 'resp_2'"),
    "a page": (answer(b"<html>Hello</html>", kind="text/html"), "is no response .text/html., but '<html>Hello</html>'"),
    "half a text": (answer(b'{"id":"resp_1","status":"comp'), "is no response"),
    "two values": (answer(b'{"id":"resp_1","output":[]},"id":{"id":1}'), "is no response"),
    "a list": (answer(b"[]"), "is no response"),
    "nothing": (answer(b"", kind="x"), "no body"),
    "deep": (answer(b'{"id":' * 100_000), "is no response"),
    "no text": (answer(b"\xff\xfe"), "is no response"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_answer_that_is_not_this_response_is_an_error_at_once(case: str) -> None:
    """P-RETRIEVE-5."""
    data, text = BAD[case]
    error = Service(data).fails()
    assert error.cause is Cause.PROTOCOL
    assert (error.status, error.sequence_number) == (None, None)
    with pytest.raises(RetrievalError, match=text):
        raise error


def test_a_status_of_a_wrong_type_is_read_as_missing() -> None:
    found = Service(answer(response([1]))).retrieve()  # type: ignore[arg-type]
    assert (found.status, found.output_text) == (None, "Hi.")


def test_an_answer_that_is_too_large_is_cut_off() -> None:
    """P-RETRIEVE-5."""
    large = answer(response(metadata={"x": "y" * 5000}))
    packed = answer(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip")
    for data in (large, packed):
        service = Service(data, max_message_size=4096)
        assert service.fails().cause is Cause.PROTOCOL
        assert service.session.connection is None


def test_a_body_without_an_end_is_waited_for_no_longer_than_the_deadline() -> None:
    service = Service()
    retrieval = service.submit(service.retrieval(timeouts=Timeouts(receive=5.0)))
    (connection,) = [service.session.open(ENDPOINT, service.now)]
    service.session.transport_connected(connection, service.now)
    connection.data_to_send(1 << 20, service.now)
    service.session.receive_data(connection, b"HTTP/1.1 200 X\r\nContent-Length: 9999\r\n\r\n", service.now)
    for _ in range(5):
        service.now += 1.0
        assert not retrieval.ended
        service.session.receive_data(connection, b" ", service.now)
        service.session.handle_deadline(service.now)
    assert retrieval.ended
    assert isinstance(retrieval.failure, TimeoutError)


# --- Failures --------------------------------------------------------------------------------------------------------


def test_a_response_that_is_not_there_says_what_that_means() -> None:
    """P-RETRIEVE-7."""
    data = refused(404, "Response with id 'resp_1' not found.", headers={"x_request_id": "req_1"})
    error = Service(data).fails(ResponseNotFoundError)
    assert (error.status, error.request_id, error.cause) == (404, "req_1", Cause.ERROR_FRAME)
    assert "not stored, is gone" in str(error)
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


@pytest.mark.parametrize("status", [300, 301, 400, 401, 403, 405, 410, 422])
def test_an_error_that_will_not_pass_is_not_repeated(status: int) -> None:
    """R-RETRIEVE-1."""
    service = Service(refused(status, code="wrong"))
    error = service.fails()
    assert (error.status, error.code, len(service.requests)) == (status, "wrong", 1)
    assert ("check the API key" in str(error)) is (status == 401)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_an_error_that_may_pass_is_repeated(status: int) -> None:
    """R-RETRIEVE-1."""
    service = Service(answer(b"<html>", status, "text/html"), refused(status), answer(response()))
    assert service.retrieve().status == "completed"
    assert len(service.requests) == 3
    assert 0.5 <= service.now - 100.0 <= 1.5


@pytest.mark.parametrize("code", ["insufficient_quota", "usage_limit_reached"])
def test_a_budget_that_is_used_up_is_not_waited_for(code: str) -> None:
    """P-DEFAULT-9, R-RETRIEVE-1."""
    assert Service(refused(429, code=code, headers={"retry_after": "1"})).fails().code == code


def test_the_server_says_how_long_to_wait() -> None:
    """R-RETRIEVE-1."""
    service = Service(refused(503, headers={"retry_after": "30"}), answer(response()))
    service.retrieve()
    assert service.now == 130.0
    error = Service(refused(429, headers={"retry_after": "61"})).fails()
    assert error.retry_after == 61.0
    assert "longer than max_retry_after" in str(error)


def test_it_fails_after_as_many_attempts_as_the_policy_says() -> None:
    """R-RETRIEVE-1."""
    service = Service(*[refused(503)] * 3, recovery=RecoveryPolicy(attempts=2))
    assert service.fails().status == 503
    assert len(service.requests) == 3


def test_the_policy_may_refuse() -> None:
    """R-RETRIEVE-1."""
    asked: list[TurnError] = []
    policy = RecoveryPolicy(should_repeat=lambda failure: bool(asked.append(failure)))
    assert Service(refused(503), recovery=policy).fails().status == 503
    assert len(asked) == 1


@pytest.mark.parametrize("switch", [provider_managed_retries_disabled, websocket_pre_event_retries_disabled])
def test_whoever_repeats_by_himself_gets_the_first_failure(switch: Any) -> None:
    """R-RETRIEVE-1, by R-RECOVER-10."""
    with switch():
        assert Service(refused(503)).fails().status == 503


def test_it_is_not_repeated_where_the_wait_would_pass_its_deadline() -> None:
    """R-RETRIEVE-1, by R-RECOVER-8."""
    service = Service(refused(503, headers={"retry_after": "9"}))
    assert service.fails(timeouts=Timeouts(total=8.0)).status == 503
    assert service.now == 100.0


def test_while_it_waits_to_be_repeated_turns_go_on_and_connections_are_opened() -> None:
    """R-RETRIEVE-2."""
    service = Service(refused(503, headers={"retry_after": "9"}), transport="websocket")
    retrieval = service.submit(service.retrieval())
    service.serve()
    assert (retrieval.ended, retrieval.connection) == (False, None)
    turn = service.session.create({"input": "x"}, lane=AUTO, now=service.now)
    assert service.session.wants_connection(service.now)
    assert turn.connection is None
    connection = service.session.open(ENDPOINT, service.now)
    assert (turn.connection, retrieval.connection, retrieval.ended) == (connection, None, False)


def test_what_happens_to_it_changes_no_turn() -> None:
    """R-RETRIEVE-4."""
    before = failure_of(lifecycle("created", 0))
    evidence = before.evidence
    error = Service(Cut(), Cut(), recovery=RecoveryPolicy(attempts=1, initial_delay=0.0)).fails()
    assert not isinstance(error, TurnError)
    assert not {"verdict", "evidence", "unsafe_to_replay"} & set(dir(error))
    assert before.evidence is evidence
    assert evidence.verdict is Verdict.UNSAFE


def test_a_connection_that_breaks_costs_nothing_but_time() -> None:
    """R-RETRIEVE-1, R-RECOVER-16.

    Before the answer, in its head, and in its body: a GET may be repeated (REPLAY.md, "Retrieval").
    """
    service = Service(Cut(), Cut(b"HTTP/1.1 200"), cut(), answer(response()))
    assert service.retrieve().status == "completed"
    assert len(service.requests) == 4


def test_a_server_that_cannot_be_reached_is_tried_again() -> None:
    """R-RETRIEVE-1."""
    service = Service(answer(response()))
    retrieval = service.submit(service.retrieval())
    service.session.transport_failed(service.session.open(ENDPOINT, service.now), "refused", service.now)
    assert not retrieval.ended
    assert finished(SteppedShell().run(_ended(service, retrieval))) == "completed"


def _ended(service: Service, retrieval: Turn) -> Iterator[Any]:
    while not retrieval.ended:
        service.serve()
    return retrieval.response.status  # type: ignore[union-attr]
    yield


def test_what_could_not_be_opened_is_the_cause() -> None:
    service = Service(recovery=RecoveryPolicy(attempts=0))
    steps = Steps(retrieve(service, service.retrieval()))
    steps.next()
    reason = OSError("refused")
    service.session.transport_failed(service.session.open(ENDPOINT, service.now), "refused", service.now, reason)
    with pytest.raises(TurnError) as failure:
        finished(service.iterate(service_turn(steps)))
    steps.failed(failure.value)
    with pytest.raises(RetrievalError, match=r"could not connect to server\.test: refused — the response") as caught:
        steps.next()
    assert caught.value.__cause__ is reason


def service_turn(steps: Steps[Any, Any]) -> Turn:
    return steps._flow.gi_yieldfrom.gi_frame.f_locals["turn"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("timeouts", [Timeouts(receive=3.0), Timeouts(total=3.0)])
def test_a_deadline_is_a_timeout_error(timeouts: Timeouts) -> None:
    """P-RETRIEVE-7."""
    error = Service(b"HTTP/1.1 200 X\r\n").fails(RetrievalTimeoutError, timeouts=timeouts)
    assert isinstance(error, TimeoutError)
    assert error.cause is Cause.TIMEOUT


def test_closing_the_session_ends_it() -> None:
    service = Service()
    retrieval = service.submit(service.retrieval())
    service.session.close(service.now)
    assert retrieval.failure is not None
    assert retrieval.failure.cause is Cause.CLIENT_CLOSED
    assert service.session.stats.failed == 0


def test_a_redirect_is_followed_for_this_request_only() -> None:
    """P-RETRIEVE-5."""
    moved = answer(b"", 307, Location="/v2/responses/there?x=y")
    service = Service(moved, refused(503), answer(response()), answer(response()))
    service.retrieve()
    service.retrieve()
    assert service.targets == [
        "/v1/responses/resp_1?api-version=1",
        "/v2/responses/there?x=y",
        *["/v1/responses/resp_1?api-version=1"] * 2,
    ]
    error = Service(answer(b"", 307, Location="https://elsewhere.test/")).fails()
    assert "a redirect that is not followed" in str(error)


# --- The events of a response in the background ----------------------------------------------------------------------


def test_the_events_after_a_number_come_once_each() -> None:
    """P-RETRIEVE-6: A server that does not know ``starting_after`` begins with the first."""
    all_of_them = [
        lifecycle("created", 0),
        delta(1),
        delta(2),
        delta(None),
        delta(2),
        delta(3),
        lifecycle("completed", 4),
    ]
    events = Service(streamed(*all_of_them)).events(starting_after=1)
    assert numbers(events) == [2, None, 3, 4]
    assert events[-1].response.output_text == "Hi."
    assert numbers(Service(streamed(*all_of_them)).events()) == [0, 1, 2, None, 3, 4]


def test_the_event_that_ends_the_response_comes_whatever_its_number() -> None:
    """P-RETRIEVE-6."""
    assert numbers(Service(streamed(delta(0), lifecycle("completed", 1))).events(starting_after=9)) == [1]


@pytest.mark.parametrize("kind", ["completed", "failed", "incomplete", "cancelled"])
def test_a_stream_ends_with_the_response_whatever_its_outcome(kind: str) -> None:
    (event,) = Service(streamed(lifecycle(kind, 5))).events(starting_after=4)
    assert (event.type, event.response.status) == (f"response.{kind}", kind)


def test_a_response_without_output_is_completed_only_from_a_stream_that_is_whole() -> None:
    done = {"type": "response.output_item.done", "output_index": 0, "item": ITEM, "sequence_number": 1}
    data = streamed(lifecycle("created", 0), done, lifecycle("completed", 2, output=[]))
    assert Service(data).events()[-1].response.output_text == "Hi."
    assert Service(data).events(starting_after=0)[-1].response.output_text == ""


def test_a_stream_that_is_cut_goes_on_where_it_stopped() -> None:
    """R-RETRIEVE-3."""
    service = Service(
        cut(lifecycle("created", 0), delta(1)),
        cut(delta(2)),
        streamed(delta(1), delta(2), delta(3), lifecycle("completed", 4)),
    )
    assert numbers(service.events()) == [0, 1, 2, 3, 4]
    assert [target.partition("stream=true")[2] for target in service.targets] == [
        "",
        "&starting_after=1",
        "&starting_after=2",
    ]


def test_a_stream_that_fails_says_where_to_go_on() -> None:
    service = Service(cut(lifecycle("created", 0), delta(1)), recovery=RecoveryPolicy(attempts=0))
    error = service.fails(stream=True)
    assert (error.cause, error.sequence_number) == (Cause.EOF, 1)
    assert Service(refused(401)).fails(stream=True, starting_after=7).sequence_number == 7


def test_a_server_without_streams_gives_the_response_if_it_has_ended() -> None:
    """P-RETRIEVE-6."""
    events = Service(answer(response())).events(starting_after=7)
    assert [(event.type, event.response.output_text) for event in events] == [("response.completed", "Hi.")]
    error = Service(answer(response("in_progress"))).fails(stream=True, starting_after=7)
    assert "a response that has not ended" in str(error)


@pytest.mark.parametrize(
    "bad",
    [
        streamed(lifecycle("created", 0, id="resp_2"), lifecycle("completed", 1)),
        answer(response(id="resp_2")),
    ],
    ids=["an event", "a document"],
)
def test_a_stream_of_another_response_is_an_error(bad: bytes) -> None:
    assert "another response, 'resp_2'" in str(Service(bad).fails(stream=True))


def test_an_error_in_the_stream_ends_it() -> None:
    error = {"type": "error", "code": "server_error", "message": "Broken.", "sequence_number": 1}
    caught = Service(streamed(delta(0), error)).fails(stream=True)
    assert (caught.code, caught.sequence_number) == ("server_error", 0)
    assert "Broken." in str(caught)
    said = answer({"error": {"message": "Not here.", "type": "invalid_request_error"}})
    assert "Not here." in str(Service(said).fails(stream=True))


def test_events_that_came_before_do_not_keep_a_stream_alive() -> None:
    """P-RETRIEVE-6."""
    service = Service()
    retrieval = service.submit(service.retrieval(stream=True, starting_after=9, timeouts=Timeouts(receive=2.0)))
    connection = service.session.open(ENDPOINT, service.now)
    service.session.transport_connected(connection, service.now)
    connection.data_to_send(1 << 20, service.now)
    for number in range(3):
        service.session.receive_data(connection, (cut(delta(0)) if not number else sse(delta(number))), service.now)
        service.now += 1.0
        service.session.handle_deadline(service.now)
    assert retrieval.ended
    assert not retrieval.events


def test_leaving_a_stream_ends_its_connection() -> None:
    service = Service()
    steps = Steps(retrieve_events(service, service.retrieval(stream=True)))
    steps.next()
    turn = service_turn(steps)
    connection = service.session.open(ENDPOINT, service.now)
    service.session.transport_connected(connection, service.now)
    connection.data_to_send(1 << 20, service.now)
    service.session.receive_data(connection, cut(delta(0)), service.now)
    steps.succeeded(finished(service.iterate(turn)))
    emitted = steps.next()
    assert isinstance(emitted, Emit)
    steps.failed(GeneratorExit())
    with pytest.raises(GeneratorExit):
        steps.next()
    assert connection.state is HttpState.CLOSED
    assert turn.failure is not None
    assert turn.failure.cause is Cause.CANCELLED


# --- In a session ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "auto", "http"])
def test_it_goes_over_http_beside_whatever_there_is(transport: Any) -> None:
    """P-RETRIEVE-4."""
    service = Service(answer(response()), transport=transport)
    if transport != "http":
        first = service.session.open(ENDPOINT, service.now)
        service.session.transport_connected(first, service.now)
        first.data_to_send(1 << 20, service.now)
        service.session.receive_data(first, switching(), service.now)
    assert service.retrieve().status == "completed"
    kinds = [type(one) for one in service.session.pool]
    assert kinds == ([] if transport == "http" else [ResponsesConnection]) + [HttpConnection]
    assert service.session.fell_back is False


def test_retrievals_and_turns_do_not_wait_for_each_other() -> None:
    """P-RETRIEVE-4.

    R-RETRIEVE-2. One slot of each kind: what waits for the one does not hold up what waits for the other.
    """
    service = Service(transport="websocket", max_in_flight=1)
    turn = service.session.create({"input": "x"}, lane=AUTO, now=service.now)
    retrievals = [service.submit(service.retrieval(f"resp_{number}")) for number in range(3)]
    http = service.session.open(ENDPOINT, service.now)
    assert isinstance(http, HttpConnection)
    assert service.session.wants_connection(service.now)
    websocket = service.session.open(ENDPOINT, service.now)
    assert isinstance(websocket, ResponsesConnection)
    assert turn.connection is websocket
    assert [one.connection for one in retrievals] == [http, None, None]
    assert not service.session.wants_connection(service.now)
    service.session.cancel(retrievals[1], service.now)
    service.session.transport_connected(http, service.now)
    http.data_to_send(1 << 20, service.now)
    service.give(http, answer(response(id="resp_0")))
    assert [one.connection for one in retrievals] == [http, None, http]
    assert (retrievals[0].ended, len(service.session._backlog)) == (True, 0)
    service.session.close(service.now)
    assert all(one.ended for one in retrievals)


def test_what_a_websocket_said_of_the_server_is_known_after_a_retrieval() -> None:
    service = Service(answer(response()), transport="auto")
    driver = Driver(service.session, FakeRuntime(), lambda: ENDPOINT)
    websocket = service.session.open(ENDPOINT, service.now)
    service.session.transport_connected(websocket, service.now)
    websocket.data_to_send(1 << 20, service.now)
    service.session.receive_data(websocket, switching(more="x-turnwire-dialect: openai\r\n"), service.now)
    before = driver.dialect
    service.retrieve()
    assert isinstance(service.session.connection, HttpConnection)
    assert driver.dialect is before is websocket.dialect


def test_an_idle_websocket_is_not_closed_because_of_a_retrieval() -> None:
    """P-POOL-11: its memory is nowhere else."""
    service = Service(answer(response()), transport="auto", ping_interval=None, max_idle=60.0)
    websocket = service.session.open(ENDPOINT, service.now)
    service.session.transport_connected(websocket, service.now)
    websocket.data_to_send(1 << 20, service.now)
    service.session.receive_data(websocket, switching(), service.now)
    service.now += 50.0
    service.retrieve()
    assert len(service.session.pool) == 2
    assert service.session.next_deadline() == service.now + 60.0
    service.now += 60.0
    service.session.handle_deadline(service.now)
    assert list(service.session.pool) == [websocket]


def test_a_turn_in_the_background_goes_over_http() -> None:
    """P-CLIENT-3."""
    service = Service(transport="auto")
    turn = service.session.create({"input": "x", "background": True}, lane=AUTO, now=service.now)
    connection = service.session.open(ENDPOINT, service.now)
    service.session.transport_connected(connection, service.now)
    assert b'"background":true' in connection.data_to_send(1 << 20, service.now)
    assert turn.transport == "http"
    strict = Service(transport="websocket")
    with pytest.raises(UserError, match="background=True does not exist on a WebSocket"):
        strict.session.create({"input": "x", "background": True}, now=strict.now)
    assert len(strict.session._backlog) == 0


# --- From a failure to its response ----------------------------------------------------------------------------------


def failure_of(*events: Event, **body: Any) -> TurnError:
    connection = HttpConnection(ENDPOINT, options=ConnectionOptions(), now=0.0)
    turn = Turn.from_body({"input": "x", **body}, lane=None, timeouts=Timeouts(), now=0.0)
    connection.submit(turn, 0.0)
    connection.transport_connected(0.0)
    connection.data_to_send(1 << 20, 0.0)
    connection.receive_data(cut(*events), 0.0)
    connection.receive_data(b"", 0.0)
    assert turn.failure is not None
    return turn.failure


def test_the_failure_of_a_turn_leads_to_its_response() -> None:
    """P-RETRIEVE-8."""
    error = failure_of(lifecycle("created", 0), delta(1), delta(2))
    assert (error.verdict, error.response_id, error.sequence_number) == (Verdict.UNSAFE, "resp_1", 2)
    assert f" — {RETRIEVE}" in str(error)
    assert failure_of(lifecycle("created", 3)).sequence_number == 3
    assert failure_of(lifecycle("created", None), store=True).sequence_number is None


def test_no_failure_leads_to_what_is_not_stored_or_has_no_id() -> None:
    """P-RETRIEVE-8."""
    for error in (failure_of(lifecycle("created", 0), store=False), failure_of(delta(0)), failure_of()):
        assert error.verdict is Verdict.UNSAFE
        assert RETRIEVE not in str(error)


# --- The doors -------------------------------------------------------------------------------------------------------


def session_of(shell: SteppedShell) -> Any:
    class DoorTurn(client.Turn, shell=shell):
        pass

    class DoorSession(client.Session[Any], shell=shell):
        _turn = DoorTurn

    class DoorConnecting(client.Connecting[DoorSession], shell=shell):
        _session = DoorSession

    return finished(client.connect(DoorConnecting, "http://h.test/v1"))


class Ended:
    type = "response.completed"
    response = "the response"


def test_the_doors_of_a_session() -> None:
    shell = SteppedShell()
    session = session_of(shell)
    done = shell.runtimes[0].done
    shell.script[:] = [Ended()]
    assert finished(session.retrieve("resp_1", timeout=Timeouts(total=5.0))) == "the response"
    assert done == ["connect", "submit None 5.0", "cancel"]
    done.clear()
    shell.script[:] = ["one", "two"]
    stream = session.retrieve_stream("resp_1", starting_after=3)
    assert done == [], "nothing is sent before it is iterated over"
    assert list(iter(lambda: step(stream), None)) == ["one", "two"]
    assert done == ["submit None None", "cancel"]
    with pytest.raises(UserError):
        session.retrieve_stream("")
    with pytest.raises(UserError):
        finished(session.retrieve(""))
    with pytest.raises(UserError):
        finished(session.retrieve("resp_1", timeout=-1))


# --- The server's side -----------------------------------------------------------------------------------------------

PATH = "/v1/responses"


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("/v1/responses/resp_1", WantedResponse("resp_1")),
        ("/v1/responses/a%2Fb%20?include[]=x&tomorrow=1", WantedResponse("a/b ")),
        ("/v1/responses/r?stream=true&starting_after=7", WantedResponse("r", True, 7)),
        ("/v1/responses/r?stream=false", WantedResponse("r")),
        ("/v1/responses", None),
        ("/v1/responses/", None),
        ("/v1/responses/r/cancel", None),
        ("/v1/response", None),
    ],
)
def test_what_a_request_wants(target: str, wanted: WantedResponse | None) -> None:
    assert wanted_response(target, PATH) == wanted


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=1", "stream"),
        ("starting_after=1", "starting_after"),
        ("stream=true&starting_after=", "starting_after"),
        ("stream=true&starting_after=-2", "starting_after"),
        ("stream=true&starting_after=²", "starting_after"),
        (f"stream=true&starting_after={'9' * 5000}", "starting_after"),
    ],
    ids=lambda each: each[:40],
)
def test_a_query_that_cannot_be_is_refused(query: str, param: str) -> None:
    problem = wanted_response(f"{PATH}/r?{query}", PATH)
    assert isinstance(problem, Problem)
    assert (problem.status, problem.param) == (400, param)


def test_a_stored_response_is_what_its_events_say() -> None:
    stored = StoredResponse({})
    events = stored.record([lifecycle("created"), delta(None), lifecycle("completed")])
    assert (stored.response, stored.ended) == (None, False)
    next(events)
    assert (stored.response, stored.ended) == (response("in_progress"), False)
    list(events)
    assert (stored.response, stored.ended, stored.events) == (response(), True, [])
    stored.stop("cancelled")
    assert stored.response == response()


def test_a_response_in_the_background_keeps_its_events_and_says_when_there_is_one() -> None:
    stored, woken = StoredResponse({"background": True}), []
    stored.listeners.add(lambda: woken.append(len(stored.events)))
    for _ in stored.record([lifecycle("created"), delta(None)]):
        pass
    assert woken == [1, 2]
    assert [event["sequence_number"] for event in stored.events_after(0)] == [1]
    stored.stop("cancelled")
    assert (stored.response, stored.ended) == (response("cancelled"), True)
    unborn = StoredResponse({})
    unborn.stop("cancelled")
    assert (unborn.response, unborn.ended) == (None, False)


def test_the_store_finds_what_it_may_give() -> None:
    store = StoredResponses(limit=2)
    for name, request in {"old": {}, "front": {}, "back": {"background": True}, "none": {"store": False}}.items():
        stored = StoredResponse(request)
        list(stored.record([lifecycle("completed")]))
        store.keep(name, stored)
    store.keep("unborn", StoredResponse({}))
    assert isinstance(store.find(WantedResponse("back", stream=True)), StoredResponse)
    for name, status in {"old": 404, "front": 404, "none": 404, "unborn": 404}.items():
        assert getattr(store.find(WantedResponse(name)), "status", None) == status
    front = StoredResponse({})
    list(front.record([lifecycle("completed")]))
    store.keep("front", front)
    problem = store.find(WantedResponse("front", stream=True))
    assert isinstance(problem, Problem)
    assert (problem.status, problem.param) == (400, "stream")


def test_background_is_for_http_and_for_what_is_stored() -> None:
    assert check_request({"background": True}, may_run_in_background=True) is None
    for request, param in (({"background": True, "store": False}, "store"), ({"background": 1}, "background")):
        problem = check_request(request, may_run_in_background=True)
        assert problem is not None
        assert problem.param == param
