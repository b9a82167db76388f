"""Check mails: ``radpost.check``, and what ``radpost check`` prints."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.mails.checking import groups, table
from radpost.mails.checking.claims import claim
from radpost.mails.checking.model import Layer
from radpost.mails.checking.results import Checked, Sealed
from radpost.mails.checking.scene import Key, Scene, look
from radpost.mails.joining import Joiner, Stuck
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import offline_keys
from radpost.mails.results import Status
from radpost.mails.sources import Mail, Unreadable, find_mails
from radpost.openpgp.values import NO_SIGNATURE, decisive

__all__ = ["Checked", "check"]

LARGEST: Final = 1 << 30
"""A mail is checked in memory; no mail server takes larger ones."""


def check(
    mails: Path | str | Iterable[Path | str],
    *,
    secrets: Path | str | Iterable[Path | str] = (),
    certs: Path | str | Iterable[Path | str] = (),
    passphrase_file: Path | str | None = None,
    stdin: BinaryIO | None = None,
) -> tuple[Checked, ...]:
    """Put all rules to mails and say which they keep, bend or break.

    ``mails`` are files, mailboxes of one file, Maildirs, folders, or ``-``. Fragments are checked one by one,
    and so is the mail that they make up, where all are there. Without ``secrets`` only the outside is looked
    at. What is wrong with a mail is a finding, never an exception.

    Raises:
        RadpostError: KEY_UNREADABLE, PASSPHRASE_WRONG, MAIL_UNREADABLE, RESOURCE_LIMIT (a mail of more than
            1 GB).
    """
    files = as_files(secrets, certs, (), passphrase_file)
    with offline_keys(files) as keys:
        key = Key(keys.engine, keys.temp) if files.secrets else None
        source = sys.stdin.buffer if stdin is None else stdin
        return checked(find_mails(mails, temp=keys.temp, stdin=source), key, keys.temp)


def checked(inputs: Iterable[Mail | Unreadable], key: Key | None, temp: Path) -> tuple[Checked, ...]:
    """Check mails with a key that is there already; ``temp`` is a private folder for joined mails.

    One mail is in memory at a time.
    """
    alone: list[Checked] = []
    noted: list[tuple[str, tuple[groups.Note, ...]]] = []
    for files, data, remark in _mails(inputs, temp):
        one, notes = _alone(files, data, key, remark)
        alone.append(one)
        noted.append((one.name, notes))
    together = groups.judge(noted)
    return tuple(
        replace(one, findings=tuple(sorted((*one.findings, *others), key=lambda found: -found.weight)))
        for one, others in zip(alone, together, strict=True)
    )


def _alone(
    files: tuple[str, ...], data: bytes, key: Key | None, remark: tuple[str, str] | None
) -> tuple[Checked, tuple[groups.Note, ...]]:
    """Check one mail, and say what others may contradict."""
    scene = look(data, key)
    found = Checked(
        files=files,
        claim=claim(scene.layers),
        sealed=tuple(seal for layer in scene.layers for seal in _seals(layer, scene, key is not None)),
        findings=table.judge(scene, ", ".join(files)),
        remark=remark,
    )
    return found, groups.notes(scene.outside)


def _mails(
    inputs: Iterable[Mail | Unreadable], temp: Path
) -> Iterator[tuple[tuple[str, ...], bytes, tuple[str, str] | None]]:
    """Yield the mails, each fragment on its own, and joined mails behind them."""
    joiner = Joiner(temp)
    listed: list[Mail] = []
    for one in inputs:
        if isinstance(one, Unreadable):
            raise RadpostError(one.error.reason, f"{one.file}: {one.error.detail}".rstrip(": "))
        listed.append(one)
        try:
            joiner.take(one)
        except RadpostError:
            continue  # a fragment without id or number: a rule says so
    joined: list[Mail] = []
    remarks: dict[str, tuple[str, str]] = {}
    for made in joiner.joined():
        if isinstance(made, Mail):
            joined.append(made)
        elif made.result.status is Status.PENDING:
            remarks |= dict.fromkeys(made.result.files, _missing(made))
    for mail in (*listed, *joined):
        if mail.end - mail.start > LARGEST:
            raise RadpostError(RESOURCE_LIMIT, f"{mail.files[0]}: more than {LARGEST >> 20} MB")
        with mail.buffer() as buffer:
            yield mail.files, bytes(buffer[0 : len(buffer)]), remarks.get(mail.files[0])


def _missing(group: Stuck) -> tuple[str, str]:
    numbers = ", ".join(map(str, group.result.missing[:20])) or "?"
    return (
        f"the mail that the fragments make up was not checked; missing among the files: {numbers}",
        f"die Mail aus den Fragmenten wurde nicht geprüft; unter den Dateien fehlen: {numbers}",
    )


def _seals(layer: Layer, scene: Scene, tried: bool) -> Iterator[Sealed]:
    inside = {one.seal.at: one for one in scene.layers if one.outer is layer and one.seal is not None}
    failed = {at: (reason, detail) for reason, detail, at in layer.unopened}
    for one in layer.seals:
        below = inside.get(one.at)
        seal = None if below is None else below.seal
        signature = NO_SIGNATURE if below is None else decisive([found for found, _ in below.verified()])
        reason, detail = failed.get(one.at, (None, ""))
        yield Sealed(
            at=one.at,
            recipients=tuple(item.keyid for item in one.recipients),
            passwords=one.passwords,
            reason=reason if tried else None,
            detail=detail,
            opened=seal is not None,
            signature="" if seal is None else signature.verdict.value,
            fingerprint=signature.fingerprint,
            cipher="" if seal is None else seal.cipher,
            integrity="" if seal is None else seal.integrity,
        )
