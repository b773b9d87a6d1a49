"""The seeds: what the targets begin with, made of the vectors (``sansio/spec/vectors``)."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["committed", "frames", "programs", "written"]
CORPUS = Path(__file__).with_name("corpus")


@cache
def vectors(group: str) -> list[dict[str, Any]]:
    """The vectors of one group."""
    text = files("turnwire.sansio").joinpath(f"spec/vectors/{group}.json").read_text()
    return json.loads(text)["vectors"]


def committed(target: str) -> Iterator[bytes]:
    """What the fuzzer found and was kept: ``corpus/TARGET.txt``, one input a line in base64."""
    path = CORPUS / f"{target}.txt"
    if path.exists():
        yield from (b64decode(line) for line in path.read_text().split())


def frames() -> Iterator[bytes]:
    """The bytes of each vector, read in its role; and once more as compressed ones."""
    for vector in vectors("frames"):
        given = vector["input"]
        wire = bytes.fromhex("".join(given["pieces"]))
        if len(wire) <= 2000:
            for more in (0, 2, 16):
                yield bytes((more | (given["role"] == "client"), 3)) + wire


def written() -> Iterator[bytes]:
    """A few frames of each kind, in each setting."""
    texts = b"\x00\x02hello wo\x02\x03abc\x03\x01p\x04\x10" + "ж€💥".encode() * 7 + b"\x05\x03bye"
    for setting in range(8):
        yield bytes((setting, 7)) + texts
        yield bytes((setting, 1)) + b"\x01\xff" + bytes(range(256)) * 4


def programs() -> Iterator[bytes]:
    """For each world the plain course of things, and one that is at random."""
    for world in range(64):
        random = Random(world)
        yield bytes((world, *(random.randrange(128, 256) for _ in range(30))))
        yield bytes((world, *(random.randrange(256) for _ in range(30))))
