"""Byte ranges as Go's http.ServeContent reads them, which is what the real export server answers with.

Measured in real-stack.md section 3.2: malformed and unsatisfiable headers are 416 with different texts, several ranges are a multipart
answer, and ranges that together ask for more than the whole are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of bytes: where it starts and how long it is."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Return the value of Content-Range for this stretch of a body of `size` bytes."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


class BadRange(Exception):
    """The header cannot be honoured: answer 416 with this text. `overlap` tells whether it was well formed but beyond the end."""

    def __init__(self, text: str, *, overlap: bool) -> None:
        super().__init__(text)
        self.overlap = overlap


def parse_range(header: str, size: int) -> tuple[Span, ...]:
    """Return the stretches that a Range header asks for; none means "send everything". Raises BadRange."""
    if not header:
        return ()
    if not header.startswith("bytes="):
        raise BadRange("invalid range", overlap=False)
    spans: list[Span] = []
    missed = False
    for word in header.removeprefix("bytes=").split(","):
        part = word.strip()
        if not part:
            continue
        span = _span(part, size)
        if span is None:
            missed = True
        else:
            spans.append(span)
    if missed and not spans:
        if size == 0:
            return ()
        raise BadRange("invalid range: failed to overlap", overlap=True)
    if sum(span.length for span in spans) > size:
        return ()
    return tuple(spans)


def _span(part: str, size: int) -> Span | None:
    first, dash, last = (piece.strip() for piece in part.partition("-"))
    if not dash:
        raise BadRange("invalid range", overlap=False)
    if not first:
        if not _number(last):
            raise BadRange("invalid range", overlap=False)
        length = min(int(last), size)
        return Span(size - length, length)
    if not _number(first) or (last and not _number(last)):
        raise BadRange("invalid range", overlap=False)
    start = int(first)
    if start >= size:
        return None
    if not last:
        return Span(start, size - start)
    end = int(last)
    if start > end:
        raise BadRange("invalid range", overlap=False)
    return Span(start, min(end, size - 1) - start + 1)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()
