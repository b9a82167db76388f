"""GnuPG's status lines and key listings read as values (doc/DETAILS)."""

from datetime import UTC, datetime, timedelta

import pytest

from radpost.errors import (
    ENGINE_FAULT,
    LEGACY_ALGORITHM,
    NO_INTEGRITY,
    NO_SECRET_KEY,
    OPENPGP_MALFORMED,
    PASSWORD_ENCRYPTED,
    TAMPERED,
    RadpostError,
    Reason,
)
from radpost.openpgp import gnupg_status, listing
from radpost.words import Verdict

F = "47A5C41C9D9EC40A9ED88DF11EFC04E7BC8FEB60"
S = "E2EEA38583148163123C09121F86FE85A953DC4E"
GOOD = ("ENC_TO AAAABBBBCCCCDDDD 1 0", "BEGIN_DECRYPTION", "DECRYPTION_INFO 2 9", "PLAINTEXT 62 0 ")
END = ("DECRYPTION_OKAY", "GOODMDC", "END_DECRYPTION")


def report(*lines: str) -> gnupg_status.Report:
    return gnupg_status.read("".join(f"[GNUPG:] {line}\n" for line in lines).encode("latin-1"))


def valid(digest: int) -> str:
    return f"VALIDSIG {S} 2024-01-02 1704153600 0 4 0 1 {digest} 00 {F}"


def test_binary_in_the_status_does_not_disturb() -> None:
    found = gnupg_status.read(b"[GNUPG:] NOTATION_DATA \xff\xfe\x80\n[GNUPG:] GOODMDC\ngpg: words\n")
    assert found.has("GOODMDC")


def test_integrity_needs_both_okay_and_mdc() -> None:
    facts = gnupg_status.judge(report(*GOOD, "PLAINTEXT_LENGTH 7", *END), lambda _: False, 7, legacy=False)
    assert (facts.integrity, facts.cipher, facts.encrypted) == ("mdc", "AES256", True)


def test_aead_is_integrity() -> None:
    lines = ["BEGIN_DECRYPTION", "DECRYPTION_INFO 0 9 2", "PLAINTEXT 62 0 ", "DECRYPTION_OKAY"]
    assert gnupg_status.judge(report(*lines), lambda _: False, 7, legacy=False).integrity == "aead"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((*GOOD, "DECRYPTION_OKAY"), TAMPERED),
        ((*GOOD, "GOODMDC"), TAMPERED),
        ((*GOOD, "BADMDC", "DECRYPTION_FAILED"), TAMPERED),
        ((*GOOD, "PLAINTEXT 62 0 ", *END), OPENPGP_MALFORMED),
        ((*GOOD[:3], *END), OPENPGP_MALFORMED),
        (("BEGIN_DECRYPTION", "DECRYPTION_INFO 0 9", "PLAINTEXT 62 0 ", *END), NO_INTEGRITY),
        (("BEGIN_DECRYPTION", "DECRYPTION_INFO 2 3", "PLAINTEXT 62 0 ", *END), LEGACY_ALGORITHM),
        (("ENC_TO 1111222233334444 1 0", "NO_SECKEY 1111222233334444"), NO_SECRET_KEY),
        (("ENC_TO AAAABBBBCCCCDDDD 1 0", "NO_SECKEY AAAABBBBCCCCDDDD"), ENGINE_FAULT),
        (("NEED_PASSPHRASE_SYM 9 3 2", "DECRYPTION_FAILED"), PASSWORD_ENCRYPTED),
        (("NODATA 1",), OPENPGP_MALFORMED),
        ((*GOOD, *END, "NODATA 3"), OPENPGP_MALFORMED),
        ((*GOOD, *END, "ERROR proc_pkt.plaintext 89_BAD_DATA"), OPENPGP_MALFORMED),
        ((*GOOD, "PLAINTEXT_LENGTH 8", *END), OPENPGP_MALFORMED),
        ((*GOOD, *END, *GOOD[:3], "DECRYPTION_FAILED"), OPENPGP_MALFORMED),
        ((*GOOD, *END, "DECRYPTION_FAILED"), TAMPERED),
        ((), OPENPGP_MALFORMED),
    ],
)
def test_nothing_is_released_without_proof(lines: tuple[str, ...], reason: Reason) -> None:
    with pytest.raises(RadpostError) as caught:
        gnupg_status.judge(report(*lines), lambda keyid: keyid == "AAAABBBBCCCCDDDD", 7, legacy=False)
    assert caught.value.reason is reason


def test_a_mail_for_others_names_their_keys() -> None:
    """RFC 4880 5.1: a key ID of zeros hides the recipient."""
    lines = (f"ENC_TO {keyid} 1 0" for keyid in ("1111222233334444", "1111222233334444", "0" * 16))
    with pytest.raises(RadpostError) as caught:
        gnupg_status.judge(report(*lines), lambda _: False, 0, legacy=False)
    assert caught.value.detail == "encrypted to 1111222233334444, a hidden key"


def test_legacy_on_request_is_released_with_a_warning() -> None:
    lines = report("BEGIN_DECRYPTION", "DECRYPTION_INFO 2 3", "PLAINTEXT 62 0 ", *END)
    assert gnupg_status.judge(lines, lambda _: False, 7, legacy=True).warnings == ("legacy-cipher:CAST5",)


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        (("GOODSIG 1F86FE85A953DC4E x", valid(8)), Verdict.GOOD),
        (("GOODSIG 1F86FE85A953DC4E x", valid(2)), Verdict.WEAK_DIGEST),
        (("EXPKEYSIG 1F86FE85A953DC4E x", valid(8)), Verdict.EXPIRED_KEY),
        (("EXPSIG 1F86FE85A953DC4E x", valid(8)), Verdict.EXPIRED_KEY),
        (("REVKEYSIG 1F86FE85A953DC4E x", valid(8)), Verdict.REVOKED_KEY),
        (("BADSIG 1F86FE85A953DC4E x",), Verdict.BAD),
        (("GOODSIG 1F86FE85A953DC4E x",), Verdict.BAD),
        ((f"ERRSIG 1F86FE85A953DC4E 1 8 00 1704153600 9 {S}", "NO_PUBKEY x"), Verdict.UNKNOWN_KEY),
        (("ERRSIG 1F86FE85A953DC4E 1 1 00 1704153600 5",), Verdict.WEAK_DIGEST),
        (("ERRSIG 1F86FE85A953DC4E 99 8 00 1704153600 4",), Verdict.UNKNOWN_KEY),
        (("ERRSIG 1F86FE85A953DC4E 1 8 00 1704153600 1",), Verdict.BAD),
        ((), Verdict.BAD),
    ],
)
def test_verdicts(lines: tuple[str, ...], verdict: Verdict) -> None:
    (one,) = gnupg_status.signatures(report("NEWSIG", *lines), lambda _: F)
    assert one.verdict is verdict
    if verdict is Verdict.GOOD:
        assert (one.fingerprint, one.signing_fingerprint) == (F, S)
        assert one.created == datetime(2024, 1, 2, tzinfo=UTC)


def test_no_signature_and_two_signatures() -> None:
    assert gnupg_status.signatures(report("PLAINTEXT 62 0 "), lambda _: None) == ()
    two = report("NEWSIG", "GOODSIG 1 x", valid(8), "NEWSIG", "BADSIG 2 x")
    verdicts = [one.verdict for one in gnupg_status.signatures(two, lambda _: None)]
    assert verdicts == [Verdict.GOOD, Verdict.BAD]


LISTING = """tru::1:1704067200:0:3:1:5
pub:-:3072:1:1EFC04E7BC8FEB60:1704067200:1893456000::-:::scESC::::::23::0:
fpr:::::::::47A5C41C9D9EC40A9ED88DF11EFC04E7BC8FEB60:
uid:-::::1704067200::HASH::M\\x3a S\u00fcd <a@b.example>::::::::::0:
uid:r::::1704067200::HASH::old <old@b.example>::::::::::0:
sub:-:3072:1:1F86FE85A953DC4E:1704067200::::::e::::::23:
fpr:::::::::E2EEA38583148163123C09121F86FE85A953DC4E:
sub:r:255:18:6C30D656947C7AAC:1704067300::::::e:::::cv25519::
fpr:::::::::B33C32078E94832ED2D2C3676C30D656947C7AAC:
sub:i:255:18:6C30D656947C7AAD:1704067300::::::e:::::cv25519::
fpr:::::::::B33C32078E94832ED2D2C3676C30D656947C7AAD:
"""


def test_listing() -> None:
    (cert,) = listing.parse(LISTING.encode())
    assert cert.primary.fingerprint == F
    assert cert.user_ids == ("M: S\u00fcd <a@b.example>",)
    assert [key.flags for key in cert.keys] == ["sc", "e", "e", ""]
    assert {key.primary for key in cert.keys} == {F}
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert [key.fingerprint for key in cert.usable("e", now)] == [S]
    assert [key.fingerprint for key in cert.usable("s", now)] == [F]
    # an expired primary key takes its subkeys with it; before its birth a key is nothing
    assert cert.usable("e", now + timedelta(days=365 * 5)) == ()
    assert cert.usable("e", datetime(2020, 1, 1, tzinfo=UTC)) == ()
