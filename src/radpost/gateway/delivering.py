"""Imported objects go to their destinations; each destination has a worker of its own (DESIGN 4, 5, 12).

A destination that is down stops nothing but itself. Per object: the original transfer syntax if the PACS
takes it, else a lossless conversion whose pixels are proven equal, else it stays, with code and remedy.
"""

import hashlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.dicom.delivery import Sender
from radpost.dicom.meta import read_meta
from radpost.dicom.outcome import AssociationError
from radpost.dicom.scu import Outgoing, Peer
from radpost.dicom.services import EXPLICIT_LE, IMPLICIT_LE
from radpost.errors import INTERNAL, NO_COMMON_SYNTAX, TLS_FAILED, RadpostError, Reason
from radpost.gateway import handover, machines
from radpost.gateway.alarms import write_delivery_records, write_records
from radpost.gateway.config import Destination, TlsFiles
from radpost.gateway.site import Site
from radpost.store import incoming_deliveries, journal
from radpost.store.incoming_deliveries import DeliveryRow
from radpost.transfer import delivery as machine
from radpost.transfer.delivery import Delivery, DeliveryPolicy
from radpost.transfer.retry import Connected, ConnectFailed, Line, LinePolicy
from radpost.transfer.retry import decide as decide_line

BATCH: Final = 64
COMMIT_SECONDS: Final = 0.1
"""Results are committed together: delivery happens at least once, so a crash repeats at most this much."""
LASTING: Final = frozenset({NO_COMMON_SYNTAX.code, 410})


@dataclass(frozen=True, slots=True)
class _Result:
    row: DeliveryRow
    event: machine.DeliveryEvent
    detail: str = ""
    changed: tuple[str, str] | None = None


class _LineDownError(Exception):
    """The destination as a whole does not work."""

    def __init__(self, reason: Reason, *, urgent: bool) -> None:
        self.reason = reason
        self.urgent = urgent
        super().__init__(reason.name)


class Deliverer:
    """Delivers to one destination; for one thread."""

    def __init__(self, site: Site, destination: Destination) -> None:
        self._site = site
        self._destination = destination
        self._line = Line()
        self._sender: Sender | None = None

    @property
    def name(self) -> str:
        """Return the destination's name."""
        return self._destination.name

    def step(self) -> bool:
        """Deliver what is due; return False if there was nothing to do now."""
        now = self._site.clock()
        if not self._line.usable(now):
            return False
        with self._site.database.read() as connection:
            rows = incoming_deliveries.due_deliveries(connection, self._destination.name, now, BATCH)
        if not rows:
            if self._sender is not None:
                self._sender.close_if_idle()
            return False
        self._deliver(rows)
        return True

    def close(self) -> None:
        """Release the association."""
        if self._sender is not None:
            self._sender.close()

    def _deliver(self, rows: Sequence[DeliveryRow]) -> None:
        done: list[_Result] = []
        last = time.monotonic()
        try:
            if self._destination.kind == "dicom":
                self._connection().prepare((row.sop_class_uid, row.transfer_syntax_uid) for row in rows)
            for row in rows:
                done.append(self._one(row))
                if time.monotonic() - last >= COMMIT_SECONDS:
                    self._commit(done)
                    done, last = [], time.monotonic()
        except _LineDownError as down:
            self._tell_line(ConnectFailed(down.reason, urgent=down.urgent))
        except RadpostError as error:
            # before any object: certificate, key or CA of the destination
            self._tell_line(ConnectFailed(error.reason, urgent=True))
        else:
            self._tell_line(Connected())
        finally:
            self._commit(done)

    def _one(self, row: DeliveryRow) -> _Result:
        try:
            match self._destination.kind:
                case "dicom":
                    return self._store(row)
                case "folder":
                    folder = self._site.config.path(self._destination.path)
                    handover.into_folder(self._destination, folder, self._file(row), row)
                case "program":
                    work = self._site.config.data_path / "handover"
                    handover.to_program(self._destination, work, self._file(row), row)
        except handover.DestinationDownError as error:
            raise _LineDownError(error.reason, urgent=False) from error
        except RadpostError as error:
            lasting = error.reason.code in LASTING
            return _Result(row, machine.Failed(error.reason, lasting=lasting), error.detail)
        except _LineDownError:
            raise
        except Exception:
            self._site.log.exception("delivery failed inside", delivery=row.id)
            return _Result(row, machine.Failed(INTERNAL), "")
        return _Result(row, machine.Answered(0))

    def _store(self, row: DeliveryRow) -> _Result:
        sender = self._connection()
        try:
            accepted = sender.accepted(row.sop_class_uid, row.transfer_syntax_uid)
            if row.transfer_syntax_uid in accepted:
                return self._sent(sender, row, self._file(row), row.transfer_syntax_uid, None)
            return self._converted(sender, row, accepted)
        except AssociationError as error:
            self.close()
            if error.established:
                # The object may be what the PACS cannot bear: it is counted, and the others go on.
                return _Result(row, machine.Failed(error.reason), error.detail)
            raise _LineDownError(error.reason, urgent=not error.retryable) from error

    def _converted(self, sender: Sender, row: DeliveryRow, accepted: Sequence[str]) -> _Result:
        """Convert without loss to what the PACS takes (DESIGN 12 "What a PACS can't take")."""
        target_syntax = next((syntax for syntax in (EXPLICIT_LE, IMPLICIT_LE) if syntax in accepted), None)
        if target_syntax is None:
            return _Result(row, machine.Failed(NO_COMMON_SYNTAX, lasting=True))
        from radpost.dicom.transcode import convert  # noqa: PLC0415  numpy and codecs, only when a PACS needs it

        target = self._site.spool.temporary(".dcm")
        try:
            record = convert(self._file(row), target, target_syntax)
            changed = (record.before_sha256, record.after_sha256)
            return self._sent(sender, row, target, target_syntax, changed)
        finally:
            target.unlink(missing_ok=True)

    def _sent(
        self, sender: Sender, row: DeliveryRow, path: Path, syntax: str, changed: tuple[str, str] | None
    ) -> _Result:
        offset = _dataset_offset(path)
        reply = sender.send(Outgoing(path, row.sop_class_uid, row.sop_instance_uid, syntax, offset))
        detail = f"status {reply.status:04X}"
        if reply.padded:
            before = _dataset_sha256(path, offset, b"")
            changed = (changed[0] if changed else before, _dataset_sha256(path, offset, b"\0"))
            detail += ", one NUL added to a data set of odd length (PS3.5 A.5)"
        return _Result(row, machine.Answered(reply.status), detail, changed)

    def _connection(self) -> Sender:
        if self._sender is None:
            destination = self._destination
            self._sender = Sender(
                Peer(
                    host=destination.host,
                    port=destination.port,
                    called_ae=destination.ae_title,
                    calling_ae=destination.our_ae_title,
                    tls=client_tls(self._site, destination.tls),
                    response_seconds=destination.timeout_seconds,
                )
            )
        return self._sender

    def _file(self, row: DeliveryRow) -> Path:
        return self._site.spool.path(row.file_sha256)

    def _commit(self, results: Sequence[_Result]) -> None:
        if not results:
            return
        now = self._site.clock()
        with self._site.database.write() as connection:
            for result in results:
                row = result.row
                before = machines.load(Delivery, row.machine)
                started, _ = machine.decide(before, machine.Started(), now, DeliveryPolicy())
                after, records = machine.decide(
                    started, result.event, now, DeliveryPolicy(), self._site.random()
                )
                values: dict[str, object] = {
                    "machine": machines.dump(after),
                    "state": after.phase.value,
                    "due_at": after.due,
                    "attempts": after.tries,
                    "status": after.status,
                    "code": after.reason.code if after.reason else None,
                    "detail": result.detail,
                }
                if after.phase in machine.DELIVERED:
                    values["done_at"] = now
                if result.changed is not None:
                    values["changed_from"], values["changed_to"] = result.changed
                incoming_deliveries.update_delivery(connection, row.id, **values)
                write_delivery_records(connection, row, records, now)

    def _tell_line(self, event: Connected | ConnectFailed) -> None:
        now = self._site.clock()
        before = self._line
        self._line, records = decide_line(before, event, now, LinePolicy(), self._site.random())
        if isinstance(event, ConnectFailed):
            self._site.log.warning("destination down", destination=self.name, code=event.reason.code)
        if not before.failures and isinstance(event, Connected):
            return
        with self._site.database.write() as connection:
            write_records(connection, records, f"destination {self.name}", now)
            state = self._line.reason.name if self._line.reason else "up"
            journal.remember(connection, f"destination {self.name}", state, now)


def client_tls(site: Site, files: TlsFiles | None) -> ssl.SSLContext | None:
    """Return a verifying client context for DICOM over TLS (PS3.15 B.12), with our certificate.

    Raises:
        RadpostError: TLS_FAILED if the files are not usable.
    """
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if files.ca:
            context.load_verify_locations(cafile=site.config.path(files.ca))
        context.load_cert_chain(site.config.path(files.certificate), site.config.path(files.key), "")
    except (OSError, ssl.SSLError) as error:
        raise RadpostError(TLS_FAILED, "certificate, key or CA for DICOM is not usable") from error
    return context


def server_tls(site: Site, files: TlsFiles | None) -> ssl.SSLContext | None:
    """Return a server context for the storage SCP; with a CA, stations must show a certificate of it.

    Raises:
        RadpostError: TLS_FAILED if the files are not usable.
    """
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(site.config.path(files.certificate), site.config.path(files.key), "")
        if files.ca:
            context.load_verify_locations(cafile=site.config.path(files.ca))
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise RadpostError(TLS_FAILED, "certificate, key or CA for DICOM is not usable") from error
    return context


def _dataset_sha256(path: Path, offset: int, tail: bytes) -> str:
    """Return the hash of a data set with the bytes that were added to it on the wire."""
    with path.open("rb") as file:
        file.seek(offset)
        digest = hashlib.file_digest(file, "sha256")
    digest.update(tail)
    return digest.hexdigest()


def _dataset_offset(path: Path) -> int:
    with path.open("rb") as file:
        return read_meta(file.read(1 << 16)).dataset_offset
