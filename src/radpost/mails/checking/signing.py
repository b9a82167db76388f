"""Rules of what is signed: by multipart/signed, or in the message that is encrypted (RFC 3156 3, 5)."""

import re
from typing import Final

from radpost.mails.checking.grammar import position, some
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Scope, Severity, Words, each, mark, shown
from radpost.mime.pgp import Signed
from radpost.mime.reader import content
from radpost.openpgp import armor, packets
from radpost.openpgp.material import DIGESTS

_MICALG: Final = re.compile(r"pgp-[a-z0-9]+\Z")
_HIGH: Final = re.compile(rb"[\x80-\xff]")
_TRAILING: Final = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_PARTIAL: Final = 64 * 1024


def signed(layer: Layer) -> list[Signed]:
    """Return all multipart/signed that claim or hold an OpenPGP signature."""
    return [one for one in layer.found.signed if "pkcs7" not in one.entity.params.get("protocol", "")
            and "pkcs7" not in one.signature.content_type]  # fmt: skip


def signed_parts(layer: Layer) -> Hits:
    """A multipart/signed has two parts, the second is the signature."""

    def test(one: Signed) -> list[Hit]:
        parts = one.entity.children
        if len(parts) != 2:
            return [Hit(one.entity.body_start, f"{len(parts)} parts", f"{len(parts)} Teile", one.entity)]
        if parts[1].content_type != "application/pgp-signature":
            seen = shown(parts[1].content_type)
            return [Hit(parts[1].start, f"part 2 is {seen}", f"Teil 2 ist {seen}", parts[1])]
        return []

    return each(signed(layer), test)


def signed_protocol(layer: Layer) -> Hits:
    """A multipart/signed names protocol and micalg."""

    def test(one: Signed) -> list[Hit]:
        at = position(layer, one.entity, "Content-Type")
        named = one.entity.params.get("protocol", "")
        out = []
        if named.lower() != "application/pgp-signature":
            seen = f"protocol={shown(named)}" if named else "-"
            out.append(Hit(at, f"the protocol is: {seen}", f"das Protokoll ist: {seen}", one.entity))
        micalg = one.entity.params.get("micalg", "")
        if not _MICALG.match(micalg):
            seen = f"micalg={shown(micalg)}" if micalg else "-"
            en, de = f"the digest is: {seen}", f"das Hashverfahren ist: {seen}"
            out.append(Hit(at, en, de, one.entity, light=bool(_MICALG.match(micalg.lower()))))
        return out

    return each(signed(layer), test)


def _digest(one: Signed, buffer: bytes) -> int | None:
    """Return the number of the digest in a detached signature (RFC 4880 5.2)."""
    raw = content(one.signature, buffer, _PARTIAL)
    try:
        found = next(packets.read_small(armor.unarmor_all(raw)), None)
    except (packets.Malformed, ValueError):
        return None
    except Exception:  # noqa: BLE001  a signature that cannot be read is another rule's matter
        return None
    if found is None or found.tag != packets.SIGNATURE or len(found.content) < 4:
        return None
    version = found.content[0]
    return found.content[3] if version in (4, 5, 6) else None


def micalg_true(layer: Layer) -> Hits:
    """The micalg is the digest of the signature."""
    named = [
        (one, DIGESTS[digest])
        for one in signed(layer)
        if (digest := _digest(one, layer.buffer)) in DIGESTS and one.micalg.startswith("pgp-")
    ]

    def test(pair: tuple[Signed, str]) -> list[Hit]:
        one, digest = pair
        if one.micalg == f"pgp-{digest}":
            return []
        at = position(layer, one.entity, "Content-Type")
        seen = f"micalg={shown(one.micalg)}, pgp-{digest}"
        en, de = f"named and used digest differ: {seen}", f"genanntes und benutztes Verfahren: {seen}"
        return [Hit(at, en, de, one.entity)]

    return each(named, test)


def signed_bits(layer: Layer) -> Hits:
    """What is signed is 7bit."""

    def test(one: Signed) -> list[Hit]:
        found = _HIGH.search(layer.buffer, one.start, one.end)
        if found is None:
            return []
        seen = mark(layer.buffer[found.start()])
        en = f"the octet {seen} in what is signed"
        return [Hit(found.start(), en, f"das Byte {seen} im Signierten", one.content)]

    return each(signed(layer), test)


def signed_blanks(layer: Layer) -> Hits:
    """No line of what is signed ends in a blank."""

    def test(one: Signed) -> list[Hit]:
        found = some(_TRAILING, layer, one.start, one.end)
        if not found:
            return []
        en, de = f"{len(found)} lines end in blanks", f"{len(found)} Zeilen enden mit Leerzeichen"
        return [Hit(found[0].start(), en, de, one.content)]

    return each(signed(layer), test)


def canonical(layer: Layer) -> Hits:
    """What was sealed has CRLF line ends."""
    if layer.bare:
        return None
    text = [entity for entity in layer.leaves() if entity.encoding == "binary"]
    for found in _BARE_LF.finditer(layer.buffer):
        if not any(entity.body_start <= found.start() < entity.body_end for entity in text):
            count = len(_BARE_LF.findall(layer.buffer))
            en, de = f"{count} line ends are LF alone", f"{count} Zeilenenden sind LF allein"
            return (Hit(found.start(), en, de),)
    return ()


def sealed_bits(layer: Layer) -> Hits:
    """What was signed and encrypted in one message is 7bit."""
    if layer.bare or layer.seal is None or layer.seal.signature.fingerprint is None:
        return None
    found = _HIGH.search(layer.buffer)
    if found is None:
        return ()
    seen = mark(layer.buffer[found.start()])
    en = f"8-bit or binary data, the first octet is {seen}"
    return (Hit(found.start(), en, f"8-Bit- oder binäre Daten, das erste Byte ist {seen}"),)


RULES: Final = (
    Rule(
        "rfc1847-2.1-parts", "RFC 1847", "2.1", Severity.SERIOUS, signed_parts,
        Words(
            "A multipart/signed has two parts: what is signed, then application/pgp-signature.",
            "The signature is not found or covers something else: the mail counts as unsigned.",
            "Put all content into the first part (a multipart if need be), the detached signature into the"
            " second.",
        ),
        Words(
            "Ein multipart/signed hat zwei Teile: das Signierte, dann application/pgp-signature.",
            "Die Signatur wird nicht gefunden oder deckt anderes: die Mail gilt als unsigniert.",
            "Legen Sie allen Inhalt in den ersten Teil (bei Bedarf ein Multipart), die abgetrennte Signatur"
            " in den zweiten.",
        ),
    ),
    Rule(
        "rfc3156-5-protocol", "RFC 3156", "5", Severity.SERIOUS, signed_protocol,
        Words(
            "A multipart/signed has protocol=\"application/pgp-signature\" and micalg=pgp-<digest> in small"
            " letters.",
            "Receivers that hash while they read do not know the digest and call the mail unsigned.",
            "Write micalg=pgp-sha256 (or the digest that signs) and the protocol into the Content-Type.",
        ),
        Words(
            "Ein multipart/signed hat protocol=\"application/pgp-signature\" und micalg=pgp-<verfahren> in"
            " Kleinbuchstaben.",
            "Empfänger, die beim Lesen hashen, kennen das Verfahren nicht; die Mail gilt als unsigniert.",
            "Schreiben Sie micalg=pgp-sha256 (oder das benutzte Verfahren) und das Protokoll in den"
            " Content-Type.",
        ),
    ),
    Rule(
        "rfc3156-5-micalg", "RFC 3156", "5", Severity.SERIOUS, micalg_true,
        Words(
            "The digest named by micalg is the one that the signature uses.",
            "Receivers that hash while they read find the signature bad.",
            "Set micalg from the signature that was made, not from a constant.",
        ),
        Words(
            "Das von micalg genannte Hashverfahren ist das der Signatur.",
            "Empfänger, die beim Lesen hashen, halten die Signatur für falsch.",
            "Setzen Sie micalg nach der erzeugten Signatur, nicht nach einer Konstanten.",
        ),
    ),
    Rule(
        "rfc3156-3-7bit", "RFC 3156", "3", Severity.SERIOUS, signed_bits,
        Words(
            "What multipart/signed covers is 7bit.",
            "A server that re-encodes 8-bit text on its way makes the signature bad.",
            "Encode text in quoted-printable and data in base64 before you sign.",
        ),
        Words(
            "Was multipart/signed deckt, ist 7bit.",
            "Ein Server, der 8-Bit-Text unterwegs umkodiert, macht die Signatur ungültig.",
            "Kodieren Sie Text in quoted-printable und Daten in base64, bevor Sie signieren.",
        ),
    ),
    Rule(
        "rfc3156-5-blanks", "RFC 3156", "5", Severity.LIGHT, signed_blanks,
        Words(
            "No line of what multipart/signed covers ends in a blank.",
            "Transport removes such blanks, and OpenPGP programs differ whether they count: the signature is"
            " bad.",
            "Encode the text in quoted-printable (=20), or remove the blanks before you sign.",
        ),
        Words(
            "Keine Zeile im Bereich von multipart/signed endet mit Leerzeichen.",
            "Der Transport entfernt sie, und OpenPGP-Programme zählen sie verschieden: die Signatur ist"
            " ungültig.",
            "Kodieren Sie den Text in quoted-printable (=20), oder entfernen Sie sie vor dem Signieren.",
        ),
    ),
    Rule(
        "rfc3156-5-canonical", "RFC 3156", "5, 6.2", Severity.LIGHT, canonical,
        Words(
            "What is signed or sealed has the canonical line ends CR LF.",
            "A receiver that cuts at CR LF finds no boundary inside; one that rewrites the mail as"
            " multipart/signed gets a bad signature.",
            "Convert the inner mail to CR LF before you hand it to the OpenPGP program, in binary mode.",
        ),
        Words(
            "Was signiert oder verschlüsselt wird, hat die kanonischen Zeilenenden CR LF.",
            "Ein Empfänger, der an CR LF schneidet, findet innen keine Boundary; einer, der als"
            " multipart/signed umschreibt, bekommt eine ungültige Signatur.",
            "Wandeln Sie die innere Mail in CR LF um, bevor Sie sie im Binärmodus dem OpenPGP-Programm"
            " geben.",
        ),
        Scope.INSIDE,
    ),
    Rule(
        "rfc3156-6.2-7bit", "RFC 3156", "6.2", Severity.LIGHT, sealed_bits,
        Words(
            "What is signed and encrypted in one OpenPGP message follows the rules of multipart/signed:"
            " 7bit.",
            "Receivers that only decrypt take it; one that rewrites the mail as multipart/signed cannot.",
            "Encode objects in base64 inside too. Leave them binary only for partners that asked for it.",
        ),
        Words(
            "Was in einer OpenPGP-Nachricht signiert und verschlüsselt ist, folgt multipart/signed: 7bit.",
            "Empfänger, die nur entschlüsseln, nehmen es an; einer, der als multipart/signed umschreibt,"
            " kann es nicht.",
            "Kodieren Sie Objekte auch innen in base64. Lassen Sie sie nur für Partner binär, die es"
            " wünschten.",
        ),
        Scope.INSIDE,
    ),
)  # fmt: skip
