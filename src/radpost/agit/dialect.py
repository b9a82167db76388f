"""How mails are written: two dialects of @GIT and the switches of a partner that decide a mail's bytes.

@GIT 1.1r knows neither set headers nor receipts (its chapter 7 announces receipts for the next version);
`agit-1.5` is what the field does after it (DESIGN 12).
"""

from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from radpost.agit.letter import Mechanism, item_bound, sealed_bound

DialectName: TypeAlias = Literal["agit-1.1", "agit-1.5"]

NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
"""Transfer syntaxes of uncompressed pixels (PS3.5 A.1 to A.3)."""
LEAST_MAIL: Final = 20_000
"""The smallest limit of a mail's size: headers, keys and signature of a fragment must fit."""
PARTIAL_FACTOR: Final = 0.62
"""Native pixels in a mail that may travel as message/partial: what deflate leaves of them, with a margin."""


class Writing(Struct, frozen=True, forbid_unknown_fields=True):
    """The switches that decide the bytes of our mails; everybody in the field can read the defaults."""

    objects_per_mail: Annotated[int, Meta(ge=1, le=10_000)] = 1
    max_mail_size: Annotated[int, Meta(ge=LEAST_MAIL)] = 10_000_000
    inner_encoding: Literal["base64", "binary"] = "base64"
    compression: Literal["auto", "always", "never"] = "auto"
    cipher: Literal["AES256", "AES192", "AES128"] = "AES256"
    digest: Literal["SHA256", "SHA512"] = "SHA256"
    sign: bool = True
    receipt: bool = True
    receipt_mechanism: Mechanism = "1"
    partial: bool = True
    study_uid_outside: bool = False


DIALECTS: Final = MappingProxyType({"agit-1.1": Writing(receipt=False), "agit-1.5": Writing()})
"""What each dialect writes unless a switch says otherwise."""


def contradiction(dialect: DialectName, writing: Writing) -> str:
    """Return what a dialect cannot write although a switch asks for it, or nothing."""
    if dialect == "agit-1.1" and writing.receipt and writing.receipt_mechanism != "1":
        return "agit-1.1 has no header for receipts inside the encryption; set receipt_mechanism=1"
    return ""


def bound_of(writing: Writing, size: int, transfer_syntax_uid: str | None) -> int:
    """Return what an object of ``size`` bytes counts for when mails are planned.

    An upper bound of its encoded size, but for native pixels where the mail may be cut if it is larger than
    was thought: then what compression is expected to leave.
    """
    if writing.partial and writing.compression != "never" and transfer_syntax_uid in NATIVE:
        size = int(size * PARTIAL_FACTOR)
    return item_bound(size, writing.inner_encoding)


def mail_bound(_objects: int, encoded: int) -> int:
    """Return the bound of a mail whose objects count for so much together, for `transfer.packing`."""
    return sealed_bound(encoded)
