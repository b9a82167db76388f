"""Written mails: exact sizes, readable by the standard library, no way to smuggle fields in."""

import email
import email.policy
import os
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import pytest

from radpost.errors import INTERNAL, RadpostError
from radpost.mime.folding import (
    block,
    boundary,
    encode_words,
    field,
    mailbox,
    message_fields,
    message_id,
    parameters,
)
from radpost.mime.params import decode_words, parse_structured
from radpost.mime.reader import body, parse
from radpost.mime.writer import Leaf, Multipart, Node, Source, entity_size, pieces, write

_DICOM = (("Content-Type", 'application/dicom; id="I1"; name="I1.dcm"'),)
_WHEN = datetime(2026, 2, 12, 5, 59, 17, tzinfo=timezone(timedelta(hours=1)))


def _nested(data: bytes) -> Multipart:
    text = Leaf((("Content-Type", "text/plain"),), Source.of(b"DICOM\r\n"), "7bit")
    inner = Multipart("related", "=_inner", (Leaf(_DICOM, Source.of(data)),), {"type": "application/dicom"})
    return Multipart("mixed", "=_outer", (text, inner, Leaf(_DICOM, Source.of(data), "binary")))


@pytest.mark.parametrize("size", [0, 1, 57, 58, 100_000])
def test_size_is_known_and_content_comes_back(size: int) -> None:
    data = os.urandom(size)
    node = _nested(data)
    fields = message_fields(
        sender=mailbox("a@example.org", "Radiologie"),
        recipient="b@example.org",
        subject="DICOM-eMail",
        date=_WHEN,
        message_id=message_id(bytes(16), "example.org"),
    )
    mail = b"".join(write(node, fields))
    assert len(mail) == entity_size(node, fields)
    root = parse(mail)
    assert all(not item.defects for item in root.walk())
    text, inner, binary = root.children
    assert root.encoding == "binary"  # RFC 2045 6.4: a multipart declares what its parts need
    assert inner.encoding == "7bit"
    assert b"".join(body(text, mail)) == b"DICOM\r\n"
    assert b"".join(body(inner.children[0], mail)) == data
    assert b"".join(body(binary, mail)) == data


def test_standard_library_reads_what_we_write() -> None:
    data = os.urandom(5000)
    mail = b"".join(write(_nested(data), (("MIME-Version", "1.0"),)))
    parts = list(email.message_from_bytes(mail, policy=email.policy.SMTP).walk())
    assert [part.get_content_type() for part in parts if not part.defects] == [
        "multipart/mixed",
        "text/plain",
        "multipart/related",
        "application/dicom",
        "application/dicom",
    ]
    assert parts[3].get_payload(decode=True) == data
    assert parts[3].get_filename() == "I1.dcm"


def test_pieces_name_their_leaf() -> None:
    node = _nested(b"x" * 200)
    of_leaf = {id(leaf): b"" for leaf in (node.children[0], node.children[2])}
    for data, leaf in pieces(node):
        if leaf is not None and id(leaf) in of_leaf:
            of_leaf[id(leaf)] += bytes(data)
    assert list(of_leaf.values()) == [b"DICOM\r\n", b"x" * 200]


@pytest.mark.parametrize("chunks", [[b"123"], [b"12345"], [b"123", b"45"], []])
def test_content_that_changes_its_size_fails(chunks: list[bytes]) -> None:
    leaf = Leaf(_DICOM, Source(4, lambda: chunks), "binary")
    with pytest.raises(RadpostError) as caught:
        b"".join(write(leaf))
    assert caught.value.reason is INTERNAL


def test_multipart_without_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        b"".join(write(Multipart("mixed", "b", ())))


def test_headers_fold_at_78() -> None:
    """RFC 5322 2.1.1, 2.2.3."""
    raw = field("References", " ".join(f"<{number:032x}@example.org>" for number in range(20)))
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert all(line.startswith(b" ") for line in lines[1:-1])
    assert raw.replace(b"\r\n ", b" ").count(b"@example.org") == 20


def test_first_word_stays_with_its_name() -> None:
    assert field("Message-ID", "<" + "x" * 100 + "@y>").startswith(b"Message-ID: <xxx")


def test_words_that_cannot_fold_have_a_limit() -> None:
    assert len(field("A", "x" * 900)) > 900
    with pytest.raises(ValueError, match="folded"):
        field("A", "x" * 1000)


@pytest.mark.parametrize("value", ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b", "a\x7fb"])
def test_fields_cannot_be_smuggled(value: str) -> None:
    with pytest.raises(ValueError, match="control"):
        field("Subject", value)
    with pytest.raises(ValueError, match="control"):
        parameters("a/b", {"name": value})
    with pytest.raises(ValueError, match="header name"):
        field(f"X{value}", "x")


def test_text_beyond_ascii_becomes_encoded_words() -> None:
    """RFC 2047 2, 4.1."""
    text = "Empfangsbestätigung für die Übertragung " * 4
    raw = field("Subject", text)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    value = raw.decode().removeprefix("Subject: ").replace("\r\n", "").strip()
    assert decode_words(value).strip() == text.strip()
    parsed = email.message_from_bytes(raw + b"\r\n", policy=email.policy.default)
    assert parsed["subject"].strip() == text.strip()
    assert decode_words(encode_words("😀" * 40)) == "😀" * 40


@pytest.mark.parametrize(
    "params",
    [{"name": "a.dcm"}, {"name": 'q"u\\o.dcm'}, {"name": "Schädel 1.dcm"}, {"total": "12", "id": "a b@c"}],
)
def test_parameters_come_back(params: Mapping[str, str]) -> None:
    """RFC 2231 4."""
    assert dict(parse_structured(parameters("a/b", params)).params) == params


@pytest.mark.parametrize("address", ["", "a", "a b@c", "a@b\r\nX: y", "a@b>", "ä@b", "a@b,c@d"])
def test_bad_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="mail address"):
        mailbox(address)


@pytest.mark.parametrize("name", ["", "Radiologie", 'Dr. "X", Y', "Klinik für Röntgen"])
def test_mailboxes_come_back(name: str) -> None:
    raw = field("From", mailbox("a@example.org", name)) + b"\r\n"
    found = email.message_from_bytes(raw, policy=email.policy.default)["from"].addresses[0]
    assert (found.addr_spec, found.display_name) == ("a@example.org", name)
    assert parse(raw).headers.addresses("from") == ("a@example.org",)


def test_inv10_ids_hold_nothing_but_random_bits_and_domain() -> None:
    """RFC 5322 3.6.4."""
    assert message_id(bytes(range(16)), "mail.example") == "<000102030405060708090a0b0c0d0e0f@mail.example>"
    for token, domain in ((bytes(15), "x"), (bytes(16), ""), (bytes(16), "a>b"), (bytes(16), "a\r\nb")):
        with pytest.raises(ValueError, match="16 random bytes"):
            message_id(token, domain)
    assert boundary(bytes(8)) == "=_" + "00" * 8
    with pytest.raises(ValueError, match="random bytes"):
        boundary(b"x")


def test_date_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        message_fields(
            sender="a@b",
            recipient="c@d",
            subject="",
            date=datetime(2026, 1, 1),  # noqa: DTZ001 - this is the fault
            message_id="<x@y>",
        )


def test_block_ends_with_a_blank_line() -> None:
    assert block((("A", "1"), ("B", ""))) == b"A: 1\r\nB:\r\n\r\n"


def test_large_content_streams() -> None:
    chunk = bytes(57_000)
    node: Node = Leaf(_DICOM, Source(57_000 * 100, lambda: (chunk for _ in range(100))))
    longest = total = 0
    for data in write(node):
        longest, total = max(longest, len(data)), total + len(data)
    assert total == entity_size(node)
    assert longest < 1 << 20
