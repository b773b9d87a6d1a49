"""The tables that decide, as data: states, moves, verdicts, advice, recovery, events, dialects, defaults.

The promise
    :func:`tables` returns plain JSON values, made from the very tables that run: what a port of turnwire to another
    language needs beside the pages of ``sansio/spec/``. ``sansio/spec/tables.json`` is the same, written by
    ``turnwire tables --json``. :func:`mermaid` and :func:`graphviz` draw one state machine.

Conventions of the data
    A set of HTTP statuses is a list of ``[first, last]`` ranges. The first row of a table that matches holds; null in a
    condition means: any value. A limit of null is no limit. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Collection, Mapping
from typing import Any, Final, cast

import msgspec

from . import error_body, evidence
from .connection import (
    INPUT_FACTS,
    INPUT_TRANSITIONS,
    TRANSITIONS,
    TURN_TRANSITIONS,
    WAITING_PHASE,
    ConnectionOptions,
)
from .connection._states import FACTS
from .connection._tables import ERRORS, OPTION_RULES, REDIRECTS, WAIT_NAMES
from .conversation import CallState
from .conversation._calls import MOVES
from .dialect import DIALECTS, HOSTS
from .events import EVENT_TYPES
from .events._roles import (
    DONE,
    ENDINGS,
    FINAL_STATUSES,
    NEUTRAL_PREFIX,
    NEUTRAL_SUFFIX,
    NEUTRAL_TYPES,
    OUTCOME_PREFIXES,
    RESPONSE_MEMBERS,
    RESPONSE_PREFIX,
)
from .http import HTTP_TRANSITIONS, HTTP_WAITING_PHASE
from .replay import ADVICE_TABLE, RECOVERY_TABLE, FailureKind, RecoveryPolicy
from .replay._recovery import LATER_STATUSES, NETWORK, ONCE, RECOVERY_RULES, REPEATABLE_CAUSES
from .session import SessionOptions
from .timeouts import Timeouts

__all__ = ["TABLES_FORMAT", "Machine", "as_text", "graphviz", "machines", "mermaid", "tables"]

TABLES_FORMAT: Final = 1
"""The version of the data: it changes when a member changes its meaning or goes away."""
ROW: Final = 118
"""How many characters of JSON stand on one line."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One state machine: its states and its moves."""

    title: str
    """What it is the state of."""
    first: str
    """The state that it begins in."""
    states: tuple[str, ...]
    moves: tuple[tuple[str, str, str], ...]
    """From which state, by which signal, to which. What is not listed cannot occur, or changes nothing."""
    signals: dict[str, str]
    """What each signal says, where its name does not say it."""


def machines() -> dict[str, Machine]:
    """The state machines, by name."""
    calls: dict[CallState, dict[str, CallState]] = {
        state: {how: after for how, (states, after) in MOVES.items() if state in states} for state in CallState
    }
    return {
        "connection": _machine("a WebSocket", TRANSITIONS),
        "http_connection": _machine("an HTTP connection", HTTP_TRANSITIONS),
        "turn": _machine("a turn", TURN_TRANSITIONS),
        "input": _machine("a steer or an injection", INPUT_TRANSITIONS),
        "tool_call": _machine("a call of a tool that the client runs", calls),
    }


def _machine(title: str, moves: Mapping[Any, Mapping[Any, Any]]) -> Machine:
    return Machine(
        title=title,
        first=_plain(next(iter(moves))),
        states=tuple(map(_plain, moves)),
        moves=tuple(
            (_plain(state), _plain(signal), _plain(after))
            for state, signals in moves.items()
            for signal, after in signals.items()
        ),
        signals={
            signal.name: signal.value
            for signals in moves.values()
            for signal in signals
            if isinstance(signal, enum.Enum)
        },
    )


def tables() -> dict[str, Any]:
    """Everything, as plain JSON values; the top of the module has the conventions."""
    return {
        "format": TABLES_FORMAT,
        "machines": {name: _plain(machine) for name, machine in machines().items()},
        "connection_facts": _plain({state: facts._asdict() for state, facts in FACTS.items()}),
        "input_facts": _plain({state: facts._asdict() for state, facts in INPUT_FACTS.items()}),
        "phases": _phases(),
        "causes": _causes(),
        "verdicts": [_plain(row._asdict()) for row in evidence.VERDICT_TABLE],
        "refusals": _refusals(),
        "http_evidence": [_http_row(row) for row in evidence.HTTP_TABLE],
        "failure_kinds": [
            {"name": kind.name, "text": kind.value, "repeated": _plain(RECOVERY_TABLE.get(kind))}
            for kind in FailureKind
        ],
        "advice": [_plain(row._asdict()) for row in ADVICE_TABLE],
        "recovery": {
            "reasons_once": _plain(ONCE),
            "retrieval_causes": _plain(NETWORK),
            "retrieval_statuses": _ranges(LATER_STATUSES),
            "policy": _options(RecoveryPolicy, RECOVERY_RULES),
        },
        "errors": {
            "status_by_code": dict(error_body.STATUS_BY_CODE),
            "status_by_type": dict(error_body.STATUS_BY_TYPE),
            "retry_members": _plain(error_body.RETRY_MEMBERS),
        },
        "events": _events(),
        "dialects": {name: _plain(msgspec.structs.asdict(dialect)) for name, dialect in DIALECTS.items()},
        "dialect_by_host": {name: dialect.name for name, dialect in HOSTS},
        "redirects": _ranges(REDIRECTS),
        "timeouts": _options(Timeouts, {}),
        "connection_options": _options(ConnectionOptions, OPTION_RULES),
        "session_options": _options(SessionOptions, OPTION_RULES),
    }


def as_text(value: Any, indent: str = "") -> str:
    """JSON text of the tables: a row of a table is a line."""
    members: list[tuple[str, Any]]
    if isinstance(value, dict):
        members = [(f"{_json(name)}: ", member) for name, member in cast("dict[str, Any]", value).items()]
        begin, end = "{", "}"
    elif isinstance(value, list):
        members = [("", member) for member in cast("list[Any]", value)]
        begin, end = "[", "]"
    else:
        return _json(value)
    inner = f"{indent} "
    if indent and len(line := _json(value)) <= ROW:
        return line
    lines = ",\n".join(f"{inner}{name}{as_text(member, inner)}" for name, member in members)
    return f"{begin}\n{lines}\n{indent}{end}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- Parts -------------------------------------------------------------------------------------------------------


def _phases() -> list[Any]:
    return [
        {
            "name": phase.name,
            "order": phase.value,
            "deadline": WAIT_NAMES.get(phase),
            "while": [state.name for state, waiting in WAITING_PHASE.items() if waiting is phase],
            "while_http": [state.name for state, waiting in HTTP_WAITING_PHASE.items() if waiting is phase],
        }
        for phase in evidence.Phase
    ]


def _causes() -> list[Any]:
    return [
        {
            "name": cause.name,
            "value": cause.value,
            "error": ERRORS[cause].__name__ if cause in ERRORS else None,
            "repeatable": cause in REPEATABLE_CAUSES,
        }
        for cause in evidence.Cause
    ]


def _refusals() -> Any:
    return {
        "codes": _plain(evidence.REFUSAL_CODES),
        "not_refusing_statuses": _ranges(evidence.NOT_REFUSING_STATUSES),
        "no_websocket_statuses": _ranges(evidence.NO_WEBSOCKET_STATUSES),
        "gateway_statuses": _ranges(evidence.GATEWAY_STATUSES),
        "may_have_run": list(evidence.MAY_HAVE_RUN),
        "exhausted": _plain(evidence.EXHAUSTED),
        "too_big": evidence.TOO_BIG,
    }


def _http_row(row: evidence.HttpRow) -> Any:
    statuses = None if row.statuses is None else _ranges(row.statuses)
    return {**_plain(row._replace(statuses=None)._asdict()), "statuses": statuses}


def _events() -> Any:
    return {
        "types": sorted(EVENT_TYPES),
        "error_types": _plain(error_body.ERROR_TYPES),
        "neutral_types": _plain(NEUTRAL_TYPES),
        "neutral_prefix": NEUTRAL_PREFIX,
        "neutral_suffix": NEUTRAL_SUFFIX,
        "outcome_prefixes": list(OUTCOME_PREFIXES),
        "response_prefix": RESPONSE_PREFIX,
        "response_members": list(RESPONSE_MEMBERS),
        "endings": dict(ENDINGS),
        "done": DONE,
        "final_statuses": dict(FINAL_STATUSES),
    }


def _options(kind: type[msgspec.Struct], rules: Mapping[str, object]) -> Any:
    """The fields of a class of options: the default, and what may be written."""
    made = kind()
    return {
        name: {"default": _default(getattr(made, name)), "rule": str(rules[name]) if name in rules else None}
        for name in kind.__struct_fields__
    }


def _default(value: object) -> Any:
    """A default as JSON; an object of a class as its name."""
    return f"{type(value).__name__}()" if isinstance(value, msgspec.Struct) else _plain(value)


def _ranges(statuses: Collection[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for status in sorted(statuses):
        if ranges and status == ranges[-1][1] + 1:
            ranges[-1][1] = status
        else:
            ranges.append([status, status])
    return ranges


def _plain(value: Any) -> Any:
    """A value of the tables as JSON: a member of an enumeration by its name, a set in order."""
    if value is msgspec.UNSET:
        return None
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value))
    if isinstance(value, Mapping):
        members = cast("Mapping[Any, Any]", value)
        return {_plain(name): _plain(member) for name, member in members.items()}
    if isinstance(value, frozenset | tuple | list):
        items = [_plain(item) for item in cast("Collection[Any]", value)]
        return sorted(items) if isinstance(value, frozenset) else items
    return value


# --- Drawings ----------------------------------------------------------------------------------------------------


def mermaid(machine: Machine) -> str:
    """The machine as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {machine.first}"]
    lines += [f"    {state} --> {after}: {signal}" for state, signal, after in machine.moves]
    left = {state for state, _, _ in machine.moves}
    lines += [f"    {state} --> [*]" for state in machine.states if state not in left]
    return "\n".join(lines) + "\n"


def graphviz(machine: Machine) -> str:
    """The machine as a directed graph in the DOT language of Graphviz."""
    lines = [f'digraph "{machine.title}" {{', "    rankdir=LR", '    node [shape=box, style=rounded, fontname="sans"]']
    lines += ['    edge [fontname="sans", fontsize=10]', "    begin [shape=point]", f'    begin -> "{machine.first}"']
    left = {state for state, _, _ in machine.moves}
    lines += [f'    "{state}" [peripheries=2]' for state in machine.states if state not in left]
    lines += [f'    "{state}" -> "{after}" [label="{signal}"]' for state, signal, after in machine.moves]
    return "\n".join([*lines, "}"]) + "\n"
