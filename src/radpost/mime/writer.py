"""Streaming writer of MIME entities; their exact size is known before the first byte.

RFC 2045, RFC 2046; in canonical form, RFC 2049 4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from radpost.errors import INTERNAL, RadpostError
from radpost.mime.coding import Bytes, base64_size, encode_base64
from radpost.mime.folding import Fields, block, parameters

Encoding: TypeAlias = Literal["base64", "binary", "7bit", "8bit", "quoted-printable"]


@dataclass(frozen=True, slots=True)
class Source:
    """Content of a known size that can be read in chunks, once for each writing."""

    size: int
    open: Callable[[], Iterable[Bytes]]

    @classmethod
    def of(cls, data: Bytes) -> "Source":
        """Wrap data in memory."""
        return cls(len(data), lambda: (data,))

    def chunks(self) -> Iterator[Bytes]:
        """Yield the content; fails if it is not as long as promised, for sizes are announced beforehand."""
        left = self.size
        for chunk in self.open():
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise RadpostError(INTERNAL, "content changed its size while a mail was written")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part with content; base64 is made here, the other encodings are the content's own."""

    fields: tuple[tuple[str, str], ...]
    source: Source
    encoding: Encoding = "base64"

    def header(self) -> tuple[tuple[str, str], ...]:
        """Return its fields with Content-Transfer-Encoding."""
        if self.encoding == "7bit":
            return self.fields
        return (*self.fields, ("Content-Transfer-Encoding", self.encoding))

    @property
    def body_size(self) -> int:
        """Size of the encoded content."""
        return base64_size(self.source.size) if self.encoding == "base64" else self.source.size

    @property
    def widest(self) -> str:
        """The encoding that an enclosing multipart must declare (RFC 2045 6.4)."""
        return self.encoding if self.encoding in ("8bit", "binary") else "7bit"


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart entity (RFC 2046 5.1); the boundary is drawn by the caller."""

    subtype: str
    boundary: str
    children: tuple["Node", ...]
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    fields: tuple[tuple[str, str], ...] = ()

    def header(self) -> tuple[tuple[str, str], ...]:
        """Return its fields with Content-Type and, where children need it, the encoding."""
        kind = parameters(f"multipart/{self.subtype}", {**self.params, "boundary": self.boundary})
        widest = self.widest
        encoding = () if widest == "7bit" else (("Content-Transfer-Encoding", widest),)
        return (*self.fields, ("Content-Type", kind), *encoding)

    @property
    def body_size(self) -> int:
        """Size of the body with all delimiters."""
        delimiter = len(self.boundary) + 6
        inner = sum(delimiter + entity_size(child) for child in self.children)
        # no line end before the first delimiter, two dashes more in the last
        return inner - 2 + delimiter + 2

    @property
    def widest(self) -> str:
        """The widest encoding among the children (RFC 2045 6.4)."""
        found = {child.widest for child in self.children}
        return next((name for name in ("binary", "8bit") if name in found), "7bit")


Node: TypeAlias = Leaf | Multipart
Piece: TypeAlias = tuple[Bytes, Leaf | None]
"""Written bytes and the leaf whose content they are, None for structure."""


def entity_size(node: Node, extra: Fields = ()) -> int:
    """Return the exact number of bytes that ``write`` will yield."""
    return len(block((*extra, *node.header()))) + node.body_size


def write(node: Node, extra: Fields = ()) -> Iterator[Bytes]:
    """Yield the entity; ``extra`` fields stand first, so that a message header makes it a message."""
    return (data for data, _leaf in pieces(node, extra))


def pieces(node: Node, extra: Fields = ()) -> Iterator[Piece]:
    """Yield the entity with the leaf of each piece, so that compression can be chosen by content."""
    yield block((*extra, *node.header())), None
    if isinstance(node, Leaf):
        chunks = node.source.chunks()
        for chunk in encode_base64(chunks) if node.encoding == "base64" else chunks:
            yield chunk, node
        return
    if not node.children:
        raise ValueError("a multipart has at least one part")
    delimiter = f"--{node.boundary}\r\n".encode("ascii")
    for child in node.children:
        yield delimiter, None
        yield from pieces(child)
        delimiter = f"\r\n--{node.boundary}\r\n".encode("ascii")
    yield f"\r\n--{node.boundary}--\r\n".encode("ascii"), None
