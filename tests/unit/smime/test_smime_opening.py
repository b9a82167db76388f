"""Decryption: what comes out, what never does, and that failures do not differ (RFC 5652 6, RFC 5083)."""

from contextlib import suppress
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost import smime
from radpost.errors import (
    NO_SECRET_KEY,
    PASSWORD_ENCRYPTED,
    RESOURCE_LIMIT,
    SMIME_MALFORMED,
    SMIME_UNSUPPORTED,
    TAMPERED,
    TRUNCATED,
    RadpostError,
    Reason,
)
from radpost.smime.ber import NULL, OCTET_STRING, SEQUENCE, SET, context, encode
from radpost.testing.certificates import Issued, authority, rsa_key
from radpost.testing.cms import (
    NONCE,
    Signing,
    algorithm,
    attribute,
    auth_enveloped,
    content_info,
    enveloped,
    named,
    number,
    oid,
    recipient,
    signed,
    transport,
)

TEXT = b"Content-Type: text/plain\r\n\r\nDICOM, more or less.\r\n" * 40
CA = authority()
RSA = CA.issue("rsa", rsa_key("receiver"))
OTHER = CA.issue("other", rsa_key("other receiver"))
EC = CA.issue("ec", ec.generate_private_key(ec.SECP256R1()))
X = CA.issue("x25519", x25519.X25519PrivateKey.generate())
LIMITS = smime.Limits()
CBC = "2.16.840.1.101.3.4.1.42"
GCM = "2.16.840.1.101.3.4.1.46"


@cache
def keys(*people: Issued, bare: bool = False) -> tuple[smime.Credential, ...]:
    files = [person.key_pem for person in people] + ([] if bare else [person.pem for person in people])
    return smime.load(files).credentials


def refused(message: bytes, *people: Issued, bare: bool = False, limits: smime.Limits = LIMITS) -> Reason:
    with pytest.raises(RadpostError) as error:
        smime.decrypt(message, keys(*(people or (RSA,)), bare=bare), limits=limits)
    return error.value.reason


@pytest.mark.parametrize("person", [RSA, EC, X], ids=["RSA", "ECDH", "X25519"])
@pytest.mark.parametrize("bare", [False, True], ids=["with certificate", "bare key"])
def test_every_recipient_opens_both_forms(person: Issued, bare: bool) -> None:
    for message, proven in (
        (enveloped(TEXT, recipient(person)), False),
        (auth_enveloped(TEXT, recipient(person)), True),
        (auth_enveloped(TEXT, recipient(person), pieces=7), True),
    ):
        opened = smime.decrypt(message, keys(person, bare=bare))
        assert (bytes(opened.content), opened.authenticated) == (TEXT, proven)
        assert (opened.recipient is None) is bare


@pytest.mark.parametrize("person", [EC, X], ids=["ECDH", "X25519"])
def test_keying_material_of_the_sender_enters_the_key(person: Issued) -> None:
    message = auth_enveloped(TEXT, recipient(person, material=b"salt of the sender"))
    assert bytes(smime.decrypt(message, keys(person)).content) == TEXT
    assert refused(message.replace(b"salt of", b"soda of"), person) is TAMPERED


def test_authenticated_attributes_are_part_of_what_is_proven() -> None:
    note = attribute("1.2.3.4", encode(OCTET_STRING, b"note"))
    message = auth_enveloped(TEXT, recipient(RSA), attributes=[note])
    assert bytes(smime.decrypt(message, keys(RSA)).content) == TEXT
    assert refused(message.replace(b"note", b"nope")) is TAMPERED


@pytest.mark.parametrize("length", [12, 13, 16])
def test_a_shorter_tag_that_is_stated(length: int) -> None:
    message = auth_enveloped(TEXT, recipient(RSA), tag_length=length, stated=None if length == 12 else length)
    assert bytes(smime.decrypt(message, keys(RSA)).content) == TEXT


@pytest.mark.parametrize(("length", "stated"), [(4, 4), (8, 8), (12, 16), (16, None), (0, 16)])
def test_a_tag_that_is_too_short_or_not_the_stated_one(length: int, stated: int | None) -> None:
    message = auth_enveloped(TEXT, recipient(RSA), tag_length=length, stated=stated)
    assert refused(message) is SMIME_MALFORMED


def test_an_envelope_that_promises_a_proof_must_have_a_cipher_that_gives_one() -> None:
    cbc = algorithm(CBC, encode(OCTET_STRING, NONCE))
    assert refused(auth_enveloped(TEXT, recipient(RSA), cipher=cbc)) is SMIME_UNSUPPORTED
    gcm = algorithm(GCM, encode(SEQUENCE, encode(OCTET_STRING, NONCE[:12])))
    assert refused(enveloped(TEXT, recipient(RSA), cipher=gcm)) is SMIME_UNSUPPORTED


@pytest.mark.parametrize(
    "cipher",
    [
        algorithm(CBC),
        algorithm(CBC, encode(NULL)),
        algorithm(CBC, encode(OCTET_STRING, NONCE[:8])),
        algorithm(CBC, encode(OCTET_STRING, NONCE * 2)),
    ],
    ids=["none", "null", "short", "long"],
)
def test_bad_parameters_of_a_cipher(cipher: bytes) -> None:
    assert refused(enveloped(bytes(32), recipient(RSA), cipher=cipher)) is SMIME_MALFORMED


def test_inv7_damage_of_the_key_and_of_the_padding_look_alike() -> None:
    """No padding oracle: one reason and one detail, whatever is wrong (RFC 3218)."""
    good = enveloped(TEXT, recipient(RSA))
    sealed = recipient(RSA)[-256:]
    cbc = algorithm(CBC, encode(OCTET_STRING, NONCE))
    told = set()
    for message in (
        enveloped(TEXT, transport(named(RSA), bytes(255) + b"\1")),
        enveloped(TEXT, transport(named(RSA), sealed[:-1] + bytes([sealed[-1] ^ 1]))),
        enveloped(TEXT, transport(named(RSA), b"short")),
        enveloped(TEXT, recipient(RSA, bytes(16))),
        enveloped(TEXT, recipient(RSA, bytes(32))),
        good[:-1] + bytes([good[-1] ^ 1]),
        enveloped(bytes(31), recipient(RSA), cipher=cbc),
        enveloped(b"", recipient(RSA), cipher=cbc),
        auth_enveloped(TEXT, recipient(RSA, bytes(32))),
    ):
        with pytest.raises(RadpostError) as error:
            smime.decrypt(message, keys(RSA))
        assert error.value.reason is TAMPERED
        told.add(error.value.detail)
    assert len(told) == 1


def test_a_point_that_is_not_on_the_curve_opens_nothing() -> None:
    message = auth_enveloped(TEXT, recipient(EC))
    at = message.index(b"\x03\x42\x00\x04") + 10
    assert refused(message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :], EC) is TAMPERED


def test_who_it_is_not_for() -> None:
    message = enveloped(TEXT, recipient(OTHER), recipient(CA.issue("old", rsa_key("old"))))
    assert refused(message) is NO_SECRET_KEY
    assert refused(message, EC, X) is NO_SECRET_KEY
    assert refused(message, RSA, EC, X, bare=True) is NO_SECRET_KEY
    assert refused(enveloped(TEXT)) is NO_SECRET_KEY
    with pytest.raises(RadpostError, match="no-secret-key"):
        smime.decrypt(message, ())
    password = encode(context(3), number(0), algorithm("1.2.3"), encode(OCTET_STRING, b"k"))
    assert refused(enveloped(TEXT, password)) is PASSWORD_ENCRYPTED
    assert bytes(smime.decrypt(enveloped(TEXT, password, recipient(RSA)), keys(RSA)).content) == TEXT


def test_one_recipient_that_is_damaged_stops_no_other() -> None:
    broken = transport(named(RSA), bytes(256))
    message = enveloped(TEXT, broken, recipient(EC))
    assert bytes(smime.decrypt(message, keys(RSA, EC)).content) == TEXT


def test_a_key_encryption_that_we_do_not_know_is_named() -> None:
    unknown = transport(named(RSA), bytes(256), kind="1.2.3.4.5")
    with pytest.raises(RadpostError, match=r"1\.2\.3\.4\.5") as error:
        smime.decrypt(enveloped(TEXT, unknown), keys(RSA))
    assert error.value.reason is SMIME_UNSUPPORTED


@pytest.mark.parametrize(
    "message",
    [
        signed(TEXT, Signing(RSA)),
        content_info("1.2.3", encode(SEQUENCE)),
        encode(SEQUENCE),
        encode(SET),
        encode(SEQUENCE, oid("1.2.840.113549.1.7.3"), encode(context(0))),
        b"Content-Type: text/plain\r\n\r\n",
        b"0",
    ],
    ids=["signed", "other", "empty", "set", "hollow", "mail", "one octet"],
)
def test_what_is_no_encrypted_message(message: bytes) -> None:
    assert refused(message) in (SMIME_MALFORMED, TRUNCATED)


@pytest.mark.parametrize("form", [enveloped, auth_enveloped])
def test_a_message_that_was_cut_off(form: object) -> None:
    assert callable(form)
    message = form(TEXT, recipient(RSA))
    for cut in (*range(0, len(message), 37), len(message) - 1):
        assert refused(message[:cut]) is TRUNCATED


def test_inv8_limits() -> None:
    message = enveloped(TEXT, recipient(RSA))
    assert refused(message, limits=smime.Limits(max_content=1000)) is RESOURCE_LIMIT
    crowd = enveloped(TEXT, *[recipient(RSA)] * 20)
    assert refused(crowd, limits=smime.Limits(max_recipients=19)) is RESOURCE_LIMIT
    assert bytes(smime.decrypt(crowd, keys(RSA), limits=smime.Limits(max_recipients=20)).content) == TEXT


def test_a_key_that_only_signs_opens_nothing_and_is_no_error() -> None:
    signer = CA.issue("signer", ed25519.Ed25519PrivateKey.generate())
    assert refused(enveloped(TEXT, recipient(RSA)), signer) is NO_SECRET_KEY


MESSAGES = [
    enveloped(TEXT, recipient(RSA)),
    auth_enveloped(TEXT, recipient(RSA)),
    auth_enveloped(TEXT, recipient(EC), pieces=100),
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_inv7_no_changed_octet_gives_another_content_under_a_tag(message: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(message) - 1))
    damaged = bytearray(message)
    damaged[at] ^= draw.draw(st.integers(1, 255))
    with suppress(RadpostError):
        opened = smime.decrypt(bytes(damaged), keys(RSA, EC), legacy=True)
        assert not opened.authenticated or bytes(opened.content) == TEXT


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_pieces_of_messages_put_together_anew_never_crash(message: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(message)), min_size=2, max_size=4)))
    extra = draw.draw(st.binary(max_size=30))
    for variant in (
        message[: cuts[0]] + message[cuts[1] :],
        message[: cuts[0]] + extra + message[cuts[0] :],
        message[: cuts[1]] + message[cuts[0] :],
    ):
        with suppress(RadpostError):
            opened = smime.decrypt(variant, keys(RSA, EC), legacy=True)
            assert not opened.authenticated or bytes(opened.content) == TEXT
