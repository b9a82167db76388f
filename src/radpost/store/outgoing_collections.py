"""Named statements about collections: objects that gather until a study is complete."""

from collections.abc import Generator, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.store import rows
from radpost.store.schema import blob, collection, collection_object, object_


class CollectionRow(rows.Row, frozen=True):
    """A study that is being collected for a partner."""

    id: int
    source: str
    partner: str
    study_uid: str
    state: str
    priority: int
    machine: str
    objects: int
    bytes: int
    opened_at: float
    due_at: float | None
    group_id: str


class Member(rows.Row, frozen=True):
    """An object of a collection or a mail, with the file that travels for it."""

    object_id: int
    file_sha256: str
    name: str
    size: int
    kind: str
    media_type: str
    transfer_syntax_uid: str
    study_uid: str
    sop_instance_uid: str


_COLLECTION = rows.columns(collection, CollectionRow)
MEMBER_OBJECT = (
    blob.c.size,  # of the file that travels: the same data set may lie in files with other meta headers
    object_.c.kind,
    object_.c.media_type,
    object_.c.transfer_syntax_uid,
    object_.c.study_uid,
    object_.c.sop_instance_uid,
)
_OPEN = rows.Query(
    CollectionRow,
    select(*_COLLECTION).where(
        collection.c.source == bindparam("source"),
        collection.c.partner == bindparam("partner"),
        collection.c.study_uid == bindparam("study_uid"),
        collection.c.state == "open",
    ),
)
_OPEN_OF = rows.Query(
    CollectionRow,
    select(*_COLLECTION).where(
        collection.c.source == bindparam("source"),
        collection.c.partner == bindparam("partner"),
        collection.c.state == "open",
    ),
)
_ADD_MEMBER = rows.Statement(
    insert(collection_object)
    .values({column.name: bindparam(column.name) for column in collection_object.c})
    .on_conflict_do_nothing()
)
_TOUCH = rows.Statement(
    update(collection)
    .where(collection.c.id == bindparam("key"))
    .values(
        machine=bindparam("new_machine"),
        objects=collection.c.objects + bindparam("more"),
        bytes=collection.c.bytes + bindparam("more_bytes"),
        due_at=bindparam("due"),
        state=bindparam("new_state"),
    )
)
_DUE_COLLECTIONS = rows.Query(
    CollectionRow,
    select(*_COLLECTION).where(collection.c.state == "open", collection.c.due_at <= bindparam("now")),
)
_COLLECTIONS = rows.Query(
    CollectionRow,
    select(*_COLLECTION)
    .where(collection.c.state == bindparam("state"))
    .order_by(collection.c.priority, collection.c.id),
)
_CLOSED_COLLECTIONS = rows.Query(
    CollectionRow,
    select(*_COLLECTION)
    .where(
        collection.c.state == "closed",
        collection.c.due_at.is_(None) | (collection.c.due_at <= bindparam("now")),
    )
    .order_by(collection.c.priority, collection.c.id),
)
_NEXT_COLLECTION_DUE = rows.Statement(
    select(func.min(collection.c.due_at)).where(collection.c.state == "open")
)
_MEMBERS = rows.Query(
    Member,
    select(
        collection_object.c.object_id,
        collection_object.c.file_sha256,
        collection_object.c.name,
        *MEMBER_OBJECT,
    )
    .join(object_, object_.c.id == collection_object.c.object_id)
    .join(blob, blob.c.sha256 == collection_object.c.file_sha256)
    .where(collection_object.c.collection_id == bindparam("collection_id"))
    .order_by(collection_object.c.arrived_at, collection_object.c.object_id),
)


def open_collection(
    connection: Connection, source: str, partner: str, study_uid: str
) -> CollectionRow | None:
    """Return the collection that takes further objects of this study, if one is open."""
    return _OPEN.one(connection, source=source, partner=partner, study_uid=study_uid)


def open_collections_of(connection: Connection, source: str, partner: str) -> list[CollectionRow]:
    """Return a source's open collections for a partner."""
    return _OPEN_OF.many(connection, source=source, partner=partner)


def add_collection(connection: Connection, values: Mapping[str, Any]) -> int:
    """Open a collection."""
    return rows.add_with_id(connection, collection, values)


def add_member(
    connection: Connection, collection_id: int, object_id: int, file_sha256: str, name: str, now: float
) -> bool:
    """Add an object to a collection; return False if it was in it already."""
    values = {
        "collection_id": collection_id,
        "object_id": object_id,
        "file_sha256": file_sha256,
        "name": name,
        "arrived_at": now,
    }
    return _ADD_MEMBER.run(connection, values) > 0


def touch_collection(
    connection: Connection,
    collection_id: int,
    machine: str,
    state: str,
    due_at: float | None,
    *,
    objects: int = 0,
    size: int = 0,
) -> None:
    """Store a collection's new state and count what was added."""
    _TOUCH.run(
        connection,
        {
            "key": collection_id,
            "new_machine": machine,
            "more": objects,
            "more_bytes": size,
            "due": due_at,
            "new_state": state,
        },
    )


def due_collections(connection: Connection, now: float) -> list[CollectionRow]:
    """Return open collections whose stored deadline has passed."""
    return _DUE_COLLECTIONS.many(connection, now=now)


def collections(connection: Connection, state: str) -> list[CollectionRow]:
    """Return the collections in a state, oldest first."""
    return _COLLECTIONS.many(connection, state=state)


def next_collection_due(connection: Connection) -> float | None:
    """Return when the next open collection is to be closed."""
    found = _NEXT_COLLECTION_DUE.value(connection, {})
    return None if found is None else float(found)


def closed_collections(connection: Connection, now: float) -> list[CollectionRow]:
    """Return the collections that are to be planned, the most urgent first."""
    return _CLOSED_COLLECTIONS.many(connection, now=now)


def postpone_collection(connection: Connection, collection_id: int, due_at: float) -> None:
    """Store when a closed collection is to be planned again."""
    rows.change(connection, collection, collection_id, {"due_at": due_at})


def members(connection: Connection, collection_id: int) -> Generator[Member, None, None]:
    """Yield a collection's objects in the order of their arrival; a study may have any number."""
    return _MEMBERS.each(connection, collection_id=collection_id)


def drop_collection(connection: Connection, collection_id: int) -> None:
    """Remove a collection whose objects are planned into mails."""
    connection.execute(delete(collection).where(collection.c.id == collection_id))
