"""A coding agent's session of fifty turns, with tools, forks, a steer and Esc: what faults cost, and what they change.

``kit/coding_agent.py`` has the script. It runs without faults and with them: two reconnects, a rotation, a response
that the server does not have any more. What the client sends, all bytes of its connections, is compared with two sizes,
in bytes of JSON:

The *deltas*
    Each item that the client makes, once (texts of the user, outputs of tools, the steer); what was left by Esc, once
    more, since no response has it; and in each turn its fields (model, instructions, tools): the API wants them every
    time (P-CLIENT-1).

The *least* that the protocol permits
    The deltas; the two that did not run, once more (one was cut, one was not found: the server had both whole); and all
    items that a response stood for which the server has no more, once for each such loss. Which losses these are
    depends on where the response was:

    ======================================== ========= ==========================================
    the loss                                 stored    with ``store: false``
    ======================================== ========= ==========================================
    two reconnects, and the rotation         none      each (P-CONT-5)
    deleted, and out of the memory           it        it (P-CONT-2)
    Esc                                      none      it: only the end of the connection stops a
                                                       response (C-PARTIAL-3)
    ======================================== ========= ==========================================

The client sends at most 5 % more than the least, in all cases; and at most 5 % more than the deltas where nothing was
lost.
"""

from __future__ import annotations

import urllib.request
from typing import Any, NamedTuple
from urllib.error import HTTPError

import anyio.to_thread
import pytest
from kit.coding_agent import LONG, MAX_AGE, RUN, SUB_AGENTS, TURNS, TURNS_SENT, CodingAgent, Model, known, size
from kit.strict_server import serve
from turnwire.sansio.evidence import Verdict
from turnwire.sansio.server import ServerOptions

pytestmark = pytest.mark.anyio

STORED = [pytest.param({}, id="stored"), pytest.param({"store": False}, id="not stored")]
OVERHEAD = 1.05
"""Bytes sent, for each byte that they are compared with."""


class Outcome(NamedTuple):
    agent: CodingAgent
    model: Model
    server: Any
    stats: Any

    @property
    def fields(self) -> int:
        """The size of all of a request but its input."""
        return size({"type": "response.create", **self.server.ledger[0].body, "input": None})

    @property
    def of_deltas(self) -> float:
        """Bytes sent, for each byte of the deltas."""
        return self.stats.bytes_out / self.agent.deltas(self.fields)

    @property
    def of_least(self) -> float:
        """Bytes sent, for each byte of the least that the protocol permits."""
        least = self.agent.deltas(self.fields) + (self.agent.lost(self.fields) if self.model.faulty else 0)
        full = [entry for entry in self.server.ledger if entry.previous_response_id is None]
        return self.stats.bytes_out / (least + sum(map(known, full)))


async def outcome_of(shell: Any, fields: dict[str, Any], *, faulty: bool) -> Outcome:
    model = Model(faulty)
    options = shell.SessionOptions(max_age=MAX_AGE)
    limits = {"options": ServerOptions(max_remembered=SUB_AGENTS)} if faulty else {}
    async with (
        serve(reply=model, **limits) as server,
        shell.connect(server.base_url, options=options) as session,
    ):
        model.server = server
        agent = CodingAgent(session, **fields)
        await agent.work(forgetting(server.base_url) if faulty else None)
        assert server.faults == []
        return Outcome(agent, model, server, session.stats)


def forgetting(base_url: str) -> Any:
    """Deletes a stored response, if it is stored."""

    async def forget(response_id: str) -> None:
        request = urllib.request.Request(f"{base_url}/responses/{response_id}", method="DELETE")
        try:
            await anyio.to_thread.run_sync(lambda: urllib.request.urlopen(request).close())
        except HTTPError as exc:
            exc.close()

    return forget


def in_full(talk: Any) -> list[str]:
    return [decision.reason.name for decision in talk.decisions if decision.sent == "full"]


@pytest.mark.parametrize("fields", STORED)
async def test_fifty_turns_of_a_coding_agent_are_the_same_with_faults(shell, fields):
    """C-DELTA-11."""
    calm = await outcome_of(shell, fields, faulty=False)
    rough = await outcome_of(shell, fields, faulty=True)
    # The histories, and what the tools did.
    assert rough.agent.histories == calm.agent.histories
    assert rough.agent.workspace.files == calm.agent.workspace.files
    assert rough.agent.workspace.ran == calm.agent.workspace.ran
    for one in (calm, rough):
        calls = [item["call_id"] for history in one.agent.histories for item in history if "arguments" in item]
        outputs = [item["call_id"] for history in one.agent.histories for item in history if "output" in item]
        assert calls == outputs
        assert one.agent.workspace.ran.total() == len(set(calls))
        # The model was asked for each step once.
        assert set(one.model.asked.values()) == {1}
        assert len(one.server.ledger) == one.model.asked.total() == RUN
        assert {entry.outcome for entry in one.server.ledger if LONG not in str(entry.input[-1])} == {"completed"}
    assert len(calm.agent.talk.decisions) == TURNS + 1  # Esc is the one more.
    # What happened, and what was sent in full because of it.
    assert (calm.agent.verdicts, calm.agent.cuts, calm.agent.rotations) == ([], [], [])
    assert (rough.agent.verdicts, len(rough.agent.cuts), len(rough.agent.rotations)) == ([Verdict.AMBIGUOUS], 2, 1)
    assert (calm.stats.turns, rough.stats.turns) == (TURNS_SENT, TURNS_SENT + 2)
    lost = [] if not fields else ["FORGOTTEN"]
    assert in_full(calm.agent.talk) == ["FIRST"]  # Esc leaves the connection, for it has the sub-agents' responses.
    assert in_full(rough.agent.talk) == ["FIRST", *lost, "NOT_FOUND", *lost, *lost, *lost]
    assert [in_full(fork) for fork in rough.agent.forks] == [[]] * SUB_AGENTS
    # What it cost.
    print(f"{fields}: {calm.of_deltas:.3f}, {rough.of_deltas:.3f}; {calm.of_least:.4f}, {rough.of_least:.4f}")
    assert 1.0 <= calm.of_least <= OVERHEAD
    assert 1.0 <= rough.of_least <= OVERHEAD
    assert 1.0 <= calm.of_deltas <= OVERHEAD
