"""BER and DER of hostile senders: read where they are right, refused with a reason where not (X.690)."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.errors import RESOURCE_LIMIT, SMIME_MALFORMED, TRUNCATED, RadpostError
from radpost.smime.ber import (
    MAX_DEPTH,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Element,
    encode,
    parse,
    to_der,
)

FEW = settings(max_examples=300, deadline=None)


def reason(data: bytes) -> object:
    with pytest.raises(RadpostError) as refused:
        walk(parse(data))
    return refused.value.reason


def walk(element: Element, depth: int = 0) -> int:
    """Look at everything that can be looked at; return how many values there are."""
    count = 1
    if depth < 50 and element.is_constructed:
        for child in element.children():
            count += walk(child, depth + 1)
    return count


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_every_form_of_length(size: int) -> None:
    found = parse(encode(OCTET_STRING, bytes(size)))
    assert (found.tag, len(found.content), found.start) == (OCTET_STRING, size, 0)


def test_an_indefinite_length_ends_where_its_mark_stands() -> None:
    inner = b"\x24\x80" + encode(OCTET_STRING, b"ab") + b"\x24\x80" + encode(OCTET_STRING, b"c") + b"\0\0\0\0"
    whole = parse(b"\x30\x80" + inner + encode(OCTET_STRING, b"\0\0") + b"\0\0" + b"behind")
    first, second = whole.children()
    assert first.value() == b"abc"
    assert second.value() == b"\0\0"
    assert bytes(whole.data[whole.stop :]) == b"behind"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", TRUNCATED),
        (b"\x30", TRUNCATED),
        (b"\x30\x82\x01", TRUNCATED),
        (b"\x30\x05abc", TRUNCATED),
        (b"\x30\x80\x04\x01a", TRUNCATED),
        (b"\x30\x80\x04\x01a\0", TRUNCATED),
        (b"\x30\x88" + b"\xff" * 8, TRUNCATED),
        (b"\x30\x89" + b"\xff" * 9, SMIME_MALFORMED),
        (b"\x30\x03\x04\x02a", SMIME_MALFORMED),
        (b"\x30\x02\x04\x81", SMIME_MALFORMED),
        (b"\x30\x04\x04\x80\0\0", SMIME_MALFORMED),
        (b"\x30\x02\x30\x80", SMIME_MALFORMED),
        (b"\x1f" + b"\xff" * 40, SMIME_MALFORMED),
        (b"\x30\x80" * 200_000, RESOURCE_LIMIT),
        (b"\x30\x80" * 20 + b"\0\0" * 19, TRUNCATED),
    ],
    ids=lambda value: value.hex()[:16] if isinstance(value, bytes) else value.name,
)
def test_what_is_refused(data: bytes, expected: object) -> None:
    assert reason(data) is expected


def test_inv8_depth_is_bounded_where_pieces_lie_in_pieces() -> None:
    data = encode(OCTET_STRING, b"x")
    for _ in range(MAX_DEPTH + 5):
        data = encode(0x24, data)
    with pytest.raises(RadpostError, match="resource-limit"):
        list(parse(data).octets())
    with pytest.raises(RadpostError, match="resource-limit"):
        to_der(parse(encode(SEQUENCE, data)))


@pytest.mark.parametrize("head", [b"\x24\x80", b"\x24\x84\x00\x10\x00\x00"], ids=["indefinite", "definite"])
def test_inv8_a_message_of_nothing_but_headers_is_given_up(head: bytes) -> None:
    with pytest.raises(RadpostError, match="resource-limit"):
        list(parse(head + b"\x04\0" * (1 << 19) + b"\0\0").octets())


def test_inv8_what_is_copied_out_is_bounded() -> None:
    large = parse(encode(OCTET_STRING, bytes(2 << 20)))
    assert sum(len(piece) for piece in large.octets()) == 2 << 20
    for name in ("content", "raw"):
        with pytest.raises(RadpostError, match="resource-limit"):
            getattr(large, name)
    with pytest.raises(RadpostError, match="resource-limit"):
        large.value()
    pieces = parse(encode(0x24, *[encode(OCTET_STRING, bytes(1 << 19))] * 4))
    with pytest.raises(RadpostError, match="resource-limit"):
        pieces.value()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("06092a864886f70d010702", "1.2.840.113549.1.7.2"),
        ("0603550403", "2.5.4.3"),
        ("0603883703", "2.999.3"),
        ("060100", "0.0"),
    ],
)
def test_object_identifiers(data: str, expected: str) -> None:
    assert parse(bytes.fromhex(data)).oid() == expected


@pytest.mark.parametrize("data", ["0600", "060180", "06022a86", "0641" + "81" * 64 + "01", "040100"])
def test_no_object_identifiers(data: str) -> None:
    with pytest.raises(RadpostError, match="smime-malformed"):
        parse(bytes.fromhex(data)).oid()


def test_a_set_in_der_is_in_order() -> None:
    members = [encode(OCTET_STRING, b"b"), encode(0x24, encode(OCTET_STRING, b"a"))]
    ber = b"\x31\x80" + b"".join(members) + b"\0\0"
    assert to_der(parse(ber)) == encode(SET, encode(OCTET_STRING, b"a"), encode(OCTET_STRING, b"b"))


@FEW
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(RadpostError):
        element = parse(data)
        walk(element)
    with suppress(RadpostError):
        to_der(parse(data))
    with suppress(RadpostError):
        list(parse(data).octets())


values = st.recursive(
    st.binary(max_size=200).map(lambda content: encode(OCTET_STRING, content)),
    lambda inner: st.builds(
        lambda members, indefinite: (
            b"\x30\x80" + b"".join(members) + b"\0\0" if indefinite else encode(SEQUENCE, *members)
        ),
        st.lists(inner, max_size=5),
        st.booleans(),
    ),
    max_leaves=20,
)


@FEW
@given(values, st.data())
def test_what_is_right_is_read_and_what_is_damaged_never_crashes(data: bytes, draw: st.DataObject) -> None:
    element = parse(data)
    assert element.stop == len(data)
    again = parse(to_der(element))
    assert walk(again) == walk(element)
    at = draw.draw(st.integers(0, len(data) - 1))
    damaged = bytearray(data)
    damaged[at] ^= draw.draw(st.integers(1, 255))
    for variant in (bytes(damaged), data[:at], data[at:]):
        with suppress(RadpostError):
            walk(parse(variant))
