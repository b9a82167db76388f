"""Hashing in idle moments: order, bounds, and what is dropped; and what the bulk path may import."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from radpost.dicom.digest import Digester, begin_writing


def fill(digester: Digester, byte: int) -> memoryview:
    space = digester.space()
    space[:] = bytes((byte,)) * len(space)
    return space


def test_pieces_are_hashed_in_order_however_idle_we_are() -> None:
    for idle_every in (1, 2, 5, 100):
        digester, whole = Digester(100, 4), hashlib.sha256()
        for number in range(50):
            digester.submit(fill(digester, number), whole)
            if number % idle_every == 0:
                digester.step()
        digester.finish()
        assert not digester.step()
        assert whole.digest() == hashlib.sha256(b"".join(bytes((n,)) * 100 for n in range(50))).digest()


def test_two_hashes_side_by_side() -> None:
    digester, first, second = Digester(1 << 17, 6), hashlib.sha256(), hashlib.sha256(b"head")
    for round_ in range(3):
        for number in range(5):
            digester.submit(fill(digester, round_ * 5 + number), first, second)
        digester.finish()
    data = b"".join(bytes((n,)) * (1 << 17) for n in range(15))
    assert first.digest() == hashlib.sha256(data).digest()
    assert second.digest() == hashlib.sha256(b"head" + data).digest()
    before = threading.active_count()
    digester.close()
    assert threading.active_count() == before - 1


def test_buffers_are_bounded_and_come_back() -> None:
    digester, whole = Digester(100, 3), hashlib.sha256()
    seen = set()
    for number in range(20):
        space = fill(digester, number)
        seen.add(id(space.obj))
        digester.submit(space, whole)
    assert len(seen) == 3
    digester.forget()
    assert not digester.step()
    for _ in range(3):
        digester.submit(fill(digester, 1), whole)
    digester.finish()


def test_a_buffer_is_lent_until_it_is_submitted() -> None:
    digester = Digester(100)
    assert digester.space() is digester.space()


def test_writing_may_be_begun(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as stream:
        stream.write(b"x" * 5000)
        stream.flush()
        begin_writing(stream.fileno())
        os.fdatasync(stream.fileno())
    begin_writing(-1)  # a failure is fdatasync's to report


def test_the_bulk_path_imports_no_heavy_module() -> None:
    """pydicom and pynetdicom cost 70 MB of memory, numpy 30; moving objects needs neither."""
    script = (
        "import sys, radpost.dicom.scp, radpost.dicom.delivery, radpost.dicom.query\n"
        "print(*sorted({'pydicom', 'pynetdicom', 'numpy', 'imagecodecs'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == ""
