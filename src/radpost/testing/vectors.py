"""The reference mails in ../shared/mails with what must come of them, and how that reads in our words.

The one place where their classes of errors, kinds and results are compared with ours.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from radpost.errors import (
    INCOMPLETE_FRAGMENTS,
    INCOMPLETE_SET,
    MDN_INVALID,
    MIME_MALFORMED,
    NO_INTEGRITY,
    NO_SECRET_KEY,
    PARTIAL_INCONSISTENT,
    PASSWORD_ENCRYPTED,
    RESOURCE_LIMIT,
    TAMPERED,
    TRUNCATED,
    Reason,
)
from radpost.smime import load

ERROR_CLASSES: Final[Mapping[str, tuple[Reason, ...]]] = {
    "tampered": (TAMPERED,),
    "truncated": (TRUNCATED,),
    "no_secret_key": (NO_SECRET_KEY, PASSWORD_ENCRYPTED),
    "no_integrity": (NO_INTEGRITY,),
    "mime_malformed": (MIME_MALFORMED,),
    "resource_limit": (RESOURCE_LIMIT,),
    "incomplete_set": (INCOMPLETE_FRAGMENTS, INCOMPLETE_SET),
    "partial_inconsistent": (PARTIAL_INCONSISTENT,),
    "mdn_invalid": (MDN_INVALID,),
}
"""``expect.error_class`` of a vector, and our reasons for it."""
STATUSES: Final[Mapping[str, frozenset[str]]] = {
    "ok": frozenset({"ok"}),
    "error": frozenset({"error"}),
    "pending": frozenset({"pending"}),
    "ignored": frozenset({"ignored"}),
    "ok-or-error": frozenset({"ok", "error"}),
    "ignored-or-error": frozenset({"ignored", "error"}),
    "mdn": frozenset({"receipt"}),
    "dsn": frozenset({"bounce"}),
}
"""``expect.result`` of a vector, and the states that it admits."""
KINDS: Final[Mapping[str, frozenset[str]]] = {
    "dicom": frozenset({"dicom"}),
    "dicom-no-meta": frozenset({"dicom"}),
    "dicom-invalid": frozenset({"dicom", "other"}),  # whether it can be used is for the PACS to say
    "dicomdir": frozenset({"dicomdir"}),
    "non-dicom": frozenset({"other"}),
    "qc-request": frozenset({"other"}),
}
"""``kind`` of a payload, and ours."""
PACKAGE_CLASSES: Final = frozenset({"resource_limit", "unsafe_path", "xdm_invalid"})
"""Errors that only show inside of an IHE XDM package."""
REPACKED: Final = frozenset({"x32-stored-zip", "x33-lowercase-names"})
"""Their ``zip_sha256`` is that of the package they were made from."""
DEVIATIONS: Final[Mapping[str, str]] = {}
"""Vectors whose result is not the expected one, and why."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One reference mail, or several that belong together."""

    group: str
    name: str
    description: str
    files: tuple[Path, ...]
    expect: Mapping[str, Any]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ReferenceKeys:
    """Key files of the receiver of the reference mails."""

    secrets: tuple[Path, ...]
    certs: tuple[Path, ...]
    anchors: tuple[Path, ...]

    def options(self) -> list[str]:
        """Return them as options of a command."""
        named = (("--secret", self.secrets), ("--certs", self.certs), ("--ca", self.anchors))
        return [word for option, paths in named for path in paths for word in (option, str(path))]


def reference_keys(mails: Path) -> ReferenceKeys:
    """Return the keys that the receiver has: OpenPGP and S/MIME."""
    openpgp, smime = mails / "keys/openpgp", mails / "keys/smime"
    return ReferenceKeys(
        secrets=(
            openpgp / "receiver-secret.asc",
            *(smime / f"recv-{kind}.{part}.pem" for kind in ("rsa", "ec") for part in ("key", "cert")),
        ),
        certs=(openpgp / "senders-trusted-public.asc",),
        anchors=(smime / "ca.cert.pem",),
    )


def vectors(mails: Path, group: str) -> list[Vector]:
    """Return the vectors of a folder; none where there is no such folder."""
    found = []
    for path in sorted((mails / group).glob("*.json")):
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(path.with_name(name) for name in raw["files"])
        found.append(Vector(group, raw["name"], raw["description"], files, raw["expect"]))
    return found


def as_package(vector: Vector) -> Vector:
    """Return an IHE XDM vector as it is met while packages are not unpacked: the ZIP is one object.

    What is wrong inside of a package is then no error of the mail.
    """
    expect = dict(vector.expect)
    if expect["error_class"] in PACKAGE_CLASSES:
        expect["result"] = "ok"
    known = None if vector.name in REPACKED else expect.get("zip_sha256")
    expect["payloads"] = None if known is None else [{"sha256": known, "kind": "non-dicom"}]
    # the signer is named by the file of the certificate; two vectors name a key of OpenPGP instead
    signer = vector.files[0].parents[1] / f"keys/smime/{expect.get('signer_fingerprint')}.cert.pem"
    expect["signer_fingerprint"] = _fingerprint(signer) if signer.exists() else None
    return replace(vector, expect=expect)


def _fingerprint(certificate: Path) -> str:
    (found,) = load([certificate.read_bytes()]).certificates
    return found.value.fingerprint


def of_vector(vector: Vector, results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the results, as JSON has them, that the mails of a vector have a part in."""
    names = {str(path) for path in vector.files}
    return [result for result in results if names & set(result["files"])]


def deviations(vector: Vector, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Compare the results of ``radpost open --json`` with what a vector expects; return what differs."""
    expect = vector.expect
    states = {result["status"] for result in results}
    wanted = STATUSES[expect["result"]]
    if not states or not states <= wanted:
        return [f"result {'/'.join(sorted(states))} instead of {expect['result']}"]
    if sorted(name for result in results for name in result["files"]) != sorted(map(str, vector.files)):
        return ["files are missing or named twice"]
    (state,) = states if len(states) == 1 else ("ok",)
    return _COMPARED[state](expect, results)


def _error(expect: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    codes = {reason.code for reason in ERROR_CLASSES[expect["error_class"]]}
    found = [f"code {result['code']}" for result in results if result["code"] not in codes]
    return found + ["objects of a failed mail" for result in results if result["objects"]]


def _pending(expect: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    found = _error(expect, results)
    for result in results:
        if (result["missing"], result["set"]["total"]) != (expect["missing"], expect["total"]):
            found.append(f"missing {result['missing']} of {result['set']['total']}")
    return found


def _receipts(expect: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [said for result in results if (said := _mdn(expect["mdn"], result["receipt"]))]


def _bounces(expect: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [said for result in results if (said := _dsn(expect["dsn"], result["bounce"]))]


def _ignored(_expect: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["objects of an ordinary mail" for result in results if result["objects"]]


def _mdn(expect: Mapping[str, Any], receipt: Mapping[str, Any]) -> str:
    remarks = receipt["errors"] + receipt["failures"] + receipt["warnings"]
    got = {name: remarks if name == "error" else receipt[name] for name in expect}
    want = {name: [value] if name == "error" else value for name, value in expect.items()}
    return "" if got == want else f"receipt {got}"


def _dsn(expect: Mapping[str, Any], bounce: Mapping[str, Any]) -> str:
    got = {name: bounce[name] for name in expect}
    return "" if got == expect else f"bounce {got}"


def _data(expect: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    objects = [item for result in results for item in result["objects"]]
    copies = 2 if expect.get("duplicate") else 1
    payloads = expect["payloads"]
    if payloads is None:  # which objects come out is not what is looked at
        payloads = [{"sha256": item["sha256"], "kind": "non-dicom"} for item in objects]
    wanted = Counter({payload["sha256"]: copies for payload in payloads})
    if Counter(item["sha256"] for item in objects) != wanted:
        found.append(f"{len(objects)} objects instead of {sum(wanted.values())}, or others")
        return found
    by_hash = {item["sha256"]: item for item in objects}
    for payload in payloads:
        found += _payload(payload, by_hash[payload["sha256"]])
    for result in results:
        found += _protection(expect, result)
    if "missing" in expect and any(result["missing"] != expect["missing"] for result in results):
        found.append("missing mails of the set")
    return found


def _payload(payload: Mapping[str, Any], item: Mapping[str, Any]) -> list[str]:
    found = []
    if item["size"] != payload.get("size", item["size"]) or item["kind"] not in KINDS[payload["kind"]]:
        found.append(f"{item['kind']} of {item['size']} bytes")
    if payload.get("filename") and item["name"] != payload["filename"]:
        found.append(f"name {item['name']}")
    study = payload.get("study_uid")
    if (study or payload["kind"] == "non-dicom") and item["study_instance_uid"] != study:
        found.append(f"study {item['study_instance_uid']}")
    sniffed = "application/dicom" if item["kind"] == "dicom" else "application/octet-stream"
    if item["media_type"] not in {payload.get("media_type", item["media_type"]), sniffed}:
        found.append(f"type {item['media_type']}")
    return found


def _protection(expect: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    found = []
    signature = result["signature"]
    if signature["verdict"] != (expect.get("signature") or signature["verdict"]):
        found.append(f"signature {signature['verdict']}")
    signer = expect.get("signer_fingerprint")
    if signer and signature["fingerprint"] != signer.upper():
        found.append(f"signer {signature['fingerprint']}")
    if result["encrypted"] != (expect.get("policy") != "unencrypted"):
        found.append(f"encrypted {result['encrypted']}")
    return found


_COMPARED: Final = {
    "ok": _data,
    "error": _error,
    "pending": _pending,
    "ignored": _ignored,
    "receipt": _receipts,
    "bounce": _bounces,
}
