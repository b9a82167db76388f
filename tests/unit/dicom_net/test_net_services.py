"""What is storage: checked against pynetdicom's tables of the standard."""

import pytest
from pynetdicom import sop_class

from radpost.dicom.services import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, choose_transfer_syntax, is_storage


def test_every_storage_class_of_the_standard_is_storage() -> None:
    """PS3.4 B.5."""
    classes = {**sop_class._STORAGE_CLASSES, **sop_class._NON_PATIENT_OBJECT_CLASSES}
    assert len(classes) > 150
    assert [name for name, uid in classes.items() if not is_storage(uid)] == []


def test_no_other_service_of_the_standard_is_storage() -> None:
    storage = {"_STORAGE_CLASSES", "_NON_PATIENT_OBJECT_CLASSES", "_SERVICE_CLASSES"}
    other = {
        name: uid
        for table in dir(sop_class)
        if table.endswith("_CLASSES") and table not in storage
        for name, uid in getattr(sop_class, table).items()
    }
    assert len(other) > 50
    assert [name for name, uid in other.items() if is_storage(uid)] == []


@pytest.mark.parametrize(
    ("uid", "storage"),
    [
        ("1.3.46.670589.5.0.1.1", True),  # private, Philips
        ("1.2.276.0.19.55.1.5.1.1.1", True),  # unknown
        ("1.2.840.10008.5.1.4.1.1.999.7", True),  # of a later edition
        ("1.2.840.10008.5.1.1.29", True),  # retired hard copy image
        ("1.2.840.10008.1.20.2", False),  # retired pull commitment
        ("1.2.840.10008.5.1.4.32.1", False),  # retired worklist
        ("", False),
    ],
)
def test_the_edges(uid: str, storage: bool) -> None:
    assert is_storage(uid) is storage


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([IMPLICIT_LE, EXPLICIT_LE], IMPLICIT_LE),
        (["1.2.840.10008.1.2.4.70", EXPLICIT_LE], "1.2.840.10008.1.2.4.70"),
        ([EXPLICIT_BE, IMPLICIT_LE], IMPLICIT_LE),
        ([EXPLICIT_BE], EXPLICIT_BE),
        (["1.2.840.10008.1.2.4.94", "9.9.9"], "9.9.9"),
    ],
)
def test_the_senders_first_syntax_is_taken(proposed: list[str], chosen: str) -> None:
    assert choose_transfer_syntax(proposed) == chosen
