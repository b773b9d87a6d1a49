"""What a script asks of the shell that runs it, and what it gets."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

import msgspec

__all__ = ["Answer", "Dial", "Receive", "Script", "Send", "Step"]

T = TypeVar("T")


class Dial(msgspec.Struct, frozen=True):
    """Open a transport to the server, with TLS if its URL has it. The answer has its number, or a problem."""


class Send(msgspec.Struct, frozen=True):
    """Write these bytes, all of them. The answer has a problem if the transport is broken."""

    peer: int
    data: bytes

    def __repr__(self) -> str:
        """Without the bytes: the first ones hold the credential."""
        return f"Send(peer={self.peer}, {len(self.data)} bytes)"


class Receive(msgspec.Struct, frozen=True):
    """Wait for bytes. The answer has some; ``b""`` at the end of the transport; None if so many seconds are over."""

    peer: int
    within: float


Step: TypeAlias = Dial | Send | Receive


class Answer(msgspec.Struct, frozen=True):
    """What came of a step."""

    data: bytes | None = b""
    peer: int = 0
    """The number of the transport that was opened."""
    problem: str = ""
    """Why it could not be done, in words."""


Script: TypeAlias = Generator[Step, Answer, T]
"""A sans-IO program: it yields steps, gets an answer for each, and returns its result."""
