"""A coding agent's session of fifty turns as a script: its tools, its model, its faults, and what it should have cost.

The session
    Twelve tasks, each a loop of four turns: two files are read side by side, one is changed, the tests are run, and a
    text ends it. Among them are three sub-agents (forks, side by side), one turn that is steered, and one that is left
    after its first text (Esc) and kept as far as it came. These are part of the script, with faults and without.

The faults
    The connection is cut while nothing runs, and cut again when it has read the outputs of tools, before they ran. A
    turn is refused with ``previous_response_not_found``, and one because its connection has reached its age, so that
    the connection is rotated. Each hits the middle of a task, but for the first.

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
    Error,
    Fault,
    LedgerEntry,
    LoopbackServer,
    Reply,
)
from turnwire.sansio.errors import ConnectionLostError
from turnwire.sansio.evidence import Verdict

__all__ = ["LONG", "RUN", "TURNS", "TURNS_SENT", "CodingAgent", "Model", "again", "fields_of"]

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
    (4, 0): Fault(BeforeRun(), Error(400, "previous_response_not_found")),
    (7, 1): Fault(BeforeRun(), Cut()),
    (9, 2): Fault(BeforeRun(), Error(400, "websocket_connection_limit_reached")),
}
"""By task and step: what goes wrong from that answer of the model on."""


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

    async def work(self, idle_cut: bool) -> None:
        """All of the session. ``idle_cut``: wait until the connection is seen to be lost after the second task."""
        for task in range(1, TASKS + 1):
            await self._task(task)
            if task == 2 and idle_cut:
                while not self.cuts:
                    await anyio.sleep(0.001)
            if task == 5:
                await self._sub_agents()
            if task == 8:
                await self._steered()
            if task == 10:
                await self._left()

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
        """How many bytes the client has to send: each item that it makes, once, and in each turn ``fields`` bytes."""
        main, *forks = self.histories
        made = _made(main)
        for fork in forks:
            shared = next(n for n, (one, other) in enumerate(zip(main, fork, strict=False)) if one != other)
            made += _made(fork[shared:])
        return sum(map(size, made)) + TURNS_SENT * fields

    def lost(self, fields: int) -> int:
        """How many bytes went in deltas that a fault lost before they ran: each was sent once more."""
        lost = [(task, step) for (task, step), fault in FAULTS.items() if fault.at == BeforeRun()]
        names = tuple(f"call_{task}_{step}" for task, step in lost)
        outputs = [item for item in _made(self.talk.history) if item.get("call_id", "").startswith(names)]
        return sum(map(size, outputs)) + len(lost) * fields


def _made(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that the client made."""
    return [item for item in items if item.get("role") == "user" or item.get("type") == "function_call_output"]


def again(entry: LedgerEntry) -> int:
    """How many bytes of a request's input the server had before: all but the items of the client at its end."""
    items: Any = entry.input
    while items and _made(items[-1:]):
        items = items[:-1]
    return size(items) if items else 0


def fields_of(entry: LedgerEntry) -> int:
    """How many bytes of a request are no input."""
    assert entry.body is not None
    return size({"type": "response.create", **entry.body, "input": None})
