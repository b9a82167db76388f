"""Processes are killed at random points while studies travel; afterwards everything is there, exactly once.

The seed is printed; RADPOST_SEED repeats a run, RADPOST_SOAK makes it longer.
"""

import hashlib
import os
import random
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from radpost.dicom.identity import identify
from radpost.errors import RadpostError
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.store import schema
from radpost.testing.exchange import A_ADDRESS, B_ADDRESS, Exchange, c_store, small_study
from radpost.testing.insight import hurry, quarantine_codes, rows
from radpost.testing.institution import Institution, wait_for
from radpost.testing.peers.pair import MailServer

KILLS = 10
SOAK = int(os.environ.get("RADPOST_SOAK", "1"))

pytestmark = [pytest.mark.soak, pytest.mark.peer("gnupg"), pytest.mark.timeout(170 * max(1, SOAK))]


class Modality:
    """Sends small studies to A without end; what A did not take with success it sends again."""

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self.accepted: dict[str, Path] = {}
        """Files that A said success to, by the hash of the data set."""
        self._exchange = exchange
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._studies = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        pending: list[Path] = []
        while True:
            if not pending:
                if self._stopping.is_set():
                    return
                self._studies += 1
                folder = self._exchange.directory / "studies" / str(self._studies)
                side = self._random.choice([24, 60, 200, 700])
                count = self._random.randint(1, 4)
                pending = small_study(folder, count, (str(folder), self._random.random()), side=side)
            statuses = [-1] * len(pending)
            with suppress(OSError, RadpostError):
                statuses = c_store(self._exchange.a.dicom_port, "PARTNER_B", pending)
            for path, status in zip(pending, statuses, strict=True):
                if status == 0:
                    self.accepted[identify(path).dataset_sha256] = path
            pending = [path for path, status in zip(pending, statuses, strict=True) if status != 0]
            time.sleep(self._random.uniform(0.02, 0.3))


def run(exchange: Exchange, kills: int, seed: int) -> None:
    """Kill and restart at random points, then wait until all is done and look."""
    print(f"RADPOST_SEED={seed}")
    rng = random.Random(seed)
    modality = Modality(exchange, seed)
    modality.start()
    done: Counter[str] = Counter()
    for _ in range(kills):
        time.sleep(rng.expovariate(4.0))
        victims = rng.choice([[exchange.a], [exchange.b], [exchange.a, exchange.b]])
        moment = rng.choice(MOMENTS[victims[0].name])
        if moment is not None:
            done[f"{victims[0].name} {moment[1]}"] += aim(victims[0], *moment)
        for victim in victims:
            victim.kill()
            done[victim.name] += 1
        if rng.random() < 0.5:
            for victim in victims:
                litter(victim, rng)
        time.sleep(rng.choice([0.0, 0.0, 0.2]))
        for victim in victims:
            victim.start()
        for institution in (exchange.a, exchange.b):
            hurry(institution)
    modality.stop()
    print(f"killed {dict(done)}, {len(modality.accepted)} objects taken")
    assert len(modality.accepted) > kills / 2, "there was traffic"
    settle(exchange, modality)
    check(exchange, modality)
    exchange.passes(1)


MOMENTS: dict[str, list[tuple[str, str] | None]] = {
    "klinik-a": [
        None,
        ("submission", "sending"),
        ("mail", "sealed"),
        ("mail", "planned"),
        ("collection", "closed"),
    ],
    "klinik-b": [
        None,
        ("arrival", "fetched"),
        ("submission", "sending"),
        ("receipt", "owed"),
        ("delivery", "due"),
    ],
}
"""Where random moments hit too seldom: a row of this table is in this state now. None: any moment."""


def aim(institution: Institution, table: str, state: str) -> bool:
    """Wait until something is in a state that lasts for milliseconds; False if it is not seen soon."""
    path = institution.directory / "data" / "radpost.db"
    deadline = time.monotonic() + 0.5
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as connection:
        while time.monotonic() < deadline:
            found = connection.execute(f"SELECT 1 FROM {table} WHERE state = ? LIMIT 1", (state,)).fetchone()
            if found is not None:
                return True
            time.sleep(0.0005)
    return False


def litter(institution: Institution, rng: random.Random) -> None:
    """Leave behind what a crash may leave: half-written files, and files that no row knows."""
    spool = institution.directory / "data" / "spool"
    (spool / "tmp" / secrets.token_hex(16)).write_bytes(rng.randbytes(1000))
    orphan = rng.randbytes(500)
    name = hashlib.sha256(orphan).hexdigest()
    (spool / "objects" / name[:2] / name).write_bytes(orphan)


def settle(exchange: Exchange, modality: Modality) -> None:
    wanted = set(modality.accepted)

    def over() -> bool:
        found = exchange.a.transmissions()
        quiet = bool(found) and all(row.ended_at is not None for row in found)
        if quiet and not rows(exchange.a, schema.collection) and wanted <= exchange.pacs.hashes():
            unfinished = [row for row in rows(exchange.b, schema.receipt) if row["state"] != "sent"]
            due = [row for row in rows(exchange.b, schema.delivery) if row["done_at"] is None]
            return not unfinished and not due
        for institution in (exchange.a, exchange.b):
            hurry(institution)
        return False

    try:
        wait_for(over, "everything came to an end", 60 + 2 * SOAK, step=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{explain(exchange, wanted)}") from None


def explain(exchange: Exchange, wanted: set[str]) -> str:
    def counted(institution: Institution, table: Any, *names: str) -> str:
        return (
            f"{table.name}: {Counter(tuple(row[name] for name in names) for row in rows(institution, table))}"
        )

    a, b = exchange.a, exchange.b
    return "\n".join(
        [
            f"missing at the PACS: {len(wanted - exchange.pacs.hashes())} of {len(wanted)}",
            "A " + counted(a, schema.transmission, "state"),
            "A " + counted(a, schema.mail, "state", "code", "work"),
            "A " + counted(a, schema.submission, "kind", "state", "reply"),
            "A " + counted(a, schema.arrival, "kind", "state", "code"),
            "A " + counted(a, schema.collection, "state"),
            "B " + counted(b, schema.arrival, "kind", "state", "code"),
            "B " + counted(b, schema.receipt, "state"),
            "B " + counted(b, schema.submission, "kind", "state", "reply"),
            "B " + counted(b, schema.delivery, "state", "code"),
            a.log()[-2500:],
            b.log()[-2500:],
        ]
    )


def check(exchange: Exchange, modality: Modality) -> None:
    a, b = exchange.a, exchange.b
    # each object exactly once by identity, at A and at B, delivered at least once
    for institution in (a, b):
        found = Counter(row["dataset_sha256"] for row in rows(institution, schema.object_))
        assert set(found.values()) == {1}
        assert set(found) >= set(modality.accepted)
    assert exchange.pacs.hashes() >= set(modality.accepted)
    assert {row["state"] for row in rows(b, schema.delivery)} == {"delivered"}
    # everything ended, and well
    assert {row.state for row in a.transmissions()} == {"confirmed"}
    assert {row["state"] for row in rows(a, schema.mail)} == {"confirmed"}
    assert not {row["state"] for row in rows(a, schema.submission)} & {"ready", "sending", "suspended"}
    for institution in (a, b):
        assert not quarantine_codes(institution)
        assert {row["state"] for row in rows(institution, schema.arrival)} <= {"done", "joined"}
        assert "failed inside" not in institution.log(), institution.log()[-3000:]
        in_flight = [row["machine"] for row in rows(institution, schema.window)]
        assert all('"in_flight":0' in machine for machine in in_flight), in_flight
        intact(institution)


def intact(institution: Institution) -> None:
    """Every file that an object names is in the spool with its hash, and nothing unfinished is left."""
    with institution.site() as site:
        for row in rows(institution, schema.object_):
            data = site.spool.path(row["file_sha256"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == row["file_sha256"]
        assert not list(site.spool.tmp.iterdir())


def seed() -> int:
    return int(os.environ.get("RADPOST_SEED", "0")) or secrets.randbits(32)


FIELD = Switches(max_mail_size=150_000, receipt_signed=True)
"""A partner of another maker: one object per mail, large ones in fragments; but its receipts are signed, so
that ``confirmed`` is the only good end."""


@pytest.mark.parametrize(
    ("switches", "kills"), [(RADPOST_PEER, KILLS), (FIELD, KILLS // 2)], ids=["own", "field"]
)
def test_killed_processes_lose_and_double_nothing(tmp_path: Path, switches: Switches, kills: int) -> None:
    """Invariants 1, 2 and 4: sender, receiver or both are killed while they exchange by direct SMTP."""
    with Exchange(tmp_path, switches=switches) as exchange:
        run(exchange, kills * SOAK, seed())


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer(users={A_ADDRESS: "geheim-a", B_ADDRESS: "geheim-b"}) as mail_server:
        yield mail_server


@pytest.mark.peer("postfix", "dovecot")
def test_killed_processes_behind_a_mail_server_lose_and_double_nothing(
    tmp_path: Path, server: MailServer
) -> None:
    """The same through Postfix and Dovecot: submission with TLS, IMAP with IDLE."""
    with Exchange(tmp_path, server=server) as exchange:
        run(exchange, 6 * SOAK, seed())
        wait_for(
            lambda: not server.mails(A_ADDRESS) and not server.mails(B_ADDRESS),
            "the mailboxes are empty: all that was fetched is deleted",
            20,
        )
