"""What Radpost writes keeps every rule, inside and outside, in every dialect."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import radpost
from radpost.mails.checking.model import Verdict
from radpost.mime.mdn import Disposition, Receipt, build_mdn
from radpost.testing.parcels import Parties, packed
from radpost.testing.specimens import dicom


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_bytes(dicom("2.25.1"))
    (folder / "b").write_bytes(dicom("2.25.2"))
    (folder / "Befund Müller.pdf").write_bytes(b"%PDF-1.4 " + os.urandom(60_000))
    return folder


@pytest.mark.peer("gnupg")
@pytest.mark.parametrize("dialect", ["agit-1.1", "agit-1.5"])
@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"objects_per_mail": 3},
        {"objects_per_mail": 3, "max_mail_size": 20_000},
        {"receipt_mechanism": "2"},
    ],
    ids=str,
)
def test_mails_of_our_own_writer_break_and_bend_nothing(
    parties: Parties, data: Path, tmp_path: Path, dialect: str, switches: dict[str, Any]
) -> None:
    packed(parties, [data], tmp_path / "out", dialect=dialect, switches=switches)
    found = radpost.check([tmp_path / "out"], secrets=[parties.theirs], certs=[parties.ours])
    assert found
    told = {
        (verdict.value, rule, finding.fact("en"))
        for mail in found
        for verdict in (Verdict.BROKEN, Verdict.BENT, Verdict.UNCONFIRMED)
        for finding in mail.of(verdict)
        for rule in [finding.rule.id]
    }
    assert told == set()
    whole = [mail for mail in found if mail.claim.kind.value != "fragment"]
    assert whole
    assert {mail.claim.kind.value for mail in whole} == {dialect}
    assert all(seal.opened and seal.signature == "good" for mail in whole for seal in mail.sealed)


@pytest.mark.parametrize(
    "disposition",
    [Disposition("displayed"), Disposition("displayed", ("warning",)), Disposition("deleted", ("error",))],
    ids=str,
)
def test_receipts_of_ours_break_nothing(tmp_path: Path, disposition: Disposition) -> None:
    receipt = Receipt(
        original_message_id="<0815@partner.example>",
        final_recipient="gateway@clinic.example",
        disposition=disposition,
        reporting_ua="gateway.clinic.example; Radpost",
        reason_en="All objects are stored.",
        reason_de="Alle Objekte sind gespeichert.",
        error="one object could not be stored" if disposition.type == "deleted" else None,
    )
    mail = build_mdn(
        receipt,
        sender="gateway@clinic.example",
        recipient="radiology@partner.example",
        date=datetime(2026, 2, 12, 9, 30, tzinfo=UTC),
        message_id="<4711@clinic.example>",
        boundary="=_receipt",
    )
    path = tmp_path / "receipt.eml"
    path.write_bytes(mail)
    (found,) = radpost.check([path])
    assert found.claim.kind.value == "receipt"
    assert found.good
    # the modifier is of RFC 2298 and what the field expects
    warning = {"rfc8098-3.2.6.2-type"} if "warning" in disposition.modifiers else set()
    assert set(found.rules(Verdict.BENT)) == warning
    assert found.rules(Verdict.UNCONFIRMED) == ()
