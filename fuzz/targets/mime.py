"""The MIME reader: any bytes are a tree within limits, and what was read can be written and read again."""

import contextlib
from collections.abc import Iterable

from fuzz.mutation import mail_mutator
from fuzz.seeds import MAILS, reference_mails
from fuzz.target import Target, sampled
from radpost.errors import RadpostError
from radpost.mime.folding import parameters
from radpost.mime.pgp import data, find_openpgp, signed_data
from radpost.mime.reader import Entity, Limits, body, content, parse
from radpost.mime.writer import Leaf, Multipart, Node, Source, entity_size, write

LIMITS = Limits(depth=12, parts=200, header_size=8192)


def check(mail: bytes) -> None:
    """Read a mail as everything that reads mails does."""
    try:
        root = parse(mail, LIMITS)
    except RadpostError as error:
        assert_same_refusal(mail, error)
        return
    if sampled(mail):
        assert root == parse(memoryview(mail), LIMITS), "reading is deterministic, whatever the buffer is"
    assert not mail[: root.start].strip(b" \t\r\n"), "nothing but blank lines is skipped"
    assert root.body_end == len(mail)
    entities = list(root.walk())
    assert len(entities) <= LIMITS.parts
    nested(root, 0)
    for entity in entities:
        headers(entity)
        decoded(entity, mail)
    openpgp(root, mail)
    if root.children:
        rewritten(root, mail)


def assert_same_refusal(mail: bytes, error: RadpostError) -> None:
    """A refusal is deterministic as well."""
    try:
        parse(memoryview(mail), LIMITS)
    except RadpostError as again:
        if again.reason is error.reason:
            return
    raise AssertionError("refused once, then read or refused for another reason")


def nested(entity: Entity, depth: int) -> None:
    """Spans lie within each other, in order, and not too deep."""
    assert depth <= LIMITS.depth
    assert entity.start <= entity.body_start <= entity.body_end
    assert entity.body_start - entity.start <= LIMITS.header_size
    at = entity.body_start
    for child in entity.children:
        assert at <= child.start
        assert child.body_end <= entity.body_end
        nested(child, depth + 1)
        at = child.body_end


def headers(entity: Entity) -> None:
    """Every way to look at a field gives an answer."""
    fields = entity.headers
    fields.date()
    fields.message_id()
    for field in fields:
        assert "\r" not in field.value
        assert "\n" not in field.value
        field.text.encode("utf-8")
    for address in (*fields.addresses("From"), *fields.addresses("To")):
        assert address == address.strip()
    for name in ("Content-Type", "Content-Disposition"):
        found = fields.structured(name)
        if found is not None:
            assert len(found.params) <= 400
            "".join(found.params.values()).encode("utf-8")


def decoded(entity: Entity, mail: bytes) -> None:
    """A body decodes to no more than it is, and its beginning is its beginning."""
    whole = b"".join(bytes(chunk) for chunk in body(entity, mail))
    assert len(whole) <= entity.size
    if entity.encoding in {"7bit", "8bit", "binary"}:
        assert whole == mail[entity.body_start : entity.body_end]
    assert content(entity, mail, 100) == whole[:100]


def openpgp(root: Entity, mail: bytes) -> None:
    """What is found as OpenPGP data lies within the mail."""
    found = find_openpgp(root, mail)
    for payload in found.payloads:
        assert payload.entity.body_start <= payload.start <= payload.end <= payload.entity.body_end
        b"".join(bytes(chunk) for chunk in data(payload, mail))
    for signed in found.signed:
        assert signed.entity.start <= signed.start <= signed.end <= signed.entity.body_end
        text = b"".join(signed_data(signed, mail))
        assert text.count(b"\n") == text.count(b"\r\n")


def rewritten(root: Entity, mail: bytes) -> None:
    """Write the tree with our writer, read it again: same shape, contents and names."""
    node = as_node(root, mail, [0])
    text = b"".join(bytes(chunk) for chunk in write(node))
    assert len(text) == entity_size(node)
    again = parse(text)
    leaves = [item for item in again.walk() if not item.children]
    wanted = [item for item in flat(node) if isinstance(item, Leaf)]
    assert len(leaves) == len(wanted)
    for leaf, source in zip(leaves, wanted, strict=True):
        assert b"".join(bytes(c) for c in body(leaf, text)) == b"".join(
            bytes(c) for c in source.source.open()
        )
        assert dict(source.fields).get("X-Name", "") == ("name" if leaf.filename else "")
    second = b"".join(bytes(chunk) for chunk in write(as_node(again, text, [0])))
    assert second == text, "what we write stays as it is"


def as_node(entity: Entity, mail: bytes, count: list[int]) -> Node:
    """Return an entity as one of our writer; boundaries are numbered."""
    count[0] += 1
    if entity.is_multipart and entity.children:
        boundary = f"=_{count[0]:032x}"
        children = tuple(as_node(child, mail, count) for child in entity.children)
        return Multipart("mixed", boundary, children)
    raw = b"".join(bytes(chunk) for chunk in body(entity, mail))
    fields: tuple[tuple[str, str], ...] = (("Content-Type", "application/octet-stream"),)
    name = entity.filename or ""
    if name and not (name.isascii() and "=?" in name) and name.strip() == name:
        # ValueError: control characters and surrogates are refused by the writer
        with contextlib.suppress(ValueError):
            disposition = parameters("attachment", {"filename": name})
            fields = (*fields, ("Content-Disposition", disposition), ("X-Name", "name"))
            Leaf(fields, Source.of(b"")).header()
            entity_size(Leaf(fields, Source.of(b"")))
            return Leaf(fields, Source.of(raw))
        fields = fields[:1]
    return Leaf(fields, Source.of(raw))


def flat(node: Node) -> Iterable[Node]:
    """Yield a node and all below it."""
    yield node
    if isinstance(node, Multipart):
        for child in node.children:
            yield from flat(child)


TARGET = Target(
    name="mime",
    rooms=("radpost.mime",),
    check=check,
    seeds=lambda: (*MAILS, *reference_mails("agit", "mdn", "dsn", "third-party")),
    mutate=mail_mutator((), MAILS),
)
