"""What the verdicts of steers promise, held against the ledger of a server: over real TCP, cut around every byte.

As ``test_ledger.py``, whose proxy and whose held transports are used here. A turn is steered while its response runs,
and the connection is cut

*within the message of the steer*
    after so many of its bytes. Held, the shell has handed no more than that: SAFE (R-STEER-2), if that is not all. Else
    AMBIGUOUS (R-STEER-3).
*around its answer*
    before, within and after ``response.steer.accepted``: AMBIGUOUS until that has arrived, then UNSAFE (R-STEER-4).
*around its successor*
    before, within and after every event up to the end of the successor, with which the steer is committed.
*within the message of its turn*
    before it could be sent: it goes with the turn, if that is repeated (R-STEER-7).

What must hold in every run, by the ledger alone: a caller that gives the input of a SAFE steer to another turn never
has it run twice; whatever is said to be committed has run, once, in the response that is named; and what the server has
accepted is not SAFE.

asyncio cuts after every byte, the other backends after every n-th and around the edges. ``TURNWIRE_LEDGER=full`` cuts
after every byte on each of them, with FIN and with RST.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest
import turnwire.aio
from kit import faults_steering
from kit.holding import CLIENT, Held, Hold, make_holdable
from kit.proxy import CuttingProxy, ProxyCut, cutting_proxy
from kit.strict_server import serve
from turnwire.aio.loopback import AfterEvent, Fault, LoopbackServer, Reply, Silence
from turnwire.sansio.connection import INPUT_FACTS, InputState, TurnInput
from turnwire.sansio.errors import TurnError
from turnwire.sansio.replay import Verdict

pytestmark = pytest.mark.anyio

SAFE, UNSAFE, AMBIGUOUS = Verdict.SAFE, Verdict.UNSAFE, Verdict.AMBIGUOUS
FULL = os.environ.get("TURNWIRE_LEDGER") == "full"
PIECE = 40
"""Bytes of a chunk of the shell, where it is held: the message of a steer has four."""
OTHERWISE = 12
"""Every n-th byte is cut after, but on asyncio."""
SLOW = 0.001
"""Seconds before each event of a response that goes on: it is steered meanwhile."""
PATIENCE = 20.0
"""Seconds that no wait should take."""
ACCEPTED = "response.steer.accepted"
ONLY_ASYNCIO = [SimpleNamespace(name="asyncio", anyio_name="asyncio", shell=turnwire.aio)]


class Outcome(NamedTuple):
    """What came of one steer."""

    what: str
    steer: str
    state: str
    verdict: Verdict
    expected: Verdict | None
    """None: whatever follows from what had arrived."""
    successor: str | None
    sent: list[str]
    """The types of the events that the server sent since the steer ..."""
    had: list[str]
    """... and of those that reached the client whole."""
    turn: BaseException | None
    """How its turn failed."""


class Client(Held):
    """Whose tasks these are."""


@pytest.fixture
def anyio_backend(backend) -> str:
    return backend.anyio_name


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def kinds(events: Iterable[bytes]) -> list[str]:
    return [msgspec.json.decode(event)["type"] for event in events]


class Laboratory:
    """A server, a proxy before it, a session that goes through the proxy; and what came of all steers."""

    def __init__(self, shell: Any, server: LoopbackServer, proxy: CuttingProxy, session: Any, client: Client) -> None:
        self.shell = shell
        self.server = server
        self.proxy = proxy
        self.session = session
        self.client = client
        self.outcomes: list[Outcome] = []
        self.given_again: set[str] = set()
        """The steers whose input was given to another turn."""
        self._number = 0

    async def steer(
        self,
        cut: ProxyCut | None,
        *,
        held: bool = False,
        runs_on: bool = False,
        at_once: bool = False,
        until_it_ran: bool = False,
        expected: Verdict | None = None,
    ) -> Outcome:
        """Steer one turn, and cut. ``runs_on``: the response goes on to its end. ``at_once``: steer before there is a
        response, and cut the turn's own message instead. ``until_it_ran``: cut when the server has run the steer's
        input, and let the client hear nothing meanwhile."""
        self._number += 1
        steer = f"steer {self._number:06d}"
        if cut is not None and until_it_ran:
            cut = replace(cut, ready=lambda: self._has_run(steer))
        body = {"model": "gpt-6", "input": "a b c d", "metadata": {"marker": steer}}
        if not runs_on:
            self.server.faults.append(Fault(AfterEvent(2), Silence(), marker=steer))
        self.proxy.arm("client", cut if at_once else None)
        failure: BaseException | None = None
        given: Any = None
        with anyio.fail_after(PATIENCE):
            try:
                if at_once and held and cut is not None:
                    self.client.hold = Hold(max(cut.up or 0, 1))
                async with self.session.create(**body) as turn:
                    given = await turn.steer(steer) if at_once else None
                    async for event in turn:
                        if given is None and event.type == "response.in_progress":
                            self.proxy.arm("client", cut)
                            if held and cut is not None:
                                self.client.hold = Hold(max(cut.up or 0, 1))
                            given = await turn.steer(steer)
            except TurnError as exc:
                failure = exc
            await given.settled()
        self.client.hold = None
        passages = self.proxy.passages["client"]
        sent = [kind for passage in passages for kind in kinds(passage.events)]
        had = [kind for passage in passages for kind in kinds(passage.events[: passage.forwarded])]
        where = f"{cut}, {'held' if held else 'flowing'}, {steer}"
        one = (where, steer, given.state, given.verdict, expected, given.successor_id, sent, had, failure)
        self.outcomes.append(Outcome(*one))
        if given.verdict is SAFE:
            self.given_again.add(steer)
            await self.session.respond(model="gpt-6", input=steer)
        return self.outcomes[-1]

    async def _has_run(self, steer: str) -> None:
        while not any(steer in str(entry.input) for entry in self.server.ledger):
            await anyio.sleep(SLOW)

    async def wrong(self) -> list[str]:
        """Hold all outcomes against the server's ledger. To be asked when the session is closed."""
        with anyio.fail_after(PATIENCE):
            while self.proxy.open:
                await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()
        ran: dict[str, list[str]] = {}
        for entry in self.server.ledger:
            for steer in (one.steer for one in self.outcomes if one.steer in str(entry.input)):
                ran.setdefault(steer, []).append(entry.response_id)
        found = ((one, said) for one in self.outcomes for said in self._said(one, ran.get(one.steer, [])))
        return [f"{one.what}, {one.state}: {said}" for one, said in found]

    def _said(self, one: Outcome, ran: list[str]) -> Iterable[str]:
        if len(ran) > 1:
            yield f"twice: its input ran {len(ran)} times"
        if one.steer in self.given_again and len(ran) != 1:
            yield f"SAFE, and its input ran {len(ran)} times after it was given to another turn"
        if one.verdict is SAFE and ACCEPTED in one.sent:
            yield "SAFE, and the server had accepted it"
        if one.state == "committed" and ran != [one.successor]:
            yield f"committed with {one.successor}, and it ran in {ran}"
        expected = one.expected or (UNSAFE if ACCEPTED in one.had else AMBIGUOUS)
        if one.verdict is not expected:
            yield f"verdict {one.verdict.name}, and is to be {expected.name}"
        if isinstance(one.turn, TurnError) and one.turn.verdict is SAFE and "response.created" in one.had:
            yield "its turn is SAFE, and had begun"


@asynccontextmanager
async def laboratory(shell: Any, *, repeats: bool = True, patience: float = PATIENCE) -> AsyncIterator[Laboratory]:
    """It is judged after the block."""
    timeouts = shell.Timeouts(patience, patience, patience, patience)
    recovery = shell.RecoveryPolicy(attempts=int(repeats), initial_delay=0)
    more: dict[str, Any] = {"ping_interval": None, "close_timeout": patience, "transport": "websocket"}
    options = shell.SessionOptions(recovery=recovery, timeouts=timeouts, **more)
    client = Client()
    token = CLIENT.set(client)

    def reply(asked: Any) -> Reply:
        return Reply("e f g h", latency=SLOW)

    async with serve(reply=reply) as server, cutting_proxy(server.host, server.port) as proxy:
        headers = {"x-client": "client"}
        async with shell.connect(proxy.base_url, headers=headers, proxy=None, options=options) as session:
            lab = Laboratory(shell, server, proxy, session, client)
            yield lab
        CLIENT.reset(token)


async def judged(lab: Laboratory, summary: Any, what: str) -> None:
    wrong = await lab.wrong()
    verdicts = Counter(one.verdict.name for one in lab.outcomes)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(verdicts.items()))
    summary.append(f"steers, {what}: {len(lab.outcomes)} steers ({counts}), {len(lab.server.ledger)} in the ledger")
    done = {"steers": len(lab.outcomes), "in the ledger": len(lab.server.ledger), **verdicts}
    summary.ran("ledger of steers", what.partition(",")[0], violations=len(wrong), **done)
    assert not wrong, "\n".join(wrong[:10])


async def measured(lab: Laboratory) -> tuple[int, int]:
    """How many bytes the message of a steer has, and how many events follow it."""
    outcome = await lab.steer(None, runs_on=True)
    assert outcome.state == "committed", outcome
    (passage,) = lab.proxy.passages["client"]
    return passage.length, len(passage.events)


# --- Cuts ------------------------------------------------------------------------------------------------------------


async def test_cut_after_every_byte_of_a_steer(shell, backend, monkeypatch, summary):
    """R-PROOF-3."""
    set_chunk = make_holdable(monkeypatch)
    async with laboratory(shell) as lab:
        length, _ = await measured(lab)
        assert 2 * PIECE < length < 5 * PIECE
        stride = 1 if FULL or backend.name == "asyncio" else OTHERWISE
        edges = {0, 1, length - 1, length, *(n + d for n in range(PIECE, length, PIECE) for d in (-1, 0, 1))}
        for held in (True, False):
            set_chunk(PIECE if held else 65536)
            for up in sorted({*range(0, length + 1, stride if held else 4 * stride), *edges}):
                handed = min(-(-max(up, 1) // PIECE) * PIECE, length) if held else length
                expected = SAFE if handed < length else AMBIGUOUS
                for reset in (False, True) if FULL else (up % 2 == 0,):
                    await lab.steer(ProxyCut(up=up, reset=reset), held=held, expected=expected)
    await judged(lab, summary, f"{backend.name}, after every byte")
    assert {one.verdict for one in lab.outcomes} == {SAFE, AMBIGUOUS, UNSAFE}


async def test_cut_around_the_answer_to_a_steer(shell, backend, summary):
    async with laboratory(shell) as lab:
        for where, reset, expected in (
            ("before", False, AMBIGUOUS),
            ("before", True, AMBIGUOUS),
            ("within", False, AMBIGUOUS),
            ("after", False, UNSAFE),
        ):
            outcome = await lab.steer(ProxyCut(**{where: 1}, reset=reset), expected=expected)
            assert (outcome.state, outcome.sent) == ("unknown", [ACCEPTED])
        # The server runs the steer, and the client hears nothing of it.
        await lab.steer(ProxyCut(before=1), runs_on=True, until_it_ran=True, expected=AMBIGUOUS)
    await judged(lab, summary, f"{backend.name}, around its answer")


async def test_cut_around_every_event_up_to_the_successors_end(shell, backend, summary):
    """R-PROOF-3."""
    async with laboratory(shell) as lab:
        _, events = await measured(lab)
        states = Counter[str]()
        for k in range(1, events + 1):
            for where in ("before", "within", "after") if FULL or backend.name == "asyncio" else ("before",):
                outcome = await lab.steer(ProxyCut(**{where: k}), runs_on=True)
                states[outcome.state] += 1
    await judged(lab, summary, f"{backend.name}, around its successor")
    assert states["unknown"] >= 3
    assert states["committed"] >= 3


@pytest.mark.parametrize("repeats", [True, False])
async def test_a_steer_that_was_not_sent_goes_with_its_turn(shell, backend, monkeypatch, summary, repeats):
    make_holdable(monkeypatch)(PIECE)
    async with laboratory(shell, repeats=repeats) as lab:
        for up in (0, PIECE + 1):
            expected = UNSAFE if repeats else SAFE
            outcome = await lab.steer(ProxyCut(up=up), held=True, runs_on=True, at_once=True, expected=expected)
            assert outcome.state == ("committed" if repeats else "failed")
            assert (outcome.turn is None) is repeats
    await judged(lab, summary, f"{backend.name}, not sent, recovery {'on' if repeats else 'off'}")


# --- Would it be noticed? --------------------------------------------------------------------------------------------


def what_was_accepted_is_unsure(patch: pytest.MonkeyPatch) -> None:
    states = (InputState.ACCEPTED, InputState.LOST_ACCEPTED)
    facts = {**INPUT_FACTS, **{one: INPUT_FACTS[one]._replace(verdict=AMBIGUOUS) for one in states}}
    patch.setattr(TurnInput, "facts", property(lambda self: facts[self.state]))


FAULTS: dict[Callable[[pytest.MonkeyPatch], None] | None, str] = {
    None: "",
    faults_steering.a_steer_is_safe_after_its_last_byte: "twice: its input ran 2 times",
    faults_steering.a_steer_is_unsure_before_its_last_byte: "verdict AMBIGUOUS, and is to be SAFE",
    what_was_accepted_is_unsure: "verdict AMBIGUOUS, and is to be UNSAFE",
}
"""What is planted, and what is said of it."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__ if fault else "none")
@pytest.mark.parametrize("backend", ONLY_ASYNCIO, ids=["asyncio"])
async def test_a_wrong_verdict_of_a_steer_is_found(shell, monkeypatch, fault):
    """On asyncio only: what is broken here is the core."""
    set_chunk = make_holdable(monkeypatch)
    async with laboratory(shell, patience=2.0) as lab:
        length, _ = await measured(lab)
        if fault is not None:
            fault(monkeypatch)
        set_chunk(PIECE)
        for up in (0, PIECE, length):
            await lab.steer(ProxyCut(up=up), held=True, expected=SAFE if up < length else AMBIGUOUS)
        set_chunk(65536)
        await lab.steer(ProxyCut(after=1))
        await lab.steer(ProxyCut(before=1), runs_on=True, until_it_ran=True)
    wrong = await lab.wrong()
    assert bool(wrong) is (fault is not None), wrong
    assert FAULTS[fault] in "\n".join(wrong)
