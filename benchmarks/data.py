"""Study data, made once per run: real CT slices multiplied where they are at hand, else the phantom."""

import json
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from radpost.dicom.identity import identify
from radpost.dicom.scu import Outgoing
from radpost.testing.study import make_study

SHARED: Final = Path(__file__).resolve().parent.parent.parent / "shared"
MAIL_FACTOR: Final = 1.37
"""What base64 lines and headers add to a byte (DESIGN 10, row G1)."""


@dataclass(frozen=True)
class Study:
    """Files on disk and what is known of them."""

    directory: Path
    files: tuple[Path, ...]

    @cached_property
    def items(self) -> tuple[Outgoing, ...]:
        """The objects as a modality holds them; identified before anything is timed."""
        return tuple(item for item, _ in self._known)

    @cached_property
    def hashes(self) -> frozenset[str]:
        """The hashes of the data sets."""
        return frozenset(digest for _, digest in self._known)

    @cached_property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def megabytes(self) -> float:
        """The size of all files in units of 10^6 bytes."""
        return self.bytes / 1e6

    @cached_property
    def _known(self) -> tuple[tuple[Outgoing, str], ...]:
        known = []
        for path in self.files:
            one = identify(path)
            item = Outgoing(
                path,
                one.sop_class_uid or "",
                one.sop_instance_uid or "",
                one.transfer_syntax_uid or "",
                one.dataset_offset,
            )
            known.append((item, one.dataset_sha256))
        return tuple(known)

    def part(self, count: int, start: int = 0) -> "Study":
        """Return some objects of the study."""
        return Study(self.directory, self.files[start : start + count])

    def wire_bytes(self) -> int:
        """Return the fixed number of bytes of row G1: zlib level 6 of each raw file, times 1.37."""
        note = self.directory / f"zlib6-{len(self.files)}-{self.files[0].name}.json"
        if not note.exists():
            with ThreadPoolExecutor(2) as pool:
                sizes = list(pool.map(lambda path: len(zlib.compress(path.read_bytes(), 6)), self.files))
            note.write_text(json.dumps(sum(sizes)))
        return int(json.loads(note.read_text()) * MAIL_FACTOR)


def is_real() -> bool:
    """Tell whether the real CT slices and their multiplier are at hand."""
    return (SHARED / "tools/make_study.py").exists() and (SHARED / "dicom/series-ct-ge").is_dir()


def study(work: Path, slices: int, seed: int = 1) -> Study:
    """Return a study of so many slices; it is made if the work directory does not have it."""
    folder = work / f"study-{slices}-{seed}"
    done = folder.with_suffix(".done")
    if not done.exists():
        if is_real():
            command = [
                sys.executable,
                str(SHARED / "tools/make_study.py"),
                str(SHARED / "dicom/series-ct-ge"),
            ]
            options = ["-n", str(slices), "--seed", str(seed)]
            subprocess.run([*command, str(folder), *options], check=True, stdout=subprocess.DEVNULL)
        else:
            make_study(folder, slices, seed)
        done.touch()
    return Study(folder, tuple(sorted(folder.glob("*.dcm"))))
