"""Fragments among the inputs are joined (RFC 2046 5.2.2): in any order, doubled, nested, of several senders.

A group is what one sender calls by one id; ids are chosen by strangers and collide, so that the id alone says
nothing. What contradicts itself is refused as a whole: which of two fragments is the right one nobody knows.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from radpost.agit.survey import first_address
from radpost.errors import INCOMPLETE_FRAGMENTS, RadpostError
from radpost.mails.results import MISSING_SHOWN, Result, SetView, Status
from radpost.mails.sources import Mail, unreadable
from radpost.mime.headers import Headers, parse_block
from radpost.mime.partial import Fragment, FragmentInfo, assemble, fragment_info, progress
from radpost.mime.reader import parse

HEADER_WINDOW = 256 * 1024


@dataclass(slots=True, eq=False)
class _Group:
    """The fragments that one sender calls by one id."""

    sender: str
    id: str
    mails: list[tuple[Mail, FragmentInfo]] = field(default_factory=list)
    poisoned: list[tuple[Mail, RadpostError]] = field(default_factory=list)
    """Fragments that name the id and contradict themselves."""

    def all(self) -> list[Mail]:
        """Return all mails of the group in the order of the inputs."""
        found = [mail for mail, _ in self.mails] + [mail for mail, _ in self.poisoned]
        return sorted(found, key=lambda mail: mail.position)


@dataclass(frozen=True, slots=True)
class Stuck:
    """A group that cannot be joined, as its result."""

    result: Result
    position: int


class Joiner:
    """Takes fragments aside until all inputs are known."""

    def __init__(self, temp: Path) -> None:
        """``temp`` is a private directory for joined mails."""
        self._temp = temp
        self._groups: dict[tuple[str, str], _Group] = {}
        self._count = 0

    def take(self, mail: Mail) -> bool:
        """Take a mail aside if it is a fragment.

        Raises:
            RadpostError: it is a fragment without id or number.
        """
        return self._taken(mail) is not None

    def joined(self) -> Iterator[Mail | Stuck]:
        """Yield joined mails and groups that cannot be joined; what is itself a fragment is taken again."""
        waiting = list(self._groups.values())
        while waiting:
            group = waiting.pop()
            one = self._join(group)
            if isinstance(one, Stuck) and one.result.status is Status.PENDING:
                continue  # a fragment of it may lie inside another group
            self._groups.pop((group.sender, group.id), None)
            outer = self._again(one) if isinstance(one, Mail) else None
            if outer is None:
                yield one
            elif outer not in waiting:
                waiting.append(outer)
        for group in self._groups.values():
            yield self._join(group)

    def _taken(self, mail: Mail) -> _Group | None:
        """Return the group that a fragment joined."""
        headers = header_of(mail)
        kind = headers.structured("Content-Type")
        if kind is None or kind.value != "message/partial":
            return None
        sender = first_address(headers, "From").lower()
        ident = kind.params.get("id", "").strip()
        try:
            info = fragment_info(parse(mail.view()))
            assert info is not None  # it says so itself
        except RadpostError as error:
            if not ident:
                raise
            group = self._group(sender, ident)
            group.poisoned.append((mail, error))
        else:
            group = self._group(sender, info.id)
            group.mails.append((mail, info))
        return group

    def _again(self, mail: Mail) -> _Group | None:
        try:
            return self._taken(mail)
        except RadpostError:
            return None  # whoever opens it is told

    def _group(self, sender: str, ident: str) -> _Group:
        return self._groups.setdefault((sender, ident), _Group(sender, ident))

    def _join(self, group: _Group) -> Mail | Stuck:
        mails = group.all()
        files = tuple(dict.fromkeys(name for mail in mails for name in mail.files))
        position = mails[0].position
        totals = {info.total for _, info in group.mails if info.total is not None}
        result = Result(
            files=files,
            status=Status.ERROR,
            sender=group.sender,
            set=SetView(group.id, None, totals.pop() if len(totals) == 1 else None),
        )
        try:
            if group.poisoned:
                raise group.poisoned[0][1]
            state = progress(info for _, info in group.mails)
            if not state.complete:
                missing = state.missing[: MISSING_SHOWN * state.present]
                pending = replace(result, status=Status.PENDING, reason=INCOMPLETE_FRAGMENTS, missing=missing)
                return Stuck(pending, position)
            return self._assembled(group, files, position)
        except RadpostError as error:
            return Stuck(result.failed(error), position)
        except OSError as error:
            return Stuck(result.failed(unreadable(error)), position)

    def _assembled(self, group: _Group, files: tuple[str, ...], position: int) -> Mail:
        fragments = []
        for mail, info in group.mails:
            view = mail.view()
            fragments.append(Fragment(info, parse(view), view, mail.depth))
        assembly = assemble(fragments)
        self._count += 1
        path = self._temp / f"joined-{self._count}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in assembly.chunks():
                file.write(chunk)
        inner = (defect for mail, _ in group.mails for defect in mail.defects)
        defects = tuple(dict.fromkeys((*inner, *assembly.defects)))
        return Mail(files, path, 0, assembly.size, position, assembly.depth, defects)


def header_of(mail: Mail) -> Headers:
    """Return the header of a mail as far as it can be read."""
    view = mail.view()
    try:
        window = bytes(view[:HEADER_WINDOW])
        return parse_block(window, complete=len(view) <= HEADER_WINDOW).headers
    except RadpostError:
        return Headers()
