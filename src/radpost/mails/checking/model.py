"""The values of a check: rules, what a rule sees, verdicts and findings."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final, TypeVar

from radpost.errors import Reason
from radpost.mails.checking.objects import Object
from radpost.mails.checking.outline import Outline
from radpost.mime.mdn import reported
from radpost.mime.pgp import Found
from radpost.mime.reader import Entity
from radpost.openpgp.values import Signature
from radpost.words import Language
from radpost.words import Verdict as SignatureVerdict

_T = TypeVar("_T")


class Verdict(Enum):
    """What became of a rule in one mail."""

    BROKEN = "broken"
    BENT = "bent"
    UNCONFIRMED = "unconfirmed"
    """Not kept, but the rule itself is only known from the field (DESIGN 12): it decides nothing."""
    KEPT = "kept"
    NOT_APPLICABLE = "not applicable"


class Severity(IntEnum):
    """How heavy it is when a rule is not kept."""

    LIGHT = 1
    """Nearly every receiver copes: the rule is bent."""
    SERIOUS = 2
    """A receiver that goes by the book refuses the mail or misreads it: the rule is broken."""
    FATAL = 3
    """No receiver gets the data: the rule is broken."""


class Certainty(Enum):
    """How well a rule is known."""

    CONFIRMED = "confirmed"
    """Its text was read."""
    UNCONFIRMED = "unconfirmed"
    """Field practice after @GIT 1.1r, seen in mails of others; nobody here has read its text."""


class Scope(Enum):
    """Which trees a rule looks at."""

    ANY = "any"
    OUTSIDE = "outside"
    INSIDE = "inside"
    """Only what was sealed; needs a key."""


@dataclass(frozen=True, slots=True)
class Words:
    """A rule in one language: what it asks for, what a receiver does otherwise, how the sender mends it."""

    rule: str
    effect: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A place where a rule is not kept, and the fact seen there, without anything that tells of a patient."""

    at: int
    en: str
    de: str
    entity: Entity | None = None
    light: bool = False
    """Less than what the rule's severity says: here the rule is only bent."""

    def fact(self, language: Language) -> str:
        """Return the fact in the wanted language."""
        return self.de if language == "de" else self.en


@dataclass(frozen=True, slots=True)
class Seal:
    """What is known of the OpenPGP message that a tree was sealed in."""

    signature: Signature
    integrity: str
    encrypted: bool
    cipher: str
    warnings: tuple[str, ...]
    sealed_size: int
    """Binary bytes of the sealed message."""
    at: int
    """Where the sealed data begin in the tree outside."""


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: the offset of its name, the name as written, its unfolded value."""

    at: int
    name: str
    value: str
    gap: bool
    """Blanks stand between name and colon."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One MIME tree with its bytes: the mail as it came, or what was sealed in it."""

    buffer: bytes
    root: Entity
    found: Found
    places: Mapping[int, str]
    """Section numbers as in IMAP (``1.2``) by the identity of the entity; the root has none."""
    parents: Mapping[int, Entity] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The entity around another, by the identity of the inner one."""
    fault: tuple[Reason, str] | None = None
    """Why the tree could not be read to its end."""
    outer: "Layer | None" = None
    """The tree that this one was sealed in."""
    sealed_in: Entity | None = None
    """The entity of the outer tree that held the sealed data."""
    seal: Seal | None = None
    signatures: tuple[tuple[Signature, int], ...] = ()
    """What a key says of each multipart/signed, and where the signed part begins."""
    bare: bool = False
    """What was sealed is a file, no MIME entity."""
    seals: tuple[Outline, ...] = ()
    """The OpenPGP messages in the tree, as everybody can see them."""
    objects: tuple[Object, ...] = ()
    """The parts that are DICOM files, or are called so."""
    documents: tuple[Entity, ...] = ()
    """The other parts that are data."""
    unopened: tuple[tuple[Reason, str, int], ...] = ()
    """Sealed parts of this tree that did not open: why, a detail, and where they begin."""
    fields_of: dict[int, list[Field]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The fields of header blocks by the identity of the entity: nearly every rule asks for them."""

    @property
    def inside(self) -> bool:
        """Whether the tree was sealed in another."""
        return self.outer is not None

    def verified(self) -> list[tuple[Signature, int]]:
        """Return all signatures over the tree or parts of it, and where what they cover begins."""
        own = [] if self.seal is None else [(self.seal.signature, 0)]
        return [one for one in (*own, *self.signatures) if one[0].verdict is not SignatureVerdict.NONE]

    @property
    def within(self) -> str:
        """Return the place of the part that the tree was sealed in, ``2`` or, sealed twice, ``2, 1``."""
        if self.outer is None:
            return ""
        return ", ".join(place for place in (self.outer.within, self.outer.place(self.sealed_in)) if place)

    def entities(self) -> Iterator[Entity]:
        """Yield the entities in the order of the mail, without those of a mail that a report gives back."""
        return reported(self.root)

    def leaves(self) -> Iterator[Entity]:
        """Yield the entities that have no parts."""
        return (entity for entity in self.entities() if not entity.children and not entity.is_multipart)

    def place(self, entity: Entity | None) -> str:
        """Return the section number of an entity, nothing for the root."""
        return "" if entity is None else self.places.get(id(entity), "")

    def parent(self, entity: Entity) -> Entity | None:
        """Return the entity around another."""
        return self.parents.get(id(entity))

    def path(self, entity: Entity) -> Iterator[Entity]:
        """Yield an entity and those around it, from the inside out."""
        one: Entity | None = entity
        while one is not None:
            yield one
            one = self.parent(one)

    def text(self, entity: Entity) -> bytes:
        """Return the body of an entity as it stands."""
        return self.buffer[entity.body_start : entity.body_end]

    def line(self, at: int) -> int:
        """Return the number of the line at an offset, from 1."""
        head = self.buffer[:at]
        ends = head.count(b"\n")
        return 1 + (ends or head.count(b"\r"))


Hits = Sequence[Hit] | None
"""Where a rule is not kept; empty: it is kept; None: it does not apply."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of rules."""

    id: str
    standard: str
    clause: str
    severity: Severity
    check: Callable[[Layer], Hits] = field(repr=False)
    en: Words
    de: Words
    scope: Scope = Scope.ANY
    certainty: Certainty = Certainty.CONFIRMED

    @property
    def cited(self) -> str:
        """Return standard and clause as they are cited elsewhere."""
        return f"{self.standard} {self.clause}".strip()

    def words(self, language: Language) -> Words:
        """Return the texts in the wanted language."""
        return self.de if language == "de" else self.en

    def verdict(self, hit: Hit) -> Verdict:
        """Return what a hit means."""
        if self.certainty is Certainty.UNCONFIRMED:
            return Verdict.UNCONFIRMED
        return Verdict.BENT if hit.light or self.severity is Severity.LIGHT else Verdict.BROKEN


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict: about a place where a rule is not kept, or about a rule in a whole tree."""

    rule: Rule
    verdict: Verdict
    file: str
    inside: bool
    at: int | None = None
    """Offset of the byte in the file, or in the data that were sealed."""
    line: int | None = None
    place: str = ""
    within: str = ""
    """The part that the data were sealed in, where the finding is inside."""
    hit: Hit | None = None
    more: int = 0
    """So many more places of the same kind are not listed."""

    def fact(self, language: Language) -> str:
        """Return the fact seen, nothing where the rule is kept."""
        return "" if self.hit is None else self.hit.fact(language)

    @property
    def weight(self) -> int:
        """Return how heavy the finding is: the heaviest come first."""
        if self.hit is None:
            return 0 if self.verdict is Verdict.KEPT else -1
        base = {Verdict.BROKEN: 10, Verdict.BENT: 5}.get(self.verdict, 1)
        return base + (0 if self.hit.light else int(self.rule.severity))


FIELD: Final = "@GIT practice"
"""Where rules come from that are seen in mails only (DESIGN 12)."""
LONGEST: Final = 60
"""What a stranger wrote is shown up to so many characters."""


def shown(text: str) -> str:
    """Return a stranger's token for people: no control characters, not long."""
    clean = "".join(mark if mark.isascii() and mark.isprintable() else f"\\x{ord(mark):02x}" for mark in text)
    return clean if len(clean) <= LONGEST else clean[: LONGEST - 3] + "..."


def mark(octet: int) -> str:
    """Return one octet for people: its code, and the character where it is visible ASCII."""
    return f'0x{octet:02X} "{chr(octet)}"' if 0x21 <= octet <= 0x7E else f"0x{octet:02X}"


def each(items: Iterable[_T], test: Callable[[_T], Iterable[Hit]]) -> Hits:
    """Apply a test to all that a rule is about; where there is nothing it does not apply."""
    listed = list(items)
    return [hit for item in listed for hit in test(item)] if listed else None
