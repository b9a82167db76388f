"""What we write, read by others: the standard library joins our fragments, reformime sees our parts."""

import email
import email.policy
import os
import subprocess
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from radpost.mime.folding import message_fields, message_id
from radpost.mime.partial import FragmentHeader, split
from radpost.mime.writer import Leaf, Multipart, Source, write

_WHEN = datetime(2026, 2, 12, tzinfo=UTC)


def _mail(data: bytes) -> bytes:
    text = Leaf((("Content-Type", "text/plain"),), Source.of(b"DICOM"), "7bit")
    dicom = Leaf((("Content-Type", 'application/dicom; name="i.dcm"'),), Source.of(data))
    fields = message_fields(
        sender="a@b.example",
        recipient="c@d.example",
        subject="DICOM-eMail",
        date=_WHEN,
        message_id="<whole@b.example>",
    )
    return b"".join(write(Multipart("mixed", "=_abc", (text, dicom)), fields))


def test_standard_library_joins_our_fragments() -> None:
    data = os.urandom(200_000)
    mail = _mail(data)
    header = FragmentHeader(
        sender="a@b.example",
        recipient="c@d.example",
        subject="DICOM-eMail",
        date=_WHEN,
        partial_id="0123@b.example",
        message_id=lambda number: message_id(number.to_bytes(16, "big"), "b.example"),
    )
    bodies: list[str] = []
    for cut in split(mail, 50_000, header):
        fragment = email.message_from_bytes(b"".join(cut.chunks(mail)), policy=email.policy.SMTP)
        assert not fragment.defects
        assert fragment.get_content_type() == "message/partial"
        assert (fragment.get_param("number"), fragment.get_param("total")) == (str(cut.number), "6")
        assert fragment.get_param("id") == "0123@b.example"
        # for the standard library the body is a message of its own; as text it is what was sent
        bodies.append(b"".join(cut.chunks(mail)).decode("ascii").partition("\r\n\r\n")[2])
    joined = email.message_from_string("".join(bodies), policy=email.policy.SMTP)
    part = list(joined.walk())[2]
    assert isinstance(part, EmailMessage)
    assert part.get_content() == data


@pytest.mark.peer("maildrop")
def test_reformime_sees_our_parts(tmp_path: Path) -> None:
    data = os.urandom(10_000)
    mail = _mail(data)
    listing = subprocess.run(["reformime", "-i"], input=mail, stdout=subprocess.PIPE, check=True).stdout
    types = [line.split(b": ")[1] for line in listing.splitlines() if line.startswith(b"content-type")]
    assert types == [b"multipart/mixed", b"text/plain", b"application/dicom"]
    decoded = subprocess.run(
        ["reformime", "-s1.2", "-e"], input=mail, stdout=subprocess.PIPE, check=True, cwd=tmp_path
    ).stdout
    assert decoded == data
