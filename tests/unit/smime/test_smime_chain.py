"""Chains of certificates: which end at somebody we trust, and what makes them worthless (RFC 5280 6)."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from radpost import smime
from radpost.smime.ber import INTEGER, SEQUENCE, encode, parse
from radpost.smime.chain import Standing, standing
from radpost.testing.certificates import NOW, Issued, Wanted, authority, rsa_key, self_signed
from radpost.words import Verdict


def new() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


ROOT = authority("Root")
PERSON = ROOT.issue("person", new())


def judge(
    leaf: Issued, *others: Issued, anchors: Sequence[Issued] = (ROOT,), lists: Sequence[bytes] = ()
) -> Standing:
    trust = smime.Trust(
        anchors=tuple(smime.hold(one.der) for one in anchors),
        revocations=tuple(x509.load_der_x509_crl(one) for one in lists),
    )
    return standing(smime.hold(leaf.der), [smime.hold(one.der) for one in others], trust, NOW)


def verdict(leaf: Issued, *others: Issued, **more: Sequence[Issued]) -> Verdict:
    return judge(leaf, *others, **more).verdict  # type: ignore[arg-type]  # only anchors are passed on


@pytest.mark.parametrize(
    "key",
    [new(), ec.generate_private_key(ec.BrainpoolP384R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["P-256", "brainpool", "Ed25519"],
)
def test_keys_of_authorities(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    root = authority("Any", key)
    leaf = root.issue("leaf", new())
    assert verdict(leaf, anchors=[root]) is Verdict.GOOD
    assert verdict(leaf) is Verdict.UNTRUSTED


def test_a_chain_over_several_authorities_in_any_order() -> None:
    above, chain = ROOT, []
    for name in ("one", "two", "three"):
        above = above.issue(name, new(), Wanted.authority())
        chain.append(above)
    leaf = above.issue("leaf", new())
    assert verdict(leaf, *chain) is Verdict.GOOD
    assert verdict(leaf, *reversed(chain), PERSON, leaf) is Verdict.GOOD
    assert verdict(leaf, *chain[1:]) is Verdict.UNTRUSTED
    assert verdict(leaf, *chain, anchors=[chain[1]]) is Verdict.GOOD
    assert "no chain" in judge(leaf, anchors=[PERSON]).problem


def test_a_pinned_certificate_needs_no_authority() -> None:
    alone = self_signed("alone", new())
    assert verdict(alone) is Verdict.UNTRUSTED
    assert verdict(alone, anchors=[alone]) is Verdict.GOOD
    assert verdict(PERSON, anchors=[PERSON]) is Verdict.GOOD
    old = self_signed("old", new(), Wanted(not_after=NOW - timedelta(days=1)))
    assert verdict(old, anchors=[old]) is Verdict.EXPIRED


def test_what_a_pinned_person_issues_is_not_trusted() -> None:
    child = PERSON.issue("child", new())
    assert verdict(child, anchors=[PERSON]) is Verdict.UNTRUSTED
    assert verdict(child, PERSON) is Verdict.UNTRUSTED


def test_an_authority_of_the_same_name_with_another_key() -> None:
    imposter = authority("Root")
    leaf = imposter.issue("leaf", new())
    assert verdict(leaf, imposter) is Verdict.UNTRUSTED
    assert verdict(leaf, imposter, anchors=[ROOT, imposter]) is Verdict.GOOD


def test_two_ways_up_of_which_one_is_good() -> None:
    key = new()
    expired = ROOT.issue("cross", key, Wanted.authority(not_after=NOW - timedelta(days=1)))
    valid = ROOT.issue("cross", key, Wanted.authority())
    leaf = valid.issue("leaf", new())
    for order in ((expired, valid), (valid, expired)):
        assert verdict(leaf, *order) is Verdict.GOOD
    assert verdict(leaf, expired) is Verdict.EXPIRED


def test_authorities_that_name_each_other_do_not_lead_astray() -> None:
    one, two = new(), new()
    a = authority("A", one)
    b = a.issue("B", two, Wanted.authority())
    back = authority("B", two).issue("A", one, Wanted.authority())
    leaf = b.issue("leaf", new())
    assert verdict(leaf, b, back, a) is Verdict.UNTRUSTED
    assert verdict(leaf, b, back, anchors=[a]) is Verdict.GOOD


def test_inv8_a_maze_of_authorities_comes_to_an_end() -> None:
    key = new()
    maze = [authority("Maze", key) for _ in range(40)]
    assert verdict(maze[0].issue("leaf", new()), *maze) is Verdict.UNTRUSTED


def test_inv8_a_chain_has_a_length() -> None:
    above, chain = ROOT, []
    for number in range(10):
        above = above.issue(f"CA {number}", new(), Wanted.authority())
        chain.append(above)
    assert verdict(above.issue("leaf", new()), *chain) is Verdict.UNTRUSTED
    assert verdict(chain[4].issue("leaf", new()), *chain) is Verdict.GOOD


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (Wanted(), "no authority"),
        (Wanted.authority(usage=("digital_signature",)), "not for certificates"),
        (Wanted.authority(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), "not for mail"),
        (
            Wanted.authority(extensions=[(x509.PolicyConstraints(0, None), True)]),
            "critical extension 2.5.29.36",
        ),
        (
            Wanted.authority(
                extensions=[(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]
            ),
            "critical extension 1.2.3.4",
        ),
    ],
    ids=["person", "usage", "purpose", "policy", "unknown"],
)
def test_authorities_that_are_none(wanted: Wanted, problem: str) -> None:
    between = ROOT.issue("between", new(), wanted)
    found = judge(between.issue("leaf", new()), between)
    assert found.verdict is Verdict.UNTRUSTED
    assert problem in found.problem


def test_an_authority_without_words_about_usage_is_one() -> None:
    between = ROOT.issue("between", new(), Wanted.authority(usage=None))
    assert verdict(between.issue("leaf", new()), between) is Verdict.GOOD


@pytest.mark.parametrize(("permitted", "expected"), [(0, Verdict.UNTRUSTED), (1, Verdict.GOOD)])
def test_how_many_authorities_may_stand_below(permitted: int, expected: Verdict) -> None:
    root = authority("Short", new(), Wanted.authority(permitted))
    between = root.issue("between", new(), Wanted.authority())
    assert verdict(between.issue("leaf", new()), between, anchors=[root]) is expected
    assert verdict(root.issue("leaf", new()), anchors=[root]) is Verdict.GOOD


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(usage=None, purposes=None), Verdict.GOOD),
        (Wanted(usage=("content_commitment",)), Verdict.GOOD),
        (Wanted(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), Verdict.GOOD),
        (Wanted(usage=("key_encipherment",)), Verdict.UNTRUSTED),
        (Wanted(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), Verdict.UNTRUSTED),
        (Wanted(not_before=NOW + timedelta(days=1)), Verdict.EXPIRED),
        (Wanted(not_after=NOW - timedelta(days=1)), Verdict.EXPIRED),
        (Wanted(not_after=NOW), Verdict.GOOD),
    ],
    ids=["silent", "commitment", "any", "encryption", "server", "early", "late", "last moment"],
)
def test_certificates_of_signers(wanted: Wanted, expected: Verdict) -> None:
    assert verdict(ROOT.issue("leaf", new(), wanted)) is expected


def test_an_rsa_key_that_is_too_short() -> None:
    found = judge(ROOT.issue("short", rsa_key("short", 1024)))
    assert (found.verdict, found.problem) == (Verdict.UNTRUSTED, "an RSA key of 1024 bits")


def test_revocation() -> None:
    between = ROOT.issue("between", new(), Wanted.authority())
    leaf = between.issue("leaf", new())
    other = between.issue("other", new())
    assert judge(leaf, between, lists=[between.revoke(other)]).verdict is Verdict.GOOD
    assert judge(leaf, between, lists=[between.revoke(other, leaf)]).verdict is Verdict.REVOKED_KEY
    assert judge(leaf, between, lists=[ROOT.revoke(between)]).verdict is Verdict.REVOKED_KEY
    later = between.revoke(leaf, at=NOW + timedelta(days=1))
    assert judge(leaf, between, lists=[later]).verdict is Verdict.GOOD
    forged = authority("between").revoke(leaf)
    assert judge(leaf, between, lists=[forged]).verdict is Verdict.GOOD


PEOPLE = [
    ("a@klinik.example", "klinik.example", True),
    ("a@KLINIK.example", "klinik.example", True),
    ("a@b.klinik.example", "klinik.example", False),
    ("a@b.klinik.example", ".klinik.example", True),
    ("a@notklinik.example", "klinik.example", False),
    ("a@klinik.example", "a@klinik.example", True),
    ("b@klinik.example", "a@klinik.example", False),
]


@pytest.mark.parametrize(("email", "constraint", "within"), PEOPLE)
def test_name_constraints_on_addresses(email: str, constraint: str, within: bool) -> None:
    for permits in (True, False):
        trees = [x509.RFC822Name(constraint)]
        limits = x509.NameConstraints(trees if permits else None, None if permits else trees)
        between = ROOT.issue("between", new(), Wanted.authority(extensions=[(limits, True)]))
        leaf = between.issue("leaf", new(), Wanted(email=email))
        expected = Verdict.GOOD if within is permits else Verdict.UNTRUSTED
        assert verdict(leaf, between) is expected


def test_name_constraints_on_other_names() -> None:
    home = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "TEST ONLY")])
    away = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Others")])
    for name, expected in ((home, Verdict.GOOD), (away, Verdict.UNTRUSTED)):
        limits = x509.NameConstraints([x509.DirectoryName(name)], None)
        between = ROOT.issue("between", new(), Wanted.authority(extensions=[(limits, True)]))
        assert verdict(between.issue("leaf", new()), between) is expected
    hosts = x509.NameConstraints([x509.DNSName("klinik.example")], None)
    between = ROOT.issue("between", new(), Wanted.authority(extensions=[(hosts, True)]))
    assert verdict(between.issue("leaf", new()), between) is Verdict.GOOD


def test_an_authority_with_number_zero_is_read_without_noise(recwarn: pytest.WarningsRecorder) -> None:
    tbs, *rest = parse(authority("Home made").der).children()
    version, _, *more = tbs.children()
    numbered = encode(SEQUENCE, version.raw, encode(INTEGER, b"\0"), *(one.raw for one in more))
    held = smime.hold(encode(SEQUENCE, numbered, *(one.raw for one in rest)))
    assert held.value.serial == 0
    assert not recwarn.list
