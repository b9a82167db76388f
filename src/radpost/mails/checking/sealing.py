"""Rules of OpenPGP in MIME: multipart/encrypted (RFC 1847, RFC 3156)."""

import re
from typing import Final

from radpost.mails.checking.grammar import position
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Severity, Words, each, shown
from radpost.mime.pgp import Kind
from radpost.mime.reader import Entity, content

_PGP: Final = "application/pgp-encrypted"
_VERSION: Final = re.compile(rb"Version: 1[ \t]*(?:\r?\n\s*)?\Z")
_LOOSE: Final = re.compile(rb"\A\s*Version\s*:?\s*1\s*\Z", re.IGNORECASE)


def encrypted(layer: Layer) -> list[Entity]:
    """Return all multipart/encrypted that have parts and are not S/MIME's."""
    return [
        entity
        for entity in layer.entities()
        if entity.content_type == "multipart/encrypted" and entity.children
    ]


def two_parts(layer: Layer) -> Hits:
    """A multipart/encrypted has exactly two parts."""

    def test(entity: Entity) -> list[Hit]:
        count = len(entity.children)
        if count == 2:
            return []
        at = entity.children[2].start if count > 2 else entity.body_start
        return [Hit(at, f"{count} parts", f"{count} Teile", entity)]

    return each(encrypted(layer), test)


def protocol(layer: Layer) -> Hits:
    """It names its protocol."""

    def test(entity: Entity) -> list[Hit]:
        named = entity.params.get("protocol", "")
        if named.lower() == _PGP:
            return []
        at = position(layer, entity, "Content-Type")
        seen = f"protocol={shown(named)}" if named else "-"
        return [Hit(at, f"the protocol is: {seen}", f"das Protokoll ist: {seen}", entity)]

    return each(encrypted(layer), test)


def control(layer: Layer) -> Hits:
    """The first part is application/pgp-encrypted."""

    def test(entity: Entity) -> list[Hit]:
        first = entity.children[0]
        if first.content_type == _PGP:
            return []
        seen = shown(first.content_type)
        return [Hit(first.start, f"part 1 is {seen}", f"Teil 1 ist {seen}", first)]

    return each(encrypted(layer), test)


def control_version(layer: Layer) -> Hits:
    """The first part says ``Version: 1``."""
    controls = [
        entity
        for entity in layer.entities()
        if entity.content_type == _PGP and not entity.children and entity.size < 256
    ]

    def test(entity: Entity) -> list[Hit]:
        text = content(entity, layer.buffer, 256)
        if _VERSION.match(text):
            return []
        if _LOOSE.match(text):
            en, de = "nearly 'Version: 1', but not to the letter", "fast 'Version: 1', aber nicht genau"
            return [Hit(entity.body_start, en, de, entity, light=True)]
        en, de = f"{len(text)} bytes that are not 'Version: 1'", f"{len(text)} Bytes, nicht 'Version: 1'"
        return [Hit(entity.body_start, en, de, entity)]

    return each(controls, test)


def data_type(layer: Layer) -> Hits:
    """The second part is application/octet-stream."""

    def test(entity: Entity) -> list[Hit]:
        if len(entity.children) < 2:
            return []
        second = entity.children[1]
        if second.content_type == "application/octet-stream":
            return []
        seen = shown(second.content_type)
        return [Hit(second.start, f"part 2 is {seen}", f"Teil 2 ist {seen}", second)]

    return each(encrypted(layer), test)


def relabelled(layer: Layer) -> Hits:
    """The parts of PGP/MIME stand in a multipart/encrypted."""
    found = [one for one in layer.found.payloads if one.kind is Kind.PGP_MIME]
    if not found:
        return None
    out = []
    for entity in layer.entities():
        parts = [child.content_type for child in entity.children]
        if _PGP in parts and entity.content_type != "multipart/encrypted":
            at = position(layer, entity, "Content-Type")
            seen = shown(entity.content_type)
            en = f"the parts of PGP/MIME stand in {seen}"
            out.append(Hit(at, en, f"die Teile von PGP/MIME stehen in {seen}", entity))
    return out


def armored(layer: Layer) -> Hits:
    """OpenPGP data in mails are armored."""

    def test(index: int) -> list[Hit]:
        one = layer.seals[index]
        if one.armor is not None:
            return []
        seen = f"{one.size} bytes, {shown(one.payload.entity.encoding)}"
        en, de = f"binary OpenPGP data ({seen})", f"binäre OpenPGP-Daten ({seen})"
        if one.broken:
            en, de = (
                f"no '-----BEGIN PGP MESSAGE-----' ({seen})",
                f"kein '-----BEGIN PGP MESSAGE-----' ({seen})",
            )
        return [Hit(one.at, en, de, one.payload.entity)]

    kinds = (Kind.PGP_MIME, Kind.INLINE)
    return each((n for n, one in enumerate(layer.seals) if one.payload.kind in kinds and one.size), test)


def alone(layer: Layer) -> Hits:
    """The data part of PGP/MIME holds the armored message and nothing else."""

    def test(index: int) -> list[Hit]:
        one = layer.seals[index]
        if one.armor is None or one.armor.beside is None:
            return []
        behind = one.armor.beside > one.armor.begin
        en = f"other text {'behind' if behind else 'before'} the armored message"
        de = f"anderer Text {'hinter' if behind else 'vor'} der Nachricht als Armor"
        return [Hit(one.at + one.armor.beside, en, de, one.payload.entity)]

    mine = (n for n, one in enumerate(layer.seals) if one.payload.kind is Kind.PGP_MIME and one.armor)
    return each(mine, test)


RULES: Final = (
    Rule(
        "rfc3156-4-two-parts", "RFC 3156", "4", Severity.SERIOUS, two_parts,
        Words(
            "A multipart/encrypted has exactly two parts: the control part and the encrypted data.",
            "Mail programs and gateways by the book refuse it; a part beside the two is not protected by the"
            " encryption.",
            "Put everything that is to be sent into the entity that you encrypt, nothing beside it.",
        ),
        Words(
            "Ein multipart/encrypted hat genau zwei Teile: den Kontrollteil und die verschlüsselten Daten.",
            "Normgerechte Mailprogramme und Gateways lehnen ihn ab; ein weiterer Teil ist nicht durch die"
            " Verschlüsselung geschützt.",
            "Legen Sie alles, was gesendet werden soll, in die Einheit, die Sie verschlüsseln, nichts"
            " daneben.",
        ),
    ),
    Rule(
        "rfc3156-4-protocol", "RFC 3156", "4", Severity.SERIOUS, protocol,
        Words(
            "A multipart/encrypted has the parameter protocol=\"application/pgp-encrypted\".",
            "Receivers do not know that OpenPGP is inside and pass the mail to nobody, or to S/MIME.",
            "Add protocol=\"application/pgp-encrypted\" (in quotes) to the Content-Type of the mail.",
        ),
        Words(
            "Ein multipart/encrypted hat den Parameter protocol=\"application/pgp-encrypted\".",
            "Empfänger wissen nicht, dass OpenPGP darin ist, und geben die Mail niemandem oder an S/MIME.",
            "Fügen Sie protocol=\"application/pgp-encrypted\" (in Anführungszeichen) an den Content-Type an.",
        ),
    ),
    Rule(
        "rfc3156-4-control", "RFC 3156", "4", Severity.SERIOUS, control,
        Words(
            "The first part of a multipart/encrypted is application/pgp-encrypted.",
            "Receivers that look for it there do not take the mail for PGP/MIME.",
            "Write the control part first: 'Content-Type: application/pgp-encrypted', blank line, 'Version:"
            " 1'.",
        ),
        Words(
            "Der erste Teil eines multipart/encrypted ist application/pgp-encrypted.",
            "Empfänger, die ihn dort suchen, halten die Mail nicht für PGP/MIME.",
            "Schreiben Sie den Kontrollteil zuerst: 'Content-Type: application/pgp-encrypted', Leerzeile,"
            " 'Version: 1'.",
        ),
    ),
    Rule(
        "rfc3156-4-version", "RFC 3156", "4", Severity.SERIOUS, control_version,
        Words(
            "The control part holds the line 'Version: 1' and nothing else.",
            "Strict receivers refuse a version that they cannot read.",
            "Write the ten characters 'Version: 1' and CR LF, without a blank before the colon.",
        ),
        Words(
            "Der Kontrollteil enthält die Zeile 'Version: 1' und sonst nichts.",
            "Strenge Empfänger lehnen eine unlesbare Version ab.",
            "Schreiben Sie die zehn Zeichen 'Version: 1' und CR LF, ohne Leerzeichen vor dem Doppelpunkt.",
        ),
    ),
    Rule(
        "rfc3156-4-data", "RFC 3156", "4", Severity.SERIOUS, data_type,
        Words(
            "The second part of a multipart/encrypted is application/octet-stream.",
            "Receivers that go by the type do not decrypt it; servers may convert a text type.",
            "Write 'Content-Type: application/octet-stream' into the header of the second part.",
        ),
        Words(
            "Der zweite Teil eines multipart/encrypted ist application/octet-stream.",
            "Empfänger, die nach dem Typ gehen, entschlüsseln ihn nicht; Server wandeln Texttypen um.",
            "Schreiben Sie 'Content-Type: application/octet-stream' in den Kopf des zweiten Teils.",
        ),
    ),
    Rule(
        "rfc3156-4-label", "RFC 3156", "4", Severity.SERIOUS, relabelled,
        Words(
            "The two parts of PGP/MIME stand in a multipart/encrypted.",
            "In another multipart they are two attachments to receivers by the book, and nothing is"
            " decrypted.",
            "Write multipart/encrypted. If your product does, a mail server on the way (Exchange is known"
            " for it) or a content filter rewrote the mail: exempt this traffic from it.",
        ),
        Words(
            "Die zwei Teile von PGP/MIME stehen in einem multipart/encrypted.",
            "In einem anderen Multipart sind sie für normgerechte Empfänger zwei Anhänge; nichts wird"
            " entschlüsselt.",
            "Schreiben Sie multipart/encrypted. Tut Ihr Produkt das, hat ein Mailserver (Exchange ist dafür"
            " bekannt) oder ein Filter die Mail umgeschrieben: nehmen Sie diesen Verkehr davon aus.",
        ),
    ),
    Rule(
        "rfc3156-4-alone", "RFC 3156", "4", Severity.LIGHT, alone,
        Words(
            "The data part of PGP/MIME holds the armored message and nothing else.",
            "OpenPGP programs skip the text, strict gateways refuse the part. A footer shows that something"
            " on the way rewrites mails, which makes signatures of multipart/signed bad.",
            "Write nothing before BEGIN and behind END; exempt these mails from content filters that add"
            " footers.",
        ),
        Words(
            "Der Datenteil von PGP/MIME enthält die Nachricht als Armor und sonst nichts.",
            "OpenPGP-Programme übergehen den Text, strenge Gateways lehnen den Teil ab. Eine Fußzeile zeigt,"
            " dass unterwegs etwas Mails umschreibt; das macht Signaturen von multipart/signed ungültig.",
            "Schreiben Sie nichts vor BEGIN und hinter END; nehmen Sie diese Mails von Filtern aus, die"
            " Fußzeilen anfügen.",
        ),
    ),
    Rule(
        "rfc3156-2-armor", "RFC 3156", "2", Severity.SERIOUS, armored,
        Words(
            "OpenPGP data in a mail are ASCII-armored.",
            "Binary data, even in base64, are not found by receivers that look for '-----BEGIN PGP"
            " MESSAGE-----'.",
            "Let the OpenPGP program write armor (gpg --armor), and give the part no transfer encoding but"
            " 7bit.",
        ),
        Words(
            "OpenPGP-Daten stehen in einer Mail als ASCII-Armor.",
            "Binäre Daten, auch in base64, finden Empfänger nicht, die nach '-----BEGIN PGP MESSAGE-----'"
            " suchen.",
            "Lassen Sie das OpenPGP-Programm Armor schreiben (gpg --armor), und geben Sie dem Teil keine"
            " Transferkodierung außer 7bit.",
        ),
    ),
)  # fmt: skip
