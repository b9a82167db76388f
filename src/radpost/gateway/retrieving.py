"""Studies are fetched from the institution's own PACS by C-FIND and C-MOVE or C-GET, then sent."""

from dataclasses import dataclass
from typing import Final

from radpost.dicom.find import find_study
from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.retrieve import get_study, move_study
from radpost.dicom.scu import Peer
from radpost.errors import (
    CONFIG_INVALID,
    INTERNAL,
    PACS_UNREACHABLE,
    RETRIEVE_INCOMPLETE,
    STUDY_NOT_FOUND,
    RadpostError,
)
from radpost.gateway.config import Pacs
from radpost.gateway.delivering import client_tls
from radpost.gateway.ingest import Collector, Origin, Wanted, keep_object
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.store import journal, retrievals
from radpost.store.retrievals import RetrievalRow
from radpost.transfer.retry import CONNECTION
from radpost.words import Priority

TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Retriever:
    """Executes the orders of ``radpost send --study``; for one thread."""

    site: Site
    wanted: Wanted

    def step(self) -> bool:
        """Fetch one study; return False if nothing is ordered for now."""
        with self.site.database.read() as connection:
            rows = retrievals.due(connection, self.site.clock())
        if not rows:
            return False
        row = rows[0]
        try:
            count = self._fetch(row)
        except RadpostError as error:
            self._failed(row, error)
        except Exception:
            self.site.log.exception("retrieval failed inside", retrieval=row.id)
            self._failed(row, RadpostError(INTERNAL))
        else:
            now = self.site.clock()
            with self.site.database.write() as connection:
                retrievals.change(connection, row.id, state="done", objects=count, done_at=now, code=None)
                journal.end_alarm(connection, None, f"retrieval {row.id}", now)
        return True

    def _fetch(self, row: RetrievalRow) -> int:
        pacs = self.site.config.pacs
        if pacs is None:
            raise RadpostError(CONFIG_INVALID, "the configuration has no [pacs]")
        partner = self.site.partners.by_name(row.partner)
        origin = self._origin(row, partner)
        peer = peer_of(self.site, pacs)
        if find_study(peer, row.study_uid) is None:
            raise RadpostError(STUDY_NOT_FOUND)
        if pacs.retrieve == "move":
            count = self._move(peer, pacs, row, origin)
        else:
            count = self._get(peer, row, origin)
        with self.site.database.write() as connection:
            Collector(self.site).flush(connection, origin, self.site.clock())
        self.site.bells.collect.ring()
        return count

    @staticmethod
    def _origin(row: RetrievalRow, partner: Partner) -> Origin:
        return Origin(f"pacs:{row.id}", partner, Priority(row.priority), whole=True)

    def _move(self, peer: Peer, pacs: Pacs, row: RetrievalRow, origin: Origin) -> int:
        """C-MOVE to our own storage SCP, which knows for whom the study is (PS3.4 C.4.2)."""
        self.wanted.expect(row.study_uid, origin)
        try:
            result = move_study(peer, row.study_uid, pacs.our_ae_title)
        finally:
            self.wanted.forget(row.study_uid, origin)
        if result.failed:
            raise RadpostError(RETRIEVE_INCOMPLETE, f"{result.failed} objects could not be fetched")
        return result.completed + result.warning

    def _get(self, peer: Peer, row: RetrievalRow, origin: Origin) -> int:
        def take(context: StoreContext, data: IncomingObject) -> int:
            return keep_object(self.site, (origin,), context, data)

        result = get_study(peer, row.study_uid, self.site.spool.tmp, take=take)
        if result.failed or result.refused:
            missing = result.failed + result.refused
            raise RadpostError(RETRIEVE_INCOMPLETE, f"{missing} objects could not be fetched")
        return result.completed

    def _failed(self, row: RetrievalRow, error: RadpostError) -> None:
        now = self.site.clock()
        final = row.attempts + 1 >= TRIES or error.reason in {STUDY_NOT_FOUND, CONFIG_INVALID}
        # What came is never withheld (invariant 6): it goes out with the alarm that it is not all.
        partial = final and error.reason is RETRIEVE_INCOMPLETE
        self.site.log.warning("study not fetched", retrieval=row.id, code=error.reason.code)
        with self.site.database.write() as connection:
            retrievals.change(
                connection,
                row.id,
                state="failed" if final else "due",
                attempts=row.attempts + 1,
                due_at=None if final else now + CONNECTION.delay(row.attempts, self.site.random()),
                code=error.reason.code,
                detail=error.detail,
                done_at=now if final else None,
            )
            if partial:
                partner = self.site.partners.by_name(row.partner)
                Collector(self.site).flush(connection, self._origin(row, partner), now)
            if final or error.reason is PACS_UNREACHABLE:
                journal.raise_alarm(connection, error.reason.code, f"retrieval {row.id}", error.detail, now)
        self.site.bells.collect.ring()


def peer_of(site: Site, pacs: Pacs) -> Peer:
    """Return the institution's own PACS as a peer."""
    return Peer(
        host=pacs.host,
        port=pacs.port,
        called_ae=pacs.ae_title,
        calling_ae=pacs.our_ae_title,
        tls=client_tls(site, pacs.tls),
    )
