"""What senders and mail systems make of a mail: as long as the data are there, they come out, byte for byte.

All mails are put together here by hand and sealed by plain GnuPG; no writer of ours takes part.
"""

import base64
import binascii
import os
import quopri
from collections.abc import Callable
from pathlib import Path

import pytest

from radpost.agit.opening import open_mail, studies
from radpost.agit.survey import survey
from radpost.openpgp.values import Limits
from radpost.testing.letters import RECIPIENT, SENDER, Correspondents
from radpost.words import Verdict

pytestmark = pytest.mark.peer("gnupg")

HEAD = (
    f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: x\r\nMessage-ID: <1@partner.example>\r\n"
    "Date: Thu, 12 Feb 2026 09:30:00 +0000\r\n"
).encode()
FIRST, SECOND, THIRD = (bytes(128) + b"DICM" + os.urandom(700) + bytes(300) for _ in range(3))
TEXT = b"Content-Type: text/plain\r\n\r\nconfidential\r\n"


def lines64(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def entity(data: bytes, kind: str = 'application/dicom; name="i1.dcm"', *, encoding: str = "base64") -> bytes:
    coded = lines64(data) if encoding == "base64" else data
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + coded


def several(*parts: bytes, kind: str = "mixed", boundary: bytes = b"BB1", version: bool = True) -> bytes:
    head = b"MIME-Version: 1.0\r\n" if version else b""
    head += f"Content-Type: multipart/{kind}; boundary=".encode() + b'"' + boundary + b'"\r\n\r\n'
    return (
        head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--" + boundary + b"--\r\n"
    )


INNER = several(TEXT, entity(FIRST))


class Sender:
    """Seals with GnuPG, once for each plaintext."""

    def __init__(self, world: Correspondents) -> None:
        self._world = world
        self._known: dict[tuple[bytes, bool], bytes] = {}

    def armor(self, plain: bytes) -> bytes:
        return self._sealed(plain, armor=True).replace(b"\n", b"\r\n")

    def binary(self, plain: bytes) -> bytes:
        return self._sealed(plain, armor=False)

    def _sealed(self, plain: bytes, *, armor: bool) -> bytes:
        key = (plain, armor)
        if key not in self._known:
            world = self._world
            self._known[key] = world.peer.seal(plain, [world.clinic], signer=world.partner, armor=armor)
        return self._known[key]

    def mail(
        self,
        armored: bytes | None = None,
        *,
        plain: bytes = INNER,
        control: bytes = b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n",
        kind: bytes = b'encrypted; protocol="application/pgp-encrypted"',
        label: bytes = b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n',
        behind: bytes = b"",
        boundary: bytes = b"XX",
        head: bytes = HEAD,
    ) -> bytes:
        data = self.armor(plain) if armored is None else armored
        return (
            head
            + b"MIME-Version: 1.0\r\nContent-Type: multipart/%b; boundary=" % kind
            + b'"%b"\r\n\r\n--%b\r\n%b\r\n' % (boundary, boundary, control)
            + b"--%b\r\n%b\r\n%b\r\n%b--%b--\r\n" % (boundary, label, data, behind, boundary)
        )


@pytest.fixture(scope="module")
def gpg(world: Correspondents) -> Sender:
    return Sender(world)


OCTETS = b"Content-Type: application/octet-stream\r\n"
Make = Callable[[Sender], bytes]

OUTSIDE: dict[str, Make] = {
    "as it should be": lambda gpg: gpg.mail(),
    "made multipart/mixed": lambda gpg: gpg.mail(kind=b"mixed"),
    "with text types": lambda gpg: gpg.mail(kind=b"mixed", label=b"Content-Type: text/plain\r\n"),
    "all types lost": lambda gpg: gpg.mail(
        kind=b"mixed", control=OCTETS + b"\r\nVersion: 1\r\n", label=OCTETS
    ),
    "a footer around it": lambda gpg: HEAD + several(gpg.mail(head=b""), TEXT, boundary=b"OUT"),
    "a footer as third part": lambda gpg: gpg.mail(behind=b"--XX\r\n" + TEXT),
    "an empty control part": lambda gpg: gpg.mail(control=b"Content-Type: application/pgp-encrypted\r\n\r\n"),
    "armor in base64": lambda gpg: gpg.mail(
        lines64(gpg.armor(INNER)), label=OCTETS + b"Content-Transfer-Encoding: base64\r\n"
    ),
    "armor in one base64 line": lambda gpg: gpg.mail(
        base64.b64encode(gpg.armor(INNER)), label=OCTETS + b"Content-Transfer-Encoding: base64\r\n"
    ),
    "armor in quoted-printable": lambda gpg: gpg.mail(
        quopri.encodestring(gpg.armor(INNER).replace(b"\r\n", b"\n")),
        label=OCTETS + b"Content-Transfer-Encoding: quoted-printable\r\n",
    ),
    "binary in base64": lambda gpg: gpg.mail(
        lines64(gpg.binary(INNER)), label=OCTETS + b"Content-Transfer-Encoding: base64\r\n"
    ),
    "binary as it is": lambda gpg: gpg.mail(
        gpg.binary(INNER), label=OCTETS + b"Content-Transfer-Encoding: binary\r\n"
    ),
    "LF": lambda gpg: gpg.mail().replace(b"\r\n", b"\n"),
    "CR": lambda gpg: gpg.mail().replace(b"\r\n", b"\r"),
    "CR CR LF": lambda gpg: gpg.mail().replace(b"\r\n", b"\r\r\n"),
    "CR CR LF in the armor": lambda gpg: gpg.mail(gpg.armor(INNER).replace(b"\r\n", b"\r\r\n")),
    "blanks behind lines": lambda gpg: gpg.mail(gpg.armor(INNER).replace(b"\r\n", b"  \r\n")),
    "lines doubled": lambda gpg: gpg.mail(gpg.armor(INNER).replace(b"\r\n", b"\r\n\r\n")),
    "lines indented": lambda gpg: gpg.mail(gpg.armor(INNER).replace(b"\r\n", b"\r\n ")),
    "no blank line in the armor": lambda gpg: gpg.mail(
        gpg.armor(INNER).replace(b"MESSAGE-----\r\n\r\n", b"MESSAGE-----\r\n")
    ),
    "headers in the armor": lambda gpg: gpg.mail(
        gpg.armor(INNER).replace(b"MESSAGE-----\r\n", b"MESSAGE-----\r\nVersion: 8\r\nComment: \xe4\r\n", 1)
    ),
    "text around the armor": lambda gpg: gpg.mail(b"Hello\r\n\r\n" + gpg.armor(INNER) + b"\r\nBye\r\n"),
    "blanks behind boundaries": lambda gpg: gpg.mail().replace(b"--XX\r\n", b"--XX \t\r\n"),
    "no last boundary": lambda gpg: gpg.mail().replace(b"--XX--\r\n", b""),
    "a preamble": lambda gpg: gpg.mail().replace(b"\r\n\r\n--XX", b"\r\n\r\nThis is PGP/MIME\r\n\r\n--XX", 1),
    "forwarded as a mail": lambda gpg: (
        HEAD + several(TEXT, b"Content-Type: message/rfc822\r\n\r\n" + gpg.mail(), boundary=b"OUT")
    ),
    "no MIME-Version": lambda gpg: gpg.mail().replace(b"MIME-Version: 1.0\r\n", b""),
    "capitals": lambda gpg: (
        gpg.mail()
        .replace(b"Content-Type", b"CONTENT-TYPE")
        .replace(b"multipart/encrypted", b"MULTIPART/Encrypted")
    ),
    "a boundary without quotes": lambda gpg: gpg.mail(boundary=b"=_a/b?c:d").replace(
        b'"=_a/b?c:d"', b"=_a/b?c:d"
    ),
    "a folded type": lambda gpg: gpg.mail().replace(b"; boundary", b";\r\n\tboundary"),
    "a comment in the type": lambda gpg: gpg.mail().replace(
        b"multipart/encrypted", b"multipart/encrypted (pgp)"
    ),
    "a byte order mark": lambda gpg: b"\xef\xbb\xbf" + gpg.mail(),
    "a line of an mbox": lambda gpg: b"From x@y Thu Feb 12 09:30:00 2026\r\n" + gpg.mail(),
    "a blank line first": lambda gpg: b"\r\n" + gpg.mail(),
    "an attachment .pgp": lambda gpg: (
        HEAD + several(TEXT, entity(gpg.binary(INNER), 'application/octet-stream; name="x.pgp"'))
    ),
    "an attachment without name": lambda gpg: (
        HEAD + several(TEXT, entity(gpg.binary(INNER), "application/octet-stream"))
    ),
    "an attachment with another name": lambda gpg: (
        HEAD + several(TEXT, entity(gpg.binary(INNER), 'application/x-study; name="study.bin"'))
    ),
    "a sealed file": lambda gpg: HEAD + several(TEXT, entity(gpg.binary(FIRST), 'a/b; name="a.dcm.gpg"')),
    "a sealed file alone": lambda gpg: (
        HEAD
        + b"MIME-Version: 1.0\r\n"
        + entity(gpg.binary(FIRST), "application/octet-stream; name=a.dcm.pgp")
    ),
    "application/pgp": lambda gpg: (
        HEAD
        + b"MIME-Version: 1.0\r\nContent-Type: application/pgp; x-action=encrypt; format=mime\r\n\r\n"
        + gpg.armor(INNER)
    ),
    "armor as the text of the mail": lambda gpg: HEAD + b"\r\nHello\r\n" + gpg.armor(INNER) + b"bye\r\n",
}


def uuencoded(data: bytes) -> bytes:
    lines = [binascii.b2a_uu(data[at : at + 45]).rstrip(b"\n") for at in range(0, len(data), 45)]
    return b"\r\n".join([b"begin 644 a.dcm", *lines, b"`", b"end", b""])


def coded(field: bytes, body: bytes) -> bytes:
    return b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (field, body)


INSIDE: dict[str, bytes] = {
    "multipart/related": several(TEXT, entity(FIRST), kind='related; type="application/dicom"'),
    "LF": INNER.replace(b"\r\n", b"\n"),
    "an entity alone": b"MIME-Version: 1.0\r\n" + entity(FIRST),
    "a bare file": FIRST,
    "binary": several(TEXT, entity(FIRST, encoding="binary")),
    "application/octet-stream": several(TEXT, entity(FIRST, 'application/octet-stream; name="IM0001"')),
    "text/plain": several(TEXT, entity(FIRST, "text/plain")),
    "image/dicom": several(TEXT, entity(FIRST, "image/dicom")),
    "no type": several(TEXT, entity(FIRST).split(b"\r\n", 1)[1]),
    "nested three times": several(
        several(several(entity(FIRST), boundary=b"I3", version=False), boundary=b"I2", version=False), TEXT
    ),
    "a mail in it": b"Content-Type: message/rfc822\r\n\r\n" + HEAD + INNER,
    "a whole mail": HEAD + INNER,
    "a blank line first": b"\r\n" + INNER,
    "padding in the middle": coded(
        b"base64", base64.b64encode(FIRST[:100]) + b"\r\n" + base64.b64encode(FIRST[100:])
    ),
    "no padding": coded(b"base64", base64.b64encode(FIRST).rstrip(b"=")),
    "the encoding in quotes": coded(b' "BASE64" (x)', base64.b64encode(FIRST)),
    "base64 that no header tells of": b"Content-Type: application/dicom\r\n\r\n" + lines64(FIRST),
    "base64 called 7bit text": b"Content-Type: text/plain\r\n\r\n" + lines64(FIRST),
    "base64 under a name nobody knows": coded(b"x-base-sixtyfour", lines64(FIRST)),
    "uuencode": coded(b"x-uuencode", uuencoded(FIRST)),
}


def objects(world: Correspondents, mail: bytes, folder: Path) -> tuple[list[bytes], Verdict, bool]:
    with open_mail(survey(mail), mail, world.engine, temp=folder, limits=Limits()) as content:
        found = [b"".join(bytes(chunk) for chunk in part.chunks()) for part in studies(content).parts]
        return found, content.signature.verdict, content.encrypted


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside(world: Correspondents, gpg: Sender, tmp_path: Path, name: str) -> None:
    """RFC 3156 4, and what is met instead."""
    assert objects(world, OUTSIDE[name](gpg), tmp_path) == ([FIRST], Verdict.GOOD, True)


@pytest.mark.parametrize("name", INSIDE)
def test_inside(world: Correspondents, gpg: Sender, tmp_path: Path, name: str) -> None:
    assert objects(world, gpg.mail(plain=INSIDE[name]), tmp_path) == ([FIRST], Verdict.GOOD, True)


def test_several_objects(world: Correspondents, gpg: Sender, tmp_path: Path) -> None:
    mail = gpg.mail(plain=several(TEXT, *(entity(one) for one in (FIRST, SECOND, THIRD))))
    assert objects(world, mail, tmp_path) == ([FIRST, SECOND, THIRD], Verdict.GOOD, True)


def test_several_messages_in_one_part(world: Correspondents, gpg: Sender, tmp_path: Path) -> None:
    both = gpg.armor(several(entity(FIRST))) + b"\r\n" + gpg.armor(several(entity(SECOND)))
    assert objects(world, gpg.mail(both), tmp_path) == ([FIRST, SECOND], Verdict.GOOD, True)


def test_sealed_twice(world: Correspondents, gpg: Sender, tmp_path: Path) -> None:
    plain = entity(gpg.binary(INNER), "application/octet-stream; name=x.pgp")
    assert objects(world, gpg.mail(plain=plain), tmp_path) == ([FIRST], Verdict.GOOD, True)


@pytest.mark.parametrize("sealed", [False, True])
def test_signed_as_a_multipart(world: Correspondents, gpg: Sender, tmp_path: Path, sealed: bool) -> None:
    """RFC 3156 5, and 6.1 where it stands inside the encryption."""
    detached, _, _ = world.peer.run("--armor", "--detach-sign", "-u", world.partner, data=INNER)
    signature = b"Content-Type: application/pgp-signature\r\n\r\n" + detached.replace(b"\n", b"\r\n")
    kind = 'signed; protocol="application/pgp-signature"; micalg=pgp-sha256'
    signed = several(INNER, signature, kind=kind, boundary=b"SG")
    mail = HEAD + signed
    if sealed:
        mail = gpg.mail(world.peer.seal(signed, [world.clinic]).replace(b"\n", b"\r\n"))
    assert objects(world, mail, tmp_path) == ([FIRST], Verdict.GOOD, sealed)


def test_clear(world: Correspondents, tmp_path: Path) -> None:
    """Supplement 54 without OpenPGP."""
    assert objects(world, HEAD + INNER, tmp_path) == ([FIRST], Verdict.NONE, False)
