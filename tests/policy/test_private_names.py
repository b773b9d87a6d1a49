"""Names that are private to other libraries: each that is used here stands in the table, and still exists.

A library may drop such a name in any release. This test then says so. The code does without it, as the table says and
``tests/core/test_without_private_names.py`` shows, or the versions are bounded in pyproject.toml.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpcore2
import httpx2
import openai
import openai._models
import openai._utils
import pydantic_core
import pytest
import turnwire.aio
import turnwire.sansio
import turnwire.trio_shell
from kit.sources import parse
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai.types.responses import Response
from turnwire.sansio.websocket import Deflate

PACKAGES = [Path(module.__file__ or "").parent for module in (turnwire.sansio, turnwire.aio, turnwire.trio_shell)]


def client() -> AsyncOpenAI:
    return AsyncOpenAI(api_key="k")


def azure() -> AsyncAzureOpenAI:
    return AsyncAzureOpenAI(api_key="k", azure_endpoint="https://a.openai.azure.com", api_version="v1")


def pool(proxy: str | None = None) -> Any:
    return openai.DefaultAsyncHttpxClient(proxy=proxy)._transport_for_url(httpx2.URL("https://h"))._pool


def socks_pool() -> Any:
    return httpcore2.AsyncSOCKSProxy("socks5://p")


class Private(NamedTuple):
    """A private name of another library."""

    library: str
    there: Callable[[], bool]
    """Whether it is still there, and what it was."""
    without_it: str
    """What happens when it has gone."""


def takes(function: Any, parameter: str) -> Callable[[], bool]:
    return lambda: parameter in inspect.signature(function).parameters


def has(make: Callable[[], object], name: str) -> Callable[[], bool]:
    return lambda: hasattr(make(), name)


def awaited(make: Callable[[], object], name: str) -> Callable[[], bool]:
    return lambda: inspect.iscoroutinefunction(getattr(make(), name, None))


def is_given_a_request_id() -> bool:
    made = Response.construct(id="r")
    openai._models.add_request_id(made, "q")
    return made._request_id == "q"


CONSTRUCT: Any = openai.BaseModel.construct
HEADERS = "the client's own headers tell which kind of credential it has"
FIXED = "the credential is the one that the client has"
SYSTEM = "the HTTP client's CA and proxy are not taken over, and the log says so"
SLOWER = "the same answers, slower"
BOUNDED = "to_openai() fails; pyproject.toml bounds the version"

PRIVATE = {
    "_models": Private("openai", has(lambda: openai, "_models"), BOUNDED),
    "construct_type": Private("openai", has(lambda: openai._models, "construct_type"), BOUNDED),
    "PropertyInfo": Private("openai", takes(openai._utils.PropertyInfo, "discriminator"), BOUNDED),
    "_get_extra_fields_type": Private("openai", has(lambda: openai._models, "_get_extra_fields_type"), SLOWER),
    "_fields_set": Private("openai", takes(CONSTRUCT.__func__, "_fields_set"), SLOWER),
    "_BaseModel__cls": Private("openai", takes(CONSTRUCT.__func__, "_BaseModel__cls"), SLOWER),
    "_callbacks": Private("asyncio", has(lambda: asyncio.Future, "_callbacks"), SLOWER),
    "_use_prebuilt": Private("pydantic_core", takes(pydantic_core.SchemaValidator, "_use_prebuilt"), SLOWER),
    "_request_id": Private("openai", is_given_a_request_id, "no request id is known; openai's README names it"),
    "_azure_ad_token_provider": Private("openai", has(azure, "_azure_ad_token_provider"), HEADERS),
    "_azure_ad_token": Private("openai", has(azure, "_azure_ad_token"), HEADERS),
    "_get_azure_ad_token": Private("openai", awaited(azure, "_get_azure_ad_token"), FIXED),
    "_api_key_provider": Private("openai", has(client, "_api_key_provider"), FIXED),
    "_refresh_api_key": Private("openai", awaited(client, "_refresh_api_key"), FIXED),
    "_provider_runtime": Private("openai", has(client, "_provider_runtime"), "the server refuses the handshake"),
    "_client": Private("openai", has(client, "_client"), SYSTEM),
    "_transport_for_url": Private("httpx", has(lambda: client()._client, "_transport_for_url"), SYSTEM),
    "_pool": Private("httpx", lambda: pool() is not None, SYSTEM),
    "_ssl_context": Private("httpcore", has(lambda: pool()._ssl_context, "wrap_bio"), SYSTEM),
    "_http2": Private("httpcore", lambda: pool()._http2 is False, SYSTEM),
    "_uds": Private("httpcore", lambda: pool()._uds is None, SYSTEM),
    "_proxy": Private("httpcore", lambda: pool()._proxy is None, SYSTEM),
    "_proxy_url": Private("httpcore", lambda: pool("http://p")._proxy_url.host == b"p", SYSTEM),
    "_proxy_headers": Private("httpcore", lambda: pool("http://p")._proxy_headers == [], SYSTEM),
    "_proxy_ssl_context": Private("httpcore", lambda: pool("http://p")._proxy_ssl_context is None, SYSTEM),
    "_proxy_auth": Private("httpcore", lambda: socks_pool()._proxy_auth is None, SYSTEM),
    "_decompressor": Private("wsproto", has(Deflate, "_decompressor"), "wsproto's own answer to what a peer can do"),
}
"""The private names in use; another test holds the Agents SDK's against its own code (tests/parity)."""

AGENTS = {
    *("_tool_namespace", "_tool_namespace_description", "_explicit_fields", "_response_id", "_get_client"),
    *("_openai_prefix_mode", "_unknown_prefix_mode", "_ws_model_cache_by_loop"),
}
OURS = {
    *(
        "_raw",
        "_lazy",
        "_members",
        "_hidden",
        "_span",
        "_cancel_scope",
        "_wait",
        "_task",
        "_driver",
        "_stream_id",
        "_provider",
    ),
    *("_terminal", "_done", "_most", "_size", "_joined", "_pieces", "_call"),
    *("_build", "_end", "_end_with", "_config"),
    *("_begin_warm_up", "_cancel", "_runner", "_tools", "_warm_up"),
    *("_close", "_run", "_shell", "_flow", "_given", "_resume"),
    *("_turnwire_server_", "_turnwire_session_", "_turnwire_", "_asyncio_"),
    *("_Object", "_Struct", "_Key", "_T", "_Ts", "_0", "_"),
}
"""Private names of this project that are used from outside ``self``, or that stand in the code as texts."""
PUBLIC = {"_replace", "_asdict"}
"""Names with an underscore that are documented: those of named tuples."""


def found_names() -> Iterator[tuple[str, str]]:
    """Attributes, keyword arguments, imports and texts that are names with one underscore in front; and where."""
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            for node in ast.walk(parse(path.read_text())):
                match node:
                    case ast.Attribute(value=ast.Name(id="self" | "cls")):
                        continue
                    case ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                        pass
                    case ast.Constant(value=str(name)) if name.isidentifier():
                        pass
                    case _:
                        continue
                if name.startswith("_") and not name.startswith("__"):
                    yield name, f"{path.relative_to(package.parent)}:{getattr(node, 'lineno', 0)}"


@cache
def private_names() -> list[tuple[str, str]]:
    return list(found_names())


def test_every_private_name_that_is_used_is_known():
    known = {*PRIVATE, *AGENTS, *OURS, *PUBLIC}
    assert [(name, where) for name, where in private_names() if name not in known] == []


def test_every_private_name_of_the_table_is_used():
    used = {name for name, _ in private_names()} | {"construct_type", "PropertyInfo", "_decompressor"}
    assert set(PRIVATE) - used == set()


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_is_still_there(name: str):
    assert PRIVATE[name].there(), f"{name} of {PRIVATE[name].library} has gone: {PRIVATE[name].without_it}"
