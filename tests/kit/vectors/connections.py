"""Group ``connection``: scripts of one connection; they show lanes, dialects, verdicts, deadlines and steering."""

from __future__ import annotations

from typing import Any

from ._case import Case

UP: list[dict[str, Any]] = [{"connected": True}, {"hand": "all"}, {"accepted": {}}]


def script(
    name: str, what: str, *steps: tuple[dict[str, Any], dict[str, Any]], rules: tuple[str, ...] = (), **options: Any
) -> Case:
    """A script of an open connection: each step with what its output must have."""
    return Case(
        f"connection/{name}",
        what,
        {"options": {"dialect": "openai", **options}, "steps": [*UP, *(step for step, _ in steps)]},
        {"steps": [*(... for _ in UP), *(must for _, must in steps)]},
        rules,
    )


def created(response_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress"}, **more}


def ended(response_id: str, how: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": f"response.{how}", "response": {"id": response_id, "status": how, "output": []}, **more}


def failed(cause: str, phase: str, verdict: str) -> dict[str, Any]:
    return {"turn": "t", "failed": cause, "phase": phase, "verdict": verdict}


TURN: dict[str, Any] = {"create": {"turn": "t", "fields": {"model": "m", "input": "a"}}}

CASES = [
    script(
        "cut_while_sending",
        "the connection ends when one byte of the message was handed",
        (TURN, {}),
        ({"hand": "one byte"}, {"sent": []}),
        ({"end_of_file": True}, {"changed": [failed("EOF", "SEND", "SAFE")], "state": "CLOSED"}),
        rules=("R-VERDICT-1",),
    ),
    script(
        "cut_before_an_event",
        "the connection ends when the message was handed and nothing came",
        (TURN, {}),
        ({"hand": "all"}, {"sent": [{"message": {"type": "response.create", "model": "m", "input": "a"}}]}),
        ({"end_of_file": True}, {"changed": [failed("EOF", "AWAIT", "AMBIGUOUS")]}),
    ),
    script(
        "completed",
        "a turn from its message to its terminal event",
        (TURN, {}),
        ({"hand": "all"}, {}),
        ({"messages": [created("r1")]}, {"events": [["t", "response.created", "r1"]]}),
        ({"messages": [ended("r1")]}, {"changed": [{"turn": "t", "outcome": "completed", "response_id": "r1"}]}),
    ),
]
