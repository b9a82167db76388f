"""Check mails: ``radpost.check``, and what ``radpost check`` prints."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from radpost.errors import RadpostError
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

__all__ = ["Checked", "check"]


def check(
    mails: Iterable[Path | str],
    *,
    secret: Iterable[Path | str] = (),
    certs: Iterable[Path | str] = (),
    passphrase_file: Path | str | None = None,
    stdin: BinaryIO | None = None,
) -> tuple[Checked, ...]:
    """Put all rules to mails and say which they keep, bend or break.

    ``mails`` are files, mailboxes of one file, Maildirs, folders, or ``-``. Fragments are checked one by one,
    and so is the mail that they make up, where all are there. Without ``secret`` only the outside is looked
    at. What is wrong with a mail is a finding, never an exception.

    Raises:
        RadpostError: KEY_UNREADABLE, MAIL_UNREADABLE.
    """
    secrets = tuple(secret)
    with offline_keys(as_files(secrets, certs, (), passphrase_file)) as keys:
        key = Key(keys.engine, keys.temp) if secrets else None
        source = sys.stdin.buffer if stdin is None else stdin
        return checked(find_mails(mails, temp=keys.temp, stdin=source), key, keys.temp)


def checked(inputs: Iterable[Mail | Unreadable], key: Key | None, temp: Path) -> tuple[Checked, ...]:
    """Check mails with a key that is there already; ``temp`` is a private folder for joined mails."""
    seen = [_Seen(files, look(data, key), remark) for files, data, remark in _mails(inputs, temp)]
    return _judged(seen, key is not None)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A mail that was looked at."""

    files: tuple[str, ...]
    scene: Scene
    remark: tuple[str, str] | None


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
        with mail.buffer() as buffer:
            yield mail.files, bytes(buffer[0 : len(buffer)]), remarks.get(mail.files[0])


def _missing(group: Stuck) -> tuple[str, str]:
    numbers = ", ".join(map(str, group.result.missing[:20])) or "?"
    return (
        f"the mail that the fragments make up was not checked; missing among the files: {numbers}",
        f"die Mail aus den Fragmenten wurde nicht geprüft; unter den Dateien fehlen: {numbers}",
    )


def _judged(seen: Sequence[_Seen], tried: bool) -> tuple[Checked, ...]:
    together = list(groups.judge([(", ".join(one.files), one.scene.outside) for one in seen]))
    out = []
    for index, one in enumerate(seen):
        name = ", ".join(one.files)
        findings = (*table.judge(one.scene, name), *together[index :: len(seen)])
        seals = tuple(seal for layer in one.scene.layers for seal in _seals(layer, one.scene, tried))
        out.append(
            Checked(
                files=one.files,
                claim=claim(one.scene.layers),
                sealed=seals,
                findings=tuple(sorted(findings, key=lambda finding: -finding.weight)),
                remark=one.remark,
            )
        )
    return tuple(out)


def _seals(layer: Layer, scene: Scene, tried: bool) -> Iterator[Sealed]:
    inside = {one.seal.at: one.seal for one in scene.layers if one.outer is layer and one.seal is not None}
    failed = {at: (reason, detail) for reason, detail, at in layer.unopened}
    for one in layer.seals:
        seal = inside.get(one.at)
        reason, detail = failed.get(one.at, (None, ""))
        yield Sealed(
            at=one.at,
            recipients=tuple(item.keyid for item in one.recipients),
            passwords=one.passwords,
            reason=reason if tried else None,
            detail=detail,
            opened=seal is not None,
            signature="" if seal is None else seal.signature.verdict.value,
            fingerprint=None if seal is None else seal.signature.fingerprint,
            cipher="" if seal is None else seal.cipher,
            integrity="" if seal is None else seal.integrity,
        )
