"""The reference mails: the OpenPGP payload of each gives what its description says."""

import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from radpost.errors import RadpostError
from radpost.openpgp import CompositeEngine, Engine, GnuPGEngine, Keyring, Limits, read_certs
from radpost.testing.vectors import ERROR_CLASSES

pytestmark = [pytest.mark.peer("gnupg"), pytest.mark.shared]

NAMES = (
    *("a01", "a02", "a03", "a05", "a08", "a09"),
    *("a50-compress-bzip2", "a50-compress-none", "a50-compress-zip", "a50-compress-zlib"),
    *("a51-cipher-3des", "a51-cipher-aes", "a51-cipher-aes256", "a51-cipher-cast5"),
    *("a52-to-recv-ecc", "a52-to-recv-rsa2048", "a52-to-recv-rsa4096", "a52-to-recv-sub"),
    *("a53", "a54", "a55", "a56", "a57", "a58", "a59", "a60", "a63", "a64", "a66"),
    *("a70", "a71", "a72", "a73", "a74", "a75", "a76", "a77", "a79"),
)
_ARMOR = re.compile(rb"-----BEGIN PGP MESSAGE-----.*?(?:-----END PGP MESSAGE-----|\Z)", re.DOTALL)


@pytest.fixture(scope="module")
def keyring(shared: Path, short_home: Path) -> Iterator[Keyring]:
    keys = shared / "mails/keys/openpgp"
    own = [(keys / "receiver-secret.asc").read_bytes()]
    others = [(keys / "senders-trusted-public.asc").read_bytes()]
    with Keyring(short_home / "mails", own, others) as ring:
        yield ring


def load(shared: Path, name: str) -> tuple[dict[str, Any], bytes]:
    folder = shared / "mails/agit"
    path = next(iter([*folder.glob(f"{name}.json"), *folder.glob(f"{name}-*.json")]))
    facts = json.loads(path.read_text("utf-8"))
    mail = (path.parent / facts["files"][0]).read_bytes()
    found = _ARMOR.search(mail)
    assert found
    return facts, found[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine_type", [CompositeEngine, GnuPGEngine])
def test_reference_mail(
    shared: Path,
    keyring: Keyring,
    tmp_path: Path,
    name: str,
    engine_type: type[CompositeEngine | GnuPGEngine],
) -> None:
    facts, message = load(shared, name)
    expect = facts["expect"]
    engine: Engine = engine_type(keyring)
    legacy = name in ("a51-cipher-3des", "a51-cipher-cast5")
    if expect["result"] == "error":
        with pytest.raises(RadpostError) as caught:
            engine.open(io.BytesIO(message), temp=tmp_path, limits=Limits(), legacy=legacy)
        assert caught.value.reason in ERROR_CLASSES[expect["error_class"]]
        assert list(tmp_path.iterdir()) == []
        return
    opened = engine.open(io.BytesIO(message), temp=tmp_path, limits=Limits(), legacy=legacy)
    signature = opened.signature
    assert signature.verdict.value == expect["signature"]
    assert opened.encrypted
    assert opened.integrity == "mdc"
    if "signer_fingerprint" in expect:
        assert expect["signer_fingerprint"] in (signature.fingerprint, signature.signing_fingerprint)
    with opened.plaintext as plaintext:
        assert plaintext.size >= sum(payload["size"] for payload in expect["payloads"])
    assert ("expired-recipient-key" in opened.warnings) == (name in ("a53", "a54"))
    assert ("sha1-digest" in opened.warnings) == (name == "a57")
    if engine_type is CompositeEngine:
        assert opened.engine == ("gnupg" if legacy else "native")
        assert opened.recipient is not None


@pytest.mark.parametrize("name", ["a06", "a07"])
def test_signature_inside_the_encryption(shared: Path, keyring: Keyring, tmp_path: Path, name: str) -> None:
    """RFC 3156 6.1: multipart/signed inside multipart/encrypted, verified as a detached signature."""
    facts, message = load(shared, name)
    engine = CompositeEngine(keyring)
    opened = engine.open(io.BytesIO(message), temp=tmp_path, limits=Limits())
    inner = bytes(opened.plaintext.view()[:])
    found = re.search(rb'boundary="?([^";\r\n]+)', inner)
    assert found
    parts = inner.split(b"--" + found[1])
    signature = parts[2][parts[2].index(b"-----BEGIN") :]
    signed = parts[1].removeprefix(b"\r\n").removesuffix(b"\r\n")
    for one in (engine, GnuPGEngine(keyring)):
        verdict = one.verify_detached([signed[:100], signed[100:]], signature)
        assert verdict.verdict.value == facts["expect"]["signature"]


def test_certificates_of_the_reference_keys(shared: Path) -> None:
    keys = shared / "mails/keys/openpgp"
    now = datetime.now(UTC)
    certs = {
        cert.fingerprint: cert
        for name in ("receiver-secret.asc", "senders-trusted-public.asc")
        for cert in read_certs((keys / name).read_bytes(), now=now)
    }
    table = [line.split("\t") for line in (keys / "fingerprints.tsv").read_text().splitlines()[1:]]
    rows = {nick: certs[fingerprint] for nick, fingerprint, role in table if fingerprint in certs}
    assert len(rows) == 9
    assert all(cert.has_secret == nick.startswith("recv") for nick, cert in rows.items())
    assert all("TEST ONLY" in cert.user_ids[0] for cert in rows.values())
    assert {nick for nick, cert in rows.items() if "expired" in cert.problems} == {
        "recv-expired",
        "sender-expired",
    }
    assert [nick for nick, cert in rows.items() if cert.revoked] == ["sender-revoked"]
    unusable = {"recv-expired", "sender-expired", "sender-revoked"}
    assert {nick for nick, cert in rows.items() if not cert.can_encrypt} == unusable
    assert {nick for nick, cert in rows.items() if not cert.can_sign} == unusable
    # of two encryption subkeys the old one has expired; signing is the subkey's business
    assert rows["recv-sub"].encryption_subkeys == ("95E904F73B550221B6512EC809040DC3F0EDFB04",)
    assert rows["recv-sub"].signing_keys == ("4F76F2C5F45B19E40046E33C9F557CDCC8786267",)
    assert rows["recv-rsa4096"].bits == 4096
    assert rows["recv-ecc"].algorithm == "EdDSA ed25519"
    early = read_certs(
        (keys / "senders-trusted-public.asc").read_bytes(), now=datetime(2020, 1, 1, tzinfo=UTC)
    )
    assert [cert.fingerprint for cert in early if cert.can_encrypt] == [rows["sender-expired"].fingerprint]
