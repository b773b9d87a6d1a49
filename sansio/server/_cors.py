"""What the answers to a web page say, so that the page may read them (Fetch standard, section 3.2; P-SERVER-8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ._access import Access

__all__ = ["cors_headers"]

_TOKENS: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
"""Names of headers."""
_METHODS: Final = "GET, HEAD, POST, DELETE, OPTIONS"
_EXPOSED: Final = "x-request-id, retry-after, retry-after-ms, x-should-retry, allow"
_MAX_AGE: Final = "600"
"""Seconds for which a browser may keep the answer to a preflight."""


def cors_headers(access: Access, method: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers to add to the answer to a request: none if it comes from no page that may use this server.

    ``headers`` are those of the request, with names in lower case. There are no cookies, so no credentials are allowed:
    a page sends its key itself.
    """
    origin = headers.get("origin")
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    if origin is None or access.refuse(raw) is not None:
        return {}
    found = {"access-control-allow-origin": origin, "vary": "origin"}
    if not _is_preflight(method, headers):
        return {**found, "access-control-expose-headers": _EXPOSED}
    found |= {"access-control-allow-methods": _METHODS, "access-control-max-age": _MAX_AGE}
    wanted = headers.get("access-control-request-headers", "")
    if _TOKENS.fullmatch(wanted) is not None:
        found["access-control-allow-headers"] = wanted
    if headers.get("access-control-request-private-network") == "true":
        found["access-control-allow-private-network"] = "true"
    return found


def _is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks what a page may send."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
