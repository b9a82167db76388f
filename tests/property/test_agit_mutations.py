"""Mutated mails: the reader ends with a value or with a reason, soon, and leaves no file behind."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.agit.contents import Content
from radpost.agit.letter import inner_chunks, outer_envelope
from radpost.agit.opening import open_mail, studies
from radpost.agit.receipts import read_details
from radpost.agit.survey import Survey, survey
from radpost.errors import RadpostError
from radpost.openpgp.plaintext import PlaintextWriter
from radpost.openpgp.values import NO_SIGNATURE, Buffer, Engine, Limits, Opened, Signature
from radpost.testing.letters import (
    Correspondents,
    correspondents,
    dicom_item,
    document,
    letter,
    seal,
    seal_entity,
)
from radpost.words import Verdict

DICOM = bytes(128) + b"DICM" + b"x" * 400
MAIL = letter((dicom_item(DICOM), document(b"", "a.pdf"), document(b"%PDF-\xff", "Größe.pdf")))
INNER = b"".join(bytes(chunk.data) for chunk in inner_chunks(MAIL))
REPORT = (
    b"Content-Type: multipart/report; boundary=r\r\n\r\n--r\r\nContent-Type: text/plain\r\n\r\nx\r\n--r\r\n"
    b"Content-Type: message/disposition-notification\r\n\r\nOriginal-Message-ID: <a@b>\r\n"
    b"Disposition: automatic-action/MDN-sent-automatically;displayed\r\n\r\n--r\r\n"
    b"Content-Type: application/vnd.radpost.receipt+json\r\n\r\n"
    b'{"original_message_id":"<a@b>"}\r\n--r--\r\n'
)
SIGNED = (
    b"Content-Type: multipart/signed; boundary=s; protocol=application/pgp-signature\r\n\r\n--s\r\n"
    + REPORT
    + b"\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n"
)
NESTED = (
    b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nX-TELEMEDICINE-STUDYID: 1.2.3\r\n"
    b"Content-Type: application/octet-stream; name=a.pgp\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA\r\n"
    b"-----END PGP MESSAGE-----\r\n--m\r\nContent-Type: message/rfc822\r\n\r\n" + INNER + b"\r\n--m\r\n"
    b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=00=\r\nx"
    b"\r\n--m--\r\n"
)
TOKENS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b"--s\r\n",
    b"--r--\r\n",
    b"Content-Type: multipart/mixed; boundary=r\r\n",
    b"Content-Type: multipart/signed; boundary=r\r\n\r\n",
    b"Content-Type: message/partial; id=a; number=1; total=2\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Disposition: x\r\n",
    b"X-TELEMEDICINE-SETID: \xff\r\n",
    b"X-TELEMEDICINE-STUDYID: 1.2\r\n",
    b"-----BEGIN PGP MESSAGE-----\r\n",
    b"-----BEGIN PGP SIGNED MESSAGE-----\r\n",
    b"From: mailer-daemon@x\r\nSubject: Undelivered\r\n",
    b"Message-ID: <>\r\n",
    b"Date: 99 Foo 99999 99:99\r\n",
    b"; name*0*=utf-16''%ff%fe",
)


class Opener:
    """An engine that "decrypts" to what it was told; everything else of the reader is real."""

    def __init__(self, plain: bytes) -> None:
        self._plain = plain
        self.calls = 0

    def open(self, source: BinaryIO, *, temp: Path, limits: Limits, legacy: bool = False) -> Opened:
        source.read()
        self.calls += 1
        writer = PlaintextWriter(temp, limits.memory)
        writer.write(self._plain)
        good = Signature(Verdict.GOOD, "A" * 40)
        return Opened(good, writer.finish(), "mdc", encrypted=True, cipher="AES256")

    def verify_detached(self, data: Iterable[Buffer], signature: bytes) -> Signature:
        for _ in data:
            pass
        return NO_SIGNATURE

    def seal(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def sign_detached(self, *args: Any, **kwargs: Any) -> bytes:
        raise NotImplementedError


@st.composite
def mutated(draw: st.DrawFn, corpus: tuple[bytes, ...]) -> bytes:
    data = bytearray(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 4, 40, 400])))
        match draw(st.integers(0, 4)):
            case 0:
                data[start:end] = draw(st.sampled_from(TOKENS))
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = data[start:end] * draw(st.sampled_from([1, 2, 30]))
            case 3:
                data[start:end] = draw(st.binary(max_size=20))
            case _:
                data[start:start] = draw(st.sampled_from(corpus))
    return bytes(data)


def use(content: Content) -> None:
    """Do with the content what the gateway does."""
    with content:
        for part in studies(content).parts:
            size = sum(len(chunk) for chunk in part.chunks())
            assert part.plain is None or len(part.plain) == size
            assert part.cover.encrypted or not content.encrypted
        for report in content.reports:
            read_details(report.details)
        if content.inner is not None:
            content.inner.date()
            content.inner.addresses("From")


def read(mail: bytes, engine: Engine, folder: Path) -> Survey | None:
    outside = None
    with suppress(RadpostError):
        outside = survey(mail)
        use(open_mail(outside, mail, engine, temp=folder, limits=Limits(memory=1000, max_plaintext=1 << 22)))
    assert list(folder.iterdir()) == []
    return outside


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ra") as name:
        yield Path(name)


OUTER = outer_envelope(MAIL).head + b"-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA\r\n" + outer_envelope(MAIL).tail


@settings(max_examples=150, deadline=None)
@given(inner=mutated((INNER, REPORT, SIGNED, NESTED)))
def test_inv5_mutated_contents(folder: Path, inner: bytes) -> None:
    read(OUTER, Opener(inner), folder)


@settings(max_examples=150, deadline=None)
@given(mail=mutated((OUTER, REPORT, SIGNED, NESTED)))
def test_inv5_mutated_mails(folder: Path, mail: bytes) -> None:
    read(mail, Opener(INNER), folder)


@settings(max_examples=50, deadline=None)
@given(inner=st.one_of(st.binary(max_size=2000), st.text(max_size=500).map(str.encode)))
def test_inv5_anything_may_be_sealed(folder: Path, inner: bytes) -> None:
    read(OUTER, Opener(inner), folder)


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[Correspondents]:
    with (
        tempfile.TemporaryDirectory(prefix="ra", ignore_cleanup_errors=True) as home,
        correspondents(Path(home)) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def sealed(world: Correspondents) -> tuple[bytes, ...]:
    parties = (world.theirs, world.clinic, world.partner)
    return (seal(MAIL, *parties), seal_entity(SIGNED, *parties), seal_entity(NESTED, *parties))


@pytest.mark.peer("gnupg")
@settings(max_examples=40, deadline=None)
@given(seed=st.data())
def test_inv5_mutated_sealed_mails(
    world: Correspondents, sealed: tuple[bytes, ...], folder: Path, seed: st.DataObject
) -> None:
    """With the real engine: what was changed is refused or ignored, never taken for something else."""
    mail = seed.draw(mutated(sealed))
    read(mail, world.engine, folder)
    known = {data for one in sealed for data in trusted(one, world.engine, folder)}
    assert len(known) == 5
    assert trusted(mail, world.engine, folder) <= known


def trusted(mail: bytes, engine: Engine, folder: Path) -> set[bytes]:
    """Return the objects that came out as encrypted and signed by a known key."""
    with (
        suppress(RadpostError),
        open_mail(survey(mail), mail, engine, temp=folder, limits=Limits()) as content,
    ):
        return {
            b"".join(bytes(chunk) for chunk in part.chunks())
            for part in content.parts
            if part.cover.encrypted and part.cover.signature.verdict is Verdict.GOOD
        }
    return set()
