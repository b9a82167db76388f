"""The reference mails: structure, fragments, receipts and bounces against their expected results."""

import hashlib
import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radpost.errors import MIME_MALFORMED, RadpostError
from radpost.mime.partial import Fragment, assemble, fragment_info, progress
from radpost.mime.pgp import Kind, data, find_openpgp
from radpost.mime.reader import body, parse
from radpost.mime.report import parse_dsn, parse_mdn

pytestmark = pytest.mark.shared


def _vectors(folder: Path) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    for path in sorted(folder.glob("*.json")):
        vector: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        yield vector, [(folder / name).read_bytes() for name in vector["files"]]


def _complete(mails: list[bytes]) -> list[bytes]:
    """Join fragments; whole mails stay as they are."""
    whole: list[bytes] = []
    groups: dict[str, list[Fragment]] = defaultdict(list)
    for mail in mails:
        entity = parse(mail)
        info = fragment_info(entity)
        if info is None:
            whole.append(mail)
        else:
            groups[info.id].append(Fragment(info, entity, mail))
    for group in groups.values():
        if progress(item.info for item in group).complete:
            whole.append(b"".join(assemble(group).chunks()))
    return whole


def test_receipts(shared: Path) -> None:
    seen = 0
    for vector, (mail,) in _vectors(shared / "mails" / "mdn"):
        root = parse(mail)
        found = parse_mdn(root, mail)
        assert found is not None
        expected = vector["expect"]["mdn"]
        got: dict[str, Any] = {
            "original_message_id": found.original_message_id,
            "disposition_type": found.disposition.type,
            "action_mode": found.disposition.action_mode,
            "sending_mode": found.disposition.sending_mode,
            "modifiers": list(found.disposition.modifiers),
        }
        if "error" in expected:
            (got["error"],) = found.remarks
        assert got == expected, vector["name"]
        assert parse_dsn(root, mail) is None, vector["name"]
        seen += 1
    assert seen >= 16


_CLASSES = {
    "exchange2003-01": "unknown-address",
    "exchange2007-01": "unknown-address",
    "exchange2007-03": "too-large",
    "exim-01": "policy",
    "exim-29": "policy",
    "exim-40": "policy",
    "outlook-01": "mailbox-full",
    "outlook-02": "unknown-address",
    "postfix-28": "policy",
    "postfix-41": "other",
}


def test_bounces(shared: Path) -> None:
    seen = 0
    for vector, (mail,) in _vectors(shared / "mails" / "dsn"):
        root = parse(mail)
        found = parse_dsn(root, mail)
        assert found is not None
        assert {
            "action": [item.action for item in found.recipients if item.action],
            "status": [item.status for item in found.recipients if item.status],
            "final_recipient": [item.final_recipient for item in found.recipients if item.final_recipient],
            "original_message_id": found.original_message_id,
            "rfc3464": found.rfc3464,
        } == vector["expect"]["dsn"], vector["name"]
        assert all(item.address and "@" in item.address for item in found.recipients)
        assert found.recipients
        for name, kind in _CLASSES.items():
            if vector["name"].endswith(name):
                assert found.kind.value == kind, vector["name"]
        assert parse_mdn(root, mail) is None
        seen += 1
    assert seen >= 15


def test_no_other_mail_is_taken_for_a_report(shared: Path) -> None:
    for vector, mails in _vectors(shared / "mails" / "agit"):
        for mail in mails:
            if vector["expect"]["error_class"] != "mime_malformed":
                root = parse(mail)
                assert parse_mdn(root, mail) is None
                assert parse_dsn(root, mail) is None


def test_structure_of_all_agit_mails(shared: Path) -> None:
    without = {"a11-clear-supp54", "a83-key-attached", "a84-plain-spam", "a85-garbage"}
    for vector, mails in _vectors(shared / "mails" / "agit"):
        name = vector["name"]
        if name == "a81-malformed-no-boundary":
            with pytest.raises(RadpostError) as caught:
                parse(mails[0])
            assert caught.value.reason is MIME_MALFORMED
            continue
        found = [find_openpgp(parse(mail), mail) for mail in _complete(mails)]
        payloads = sum(len(item.payloads) for item in found)
        if name in without:
            assert payloads == 0, name
        elif name == "a10-signed-only":
            assert [len(item.signed) for item in found] == [1]
        elif name == "a23-partial-missing":
            assert found == []
        else:
            assert payloads >= 1, name
            assert all(not item.defects for one in found for item in one.payloads), name
        assert sum(len(item.keys) for item in found) == (name == "a83-key-attached")


def test_missing_fragments_are_named(shared: Path) -> None:
    folder = shared / "mails" / "agit"
    vector = json.loads((folder / "a23-partial-missing.json").read_text(encoding="utf-8"))
    infos = [fragment_info(parse((folder / name).read_bytes())) for name in vector["files"]]
    state = progress(info for info in infos if info)
    assert (list(state.missing), state.total) == (vector["expect"]["missing"], vector["expect"]["total"])


_NOT_TO_OPEN = {
    "a10-signed-only": "not encrypted",
    "a11-clear-supp54": "not encrypted",
}


@pytest.mark.peer("gnupg")
def test_inv3_payloads_come_out_byte_for_byte(shared: Path) -> None:
    """GnuPG opens what we find, and we read what it opened."""
    with tempfile.TemporaryDirectory(prefix="rp") as home:  # a short path: the agent's socket lies there
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--trust-model", "always"]
        ring = shared / "mails" / "keys" / "openpgp" / "receiver-secret.asc"
        quiet = {"stderr": subprocess.DEVNULL, "env": {**os.environ, "LC_ALL": "C"}}
        subprocess.run([*gpg, "--import", str(ring)], check=True, **quiet)  # type: ignore[call-overload]
        try:
            for vector, mails in _vectors(shared / "mails" / "agit"):
                if vector["expect"]["result"] == "ok" and vector["name"] not in _NOT_TO_OPEN:
                    _check(vector, mails, gpg, quiet)
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def _check(vector: dict[str, Any], mails: list[bytes], gpg: list[str], quiet: dict[str, Any]) -> None:
    got: dict[str, str | None] = {}
    for mail in _complete(mails):
        for payload in find_openpgp(parse(mail), mail).payloads:
            sealed = b"".join(bytes(chunk) for chunk in data(payload, mail))
            run = subprocess.run(
                [*gpg, "--decrypt"], input=sealed, stdout=subprocess.PIPE, check=False, **quiet
            )
            plain: bytes = run.stdout
            if payload.kind is Kind.PGP_MIME or plain.lower().startswith((b"content-", b"mime-")):
                for leaf in parse(plain).walk():
                    if not leaf.children:
                        content = b"".join(body(leaf, plain))
                        got[hashlib.sha256(content).hexdigest()] = leaf.filename
            else:
                got[hashlib.sha256(plain).hexdigest()] = payload.filename
    assert vector["expect"]["payloads"]
    for expected in vector["expect"]["payloads"]:
        assert expected["sha256"] in got, vector["name"]
        if "filename" in expected:
            assert got[expected["sha256"]] == expected["filename"], vector["name"]
