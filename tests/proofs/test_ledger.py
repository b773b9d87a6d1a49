"""What the verdicts promise, held against the ledger of a server: over real TCP, cut at every byte and every event.

A proxy (``proxy.py``) cuts; the server (``turnwire.aio.loopback``) keeps its ledger of what it ran; the shell under
test believes what it sees. Each turn carries a marker, by which the ledger knows it. :func:`judge` then says what must
hold in every run, and :class:`Expectation` what REPLAY.md's table says of *this* cut, from where it was made alone.

A cut on the way up has two sides. What the proxy forwarded decides whether the server ran the turn; what the shell has
begun to write decides what it may say. The two differ by what is in flight, so every offset is cut twice:

*flowing*
    The shell writes as it always does. The message is smaller than a chunk, so all of it has been handed by the time
    the first byte arrives, and whatever the offset: AMBIGUOUS.
*held*
    The shell writes chunks of :data:`PIECE` bytes, and its transport takes no more after the offset, as if the socket's
    buffers were full. So it is known to the byte what was handed: SAFE, if that is not all; else AMBIGUOUS.

The same is done to a server that has no lanes and to one that does not announce them, with turns that name theirs; and
over HTTP, to a request and to its answer.

What is not tried everywhere: asyncio cuts after every byte; the other backends, whose core is the same, after every
n-th, and around the edges of chunks and of the message. ``TURNWIRE_LEDGER=full`` cuts after every byte on every
backend, each byte with FIN and with RST, stateless and stateful, recovery on and off.

After that come: the same with buffers that are really full; turns that fail in another way, or before they are sent;
chance, with lanes that share a connection; and the proof that all this would notice a verdict that is wrong.
"""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
import random
import statistics
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
import turnwire.aio
from kit import faults
from kit.holding import CLIENT, Held, Hold, make_holdable
from kit.http_link import HttpLink
from kit.mutants import MUTANTS
from kit.proxy import CuttingProxy, Passage, ProxyCut, ProxyLink, cutting_proxy
from kit.strict_server import serve
from turnwire.aio.loopback import AfterEvent, BeforeRun, Cut, Error, Fault, LoopbackServer, Upgrading
from turnwire.sansio import evidence as rules
from turnwire.sansio.errors import TurnError
from turnwire.sansio.lanes import AUTO, AnyLane
from turnwire.sansio.replay import Cause, Phase, Verdict, VerdictRow

pytestmark = pytest.mark.anyio

SAFE, UNSAFE, AMBIGUOUS = Verdict.SAFE, Verdict.UNSAFE, Verdict.AMBIGUOUS

AT_ONCE = 16
"""Sessions side by side; half of them repeat by themselves."""
PIECE = 160
"""Bytes a chunk of the shell, where it is held."""
SAFETY_NET = 20.0
"""Seconds: the turns' own deadlines, and the shells' other patience. None should ever be needed."""
SLOW = 0.9
"""Seconds. A turn has nothing to wait for but its peers, so most are over in much less; the shells' own waits, those
that are not options, are of half a second and a second."""
PADDING = 450
"""Characters of input that bring the message to 0.6 KB: four chunks, and a length of three bytes in its frame, as that
of any message from 126 bytes to 64 KB."""
HTTP_PIECE = 100
"""Bytes of a chunk of a request over HTTP, where it is held; such a request has few bytes, and each is cut after."""
STRIDES = {"asyncio": 1}
"""Every n-th offset is cut; where no number is given, OTHERWISE."""
OTHERWISE = 16
SERVERS: dict[str, dict[str, Any]] = {
    "lanes": {},
    "lanes unannounced": {"dialect": None, "lane": "lane"},
    "no lanes": {"dialect": "no-lanes", "lane": "lane"},
}
"""What kinds of servers there are, and the lane of the turns that are run on them (PROTOCOL.md, "Dialects")."""
FULL = os.environ.get("TURNWIRE_LEDGER") == "full"
"""Everything that can be tried, on every backend: takes some minutes."""
SHARDS = min(2, os.cpu_count() or 1) if FULL else 1
"""Processes that share the cuts of one message. To start one takes as long as some hundred turns."""


# --- What is tried ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Try:
    """One turn, and where it is cut."""

    cut: ProxyCut
    stateful: bool
    held: bool = False

    def __str__(self) -> str:
        place = " ".join(
            f"{name} {value}"
            for name in ("up", "before", "within", "after", "down")
            if (value := getattr(self.cut, name)) is not None
        )
        how = "RST" if self.cut.reset else "FIN"
        return f"{place}, {how}, {'held' if self.held else 'flowing'}, {'stateful' if self.stateful else 'stateless'}"


@dataclass(frozen=True)
class Expectation:
    """What must come of it."""

    verdict: Verdict | None
    """Of the first attempt; None: it succeeds."""
    ran: tuple[int, ...]
    """How often the first attempt may be in the ledger."""
    delivered: int | None = None
    """How many events the consumer got from the first attempt, if that is known."""
    causes: tuple[Cause, ...] = ()
    phase: Phase | None = None
    repeatable: bool = True
    """Whether automatic recovery, where it is on, makes a success of SAFE."""
    attempts: int | None = None
    """How many of them reach the server; None: as many as there are."""
    or_else: Verdict | None = None
    """A verdict that is as right, because it is chance what arrived."""

    @classmethod
    def of(cls, attempt: Try, length: int, events: int, piece: int = PIECE) -> Expectation:
        """By REPLAY.md, of a message of so many bytes, handed in such pieces, whose answer is so many events."""
        cut = attempt.cut
        causes = (Cause.TRANSPORT,) if cut.reset else (Cause.EOF,)
        if cut.up is not None:
            ran = (0, 1) if cut.up == length else (0,)
            handed = math.ceil(max(cut.up, 1) / piece) * piece if attempt.held else length
            verdict, phase = (AMBIGUOUS, Phase.AWAIT) if handed >= length else (SAFE, Phase.SEND)
            return cls(verdict, ran, 0, causes, phase)
        delivered = cut.after if cut.after is not None else (cut.before or cut.within or 0) - 1
        if delivered == events:
            return cls(None, (1,), delivered)
        verdict, phase = (UNSAFE, Phase.STREAM) if delivered else (AMBIGUOUS, Phase.AWAIT)
        return cls(verdict, (1,), delivered, causes, phase)

    @classmethod
    def of_answer(cls, cut: ProxyCut, ends: list[int]) -> Expectation:
        """The same of a request over HTTP whose answer is cut within: by REPLAY.md, "HTTP turn"."""
        assert cut.down is not None
        head, *events, _ = ends
        delivered = sum(end <= cut.down for end in events)
        causes = (Cause.TRANSPORT,) if cut.reset else (Cause.EOF,)
        if delivered == len(events):
            return cls(None, (1,), delivered)
        if delivered:
            return cls(UNSAFE, (1,), delivered, causes, Phase.STREAM)
        if cut.down < head:
            return cls(AMBIGUOUS, (1,), 0, causes, Phase.AWAIT)
        # Status 200 is the server's word that it runs the turn. RST may overtake it.
        return cls(UNSAFE, (1,), 0, causes, or_else=AMBIGUOUS if cut.reset else None)


@dataclass
class Outcome:
    """What came of it."""

    what: str
    marker: str
    expected: Expectation
    repeats: bool
    """Whether automatic recovery was on."""
    stateful: bool
    error: BaseException | None = None
    delivered: list[bytes] = field(default_factory=list)
    sent: list[list[bytes]] = field(default_factory=list)
    """By attempt, what the server sent."""
    seconds: float = 0.0
    was_cut: bool = True

    @property
    def verdict(self) -> Verdict | None:
        return self.error.verdict if isinstance(self.error, TurnError) else None


def judge(outcome: Outcome, in_ledger: int) -> list[str]:
    """What is wrong with it: nothing, if all is well."""
    expected, error, wrong = outcome.expected, outcome.error, []

    def check(fine: object, complaint: str) -> None:
        if not fine:
            wrong.append(f"{outcome.what}, recovery {'on' if outcome.repeats else 'off'}: {complaint}")

    repeated = expected.verdict is SAFE and expected.repeatable and outcome.repeats
    check(outcome.was_cut, "was not cut where it should have been")
    check(outcome.seconds < SAFETY_NET, f"took {outcome.seconds:.1f} s")
    check(outcome.verdict is not SAFE or in_ledger == 0, f"verdict SAFE, and {in_ledger} times in the ledger")
    check(in_ledger <= 1, f"{in_ledger} times in the ledger")
    if expected.verdict is None or repeated:
        check(error is None, f"ought to succeed, and raised {error!r}")
        check(in_ledger == 1, f"succeeded, and is {in_ledger} times in the ledger")
        check(outcome.sent and outcome.delivered == outcome.sent[-1], "did not get all the events that were sent")
        attempts = expected.attempts or (2 if repeated else 1)
        check(len(outcome.sent) == attempts, f"took {len(outcome.sent)} attempts, not {attempts}")
        return wrong
    if not isinstance(error, TurnError):
        check(False, f"ought to end in a TurnError, not in {error!r}")
        return wrong
    evidence = error.evidence
    check(
        evidence.verdict in (expected.verdict, expected.or_else),
        f"verdict {evidence.verdict}, but it ought to be {expected.verdict}",
    )
    check(expected.phase in (None, evidence.phase), f"phase {evidence.phase!r}, but it ought to be {expected.phase!r}")
    check(evidence.final_byte_handed is (evidence.phase >= Phase.AWAIT), "the evidence contradicts itself")
    check(in_ledger in expected.ran, f"{in_ledger} times in the ledger, not {expected.ran}")
    check(evidence.cause in expected.causes, f"cause {evidence.cause}, but it ought to be {expected.causes}: {error!r}")
    check(evidence.stateful is outcome.stateful, "the evidence is wrong about being stateful")
    check(evidence.response_started is bool(outcome.delivered), "the evidence is wrong about a response having started")
    check(len(outcome.sent) <= 1, f"took {len(outcome.sent)} attempts")
    sent = outcome.sent[0] if outcome.sent else []
    check(outcome.delivered == sent[: len(outcome.delivered)], "the events delivered are not the first of those sent")
    if expected.delivered is not None:
        check(len(outcome.delivered) == expected.delivered, f"{len(outcome.delivered)} events of {expected.delivered}")
    return wrong


# --- The laboratory --------------------------------------------------------------------------------------------------


@dataclass
class Client(Held):
    """One session under test."""

    name: str
    repeats: bool
    session: Any = None
    hold: Hold | None = None
    received: int = 0
    news: anyio.Event = field(default_factory=anyio.Event)

    def tell(self) -> None:
        """The consumer has one more event."""
        self.received += 1
        self.news.set()
        self.news = anyio.Event()

    async def has(self, events: int) -> None:
        """Wait until its consumer has so many."""
        while self.received < events:
            await self.news.wait()


@pytest.fixture
def anyio_backend(backend) -> str:
    return backend.anyio_name


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def holdable(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return make_holdable(monkeypatch)


class Laboratory:
    """A server, a proxy before it, sessions that go through the proxy; and what came of all turns."""

    def __init__(
        self, shell: Any, server: LoopbackServer, proxy: CuttingProxy, lane: str | None = None, **session: Any
    ) -> None:
        self.shell = shell
        self.session = {"transport": "websocket", **session}
        """Options of the sessions."""
        self.lane = lane
        """Of the turns that are cut."""
        self.server = server
        self.proxy = proxy
        self.outcomes: list[Outcome] = []
        self.previous = ""
        """A response to continue."""
        self.length: dict[bool, int] = {}
        """Bytes of the message, stateful or not."""
        self.events = 0
        """How many a turn has."""
        self.ends: dict[bool, list[int]] = {}
        """Over HTTP, where the parts of its answer end."""
        self.padding = PADDING
        self.piece = PIECE
        self.patience = SAFETY_NET
        self._markers = 0

    def options(self, *, repeats: bool) -> Any:
        """No wait of its own, and no control frame: what is on the wire is the turns'."""
        return self.shell.SessionOptions(
            recovery=self.shell.RecoveryPolicy(attempts=1 if repeats else 0, initial_delay=0),
            timeouts=self.shell.Timeouts(self.patience, self.patience, self.patience, self.patience),
            ping_interval=None,
            close_timeout=self.patience,
            **self.session,
        )

    @asynccontextmanager
    async def client(self, name: str, *, repeats: bool) -> AsyncIterator[Client]:
        client = Client(name, repeats)
        token = CLIENT.set(client)
        options = self.options(repeats=repeats)
        async with self.shell.connect(
            self.proxy.base_url, headers={"x-client": name}, proxy=None, options=options
        ) as client.session:
            yield client
        CLIENT.reset(token)

    def body(self, *, stateful: bool, padding: int | None = None) -> dict[str, Any]:
        self._markers += 1
        padding = self.padding if padding is None else padding
        return {
            "model": "m",
            "input": [{"role": "user", "content": "x" * padding}, {"role": "user", "content": "hi"}],
            "metadata": {"marker": f"{self._markers:08d}"},
            "store": False,
            **({"previous_response_id": self.previous} if stateful else {}),
        }

    async def measure(self) -> None:
        """One good turn of each kind, to know how long they are."""
        for stateful in (False, True):  # Each on its own connection: there a server's dialect is not known yet.
            async with self.client("measure", repeats=False) as client:
                self.previous = (await client.session.respond(model="m", input="before")).id
                self.proxy.arm("measure", None)
                await client.session.respond(stream_id=self.lane, **self.body(stateful=stateful))
                (passage,) = self.proxy.passages["measure"]
                assert passage.length
                self.length[stateful], self.events = passage.length, len(passage.events)
                self.ends[stateful] = passage.ends

    async def attempt(
        self, client: Client, attempt: Try, *, padding: int | None = None, expected: Expectation | None = None
    ) -> Outcome:
        """Run one turn, cut as it says."""
        cut = attempt.cut
        if cut.reset and cut.up is None:  # An RST overtakes what the client has not read.
            events = cut.after if cut.after is not None else (cut.before or cut.within or 0) - 1
            if cut.down is not None:
                events = sum(end <= cut.down for end in self.ends[attempt.stateful][1:-1])
            cut = replace(cut, ready=lambda: client.has(events))
        if expected is None and cut.down is not None:
            expected = Expectation.of_answer(cut, self.ends[attempt.stateful])
        expected = expected or Expectation.of(attempt, self.length[attempt.stateful], self.events, self.piece)
        self.proxy.arm(client.name, cut)
        client.hold = Hold(max(cut.up, 1)) if attempt.held and cut.up is not None else None
        body = self.body(stateful=attempt.stateful, padding=padding)
        outcome = await self.run(client, str(attempt), body, expected, stream_id=self.lane)
        passages = self.proxy.passages[client.name]
        over = cut.down is not None and expected.verdict is None  # All that the consumer waited for had come.
        outcome.was_cut = over or (bool(passages) and passages[0].was_cut)
        outcome.sent = [passage.events for passage in passages]
        return outcome

    async def run(
        self,
        client: Client,
        what: str,
        body: dict[str, Any],
        expected: Expectation,
        *,
        leave_after: int | None = None,
        **more: Any,
    ) -> Outcome:
        """Run one turn, and note what comes of it."""
        outcome = Outcome(
            what=what,
            marker=body["metadata"]["marker"],
            expected=expected,
            repeats=client.repeats,
            stateful="previous_response_id" in body,
        )
        self.outcomes.append(outcome)
        client.received = 0
        began = time.monotonic()
        with anyio.move_on_after(2 * SAFETY_NET) as limit:
            try:
                async with client.session.create(**body, **more) as turn:
                    async for event in turn:
                        outcome.delivered.append(event.raw_bytes)
                        client.tell()
                        if len(outcome.delivered) == leave_after:
                            break
            except Exception as exc:
                outcome.error = exc
        if limit.cancelled_caught:
            outcome.error = AssertionError("it hangs")
        outcome.seconds = time.monotonic() - began
        return outcome

    async def work(self, name: str, repeats: bool, queue: Iterator[Try]) -> None:
        """Each of them, one after another."""
        over = False
        while not over:
            async with self.client(name, repeats=repeats) as client:
                over = True
                for attempt in queue:
                    outcome = await self.attempt(client, attempt)
                    if outcome.expected.verdict is None or (self.lane and outcome.error is None):
                        # The connection was cut when the turn was over. Whether the session knows that by its next
                        # turn is chance: it gets another one. So it does where its connection has learned whether
                        # the server has lanes, for then its messages are shorter.
                        over = False
                        break

    async def run_all(self, tries: Iterable[Try], *, share: bool = False) -> None:
        """Each of them, with recovery on and off (``share``: on or off), on sessions side by side."""
        tries = list(tries)
        async with anyio.create_task_group() as tasks:
            for repeats in (False, True):
                queue = iter(tries[repeats::2] if share else tries)
                for number in range(AT_ONCE // 2):
                    tasks.start_soon(self.work, f"{number} {'on' if repeats else 'off'}", repeats, queue)

    async def all_read(self) -> None:
        """Wait until the server has read whatever reached it."""
        with anyio.fail_after(SAFETY_NET):
            while self.proxy.open:
                await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()

    async def verdict(self) -> list[str]:
        """Hold all outcomes against the server's ledger."""
        await self.all_read()
        ledger = Counter(entry.marker for entry in self.server.ledger)
        wrong = [complaint for outcome in self.outcomes for complaint in judge(outcome, ledger[outcome.marker])]
        usual = statistics.median([outcome.seconds for outcome in self.outcomes] or [0.0])
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # Where other programs run, all take longer.
        if usual > SLOW * busy:
            wrong.append(f"turns take {usual:.1f} s")
        limit = max(SLOW * busy, 5 * usual)
        slow = [outcome for outcome in self.outcomes if outcome.seconds > limit]
        if len(slow) > 2 * AT_ONCE + len(self.outcomes) // 20:
            wrong.append(f"{len(slow)} turns took more than {limit:.1f} s, among them: {slow[0].what}")
        return wrong


@asynccontextmanager
async def laboratory(
    shell: Any, *, lane: str | None = None, transport: str = "websocket", **options: Any
) -> AsyncIterator[Laboratory]:
    link = HttpLink if transport == "http" else ProxyLink
    async with serve(**options) as server, cutting_proxy(server.host, server.port, link=link) as proxy:
        lab = Laboratory(shell, server, proxy, lane, transport=transport)
        if transport == "http":
            lab.padding, lab.piece = 0, HTTP_PIECE
        await lab.measure()
        yield lab


def kinds() -> Iterator[tuple[bool, bool]]:
    """FIN and RST, stateless and stateful."""
    return ((reset, stateful) for reset in (False, True) for stateful in (False, True))


def on_the_way_up(lab: Laboratory, stride: int, *, held: bool) -> list[Try]:
    """After every byte, or every nth, of a turn's message; also before the first and after the last."""
    tries = []
    for reset, stateful in kinds():
        length = lab.length[stateful]
        edges = {0, 1, length - 1, length, *(n + d for n in range(PIECE, length, PIECE) for d in (-1, 0, 1))}
        offsets = sorted({*range(0, length + 1, stride), *edges})
        tries += [Try(ProxyCut(up=up, reset=reset), stateful, held) for up in offsets]
    if held or FULL:
        return tries
    order = list(kinds())
    return [one for one in tries if (one.cut.up or 0) % 4 == order.index((one.cut.reset, one.stateful))]


def on_the_way_down(lab: Laboratory) -> list[Try]:
    """Before, within and after every event."""
    return [
        Try(ProxyCut(**{where: k}, reset=reset), stateful)
        for where in ("before", "within", "after")
        for k in range(1, lab.events + 1)
        for reset, stateful in kinds()
    ]


def fail(wrong: list[str]) -> None:
    shown = "\n".join(wrong[:20])
    assert not wrong, f"{len(wrong)} violations:\n{shown}"


# --- Every byte, every event -----------------------------------------------------------------------------------------


@dataclass
class Report:
    """What was done, and what was wrong."""

    cuts: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    ran: int = 0
    wrong: list[str] = field(default_factory=list)

    async def add(self, lab: Laboratory) -> None:
        self.wrong += await lab.verdict()
        self.cuts += lab.proxy.cuts
        self.ran += len(lab.server.ledger)
        self.verdicts.update(outcome.verdict.name if outcome.verdict else "well" for outcome in lab.outcomes)

    async def add_random(self, lab: Laboratory, left: set[str]) -> None:
        await lab.all_read()
        ledger = Counter(entry.marker for entry in lab.server.ledger)
        sent = by_response(passage for passages in lab.proxy.passages.values() for passage in passages)
        self.cuts, self.ran = lab.proxy.cuts, len(lab.server.ledger)
        for outcome in lab.outcomes:
            self.verdicts[outcome.verdict.name if outcome.verdict else "well"] += 1
            self.wrong += judge_random(outcome, ledger[outcome.marker], sent, left=outcome.marker in left)

    def merge(self, other: Report) -> None:
        self.cuts += other.cuts
        self.verdicts += other.verdicts
        self.ran += other.ran
        self.wrong += other.wrong

    def conclude(self, summary: Any, what: str, began: float) -> None:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.verdicts.items()))
        summary.append(
            f"{what}: {self.cuts} cuts, {self.verdicts.total()} turns ({counts}), {self.ran} in the ledger, "
            f"{len(self.wrong)} violations, {time.monotonic() - began:.1f} s"
        )
        done = {"cuts": self.cuts, "turns": self.verdicts.total(), "in the ledger": self.ran}
        done |= sorted(self.verdicts.items())
        summary.ran("ledger", what.partition(",")[0], violations=len(self.wrong), **done)
        shown = "\n".join(self.wrong[:20])
        assert not self.wrong, f"{len(self.wrong)} violations:\n{shown}"


def shard(shell_name: str, anyio_name: str, kind: str, stride: int, number: int) -> list[Report]:
    """One process's share of the cuts on the way up, with this kind of server: held, flowing."""
    shell = importlib.import_module(shell_name)
    reports = [Report(), Report()]

    async def main() -> None:
        for held, report in zip((True, False), reports, strict=True):
            set_chunk(PIECE if held else 65536)
            async with laboratory(shell, **SERVERS[kind]) as lab:
                assert 3 * PIECE < lab.length[False] < lab.length[True] < 5 * PIECE
                tries = on_the_way_up(lab, stride, held=held)
                if stride == 1:  # From byte to byte the kinds take turns; around the last byte all are made.
                    tries = each_in_its_turn(tries, lambda cut: cut.up or 0, lab.length[False] - 16)
                tries = tries[number::SHARDS]
                # Flowing, nothing but the offset makes a difference: each kind of cut takes its turn.
                await lab.run_all(tries, share=not held and not FULL)
                await report.add(lab)

    with pytest.MonkeyPatch.context() as patch:
        set_chunk = make_holdable(patch)
        anyio.run(main, backend=anyio_name)
    return reports


def shares(*what: Any) -> Iterable[list[Report]]:
    """What came of all the shares."""
    if SHARDS == 1:
        return [shard(*what, 0)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(SHARDS, mp_context=context, initializer=warnings.simplefilter, initargs=["error"]) as pool:
        return [each.result() for each in [pool.submit(shard, *what, number) for number in range(SHARDS)]]


@pytest.fixture
def stride(backend) -> int:
    return 1 if FULL else STRIDES.get(backend.name, OTHERWISE)


@pytest.mark.parametrize("kind", SERVERS)
def test_cut_after_every_byte_of_a_message(backend, kind, stride, summary):
    """R-PROOF-3, R-VERDICT-9, R-VERDICT-10, R-EVIDENCE-4."""
    stride = stride if kind == "lanes" or FULL else 2 * OTHERWISE
    began, totals = time.monotonic(), [Report(), Report()]
    for share in shares(backend.shell.__name__, backend.anyio_name, kind, stride):
        for total, report in zip(totals, share, strict=True):
            total.merge(report)
    for name, total in zip(("held", "flowing"), totals, strict=True):
        total.conclude(summary, f"{backend.name}, {kind}, after every byte, {name}", began)


@pytest.mark.parametrize("kind", SERVERS)
async def test_cut_before_within_and_after_every_event(shell, backend, kind, summary):
    """R-PROOF-3."""
    began, report = time.monotonic(), Report()
    async with laboratory(shell, **SERVERS[kind]) as lab:
        await lab.run_all(on_the_way_down(lab))
        await report.add(lab)
    report.conclude(summary, f"{backend.name}, {kind}, around every event", began)


# --- HTTP ------------------------------------------------------------------------------------------------------------

HTTP_STRIDES = {"asyncio": 1, "trio": 1}
"""Every n-th byte of a request is cut after; where no number is given, HTTP_OTHERWISE."""
HTTP_OTHERWISE = 17
ANSWER_STRIDE = 9
"""How many times fewer of an answer, but for its head and its edges, if not everything is asked for."""


async def run_over_http(lab: Laboratory, tries: list[Try]) -> None:
    """One after another, for the proxy cannot tell clients apart; recovery is on for every second one."""
    for repeats in (False, True):  # A name as long as the one with which requests were measured.
        await lab.work("repeats" if repeats else "forgets", repeats, iter(tries[repeats::2]))


def each_in_its_turn(tries: Iterable[Try], where: Callable[[ProxyCut], int], edge: int) -> list[Try]:
    """FIN and RST, stateless and stateful, take turns from byte to byte; from the edge on, all are made."""
    order = list(kinds())
    return [
        one
        for one in tries
        if FULL or where(one.cut) >= edge or where(one.cut) % 4 == order.index((one.cut.reset, one.stateful))
    ]


@pytest.mark.parametrize("held", [True, False], ids=["held", "flowing"])
async def test_cut_after_every_byte_of_a_request(shell, backend, holdable, summary, held):
    """R-PROOF-3."""
    began, report = time.monotonic(), Report()
    async with laboratory(shell, transport="http") as lab:
        holdable(HTTP_PIECE if held else 65536)
        stride = 1 if FULL else HTTP_STRIDES.get(backend.name, HTTP_OTHERWISE)
        tries = [
            Try(ProxyCut(up=up, reset=reset), stateful, held)
            for reset, stateful in kinds()
            for up in sorted({*range(0, lab.length[stateful] + 1, stride), lab.length[stateful]})
        ]
        await run_over_http(lab, each_in_its_turn(tries, lambda cut: cut.up or 0, lab.length[False] - 1))
        assert lab.server.ledger[-1].transport != "websocket"
        await report.add(lab)
    report.conclude(
        summary, f"{backend.name}, HTTP, after every byte of a request, {'held' if held else 'flowing'}", began
    )


async def test_cut_after_every_byte_of_an_answer(shell, backend, summary):
    """R-PROOF-3. The head too: its last byte is the server's word that it runs the turn."""
    began, report = time.monotonic(), Report()
    async with laboratory(shell, transport="http") as lab:
        stride = HTTP_STRIDES.get(backend.name, HTTP_OTHERWISE)
        tries = []
        for reset, stateful in kinds():
            ends = lab.ends[stateful]
            edges = {end + d for end in ends for d in (-1, 0, 1) if end + d <= ends[-1]}
            some = {*range(0, ends[0] + 1, stride), *range(0, ends[-1], ANSWER_STRIDE * stride), *edges}
            cuts = range(ends[-1] + 1) if FULL else sorted(some)
            tries += [Try(ProxyCut(down=down, reset=reset), stateful) for down in cuts]
        await run_over_http(lab, each_in_its_turn(tries, lambda cut: cut.down or 0, lab.ends[False][-1]))
        await report.add(lab)
    report.conclude(summary, f"{backend.name}, HTTP, after every byte of an answer", began)


async def test_cut_around_every_event_of_an_answer(shell, backend, summary):
    """A cut within the first event leaves the head of the answer, with a status that says that the turn runs."""
    began, report = time.monotonic(), Report()
    async with laboratory(shell, transport="http") as lab:
        tries = [one for one in on_the_way_down(lab) if one.cut.within != 1]
        await run_over_http(lab, tries if backend.name == "asyncio" or FULL else tries[::3])
        cut_in_head = Expectation(UNSAFE, (1,), 0, (Cause.EOF,))
        for repeats in (False, True):
            async with lab.client("head", repeats=repeats) as client:
                for stateful in (False, True):
                    await lab.attempt(client, Try(ProxyCut(within=1), stateful), expected=cut_in_head)
        await report.add(lab)
    report.conclude(summary, f"{backend.name}, HTTP, around every event", began)


# --- Buffers that are really full ------------------------------------------------------------------------------------


async def test_cut_in_the_middle_of_sending_with_full_buffers(shell, backend, summary):
    """Nothing is held here but by TCP: a message that no buffer can take, and a proxy that stops reading."""
    began, report = time.monotonic(), Report()
    async with laboratory(shell) as lab:

        async def work(offset: int, repeats: bool) -> None:
            async with lab.client(f"{offset} {repeats}", repeats=repeats) as client:
                for reset, stateful in kinds():
                    # The kernel tells of a reset once: if the writer hears of it, the reader sees the end of file.
                    causes = (Cause.TRANSPORT, Cause.EOF) if reset else (Cause.EOF,)
                    attempt = Try(ProxyCut(up=offset, reset=reset, deaf=True), stateful)
                    expected = Expectation(SAFE, (0,), 0, causes, Phase.SEND)
                    await lab.attempt(client, attempt, padding=8_000_000, expected=expected)

        for offset in (1, 14, 65_536, 1_000_000):
            for repeats in (False, True):
                await work(offset, repeats)
        await report.add(lab)
    report.conclude(summary, f"{backend.name}, full buffers", began)


# --- Turns that fail otherwise ---------------------------------------------------------------------------------------


async def fail_otherwise(lab: Laboratory, *, stateful: bool, repeats: bool) -> None:
    """Refused, failed by the server, waiting for their lane, for the handshake, for the connection."""
    what = f"{'stateful' if stateful else 'stateless'}: "
    refused = Expectation(SAFE, (0,), 0, (Cause.ERROR_FRAME,), Phase.AWAIT, repeatable=False)
    later = replace(refused, repeatable=True)
    broken = Expectation(AMBIGUOUS, (0,), 0, (Cause.ERROR_FRAME,), Phase.AWAIT)
    began = Expectation(UNSAFE, (1,), 2, (Cause.ERROR_FRAME,), Phase.STREAM)
    errors = {
        "refused": (BeforeRun(), Error(400, "previous_response_not_found"), refused),
        "rate limit": (BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after-ms": "10"}), later),
        "server error": (BeforeRun(), Error(500, "server_error"), broken),
        "conflict": (BeforeRun(), Error(409, "conflict"), broken),
        "error after two events": (AfterEvent(2), Error(400, "invalid_request"), began),
    }
    async with lab.client("otherwise", repeats=repeats) as client:

        async def turn(
            name: str, expected: Expectation, cut: ProxyCut | None = None, fault: Fault | None = None
        ) -> Outcome:
            lab.proxy.arm("otherwise", cut)
            body = lab.body(stateful=stateful)
            if fault is not None:
                lab.server.faults.append(replace_marker(fault, body["metadata"]["marker"]))
            outcome = await lab.run(client, what + name, body, expected)
            outcome.sent = [passage.events for passage in lab.proxy.passages["otherwise"]]
            return outcome

        for name, (point, action, expected) in errors.items():
            await turn(name, expected, fault=Fault(point, action))

        for reset in (False, True):
            cause = Cause.TRANSPORT if reset else Cause.EOF
            how = "RST" if reset else "FIN"
            lost = Expectation(AMBIGUOUS, (1,), 0, (cause,), Phase.AWAIT)

            # The lane is busy with a turn that is cut; another one waits for it.
            waited = Expectation(SAFE, (0,), 0, (cause,), Phase.LANE_WAIT, attempts=1)
            lab.proxy.arm("otherwise", ProxyCut(before=1, reset=reset))
            bodies = lab.body(stateful=stateful), lab.body(stateful=stateful)
            both: list[Outcome] = []

            async def run(index: int, expected: Expectation, name: str) -> None:
                both.append(await lab.run(client, what + name, bodies[index], expected, stream_id="lane"))  # noqa: B023

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, 0, lost, f"cut before its first event, {how}")
                with anyio.fail_after(SAFETY_NET):
                    while not lab.proxy.passages["otherwise"]:
                        await anyio.lowlevel.checkpoint()
                tasks.start_soon(run, 1, waited, f"waiting for its lane, {how}")
            passages = lab.proxy.passages["otherwise"]
            for outcome in both:
                first = outcome.marker == bodies[0]["metadata"]["marker"]
                outcome.sent = [passage.events for passage in (passages[:1] if first else passages[1:])]

        # The session knows that its connection is gone. The next one ends in its handshake.
        await turn("cut before its first event", lost, ProxyCut(before=1, reset=True))
        lab.server.faults.append(Fault(Upgrading(), Cut()))
        shaken = Expectation(SAFE, (0,), 0, (Cause.EOF,), Phase.HANDSHAKE, attempts=1)
        await turn("cut in the handshake", shaken)
        await turn("cut before its first event", lost, ProxyCut(before=1, reset=True))
        await lab.proxy.refuse()
        refused = Expectation(SAFE, (0,), 0, (Cause.TRANSPORT,), Phase.CONNECT, repeatable=False)
        await turn("refused by TCP", refused)
        await lab.proxy.listen()


def replace_marker(fault: Fault, marker: str) -> Fault:
    return msgspec.structs.replace(fault, marker=marker)


async def test_turns_that_fail_otherwise(shell, backend, summary):
    began, report = time.monotonic(), Report()
    async with laboratory(shell) as lab:
        for stateful in (False, True):
            for repeats in (False, True):
                await fail_otherwise(lab, stateful=stateful, repeats=repeats)
        await report.add(lab)
    report.conclude(summary, f"{backend.name}, otherwise", began)


# --- Chance ----------------------------------------------------------------------------------------------------------


TWO = "any lane of two connections"


@pytest.mark.parametrize(
    ("kind", "seed"),
    [(kind, seed) for kind in (*SERVERS, TWO) for seed in range(20 if FULL else 3 if kind in ("lanes", TWO) else 1)],
)
async def test_cut_at_random_with_lanes_that_share_a_connection(shell, backend, holdable, summary, kind, seed):
    """Several lanes at once; turns of all lengths; some are left early; every connection is cut somewhere, or not."""
    began, report, chance = time.monotonic(), Report(), random.Random(seed)
    lanes = (AUTO, AUTO, AUTO, "a") if kind == TWO else (None, "a", "b", "c")
    session = {"connections": 2, "max_in_flight": 2} if kind == TWO else {}
    holdable(PIECE)

    def plan() -> ProxyCut | None:
        if chance.random() < 0.15:
            return None
        where = chance.choice(["up", "before", "within", "after"])
        number = chance.randrange(8_000) if where == "up" else chance.randrange(1, 40)
        return ProxyCut(**{where: number}, reset=chance.random() < 0.5)

    left: set[str] = set()

    async def take_turns(lab: Laboratory, client: Client, lane: AnyLane) -> None:
        for _ in range(12):
            body = lab.body(stateful=chance.random() < 0.5, padding=chance.randrange(4000))
            body["input"].append({"role": "user", "content": f"count {chance.randrange(1, 6)}"})
            leave_after = chance.randrange(8) if chance.random() < 0.1 else None
            outcome = await lab.run(client, f"lane {lane}", body, ANYTHING, leave_after=leave_after, stream_id=lane)
            if leave_after is not None:
                left.add(outcome.marker)
            await anyio.sleep(chance.choice([0, 0, 0.001]))

    async def work(lab: Laboratory, name: str, repeats: bool) -> None:
        async with lab.client(name, repeats=repeats) as client, anyio.create_task_group() as tasks:
            for lane in lanes:
                tasks.start_soon(take_turns, lab, client, lane)

    async with serve(dialect=SERVERS.get(kind, {}).get("dialect", "openai")) as server:
        async with cutting_proxy(server.host, server.port) as proxy:
            lab = Laboratory(shell, server, proxy, **session)
            await lab.measure()
        async with cutting_proxy(server.host, server.port, whole=True) as lab.proxy:
            # The first connection of a session is opened by connect(), which has no second try: it is not cut.
            lab.proxy.plan = plan
            async with anyio.create_task_group() as tasks:
                for number in range(6):
                    tasks.start_soon(work, lab, str(number), number % 2 == 0)
            await report.add_random(lab, left)
    assert report.cuts > 3
    report.conclude(summary, f"{backend.name}, {kind}, at random, seed {seed}", began)


ANYTHING = Expectation(None, (0, 1))


def judge_random(outcome: Outcome, in_ledger: int, sent: dict[str, list[bytes]], *, left: bool) -> list[str]:
    """What must hold whatever happened."""
    wrong = []

    def check(fine: object, complaint: str) -> None:
        if not fine:
            wrong.append(f"{outcome.what}, recovery {'on' if outcome.repeats else 'off'}: {complaint}")

    error = outcome.error
    check(outcome.seconds < SAFETY_NET, f"took {outcome.seconds:.1f} s")
    check(in_ledger <= 1, f"{in_ledger} times in the ledger")
    check(error is None or isinstance(error, TurnError), f"not typed: {error!r}")
    if isinstance(error, TurnError):
        evidence = error.evidence
        check(error.verdict is not SAFE or in_ledger == 0, f"verdict SAFE, and {in_ledger} times in the ledger")
        check(error.verdict is not UNSAFE or in_ledger == 1, "verdict UNSAFE, and not in the ledger")
        check((error.verdict is UNSAFE) is bool(outcome.delivered), "verdict UNSAFE is: there were events")
        check(evidence.cause in (Cause.EOF, Cause.TRANSPORT), f"cause {evidence.cause}")
        check(evidence.stateful is outcome.stateful, "the evidence is wrong about being stateful")
        check(evidence.final_byte_handed is (evidence.phase >= Phase.AWAIT), "the evidence contradicts itself")
        check(not (in_ledger and not evidence.final_byte_handed), "it ran, although its last byte was not handed")
    if outcome.delivered:
        first = msgspec.json.decode(outcome.delivered[0])
        check(first["type"] == "response.created", f"began with {first['type']}")
        all_of_it = sent.get(first.get("response", {}).get("id"), [])
        check(outcome.delivered == all_of_it[: len(outcome.delivered)], "the events are not the first of those sent")
        if error is None and not left:
            check(outcome.delivered == all_of_it, "succeeded without all the events that were sent")
            check(in_ledger == 1, "succeeded, and is not in the ledger")
    elif error is None:
        check(left, "succeeded without an event")
    return wrong


def by_response(passages: Iterable[Passage]) -> dict[str, list[bytes]]:
    """What the server sent, response by response."""
    found: dict[str, list[bytes]] = {}
    for passage in passages:
        running: dict[str | None, str] = {}
        for text in passage.events:
            event = msgspec.json.decode(text)
            if event["type"] == "response.created":
                running[event.get("stream_id")] = event["response"]["id"]
            found.setdefault(running[event.get("stream_id")], []).append(text)
    return found


# --- Would it be noticed? --------------------------------------------------------------------------------------------


def with_table(*rows: VerdictRow) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(rules, "VERDICT_TABLE", rows)


def over(transport: str) -> dict[str, Callable[[pytest.MonkeyPatch], None]]:
    """The planted faults that are to be found there, by name."""
    return {mutant.name: mutant.plant for mutant in MUTANTS if transport in mutant.ledger}


def mutants() -> Iterator[tuple[str, Callable[[pytest.MonkeyPatch], None]]]:
    """Every row with each verdict that is not its own, every phase in each row that is not its own, and worse."""
    table = rules.VERDICT_TABLE
    for number, row in enumerate(table):
        for verdict in Verdict:
            if verdict is not row.verdict:
                what = f"row {number + 1} says {verdict.name}"
                yield what, with_table(*table[:number], row._replace(verdict=verdict), *table[number + 1 :])
        for phase in sorted(row.phases):
            for other in table:
                if phase not in other.phases and other.refused is not True:
                    rows = (row._replace(phases=row.phases - {phase}) if r is row else r for r in table)
                    moved = other._replace(phases=frozenset({phase}))
                    if row.refused is None:
                        yield f"{phase.name} counts as {other.verdict.name}", with_table(moved, *rows)
    await_rows = [row for row in table if row.phases == {Phase.AWAIT}]
    others = [row for row in table if row not in await_rows]
    yield "refusals do not count", with_table(*others, await_rows[1]._replace(refused=None))
    yield "everything in AWAIT counts as refused", with_table(*others, await_rows[0]._replace(refused=None))
    yield from over("websocket").items()


async def reduced(lab: Laboratory) -> list[str]:
    """A little of everything above, up to the first complaints."""
    length = lab.length[False]
    tries = [Try(ProxyCut(up=up), False, held=True) for up in (0, 300, length - 300, length - 1, length)]
    tries += [Try(ProxyCut(**{where: k}), False) for where, k in (("before", 1), ("after", 1), ("before", lab.events))]
    for repeats in (False, True):
        async with lab.client("reduced", repeats=repeats) as client:
            for attempt in tries:
                await lab.attempt(client, attempt)
        if wrong := await lab.verdict():
            return wrong
        await fail_otherwise(lab, stateful=False, repeats=repeats)
        if wrong := await lab.verdict():
            return wrong
    return []


async def test_the_reduced_run_finds_nothing(shell, holdable):
    async with laboratory(shell) as lab:
        holdable(PIECE)
        assert await reduced(lab) == []


@pytest.mark.parametrize("mutate", [pytest.param(mutate, id=what) for what, mutate in mutants()])
@pytest.mark.parametrize(
    "backend", [SimpleNamespace(name="asyncio", anyio_name="asyncio", shell=turnwire.aio)], ids=["asyncio"]
)
async def test_a_wrong_verdict_is_found(shell, holdable, monkeypatch, mutate):
    """On asyncio only: what is broken here is the core, and what is tested is the judge, which is the same for all."""
    async with laboratory(shell) as lab:
        holdable(PIECE)
        lab.patience = 1.0  # A turn that is repeated wrongly may well wait for ever.
        mutate(monkeypatch)
        assert await reduced(lab), "nobody noticed"


HTTP_MUTANTS = {"none": None, **over("http")}


@pytest.mark.parametrize("mutant", HTTP_MUTANTS)
@pytest.mark.parametrize(
    "backend", [SimpleNamespace(name="asyncio", anyio_name="asyncio", shell=turnwire.aio)], ids=["asyncio"]
)
async def test_a_wrong_verdict_over_http_is_found(shell, holdable, monkeypatch, mutant):
    """On asyncio only, as above."""
    mutate = HTTP_MUTANTS[mutant]
    async with laboratory(shell, transport="http") as lab:
        holdable(HTTP_PIECE)
        lab.patience = 1.0
        if mutate is not None:
            mutate(monkeypatch)
        length = lab.length[False]
        tries = [Try(ProxyCut(up=up), False, held=True) for up in (0, 300, length - 1, length)]
        tries += [
            Try(ProxyCut(**{where: k}), False) for where, k in (("before", 1), ("after", 1), ("before", lab.events))
        ]
        await run_over_http(lab, [one for one in tries for _ in range(2)])
        assert bool(await lab.verdict()) is (mutate is not None)


@pytest.mark.parametrize("believes", [False, True])
@pytest.mark.parametrize(
    "backend", [SimpleNamespace(name="asyncio", anyio_name="asyncio", shell=turnwire.aio)], ids=["asyncio"]
)
async def test_a_client_that_believes_in_lanes_where_there_are_none_is_found(shell, monkeypatch, believes):
    """The mutant is of the core: one shell will do."""
    async with laboratory(shell, dialect="no-lanes") as lab:
        lab.patience = 0.5
        if believes:
            faults.every_server_has_lanes(monkeypatch)
        async with lab.client("lanes", repeats=False) as client, anyio.create_task_group() as tasks:
            lab.proxy.arm("lanes", None)
            for lane in ("a", "b", "a"):
                body = lab.body(stateful=False)
                tasks.start_soon(lambda lane=lane, body=body: lab.run(client, lane, body, ANYTHING, stream_id=lane))
        sent = by_response(passage for passages in lab.proxy.passages.values() for passage in passages)
        await lab.all_read()
        ledger = Counter(entry.marker for entry in lab.server.ledger)
        wrong = [judge_random(one, ledger[one.marker], sent, left=False) for one in lab.outcomes]
        assert any(wrong) is believes, wrong
