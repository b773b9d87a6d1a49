"""A coding agent's session of fifty turns as a script: its tools, its model, its faults, and what it should have cost.

The session
    Twelve tasks, each a loop of four turns: two files are read side by side, one is changed, the tests are run, and a
    text ends it. Among them are three sub-agents (forks, side by side), one turn that is steered, and one that is left
    after its first text (Esc) and kept as far as it came. These are part of the script, with faults and without.

The faults
    The connection is cut while nothing runs, and cut again when the server has read the outputs of tools, before they
    ran. It reaches its ``max_age`` in the middle of a task, so that it is rotated: the session's clock jumps. And the
    server really has no more what a turn continues: its memory holds the responses of three lanes, the three sub-agents
    use it up, and what it has stored of the response is deleted. So it answers ``previous_response_not_found``.

The model
    What it answers depends on the conversation alone, so that an answer to a wrong conversation is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
from turnwire.aio.loopback import (
    AfterEvent,
    Asked,
    BeforeRun,
    Call,
    Cut,
    Fault,
    LedgerEntry,
    LoopbackServer,
    Reply,
)
from turnwire.sansio.errors import ConnectionLostError
from turnwire.sansio.evidence import Verdict

__all__ = ["LONG", "MAX_AGE", "RUN", "SUB_AGENTS", "TURNS", "TURNS_SENT", "CodingAgent", "Model", "known", "size"]

TASKS, SUB_AGENTS = 12, 3
FIELDS = {"model": "gpt-6-sol", "instructions": "You change code. Read before you write, and run the tests. " * 8}
EXPLAIN, SHORTER = "Explain it all.", "Make it shorter."
LONG, GO_ON = "Think about the design.", "Go on with the tests."
SLOW = 0.002
"""Seconds before each event of a response that is steered or left: it must run when that happens."""
TURNS = 4 * TASKS + 2
"""How many turns of the conversation complete: four of each task, the steered one, and the one after Esc."""
TURNS_SENT = TURNS + 1 + 2 * SUB_AGENTS
"""How many are sent without faults: also the one that is left, and two of each sub-agent."""
RUN = TURNS_SENT + 1
"""How many requests run: the steer makes one more."""
EVENTS_OF_A_WORD = 9
"""How many events a response of one word has."""
FAULTS = {
    (2, 3): Fault(AfterEvent(EVENTS_OF_A_WORD), Cut()),
    (7, 1): Fault(BeforeRun(), Cut()),
}
"""By task and step: what goes wrong from that answer of the model on."""
LOST = "call_7_1"
"""The call whose output went in the turn that was cut before it ran."""
FORGETS, AGES = 5, "unit_9"
"""After which task the stored response is deleted; and in which run of the tests the connection reaches its age."""
MAX_AGE = 3600.0


def size(value: object) -> int:
    """How many bytes this is as JSON."""
    return len(msgspec.json.encode(value))


class Workspace:
    """A tree of files in memory, and the tools of the agent. Each call of a tool is counted by its arguments."""

    def __init__(self) -> None:
        self.files = {
            f"src/module_{n}.py": "".join(f"def function_{n}_{line}(a, b):\n    return a + b\n" for line in range(80))
            for n in range(TASKS + SUB_AGENTS + 2)
        }
        self.ran: Counter[tuple[str, ...]] = Counter()
        self.ages: Callable[[], None] | None = None
        """Called when the connection is to reach its age."""

    def read_file(self, path: str) -> str:
        """Read a file of the repository."""
        self.ran["read_file", path] += 1
        return self.files[path]

    def apply_patch(self, path: str, old: str, new: str) -> str:
        """Replace the first place of ``old`` in a file by ``new``; it must be there."""
        self.ran["apply_patch", path] += 1
        before = self.files[path]
        if old not in before:
            raise ValueError(f"not in {path}: {old}")
        self.files[path] = before.replace(old, new, 1)
        return f"--- {path}\n+++ {path}\n-{old}\n+{new}\n{self.files[path][:400]}"

    async def run_tests(self, selection: str) -> str:
        """Run the tests, and say which passed."""
        self.ran["run_tests", selection] += 1
        if self.ages is not None and selection == AGES:
            self.ages()
        changed = sum("a - b" in text for text in self.files.values())
        return "\n".join(f"tests/{selection}_{n}.py::test_it PASSED ({changed} files changed)" for n in range(40))

    @property
    def tools(self) -> list[Callable[..., Any]]:
        return [self.read_file, self.apply_patch, self.run_tests]


class Model:
    """The server's answers. It breaks the server, as far as :data:`FAULTS` says, while it answers."""

    def __init__(self, faulty: bool) -> None:
        self.server: LoopbackServer | None = None
        self.faulty = faulty
        self.asked: Counter[tuple[str, int]] = Counter()
        """How often each step was asked for: by the last text of a user, and how many outputs came after it."""

    def __call__(self, asked: Asked) -> Any:
        items = asked.conversation()
        last = max(index for index, item in enumerate(items) if item.get("role") == "user")
        content = items[last]["content"]
        text = content if isinstance(content, str) else content[0]["text"]  # A steer's text comes as a part.
        outputs = [item for item in items[last:] if item.get("type") == "function_call_output"]
        self.asked[text, len(outputs)] += 1
        kind, _, number = text.partition(" @")
        if kind == "Task":
            return self._task(int(number), len(outputs))
        if kind == "Look at":
            path = f"src/module_{TASKS + int(number)}.py"
            return self._call("read_file", f"look_{number}", path=path) if not outputs else f"Seen{number}"
        if text in (EXPLAIN, LONG):
            return Reply("A long story " * 10, latency=SLOW)
        return "Yes."

    def _task(self, task: int, outputs: int) -> Any:
        step = max(0, outputs - 1)  # The first step has two outputs.
        if self.faulty and (task, step) in FAULTS:
            assert self.server is not None
            self.server.faults.append(FAULTS[task, step])
        path, name = f"src/module_{task}.py", f"call_{task}_{step}"
        if step == 0:
            other = f"src/module_{task + 1}.py"
            return [self._call("read_file", f"{name}_a", path=path), self._call("read_file", f"{name}_b", path=other)]
        if step == 1:
            old, new = (f"function_{task}_7(a, b):\n    return a {sign} b" for sign in "+-")
            return self._call("apply_patch", name, path=path, old=old, new=new)
        return self._call("run_tests", name, selection=f"unit_{task}") if step == 2 else "Done."

    @staticmethod
    def _call(name: str, call_id: str, **arguments: str) -> Call:
        return Call(name, arguments, call_id=call_id)


class CodingAgent:
    """The client: one conversation, its sub-agents, and what happened to them."""

    def __init__(self, session: Any, **fields: Any) -> None:
        self.workspace = Workspace()
        self.session = session
        self.talk = session.conversation(**FIELDS, **fields)
        self.forks: list[Any] = []
        self.cuts, self.rotations, self.verdicts = list[Any](), list[Any](), list[Verdict]()
        session.on("connection_lost", self.cuts.append)
        session.on("rotated", self.rotations.append)

    async def work(self, forget: Callable[[str], Any] | None) -> None:
        """All of the session. ``forget``: deletes a stored response; None: there are no faults."""
        if forget is not None:
            self.workspace.ages = self._ages
        for task in range(1, TASKS + 1):
            await self._task(task)
            if task == 2 and forget is not None:
                while not self.cuts:
                    await anyio.sleep(0.001)
            if task == FORGETS:
                await self._sub_agents()
                if forget is not None:
                    await forget(self.talk.response_id)
            if task == 8:
                await self._steered()
            if task == 10:
                await self._left()

    def _ages(self) -> None:
        """The connection is as old as it may be."""
        runtime = self.session._runtime
        before, self.workspace.ages = runtime.clock, None
        runtime.clock = lambda: before() + MAX_AGE

    async def _task(self, task: int) -> None:
        text: str | None = f"Task @{task}"
        while True:
            try:
                response = await self.talk.run(text, tools=self.workspace.tools)
            except ConnectionLostError as exc:
                self.verdicts.append(exc.verdict)
                text = None  # The caller's decision: go on where the loop stopped.
            else:
                assert response.output_text == "Done."
                return

    async def _sub_agents(self) -> None:
        self.forks = [self.talk.fork() for _ in range(SUB_AGENTS)]
        async with anyio.create_task_group() as tasks:
            for number, fork in enumerate(self.forks):
                tasks.start_soon(fork.run, f"Look at @{number}")

    async def _steered(self) -> None:
        outcome = None
        async with self.talk.create(EXPLAIN) as turn:
            async for event in turn:
                if event.type == "response.output_text.delta" and outcome is None:
                    outcome = await turn.steer(SHORTER)
        assert outcome is not None
        assert outcome.state == "committed"
        assert turn.result().output_text == "Yes."

    async def _left(self) -> None:
        async with self.talk.create(LONG) as turn:
            async for event in turn:
                if event.type == "response.output_text.delta":
                    break
        self.talk.resume(accept_partial=True)
        await self.talk.respond(GO_ON)

    # -- what came of it

    @property
    def histories(self) -> list[list[dict[str, Any]]]:
        """Those of the conversation and its forks, without the ids that the server gives to items."""
        kept = [one.history for one in (self.talk, *self.forks)]
        return [[{name: item[name] for name in item if name != "id"} for item in history] for history in kept]

    def deltas(self, fields: int) -> int:
        """The size of the deltas: each item that the client makes, once, and in each turn ``fields`` bytes.

        What was left by Esc is sent again with what follows it: no response has it.
        """
        main, *forks = self.histories
        made = _made(main)
        for fork in forks:
            made += _made(fork[_shared(main, fork) :])
        at = next(at for at, item in enumerate(main) if item.get("content") == LONG)
        return sum(map(size, [*made, *main[at : at + 2]])) + TURNS_SENT * fields

    def lost(self, fields: int) -> int:
        """The size of the deltas that did not run, and were sent once more: that which was cut before, and that which
        was not found."""
        main = self.talk.history
        cut = [item for item in _made(main) if item.get("call_id", "").startswith(LOST)]
        asked = [item for item in main if item.get("content") == f"Task @{FORGETS + 1}"]
        return sum(map(size, [*cut, *asked])) + 2 * fields


def _shared(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> int:
    """How many items they begin with are the same."""
    return next(n for n, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)


def _made(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that the client made."""
    return [item for item in items if item.get("role") == "user" or item.get("type") == "function_call_output"]


def known(entry: LedgerEntry) -> int:
    """The size of those items of a request that a response before it stands for: that is all up to the last item that
    the server has made, but not what was left by Esc."""
    items: Any = entry.input
    left = next((at for at, item in enumerate(items) if item.get("content") == LONG), None)
    last = max((at for at, item in enumerate(items[:left]) if not _made([item])), default=-1)
    return sum(map(size, items[: last + 1]))
