"""S/MIME: any octets are read or refused; under a tag or a good signature stands what was put there."""

from contextlib import suppress
from random import Random

from cryptography.hazmat.primitives.asymmetric import ec

from fuzz.target import Blind, Target
from radpost import smime
from radpost.errors import RadpostError
from radpost.smime.ber import encode
from radpost.testing.certificates import NOW, authority
from radpost.testing.cms import Signing, attribute, auth_enveloped, enveloped, recipient, signed

TEXT = b"Content-Type: text/plain\r\n\r\nDICOM, more or less.\r\n"
# the keys are the same in every run, so that what was found can be replayed
_CURVE = ec.SECP256R1()
CA = authority(key=ec.derive_private_key(11, _CURVE))
CLINIC = CA.issue("clinic", ec.derive_private_key(12, _CURVE))
SENDER = CA.issue("sender", ec.derive_private_key(13, _CURVE))
KEYS = smime.load([CLINIC.key_pem]).credentials
TRUST = smime.Trust(anchors=(smime.hold(CA.der),))
LIMITS = smime.Limits(max_content=1 << 20)

SEEDS = (
    enveloped(TEXT, recipient(CLINIC)),
    auth_enveloped(TEXT, recipient(CLINIC), attributes=[attribute("1.2.3", encode(4, b"x"))], pieces=20),
    signed(TEXT, Signing(SENDER), chain=[CA]),
    signed(TEXT, Signing(SENDER, bare=True), Signing(SENDER)),
    signed(TEXT, Signing(SENDER), detached=True),
)
HEADS = (
    b"\x30\x80",
    b"\x24\x80",
    b"\xa0\x80",
    b"\x31\x80",
    b"\0\0",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x04\0",
    b"\x80",
)


def check(data: bytes) -> None:
    """Decrypt, verify and load; only what was made here counts as proven."""
    with suppress(RadpostError):
        opened = smime.decrypt(data, KEYS, limits=LIMITS, legacy=True)
        assert not opened.authenticated or bytes(opened.content) == TEXT
    for contents in ([], [[TEXT], [TEXT.replace(b"\r\n", b"\n")]]):
        with suppress(RadpostError):
            found = smime.verify(data, TRUST, NOW, contents=contents, limits=LIMITS)
            if found.signature.intact and found.content is not None:
                assert bytes(found.content) == TEXT
    with suppress(RadpostError):
        smime.load([data])


def mutate(data: bytes, size: int, random: Random, blind: Blind) -> bytes:
    """Change lengths, heads and order of values, or any octets."""
    if not data or random.random() < 0.4:
        return blind(data, size)
    out = bytearray(data)
    at = random.randrange(len(out))
    match random.randrange(4):
        case 0:
            out[at] = random.choice((0, 1, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFF, out[at] ^ 0x20))
        case 1:
            out[at:at] = random.choice(HEADS)
        case 2:
            end = random.randrange(at, min(len(out), at + 200) + 1)
            place = random.randrange(len(out))
            out[place:place] = out[at:end]
        case _:
            other = random.choice(SEEDS)
            start = random.randrange(len(other))
            out[at:] = other[start:]
    return bytes(out[:size])


TARGET = Target(
    name="cms",
    rooms=("radpost.smime",),
    check=check,
    seeds=lambda: SEEDS,
    mutate=mutate,
)
