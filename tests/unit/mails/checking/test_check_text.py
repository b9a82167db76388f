"""What ``radpost check`` prints: claim, findings by weight, all verdicts in JSON, nothing of a patient."""

import json
from pathlib import Path

import pytest

import radpost
from radpost.mails.checking.model import Verdict
from radpost.mails.checking.results import document
from radpost.mails.checking.table import RULES
from radpost.mails.checking.text import render
from radpost.testing.calling import call
from radpost.testing.specimens import HEAD, armored, base64, clear, crlf, dicom, fragment, plain, sealed

SECRET = "Mustermann"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.eml").write_bytes(sealed())
    (tmp_path / "bad.eml").write_bytes(sealed().replace(b"MIME-Version: 1.0\r\n", b""))
    (tmp_path / "clear.eml").write_bytes(clear())
    return tmp_path


def test_a_good_mail_ends_with_status_0(folder: Path) -> None:
    said = call("check", folder / "good.eml", "--lang", "en")
    assert (said.code, said.err) == (0, "")
    told = " ".join(said.out.split())
    assert "Nothing is broken." in told
    assert "field practice after it (the dialect called agit-1.5 here)" in told
    assert "Encrypted to 0123456789ABCDEF. The inside was not checked" in told


def test_a_broken_rule_is_told_with_clause_place_effect_and_remedy(folder: Path) -> None:
    said = call("check", folder / "bad.eml", "--lang", "en")
    assert said.code == 1
    at = (folder / "bad.eml").read_bytes().index(b"Content-Type")
    told = " ".join(said.out.split())
    assert "BROKEN: A mail that uses MIME says MIME-Version: 1.0 in its header. RFC 2045 4" in told
    assert f"line 10, byte {at} seen: MIME fields, but no MIME-Version" in told
    assert "effect: A receiver that goes by the book reads the whole mail as plain text" in told
    assert "mend it: Add the line 'MIME-Version: 1.0'" in told


def test_german_is_german_throughout(folder: Path) -> None:
    told = " ".join(call("check", folder / "bad.eml", "--lang", "de").out.split())
    assert "GEBROCHEN: Eine Mail, die MIME benutzt" in told
    assert "gefunden: MIME-Felder, aber kein MIME-Version" in told
    assert "Folge:" in told
    assert "Abhilfe: Fügen Sie die Zeile" in told
    assert "broken" not in told


def test_the_heaviest_findings_come_first(folder: Path) -> None:
    (mail,) = radpost.check([folder / "clear.eml"])
    weights = [finding.weight for finding in mail.findings]
    assert weights == sorted(weights, reverse=True)


def test_json_has_every_rule_and_every_verdict(folder: Path) -> None:
    said = call("check", folder / "bad.eml", folder / "good.eml", "--json", "--lang", "en")
    found = json.loads(said.out)
    assert said.code == 1
    assert found["broken"] == 1
    for mail in found["mails"]:
        outside = {rule.id for rule in RULES if rule.scope.value != "inside"}
        assert {finding["rule"] for finding in mail["findings"]} == outside
        verdicts = {finding["verdict"] for finding in mail["findings"]}
        assert verdicts <= {"broken", "bent", "unconfirmed", "kept", "not applicable"}
    (broken,) = (one for one in found["mails"][0]["findings"] if one["verdict"] == "broken")
    assert (broken["standard"], broken["clause"], broken["line"]) == ("RFC 2045", "4", 10)
    assert broken["remedy"].startswith("Add the line")


def test_a_missing_file_and_a_wrong_option_are_told(tmp_path: Path) -> None:
    said = call("check", tmp_path / "none.eml", "--lang", "en")
    assert said.code == 1
    assert "mail-unreadable" in said.err
    assert "none.eml" in said.err
    assert call("check", "--nonsense").code == 2


def test_no_patient_data_no_subject_and_no_file_name_is_told(tmp_path: Path) -> None:
    file = dicom(PatientName=f"{SECRET}^Max", StudyDescription=SECRET)[:-3]
    name = f"{SECRET}.dcm"
    body = f"""{HEAD.replace("DICOM-eMail", SECRET)}X-Odd : {SECRET}
X-TELEMEDICINE-STUDYID: {SECRET}
X-TELEMEDICINE-SETID: {SECRET} 1
Disposition-Notification-To: {SECRET}
Content-Type: multipart/mixed; boundary="=_b"

{SECRET}
--=_b
Content-Type: application/dicom; id="{SECRET.lower()}"; name="../{name}"
Content-Disposition: attachment; filename="C:\\{name}"
Content-Transfer-Encoding: base64

{base64(file)}
--=_b
Content-Type: text/html

<p>{SECRET}</p>
--=_b
Content-Type: text/plain

{armored()}
--=_b--
"""
    path = tmp_path / "mail.eml"
    path.write_bytes(crlf(body))
    (mail,) = radpost.check([path])
    assert len(mail.rules(Verdict.BROKEN)) >= 5
    told = render(mail, "en") + render(mail, "de") + json.dumps(document([mail], "en"))
    assert SECRET.lower() not in told.lower()


def test_control_characters_of_a_mail_steer_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(plain().replace(b"text/plain", b"te\x1b[31mxt/pl\x07ain"))
    out = call("check", path, "--lang", "en").out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\\x1b[31m" in out


def group(tmp_path: Path, *mails: bytes) -> list[set[str]]:
    paths = []
    for number, mail in enumerate(mails):
        paths.append(tmp_path / f"{number}.eml")
        paths[-1].write_bytes(mail)
    verdicts = (Verdict.BROKEN, Verdict.UNCONFIRMED)
    return [{rule for verdict in verdicts for rule in mail.rules(verdict)} for mail in radpost.check(paths)]


SECOND = fragment().replace(b"number=1", b"number=2").replace(b"00112233", b"99112233")


def test_mails_are_checked_against_each_other(tmp_path: Path) -> None:
    assert group(tmp_path, fragment(), fragment())[:2] == [set(), set()]
    assert group(tmp_path, fragment(), SECOND.replace(b"total=2", b"total=3"))[1] == {
        "rfc2046-5.2.2-same-total"
    }
    other = fragment().replace(b"Good mor", b"Bad even")
    assert group(tmp_path, fragment(), other)[1] == {"rfc2046-5.2.2-same-part", "rfc5322-3.6.4-unique"}
    assert group(tmp_path, plain(), plain().replace(b"Good", b"Bad"))[1] == {"rfc5322-3.6.4-unique"}
    resent = sealed().replace(b"00112233", b"99112233")
    assert group(tmp_path, sealed(), resent)[1] == set()
    assert group(tmp_path, sealed(), resent.replace(b"SETTOTAL: 2", b"SETTOTAL: 3"))[1] == {"field-set-total"}


def test_many_places_of_one_rule_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(plain().replace(b"Subject", b"X-Odd: \xff\r\n" * 30 + b"Subject"))
    (mail,) = radpost.check([path])
    (found,) = (one for one in [mail.of(Verdict.BROKEN)] if one)
    assert len(found) == 10
    assert sum(one.more for one in found) == 20
    assert "and 20 more places" in render(mail, "en")
