"""Dot transparency both ways, wherever the pieces are cut."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.errors import INTERNAL, RadpostError
from radpost.transport import dots
from radpost.transport.dots import Unstuffer, stuffed

LINES = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"a.", b"\x00\xff"]), max_size=8)


def reference(content: bytes) -> bytes:
    lines = content.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


@settings(max_examples=60, deadline=None)
@given(LINES, st.integers(1, 7))
def test_stuffing_equals_the_line_by_line_reference(lines: list[bytes], block: int) -> None:
    """RFC 5321 4.5.2."""
    content = b"".join(line + b"\r\n" for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dots, "_BLOCK", block)
        assert b"".join(stuffed(io.BytesIO(content), len(content))) == reference(content)


@settings(max_examples=60, deadline=None)
@given(LINES, st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_unstuffing_undoes_it_and_keeps_what_follows(lines: list[bytes], cuts: list[int]) -> None:
    """RFC 1939 3."""
    content = b"".join(line + b"\r\n" for line in lines)
    wire = reference(content) + b".\r\n+OK next\r\n"
    undo, got, position, turn = Unstuffer(), b"", 0, 0
    while undo.rest is None:
        size = cuts[turn % len(cuts)]
        got += undo.feed(wire[position : position + size])
        position, turn = position + size, turn + 1
    assert got == content
    assert (undo.rest + wire[position:]) == b"+OK next\r\n"


def test_a_missing_last_line_end_is_added() -> None:
    assert b"".join(stuffed(io.BytesIO(b"a\r\nb"), 4)) == b"a\r\nb\r\n"


@pytest.mark.parametrize(
    "content", [b"a\nb\r\n", b"a\rb\r\n", b"\n", b"a\r", b"a\r\n\n", b"\r\r\n", b"a\r\nb\n"]
)
@pytest.mark.parametrize("block", [1, 2, 3, 1000])
def test_bare_line_ends_are_refused(content: bytes, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5321 2.3.8."""
    monkeypatch.setattr(dots, "_BLOCK", block)
    with pytest.raises(RadpostError) as caught:
        list(stuffed(io.BytesIO(content), len(content)))
    assert caught.value.reason is INTERNAL


def test_a_short_source_is_refused() -> None:
    with pytest.raises(RadpostError, match="shorter"):
        list(stuffed(io.BytesIO(b"a\r\n"), 4))
