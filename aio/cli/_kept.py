"""The conversations that ``turnwire ask`` keeps: one file each, in the user's state directory.

The promise
    Only its owner can read a file. It has the model, the instructions and the items of the conversation, and no
    address, key or header. A file is replaced as a whole, or not at all; one that another process has changed since it
    was read is left as it is. :func:`state_directory` decides from its arguments alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

import msgspec

from ...sansio.errors import UserError
from ._masks import mask_in_json

__all__ = ["DEFAULT", "Content", "Kept", "content_text", "is_name", "state_directory"]

DEFAULT: Final = "default"
"""The name of the conversation if none is given."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


class Content(msgspec.Struct, kw_only=True):
    """What is in a file."""

    turnwire: str = "conversation"
    version: int = 1
    fields: dict[str, Any]
    """The fields of its turns that a later turn has, too: model, instructions, reasoning."""
    conversation: dict[str, Any]
    """What :meth:`~turnwire.aio.Conversation.save` returned."""


def state_directory(environment: Mapping[str, str], platform: str, user: PurePath) -> PurePath:
    """Where programs keep what should persist and is no configuration (XDG Base Directory Specification 0.8):
    ``$XDG_STATE_HOME``, if that is an absolute path; else on Windows ``%LOCALAPPDATA%``, elsewhere
    ``~/.local/state``. ``user``: the folder of the user."""
    given = environment.get("XDG_STATE_HOME", "")
    if given and type(user)(given).is_absolute():
        return user / given / "turnwire"
    if platform == "win32":
        return (type(user)(environment.get("LOCALAPPDATA") or user / "AppData" / "Local")) / "turnwire"
    return user / ".local" / "state" / "turnwire"


def is_name(text: str) -> bool:
    """Whether a conversation can have this name: it is a part of a file's name."""
    return _NAME.fullmatch(text) is not None


class Kept:
    """The file of one conversation."""

    def __init__(self, name: str) -> None:
        try:
            user = Path.home()
        except RuntimeError as exc:
            raise UserError(f"there is no place for a conversation: {exc} Set XDG_STATE_HOME.") from None
        self.path = Path(state_directory(os.environ, sys.platform, user)) / "conversations" / f"{name}.json"
        self._read: bytes | None = None
        """What was in it; None if it was not there."""

    def read(self, *, anew: bool = False) -> Content | None:
        """What is in it; None if there is no such file, or if a new conversation is to begin in its place. Raises
        UserError, if nothing could be written there, too."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise UserError(f"cannot make the folder {self.path.parent}: {exc.strerror}") from exc
        self._read = self._bytes()
        if self._read is None or anew:
            return None
        try:
            content = msgspec.json.decode(self._read, type=Content)
        except ValueError as exc:  # msgspec's errors are some.
            raise self.refused(exc) from None
        if (content.turnwire, content.version) != ("conversation", 1):
            raise self.refused(f"it is a {content.turnwire}, version {content.version}")
        return content

    def refused(self, why: object) -> UserError:
        """The error for a file that holds something else."""
        return UserError(f"{self.path} is no conversation that this version can go on with: {why}; --new replaces it")

    def _bytes(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise UserError(f"cannot read {self.path}: {exc.strerror}") from exc

    def write(self, text: str) -> None:
        """Replace what is in it. Raises OSError, and UserError if another process has changed it meanwhile."""
        if self._bytes() != self._read:
            raise UserError(f"another process changed {self.path} meanwhile: this turn is not a part of it")
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text.encode())
            part.replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def content_text(fields: Mapping[str, Any], saved: str, credentials: Sequence[str | None]) -> str:
    """The text of a file. Credentials that somebody has written into a prompt are masked."""
    content = msgspec.to_builtins(Content(fields=dict(fields), conversation=json.loads(saved)))
    return json.dumps(mask_in_json(content, credentials)) + "\n"
