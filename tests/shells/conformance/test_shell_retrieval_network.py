"""Retrievals take the way of the session's turns: its proxy, its TLS settings, its unix socket (P-RETRIEVE-4)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme
from kit.peers import proxy_server
from kit.socks import socks_server
from kit.strict_server import serve
from turnwire.aio.loopback import AfterEvent, BeforeRun, Cut, Error, Fault

pytestmark = pytest.mark.anyio

NAME, PASSWORD = "me", "p@ss-hush"
LOGIN = "me:p%40ss-hush"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@dataclass
class Way:
    """A server, and what ``connect()`` needs to reach it."""

    server: Any
    base_url: str
    arguments: dict[str, Any] = field(default_factory=dict)
    proxied: Any = None
    """A function that returns where each connection through the proxy led to; None: there is no proxy."""


@asynccontextmanager
async def way_to(kind: str, authority: trustme.CA, folder: Any, **given: Any) -> AsyncIterator[Way]:
    """The kinds are those of :data:`KINDS`, and without TLS to the server ``connect`` and ``socks5h``."""
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("api.invalid", "127.0.0.1").configure_cert(served)
    authority.configure_trust(trusting)
    async with AsyncExitStack() as stack:
        if kind == "unix":
            server = await stack.enter_async_context(serve(path=str(folder / "s"), **given))
            yield Way(server, server.base_url)
            return
        secure = kind.endswith("tls")
        given |= {"allowed_hosts": ["api.invalid"]}
        server = await stack.enter_async_context(serve(ssl_context=served if secure else None, **given))
        way = Way(server, server.base_url, {"ssl_context": trusting} if secure else {})
        if kind.startswith("socks5h"):
            names = {"api.invalid": "127.0.0.1"}
            proxy = await stack.enter_async_context(socks_server(authorization=(NAME, PASSWORD), names=names))
            way.base_url = f"{'https' if secure else 'http'}://api.invalid:{server.port}/v1"
            way.arguments["proxy"] = f"socks5h://{LOGIN}@{proxy.authority}"
            way.proxied = lambda: [f"{host}:{port}" for _, host, port in proxy.asked]
        elif kind != "tls":
            to_proxy = {"ssl_context": served} if kind.startswith("https") else {}
            proxy = await stack.enter_async_context(proxy_server(authorization=(NAME, PASSWORD), **to_proxy))
            way.arguments["proxy"] = f"{'https' if to_proxy else 'http'}://{LOGIN}@{proxy.authority}"
            way.arguments |= {"proxy_ssl_context": trusting} if to_proxy else {}
            way.proxied = lambda: [peer.target for peer in proxy.peers]
        yield way


KINDS = ["tls", "https-proxy+tls", "connect+tls", "socks5h+tls"]
if hasattr(socket, "AF_UNIX"):
    KINDS.append("unix")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_response_is_retrieved_on_the_way_of_the_turns(shell, authority, tmp_path, kind):
    """Turns are cut after their fifth event, a retrieval is refused by a gateway, a stream is cut after two events."""
    options = shell.SessionOptions(recovery=shell.RecoveryPolicy(initial_delay=0.01))
    async with way_to(kind, authority, tmp_path, api_key="k") as way:
        for transport in ("websocket", "http"):
            before = way.server.connections
            way.server.faults[:] = [
                Fault(AfterEvent(5), Cut(), connection=before + 1),
                Fault(BeforeRun(), Error(503), connection=before + 2),
            ]
            arguments = {"api_key": "k", "transport": transport, "options": options, **way.arguments}
            async with shell.connect(way.base_url, **arguments) as session:
                with pytest.raises(shell.ConnectionLostError) as caught:
                    await session.respond(model="m", input="one two three")
                response = await session.retrieve(caught.value.response_id)
                assert (response.status, response.output_text) == ("completed", "one two three")
                assert (session.stats.retrievals, way.server.connections) == (2, before + 2)
        before = way.server.connections
        way.server.faults[:] = [Fault(AfterEvent(n), Cut(), connection=before + i) for n, i in ((5, 1), (2, 2))]
        async with shell.connect(way.base_url, **arguments) as session:
            with pytest.raises(shell.ConnectionLostError) as caught:
                await session.respond(model="m", input="one two three", background=True)
            assert caught.value.sequence_number == 4
            rest = session.retrieve_stream(caught.value.response_id, starting_after=4)
            events = [event async for event in rest]
            assert [event.sequence_number for event in events] == list(range(5, 12))
            assert events[-1].response.output_text == "one two three"
            assert session.stats.retrievals == 2
        if way.proxied is not None:  # Every connection went through the proxy, and none beside it.
            assert way.proxied() == [way.base_url.split("/")[2]] * way.server.connections


@pytest.mark.parametrize("kind", ["connect", "socks5h"])
async def test_a_proxy_that_refuses_a_retrieval_is_named_without_its_password(shell, authority, tmp_path, kind):
    """The session is open; the proxy's password is another one by the time of the retrieval."""
    never = shell.SessionOptions(recovery=shell.RecoveryPolicy(attempts=0))
    async with way_to(kind, authority, tmp_path) as way:
        wrong = way.arguments["proxy"].replace("hush", "hush-hush")
        async with shell.connect(way.base_url, options=never, **way.arguments) as session:
            response = await session.respond(model="m", input="x")
            proxy = session._runtime.route._network.proxy
            other = shell.connect(way.base_url, options=never, proxy=wrong)._arguments[1].proxy
            object.__setattr__(session._runtime.route._network, "proxy", other)
            with pytest.raises(shell.RetrievalError, match=f"the proxy {proxy}") as caught:
                await session.retrieve(response.id)
            assert "hush" not in f"{caught.value!r} {caught.value.__cause__!r}"
            assert caught.value.response_id == response.id
            assert (await session.respond(model="m", input="y")).output_text == "y", "turns go on"


async def test_a_server_that_is_not_trusted_any_more_gets_no_retrieval(shell, authority, tmp_path):
    never = shell.SessionOptions(recovery=shell.RecoveryPolicy(attempts=0))
    async with way_to("tls", authority, tmp_path, api_key="k") as way:
        trusting = way.arguments["ssl_context"]
        async with shell.connect(way.base_url, api_key="k", ssl_context=trusting, options=never) as session:
            response = await session.respond(model="m", input="x")
            object.__setattr__(session._runtime.route._network, "ssl_context", ssl.create_default_context())
            with pytest.raises(shell.RetrievalError, match="CERTIFICATE_VERIFY_FAILED"):
                await session.retrieve(response.id)
            assert session.stats.retrievals == 0, "it was not sent"
