"""Mails that others might send: what is proven is kept apart from what stands beside it."""

import base64
from pathlib import Path

import pytest

from radpost.agit.contents import Content, weakest
from radpost.agit.opening import MAX_FILES, MAX_SEALS, open_mail, studies
from radpost.agit.survey import MailKind, SetInfo, survey
from radpost.errors import BINDING_MISMATCH, NO_SECRET_KEY, RESOURCE_LIMIT, RadpostError
from radpost.openpgp.values import Limits, Signature
from radpost.testing.letters import (
    MESSAGE_ID,
    RECIPIENT,
    SENDER,
    Correspondents,
    armored,
    dicom_item,
    letter,
    seal,
    seal_entity,
)
from radpost.words import Verdict

pytestmark = pytest.mark.peer("gnupg")

DICOM = bytes(128) + b"DICM" + b"pixels" * 50
OTHER = bytes(128) + b"DICM" + b"other" * 50
HEAD = f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nMessage-ID: {MESSAGE_ID}\r\nMIME-Version: 1.0\r\n".encode()


def part(data: bytes, kind: str = "application/dicom", extra: str = "") -> bytes:
    return f"Content-Type: {kind}\r\n{extra}Content-Transfer-Encoding: binary\r\n\r\n".encode() + data


def mixed(*parts: bytes, subtype: str = "mixed", boundary: str = "xx", fields: str = "") -> bytes:
    head = f'{fields}Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n'.encode()
    middle = b"".join(f"--{boundary}\r\n".encode() + one + b"\r\n" for one in parts)
    return head + middle + f"--{boundary}--\r\n".encode()


def pgp_mime(text: bytes, boundary: str = "pp") -> bytes:
    control = b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
    data = b"Content-Type: application/octet-stream\r\n\r\n" + text
    return mixed(control, data, subtype='encrypted; protocol="application/pgp-encrypted"', boundary=boundary)


def sealed(world: Correspondents, inner: bytes, signer: str | None) -> bytes:
    return armored([inner], world.theirs, [world.clinic], signer)


def opened(world: Correspondents, mail: bytes, temp: Path) -> Content:
    return open_mail(survey(mail), mail, world.engine, temp=temp, limits=Limits())


def bodies(content: Content) -> list[bytes]:
    return [b"".join(bytes(chunk) for chunk in one.chunks()) for one in content.parts]


def signed(world: Correspondents, entity: bytes, signer: str) -> bytes:
    signature = world.theirs.sign_detached([entity], signer=signer)
    proof = b"Content-Type: application/pgp-signature\r\n\r\n" + signature
    kind = 'signed; protocol="application/pgp-signature"; micalg=pgp-sha256'
    return mixed(entity, proof, subtype=kind, boundary="ss")


def test_inv7_a_clear_object_beside_a_signed_one_is_not_signed(world: Correspondents, tmp_path: Path) -> None:
    replayed = pgp_mime(sealed(world, part(DICOM), world.partner))
    mail = HEAD + mixed(replayed, part(OTHER))
    with opened(world, mail, tmp_path) as content:
        assert bodies(content) == [DICOM, OTHER]
        assert not content.encrypted
        assert content.signature.verdict is Verdict.NONE
        assert [one.cover.signature.verdict for one in content.parts] == [Verdict.GOOD, Verdict.NONE]
        assert [one.cover.encrypted for one in content.parts] == [True, False]


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "pdf", "application/", "garbage"])
@pytest.mark.parametrize("data", [b"%PDF-1.4 report", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01"])
def test_what_only_calls_itself_text_is_kept(
    world: Correspondents, tmp_path: Path, kind: str, data: bytes
) -> None:
    with opened(world, HEAD + pgp_mime(sealed(world, mixed(part(data, kind)), None)), tmp_path) as content:
        assert bodies(content) == [data]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text/plain", b"Dear colleague,\r\n\x0csee the images.\x1a"),
        ("text/plain", b"Gr\xfc\xdfe\0"),
        ("text", b"Dear colleague"),
        ("text/plain; charset=UTF-16LE", "Grüße".encode("utf-16-le")),
        ("text/html; charset=utf-16", "<p>Grüße".encode("utf-16")),
    ],
)
def test_text_between_people_is_no_document(
    world: Correspondents, tmp_path: Path, kind: str, text: bytes
) -> None:
    inner = mixed(part(text, kind), part(DICOM))
    with opened(world, HEAD + pgp_mime(sealed(world, inner, None)), tmp_path) as content:
        assert bodies(content) == [DICOM]


def test_footers_and_pictures_outside_do_not_make_a_mail_unencrypted(
    world: Correspondents, tmp_path: Path
) -> None:
    footer = b"Content-Type: text/plain\r\n\r\n-- \r\nmailing list"
    logo = part(b"\x89PNG", "image/png", "Content-Disposition: inline\r\n")
    disclaimer = part(b"text", "text/plain; name=disclaimer.txt", "Content-Disposition: attachment\r\n")
    mail = HEAD + mixed(pgp_mime(sealed(world, part(DICOM), world.partner)), footer, logo, disclaimer)
    with opened(world, mail, tmp_path) as content:
        assert bodies(content) == [DICOM]
        assert content.encrypted
        assert content.signature.verdict is Verdict.GOOD
        assert content.warnings == ["clear-part-beside-sealed"]


def test_inv7_parts_of_two_signers_have_the_signature_of_nobody(
    world: Correspondents, tmp_path: Path
) -> None:
    def attachment(data: bytes, signer: str | None, name: str) -> bytes:
        return part(
            sealed(world, data, signer),
            "application/octet-stream",
            f"Content-Disposition: attachment; filename={name}\r\n",
        )

    two = HEAD + mixed(attachment(DICOM, world.partner, "a.pgp"), attachment(OTHER, world.other, "b.pgp"))
    with opened(world, two, tmp_path) as content:
        assert bodies(content) == [DICOM, OTHER]
        assert content.signature.verdict is Verdict.WRONG_SIGNER
    for signer, verdict in ((None, Verdict.NONE), (world.stranger, Verdict.UNKNOWN_KEY)):
        mail = HEAD + mixed(attachment(DICOM, world.partner, "a.pgp"), attachment(OTHER, signer, "b.pgp"))
        with opened(world, mail, tmp_path) as content:
            assert content.signature.verdict is verdict
    same = HEAD + mixed(attachment(DICOM, world.partner, "a.pgp"), attachment(OTHER, world.partner, "b.pgp"))
    with opened(world, same, tmp_path) as content:
        assert content.signature == content.parts[0].cover.signature
        assert content.signature.verdict is Verdict.GOOD


def test_sealed_parts_of_two_mails_are_refused(world: Correspondents, tmp_path: Path) -> None:
    other = HEAD.replace(b"0011", b"2211") + part(OTHER)
    first = pgp_mime(sealed(world, HEAD + part(DICOM), world.partner), "p1")
    mail = HEAD + mixed(first, pgp_mime(sealed(world, other, world.partner), "p2"))
    with pytest.raises(RadpostError) as caught:
        opened(world, mail, tmp_path)
    assert caught.value.reason is BINDING_MISMATCH
    assert list(tmp_path.iterdir()) == []
    again = HEAD + mixed(first, pgp_mime(sealed(world, HEAD + part(OTHER), world.partner), "p2"))
    with opened(world, again, tmp_path) as content:
        assert bodies(content) == [DICOM, OTHER]


def test_only_what_multipart_signed_covers_is_signed(world: Correspondents, tmp_path: Path) -> None:
    """RFC 1847 2.1."""
    inner = mixed(signed(world, part(b"%PDF", "application/pdf"), world.partner), part(OTHER))
    mail = seal_entity(inner, world.theirs, world.clinic, None)
    with opened(world, mail, tmp_path) as content:
        verdicts = [one.cover.signature.verdict for one in content.parts]
        assert verdicts == [Verdict.GOOD, Verdict.NONE]
        assert content.signature.verdict is Verdict.NONE
        assert content.encrypted


def test_a_signature_of_another_system_does_not_disturb(world: Correspondents, tmp_path: Path) -> None:
    """@GIT 1.1r 5.1."""
    smime = part(b"\x30\x80", 'application/pkcs7-signature; name="smime.p7s"')
    kind = 'signed; protocol="application/pkcs7-signature"; micalg=sha-256'
    broken = b"Content-Type: application/pgp-signature\r\n\r\nnot a signature"
    for proof, subtype, warning in (
        (smime, kind, "foreign-signature"),
        (broken, 'signed; protocol="application/pgp-signature"', "unreadable-signature:openpgp-malformed"),
    ):
        inner = mixed(part(DICOM), proof, subtype=subtype)
        mail = seal_entity(inner, world.theirs, world.clinic, None)
        with opened(world, mail, tmp_path) as content:
            assert bodies(content) == [DICOM]
            assert content.signature.verdict is Verdict.NONE
            assert content.warnings == [warning]


def test_sealed_twice(world: Correspondents, tmp_path: Path) -> None:
    inner = pgp_mime(sealed(world, part(DICOM), None))
    mail = seal_entity(inner, world.theirs, world.clinic, world.partner)
    with opened(world, mail, tmp_path) as content:
        assert bodies(content) == [DICOM]
        assert content.signature.verdict is Verdict.GOOD
    for _ in range(5):
        inner = pgp_mime(sealed(world, inner, None))
    with pytest.raises(RadpostError) as caught:
        opened(world, HEAD + inner, tmp_path)
    assert caught.value.reason is RESOURCE_LIMIT


def test_a_document_that_is_an_openpgp_file_of_others_stays_what_it_is(
    world: Correspondents, tmp_path: Path
) -> None:
    foreign = armored([b"for another"], world.theirs, [world.stranger], None)
    named = part(foreign, "application/octet-stream", 'Content-Disposition: attachment; filename="a.gpg"\r\n')
    mail = seal_entity(mixed(part(DICOM), named), world.theirs, world.clinic, world.partner)
    with opened(world, mail, tmp_path) as content:
        assert bodies(content) == [DICOM, foreign]
        assert content.parts[1].filename == "a.gpg"
        assert content.warnings == ["unopened:no-secret-key"]
    with pytest.raises(RadpostError) as caught:  # not so where it is the mail itself
        opened(world, HEAD + mixed(named), tmp_path)
    assert caught.value.reason is NO_SECRET_KEY


def attached(text: bytes, name: str) -> bytes:
    field = f'Content-Disposition: attachment; filename="{name}"\r\n'
    return part(text, "application/octet-stream", field)


def test_invariant_5_a_sealed_part_that_cannot_be_opened_stops_no_other(
    world: Correspondents, tmp_path: Path
) -> None:
    """@GIT 1.1r 2.1."""
    good = attached(armored([DICOM], world.theirs, [world.clinic], world.partner), "1.dcm.pgp")
    last = attached(armored([OTHER], world.theirs, [world.clinic], world.partner), "3.dcm.pgp")
    foreign = attached(armored([OTHER], world.theirs, [world.stranger], world.partner), "2.dcm.pgp")
    with opened(world, HEAD + mixed(good, foreign, last), tmp_path) as content:
        assert bodies(content) == [DICOM, OTHER]
        assert [reason for reason, _ in content.unopened] == [NO_SECRET_KEY]
        assert content.signature.verdict is Verdict.GOOD
        assert content.encrypted
    with opened(world, HEAD + mixed(good, last), tmp_path) as content:
        assert content.unopened == []
    for alone in (mixed(foreign), mixed(foreign, foreign), mixed(foreign, part(DICOM))):
        with pytest.raises(RadpostError) as caught:
            opened(world, HEAD + alone, tmp_path)
        assert caught.value.reason is NO_SECRET_KEY, "without any other sealed object it is the whole mail"


@pytest.mark.parametrize(
    ("plain", "found"),
    [
        (DICOM, [DICOM]),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", [b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"]),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", [b"\xff\xd8\xff\xe0\0\x10JFIF"]),
        (b"only a greeting", []),
        (b"\r\nbody without header", []),
        (b"Subject: x\r\n\r\ntext", []),
    ],
)
def test_a_bare_file_in_pgp_mime(
    world: Correspondents, tmp_path: Path, plain: bytes, found: list[bytes]
) -> None:
    mail = HEAD + pgp_mime(sealed(world, plain, world.partner))
    with opened(world, mail, tmp_path) as content:
        assert bodies(content) == found
        assert content.encrypted
        assert content.signature.verdict is Verdict.GOOD


def test_a_sealed_mail_in_an_attachment_may_begin_with_any_field(
    world: Correspondents, tmp_path: Path
) -> None:
    for first in (b"To: a@b.example\r\n", b"Return-Path: <>\r\n", b"X-Mailer: y\r\n", b"From x Thu Jan 1\n"):
        data = sealed(world, first + b"MIME-Version: 1.0\r\n" + part(DICOM), world.partner)
        mail = HEAD + mixed(part(data, "application/octet-stream; name=m.asc"))
        with opened(world, mail, tmp_path) as content:
            assert bodies(content) == [DICOM]
    letter_ = b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nDear colleague"
    mail = HEAD + mixed(part(sealed(world, letter_, None), "application/octet-stream; name=brief.eml.gpg"))
    with opened(world, mail, tmp_path) as content:
        assert (bodies(content), content.parts[0].filename) == ([letter_], "brief.eml")


def test_study_of_documents_wherever_it_stands(world: Correspondents, tmp_path: Path) -> None:
    """@GIT 1.1r 5.2."""

    def uid(text: str) -> str:
        return f"X-TELEMEDICINE-STUDYID: {text}\r\n"

    pdf = part(b"%PDF-", "application/pdf; name=a.pdf")
    for inner, outer, expected in (
        (mixed(part(b"%PDF-", "application/pdf", uid(" 1.2.3 "))), "", "1.2.3"),
        (mixed(mixed(pdf, boundary="yy", fields=uid("1.2.4"))), "", "1.2.4"),
        (mixed(pdf, fields=uid("1.2.5")), uid("9.9"), "1.2.5"),
        (mixed(pdf), uid("1.2.6"), "1.2.6"),
        (mixed(pdf, fields=uid("")), uid("not one"), ""),
        (mixed(pdf, fields=uid("1.2.3;drop") + uid("1.2.7")), "", "1.2.7"),
        (mixed(pdf, fields=uid("1." + "2" * 63)), "", ""),
    ):
        mail = outer.encode() + HEAD + pgp_mime(sealed(world, inner, world.partner))
        with opened(world, mail, tmp_path) as content:
            assert [one.study_uid for one in studies(content).parts] == [expected]


def test_a_study_that_cannot_be_read_or_contradicts_another_is_said(
    world: Correspondents, tmp_path: Path
) -> None:
    """Whose document it is depends on it (DESIGN 12)."""

    def uid(text: str) -> str:
        return f"X-TELEMEDICINE-STUDYID: {text}\r\n"

    def pdf(fields: str = "") -> bytes:
        return part(b"%PDF-", "application/pdf; name=a.pdf", fields)

    for inner, outer, warned, studies_found in (
        (mixed(pdf(uid("1.2.3"))), uid("1.2.3"), set(), ["1.2.3"]),
        (mixed(pdf(uid("1.2.3")), pdf(uid("1.2.4"))), "", set(), ["1.2.3", "1.2.4"]),
        (mixed(pdf(uid("1.2.3"))), uid("1.2.9"), {"study-mismatch"}, ["1.2.3"]),
        (mixed(pdf(uid("1.2.3") + uid("1.2.4"))), "", {"study-mismatch"}, ["1.2.3"]),
        (mixed(pdf(uid("4711"))), "", {"study-malformed"}, [""]),
        (mixed(pdf(uid("4711"))), uid("1.2.3"), {"study-malformed"}, ["1.2.3"]),
        # the study of a neighbour is not taken for one that was named and cannot be read
        (mixed(pdf(uid("4711")), pdf(uid("1.2.4"))), "", {"study-malformed"}, ["", "1.2.4"]),
        (mixed(pdf(), pdf(uid("1.2.4"))), "", set(), ["1.2.4", "1.2.4"]),
    ):
        mail = outer.encode() + HEAD + pgp_mime(sealed(world, inner, world.partner))
        with opened(world, mail, tmp_path) as content:
            assert [one.study_uid for one in studies(content).parts] == studies_found
            assert {one for one in content.warnings if one.startswith("study-")} == warned


def test_sets_inside_win_and_a_mismatch_is_said(world: Correspondents, tmp_path: Path) -> None:
    """@GIT practice 1."""

    def fields(name: str, index: int) -> str:
        pairs = (("ID", name), ("PART", str(index)), ("TOTAL", "9"))
        return "".join(f"X-TELEMEDICINE-SET{key}: {value}\r\n" for key, value in pairs)

    qcit = "x-dicom-msg-setid: q\r\nx-dicom-msg-setindex: 3/4\r\n"
    for inner, outer, expected, warned in (
        (mixed(part(DICOM), fields=fields("s", 1)), fields("s", 1), SetInfo("s", 1, 9), False),
        (mixed(part(DICOM), fields=fields("s", 1)), fields("s", 2), SetInfo("s", 1, 9), True),
        (mixed(part(DICOM)), fields("s", 2), SetInfo("s", 2, 9), False),
        (mixed(part(DICOM, extra=fields("p", 5))), "", SetInfo("p", 5, 9), False),
        (mixed(part(DICOM), fields=qcit), "", SetInfo("q", 3, 4), False),
        (mixed(part(DICOM), fields="X-TELEMEDICINE-SETID: x\r\n"), "", SetInfo("x", None, None), False),
    ):
        mail = outer.encode() + HEAD + pgp_mime(sealed(world, inner, world.partner))
        with opened(world, mail, tmp_path) as content:
            assert content.set_info == expected
            assert ("set-mismatch" in content.warnings) is warned


def test_receipt_may_be_asked_for_inside(world: Correspondents, tmp_path: Path) -> None:
    """@GIT practice 4."""
    for name in ("Disposition-Notification-To", "X-TELEMEDICINE-DISPOSITION-NOTIFICATION-TO"):
        inner = f"{name}: Radiologie <{SENDER}>\r\n".encode() + part(DICOM)
        mail = HEAD + pgp_mime(sealed(world, inner, world.partner))
        with opened(world, mail, tmp_path) as content:
            assert content.receipt_to == SENDER


def test_data_part_in_base64_of_binary_beyond_memory(world: Correspondents, tmp_path: Path) -> None:
    binary = world.peer.seal(part(DICOM * 100), [world.clinic], signer=world.partner, armor=False)
    text = base64.encodebytes(binary).replace(b"\n", b"\r\n")
    mail = HEAD + pgp_mime(text).replace(
        b"octet-stream\r\n", b"octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
    )
    with open_mail(survey(mail), mail, world.engine, temp=tmp_path, limits=Limits(memory=100)) as content:
        assert bodies(content) == [DICOM * 100]
    assert list(tmp_path.iterdir()) == []


def test_inv8_too_many_sealed_parts(world: Correspondents, tmp_path: Path) -> None:
    one = part(sealed(world, b"x", None), "application/octet-stream; name=a.pgp")
    with pytest.raises(RadpostError) as caught:
        opened(world, HEAD + mixed(*[one] * (MAX_SEALS + 1)), tmp_path)
    assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_all_plaintexts_of_a_mail_share_one_memory(world: Correspondents, tmp_path: Path) -> None:
    one = part(sealed(world, DICOM, None), "application/octet-stream; name=a.pgp")
    mail = HEAD + mixed(*[one] * 10)
    limits = Limits(memory=3 * len(DICOM) + 1)
    with open_mail(survey(mail), mail, world.engine, temp=tmp_path, limits=limits) as content:
        held = content._plaintexts
        assert sum(plaintext.in_memory for plaintext in held) == 3
        assert bodies(content) == [DICOM] * 10
    many = HEAD + mixed(*[one] * (MAX_FILES + 4))
    with pytest.raises(RadpostError) as caught:
        open_mail(survey(many), many, world.engine, temp=tmp_path, limits=limits)
    assert caught.value.reason is RESOURCE_LIMIT


def test_empty_objects(world: Correspondents, tmp_path: Path) -> None:
    empty = part(b"", extra="Content-Disposition: attachment; filename=leer.dcm\r\n")
    named = part(b"", "text/xml; name=leer.xml")
    nothing = part(b"", "image/png")
    mail = seal_entity(mixed(empty, part(DICOM), named, nothing), world.theirs, world.clinic, None)
    with opened(world, mail, tmp_path) as content:
        assert [one.filename for one in content.parts] == ["", "leer.xml"]


def test_clear_mails(world: Correspondents, tmp_path: Path) -> None:
    marked = part(b"%PDF-", "application/pdf; name=a.pdf", "X-TELEMEDICINE-STUDYID: 1.2.3\r\n")
    plain = part(b"%PDF-", "application/pdf; name=a.pdf")
    for mail, kind in (
        (HEAD + mixed(part(DICOM)), MailKind.CLEAR),
        (HEAD + mixed(part(DICOM, "application/x-unknown")), MailKind.CLEAR),
        (HEAD + mixed(marked), MailKind.CLEAR),
        (HEAD + mixed(part(b"data set", "application/octet-stream; name=IM1.DCM")), MailKind.CLEAR),
        (HEAD + signed(world, mixed(marked), world.partner), MailKind.CLEAR),
        (HEAD + mixed(plain), MailKind.FOREIGN),
        (HEAD + part(b"X-TELEMEDICINE-STUDYID: 1.2", "text/plain"), MailKind.FOREIGN),
    ):
        assert survey(mail).kind is kind
        if kind is MailKind.CLEAR:
            with opened(world, mail, tmp_path) as content:
                assert len(content.parts) == 1
                assert not content.encrypted


def test_the_weakest_counts() -> None:
    good = Signature(Verdict.GOOD, "A" * 40)
    for verdict in Verdict:
        one = Signature(verdict, "A" * 40)
        assert weakest([good, one, good]).verdict is verdict
    assert weakest([]).verdict is Verdict.NONE
    assert weakest([good, Signature(Verdict.GOOD, "B" * 40)]).verdict is Verdict.WRONG_SIGNER


def test_a_closed_content_holds_nothing(world: Correspondents, tmp_path: Path) -> None:
    mail = seal(letter([dicom_item(DICOM)]), world.theirs, world.clinic, world.partner)
    with opened(world, mail, tmp_path) as content:
        assert len(content.parts) == 1
    assert (content.parts, content._plaintexts) == ([], [])
