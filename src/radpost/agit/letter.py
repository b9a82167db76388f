"""Write one mail of a transmission: objects in a Supplement 54 entity, sealed, in an RFC 3156 envelope.

The entity is DICOM MIME (PS3.11 G, PS3.12 K, W; @GIT 1.1r 2.2, 5.1), signed and encrypted in one pass
(RFC 3156 6.2, @GIT 1.1r 4).

The inner entity repeats From, To, Date, Message-ID and the set headers, so that the signature binds them
(DESIGN 4 "Binding"). Outside the encryption stand addresses, dates, sizes and the set headers only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from radpost.agit import names
from radpost.agit.naming import document_name, document_type, file_id
from radpost.agit.survey import is_study_uid
from radpost.mime.folding import boundary, message_fields, parameters
from radpost.mime.pgp import Envelope, envelope
from radpost.mime.writer import Leaf, Multipart, Source, pieces
from radpost.openpgp import armor
from radpost.openpgp.values import Chunk

Fields = tuple[tuple[str, str], ...]

_TEXT: Final = (
    b"DICOM e-mail. The attached objects were sent by a DICOM e-mail gateway.\r\n"
    b"DICOM-E-Mail. Die angefuegten Objekte wurden von einem DICOM-E-Mail-Gateway gesendet.\r\n"
)
Mechanism: TypeAlias = Literal["1", "2", "both"]
"""How receipts are asked for: outside by RFC 8098, inside the encryption (experimental), or both ways."""

_BOUND: Final = frozenset({"From", "To", "Date", "Message-ID", "MIME-Version"})
_PART: Final = 1024
"""Room for delimiter and header of one object; names are cut to fit."""
_FRAMING: Final = 8192
"""Room for session keys of some recipients, signature, armor head and mail header."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object to be written."""

    source: Source
    is_dicom: bool
    media_type: str
    name: str
    """File name for a document; DICOM objects are named by their position."""
    study_uid: str
    compressible: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail: everything that decides its bytes but the keys and the randomness of encryption."""

    sender: str
    recipient: str
    date: datetime
    message_id: str
    set_id: str
    part: int
    total: int
    first_position: int
    items: tuple[Item, ...]
    boundaries: tuple[str, str]
    dialect: Literal["agit-1.1", "agit-1.5"] = "agit-1.5"
    inner_encoding: Literal["base64", "binary"] = "base64"
    receipt: bool = True
    receipt_mechanism: Mechanism = "1"
    receipt_key: str = ""
    """Fingerprint of the key that receipts of mechanism 2 shall be encrypted to: ours."""
    study_uid_outside: bool = False


def boundaries(first: bytes, second: bytes) -> tuple[str, str]:
    """Return the boundaries of the inner and the outer multipart from random bytes."""
    return boundary(first), boundary(second)


def inner_chunks(letter: Letter) -> Iterator[Chunk]:
    """Yield what is to be signed and encrypted, each piece with whether compression pays for its object."""
    node = _node(letter)
    # by identity: two objects of the same bytes are equal leaves
    compressible = {
        id(leaf): item.compressible for leaf, item in zip(node.children[1:], letter.items, strict=True)
    }
    for data, leaf in pieces(node, _inner_fields(letter)):
        yield Chunk(data, leaf is None or compressible.get(id(leaf), True))


def outer_envelope(letter: Letter) -> Envelope:
    """Return what stands before and behind the armor."""
    return envelope(outer_fields(letter), letter.boundaries[1])


def outer_fields(letter: Letter) -> Fields:
    """Return the header of the mail; no patient data, no inner names."""
    fields = list(
        message_fields(
            sender=letter.sender,
            recipient=letter.recipient,
            subject=names.SUBJECT,
            date=letter.date,
            message_id=letter.message_id,
        )
    )
    if letter.receipt and letter.receipt_mechanism != "2":
        fields.append((names.DISPOSITION_NOTIFICATION_TO, letter.sender))
    fields.extend(set_fields(letter))
    if letter.study_uid_outside:
        study = next((item.study_uid for item in letter.items if is_study_uid(item.study_uid)), "")
        if study:
            fields.append((names.STUDY_ID, study))
    return tuple(fields)


def set_fields(letter: Letter) -> Fields:
    """Return the set headers, which stand outside and inside (@GIT practice 1); 1.1r has none."""
    if letter.dialect == "agit-1.1":
        return ()
    return (
        (names.SET_ID, letter.set_id),
        (names.SET_PART, str(letter.part)),
        (names.SET_TOTAL, str(letter.total)),
    )


def sealed_bound(plain: int) -> int:
    """Return an upper bound of the size of a mail whose inner entity of ``plain`` bytes does not compress."""
    packed = plain + plain // 8192 * 8 + _FRAMING
    return armored_size(packed) + _FRAMING


def armored_size(binary: int) -> int:
    """Return the size of armor as we write it, in lines with CRLF (RFC 4880 6.2)."""
    text = -(-binary // 3) * 4
    return text + -(-text // armor.LINE) * 2


def item_bound(size: int, inner_encoding: str) -> int:
    """Return an upper bound of what one object adds to the inner entity."""
    encoded = size if inner_encoding == "binary" else -(-size // 57) * 78
    return encoded + _PART


def _inner_fields(letter: Letter) -> Fields:
    bound = (field for field in outer_fields(letter) if field[0] in _BOUND)
    return (*bound, *set_fields(letter), *_request_fields(letter))


def _request_fields(letter: Letter) -> Fields:
    """Return the request of mechanism 2, in the header inside the encryption (@GIT practice 4, RFC 2045 7).

    The names are verified, their places and values are not. Key ID: 16 hex digits. The Content-ID is the
    Message-ID, so that whoever echoes it names the mail.
    """
    if not letter.receipt or letter.receipt_mechanism == "1" or letter.dialect == "agit-1.1":
        return ()
    key = ((names.NOTIFICATION_KEY_ID, letter.receipt_key[-16:]),) if letter.receipt_key else ()
    return (("Content-ID", letter.message_id), (names.NOTIFICATION_TO, letter.sender), *key)


def _text() -> Leaf:
    kind = ("Content-Type", "text/plain; charset=us-ascii")
    return Leaf((kind,), Source.of(_TEXT), "7bit")


def _node(letter: Letter) -> Multipart:
    leaves = (_leaf(letter, item, letter.first_position + index) for index, item in enumerate(letter.items))
    return Multipart("mixed", letter.boundaries[0], (_text(), *leaves))


def _leaf(letter: Letter, item: Item, position: int) -> Leaf:
    fields: Fields
    if item.is_dicom:
        ident = file_id(position)
        kind = parameters(names.DICOM_TYPE, {"id": ident, "name": f"{ident}.dcm"})
        disposition = parameters("attachment", {"filename": f"{ident}.dcm"})
        fields = (("Content-Type", kind), ("Content-Disposition", disposition))
    else:
        name = document_name(item.name)
        kind = parameters(document_type(item.media_type), {"name": name})
        disposition = parameters("attachment", {"filename": name})
        fields = (("Content-Type", kind), ("Content-Disposition", disposition))
        if is_study_uid(item.study_uid):
            fields = (*fields, (names.STUDY_ID, item.study_uid))
    return Leaf(fields, item.source, letter.inner_encoding)
