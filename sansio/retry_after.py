"""How long a server asks to wait: the headers ``retry-after-ms`` and ``retry-after``.

The promise
    Pure functions; whatever a header holds, they raise nothing. What cannot be read asks for no wait. Nothing here
    knows what time it is: a date counts from another one, or from a clock that the caller gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["http_date", "lower_names", "parse_retry_after"]


def parse_retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds to wait according to ``retry-after-ms``, else ``retry-after`` (RFC 9110 section 10.2.3).

    Header names are matched in any case. A date is measured from the response's own ``date`` header, else from ``now``
    (seconds since the epoch), and is in UTC if it names no zone. Anything unreadable, negative or not finite is None;
    how long is too long is the caller's to judge.
    """
    named = lower_names(headers.items())
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = named.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    then = http_date(named.get("retry-after"))
    sent = http_date(named.get("date"))
    start = sent if sent is not None else now
    return None if then is None or start is None else max(0.0, then - start)


def http_date(value: str | None) -> float | None:
    """Seconds since the epoch for an HTTP date, in any form of RFC 9110 section 5.6.7; None for what is none."""
    try:
        date = None if value is None else parsedate_to_datetime(value)
        if date is None:
            return None
        # asctime's form, which RFC 9110 section 5.6.7 has us read, names no zone: it is UTC, not where we happen to be.
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def lower_names(items: Iterable[tuple[object, object]]) -> dict[str, str]:
    """Headers by lower-case names."""
    return {str(name).lower(): str(value) for name, value in items}
