"""``radpost open``: opens any mails with given keys, without gateway and database."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from radpost.cli.plain import JsonOption, LangOption, language_of, printable, size, told
from radpost.mails.opening import open_mails
from radpost.mails.remarks import PARTLY, STATUS, VERDICT, pick, remark
from radpost.mails.results import BounceView, ObjectView, OpenedMails, ReceiptView, Result, Status
from radpost.openpgp.values import grouped
from radpost.words import Language, SignaturePolicy

_SHOWN = 20
"""Files and numbers listed for one result; --json lists all."""
_OUTCOME = {
    "done": ("the partner has stored all", "der Partner hat alles gespeichert"),
    "warning": ("stored, with remarks", "gespeichert, mit Anmerkungen"),
    "error": ("NOT stored; send it again", "NICHT gespeichert; senden Sie erneut"),
    "refused": (
        "NOT stored; sending it again does not help",
        "NICHT gespeichert; erneutes Senden hilft nicht",
    ),
    None: ("unknown", "unbekannt"),
}
_KIND = {
    "dicom": ("DICOM object", "DICOM-Objekt"),
    "dicomdir": ("DICOMDIR", "DICOMDIR"),
    "other": ("document", "Dokument"),
}
_ROWS = {
    "sender": ("sender", "Absender"),
    "set": ("set", "Set"),
    "signature": ("signature", "Signatur"),
    "missing": ("missing", "fehlt"),
    "reason": ("reason", "Grund"),
    "remark": ("remark", "Hinweis"),
    "about": ("about mail", "zur Mail"),
    "says": ("it says", "Inhalt"),
    "recipient": ("recipient", "Empfänger"),
    "object": ("object", "Objekt"),
}


def open(  # noqa: A001  the command's name
    mails: Annotated[
        list[str],
        typer.Argument(
            metavar="MAIL", help="Mails in any order: .eml files, an mbox, a Maildir, a folder, - (stdin)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write the objects.")],
    secret: Annotated[
        list[Path] | None,
        typer.Option("--secret", metavar="FILE", help="Secret keys: OpenPGP, or S/MIME (PEM, DER, PKCS#12)."),
    ] = None,
    certs: Annotated[
        list[Path] | None,
        typer.Option("--certs", metavar="FILE", help="Public keys and certificates of senders."),
    ] = None,
    ca: Annotated[
        list[Path] | None,
        typer.Option("--ca", metavar="FILE", help="Trusted certificates of authorities or senders (S/MIME)."),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option("--passphrase-file", metavar="FILE", help="Its first line opens locked secret keys."),
    ] = None,
    policy: Annotated[
        SignaturePolicy, typer.Option("--policy", help="What a signature must be worth to release objects.")
    ] = SignaturePolicy.IGNORE,
    lang: LangOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open mails with the given keys, write their objects, and say what was found; needs no gateway.

    OpenPGP and S/MIME, fragments and sets are found by structure. Old ciphers and keys are read, with a
    remark. Exit status 1 if a mail could not be opened or fragments are missing.
    """
    language = lang or language_of()
    with told(language):
        found = open_mails(
            mails,
            secrets=secret or (),
            certs=certs or (),
            anchors=ca or (),
            passphrase_file=passphrase_file,
            policy=policy,
            out=out,
            language=language,
            stdin=sys.stdin.buffer,
        )
    if as_json:
        # escapes all but ASCII: what others wrote steers no terminal
        print(json.dumps(found.to_json(), indent=2))
    else:
        for line in report(found, out):
            print(line)
    if not found.settled:
        raise typer.Exit(1)


def report(found: OpenedMails, out: Path) -> Iterator[str]:
    """Yield the lines that tell a person what was found."""
    language = found.language
    for result in found.results:
        yield printable(_head(result, language))
        for name, text in _facts(result, language):
            yield f"  {pick(_ROWS[name], language) + ':':<11} {printable(text)}"
    yield ""
    yield printable(_summary(found, out))


def _head(result: Result, language: Language) -> str:
    state = PARTLY if result.status is Status.ERROR and result.objects else STATUS[result.status]
    names = ", ".join(result.files[:_SHOWN])
    more = len(result.files) - _SHOWN
    rest = f", … (+{more})" if more > 0 else ""
    return f"{names}{rest}: {pick(state, language)}"


def _facts(result: Result, language: Language) -> Iterator[tuple[str, str]]:
    if result.sender:
        yield "sender", result.sender
    if result.set is not None:
        yield "set", _set(result, language)
    message = result.message(language)
    if message is not None and result.status in {Status.ERROR, Status.PENDING}:
        yield "reason", f"{result.code} {message}"
    if result.missing:
        numbers = ", ".join(map(str, result.missing[:_SHOWN]))
        yield "missing", numbers + (", …" if len(result.missing) > _SHOWN else "")
    if result.signature is not None:
        key = f" ({grouped(result.signature.fingerprint)})" if result.signature.fingerprint else ""
        yield "signature", pick(VERDICT[result.signature.verdict], language) + key
    if result.receipt is not None:
        yield from _receipt(result.receipt, language)
    if result.bounce is not None:
        yield from _bounce(result.bounce)
    for warning in result.warnings:
        yield "remark", remark(warning, language)
    for item in result.objects:
        yield "object", _object(item, language)


def _set(result: Result, language: Language) -> str:
    assert result.set is not None
    part, total = result.set.part, result.set.total
    words = [result.set.id]
    if part is not None:
        words.append(f"{'Mail' if language == 'de' else 'mail'} {part}")
    if total is not None:
        words.append(f"{'von' if language == 'de' else 'of'} {total}")
    return " ".join(words)


def _receipt(receipt: ReceiptView, language: Language) -> Iterator[tuple[str, str]]:
    yield "about", receipt.original_message_id or "?"
    words = "/".join([receipt.disposition_type, ",".join(receipt.modifiers)]).strip("/")
    yield "says", f"{words}: {pick(_OUTCOME[receipt.outcome], language)}"
    for text in (*receipt.errors, *receipt.failures, *receipt.warnings):
        yield "says", text


def _bounce(bounce: BounceView) -> Iterator[tuple[str, str]]:
    yield "about", bounce.original_message_id or "?"
    for one in bounce.recipients[:_SHOWN]:
        yield (
            "recipient",
            " ".join(
                word
                for word in (one.address, one.action, one.status, f"[{one.kind}]", one.diagnostic)
                if word
            ),
        )


def _object(item: ObjectView, language: Language) -> str:
    kind = pick(_KIND[item.kind], language)
    study = item.study_instance_uid or ("nicht zugeordnet" if language == "de" else "unassigned")
    word = "Studie" if language == "de" else "study"
    name = f", {item.name}" if item.name else ""
    return f"{item.path}  {size(item.size)}  {kind} ({item.media_type}{name}), {word} {study}"


def _summary(found: OpenedMails, out: Path) -> str:
    counts = {status: sum(one.status is status for one in found.results) for status in Status}
    states = "; ".join(
        f"{pick(STATUS[status], found.language)}: {count}" for status, count in counts.items() if count
    )
    objects = len(found.objects)
    if found.language == "de":
        return f"{states}; Objekte in {out}: {objects}"
    return f"{states}; objects in {out}: {objects}"
