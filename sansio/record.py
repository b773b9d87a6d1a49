"""Where sessions are recorded, and what of them: the option ``record``.

The promise
    This is the only place that touches the file, by a function of the shell that opens it. What fails there never fails
    a call: it is logged once, and the recording ends. Lines are written whole and in order (RECORDING.md, "The file").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

from .chance import SYSTEM_RANDOM
from .checks import BYTES, Choice, Instance, Number
from .errors import UserError, WrongTypeError

__all__ = ["BinaryFile", "OpenFile", "PathLike", "Recording", "recording_of"]

Outputs: TypeAlias = Literal["hash", "full"]

_OUTPUTS: Final = Choice(("hash", "full"))
_SCRUB: Final = Instance(bool)
_MAX_BYTES: Final = Number(BYTES, least=1, whole=True, optional=True)


class PathLike(Protocol):
    """A path that is an object, such as ``pathlib.Path``."""

    def __fspath__(self) -> str:
        """The path as text."""
        ...


class BinaryFile(Protocol):
    """A file that is open for writing bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of these bytes."""
        ...

    def flush(self) -> object:
        """Pass on what is buffered."""
        ...

    def close(self) -> object:
        """Close it. Only files that were opened for a path are closed."""
        ...


OpenFile: TypeAlias = Callable[[str, str], Any]
"""Opens a file by its path and mode (``wb``, ``ab``), readable by its owner alone if it is new (F-SECRET-3)."""


class Recording:
    """A file that sessions are recorded in: ``connect(record=Recording("session.jsonl"))``, or a model's ``record=``.

    ``to`` is a path, whose file is replaced, or a file that is open for writing bytes, which stays open. Several
    sessions may share one recording, also one after another. ``outputs`` says what is recorded of the bytes that are
    sent: a hash of each write, or, by ``"full"``, the bytes. With ``scrub=True`` the texts of requests and answers are
    replaced by filler of the same length. ``max_bytes`` limits the file, in bytes; None: no limit. Credentials are
    never written. The format is that of RECORDING.md.

    Raises UserError for a value out of its range, and WrongTypeError for one of another type.
    """

    def __init__(
        self,
        to: str | PathLike | BinaryFile,
        *,
        outputs: Outputs = "hash",
        scrub: bool = False,
        max_bytes: int | None = None,
    ) -> None:
        _OUTPUTS.check("outputs", outputs)
        _SCRUB.check("scrub", scrub)
        _MAX_BYTES.check("max_bytes", max_bytes)
        if scrub and outputs == "full":
            raise UserError("scrub=True records only the lengths of what is written: leave outputs out")
        self.outputs: Literal["hash", "full", "length"] = "length" if scrub else outputs
        self.scrub = scrub
        self.max_bytes = max_bytes
        self.key = SYSTEM_RANDOM(16)
        """What makes the ids in it different from those in any other, if it is scrubbed."""
        self._path, self._file = _target(to)
        self._open_file: OpenFile | None = None
        self._sessions = 0
        """How many sessions were recorded."""
        self._active: set[int] = set()
        """The sessions that have transports."""
        self._written = 0
        self.over = False
        """The limit is reached: nothing more is written."""

    def __repr__(self) -> str:
        return f"Recording({self._file if self._path is None else self._path!r})"

    def begin(self, open_file: OpenFile | None, header: bytes) -> int:
        """A session begins to be recorded; ``header`` is the first line of a new file. Returns the session's number.

        This and the other methods raise what opening and writing raise.
        """
        self._sessions += 1
        session = self._sessions
        if session == 1:
            self._open_file = open_file
            self._write(session, (header,), len(header))
        return session

    def write(self, session: int, parts: Sequence[bytes]) -> bool:
        """Write one line, which is given in parts. Returns False if that would exceed ``max_bytes``: then
        :meth:`finish` has to follow. Hot path: runs once per read, and so does not join the parts (F-FILE-4)."""
        if self.over:
            return True
        size = sum(map(len, parts))
        if self.max_bytes is not None and self._written + size > self.max_bytes:
            return False
        self._write(session, parts, size)
        return True

    def finish(self, session: int, line: bytes) -> None:
        """Write a last line; nothing is written after it."""
        self._write(session, (line,), len(line))
        self.over = True
        self._active = {session}
        self.release(session)

    def _write(self, session: int, parts: Sequence[bytes], size: int) -> None:
        self._active.add(session)
        if self._file is None:
            open_file = cast("OpenFile", self._open_file)
            self._file = open_file(cast("str", self._path), "ab" if self._written else "wb")
        for part in parts:
            self._file.write(part)
        self._written += size

    def flush(self) -> None:
        """Pass on what is buffered."""
        if self._file is not None:
            self._file.flush()

    def release(self, session: int) -> None:
        """A session has no transports. If no other has any, a file that was opened here is closed until more comes."""
        self._active.discard(session)
        if self._active or self._file is None:
            return
        self._file.flush()
        if self._path is not None:
            file, self._file = self._file, None
            file.close()


def _target(to: Any) -> tuple[str | None, BinaryFile | None]:
    """The path or the file that is meant."""
    path: object = to.__fspath__() if hasattr(to, "__fspath__") else to
    if isinstance(path, str) and path:
        return path, None
    if callable(getattr(to, "write", None)) and callable(getattr(to, "flush", None)):
        return None, to
    raise WrongTypeError(f"record is of type {type(to).__name__}: write a path, a file opened by 'wb', or Recording(…)")


def recording_of(record: object) -> Recording | None:
    """The recording that the argument ``record`` means: a path, a file, a :class:`Recording` or None."""
    return record if record is None or isinstance(record, Recording) else Recording(cast("Any", record))
