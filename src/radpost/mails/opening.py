"""Mails are opened: any number of them in any order, without gateway and database (`radpost open`).

Everything that can be had is given with its verdict and warnings, as far as the policy lets it pass; data
without proof of integrity are never released. One bad mail never stops another (DESIGN invariants 5 and 7).
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from radpost.agit.binding import contradictions
from radpost.agit.contents import Content
from radpost.agit.opening import open_mail, studies
from radpost.agit.survey import MailKind, Survey, first_address, read_set, survey
from radpost.errors import BINDING_MISMATCH, INTERNAL, NO_DATA, WRONG_SIGNER, RadpostError
from radpost.mails.joining import Joiner, Stuck, header_of
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import OfflineKeys, offline_keys
from radpost.mails.results import (
    BounceView,
    OpenedMails,
    ReceiptView,
    Result,
    SetView,
    SignatureView,
    Status,
)
from radpost.mails.sets import Member, join_sets
from radpost.mails.sources import Mail, Unreadable, find_mails
from radpost.mails.writing import Writer
from radpost.mime.coding import Buffer
from radpost.openpgp.keyring import utcnow
from radpost.openpgp.values import NO_SIGNATURE, Limits, Signature
from radpost.transfer.policy import Quarantine, judge
from radpost.words import Language, SignaturePolicy, Verdict

RATIO_FLOOR: Final = 128_000_000
"""Up to here a mail may unfold whatever its ratio: masks of a segmentation compress a thousand to one."""
LARGEST: Final = 8 << 30
RESERVE: Final = 64 << 20
"""What stays free on the disk that takes large plaintexts."""


def open_mails(
    mails: str | Path | Iterable[str | Path],
    *,
    secrets: str | Path | Iterable[str | Path] = (),
    certs: str | Path | Iterable[str | Path] = (),
    anchors: str | Path | Iterable[str | Path] = (),
    passphrase_file: str | Path | None = None,
    policy: SignaturePolicy | str = SignaturePolicy.IGNORE,
    out: str | Path | None = None,
    language: Language = "en",
    stdin: BinaryIO | None = None,
    limits: Limits | None = None,
    clock: Callable[[], datetime] = utcnow,
) -> OpenedMails:
    """Open mails and write their objects.

    Args:
        mails: files (``.eml``, or an mbox with many), Maildirs, folders, ``-`` for ``stdin``; fragments and
            mails of a set may come in any order. Here and below one path may stand for a list of one.
        secrets: files with secret keys, OpenPGP (armored or binary) or S/MIME (PEM, DER, PKCS#12).
        certs: files with public keys of senders, of which each OpenPGP key counts as trusted, and with
            certificates (S/MIME), which are known and trusted only by an anchor; revocation lists too.
        anchors: files with certificates that are trusted (S/MIME): of authorities, or of single senders.
        passphrase_file: its first line opens secret keys that are locked.
        policy: ``require``, ``accept`` or ``ignore`` (DESIGN invariant 7): what a signature must be worth.
        out: folder for the objects, made if it is missing; without it nothing is written.
        language: of the messages.
        stdin: what ``-`` means.
        limits: bounds of one mail.
        clock: the time by which keys are judged.

    Raises:
        RadpostError: KEY_UNREADABLE, CERTIFICATE_UNREADABLE, PASSPHRASE_WRONG, FOLDER_UNUSABLE; whatever is
            wrong with a mail is in its result.
    """
    files = as_files(secrets, certs, anchors, passphrase_file)
    with offline_keys(files, clock=clock) as keys:
        bounds = limits or _limits(keys.temp)
        writer = Writer(None if out is None else Path(out), keys.temp)
        task = _Task(keys, SignaturePolicy(policy), writer, bounds)
        return OpenedMails(tuple(task.run(find_mails(mails, temp=keys.temp, stdin=stdin))), language)


def _limits(temp: Path) -> Limits:
    free = max(0, shutil.disk_usage(temp).free - RESERVE)
    return Limits(max_plaintext=min(LARGEST, free), ratio_floor=RATIO_FLOOR)


@dataclass(frozen=True, slots=True)
class _Task:
    """All that opening one mail after the other needs."""

    keys: OfflineKeys
    policy: SignaturePolicy
    writer: Writer
    limits: Limits

    def run(self, inputs: Iterable[Mail | Unreadable]) -> Iterator[Result]:
        """Open all inputs; the results come in the order of the inputs."""
        members: list[Member] = []
        joiner = Joiner(self.keys.temp)
        for one in inputs:
            if isinstance(one, Unreadable):
                result = Result(files=(one.file,), status=Status.ERROR).failed(one.error)
                members.append(Member(result, one.position))
                continue
            try:
                if joiner.take(one):
                    continue
            except RadpostError as error:
                members.append(Member(_outside(one).failed(error), one.position))
            else:
                members.append(self._open(one))
        for joined in joiner.joined():
            if isinstance(joined, Stuck):
                members.append(Member(joined.result, joined.position))
            else:
                members.append(self._open(joined))
        return join_sets(members)

    def _open(self, mail: Mail) -> Member:
        """Open one mail; whatever it contains, this ends in a result."""
        base = Result(files=mail.files, status=Status.ERROR)
        try:
            base = _outside(mail)
            with mail.buffer() as buffer:
                return self._opened(mail, base, buffer)
        except RadpostError as error:
            return Member(base.failed(error), mail.position)
        except Exception as error:  # noqa: BLE001  one bad mail must not stop the next
            return Member(base.failed(RadpostError(INTERNAL, type(error).__name__)), mail.position)

    def _opened(self, mail: Mail, base: Result, buffer: Buffer) -> Member:
        outside = survey(buffer, smime=True)
        match outside.kind:
            case MailKind.RECEIPT:
                assert outside.mdn is not None
                view = ReceiptView.of(outside.mdn)
                result = replace(base, status=Status.RECEIPT, receipt=view, signature=_signature())
            case MailKind.BOUNCE:
                assert outside.dsn is not None
                result = replace(base, status=Status.BOUNCE, bounce=BounceView.of(outside.dsn))
            case MailKind.SEALED | MailKind.CLEAR:
                return self._data(mail, base, outside, buffer)
            case _:
                result = replace(base, status=Status.IGNORED, reason=NO_DATA)
        return Member(result, mail.position)

    def _data(self, mail: Mail, base: Result, outside: Survey, buffer: Buffer) -> Member:
        with open_mail(
            outside,
            buffer,
            self.keys.engine,
            temp=self.keys.temp,
            limits=self.limits,
            legacy=True,
            smime=self.keys.smime,
        ) as content:
            parts = studies(content).parts
            signature = content.signature
            result = replace(
                base,
                signature=_signature(signature),
                encrypted=content.encrypted,
                set=SetView.of(content.set_info) or base.set,
                warnings=(*base.warnings, *_warnings(content)),
            )
            try:
                result = self._bound(result, outside, content)
                result = self._check(result, content, signature)
                result = self._taken(result, content)
            except RadpostError as error:
                result = result.failed(error)
            if not parts and result.status is Status.OK:
                result = replace(result, status=Status.IGNORED, reason=NO_DATA)
        return Member(result, mail.position, signature)

    def _bound(self, result: Result, outside: Survey, content: Content) -> Result:
        """Compare what is repeated inside with the outside (DESIGN 4 "Binding")."""
        found = () if content.inner is None else contradictions(outside, content.inner)
        if found and self.policy is not SignaturePolicy.IGNORE:
            raise RadpostError(BINDING_MISMATCH, found[0])
        return replace(result, warnings=(*result.warnings, *(f"binding-mismatch:{name}" for name in found)))

    def _check(self, result: Result, content: Content, signature: Signature) -> Result:
        """Apply the policy; an unsigned receipt is shown as one, a forged one is not (DESIGN invariant 7)."""
        # only who asks for everything gets what a cipher without integrity gave and nothing proves
        integrity = not content.unproven or self.policy is SignaturePolicy.IGNORE
        ruling = judge(self.policy, signature.verdict, integrity=integrity)
        if not isinstance(ruling, Quarantine):
            return self._signed_by_sender(result, content)
        if content.parts or signature.verdict in {Verdict.BAD, Verdict.WRONG_SIGNER}:
            raise RadpostError(ruling.reason, f"signature: {signature.verdict.value}")
        return result

    def _signed_by_sender(self, result: Result, content: Content) -> Result:
        """Compare the address in From with those of the certificates, which an authority vouches for."""
        if content.is_signed_for(result.sender):
            return result
        if self.policy is not SignaturePolicy.IGNORE:
            raise RadpostError(WRONG_SIGNER, "the certificate is for another address than From")
        return replace(result, warnings=(*result.warnings, "signer-not-sender"))

    def _taken(self, result: Result, content: Content) -> Result:
        """Write the objects, and say what was found."""
        with self.writer.batch() as batch:
            for part in content.parts:
                batch.add(part)
            objects = batch.commit()
        damaged = any(
            part.claims_dicom and view.kind == "other"
            for part, view in zip(content.parts, objects, strict=True)
        )
        result = replace(
            result,
            status=Status.OK,
            objects=objects,
            warnings=(*result.warnings, *(("dicom-invalid",) if damaged else ())),
        )
        if content.reports:
            result = replace(result, receipt=ReceiptView.of(content.reports[0].mdn))
            if not content.parts:
                result = replace(result, status=Status.RECEIPT)
        if content.unopened:
            reason, detail = content.unopened[0]
            result = replace(result, status=Status.ERROR, reason=reason, detail=detail)
        return result


def _outside(mail: Mail) -> Result:
    """Return what the header of a mail says, as far as it can be read."""
    headers = header_of(mail)
    return Result(
        files=mail.files,
        status=Status.ERROR,
        sender=first_address(headers, "From").lower(),
        message_id=headers.message_id() or "",
        set=SetView.of(read_set(headers)),
        warnings=tuple(f"mended:{defect}" for defect in mail.defects),
    )


def _signature(signature: Signature = NO_SIGNATURE) -> SignatureView:
    return SignatureView(signature.verdict.value, signature.fingerprint or signature.signing_fingerprint)


def _warnings(content: Content) -> Iterator[str]:
    yield from content.warnings
    if content.parts and not content.encrypted:
        yield "unencrypted"
    for reason, _ in content.unopened:
        yield f"unopened:{reason.name}"
