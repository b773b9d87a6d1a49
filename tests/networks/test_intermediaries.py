"""Through real intermediaries: sessions, restarts in the middle of turns, idle time-outs. The ledger has to agree.

The programs are Debian packages (``tests/kit/intermediaries.py``); a test is skipped where its program is absent. With
``TURNWIRE_NETWORKS=full`` there are more sessions and turns, on every backend.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import pytest
from kit import intermediaries
from kit.intermediaries import IDLE, KINDS, REVERSE, TICK, Intermediary, intermediary, need
from kit.shells import BACKENDS, Backend
from kit.strict_server import serve
from turnwire.aio.loopback import BeforeEvent, Delay, Fault, LoopbackServer
from turnwire.sansio.errors import ConnectError, TurnError
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, Verdict

FULL = os.environ.get("TURNWIRE_NETWORKS") == "full"
SESSIONS, TURNS = (16, 40) if FULL else (4, 4)
DELTAS = 12

pytestmark = pytest.mark.anyio


def on(*kinds: str) -> pytest.MarkDecorator:
    """Run the test through each of these, on the two shells in turn; with FULL on every backend."""
    some = {one.name: one for one in BACKENDS}
    pairs = (
        [(kind, backend) for kind in kinds for backend in BACKENDS]
        if FULL
        else [(kind, some["trio" if number % 2 else "asyncio"]) for number, kind in enumerate(kinds)]
    )
    ids = [f"{kind}-{backend.name}" for kind, backend in pairs]
    return pytest.mark.parametrize(("kind", "backend"), pairs, ids=ids, indirect=["backend"])


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
def anyio_backend(backend: Backend) -> tuple[str, dict[str, Any]]:
    return backend.anyio_name, dict(backend.options)


@dataclass
class Tally:
    """What became of the turns, each known to the ledger by its marker."""

    verdicts: dict[str, Verdict | None] = field(default_factory=dict)
    """None: completed."""
    causes: Counter[str] = field(default_factory=Counter)

    def violations(self, server: LoopbackServer) -> list[str]:
        """Where the ledger does not agree."""
        ran = Counter(entry.marker or "" for entry in server.ledger)
        found = [f"{marker} ran {count} times" for marker, count in ran.items() if count > 1]
        for marker, verdict in self.verdicts.items():
            if verdict is Verdict.SAFE and ran[marker]:
                found.append(f"{marker} was told SAFE, and ran")
            if verdict in (None, Verdict.UNSAFE) and not ran[marker]:
                found.append(f"{marker} was told {verdict and verdict.name}, and did not run")
        return found

    def __str__(self) -> str:
        named = Counter("completed" if verdict is None else verdict.name for verdict in self.verdicts.values())
        return ", ".join(f"{name} {count}" for name, count in sorted(named.items()))


def test_the_tally_notices_a_lie() -> None:
    server: Any = SimpleNamespace(ledger=[SimpleNamespace(marker=marker) for marker in ("a", "b", "b", "c")])
    told = {"a": Verdict.SAFE, "b": Verdict.AMBIGUOUS, "c": None, "d": Verdict.UNSAFE, "e": Verdict.SAFE, "f": None}
    assert Tally(told).violations(server) == [
        "b ran 2 times",
        "a was told SAFE, and ran",
        "d was told UNSAFE, and did not run",
        "f was told None, and did not run",
    ]


def test_where_a_program_is_absent_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intermediaries, "found", lambda program: None)
    with pytest.raises(pytest.skip.Exception, match=r"^nginx is absent: apt-get install .* nginx-light$"):
        need("nginx")


class Disturbance:
    """Restarts and reloads, brought by the turns themselves."""

    def __init__(self, between: Intermediary) -> None:
        self._between = between
        self._one = anyio.Lock()

    async def __call__(self) -> None:
        async with self._one:
            if self._between.kind in REVERSE and self._between.restarts % 2:
                await self._between.reload()
            else:
                await self._between.restart()


async def run_turns(session: Any, tally: Tally, disturb: Disturbance, transport: str, number: int) -> None:
    """The turns of one session, one after another."""
    done = tried = 0
    while done < TURNS:
        tried += 1
        marker = f"{transport} {number} {tried}"
        disturbs = number % 2 == 0 and done == number * TURNS // SESSIONS  # They begin side by side.
        seen = 0
        try:
            body = {"input": f"count {DELTAS}", "store": False, "metadata": {"marker": marker}}
            async with session.create(model="m", **body) as turn:
                async for _ in turn:
                    seen += 1
                    if disturbs and seen == 4:
                        await disturb()
            assert turn.result().output_text.split()[-1] == str(DELTAS)
        except TurnError as error:
            tally.verdicts[marker] = error.verdict
            tally.causes[f"{error.phase.name} {error.cause.name}"] += 1
            if error.verdict is Verdict.SAFE:  # It is tried again.
                await anyio.sleep(0.01)
            else:
                done += 1
        else:
            tally.verdicts[marker] = None
            done += 1


@on(*KINDS)
async def test_restarts_in_mid_turn_and_the_ledger_agrees(
    shell: ModuleType, backend: Backend, kind: str, tmp_path: Path, summary: Any
) -> None:
    need(kind)
    tally = Tally()
    async with serve(latency=0.004) as server, intermediary(kind, server.port, tmp_path) as between:
        disturb = Disturbance(between)
        for transport in ("websocket", "http"):
            async with AsyncExitStack() as opened:
                sessions: list[Any] = []
                for number in range(SESSIONS):  # Every second one repeats by itself.
                    recovery = RecoveryPolicy(attempts=9 if number % 2 else 0, initial_delay=0.01, max_delay=0.1)
                    options = shell.SessionOptions(transport=transport, recovery=recovery)
                    connecting = shell.connect(between.base_url, **between.arguments, options=options)
                    sessions.append(await opened.enter_async_context(connecting))
                async with anyio.create_task_group() as tasks:
                    for number, session in enumerate(sessions):
                        tasks.start_soon(run_turns, session, tally, disturb, transport, number)
        violations = tally.violations(server)
        summary.append(
            f"through {kind} on {backend.name}: {len(tally.verdicts)} turns, {between.restarts} restarts, "
            f"{server.connections} connections; {tally}; {len(violations)} violations"
        )
    assert violations == []
    assert between.restarts >= SESSIONS // 2
    counted = Counter(tally.verdicts.values())
    assert counted[None] >= SESSIONS * TURNS // 2
    assert counted[Verdict.UNSAFE] >= 1, "no restart cut a turn"
    assert sum(counted.values()) - counted[Verdict.SAFE] == 2 * SESSIONS * TURNS


@on(*REVERSE)
async def test_an_idle_time_out_costs_no_turn_between_turns(shell: ModuleType, kind: str, tmp_path: Path) -> None:
    need(kind)
    async with serve() as server, intermediary(kind, server.port, tmp_path, idle=IDLE) as between:
        async with shell.connect(between.base_url, proxy=None) as session:
            for number in "12":
                lost = anyio.Event()
                stop = session.on("connection_lost", lambda notice, lost=lost: lost.set())
                response = await session.respond(model="m", input=number)
                assert response.output_text == number
                await lost.wait()
                stop()
            assert (await session.respond(model="m", input="3")).output_text == "3"
        assert [entry.connection for entry in server.ledger] == [1, 2, 3]
        assert {entry.outcome for entry in server.ledger} == {"completed"}


@on(*REVERSE)
@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_an_idle_time_out_in_mid_turn_is_judged_by_what_came(
    shell: ModuleType, kind: str, transport: str, tmp_path: Path
) -> None:
    """A model that thinks for longer than the proxy waits: AMBIGUOUS before the first event, UNSAFE after it."""
    need(kind)
    thinking = [Fault(BeforeEvent(1), Delay(60.0), marker="a"), Fault(BeforeEvent(3), Delay(60.0), marker="b")]
    async with serve(faults=thinking) as server, intermediary(kind, server.port, tmp_path, idle=IDLE) as between:
        options = shell.SessionOptions(transport=transport, ping_interval=None, recovery=RecoveryPolicy(attempts=0))
        async with shell.connect(between.base_url, proxy=None, options=options) as session:
            for marker, verdict, phase in (
                ("a", Verdict.AMBIGUOUS, Phase.AWAIT),
                ("b", Verdict.UNSAFE, Phase.STREAM),
            ):
                with pytest.raises(TurnError) as caught:
                    await session.respond(model="m", input="count 9", metadata={"marker": marker})
                assert (caught.value.verdict, caught.value.phase) == (verdict, phase), caught.value
            assert (await session.respond(model="m", input="x")).output_text == "x"
        assert [entry.marker for entry in server.ledger] == ["a", "b", None]


@on(*REVERSE)
async def test_pings_keep_a_silent_turn_from_the_idle_time_out(shell: ModuleType, kind: str, tmp_path: Path) -> None:
    need(kind)
    idle = TICK + IDLE
    thinking = [Fault(BeforeEvent(3), Delay(2.2 * idle))]
    async with serve(faults=thinking) as server, intermediary(kind, server.port, tmp_path, idle=idle) as between:
        options = shell.SessionOptions(ping_interval=IDLE / 2)
        async with shell.connect(between.base_url, proxy=None, options=options) as session:
            assert (await session.respond(model="m", input="x")).output_text == "x"
        assert [entry.outcome for entry in server.ledger] == ["completed"]


REFUSALS = {
    "socks": "it does not accept the user name|it asks for a(nother way| user name) to authenticate",
    "http ": "HTTP status 40[17]",
    "https": "HTTP status 40[17]",
}


async def one_turn(shell: ModuleType, url: str, **arguments: Any) -> None:
    async with shell.connect(url, **arguments) as session:
        await session.respond(model="m", input="x")


@on("http proxy", "https proxy", "socks5h", "socks5")
@pytest.mark.parametrize("credentials", ["", "me:wr0ng@"])
async def test_a_proxy_that_does_not_know_us(shell: ModuleType, kind: str, credentials: str, tmp_path: Path) -> None:
    need(kind)
    async with serve() as server, intermediary(kind, server.port, tmp_path) as between:
        for transport in ("websocket", "http"):
            with pytest.raises(ConnectError) as caught:
                await one_turn(shell, between.base_url, **between.arguments_with(credentials), transport=transport)
            assert (caught.value.verdict, caught.value.cause) == (Verdict.SAFE, Cause.TRANSPORT)
            assert caught.value.phase is Phase.CONNECT
            assert re.search(f"refused to connect to .*: ({REFUSALS[kind[:5]]})", str(caught.value))
            assert "wr0ng" not in str(caught.value)
        assert server.connections == 0


@on(*KINDS)
async def test_large_messages_both_ways(shell: ModuleType, kind: str, tmp_path: Path) -> None:
    need(kind)
    async with serve() as server, intermediary(kind, server.port, tmp_path) as between:
        for transport in ("websocket", "http"):
            async with shell.connect(between.base_url, **between.arguments, transport=transport) as session:
                text = "x" * 2_000_000
                assert (await session.respond(model="m", input=text)).output_text == text
        assert [entry.outcome for entry in server.ledger] == ["completed", "completed"]
