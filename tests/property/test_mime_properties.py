"""Properties of the grammar of e-mail: nothing a stranger sends breaks it, what is written comes back."""

import base64
import binascii
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.errors import RadpostError
from radpost.mime.coding import decode, encode_base64, encode_quoted_printable
from radpost.mime.folding import field, message_id, parameters
from radpost.mime.headers import parse_block
from radpost.mime.params import decode_words, parse_structured
from radpost.mime.partial import Fragment, FragmentHeader, assemble, fragment_info, split
from radpost.mime.pgp import data, find_openpgp, signed_data
from radpost.mime.reader import Entity, body, parse
from radpost.mime.report import parse_disposition, parse_dsn, parse_mdn
from radpost.mime.writer import Leaf, Multipart, Source, entity_size, write

_FEW = settings(max_examples=60, deadline=None)

_WORDS = [
    b"Content-Type: multipart/mixed; boundary=b",
    b"Content-Type: multipart/encrypted; boundary=c",
    b"Content-Type: multipart/report; boundary=b",
    b"Content-Type: multipart/signed; boundary=c",
    b"Content-Type: message/rfc822",
    b"Content-Type: message/delivery-status",
    b"Content-Type: message/disposition-notification",
    b"Content-Type: message/partial; id=x; number=1; total=1",
    b"Content-Type: application/pgp-encrypted",
    b"Content-Type: text/plain; name*0*=utf-8''%C3; name*1*=%A4",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"X-Failed-Recipients: a@b",
    b"From: Mailer-Daemon <x@y>",
    b"Subject: =?utf-8?Q?Undeliverable?=",
    b"Final-Recipient: rfc822; a@b",
    b"Action: failed",
    b"Status: 5.2.2",
    b"Disposition: automatic-action/MDN-sent-automatically;displayed",
    b"Version: 1",
    b"--b",
    b"--b--",
    b"--c",
    b"--c--",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----END PGP MESSAGE-----",
    b"-----BEGIN PGP SIGNATURE-----",
    b"QUJD",
    b"QQ==",
    b"=41=\t",
    b'\xff\x00("',
    b" folded",
    b"",
    b"",
]
_LINES = st.lists(st.sampled_from(_WORDS) | st.binary(max_size=12), max_size=40)
_MAILS = st.builds(
    lambda lines, end: end.join(lines), _LINES, st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\r\n"])
)


def _within(entity: Entity, start: int, end: int) -> None:
    assert start <= entity.start <= entity.body_start <= entity.body_end <= end
    last = entity.body_start
    for child in entity.children:
        assert child.start >= last
        _within(child, entity.body_start, entity.body_end)
        last = child.body_end


@settings(max_examples=400, deadline=None)
@given(_MAILS)
def test_inv8_any_bytes_are_read_or_refused_with_a_reason(mail: bytes) -> None:
    try:
        root = parse(mail)
    except RadpostError:
        return
    _within(root, 0, len(mail))
    for leaf in root.walk():
        assert sum(len(chunk) for chunk in body(leaf, mail)) <= leaf.size
    found = find_openpgp(root, mail)
    for payload in found.payloads:
        assert 0 <= payload.start <= payload.end <= len(mail)
        b"".join(bytes(chunk) for chunk in data(payload, mail))
    for signed in found.signed:
        b"".join(signed_data(signed, mail))
    parse_dsn(root, mail)
    with suppress(RadpostError):
        parse_mdn(root, mail)
    with suppress(RadpostError):
        _join(root, mail)


def _join(root: Entity, mail: bytes) -> None:
    info = fragment_info(root)
    if info is not None:
        joined = assemble([Fragment(info, root, mail)])
        assert sum(len(chunk) for chunk in joined.chunks()) == joined.size


@_FEW
@given(st.binary(max_size=500), st.integers(1, 120))
def test_base64_comes_back_from_any_chunks(content: bytes, step: int) -> None:
    chunks = [content[start : start + step] for start in range(0, len(content), step)]
    text = b"".join(encode_base64(chunks))
    assert text.replace(b"\r\n", b"") == base64.b64encode(content)
    assert b"".join(decode(text, 0, len(text), "base64")) == content


@_FEW
@given(st.binary(max_size=500), st.sampled_from(["base64", "quoted-printable"]))
def test_any_bytes_decode_to_something(content: bytes, encoding: str) -> None:
    assert len(b"".join(decode(content, 0, len(content), encoding))) <= len(content)


@_FEW
@given(st.binary(max_size=400))
def test_binary_quoted_printable_comes_back(content: bytes) -> None:
    text = binascii.b2a_qp(content, istext=False)
    assert b"".join(decode(text, 0, len(text), "quoted-printable")) == content


@_FEW
@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=200))
def test_quoted_printable_text_comes_back(text: str) -> None:
    raw = encode_quoted_printable(text)
    assert b"".join(decode(raw, 0, len(raw), "quoted-printable")).decode().replace("\r\n", "\n") == text


_VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=200)


@_FEW
@given(_VALUES)
def test_header_text_comes_back(text: str) -> None:
    clean = " ".join(text.split())
    raw = field("Subject", clean)
    block = parse_block(raw + b"\r\n", complete=True)
    assert len(block.headers) == 1
    assert all(len(line) <= 78 or b" " not in line.strip() for line in raw.split(b"\r\n"))
    if not clean.isascii() or "=?" not in clean:
        assert block.headers.text("subject") == clean


@_FEW
@given(_VALUES)
def test_parameters_come_back(text: str) -> None:
    if not text.isascii() or "=?" not in text:
        assert parse_structured(parameters("a/b", {"filename": text})).params["filename"] == text


@_FEW
@given(st.text(max_size=200))
def test_any_text_is_parsed(text: str) -> None:
    decode_words(text)
    parse_structured(text)
    with suppress(RadpostError):
        parse_disposition(text)


@_FEW
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sampled_from(["base64", "binary"]))
def test_written_multiparts_come_back(contents: list[bytes], encoding: str) -> None:
    kind = (("Content-Type", "application/dicom"),)
    leaves = tuple(
        Leaf(kind, Source.of(content), "base64" if encoding == "base64" else "binary") for content in contents
    )
    node = Multipart("mixed", "=_0123456789abcdef", leaves)
    mail = b"".join(write(node))
    assert len(mail) == entity_size(node)
    assert [b"".join(body(child, mail)) for child in parse(mail).children] == contents


@_FEW
@given(
    st.integers(100, 600),
    st.integers(4096, 9000),
    st.sampled_from([b"\r\n", b"\r", b"", b"\r\r\n", b"\r\n\r\n"]),
    st.randoms(use_true_random=False),
)
def test_fragments_join_whatever_happened_to_their_ends(
    lines: int, limit: int, end: bytes, random: Random
) -> None:
    mail = b"Subject: x\r\nContent-Type: text/plain\r\n\r\n" + b"".join(
        b"%d %s\r\n" % (n, b"y" * (n % 70)) for n in range(lines)
    )
    header = FragmentHeader(
        sender="a@b",
        recipient="c@d",
        subject="s",
        date=datetime(2026, 1, 1, tzinfo=UTC),
        partial_id="i",
        message_id=lambda number: message_id(number.to_bytes(16, "big"), "b"),
    )
    sent = [b"".join(cut.chunks(mail)).removesuffix(b"\r\n") + end for cut in split(mail, limit, header)]
    random.shuffle(sent)
    fragments = []
    for raw in sent:
        root = parse(raw)
        info = fragment_info(root)
        assert info is not None
        fragments.append(Fragment(info, root, raw))
    joined = b"".join(assemble(fragments).chunks())
    got = joined[parse(joined).body_start :].rstrip(b"\r\n")
    assert got == mail[parse(mail).body_start :].rstrip(b"\r\n")
