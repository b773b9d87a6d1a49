"""The body of an answer: a stream of events, or one document, whatever its content-type says.

================================== ===================================================
the first byte that is no space    the body is
================================== ===================================================
of an error status                 a document
``{`` ``[`` ``<`` ``"``            a document: no field of a stream begins like that
``d`` ``e`` ``i`` ``r`` ``:``      a stream: they begin its fields, and a comment
any other                          a document if the content-type is JSON's or a page's
================================== ===================================================
"""

from __future__ import annotations

from typing import Final

from ..sse import EventStream, ServerSentEvent
from ._document import is_document, is_stream
from ._exchange import Head

__all__ = ["MAX_ERROR", "Answer"]

MAX_ERROR: Final = 1024 * 1024
"""Bytes of an answer with an error status. A longer one is no error that anybody reads."""

_SPACE: Final = b" \t\r\n\xef\xbb\xbf"
"""What may stand before a body begins: white space, and the byte order mark."""
_OF_DOCUMENTS: Final = b'{[<"'
_OF_STREAMS: Final = b"deir:"


class Answer:
    """One answer from its head on. ``limit``: bytes of an event, or of a document; None: no limit (P-TRANSPORT-9)."""

    def __init__(self, head: Head, limit: int | None) -> None:
        self.head = head
        self.success = 200 <= head.status < 300
        """Whether its status says that the server took the request."""
        self.body = bytearray()
        """The document so far; of a stream, what came before it was known to be one."""
        self.too_long: str | None = None
        """In words, which limit was exceeded."""
        self._limit = limit if self.success else MAX_ERROR
        self._stream = EventStream(limit)
        self._streams: bool | None = None if self.success else False
        """Whether it is a stream of events; None: that is not known yet."""

    @property
    def content_type(self) -> str | None:
        """Its content-type."""
        return self.head.headers.get("content-type")

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of events. Of one without a body, its content-type tells."""
        return is_stream(self.content_type) if self._streams is None else self._streams

    @property
    def lines(self) -> int:
        """Lines that the last part ended, of a stream; 0 of a document."""
        return self._stream.lines

    def receive(self, data: bytes) -> list[ServerSentEvent]:
        """Take a part of the body; return the events that are complete. Look at :attr:`too_long` afterwards."""
        if self._streams is None:
            self._decide(data)
        if self._streams:
            if self.body:
                data = bytes(self.body) + data
                self.body.clear()
            events = self._stream.receive(data)
            self.too_long = self._stream.too_long
            return events
        self.body += data
        if self._limit is not None and len(self.body) > self._limit:
            self.too_long = f"its body has more than {self._limit} bytes"
        return []

    def _decide(self, data: bytes) -> None:
        first = data.lstrip(_SPACE)[:1]
        if first:
            document = first in _OF_DOCUMENTS or (first not in _OF_STREAMS and is_document(self.content_type))
            self._streams = not document
