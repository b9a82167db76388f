"""Many objects to one peer over few associations (DESIGN 5 "delivery", 12 "what a PACS can't take").

``Sender`` keeps an association open between objects and renegotiates when an object needs more;
``send_files`` is the same for a list that is known beforehand.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from radpost.dicom.outcome import AssociationError, StoreReply
from radpost.dicom.scu import Association, Outgoing, Peer, plan_proposals
from radpost.errors import RadpostError


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one object: the peer's reply, or the error that prevented it."""

    item: Outgoing
    reply: StoreReply | None = None
    error: RadpostError | None = None

    @property
    def stored(self) -> bool:
        """Whether the peer has it."""
        return self.reply is not None and self.reply.outcome.stored

    @property
    def retryable(self) -> bool:
        """Whether the same object may be taken later."""
        if self.reply is not None:
            return self.reply.outcome.retryable
        return isinstance(self.error, AssociationError) and self.error.retryable


class Sender:
    """C-STORE client with a memory of what has been needed; for one thread.

    The association stays open until ``close`` or until ``close_if_idle`` finds it unused for so long.
    """

    def __init__(self, peer: Peer, *, idle_seconds: float = 20.0) -> None:
        self.peer = peer
        self.idle_seconds = idle_seconds
        self._association: Association | None = None
        self._proposed: dict[tuple[str, str], None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Announce pairs of SOP class and transfer syntax that will come, to negotiate them together."""
        missing = [pair for pair in wanted if pair not in self._proposed]
        if not missing:
            return
        self.close()
        merged = dict.fromkeys([*missing, *self._proposed])
        # What was needed last survives where not everything fits one association.
        while len(plan_proposals(merged)) > 1 and len(merged) > 1:
            merged.popitem()
        self._proposed = merged

    def association(self, sop_class: str, transfer_syntax: str) -> Association:
        """Return an open association that has proposed this pair; raises AssociationError."""
        self.prepare([(sop_class, transfer_syntax)])
        if self._association is not None and not self._association.is_open:
            self._association = None
        if self._association is None:
            self._association = Association.open(self.peer, plan_proposals(self._proposed)[0])
        return self._association

    def accepted(self, sop_class: str, transfer_syntax: str) -> tuple[str, ...]:
        """Return the transfer syntaxes the peer takes for a class, so that the caller can convert."""
        return self.association(sop_class, transfer_syntax).accepted.get(sop_class, ())

    def send(self, item: Outgoing) -> StoreReply:
        """C-STORE one object.

        An association that has served before may have been closed by the peer meanwhile; then the object
        is sent once more over a new one (C-STORE of the same object twice is harmless).
        """
        association = self.association(item.sop_class, item.transfer_syntax)
        try:
            return association.store(item)
        except AssociationError as error:
            if not association.served or not error.retryable:
                raise
        return self.association(item.sop_class, item.transfer_syntax).store(item)

    def close_if_idle(self) -> bool:
        """Release the association if it has not been used for ``idle_seconds``; True if none is open."""
        association = self._association
        if association is not None and time.monotonic() - association.last_used >= self.idle_seconds:
            self.close()
        return self._association is None

    def close(self) -> None:
        """Release the association."""
        if self._association is not None:
            self._association.release()
            self._association = None


def send_files(peer: Peer, items: Sequence[Outgoing]) -> Iterator[Sent]:
    """Send objects in order and tell what became of each; one bad object never stops the others.

    When the peer cannot be reached or refuses the association, every remaining object of that group is
    reported with the error, without knocking again and again.
    """
    for group in _groups(items):
        with Sender(peer) as sender:
            sender.prepare((item.sop_class, item.transfer_syntax) for item in group)
            down: AssociationError | None = None
            for item in group:
                if down is not None:
                    yield Sent(item, error=down)
                    continue
                try:
                    sender.association(item.sop_class, item.transfer_syntax)
                except AssociationError as error:
                    down = error
                    yield Sent(item, error=error)
                    continue
                yield _send_one(sender, item)


def _send_one(sender: Sender, item: Outgoing) -> Sent:
    try:
        return Sent(item, reply=sender.send(item))
    except RadpostError as error:
        return Sent(item, error=error)


def _groups(items: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """Cut the list where its contexts no longer fit one association, keeping the order."""
    group: list[Outgoing] = []
    pairs: dict[tuple[str, str], None] = {}
    for item in items:
        pair = (item.sop_class, item.transfer_syntax)
        if pair not in pairs:
            if group and len(plan_proposals([*pairs, pair])) > 1:
                yield group
                group, pairs = [], {}
            pairs[pair] = None
        group.append(item)
    if group:
        yield group
