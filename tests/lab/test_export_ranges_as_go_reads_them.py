"""Range headers of the export server: which bytes they mean, and which are refused how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab.ranges import BadRange, Span, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ("bytes=0-1023", (Span(0, 1024),)),
        ("bytes=4000-", (Span(4000, 96),)),
        ("bytes=-96", (Span(4000, 96),)),
        ("bytes=-9999", (Span(0, 4096),)),
        ("bytes=4000-9999", (Span(4000, 96),)),
        ("bytes=0-0, 10-11", (Span(0, 1), Span(10, 2))),
        ("bytes=0-4095,0-0", ()),
        ("bytes=0-1,9999-", (Span(0, 2),)),
        ("bytes=,", ()),
    ],
)
def test_a_header_means_these_bytes(header: str, expected: tuple[Span, ...]) -> None:
    """A good header gives its stretches, cut at the end; asking for more than everything gives everything."""
    assert parse_range(header, 4096) == expected


@pytest.mark.parametrize("header", ["bytes=abc", "items=0-1", "bytes=5-2", "bytes=-", "bytes=1-x", "0-1"])
def test_a_malformed_header_is_refused(header: str) -> None:
    """What is no range is refused without a word about the size."""
    with pytest.raises(BadRange, match=r"^invalid range$") as caught:
        parse_range(header, 4096)
    assert not caught.value.overlap


def test_a_range_past_the_end_is_refused_as_such() -> None:
    """A range that starts behind the last byte is refused with the size."""
    with pytest.raises(BadRange, match="failed to overlap") as caught:
        parse_range("bytes=4096-", 4096)
    assert caught.value.overlap


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200))
def test_a_range_is_the_slice_of_the_same_numbers(first: int, last: int, size: int) -> None:
    """`first-last` means the bytes that Python's slice of these numbers holds, or is refused when there are none."""
    body = bytes(index % 251 for index in range(size))
    try:
        spans = parse_range(f"bytes={first}-{last}", size)
    except BadRange:
        assert first > last or first >= size
        return
    (span,) = spans
    assert body[span.start : span.start + span.length] == body[first : last + 1]
