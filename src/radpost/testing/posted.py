"""Two institutions that exchange studies through a real mail server: what interop and crash tests share.

The institutions are real ``radpost run`` processes; what became of an object is read from their stores.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import select

from radpost.dicom.identity import identify
from radpost.gateway import sending
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.store import (
    incoming_deliveries,
    incoming_mails,
    outgoing_mails,
    outgoing_transmissions,
    quarantined_mails,
    rows,
)
from radpost.store.incoming_deliveries import DeliveryRow
from radpost.store.incoming_mails import ArrivalRow, IncomingObjectRow
from radpost.store.journal import AlarmRow, open_alarms
from radpost.store.mailbox_entries import MailboxEntryRow
from radpost.store.objects import ObjectRow
from radpost.store.quarantined_mails import QuarantineRow
from radpost.store.schema import arrival, blob, collection, delivery, incoming_object, mailbox_entry, object_
from radpost.testing.institution import Institution, toml_server
from radpost.testing.peers.pair import MailServer
from radpost.words import SignaturePolicy

A_ADDRESS: Final = "dicom@klinik-a.example"
B_ADDRESS: Final = "dicom@praxis-b.example"
USERS: Final[Mapping[str, str]] = {A_ADDRESS: "geheim-a", B_ADDRESS: "geheim-b"}


def submission(server: MailServer, user: str, security: str = "starttls", **values: object) -> str:
    """Return a ``[submission]`` section: sign-in at the server's submission port, certificate verified."""
    port = {
        "starttls": server.submission_port,
        "tls": server.submissions_port,
        "none": server.submission_port,
    }[security]
    settings: dict[str, object] = {
        "host": server.host,
        "port": port,
        "security": security,
        "ca": server.ca_file,
        "user": user,
        "password": server.users[user],
    }
    return toml_server("submission", **settings | values)


def mailbox(server: MailServer, user: str, kind: str = "imaps", **values: object) -> str:
    """Return a ``[[mailbox]]`` section; kind is imap or pop3 (by STARTTLS), imaps or pop3s."""
    port = {
        "imap": server.imap_port,
        "imaps": server.imaps_port,
        "pop3": server.pop3_port,
        "pop3s": server.pop3s_port,
    }[kind]
    settings: dict[str, object] = {
        "kind": kind.removesuffix("s"),
        "host": server.host,
        "port": port,
        "security": "tls" if kind.endswith("s") else "starttls",
        "ca": server.ca_file,
        "user": user,
        "password": server.users[user],
        "poll_seconds": 0.3,
    }
    return toml_server("[[mailbox]]", **settings | values)


def pacs(port: int, ae_title: str = "PACS", name: str = "pacs", **values: object) -> str:
    """Return a ``[[destination]]`` section for a PACS on loopback."""
    return toml_server(
        "[[destination]]", name=name, kind="dicom", ae_title=ae_title, host="127.0.0.1", port=port, **values
    )


def folder(path: Path, name: str = "documents", takes: str = "other") -> str:
    """Return a ``[[destination]]`` section for a folder."""
    return toml_server("[[destination]]", name=name, kind="folder", takes=takes, path=path)


def befriend(
    a: Institution,
    b: Institution,
    *,
    switches: Switches = RADPOST_PEER,
    policy: SignaturePolicy = SignaturePolicy.REQUIRE,
) -> None:
    """Make two institutions partners: B is ``PRAXIS_B`` at A, A is ``KLINIK_A`` at B."""
    a.add_partner(b, "PRAXIS_B", switches=switches, policy=policy)
    b.add_partner(a, "KLINIK_A", switches=switches, policy=policy)


def send(institution: Institution, partner: str, paths: Sequence[Path], *, study_uid: str = "") -> str:
    """Send files as ``radpost send`` does; return the job's source."""
    with institution.site() as site:
        job = sending.look(paths, site.partners.by_name(partner), study_uid=study_uid)
        sending.take(site, job)
        return job.origin.source


def stored(institution: Institution) -> list[ObjectRow]:
    """Return all objects of an institution's store."""
    with institution.site() as site, site.database.read() as connection:
        statement = select(*rows.columns(object_, ObjectRow)).order_by(object_.c.id)
        return rows.many(connection, ObjectRow, statement)


def content(institution: Institution, row: ObjectRow) -> bytes:
    """Return the file of an object as it lies in the spool."""
    with institution.site() as site:
        return site.spool.path(row.file_sha256).read_bytes()


def arrivals(institution: Institution) -> list[ArrivalRow]:
    """Return all mails that arrived."""
    with institution.site() as site, site.database.read() as connection:
        statement = select(*rows.columns(arrival, ArrivalRow)).order_by(arrival.c.id)
        return rows.many(connection, ArrivalRow, statement)


def received(institution: Institution) -> list[IncomingObjectRow]:
    """Return every object of every arrived mail, with what became of it."""
    with institution.site() as site, site.database.read() as connection:
        columns = rows.columns(incoming_object, IncomingObjectRow)
        return rows.many(connection, IncomingObjectRow, select(*columns))


def forgotten_files(institution: Institution) -> list[str]:
    """Return spool files that no object is made of and that nobody has released for collection."""
    with institution.site() as site, site.database.read() as connection:
        objects = select(object_.c.file_sha256)
        unused = select(blob.c.sha256).where(blob.c.released_at.is_(None), blob.c.sha256.not_in(objects))
        return [str(row[0]) for row in connection.execute(unused)]


def deliveries(institution: Institution) -> list[DeliveryRow]:
    """Return all deliveries."""
    with institution.site() as site, site.database.read() as connection:
        found = [
            row
            for (number,) in connection.execute(select(delivery.c.object_id).distinct())
            for row in incoming_deliveries.deliveries_of(connection, int(number))
        ]
    return sorted(found, key=lambda row: row.id)


def entries(institution: Institution) -> list[MailboxEntryRow]:
    """Return what is remembered of mailboxes."""
    with institution.site() as site, site.database.read() as connection:
        return rows.many(connection, MailboxEntryRow, select(*rows.columns(mailbox_entry, MailboxEntryRow)))


def quarantined(institution: Institution) -> list[QuarantineRow]:
    """Return the open entries of the quarantine."""
    with institution.site() as site, site.database.read() as connection:
        return quarantined_mails.quarantined(connection)


def alarms(institution: Institution) -> list[AlarmRow]:
    """Return the open alarms."""
    with institution.site() as site, site.database.read() as connection:
        return open_alarms(connection)


def truths(institution: Institution, transmission_id: str) -> list[dict[str, object]]:
    """Return what is known of each object of a transmission."""
    with institution.site() as site, site.database.read() as connection:
        return [json.loads(row.truths) for row in outgoing_mails.objects_of(connection, transmission_id)]


def dataset_sha256(path: Path) -> str:
    """Return the hash of a file's data set: what C-STORE carries."""
    return identify(path).dataset_sha256


def peak_memory(institution: Institution) -> int:
    """Return the largest resident set of the gateway's process so far, in bytes (proc(5), VmHWM)."""
    assert institution.process is not None, "the gateway runs"
    status = Path(f"/proc/{institution.process.pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def await_all(
    institution: Institution, count: int, timeout: float = 60.0
) -> list[outgoing_transmissions.TransmissionRow]:
    """Wait until transmissions carry ``count`` objects and all have ended; say what stands otherwise."""
    deadline = time.monotonic() + timeout
    while True:
        found = institution.transmissions()
        if sum(row.objects for row in found) >= count and all(row.ended_at is not None for row in found):
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s\n{explain(institution)}")
        time.sleep(0.05)


def await_idle(
    institution: Institution, timeout: float = 60.0
) -> list[outgoing_transmissions.TransmissionRow]:
    """Wait until all that was taken is planned and has ended; a C-STORE success is committed before."""

    def idle() -> bool:
        with institution.site() as site, site.database.read() as connection:
            waiting = connection.execute(select(collection.c.id).limit(1)).first()
            jobs = outgoing_transmissions.transmissions(connection, limit=10_000)
        return waiting is None and all(row.ended_at is not None for row in jobs)

    await_that(idle, "everything has ended", institution, timeout=timeout)
    return institution.transmissions()


def await_that(condition: Callable[[], object], what: str, *who: Institution, timeout: float = 30.0) -> None:
    """Wait for a condition; a failure shows what the institutions know."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}\n" + "\n".join(explain(one) for one in who))
        time.sleep(0.05)


def explain(institution: Institution) -> str:
    """Return the state of an institution, for the message of a failed test."""
    with institution.site() as site, site.database.read() as connection:
        lines = [f"--- {institution.name}"]
        for job in outgoing_transmissions.transmissions(connection, limit=200):
            mails = [
                f"{mail.part}:{mail.state}:{mail.code}"
                for mail in outgoing_mails.mails_of(connection, job.id)
            ]
            lines.append(f"transmission {job.state} objects={job.objects} mails={mails[:20]}")
        lines.extend(
            f"arrival {row.id} {row.source} {row.kind} {row.state} {row.code} {row.detail}"
            for row in incoming_mails.recent_arrivals(connection, 20)
        )
        lines.extend(f"alarm {row.code} {row.subject} {row.detail}" for row in open_alarms(connection))
    return "\n".join([*lines, institution.log()[-3000:]])
