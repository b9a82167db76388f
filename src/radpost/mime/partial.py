"""Fragments of mails: message/partial (RFC 2046 5.2.2), written, described and joined."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from radpost.errors import MIME_MALFORMED, PARTIAL_INCONSISTENT, RESOURCE_LIMIT, RadpostError
from radpost.mime.coding import IDENTITY, Buffer, Bytes, slices
from radpost.mime.folding import Fields, block, message_fields, parameters
from radpost.mime.headers import Header, Headers, parse_block
from radpost.mime.params import parse_structured
from radpost.mime.reader import Entity, body

MAX_FRAGMENTS: Final = 10_000
"""A hostile ``total`` must not make us wait for, or count to, a billion."""
MAX_NESTING: Final = 3
MIN_FRAGMENT: Final = 4096
_MAX_ENCODED: Final = 64 << 20
_MAX_ID: Final = 900
_NUMBER: Final = re.compile(r"0*([0-9]{1,9})")
_HEADER_WINDOW: Final = 256 * 1024
_ENCLOSED: Final = re.compile(r"content-.*|subject|message-id|encrypted|mime-version", re.IGNORECASE)
"""Fields that count in the enclosed message and not outside of it (RFC 2046 5.2.2.1)."""
_KEPT: Final = re.compile(
    r"x-telemedicine-.*|x-dicom-msg-.*|disposition-notification-.*|original-recipient", re.IGNORECASE
)
"""Fields of the enclosed message that strict merging loses and we need (RFC 3798 2.4, RFC 8098 2.4)."""
_OWN: Final = re.compile(r"disposition-notification-.*", re.IGNORECASE)
"""Fields outside that speak of the fragment alone (RFC 3798 2.4, RFC 8098 2.4)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One fragment to be sent: its header, and the range of the mail that is its body."""

    number: int
    total: int
    header: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        """Exact size of the fragment as a mail."""
        return len(self.header) + self.end - self.start

    def chunks(self, buffer: Buffer) -> Iterator[Bytes]:
        """Yield the fragment; ``buffer`` is the mail that was split."""
        yield self.header
        yield from slices(buffer, self.start, self.end)


@dataclass(frozen=True, slots=True)
class FragmentHeader:
    """What the headers of the fragments are made of; ids are drawn by the caller.

    ``date`` should be the mail's own: a receiver that joins by the book takes it from the first fragment.
    """

    sender: str
    recipient: str
    subject: str
    date: datetime
    partial_id: str
    message_id: Callable[[int], str]
    extra: tuple[tuple[str, str], ...] = ()
    """Fields to repeat on each fragment: SETID, SETPART, SETTOTAL."""

    def write(self, number: int, total: int) -> bytes:
        """Return the header block of one fragment."""
        kind = parameters(
            "message/partial", {"id": self.partial_id, "number": str(number), "total": str(total)}
        )
        fields = message_fields(
            sender=self.sender,
            recipient=self.recipient,
            subject=f"{self.subject} ({number}/{total})",
            date=self.date,
            message_id=self.message_id(number),
            extra=self.extra,
        )
        return block((*fields, ("Content-Type", kind)))


def split(buffer: Buffer, limit: int, header: FragmentHeader) -> tuple[Cut, ...]:
    """Split a sealed mail (7bit, CRLF) into fragments of at most ``limit`` bytes, at line ends.

    The bodies put together are the mail byte for byte; its header is the enclosed header of the first.
    """
    widest = len(header.write(MAX_FRAGMENTS, MAX_FRAGMENTS)) + 64  # folding may differ by some bytes
    room = limit - widest
    if room < MIN_FRAGMENT - widest or room < 1100:
        raise ValueError(f"fragments of {limit} bytes are too small")
    size = len(buffer)
    ranges: list[tuple[int, int]] = []
    start = 0
    while start < size:
        end = min(size, start + room)
        if end < size:
            # RFC 2046 5.2.2.1: only at line boundaries
            tail = bytes(buffer[max(start, end - 1100) : end])
            joint = _joint(tail)
            if joint < 0:
                raise RadpostError(MIME_MALFORMED, "a line of more than 998 characters cannot be split")
            end += joint - len(tail)
        ranges.append((start, end))
        start = end
    if len(ranges) > MAX_FRAGMENTS:
        raise RadpostError(RESOURCE_LIMIT, f"more than {MAX_FRAGMENTS} fragments")
    return tuple(
        Cut(number, len(ranges), header.write(number, len(ranges)), *bounds)
        for number, bounds in enumerate(ranges, 1)
    )


def _joint(tail: bytes) -> int:
    """Return where to cut: behind the last line end, and before empty lines where it can be.

    An empty line at the end of a fragment looks like one that a mail server added there.
    """
    line_end = tail.rfind(b"\r\n")
    if line_end < 0:
        return -1
    end = line_end + 2
    while tail.endswith(b"\r\n\r\n", 0, end):
        end -= 2
    return end if end > 2 else line_end + 2


@dataclass(frozen=True, slots=True)
class FragmentInfo:
    """What a fragment says of itself; ``total`` need only stand on the last (RFC 2046 5.2.2)."""

    id: str
    number: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Fragment:
    """An arrived fragment: the mail it came in, and how often its like was joined to get it."""

    info: FragmentInfo
    entity: Entity
    buffer: Buffer
    depth: int = 0


def enclosed_headers(entity: Entity, buffer: Buffer) -> Headers:
    """Return the header of the message that a first fragment begins (RFC 2046 5.2.2.1)."""
    end = min(entity.body_end, entity.body_start + _HEADER_WINDOW)
    window = bytes(buffer[entity.body_start : end])
    return parse_block(window, complete=end == entity.body_end).headers


def fragment_info(entity: Entity) -> FragmentInfo | None:
    """Return id, number and total of a message/partial; None for other mails.

    Ids are chosen by strangers and collide: the caller groups by sender and id.
    """
    if entity.content_type != "message/partial":
        return None
    return _info(entity.params.get("id", ""), entity.params.get("number", ""), entity.params.get("total"))


def _info(ident: str, number_text: str, total_text: str | None) -> FragmentInfo:
    number = _NUMBER.fullmatch(number_text.strip())
    total = None if total_text is None else _NUMBER.fullmatch(total_text.strip())
    if not ident.strip() or len(ident) > _MAX_ID or number is None or (total_text is not None and not total):
        raise RadpostError(MIME_MALFORMED, "message/partial without id or number")
    info = FragmentInfo(ident.strip(), int(number[1]), int(total[1]) if total else None)
    if info.number > MAX_FRAGMENTS or (info.total or 0) > MAX_FRAGMENTS:
        raise RadpostError(RESOURCE_LIMIT, f"more than {MAX_FRAGMENTS} fragments announced")
    if info.number < 1 or (info.total is not None and info.number > info.total):
        raise RadpostError(PARTIAL_INCONSISTENT, f"fragment {info.number} of {info.total}")
    return info


@dataclass(frozen=True, slots=True)
class Progress:
    """How complete a group of fragments is."""

    total: int | None
    present: int
    missing: tuple[int, ...]
    """Numbers known to be missing; without a total only the gaps below the highest number."""

    @property
    def complete(self) -> bool:
        """Whether all fragments are there."""
        return self.total is not None and not self.missing


def progress(infos: Iterable[FragmentInfo]) -> Progress:
    """Tell what is missing of one group; contradicting totals are PARTIAL_INCONSISTENT."""
    seen = tuple(infos)
    totals = {info.total for info in seen if info.total is not None}
    if len(totals) > 1 or len({info.id for info in seen}) > 1:
        raise RadpostError(PARTIAL_INCONSISTENT, "fragments name different totals or ids")
    total = next(iter(totals), None)
    numbers = {info.number for info in seen}
    highest = max(numbers, default=0)
    if total is not None and highest > total:
        raise RadpostError(PARTIAL_INCONSISTENT, f"fragment {highest} of {total}")
    last = highest if total is None else total
    missing = tuple(number for number in range(1, last + 1) if number not in numbers)
    return Progress(total, len(numbers), missing)


@dataclass(frozen=True, slots=True)
class Slice:
    """A range of the mail of one fragment."""

    buffer: Buffer
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Assembly:
    """The joined message: a header of its own and slices of the fragments, in order."""

    head: bytes
    parts: tuple[Slice, ...]
    headers: Headers
    nested: FragmentInfo | None
    """Set if the joined message is itself a fragment."""
    depth: int
    defects: tuple[str, ...]

    @property
    def size(self) -> int:
        """Exact size of the message."""
        return len(self.head) + sum(part.end - part.start for part in self.parts)

    def chunks(self) -> Iterator[Bytes]:
        """Yield the message in bounded chunks."""
        yield self.head
        for part in self.parts:
            yield from slices(part.buffer, part.start, part.end)


def assemble(fragments: Iterable[Fragment]) -> Assembly:
    """Join one complete group of fragments (RFC 2046 5.2.2.1), in any order.

    The same fragment twice is harmless; two that differ, or totals that do, are PARTIAL_INCONSISTENT. The
    caller checks ``progress`` first; a gap is PARTIAL_INCONSISTENT here.
    """
    defects: list[str] = []
    every = list(fragments)
    state = progress(fragment.info for fragment in every)  # also of those that came twice
    ordered = _unique(_decoded(every, defects))
    if not state.complete:
        raise RadpostError(PARTIAL_INCONSISTENT, f"{len(state.missing)} fragments are missing")
    depth = 1 + max(fragment.depth for fragment in ordered)
    parts = _join(ordered, defects)
    window = _window(parts)
    enclosed = parse_block(window, complete=len(window) < _HEADER_WINDOW)
    defects.extend(enclosed.defects)
    newline = b"\n" if b"\n" in window and b"\r\n" not in window else b"\r\n"
    fields = _merge(ordered[0].entity.headers, enclosed.headers)
    nested = _nested(fields, depth)
    return Assembly(
        head=b"".join(_raw(item, newline) for item in fields) + newline,
        parts=_skip(parts, enclosed.size),
        headers=Headers(fields),
        nested=nested,
        depth=depth,
        defects=tuple(dict.fromkeys(defects)),
    )


def _decoded(fragments: Sequence[Fragment], defects: list[str]) -> Iterator[Fragment]:
    """Undo an encoding that a relay put on a fragment, although RFC 2046 5.2.2 allows 7bit only."""
    encoded = [fragment for fragment in fragments if fragment.entity.encoding not in IDENTITY]
    if sum(fragment.entity.size for fragment in encoded) > _MAX_ENCODED:
        raise RadpostError(RESOURCE_LIMIT, "encoded fragments are joined in memory, and these are too large")
    if encoded:
        defects.append("encoded-fragment")
    for fragment in fragments:
        if fragment.entity.encoding in IDENTITY:
            yield fragment
        else:
            plain = b"".join(body(fragment.entity, fragment.buffer))
            entity = replace(fragment.entity, encoding="7bit", body_start=0, body_end=len(plain))
            yield replace(fragment, entity=entity, buffer=plain)


def _unique(fragments: Iterable[Fragment]) -> list[Fragment]:
    found: dict[int, Fragment] = {}
    for fragment in fragments:
        other = found.setdefault(fragment.info.number, fragment)
        if other is not fragment and not _same_body(other, fragment):
            raise RadpostError(PARTIAL_INCONSISTENT, f"two different fragments {fragment.info.number}")
        if other.info.total is None and fragment.info.total is not None:
            found[fragment.info.number] = fragment
    return [found[number] for number in sorted(found)]


def _same_body(one: Fragment, two: Fragment) -> bool:
    """Compare without the line ends that transport may add or lose at the end."""
    spans = [(fragment.buffer, fragment.entity.body_start, _text_end(fragment)) for fragment in (one, two)]
    if spans[0][2] - spans[0][1] != spans[1][2] - spans[1][1]:
        return False
    return all(bytes(a) == bytes(b) for a, b in zip(slices(*spans[0]), slices(*spans[1]), strict=True))


def _text_end(fragment: Fragment) -> int:
    """Where the body ends without its trailing line ends."""
    end, start = fragment.entity.body_end, fragment.entity.body_start
    tail = bytes(fragment.buffer[max(start, end - 64) : end])
    return end - len(tail) + len(tail.rstrip(b"\r\n"))


def _join(ordered: Sequence[Fragment], defects: list[str]) -> tuple[Slice, ...]:
    """Put the bodies together with exactly the line end at each joint that the mail had before it was split.

    A clean splitter leaves ``...text CRLF``. Seen in the field (@GIT practice 7): the LF cut away (a
    bare CR, or nothing, or CR CR LF after a mail server mended it), and a mail path that adds an empty line
    to every mail.
    """
    tails = [bytes(f.buffer[max(_text_end(f), f.entity.body_start) : f.entity.body_end]) for f in ordered]
    doubled = len(ordered) > 1 and all(_line_ends(tail) >= 2 for tail in tails)
    if doubled:
        defects.append("doubled-line-end-at-joints")
    parts: list[Slice] = []
    for fragment, tail in zip(ordered, tails, strict=True):
        start, end = fragment.entity.body_start, fragment.entity.body_end
        last = fragment is ordered[-1]
        glue = b""
        if doubled and not last:
            end -= 2 if tail.endswith(b"\r\n") else 1
        elif not last and start < end and not _clean(tail):
            # the line end is missing or mutilated: exactly one takes its place
            defects.append("lost-line-end-at-joint")
            end -= len(tail) - len(_without_last(tail))
            glue = b"\r\n"
        if start < end:
            parts.append(Slice(fragment.buffer, start, end))
        if glue:
            parts.append(Slice(glue, 0, len(glue)))
    return tuple(parts)


def _clean(tail: bytes) -> bool:
    return tail.endswith(b"\n") and not tail.endswith(b"\r\r\n")


def _without_last(tail: bytes) -> bytes:
    """Drop a mutilated line end: ``CR``, ``CR CR LF``."""
    return tail[:-3] if tail.endswith(b"\r\r\n") else tail.removesuffix(b"\r")


def _line_ends(tail: bytes) -> int:
    return len(re.findall(rb"\r*\n|\r", tail))


def _window(parts: Sequence[Slice]) -> bytes:
    """Return the beginning of the joined bodies, enough for the enclosed header."""
    out = bytearray()
    for part in parts:
        out += part.buffer[part.start : min(part.end, part.start + _HEADER_WINDOW - len(out))]
        if len(out) >= _HEADER_WINDOW:
            break
    return bytes(out)


def _skip(parts: Sequence[Slice], count: int) -> tuple[Slice, ...]:
    """Drop the first ``count`` bytes."""
    out: list[Slice] = []
    for part in parts:
        taken = min(count, part.end - part.start)
        count -= taken
        if part.start + taken < part.end:
            out.append(Slice(part.buffer, part.start + taken, part.end))
    return tuple(out)


def _merge(outer: Headers, enclosed: Headers) -> tuple[Header, ...]:
    """Merge the headers of the first fragment and of the enclosed message (RFC 2046 5.2.2.1).

    Strictly only Content-*, Subject, Message-ID, Encrypted and MIME-Version come from inside; set headers and
    requests for receipts, which senders put inside only, are kept as well and win over those outside.
    """
    inside = tuple(item for item in enclosed if _ENCLOSED.fullmatch(item.name) or _KEPT.fullmatch(item.name))
    names = {item.name.lower() for item in inside}
    outside = tuple(
        item
        for item in outer
        if not _ENCLOSED.fullmatch(item.name)
        and not _OWN.fullmatch(item.name)
        and item.name.lower() not in names
    )
    return outside + inside


def _raw(item: Header, newline: bytes) -> bytes:
    """The field's own lines with one kind of line end."""
    lines = item.raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")
    return newline.join(line for line in lines if line.strip()) + newline


def _nested(fields: Sequence[Header], depth: int) -> FragmentInfo | None:
    kind = next((item.value for item in fields if item.name.lower() == "content-type"), "")
    parsed = parse_structured(kind)
    if parsed.value != "message/partial":
        return None
    if depth >= MAX_NESTING:
        raise RadpostError(RESOURCE_LIMIT, f"message/partial nested deeper than {MAX_NESTING}")
    return _info(parsed.params.get("id", ""), parsed.params.get("number", ""), parsed.params.get("total"))


def repeated(headers: Headers) -> Fields:
    """Return the set headers of a mail, to be repeated on its fragments."""
    return tuple(
        (item.name, item.value)
        for item in headers
        if re.fullmatch(r"x-telemedicine-set.*|x-dicom-msg-.*", item.name, re.IGNORECASE)
    )
