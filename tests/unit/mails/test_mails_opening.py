"""Mails of many kinds are opened with key files: verdicts, policy, sets, names, and that nothing gets out."""

import hashlib
import io
import json
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from radpost.agit.letter import Item
from radpost.agit.survey import survey
from radpost.errors import (
    BINDING_MISMATCH,
    INTERNAL,
    KEY_UNREADABLE,
    MAIL_UNREADABLE,
    NO_SECRET_KEY,
    SIGNATURE_BAD,
    SIGNATURE_REQUIRED,
    TAMPERED,
    RadpostError,
    Reason,
)
from radpost.mails import opening
from radpost.mails.opening import open_mails
from radpost.mails.remarks import REMARK, VERDICT, remark
from radpost.mails.results import OpenedMails, Result, Status
from radpost.testing.letters import (
    Correspondents,
    armored,
    dicom_item,
    document,
    letter,
    seal,
    seal_entity,
)
from radpost.testing.study import make_study
from radpost.words import Verdict

pytestmark = pytest.mark.peer("gnupg")

HOSTILE = "../../etc/\x1b[31mpasswd"


@dataclass(frozen=True, slots=True)
class Bench:
    """Opens mails as the clinic that knows the key of the partner."""

    world: Correspondents
    folder: Path
    secret: Path
    certs: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def sealed(self, items: Sequence[Item], signer: str | None = "", **changes: object) -> bytes:
        by = self.world.partner if signer == "" else signer
        return seal(letter(items, **changes), self.world.theirs, self.world.clinic, by)

    def open(self, *mails: bytes, policy: str = "ignore", keys: bool = True) -> OpenedMails:
        paths = []
        for number, mail in enumerate(mails):
            paths.append(self.folder / f"{number}.eml")
            paths[-1].write_bytes(mail)
        return open_mails(
            paths,
            secrets=[self.secret] if keys else (),
            certs=[self.certs] if keys else (),
            policy=policy,
            out=self.out,
        )

    def one(self, mail: bytes, policy: str = "ignore") -> Result:
        (result,) = self.open(mail, policy=policy).results
        return result

    def written(self) -> list[str]:
        return sorted(path.name for path in self.out.iterdir())


@pytest.fixture(scope="session")
def key_files(world: Correspondents, mails_home: Path) -> tuple[Path, Path]:
    """Our secret key and the partner's public key, as files."""
    clinic = world.peer.export(world.clinic, secret=True)
    partner = world.peer.export(world.partner)
    secret, certs = mails_home / "secret.asc", mails_home / "certs.asc"
    secret.write_bytes(clinic)
    certs.write_bytes(partner)
    return secret, certs


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, ...]:
    folder = tmp_path_factory.mktemp("slices")
    make_study(folder, 3)
    return tuple(path.read_bytes() for path in sorted(folder.rglob("*.dcm")))


@pytest.fixture
def bench(world: Correspondents, key_files: tuple[Path, Path], tmp_path: Path) -> Bench:
    return Bench(world, tmp_path, *key_files)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_inv3_objects_come_out_byte_for_byte_and_private(bench: Bench, slices: Sequence[bytes]) -> None:
    result = bench.one(bench.sealed([dicom_item(slices[0]), document(b"%PDF-1.4 text", "Befund.pdf")]))
    assert result.status is Status.OK
    assert [item.sha256 for item in result.objects] == [sha(slices[0]), sha(b"%PDF-1.4 text")]
    for item, data in zip(result.objects, (slices[0], b"%PDF-1.4 text"), strict=True):
        path = Path(item.path or "")
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(bench.out.stat().st_mode) == 0o700
    dicom, pdf = result.objects
    assert (dicom.kind, dicom.media_type) == ("dicom", "application/dicom")
    assert Path(dicom.path or "").name == f"{dicom.sop_instance_uid}.dcm"
    assert (pdf.kind, pdf.media_type, pdf.name) == ("other", "application/pdf", "Befund.pdf")
    assert pdf.study_instance_uid == "2.25.1"


@pytest.mark.parametrize(
    ("signer", "policy", "verdict", "reason"),
    [
        ("partner", "require", Verdict.GOOD, None),
        (None, "ignore", Verdict.NONE, None),
        (None, "accept", Verdict.NONE, None),
        (None, "require", Verdict.NONE, SIGNATURE_REQUIRED),
        ("stranger", "ignore", Verdict.UNKNOWN_KEY, None),
        ("stranger", "accept", Verdict.UNKNOWN_KEY, None),
        ("stranger", "require", Verdict.UNKNOWN_KEY, SIGNATURE_REQUIRED),
    ],
)
def test_inv7_the_policy_decides_what_a_signature_must_be_worth(
    bench: Bench,
    slices: Sequence[bytes],
    signer: str | None,
    policy: str,
    verdict: Verdict,
    reason: Reason | None,
) -> None:
    by = None if signer is None else getattr(bench.world, signer)
    result = bench.one(bench.sealed([dicom_item(slices[0])], by), policy)
    assert result.reason is reason
    assert result.signature is not None
    assert result.signature.verdict == verdict.value
    if verdict is Verdict.UNKNOWN_KEY:  # a signature names the key that made it, here a subkey
        assert len(result.signature.fingerprint or "") == 40
    else:
        assert result.signature.fingerprint == by
    assert bench.written() == ([] if reason else [f"{result.objects[0].sop_instance_uid}.dcm"])


def signed_and_changed(bench: Bench, slices: Sequence[bytes]) -> bytes:
    """Return a mail whose inner multipart/signed was changed before it was encrypted."""
    entity = (
        b'Content-Type: multipart/mixed; boundary="m"\r\n\r\n--m\r\nContent-Type: application/pdf\r\n'
        b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\n%PDF-1.4\r\n--m--\r\n'
    )
    detached = bench.world.theirs.sign_detached([entity], signer=bench.world.partner)
    signed = (
        b'Content-Type: multipart/signed; boundary="s"; protocol="application/pgp-signature"\r\n\r\n--s\r\n'
        + entity.replace(b"1.4", b"1.5")
        + b"\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\n"
        + detached
        + b"\r\n--s--\r\n"
    )
    return seal_entity(signed, bench.world.theirs, bench.world.clinic, None)


@pytest.mark.parametrize(
    ("policy", "reason"), [("ignore", None), ("accept", SIGNATURE_BAD), ("require", SIGNATURE_BAD)]
)
def test_inv7_a_bad_signature_withholds_unless_it_is_ignored(
    bench: Bench, slices: Sequence[bytes], policy: str, reason: Reason | None
) -> None:
    result = bench.one(signed_and_changed(bench, slices), policy)
    assert result.signature is not None
    assert (result.signature.verdict, result.reason) == ("bad", reason)
    assert bench.written() == ([] if reason else ["a.pdf"])


def test_inv7_damaged_data_release_nothing(bench: Bench, slices: Sequence[bytes]) -> None:
    mail = bytearray(bench.sealed([dicom_item(slices[0])]))
    at = mail.index(b"BEGIN PGP MESSAGE") + 2000
    mail[at] = ord("A") if mail[at] != ord("A") else ord("B")
    result = bench.one(bytes(mail))
    assert (result.status, result.reason) == (Status.ERROR, TAMPERED)
    assert bench.written() == []


def test_inv5_one_bad_mail_stops_no_other(bench: Bench, slices: Sequence[bytes]) -> None:
    good = bench.sealed([dicom_item(slices[0])])
    foreign = seal(letter([dicom_item(slices[1])]), bench.world.theirs, bench.world.other, None)
    found = bench.open(b"\0" * 100, foreign, good, b"", b"Content-Type: multipart/mixed\r\n\r\nx")
    assert [result.status for result in found.results] == [
        Status.IGNORED,
        Status.ERROR,
        Status.OK,
        Status.IGNORED,
        Status.ERROR,
    ]
    assert found.results[1].reason is NO_SECRET_KEY
    assert [item.sha256 for item in found.objects] == [sha(slices[0])]
    assert not found.settled


def test_inv5_a_fault_inside_ends_one_mail_only(
    bench: Bench, slices: Sequence[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = survey, []

    def failing(buffer: bytes, *, smime: bool) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise RecursionError("deep")
        return real(buffer, smime=smime)

    monkeypatch.setattr(opening, "survey", failing)
    mail = bench.sealed([dicom_item(slices[0])])
    found = bench.open(mail, mail)
    assert [result.reason for result in found.results] == [INTERNAL, None]
    assert found.results[0].detail == "RecursionError"


def test_inv6_mails_of_a_set_are_one_result_and_an_incomplete_set_withholds_nothing(
    bench: Bench, slices: Sequence[bytes]
) -> None:
    mails = [
        bench.sealed(
            [dicom_item(data)], set_id="2.25.99", part=part, total=4, message_id=f"<{part}@partner.example>"
        )
        for part, data in ((3, slices[0]), (1, slices[1]), (4, slices[2]))
    ]
    found = bench.open(*mails, mails[1])
    (result,) = found.results
    assert result.set is not None
    assert (result.set.id, result.set.part, result.set.total) == ("2.25.99", None, 4)
    assert (result.status, result.missing, found.settled) == (Status.OK, (2,), True)
    assert {item.sha256 for item in result.objects} == {sha(data) for data in slices}
    assert len(result.files) == 4
    assert result.warnings == ("incomplete-set",)


def test_a_set_whose_mails_contradict_each_other_says_so(bench: Bench, slices: Sequence[bytes]) -> None:
    mails = [
        bench.sealed(
            [dicom_item(data)], set_id="2.25.99", part=1, total=total, message_id=f"<{total}@p.example>"
        )
        for data, total in zip(slices, (2, 3), strict=False)
    ]
    (result,) = bench.open(*mails).results
    assert (result.status, result.missing, result.warnings) == (Status.OK, (), ("set-conflict",))
    assert len(result.objects) == 2


def test_a_mail_that_cannot_be_opened_counts_as_missing_in_its_set(
    bench: Bench, slices: Sequence[bytes]
) -> None:
    good, bad = (
        bench.sealed(
            [dicom_item(data)], set_id="2.25.99", part=part, total=2, message_id=f"<{part}@p.example>"
        )
        for part, data in enumerate(slices[:2], 1)
    )
    at = bad.index(b"BEGIN PGP MESSAGE") + 2000
    results = bench.open(
        good, bad[:at] + (b"A" if bad[at : at + 1] != b"A" else b"B") + bad[at + 1 :]
    ).results
    assert [(result.status, result.missing) for result in results] == [(Status.OK, (2,)), (Status.ERROR, ())]


def test_of_several_sealed_files_those_that_open_are_given_and_the_mail_is_no_success(
    bench: Bench, slices: Sequence[bytes]
) -> None:
    sealed = [
        armored([data], bench.world.theirs, [key], None)
        for data, key in ((slices[0], bench.world.clinic), (slices[1], bench.world.other))
    ]
    mail = (
        b'From: a@partner.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    )
    for number, data in enumerate(sealed):
        mail += b'--b\r\nContent-Type: application/octet-stream; name="%d.dcm.pgp"\r\n\r\n' % number
        mail += data + b"\r\n"
    result = bench.one(mail + b"--b--\r\n")
    assert (result.status, result.reason) == (Status.ERROR, NO_SECRET_KEY)
    assert re.fullmatch(r"encrypted to [0-9A-F]{16}", result.detail)
    assert [item.sha256 for item in result.objects] == [sha(slices[0])]
    assert "unopened:no-secret-key" in result.warnings


@pytest.mark.parametrize(("policy", "reason"), [("ignore", None), ("accept", BINDING_MISMATCH)])
def test_a_sealed_part_under_another_header_is_named(
    bench: Bench, slices: Sequence[bytes], policy: str, reason: Reason | None
) -> None:
    mail = bench.sealed([dicom_item(slices[0])])
    head, blank, rest = mail.partition(b"\r\n\r\n")
    replayed = head.replace(b"radiology@partner.example", b"thief@other.example") + blank + rest
    result = bench.one(replayed, policy)
    assert result.reason is reason
    if reason is None:
        assert "binding-mismatch:From" in result.warnings


def test_names_of_others_are_safe_on_disk(bench: Bench) -> None:
    names = [HOSTILE, "con.txt", "a" * 300 + ".pdf", "..", "C:\\temp\\x.doc", "x.doc", "LPT1", ".profile"]
    entity = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    for number, name in enumerate(names):
        entity += b"--b\r\nContent-Type: application/octet-stream\r\n"
        entity += b"Content-Disposition: attachment; filename*=utf-8''"
        entity += "".join(f"%{byte:02X}" for byte in name.encode()).encode()
        entity += b"\r\n\r\ncontent %d\r\n" % number
    sealed = seal_entity(entity + b"--b--\r\n", bench.world.theirs, bench.world.clinic, None)
    result = bench.one(sealed)
    assert len(result.objects) == len(names)
    assert [Path(item.path or "").parent for item in result.objects] == [bench.out] * len(names)
    written = bench.written()
    assert len(written) == len(names)
    for name in written:
        assert name.isprintable()
        assert not name.startswith(".")
        assert name.partition(".")[0].upper() not in {"CON", "LPT1"}
        assert len(name.encode()) <= 255
    text = json.dumps(result.to_json("en"))
    assert "\\u001b" not in text
    assert [item.name for item in result.objects][:2] == ["[31mpasswd", "con.txt"]


def test_files_that_are_there_are_never_replaced(bench: Bench, slices: Sequence[bytes]) -> None:
    mail = bench.sealed([document(b"%PDF-1 new", "report.pdf")])
    bench.out.mkdir()
    (bench.out / "report.pdf").write_bytes(b"mine")
    (outside := bench.folder / "outside").write_bytes(b"theirs")
    (item,) = bench.one(mail).objects
    assert Path(item.path or "").read_bytes() == b"%PDF-1 new"
    assert (bench.out / "report.pdf").read_bytes() == b"mine"
    (bench.out / "report.pdf").unlink()
    (bench.out / "report.pdf").symlink_to(outside)
    bench.one(mail)
    assert outside.read_bytes() == b"theirs"


def test_inv2_the_same_object_is_written_once_also_by_the_next_run(
    bench: Bench, slices: Sequence[bytes]
) -> None:
    mails = [
        bench.sealed([dicom_item(slices[0])], message_id=f"<{number}@p.example>", set_id=f"2.25.{number}")
        for number in (1, 2)
    ]
    for _ in range(2):
        found = bench.open(*mails)
        assert [len(result.objects) for result in found.results] == [1, 1]
        assert len(found.objects) == len(bench.written()) == 1


def test_the_same_mail_twice_is_said(bench: Bench, slices: Sequence[bytes]) -> None:
    mail = bench.sealed([dicom_item(slices[0])], set_id="", part=1)
    first, second = bench.open(mail, mail).results or ()
    assert first.warnings == ()
    assert second.warnings == ("same-mail-again",)


def test_without_a_folder_nothing_is_written_but_all_is_known(bench: Bench, slices: Sequence[bytes]) -> None:
    path = bench.folder / "a.eml"
    path.write_bytes(bench.sealed([dicom_item(slices[0])]))
    found = open_mails([path], secrets=[bench.secret])
    assert [(item.sha256, item.path) for item in found.objects] == [(sha(slices[0]), None)]
    assert [item.name for item in bench.folder.iterdir()] == ["a.eml"]


def test_standard_input_is_opened_too(bench: Bench, slices: Sequence[bytes]) -> None:
    mail = bench.sealed([dicom_item(slices[0])])
    found = open_mails(["-"], secrets=[bench.secret], stdin=io.BytesIO(mail))
    assert [result.files for result in found.results] == [("-",)]
    assert found.settled


def test_a_missing_file_is_a_result_and_a_missing_key_is_not(bench: Bench) -> None:
    (result,) = open_mails([bench.folder / "none.eml"]).results
    assert (result.status, result.reason) == (Status.ERROR, MAIL_UNREADABLE)
    with pytest.raises(RadpostError) as caught:
        open_mails([], secrets=[bench.folder / "none.asc"])
    assert caught.value.reason is KEY_UNREADABLE


def test_a_letter_without_data_is_left_alone(bench: Bench) -> None:
    sealed = seal_entity(
        b"Content-Type: text/plain\r\n\r\nDear colleague\r\n", bench.world.theirs, bench.world.clinic, None
    )
    assert bench.one(sealed).status is Status.IGNORED


def test_json_has_a_verdict_in_every_result(tmp_path: Path) -> None:
    """Programs need not ask whether there is one: of what was not opened nothing is proven."""
    path = tmp_path / "garbage.eml"
    path.write_bytes(b"Content-Type: multipart/encrypted\r\n\r\n\xff\x00")
    (result,) = open_mails([path]).to_json()["results"]
    assert (result["status"], result["signature"]) == ("error", {"verdict": "none", "fingerprint": None})


@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda verdict: verdict.value)
def test_every_verdict_has_a_sentence_in_both_languages(verdict: Verdict) -> None:
    english, german = VERDICT[verdict.value]
    assert english != german


@pytest.mark.parametrize("code", REMARK)
def test_every_remark_has_a_sentence_in_both_languages(code: str) -> None:
    warning = f"{code}:tampered" if "{}" in REMARK[code][0] else code
    sentences = {remark(warning, "en"), remark(warning, "de")}
    assert len(sentences) == 2
    assert not any("{}" in text or text == warning for text in sentences)
