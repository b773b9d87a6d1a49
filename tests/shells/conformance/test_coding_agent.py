"""A coding agent's session of fifty turns, with tools, forks, a steer and Esc: what faults cost, and what they change.

``kit/coding_agent.py`` has the script. It runs without faults and with them: two reconnects, a rotation, a
``previous_response_not_found``. What the client sends is compared with the size of the deltas, in bytes of JSON:

- each item that the client makes (texts of the user, outputs of tools, the steer), once;
- in each turn that is sent, its fields (model, instructions, tools): the API wants them every time (P-CONT-3).

Everything else that it sends is at most 5 % of that: names of lanes, ids of responses, frames, upgrades. What must be
sent again is not part of the comparison, and the tests say exactly which turns these are:

- the delta that a fault lost before it ran, once more;
- everything, after ``previous_response_not_found``, and with ``store=False`` after Esc and on each new connection.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from kit.coding_agent import LONG, RUN, TURNS, TURNS_SENT, CodingAgent, Model, again, fields_of
from kit.strict_server import serve
from turnwire.sansio.evidence import Verdict

pytestmark = pytest.mark.anyio

STORED = [pytest.param({}, id="stored"), pytest.param({"store": False}, id="not stored")]
OVERHEAD = 1.05
"""Bytes sent, for each byte of the deltas."""


class Outcome(NamedTuple):
    agent: CodingAgent
    model: Model
    server: Any
    stats: Any

    @property
    def overhead(self) -> float:
        """Bytes sent that no fault and no Esc made necessary, for each byte of the deltas."""
        fields = fields_of(self.server.ledger[0])
        full = sum(again(entry) for entry in self.server.ledger if entry.previous_response_id is None)
        lost = self.agent.lost(fields) if self.model.faulty else 0
        return (self.stats.bytes_out - full - lost) / self.agent.deltas(fields)


async def outcome_of(shell: Any, fields: dict[str, Any], *, faulty: bool) -> Outcome:
    model = Model(faulty)
    async with serve(reply=model) as server, shell.connect(server.base_url) as session:
        model.server = server
        agent = CodingAgent(session, **fields)
        await agent.work(idle_cut=faulty)
        assert server.faults == []
        return Outcome(agent, model, server, session.stats)


def in_full(talk: Any) -> list[str]:
    return [decision.reason.name for decision in talk.decisions if decision.sent == "full"]


@pytest.mark.parametrize("fields", STORED)
async def test_fifty_turns_of_a_coding_agent_are_the_same_with_faults(shell, fields):
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
        assert 1.0 <= one.overhead <= OVERHEAD
    assert len(calm.agent.talk.decisions) == TURNS + 1  # Esc is the one more.
    # What happened, and what was sent in full because of it.
    assert (calm.agent.verdicts, calm.agent.cuts, calm.agent.rotations) == ([], [], [])
    assert (rough.agent.verdicts, len(rough.agent.cuts), len(rough.agent.rotations)) == ([Verdict.AMBIGUOUS], 2, 1)
    assert (calm.stats.turns, rough.stats.turns) == (TURNS_SENT, TURNS_SENT + 3)
    forgotten, partial = ([], []) if not fields else (["FORGOTTEN"], ["PARTIAL_ACCEPTED"])
    assert in_full(calm.agent.talk) == ["FIRST", *partial]
    expected = ["FIRST", *forgotten, "NOT_FOUND", *forgotten, *forgotten, *partial]
    assert in_full(rough.agent.talk) == expected
