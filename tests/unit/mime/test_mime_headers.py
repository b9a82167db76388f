"""Header blocks, parameters and encoded words, as liberal as the field needs them."""

import email.policy
import encodings
from datetime import UTC, datetime
from email.parser import BytesHeaderParser

import pytest

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.mime.headers import MAX_FIELDS, message_ids, parse_block
from radpost.mime.params import decode_charset, decode_words, parse_structured


def _values(block: bytes) -> list[tuple[str, str]]:
    return [(item.name, item.value) for item in parse_block(block, complete=True).headers]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\r\n"])
def test_every_line_end_is_read(end: bytes) -> None:
    """RFC 5322 2.2."""
    block = parse_block(end.join([b"A: 1", b"B: two", b"\tlines", b"", b"body"]), complete=True)
    assert [(item.name, item.value) for item in block.headers] == [("A", "1"), ("B", "two\tlines")]
    assert block.size == len(b"A: 1B: two\tlines") + 4 * len(end)
    assert block.defects == ()


def test_mixed_line_ends_in_one_block() -> None:
    assert _values(b"A: 1\nB: 2\r\nC: 3\rD: 4\n\r\nbody") == [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]


def test_block_without_fields_leaves_all_to_the_body() -> None:
    block = parse_block(b"\r\nbody: not a field\r\n\r\n", complete=True)
    assert (len(block.headers), block.size) == (0, 2)


def test_garbage_lines_are_defects_and_stop_nothing() -> None:
    block = parse_block(b"A: 1\r\nwhat is this\r\nB : 2\r\n\r\n", complete=True)
    assert [(item.name, item.value) for item in block.headers] == [("A", "1"), ("B", "2")]
    assert block.defects == ("garbage-line",)


def test_byte_order_mark_and_mbox_line_are_skipped() -> None:
    assert parse_block(b"\xef\xbb\xbfA: 1\n\n", complete=True).headers.get("a") == "1"
    mbox = parse_block(b"From x@y Tue Mar 02 09:44:33 1999\nA: 1\n\n", complete=True)
    assert (mbox.headers.get("A"), mbox.defects) == ("1", ("mbox-line",))


def test_boundary_right_behind_the_fields_begins_the_body() -> None:
    raw = b"Content-Type: text/plain\n--b\nSubject: no\n\n"
    block = parse_block(raw, complete=True)
    assert (len(block.headers), block.defects) == (1, ("missing-blank-line",))
    assert raw[block.size :].startswith(b"--b")


def test_raw_8bit_headers_are_read_as_utf8_or_latin1() -> None:
    block = parse_block("A: Müller\nB: ".encode() + b"M\xfcller\n\n", complete=True)
    assert [item.value for item in block.headers] == ["Müller", "Müller"]
    assert block.defects == ("8bit-header",)


def test_inv8_endless_header_block_is_refused() -> None:
    with pytest.raises(RadpostError) as caught:
        parse_block(b"A: " + b"x" * 5000, complete=False)
    assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_endless_number_of_fields_is_refused() -> None:
    with pytest.raises(RadpostError) as caught:
        parse_block(b"A: 1\n" * (MAX_FIELDS + 1) + b"\n", complete=True)
    assert caught.value.reason is RESOURCE_LIMIT


def test_same_as_stdlib_on_an_ordinary_block() -> None:
    """RFC 2045 3."""
    raw = (
        b"From: =?utf-8?Q?J=C3=BCrgen?= <j@example.org>\r\nTo: a@example.org,\r\n b@example.org\r\n"
        b"Subject: =?iso-8859-1?Q?Bild=FCbertragung?=\r\nDate: Thu, 12 Feb 2026 05:59:17 +0100\r\n\r\n"
    )
    theirs = BytesHeaderParser(policy=email.policy.default).parsebytes(raw)
    ours = parse_block(raw, complete=True).headers
    assert ours.text("subject") == theirs["subject"]
    assert ours.addresses("TO") == tuple(item.addr_spec for item in theirs["to"].addresses)
    assert ours.addresses("from") == ("j@example.org",)
    assert ours.date() == theirs["date"].datetime


def test_case_and_doubles() -> None:
    headers = parse_block(b"x-a: 1\nX-A: 2\n\n", complete=True).headers
    assert headers.get_all("X-a") == ("1", "2")
    assert "X-A" in headers
    assert headers.get("missing") is None
    assert headers.addresses("missing") == ()


@pytest.mark.parametrize("text", ["", "yesterday", "Thu, 99 Feb 2026 05:59:17 +0100", "1 2 3 4 5 6 7"])
def test_bad_dates_are_none(text: str) -> None:
    """RFC 5322 3.3."""
    assert parse_block(f"Date: {text}\n\n".encode(), complete=True).headers.date() is None


def test_date_without_zone_is_utc() -> None:
    found = parse_block(b"Date: Thu, 12 Feb 2026 05:59:17 -0000\n\n", complete=True).headers.date()
    assert found == datetime(2026, 2, 12, 5, 59, 17, tzinfo=UTC)


@pytest.mark.parametrize("text", [":" * 5000, "a:" * 5000, "(" * 5000, "x (" * 3000])
def test_inv8_address_fields_that_nest_without_end_name_nobody(text: str) -> None:
    headers = parse_block(
        f"From: {text}\r\nTo: {text}\r\nTo: c@d.example\r\n".encode(), complete=True
    ).headers
    assert headers.addresses("From") == ()
    assert headers.addresses("To") == ("c@d.example",)


@pytest.mark.parametrize("sign", ["\0", "\x0b", "\x1b", "\x7f"])
def test_inv10_an_id_with_control_characters_is_none(sign: str) -> None:
    """No answer could repeat it, and a receipt that cannot be written would be tried for ever."""
    block = parse_block(f"Message-ID: <a{sign}b@c.example>\r\n".encode(), complete=True)
    assert block.headers.message_id() is None


def test_message_ids_keep_odd_inner_text() -> None:
    """RFC 5322 3.6.4."""
    assert message_ids("<a@b>\t(x) <c d@e>") == ("<a@b>", "<c d@e>")
    assert message_ids("-") == ()


@pytest.mark.parametrize(
    ("text", "value", "params"),
    [
        ('Multipart/Mixed; Boundary="a;b"', "multipart/mixed", {"boundary": "a;b"}),
        (
            "multipart/encrypted ; (RFC 3156)  protocol = \"application/pgp-encrypted\"\t; boundary='x'",
            "multipart/encrypted",
            {"protocol": "application/pgp-encrypted", "boundary": "'x'"},
        ),
        ("multipart/encrypted;; boundary=a==b?c", "multipart/encrypted", {"boundary": "a==b?c"}),
        (r'a/b; name="q\"u\\o"', "a/b", {"name": 'q"u\\o'}),
        ("a/b; filename*=iso-8859-1'de'Sch%E4del.dcm", "a/b", {"filename": "Schädel.dcm"}),
        (
            "a/b; filename*0*=iso-8859-1''Sch%E4; filename*1=\"del \"; filename*2*=%F6.dcm",
            "a/b",
            {"filename": "Schädel ö.dcm"},
        ),
        ('a/b; name="=?utf-8?B?U2Now6RkZWw=?= =?utf-8?Q?=2Edcm?="', "a/b", {"name": "Schädel.dcm"}),
        ('a/b; name=unclosed"; x', "a/b", {"name": 'unclosed"'}),
        ("a/b (comment (nested) \\) ; x=y); z=1", "a/b", {"z": "1"}),
        ("", "", {}),
    ],
)
def test_parameters(text: str, value: str, params: dict[str, str]) -> None:
    """RFC 2045 5.1, RFC 2231 3, 4; RFC 5322 3.2.2."""
    found = parse_structured(text)
    assert (found.value, dict(found.params)) == (value, params)


def test_first_of_doubled_parameters_counts() -> None:
    found = parse_structured("a/b; boundary=one; boundary=two")
    assert (found.params["boundary"], found.defects) == ("one", ("duplicate-parameter",))


def test_gap_in_continuations_is_a_defect() -> None:
    found = parse_structured("a/b; name*0=x; name*2=y")
    assert (found.params["name"], found.defects) == ("xy", ("continuation-gap",))


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("=?utf-8?B?w6Q=?=", "ä"),
        ("a =?utf-8?Q?=C3?= =?utf-8?Q?=A4?= b", "a ä b"),  # a character cut between two words
        ("=?iso-8859-1?q?a_b?=\n =?utf-8?q?c?=", "a bc"),
        ("=?nonsense?q?abc?=", "abc"),
        ("=?utf-8?b?####?=", ""),
        ("=?utf-8*de?q?x?=", "x"),
        ("=?broken", "=?broken"),
    ],
)
def test_encoded_words(text: str, decoded: str) -> None:
    """RFC 2047 4.1, 4.2, 6.2."""
    assert decode_words(text) == decoded


def test_decoded_text_can_always_be_written() -> None:
    assert decode_words(r"=?unicode-escape?q?=5Cud800?=") == "\\ud800"
    assert parse_structured("a/b; name*=unicode_escape''%5Cud800").params["name"] == "\\ud800"


def test_inv8_codecs_that_are_no_charsets_and_slow_are_not_used() -> None:
    assert decode_charset(b"xn--mnchen-3ya", "IDNA") == "xn--mnchen-3ya"
    assert decode_charset(b"mnchen-3ya", "Punycode") == "mnchen-3ya"


def test_inv8_invented_charsets_leave_nothing_behind() -> None:
    """Python remembers each name of a codec that it was ever asked for, and each spelling of those it has."""
    known = vars(encodings)["_cache"]
    decode_charset(b"x", "utf-8")
    before = len(known)
    for number in range(1, 50):
        decode_charset(b"x", f"nothing-{number}")
        decode_charset(b"x", "utf" + "-" * number + "8")
        decode_charset(b"x", "a" * 100_000 + str(number))
    assert len(known) == before


@pytest.mark.parametrize(
    "name", ["UTF-8", "iso-8859-15", "windows-1252", "ANSI_X3.4-1968", "koi8-r", '"latin1"']
)
def test_charsets_of_the_field_are_known(name: str) -> None:
    assert decode_charset(b"a\xc3\xa4" if "8-15" in name else b"a", name)[0] == "a"
    assert decode_charset("Ж".encode("koi8-r"), "koi8-r") == "Ж"


@pytest.mark.parametrize("charset", ["rot13", "zip", "idna", "punycode", "hex", "no\0such", "", "x" * 500])
def test_inv8_hostile_charsets_fall_back(charset: str) -> None:
    assert decode_charset("ä".encode(), charset) == "ä"
    assert decode_charset(b"\xe4", charset) == "ä"
