"""Transfer encodings: exact, chunked, and lenient where the field is."""

import base64
import binascii
import mmap
import os
import quopri
import random
from pathlib import Path

import pytest

from radpost.mime import coding
from radpost.mime.coding import (
    CHUNK,
    Buffer,
    base64_size,
    decode,
    decode_base64,
    decode_quoted_printable,
    encode_base64,
    encode_quoted_printable,
    find,
    find_all,
    line_chunks,
)


def _base64(text: bytes) -> bytes:
    return b"".join(decode_base64(text, 0, len(text)))


def _qp(text: bytes) -> bytes:
    return b"".join(decode_quoted_printable(text, 0, len(text)))


@pytest.mark.parametrize(
    "size",
    [0, 1, 2, 3, 56, 57, 58, 114, 115, 5000, (57 << 10) - 1, 57 << 10, (57 << 10) + 1, 57 << 11, 200_001],
)
def test_base64_is_what_the_standard_library_writes(size: int) -> None:
    """RFC 2045 6.8."""
    data = random.Random(size).randbytes(size)
    expected = base64.encodebytes(data).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    for step in (max(1, size), 1000):
        chunks = [memoryview(data)[start : start + step] for start in range(0, size, step)]
        assert b"".join(encode_base64(chunks)) == expected
    assert base64_size(size) == len(expected)
    assert _base64(expected) == data


def test_base64_from_tiny_chunks() -> None:
    data = os.urandom(1000)
    assert _base64(b"".join(encode_base64(bytes([byte]) for byte in data))) == data


@pytest.mark.parametrize("width", [1, 3, 61, 64, 76, 500, 3_000_000])
def test_base64_of_any_line_length_over_several_chunks(width: int) -> None:
    data = random.Random(width).randbytes(30_000 if width < 60 else 900_001)
    text = base64.b64encode(data)
    lines = b"\n".join(text[start : start + width] for start in range(0, len(text), width))
    assert _base64(lines) == data


def test_base64_with_blanks_junk_and_without_padding() -> None:
    data = os.urandom(700_001)
    text = base64.b64encode(data).rstrip(b"=")
    ugly = b" \r\n\t".join(text[start : start + 99] for start in range(0, len(text), 99))
    assert _base64(b"\n\n" + ugly + b"\x00\xff!\n") == data


def test_base64_of_concatenated_pieces() -> None:
    assert _base64(b"QQ==\r\nQkM=\r\nREVG") == b"ABCDEF"
    assert _base64(b"=\r\n") == b""
    assert _base64(b"QUJDR") == b"ABC"  # six bits make no byte
    assert _base64(b"QUJDRA==" * 3000) == b"ABCD" * 3000
    assert _base64(b"A=QQ=Q") == b"A"


def test_inv8_padding_without_end_ends_nothing() -> None:
    """As a few thousand ends of data in half a megabyte; more of them are junk."""
    text = b"QUI=" * (coding._MAX_PADDING + 4)
    assert _base64(text) == base64.b64decode(text.replace(b"=", b"")[: len(text) // 4 * 3])
    assert _base64(text[: 4 * coding._MAX_PADDING]) == b"AB" * coding._MAX_PADDING


def test_quoted_printable_is_what_the_standard_library_reads() -> None:
    """RFC 2045 6.7."""
    data = bytes(range(256)) * 40
    text = quopri.encodestring(data).replace(b"\n", b"\r\n")
    assert _qp(text).replace(b"\r\n", b"\n") == data.replace(b"\r\n", b"\n")
    binary = binascii.b2a_qp(data, istext=False).replace(b"\n", b"\r\n")
    assert _qp(binary) == data


def test_quoted_printable_drops_blanks_added_by_transport() -> None:
    assert _qp(b"a=20 \t\r\nb= \r\nc  ") == b"a \r\nbc"


def test_quoted_printable_line_longer_than_a_chunk_is_not_cut_in_a_sign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b"=41=42=43" * 100
    for size in range(20, 30):
        small = lambda buffer, start, end, size=size: line_chunks(buffer, start, end, size)  # noqa: E731 - one line
        monkeypatch.setattr(coding, "line_chunks", small)
        assert _qp(text) == b"ABC" * 100
        assert _qp(text + b"=") == b"ABC" * 100


def test_quoted_printable_text_is_written_with_crlf() -> None:
    text = "Empfangsbestätigung für " + "x" * 100 + "\nzweite Zeile \n"
    raw = encode_quoted_printable(text)
    assert max(len(line) for line in raw.split(b"\r\n")) <= 76
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert _qp(raw).decode().replace("\r\n", "\n") == text


def test_unknown_encoding_is_left_alone() -> None:
    assert b"".join(decode(b"as it is", 3, 8, "x-own")) == b"it is"


@pytest.mark.parametrize("kind", ["bytes", "memoryview", "mmap"])
def test_all_buffers_are_read_alike(kind: str, tmp_path: Path) -> None:
    data = os.urandom(2 * CHUNK)
    raw = b"".join(encode_base64([data]))
    path = tmp_path / "mail"
    path.write_bytes(raw)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    buffers: dict[str, Buffer] = {"bytes": raw, "memoryview": memoryview(raw), "mmap": mapped}
    buffer = buffers[kind]
    assert b"".join(decode(buffer, 0, len(raw), "base64")) == data
    assert b"".join(bytes(part) for part in decode(buffer, 5, len(raw), "7bit")) == raw[5:]
    mapped.close()  # nothing may hold on to it


def test_find_over_windows() -> None:
    for offset in (0, 1, (1 << 17) - 3, 1 << 17, 400_000):
        data = b"x" * offset + b"needle" + b"x" * 10
        assert find(memoryview(data), b"needle", 0, len(data)) == offset
        assert find(data, b"needle", 0, offset + 5) == -1
        assert find(data, b"needle", offset + 1, len(data)) == -1
    twice = b"aaaa" + b"b" * 300_000 + b"aa"
    assert list(find_all(twice, b"aa", 0, len(twice))) == [0, 1, 2, 300_004]


@pytest.mark.parametrize("size", [0, 1, 44, 45, 46, 3000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("chunk", [17, 1 << 19])
def test_uuencode(monkeypatch: pytest.MonkeyPatch, size: int, end: bytes, chunk: int) -> None:
    """As POSIX uuencode writes it, also where a transport has cut blanks off the lines."""
    monkeypatch.setattr(coding, "CHUNK", chunk)
    data = bytes(range(256)) * 12
    lines = [
        binascii.b2a_uu(data[:size][at : at + 45]).rstrip(b"\n").rstrip(b" ") for at in range(0, size, 45)
    ]
    text = end.join([b"Dear colleague", b"begin 644 ct.dcm", *lines, b"`", b"end", b"", b"bye"])
    assert b"".join(coding.decode(text, 0, len(text), "x-uuencode")) == data[:size]


def test_inv8_damaged_uuencode_is_no_crash() -> None:
    text = b"begin 644 x\n" + bytes(range(256)) * 40
    assert isinstance(b"".join(coding.decode(text, 0, len(text), "x-uuencode")), bytes)


def test_inv8_uuencode_without_lines_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "CHUNK", 4096)
    text = b"begin 644 x\n" + b"#" * 100_000 + b"\n#86)C\nend\n"
    assert b"".join(coding.decode(text, 0, len(text), "x-uuencode")).endswith(b"abc")
