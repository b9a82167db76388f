"""Whatever a mail looks like, ``radpost check`` has findings for it and never an exception."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.mails.checking.claims import claim
from radpost.mails.checking.model import Finding
from radpost.mails.checking.scene import Scene, tree
from radpost.mails.checking.table import RULES, judge
from radpost.testing import specimens

SEEDS = (
    specimens.sealed(),
    specimens.clear(),
    specimens.related(),
    specimens.signed(),
    specimens.inline(),
    specimens.fragment(),
    specimens.receipt(),
    specimens.bounce(),
    specimens.words(),
    specimens.nested(),
)
TOKENS = (
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b"\t", b";", b'"', b"=", b"--", b":", b"%", b"'", b"*0*=",
    b"=?", b"?=", b"\r\n\r\n", b"Content-Type: ", b"boundary=", b"multipart/signed", b"base64",
    b"-----BEGIN PGP MESSAGE-----", b"message/partial; id=x; number=1", b"9" * 40, b"X-TELEMEDICINE-SETID: ",
    b"Content-Type: application/dicom\r\n\r\n",
)  # fmt: skip
edits = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 60), st.sampled_from(TOKENS) | st.binary(max_size=8)),
    min_size=1,
    max_size=8,
)


def edited(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    mail = bytearray(seed)
    for at, length, new in changes:
        start = at % (len(mail) + 1)
        mail[start : start + length] = new
    return bytes(mail)


def judged(mail: bytes) -> tuple[Finding, ...]:
    outside = tree(mail)
    inside = replace(tree(mail), outer=tree(specimens.sealed()), seal=specimens.SEAL)
    scene = Scene((outside, inside))
    claim(scene.layers)
    return judge(scene, "mail")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), edits)
def test_a_mutated_mail_has_findings_within_its_bytes(
    seed: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    mail = edited(seed, changes)
    found = judged(mail)
    assert {finding.rule.id for finding in found} <= {rule.id for rule in RULES}
    for finding in found:
        assert finding.at is None or 0 <= finding.at <= len(mail)
        assert all(finding.fact(language).isprintable() for language in ("en", "de"))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_have_findings(mail: bytes) -> None:
    assert judged(mail)
