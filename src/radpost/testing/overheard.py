"""An exchange of two gateways (``correspondence``), recorded with all that their mail server heard of it."""

import hashlib
import re
import shutil
import sqlite3
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from radpost.testing.correspondence import ADDRESSES, NAMES, OTHER, give_keys
from radpost.testing.exchange import known_key
from radpost.testing.postoffice import PostOffice, numbers
from radpost.testing.tracing import Call, record, spoken


@dataclass(frozen=True)
class Letter:
    """A message that went through the mail server, as the sender's finished store tells of it."""

    sender: str
    kind: str
    sha256: str
    size: int
    objects: frozenset[str]
    """Hashes of the files that it brought, or, of a receipt, that the mail had brought which it answers."""
    answers: str = ""
    """Message-ID of that mail."""


@dataclass(frozen=True)
class Heard:
    """Something the server has heard as soon as so many calls are played."""

    after: int
    letter: str
    deleted_by: str = ""
    """Whose mailbox it was deleted from; empty if its submission began."""


@dataclass
class Recording:
    """A finished exchange: what was done, and what was heard of it."""

    folder: Path
    calls: list[Call]
    letters: dict[str, Letter]
    contents: dict[str, bytes]
    heard: list[Heard]
    sealed: set[Path]
    """Who has submitted which file of the spool."""

    def until(self, cut: int) -> list[Heard]:
        """Return what the server may have heard when so many calls are played."""
        return [item for item in self.heard if item.after <= cut]


def recorded(script: Path, place: Path, seed: int, studies: int, mutant: str = "") -> Recording:
    """Let the gateways of a script exchange so many studies each, twice."""
    folder = place / "machine" / "disk"
    folder.mkdir(parents=True)
    give_keys({name: known_key(name, ADDRESSES[name]) for name in NAMES}, folder.parent / "keys")
    with PostOffice(tuple(ADDRESSES.values()), silent_after_every=5) as office:
        for name in NAMES:
            office.mailboxes[ADDRESSES[name]].put(garbled(name))
        ports = [str(office.ports[name]) for name in ("smtp", "imap", "pop3")]
        command = [sys.executable, str(script), str(folder), str(seed), str(studies), *ports, mutant]
        log = place / "trace"
        calls = record(command, folder, log, without="gnupg")
        log.unlink()
        assert office.empty()
        contents = {taken.envid: taken.content for taken in office.taken}
        for taken in office.taken:
            assert taken.content == contents[taken.envid], "a submission goes again with the same bytes"
        letters = {key: letter for name in NAMES for key, letter in _sent_by(folder, name, contents)}
        letters |= _answered(folder, letters)
        for name in NAMES:
            contents[f"garbled {name}"] = content = garbled(name)
            sha256 = hashlib.sha256(content).hexdigest()
            letters[f"garbled {name}"] = Letter(OTHER[name], "garbled", sha256, len(content), frozenset())
        heard = list(_heard_by(office, calls, letters, contents))
    sealed = {
        Path(name, sha256) for name in NAMES for sha256 in _column(folder, name, "sha256 FROM submission")
    }
    shutil.rmtree(folder.parent)
    return Recording(folder, calls, letters, contents, heard, sealed)


def garbled(name: str) -> bytes:
    """Return a mail to one that ends in its quarantine: there is nothing that a key could open."""
    lines = (
        f"From: {ADDRESSES[OTHER[name]]}",
        f"To: {ADDRESSES[name]}",
        f"Message-ID: <garbled@{OTHER[name]}.example>",
        "MIME-Version: 1.0",
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x',
        "",
        "--x\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n",
        "--x\r\nContent-Type: application/octet-stream\r\n",
        "-----BEGIN PGP MESSAGE-----\r\n",
        *(["Z2FyYmxlZA" * 6] * 100),
        "-----END PGP MESSAGE-----\r\n",
        "--x--\r\n",
    )
    return "\r\n".join(lines).encode()


def _column(folder: Path, name: str, what: str) -> list[str]:
    with closing(sqlite3.connect(folder / name / "data" / "radpost.db")) as database:
        return [row[0] for row in database.execute(f"SELECT {what}")]


def _sent_by(folder: Path, name: str, contents: dict[str, bytes]) -> Iterator[tuple[str, Letter]]:
    """Yield what one has submitted, by ENVID."""
    with closing(sqlite3.connect(folder / name / "data" / "radpost.db")) as database:
        objects: dict[int, set[str]] = {}
        for mail_id, sha256 in database.execute("SELECT mail_id, file_sha256 FROM mail_object"):
            objects.setdefault(mail_id, set()).add(sha256)
        for envid, kind, mail_id, answers in database.execute(
            "SELECT envid, submission.kind, mail_id, coalesce(original_message_id, '')"
            " FROM submission LEFT JOIN receipt ON receipt.id = receipt_id"
        ):
            if envid in contents:  # what was withdrawn before it went is nobody's business
                sha256 = hashlib.sha256(contents[envid]).hexdigest()
                brought = frozenset(objects.get(mail_id, ()))
                yield envid, Letter(name, kind, sha256, len(contents[envid]), brought, answers)


def _answered(folder: Path, letters: dict[str, Letter]) -> dict[str, Letter]:
    """Return the receipts, with the objects of the mails that they answer."""
    brought: dict[str, frozenset[str]] = {}
    for name in NAMES:
        with closing(sqlite3.connect(folder / name / "data" / "radpost.db")) as database:
            for message_id, sha256s in database.execute(
                "SELECT message_id, group_concat(file_sha256) FROM message"
                " JOIN mail_object USING (mail_id) GROUP BY message_id"
            ):
                brought[message_id] = frozenset(sha256s.split(","))
    return {
        envid: Letter(one.sender, one.kind, one.sha256, one.size, brought[one.answers], one.answers)
        for envid, one in letters.items()
        if one.kind == "receipt"
    }


def _heard_by(
    office: PostOffice, calls: Sequence[Call], letters: dict[str, Letter], contents: dict[str, bytes]
) -> Iterator[Heard]:
    """Yield what the server heard, from the bytes that were sent to it."""
    names = {content: envid for envid, content in contents.items()}
    owner = {address: name for name, address in ADDRESSES.items()}

    def deleted(after: int, account: str, uids: Collection[int]) -> Iterator[Heard]:
        for uid in uids:
            yield Heard(after, names[office.mailboxes[account].ever[uid]], owner[account])

    for said in spoken(calls):
        if said.port == office.ports["smtp"]:
            if match := re.match(rb"MAIL FROM:.* ENVID=(\S+)", said.data):
                assert match[1].decode() in letters
                yield Heard(said.after, match[1].decode())
        elif said.port == office.ports["imap"]:
            if match := re.match(rb"\S+ UID (?:STORE|EXPUNGE) (\S+)", said.data):
                yield from deleted(said.after, ADDRESSES["b"], list(numbers(match[1])))
        elif match := re.match(rb"DELE (\d+)", said.data):
            account, uids = office.snapshots[said.connection]
            yield from deleted(said.after, account, [uids[int(match[1])]])
