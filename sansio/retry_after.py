"""How long a server asks to wait: the headers ``retry-after-ms`` and ``retry-after``.

The promise
    Pure functions; they never raise, whatever a header contains. A value that cannot be read counts as missing. Nothing
    here reads a clock: a date is measured from another date, or from a time that the caller passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["http_date", "lower_names", "parse_retry_after"]


def parse_retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds to wait according to ``retry-after-ms``, else ``retry-after`` (R-ADVICE-29; RFC 9110 section 10.2.3).

    Header names match in any case. A date is measured from the response's own ``date`` header, else from ``now``
    (seconds since the epoch). A date without a zone is in UTC. The result is None for a value that is unreadable,
    negative or not finite. The caller judges how long is too long.
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
    """Seconds since the epoch for an HTTP date in any form of RFC 9110 section 5.6.7; None if it is not one."""
    try:
        date = None if value is None else parsedate_to_datetime(value)
        if date is None:
            return None
        # asctime's form has no zone, and RFC 9110 section 5.6.7 requires us to accept it: it is UTC, not local time.
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def lower_names(items: Iterable[tuple[object, object]]) -> dict[str, str]:
    """The headers with their names in lower case."""
    return {str(name).lower(): str(value) for name, value in items}
