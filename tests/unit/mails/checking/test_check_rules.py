"""Each rule is kept by one mail and found by its place in another; a rule without both fails here."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from radpost.conformance.clauses import standards
from radpost.errors import TAMPERED
from radpost.mails.checking import groups, table
from radpost.mails.checking.model import Certainty, Layer, Rule, Severity
from radpost.openpgp import packets
from radpost.openpgp.values import Signature
from radpost.testing.specimens import (
    HEAD,
    SETS,
    STUDY,
    armored,
    bare_file,
    base64,
    bounce,
    clear,
    crlf,
    dicom,
    dicomdir,
    fragment,
    inline,
    inside,
    message,
    nested,
    outside,
    parts,
    plain,
    receipt,
    related,
    sealed,
    sessions,
    signature,
    signed,
    words,
)
from radpost.words import Verdict


@dataclass(frozen=True, slots=True)
class Case:
    """A rule, a tree that keeps it, one that does not, and what must be found at which place."""

    rule: str
    good: Callable[[], Layer]
    bad: Callable[[], Layer]
    at: bytes | int
    """The offset, or what stands there; it stands there for the first time in the tree."""
    verdict: str = "broken"
    place: str = ""


def mail(
    rule: str,
    source: bytes,
    old: bytes,
    new: bytes,
    at: bytes | int,
    verdict: str = "broken",
    place: str = "",
    count: int = 1,
) -> Case:
    """A rule that breaks outside by one replacement."""
    assert old in source, (rule, old)
    changed = source.replace(old, new, count)
    return Case(rule, lambda: outside(source), lambda: outside(changed), at, verdict, place)


def sealed_case(rule: str, data: bytes, verdict: str = "broken", at: bytes | int = b"-----BEGIN PGP") -> Case:
    """A rule that breaks in the packets that everybody sees."""
    return Case(rule, lambda: outside(sealed()), lambda: outside(sealed(data)), at, verdict, "2")


def inner(rule: str, old: bytes, new: bytes, at: bytes | int, verdict: str, place: str = "") -> Case:
    """A rule that breaks inside by one replacement."""
    source = crlf(HEAD + SETS + parts())
    assert old in source, (rule, old)
    changed = source.replace(old, new, 1)
    return Case(rule, lambda: inside(source), lambda: inside(changed), at, verdict, place)


def replaced_file(old: bytes, new: bytes) -> bytes:
    """The clear mail with another first file."""
    return clear().replace(crlf(base64(old)), crlf(base64(new)), 1)


ONE = dicom("2.25.1")
ZERO = ONE.replace(b"2.25.4711\0", b"2.25.04711")
OTHER = ONE.replace(b"\x08\0\x18\0UI\x06\x002.25.1", b"\x08\0\x18\0UI\x06\x002.25.3")
LONG = b"X" * 1000

MESSAGE = (
    mail("rfc5322-2.3-line-ends", plain(), b"clinic.example\r\n", b"clinic.example\n", b"\nSubject"),
    mail("rfc5322-2.3-line-ends", plain(), b"\r\n", b"\n", b"\nTo", "bent", count=99),
    mail("rfc5322-2.1.1-line", plain(), b"Good", LONG, LONG),
    mail("rfc5322-2.1.1-header-line", plain(), b"DICOM-eMail", b"DICOM mail " * 12, b"Subject", "bent"),
    mail("rfc5322-2.2-header", plain(), b"To: ", b"oops\r\nTo: ", b"oops"),
    mail("rfc5322-2.2-header", plain(), b"From: ", b"\r\n\r\nFrom: ", 0),
    mail("rfc5322-2.2-header", plain(), b"From: ", b"From a@b.example Thu Feb 12 2026\r\nFrom: ", 0, "bent"),
    mail("rfc5322-2.2.3-blank-line", plain(), b"DICOM-eMail", b"DICOM\r\n  \r\n eMail", b"  \r\n eMail"),
    mail("rfc5322-2.2-colon", plain(), b"Subject:", b"Subject :", b"Subject :", "bent"),
    mail("rfc5322-2.2-ascii", plain(), b"DICOM-eMail", b"Gr\xc3\xbc\xc3\x9fe", b"\xc3"),
    mail("rfc5322-3.5-nul", plain(), b"Good", b"Go\0od", b"\0"),
    mail("rfc5322-3.6-once", plain(), b"Subject:", b"To: a@b.example\r\nSubject:", b"To: a@b"),
    mail("rfc5322-3.6.2-from", plain(), b"From: Radiology <radiology@partner.example>\r\n", b"", 0),
    mail("rfc5322-3.6.2-from", plain(), b"<radiology@partner.example>", b"here", 0),
    mail(
        "rfc5322-3.6.3-to",
        plain(),
        b"To: gateway@clinic.example",
        b"To: undisclosed-recipients:;",
        b"To: undisclosed",
        "bent",
    ),
    mail("rfc5322-3.6.1-date", plain(), b"Date: Thu, 12 Feb 2026 09:30:00 +0000\r\n", b"", 0),
    mail("rfc5322-3.6.1-date", plain(), b"Thu, 12 Feb", b"Do, 12 Feb", b"Date:"),
    mail("rfc5322-3.6.1-date", plain(), b" +0000", b"", b"Date:"),
    mail("rfc5322-3.6.4-message-id", plain(), b"Message-ID:", b"X-Id:", 0, "bent"),
    mail("rfc5322-3.6.4-syntax", plain(), b"<0011", b"0011", b"Message-ID:"),
)

ENTITIES = (
    mail("rfc2045-4-version", plain(), b"MIME-Version: 1.0\r\n", b"", b"Content-Type:"),
    mail("rfc2045-4-version", plain(), b"MIME-Version: 1.0", b"MIME-Version: 2.0", b"MIME-Version"),
    mail("rfc2045-5.1-type", plain(), b"text/plain;", b"text;", b"Content-Type"),
    mail("rfc2045-5.1-parameters", plain(), b"text/plain;", b"text/plain;;", b"Content-Type", "bent"),
    mail("rfc2045-5.1-parameters", plain(), b"us-ascii", b"us-ascii; charset=utf-8", b"Content-Type", "bent"),
    mail(
        "rfc2045-5.1-quotes",
        sealed(),
        b'"application/pgp-encrypted"',
        b"application/pgp-encrypted",
        b"Content-Type",
    ),
    mail("rfc2045-5.1-quotes", clear(), b'"=_inner"', b"=_inner", b"Content-Type"),
    mail(
        "rfc2045-3-once",
        plain(),
        b"\r\n\r\nGood",
        b"\r\nContent-Type: text/html\r\n\r\nGood",
        b"Content-Type: text/html",
    ),
    mail(
        "rfc2045-6.1-encoding",
        clear(),
        b"g: base64",
        b"g: base-64",
        b"Content-Transfer-Encoding: base-64",
        place="2",
    ),
    mail(
        "rfc2045-6.1-encoding",
        clear(),
        b"g: base64",
        b"g: base64; x=y",
        b"Content-Transfer-Encoding: base64; x",
        "bent",
        "2",
    ),
    mail(
        "rfc2045-6.4-composite",
        sealed(),
        b"Content-Type: multipart",
        b"Content-Transfer-Encoding: base64\r\nContent-Type: multipart",
        b"Content-Transfer-Encoding",
    ),
    mail("rfc2045-2.7-7bit", plain(), b"Good", b"G\xf6od", b"\xf6"),
    mail(
        "rfc2045-6.2-binary",
        clear(),
        b"quoted-printable",
        b"binary",
        b"Content-Transfer-Encoding: binary",
        "bent",
        "1",
    ),
    mail(
        "rfc2045-6.2-binary",
        clear(),
        b"quoted-printable\r\nContent-ID: <text@partner.example>\r\n\r\n",
        b"binary\r\n\r\n\xff",
        b"Content-Transfer-Encoding: binary",
        "broken",
        "1",
    ),
    mail("rfc2045-6.4-parent", clear(), b"quoted-printable", b"8bit", b"Content-Type: multipart", "bent"),
    mail(
        "rfc2045-7-content-id",
        clear(),
        b"<text@partner.example>",
        b'"<text@partner.example>"',
        b"Content-ID",
        "bent",
        "1",
    ),
)

FIRST = crlf(base64(ONE))
ENCODINGS = (
    Case(
        "rfc2045-6.8-line",
        lambda: outside(clear()),
        lambda: outside(clear().replace(FIRST, FIRST.replace(b"\r\n", b"", 2))),
        FIRST[:76],
        place="2",
    ),
    mail("rfc2045-6.8-alphabet", clear(), FIRST, FIRST[:10] + b"!" + FIRST[10:], b"!", place="2"),
    mail("rfc2045-6.8-alphabet", clear(), FIRST, b" " + FIRST, b" " + FIRST[:9], "bent", "2"),
    mail(
        "rfc2045-6.8-padding",
        clear(),
        FIRST,
        FIRST + b"A",
        b'\r\n--=_inner\r\nContent-Type: application/dicom; id="IM000002"',
        place="2",
    ),
    mail("rfc2045-6.8-padding", clear(), FIRST, b"AAA=" + FIRST, b"=AAA", place="2"),
    mail("rfc2045-6.7-line", clear(), b"aus der", b"aus der " * 12, b"Gr=C3=BC", place="1"),
    mail("rfc2045-6.7-code", clear(), b"=C3=BC", b"=XY", b"=XY", place="1"),
    mail("rfc2045-6.7-code", clear(), b"=C3=BC", b"=c3=bc", b"=c3", "bent", "1"),
    mail("rfc2045-6.7-octets", clear(), b"=C3=BC", b"\xc3\xbc", b"\xc3", place="1"),
    mail("rfc2045-6.7-blank", clear(), b"Radiologie\r\n", b"Radiologie \r\n", b" \r\n\r\n--", "bent", "1"),
)

MULTIPARTS = (
    mail("rfc2046-5.1.1-boundary", clear(), b'; boundary="=_inner"', b"", b"Content-Type"),
    mail(
        "rfc2046-5.1.1-form",
        nested(),
        b"=_two",
        b"=_two" + b"x" * 70,
        b'Content-Type: multipart/mixed; boundary="=_two',
        place="1",
        count=9,
    ),
    mail(
        "rfc2046-5.1.1-form",
        nested(),
        b"=_two",
        b"=_t{w}o",
        b'Content-Type: multipart/mixed; boundary="=_t{',
        place="1",
        count=9,
    ),
    mail("rfc2046-5.1.1-delimiter", clear(), b'"=_inner"', b'"=_other"', b"--=_inner"),
    mail("rfc2046-5.1.1-close", clear(), b"--=_inner--\r\n", b"", len(clear()) - len(b"--=_inner--\r\n")),
    mail(
        "rfc2046-5.1.1-unique",
        nested(),
        b"=_two",
        b"=_onetwo",
        b'Content-Type: multipart/mixed; boundary="=_onetwo',
        "bent",
        "1",
        9,
    ),
    Case(
        "rfc2046-5.1.1-unique",
        lambda: outside(nested()),
        lambda: outside(
            crlf(
                f'{HEAD}Content-Type: multipart/mixed; boundary="=_a"\n\n--=_a\n'
                'Content-Type: multipart/mixed; boundary="=_a"\n\n--=_a--\n'
            )
        ),
        b'Content-Type: multipart/mixed; boundary="=_a"\r\n\r\n--=_a--',
        place="1",
    ),
    mail(
        "rfc2046-5.1-part-header",
        nested(),
        b"us-ascii\r\n\r\nGood",
        b"us-ascii\r\nGood",
        b"Good",
        place="1.1",
    ),
    mail(
        "rfc2046-4.1.2-charset",
        clear(),
        b"text/plain; charset=utf-8",
        b"text/plain",
        b"Content-Type: text/plain",
        "bent",
        "1",
    ),
    Case("rfc2046-5.1-limits", lambda: outside(nested()), lambda: outside(deep()), 0),
)


def deep() -> bytes:
    """Multiparts in multiparts, forty deep."""
    body = "".join(f'Content-Type: multipart/mixed; boundary="=_{n}"\n\n--=_{n}\n' for n in range(40))
    return crlf(f"{HEAD}{body}\n\nGood morning.\n")


NAMING = (
    mail("rfc2047-2-word", words(), b"?B?R3", b"?X?R3", b"Subject", "bent"),
    mail("rfc2047-2-word", words(), b"ZQ==?=", b"ZQ==", b"Subject", "bent"),
    mail(
        "rfc2047-5-parameter",
        clear(),
        b'name="report.pdf"',
        b'name="=?utf-8?Q?B=C3=BC.pdf?="',
        b"Content-Type: application/pdf",
        "bent",
        "4",
    ),
    mail(
        "rfc2231-4-extended",
        clear(),
        b"utf-8''Bef",
        b"Bef",
        b"Content-Disposition: attachment; filename*",
        place="4",
    ),
    mail(
        "rfc2231-4-extended",
        clear(),
        b"%C3%BC",
        b"%ZZ",
        b"Content-Disposition: attachment; filename*",
        place="4",
    ),
    mail(
        "rfc2231-4-extended",
        clear(),
        b"filename*=utf-8''Bef",
        b"filename*1=a; filename*3=c; x*=utf-8''Bef",
        b"Content-Disposition: attachment; filename*",
        place="4",
    ),
    mail(
        "rfc2183-2-disposition",
        clear(),
        b"Disposition: attachment; filename*",
        b"Disposition: ; filename*",
        b"Content-Disposition: ;",
        "bent",
        "4",
    ),
    mail(
        "rfc2183-2.3-name",
        clear(),
        b"utf-8''Bef",
        b"utf-8''..%2F..%2FBef",
        b"Content-Disposition: attachment; filename*",
        place="4",
    ),
    mail(
        "rfc2183-2.3-name",
        clear(),
        b"utf-8''Bef",
        b"utf-8''%07Bef",
        b"Content-Disposition: attachment; filename*",
        place="4",
    ),
    mail(
        "rfc2183-2.3-name",
        clear(),
        b"utf-8''Befund%20M%C3%BCller.pdf",
        b"utf-8''NUL.pdf",
        b"Content-Disposition: attachment; filename*",
        place="4",
    ),
)

PARTIALS = (
    mail("rfc2046-5.2.2-parameters", fragment(), b"number=1", b"number=0", b"Content-Type: message"),
    mail("rfc2046-5.2.2-parameters", fragment(), b'id="x1@partner.example"; ', b"", b"Content-Type: message"),
    mail(
        "rfc2046-5.2.2-total",
        fragment(),
        b"number=1; total=2",
        b"number=3; total=2",
        b"Content-Type: message",
    ),
    mail("rfc2046-5.2.2-total", fragment(), b"total=2", b"total=many", b"Content-Type: message"),
    mail(
        "rfc2046-5.2.2-id",
        fragment(),
        b"x1@partner.example",
        b"1279810000000",
        b"Content-Type: message",
        "bent",
    ),
    mail(
        "rfc2046-5.2.2-7bit",
        fragment(),
        b"MIME-Version",
        b"Content-Transfer-Encoding: base64\r\nMIME-Version",
        b"Content-Transfer-Encoding",
    ),
    Case(
        "rfc2046-5.2.2.1-enclosed",
        lambda: outside(fragment()),
        lambda: outside(fragment()[: fragment().index(b"\r\n\r\n") + 4] + b"Good morning.\r\n"),
        b"Good",
    ),
    Case(
        "field-set-on-fragments",
        lambda: outside(fragment()),
        lambda: outside(fragment().replace(crlf(SETS), b"", 1)),
        b"Subject: DICOM-eMail\r\nMessage-ID: <inner",
        "unconfirmed",
    ),
    mail("rfc2046-5.2.2-lines", fragment(), b"Good mor\r\n", b"Good mor", len(fragment()) - 2, "bent"),
)

SEALING = (
    mail(
        "rfc3156-4-two-parts",
        sealed(),
        b"--=_outer--",
        b"--=_outer\r\n\r\nfooter\r\n--=_outer--",
        b"\r\nfooter",
    ),
    mail(
        "rfc3156-4-protocol",
        sealed(),
        b' protocol="application/pgp-encrypted";\r\n',
        b"\r\n",
        b"Content-Type: multipart",
    ),
    mail(
        "rfc3156-4-control",
        sealed(),
        b"Content-Type: application/pgp-encrypted\r\n",
        b"Content-Type: text/plain\r\n",
        b"Content-Type: text/plain",
        place="1",
    ),
    mail(
        "rfc3156-4-version",
        sealed(),
        b"Version: 1\r\n\r\n--",
        b"Version: 2\r\n\r\n--",
        b"Version: 2",
        place="1",
    ),
    mail(
        "rfc3156-4-version",
        sealed(),
        b"Version: 1\r\n\r\n--",
        b"Version : 1\r\n\r\n--",
        b"Version : 1",
        "bent",
        "1",
    ),
    mail(
        "rfc3156-4-data",
        sealed(),
        b"application/octet-stream",
        b"text/plain",
        b"Content-Type: text/plain",
        place="2",
    ),
    mail("rfc3156-4-label", sealed(), b"multipart/encrypted", b"multipart/mixed", b"Content-Type: multipart"),
    mail(
        "rfc3156-4-alone",
        sealed(),
        b"\r\n--=_outer--",
        b"\r\nscanned by X\r\n--=_outer--",
        b"scanned",
        "bent",
        "2",
    ),
    mail("rfc3156-4-alone", sealed(), b"-----BEGIN PGP", b"hello\r\n-----BEGIN PGP", b"hello", "bent", "2"),
    Case(
        "rfc3156-2-armor",
        lambda: outside(sealed()),
        lambda: outside(binary()),
        crlf(base64(message()))[:40],
        place="2",
    ),
    mail(
        "rfc1847-2.1-parts",
        signed(),
        b"--=_sig--",
        b"--=_sig\r\n\r\nfooter\r\n--=_sig--",
        b"--=_sig\r\nContent-Type: text",
    ),
    mail(
        "rfc1847-2.1-parts",
        signed(),
        b"application/pgp-signature; name",
        b"text/plain; name",
        b"Content-Type: text/plain; name",
        place="2",
    ),
    mail(
        "rfc3156-5-protocol",
        signed(),
        b'protocol="application/pgp-signature";',
        b"",
        b"Content-Type: multipart",
    ),
    mail(
        "rfc3156-5-protocol",
        signed(),
        b"micalg=pgp-sha256",
        b"micalg=PGP-SHA256",
        b"Content-Type: multipart",
        "bent",
    ),
    Case(
        "rfc3156-5-micalg",
        lambda: outside(signed()),
        lambda: outside(signed().replace(crlf(signature()), crlf(signature(10)))),
        b"Content-Type: multipart",
    ),
    mail("rfc3156-3-7bit", signed(), b"Good", b"G\xf6od", b"\xf6", place="1"),
    mail(
        "rfc3156-5-blanks",
        signed(),
        b"Good morning.",
        b"Good morning. ",
        b" \r\n--=_sig\r\nContent-Type: application",
        "bent",
        "1",
    ),
    inner(
        "rfc3156-5-canonical",
        b"Radiologie\r\n",
        b"Radiologie\n",
        b"\n\r\n--=_inner\r\nContent-Type: application",
        "bent",
    ),
    inner("rfc3156-6.2-7bit", b"=C3=BC", b"\xc3\xbc", b"\xc3", "bent"),
)


def binary() -> bytes:
    """PGP/MIME whose data part is base64 without armor."""
    return (
        sealed()
        .replace(crlf(armored()).rstrip(), crlf(base64(message())))
        .replace(b"Content-Disposition", b"Content-Transfer-Encoding: base64\r\nContent-Disposition")
    )


BODY = crlf(armored())
ARMORING = (
    mail(
        "rfc4880-6.2-blank-line",
        sealed(),
        b"MESSAGE-----\r\n\r\n",
        b"MESSAGE-----\r\n",
        BODY.split(b"\r\n")[2],
        place="2",
    ),
    mail(
        "rfc4880-6.2-header",
        sealed(),
        b"MESSAGE-----\r\n\r\n",
        b"MESSAGE-----\r\nComment:none\r\n\r\n",
        b"Comment:none",
        place="2",
    ),
    mail("rfc4880-6.2-tail", sealed(), b"-----END PGP MESSAGE-----", b"", b"\r\n--=_outer--", place="2"),
    mail(
        "rfc4880-6.2-tail",
        sealed(),
        b"-----END PGP MESSAGE",
        b"-----END PGP SIGNATURE",
        b"-----END",
        place="2",
    ),
    Case(
        "rfc4880-6.3-line",
        lambda: outside(sealed()),
        lambda: outside(sealed().replace(BODY.split(b"\r\n")[2] + b"\r\n", BODY.split(b"\r\n")[2])),
        BODY.split(b"\r\n")[2],
        "bent",
        "2",
    ),
    mail(
        "rfc4880-6.3-alphabet",
        sealed(),
        b"\r\n" + BODY.split(b"\r\n")[-3],
        b"\r\n=3D" + BODY.split(b"\r\n")[-3][1:],
        b"=3D",
        place="2",
    ),
    mail(
        "rfc4880-6.3-alphabet",
        sealed(),
        BODY.split(b"\r\n")[2],
        b"!" + BODY.split(b"\r\n")[2],
        b"!",
        place="2",
    ),
    mail("rfc4880-6.1-present", sealed(), BODY.split(b"\r\n")[-3] + b"\r\n", b"", b"-----END", "bent", "2"),
    mail("rfc4880-6.1-checksum", sealed(), BODY.split(b"\r\n")[-3], b"=AAAA", b"-----END", place="2"),
    mail(
        "rfc4880-6.3-groups",
        sealed(),
        b"\r\n" + BODY.split(b"\r\n")[-3],
        b"A\r\n" + BODY.split(b"\r\n")[-3],
        b"-----END",
        place="2",
    ),
)


def unopened() -> Layer:
    """A mail whose sealed part was changed on its way."""
    found = outside(sealed())
    return changed(found, unopened=((TAMPERED, "", found.seals[0].at),))


def changed(layer: Layer, **changes: object) -> Layer:
    return replace(layer, **changes)  # type: ignore[arg-type]


def verdict(found: Verdict) -> Signature:
    return Signature(found, "AB" * 20)


ENCRYPTING = (
    sealed_case("rfc4880-4-packets", message()[:-20]),
    sealed_case("rfc4880-4-packets", message() + message()),
    sealed_case("rfc4880-5.13-integrity", message(tag=packets.SED)),
    sealed_case("rfc4880-5.1-recipient", message(packets.packet(packets.SKESK, bytes((4, 9, 0, 8))))),
    sealed_case("rfc4880-5.1-named", message(sessions(keyid=bytes(8))), "bent"),
    sealed_case("rfc9580-5.13-version", message(tag=packets.AEAD)),
    sealed_case("rfc9580-5.13-version", message(version=2), "bent"),
    sealed_case("rfc9580-5.13-version", message(sessions(version=6)), "bent"),
    sealed_case("rfc9580-12.4-key", message(sessions(bits=1024)), "bent"),
    sealed_case("rfc9580-12.4-key", message(sessions(algorithm=17)), "bent"),
    Case("rfc4880-5.14-opens", lambda: outside(sealed()), unopened, b"-----BEGIN PGP"),
    Case("rfc9580-9.3-cipher", inside, lambda: inside(cipher="CAST5"), 0, "bent"),
    Case("rfc9580-9.5-digest", inside, lambda: inside(signature=verdict(Verdict.WEAK_DIGEST)), 0, "bent"),
    Case("rfc4880-5.2-signature", inside, lambda: inside(signature=verdict(Verdict.BAD)), 0),
    Case("rfc4880-5.2-signature", inside, lambda: inside(signature=verdict(Verdict.REVOKED_KEY)), 0, "bent"),
)

NUMBERED = crlf(HEAD + SETS + parts())
TELEMEDICINE = (
    Case(
        "agit-4-encrypted",
        lambda: outside(sealed()),
        lambda: outside(clear()),
        b"Content-Type: application/dicom",
        place="2",
    ),
    Case(
        "agit-4-encrypted",
        lambda: outside(sealed()),
        lambda: outside(beside()),
        b"Content-Type: application/dicom",
        place="2",
    ),
    mail(
        "agit-4-openpgp",
        sealed(),
        b"--=_outer--",
        b"--=_outer\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nM\r\n--=_outer--",
        b"Content-Type: application/pkcs7",
        "bent",
        "3",
    ),
    Case("agit-5.1-pgp-mime", lambda: outside(sealed()), lambda: outside(inline()), b"-----BEGIN PGP"),
    mail(
        "agit-5.1-beside",
        sealed(),
        b"--=_outer--",
        b"--=_outer\r\nContent-Type: text/html\r\n\r\n<p>\r\n--=_outer--",
        b"Content-Type: text/html",
        "bent",
        "3",
    ),
    Case("agit-5.1-supplement54", inside, lambda: bare_file(ONE), 0),
    Case(
        "agit-4-compressed",
        lambda: inside(large(), sealed_size=9_000),
        lambda: inside(large(), sealed_size=90_000),
        0,
        "bent",
    ),
    mail(
        "agit-5.2-study",
        clear(),
        b"X-TELEMEDICINE-STUDYID",
        b"X-Study",
        b"Content-Type: application/pdf",
        place="4",
    ),
    inner(
        "agit-5.2-study",
        b"X-TELEMEDICINE-STUDYID",
        b"X-Study",
        b"Content-Type: application/pdf",
        "broken",
        "4",
    ),
    mail(
        "agit-5.2-uid",
        clear(),
        f"STUDYID: {STUDY}".encode(),
        b"STUDYID: Meier",
        b"X-TELEMEDICINE-STUDYID",
        place="4",
    ),
    mail(
        "agit-5.2-uid",
        clear(),
        f"STUDYID: {STUDY}".encode(),
        f'STUDYID: "{STUDY}"'.encode(),
        b"X-TELEMEDICINE-STUDYID",
        "bent",
        "4",
    ),
    mail(
        "agit-5.2-match",
        clear(),
        f"STUDYID: {STUDY}".encode(),
        b"STUDYID: 2.25.5",
        b"X-TELEMEDICINE-STUDYID",
        "bent",
        "4",
    ),
    mail(
        "field-names",
        clear(),
        b"X-TELEMEDICINE-STUDYID",
        b"X-TELEMEDICINE-STUDY-ID",
        b"X-TELEMEDICINE-STUDY-ID",
        "unconfirmed",
        "4",
    ),
    mail(
        "field-study-inside",
        sealed(),
        b"Content-Type: multipart",
        b"X-TELEMEDICINE-STUDYID: 2.25.1\r\nContent-Type: multipart",
        b"X-TELEMEDICINE-STUDYID",
        "unconfirmed",
    ),
    mail(
        "field-set-complete",
        sealed(),
        b"X-TELEMEDICINE-SETTOTAL: 2\r\n",
        b"",
        b"X-TELEMEDICINE-SETID",
        "unconfirmed",
    ),
    mail(
        "field-set-numbers", sealed(), b"SETPART: 1", b"SETPART: 3", b"X-TELEMEDICINE-SETPART", "unconfirmed"
    ),
    mail(
        "field-set-numbers",
        sealed(),
        b"SETPART: 1",
        b"SETPART: 1/2",
        b"X-TELEMEDICINE-SETPART",
        "unconfirmed",
    ),
    mail(
        "field-set-id", sealed(), b"SETID: 2.25.815", b"SETID: my set", b"X-TELEMEDICINE-SETID", "unconfirmed"
    ),
    inner("field-set-inside", b"SETPART: 1", b"SETPART: 2", b"X-TELEMEDICINE-SETPART", "unconfirmed"),
    inner("field-set-inside", b"X-TELEMEDICINE-SETTOTAL: 2\r\n", b"", 0, "unconfirmed"),
    mail(
        "field-qcit-index",
        plain().replace(b"Subject", b"x-dicom-msg-setid: 2.25.1\r\nx-dicom-msg-setindex: 1/2\r\nSubject"),
        b"1/2",
        b"1 of 2",
        b"x-dicom-msg-setindex",
        "unconfirmed",
    ),
    Case(
        "field-second-mechanism",
        lambda: inside(with_key_id(b"0A1B")),
        lambda: outside(with_key_id(b"0A1B")),
        b"X-TELEMEDICINE-DISPOSITION",
        "unconfirmed",
    ),
    inner(
        "field-binding",
        b"To: gateway@clinic.example",
        b"To: other@clinic.example",
        b"To: other",
        "unconfirmed",
    ),
    inner("field-binding", b"12 Feb 2026", b"11 Feb 2026", b"Date", "unconfirmed"),
)


def with_key_id(value: bytes) -> bytes:
    field = b"X-TELEMEDICINE-DISPOSITION-NOTIFICATION-KEYID: " + value
    return sealed().replace(b"Subject", field + b"\r\nSubject", 1)


def beside() -> bytes:
    """Sealed data, and a DICOM file in clear beside them."""
    inner_part = sealed()[sealed().index(b"Content-Type: multipart") :]
    file = crlf(f"Content-Type: application/dicom\nContent-Transfer-Encoding: base64\n\n{base64(ONE)}\n")
    head = crlf(HEAD + 'Content-Type: multipart/mixed; boundary="=_all"\n\n--=_all\n')
    return head + inner_part + b"--=_all\r\n" + file + b"--=_all--\r\n"


def large() -> bytes:
    """An inner mail with a document that compresses well."""
    head = f"Content-Type: application/octet-stream; name=a.bin\nX-TELEMEDICINE-STUDYID: {STUDY}\n\n"
    return crlf(HEAD + SETS + head + "Good morning.\n" * 3000)


def without_meta() -> bytes:
    """A file whose group 2 names no transfer syntax."""
    return ONE.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI", 1)


MEDIA = (
    mail(
        "ps3.12-k.1.2-type",
        clear(),
        b"application/dicom",
        b"application/octet-stream",
        b"Content-Type: application/octet",
        place="2",
    ),
    mail(
        "rfc3240-2-encoding",
        clear(),
        b"g: base64",
        b"g: 8bit",
        b"Content-Type: application/dicom",
        place="2",
    ),
    mail(
        "ps3.12-k.1.2-id",
        related(),
        b'id="A/IM000001"',
        b'id="A/image00001"',
        b'Content-Type: application/dicom; id="A/image',
        place="2",
    ),
    mail(
        "ps3.12-k.1.2-id",
        clear(),
        b'id="IM000001"',
        b'id="im000001"',
        b'Content-Type: application/dicom; id="im',
        "bent",
        "2",
    ),
    mail(
        "ps3.12-k.1.2-id",
        related(),
        b'id="A/IM000001"',
        b'id="/IM000001"',
        b'Content-Type: application/dicom; id="/',
        place="2",
    ),
    mail(
        "ps3.12-k.1.2-id-present",
        related(),
        b'id="A/IM000001"; ',
        b"",
        b'Content-Type: application/dicom; name="IM',
        place="2",
    ),
    mail(
        "ps3.12-k.1.2-id-unique",
        clear(),
        b'id="IM000002"',
        b'id="IM000001"',
        b'Content-Type: application/dicom; id="IM000001"; name="IM000002',
        place="3",
    ),
    mail(
        "ps3.12-k.1.2-name",
        clear(),
        b'name="IM000002.dcm"',
        b'name="x.dcm"',
        b'Content-Type: application/dicom; id="IM000002"',
        "bent",
        "3",
    ),
    mail(
        "ps3.12-k.1.2.1-one",
        related(),
        b'id="A/IM000001"',
        b'id="DICOMDIR"',
        b'Content-Type: application/dicom; id="DICOMDIR"; name="IM',
        place="2",
    ),
    mail(
        "ps3.12-k.1.2.1-id",
        related(),
        b'id="DICOMDIR"',
        b'id="INDEX"',
        b'Content-Type: application/dicom; id="INDEX"',
        place="1",
    ),
    mail(
        "rfc3240-2-files",
        related(),
        b'id="A/IM000001"',
        b'id="B/IM000001"',
        crlf(base64(dicomdir("A/IM000001")))[:76],
        place="1",
    ),
    mail(
        "ps3.12-k.1.1-multipart",
        clear(),
        b"multipart/mixed",
        b"multipart/alternative",
        b"Content-Type: multipart",
    ),
    mail(
        "rfc2387-3.1-type", related(), b'type="application/dicom"; ', b"", b"Content-Type: multipart", "bent"
    ),
    mail(
        "rfc2387-3.1-type", related(), b'start="<dir@', b'start="<other@', b"Content-Type: multipart", "bent"
    ),
    Case(
        "ps3.10-7.1-prefix",
        lambda: outside(clear()),
        lambda: outside(replaced_file(ONE, ONE[132:])),
        crlf(base64(ONE[132:]))[:40],
        place="2",
    ),
    Case(
        "ps3.10-7.1-meta",
        lambda: outside(clear()),
        lambda: outside(replaced_file(ONE, without_meta())),
        crlf(base64(without_meta()))[:200],
        place="2",
    ),
    Case(
        "ps3.10-7.2-whole",
        lambda: outside(clear()),
        lambda: outside(replaced_file(ONE, ONE[:-40])),
        crlf(base64(ONE[:-40])),
        place="2",
    ),
    Case(
        "ps3.5-9.1-uid",
        lambda: outside(clear()),
        lambda: outside(replaced_file(ONE, ZERO)),
        crlf(base64(ZERO)),
        place="2",
    ),
    Case(
        "ps3.5-9.1-uid",
        lambda: outside(clear()),
        lambda: outside(replaced_file(ONE, OTHER)),
        crlf(base64(OTHER)),
        place="2",
    ),
)


REPORTS = (
    mail(
        "rfc8098-2.1-request",
        sealed(),
        b"To: radiology@partner.example",
        b"To: nobody",
        b"Disposition-Notification-To",
    ),
    mail(
        "rfc8098-2.1-request",
        sealed(),
        b"To: radiology@partner.example",
        b"To: a@b.example, c@d.example",
        b"Disposition-Notification-To",
        "bent",
    ),
    mail(
        "rfc8098-2.1-own-address",
        sealed(),
        b"To: radiology@partner.example",
        b"To: other@partner.example",
        b"Disposition-Notification-To",
        "bent",
    ),
    mail(
        "rfc8098-2.1-no-loop",
        receipt(),
        b"Subject",
        b"Disposition-Notification-To: a@b.example\r\nSubject",
        b"Disposition-Notification-To",
    ),
    mail(
        "rfc8098-3-type",
        receipt(),
        b" report-type=disposition-notification;",
        b"",
        b"Content-Type: multipart",
    ),
    mail(
        "rfc8098-3-type",
        receipt(),
        b"multipart/report",
        b"multipart/mixed",
        b"Content-Type: message/disposition",
        place="2",
    ),
    mail(
        "rfc6522-3-parts",
        receipt(),
        b"--=_mdn\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThe data were imported.\r\n",
        b"",
        b"--=_mdn",
    ),
    mail(
        "rfc6522-3-parts",
        receipt(),
        b"--=_mdn\r\nContent-Type: message",
        b"--=_mdn\r\nContent-Type: text/html\r\n\r\n<p>\r\n--=_mdn\r\nContent-Type: message",
        b"Content-Type: text/html",
        place="2",
    ),
    mail("rfc8098-3.1-fields", receipt(), b"Final-Recipient", b"X-Recipient", b"Reporting-UA", place="2"),
    mail(
        "rfc8098-3.2.5-id",
        receipt(),
        b"Original-Message-ID: <0815@partner.example>\r\n",
        b"",
        b"Reporting-UA",
        place="2",
    ),
    mail(
        "rfc8098-3.2.5-id", receipt(), b"<0815@partner.example>", b"0815", b"Original-Message-ID", place="2"
    ),
    mail(
        "rfc8098-3.2.6-form",
        receipt(),
        b"automatic-action/MDN-sent-automatically;displayed",
        b"???",
        b"Disposition: ???",
        place="2",
    ),
    mail(
        "rfc8098-3.2.6-form",
        receipt(),
        b"automatic-action/MDN-sent-automatically;displayed",
        b"displayed",
        b"Disposition: displayed",
        "bent",
        "2",
    ),
    mail("rfc8098-3.2.6.2-type", receipt(), b";displayed", b";failed", b"Disposition: auto", "bent", "2"),
    mail(
        "rfc8098-3.2.6.2-type",
        receipt(),
        b";displayed",
        b";displayed/warning",
        b"Disposition: auto",
        "bent",
        "2",
    ),
    mail(
        "field-dispositions",
        receipt(),
        b";displayed",
        b";processed",
        b"Disposition: auto",
        "unconfirmed",
        "2",
    ),
    mail("field-deleted", receipt(), b";displayed", b";deleted", b"Disposition: auto", "unconfirmed", "2"),
    mail(
        "rfc8098-3.2.3-address", receipt(), b"rfc822; gateway@", b"gateway@", b"Final-Recipient", "bent", "2"
    ),
    mail("rfc3834-5-automatic", receipt(), b"Auto-Submitted: auto-replied\r\n", b"", 0, "bent"),
    mail("rfc3464-1-type", bounce(), b" report-type=delivery-status;", b"", b"Content-Type: multipart"),
    mail("rfc3464-2.3-fields", bounce(), b"Action: failed\r\n", b"", b"Reporting-MTA", place="2"),
    mail(
        "rfc3464-2.3-fields",
        bounce(),
        b"\r\n\r\nFinal-Recipient",
        b"\r\nFinal-Recipient",
        b"Reporting-MTA",
        place="2",
    ),
    mail(
        "rfc3464-2-original",
        bounce(),
        b"Message-ID: <0815@partner.example>\r\n",
        b"X-Nothing: 1\r\n",
        b"Content-Type: message/delivery-status",
        "bent",
        "2",
    ),
)

CASES = (
    *MESSAGE,
    *ENTITIES,
    *ENCODINGS,
    *MULTIPARTS,
    *NAMING,
    *PARTIALS,
    *SEALING,
    *ARMORING,
    *ENCRYPTING,
    *TELEMEDICINE,
    *MEDIA,
    *REPORTS,
)


BY_ID = {rule.id: rule for rule in table.RULES}


def found(case: Case) -> tuple[Rule, list[tuple[int, str, str]]]:
    layer = case.bad()
    rule = BY_ID[case.rule]
    hits = rule.check(layer)
    return rule, [(hit.at, rule.verdict(hit).value, layer.place(hit.entity)) for hit in hits or ()]


def test_no_rule_stands_twice() -> None:
    assert [name for name, count in Counter(rule.id for rule in table.RULES).items() if count > 1] == []


def test_every_rule_is_of_a_standard_that_the_statement_lists() -> None:
    assert {rule.standard for rule in table.RULES} <= {standard.name for standard in standards()}


def test_every_rule_has_its_cases() -> None:
    alone = {rule.id for rule in table.RULES} - {rule.id for rule in groups.RULES}
    assert {case.rule for case in CASES} == alone


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_good_mail_keeps_the_rule(case: Case) -> None:
    hits = BY_ID[case.rule].check(case.good())
    assert hits is not None, "the rule does not apply to its good mail"
    assert [hit.en for hit in hits] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_bad_mail_is_found_at_its_place(case: Case) -> None:
    at = case.at if isinstance(case.at, int) else case.bad().buffer.find(case.at)
    assert at >= 0, "the case names a place that is not there"
    _rule, hits = found(case)
    assert (at, case.verdict, case.place) in hits


def test_unconfirmed_rules_never_break_a_mail() -> None:
    for rule in table.RULES:
        assert rule.id.startswith("field-") == (rule.certainty is Certainty.UNCONFIRMED)
        if rule.certainty is Certainty.UNCONFIRMED:
            assert rule.severity is Severity.LIGHT
            assert "1.5" not in rule.cited


@pytest.mark.parametrize("rule", table.RULES, ids=lambda rule: rule.id)
def test_every_rule_speaks_both_languages(rule: Rule) -> None:
    for one, other in (
        (rule.en.rule, rule.de.rule),
        (rule.en.effect, rule.de.effect),
        (rule.en.remedy, rule.de.remedy),
    ):
        assert one != other
        for text in (one, other):
            assert text[-1] in ".)"
            assert len(text) > 20
            assert "  " not in text
