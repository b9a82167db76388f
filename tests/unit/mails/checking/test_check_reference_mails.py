"""The reference mails: those without a fault break nothing, the others exactly the rule of their fault."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radpost.mails.checking.api import checked
from radpost.mails.checking.model import Verdict
from radpost.mails.checking.results import Checked
from radpost.mails.checking.scene import Key
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import offline_keys
from radpost.mails.sources import find_mails

pytestmark = [pytest.mark.shared, pytest.mark.peer("gnupg")]

BROKEN = {
    # one of its five objects names another SOP instance in group 2
    "a03-five-objects": {"ps3.5-9.1-uid"},
    "a07-bad-signature-inside": {"rfc4880-5.2-signature"},
    "a10-signed-only": {"agit-4-encrypted"},
    "a11-clear-supp54": {"agit-4-encrypted"},
    "a16-nondicom-no-studyid": {"agit-5.2-study"},
    "a28-partial-by-mpack": {"agit-5.1-pgp-mime", "agit-5.1-supplement54"},
    "a34-octet-stream-dcm": {"ps3.12-k.1.2-type"},
    "a36-ugly-base64": {"rfc2045-6.8-line"},
    # its DICOMDIR is that of a larger file set
    "a37-supp54-fileset": {"rfc3240-2-files"},
    "a38-broken-object-among-good": {"ps3.10-7.1-prefix", "ps3.10-7.2-whole"},
    "a39-object-without-preamble": {"ps3.10-7.1-prefix"},
    "a45-no-mime-version": {"rfc2045-4-version"},
    "a60-inline-asc": {"agit-5.1-pgp-mime", "agit-5.1-supplement54", "rfc5322-2.3-line-ends"},
    "a61-inline-pgp-binary": {"agit-5.1-pgp-mime", "agit-5.1-supplement54"},
    "a62-inline-gpg-two": {"agit-5.1-pgp-mime", "agit-5.1-supplement54"},
    "a63-mime-in-attachment": {"agit-5.1-pgp-mime", "rfc5322-2.3-line-ends"},
    "a64-armor-as-body": {"agit-5.1-pgp-mime"},
    "a65-pgp-mime-base64-cte": {"rfc3156-2-armor"},
    "a70-tampered": {"rfc4880-5.14-opens"},
    "a71-truncated-armor": {
        "rfc2046-5.1.1-close",
        "rfc4880-4-packets",
        "rfc4880-5.14-opens",
        "rfc4880-6.2-tail",
    },
    "a72-missing-final-boundary": {"rfc2046-5.1.1-close"},
    "a74-password-encrypted": {"rfc4880-5.1-recipient"},
    "a75-no-mdc": {"rfc4880-5.13-integrity"},
    "a76-path-traversal-name": {"agit-5.2-study", "rfc2183-2.3-name"},
    "a77-compression-bomb": {"rfc4880-5.14-opens"},
    "a78-deep-nesting": {"rfc2046-5.1-limits"},
    "a80-empty-and-zero": {"ps3.10-7.2-whole"},
    "a81-malformed-no-boundary": {"rfc2046-5.1.1-boundary"},
    "a83-key-attached": {"rfc5322-2.3-line-ends"},
    "a85-garbage": {
        "rfc2045-2.7-7bit",
        "rfc5322-2.2-ascii",
        "rfc5322-2.2-header",
        "rfc5322-2.3-line-ends",
        "rfc5322-3.5-nul",
        "rfc5322-3.6.1-date",
        "rfc5322-3.6.2-from",
    },
    "m09-no-original-id": {"rfc8098-3.2.5-id"},
    "x57-pgp-instead-of-smime": {"agit-5.2-study"},
}
"""What the vectors were made to break; all others of ours break nothing."""
BENT = {
    "a08-expired-signer": {"rfc4880-5.2-signature"},
    "a31-binary-dicom": {"rfc2045-6.4-parent"},
    "a44-rfc2047-filename": {"rfc2047-5-parameter"},
    "a46-lf-only": {"rfc3156-5-canonical", "rfc5322-2.3-line-ends"},
    "a47-inner-lf-outer-crlf": {"rfc3156-5-canonical"},
    "a50-compress-none": {"agit-4-compressed"},
    "a51-cipher-3des": {"rfc9580-9.3-cipher"},
    "a56-hidden-recipient": {"rfc4880-5.1-named"},
    "a57-digest-sha1": {"rfc9580-9.5-digest"},
    "a66-armor-no-crc-with-comment": {"rfc4880-6.1-present"},
    "a79-html-efail-frame": {"agit-5.1-beside"},
    "m05-failed": {"rfc8098-3.2.6.2-type"},
}
CLAIMS = {
    "a01-signed-encrypted": {"agit-1.1"},
    "a11-clear-supp54": {"clear"},
    "a20-partial-2": {"fragment", "agit-1.1"},
    "a61-inline-pgp-binary": {"openpgp"},
    "a81-malformed-no-boundary": {"agit-1.1"},
    "a83-key-attached": {"keys"},
    "a84-plain-spam": {"letter"},
    "a85-garbage": {"unreadable"},
    "m01-processed": {"receipt"},
    "d90-third-party-lhost-postfix-28": {"bounce"},
    "x01-signed-encrypted-cbc": {"smime"},
    "x58-clear": {"zip"},
}


def names() -> Iterator[str]:
    root = Path(__file__).parents[5] / "shared" / "mails"
    for group in ("agit", "mdn", "dsn", "xdm"):
        yield from (f"{group}/{path.stem}" for path in sorted((root / group).glob("*.json")))


@pytest.fixture(scope="module")
def key(shared: Path) -> Iterator[Key]:
    """The receiver of the reference mails."""
    folder = shared / "mails" / "keys" / "openpgp"
    files = as_files([folder / "receiver-secret.asc"], [folder / "senders-trusted-public.asc"])
    with offline_keys(files) as keys:
        yield Key(keys.engine, keys.temp)


Check = Callable[[str], tuple[Checked, ...]]


@pytest.fixture
def check(shared: Path, key: Key, tmp_path: Path) -> Check:
    """Check a vector by its name."""

    def checked_(name: str) -> tuple[Checked, ...]:
        folder = (shared / "mails" / name).parent
        files = json.loads((shared / "mails" / f"{name}.json").read_text("utf-8"))["files"]
        return checked(find_mails([folder / file for file in files], temp=tmp_path), key, tmp_path)

    return checked_


@pytest.mark.parametrize("name", list(names()))
def test_a_reference_mail_breaks_the_rule_of_its_fault_only(check: Check, name: str) -> None:
    found = check(name)
    short = name.partition("/")[2]
    broken = {rule for mail in found for rule in mail.rules(Verdict.BROKEN)}
    bent = {rule for mail in found for rule in mail.rules(Verdict.BENT)}
    if "third-party" not in name:
        assert broken == BROKEN.get(short, set())
    assert bent >= BENT.get(short, set())
    claims = {mail.claim.kind.value for mail in found}
    assert claims == CLAIMS.get(short, claims)


def test_the_tables_name_mails_that_exist(shared: Path) -> None:
    existing = {name.partition("/")[2] for name in names()}
    assert set(BROKEN) | set(BENT) | set(CLAIMS) <= existing


@pytest.mark.parametrize(
    ("name", "rule", "at"),
    [
        ("agit/a36-ugly-base64", "rfc2045-6.8-line", 457),
        ("agit/a45-no-mime-version", "rfc2045-4-version", 189),
        ("agit/a72-missing-final-boundary", "rfc2046-5.1.1-close", 43312),
        ("agit/a81-malformed-no-boundary", "rfc2046-5.1.1-boundary", 208),
    ],
)
def test_a_fault_is_named_by_its_place(check: Check, name: str, rule: str, at: int) -> None:
    (mail,) = check(name)
    found = [one for one in mail.of(Verdict.BROKEN) if one.rule.id == rule]
    assert [one.at for one in found] == [at]


def test_the_mail_that_fragments_make_up_is_checked_too(check: Check) -> None:
    fragments = check("agit/a20-partial-2")
    assert [len(mail.files) for mail in fragments] == [1, 1, 2]
    assert [mail.claim.kind.value for mail in fragments] == ["fragment", "fragment", "agit-1.1"]
    assert fragments[-1].sealed[0].opened


def test_missing_fragments_are_named_and_no_fault(check: Check) -> None:
    found = check("agit/a23-partial-missing")
    assert all(mail.good for mail in found)
    assert {mail.remark[0].rpartition(": ")[2] for mail in found if mail.remark} == {"5"}


def test_a_mail_for_others_is_no_fault_of_its_sender(check: Check) -> None:
    (mail,) = check("agit/a73-not-for-us")
    assert mail.good
    assert [(seal.foreign, seal.opened) for seal in mail.sealed] == [(True, False)]


def test_a_finding_inside_names_the_part_that_was_sealed(shared: Path, check: Check) -> None:
    (mail,) = check("agit/a62-inline-gpg-two")
    bare = [one.within for one in mail.of(Verdict.BROKEN) if one.rule.id == "agit-5.1-supplement54"]
    assert bare == ["2", "3"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("agit/a01-signed-encrypted", "good"),
        ("agit/a02-unsigned", "none"),
        ("agit/a05-unknown-signer", "unknown-key"),
        ("agit/a06-multipart-signed-inside", "good"),
        ("agit/a07-bad-signature-inside", "bad"),
        ("agit/a57-digest-sha1", "weak-digest"),
    ],
)
def test_the_signature_is_told(check: Check, name: str, verdict: str) -> None:
    (mail,) = check(name)
    assert [seal.signature for seal in mail.sealed] == [verdict]
