"""Signatures: good only over what was signed, by whom it names, for those we trust (RFC 5652 5)."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost import smime
from radpost.errors import RadpostError
from radpost.smime.ber import GENERALIZED_TIME, OCTET_STRING, SET, UTC_TIME, encode
from radpost.smime.cms import CONTENT_TYPE, DATA, MESSAGE_DIGEST, SIGNING_TIME
from radpost.testing.certificates import NOW, Issued, authority, rsa_key
from radpost.testing.cms import Signing, attribute, attributes_of, oid, signed
from radpost.words import Verdict

TEXT = b"Content-Type: text/plain\r\n\r\nDICOM, more or less.\r\n"
CA = authority()
RSA = CA.issue("rsa", rsa_key("signer"))
EC = CA.issue("ec", ec.generate_private_key(ec.SECP256R1()))
ED = CA.issue("ed", ed25519.Ed25519PrivateKey.generate())
STRANGER = authority("Another CA").issue("stranger", rsa_key("stranger"))
TRUST = smime.Trust(anchors=(smime.hold(CA.der),))


def verify(message: bytes, content: bytes | None = None, trust: smime.Trust = TRUST) -> smime.Verified:
    return smime.verify(message, trust, NOW, contents=[] if content is None else [[content]])


def verdict(message: bytes, content: bytes | None = None) -> Verdict:
    return verify(message, content).signature.verdict


@pytest.mark.parametrize("person", [RSA, EC, ED], ids=["RSA", "ECDSA", "EdDSA"])
def test_a_good_signature_opaque_and_detached(person: Issued) -> None:
    found = verify(signed(TEXT, Signing(person)))
    assert found.content is not None
    assert bytes(found.content) == TEXT
    assert (found.signature.verdict, found.signature.intact) == (Verdict.GOOD, True)
    assert found.signature.signed_at == NOW
    assert found.signature.fingerprint == smime.hold(person.der).value.fingerprint
    detached = signed(TEXT, Signing(person), detached=True)
    assert verdict(detached, TEXT) is Verdict.GOOD
    assert verdict(detached, TEXT + b" ") is Verdict.BAD
    assert verify(detached, TEXT).content is None


def test_a_signature_over_either_reading_of_the_content() -> None:
    detached = signed(TEXT.replace(b"\r\n", b"\n"), Signing(RSA), detached=True)
    readings = [[TEXT], [TEXT.replace(b"\r\n", b"\n")]]
    assert smime.verify(detached, TRUST, NOW, contents=readings).signature.verdict is Verdict.GOOD
    assert smime.verify(detached, TRUST, NOW, contents=readings[:1]).signature.verdict is Verdict.BAD


def test_without_attributes_the_content_itself_is_signed() -> None:
    for person in (RSA, EC):
        message = signed(TEXT, Signing(person, bare=True))
        assert verdict(message) is Verdict.GOOD
        assert verdict(message.replace(b"more or", b"mere or")) is Verdict.BAD


def test_the_attributes_of_one_message_are_no_content_of_another() -> None:
    """Else a signature over attributes could be shown as one over a content (RFC 5652 5.4)."""
    attributes = encode(SET, *sorted(attributes_of(TEXT)))
    assert verdict(signed(attributes, Signing(RSA, bare=True))) is Verdict.BAD


def test_a_content_that_is_no_data_needs_attributes() -> None:
    other = "1.2.840.113549.1.7.3"
    assert verdict(signed(TEXT, Signing(RSA), content_type=other)) is Verdict.GOOD
    assert verdict(signed(TEXT, Signing(RSA, bare=True), content_type=other)) is Verdict.BAD


ATTRIBUTES = dict(zip("ctd", attributes_of(TEXT), strict=True))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ([ATTRIBUTES["c"], ATTRIBUTES["d"]], Verdict.GOOD),
        ([*ATTRIBUTES.values(), attribute("1.2.3.4", encode(OCTET_STRING, b"x"))], Verdict.GOOD),
        ([*ATTRIBUTES.values(), attribute("1.2.3.4")], Verdict.GOOD),
        (
            [ATTRIBUTES["d"], attribute(CONTENT_TYPE, oid("1.2.840.113549.1.7.3"))],
            Verdict.BAD,
        ),
        ([ATTRIBUTES["c"], attribute(MESSAGE_DIGEST, encode(OCTET_STRING, bytes(32)))], Verdict.BAD),
    ],
    ids=["two", "another", "empty", "type", "digest"],
)
def test_attributes(attributes: list[bytes], expected: Verdict) -> None:
    assert verdict(signed(TEXT, Signing(RSA, attributes=attributes))) is expected


@pytest.mark.parametrize(
    "attributes",
    [
        [],
        [ATTRIBUTES["c"]],
        [ATTRIBUTES["d"]],
        [*ATTRIBUTES.values(), ATTRIBUTES["d"]],
        [ATTRIBUTES["c"], attribute(MESSAGE_DIGEST)],
        [ATTRIBUTES["c"], attribute(MESSAGE_DIGEST, *[encode(OCTET_STRING, bytes(32))] * 2)],
        [ATTRIBUTES["d"], attribute(CONTENT_TYPE, encode(OCTET_STRING, b"x"))],
    ],
    ids=["none", "no digest", "no type", "twice", "no value", "two values", "no identifier"],
)
def test_attributes_that_cannot_be(attributes: list[bytes]) -> None:
    with pytest.raises(RadpostError, match="smime-malformed"):
        verify(signed(TEXT, Signing(RSA, attributes=attributes)))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (encode(UTC_TIME, b"300601120000Z"), datetime(2030, 6, 1, 12, tzinfo=UTC)),
        (encode(UTC_TIME, b"990101000000Z"), datetime(1999, 1, 1, tzinfo=UTC)),
        (encode(GENERALIZED_TIME, b"20560101000000Z"), datetime(2056, 1, 1, tzinfo=UTC)),
        (encode(UTC_TIME, b"301301120000Z"), None),
        (encode(UTC_TIME, b"\xff\xfe"), None),
        (encode(OCTET_STRING, b"300601120000Z"), None),
    ],
)
def test_the_time_of_signing_is_what_the_signer_says(time: bytes, expected: datetime | None) -> None:
    attributes = [ATTRIBUTES["c"], ATTRIBUTES["d"], attribute(SIGNING_TIME, time)]
    found = verify(signed(TEXT, Signing(RSA, attributes=attributes))).signature
    assert (found.verdict, found.signed_at) == (Verdict.GOOD, expected)


def test_another_certificate_under_the_same_name_and_number_is_not_the_signer() -> None:
    imposter = authority().issue("rsa", rsa_key("imposter"))
    builder_serial = smime.hold(RSA.der).value.serial
    assert smime.hold(imposter.der).value.serial != builder_serial
    message = signed(TEXT, Signing(RSA))
    swapped = message.replace(RSA.der, RSA.der[:-1] + bytes([RSA.der[-1] ^ 1]))
    assert verdict(swapped) is not Verdict.GOOD


def test_the_signature_of_somebody_else_under_our_partner_s_name() -> None:
    forger = Issued(RSA.certificate, rsa_key("forger"))
    found = verify(signed(TEXT, Signing(forger))).signature
    assert found.verdict is Verdict.BAD
    assert found.fingerprint == smime.hold(RSA.der).value.fingerprint


def test_a_key_of_another_kind_than_the_signature() -> None:
    message = signed(TEXT, Signing(Issued(EC.certificate, rsa_key("signer"))))
    assert verdict(message) is Verdict.BAD


def test_several_signers() -> None:
    found = verify(signed(TEXT, Signing(STRANGER), Signing(EC)))
    assert {one.verdict for one in found.signatures} == {Verdict.UNTRUSTED, Verdict.GOOD}
    assert found.signature.verdict is Verdict.GOOD
    broken = Signing(RSA, attributes=attributes_of(b"other"))
    assert verdict(signed(TEXT, Signing(EC), broken)) is Verdict.BAD


def test_no_signer_is_no_signature() -> None:
    found = verify(signed(TEXT))
    assert (found.signature.verdict, found.signatures) == (Verdict.NONE, ())
    assert found.content is not None
    certificates = signed(b"", chain=[CA, RSA], detached=True)
    assert [one.subject for one in verify(certificates).certificates] == [
        smime.hold(one.der).value.subject for one in (CA, RSA)
    ]


def test_a_detached_signature_without_what_it_signs() -> None:
    with pytest.raises(RadpostError, match="without what it signs"):
        verify(signed(TEXT, Signing(RSA), detached=True))


def test_algorithms_that_we_do_not_know_make_no_verdict_of_bad() -> None:
    message = signed(TEXT, Signing(RSA))
    sha256 = bytes.fromhex("0609608648016503040201")
    for changed in (
        message.replace(sha256, sha256[:-1] + b"\x7f"),
        message.replace(
            bytes.fromhex("06092a864886f70d010101") + b"\x05\0\x04", b"\x06\x09+++++++++\x05\0\x04"
        ),
    ):
        assert changed != message
        found = verify(changed).signature
        assert (found.verdict, found.intact) == (Verdict.UNKNOWN_KEY, False)
        assert found.problem


def test_inv8_limits() -> None:
    many: list[tuple[Callable[[], bytes], smime.Limits]] = [
        (lambda: signed(TEXT, *[Signing(EC)] * 4), smime.Limits(max_signers=3)),
        (lambda: signed(TEXT, Signing(EC), chain=[CA] * 4), smime.Limits(max_certificates=4)),
    ]
    for make, limits in many:
        assert verify(make()).signature.verdict is Verdict.GOOD
        with pytest.raises(RadpostError, match="resource-limit"):
            smime.verify(make(), TRUST, NOW, limits=limits)


def test_a_certificate_that_cannot_be_read_disturbs_nothing() -> None:
    broken = Issued(RSA.certificate, RSA.key)
    message = signed(TEXT, Signing(RSA), chain=[broken])
    junk = RSA.der[:40] + bytes(len(RSA.der) - 40)
    at = message.rindex(RSA.der)
    assert verdict(message[:at] + junk + message[at + len(junk) :]) is Verdict.GOOD


def test_what_time_it_is_decides() -> None:
    message = signed(TEXT, Signing(RSA))
    for moment in (NOW - timedelta(days=2000), NOW + timedelta(days=2000)):
        found = smime.verify(message, TRUST, moment).signature
        assert (found.verdict, found.intact) == (Verdict.EXPIRED, True)
        assert "valid" in found.problem or "expired" in found.problem


OPAQUE = [
    signed(TEXT, Signing(RSA), chain=[CA]),
    signed(TEXT, Signing(EC)),
    signed(TEXT, Signing(EC, bare=True)),
    signed(TEXT, Signing(ED)),
    signed(TEXT, Signing(RSA), Signing(EC)),
]


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(OPAQUE), st.data())
def test_inv7_no_changed_octet_gives_a_good_signature_over_another_content(
    message: bytes, draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(message) - 1))
    damaged = bytearray(message)
    damaged[at] ^= draw.draw(st.integers(1, 255))
    with suppress(RadpostError):
        found = verify(bytes(damaged))
        if found.signature.verdict is Verdict.GOOD or found.signature.intact:
            assert found.content is not None
            assert bytes(found.content) == TEXT


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(OPAQUE), st.data())
def test_inv7_messages_put_together_anew_sign_nothing_else(message: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(message)), min_size=2, max_size=2)))
    extra = draw.draw(st.binary(max_size=30))
    for variant in (
        message[: cuts[0]] + message[cuts[1] :],
        message[: cuts[0]] + extra + message[cuts[0] :],
        message[: cuts[1]] + message[cuts[0] :],
    ):
        with suppress(RadpostError):
            found = verify(variant)
            if found.signature.verdict is Verdict.GOOD:
                assert found.content is not None
                assert bytes(found.content) == TEXT


def test_data_is_the_type_of_what_a_mail_signs() -> None:
    assert verify(signed(TEXT, Signing(RSA))).content_type == DATA
