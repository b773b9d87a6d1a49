"""The pytest plugin, as a test author uses it: with anyio, pytest-asyncio and pytest-trio, and in blocking tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = "pytester"

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:xdist", "-o", "asyncio_default_fixture_loop_scope=function")

COMMON = """
import pytest
from turnwire.aio.loopback import AfterEvent, BeforeRun, Cut, Error, Json, Text

pytestmark = pytest.mark.turnwire_serve(reply=["one", "two"], latency=0.0)
"""

PASSING = """
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_anyio(turnwire_session, turnwire_server, anyio_backend):
    response = await turnwire_session.respond(model="m", input="x")
    assert response.output[0].content[0].text == "one"
    assert type(turnwire_session).__module__.startswith("turnwire.aio")
    turnwire_server.expect("completed")


@pytest.mark.asyncio
@pytest.mark.turnwire_fault(BeforeRun(), Error(429, "rate_limit_exceeded"))
@pytest.mark.turnwire_fault(AfterEvent(3), Cut(reset=True), connection=1)
async def test_faults_in_the_order_in_which_they_are_written(turnwire_session, turnwire_server):
    first, second = map(repr, turnwire_server.faults)
    assert "BeforeRun" in first
    assert "AfterEvent" in second
    outcomes = []
    for _ in range(3):
        try:
            outcomes.append((await turnwire_session.respond(model="m", input="x")).status)
        except Exception as error:
            outcomes.append(error.verdict.name)
    assert outcomes[-1] == "completed"
    assert [entry.outcome for entry in turnwire_server.requests].count("cut") == 1


@pytest.mark.turnwire_serve(reply=["of the class"])
class TestMarkers:
    @pytest.mark.asyncio(loop_scope="module")
    async def test_the_class_replaces_the_module(self, turnwire_session):
        response = await turnwire_session.respond(model="m", input="x")
        assert response.output[0].content[0].text == "of the class"

    @pytest.mark.turnwire_serve(reply=[Json({"a": 1})])
    @pytest.mark.turnwire_connect(transport="http")
    @pytest.mark.asyncio(loop_scope="class")
    async def test_the_function_replaces_the_class(self, turnwire_session, turnwire_server):
        response = await turnwire_session.respond(model="m", input="x")
        assert response.output[0].content[0].text == '{"a":1}'
        assert turnwire_server.ledger[0].transport == "sse"


@pytest.mark.trio
async def test_pytest_trio(turnwire_session, turnwire_server):
    assert type(turnwire_session).__module__.startswith("turnwire.trio_shell")
    assert (await turnwire_session.respond(model="m", input="x")).output[0].content[0].text == "one"


def test_of_a_blocking_client(turnwire_server):
    import openai

    with openai.OpenAI(base_url=turnwire_server.base_url, api_key="any") as client:
        assert client.responses.create(model="m", input="x").output_text == "one"
    turnwire_server.expect("completed")


def test_strict_is_the_default(turnwire_server):
    assert turnwire_server.options.strict


@pytest.mark.turnwire_serve(strict=False, api_key="the key")
@pytest.mark.asyncio
async def test_the_session_brings_the_key_that_the_server_wants(turnwire_session, turnwire_server):
    assert not turnwire_server.options.strict
    assert (await turnwire_session.respond(model="m", input="x")).status == "completed"
"""

FAILING = """
def test_session_in_a_blocking_test(turnwire_session):
    pass


@pytest.mark.turnwire_serve("one")
def test_argument_without_a_name(turnwire_server):
    pass


@pytest.mark.turnwire_serve(replies=["one"])
def test_unknown_argument(turnwire_server):
    pass


@pytest.mark.turnwire_serve(reply=[])
@pytest.mark.asyncio
async def test_that_lacks_a_reply(turnwire_session):
    with pytest.raises(Exception):
        await turnwire_session.respond(model="m", input="x")
"""


def test_fixtures_work_with_each_way_to_run_coroutines_and_in_blocking_tests(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytest.importorskip("pytest_trio")
    pytester.makepyfile(COMMON + PASSING)
    result = pytester.runpytest_subprocess(*OPTIONS, "-W", "error", "--strict-markers")
    result.assert_outcomes(passed=9)


def test_mistakes_of_the_author_are_told_in_one_line(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(COMMON + FAILING)
    result = pytester.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(passed=1, errors=4)  # The last one passes, and its server says what was missing.
    result.stdout.fnmatch_lines_random(
        [
            "turnwire_session is for tests that run as coroutines, and test_session_in_a_blocking_test does not: *",
            "the marker turnwire_serve of test_argument_without_a_name takes arguments by name only",
            "*unexpected keyword argument 'replies'*",
            "*ScriptError: *",
        ]
    )


def test_without_plugins_for_coroutines_blocking_tests_work(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(COMMON + "def test(turnwire_server):\n    assert turnwire_server.port")
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-p", "no:trio", "-p", "no:anyio")
    result.assert_outcomes(passed=1)


def test_nothing_but_pytest_is_imported_until_a_fixture_is_used() -> None:
    code = "import sys, pytest; old = {*sys.modules}; import turnwire.pytest_plugin; print(*(sys.modules.keys() - old))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {name.removesuffix("._wanted") for name in out.split()} <= {"turnwire", "turnwire.pytest_plugin"}


def test_markers_and_fixtures_are_told_by_pytest(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--markers", *OPTIONS)
    result.stdout.fnmatch_lines_random(["@pytest.mark.turnwire_serve*", "@pytest.mark.turnwire_fault*"])
