"""A mail made ready for the rules: its MIME tree, and the trees that were sealed in it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from radpost.agit import names
from radpost.agit.opening import MAX_DEPTH, MAX_SEALS
from radpost.agit.recognition import is_mime
from radpost.agit.source import readable
from radpost.errors import RESOURCE_LIMIT, RadpostError, Reason
from radpost.mails.checking.model import Layer, Seal
from radpost.mails.checking.objects import documents, objects, own_leaves
from radpost.mails.checking.outline import Outline, outlines
from radpost.mime.headers import Headers, parse_block
from radpost.mime.mdn import reported
from radpost.mime.pgp import Found, find_openpgp, signed_data
from radpost.mime.reader import Entity, content, skeleton
from radpost.openpgp.values import Engine, Limits, Signature

_HEAD: Final = 256 * 1024
_MAX_SIGNATURE: Final = 1 << 20
_NONE: Final = Found((), (), ())
_LIMITS: Final = Limits()
LARGEST: Final = 1 << 30
"""All plaintexts of a mail together; they are checked in memory."""
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Key:
    """What opens sealed data: an engine with keys, and a private folder for large plaintext."""

    engine: Engine
    temp: Path


@dataclass(frozen=True, slots=True)
class Scene:
    """One mail: the tree outside, then the trees inside in the order in which they were sealed."""

    layers: tuple[Layer, ...]

    @property
    def outside(self) -> Layer:
        """Return the mail as it came."""
        return self.layers[0]


def look(data: bytes, key: Key | None) -> Scene:
    """Read a mail as far as it can be read; never raises because of what is in it."""
    outside = tree(data)
    if key is None:
        return Scene((outside,))
    layers: list[Layer] = []
    _open(outside, key, layers, 0)
    return Scene(tuple(layers))


def tree(data: bytes) -> Layer:
    """Make one MIME tree ready for the rules, without opening anything."""
    root, fault = _root(data)
    found = _NONE
    if root.content_type != "message/partial":
        try:
            found = find_openpgp(root, data)
        except RadpostError as error:
            fault = fault or (error.reason, error.detail)
    seals = outlines(found.payloads, data)
    taken = [payload.entity for payload in found.payloads]
    taken += [one.signature for one in found.signed] + list(found.keys)
    leaves = tuple(own_leaves(root, taken)) if root.content_type != "message/partial" else ()
    dicom = objects(leaves, data)
    return Layer(
        buffer=data,
        root=root,
        found=found,
        places=_places(root),
        parents=MappingProxyType({id(child): one for one in root.walk() for child in one.children}),
        fault=fault,
        seals=seals,
        objects=dicom,
        documents=documents(leaves, data, dicom),
    )


def _root(data: bytes) -> tuple[Entity, tuple[Reason, str] | None]:
    """Parse; beyond the limits of the reader the header alone is there to be looked at."""
    try:
        return skeleton(data), None
    except RadpostError as error:
        fault = (error.reason, error.detail)
    headers, end = Headers(), _HEADER_END.search(data, 0, _HEAD)
    size = len(data) if end is None else end.end()
    with suppress(RadpostError):
        headers = parse_block(data[: min(size, _HEAD)], complete=True).headers
    kind = headers.structured("Content-Type")
    return (
        Entity(
            headers=headers,
            content_type="application/octet-stream" if kind is None else kind.value,
            params=MappingProxyType({}) if kind is None else kind.params,
            encoding="7bit",
            start=0,
            body_start=size,
            body_end=len(data),
        ),
        fault,
    )


def _places(root: Entity) -> Mapping[int, str]:
    """Number the entities as IMAP does (RFC 3501 6.4.5)."""
    out: dict[int, str] = {id(root): ""}
    pending = [(root, "")]
    while pending:
        entity, place = pending.pop()
        for number, child in enumerate(entity.children, 1):
            below = f"{place}.{number}" if place else str(number)
            out[id(child)] = below
            pending.append((child, below))
    return out


def _open(layer: Layer, key: Key, layers: list[Layer], depth: int) -> None:
    """Open what is sealed in a tree, and in the trees inside."""
    index = len(layers)
    layers.append(layer)
    unopened: list[tuple[Reason, str, int]] = []
    returned = {id(one) for one in layer.entities()} - {id(one) for one in reported(layer.root)}
    inside: list[Layer] = []
    for one in layer.seals:
        if id(one.payload.entity) in returned:
            continue
        room = LARGEST - sum(len(other.buffer) for other in (*layers[1:], *inside))
        if depth >= MAX_DEPTH or len(layers) + len(inside) > MAX_SEALS or room <= 0:
            unopened.append((RESOURCE_LIMIT, "sealed too deep, too often, or too much", one.at))
            continue
        try:
            inside.append(_inside(layer, one, key, room))
        except RadpostError as error:
            unopened.append((error.reason, error.detail, one.at))
    whole = replace(layer, unopened=tuple(unopened), signatures=tuple(_verified(layer, key)))
    layers[index] = whole
    for below in inside:
        _open(replace(below, outer=whole), key, layers, depth + 1)


def _inside(layer: Layer, one: Outline, key: Key, room: int) -> Layer:
    """Open one OpenPGP message of at most so many bytes; RadpostError of the engine."""
    limits = replace(_LIMITS, max_plaintext=room)
    with readable(one.payload, layer.buffer, key.temp, _LIMITS.memory) as source:
        opened = key.engine.open(source, temp=key.temp, limits=limits, legacy=True)
    with opened.plaintext:
        plain = opened.plaintext
        data = plain.open().read() if plain.size else b""
    inner = tree(data) if is_mime(one.payload, data) else bare(data, one.payload.filename)
    seal = Seal(
        signature=opened.signature,
        integrity=opened.integrity,
        encrypted=opened.encrypted,
        cipher=opened.cipher,
        warnings=opened.warnings,
        sealed_size=one.size,
        at=one.at,
    )
    return replace(inner, seal=seal, sealed_in=one.payload.entity)


def _verified(layer: Layer, key: Key) -> Iterator[tuple[Signature, int]]:
    """Verify what multipart/signed covers; what cannot be used does not disturb (@GIT 1.1r 5.1)."""
    for one in layer.found.signed:
        if "pkcs7" in one.signature.content_type:
            continue
        detached = content(one.signature, layer.buffer, _MAX_SIGNATURE)
        with suppress(RadpostError):
            yield key.engine.verify_detached(signed_data(one, layer.buffer), detached), one.start


def bare(data: bytes, filename: str | None) -> Layer:
    """A file that was sealed without any MIME around it."""
    kind = names.DICOM_TYPE if data[128:132] == b"DICM" else "application/octet-stream"
    root = Entity(
        headers=Headers(),
        content_type=kind,
        params=MappingProxyType({}),
        encoding="binary",
        start=0,
        body_start=0,
        body_end=len(data),
        filename=filename,
    )
    dicom = objects((root,), data)
    return Layer(
        buffer=data,
        root=root,
        found=_NONE,
        places={id(root): ""},
        objects=dicom,
        documents=documents((root,), data, dicom) if data else (),
        bare=True,
    )
