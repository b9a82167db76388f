"""Data sets as tokens: what is no element is refused before anything is written of it."""

import struct

import pytest

from radpost.dicom.elements import parse
from radpost.dicom.scanner import Encoding
from radpost.errors import TRANSCODING_FAILED, RadpostError


@pytest.mark.parametrize("tag", [0xFFFEE8DD, 0xFFFE0000, 0xFFFEFFFF])
@pytest.mark.parametrize("encoding", list(Encoding))
def test_inv08_of_the_group_of_delimiters_nothing_else_is_an_element(tag: int, encoding: Encoding) -> None:
    """Written anew it would have a VR, which readers take for its length (PS3.5 7.5)."""
    order = ">" if encoding.value[1] else "<"
    data = struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, 0)
    with pytest.raises(RadpostError, match="delimiter") as caught:
        list(parse(memoryview(data), encoding))
    assert caught.value.reason is TRANSCODING_FAILED
