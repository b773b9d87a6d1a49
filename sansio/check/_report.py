"""A run of one check, and what came of it (PROTOCOL.md, P-CHECK-9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from ._context import Check, Context
from ._continuation_checks import CONTINUATION
from ._error_checks import ERROR_CHECKS, REFUSED
from ._event_checks import EVENT_CHECKS, WARMING
from ._frame_checks import CLOSING, FRAME_CHECKS
from ._handshake_checks import HANDSHAKE, KEYS
from ._http_checks import OVER_HTTP
from ._lane_checks import LANE_CHECKS
from ._limit_checks import LIMIT_CHECKS
from ._shown import CheckFailedError, CheckSkippedError
from ._steering_checks import INJECTION, STEERS
from ._steps import Script

__all__ = ["CHECKS", "CheckOutcome", "chosen", "requests_of", "run_check"]

_GROUPS: Final = (
    *(
        HANDSHAKE,
        KEYS,
        FRAME_CHECKS,
        CLOSING,
        EVENT_CHECKS,
        ERROR_CHECKS,
        REFUSED,
        LANE_CHECKS,
        CONTINUATION,
        WARMING,
        STEERS,
    ),
    *(INJECTION, LIMIT_CHECKS, OVER_HTTP),
)
CHECKS: Final[tuple[Check, ...]] = tuple(check for group in _GROUPS for check in group.checks)
"""All checks, in the order in which they run."""


class CheckOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a check: ``outcome`` is ``passed``, ``failed`` or ``skipped``."""

    outcome: str
    expected: str = ""
    """Of a failure: what the rule says."""
    came: str = ""
    """Of a failure: what came, shortened."""
    reason: str = ""
    """Of a skip."""


def run_check(check: Check, context: Context) -> Script[CheckOutcome]:
    """Run a check: what it needs first."""
    try:
        for need in check.needs:
            yield from need.script(context)
        yield from check.script(context)
    except CheckFailedError as exc:
        return CheckOutcome(outcome="failed", expected=exc.expected, came=exc.came)
    except CheckSkippedError as exc:
        return CheckOutcome(outcome="skipped", reason=str(exc))
    return CheckOutcome(outcome="passed")


def chosen(only: Sequence[str], skip: Iterable[str]) -> list[Check]:
    """The checks whose names fit one of ``only`` (all, if it is empty) and none of ``skip``: patterns, or groups."""
    return [check for check in CHECKS if (not only or _fits(check, only)) and not _fits(check, skip)]


def _fits(check: Check, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(check.name, each) or check.name.startswith(f"{each}/") for each in patterns)


def requests_of(checks: Iterable[Check]) -> int:
    """How many requests these checks send that a model answers, at most: a probe's count once."""
    checks = list(checks)
    probes = {probe for check in checks for probe in check.all_probes()}
    return sum(check.turns for check in checks) + sum(probe.turns for probe in probes)
