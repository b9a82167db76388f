"""Reader of mails: a tree of entities over a buffer, with offsets only (RFC 2045, RFC 2046, RFC 2049 2).

Nothing is copied but header blocks; bodies are decoded in chunks when asked for. What is odd is named in the
defects of an entity; only a mail whose outermost structure cannot be found is refused.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from radpost.errors import MIME_MALFORMED, RESOURCE_LIMIT, RadpostError
from radpost.mime.coding import IDENTITY, UUENCODE, Buffer, Bytes, binary_end, decode, find_all
from radpost.mime.headers import Block, Headers, parse_block
from radpost.mime.params import Structured, parse_structured

_NEAR: Final = 4096
MAX_BOUNDARY: Final = 1000
"""RFC 2046 5.1.1 allows 70 characters; longer ones are met and harmless."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a mail may cost (DESIGN invariant 8)."""

    depth: int = 32
    parts: int = 10_000
    header_size: int = 256 * 1024
    """Of one part; all of them together are bounded as well, for they are held in memory."""
    headers_size: int = 16 << 20
    fields: int = 100_000
    near_misses: int = 1_000_000
    """How often a boundary may stand where it delimits nothing: each costs a look."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One MIME entity (RFC 2045 2.4): its header and where its body lies in the buffer."""

    headers: Headers
    content_type: str
    params: Mapping[str, str]
    encoding: str
    start: int
    body_start: int
    body_end: int
    children: tuple["Entity", ...] = ()
    filename: str | None = None
    disposition: str = ""
    defects: tuple[str, ...] = field(default=())

    @property
    def size(self) -> int:
        """Length of the body as it stands, still encoded."""
        return self.body_end - self.body_start

    @property
    def is_multipart(self) -> bool:
        """Whether the type is multipart/*."""
        return self.content_type.startswith("multipart/")

    def walk(self) -> Iterator["Entity"]:
        """Yield this entity and all below it, in the order of the mail."""
        stack = [self]
        while stack:
            entity = stack.pop()
            yield entity
            stack.extend(reversed(entity.children))


_ONE_LINE_END: Final = re.compile(rb"\r*\n|\r")
"""CR CR LF is what systems make of CR LF that take it for text."""
_BLANK_LINES: Final = re.compile(
    rb"(?:[ \t]*+(?>\r*\n|\r))++"
    rb"(?=(?:Content-[a-z-]+|MIME-Version|From|Date|Message-ID|Received|X-[!-9;-~]+)[ \t]*:)",
    re.IGNORECASE,
)
_ALIASES: Final = MappingProxyType(
    {
        "": "7bit",
        "b64": "base64",
        "base-64": "base64",
        "base_64": "base64",
        "x-base64": "base64",
        "qp": "quoted-printable",
        "quoted_printable": "quoted-printable",
        "quotedprintable": "quoted-printable",
        "uue": UUENCODE,
        "uuencode": UUENCODE,
        "x-uue": UUENCODE,
        "x-uuencode": UUENCODE,
    }
)
_DEFAULT_LIMITS: Final = Limits()
_TEXT: Final = Structured("text/plain", MappingProxyType({}))
_MESSAGE: Final = Structured("message/rfc822", MappingProxyType({}))


def parse(buffer: Buffer, limits: Limits = _DEFAULT_LIMITS) -> Entity:
    """Parse a whole mail.

    Raises MIME_MALFORMED if the mail claims to be multipart and no part can be found, RESOURCE_LIMIT beyond
    the limits on depth, number of parts and size of headers.
    """
    root = skeleton(buffer, limits)
    if root.is_multipart and not root.children:
        raise RadpostError(MIME_MALFORMED, "multipart without " + ", ".join(root.defects))
    return root


def _beginning(buffer: Buffer) -> int:
    """Return where a mail begins: some programs put blank lines before its header."""
    found = _BLANK_LINES.match(bytes(buffer[:_NEAR]))
    return found.end() if found else 0


def skeleton(buffer: Buffer, limits: Limits = _DEFAULT_LIMITS) -> Entity:
    """Parse what can be found, also of a multipart without any part: for those who explain mails.

    Raises RESOURCE_LIMIT only.
    """
    return _Reader(buffer, limits).entity(_beginning(buffer), len(buffer), 0, _TEXT)


def body(entity: Entity, buffer: Buffer) -> Iterator[Bytes]:
    """Yield the decoded content of a leaf in chunks (RFC 2045 6).

    Chunks of an unencoded body are slices of the buffer: views if it is a memoryview.
    """
    end = entity.body_end
    if entity.encoding == "quoted-printable" and not entity.content_type.startswith("text/"):
        end = binary_end(buffer, entity.body_start, end)
    return decode(buffer, entity.body_start, end, entity.encoding)


def content(entity: Entity, buffer: Buffer, limit: int) -> bytes:
    """Return at most the first ``limit`` bytes of the decoded content, for small parts."""
    out = bytearray()
    for chunk in body(entity, buffer):
        out += chunk[: limit - len(out)]
        if len(out) >= limit:
            break
    return bytes(out)


class _Reader:
    """One pass over one buffer; counts the parts."""

    def __init__(self, buffer: Buffer, limits: Limits) -> None:
        self.buffer = buffer
        self.limits = limits
        self.parts = 0
        self.headers_size = 0
        self.fields = 0
        self.near_misses = 0

    def _step(self, depth: int) -> None:
        self.parts += 1
        if self.parts > self.limits.parts:
            raise RadpostError(RESOURCE_LIMIT, f"more than {self.limits.parts} parts")
        if depth > self.limits.depth:
            raise RadpostError(RESOURCE_LIMIT, f"parts nested deeper than {self.limits.depth}")

    def _kept(self, block: Block) -> Block:
        """Count a header block that is kept."""
        self.headers_size += block.size
        self.fields += len(block.headers)
        if self.headers_size > self.limits.headers_size:
            raise RadpostError(
                RESOURCE_LIMIT, f"headers of more than {self.limits.headers_size} bytes together"
            )
        if self.fields > self.limits.fields:
            raise RadpostError(RESOURCE_LIMIT, f"more than {self.limits.fields} header fields together")
        return block

    def _missed(self) -> None:
        """Count a line that looked like a delimiter."""
        self.near_misses += 1
        if self.near_misses > self.limits.near_misses:
            raise RadpostError(
                RESOURCE_LIMIT, f"more than {self.limits.near_misses} lines that look like delimiters"
            )

    def _block(self, start: int, end: int) -> Block:
        """Read a header block: first in a window that most fit in, then in the largest one allowed."""
        near = start + min(_NEAR, self.limits.header_size)
        if near < end:
            head = bytes(self.buffer[start:near])
            with suppress(RadpostError):
                block = parse_block(head, complete=False)
                # a line end that the window cuts through is not known whole
                if head[block.size :].lstrip(b"\r"):
                    return block
        window = min(end, start + self.limits.header_size)
        return parse_block(bytes(self.buffer[start:window]), complete=window == end)

    def entity(self, start: int, end: int, depth: int, default: Structured) -> Entity:
        """Read the entity that fills ``buffer[start:end]``."""
        self._step(depth)
        block = self._kept(self._block(start, end))
        defects = list(block.defects)
        kind = _content_type(block.headers, default, defects)
        encoding = _encoding(block.headers, defects)
        disposition = block.headers.structured("Content-Disposition")
        body_start = start + block.size
        children: tuple[Entity, ...] = ()
        if kind.value.startswith("multipart/"):
            children = self._multipart(body_start, end, depth, kind, defects)
        elif kind.value in ("message/rfc822", "message/global"):
            if encoding in IDENTITY:
                children = (self.entity(body_start, end, depth + 1, _TEXT),)
            else:  # RFC 2046 5.2.1 forbids it
                defects.append("encoded-message")
        return Entity(
            headers=block.headers,
            content_type=kind.value,
            params=kind.params,
            encoding=encoding,
            start=start,
            body_start=body_start,
            body_end=end,
            children=children,
            filename=_filename(kind, disposition),
            disposition=disposition.value if disposition is not None else "",
            defects=tuple(dict.fromkeys(defects)),
        )

    def _multipart(
        self, start: int, end: int, depth: int, kind: Structured, defects: list[str]
    ) -> tuple[Entity, ...]:
        """Cut a multipart body at its boundaries (RFC 2046 5.1.1); preamble and epilogue are skipped."""
        boundary = kind.params.get("boundary", "")
        if not boundary.strip() or len(boundary) > MAX_BOUNDARY:
            defects.append("missing-boundary")
            return ()
        # RFC 2046 5.1.5, 5.1.3: other kinds are read like mixed, multipart/related (RFC 2387 3.1) among them
        default = _MESSAGE if kind.value == "multipart/digest" else _TEXT
        children: list[Entity] = []
        part_start: int | None = None
        closed = False
        for line_start, line_end, final in self._delimiters(boundary, start, end):
            if part_start is not None:
                part_end = max(part_start, _before_line_end(self.buffer, part_start, line_start))
                children.append(self.entity(part_start, part_end, depth + 1, default))
            part_start = None if final else line_end
            if final:
                closed = True
                break
        if part_start is not None:
            children.append(self.entity(part_start, end, depth + 1, default))
        if not children:
            defects.append("boundary-not-found")
        elif not closed:
            defects.append("missing-final-boundary")
        return tuple(children)

    def _delimiters(self, boundary: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Yield (start of line, start of next line, is final) of each delimiter line."""
        buffer = self.buffer
        needle = b"--" + boundary.rstrip(" ").encode("utf-8")
        for hit in find_all(buffer, needle, start, end):
            position = hit + len(needle)
            if hit > start and bytes(buffer[hit - 1 : hit]) not in (b"\n", b"\r"):
                self._missed()
                continue
            tail = bytes(buffer[position : min(end, position + 256)])
            final = tail.startswith(b"--") and not _is_padding(tail)
            rest = tail[2:] if final else tail
            if not _is_padding(rest):
                self._missed()
                continue
            after = rest.lstrip(b" \t")
            skipped = len(tail) - len(after)
            line_end = _ONE_LINE_END.match(after)
            skipped += line_end.end() if line_end else 0
            position += skipped + (2 if final else 0)
            yield hit, position, final


def _content_type(headers: Headers, default: Structured, defects: list[str]) -> Structured:
    text = headers.get("Content-Type")
    if text is None:
        return default
    kind = parse_structured(text)
    defects.extend(kind.defects)
    major, slash, minor = kind.value.partition("/")
    major, minor = major.strip(), minor.strip()
    if not slash or not major or not minor or " " in major + minor:
        defects.append("bad-content-type")
        return Structured("text/plain", kind.params)  # RFC 2045 5.2
    return Structured(f"{major}/{minor}", kind.params)


def _encoding(headers: Headers, defects: list[str]) -> str:
    text = parse_structured(headers.get("Content-Transfer-Encoding") or "7bit").value
    value = text.strip().strip('"').strip()  # a token (RFC 2045 6.1), that some put in quotes
    if value in ("base64", "quoted-printable") or value in IDENTITY:
        return value
    if value in _ALIASES:
        return _ALIASES[value]
    defects.append("unknown-encoding")
    return value


def _filename(kind: Structured, disposition: Structured | None) -> str | None:
    """Name a file as RFC 2183 2.3 says, else by the old ``name`` of the type; never safe for a disk as is."""
    names = (disposition.params.get("filename") if disposition else None, kind.params.get("name"))
    return next((name for name in names if name), None)


def _is_padding(rest: bytes) -> bool:
    """Only blanks up to the line end: transport padding (RFC 2046 5.1.1)."""
    after = rest.lstrip(b" \t")
    return not after or after[:1] in (b"\r", b"\n")


def _before_line_end(buffer: Buffer, start: int, end: int) -> int:
    """The line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1)."""
    tail = bytes(buffer[max(start, end - 2) : end])
    if tail.endswith(b"\r\n"):
        return end - 2
    return end - 1 if tail.endswith((b"\n", b"\r")) else end
