"""The targets: what turnwire may cost, mostly as a ratio to something else that is measured in the same run.

On a shared machine absolute figures drift; ratios of one run do not. The *push floor* is an ``asyncio.Protocol`` that
scans two kinds of frame headers, decodes three types of events with msgspec and wakes one future. The *raw trio floor*
does the same scan after ``recv`` in the consumer's own task (``clients/push_floor.py``, ``clients/trio_floor.py``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

TARGETS: Final = {
    "T1": "Core decode: from the bytes of frames to typed events in a turn",
    "T2": "Streaming in bulk on asyncio, CPU per event",
    "T3": "A short turn (two events) on asyncio",
    "T4": "The model over WebSocket, beside the Agents SDK's: one by one, and in bulk",
    "T5": "The trio shell: in bulk, one by one, and a short turn",
    "T6": "Importing the core, and the asyncio shell; neither imports openai",
    "T7": "16 busy lanes on one connection cost per event what one lane costs, in bulk and one by one",
    "T8": "Cost grows linearly: with events, bytes, turns, connections, turns in flight, and turns that wait",
    "T9": "Building and framing a request of 1 MB: one text, 1,000 items, 20,000 items",
    "T10": "Memory of an idle connection",
    "T11": "Events one by one on asyncio, CPU per event",
    "T12": "The same on uvloop",
    "T13": "A recorder that is switched on, in bulk",
    "T14": "The model in the Agents SDK's Runner, beside that SDK's own, one by one",
}
"""What each target is about. The limits are below, one constant for each benchmark."""

WITHOUT_SUBJECT: Final[dict[str, str]] = {}
"""Targets of what turnwire does not have yet, and why they are not measured."""


class ClientLimit(NamedTuple):
    """The cost of a client is at most so many times that of another."""

    target: str
    column: str
    """The field of ``Measurement`` that counts."""
    client: str
    peer: str
    at_most: float


CLIENT_LIMITS: Final = (
    ClientLimit("T2", "per_event", "turnwire", "openai", 1 / 50),
    ClientLimit("T2", "per_event", "turnwire", "aiohttp", 1.1),
    ClientLimit("T2", "per_event", "turnwire", "push-floor", 1.8),
    ClientLimit("T3", "per_short_turn", "turnwire", "aiohttp", 0.85),
    ClientLimit("T3", "per_short_turn", "turnwire", "websockets", 0.5),
    ClientLimit("T3", "per_short_turn", "turnwire", "openai", 1 / 12),
    ClientLimit("T3", "per_short_turn", "turnwire", "push-floor", 1.4),
    ClientLimit("T4", "per_lone_event", "turnwire-model", "agents", 0.55),
    ClientLimit("T4", "per_event", "turnwire-model", "agents", 1 / 20),
    ClientLimit("T5", "per_event", "turnwire-trio", "turnwire", 1.1),
    ClientLimit("T5", "per_lone_event", "turnwire-trio", "trio-floor", 1.6),
    ClientLimit("T5", "per_short_turn", "turnwire-trio", "trio-floor", 1.6),
    ClientLimit("T11", "per_lone_event", "turnwire", "aiohttp", 0.65),
    ClientLimit("T11", "per_lone_event", "turnwire", "websockets", 0.55),
    ClientLimit("T11", "per_lone_event", "turnwire", "picows", 1.5),
    ClientLimit("T11", "per_lone_event", "turnwire", "push-floor", 1.4),
    ClientLimit("T13", "per_event", "turnwire-recorded", "turnwire", 1.1),
    ClientLimit("T13", "per_event", "turnwire-recorded", "turnwire-teed", 1.1),
    ClientLimit("T14", "per_lone_event", "runner-turnwire", "runner-agents", 0.5),
    ClientLimit("T12", "per_lone_event", "turnwire-uvloop", "aiohttp-uvloop", 0.9),
)
"""T2 to T5, and T11 to T14."""

DECODING_TO_OPENAI: Final = 1 / 65
"""T1: of the cost of ``openai``'s parse."""
DECODING_TO_FLOOR: Final = 1.8
"""T1: times the floor."""
IMPORT_LIMITS: Final = {"turnwire.sansio": 0.25, "turnwire.sansio.session": 0.25, "turnwire.aio": 0.35}
"""T6: CPU seconds of an import. ``turnwire.sansio.session`` brings all of the core that a shell needs."""
LANES_LIMIT: Final = 1.2
"""T7: times the cost of one lane."""
GROWTH_EXPONENTS: Final = (0.9, 1.1)
"""T8: the exponent of a power law through the costs."""
BUILDING_LIMITS: Final = (1.2, 1.5, 2.0)
"""T9: times the floor, for each shape of the input at the largest size: one text, large items, small items."""
MEMORY_LIMIT: Final = 64 * 1024
"""T10: bytes."""
