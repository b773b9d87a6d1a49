"""Observers cannot fail a call: loggers, tracers and spans that raise, odd data (PARITY C11, C12)."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types import responses as sdk
from turnwire.sansio.agents.call import ModelArguments, ModelCall, ModelConfig, ModelTracing
from turnwire.sansio.agents.settings import ModelSettings
from turnwire.sansio.agents.tracing import DEBUG, ERROR, WARNING, Observers, OpenTelemetryTracer, shown


class BoomError(Exception):
    pass


class Log:
    """A logger that may raise."""

    def __init__(self, *failing: str, error: type[BaseException] = BoomError) -> None:
        self.failing = failing
        self.error = error
        self.lines: list[tuple[int, str]] = []

    def isEnabledFor(self, level: int) -> bool:
        self.fail("isEnabledFor")
        return True

    def log(self, level: int, msg: str, *args: object) -> None:
        self.fail(str(level))
        line = msg % args
        line.encode()  # As a handler does that writes a file.
        self.lines.append((level, line))

    def fail(self, where: str) -> None:
        if where in self.failing:
            raise self.error(where)


class Spans:
    """A tracer whose spans may raise, and what was done with them."""

    def __init__(self, *failing: str, error: type[BaseException] = BoomError) -> None:
        self.failing = failing
        self.error = error
        self.steps: list[str] = []

    def start_span(self, *, model: str) -> Any:
        return self.step("start_span")

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.step(name)

    def step(self, name: str) -> Any:
        self.steps.append(name)
        if name in self.failing:
            raise self.error(name)
        return self


STEPS = ("start_span", "set_usage", "set_data", "set_error", "end")
LEVELS = (str(DEBUG), str(WARNING), str(ERROR), "isEnabledFor")


def answer(text: str = "fine", **fields: Any) -> sdk.Response:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    return sdk.Response.construct(**{"id": "r", "status": "completed", "output": [message], **fields})


def call_of(log: Log, tracer: Any, given: Any = "hi", *, data: bool = True) -> ModelCall:
    tracing = ModelTracing.ENABLED if data else ModelTracing.ENABLED_WITHOUT_DATA
    arguments = ModelArguments(None, given, ModelSettings(), [], None, [], tracing)
    return ModelCall(ModelConfig("m", True, log, data, tracer=tracer), arguments, stream=False)


def run(call: ModelCall, response: Any) -> Any:
    with call.span():
        call.answer(response)
        return call.result()


@pytest.mark.parametrize("levels", [(), *((level,) for level in LEVELS), LEVELS])
@pytest.mark.parametrize("steps", [(), *((step,) for step in STEPS), STEPS])
def test_whoever_raises_the_answer_is_delivered(steps: tuple[str, ...], levels: tuple[str, ...]) -> None:
    tracer = Spans(*steps)
    assert run(call_of(Log(*levels), tracer), answer()).response_id == "r"
    expected = ["start_span"] if "start_span" in steps else ["start_span", "set_usage", "set_data", "end"]
    assert tracer.steps == expected  # A step that fails keeps none of the others from being taken.


@pytest.mark.parametrize("levels", [(), LEVELS])
@pytest.mark.parametrize("steps", [(), STEPS, ("set_error",), ("end",)])
def test_whoever_raises_the_failure_is_the_calls_own(steps: tuple[str, ...], levels: tuple[str, ...]) -> None:
    failure = RuntimeError("the call's own")
    with pytest.raises(RuntimeError) as caught, call_of(Log(*levels), Spans(*steps)).span():
        raise failure
    assert caught.value is failure
    assert caught.value.__context__ is None


@pytest.mark.parametrize("made", [None, object(), 7])
def test_a_tracer_that_gives_no_span(made: Any) -> None:
    log = Log()
    tracer = SimpleNamespace(start_span=lambda model: made)
    assert run(call_of(log, tracer), answer()).response_id == "r"
    assert [line for level, line in log.lines if level == WARNING] == [
        "The span of a model call failed: AttributeError"
    ]
    assert run(call_of(log, object()), answer()).response_id == "r"


def test_an_observer_that_fails_is_named_once_without_its_words() -> None:
    log = Log()
    run(call_of(log, Spans("set_usage", "set_data", "end")), answer())
    assert [line for level, line in log.lines if level == WARNING] == ["The span of a model call failed: BoomError"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("where", ["start_span", "set_usage", "end", str(DEBUG)])
def test_what_is_no_exception_passes(where: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        run(call_of(Log(where, error=error), Spans(where, error=error)), answer())


# --- Data that JSON or UTF-8 lacks ------------------------------------------------------------------------------------


class Unspeakable:
    def __repr__(self) -> str:
        raise BoomError("no repr")

    def model_dump(self, **_: Any) -> Any:
        raise BoomError("no dump")


class Dumps:
    def model_dump(self, **_: Any) -> Any:
        return {"half": "\ud83d", "nan": float("nan")}


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: Any = []
for _ in range(2000):
    DEEP = [DEEP]

ODD = {
    "half a pair": "ok \ude00 then",
    "another half": {"\ud800": 1},
    "not a number": float("nan"),
    "infinite": 1e400,
    "bytes": b"\xff",
    "an object": object(),
    "a class": Dumps,
    "an object that dumps": Dumps(),
    "an object without a repr": Unspeakable(),
    "a list in itself": LOOP,
    "nested deeply": DEEP,
    "strange keys": {(1, 2): 3, None: 4, 1.5: 5},
    "a set": {1},
    "a large number": 10**400,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_data_is_shown_as_well_as_it_can_be(odd: Any) -> None:
    for value in (odd, [odd], {"output": {"text": odd}}):
        for indent in (None, 2):
            shown(value, indent=indent).encode()


def test_what_json_has_is_shown_as_json() -> None:
    value = {"text": "ünicode", "list": [1, None, 2.5]}
    assert json.loads(shown(value, indent=2)) == json.loads(shown(value)) == value
    assert "ünicode" in shown(value)
    assert json.loads(shown(Dumps())) == {"half": "\ud83d", "nan": pytest.approx(float("nan"), nan_ok=True)}
    assert shown(Unspeakable()) == "(Unspeakable that cannot be shown)"


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_data_in_an_answer_reaches_the_caller_through_every_observer(odd: Any) -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = OpenTelemetryTracer(trace.TracerProvider().get_tracer("t"))
    log = Log()
    whole = {"id": "r", "status": "completed", "output": [{"text": odd}], "usage": None, "model": "m"}
    for name in ("output", "id", "model", "usage", "text"):
        response = SimpleNamespace(object="response", **{**whole, name: odd})
        run(call_of(log, tracer, [{"role": "user", "content": "hi", "note": "x"}]), response)
    assert not [line for level, line in log.lines if level >= WARNING]


def test_an_error_without_words_and_one_with_half_a_pair() -> None:
    class WordlessError(Exception):
        def __str__(self) -> str:
            raise BoomError("no words")

    for error, told in ((WordlessError(), "WordlessError"), (ValueError("half \ud83d"), "half ?")):
        log, tracer = Log(), Spans()
        with pytest.raises(type(error)), call_of(log, tracer).span():
            raise error
        assert log.lines[-1] == (ERROR, f"Error getting response: {told} (request_id: None)")
        assert tracer.steps == ["start_span", "set_error", "end"]


# --- Redaction --------------------------------------------------------------------------------------------------------


class RefusedError(Exception):
    def __init__(self, **particulars: Any) -> None:
        super().__init__("the SECRET words of the prompt")
        self.__dict__.update(particulars)


@pytest.mark.parametrize(
    ("particulars", "told"),
    [
        ({}, "RefusedError (request_id: None)"),
        ({"code": "invalid_prompt", "status": 400}, "RefusedError, code invalid_prompt, status 400 (request_id: None)"),
        ({"request_id": "req_1-a", "status_code": 500}, "RefusedError, status_code 500 (request_id: req_1-a)"),
        ({"code": "a SECRET in many words", "request_id": "SECRET \n"}, "RefusedError (request_id: None)"),
        ({"code": None, "status": [400], "request_id": "x" * 101}, "RefusedError (request_id: None)"),
    ],
)
def test_an_errors_words_are_logged_only_if_data_may_be(particulars: dict[str, Any], told: str) -> None:
    for data in (False, True):
        log, error = Log(), RefusedError(**particulars)
        with pytest.raises(RefusedError), call_of(log, Spans(), data=data).span():
            raise error
        lines = "\n".join(line for _, line in log.lines)
        assert ("SECRET" in lines) is data
        if not data:
            assert log.lines[-1] == (ERROR, f"Error getting response: {told}")


def test_closing_that_failed_is_told_without_words_unless_data_may_be_logged() -> None:
    for data in (False, True):
        log = Log()
        call_of(log, Spans(), data=data).closing_failed(RefusedError())
        assert ("SECRET" in log.lines[-1][1]) is data
        assert "RefusedError" in log.lines[-1][1] or data


def test_a_failure_is_recorded_once() -> None:
    log, tracer = Log(), Spans()
    observers = Observers(log, tracer, doing="streaming", log_data=True, trace_data=True)
    observers.begin("m")
    for _ in range(3):
        observers.failed(ValueError("x"))
    assert tracer.steps == ["start_span", "set_error"]
    assert len(log.lines) == 1
