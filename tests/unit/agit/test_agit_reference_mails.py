"""Every reference mail of the @GIT family gives exactly the result that stands beside it."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from radpost.agit.opening import open_mail, studies
from radpost.agit.survey import MailKind, Survey, survey
from radpost.dicom.identity import identify
from radpost.errors import RadpostError
from radpost.mime.partial import Fragment, assemble, progress
from radpost.openpgp.values import Engine, Limits
from radpost.testing.vectors import ERROR_CLASSES

pytestmark = [pytest.mark.shared, pytest.mark.peer("gnupg")]

SHARED = Path(__file__).resolve().parents[4] / "shared" / "mails"
LIMITS = Limits(max_plaintext=100 << 20)
ERRORS = {name: {reason.name for reason in reasons} for name, reasons in ERROR_CLASSES.items()}


def vectors(group: str) -> list[str]:
    return sorted(path.stem for path in (SHARED / group).glob("*.json"))


@dataclass
class Outcome:
    """What came out of the mails of one vector."""

    kinds: list[MailKind] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    verdicts: set[str] = field(default_factory=set)
    encrypted: set[bool] = field(default_factory=set)
    pending: list[Any] = field(default_factory=list)
    error: str | None = None


def kind_of(data: bytes, *, claims_dicom: bool) -> str:
    identity = identify(data)
    if identity.kind != "other":
        missing = identity.kind == "dicom" and data[128:132] != b"DICM"
        return "dicom-no-meta" if missing else identity.kind
    return "dicom-invalid" if claims_dicom else "non-dicom"


def run(vector: dict[str, Any], engine: Engine, temp: Path) -> Outcome:
    out = Outcome()
    try:
        for outside, mail in joined(vector, out):
            if outside.kind in {MailKind.SEALED, MailKind.CLEAR}:
                take(out, outside, mail, engine, temp, legacy=vector["name"].startswith("a51-cipher"))
    except RadpostError as error:
        out.error = error.reason.name
    return out


def joined(vector: dict[str, Any], out: Outcome) -> list[tuple[Survey, bytes]]:
    groups: dict[tuple[str, str], list[Fragment]] = defaultdict(list)
    whole = []
    for name in vector["files"]:
        mail = (SHARED / vector["group"] / name).read_bytes()
        outside = survey(mail)
        out.kinds.append(outside.kind)
        if outside.fragment is None:
            whole.append((outside, mail))
        else:
            key = (outside.from_address, outside.fragment.id)
            groups[key].append(Fragment(outside.fragment, outside.root, mail))
    for group in groups.values():
        state = progress(item.info for item in group)
        if state.complete:
            mail = b"".join(bytes(chunk) for chunk in assemble(group).chunks())
            whole.append((survey(mail), mail))
        else:
            out.pending.append(state)
    return whole


def take(out: Outcome, outside: Survey, mail: bytes, engine: Engine, temp: Path, *, legacy: bool) -> None:
    with open_mail(outside, mail, engine, temp=temp, limits=LIMITS, legacy=legacy) as content:
        out.verdicts.add(content.signature.verdict.value)
        out.encrypted.add(content.encrypted)
        assert not content.reports
        for part in studies(content).parts:
            data = b"".join(bytes(chunk) for chunk in part.chunks())
            if part.plain is not None:
                assert bytes(part.plain) == data
            kind = kind_of(data, claims_dicom=part.claims_dicom)
            study = identify(data).study_instance_uid if kind.startswith("dicom") else part.study_uid
            out.objects.append(
                {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "kind": kind,
                    "filename": part.filename,
                    "study_uid": study or None,
                    "media_type": part.media_type,
                }
            )


@pytest.mark.parametrize("name", vectors("agit"))
def test_inv3_agit(name: str, receiver: Engine, tmp_path: Path) -> None:
    vector = json.loads((SHARED / "agit" / f"{name}.json").read_text(encoding="utf-8"))
    expected = vector["expect"]
    out = run(vector, receiver, tmp_path)
    assert list(tmp_path.iterdir()) == [], "no plaintext stays behind"
    match expected["result"]:
        case "error":
            assert out.error in ERRORS[expected["error_class"]]
            assert out.objects == []
        case "pending":
            (state,) = out.pending
            assert (list(state.missing), state.total) == (expected["missing"], expected["total"])
            assert out.error is None
            assert out.objects == []
        case "ignored":
            assert (out.error, set(out.kinds)) == (None, {MailKind.FOREIGN})
        case "ignored-or-error":
            assert out.error in {None, *ERRORS[expected["error_class"]]}
            assert out.objects == []
        case "ok-or-error" if out.error is not None:
            assert out.error in ERRORS[expected["error_class"]]
            assert out.objects == []
        case _:
            assert out.error is None
            compare(expected, out)


def compare(expected: dict[str, Any], out: Outcome) -> None:
    copies = 2 if expected.get("duplicate") else 1
    wanted = Counter({item["sha256"]: copies for item in expected["payloads"]})
    assert Counter(item["sha256"] for item in out.objects) == wanted
    assert out.verdicts == {expected["signature"]}
    assert out.encrypted == {expected.get("policy") != "unencrypted"}
    found = {item["sha256"]: item for item in out.objects}
    for payload in expected["payloads"]:
        got = found[payload["sha256"]]
        if payload["kind"] == "dicom-invalid":  # whether the rest of it can be used is for the PACS to say
            assert got["media_type"] == "application/dicom"
            del payload["kind"]
        for key in ("size", "kind", "filename", "study_uid"):
            if payload.get(key) is not None:
                assert got[key] == payload[key], key
        if payload.get("kind") == "non-dicom":
            assert got["study_uid"] == payload.get("study_uid")
            if payload["media_type"] != got["media_type"]:
                assert got["media_type"] == "application/octet-stream"


@pytest.mark.parametrize("name", vectors("mdn"))
def test_mdn(name: str) -> None:
    outside = survey((SHARED / "mdn" / f"{name}.eml").read_bytes())
    assert outside.kind is MailKind.RECEIPT
    assert outside.mdn is not None
    assert outside.dsn is None


@pytest.mark.parametrize("name", vectors("dsn"))
def test_dsn(name: str) -> None:
    outside = survey((SHARED / "dsn" / f"{name}.eml").read_bytes())
    assert outside.kind is MailKind.BOUNCE
    assert outside.dsn is not None
    assert outside.mdn is None


def test_all_vectors_were_found() -> None:
    assert [len(vectors(group)) for group in ("agit", "mdn", "dsn")] >= [85, 16, 15]
