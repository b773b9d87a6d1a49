"""One process of fuzzing: ``python tests/fuzz/engine.py TARGET FINDINGS MUTANT [options of libFuzzer and folders]``.

What an oracle says is written to the folder of findings, each kind once, and the fuzzer goes on. With a planted fault
(``mutants.py``; ``-`` is none) the first finding ends it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

MOST_SECONDS: Final = 20.0
"""Seconds of CPU time for one input: an input that takes longer is a finding."""
INSTRUMENTED: Final = ["turnwire.sansio"]


class TooSlowError(AssertionError):
    """An input takes more than :data:`MOST_SECONDS`."""


def finding_of(exc: BaseException) -> str:
    """A name for this kind of finding: the exception, and where it was raised."""
    frames = traceback.extract_tb(exc.__traceback__)[-3:]
    places = [f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in frames]
    digest = hashlib.sha256("|".join((type(exc).__name__, *places)).encode()).hexdigest()[:12]
    return f"{type(exc).__name__}-{frames[-1].name}-{digest}"


def keeping(run: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """The target, with its findings written to this folder: the shortest input of each kind."""
    shortest: dict[str, int] = {}

    def one(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
        try:
            run(data)
        except Exception as exc:
            name = finding_of(exc)
            if len(data) < shortest.get(name, sys.maxsize):
                shortest[name] = len(data)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.bin").write_bytes(data)
                (folder / f"{name}.txt").write_text(traceback.format_exc())
                print(f"finding: {name}: {str(exc)[:300]!r}", file=sys.stderr, flush=True)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    return one


def until_found(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, which ends the process when an oracle does not hold."""
    executions = 0

    def one(data: bytes) -> None:
        nonlocal executions
        executions += 1
        try:
            run(data)
        except Exception as exc:
            words = f"found: {executions} {time.process_time():.1f} {type(exc).__name__}: {str(exc)[:100]}"
            print(words, file=sys.stderr, flush=True)
            os._exit(0)

    return one


def stop(signum: int, frame: FrameType | None) -> None:
    """The input has used its time."""
    raise TooSlowError(f"more than {MOST_SECONDS} seconds of CPU time")


def main() -> None:
    """Run until the options of libFuzzer say that it is over; never returns."""
    import atheris

    name, folder, mutant, *options = sys.argv[1:]
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.targets import named
    run = keeping(named(name).run, Path(folder))
    if mutant != "-":
        import pytest
        from fuzz.mutants import planted

        planted(name, mutant)(pytest.MonkeyPatch())
        run = until_found(named(name).run)
    signal.signal(signal.SIGVTALRM, stop)
    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
