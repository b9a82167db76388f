"""Named statements about blobs and objects: what is durable, and which object it is."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, exists, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.store import rows
from radpost.store.schema import (
    arrival,
    blob,
    collection_object,
    mail,
    mail_object,
    object_,
    quarantine,
    submission,
)
from radpost.store.segments import Record
from radpost.store.spool import Spool, Stored


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of an object before it has a row; identity as in DESIGN invariant 2."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_sha256: str
    file_sha256: str
    size: int
    study_uid: str
    series_uid: str
    modality: str
    media_type: str


class ObjectRow(rows.Row, frozen=True):
    """An object of the store."""

    id: int
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_sha256: str
    file_sha256: str
    size: int
    study_uid: str
    series_uid: str
    modality: str
    media_type: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Put:
    """What ``put`` found or made; ``versions`` are other objects with the same SOP Instance UID."""

    id: int
    new: bool
    file_sha256: str
    versions: tuple[ObjectRow, ...] = ()


_RAW_NEEDED = ("fetched", "fragment waiting", "opened")
_UNSENT = ("ready", "sending", "suspended")
_COLUMNS = rows.columns(object_, ObjectRow)
_PUT_BLOB = rows.Statement(
    insert(blob)
    .values(
        sha256=bindparam("sha256"),
        size=bindparam("size"),
        created_at=bindparam("created_at"),
        claimed=0,
        segment=bindparam("segment"),
        segment_offset=bindparam("segment_offset"),
    )
    .on_conflict_do_update(
        index_elements=["sha256"],
        set_={
            "released_at": None,
            "claimed": False,
            "segment": bindparam("segment"),
            "segment_offset": bindparam("segment_offset"),
        },
    )
)
_SETTLED = rows.Statement(
    update(blob)
    .where(
        blob.c.sha256 == bindparam("key"),
        blob.c.segment == bindparam("number"),
        blob.c.segment_offset == bindparam("position"),
    )
    .values(segment=None, segment_offset=None)
)
_RELEASE_BLOB = rows.Statement(
    update(blob).where(blob.c.sha256 == bindparam("key")).values(released_at=bindparam("now"))
)
_BY_UID = rows.Query(ObjectRow, select(*_COLUMNS).where(object_.c.sop_instance_uid == bindparam("uid")))
_BY_HASH = rows.Query(
    ObjectRow,
    select(*_COLUMNS).where(
        object_.c.sop_instance_uid == "",
        object_.c.transfer_syntax_uid == "",
        object_.c.dataset_sha256 == bindparam("sha256"),
    ),
)
_BY_ID = select(*_COLUMNS).where(object_.c.id == bindparam("id"))
_NEEDED = (
    exists().where(object_.c.file_sha256 == blob.c.sha256)
    | exists().where(collection_object.c.file_sha256 == blob.c.sha256)
    | exists().where(mail_object.c.file_sha256 == blob.c.sha256)
    | exists().where((submission.c.sha256 == blob.c.sha256) & submission.c.state.in_(_UNSENT))
    | exists().where((mail.c.sealed_sha256 == blob.c.sha256) & (mail.c.state.in_(["sealed", "submitting"])))
    # one fragment may come back for days; it is sent again out of the same bytes
    | exists().where(
        (submission.c.sha256 == blob.c.sha256)
        & (submission.c.pieces > 1)
        & (mail.c.id == submission.c.mail_id)
        & (mail.c.state == "on server")
    )
    | exists().where((arrival.c.sha256 == blob.c.sha256) & arrival.c.state.in_(_RAW_NEEDED))
    | exists().where((quarantine.c.sha256 == blob.c.sha256) & (quarantine.c.state == "open"))
)
_BLOB_KNOWN = select(blob.c.sha256).where(blob.c.sha256 == bindparam("sha256"), blob.c.claimed.is_(False))


def put_blob(
    connection: Connection, spool: Spool, stored: Stored, now: float, record: Record | None = None
) -> None:
    """Note that a file is durable in the spool, or in a record of the segments; call only after it is.

    The collector may have removed the file of the same content between the caller's rename and this
    transaction; then the caller must start anew.

    Raises:
        RadpostError: STORE_UNUSABLE.
    """
    values = {
        "sha256": stored.sha256,
        "size": stored.size,
        "created_at": now,
        "segment": record.segment if record else None,
        "segment_offset": record.offset if record else None,
    }
    _PUT_BLOB.run(connection, values)
    if not spool.has(stored.sha256):
        raise RadpostError(STORE_UNUSABLE, "the spool file was collected meanwhile; try again")


def settled(connection: Connection, stored: Stored, record: Record) -> None:
    """Note that the file itself is durable, so that its record is needed no longer."""
    values = {"key": stored.sha256, "number": record.segment, "position": record.offset}
    _SETTLED.run(connection, values)


def unsettled(connection: Connection) -> list[tuple[Stored, Record]]:
    """Return the files that are durable in a record of the segments only."""
    statement = select(blob.c.sha256, blob.c.size, blob.c.segment, blob.c.segment_offset)
    return [
        (Stored(str(row[0]), int(row[1])), Record(int(row[2]), int(row[3]), int(row[1])))
        for row in connection.execute(statement.where(blob.c.segment.is_not(None)))
    ]


def has_blob(connection: Connection, sha256: str) -> bool:
    """Tell whether the durability of a file is committed."""
    return connection.execute(_BLOB_KNOWN, {"sha256": sha256}).first() is not None


def put(connection: Connection, facts: ObjectFacts, now: float) -> Put:
    """Note an object, exactly once per identity; its blob must have been put before."""
    if facts.sop_instance_uid:
        same_uid = _BY_UID.many(connection, uid=facts.sop_instance_uid)
    else:
        same_uid = _BY_HASH.many(connection, sha256=facts.dataset_sha256)
    for row in same_uid:
        same_syntax = row.transfer_syntax_uid == facts.transfer_syntax_uid
        if same_syntax and row.dataset_sha256 == facts.dataset_sha256:
            return Put(row.id, new=False, file_sha256=row.file_sha256)
    new_id = rows.add_with_id(
        connection,
        object_,
        {
            "kind": facts.kind,
            "sop_class_uid": facts.sop_class_uid,
            "sop_instance_uid": facts.sop_instance_uid,
            "transfer_syntax_uid": facts.transfer_syntax_uid,
            "dataset_sha256": facts.dataset_sha256,
            "file_sha256": facts.file_sha256,
            "size": facts.size,
            "study_uid": facts.study_uid,
            "series_uid": facts.series_uid,
            "modality": facts.modality,
            "media_type": facts.media_type,
            "created_at": now,
        },
    )
    return Put(new_id, new=True, file_sha256=facts.file_sha256, versions=tuple(same_uid))


def get(connection: Connection, object_id: int) -> ObjectRow:
    """Return an object that is known to exist."""
    row = rows.one(connection, ObjectRow, _BY_ID, id=object_id)
    assert row is not None, "objects are never removed while a row names them"
    return row


def same_instance(connection: Connection, sop_instance_uid: str) -> list[ObjectRow]:
    """Return all objects with this SOP Instance UID: versions, and the same in other transfer syntaxes."""
    return _BY_UID.many(connection, uid=sop_instance_uid)


def of_study(connection: Connection, study_uid: str) -> list[ObjectRow]:
    """Return the objects of a study in the order of their arrival."""
    statement = select(*_COLUMNS).where(object_.c.study_uid == study_uid).order_by(object_.c.id)
    return rows.many(connection, ObjectRow, statement)


def release_blob(connection: Connection, sha256: str, now: float) -> None:
    """Note that the caller needs a file no longer; it is collected when nobody else does, after a grace."""
    _RELEASE_BLOB.run(connection, {"key": sha256, "now": now})


def claim_released(connection: Connection, before: float, limit: int) -> list[str]:
    """Claim files that were released before ``before`` and that no row needs; the caller removes them."""
    statement = select(blob.c.sha256).where(blob.c.released_at < before, ~_NEEDED).limit(limit)
    found = [str(row[0]) for row in connection.execute(statement)]
    if found:
        connection.execute(update(blob).where(blob.c.sha256.in_(found)).values(claimed=True))
    return found


def remove_claimed(connection: Connection, spool: Spool, sha256: str) -> bool:
    """Remove a claimed file with its row; False if somebody put the same content or needs it meanwhile.

    The unlink stands inside the transaction on purpose: it is what ``put_blob`` is serialised against.
    """
    mine = (blob.c.sha256 == sha256) & blob.c.claimed.is_(True)
    gone = connection.execute(delete(blob).where(mine, ~_NEEDED))
    if not gone.rowcount:
        connection.execute(update(blob).where(mine).values(claimed=False))
        return False
    spool.remove(sha256)
    return True


def claimed(connection: Connection) -> list[str]:
    """Return files that were claimed for removal (also by a process that died meanwhile)."""
    # what is claimed was released: the index on released_at spares a walk through all blobs
    statement = select(blob.c.sha256).where(blob.c.released_at > 0, blob.c.claimed.is_(True))
    return [str(row[0]) for row in connection.execute(statement)]
