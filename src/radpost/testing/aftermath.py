"""What two gateways find on their disks after the power failed in an exchange, and how they go on.

What is required is what their mail server has heard of (``overheard``).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Final, Self

from radpost.errors import RadpostError
from radpost.store.database import Database
from radpost.store.outgoing_submissions import SubmissionRow
from radpost.store.spool import Spool
from radpost.testing.correspondence import NAMES, OTHER, Ports, config_of
from radpost.testing.house import ACCEPTED, Clock, House
from radpost.testing.overheard import Heard, Letter, Recording, garbled
from radpost.transport.smtp_reply import Outcome

BYTES_NEEDED: Final = frozenset({"fetched", "fragment waiting", "opened", "quarantined"})
MAY_GO_AGAIN: Final = frozenset({"ready", "sending", "suspended"})


@dataclass
class Aftermath:
    """The disk of one gateway after the power failed, opened as it is at start."""

    name: str
    data: Path
    _whole: dict[str, bool] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.database = Database(self.data / "radpost.db").ready()
        self.spool = Spool(self.data / "spool")
        self.spool.prepare()
        self.spool.sweep()
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.close()
        self.database.close()

    def rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Return what a query finds in the store."""
        with self.database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement, values)]

    def whole(self, sha256: str) -> bool:
        """Tell whether a file of the spool is there, with the content of its name."""
        if sha256 not in self._whole:
            path = self.spool.path(sha256)
            content = path.read_bytes() if path.exists() else b""
            self._whole[sha256] = hashlib.sha256(content).hexdigest() == sha256
        return self._whole[sha256]

    @cached_property
    def objects(self) -> set[str]:
        """Return the files of all objects."""
        return {str(row[0]) for row in self.rows("SELECT file_sha256 FROM object")}

    def stored(self, objects: Collection[str]) -> bool:
        """Tell whether all these objects are in the store, and their files whole."""
        return all(sha256 in self.objects and self.whole(sha256) for sha256 in objects)

    def damaged(self) -> Iterator[str]:
        """Yield what is wrong with the store, whoever heard of it."""
        for (line,) in self.rows("PRAGMA integrity_check"):
            if line != "ok":
                yield f"store: {line}"
        for (sha256,) in self.rows("SELECT sha256 FROM blob WHERE NOT claimed"):
            if not self.whole(str(sha256)):
                yield "store: the file of a row is not whole"

    def deletion(self, letter: Letter) -> str:
        """Say what is missing of a mail that was deleted from its mailbox; empty if nothing is."""
        found = self.rows("SELECT id FROM arrival WHERE sha256 = ?", letter.sha256)
        faults = [self._kept(row[0], letter) for row in found]
        return min(faults, key=bool) if faults else "deleted mail: nothing is known of it"

    def _kept(self, number: object, letter: Letter) -> str:
        ((sha256, state, joined),) = self.rows(
            "SELECT sha256, state, joined_into FROM arrival WHERE id = ?", number
        )
        if state == "joined":
            return self._kept(joined, letter)
        if state in BYTES_NEEDED:
            return "" if self.whole(str(sha256)) else "deleted mail: its bytes are lost"
        if letter.kind == "mail":
            return "" if self.stored(letter.objects) else "deleted mail: what it brought is lost"
        confirmed = self.rows(
            "SELECT 1 FROM message JOIN mail ON mail.id = mail_id"
            " WHERE message.message_id = ? AND state = 'confirmed'",
            letter.answers,
        )
        return "" if confirmed else "deleted mail: what the receipt said is forgotten"

    def submission(self, envid: str, letter: Letter) -> Iterator[str]:
        """Yield what is missing of a message whose submission began."""
        found = self.rows("SELECT head, sha256, start, end, state FROM submission WHERE envid = ?", envid)
        if not found:
            yield "submission: nothing is known of it"
        for head, sha256, start, end, state in found:
            assert isinstance(head, bytes | None)
            assert isinstance(start, int)
            assert isinstance(end, int)
            path = self.spool.path(str(sha256))
            content = (head or b"") + (path.read_bytes()[start:end] if path.exists() else b"")
            same = hashlib.sha256(content).hexdigest() == letter.sha256
            if state in MAY_GO_AGAIN and not same:
                yield "submission: it would go again with other bytes"
        if letter.kind == "receipt" and not self.stored(letter.objects):
            yield "receipt: an object that it confirms is lost"


def violations(image: Path, recording: Recording, heard: Collection[Heard]) -> list[str]:
    """Return what is missing on a rebuilt disk of what the server has heard."""
    found: list[str] = []
    for name in NAMES:
        mine = [item for item in heard if (item.deleted_by or recording.letters[item.letter].sender) == name]
        data = image / name / "data"
        if not data.is_dir():
            found += ["the data directory is gone"] if mine else []
            continue
        try:
            with Aftermath(name, data) as after:
                faults = list(after.damaged())
                for deleted, envid in {(bool(item.deleted_by), item.letter) for item in mine}:
                    letter = recording.letters[envid]
                    if deleted:
                        faults += [fault] if (fault := after.deletion(letter)) else []
                    else:
                        faults += after.submission(envid, letter)
                found += [f"{name}: {fault}" for fault in faults]
        except RadpostError as error:
            found.append(f"the store does not open: {error}")
    return found


class Continuation:
    """Both gateways go on from a rebuilt disk; the mail server still has what it had."""

    def __init__(self, image: Path, recording: Recording, heard: Collection[Heard], random: Random) -> None:
        self._recording = recording
        self._sent = dict(recording.contents)
        self._heard = {item.letter for item in heard if not item.deleted_by}
        self.again = 0
        """How many messages went again that the server had heard of."""
        clock = Clock()
        clock.now = time.time() + 60
        self._clock = clock
        ports = Ports(1, 1, 1)
        self.houses = {name: House.found(config_of(image, name, ports), clock) for name in NAMES}
        gone = {(item.deleted_by, item.letter) for item in heard}
        self._boxes = {
            name: [garbled(name)] if (name, f"garbled {name}") not in gone else [] for name in NAMES
        }
        for envid in self._heard:
            letter = recording.letters[envid]
            owner = OTHER[letter.sender]
            # whether the server had all of it when the power failed is known to who has stored the answer
            taken = self._accepted(letter.sender, envid) or random.random() < 0.5
            if taken and (owner, envid) not in gone:  # of two copies both are deleted, or none
                self._boxes[owner].append(self._sent[envid])

    def _accepted(self, name: str, envid: str) -> bool:
        with self.houses[name].site.database.read() as connection:
            found = connection.exec_driver_sql("SELECT state FROM submission WHERE envid = ?", (envid,))
            return [row[0] for row in found] == ["accepted"]

    def run(self, *, recover: bool = True) -> list[str]:
        """Let them work until nothing is left to do; return what went wrong."""
        try:
            for house in self.houses.values():
                house.site.spool.sweep()
                if recover:
                    house.submitter.recover()
            idle = 0
            while idle < 4:
                work = sum(self._step(name) for name in NAMES)
                idle = 0 if work else idle + 1
                self._clock.now += 0 if work else 400
            return list(self._faults())
        finally:
            for house in self.houses.values():
                house.close()

    def _step(self, name: str) -> int:
        house = self.houses[name]
        other = OTHER[name]
        box, self._boxes[name] = self._boxes[name], []
        for content in box:
            house.receive(content, source="imap:inbox")
        work = house.process() + house.receipts.write_due() + len(box)
        house.plan()
        work += house.seal()

        def take(row: SubmissionRow, data: bytes) -> Outcome:
            assert self._sent.setdefault(row.envid, data) == data, (
                "a submission goes again with the same bytes"
            )
            self._boxes[other].append(data)
            self.again += row.envid in self._heard
            return ACCEPTED

        before = len(self._boxes[other])
        house.submit(take)
        return work + len(self._boxes[other]) - before

    def _faults(self) -> Iterator[str]:
        for name in NAMES:
            other = OTHER[name]
            states = Counter(row.state for row in self.houses[name].transmissions())
            if set(states) - {"confirmed"}:
                yield f"{name} goes on, but its transmissions end as {dict(states)}"
            with Aftermath(other, Path(self.houses[other].site.config.data_path)) as there:
                with self.houses[name].site.database.read() as connection:
                    sent = connection.exec_driver_sql("SELECT file_sha256 FROM mail_object").scalars().all()
                if not there.stored(sent):
                    yield f"{other} has not got all that {name} sent"
                yield from there.damaged()
