"""Mails that keep every rule that is about them; the cases break one rule each by a small change."""

import base64 as codec
import io
from dataclasses import replace
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID

from radpost.dicom.meta import EXPLICIT_VR_LITTLE_ENDIAN, MEDIA_STORAGE_DIRECTORY
from radpost.mails.checking.model import Layer, Seal
from radpost.mails.checking.scene import bare, tree
from radpost.openpgp import armor, packets
from radpost.openpgp.values import Signature
from radpost.words import Verdict

STUDY = "2.25.4711"
CT = "1.2.840.10008.5.1.4.1.1.2"
KEY = bytes.fromhex("0123456789ABCDEF")


def crlf(text: str) -> bytes:
    """Return text as it travels."""
    return text.replace("\n", "\r\n").encode("ascii")


def saved(data: Dataset, sop_class: str, instance: str) -> bytes:
    """Write a data set as a file (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(EXPLICIT_VR_LITTLE_ENDIAN)
    data.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, data, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return out.getvalue()


def dicom(instance: str = "2.25.1", **changes: Any) -> bytes:
    """Return a small DICOM file."""
    data = Dataset()
    data.SOPClassUID = CT
    data.SOPInstanceUID = instance
    data.StudyInstanceUID = STUDY
    data.SeriesInstanceUID = "2.25.42"
    data.Modality = "CT"
    for name, value in changes.items():
        setattr(data, name, value)
    return saved(data, CT, instance)


def dicomdir(*names: str) -> bytes:
    """Return a DICOMDIR that names these files."""
    data = Dataset()
    data.FileSetID = "TEST"
    records = []
    for name in names:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = 0
        record.RecordInUseFlag = 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name.split("/")
        records.append(record)
    data.DirectoryRecordSequence = DicomSequence(records)
    return saved(data, MEDIA_STORAGE_DIRECTORY, "2.25.99")


def base64(data: bytes) -> str:
    """Encode as the body of a part."""
    return codec.encodebytes(data).decode("ascii").rstrip("\n")


def sessions(*, version: int = 3, keyid: bytes = KEY, algorithm: int = 1, bits: int = 2048) -> bytes:
    """Return an encrypted session key (RFC 4880 5.1)."""
    numbers = bits.to_bytes(2, "big") + b"\x80" + bytes(bits // 8 - 1)
    return packets.packet(packets.PKESK, bytes((version,)) + keyid + bytes((algorithm,)) + numbers)


def message(first: bytes | None = None, tag: int = packets.SEIPD, version: int = 1) -> bytes:
    """Return an OpenPGP message as everybody sees it; nobody can decrypt it."""
    return (sessions() if first is None else first) + packets.packet(
        tag, bytes((version,)) + bytes(range(200))
    )


def armored(data: bytes | None = None) -> str:
    """Armor an OpenPGP message."""
    return (
        armor.armor(message() if data is None else data, armor.MESSAGE).decode("ascii").replace("\r\n", "\n")
    )


HEAD = """\
From: Radiology <radiology@partner.example>
To: gateway@clinic.example
Subject: DICOM-eMail
Date: Thu, 12 Feb 2026 09:30:00 +0000
Message-ID: <00112233445566778899aabbccddeeff@partner.example>
MIME-Version: 1.0
"""
SETS = """\
X-TELEMEDICINE-SETID: 2.25.815
X-TELEMEDICINE-SETPART: 1
X-TELEMEDICINE-SETTOTAL: 2
"""


def sealed(data: bytes | None = None) -> bytes:
    """A DICOM e-mail of @GIT with set headers, as it looks outside."""
    return crlf(
        f"""{HEAD}Disposition-Notification-To: radiology@partner.example
{SETS}Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";
 boundary="=_outer"

--=_outer
Content-Type: application/pgp-encrypted

Version: 1

--=_outer
Content-Type: application/octet-stream; name="encrypted.asc"
Content-Disposition: inline; filename="encrypted.asc"

{armored(data)}
--=_outer--
"""
    )


def parts() -> str:
    """A multipart with text, two DICOM files and a document."""
    return f"""\
Content-Type: multipart/mixed; boundary="=_inner"

--=_inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable
Content-ID: <text@partner.example>

Gr=C3=BC=C3=9Fe aus der Radiologie

--=_inner
Content-Type: application/dicom; id="IM000001"; name="IM000001.dcm"
Content-Disposition: attachment; filename="IM000001.dcm"
Content-Transfer-Encoding: base64

{base64(dicom("2.25.1"))}
--=_inner
Content-Type: application/dicom; id="IM000002"; name="IM000002.dcm"
Content-Disposition: attachment; filename="IM000002.dcm"
Content-Transfer-Encoding: base64

{base64(dicom("2.25.2"))}
--=_inner
Content-Type: application/pdf; name="report.pdf"
Content-Disposition: attachment; filename*=utf-8''Befund%20M%C3%BCller.pdf
Content-Transfer-Encoding: base64
X-TELEMEDICINE-STUDYID: {STUDY}

{base64(b"%PDF-1.4 " + bytes(60))}
--=_inner--
"""


def clear() -> bytes:
    """A DICOM e-mail of Supplement 54, without encryption."""
    return crlf(HEAD + parts())


def related() -> bytes:
    """A file set with its DICOMDIR."""
    return crlf(
        f"""{HEAD}Content-Type: multipart/related; type="application/dicom"; boundary="=_set";
 start="<dir@partner.example>"

--=_set
Content-Type: application/dicom; id="DICOMDIR"; name="DICOMDIR"
Content-ID: <dir@partner.example>
Content-Transfer-Encoding: base64

{base64(dicomdir("A/IM000001"))}
--=_set
Content-Type: application/dicom; id="A/IM000001"; name="IM000001.dcm"
Content-Transfer-Encoding: base64

{base64(dicom())}
--=_set--
"""
    )


def plain() -> bytes:
    """An ordinary mail."""
    return crlf(f"{HEAD}Content-Type: text/plain; charset=us-ascii\n\nGood morning.\n")


def words() -> bytes:
    """A mail with an encoded word."""
    return plain().replace(b"Subject: DICOM-eMail", b"Subject: =?utf-8?B?R3LDvMOfZQ==?=")


def nested() -> bytes:
    """A multipart in a multipart."""
    return crlf(
        f"""{HEAD}Content-Type: multipart/mixed; boundary="=_one"

--=_one
Content-Type: multipart/mixed; boundary="=_two"

--=_two
Content-Type: text/plain; charset=us-ascii

Good morning.
--=_two--
--=_one--
"""
    )


def signature(digest: int = 8) -> str:
    """Return an armored signature that nobody made (RFC 4880 5.2.3)."""
    body = bytes((4, 1, 1, digest)) + bytes(20)
    packet = packets.packet(packets.SIGNATURE, body)
    return armor.armor(packet, armor.SIGNATURE).decode("ascii").replace("\r\n", "\n")


def signed() -> bytes:
    """A multipart/signed mail."""
    return crlf(
        f"""{HEAD}Content-Type: multipart/signed; protocol="application/pgp-signature";
 micalg=pgp-sha256; boundary="=_sig"

--=_sig
Content-Type: text/plain; charset=us-ascii

Good morning.
--=_sig
Content-Type: application/pgp-signature; name="signature.asc"

{signature()}
--=_sig--
"""
    )


def inline() -> bytes:
    """OpenPGP in text."""
    return crlf(f"{HEAD}Content-Type: text/plain; charset=us-ascii\n\n{armored()}")


def fragment() -> bytes:
    """The first of two fragments; the mail in it has set headers, and so has the fragment."""
    return crlf(
        f"""{HEAD}{SETS}Content-Type: message/partial; id="x1@partner.example"; number=1; total=2

Subject: DICOM-eMail
Message-ID: <inner@partner.example>
MIME-Version: 1.0
{SETS}Content-Type: text/plain; charset=us-ascii

Good mor
"""
    )


def receipt(disposition: str = "automatic-action/MDN-sent-automatically;displayed") -> bytes:
    """A receipt."""
    return crlf(
        f"""{HEAD}Auto-Submitted: auto-replied
Content-Type: multipart/report; report-type=disposition-notification; boundary="=_mdn"

--=_mdn
Content-Type: text/plain; charset=us-ascii

The data were imported.
--=_mdn
Content-Type: message/disposition-notification

Reporting-UA: gateway.clinic.example; Gateway 1.0
Final-Recipient: rfc822; gateway@clinic.example
Original-Message-ID: <0815@partner.example>
Disposition: {disposition}

--=_mdn--
"""
    )


def bounce() -> bytes:
    """A bounce."""
    return crlf(
        f"""{HEAD}Auto-Submitted: auto-replied
Content-Type: multipart/report; report-type=delivery-status; boundary="=_dsn"

--=_dsn
Content-Type: text/plain; charset=us-ascii

The mail could not be delivered.
--=_dsn
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.clinic.example

Final-Recipient: rfc822; gateway@clinic.example
Action: failed
Status: 5.2.2

--=_dsn
Content-Type: text/rfc822-headers

Message-ID: <0815@partner.example>

--=_dsn--
"""
    )


GOOD = Signature(Verdict.GOOD, "AB" * 20)
SEAL = Seal(GOOD, "mdc", True, "AES256", (), 1000, 700)


def outside(mail: bytes) -> Layer:
    """Return a mail as the rules see it."""
    return tree(mail)


def inside(inner: bytes | None = None, outer: bytes | None = None, **changes: Any) -> Layer:
    """What was sealed, with what an engine said of it."""
    mail = tree(sealed() if outer is None else outer)
    layer = tree(crlf(HEAD + SETS + parts()) if inner is None else inner)
    held = mail.seals[0].payload.entity if mail.seals else mail.root
    return replace(layer, outer=mail, sealed_in=held, seal=replace(SEAL, **changes))


def bare_file(data: bytes) -> Layer:
    """A file that was sealed without a mail around it."""
    return replace(bare(data, "a.dcm"), outer=tree(sealed()), seal=SEAL)
