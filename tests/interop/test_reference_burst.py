"""All reference mails of other tools, attacks included, thrown at a running gateway in any order."""

import json
import os
import random
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from radpost.errors import TABLE
from radpost.gateway.arrivals import add_arrival
from radpost.gateway.config import load
from radpost.gateway.partners import Settings, Switches, encode
from radpost.gateway.site import wake
from radpost.openpgp.keys import export_public, read_certs, split
from radpost.store import partners, schema
from radpost.testing.exchange import Exchange, c_store, hashes_of
from radpost.testing.insight import drop_key, put_key, rows, view
from radpost.testing.institution import Institution, OwnKey, wait_for
from radpost.testing.vectors import ERROR_CLASSES
from radpost.words import SignaturePolicy

pytestmark = [pytest.mark.peer("gnupg"), pytest.mark.shared, pytest.mark.timeout(150)]

SENDER = "gateway@praxis-b.example"
ENDED = {"done", "quarantined", "ignored", "joined", "fragment waiting"}


@dataclass(frozen=True)
class Vector:
    name: str
    mails: tuple[Path, ...]
    expect: dict[str, Any]


@dataclass(frozen=True)
class Burst:
    """What became of all mails."""

    exchange: Exchange
    vectors: tuple[Vector, ...]
    arrivals: dict[str, list[int]]
    peak: int

    def imported(self, vector: Vector) -> set[str]:
        """Return the hashes of what came out of a vector's mails, joined ones included."""
        ids = set(self.arrivals[vector.name])
        joined = {row["joined_into"] for row in rows(self.exchange.a, schema.arrival) if row["id"] in ids}
        return {
            row["sha256"]
            for row in rows(self.exchange.a, schema.incoming_object)
            if row["arrival_id"] in ids | joined
        }

    def fate(self, vector: Vector) -> list[tuple[str, str]]:
        ids = set(self.arrivals[vector.name])
        return [
            (row["state"], TABLE[row["code"]].name if row["code"] else "")
            for row in rows(self.exchange.a, schema.arrival)
            if row["id"] in ids
        ]


def vectors_of(shared: Path) -> tuple[Vector, ...]:
    found = []
    for path in sorted((shared / "mails" / "agit").glob("*.json")):
        about = json.loads(path.read_text("utf-8"))
        mails = tuple(path.parent / name for name in about["files"])
        found.append(Vector(about["name"], mails, about["expect"]))
    return tuple(found)


def add_keys(institution: Institution, folder: Path) -> None:
    """Confirm the receiver's keys as our own and the trusted senders' as the partner's."""
    for file, partner in (("receiver-secret.asc", None), ("senders-trusted-public.asc", "praxis")):
        data = (folder / file).read_bytes()
        infos = {info.fingerprint for info in read_certs(data, now=datetime.now(UTC))}
        for fingerprint, block in split(data).items():
            assert fingerprint in infos
            secret = block if partner is None else b""
            put_key(institution, OwnKey(fingerprint, secret, export_public(block)), partner)


@pytest.fixture(scope="module")
def burst(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Burst]:
    with Exchange(tmp_path_factory.mktemp("burst")) as exchange:
        switches = Switches(legacy=True, clear=True)
        settings = Settings("Praxis", policy=SignaturePolicy.IGNORE, switches=switches)
        with view(exchange.a) as database, database.write() as connection:
            for name, address in (("praxis", SENDER), ("smith", "smith@provider1.example")):
                row = partners.PartnerRow(name, name.upper(), address, encode(settings), time.time())
                partners.put(connection, row)
        own = exchange.a.key
        assert own is not None
        add_keys(exchange.a, shared / "mails" / "keys" / "openpgp")
        drop_key(exchange.a, own)
        put_key(exchange.a, own, None)  # confirmed last: the one we sign with
        vectors = vectors_of(shared)
        assert len(vectors) > 80
        seed = int(os.environ.get("RADPOST_SEED", "0")) or secrets.randbits(32)
        print(f"RADPOST_SEED={seed}")
        mails = [(vector.name, path) for vector in vectors for path in vector.mails]
        random.Random(seed).shuffle(mails)
        arrivals: dict[str, list[int]] = {vector.name: [] for vector in vectors}
        with exchange.a.site() as site:
            for name, path in mails:
                with site.spool.writer() as writer:
                    writer.write(path.read_bytes())
                    stored = writer.commit()
                with site.database.write() as connection:
                    number = add_arrival(
                        site,
                        connection,
                        stored,
                        source="test",
                        envelope_from=SENDER,
                        recipient=site.address,
                        now=time.time(),
                    )
                arrivals[name].append(number)
        wake(load(exchange.a.config_path))
        try:
            wait_for(lambda: at_rest(exchange.a), "every mail came to an end", 60, step=0.5)
        except AssertionError as error:
            late = [row for row in rows(exchange.a, schema.arrival) if row["state"] not in ENDED]
            raise AssertionError(f"{error}: {late}\n{exchange.a.log()[-3000:]}") from None
        yield Burst(exchange, vectors, arrivals, peak_kb(exchange.a))


def at_rest(institution: Institution) -> bool:
    if {row["state"] for row in rows(institution, schema.assembly)} & {"joining"}:
        return False
    return {row["state"] for row in rows(institution, schema.arrival)} <= ENDED


def peak_kb(institution: Institution) -> int:
    assert institution.process is not None
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{institution.process.pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_what_must_come_out_comes_out_and_nothing_else(burst: Burst) -> None:
    wrong = []
    for vector in burst.vectors:
        payloads = {payload["sha256"] for payload in vector.expect["payloads"]}
        found = burst.imported(vector)
        result = vector.expect["result"]
        right = found == payloads if result == "ok" else not found or found == payloads
        if result in {"error", "pending", "ignored"}:
            right = not found
        if not right:
            wrong.append(
                f"{vector.name} {result}: {len(found & payloads)} of {len(payloads)}, "
                f"{len(found - payloads)} others, {burst.fate(vector)}"
            )
    assert not wrong, "\n".join(wrong)


def test_errors_lie_in_quarantine_with_their_reason(burst: Burst) -> None:
    for vector in burst.vectors:
        wanted = {reason.name for reason in ERROR_CLASSES.get(vector.expect.get("error_class") or "", ())}
        if vector.expect["result"] == "error" and wanted:
            fate = burst.fate(vector)
            named = {name for state, name in fate if state == "quarantined"}
            assert named & wanted, (vector.name, fate)


def test_the_gateway_lives_and_a_good_study_still_passes(burst: Burst) -> None:
    exchange = burst.exchange
    assert "failed inside" not in exchange.a.log(), exchange.a.log()[-4000:]
    files = exchange.study(2)
    assert c_store(exchange.b.dicom_port, "PARTNER_A", files) == [0, 0]
    wanted = hashes_of(files)
    wait_for(
        lambda: wanted <= {row["dataset_sha256"] for row in rows(exchange.a, schema.object_)},
        "a study from B",
        30,
    )
    exchange.passes()
    assert burst.peak < 250_000, f"{burst.peak} kB"
