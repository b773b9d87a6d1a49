"""The targets of fuzzing: what each is given, and which inputs it begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from fuzz import calls, events, frames, http_player, seeds, server_player, streams, websocket_player

__all__ = ["TARGETS", "TOGETHER", "Target", "named"]


class Target(NamedTuple):
    """A function of bytes that raises if an oracle is violated."""

    what: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    most: int = 4096
    """Bytes of an input."""
    words: Callable[[], Iterable[bytes]] = tuple
    """Words that the fuzzer may put into inputs."""

    def options(self, folder: Path) -> list[str]:
        """What libFuzzer is told of this target; files go to this folder."""
        words = list(self.words())
        options = ["-len_control=0"] if self.most <= 512 else []
        if words:
            file = folder / "words"
            file.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
            options.append(f"-dict={file}")
        return options


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


TARGETS: Final[Mapping[str, Target]] = {
    "frames": Target("bytes to frames, against wsproto and websockets", frames.check_frames, seeds.frames),
    "written": Target("frames that are written, read back by all three", frames.check_written, seeds.written),
    "open": Target(
        "bytes to a connection, after the upgrade",
        websocket_player.after_the_upgrade,
        lambda: seeds.connections("raw"),
        words=seeds.words,
    ),
    "first": Target(
        "bytes to a connection, from the first byte",
        websocket_player.from_the_first_byte,
        lambda: seeds.connections("first"),
    ),
    "messages": Target(
        "programs of calls and messages to a connection",
        websocket_player.in_frames,
        lambda: seeds.connections("frames"),
        words=seeds.words,
    ),
    "sse": Target(
        "server-sent events, against a plain reading of the standard",
        streams.check_stream,
        seeds.streams,
        600,
        words=seeds.stream_words,
    ),
    "http": Target(
        "bytes in answer to a request over HTTP",
        http_player.answers,
        lambda: seeds.http("raw"),
        words=seeds.http_words,
    ),
    "exchanges": Target(
        "programs of requests and answers over HTTP",
        http_player.exchanges,
        lambda: seeds.http("programs"),
        words=seeds.http_words,
    ),
    "events": Target("JSON to events, and to the SDK's objects", events.check_events, seeds.events, words=seeds.words),
    "server": Target(
        "programs of messages to the server's role, with an application",
        server_player.in_messages,
        lambda: seeds.servers("programs"),
        words=seeds.words,
    ),
    "server-open": Target(
        "bytes to the server's role, after the upgrade",
        server_player.after_the_upgrade,
        lambda: seeds.servers("raw"),
    ),
    "server-first": Target(
        "bytes to the server's role, from the first byte",
        server_player.from_the_first_byte,
        lambda: seeds.servers("first"),
        words=seeds.http_words,
    ),
    "calls": Target("programs of API calls against a model of a server", calls.play, seeds.programs, 200),
}

TOGETHER: Final = "together"
"""The name of a target that is all others: the first byte of an input chooses. To start one process takes seconds, so a
short run over everything takes this."""


def named(name: str) -> Target:
    """The target with this name."""
    return TARGETS[name] if name != TOGETHER else Target("all others, by the first byte", _run_any, _seeds_of_all)


def _run_any(data: bytes) -> None:
    number = data[0] if data else 0
    list(TARGETS.values())[number % len(TARGETS)].run(data[1:])


def _seeds_of_all() -> Iterator[bytes]:
    for number, target in enumerate(TARGETS.values()):
        yield from (bytes((number,)) + data for data in islice(target.seeds(), 0, None, 7))
