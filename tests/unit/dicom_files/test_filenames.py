"""Names that others chose, on any disk: never a path, a device, hidden, a stream, or too long."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.dicom.filenames import file_name, is_uid, marked

DEVICES = [
    "CON",
    "con.txt",
    "PRN",
    "NUL",
    "nul.tar.gz",
    "AUX",
    "COM1",
    "com9.dcm",
    "LPT1",
    "COM¹",
    "CONIN$",
    "CLOCK$",
]
PATHS = [
    "../../../etc/passwd",
    "..\\..\\windows\\system32",
    "/etc/passwd",
    "C:\\x.dcm",
    "C:x.dcm",
    "\\\\server\\share\\x",
    "\\\\?\\C:\\x",
    "a/b",
    "a\\b",
    "~root",
    "file:///etc/passwd",
]
ODD = [
    "report.pdf:evil.exe",
    "x::$DATA",
    "trailing.",
    "trailing. . .",
    "trailing ",
    ".hidden",
    "-rf",
    "--help",
    "",
    ".",
    "..",
    "...",
    " ",
    "\0",
    "a\0b.dcm",
    "a\nb",
    "a\x1b[2Jb",
    "\u202egpj.exe",
    "\ud800",
    "\ufeffx",
    "a|b",
    "a*b?c",
    'a"b',
    "<x>",
    "n" * 5000,
    "ü" * 5000 + ".dcm",
    "x." + "y" * 5000,
    "x" * 170 + "." + "y" * 18 + " . .",
    "😀" * 100,
]
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³])\s*(\..*)?\Z")


def is_safe(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8")) <= 200
        and not re.search(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u2028-\u202e\ud800-\udfff]', name)
        and name[0] not in " .-~"
        and name[-1] not in " ."
        and not RESERVED.match(name)
        and Path(name).name == name
    )


@pytest.mark.parametrize("name", [*DEVICES, *PATHS, *ODD])
def test_inv5_a_hostile_name_becomes_a_harmless_one(name: str, tmp_path: Path) -> None:
    safe = file_name(name, "document")
    assert is_safe(safe), safe
    assert is_safe(marked(safe, "-2"))
    (tmp_path / safe).write_bytes(b"x")
    assert [path.name for path in tmp_path.rglob("*")] == [safe]


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_inv5_any_text_becomes_a_harmless_name(name: str) -> None:
    safe = file_name(name, "document")
    assert is_safe(safe), safe
    assert file_name(safe, "document") == safe, "a safe name stays as it is"


@pytest.mark.parametrize(
    "name", ["report.pdf", "CT 0001.dcm", "Größe_2.hl7", "a+b@c.txt", "console.txt", "com10.dcm"]
)
def test_a_usual_name_stays(name: str) -> None:
    assert file_name(name, "document") == name


@pytest.mark.parametrize(
    "uid", ["..", ".", "", "1..2", ".1", "1.", "1.2/3", "1.2\n", "9" * 65, "1.2.\u0663", "a"]
)
def test_inv5_what_is_no_uid_names_no_file(uid: str) -> None:
    assert not is_uid(uid)
    assert is_uid("1.2.840.10008")
