"""``radpost conformance``: the statement for people and for programs, in two languages, without a gateway."""

import json

import pytest

from radpost import __version__
from radpost.conformance.clauses import standards
from radpost.dicom.meta import IMPLEMENTATION_CLASS_UID
from radpost.dicom.services import is_storage
from radpost.testing.calling import call


def test_the_whole_statement_for_people() -> None:
    done = call("conformance")
    assert done.code == 0
    assert __version__ in done.out
    for standard in standards():
        assert f"\n{standard.name}: " in done.out
    assert IMPLEMENTATION_CLASS_UID in done.out


def test_one_standard_in_german() -> None:
    done = call("conformance", "rfc2046", "--lang", "de")
    assert done.code == 0
    assert "Konformitätserklärung" in done.out
    assert "Zerteilen nur an Zeilenenden" in done.out
    assert "5.2.3" in done.out
    assert "RFC 2045" not in done.out
    assert IMPLEMENTATION_CLASS_UID not in done.out, "the DICOM services belong to the DICOM standards"


def test_for_programs() -> None:
    done = call("conformance", "--json", "ps3.8", "RFC 8098")
    statement = json.loads(done.out)
    assert [one["name"] for one in statement["standards"]] == ["PS3.8", "RFC 8098"]
    clause = next(one for one in statement["standards"][1]["clauses"] if one["clause"] == "2.2")
    assert clause["status"] == "not"
    assert clause["remark"]
    services = {(one["name"], one["role"]): one for one in statement["dicom"]["accepting"]}
    storage = services["Storage", "SCP"]
    assert all(is_storage(one["uid"]) for one in storage["classes"])
    assert "1.2.840.10008.5.1.4.1.1.2" in {one["uid"] for one in storage["classes"]}
    assert "1.2.840.10008.1.2.4.90" in {one["uid"] for one in storage["syntaxes"]}
    requesting = {(one["name"], one["role"]): one for one in statement["dicom"]["requesting"]}
    fallback = [one["uid"] for one in requesting["Storage", "SCU"]["syntaxes"]]
    assert fallback == ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]


@pytest.mark.parametrize("name", ["9999", "nonsense"])
def test_an_unknown_standard_is_refused_by_name(name: str) -> None:
    done = call("conformance", name)
    assert done.code == 1
    assert name in done.err
