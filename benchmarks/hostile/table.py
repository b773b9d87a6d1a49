"""The attacks: what is sent, to whom, how much of it, and the rule that bounds it (DESIGN.md, "Limits")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from . import payloads as send
from .payloads import MIB, Bytes

Where = Literal["upgrade", "websocket", "http", "server", "server websocket", "core"]
"""What the attacker is: a server before the upgrade, after it, or over HTTP; a client; or nobody, at the core alone."""


class Attack(msgspec.Struct, frozen=True):
    """One attack."""

    what: str
    where: Where
    rule: str
    payload: Callable[[int], Bytes] | None
    """None: at the core, where the attack is a function of ``victim.py``."""
    count: int
    both: bool = False
    """Also on trio. The core does the work: it differs little."""
    compression: bool = False
    reads: bool = True
    """Whether the victim's consumer reads its events, or the hostile client its answers."""
    options: dict[str, Any] = {}
    """Of the session."""


ATTACKS: Final = {
    "nothing": Attack("no attack: a turn of two events", "websocket", "", send.nothing, 1, both=True),
    "tiny-frames": Attack("empty frames", "websocket", "D-LIMIT-1", send.tiny_frames, 1_000_000, both=True),
    "fragments": Attack(
        "fragments of a byte", "websocket", "D-LIMIT-1", send.fragments_of_a_byte, 1_000_000, both=True
    ),
    "empty-fragments": Attack("empty fragments", "websocket", "D-LIMIT-1", send.empty_fragments, 500_000),
    "empty-compressed": Attack(
        "empty compressed frames", "websocket", "D-LIMIT-1", send.empty_compressed_frames, 200_000, compression=True
    ),
    "bomb": Attack("deflate bomb of 1 GiB", "websocket", "D-LIMIT-3", send.deflate_bomb, 1024 * MIB, compression=True),
    "objects": Attack(
        "deflate bomb of 20 MiB of {}", "websocket", "D-LIMIT-4", send.bombs_below_the_limit, 20 * MIB, compression=True
    ),
    "endless-message": Attack("endless message", "websocket", "D-LIMIT-3", send.endless_message, 200 * MIB, both=True),
    "pings": Attack("pings, pongs unread", "websocket", "D-LIMIT-8", send.pings, 300_000, both=True),
    "unread": Attack(
        "unread events", "websocket", "D-LIMIT-11", send.unknown_events, 2_000_000, both=True, reads=False
    ),
    "unknown-events": Attack("unknown events", "websocket", "D-LIMIT-1", send.unknown_events, 300_000),
    "errors": Attack("errors of nobody", "websocket", "D-LIMIT-1", send.errors, 50_000),
    "lanes": Attack("responses on 10,000 lanes", "websocket", "D-LIMIT-1", send.lanes, 10_000),
    "items": Attack("output items", "websocket", "D-LIMIT-12", send.many_items, 50_000),
    "nesting": Attack("nesting, 10 MiB deep", "websocket", "D-LIMIT-6", send.deep_nesting, 10 * MIB),
    "digits": Attack("numbers of 10⁶ digits", "websocket", "D-LIMIT-6", send.digits, 10**6),
    "ids": Attack("ids of a megabyte", "websocket", "D-LIMIT-10", send.long_ids, 10**6),
    "surrogates": Attack("halves of surrogate pairs", "websocket", "D-LIMIT-4", send.surrogates, 2_000_000),
    "nan": Attack("NaN", "websocket", "D-LIMIT-4", send.not_a_number, 3_000_000),
    "odd": Attack("elements of another type", "websocket", "D-LIMIT-5", send.odd_elements, 3_000_000),
    "members": Attack("members of one name", "websocket", "D-LIMIT-4", send.same_names, 2_000_000),
    "usage": Attack("usage of 10⁶ digits", "websocket", "D-LIMIT-6", send.usage, 10**6),
    "upgrade-head": Attack("endless head of the upgrade", "upgrade", "D-LIMIT-7", send.endless_head, 1_000_000),
    "upgrade-early": Attack("103 without end", "upgrade", "D-LIMIT-7", send.informational, 1_000_000),
    "http-head": Attack("endless head", "http", "D-LIMIT-7", send.endless_head, 1_000_000),
    "blank-lines": Attack("blank lines", "http", "D-LIMIT-2", send.blank_lines, 5_000_000, both=True),
    "comments": Attack("comments", "http", "D-LIMIT-2", send.comments, 1_000_000),
    "gzip": Attack("gzip of 10⁸ blank lines", "http", "D-LIMIT-2", send.gzip_of_lines, 10**8, both=True),
    "chunks": Attack("chunks of a byte", "http", "D-LIMIT-2", send.chunks_of_a_byte, 200_000),
    "extension": Attack("endless extension of a chunk", "http", "D-LIMIT-7", send.chunk_extension, 100 * MIB),
    "line": Attack("endless line of a stream", "http", "D-LIMIT-3", send.endless_line, 200 * MIB),
    "document": Attack("endless document", "http", "D-LIMIT-3", send.endless_document, 200 * MIB),
    "error": Attack("endless error", "http", "D-LIMIT-7", send.endless_error, 200 * MIB),
    "redirects": Attack("redirects in a circle", "http", "D-LIMIT-7", send.redirects, 1),
    "retry-after": Attack("retry-after: 10¹²", "http", "D-LIMIT-7", send.retry_after, 1),
    "server-nothing": Attack("no attack: a message that is refused", "server websocket", "", send.refused, 1),
    "server-frames": Attack("empty frames", "server websocket", "D-LIMIT-1", send.tiny_client_frames, 30_000),
    "server-fragments": Attack("fragments of a byte", "server websocket", "D-LIMIT-1", send.client_fragments, 300_000),
    "server-pings": Attack(
        "pings, pongs unread", "server websocket", "D-LIMIT-8", send.client_pings, 300_000, reads=False
    ),
    "server-nesting": Attack("nesting, 1 MiB deep", "server websocket", "D-LIMIT-6", send.client_nesting, MIB),
    "server-message": Attack("10 MiB of {}", "server websocket", "D-LIMIT-13", send.client_message, 10 * MIB),
    "server-bomb": Attack(
        "deflate bomb of 1 GiB", "server websocket", "D-LIMIT-3", send.client_bomb, 1024 * MIB, compression=True
    ),
    "server-queue": Attack("10,000 requests of a lane", "server websocket", "D-LIMIT-9", send.queued_requests, 10_000),
    "server-head": Attack("endless head", "server", "D-LIMIT-7", send.client_head, 1_000_000),
    "server-chunks": Attack("chunks of a byte", "server", "D-LIMIT-2", send.client_chunks, 200_000),
    "queued": Attack("10,000 turns queued, then cancelled", "core", "D-LIMIT-9", None, 10_000),
    "expired": Attack("10,000 turns expire at once", "core", "D-LIMIT-9", None, 10_000),
    "to-openai": Attack("to_openai() of 100,000 parts", "core", "D-LIMIT-4", None, 100_000),
}
