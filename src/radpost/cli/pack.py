"""``radpost pack``: files become the mails of one transmission, without a gateway."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radpost.agit.dialect import LEAST_MAIL
from radpost.agit.gathering import is_uid
from radpost.cli.filing import LEFT_SHOWN, bar, say_left
from radpost.cli.plain import JsonOption, LangOption, language_of, print_json, size, told
from radpost.mails.packing import Packed
from radpost.mails.packing import pack as pack_files

_SIZE = re.compile(r"([0-9]{1,15})\s*(|k|M|G|Ki|Mi|Gi)B?")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class _Dialect(StrEnum):
    AGIT_1_1 = "agit-1.1"
    AGIT_1_5 = "agit-1.5"


def pack(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, DICOMDIRs, documents.")],
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="The sender's mail address.")],
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="The recipient's mail address.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder for the mails; made if absent.")
    ],
    certs: Annotated[
        list[Path],
        typer.Option("--certs", metavar="FILE", help="The recipient's public OpenPGP key; may be repeated."),
    ],
    secret: Annotated[
        list[Path] | None,
        typer.Option("--secret", metavar="FILE", help="The sender's secret OpenPGP key; may be repeated."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", metavar="FILE", help="The secret key's passphrase.")
    ] = None,
    dialect: Annotated[
        _Dialect, typer.Option("--dialect", help="How the mails are written.")
    ] = _Dialect.AGIT_1_5,
    max_mail_size: Annotated[
        str,
        typer.Option(
            "--max-mail-size", metavar="SIZE", help="As 10M: larger mails are cut into message/partial."
        ),
    ] = "10M",
    objects_per_mail: Annotated[
        int | None,
        typer.Option("--objects-per-mail", metavar="N", min=1, help="Objects in one mail; else 1."),
    ] = None,
    study_uid: Annotated[
        str,
        typer.Option(
            "--study-uid", metavar="UID", help="The study of the documents; else that of the DICOM."
        ),
    ] = "",
    switch: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A switch of the dialect; may be repeated."),
    ] = None,
    language: LangOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the mails of one transmission as .eml files, signed and encrypted, without a gateway.

    All are written, or none. Exactly the bytes on disk travel. The exit status is 1, too, if a path that was
    asked for could not be read; the others are packed.
    """
    switches: dict[str, object] = dict(_switch(text) for text in switch or [])
    switches["max_mail_size"] = _bytes(max_mail_size)
    if objects_per_mail is not None:
        switches["objects_per_mail"] = objects_per_mail
    if study_uid and not is_uid(study_uid):
        raise typer.BadParameter(f"'{study_uid}' is no DICOM UID", param_hint="--study-uid")
    with told(language or language_of()), bar("reading", None, quiet=as_json) as step:
        packed = pack_files(
            paths,
            sender=sender,
            recipient=to,
            out=out,
            secrets=secret or [],
            certs=certs,
            passphrase_file=passphrase_file,
            dialect="agit-1.1" if dialect is _Dialect.AGIT_1_1 else "agit-1.5",
            switches=switches,
            study_uid=study_uid,
            seen=lambda _path: step(),
        )
    if as_json:
        print_json(_as_json(packed))
    else:
        say_left(packed.gathered, study_option="--study-uid")
        _say(packed)
    if any(one.is_trouble for one in packed.gathered.left):
        raise typer.Exit(1)


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(
            f"'{text}': a number of bytes, or like 500k, 10M, 1G", param_hint="--max-mail-size"
        )
    size = int(found[1]) * _UNITS[found[2]]
    if size < LEAST_MAIL:
        raise typer.BadParameter(f"'{text}': at least {LEAST_MAIL // 1000}k", param_hint="--max-mail-size")
    return size


def _switch(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"'{text}': write NAME=VALUE", param_hint="--set")
    return name.strip(), value.strip()


def _say(packed: Packed) -> None:
    objects = sum(len(mail.objects) for mail in packed.mails)
    files = sum(len(mail.files) for mail in packed.mails)
    cut = f" in {files} files" if files != len(packed.mails) else ""
    print(
        f"packed: {objects} objects, {size(packed.gathered.bytes)}, in {len(packed.mails)} mails{cut}, "
        f"{size(packed.size)}, {packed.dialect}: {packed.folder}"
    )
    if packed.set_id:
        print(f"  set {packed.set_id}")
    for uid in packed.gathered.studies[:LEFT_SHOWN]:
        print(f"  study {uid}")


def _as_json(packed: Packed) -> dict[str, object]:
    return {
        "dialect": packed.dialect,
        "from": packed.sender,
        "to": packed.recipient,
        "set_id": packed.set_id,
        "folder": packed.folder,
        "mails": [
            {
                "part": mail.part,
                "total": mail.total,
                "message_id": mail.message_id,
                "size": mail.size,
                "files": mail.files,
                "objects": [
                    {
                        "path": one.path,
                        "sha256": one.sha256,
                        "size": one.size,
                        "kind": one.kind,
                        "media_type": one.media_type,
                        "name": one.name,
                        "sop_instance_uid": one.sop_instance_uid,
                        "study_instance_uid": one.study_instance_uid,
                    }
                    for one in mail.objects
                ],
            }
            for mail in packed.mails
        ],
        "left": [{"path": str(one.path), "why": one.why} for one in packed.gathered.left],
    }
