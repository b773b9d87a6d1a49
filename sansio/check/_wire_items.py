"""What may come of a connection beside frames."""

from __future__ import annotations

import msgspec

__all__ = ["Gone", "NothingCame"]


class Gone(msgspec.Struct, frozen=True):
    """The transport has ended, without a close frame before."""

    words: str = "the end of the connection, without a close frame"


class NothingCame(msgspec.Struct, frozen=True):
    """Nothing came for as long as the run waits."""

    seconds: float

    @property
    def words(self) -> str:
        """What it is."""
        return f"nothing within {self.seconds:g} s"
