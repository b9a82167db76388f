"""``radpost open`` as a person calls it: what it says, how it ends, and that nothing in a mail steers it."""

from pathlib import Path

import pytest

from radpost.testing.calling import call

RECEIPT = b"""\
From: gateway@partner.example
To: radiology@clinic.example
Subject: Read: DICOM-eMail
Message-ID: <r1@partner.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary="b"

--b
Content-Type: text/plain

Not read.
--b
Content-Type: message/disposition-notification

Reporting-UA: other.example; Gateway\x1b[2J
Final-Recipient: rfc822;gateway@partner.example
Original-Message-ID: <ours@clinic.example>
Disposition: automatic-action/MDN-sent-automatically; deleted/error
Error: disk \x1b]0;full\x07

--b--
"""
CLEAR = (
    b'From: "\x1b[31mEvil" <a@partner.example>\r\nMIME-Version: 1.0\r\nX-TELEMEDICINE-STUDYID: 2.25.7\r\n'
    b"Content-Type: application/pdf; name*=utf-8''..%2F..%2Fa%1B%5B31m.pdf\r\n\r\n%PDF-1.4\r\n"
)


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    folder = tmp_path / "mails"
    folder.mkdir()
    (folder / "receipt.eml").write_bytes(RECEIPT)
    (folder / "clear.eml").write_bytes(CLEAR)
    return folder


def test_a_person_reads_what_was_found(mails: Path, tmp_path: Path) -> None:
    said = call("open", mails, "--out", tmp_path / "out", "--lang", "en")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"{mails / 'clear.eml'}: opened"
    assert "  remark:     patient data came unencrypted; tell the sender" in lines
    assert any(line.startswith("  object:     ") and line.endswith("study 2.25.7") for line in lines)
    assert f"{mails / 'receipt.eml'}: a receipt" in lines
    assert "  it says:    deleted/error: NOT stored; send it again" in lines
    assert lines[-1] == f"opened: 1; a receipt: 1; objects in {tmp_path / 'out'}: 1"


def test_the_language_is_that_of_the_environment(
    mails: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert "eine Empfangsbestätigung" in call("open", mails, "--out", tmp_path / "out").out
    monkeypatch.setenv("LC_ALL", "C")
    assert "a receipt" in call("open", mails, "--out", tmp_path / "out").out


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_nothing_in_a_mail_steers_the_terminal(mails: Path, tmp_path: Path, option: tuple[str, ...]) -> None:
    said = call("open", mails, "--out", tmp_path / "out", *option)
    assert all(mark == "\n" or mark.isprintable() for mark in said.out)
    assert all(path.name.isprintable() for path in (tmp_path / "out").iterdir())


def test_json_is_one_object_with_results_and_objects(mails: Path, tmp_path: Path) -> None:
    found = call("open", mails, "--out", tmp_path / "out", "--json").json
    assert set(found) == {"results", "objects"}
    clear, receipt = found["results"]
    assert (clear["files"], clear["status"], clear["warnings"]) == (
        [str(mails / "clear.eml")],
        "ok",
        ["unencrypted"],
    )
    assert clear["objects"] == found["objects"]
    assert set(found["objects"][0]) == {
        *("sha256", "size", "kind", "media_type", "name"),
        *("sop_instance_uid", "study_instance_uid", "path"),
    }
    assert receipt["receipt"]["outcome"] == "error"
    assert receipt["receipt"]["original_message_id"] == "<ours@clinic.example>"


def test_a_failure_says_code_cause_and_remedy(mails: Path, tmp_path: Path) -> None:
    said = call("open", mails, mails / "none.eml", "--out", tmp_path / "out", "--lang", "en")
    assert said.code == 1
    assert "none.eml: NOT OPENED" in said.out
    assert "111 The file cannot be read; check its name and permissions." in said.out


@pytest.mark.parametrize("missing", ["--out", "MAIL"])
def test_wrong_usage_ends_with_2(mails: Path, tmp_path: Path, missing: str) -> None:
    arguments = [mails] if missing == "--out" else ["--out", tmp_path / "out"]
    assert call("open", *arguments).code == 2
    assert call("open", mails, "--out", tmp_path / "out", "--policy", "maybe").code == 2


def test_a_key_file_that_is_none_ends_before_any_mail(mails: Path, tmp_path: Path) -> None:
    said = call(
        *("open", mails, "--secret", mails / "clear.eml", "--out", tmp_path / "out"),
        *("--json", "--lang", "de"),
    )
    assert (said.code, said.out) == (1, "")
    assert "212 key-unreadable" in said.err


def test_a_folder_that_cannot_be_written_is_named(mails: Path) -> None:
    said = call("open", mails, "--out", mails / "clear.eml" / "out", "--lang", "en")
    assert said.code == 1
    assert "412 folder-unusable" in said.err
