"""Whatever the switches, mails and fragments are canonical: 7bit, CRLF, short lines, armor with CRC-24."""

import binascii
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radpost.agit.dialect import DIALECTS, DialectName, Writing, bound_of, contradiction, mail_bound
from radpost.agit.letter import Item, inner_chunks
from radpost.agit.opening import open_mail
from radpost.agit.survey import survey
from radpost.agit.writing import Keys, fragments, seal
from radpost.openpgp.values import Limits
from radpost.testing.letters import Correspondents, correspondents, dicom_item, document, letter

LONGEST = 998
"""RFC 5322 2.1.1, without the line end."""
PREFERRED = 78
ARMOR = re.compile(
    rb"-----BEGIN PGP MESSAGE-----\r\n\r\n((?:[A-Za-z0-9+/=]{1,76}\r\n)+)=([A-Za-z0-9+/]{4})\r\n"
    rb"-----END PGP MESSAGE-----\r\n"
)


@pytest.fixture(scope="module")
def world() -> Iterator[Correspondents]:
    with (
        tempfile.TemporaryDirectory(prefix="rw", ignore_cleanup_errors=True) as folder,
        correspondents(Path(folder)) as found,
    ):
        yield found


dialects = st.sampled_from(list(DIALECTS))
writings = st.builds(
    Writing,
    objects_per_mail=st.integers(1, 10_000),
    max_mail_size=st.integers(20_000, 200_000),
    inner_encoding=st.sampled_from(["base64", "binary"]),
    compression=st.sampled_from(["auto", "always", "never"]),
    cipher=st.sampled_from(["AES256", "AES192", "AES128"]),
    digest=st.sampled_from(["SHA256", "SHA512"]),
    sign=st.booleans(),
    receipt=st.booleans(),
    receipt_mechanism=st.sampled_from(["1", "2", "both"]),
    partial=st.booleans(),
    study_uid_outside=st.booleans(),
)
contents = st.one_of(
    st.binary(max_size=4000),
    st.integers(1, 60_000).map(os.urandom),
    st.integers(1, 60_000).map(bytes),
    st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
objects = st.lists(st.tuples(contents, st.booleans(), st.text(max_size=60)), min_size=1, max_size=4)


def crc24(data: bytes) -> bytes:
    """Return the checksum of armor by the definition in RFC 4880 6.1, without our code."""
    value = 0xB704CE
    for octet in data:
        value ^= octet << 16
        for _ in range(8):
            value <<= 1
            if value & 0x1000000:
                value ^= 0x1864CFB
    return value.to_bytes(3, "big")


def canonical(mail: bytes) -> None:
    """Check what RFC 5322 2.1.1 and RFC 3156 3 ask of the bytes."""
    assert mail.isascii()
    assert b"\0" not in mail
    assert mail.endswith(b"\r\n")
    assert mail.count(b"\r") == mail.count(b"\n") == mail.count(b"\r\n")
    lines = mail.split(b"\r\n")
    assert max(map(len, lines)) <= LONGEST
    assert max(map(len, lines[: lines.index(b"")])) <= PREFERRED


@pytest.mark.peer("gnupg")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dialect=dialects, writing=writings, drawn=objects)
def test_inv3_mails_are_canonical_under_all_switches(
    world: Correspondents,
    tmp_path_factory: pytest.TempPathFactory,
    dialect: DialectName,
    writing: Writing,
    drawn: list[tuple[bytes, bool, str]],
) -> None:
    items: tuple[Item, ...] = tuple(
        dicom_item(data, compressible=writing.compression == "always")
        if is_dicom
        else document(data, name, study_uid="2.25.7")
        for data, is_dicom, name in drawn
    )
    if contradiction(dialect, writing):
        assert (dialect, writing.receipt) == ("agit-1.1", True)
        return
    mail = letter(
        items,
        dialect=dialect,
        inner_encoding=writing.inner_encoding,
        receipt=writing.receipt,
        receipt_mechanism=writing.receipt_mechanism,
        receipt_key=world.partner,
        study_uid_outside=writing.study_uid_outside,
    )
    if writing.inner_encoding == "base64":
        canonical(b"".join(bytes(chunk.data) for chunk in inner_chunks(mail)))
    sink = io.BytesIO()
    seal(mail, sink, world.theirs, Keys((world.clinic,), world.partner), writing)
    whole = sink.getvalue()
    canonical(whole)
    (found,) = ARMOR.finditer(whole)
    binary = binascii.a2b_base64(found[1])
    if len(binary) < 20_000:  # the definition is slow in Python
        assert binascii.a2b_base64(found[2]) == crc24(binary)
    bound = mail_bound(len(drawn), sum(bound_of(writing, len(data), None) for data, _, _ in drawn))
    assert len(whole) <= bound
    with open_mail(
        survey(whole), whole, world.engine, temp=tmp_path_factory.getbasetemp(), limits=Limits()
    ) as content:
        got = [b"".join(map(bytes, part.chunks())) for part in content.parts]
    # an empty part counts as data only under a name, and never as DICOM
    assert got == [data for data, is_dicom, _ in drawn if data or not is_dicom]
    if len(whole) > writing.max_mail_size:
        cut(whole, writing.max_mail_size)


def cut(whole: bytes, limit: int) -> None:
    """Check the fragments (RFC 2046 5.2.2): canonical, small enough, and together the mail."""
    cuts = fragments(
        whole, limit, partial_id="id@partner.example", message_id=lambda n: f"<{n}@partner.example>"
    )
    bodies = []
    for one in cuts:
        raw = b"".join(map(bytes, one.chunks(whole)))
        assert len(raw) <= limit
        canonical(raw)
        bodies.append(raw.partition(b"\r\n\r\n")[2])
    assert b"".join(bodies) == whole
