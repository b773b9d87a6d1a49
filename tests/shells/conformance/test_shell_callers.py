"""What callers may not do, and what they may give: values, lanes, clients, credentials."""

from __future__ import annotations

import base64
import dataclasses
import functools
import logging
import ssl
import traceback
from collections import deque
from collections.abc import Mapping

import anyio
import pytest
from kit.peers import Peer, created, event, raw_server
from kit.processes import run_python
from kit.shells import FAILURES
from kit.strict_server import serve
from kit.waiting import until_disconnected
from openai import AsyncAzureOpenAI, AsyncOpenAI, OpenAI, Timeout
from turnwire.aio.loopback import BeforeEvent, Close, Cut, Error, Fault, Upgrading
from turnwire.sansio.errors import (
    ConcurrentUseError,
    ConnectError,
    HandshakeRejectedError,
    InvalidStreamIdError,
    SessionClosedError,
    TurnError,
    UserError,
)
from turnwire.sansio.replay import RecoveryPolicy

pytestmark = pytest.mark.anyio
NEVER = RecoveryPolicy(attempts=0)


# --- What may not be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"input": object()}, "input"),
        ({"input": [{"role": "user", "content": [1j]}]}, "content"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"tools": [lambda: None]}, "tools"),
        ({"input": b"bytes"}, "input"),
    ],
    ids=["an object", "a complex number", "NaN", "a function", "bytes"],
)
async def test_values_that_json_lacks(shell, body, path):
    async with serve() as server, shell.connect(server.base_url) as session:
        with pytest.raises((TypeError, UserError), match=path):
            await session.respond(model="m", **body)
        assert (await session.respond(model="m", input="x")).output_text == "x"
        assert session.stats.turns == len(server.ledger) == 1


async def test_a_value_that_contains_itself(shell):
    loop: list = []
    loop.append(loop)
    async with serve() as server, shell.connect(server.base_url) as session:
        with pytest.raises((TypeError, UserError)):
            await session.respond(model="m", input=loop)
        assert (await session.respond(model="m", input="x")).output_text == "x"


async def test_values_that_json_has_in_other_clothes(shell):
    @dataclasses.dataclass
    class Message:
        role: str
        content: str

    async with serve() as server, shell.connect(server.base_url) as session:
        assert (await session.respond(model="m", input=[Message("user", "dressed")])).output_text == "dressed"


@pytest.mark.parametrize("stream_id", ["", "a b", "ü", "x" * 257, "a/b", 5, b"x", True])
async def test_an_invalid_stream_id(shell, stream_id):
    async with serve() as server, shell.connect(server.base_url) as session:
        with pytest.raises(InvalidStreamIdError, match="stream_id"):
            await session.respond(model="m", input="x", stream_id=stream_id)
        assert (await session.respond(model="m", input="x", stream_id="x" * 256)).output_text == "x"
        assert session.stats.turns == len(server.ledger) == 1


async def test_a_33rd_lane(shell):
    """The server allows 32 names on a connection: the 33rd is the first of the next one."""
    async with serve() as server, shell.connect(server.base_url) as session:
        for number in range(33):
            await session.respond(model="m", input="x", stream_id=f"lane-{number}")
        await session.respond(model="m", input="x", stream_id=None)  # The default lane does not count,
        await session.respond(model="m", input="x", stream_id="lane-7")  # and names may be used again.
        assert session.stats.turns == len(server.ledger) == 35
        assert session.stats.connections == 2
        assert session.stats.repeated == 0


async def test_forty_turns_without_a_name_use_lanes_and_one_connection(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(functools.partial(session.respond, model="m", input=f"say {number}"))
        assert session.stats.completed == len(server.ledger) == 40
        assert session.stats.connections == 1
        assert {entry.lane for entry in server.ledger} <= {f"auto-{number}" for number in range(1, 17)}


async def test_a_continuation_takes_the_lane_of_what_it_continues(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        first = await session.respond(model="m", input="one", store=False)
        await session.respond(model="m", input="another")
        await session.respond(model="m", input="two", previous_response_id=first.id, store=False)
        lanes = [entry.lane for entry in server.ledger]
        assert lanes[2] == lanes[0] != lanes[1]


async def test_several_connections(shell):
    async with serve() as server, shell.connect(server.base_url, connections=3) as session:
        async with anyio.create_task_group() as tasks:
            for _ in range(48):
                tasks.start_soon(lambda: session.respond(model="m", input="count 20"))
        assert session.stats.completed == len(server.ledger) == 48
        assert 2 <= session.stats.connections <= 3


async def test_where_there_is_no_websocket_turns_go_over_http(shell):
    async with serve(faults=[Fault(Upgrading(), Error(426))] * 9) as server:
        async with shell.connect(server.base_url) as session:
            async with session.create(model="m", input="hello there") as turn:
                kinds = [event.type async for event in turn]
            assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
            assert turn.result().output_text == "hello there"
            assert turn.transport == "http"
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(lambda: session.respond(model="m", input="count 5"))
            assert session.stats.http_turns == session.stats.completed == 6
        assert [entry.outcome for entry in server.ledger] == ["completed"] * 6


async def test_http_alone(shell):
    async with serve() as server, shell.connect(server.base_url, transport="http") as session:
        for number in range(3):
            assert (await session.respond(model="m", input=f"say {number}")).output_text == f"say {number}"
        assert session.stats.http_turns == 3
        assert session.stats.connections < 3, "connections are kept; but one may still read the end of its last answer"
        async with session.create(model="m", input="count 5000") as turn:
            await anext(turn)
        with pytest.raises(shell.TurnError) as caught:
            turn.result()
        assert caught.value.verdict is shell.Verdict.UNSAFE
        assert (await session.respond(model="m", input="next")).output_text == "next"


async def test_a_request_that_is_too_large_for_a_websocket_goes_over_http(shell):
    options = shell.SessionOptions(max_request_size=10_000)
    async with serve() as server, shell.connect(server.base_url, options=options) as session:
        async with session.create(model="m", input="x" * 20_000) as turn:
            async for _ in turn:
                pass
        assert turn.transport == "http"
        assert (await session.respond(model="m", input="small")).output_text == "small"
        assert (session.stats.http_turns, session.stats.completed) == (1, 2)
        with pytest.raises(shell.RequestTooLargeError):
            await session.respond(model="m", input="x" * 20_000, generate=False)


async def test_D_API_14_what_type_checkers_do_not_know_goes_into_extra_body(shell):
    async with serve(strict=False) as server, shell.connect(server.base_url) as session:
        await session.respond(model="m", input="x", extra_body={"model": "n", "some": 1})
        talk = session.conversation(model="m", extra_body={"some": 2, "other": 2})
        await talk.respond("x", some=3, extra_body={"other": 3})
        await talk.fork(extra_body={"some": 4}).respond("y")
        sent = [{name: entry.body.get(name) for name in ("model", "some", "other")} for entry in server.ledger]
    assert sent == [
        {"model": "n", "some": 1, "other": None},
        {"model": "m", "some": 3, "other": 3},
        {"model": "m", "some": 4, "other": 2},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"extra_headers": {}},
        {"extra_body": "x"},
        {"extra_body": {"extra_headers": {}}},
        {"type": "response.cancel"},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": "soon"},
    ],
    ids=str,
)
async def test_what_is_no_field_of_a_turn(shell, body):
    async with serve() as server, shell.connect(server.base_url) as session:
        with pytest.raises((UserError, TypeError)):
            await session.respond(model="m", input="x", **body)
        assert server.ledger == []


async def test_two_consumers_of_one_turn(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        await refused.wait()
        await peer.answer()
        await peer.end_code()

    refused = anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn, anyio.create_task_group() as tasks:
            await anext(turn)

            async def consume() -> None:
                assert [found.type async for found in turn][-1] == "response.completed"

            tasks.start_soon(consume)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ConcurrentUseError, match=r" — .* — "):
                await anext(turn)
            refused.set()
        assert turn.response.output_text == "hello"


async def test_a_turn_is_entered_once_and_before_it_is_used(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        turn = session.create(model="m", input="x")
        with pytest.raises(SessionClosedError):
            await anext(turn)
        with pytest.raises(SessionClosedError):
            turn.result()
        assert turn.response is turn.response_id is None
        async with turn:
            with pytest.raises(ConcurrentUseError):
                await turn.__aenter__()
            with pytest.raises(SessionClosedError, match=r" — .* — "):
                turn.result()
        assert len(server.ledger) <= 1


UNUSABLE = {
    "scheme": ({"base_url": "ftp://127.0.0.1/v1"}, "has the scheme 'ftp'"),
    "no host": ({"base_url": "http://"}, "names no host"),
    "user": ({"base_url": "http://user:secret-a@127.0.0.1/v1"}, "holds a user name or password"),
    "a NUL behind an escape": ({"base_url": "http://secret%00a/v1"}, "host is not valid"),
    "half a pair": ({"base_url": "http://h/\udcaf"}, "half a surrogate pair"),
    "no URL": ({"base_url": 5}, "is of type int"),
    "no text": ({"api_key": b"secret-a"}, "api_key is of type bytes"),
    "a key with a line break": ({"api_key": "secret-a\n"}, r"holds U\+000A"),
    "line break": ({"headers": {"X": "a\r\nY: secret-a"}}, r"holds U\+000D"),
    "the handshake's own": ({"headers": {"Sec-WebSocket-Key": "secret-a"}}, "leave it out"),
    "query": ({"query": {"a": object()}}, "the query's 'a' is of type object"),
    "no query": ({"query": "a=secret-a"}, "query must be a mapping"),
    "proxy": ({"proxy": "socks4://u:secret-a@127.0.0.1"}, "proxy has the scheme 'socks4': write http://host:port"),
    "proxy without scheme": ({"proxy": "127.0.0.1:3128"}, "proxy has no scheme: write http://host:port"),
    "a proxy to a unix socket": (
        {"proxy": "http://u:secret-a@p:1", "base_url": "unix:/s"},
        "no proxy leads to unix:/s, a socket of this machine: leave proxy= out",
    ),
    "no socket": ({"base_url": "unix:relative.sock"}, "write it like unix:/path/to.sock"),
    "TLS to a proxy without": (
        {"proxy": "socks5://u:secret-a@p", "proxy_ssl_context": ssl.create_default_context()},
        "proxy_ssl_context is for TLS to the proxy: write proxy='https://host:port', or leave it out",
    ),
    "no context for the proxy": ({"proxy_ssl_context": 5}, "proxy_ssl_context is of type int: write an ssl.SSLContext"),
    "a SOCKS password alone": ({"proxy": "socks5://:secret-a@p"}, "comes without a user name: write socks5://user"),
    "no proxy": ({"proxy": 5}, "proxy is of type int: write http://host:port"),
    "no context": ({"ssl_context": True}, "ssl_context is of type bool: write an ssl.SSLContext, or None"),
    "a server's context": ({"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "ssl_context is a server's"),
    "no client": ({"client": 5, "base_url": None}, "without a base_url: give an openai.AsyncOpenAI"),
    "a synchronous client": ({"client": OpenAI(api_key="secret-a")}, "which is synchronous"),
    "empty options": ({"options": {}}, r"options is \{\}, of type dict: write SessionOptions"),
    "no key": ({"base_url": "https://API.openai.com/v1/"}, "there is no API key"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_arguments_of_connect_that_cannot_be_used(backend, case, monkeypatch):
    """At once: before anybody enters what connect() returns."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    arguments, text = UNUSABLE[case]
    with pytest.raises(UserError, match=text) as caught:
        backend.shell.connect(**{"base_url": "http://127.0.0.1/v1", **arguments})
    assert "secret-a" not in everything_said(caught.value)
    assert "secret-a" not in everything_in_frames(caught.value)


@pytest.mark.parametrize("url", ["socks://127.0.0.1:1080/", "socks4a://127.0.0.1:1080", "http://:1", "//x"])
def test_a_proxy_of_the_environment_that_cannot_be_used(backend, url, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", url)
    with pytest.raises(UserError, match="the environment variable all_proxy"):
        backend.shell.connect("http://api.test/v1")


async def test_a_proxy_that_cannot_be_reached_is_named_as_the_proxy(shell):
    async with raw_server() as gone:
        pass
    for scheme in ("http", "https"):
        with pytest.raises(ConnectError, match=f"the proxy {gone.authority} cannot be used: the network failed"):
            async with shell.connect("http://api.test/v1", proxy=f"{scheme}://me:pw@{gone.authority}"):
                pass


async def test_a_proxy_that_speaks_no_tls_is_named_as_the_proxy(shell):
    async with raw_server(plain) as proxy:
        with pytest.raises(ConnectError, match=f"the proxy {proxy.authority} cannot be used: TLS failed"):
            async with shell.connect("http://api.test/v1", proxy=f"https://{proxy.authority}"):
                pass


# --- Where to, and as whom -------------------------------------------------------------------------------------------


async def greet(peer: Peer) -> None:
    await peer.upgrade()
    await peer.end_code()


async def test_url_key_headers_and_query(shell):
    async with raw_server(greet) as server:
        async with shell.connect(
            f"ws://{server.authority}/base/?old=1",
            api_key="key",
            headers={"X-Mine": "yes", "user-agent": "mine/1"},
            query={"new": "a b", "list": [1, 2]},
        ):
            pass
    (peer,) = server.peers
    assert peer.target == "/base/responses?old=1&new=a+b&list=1&list=2"
    assert peer.headers["authorization"] == "Bearer key"
    assert peer.headers["x-mine"] == "yes"
    assert peer.headers["user-agent"] == "mine/1"
    assert peer.headers["host"] == server.authority


async def test_the_environment_says_where_to_and_as_whom(shell, monkeypatch):
    async with raw_server(greet) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
        async with shell.connect():
            pass
    assert server.peers[0].headers["authorization"] == "Bearer from-environment"


async def test_a_client_gives_url_credentials_headers_query_and_timeouts(shell):
    async def hold(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.end()

    async with raw_server(hold) as server:
        client = AsyncOpenAI(
            base_url=server.base_url,
            api_key="client-key",
            organization="org",
            default_headers={"X-Default": "d"},
            default_query={"q": "1"},
            timeout=Timeout(30.0, read=0.05),
        )
        async with client, shell.connect(client=client, headers={"X-Mine": "m"}, query={"r": "2"}) as session:
            with pytest.raises(TimeoutError):
                await session.respond(input="x")
    (peer,) = server.peers
    assert peer.target == "/v1/responses?q=1&r=2"
    assert peer.headers["authorization"] == "Bearer client-key"
    assert peer.headers["openai-organization"] == "org"
    assert (peer.headers["x-default"], peer.headers["x-mine"]) == ("d", "m")


async def test_a_clients_websocket_base_url_comes_first(shell):
    async with raw_server(greet) as server:
        client = AsyncOpenAI(
            base_url="http://127.0.0.1:9/v1", websocket_base_url=f"ws://{server.authority}/ws", api_key="k"
        )
        async with client, shell.connect(client=client):
            pass
    assert server.peers[0].target == "/ws/responses"


async def test_an_azure_client(shell):
    async with raw_server(greet) as server:
        client = AsyncAzureOpenAI(
            azure_endpoint=f"http://{server.authority}", api_key="azure-key", api_version="2026-01-01"
        )
        async with client, shell.connect(client=client):
            pass
    (peer,) = server.peers
    assert peer.headers["api-key"] == "azure-key"
    assert "api-version=2026-01-01" in peer.target


async def test_a_dynamic_key_is_asked_for_before_each_handshake(shell):
    keys = iter(f"key-{number}" for number in range(1, 10))

    async def fresh() -> str:
        return next(keys)

    async with serve() as server:
        async with raw_server(*[once] * 3) as raw:
            client = AsyncOpenAI(base_url=raw.base_url, api_key=fresh)
            async with client, shell.connect(client=client) as session:
                for _ in range(3):
                    await session.respond(input="x")
                    await until_disconnected(session)
            assert [peer.headers["authorization"] for peer in raw.peers] == [f"Bearer key-{n}" for n in (1, 2, 3)]
        assert server.ledger == []


async def once(peer: Peer) -> None:
    await peer.upgrade()
    await peer.message()
    await peer.answer()
    await peer.raw.send_eof()
    await peer.end()


async def test_a_key_provider_that_raises_is_a_connect_error(shell):
    async def broken() -> str:
        raise LookupError("secret-vault-path")

    async with raw_server(greet) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key=broken)
        async with client:
            with pytest.raises(ConnectError, match="LookupError") as caught:
                async with shell.connect(client=client):
                    pass
    assert "secret-vault-path" not in str(caught.value)
    assert server.peers == []


WHOLE_TURN = """
import sys
{imports}

async def main():
    async with serve(strict=True) as server, shell.connect(server.base_url) as session:
        assert (await session.respond(model="m", input="hello")).output_text == "hello"

anyio.run(main, backend={backend!r})
assert "openai" not in sys.modules, "openai was imported"
"""


def test_without_a_client_openai_is_never_imported(backend):
    imports = f"import anyio\nimport {backend.shell.__name__} as shell\nfrom turnwire.aio.loopback import serve"
    code = WHOLE_TURN.format(imports=imports, backend=backend.anyio_name)
    run_python(code, "-W", "error")


# --- What stays secret -----------------------------------------------------------------------------------------------

SECRETS = ("sk-topsecret", "hdr-topsecret", "qry-topsecret", "pwd-topsecret")


def everything_said(error: BaseException) -> str:
    said = []
    chain: BaseException | None = error
    while chain is not None:
        said += [str(chain), repr(chain), repr(getattr(chain, "evidence", "")), repr(vars(chain))]
        chain = chain.__cause__ or chain.__context__
    return "\n".join([*said, *traceback.format_exception(error)])


def everything_in_frames(error: BaseException) -> str:
    """What a tool shows that shows the variables of a traceback's frames; but for those of this file, the caller's."""
    said, seen = [], set()
    left: list[BaseException | None] = [error]
    while left:
        exc = left.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        left += [exc.__cause__, exc.__context__, *getattr(exc, "exceptions", ())]
        for found, _ in traceback.walk_tb(exc.__traceback__):
            if found.f_code.co_filename != __file__:
                said += [
                    f"{found.f_code.co_qualname}: {name} = {shown(value)}" for name, value in found.f_locals.items()
                ]
    return "\n".join(said)


def shown(value: object) -> str:
    """As Sentry and rich do it: what a container holds is shown for itself, whatever the container's own repr says."""
    if isinstance(value, Mapping):
        return f"{value!r} {[(shown(name), shown(held)) for name, held in value.items()]}"
    if isinstance(value, list | tuple | set | frozenset | deque):
        return f"{value!r} {[shown(held) for held in value]}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{value!r} {[shown(getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr]}"
    return repr(value)


async def provide() -> str:
    raise LookupError("no key today")


async def provide_badly() -> str:
    return f"{SECRETS[0]}\n"


async def turned_away(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}")


async def cut(peer: Peer) -> None:
    await peer.request()
    await peer.reset()


async def alien(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"SSH-2.0\r\n\r\n")


async def plain(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"HTTP/1.1 400 No\r\n\r\n")


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.end()


async def wrong_password(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"\x05\x02")
    await peer.read()
    await peer.send(b"\x01\x01")


async def cut_at_password(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"\x05\x02")
    await peer.reset()


async def no_socks(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"\x05\x02")
    await peer.read()
    await peer.send(b"\x04\x5a")


STAGES = {
    "refused": (None, {}),
    "a dead proxy": (None, {"proxy": "http"}),
    "a dead SOCKS proxy": (None, {"proxy": "socks5"}),
    "turned away by a SOCKS proxy": (wrong_password, {"proxy": "socks5h"}),
    "cut by a SOCKS proxy": (cut_at_password, {"proxy": "socks5h"}),
    "a SOCKS proxy that is none": (no_socks, {"proxy": "socks5"}),
    "turned away": (turned_away, {}),
    "turned away by a proxy": (turned_away, {"proxy": "http"}),
    "cut": (cut, {}),
    "cut by a proxy": (cut, {"proxy": "http"}),
    "alien": (alien, {}),
    "no TLS": (plain, {"secure": True}),
    "silent": (silent, {}),
    "a provider that raises": (silent, {"provider": provide}),
    "a provider of nonsense": (silent, {"provider": provide_badly}),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_secrets_stay_out_of_every_frame(shell, stage):
    script, case = STAGES[stage]
    password = base64.b64encode(f"me:{SECRETS[3]}".encode()).decode()
    async with raw_server(script or silent) as server:
        url = server.base_url.replace("http", "https") if "secure" in case else server.base_url
        proxy = f"{case['proxy']}://me:{SECRETS[3]}@{server.authority}" if "proxy" in case else None
        arguments: dict = {"base_url": url, "api_key": SECRETS[0]}
        if "provider" in case:
            arguments = {"client": AsyncOpenAI(base_url=url, api_key=case["provider"])}
        if script is None:
            server.listener.close()
        with pytest.raises(TurnError) as caught:
            async with shell.connect(
                **arguments,
                headers={"X-Secret": SECRETS[1]},
                query={"code": SECRETS[2]},
                proxy=proxy,
                options=shell.SessionOptions(connect_timeout=0.3, recovery=NEVER),
            ):
                pass
    words = everything_in_frames(caught.value) + everything_said(caught.value)
    assert "Runtime.connect: " in words, "there are frames of ours"
    for secret in (*SECRETS, password):
        assert secret not in words, [line for line in words.splitlines() if secret in line]


async def test_what_was_being_sent_is_in_no_frame(shell):
    """Whatever a transport raises passes through this function."""
    translated = FAILURES[shell].translated

    def send(data: bytes) -> None:
        raise OSError(32, "Broken pipe")

    with pytest.raises(OSError, match="Broken pipe") as caught:
        send(SECRETS[0].encode())
    assert SECRETS[0] not in everything_in_frames(translated(caught.value))


FAULTS = {
    "rejected": Fault(Upgrading(), Error(401, "invalid_api_key"), times=None),
    "cut at the upgrade": Fault(Upgrading(), Cut(), times=None),
    "cut": Fault(BeforeEvent(2), Cut(reset=True), times=None),
    "closed": Fault(BeforeEvent(1), Close(1011), times=None),
    "an error frame": Fault(BeforeEvent(1), Error(500), times=None),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_secrets_stay_out_of_every_word(shell, fault, caplog):
    caplog.set_level(logging.DEBUG)
    words: list[str] = []
    async with serve(faults=[FAULTS[fault]]) as server:
        opened = shell.connect(
            server.base_url,
            api_key=SECRETS[0],
            headers={"X-Secret": SECRETS[1]},
            query={"code": SECRETS[2]},
            transport="websocket",
        )
        with pytest.raises(TurnError) as caught:  # noqa: PT012
            async with opened as session:
                turn = session.create(model="m", input="x")
                words += [repr(session), repr(turn), repr(session.stats), str(session._runtime), repr(session._runtime)]
                words += [repr(session._runtime._driver), repr(next(iter(session._runtime._driver._links.values())))]
                async with turn:
                    words += [repr(turn), repr(turn._core)]
                    async for found in turn:
                        words.append(repr(found))
        words.append(everything_said(caught.value))
        await_rejection = isinstance(caught.value, HandshakeRejectedError)
        assert await_rejection == (fault == "rejected")
    words += [record.getMessage() for record in caplog.records]
    for secret in SECRETS:
        assert secret not in "\n".join(words)


async def test_a_proxys_password_stays_out_of_every_word(shell):
    async with raw_server() as gone:
        pass
    with pytest.raises(ConnectError) as caught:
        async with shell.connect(
            "http://example.invalid/v1", api_key=SECRETS[0], proxy=f"http://me:{SECRETS[3]}@{gone.authority}"
        ):
            pass
    for secret in SECRETS:
        assert secret not in everything_said(caught.value)


async def test_a_redirects_query_stays_out(shell):
    async def moved(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 307 There\r\nLocation: http://other.test/?token=", SECRETS[2].encode(), b"\r\n\r\n")

    async with raw_server(moved) as server:
        with pytest.raises(HandshakeRejectedError) as caught:
            async with shell.connect(server.base_url, api_key=SECRETS[0]):
                pass
    assert SECRETS[2] not in str(caught.value)
    assert SECRETS[0] not in everything_said(caught.value)


async def test_an_echoing_servers_event_is_the_callers_own_business(shell):
    """What the server says is shown; what we said to it is not."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(event("error", status=400, error={"message": "No such model."}))
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url, api_key=SECRETS[0]) as session:
        with pytest.raises(TurnError, match="No such model") as caught:
            await session.respond(input=" ".join(("my", "private", "question")))  # A traceback shows this line.
    assert "my private question" not in everything_said(caught.value)
    assert SECRETS[0] not in everything_said(caught.value)
