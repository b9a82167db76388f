"""The data of a MIME tree: DICOM files with what their headers say, and documents (PS3.10 7, PS3.12 K)."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from radpost.agit import names
from radpost.agit.recognition import is_data
from radpost.agit.survey import looks_dicom
from radpost.dicom.dicomdir import file_ids
from radpost.dicom.identity import Identity, identify
from radpost.dicom.meta import read_meta
from radpost.errors import RadpostError
from radpost.mime.mdn import reported
from radpost.mime.reader import Entity, body

_DIRECTORY_LIMIT: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Object:
    """One DICOM part, decoded."""

    entity: Entity
    typed: bool
    """Whether its type is application/dicom."""
    size: int
    prefix: bool
    """Whether ``DICM`` stands behind the preamble."""
    meta: bool
    """Whether there is a meta header with all three UIDs."""
    identity: Identity
    file_ids: tuple[str, ...] | None = None
    """What a DICOMDIR names; None if it is none, or cannot be read."""

    @property
    def id(self) -> str:
        """Return the parameter ``id``."""
        return self.entity.params.get("id", "")

    @property
    def is_dicomdir(self) -> bool:
        """Whether it is a DICOMDIR, by its content or its id."""
        return self.identity.kind == "dicomdir" or self.id.upper() == "DICOMDIR"


def own_leaves(root: Entity, sealed: Sequence[Entity]) -> Iterator[Entity]:
    """Yield the leaves that the mail brings itself: not those of a returned mail, not sealed data."""
    taken = {id(entity) for entity in sealed}
    return (
        one for one in reported(root) if not one.children and not one.is_multipart and id(one) not in taken
    )


def objects(leaves: Sequence[Entity], buffer: bytes) -> tuple[Object, ...]:
    """Return the DICOM parts among the leaves."""
    return tuple(_object(one, buffer) for one in leaves if looks_dicom(one, buffer) or _named(one))


def documents(leaves: Sequence[Entity], buffer: bytes, dicom: Sequence[Object]) -> tuple[Entity, ...]:
    """Return the other leaves that are data."""
    taken = {id(one.entity) for one in dicom}
    return tuple(one for one in leaves if id(one) not in taken and is_data(one, buffer))


def _named(entity: Entity) -> bool:
    name = (entity.filename or "").lower()
    return name.endswith((".dcm", ".dicom")) and entity.content_type == "application/octet-stream"


def _object(entity: Entity, buffer: bytes) -> Object:
    content = b"".join(bytes(chunk) for chunk in body(entity, buffer))
    meta = read_meta(content)
    identity = identify(content)
    named: tuple[str, ...] | None = None
    if identity.kind == "dicomdir" and len(content) <= _DIRECTORY_LIMIT:
        try:
            named = tuple("/".join(one) for one in file_ids(io.BytesIO(content)))
        except RadpostError:
            named = None
    return Object(
        entity=entity,
        typed=entity.content_type == names.DICOM_TYPE,
        size=len(content),
        prefix=content[128:132] == b"DICM",
        meta=None not in (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid),
        identity=identity,
        file_ids=named,
    )
