"""The trio shell needs neither anyio nor asyncio nor, without a model, openai: programs in processes that forbid them.

The server is in this process, and is of the other shell.
"""

from __future__ import annotations

import subprocess
import sys

import anyio
import pytest
from kit.processes import run_python
from kit.strict_server import serve

FORBID = '''
import builtins, sys

def forbid(names, but_inside=()):
    """From now on, importing these raises; but not where one of those packages does so, be it indirectly."""

    def importing():
        frame = sys._getframe(2)
        while frame is not None:
            yield frame.f_globals.get("__name__", "").partition(".")[0]
            frame = frame.f_back

    def guarded(name, globals=None, locals=None, fromlist=(), level=0, *, real=builtins.__import__):
        if level == 0 and name.partition(".")[0] in names and not set(but_inside) & set(importing()):
            raise ImportError(f"{(globals or {}).get('__name__')} imports {name}, which is forbidden here")
        return real(name, globals, locals, fromlist, level)

    class Finder:
        """For importlib.import_module(), which does not ask builtins.__import__."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.partition(".")[0] in names and not set(but_inside) & set(importing()):
                raise ImportError(f"{name} is forbidden here")

    builtins.__import__ = guarded
    sys.meta_path.insert(0, Finder)
'''

SESSION = """
forbid({"anyio", "asyncio", "openai", "httpx"})
import trio
from turnwire.trio_shell import ConnectError, SessionOptions, Timeouts, Verdict, connect

async def main(base_url):
    async with connect(base_url, api_key="key", options=SessionOptions(max_age=60)) as session:
        async with session.create(model="m", input="one two", timeout=Timeouts(receive=30)) as turn:
            types = [event.type async for event in turn]
        assert types[-1] == "response.completed" and turn.result().output_text == "one two"
        texts = {}

        async def ask(lane):
            texts[lane] = (await session.respond(model="m", input=lane, stream_id=lane)).output_text

        async with trio.open_nursery() as nursery:
            for lane in ("a", "b", "c"):
                nursery.start_soon(ask, lane)
        assert texts == {"a": "a", "b": "b", "c": "c"}
        with trio.move_on_after(0):
            await session.respond(model="m", input="never")
        stats = session.stats
    assert stats.connections == 1, stats
    assert stats.completed in (4, 5), stats  # The last one's answer may be there before it is left.
    try:
        async with connect("http://127.0.0.1:1/v1"):
            pass
    except ConnectError as exc:
        assert exc.verdict is Verdict.SAFE

trio.run(main, sys.argv[1])
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"anyio", "asyncio", "openai", "httpx"}, loaded
"""

MODELS = """
forbid({"anyio", "asyncio"}, but_inside={"openai", "httpx", "httpcore"})
from contextlib import aclosing
import trio
from openai import AsyncOpenAI
from turnwire.trio_shell import ModelSettings, ModelTracing, OpenAIResponsesModel, OpenAIResponsesWSModel

async def main(base_url):
    async with AsyncOpenAI(base_url=base_url, api_key="key", max_retries=0) as client:
        for kind in (OpenAIResponsesWSModel, OpenAIResponsesModel):
            model = kind("m", client)
            call = (None, "one two", ModelSettings(), [], None, [], ModelTracing.DISABLED)
            response = await model.get_response(*call)
            assert response.output[0].content[0].text == "one two"
            async with aclosing(model.stream_response(*call)) as events:
                assert [event.type async for event in events][-1] == "response.completed"
            await model.close()

trio.run(main, sys.argv[1])
"""


@pytest.mark.anyio
@pytest.mark.parametrize("program", [SESSION, MODELS], ids=["session", "models"])
async def test_a_program_runs_where_importing_anyio_raises(program):
    async with serve() as server:
        command = [sys.executable, "-W", "error", "-c", FORBID + program, server.base_url]
        done = await anyio.run_process(command, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(server.ledger) >= 4


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("name", ["anyio", "asyncio", "openai"])
def test_the_forbidding_forbids(name):
    """Both ways to import, or the other tests would say nothing."""
    for statement in (f"import {name}", f"import importlib; importlib.import_module({name!r})"):
        program = f"{FORBID}\nforbid({{{name!r}}})\n{statement}"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "ImportError" in done.stderr
        assert "forbidden here" in done.stderr


def test_importing_the_shell_loads_no_other_event_loop_and_no_client():
    program = (
        "import sys, turnwire.trio_shell\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'anyio', 'asyncio', 'openai', 'httpx', 'pydantic'}))"
    )
    assert run_python(program).strip() == "[]"
