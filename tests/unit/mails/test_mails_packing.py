"""`radpost pack`: files become the mails of one transmission, and every reader gets the files back."""

import email
import email.policy
import hashlib
import os
import resource
import stat
import tracemalloc
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.fileset import FileSet

import radpost
from radpost.agit.opening import open_mail
from radpost.agit.survey import survey
from radpost.errors import (
    BAD_COMMAND,
    CONFIG_INVALID,
    DISK_FULL,
    FILE_CHANGED,
    FOLDER_UNUSABLE,
    NO_USABLE_KEY,
    NOTHING_TO_SEND,
    OWN_KEY_UNUSABLE,
    PASSPHRASE_WRONG,
    RadpostError,
    Reason,
)
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import OfflineKeys, offline_keys
from radpost.mails.packing import Packed, pack, writing_of
from radpost.openpgp.values import Limits
from radpost.testing.calling import call
from radpost.testing.parcels import PASSPHRASE, RECIPIENT, SENDER, Parties, mails, packed
from radpost.testing.study import make_study
from radpost.words import Verdict

pytestmark = pytest.mark.peer("gnupg")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slices and two documents, one of them empty."""
    folder = tmp_path_factory.mktemp("study")
    make_study(folder, 3)
    (folder / "Befund Müller.pdf").write_bytes(b"%PDF-1.4 " + os.urandom(4000))
    (folder / "notes.txt").write_bytes(b"")
    return folder


@pytest.fixture
def reader(parties: Parties) -> Iterator[OfflineKeys]:
    """The recipient."""
    with offline_keys(as_files([parties.theirs], [parties.ours])) as keys:
        yield keys


def opened(reader: OfflineKeys, result: Packed) -> list[tuple[str, str, str, bytes]]:
    """Return name, type, study and content of all objects; all mails are signed and sealed."""
    found = []
    for raw in mails(result):
        with open_mail(survey(raw), raw, reader.engine, temp=reader.temp, limits=Limits()) as content:
            assert content.encrypted
            assert content.signature.verdict is Verdict.GOOD
            found += [
                (part.filename, part.media_type, part.study_uid, b"".join(map(bytes, part.chunks())))
                for part in content.parts
            ]
    return found


def outside(folder: Path, name: str) -> EmailMessage:
    message = email.message_from_bytes((folder / name).read_bytes(), policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize("dialect", ["agit-1.1", "agit-1.5"])
def test_inv3_a_folder_travels_byte_for_byte(
    parties: Parties, study: Path, reader: OfflineKeys, tmp_path: Path, dialect: Any
) -> None:
    result = packed(parties, [study], tmp_path / "out", dialect=dialect)
    found = opened(reader, result)
    assert [name for name, _, _, _ in found] == [
        "IM000001.dcm",
        "IM000002.dcm",
        "IM000003.dcm",
        "Befund Müller.pdf",
        "notes.txt",
    ]
    assert [kind for _, kind, _, _ in found] == ["application/dicom"] * 3 + ["application/pdf", "text/plain"]
    files = [study / f"IM00000{number}.dcm" for number in (1, 2, 3)]
    files += [study / "Befund Müller.pdf", study / "notes.txt"]
    assert [data for _, _, _, data in found] == [path.read_bytes() for path in files]
    described = [one for mail in result.mails for one in mail.objects]
    assert [one.sha256 for one in described] == [hashlib.sha256(data).hexdigest() for _, _, _, data in found]
    assert [one.path for one in described] == [str(path) for path in files]


def test_one_transmission_is_one_set(parties: Parties, study: Path, tmp_path: Path) -> None:
    result = packed(parties, [study], tmp_path / "out")
    assert [(mail.part, mail.total) for mail in result.mails] == [(number, 5) for number in range(1, 6)]
    for mail in result.mails:
        header = outside(tmp_path / "out", mail.files[0])
        assert header["X-TELEMEDICINE-SETID"] == result.set_id
        assert (header["X-TELEMEDICINE-SETPART"], header["X-TELEMEDICINE-SETTOTAL"]) == (str(mail.part), "5")
        assert header["Message-ID"] == mail.message_id
        assert mail.message_id.endswith("@partner.example>")
        assert header["Disposition-Notification-To"] == SENDER
    assert len({mail.message_id for mail in result.mails}) == 5


def test_the_first_recommendation_has_neither_sets_nor_receipts(
    parties: Parties, study: Path, tmp_path: Path
) -> None:
    """@GIT 1.1r: only X-TELEMEDICINE-STUDYID; receipts were planned for the next version."""
    result = packed(
        parties, [study], tmp_path / "out", dialect="agit-1.1", switches={"max_mail_size": 90_000}
    )
    assert result.set_id == ""
    for mail in result.mails:
        for name in mail.files:
            text = (tmp_path / "out" / name).read_bytes().lower()
            assert b"x-telemedicine" not in text
            assert b"disposition-notification" not in text


def test_a_mail_that_is_too_large_is_cut(
    parties: Parties, study: Path, reader: OfflineKeys, tmp_path: Path
) -> None:
    result = packed(parties, [study / "IM000002.dcm"], tmp_path / "out", switches={"max_mail_size": 50_000})
    (mail,) = result.mails
    assert len(mail.files) > 5
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(mail.files), "and nothing else lies there"
    for number, name in enumerate(mail.files, 1):
        raw = (tmp_path / "out" / name).read_bytes()
        assert len(raw) <= 50_000
        fragment = outside(tmp_path / "out", name)
        assert fragment.get_content_type() == "message/partial"
        assert fragment.get_param("number") == str(number)
        assert fragment["X-TELEMEDICINE-SETID"] == result.set_id, "joined by the book the inner one is lost"
        assert fragment["Message-ID"] != mail.message_id
    ((_, _, _, data),) = opened(reader, result)
    assert data == (study / "IM000002.dcm").read_bytes()


def test_several_objects_in_a_mail(
    parties: Parties, study: Path, reader: OfflineKeys, tmp_path: Path
) -> None:
    switches = {"objects_per_mail": 2, "inner_encoding": "binary"}
    result = packed(parties, [study], tmp_path / "out", switches=switches)
    assert [len(mail.objects) for mail in result.mails] == [2, 2, 1]
    assert [name for name, _, _, _ in opened(reader, result)][:3] == [
        "IM000001.dcm",
        "IM000002.dcm",
        "IM000003.dcm",
    ]


def test_a_dicomdir_stands_for_the_files_it_names(
    parties: Parties, study: Path, reader: OfflineKeys, tmp_path: Path
) -> None:
    medium = FileSet()
    for path in sorted(study.glob("*.dcm")):
        medium.add(pydicom.dcmread(path))
    medium.write(tmp_path / "disc")
    (tmp_path / "disc" / "viewer.exe").write_bytes(b"MZ")
    result = packed(parties, [tmp_path / "disc" / "DICOMDIR"], tmp_path / "out")
    uids = {one.sop_instance_uid for mail in result.mails for one in mail.objects}
    assert len(uids) == 3
    assert [left.why for left in result.gathered.left] == ["dicomdir"]
    assert len(opened(reader, result)) == 3


def test_documents_belong_to_the_study_beside_them(parties: Parties, study: Path, tmp_path: Path) -> None:
    uid = str(pydicom.dcmread(study / "IM000001.dcm", stop_before_pixels=True).StudyInstanceUID)
    result = packed(parties, [study], tmp_path / "out")
    assert result.gathered.studies == (uid,)


def test_documents_alone_get_the_study_that_is_named_or_a_new_one(
    parties: Parties, study: Path, reader: OfflineKeys, tmp_path: Path
) -> None:
    document = study / "Befund Müller.pdf"
    named = packed(parties, [document], tmp_path / "named", study_uid="1.2.3.4")
    assert opened(reader, named)[0][2] == "1.2.3.4"
    first = packed(parties, [document, study / "notes.txt"], tmp_path / "first")
    second = packed(parties, [document], tmp_path / "second")
    (new,) = first.gathered.studies
    assert new.startswith("2.25.")
    assert {uid for _, _, uid, _ in opened(reader, first)} == {new}
    assert second.gathered.studies != (new,)
    with pytest.raises(RadpostError) as caught:
        packed(parties, [document], tmp_path / "wrong", study_uid="1.2.x")
    assert caught.value.reason is CONFIG_INVALID


def test_inv10_files_are_private_and_say_nothing(parties: Parties, tmp_path: Path) -> None:
    folder = tmp_path / "Meier_Anna"
    make_study(folder, 2)
    (folder / "Meier Anna Befund.pdf").write_bytes(b"%PDF-1.4 Meier Anna")
    result = packed(parties, [folder], tmp_path / "out", switches={"max_mail_size": 100_000})
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    for path in (tmp_path / "out").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.name.startswith("mail-0")
        text = path.read_bytes()
        for secret in (b"Meier", b"Befund", b"IM0000", result.gathered.studies[0].encode(), b"application/d"):
            assert secret not in text


def test_inv8_memory_does_not_grow_with_an_object(parties: Parties, tmp_path: Path) -> None:
    large = tmp_path / "film.mpg"
    with large.open("wb") as file:
        for _ in range(48):
            file.write(os.urandom(1 << 20))
    tracemalloc.start()
    try:
        result = packed(parties, [large], tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(result.mails[0].files) > 6
    assert peak < 24 << 20, "half of the object"


# --- the other commands on what this one writes ---------------------------------------------------------


ALL_WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("agit-1.1", {}),
    ("agit-1.5", {"max_mail_size": 100_000}),
    ("agit-1.5", {"objects_per_mail": 100, "receipt_mechanism": "both", "study_uid_outside": True}),
    ("agit-1.5", {"sign": False, "compression": "never"}),
)


@pytest.mark.parametrize(("dialect", "switches"), ALL_WAYS)
def test_inv3_open_gives_back_what_pack_took(
    parties: Parties, study: Path, tmp_path: Path, dialect: Any, switches: dict[str, Any]
) -> None:
    packed(parties, [study], tmp_path / "mails", dialect=dialect, switches=switches)
    found = radpost.open_mails(
        [tmp_path / "mails"], secrets=[parties.theirs], certs=[parties.ours], out=tmp_path / "out"
    )
    assert [(one.status.value, one.warnings) for one in found.results] == [("ok", ())] * len(found.results)
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").iterdir()} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in study.iterdir()
    }
    assert radpost.pack is pack


@pytest.mark.parametrize(("dialect", "switches"), ALL_WAYS)
def test_our_own_mails_break_and_bend_no_rule(
    parties: Parties, study: Path, tmp_path: Path, dialect: Any, switches: dict[str, Any]
) -> None:
    packed(parties, [study], tmp_path / "mails", dialect=dialect, switches=switches)
    said = call("check", tmp_path / "mails", "--secret", parties.theirs, "--certs", parties.ours, "--json")
    assert said.code == 0
    for one in said.json["mails"]:
        assert one["rules"]["broken"] == []
        # 1.1r 4: compression should be used; a person has switched it off
        assert set(one["rules"]["bent"]) <= ({"agit-4-compressed"} if "compression" in switches else set())
        assert len(one["rules"]["kept"]) > 30
        assert one["sealed"] == [] or one["sealed"][0]["opened"]


def test_one_path_alone_is_one_not_its_letters(parties: Parties, study: Path, tmp_path: Path) -> None:
    mails = tmp_path / "mails"
    written = radpost.pack(
        str(study),
        sender=SENDER,
        recipient=RECIPIENT,
        secrets=parties.secret,
        certs=str(parties.certs),
        out=mails,
    )
    assert len(written.mails) == len(list(study.iterdir()))
    found = radpost.open_mails(str(mails), secrets=str(parties.theirs), certs=parties.ours)
    assert {one.status.value for one in found.results} == {"ok"}
    checked = radpost.check(mails, secrets=parties.theirs, certs=str(parties.ours))
    assert all(one.good for one in checked)


# --- what goes wrong ------------------------------------------------------------------------------------


def refused(reason: Reason, parties: Parties, paths: Sequence[Path], out: Path, **changes: Any) -> str:
    """Return what the refusal says; nothing was written."""
    with pytest.raises(RadpostError) as caught:
        packed(parties, paths, out, **changes)
    assert caught.value.reason is reason
    assert not out.exists() or list(out.iterdir()) == []
    return caught.value.detail


def test_inv7_no_key_no_mail(parties: Parties, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "--certs" in refused(NO_USABLE_KEY, parties, [study], out, certs=[])
    assert "--secret" in refused(OWN_KEY_UNUSABLE, parties, [study], out, secrets=[])
    assert "passphrase" in refused(PASSPHRASE_WRONG, parties, [study], out, secrets=[parties.locked])
    result = packed(parties, [study / "notes.txt"], out, secrets=[], switches={"sign": "false"})
    assert len(result.mails) == 1, "without signatures no secret key is needed"


def test_a_key_under_a_passphrase(parties: Parties, study: Path, reader: OfflineKeys, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text(f"{PASSPHRASE}\n")
    result = packed(
        parties,
        [study / "notes.txt"],
        tmp_path / "out",
        secrets=[parties.locked],
        passphrase_file=tmp_path / "phrase",
    )
    assert opened(reader, result)[0][3] == b""


def test_of_several_keys_the_one_of_the_address_counts(
    parties: Parties, study: Path, reader: OfflineKeys, tmp_path: Path
) -> None:
    both = [parties.certs, parties.ours]
    result = packed(parties, [study / "notes.txt"], tmp_path / "out", certs=both)
    assert len(opened(reader, result)) == 1
    said = refused(
        NO_USABLE_KEY, parties, [study], tmp_path / "none", certs=both, recipient="c@elsewhere.example"
    )
    assert "2 keys" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sender": "nobody"}, "nobody"),
        ({"recipient": "a@b.example\r\nBcc: c@d.example"}, "Bcc"),
        ({"recipient": "ärzte@clinic.example"}, "mail address"),
        ({"switches": {"cypher": "AES256"}}, "no switch 'cypher'"),
        ({"switches": {"cipher": "3DES"}}, "cipher"),
        ({"switches": {"max_mail_size": 10}}, "max_mail_size"),
        ({"dialect": "agit-9"}, "no dialect 'agit-9'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    parties: Parties, study: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in refused(BAD_COMMAND, parties, [study], tmp_path / "out", **changes)


def test_mails_of_two_transmissions_never_mix(parties: Parties, study: Path, tmp_path: Path) -> None:
    packed(parties, [study / "notes.txt"], tmp_path / "out")
    with pytest.raises(RadpostError) as caught:
        packed(parties, [study / "notes.txt"], tmp_path / "out")
    assert "holds mails already" in caught.value.detail
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mail-0001.eml"]


def test_nothing_to_pack(parties: Parties, tmp_path: Path) -> None:
    assert "no such file" in refused(NOTHING_TO_SEND, parties, [tmp_path / "gone"], tmp_path / "out")


@pytest.mark.parametrize("change", [b"", b"shorter", b"longer" * 2000, "same size", "gone"])
def test_inv5_a_file_that_changes_leaves_no_half_transmission(
    parties: Parties, tmp_path: Path, change: bytes | str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1.bin").write_bytes(os.urandom(3000))
    (folder / "2.bin").write_bytes(os.urandom(3000))

    def after_the_first(_mail: object) -> None:
        if change == "gone":
            (folder / "2.bin").unlink(missing_ok=True)
        else:
            (folder / "2.bin").write_bytes(os.urandom(3000) if isinstance(change, str) else change)

    refused(FILE_CHANGED, parties, [folder], tmp_path / "out", written=after_the_first)


def test_a_mail_that_may_not_be_cut_is_refused(parties: Parties, study: Path, tmp_path: Path) -> None:
    switches = {"partial": "false", "max_mail_size": 100_000}
    said = refused(BAD_COMMAND, parties, [study / "IM000002.dcm"], tmp_path / "out", switches=switches)
    assert "partial=false" in said


def test_a_full_disk_is_named(parties: Parties, study: Path, tmp_path: Path) -> None:
    """A limit of the system stands for the disk: both end a write in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        refused(DISK_FULL, parties, [study], tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_cannot_be_made(parties: Parties, study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RadpostError) as caught:
        packed(parties, [study], tmp_path / "file" / "out")
    assert caught.value.reason is FOLDER_UNUSABLE


def test_switches_of_a_dialect() -> None:
    assert writing_of("agit-1.5", {}).receipt
    assert not writing_of("agit-1.1", {}).receipt
    assert writing_of("agit-1.1", {"receipt": "true"}).receipt
    assert writing_of("agit-1.5", {"max_mail_size": "50000"}).max_mail_size == 50_000


# --- the command ----------------------------------------------------------------------------------------


def command(parties: Parties, *arguments: object) -> Any:
    given = ["--from", SENDER, "--to", RECIPIENT, "--secret", parties.secret, "--certs", parties.certs]
    return call("pack", *arguments, *given)


def test_command(parties: Parties, study: Path, tmp_path: Path) -> None:
    said = command(parties, study, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "packed: 5 objects" in said.out
    assert "in 5 mails" in said.out
    assert "set 2.25." in said.out
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_command_as_json(parties: Parties, study: Path, tmp_path: Path) -> None:
    options = ["--dialect", "agit-1.1", "--max-mail-size", "100k", "--objects-per-mail", "10", "--json"]
    said = command(parties, study, tmp_path / "gone", "--out", tmp_path / "out", *options)
    assert said.code == 1, "one path was not there"
    told = said.json
    assert (told["dialect"], told["set_id"]) == ("agit-1.1", "")
    assert told["left"] == [{"path": str(tmp_path / "gone"), "why": "missing"}]
    files = [name for mail in told["mails"] for name in mail["files"]]
    assert sorted(files) == sorted(path.name for path in (tmp_path / "out").iterdir())
    objects = [one for mail in told["mails"] for one in mail["objects"]]
    assert [one["kind"] for one in objects] == ["dicom"] * 3 + ["other"] * 2
    assert {one["sha256"] for one in objects} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in study.iterdir()
    }


def test_command_used_wrongly(parties: Parties, study: Path, tmp_path: Path) -> None:
    for wrong in (
        ["--max-mail-size", "lots"],
        ["--max-mail-size", "10k"],
        ["--study-uid", "1..2"],
        ["--set", "sign"],
        ["--set", "x=1"],
    ):
        said = command(parties, study, "--out", tmp_path / "out", *wrong)
        assert said.code == (1 if wrong[1] == "x=1" else 2), wrong
        assert not (tmp_path / "out").exists()
    said = command(parties, study, "--out", tmp_path / "out", "--lang", "de", "--set", "x=1")
    assert "im jetzigen Zustand nicht möglich" in said.err
