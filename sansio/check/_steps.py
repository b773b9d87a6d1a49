"""What a script asks of the shell that runs it, and what it gets."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

import msgspec

__all__ = ["StepResult", "Dial", "ReceiveBytes", "Script", "SendBytes", "CheckStep"]

T = TypeVar("T")


class Dial(msgspec.Struct, frozen=True):
    """Open a transport to the server, with TLS if its URL has it. The answer has its number, or a problem."""


class SendBytes(msgspec.Struct, frozen=True):
    """Write these bytes, all of them. The answer has a problem if the transport is broken."""

    peer: int
    data: bytes

    def __repr__(self) -> str:
        """Without the bytes: the first ones hold the credential."""
        return f"SendBytes(peer={self.peer}, {len(self.data)} bytes)"


class ReceiveBytes(msgspec.Struct, frozen=True):
    """Wait for bytes. The answer has some; ``b""`` at the end of the transport; None if so many seconds are over."""

    peer: int
    within: float


CheckStep: TypeAlias = Dial | SendBytes | ReceiveBytes


class StepResult(msgspec.Struct, frozen=True):
    """What came of a step."""

    data: bytes | None = b""
    peer: int = 0
    """The number of the transport that was opened."""
    problem: str = ""
    """Why it could not be done, in words."""


Script: TypeAlias = Generator[CheckStep, StepResult, T]
"""A sans-IO program: it yields steps, gets an answer for each, and returns its result."""
