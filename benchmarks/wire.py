"""Bytes on the wire per byte of DICOM, for each dialect: ``python -m benchmarks.wire [--write PAGE]``.

Nothing is timed: mails are written by `radpost pack`, and their files counted. The data are made here: slices
of a phantom with a scanner's noise (native), and the same as baseline JPEG (PS3.5 A.4). ``--write`` puts the
table into a page of the documentation.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pydicom

from radpost.agit.dialect import DIALECTS, DialectName
from radpost.gateway.partners import RADPOST_PEER
from radpost.testing.parcels import Parties, dicom_file, make_parties, packed
from radpost.testing.study import make_study

SLICES: Final = 20
MARK: Final = re.compile(r"(<!-- wire -->\n).*?(<!-- end -->)", re.DOTALL)
_PEER: Final = {name: getattr(RADPOST_PEER, name) for name in DIALECTS["agit-1.5"].__struct_fields__}


@dataclass(frozen=True, slots=True)
class Way:
    """A row of the table: how mails are written, and the most that a byte of each kind may cost."""

    name: str
    dialect: DialectName
    switches: dict[str, Any]
    native: float
    jpeg: float


WAYS: Final = (
    Way("agit-1.1", "agit-1.1", {}, 0.95, 1.48),
    Way("agit-1.5, the field's", "agit-1.5", {}, 0.95, 1.48),
    Way("agit-1.5, cut at 100 kB", "agit-1.5", {"max_mail_size": 100_000}, 0.95, 1.48),
    Way("agit-1.5, without compression", "agit-1.5", {"compression": "never"}, 1.90, 2.00),
    Way("agit-1.5 between Radpost peers", "agit-1.5", _PEER, 0.85, 1.40),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One way and one kind of data."""

    way: Way
    kind: str
    objects: int
    raw: int
    files: int
    wire: int
    floor: float

    @property
    def ratio(self) -> float:
        """Bytes of mails per byte of DICOM."""
        return self.wire / self.raw

    @property
    def holds(self) -> bool:
        """Tell whether the floor is kept."""
        return self.ratio <= self.floor


def make_native(folder: Path, slices: int) -> Path:
    """Write slices of 512 x 512 pixels of 16 bits."""
    make_study(folder, slices)
    return folder


def make_jpeg(folder: Path, native: Path) -> Path:
    """Write the same slices in a window of the brain, 8 bits, as baseline JPEG."""
    folder.mkdir()
    for number, path in enumerate(sorted(native.glob("*.dcm")), 1):
        pixels = pydicom.dcmread(path).pixel_array.astype(np.int32)
        grey = np.clip((pixels + 100) * 255 // 300, 0, 255).astype(np.uint8)
        frame = bytes(imagecodecs.jpeg8_encode(grey, level=90))
        (folder / path.name).write_bytes(dicom_file(number, frame, jpeg=True))
    return folder


def measure(work: Path, slices: int = SLICES) -> list[Measured]:
    """Write the data every way and count."""
    keys = work / "keys"
    keys.mkdir()
    parties = make_parties(keys)
    native = make_native(work / "native", slices)
    jpeg = make_jpeg(work / "jpeg", native)
    found = []
    for number, way in enumerate(WAYS):
        for kind, folder, floor in (("native", native, way.native), ("JPEG", jpeg, way.jpeg)):
            found.append(_one(parties, way, kind, folder, floor, work / f"{kind}-{number}"))
    return found


def _one(parties: Parties, way: Way, kind: str, folder: Path, floor: float, out: Path) -> Measured:
    result = packed(parties, [folder], out, dialect=way.dialect, switches=way.switches)
    sizes = [path.stat().st_size for path in out.iterdir()]
    objects = sum(len(mail.objects) for mail in result.mails)
    return Measured(way, kind, objects, result.gathered.bytes, len(sizes), sum(sizes), floor)


def table(found: Sequence[Measured]) -> str:
    """Return the table as it stands in the documentation; one row for each way."""
    lines = [
        "| mails | native CT: files | kB per MB | floor | JPEG: files | kB per MB | floor |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for way in WAYS:
        cells = [way.name]
        for one in (item for item in found if item.way is way):
            cells += [str(one.files), f"{one.ratio * 1000:.0f}", f"{one.floor * 1000:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    counts = {item.kind: (item.objects, item.raw / 1e6) for item in found}
    data = "; ".join(f"{kind}: {count} objects, {size:.1f} MB" for kind, (count, size) in counts.items())
    return "\n".join([*lines, "", f"{data}. Made by `python -m benchmarks.wire --write`.", ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if a floor is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.wire", description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="radpost-wire-") as folder:
        found = measure(Path(folder), args.slices)
    text = table(found)
    print(text)
    if args.write:
        page = args.write.read_text("utf-8")
        args.write.write_text(MARK.sub(lambda match: match[1] + text + match[2], page), "utf-8")
    if path := os.environ.get("BENCH_JSON"):
        rows = [
            {
                "what": f"{one.way.name}, {one.kind}",
                "value": one.ratio,
                "floor": one.floor,
                "holds": one.holds,
            }
            for one in found
        ]
        Path(path).write_text(json.dumps({"wire": rows}, indent=2) + "\n", "utf-8")
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
