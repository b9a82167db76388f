"""`radpost open` gives the expected result for every reference mail, alone and with all others at once."""

import hashlib
import json
import random
import stat
from pathlib import Path
from typing import Any

import pytest

import radpost
from radpost.testing.calling import call
from radpost.testing.vectors import Vector, as_package, deviations, of_vector, reference_keys, vectors

pytestmark = [pytest.mark.shared, pytest.mark.peer("gnupg")]

MAILS = Path(__file__).resolve().parents[4] / "shared" / "mails"
KEYS = reference_keys(MAILS)
GROUPS = ("agit", "mdn", "dsn")
PACKAGES = [as_package(vector) for vector in vectors(MAILS, "xdm")]
ALL = [vector for group in GROUPS for vector in vectors(MAILS, group)] + PACKAGES


def opened(files: list[Path], out: Path | None = None) -> radpost.OpenedMails:
    return radpost.open_mails(files, secrets=KEYS.secrets, certs=KEYS.certs, anchors=KEYS.anchors, out=out)


@pytest.mark.parametrize("vector", ALL, ids=str)
def test_a_reference_mail_is_opened_as_expected(vector: Vector, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = opened(list(vector.files), out)
    assert deviations(vector, found.to_json()["results"]) == []
    for item in found.objects:
        path = Path(item.path or "")
        assert path.parent == out, "nothing is written anywhere else"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == item.sha256
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {str(path) for path in out.iterdir()} == {item.path for item in found.objects}


@pytest.mark.parametrize("vector", ALL, ids=str)
def test_the_command_says_the_same_as_json(vector: Vector, tmp_path: Path) -> None:
    said = call("open", *vector.files, *KEYS.options(), "--out", tmp_path / "out", "--json")
    results = json.loads(said.out)["results"]
    assert deviations(vector, results) == []
    settled = {"ok", "ignored", "receipt", "bounce"}
    assert said.code == (0 if all(result["status"] in settled for result in results) else 1)


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_command_tells_a_person(language: str, tmp_path: Path) -> None:
    files = [path for vector in ALL for path in vector.files]
    said = call("open", *files, *KEYS.options(), "--out", tmp_path / "out", "--lang", language)
    assert said.code == 1
    for vector in ALL:
        assert str(vector.files[0]) in said.out
    assert all(mark == "\n" or mark.isprintable() for mark in said.out)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("group", GROUPS)
def test_all_mails_of_a_folder_at_once_in_any_order(group: str, seed: int) -> None:
    found = vectors(MAILS, group)
    files = [path for vector in found for path in vector.files]
    random.Random(seed).shuffle(files)
    results = opened(files).to_json()["results"]
    assert {vector.name: deviations(vector, of_vector(vector, results)) for vector in found} == {
        vector.name: [] for vector in found
    }


@pytest.mark.parametrize("seed", range(2))
def test_all_mails_with_packages_at_once_in_any_order(seed: int) -> None:
    # x21 and x22 are further copies of the set of x20: together they are one
    found = [vector for vector in PACKAGES if not vector.name.startswith(("x21", "x22"))]
    files = [path for vector in found for path in vector.files]
    random.Random(seed).shuffle(files)
    results = opened(files).to_json()["results"]
    assert {vector.name: deviations(vector, of_vector(vector, results)) for vector in found} == {
        vector.name: [] for vector in found
    }


def test_a_folder_is_as_good_as_its_files() -> None:
    whole = opened([MAILS / "agit"])
    assert _comparable(whole) == _comparable(opened(sorted((MAILS / "agit").glob("*.eml"))))


def _comparable(found: radpost.OpenedMails) -> list[dict[str, Any]]:
    return sorted(found.to_json()["results"], key=lambda result: str(result["files"]))


def test_all_vectors_were_found() -> None:
    assert [len(vectors(MAILS, group)) for group in (*GROUPS, "xdm")] >= [85, 16, 15, 50]
