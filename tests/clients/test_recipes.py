"""README's recipes in the programs that they are for: a notebook's kernel, FastAPI and Starlette under uvicorn."""

from __future__ import annotations

import asyncio
import importlib.util
import types
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import pytest
from kit.sources import recipe


def needs(*modules: str) -> pytest.MarkDecorator:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"pip install {' '.join(absent)}")


@needs("nbclient", "ipykernel")
@pytest.mark.filterwarnings("default")  # Those of the kernel and its client.
def test_the_sync_door_in_a_notebook() -> None:
    import nbformat
    from nbclient import NotebookClient

    program, shown = recipe("Without async")
    running = "import asyncio\nprint(asyncio.get_running_loop().is_running())"
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (running, program)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    printed = ["".join(output["text"] for output in cell["outputs"]) for cell in notebook.cells]
    assert printed == ["True\n", shown]


def starlette_app(lifespan: Any, answer: Callable[..., Any]) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def get(request: Any) -> PlainTextResponse:
        return PlainTextResponse(await answer(request.state.session, request.path_params["text"]))

    return Starlette(routes=[Route("/{text}", get)], lifespan=lifespan)


def fastapi_app(lifespan: Any, answer: Callable[..., Any]) -> Any:
    from fastapi import FastAPI, Request
    from fastapi.responses import PlainTextResponse

    app = FastAPI(lifespan=lifespan)

    async def get(request: Request, text: str) -> PlainTextResponse:
        return PlainTextResponse(await answer(request.state.session, text))

    get.__annotations__.update(request=Request, text=str)  # FastAPI looks them up in the module.
    app.get("/{text}")(get)
    return app


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(starlette_app, marks=needs("starlette", "uvicorn")),
        pytest.param(fastapi_app, marks=needs("fastapi", "uvicorn")),
    ],
)
def test_one_session_for_a_web_application(make: Callable[..., Any]) -> None:
    import uvicorn

    program, _ = recipe("One session for a web application")
    module = types.ModuleType("recipe")
    exec(program.replace("asyncio.run(main())", ""), vars(module))

    async def serve_once() -> list[str]:
        app = make(module.lifespan, module.endpoint)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]

        def get(text: str) -> str:
            return urlopen(f"http://127.0.0.1:{port}/{text}").read().decode()

        said = await asyncio.gather(*(asyncio.to_thread(get, text) for text in ("one", "two", "three")))
        server.should_exit = True
        await task
        return said

    assert asyncio.run(serve_once()) == ["one", "two", "three"]
