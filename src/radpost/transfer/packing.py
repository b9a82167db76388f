"""Objects into mails (DESIGN 4 "Packing"): in order, with bounded memory, and the number known before.

SETTOTAL stands in the first mail and never changes, so the number of mails must be known before the first is
sealed, when no encoded size is known yet. Both passes, :func:`count` and :func:`pack`, therefore run the same
rule on upper bounds of the encoded sizes; a mail that is smaller in the end is no harm. The rule is next fit:
an object goes into the open mail if there is room, else it opens the next. It keeps order, needs no more
memory than one mail's list, and both passes agree.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Id = TypeVar("Id")
Bound = Callable[[int, int], int]
"""``bound(objects, encoded_bytes)``: upper bound of the finished mail's size; must not shrink when either
argument grows."""


@dataclass(frozen=True, slots=True)
class Item(Generic[Id]):
    """An object to pack: ``bound`` is an upper bound of its size inside the mail, encoded and compressed."""

    id: Id
    size: int
    bound: int


@dataclass(frozen=True, slots=True)
class Limits:
    """A partner's switches ``objects_per_mail`` and ``max_mail_size`` (None: as large as needed)."""

    objects_per_mail: int = 1  # @GIT practice 2
    max_mail_size: int | None = None

    def __post_init__(self) -> None:
        if self.objects_per_mail < 1:
            raise ValueError("objects_per_mail must be at least 1")


@dataclass(frozen=True, slots=True)
class PlannedMail(Generic[Id]):
    """One mail of the plan; ``oversize``: one object alone is larger than a mail may be, so that the mail
    travels as ``message/partial``."""

    part: int
    items: tuple[Item[Id], ...]
    bound: int
    oversize: bool


@dataclass(frozen=True, slots=True)
class Total:
    """What the first pass finds out; ``mails`` is SETTOTAL."""

    mails: int
    objects: int
    bytes: int


def plain_bound(objects: int, encoded: int) -> int:
    """Return the upper bound of a mail whose encoded size is that of its objects; for tests and examples."""
    return encoded + 1000 * objects


def base64_bound(objects: int, encoded: int) -> int:
    """Return an upper bound for PGP/MIME with ASCII armor (RFC 4880 6) around the encoded objects.

    Armor makes 4 characters of 3 bytes and 66 of 64 in lines; headers, literal packets and signature take
    less than 8 KB, each object's MIME header less than 1 KB.
    """
    inner = encoded + 1024 * objects
    stored = inner + inner // 512 + 64  # incompressible data grows a little in deflate and packet headers
    return stored * 4 * 66 // (3 * 64) + 8192


def pack(items: Iterable[Item[Id]], limits: Limits, bound: Bound) -> Iterator[PlannedMail[Id]]:
    """Yield the mails of a set, part 1 first; holds the objects of one mail at a time."""
    part = 0
    held: list[Item[Id]] = []
    encoded = 0
    for item in items:
        full = len(held) >= limits.objects_per_mail
        if held and (full or _too_large(bound(len(held) + 1, encoded + item.bound), limits)):
            part += 1
            yield _planned(part, held, bound(len(held), encoded), limits)
            held, encoded = [], 0
        held.append(item)
        encoded += item.bound
    if held:
        yield _planned(part + 1, held, bound(len(held), encoded), limits)


def count(items: Iterable[Item[Id]], limits: Limits, bound: Bound) -> Total:
    """Return what :func:`pack` will yield for the same objects in the same order."""
    mails = objects = size = 0
    for mail in pack(items, limits, bound):
        mails += 1
        objects += len(mail.items)
        size += sum(item.size for item in mail.items)
    return Total(mails, objects, size)


def _too_large(size: int, limits: Limits) -> bool:
    return limits.max_mail_size is not None and size > limits.max_mail_size


def _planned(part: int, held: list[Item[Id]], size: int, limits: Limits) -> PlannedMail[Id]:
    return PlannedMail(part, tuple(held), size, _too_large(size, limits))
