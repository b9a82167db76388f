"""Opening a large mail takes no more memory than the engine's limit (DESIGN invariant 8)."""

import hashlib
import mmap
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pytest

from radpost.agit.letter import Item, inner_chunks, outer_envelope
from radpost.agit.opening import open_mail
from radpost.agit.survey import survey
from radpost.mime.writer import Source
from radpost.openpgp.values import Compression, Limits
from radpost.testing.letters import Correspondents, letter

BLOCK = os.urandom(1 << 20)
MEMORY = 4 << 20
"""What the engine may keep of the plaintext; the mails have up to 25 times as much."""


def object_chunks(count: int) -> Iterator[bytes]:
    yield bytes(128) + b"DICM"
    for _ in range(count):
        yield BLOCK


@pytest.mark.peer("gnupg")
@pytest.mark.parametrize(("encoding", "count"), [("binary", 100), ("base64", 30)])
def test_inv8_one_large_object(
    world: Correspondents, tmp_path: Path, encoding: Literal["binary", "base64"], count: int
) -> None:
    size = 132 + count * len(BLOCK)
    item = Item(Source(size, lambda: object_chunks(count)), True, "application/dicom", "", "", False)
    mail = letter((item,), inner_encoding=encoding)
    path = tmp_path / "mail"
    tracemalloc.start()
    try:
        with path.open("wb") as target:
            target.write(outer_envelope(mail).head)
            world.theirs.seal(
                inner_chunks(mail),
                cast("BinaryIO", target),
                recipients=[world.clinic],
                signer=world.partner,
                compress=Compression.NONE,
            )
            target.write(outer_envelope(mail).tail)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20, "written piece by piece"
        tracemalloc.reset_peak()
        digest = hashlib.sha256()
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            limits = Limits(memory=MEMORY)
            with open_mail(survey(view), view, world.engine, temp=tmp_path, limits=limits) as content:
                (part,) = content.parts
                for chunk in part.chunks():
                    digest.update(chunk)
                assert part.plain is None, "encoded, or too large to be mapped"
            del part
        print(f"{encoding}: peak of {tracemalloc.get_traced_memory()[1] >> 10} KiB for {size >> 20} MiB")
        assert tracemalloc.get_traced_memory()[1] < MEMORY + (16 << 20)
    finally:
        tracemalloc.stop()
    expected = hashlib.sha256()
    for block in object_chunks(count):
        expected.update(block)
    assert digest.digest() == expected.digest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["mail"]
