"""ASCII armor: what we write, and what mail systems make of armor that we must still read (RFC 4880 6)."""

import base64
import io
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from radpost.errors import OPENPGP_MALFORMED, TAMPERED, TRUNCATED, RadpostError
from radpost.openpgp.armor import (
    CLEARTEXT,
    MESSAGE,
    PUBLIC_KEY,
    ArmorReader,
    armor,
    looks_armored,
    open_message,
    unarmor_all,
)


def read(data: bytes) -> bytes:
    return b"".join(ArmorReader(io.BytesIO(data)).chunks())


def crc24(data: bytes) -> int:
    """The algorithm of RFC 4880 6.1, bit by bit."""
    crc = 0xB704CE
    for octet in data:
        crc ^= octet << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 114, 58367, 58368, 58369, 500_001])
def test_written_armor_is_what_the_standard_asks(size: int) -> None:
    """RFC 4880 6.2, 6.3."""
    data = os.urandom(size)
    text = armor(data, MESSAGE)
    lines = text.split(b"\r\n")
    assert lines[0] == b"-----BEGIN PGP MESSAGE-----"
    assert lines[1] == b""
    assert lines[-2:] == [b"-----END PGP MESSAGE-----", b""]
    body, crc = lines[2:-3], lines[-3]
    assert all(len(line) == 76 for line in body[:-1])
    assert not body or 0 < len(body[-1]) <= 76
    assert b"\n" not in text.replace(b"\r\n", b"")
    assert base64.b64decode(b"".join(body)) == data
    if size < 50_000:
        assert int.from_bytes(base64.b64decode(crc[1:]), "big") == crc24(data)
    assert read(text) == data


@given(
    data=st.binary(max_size=400),
    width=st.integers(1, 120),
    end=st.sampled_from([b"\n", b"\r\n", b" \t\r\n", b"\r", b"\r\r\n", b"\r\n \t"]),
    crc=st.booleans(),
    headers=st.sampled_from([[], [b"Version: x"], [b"Comment: a = b - c", b"Hash: SHA256"]]),
    around=st.booleans(),
)
@example(data=b"", width=1, end=b"\r", crc=False, headers=[b"Version: x"], around=False)
@settings(max_examples=60)
def test_any_line_width_and_line_end_is_read(
    data: bytes, width: int, end: bytes, crc: bool, headers: list[bytes], around: bool
) -> None:
    text = base64.b64encode(data)
    lines = [b"-----BEGIN PGP MESSAGE-----", *headers, b""]
    lines += [text[at : at + width] for at in range(0, len(text), width)]
    if crc:
        lines.append(b"=" + base64.b64encode(crc24(data).to_bytes(3, "big")))
    lines.append(b"-----END PGP MESSAGE-----")
    mail = end.join(lines)
    if around:
        mail = b"A word before" + end + mail + end + b"-- " + end + b"and a signature = behind"
    assert read(mail) == data


def test_missing_blank_line_behind_the_headers_is_forgiven() -> None:
    text = armor(b"x" * 100, MESSAGE).replace(b"-----\r\n\r\n", b"-----\r\n", 1)
    assert read(text) == b"x" * 100


@pytest.mark.parametrize("keep", [10, 40, 300, 60_000, 66_500])
def test_cut_armor_is_truncated(keep: int) -> None:
    text = armor(os.urandom(50_000), MESSAGE)
    with pytest.raises(RadpostError) as caught:
        read(text[:keep])
    assert caught.value.reason in (TRUNCATED, OPENPGP_MALFORMED)
    if keep > 40:
        assert caught.value.reason is TRUNCATED


def test_cut_within_the_last_line_is_truncated() -> None:
    with pytest.raises(RadpostError) as caught:
        read(armor(b"abc" * 100, MESSAGE)[:-12])
    assert caught.value.reason is TRUNCATED


def test_wrong_checksum_is_tampered() -> None:
    text = bytearray(armor(b"abc" * 100, MESSAGE))
    at = text.index(b"YWJj") + 4
    text[at : at + 4] = b"YWJk"
    with pytest.raises(RadpostError) as caught:
        read(bytes(text))
    assert caught.value.reason is TAMPERED


@pytest.mark.parametrize("junk", [b"\x00", b"!", b"\xff", b"_"])
def test_junk_in_the_body_is_malformed(junk: bytes) -> None:
    text = armor(os.urandom(3000), MESSAGE)
    with pytest.raises(RadpostError) as caught:
        read(text[:200] + junk + text[201:])
    assert caught.value.reason is OPENPGP_MALFORMED


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN PGP \xff-----\n\nAAAA\n"])
def test_no_armor(data: bytes) -> None:
    with pytest.raises(RadpostError) as caught:
        read(data)
    assert caught.value.reason in (OPENPGP_MALFORMED, TRUNCATED)


def test_endless_header_is_bounded() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            start = b"" if self.given else b"-----BEGIN PGP MESSAGE-----\n"
            self.given += size
            assert self.given < 1 << 20, "reads without end"
            return start + b"A: b\n" * (size // 5)

    with pytest.raises(RadpostError):
        ArmorReader(Endless())  # type: ignore[arg-type]  # only read() is used


def test_several_blocks_are_joined() -> None:
    keys = armor(b"\x99one", PUBLIC_KEY) + b"\r\n" + armor(b"\x99two", PUBLIC_KEY)
    assert unarmor_all(keys) == b"\x99one\x99two"
    assert unarmor_all(b"\x99binary") == b"\x99binary"


def test_armor_and_binary_are_told_apart() -> None:
    assert looks_armored(b"\n -----BEGIN")
    assert looks_armored(b"\xef\xbb\xbf-----BEGIN")
    assert not looks_armored(b"\xc1\x02")
    assert not looks_armored(b"")


def test_text_signed_in_clear_is_left_as_it_is() -> None:
    text = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello - =\n-----BEGIN PGP SIGNATURE-----\n"
    kind, chunks = open_message(io.BytesIO(text))
    assert kind == CLEARTEXT
    assert b"".join(chunks) == text


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_fuzz_reader_gives_data_or_a_reason(data: bytes) -> None:
    for text in (data, b"-----BEGIN PGP MESSAGE-----\n\n" + data, armor(b"abc" * 40, MESSAGE) + data):
        reason = None
        try:
            read(text)
        except RadpostError as error:
            reason = error.reason
        assert reason in (None, OPENPGP_MALFORMED, TAMPERED, TRUNCATED)
