"""Random scripts of one connection, for a binding to be held against the core: where the two differ.

::

    cd tests && python -m kit.binding_scripts 'node bindings/js/door.mjs' --count 2000 --first 1

A script is drawn from a number, so that it can be drawn again. It may say what no server does; then the pages may leave
open what is right, and a difference is a question to them. A verdict SAFE that the core does not give is never right.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from turnwire.sansio.vectors import VectorError, mismatches, output_for

__all__ = ["Difference", "differences", "drawn", "main"]

DIALECTS = ("openai", "openai", "openai", "azure", "unknown", "no-lanes", "codex")
LANES = (None, None, "a", "b", "c", {"auto": True})
CODES = (
    "x",
    "server_error",
    "websocket_connection_limit_reached",
    "invalid_stream_id",
    "invalid_json",
    "invalid_api_key",
    "previous_response_not_found",
)


class _Drawing:
    """One script."""

    def __init__(self, number: int, *, steers: bool) -> None:
        self._random = Random(number)
        self._steers = steers
        self._turns = self._inputs = 0
        self._now = 0.0

    def script(self) -> dict[str, Any]:
        chance = self._random
        options: dict[str, Any] = {"dialect": chance.choice(DIALECTS)}
        for likely, name, values in (
            (0.3, "max_in_flight", (1, 2, 3)),
            (0.2, "leave", ("abort", "abandon")),
            (0.2, "stall_timeout", (5, 20)),
            (0.1, "max_named_lanes", (1,)),
        ):
            if chance.random() < likely:
                options[name] = chance.choice(values)
        if chance.random() < 0.2:
            options |= {"ping_interval": 10.0, "ping_timeout": 5.0}
        steps: list[dict[str, Any]] = []
        for step in ({"connected": True}, {"hand": "all"}, {"accepted": {}}):
            if chance.random() < 0.2:
                steps.append(self._create())
            steps.append(step)
        steps += [self._step() for _ in range(chance.randint(3, 14))]
        steps.append({"hand": "all"})
        return {"options": options, "steps": [*steps, {"end_of_file": True}] if chance.random() < 0.5 else steps}

    def _step(self) -> dict[str, Any]:
        chance, kind = self._random, self._random.random()
        turn = f"t{chance.randrange(self._turns)}" if self._turns else None
        if kind < 0.27 or turn is None:
            return self._create()
        if kind < 0.47:
            return {"hand": chance.choice(("all", "all", "one byte"))}
        if kind < 0.75:
            return {"messages": [self._message() for _ in range(chance.choice((1, 1, 1, 2)))]}
        if kind < 0.80:
            return {"cancel": turn}
        if kind < 0.86 and self._steers:
            self._inputs += 1
            return {"steer": {"turn": turn, "as": f"i{self._inputs}", "input": "left"}}
        if kind < 0.91:
            self._now += chance.choice((1.0, 5.0, 10.0))
            return {"expire": True, "now": self._now}
        rare = ({"server_closes": 1000}, {"server_closes": 1011}, {"server_closes": 1009}, {"server_pings": "61"})
        return chance.choice((*rare, {"drain": True}, {"end_of_file": True}, {"close": True}))

    def _create(self) -> dict[str, Any]:
        chance = self._random
        given: dict[str, Any] = {"turn": f"t{self._turns}", "fields": {"model": "m"}, "lane": chance.choice(LANES)}
        self._turns += 1
        if chance.random() < 0.15:
            given["fields"]["previous_response_id"] = chance.choice(("r0", "r1"))
        if chance.random() < 0.3:
            limits = {name: chance.choice((None, 10.0)) for name in ("lane", "send", "receive")}
            given["timeouts"] = {"connect": None, "total": chance.choice((None, 25.0)), **limits}
        return {"create": given}

    def _message(self) -> Any:
        chance, kind = self._random, self._random.random()
        if 0.65 <= kind < 0.7:
            return chance.choice(("ping", "{bad", "[DONE]"))
        if self._steers and 0.7 <= kind < 0.82:
            how = chance.choice(("accepted", "failed", "pending"))
            steer = {"id": chance.choice(("s1", "s2")), "previous_response_id": self._id()}
            return {"type": f"response.steer.{how}", "steer": steer, "error": {"code": "response_not_active"}}
        made = self._event(kind)
        if chance.random() < 0.55:
            made["stream_id"] = chance.choice(("a", "b", "c", "auto-1"))
        return made

    def _event(self, kind: float) -> dict[str, Any]:
        chance = self._random
        if kind < 0.3:
            return {"type": "response.created", "response": {"id": self._id(), "status": "in_progress"}}
        if kind < 0.5:
            how = chance.choice(("response.completed", "response.failed", "response.done"))
            return {"type": how, "response": {"id": self._id(), "status": "completed", "output": []}}
        if kind < 0.6:
            item = chance.choice(("m1", "m2"))
            return {"type": "response.output_text.delta", "item_id": item, "output_index": 0, "delta": "x"}
        if kind < 0.65:
            return {"type": chance.choice(("new.thing", "keepalive", "response.in_progress"))}
        error: dict[str, Any] = {"type": "error", "error": {"code": chance.choice(CODES)}}
        if chance.random() < 0.7:
            error["status"] = chance.choice((400, 400, 401, 408, 429, 500))
        if chance.random() < 0.2:
            error["response_id"] = self._id()
        return error

    def _id(self) -> str:
        return self._random.choice(("r0", "r1", "r2"))


def drawn(number: int, *, steers: bool = False) -> dict[str, Any]:
    """The script of this number."""
    return _Drawing(number, steers=steers).script()


class Difference(NamedTuple):
    """A script after which a program says something else than the core."""

    number: int
    lines: list[str]
    misled: bool
    """The program says that a turn is SAFE of which the core does not."""


def _safe(output: dict[str, Any]) -> set[str]:
    """The turns that were told SAFE, at any time."""
    said = [one for step in output["steps"] for one in step.get("changed", ())]
    return {one["turn"] for one in said if one.get("verdict") == "SAFE" and "turn" in one}


def differences(command: list[str], numbers: range, *, steers: bool = False) -> Iterator[Difference]:
    """Where a program behind the door differs from the core. A script that names a turn which was refused is none."""
    asked: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
    for number in numbers:
        script = drawn(number, steers=steers)
        try:
            asked[number] = script, output_for("connection", script)
        except VectorError:
            continue
    lines = [
        json.dumps({"id": str(number), "group": "connection", "input": script}) + "\n"
        for number, (script, _) in asked.items()
    ]
    said = subprocess.run(command, input="".join(lines), capture_output=True, text=True, check=True)
    for (number, (_, expected)), line in zip(asked.items(), said.stdout.splitlines(), strict=True):
        answer = json.loads(line)
        got = answer.get("output") or {"steps": []}
        found = [f"{answer['error']}"] if "error" in answer else mismatches(expected, got)
        if found:
            yield Difference(number, found, misled=bool(_safe(got) - _safe(expected)))


def main() -> None:
    """Print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--steers", action="store_true")
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.count)
    found = list(differences(shlex.split(given.command), numbers, steers=given.steers))
    for one in found:
        print(f"{one.number}{' MISLED' if one.misled else ''}: {one.lines[0][:300]}")
    print(f"{len(found)} of {given.count} scripts differ, {sum(one.misled for one in found)} in a verdict SAFE")


if __name__ == "__main__":
    main()
