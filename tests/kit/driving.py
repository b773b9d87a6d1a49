"""A runtime that does what a test says, and nothing by itself; and events for its server to send."""

from __future__ import annotations

from typing import Any

from turnwire.sansio.driver import Link

__all__ = ["FakeRuntime", "completed", "created", "delta"]


class FakeRuntime:
    """Notes what it is asked for, as words; a test looks at what it was given by :attr:`written`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.links: list[Link] = []
        self.written = b""
        self.takes: list[bool] = []
        """What the next writes answer; then True."""
        self.timers: list[float | None] = []
        self.woken: list[Any] = []
        self.looks: list[Any] = []
        """Called within each call."""

    def _note(self, what: str) -> None:
        self.calls.append(what)
        for look in self.looks:
            look(what)

    def _name(self, link: Link) -> int:
        return self.links.index(link)

    def open(self, link: Link) -> None:
        self.links.append(link)
        self._note(f"open {self._name(link)}")

    def write(self, link: Link, data: bytes) -> bool:
        assert data
        self.written += data
        self._note(f"write {self._name(link)}")
        return self.takes.pop(0) if self.takes else True

    def pause(self, link: Link) -> None:
        self._note(f"pause {self._name(link)}")

    def resume(self, link: Link) -> None:
        self._note(f"resume {self._name(link)}")

    def close(self, link: Link, *, abort: bool) -> None:
        self._note(f"{'abort' if abort else 'close'} {self._name(link)}")

    def set_timer(self, when: float | None) -> None:
        self.timers.append(when)

    def wake(self, waiter: Any) -> None:
        self.woken.append(waiter)
        self._note(f"wake {waiter}")


def created(number: int = 1, lane: str | None = None) -> dict[str, Any]:
    return _lifecycle("created", "in_progress", number, lane)


def completed(number: int = 1, lane: str | None = None) -> dict[str, Any]:
    return _lifecycle("completed", "completed", number, lane)


def _lifecycle(kind: str, status: str, number: int, lane: str | None) -> dict[str, Any]:
    response = {"id": f"r{number}", "object": "response", "status": status, "output": []}
    return {"type": f"response.{kind}", "response": response, **({} if lane is None else {"stream_id": lane})}


def delta(text: str = "x", lane: str | None = None) -> dict[str, Any]:
    at = {"item_id": "m", "output_index": 0, "content_index": 0}
    return {"type": "response.output_text.delta", "delta": text, **at, **({} if lane is None else {"stream_id": lane})}
