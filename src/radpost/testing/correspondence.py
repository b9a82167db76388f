"""Two gateways in one process that send studies to each other through a `PostOffice`, in clear and unhurried.

A fetches by POP3, B by IMAP. A's mails hold few objects and travel in fragments, B's are those of a Radpost
peer; so between them every step of a mail's way is taken.
"""

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from radpost.dicom.identity import identify
from radpost.gateway.config import Config, Destination, Institution, Limits, Mailbox, Submission
from radpost.gateway.ingest import Collector, Origin, add_file
from radpost.gateway.partners import RADPOST_PEER, Settings, Switches, encode
from radpost.gateway.service import Gateway
from radpost.gateway.site import Site, open_site
from radpost.store import partners, schema
from radpost.testing.exchange import small_study
from radpost.testing.insight import let_pass
from radpost.testing.institution import OwnKey
from radpost.words import SignaturePolicy

NAMES: Final = ("a", "b")
ADDRESSES: Final = {name: f"dicom@{name}.example" for name in NAMES}
OTHER: Final = {"a": "b", "b": "a"}
_BOX: Final = {"a": "pop3", "b": "imap"}
_SWITCHES: Final = {
    "a": Switches(objects_per_mail=2, max_mail_size=20_000, receipt_signed=True),
    "b": RADPOST_PEER,
}
"""How each one's mails to the other are made."""
_SIDES: Final = (20, 50, 140)
"""Of the images, in pixels: the last one's mail is cut in fragments."""
_PATIENCE_SECONDS: Final = 150.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the post office listens."""

    smtp: int
    imap: int
    pop3: int


def config_of(folder: Path, name: str, ports: Ports) -> Config:
    """Return the configuration of one; what it receives is delivered beside ``folder``."""
    port = ports.pop3 if _BOX[name] == "pop3" else ports.imap
    return Config(
        Institution(name, ADDRESSES[name]),
        dicom=None,
        submission=Submission(host="127.0.0.1", port=ports.smtp, security="none"),
        mailbox=(
            Mailbox(
                host="127.0.0.1",
                port=port,
                security="none",
                user=ADDRESSES[name],
                password="any",  # noqa: S106  the post office takes every password
                kind=_BOX[name],  # type: ignore[arg-type]  # one of the two
                poll_seconds=0.1,
                idle=False,
            ),
        ),
        destination=(
            Destination("received", "folder", takes="all", path=str(folder.parent / f"received-{name}")),
        ),
        limits=Limits(disk_reserve_bytes=0),
        folder=str(folder / name),
    )


def settle(site: Site, name: str, keys: Mapping[str, OwnKey]) -> None:
    """Make the other one a partner, and keep both keys."""
    other = OTHER[name]
    text = encode(Settings(policy=SignaturePolicy.REQUIRE, switches=_SWITCHES[name]))
    now = site.clock()
    with site.database.write() as connection:
        row = partners.PartnerRow(other, f"AE_{other.upper()}", ADDRESSES[other], text, now)
        partners.put(connection, row)
        for owner, secret in ((name, True), (other, False)):
            key = keys[owner]
            data = key.secret if secret else key.public
            partners.put_key(
                connection,
                partners.KeyRow(key.fingerprint, None if secret else other, secret, data, now, now, "test"),
            )


def give_keys(keys: Mapping[str, OwnKey], place: Path) -> None:
    """Write the keys for another process."""
    place.mkdir()
    for name, key in keys.items():
        (place / f"{name}.json").write_text(
            json.dumps([key.fingerprint, key.secret.hex(), key.public.hex()]), encoding="ascii"
        )


def taken_keys(place: Path) -> dict[str, OwnKey]:
    """Read what `give_keys` wrote."""
    found = {}
    for name in NAMES:
        fingerprint, secret, public = json.loads((place / f"{name}.json").read_text(encoding="ascii"))
        found[name] = OwnKey(fingerprint, bytes.fromhex(secret), bytes.fromhex(public))
    return found


class Correspondence:
    """Both gateways at work."""

    def __init__(self, folder: Path, ports: Ports, seed: int) -> None:
        self._folder = folder
        self._ports = ports
        self._random = random.Random(seed)  # noqa: S311  tests that can be repeated
        self._sent = dict.fromkeys(NAMES, 0)

    def prepare(self, keys: Mapping[str, OwnKey]) -> None:
        """Make both stores."""
        for name in NAMES:
            site = open_site(config_of(self._folder, name, self._ports), create=True)
            settle(site, name, keys)
            site.close()

    def work(self, studies: int, *, to_the_end: bool) -> None:
        """Let both run while each sends so many studies; leave in the middle, or when all is confirmed."""
        with self._running() as sites:
            for _ in range(studies):
                for name in NAMES:
                    self._send(sites[name], name)
                    time.sleep(self._random.uniform(0.0, 0.3))
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while to_the_end and not all(self._over(sites[name], name) for name in NAMES):
                if time.monotonic() > deadline:
                    raise TimeoutError(str({name: _states(sites[name]) for name in NAMES}))
                time.sleep(0.3)
                for name in NAMES:
                    let_pass(sites[name].database)  # what the server fell silent at goes again

    @contextmanager
    def _running(self) -> Iterator[dict[str, Site]]:
        with ExitStack() as stack:
            sites = {}
            for name in NAMES:
                sites[name] = open_site(config_of(self._folder, name, self._ports))
                gateway = Gateway(sites[name])
                stack.callback(gateway.stop)
                gateway.start()
            yield sites

    def _send(self, site: Site, name: str) -> None:
        self._sent[name] += 1
        label = f"{name}-{self._sent[name]}"
        place = self._folder.parent / "studies" / label
        side = _SIDES[self._sent[name] % len(_SIDES)]
        origin = Origin("test", site.partners.by_name(OTHER[name]), whole=True)
        for path in small_study(place, self._random.randint(1, 3), (label, self._random.random()), side=side):
            found = identify(path)
            study = found.study_instance_uid or ""
            kind = "application/dicom"
            add_file(site, origin, path, found, media_type=kind, name=path.name, study_uid=study)
        with site.database.write() as connection:
            Collector(site).flush(connection, origin, site.clock())
        site.bells.collect.ring()

    def _over(self, site: Site, name: str) -> bool:
        with site.database.read() as connection:
            ended = select(func.count()).where(schema.transmission.c.ended_at.is_not(None))
            waiting = (
                select(schema.arrival.c.id).where(schema.arrival.c.ended_at.is_(None)),
                select(schema.receipt.c.id).where(schema.receipt.c.state != "sent"),
                select(schema.mailbox_entry.c.uid),
                select(schema.delivery.c.id).where(schema.delivery.c.done_at.is_(None)),
            )
            return connection.execute(ended).scalar() == self._sent[name] and not any(
                connection.execute(statement.limit(1)).first() for statement in waiting
            )


def _states(site: Site) -> dict[str, list[str]]:
    tables = (schema.transmission, schema.mail, schema.submission, schema.arrival, schema.receipt)
    with site.database.read() as connection:
        found = {table.name: list(connection.execute(select(table.c.state)).scalars()) for table in tables}
        found["entries"] = list(connection.execute(select(schema.mailbox_entry.c.state)).scalars())
    return found
