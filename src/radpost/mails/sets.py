"""Mails of one set become one result; an incomplete set withholds nothing (DESIGN invariant 6)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from radpost.agit.contents import weakest
from radpost.mails.results import MISSING_SHOWN, Result, SetView, SignatureView, Status
from radpost.openpgp.values import NO_SIGNATURE, Signature


@dataclass(frozen=True, slots=True)
class Member:
    """The result of one mail, and what is needed to join it with others of its set."""

    result: Result
    position: int
    signature: Signature = NO_SIGNATURE


def join_sets(members: Iterable[Member]) -> Iterator[Result]:
    """Yield the results in the order of the inputs, mails of one set and sender together.

    Mails that could not be opened, and all that is no data, stay on their own.
    """
    groups: dict[object, list[Member]] = {}
    for member in sorted(members, key=lambda one: one.position):
        result = member.result
        key: object = id(member)
        if result.status is Status.OK and result.set is not None:
            key = (result.sender, result.set.id)
        groups.setdefault(key, []).append(member)
    seen: set[object] = set()
    for group in groups.values():
        result = _joined(group)
        mark = (result.sender, result.message_id, tuple(item.sha256 for item in result.objects))
        if result.message_id and result.objects and mark in seen:
            result = replace(result, warnings=(*result.warnings, "same-mail-again"))
        seen.add(mark)
        yield result


def _joined(group: list[Member]) -> Result:
    first = group[0].result
    if first.status is not Status.OK or first.set is None:
        return first
    results = [member.result for member in group]
    whole, missing, warnings = _counted(results, first.set)
    if len(group) > 1:
        signature = weakest([member.signature for member in group])
        fingerprint = signature.fingerprint or signature.signing_fingerprint
        shown: SignatureView | None = SignatureView(signature.verdict.value, fingerprint)
    else:
        shown = first.signature
    return replace(
        first,
        files=tuple(dict.fromkeys(name for result in results for name in result.files)),
        encrypted=all(result.encrypted for result in results),
        signature=shown,
        set=whole,
        missing=missing,
        warnings=tuple(dict.fromkeys((*(w for result in results for w in result.warnings), *warnings))),
        receipt=next((result.receipt for result in results if result.receipt), None),
        objects=tuple({(o.sha256, o.path): o for result in results for o in result.objects}.values()),
    )


def _counted(results: list[Result], named: SetView) -> tuple[SetView, tuple[int, ...], list[str]]:
    """Return the set as all its mails see it, what is missing, and what is odd about it."""
    sets = [result.set for result in results if result.set is not None]
    parts = {one.part for one in sets if one.part is not None}
    totals = {one.total for one in sets if one.total is not None}
    total = next(iter(totals)) if len(totals) == 1 else None
    part = named.part if len(results) == 1 else None
    warnings: list[str] = []
    if len(totals) > 1 or (total is not None and any(one > total for one in parts)):
        return SetView(named.id, part, None), (), ["set-conflict"]
    if total is None or len(parts) == 0:
        return SetView(named.id, part, total), (), warnings
    absent = (one for one in range(1, total + 1) if one not in parts)
    missing = tuple(islice(absent, MISSING_SHOWN * len(results)))
    if missing:
        warnings.append("incomplete-set")
    if _differ(results):
        warnings.append("set-conflict")
    return SetView(named.id, part, total), missing, warnings


def _differ(results: list[Result]) -> bool:
    """Tell whether the same part came twice with other content."""
    seen: dict[int, frozenset[str]] = {}
    for result in results:
        if result.set is None or result.set.part is None:
            continue
        content = frozenset(item.sha256 for item in result.objects)
        if seen.setdefault(result.set.part, content) != content:
            return True
    return False
