"""Rules of OpenPGP messages: packets, recipients, integrity; and what a key shows (RFC 4880, RFC 9580)."""

from typing import Final

from radpost.errors import NO_INTEGRITY, NO_SECRET_KEY, PASSWORD_ENCRYPTED, Side
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Scope, Severity, Words, each
from radpost.mails.checking.outline import Outline
from radpost.openpgp import packets
from radpost.openpgp.material import ECDH, ELGAMAL, RSA
from radpost.openpgp.values import Signature
from radpost.words import Verdict

_SEIPD2: Final = 2
_X25519, _X448 = 25, 26
_ALGORITHMS: Final = {RSA: "RSA", ELGAMAL: "ElGamal", ECDH: "ECDH", _X25519: "X25519", _X448: "X448"}
_OLD_CIPHERS: Final = frozenset({"IDEA", "3DES", "CAST5", "BLOWFISH"})
_SHORT_RSA: Final = 2000
"""The number in the packet is at most as long as the key, and seldom much shorter."""
_ENCRYPTED: Final = frozenset({packets.SED, packets.SEIPD, packets.AEAD})


def _hit(one: Outline, en: str, de: str, *, light: bool = False) -> Hit:
    return Hit(one.at, en, de, one.payload.entity, light=light)


def _messages(layer: Layer) -> list[Outline]:
    return [one for one in layer.seals if one.armor is None or one.armor.kind == "MESSAGE"]


def _sealed(layer: Layer) -> list[Outline]:
    return [one for one in _messages(layer) if one.tag in _ENCRYPTED]


def whole(layer: Layer) -> Hits:
    """The packets can be read to their end, and nothing follows."""

    def test(one: Outline) -> list[Hit]:
        if not one.broken:
            return []
        en = f"{one.broken} ({one.size} bytes can be decoded)"
        return [_hit(one, en, f"Pakete unlesbar: {one.broken} ({one.size} Bytes dekodierbar)")]

    return each(_messages(layer), test)


def integrity(layer: Layer) -> Hits:
    """Encrypted data are integrity protected."""

    def test(one: Outline) -> list[Hit]:
        if one.tag != packets.SED:
            return []
        en = "a packet 9 (Symmetrically Encrypted Data) without MDC"
        return [_hit(one, en, "ein Paket 9 (Symmetrically Encrypted Data) ohne MDC")]

    return each(_sealed(layer), test)


def recipients(layer: Layer) -> Hits:
    """A message is encrypted to a public key."""

    def test(one: Outline) -> list[Hit]:
        if one.recipients:
            return []
        if one.passwords:
            en = f"encrypted with a passphrase ({one.passwords} packets 3), to no key"
            return [
                _hit(
                    one,
                    en,
                    f"mit einer Passphrase verschlüsselt ({one.passwords} Pakete 3), an keinen Schlüssel",
                )
            ]
        return [_hit(one, "no session key packet", "kein Sitzungsschlüssel-Paket")]

    return each(_sealed(layer), test)


def hidden(layer: Layer) -> Hits:
    """The recipients' keys are named."""

    def test(one: Outline) -> list[Hit]:
        count = sum(item.hidden for item in one.recipients)
        if not count:
            return []
        en = f"{count} of {len(one.recipients)} key IDs are 0"
        return [_hit(one, en, f"{count} von {len(one.recipients)} Schlüssel-IDs sind 0")]

    return each((one for one in _sealed(layer) if one.recipients), test)


def common(layer: Layer) -> Hits:
    """The packets are those that all OpenPGP programs in the field read."""

    def test(one: Outline) -> list[Hit]:
        if one.tag == packets.AEAD:
            en = "packet 20 (OCB of LibrePGP and GnuPG 2.3), in no RFC"
            return [_hit(one, en, "Paket 20 (OCB aus LibrePGP und GnuPG 2.3), in keinem RFC")]
        if one.tag == packets.SEIPD and one.version >= _SEIPD2:
            en = "packet 18 of version 2 (AEAD of RFC 9580)"
            return [_hit(one, en, "Paket 18 in Version 2 (AEAD nach RFC 9580)", light=True)]
        newer = [item.version for item in one.recipients if item.version != 3]
        if newer:
            en = f"session key packets of version {max(newer)}"
            return [_hit(one, en, f"Sitzungsschlüssel-Pakete der Version {max(newer)}", light=True)]
        return []

    return each(_sealed(layer), test)


def key_kinds(layer: Layer) -> Hits:
    """The recipients' keys are of a known kind and long enough."""

    def test(one: Outline) -> list[Hit]:
        out = []
        for item in one.recipients:
            if item.version == 3 and item.algorithm not in _ALGORITHMS:
                seen = f"{item.keyid}: {item.algorithm}"
                en, de = (
                    f"an old or unknown kind of key ({seen})",
                    f"alte oder unbekannte Schlüsselart ({seen})",
                )
                out.append(_hit(one, en, de))
            elif item.bits and item.bits < _SHORT_RSA:
                size = max(1024, item.bits)
                en, de = f"RSA of about {size} bits ({item.keyid})", f"RSA mit etwa {size} Bit ({item.keyid})"
                out.append(_hit(one, en, de))
        return out

    return each((one for one in _sealed(layer) if one.recipients), test)


def opens(layer: Layer) -> Hits:
    """What is sealed for a key that we have opens, with its integrity proven."""
    out = []
    for reason, detail, at in layer.unopened:
        if reason in (NO_SECRET_KEY, PASSWORD_ENCRYPTED, NO_INTEGRITY):
            continue  # no fault of the sender, or said by the rules above
        faulty = reason.side is Side.PARTNER
        en, de = f"{reason.code} {reason.name}", f"{reason.code} {reason.name}"
        if detail:
            en, de = f"{en}: {detail}", f"{de}: {detail}"
        out.append(Hit(at, en, de, light=not faulty))
    opened = any(True for _ in layer.seals) and len(layer.unopened) < len(layer.seals)
    return out if out or opened else None


def cipher(layer: Layer) -> Hits:
    """The session cipher is AES."""
    seal = layer.seal
    if seal is None or not seal.cipher:
        return None
    if seal.cipher.upper().replace("TRIPLEDES", "3DES") not in _OLD_CIPHERS:
        return ()
    return (Hit(0, f"the cipher is {seal.cipher}", f"das Verfahren ist {seal.cipher}"),)


def digest(layer: Layer) -> Hits:
    """Signatures use no broken digest."""

    def test(pair: tuple[Signature, int]) -> list[Hit]:
        weak = layer.seal is not None and any("sha1" in one or "md5" in one for one in layer.seal.warnings)
        if pair[0].verdict is not Verdict.WEAK_DIGEST and not weak:
            return []
        return [Hit(pair[1], "the signature uses SHA-1 or MD5", "die Signatur benutzt SHA-1 oder MD5")]

    return each(layer.verified(), test)


def signature(layer: Layer) -> Hits:
    """Signatures are right, and their keys good."""

    def test(pair: tuple[Signature, int]) -> list[Hit]:
        found, at = pair
        if found.verdict is Verdict.BAD:
            return [Hit(at, "the signature does not match", "die Signatur passt nicht")]
        if found.verdict in (Verdict.EXPIRED_KEY, Verdict.REVOKED_KEY):
            seen = found.verdict.value
            en = f"signed by a key that is no longer good ({seen})"
            return [Hit(at, en, f"Signatur eines nicht mehr gültigen Schlüssels ({seen})", light=True)]
        return []

    return each(layer.verified(), test)


RULES: Final = (
    Rule(
        "rfc4880-4-packets", "RFC 4880", "4.2, 11.3", Severity.FATAL, whole,
        Words(
            "An OpenPGP message is session keys and one packet of encrypted data; lengths agree, nothing"
            " follows.",
            "GnuPG stops with an error before or after it has decrypted: nothing is released.",
            "Close the OpenPGP program's output before you read it, send it whole, and never join two"
            " messages in one block.",
        ),
        Words(
            "Eine OpenPGP-Nachricht sind Sitzungsschlüssel und ein Paket verschlüsselter Daten; die Längen"
            " stimmen, nichts folgt.",
            "GnuPG bricht vor oder nach dem Entschlüsseln mit Fehler ab: nichts wird freigegeben.",
            "Schließen Sie die Ausgabe des OpenPGP-Programms, bevor Sie sie lesen, senden Sie sie ganz, und"
            " verbinden Sie nie zwei Nachrichten zu einem Block.",
        ),
    ),
    Rule(
        "rfc4880-5.13-integrity", "RFC 4880", "5.7, 5.13", Severity.FATAL, integrity,
        Words(
            "Encrypted data are integrity protected (packet 18 with MDC, or AEAD).",
            "Everybody on the way could change the data unseen (EFAIL, 2018). Radpost and current GnuPG"
            " release nothing; OpenPGP of 2004 still allowed it.",
            "Switch the MDC on: remove --disable-mdc and --rfc2440 or --pgp6 from the call of gpg, or renew"
            " the receiver's key whose preferences lack it (gpg: setpref).",
        ),
        Words(
            "Verschlüsselte Daten haben Integritätsschutz (Paket 18 mit MDC oder AEAD).",
            "Jeder auf dem Weg könnte die Daten unbemerkt ändern (EFAIL, 2018). Radpost und heutiges GnuPG"
            " geben nichts frei; OpenPGP von 2004 erlaubte es noch.",
            "Schalten Sie den MDC ein: entfernen Sie --disable-mdc und --rfc2440 oder --pgp6 aus dem"
            " gpg-Aufruf, oder erneuern Sie den Empfängerschlüssel, dessen Vorgaben ihn nicht nennen (gpg:"
            " setpref).",
        ),
    ),
    Rule(
        "rfc4880-5.1-recipient", "RFC 4880", "5.1", Severity.FATAL, recipients,
        Words(
            "The message is encrypted to a public key of the receiver.",
            "A gateway has no passphrase to type in: it cannot decrypt the message.",
            "Encrypt to the receiver's key (gpg --encrypt --recipient FINGERPRINT), not with gpg"
            " --symmetric.",
        ),
        Words(
            "Die Nachricht ist an einen öffentlichen Schlüssel des Empfängers verschlüsselt.",
            "Ein Gateway hat keine Passphrase einzugeben: es kann die Nachricht nicht entschlüsseln.",
            "Verschlüsseln Sie an den Schlüssel des Empfängers (gpg --encrypt --recipient FINGERPRINT),"
            " nicht mit gpg --symmetric.",
        ),
    ),
    Rule(
        "rfc4880-5.1-named", "RFC 4880", "5.1", Severity.LIGHT, hidden,
        Words(
            "The session key packets name the receiver's key.",
            "The receiver must try each of its keys; a gateway can neither tell a mail for others nor say"
            " which key is missing.",
            "Leave --throw-keyids and --hidden-recipient out.",
        ),
        Words(
            "Die Sitzungsschlüssel-Pakete nennen den Schlüssel des Empfängers.",
            "Der Empfänger muss jeden seiner Schlüssel versuchen; ein Gateway erkennt weder eine Mail für"
            " andere noch den fehlenden Schlüssel.",
            "Lassen Sie --throw-keyids und --hidden-recipient weg.",
        ),
    ),
    Rule(
        "rfc9580-5.13-version", "RFC 9580", "5.1, 5.13", Severity.SERIOUS, common,
        Words(
            "The packets are those of RFC 4880: session keys of version 3, encrypted data of version 1.",
            "GnuPG 2.2 and the programs of most partners cannot read the newer ones; packet 20 is read by"
            " GnuPG from 2.3 on only.",
            "Write for version 4 keys without AEAD: take it from the receiver's key preferences, or call gpg"
            " with --rfc4880.",
        ),
        Words(
            "Die Pakete sind die von RFC 4880: Sitzungsschlüssel Version 3, verschlüsselte Daten Version 1.",
            "GnuPG 2.2 und die Programme der meisten Partner lesen neuere nicht; Paket 20 liest nur GnuPG ab"
            " 2.3.",
            "Schreiben Sie für Schlüssel der Version 4 ohne AEAD: nehmen Sie es aus den Vorgaben des"
            " Empfängerschlüssels, oder rufen Sie gpg mit --rfc4880 auf.",
        ),
    ),
    Rule(
        "rfc9580-12.4-key", "RFC 9580", "9.1, 12.4", Severity.LIGHT, key_kinds,
        Words(
            "Messages are encrypted to RSA keys of 2048 bits or more, ElGamal, ECDH or X25519.",
            "The data can be read by others in the near future; strict programs refuse to encrypt or"
            " decrypt.",
            "Ask the receiver for a new key (Curve25519, or RSA of 3072 bits).",
        ),
        Words(
            "Nachrichten sind an RSA-Schlüssel ab 2048 Bit, ElGamal, ECDH oder X25519 verschlüsselt.",
            "Andere können die Daten in naher Zukunft lesen; strenge Programme ver- und entschlüsseln nicht.",
            "Bitten Sie den Empfänger um einen neuen Schlüssel (Curve25519 oder RSA mit 3072 Bit).",
        ),
    ),
    Rule(
        "rfc4880-5.14-opens", "RFC 4880", "5.13, 5.14", Severity.FATAL, opens,
        Words(
            "What is encrypted to the receiver's key decrypts, and its integrity check is right.",
            "Nothing is released; the receiver answers deleted/error and waits for the mail to be sent"
            " again.",
            "Compare the sealed data as sent with those that arrived; send the mail again. Check that the"
            " OpenPGP program ended without error before its output was used.",
        ),
        Words(
            "Was an den Schlüssel des Empfängers verschlüsselt ist, lässt sich öffnen und besteht die"
            " Integritätsprüfung.",
            "Nichts wird freigegeben; der Empfänger antwortet deleted/error und wartet auf erneuten Versand.",
            "Vergleichen Sie gesendete und angekommene Daten; senden Sie die Mail erneut. Prüfen Sie, ob das"
            " OpenPGP-Programm fehlerfrei endete, bevor seine Ausgabe benutzt wurde.",
        ),
    ),
    Rule(
        "rfc9580-9.3-cipher", "RFC 9580", "9.3", Severity.LIGHT, cipher,
        Words(
            "Data are encrypted with AES.",
            "Gateways admit IDEA, 3DES, CAST5 and Blowfish under a switch for old partners only; others"
            " refuse.",
            "Use AES-256 or AES-128, which every OpenPGP program since 2000 reads (gpg:"
            " personal-cipher-preferences AES256).",
        ),
        Words(
            "Daten sind mit AES verschlüsselt.",
            "Gateways lassen IDEA, 3DES, CAST5 und Blowfish nur mit einem Schalter für alte Partner zu.",
            "Benutzen Sie AES-256 oder AES-128, die jedes OpenPGP-Programm seit 2000 liest (gpg:"
            " personal-cipher-preferences AES256).",
        ),
        Scope.INSIDE,
    ),
    Rule(
        "rfc9580-9.5-digest", "RFC 9580", "9.5", Severity.LIGHT, digest,
        Words(
            "Signatures use SHA-256 or a longer digest.",
            "A signature with SHA-1 or MD5 proves nothing any more: the mail counts as unsigned"
            " (weak-digest), and partners that require a signature refuse it.",
            "Set the digest to SHA-256 (gpg: personal-digest-preferences SHA256; old DSA-1024 keys need a"
            " new key).",
        ),
        Words(
            "Signaturen benutzen SHA-256 oder ein längeres Verfahren.",
            "Eine Signatur mit SHA-1 oder MD5 beweist nichts mehr: die Mail gilt als unsigniert"
            " (weak-digest), und Partner, die eine Signatur verlangen, lehnen sie ab.",
            "Stellen Sie SHA-256 ein (gpg: personal-digest-preferences SHA256; alte DSA-1024-Schlüssel"
            " brauchen Ersatz).",
        ),
    ),
    Rule(
        "rfc4880-5.2-signature", "RFC 4880", "5.2.4", Severity.SERIOUS, signature,
        Words(
            "A signature, where there is one, matches the data, and its key is neither expired nor revoked.",
            "A bad signature goes to quarantine with every policy but 'ignore' (the recommendation, 5.1: an"
            " unusable one must not disturb the transfer, a wrong one is another matter).",
            "Sign the very bytes that you encrypt (combined method: gpg --sign --encrypt in one call), with"
            " a key that is valid now.",
        ),
        Words(
            "Eine Signatur, wo es eine gibt, passt zu den Daten; ihr Schlüssel ist weder abgelaufen noch"
            " widerrufen.",
            "Eine falsche Signatur führt außer bei 'ignore' in die Quarantäne (Empfehlung, 5.1: eine nicht"
            " nutzbare darf nicht stören, eine falsche ist etwas anderes).",
            "Signieren Sie genau die Bytes, die Sie verschlüsseln (kombiniert: gpg --sign --encrypt in einem"
            " Aufruf), mit einem jetzt gültigen Schlüssel.",
        ),
    ),
)  # fmt: skip
