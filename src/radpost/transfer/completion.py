"""When is a study complete? Collections at the sender (DESIGN 4 "Study completion").

DICOM has no "end of study": what a modality does is open associations, send, and close them. A collection
gathers the objects of one source, partner and study (the caller's key) into *batches*; a closed batch
becomes a transmission, a set of its own, and the batches of a collection are linked by its group id. Most
collections have one batch; late objects make a second one, never an unsent remainder.

Nothing here knows an association: ends of associations are told, and a gateway that died in the middle finds
the stored deadline of the last object, which is the one to use when no end will ever be told.
"""

from dataclasses import dataclass, replace
from enum import Enum

from radpost.transfer.actions import TimerDue


class Mode(Enum):
    """How a source's objects for a partner become transmissions."""

    ASSOCIATION = "association"
    """By end of association and a quiet period."""
    COUNT = "count"
    """As soon as so many objects are there; else by quiet period."""
    EACH = "each"
    """Object by object, for time-critical partners."""
    BATCH = "batch"
    """Closed batches by bytes, count or age while the association still streams."""


@dataclass(frozen=True, slots=True)
class CompletionPolicy:
    """A source's or partner's rule; seconds, objects and bytes."""

    mode: Mode = Mode.ASSOCIATION
    quiet: float = 30.0
    """After the last association ended."""
    idle: float = 300.0
    """After the last object, while an association is open or its end was never told."""
    longest: float = 4 * 3600.0
    """Nothing waits longer than this after its first object, however it trickles."""
    count: int = 0
    """COUNT and BATCH: objects that close a batch; 0: no such bound."""
    bytes: int = 0
    """BATCH: bytes that close a batch; 0: no such bound."""
    age: float = 10.0
    """BATCH: seconds after which a batch is closed, whatever it holds."""
    whole: bool = False
    """The source says itself when all is there; a deadline that passes closes nothing, a person is told."""


@dataclass(frozen=True, slots=True)
class Collection:
    """The open batch of a collection: numbers only, its objects are a query of the store."""

    batch: int = 1
    """Number of the open (or next) batch; objects that arrive belong to it."""
    objects: int = 0
    bytes: int = 0
    opened_at: float = 0.0
    due: float | None = None
    """The stored deadline: when to close if nothing else happens. None with objects: a person must act."""


@dataclass(frozen=True, slots=True)
class ObjectArrived:
    """An object is durable and belongs to ``Collection.batch`` as it was before this event."""

    size: int


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association that brought objects ended, by release or abort.

    ``others_open``: another one that brought objects of this collection is still open.
    """

    others_open: bool = False


@dataclass(frozen=True, slots=True)
class Flush:
    """An operator (or ``radpost send``, which knows its list of files) says: that is all."""


CollectionEvent = ObjectArrived | AssociationEnded | Flush | TimerDue


class Why(Enum):
    """What closed a batch."""

    QUIET = "quiet"
    COUNT = "count"
    BYTES = "bytes"
    EACH = "each"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Close:
    """Record: the objects of this batch become a transmission."""

    batch: int
    objects: int
    bytes: int
    why: Why


Step = tuple[Collection, tuple[Close, ...]]


def decide(collection: Collection, event: CollectionEvent, now: float, policy: CompletionPolicy) -> Step:
    """Return the collection after the event, and the batch to close, if any."""
    match event:
        case ObjectArrived(size):
            return _arrived(collection, size, now, policy)
        case AssociationEnded(others_open):
            if collection.objects == 0 or others_open:
                return collection, ()
            return _shift(collection, now + policy.quiet, policy, earlier_only=policy.mode is Mode.BATCH), ()
        case Flush():
            return _close(collection, Why.OPERATOR)
        case TimerDue():
            return _deadline(collection, now, policy)


def _deadline(collection: Collection, now: float, policy: CompletionPolicy) -> Step:
    if collection.due is None or now < collection.due:
        return collection, ()
    if policy.whole:
        return replace(collection, due=None), ()
    return _close(collection, Why.QUIET)


def _arrived(collection: Collection, size: int, now: float, policy: CompletionPolicy) -> Step:
    first = collection.objects == 0
    after = replace(
        collection,
        objects=collection.objects + 1,
        bytes=collection.bytes + size,
        opened_at=now if first else collection.opened_at,
    )
    why = _full(after, policy)
    if why is not None:
        return _close(after, why)
    if policy.mode is Mode.BATCH and not policy.whole:
        return _shift(after, after.opened_at + policy.age, policy), ()
    return _shift(after, now + policy.idle, policy), ()


def _full(collection: Collection, policy: CompletionPolicy) -> Why | None:
    if policy.mode is Mode.EACH:
        return Why.EACH
    counted = policy.mode in {Mode.COUNT, Mode.BATCH} and policy.count > 0
    if counted and collection.objects >= policy.count:
        return Why.COUNT
    if policy.mode is Mode.BATCH and 0 < policy.bytes <= collection.bytes:
        return Why.BYTES
    return None


def _shift(
    collection: Collection, due: float, policy: CompletionPolicy, *, earlier_only: bool = False
) -> Collection:
    if earlier_only and collection.due is not None:
        due = min(due, collection.due)
    return replace(collection, due=due if policy.whole else min(due, collection.opened_at + policy.longest))


def _close(collection: Collection, why: Why) -> Step:
    if collection.objects == 0:
        return replace(collection, due=None), ()
    closed = Close(collection.batch, collection.objects, collection.bytes, why)
    return Collection(batch=collection.batch + 1), (closed,)
